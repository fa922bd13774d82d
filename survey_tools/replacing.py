"""A store that is built beside the one it will replace, by one process at a time."""

import errno
import fcntl
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Keep other processes from building `path`; StoreError where one is at it.

    The lock of a process that is killed ends with it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_name(f".{path.name}.lock")
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            os.close(descriptor)
            raise StoreError(f"another galtrans is making {path}; wait for it, or choose another name") from error
        log.info("%s: this file system has no locks, so do not run two of them at once", path)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(descriptor)


def copy_store(path: Path, part: Path) -> Store:
    """A copy of the store `path` to be changed, as `PART`, or the one that an interrupted run has begun to change.

    Files are shared, not copied, where the file system can: Zarr replaces a file that it writes, so the original keeps
    its own.
    """
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
