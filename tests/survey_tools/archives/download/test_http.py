import gzip
import logging
import pickle
import threading
import time
from email.utils import formatdate

import pytest

from survey_tools.archives.download import answers, hosts, http
from survey_tools.errors import ArchiveError, AwayError

FITS = b"SIMPLE  =                    T" + bytes(3_000_000)
PAGE = b"<html><body><h1>503 Service Unavailable</h1></body></html>"
HTML = {"Content-Type": "text/html"}

pytestmark = pytest.mark.usefixtures("waits")


def test_a_file_is_downloaded_whole(web, tmp_path):
    web.answers["/a%2Bb.fits"] = [(200, {}, FITS)]
    before = http.traffic()
    http.download(http.join(web.root + "/", "a+b.fits"), tmp_path / "deep" / "a.fits")
    assert (tmp_path / "deep" / "a.fits").read_bytes() == FITS
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.fits"]
    assert web.requests[0].headers["User-Agent"].startswith("galtrans/")
    assert web.requests[0].headers["Accept-Encoding"] == "identity"
    assert http.traffic() - before == http.Traffic(1, len(FITS))


def test_the_requests_of_a_thread_go_through_one_connection_and_send_no_cookie(web, tmp_path):
    web.answers["/a.fits"] = [(200, {"Set-Cookie": "session=secret"}, FITS)]
    for name in "abc":
        http.download(f"{web.root}/a.fits", tmp_path / name)
    assert (len(web.requests), web.connections) == (3, 1)
    assert not any("Cookie" in request.headers for request in web.requests)


def test_a_gz_file_stays_as_it_is_and_another_that_was_packed_for_the_way_is_unpacked(web, tmp_path):
    for name in ("a.fits.gz", "a.fits"):
        web.answers[f"/{name}"] = [(200, {"Content-Encoding": "gzip"}, gzip.compress(FITS))]
        http.download(f"{web.root}/{name}", tmp_path / name)
    assert gzip.decompress((tmp_path / "a.fits.gz").read_bytes()) == FITS
    assert (tmp_path / "a.fits").read_bytes() == FITS


@pytest.mark.parametrize("status", [404, 410])
def test_a_file_that_is_not_there_is_asked_for_once(web, tmp_path, status):
    web.answers["/a.fits"] = [(status, {}, PAGE)]
    with pytest.raises(http.NotThereError, match="does not exist") as failure:
        http.download(f"{web.root}/a.fits", tmp_path / "a.fits")
    assert (failure.value.url, failure.value.status) == (f"{web.root}/a.fits", status)
    assert len(web.requests) == 1


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504])
def test_a_busy_archive_is_asked_again_after_growing_waits(web, tmp_path, waits, status):
    web.answers["/a.fits"] = [(status, {}, b"")] * 3 + [(200, {}, FITS)]
    http.download(f"{web.root}/a.fits", tmp_path / "a.fits")
    assert (tmp_path / "a.fits").stat().st_size == len(FITS)
    assert waits == [1, 2, 4]


def test_retry_after_is_honoured_in_seconds_and_as_a_date(web, tmp_path, waits):
    date = formatdate(time.time() + 40, usegmt=True)
    asked = [{"Retry-After": "17"}, {"Retry-After": date}, {"Retry-After": "soon"}, {"Retry-After": "9999"}]
    web.answers["/a.fits"] = [(503, headers, b"") for headers in asked] + [(200, {}, FITS)]
    http.download(f"{web.root}/a.fits", tmp_path / "a.fits")
    assert waits[0] == 17
    assert 30 < waits[1] <= 41
    assert waits[2:] == [4, http.LONGEST_WAIT]


