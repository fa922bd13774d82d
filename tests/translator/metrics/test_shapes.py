"""Shapes of Gaussians, whose moments are known before and after they are spoiled."""

from dataclasses import replace

import numpy as np
import pytest

from translator.metrics import shapes
from translator.metrics.measure import Sample

FEW = np.array([18, 23])  # bright ones, as in test_spoiled: images are measured once
BY_NAME = {measure.name: measure for measure in shapes.MEASURES}


def value(name: str, sample: Sample) -> np.ndarray:
    return BY_NAME[name].summary(BY_NAME[name].each(sample))


def e1_of(light, blur: float = 0.0) -> np.ndarray:
    return (light.along**2 - light.across**2) / (light.along**2 + light.across**2 + 2 * blur**2)


def size_of(light, blur: float = 0.0) -> np.ndarray:
    return ((light.along**2 + blur**2) * (light.across**2 + blur**2)) ** 0.25


@pytest.fixture(scope="module")
def alone(known, oracle):
    """A function that returns samples of the galaxies without companions and noise, with options of `draw`."""
    truth = known.galaxies.draw()

    def drawn(factor: float = 1.0, **spoilt) -> Sample:
        output = factor * known.galaxies.draw(**spoilt)
        return replace(oracle, output=output, signal=output, target=truth, truth=truth)

    return drawn


def test_moments_of_a_gaussian_are_its_own(known, oracle):
    e1, e2, size = shapes.adaptive_moments(known.galaxies.draw(), known.scale)
    assert e1 == pytest.approx(np.tile(e1_of(known.galaxies), (2, 1)).T, abs=2e-3)
    assert e2 == pytest.approx(np.zeros_like(e2), abs=2e-3)
    assert size == pytest.approx(known.scale * np.tile(size_of(known.galaxies), (2, 1)).T, rel=2e-3)


def test_a_turned_galaxy_has_its_ellipticity_on_the_diagonal():
    rows, cols = np.indices((48, 48)) - 23.5
    along, across = (cols + rows) / np.sqrt(2), (cols - rows) / np.sqrt(2)
    image = np.exp(-0.5 * ((along / 5) ** 2 + (across / 3) ** 2))
    e1, e2, size = shapes.adaptive_moments(image[None, None], 0.2)[:, 0, 0]
    assert (e1, e2) == (pytest.approx(0, abs=1e-3), pytest.approx(16 / 34, rel=5e-3))
    assert size == pytest.approx(0.2 * np.sqrt(15), rel=5e-3)


@pytest.mark.parametrize("spoilt", [{}, {"shift": 1.0}, {"factor": 1.1}], ids=["same", "shifted", "rescaled"])
def test_neither_place_nor_brightness_moves_a_shape(alone, spoilt):
    sample = alone(**spoilt)
    for name in ("hsm_e1_bias", "hsm_e2_bias", "hsm_size_bias", "hsm_e1_scatter", "hsm_size_scatter", "hsm_failures"):
        assert value(name, sample) == pytest.approx([0, 0], abs=2e-3)
    assert value("hsm_e1_slope", sample) == pytest.approx([1, 1], abs=2e-3)
    assert value("hsm_size_slope", sample) == pytest.approx([1, 1], abs=2e-3)


def test_blur_makes_galaxies_rounder_and_larger_as_theory_says(known, alone):
    light, sample = known.galaxies, alone(blur=known.blur)
    before, after = e1_of(light), e1_of(light, known.blur)
    due = np.polyfit(before, after, 1)[0]
    assert due < 0.85
    assert value("hsm_e1_slope", sample) == pytest.approx([due, due], abs=5e-3)
    assert value("hsm_e1_bias", sample) == pytest.approx(np.full(2, np.median(after - before)), abs=2e-3)
    growth = np.median(size_of(light, known.blur) / size_of(light)) - 1
    assert growth > 0.1
    assert value("hsm_size_bias", sample) == pytest.approx([growth, growth], abs=3e-3)


def test_without_a_truth_the_target_is_the_reference(oracle):
    real = replace(oracle, truth=None, output=oracle.target)
    statistics = shapes.moments(real)
    np.testing.assert_array_equal(statistics["hsm_size_output"], statistics["hsm_size_reference"])
    np.testing.assert_array_equal(statistics["hsm_failed_output"], statistics["hsm_failed_target"])


def test_failures_are_counted_against_the_targets_own(alone):
    sample = alone()
    output = sample.output.copy()
    output[:6, 0] = 0.0  # nothing to see
    output[:3, 1] = np.nan  # no pixels
    assert value("hsm_failures", replace(sample, output=output)) == pytest.approx([6 / 24, 3 / 24])
    assert value("hsm_failures", replace(sample, output=output, target=output)) == pytest.approx([0, 0])


def test_a_galaxy_elsewhere_is_another_galaxy(known, alone):
    assert value("hsm_failures", alone(shift=12.0)) == pytest.approx([1, 1])


def test_pixels_without_value_count_only_near_the_middle_and_a_sky_nowhere(known):
    image = known.galaxies.draw()[:4]
    whole = shapes.adaptive_moments(image, known.scale)
    image += 0.3
    image[:, :, :8], image[2, 1, 27, 20:24] = np.nan, np.nan
    found = shapes.adaptive_moments(image, known.scale)
    assert np.isnan(found[:, 2, 1]).all()
    found[:, 2, 1] = whole[:, 2, 1]
    assert found == pytest.approx(whole, abs=5e-3)


