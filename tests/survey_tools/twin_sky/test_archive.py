import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse.csgraph import connected_components

pytest.importorskip("galsim")

from survey_tools.twin_sky.archive_files import Patch, clumped, draw_sky, sdss_exposure, tile_wcs, with_fields
from survey_tools.twin_sky.frames import FIELDS, ROWS, field_wcs, strip_wcs
from survey_tools.twin_sky.stores import CENTRE, catalogue_of

PATCH = Patch(280, dict.fromkeys(("sdss", "cfht"), "ugriz"), 3000, 0)


@pytest.fixture(scope="module")
def sky():
    return draw_sky(PATCH)


def test_galaxies_lie_in_many_small_groups(sky):
    position = SkyCoord(sky[1]["ra"], sky[1]["dec"], unit="deg").cartesian.xyz.value.T
    near = np.linalg.norm(position[:, None] - position, axis=2) < np.radians(36 / 3600)  # 36": a cutout's diagonal
    group = connected_components(near)[1]
    assert len(np.unique(group)) >= 40
    assert np.bincount(group).max() <= 8


def test_galaxies_keep_clear_of_each_other(sky):
    position = SkyCoord(sky[1]["ra"], sky[1]["dec"], unit="deg")
    nearest = position.match_to_catalog_sky(position, nthneighbor=2)[1].arcsec
    assert (nearest > 5).mean() > 0.97


def test_all_catalogued_galaxies_are_on_a_tile_and_in_a_field(sky):
    targets = sky[1]
    strip = strip_wcs(*CENTRE, (0, 0), 0.0, 0.396)
    inside = np.zeros(len(targets), bool)
    for index in range(len(FIELDS)):
        col, row = field_wcs(strip, index).wcs_world2pix(targets["ra"], targets["dec"], 0)
        inside |= (col > 46) & (col < 2001) & (row > 46) & (row < ROWS - 47)  # room for a cutout, however turned
    assert inside.mean() > 0.99
    half = (2 * 3000 - 350) * 0.186 / 2 / 3600
    assert (np.abs(targets["dec"] - CENTRE[1]) < 1500 * 0.186 / 3600).all()
    assert (np.abs(targets["ra"] - CENTRE[0]) * np.cos(np.radians(CENTRE[1])) < half).all()


def test_a_quarter_of_the_galaxies_is_in_one_catalogue_only(sky):
    targets = sky[1]
    assert targets["sdss"].sum() == targets["cfht"].sum() == 210
    assert (targets["sdss"] & targets["cfht"]).sum() == 140


def test_the_sky_is_as_full_as_the_real_one(sky):
    everything, targets = sky
    faint = everything[len(targets) :]
    extent = (faint["dec"].max() - faint["dec"].min()) * (faint["ra"].max() - faint["ra"].min()) * 3600  # arcmin^2
    galaxies = faint["kind"] != "star"
    assert_allclose((galaxies & (faint["r"] < 23)).sum() / extent, 25000 / 3600, rtol=0.1)
    assert_allclose((~galaxies).sum() / extent, 2500 / 3600, rtol=0.15)


def test_fields_are_those_that_hold_the_objects(sky):
    catalogue = with_fields(catalogue_of("sdss", sky[1], 0))
    strip = strip_wcs(*CENTRE, (0, 0), 0.0, 0.396)
    for index, field in enumerate(FIELDS):
        mine = catalogue[catalogue["field"] == field]
        row = field_wcs(strip, index).wcs_world2pix(mine["ra"], mine["dec"], 0)[1]
        assert len(mine) > 50
        assert row.min() > 46
        assert row.max() < ROWS - 47
    assert set(catalogue["run"]) == {9001}


def test_clumps_fill_a_small_area_too():
    targets = draw_sky(Patch(10, dict.fromkeys(("sdss", "cfht"), "r"), 700, 1))[1]
    east, north = clumped(targets, 100.0, 60.0, np.random.default_rng(0))
    assert np.abs(east).max() <= 100
    assert np.abs(north).max() <= 60


def test_the_bands_of_a_run_share_their_night():
    widths = [
        sdss_exposure(band, Patch(1, dict.fromkeys(("sdss", "cfht"), "r"), 600, seed)).psf.fwhm
        for seed in range(40)
        for band in "ri"
    ]
    r, i = np.array(widths).reshape(-1, 2).T
    assert np.corrcoef(r, i)[0, 1] > 0.6


def test_tiles_are_north_up():
    assert_array_equal(tile_wcs(10.0, 20.0, 100).wcs.cd[[0, 1], [1, 0]], 0)
