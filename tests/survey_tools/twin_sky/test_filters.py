import numpy as np
import pytest
from numpy.testing import assert_allclose

from survey_tools.surveys import OWN
from survey_tools.twin_sky.filters import synthetic_flux, throughput

BANDS = [(survey, band) for survey in OWN for band in OWN[survey].bands]
PUBLISHED = {  # mean wavelengths [Angstrom]: Doi et al. (2010), table 6; CFHT's MegaPrime pages (z: the CCD cuts it)
    "sdss": {"u": 3557, "g": 4702, "r": 6176, "i": 7490, "z": 8946},
    "cfht": {"u": 3740, "g": 4870, "r": 6250, "i": 7700, "z": 9000},
    # effective wavelengths for a flat spectrum: DES DR1, table 1; HSC, Kawanomoto et al. (2018); Tonry et al. (2012),
    # table 4; KiDS, OmegaCAM's central wavelengths
    "des": {"g": 4770, "r": 6370, "i": 7770, "z": 9150, "y": 9890},
    "legacy": {"g": 4770, "r": 6370, "i": 7770, "z": 9150},
    "hsc": {"g": 4798, "r": 6218, "i": 7711, "z": 8898, "y": 9762},
    "ps1": {"g": 4866, "r": 6215, "i": 7545, "z": 8679, "y": 9633},
    "kids": {"u": 3550, "g": 4775, "r": 6230, "i": 7630},
}


@pytest.mark.parametrize(("survey", "band"), BANDS)
def test_bands_lie_where_they_are_published(survey, band):
    wave, response = throughput(survey, band)
    assert response[0] == response[-1] == 0
    assert response.max() == 1
    assert_allclose((wave * response).sum() / response.sum(), PUBLISHED[survey][band], rtol=0.025)


@pytest.mark.parametrize(("survey", "band"), BANDS)
def test_a_flux_that_is_constant_per_unit_frequency_has_no_colour(survey, band):
    assert_allclose(synthetic_flux(lambda wave: 7.0 / wave, survey, band), 7.0, rtol=1e-12)


def test_a_red_spectrum_is_brighter_in_redder_bands():
    fluxes = [synthetic_flux(lambda wave: wave**2, "sdss", band) for band in "ugriz"]
    assert (np.diff(fluxes) > 0).all()
