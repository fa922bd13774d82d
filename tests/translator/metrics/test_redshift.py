"""Redshifts that are a known function of colour, with colours that are spoiled by a known amount."""

from dataclasses import replace

import numpy as np
import pytest

from translator.metrics import redshift
from translator.metrics.measure import Sample

BY_NAME = {measure.name: measure for measure in redshift.MEASURES}
COUNT, SIZE, SCALE, SIGMA = 120, 40, 0.3, 0.01
PER_MAGNITUDE = 0.4  # of redshift in colour


def value(name: str, sample: Sample) -> np.ndarray:
    return BY_NAME[name].summary(BY_NAME[name].each(sample))


@pytest.fixture(scope="module")
def coloured() -> Sample:
    """Gaussians in g and r with noise, redder in proportion to their redshift of 0 to 0.4; translated perfectly."""
    random = np.random.default_rng(3)
    true = random.uniform(0, 0.4, COUNT)
    red = 10 ** random.uniform(1, 2, COUNT)
    flux = np.stack([red * 10 ** (-0.4 * true / PER_MAGNITUDE), red], axis=1)
    rows, cols = np.indices((SIZE, SIZE)) - (SIZE - 1) / 2
    width = random.uniform(2.0, 3.0, COUNT)[:, None, None]
    light = np.exp(-0.5 * (rows**2 + cols**2) / width**2) / (2 * np.pi * width**2)
    truth = flux[:, :, None, None] * light[:, None]
    target, output, again = truth + random.normal(0, SIGMA, (3, *truth.shape))
    images = {"output": output, "signal": truth, "target": target, "truth": truth, "again": again}
    return Sample(("g", "r"), SCALE, sigma=np.full((COUNT, 2), SIGMA), redshift=true, **images)


def test_a_perfect_translation_tells_as_much_as_a_real_image(coloured):
    real = value("photoz_target_sigma_mad", coloured)
    assert (real < 0.02).all()  # of 0.1 without any knowledge
    for test in ("photoz", "photoz_reverse"):
        assert value(f"{test}_sigma_mad", coloured) == pytest.approx(real, rel=0.35)
        assert value(f"{test}_bias", coloured) == pytest.approx([0, 0], abs=0.004)
        assert value(f"{test}_outliers", coloured) == pytest.approx([0, 0], abs=0.05)


def test_a_colour_that_is_off_puts_redshifts_off_by_its_share(coloured):
    blue = coloured.output * np.array([10 ** (0.4 * 0.1), 1.0])[:, None, None]  # g too bright by 0.1 mag
    middle = (coloured.redshift > 0.08) & (coloured.redshift < 0.32)
    statistics = redshift.redshifts(replace(coloured, output=blue))
    off = -0.1 * PER_MAGNITUDE / (1 + coloured.redshift[middle])
    forward = redshift.error(statistics, "output")[middle, 0]
    back = redshift.error(statistics, "reverse")[middle, 0]
    assert np.mean(forward) == pytest.approx(np.mean(off), abs=0.006)
    assert np.mean(back) == pytest.approx(-np.mean(off), abs=0.006)
    assert value("photoz_target_bias", replace(coloured, output=blue)) == pytest.approx([0, 0], abs=0.004)


def test_translations_of_other_galaxies_tell_nothing(coloured):
    mixed = replace(coloured, output=coloured.output[np.random.default_rng(0).permutation(COUNT)])
    dz = (np.roll(coloured.redshift, 7) - coloured.redshift) / (1 + coloured.redshift)
    assert value("photoz_sigma_mad", mixed)[0] == pytest.approx(1.4826 * np.median(np.abs(dz)), rel=0.3)
    assert value("photoz_outliers", mixed)[0] > 0.6
    assert value("photoz_target_outliers", mixed)[0] < 0.05


def test_brightness_place_and_sky_hardly_matter(coloured):
    for output in (np.roll(coloured.output, 1, axis=-1), coloured.output + 0.05):
        assert value("photoz_sigma_mad", replace(coloured, output=output))[0] < 0.025


