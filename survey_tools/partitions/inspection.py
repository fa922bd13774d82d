"""Check a partitioned store, and describe it in words: each partition is one task."""

import json
from functools import partial
from pathlib import Path

from survey_tools.errors import StoreError
from survey_tools.files import SUMS, checksum, read_sums
from survey_tools.partitions.making import IN_LINE, unfinished
from survey_tools.store.manifest import DONE, FAILED, OUTSIDE
from survey_tools.store.partitioned import Partition, PartitionedStore, open_store
from survey_tools.store.verify import verify
from survey_tools.tasks import Engine


def verify_partitions(path, engine: Engine | None = None) -> list[str]:
    """Check a partitioned store: its own files, and every partition as `verify` checks a store.

    Parameters
    ----------
    path : path-like
        The folder.
    engine : Engine, optional
        Where partitions are checked; one thread of this process by default.

    Returns
    -------
    list of str
        One line for each fault; empty if all is sound.

    Raises
    ------
    StoreError
        The folder has no checksums, or its description cannot be read.
    """
    path, engine = Path(path), engine or Engine()
    sums = read_sums(path)
    wrong = []
    for name, digits in sums.items():
        if not (path / name).is_file():
            wrong.append(f"{name} is missing")
        elif checksum(path / name) != digits:
            wrong.append(f"{name} has changed")
    store = open_store(path, compare=False)
    listed = {f"{part.name}/{SUMS}" for part in store.partitions}
    there = {each.relative_to(path).as_posix() for each in path.glob(f"dataset/*/*/*.zarr/{SUMS}")}
    wrong += [f"{Path(name).parent} does not belong to the store" for name in sorted(there - listed)]
    missing = {line.split("/" + SUMS)[0] for line in wrong}
    parts = [part for part in store.partitions if part.name not in missing or (path / part.name / SUMS).exists()]
    found = engine.run(partial(_look, path), parts, "verify", "partition")
    return wrong + [line for lines in found for line in lines]


def _look(path: Path, part: Partition) -> list[str]:
    """Return what is wrong with one partition."""
    try:
        return [f"{part.name}: {line}" for line in verify(path / part.name, IN_LINE)]
    except StoreError as error:
        return [f"{part.name}: {error}"]


def summarise_partitions(store: PartitionedStore) -> list[tuple[str, str]]:
    """Describe a partitioned store: objects, partitions, pixels, origin.

    Parameters
    ----------
    store : PartitionedStore
        The store.

    Returns
    -------
    list of tuple of str
        Label and text of each line.
    """
    entries = store.attributes["partitions"]
    total = {name: sum(each[name] for each in entries) for name in (DONE, OUTSIDE, FAILED, "usable")}
    orders = sorted({part.order for part in store.partitions})
    named = f"orders {orders[0]} to {orders[-1]}" if len(orders) > 1 else f"order {orders[0]}"
    lines = [("SYNTHETIC", store.synthetic)] if store.synthetic else []
    lines += [
        ("survey", f"{store.survey['title']}, {store.survey['source']}"),
        ("bands", " ".join(store.bands)),
        ("objects", f"{len(store):,}: " + ", ".join(f"{total[s]:,} {s}" for s in (DONE, OUTSIDE, FAILED))),
        ("usable", f"{total['usable']:,} with data in every pixel of every band"),
        ("images", f"{store.size} x {store.size} pixels of {store.pixel_scale} arcsec, nanomaggy/pixel"),
        ("partitions", f"{len(entries):,} HEALPix pixels of {named}, of at most {_largest(store):,} objects"),
        ("chunks", f"{store.chunk_count:,}"),
        ("in", str(store.path)),
    ]
    lines += [(key, str(value)) for key, value in store.settings.items()]
    version = f"galtrans {store.attributes['galtrans_version']}, schema version {store.attributes['schema_version']}"
    return [*lines, ("made by", version)]


def _largest(store: PartitionedStore) -> int:
    """Return how many objects the largest partition has."""
    return max(part.rows for part in store.partitions)


def summarise_unfinished(path: Path) -> list[tuple[str, str]] | None:
    """Describe a partitioned store that is being made, or that an interrupted command has left; None if there is none.

    Parameters
    ----------
    path : Path
        Where the finished one will be.

    Returns
    -------
    list of tuple of str, or None
        Label and text of each line.
    """
    folder = unfinished(path)
    if folder is None:
        return None
    made = len(list((folder / ".work" / "made").glob("*.json")))
    chosen = folder / ".work" / "pixels.json"
    catalogues = len(list(folder.glob("dataset/*/*/*.parquet")))
    count = len(json.loads(chosen.read_text())) if chosen.exists() else catalogues
    settings = json.loads((folder / ".work" / "settings.json").read_text())
    return [
        ("NOT FINISHED", f"{path} is being made, or was interrupted: the same command resumes it"),
        ("partitions", f"{made:,} of {count:,} made" if count else "the catalogue is being sorted"),
        *((key, str(value)) for key, value in settings.items()),
    ]
