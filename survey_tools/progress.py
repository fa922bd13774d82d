"""Show the progress of long work: a bar in a terminal, a line a minute elsewhere. Write bytes and seconds in words."""

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from tqdm import tqdm

TICK = 1.0  # [s] between two drawings of a bar, even if nothing has ended: one task may take ten minutes
EVERY = 60.0  # [s] between two lines
REMEMBERED = 10  # lines over which the rate is taken, so that the work of an earlier run does not count for long
PLURALS = {"it": "iterations", "galaxy": "galaxies"}


def size(count: float) -> str:
    """Return a number of bytes in words.

    Parameters
    ----------
    count : float
        The number.

    Returns
    -------
    str
        Three digits and a unit.

    Examples
    --------
    >>> size(12_000), size(3.4e9)
    ('12 kB', '3.4 GB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def duration(seconds: float) -> str:
    """Return a time in words.

    Parameters
    ----------
    seconds : float
        The time [s].

    Returns
    -------
    str
        Two digits and a unit.

    Examples
    --------
    >>> duration(40), duration(18_000), duration(216_000)
    ('40 s', '5 h', '2.5 days')
    """
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.2g} {unit}"
    return f"{max(seconds, 1):.2g} s"


class Progress:
    """The progress of some work, shown on stderr while it is open (it is a context manager).

    In a terminal this is a bar. Elsewhere it is one line each `EVERY` seconds, and a last line when work that took
    longer than that is done::

            cut: 1,200 of 547,000 files (0.2 %) after 12 min, 1.7 files/s, 3.6 days left; 3.4 GB, 4.7 MB/s

    Parameters
    ----------
    total : int or None
        How much there is to do; None if it is not known yet.
    desc : str
        What is done.
    unit : str
        Name of one of the things that are counted, in the singular.
    done : int
        How much an earlier run has done.
    facts : callable, optional
        Returns words on what else is known, such as the bytes received; "" for none.
    leave : bool
        Whether the bar stays when the work is done.
    silent : bool
        Whether nothing is shown at all.

    Attributes
    ----------
    done : int
        How much is done.
    """

    def __init__(
        self,
        total: int | None,
        desc: str,
        unit: str,
        *,
        done: int = 0,
        facts: Callable[[], str] = lambda: "",
        leave: bool = True,
        silent: bool = False,
    ) -> None:
        self.done, self._total, self._desc, self._unit, self._facts = done, total, desc, unit, facts
        disable = True if silent else None  # None: where stderr is no terminal
        self._bar = tqdm(total=total, initial=done, desc=desc, unit=unit, leave=leave, disable=disable)
        self._as_lines = bool(self._bar.disable) and not silent
        self._shown = not silent
        self._began, self._lines, self._ended = time.monotonic(), 0, threading.Event()
        self._past: deque[tuple[float, int]] = deque([(self._began, done)], maxlen=REMEMBERED)
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Progress":
        if self._shown:
            self._thread.start()
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        self._ended.set()
        if self._shown:
            self._thread.join()
        if self._as_lines and self._lines and kind is None:
            self._write(f"{self._amount()} in {duration(time.monotonic() - self._began)}{self._said()}")
        self._bar.close()

    def update(self, more: int = 1) -> None:
        """Count what has been done since the last call.

        Parameters
        ----------
        more : int
            Number of things.
        """
        self.done += more
        if not self._bar.disable:
            self._bar.set_postfix_str(self._facts(), refresh=False)
            self._bar.update(more)

    def reach(self, done: int, total: int) -> None:
        """Set how much is done.

        Parameters
        ----------
        done, total : int
            How much is done, and how much there is to do.
        """
        self._total = self._bar.total = total
        self.update(done - self.done)

    def line(self) -> str:
        """Return the line that a log gets now.

        Returns
        -------
        str
            Amount, time, rate, time left and facts.
        """
        now = time.monotonic()
        then, before = self._past[0]
        self._past.append((now, self.done))
        rate = (self.done - before) / max(now - then, 1e-9)
        words = [f"{self._amount()} after {duration(now - self._began)}"]
        if rate > 0:
            words.append(self._rate(rate))
            if self._total is not None and self._total > self.done:
                words.append(f"{duration((self._total - self.done) / rate)} left")
        return f"{', '.join(words)}{self._said()}"

    def _amount(self) -> str:
        if self._total is None:
            return f"{self._desc}: {self.done:,} {self._units}"
        share = f" ({100 * self.done / self._total:.1f} %)" if 0 < self.done < self._total else ""
        return f"{self._desc}: {self.done:,} of {self._total:,} {self._units}{share}"

    @property
    def _units(self) -> str:
        if self._unit[0].isdigit():  # such as "16 files"
            return f"times {self._unit}"
        return PLURALS.get(self._unit, f"{self._unit}s")

    def _rate(self, each_second: float) -> str:
        for unit, seconds in (("s", 1), ("min", 60), ("h", 3600)):
            if each_second * seconds >= 1 or unit == "h":
                return f"{each_second * seconds:.3g} {self._units}/{unit}"
        return ""

    def _said(self) -> str:
        facts = self._facts()
        return f"; {facts}" if facts else ""

    def _watch(self) -> None:
        while not self._ended.wait(EVERY if self._as_lines else TICK):
            if self._as_lines:
                self._lines += 1
                self._write(self.line())
            else:
                self._bar.set_postfix_str(self._facts(), refresh=False)
                self._bar.refresh()

    @staticmethod
    def _write(line: str) -> None:
        sys.stderr.write(line + "\n")  # at once, for several processes may write to one log
        sys.stderr.flush()


def over(items: Iterable, desc: str, unit: str) -> Iterator:
    """Yield items one after the other, and show the progress through them.

    Parameters
    ----------
    items : iterable
        The items.
    desc, unit : str
        As for `Progress`.

    Yields
    ------
    object
        Each item.
    """
    items = list(items)
    with Progress(len(items), desc, unit) as progress:
        for item in items:
            yield item
            progress.update()
