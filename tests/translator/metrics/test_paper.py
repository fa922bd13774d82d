from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import foldnorm

from translator.metrics import paper
from translator.metrics.measure import interval
from translator.networks import discriminator

MEASURES = {measure.name: measure for measure in paper.MEASURES}


def value(name, sample):
    measure = MEASURES[name]
    return measure.summary(measure.each(sample))


def test_the_filter_is_that_of_the_discriminator():
    np.testing.assert_array_equal(paper.HIGH_PASS, discriminator.HIGH_PASS)


def test_the_filter_hides_planes_and_shows_pixels():
    row, col = np.mgrid[:20, :20].astype(np.float32)
    assert np.abs(paper.high_pass(3 + 2 * row - col)).max() < 1e-4
    impulse = np.zeros((1, 1, 9, 9))
    impulse[0, 0, 4, 4] = 1.0
    np.testing.assert_allclose(paper.high_pass(impulse)[0, 0], paper.HIGH_PASS[::-1, ::-1])


def test_the_summed_error_of_wrong_light_is_that_of_a_folded_gaussian(shifted):
    sample = shifted
    width = np.sqrt(2) * sample.sigma[..., None, None]
    due = foldnorm.mean(np.abs(sample.signal - sample.truth) / width, scale=width).sum(axis=(-2, -1))
    statistics = paper.summed_errors(sample)
    np.testing.assert_allclose(statistics["summed_error"], due, rtol=0.08)
    np.testing.assert_allclose(statistics["summed_error"].mean(axis=0), due.mean(axis=0), rtol=0.01)


def test_a_wrong_scale_makes_figure_5_rise(oracle, rescaled):
    assert (value("figure5_rise", rescaled) > 1.04 * value("figure5_rise", oracle)).all()


def test_missing_pixels_are_left_out_of_the_sums(oracle):
    target = oracle.target.copy()
    target[:, :, :24] = np.nan
    target[3, 1] = np.nan
    statistics = paper.summed_errors(replace(oracle, target=target))
    np.testing.assert_allclose(statistics["summed_noise"][0], 24 * 48 * oracle.sigma[0] * np.sqrt(2 / np.pi))
    assert all(np.isnan(values[3, 1]) for values in statistics.values())
    np.testing.assert_allclose(value("figure5_ratio", replace(oracle, target=target)), 1.0, atol=0.03)
    assert np.isfinite(
        value("figure6_log_ratio", replace(oracle, target=np.where(target == 0, 0, oracle.target)))
    ).all()
    assert np.isnan(value("figure6_log_ratio", replace(oracle, target=target))).all()


def test_figure_6_of_the_oracle_is_at_its_floor(oracle):
    floor = value("figure6_log_ratio", replace(oracle, output=oracle.again))
    assert (value("figure6_log_ratio", oracle) < 0.03).all()
    assert (floor < 0.03).all()
    np.testing.assert_allclose(value("figure6_highest", oracle), 0.0, atol=0.02)


def test_figure_6_sees_the_amplitude_of_noise(noise_doubled, noiseless):
    np.testing.assert_allclose(value("figure6_highest", noise_doubled), np.log10(2), atol=0.02)
    np.testing.assert_allclose(value("figure6_log_ratio", noise_doubled), np.log10(2), atol=0.03)
    assert (value("figure6_highest", noiseless) < -2).all()
    assert (value("figure6_log_ratio", noiseless) > 0.8).all()


def test_figure_6_sees_the_colour_of_noise(known, oracle, white_noise):
    """White noise of the same amplitude has too little power at low frequencies and too much at high ones, as the
    kernel says.
    """
    lags = np.arange(-4, 5)
    kernel = np.exp(-0.5 * (lags / known.noise_width) ** 2)
    kernel /= np.sqrt((kernel**2).sum())
    rows, cols = paper.frequencies(44, 44)
    along, across = (np.abs((kernel * np.exp(-2j * np.pi * axis[..., None] * lags)).sum(-1)) for axis in (rows, cols))
    seen = np.abs(np.fft.rfft2(paper.HIGH_PASS, (44, 44)))
    highest = np.maximum(np.abs(rows), cols) >= paper.HIGHEST
    due = np.log10(seen[highest].mean() / (seen * along * across)[highest].mean())
    found = value("figure6_highest", white_noise)
    np.testing.assert_allclose(found, due, atol=0.03)
    assert (value("figure6_log_ratio", white_noise) > 10 * value("figure6_log_ratio", oracle)).all()


def test_the_same_images_have_no_difference(oracle):
    same = replace(oracle, output=oracle.target)
    np.testing.assert_array_equal(value("figure6_log_ratio", same), 0.0)
    np.testing.assert_array_equal(value("figure5_ratio", same), 0.0)


def test_an_empty_output_has_a_value(oracle):
    empty = replace(oracle, output=np.zeros_like(oracle.output))
    np.testing.assert_allclose(value("figure6_log_ratio", empty), 6.0)


def test_figure_5_is_drawn_over_the_lines(oracle):
    curve = paper.curve_figure5(oracle)
    assert curve.y["median"].shape == (2, len(curve.x))
    found = curve.y["median"] / curve.y["√2 σ"]
    np.testing.assert_allclose(found[np.isfinite(found)], 1.0, atol=0.08)
    ratio = paper.curve_figure5_ratio(oracle)
    np.testing.assert_array_equal(ratio.y["median"], found)
    assert (ratio.y["optimal"] == 1).all()
    np.testing.assert_allclose(curve.y["σ"][:, 0], 48 * 48 * np.array([0.02, 0.03]) * np.sqrt(2 / np.pi))


def test_figure_6_is_drawn_with_zero_frequency_in_the_middle(oracle):
    curve = paper.curve_figure6(oracle)
    due = np.abs(np.fft.fft2(paper.high_pass(oracle.target.astype(float)))).mean(axis=0)
    np.testing.assert_allclose(curve.maps["target"], np.fft.fftshift(due, axes=(-2, -1)), rtol=2e-3, atol=1e-3)
    assert curve.maps["target"].argmax() != 0
    np.testing.assert_allclose(curve.y["output"][:, 8:] / curve.y["target"][:, 8:], 1.0, atol=0.1)


def test_figure_6_of_an_odd_number_of_pixels(oracle):
    odd = replace(oracle, output=oracle.output[..., 1:, 1:], target=oracle.target[..., 1:, 1:])
    due = np.abs(np.fft.fft2(paper.high_pass(odd.target.astype(float)))).mean(axis=0)
    np.testing.assert_allclose(paper.curve_figure6(odd).maps["target"], np.fft.fftshift(due, axes=(-2, -1)), rtol=5e-3)
    assert (value("figure6_log_ratio", odd) < 0.03).all()


@pytest.mark.parametrize("name", ["figure5_ratio", "figure6_highest"])
def test_intervals_hold_the_value(name, oracle):
    measure = MEASURES[name]
    statistics = measure.each(oracle)
    low, high = interval(measure, statistics, np.random.default_rng(1))
    found = measure.summary(statistics)
    assert (low < found).all()
    assert (found < high).all()


def test_one_galaxy_is_enough(oracle):
    one = oracle.take(np.array([5]))
    assert all(np.isfinite(value(name, one)).all() for name in MEASURES)
