"""The addresses by which one thing can be had: the usual one first, then the others, tried in their order.

Which of them worked last is remembered for as long as the process lives, so that an address that has gone is not tried
anew for every file.
"""

import logging
from dataclasses import dataclass
from urllib.parse import urlsplit

log = logging.getLogger(__name__)
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
