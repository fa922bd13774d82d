import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from base64 import b64encode

import pytest
from hypothesis import HealthCheck, given, settings, strategies

from survey_tools.archives.download import http, transfer
from survey_tools.errors import ArchiveError

FITS = b"SIMPLE  =                    T" + bytes(range(256)) * 4000
BZ2 = b"BZh9" + FITS
MD5 = hashlib.md5(FITS).hexdigest()
TAG = '"version-1"'
DATE = "Wed, 21 Oct 2015 07:28:00 GMT"

pytestmark = pytest.mark.usefixtures("waits")


def leave_part(web, path, body: bytes, at: int, **headers) -> None:
    """Leave what a download leaves that is killed after `at` bytes."""
    web.answers["/a.fits"] = [web.whole(body, **headers)]
    with transfer.unfinished(transfer.WantedFile(f"{web.root}/a.fits"), path) as part:
        part.fetch()
    os.truncate(f"{path}.part", at)
    web.requests.clear()


@pytest.mark.parametrize("header", [{"ETag": TAG}, {"Last_Modified": DATE}, {"Digest": f"md5={MD5}"}])
def test_a_killed_download_goes_on_where_it_ended(web, tmp_path, header):
    leave_part(web, tmp_path / "a", FITS, 1000, **header)
    assert sorted(os.listdir(tmp_path)) == ["a.part", "a.part.json"]
    http.download(f"{web.root}/a.fits", tmp_path / "a", size=len(FITS), md5=MD5.upper())
    assert (tmp_path / "a").read_bytes() == FITS
    assert os.listdir(tmp_path) == ["a"]
    assert web.ranges() == ["bytes=1000-"]
    assert web.requests[0].headers.get("If-Range") == {"ETag": TAG, "Last_Modified": DATE}.get(*header)


def test_without_a_name_of_the_version_only_what_a_checksum_verifies_goes_on(web, tmp_path):
    leave_part(web, tmp_path / "a", FITS, 1000)
    http.download(f"{web.root}/a.fits", tmp_path / "a")
    leave_part(web, tmp_path / "b", FITS, 1000)
    http.download(f"{web.root}/a.fits", tmp_path / "b", md5=MD5)
    assert web.ranges() == ["bytes=1000-"]
    leave_part(web, tmp_path / "c", BZ2, 1000)
    http.download(f"{web.root}/a.fits", tmp_path / "c")
    assert web.ranges() == ["bytes=1000-"]
    assert [(tmp_path / name).read_bytes() for name in "abc"] == [FITS, FITS, BZ2]


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"names": 1}', '{"names": ["other"], "facts": {}}'])
def test_a_part_whose_origin_is_not_known_is_not_used(web, tmp_path, damage):
    leave_part(web, tmp_path / "a", FITS, 1000, ETag=TAG)
    (tmp_path / "a.part.json").write_text(damage)
    http.download(f"{web.root}/a.fits", tmp_path / "a")
    assert web.ranges() == [None]
    assert (tmp_path / "a").read_bytes() == FITS


