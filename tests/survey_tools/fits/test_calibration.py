import math

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from numpy.testing import assert_allclose

from survey_tools.errors import ArchiveError
from survey_tools.fits.calibration import KEYWORDS, PRODUCTS, SILENT, Given, read_unit, read_zero_point
from survey_tools.photometry import nanomaggies_per_count

SCALE = 0.2  # [arcsec] of a pixel


def header(**cards) -> fits.Header:
    """A header with a WCS; a value may have a comment beside it."""
    made = fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 10.0, "CRVAL2": 5.0})
    made.update({"CRPIX1": 1.0, "CRPIX2": 1.0, "CD1_1": -SCALE / 3600, "CD2_2": SCALE / 3600})
    for key, value in cards.items():
        made[key.replace("FPA_", "HIERARCH FPA.")] = value
    return made


SPELLINGS = {
    1.0: [
        *("nanomaggy", "nanomaggies", "nmgy", "nmaggy", "NMGY", "Nanomaggies", "nanomgy", "'nanomaggy '", "[nmgy]"),
        *("nmgy/pix", "nmgy/pixel", "nmgy.pix-1", "nanomaggies per pixel", "nmgy pix-1", "nmgy / pix", "nmgy pix^-1"),
        *("1e-9*maggy", "1nmgy", "10**-9 maggies"),
    ],
    1e9: ["maggy", "maggies", "mgy"],
    1 / 3.631e-6: ["Jy", "jy", "Jansky", "janskys", "JY", "Jy/pix", "Jy per pixel", "1e-23 erg/s/cm2/Hz"],
    1e-3 / 3.631e-6: ["mJy", "milliJy", "millijansky", "mJy/pixel"],
    1e-6 / 3.631e-6: ["uJy", "µJy", "μJy", "microJy", "microjansky", "ujy", "10^-6 Jy", "uJy pix**-1"],
    1e-9 / 3.631e-6: ["nJy", "nanojansky", "NJY"],
    1e6 / 3.631e-6: ["MJy", "megajansky"],
    10 ** (0.4 * (22.5 + 48.6)): ["erg s-1 cm-2 Hz-1", "erg/s/cm^2/Hz", "erg / (s cm2 Hz)"],
}


@pytest.mark.parametrize(("worth", "text"), [(worth, text) for worth, texts in SPELLINGS.items() for text in texts])
def test_units_of_flux_are_read_in_every_spelling(worth, text):
    unit = read_unit(text)
    assert unit.kind == "flux"
    assert_allclose(nanomaggies_per_count(unit.zero_point), worth, rtol=2e-4)


@pytest.mark.parametrize("text", ["MJy/sr", "MJy sr-1", "MJy.sr**-1", "MJY/SR", "MJy per sr", "1e6 Jy/sr", "MJy sr^-1"])
def test_surface_brightness_is_that_of_the_area_of_a_pixel(text):
    area = (SCALE * u.arcsec) ** 2
    due = (1 * u.MJy / u.sr * area).to_value(u.nJy) / 3631  # nanomaggies of a pixel
    assert_allclose(nanomaggies_per_count(read_zero_point("a", header(BUNIT=text))), due, rtol=2e-4)


@pytest.mark.parametrize("text", ["nmgy/arcsec^2", "nanomaggies per arcsec2", "nmgy arcsec-2"])
def test_an_arcsec_is_an_area_as_well(text):
    assert_allclose(nanomaggies_per_count(read_zero_point("a", header(BUNIT=text))), SCALE**2, rtol=1e-6)


@pytest.mark.parametrize(
    ("text", "kind"),
    [("", "none"), ("adu", "counts"), ("ELECTRONS", "counts"), ("DN/pixel", "counts"), ("counts/s", "rate")]
    + [("e-/sec", "rate"), ("ELECTRONS/S", "rate"), ("adu s-1", "rate"), ("Jy/beam", "unknown"), ("mag", "unknown")]
    + [("10^-17 erg/s/cm2/Angstrom", "unknown"), ("furlong", "unknown"), ("mjy/sr", "unknown"), ("MJY", "unknown")],
)
def test_what_is_no_flux_is_told_apart_and_capitals_that_may_mean_two_things_are_none(text, kind):
    assert read_unit(text).kind == kind


