"""Downloads: one file, whole or not at all, tried again while an archive is busy.

What is tried again, and for how long, follows the CADC's own client: 408, 429, 5xx, lost connections and short answers,
after 1, 2, 4 … s or as long as the answer's Retry-After asks for.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote, unquote, urljoin

import requests

from survey_tools.atomic import whole_file
from survey_tools.errors import ArchiveError
from survey_tools.version import VERSION

ATTEMPTS = 6
FIRST_WAIT = 1.0  # [s] doubled after each attempt
LONGEST_WAIT = 128.0  # [s]
TIMEOUT = (15, 120)  # [s] to connect, and between two pieces of an answer
PIECE = 2**18  # [byte]
BEGINNING = 2**20  # [byte] holds the headers of any file here: a block of bzip2 is 900 kB at most
BUSY = {408, 429, 503}  # the archive says "not now", of itself and not of the file
MAGIC = (b"SIMPLE  =", b"BZh", b"\x1f\x8b")  # first bytes of FITS, bzip2 and gzip
HEADERS = {"User-Agent": f"galtrans/{VERSION}", "Accept-Encoding": "identity"}

log = logging.getLogger(__name__)


class NotThereError(ArchiveError):
    """The archive answers that it has no such file (HTTP 404 or 410)."""


class _TryAgainError(Exception):
    """An attempt failed in a way that may pass; `wait` [s] is what the archive asked for, if it did."""

    def __init__(self, reason: str, busy: bool, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.busy, self.wait = busy, wait


def download(url: str, path: Path) -> None:
    """Fetch a FITS file, plain or compressed, to `path`, which is whole or not there.

    Raises:
        NotThereError: Where the archive has no such file.
        ArchiveError: Where the answer is an error, empty, short, or something else than FITS (a page of HTML, say).
        ConnectionError: Where the archive cannot be reached, or stays busy: it is no use to ask for the next file.
    """
    _patiently(url, lambda: _save(url, path))


def beginning(url: str) -> bytes:
    """The first bytes of a file, enough for its headers; raises what `download` does."""
    return _patiently(url, lambda: _first_bytes(url))


def links(url: str) -> list[str]:
    """Names that the index page at `url` links to, in its own folder; ArchiveError where there is no such page."""
    try:
        answer = requests.get(url, timeout=TIMEOUT, headers=HEADERS)
    except requests.RequestException as error:
        raise ConnectionError(f"{url}: no answer ({type(error).__name__}); is the address right?") from error
    if answer.status_code != 200 or "html" not in answer.headers.get("Content-Type", ""):
        raise ArchiveError(f"{url} gives no index page (HTTP {answer.status_code}); copy its files into a local folder")
    page = _Links()
    page.feed(answer.text)
    base = url.rstrip("/") + "/"
    found = {urljoin(base, link) for link in page.targets}
    return sorted(unquote(link.removeprefix(base)) for link in found if link.startswith(base) and link != base)


def join(root: str, name: str) -> str:
    """The URL of the file `name` under `root`; a "+" is sent as %2B, as the CADC wants it."""
    return f"{root.rstrip('/')}/{quote(name)}"


class _Links(HTMLParser):
    """Collects the targets of a page's links."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        """Note the target of one link."""
        self.targets += [value for name, value in attrs if tag == "a" and name == "href" and value]


def _patiently(url: str, attempt: Callable):
    """What `attempt` returns, tried again as long as there is hope."""
    wait = FIRST_WAIT
    for number in range(1, ATTEMPTS + 1):
        try:
            return attempt()
        except _TryAgainError as error:
            if number == ATTEMPTS and error.busy:
                raise ConnectionError(f"{url}: {error}, {ATTEMPTS} times; is the archive up?") from error
            if number == ATTEMPTS:
                raise ArchiveError(f"{url}: {error}, {ATTEMPTS} times") from error
            pause = min(max(wait, error.wait), LONGEST_WAIT)
            log.info("%s: %s; again in %g s", url, error, pause)
        time.sleep(pause)
        wait *= 2
    raise AssertionError("the last attempt returns or raises")


@contextmanager
def _answer(url: str, headers: dict[str, str]) -> Iterator[requests.Response]:
    """The archive's answer with its body still to be read; _TryAgainError or ArchiveError where it is an error."""
    try:
        with requests.get(url, stream=True, timeout=TIMEOUT, headers=HEADERS | headers) as answer:
            status = answer.status_code
            if status in (404, 410):
                raise NotThereError(f"{url} is not there (HTTP {status})")
            if status in (408, 429) or status >= 500:
                raise _TryAgainError(f"HTTP {status}", status in BUSY, _retry_after(answer.headers.get("Retry-After")))
            if status not in (200, 206):
                raise ArchiveError(f"{url}: HTTP {status}")
            yield answer
    except requests.exceptions.ChunkedEncodingError as error:
        raise _TryAgainError("the answer broke off", busy=False) from error
    except (requests.ConnectionError, requests.Timeout) as error:
        raise _TryAgainError(f"no answer ({type(error).__name__})", busy=True) from error
    except requests.RequestException as error:
        raise ArchiveError(f"{url}: {error}") from error


def _save(url: str, path: Path) -> None:
    """One try of `download`."""
    with _answer(url, {}) as answer, whole_file(path) as temporary, temporary.open("wb") as file:
        received = 0
        for piece in answer.iter_content(PIECE):
            if not received:
                _require_fits(answer, piece)
            received += file.write(piece)
        if not received:
            raise _TryAgainError("the answer is empty", busy=False)
        encoded = "Content-Encoding" in answer.headers  # then it is decoded on the way, and its length another
        expected = received if encoded else int(answer.headers.get("Content-Length", received))
        if received != expected:
            raise _TryAgainError(f"the answer has {received} of {expected} bytes", busy=False)


def _first_bytes(url: str) -> bytes:
    """One try of `beginning`. An archive that does not know ranges sends the whole file, of which no more is read."""
    with _answer(url, {"Range": f"bytes=0-{BEGINNING - 1}"}) as answer:
        received = bytearray()
        for piece in answer.iter_content(PIECE):
            received += piece
            if len(received) >= BEGINNING:
                break
        if not received:
            raise _TryAgainError("the answer is empty", busy=False)
        _require_fits(answer, received)
        return bytes(received[:BEGINNING])


def _require_fits(answer: requests.Response, start: bytes) -> None:
    """_TryAgainError where an answer does not begin as FITS does: gateways send pages of HTML, even as HTTP 200."""
    if not start.startswith(MAGIC):
        kind = answer.headers.get("Content-Type", "unknown")
        raise _TryAgainError(f"the answer is not FITS (Content-Type {kind})", busy=False)


def _retry_after(value: str | None) -> float:
    """Seconds to wait by the header Retry-After, which holds seconds or a date; 0 where there is none."""
    if not value:
        return 0.0
    if value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return 0.0
