"""Make a partitioned store: its partitions are tasks, each of which makes one ordinary store.

A folder `NAME` is made as `NAME.part` and renamed when all its stores are finished. A store in it is finished if it is
there. Therefore the same call goes on where a killed one has stopped, and gives the same bytes.
"""

import json
import os
import shutil
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from survey_tools.build.builder import alone, require_same
from survey_tools.errors import StoreError
from survey_tools.files import whole_file
from survey_tools.partitions.layout import Pixel, describe_part, write_root
from survey_tools.store.partitioned import PartitionedStore, is_partitioned, open_store
from survey_tools.store.zarr_store import Store, part_of
from survey_tools.tasks import Engine

IN_LINE = Engine(0)  # for the tasks within a task that makes one partition


def make_partitions(
    out: Path,
    settings: Mapping,
    prepare: Callable[[Path], list[Pixel]],
    make: Callable[[Path, Pixel], Store],
    engine: Engine,
    desc: str,
    *,
    overwrite: bool = False,
    most: int | None = None,
    finished: Callable[[list[dict]], None] = lambda entries: None,
) -> PartitionedStore:
    """Make a partitioned store, or go on with one that an interrupted call has left.

    An existing one is returned unchanged if it was made with the same settings.

    Parameters
    ----------
    out : Path
        Where it will be.
    settings : mapping
        What it is made from, in types that JSON can hold.
    prepare : callable
        Takes the folder that is being made, writes the Parquet file of each partition there, and returns the
        partitions.
    make : callable
        Takes that folder and a pixel, and makes the store of that pixel there. It is sent to other processes.
    engine : Engine
        Where partitions are made; each is one task.
    desc : str
        Word for the progress.
    overwrite : bool
        Whether to replace an existing partitioned store, once the new one is finished.
    most : int, optional
        Number of partitions at once on a cluster.
    finished : callable
        Takes what is said of each partition; an error that it raises ends the call before the store gets its name.

    Returns
    -------
    PartitionedStore
        The store, open for reading.

    Raises
    ------
    StoreError
        Something else has this name, or an interrupted one was begun with other settings.
    """
    out, settings = Path(out), json.loads(json.dumps(dict(settings)))
    with alone(out):
        if out.exists() and not is_partitioned(out):
            raise StoreError(f"{out} is not a partitioned store, so it is not replaced; choose another name")
        if out.exists() and not overwrite:
            there = open_store(out)
            require_same(out, settings, there.settings)
            return there
        target = out.with_name(f".{out.name}.new") if out.exists() else out
        folder = part_of(target)
        begin_folder(folder, settings, overwrite=overwrite)
        pixels = prepare(folder)
        with warnings.catch_warnings():  # here, because threads that make stores share Python's filters of warnings
            warnings.filterwarnings("ignore", module=r"zarr\.")
            entries = engine.run(partial(_make, make, folder), pixels, desc, "partition", most=most)
        finished(entries)
        write_root(folder, entries, settings)
        shutil.rmtree(folder / ".work")
        put_folder(folder, out)
    return open_store(out)


def unfinished(path: Path) -> Path | None:
    """Return the folder of a partitioned store that is being made, or was interrupted; None if there is none."""
    for part in (path.with_name(f".{path.name}.new.part"), part_of(path)):
        if (part / ".work" / "settings.json").exists():
            return part
    return None


def drop_unfinished(out: Path) -> None:
    """Remove what interrupted calls have left of a partitioned store; a finished one stays."""
    while (part := unfinished(Path(out))) is not None:
        shutil.rmtree(part)


def link(original: Path, copy: Path) -> None:
    """Share a file with a folder that is being made, or copy it where the file system cannot share."""
    if copy.exists():
        return
    copy.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(copy) as temporary:
        try:
            os.link(original, temporary)
        except OSError:
            shutil.copyfile(original, temporary)


def begin_folder(folder: Path, settings: Mapping, *, overwrite: bool) -> None:
    """Begin a folder, or check that an interrupted call with the same settings has left it.

    Parameters
    ----------
    folder : Path
        The folder that is made, `NAME.part`.
    settings : mapping
        What it is made from, as JSON reads it back.
    overwrite : bool
        Whether to drop what a call with other settings has left.

    Raises
    ------
    StoreError
        The folder is something else, or was begun with other settings.
    """
    record = folder / ".work" / "settings.json"
    if record.exists():
        begun = json.loads(record.read_text())
        if begun == settings:
            return
        if not overwrite:
            different = ", ".join(key for key in {**begun, **settings} if begun.get(key) != settings.get(key))
            raise StoreError(f"{folder} was begun with other {different}; finish that run, or delete it to start again")
    if folder.exists():
        if not record.exists() and any(folder.iterdir()):
            raise StoreError(f"{folder} is there and is no unfinished partitioned store; choose another name")
        shutil.rmtree(folder)
    with whole_file(record) as temporary:
        temporary.write_text(json.dumps(settings))


def _make(make: Callable[[Path, Pixel], Store], folder: Path, pixel: Pixel) -> dict:
    """Make one partition, unless it is there; return what the description says of it."""
    record = folder / ".work" / "made" / f"{pixel.order}-{pixel.pixel}.json"
    path = folder / f"{pixel.name}.zarr"
    if path.exists() and record.exists():
        return json.loads(record.read_text())
    if not path.exists():
        make(folder, pixel)
    entry = describe_part(open_store(path), pixel)
    with whole_file(record) as temporary:
        temporary.write_text(json.dumps(entry))
    return entry


def put_folder(folder: Path, out: Path) -> None:
    """Give a finished folder its name; an old one of that name stays until then, and is removed."""
    old = out.with_name(f".{out.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if out.exists():
        os.rename(out, old)
    os.rename(folder, out)
    shutil.rmtree(old, ignore_errors=True)
