"""The streams of images that a training reads: of x, of y, and of pairs of both."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from survey_tools.store import Store
from translator.augment import SYMMETRIES
from translator.order import Order, share_of
from translator.selection import Selection
from translator.share import Share

X, Y = 0, 1  # the stores
UNPAIRED_X, UNPAIRED_Y, PAIRS = range(3)  # the streams of one seed


@dataclass(frozen=True)
class Stream:
    """The same objects over and over, each once an epoch.

    Attributes:
        number: Of the stream.
        stores: Which store each image of an object is from, `X` or `Y`.
        rows: Rows of an object's images in these stores (object, store).
        steps: Rows of a chunk of each.
        size: Objects of a batch, of all processes together.
        seed: Of the training.
        share: The part of a batch that this process reads.
    """

    number: int
    stores: tuple[int, ...]
    rows: np.ndarray
    steps: tuple[int, ...]
    size: int
    seed: int
    share: Share

    @cached_property
    def group(self) -> np.ndarray:
        """The chunk of the last store, whose images are the larger, that each object lies in (object,), from 0."""
        return np.unique(self.rows[:, -1] // self.steps[-1], return_inverse=True)[1]

    @cached_property
    def order(self) -> Order:
        """Of the objects."""
        return Order(self.group, self.size, (self.seed, self.number))

    @property
    def lanes(self) -> int:
        """Chunks that this process reads at a time."""
        return self.order.lanes_of(self.share)

    def objects(self, batch: int) -> np.ndarray:
        """The objects of this process's slots of a batch (slot,)."""
        return self.order.objects(batch, self.share)

    def symmetries(self, batch: int) -> np.ndarray:
        """How the images of each slot are turned, drawn uniformly (slot,)."""
        random = np.random.default_rng([self.seed, self.number, batch, 1])
        return random.integers(SYMMETRIES, size=self.size)[share_of(self.size, self.share)]


def make_streams(
    stores: tuple[Store, Store], selection: Selection, size: int, seed: int, share: Share
) -> tuple[Stream, ...]:
    """The streams of a selection, in the order of `images.Batch`; without that of the pairs where there is none."""
    wanted = {
        UNPAIRED_X: ((X,), selection.x[:, None]),
        UNPAIRED_Y: ((Y,), selection.y[:, None]),
        PAIRS: ((X, Y), selection.pairs),
    }
    return tuple(
        Stream(number, domains, rows, tuple(stores[domain].images.chunks[0] for domain in domains), size, seed, share)
        for number, (domains, rows) in wanted.items()
        if number != PAIRS or len(rows)
    )
