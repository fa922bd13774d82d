"""Regrid a whole store: the same objects on the pixel grid of another store, such as the 64×64 CFHTLS set."""

import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from astropy.table import Table
from astropy.wcs import WCS

from survey_tools.atomic import whole_file
from survey_tools.columns import CATALOGUE, FRAME, empty_columns
from survey_tools.cutout import resample_flags, sky_sigma
from survey_tools.errors import StoreError
from survey_tools.regrid import regrid
from survey_tools.replacing import alone, replacing
from survey_tools.store import Store, create, open_store
from survey_tools.surveys import Survey
from survey_tools.tan import rescaled_wcs, tan_terms, tan_wcs
from survey_tools.tasks import run

CARRIED = ("psf_fwhm", "zero_point", "source")  # what regridding does not change


@dataclass(frozen=True)
class Grid:
    """Rows, and columns, of an image and its pixel scale [arcsec/pixel]."""

    size: int
    pixel_scale: float


def regrid_store(y_path, like_path, out, *, workers: int = 1, overwrite: bool = False) -> Store:
    """Put every image of a store on pixels of the number and scale of another store; returns the new store, open.

    Each image keeps its centre and orientation, hence no corner is lost; flux is kept (`regrid.regrid`). The rows are
    the same objects (`Store.rows`), so pair tables serve both stores. Catalogue, PSF, zero point, source files and
    manifest are carried over; coverage, saturated pixels (all that a saturated one contributes to) and sky sigma are
    measured anew. A store that is there already is returned as it is if it was made from the same; one begun as
    `OUT.part` is gone on with.

    Args:
        y_path: Store to regrid.
        like_path: Store whose grid to take.
        out: Where the new store will be.
        workers: Parallel tasks.
        overwrite: Replace a store that is there, once the new one is finished.

    Raises:
        StoreError: A store cannot be opened; or `out` is one of the two, was made from something else, is no store,
            or is being made by another process.
    """
    y, like, out = open_store(y_path), open_store(like_path), Path(out)
    if out.resolve() in (y.path.resolve(), like.path.resolve()):
        raise StoreError(f"{out} is one of the stores to read; choose another name for the regridded one")
    grid = Grid(like.size, like.pixel_scale)
    settings = {
        "command": "galtrans regrid",
        "source": {"size": y.size, "pixel_scale": y.pixel_scale, "settings": y.settings},
    }
    with alone(out):
        if out.exists() and not overwrite:
            return _finished(out, y, grid, settings)
        if out.exists() and not (out / "zarr.json").exists():
            raise StoreError(f"{out} is not a store, so it is not replaced; choose another name")
        with replacing(out) as target:
            _build(y, grid, _begin(target, y, grid, settings, overwrite), workers)
    return open_store(out)


def _finished(out: Path, y: Store, grid: Grid, settings: dict) -> Store:
    """The store that is there; StoreError where it was made from something else."""
    store = open_store(out)
    asked = {"rows": y.rows, "bands": y.bands, "grid": grid, "settings": settings}
    there = {"rows": store.rows, "bands": store.bands, "grid": Grid(store.size, store.pixel_scale)}
    there["settings"] = store.settings
    different = [key for key in asked if asked[key] != there[key]]
    if different:
        raise StoreError(f"{out} was made with other {', '.join(different)}; choose another name or pass --overwrite")
    return store


def _begin(target: Path, y: Store, grid: Grid, settings: dict, overwrite: bool) -> Store:
    """The store as `TARGET.part`, begun or gone on with."""
    table = y.table()
    names = [column.name for column in CATALOGUE + FRAME if column.name in table.colnames]
    catalogue = Table({name: y.column(name) for name in names})
    facts = {key: tuple(value) if isinstance(value, list) else value for key, value in y.survey.items()}
    begin = partial(
        create, target, Survey(**facts), y.bands, catalogue, settings, size=grid.size, pixel_scale=grid.pixel_scale
    )
    try:
        return begin()
    except StoreError:
        if not overwrite:
            raise
        shutil.rmtree(target.with_name(target.name + ".part"))  # begun with other settings
        return begin()


def _build(y: Store, grid: Grid, store: Store, workers: int) -> None:
    """Regrid chunk by chunk and finish the store. What is done lies in `.work`, which is gone when the store is."""
    work = store.path / ".work"
    terms = {name: y.column(name) for name in ("crval", "crpix", "cd")}
    task = partial(_regrid_chunk, y, terms, grid, store, work)
    chunks = run(task, store.chunks(), workers, desc="regrid", unit="chunk")
    store.write_columns({name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]})
    store.write_columns({name: y.column(name) for name in CARRIED})
    shutil.rmtree(work)
    store.finish(y.manifest())


def _regrid_chunk(y: Store, terms: dict, grid: Grid, store: Store, work: Path, rows: slice) -> dict[str, np.ndarray]:
    """Write one chunk of the store, unless it is written; returns its measured columns."""
    path = work / f"{rows.start:09d}.npz"
    if not path.exists():
        images, mask = y.images[rows], y.mask[rows]
        regridded, columns = _empty(len(images), len(y.bands), grid.size)
        masked = np.ones(regridded.shape, bool)
        for at in np.flatnonzero(np.isfinite(terms["crpix"][rows]).all(axis=1)):
            crval, *others = (values[rows][at] for values in terms.values())
            known = bool(np.isfinite(crval).all())  # an ingested image may lack a position; its grid serves anywhere
            wcs = tan_wcs(crval if known else (0.0, 0.0), *others)
            target = rescaled_wcs(wcs, (y.size, y.size), grid.pixel_scale, grid.size)
            regridded[at] = regrid(images[at], wcs, target, grid.size)
            saturated = _saturated(images[at], mask[at], wcs, target, grid.size)
            masked[at] = np.isnan(regridded[at]) | saturated
            columns["crval"][at], columns["crpix"][at], columns["cd"][at] = tan_terms(target)
            columns["crval"][at] += 0.0 if known else np.nan
            columns["sky_sigma"][at] = [sky_sigma(*band) for band in zip(regridded[at], masked[at], strict=True)]
        columns["coverage"][:] = np.isfinite(regridded).mean(axis=(2, 3))
        columns["saturated"][:] = (masked & np.isfinite(regridded)).sum(axis=(2, 3))
        store.write(rows, regridded, masked)
        with whole_file(path) as temporary:
            np.savez(temporary, **columns)
    with np.load(path) as columns:
        return dict(columns)


def _empty(count: int, bands: int, size: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Images and measured columns of `count` objects without a pixel."""
    measured = ("crval", "crpix", "cd", "coverage", "saturated", "sky_sigma")  # the others are the original's
    columns = {name: values for name, values in empty_columns(count, bands).items() if name in measured}
    return np.full((count, bands, size, size), np.nan, np.float32), columns


def _saturated(images: np.ndarray, mask: np.ndarray, wcs: WCS, target: WCS, size: int) -> np.ndarray:
    """Which pixels (band, size, size) of the target a saturated pixel of images and mask (band, row, col) touches."""
    flags = mask & np.isfinite(images)
    none = np.zeros((size, size), bool)
    return np.stack([resample_flags(band, wcs, target, size) if band.any() else none for band in flags])
