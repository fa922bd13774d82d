import numpy as np
import pytest
from numpy.testing import assert_allclose

from survey_tools.twin_sky.exposure import correlated_noise
from translator.data.survey_measures import noise_of, photon_gain
from translator.networks.measured_survey import LAGS

SCALE = 0.186


def galaxies(count, size, flux, radius=0.6):
    place = (np.arange(size) - (size - 1) / 2) * SCALE
    distance = np.hypot(place[:, None], place)
    profile = np.exp(-1.68 * distance / radius)
    return np.asarray(flux).reshape(count, 1, 1) * profile / profile.sum()


def test_noise_is_measured_apart_from_the_wings_of_galaxies():
    rng = np.random.default_rng(0)
    light = galaxies(12, 136, np.geomspace(10, 3000, 12), radius=1.5)
    images = np.stack([light + 0.5 * np.stack([correlated_noise((136, 136), rng) for _ in range(12)])], axis=1)
    sigma, correlation = noise_of(images, np.full((12, 1), 0.6), ("r",), SCALE)
    there = np.isfinite(sigma[:, 0])
    assert there.sum() > 8
    assert_allclose(np.median(sigma[there]), 0.5, rtol=0.02)
    line = np.nanmedian(correlation[:, 0, LAGS, LAGS:], axis=0)
    assert_allclose(line[:4], [1, 0.093, -0.054, 0.022], atol=0.015)


def test_an_image_without_sky_has_no_noise_that_could_be_measured():
    images = np.full((1, 1, 15, 15), 3.0)  # smaller than what is always masked
    sigma, correlation = noise_of(images, np.full((1, 1), 0.01), ("r",), SCALE)
    assert np.isnan(sigma).all()
    assert np.isnan(correlation).all()


@pytest.mark.parametrize("gain", [5.0, 50.0])
def test_the_gain_is_found_by_how_noise_grows_with_flux(gain):
    rng = np.random.default_rng(1)
    light = galaxies(30, 80, rng.uniform(2e3, 6e3, 30), radius=3.0)
    images = light + rng.normal(size=light.shape) * np.sqrt(0.3**2 + light / gain)
    assert_allclose(photon_gain(images, np.full(30, 0.3)), gain, rtol=0.35)


def test_without_photon_noise_the_gain_is_large():
    rng = np.random.default_rng(2)
    light = galaxies(30, 80, rng.uniform(2e3, 6e3, 30), radius=3.0)
    assert photon_gain(light + rng.normal(0, 0.3, light.shape), np.full(30, 0.3)) > 100  # 20 times the light's
