from pathlib import Path

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.modeling.functional_models import Sersic2D
from astropy.wcs import WCS
from numpy.testing import assert_allclose, assert_array_equal
from reproject import reproject_interp
from scipy.ndimage import gaussian_filter

from survey_tools.images.regrid import regrid
from survey_tools.images.sky_wcs import local_cd, north_up_wcs, pixels_of, places_of, read_wcs, rescaled_wcs, tan_wcs
from survey_tools.surveys import CFHT, SDSS

DATA = Path(__file__).parents[3].parent / "shared" / "data" / "cfht"
SIZE = CFHT.cutout_size
GALAXIES = {  # Sérsic n, effective radius [arcsec], axis ratio, angle, seeing [arcsec], centre's offset [pixel]
    "star": (0.5, 0.01, 1.0, 0.0, 0.64, (0.3, -0.4)),
    "disk": (1.0, 2.0, 0.4, 0.7, 0.71, (0.0, 0.0)),
    "bulge": (4.0, 0.9, 0.8, 2.0, 0.64, (-0.5, 0.2)),
    "large": (1.0, 3.0, 0.9, 0.0, 0.85, (5.3, -3.1)),
}


def grid(ra=38.5, dec=-7.1, angle=0.013, crpix=(67.2, 69.1)):
    """A CFHTLS-like grid: turned by `angle`, its reference pixel anywhere."""
    c, s = np.cos(angle), np.sin(angle)
    return tan_wcs((ra, dec), crpix, np.array([[-c, s], [s, c]]) * CFHT.pixel_scale / 3600)


def galaxy(n, radius, ratio, angle, seeing, offset, flux=100.0):
    """A Sérsic galaxy (row, col) of `flux`, behind a Gaussian PSF, integrated over CFHTLS pixels."""
    fine = 5
    scale, centre = CFHT.pixel_scale, (SIZE - 1) / 2 + np.array(offset)
    rows, cols = (np.indices((SIZE * fine, SIZE * fine)) + 0.5) / fine - 0.5
    image = Sersic2D(1, radius / scale, n, *centre, 1 - ratio, angle)(cols, rows)
    if radius < 0.1:
        image = np.zeros_like(rows)
        image[tuple(np.round((centre[::-1] + 0.5) * fine - 0.5).astype(int))] = 1
    image = gaussian_filter(image, seeing / 2.355 / scale * fine, mode="constant")
    image = image.reshape(SIZE, fine, SIZE, fine).mean(axis=(1, 3))
    return image * flux / image.sum()


@pytest.fixture(scope="module")
def images():
    return {name: galaxy(*facts) for name, facts in GALAXIES.items()}


def onto_sdss(wcs):
    return rescaled_wcs(wcs, (SIZE, SIZE), SDSS.pixel_scale, SDSS.cutout_size)


@pytest.mark.parametrize("name", GALAXIES)
@pytest.mark.parametrize(("dec", "angle"), [(-7.1, 0.0), (52.78, 0.013), (89.9, -2.0)])
def test_flux_over_a_galaxy_is_kept_to_a_percent(images, name, dec, angle):
    wcs = grid(dec=dec, angle=angle)
    regridded = regrid(images[name], wcs, onto_sdss(wcs), 64)
    assert np.isfinite(regridded).all()
    for radius in (4.0, 8.0, 11.0):
        sums = [in_aperture(images[name], wcs, wcs, GALAXIES[name][-1], radius)]
        sums += [in_aperture(regridded, onto_sdss(wcs), wcs, GALAXIES[name][-1], radius)]
        assert_allclose(sums[1], sums[0], rtol=0.01)


def in_aperture(image, wcs, native: WCS, offset, radius: float) -> float:
    """Flux within `radius` [arcsec] of the galaxy that `native` has `offset` pixels from its centre."""
    sky = native.wcs_pix2world([(SIZE - 1) / 2 + np.array(offset)], 0)
    col, row = wcs.wcs_world2pix(sky, 0)[0]
    rows, cols = np.indices(image.shape)
    pixel = 3600 * np.sqrt(abs(np.linalg.det(wcs.pixel_scale_matrix)))
    within = np.clip(radius / pixel - np.hypot(rows - row, cols - col) + 0.5, 0, 1)  # soft edge, for partial pixels
    return float((image * within).sum())


