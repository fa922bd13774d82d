"""The files of an archive, in a folder or below a web address: downloads are shared, and then dropped or kept."""

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

from survey_tools.archives.download import http
from survey_tools.archives.download.http import BEGINNING, NotThereError
from survey_tools.archives.download.transfer import NOTES, PART
from survey_tools.archives.download.ways import USUAL, Manner, Ways
from survey_tools.errors import ArchiveError
from survey_tools.files import EXCLUSIVE, SHARED, locked
from survey_tools.fits.reading import PACKINGS

log = logging.getLogger(__name__)

SPARE = 0.1  # of the limit: room is made for more than one file at once, as it takes a look at all of them
LEDGER = ".bytes"  # in the folder of kept files: how many bytes it holds
PLAIN = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9._+-]{0,99}/){1,12}[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")
SUFFIX = re.compile(r"(?:\.fits?)?(?:\.(?:gz|bz2|fz))?$")


def tree_name(root: str, name: str) -> str:
    """The name in the folder of kept files, relative to it, of the file `name` below the URL `root`.

    Files of each root are apart. The tree of an archive that our own templates know is kept, so that the folder can
    serve as a mirror itself; any other name, as a server's page or list may give it, is replaced by its hash.
    """
    host = re.sub(r"[^A-Za-z0-9.-]", "", urlsplit(root).hostname or "").lstrip(".")
    folder = f"{host}-{_hash(root.rstrip('/'))[:8]}"
    plain = PLAIN.fullmatch(name) and ".." not in name and PART not in name
    return f"{folder}/{name if plain else flat_name(root, name)}"


def flat_name(root: str, name: str) -> str:
    """A name without folders for the file `name` below the URL `root`, made of its hash and a suffix that we know."""
    return _hash(f"{root.rstrip('/')}\n{name}")[:32] + SUFFIX.search(name)[0]


def drop_unused(path: Path) -> bool:
    """Remove a file, or the part of one, unless a task uses it; whether it is gone."""
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
    """Drop the files whose last use is longest ago, none that is in use, where `folder` gets too full.

    Args:
        folder: Of kept files. A ledger in it says how many bytes it holds; only where that is too much, or is not
            known, are the files themselves looked at.
        limit: Bytes that it may hold. Some less are left, so that not every file that comes makes another go.
        added: Bytes that have come since the last call.
        coming: Bytes that are about to come.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / LEDGER, EXCLUSIVE, create=True) as ledger:
        text = os.pread(ledger, 32, 0).strip()
        held = int(text) + added if text.isdigit() else None
        if held is None or held + coming > limit:
            held = _drop_oldest(folder, limit, coming)
        os.pwrite(ledger, b"%-32d" % held, 0)


def _drop_oldest(folder: Path, limit: int, coming: int) -> int:
    """Drop files until there is room; the bytes of those that stay."""
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
    """Last use [s], size [byte] and path of all files below a folder, parts of files among them."""
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
    """Where an archive's files are.

    Attributes:
        root: A local folder, or an http(s) URL.
        cache: Where files of a remote mirror lie while they are in use.
        keep: Where they stay; None drops each after its use.
        limit: Bytes that `keep` may hold: the files whose last use is longest ago are dropped; None is no limit.
        others: Further roots of the same files, on the web, that are tried where `root` gives no answer.
        manner: How patiently files are asked for.
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
        return self.root.startswith(("http://", "https://"))

    @property
    def place(self) -> str:
        """The URL of the root, or its whole path: the same from whatever folder it is used."""
        return self.root if self.remote else os.path.abspath(self.root)

    def url(self, name: str) -> str:
        """Where the file `name` is: its URL, or its path."""
        return http.join(self.root, name) if self.remote else str(Path(self.root) / name)

    def ways(self, name: str) -> str | Ways:
        """All URLs of a remote file, the usual one first."""
        if not self.others:
            return self.url(name)
        return Ways(tuple(http.join(root, "") for root in (self.root, *self.others)), http.join("", name)[1:])

    def has(self, name: str) -> bool:
        """Whether the file `name` is on this machine already."""
        return (self._place(name) if self.remote else self._local(name)).exists()

    def beginning(self, name: str, length: int = BEGINNING) -> BinaryIO:
        """The file `name`, opened to read its headers: of a remote one the first `length` bytes alone are fetched.

        NotThereError where the mirror does not have it; else what `http.beginning` raises.
        """
        if not self.remote:
            return self._path(name).open("rb")
        try:
            with self._place(name).open("rb") as file:
                return BytesIO(file.read(length))
        except FileNotFoundError:
            return BytesIO(http.beginning(self.ways(name), length, self.manner))

    @contextmanager
    def file(self, name: str, *, size: int | None = None, md5: str | None = None) -> Iterator[Path]:
        """The path of the file `name` while it is in use: a remote one is downloaded, and dropped or kept afterwards.

        Tasks that want one file at the same time share its download and the file; the last of them drops it. A file
        that is kept is not fetched again unless it is not of `size` [byte]. One that its user cannot read
        (ArchiveError), and that no md5 vouches for, is not kept.

        NotThereError where the mirror does not have it; else what `http.download` raises.
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
        """What `opener` makes of the path of the file `name`, while it is in use.

        A remote file that it cannot open (ArchiveError), and that no md5 vouches for, is fetched once more: nothing but
        the checksum within a compressed file tells that a bit of it was lost on the way.

        Raises: what `file` and `opener` do.
        """
        with ExitStack() as held:
            try:
                opened = self._open(held, name, opener, size, md5)
            except ArchiveError as error:
                if not self.remote or not self._may_be_damaged(name, md5, error):
                    raise
                log.info("%s; it is fetched once more", error)
                opened = self._open(held, name, opener, size, md5)
            yield opened

    def names(self, suffixes: tuple[str, ...]) -> list[str]:
        """Names, relative to the root and sorted, of all files that end so; ArchiveError where there is no such root.

        A remote mirror is asked for the index page of its root.
        """
        if self.remote:
            return [name for name in http.links(self.root) if name.lower().endswith(suffixes)]
        if not os.path.isdir(self.root):
            raise ArchiveError(f"the mirror {self.root} is not a folder; give the root of the archive's files")
        walk = os.walk(self.root, followlinks=True)
        paths = (os.path.join(folder, name) for folder, _, names in walk for name in names)
        return sorted(os.path.relpath(path, self.root) for path in paths if path.lower().endswith(suffixes))

    def _open(self, held: ExitStack, name: str, opener: Callable, size: int | None, md5: str | None):
        """One try of `opened`; the file, and what was made of it, are in use as long as `held`."""
        with ExitStack() as attempt:
            opened = attempt.enter_context(opener(attempt.enter_context(self.file(name, size=size, md5=md5))))
            held.push(attempt.pop_all())
            return opened

    def _may_be_damaged(self, name: str, md5: str | None, error: ArchiveError) -> bool:
        """Whether an error is of this very file, and not known to be of the archive's own making."""
        elsewhere = isinstance(error, NotThereError) or error.status or error.url not in ("", self.url(name))
        return md5 is None and not elsewhere

    def _place(self, name: str) -> Path:
        """Where a remote file lies on this machine."""
        if self.keep is None:
            return self.cache / flat_name(self.root, name)
        return self.keep / tree_name(self.root, name)

    @contextmanager
    def _held(self, name: str, path: Path, size: int | None, md5: str | None) -> Iterator[None]:
        """Have the file at `path`, and let nobody drop it, for the length of the block."""
        fetched = False
        with ExitStack() as held:
            while not self._hold(held, path, size):
                self._make_room(coming=size or 0)
                http.download(self.ways(name), path, size=size, md5=md5, once=True, manner=self.manner)
                fetched = True
            os.utime(path)  # its last use
            self._make_room(added=path.stat().st_size if fetched else 0)
            yield

    @staticmethod
    def _hold(held: ExitStack, path: Path, size: int | None) -> bool:
        """Whether there is a file of that size, which stays as long as `held` does."""
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
            (self.keep / LEDGER).unlink(missing_ok=True)  # it does not count this file: the next who limits counts anew

    def _local(self, name: str) -> Path:
        """Where a local file lies, packed or not: `frame.fits` stands for `frame.fits.bz2`, and the reverse."""
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


LOUD = 10  # files of one kind that are warned of; of more only `-v` tells

Read = TypeVar("Read")
_said: dict[str, set[str]] = {}
_saying = threading.Lock()


def warn_once(kind: str, name: str, what: str) -> None:
    """Warn of the file `name`, one of a `kind` such as "psField", unless that was done before."""
    with _saying:
        said = _said.setdefault(kind, set())
        if name not in said:
            said.add(name)
            log.log(logging.WARNING if len(said) <= LOUD else logging.INFO, "%s", what)


def read_or_warn(
    mirror: Mirror, name: str, read: Callable[[Path], Read], *, kind: str, without: str, due: bool
) -> Read | None:
    """What `read` makes of a file; None where that is not known.

    A file that is damaged, or that is `due` and not in the mirror, is warned of once.

    Args:
        mirror: Where the file is.
        name: Of the file, relative to the mirror.
        read: What reads it; ArchiveError where it is damaged.
        kind: What such files are called.
        without: What follows where there is none, in words.
        due: Whether the mirror should have it.

    Raises:
        ArchiveError: Where it cannot be had although it is there.
        ConnectionError: Where the archive is away.
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
