"""One request to an archive and its answer, or the reason why there is none.

A redirect is followed anew at every request and is neither kept nor logged: the CADC's targets hold tokens that expire.
"""

import base64
import binascii
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from http.cookiejar import DefaultCookiePolicy
from urllib.parse import urlsplit

import requests
import urllib3

from survey_tools.archives.download import reach
from survey_tools.archives.download.hosts import host_of, redirected
from survey_tools.errors import ArchiveError
from survey_tools.version import VERSION

TIMEOUT = (15.0, 120.0)  # [s] to connect, and between two pieces of an answer
PIECE = 2**16  # [byte] a slow archive takes a second or so for one
MOST_HOPS = 10  # redirects of one request
BUSY = {408, 429, 503}  # the archive says "not now", of itself and not of the file
PASSING = BUSY | {409}  # and the CADC's 409, which comes and goes (astroquery issue 1886); with all from 500 on
HEADERS = {"User-Agent": f"galtrans/{VERSION} (astronomical image cutouts)", "Accept-Encoding": "identity"}
OBSTACLES = (  # kinds of errors in words; the first that fits is told
    (urllib3.exceptions.NameResolutionError, "the name of the host is unknown"),
    (urllib3.exceptions.NewConnectionError, "the host takes no connection"),
    (urllib3.exceptions.ConnectTimeoutError, "the host does not react"),
    (
        urllib3.exceptions.SSLError,
        "the host has no good certificate; where a proxy of yours signs in its place, name the file of its "
        "certificates in REQUESTS_CA_BUNDLE",
    ),
)

log = logging.getLogger(__name__)
logging.getLogger("urllib3").setLevel(logging.INFO)  # what it tells below that has the paths of redirects: tokens


class NotThereError(ArchiveError):
    """The archive answers that it has no such file (HTTP 404 or 410)."""


class ExplainedError(ArchiveError):
    """The archive refuses in words of its own, which asking again would not change."""


class TryAgainError(Exception):
    """A request failed in a way that may pass.

    Attributes:
        busy: Whether that is the archive's state, rather than this file's.
        wait: What the archive asked for [s]; 0 where it did not.
        status: HTTP status; 0 where there was no answer.
        of_part: Whether it may be the part kept before that is wrong, and not this answer; the part is dropped then, so
            that this cannot come twice in a row.
        slow: Whether the answer came too slowly: the same address may do better at once.
    """

    def __init__(
        self,
        reason: str,
        *,
        busy: bool = False,
        wait: float = 0.0,
        status: int = 0,
        of_part: bool = False,
        slow: bool = False,
    ) -> None:
        super().__init__(reason)
        self.busy, self.wait, self.status, self.of_part, self.slow = busy, wait, status, of_part, slow


@dataclass(frozen=True)
class Question:
    """A request: `params` go into the URL, `data` is a form to POST, `timeout` is (to connect, between pieces) [s].

    `explain` may give the error for an answer that is refused, by its status and the beginning of its body.
    """

    url: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] | None = None
    data: Mapping[str, str] | None = None
    timeout: tuple[float, float] | None = None  # None is TIMEOUT
    explain: Callable[[int, bytes], ExplainedError | None] | None = None


@dataclass(frozen=True)
class FileFacts:
    """What the headers of an answer say of the whole file.

    Attributes:
        status: HTTP status.
        size: Bytes; None where it is not said.
        md5: In hexadecimal digits; None where it is not said.
        accepts_ranges: Whether a part of the file can be asked for.
        etag: A name for these very bytes; "" where there is none that can be relied on.
        modified: When the file was changed, as the archive says it; "" where it does not.
    """

    status: int
    size: int | None
    md5: str | None
    accepts_ranges: bool
    etag: str = ""
    modified: str = ""


@dataclass(frozen=True)
class Traffic:
    """Requests made, and bytes of answers received."""

    requests: int
    bytes: int

    def __sub__(self, earlier: "Traffic") -> "Traffic":
        return Traffic(self.requests - earlier.requests, self.bytes - earlier.bytes)