@pytest.mark.parametrize("keyword", [row.name for row in KEYWORDS if row.kind == "magnitude" and not row.per_second])
def test_every_keyword_of_a_zero_point_is_read(keyword):
    assert read_zero_point("a", header(**{keyword: 26.5})) == 26.5
    assert read_zero_point("a", header(**{keyword: 26.5, "BUNIT": "adu"})) == 26.5
    with pytest.raises(ArchiveError, match=rf"a has {keyword} = 'high', which is not a number"):
        read_zero_point("a", header(**{keyword: "high"}))


def test_counts_of_magnitude_zero_are_a_zero_point():
    assert_allclose(read_zero_point("a", header(FLUXMAG0=10**10.8)), 27.0)


def test_counts_a_second_are_told_by_the_unit_the_keyword_or_its_comment():
    longer = 2.5 * math.log10(100)
    assert read_zero_point("a", header(BUNIT="adu/s", MAGZERO=25.0, EXPTIME=100.0)) == 25.0
    assert read_zero_point("a", header(BUNIT="adu", MAGZERO=25.0, EXPTIME=100.0)) == 25.0
    per_second = header(BUNIT="adu", MAGZERO=(25.0, "[mag] AB, of 1 ADU/s"), EXPTIME=100.0)
    assert_allclose(read_zero_point("a", per_second), 25.0 + longer)
    assert_allclose(read_zero_point("a", header(FPA_ZP=25.0, EXPTIME="100.0")), 25.0 + longer)
    with pytest.raises(ArchiveError, match=r"FPA.ZP = 25 is that of counts per second, and there is no EXPTIME"):
        read_zero_point("a", header(FPA_ZP=25.0))


def test_the_constants_of_space_telescopes():
    flam, pivot = 7.0e-20, 8045.0  # ACS F814W, about
    due = u.Magnitude((flam * u.erg / u.s / u.cm**2 / u.AA).to(u.ABflux, u.spectral_density(pivot * u.AA)))
    rate = header(BUNIT="ELECTRONS/S", PHOTFLAM=flam, PHOTPLAM=pivot, PHOTZPT=-21.1)
    assert_allclose(read_zero_point("a", rate), due.value, atol=0.002)
    whole = header(BUNIT="ELECTRONS", PHOTFLAM=flam, PHOTPLAM=pivot, EXPTIME=1000.0)
    assert_allclose(read_zero_point("a", whole), due.value + 7.5, atol=0.002)
    assert_allclose(read_zero_point("a", header(BUNIT="ELECTRONS/S", PHOTFNU=1e-7)), 8.9 + 17.5)
    calibrated = read_zero_point("a", header(BUNIT="MJy/sr"))
    assert read_zero_point("a", header(BUNIT="MJy/sr", PHOTMJSR=0.4)) == calibrated  # by which it was calibrated
    assert_allclose(read_zero_point("a", header(BUNIT="DN/s", PHOTMJSR=0.4)), calibrated + 2.5 * math.log10(2.5))


@pytest.mark.parametrize(
    ("cards", "words"),
    [
        ({"MZP_AB": 30.0, "PHOTZP": 26.5}, r"PHOTZP = 26.5 is a zero point of 26.5, MZP_AB = 30 one of 30"),
        (
            {"BUNIT": "nanomaggy", "MAGZERO": 30.0},
            r"BUNIT = 'nanomaggy' is a zero point of 22.5, MAGZERO = 30 one of 30",
        ),
        ({"FLUXMAG0": 10**10.8, "MAGZPT": 25.0}, r"MAGZPT = 25 is a zero point of 25, FLUXMAG0 = .* one of 27"),
    ],
)
def test_two_statements_that_contradict_each_other_are_refused_unless_the_user_decides(cards, words):
    with pytest.raises(ArchiveError, match=rf"a.fits contradicts itself: {words}; pass --zero-point or --unit"):
        read_zero_point("a.fits", header(**cards))
    assert read_zero_point("a.fits", header(**cards), Given(zero_point=29.0)) == 29.0
    assert read_zero_point("a.fits", header(**cards), Given("uJy")) == 23.9


