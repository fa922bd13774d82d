"""A server on 127.0.0.1 that answers as SkyServer, the SAS, the CADC and VizieR do, and errs as it is told to.

    with archive_server.serve(folder, faults=[Fault("503", "frame-r", times=2), Fault("bit_flip", "minoc")]) as server:
        settings = server.settings(cache=tmp_path / "cache")     # survey_tools.archives.settings.Settings
        ...                                                      # or server.environ(cache) for a process of its own
        assert server.count("sas") == 7 and server.sent("storage") < 2e6
        assert not server.faults.left()
        assert all("user-agent" in request.headers for request in server.log)
        server.faults.add(Fault("missing_rows", "argus", by=2, at=0.5, after=1, times=-1, method="POST"))

How the archives behave where nobody knows for sure is in `options=Options(…)`: row limits, several windows in one file,
tokens that end, chunked answers, a TAP service that redirects, errors as JSON, and so on. Of a Fault see its docstring.
`serve` takes a folder or an `Archive`. In a folder
    sas/dr12/…                  is the Science Archive Server (SAS), Range and all;
    cadc/CFHTTERAPIX/*.fits     are the files of the CADC, of which its TAP service tells (sizes and MD5 are right);
    tables/<name>.ecsv          are SkyServer's tables: PhotoObjAll, SpecObjAll, Photoz, galSpecInfo, Frame, …;
    vizier/<name>.ecsv          are VizieR's, "/" in a name being written as "__": II__317__cfhtls_w.ecsv;
    legacy/, ps1/               are the bricks and stacks of archive_cutouts.py;
    anything else               is a plain web server with index pages at /<path> (route "static").
An `Archive` gives tables and roster in memory. `small_archive.small_archive(folder, known_sky)` makes a small one.

Routes (names in the log): "sas", "skyserver", "crossid", "registry", "tap", "job", "vizier", "capabilities", "tables",
"datalink", "soda", "echo", "raven", "pub", "auth", "storage", "vocabulary", "hop", "away", "availability", "viewer",
"ps1list", "ps1cutout", "static", "unknown". The addresses of the CADC's files are those of autumn 2026: west/raven (the
new one), raven, data/pub, and storage sites uv/minoc and cadc/minoc, where no token is needed; cfa/TAPVizieR is
VizieR's mirror.
SQL is really executed (archive_sql.py); windows are really cut (archive_storage.py); faults: archive_faults.KINDS.
The server stops after Options.max_requests; an error of its own is raised when the context ends.

    python tests/archive_server.py FOLDER [--faults FAULTS.json]     # prints its address; FAULTS: [{"kind": …}, …]

Tests have this module as the fixture `archive_server`. A script imports survey_tools first and then puts tests/ on
sys.path, since there is a folder survey_tools in tests/ too.
"""

import base64
import gzip
import hashlib
import importlib.resources
import json
import os
import re
import secrets
import socket
import struct
import sys
import threading
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from email.parser import BytesParser
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

import numpy as np
from archive_cutouts import ps1_cutout, ps1_list, viewer
from archive_faults import KINDS as KINDS
from archive_faults import PIECE, TABLES, Answer, Body, Fault, FaultPlan, Request, html, instead, redirect, spoil, text
from archive_sql import Database, QueryError, Result, arcmin, csv, sky_json, votable, votable_error
from archive_storage import (
    SCIENCE,
    BadCutoutError,
    NoContentError,
    Tile,
    caom2,
    circle_window,
    headers_of,
    md5_of,
    roster_of,
    windows,
)
from astropy.table import Table

VOTABLE = "application/x-votable+xml"
CADC_FILES = ("west/raven/files", "raven/files", "data/pub", "uv/minoc/files", "cadc/minoc/files")
IDLE = 30.0  # [s] after which an idle connection is closed
CADC_HOSTS = re.compile(r"https?://(?:www|ws)\.cadc-ccda\.hia-iha\.nrc-cnrc\.gc\.ca")
ROUTES = [  # name, what the path looks like (double slashes made single), regardless of case
    ("sas", r"/sas/.*"),
    ("skyserver", r"/dr\d+/en/tools/search/x_results\.aspx|/dr\d+/SkyServerWS/SearchTools/SqlSearch"),
    ("registry", r"/reg/resource-caps"),
    ("tap", r"/argus/sync(/\w+/run)?"),
    ("vizier", r"(/cfa)?/TAPVizieR/tap/sync"),
    ("availability", r"/.*/availability"),
    ("capabilities", r"/(argus|TAPVizieR/tap|caom2ops|caom2ops/datalink)/capabilities"),
    ("tables", r"/(argus|TAPVizieR/tap)/tables"),
    ("datalink", r"/caom2ops/datalink"),
    ("soda", r"/caom2ops/sync"),
    ("echo", r"/soda-echo/.*"),
    ("raven", r"(/west)?/raven/files/.*"),
    ("pub", r"/data/pub/.*"),
    ("auth", r"/data/auth/.*"),
    ("storage", r"(/uv|/cadc)?/minoc/.*"),
    ("vocabulary", r"/rdf/datalink/core"),
    ("viewer", r"/viewer/fits-cutout"),
    ("ps1list", r"/cgi-bin/ps1filenames\.py"),
    ("ps1cutout", r"/cgi-bin/fitscut\.cgi"),
    ("hop", r"/hop/\d+/.*"),
    ("away", r"/away/.*"),
    ("unknown", r"/tap/.*"),  # the CADC's old TAP service
    ("static", r"/.*"),
]


