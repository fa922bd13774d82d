import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray
import zarr
from astropy import units as u
from astropy.table import Table
from numpy.testing import assert_allclose, assert_array_equal

from survey_tools import open_store
from survey_tools.errors import StoreError
from survey_tools.files import write_sums
from survey_tools.store.columns import ADDED, CATALOGUE, MEASURED, OF_SURVEYS
from survey_tools.store.zarr_store import CHUNK_BYTES, chunk_rows, create, open_begun, row_fingerprint
from survey_tools.surveys import CFHT, SDSS

RA, DEC = np.array([10.0, 10.02, 359.9999, 0.1]), np.array([20.0, 20.01, -0.5, 89.9])


def catalogue(count: int = 4) -> Table:
    ids = [f"{1237653651835781245 + row}" for row in range(count)]
    columns = {"object_id": ids, "ra": np.resize(RA, count), "dec": np.resize(DEC, count)}
    return Table(columns | {"redshift": np.full(count, 0.1)})


def manifest(count: int = 4) -> Table:
    columns = {"status": "done", "reason": "", "file": "a.fits"}
    return Table(
        {"object_id": catalogue(count)["object_id"], **{name: [value] * count for name, value in columns.items()}}
    )


def files(store: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder, by name."""
    found = [path for path in store.rglob("*") if path.is_file()]
    return {str(path.relative_to(store)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def write_chunks(store, chunks) -> None:
    """Noise that depends on the row alone."""
    for rows in chunks:
        shape = (len(store.bands), store.size, store.size)
        images = [np.random.default_rng(row).normal(size=shape) for row in range(rows.start, rows.stop)]
        store.write(rows, np.array(images, np.float32), np.zeros((len(images), *shape), bool))


def test_pixels_and_columns_survive_the_round_trip_to_the_bit(tmp_path):
    rng = np.random.default_rng(0)
    store = create(tmp_path / "a.zarr", SDSS, "gri", catalogue(), {"catalogue": "a.csv"})
    images = rng.normal(size=(4, 3, 64, 64)).astype(np.float32)
    images[1, 2, :5] = np.nan
    mask = np.isnan(images)
    mask[0, 0, 32, 32] = True
    store.write(slice(0, 4), images, mask)
    written = {"crval": rng.normal(size=(4, 2)), "cd": rng.normal(size=(4, 2, 2)), "crpix": rng.normal(size=(4, 2))}
    facts = "coverage", "sky_sigma", "psf_fwhm", "gain"
    written |= {name: rng.normal(size=(4, 3)).astype(np.float32) for name in facts}
    written["psf_source"] = np.array([["psField", "header", ""]] * 4)
    written["saturation_source"] = np.array([["fpM", "frame", ""]] * 4)
    written |= {"saturated": rng.integers(0, 9, (4, 3), np.int32), "zero_point": np.full((4, 3), 22.5)}
    written["source"] = np.array([[f"frame-{band}-{row}.fits.bz2" for band in "gri"] for row in range(4)])
    store.write_columns(written)
    assert set(written) == {column.name for column in MEASURED}
    store = store.finish(manifest())
    assert_array_equal(store.images[:], images)
    assert_array_equal(store.mask[:], mask)
    for name, values in written.items():
        assert_array_equal(store.column(name), values)
        assert store.column(name).dtype == values.dtype
    for name in ("object_id", "ra", "dec", "redshift"):
        assert_array_equal(store.column(name), catalogue()[name])
    assert (store.bands, store.size, store.pixel_scale) == (("g", "r", "i"), 64, 0.396)
    assert store.survey["name"] == "sdss"
    assert store.settings == {"catalogue": "a.csv"}
    assert_array_equal(store.manifest()["status"], "done")


def test_the_wcs_is_what_was_written(tmp_path, make_store):
    store = make_store(tmp_path / "a.zarr", "cfht", RA, DEC, missing=[2])
    for row in (0, 1, 3):
        sky = store.wcs(row).pixel_to_world(67.5, 67.5)
        assert sky.separation(store.wcs(row).pixel_to_world(68.5, 67.5)).arcsec == pytest.approx(0.186, rel=1e-6)
        assert_allclose(sky.dec.deg, DEC[row], atol=0.2 / 3600)
    with pytest.raises(StoreError, match="row 2 has no image"):
        store.wcs(2)


def test_objects_without_an_image_are_nan_masked_and_unusable(tmp_path, make_store):
    store = make_store(tmp_path / "a.zarr", "sdss", RA, DEC, missing=[1], saturated=[3])
    assert np.isnan(store.images[1]).all()
    assert store.mask[1].all()
    assert_array_equal(store.usable, [True, False, True, True])
    assert_array_equal(store.column("saturated")[3], [4, 0, 0, 0, 0])
    assert_array_equal(store.manifest()["status"], ["done", "outside", "done", "done"])


def test_what_is_never_written_reads_as_missing(tmp_path):
    store = create(tmp_path / "a.zarr", SDSS, "r", catalogue(), {}).finish(manifest())
    assert np.isnan(store.images[:]).all()
    assert store.mask[:].all()
    assert np.isnan(store.column("sky_sigma")).all()
    assert np.isnan(store.column("crval")).all()
    assert_array_equal(store.column("source"), [[""]] * 4)
    assert not store.usable.any()


def test_xarray_opens_a_store_with_its_dimensions_and_units(tmp_path, make_store):
    make_store(tmp_path / "a.zarr", "cfht", RA, DEC, bands="gri", missing=[2], frame=True)
    with xarray.open_zarr(tmp_path / "a.zarr") as data:
        assert data["images"].dims == data["mask"].dims == ("object", "band", "row", "col")
        assert dict(data.sizes) == {"object": 4, "band": 3, "row": 136, "col": 136, "axis": 2, "pixel_axis": 2}
        assert list(data["band"].values) == ["g", "r", "i"]
        assert set(data.coords) == {"band", "object_id", "ra", "dec", "redshift"}
        for column in CATALOGUE + OF_SURVEYS + MEASURED:
            assert data[column.name].dims == ("object", *column.dims)
            assert data[column.name].attrs["units"] == column.unit
            assert data[column.name].attrs["long_name"]
        assert data["images"].attrs["units"] == "nmgy / pix"
        assert_array_equal(data["ra"].values, RA)
        assert data["object_id"].values.tolist() == [f"cfht-{row}" for row in range(4)]
        image = data["images"].isel(object=0).sel(band="r")
        assert_allclose(image.sum(), 50, rtol=0.05)
        assert np.isnan(data["images"].isel(object=2)).all()
        assert data.attrs["units"] == "nanomaggy/pixel"
        assert data.attrs["schema_version"] == 2


def test_every_unit_is_one_that_astropy_reads():
    for column in CATALOGUE + OF_SURVEYS + MEASURED:
        assert u.Unit(column.unit, parse_strict="raise") is not None


def test_the_table_has_units(tmp_path, make_store):
    table = make_store(tmp_path / "a.zarr", "sdss", RA, DEC, frame=True).catalogue
    assert_allclose(table["ra"].to_value("arcsec"), RA * 3600)
    assert table["sky_sigma"].unit == u.nmgy / u.pix
    assert list(table["run"]) == [1, 1, 1, 1]


@pytest.mark.parametrize("bands", [1, 3, 5, 8])
@pytest.mark.parametrize("size", [8, 64, 136, 2048])
def test_chunks_are_powers_of_two_of_tens_of_megabytes_at_most(bands, size):
    rows, image = chunk_rows(bands, size), bands * size * size * 4
    assert rows & (rows - 1) == 0
    assert rows == 1 or rows * image <= CHUNK_BYTES < 2 * rows * image


def test_chunks_cover_every_row_once(tmp_path):
    store = create(tmp_path / "a.zarr", CFHT, "ugriz", catalogue(70), {})
    assert store.chunks() == [slice(0, 32), slice(32, 64), slice(64, 70)]
    write_chunks(store, store.chunks())
    store = store.finish(manifest(70))
    assert len(store) == 70
    assert len(list((tmp_path / "a.zarr" / "images" / "c").iterdir())) == 1
    assert_array_equal(store.images[69], np.random.default_rng(69).normal(size=(5, 136, 136)).astype(np.float32))


def without_added_columns(path: Path) -> None:
    """Make a store one that was made before the columns `ADDED` came."""
    for name in ADDED:
        shutil.rmtree(path / name)
    metadata = path / "zarr.json"
    description = json.loads(metadata.read_text())
    for name in ADDED if "consolidated_metadata" in description else ():
        del description["consolidated_metadata"]["metadata"][name]
    metadata.write_text(json.dumps(description))
    (path / "sha256sums.txt").unlink(missing_ok=True)


def test_columns_that_came_later_are_empty_in_a_store_made_before(tmp_path, make_store):
    make_store(tmp_path / "a.zarr", "sdss", RA, DEC, bands="gr")
    without_added_columns(tmp_path / "a.zarr")
    store = open_store(tmp_path / "a.zarr")
    assert_array_equal(store.column("gain"), np.full((4, 2), np.nan, np.float32))
    assert store.column("gain").dtype == np.float32
    assert_array_equal(store.column("psf_source", slice(1, 3)), [["", ""]] * 2)
    assert store.column("gain", slice(2, 99)).shape == (2, 2)
    table = store.catalogue
    assert np.isnan(table["gain"]).all()
    assert table["gain"].unit == u.electron / u.nmgy
    with pytest.raises(KeyError):
        store.column("run")


def test_a_store_made_before_gets_the_columns_when_it_is_mended(tmp_path, make_store):
    old = make_store(tmp_path / "a.zarr", "sdss", RA, DEC, bands="gr").path
    without_added_columns(old)
    shutil.copytree(old, tmp_path / "b.zarr.part")
    store = open_begun(tmp_path / "b.zarr.part")
    gain = store.column("gain")
    gain[1] = 700.0
    store.write_columns({"gain": gain, "psf_source": np.array([["", "stars"]] * 4)})
    store = store.finish()
    assert_array_equal(store.column("gain")[:2], [[np.nan] * 2, [700.0] * 2])
    assert_array_equal(store.column("psf_source"), [["", "stars"]] * 4)
    with xarray.open_zarr(store.path) as data:
        assert data["gain"].attrs["units"] == "electron / nmgy"


def test_a_store_that_was_begun_before_is_refused(tmp_path):
    create(tmp_path / "a.zarr", SDSS, "r", catalogue(), {})
    without_added_columns(tmp_path / "a.zarr.part")
    with pytest.raises(StoreError, match=r"a.zarr.part was begun by an older galtrans, .* delete it to start again"):
        create(tmp_path / "a.zarr", SDSS, "r", catalogue(), {})


def test_two_identical_builds_are_the_same_to_the_byte(tmp_path, make_store):
    for name in ("a", "b"):
        make_store(tmp_path / name / "a.zarr", "cfht", RA, DEC, missing=[1], frame=True)
    first = files(tmp_path / "a" / "a.zarr")
    assert len(first) > 30
    assert first == files(tmp_path / "b" / "a.zarr")


def test_a_build_that_is_taken_up_again_is_that_of_one_go(tmp_path):
    for name, parts in (("a", [[0, 1, 2]]), ("b", [[1], [0, 2]]), ("c", [[2, 1], [1, 0]])):
        for part in parts:
            store = create(tmp_path / name / "s.zarr", CFHT, "ugriz", catalogue(70), {"seed": 1})
            write_chunks(store, [store.chunks()[index] for index in part])
        store.write_columns({"coverage": np.ones((70, 5), np.float32)})
        store.finish(manifest(70))
    assert files(tmp_path / "a") == files(tmp_path / "b") == files(tmp_path / "c")


def test_a_run_killed_before_the_store_was_begun_starts_anew(tmp_path):
    part = tmp_path / "a.zarr.part"
    create(tmp_path / "a.zarr", SDSS, "r", catalogue(), {})
    for name in ("zarr.json", "images/zarr.json", "dec/zarr.json"):  # arrays are made one by one, attributes last
        (part / name).unlink()
    store = create(tmp_path / "a.zarr", SDSS, "r", catalogue(), {})
    write_chunks(store, store.chunks())
    assert len(store.finish(manifest())) == 4


def test_a_group_without_attributes_was_never_begun(tmp_path):
    part = tmp_path / "a.zarr.part"
    create(tmp_path / "a.zarr", SDSS, "r", catalogue(), {})
    description = json.loads((part / "zarr.json").read_text())
    (part / "zarr.json").write_text(json.dumps(description | {"attributes": {}}))
    assert len(create(tmp_path / "a.zarr", SDSS, "r", catalogue(), {}).finish(manifest())) == 4


OTHER = {
    "settings": (SDSS, "gri", catalogue(), {"mirror": "b"}, {}),
    "bands": (SDSS, "ri", catalogue(), {"mirror": "a"}, {}),
    "survey": (CFHT, "gri", catalogue(), {"mirror": "a"}, {"size": 64, "pixel_scale": 0.396}),
    "rows": (SDSS, "gri", catalogue()[[1, 0, 2, 3]], {"mirror": "a"}, {}),
    "size": (SDSS, "gri", catalogue(), {"mirror": "a"}, {"size": 32}),
    "pixel_scale": (SDSS, "gri", catalogue(), {"mirror": "a"}, {"pixel_scale": 0.2}),
}


@pytest.mark.parametrize("what", OTHER)
def test_an_unfinished_store_of_other_settings_is_refused(tmp_path, what):
    create(tmp_path / "a.zarr", SDSS, "gri", catalogue(), {"mirror": "a"})
    before = files(tmp_path)
    survey, bands, rows, settings, grid = OTHER[what]
    with pytest.raises(StoreError, match=f"a.zarr.part was begun with other .*{what}.*delete it"):
        create(tmp_path / "a.zarr", survey, bands, rows, settings, **grid)
    assert files(tmp_path) == before


def test_a_store_that_is_there_is_not_written_over(tmp_path, make_store):
    make_store(tmp_path / "a.zarr", "sdss", RA, DEC)
    with pytest.raises(StoreError, match=r"a\.zarr exists already; .*--overwrite"):
        create(tmp_path / "a.zarr", SDSS, "ugriz", catalogue(), {})


def test_an_unfinished_store_is_not_opened(tmp_path):
    create(tmp_path / "a.zarr", SDSS, "r", catalogue(), {})
    with pytest.raises(StoreError, match=r"a\.zarr is not finished; run the command"):
        open_store(tmp_path / "a.zarr")


def test_a_store_of_another_schema_version_is_refused(tmp_path, make_store):
    make_store(tmp_path / "a.zarr", "sdss", RA, DEC)
    path = tmp_path / "a.zarr" / "zarr.json"
    path.write_text(path.read_text().replace('"schema_version": 2', '"schema_version": 99'))
    with pytest.raises(
        StoreError, match=r"a\.zarr has schema version 99, and galtrans .* reads versions 1 and 2; make"
    ):
        open_store(tmp_path / "a.zarr")


def test_what_is_no_store_is_refused(tmp_path):
    (tmp_path / "empty.zarr").mkdir()
    (tmp_path / "file.zarr").write_text("not a folder")
    (tmp_path / "broken.zarr").mkdir()
    (tmp_path / "broken.zarr" / "zarr.json").write_text("{")
    zarr.create_group(tmp_path / "other.zarr").create_array("images", shape=(3,), dtype="f4")
    zarr.create_array(tmp_path / "array.zarr", shape=(3,), dtype="f4")
    messages = {
        "none": "does not exist",
        "empty": "is not a Zarr store",
        "file": "is not a Zarr store",
        "broken": "is not a Zarr store",
        "other": "is a Zarr group, but not a galtrans store",
        "array": "is not a Zarr store",
    }
    for name, message in messages.items():
        with pytest.raises(StoreError, match=f"{name}.zarr {message}"):
            open_store(tmp_path / f"{name}.zarr")


def test_a_store_that_lacks_an_array_is_refused(tmp_path, make_store):
    make_store(tmp_path / "a.zarr", "sdss", RA, DEC)
    shutil.rmtree(tmp_path / "a.zarr" / "images")
    path = tmp_path / "a.zarr" / "zarr.json"
    description = json.loads(path.read_text())
    description.pop("consolidated_metadata", None)
    path.write_text(json.dumps(description))
    with pytest.raises(StoreError, match=r"a\.zarr is damaged: it lacks 'images'"):
        open_store(tmp_path / "a.zarr")


def test_the_fingerprint_is_that_of_survey_names_positions_and_order():
    ids = ["a", "b", "c"]
    same = row_fingerprint("sdss", ids, RA[:3], DEC[:3])
    assert same == row_fingerprint("sdss", np.array(ids), list(RA[:3]), DEC[:3].astype(">f8"))
    others = [
        ("cfht", ids, RA[:3], DEC[:3]),
        ("sdss", ["a", "b", "d"], RA[:3], DEC[:3]),
        ("sdss", ids, RA[:3] + [0, 0, 1e-12], DEC[:3]),
        ("sdss", ids, RA[:3], DEC[:3] - [1e-12, 0, 0]),
        ("sdss", ids[::-1], RA[:3][::-1], DEC[:3][::-1]),
        ("sdss", ids[:2], RA[:2], DEC[:2]),
    ]
    assert len({same, *(row_fingerprint(*other) for other in others)}) == 7


def test_stores_of_the_same_rows_share_their_fingerprint(tmp_path, make_store):
    first = make_store(tmp_path / "a.zarr", "sdss", RA, DEC, bands="gr")
    assert first.rows == make_store(tmp_path / "b.zarr", "sdss", RA, DEC, bands="ugriz", seed=9).rows
    assert first.rows != make_store(tmp_path / "c.zarr", "sdss", RA[:3], DEC[:3]).rows


def column_file(path: Path, name: str) -> Path:
    """The file of a column of a small store."""
    return next(file for file in (path / name / "c").rglob("*") if file.is_file())


def flip(path: Path) -> None:
    """Change one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["object_id", "ra", "coverage", "cd", "source", "images", "mask"])
