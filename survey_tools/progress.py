"""How far long work is: a bar in a terminal, a line a minute elsewhere; bytes and seconds in words."""

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from tqdm import tqdm


def size(count: float) -> str:
    """Bytes in words: 12 kB, 3.4 GB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def duration(seconds: float) -> str:
    """Seconds in words: 40 s, 3 min, 5 h, 2.5 days."""
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.2g} {unit}"
    return f"{max(seconds, 1):.2g} s"


TICK = 1.0  # [s] after which a bar is drawn anew though nothing has ended: one task may take ten minutes
EVERY = 60.0  # [s] between two lines
REMEMBERED = 10  # lines back from which the rate is taken, so that what an earlier run had done does not count for long
PLURALS = {"it": "iterations", "galaxy": "galaxies"}


class Progress:
    """How far some work is, shown on stderr while it is open (it is a context manager).

    In a terminal this is a bar. Elsewhere it is one line each `EVERY` seconds, whether or not anything has ended
    meanwhile, and a last one when work that took longer than that is done:

        cut: 1,200 of 547,000 files (0.2 %) after 12 min, 1.7 files/s, 3.6 days left; 3.4 GB, 4.7 MB/s

    Args:
        total: How much there is to do; None where it is not known yet.
        desc: What is done.
        unit: One of what is counted, in the singular.
        done: How much an earlier run has done.
        facts: Called for words on what else is known, such as the bytes that came; "" for none.
        leave: Whether the bar stays when the work is done.
        silent: Whether nothing is shown at all.

    Attributes:
        done: How much is done.
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
        """Count what has been done since."""
        self.done += more
        if not self._bar.disable:
            self._bar.set_postfix_str(self._facts(), refresh=False)
            self._bar.update(more)

    def reach(self, done: int, total: int) -> None:
        """Say how much is done, of how much that there is to do."""
        self._total = self._bar.total = total
        self.update(done - self.done)

    def line(self) -> str:
        """The line that a log gets now."""
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
    """The items, one after the other, with the progress through them."""
    items = list(items)
    with Progress(len(items), desc, unit) as progress:
        for item in items:
            yield item
            progress.update()