@dataclass(frozen=True)
class Archive:
    """What the archives hold. `tables` are SkyServer's and `vizier` VizieR's, by name; `roster` the CADC's files."""

    folder: Path
    tables: Mapping[str, Table] = field(default_factory=dict)
    roster: list[Tile] = field(default_factory=list)
    vizier: Mapping[str, Table] = field(default_factory=dict)


@dataclass(frozen=True)
class Options:
    """How the archives behave, where that may change or is not known.

    Attributes:
        skyserver_rows: Rows after which SkyServer ends an answer without a word.
        skyserver_status: HTTP status of its error page, where that is one of HTML; 500 otherwise.
        skyserver_error: Form of its errors: "json", as SkyServerWS sends them always (HTTP 500; a limit is HTTP 200 and
            a table with the column error_message), or "html".
        skyserver_per_minute: Queries that it takes in a minute; None is any number.
        query_string: Longest query string that SkyServer takes [byte].
        null: What an absent value is in its CSV.
        tap_rows: Rows after which the CADC's TAP service ends an answer (OVERFLOW); None is never.
        tap_run: Whether the CADC's TAP service sends the client to another address, where the answer is (303).
        tap_status: HTTP status of an ERROR of TAP services.
        vizier_rows: Likewise of VizieR.
        url_bytes: Longest URL that any service takes.
        url_status: HTTP status of a longer one: 400, 414 or 431.
        token_bytes: Length of the token in the address of a storage site.
        window_seconds: That a storage site takes for each window it cuts.
        mef: How several windows of one image come: see archive_storage.windows.
        framing: How a cut FITS is framed: "chunked", "length" or "close".
        digest: How storage tells the MD5: "bytes" (base64 of 16 bytes), "hex" (of the hexadecimal text) or "".
        ranges: Whether files are given in parts.
        token_uses: Requests that an address at a storage site is good for; None is any number.
        token_seconds: How long it is good.
        max_requests: After which the server answers no more.
        packed: Whether tables are sent with Content-Encoding gzip to those that accept it.
        delay: Before each answer [s]: makes requests meet, for `Server.most_at_once`.
        binary: Whether VizieR's VOTables are BINARY2, as they are unless TABLEDATA is asked for.
    """

    skyserver_rows: int = 500_000
    skyserver_status: int = 200
    skyserver_error: str = "json"
    skyserver_per_minute: int | None = None
    query_string: int = 2048
    null: str = ""
    tap_rows: int | None = None
    tap_run: bool = False
    tap_status: int = 400
    vizier_rows: int | None = None
    url_bytes: int = 8192
    url_status: int = 414
    token_bytes: int = 750
    window_seconds: float = 0.0
    mef: str = "primary"
    framing: str = "chunked"
    digest: str = "bytes"
    ranges: bool = True
    token_uses: int | None = None
    token_seconds: float = 3600.0
    max_requests: int = 20_000
    packed: bool = False
    delay: float = 0.0
    binary: bool = True


def read_archive(folder: Path) -> Archive:
    """The archives that lie in a folder."""
    folder = Path(folder)
    tables = {path.stem: Table.read(path) for path in sorted(folder.glob("tables/*.ecsv"))}
    vizier = {path.stem.replace("__", "/"): Table.read(path) for path in sorted(folder.glob("vizier/*.ecsv"))}
    return Archive(folder, tables, roster_of(folder), vizier)


