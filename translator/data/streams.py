"""The objects of each batch, the same for any number of processes, and how their images are turned.

There is a stream of objects for x, for y and for pairs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from survey_tools.store.zarr_store import Store
from translator.data.selection import Selection
from translator.images import Share

SYMMETRIES = 8
# By symmetry: whether rows and columns are exchanged, then the rows reversed, then the columns.
STEPS = ((0, 0, 0), (1, 1, 0), (0, 1, 1), (1, 0, 1), (0, 0, 1), (1, 1, 1), (0, 1, 0), (1, 0, 0))


def turn_and_mirror(images: Tensor, symmetry: np.ndarray) -> Tensor:
    """Return square images (B, C, H, W), on any device, each turned and mirrored by its own symmetry (B,)."""
    steps = torch.tensor(STEPS, dtype=torch.bool)[torch.from_numpy(symmetry)].to(images.device, non_blocking=True)
    exchange, rows, columns = (step[:, None, None, None] for step in steps.unbind(1))
    images = torch.where(exchange, images.mT, images)
    images = torch.where(rows, images.flip(-2), images)
    return torch.where(columns, images.flip(-1), images)


def turned(image: np.ndarray, symmetry: int) -> np.ndarray:
    """Return one square image (…, row, col) turned and mirrored by a symmetry, as a view."""
    exchange, rows, columns = STEPS[symmetry]
    image = image.swapaxes(-2, -1) if exchange else image
    return image[..., :: -1 if rows else 1, :: -1 if columns else 1]


LANES = 8  # how many chunks are mixed at a time


class Order:
    """The objects of each batch of a stream: a function of the arguments alone, of which two epochs are kept.

    Parameters
    ----------
    chunk : array of int
        Number of the chunk of each object (object,), from 0.
    size : int
        Objects of a batch, of all processes together.
    seed : tuple of int
        Integers that no other stream has.
    """

    def __init__(self, chunk: np.ndarray, size: int, seed: tuple[int, ...]) -> None:
        self._chunk, self._size, self._seed = chunk, size, seed
        self.lanes = min(LANES, size)
        lane = np.arange(size) * self.lanes // size
        self._width = np.bincount(lane, minlength=self.lanes)
        self._first = np.cumsum(self._width) - self._width
        self._lane = lane
        self._epochs: dict[int, np.ndarray] = {}

    def lanes_of(self, share: Share) -> int:
        """Return how many lanes have slots of a process."""
        return len(np.unique(self._lane[share_of(self._size, share)]))

    def objects(self, number: int, share: Share) -> np.ndarray:
        """Return the objects of batch `number` in the slots of one process (slot,), in their order."""
        slots = np.arange(self._size)[share_of(self._size, share)]
        positions = number * self._size + slots
        epochs = positions // len(self._chunk)
        objects = np.empty(len(slots), int)
        for epoch in np.unique(epochs):
            inside = epochs == epoch
            objects[inside] = self._epoch(int(epoch))[self._places(int(epoch), positions[inside])]
        return objects

    def _places(self, epoch: int, positions: np.ndarray) -> np.ndarray:
        """Return the places of some positions in the row of an epoch's objects."""
        lane, lanes = self._lane[positions % self._size], np.arange(self.lanes)
        before, after = (self._count(lanes, (epoch + more) * len(self._chunk)) for more in (0, 1))
        ends = np.cumsum(after - before)
        done = self._count(lane, positions) - before[lane]
        forwards = ends[lane] - (after - before)[lane] + done
        return np.where(lane % 2 == 0, forwards, ends[lane] - 1 - done)

    def _count(self, lane: np.ndarray, position) -> np.ndarray:
        """Return how many positions before `position` each lane has."""
        batch, slot = np.divmod(position, self._size)
        return batch * self._width[lane] + np.clip(slot - self._first[lane], 0, self._width[lane])

    def _epoch(self, epoch: int) -> np.ndarray:
        """Return all objects, chunk by chunk, in the order of an epoch."""
        if epoch not in self._epochs:
            random = np.random.default_rng([*self._seed, epoch])
            turn = random.permutation(int(self._chunk.max()) + 1)
            shuffled = random.permutation(len(self._chunk))
            while len(self._epochs) > 1:
                del self._epochs[next(iter(self._epochs))]
            self._epochs[epoch] = shuffled[np.argsort(turn[self._chunk[shuffled]], kind="stable")]
        return self._epochs[epoch]


def share_of(size: int, share: Share) -> slice:
    """Return the slots of a batch of `size` objects that one of several processes has."""
    each = size // share.count
    return slice(share.rank * each, (share.rank + 1) * each)


X, Y = 0, 1  # the stores
UNPAIRED_X, UNPAIRED_Y, PAIRS = range(3)  # the streams of one seed


@dataclass(frozen=True)
class Stream:
    """Objects that come once in each epoch, again and again.

    Attributes
    ----------
    number : int
        Number of the stream.
    stores : tuple of int
        Store of each image of an object, `X` or `Y`.
    rows : array of int
        Rows of an object's images in these stores (object, store).
    steps : tuple of int
        Rows of a chunk of each store.
    size : int
        Objects of a batch, of all processes together.
    seed : int
        Seed of the training.
    share : Share
        The part of a batch that this process reads.
    chunk_of : callable, optional
        Takes rows of the last store; returns the number of each one's chunk. By default all chunks have `steps` rows.
    """

    number: int
    stores: tuple[int, ...]
    rows: np.ndarray
    steps: tuple[int, ...]
    size: int
    seed: int
    share: Share
    chunk_of: Callable[[np.ndarray], np.ndarray] | None = None

    @cached_property
    def group(self) -> np.ndarray:
        """Number of each object's chunk in the last store, whose images are the larger (object,), from 0."""
        rows = self.rows[:, -1]
        chunk = rows // self.steps[-1] if self.chunk_of is None else self.chunk_of(rows)
        return np.unique(chunk, return_inverse=True)[1]

    @cached_property
    def order(self) -> Order:
        """The order of the objects."""
        return Order(self.group, self.size, (self.seed, self.number))

    @property
    def lanes(self) -> int:
        """How many chunks this process reads at a time."""
        return self.order.lanes_of(self.share)

    def objects(self, batch: int) -> np.ndarray:
        """Return the objects in this process's slots of a batch (slot,)."""
        return self.order.objects(batch, self.share)

    def symmetries(self, batch: int) -> np.ndarray:
        """Return how the image of each slot is turned, drawn uniformly (slot,)."""
        random = np.random.default_rng([self.seed, self.number, batch, 1])
        return random.integers(SYMMETRIES, size=self.size)[share_of(self.size, self.share)]


def make_streams(
    stores: tuple[Store, Store], selection: Selection, size: int, seed: int, share: Share
) -> tuple[Stream, ...]:
    """Return the streams of a selection, in the order of `images.Batch`; there is none of pairs if no pairs train."""
    wanted = {
        UNPAIRED_X: ((X,), selection.x[:, None]),
        UNPAIRED_Y: ((Y,), selection.y[:, None]),
        PAIRS: ((X, Y), selection.pairs),
    }
    return tuple(
        Stream(
            number,
            domains,
            rows,
            tuple(stores[domain].block_rows for domain in domains),
            size,
            seed,
            share,
            stores[domains[-1]].chunk_of,
        )
        for number, (domains, rows) in wanted.items()
        if number != PAIRS or len(rows)
    )
