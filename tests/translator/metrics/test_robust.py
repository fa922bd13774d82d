"""Statistics that a few odd galaxies must not change."""

import numpy as np
import pytest

from translator.metrics.robust import in_bins, sky_level, slope, spread

RANDOM = np.random.default_rng(0)


def test_spread_of_a_gaussian_is_its_sigma_whatever_some_do():
    values = RANDOM.normal(3.0, 2.0, (20_000, 2))
    values[::50, 0], values[::50, 1] = 1e6, np.nan
    assert spread(values) == pytest.approx([2.0, 2.0], rel=0.05)


def test_one_galaxy_has_no_spread():
    assert np.isnan(spread(np.array([[1.0, np.nan]]))).all()


def test_slope_is_found_among_outliers_and_gaps():
    reference = RANDOM.normal(0, 0.3, (2000, 2))
    output = reference * [0.8, 1.1] + [0.5, -0.2] + RANDOM.normal(0, 0.02, reference.shape)
    output[::40] += 30.0
    output[1::40] = np.nan
    assert slope(output, reference) == pytest.approx([0.8, 1.1], abs=0.01)


def test_there_is_no_slope_on_one_value_or_on_none():
    constant = np.full((10, 1), 0.2)
    assert np.isnan(slope(RANDOM.normal(0, 1, (10, 1)), constant)).all()
    assert np.isnan(slope(constant * np.nan, constant)).all()


def test_bins_hold_as_many_galaxies_each():
    x = RANDOM.uniform(0, 8, (4000, 2))
    middles, medians = in_bins(x, 2 * x)
    assert middles == pytest.approx(np.arange(8) + 0.5, abs=0.1)
    assert medians == pytest.approx(np.tile(2 * middles, (2, 1)), abs=0.1)


def test_bins_without_values_are_one_of_nan():
    nothing = np.full((5, 3), np.nan)
    middles, medians = in_bins(nothing, nothing)
    assert np.isnan(middles).all()
    assert np.isnan(medians).all()
    assert medians.shape == (3, 1)


def test_a_constant_is_one_bin():
    middles, medians = in_bins(np.full((5, 1), 2.0), np.arange(5.0)[:, None])
    assert middles.tolist() == [2.0]
    assert medians.tolist() == [[2.0]]


def test_the_sky_is_read_off_the_frame():
    image = np.full((40, 40), 0.7)
    image[4:-4, 4:-4] = 9.0
    image[0] = np.nan
    assert sky_level(image) == 0.7
    assert sky_level(image * np.nan) == 0.0
