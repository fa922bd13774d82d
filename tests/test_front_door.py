"""The front door in Python: what it accepts, what it returns, and how it refuses what it cannot use."""

import doctest
import importlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.nddata import CCDData, NDData
from astropy.table import QTable, Table
from astropy.wcs import WCS

import survey_tools
import translator
from survey_tools import tasks
from survey_tools.accept import a_catalogue, an_angle, per_band
from survey_tools.errors import ArgumentError, CatalogueError, GaltransError, RunError, StoreError

RA, DEC = np.array([10.0, 10.01, 10.02]), np.array([1.0, 1.01, 1.02])


@pytest.fixture(scope="module")
def sky(tmp_path_factory):
    """Both surveys' stores of a few galaxies, in two bands."""
    folder = tmp_path_factory.mktemp("sky")
    survey_tools.simulate(folder, galaxies=16, bands="gr", overlap=0.5)
    return folder


@pytest.fixture(scope="module")
def run():
    return translator.load_run("sdss-cfhtls", device="cpu")


def test_the_doors_are_quick_to_open_and_name_what_they_have():
    script = "import sys, survey_tools, translator; "
    script += "print([m for m in ('torch', 'astropy', 'zarr', 'dask', 'numpy') if m in sys.modules])"
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert said == "[]\n"
    for door in (survey_tools, translator):
        assert dir(door) == sorted(door.__all__)
        for name in door.__all__:
            assert getattr(door, name) is not None
        with pytest.raises(AttributeError, match="its front door has"):
            _ = door.nonsense


@pytest.mark.parametrize(
    "make",
    [
        lambda: SkyCoord(RA, DEC, unit="deg"),
        lambda: Table({"object_id": ["0", "1", "2"], "ra": RA, "dec": DEC}),
        lambda: QTable({"object_id": ["0", "1", "2"], "ra": RA * u.deg, "dec": (DEC * u.deg).to(u.arcmin)}),
        lambda: pd.DataFrame({"object_id": ["0", "1", "2"], "ra": RA, "dec": DEC}),
        lambda: SkyCoord(RA, DEC, unit="deg").galactic,
    ],
    ids=["SkyCoord", "Table", "QTable", "pandas", "galactic"],
)
def test_catalogues_of_every_kind_are_the_same(make):
    found = a_catalogue(make())
    assert found["object_id"].tolist() == ["0", "1", "2"]
    np.testing.assert_allclose(found["ra"], RA, atol=1e-9)
    np.testing.assert_allclose(found["dec"], DEC, atol=1e-9)


def test_catalogues_that_cannot_be_used_are_refused():
    with pytest.raises(CatalogueError, match="the table"):
        a_catalogue(Table({"object_id": ["a"], "ra": [np.nan], "dec": [0.0]}))
    with pytest.raises(ArgumentError, match="columns: 'colour' is not one of object_id, ra"):
        a_catalogue(Table({"a": [1]}), {"colour": "b"})
    with pytest.raises(ArgumentError, match="catalogue: 3 is not a path"):
        a_catalogue(3)


