import contextlib
import gzip
import threading
import time
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from survey_tools.archives import http
from survey_tools.errors import ArchiveError

FITS = b"SIMPLE  =                    T" + bytes(3_000_000)
PAGE = b"<html><body><h1>503 Service Unavailable</h1></body></html>"


class Archive:
    """A web server whose answers are set by path, each a list to go through, and whose requests are noted."""

    def __init__(self):
        self.answers, self.requests = {}, []
        archive = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                archive.requests.append((self.path, dict(self.headers)))
                answers = archive.answers.get(self.path, [(404, {}, b"")])
                status, headers, body = answers.pop(0) if len(answers) > 1 else answers[0]
                self.send_response(status)
                for name, value in ({"Content-Length": str(len(body))} | headers).items():
                    self.send_header(name, value)
                self.end_headers()
                if headers.get("X-Slow"):
                    threading.Event().wait(float(headers["X-Slow"]))
                with contextlib.suppress(ConnectionError):  # a client may have read enough
                    self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.root = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def archive():
    served = Archive()
    yield served
    served.server.shutdown()
    served.server.server_close()


@pytest.fixture(autouse=True)
def waits(monkeypatch):
    """The pauses between attempts, noted and not waited for."""
    noted = []
    monkeypatch.setattr(http.time, "sleep", noted.append)
    return noted


def test_a_file_is_downloaded_whole(archive, tmp_path):
    archive.answers["/a%2Bb.fits"] = [(200, {}, FITS)]
    http.download(http.join(archive.root + "/", "a+b.fits"), tmp_path / "deep" / "a.fits")
    assert (tmp_path / "deep" / "a.fits").read_bytes() == FITS
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.fits"]
    assert archive.requests[0][1]["User-Agent"].startswith("galtrans/")


def test_a_server_that_encodes_a_gz_file_on_the_way_is_understood(archive, tmp_path):
    archive.answers["/a.fits.gz"] = [(200, {"Content-Encoding": "gzip"}, gzip.compress(FITS))]
    http.download(f"{archive.root}/a.fits.gz", tmp_path / "a.fits.gz")
    assert (tmp_path / "a.fits.gz").read_bytes() == FITS


@pytest.mark.parametrize("status", [404, 410])
def test_a_file_that_is_not_there_is_asked_for_once(archive, tmp_path, status):
    archive.answers["/a.fits"] = [(status, {}, PAGE)]
    with pytest.raises(http.NotThereError, match="not there"):
        http.download(f"{archive.root}/a.fits", tmp_path / "a.fits")
    assert len(archive.requests) == 1


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_busy_archive_is_asked_again_after_growing_waits(archive, tmp_path, waits, status):
    archive.answers["/a.fits"] = [(status, {}, b"")] * 3 + [(200, {}, FITS)]
    http.download(f"{archive.root}/a.fits", tmp_path / "a.fits")
    assert (tmp_path / "a.fits").stat().st_size == len(FITS)
    assert waits == [1, 2, 4]


def test_retry_after_is_honoured_in_seconds_and_as_a_date(archive, tmp_path, waits):
    date = formatdate(time.time() + 40, usegmt=True)
    asked = [{"Retry-After": "17"}, {"Retry-After": date}, {"Retry-After": "soon"}, {"Retry-After": "9999"}]
    archive.answers["/a.fits"] = [(503, headers, b"") for headers in asked] + [(200, {}, FITS)]
    http.download(f"{archive.root}/a.fits", tmp_path / "a.fits")
    assert waits[0] == 17
    assert 30 < waits[1] <= 41
    assert waits[2:] == [4, http.LONGEST_WAIT]


BAD = {
    "a page of HTML": ((200, {"Content-Type": "text/html"}, PAGE), "not FITS .Content-Type text/html"),
    "nothing": ((200, {}, b""), "empty"),
    "half a file": ((200, {"Content-Length": str(2 * len(FITS))}, FITS), "broke off|of .* bytes"),
    "a broken server": ((500, {}, PAGE), "HTTP 500"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_answer_is_an_error_and_leaves_nothing(archive, tmp_path, kind):
    answer, message = BAD[kind]
    archive.answers["/a.fits"] = [answer]
    with pytest.raises(ArchiveError, match=message):
        http.download(f"{archive.root}/a.fits", tmp_path / "a.fits")
    assert list(tmp_path.iterdir()) == []
    assert len(archive.requests) == http.ATTEMPTS


def test_a_refusal_is_not_repeated(archive, tmp_path):
    archive.answers["/a.fits"] = [(403, {}, PAGE)]
    with pytest.raises(ArchiveError, match="HTTP 403"):
        http.download(f"{archive.root}/a.fits", tmp_path / "a.fits")
    assert len(archive.requests) == 1


def test_an_archive_that_stays_busy_or_is_away_ends_the_run(archive, tmp_path, monkeypatch):
    archive.answers["/a.fits"] = [(503, {}, b"")]
    with pytest.raises(ConnectionError, match="HTTP 503"):
        http.download(f"{archive.root}/a.fits", tmp_path / "a.fits")
    with pytest.raises(ConnectionError, match="no answer"):
        http.download("http://127.0.0.1:9/a.fits", tmp_path / "a.fits")
    monkeypatch.setattr(http, "TIMEOUT", (1, 0.2))
    monkeypatch.setattr(http, "ATTEMPTS", 2)
    archive.answers["/slow.fits"] = [(200, {"X-Slow": "0.6"}, FITS)]
    with pytest.raises((ConnectionError, ArchiveError)):
        http.download(f"{archive.root}/slow.fits", tmp_path / "a.fits")
    assert list(tmp_path.iterdir()) == []


def test_the_beginning_is_asked_for_as_a_range_and_no_more_is_read(archive):
    archive.answers["/a.fits"] = [(200, {}, FITS)]
    assert http.beginning(f"{archive.root}/a.fits") == FITS[: http.BEGINNING]
    assert archive.requests[0][1]["Range"] == f"bytes=0-{http.BEGINNING - 1}"


def test_links_of_an_index_page(archive):
    page = b'<html><a href="b+1.fits">b</a><a href="/d/a.fits.fz">a</a><a href="../">up</a><a href="?C=M">by date</a>'
    archive.answers["/d/"] = [(200, {"Content-Type": "text/html"}, page)]
    assert [n for n in http.links(f"{archive.root}/d/") if n.endswith((".fits", ".fz"))] == ["a.fits.fz", "b+1.fits"]
    with pytest.raises(ArchiveError, match="no index page"):
        http.links(f"{archive.root}/nothing/")
    with pytest.raises(ConnectionError, match="no answer"):
        http.links("http://127.0.0.1:9/")
