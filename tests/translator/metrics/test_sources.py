from dataclasses import replace

import numpy as np

from translator.metrics import sources
from translator.metrics.photometry import magnitude

MEASURES = {measure.name: measure for measure in sources.MEASURES}


def value(name, sample):
    measure = MEASURES[name]
    return measure.summary(measure.each(sample))


def test_dropped_sources_are_lost_one_a_galaxy(source_dropped):
    found = MEASURES["sources_lost"].each(source_dropped)
    np.testing.assert_array_equal(found["sources_lost"], 1)
    np.testing.assert_array_equal(found["sources_invented"], 0)
    share = len(source_dropped) / found["sources_there"].sum(axis=0)
    np.testing.assert_allclose(value("sources_lost", source_dropped), share)
    np.testing.assert_allclose(value("target_sources_lost", source_dropped), 0.5, atol=0.05)
    np.testing.assert_array_equal(value("target_sources_invented", source_dropped), 0)


def test_added_sources_are_invented_one_a_galaxy(source_added):
    found = MEASURES["sources_invented"].each(source_added)
    np.testing.assert_array_equal(found["sources_invented"], 1)
    np.testing.assert_array_equal(found["sources_lost"], 0)
    share = len(source_added) / found["sources_made"].sum(axis=0)
    np.testing.assert_allclose(value("sources_invented", source_added), share)
    np.testing.assert_allclose(value("target_sources_invented", source_added), 1 / 3, atol=0.05)


def test_sources_that_are_lost_have_their_magnitude(source_dropped, known):
    curve = sources.curve_sources(source_dropped)
    for band in range(2):
        lost = curve.y["lost"][band]
        at = curve.x[np.nanargmax(lost)]
        assert abs(at - magnitude(known.companions.flux[0, band])) < 1.0
        np.testing.assert_allclose(curve.y["invented"][band][~np.isnan(curve.y["invented"][band])], 0)


def test_without_truth_only_the_targets_own_sources_count(oracle):
    real = replace(oracle, truth=None)
    assert {name for name, each in MEASURES.items() if each.applies(real)} == {
        "target_sources_lost",
        "target_sources_invented",
    }


def test_without_truth_sources_are_held_against_the_real_image_of_each_band(source_dropped, known):
    curve = sources.curve_sources(replace(source_dropped, truth=None))
    assert curve.title.endswith("the target")
    for band in range(2):
        near = np.abs(curve.x - magnitude(known.companions.flux[0, band])) < 1.0
        assert np.nanmax(curve.y["lost"][band, near]) > 0.6
        assert (np.nan_to_num(curve.y["lost"][band, curve.x < curve.x[near].min()]) < 0.1).all()
        assert (np.nan_to_num(curve.y["invented"][band, near]) < 0.1).all()


def test_a_shift_leaves_the_residual_of_a_gaussians_slope(shifted, known):
    found = MEASURES["residual_asymmetry"].each(shifted)["residual_asymmetry"]
    expected = known.shift * 2 / (np.sqrt(2 * np.pi) * known.galaxies.along)  # integral of |slope| over the light
    bright = ~np.isnan(found)
    assert bright.sum() > 30
    np.testing.assert_allclose(found[bright], np.broadcast_to(expected[:, None], found.shape)[bright], rtol=0.06)


def test_noise_of_both_sides_is_taken_from_the_asymmetry(oracle):
    noisy = replace(oracle, signal=oracle.output)
    bright = oracle.take(np.arange(12, 24))
    noisy = noisy.take(np.arange(12, 24))
    assert (np.abs(value("residual_asymmetry", noisy)) < 0.05).all()
    assert (value("residual_asymmetry", bright) == 0).all()


def test_a_band_without_sigma_has_no_sources(oracle):
    sigma = oracle.sigma.copy()
    sigma[:, 0] = np.nan
    blind = replace(oracle, sigma=sigma)
    assert np.isnan(value("sources_lost", blind)[0])
    assert value("sources_lost", blind)[1] == 0
