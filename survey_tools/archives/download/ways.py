"""Several addresses of one thing, and how patiently to ask them."""

import logging
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

log = logging.getLogger(__name__)

OF_A_LIVE_ARCHIVE = frozenset({403, 500, 502, 504})  # SAS, VizieR and the CADC answer so for hours, and then recover
OF_A_LISTED_FILE = frozenset({404, 410})  # the CADC's answer while all sites that hold a file are offline


@dataclass(frozen=True)
class Manner:
    """How to ask for something.

    Attributes
    ----------
    patience : float
        Total time of waiting between attempts [s], while an archive answers but says "not now".
    passing : frozenset of int
        HTTP statuses, besides 408, 429 and 503, that are states of the archive and not of the file. Such an answer is
        asked for again; if the state remains, the archive counts as away.
    slowest : float
        Speed below which a download is stopped and resumed [byte/s]; 0 is never.
    connect : float, optional
        Time to wait for a connection [s]; None is the usual time.
    silence : float, optional
        Time to wait for the beginning of an answer and between two parts of it [s]; None is the usual time.
    tries : int, optional
        Number of attempts; None is as many as the patience allows.
    """

    patience: float = 31.0
    passing: frozenset[int] = frozenset()
    slowest: float = 0.0
    connect: float | None = None
    silence: float | None = None
    tries: int | None = None

    def for_listed(self) -> "Manner":
        """Return the same manner for a file on the archive's own list: "not found" is then a passing state too."""
        return replace(self, passing=self.passing | OF_A_LISTED_FILE)


USUAL = Manner()
AT_ONCE = Manner(patience=0.0, passing=OF_A_LIVE_ARCHIVE, connect=5.0, silence=20.0, tries=1)  # for a first look


_last: dict[tuple[str, ...], int] = {}  # the addresses of a service: the index of the one that worked last


@dataclass(frozen=True)
class Ways:
    """URLs of the same thing.

    Attributes
    ----------
    roots : tuple of str
        The beginning of each URL, the usual one first.
    rest : str
        The end that all of them share.
    """

    roots: tuple[str, ...]
    rest: str = ""

    def __str__(self) -> str:
        """Return the usual URL, which messages name."""
        return self.roots[0] + self.rest

    def in_turn(self) -> list[str]:
        """Return all URLs in the order in which to try them. The one that worked last is the first."""
        last = _last.get(self.roots, 0)
        order = [last, *(place for place in range(len(self.roots)) if place != last)]
        return [self.roots[place] + self.rest for place in order]

    def plus(self, text: str) -> "Ways":
        """Return the same URLs with more text at their end."""
        return Ways(self.roots, self.rest + text)

    def worked(self, url: str, why_not: str) -> None:
        """Note which URL gave an answer, and warn the user if it is another one than before, because of `why_not`."""
        place = next(at for at, root in enumerate(self.roots) if root + self.rest == url)
        before = _last.get(self.roots, 0)
        if place != before:
            _last[self.roots] = place
            places = urlsplit(self.roots[before]), urlsplit(self.roots[place])
            old, new = (f"{each.hostname}{each.path}" for each in places)
            log.warning("%s gives no answer (%s); %s is asked from now on", old, why_not, new)


def ways_of(url: "str | Ways") -> Ways:
    """Return one URL, or several, as `Ways`."""
    return url if isinstance(url, Ways) else Ways((url,))


def forget() -> None:
    """Begin with the usual addresses again, as a new process does."""
    _last.clear()
