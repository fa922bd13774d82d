import numpy as np
import pytest
from numpy.testing import assert_allclose

pytest.importorskip("galsim")

from survey_tools.images.sky_wcs import tan_wcs
from survey_tools.surveys import OWN, SURVEYS
from survey_tools.twin_sky.draw import render
from survey_tools.twin_sky.exposure import Psf, draw_exposure, draw_night
from survey_tools.twin_sky.filters import CURVE_SOURCES, CURVES
from survey_tools.twin_sky.galaxies import draw_stars
from survey_tools.twin_sky.observing_facts import SIMULATED, coarse_to_fine

COADDS = [name for name, row in SIMULATED.items() if row.coadd]
BANDS = [(name, band) for name in COADDS for band in SURVEYS[name].bands]
PLACE = 40.0, -5.0  # [deg]
SIZE = 81


def usual(name, band):
    """A coadd as the row has it: the median of many images."""
    rng = np.random.default_rng(3)
    drawn = [draw_exposure(name, band, draw_night(rng), rng) for _ in range(200)]
    return min(drawn, key=lambda each: abs(each.sigma - np.median([one.sigma for one in drawn])))


def blank(exposure, size=700):
    return exposure.observe(np.zeros((size, size), np.float32), np.random.default_rng(1)).astype(float)


def star_of(name, band, magnitude, psf):
    """The noise-free image of a star, and its flux [nanomaggy]."""
    star = draw_stars(np.array([magnitude]), np.random.default_rng(0), [name])
    star["ra"], star["dec"] = [PLACE[0]], [PLACE[1]]
    scale = SURVEYS[name].pixel_scale / 3600
    wcs = tan_wcs(PLACE, ((SIZE + 1) / 2,) * 2, [[-scale, 0], [0, scale]])
    flux = float(np.asarray(star[f"flux_{name}"])[0, :, SURVEYS[name].bands.index(band)].sum())
    return render(star, wcs, (SIZE, SIZE), psf, name, band), flux


def test_every_survey_of_the_table_can_be_simulated():
    assert set(SIMULATED) == set(OWN) == set(CURVES) == set(CURVE_SOURCES)
    for name, row in SIMULATED.items():
        assert tuple(row.seeing) == tuple(CURVES[name]) == row.survey.bands == SURVEYS[name].bands
    for row in (SIMULATED[name] for name in COADDS):
        for facts in (row.coadd.depth, row.coadd.electrons, row.coadd.saturation):
            assert tuple(facts) == row.survey.bands


def test_a_new_row_changes_the_random_numbers_of_no_other():
    codes = {name: row.code for name, row in SIMULATED.items()}
    assert (codes["sdss"], codes["cfht"]) == (1, 2)
    assert len(set(codes.values())) == len(codes)
    assert codes["hsc"] == 699350  # of its name alone
    assert codes["des"] == 8135873


def test_the_survey_with_the_larger_pixels_comes_first():
    assert coarse_to_fine(["hsc", "cfht", "des", "sdss"]) == ("sdss", "des", "cfht", "hsc")
    assert coarse_to_fine(["legacy", "des"]) == ("des", "legacy")


@pytest.mark.parametrize(("name", "band"), BANDS)
def test_blank_sky_has_the_depth_and_the_correlation_of_the_row(name, band):
    row, exposure = SIMULATED[name], usual(name, band)
    assert_allclose(exposure.sigma, row.sigma(band), rtol=0.03)
    noise = blank(exposure)
    assert_allclose(noise.std(), exposure.sigma, rtol=0.01)
    assert_allclose((noise[1:] * noise[:-1]).mean() / noise.var(), 0.112, atol=0.008)
    assert_allclose((noise[:, 2:] * noise[:, :-2]).mean() / noise.var(), -0.076, atol=0.008)
    # what a star of the stated depth is measured with, through the stated aperture or by a fit of the profile
    scale, step = row.survey.pixel_scale, 20
    y, x = (np.mgrid[:step, :step] - (step - 1) / 2) * scale
    if row.coadd.aperture:
        weight = (np.hypot(x, y) < row.coadd.aperture / 2).astype(float)
        area = np.pi * row.coadd.aperture**2 / 4 / scale**2
        weight *= np.sqrt(area / weight.sum())  # pixels are whole
    else:
        core = row.seeing[band] / (2 * np.sqrt(2 ** (1 / row.beta[1]) - 1))
        profile = (1 + (x**2 + y**2) / core**2) ** -row.beta[1]
        profile *= (row.beta[1] - 1) / (np.pi * core**2) * scale**2
        weight = profile / (profile**2).sum()
    boxes = noise.reshape(35, step, 35, step)
    limit = np.einsum("aibj,ij->ab", boxes, weight).std() * row.coadd.ratio
    assert_allclose(22.5 - 2.5 * np.log10(limit), row.coadd.depth[band], atol=0.15)


@pytest.mark.parametrize(("name", "band"), BANDS)
def test_a_star_has_the_seeing_and_the_flux_of_the_row_and_saturates_where_it_says(name, band):
    row = SIMULATED[name]
    rng = np.random.default_rng(5)
    widths = [draw_exposure(name, band, draw_night(rng), rng).psf.fwhm for _ in range(300)]
    assert_allclose(np.median(widths), row.seeing[band], rtol=0.03)
    assert_allclose(np.std(np.log(widths)), np.hypot(row.scatter, 0.04), rtol=0.15)
    image, flux = star_of(name, band, 17.0, Psf(row.seeing[band], row.beta[1]))
    assert_allclose(image.sum(), flux, rtol=0.02)
    middle = image[SIZE // 2].astype(float)
    half = middle.max() / 2
    across = np.arange(SIZE // 2 + 1)
    width = 2 * np.interp(-half, -middle[SIZE // 2 :], across) * row.survey.pixel_scale
    assert_allclose(width, row.seeing[band], rtol=0.06)  # pixels widen it
    brightest = 10 ** (0.4 * (22.5 - row.coadd.saturation[band]))
    assert_allclose(image.max() / flux * brightest, row.saturation(band), rtol=0.1)


def test_photons_of_sources_and_saturation_are_in_a_coadd():
    exposure = usual("hsc", "r")
    level = exposure.brightest / 4
    seen = exposure.observe(np.full((600, 600), level, np.float32), np.random.default_rng(0)).astype(float)
    assert_allclose(seen.mean(), level, rtol=1e-3)
    assert_allclose(seen.std(), np.sqrt(exposure.sigma**2 + level / 209967), rtol=0.06)  # shallower or deeper by 5 %
    clipped = exposure.observe(np.full((9, 9), 2 * exposure.brightest, np.float32), np.random.default_rng(0))
    assert (clipped == np.float32(exposure.brightest)).all()


def test_sources_are_stated_for_every_row():
    for row in SIMULATED.values():
        assert len(row.source) > 10
        assert row.coadd is None or len(row.coadd.source) > 10
