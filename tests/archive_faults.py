"""What a server of archives may do wrong, and how an answer goes out.

A `Fault` is one row of a plan. A request is shown to the rows in their order; the first that matches it, has let
`after` matching requests pass and is not used up, spoils it. A row only sees requests that it can spoil (see KINDS).
"""

import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import unquote

PIECE = 2**16  # [byte]
GATEWAY = (
    b"<html><body><h1>503 Service Unavailable</h1>\nNo server is available to handle this request.\n</body></html>\n"
)
SKYSERVER = b"<html><head>\n<title>Skyserver Error</title></head>\n<body><h3>An error occurred</h3>%s</body></html>\n"
REDIRECTS = frozenset({"raven", "pub", "soda", "job"})  # routes that send the client elsewhere
TABLES = frozenset({"skyserver", "crossid", "tap", "vizier"})
FILES = frozenset({"sas", "storage", "static"})
# what each kind can spoil: routes (None is all), and "body" (not a redirect, not HEAD), "range" (a Range is asked for)
KINDS = {
    "html": (None, ""),  # HTTP 200 and a page of HTML
    "empty": (None, ""),  # HTTP 200 and no body
    "reset": (None, ""),  # connection reset; at=0: before any byte, else within the body
    "redirect_chain": (None, ""),  # `by` more redirects (303) before the answer
    "redirect_away": (None, ""),  # 303 to a host that nobody named: route "away" in the log, if it is followed
    "truncate": (None, "body"),  # the body ends at `at` of its length, and the connection with it
    "shortened": (None, "body"),  # the body ends there too, but Content-Length agrees: a proxy kept a part
    "stall": (None, "body"),  # nothing for `seconds` at `at` of the body, then the connection is closed
    "slow": (None, "body"),  # `by` thousand bytes a second
    "bit_flip": (None, "body"),  # one bit at `at` of the body
    "wrong_length": (FILES | TABLES, "body"),  # Content-Length is `by` too big, or too small where `by` < 0
    "ignore_range": (FILES, "range"),  # 200 and the whole file
    "wrong_range": (FILES, "range"),  # 206 of bytes that begin `by` later, as Content-Range says
    "changed": (FILES, "range"),  # the file is another than before, and `by` longer, as ETag and Content-Range say
    "multirange_full": (FILES - {"storage"}, "ranges"),  # 200 and the whole file where several ranges are asked for
    "clipped": (frozenset({"storage", "soda"}), "cutout"),  # `by` columns and rows fewer than asked for
    "no_content": (frozenset({"storage", "soda"}), "cutout"),  # 400 "NoContent"
    "other_band": (frozenset({"viewer", "ps1cutout"}), ""),  # images of another band
    "login": (frozenset({"raven", "pub"}), ""),  # 303 to where a password is asked for: route "auth"
    "expired_token": (frozenset({"storage"}), ""),  # 401
    "missing_rows": (TABLES, "body"),  # `by` rows are left out, at `at` of the table
    "overflow": (frozenset({"tap", "vizier"}), "body"),  # the second half is left out; QUERY_STATUS is OVERFLOW
}
STATUS = {"400", "401", "403", "404", "408", "409", "410", "429", "500", "502", "503", "504"}