class Server:
    """A running server: its address, its log and the faults still to come."""

    def __init__(self, archive: Archive, faults: Iterable[Fault], options: Options, port: int) -> None:
        self.archive, self.options, self.faults = archive, options, FaultPlan(faults)
        self.log: list[Request] = []
        self.errors: list[str] = []
        self.busy = self.most_at_once = 0  # requests in work: now, and ever
        self.lock = threading.Lock()
        self.ended = threading.Event()
        self.connections: set[socket.socket] = set()
        self.tokens: dict[str, list] = {}  # token: file, uses left, end of its time
        self.jobs: dict[str, Request] = {}  # TAP queries to be had at another address
        self.queries: list[float] = []  # when SkyServer was last asked
        self.sums: dict[tuple, str] = {}
        self.sky = Database(archive.tables)
        self.cadc = Database(caom2(archive.roster), unnamed="col{}")
        self.vizier = Database(archive.vizier, unnamed="col{}")
        self.http = _Http(("127.0.0.1", port), _Handler)
        self.http.ours = self
        self.root = f"http://127.0.0.1:{self.http.server_port}"

    def count(self, route: str = "", match: str = "") -> int:
        """Requests so far, of a route and with a path that matches, where these are given."""
        return len(self.requests(route, match))

    def sent(self, route: str = "") -> int:
        """Bytes of bodies that went out."""
        return sum(request.sent for request in self.requests(route))

    def requests(self, route: str = "", match: str = "") -> list[Request]:
        """The log's entries of a route, and with a path that matches, where these are given."""
        with self.lock:
            log = list(self.log)
        return [each for each in log if route in ("", each.route) and re.search(match, each.path)]

    def settings(self, cache: Path, **changes):
        """The settings of galtrans that make this server all archives; `cache` is their folder."""
        from survey_tools.archives.settings import ArchiveSettings  # here, since tests/ has a folder of that name

        here = ArchiveSettings(
            sas=self.root,
            skyserver=f"{self.root}/dr12/en/tools/search/x_results.aspx "
            f"{self.root}/dr12/SkyServerWS/SearchTools/SqlSearch",
            skyserver_pause=0.05,
            cadc_tap=f"{self.root}/argus/sync",
            cadc_files=" ".join(f"{self.root}/{place}" for place in CADC_FILES),
            vizier_tap=f"{self.root}/TAPVizieR/tap/sync {self.root}/cfa/TAPVizieR/tap/sync",
            legacy=f"{self.root}/viewer/fits-cutout",
            ps1_list=f"{self.root}/cgi-bin/ps1filenames.py",
            ps1_cutouts=f"{self.root}/cgi-bin/fitscut.cgi",
            cache=str(cache),
            **self._field_list(ArchiveSettings().field_list),
        )
        return replace(here, **changes)

    def _field_list(self, names: str) -> dict[str, int | str]:
        """The settings that tell size and SHA-256 of the list of fields that is in the folder."""
        paths = [path for name in names.split() if (path := self.archive.folder / name).is_file()]
        if not paths:
            return {}
        if paths[0].stat().st_size > 10**7:  # a stand-in of the right size
            return {"field_list_bytes": paths[0].stat().st_size, "field_list_sha256": "any"}
        with paths[0].open("rb") as file:
            checksum = hashlib.file_digest(file, "sha256").hexdigest()
        return {"field_list_bytes": paths[0].stat().st_size, "field_list_sha256": checksum}

    def environ(self, cache: Path, **changes) -> dict[str, str]:
        """The same as variables of the environment."""
        from survey_tools.archives.settings import ArchiveSettings, variable

        settings, plain = self.settings(cache, **changes), ArchiveSettings()
        names = [each.name for each in fields(ArchiveSettings)]
        return {
            variable(name): str(getattr(settings, name))
            for name in names
            if getattr(settings, name) != getattr(plain, name)
        }

    def path_of(self, uri: str) -> Path | None:
        """The file `cadc:ARCHIVE/name` of the CADC; None where there is none."""
        found = re.fullmatch(r"cadc:([\w.-]+)/([^/]+)", uri)
        path = self.archive.folder / "cadc" / found[1] / found[2] if found else None
        return path if path is not None and found[2] != ".." and path.is_file() else None

    def md5(self, path: Path) -> str:
        """MD5 of a file; it is read once."""
        facts = path.stat()
        key = (path, facts.st_mtime_ns, facts.st_size)
        if key not in self.sums:
            self.sums[key] = md5_of(path)
        return self.sums[key]

    def close(self) -> None:
        """End all connections."""
        self.ended.set()
        self.http.shutdown()
        self.http.server_close()
        with self.lock:
            for connection in self.connections:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue  # the client has closed it
        for database in (self.sky, self.cadc, self.vizier):
            database.close()