def test_a_changed_file_is_found_before_its_values_are_used(tmp_path, make_store, name):
    make_store(tmp_path / "a.zarr", "sdss", RA, DEC, bands="gr")
    flip(column_file(tmp_path / "a.zarr", name))
    store = open_store(tmp_path / "a.zarr")
    with pytest.raises(StoreError, match=f"{name}.* cannot be read .*galtrans verify"):
        getattr(store, name)[:] if name in ("images", "mask") else store.column(name)


def test_a_changed_description_is_found_when_a_store_is_opened(tmp_path, make_store):
    make_store(tmp_path / "a.zarr", "sdss", RA, DEC, bands="gr")
    path = tmp_path / "a.zarr" / "zarr.json"
    path.write_text(path.read_text().replace("0.396", "0.386", 1))
    with pytest.raises(StoreError, match=r"zarr\.json has changed since"):
        open_store(tmp_path / "a.zarr")


@pytest.mark.parametrize("name", ["object_id", "ra", "source", "images"])
def test_a_file_that_cannot_be_decoded_is_named_without_checksums_too(tmp_path, make_store, name):
    make_store(tmp_path / "a.zarr", "sdss", RA, DEC, bands="gr")
    (tmp_path / "a.zarr" / "sha256sums.txt").unlink()
    column_file(tmp_path / "a.zarr", name).write_bytes(b"no such codec")
    store = open_store(tmp_path / "a.zarr")
    with pytest.raises(StoreError, match=f"{name}.* cannot be read"):
        store.images[:] if name == "images" else store.column(name)


