"""Images that people already have, cubes or FITS cutouts, as a store: read in order, checked, written in chunks."""

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
LISTED = 10  # files that the settings name; of more the first and the last


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
    """Put the images of files into a store; returns it, open.

    Row i is image i, and each is accounted for in the manifest: an image that cannot be used is "failed", with the
    reason; one without a position is "done" and says so, and so is one with gaps. A band whose pixels all have one
    value has no data. A store that is there already is returned as it is if it was made from the same; one begun as
    `OUT.part` is gone on with.

    Args:
        paths: .npz, .npy or HDF5 files; or FITS files and folders of them.
        survey: The survey's row.
        out: Where the finished store will be.
        form: How the images are written.
        positions: Catalogue whose row i is image i.
        columns: The catalogue's own names of columns, as `read_catalogue` takes them.
        overwrite: Replace a store that is there, once the new one is finished.
        chunk_bytes: Bytes that the images of a chunk of the store may take.

    Raises:
        ImageError: Where a file cannot be read, or does not hold images of the survey, or none of them can be used.
        CatalogueError: Where positions are impossible or are not those of the images.
        StoreError: Where `out` or `OUT.part` was made from something else, or another process is making it.
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
    """What the store is made from; the digest stands for names and sizes of the files and for the whole catalogue."""
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
    """Write chunk by chunk, and finish the store. ImageError where none of the images can be used."""
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
    """Status and reason of one object; bands without data in its flux (band, row, col) become NaN.

    `why` it cannot be used, or "", and a `remark` on its pixels that the reason has as well.
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
    """Why one band's pixels (row, col) [nanomaggy] cannot be an image of the sky; "" where they can."""
    values = image[np.isfinite(image)]
    if not len(values):
        return "no pixel has data"
    if values.min() == values.max():
        return f"every pixel is {values[0]:g}"
    if abs(values).max() > BRIGHTEST:
        return f"a pixel of {values[np.argmax(abs(values))]:.4g} nanomaggies; check --unit and --zero-point"
    return ""
