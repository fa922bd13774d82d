"""Work in parallel: tasks on Dask, in threads or on a cluster, and tasks in processes of this machine."""

import logging
import multiprocessing
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from http.client import HTTPException
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import dask
from dask.callbacks import Callback
from tqdm.contrib.logging import logging_redirect_tqdm

from survey_tools.errors import GaltransError
from survey_tools.progress import Progress, duration, size
from survey_tools.version import VERSION

log = logging.getLogger(__name__)

BATCH = 1024  # tasks that Dask has at once, so that its graphs stay small whatever the number of tasks
PATIENCE = "20s"  # time to find a scheduler
LOOK = 2.0  # [s] between two looks at whether a cluster has workers, while none of its tasks ends
LONELY = 10.0  # [s] without any worker after which the user is told
WAIT = 600.0  # [s] without any worker after which a run ends, by default
PROBE = 2.0  # [s] time to find out whether a scheduler has a dashboard
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")  # read by the libraries of linear algebra
LOST = "the cluster lost its workers, or its scheduler; see their logs"

# State that a whole process shares. Everything else is passed as an argument. Each process, such as a worker of a
# cluster, has its own copy, and no result depends on any of it.
#
# archives/download/hosts.py      _hosts     one object per host: the limits of a host hold for all threads together
# archives/download/ways.py       _last      the address of a service that answered last; all threads ask it first
# archives/download/answers.py    _thread    the connections and the traffic of each thread (threading.local)
#                                 _received  bytes that all threads have received, for the progress
# archives/download/mirror.py     _said      warnings that were given, so that each is given once
# surveys.py                      SURVEYS    grows by surveys from outside, and os.environ by the names of their files
# surveys.py                      _running   a lock, because Python runs one file of surveys at a time
# images/sky_wcs.py               _reading   a lock, because threads share Python's filters of warnings
# translator/runs/checkpoint.py   _loaded    runs in memory, so that the tasks of a process load their weights once
# translator/runs/device.py       _users     how many threads need one thread of PyTorch each, which is a global setting
# translator/translation/files.py _large     a lock, because only one large image at a time fits into memory
#
# Caches of functions that depend on their arguments alone (functools.cache and lru_cache) are in images/sky_wcs.py,
# images/regrid.py, archives/sdss/frame_noise.py, archives/sdss/psfield.py, twin_sky/draw.py, twin_sky/galaxies.py,
# translator/metrics/shapes.py, translator/runs/device.py and surveys.py. ARCHIVES and RECIPES are constants.
# hosts.forget() and ways.forget() return to the state of a new process; a forked process calls the former, because a
# lock that another thread held would stay locked in it.


Run = Callable[[Callable, Iterable, str, str], list]  # (function, items, desc, unit) -> results, in their order


@dataclass(frozen=True)
class Engine:
    """Where tasks run.

    Attributes
    ----------
    workers : int
        Threads of this process, unless there is a cluster. Threads are enough, because decompression, interpolation and
        reading release Python's lock. With 0, tasks run one after the other in the thread that calls, and no progress
        is shown: this is for tasks within a task.
    client : dask.distributed.Client
        The client of a Dask cluster, or None.
    wait : float
        How long a run waits for a worker while the cluster has none [s]; then the run ends.
    """

    workers: int = 1
    client: Any = None
    wait: float = WAIT

    def run(
        self,
        function: Callable,
        items: Iterable,
        desc: str,
        unit: str,
        *,
        count: int | None = None,
        traffic: Callable[[Any], int] | None = None,
        live: Callable[[], int] | None = None,
        most: int | None = None,
        ended: Callable[[Any], None] = lambda result: None,
    ) -> list:
        """Call a function for each item, and return the results in the order of the items.

        The progress shows the rate, the time left, and the traffic; lines of the log appear above its bar. Items are
        taken as they are needed, so they may be a generator if their `count` is given.

        Parameters
        ----------
        function : callable
            Takes one item. An error that it raises ends the run.
        items : iterable
            The items.
        desc, unit : str
            What is done, and the name of one item, for the progress.
        count : int, optional
            Number of items.
        traffic : callable, optional
            Takes a result; returns the bytes that it moved, for the progress.
        live : callable, optional
            Returns a number of bytes that grows while tasks run, so that the progress also shows tasks that have not
            ended.
        most : int, optional
            Number of items at once on a cluster.
        ended : callable, optional
            Takes each result in this process as it comes. An error that it raises ends the run.

        Returns
        -------
        list
            The results.

        Raises
        ------
        ConnectionError
            The cluster has lost its scheduler, or has had no worker for as long as `wait`.
        """
        items = items if count is not None else list(items)
        results: list = [None] * (len(items) if count is None else count)
        moved, before, began = 0, live() if live else 0, time.monotonic()

        def bytes_moved() -> str:
            if not traffic:
                return ""
            came = max(moved, live() - before if live else 0)
            return f"{size(came)}, {size(came / max(time.monotonic() - began, 1.0))}/s"

        with (
            logging_redirect_tqdm(),
            Progress(len(results), desc, unit, facts=bytes_moved, silent=self.workers == 0) as progress,
        ):

            def advance(result: Any) -> None:
                nonlocal moved
                ended(result)
                moved += traffic(result) if traffic else 0
                progress.update()

            on_cluster = partial(_on_cluster, self.client, most, self.wait)
            how = partial(_on_threads, self.workers) if self.workers else _in_line
            how = how if self.client is None else on_cluster
            for index, result in how(function, items, advance):
                results[index] = result
        return results


