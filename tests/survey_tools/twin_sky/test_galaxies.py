import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import gammainc, gammaincinv

pytest.importorskip("galsim")

from survey_tools.twin_sky.galaxies import (
    draw_galaxies,
    draw_half_light_radii,
    draw_magnitudes,
    draw_redshifts,
    draw_stars,
    half_light_over_scale,
)

COUNT = 4000


@pytest.fixture(scope="module")
def main_sample():
    rng = np.random.default_rng(1)
    return draw_galaxies(draw_magnitudes(COUNT, 14, 17.8, 0.5, rng), rng)


def magnitudes(table, survey):
    return 22.5 - 2.5 * np.log10(np.asarray(table[f"flux_{survey}"]).sum(axis=1))


def test_magnitudes_rise_as_asked():
    drawn = draw_magnitudes(20000, 15, 18, 0.5, np.random.default_rng(0))
    assert drawn.min() > 15
    assert drawn.max() < 18
    last, one_before = ((drawn > 17) & (drawn < 18)).sum(), ((drawn > 16) & (drawn < 17)).sum()
    assert_allclose(last / one_before, 10**0.5, rtol=0.05)


def test_redshifts_of_the_main_sample_are_those_of_sdss():
    # Strauss et al. (2002, AJ 124, 1810): the median redshift of the main galaxy sample is 0.104
    rng = np.random.default_rng(0)
    redshift = draw_redshifts(draw_magnitudes(COUNT, 14, 17.77, 0.5, rng), rng)
    assert_allclose(np.median(redshift), 0.104, atol=0.015)
    assert redshift.min() > 0


def test_sizes_are_those_of_shen():
    # equations 14 and 15 of Shen et al. (2003) at M_r = -20.5, by hand; at z = 0.1 an arcsec is 1.844 kpc
    modulus = 5 * np.log10(418.5 * 1.1) + 25
    magnitude, redshift = np.full(COUNT, -20.5 + modulus), np.full(COUNT, 0.1)
    for early, kiloparsec in ((False, 3.21), (True, 1.95)):
        radius = draw_half_light_radii(magnitude, redshift, np.full(COUNT, early), np.random.default_rng(0))
        assert_allclose(np.median(radius), kiloparsec / 1.844, rtol=0.03)
        assert_allclose(np.std(np.log(radius)), 0.33, atol=0.08)


def test_half_light_radius_of_a_pure_disk_and_of_a_pure_bulge():
    ratio = half_light_over_scale(np.array([0.0, 1.0, 1.0]), np.array([2.0, 1.0, 4.0]), np.array([0.3, 0.3, 0.7]))
    assert_allclose(ratio, [1.67835, 0.3, 0.7], rtol=1e-4)


def test_half_of_the_light_is_within_the_half_light_radius():
    fraction, index, ratio = np.array([0.3]), np.array([3.0]), np.array([0.25])
    radius = half_light_over_scale(fraction, index, ratio)
    bulge = gammainc(2 * index, gammaincinv(2 * index, 0.5) * (radius / ratio) ** (1 / index))
    assert_allclose(fraction * bulge + (1 - fraction) * gammainc(2, radius), 0.5, rtol=1e-6)


def test_the_flux_in_r_is_the_magnitude(main_sample):
    assert_allclose(magnitudes(main_sample, "sdss")[:, 2], main_sample["r"], atol=1e-9)


def test_colours_are_those_of_the_red_sequence_and_of_the_blue_cloud(main_sample):
    colour = -np.diff(magnitudes(main_sample, "sdss"), axis=1)
    near = (main_sample["redshift"] > 0.05) & (main_sample["redshift"] < 0.12)
    # Strateva et al. (2001, AJ 122, 1861): u - r = 2.22 divides early from late types
    u_minus_r = colour[:, :2].sum(axis=1)
    assert np.median(u_minus_r[near & (main_sample["kind"] == "E")]) > 2.4
    assert np.median(u_minus_r[near & (main_sample["kind"] == "Scd")]) < 1.8
    assert_allclose(np.median(colour[near & (main_sample["kind"] == "E"), 1]), 0.95, atol=0.1)


def test_both_surveys_differ_by_the_published_colour_terms(main_sample):
    sdss, cfht = magnitudes(main_sample, "sdss"), magnitudes(main_sample, "cfht")
    u_g, g_r, r_i, i_z = (-np.diff(sdss, axis=1)).T
    # the MegaPipe filter page (from SNLS), u from CFHT: "be sceptical"
    published = np.stack([-0.241 * u_g, -0.153 * g_r, -0.024 * g_r, -0.085 * r_i, 0.074 * i_z], axis=1)
    assert_allclose(np.median(cfht - sdss - published, axis=0), 0, atol=0.04)
    assert_allclose(np.std(cfht - sdss - published, axis=0)[1:], 0, atol=0.02)


def test_redder_with_redshift():
    magnitude = np.full(COUNT, 17.0)
    table = draw_galaxies(magnitude, np.random.default_rng(0))
    early = table[table["kind"] == "E"]
    colour = -np.diff(magnitudes(early, "sdss"), axis=1)[:, 1]
    assert np.corrcoef(early["redshift"], colour)[0, 1] > 0.9


def test_faint_galaxies_are_of_later_type():
    early = [
        np.isin(draw_galaxies(np.full(COUNT, r), np.random.default_rng(0))["kind"], ["E", "S0"]).mean()
        for r in (16.0, 22.0)
    ]
    assert_allclose(early[0], 0.37, atol=0.03)
    assert early[1] < early[0] / 2


def test_some_galaxies_have_arms_and_none_of_the_faint_ones(main_sample):
    assert 0.2 < (np.asarray(main_sample["flux_sdss"])[:, 2].sum(axis=1) > 0).mean() < 0.7
    faint = draw_galaxies(np.full(100, 22.0), np.random.default_rng(0))
    assert np.asarray(faint["flux_sdss"])[:, 2].max() == 0


def test_elongations_and_angles_are_possible(main_sample):
    for name in ("axis_ratio", "disk_axis_ratio", "bulge_axis_ratio"):
        assert main_sample[name].min() >= 0.2
        assert main_sample[name].max() <= 1
    assert 0 <= main_sample["position_angle"].min() < main_sample["position_angle"].max() < 180


def test_the_same_seed_draws_the_same_galaxies():
    first, second = (draw_galaxies(np.linspace(14, 20, 9), np.random.default_rng(5)) for _ in range(2))
    for name in first.colnames:
        assert_array_equal(first[name], second[name])


def test_stars_have_the_colours_of_dwarfs():
    stars = draw_stars(np.full(500, 18.0), np.random.default_rng(0))
    g_r = -np.diff(magnitudes(stars, "sdss"), axis=1)[:, 1]
    assert 0.2 < g_r.min() < np.median(g_r) < g_r.max() < 1.6
    assert_allclose(magnitudes(stars, "sdss")[:, 2], 18.0)
    assert set(stars["kind"]) == {"star"}


def test_the_surveys_that_see_a_galaxy_change_nothing_but_its_fluxes():
    for draw in (draw_galaxies, draw_stars):
        expected = draw(np.full(3, 17.0), np.random.default_rng(2))
        found = draw(np.full(3, 17.0), np.random.default_rng(2), ("kids", "cfht"))
        assert np.asarray(found["flux_kids"]).shape == (3, 3, 4)
        for name in {*expected.colnames} - {"flux_sdss"}:
            assert_array_equal(found[name], expected[name])