class _Thread(threading.local):
    """What each thread has for itself: a session, whose connections stay open, and the count of its traffic."""

    def __init__(self) -> None:
        self.session = requests.Session()
        self.session.headers.update(HEADERS)
        self.session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))  # no request depends on an earlier one
        self.requests = self.bytes = 0


_thread = _Thread()
_received, _counting = [0], threading.Lock()  # bytes of all threads


def traffic() -> Traffic:
    """Requests and bytes of the calling thread since it began."""
    return Traffic(_thread.requests, _thread.bytes)


def received() -> int:
    """Bytes that all threads of this process have received."""
    return _received[0]


@contextmanager
def ask(question: Question, accept: tuple[int, ...] = (200,)) -> Iterator[requests.Response]:
    """The archive's answer, of a status in `accept`, with its body still to be read through `pieces`.

    Raises:
        NotThereError: Where the archive has no such file.
        ArchiveError: Where it says no for good, or redirects to where no archive is known.
        TryAgainError: Where asking again may help, and where the body breaks off while it is read.
    """
    try:
        with ExitStack() as held:
            answer, hops = _follow(question, held)
            if answer.status_code not in accept:
                _refuse(question, answer, hops)
            yield answer
    except requests.exceptions.InvalidProxyURL as error:
        raise ArchiveError(f"{question.url}: {reach.trouble(question.url, error)}", url=question.url) from None
    except (requests.exceptions.InvalidURL, urllib3.exceptions.LocationValueError):
        raise ArchiveError(f"{question.url} is no web address, or redirects to none", url=question.url) from None
    except requests.RequestException as error:  # its own text may show a token
        raise TryAgainError(f"no answer ({_obstacle(question.url, error)})", busy=True) from None
    except urllib3.exceptions.ReadTimeoutError:
        raise TryAgainError("no answer (ReadTimeout)", busy=True) from None
    except (urllib3.exceptions.HTTPError, OverflowError):
        raise TryAgainError("the answer broke off") from None


def _obstacle(url: str, error: requests.RequestException) -> str:
    """What stood in the way of an answer, in words of ours."""
    if isinstance(error, requests.exceptions.ProxyError | requests.exceptions.InvalidProxyURL):
        return reach.trouble(url, error)
    cause = error.args[0] if error.args else None
    if isinstance(cause, urllib3.exceptions.MaxRetryError):
        cause = cause.reason
    return next((words for kind, words in OBSTACLES if isinstance(cause, kind)), type(error).__name__)


def pieces(answer: requests.Response) -> Iterator[bytes]:
    """The body of an answer, piece by piece: the file as the archive has it, and what was packed for the way unpacked.

    Some servers call the compression of a .gz file an encoding for the way; its bytes are the file's all the same.
    """
    for piece in answer.raw.stream(PIECE, decode_content=packed(answer)):
        _thread.bytes += len(piece)
        with _counting:
            _received[0] += len(piece)
        yield piece


def packed(answer: requests.Response) -> bool:
    """Whether a body was packed for the way, against our wish: then its length and ranges are not the file's."""
    asked = answer.request.path_url.partition("?")[0].lower()
    return "Content-Encoding" in answer.headers and not asked.endswith((".gz", ".bz2", ".fz", ".z"))


def facts(answer: requests.Response) -> FileFacts:
    """What the headers of an answer say of the whole file."""
    headers, size = answer.headers, None
    if answer.status_code == 200 and not packed(answer):
        size = _number(headers.get("Content-Length"))
    if answer.status_code in (206, 416):
        size = _number(headers.get("Content-Range", "").rpartition("/")[2])
    etag = headers.get("ETag", "")
    ranges = answer.status_code == 206 or headers.get("Accept-Ranges", "").strip().lower() == "bytes"
    return FileFacts(
        answer.status_code,
        size,
        digest_md5(headers.get("Digest", "")),
        ranges,
        "" if etag.startswith("W/") else etag,
        headers.get("Last-Modified", ""),
    )


