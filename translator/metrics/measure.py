"""Data types of the report card: a sample of images, a measure and its interval, a curve."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import wraps
from hashlib import blake2b
from typing import TypeVar
from weakref import WeakKeyDictionary

import numpy as np


@dataclass(frozen=True, eq=False)  # compared by identity, so that it can be a key of `remembered`
class Sample:
    """Images of the same galaxies (galaxy, band, row, col) [nanomaggy/pixel] on the pixels of the target survey.

    Attributes
    ----------
    bands : tuple of str
        Names, in the order of the band axis.
    pixel_scale : float
        Side of a pixel of all images but `source` and `seen` [arcsec].
    output : array
        Translations as users get them, with noise.
    signal : array
        Translations without noise; the same as `output` if the model adds no noise.
    target : array
        Real images of the target survey.
    sigma : array
        Standard deviation of a blank pixel of `target` (galaxy, band) [nanomaggy/pixel].
    truth : array, optional
        Images of the target survey without noise; None for a real sky.
    again : array, optional
        Real images of the same galaxies with other noise.
    draws : array
        Several translations with different noise (draw, galaxy, band, row, col).
    source : array, optional
        The images that were translated, on their own pixels.
    source_scale : float
        Side of a pixel of `source` [arcsec].
    seen : array, optional
        What the survey of the input would see of `signal`, without noise, on the pixels of `source`. None in the
        direction whose input is the richer survey: its images cannot be made from poorer ones.
    source_sigma : array, optional
        Standard deviation of a blank pixel of `source` (galaxy, band) [nanomaggy/pixel].
    source_gain : array, optional
        Gain of `source` (galaxy, band) [electron/nanomaggy]; NaN if unknown.
    redshift : array, optional
        Redshifts (galaxy,); NaN if unknown.
    taught : array, optional
        Light in real target images of other galaxies (galaxy, band, aperture), from `redshift.aperture_fluxes`. The
        redshift estimator learns from it.
    taught_redshift : array, optional
        Redshifts of these other galaxies.
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

    @property
    def reference(self) -> np.ndarray:
        """The best known answer: the truth, or the target if there is no truth."""
        return self.target if self.truth is None else self.truth

    def take(self, galaxies: np.ndarray) -> "Sample":
        """Return the sample of some galaxies (indices or bool), in that order."""
        images = {name: getattr(self, name) for name in ("output", "signal", "target", "sigma", "truth", "again")}
        images |= {name: getattr(self, name) for name in ("source", "seen", "source_sigma", "source_gain", "redshift")}
        some = {name: None if value is None else value[galaxies] for name, value in images.items()}
        return replace(self, **some, draws=None if self.draws is None else self.draws[:, galaxies])


@dataclass(frozen=True)
class Curve:
    """Curves over one axis, band by band.

    Attributes
    ----------
    title : str
        Title of the plot.
    x_label, y_label : str
        Labels of the axes, with units.
    x : array
        Abscissae (n,).
    y : dict of str to array
        Label of a curve to its values (band, n); NaN where there is none.
    log_x, log_y : bool
        Whether the axis is logarithmic.
    maps : dict of str to array, optional
        Label of a map to its pixels (band, row, col).
    """

    title: str
    x_label: str
    y_label: str
    x: np.ndarray
    y: dict[str, np.ndarray]
    log_x: bool = False
    log_y: bool = False
    maps: dict[str, np.ndarray] | None = None


BOOTSTRAPS = 500  # resamplings of the galaxies for an interval
LEVEL = 0.68  # probability that an interval contains
AT_ONCE = 64  # selections of galaxies in memory

Statistics = dict[str, np.ndarray]  # name to values (galaxy, …)


