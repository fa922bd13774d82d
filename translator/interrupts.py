"""Ctrl-C during long work that must stop at a clean place."""

import os
import signal
import threading


class Interrupts:
    """While open, Ctrl-C and SIGTERM only set `asked`, for the work to look at; a second one interrupts at once.

    Signals reach the main thread alone, so in any other nothing is changed.

    Attributes:
        asked: Whether the user, or the system, asks to stop.
    """

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, object] = {}

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: object) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        # Not print(): a signal may come while Python itself is writing.
        os.write(2, b"\nStopping after this iteration, then saving; press Ctrl-C again to stop without saving.\n")
