"""Objects of a store, shared and read back by the libraries of other projects."""

import contextlib
import glob
import io
import json
import re
import subprocess
import tarfile
import warnings

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from astropy import units as u
from astropy.io import fits
from astropy.wcs import WCS
from astropy_healpix import HEALPix
from numpy.testing import assert_allclose, assert_array_equal

import survey_tools
from survey_tools.errors import ArgumentError, StoreError
from survey_tools.files import whole_file
from survey_tools.sharing import cutouts, shards
from survey_tools.store.zarr_store import open_begun

RA = np.array([10.0, 10.001, 200.0, 201.0, 50.0, 10.0005])
DEC = np.array([1.0, 1.0, -40.0, 60.0, 0.0, 1.0])
ONE = 64 * 64 * 2 * 5  # bytes of the pixels and the mask of an object in two bands
WRITTEN = {"webdataset": (shards, "x-000001.tar"), "hats": (cutouts, "dataset/Norder=0/Dir=0/Npix=10.parquet")}
forms = pytest.mark.parametrize("form", WRITTEN)


@pytest.fixture(scope="module")
def store(tmp_path_factory, make_store):
    """Six objects in chunks of two, of which one has no image and one a saturated core."""
    path = tmp_path_factory.mktemp("share") / "x.zarr"
    return make_store(
        path, "sdss", RA, DEC, bands="gr", missing=[4], saturated=[1], frame=True, chunk_bytes=8 * ONE // 5
    )


def content(folder) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def samples(folder) -> list[dict]:
    import webdataset

    shards_ = sorted(glob.glob(str(folder / "*.tar")))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return list(webdataset.WebDataset(shards_, shardshuffle=False).decode())


def test_webdataset_reads_the_pixels_of_the_store(store, tmp_path):
    made = survey_tools.export(store, out=tmp_path, to="webdataset", shard_size=3 * ONE)
    assert [path.name for path in made.paths] == ["x-000000.tar", "x-000001.tar", "x-000002.tar"]
    assert (made.count, made.left_out, made.kept) == (5, {"outside": 1}, [])
    assert all(path.stat().st_size <= 3 * ONE for path in made.paths)
    found = samples(tmp_path)
    assert [sample["__key__"] for sample in found] == [f"00000000{row}_sdss-{row}" for row in (0, 1, 2, 3, 5)]
    for sample, row in zip(found, (0, 1, 2, 3, 5), strict=True):
        about = sample["json"]
        assert_array_equal(sample["images.npy"], store.images[row])
        assert_array_equal(sample["mask.npy"], store.mask[row])
        assert sample["images.npy"].dtype == np.float32
        assert (about["object_id"], about["row"], about["bands"], about["unit"]) == (
            f"sdss-{row}",
            row,
            ["g", "r"],
            "nanomaggy",
        )
        assert_allclose([about["ra"], about["dec"]], [RA[row], DEC[row]])
        assert_allclose(about["psf_fwhm"], store.column("psf_fwhm")[row])
        assert (about["sky_sigma"], about["zero_point"], about["field"]) == ([0.01, 0.01], [22.5, 22.5], 4)
        sky = WCS(about["wcs"]).pixel_to_world(31.5, 31.5)
        assert sky.separation(store.wcs(row).pixel_to_world(31.5, 31.5)).arcsec < 1e-6


def test_rows_and_bands_are_those_that_are_asked_for_and_in_that_order(store, tmp_path):
    survey_tools.export(store, [5, 0, 4], tmp_path, to="webdataset", bands="r", name="mine")
    found = samples(tmp_path)
    assert [sample["json"]["row"] for sample in found] == [5, 0]
    assert found[0]["json"]["bands"] == ["r"]
    assert_array_equal(found[0]["images.npy"], store.images[5, 1:])
    survey_tools.export(store, [5], tmp_path / "fits", bands="r")
    (path,) = (tmp_path / "fits").iterdir()
    with fits.open(path) as hdus:
        assert [hdu.name for hdu in hdus] == ["PRIMARY", "r", "MASK_r"]
        assert_array_equal(hdus["r"].data, store.images[5, 1])
        assert_array_equal(hdus["MASK_r"].data.astype(bool), store.mask[5, 1])


