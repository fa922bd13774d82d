import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from numpy.testing import assert_allclose, assert_array_equal

pytest.importorskip("galsim")

from survey_tools import fetch, open_store
from survey_tools.surveys import OWN
from survey_tools.twin_sky.archive_files import Patch, draw_sky
from survey_tools.twin_sky.coadd_files import LAYOUTS
from survey_tools.twin_sky.draw import render
from survey_tools.twin_sky.exposure import draw_exposure, draw_night
from survey_tools.twin_sky.observing_facts import SIMULATED, coarse_to_fine
from survey_tools.twin_sky.simulate import simulate_archive

NAMES = coarse_to_fine(LAYOUTS)
PATCH = Patch(4, dict.fromkeys(NAMES, "r"), 500, 7)
FILES = {  # names of what one tile in one band has, as the surveys have them
    "hsc": {"calexp-HSC-R2-9999-0,0.fits"},
    "des": {"DES2213+0118_r9999p00_r.fits.fz"},
    "legacy": {"legacysurvey-3330p013-image-r.fits.fz", "legacysurvey-3330p013-maskbits.fits.fz"},
    "ps1": {f"rings.v3.skycell.9999.000.stk.r.unconv{ending}.fits" for ending in ("", ".mask")},
    "kids": {f"KiDS_DR4.0_333.0_1.3_r_{ending}.fits" for ending in ("sci", "msk", "wei")},
}


@pytest.fixture(scope="module")
def sky(tmp_path_factory):
    out = tmp_path_factory.mktemp("coadds") / "sky"
    simulate_archive(out, galaxies=PATCH.galaxies, bands=PATCH.bands, tile_size=PATCH.tile_size, seed=PATCH.seed)
    return out


@pytest.fixture(scope="module")
def objects():
    return draw_sky(PATCH)[0]


def cut(sky, name, out, truth=False):
    mirror = sky / "truth" / name if truth else sky / name
    fetch(sky / f"catalogue_{name}.ecsv", name, out, mirror=mirror, bands="r")
    return open_store(out)


def exposure_of(name, tile):
    rng = np.random.default_rng([PATCH.seed, 12, SIMULATED[name].code - 1, OWN[name].bands.index("r"), tile])
    return draw_exposure(name, "r", draw_night(rng), rng)


@pytest.mark.parametrize("name", NAMES)
def test_files_are_named_as_those_of_the_survey_and_say_that_they_are_simulated(sky, name):
    there = {path.name for path in (sky / name).iterdir()}
    assert there >= FILES[name]
    assert len(there) == 2 * len(FILES[name])
    for path in (sky / name).iterdir():
        with fits.open(path) as hdus:
            headers = [hdu.header for hdu in hdus if hdu.header["NAXIS"]]
        assert "maskbits" in path.name or all(header["SIMULATD"] for header in headers)


@pytest.mark.parametrize("name", NAMES)
def test_fetch_cuts_the_flux_that_was_drawn(sky, objects, name, tmp_path):
    truth = cut(sky, name, tmp_path / "truth.zarr", truth=True)
    seen = cut(sky, name, tmp_path / "seen.zarr")
    assert seen.bands == truth.bands == ("r",)
    assert_array_equal(seen.column("object_id"), Table.read(sky / f"catalogue_{name}.ecsv")["object_id"])
    assert (seen.column("saturation_source") == "mask").all()
    exposures = [exposure_of(name, tile) for tile in (0, 1)]
    for row in range(len(seen)):
        wcs, shape = truth.wcs(row), truth.images[row][0].shape
        drawn = [render(objects, wcs, shape, each.psf, name, "r") for each in exposures]
        image, known = truth.images[row][0], ~np.isnan(truth.images[row][0])
        assert known.mean() > 0.5
        away = [np.abs(image - each)[known].max() for each in drawn]
        tile = int(np.argmin(away))
        assert away[tile] < 1e-3 * image[known].max()
        noise = (seen.images[row][0] - image)[known]
        sigma = np.sqrt(exposures[tile].sigma ** 2 + np.maximum(image[known], 0) / exposures[tile].electrons)
        faint = (image < exposures[tile].brightest / 2)[known]
        assert_allclose((noise / sigma)[faint].std(), 1, rtol=0.06)


def test_pixels_that_saturate_are_flagged(sky):
    with fits.open(sky / "hsc" / "calexp-HSC-R2-9999-0,0.fits") as hdus:
        assert hdus[0].header["FLUXMAG0"] == pytest.approx(6.30957344e10)
        flagged = hdus["MASK"].data & (1 << hdus["MASK"].header["MP_SAT"]) > 0
        empty = hdus["MASK"].data & (1 << hdus["MASK"].header["MP_NO_DATA"]) > 0
        image = hdus["IMAGE"].data * 10 ** (-0.4 * 4.5)
        assert_array_equal(np.isnan(image), empty)
        level = exposure_of("hsc", 0).brightest
        assert (image[flagged & ~empty] > 0.99 * level).all()
        assert (image[~flagged & ~empty] < 1.01 * level).all()


def test_the_sky_is_the_one_that_sdss_and_cfhtls_see():
    here, there = (draw_sky(Patch(6, dict.fromkeys(pair, "r"), 600, 1)) for pair in (("sdss", "cfht"), ("des", "hsc")))
    for name in ("ra", "dec", "r"):
        assert_array_equal(here[0][name], there[0][name])
    assert_array_equal(here[1]["sdss"], there[1]["des"])
    assert_array_equal(here[1]["cfht"], there[1]["hsc"])


def test_galaxies_of_three_catalogues_are_in_all_of_them_or_in_one():
    targets = draw_sky(Patch(60, dict.fromkeys(("sdss", "des", "hsc"), "r"), 900, 1))[1]
    seen = np.stack([targets[name] for name in ("sdss", "des", "hsc")]).sum(axis=0)
    assert (np.unique(seen, return_counts=True)[1] == [30, 30]).all()
    assert set(seen) == {1, 3}
