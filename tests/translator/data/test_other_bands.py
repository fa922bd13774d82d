"""Two stores with other bands: what both have is taken, the rest is said, and pixels and columns keep their band."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from survey_tools.errors import RunError, StoreError
from survey_tools.store.in_bands import share_bands, take_bands
from survey_tools.surveys import CFHT, SDSS
from translator import evaluate, load_run, train, translate
from translator.data.reading import read_apart, read_rows

FAR = 150 + 0.1 * np.arange(12)  # [deg], many cutouts apart


@pytest.fixture(scope="module")
def folder(tiny_store, pair_table, tmp_path_factory):
    """ugri of one survey and griz of the other, six objects of which are the same; the last is for tests."""
    path = tmp_path_factory.mktemp("bands")
    x = tiny_store(path / "x.zarr", SDSS, 16, FAR, bands="ugri", chunk_bytes=20_000)
    y = tiny_store(path / "y.zarr", CFHT, 36, FAR, bands="griz", chunk_bytes=100_000)
    rows, split = np.arange(6, 12), ["train"] * 5 + ["test"]
    pair_table(x, y, rows, rows, split).write(path / "pairs.ecsv")
    return path


@pytest.fixture
def stores(folder):
    from survey_tools import open_store

    return open_store(folder / "x.zarr"), open_store(folder / "y.zarr")


def test_the_bands_of_both_are_taken_in_the_order_of_x_and_the_others_are_said(stores):
    x, y, left_out = share_bands(*stores)
    assert x.bands == y.bands == ("g", "r", "i")
    assert left_out == ["Bands that only x.zarr has are left out: u", "Bands that only y.zarr has are left out: z"]
    assert share_bands(*stores, bands=("r", "g"))[0].bands == ("r", "g")


@pytest.mark.parametrize("bands", ["gri", "ri", "iu", "r"])
def test_pixels_and_columns_stay_with_their_band(stores, bands):
    whole, places = stores[0], ["ugri".index(band) for band in bands]
    some = pickle.loads(pickle.dumps(take_bands(whole, bands)))
    rows = np.array([7, 2, 11])
    everything = whole.images[:]
    assert some.images.shape == everything[:, places].shape
    assert_array_equal(some.images[3:9], everything[3:9][:, places])
    assert_array_equal(some.images[5], everything[5][places])
    assert_array_equal(some.mask[2:4], whole.mask[2:4][:, places])
    assert_array_equal(read_rows(some, rows), everything[rows][:, places])
    assert_array_equal(np.stack(read_apart(some, rows)), everything[rows][:, places])
    assert_array_equal(some.column("sky_sigma"), whole.column("sky_sigma")[:, places])
    assert_array_equal(some.column("crval"), whole.column("crval"))
    assert list(some[4]) == list(bands)
    assert some.rows == whole.rows
    assert "".join(some.to_xarray()["band"].values.tolist()) == bands


def test_a_band_that_is_not_there_is_named(stores):
    with pytest.raises(StoreError, match=r"x\.zarr has no band z; its bands are ugri: give some of these as --bands"):
        share_bands(*stores, bands=("r", "z"))
    with pytest.raises(StoreError, match="they have none in common"):
        share_bands(take_bands(stores[0], "ug"), take_bands(stores[1], "iz"))


def test_surveys_with_other_bands_are_trained_translated_and_evaluated(folder, tmp_path, narrow):
    said: list[str] = []
    stores = folder / "x.zarr", folder / "y.zarr", folder / "pairs.ecsv"
    how = {"recipe": "psf_matched", "iterations": 1, "batch_size": 1, "device": "cpu"}
    run = train(*stores, run=tmp_path / "run", **how, tell=said.append)
    assert run.bands == ("g", "r", "i")
    assert "Bands that only y.zarr has are left out: z" in said
    made = translate(run, folder / "y.zarr", out=tmp_path / "made.zarr")
    assert made.bands == ("g", "r", "i")
    train(*stores, run=tmp_path / "run", resume=True, **how)  # in the bands that it has, without saying them again
    few = train(*stores, run=tmp_path / "few", bands="ri", **how)
    assert load_run(few.path).bands == ("r", "i")
    report = evaluate(run, *stores, out=tmp_path / "report")
    assert report.content["directions"]["sdss_to_cfht"]["bands"] == ["g", "r", "i"]


def test_weights_of_more_bands_are_taken_in_those_that_the_stores_have(
    folder, tiny_store, pair_table, tmp_path, narrow
):
    """The message names the bands for which there are weights."""
    x = tiny_store(tmp_path / "x.zarr", SDSS, 16, FAR, bands="griy")
    y = tiny_store(tmp_path / "y.zarr", CFHT, 36, FAR, bands="griy")
    rows, split = np.arange(6, 12), ["train"] * 5 + ["test"]
    pair_table(x, y, rows, rows, split).write(tmp_path / "pairs.ecsv")
    how = {"recipe": "psf_matched", "iterations": 1, "batch_size": 1, "device": "cpu"}
    first = train(folder / "x.zarr", folder / "y.zarr", folder / "pairs.ecsv", run=tmp_path / "first", **how)
    again = {"start_from": first.path, "run": tmp_path / "second"}
    with pytest.raises(RunError, match=r"it has no weights for y; .*give its bands as --bands gri"):
        train(x, y, tmp_path / "pairs.ecsv", **again, **how)
    assert train(x, y, tmp_path / "pairs.ecsv", **again, **how, bands="gri").bands == ("g", "r", "i")