def test_unknown_numbers_are_null_and_keys_are_safe(tmp_path, make_store):
    store = make_store(tmp_path / "y.zarr", "sdss", RA[:1], DEC[:1], bands="g")
    open_begun(store.path).write_columns({"gain": np.full((1, 1), np.nan)})
    store = survey_tools.open_store(store.path, compare=False)
    survey_tools.export(store, out=tmp_path / "out", to="webdataset")
    assert samples(tmp_path / "out")[0]["json"]["gain"] == [None]
    assert shards.key_of(12, "../a.b/ü") == "000000012_a_b"
    assert shards.key_of(1, "...") == "000000001_object"
    assert len(shards.key_of(10**9, "x" * 300) + ".draw_10.npy") < 100


def test_lsdb_and_hats_read_the_pixels_of_the_store(store, tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        lsdb = pytest.importorskip("lsdb")
        from hats.io.validation import is_valid_catalog

        made = survey_tools.export(store, out=tmp_path, to="hats", shard_size=2 * ONE)
        assert len(made.paths) == 4  # three objects are in one base pixel of the sky
        with contextlib.redirect_stdout(io.StringIO()):
            assert is_valid_catalog(tmp_path, strict=True)
        frame = lsdb.open_catalog(tmp_path).compute(progress_bar=False)
    assert sorted(frame["row"]) == [0, 1, 2, 3, 5]
    assert (frame.index.to_numpy()[1:] > frame.index.to_numpy()[:-1]).all()
    for _, found in frame.iterrows():
        row, image = int(found["row"]), found["image"]
        flux, mask, ivar = (np.stack([np.stack(band) for band in image[name]]) for name in ("flux", "mask", "ivar"))
        assert_array_equal(flux, store.images[row])
        assert_array_equal(~mask, store.mask[row])
        assert_allclose(ivar, np.where(store.mask[row], 0, 1e4), rtol=1e-5)
        assert list(image["band"]) == ["sdss-g", "sdss-r"]
        assert_allclose(image["scale"], 0.396)
        assert (found["object_id"], found["ra"], found["dec"]) == (f"sdss-{row}", RA[row], DEC[row])
        assert found["cd2_2"] == pytest.approx(0.396 / 3600)


def test_a_catalogue_has_the_columns_of_the_multimodal_universe(store, tmp_path):
    """Those of its image catalogues in HATS: a struct of lists, one entry a band."""
    (path,) = survey_tools.export(store, [1], tmp_path, to="hats").paths
    schema = pq.read_schema(path)
    fields = {field.name: str(field.type).replace("element: ", "") for field in schema.field("image").type}
    picture = "list<list<list<{}>>>"
    assert {name: fields[name] for name in ("band", "flux", "ivar", "mask", "psf_fwhm", "scale")} == {
        "band": "list<string>",
        "flux": picture.format("float"),
        "ivar": picture.format("float"),
        "mask": picture.format("bool"),
        "psf_fwhm": "list<float>",
        "scale": "list<float>",
    }
    assert [str(schema.field(name).type) for name in ("object_id", "ra", "dec")] == ["string", "double", "double"]
    assert schema.names[0] == "_healpix_29"
    table = pq.read_table(path)
    sky = RA[1] * u.deg, DEC[1] * u.deg
    assert table["healpix"][0].as_py() == HEALPix(16, "nested").lonlat_to_healpix(*sky)
    mask = np.array(table["image"][0]["mask"].as_py())
    assert (~mask).sum() == 4  # the saturated core


def test_where_the_noise_is_unknown_so_is_its_inverse():
    mask = np.zeros((1, 2, 1, 2), bool)
    mask[0, :, 0, 1] = True
    found = cutouts.inverse_variance(np.array([[np.nan, 0.5]], np.float32), mask)
    assert_array_equal(found, [[[[np.nan, 0]], [[4, 0]]]])


def test_the_sky_is_divided_until_parts_are_small_enough(store):
    from survey_tools.sharing.selection import select

    selection = select(store, None, ("g", "r"), placed=True)
    for most in (1, 2, 5):
        parts = cutouts.partitions(selection, most)
        assert sorted(np.concatenate([part.rows for part in parts])) == [0, 1, 2, 3, 5]
        for part in parts:
            assert len(part.rows) <= most
            at = HEALPix(2**part.pixel.order, "nested").lonlat_to_healpix(RA[part.rows] * u.deg, DEC[part.rows] * u.deg)
            assert set(at) == {part.pixel.pixel}


@forms
def test_the_same_export_has_the_same_bytes(form, store, tmp_path):
    for name in "ab":
        survey_tools.export(store, out=tmp_path / name, to=form, shard_size=2 * ONE)
    assert content(tmp_path / "a") == content(tmp_path / "b")
    subprocess.run(["sha256sum", "--quiet", "-c", "sha256sums.txt"], cwd=tmp_path / "a", check=True)
    made = survey_tools.export(store, out=tmp_path / "a", to=form, shard_size=2 * ONE)
    assert made.kept == made.paths
    assert content(tmp_path / "a") == content(tmp_path / "b")


@forms
def test_after_ctrl_c_nothing_is_half_written_and_the_same_call_goes_on(form, store, tmp_path, monkeypatch):
    module, second = WRITTEN[form]
    survey_tools.export(store, out=tmp_path / "whole", to=form, shard_size=3 * ONE)

    @contextlib.contextmanager
    def interrupted(path):
        with whole_file(path) as temporary:
            yield temporary
            if path == tmp_path / "cut" / second:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "whole_file", interrupted)
        with pytest.raises(KeyboardInterrupt):
            survey_tools.export(store, out=tmp_path / "cut", to=form, shard_size=3 * ONE)
    left = content(tmp_path / "cut")
    whole = content(tmp_path / "whole")
    assert left.items() < whole.items()
    assert second not in left
    assert "README.md" not in left
    made = survey_tools.export(store, out=tmp_path / "cut", to=form, shard_size=3 * ONE)
    assert 0 < len(made.kept) < len(made.paths)
    assert content(tmp_path / "cut") == whole


