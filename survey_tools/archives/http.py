"""Downloads and small answers: each whole or not at all, asked for again while an archive is busy.

What is tried again, and for how long, follows the CADC's own client: 408, 429, 5xx, lost connections and short answers,
after 1, 2, 4 … s or as long as the answer's Retry-After asks for. A download that gets further each time goes on.

http       download, read, beginning, head, links: with patience    <- what the rest of galtrans uses
transfer   a file on its way: .part, Range, size, md5
answers    one request: redirects, statuses, headers
hosts      who may be asked, and how hard
"""

import logging
import time
from collections.abc import Callable, Mapping
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote, unquote, urljoin, urlsplit

import requests

from survey_tools.archives.answers import (
    Facts,
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
from survey_tools.archives.hosts import TOO_MANY, host_of
from survey_tools.archives.transfer import MAGIC, Wanted, is_page, not_the_file, unfinished
from survey_tools.errors import ArchiveError, AwayError

__all__ = [
    "Facts",
    "NotThereError",
    "Traffic",
    "beginning",
    "download",
    "head",
    "join",
    "links",
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

log = logging.getLogger(__name__)


def download(
    url: str, path: Path, *, size: int | None = None, md5: str | None = None, fits: bool = True, once: bool = False
) -> None:
    """Fetch a file to `path`, which is whole or not there.

    What has come of it when the connection, the process or the disk ends stays beside it as `.part`, and the next call
    goes on from there. After an ArchiveError nothing stays.

    Args:
        url: Of the file.
        path: Where it shall be; folders are made, and a file of that name is replaced.
        size: Bytes, where known.
        md5: In hexadecimal digits, where known. What the archive's own headers say of both is checked as well.
        fits: Whether it is FITS, plain or compressed by bzip2 or gzip.
        once: Leave a file that is there, and of that size, when this task's turn comes: another task has fetched it.

    Raises:
        NotThereError: Where the archive has no such file.
        ArchiveError: Where the answer is an error, empty, short, or not the file (a page of HTML, another md5).
        ConnectionError: Where the archive cannot be reached, or stays busy: it is no use to ask for the next file.
        OSError: Where the disk is full, and the like; it names the file.
    """
    with unfinished(Wanted(url, size, md5, fits), path) as part:
        if once and path.exists() and size in (None, path.stat().st_size):
            return
        try:
            _patiently(url, part.fetch, part.grew)
        except ArchiveError:
            part.drop()
            raise
        part.finish()


def read(
    url: str,
    *,
    params: Mapping[str, str] | None = None,
    data: Mapping[str, str] | None = None,
    kind: str,
    attempts: int | None = None,
) -> bytes:
    """A small answer: of a query, or a list.

    Args:
        url: To GET, or to POST to where there is `data`.
        params: Go into the URL, encoded.
        data: Fields of a form.
        kind: What is due, a key of KINDS; a page of HTML in its place is an error, and asked for again.
        attempts: How often to ask an archive that is up but gives no good answer, where the caller has a better remedy
            than to ask the same again; else ATTEMPTS.

    Raises: what `download` does. The error of a final no holds the first words of the answer.
    """
    timeout = QUERY_TIMEOUT if kind in QUERIES else None
    question = Question(url, "GET" if data is None else "POST", {}, params, data, timeout)
    return _patiently(url, lambda: _small_answer(question, kind), attempts=attempts)


def beginning(url: str, length: int = BEGINNING) -> bytes:
    """The first bytes of a FITS file, by default enough for its headers; raises what `download` does."""
    return _patiently(url, lambda: _first_bytes(url, length))


def head(url: str) -> Facts:
    """What the archive says of a file without sending it; raises what `download` does."""
    return _patiently(url, lambda: _head(url))


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


def _patiently(url: str, attempt: Callable, progress: Callable[[], bool] = lambda: False, attempts: int | None = None):
    """What `attempt` returns, tried again as long as there is hope; `progress` says whether a failure got further."""
    host, wait, failures = host_of(url), FIRST_WAIT, 0
    while True:
        try:
            result = attempt()
            host.answered()
            return result
        except ArchiveError:
            host.answered()
            raise
        except TryAgainError as error:
            if progress():
                wait, failures = FIRST_WAIT, 0
            failures += not error.of_part
            patience = ATTEMPTS if error.busy or attempts is None else attempts
            if failures >= (ATTEMPTS_WHEN_DOWN if error.busy and host.down else patience):
                raise _given_up(url, error, failures) from None
            pause = min(max(wait, error.wait), LONGEST_WAIT)
            if host.shall_tell(pause):
                message = "%s: %s; waiting %g s before it is asked again (-v tells of every wait)"
                log.warning(message, urlsplit(url).hostname, error, pause)
            else:
                log.info("%s: %s; again in %g s", url, error, pause)
        time.sleep(pause)
        wait *= 2


def _given_up(url: str, error: TryAgainError, failures: int) -> Exception:
    """What to raise where patience has ended: whether it is this file or the archive that is no good."""
    host, often = host_of(url), f", {failures} times" if failures > 1 else ""
    host.bad += 1
    if error.busy:
        host.down = True
        return AwayError(f"{url}: {error}{often}; is the archive up?", url=url, status=error.status)
    if host.bad >= TOO_MANY:
        message = f"{url}: {error}{often}, as {host.bad - 1} files before it; is the archive in order?"
        return AwayError(message, url=url, status=error.status)
    return ArchiveError(f"{url}: {error}{often}", url=url, status=error.status)


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


def _first_bytes(url: str, length: int) -> bytes:
    """One try of `beginning`. An archive that does not know ranges sends the whole file, of which no more is read."""
    with ask(Question(url, headers={"Range": f"bytes=0-{length - 1}"}), (200, 206)) as answer:
        said, received = facts(answer), bytearray()
        if said.status == 206 and not answer.headers.get("Content-Range", "").startswith("bytes 0-"):
            raise TryAgainError("the archive sent another range than was asked for", status=206)
        for piece in pieces(answer):
            received += piece
            if len(received) >= length:
                break
        if not received.startswith(MAGIC):
            raise not_the_file(answer, bytes(received[:1024]))
        if said.size is not None and len(received) < min(length, said.size):
            raise TryAgainError(f"the answer has {len(received)} of {min(length, said.size)} bytes", status=said.status)
        return bytes(received[:length])


def _head(url: str) -> Facts:
    """One try of `head`; a server that does not know HEAD is asked for the first byte."""
    with ask(Question(url, "HEAD"), (200, 405, 501)) as answer:
        if answer.status_code == 200:
            return facts(answer)
    with ask(Question(url, headers={"Range": "bytes=0-0"}), (200, 206)) as answer:
        return facts(answer)


def _reason(error: ArchiveError, url: str) -> str:
    """An error's message without the URL before it."""
    return str(error).removeprefix(url).removeprefix(":").strip()
