"""Files behind addresses that are not http: s3://, gs:// and all others that fsspec knows.

Credentials come from the environment, as the library of each kind of address reads them. Patience, resumption and
checks are those of `http`: a file grows beside its place, and the next attempt asks for the bytes that are missing.
"""

import errno
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from survey_tools.archives.download.answers import FileFacts, NotThereError, TryAgainError, count
from survey_tools.archives.download.hosts import store_of
from survey_tools.archives.download.http import BEGINNING, patiently
from survey_tools.archives.download.transfer import MAGIC, PartialFile, WantedFile, unfinished
from survey_tools.archives.download.ways import USUAL, Manner
from survey_tools.errors import ArchiveError, first_line

PIECE = 2**23  # [byte] of one request: an answer that breaks off loses no more than this
LIMITS = {"connect_timeout": 15, "read_timeout": 120, "retries": {"max_attempts": 1}}  # [s]; patience is our own
OPTIONS = {"s3": {"config_kwargs": LIMITS}, "s3a": {"config_kwargs": LIMITS}}  # kind of address: options of fsspec
REFUSED = (errno.EACCES, errno.EPERM)
WITHOUT_CREDENTIALS = (
    "NoCredentialsError",
    "PartialCredentialsError",
    "ProfileNotFound",
    "TokenRetrievalError",
    "DefaultCredentialsError",
    "HttpError401",
)
CREDENTIALS = (
    "credentials are read from the environment (for s3: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; "
    "FSSPEC_S3_ANON=true for public data)"
)
BUSY_WORDS = ("slow down", "slowdown", "reduce your request rate", "serviceunavailable", "too many requests")

_opening = threading.Lock()


def is_object_url(root: str) -> bool:
    """Return whether an address is one for fsspec: it has a scheme other than http and https."""
    scheme, found, _ = root.partition("://")
    return bool(found) and scheme.lower() not in ("http", "https")


def names(root: str, manner: Manner = USUAL) -> dict[str, int]:
    """Return name, relative to the root, and size [byte] of all files below an address.

    Raises
    ------
    ArchiveError
        If there is no such bucket, access is denied, or a package is missing.
    ConnectionError
        If the service cannot be reached.
    """

    def once(url: str) -> dict[str, int]:
        files, path = _opened(url)
        with _told(url):
            count(1, 0)
            found = files.find(path, detail=True)
        start = path.rstrip("/") + "/"
        return {
            name.removeprefix(start): int(facts.get("size") or 0)
            for name, facts in sorted(found.items())
            if name.startswith(start)
        }

    return patiently(root, once, manner, host=store_of)


def beginning(url: str, length: int = BEGINNING, manner: Manner = USUAL) -> bytes:
    """Return the first bytes of a FITS file; all of a shorter one. Raises the errors of `names`, and NotThereError."""

    def once(address: str) -> bytes:
        content = _part(address, 0, length)
        if not content.startswith(MAGIC):
            raise TryAgainError("the file is not FITS" if content else "the file is empty")
        return content

    return patiently(url, once, manner, host=store_of)


def download(
    url: str, path: Path, *, size: int | None = None, md5: str | None = None, once: bool = False, manner: Manner = USUAL
) -> None:
    """Download a FITS file to `path`, which afterwards is whole or does not exist.

    The received part stays beside it if the process or the connection ends, and the next call resumes there.

    Parameters
    ----------
    url : str
        Address of the file.
    path : Path
        Where to write it.
    size : int, optional
        Size [byte], if known.
    md5 : str, optional
        MD5 in hexadecimal digits, if known.
    once : bool
        Keep an existing file of that size when it is this task's turn: another task has downloaded it.
    manner : Manner
        How patiently to ask, and below which speed to stop and resume.

    Raises
    ------
    NotThereError
        If there is no such file.
    ArchiveError
        If it is not FITS, changes while it is read, or access is denied.
    ConnectionError
        If the service cannot be reached, or stays busy.
    OSError
        If the disk is full, and the like.
    """
    with unfinished(WantedFile(url, size, md5, manner=manner), path, ObjectPart) as part:
        if once and path.exists() and size in (None, path.stat().st_size):
            return
        try:
            patiently(url, part.fetch, manner, part.grew, host=store_of)
        except ArchiveError:
            part.drop()
            raise
        part.finish()


