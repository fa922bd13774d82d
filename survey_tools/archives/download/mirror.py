"""The files of an archive, in a folder or below a web address: downloads are shared, and then deleted or kept."""

import hashlib
import logging
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, TypeVar
from urllib.parse import urlsplit

from survey_tools.archives.download import http, object_store
from survey_tools.archives.download.http import BEGINNING, NotThereError
from survey_tools.archives.download.transfer import NOTES, PART
from survey_tools.archives.download.ways import USUAL, Manner, Ways
from survey_tools.errors import ArchiveError
from survey_tools.files import EXCLUSIVE, SHARED, locked
from survey_tools.fits.reading import PACKINGS

log = logging.getLogger(__name__)

SPARE = 0.1  # of the limit: room is made for several files at once, because all of them have to be looked at
LEDGER = ".bytes"  # in the folder of kept files: states how many bytes it holds
PLAIN = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9._+-]{0,99}/){1,12}[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")
SUFFIX = re.compile(r"(?:\.fits?)?(?:\.(?:gz|bz2|fz))?$")


def tree_name(root: str, name: str) -> str:
    """Return the name, relative to the folder of kept files, of the file `name` below the URL `root`.

    Files of different roots are kept apart. A name that follows our own templates for an archive keeps its folders, so
    that the folder of kept files can serve as a mirror itself. Any other name, as a server's page or list may state it,
    is replaced by its hash.
    """
    host = re.sub(r"[^A-Za-z0-9.-]", "", urlsplit(root).hostname or "").lstrip(".")
    folder = f"{host}-{_hash(root.rstrip('/'))[:8]}"
    plain = PLAIN.fullmatch(name) and ".." not in name and PART not in name
    return f"{folder}/{name if plain else flat_name(root, name)}"


def flat_name(root: str, name: str) -> str:
    """Return a name without folders for the file `name` below the URL `root`: its hash and a suffix that we know."""
    return _hash(f"{root.rstrip('/')}\n{name}")[:32] + SUFFIX.search(name)[0]


def drop_unused(path: Path) -> bool:
    """Delete a file, or the part of one, unless a task uses it; return whether it is deleted."""
    unfinished = path.name.endswith(PART)
    lock = path.with_name(path.name.removesuffix(PART) + NOTES) if unfinished else path
    try:
        with locked(lock, EXCLUSIVE, create=unfinished, wait=False):
            path.unlink(missing_ok=True)
            lock.unlink(missing_ok=True)
    except FileNotFoundError:
        return True
    except BlockingIOError:
        return False
    return True


def make_room(folder: Path, limit: int, added: int = 0, coming: int = 0) -> None:
    """Delete the files that were not used for the longest time, none of them in use, if `folder` gets too full.

    Parameters
    ----------
    folder : Path
        Folder of kept files. A ledger in it states how many bytes it holds. The files themselves are counted only if
        that is too much or unknown.
    limit : int
        Largest size [byte]. A little less is left, so that not every new file deletes another one.
    added : int
        Bytes that have been added since the last call.
    coming : int
        Bytes that are about to be added.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / LEDGER, EXCLUSIVE, create=True) as ledger:
        text = os.pread(ledger, 32, 0).strip()
        held = int(text) + added if text.isdigit() else None
        if held is None or held + coming > limit:
            held = _drop_oldest(folder, limit, coming)
        os.pwrite(ledger, b"%-32d" % held, 0)


def _drop_oldest(folder: Path, limit: int, coming: int) -> int:
    """Delete files until there is room; return the bytes of those that stay."""
    files = sorted(_files(folder))
    held = sum(size for _, size, _ in files)
    if held + coming <= limit:
        return held
    for _, size, path in files:
        if held + coming <= (1 - SPARE) * limit:
            break
        if drop_unused(path):
            held -= size
    return held


def _files(folder: Path) -> list[tuple[float, int, Path]]:
    """Return last use [s], size [byte] and path of all files below a folder, parts of files among them."""
    found = []
    for place, _, names in os.walk(folder):
        for name in names:
            path = Path(place) / name
            with suppress(FileNotFoundError):
                if name != LEDGER and not name.endswith(NOTES):
                    facts = path.stat()
                    found.append((facts.st_mtime, facts.st_size, path))
    return found


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


Opened = TypeVar("Opened")


@dataclass(frozen=True)
class Mirror:
    """The place of an archive's files.

    Attributes
    ----------
    root : str
        A local folder, an http(s) URL, or another address that fsspec knows, such as s3://bucket/folder.
    cache : Path
        Folder of the files of a remote mirror while they are in use.
    keep : Path, optional
        Folder in which they stay; None deletes each after its use.
    limit : int, optional
        Largest size of `keep` [byte]. The files that were not used for the longest time are deleted first; None is no
        limit.
    others : tuple of str
        Further roots of the same files, on the web, which are tried if `root` gives no answer.
    manner : Manner
        How patiently to ask for files.
    """

    root: str
    cache: Path
    keep: Path | None = None
    limit: int | None = None
    others: tuple[str, ...] = ()
    manner: Manner = USUAL

    @property
    def remote(self) -> bool:
        """Whether files have to be downloaded."""
        return "://" in self.root

    @property
    def _on_the_web(self) -> bool:
        """Whether files are downloaded by http, and not through fsspec."""
        return not object_store.is_object_url(self.root)

    @property
    def place(self) -> str:
        """The URL of the root, or its absolute path, which is the same for every working folder."""
        return self.root if self.remote else os.path.abspath(self.root)

    def url(self, name: str) -> str:
        """Return the URL, or the path, of the file `name`."""
        if not self.remote:
            return str(Path(self.root) / name)
        return http.join(self.root, name) if self._on_the_web else f"{self.root.rstrip('/')}/{name}"

    def ways(self, name: str) -> str | Ways:
        """Return all URLs of a remote file, the usual one first."""
        if not self.others:
            return self.url(name)
        return Ways(tuple(http.join(root, "") for root in (self.root, *self.others)), http.join("", name)[1:])

    def has(self, name: str) -> bool:
        """Return whether the file `name` is on this machine already."""
        return (self._place(name) if self.remote else self._local(name)).exists()

    def beginning(self, name: str, length: int = BEGINNING) -> BinaryIO:
        """Open the file `name` to read its headers; only the first `length` bytes of a remote file are downloaded.

        Raises
        ------
        NotThereError
            If the mirror does not have the file.
        ArchiveError, ConnectionError
            As `http.beginning` does.
        """
        if not self.remote:
            return self._path(name).open("rb")
        try:
            with self._place(name).open("rb") as file:
                return BytesIO(file.read(length))
        except FileNotFoundError:
            if not self._on_the_web:
                return BytesIO(object_store.beginning(self.url(name), length, self.manner))
            return BytesIO(http.beginning(self.ways(name), length, self.manner))

    @contextmanager
    def file(self, name: str, *, size: int | None = None, md5: str | None = None) -> Iterator[Path]:
        """Yield the path of the file `name` while it is in use.

        A remote file is downloaded first, and deleted or kept afterwards. Tasks that need one file at the same time
        share its download and the file, and the last of them deletes it. A file that is kept is not downloaded again
        unless its size is not `size` [byte]. A file that its user cannot read (ArchiveError) and that no md5 confirms
        is not kept.

        Raises
        ------
        NotThereError
            If the mirror does not have the file.
        ArchiveError, ConnectionError, OSError
            As `http.download` does.
        """
        if not self.remote:
            yield self._path(name)
            return
        path, keep = self._place(name), self.keep is not None
        try:
            with self._held(name, path, size, md5):
                yield path
        except ArchiveError as error:
            keep &= not self._may_be_damaged(name, md5, error)
            raise
        finally:
            if not keep:
                drop_unused(path)
            self._make_room()

    @contextmanager
    def opened(
        self,
        name: str,
        opener: Callable[[Path], AbstractContextManager[Opened]],
        *,
        size: int | None = None,
        md5: str | None = None,
    ) -> Iterator[Opened]:
        """Yield the result of `opener` for the path of the file `name`, while it is in use.

        A remote file that `opener` cannot open (ArchiveError), and that no md5 confirms, is downloaded once more,
        because only the checksum inside a compressed file reveals that a bit was lost during the transfer.

        Raises
        ------
        ArchiveError, ConnectionError, OSError
            As `file` and `opener` do.
        """
        with ExitStack() as held:
            try:
                opened = self._open(held, name, opener, size, md5)
            except ArchiveError as error:
                if not self.remote or not self._may_be_damaged(name, md5, error):
                    raise
                log.info("%s; it is downloaded once more", error)
                opened = self._open(held, name, opener, size, md5)
            yield opened

    def names(self, suffixes: tuple[str, ...]) -> list[str]:
        """Return the names, relative to the root and sorted, of all files with one of some suffixes.

        A mirror on the web is asked for the index page of its root, and another remote one for its list of files.

        Raises
        ------
        ArchiveError
            If there is no such root.
        """
        if self.remote and not self._on_the_web:
            return sorted(self.sizes(suffixes))
        if self.remote:
            return [name for name in http.links(self.root) if name.lower().endswith(suffixes)]
        if not os.path.isdir(self.root):
            raise ArchiveError(f"the mirror {self.root} is not a folder; give the root of the archive's files")
        walk = os.walk(self.root, followlinks=True)
        paths = (os.path.join(folder, name) for folder, _, names in walk for name in names)
        return sorted(os.path.relpath(path, self.root) for path in paths if path.lower().endswith(suffixes))

    def sizes(self, suffixes: tuple[str, ...]) -> dict[str, int]:
        """Return the size [byte] of each file, by its name, if one request tells all of them; else nothing.

        Raises
        ------
        ArchiveError, ConnectionError
            As `names` does.
        """
        if self._on_the_web:
            return {}
        found = object_store.names(self.root, self.manner)
        return {name: size for name, size in found.items() if name.lower().endswith(suffixes)}

    def _open(self, held: ExitStack, name: str, opener: Callable, size: int | None, md5: str | None):
        """Make one attempt of `opened`; the file and the result are in use as long as `held`."""
        with ExitStack() as attempt:
            opened = attempt.enter_context(opener(attempt.enter_context(self.file(name, size=size, md5=md5))))
            held.push(attempt.pop_all())
            return opened

    def _may_be_damaged(self, name: str, md5: str | None, error: ArchiveError) -> bool:
        """Return whether an error is about this very file, which no md5 confirms."""
        elsewhere = isinstance(error, NotThereError) or error.status or error.url not in ("", self.url(name))
        return md5 is None and not elsewhere

    def _place(self, name: str) -> Path:
        """Return where a remote file lies on this machine."""
        if self.keep is None:
            return self.cache / flat_name(self.root, name)
        return self.keep / tree_name(self.root, name)

    @contextmanager
    def _held(self, name: str, path: Path, size: int | None, md5: str | None) -> Iterator[None]:
        """Have the file at `path` during the block, and let no other task delete it."""
        fetched = False
        with ExitStack() as held:
            while not self._hold(held, path, size):
                self._make_room(coming=size or 0)
                if self._on_the_web:
                    http.download(self.ways(name), path, size=size, md5=md5, once=True, manner=self.manner)
                else:
                    object_store.download(self.url(name), path, size=size, md5=md5, once=True, manner=self.manner)
                fetched = True
            os.utime(path)  # its last use
            self._make_room(added=path.stat().st_size if fetched else 0)
            yield

    @staticmethod
    def _hold(held: ExitStack, path: Path, size: int | None) -> bool:
        """Return whether there is a file of that size; it then stays as long as `held`."""
        try:
            held.enter_context(locked(path, SHARED))
        except FileNotFoundError:
            return False
        if size in (None, path.stat().st_size):
            return True
        held.close()
        return False

    def _make_room(self, added: int = 0, coming: int = 0) -> None:
        if self.keep is not None and self.limit is not None:
            make_room(self.keep, self.limit, added, coming)
        elif self.keep is not None and added:
            (self.keep / LEDGER).unlink(
                missing_ok=True
            )  # it does not count this file; the next limited run counts again

    def _local(self, name: str) -> Path:
        """Return the path of a local file, compressed or not: `frame.fits` stands for `frame.fits.bz2` too."""
        path, bare = Path(self.root) / name, name
        if path.exists():
            return path
        for packing in PACKINGS:
            bare = bare.removesuffix(packing)
        others = (Path(self.root) / f"{bare}{packing}" for packing in ("", *PACKINGS))
        return next((other for other in others if other.exists()), path)

    def _path(self, name: str) -> Path:
        path = self._local(name)
        if not path.exists():
            raise NotThereError(f"{name} is not in the mirror {self.root}", url=str(path))
        return path


LOUD = 10  # files of one kind that cause a warning; only `-v` reports more of them

Read = TypeVar("Read")
_said: dict[str, set[str]] = {}
_saying = threading.Lock()


def warn_once(kind: str, name: str, what: str) -> None:
    """Warn of the file `name`, which is of a `kind` such as "psField", unless this was done before."""
    with _saying:
        said = _said.setdefault(kind, set())
        if name not in said:
            said.add(name)
            log.log(logging.WARNING if len(said) <= LOUD else logging.INFO, "%s", what)


def read_or_warn(
    mirror: Mirror, name: str, read: Callable[[Path], Read], *, kind: str, without: str, due: bool
) -> Read | None:
    """Return the result of `read` for a file that objects can do without; None if there is none.

    A file that is damaged, or that is `due` and missing, causes one warning.

    Parameters
    ----------
    mirror : Mirror
        Where the file is.
    name : str
        Name of the file, relative to the mirror.
    read : callable
        Reads the file at a path; raises ArchiveError if it is damaged.
    kind : str
        The name for such files.
    without : str
        The consequence of a missing file, in words.
    due : bool
        Whether the mirror should have it.

    Raises
    ------
    ArchiveError
        If the file exists but cannot be fetched.
    ConnectionError
        If the archive cannot be reached.
    """
    there = False
    try:
        with mirror.file(name) as path:
            there = True
            return read(path)
    except NotThereError as error:
        if due:
            warn_once(kind, name, f"{without}: {error}")
    except ArchiveError as error:
        if not there:
            raise
        warn_once(kind, name, f"{without}: {error}")
    return None
