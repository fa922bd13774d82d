"""Which survey an image is of: headers that say so, and those that do not."""

import pytest
from astropy.io import fits

from survey_tools.fits.band_fits import contradiction, other_survey
from survey_tools.surveys import CFHT, SDSS


@pytest.mark.parametrize(
    ("header", "scale", "said"),
    [
        ({}, 0.396, ""),
        ({}, 0.2, ""),  # of a telescope that nobody knows: resampled
        ({}, 0.187, "pixels of 0.187 arcsec, as CFHTLS has them"),
        ({"SURVEY": "SDSS DR12"}, 0.187, ""),  # resampled by somebody who says what it is
        ({"SURVEY": "CFHTLS"}, 0.396, "SURVEY = 'CFHTLS', which is not SDSS"),
        ({"SURVEY": "LegacySurvey"}, 0.262, ""),  # which a model for SDSS and CFHTLS may well be tried on
        ({"TELESCOP": "CFHT 3.6m"}, 0.396, "TELESCOP = 'CFHT 3.6m'"),
        ({"INSTRUME": "MegaPrime"}, 0.396, "INSTRUME = 'MegaPrime'"),
        ({"TELESCOP": "2.5m"}, 0.396, ""),
        ({"FILTER": "r.MP9601"}, 0.396, "FILTER = 'r.MP9601', a filter of CFHTLS"),
        ({"FILTER": "r"}, 0.396, ""),
        ({"SYNTH": True, "GTTO": "SDSS"}, 0.396, "SYNTH = T: it is a translation into SDSS"),
        ({"SYNTH": True}, 0.396, "SYNTH = T: it is a translation and no"),
        ({"SYNTH": False}, 0.396, ""),
    ],
)
def test_what_is_not_sdss_is_said(header, scale, said):
    for headers in ((fits.Header(header),), (fits.Header(), fits.Header(header))):
        found = contradiction(SDSS, headers, scale, SDSS.pixel_scale, CFHT)
        assert found.startswith(said)
        assert bool(found) == bool(said)


@pytest.mark.parametrize("band", CFHT.bands)
def test_the_letter_of_a_band_is_that_of_any_survey(band):
    """As `galtrans export` states it of both."""
    for survey in (SDSS, CFHT):
        header = fits.Header({"SURVEY": survey.title, "FILTER": band})
        assert contradiction(survey, [fits.Header(), header], survey.pixel_scale, survey.pixel_scale) == ""


def test_the_pixels_are_compared_with_those_that_a_run_reads():
    assert contradiction(CFHT, [fits.Header()], 0.396, 0.396) == ""  # a run of images on equal grids
    assert "as SDSS has them" in contradiction(CFHT, [fits.Header()], 0.396, 0.186)


@pytest.mark.parametrize(
    ("header", "scale", "said"),
    [
        ({"SURVEY": "LegacySurvey"}, 0.396, "SURVEY = 'LegacySurvey', which is not SDSS"),
        ({"FILTER": "HSC-R"}, 0.396, "FILTER = 'HSC-R', a filter of HSC-SSP and not of SDSS"),
        ({"HIERARCH FPA.FILTERID": "r.00000"}, 0.396, "FILTER = 'r.00000', a filter of Pan-STARRS1"),
        ({}, 0.2, "pixels of 0.200 arcsec, as KiDS has them"),
    ],
)
def test_without_a_second_survey_an_image_may_be_of_any_other(header, scale, said):
    assert contradiction(SDSS, [fits.Header(header)], scale, SDSS.pixel_scale).startswith(said)
    assert contradiction(SDSS, [fits.Header(header)], scale, SDSS.pixel_scale, CFHT) == ""


def test_a_survey_that_is_not_meant_is_named():
    headers = [fits.Header({"SURVEY": "SDSS DR12"}), fits.Header({"SURVEY": "LegacySurvey"})]
    assert other_survey(SDSS, headers) == "LegacySurvey"
    assert other_survey(SDSS, headers[:1]) == other_survey(SDSS, [fits.Header()]) == ""
