"""Downloads and small answers: each whole or not at all, asked for again while an archive is busy.

What is tried again, and for how long, follows the CADC's own client: 408, 429, 5xx, lost connections and short answers,
after 1, 2, 4 … s or as long as the answer's Retry-After asks for. A download that gets further each time goes on.

http       download, read, beginning, part, head, links: with patience    <- what the rest of galtrans uses
ways       several addresses of one thing, of which each is tried before anything is waited for
manner     how patiently, and which answers are passing states of an archive
transfer   a file on its way: .part, Range, size, md5
answers    one request: redirects, statuses, headers
hosts      who may be asked, and how hard
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
from survey_tools.archives.download.hosts import TOO_MANY, host_of
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
ATTEMPTS_WHEN_DOWN = 2  # where the request before found the archive down
FIRST_WAIT = 1.0  # [s] doubled after each attempt
LONGEST_WAIT = 128.0  # [s]
QUERY_TIMEOUT = (15.0, 660.0)  # [s] as TIMEOUT, for a database: SkyServer gives a query 600 s
BEGINNING = 2**20  # [byte] holds the headers of any file here: a block of bzip2 is 900 kB at most
LARGEST_ANSWER = 2**29  # [byte] that `read` takes into memory
KINDS: dict[str, tuple[bytes, ...]] = {  # what each begins with, after blanks; () is anything but a page
    "csv": (),
    "text": (),
    "votable": (b"<?xml", b"<VOTABLE", b"<!--"),
    "json": (b"{", b"["),
    "fits": MAGIC,
    "html": (b"<",),
}
QUERIES = ("csv", "votable", "json")
FINAL = (400, 413, 414, 431)  # statuses of a request that no other address would take either

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
    """Fetch a file to `path`, which is whole or not there.

    What has come of it when the connection, the process or the disk ends stays beside it as `.part`, and the next call
    goes on from there. After an ArchiveError nothing stays.

    Args:
        url: Of the file, or several of the same.
        path: Where it shall be; folders are made, and a file of that name is replaced.
        size: Bytes, where known.
        md5: In hexadecimal digits, where known. What the archive's own headers say of both is checked as well.
        fits: Whether it is FITS, plain or compressed by bzip2 or gzip.
        once: Leave a file that is there, and of that size, when this task's turn comes: another task has fetched it.
        manner: How patiently to ask, and below which speed to break off and ask again.

    Raises:
        NotThereError: Where the archive has no such file.
        ArchiveError: Where the answer is an error, empty, short, or not the file (a page of HTML, another md5).
        ConnectionError: Where the archive cannot be reached, or stays busy: it is no use to ask for the next file.
        OSError: Where the disk is full, and the like; it names the file.
    """
    with unfinished(WantedFile(str(url), size, md5, fits, manner), path) as part:
        if once and path.exists() and size in (None, path.stat().st_size):
            return
        try:
            _patiently(url, part.fetch, manner, part.grew)
        except ArchiveError:
            part.drop()
            raise
        part.finish()


def read(
    url: str | Ways,
    *,
    params: Mapping[str, str] | None = None,
    data: Mapping[str, str] | None = None,
    kind: str,
    attempts: int | None = None,
    manner: Manner = USUAL,
    explain: Callable[[int, bytes], ExplainedError | None] | None = None,
) -> bytes:
    """A small answer: of a query, or a list.

    Args:
        url: To GET, or to POST to where there is `data`; or several of the same service.
        params: Go into the URL, encoded.
        data: Fields of a form.
        kind: What is due, a key of KINDS; a page of HTML in its place is an error, and asked for again.
        attempts: How often to ask an archive that is up but gives no good answer, where the caller has a better remedy
            than to ask the same again; else ATTEMPTS.
        manner: How patiently to ask.
        explain: Gives the error for a refusal, by its HTTP status and the beginning of its body; None for one that is
            to be understood by its status.

    Raises: what `download` does. The error of a final no holds the first words of the answer.
    """
    timeout = _timeout(manner, QUERY_TIMEOUT if kind in QUERIES else None)

    def once(address: str) -> bytes:
        return _small_answer(
            Question(address, "GET" if data is None else "POST", {}, params, data, timeout, explain), kind
        )

    return _patiently(url, once, manner, attempts=attempts)


def beginning(url: str | Ways, length: int = BEGINNING, manner: Manner = USUAL) -> bytes:
    """The first bytes of a FITS file, by default enough for its headers; raises what `download` does."""
    return _patiently(url, lambda address: _bytes(address, 0, length, manner), manner)


def part(url: str | Ways, start: int, length: int, manner: Manner = USUAL) -> bytes:
    """`length` bytes of a file from byte `start` on; ArchiveError where the archive gives no parts of files.

    Raises besides: what `download` does.
    """
    return _patiently(url, lambda address: _bytes(address, start, length, manner), manner)


def head(url: str | Ways, manner: Manner = USUAL) -> FileFacts:
    """What the archive says of a file without sending it; raises what `download` does."""
    return _patiently(url, lambda address: _head(address, manner), manner)


def links(url: str) -> list[str]:
    """Names of files in its own folder that the index page at `url` links to; ArchiveError where there is no such page.

    They come from a server: they hold no "/", but are no names to give a file here.
    """
    base = url.rstrip("/") + "/"
    try:
        text = read(url, kind="html").decode("utf-8", "replace")
    except ArchiveError as error:
        message = f"{url} gives no index page ({_reason(error, url)}); copy its files into a local folder"
        raise ArchiveError(message, url=url, status=error.status) from error
    page = _Links()
    page.feed(text)
    found = {_name_below(base, target) for target in page.targets}
    return sorted(found - {""})


def join(root: str, name: str) -> str:
    """The URL of the file `name` under `root`; a "+" is sent as %2B, as the CADC wants it."""
    return f"{root.rstrip('/')}/{quote(name, safe='/:')}"


class _Links(HTMLParser):
    """Collects the targets of a page's links."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        """Note the target of one link."""
        self.targets += [value for name, value in attrs if tag == "a" and name == "href" and value]


