"""Ingest: put images that people already have, in cubes or FITS cutouts, into a store."""

import hashlib
import json
import logging
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import numpy as np

from survey_tools.build.builder import Build, Chunk, StorePlan, alone, making, recognise
from survey_tools.errors import ImageError
from survey_tools.fits.zeros import AUTO
from survey_tools.images.cutout import sky_sigma
from survey_tools.ingestion.collection import BRIGHTEST, Collection, Form, RowsOfFiles, collect
from survey_tools.progress import Progress
from survey_tools.store.columns import empty_columns
from survey_tools.store.zarr_store import CHUNK_BYTES, Store, open_store
from survey_tools.surveys import Survey

log = logging.getLogger(__name__)

NO_POSITION = "no position"
LISTED = 10  # files that the settings name; if there are more, they name the first and the last


def ingest(
    paths: list[Path],
    survey: Survey,
    out,
    form: Form,
    *,
    positions: Path | None = None,
    columns: Mapping[str, str] | None = None,
    overwrite: bool = False,
    chunk_bytes: int = CHUNK_BYTES,
) -> Store:
    """Put the images of files into a store.

    Row i is image i, and the manifest accounts for each: an image that cannot be used is "failed", with the reason. An
    image without a position, or with gaps, is "done", and its reason says so. A band whose pixels all have one value
    has no data. An existing store is returned unchanged if it was made from the same files and settings. A store that
    was interrupted is resumed, to the same bytes.

    Parameters
    ----------
    paths : list of Path
        .npz, .npy or HDF5 files; or FITS files and folders of them.
    survey : Survey
        The survey of the images.
    out : str or Path
        Where the finished store will be.
    form : Form
        How the images are written.
    positions : Path, optional
        A catalogue whose row i is image i.
    columns : mapping, optional
        The catalogue's own names of columns, as `read_catalogue` takes them.
    overwrite : bool
        Whether to replace an existing store, once the new one is finished.
    chunk_bytes : int
        Bytes that the images of a chunk of the store may take.

    Returns
    -------
    Store
        The store, open for reading.

    Raises
    ------
    ImageError
        A file cannot be read, or does not hold images of the survey, or none of the images can be used.
    CatalogueError
        Positions are impossible, or do not belong to the images.
    StoreError
        The store, or an interrupted one, was made from something else; or another process is making it.
    """
    out = Path(out)
    collection = collect(paths, survey, form, positions, columns)
    settings = _settings(collection, form)
    facts = {"synthetic": collection.synthetic, "chunk_bytes": chunk_bytes}
    plan = StorePlan(survey, collection.bands, collection.catalogue, settings, **facts)
    with alone(out):
        if out.exists() and not overwrite:
            return recognise(plan, out)
        with making(plan, out, overwrite=overwrite) as build:
            try:
                _build(collection, build)
            except ImageError:
                if build.fresh:
                    build.drop()
                raise
    return open_store(out)


def _settings(collection: Collection, form: Form) -> dict:
    """Return what the store is made from. The digest stands for names and sizes of the files and for the whole
    catalogue.
    """
    names = [path.name for path in collection.inputs]
    digest = hashlib.sha256()
    for path in collection.inputs:
        digest.update(f"\0{path.name}\0{path.stat().st_size}".encode())
    for name in collection.catalogue.colnames:
        digest.update(f"\0{name}\0".encode() + "\0".join(map(str, collection.catalogue[name].tolist())).encode())
    return {
        "command": "galtrans ingest",
        "files": ", ".join(names) if len(names) <= LISTED else f"{len(names)} from {names[0]} to {names[-1]}",
        "inputs": digest.hexdigest(),
        "band order": "".join(form.bands),
        "key": form.key,
        "axes": form.axes,
        "zero point": "as stated, or nanomaggies" if form.zero_point is None else form.zero_point,
        **({"unit": form.unit} if form.unit else {}),
        **({"zeros": form.zeros} if form.zeros != AUTO else {}),
        "stretched": form.unstretch is not None,
    }


