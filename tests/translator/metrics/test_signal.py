from dataclasses import replace

import numpy as np
import pytest

from translator.metrics import signal
from translator.metrics.autocorrelation import noise_correlation
from translator.metrics.measure import interval

MEASURES = {measure.name: measure for measure in signal.MEASURES}
FINEST = 2 * 0.2  # two pixels [arcsec]


def value(name, sample):
    measure = MEASURES[name]
    return measure.summary(measure.each(sample))


def test_a_wrong_scale_is_the_residual(rescaled):
    np.testing.assert_allclose(value("signal_residual", rescaled), 0.1, rtol=1e-4)
    np.testing.assert_allclose(value("signal_residual_real", rescaled.take(np.arange(12, 24))), 0.1, atol=0.02)


def test_a_shift_is_the_residual(known, shifted):
    """Two Gaussians of width a that are s apart: 2 (1 − exp(−s²/4a²)) of the light's power."""
    bright = np.arange(16, 24)
    lights = known.galaxies, known.companions
    power = np.array([light.flux[:, 1] ** 2 / (light.along * light.across) for light in lights])[:, bright]
    moved = np.array([2 * (1 - np.exp(-(known.shift**2) / (4 * light.along[bright] ** 2))) for light in lights])
    due = (power * moved).sum(axis=0) / power.sum(axis=0)
    found = signal.residual_from_truth(shifted.take(bright))
    np.testing.assert_allclose(found["residual_power"] / found["light_power"], due[:, None] * [1, 1], rtol=0.2)
    np.testing.assert_allclose((found["residual_power"] / found["light_power"])[:, 1], due, rtol=0.05)
    expected = np.sqrt(np.median(due))
    np.testing.assert_allclose(value("signal_residual_real", shifted.take(bright)), expected, rtol=0.1)


def test_a_blur_is_the_residual(known, blurred):
    bright, light = np.arange(20, 24), known.galaxies
    a, b = light.along[bright], light.across[bright]
    wide = [np.hypot(axis, known.blur) for axis in (a, b)]
    # of ∫ G(p) G(q) over Gaussians of widths p and q, in units of ∫ G(p)²: √(2 p²/(p² + q²)) in each dimension
    cross = np.sqrt(2 * a**2 / (a**2 + wide[0] ** 2)) * np.sqrt(2 * b**2 / (b**2 + wide[1] ** 2))
    due = 1 + a * b / (wide[0] * wide[1]) - 2 * cross
    found = signal.residual_from_truth(blurred.take(bright))
    np.testing.assert_allclose((found["residual_power"] / found["light_power"])[:, 1], due, rtol=0.1)


def test_a_dropped_source_is_its_share_of_the_power(known, source_dropped):
    light, companion = known.galaxies, known.companions
    power = [one.flux[:, 1] ** 2 / (4 * np.pi * one.along * one.across) for one in (light, companion)]
    found = signal.residual_from_truth(source_dropped)
    share = (found["residual_power"] / found["light_power"])[:, 1]
    np.testing.assert_allclose(share, power[1] / (power[0] + power[1]), rtol=0.1)


@pytest.mark.parametrize("name", ["oracle", "rescaled", "noise_doubled", "noiseless", "white_noise", "blurred"])
def test_noise_and_brightness_and_blur_leave_the_ring_correlation(name, request):
    sample = request.getfixturevalue(name)
    correlation = signal.ring_correlation(signal.rings_with_truth(sample), 1e-2)
    assert np.nanmin(correlation) > 0.95
    oracle = request.getfixturevalue("oracle")
    np.testing.assert_allclose(value("signal_scale", sample), value("signal_scale", oracle))


def test_a_shift_puts_the_scale_where_theory_does(known, make_sample, oracle):
    """Round galaxies: the correlation in a ring of frequency k is J0(2 π k s), 0.5 where 2 π k s = 1.5211."""
    shift = 4.0
    light = replace(known.galaxies, along=np.full(24, 2.0), across=np.full(24, 2.0))
    sample = replace(make_sample(light.draw(shift=shift)), truth=light.draw().astype(np.float32))
    sample = replace(sample, target=sample.truth + oracle.target - oracle.truth)
    due = 2 * np.pi * shift * known.scale / 1.5211
    np.testing.assert_allclose(value("signal_scale", sample), due, rtol=0.05)
    np.testing.assert_allclose(value("signal_scale_real", sample), due, rtol=0.05)


