"""How patiently an archive is asked, which of its answers are passing states, and how slow it may be."""

from dataclasses import dataclass, replace

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