def _build(collection: Collection, build: Build) -> None:
    """Write chunk by chunk, and finish the store. Raise ImageError if none of the images can be used."""
    store, files = build.store, collection.inputs
    build.keep_chunks_from(json.dumps([[str(path.resolve()), path.stat().st_mtime_ns] for path in files]))
    waiting = [rows for rows in store.chunks() if not build.has(rows)]
    done = len(store) - sum(rows.stop - rows.start for rows in waiting)
    with closing(collection.parts(waiting)) as parts, Progress(len(store), "ingest", "image", done=done) as progress:
        for rows, part in zip(waiting, parts, strict=True):
            build.write(rows, _chunk(store.bands, collection.files[rows], part))
            progress.update(rows.stop - rows.start)
    build.collect()
    if not store.column("coverage").any():
        reason = store.manifest()["reason"][0]
        raise ImageError(f"none of the {len(store)} images can be used, the first of them because: {reason}")
    build.finish()


def _chunk(bands: tuple[str, ...], files: list[str], part: RowsOfFiles) -> Chunk:
    """Judge the images of one chunk, and measure their noise where it is not known."""
    flux, columns = np.where(np.isfinite(part.flux), part.flux, np.nan), part.columns
    remarks = part.remarks or [""] * len(flux)
    verdicts = [_judge(bands, flux[at], columns["crval"][at], part.reasons[at], remarks[at]) for at in range(len(flux))]
    images = flux.astype(np.float32)
    saturated = part.saturated & np.isfinite(images)
    mask = saturated | np.isnan(images)
    columns["coverage"][:] = np.isfinite(images).mean(axis=(2, 3))
    columns["saturated"][:] = saturated.sum(axis=(2, 3))
    for at, band in np.argwhere(np.isnan(columns["sky_sigma"])):
        columns["sky_sigma"][at, band] = sky_sigma(images[at, band], mask[at, band])
    nothing = empty_columns(1, len(bands))
    for at in np.flatnonzero(~np.isfinite(images).any(axis=(1, 2, 3))):
        for name, values in nothing.items():
            columns[name][at] = values[0]
    status, reason = (np.array(values, dtype=str) for values in zip(*verdicts, strict=True))
    return Chunk(images, mask, columns, {"status": status, "reason": reason, "file": np.array(files, dtype=str)})


def _judge(bands: tuple[str, ...], flux: np.ndarray, crval: np.ndarray, why: str, remark: str) -> tuple[str, str]:
    """Return status and reason of one object. Bands without data in its flux (band, row, col) become NaN.

    `why` says why the object cannot be used, or is "". A `remark` on its pixels is added to the reason.
    """
    faults = {band: _fault(image) for band, image in zip(bands, flux, strict=True)}
    for image, fault in zip(flux, faults.values(), strict=True):
        if fault:
            image[:] = np.nan
    faulty = {band: fault for band, fault in faults.items() if fault}
    if why or faulty:
        same = len(faulty) == len(bands) and len(set(faulty.values())) == 1
        return "failed", why or (faults[bands[0]] if same else "; ".join(f"{b}: {f}" for b, f in faulty.items()))
    gaps = {band: np.isnan(image).mean() for band, image in zip(bands, flux, strict=True)}
    remarks = [f"{band}: {100 * gap:.1f} % of pixels without data" for band, gap in gaps.items() if gap]
    remarks += [remark] if remark else []
    return "done", "; ".join(remarks + [NO_POSITION] * (not np.isfinite(crval).all()))


def _fault(image: np.ndarray) -> str:
    """Return why the pixels (row, col) [nanomaggy] of one band cannot be an image of the sky; "" if they can."""
    values = image[np.isfinite(image)]
    if not len(values):
        return "no pixel has data"
    if values.min() == values.max():
        return f"every pixel is {values[0]:g}"
    if abs(values).max() > BRIGHTEST:
        return f"a pixel of {values[np.argmax(abs(values))]:.4g} nanomaggies; check --unit and --zero-point"
    return ""
