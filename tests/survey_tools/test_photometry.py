import numpy as np
import pytest
from astropy import units as u
from numpy.testing import assert_allclose, assert_array_equal

from survey_tools.photometry import (
    counts_to_nanomaggies,
    magnitude_to_nanomaggies,
    nanomaggies_per_count,
    nanomaggies_to_counts,
    nanomaggies_to_magnitude,
)
from survey_tools.surveys import CFHT, SDSS

ZERO_POINTS = [22.5, 25.0, 26.54, 27.0, 30.0]


def test_the_papers_division_by_a_thousand_is_computed():
    assert_allclose(nanomaggies_per_count(CFHT.zero_point), 1e-3, rtol=1e-12)
    assert_allclose(counts_to_nanomaggies(np.array([1000.0, -250.0]), 30.0), [1.0, -0.25], rtol=1e-12)


def test_sdss_is_in_nanomaggies_already():
    assert nanomaggies_per_count(SDSS.zero_point) == 1


@pytest.mark.parametrize("zero_point", ZERO_POINTS)
def test_one_count_has_the_magnitude_of_the_zero_point(zero_point):
    assert_allclose(nanomaggies_to_magnitude(counts_to_nanomaggies(1.0, zero_point)), zero_point, atol=1e-12)


@pytest.mark.parametrize("zero_point", ZERO_POINTS)
def test_counts_survive_the_round_trip(zero_point):
    counts = np.array([[-820.0, 0.0, 1e-6], [1.0, 6e4, 1e9]])
    assert_allclose(nanomaggies_to_counts(counts_to_nanomaggies(counts, zero_point), zero_point), counts, rtol=1e-14)


def test_magnitudes_survive_the_round_trip():
    magnitudes = np.linspace(-26, 40, 100)
    assert_allclose(nanomaggies_to_magnitude(magnitude_to_nanomaggies(magnitudes)), magnitudes, atol=1e-12)


def test_magnitudes_are_those_of_astropy():
    flux = np.array([1e-3, 0.5, 1.0, 76.7, 1e5])
    theirs = (flux * u.nmgy).to_value(u.ABmag, u.zero_point_flux(1 * u.AB))
    assert_allclose(nanomaggies_to_magnitude(flux), theirs, atol=1e-3)  # 3631 Jy is rounded


def test_known_values():
    """22.5 is one nanomaggy; five magnitudes are a factor of a hundred; r = 17.8, the SDSS main sample's limit."""
    assert_allclose(magnitude_to_nanomaggies([22.5, 17.5, 27.5]), [1, 100, 0.01])
    assert_allclose(magnitude_to_nanomaggies(17.8), 75.8578, rtol=1e-5)


def test_what_is_not_positive_has_no_magnitude():
    assert_array_equal(np.isnan(nanomaggies_to_magnitude([-1.0, 0.0, np.nan, 1.0])), [True, True, True, False])


def test_missing_pixels_stay_missing():
    assert_array_equal(np.isnan(counts_to_nanomaggies(np.array([np.nan, 1.0]), 30.0)), [True, False])
