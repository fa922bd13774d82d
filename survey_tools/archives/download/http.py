"""Downloads and small answers: each arrives whole or not at all, and is asked for again while an archive is busy.

The choice of errors to try again, and for how long, follows the CADC's own client: 408, 429, 5xx, lost connections and
short answers, after 1, 2, 4 … s or as long as the header Retry-After asks for. A download continues as long as each
attempt adds to it.

The rest of galtrans uses this file and `ways`. The other files of the folder do its parts::

    ways       the several addresses of one thing, which are all tried before a wait, and how patiently they are asked
    transfer   a file during its download: .part, Range, size, md5
    answers    one request: redirects, statuses, headers
    hosts      which hosts may be asked, and how often
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote, unquote, urljoin, urlsplit

import requests

from survey_tools.archives.download.answers import (
    TIMEOUT,
    ExplainedError,
    FileFacts,
    NotThereError,
    Question,
    Traffic,
    TryAgainError,
    ask,
    excerpt,
    facts,
    pieces,
    received,
    traffic,
)
from survey_tools.archives.download.hosts import TOO_MANY, Host, host_of
from survey_tools.archives.download.transfer import MAGIC, WantedFile, is_page, not_the_file, unfinished
from survey_tools.archives.download.ways import USUAL, Manner, Ways, ways_of
from survey_tools.errors import ArchiveError, AwayError

__all__ = [
    "ExplainedError",
    "FileFacts",
    "NotThereError",
    "Traffic",
    "Ways",
    "beginning",
    "download",
    "head",
    "join",
    "links",
    "part",
    "read",
    "received",
    "traffic",
]

ATTEMPTS = 6
ATTEMPTS_WHEN_DOWN = 2  # if the request before found the archive down
FIRST_WAIT = 1.0  # [s] doubled after each attempt
LONGEST_WAIT = 128.0  # [s]
QUERY_TIMEOUT = (15.0, 660.0)  # [s] as TIMEOUT, for a database: SkyServer allows a query 600 s
BEGINNING = 2**20  # [byte] contains the headers of any file here: a block of bzip2 has 900 kB at most
LARGEST_ANSWER = 2**29  # [byte] that `read` accepts into memory
KINDS: dict[str, tuple[bytes, ...]] = {  # the first bytes of each, after blanks; () is anything but a web page
    "csv": (),
    "text": (),
    "votable": (b"<?xml", b"<VOTABLE", b"<!--"),
    "json": (b"{", b"["),
    "fits": MAGIC,
    "html": (b"<",),
}
QUERIES = ("csv", "votable", "json")
FINAL = (400, 413, 414, 431)  # statuses of a request that no other address would accept either

log = logging.getLogger(__name__)


def download(
    url: str | Ways,
    path: Path,
    *,
    size: int | None = None,
    md5: str | None = None,
    fits: bool = True,
    once: bool = False,
    manner: Manner = USUAL,
) -> None:
    """Download a file to `path`, which afterwards is whole or does not exist.

    If the connection, the process or the disk space ends, the received part stays beside it as `.part`, and the next
    call resumes there. After an ArchiveError nothing stays.

    Parameters
    ----------
    url : str or Ways
        Address of the file, or several addresses.
    path : Path
        Where to write it. Folders are made, and a file of that name is replaced.
    size : int, optional
        Size [byte], if known.
    md5 : str, optional
        MD5 in hexadecimal digits, if known. The archive's own headers are checked too.
    fits : bool
        Whether the file is FITS, plain or compressed by bzip2 or gzip.
    once : bool
        Keep an existing file of that size when it is this task's turn: another task has downloaded it.
    manner : Manner
        How patiently to ask, and below which speed to stop and resume.

    Raises
    ------
    NotThereError
        If the archive has no such file.
    ArchiveError
        If the answer is an error, empty, short, or not the file (a page of HTML, another md5).
    ConnectionError
        If the archive cannot be reached, or stays busy; the next file would fail too.
    OSError
        If the disk is full, and the like; it names the file.
    """
    with unfinished(WantedFile(str(url), size, md5, fits, manner), path) as part:
        if once and path.exists() and size in (None, path.stat().st_size):
            return
        try:
            patiently(url, part.fetch, manner, part.grew)
        except ArchiveError:
            part.drop()
            raise
        part.finish()


def read(
    url: str | Ways,
    *,
    params: Mapping[str, str] | None = None,
    data: Mapping[str, str] | None = None,
    files: Mapping[str, bytes] | None = None,
    kind: str,
    attempts: int | None = None,
    manner: Manner = USUAL,
    explain: Callable[[int, bytes], ExplainedError | None] | None = None,
) -> bytes:
    """Return a small answer, of a query or a list.

    Parameters
    ----------
    url : str or Ways
        Address, or several addresses of the same service.
    params : mapping, optional
        Parameters that go into the URL, encoded.
    data : mapping, optional
        Fields of a form. With them the request is a POST, else a GET.
    files : mapping, optional
        Contents of files of the same form, by the name of their field.
    kind : str
        The expected content, a key of `KINDS`. A page of HTML in its place is an error, and is asked for again.
    attempts : int, optional
        Number of attempts at an archive that is up but gives no valid answer, if the caller has a better remedy than to
        repeat the request; else `ATTEMPTS`.
    manner : Manner
        How patiently to ask.
    explain : callable, optional
        Makes the error for a refusal from its HTTP status and the beginning of its body, or returns None, if the status
        explains it.

    Returns
    -------
    bytes

    Raises
    ------
    ArchiveError, ConnectionError
        As `download` does. The message of a refusal contains the first words of the answer.
    """
    timeout = _timeout(manner, QUERY_TIMEOUT if kind in QUERIES else None)

    def once(address: str) -> bytes:
        return _small_answer(
            Question(address, "GET" if data is None else "POST", {}, params, data, files, timeout, explain), kind
        )

    return patiently(url, once, manner, attempts=attempts)


def beginning(url: str | Ways, length: int = BEGINNING, manner: Manner = USUAL) -> bytes:
    """Return the first bytes of a FITS file, by default enough for its headers. Raises the errors of `download`."""
    return patiently(url, lambda address: _bytes(address, 0, length, manner), manner)


def part(url: str | Ways, start: int, length: int, manner: Manner = USUAL) -> bytes:
    """Return `length` bytes of a file from byte `start`.

    Raises
    ------
    ArchiveError
        If the archive does not send parts of files, and as `download` does.
    ConnectionError
        As `download` does.
    """
    return patiently(url, lambda address: _bytes(address, start, length, manner), manner)


def head(url: str | Ways, manner: Manner = USUAL) -> FileFacts:
    """Return the archive's facts about a file, without the file. Raises the errors of `download`."""
    return patiently(url, lambda address: _head(address, manner), manner)


