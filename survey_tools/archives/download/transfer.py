"""A file during its download: the received part lies beside its place as `.part`, and the next attempt resumes there.

The part outlives the process, so a run that was killed resumes too. The notes beside it, on the whole file, are locked
while it grows, so that two tasks never write to one part. (A lock of the part itself would move with it to its final
name, where its users have locks of their own.)
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
NOTES = ".part.json"  # what is known of the whole file
PACKED = (b"BZh", b"\x1f\x8b")  # first bytes of bzip2 and gzip: both end in a checksum of their content
MAGIC = (b"SIMPLE  =", *PACKED)  # first bytes of FITS files
LONGEST_MAGIC = 9  # [byte]
SLOW_TIME = 30.0  # [s] over which the speed of an answer is measured
DROPS = 2  # answers that may be stopped for their speed before less is required


@dataclass(frozen=True)
class WantedFile:
    """A file to download.

    Attributes
    ----------
    url : str
        Its address.
    size : int, optional
        Size [byte], if it is known beforehand.
    md5 : str, optional
        MD5 in hexadecimal digits, if it is known beforehand.
    fits : bool
        Whether it is FITS, plain or compressed by bzip2 or gzip.
    manner : Manner
        States the speed below which an answer is stopped.
    """

    url: str
    size: int | None = None
    md5: str | None = None
    fits: bool = True  # plain, or compressed by bzip2 or gzip
    manner: Manner = USUAL

    def names(self, url: str) -> list[str]:
        """Return identifiers of the part of this file if it comes from `url`: hashes of the URL and of the MD5.

        With the MD5, a part can be resumed at another address of the file. They are hashes because a URL may contain a
        password.
        """
        known = [url] + ([f"md5:{self.md5.lower()}"] if self.md5 else [])
        return [hashlib.sha256(each.encode()).hexdigest() for each in known]


class PartialFile:
    """The received part of a file. Only the block of `unfinished` that holds it may use it."""

    def __init__(self, wanted: WantedFile, path: Path, file: Path, descriptor: int, notes: Path) -> None:
        self.wanted, self.path, self.file, self._descriptor, self._notes = wanted, path, file, descriptor, notes
        self._finished, self._most, self._drops = False, self.size, 0

    @property
    def size(self) -> int:
        """Number of bytes that have arrived."""
        return os.fstat(self._descriptor).st_size

    def append(self, content: bytes) -> None:
        """Append bytes to the part."""
        os.lseek(self._descriptor, 0, os.SEEK_END)
        rest = memoryview(content)
        while rest:
            with naming(self.file):
                rest = rest[os.write(self._descriptor, rest) :]

    def require_fast(self, size: int, seconds: float) -> None:
        """Raise TryAgainError if bytes come more slowly than wanted, over a time that is long enough to say so."""
        if seconds >= SLOW_TIME:
            self._require_fast(size / seconds)

    def grew(self) -> bool:
        """Return whether more has arrived than at any earlier call; a part that began again must first catch up."""
        before, self._most = self._most, max(self._most, self.size)
        return self._most > before

    def fetch(self, url: str = "") -> None:
        """Make one attempt to fetch the missing part, and verify the whole file.

        Parameters
        ----------
        url : str
            One of several addresses of the file; "" is that of `wanted`.

        Raises
        ------
        TryAgainError, ArchiveError
            If the attempt fails.
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
        """Discard the received part."""
        os.ftruncate(self._descriptor, 0)

    def drop(self) -> None:
        """Delete everything, unless the file has its name."""
        if not self._finished:
            self.file.unlink(missing_ok=True)
            self._notes.unlink(missing_ok=True)  # last, because the lock goes with it
            self._finished = True

    def _resumable(self, url: str) -> tuple[int, FileFacts | None]:
        """Return the byte at which to resume, 0 for the beginning, and the known facts about the file at this URL."""
        if not self.size:
            return 0, None
        names = self.wanted.names(url)
        try:
            notes = json.loads(self._notes.read_text())
            known = FileFacts(**notes["facts"]) if set(names) & set(notes["names"]) else None
            if known and names[0] not in notes["names"]:  # another address may have another ETag and date for its copy
                known = replace(known, etag="", modified="")
        except (OSError, ValueError, TypeError, KeyError):
            known = None
        if known is None:  # perhaps a part of another mirror's file
            return 0, None
        # Without an ETag or a date, the rest may be of a newer file, which only a checksum would reveal.
        checked = known.etag or known.modified or known.md5 or self.wanted.md5
        return (self.size, known) if checked or self._start().startswith(PACKED) else (0, None)

    def _require_continued(self, answer: requests.Response, start: int, known: FileFacts, said: FileFacts) -> None:
        """Raise TryAgainError, and keep nothing, if an answer does not continue exactly the same file."""
        if said.status == 206:
            begin = re.match(r"bytes (\d+)-\d+/(?:\d+|\*)$", answer.headers.get("Content-Range", "").strip())
            right = begin is not None and int(begin[1]) == start
        else:
            right = said.size == start  # nothing is left to send: all of it is here
        expected = self.wanted.size or known.size
        same = said.size is None or expected is None or said.size == expected
        for new, old in ((said.etag, known.etag), (said.modified, known.modified), (said.md5, known.md5)):
            same &= not new or not old or new == old
        if not right or not same:
            self.clear()
            raise TryAgainError("the archive did not continue where the part ends", status=said.status, of_part=True)

    def _require_wanted(self, said: FileFacts) -> None:
        """Raise TryAgainError if the headers describe another file than the wanted one, before it is fetched."""
        if None not in (said.size, self.wanted.size) and said.size != self.wanted.size:
            raise TryAgainError(f"the answer has {said.size} bytes, not {self.wanted.size}", status=said.status)
        if None not in (said.md5, self.wanted.md5) and said.md5 != self.wanted.md5.lower():
            raise TryAgainError(f"the archive's file has md5 {said.md5}, not {self.wanted.md5}", status=said.status)

    def _note(self, url: str, said: FileFacts, on_the_way: bool) -> None:
        """Note the facts about the whole file; none if it was compressed for the transfer, as its ranges differ."""
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
            if time.monotonic() - then >= SLOW_TIME:  # what has arrived stays: a stopped answer is progress too
                self._require_fast((self.size - before) / (time.monotonic() - then))
                then, before = time.monotonic(), self.size
        if not looked:
            self._require_kind(answer)

    def _require_fast(self, speed: float) -> None:
        """Raise TryAgainError if an answer comes more slowly than wanted; `speed` is in byte/s.

        Another site may be faster. After a few such attempts the line itself seems to be slow, and less is required.
        """
        least = self.wanted.manner.slowest / 2 ** max(0, self._drops - DROPS)
        if speed < least:
            self._drops += 1
            raise TryAgainError(f"only {speed / 1e3:,.0f} kB/s arrived", status=200, slow=True)

    def _require_kind(self, answer: requests.Response) -> None:
        """Raise TryAgainError, and keep nothing, if the content is not FITS or is a page of HTML, sent as HTTP 200."""
        start = self._start()
        if start and not is_page(start) and (start.startswith(MAGIC) or not self.wanted.fits):
            return
        self.clear()
        raise not_the_file(answer, start)

    def _verify(self, size: int | None, md5: str | None) -> None:
        """Raise TryAgainError if the part is not the whole file."""
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
            raise TryAgainError(f"the received file has md5 {found}, not {md5}")

    def _start(self) -> bytes:
        return os.pread(self._descriptor, 1024, 0)