@forms
def test_another_export_is_not_mixed_with_this_one(form, store, tmp_path):
    survey_tools.export(store, [0], tmp_path, to=form)
    before = content(tmp_path)
    with pytest.raises(StoreError, match=r"was made with another rows; choose another folder or pass --overwrite"):
        survey_tools.export(store, [1], tmp_path, to=form)
    assert content(tmp_path) == before
    other = "hats" if form == "webdataset" else "webdataset"
    survey_tools.export(store, [1], tmp_path, to=other, overwrite=True)
    assert (tmp_path / "x-000000.tar").exists() == (other == "webdataset")
    assert (tmp_path / "dataset").exists() == (other == "hats")


@forms
def test_files_of_somebody_else_stay(form, store, tmp_path):
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(StoreError, match=r"README\.md exists already and is not of this export"):
        survey_tools.export(store, [0], tmp_path, to=form)
    assert content(tmp_path) == {"README.md": b"mine"}


@forms
def test_a_damaged_file_of_an_interrupted_export_is_named(form, store, tmp_path):
    made = survey_tools.export(store, [0], tmp_path, to=form)
    made.paths[0].write_bytes(b"damaged")
    with pytest.raises(StoreError, match=rf"{made.paths[0].name} is no .* of this export; choose another folder"):
        survey_tools.export(store, [0], tmp_path, to=form)


