"""Processes of this machine: independent tasks shared out over some, and a command run to its end.

What a task makes depends on its arguments alone.
"""

import multiprocessing
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

from survey_tools.errors import GaltransError
from survey_tools.progress import Progress

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Processes begun in the block do linear algebra in one thread, unless the environment says in how many.

    As many processes as cores, with as many threads each, would stand in each other's way.
    """
    added = [name for name in THREADS if name not in os.environ]
    os.environ.update(dict.fromkeys(added, "1"))
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


def run_tasks(function: Callable, arguments: Sequence[tuple], workers: int, description: str) -> list:
    """The results of `function(*arguments)` for each tuple of arguments, in their order, with a progress bar.

    Processes serve here because GalSim's many small steps hold Python's lock. With one worker nothing leaves this
    process. The first exception of a task, or Ctrl-C, ends the rest and is raised here.

    Raises:
        GaltransError: If a process dies.
    """
    results: list = [None] * len(arguments)
    with Progress(len(arguments), description, "task") as progress:
        if workers == 1 or len(arguments) < 2:
            for index, each in enumerate(arguments):
                results[index] = function(*each)
                progress.update()
            return results
        before = set(multiprocessing.active_children())
        # spawned, not forked: a fork of a process with threads may never return
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(min(workers, len(arguments)), mp_context=context, initializer=_begin) as pool:
            places = {pool.submit(function, *each): index for index, each in enumerate(arguments)}
            try:
                for done in as_completed(places):
                    results[places[done]] = done.result()
                    progress.update()
            except BrokenProcessPool as error:
                raise GaltransError(
                    "a worker process died, of too little memory perhaps; use fewer --workers"
                ) from error
            except BaseException:
                for process in set(multiprocessing.active_children()) - before:
                    process.terminate()
                pool.shutdown(cancel_futures=True)
                raise
    return results


def run_to_end(command: Sequence[str], *, silent: bool = False) -> int:
    """The exit status of a command, whose output is left out if it is to be `silent`.

    After Ctrl-C, which the command has had as well, it is waited for as long as it tidies up.
    """
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL if silent else None)
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.wait()
        raise


def _begin() -> None:
    """Leave Ctrl-C to the process that started this one, and end with it, even if it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)
