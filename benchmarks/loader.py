"""How fast training batches come from two stores, beside reading their chunks in order with Zarr and nothing else."""

import os
import statistics
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import zarr
from astropy.table import Table
from figures import Figure, main

from survey_tools import Store, Survey
from survey_tools.store.zarr_store import create, read_images
from survey_tools.surveys import CFHT, SDSS
from translator.data.batches import Batches
from translator.data.selection import Selection

SIZE = 24  # of each: unpaired x, unpaired y, pairs
PACE = 0.045  # [s] a step of 120,000 in an hour and a half
NOISE = {"sdss": 0.02, "cfht": 0.002}  # [nanomaggy/pixel]
CPU = torch.device("cpu")


@dataclass
class Epoch:
    """What an epoch of one selection takes.

    Attributes:
        megabytes: Of its batches.
        opened: Seconds until the first batch is there.
        first: MB/s of the first epoch, from the opening on.
        later: MB/s of the epochs that follow.
        memory: Bytes above those before, at most, over those that the loader states.
    """

    megabytes: float
    opened: list[float]
    first: list[float]
    later: list[float]
    memory: list[tuple[int, int]]


def measure(quick: bool) -> list[Figure]:
    """Shuffled, stretched, turned batches of 24 + 24 + 24 pairs, beside the same chunks read with Zarr alone."""
    rows, repeats = (250, 1) if quick else (4000, 5)
    with tempfile.TemporaryDirectory() as folder:
        stores = tuple(noise_store(Path(folder) / f"{s.name}.zarr", s, rows) for s in (SDSS, CFHT))
        cases = {"pairs in the order of both stores": in_order(rows), "pairs scattered over both": by_chance(rows)}
        epochs = {name: Epoch(0.0, [], [], [], []) for name in cases}
        plain = [read_in_order(stores)]
        for _ in range(repeats):
            for name, selection in cases.items():
                run_epochs(stores, selection, epochs[name])
                plain.append(read_in_order(stores))
        decoded = statistics.median(decode_in_threads(stores) for _ in range(repeats))
        kept = keep_in_memory(stores, cases["pairs scattered over both"])
        waited = wait_at_pace(stores, cases["pairs in the order of both stores"], 10 if quick else 100)
    zarr = statistics.median(plain)
    figures = [
        figure for name, epoch in epochs.items() for figure in of_epochs(f"{name}, {rows} objects a store", epoch, zarr)
    ]
    limit = f"{os.cpu_count()} cores decode {decoded:,.0f} MB/s of these chunks"
    figures = [replace(figure, limit=limit) if figure.unit == "MB/s" else figure for figure in figures]
    return [*figures, *kept_figures(*kept, zarr), waited]


def of_epochs(name: str, epoch: Epoch, zarr: float) -> list[Figure]:
    """The figures of one selection."""
    figures = []
    for when, rates in (("the first epoch, from its opening on", epoch.first), ("later epochs", epoch.later)):
        rate = statistics.median(rates)
        figures.append(
            Figure(
                "loader",
                f"{name}: {when}",
                rate,
                "MB/s",
                "every chunk once, in order, zarr alone",
                zarr,
                rate / zarr,
                ">= 0.8 of its bytes/s",
                bound="decoding; to stretch, turn and put bands side by side takes half as long",
            )
        )
    opened = statistics.median(epoch.opened)
    figures.append(Figure("loader", f"{name}: first batch", opened, "s", target="<= 2 s", of_rate=True))
    used, stated = max(epoch.memory)
    figures.append(
        Figure(
            "loader",
            f"{name}: memory above that before",
            used / 1e6,
            "MB",
            "what the loader states",
            stated / 1e6,
            used / stated,
            "<= 1 of it",
            bound="chunks that are open, 8 of each stream that reads chunks",
        )
    )
    return figures


def kept_figures(seconds: float, rate: float, zarr: float) -> list[Figure]:
    """Those of images that stay in memory."""
    return [
        Figure("loader", "`--data device` on the CPU: reading all images first", seconds, "s"),
        Figure(
            "loader",
            "`--data device` on the CPU: batches",
            rate,
            "MB/s",
            "every chunk once, in order, zarr alone",
            zarr,
            rate / zarr,
            bound="turning, and putting the bands side by side",
        ),
    ]


def noise_store(path: Path, survey: Survey, rows: int) -> Store:
    """A store of galaxies in noise, of the survey's cutouts."""
    catalogue = Table({"object_id": [f"{survey.name}-{i}" for i in range(rows)], "ra": np.linspace(150, 200, rows)})
    catalogue["dec"] = catalogue["redshift"] = np.zeros(rows)
    store, random = create(path, survey, survey.bands, catalogue, {"benchmark": True}), np.random.default_rng(0)
    row, col = (np.indices((store.size, store.size)) - (store.size - 1) / 2) / store.size
    galaxy = np.exp(-60 * (row**2 + 2 * col**2)).astype(np.float32)
    for chunk in store.chunks():
        shape = (chunk.stop - chunk.start, len(survey.bands), store.size, store.size)
        images = random.standard_normal(shape, np.float32) * np.float32(NOISE[survey.name])
        images += galaxy * random.exponential(1, (shape[0], 1, 1, 1)).astype(np.float32)
        store.write(chunk, images, np.zeros(shape, bool))
    whole = np.ones((rows, len(survey.bands)))
    store.write_columns({"coverage": whole, "sky_sigma": whole * NOISE[survey.name], "saturated": whole * 0})
    return store.finish(Table({"object_id": catalogue["object_id"], "status": np.full(rows, "done")}))


