"""Several addresses of one thing, and the passing states of an archive."""

import hashlib
import time

import pytest

from survey_tools.archives.download import http, transfer
from survey_tools.archives.download.ways import OF_A_LIVE_ARCHIVE, Manner, Ways
from survey_tools.errors import ArchiveError, AwayError

FITS = b"SIMPLE  =                    T" + bytes(300_000)
MD5 = hashlib.md5(FITS).hexdigest()
LIVE = Manner(patience=300.0, passing=OF_A_LIVE_ARCHIVE)
TRIES = 10  # attempts with 300 s of waiting between them: 1 + 2 + … + 64 + 128 + 128

pytestmark = pytest.mark.usefixtures("waits")


@pytest.fixture
def ways(web):
    """A file at three addresses of one server, none of which has it yet."""
    return Ways(tuple(f"{web.root}/{place}/" for place in "abc"), "x.fits")


def paths(web):
    return [request.path for request in web.requests]


def test_addresses_are_tried_in_their_order_before_anything_is_waited_for_and_the_one_that_works_is_remembered(
    web, ways, tmp_path, waits, caplog
):
    web.answers["/a/x.fits"], web.answers["/b/x.fits"] = [(500, {}, b"")], [(503, {}, b"")]
    web.answers["/c/x.fits"] = web.answers["/c/y.fits"] = [(200, {}, FITS)]
    http.download(ways, tmp_path / "x", manner=LIVE)
    assert (tmp_path / "x").read_bytes() == FITS
    assert paths(web) == ["/a/x.fits", "/b/x.fits", "/c/x.fits"]
    assert waits == []
    (record,) = caplog.records
    assert "/a/ gives no answer (HTTP 500; HTTP 503); 127.0.0.1/c/ is asked from now on" in record.getMessage()
    http.download(Ways(ways.roots, "y.fits"), tmp_path / "y", manner=LIVE)
    assert paths(web)[3:] == ["/c/y.fits"]


@pytest.mark.parametrize("status", [403, 404, 500, 502])
def test_a_passing_state_of_a_listed_file_is_waited_out_by_all_addresses(web, ways, tmp_path, waits, status):
    web.answers["/a/x.fits"] = [(status, {}, b"")] * 4 + [(200, {}, FITS)]
    http.download(ways, tmp_path / "x", manner=LIVE.for_listed())
    assert (tmp_path / "x").read_bytes() == FITS
    assert waits == [1, 2, 4, 8]
    assert paths(web).count("/b/x.fits") == paths(web).count("/c/x.fits") == 4


@pytest.mark.parametrize("status", [403, 404, 500])
def test_a_passing_state_that_stays_is_an_archive_that_is_away_and_no_failure_of_the_file(
    web, ways, tmp_path, waits, status
):
    for place in "abc":
        web.answers[f"/{place}/x.fits"] = [(status, {}, b"")]
    with pytest.raises(AwayError, match=rf"/a/x\.fits: HTTP {status}, {TRIES} times; nor by 2 other addresses") as e:
        http.download(ways, tmp_path / "x", manner=LIVE.for_listed())
    assert (e.value.url, e.value.status) == (str(ways), status)
    assert len(web.requests) == 3 * TRIES
    assert 300 <= sum(waits) < 450
    web.requests.clear()
    with pytest.raises(AwayError, match=rf"HTTP {status}, 2 times"):  # the next file needs less patience
        http.download(ways, tmp_path / "y", manner=LIVE.for_listed())
    assert list(tmp_path.iterdir()) == []


def test_what_no_address_has_and_no_list_knows_is_not_there(web, ways, tmp_path):
    with pytest.raises(http.NotThereError):
        http.download(ways, tmp_path / "x", manner=LIVE)
    assert len(web.requests) == 3


@pytest.mark.parametrize("status", [400, 414, 431])
def test_a_request_that_is_wrong_in_itself_goes_to_one_address(web, ways, status):
    web.answers["/a/x.fits"] = [(status, {}, b"too long")]
    with pytest.raises(ArchiveError, match="too long") as e:
        http.read(ways, kind="fits", manner=LIVE.for_listed())
    assert e.value.status == status
    assert len(web.requests) == 1


def test_a_part_goes_on_at_another_address_where_the_md5_is_known(web, ways, tmp_path):
    web.answers["/a/x.fits"] = [web.cut_off(FITS, 200_000, Last_Modified="Monday"), (500, {}, b"")]
    web.answers["/b/x.fits"] = [web.whole(FITS, Last_Modified="Tuesday")]
    http.download(ways, tmp_path / "x", size=len(FITS), md5=MD5, manner=LIVE)
    assert (tmp_path / "x").read_bytes() == FITS
    assert paths(web)[-1] == "/b/x.fits"
    assert web.ranges()[-1] == "bytes=200000-"


def test_without_an_md5_another_address_sends_it_all(web, ways, tmp_path):
    web.answers["/a/x.fits"] = [web.cut_off(FITS, 200_000, Last_Modified="Monday"), (500, {}, b"")]
    web.answers["/b/x.fits"] = [web.whole(b"SIMPLE  = other" + FITS, Last_Modified="Tuesday")]
    http.download(ways, tmp_path / "x", manner=LIVE)
    assert (tmp_path / "x").read_bytes() == b"SIMPLE  = other" + FITS


def test_a_download_that_is_too_slow_is_broken_off_and_the_same_address_is_asked_again(
    archive_server, tmp_path, monkeypatch
):
    monkeypatch.setattr(transfer, "SLOW_TIME", 0.05)
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / "x.fits").write_bytes(FITS)
    faults = [archive_server.Fault("slow", "x.fits", by=300)]  # 300 kB/s
    with archive_server.serve(tmp_path / "archive", faults=faults) as server:
        ways = Ways((f"{server.root}/", f"{server.root}/elsewhere/"), "x.fits")
        manner = Manner(slowest=3e6)
        http.download(ways, tmp_path / "x", size=len(FITS), md5=MD5, manner=manner)
        asked = [request.headers.get("range", "") for request in server.log]
        assert not server.count(match="elsewhere")
    assert (tmp_path / "x").read_bytes() == FITS
    assert asked[0] == ""
    assert asked[1].startswith("bytes=")  # what had come was not asked for again


def test_where_every_answer_is_slow_the_floor_gives_way(archive_server, tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "SLOW_TIME", 0.03)
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / "x.fits").write_bytes(FITS)
    faults = [archive_server.Fault("slow", "x.fits", by=1000, times=-1)]
    with archive_server.serve(tmp_path / "archive", faults=faults) as server:
        start = time.monotonic()
        http.download(f"{server.root}/x.fits", tmp_path / "x", md5=MD5, manner=Manner(slowest=1e8))
        assert server.count() < 30
    assert (tmp_path / "x").read_bytes() == FITS
    assert time.monotonic() - start < 30


def test_part_reads_the_bytes_that_are_asked_for_and_says_where_an_archive_gives_no_parts(web):
    web.answers["/x.fits"] = [web.whole(FITS[:30] + bytes(range(100)))]
    assert http.part(f"{web.root}/x.fits", 40, 5) == bytes(range(10, 15))
    web.answers["/x.fits"] = [(200, {}, FITS)]
    with pytest.raises(ArchiveError, match="does not send parts of a file by Range"):
        http.part(f"{web.root}/x.fits", 40, 5)