def test_outliers_are_counted():
    statistics = {f"photoz_{test}": np.full((10, 1), 0.1) for test in (*redshift.TESTS, "true")}
    statistics["photoz_output"][:3] = 0.1 + 1.1 * np.array([[0.06], [0.2], [0.04]])
    assert BY_NAME["photoz_outliers"].summary(statistics) == pytest.approx([0.2])
    assert BY_NAME["photoz_bias"].summary(statistics) == pytest.approx([0.03])
    assert BY_NAME["photoz_sigma_mad"].summary(statistics) == pytest.approx([0.0])


def test_no_galaxy_is_learnt_from_before_it_is_asked(coloured):
    wrong = coloured.redshift.copy()
    wrong[7] = 3.0
    before, after = (redshift.redshifts(replace(coloured, redshift=z)) for z in (coloured.redshift, wrong))
    for test in redshift.TESTS:
        assert before[f"photoz_{test}"][7] == pytest.approx(after[f"photoz_{test}"][7])


def taught_by(sample: Sample, others: Sample) -> Sample:
    taught = redshift.aperture_fluxes(others.target, others.pixel_scale)
    return replace(sample, taught=taught, taught_redshift=others.redshift)


def test_a_training_set_of_its_own_makes_what_is_learnt_from_real_images_better(coloured):
    few = np.arange(COUNT) % 6 == 0
    asked, others = coloured.take(few), coloured.take(~few)
    alone, taught = redshift.redshifts(asked), redshift.redshifts(taught_by(asked, others))
    for test in ("output", "target"):
        measure = BY_NAME["photoz_sigma_mad" if test == "output" else f"photoz_{test}_sigma_mad"]
        assert (measure.summary(taught) < 0.8 * measure.summary(alone)).all()
        assert (measure.summary(taught) < 0.025).all()
    np.testing.assert_array_equal(taught["photoz_reverse"], alone["photoz_reverse"])  # there are no translations


def test_a_training_set_is_enough_for_few_galaxies_and_may_have_gaps(coloured):
    few, others = coloured.take(np.arange(3)), coloured.take(np.arange(3, COUNT))
    others.redshift[:10], others.target[10:20, 0] = np.nan, np.nan
    found = redshift.redshifts(taught_by(few, others))
    assert np.abs(redshift.error(found, "output")).max() < 0.06
    assert np.isnan(found["photoz_reverse"]).all()


def test_noise_of_translations_is_in_their_redshifts_as_it_is_in_their_colours(coloured):
    """The effect of noise on redshifts grows with its amplitude, and redshifts of real images do not have it."""
    random = np.random.default_rng(7)
    noise = 10 * SIGMA * random.normal(size=coloured.truth.shape)
    once, twice = (replace(coloured, output=coloured.truth + factor * noise) for factor in (1, 2))
    ratio = value("photoz_sigma_mad", twice) / value("photoz_sigma_mad", once)
    assert ratio == pytest.approx([2, 2], rel=0.4)
    assert (value("photoz_sigma_mad", once) > 1.5 * value("photoz_target_sigma_mad", once)).all()
    for number in ("sigma_mad", "bias", "outliers"):
        same = [value(f"photoz_target_{number}", sample)[0] for sample in (once, twice)]
        assert same[0] == same[1]


def test_unknown_redshifts_and_empty_images_are_no_values(coloured):
    unknown = coloured.redshift.copy()
    unknown[:10] = np.nan
    output = coloured.output.copy()
    output[10:15, 0] = np.nan
    statistics = redshift.redshifts(replace(coloured, redshift=unknown, output=output))
    assert np.isnan(redshift.error(statistics, "output")[:15]).all()
    assert np.isfinite(redshift.error(statistics, "output")[15:]).all()
    assert np.isfinite(redshift.error(statistics, "target")[10:]).all()


def test_too_few_galaxies_teach_nothing(coloured):
    assert np.isnan(value("photoz_sigma_mad", coloured.take(np.arange(12)))).all()


def test_it_needs_redshifts(coloured):
    assert not any(measure.applies(replace(coloured, redshift=None)) for measure in redshift.MEASURES)
    assert all(measure.applies(coloured) for measure in redshift.MEASURES)


def test_the_curve_lies_at_zero_for_a_perfect_translation(coloured):
    curve = redshift.curve_redshift(coloured)
    for y in curve.y.values():
        assert y.shape == (2, len(curve.x))
        assert y[:, 1:-1] == pytest.approx(np.zeros_like(y[:, 1:-1]), abs=0.015)
