import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from numpy.testing import assert_allclose, assert_array_equal

from survey_tools.tan import icrs_tan, local_cd, north_up_wcs, read_wcs, rescaled_wcs, scale_of, tan_terms, tan_wcs

POSITIONS = [(38.5, -7.1), (0.0, 0.0), (359.9999, 45.0), (10.0, 89.99), (215.5, -89.0)]
PIXEL = 0.186 / 3600


def turned(angle: float, parity: int = -1) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[parity * c, s], [-parity * s, c]]) * PIXEL


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("size", [64, 65])
def test_north_is_up_east_is_left_and_the_object_in_the_middle(position, size):
    wcs = north_up_wcs(*position, 0.396, size)
    centre = SkyCoord(*position, unit="deg")
    middle = (size - 1) / 2
    assert centre.separation(wcs.pixel_to_world(middle, middle)).arcsec < 1e-6
    east, north = wcs.pixel_to_world(middle - 1, middle), wcs.pixel_to_world(middle, middle + 1)
    assert_allclose([centre.separation(east).arcsec, centre.separation(north).arcsec], 0.396, rtol=1e-6)
    assert_allclose(centre.position_angle(north).wrap_at(180 * u.deg).deg, 0, atol=1e-3)
    assert_allclose(centre.position_angle(east).deg, 90, atol=1e-3)


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("cd", [turned(0.0), turned(0.3), turned(-2.0), turned(0.3, parity=1)])
def test_a_rescaled_grid_keeps_centre_orientation_and_parity(position, cd):
    wcs = tan_wcs(position, (3000.3, -1200.6), cd)
    target = rescaled_wcs(wcs, (136, 136), 0.396, 64)
    assert wcs.pixel_to_world(67.5, 67.5).separation(target.pixel_to_world(31.5, 31.5)).arcsec < 1e-5
    assert_allclose(scale_of(target), 0.396, rtol=1e-3)
    for offset in ((20, 0), (0, 20), (-11, 7)):  # the same direction on the sky from the centre
        far = target.pixel_to_world(*(31.5 + np.array(offset)))
        col, row = wcs.world_to_pixel(far)
        assert_allclose(np.array([col, row]) - 67.5, np.array(offset) * 0.396 / 0.186, atol=0.05)


def test_a_rescaled_grid_of_a_rectangle_is_centred_on_it():
    wcs = tan_wcs((38.5, -7.1), (1, 1), turned(0.1))
    target = rescaled_wcs(wcs, (100, 300), 0.186, 11)
    assert wcs.pixel_to_world(149.5, 49.5).separation(target.pixel_to_world(5, 5)).arcsec < 1e-5


def test_the_local_cd_at_the_reference_pixel_is_the_cd():
    cd = turned(0.4)
    assert_allclose(local_cd(tan_wcs((10, 20), (50.5, 50.5), cd), (100, 100)), cd, rtol=1e-6)


def test_the_local_cd_far_from_it_has_the_area_on_the_sky():
    """At an angle t from the tangent point a TAN pixel covers cos³ t of its area."""
    wcs = tan_wcs((10, 20), (50.5 + 2 / PIXEL, 50.5), turned(0.0))
    angle = wcs.pixel_to_world(49.5, 49.5).separation(SkyCoord(10 * u.deg, 20 * u.deg)).rad
    ratio = np.linalg.det(local_cd(wcs, (100, 100))) / np.linalg.det(turned(0.0))
    assert_allclose(ratio, np.cos(angle) ** 3, rtol=1e-5)


def test_terms_make_the_same_wcs_again():
    wcs = tan_wcs((38.5, -7.1), (67.2, 69.1), turned(0.2))
    again = tan_wcs(*tan_terms(wcs))
    for ours, theirs in zip(tan_terms(wcs), tan_terms(again), strict=True):
        assert_array_equal(ours, theirs)
    assert_array_equal(wcs.wcs_pix2world([[5, 99]], 0), again.wcs_pix2world([[5, 99]], 0))


