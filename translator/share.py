"""The share of every batch that one of several processes, training one model together, has."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Share:
    """One of `count` equal shares.

    Attributes:
        rank: Number of the process, from 0.
        count: Of processes.
    """

    rank: int = 0
    count: int = 1

    def of(self, whole: Tensor | None) -> Tensor | None:
        """Its rows of what was drawn for all processes alike, (B, …); a number, or nothing, is everybody's."""
        if self.count == 1 or whole is None or whole.ndim == 0:
            return whole
        rows = len(whole) // self.count
        return whole[self.rank * rows : (self.rank + 1) * rows]


WHOLE = Share()
