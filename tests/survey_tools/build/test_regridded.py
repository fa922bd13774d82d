import hashlib
import json
import signal
import subprocess
import sys

import numpy as np
import pytest
import xarray
from numpy.testing import assert_allclose, assert_array_equal

from survey_tools import Store, open_store
from survey_tools.build.regridded import regrid_store
from survey_tools.errors import StoreError
from survey_tools.images.cutout import sky_sigma
from survey_tools.images.regrid import regrid
from survey_tools.images.sky_wcs import rescaled_wcs

COUNT, MISSING, SATURATED = 9, 4, 6
RA, DEC = (np.arange(COUNT) * 0.1 - 0.3) % 360, 52.7 + np.arange(COUNT) * 0.01
SMALL_CHUNKS = 64 * 64 * 4 * 2 * 2  # two objects of two bands in a chunk of 64 × 64 pixels, one of 136 × 136


@pytest.fixture(scope="module")
def stores(tmp_path_factory, make_store):
    """CFHTLS in two bands, with a row that has no image and one with saturated pixels; and an SDSS store."""
    folder = tmp_path_factory.mktemp("stores")
    facts = {"bands": "gr", "missing": [MISSING], "saturated": [SATURATED], "frame": True}
    make_store(folder / "y.zarr", "cfht", RA, DEC, chunk_bytes=SMALL_CHUNKS, **facts)
    make_store(folder / "x.zarr", "sdss", RA[:2], DEC[:2], bands="r")
    return folder / "y.zarr", folder / "x.zarr"


