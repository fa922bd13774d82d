"""The one builder of stores: begun, recognised, resumed and finished, chunk by chunk, by one process at a time."""

import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numpy as np
from astropy.table import Table

from survey_tools.build.gather import Chunk, Work, gather
from survey_tools.errors import ArchiveError, StoreError
from survey_tools.files import EXCLUSIVE, NO_LOCKS, SUMS, checksum, locked, read_sums, whole_file
from survey_tools.store.manifest import write_manifest
from survey_tools.store.zarr_store import MANIFEST, Store, open_begun

log = logging.getLogger(__name__)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Where to build the store `path`: itself, or, where it exists, a name beside it that takes its place at the end.

    The old store stays until the new one is whole, also when the process is killed. StoreError where something else
    than a store is there.
    """
    new, old = path.with_name(f".{path.name}.new"), path.with_name(f".{path.name}.old")
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


def require_same(path: Path, asked: Mapping, there: Mapping) -> None:
    """StoreError, naming what differs, unless the store that is there was made from what is asked."""
    different = [key for key, value in asked.items() if there.get(key) != value]
    if different:
        raise StoreError(f"{path} was made with other {', '.join(different)}; choose another name or pass --overwrite")


def begun(begin: Callable[[], Store], target: Path, *, overwrite: bool) -> Store:
    """The store as `TARGET.part`, begun or gone on with; one begun with other settings gives way to `overwrite`."""
    try:
        return begin()
    except StoreError:
        if not overwrite:
            raise
        shutil.rmtree(target.with_name(target.name + ".part"))
        return begin()


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Keep other processes from building `path`; StoreError where one is at it.

    The lock of a process that is killed ends with it.
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
        held.callback(lock.unlink, missing_ok=True)  # while it is locked: who opened it meanwhile sees that it is gone
        yield


@contextmanager
def tidied(folder: Path) -> Iterator[None]:
    """Drop a folder after the block, or, where that has failed, only if nothing is in it to go on from."""
    try:
        yield
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        with suppress(OSError):
            folder.rmdir()


def copy_store(path: Path, part: Path) -> Store:
    """A copy of the store `path` to be changed, as `PART`, or the one that an interrupted run has begun to change.

    Files are shared, not copied, where the file system can: Zarr replaces a file that it writes, so the original keeps
    its own. What else is there as `PART`, such as the beginning of a store that was to replace this one, is dropped.
    StoreError where the store has no checksums.
    """
    sums = read_sums(path)
    if part.exists() and not ((part / SUMS).exists() and read_sums(part) == sums):
        shutil.rmtree(part)
    if not part.exists():
        copied = part.with_name(part.name + ".copy")
        shutil.rmtree(copied, ignore_errors=True)
        shutil.copytree(path, copied, copy_function=_link)
        os.rename(copied, part)
    return open_begun(part)


def _link(original: str, copy: str) -> None:
    try:
        os.link(original, copy)
    except OSError:
        shutil.copy2(original, copy)


def path_of(folder: Path, rows: slice) -> Path:
    """Where the columns of a chunk lie."""
    return folder / f"{rows.start:09d}.npz"


def save(folder: Path, store: Store, rows: slice, chunk: Chunk) -> None:
    """Keep columns and manifest of a chunk that is written, and the checksums of its files in the store."""
    sums = {name: checksum(store.path / name) for name in store.chunk_files(rows)}
    values = {f"column.{name}": value for name, value in chunk.columns.items()}
    values |= {f"manifest.{name}": value for name, value in chunk.manifest.items()}
    values |= {"sums.name": np.array(list(sums), str), "sums.sum": np.array(list(sums.values()), str)}
    with whole_file(path_of(folder, rows)) as temporary:  # text as arrays of fixed width, which a file can hold
        np.savez(temporary, **{n: value.astype(str) if value.dtype == object else value for n, value in values.items()})


def load(folder: Path, store: Store, part: slice, sums: dict[str, str]) -> dict[str, dict[str, np.ndarray]]:
    """The "column" and "manifest" values that were made of the chunks in one part; adds their checksums to `sums`."""
    found: dict[str, dict[str, list]] = {"column": {}, "manifest": {}, "sums": {"name": [], "sum": []}}
    for rows in store.chunks():
        if not part.start <= rows.start < part.stop or not path_of(folder, rows).exists():
            continue
        with np.load(path_of(folder, rows)) as values:
            for key in values:
                kind, _, name = key.partition(".")
                found[kind].setdefault(name, []).append(values[key])
    digits = found.pop("sums")
    sums |= zip(np.concatenate(digits["name"]).tolist(), np.concatenate(digits["sum"]).tolist(), strict=True)
    return {kind: {name: np.concatenate(each) for name, each in values.items()} for kind, values in found.items()}


def make_chunk(store: Store, folder: Path, item: tuple[slice, np.ndarray, Work]) -> None:
    """Write some objects of one chunk, unless that is done; their columns and checksums go to a file in `folder`.

    Args:
        store: That is built.
        folder: Of the columns.
        item: Rows of the chunk, the places (n,) in it of the objects, and what is needed to make them.
    """
    rows, places, work = item
    if path_of(folder, rows).exists():
        return
    chunk = gather(work)
    if len(places) == rows.stop - rows.start:
        store.write(rows, chunk.images, chunk.mask)
    else:
        images, mask = store.images[rows], store.mask[rows]
        images[places], mask[places] = chunk.images, chunk.mask
        store.write(rows, images, mask)
    save(folder, store, rows, chunk)


def finish(store: Store, rows: np.ndarray, folder: Path, before: Callable[[], None]) -> None:
    """Write the columns and the manifest of all chunks, and give the store its name.

    Args:
        store: That is built, its pixels complete.
        rows: (n,) that the chunks made; the others keep what they have.
        folder: Of the columns of the chunks.
        before: Called when the store is whole but for its name.

    Raises:
        ArchiveError: Where not one object has a pixel.
    """
    mended = len(rows) < len(store)
    kept = store.manifest() if mended else None
    sums = read_sums(store.path) if mended else {}
    known = {name: sums[name] for each in store.chunks() for name in store.chunk_files(each) if name in sums}
    write_manifest(store.path / MANIFEST, _parts(store, rows, folder, kept, known))
    if not store.column("coverage").any():
        origin, reason = store.settings.get("mirror", "the archive"), store.manifest()["reason"][0]
        raise ArchiveError(
            f"none of the {len(store)} objects could be cut from {origin}, the first of them because: {reason}"
        )
    before()
    store.finish(sums=known)


def _parts(store: Store, rows: np.ndarray, folder: Path, kept: Table | None, sums: dict) -> Iterator[dict]:
    """The manifest, part by part; on the way columns are written, and `sums` gets the checksums of what was made."""
    names = store.column("object_id")
    for part in store.column_parts():
        here = rows[slice(*np.searchsorted(rows, [part.start, part.stop]))] - part.start
        manifest = {name: kept[name][part].astype(object) for name in kept.colnames} if kept is not None else {}
        if len(here):
            made = load(folder, store, part, sums)
            columns, new = made["column"], made["manifest"]
            if kept is not None:
                columns = {name: _patch(store.column(name, part), here, columns[name]) for name in columns}
                new = {name: _patch(manifest[name], here, new[name]) for name in new}
            store.write_columns(columns, part)
            manifest |= new
        yield manifest | {"object_id": names[part]}


def _patch(values: np.ndarray, places: np.ndarray, new: np.ndarray) -> np.ndarray:
    """The values with some of them replaced."""
    values = values.astype(object) if values.dtype.kind in "UT" else np.array(values)
    values[places] = new
    return values
