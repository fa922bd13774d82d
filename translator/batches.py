"""Batches for training: two stores and a selection of their rows -> endless stretched images.

Which rows an iteration sees and how they are turned are pure functions of the seed and the iteration's number, so a
stream that is taken up at iteration n is the one that was left there.
"""

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor

import dask
import numpy as np
import torch
from torch import Tensor

from survey_tools.store import Store
from translator.images import Batch
from translator.intensity import stretch
from translator.selection import Selection

BUFFER_CHUNKS = 8  # chunks whose rows are shuffled together
AHEAD = 4  # batches read ahead of the one that is in use
SYMMETRIES = 8  # of the square: four rotations, each mirrored or not
UNPAIRED_X, UNPAIRED_Y, PAIRS = range(3)  # the streams of one seed


class Stream:
    """The same rows over and over, each once an epoch, in a new order each time, read in whole chunks.

    An epoch goes through the chunks of the last store (its images are the larger) in random order, `BUFFER_CHUNKS` at
    a time, and through the rows of those at random.

    Args:
        stores: Stores to read; a pair is read from two.
        rows: Row of each object in each store (object, store).
        seed: Integers that no other stream has.
    """

    def __init__(self, stores: tuple[Store, ...], rows: np.ndarray, seed: tuple[int, ...]) -> None:
        self._stores, self._rows, self._seed = stores, rows, seed
        self._chunk = rows[:, -1] // _chunk_rows(stores[-1])
        self._order: tuple[int, list[np.ndarray]] = (-1, [])
        self._group: tuple[tuple[int, int], list[np.ndarray]] = ((-1, -1), [])

    def take(self, start: int, count: int) -> list[np.ndarray]:
        """Images (count, band, row, col) [nanomaggy/pixel] of each store, from object `start` of the stream on."""
        parts: list[list[np.ndarray]] = []
        while count:
            epoch, first = divmod(start, len(self._rows))
            number, first = self._find(epoch, first)
            part = [images[first : first + count] for images in self._read(epoch, number)]
            parts.append(part)
            start, count = start + len(part[0]), count - len(part[0])
        return [np.concatenate(images) for images in zip(*parts, strict=True)]

    def groups(self, epoch: int) -> list[np.ndarray]:
        """The objects of an epoch in its order (indices of `rows`), in the groups that are read together."""
        if self._order[0] != epoch:
            random = np.random.default_rng([*self._seed, epoch])
            chunks = random.permutation(np.unique(self._chunk))
            together = [chunks[i : i + BUFFER_CHUNKS] for i in range(0, len(chunks), BUFFER_CHUNKS)]
            groups = [random.permutation(np.flatnonzero(np.isin(self._chunk, some))) for some in together]
            self._order = (epoch, groups)
        return self._order[1]

    def _find(self, epoch: int, place: int) -> tuple[int, int]:
        """The group that holds an object of the epoch, and the object's place in it."""
        ends = np.cumsum([len(group) for group in self.groups(epoch)])
        number = int(np.searchsorted(ends, place, side="right"))
        return number, place - (int(ends[number - 1]) if number else 0)

    def _read(self, epoch: int, number: int) -> list[np.ndarray]:
        """The images of one group, kept until another is asked for."""
        if self._group[0] != (epoch, number):
            rows = self._rows[self.groups(epoch)[number]]
            self._group = ((epoch, number), [read_rows(s, rows[:, i]) for i, s in enumerate(self._stores)])
        return self._group[1]


class Batches:
    """Endless batches, made ahead in the background.

    Each has `size` unpaired images of x and of y, and as many pairs if any are selected; every image is turned and
    mirrored by one of the eight symmetries of the square, drawn uniformly, a pair alike. Fewer objects than that come
    more than once.

    Attributes:
        iteration: Number of the next batch, the whole of its state; set it to go on from there.
    """

    def __init__(
        self, stores: tuple[Store, Store], selection: Selection, size: int, seed: int, device: torch.device
    ) -> None:
        x, y = stores
        self.size, self.seed, self.device = size, seed, device
        self._streams = [
            Stream((x,), selection.x[:, None], (seed, UNPAIRED_X)),
            Stream((y,), selection.y[:, None], (seed, UNPAIRED_Y)),
        ]
        if len(selection.pairs):
            self._streams.append(Stream((x, y), selection.pairs, (seed, PAIRS)))
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self._ahead: deque[tuple[int, Future]] = deque()
        self.iteration = 0

    def __iter__(self) -> "Batches":
        return self

    def __next__(self) -> Batch:
        if self._ahead and self._ahead[0][0] != self.iteration:
            self._ahead.clear()
        following = self._ahead[-1][0] + 1 if self._ahead else self.iteration
        for number in range(following, self.iteration + AHEAD):
            self._ahead.append((number, self._worker.submit(self._gather, number)))
        gathered = self._ahead.popleft()[1].result()
        self.iteration += 1
        return Batch(*(self._finish(images, symmetry) for images, symmetry in gathered))

    def close(self) -> None:
        """Stop reading ahead."""
        self._ahead.clear()
        self._worker.shutdown(cancel_futures=True)

    def _gather(self, number: int) -> list[tuple[Tensor, np.ndarray]]:
        """Images of batch `number` and the symmetry of each, in the order of `Batch`."""
        gathered = []
        for stream, rows in enumerate(self._streams):
            symmetry = np.random.default_rng([self.seed, stream, number, 1]).integers(SYMMETRIES, size=self.size)
            for images in rows.take(number * self.size, self.size):
                tensor = torch.from_numpy(images)
                gathered.append((tensor.pin_memory() if self.device.type == "cuda" else tensor, symmetry))
        return gathered

    def _finish(self, images: Tensor, symmetry: np.ndarray) -> Tensor:
        turned = turn_and_mirror(images.to(self.device, non_blocking=True), symmetry)
        return stretch(turned).contiguous(memory_format=torch.channels_last)


def turn_and_mirror(images: Tensor, symmetry: np.ndarray) -> Tensor:
    """Images (B, C, H, W) each under its own symmetry of the square (B,): quarter turns, plus 4 for a mirror image."""
    turned = torch.empty_like(images)
    for code in np.unique(symmetry):
        chosen = torch.from_numpy(np.flatnonzero(symmetry == code)).to(images.device)
        some = torch.rot90(images[chosen], int(code) % 4, (-2, -1))
        turned[chosen] = some.flip(-1) if code >= 4 else some
    return turned


def read_rows(store: Store, rows: np.ndarray) -> np.ndarray:
    """Images (row, band, row, col) of some rows of a store, in their order; each chunk is read once, in parallel."""
    step = _chunk_rows(store)
    chunks = np.unique(rows // step)
    read = dask.delayed(store.images.__getitem__, pure=False)
    parts = dask.compute(*(read(slice(c * step, (c + 1) * step)) for c in chunks), scheduler="threads")
    images = np.empty((len(rows), *store.images.shape[1:]), np.float32)
    for chunk, part in zip(chunks, parts, strict=True):
        inside = rows // step == chunk
        images[inside] = part[rows[inside] - chunk * step]
    return images


def _chunk_rows(store: Store) -> int:
    return store.chunks()[0].stop
