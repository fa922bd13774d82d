import logging
import os
import threading

import pytest
import requests

from survey_tools.archives.download import answers, hosts, http
from survey_tools.errors import ArchiveError

FITS = b"SIMPLE  =                    T" + bytes(5000)
HEX = "5bbeb87faa312d42428f07facc9112ca"  # of a stack at the CADC

pytestmark = pytest.mark.usefixtures("waits")


@pytest.mark.parametrize(
    ("header", "md5"),
    [
        ("md5=W764f6oxLUJCjwf6zJESyg==", HEX),
        ("MD5=NWJiZWI4N2ZhYTMxMmQ0MjQyOGYwN2ZhY2M5MTEyY2E=", HEX),  # base64 of the digits, as an old service sent
        (f"md5={HEX.upper()}", HEX),
        ("sha-256=abc=, md5=W764f6oxLUJCjwf6zJESyg==", HEX),
        ("sha-256=abc=", None),
        ("md5=W764f6ox", None),
        ("md5=W764f", None),
        ("", None),
    ],
)
def test_the_md5_of_a_digest(header, md5):
    assert answers.digest_md5(header) == md5


def test_a_chain_of_redirects_is_followed_anew_at_each_request_and_not_told(web, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    tokens = iter(("first-token", "second-token"))
    web.answers["/data"] = [lambda _: (303, {"Location": f"/{next(tokens)}/a"}, b"on")]
    web.answers["/first-token/a"] = [(401, {}, b"expired")]
    web.answers["/second-token/a"] = [(307, {"Location": f"{web.root}/store/a"}, b"")]
    web.answers["/store/a"] = [(200, {}, FITS)]
    http.download(f"{web.root}/data", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == FITS
    assert [request.path for request in web.requests] == [
        "/data",
        "/first-token/a",
        "/data",
        "/second-token/a",
        "/store/a",
    ]
    assert web.connections == 1
    assert "token" not in "".join(record.getMessage() for record in caplog.records)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("status", [401, 403])
def test_a_login_behind_a_redirect_is_no_final_answer(web, tmp_path, status):
    web.answers["/data"] = [(302, {"Location": "/data/auth/a"}, b"")]
    web.answers["/data/auth/a"] = [(status, {}, b"")]
    with pytest.raises(ArchiveError, match=rf"/data: HTTP {status} after a redirect, 6 times$") as failure:
        http.download(f"{web.root}/data", tmp_path / "a")
    assert (failure.value.url, failure.value.status) == (f"{web.root}/data", status)


def test_a_range_goes_along_with_redirects_and_a_no_at_their_end_is_final(web):
    web.answers["/data"] = [(303, {"Location": "/store"}, b"")]
    web.answers["/store"] = [web.whole(FITS)]
    assert http.beginning(f"{web.root}/data", 100) == FITS[:100]
    assert web.ranges() == ["bytes=0-99"] * 2
    web.answers["/store"] = [(400, {}, b"NoContent: nothing there")]
    with pytest.raises(ArchiveError, match="NoContent"):
        http.beginning(f"{web.root}/data")
    assert len(web.requests) == 4


def test_a_circle_of_redirects_ends(web, monkeypatch):
    monkeypatch.setattr(http, "ATTEMPTS", 1)
    web.answers["/a"] = [(303, {"Location": "/a"}, b"")]
    with pytest.raises(ArchiveError, match="more than 10 redirects"):
        http.read(f"{web.root}/a", kind="text")
    assert len(web.requests) == answers.MOST_HOPS + 1


def test_a_redirect_leads_to_known_hosts_only(web, monkeypatch):
    there = web.root.replace("127.0.0.1", "localhost")
    web.answers["/a"] = [(303, {"Location": f"{there}/secret"}, b"")]
    web.answers["/secret"] = [(200, {}, b"text")]
    with pytest.raises(ArchiveError, match=r"redirects to localhost, .* set GALTRANS_HOSTS=localhost$"):
        http.read(f"{web.root}/a", kind="text")
    assert len(web.requests) == 1
    monkeypatch.setenv("GALTRANS_HOSTS", "example.org, LOCALHOST")
    assert http.read(f"{web.root}/a", kind="text") == b"text"


def test_no_error_shows_where_a_redirect_led(web):
    web.answers["/a"] = [(303, {"Location": "http://127.0.0.1:9/secret"}, b"")]
    web.answers["/b"] = [(303, {"Location": "http://a..b/secret"}, b"")]
    for name, kind in (("a", ConnectionError), ("b", ArchiveError)):
        with pytest.raises(kind) as failure:
            http.read(f"{web.root}/{name}", kind="text")
        assert "secret" not in str(failure.value)
        assert failure.value.__cause__ is None


def test_a_status_200_without_a_body_and_a_chunked_one(web):
    chunked = {"Content-Length": None, "Transfer-Encoding": "chunked"}
    web.answers["/a"] = [(200, chunked, b"4\r\ntext\r\n0\r\n\r\n")]
    assert http.read(f"{web.root}/a", kind="text") == b"text"
    web.answers["/b"] = [
        (200, chunked | {"Connection": "close"}, b"4\r\nte"),
        (200, chunked, b"0\r\n\r\n"),
        (200, {}, b"text"),
    ]
    assert http.read(f"{web.root}/b", kind="text") == b"text"
    assert len(web.requests) == 4


def test_each_thread_has_its_own_session_and_counts_its_own_traffic(web):
    web.answers["/a"] = [(200, {}, b"text")]
    counted = []

    def count() -> None:
        http.read(f"{web.root}/a", kind="text")
        counted.append(http.traffic())

    http.read(f"{web.root}/a", kind="text")
    thread = threading.Thread(target=count)
    thread.start()
    thread.join(20)
    assert counted == [http.Traffic(1, 4)]
    assert web.connections == 2


def test_a_forked_process_makes_its_own_connections(web):
    web.answers["/a"] = [(200, {}, b"text")]
    http.read(f"{web.root}/a", kind="text")
    held = hosts.host_of(web.root).turn()
    held.__enter__()
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if http.read(f"{web.root}/a", kind="text") == b"text" and http.traffic().requests == 1 else 1)
        finally:
            os._exit(2)
    held.__exit__(None, None, None)
    assert os.waitpid(child, 0)[1] == 0
    assert web.connections == 2


def test_words_of_an_answer_in_one_printable_line():
    page = b"<html><title>Skyserver\nError</title><body>\x07caf\xc3\xa9 \xff " + b"x" * 500
    told = answers.excerpt(page)
    assert told.startswith("Skyserver Error café � xxx")
    assert len(told) == 160


def test_no_library_repeats_requests_behind_our_back(web):
    web.answers["/a"] = [(503, {}, b"")]
    with pytest.raises(answers.TryAgainError, match="HTTP 503"), answers.ask(answers.Question(f"{web.root}/a")):
        pass
    assert len(web.requests) == 1
    assert requests.adapters.DEFAULT_RETRIES == 0
