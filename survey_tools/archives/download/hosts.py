"""Limits of requests to each host: connections at once, time between requests, redirects, and whether it is down.

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

MORE_HOSTS = "GALTRANS_HOSTS"  # environment variable: further domains, separated by commas, for redirects
LONG_WAIT = 8.0  # [s] a wait that every user is told of
QUIET = 600.0  # [s] after such a message, in which no other wait for the same host is mentioned
TOO_MANY = 10  # bad files in a row, each after all patience: then the archive is at fault and not the files


@dataclass(frozen=True)
class Limits:
    """Limits of requests to the hosts of some domains.

    Attributes
    ----------
    domains : tuple of str
        Host names, or their ends; the hosts share these limits.
    connections : int
        Number of connections at once.
    interval : float
        Shortest time between the beginnings of two requests [s].
    source : str
        Where the numbers are from.
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
    Limits(("legacysurvey.org",), 2, 0.0, "no rate is published; users report about one answer a second"),
    Limits(("ps1images.stsci.edu",), 4, 0.0, "the page of the service asks for no more than 10 threads"),
)
ELSEWHERE = Limits((), 4, 0.0, "a mirror of the user: our choice")


class Host:
    """The state of the hosts that share one row of limits, as this process knows it.

    Attributes
    ----------
    limits : Limits
        Their row.
    down : bool
        Whether the last patient request found the archive down. The next requests then give up sooner.
    bad : int
        Number of files in a row that could not be fetched with all patience.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits, self.down, self.bad, self._told = limits, False, 0, -QUIET
        self._slots, self._lock, self._next = threading.Semaphore(limits.connections), threading.Lock(), 0.0

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for the right to make one request, and hold it for the block."""
        with self._slots:
            with self._lock:
                now = time.monotonic()
                start = max(now, self._next)
                self._next = start + self.limits.interval
            if start > now:
                time.sleep(start - now)
            yield

    def shall_tell(self, pause: float) -> bool:
        """Return whether to tell the user of a wait [s]: a long one, with no such message in the last minutes."""
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
    """Return the host of a URL, with those that share its limits.

    Raises
    ------
    ArchiveError
        If the text is not a web address.
    """
    try:
        place = urlsplit(url)
        if place.scheme not in ("http", "https") or not place.hostname:
            raise ValueError
    except ValueError:
        raise ArchiveError(f"{url} is not a web address; give one that begins with https://", url=url) from None
    limits = next((row for row in LIMITS if _within(place.hostname, row.domains)), ELSEWHERE)
    with _hosts_lock:
        return _hosts.setdefault(limits.domains or (place.netloc,), Host(limits))


def store_of(url: str) -> Host:
    """Return the host of an address that is not http, such as s3://bucket/name: its bucket."""
    place = urlsplit(url)
    with _hosts_lock:
        return _hosts.setdefault((place.scheme, place.netloc), Host(ELSEWHERE))


def forget() -> None:
    """Forget all hosts, as a new process does."""
    global _hosts_lock
    _hosts_lock = threading.Lock()
    _hosts.clear()


def redirected(origin: str, before: str, location: str) -> str:
    """Return the URL to which a redirect leads.

    It may lead to the host that was asked, to the domains of the archives in `LIMITS`, and to the domains in the
    environment variable GALTRANS_HOSTS; from https to http only on the same host.

    Parameters
    ----------
    origin : str
        The URL that was asked for first.
    before : str
        The URL that answered with the redirect.
    location : str
        The target, as the answer states it.

    Returns
    -------
    str

    Raises
    ------
    ArchiveError
        If the target is not allowed. The message names only its host, because the rest may contain a token.
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
        raise ArchiveError(f"{origin} redirects to something that is not a web address; is the URL right?", url=origin)
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


os.register_at_fork(after_in_child=forget)  # a lock held by another thread would stay locked in the child process