def test_what_cannot_be_shared_is_refused_in_one_line(store, tmp_path):
    for wrong, words in (
        ({"to": "zip"}, "to: 'zip' is not one of fits, webdataset, hats"),
        ({"to": "hats", "bands": "gx"}, "bands: 'gx': give each band once, out of gr"),
        ({"to": "hats", "name": "../x"}, "name: '../x': give letters"),
        ({"to": "hats", "rows": [6]}, "rows: 6: the store has rows 0 to 5"),
        ({"to": "hats", "shard_size": 0}, "shard_size: 0 is not a whole number"),
    ):
        with pytest.raises(ArgumentError, match=re.escape(words)):
            survey_tools.export(store, **{"out": tmp_path / "out"} | wrong)
    with pytest.raises(StoreError, match=r"x\.zarr has none of these objects to share: 1 outside; its manifest"):
        survey_tools.export(store, [4], tmp_path / "out", to="hats")
    assert not (tmp_path / "out").exists()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@forms
def test_croissant_understands_the_description(form, store, tmp_path, caplog):
    mlcroissant = pytest.importorskip("mlcroissant")
    made = survey_tools.export(store, out=tmp_path, to=form, shard_size=3 * ONE, license="cc-by-4.0")
    dataset = mlcroissant.Dataset(jsonld=json.loads((tmp_path / "croissant.json").read_text()))
    assert not dataset.metadata.ctx.issues.errors
    assert dataset.metadata.name == "x"
    assert dataset.metadata.license == ["cc-by-4.0"]
    dataset = mlcroissant.Dataset(jsonld=str(tmp_path / "croissant.json"))
    if form == "hats":
        records = list(dataset.records("objects"))
        assert sorted(record["objects/row"] for record in records) == [0, 1, 2, 3, 5]
        first = next(record for record in records if record["objects/row"] == 0)
        flux = np.array(first["objects/image"]["objects/image/flux"], np.float32)
        assert_array_equal(flux, store.images[0])
    else:
        assert [record["objects/row"] for record in dataset.records("objects")] == [0, 1, 2, 3, 5]
        paths = [record["images/path"].decode() for record in dataset.records("images")]
        inside = []
        for path in made.paths:
            with tarfile.open(path) as tar:
                inside += tar.getnames()
        assert sorted(paths) == sorted(name for name in inside if name.endswith(".images.npy"))


