"""The several addresses of one thing, and how patiently they are asked."""

import logging
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

log = logging.getLogger(__name__)

OF_A_LIVE_ARCHIVE = frozenset({403, 500, 502, 504})  # seen for hours at SAS, VizieR and the CADC, and then gone
OF_A_LISTED_FILE = frozenset({404, 410})  # the CADC's answer where all sites that hold a file are offline


@dataclass(frozen=True)
class Manner:
    """How something is asked for.

    Attributes:
        patience: Seconds of waiting in all, between attempts, for an archive that answers but says "not now".
        passing: HTTP statuses that are states of the archive and not of the file, besides 408, 429 and 503: they are
            waited out, and where they stay the archive is away.
        slowest: Bytes a second below which a download is broken off and asked for again; 0 is never.
        connect: Seconds to wait for a connection; None is as usual.
        silence: Seconds to wait for the beginning of an answer, and between two pieces of it; None is as usual.
        tries: Attempts in all; None is as many as patience allows.
    """

    patience: float = 31.0
    passing: frozenset[int] = frozenset()
    slowest: float = 0.0
    connect: float | None = None
    silence: float | None = None
    tries: int | None = None

    def for_listed(self) -> "Manner":
        """The same for a file that the archive's own list has: that it is not there is then a passing state too."""
        return replace(self, passing=self.passing | OF_A_LISTED_FILE)


USUAL = Manner()
AT_ONCE = Manner(patience=0.0, passing=OF_A_LIVE_ARCHIVE, connect=5.0, silence=20.0, tries=1)  # for a first look


_last: dict[tuple[str, ...], int] = {}  # the addresses of a service: which of them worked last


@dataclass(frozen=True)
class Ways:
    """URLs of the same thing.

    Attributes:
        roots: What each begins with, the usual one first.
        rest: What all end with.
    """

    roots: tuple[str, ...]
    rest: str = ""

    def __str__(self) -> str:
        """The usual URL, by which messages call the thing."""
        return self.roots[0] + self.rest

    def in_turn(self) -> list[str]:
        """All URLs in the order in which they are to be tried: the one that worked last is the first."""
        last = _last.get(self.roots, 0)
        order = [last, *(place for place in range(len(self.roots)) if place != last)]
        return [self.roots[place] + self.rest for place in order]

    def plus(self, text: str) -> "Ways":
        """The same URLs with more behind each."""
        return Ways(self.roots, self.rest + text)

    def worked(self, url: str, why_not: str) -> None:
        """Note which URL gave an answer; the user is told where it is another than before, and of `why_not`."""
        place = next(at for at, root in enumerate(self.roots) if root + self.rest == url)
        before = _last.get(self.roots, 0)
        if place != before:
            _last[self.roots] = place
            places = urlsplit(self.roots[before]), urlsplit(self.roots[place])
            old, new = (f"{each.hostname}{each.path}" for each in places)
            log.warning("%s gives no answer (%s); %s is asked from now on", old, why_not, new)


def ways_of(url: "str | Ways") -> Ways:
    """A URL, or several, as `Ways`."""
    return url if isinstance(url, Ways) else Ways((url,))


def forget() -> None:
    """Start with the usual addresses again, as a new process does."""
    _last.clear()
