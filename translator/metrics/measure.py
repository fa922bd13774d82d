"""What a measure is, and its value with an interval."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from translator.metrics.sample import Sample

BOOTSTRAPS = 500  # resamplings of the galaxies behind an interval
LEVEL = 0.68  # of an interval

Statistics = dict[str, np.ndarray]  # name to values (galaxy, …)


@dataclass(frozen=True)
class Measure:
    """One number a band, and how it comes about.

    Attributes:
        name: In tables and requirements, such as "flux_bias".
        title: On the page.
        unit: Of the number; "" where it has none.
        meaning: One sentence: what it says of the translations.
        formula: How it is computed.
        source: Where it is from: a paper, its equation or figure.
        perfect: The value of a translation that nobody could tell from the target.
        needs: Names of the fields of `Sample` that must be there besides the images: "truth", "redshift", "draws", …
        each: What is measured of every galaxy.
        summary: (band,) from what was measured of any selection of galaxies.
    """

    name: str
    title: str
    unit: str
    meaning: str
    formula: str
    source: str
    perfect: float
    needs: tuple[str, ...]
    each: Callable[[Sample], Statistics]
    summary: Callable[[Statistics], np.ndarray]

    def applies(self, sample: Sample) -> bool:
        """Whether a sample has what this measure needs."""
        return all(getattr(sample, name) is not None for name in self.needs)


def interval(measure: Measure, statistics: Statistics, random: np.random.Generator) -> np.ndarray:
    """The interval (2, band) that holds `LEVEL` of the values which other such galaxies would have given."""
    count = len(next(iter(statistics.values())))
    values = []
    for _ in range(BOOTSTRAPS):
        some = random.integers(0, count, count)
        values.append(measure.summary({name: value[some] for name, value in statistics.items()}))
    return np.nanquantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