def links(url: str) -> list[str]:
    """Return the names of files in the same folder that the index page at `url` links to.

    The names come from a server. They contain no "/", but must not be used as names of files here.

    Raises
    ------
    ArchiveError
        If there is no such page.
    """
    base = url.rstrip("/") + "/"
    try:
        text = read(url, kind="html").decode("utf-8", "replace")
    except ArchiveError as error:
        message = f"{url} has no index page ({_reason(error, url)}); copy its files into a local folder"
        raise ArchiveError(message, url=url, status=error.status) from error
    page = _Links()
    page.feed(text)
    found = {_name_below(base, target) for target in page.targets}
    return sorted(found - {""})


def join(root: str, name: str) -> str:
    """Return the URL of the file `name` under `root`; a "+" is sent as %2B, as the CADC wants it."""
    return f"{root.rstrip('/')}/{quote(name, safe='/:')}"


class _Links(HTMLParser):
    """Collect the targets of the links of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        """Note the target of one link."""
        self.targets += [value for name, value in attrs if tag == "a" and name == "href" and value]


def _name_below(base: str, target: str) -> str:
    """Return the name of the file in the folder `base` that a link leads to; "" if it leads elsewhere."""
    try:
        place = urlsplit(urljoin(base, target))
    except ValueError:
        return ""
    link = place._replace(fragment="").geturl()
    name = unquote(link.removeprefix(base)) if link.startswith(base) and not place.query else ""
    plain = name.isprintable() and not any(sign in name for sign in "/\\") and not name.startswith(".")
    return name if plain else ""


@dataclass
class _Round:
    """The results of one request to every address: failures that may pass, and refusals, each with its address."""

    passing: list[tuple[str, TryAgainError]] = field(default_factory=list)
    refused: list[tuple[str, ArchiveError]] = field(default_factory=list)

    @property
    def worst(self) -> tuple[str, TryAgainError]:
        """The failure to report: one with a status before one without an answer, and the first of those."""
        return min(self.passing, key=lambda each: (each[1].status == 0, not each[1].busy))


def patiently(
    url: str | Ways,
    attempt: Callable[[str], object],
    manner: Manner,
    progress: Callable[[], bool] = lambda: False,
    attempts: int | None = None,
    host: Callable[[str], Host] = host_of,
):
    """Return the result of `attempt` for one of the addresses, which are tried again as long as this may help.

    Parameters
    ----------
    url : str or Ways
        Address, or several addresses.
    attempt : callable
        Makes one attempt at an address; raises TryAgainError or ArchiveError if it fails.
    manner : Manner
        How patiently to ask.
    progress : callable
        Returns whether a failed attempt got further.
    attempts : int, optional
        Limits the attempts at an archive that is up.
    host : callable
        Returns the host of an address.

    Raises
    ------
    ArchiveError, ConnectionError
        As `download` does.
    """
    ways, wait, failures = ways_of(url), FIRST_WAIT, 0
    for address in ways.in_turn():
        host(address)  # raises ArchiveError for a wrong address, before any request
    down = all(host(address).down for address in ways.in_turn())
    while True:
        tried, further = _Round(), False
        for address in ways.in_turn():
            try:
                result = attempt(address)
            except ArchiveError as error:
                _refused(tried, address, error, manner, host)
            except TryAgainError as error:
                error.busy |= error.status in manner.passing
                tried.passing.append((address, error))
                further |= progress()
                if error.slow:
                    break  # the same address may lead to another site
            else:
                host(address).answered()
                ways.worked(address, _in_short(tried))
                return result
        if not tried.passing:
            raise tried.refused[0][1]
        address, error = tried.worst
        if further:
            wait, failures = FIRST_WAIT, 0
        failures += not error.of_part
        if failures >= _limit(error, down, manner, attempts):
            raise _given_up(ways, tried, failures, attempts is None, host) from None
        pause = min(max(wait, error.wait), LONGEST_WAIT)
        if host(address).shall_tell(pause):
            message = "%s: %s; waiting %g s before the next attempt (-v reports every wait)"
            log.warning(message, urlsplit(address).hostname, error, pause)
        else:
            log.info("%s: %s; again in %g s", address, error, pause)
        time.sleep(pause)
        wait *= 2


def _refused(tried: _Round, address: str, error: ArchiveError, manner: Manner, host: Callable[[str], Host]) -> None:
    """Note a refusal, as a passing state if it is one; raise it if the request itself is wrong."""
    if isinstance(error, ExplainedError):
        host(address).answered()
        raise error
    if error.status in manner.passing:
        tried.passing.append((address, TryAgainError(f"HTTP {error.status}", busy=True, status=error.status)))
        return
    host(address).answered()
    if error.status in FINAL or (error.status == 200 and not isinstance(error, NotThereError)):
        raise error
    tried.refused.append((address, error))


def _limit(error: TryAgainError, down: bool, manner: Manner, attempts: int | None) -> int:
    """Return how many failures in a row are enough."""
    if manner.tries is not None:
        return manner.tries
    if not error.busy:
        return ATTEMPTS if attempts is None else attempts
    if down:
        return ATTEMPTS_WHEN_DOWN
    if attempts is not None and error.status in manner.passing:
        return attempts
    return _tries(manner.patience) if error.status else min(ATTEMPTS, _tries(manner.patience))


def _tries(patience: float) -> int:
    """Return the number of attempts with growing waits between them of so many seconds: 6 in 31 s, 22 in 1800 s."""
    waited, wait, tries = 0.0, 1.0, 1
    while waited < patience:
        waited, wait, tries = waited + wait, min(2 * wait, 128.0), tries + 1
    return tries


def _given_up(ways: Ways, tried: _Round, failures: int, patient: bool, host: Callable[[str], Host]) -> Exception:
    """Return the error to raise when patience has ended: either this file or the archive is at fault.

    An archive that had all of the patience is noted as down.
    """
    (address, error), often = tried.worst, f", {failures} times" if failures > 1 else ""
    place = host(address)
    place.bad += 1
    others = [each for each in ways.in_turn() if each != address] if len(tried.passing + tried.refused) > 1 else []
    more = f"; nor by {_hosts(others)}" if others else ""
    if error.busy:
        for each, _ in tried.passing:
            host(each).down |= patient
        what = "is the archive up?" if error.status not in (403, 404, 410) else "it may be back later"
        return AwayError(f"{ways}: {error}{often}{more}; {what}", url=str(ways), status=error.status)
    if place.bad >= TOO_MANY:
        message = f"{ways}: {error}{often}, as {place.bad - 1} files before it{more}; is the archive in order?"
        return AwayError(message, url=str(ways), status=error.status)
    return ArchiveError(f"{ways}: {error}{often}{more}", url=str(ways), status=error.status)


def _hosts(urls: list[str]) -> str:
    """Return the other addresses of a thing, in few words."""
    names = list(dict.fromkeys(str(urlsplit(url).hostname) for url in urls))
    return f"{len(urls)} other address{'es' if len(urls) > 1 else ''} ({', '.join(names)})"


def _in_short(tried: _Round) -> str:
    """Return why the addresses before did not work."""
    said = [*(str(error) for _, error in tried.passing), *(f"HTTP {error.status}" for _, error in tried.refused)]
    return "; ".join(dict.fromkeys(said))


def _timeout(manner: Manner, usual: tuple[float, float] | None) -> tuple[float, float] | None:
    """Return the time limits for the connection and between two parts of an answer [s], as `Question` has them."""
    if manner.connect is None and manner.silence is None:
        return usual
    connect, silence = usual or TIMEOUT
    return manner.connect or connect, manner.silence or silence


def _small_answer(question: Question, kind: str) -> bytes:
    """Make one attempt of `read`."""
    with ask(question) as answer:
        said, content = facts(answer), bytearray()
        for piece in pieces(answer):
            content += piece
            if len(content) > LARGEST_ANSWER:
                raise ArchiveError(
                    f"{question.url}: the answer is longer than {LARGEST_ANSWER} bytes", url=question.url
                )
        if said.size is not None and len(content) != said.size:
            raise TryAgainError(f"the answer has {len(content)} of {said.size} bytes", status=200)
        _require_kind(answer, content, kind)
        return bytes(content)


def _require_kind(answer: requests.Response, content: bytearray, kind: str) -> None:
    """Raise TryAgainError if an answer is empty or not of the expected kind."""
    start = bytes(content[:1024])
    if not start.strip():
        raise TryAgainError("the answer is empty", status=answer.status_code)
    text = start if kind == "fits" else start.lstrip(b"\xef\xbb\xbf \t\r\n")
    due = text.startswith(KINDS[kind]) if KINDS[kind] else True
    served = answer.headers.get("Content-Type", "unknown")
    right = "html" in served if kind == "html" else not is_page(start)
    if not due or not right:
        said = excerpt(bytes(content[:2000]))
        raise TryAgainError(f"the answer is not {kind} (Content-Type {served}: {said})", status=answer.status_code)


def _bytes(url: str, start: int, length: int, manner: Manner) -> bytes:
    """Make one attempt of `beginning` or `part`.

    An archive that ignores ranges sends the whole file, of which no more is read than is needed.
    """
    asked = {"Range": f"bytes={start}-{start + length - 1}"}
    with ask(Question(url, headers=asked, timeout=_timeout(manner, None)), (200, 206)) as answer:
        said, received = facts(answer), bytearray()
        if said.status == 200 and start:
            raise ArchiveError(f"{url}: the archive does not send parts of a file by Range", url=url, status=200)
        if said.status == 206 and not answer.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            raise TryAgainError("the archive sent another range than was requested", status=206)
        for piece in pieces(answer):
            received += piece
            if len(received) >= length:
                break
        if not start and not received.startswith(MAGIC):
            raise not_the_file(answer, bytes(received[:1024]))
        due = length if said.size is None else min(length, said.size - start)
        if len(received) < due:
            raise TryAgainError(f"the answer has {len(received)} of {due} bytes", status=said.status)
        return bytes(received[:length])


def _head(url: str, manner: Manner) -> FileFacts:
    """Make one attempt of `head`; a server that does not know HEAD is asked for the first byte."""
    timeout = _timeout(manner, None)
    with ask(Question(url, "HEAD", timeout=timeout), (200, 405, 501)) as answer:
        if answer.status_code == 200:
            return facts(answer)
    with ask(Question(url, headers={"Range": "bytes=0-0"}, timeout=timeout), (200, 206)) as answer:
        return facts(answer)


def _reason(error: ArchiveError, url: str) -> str:
    """Return the message of an error without the URL at its beginning."""
    return str(error).removeprefix(url).removeprefix(":").strip()
