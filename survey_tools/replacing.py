"""A store that is built beside the one it will replace, by one process at a time."""

import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from survey_tools.archives.locks import EXCLUSIVE, NO_LOCKS, locked
from survey_tools.checksums import SUMS, read_sums
from survey_tools.errors import StoreError
from survey_tools.store import Store, open_begun

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