def in_order(rows: int) -> Selection:
    """The first half of both stores unpaired, the second half pairs: chunks are read for one stream each."""
    first = np.arange(rows // 2)
    return Selection(first, first, np.column_stack([first + rows // 2] * 2), {})


def by_chance(rows: int) -> Selection:
    """Catalogues in different orders, every other object of which is in both."""
    random = np.random.default_rng(0)
    x, y = random.permutation(rows), random.permutation(rows)
    half = rows // 2
    return Selection(np.sort(x[half:]), np.sort(y[half:]), np.column_stack([x[:half], y[:half]]), {})


def read_in_order(stores: tuple[Store, ...]) -> float:
    """MB/s of reading every chunk of the stores once, in order, by Zarr."""
    arrays = [zarr.open_group(store.path, mode="r")["images"] for store in stores]
    begun, read = time.perf_counter(), 0
    for store, images in zip(stores, arrays, strict=True):
        for chunk in store.chunks():
            read += images[chunk].nbytes
    return read / 1e6 / (time.perf_counter() - begun)


def decode_in_threads(stores: tuple[Store, ...]) -> float:
    """MB/s of decoding every chunk of the stores once, a thread for each core, and nothing else."""
    chunks = [(store, number) for store in stores for number in range(len(store.chunks()))]
    begun = time.perf_counter()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        read = sum(pool.map(lambda chunk: read_images(*chunk).nbytes, chunks))
    return read / 1e6 / (time.perf_counter() - begun)


def run_epochs(stores: tuple[Store, Store], selection: Selection, epoch: Epoch) -> None:
    """Two epochs of a selection, from the opening of the loader on."""
    count = len(selection.pairs) // SIZE
    with Memory() as memory:
        begun = time.perf_counter()
        batches = Batches(stores, selection, SIZE, 0, CPU, data="stream")
        batch = batches.batch(0)
        size = sum(getattr(batch, name).nbytes for name in ("x", "y", "pair_x", "pair_y")) / 1e6
        epoch.opened.append(time.perf_counter() - begun)
        for number in range(1, count):
            batches.batch(number)
        middle = time.perf_counter()
        for number in range(count, 2 * count):
            batches.batch(number)
        end = time.perf_counter()
    batches.close()
    epoch.megabytes = size * count
    epoch.first.append(epoch.megabytes / (middle - begun))
    epoch.later.append(epoch.megabytes / (end - middle))
    epoch.memory.append((memory.most, batches.memory))


def keep_in_memory(stores: tuple[Store, Store], selection: Selection) -> tuple[float, float]:
    """Seconds until all images are in memory, and MB/s of batches of them."""
    begun = time.perf_counter()
    batches = Batches(stores, selection, SIZE, 0, CPU, data="device")
    opened = time.perf_counter()
    count = len(selection.pairs) // SIZE
    read = 0
    for number in range(count):
        batch = batches.batch(number)
        read += sum(getattr(batch, name).nbytes for name in ("x", "y", "pair_x", "pair_y"))
    return opened - begun, read / 1e6 / (time.perf_counter() - opened)


def wait_at_pace(stores: tuple[Store, Store], selection: Selection, count: int) -> Figure:
    """How long a step that takes `PACE` elsewhere, as on a GPU, waits for its batch."""
    batches = Batches(stores, selection, SIZE, 0, CPU, data="stream")
    batches.batch(0)
    before = batches.waited
    for number in range(1, count + 1):
        time.sleep(PACE)
        batches.batch(number)
    batches.close()
    waited = (batches.waited - before) / count
    return Figure(
        "loader",
        "waiting for a batch, where 120,000 steps take 1.5 h of another processor",
        1000 * waited,
        "ms",
        "a step",
        1000 * PACE,
        waited / PACE,
        "<= 0.02 of a step",
    )


class Memory:
    """The largest resident memory of this process, above that at the start, while a block runs; 0 without /proc."""

    def __enter__(self) -> "Memory":
        self.most, self._begun, self._done = 0, resident(), threading.Event()
        self._watch = threading.Thread(target=self._look)
        self._watch.start()
        return self

    def __exit__(self, *error) -> None:
        self._done.set()
        self._watch.join()

    def _look(self) -> None:
        while not self._done.wait(0.01):
            self.most = max(self.most, resident() - self._begun)


def resident() -> int:
    """Bytes of memory that this process has."""
    pages = Path("/proc/self/statm")
    return int(pages.read_text().split()[1]) * 4096 if pages.exists() else 0


if __name__ == "__main__":
    main(measure)
