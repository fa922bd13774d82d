"""Regrid a whole store: put the same objects on the pixel grid of another store, such as the 64×64 CFHTLS set."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from astropy.wcs import WCS

from survey_tools.build.builder import Chunk, StorePlan
from survey_tools.build.derived import Derivation, derive, read_originals, remake, row_of_survey
from survey_tools.errors import StoreError
from survey_tools.images.cutout import COARSER, resample
from survey_tools.images.regrid import regrid
from survey_tools.store.zarr_store import CHUNK_BYTES, Store, open_store
from survey_tools.surveys import CFHT, SDSS
from survey_tools.tasks import Engine

OF_THE_PAPER = SDSS.pixel_scale / CFHT.pixel_scale  # ratio of pixels by which the paper interpolates its CFHTLS set
TOLERANCE = 0.01  # relative, of that ratio
CARRIED = (
    "psf_fwhm",
    "psf_source",
    "saturation_source",
    "gain",
    "zero_point",
    "source",
)  # what regridding does not change


def regrid_store(
    y_path,
    like_path,
    out,
    *,
    workers: int = 1,
    engine: Engine | None = None,
    overwrite: bool = False,
    chunk_bytes: int = CHUNK_BYTES,
) -> Store:
    """Put every image of a store on pixels of the number and scale of another store.

    Each image keeps its centre and orientation, so that no corner is lost, and its flux. CFHTLS images are interpolated
    onto the pixels of SDSS as in the paper (`regrid.regrid`), and so are images onto finer or equally coarse pixels.
    Other images go onto coarser pixels so that each of these collects the light that falls into it (`cutout.resample`).

    The rows are the same objects (`Store.rows`), so that pair tables are valid for both stores. Catalogue, PSF, gain,
    zero point, source files and manifest are carried over. Coverage, saturated pixels (all to which a saturated pixel
    contributes) and sky sigma are measured anew. An existing store is returned unchanged if it was made from the same
    store and grid. A store that was interrupted is resumed, to the same bytes.

    Parameters
    ----------
    y_path : str or Path
        The store to regrid.
    like_path : str or Path
        The store whose grid to take.
    out : str or Path
        Where the new store will be.
    workers : int
        Parallel tasks on this machine.
    engine : Engine, optional
        Where else tasks run.
    overwrite : bool
        Whether to replace an existing store, once the new one is finished.
    chunk_bytes : int
        Bytes that the images of a chunk of the new store may take.

    Returns
    -------
    Store
        The new store, open for reading.

    Raises
    ------
    StoreError
        A store cannot be opened; or `out` is one of the two stores, was made from something else, is not a store, or is
        being made by another process.
    """
    y, like, out = open_store(y_path), open_store(like_path), Path(out)
    if out.resolve() in (y.path.resolve(), like.path.resolve()):
        raise StoreError(f"{out} is one of the stores to read; choose another name for the regridded one")
    interpolated = is_interpolated(like.pixel_scale / y.pixel_scale)
    settings = settings_of(y, like)
    facts = {"size": like.size, "pixel_scale": like.pixel_scale, "synthetic": y.synthetic, "chunk_bytes": chunk_bytes}
    derivation = Derivation(
        source=y,
        plan=StorePlan(row_of_survey(y), y.bands, y.input_catalogue(), settings, **facts),
        make=partial(_regrid_chunk, y, like.size, like.pixel_scale, interpolated),
        manifest=lambda before, _: before,
        desc="regrid",
    )
    return derive(derivation, out, engine or Engine(workers), overwrite=overwrite)


def is_interpolated(ratio: float) -> bool:
    """Return whether images are interpolated onto new pixels. If not, the new pixels collect the light that falls into
    them.

    Parameters
    ----------
    ratio : float
        Size of a new pixel in old pixels.

    Returns
    -------
    bool
        Whether images are interpolated.
    """
    return ratio <= COARSER or abs(ratio / OF_THE_PAPER - 1) < TOLERANCE


def settings_of(y, like) -> dict:
    """Return what a regridded store states of how it was made, from two stores, partitioned or not."""
    settings = {
        "command": "galtrans regrid",
        "source": {"size": y.size, "pixel_scale": y.pixel_scale, "settings": y.settings},
    }
    if not is_interpolated(like.pixel_scale / y.pixel_scale):
        settings["flux"] = "collected"
    return settings


def _regrid_chunk(y: Store, size: int, pixel_scale: float, interpolated: bool, rows: slice) -> Chunk:
    """Return some rows of the store on the new grid."""
    originals = read_originals(y, rows, range(len(y.bands)))
    there = np.flatnonzero(np.isfinite(originals.crpix).all(axis=1))

    def make(at: int, wcs: WCS, target: WCS) -> np.ndarray:
        if interpolated:
            return regrid(originals.images[at], wcs, target, size)
        return np.stack([resample(image, wcs, target, size) for image in originals.images[at]])

    chunk = remake(originals, there, size, pixel_scale, partial(map, make), interpolated=interpolated)
    return replace(chunk, columns=chunk.columns | {name: y.column(name, rows) for name in CARRIED})
