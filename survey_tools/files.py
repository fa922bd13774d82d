"""Files that are whole or not there, their checksums, and locks that processes share."""

import errno
import fcntl
import hashlib
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from survey_tools.errors import StoreError


@contextmanager
def whole_file(path: str | os.PathLike) -> Iterator[Path]:
    """A temporary path beside `path`, renamed to it when the block ends well and removed when it does not.

    The temporary name ends as `path` does, so writers that go by the suffix pick the right format. OSError (a full
    disk, say) passes through, naming the path, with nothing left behind.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    token = secrets.token_hex(4)  # processes of two machines may have one number
    temporary = path.with_name(f".{os.getpid()}-{token}.part.{path.name}")
    try:
        with naming(path):
            yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def naming(path: str | os.PathLike) -> Iterator[None]:
    """Put the path into an OSError of the block that does not say where it was: no space left, a quota."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None or isinstance(error, ConnectionError):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


SUMS = "sha256sums.txt"


def checksum(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files_of(folder: Path) -> list[str]:
    """Names, relative to the folder and sorted, of all files in it but the list of checksums."""
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in names if name != SUMS)


def write_sums(folder: Path, known: Mapping[str, str]) -> None:
    """List the checksum of every file of a folder; those that are `known` (name to checksum) are not read again."""
    lines = [f"{known.get(name) or checksum(folder / name)}  {name}\n" for name in files_of(folder)]
    with whole_file(folder / SUMS) as temporary:
        temporary.write_text("".join(lines))


def read_sums(folder: Path) -> dict[str, str]:
    """Name to checksum of every file that a folder should have; StoreError where it has no such list."""
    path = folder / SUMS
    if not path.exists():
        raise StoreError(f"{folder} has no checksums ({SUMS}): an older galtrans made it; make it again to have them")
    text = path.read_bytes().decode("utf-8", "replace")
    lines = [line.partition("  ") for line in text.splitlines()]
    if not lines or any(len(digits) != 64 or not name for digits, _, name in lines):
        raise StoreError(f"{path} is damaged; the store cannot be checked against it")
    return {name: digits for digits, _, name in lines}


class CheckedFiles:
    """Files of a folder, each compared with its checksum before it is first used.

    Attributes:
        folder: Where they are.
    """

    def __init__(self, folder: Path, sums: Mapping[str, str]) -> None:
        self.folder, self._sums, self._sound = folder, sums, set()

    @classmethod
    def of(cls, folder: Path) -> "CheckedFiles":
        """Those of a folder that has a list of checksums; StoreError where that is damaged."""
        return cls(folder, read_sums(folder))

    def check(self, names: Iterable[str]) -> None:
        """StoreError where one of some files is not what it was; one without a checksum is not looked at."""
        for name in names:
            if name in self._sound or name not in self._sums:
                continue
            path = self.folder / name
            if not path.is_file() or checksum(path) != self._sums[name]:
                what = "has changed since the store was finished" if path.is_file() else "is missing"
                raise StoreError(
                    f"{self.folder} is damaged: {name} {what}; see what else is with `galtrans verify {self.folder}`, "
                    f"and make the store again or take it from a copy; if the change was meant, delete {SUMS}"
                )
            self._sound.add(name)


def missing_or_more(folder: Path, sums: Iterable[str]) -> list[str]:
    """What is wrong with the names alone: files that are listed and not there, or there and not listed."""
    there, listed = set(files_of(folder)), set(sums)
    missing = [f"{name} is missing" for name in sorted(listed - there)]
    return missing + [f"{name} does not belong to the store" for name in sorted(there - listed)]


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
