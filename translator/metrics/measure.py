"""What a measure is, and its value with an interval."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from translator.metrics.sample import Sample

BOOTSTRAPS = 500  # resamplings of the galaxies behind an interval
LEVEL = 0.68  # of an interval
AT_ONCE = 64  # selections of galaxies in memory

Statistics = dict[str, np.ndarray]  # name to values (galaxy, …)


@dataclass(frozen=True)
class Measure:
    """One number a band, and how it comes about.

    Its floor, what real images are against real images, needs other real images of the same galaxies: with a truth
    these are made, without one there are none. Then only measures of a `population` have a floor, as its two halves do
    for two populations; nothing stands in for that of the others, which is left out.

    Attributes:
        name: In tables and requirements, such as "aperture_offset".
        title: On the page.
        unit: Of the number; "" where it has none.
        meaning: One sentence: what it says of the translations.
        formula: How it is computed.
        source: Where it is from: a paper, its equation or figure.
        perfect: The value of a translation that nobody could tell from the target.
        needs: Names of the fields of `Sample` that must be there besides the images: "truth", "redshift", "draws", …
        each: What is measured of every galaxy.
        summary: (band,) from what was measured of any selection of galaxies, of each band by itself.
        alone: Whether a selection of one galaxy has a number that says something of it, so that galaxies can be sorted.
        per_band: False where all bands together have one number, which statistics and summary repeat for each band.
        population: Whether it compares distributions, so that target and translation may show different galaxies.
        of_means: Whether the summary asks for nothing but the mean of each statistic over the galaxies.
        cap: The largest value that it can state, which means that much or more; None where it has no such end.
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
    alone: bool = True
    per_band: bool = True
    population: bool = False
    of_means: bool = False
    cap: float | None = None

    def applies(self, sample: Sample) -> bool:
        """Whether a sample has what this measure needs."""
        return all(getattr(sample, name) is not None for name in self.needs)


def interval(measure: Measure, statistics: Statistics, random: np.random.Generator) -> np.ndarray:
    """The interval (2, band) that holds `LEVEL` of the values which other such galaxies would have given."""
    count = len(next(iter(statistics.values())))
    values = of_selections(measure, statistics, random.integers(0, count, (BOOTSTRAPS, count)))
    return np.nanquantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)


def of_selections(measure: Measure, statistics: Statistics, some: np.ndarray) -> np.ndarray:
    """The measure (selection, band) of each of many selections of galaxies, indices `some` (selection, galaxy).

    A summary looks at every band by itself. So the bands of further selections are to it but more bands, and it is
    asked once of `AT_ONCE` selections and not once of each.
    """
    chosen = Stacked if measure.of_means and some.shape[1] > 1 else Selected
    parts = []
    for first in range(0, len(some), AT_ONCE):
        part = some[first : first + AT_ONCE]
        parts.append(np.reshape(measure.summary(chosen(statistics, part)), (len(part), -1)))
    return np.concatenate(parts).astype(float)


@dataclass(frozen=True)
class Selected:
    """Selections of galaxies side by side: each statistic (galaxy, selection × band, …) once it is asked for.

    A statistic without bands, (galaxy,), is one that all galaxies share.
    """

    statistics: Statistics
    some: np.ndarray

    def __getitem__(self, name: str) -> np.ndarray:
        values = self.statistics[name]
        if values.ndim == 1:
            return values[self.some[0]]
        chosen = values[self.some.T]
        return chosen.reshape(len(chosen), -1, *values.shape[2:])


@dataclass(frozen=True)
class Stacked:
    """The same for summaries that ask for means over galaxies only: one galaxy (1, selection × band, …), the mean."""

    statistics: Statistics
    some: np.ndarray

    def __getitem__(self, name: str) -> np.ndarray:
        values = self.statistics[name]
        if values.ndim == 1:
            return values[:1]
        times = np.stack([np.bincount(each, minlength=len(values)) for each in self.some]).astype(float)
        flat = values.reshape(len(values), -1).astype(float)
        there = np.isfinite(flat)
        if there.all():
            found = times @ flat / self.some.shape[1]
        else:
            count = times @ there
            found = np.divide(
                times @ np.where(there, flat, 0.0), count, out=np.full(count.shape, np.nan), where=count > 0
            )
        return found.reshape(1, -1, *values.shape[2:])
