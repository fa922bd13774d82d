"""Make a store from another one, row for row and chunk by chunk."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from astropy.wcs import WCS

from survey_tools.build.builder import Build, Chunk, Manifest, StorePlan, alone, making, recognise
from survey_tools.errors import StoreError
from survey_tools.images.cutout import resample_flags, sky_sigma
from survey_tools.images.sky_wcs import rescaled_wcs, tan_terms, tan_wcs
from survey_tools.store.columns import empty_columns
from survey_tools.store.zarr_store import Store, open_store
from survey_tools.surveys import Survey, row_of
from survey_tools.tasks import Engine


@dataclass(frozen=True)
class Derivation:
    """How the rows of one store become those of another.

    Attributes
    ----------
    source : Store
        The store to read, open.
    plan : StorePlan
        What the new store is made from, with the catalogue of the source.
    make : callable
        Takes some rows of the new store; returns their `Chunk`. It is sent to other processes, so it must be small.
    manifest : callable
        Takes the manifest of some rows of the source, and what `make` said of them in the manifest of its chunks;
        returns their manifest in the new store.
    desc : str
        Word for the progress bar.
    """

    source: Store
    plan: StorePlan
    make: Callable[[slice], Chunk]
    manifest: Callable[[Manifest, Manifest], Manifest]
    desc: str


def derive(derivation: Derivation, out, engine: Engine, *, overwrite: bool = False) -> Store:
    """Make a store whose rows are the objects of another store.

    An existing store is returned unchanged if its plan matches. A store that was interrupted is resumed, to the same
    bytes. One task makes one whole chunk.

    Parameters
    ----------
    derivation : Derivation
        What to make.
    out : str or Path
        Where the new store will be.
    engine : Engine
        Where tasks run.
    overwrite : bool
        Whether to replace an existing store, once the new one is finished.

    Returns
    -------
    Store
        The new store, open for reading.

    Raises
    ------
    StoreError
        `out` is the source, was made from something else, is not a store, or is being made by another process.
    """
    out, source = Path(out), derivation.source
    if out.resolve() == source.path.resolve():
        raise StoreError(f"{out} is the store to read; choose another name for the one to make")
    with alone(out):
        if out.exists() and not overwrite:
            return recognise(derivation.plan, out)
        with making(derivation.plan, out, overwrite=overwrite) as build:
            engine.run(partial(_make_chunk, derivation.make, build), build.store.chunks(), derivation.desc, "chunk")
            before = source.manifest()

            def manifest(rows: slice, made: Manifest) -> Manifest:
                return derivation.manifest({name: np.asarray(before[name][rows]) for name in before.colnames}, made)

            build.collect(manifest)
            build.finish()
    return open_store(out)


def _make_chunk(make: Callable[[slice], Chunk], build: Build, rows: slice) -> None:
    """Write one chunk of the store, unless it is written."""
    if not build.has(rows):
        build.write(rows, make(rows))


@dataclass(frozen=True)
class Originals:
    """Some rows of a store.

    Attributes
    ----------
    images : ndarray
        (object, band, row, col) [nanomaggy/pixel].
    mask : ndarray
        Whether each pixel is missing or saturated (bool, same shape).
    crval, crpix, cd : ndarray
        TAN terms of each object: (object, 2) [deg], (object, 2) [pixel, from 1], (object, 2, 2) [deg/pixel].
    """

    images: np.ndarray
    mask: np.ndarray
    crval: np.ndarray
    crpix: np.ndarray
    cd: np.ndarray


def read_originals(store: Store, rows: slice, bands: tuple[int, ...]) -> Originals:
    """Read some rows of a store.

    Parameters
    ----------
    store : Store
        The store.
    rows : slice
        Its rows.
    bands : tuple of int
        Places of the wanted bands in its band axis.

    Returns
    -------
    Originals
        The rows.
    """
    images, mask = (array[rows][:, list(bands)] for array in (store.images, store.mask))
    return Originals(images, mask, *(store.column(name, rows) for name in ("crval", "crpix", "cd")))


def remake(
    originals: Originals,
    objects: np.ndarray,
    size: int,
    pixel_scale: float,
    make: Callable[[list[int], list[WCS], list[WCS]], Iterable[np.ndarray]],
    *,
    interpolated: bool = True,
) -> Chunk:
    """Make new images of some objects, and measure everything that a store keeps of them.

    The new images keep centre and orientation. A pixel is masked if it has no data, or if a saturated pixel contributes
    to it. The other objects are NaN throughout.

    Parameters
    ----------
    originals : Originals
        The rows that the new images are made of.
    objects : ndarray
        (n,) places among the rows of the objects to make.
    size : int
        Rows, and columns, of a new image [pixel].
    pixel_scale : float
        Pixel scale of the new images [arcsec/pixel].
    make : callable
        Takes the objects' places, the WCSs of their images and the WCSs of their new images; returns or yields the new
        images (band, size, size) in this order.
    interpolated : bool
        Whether only the four nearest pixels contribute to a new one. If not, all pixels that fall into it do.

    Returns
    -------
    Chunk
        The new images, with an empty manifest.
    """
    count, bands, _, side = originals.images.shape
    images, columns = np.full((count, bands, size, size), np.nan, np.float32), empty_columns(count, bands)
    mask = np.ones(images.shape, bool)
    # An ingested image may have no position; its grid is valid anywhere.
    known = np.isfinite(originals.crval).all(axis=1)
    crval = np.where(known[:, None], originals.crval, 0.0)
    places = [int(at) for at in objects]
    grids = [tan_wcs(crval[at], originals.crpix[at], originals.cd[at]) for at in places]
    targets = [rescaled_wcs(wcs, (side, side), pixel_scale, size) for wcs in grids]
    for at, wcs, target, image in zip(places, grids, targets, make(places, grids, targets), strict=True):
        images[at] = image
        touched = _touched(originals.images[at], originals.mask[at], wcs, target, size, interpolated)
        mask[at] = np.isnan(images[at]) | touched
        columns["crval"][at], columns["crpix"][at], columns["cd"][at] = tan_terms(target)
        columns["crval"][at] += 0.0 if known[at] else np.nan
        columns["sky_sigma"][at] = [sky_sigma(*band) for band in zip(images[at], mask[at], strict=True)]
    columns["coverage"][:] = np.isfinite(images).mean(axis=(2, 3))
    columns["saturated"][:] = (mask & np.isfinite(images)).sum(axis=(2, 3))
    return Chunk(images, mask, columns, {})


def _touched(images: np.ndarray, mask: np.ndarray, wcs: WCS, target: WCS, size: int, interpolated: bool) -> np.ndarray:
    """Return which pixels (band, size, size) of the target a saturated pixel of the images (band, row, col) touches."""
    flags = mask & np.isfinite(images)
    none = np.zeros((size, size), bool)
    grids = wcs, target, size
    return np.stack([resample_flags(band, *grids, interpolated=interpolated) if band.any() else none for band in flags])


def row_of_survey(store: Store) -> Survey:
    """Return the survey that a store was made with.

    Parameters
    ----------
    store : Store
        The store.

    Returns
    -------
    Survey
        The row of the survey, as the store keeps it.
    """
    return row_of(store.survey)
