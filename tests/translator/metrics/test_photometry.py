from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from translator.metrics import photometry
from translator.metrics import photometry as apertures
from translator.metrics.measure import Sample

MEASURES = {measure.name: measure for measure in photometry.MEASURES}
FACTOR = -2.5 * np.log10(1.1)  # what `rescaled` is fainter by [mag]


def value(name, sample):
    measure = MEASURES[name]
    return measure.summary(measure.each(sample))


def noise_free(sample):
    """The same without the noise of the translation, for a comparison with theory."""
    return replace(sample, output=sample.signal)


@pytest.mark.parametrize("name", ["aperture", "total", "colour", "peak", "peak_colour"])
def test_the_oracle_has_no_offset_beyond_its_noise(name, oracle):
    offset, scatter = value(f"{name}_offset", oracle), value(f"{name}_scatter", oracle)
    known = ~np.isnan(scatter)
    assert known[0]
    assert (np.abs(offset[known]) < 4 * 1.25 * scatter[known] / np.sqrt(len(oracle)) + 0.01).all()
    assert (scatter[known] < 0.1).all()


@pytest.mark.parametrize("name", ["aperture", "total"])
def test_rescaled_light_is_brighter_by_the_factor_at_every_magnitude(name, rescaled):
    sample = noise_free(rescaled)
    np.testing.assert_allclose(value(f"{name}_offset", sample), FACTOR, atol=1e-5)
    np.testing.assert_allclose(value(f"{name}_scatter", sample), 0, atol=1e-5)
    np.testing.assert_allclose(value(f"{name}_slope", sample), 0, atol=1e-5)
    np.testing.assert_allclose(value("colour_offset", sample)[0], 0, atol=1e-5)


def test_a_band_that_is_rescaled_alone_is_seen_in_the_colour(oracle):
    factor = np.array([1.0, 1.1])[:, None, None]
    spoiled = replace(oracle, output=oracle.truth * factor)
    for name in ("colour", "total_colour"):
        np.testing.assert_allclose(value(f"{name}_offset", spoiled), [-FACTOR, np.nan], atol=1e-5)
        np.testing.assert_allclose(value(f"{name}_slope", spoiled), [0, np.nan], atol=1e-5)
    peaks = replace(oracle, output=oracle.target * factor)
    np.testing.assert_allclose(value("peak_colour_offset", peaks)[0], -FACTOR, atol=1e-5)
    np.testing.assert_allclose(value("peak_offset", peaks), [0, FACTOR], atol=1e-5)


def test_a_flux_to_the_power_1_1_has_a_slope_of_a_tenth(oracle, known):
    flux = known.galaxies.flux
    light = known.galaxies.draw() * (flux**0.1)[..., None, None] + known.companions.draw()
    spoiled = replace(oracle, output=light)
    for name in ("aperture_slope", "total_slope"):
        np.testing.assert_allclose(value(name, spoiled), 0.1, atol=0.005)
    # of the colour, 0.1 (g - r), too: what comes of that is the slope of colour with magnitude, a tenth
    magnitudes = apertures.magnitude(flux)
    used = ~np.isnan(MEASURES["colour_slope"].each(spoiled)["colour_error"][:, 0])
    due = 0.1 * np.polyfit(magnitudes[used, 0], (magnitudes[:, 0] - magnitudes[:, 1])[used], 1)[0]
    np.testing.assert_allclose(value("colour_slope", spoiled)[0], due, atol=0.002)
    np.testing.assert_allclose(value("total_colour_slope", spoiled)[0], due, atol=0.01)


@pytest.mark.parametrize(("amplitude", "due"), [(1.0, np.sqrt(2)), (2.0, np.sqrt(5)), (0.0, 1.0)])
def test_the_scatter_of_peaks_is_that_of_the_noise_of_both(amplitude, due):
    """The galaxies are so steep that the same pixel is always the brightest: the scatter is sigma / peak of two images
    [mag].
    """
    random, shape = np.random.default_rng(4), (2000, 2, 3, 3)
    peak = np.zeros((3, 3))
    peak[1, 1] = 50.0
    images = {"target": peak + random.normal(size=shape), "output": peak + amplitude * random.normal(size=shape)}
    steep = Sample(("g", "r"), 0.2, signal=images["target"], sigma=np.ones(shape[:2]), **images)
    np.testing.assert_allclose(value("peak_scatter", steep), 1.0857 / 50 * due, rtol=0.08)
    np.testing.assert_allclose(value("peak_colour_scatter", steep)[0], 1.0857 / 50 * due * np.sqrt(2), rtol=0.08)


