import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import Table
from numpy.testing import assert_allclose, assert_array_equal

pytest.importorskip("galsim")

from survey_tools import open_store
from survey_tools.twin_sky.simulate import simulate_stores
from survey_tools.twin_sky.stores import SimulatedSky, draw_targets

COUNT, BANDS, SEED = 6, "gr", 4
PAIR = ("sdss", "cfht")
PATHS = [f"{place}{survey}.zarr" for place in ("", "truth/") for survey in PAIR]


def simulated(out, workers, bands=BANDS):
    small = 2**17  # bytes of a chunk: several chunks, hence several tasks
    simulate_stores(out, COUNT, bands=dict.fromkeys(PAIR, bands), seed=SEED, workers=workers, chunk_bytes=small)
    return {path: open_store(out / path) for path in PATHS}


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    return simulated(tmp_path_factory.mktemp("one"), 1)


def test_stores_do_not_depend_on_the_workers(stores, tmp_path):
    again = simulated(tmp_path / "two", 2)
    for path, store in stores.items():
        assert len(store.chunks()) > 1
        for name in ("images", "mask"):
            assert_array_equal(getattr(again[path], name)[:], getattr(store, name)[:])
        for name in ("crval", "crpix", "cd", "sky_sigma", "psf_fwhm", "gain", "saturated"):
            assert_array_equal(again[path].column(name), store.column(name))


def test_a_band_does_not_depend_on_the_others(stores, tmp_path):
    alone = simulated(tmp_path / "r", 1, bands="r")
    assert_array_equal(alone["cfht.zarr"].images[:, 0], stores["cfht.zarr"].images[:, 1])


@pytest.mark.parametrize(("survey", "size"), [("sdss", 64), ("cfht", 136)])
def test_stores_are_as_fetch_makes_them(stores, survey, size):
    store = stores[f"{survey}.zarr"]
    assert store.images.shape == (COUNT, 2, size, size)
    assert store.usable.all()
    assert set(store.manifest()["status"]) == {"done"}
    assert_array_equal(store.column("zero_point"), {"sdss": 22.5, "cfht": 30.0}[survey])
    assert (store.column("psf_source") == "simulation").all()
    # gain of the CCD over nanomaggies per count: 3.845 / 0.0040, 4.72 / 0.0052; 66.6 and 42.2 / 0.001; by 5 % alike
    gain = {"sdss": (961, 908), "cfht": (66.6e3, 42.2e3)}[survey]
    assert_allclose(store.column("gain"), np.tile(gain, (COUNT, 1)), rtol=0.2)
    assert store.rows == stores[f"truth/{survey}.zarr"].rows
    assert_array_equal(store.column("saturated"), store.mask[:].sum(axis=(2, 3)))


@pytest.mark.parametrize("survey", ["sdss", "cfht"])
def test_an_object_is_in_the_middle_of_its_cutout(stores, survey):
    store = stores[f"{survey}.zarr"]
    for row in range(COUNT):
        position = [[store.column("ra")[row], store.column("dec")[row]]]
        assert_allclose(store.wcs(row).wcs_world2pix(position, 0), (store.size - 1) / 2, atol=0.501)


@pytest.mark.parametrize(("survey", "expected"), [("sdss", (0.0040 * 4.4, 0.0052 * 5.2)), ("cfht", (0.00059, 0.00132))])
def test_the_difference_from_the_truth_is_the_noise_of_the_survey(stores, survey, expected):
    seen, truth = stores[f"{survey}.zarr"], stores[f"truth/{survey}.zarr"]
    measured = seen.column("sky_sigma")
    difference = seen.images[:] - truth.images[:]
    faint = truth.images[:] < 0.3 * measured[:, :, None, None]
    for row, band in np.ndindex(COUNT, 2):
        pixels = difference[row, band][faint[row, band]]
        if len(pixels) > 500:
            assert_allclose(pixels.std(), expected[band], rtol=0.35)  # images differ; resampling takes a little
            assert_allclose(pixels.mean(), 0, atol=0.15 * pixels.std())
            assert 0.9 < measured[row, band] / pixels.std() < 1.5  # what shines in a cutout counts as sky in part


def test_half_of_the_objects_are_in_both_surveys(stores):
    x, y = (SkyCoord(s.column("ra"), s.column("dec"), unit="deg") for s in (stores["sdss.zarr"], stores["cfht.zarr"]))
    separation = x.match_to_catalog_sky(y)[1].to_value(u.arcsec)
    near = separation < 1
    assert near.sum() == COUNT // 2
    assert 0.01 < np.median(separation[near]) < 0.4  # the scatter between the catalogues
    assert separation[~near].min() > 100


