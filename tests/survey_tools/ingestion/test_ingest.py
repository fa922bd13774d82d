import hashlib
import logging
import re
import zipfile
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import zarr
from astropy.table import Table
from numpy.testing import assert_allclose, assert_array_equal

from survey_tools.build.regridded import regrid_store
from survey_tools.errors import CatalogueError, ImageError, StoreError
from survey_tools.files import write_sums
from survey_tools.images.cutout import sky_sigma
from survey_tools.images.sky_wcs import north_up_wcs
from survey_tools.ingestion.collection import Form
from survey_tools.ingestion.ingest import ingest
from survey_tools.matching.pairs import make_pairs, read_pairs
from survey_tools.store.summary import summarise
from survey_tools.surveys import CFHT, SDSS
from translator.data.selection import select
from translator.intensity import stretch, unstretch

COUNT = 7
GR = Form(("g", "r"))
TWO = 2 * 2 * 64 * 64 * 4  # bytes of a chunk of two objects of two bands
RA, DEC = np.arange(COUNT) * 0.1 + 150, np.linspace(-2, 2, COUNT)
FLUX = np.random.default_rng(0).normal(0, 0.02, (COUNT, 2, 64, 64)).astype(np.float32)
FLUX[:, :, 30:34, 30:34] += 1
NHWC = np.moveaxis(FLUX, 1, 3)
LABELS = np.zeros(COUNT, [("specObjID", "i8"), ("RA", "f8"), ("dec", "f8"), ("z", "f4"), ("EBV", "f4")])
LABELS["specObjID"], LABELS["RA"], LABELS["dec"], LABELS["z"] = np.arange(COUNT) + 2**60, RA, DEC, 0.125


def npz(path, **arrays):
    np.savez(path, **({"cube": NHWC} | arrays))
    return path


def npy(path, images):
    np.save(path, images)
    return path


def hdf5(path, images, **columns):
    with h5py.File(path, "w") as file:
        file.create_dataset("set/images", data=images, chunks=(2, *images.shape[1:]), compression="gzip")
        for name, values in columns.items():
            file[f"set/{name}"] = values
    return path


def table(path, count=COUNT, ra=RA, dec=DEC):
    rows = {"object_id": [f"galaxy {i}" for i in range(count)], "ra": ra[:count], "dec": dec[:count]}
    Table(rows | {"redshift": np.linspace(0, 0.3, count)}).write(path)
    return path