@pytest.fixture(scope="module")
def regridded(stores, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "y64.zarr"
    return regrid_store(*stores, out, workers=2, chunk_bytes=SMALL_CHUNKS)


def files(store) -> dict[str, str]:
    found = [path for path in store.rglob("*") if path.is_file()]
    return {str(path.relative_to(store)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def test_the_grid_is_that_of_the_other_store_and_the_rows_are_the_same(stores, regridded):
    y = open_store(stores[0])
    assert (regridded.size, regridded.pixel_scale, regridded.bands) == (64, 0.396, ("g", "r"))
    assert regridded.survey == y.survey
    assert regridded.rows == y.rows
    assert len(regridded.chunks()) == 5
    assert regridded.settings["source"] == {"size": 136, "pixel_scale": 0.186, "settings": y.settings}


def flux(image, pixel_scale: float) -> float:
    """Within 4.5 arcsec of the middle."""
    row, col = np.indices(image.shape) - (len(image) - 1) / 2
    return image[np.hypot(row, col) * pixel_scale < 4.5].sum()


@pytest.mark.parametrize("row", [row for row in range(COUNT) if row != MISSING])
def test_each_image_keeps_its_flux_centre_and_orientation(stores, regridded, row):
    y = open_store(stores[0])
    before, after = y.wcs(row), regridded.wcs(row)
    assert before.pixel_to_world(67.5, 67.5).separation(after.pixel_to_world(31.5, 31.5)).arcsec < 1e-6
    directions = [
        wcs.pixel_scale_matrix / np.sqrt(abs(np.linalg.det(wcs.pixel_scale_matrix))) for wcs in (before, after)
    ]
    assert_allclose(directions[1], directions[0], atol=1e-4)
    for band in range(2):
        fluxes = [flux(store.images[row, band], store.pixel_scale) for store in (y, regridded)]
        assert_allclose(fluxes, 50, rtol=0.04)  # of which noise 0.012


def test_images_are_those_of_regrid(stores, regridded):
    y = open_store(stores[0])
    target = rescaled_wcs(y.wcs(2), (136, 136), 0.396, 64)
    assert_array_equal(regridded.images[2], regrid(y.images[2], y.wcs(2), target, 64))


def test_what_does_not_change_is_carried_over(stores, regridded):
    y = open_store(stores[0])
    names = [
        "object_id",
        "ra",
        "dec",
        "redshift",
        "run",
        "rerun",
        "camcol",
        "field",
        "psf_fwhm",
        "psf_source",
        "gain",
        "zero_point",
        "source",
    ]
    for name in names:
        assert_array_equal(regridded.column(name), y.column(name))
    assert (regridded.column("gain") == 2000).all()
    assert (regridded.column("psf_source") == "header").all()
    assert_array_equal(regridded.manifest().as_array(), y.manifest().as_array())


def test_noise_and_coverage_are_measured_anew(regridded):
    """Bilinear noise per 0.396" pixel: area ratio 4.53 × the noise of a pixel × the mean of the weights' norm, 2/3."""
    measured = regridded.column("sky_sigma")
    assert measured[2, 0] == np.float32(sky_sigma(regridded.images[2, 0], regridded.mask[2, 0]))
    present = np.arange(COUNT) != MISSING
    assert_allclose(np.median(measured[present]), 0.01 * (0.396 / 0.186) ** 2 * 2 / 3, rtol=0.1)
    assert_array_equal(regridded.column("coverage"), np.where(present, 1, 0)[:, None] * np.ones(2))
    assert_array_equal(regridded.usable, present)


def test_pixels_that_a_saturated_one_contributes_to_are_flagged(stores, regridded):
    y = open_store(stores[0])
    flags = y.mask[SATURATED].astype(float)
    touched = regrid(flags, y.wcs(SATURATED), regridded.wcs(SATURATED), 64) > 1e-6
    assert_array_equal(regridded.mask[SATURATED], touched)
    assert 1 <= touched[0].sum() <= 4
    assert_array_equal(regridded.column("saturated")[SATURATED], [touched[0].sum(), 0])
    assert np.isfinite(regridded.images[SATURATED]).all()
    assert regridded.column("saturated").sum() == touched.sum()


def test_a_row_without_an_image_stays_without(regridded):
    assert np.isnan(regridded.images[MISSING]).all()
    assert regridded.mask[MISSING].all()
    assert np.isnan(regridded.column("sky_sigma")[MISSING]).all()
    with pytest.raises(StoreError, match=f"row {MISSING} has no image"):
        regridded.wcs(MISSING)


def test_xarray_opens_it(regridded):
    with xarray.open_zarr(regridded.path) as data:
        assert dict(data.sizes) == {"object": COUNT, "band": 2, "row": 64, "col": 64, "axis": 2, "pixel_axis": 2}


@pytest.mark.parametrize("workers", [1, 4])
def test_the_number_of_workers_changes_no_byte(stores, regridded, tmp_path, workers):
    again = regrid_store(*stores, tmp_path / "y64.zarr", workers=workers, chunk_bytes=SMALL_CHUNKS)
    assert files(again.path) == files(regridded.path)
    assert [path.name for path in tmp_path.iterdir()] == ["y64.zarr"]


KILLED = """
import os, signal, sys
from survey_tools.build.regridded import regrid_store
from survey_tools.tasks import Engine
calls = []
class Dying(Engine):
    def run(self, function, items, *words):
        def task(item):
            calls.append(1)
            if len(calls) == {after}:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(item)
        return super().run(task, items, *words)
regrid_store(*sys.argv[1:4], engine=Dying(), overwrite={overwrite}, chunk_bytes={chunk})
"""


def run_killed(stores, out, after: int, overwrite: bool = False) -> None:
    script = KILLED.format(chunk=SMALL_CHUNKS, after=after, overwrite=overwrite)
    ended = subprocess.run(
        [sys.executable, "-c", script, *map(str, stores), str(out)], capture_output=True, check=False
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr


def written(store) -> dict[str, int]:
    """When each file of images was written."""
    return {str(path.relative_to(store)): path.stat().st_mtime_ns for path in store.glob("images/c/*/*/*/*")}


def test_a_killed_run_goes_on_to_the_same_bytes(stores, regridded, tmp_path, monkeypatch):
    out = tmp_path / "y64.zarr"
    run_killed(stores, out, after=4)
    assert not out.exists()
    with pytest.raises(StoreError, match="not finished"):
        open_store(out)
    assert len(list((tmp_path / "y64.zarr.part").glob(".blocks/0*"))) == 3  # killed in the fourth of five blocks
    write, made = Store.write, []
    monkeypatch.setattr(Store, "write", lambda store, rows, *values: made.append(rows) or write(store, rows, *values))
    assert files(regrid_store(*stores, out, chunk_bytes=SMALL_CHUNKS).path) == files(regridded.path)
    assert len(made) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["y64.zarr"]


def test_a_finished_store_is_returned_as_it_is(stores, regridded):
    before = files(regridded.path), written(regridded.path)
    assert regrid_store(*stores, regridded.path).rows == regridded.rows
    assert (files(regridded.path), written(regridded.path)) == before


def test_a_store_made_from_something_else_is_refused_and_replaced_on_demand(stores, make_store, tmp_path):
    other = make_store(tmp_path / "other.zarr", "cfht", RA[:3], DEC[:3], bands="r")
    first = regrid_store(other.path, stores[1], tmp_path / "y64.zarr")
    with pytest.raises(StoreError, match=r"y64\.zarr was made with other bands, objects; .*--overwrite"):
        regrid_store(*stores, first.path)
    assert open_store(first.path).rows == other.rows
    assert regrid_store(*stores, first.path, overwrite=True).rows == open_store(stores[0]).rows
    assert {path.name for path in tmp_path.iterdir()} == {"other.zarr", "y64.zarr"}


def test_the_old_store_stays_until_the_new_one_is_whole(stores, regridded, make_store, tmp_path):
    other = make_store(tmp_path / "other.zarr", "cfht", RA[:3], DEC[:3], bands="r")
    out = regrid_store(other.path, stores[1], tmp_path / "y64.zarr").path
    run_killed(stores, out, after=4, overwrite=True)
    assert open_store(out).rows == other.rows
    assert files(regrid_store(*stores, out, overwrite=True, chunk_bytes=SMALL_CHUNKS).path) == files(regridded.path)
    assert {path.name for path in tmp_path.iterdir()} == {"other.zarr", "y64.zarr"}


def test_an_unfinished_store_of_other_settings_is_refused(stores, make_store, tmp_path):
    run_killed(stores, tmp_path / "y64.zarr", after=2)
    other = make_store(tmp_path / "other.zarr", "cfht", RA, DEC, bands="r", seed=1)
    with pytest.raises(StoreError, match=r"y64\.zarr\.part was begun with other bands, settings"):
        regrid_store(other.path, stores[1], tmp_path / "y64.zarr")
    assert regrid_store(other.path, stores[1], tmp_path / "y64.zarr", overwrite=True).bands == ("r",)


def test_neither_store_is_written_over(stores):
    before = [files(path) for path in stores]
    for path in stores:
        with pytest.raises(StoreError, match="is one of the stores to read"):
            regrid_store(*stores, path, overwrite=True)
    assert [files(path) for path in stores] == before


def test_a_folder_that_is_no_store_is_not_replaced(stores, tmp_path):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "a.txt").write_text("dear")
    with pytest.raises(StoreError, match="letters is not a store, so it is not replaced"):
        regrid_store(*stores, tmp_path / "letters", overwrite=True)
    assert (tmp_path / "letters" / "a.txt").read_text() == "dear"


def test_a_store_of_another_schema_version_is_refused(stores, make_store, tmp_path):
    make_store(tmp_path / "old.zarr", "cfht", RA[:1], DEC[:1], bands="r")
    path = tmp_path / "old.zarr" / "zarr.json"
    description = json.loads(path.read_text())
    description["attributes"]["schema_version"] = 0
    path.write_text(json.dumps(description))
    with pytest.raises(StoreError, match="schema version 0"):
        regrid_store(tmp_path / "old.zarr", stores[1], tmp_path / "y64.zarr")
    assert not (tmp_path / "y64.zarr.part").exists()