def test_angles_have_units_or_are_arcsec():
    assert an_angle(0.5, "radius") == an_angle(0.5 * u.arcsec, "radius") == an_angle(500 * u.mas, "radius") == 0.5
    assert per_band([0.01, 0.7 / 60] * u.arcmin, u.arcsec, "seeing") == pytest.approx((0.6, 0.7))
    for bad in (-1, 0, np.nan, "wide", 1 * u.Jy):
        with pytest.raises(ArgumentError, match=r"^radius: "):
            an_angle(bad, "radius")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda out: survey_tools.fetch("none.csv", "hst", out), "survey: 'hst' is not a known survey; known are sdss"),
        (lambda out: survey_tools.fetch(SkyCoord(1, 2, unit="deg"), "sdss", out, bands="xy"), "each band once, out of"),
        (lambda out: survey_tools.fetch(SkyCoord(1, 2, unit="deg"), "sdss", out, how="tiles"), "how: it is not an opt"),
        (lambda out: survey_tools.fetch(SkyCoord(1, 2, unit="deg"), "sdss", out, unit="mJy"), "give their `mirror`"),
        (lambda out: survey_tools.simulate(out, galaxies=0), "galaxies: 0 is not a whole number of at least 1"),
        (lambda out: survey_tools.simulate(out, overlap=0.5), "goes with `galaxies`"),
        (lambda out: survey_tools.simulate(out, benchmark="twin-v9"), "known are twin-v1"),
        (lambda out: survey_tools.ingest("none.npz", "sdss", out, axes="HWC"), "axes: 'HWC': give one of auto"),
        (lambda out: survey_tools.find_targets("hst"), "survey: 'hst' has no table of targets"),
        (lambda out: survey_tools.crossmatch(1, 2), "x: 1 is not a path"),
        (lambda out: translator.load_run("nonsense"), "run: 'nonsense' is neither a folder nor a built-in model"),
        (
            lambda out: translator.train("a", "b", run=out, recipe="nonsense"),
            "recipe: no recipe is called 'nonsense'; known are two_step",
        ),
        (lambda out: translator.train("a", "b", run=out, recipe="pix2pix"), "pairs: recipe pix2pix needs a pair table"),
        (lambda out: translator.translate("sdss-cfhtls", 3.0, to="cfht"), "image: float is no image; give a path"),
        (lambda out: translator.translate("sdss-cfhtls", "none.fits", to="cfht"), "image: none.fits does not exist"),
        (lambda out: translator.translate("sdss-cfhtls", "a.fits", to="hst"), "to: 'hst' is not a known survey"),
        (
            lambda out: translator.translate("sdss-cfhtls", "a.fits", to="cfht", depth="deep"),
            "depth: 'deep' is not a depth",
        ),
        (lambda out: translator.translate("sdss-cfhtls", "a.fits", to="cfht", size=9), "part around `at`, which is"),
    ],
)
def test_wrong_arguments_are_our_own_errors_with_the_name(tmp_path, call, words):
    with pytest.raises(ArgumentError) as caught:
        call(tmp_path / "out")
    assert words in str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, GaltransError)
    assert not (tmp_path / "out").exists()


def test_a_store_is_indexed_iterated_and_given_to_xarray(sky):
    store = survey_tools.open_store(sky / "sdss.zarr")
    assert isinstance(store.catalogue, QTable)
    assert store.catalogue["ra"].unit == u.deg
    first = store[0]
    assert list(first) == ["g", "r"]
    image = first["r"]
    assert isinstance(image, CCDData)
    assert image.unit == u.nmgy / u.pix
    np.testing.assert_array_equal(image.data, store.images[0:1][0, 1])
    np.testing.assert_array_equal(image.mask, store.mask[0:1][0, 1])
    assert image.wcs.wcs.crval.tolist() == store.column("crval")[0].tolist()
    assert image.meta["object_id"] == store.column("object_id")[0]
    assert image.meta["psf_fwhm"] == store.column("psf_fwhm")[0, 1]
    assert image.uncertainty.array[0, 0] == store.column("sky_sigma")[0, 1]
    assert [each["g"].meta["object_id"] for each in store] == store.column("object_id").tolist()
    assert [each["g"].meta["object_id"] for each in store[-2:]] == store.column("object_id")[-2:].tolist()
    name = str(store.column("object_id")[3])
    assert store[name]["g"].meta["object_id"] == store[[3]][0]["g"].meta["object_id"] == name
    with pytest.raises(IndexError, match="has rows 0 to 15, and not row 16"):
        store[16]
    with pytest.raises(KeyError, match="has no object 'nobody'"):
        store["nobody"]
    whole = store.to_xarray()
    assert dict(whole.sizes) == {"object": 16, "band": 2, "row": 64, "col": 64, "axis": 2, "pixel_axis": 2}
    np.testing.assert_array_equal(whole.images[2].values, store.images[2:3][0])
    assert str(whole.object_id[2].values) == store.column("object_id")[2]


def test_going_through_a_store_reads_each_chunk_once(sky, monkeypatch):
    store, read = survey_tools.open_store(sky / "sdss.zarr"), []
    inner = type(store.images).__getitem__
    monkeypatch.setattr(type(store.images), "__getitem__", lambda self, key: read.append(key) or inner(self, key))
    assert len(list(store)) == len(store)
    assert read == [rows for rows in store.chunks() for _ in ("images", "mask")]


def test_two_stores_are_paired_regridded_and_described(sky, tmp_path):
    x, y = survey_tools.open_store(sky / "sdss.zarr"), sky / "cfht.zarr"
    pairs = survey_tools.crossmatch(x, y, radius=1 * u.arcsec, test_size=2, out=tmp_path / "pairs.ecsv")
    assert set(pairs["split"]) == {"train", "test"}
    assert len(Table.read(tmp_path / "pairs.ecsv")) == len(pairs)
    small = survey_tools.regrid(y, like=x, out=tmp_path / "y64.zarr", workers=2)
    assert small.size == 64
    assert survey_tools.verify(small) == []
    assert dict(survey_tools.describe(small))["objects"].startswith("16")
    made = survey_tools.export(x, slice(0, 2), tmp_path / "fits")
    assert len(made.paths) == 2
    with pytest.raises(ArgumentError, match="rows: 16: the store has rows 0 to 15"):
        survey_tools.export(x, 16, tmp_path / "fits")
    with pytest.raises(StoreError, match="does not exist"):
        survey_tools.crossmatch(x, tmp_path / "none.zarr")


