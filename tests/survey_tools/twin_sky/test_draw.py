import numpy as np
import pytest
from numpy.testing import assert_allclose

pytest.importorskip("galsim")

from survey_tools.images.sky_wcs import tan_wcs
from survey_tools.twin_sky.draw import arms_pattern, render
from survey_tools.twin_sky.exposure import Psf
from survey_tools.twin_sky.galaxies import draw_galaxies, draw_stars

RA, DEC = 214.5, 52.8
PSF = {"sdss": Psf(1.3, 3.5, 0.01, -0.02), "cfht": Psf(0.7, 3.5)}
SCALE = {"sdss": 0.396, "cfht": 0.186}


def turned_wcs(survey, size, angle=40.0):
    """A grid turned against north whose middle is a few pixels off the object."""
    sin, cos = np.sin(np.radians(angle)), np.cos(np.radians(angle))
    cd = np.array([[-cos, sin], [sin, cos]]) * SCALE[survey] / 3600
    return tan_wcs((RA + 0.002, DEC - 0.003), (size / 2 + 3.3, size / 2 - 5.7), cd)


def placed(table, ra=RA, dec=DEC):
    table["ra"], table["dec"] = np.full(len(table), ra), np.full(len(table), dec)
    return table


@pytest.fixture(scope="module")
def galaxies():
    """One galaxy of r = 16 to 17 of each kind that is less than 4 arcsec large."""
    table = draw_galaxies(np.linspace(16, 17, 400), np.random.default_rng(2))
    table = table[table["half_light_radius"] < 4]
    kinds = ["E", "S0", "Sab", "Sbc", "Scd", "Irr"]
    return placed(table[[int(np.flatnonzero(table["kind"] == kind)[0]) for kind in kinds]])


def moments(image, wcs):
    """Position [deg] and second moments (2, 2) [arcsec^2, east and north] of the light of an image."""
    rows, cols = np.indices(image.shape)
    sky = wcs.wcs_pix2world(np.stack([cols.ravel(), rows.ravel()], axis=1), 0)
    offsets = (sky - [RA, DEC]) * [np.cos(np.radians(DEC)), 1] * 3600
    weight = image.ravel() / image.sum()
    mean = weight @ offsets
    return mean, (offsets - mean).T @ ((offsets - mean) * weight[:, None])


@pytest.mark.parametrize("survey", ["sdss", "cfht"])
@pytest.mark.parametrize("kind", range(6))
def test_the_light_of_a_galaxy_is_its_flux_at_its_place(galaxies, survey, kind):
    size = {"sdss": 420, "cfht": 900}[survey]
    wcs = turned_wcs(survey, size)
    image = render(galaxies[kind : kind + 1], wcs, (size, size), PSF[survey], survey, "r")
    flux = np.asarray(galaxies[f"flux_{survey}"])[kind, :, 2]
    assert_allclose(image.sum(), flux.sum(), rtol=0.01)
    smooth = galaxies[kind : kind + 1].copy()
    smooth[f"flux_{survey}"][:, 2] = 0  # knots are strewn at random, and not about the centre
    mean, _ = moments(render(smooth, wcs, (size, size), PSF[survey], survey, "r"), wcs)
    assert_allclose(mean, 0, atol=0.05)


@pytest.mark.parametrize("survey", ["sdss", "cfht"])
@pytest.mark.parametrize("angle", [0.0, 77.0, 200.0])
def test_the_position_angle_is_east_of_north_whatever_the_grid(galaxies, survey, angle):
    disk = galaxies[5:6].copy()  # the irregular one has no bulge
    disk[f"flux_{survey}"][:, 2] = 0
    disk["position_angle"], disk["disk_axis_ratio"] = 30.0, 0.4
    wcs = turned_wcs(survey, 500, angle)
    _, second = moments(render(disk, wcs, (500, 500), Psf(0.6, 3.5), survey, "r"), wcs)
    long = np.linalg.eigh(second)[1][:, 1]
    assert_allclose(np.degrees(np.arctan2(long[0], long[1])) % 180, 30.0, atol=1)


def test_half_of_a_round_galaxy_is_within_its_half_light_radius():
    table = draw_galaxies(np.full(50, 16.0), np.random.default_rng(0))
    galaxy = placed(table[table["kind"] == "S0"][:1])
    for name in ("axis_ratio", "bulge_axis_ratio", "disk_axis_ratio"):
        galaxy[name] = 1.0
    wcs = turned_wcs("cfht", 901)
    image = render(galaxy, wcs, (901, 901), Psf(0.2, 3.5), "cfht", "r")
    rows, cols = np.indices(image.shape)
    col, row = wcs.wcs_world2pix([[RA, DEC]], 0)[0]
    inside = np.hypot(rows - row, cols - col) * 0.186 < galaxy["half_light_radius"][0]
    assert_allclose(image[inside].sum() / image.sum(), 0.5, atol=0.03)  # the bulge is cut, which draws it in a little


def test_a_star_is_the_psf():
    star = placed(draw_stars(np.array([18.0]), np.random.default_rng(0)))
    wcs = turned_wcs("cfht", 201)
    image = render(star, wcs, (201, 201), Psf(0.8, 3.5), "cfht", "i")
    assert_allclose(image.sum(), np.asarray(star["flux_cfht"])[0, :, 3].sum(), rtol=0.002)
    rows, cols = np.indices(image.shape)
    col, row = wcs.wcs_world2pix([[RA, DEC]], 0)[0]
    radius = np.hypot(rows - row, cols - col) * 0.186
    ring = np.abs(radius - 0.4) < 0.03
    # pixels are integrals: the peak's own is a little lower than the PSF's peak
    assert_allclose(image[ring].mean() / image.max(), 0.5, atol=0.06)


def test_a_part_of_the_sky_is_the_part_of_the_image(galaxies):
    wcs = turned_wcs("sdss", 200)
    whole = render(galaxies, wcs, (200, 200), PSF["sdss"], "sdss", "g")
    part = wcs.deepcopy()
    part.wcs.crpix -= [60, 80]
    window = render(galaxies, part, (50, 70), PSF["sdss"], "sdss", "g")
    assert_allclose(window, whole[80:130, 60:130], atol=1e-5 * whole.max())


def test_what_lies_far_outside_is_not_drawn(galaxies):
    far = placed(galaxies.copy(), RA + 0.2, DEC)
    assert render(far, turned_wcs("cfht", 100), (100, 100), PSF["cfht"], "cfht", "r").max() == 0


def test_arms_wind_outwards_and_are_not_smooth():
    pattern = arms_pattern(18.0, np.random.default_rng(3))
    assert_allclose(pattern.sum(), 1, rtol=1e-5)
    assert pattern.min() >= 0
    middle = (pattern.shape[0] - 1) / 2
    rows, cols = np.indices(pattern.shape)
    radius = np.hypot(rows - middle, cols - middle)
    ring = pattern[np.abs(radius - 20) < 1]
    assert ring.std() / ring.mean() > 0.3