def test_a_wcs_of_zeros_is_no_wcs(tmp_path, make_store):
    make_store(tmp_path / "a.zarr", "sdss", RA, DEC, bands="gr")
    group = zarr.open_group(tmp_path / "a.zarr", mode="r+")
    group["cd"][2] = 0
    write_sums(tmp_path / "a.zarr", {})
    store = open_store(tmp_path / "a.zarr")
    with pytest.raises(StoreError, match="the CD matrix of row 2 has no inverse"):
        store.column("cd")
    assert store.wcs(1).pixel_n_dim == 2


def test_arrays_of_other_lengths_are_no_store(tmp_path, make_store):
    make_store(tmp_path / "a.zarr", "sdss", RA, DEC, bands="gr")
    zarr.open_group(tmp_path / "a.zarr", mode="r+").create_array(
        "ra", shape=(3,), dtype="f8", overwrite=True, dimension_names=("object",)
    )
    path = tmp_path / "a.zarr" / "zarr.json"
    description = json.loads(path.read_text())
    description.pop("consolidated_metadata")
    path.write_text(json.dumps(description))
    (tmp_path / "a.zarr" / "sha256sums.txt").unlink()
    with pytest.raises(StoreError, match=r"ra is \(3,\) and not \(4,\)"):
        open_store(tmp_path / "a.zarr")


