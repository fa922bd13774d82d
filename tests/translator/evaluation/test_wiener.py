import numpy as np
import torch
from numpy.testing import assert_allclose

from translator.data.survey_measures import flux_within
from translator.evaluation.wiener import (
    FilterConditions,
    by_seeing,
    filter_noise,
    filter_up,
    learn_spectrum,
    observed,
    restored,
)
from translator.networks.layers import Grid
from translator.networks.observation_operator import ObservationOperator
from translator.runs.apply import resampled

SCALES, SIZES, SEEING = (0.396, 0.186), (64, 136), (1.3, 0.7)
OPERATOR = by_seeing(
    ObservationOperator(*(Grid(1, size, (), scale) for size, scale in zip(SIZES, SCALES, strict=True)))
)
RATIO = SCALES[0] / SCALES[1]


def moffat(size, scale, fwhm, flux, row=0.0, col=0.0):
    """Return a star with Moffat's profile, beta 3.5, at an offset from the centre [arcsec]."""
    radius = fwhm / (2 * np.sqrt(2 ** (1 / 3.5) - 1))
    place = (np.arange(size) - (size - 1) / 2) * scale
    star = (1 + ((place[:, None] - row) ** 2 + (place - col) ** 2) / radius**2) ** -3.5
    return flux * star / star.sum()


def known(count, sigma, to_poorer=False):
    ratio = 1 / RATIO if to_poorer else RATIO
    alignment = np.broadcast_to([[ratio, 0, 0], [0, ratio, 0]], (count, 2, 3))
    seeing = (np.full((count, 1), width) for width in SEEING)
    return FilterConditions(alignment, *seeing, np.full((count, 1), sigma))


def sky(fluxes, sigma, which):
    rng = np.random.default_rng(which)
    light = np.stack([moffat(SIZES[which], SCALES[which], SEEING[which], flux) for flux in fluxes])[:, None]
    return light, light + rng.normal(0, sigma, light.shape)


def test_it_restores_a_star_better_than_interpolation_does():
    fluxes = np.geomspace(50, 500, 8)
    truth, _ = sky(fluxes, 0.0, 1)
    _, seen = sky(fluxes, 0.02, 0)
    spectrum = learn_spectrum(truth, np.full((8, 1), 1e-4), SCALES[1])
    conditions = known(8, 0.02)
    made = restored(seen, conditions, OPERATOR, spectrum, SIZES[1])
    plain = resampled(seen, conditions.alignment, SIZES[1])

    def residual(images):
        return np.median(((images - truth) ** 2).sum(axis=(1, 2, 3)) / (truth**2).sum(axis=(1, 2, 3))) ** 0.5

    assert residual(made) < 0.5 * residual(plain)
    assert_allclose(made.sum(axis=(1, 2, 3)), fluxes, rtol=0.05)


def test_down_is_the_poorer_surveys_image():
    fluxes = np.geomspace(50, 500, 4)
    _, given = sky(fluxes, 1e-4, 1)
    truth, _ = sky(fluxes, 0.0, 0)
    spectrum = learn_spectrum(given, np.full((4, 1), 1e-4), SCALES[1])
    made = observed(given, known(4, 1e-4, to_poorer=True), OPERATOR, spectrum, SIZES[0])
    assert_allclose(made.sum(axis=(1, 2, 3)), fluxes, rtol=0.03)
    assert np.abs(made - truth).max() < 0.12 * truth.max()  # Kolmogorov's profile is not Moffat's


def test_between_no_noise_and_nothing_but_noise():
    passed, power = torch.tensor([0.5, 0.1]), torch.tensor([1.0, 1.0])
    assert_allclose(filter_up(passed, power, torch.tensor([0.0, 0.0])), [2, 10])
    assert_allclose(filter_up(passed, power, torch.tensor([1e12, 1e12])), 0, atol=1e-9)
    assert_allclose(filter_noise(power, torch.tensor([0.0, 1.0])), [1, 0.5])
    assert_allclose(filter_up(passed, 0 * power, 0 * power), 0)


def test_a_spectrum_is_that_of_a_flux_of_one():
    _, seen = sky([300.0] * 20, 0.001, 1)
    spectrum = learn_spectrum(seen, np.full((20, 1), 0.001), SCALES[1])
    flux, error = flux_within(seen, np.full((20, 1), 0.001), SCALES[1])
    assert_allclose(spectrum.power[0, 0], (300 / flux[0, 0]) ** 2, rtol=0.03)
    assert spectrum.power[0, -1] < 1e-3
    assert (error < 0.01 * flux).all()