@pytest.mark.parametrize("name", GALAXIES)
@pytest.mark.parametrize("dec", [-7.1, 52.78])
def test_agreement_with_reproject_times_the_ratio_of_pixel_areas(images, name, dec):
    wcs = grid(dec=dec)
    target = onto_sdss(wcs)
    expected = reproject_interp((images[name], wcs), target, (64, 64), order="bilinear", return_footprint=False)
    area = (SDSS.pixel_scale / CFHT.pixel_scale) ** 2
    assert_allclose(regrid(images[name], wcs, target, 64), expected * area, atol=1e-4 * np.max(expected * area))


def other_grid(ctype, radesys, crval, lonpole=180.0):
    """A 64 × 64 grid of SDSS pixels in another projection or frame."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.radesys, wcs.wcs.crval = ctype, radesys, crval
    wcs.wcs.crpix, wcs.wcs.lonpole = (32.5, 32.5), lonpole
    wcs.wcs.cd = np.array([[-1, 0.1], [0.1, 1]]) * 0.396 / 3600
    wcs.wcs.set()
    return wcs


SKY = SkyCoord(*grid().wcs_pix2world([[67.5, 67.5]], 0)[0], unit="deg")
OTHERS = {
    "turned pole": other_grid(["RA---TAN", "DEC--TAN"], "ICRS", (SKY.ra.deg, SKY.dec.deg), lonpole=100.0),
    "FK5": other_grid(["RA---TAN", "DEC--TAN"], "FK5", (SKY.fk5.ra.deg, SKY.fk5.dec.deg)),
    "FK4": other_grid(["RA---TAN", "DEC--TAN"], "FK4", (SKY.fk4.ra.deg, SKY.fk4.dec.deg)),
    "galactic": other_grid(["GLON-TAN", "GLAT-TAN"], "", (SKY.galactic.l.deg, SKY.galactic.b.deg)),
    "declination first": other_grid(["DEC--TAN", "RA---TAN"], "ICRS", (SKY.dec.deg, SKY.ra.deg)),
    "orthographic": other_grid(["RA---SIN", "DEC--SIN"], "ICRS", (SKY.ra.deg, SKY.dec.deg)),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_projections_and_frames_agree_with_reproject_too(images, name):
    target = OTHERS[name]
    expected = reproject_interp((images["large"], grid()), target, (64, 64), order="bilinear", return_footprint=False)
    expected *= np.linalg.det(local_cd(target, (64, 64))) / np.linalg.det(grid().wcs.cd)
    found = regrid(images["large"], grid(), target, 64)
    assert np.isfinite(found).mean() > 0.8  # the corners of a turned grid lie outside
    both = np.isfinite(found) & np.isfinite(expected)
    assert_allclose(found[both], abs(expected)[both], atol=1e-4 * np.nanmax(abs(expected)))


def distorted_grid():
    """A grid with a polynomial distortion (SIP) of 0.4 pixels in its corners."""
    header = north_up_wcs(SKY.ra.deg, SKY.dec.deg, 0.396, 64).to_header()
    header.update({"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "A_ORDER": 2, "B_ORDER": 2, "A_2_0": 4e-4})
    return read_wcs(header)


MORE = OTHERS | {
    "ecliptic": other_grid(
        ["ELON-TAN", "ELAT-TAN"], "", (SKY.barycentricmeanecliptic.lon.deg, SKY.barycentricmeanecliptic.lat.deg)
    ),
    "supergalactic": other_grid(["SLON-TAN", "SLAT-TAN"], "", (SKY.supergalactic.sgl.deg, SKY.supergalactic.sgb.deg)),
    "distorted": distorted_grid(),
}


@pytest.mark.parametrize("onto", [True, False])
@pytest.mark.parametrize("name", MORE)
def test_every_other_grid_has_the_four_pixels_around_and_no_data_beyond_the_outermost(name, onto):
    image = np.random.default_rng(2).normal(size=(2, 70, 60))
    image[0, 30, 35] = np.nan
    plain = north_up_wcs(SKY.ra.deg + 3e-5, SKY.dec.deg + 2e-5, 0.396, 64)
    wcs, target = (plain, MORE[name]) if onto else (MORE[name], plain)
    col, row = pixels_of(wcs, places_of(target, np.indices((90, 90))[::-1].reshape(2, -1).T)).T
    inside = (col >= 0) & (col < 59) & (row >= 0) & (row < 69)
    found = regrid(image, wcs, target, 90).reshape(2, -1)
    top, left = (np.floor(np.where(inside, each, 0)).astype(int) for each in (row, col))
    down, right = row - top, col - left
    expected = (1 - down) * ((1 - right) * image[:, top, left] + right * image[:, top, left + 1])
    expected += down * ((1 - right) * image[:, top + 1, left] + right * image[:, top + 1, left + 1])
    area = abs(np.linalg.det(local_cd(target, (90, 90))) / np.linalg.det(local_cd(wcs, (70, 60))))
    assert 3000 < inside.sum() < 5000
    assert_array_equal(np.isfinite(found), inside & np.isfinite(expected))
    assert_allclose(found[np.isfinite(found)], area * expected[np.isfinite(found)], atol=2e-6)


def test_a_grid_of_another_projection_onto_itself_loses_no_edge():
    image = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
    assert_allclose(regrid(image, OTHERS["orthographic"], OTHERS["orthographic"], 64), image, atol=1e-6)


@pytest.mark.parametrize("dec", [89.9999, 90.0, -90.0])
def test_at_the_poles_pixels_are_where_wcslib_has_them(images, dec):
    wcs, target = tan_wcs((30, dec), (68.5, 68.5), grid(angle=0.3).wcs.cd), north_up_wcs(77, dec, SDSS.pixel_scale, 40)
    expected = four_points(images["large"], wcs, target, 40) * (SDSS.pixel_scale / CFHT.pixel_scale) ** 2
    assert_allclose(regrid(images["large"], wcs, target, 40), expected, rtol=1e-5, atol=1e-6 * expected.max())


@pytest.mark.parametrize("shape", [(1, 136), (136, 1), (1, 1)])
def test_an_image_of_one_row_or_column_has_what_lies_on_it(shape):
    image = np.arange(1.0, 1 + np.prod(shape)).reshape(shape)
    found = regrid(image, grid(angle=0.0), grid(angle=0.0), 136)
    assert_allclose(found[: shape[0], : shape[1]], image, rtol=1e-6)
    assert np.isfinite(found).sum() == image.size


def test_integers_and_foreign_byte_orders_are_taken(images):
    image = (images["disk"] * 1e4).astype(np.int16)
    expected = regrid(image.astype(float), grid(), onto_sdss(grid()), 64)
    for kind in (np.int16, ">f4", "<f8", ">i4"):
        assert_allclose(regrid(image.astype(kind), grid(), onto_sdss(grid()), 64), expected, rtol=1e-5, atol=1e-3)


def four_points(image, wcs, target, size):
    """Bilinear interpolation by its definition, through the sky position of each target pixel."""
    rows, cols = np.indices((size, size))
    col, row = wcs.all_world2pix(*target.all_pix2world(cols.ravel(), rows.ravel(), 0), 0)
    top, left = np.floor(row).astype(int), np.floor(col).astype(int)
    down, right = row - top, col - left
    value = (1 - down) * ((1 - right) * image[..., top, left] + right * image[..., top, left + 1])
    value += down * ((1 - right) * image[..., top + 1, left] + right * image[..., top + 1, left + 1])
    return value.reshape(*image.shape[:-2], size, size)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("scale", [0.396, 0.25, 0.1])
def test_agreement_with_bilinear_interpolation_by_its_definition(seed, scale):
    rng = np.random.default_rng(seed)
    image = rng.normal(size=(3, SIZE, SIZE))
    wcs = grid(*rng.uniform((0, -80), (360, 80)), rng.uniform(-3, 3), rng.uniform(-5000, 5000, 2))
    target = rescaled_wcs(wcs, (SIZE, SIZE), scale, 60)
    expected = four_points(image, wcs, target, 60) * (scale / CFHT.pixel_scale) ** 2
    assert_allclose(regrid(image, wcs, target, 60), expected, atol=1e-4 * np.abs(expected).max())


def test_far_from_the_tangent_point_the_true_pixel_area_counts():
    """A degree from the tangent point TAN pixels are smaller on the sky by cos³: 0.05 % in flux."""
    wcs = grid(crpix=(67.2 + 3600 / CFHT.pixel_scale, 69.1))
    image = np.ones((SIZE, SIZE))
    smaller = np.cos(np.radians(1.0)) ** 3
    expected = (SDSS.pixel_scale / CFHT.pixel_scale) ** 2 / smaller
    assert_allclose(regrid(image, wcs, north_up_wcs(*centre_of(wcs), 0.396, 40), 40), expected, rtol=2e-5)


def centre_of(wcs):
    return wcs.wcs_pix2world([[(SIZE - 1) / 2] * 2], 0)[0]


def test_a_grid_onto_itself_changes_nothing():
    image = np.random.default_rng(0).normal(size=(2, SIZE, SIZE)).astype(np.float32)
    assert_allclose(regrid(image, grid(), grid(), SIZE), image, atol=1e-5)


def test_bands_are_regridded_as_each_alone(images):
    wcs, cube = grid(), np.stack(list(images.values()))
    together = regrid(cube, wcs, onto_sdss(wcs), 64)
    assert together.dtype == np.float32
    assert_array_equal(together, [regrid(image, wcs, onto_sdss(wcs), 64) for image in cube])


def test_a_missing_pixel_spoils_what_it_contributes_to_and_nothing_else(images):
    wcs, image = grid(), images["disk"].copy()
    whole = regrid(image, wcs, onto_sdss(wcs), 64)
    image[60, 71] = np.nan
    image[100:104, 20] = np.nan
    holed = regrid(image, wcs, onto_sdss(wcs), 64)
    expected = np.isnan(four_points(image, wcs, onto_sdss(wcs), 64))
    assert 2 <= expected.sum() <= 12
    assert_array_equal(np.isnan(holed), expected)
    assert_array_equal(holed[~expected], whole[~expected])


def test_beyond_the_outermost_pixel_centres_there_is_no_data(images):
    wcs = grid(angle=0.0)
    target = rescaled_wcs(wcs, (SIZE, SIZE), 0.093, 2 * SIZE + 40)
    regridded = regrid(images["disk"], wcs, target, 2 * SIZE + 40)
    col, row = wcs.wcs_world2pix(target.wcs_pix2world([[k, k] for k in range(2 * SIZE + 40)], 0), 0).T
    assert_array_equal(np.isfinite(np.diagonal(regridded)), (col >= 0) & (col <= SIZE - 1) & (row >= 0))
    assert np.isfinite(regridded).sum() == (2 * SIZE - 2) ** 2


def test_the_far_side_of_the_sky_has_no_data(images):
    target = north_up_wcs(38.5 + 180, 7.1, 0.396, 64)
    assert np.isnan(regrid(images["disk"], grid(), target, 64)).all()


@pytest.mark.skipif(not DATA.exists(), reason="the real CFHTLS stacks are not here")
@pytest.mark.parametrize("band", "gri")
def test_flux_of_real_sources_is_kept(band):
    """All that lies in a real T0007 window, noise and all: the sum of 64 × 64 pixels is that of the 136 × 136."""
    with fits.open(DATA / f"CFHTLS-test_{band}.fits") as hdus:
        image, wcs = np.array(hdus[0].data, float), read_wcs(hdus[0].header)
    smooth = gaussian_filter(image, 4)
    row, col = np.unravel_index(np.argmax(smooth[150:290, 150:290]), (140, 140)) + np.array([150, 150])
    window = image[row - 68 : row + 68, col - 68 : col + 68]
    native = wcs.deepcopy()
    native.wcs.crpix -= [col - 68, row - 68]
    within = np.hypot(*(np.indices((SIZE, SIZE)) - 68)) < 50
    regridded = regrid(window, native, onto_sdss(native), 64)
    inside = regrid(within.astype(float), native, onto_sdss(native), 64)
    inside /= inside.max()
    assert_allclose((regridded * inside).sum(), window[within].sum(), rtol=0.01)
