import numpy as np
import pytest
from numpy.testing import assert_allclose

from translator.metrics.consistency import MEASURES
from translator.metrics.measure import Sample

(MEASURE,) = MEASURES


def sample(seen, source, sigma, gain=None):
    blank = np.zeros((len(seen), 1, 4, 4))
    return Sample(
        ("r",), 0.2, blank, blank, blank, sigma, seen=seen, source=source, source_sigma=sigma, source_gain=gain
    )


def value(*arguments):
    return float(MEASURE.summary(MEASURE.each(sample(*arguments)))[0])


@pytest.fixture
def noise():
    return np.random.default_rng(0).normal(size=(6, 1, 40, 40))


def test_a_right_signal_leaves_the_noise_and_nothing_else(noise):
    seen = np.full(noise.shape, 3.0)
    sigma = np.full((6, 1), 0.5)
    assert_allclose(value(seen, seen + 0.5 * noise, sigma), 1, atol=0.05)
    assert_allclose(value(seen + 0.5 * noise, seen + 0.5 * noise, sigma), 0, atol=1e-12)  # it follows the noise
    assert value(seen + 1.0, seen + 0.5 * noise, sigma) > 4


def test_photons_count_as_noise_where_the_gain_is_known(noise):
    seen, sigma, gain = np.full(noise.shape, 8.0), np.full((6, 1), 0.1), np.full((6, 1), 2.0)
    source = seen + np.sqrt(0.01 + 8 / 2) * noise
    assert_allclose(value(seen, source, sigma, gain), 1, atol=0.05)
    assert value(seen, source, sigma) > 10


def test_a_wild_pixel_counts_no_more_than_25():
    seen, sigma = np.zeros((3, 1, 10, 10)), np.ones((3, 1))
    source = seen.copy()
    source[:, 0, 2, 2] = 1e9
    assert_allclose(value(seen, source, sigma), 25 / 100)


def test_without_noise_that_is_known_there_is_no_number():
    seen = np.zeros((3, 1, 10, 10))
    assert np.isnan(MEASURE.each(sample(seen, seen, np.full((3, 1), np.nan)))["consistency"]).all()
