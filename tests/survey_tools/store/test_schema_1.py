"""Stores of schema version 1, as galtrans 0.1.0 wrote them: `tests/data/store_v1.zip` was made by its code.

It holds `observed.zarr` (three SDSS objects in g and r, the second without an image), `native.zarr` (five CFHTLS
objects of 32 pixels, the fourth without an image), `regridded.zarr` (native, on 16 pixels of SDSS) and
`synthetic.zarr` (five objects with two planes). All lie in chunks of two objects.
"""

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import xarray
from numpy.testing import assert_array_equal

from survey_tools import Store, convert, export, open_store, regrid
from survey_tools.build.converted import convert_store
from survey_tools.errors import StoreError
from survey_tools.files import files_of
from survey_tools.store.verify import verify
from survey_tools.store.zarr_store import read_images

ROWS = {  # number of objects, sum of all pixels, first digits of the fingerprint of the rows
    "observed": (3, 198.8828125, "9e66abc5df4b"),
    "native": (5, 388.2421875, "81c84c0a2ba2"),
    "regridded": (5, 383.38652714929776, "81c84c0a2ba2"),
    "synthetic": (5, 307.58984375, "81c84c0a2ba2"),
}


@pytest.fixture(scope="module")
def old(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("v1")
    with zipfile.ZipFile(Path(__file__).parents[2] / "data" / "store_v1.zip") as archive:
        archive.extractall(folder)
    return folder


@pytest.mark.parametrize("name", ROWS)
def test_they_open_and_have_what_was_written(old, name):
    store, (count, total, rows) = open_store(old / f"{name}.zarr"), ROWS[name]
    assert store.attributes["schema_version"] == 1
    assert len(store) == count
    assert store.rows.startswith(rows)
    assert np.nansum(store.images[:], dtype="f8") == total
    assert verify(store.path) == []
    assert (store.block_rows, len(store.chunks())) == (2, -(-count // 2))
    blocks = np.concatenate([read_images(store, number) for number in range(len(store.chunks()))])
    assert_array_equal(blocks, store.images[:])
    assert_array_equal(np.stack([store.images[row] for row in range(count)]), blocks)
    assert len(store.manifest()) == len(store.catalogue) == count
    first = store[0]["g"]
    assert (first.meta["gain"], first.mask.any()) == (2000.0, True)
    with xarray.open_zarr(store.path) as data:
        assert_array_equal(data["images"].values, blocks)
    assert_array_equal(store.to_xarray()["images"].values, blocks)
    for plane in store.planes.values():
        assert_array_equal(plane[:], blocks / 2)


def test_they_are_regridded_into_a_store_of_schema_2_with_the_same_pixels(old, tmp_path):
    made = regrid(old / "native.zarr", old / "regridded.zarr", tmp_path / "again.zarr")
    assert made.attributes["schema_version"] == 2
    before = open_store(old / "regridded.zarr")
    assert_array_equal(made.images[:], before.images[:])
    assert_array_equal(made.mask[:], before.mask[:])
    assert made.rows == before.rows
    assert verify(made.path) == []


def test_they_are_exported(old, tmp_path):
    export(old / "observed.zarr", [0, 2], tmp_path / "fits")
    assert len(list((tmp_path / "fits").glob("*.fits"))) == 2


def test_they_are_translated(old, tmp_path, write_narrow_run):
    from translator import translate

    made = translate(write_narrow_run(tmp_path / "run"), old / "observed.zarr", out=tmp_path / "t.zarr", device="cpu")
    assert (len(made), made.size, made.attributes["schema_version"]) == (3, 136, 2)
    assert made.column("object_id").tolist() == ["sdss-0", "sdss-1", "sdss-2"]
    assert made.usable.tolist() == [True, False, True]
    assert verify(made.path) == []


@pytest.mark.parametrize("name", ROWS)
def test_they_are_converted_into_schema_2(old, tmp_path, name):
    before, made = open_store(old / f"{name}.zarr"), convert(old / f"{name}.zarr", tmp_path / "new.zarr")
    assert made.attributes["schema_version"] == 2
    assert made.block_rows >= len(made)
    for one, two in (
        (before.images, made.images),
        (before.mask, made.mask),
        *zip(before.planes.values(), made.planes.values(), strict=True),
    ):
        assert one[:].tobytes() == two[:].tobytes()
    assert made.columns == before.columns
    for column in made.columns:
        assert_array_equal(made.column(column), before.column(column))
    assert_array_equal(made.manifest(), before.manifest())
    assert before.survey.items() <= made.survey.items()  # rows of surveys have got more fields since
    same = ("bands", "size", "pixel_scale", "settings", "rows", "units")
    for key in {*same, *({"synthetic", "planes"} & before.attributes.keys())}:
        assert made.attributes[key] == before.attributes[key]
    times = {path: path.stat().st_mtime_ns for path in made.path.rglob("*")}
    assert convert(before, made.path).rows == before.rows  # it is there already
    assert times == {path: path.stat().st_mtime_ns for path in made.path.rglob("*")}
    with pytest.raises(StoreError, match="was made with other"):
        convert(old / ("native.zarr" if name == "observed" else "observed.zarr"), made.path)


def test_a_conversion_of_something_damaged_is_refused(old, tmp_path):
    shutil.copytree(old / "native.zarr", tmp_path / "old.zarr")
    file = tmp_path / "old.zarr" / "images" / "c" / "1" / "0" / "0" / "0"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(StoreError, match="images/c/1/0/0/0 has changed"):
        convert(tmp_path / "old.zarr", tmp_path / "new.zarr")
    assert not (tmp_path / "new.zarr").exists()


def test_a_killed_conversion_goes_on_to_the_same_bytes(old, tmp_path, monkeypatch):
    whole, options = convert_store(old / "native.zarr", tmp_path / "a.zarr", chunk_bytes=2 * 8192), []
    write = Store.write

    def dying(store, rows, *values):
        options.append(rows)
        if len(options) == 2:
            raise KeyboardInterrupt
        write(store, rows, *values)

    monkeypatch.setattr(Store, "write", dying)
    with pytest.raises(KeyboardInterrupt):
        convert_store(old / "native.zarr", tmp_path / "b.zarr", chunk_bytes=2 * 8192)
    again = convert_store(old / "native.zarr", tmp_path / "b.zarr", chunk_bytes=2 * 8192)
    assert len(options) == 4  # three blocks, one of them tried twice
    assert files_of(again.path) == files_of(whole.path)
    for name in files_of(whole.path):
        assert (again.path / name).read_bytes() == (whole.path / name).read_bytes()