def run(function: Callable, items: Iterable, workers: int, desc: str, unit: str) -> list:
    """Call a function for each item on threads of this process (`Engine.run`).

    Parameters
    ----------
    function, items, desc, unit
        As for `Engine.run`.
    workers : int
        Number of threads.

    Returns
    -------
    list
        The results, in the order of the items.
    """
    return Engine(workers).run(function, items, desc, unit)


@contextmanager
def engine(workers: int, scheduler: str | None = None, wait: float = WAIT) -> Iterator[Engine]:
    """Open an engine: threads of this process, or the workers of a Dask cluster.

    A cluster may get its workers later. While it has none, a run waits for one as long as `wait`.

    Parameters
    ----------
    workers : int
        Number of threads, if there is no cluster.
    scheduler : str, optional
        Address of the scheduler, "tcp://host:port".
    wait : float
        How long to wait for a worker [s].

    Yields
    ------
    Engine
        The engine.

    Raises
    ------
    ConnectionError
        No scheduler answers.
    GaltransError
        The workers run another version of galtrans.
    """
    if scheduler is None:
        yield Engine(workers)
        return
    from distributed import Client  # imported here, because few users need it and it is slow to load

    try:
        client = Client(scheduler, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ConnectionError(f"no Dask scheduler answers at {scheduler}; is the address right?") from error
    with client:
        versions = {worker: version for worker, version in client.run(_version).items() if version != VERSION}
        if versions:
            worker, version = next(iter(versions.items()))
            raise GaltransError(f"worker {worker} has galtrans {version}, and this is {VERSION}; install the same")
        yield Engine(sum(client.nthreads().values()) or workers, client, wait)


def dashboard(client: Any) -> str:
    """Return the address of a cluster's dashboard; "" if it has none, or none that answers here.

    Parameters
    ----------
    client : dask.distributed.Client
        The client of the cluster.

    Returns
    -------
    str
        The address.
    """
    link = client.dashboard_link or ""
    try:
        with urlopen(link, timeout=PROBE) as answer:
            return "" if b"<p>Dask needs" in answer.read() else link  # the page that is served without bokeh
    except (OSError, ValueError, HTTPException):
        return ""


def _version() -> str:
    return VERSION


def _in_line(function: Callable, items: Iterable, advance: Callable) -> Iterator[tuple[int, Any]]:
    """Yield index and result of every item, one after the other."""
    for index, item in enumerate(items):
        result = function(item)
        advance(result)
        yield index, result


def _on_threads(workers: int, function: Callable, items: Iterable, advance: Callable) -> Iterator[tuple[int, Any]]:
    """Yield index and result of every item, from threads of this process."""
    task = dask.delayed(function, pure=False, traverse=False)

    def done(key: str, result: Any, *_: object) -> None:
        if str(key).startswith("item-"):
            advance(result)

    start, items, pool = 0, iter(items), ThreadPoolExecutor(workers)
    try:
        while batch := list(islice(items, BATCH)):
            tasks = [task(item, dask_key_name=f"item-{index:04d}") for index, item in enumerate(batch)]
            with Callback(posttask=done):
                yield from enumerate(dask.compute(*tasks, scheduler="threads", pool=pool), start)
            start += len(batch)
    except Exception:
        pool.shutdown(cancel_futures=True)  # and wait: the next call must not meet a task that still writes
        raise
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _on_cluster(
    client: Any, most: int | None, wait: float, function: Callable, items: Iterable, advance: Callable
) -> Iterator[tuple[int, Any]]:
    """Yield index and result of every item, from a cluster; when one is done, the next is sent."""
    from distributed import CancelledError, KilledWorker

    places, ended = {}, queue.SimpleQueue()
    waiting = iter(enumerate(items))

    def send() -> None:
        for index, item in waiting:
            future = client.submit(function, item, pure=False)
            places[future.key] = index, future  # Dask drops a future that nobody holds
            future.add_done_callback(ended.put)
            return

    for _ in range(min(most or BATCH, BATCH)):
        send()
    lonely = _Lonely(client, wait)
    while places:
        try:
            future = ended.get(timeout=LOOK)
        except queue.Empty:
            lonely.look()
            continue
        lonely.forget()
        try:
            result = future.result()
        except (KilledWorker, CancelledError) as error:
            raise ConnectionError(LOST) from error
        advance(result)
        yield places.pop(future.key)[0], result
        send()


class _Lonely:
    """How long a cluster has had no worker: the user is told after `LONELY`, and the run ends after `wait` [s]."""

    def __init__(self, client: Any, wait: float) -> None:
        self._client, self._wait = client, wait
        self._since: float | None = None
        self._told = False

    def forget(self) -> None:
        """Note that a task has ended, so that there was a worker."""
        self._since, self._told = None, False

    def look(self) -> None:
        """Ask the scheduler; raise ConnectionError if it is away, or has had no worker for too long."""
        try:
            alone = not self._client.nthreads()
        except (OSError, TimeoutError) as error:
            raise ConnectionError(LOST) from error
        if not alone:
            self.forget()
            return
        now = time.monotonic()
        self._since = now if self._since is None else self._since
        if now - self._since >= self._wait:
            raise ConnectionError(
                f"the cluster has had no worker for {duration(self._wait)}: start some, or see the logs of those that "
                "were lost; --wait-for-workers says how long to wait"
            )
        if now - self._since >= LONELY - LOOK and not self._told:
            self._told = True
            log.warning("the cluster has no worker; waiting for one, for %s at most", duration(self._wait))


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Let processes that start in the block do linear algebra in one thread, unless the environment sets another
    number.

    One process per core with many threads each would have far more threads than cores.
    """
    added = [name for name in THREADS if name not in os.environ]
    os.environ.update(dict.fromkeys(added, "1"))
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


def run_tasks(function: Callable, arguments: Sequence[tuple], workers: int, description: str) -> list:
    """Call a function in processes of this machine, once for each tuple of arguments.

    Processes are needed here because GalSim's many small steps hold Python's lock. With one worker everything runs in
    this process. The first error of a task, or Ctrl-C, ends the other tasks and is raised here.

    Parameters
    ----------
    function : callable
        A function of a module, so that processes can import it.
    arguments : sequence of tuple
        The arguments of each call.
    workers : int
        Number of processes.
    description : str
        What is done, for the progress.

    Returns
    -------
    list
        The results, in the order of the arguments.

    Raises
    ------
    GaltransError
        A process has died.
    """
    results: list = [None] * len(arguments)
    with Progress(len(arguments), description, "task") as progress:
        if workers == 1 or len(arguments) < 2:
            for index, each in enumerate(arguments):
                results[index] = function(*each)
                progress.update()
            return results
        if getattr(multiprocessing.current_process(), "_inheriting", False):
            os._exit(1)  # this process runs the script of its parent again, which has no guard: the parent says so
        before = set(multiprocessing.active_children())
        # Spawned, not forked: a fork of a process with threads may never return.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(min(workers, len(arguments)), mp_context=context, initializer=_begin) as pool:
            places = {pool.submit(function, *each): index for index, each in enumerate(arguments)}
            try:
                for done in as_completed(places):
                    results[places[done]] = done.result()
                    progress.update()
            except BrokenProcessPool as error:
                raise GaltransError(_why_processes_died()) from error
            except BaseException:
                for process in set(multiprocessing.active_children()) - before:
                    process.terminate()
                pool.shutdown(cancel_futures=True)
                raise
    return results


def _why_processes_died() -> str:
    """What to tell a user whose worker processes died: of too little memory, or because a script has no guard."""
    script = getattr(sys.modules["__main__"], "__file__", None)
    with suppress(OSError, UnicodeDecodeError):
        if script and "__name__" not in Path(script).read_text(encoding="utf-8"):
            return (
                f"{script} was run again by each worker process, because its calls are not guarded: put them below "
                '`if __name__ == "__main__":`, or ask for one worker'
            )
    return "a worker process died, of too little memory perhaps; use fewer --workers"


def run_to_end(command: Sequence[str], *, silent: bool = False) -> int:
    """Run a command and return its exit status.

    After Ctrl-C, which the command receives as well, the command is given time to clean up.

    Parameters
    ----------
    command : sequence of str
        The command and its arguments.
    silent : bool
        Whether to discard its output.

    Returns
    -------
    int
        The exit status.
    """
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL if silent else None)
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.wait()
        raise


def _begin() -> None:
    """Leave Ctrl-C to the parent process, and end with the parent, even if it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)