@forms
def test_the_card_is_true_and_its_code_runs(form, store, tmp_path, monkeypatch, capsys):
    survey_tools.export(store, out=tmp_path, to=form)
    card = (tmp_path / "README.md").read_text()
    _, front, body = card.split("---\n", 2)
    facts = yaml.safe_load(front)
    assert facts["tags"][:3] == ["astronomy", "galaxies", "images"]
    assert facts["size_categories"] == ["n<1K"]
    assert "license" not in facts
    assert "No licence is stated here" in body
    assert "| objects | 5 |" in body
    assert "| left out: outside | 1 |" in body
    assert "[nanomaggy/pixel] | 0.01 | 0.01 |" in body
    assert "SYNTHETIC" not in body
    (code,) = re.findall(r"```python\n(.*?)```", body, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(code, {})
    said = capsys.readouterr().out
    assert "sdss-" in said
    assert "(2, 64, 64)" in said


@forms
def test_images_that_are_no_observations_are_called_synthetic(form, tmp_path, make_store):
    store = make_store(tmp_path / "t.zarr", "cfht", RA[:1], DEC[:1], bands="g", synthetic="made by a neural network")
    survey_tools.export(store, out=tmp_path / "out", to=form)
    assert "**SYNTHETIC: made by a neural network.**" in (tmp_path / "out" / "README.md").read_text()
    about = json.loads((tmp_path / "out" / "croissant.json").read_text())
    assert about["description"].startswith("SYNTHETIC: made by a neural network. ")


@forms
def test_a_partitioned_store_is_shared_like_one_store(form, store, tmp_path):
    parts = survey_tools.partition(store, tmp_path / "parts", rows=2)
    survey_tools.export(parts, out=tmp_path / "a", to=form, name="x")
    survey_tools.export(store, out=tmp_path / "b", to=form, name="x")
    found = {}
    for name, source in (("a", parts), ("b", store)):
        if form == "webdataset":
            rows = [(each["json"]["object_id"], each["images.npy"]) for each in samples(tmp_path / name)]
        else:
            files = sorted((tmp_path / name).rglob("Npix=*.parquet"))
            rows = [
                (row["object_id"], np.array(row["image"]["flux"], np.float32))
                for path in files
                for row in pq.ParquetFile(path).read(["object_id", "image"]).to_pylist()
            ]
        found[name] = dict(rows)
        assert len(source) == 6
    assert found["a"].keys() == found["b"].keys() == {f"sdss-{row}" for row in (0, 1, 2, 3, 5)}
    for object_id, image in found["a"].items():
        assert_array_equal(image, found["b"][object_id])


def test_a_table_says_which_object_is_in_which_shard(store, tmp_path):
    survey_tools.export(store, [3, 0, 1, 5], tmp_path, to="webdataset", shard_size=2 * ONE + 8192)
    table = pq.read_table(tmp_path / "objects.parquet").to_pylist()
    assert [each["row"] for each in table] == [3, 0, 1, 5]
    for each in table:
        with tarfile.open(tmp_path / each["shard"]) as tar:
            about = json.load(tar.extractfile(f"{each['key']}.json"))
        assert {name: about[name] for name in ("object_id", "row", "ra", "dec")} == {
            name: each[name] for name in ("object_id", "row", "ra", "dec")
        }
        assert_allclose(each["psf_fwhm"], about["psf_fwhm"], rtol=1e-6)
    assert len({each["shard"] for each in table}) == 2


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@forms
def test_planes_of_a_translated_store_are_shared(form, tmp_path, make_store):
    mlcroissant = pytest.importorskip("mlcroissant")
    store = make_store(
        tmp_path / "t.zarr", "sdss", RA[:2], DEC[:2], bands="g", synthetic="made", planes={"signal": "without noise"}
    )
    (path,) = survey_tools.export(store, out=tmp_path / "out", to=form).paths
    if form == "webdataset":
        assert samples(tmp_path / "out")[0]["signal.npy"].shape == (1, 64, 64)
    else:
        assert np.array(pq.read_table(path)["image"][0]["signal"].as_py()).shape == (1, 64, 64)
    dataset = mlcroissant.Dataset(jsonld=json.loads((tmp_path / "out" / "croissant.json").read_text()))
    assert not dataset.metadata.ctx.issues.errors
    assert "without noise" in (tmp_path / "out" / "croissant.json").read_text()


@forms
def test_a_damaged_store_is_not_shared(form, store, tmp_path, make_store):
    damaged = make_store(tmp_path / "d.zarr", "sdss", RA[:2], DEC[:2], bands="g")
    chunk = damaged.path / "images" / "c" / "0" / "0" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes()[:-1] + b"?")
    with pytest.raises(StoreError, match=r"d\.zarr is damaged: images/c/0/0/0/0 "):
        survey_tools.export(damaged.path, out=tmp_path / "out", to=form)
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file() and path.name[0] != "."]


@forms
def test_data_that_no_export_made_are_never_removed(form, store, tmp_path):
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset" / "mine").write_text("mine")
    (tmp_path / "other-000000.tar").write_text("mine")
    with pytest.raises(StoreError, match=r"dataset exists already and is not of an export; choose another folder"):
        survey_tools.export(store, out=tmp_path, to=form, overwrite=True)
    with pytest.raises(StoreError, match=r"is in the store itself, whose files must stay"):
        survey_tools.export(store, out=store.path / "out", to=form, overwrite=True)
    assert content(tmp_path) == {"dataset/mine": b"mine", "other-000000.tar": b"mine"}
    (tmp_path / "dataset" / "mine").unlink()
    (tmp_path / "dataset").rmdir()
    survey_tools.export(store, [0], tmp_path, to=form)
    survey_tools.export(store, [1, 1], tmp_path, to=form, overwrite=True)
    assert (tmp_path / "other-000000.tar").read_text() == "mine"
