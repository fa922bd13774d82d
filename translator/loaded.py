"""Where a trained run is, for tasks in any process: each process loads it once."""

import logging
import threading
from dataclasses import dataclass
from pathlib import Path

from survey_tools.errors import RunError
from translator.checkpoint import Run, load_run

KEPT = 8  # runs that a process has in memory
_loaded: dict["RunAt", Run] = {}
_loading = threading.Lock()
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunAt:
    """A run by its folder and the checksum of its weights, and the device that a process shall put it on."""

    path: Path
    checksum: str
    device: str

    def open(self) -> Run:
        """The run; RunError where it cannot be loaded, or has other weights by now."""
        with _loading:
            if self not in _loaded:
                _keep(self, load_run(self.path, self.device))
            return _loaded[self]


def locate(path: Path, device: str = "auto", *, elsewhere: bool = False) -> tuple[RunAt, Run]:
    """Where tasks find a run, and the run as it is loaded here; a warning says so where its training is not finished.

    Args:
        path: Its folder.
        device: "auto", "cpu", "cuda" or "cuda:1".
        elsewhere: Whether other processes do the work, so that this one needs no such device; they share its files.

    Raises:
        RunError: It cannot be loaded.
    """
    path = path.absolute() if elsewhere else path
    run = load_run(path, "cpu" if elsewhere else device)
    if run.unfinished:
        log.warning("%s", run.unfinished)
    at = RunAt(path, run.checksum, device)
    if not elsewhere:
        with _loading:
            _keep(at, run)
    return at, run


def _keep(at: RunAt, run: Run) -> None:
    if run.checksum != at.checksum:
        raise RunError(f"{at.path} has been trained on since this began; begin anew when its training has ended")
    _loaded[at] = run
    while len(_loaded) > KEPT:
        del _loaded[next(iter(_loaded))]
