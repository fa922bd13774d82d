"""Images of rows that lie scattered over a store, in a file of their own from the time their chunk was first read."""

import tempfile
import weakref
from concurrent.futures import Executor, Future
from threading import Lock

import numpy as np

from survey_tools.amounts import size as in_words
from survey_tools.errors import RunError
from survey_tools.store import Store
from translator.reading import image_bytes, read_apart


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
