"""Regrid a whole store: the same objects on the pixel grid of another store, such as the 64×64 CFHTLS set."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from survey_tools.derived import Plan, derive, read_originals, remake, row_of_survey
from survey_tools.errors import StoreError
from survey_tools.gather import Chunk
from survey_tools.regrid import regrid
from survey_tools.store import Store, open_store
from survey_tools.tasks import Engine

CARRIED = (
    "psf_fwhm",
    "psf_source",
    "saturation_source",
    "gain",
    "zero_point",
    "source",
)  # what regridding does not change


def regrid_store(y_path, like_path, out, *, workers: int = 1, engine: Engine | None = None, overwrite=False) -> Store:
    """Put every image of a store on pixels of the number and scale of another store; returns the new store, open.

    Each image keeps its centre and orientation, hence no corner is lost; flux is kept (`regrid.regrid`). The rows are
    the same objects (`Store.rows`), so pair tables serve both stores. Catalogue, PSF, gain, zero point, source files
    and manifest are carried over; coverage, saturated pixels (all that a saturated one contributes to) and sky sigma
    are measured anew. A store that is there already is returned as it is if it was made from the same; one begun as
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
        make=partial(_regrid_chunk, y, like.size, like.pixel_scale),
        manifest=lambda before, _: before,
        desc="regrid",
        synthetic=y.synthetic,
    )
    return derive(plan, out, engine or Engine(workers), overwrite=overwrite)


def _regrid_chunk(y: Store, size: int, pixel_scale: float, rows: slice) -> Chunk:
    """Some rows of the store on the new grid."""
    originals = read_originals(y, rows, range(len(y.bands)))
    there = np.flatnonzero(np.isfinite(originals.crpix).all(axis=1))
    chunk = remake(
        originals, there, size, pixel_scale, lambda at, wcs, target: regrid(originals.images[at], wcs, target, size)
    )
    return replace(chunk, columns=chunk.columns | {name: y.column(name, rows) for name in CARRIED})