def files(store) -> dict[str, str]:
    found = [path for path in Path(store).rglob("*") if path.is_file()]
    return {str(path.relative_to(store)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


WRITERS = {
    "npz": lambda folder, images: npz(folder / "a.npz", cube=images),
    "packed npz": lambda folder, images: np.savez_compressed(folder / "a.npz", cube=images) or folder / "a.npz",
    "npz by column": lambda folder, images: npz(folder / "a.npz", cube=np.asfortranarray(images)),
    "npy": lambda folder, images: npy(folder / "a.npy", images),
    "npy big-endian": lambda folder, images: npy(folder / "a.npy", images.astype(">f8")),
    "hdf5": lambda folder, images: hdf5(folder / "a.h5", images),
}


@pytest.mark.parametrize("images", [NHWC, FLUX], ids=["NHWC", "NCHW"])
@pytest.mark.parametrize("writer", WRITERS)
def test_every_format_and_order_of_axes_gives_the_same_pixels(tmp_path, writer, images):
    path = WRITERS[writer](tmp_path, images)
    store = ingest([path], SDSS, tmp_path / "x.zarr", GR, positions=table(tmp_path / "p.ecsv"), chunk_bytes=TWO)
    assert len(store.chunks()) == 4
    assert_array_equal(store.images[:], FLUX)
    assert not store.mask[:].any()
    assert store.usable.all()
    assert_array_equal(store.column("ra"), RA)
    assert_array_equal(store.column("redshift"), np.linspace(0, 0.3, COUNT))
    assert set(store.manifest()["status"]) == {"done"}
    assert set(store.manifest()["reason"]) == {""}
    assert set(store.manifest()["file"]) == {path.name}


def test_the_columns_say_what_is_known_of_a_cube(tmp_path):
    store = ingest([npz(tmp_path / "a.npz", labels=LABELS)], SDSS, tmp_path / "x.zarr", GR)
    assert_allclose(store.column("sky_sigma")[3, 1], sky_sigma(FLUX[3, 1], np.zeros((64, 64), bool)), rtol=1e-6)
    assert (store.column("zero_point") == 22.5).all()
    assert np.isnan(store.column("psf_fwhm")).all()
    assert not store.column("saturated").any()
    assert (store.column("source") == "a.npz").all()
    wcs, north_up = store.wcs(2), north_up_wcs(RA[2], DEC[2], 0.396, 64)
    assert wcs.to_header_string() == north_up.to_header_string()


def test_labels_beside_the_images_give_positions_redshifts_and_identifiers(tmp_path):
    store = ingest([npz(tmp_path / "a.npz", labels=LABELS)], SDSS, tmp_path / "x.zarr", GR)
    assert store.column("object_id").tolist() == [str(value) for value in LABELS["specObjID"]]
    assert_array_equal(store.column("ra"), RA)
    assert_array_equal(store.column("dec"), DEC)
    assert_array_equal(store.column("redshift"), np.full(COUNT, 0.125))


def test_identifiers_that_are_not_unique_and_a_z_that_is_a_magnitude_are_left_alone(tmp_path):
    labels = np.zeros(COUNT, [(name, "f8") for name in ("ra", "dec", "u", "g", "r", "i", "z")] + [("objID", "i8")])
    labels["ra"], labels["dec"], labels["z"] = RA, DEC, 17
    store = ingest([npz(tmp_path / "a.npz", labels=labels)], SDSS, tmp_path / "x.zarr", GR)
    assert store.column("object_id").tolist() == [f"a.npz#{row}" for row in range(COUNT)]
    assert np.isnan(store.column("redshift")).all()


def test_arrays_of_their_own_give_positions_too(tmp_path):
    names = np.array([f"g{row}" for row in range(COUNT)], dtype="S3")
    path = hdf5(tmp_path / "a.h5", NHWC, ra=RA, dec=DEC, objid=names, other=np.zeros((COUNT, 2)))
    store = ingest([path], SDSS, tmp_path / "x.zarr", GR)
    assert store.column("object_id").tolist() == [f"g{row}" for row in range(COUNT)]
    assert_array_equal(store.column("dec"), DEC)


def test_several_files_are_one_sequence(tmp_path):
    paths = [
        npz(tmp_path / "a.npz", cube=NHWC[:3]),
        npy(tmp_path / "b.npy", FLUX[3:4]),
        hdf5(tmp_path / "c.h5", FLUX[4:]),
    ]
    store = ingest(paths, SDSS, tmp_path / "x.zarr", GR, chunk_bytes=TWO)
    assert_array_equal(store.images[:], FLUX)
    expected = ["a.npz#0", "a.npz#1", "a.npz#2", "b.npy#0", "c.h5#0", "c.h5#1", "c.h5#2"]
    assert store.column("object_id").tolist() == expected
    assert store.column("source")[:, 0].tolist() == [name.partition("#")[0] for name in expected]


def test_bands_are_put_in_the_order_of_the_survey(tmp_path):
    store = ingest([npz(tmp_path / "a.npz")], SDSS, tmp_path / "x.zarr", Form(("r", "g")))
    assert store.bands == ("g", "r")
    assert_array_equal(store.images[:], FLUX[:, ::-1])


def test_stretched_images_become_the_flux_they_were(tmp_path):
    path = npz(tmp_path / "a.npz", cube=stretch(NHWC.astype(float)))
    store = ingest([path], SDSS, tmp_path / "x.zarr", Form(("g", "r"), unstretch=unstretch))
    assert_array_equal(store.images[:], FLUX)


def test_counts_become_nanomaggies_and_zeros_of_cfhtls_are_empty(tmp_path):
    counts = np.random.default_rng(1).normal(0, 2, (2, 136, 136, 2))
    counts[0, :10, :, 1] = 0
    store = ingest([npy(tmp_path / "a.npy", counts)], CFHT, tmp_path / "y.zarr", Form(("g", "r"), zero_point=30.0))
    assert_allclose(store.images[1], np.moveaxis(counts[1], 2, 0) / 1000, rtol=1e-6)
    assert np.isnan(store.images[0, 1, :10]).all()
    assert store.mask[0, 1, :10].all()
    assert_allclose(store.column("coverage")[0], [1, 1 - 10 / 136])
    assert (store.column("zero_point") == 30).all()
    assert store.manifest()["reason"][0].startswith("r: 7.4 % of pixels without data")


def test_images_that_cannot_be_of_the_sky_fail_with_the_reason_and_the_others_are_done(tmp_path):
    images = FLUX.copy()
    images[0] = 0
    images[1] = np.nan
    images[2, 1] = 3.5
    images[3, 0, 5, 5] = np.inf
    images[4, 0, 5, 5] = 1e7
    path = npy(tmp_path / "a.npy", images)
    store = ingest([path], SDSS, tmp_path / "x.zarr", GR, positions=table(tmp_path / "p.ecsv"))
    manifest = store.manifest()
    assert manifest["status"].tolist() == ["failed"] * 3 + ["done", "failed", "done", "done"]
    assert manifest["reason"].tolist() == [
        "every pixel is 0",
        "no pixel has data",
        "r: every pixel is 3.5",
        "g: 0.0 % of pixels without data",
        "g: a pixel of 1e+07 nanomaggies; check --unit and --zero-point",
        "",
        "",
    ]
    assert_array_equal(store.usable, [False] * 5 + [True] * 2)
    assert np.isnan(store.images[:2]).all()
    assert np.isnan(store.column("crval")[:2]).all()
    assert_array_equal(store.images[2, 0], FLUX[2, 0])
    assert np.isnan(store.images[2, 1]).all()
    assert store.mask[3].sum() == 1


def test_without_positions_a_store_trains_and_is_regridded_but_not_matched(tmp_path, make_store):
    x = ingest([npz(tmp_path / "a.npz")], SDSS, tmp_path / "x.zarr", GR)
    counts = np.random.default_rng(1).normal(0, 2, (COUNT, 136, 136, 2))
    y = ingest([npy(tmp_path / "b.npy", counts)], CFHT, tmp_path / "y.zarr", Form(("g", "r"), zero_point=30.0))
    assert set(x.manifest()["status"]) == {"done"}
    assert set(x.manifest()["reason"]) == {"no position"}
    assert np.isnan(x.column("ra")).all()
    assert dict(summarise(x))["sky"] == "no positions"
    with pytest.raises(StoreError, match="no image, or no position"):
        x.wcs(0)
    assert len(x.catalogue) == COUNT
    assert len(select(x, y, None, reads_pairs=False).x) == COUNT
    pairs = Table({"x_row": np.arange(5), "y_row": np.arange(5), "split": ["train"] * 3 + ["test"] * 2})
    selection = select(x, y, pairs)
    assert_array_equal(selection.pairs, [[0, 0], [1, 1], [2, 2]])
    assert_array_equal(selection.x, [5, 6])
    make_store(tmp_path / "z.zarr", "cfht", RA, DEC, bands="gr")
    with pytest.raises(StoreError, match=r"x\.zarr has no position for any of its 7 objects.*--positions TABLE"):
        make_pairs(tmp_path / "x.zarr", tmp_path / "z.zarr")
    small = regrid_store(tmp_path / "y.zarr", tmp_path / "x.zarr", tmp_path / "y64.zarr")
    assert small.usable.all()
    assert np.isnan(small.column("crval")).all()
    assert np.isfinite(small.column("cd")).all()
    assert_allclose(small.images[:].sum(axis=(2, 3)), y.images[:].sum(axis=(2, 3)), atol=1)


def test_the_pair_table_of_the_page_pairs_row_by_row(tmp_path, monkeypatch):
    counts = np.random.default_rng(1).normal(0, 2, (COUNT, 136, 136, 2))
    x = ingest([npz(tmp_path / "a.npz")], SDSS, tmp_path / "x.zarr", GR)
    y = ingest([npy(tmp_path / "b.npy", counts)], CFHT, tmp_path / "y.zarr", Form(("g", "r"), zero_point=30.0))
    page = (Path(__file__).parents[3] / "docs" / "how-to" / "ingest.md").read_text()
    monkeypatch.chdir(tmp_path)
    exec(re.search(r"```python\n(.*?)```", page, re.DOTALL)[1], {})
    selection = select(x, y, read_pairs(tmp_path / "pairs.ecsv", x, y))
    assert_array_equal(selection.pairs, [[0, 0]])
    assert_array_equal(selection.x, [3, 4, 5, 6])


def test_objects_with_positions_are_matched_where_others_have_none(tmp_path, make_store):
    make_store(tmp_path / "y.zarr", "cfht", RA, DEC, bands="gr")
    x = make_store(tmp_path / "x.zarr", "sdss", RA, DEC, bands="gr")
    group = zarr.open_group(x.path, mode="r+")
    group["ra"][:2], group["crval"][:2] = np.nan, np.nan
    write_sums(x.path, {})
    pairs = make_pairs(x.path, tmp_path / "y.zarr")
    assert_array_equal(pairs["x_row"], np.arange(2, COUNT))


def test_a_run_that_was_killed_is_gone_on_with(tmp_path, monkeypatch):
    path = npz(tmp_path / "a.npz", labels=LABELS)
    whole = ingest([path], SDSS, tmp_path / "whole.zarr", GR, chunk_bytes=TWO)
    write, written = type(whole).write, []

    def killed_at_the_third(store, rows, *images):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(rows)
        write(store, rows, *images)

    monkeypatch.setattr(type(whole), "write", killed_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        ingest([path], SDSS, tmp_path / "x.zarr", GR, chunk_bytes=TWO)
    assert not (tmp_path / "x.zarr").exists()
    with pytest.raises(StoreError, match="begun with other"):
        ingest([path], SDSS, tmp_path / "x.zarr", Form(("r", "g")))
    rest = []
    monkeypatch.setattr(
        type(whole), "write", lambda store, rows, *images: rest.append(rows) or write(store, rows, *images)
    )
    ingest([path], SDSS, tmp_path / "x.zarr", GR, chunk_bytes=TWO)
    assert [rows.start for rows in rest] == [4, 6]
    assert files(tmp_path / "x.zarr") == files(tmp_path / "whole.zarr")
    assert not (tmp_path / "x.zarr.part").exists()


def test_a_store_that_is_there_is_kept_unless_it_is_to_be_replaced(tmp_path):
    path = npz(tmp_path / "a.npz", labels=LABELS)
    ingest([path], SDSS, tmp_path / "x.zarr", GR)
    before = files(tmp_path / "x.zarr")
    ingest([path], SDSS, tmp_path / "x.zarr", GR)
    assert files(tmp_path / "x.zarr") == before
    with pytest.raises(StoreError, match="made with other band order"):
        ingest([path], SDSS, tmp_path / "x.zarr", Form(("r", "g")))
    replaced = ingest([path], SDSS, tmp_path / "x.zarr", Form(("r", "g")), overwrite=True)
    assert_array_equal(replaced.images[:], FLUX[:, ::-1])


def objects(path):
    np.save(path, np.array([[1, "a"], None], dtype=object), allow_pickle=True)


def damaged(path):
    npz(path)
    path.write_bytes(path.read_bytes()[:-5000])


def flipped(path):
    """A bit of a pixel, which only the checksum of the member tells."""
    npz(path)
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


def without_images(path):
    with h5py.File(path, "w") as file:
        file["ra"] = RA


WRONG = {
    "pickle": (lambda path: path.write_bytes(b"\x80\x04K\x01."), "a", "no .npz, .npy, HDF5 or FITS file; pickles"),
    "objects": (objects, "a.npy", "has no images"),
    "object images": (
        lambda path: np.save(path, np.zeros((1, 64, 64, 2), object), allow_pickle=True), "a.npy",
        "holds Python objects, which are never read",
    ),
    "object labels": (
        lambda path: npz(path, ra=np.array([None] * COUNT)), "a.npz",
        "a.npz ra holds Python objects.*--positions TABLE",
    ),
    "empty": (lambda path: path.write_bytes(b""), "a.npz", "is no .npz, .npy, HDF5 or FITS file"),
    "truncated npz": (damaged, "a.npz", "damaged or truncated: File is not a zip file"),
    "bit flip": (flipped, "a.npz", "damaged or truncated: Bad CRC-32"),
    "truncated npy": (
        lambda path: npy(path, NHWC) and path.write_bytes(path.read_bytes()[:-9]), "a.npy", "damaged or truncated"
    ),
    "size": (lambda path: npy(path, np.zeros((3, 32, 32, 2))), "a.npy", r"no images \(N, 64, 64, 2\).*\(3, 32, 32"),
    "bands": (lambda path: npy(path, np.zeros((3, 64, 64, 5))), "a.npy", r"\(3, 64, 64, 5\) float64; check.*--bands"),
    "three axes": (lambda path: npy(path, np.zeros((64, 64, 2))), "a.npy", r"\(64, 64, 2\)"),
    "no image": (lambda path: npy(path, np.zeros((0, 64, 64, 2))), "a.npy", r"\(0, 64, 64, 2\)"),
    "complex": (lambda path: npy(path, np.zeros((1, 64, 64, 2), complex)), "a.npy", "complex128; images are real"),
    "two arrays": (lambda path: npz(path, other=FLUX), "a.npz", r"2 arrays.*--key: cube \(7, 64, 64, 2\) float32; o"),
    "no dataset": (without_images, "a.h5", r"has no images.*ra \(7,\) float64"),
    "all zero": (lambda path: npy(path, np.zeros((2, 64, 64, 2))), "a.npy", "none of the 2 images.*every pixel is 0"),
    "positions": (lambda path: npz(path, ra=RA, dec=DEC + 100), "a.npz", "row 1: dec is 98.0; it must lie from -90"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_file_is_refused_with_the_reason_and_leaves_nothing(tmp_path, case):
    write, name, message = WRONG[case]
    write(tmp_path / name)
    with pytest.raises((ImageError, CatalogueError), match=message):
        ingest([tmp_path / name], SDSS, tmp_path / "x.zarr", GR)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_wrong_options_are_refused_with_what_there_is(tmp_path):
    path, out = npz(tmp_path / "a.npz", other=FLUX), tmp_path / "x.zarr"
    with pytest.raises(ImageError, match=r"no array called 'none'; it holds cube \(7, 64, 64, 2\) float32; other"):
        ingest([path], SDSS, out, Form(("g", "r"), key="none"))
    with pytest.raises(ImageError, match=r"a.npz cube has the shape \(7, 64, 64, 2\), not \(N, 2, 64, 64\)"):
        ingest([path], SDSS, out, Form(("g", "r"), key="cube", axes="NCHW"))
    bright = npy(tmp_path / "bright.npy", np.full((1, 64, 64, 2), 500.0))
    with pytest.raises(ImageError, match=r"image 0 has a pixel of 500, and no stretched flux is larger than 316"):
        ingest([bright], SDSS, out, Form(("g", "r"), unstretch=unstretch))
    with pytest.raises(CatalogueError, match="has 3 rows and the files have 7 images"):
        ingest([path], SDSS, out, Form(("g", "r"), key="cube"), positions=table(tmp_path / "p.ecsv", 3))
    with pytest.raises(ImageError, match="is given twice"):
        ingest([path, path], SDSS, out, GR)
    with pytest.raises(CatalogueError, match=r"c\.npz has positions and .*b\.npy has none"):
        ingest([npz(tmp_path / "c.npz", labels=LABELS), npy(tmp_path / "b.npy", FLUX)], SDSS, out, GR)
    assert not out.exists()
    assert not (tmp_path / "x.zarr.part").exists()


def test_an_order_of_axes_that_can_be_read_both_ways_is_asked_for(tmp_path):
    tiny = replace(SDSS, cutout_size=5)
    images = np.random.default_rng(0).normal(0, 1, (3, 5, 5, 5)).astype(np.float32)
    path = npy(tmp_path / "a.npy", images)
    with pytest.raises(ImageError, match="fits both orders of axes; say which by --axes"):
        ingest([path], tiny, tmp_path / "x.zarr", Form(tuple("ugriz")))
    store = ingest([path], tiny, tmp_path / "x.zarr", Form(tuple("ugriz"), axes="NHWC"))
    assert_array_equal(store.images[:], np.moveaxis(images, 3, 1))


def test_a_name_that_says_stretched_is_pointed_out(tmp_path, caplog):
    path = tmp_path / "img_test_examples.npz"
    np.savez(path, img_test_SDSS_rescaled=stretch(NHWC), img_test_CFHT_regrided=stretch(NHWC))
    with caplog.at_level(logging.WARNING):
        ingest([path], SDSS, tmp_path / "x.zarr", Form(("g", "r"), key="img_test_SDSS_rescaled"))
    assert "--stretched undoes that" in caplog.text


def test_an_npz_is_read_a_few_rows_at_a_time(tmp_path, monkeypatch):
    lengths, read = [], zipfile.ZipExtFile.read

    def counted(file, n=-1):
        lengths.append(n)
        return read(file, n)

    monkeypatch.setattr(zipfile.ZipExtFile, "read", counted)
    ingest([npz(tmp_path / "a.npz")], SDSS, tmp_path / "x.zarr", GR, chunk_bytes=TWO)
    assert 0 <= min(lengths) <= max(lengths) == 2 * NHWC[0].nbytes


def test_padding_by_zeros_is_no_data_in_any_survey_and_the_user_may_decide_otherwise(tmp_path):
    images = np.random.default_rng(4).normal(0, 0.02, (3, 2, 64, 64))
    images[1, 1, :30] = 0  # as where the edge of a stack was
    images[2, 0, 30, 30] = 0
    path = npy(tmp_path / "a.npy", images)
    store = ingest([path], SDSS, tmp_path / "x.zarr", GR)
    assert_allclose(store.column("coverage"), [[1, 1], [1, 34 / 64], [1, 1]])
    assert_allclose(store.column("sky_sigma")[1], 0.02, rtol=0.1)
    reasons = store.manifest()["reason"].tolist()
    assert reasons[0] == reasons[2] == "no position"
    assert "r: 46.9 % of pixels without data" in reasons[1]
    assert "r: 46.9 % of pixels are exactly 0 and no data (a block at the edge, beside noise)" in reasons[1]
    kept = ingest([path], SDSS, tmp_path / "k.zarr", replace(GR, zeros="data"))
    assert (kept.column("coverage") == 1).all()
    assert "r: 46.9 % of pixels are exactly 0 and data (as --zeros says)" in kept.manifest()["reason"][1]
    gone = ingest([path], SDSS, tmp_path / "g.zarr", replace(GR, zeros="missing"))
    assert np.isnan(gone.images[2, 0, 30, 30])
    with pytest.raises(StoreError, match="zeros"):
        ingest([path], SDSS, tmp_path / "g.zarr", replace(GR, zeros="data"))


@pytest.mark.parametrize(
    ("unit", "factor"), [("uJy", 1 / 3.631), ("MJy/sr", 1e6 * (0.396 / 206264.806) ** 2 / 3.631e-6)]
)
def test_a_cube_may_be_in_any_unit_of_flux(tmp_path, unit, factor):
    store = ingest([npy(tmp_path / "a.npy", FLUX)], SDSS, tmp_path / "x.zarr", replace(GR, unit=unit))
    assert_allclose(store.images[:], FLUX * factor, rtol=2e-4)