def test_curves_show_what_blur_does(known, alone):
    sample = alone(blur=known.blur)
    elongated = shapes.curve_ellipticity(sample)
    assert elongated.y["output"].shape == (2, len(elongated.x))
    assert (elongated.y["output"][:, -1] < 0.9 * elongated.x[-1]).all()
    size = shapes.curve_size(sample)
    assert (np.diff(size.y["output"].mean(axis=0))[[0, -1]] < 0).all()  # small galaxies grow most
    assert (size.y["output"] > 0.05).all()


def test_blur_makes_galaxies_along_the_diagonals_rounder_too(known):
    """(a² − b²)/(a² + b²) of turned Gaussians: a blur increases the area."""
    rows, cols = np.indices((48, 48)) - 23.5
    along, across = (cols + rows) / np.sqrt(2), (cols - rows) / np.sqrt(2)
    a, b = np.array([5.0, 4.5, 4.0, 3.0, 3.0, 3.0]), np.array([3.0, 3.0, 3.0, 3.5, 4.0, 5.0])

    def drawn(blur: float) -> np.ndarray:
        wide = [np.hypot(axis, blur)[:, None, None] for axis in (a, b)]
        image = np.exp(-0.5 * ((along / wide[0]) ** 2 + (across / wide[1]) ** 2)) / (wide[0] * wide[1])
        return image[:, None].astype(np.float32)

    before, after = ((a**2 - b**2) / (a**2 + b**2 + 2 * blur**2) for blur in (0, known.blur))
    images = {"output": drawn(known.blur), "signal": drawn(known.blur), "target": drawn(0), "truth": drawn(0)}
    turned = Sample(("r",), known.scale, sigma=np.ones((6, 1)), **images)
    assert value("hsm_e2_slope", turned) == pytest.approx([np.polyfit(before, after, 1)[0]], abs=5e-3)
    assert value("hsm_e2_bias", turned) == pytest.approx([np.median(after - before)], abs=3e-3)
    assert value("hsm_e1_scatter", turned) == pytest.approx([0], abs=1e-3)


@pytest.fixture(scope="module")
def few(known, oracle):
    """A function that returns a sample of the galaxies `FEW`; statmorph takes a fifth of a second for an image."""

    def drawn(output: np.ndarray) -> Sample:
        return replace(oracle, output=output, signal=output).take(FEW)

    return drawn


def test_structure_of_a_gaussian_is_known(known, oracle, few):
    found = shapes.structure(few(oracle.truth))
    light = known.galaxies
    ratio = np.minimum(light.along, light.across) / np.maximum(light.along, light.across)
    assert np.isnan(found["morph_gini_output"][:, 0]).all()  # in r only
    assert found["morph_ellipticity_output"][:, 1] == pytest.approx(1 - ratio[FEW], abs=0.03)
    long = np.maximum(light.along, light.across)[FEW] * known.scale
    assert found["morph_half_light_radius_output"][:, 1] == pytest.approx(np.sqrt(2 * np.log(2)) * long, rel=0.05)
    due = 5 * np.log10(np.sqrt(np.log(0.2) / np.log(0.8)))  # of a round one
    assert found["morph_concentration_output"][:, 1] == pytest.approx(due, abs=0.15)
    assert (found["morph_flag_output"][:, 1] <= shapes.SUSPECT).all()


def test_structure_sees_blur_and_a_lost_galaxy(known, oracle, few):
    blurred = few(oracle.target - oracle.truth + known.galaxies.draw(blur=3.0) + known.companions.draw())
    growth = value("morph_half_light_radius_bias", blurred)[1]
    light = known.galaxies
    long = np.maximum(light.along, light.across)[FEW]
    assert growth == pytest.approx(np.median(np.hypot(long, 3.0) / long) - 1, abs=0.08)
    assert value("morph_ellipticity_bias", blurred)[1] < -0.03
    lost = few(oracle.target)
    lost.output[:1] = 0.0
    assert value("morph_flagged", lost)[1] == pytest.approx(0.5)
    assert value("morph_gini_bias", lost)[1] == 0


def test_structure_takes_a_sample_spread_over_all_galaxies(oracle, monkeypatch):
    monkeypatch.setattr(shapes, "FEWEST", 3)
    monkeypatch.setattr(shapes, "measure_structure", lambda *_: (1.0,) * len(shapes.STRUCTURE) + (0,))
    found = shapes.structure(oracle)["morph_gini_target"][:, 1]
    assert np.flatnonzero(np.isfinite(found)).tolist() == [0, 12, 23]


def test_images_that_were_measured_are_not_measured_again(oracle, monkeypatch):
    before = shapes.moments(oracle)
    monkeypatch.setattr(shapes, "adaptive_moments", lambda images, _: np.full((3, *images.shape[:2]), 7.0))
    after = shapes.moments(replace(oracle, output=oracle.output + 1e-3))
    assert (after["hsm_size_output"] == 7.0).all()
    np.testing.assert_array_equal(after["hsm_size_reference"], before["hsm_size_reference"])


def test_what_is_not_installed_is_said(monkeypatch):
    assert shapes.missing() == ""
    monkeypatch.setattr(shapes, "find_spec", lambda package: None if package == "statmorph" else object())
    assert shapes.missing() == "morph_* need statmorph, not installed here: pip install 'galtrans[shapes]'"