@dataclass(frozen=True)
class Measure:
    """One number per band that says how good translations are, and how it is computed.

    The floor of a measure is its value for real images compared with other real images of the same galaxies. With a
    truth, such images are made. Without one, only a measure of a `population` has a floor, from two halves of the real
    images; the other measures have none.

    Attributes
    ----------
    name : str
        Name in tables and requirements, such as "aperture_offset".
    title : str
        Title on the page of the report.
    unit : str
        Unit of the number; "" if it has none.
    meaning : str
        A sentence that says what the number tells about the translations.
    formula : str
        How the number is computed.
    source : str
        A paper, with its equation or figure.
    perfect : float
        The value of translations that cannot be told from the target.
    needs : tuple of str
        Fields of `Sample` that must not be None besides the images, such as "truth", "redshift" or "draws".
    each : callable
        From a sample to the statistics of every galaxy.
    summary : callable
        From the statistics of a selection of galaxies to the number (band,); each band is summarised by itself.
    alone : bool
        Whether the number of a single galaxy has a meaning, so that galaxies can be sorted by it.
    per_band : bool
        False if all bands together have one number, which statistics and summary then repeat in each band.
    population : bool
        Whether the measure compares distributions, so that target and translation may show different galaxies.
    of_means : bool
        Whether the summary uses only the mean of each statistic over the galaxies.
    cap : float, optional
        The largest value that the measure can take; it then stands for "this much or more".
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
        """Return whether a sample has the fields that this measure needs."""
        return all(getattr(sample, name) is not None for name in self.needs)


def interval(measure: Measure, statistics: Statistics, random: np.random.Generator) -> np.ndarray:
    """Return the interval of a measure that other galaxies of the same kind would give, by bootstrap.

    Parameters
    ----------
    measure : Measure
        The measure.
    statistics : dict
        Its statistics of every galaxy.
    random : numpy.random.Generator
        Source of the resampling.

    Returns
    -------
    array
        Lower and upper end (2, band) of the central interval that contains `LEVEL` of `BOOTSTRAPS` resamplings.
    """
    count = len(next(iter(statistics.values())))
    values = of_selections(measure, statistics, random.integers(0, count, (BOOTSTRAPS, count)))
    return np.nanquantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)


def of_selections(measure: Measure, statistics: Statistics, some: np.ndarray) -> np.ndarray:
    """Return a measure (selection, band) for each of many selections of galaxies.

    A summary treats each band by itself. Therefore the selections are put beside each other as further bands, and the
    summary is called once for `AT_ONCE` selections.

    Parameters
    ----------
    measure : Measure
        The measure.
    statistics : dict
        Its statistics of every galaxy.
    some : array of int
        Indices of galaxies (selection, galaxy).
    """
    chosen = Stacked if measure.of_means and some.shape[1] > 1 else Selected
    parts = []
    for first in range(0, len(some), AT_ONCE):
        part = some[first : first + AT_ONCE]
        parts.append(np.reshape(measure.summary(chosen(statistics, part)), (len(part), -1)))
    return np.concatenate(parts).astype(float)


@dataclass(frozen=True)
class Selected:
    """Statistics of selections of galaxies side by side, (galaxy, selection × band, …), computed when they are asked
    for.

    A statistic without a band axis, (galaxy,), is the same for all galaxies.
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
    """Means over galaxies of each selection (1, selection × band, …), for summaries that use only means."""

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
    """Iterate over a sample in pieces of `PIECE` galaxies, to save memory.

    The pieces have no `again`, `draws`, `source` and `seen`.
    """
    lean = replace(sample, again=None, draws=None, source=None, seen=None)
    for start in range(0, len(sample), PIECE):
        yield lean.take(np.arange(start, min(start + PIECE, len(sample))))


def spread_evenly(total: int, count: int) -> np.ndarray:
    """Return `count` indices that are spread evenly over 0 to `total` - 1."""
    return np.linspace(0, total - 1, count).round().astype(int)


def in_pieces(each: Callable[[Sample], Statistics]) -> Callable[[Sample], Statistics]:
    """Decorate a function that measures every galaxy, so that it works on one piece of the sample at a time."""

    @wraps(each)
    def of_all(sample: Sample) -> Statistics:
        some = [each(piece) for piece in pieces(sample)]
        return {name: np.concatenate([piece[name] for piece in some]) for name in some[0]}

    return of_all


def remembered(measured: Callable[[Sample], Found]) -> Callable[[Sample], Found]:
    """Decorate a function of a sample, so that its result is kept while the sample exists.

    Several measures and curves use the same result. The result must not be changed.
    """
    found: WeakKeyDictionary[Sample, Found] = WeakKeyDictionary()

    @wraps(measured)
    def of_sample(sample: Sample) -> Found:
        if sample not in found:
            found[sample] = measured(sample)
        return found[sample]

    return of_sample


def kept(most: int) -> Callable[[Callable[..., Found]], Callable[..., Found]]:
    """Return a decorator that keeps the last results of a function of pixels, for arguments with equal content.

    Many translations are compared with the same targets. The results must not be changed.

    Parameters
    ----------
    most : int
        Number of results that are kept.
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
