from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import t

from translator.metrics import spread
from translator.metrics.apertures import aperture_flux

MEASURES = {measure.name: measure for measure in spread.MEASURES}


def value(name, sample):
    measure = MEASURES[name]
    return measure.summary(measure.each(sample))


def covered(level: float, draws: int, ratio: float) -> float:
    """The right coverage for a value with Gaussian noise among draws with `ratio` times that noise."""
    reach = t.ppf((1 + level) / 2, draws - 1) * ratio * np.sqrt((1 + 1 / draws) / (1 + ratio**2 / draws))
    return 1 - 2 * t.sf(reach, draws - 1)


@pytest.mark.parametrize("draws", [2, 3, 16])
@pytest.mark.parametrize("level", spread.LEVELS)
def test_one_more_draw_is_held_as_often_as_is_said(draws, level):
    values = np.random.default_rng(2).normal(3.0, 2.0, (draws + 1, 40_000))
    assert spread.held(values[0], values[1:], level).mean() == pytest.approx(level, abs=0.012)
    assert covered(level, draws, 1.0) == pytest.approx(level)


def test_one_draw_states_no_interval(oracle):
    one = replace(oracle, draws=oracle.draws[:1])
    assert np.isnan(value("coverage_pixels_68", one)).all()
    assert (value("pit_pixels", one) < 0.01).all()


@pytest.mark.parametrize("percent", [68, 95])
def test_the_oracle_covers_as_it_says(oracle, percent):
    np.testing.assert_allclose(value(f"coverage_pixels_{percent}", oracle), percent / 100, atol=0.008)
    for kind in ("flux", "truth"):
        np.testing.assert_allclose(value(f"coverage_{kind}_{percent}", oracle), percent / 100, atol=0.22)


def test_the_oracle_is_flat(oracle):
    assert (value("pit_pixels", oracle) < 0.01).all()
    assert (value("pit_flux", oracle) < 1.63 / np.sqrt(len(oracle))).all()  # Kolmogorov-Smirnov, 1 %


@pytest.mark.parametrize("percent", [68, 95])
def test_doubled_noise_covers_too_much(noise_doubled, percent):
    due = covered(percent / 100, len(noise_doubled.draws), 2.0)
    np.testing.assert_allclose(value(f"coverage_pixels_{percent}", noise_doubled), due, atol=0.008)


def test_white_noise_covers_pixels_but_not_fluxes(known, white_noise):
    np.testing.assert_allclose(value("coverage_pixels_68", white_noise), 0.68, atol=0.008)
    # in an aperture the noise adds up to sigma √N times the kernel's sum, white noise to sigma √N alone
    lags = np.arange(-4, 5)
    kernel = np.exp(-0.5 * (lags / known.noise_width) ** 2)
    due = covered(0.68, len(white_noise.draws), np.sqrt((kernel**2).sum()) ** 2 / kernel.sum() ** 2)
    assert due < 0.35
    np.testing.assert_allclose(value("coverage_flux_68", white_noise), due, atol=0.2)


def test_draws_without_noise_cover_nothing(noiseless):
    for name in ("coverage_pixels_68", "coverage_pixels_95", "coverage_flux_95"):
        np.testing.assert_array_equal(value(name, noiseless), 0.0)
    assert (value("pit_pixels", noiseless) > 0.4).all()


def test_wrong_flux_is_not_covered(oracle, rescaled):
    bright = np.arange(16, 24)
    for kind in ("flux", "truth"):
        name = f"coverage_{kind}_95"
        assert (value(name, rescaled.take(bright)) < 0.2).all()
        assert (value(name, oracle.take(bright)) > 0.7).all()
    pit = spread.flux_ranks(rescaled.take(bright))["flux_pit"]
    assert (pit < 0.1).all()  # the real galaxy is fainter than every draw


def test_sources_outside_the_aperture_leave_its_flux_covered(oracle, source_dropped, source_added):
    for sample in (source_dropped, source_added):
        np.testing.assert_allclose(value("coverage_flux_68", sample), value("coverage_flux_68", oracle), atol=0.1)


def test_an_aperture_holds_the_light_within_its_radius():
    images = np.ones((1, 1, 41, 41))
    count = aperture_flux(images, 0.2)[0, 0]
    assert count == pytest.approx(np.pi * 10**2, rel=0.02)
    images[0, 0, 0, 0] = np.nan
    assert aperture_flux(images, 0.2)[0, 0] == count
    images[0, 0, 20, 20] = np.nan
    assert np.isnan(aperture_flux(images, 0.2)[0, 0])


def test_missing_pixels_have_no_rank(oracle):
    target = oracle.target.copy()
    target[0, 0] = np.nan
    target[1, :, 20:] = np.nan
    sample = replace(oracle, target=target)
    assert np.isnan(spread.pixel_ranks(sample)["pixels_in_68"][0, 0])
    np.testing.assert_allclose(spread.pixel_ranks(sample)["pixel_ranks"][1].sum(axis=-1), 1.0)
    assert np.isnan(spread.flux_ranks(sample)["flux_pit"][1]).all()
    assert np.isfinite(value("coverage_flux_68", sample)).all()


def test_needs_are_said(oracle):
    bare = replace(oracle, draws=None, truth=None)
    assert not any(measure.applies(bare) for measure in MEASURES.values())
    assert all(measure.applies(oracle) for measure in MEASURES.values())


def test_the_histogram_is_even_for_the_oracle(oracle):
    curve = spread.curve_spread(oracle)
    assert curve.y["pixels"].shape == (2, len(curve.x))
    np.testing.assert_allclose(curve.y["pixels"], 1.0, atol=0.06)
    np.testing.assert_allclose(curve.y["aperture flux"].mean(axis=-1), 1.0)