def test_both_surveys_see_the_same_flux(stores):
    x, y = stores["truth/sdss.zarr"], stores["truth/cfht.zarr"]
    sky = [SkyCoord(store.column("ra"), store.column("dec"), unit="deg") for store in (x, y)]
    index, separation, _ = sky[0].match_to_catalog_sky(sky[1])
    for row in np.flatnonzero(separation < 1 * u.arcsec):
        flux = [store.images[at].sum(axis=(1, 2)) for store, at in ((x, row), (y, index[row]))]
        # other filters, and up to 5 % of the light of neighbours that lie between both edges
        assert_allclose(flux[0][1], flux[1][1], rtol=0.1)


def test_catalogues_tell_the_truth(stores):
    store = stores["sdss.zarr"]
    catalogue = Table.read(store.path.parent / "catalogue.ecsv")
    assert_array_equal(catalogue["object_id"], store.column("object_id"))
    assert_array_equal(catalogue["redshift"], store.column("redshift"))
    assert_allclose(22.5 - 2.5 * np.log10(catalogue["true_flux_r"]), catalogue["true_r"], atol=1e-6)


@pytest.mark.parametrize(("overlap", "both"), [(0.0, 0), (0.25, 25), (1.0, 100)])
def test_the_overlap_is_as_asked(overlap, both):
    targets = draw_targets(SimulatedSky(100, dict.fromkeys(PAIR, "r"), overlap, 0))
    assert targets["sdss"].sum() == targets["cfht"].sum() == 100
    assert (targets["sdss"] & targets["cfht"]).sum() == both


def test_objects_do_not_crowd():
    targets = draw_targets(SimulatedSky(2000, dict.fromkeys(PAIR, "r"), 0.5, 0))
    sky = SkyCoord(targets["ra"], targets["dec"], unit="deg")
    assert sky.match_to_catalog_sky(sky, nthneighbor=2)[1].min() > 60 * u.arcsec
    assert (targets["r"] < 17.8).mean() > 0.8
    assert targets["r"].min() > 14
    assert targets["r"].max() < 20


@pytest.fixture(scope="module")
def other_pair(tmp_path_factory):
    out = tmp_path_factory.mktemp("kids-hsc")
    simulate_stores(out, 4, bands={"kids": "ur", "hsc": "ry"}, seed=SEED)
    return out


def test_two_other_surveys_see_the_same_galaxies(other_pair):
    x, y = (open_store(other_pair / f"{name}.zarr") for name in ("kids", "hsc"))
    assert (x.bands, y.bands) == (("u", "r"), ("r", "y"))
    assert (x.size, y.size) == (128, 152)
    assert x.usable.all()
    sky = [SkyCoord(store.column("ra"), store.column("dec"), unit="deg") for store in (x, y)]
    index, separation, _ = sky[0].match_to_catalog_sky(sky[1])
    near = separation < 1 * u.arcsec
    assert near.sum() == 2
    assert 0 < np.median(separation[near].arcsec) < 0.15
    truth = [open_store(other_pair / "truth" / f"{name}.zarr") for name in ("kids", "hsc")]
    catalogues = [Table.read(other_pair / f"catalogue_{name}.ecsv") for name in ("kids", "hsc")]
    for row in np.flatnonzero(near):
        stated = [catalogues[0]["true_flux_r"][row], catalogues[1]["true_flux_r"][index[row]]]
        assert_allclose(*stated, rtol=0.1)  # filters that are alike, but not the same
        seen = [truth[0].images[row][1].sum(), truth[1].images[index[row]][0].sum()]
        assert_allclose(seen[0] / seen[1], stated[0] / stated[1], rtol=0.05)
    assert {"true_flux_u"} <= {*catalogues[0].colnames} - {*catalogues[1].colnames}
    assert {"true_flux_y"} <= {*catalogues[1].colnames} - {*catalogues[0].colnames}


def test_what_one_survey_sees_does_not_depend_on_the_others(other_pair, tmp_path):
    simulate_stores(tmp_path, 4, bands={"kids": "r", "cfht": "r"}, seed=SEED)
    alone, beside = open_store(tmp_path / "kids.zarr"), open_store(other_pair / "kids.zarr")
    assert_array_equal(alone.column("object_id"), beside.column("object_id"))
    assert_array_equal(alone.images[:, 0], beside.images[:, 1])


def test_objects_of_three_surveys_are_in_all_of_them_or_in_one():
    targets = draw_targets(SimulatedSky(100, dict.fromkeys(("sdss", "des", "hsc"), "r"), 0.4, 0))
    seen = np.stack([targets[name] for name in ("sdss", "des", "hsc")])
    assert_array_equal(seen.sum(axis=1), 100)
    assert sorted(np.unique(seen.sum(axis=0), return_counts=True)[1]) == [40, 180]
    assert set(seen.sum(axis=0)) == {1, 3}
