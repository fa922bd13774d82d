"""Images that people already have, cubes or FITS cutouts, as a store: read in order, checked, written in chunks."""

import hashlib
import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np

from survey_tools.build.builder import alone, begun, replacing, require_same
from survey_tools.errors import ImageError
from survey_tools.files import whole_file
from survey_tools.fits.zeros import AUTO
from survey_tools.images.cutout import sky_sigma
from survey_tools.ingest.collection import BRIGHTEST, Collection, Form, RowsOfFiles, collect
from survey_tools.progress import Progress
from survey_tools.store.columns import empty_columns
from survey_tools.store.manifest import write_manifest
from survey_tools.store.zarr_store import MANIFEST, Store, create, open_store, row_fingerprint
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

    Raises:
        ImageError: Where a file cannot be read, or does not hold images of the survey, or none of them can be used.
        CatalogueError: Where positions are impossible or are not those of the images.
        StoreError: Where `out` or `OUT.part` was made from something else, or another process is making it.
    """
    out = Path(out)
    collection = collect(paths, survey, form, positions, columns)
    settings = _settings(collection, form)
    with alone(out):
        if out.exists() and not overwrite:
            return _finished(out, survey, collection, settings)
        with replacing(out) as target:
            part = target.with_name(target.name + ".part")
            fresh = not part.exists()
            store = _begin(target, survey, collection, settings, overwrite)
            try:
                _build(collection, store)
            except ImageError:
                if fresh:
                    shutil.rmtree(part)
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


def _finished(out: Path, survey: Survey, collection: Collection, settings: dict) -> Store:
    """The store that is there; StoreError where it was made from something else."""
    store, catalogue = open_store(out), collection.catalogue
    asked = {"survey": survey.name, "bands": collection.bands, **settings}
    asked["objects"] = row_fingerprint(survey.name, catalogue["object_id"], catalogue["ra"], catalogue["dec"])
    there = {"survey": store.survey["name"], "bands": store.bands, "objects": store.rows, **store.settings}
    require_same(out, asked, there)
    return store


def _begin(target: Path, survey: Survey, collection: Collection, settings: dict, overwrite: bool) -> Store:
    """The store as `TARGET.part`, begun or gone on with."""
    facts = {"synthetic": collection.synthetic}
    begin = partial(create, target, survey, collection.bands, collection.catalogue, settings, **facts)
    return begun(begin, target, overwrite=overwrite)


def _build(collection: Collection, store: Store) -> None:
    """Write chunk by chunk and finish the store. What is done lies in `.work`, which is gone when the store is."""
    work = store.path / ".work"
    _forget_chunks_of_other_files(work, collection.inputs)
    chunks = store.chunks()
    waiting = [rows for rows in chunks if not _path(work, rows).exists()]
    done = len(store) - sum(rows.stop - rows.start for rows in waiting)
    with closing(collection.parts(waiting)) as parts, Progress(len(store), "ingest", "image", done=done) as progress:
        for rows, part in zip(waiting, parts, strict=True):
            _write(store, work, rows, part)
            progress.update(rows.stop - rows.start)
    write_manifest(store.path / MANIFEST, _finished_parts(collection, store, work))
    if not store.column("coverage").any():
        reason = store.manifest()["reason"][0]
        raise ImageError(f"none of the {len(store)} images can be used, the first of them because: {reason}")
    shutil.rmtree(work)
    store.finish()


def _finished_parts(collection: Collection, store: Store, work: Path) -> Iterator[dict]:
    """The manifest, part by part; on the way the columns are written."""
    names = collection.catalogue["object_id"]
    for part in store.column_parts():
        chunks = [rows for rows in store.chunks() if part.start <= rows.start < part.stop]
        columns: dict[str, list] = {}
        for rows in chunks:
            with np.load(_path(work, rows)) as values:
                for name in values.files:
                    columns.setdefault(name, []).append(values[name])
        joined = {name: np.concatenate(values) for name, values in columns.items()}
        manifest = {name: joined.pop(name) for name in ("status", "reason")}
        store.write_columns(joined, part)
        yield manifest | {"object_id": names[part], "file": collection.files[part]}


def _path(work: Path, rows: slice) -> Path:
    return work / f"{rows.start:09d}.npz"


def _forget_chunks_of_other_files(work: Path, inputs: list[Path]) -> None:
    """Write every chunk anew where a file has been changed since the run that was interrupted."""
    record = work / "files.json"
    said = json.dumps([[str(path.resolve()), path.stat().st_mtime_ns] for path in inputs])
    if work.exists() and not (record.exists() and record.read_text() == said):
        shutil.rmtree(work)
    with whole_file(record) as temporary:
        temporary.write_text(said)


def _write(store: Store, work: Path, rows: slice, part: RowsOfFiles) -> None:
    """Judge and write one chunk of the store, and keep its columns and its part of the manifest."""
    flux, columns = np.where(np.isfinite(part.flux), part.flux, np.nan), part.columns
    remarks = part.remarks or [""] * len(flux)
    verdicts = [
        _judge(store.bands, flux[at], columns["crval"][at], part.reasons[at], remarks[at]) for at in range(len(flux))
    ]
    images = flux.astype(np.float32)
    saturated = part.saturated & np.isfinite(images)
    mask = saturated | np.isnan(images)
    columns["coverage"][:] = np.isfinite(images).mean(axis=(2, 3))
    columns["saturated"][:] = saturated.sum(axis=(2, 3))
    for at, band in np.argwhere(np.isnan(columns["sky_sigma"])):
        columns["sky_sigma"][at, band] = sky_sigma(images[at, band], mask[at, band])
    nothing = empty_columns(1, len(store.bands))
    for at in np.flatnonzero(~np.isfinite(images).any(axis=(1, 2, 3))):
        for name, values in nothing.items():
            columns[name][at] = values[0]
    store.write(rows, images, mask)
    status, reason = (np.array(values, dtype=str) for values in zip(*verdicts, strict=True))
    kept = {name: values.astype(str) if values.dtype == object else values for name, values in columns.items()}
    with whole_file(_path(work, rows)) as temporary:
        np.savez(temporary, status=status, reason=reason, **kept)


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