@contextmanager
def unfinished(wanted: WantedFile, path: Path, kind: type[PartialFile] = PartialFile) -> Iterator[PartialFile]:
    """Yield the part of a file beside `path`, after a wait if another task downloads it. An empty part is deleted."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file, notes = path.with_name(path.name + PART), path.with_name(path.name + NOTES)
    with locked(notes, EXCLUSIVE, create=True):
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            part = kind(wanted, path, file, descriptor, notes)
            yield part
        finally:
            if not part.size:
                part.drop()
            os.close(descriptor)


def is_page(start: bytes) -> bool:
    """Return whether bytes are the beginning of a page of HTML."""
    text = start[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return text.startswith((b"<!doctype html", b"<html")) or (text.startswith(b"<?xml") and b"<html" in text)


def not_the_file(answer: requests.Response, start: bytes) -> TryAgainError:
    """Return the error for an answer that is empty or not FITS; `start` is its beginning."""
    if not start:
        return TryAgainError("the answer is empty", status=answer.status_code)
    kind = answer.headers.get("Content-Type", "unknown")
    said = f": {excerpt(start)}" if is_page(start) else ""
    return TryAgainError(f"the answer is not FITS (Content-Type {kind}{said})", status=answer.status_code)


def _range_of(start: int, known: FileFacts | None) -> dict[str, str]:
    """Return the headers that ask for a file from byte `start`, or for all of it if it has changed since then."""
    if not start:
        return {}
    unless = "" if known is None else known.etag or known.modified
    return {"Range": f"bytes={start}-"} | ({"If-Range": unless} if unless else {})