def same_pixels(one: fits.HDUList, other: fits.HDUList) -> bool:
    return all(np.array_equal(one[band].data, other[band].data, equal_nan=True) for band in ("g", "r"))


def test_an_image_is_translated_however_it_is_given(sky, run, tmp_path):
    store = survey_tools.open_store(sky / "sdss.zarr")
    path = survey_tools.export(store, 0, tmp_path / "fits").paths[0]
    with fits.open(path) as hdus:
        given = fits.HDUList([hdu.copy() for hdu in hdus])
    by_path = translator.translate(run, path, to="cfht", noise=False)
    assert [hdu.name for hdu in by_path if len(hdu.name) == 1] == ["g", "r"]
    assert by_path[0].header["SYNTH"]
    assert by_path[0].header["GTINPUT"] == path.name
    assert by_path["r"].data.shape == (136, 136)
    assert same_pixels(by_path, translator.translate(run, given, to="cfht", noise=False))
    by_band = translator.translate(run, store[0], to="cfht", noise=False)
    assert same_pixels(by_path, by_band)
    assert by_band[0].header["OBJECT"] == by_path[0].header["OBJECT"]
    planes = [
        NDData(each.data, unit=each.unit, wcs=each.wcs, mask=each.mask, meta=each.meta) for each in store[0].values()
    ]
    assert same_pixels(by_path, translator.translate("sdss-cfhtls", planes, to="cfht", noise=False, device="cpu"))
    made = translator.translate(run, path, to="cfht", noise=False, out=tmp_path / "out")
    with fits.open(made.paths[0]) as written:
        assert same_pixels(by_path, written)
    assert made.table["output"].tolist() == [made.paths[0].name]
    again = translator.translate(run, [path], to="cfht", noise=False, out=tmp_path / "out")
    assert again.kept == made.paths


def test_an_array_needs_its_wcs_and_its_unit(sky, run):
    store = survey_tools.open_store(sky / "sdss.zarr")
    array, grid = store.images[0:1][0], store.wcs(0)
    in_nanomaggies = translator.translate(run, (array, grid), to="cfht", bands="gr", unit="nanomaggy", noise=False)
    in_jansky = translator.translate(run, (array * 3.631e-6, grid), to="cfht", bands="gr", unit=u.Jy, noise=False)
    np.testing.assert_allclose(in_jansky["r"].data, in_nanomaggies["r"].data, atol=1e-4)
    with pytest.raises(ArgumentError, match="does not have the 5 bands ugriz"):
        translator.translate(run, (array, grid), to="cfht", unit="nanomaggy")
    with pytest.raises(GaltransError, match="unit"):
        translator.translate(run, (array, grid), to="cfht", bands="gr")
    with pytest.raises(ArgumentError, match="band g has no WCS"):
        translator.translate(run, {"g": NDData(array[0], unit=u.nmgy)}, to="cfht")


def test_images_that_cannot_be_used_are_refused_and_nothing_is_written(sky, run, tmp_path):
    store = survey_tools.open_store(sky / "sdss.zarr")
    image, grid = store[0]["r"], store.wcs(0)
    for bad, words in (
        ({"r": image, "w": image}, "'w' is not a band of these surveys, which have u, g, r, i, z"),
        (
            {"r": CCDData(np.zeros((3, 3, 3)), unit=u.nmgy, wcs=grid)},
            r"band r has pixels of type float64 and shape \(3, 3, 3\)",
        ),
        ((np.full((2, 64, 64), "a"), grid), "the array has pixels of type <U1"),
    ):
        with pytest.raises(ArgumentError, match=words):
            translator.translate(run, bad, to="cfht", bands="gr", unit="nanomaggy")
    path = survey_tools.export(store, 0, tmp_path / "fits").paths[0]
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(GaltransError, match="truncated"):
        translator.translate(run, path, to="cfht", out=tmp_path / "out")
    assert not list(tmp_path.glob("out/*.fits"))


