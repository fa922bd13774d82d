"""A file on its way: what has come of it lies in a `.part` beside its place, and the next attempt goes on from there.

The part outlives the process, so a killed run goes on too. The notes beside it, on the whole file, are locked while it
grows: two tasks never write one part. (A lock of the part itself would go with it to its final name, where its users
have locks of their own.)
"""

import hashlib
import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import requests

from survey_tools.archives.download.answers import (
    FileFacts,
    Question,
    TryAgainError,
    ask,
    excerpt,
    facts,
    packed,
    pieces,
)
from survey_tools.archives.download.ways import USUAL, Manner
from survey_tools.files import EXCLUSIVE, locked, naming

PART = ".part"
NOTES = ".part.json"  # what is known of the whole file of which a part is here
PACKED = (b"BZh", b"\x1f\x8b")  # first bytes of bzip2 and gzip: both end in a checksum of what they hold
MAGIC = (b"SIMPLE  =", *PACKED)  # first bytes of FITS files
LONGEST_MAGIC = 9  # [byte]
SLOW_TIME = 30.0  # [s] over which the speed of an answer is measured
DROPS = 2  # answers broken off for their speed after which less is asked of the next


@dataclass(frozen=True)
class WantedFile:
    """A file that is wanted: its URL, and its size [byte] and md5 (hexadecimal) where they are known beforehand.

    `manner` says below which speed an answer is broken off.
    """

    url: str
    size: int | None = None
    md5: str | None = None
    fits: bool = True  # plain, or compressed by bzip2 or gzip
    manner: Manner = USUAL

    def names(self, url: str) -> list[str]:
        """What tells the parts of different files apart, where this one comes from `url`: the URL, and the md5.

        By the md5 a part goes on at another address of the file. They are hashes, since a URL may hold a password.
        """
        known = [url] + ([f"md5:{self.md5.lower()}"] if self.md5 else [])
        return [hashlib.sha256(each.encode()).hexdigest() for each in known]


