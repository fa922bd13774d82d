"""One function over many items, in parallel on Dask's threads, with a progress bar."""

from collections.abc import Callable, Iterable

import dask
from dask.callbacks import Callback
from tqdm import tqdm


def run(function: Callable, items: Iterable, workers: int, desc: str, unit: str) -> list:
    """The results of `function` for each item, in their order; what it raises ends the run.

    Threads serve here because decompression, interpolation and reading release Python's lock. The bar is silent where
    there is no terminal.
    """
    task = dask.delayed(function, pure=False, traverse=False)
    tasks = [task(item, dask_key_name=f"{desc}-{index:09d}") for index, item in enumerate(items)]
    with tqdm(total=len(tasks), desc=desc, unit=unit, disable=None) as bar:

        def advance(key: str, *_: object) -> None:
            if str(key).startswith(f"{desc}-"):
                bar.update()

        with Callback(posttask=advance):
            return list(dask.compute(*tasks, scheduler="threads", num_workers=workers))