def test_rows_are_known_by_what_is_in_them_and_not_by_what_a_store_states(tmp_path, make_store):
    """A program that leaves out or reorders rows copies the attributes with the rest."""
    whole = make_store(tmp_path / "a.zarr", "sdss", RA, DEC, bands="gr")
    ra, dec = RA[::-1], DEC[::-1]
    with xarray.open_zarr(whole.path) as data:
        data.isel(object=slice(None, None, -1)).drop_encoding().to_zarr(
            tmp_path / "b.zarr", zarr_format=3, consolidated=False
        )
    turned = open_store(tmp_path / "b.zarr")
    assert turned.attributes["rows"] == whole.attributes["rows"]
    assert turned.rows == row_fingerprint("sdss", whole.column("object_id")[::-1], ra, dec) != whole.rows


def test_attributes_are_what_netcdf_can_hold(tmp_path):
    settings = {"mirror": {"root": "sky", "files": [1, 2]}, "resample": True}
    made = create(tmp_path / "a.zarr", SDSS, "gr", catalogue(), settings, planes={"noise": "what it is"})
    store = made.finish(manifest())
    assert store.settings == settings
    assert store.survey["name"] == "sdss"
    assert list(store.planes) == ["noise"]
    with xarray.open_zarr(store.path) as data:
        values = [*data.attrs.values(), *(value for array in data.variables.values() for value in array.attrs.values())]
        for value in values:
            assert isinstance(value, (str, int, float))
            assert not isinstance(value, bool)
        data.load().drop_encoding()[["images", "ra", "dec"]].to_netcdf(tmp_path / "a.nc", engine="scipy")
    with xarray.open_dataset(tmp_path / "a.nc", engine="scipy") as data:
        assert_array_equal(data["ra"], RA)


def test_a_store_whose_settings_are_no_text_is_read(tmp_path, make_store):
    """As stores were written before netCDF was thought of."""
    store = make_store(tmp_path / "a.zarr", "sdss", RA, DEC, bands="gr")
    path = store.path / "zarr.json"
    description = json.loads(path.read_text())
    description["attributes"] |= {"survey": store.survey, "settings": store.settings, "bands": list(store.bands)}
    path.write_text(json.dumps(description))
    write_sums(store.path, {})
    assert open_store(store.path).attributes == store.attributes
