"""Proxies that fail are named with the variable of the environment that names them."""

import pytest

from survey_tools.archives.download import http
from survey_tools.archives.download.reach import proxy_of, unreachable
from survey_tools.archives.download.ways import Manner
from survey_tools.errors import ArchiveError, AwayError

ONCE = Manner(tries=1)
VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")

pytestmark = pytest.mark.usefixtures("waits")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch):
    for name in (*VARIABLES, *map(str.upper, VARIABLES)):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("variable", "url"),
    [
        ("HTTPS_PROXY", "https://archive.invalid/x"),
        ("https_proxy", "https://archive.invalid/x"),
        ("HTTP_PROXY", "http://archive.invalid/x"),
        ("ALL_PROXY", "https://archive.invalid/x"),
    ],
)
def test_a_proxy_that_takes_no_connection_is_named_with_its_variable_and_without_its_password(
    monkeypatch, variable, url
):
    monkeypatch.setenv(variable, "http://me:secret@127.0.0.1:9")
    assert proxy_of(url) == (variable, "http://me:secret@127.0.0.1:9")
    words = rf"the proxy 127\.0\.0\.1:9, which {variable} names, does not work: it accepts no connection"
    with pytest.raises(AwayError, match=words) as e:
        http.head(url, ONCE)
    assert "secret" not in str(e.value)
    assert variable in unreachable([url])
    assert "secret" not in unreachable([url])


def test_a_proxy_that_refuses_says_how(web, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", web.root)  # it knows no CONNECT
    with pytest.raises(AwayError, match=r"which HTTPS_PROXY names, does not work: it answers 501"):
        http.head("https://archive.invalid/x", ONCE)
    web.answers["http://archive.invalid/x"] = [(407, {}, b"")]
    monkeypatch.setenv("HTTP_PROXY", web.root)
    with pytest.raises(AwayError, match=r"which HTTP_PROXY names, does not work: it asks for a name and a password"):
        http.head("http://archive.invalid/x", ONCE)


def test_what_is_no_address_of_a_proxy_is_said(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://")
    with pytest.raises((ArchiveError, AwayError), match="HTTPS_PROXY"):
        http.head("https://archive.invalid/x", ONCE)


def test_hosts_that_no_proxy_names_are_asked_without_one(web, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    web.answers["/x"] = [(200, {}, b"")]
    assert http.head(f"{web.root}/x", ONCE).status == 200
    assert proxy_of(web.root) == ("", "")


def test_one_host_that_answers_is_enough_to_be_online(web):
    assert unreachable([web.root, "http://127.0.0.1:9"]) == ""
    assert "accepts no connection" in unreachable(["http://127.0.0.1:9"])
