"""What a measure looks at, what a measure and its interval are, what a plot shows, and galaxies a few at a time."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import wraps
from hashlib import blake2b
from typing import TypeVar
from weakref import WeakKeyDictionary

import numpy as np


@dataclass(frozen=True, eq=False)  # a sample equals itself alone, so it can be the key of what was measured of it
class Sample:
    """Images of the same galaxies, (galaxy, band, row, col) in nanomaggy/pixel on the target survey's pixels.

    Attributes:
        bands: In the order of the band axis.
        pixel_scale: Of all images but `source` [arcsec/pixel].
        output: Translations as they are handed to users, noise included.
        signal: Translations without noise; the same as `output` where the model has no noise of its own.
        target: The target survey's real images.
        sigma: (galaxy, band) standard deviation of a blank pixel of `target` [nanomaggy/pixel].
        truth: The target survey's images without noise; None where the sky is real.
        again: Other real images of the same galaxies, with other noise; None where there are none.
        draws: (draw, galaxy, band, row, col) several translations with different noise; None where they were not made.
        source: The images that were translated, on their own pixels; None where they do not matter.
        source_scale: Of `source` [arcsec/pixel].
        seen: What the input's survey would see of `signal`, without noise, on the input's pixels (galaxy, band, row,
            col); None where the input is the richer image, which nothing can be made of what is poorer.
        source_sigma: (galaxy, band) standard deviation of a blank pixel of `source` [nanomaggy/pixel].
        source_gain: (galaxy, band) of `source` [electron/nanomaggy]; NaN where it is not known.
        redshift: (galaxy,) NaN where unknown.
        taught: (other galaxy, band, aperture) light in real target images of other galaxies, as
            `redshift.aperture_fluxes` measures it: what a redshift estimator learns from; None where there are none.
        taught_redshift: (other galaxy,) their redshifts; alike.
    """

    bands: tuple[str, ...]
    pixel_scale: float
    output: np.ndarray
    signal: np.ndarray
    target: np.ndarray
    sigma: np.ndarray
    truth: np.ndarray | None = None
    again: np.ndarray | None = None
    draws: np.ndarray | None = None
    source: np.ndarray | None = None
    source_scale: float = np.nan
    seen: np.ndarray | None = None
    source_sigma: np.ndarray | None = None
    source_gain: np.ndarray | None = None
    redshift: np.ndarray | None = None
    taught: np.ndarray | None = None
    taught_redshift: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.target)

    def take(self, galaxies: np.ndarray) -> "Sample":
        """Some of the galaxies (index or bool), in that order."""
        images = {name: getattr(self, name) for name in ("output", "signal", "target", "sigma", "truth", "again")}
        images |= {name: getattr(self, name) for name in ("source", "seen", "source_sigma", "source_gain", "redshift")}
        some = {name: None if value is None else value[galaxies] for name, value in images.items()}
        return replace(self, **some, draws=None if self.draws is None else self.draws[:, galaxies])


@dataclass(frozen=True)
class Curve:
    """Curves over one axis, band by band.

    Attributes:
        title: Of the plot.
        x_label: With the unit.
        y_label: With the unit.
        x: (n,)
        y: Label of a curve to (band, n); NaN where there is no value.
        log_x: Whether the x axis is logarithmic.
        log_y: Whether the y axis is.
        maps: Label of an image to (band, row, col); None where there are none.
    """

    title: str
    x_label: str
    y_label: str
    x: np.ndarray
    y: dict[str, np.ndarray]
    log_x: bool = False
    log_y: bool = False
    maps: dict[str, np.ndarray] | None = None


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


Found = TypeVar("Found")

PIECE = 32  # galaxies


def pieces(sample: Sample) -> Iterator[Sample]:
    """`PIECE` galaxies of the sample after another, without `again`, draws, source and what is seen of it."""
    lean = replace(sample, again=None, draws=None, source=None, seen=None)
    for start in range(0, len(sample), PIECE):
        yield lean.take(np.arange(start, min(start + PIECE, len(sample))))


def spread_evenly(total: int, count: int) -> np.ndarray:
    """Indices (count,) of galaxies from the first to the last."""
    return np.linspace(0, total - 1, count).round().astype(int)


def in_pieces(each: Callable[[Sample], Statistics]) -> Callable[[Sample], Statistics]:
    """The same statistics of every galaxy, measured a piece at a time."""

    @wraps(each)
    def of_all(sample: Sample) -> Statistics:
        some = [each(piece) for piece in pieces(sample)]
        return {name: np.concatenate([piece[name] for piece in some]) for name in some[0]}

    return of_all


def remembered(measured: Callable[[Sample], Found]) -> Callable[[Sample], Found]:
    """The same, kept for as long as the sample is: several measures and curves ask for it. Nobody may write into it."""
    found: WeakKeyDictionary[Sample, Found] = WeakKeyDictionary()

    @wraps(measured)
    def of_sample(sample: Sample) -> Found:
        if sample not in found:
            found[sample] = measured(sample)
        return found[sample]

    return of_sample


def kept(most: int) -> Callable[[Callable[..., Found]], Callable[..., Found]]:
    """For what is measured of pixels alone, as of targets against which many are held: once for equal pixels.

    The results of the `most` last ones are kept. Nobody may write into them.
    """

    def decorate(measured: Callable[..., Found]) -> Callable[..., Found]:
        found: dict[bytes, Found] = {}

        @wraps(measured)
        def of_pixels(pixels: np.ndarray, *how: object) -> Found:
            digest = blake2b(repr((pixels.dtype, pixels.shape, how)).encode())
            digest.update(np.ascontiguousarray(pixels))
            key = digest.digest()
            found[key] = found.pop(key) if key in found else measured(pixels, *how)
            while len(found) > most:
                del found[next(iter(found))]
            return found[key]

        return of_pixels

    return decorate