def _name_below(base: str, target: str) -> str:
    """The name of the file in the folder `base` that a link leads to; "" where it leads elsewhere."""
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
    """What came of asking every address of a thing once: failures that may pass, and refusals, with their addresses."""

    passing: list[tuple[str, TryAgainError]] = field(default_factory=list)
    refused: list[tuple[str, ArchiveError]] = field(default_factory=list)

    @property
    def worst(self) -> tuple[str, TryAgainError]:
        """The failure to speak of: one with a status before one without an answer, and the first of those."""
        return min(self.passing, key=lambda each: (each[1].status == 0, not each[1].busy))


def _patiently(
    url: str | Ways,
    attempt: Callable[[str], object],
    manner: Manner,
    progress: Callable[[], bool] = lambda: False,
    attempts: int | None = None,
):
    """What `attempt` returns for one of the addresses, all of them tried again as long as there is hope.

    `progress` says whether a failure got further; `attempts` is how often an archive is asked that is up.
    """
    ways, wait, failures = ways_of(url), FIRST_WAIT, 0
    for address in ways.in_turn():
        host_of(address)  # ArchiveError where it is none, before anything is asked
    down = all(host_of(address).down for address in ways.in_turn())
    while True:
        tried, further = _Round(), False
        for address in ways.in_turn():
            try:
                result = attempt(address)
            except ArchiveError as error:
                _refused(tried, address, error, manner)
            except TryAgainError as error:
                error.busy |= error.status in manner.passing
                tried.passing.append((address, error))
                further |= progress()
                if error.slow:
                    break  # the same address may lead to another site
            else:
                host_of(address).answered()
                ways.worked(address, _in_short(tried))
                return result
        if not tried.passing:
            raise tried.refused[0][1]
        address, error = tried.worst
        if further:
            wait, failures = FIRST_WAIT, 0
        failures += not error.of_part
        if failures >= _limit(error, down, manner, attempts):
            raise _given_up(ways, tried, failures, attempts is None) from None
        pause = min(max(wait, error.wait), LONGEST_WAIT)
        if host_of(address).shall_tell(pause):
            message = "%s: %s; waiting %g s before it is asked again (-v tells of every wait)"
            log.warning(message, urlsplit(address).hostname, error, pause)
        else:
            log.info("%s: %s; again in %g s", address, error, pause)
        time.sleep(pause)
        wait *= 2


