"""Images that are read in whole chunks, ahead of their use, and held while they are used."""

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
    """A temporary file with the images of some rows of a store. Each chunk is read once, when one of its rows is first
    needed.

    The file has no name and disappears with the process.

    Parameters
    ----------
    store : Store
        The store to read.
    rows : array of int
        The rows that will be needed, in order, each once.
    pool : Executor
        The threads that read chunks.

    Attributes
    ----------
    size : int
        Size of the file when all images are in it [byte].

    Raises
    ------
    RunError
        If the disk is full.
    """

    def __init__(self, store: Store, rows: np.ndarray, pool: Executor) -> None:
        self._store, self._rows, self._pool = store, rows, pool
        self._copied: dict[int, Future] = {}
        self._lock = Lock()
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
        self.close = weakref.finalize(self, self._file.close)  # gives the disk back
        self.size = len(rows) * image_bytes(store)

    def ask(self, rows: np.ndarray) -> list[Future]:
        """Read those chunks of some rows that have not been read.

        The images are in the file when all the futures that are returned are done.
        """
        chunks = dict.fromkeys(self._store.chunk_of(rows).tolist())
        for chunk in chunks:
            if chunk not in self._copied:
                self._copied[chunk] = self._pool.submit(self._copy, chunk)
        return [self._copied[chunk] for chunk in chunks]

    def images(self, rows: np.ndarray) -> list[np.ndarray]:
        """Return the images (band, row, col) of rows that have been asked for."""
        images = np.empty((len(rows), *self._store.images.shape[1:]), np.float32)
        for image, place in zip(images, np.searchsorted(self._rows, rows).tolist(), strict=True):
            with self._lock:
                self._file.seek(place * image.nbytes)
                self._file.readinto(memoryview(image).cast("B"))
        return list(images)

    def _copy(self, chunk: int) -> None:
        """Read a chunk and write its wanted rows, which lie side by side in the file."""
        span = self._store.chunk_span(chunk)
        first, last = np.searchsorted(self._rows, [span.start, span.stop])
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


TOO_MANY = 2.0  # rows read for each wanted row, from which on the wanted rows get a temporary file
ROOM = 0.5  # part of the free disk that temporary files may take
Images = Callable[[], list[np.ndarray]]  # waits for images (band, row, col) [nanomaggy/pixel] and returns them


class Chunks:
    """Images of objects in one store, read for all objects of a group at once and held until the group is done.

    Parameters
    ----------
    store : Store
        The store to read.
    rows : array of int
        Row of each object (object,).
    group : array of int
        Number of the group of each object (object,), from 0; a group is a chunk of the stream's last store.
    lanes : int
        How many groups are read side by side; the groups of a lane follow each other.
    pool : Executor
        The threads that read chunks.
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
        """Read the images of some objects ahead; `following` are the objects that will be asked for next."""
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
        """Return how many bytes are held at most while `batches` successive batches of `size` objects are under way.

        In that time a lane sees one group, the last of an epoch, the first of another and one more; if groups are
        small, all those in between. A group takes up to twice its images, since it may be held as a whole chunk.
        """
        step = self._store.block_rows
        largest = int(self._sizes.max())
        held = step if 2 * largest >= step else largest
        rows = 3 * self._lanes * held
        rows += 2 * batches * size if self._sizes.min() * self._lanes < batches * size else 0
        return min(rows, held * len(self._sizes)) * image_bytes(self._store)

    def _read(self, group: int) -> list[np.ndarray]:
        """Read the images of one group."""
        start = self._start[group]
        return read_apart(self._store, self._rows[self._members[start : start + self._sizes[group]]])


@dataclass(frozen=True)
class FromFile:
    """Images of objects whose rows lie scattered over their store.

    Attributes
    ----------
    file : Scattered
        The file that has them.
    rows : array of int
        Row of each object (object,).
    """

    file: Scattered
    rows: np.ndarray

    def ask(self, objects: np.ndarray, following: np.ndarray) -> Images:
        """Read the chunks of some objects that have not been read; `following` needs no preparation."""
        rows = self.rows[objects]
        copied = self.file.ask(rows)

        def images() -> list[np.ndarray]:
            for each in copied:
                each.result()
            return self.file.images(rows)

        return images

    def memory(self, batches: int, size: int) -> int:
        """Return how many bytes are held: none for long."""
        return 0


def open_sources(
    stores: tuple[Store, ...], streams: tuple[Stream, ...], pool: Executor
) -> tuple[list[list[Chunks | FromFile]], list[Scattered]]:
    """Return the better source of each stream's images in each of its stores, and their temporary files."""
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
    """Return whether reading each group of objects (object,) once would read too many other rows."""
    together = len(np.unique(group.astype(np.int64) * store.chunk_count + store.chunk_of(rows)))
    return together * store.block_rows >= TOO_MANY * len(rows)


def _has_room(needed: int) -> bool:
    """Return whether files of so many bytes leave room on the disk; warn if they do not."""
    folder = tempfile.gettempdir()
    if needed <= ROOM * shutil.disk_usage(folder).free:
        return True
    log.warning(
        f"{in_words(needed)} of images lie scattered over their stores and will be read slowly: {folder} has no room "
        "to keep them; set TMPDIR to a folder with twice as much, or make the stores of catalogues in the same order"
    )
    return False


READ_AHEAD = 6  # batches whose chunks are read
MADE_AHEAD = 4  # batches that are put together; fewer, so that no thread waits for a chunk that another reads
THREADS = 4  # most threads that read; the other cores serve the training


@dataclass(frozen=True)
class Staged:
    """A batch on its way to the GPU; the event `arrived` is recorded after its copy."""

    number: int
    images: list[Tensor]
    arrived: torch.cuda.Event


class Streamed:
    """Batches of streams, in the order of their numbers, from any number on.

    Parameters
    ----------
    stores : tuple of Store
        The stores x and y.
    streams : tuple of Stream
        The streams to read.
    device : device
        Where batches are wanted.

    Attributes
    ----------
    memory : int
        Main memory that is used at most [byte].
    scattered : int
        Size of the temporary files, for images that lie scattered over their stores [byte].
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
        """Return the images (B, band, row, col) of batch `number`, in the order of `images.Batch`, on the device."""
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
        """Return a batch from the threads, when it is ready."""
        self._go_on(number)
        return self._made.popleft()[1].result()

    def _is_made(self, number: int) -> bool:
        """Return whether the threads have finished batch `number`, which is the next."""
        return bool(self._made) and self._made[0][0] == number and self._made[0][1].done()

    def _go_on(self, number: int) -> None:
        """Start reading chunks, and putting batches together, from batch `number` on."""
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
        """Start reading the images of a batch."""
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
        """Return how each image of a batch is turned, in the order of its images."""
        return [stream.symmetries(number) for stream in self._streams for _ in stream.stores]

    def _put_together(self, number: int, asked: list[Images]) -> list[Tensor]:
        """Return the images of a batch: turned, or in pinned memory and not yet turned."""
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
        """Start the copy of a batch to the GPU, and its turns there."""
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
        """Return how many bytes are held at most: chunks in use, batches, and what the threads read."""
        batches = held = 0
        for stream, sources in zip(self._streams, self._sources, strict=True):
            size = len(stream.symmetries(0))
            held += sum(source.memory(READ_AHEAD + 1, size) for source in sources)
            batches += sum(size * image_bytes(stores[which]) for which in stream.stores)
        chunk = max(store.block_rows * image_bytes(store) for store in stores)
        return held + (MADE_AHEAD + 2) * batches + 3 * self._threads * chunk