@contextmanager
def serve(
    archive: Archive | Path | str,
    *,
    faults: Iterable[Fault] = (),
    options: Options | None = None,
    port: int = 0,
) -> Iterator[Server]:
    """A server of the archives in a folder, or in an `Archive`; errors of its own are raised at the end."""
    archive = archive if isinstance(archive, Archive) else read_archive(Path(archive))
    server = Server(archive, faults, options or Options(), port)
    threading.Thread(target=server.http.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield server
    finally:
        server.close()
    if server.errors:
        raise AssertionError("the archive server failed:\n" + "\n".join(server.errors))


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    ours: Server

    def handle_error(self, request, client_address) -> None:
        if not isinstance(sys.exception(), ConnectionError | TimeoutError | ValueError):
            self.ours.errors.append(traceback.format_exc())


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "Archive/1.0", ""
    disable_nagle_algorithm = True
    timeout = IDLE

    def setup(self) -> None:
        super().setup()
        with self.server.ours.lock:
            self.server.ours.connections.add(self.connection)

    def finish(self) -> None:
        with self.server.ours.lock:
            self.server.ours.connections.discard(self.connection)
        super().finish()

    def do_GET(self) -> None:
        self._serve()

    def do_HEAD(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def log_message(self, *_) -> None:
        pass

    def _serve(self) -> None:
        ours = self.server.ours
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length", 0)))
        request = Request(self.command, self.path, headers, body)
        request.route = route_of(request)
        if ours.options.tap_run and request.route == "tap" and not request.target.endswith("/run"):
            request.route = "job"
        with ours.lock:
            ours.log.append(request)
            over = len(ours.log) > ours.options.max_requests
            ours.busy += 1
            ours.most_at_once = max(ours.most_at_once, ours.busy)
        ours.ended.wait(ours.options.delay)
        try:
            answer = Answer(0, {}, ending="reset") if over else self._answer(ours, request)
        except Exception:
            ours.errors.append(f"{request}\n{traceback.format_exc()}")
            answer = text(500, "an error of the server itself\n")
        if over and len(ours.log) == ours.options.max_requests + 1:
            ours.errors.append(f"more than {ours.options.max_requests} requests")
        try:
            self._deliver(request, answer)
        finally:
            with ours.lock:
                ours.busy -= 1

    def _answer(self, ours: Server, request: Request) -> Answer:
        """The answer, as the service or the next fault makes it."""
        if len(request.target) > ours.options.url_bytes:
            status = ours.options.url_status
            return html(status, f"{status} Request Too Long", "The requested URL is too long.")
        fault = ours.faults.take(request)
        if fault is None:
            return self._own(ours, request, None)
        request.fault = fault.kind
        answer = instead(fault, request, ours.root)
        return spoil(self._own(ours, request, fault), fault) if answer is None else answer

    def _own(self, ours: Server, request: Request, fault: Fault | None) -> Answer:
        """What the service answers, packed where that is wanted."""
        answer = SERVICES[request.route](ours, request, fault)
        accepted = "gzip" in request.headers.get("accept-encoding", "")
        if ours.options.packed and accepted and request.route in TABLES and len(answer.body):
            answer.body = Body(gzip.compress(b"".join(answer.body.pieces())))
            answer.headers["Content-Encoding"] = "gzip"
        return answer

    def _deliver(self, request: Request, answer: Answer) -> None:
        """Send an answer, as far as it goes."""
        request.status = answer.status
        if answer.ending == "reset" and (not len(answer.body) or self.command == "HEAD"):
            self._reset()
            return
        self.send_response(answer.status)
        length = len(answer.body)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.framing == "chunked":
            self.send_header("Transfer-Encoding", "chunked")
        elif answer.framing == "length":
            self.send_header("Content-Length", str(max(length + answer.off, 0)))
        if answer.framing == "close" or answer.ending != "keep":
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        if self.command == "HEAD":
            answer.body = Body(b"")
        self._send(request, answer)

    def _send(self, request: Request, answer: Answer) -> None:
        """Send a body; the connection ends as the answer says."""
        place, end = 0, min(len(answer.body), len(answer.body) if answer.cut is None else answer.cut)
        chunked = answer.framing == "chunked" and self.command != "HEAD"
        try:
            for piece in answer.body.part(0, end).pieces(2**13 if answer.pace else PIECE):
                if answer.flip is not None and place <= answer.flip < place + len(piece):
                    changed = bytearray(piece)
                    changed[answer.flip - place] ^= 16
                    piece = bytes(changed)
                place += len(piece)
                request.sent += len(piece)  # before it goes, so that a client that has it finds it counted
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
                if answer.pace:
                    self.server.ours.ended.wait(len(piece) / answer.pace)
            if chunked and answer.cut is None:
                self.wfile.write(b"0\r\n\r\n")
            if answer.ending == "stall":
                self.server.ours.ended.wait(min(answer.seconds, 5.0))
            if answer.ending == "reset":
                self._reset()
        except (ConnectionError, TimeoutError):  # the client may have read enough
            self.close_connection = True

    def _reset(self) -> None:
        """Drop the connection at once, so that the client sees a reset."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.rfile.close()
        self.wfile.close()
        self.connection.close()


def route_of(request: Request) -> str:
    """Name of the service that a request is for."""
    path = re.sub(r"/+", "/", unquote(urlsplit(request.target).path))
    route = next((name for name, form in ROUTES if re.fullmatch(form, path, re.I)), "unknown")
    return "crossid" if route == "skyserver" and request.method == "POST" else route


def _parameters(request: Request) -> dict[str, list[str]]:
    """Parameters of a query string and of a form."""
    given = parse_qs(urlsplit(request.target).query, keep_blank_values=True)
    kind = request.headers.get("content-type", "")
    if kind.startswith("application/x-www-form-urlencoded"):
        for name, values in parse_qs(request.body.decode(), keep_blank_values=True).items():
            given.setdefault(name, []).extend(values)
    if kind.startswith("multipart/form-data"):
        message = BytesParser().parsebytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + request.body)
        for part in message.get_payload():
            name = part.get_param("name", header="content-disposition")
            given.setdefault(name, []).append(part.get_payload(decode=True).decode())
    return given


def _first(given: dict[str, list[str]], name: str, default: str = "") -> str:
    """The first value of a parameter, whose name may be in any case."""
    return next((values[0] for key, values in given.items() if key.lower() == name.lower()), default)


# --- files -----------------------------------------------------------------------------------------------------------


def _file(server: Server, request: Request, fault: Fault | None, path: Path, several: bool) -> Answer:
    """A file, or the part of it that a Range asks for; `several` says whether many parts may be asked for at once."""
    size, facts = path.stat().st_size, path.stat()
    headers = {
        "Content-Type": "application/octet-stream",
        "Accept-Ranges": "bytes",
        "ETag": f'"{size:x}-{facts.st_mtime_ns:x}"',
        "Last-Modified": formatdate(facts.st_mtime, usegmt=True),
    }
    whole = Answer(200, headers, Body(path))
    asked = request.headers.get("range", "")
    kind, total = fault.kind if fault else "", size
    if kind == "changed":
        headers |= {"ETag": '"another"', "Last-Modified": formatdate(facts.st_mtime + 86400, usegmt=True)}
        total += fault.by
    stale = request.headers.get("if-range", headers["ETag"]) not in (headers["ETag"], headers["Last-Modified"])
    if not server.options.ranges:
        headers.pop("Accept-Ranges")
    if not asked or stale or not server.options.ranges or kind in ("ignore_range", "multirange_full"):
        return whole
    ranges = _ranges(asked, size)
    if ranges is None or (len(ranges) > 1 and not several):
        return whole
    if not ranges:
        answer = html(416, "416 Requested Range Not Satisfiable", "None of the range-specifier values is satisfiable.")
        answer.headers["Content-Range"] = f"bytes */{size}"
        return answer
    if len(ranges) > 1:
        return _many_parts(headers, path, ranges, size)
    start, stop = ranges[0]
    if kind == "wrong_range":
        start = min(start + fault.by, stop - 1) if start + fault.by > 0 else start + 1
    return Answer(206, headers | {"Content-Range": f"bytes {start}-{stop - 1}/{total}"}, Body(path, start, stop))


def _ranges(asked: str, size: int) -> list[tuple[int, int]] | None:
    """First byte and the one after the last of each part that can be given; None where the header says nothing."""
    if not re.fullmatch(r"bytes=\s*(\d+-\d*|-\d+)(\s*,\s*(\d+-\d*|-\d+))*", asked):
        return None
    found = []
    for part in asked.removeprefix("bytes=").split(","):
        first, last = part.strip().split("-")
        start = int(first) if first else max(size - int(last), 0)
        stop = min(int(last) + 1, size) if first and last else size
        if start < stop:
            found.append((start, stop))
    return found


def _many_parts(headers: dict, path: Path, ranges: list, size: int) -> Answer:
    """Several parts of a file in one answer, as Apache sends them."""
    boundary, body = "galtrans0part", b""
    for start, stop in ranges:
        head = (
            f"--{boundary}\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes {start}-{stop - 1}/{size}"
        )
        body += b"\r\n" + head.encode() + b"\r\n\r\n" + b"".join(Body(path, start, stop).pieces())
    kind = {"Content-Type": f"multipart/byteranges; boundary={boundary}"}
    return Answer(206, headers | kind, Body(body + f"\r\n--{boundary}--\r\n".encode()))


def _static(server: Server, request: Request, fault: Fault | None) -> Answer:
    """A file or an index page of the folder, as Apache gives them."""
    name = unquote(urlsplit(request.target).path)
    path = Path(os.path.normpath(server.archive.folder / name.strip("/")))  # links in the folder are followed
    if not path.is_relative_to(os.path.normpath(server.archive.folder)) or not path.exists():
        return html(404, "404 Not Found", f"The requested URL {name} was not found on this server.")
    if path.is_file():
        return _file(server, request, fault, path, several=True)
    if not name.endswith("/"):
        return Answer(301, {"Location": f"{server.root}{quote(name)}/"})
    links = [f'<a href="{quote(each.name)}{"/" * each.is_dir()}">{each.name}</a>' for each in sorted(path.iterdir())]
    page = f'<html><head><title>Index of {name}</title></head><body><a href="../">..</a>\n' + "\n".join(links)
    return text(200, page + "\n</body></html>\n", "text/html;charset=UTF-8")


# --- SkyServer -------------------------------------------------------------------------------------------------------


def _skyserver(server: Server, request: Request, fault: Fault | None) -> Answer:
    """SQL search."""
    if len(urlsplit(request.target).query) > server.options.query_string:
        words = "The length of the query string for this request exceeds the configured maxQueryStringLength value."
        return html(400, "Bad Request", words)
    given = _parameters(request)
    sql, form = _first(given, "cmd"), _first(given, "format", "html").lower()
    with server.lock:
        server.queries = [when for when in server.queries if when > time.monotonic() - 60] + [time.monotonic()]
        limit = server.options.skyserver_per_minute
        if limit is not None and len(server.queries) > limit:
            return _sky_error(
                server, request, f"Maximum {limit} queries allowed per minute. Rejected query: {sql}", True
            )
    if documented := re.search(r"fDocColumns\('(\w+)'\)", sql):
        return text(200, recorded("astroquery.sdss", f"data/{documented[1]}_dr12.json"), "application/json")
    try:
        return _sky_answer(server, server.sky.query(sql), form, fault)
    except QueryError as error:
        return _sky_error(server, request, str(error))


def _crossid(server: Server, request: Request, fault: Fault | None) -> Answer:
    """Matches of positions that are uploaded, in their order: the nearest primary object of each, or all objects."""
    given = _parameters(request)
    sql, form = _first(given, "uquery"), _first(given, "format", "html").lower()
    photo = server.sky.tables.get("PhotoObjAll")
    if not sql or photo is None:
        return _sky_error(server, request, "there is no query")
    skip, radius = int(_first(given, "firstcol", "0")), float(_first(given, "radius", "0.5"))
    lines = [line.split() for line in _first(given, "upload").splitlines() if line.strip()][1:]
    upload = Table({"up_id": np.arange(1, len(lines) + 1), "up_name": [line[0] for line in lines]})
    upload["up_ra"], upload["up_dec"] = [[float(line[place]) for line in lines] for place in (skip, skip + 1)]
    matches = []
    for number, ra, dec in upload.iterrows("up_id", "up_ra", "up_dec"):
        near = np.flatnonzero(np.abs(np.asarray(photo["dec"]) - dec) * 60 <= radius)
        angles = np.array([arcmin(ra, dec, float(photo["ra"][row]), float(photo["dec"][row])) for row in near])
        close = near[np.argsort(angles)][: (angles <= radius).sum()] if len(near) else near
        if _first(given, "photoScope", "nearPrim") == "nearPrim":
            close = [row for row in close if photo["mode"][row] == 1][:1] if "mode" in photo.colnames else close[:1]
        matches += [(number, int(photo["objID"][row])) for row in close]
    table = Table(rows=matches or None, names=("up_id", "objID"), dtype=(np.int64, np.int64))
    try:
        return _sky_answer(server, server.sky.query(sql, upload, table), form, fault)
    except QueryError as error:
        return _sky_error(server, request, str(error))


def _sky_answer(server: Server, result: Result, form: str, fault: Fault | None) -> Answer:
    """A table as CSV, JSON or a page."""
    rows = _lost(result.rows, fault)[: server.options.skyserver_rows]
    result = replace(result, rows=rows)
    if form == "csv":
        return text(200, csv(result, server.options.null), "text/plain")
    if form == "json":
        return text(200, sky_json(result), "application/json")
    return html(200, "SDSS Query Results", f"{len(rows)} rows")


def _sky_error(server: Server, request: Request, words: str, limit: bool = False) -> Answer:
    """What SkyServer sends for what went wrong: SkyServerWS never sends a page."""
    if server.options.skyserver_error == "json" or "SkyServerWS" in request.target:
        if limit:
            return text(200, f'#Table1\nerror_message\n"{words}"\n', "text/plain")
        page = json.dumps({"ErrorCode": 500, "ErrorType": "InternalServerError", "ErrorMessage": words})
        return text(500, page, "application/json")
    page = f"<html><head>\n<title>Skyserver Error</title></head>\n<body><h3>{words}</h3></body></html>\n"
    return text(server.options.skyserver_status, page, "text/html")


def _lost(rows: list, fault: Fault | None) -> list:
    """The rows of an answer, without those that a fault loses."""
    if fault is None or fault.kind != "missing_rows" or not rows:
        return rows
    first = min(int(fault.at * len(rows)), max(len(rows) - fault.by, 0))
    return rows[:first] + rows[first + fault.by :]


# --- TAP -------------------------------------------------------------------------------------------------------------


def _tap(server: Server, request: Request, fault: Fault | None) -> Answer:
    """A synchronous query."""
    vizier = request.route == "vizier"
    database = server.vizier if vizier else server.cadc
    if request.target.endswith("/run") and (request := server.jobs.get(request.target.rsplit("/", 2)[1])) is None:
        return text(404, "not found\n")
    given = _parameters(request)
    query = _first(given, "QUERY")
    if not query or _first(given, "LANG", "ADQL") not in ("ADQL", "ADQL-2.0", "ADQL-2.1"):
        return text(server.options.tap_status, votable_error("a QUERY in ADQL is wanted"), VOTABLE)
    try:
        result = database.query(query)
    except QueryError as error:
        return text(server.options.tap_status, votable_error(str(error)), VOTABLE)
    rows = _lost(result.rows, fault)
    limits = [int(_first(given, "MAXREC") or 10**9), server.options.vizier_rows if vizier else server.options.tap_rows]
    most = min(limit for limit in limits if limit is not None)
    if fault is not None and fault.kind == "overflow":
        most = min(most, len(rows) // 2)
    status = "OVERFLOW" if len(rows) > most else "OK"
    result = replace(result, rows=rows[:most])
    form = _first(given, "RESPONSEFORMAT") or _first(given, "FORMAT", "votable")
    if not vizier and form != form.lower():
        return text(server.options.tap_status, votable_error(f"unknown or unsupported output format: {form}"), VOTABLE)
    if "csv" in form:
        return text(200, csv(result, "", ""), "text/csv")
    binary = vizier and server.options.binary and not form.endswith("td")
    return text(200, votable(result, status, query, binary), VOTABLE)


def _job(server: Server, request: Request, _fault) -> Answer:
    """303 to where the answer is."""
    job = secrets.token_hex(8)
    server.jobs[job] = request
    return redirect(f"{server.root}/argus/sync/{job}/run")


def _tables(server: Server, request: Request, _fault) -> Answer:
    """The tables of a TAP service and their columns (VOSI)."""
    database = server.vizier if "vizier" in request.target.lower() else server.cadc
    lines = []
    for name, table in database.tables.items():
        columns = "".join(
            f'<column><name>{each}</name><dataType xsi:type="vs:VOTableType">char</dataType></column>'
            for each in table.colnames
        )
        lines.append(f"<schema><name>all</name><table><name>{name}</name>{columns}</table></schema>")
    head = (
        '<?xml version="1.0" encoding="UTF-8"?>\n<vosi:tableset xmlns:vosi="http://www.ivoa.net/xml/VOSITables/v1.0" '
        'xmlns:vs="http://www.ivoa.net/xml/VODataService/v1.1" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">'
    )
    return text(200, head + "".join(lines) + "</vosi:tableset>\n", "text/xml")


def _registry(server: Server, _request, _fault) -> Answer:
    """Where the CADC's services say what they can."""
    lines = [f"ivo://cadc.nrc.ca/{name} = {server.root}/{name}/capabilities" for name in ("argus", "caom2ops")]
    return text(200, "# the services of the CADC\n\n" + "\n".join(lines) + "\n")


def _capabilities(server: Server, request: Request, _fault) -> Answer:
    """What a service can: recorded of the TAP service, in the same manner of the others."""
    base = re.sub(r"/+", "/", urlsplit(request.target).path).removesuffix("/capabilities")
    if base != "/caom2ops" and base != "/caom2ops/datalink":
        page = CADC_HOSTS.sub(server.root, recorded("astroquery.cadc", "tests/data/tap_caps.xml").decode())
        return text(200, page.replace(f"{server.root}/argus", f"{server.root}{base}"), "text/xml")
    links = {
        "ivo://ivoa.net/std/VOSI#capabilities": f"{base}/capabilities",
        "ivo://ivoa.net/std/DataLink#links-1.0": "/caom2ops/datalink",
        "ivo://ivoa.net/std/SODA#sync-1.0": "/caom2ops/sync",
    }
    page = "".join(
        f'<capability standardID="{name}"><interface xsi:type="vs:ParamHTTP" role="std" version="1.0">'
        f'<accessURL use="base">{server.root}{path}</accessURL></interface></capability>\n'
        for name, path in links.items()
    )
    head = (
        '<?xml version="1.0" encoding="UTF-8"?>\n<vosi:capabilities '
        'xmlns:vosi="http://www.ivoa.net/xml/VOSICapabilities/v1.0" '
        'xmlns:vs="http://www.ivoa.net/xml/VODataService/v1.1" '
        'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">\n'
    )
    return text(200, f"{head}{page}</vosi:capabilities>\n", "text/xml")


# --- DataLink and SODA -----------------------------------------------------------------------------------------------

LINK_FIELDS = ("ID", "access_url", "service_def", "error_message", "semantics", "description", "content_type")


def _datalink(server: Server, request: Request, _fault) -> Answer:
    """Links to the files of planes, and the services that cut them, as in the recorded answers."""
    given, run = _parameters(request), secrets.token_hex(8)
    rows, services = [], []
    for publisher in given.get("ID", []):
        product = publisher.rsplit("/", 1)[-1]
        tiles = [tile for tile in server.archive.roster if tile.product == product]
        if not tiles:
            rows.append((publisher, "", "", f"NotFoundFault: {publisher}", "#this", "", "", None))
        for tile in tiles:
            url = f"{server.root}/data/pub/{tile.uri.removeprefix('cadc:')}?RUNID={run}"
            what = "#this" if tile.kind in SCIENCE else "#auxiliary"
            rows.append((publisher, url, "", "", what, f"download {tile.uri}", "application/fits", tile.size))
            if tile.kind in SCIENCE and _first(given, "REQUEST") != "downloads-only":
                for way in ("sync", "async"):
                    name = f"soda-{secrets.token_hex(16)}"
                    words = f"SODA-{way} cutout of {tile.uri}"
                    rows.append((publisher, "", name, "", "#cutout", words, "application/fits", None))
                    services.append(_service(server, name, way, tile, run))
    kinds = ["char"] * len(LINK_FIELDS) + ["long"]
    result = Result([*LINK_FIELDS, "content_length"], rows, kinds, [""] * len(LINK_FIELDS) + ["byte"])
    page = votable(result).replace("</VOTABLE>", "".join(services) + "</VOTABLE>")
    return text(200, page, f"{VOTABLE};content=datalink")


def _service(server: Server, name: str, way: str, tile: Tile, run: str) -> str:
    """Descriptor of the service that cuts a file."""
    corners = " ".join(str(value) for value in tile.polygon)
    return f"""<RESOURCE type="meta" ID="{name}" utype="adhoc:service">
<PARAM name="resourceIdentifier" datatype="char" arraysize="*" value="ivo://cadc.nrc.ca/caom2ops" />
<PARAM name="standardID" datatype="char" arraysize="*" value="ivo://ivoa.net/std/SODA#{way}-1.0" />
<PARAM name="accessURL" datatype="char" arraysize="*" value="{server.root}/caom2ops/{way}" />
<GROUP name="inputParams">
<PARAM name="ID" datatype="char" arraysize="*" ucd="meta.id;meta.dataset" value="{tile.uri}" />
<PARAM name="RUNID" datatype="char" arraysize="*" ucd="" value="{run}" />
<PARAM name="POS" datatype="char" arraysize="*" ucd="obs.field" value="" />
<PARAM name="CIRCLE" datatype="double" arraysize="3" ucd="obs.field" unit="deg" xtype="circle" value="" />
<PARAM name="POLYGON" datatype="double" arraysize="*" ucd="obs.field" unit="deg" xtype="polygon" value="">
<VALUES><MAX value="{corners}" /></VALUES></PARAM>
</GROUP>
</RESOURCE>
"""


def _soda(server: Server, request: Request, fault: Fault | None) -> Answer:
    """A circle of the sky becomes a window of pixels at the storage site."""
    given = _parameters(request)
    names, shapes = given.get("ID", []), given.get("CIRCLE", []) + given.get("POS", [])
    if len(names) != 1 or len(shapes) != 1:
        return text(400, "UsageFault: exactly one ID and one of POS, CIRCLE, POLYGON are allowed in sync mode\n")
    found = re.fullmatch(r"(?:CIRCLE\s+)?(\S+)\s+(\S+)\s+(\S+)", shapes[0].strip())
    path = server.path_of(names[0])
    if found is None or path is None:
        return text(400, f"UsageFault: no such file or shape: {names[0]} {shapes[0]}\n")
    try:
        clip = fault.by if fault is not None and fault.kind == "clipped" else 0
        window = circle_window(path, *(float(value) for value in found.groups()), clip)
    except NoContentError as error:
        return redirect(f"{server.root}/soda-echo/{quote(str(error), safe='')}")
    return redirect(f"{server.root}/raven/files/{names[0]}?{urlencode({'SUB': window})}")


def _echo(_server, request: Request, _fault) -> Answer:
    """What SODA has to say of an error."""
    return text(400, unquote(urlsplit(request.target).path.removeprefix("/soda-echo/")) + "\n")


# --- storage ---------------------------------------------------------------------------------------------------------


def _locate(server: Server, request: Request, _fault) -> Answer:
    """303 to a storage site, with a token that ends."""
    address = urlsplit(request.target)
    path = re.sub(r"/+", "/", unquote(address.path))
    uri = re.sub(r"^(/west)?/raven/files/", "", path)
    if request.route == "pub":
        uri = f"cadc:{path.removeprefix('/data/pub/')}"
    if server.path_of(uri) is None:
        return text(404, f"not found: {uri}\n")
    uses, seconds = server.options.token_uses, server.options.token_seconds
    token = f"~{secrets.token_urlsafe(server.options.token_bytes)}"[: server.options.token_bytes]
    with server.lock:
        server.tokens[token] = [uri, -1 if uses is None else uses, time.monotonic() + seconds]
    given = parse_qs(re.sub(r"(^|&)cutout=", r"\1SUB=", address.query), keep_blank_values=True)
    query = urlencode(given, doseq=True, quote_via=quote, safe="")  # colons and commas as three characters each
    return redirect(f"{server.root}/minoc/{token}/files/{uri.replace('+', '%2B')}{'?' if query else ''}{query}")


def _storage(server: Server, request: Request, fault: Fault | None) -> Answer:
    """A file, or windows of it."""
    address = urlsplit(request.target)
    if found := re.fullmatch(r"/(?:uv|cadc)/minoc/files/(.*)", unquote(address.path)):
        uri = found[1]
    else:
        _, _, token, _, uri = unquote(address.path).split("/", 4)
        with server.lock:
            known = server.tokens.get(token)
            if known is None or known[0] != uri or known[1] == 0 or known[2] < time.monotonic():
                return text(401, "permission denied: token is invalid or has expired\n")
            known[1] -= 1
    path, given = server.path_of(uri), parse_qs(address.query)
    if path is None:
        return text(404, f"not found: {uri}\n")
    if subs := given.get("SUB"):
        return _cutout(server, path, subs, fault)
    if given.get("META") == ["true"]:
        return text(200, headers_of(path))
    answer = _file(server, request, fault, path, several=False)
    answer.headers.pop("ETag", None)
    answer.headers["Content-Type"] = "application/fits"
    answer.headers["Content-Disposition"] = f'inline; filename="{path.name}"'
    if server.options.digest:
        digest = server.md5(path)
        raw = bytes.fromhex(digest) if server.options.digest == "bytes" else digest.encode()
        answer.headers["Digest"] = f"md5={base64.b64encode(raw).decode()}"
    return answer


def _cutout(server: Server, path: Path, subs: list[str], fault: Fault | None) -> Answer:
    """Windows of a file; a Range is of no account here."""
    server.ended.wait(len(subs) * server.options.window_seconds)
    try:
        clip = fault.by if fault is not None and fault.kind == "clipped" else 0
        body, _ = windows(path, subs, server.options.mef, clip)
    except (NoContentError, BadCutoutError) as error:
        return text(400, f"{error}\n")
    headers = {"Content-Type": "application/fits", "Content-Disposition": f'inline; filename="cutout-{path.name}"'}
    return Answer(200, headers, Body(body), server.options.framing)


# --- the rest --------------------------------------------------------------------------------------------------------


def _vocabulary(_server, _request, _fault) -> Answer:
    """The words of DataLink, as recorded."""
    page = recorded("pyvo.dal", "tests/data/datalink/datalink.desise")
    return text(200, page, "application/x-desise+json")


def _hop(server: Server, request: Request, _fault) -> Answer:
    """One more redirect on the way."""
    _, _, left, rest = request.target.split("/", 3)
    return redirect(f"{server.root}/hop/{int(left) - 1}/{rest}" if int(left) > 1 else f"{server.root}/{rest}")


def _auth(_server, _request, _fault) -> Answer:
    """Where a password is asked for."""
    answer = text(401, "authentication required\n")
    answer.headers["WWW-Authenticate"] = 'Basic realm="CADC"'
    return answer


def _availability(_server, _request, _fault) -> Answer:
    """What a service of the CADC says of itself, during an outage too."""
    page = (
        '<?xml version="1.0" encoding="UTF-8"?>\n<vosi:availability '
        'xmlns:vosi="http://www.ivoa.net/xml/VOSIAvailability/v1.0"><vosi:available>true</vosi:available>'
        "<vosi:note>service is accepting requests.</vosi:note></vosi:availability>\n"
    )
    return text(200, page, "text/xml")


def _away(_server, _request, _fault) -> Answer:
    """What a host sends that nobody should have gone to: it looks like FITS."""
    return text(200, b"SIMPLE  =                    T".ljust(2880), "application/fits")


def _of_positions(service):
    """A cutout service, which gets its parameters as words."""

    def answer(server: Server, request: Request, fault: Fault | None) -> Answer:
        return service(server, request, fault, {name: values[0] for name, values in _parameters(request).items()})

    return answer


def _unknown(_server, request: Request, _fault) -> Answer:
    return html(404, "404 Not Found", f"The requested URL {request.target} was not found on this server.")


SERVICES = {
    "sas": _static,
    "static": _static,
    "skyserver": _skyserver,
    "crossid": _crossid,
    "registry": _registry,
    "tap": _tap,
    "job": _job,
    "vizier": _tap,
    "capabilities": _capabilities,
    "tables": _tables,
    "datalink": _datalink,
    "soda": _soda,
    "echo": _echo,
    "raven": _locate,
    "pub": _locate,
    "auth": _auth,
    "storage": _storage,
    "vocabulary": _vocabulary,
    "hop": _hop,
    "away": _away,
    "availability": _availability,
    "viewer": _of_positions(viewer),
    "ps1list": _of_positions(ps1_list),
    "ps1cutout": _of_positions(ps1_cutout),
    "unknown": _unknown,
}


def recorded(package: str, name: str) -> bytes:
    """An answer that the authors of a client recorded and ship with it, or the copy of it beside the repository."""
    path = importlib.resources.files(package).joinpath(name)
    if path.is_file():
        return path.read_bytes()
    copies = Path(__file__).parents[2] / "shared" / "data" / "protocol"
    last = name.rsplit("/", 1)[-1]
    found = [each for each in copies.rglob("*") if each.name in (last, f"cadc_{last}")]
    if not found:
        raise FileNotFoundError(f"{package} comes without {name}, its recorded answer")
    return found[0].read_bytes()


def main(arguments: list[str]) -> None:
    """Serve a folder until the process is ended."""
    faults = json.loads(Path(arguments[2]).read_text()) if arguments[1:2] == ["--faults"] else []
    with serve(Path(arguments[0]), faults=[Fault(**fault) for fault in faults]) as server:
        print(server.root, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main(sys.argv[1:])