@dataclass(frozen=True)
class Fault:
    """One row of a plan of faults.

    A client cannot know of all: a bit that turns in a window, which has no checksum, and rows that are missing from an
    answer whose number of rows it does not know.

    Attributes:
        kind: One of KINDS, or an HTTP status as text.
        match: Regular expression, searched in the unquoted path with its query.
        times: How often; -1 is always.
        after: Matching requests that pass before the first.
        method: "GET", "HEAD" or "POST"; "" is any.
        at: Where in the body or table, from 0 to 1.
        by: Bytes, pixels, rows, redirects or kB/s, as the kind says.
        wait: Retry-After of 408, 429 and 503; "" is none.
        seconds: Of a stall; 5 at most.
    """

    kind: str
    match: str = ""
    times: int = 1
    after: int = 0
    method: str = ""
    at: float = 0.5
    by: int = 3
    wait: str = "1"
    seconds: float = 0.3

    def __post_init__(self) -> None:
        if self.kind not in KINDS and self.kind not in STATUS:
            raise ValueError(f"no such fault: {self.kind!r}; there are {', '.join([*KINDS, *sorted(STATUS)])}")

    def fits(self, request: "Request") -> bool:
        """Whether it could spoil this request."""
        routes, needs = KINDS.get(self.kind, (None, ""))
        asked = request.headers.get("range", "")
        able = {
            "": True,
            "body": request.route not in REDIRECTS and request.method != "HEAD",
            "range": bool(asked) and request.method != "HEAD" and not request.is_cutout,
            "ranges": "," in asked and request.method != "HEAD",
            "cutout": request.is_cutout and request.method != "HEAD",
        }[needs]
        place = (routes is None or request.route in routes) and request.route not in ("hop", "away", "auth")
        return able and place and self.method in ("", request.method) and bool(re.search(self.match, request.path))


class FaultPlan:
    """The faults still to come; safe to ask from many threads."""

    def __init__(self, faults=()) -> None:
        self._lock = threading.Lock()
        self._rows = [[fault, fault.after, fault.times] for fault in faults]

    def add(self, *faults: Fault) -> None:
        """More faults, after those that are there."""
        with self._lock:
            self._rows += [[fault, fault.after, fault.times] for fault in faults]

    def clear(self) -> None:
        """No more faults."""
        with self._lock:
            self._rows = []

    def left(self) -> list[Fault]:
        """Those that are not used up, with what is left of `times` and `after`; without those that never are."""
        with self._lock:
            return [replace(fault, times=times, after=after) for fault, after, times in self._rows if times > 0]

    def take(self, request: "Request") -> Fault | None:
        """The fault that this request meets."""
        with self._lock:
            for row in self._rows:
                fault, after, times = row
                if times == 0 or not fault.fits(request):
                    continue
                if after > 0:
                    row[1] -= 1
                    continue
                row[2] -= times > 0
                return fault
        return None


@dataclass
class Request:
    """What a client asked and got: an entry of the server's log.

    Attributes:
        target: Path and query as they came.
        headers: By lower-case name.
        body: Of a POST.
        route: Name of the service that was asked.
        status: HTTP status of the answer; 0 where there was none.
        sent: Bytes of the body that went out.
        fault: Kind of the fault that it met; "" is none.
        when: It came [s] (time.monotonic).
    """

    method: str
    target: str
    headers: dict[str, str] = field(repr=False)
    body: bytes = field(default=b"", repr=False)
    route: str = ""
    status: int = 0
    sent: int = 0
    fault: str = ""
    when: float = field(default_factory=time.monotonic)

    @property
    def path(self) -> str:
        """Path and query, unquoted."""
        return unquote(self.target.replace("+", " "))

    @property
    def is_cutout(self) -> bool:
        """Whether a part of an image is asked for."""
        return self.route == "soda" or bool(re.search(r"[?&](SUB|cutout|CIRCLE|POS|POLYGON)=", self.target))


class Body:
    """Bytes from memory or from a part of a file, of known length."""

    def __init__(self, source: bytes | Path, start: int = 0, stop: int | None = None) -> None:
        self.source, self.start = source, start
        whole = len(source) if isinstance(source, bytes) else source.stat().st_size
        self.stop = whole if stop is None else stop

    def __len__(self) -> int:
        return self.stop - self.start

    def part(self, start: int, stop: int) -> "Body":
        """Bytes start to stop, the last not included."""
        return Body(self.source, self.start + start, self.start + stop)

    def pieces(self, size: int = PIECE) -> Iterator[bytes]:
        """The bytes, `size` at a time."""
        if isinstance(self.source, bytes):
            for place in range(self.start, self.stop, size):
                yield self.source[place : min(place + size, self.stop)]
            return
        with self.source.open("rb") as file:
            file.seek(self.start)
            left = len(self)
            while left > 0 and (piece := file.read(min(size, left))):
                left -= len(piece)
                yield piece


