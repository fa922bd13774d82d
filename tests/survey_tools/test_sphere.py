import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from numpy.testing import assert_allclose, assert_array_equal

from survey_tools.sphere import chord, directions, east_and_north, friends_of_friends, unit_vectors

RA, DEC = np.array([0.0, 359.999, 123.4, 200.0, 7.0]), np.array([0.0, -30.0, 89.9999, -90.0, 45.0])


def test_points_are_those_of_astropy():
    assert_allclose(unit_vectors(RA, DEC), SkyCoord(RA, DEC, unit="deg").cartesian.xyz.value.T, atol=1e-15)
    assert_array_equal(unit_vectors(RA, DEC, axis=0), unit_vectors(RA, DEC).T)
    assert np.isnan(unit_vectors(np.nan, 0.0)).any()


def test_directions_are_the_inverse_of_points_of_any_length():
    ra, dec = directions(3.0 * unit_vectors(RA, DEC)).T
    assert_allclose(dec, DEC, atol=1e-9)
    assert_allclose(ra[:3], RA[:3], atol=1e-9)


@pytest.mark.parametrize("axis", [0, 1])
def test_east_and_north_are_where_a_small_step_leads(axis):
    ra, dec = RA[:3], np.array([0.0, -30.0, 60.0])
    here, step = unit_vectors(ra, dec), np.radians(1e-5)
    ahead = SkyCoord(ra, dec, unit="deg").directional_offset_by((90 - 90 * axis) * u.deg, 1e-5 * u.deg)
    there = unit_vectors(ahead.ra.deg, ahead.dec.deg)
    assert_allclose((there - here) / step, east_and_north(ra, dec)[axis], atol=1e-6)


def test_a_chord_is_the_distance_in_space():
    a, b = unit_vectors([10.0, 70.0], [0.0, 0.0])
    assert_allclose(chord(np.radians(60)), np.linalg.norm(a - b))
    assert chord(4.0) == chord(np.pi) == 2.0


def test_friends_are_found_across_right_ascension_zero_and_a_pole():
    points = unit_vectors([359.95, 0.05, 0.15, 10.0, 190.0, 0.0], [0.0, 0.0, 0.0, 89.96, 89.96, 1.0])
    assert friends_of_friends(points, np.radians(0.1001)).tolist() == [0, 0, 0, 1, 1, 2]
    assert friends_of_friends(points[:0], 0.1).tolist() == []
