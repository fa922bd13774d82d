"""One request to an archive and its answer, or the reason why there is none.

A redirect is followed again in every request. It is neither kept nor logged, because the targets at the CADC contain
tokens that expire.
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

TIMEOUT = (15.0, 120.0)  # [s] for the connection, and between two parts of an answer
PIECE = 2**16  # [byte] a slow archive needs about a second for one part
MOST_HOPS = 10  # redirects of one request
BUSY = {408, 429, 503}  # the archive as a whole says "not now"
PASSING = BUSY | {409}  # and all from 500 on; the CADC's 409 comes and goes (astroquery issue 1886)
HEADERS = {"User-Agent": f"galtrans/{VERSION} (astronomical image cutouts)", "Accept-Encoding": "identity"}
OBSTACLES = (  # kinds of errors in words; the first that fits is reported
    (urllib3.exceptions.NameResolutionError, "the name of the host is unknown"),
    (urllib3.exceptions.NewConnectionError, "the host accepts no connection"),
    (urllib3.exceptions.ConnectTimeoutError, "the host does not answer"),
    (
        urllib3.exceptions.SSLError,
        "the host has no valid certificate; if your proxy signs connections with its own, name the file of its "
        "certificates in REQUESTS_CA_BUNDLE",
    ),
)

log = logging.getLogger(__name__)
logging.getLogger("urllib3").setLevel(logging.INFO)  # below that it logs the targets of redirects, which hold tokens


class NotThereError(ArchiveError):
    """The archive answers that it has no such file (HTTP 404 or 410)."""


class ExplainedError(ArchiveError):
    """The archive refuses with an explanation of its own, and would refuse again."""


class TryAgainError(Exception):
    """A request failed in a way that may pass.

    Attributes
    ----------
    busy : bool
        Whether the archive is at fault, rather than this file.
    wait : float
        The wait that the archive asked for [s]; 0 if it asked for none.
    status : int
        HTTP status; 0 without an answer.
    of_part : bool
        Whether the part that was kept before may be wrong, and not this answer. The part is deleted then, so that this
        cannot happen twice in a row.
    slow : bool
        Whether the answer came too slowly: another attempt at the same address may be faster.
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
    """One request.

    Attributes
    ----------
    url : str
        Its address.
    method : str
        GET, POST or HEAD.
    headers : mapping
        Headers besides the usual ones.
    params : mapping, optional
        Parameters that go into the URL.
    data : mapping, optional
        Fields of a form to POST.
    files : mapping, optional
        Contents of files of the same form, by the name of their field.
    timeout : (float, float), optional
        Time limits for the connection and between two parts of the answer [s]; None is `TIMEOUT`.
    explain : callable, optional
        Makes the error for a refused request from its status and the beginning of its body.
    """

    url: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] | None = None
    data: Mapping[str, str] | None = None
    files: Mapping[str, bytes] | None = None
    timeout: tuple[float, float] | None = None  # None is TIMEOUT
    explain: Callable[[int, bytes], ExplainedError | None] | None = None


@dataclass(frozen=True)
class FileFacts:
    """Facts about the whole file, from the headers of an answer.

    Attributes
    ----------
    status : int
        HTTP status.
    size : int, optional
        Size [byte]; None if it is not stated.
    md5 : str, optional
        MD5 in hexadecimal digits; None if it is not stated.
    accepts_ranges : bool
        Whether a part of the file can be requested.
    etag : str
        A name for exactly these bytes; "" if there is none that is reliable.
    modified : str
        Time of the last change, as the archive writes it; "" if it is not stated.
    """

    status: int
    size: int | None
    md5: str | None
    accepts_ranges: bool
    etag: str = ""
    modified: str = ""


@dataclass(frozen=True)
class Traffic:
    """Number of requests, and received bytes."""

    requests: int
    bytes: int

    def __sub__(self, earlier: "Traffic") -> "Traffic":
        return Traffic(self.requests - earlier.requests, self.bytes - earlier.bytes)


class _Thread(threading.local):
    """The state of one thread: a session, whose connections stay open, and its traffic."""

    def __init__(self) -> None:
        self.session = requests.Session()
        self.session.headers.update(HEADERS)
        self.session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))  # no request depends on an earlier one
        self.requests = self.bytes = 0


_thread = _Thread()
_received, _counting = [0], threading.Lock()  # bytes of all threads


def traffic() -> Traffic:
    """Return the requests and bytes of the calling thread since it began."""
    return Traffic(_thread.requests, _thread.bytes)


def count(requests: int, size: int) -> None:
    """Count requests of the calling thread, and bytes that it received."""
    _thread.requests += requests
    _thread.bytes += size
    with _counting:
        _received[0] += size


def received() -> int:
    """Return the bytes that all threads of this process have received."""
    return _received[0]


