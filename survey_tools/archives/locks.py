"""Files that tasks of one machine share: a lock that ends with its holder, however that ends."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

EXCLUSIVE, SHARED = fcntl.LOCK_EX, fcntl.LOCK_SH
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)


@contextmanager
def locked(path: Path, kind: int, *, create: bool = False, wait: bool = True) -> Iterator[int]:
    """The descriptor of the file `path`, which is locked, and still of that name, for the length of the block.

    FileNotFoundError where there is no file and none is to be made; BlockingIOError where another task has the lock
    and this one does not want to wait; OSError where the file system knows no locks.
    """
    descriptor = _lock(path, os.O_RDWR | (os.O_CREAT if create else 0), kind | (0 if wait else fcntl.LOCK_NB))
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _lock(path: Path, flags: int, kind: int) -> int:
    while True:
        descriptor = os.open(path, flags, 0o666)
        try:
            fcntl.flock(descriptor, kind)
            if _is_named(descriptor, path):
                return descriptor
        except OSError as error:
            os.close(descriptor)
            if error.errno in NO_LOCKS:
                message = "the file system knows no locks (flock); choose another folder for files in use"
                raise OSError(error.errno, message, str(path)) from error
            raise
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # while this task waited, the file was renamed or dropped


def _is_named(descriptor: int, path: Path) -> bool:
    """Whether `path` is the name of the open file."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False