def test_light_of_another_galaxy_agrees_at_no_scale(oracle):
    other = replace(oracle, signal=np.random.default_rng(3).normal(size=oracle.signal.shape).astype(np.float32))
    assert (value("signal_scale", other) > 20 * FINEST).all()


def test_real_images_agree_with_their_truth_as_far_as_noise_lets_see(oracle):
    correlation = signal.ring_correlation(signal.rings_with_real(oracle), 0.3)
    np.testing.assert_allclose(correlation[np.isfinite(correlation)], 1.0, atol=0.2)
    assert (value("signal_scale_real", oracle) < 2.0).all()
    assert (value("signal_scale_real", oracle) >= FINEST).all()


def test_the_correlation_of_noise_is_measured_beside_the_galaxies(known, oracle):
    found = noise_correlation(oracle.target, oracle.sigma)
    lag = np.arange(-signal.LAGS, signal.LAGS + 1)
    due = np.exp(-(lag**2) / (4 * known.noise_width**2))
    np.testing.assert_allclose(found[:, signal.LAGS], due * np.ones((2, 1)), atol=0.06)
    np.testing.assert_allclose(found[:, :, signal.LAGS], due * np.ones((2, 1)), atol=0.06)


def test_the_power_of_noise_in_rings_is_that_of_its_images(oracle):
    noise = oracle.target - oracle.truth
    sample = replace(oracle, signal=noise, target=noise)
    found = signal.rings(sample, noise, noise_correlation(oracle.target, oracle.sigma))
    ratio = found["light_rings"].mean(axis=0) / found["noise_rings"].mean(axis=0)
    np.testing.assert_allclose(ratio[:, 3:15], 1.0, atol=0.15)


def test_missing_pixels(oracle):
    target, truth = oracle.target.copy(), oracle.truth.copy()
    target[0, 0, 3:5] = truth[0, 0, 3:5] = np.nan
    target[1] = np.nan
    sample = replace(oracle, target=target, truth=truth)
    assert np.isnan(signal.rings_with_truth(sample)["cross_rings"][0, 0]).all()
    for name in MEASURES:
        assert np.isfinite(value(name, sample)).all(), name
    assert np.isnan(signal.residual_from_real(sample)["light_power"][1]).all()


def test_needs_are_said(oracle):
    real = replace(oracle, truth=None)
    assert [measure.name for measure in signal.MEASURES if measure.applies(real)] == [
        "signal_residual_real",
        "signal_scale_real",
    ]


def test_curve_with_and_without_truth(oracle, blurred):
    for sample in (blurred, replace(blurred, truth=None)):
        curve = signal.curve_ring_correlation(sample)
        assert curve.y["correlation"].shape == (2, len(curve.x))
        ratio = curve.y["amplitude / its amplitude"][1]
        due = np.exp(-0.5 * (2 * np.pi * curve.x * 0.2 * 1.5) ** 2)
        np.testing.assert_allclose(ratio[1:5], due[1:5], atol=0.06)


def test_intervals_are_quick_and_hold_the_value(shifted):
    measure = MEASURES["signal_scale_real"]
    statistics = measure.each(shifted)
    low, high = interval(measure, statistics, np.random.default_rng(1))
    found = measure.summary(statistics)
    assert (low <= found).all()
    assert (found <= high).all()


def test_the_residual_of_two_arrays_is_that_of_the_measure():
    rng = np.random.default_rng(5)
    truth = rng.normal(1, 0.1, (9, 2, 8, 8))
    made = 1.1 * truth
    made[:, 1] = truth[:, 1]
    made[0, 0, 0] = np.nan
    np.testing.assert_allclose(signal.residual_of(made, truth), [0.1, 0.0], atol=1e-12)