class ObjectPart(PartialFile):
    """The received part of a file behind an address for fsspec."""

    def fetch(self, url: str = "") -> None:
        """Make one attempt to fetch the missing part, and verify the whole file.

        Raises
        ------
        TryAgainError, ArchiveError
            If the attempt fails.
        """
        url = url or self.wanted.url
        said = _facts(url)
        if not said.size:
            raise TryAgainError("the file is empty")
        self._require_wanted(said)
        start, known = self._resumable(url)
        if not start or (known.size, known.etag, known.modified) != (said.size, said.etag, said.modified):
            self.clear()
            self._note(url, said, on_the_way=False)
        self._grow(url, said.size)
        if said.size > PIECE and _facts(url) != said:
            self.clear()
            raise TryAgainError("the file has changed while it was read", of_part=True)
        self._verify(said.size, self.wanted.md5)

    def _grow(self, url: str, size: int) -> None:
        """Append all bytes that are missing."""
        while self.size < size:
            then, wanted = time.monotonic(), min(PIECE, size - self.size)
            content = _part(url, self.size, self.size + wanted)
            if not self.size and self.wanted.fits and not content.startswith(MAGIC):
                raise TryAgainError("the file is not FITS" if content else "the answer is empty")
            self.append(content)
            if len(content) != wanted:
                raise TryAgainError(f"the answer has {len(content)} of {wanted} bytes")
            if self.size < size:
                self.require_fast(len(content), time.monotonic() - then)


def _opened(url: str) -> tuple:
    """Return the file system of an address, and the path in it."""
    scheme = urlsplit(url).scheme
    try:
        import fsspec
    except ImportError as error:
        raise _lacking(url) from error
    with _told(url), _opening:
        files, path = fsspec.core.url_to_fs(url, use_listings_cache=False, **OPTIONS.get(scheme, {}))
        files.retries = 1  # of s3fs and gcsfs: our own patience is enough
    return files, path


def _part(url: str, start: int, stop: int) -> bytes:
    """Return the bytes of a file from `start` to `stop`, as far as it has them."""
    files, path = _opened(url)
    with _told(url):
        content = files.cat_file(path, start=start, end=stop)
    count(1, len(content))
    return content


def _facts(url: str) -> FileFacts:
    """Return the facts about a file, by its service."""
    files, path = _opened(url)
    with _told(url):
        count(1, 0)
        info = files.info(path)
    if info.get("type") != "file":
        raise NotThereError(f"{url} does not exist", url=url, status=404)
    etag, changed = (
        str(next((info[key] for key in keys if info.get(key)), ""))
        for keys in (("ETag", "etag", "md5Hash"), ("LastModified", "updated", "mtime", "created"))
    )
    return FileFacts(200, info.get("size"), None, True, etag, changed)


@contextmanager
def _told(url: str) -> Iterator[None]:
    """Replace the errors of fsspec and of the libraries behind it by our own."""
    try:
        yield
    except (ArchiveError, TryAgainError):
        raise
    except ImportError as error:
        raise _lacking(url) from error
    except FileNotFoundError as error:
        bucket = "; the bucket does not exist" if "bucket" in str(error).lower() and "exist" in str(error) else ""
        raise NotThereError(f"{url} does not exist{bucket}", url=url, status=404) from error
    except Exception as error:  # each library behind fsspec has errors of its own
        if isinstance(error, PermissionError) or getattr(error, "errno", None) in REFUSED:
            raise ArchiveError(f"{url}: access is denied; {CREDENTIALS}", url=url, status=403) from error
        if type(error).__name__ in WITHOUT_CREDENTIALS:
            raise ArchiveError(f"{url}: there are no credentials; {CREDENTIALS}", url=url) from error
        if isinstance(error, ValueError) and "rotocol" in str(error):
            raise ArchiveError(f"{url} is no address that fsspec knows ({first_line(error)})", url=url) from error
        said = first_line(error)
        busy = getattr(error, "errno", None) == errno.EBUSY or any(word in said.lower() for word in BUSY_WORDS)
        absent = isinstance(error, ConnectionRefusedError) or type(error).__name__ == "EndpointConnectionError"
        absent |= isinstance(error, TimeoutError)
        status = 503 if busy else 0
        raise TryAgainError(f"{type(error).__name__}: {said}", busy=busy or absent, status=status) from error


def _lacking(url: str) -> ArchiveError:
    """Return the error for a package that is not installed."""
    scheme = urlsplit(url).scheme
    more = "" if scheme in ("s3", "s3a") else f", and the package of fsspec for {scheme}:// addresses"
    return ArchiveError(f'{url}: this kind of address needs `pip install "galtrans[remote]"`{more}', url=url)


def _start_afresh() -> None:
    """Give a forked process its own lock."""
    global _opening
    _opening = threading.Lock()


os.register_at_fork(after_in_child=_start_afresh)