def in_circle(light, radius, shift=0.0, blur=0.0):
    """Return the share of Gaussians within a circle around their centre before a shift (galaxy,), by fine columns."""
    x = np.linspace(-radius, radius, 4001)
    half = np.sqrt(np.maximum(radius**2 - x**2, 0))
    along, across = np.hypot(light.along, blur)[:, None], np.hypot(light.across, blur)[:, None]
    density = norm.pdf(x, shift, along) * (2 * norm.cdf(half / across) - 1)
    return density.sum(axis=1) * (x[1] - x[0])


@pytest.mark.parametrize(("name", "shift", "blur"), [("shifted", 1.0, 0.0), ("blurred", 0.0, 1.5)])
def test_what_is_shifted_or_blurred_loses_what_leaves_the_aperture(name, shift, blur, known, request):
    sample = noise_free(request.getfixturevalue(name))
    radius = apertures.APERTURE / 2 / known.scale
    kept = in_circle(known.galaxies, radius, shift, blur) / in_circle(known.galaxies, radius)
    errors = MEASURES["aperture_offset"].each(sample)["aperture_error"]
    bright = ~np.isnan(errors)
    expected = np.broadcast_to(-2.5 * np.log10(kept)[:, None], errors.shape)
    np.testing.assert_allclose(errors[bright], expected[bright], atol=0.015)
    assert (np.abs(value("total_offset", sample)) < np.median(expected) / 2 + 0.01).all()


def test_the_total_aperture_holds_nearly_all_light(known, oracle):
    magnitudes = MEASURES["total_offset"].each(oracle)["total_magnitude"]
    missing = magnitudes - apertures.magnitude(known.galaxies.flux)
    assert (np.abs(np.median(missing, axis=0)) < 0.1).all()


def test_a_lost_galaxy_is_too_faint_by_two_and_a_half_magnitudes(oracle):
    lost = replace(oracle, output=np.zeros_like(oracle.output))
    np.testing.assert_allclose(value("aperture_offset", lost), 2.5)
    for name in ("colour_offset", "total_colour_offset", "peak_colour_offset", "aperture_scatter", "aperture_slope"):
        assert np.isnan(value(name, lost)).all(), name  # nothing is left to have a colour or to differ


def test_the_sky_level_is_in_sigmas_of_the_target(oracle, known):
    raised = replace(oracle, output=oracle.output + np.array([0.01, 0.03], np.float32)[:, None, None])
    difference = value("sky_level_offset", raised) - value("sky_level_offset", oracle)
    np.testing.assert_allclose(difference, [0.5, 1.0], rtol=0.1)
    assert (np.abs(value("sky_level_offset", oracle)) < 0.1).all()
    assert (value("sky_level_scatter", oracle) < 0.2).all()


def test_pixels_without_a_value_do_not_count(oracle):
    output = oracle.output.copy()
    output[:, :, 10:14, 30:40] = np.nan
    gap = replace(oracle, output=output)
    np.testing.assert_allclose(value("aperture_offset", gap), value("aperture_offset", oracle), atol=0.03)
    assert np.isfinite(value("sky_level_offset", gap)).all()


def test_without_truth_the_target_is_the_reference(oracle):
    real = replace(oracle, truth=None, output=oracle.target)
    np.testing.assert_allclose(value("total_offset", real), 0, atol=1e-12)
    assert (np.abs(value("total_offset", replace(oracle, truth=None))) < 0.15).all()


def test_curves_have_the_median_of_each_bin_of_a_magnitude(rescaled):
    for curve in photometry.CURVES[:2]:
        found = curve(noise_free(rescaled))
        middle = found.y["median"]
        assert middle.shape == (2, len(found.x))
        assert np.isfinite(middle).any(axis=1).all()
        np.testing.assert_allclose(middle[np.isfinite(middle)], FACTOR, atol=1e-5)
    for curve in photometry.CURVES[2:]:
        found = curve(noise_free(rescaled)).y["median"]
        np.testing.assert_allclose(found[0][np.isfinite(found[0])], 0, atol=1e-5)
        assert np.isnan(found[1]).all()