def test_terms_are_copies():
    wcs = tan_wcs((38.5, -7.1), (67.2, 69.1), turned(0.2))
    tan_terms(wcs)[0][:] = 0
    assert_array_equal(wcs.wcs.crval, (38.5, -7.1))


@pytest.mark.parametrize("keywords", ["CD", "CDELT"])
def test_a_header_is_read_as_astropy_reads_it(keywords):
    wcs = north_up_wcs(38.5, -7.1, 0.396, 64)
    header = wcs.to_header()
    if keywords == "CD":
        header = fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 38.5, "CRVAL2": -7.1})
        header.update({"CRPIX1": 32.5, "CRPIX2": 32.5, "CD1_1": -0.396 / 3600, "CD2_2": 0.396 / 3600})
    assert_allclose(read_wcs(header).wcs_pix2world([[0, 0]], 0), wcs.wcs_pix2world([[0, 0]], 0), atol=1e-10)


def test_old_keywords_are_repaired_without_a_warning():
    header = north_up_wcs(38.5, -7.1, 0.396, 64).to_header()
    del header["RADESYS"]
    header["RADECSYS"] = "ICRS"
    assert read_wcs(header).wcs.radesys == "ICRS"


def test_the_celestial_part_of_a_cube_is_read():
    cube = WCS(naxis=3)
    cube.wcs.ctype = ["RA---TAN", "DEC--TAN", "WAVE"]
    cube.wcs.crval, cube.wcs.cdelt, cube.wcs.crpix = [38.5, -7.1, 5e-7], [-1e-4, 1e-4, 1e-9], [1, 1, 1]
    assert_allclose(read_wcs(cube.to_header()).wcs_pix2world([[0, 0]], 0), [[38.5, -7.1]])


@pytest.mark.parametrize("header", [fits.Header(), fits.Header({"CTYPE1": "WAVE", "CRVAL1": 5e-7, "CDELT1": 1e-9})])
def test_a_header_without_a_sky_has_no_wcs(header):
    assert read_wcs(header) is None


def test_a_tan_header_in_icrs_is_kept_to_the_last_digit_and_one_in_fk5_stays_on_the_sky():
    header = fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 215.5, "CRVAL2": 52.7})
    header.update({"CRPIX1": 68.3, "CRPIX2": 67.9, "CD1_1": -PIXEL, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": PIXEL})
    for frame, exact in (("ICRS", True), ("FK5", False)):
        wcs = read_wcs(_with(header, RADESYS=frame, EQUINOX=2000.0))
        plain = icrs_tan(wcs)
        assert plain.wcs.radesys == "ICRS"
        assert (plain.wcs.crval == wcs.wcs.crval).all() == exact
        assert_array_equal(plain.pixel_scale_matrix, wcs.pixel_scale_matrix)
        for pixel in ((0, 0), (135, 20)):
            assert plain.pixel_to_world(*pixel).separation(wcs.pixel_to_world(*pixel).icrs).arcsec < 1e-4


@pytest.mark.parametrize(
    ("cards", "words"),
    [
        ({"CTYPE1": "RA---ZEA", "CTYPE2": "DEC--ZEA"}, "the projection RA---ZEA, DEC--ZEA, not TAN"),
        ({"RADESYS": "FK4", "EQUINOX": 1950.0}, "coordinates fk4, not ICRS or FK5"),
    ],
)
def test_a_header_that_is_no_icrs_tan_is_refused_with_what_it_is(cards, words):
    header = fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 215.5, "CRVAL2": 52.7, "CDELT1": 1e-4})
    with pytest.raises(ValueError, match=words):
        icrs_tan(read_wcs(_with(header, CDELT2=1e-4, **cards)))


def _with(header: fits.Header, **cards) -> fits.Header:
    header = header.copy()
    header.update(cards)
    return header
