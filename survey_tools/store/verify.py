"""Check whether a store is still as it was when it was finished: files, checksums, pixels, columns and manifest."""

from functools import partial
from pathlib import Path

import numpy as np

from survey_tools.files import SUMS, checksum, missing_or_more, read_sums
from survey_tools.store.manifest import DONE, FAILED, OUTSIDE
from survey_tools.store.place import place_of
from survey_tools.store.zarr_store import Store, open_store
from survey_tools.tasks import Engine


def verify(path, engine: Engine | None = None) -> list[str]:
    """Check a store.

    Every file is read and compared with its checksum. Then every chunk is decoded and compared with its columns and its
    manifest: NaN pixels must be masked and counted, and every object that is done must have pixels.

    Parameters
    ----------
    path : str, Path or StoreUrl
        The store, or its address.
    engine : Engine, optional
        Where tasks run; one thread of this process by default.

    Returns
    -------
    list of str
        One line for each fault; empty if the store is sound.

    Raises
    ------
    StoreError
        The store does not exist, or has no checksums.
    """
    path, engine = place_of(path), engine or Engine()
    if not (path / SUMS).exists():
        open_store(path)  # raises an error that explains what is wrong
    sums = read_sums(path)
    here = isinstance(path, Path)  # an address has no list of what is there
    wrong = missing_or_more(path, sums) if here else []
    there = [(name, digits) for name, digits in sums.items() if not here or (path / name).is_file()]
    wrong += [line for line in engine.run(partial(_compare, path), there, "checksums", "file") if line]
    if wrong:
        return wrong
    store = open_store(path, compare=False)  # checksums are compared above
    manifest = store.manifest()
    if manifest["object_id"].tolist() != store.column("object_id").tolist():
        return [f"the manifest has {len(manifest)} rows, not those of the {len(store)} objects in their order"]
    unknown = set(manifest["status"].tolist()) - {DONE, OUTSIDE, FAILED}
    wrong += [f"the manifest has the status {status!r}" for status in sorted(unknown)]
    status = manifest["status"]
    items = ((rows, status[rows].tolist(), store.column("coverage", rows)) for rows in store.chunks())
    lines = engine.run(partial(_look, store), items, "pixels", "chunk", count=len(store.chunks()))
    return wrong + [line for found in lines for line in found]


def _compare(path: Path, item: tuple[str, str]) -> str:
    """Return what is wrong with one file; "" if nothing is."""
    name, digits = item
    try:
        found = checksum(path / name)
    except FileNotFoundError:
        return f"{name} is missing"
    except OSError as error:
        return f"{name} cannot be read: {error.strerror}"
    return "" if found == digits else f"{name} has changed: its SHA-256 is {found[:12]}… and was {digits[:12]}…"


def _look(store: Store, item: tuple[slice, list[str], np.ndarray]) -> list[str]:
    """Return what is wrong with the objects of one chunk, given their status and their coverage (object, band)."""
    rows, status, coverage = item
    images, mask, status = store.images[rows], store.mask[rows], np.asarray(status)
    data = np.isfinite(images)
    share = data.mean(axis=(2, 3))
    faults = {
        "its pixels are not as many as the column coverage says": ~np.isclose(share, coverage, atol=1e-6).all(axis=1),
        "missing pixels are not masked": (~data & ~mask).any(axis=(1, 2, 3)),
        "done by the manifest, but a band has no pixel": (status == DONE) & (share == 0).any(axis=1),
        "outside by the manifest, but it has pixels": (status == OUTSIDE) & (share > 0).any(axis=1),
    }
    wrong = [(int(at), line) for line, there in faults.items() for at in np.flatnonzero(there)]
    return [f"row {rows.start + at}: {line}" for at, line in sorted(wrong, key=lambda each: each[0])]