@dataclass
class Answer:
    """An answer, and how it is spoilt on its way.

    Attributes:
        framing: "length" (Content-Length), "chunked", or "close": the body ends with the connection.
        cut: Bytes after which it ends; None is whole.
        ending: What follows: "keep", "close", "reset" or "stall".
        flip: Byte of which one bit is turned; None is none.
        off: Added to Content-Length.
        pace: Bytes a second that go out; 0 is as fast as can be.
    """

    status: int
    headers: dict[str, str]
    body: Body = field(default_factory=lambda: Body(b""))
    framing: str = "length"
    cut: int | None = None
    ending: str = "keep"
    flip: int | None = None
    off: int = 0
    seconds: float = 0.0
    pace: float = 0.0


def text(status: int, body: str | bytes, kind: str = "text/plain") -> Answer:
    """A short answer."""
    return Answer(status, {"Content-Type": kind}, Body(body if isinstance(body, bytes) else body.encode()))


def html(status: int, title: str, words: str) -> Answer:
    """A page, as web servers send them for errors."""
    page = f'<!DOCTYPE HTML PUBLIC "-//IETF//DTD HTML 2.0//EN">\n<html><head>\n<title>{title}</title>\n</head><body>\n'
    return text(status, f"{page}<h1>{title}</h1>\n<p>{words}</p>\n</body></html>\n", "text/html; charset=iso-8859-1")


def redirect(url: str) -> Answer:
    """303 to another place."""
    return Answer(303, {"Location": url})


def instead(fault: Fault, request: Request, root: str) -> Answer | None:
    """What is answered in place of the service's own answer; None where that is to be spoilt."""
    if fault.kind in STATUS:
        answer = html(int(fault.kind), f"{fault.kind} Error", "Try again later.")
        if fault.wait and fault.kind in ("408", "429", "503"):
            answer.headers["Retry-After"] = fault.wait
        return answer
    if fault.kind == "html":
        page = SKYSERVER % b"The query timed out." if request.route in ("skyserver", "crossid") else GATEWAY
        return text(200, page, "text/html")
    if fault.kind == "redirect_away":
        return redirect(f"http://localhost:{root.rsplit(':', 1)[1]}/away{request.target}")
    if fault.kind == "login":
        return redirect(f"{root}/data/auth{request.target}")
    if fault.kind == "redirect_chain":
        return redirect(f"{root}/hop/{fault.by}{request.target}")
    if fault.kind == "reset" and fault.at == 0:
        return Answer(0, {}, ending="reset")
    fixed = {
        "empty": Answer(200, {"Content-Type": "application/octet-stream"}),
        "expired_token": text(401, "permission denied: token has expired\n"),
        "no_content": text(400, "NoContent: no overlap between the cutout and the file\n"),
    }
    return fixed.get(fault.kind)


def spoil(answer: Answer, fault: Fault) -> Answer:
    """The service's answer, spoilt on its way."""
    place = min(int(fault.at * len(answer.body)), max(len(answer.body) - 1, 0))
    if fault.kind in ("truncate", "reset", "stall"):
        answer.cut, answer.seconds = place, fault.seconds
        answer.ending = {"truncate": "close"}.get(fault.kind, fault.kind)
    elif fault.kind == "slow":
        answer.pace = 1e3 * fault.by
    elif fault.kind == "shortened":
        answer.body = answer.body.part(0, place)
    elif fault.kind == "bit_flip" and len(answer.body):
        answer.flip = place
    elif fault.kind == "wrong_length":
        answer.off, answer.framing, answer.ending = fault.by, "length", "close"
    return answer
