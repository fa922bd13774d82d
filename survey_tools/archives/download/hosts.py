"""Which hosts may be asked, and how hard: connections at once, time between two requests, and whether one is down.

The limits hold for one process; a second worker process has its own.
"""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

from survey_tools.errors import ArchiveError

MORE_HOSTS = "GALTRANS_HOSTS"  # environment: further domains, with commas between, that a redirect may lead to
LONG_WAIT = 8.0  # [s] of which a user is told who did not ask for details
QUIET = 600.0  # [s] after that, in which no such wait for the same host is told of
TOO_MANY = 10  # files in a row that were no good, each after all patience: then it is not the files


@dataclass(frozen=True)
class Limits:
    """How hard the hosts of some domains may be asked.

    Attributes:
        domains: Of the hosts, which share the limits: host names, or their ends.
        connections: At once.
        interval: Least time between the starts of two requests [s].
        source: Where the numbers are from.
    """

    domains: tuple[str, ...]
    connections: int
    interval: float
    source: str


LIMITS = (
    Limits(("skyserver.sdss.org",), 1, 1.0, "60 queries a minute and client: help page 'limits' of SkyServer DR8"),
    Limits(("sdss.org",), 4, 0.0, "no rate is published; four at once is our choice"),
    Limits(("cadc-ccda.hia-iha.nrc-cnrc.gc.ca", "canfar.net"), 3, 0.0, "CADC's page on data: `xargs -P3`"),
    Limits(
        ("cds.unistra.fr", "u-strasbg.fr", "vizier.cfa.harvard.edu"),
        2,
        1.0,
        "no rate is published; one query a second is our choice",
    ),
)
ELSEWHERE = Limits((), 4, 0.0, "a mirror of the user's: our choice")


class Host:
    """What this process knows of the hosts that share one row of limits.

    Attributes:
        limits: Their row.
        down: Whether the last patient request found no archive; then the next ones need less patience to say so.
        bad: Files in a row that could not be had after all patience.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits, self.down, self.bad, self._told = limits, False, 0, -QUIET
        self._slots, self._lock, self._next = threading.Semaphore(limits.connections), threading.Lock(), 0.0

    @contextmanager
    def turn(self) -> Iterator[None]:
        """The right to make one request, waited for."""
        with self._slots:
            with self._lock:
                now = time.monotonic()
                start = max(now, self._next)
                self._next = start + self.limits.interval
            if start > now:
                time.sleep(start - now)
            yield

    def shall_tell(self, pause: float) -> bool:
        """Whether to tell the user of a wait [s]: of a long one, if there was none to tell of in the last minutes."""
        with self._lock:
            now = time.monotonic()
            told = pause >= LONG_WAIT and now - self._told >= QUIET
            self._told = now if told else self._told
        return told

    def answered(self) -> None:
        """Note that the archive is up."""
        self.down, self.bad = False, 0


_hosts: dict[tuple[str, ...], Host] = {}
_hosts_lock = threading.Lock()


def host_of(url: str) -> Host:
    """The host of a URL, with those that share its limits; ArchiveError where it is no URL of the web."""
    try:
        place = urlsplit(url)
        if place.scheme not in ("http", "https") or not place.hostname:
            raise ValueError
    except ValueError:
        raise ArchiveError(f"{url} is no web address; give one that begins with https://", url=url) from None
    limits = next((row for row in LIMITS if _within(place.hostname, row.domains)), ELSEWHERE)
    with _hosts_lock:
        return _hosts.setdefault(limits.domains or (place.netloc,), Host(limits))


def forget() -> None:
    """Start with no knowledge of any host, as a new process does."""
    global _hosts_lock
    _hosts_lock = threading.Lock()
    _hosts.clear()


def redirected(origin: str, before: str, location: str) -> str:
    """The URL that a redirect leads to: `location`, as the answer from `before` gives it to a request for `origin`.

    It may lead to the host that was asked, to the domains of the archives above, and to those in the variable
    GALTRANS_HOSTS of the environment; from https to http on one host only. Else ArchiveError, whose message names the
    host alone: the rest of a target may be a token.
    """
    asked, previous = urlsplit(origin), urlsplit(before)
    more = tuple(domain.strip() for domain in os.environ.get(MORE_HOSTS, "").lower().split(",") if domain.strip())
    known = more + tuple(domain for row in LIMITS for domain in row.domains)
    try:
        target = urljoin(before, location)
        place = urlsplit(target)
    except ValueError:
        place = urlsplit("")
    if place.scheme not in ("http", "https") or not place.hostname:
        raise ArchiveError(f"{origin} redirects to what is no web address; is it right?", url=origin)
    if place.hostname != asked.hostname and not _within(place.hostname, known):
        raise ArchiveError(
            f"{origin} redirects to {place.hostname}, which is not known as an archive; if it is one, set "
            f"{MORE_HOSTS}={place.hostname}",
            url=origin,
        )
    if (previous.scheme, place.scheme) == ("https", "http") and place.hostname != previous.hostname:
        raise ArchiveError(f"{origin} redirects from https to plain http on {place.hostname}", url=origin)
    return target


def _within(host: str, domains: tuple[str, ...]) -> bool:
    return any(host == domain or host.endswith(f".{domain}") for domain in domains)


os.register_at_fork(after_in_child=forget)  # a lock that another thread held would stay locked in the child