def test_a_part_of_another_url_is_not_used_and_no_url_is_written_down(web, tmp_path):
    leave_part(web, tmp_path / "a", b"SIMPLE  =" + b"x" * 5000, 1000, ETag=TAG)
    assert web.root not in (tmp_path / "a.part.json").read_text()
    web.answers["/b.fits"] = [web.whole(FITS, ETag=TAG)]
    http.download(f"{web.root}/b.fits", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == FITS


def test_a_file_that_has_changed_is_fetched_from_its_beginning(web, tmp_path):
    leave_part(web, tmp_path / "a", FITS[:-5] + b"older", 1000, ETag=TAG)
    web.answers["/a.fits"] = [web.whole(FITS, ETag='"version-2"')]
    http.download(f"{web.root}/a.fits", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == FITS
    assert web.ranges() == ["bytes=1000-"]


def ignoring(body: bytes, first: int, total: object, **headers):
    """A 206 that begins at `first`, whatever was asked for."""
    return 206, {"Content-Range": f"bytes {first}-{len(body) - 1}/{total}"} | headers, body[first:]


WRONG = {
    "it begins elsewhere": ignoring(FITS, 900, len(FITS)),
    "it has another length": ignoring(FITS, 1000, len(FITS) + 1),
    "it is another version": ignoring(FITS, 1000, len(FITS), ETag='"version-2"'),
    "it is of another date": ignoring(FITS, 1000, len(FITS), **{"Last-Modified": DATE.replace("2015", "2016")}),
    "it has another md5": ignoring(FITS, 1000, len(FITS), Digest="md5=3q2+796tvu/erb7v3q2+7w=="),
    "it has no Content-Range": (206, {}, FITS[1000:]),
    "it has a strange Content-Range": (206, {"Content-Range": "bytes */7"}, FITS[1000:]),
    "there is nothing from there on": (416, {"Content-Range": "bytes */500"}, b""),
    "there is nothing, it says": (416, {}, b""),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_an_answer_that_does_not_go_on_from_the_part_is_not_used(web, tmp_path, wrong):
    leave_part(web, tmp_path / "a", FITS, 1000, ETag=TAG, Last_Modified=DATE, Digest=f"md5={MD5}")
    web.answers["/a.fits"] = [WRONG[wrong], web.whole(FITS)]
    http.download(f"{web.root}/a.fits", tmp_path / "a")
    assert web.ranges() == ["bytes=1000-", None]
    assert (tmp_path / "a").read_bytes() == FITS


def test_a_part_that_is_whole_only_gets_its_name_and_one_too_long_begins_again(web, tmp_path):
    leave_part(web, tmp_path / "a", FITS, len(FITS), ETag=TAG)
    http.download(f"{web.root}/a.fits", tmp_path / "a", md5=MD5)
    leave_part(web, tmp_path / "b", FITS, len(FITS) + 7, ETag=TAG)
    http.download(f"{web.root}/a.fits", tmp_path / "b")
    assert [(tmp_path / name).read_bytes() for name in "ab"] == [FITS, FITS]
    assert web.ranges() == [f"bytes={len(FITS) + 7}-", None]


def test_a_part_that_is_whole_but_for_a_flipped_bit_begins_again(web, tmp_path):
    leave_part(web, tmp_path / "a", FITS, len(FITS), ETag=TAG)
    with (tmp_path / "a.part").open("r+b") as file:
        file.seek(5000)
        file.write(b"!")
    http.download(f"{web.root}/a.fits", tmp_path / "a", md5=MD5)
    assert (tmp_path / "a").read_bytes() == FITS
    assert web.ranges() == [f"bytes={len(FITS)}-", None]


def test_a_download_that_breaks_off_again_and_again_ends_while_it_gets_further(web, tmp_path, waits):
    web.answers["/a.fits"] = [web.cut_off(FITS, 2**16, ETag=TAG)]
    http.download(f"{web.root}/a.fits", tmp_path / "a", md5=MD5)
    assert (tmp_path / "a").read_bytes() == FITS
    assert len(web.requests) == -(-len(FITS) // 2**16)
    assert web.ranges()[1:3] == ["bytes=65536-", "bytes=131072-"]
    assert set(waits) == {http.FIRST_WAIT}


def test_one_that_begins_again_each_time_is_given_up(web, tmp_path):
    web.answers["/a.fits"] = [web.cut_off(FITS, 2**16)]
    with pytest.raises(ArchiveError, match="broke off, 6 times"):
        http.download(f"{web.root}/a.fits", tmp_path / "a")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("digest", [hashlib.md5(FITS).digest(), MD5.encode()])
@pytest.mark.parametrize("known", [{}, {"md5": MD5}, {"md5": MD5, "size": len(FITS)}])
def test_a_flipped_bit_is_found_by_the_md5_of_the_archive_and_of_the_list(web, tmp_path, digest, known):
    flipped = FITS[:5000] + b"!" + FITS[5001:]
    header = {} if known else {"Digest": f"sha-256=xx, md5={b64encode(digest).decode()}"}
    web.answers["/a.fits"] = [web.whole(flipped, **header), web.whole(FITS, **header)]
    http.download(f"{web.root}/a.fits", tmp_path / "a", **known)
    assert (tmp_path / "a").read_bytes() == FITS
    assert web.ranges() == [None, None]


def test_another_file_than_the_listed_one_is_not_even_fetched(web, tmp_path):
    web.answers["/a.fits"] = [web.whole(FITS, Digest=f"md5={b64encode(hashlib.md5(FITS).digest()).decode()}")]
    before = http.traffic()
    with pytest.raises(ArchiveError, match=rf"the archive's file has md5 {MD5}, not {'0' * 32}, 6 times"):
        http.download(f"{web.root}/a.fits", tmp_path / "a", md5="0" * 32)
    with pytest.raises(ArchiveError, match=f"the answer has {len(FITS)} bytes, not 7, 6 times"):
        http.download(f"{web.root}/a.fits", tmp_path / "a", size=7)
    assert (http.traffic() - before).bytes == 0
    assert os.listdir(tmp_path) == []


def test_a_wrong_length_without_a_header_is_found_by_the_listed_size(web, tmp_path):
    ends = {"Content-Length": None, "Connection": "close"}
    web.answers["/a.fits"] = [(200, ends, FITS[:5000]), (200, ends, FITS + b"more"), (200, ends, FITS)]
    http.download(f"{web.root}/a.fits", tmp_path / "a", size=len(FITS))
    assert (tmp_path / "a").read_bytes() == FITS
    assert len(web.requests) == 3


def test_a_reset_connection_leaves_the_part_to_the_next_attempt(web, tmp_path):
    web.answers["/a.fits"] = [web.cut_off(FITS, 70_000, ETag=TAG, X_Reset="1"), web.whole(FITS, ETag=TAG)]
    http.download(f"{web.root}/a.fits", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == FITS
    assert len(web.requests) == 2


def test_a_lost_archive_leaves_the_part_to_the_next_run(web, tmp_path):
    web.answers["/a.fits"] = [web.cut_off(FITS, 70_000, ETag=TAG), (503, {}, b"")]
    with pytest.raises(ConnectionError, match="HTTP 503"):
        http.download(f"{web.root}/a.fits", tmp_path / "a")
    web.answers["/a.fits"] = [web.whole(FITS, ETag=TAG)]
    http.download(f"{web.root}/a.fits", tmp_path / "a")
    assert web.ranges()[-1] == "bytes=70000-"
    assert (tmp_path / "a").read_bytes() == FITS


def test_other_files_than_fits_may_come_but_no_page_in_their_place(web, tmp_path):
    web.answers["/a"] = [(200, {}, b"<!DOCTYPE html><p>sorry"), (200, {}, b"a list")]
    http.download(f"{web.root}/a", tmp_path / "a", fits=False)
    assert (tmp_path / "a").read_bytes() == b"a list"


def test_a_full_disk_ends_with_the_name_of_the_file_and_the_rest_can_be_fetched_later(web, tmp_path):
    web.answers["/a.fits"] = [web.whole(FITS, ETag=TAG)]
    script = (
        "import resource, signal, sys\nfrom pathlib import Path\nfrom survey_tools.archives.download import http\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\nresource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "http.download(sys.argv[1], Path(sys.argv[2]))\n"
    )
    command = [sys.executable, "-c", script, f"{web.root}/a.fits", str(tmp_path / "a")]
    ended = subprocess.run(command, check=False, capture_output=True, text=True)
    assert ended.stderr.splitlines()[-1] == f"OSError: [Errno 27] File too large: '{tmp_path}/a.part'"
    http.download(f"{web.root}/a.fits", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == FITS
    assert web.ranges() == [None, "bytes=100000-"]


def test_a_killed_process_leaves_a_part_with_which_another_goes_on(web, tmp_path):
    web.answers["/a.fits"] = [web.cut_off(FITS, 600_000, ETag=TAG), web.whole(FITS, ETag=TAG)]
    script = (
        "import sys\nfrom pathlib import Path\nfrom survey_tools.archives.download import http\n"
        "http.time.sleep = lambda _: print('cut off', flush=True) or sys.stdin.read()\n"
        "http.download(sys.argv[1], Path(sys.argv[2]))\n"
    )
    command = [sys.executable, "-c", script, f"{web.root}/a.fits", str(tmp_path / "a")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"cut off\n"
        process.send_signal(signal.SIGKILL)
    assert sorted(os.listdir(tmp_path)) == ["a.part", "a.part.json"]
    http.download(f"{web.root}/a.fits", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == FITS
    assert web.ranges() == [None, "bytes=600000-"]


def test_two_tasks_never_write_one_part(web, tmp_path):
    web.answers["/a.fits"] = [web.whole(FITS, X_Slow="0.05")]
    jobs = [
        threading.Thread(
            target=http.download, args=(f"{web.root}/a.fits", tmp_path / "a"), kwargs={"md5": MD5, "once": once}
        )
        for once in (False, True, True)
    ]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join(20)
    assert (tmp_path / "a").read_bytes() == FITS
    assert os.listdir(tmp_path) == ["a"]
    assert len(web.requests) in (1, 2)


def test_what_is_known_of_a_part_is_readable(web, tmp_path):
    leave_part(web, tmp_path / "a", FITS, 1000, ETag=TAG, Last_Modified=DATE)
    facts = json.loads((tmp_path / "a.part.json").read_text())["facts"]
    assert (facts["size"], facts["etag"], facts["modified"]) == (len(FITS), TAG, DATE)


@pytest.mark.parametrize(
    ("start", "page"),
    [
        (b" \n<HTML>", True),
        (b"\xef\xbb\xbf<!doctype HTML", True),
        (b"<?xml ?>\n<html", True),
        (b"<?xml ?><VOTABLE", False),
    ],
)
def test_pages_are_told_from_data(start, page):
    assert transfer.is_page(start) == page


def faults(web) -> dict:
    """Answers that are wrong in every way there is."""
    return {
        "wrong range": lambda _: ignoring(FITS, 77, len(FITS), ETag=TAG),
        "nothing there": lambda request: (416 if "Range" in request.headers else 503, {"ETag": TAG}, b""),
        "a page": (200, {"Content-Type": "text/html"}, b"<html>sorry"),
        "empty": (200, {}, b""),
        "busy": (429, {"Retry-After": "3"}, b""),
        "broken": (502, {}, b""),
        "conflict": (409, {}, b""),
        "login": (303, {"Location": "/auth"}, b""),
        "another version": web.cut_off(b"SIMPLE  =" + bytes(len(FITS)), 9000, ETag='"version-0"'),
        "another version under the same name": web.cut_off(b"SIMPLE  =" + bytes(len(FITS)), 9000, ETag=TAG),
        "a flipped bit": web.whole(FITS[:300] + b"!" + FITS[301:], ETag=TAG),
        "too long": (200, {}, FITS + b"more"),
        "too short": (200, {}, FITS[:-1]),
        "cut off": web.cut_off(FITS, 5000, ETag=TAG),
        "cut off late": web.cut_off(FITS, len(FITS) - 1, ETag=TAG),
        "cut off, of no name": web.cut_off(FITS, 7000),
        "reset": web.cut_off(FITS, 100_000, ETag=TAG, X_Reset="1"),
        "reset at once": web.cut_off(FITS, 0, X_Reset="1"),
        "no range": (200, {"ETag": TAG}, FITS[:-1]),
    }


def test_a_part_that_was_wrong_is_not_held_against_the_answer_that_shows_it(web, tmp_path):
    wrong = faults(web)
    order = ["another version", *["a flipped bit"] * 3, "another version under the same name"]
    web.answers["/a.fits"] = [*(wrong[name] for name in order), web.whole(FITS, ETag=TAG)]
    http.download(f"{web.root}/a.fits", tmp_path / "a", md5=MD5)
    assert (tmp_path / "a").read_bytes() == FITS


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=strategies.data(), known=strategies.booleans())
def test_any_five_faults_in_a_row_are_survived(web, tmp_path, data, known):
    wrong = faults(web)
    order = data.draw(strategies.lists(strategies.sampled_from(sorted(wrong)), max_size=5))
    web.answers["/auth"] = [(401, {}, b"")]
    web.answers["/a.fits"] = [*(wrong[name] for name in order), web.whole(FITS, ETag=TAG)]
    http.download(f"{web.root}/a.fits", tmp_path / "a", size=len(FITS) if known else None, md5=MD5)
    assert (tmp_path / "a").read_bytes() == FITS
    assert os.listdir(tmp_path) == ["a"]
