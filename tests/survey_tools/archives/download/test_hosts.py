import threading

import pytest

from survey_tools.archives.download import hosts
from survey_tools.archives.download.hosts import ELSEWHERE, LIMITS, Limits, host_of, redirected
from survey_tools.archives.settings import read_settings
from survey_tools.errors import ArchiveError

CADC = "https://ws.cadc-ccda.hia-iha.nrc-cnrc.gc.ca/raven/files/cadc:a"


@pytest.fixture(autouse=True)
def fresh():
    hosts.forget()
    yield
    hosts.forget()


@pytest.mark.parametrize(
    ("url", "connections", "interval"),
    [
        (read_settings({}).skyserver, 1, 1),
        (read_settings({}).sas, 4, 0),
        (read_settings({}).cadc_tap, 3, 0),
        (read_settings({}).cadc_files, 3, 0),
        (read_settings({}).vizier_tap, 2, 1),
        ("https://ws-uv.canfar.net/minoc/files/token/cadc:a", 3, 0),
        ("https://dr12.sdss.org/sas", 4, 0),
        ("https://notsdss.org/", ELSEWHERE.connections, 0),
        ("http://127.0.0.1:8000", ELSEWHERE.connections, 0),
    ],
)
def test_the_limits_of_the_live_archives(url, connections, interval):
    limits = host_of(url).limits
    assert (limits.connections, limits.interval) == (connections, interval)
    assert limits.source


def test_hosts_of_one_archive_share_their_limits_and_servers_elsewhere_do_not():
    assert host_of(CADC) is host_of("https://www.canfar.net/x")
    assert host_of("http://127.0.0.1:8000/a") is host_of("http://127.0.0.1:8000/b")
    assert host_of("http://127.0.0.1:8000/a") is not host_of("http://127.0.0.1:8001/a")
    assert host_of("https://skyserver.sdss.org") is not host_of("https://data.sdss.org")


def test_requests_begin_no_faster_than_the_interval(monkeypatch):
    clock, pauses = [100.0], []
    monkeypatch.setattr(hosts.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(hosts.time, "sleep", pauses.append)
    host = hosts.Host(Limits(("example.org",), 2, 1.0, "a test"))
    for moment in (100.0, 100.25, 100.5, 107.0):
        clock[0] = moment
        with host.turn():
            pass
    assert pauses == [0.75, 1.5]


def test_a_turn_is_waited_for_and_given_back_after_an_error():
    host = hosts.Host(Limits(("example.org",), 1, 0.0, "a test"))
    with pytest.raises(KeyError), host.turn():
        raise KeyError
    order = []

    def second() -> None:
        with host.turn():
            order.append("second")

    with host.turn():
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.05)
        order.append("first")
    thread.join(20)
    assert order == ["first", "second"]


GOOD = [
    (CADC, "https://ws-uv.canfar.net/minoc/token/a"),
    (CADC, "https://www.cadc-ccda.hia-iha.nrc-cnrc.gc.ca/a"),
    (CADC, "/soda-echo/a"),
    ("http://data.sdss.org/a", "https://dr12.sdss.org/a"),
    ("http://mirror.example/a", "https://MIRROR.example:8443/a"),
    ("https://mirror.example/a", "http://mirror.example/a"),
    ("http://mirror.example/a", "//mirror.example/b"),
]
BAD = [
    (CADC, "https://evil.example/a"),
    (CADC, "https://canfar.net.evil.example/a"),
    (CADC, "https://evilcanfar.net/a"),
    (CADC, "https://canfar.net@evil.example/a"),
    (CADC, "http://ws-uv.canfar.net/a"),
    (CADC, "file:///etc/passwd"),
    (CADC, "ftp://ws-uv.canfar.net/a"),
    (CADC, "mailto:a@canfar.net"),
    (CADC, "https://[bad/a"),
    ("http://mirror.example/a", "http://127.0.0.1/a"),
]


@pytest.mark.parametrize(("origin", "location"), GOOD)
def test_a_redirect_within_the_archives_is_followed(origin, location):
    assert redirected(origin, origin, location).startswith("http")


@pytest.mark.parametrize(("origin", "location"), BAD)
def test_a_redirect_elsewhere_is_refused_in_one_line(origin, location):
    with pytest.raises(ArchiveError, match=r"redirects (to|from) .*\S$") as failure:
        redirected(origin, origin, location)
    assert failure.value.url == origin
    assert "\n" not in str(failure.value)
    assert "passwd" not in str(failure.value)


def test_a_host_of_the_user_s_own_list_is_known(monkeypatch):
    monkeypatch.setenv("GALTRANS_HOSTS", " , store.example")
    assert redirected(CADC, CADC, "https://a.store.example/b") == "https://a.store.example/b"
    with pytest.raises(ArchiveError, match=r"redirects to other\.example"):
        redirected(CADC, CADC, "https://other.example/b")


def test_every_row_has_numbers_that_can_be():
    for row in (*LIMITS, ELSEWHERE):
        assert row.connections >= 1
        assert row.interval >= 0
