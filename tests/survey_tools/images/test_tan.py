import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from numpy.testing import assert_allclose, assert_array_equal

from survey_tools.images.sky_wcs import grids_apart, north_up_wcs, tan_places, tan_terms, tan_wcs

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


def test_a_grid_centred_on_the_pole_has_north_where_all_others_have_it():
    """The standard turns a projection about the pole itself by half a turn, unless the header says otherwise."""
    at, near = (north_up_wcs(10.0, dec, 0.396, 64) for dec in (90.0, 89.999999))
    pixels = np.array([[0, 0], [63, 20]])
    places = SkyCoord(at.wcs_pix2world(pixels, 0), unit="deg")
    assert (places.separation(SkyCoord(near.wcs_pix2world(pixels, 0), unit="deg")).arcsec < 0.01).all()
    terms = [np.array(term)[None] for term in tan_terms(at)]
    x, y, z = tan_places(*terms, pixels)[0].T
    assert_allclose(places.cartesian.xyz.value, [x, y, z], atol=1e-12)


@pytest.mark.parametrize("position", POSITIONS)
def test_two_grids_are_as_far_apart_as_their_corners(position):
    wcs = tan_wcs(position, (67.2, 69.1), turned(0.2))
    shifted = tan_wcs(position, (67.2, 69.4), turned(0.2))
    assert grids_apart(wcs, wcs, (136, 130)) < 1e-6
    assert_allclose(grids_apart(wcs, shifted, (136, 130)), 0.3, rtol=1e-4)
    larger = tan_wcs(position, (1.0, 1.0), 1.01 * turned(0.0))
    assert_allclose(grids_apart(larger, tan_wcs(position, (1.0, 1.0), turned(0.0)), (136, 101)), 1.35, rtol=1e-4)
