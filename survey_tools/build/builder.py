"""Build a store chunk by chunk: begin it, recognise a finished one, resume an interrupted one, and finish it.

`fetch`, `ingest`, `derive` and `simulate` all build stores in this way::

    with alone(out):
        if out.exists() and not overwrite:
            return recognise(plan, out)
        with making(plan, out, overwrite=overwrite) as build:
            for rows in build.store.chunks():
                if not build.has(rows):
                    build.write(rows, chunk)
            build.collect()
            build.finish()

A store `PATH` is built as `PATH.part`, and the work that is not finished lies in `PATH.part/.work`. There, `chunks` has
one file for each chunk that is written: its columns, its rows of the manifest, and the checksums of its files. One task
makes one whole chunk. Therefore the bytes of a store do not depend on the number of tasks, nor on interruptions.
"""

import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from astropy.table import Table

from survey_tools.errors import StoreError
from survey_tools.files import EXCLUSIVE, NO_LOCKS, SUMS, checksum, locked, read_sums, whole_file
from survey_tools.store.manifest import write_manifest
from survey_tools.store.zarr_store import (
    CHUNK_BYTES,
    MANIFEST,
    Store,
    create,
    open_begun,
    open_store,
    part_of,
    row_fingerprint,
)
from survey_tools.surveys import Survey

log = logging.getLogger(__name__)

Manifest = Mapping[str, np.ndarray]  # name of a column of the manifest to its values (object,)


@dataclass(frozen=True)
class StorePlan:
    """What a store is made from. A run that resumes a store must have the same plan.

    Attributes
    ----------
    survey : Survey
        The survey of the images.
    bands : tuple of str
        Bands, in the order of the band axis.
    catalogue : Table
        One row per object, as `catalogue.read_catalogue` returns it.
    settings : Mapping
        What else the pixels depend on, in types that JSON can hold.
    size : int, optional
        Rows, and columns, of an image [pixel]; the survey's by default.
    pixel_scale : float, optional
        Pixel scale of the images [arcsec/pixel]; the survey's by default.
    synthetic : str
        Words that say that the pixels are not an observation; "" for observations.
    planes : Mapping
        Arrays that the store has beside the images, of the same shape: name to description.
    chunk_bytes : int
        Bytes that the images of a chunk may take. A resumed store keeps the chunks that it has.
    """

    survey: Survey
    bands: tuple[str, ...]
    catalogue: Table
    settings: Mapping
    size: int | None = None
    pixel_scale: float | None = None
    synthetic: str = ""
    planes: Mapping[str, str] = field(default_factory=dict)
    chunk_bytes: int = CHUNK_BYTES


