"""Regrid a whole store: the same objects on the pixel grid of another store, such as the 64×64 CFHTLS set."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from astropy.wcs import WCS

from survey_tools.columns import empty_columns
from survey_tools.cutout import resample_flags, sky_sigma
from survey_tools.derived import Plan, derive, row_of_survey
from survey_tools.errors import StoreError
from survey_tools.gather import Chunk
from survey_tools.regrid import regrid
from survey_tools.store import Store, open_store
from survey_tools.tan import rescaled_wcs, tan_terms, tan_wcs
from survey_tools.tasks import Engine

CARRIED = ("psf_fwhm", "zero_point", "source")  # what regridding does not change


@dataclass(frozen=True)
class Grid:
    """Rows, and columns, of an image and its pixel scale [arcsec/pixel]."""

    size: int
    pixel_scale: float


def regrid_store(y_path, like_path, out, *, workers: int = 1, engine: Engine | None = None, overwrite=False) -> Store:
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
        workers: Parallel tasks on this machine.
        engine: Where else tasks run.
        overwrite: Replace a store that is there, once the new one is finished.

    Raises:
        StoreError: A store cannot be opened; or `out` is one of the two, was made from something else, is no store,
            or is being made by another process.
    """
    y, like, out = open_store(y_path), open_store(like_path), Path(out)
    if out.resolve() in (y.path.resolve(), like.path.resolve()):
        raise StoreError(f"{out} is one of the stores to read; choose another name for the regridded one")
    manifest = y.manifest()
    plan = Plan(
        source=y,
        survey=row_of_survey(y),
        bands=y.bands,
        size=like.size,
        pixel_scale=like.pixel_scale,
        settings={
            "command": "galtrans regrid",
            "source": {"size": y.size, "pixel_scale": y.pixel_scale, "settings": y.settings},
        },
        make=partial(_regrid_chunk, y, Grid(like.size, like.pixel_scale)),
        manifest=lambda rows, _: {name: manifest[name][rows] for name in manifest.colnames},
        desc="regrid",
        synthetic=y.synthetic,
    )
    return derive(plan, out, engine or Engine(workers), overwrite=overwrite)


def _regrid_chunk(y: Store, grid: Grid, rows: slice) -> Chunk:
    """Some rows of the store on the grid."""
    images, mask = y.images[rows], y.mask[rows]
    regridded, columns = _empty(len(images), len(y.bands), grid.size)
    masked = np.ones(regridded.shape, bool)
    terms = [y.column(name, rows) for name in ("crval", "crpix", "cd")]
    for at in np.flatnonzero(np.isfinite(terms[1]).all(axis=1)):
        crval, *others = (values[at] for values in terms)
        known = bool(np.isfinite(crval).all())  # an ingested image may lack a position; its grid serves anywhere
        wcs = tan_wcs(crval if known else (0.0, 0.0), *others)
        target = rescaled_wcs(wcs, (y.size, y.size), grid.pixel_scale, grid.size)
        regridded[at] = regrid(images[at], wcs, target, grid.size)
        masked[at] = np.isnan(regridded[at]) | touched(images[at], mask[at], wcs, target, grid.size)
        columns["crval"][at], columns["crpix"][at], columns["cd"][at] = tan_terms(target)
        columns["crval"][at] += 0.0 if known else np.nan
        columns["sky_sigma"][at] = [sky_sigma(*band) for band in zip(regridded[at], masked[at], strict=True)]
    columns["coverage"][:] = np.isfinite(regridded).mean(axis=(2, 3))
    columns["saturated"][:] = (masked & np.isfinite(regridded)).sum(axis=(2, 3))
    return Chunk(regridded, masked, columns | {name: y.column(name, rows) for name in CARRIED}, {})


def _empty(count: int, bands: int, size: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Images and columns of `count` objects without a pixel."""
    return np.full((count, bands, size, size), np.nan, np.float32), empty_columns(count, bands)


def touched(images: np.ndarray, mask: np.ndarray, wcs: WCS, target: WCS, size: int) -> np.ndarray:
    """Which pixels (band, size, size) of the target a saturated pixel of images and mask (band, row, col) touches."""
    flags = mask & np.isfinite(images)
    none = np.zeros((size, size), bool)
    return np.stack([resample_flags(band, wcs, target, size) if band.any() else none for band in flags])