class PartialFile:
    """What has come of a file; only its holder by `unfinished` may use it."""

    def __init__(self, wanted: WantedFile, path: Path, file: Path, descriptor: int, notes: Path) -> None:
        self.wanted, self.path, self.file, self._descriptor, self._notes = wanted, path, file, descriptor, notes
        self._finished, self._most, self._drops = False, self.size, 0

    @property
    def size(self) -> int:
        """Bytes that have come."""
        return os.fstat(self._descriptor).st_size

    def grew(self) -> bool:
        """Whether more has come than at any earlier call; a part that had to begin again must first catch up."""
        before, self._most = self._most, max(self._most, self.size)
        return self._most > before

    def fetch(self, url: str = "") -> None:
        """One attempt to get what is missing, and to verify the whole; TryAgainError or ArchiveError where it fails.

        `url` is one of several addresses of the file; by default that of `wanted`.
        """
        url = url or self.wanted.url
        start, known = self._resumable(url)
        accept = (200, 206, 416) if start else (200,)
        with ask(Question(url, headers=_range_of(start, known)), accept) as answer:
            said = facts(answer)
            if start and said.status != 200:
                self._require_continued(answer, start, known, said)
            else:
                self.clear()
                self._require_wanted(said)
                self._note(url, said, packed(answer))
                known = said
            if said.status != 416:
                self._receive(answer)
            self._verify(said.size or known.size, self.wanted.md5 or said.md5 or known.md5)

    def finish(self) -> None:
        """Give the file its name."""
        os.replace(self.file, self.path)
        self._notes.unlink()
        self._finished = True

    def clear(self) -> None:
        """Forget what has come."""
        os.ftruncate(self._descriptor, 0)

    def drop(self) -> None:
        """Leave nothing behind, unless the file has its name."""
        if not self._finished:
            self.file.unlink(missing_ok=True)
            self._notes.unlink(missing_ok=True)  # with it goes the lock, so it is the last
            self._finished = True

    def _resumable(self, url: str) -> tuple[int, FileFacts | None]:
        """The byte to go on from, 0 where it must be the first, and what is known of the whole file at this URL."""
        if not self.size:
            return 0, None
        names = self.wanted.names(url)
        try:
            notes = json.loads(self._notes.read_text())
            known = FileFacts(**notes["facts"]) if set(names) & set(notes["names"]) else None
            if known and names[0] not in notes["names"]:  # another address, which may name and date its copy otherwise
                known = replace(known, etag="", modified="")
        except (OSError, ValueError, TypeError, KeyError):
            known = None
        if known is None:  # a part of another mirror's file, perhaps
            return 0, None
        # Without a name or date of the archive's version the rest may be of a newer file: only a checksum would tell.
        checked = known.etag or known.modified or known.md5 or self.wanted.md5
        return (self.size, known) if checked or self._start().startswith(PACKED) else (0, None)

    def _require_continued(self, answer: requests.Response, start: int, known: FileFacts, said: FileFacts) -> None:
        """TryAgainError, with nothing kept, where an answer is not what comes next of the very same file."""
        if said.status == 206:
            begin = re.match(r"bytes (\d+)-\d+/(?:\d+|\*)$", answer.headers.get("Content-Range", "").strip())
            right = begin is not None and int(begin[1]) == start
        else:
            right = said.size == start  # nothing comes next: all of it is here
        expected = self.wanted.size or known.size
        same = said.size is None or expected is None or said.size == expected
        for new, old in ((said.etag, known.etag), (said.modified, known.modified), (said.md5, known.md5)):
            same &= not new or not old or new == old
        if not right or not same:
            self.clear()
            raise TryAgainError("the archive did not go on where the part ends", status=said.status, of_part=True)

    def _require_wanted(self, said: FileFacts) -> None:
        """TryAgainError where the headers tell of another file than the wanted one, before any of it is fetched."""
        if None not in (said.size, self.wanted.size) and said.size != self.wanted.size:
            raise TryAgainError(f"the answer has {said.size} bytes, not {self.wanted.size}", status=said.status)
        if None not in (said.md5, self.wanted.md5) and said.md5 != self.wanted.md5.lower():
            raise TryAgainError(f"the archive's file has md5 {said.md5}, not {self.wanted.md5}", status=said.status)

    def _note(self, url: str, said: FileFacts, on_the_way: bool) -> None:
        """Remember what is known of the whole file, but not of one packed on the way: its ranges are of other bytes."""
        notes = {} if on_the_way else {"names": self.wanted.names(url), "facts": asdict(said)}
        with naming(self._notes):
            self._notes.write_text(json.dumps(notes))

    def _receive(self, answer: requests.Response) -> None:
        """Append the body of an answer."""
        looked = self.size >= LONGEST_MAGIC
        os.lseek(self._descriptor, 0, os.SEEK_END)
        then, before = time.monotonic(), self.size
        for piece in pieces(answer):
            rest = memoryview(piece)
            while rest:
                with naming(self.file):
                    rest = rest[os.write(self._descriptor, rest) :]
            if not looked and self.size >= LONGEST_MAGIC:
                self._require_kind(answer)
                looked = True
            if time.monotonic() - then >= SLOW_TIME:  # with what has come since: a dropped answer is progress, too
                self._require_fast((self.size - before) / (time.monotonic() - then))
                then, before = time.monotonic(), self.size
        if not looked:
            self._require_kind(answer)

    def _require_fast(self, speed: float) -> None:
        """TryAgainError where an answer comes more slowly [byte/s] than is wanted.

        Another site may be faster. After some such drops the line itself seems to be slow, and less is asked of it.
        """
        least = self.wanted.manner.slowest / 2 ** max(0, self._drops - DROPS)
        if speed < least:
            self._drops += 1
            raise TryAgainError(f"only {speed / 1e3:,.0f} kB came in a second", status=200, slow=True)

    def _require_kind(self, answer: requests.Response) -> None:
        """TryAgainError, with nothing kept, where what comes is no FITS, or a page: gateways send HTML as HTTP 200."""
        start = self._start()
        if start and not is_page(start) and (start.startswith(MAGIC) or not self.wanted.fits):
            return
        self.clear()
        raise not_the_file(answer, start)

    def _verify(self, size: int | None, md5: str | None) -> None:
        """TryAgainError where the part is not the whole file."""
        size = self.wanted.size if size is None else size
        if size is not None and self.size < size:
            raise TryAgainError(f"the answer has {self.size} of {size} bytes")
        if size is not None and self.size > size:
            received = self.size
            self.clear()
            raise TryAgainError(f"the answer has {received} bytes, not {size}")
        if md5 is None:
            return
        with self.file.open("rb") as file:
            found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        if found != md5.lower():
            self.clear()
            raise TryAgainError(f"what came has md5 {found}, not {md5}")

    def _start(self) -> bytes:
        return os.pread(self._descriptor, 1024, 0)


@contextmanager
def unfinished(wanted: WantedFile, path: Path) -> Iterator[PartialFile]:
    """The part of a file beside `path`, waited for where another task is at it. An empty one is not left behind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file, notes = path.with_name(path.name + PART), path.with_name(path.name + NOTES)
    with locked(notes, EXCLUSIVE, create=True):
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            part = PartialFile(wanted, path, file, descriptor, notes)
            yield part
        finally:
            if not part.size:
                part.drop()
            os.close(descriptor)


def is_page(start: bytes) -> bool:
    """Whether bytes are the beginning of a page of HTML."""
    text = start[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return text.startswith((b"<!doctype html", b"<html")) or (text.startswith(b"<?xml") and b"<html" in text)


def not_the_file(answer: requests.Response, start: bytes) -> TryAgainError:
    """The error where an answer is not FITS, or empty; `start` is what it begins with."""
    if not start:
        return TryAgainError("the answer is empty", status=answer.status_code)
    kind = answer.headers.get("Content-Type", "unknown")
    said = f": {excerpt(start)}" if is_page(start) else ""
    return TryAgainError(f"the answer is not FITS (Content-Type {kind}{said})", status=answer.status_code)


def _range_of(start: int, known: FileFacts | None) -> dict[str, str]:
    """Headers that ask for a file from byte `start`, or for all of it where it is no longer the known one."""
    if not start:
        return {}
    unless = "" if known is None else known.etag or known.modified
    return {"Range": f"bytes={start}-"} | ({"If-Range": unless} if unless else {})