BAD = {
    "a page of HTML": ((200, HTML, PAGE), "not FITS .Content-Type text/html: 503 Service Unavailable"),
    "nothing": ((200, {}, b""), "empty"),
    "no content": ((204, {}, b""), "HTTP 204"),
    "half a file": ((200, {"Content-Length": str(2 * len(FITS))}, FITS), "broke off|of .* bytes"),
    "a range that nobody asked for": ((206, {"Content-Range": "bytes 5-9/10"}, FITS), "HTTP 206"),
    "a broken server": ((500, {}, PAGE), "HTTP 500"),
    "a conflict": ((409, {}, PAGE), "HTTP 409"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_answer_is_an_error_and_leaves_nothing(web, tmp_path, kind):
    answer, message = BAD[kind]
    web.answers["/a.fits"] = [answer]
    with pytest.raises(ArchiveError, match=message) as failure:
        http.download(f"{web.root}/a.fits", tmp_path / "a.fits")
    assert "\n" not in str(failure.value)
    assert list(tmp_path.iterdir()) == []
    assert len(web.requests) == http.ATTEMPTS


@pytest.mark.parametrize("status", [400, 401, 403, 405])
def test_a_refusal_is_not_repeated_and_its_words_are_told(web, tmp_path, status):
    web.answers["/a.fits"] = [(status, {}, b"NoContent: no\x1b[31m overlap\r\n<b>here</b>")]
    with pytest.raises(ArchiveError, match=rf"HTTP {status} \(NoContent: no \[31m overlap here\)") as failure:
        http.download(f"{web.root}/a.fits", tmp_path / "a.fits")
    assert failure.value.status == status
    assert len(web.requests) == 1


def test_an_archive_that_stays_busy_or_is_away_ends_the_run(web, tmp_path, monkeypatch):
    web.answers["/a.fits"] = [(503, {}, b"")]
    with pytest.raises(ConnectionError, match="HTTP 503, 6 times"):
        http.download(f"{web.root}/a.fits", tmp_path / "a.fits")
    with pytest.raises(ConnectionError, match="no answer"):
        http.download("http://127.0.0.1:9/a.fits", tmp_path / "a.fits")
    monkeypatch.setattr(answers, "TIMEOUT", (1, 0.1))
    web.answers["/slow.fits"] = [(200, {"X-Slow": "0.4"}, FITS)]
    with pytest.raises(ConnectionError, match=r"no answer \(ReadTimeout\)"):
        http.download(f"{web.root}/slow.fits", tmp_path / "a.fits")
    assert list(tmp_path.iterdir()) == []


def test_what_keeps_an_answer_away_is_said_in_words_and_kept_with_url_and_status(web, monkeypatch):
    web.answers["/a.fits"] = [(503, {}, b"")]
    for url, status, words in (
        (f"{web.root}/a.fits", 503, "HTTP 503"),
        ("http://127.0.0.1:9/a.fits", 0, "the host accepts no connection"),
        ("http://no.such.invalid/a.fits", 0, "the name of the host is unknown"),
    ):
        with pytest.raises(AwayError, match=words) as failure:
            http.head(url)
        again = pickle.loads(pickle.dumps(failure.value))  # as it comes back from a worker
        assert (str(again), again.url, again.status) == (str(failure.value), url, status)


def test_of_a_long_wait_the_user_is_told_once_in_a_while(web, monkeypatch, caplog):
    def warnings():
        return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]

    monkeypatch.setattr(hosts, "LONG_WAIT", 0.02)
    monkeypatch.setattr(http, "LONGEST_WAIT", 0.02)
    web.answers |= {f"/{name}.fits": [(503, {"Retry-After": "5"}, b""), (200, {}, FITS)] for name in "abc"}
    http.head(f"{web.root}/a.fits")
    http.head(f"{web.root}/b.fits")
    said = "127.0.0.1: HTTP 503; waiting 0.02 s before the next attempt (-v reports every wait)"
    assert warnings() == [said]
    monkeypatch.setattr(hosts, "QUIET", 0.0)
    http.head(f"{web.root}/c.fits")
    assert warnings() == [said] * 2


def test_once_an_archive_is_down_less_patience_tells_so_until_it_answers(web, tmp_path):
    web.answers |= {"/a.fits": [(503, {}, b"")], "/b.fits": [(503, {}, b""), (200, {}, FITS)]}

    def requests_for(name: str) -> int:
        before = len(web.requests)
        with pytest.raises(ConnectionError):
            http.download(f"{web.root}/{name}", tmp_path / name)
        return len(web.requests) - before

    assert [requests_for("a.fits"), requests_for("a.fits")] == [http.ATTEMPTS, http.ATTEMPTS_WHEN_DOWN]
    http.download(f"{web.root}/b.fits", tmp_path / "b.fits")
    assert requests_for("a.fits") == http.ATTEMPTS


def test_many_bad_files_in_a_row_are_the_archive_s_fault(web, tmp_path, monkeypatch):
    monkeypatch.setattr(http, "TOO_MANY", 3)
    web.answers |= {"/a.fits": [(200, HTML, PAGE)], "/b.fits": [(200, {}, FITS)]}

    def fetch(name: str = "a.fits") -> None:
        http.download(f"{web.root}/{name}", tmp_path / name)

    for _ in range(2):
        with pytest.raises(ArchiveError):
            fetch()
    fetch("b.fits")
    for _ in range(2):
        with pytest.raises(ArchiveError):
            fetch()
    with pytest.raises(ConnectionError, match="as 2 files before it; is the archive in order"):
        fetch()


@pytest.mark.parametrize("url", ["nonsense", "http://", "ftp://127.0.0.1/a.fits", "http://[::1/a.fits", "http://a..b/"])
def test_what_is_no_web_address_is_refused(tmp_path, url):
    with pytest.raises(ArchiveError, match="not a web address"):
        http.download(url, tmp_path / "a.fits")
    assert list(tmp_path.iterdir()) == []


def test_the_beginning_is_asked_for_as_a_range_and_no_more_is_read(web):
    web.answers["/a.fits"] = [(200, {}, FITS)]
    web.answers["/b.fits"] = [(206, {"Content-Range": "bytes 5-9/10"}, FITS[5:10]), web.whole(FITS)]
    web.answers["/c.fits"] = [web.cut_off(FITS, 1000), (200, HTML, PAGE), (200, {}, FITS[:2880])]
    before = http.traffic()
    assert http.beginning(f"{web.root}/a.fits") == FITS[: http.BEGINNING]
    assert http.beginning(f"{web.root}/b.fits", 5000) == FITS[:5000]
    assert http.beginning(f"{web.root}/c.fits") == FITS[:2880]
    assert web.ranges()[:2] == [f"bytes=0-{http.BEGINNING - 1}", "bytes=0-4999"]
    assert (http.traffic() - before).bytes <= http.BEGINNING + 2 * answers.PIECE


def test_head_tells_size_md5_and_ranges_without_a_body(web):
    web.answers["/a"] = [web.whole(FITS, Digest="md5=3q2+796tvu/erb7v3q2+7w==", ETag='"v1"')]
    assert http.head(f"{web.root}/a") == http.FileFacts(200, len(FITS), "deadbeef" * 4, True, '"v1"', "")
    assert [request.method for request in web.requests] == ["HEAD"]
    web.answers["/b"] = [(405, {}, b""), web.whole(FITS)]
    assert http.head(f"{web.root}/b").size == len(FITS)
    web.answers["/c"] = [(403, {}, PAGE)]
    with pytest.raises(ArchiveError, match=r"/c: HTTP 403$"):
        http.head(f"{web.root}/c")


VOTABLE = b"<?xml version='1.0'?><VOTABLE/>"
GOOD = {"csv": b"#Table1\nobjID\n1\n", "votable": VOTABLE, "json": b' [{"Rows": []}]', "text": b"a = b", "fits": FITS}
GOOD["html"] = PAGE


@pytest.mark.parametrize("kind", GOOD)
def test_a_small_answer_is_read_whole_and_of_its_kind(web, kind):
    served = HTML if kind == "html" else {"Content-Type": "text/plain"}
    page = (200, HTML, b"\xef\xbb\xbf\n<!DOCTYPE html>\n<head><title>Skyserver Error</title>")
    short = (200, served | {"Content-Length": str(len(GOOD[kind]) + 10)}, GOOD[kind])
    xhtml = (200, HTML, b'<?xml version="1.0"?>\n<!DOCTYPE html PUBLIC "x">\n<html>')
    bad = [] if kind == "html" else [page, xhtml]
    web.answers["/q?a=1+%2B"] = [*bad, short, (200, served, b" \n"), (200, served, GOOD[kind])]
    assert http.read(f"{web.root}/q", params={"a": "1 +"}, kind=kind) == GOOD[kind]
    assert len(web.requests) == len(bad) + 3


def test_a_page_that_stays_in_place_of_data_is_told_in_one_line(web):
    web.answers["/q"] = [(200, HTML, b"<html><head>\n<title>Skyserver Error</title></head><body>bad\nSQL")]
    with pytest.raises(
        ArchiveError, match=r"not csv \(Content-Type text/html: Skyserver Error bad SQL\), 6 times"
    ) as e:
        http.read(f"{web.root}/q", kind="csv")
    assert e.value.url == f"{web.root}/q"


def test_a_form_is_posted_and_a_redirect_to_its_answer_is_fetched(web):
    web.answers["/sync"] = [(303, {"Location": "/jobs/1"}, b"")]
    web.answers["/jobs/1"] = [(200, {}, VOTABLE)]
    assert http.read(f"{web.root}/sync", data={"QUERY": "SELECT 'a+b'"}, kind="votable") == VOTABLE
    assert [(request.method, request.form) for request in web.requests] == [
        ("POST", b"QUERY=SELECT+%27a%2Bb%27"),
        ("GET", b""),
    ]


def test_an_answer_beyond_the_limit_is_refused(web, monkeypatch):
    monkeypatch.setattr(http, "LARGEST_ANSWER", 1000)
    web.answers["/q"] = [(200, {}, b"a" * 1001)]
    with pytest.raises(ArchiveError, match="longer than 1000 bytes"):
        http.read(f"{web.root}/q", kind="text")
    assert len(web.requests) == 1


def test_links_of_an_index_page_are_plain_names_in_its_own_folder(web):
    targets = ["b+1.fits", "/d/a.fits.fz", "../", "?C=M", "..%2F..%2Fup.fits", "%2Fetc%2Fx.fits", "sub/x.fits", "."]
    targets += [
        "/elsewhere/x.fits",
        "https://127.0.0.2/d/x.fits",
        ".hidden.fits",
        "a%00.fits",
        "a%5Cb.fits",
        "c.fits#top",
    ]
    targets += ["http://[bad/x.fits", "e.fits?token=1"]
    page = "".join(f'<a href="{target}">x</a>' for target in targets)
    web.answers["/d/"] = [(503, {}, b""), (200, HTML, f"<html>{page}".encode())]
    assert http.links(f"{web.root}/d/") == ["a.fits.fz", "b+1.fits", "c.fits"]
    with pytest.raises(ArchiveError, match=r"has no index page \(does not exist \(HTTP 404\)\)"):
        http.links(f"{web.root}/nothing/")
    with pytest.raises(ConnectionError, match="no answer"):
        http.links("http://127.0.0.1:9/")


def test_no_more_connections_at_once_than_a_host_bears(web, tmp_path):
    busy, most = [], []
    gate = threading.Lock()

    def answer(_):
        with gate:
            busy.append(1)
            most.append(len(busy))
        threading.Event().wait(0.02)
        with gate:
            busy.pop()
        return 200, {}, FITS[:2880]

    web.answers["/a.fits"] = [answer]
    jobs = [
        threading.Thread(target=http.download, args=(f"{web.root}/a.fits", tmp_path / str(number)))
        for number in range(12)
    ]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join(20)
    assert len(list(tmp_path.iterdir())) == 12
    assert 1 < max(most) <= hosts.ELSEWHERE.connections
