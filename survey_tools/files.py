"""Files that are whole or do not exist, their checksums, and locks that processes share."""

import errno
import fcntl
import hashlib
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from survey_tools.errors import StoreError

SUMS = "sha256sums.txt"
EXCLUSIVE, SHARED = fcntl.LOCK_EX, fcntl.LOCK_SH
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)  # errors of a file system without locks


@contextmanager
def whole_file(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path beside `path`, which is renamed to `path` when the block ends without an error.

    Otherwise the temporary file is removed. Its name ends as `path` does, so that writers which look at the suffix
    choose the right format.

    Parameters
    ----------
    path : str or Path
        The file to write.

    Yields
    ------
    Path
        Where to write it.

    Raises
    ------
    OSError
        For example, the disk is full; the error names `path`, and nothing is left behind.
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
    """Add a path to an OSError of the block that does not name a file, such as a full disk or a quota.

    Parameters
    ----------
    path : str or Path
        The file or folder that the block writes.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None or isinstance(error, ConnectionError):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def checksum(path: Path) -> str:
    """Return the SHA-256 of a file.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    str
        Hexadecimal digits.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files_of(folder: Path) -> list[str]:
    """Return the names of all files in a folder and its subfolders, except the list of checksums.

    Parameters
    ----------
    folder : Path
        The folder.

    Returns
    -------
    list of str
        Names relative to the folder, sorted.
    """
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in names if name != SUMS)


def write_sums(folder: Path, known: Mapping[str, str]) -> None:
    """Write the list of the checksums of every file of a folder.

    Parameters
    ----------
    folder : Path
        The folder.
    known : mapping
        Checksums that are known, by name; these files are not read again.
    """
    lines = [f"{known.get(name) or checksum(folder / name)}  {name}\n" for name in files_of(folder)]
    with whole_file(folder / SUMS) as temporary:
        temporary.write_text("".join(lines))


def read_sums(folder: Path) -> dict[str, str]:
    """Read the list of checksums of a folder.

    Parameters
    ----------
    folder : Path
        The folder.

    Returns
    -------
    dict
        Checksum of every file that the folder should have, by name.

    Raises
    ------
    StoreError
        The folder has no such list, or the list is damaged.
    """
    path = folder / SUMS
    if not path.exists():
        raise StoreError(f"{folder} has no checksums ({SUMS}): an older galtrans made it; make it again to have them")
    text = path.read_bytes().decode("utf-8", "replace")
    lines = [line.partition("  ") for line in text.splitlines()]
    if not lines or any(len(digits) != 64 or not name for digits, _, name in lines):
        raise StoreError(f"{path} is damaged; the store cannot be checked against it")
    return {name: digits for digits, _, name in lines}


class CheckedFiles:
    """Files of a folder, each of which is compared with its checksum before it is first used.

    Parameters
    ----------
    folder : Path
        Where the files are.
    sums : mapping
        Their checksums, by name.
    """

    def __init__(self, folder: Path, sums: Mapping[str, str]) -> None:
        self.folder, self._sums, self._sound = folder, sums, set()

    @classmethod
    def of(cls, folder: Path) -> "CheckedFiles":
        """Return the files of a folder that has a list of checksums. Raise StoreError if the list is damaged."""
        return cls(folder, read_sums(folder))

    def require(self, names: Iterable[str]) -> None:
        """Raise StoreError if a file that has a checksum is missing.

        Parameters
        ----------
        names : iterable of str
            Names of the files.
        """
        for name in names:
            if name in self._sums and not (self.folder / name).is_file():
                raise StoreError(self._damaged(name, "is missing"))

    def check(self, names: Iterable[str]) -> None:
        """Compare some files with their checksums, unless that is done. Files without a checksum are not read.

        Parameters
        ----------
        names : iterable of str
            Names of the files.

        Raises
        ------
        StoreError
            A file has changed or is missing.
        """
        for name in names:
            if name in self._sound or name not in self._sums:
                continue
            path = self.folder / name
            if not path.is_file() or checksum(path) != self._sums[name]:
                what = "has changed since the store was finished" if path.is_file() else "is missing"
                raise StoreError(self._damaged(name, what))
            self._sound.add(name)

    def _damaged(self, name: str, what: str) -> str:
        """Return the words for a damaged file."""
        return (
            f"{self.folder} is damaged: {name} {what}; see what else is with `galtrans verify {self.folder}`, "
            f"and make the store again or take it from a copy; if the change was meant, delete {SUMS}"
        )


def missing_or_more(folder: Path, sums: Iterable[str]) -> list[str]:
    """Return what is wrong with the names of the files in a folder.

    Parameters
    ----------
    folder : Path
        The folder.
    sums : iterable of str
        Names of the files that it should have.

    Returns
    -------
    list of str
        One line for each file that is missing or does not belong to the folder.
    """
    there, listed = set(files_of(folder)), set(sums)
    missing = [f"{name} is missing" for name in sorted(listed - there)]
    return missing + [f"{name} does not belong to the store" for name in sorted(there - listed)]


@contextmanager
def locked(path: Path, kind: int, *, create: bool = False, wait: bool = True) -> Iterator[int]:
    """Lock a file for the length of the block. The file still has its name then.

    Parameters
    ----------
    path : Path
        The file.
    kind : int
        `EXCLUSIVE` or `SHARED`.
    create : bool
        Whether to create the file if it does not exist.
    wait : bool
        Whether to wait while another task has the lock.

    Yields
    ------
    int
        The descriptor of the open file.

    Raises
    ------
    FileNotFoundError
        The file does not exist and is not to be created.
    BlockingIOError
        Another task has the lock and `wait` is false.
    OSError
        The file system does not support locks.
    """
    descriptor = _lock(path, os.O_RDWR | (os.O_CREAT if create else 0), kind | (0 if wait else fcntl.LOCK_NB))
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _lock(path: Path, flags: int, kind: int) -> int:
    """Open and lock a file, again if it was renamed or removed meanwhile; return the descriptor."""
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
    """Return whether `path` is the name of the open file."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False