@contextmanager
def ask(question: Question, accept: tuple[int, ...] = (200,)) -> Iterator[requests.Response]:
    """Yield the archive's answer; its body is still to be read through `pieces`.

    Parameters
    ----------
    question : Question
        The request.
    accept : tuple of int
        HTTP statuses that count as an answer.

    Yields
    ------
    requests.Response

    Raises
    ------
    NotThereError
        If the archive has no such file.
    ArchiveError
        If the archive refuses for good, or redirects to a host that is not a known archive.
    TryAgainError
        If another attempt may help, also if the body breaks off while it is read.
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
        raise ArchiveError(f"{question.url} is not a web address, or redirects to none", url=question.url) from None
    except requests.RequestException as error:  # its own text may contain a token
        raise TryAgainError(f"no answer ({_obstacle(question.url, error)})", busy=True) from None
    except urllib3.exceptions.ReadTimeoutError:
        raise TryAgainError("no answer (ReadTimeout)", busy=True) from None
    except (urllib3.exceptions.HTTPError, OverflowError):
        raise TryAgainError("the answer broke off") from None


def _obstacle(url: str, error: requests.RequestException) -> str:
    """Return the reason for a missing answer, in words."""
    if isinstance(error, requests.exceptions.ProxyError | requests.exceptions.InvalidProxyURL):
        return reach.trouble(url, error)
    cause = error.args[0] if error.args else None
    if isinstance(cause, urllib3.exceptions.MaxRetryError):
        cause = cause.reason
    return next((words for kind, words in OBSTACLES if isinstance(cause, kind)), type(error).__name__)


def pieces(answer: requests.Response) -> Iterator[bytes]:
    """Yield the body of an answer in parts, without a compression that was added for the transfer.

    Some servers call the compression of a .gz file a transfer encoding; its bytes are kept as they are.
    """
    for piece in answer.raw.stream(PIECE, decode_content=packed(answer)):
        count(0, len(piece))
        yield piece


def packed(answer: requests.Response) -> bool:
    """Return whether a body was compressed for the transfer, against our request; its length is then not the file's."""
    asked = answer.request.path_url.partition("?")[0].lower()
    return "Content-Encoding" in answer.headers and not asked.endswith((".gz", ".bz2", ".fz", ".z"))


def facts(answer: requests.Response) -> FileFacts:
    """Return the facts about the whole file from the headers of an answer."""
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
    """Return the MD5 in hexadecimal digits from a header Digest; None if it has none.

    The CADC sends base64 of the 16 bytes; its old service sent base64 of the hexadecimal digits.
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
    """Return the beginning of a text or page as one printable line without markup, for a message."""
    text = re.sub(r"<[^>]*>", " ", body[:2000].decode("utf-8", "replace"))
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())[:160]


def _follow(question: Question, held: ExitStack) -> tuple[requests.Response, int]:
    """Return the answer after all redirects, and their number; `held` holds the turn at its host and the connection."""
    url, method, data, params = question.url, question.method, question.data, question.params
    files = question.files
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
                files=files,
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
            method, data, files = "GET", None, None
        url, params = target, None
        answer.raw.read(2**16)  # read, so that the connection can be used again
        held.close()
    raise TryAgainError(f"more than {MOST_HOPS} redirects")


def _refuse(question: Question, answer: requests.Response, hops: int) -> None:
    """Raise the error that an answer of this status means."""
    url, status = question.url, answer.status_code
    body = answer.raw.read(2**16, decode_content=True) or b""  # read, so that the connection can be used again
    if question.explain is not None and (error := question.explain(status, body)) is not None:
        raise error
    if status in (404, 410):
        raise NotThereError(f"{url} does not exist (HTTP {status})", url=url, status=status)
    if status == 407:
        raise TryAgainError(reach.trouble(url, "it asks for a name and a password (HTTP 407)"), busy=True)
    if status in PASSING or status >= 500:
        wait = _retry_after(answer.headers.get("Retry-After"))
        raise TryAgainError(f"HTTP {status}", busy=status in BUSY, wait=wait, status=status)
    if status in (401, 403) and hops:  # the token in the redirect has expired, or it led to a login page
        raise TryAgainError(f"HTTP {status} after a redirect", status=status)
    if 200 <= status < 300:
        raise TryAgainError(f"HTTP {status}, which was not requested", status=status)
    said = excerpt(body)
    raise ArchiveError(f"{url}: HTTP {status}" + (f" ({said})" if said else ""), url=url, status=status)


def _number(text: str | None) -> int | None:
    return int(text) if text and text.strip().isdecimal() else None


def _retry_after(value: str | None) -> float:
    """Return the wait that the header Retry-After asks for [s], given in seconds or as a date; 0 without a header."""
    if not value:
        return 0.0
    if value.strip().isdecimal():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return 0.0


def _start_afresh() -> None:
    """Give a forked process its own sessions, because two processes must not read from one connection."""
    global _thread, _counting
    _thread, _counting = _Thread(), threading.Lock()


os.register_at_fork(after_in_child=_start_afresh)
