"""Chunks of a store that is built: each gathered and written by one task, its columns kept on disk until all are."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from astropy.table import Table

from survey_tools.checksums import read_sums
from survey_tools.chunk_files import load, path_of, save
from survey_tools.errors import ArchiveError
from survey_tools.gather import Work, gather
from survey_tools.manifest import write_manifest
from survey_tools.store import MANIFEST, Store


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
