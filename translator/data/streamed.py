"""Images read in whole chunks, ahead of their use, and held while they are used."""

import logging
import os
import shutil
import tempfile
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock

import numpy as np
import torch
from torch import Tensor

from survey_tools.errors import RunError
from survey_tools.progress import size as in_words
from survey_tools.store.zarr_store import Store
from translator.data.reading import image_bytes, read_apart
from translator.data.streams import Stream, turn_and_mirror, turned

log = logging.getLogger(__name__)


class Scattered:
    """Images of some rows of a store; a chunk that has any is read once, by whoever first asks for one.

    The file has no name and is gone with the process. RunError where the disk is full.

    Args:
        store: To read.
        rows: That will be asked for, in order, each once.
        pool: Where chunks are read.

    Attributes:
        size: Of the file [byte], when all are there.
    """

    def __init__(self, store: Store, rows: np.ndarray, pool: Executor) -> None:
        self._store, self._rows, self._pool = store, rows, pool
        self._copied: dict[int, Future] = {}
        self._lock = Lock()
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
        self.close = weakref.finalize(self, self._file.close)  # gives the disk back
        self.size = len(rows) * image_bytes(store)

    def ask(self, rows: np.ndarray) -> list[Future]:
        """Have the chunks of some rows read that have not been; the images are there when all futures are done."""
        chunks = dict.fromkeys((rows // self._store.images.chunks[0]).tolist())
        for chunk in chunks:
            if chunk not in self._copied:
                self._copied[chunk] = self._pool.submit(self._copy, chunk)
        return [self._copied[chunk] for chunk in chunks]

    def images(self, rows: np.ndarray) -> list[np.ndarray]:
        """The images (band, row, col) of rows that have been asked for."""
        images = np.empty((len(rows), *self._store.images.shape[1:]), np.float32)
        for image, place in zip(images, np.searchsorted(self._rows, rows).tolist(), strict=True):
            with self._lock:
                self._file.seek(place * image.nbytes)
                self._file.readinto(memoryview(image).cast("B"))
        return list(images)

    def _copy(self, chunk: int) -> None:
        """Read a chunk and write those of its rows that are wanted, which lie side by side in the file."""
        step = self._store.images.chunks[0]
        first, last = np.searchsorted(self._rows, [chunk * step, (chunk + 1) * step])
        images = read_apart(self._store, self._rows[first:last])
        try:
            with self._lock:
                self._file.seek(int(first) * image_bytes(self._store))
                for image in images:
                    rest = memoryview(image).cast("B")
                    while len(rest):
                        rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise RunError(
                f"{tempfile.gettempdir()}: images that lie scattered in {self._store.path} cannot be kept there "
                f"({error.strerror}); make room for {in_words(self.size)}, or set TMPDIR to a folder that has it"
            ) from error


TOO_MANY = 2.0  # rows read for each that is wanted, from which on those wanted get a file
ROOM = 0.5  # of the free disk, that such files may take
Images = Callable[[], list[np.ndarray]]  # waits for images (band, row, col) [nanomaggy/pixel] and gives them


class Chunks:
    """Images of objects in one store, read for all objects of a group at once and held until the group is done.

    Args:
        store: To read.
        rows: Of each object (object,).
        group: Number of the group of each object (object,), from 0; of the last store its chunk.
        lanes: In each of which groups are asked for one after the other.
        pool: Where chunks are read.
    """

    def __init__(self, store: Store, rows: np.ndarray, group: np.ndarray, lanes: int, pool: Executor) -> None:
        self._store, self._rows, self._group, self._lanes, self._pool = store, rows, group, lanes, pool
        self._sizes = np.bincount(group)
        self._start = np.cumsum(self._sizes) - self._sizes
        self._members = np.argsort(group, kind="stable")
        self._place = np.empty(len(group), int)
        self._place[self._members] = np.arange(len(group)) - np.repeat(self._start, self._sizes)
        self._open: dict[int, Future] = {}

    def ask(self, objects: np.ndarray, following: np.ndarray) -> Images:
        """Have the images of some objects read; `following` are those that will be asked for next."""
        groups = self._group[objects].tolist()
        for group in dict.fromkeys(groups):
            if group not in self._open:
                self._open[group] = self._pool.submit(self._read, group)
        asked = [(self._open[group], place) for group, place in zip(groups, self._place[objects].tolist(), strict=True)]
        if len(self._sizes) > self._lanes:
            soon = set(self._group[following].tolist())
            self._open = {group: images for group, images in self._open.items() if group in soon}
        return lambda: [images.result()[place] for images, place in asked]

    def memory(self, batches: int, size: int) -> int:
        """Bytes that are held at most while `batches` successive askings, for `size` objects each, are under way.

        In that while a lane sees a group, the last of an epoch, the first of another and one more; where groups are
        small, all those between. A group takes up to twice its images, since it may be held as a chunk.
        """
        step = self._store.images.chunks[0]
        largest = int(self._sizes.max())
        held = step if 2 * largest >= step else largest
        rows = 3 * self._lanes * held
        rows += 2 * batches * size if self._sizes.min() * self._lanes < batches * size else 0
        return min(rows, held * len(self._sizes)) * image_bytes(self._store)

    def _read(self, group: int) -> list[np.ndarray]:
        start = self._start[group]
        return read_apart(self._store, self._rows[self._members[start : start + self._sizes[group]]])


@dataclass(frozen=True)
class FromFile:
    """Images of objects whose rows lie scattered.

    Attributes:
        file: That has them.
        rows: Of each object (object,).
    """

    file: Scattered
    rows: np.ndarray

    def ask(self, objects: np.ndarray, following: np.ndarray) -> Images:
        """Have the chunks of some objects read that have not been; `following` need nothing."""
        rows = self.rows[objects]
        copied = self.file.ask(rows)

        def images() -> list[np.ndarray]:
            for each in copied:
                each.result()
            return self.file.images(rows)

        return images

    def memory(self, batches: int, size: int) -> int:
        """Bytes that are held: none for long."""
        return 0


def open_sources(
    stores: tuple[Store, ...], streams: tuple[Stream, ...], pool: Executor
) -> tuple[list[list[Chunks | FromFile]], list[Scattered]]:
    """The better way to the images of each stream in each of its stores, and the files that there are for them."""
    columns = [(stream, which, stream.rows[:, i]) for stream in streams for i, which in enumerate(stream.stores)]
    wanted: dict[int, np.ndarray] = {}
    for which, store in enumerate(stores):
        some = [rows for stream, w, rows in columns if w == which and is_scattered(store, rows, stream.group)]
        if some:
            wanted[which] = np.unique(np.concatenate(some))
    if not _has_room(sum(len(rows) * image_bytes(stores[which]) for which, rows in wanted.items())):
        wanted = {}
    files = {which: Scattered(stores[which], rows, pool) for which, rows in wanted.items()}

    def source(stream: Stream, which: int, rows: np.ndarray) -> Chunks | FromFile:
        if which in files and is_scattered(stores[which], rows, stream.group):
            return FromFile(files[which], rows)
        return Chunks(stores[which], rows, stream.group, stream.lanes, pool)

    sources = [
        [source(stream, which, stream.rows[:, i]) for i, which in enumerate(stream.stores)] for stream in streams
    ]
    return sources, list(files.values())


def is_scattered(store: Store, rows: np.ndarray, group: np.ndarray) -> bool:
    """Whether too many other rows are read with those of objects (object,) where each group of objects is read once."""
    step = store.images.chunks[0]
    together = len(np.unique(group.astype(np.int64) * (len(store) // step + 1) + rows // step))
    return together * step >= TOO_MANY * len(rows)


def _has_room(needed: int) -> bool:
    """Whether files of so many bytes leave room on the disk; says so where not."""
    folder = tempfile.gettempdir()
    if needed <= ROOM * shutil.disk_usage(folder).free:
        return True
    log.warning(
        f"{in_words(needed)} of images lie scattered over their stores and will be read slowly: {folder} has no room "
        "to keep them; set TMPDIR to a folder with twice as much, or make the stores of catalogues in the same order"
    )
    return False


READ_AHEAD = 6  # batches whose chunks are being read
MADE_AHEAD = 4  # batches that are put together: fewer, so that no thread waits for a chunk that another still reads
THREADS = 4  # at most: the other cores are the training's


@dataclass(frozen=True)
class Staged:
    """A batch on its way to the GPU; `arrived` is recorded behind it."""

    number: int
    images: list[Tensor]
    arrived: torch.cuda.Event


class Streamed:
    """Batches of streams, in the order of their numbers, from any number on.

    Args:
        stores: x and y.
        streams: To read.
        device: Where batches are wanted.

    Attributes:
        memory: Main memory that is used at most [byte].
        scattered: Bytes that go to the disk, for images that lie scattered over their stores.
    """

    def __init__(self, stores: tuple[Store, Store], streams: tuple[Stream, ...], device: torch.device) -> None:
        self._streams, self._device = streams, device
        self._threads = min(THREADS, os.cpu_count() or 1)
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="batches")
        self._sources, self._files = open_sources(stores, streams, self._pool)
        self.scattered = sum(file.size for file in self._files)
        self._following: tuple[int, list[np.ndarray]] = (-1, [])
        self._asked: deque[tuple[int, list[Images]]] = deque()
        self._made: deque[tuple[int, Future]] = deque()
        self._copies = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._staged: Staged | None = None
        self.memory = self._memory(stores)

    def batch(self, number: int) -> list[Tensor]:
        """Images (B, band, row, col) of batch `number`, in the order of `images.Batch`, on the device."""
        if self._copies is None:
            return self._next(number)
        staged = self._staged
        if staged is None or staged.number != number:
            staged = self._stage(number)
        self._staged = self._stage(number + 1) if self._is_made(number + 1) else None
        using = torch.cuda.current_stream(self._device)
        using.wait_event(staged.arrived)
        for images in staged.images:
            images.record_stream(using)
        return staged.images

    def close(self) -> None:
        """Stop reading ahead."""
        self._asked.clear()
        self._made.clear()
        self._pool.shutdown(cancel_futures=True)
        for file in self._files:
            file.close()

    def _next(self, number: int) -> list[Tensor]:
        """A batch as the pool makes it, when it is made."""
        self._go_on(number)
        return self._made.popleft()[1].result()

    def _is_made(self, number: int) -> bool:
        return bool(self._made) and self._made[0][0] == number and self._made[0][1].done()

    def _go_on(self, number: int) -> None:
        """Have chunks read, and batches put together, from batch `number` on."""
        queues = (*self._made, *self._asked)
        if queues and queues[0][0] != number:
            self._made.clear()
            self._asked.clear()
        first = self._asked[-1][0] + 1 if self._asked else self._made[-1][0] + 1 if self._made else number
        for asked in range(first, number + READ_AHEAD + 1):
            self._asked.append((asked, self._ask(asked)))
            while self._asked and self._asked[0][0] <= max(number, asked + MADE_AHEAD - READ_AHEAD):
                ready, images = self._asked.popleft()
                self._made.append((ready, self._pool.submit(self._put_together, ready, images)))

    def _ask(self, number: int) -> list[Images]:
        """Have the images of a batch read."""
        known, objects = self._following
        if known != number:
            objects = [stream.objects(number) for stream in self._streams]
        following = [stream.objects(number + 1) for stream in self._streams]
        self._following = (number + 1, following)
        return [
            source.ask(now, then)
            for sources, now, then in zip(self._sources, objects, following, strict=True)
            for source in sources
        ]

    def _symmetries(self, number: int) -> list[np.ndarray]:
        """How each image of a batch is turned, in the order of its images."""
        return [stream.symmetries(number) for stream in self._streams for _ in stream.stores]

    def _put_together(self, number: int, asked: list[Images]) -> list[Tensor]:
        """The images of a batch: turned, or pinned and still to be turned."""
        batch = []
        for images, symmetries in zip((images() for images in asked), self._symmetries(number), strict=True):
            shape = (len(images), *images[0].shape)
            if self._copies is None:
                together = torch.empty(shape, memory_format=torch.channels_last)
                for place, image, symmetry in zip(together.numpy(), images, symmetries.tolist(), strict=True):
                    place[:] = turned(image, symmetry)
            else:
                together = torch.empty(shape, pin_memory=True)  # torch takes it again when its copy has been made
                np.stack(images, out=together.numpy())
            batch.append(together)
        return batch

    def _stage(self, number: int) -> Staged:
        """Begin to copy a batch to the GPU, and to turn it there."""
        pinned = self._next(number)
        with torch.cuda.stream(self._copies):
            images = [
                turn_and_mirror(each.to(self._device, non_blocking=True), symmetries).contiguous(
                    memory_format=torch.channels_last
                )
                for each, symmetries in zip(pinned, self._symmetries(number), strict=True)
            ]
            return Staged(number, images, self._copies.record_event())

    def _memory(self, stores: tuple[Store, Store]) -> int:
        """Bytes that are held at most: chunks in use, batches, and what the threads read."""
        batches = held = 0
        for stream, sources in zip(self._streams, self._sources, strict=True):
            size = len(stream.symmetries(0))
            held += sum(source.memory(READ_AHEAD + 1, size) for source in sources)
            batches += sum(size * image_bytes(stores[which]) for which in stream.stores)
        chunk = max(store.images.chunks[0] * image_bytes(store) for store in stores)
        return held + (MADE_AHEAD + 2) * batches + 3 * self._threads * chunk
