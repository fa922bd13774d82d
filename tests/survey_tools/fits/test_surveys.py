"""Files of any survey, read as `translate` and `ingest` read them: bands, flux and what is refused."""

import numpy as np
import pytest
from astropy.io import fits
from numpy.testing import assert_allclose

from survey_tools.errors import ImageError
from survey_tools.fits.band_fits import band_by_filter, read_bands, read_present
from survey_tools.surveys import OWN

NAMES = [name for name, survey in OWN.items() if survey.flags]


@pytest.mark.parametrize("name", NAMES)
def test_a_tile_of_a_survey_is_read_as_flux(name, tmp_path, coadd_files):
    path = coadd_files.write(name, tmp_path, "r", flux=50.0)
    found, _ = read_present(path, OWN[name].bands, survey=OWN[name])
    assert list(found) == ["r"]
    assert_allclose(np.nansum(found["r"].image), 50.0, rtol=0.02)


@pytest.mark.parametrize(
    ("cards", "band"),
    [
        ({"FILTER": "g DECam SDSS c0001 4720.0 1520.0"}, "g"),
        ({"FILTER": "Y DECam c0005 10095.0 1130.0"}, "y"),
        ({"FILTER": "HSC-I2"}, "i"),
        ({"FILTER": "OCAM_u_SDSS"}, "u"),
        ({"FILTER": "r_SDSS"}, "r"),
        ({"FILTER": "r.MP9601"}, "r"),
        ({"HIERARCH FPA.FILTERID": "z.00000"}, "z"),
        ({"FILTERX": "i", "FILTER": "i DECam SDSS c0003 7835.0 1470.0"}, "i"),
        ({"FILTER": "Y"}, "y"),
        ({"BAND": "r"}, "r"),
        ({"BAND": 3}, None),
        ({"FILTER": "N921"}, None),
        ({}, None),
    ],
)
def test_the_name_of_a_filter_says_the_band(cards, band):
    assert band_by_filter(fits.Header(cards)) == band


@pytest.mark.parametrize(
    ("name", "lost", "words"),
    [
        ("hsc", "FLUXMAG0", "states no zero point"),
        ("des", "MAGZERO", "states no zero point"),
        ("ps1", "BOFFSET", "its pixels are scaled by asinh"),
        ("kids", "OBJECT", "states no zero point"),
    ],
)
def test_a_file_whose_flux_is_unknown_is_refused(name, lost, words, tmp_path, coadd_files):
    def edit(header):
        del header[lost]

    path = coadd_files.write(name, tmp_path, "r", edit=edit)
    with pytest.raises(ImageError, match=words) as error:
        read_bands(path, "r")
    assert path.name in str(error.value)


def test_a_cutout_of_the_legacy_viewer_has_its_bands_in_planes(tmp_path, coadd_files):
    header = coadd_files.grid("legacy").to_header()
    for key, value in {"BANDS": "griz", "BAND0": "g", "BAND1": "r", "BAND2": "i", "BAND3": "z"}.items():
        header[key] = value
    header["SURVEY"] = "LegacySurvey"
    cube = np.random.default_rng(1).normal(0, 0.01, (4, 96, 96)) + np.arange(4)[:, None, None]
    fits.PrimaryHDU(cube.astype(np.float32), header).writeto(tmp_path / "cutout.fits")
    found, _ = read_bands(tmp_path / "cutout.fits", "griz", survey=OWN["legacy"])
    assert_allclose([each.image.mean() for each in found], range(4), atol=0.01)
    assert [each.zero_point for each in found] == [22.5] * 4
