"""Ctrl-C during long work that must stop at a clean place."""

import os
import signal
import threading

from translator.share import WHOLE, Share


class Interrupts:
    """While open, Ctrl-C and SIGTERM only set `asked`, for the work to look at; a second one interrupts at once.

    Signals reach the main thread alone, so in any other nothing is changed.

    Args:
        share: Of several processes only the first speaks, and a second signal changes nothing, since the program that
            started them passes on to them what they have had themselves.

    Attributes:
        asked: Whether the user, or the system, asks to stop.
    """

    def __init__(self, share: Share = WHOLE) -> None:
        self.asked, self._share = False, share
        self._before: dict[int, object] = {}

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: object) -> None:
        if self.asked and self._share.count == 1:
            raise KeyboardInterrupt
        if not self.asked and self._share.rank == 0:
            again = b"" if self._share.count > 1 else b"; press Ctrl-C again to stop without saving"
            # Not print(): a signal may come while Python itself is writing.
            os.write(2, b"\nStopping after this iteration, then saving" + again + b".\n")
        self.asked = True
