"""The order in which a stream has its objects: each once an epoch, shuffled, however many processes share it.

Position p of a stream is slot `p % size` of batch `p // size`. The slots of a batch belong to `LANES` lanes, each some
neighbouring slots. An epoch puts the chunks in random order, and the objects of each chunk too, and cuts this row of
objects into one segment a lane, just as long as the lane has positions in the epoch. A lane goes through its segment
from end to end, so that it has one chunk open at a time; odd lanes go backwards, so that two neighbours have the chunk
that the cut between them divides at the same time. Hence

- a batch mixes `LANES` chunks, and an epoch reads each chunk once while it holds `LANES` of them;
- 2, 4 or 8 processes, each with its share of every batch's slots, read different chunks, but for the one at each cut
  between them. Another number of processes may divide a lane's slots; those that share a lane both read its chunks.
"""

import numpy as np

from translator.share import Share

LANES = 8  # chunks whose objects are mixed


class Order:
    """Which objects each batch of a stream has: a function of the arguments alone, some epochs of which are kept.

    Args:
        chunk: Number of the chunk that each object lies in (object,), from 0.
        size: Objects of a batch, of all processes together.
        seed: Integers that no other stream has.
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
        """How many lanes have slots of a process."""
        return len(np.unique(self._lane[share_of(self._size, share)]))

    def objects(self, number: int, share: Share) -> np.ndarray:
        """The objects that batch `number` has in the slots of one process (slot,), in their order."""
        slots = np.arange(self._size)[share_of(self._size, share)]
        positions = number * self._size + slots
        epochs = positions // len(self._chunk)
        objects = np.empty(len(slots), int)
        for epoch in np.unique(epochs):
            inside = epochs == epoch
            objects[inside] = self._epoch(int(epoch))[self._places(int(epoch), positions[inside])]
        return objects

    def _places(self, epoch: int, positions: np.ndarray) -> np.ndarray:
        """Where in an epoch's row of objects those of some positions stand."""
        lane, lanes = self._lane[positions % self._size], np.arange(self.lanes)
        before, after = (self._count(lanes, (epoch + more) * len(self._chunk)) for more in (0, 1))
        ends = np.cumsum(after - before)
        done = self._count(lane, positions) - before[lane]
        forwards = ends[lane] - (after - before)[lane] + done
        return np.where(lane % 2 == 0, forwards, ends[lane] - 1 - done)

    def _count(self, lane: np.ndarray, position) -> np.ndarray:
        """How many positions before `position` lanes have."""
        batch, slot = np.divmod(position, self._size)
        return batch * self._width[lane] + np.clip(slot - self._first[lane], 0, self._width[lane])

    def _epoch(self, epoch: int) -> np.ndarray:
        """All objects, chunk by chunk, in the order of an epoch."""
        if epoch not in self._epochs:
            random = np.random.default_rng([*self._seed, epoch])
            turn = random.permutation(int(self._chunk.max()) + 1)
            shuffled = random.permutation(len(self._chunk))
            while len(self._epochs) > 1:
                del self._epochs[next(iter(self._epochs))]
            self._epochs[epoch] = shuffled[np.argsort(turn[self._chunk[shuffled]], kind="stable")]
        return self._epochs[epoch]


def share_of(size: int, share: Share) -> slice:
    """The slots of a batch of `size` that one of several processes has."""
    each = size // share.count
    return slice(share.rank * each, (share.rank + 1) * each)
