"""Where the images of a stream come from: chunks that are held while they are used, or a file of the rows that are.

Who reads few rows of a chunk reads its others with them. That is so for x of the pairs, which come in the order of y,
wherever the orders of the stores differ; and for the pairs wherever few objects were seen by both surveys. Such rows
are copied to a file as their chunks are first read; from then on nothing is read for them but themselves.
"""

import logging
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass

import numpy as np

from survey_tools.amounts import size as in_words
from survey_tools.store import Store
from translator.reading import image_bytes, read_apart
from translator.scattered import Scattered
from translator.streams import Stream

TOO_MANY = 2.0  # rows read for each that is wanted, from which on those wanted get a file
ROOM = 0.5  # of the free disk, that such files may take
Images = Callable[[], list[np.ndarray]]  # waits for images (band, row, col) [nanomaggy/pixel] and gives them
log = logging.getLogger(__name__)


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