def digest_md5(header: str) -> str | None:
    """The md5 in hexadecimal digits by a header Digest; None where it has none.

    CADC's services send base64 of the 16 bytes; its old one sent base64 of the hexadecimal digits.
    """
    found = re.search(r"(?:^|,)\s*md5=([A-Za-z0-9+/=]+)", header, re.IGNORECASE)
    if not found:
        return None
    if re.fullmatch("[0-9a-fA-F]{32}", found[1]):
        return found[1].lower()
    try:
        content = base64.b64decode(found[1], validate=True)
    except binascii.Error:
        return None
    digits = content.hex() if len(content) == 16 else content.decode("ascii", "replace").lower()
    return digits if re.fullmatch("[0-9a-f]{32}", digits) else None


def excerpt(body: bytes) -> str:
    """The beginning of a text or page in one printable line, without markup, for a message."""
    text = re.sub(r"<[^>]*>", " ", body[:2000].decode("utf-8", "replace"))
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())[:160]


def _follow(question: Question, held: ExitStack) -> tuple[requests.Response, int]:
    """The answer at the end of the redirects and their number; `held` has the turn at its host, and the connection."""
    url, method, data, params = question.url, question.method, question.data, question.params
    for hops in range(MOST_HOPS + 1):
        held.enter_context(host_of(url).turn())
        _thread.requests += 1
        send = _thread.session.request
        answer = held.enter_context(
            send(
                method,
                url,
                params=params,
                data=data,
                headers=dict(question.headers),
                timeout=question.timeout or TIMEOUT,
                stream=True,
                allow_redirects=False,
            )
        )
        if answer.status_code not in (301, 302, 303, 307, 308) or "Location" not in answer.headers:
            return answer, hops
        target = redirected(question.url, url, answer.headers["Location"])
        log.debug("%s: on to %s", question.url, urlsplit(target).hostname)
        if method == "POST" and answer.status_code < 307:
            method, data = "GET", None
        url, params = target, None
        answer.raw.read(2**16)  # as below
        held.close()
    raise TryAgainError(f"more than {MOST_HOPS} redirects")


def _refuse(question: Question, answer: requests.Response, hops: int) -> None:
    """Raise what an answer of this status means."""
    url, status = question.url, answer.status_code
    body = answer.raw.read(2**16, decode_content=True) or b""  # read, so that the connection can be used again
    if question.explain is not None and (error := question.explain(status, body)) is not None:
        raise error
    if status in (404, 410):
        raise NotThereError(f"{url} is not there (HTTP {status})", url=url, status=status)
    if status == 407:
        raise TryAgainError(reach.trouble(url, "it asks for a name and a password (HTTP 407)"), busy=True)
    if status in PASSING or status >= 500:
        wait = _retry_after(answer.headers.get("Retry-After"))
        raise TryAgainError(f"HTTP {status}", busy=status in BUSY, wait=wait, status=status)
    if status in (401, 403) and hops:  # the token in the redirect has expired, or the way led by a login: ask anew
        raise TryAgainError(f"HTTP {status} after a redirect", status=status)
    if 200 <= status < 300:
        raise TryAgainError(f"HTTP {status}, which was not asked for", status=status)
    said = excerpt(body)
    raise ArchiveError(f"{url}: HTTP {status}" + (f" ({said})" if said else ""), url=url, status=status)


def _number(text: str | None) -> int | None:
    return int(text) if text and text.strip().isdecimal() else None


def _retry_after(value: str | None) -> float:
    """Seconds to wait by the header Retry-After, which holds seconds or a date; 0 where there is none."""
    if not value:
        return 0.0
    if value.strip().isdecimal():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return 0.0


def _start_afresh() -> None:
    """Give a forked process its own sessions: two processes must not read from one connection."""
    global _thread, _counting
    _thread, _counting = _Thread(), threading.Lock()


os.register_at_fork(after_in_child=_start_afresh)
