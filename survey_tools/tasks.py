"""One function over many items, in parallel on Dask, with a progress bar: threads of this machine, or a cluster."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import dask
from dask.callbacks import Callback
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from survey_tools.errors import GaltransError
from survey_tools.version import VERSION

BATCH = 1024  # tasks that Dask has in hand at once, so that its graphs stay small however many there are
PATIENCE = "20s"  # to find a scheduler
TICK = 1.0  # [s] after which a bar is drawn anew though no task has ended: one may take ten minutes

Run = Callable[[Callable, Iterable, str, str], list]  # (function, items, desc, unit) -> results, in their order


@dataclass(frozen=True)
class Engine:
    """Where tasks run.

    Attributes:
        workers: Threads of this process, unless there is a cluster. They serve because decompression, interpolation
            and reading release Python's lock.
        client: Of a Dask cluster (`dask.distributed.Client`).
    """

    workers: int = 1
    client: Any = None

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
    ) -> list:
        """The results of `function` for each item, in their order; what it raises ends the run.

        The bar shows the rate and the time left, and the sum of `traffic(result)` [byte] where that is given, or what
        `live()` has grown by, which tells of tasks that have not ended, too; it is silent where there is no terminal,
        and lines of the log go above it. Items are taken as they are needed, so they may be a generator if their
        `count` is given. A cluster works on `most` of them at once, if that is given.
        """
        items = items if count is not None else list(items)
        results: list = [None] * (len(items) if count is None else count)
        with logging_redirect_tqdm(), tqdm(total=len(results), desc=desc, unit=unit, disable=None) as bar:
            moved, before, began = 0, live() if live else 0, time.monotonic()

            def show() -> None:
                if traffic:
                    came = max(moved, live() - before if live else 0)
                    rate = came / max(time.monotonic() - began, TICK)
                    bar.set_postfix_str(f"{tqdm.format_sizeof(came)}B, {tqdm.format_sizeof(rate)}B/s", refresh=False)

            def advance(result: Any) -> None:
                nonlocal moved
                moved += traffic(result) if traffic else 0
                show()
                bar.update()

            how = partial(_on_threads, self.workers) if self.client is None else partial(_on_cluster, self.client, most)
            with _ticking(bar, show):
                for index, result in how(function, items, advance):
                    results[index] = result
        return results


@contextmanager
def _ticking(bar: tqdm, show: Callable[[], None]) -> Iterator[None]:
    """Have a bar, whose newest words `show` sets, drawn every TICK; not where it is silent."""
    ended = threading.Event()

    def tick() -> None:
        while not ended.wait(TICK):
            show()
            bar.refresh()

    thread = threading.Thread(target=tick, daemon=True)
    if not bar.disable:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        if not bar.disable:
            thread.join()


def run(function: Callable, items: Iterable, workers: int, desc: str, unit: str) -> list:
    """`Engine.run` on threads of this process."""
    return Engine(workers).run(function, items, desc, unit)


@contextmanager
def engine(workers: int, scheduler: str | None = None) -> Iterator[Engine]:
    """Threads of this process, or the workers of the Dask cluster at `scheduler` ("tcp://host:port").

    Raises:
        ConnectionError: Where no scheduler answers.
        GaltransError: Where the workers run another version of galtrans.
    """
    if scheduler is None:
        yield Engine(workers)
        return
    from distributed import Client  # imported here, for few need it and it is slow to load

    try:
        client = Client(scheduler, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ConnectionError(f"no Dask scheduler answers at {scheduler}; is the address right?") from error
    with client:
        versions = {worker: version for worker, version in client.run(_version).items() if version != VERSION}
        if versions:
            worker, version = next(iter(versions.items()))
            raise GaltransError(f"worker {worker} has galtrans {version}, and this is {VERSION}; install the same")
        yield Engine(sum(client.nthreads().values()) or workers, client)


def _version() -> str:
    return VERSION


def _on_threads(workers: int, function: Callable, items: Iterable, advance: Callable) -> Iterator[tuple[int, Any]]:
    """Index and result of every item."""
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
        pool.shutdown(cancel_futures=True)  # and wait: whoever calls again must not meet a task that still writes
        raise
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _on_cluster(client: Any, most: int | None, function: Callable, items: Iterable, advance: Callable) -> Iterator:
    """Index and result of every item; as one is done the next is sent."""
    from distributed import CancelledError, KilledWorker, as_completed

    places = {}
    window = min(most or BATCH, BATCH)
    futures = as_completed(loop=client.loop)
    waiting = iter(enumerate(items))

    def send() -> None:
        for index, item in waiting:
            future = client.submit(function, item, pure=False)
            places[future.key] = index
            futures.add(future)
            return

    for _ in range(window):
        send()
    for future in futures:
        try:
            result = future.result()
        except (KilledWorker, CancelledError) as error:
            raise ConnectionError("the cluster lost its workers, or its scheduler; see their logs") from error
        advance(result)
        yield places.pop(future.key), result
        send()