@dataclass
class Chunk:
    """Some rows of a store, as `Store.write` and `Store.write_columns` take them, and of its manifest.

    Attributes
    ----------
    images : ndarray
        (object, band, row, col) float32 [nanomaggy/pixel], NaN where there is no data.
    mask : ndarray
        Whether each pixel is missing or saturated (bool, same shape).
    columns : dict
        The measured columns of the store, by name.
    manifest : dict
        Columns of the manifest, by name: status, reason, and the files, URL and HTTP status that the reason is about.
    planes : dict
        The arrays of the store beside its images, by name; each has the shape of `images`.
    """

    images: np.ndarray
    mask: np.ndarray
    columns: dict[str, np.ndarray]
    manifest: dict[str, np.ndarray]
    planes: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Build:
    """A store that is being built. It is small, so that each task can be sent a copy.

    Attributes
    ----------
    store : Store
        The store, open for writing as `PATH.part`.
    fresh : bool
        Whether this run began the store. If not, it resumes the store.
    """

    store: Store
    fresh: bool

    @property
    def work(self) -> Path:
        """Folder of the unfinished work; `finish` removes it."""
        return self.store.path / ".work"

    def has(self, rows: slice) -> bool:
        """Return whether a chunk is written.

        Parameters
        ----------
        rows : slice
            Rows of the chunk, from `Store.chunks`.

        Returns
        -------
        bool
            Whether this run, or the one that it resumes, has written the chunk.
        """
        return self._record(rows).exists()

    def write(self, rows: slice, chunk: Chunk, places: np.ndarray | None = None) -> None:
        """Write one chunk, and keep its columns, manifest and checksums for `collect` and `finish`.

        Parameters
        ----------
        rows : slice
            Rows of the chunk, from `Store.chunks`.
        chunk : Chunk
            Its objects.
        places : ndarray, optional
            (n,) places within the chunk of these objects, ascending. Other objects keep their values. All objects of
            the chunk by default.
        """
        count = rows.stop - rows.start
        if places is None or len(places) == count:
            places = np.arange(count)
            self.store.write(rows, chunk.images, chunk.mask, chunk.planes)
        else:
            images, mask = self.store.images[rows], self.store.mask[rows]
            images[places], mask[places] = chunk.images, chunk.mask
            self.store.write(rows, images, mask)
        sums = {name: checksum(self.store.path / name) for name in self.store.chunk_files(rows)}
        values = {f"column.{name}": np.asarray(value) for name, value in chunk.columns.items()}
        values |= {f"manifest.{name}": np.asarray(value) for name, value in chunk.manifest.items()}
        values |= {"sums.name": np.array(list(sums), str), "sums.sum": np.array(list(sums.values()), str)}
        values["places"] = places
        with whole_file(self._record(rows)) as temporary:  # text as arrays of fixed width, which a file can hold
            fixed = {name: value.astype(str) if value.dtype == object else value for name, value in values.items()}
            np.savez(temporary, **fixed)

    def keep_chunks_from(self, inputs: str) -> None:
        """Keep the chunks that an interrupted run has written only if that run had the same inputs.

        Parameters
        ----------
        inputs : str
            Text that describes everything that the chunks are made from and that the plan does not state.
        """
        record, chunks = self.work / "inputs.json", self.work / "chunks"
        if chunks.exists() and not (record.exists() and record.read_text() == inputs):
            shutil.rmtree(chunks)
            self.store.drop_blocks()
        with whole_file(record) as temporary:
            temporary.write_text(inputs)

    def collect(self, manifest: Callable[[slice, Manifest], Manifest] = lambda rows, made: made) -> None:
        """Write the columns and the manifest of the store, once all chunks are written.

        Parameters
        ----------
        manifest : callable, optional
            Takes some rows of the store and the manifest that the chunks made of them; returns their manifest.
        """
        write_manifest(self.store.path / MANIFEST, self._parts(manifest))

    def finish(self) -> Store:
        """Give the store its checksums and its name. Call this after `collect`.

        Returns
        -------
        Store
            The finished store, open for reading.
        """
        sums, parked = self._sums(), _parked(self.store.path)
        self.work.mkdir(exist_ok=True)  # a store without objects has no chunks
        os.rename(self.work, parked)  # a finished store holds nothing else; a run that is killed here loses no work
        store = self.store.finish(sums=sums)
        shutil.rmtree(parked)
        return store

    def drop(self) -> None:
        """Remove the store and its unfinished work."""
        shutil.rmtree(self.store.path)

    def _record(self, rows: slice) -> Path:
        """Return the file that keeps what `write` was given besides pixels."""
        return self.work / "chunks" / f"{rows.start:09d}.npz"

    @property
    def _is_copy(self) -> bool:
        """Whether the store is a copy of a finished one, some of whose objects are made anew."""
        return (self.store.path / SUMS).exists()

    def _parts(self, manifest: Callable[[slice, Manifest], Manifest]) -> Iterator[dict]:
        """Yield the manifest part by part, and write the columns of each part on the way."""
        store, names = self.store, self.store.column("object_id")
        old = store.manifest() if self._is_copy else None
        for part in store.column_parts():
            places, columns, made = self._load(part)
            if old is not None:
                columns = {name: _patch(store.column(name, part), places, new) for name, new in columns.items()}
                before = {name: old[name][part].astype(object) for name in old.colnames}
                made = before | {name: _patch(before[name], places, new) for name, new in made.items()}
            store.write_columns(columns, part)
            yield {**manifest(part, made), "object_id": names[part]}

    def _load(self, part: slice) -> tuple[np.ndarray, dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Return the places (n,) in a part of the objects that its chunks made, their columns and their manifest."""
        found: dict[str, dict[str, list]] = {"column": {}, "manifest": {}}
        places = [np.zeros(0, int)]
        for rows in self.store.chunks():
            if not part.start <= rows.start < part.stop or not self.has(rows):
                continue
            with np.load(self._record(rows)) as values:
                places.append(values["places"] + rows.start - part.start)
                for key in values:
                    kind, _, name = key.partition(".")
                    if kind in found:
                        found[kind].setdefault(name, []).append(values[key])
        columns, manifest = ({name: np.concatenate(each) for name, each in values.items()} for values in found.values())
        return np.concatenate(places), columns, manifest

    def _sums(self) -> dict[str, str]:
        """Return the checksums of the files of all chunks, by name."""
        chunks, known = self.store.chunks(), {}
        if self._is_copy:
            old = read_sums(self.store.path)
            names = [*self.store.shard_files(), *(name for rows in chunks for name in self.store.chunk_files(rows))]
            known = {name: old[name] for name in names if name in old}
        for rows in filter(self.has, chunks):
            with np.load(self._record(rows)) as values:
                known |= zip(values["sums.name"].tolist(), values["sums.sum"].tolist(), strict=True)
        return known


def recognise(plan: StorePlan, out: Path) -> Store:
    """Open a finished store, if it was made from a plan.

    Parameters
    ----------
    plan : StorePlan
        What the store should be made from.
    out : Path
        The store.

    Returns
    -------
    Store
        The store, open for reading.

    Raises
    ------
    StoreError
        The store was made from another plan, or cannot be opened.
    """
    store, survey = open_store(out), plan.survey
    positions = (plan.catalogue[name] for name in ("object_id", "ra", "dec"))
    asked = {
        "survey": survey.name,
        "bands": list(plan.bands),
        "objects": row_fingerprint(survey.name, *positions),
        "grid": [plan.size or survey.cutout_size, plan.pixel_scale or survey.pixel_scale],
    }
    there = {
        "survey": store.survey["name"],
        "bands": list(store.bands),
        "objects": store.rows,
        "grid": [store.size, store.pixel_scale],
    }
    require_same(out, asked | json.loads(json.dumps(plan.settings)), there | store.settings)
    shutil.rmtree(_parked(part_of(out)), ignore_errors=True)
    return store


def require_same(path: Path, asked: Mapping, there: Mapping) -> None:
    """Raise StoreError, and name what differs, unless a store was made from what is asked.

    Parameters
    ----------
    path : Path
        The store.
    asked : Mapping
        What the store should be made from.
    there : Mapping
        What the store was made from.
    """
    different = [key for key in {**asked, **there} if there.get(key) != asked.get(key)]
    if different:
        raise StoreError(f"{path} was made with other {', '.join(different)}; choose another name or pass --overwrite")


@contextmanager
def making(plan: StorePlan, out: Path, *, overwrite: bool = False) -> Iterator[Build]:
    """Begin or resume a store. If the store exists, the block replaces it when it ends without an error.

    Parameters
    ----------
    plan : StorePlan
        What the store is made from.
    out : Path
        Where the finished store will be. The block must finish it.
    overwrite : bool
        Whether to drop an interrupted store that was begun from another plan.

    Yields
    ------
    Build
        The store that is being built.

    Raises
    ------
    StoreError
        Something that is not a store has this name, or an interrupted store was begun from another plan.
    """
    with replacing(out) as target:
        part = part_of(target)
        if target != out and (part / SUMS).exists():
            shutil.rmtree(part)  # a copy of the old store, in which a run began to make failed objects anew
        yield begin(plan, target, overwrite=overwrite)


def begin(plan: StorePlan, path: Path, *, overwrite: bool = False) -> Build:
    """Begin a store as `PATH.part`, or resume the one that an interrupted run of the same plan has left there.

    Parameters
    ----------
    plan : StorePlan
        What the store is made from.
    path : Path
        Where the finished store will be.
    overwrite : bool
        Whether to drop an interrupted store that was begun from another plan.

    Returns
    -------
    Build
        The store that is being built.

    Raises
    ------
    StoreError
        The store exists, or an interrupted store was begun from another plan.
    """
    part = part_of(path)
    _unpark(part)
    fresh = not part.exists()
    facts = {name: getattr(plan, name) for name in ("size", "pixel_scale", "synthetic", "planes", "chunk_bytes")}
    try:
        store = create(path, plan.survey, plan.bands, plan.catalogue, plan.settings, **facts)
    except StoreError:
        if not overwrite:
            raise
        shutil.rmtree(part)
        return begin(plan, path)
    return Build(store, fresh)


@contextmanager
def mending(out: Path) -> Iterator[Build]:
    """Make some objects of a finished store anew, in a copy that replaces the store when the block ends.

    Files are shared with the copy where the file system can do that. Zarr replaces the files that it writes, so the
    original keeps its own. A copy that an interrupted run has begun to change is resumed; anything else of its name,
    such as the beginning of a store that was to replace this one, is dropped.

    Parameters
    ----------
    out : Path
        The finished store.

    Yields
    ------
    Build
        The copy. Its chunks may be written in part; the block must finish it.

    Raises
    ------
    StoreError
        The store has no checksums.
    """
    with replacing(out) as target:
        part = part_of(target)
        _unpark(part)
        sums = read_sums(out)
        if part.exists() and not ((part / SUMS).exists() and read_sums(part) == sums):
            shutil.rmtree(part)
        if not part.exists():
            copied = part.with_name(part.name + ".copy")
            shutil.rmtree(copied, ignore_errors=True)
            shutil.copytree(out, copied, copy_function=_link)
            os.rename(copied, part)
        yield Build(open_begun(part), fresh=False)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield the path under which to build the store `path`: `path` itself, or a hidden name beside an existing store.

    When the block ends without an error, the new store takes the place of the old one. The old store stays until then,
    also if the process is killed.

    Parameters
    ----------
    path : Path
        Where the finished store will be.

    Yields
    ------
    Path
        Where to build it.

    Raises
    ------
    StoreError
        Something that is not a store has this name.
    """
    new, old = _replacement(path), path.with_name(f".{path.name}.old")
    if old.exists() and not path.exists():  # killed between the two renames below
        os.rename(old, path)
    if path.exists() and not (path / "zarr.json").is_file():
        raise StoreError(f"{path} is not a store, so it is not replaced; choose another name")
    for left in (new, old):
        shutil.rmtree(left, ignore_errors=True)
    target = new if path.exists() else path
    yield target
    if target == new:
        os.rename(path, old)
        os.rename(new, path)
        shutil.rmtree(old)


def drop_unfinished(out: Path) -> None:
    """Remove what interrupted runs have left of a store; a finished store stays.

    Parameters
    ----------
    out : Path
        Where the finished store would be.
    """
    for part in (part_of(out), part_of(_replacement(out))):
        for left in (part, _parked(part)):
            shutil.rmtree(left, ignore_errors=True)


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Keep other processes from building `path` during the block. The lock of a killed process ends with it.

    Parameters
    ----------
    path : Path
        Where the finished store, or another folder, will be.

    Raises
    ------
    StoreError
        Another process is building it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_name(f".{path.name}.lock")
    with ExitStack() as held:
        try:
            held.enter_context(locked(lock, EXCLUSIVE, create=True, wait=False))
        except BlockingIOError as error:
            raise StoreError(f"another galtrans is making {path}; wait for it, or choose another name") from error
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            log.info("%s: this file system has no locks, so do not run two of them at once", path)
        # Unlinked while it is locked: a process that has opened it meanwhile notices that the name is gone.
        held.callback(lock.unlink, missing_ok=True)
        yield


def _replacement(path: Path) -> Path:
    """Return the name under which a store is built that will replace `path`."""
    return path.with_name(f".{path.name}.new")


def _parked(part: Path) -> Path:
    """Return where the unfinished work lies while a store gets its name: beside it."""
    return part.with_name(f".{part.name}.work")


def _unpark(part: Path) -> None:
    """Return the parked work to a store whose run was killed while the store got its name."""
    if _parked(part).exists():
        os.rename(_parked(part), part / ".work") if part.exists() else shutil.rmtree(_parked(part))


def _link(original: str, copy: str) -> None:
    """Share a file with a copy, or copy it where the file system cannot share."""
    try:
        os.link(original, copy)
    except OSError:
        shutil.copy2(original, copy)


def _patch(values: np.ndarray, places: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Return the values with new ones at some places."""
    values = values.astype(object) if values.dtype.kind in "UT" else np.array(values)
    values[places] = new
    return values