def test_statements_that_agree_are_one():
    assert read_zero_point("a", header(BUNIT="nanomaggy", MAGZERO=22.5)) == 22.5
    assert_allclose(read_zero_point("a", header(MZP_AB=30.0, FLUXMAG0=1e12, PHOT_C=26.5, MZP_VEGA=29.9)), 30.0)


@pytest.mark.parametrize(
    ("cards", "words"),
    [
        ({}, "a has no BUNIT and states no zero point; pass --unit or --zero-point, or set BUNIT"),
        ({"BUNIT": "adu"}, "a has BUNIT = 'adu' and states no zero point"),
        ({"BUNIT": "Jy/beam"}, "a has BUNIT = 'Jy/beam' and"),
        ({"MAGZERO": 0.0}, r"MAGZERO = 0 is not one"),
        ({"MAGZERO": -99.0}, r"MAGZERO = -99 is not one"),
        ({"MAGZPT": (24.0, "[mag] Vega zero point")}, "MAGZPT = 24 is one of the Vega system, but AB is needed"),
        ({"MAGZPT": 24.0, "MAGSYS": "VEGAMAG"}, "MAGZPT = 24 is one of the Vega system"),
        ({"PHOT_C": 26.5}, "no zero point"),
    ],
)
def test_a_file_that_states_nothing_is_refused_unless_the_user_does(cards, words):
    with pytest.raises(ArchiveError, match=words):
        read_zero_point("a", header(**cards))
    assert read_zero_point("a", header(**cards), Given(zero_point=29.0)) == 29.0
    assert read_zero_point("a", header(**cards), Given("counts"), survey_zero_point=30.0) == 30.0


def test_what_a_user_says_is_for_files_that_are_silent_and_a_header_that_says_else_is_pointed_out(caplog):
    assert read_zero_point("a", header(MZP_AB=30.0), Given(zero_point=25.0)) == 30.0
    assert "a: MZP_AB = 30 is used, and not --zero-point 25" in caplog.text
    assert_allclose(read_zero_point("a", header(), Given("MJy/sr")), read_zero_point("a", header(BUNIT="MJy/sr")))
    with pytest.raises(ArchiveError, match="--unit counts does not state the zero point; pass --zero-point with it"):
        read_zero_point("a", header(), Given("counts"))
    assert not SILENT


def test_a_survey_s_own_files_need_not_state_what_holds_for_all_of_them():
    assert read_zero_point("a", header(TERAPIX="T0007")) == 30.0
    assert read_zero_point("a", header(TERAPIX="T0007", MZP_AB=29.0)) == 29.0
    assert read_zero_point("a", header(SURVEY="LegacySurvey")) == 22.5
    stack = {"INSTRUME": "MegaPrime", "SOFTNAME": "SWarp", "COMBINET": "MEDIAN", "OBJECT": "w1.-3-4"}
    assert read_zero_point("a", header(**stack)) == 30.0
    with pytest.raises(ArchiveError):
        read_zero_point("a", header(**stack | {"OBJECT": "M 51"}))  # a stack of the same camera, of somebody's own
    assert all(product.source for product in PRODUCTS)
    assert all(row.source for row in KEYWORDS)


def test_a_brightness_without_a_wcs_is_refused():
    with pytest.raises(ArchiveError, match="surface brightness and has no celestial WCS"):
        read_zero_point("a", fits.Header({"BUNIT": "MJy/sr"}))
    assert np.isfinite(read_zero_point("a", fits.Header({"BUNIT": "uJy"})))