def test_a_store_is_translated_into_a_store(sky, run, tmp_path):
    store = survey_tools.open_store(sky / "sdss.zarr")
    made = translator.translate(run, store, out=tmp_path / "made.zarr", seeing=0.7 * u.arcsec)
    assert made.synthetic
    assert made[0]["r"].shape == (136, 136)
    with pytest.raises(ArgumentError, match="give `out`"):
        translator.translate(run, store)
    with pytest.raises(ArgumentError, match="at: it is for FITS files"):
        translator.translate(run, store, out=tmp_path / "other.zarr", at=(10, 1))


def test_a_recipe_is_trained_used_and_evaluated(sky, tmp_path):
    pairs = survey_tools.crossmatch(sky / "sdss.zarr", sky / "cfht.zarr", test_size=4)
    told = []
    made = translator.train(
        sky / "sdss.zarr", sky / "cfht.zarr", pairs, run=tmp_path / "run", recipe="psf_matched", iterations=1, width=8,
        batch_size=2, device="cpu", tell=told.append,
    )  # fmt: skip
    assert made.iteration == len(translator.RECIPES["psf_matched"].steps)
    assert any("recipe psf_matched" in line for line in told)
    again = translator.load_run(tmp_path / "run", device="cpu")
    assert again.iteration == made.iteration
    assert dict(translator.describe_run(again))["recipe"] == "psf_matched"
    store = survey_tools.open_store(sky / "sdss.zarr")
    one = translator.translate(made, store[0], to="cfht", noise=False)
    assert same_pixels(one, translator.translate(again, store[0], to="cfht", noise=False))
    assert one[0].header["GTWGHTS"] == again.checksum != ""
    with pytest.raises(RunError, match="--resume"):
        translator.train(sky / "sdss.zarr", sky / "cfht.zarr", pairs, run=tmp_path / "run", recipe="psf_matched")


def test_a_recipe_of_ones_own_needs_no_name(sky, tmp_path):
    mine = replace(translator.RECIPES["cyclegan"], title="mine")
    made = translator.train(
        sky / "sdss.zarr", sky / "cfht.zarr", run=tmp_path / "run", recipe=mine, iterations=1, width=4, batch_size=2,
        device="cpu",
    )  # fmt: skip
    store = survey_tools.open_store(sky / "sdss.zarr")
    one = translator.translate(made, store[0], to="cfht", noise=False)
    path = survey_tools.export(store, 0, tmp_path / "fits").paths[0]
    files = translator.translate(made, path, to="cfht", noise=False, out=tmp_path / "out")
    with fits.open(files.paths[0]) as written:
        assert same_pixels(one, written)
    assert translator.translate(made, store, out=tmp_path / "made.zarr").synthetic
    assert translator.load_run(tmp_path / "run", device="cpu", recipe=mine).checksum == made.checksum
    with pytest.raises(RunError, match="notebook or a script"):
        translator.load_run(tmp_path / "run", device="cpu")


def test_cluster_clients_and_addresses_are_places_of_work(sky, tmp_path, monkeypatch):
    monkeypatch.setattr(tasks, "PATIENCE", "1s")
    with pytest.raises(ConnectionError, match="no Dask scheduler answers"):
        survey_tools.regrid(sky / "cfht.zarr", sky / "sdss.zarr", tmp_path / "y.zarr", workers="tcp://127.0.0.1:9")
    with pytest.raises(ArgumentError, match="workers: 0 is not a whole number of at least 1"):
        survey_tools.regrid(sky / "cfht.zarr", sky / "sdss.zarr", tmp_path / "y.zarr", workers=0)


def test_examples_in_docstrings_run(tmp_path, monkeypatch):
    """The examples of the front door, and of whatever else has some."""
    monkeypatch.chdir(tmp_path)
    root, tried = Path(survey_tools.__file__).parents[1], {}
    for package in ("survey_tools", "translator"):
        for path in sorted((root / package).rglob("*.py")):
            if ">>> " in path.read_text():
                module = importlib.import_module(".".join(path.relative_to(root).with_suffix("").parts))
                result = doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
                assert result.failed == 0, module.__name__
                tried[module.__name__] = result.attempted
    assert {"survey_tools.api", "translator.api"} <= tried.keys()


def test_grids_of_other_libraries_are_refused(run):
    class Other:
        pass

    with pytest.raises(ArgumentError, match="image"):
        translator.translate(run, (np.zeros((5, 64, 64)), Other()), to="cfht", unit="nanomaggy")
    grid = WCS({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"})
    with pytest.raises(ArgumentError, match="an NDData does not say its band"):
        translator.translate(run, NDData(np.zeros((64, 64)), wcs=grid, unit=u.nmgy), to="cfht")