def _refused(tried: _Round, address: str, error: ArchiveError, manner: Manner) -> None:
    """Note a refusal, as a passing state where it is one; a request that is wrong in itself ends the attempt."""
    if isinstance(error, ExplainedError):
        host_of(address).answered()
        raise error
    if error.status in manner.passing:
        tried.passing.append((address, TryAgainError(f"HTTP {error.status}", busy=True, status=error.status)))
        return
    host_of(address).answered()
    if error.status in FINAL or (error.status == 200 and not isinstance(error, NotThereError)):
        raise error
    tried.refused.append((address, error))


def _limit(error: TryAgainError, down: bool, manner: Manner, attempts: int | None) -> int:
    """How many failures in a row are enough."""
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
    """Attempts with so many seconds of waiting between them, as the waits grow: 6 in 31 s, 22 in half an hour."""
    waited, wait, tries = 0.0, 1.0, 1
    while waited < patience:
        waited, wait, tries = waited + wait, min(2 * wait, 128.0), tries + 1
    return tries


def _given_up(ways: Ways, tried: _Round, failures: int, patient: bool) -> Exception:
    """What to raise where patience has ended: whether it is this file or the archive that is no good.

    Of an archive that had all of the patience it is noted that it is down.
    """
    (address, error), often = tried.worst, f", {failures} times" if failures > 1 else ""
    host = host_of(address)
    host.bad += 1
    others = [each for each in ways.in_turn() if each != address] if len(tried.passing + tried.refused) > 1 else []
    more = f"; nor by {_hosts(others)}" if others else ""
    if error.busy:
        for each, _ in tried.passing:
            host_of(each).down |= patient
        what = "is the archive up?" if error.status not in (403, 404, 410) else "it may be back later"
        return AwayError(f"{ways}: {error}{often}{more}; {what}", url=str(ways), status=error.status)
    if host.bad >= TOO_MANY:
        message = f"{ways}: {error}{often}, as {host.bad - 1} files before it{more}; is the archive in order?"
        return AwayError(message, url=str(ways), status=error.status)
    return ArchiveError(f"{ways}: {error}{often}{more}", url=str(ways), status=error.status)


def _hosts(urls: list[str]) -> str:
    """The other addresses of a thing, in few words."""
    names = list(dict.fromkeys(str(urlsplit(url).hostname) for url in urls))
    return f"{len(urls)} other address{'es' if len(urls) > 1 else ''} ({', '.join(names)})"


def _in_short(tried: _Round) -> str:
    """Why the addresses before did not do."""
    said = [*(str(error) for _, error in tried.passing), *(f"HTTP {error.status}" for _, error in tried.refused)]
    return "; ".join(dict.fromkeys(said))


def _timeout(manner: Manner, usual: tuple[float, float] | None) -> tuple[float, float] | None:
    """Seconds to connect, and between two pieces of an answer, as `Question` has them."""
    if manner.connect is None and manner.silence is None:
        return usual
    connect, silence = usual or TIMEOUT
    return manner.connect or connect, manner.silence or silence


def _small_answer(question: Question, kind: str) -> bytes:
    """One try of `read`."""
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
    """TryAgainError where an answer is empty or not of the kind that is due."""
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
    """One try of `beginning` or `part`. An archive that does not know ranges sends the whole file: its beginning does.

    Of such a file no more is read than is wanted.
    """
    asked = {"Range": f"bytes={start}-{start + length - 1}"}
    with ask(Question(url, headers=asked, timeout=_timeout(manner, None)), (200, 206)) as answer:
        said, received = facts(answer), bytearray()
        if said.status == 200 and start:
            raise ArchiveError(f"{url}: the archive gives no part of a file by Range", url=url, status=200)
        if said.status == 206 and not answer.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            raise TryAgainError("the archive sent another range than was asked for", status=206)
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
    """One try of `head`; a server that does not know HEAD is asked for the first byte."""
    timeout = _timeout(manner, None)
    with ask(Question(url, "HEAD", timeout=timeout), (200, 405, 501)) as answer:
        if answer.status_code == 200:
            return facts(answer)
    with ask(Question(url, headers={"Range": "bytes=0-0"}, timeout=timeout), (200, 206)) as answer:
        return facts(answer)


def _reason(error: ArchiveError, url: str) -> str:
    """An error's message without the URL before it."""
    return str(error).removeprefix(url).removeprefix(":").strip()
