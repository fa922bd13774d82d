"""Noise of translations against that of real sky of the same survey.

Both on source-masked sky, of the same pixels of the same galaxies: `blank.py`. `noise.py` measures each galaxy.
"""

from collections.abc import Callable

import numpy as np
from scipy import fft
from scipy.special import ndtr

from translator.metrics.average import mean, median
from translator.metrics.curve import Curve
from translator.metrics.measure import Measure, Statistics
from translator.metrics.noise import HISTOGRAM, LAGS, RINGS, TAIL, noise, statistics
from translator.metrics.sample import Sample

WORST = 3.0  # of the log10 of a ratio; noise that is missing altogether counts as this
AMPLITUDES = np.linspace(0.0, 3.0, 61)  # at which the distribution of sigmas is shown [median sigma of the target]


def ks_of_ranks(values: Statistics) -> np.ndarray:
    """Largest distance of the cumulative distributions of two sets of ranks, band by band."""
    ranks = values["amplitude_ranks"]
    bands, kinds = ranks.shape[1], 2
    known = (ranks >= 0).all(axis=-1)
    size = ranks.max(initial=0) + 1
    place = (np.arange(bands)[:, None] * kinds + np.arange(kinds)) * size + ranks
    counts = np.bincount(place[known].ravel(), minlength=bands * kinds * size).reshape(bands, kinds, size)
    total = known.sum(axis=0)
    distance = np.abs(np.diff(counts.cumsum(axis=-1), axis=1)).max(axis=(1, 2))
    return np.where(total > 0, distance / np.maximum(total, 1), np.nan)


def correlation_distance(values: Statistics) -> np.ndarray:
    """(band,) largest difference of the mean autocorrelations, of all lags."""
    target, made = np.moveaxis(mean(values["correlation"]), 1, 0)
    return np.abs(made - target).max(axis=-1)


def power_distance(values: Statistics) -> np.ndarray:
    """(band,) mean over cells of |log10| of the mean powers' ratio; `WORST` at most in each [dex]."""
    target, made = np.moveaxis(mean(values["power"]), 1, 0)
    ratio = np.maximum(made, 10**-WORST * target) / np.where(target > 0, target, np.nan)
    return np.minimum(np.abs(np.log10(ratio)), WORST).mean(axis=-1)


def histogram_distance(values: Statistics) -> np.ndarray:
    """(band,) largest distance of the cumulative histograms, at the bins' edges."""
    target, made = np.moveaxis(mean(values["histogram"]), 1, 0)
    return np.abs((made - target).cumsum(axis=-1)).max(axis=-1)


def tail_ratio(values: Statistics) -> np.ndarray:
    """(band,) log10 of the ratio of the numbers of pixels in the tails, each plus a half [dex]."""
    count = values["tail"]
    both = ~np.isnan(count).any(axis=-1)
    target, made = np.where(both[..., None], count, 0.0).sum(axis=0).T + 0.5
    return np.where(both.any(axis=0), np.log10(made / target), np.nan)


def band_distance(values: Statistics) -> np.ndarray:
    """(band,) largest difference of the mean correlation with another band; NaN where there is no other."""
    target, made = np.moveaxis(mean(values["band_correlation"]), 1, 0)
    distance = np.abs(made - target)
    known = ~np.isnan(distance)
    largest = np.where(known, distance, 0.0).max(axis=1)
    return np.where(known.any(axis=1), largest, np.nan)


def amplitude_ratio(values: Statistics) -> np.ndarray:
    """(band,) median of log10 of the ratio of sigmas, 10^-`WORST` at least [dex]."""
    target, made = np.moveaxis(values["sigmas"], -1, 0)
    ratio = made / np.where(target > 0, target, np.nan)
    return median(np.log10(np.maximum(ratio, 10**-WORST)))


def curve_noise_amplitude(sample: Sample) -> Curve:
    """Cumulative distribution of the sky's sigma over galaxies."""
    found = noise(sample).each["sigmas"]
    relative = found / median(found)[:, :1]
    known = ~np.isnan(relative)
    share = [mean(np.where(known, relative <= at, np.nan)) for at in AMPLITUDES]
    target, made = np.moveaxis(np.array(share), (0, -1), (-1, 0))
    label = "share of galaxies below"
    y = {"target": target, "translation": made}
    return Curve("Amplitude of the noise", "sigma / the target's median sigma", label, AMPLITUDES, y)


def curve_noise_correlation(sample: Sample) -> Curve:
    """Autocorrelation of the sky along rows and columns."""
    found = mean(noise(sample).each["correlation"])
    names = ((0, "target"), (1, "translation"))
    y = {f"{name}, along a column": found[:, kind, :LAGS] for kind, name in names}
    y |= {f"{name}, along a row": found[:, kind, LAGS:] for kind, name in names}
    return Curve("Correlation of the noise", "distance [pixel]", "correlation", np.arange(1.0, LAGS + 1), y)


def curve_noise_power(sample: Sample) -> Curve:
    """Power spectrum of the sky, as a map and along its radius."""
    maps = dict(zip(("target", "translation"), noise(sample).power, strict=True))
    rows, cols = (fft.fftshift(fft.fftfreq(size)) for size in sample.target.shape[-2:])
    count = min(sample.target.shape[-2:]) // 4
    ring = np.floor(np.hypot(rows[:, None], cols) / 0.5 * count).astype(int)
    belongs = [ring == number for number in range(count)]
    belongs[0] &= np.hypot(rows[:, None], cols) > 0
    y = {name: np.array([power[:, some].mean(axis=-1) for some in belongs]).T for name, power in maps.items()}
    frequency = (np.arange(count) + 0.5) * 0.5 / count
    label = "power [white noise of the target's sigma = 1]"
    return Curve("Power spectrum of the noise", "frequency [1/pixel]", label, frequency, y, log_y=True, maps=maps)


def curve_noise_histogram(sample: Sample) -> Curve:
    """Histogram of the sky's pixels to 5 sigma, next to a normal distribution."""
    target, made = np.moveaxis(mean(noise(sample).each["histogram"]), 1, 0)[..., 1:-1]
    normal = np.broadcast_to(np.diff(ndtr(HISTOGRAM)), target.shape)
    y = {"target": target, "translation": made, "normal": normal}
    y = {name: np.where(share > 0, share, np.nan) for name, share in y.items()}
    middles = (HISTOGRAM[1:] + HISTOGRAM[:-1]) / 2
    label = "share of pixels in a bin"
    return Curve("Histogram of the noise", "pixel [the target's sigma]", label, middles, y, log_y=True)


def curve_noise_bands(sample: Sample) -> Curve:
    """Correlation of the sky of each band with that of every other at the same pixel."""
    found = mean(noise(sample).each["band_correlation"])
    label = f"the other band: 1 to {len(found)} are {', '.join(sample.bands)}"
    y = {"target": found[:, 0], "translation": found[:, 1]}
    return Curve("Correlation between bands", label, "correlation", np.arange(1.0, len(found) + 1), y)


def row(
    name: str, title: str, unit: str, meaning: str, formula: str, summary: Callable, alone: bool = True,
    of_means: bool = False, cap: float | None = None,
) -> Measure:  # fmt: skip
    """A measure of the sky's noise: it needs nothing besides the images."""
    source = "Compared on source-masked sky as in the sky noise of Bertin & Arnouts (1996, A&AS 117, 393)"
    return Measure(
        name, title, unit, meaning, formula, source, 0.0, (), statistics, summary, alone=alone, population=True,
        of_means=of_means, cap=cap,
    )  # fmt: skip


MEASURES: tuple[Measure, ...] = (
    row(
        "noise_amplitude",
        "Amplitude of the noise",
        "dex",
        "Whether there is too much noise (above zero) or too little in the middle.",
        "median over galaxies of log10(sigma of the sky / sigma of the target's), sigma = 1.4826 MAD",
        amplitude_ratio,
    ),
    row(
        "noise_amplitude_ks",
        "Distribution of noise amplitudes",
        "",
        "Whether shallow and deep images are as frequent as among the real ones; 1: no overlap.",
        "Kolmogorov-Smirnov distance between the sigmas of the sky of translations and of targets, over galaxies",
        ks_of_ranks,
        alone=False,
    ),
    row(
        "noise_correlation",
        "Correlation of the noise",
        "",
        "Whether neighbouring pixels share as much noise as in real images.",
        f"largest |difference| of the mean autocorrelation at 1 to {LAGS} pixels along rows and columns",
        correlation_distance,
        of_means=True,
    ),
    row(
        "noise_power",
        "Power spectrum of the noise",
        "dex",
        "By what factor the noise is wrong on a typical scale.",
        f"mean |log10(power / power of the target's sky)| over {RINGS} rings of frequency in halves, at most {WORST:g}",
        power_distance,
        of_means=True,
        cap=WORST,
    ),
    row(
        "noise_histogram",
        "Histogram of the noise",
        "",
        "Whether pixels are as often as bright as in real sky.",
        "largest distance of the cumulative histograms of sky pixels in units of the target's sigma, bins of 0.5",
        histogram_distance,
        of_means=True,
    ),
    row(
        "noise_tails",
        "Tails of the noise",
        "dex",
        "Whether rare, bright pixels are too frequent (above zero) or too rare for the noise that there is.",
        f"log10 of the number of sky pixels beyond {TAIL:g} of their own sigma over that of the target",
        tail_ratio,
    ),
    row(
        "noise_bands",
        "Noise shared by bands",
        "",
        "Whether bands share as much noise as in real images.",
        "largest |difference| of the mean correlation coefficient of the sky of this band with that of another",
        band_distance,
        of_means=True,
    ),
)

CURVES: tuple[Callable[[Sample], Curve], ...] = (
    curve_noise_amplitude,
    curve_noise_correlation,
    curve_noise_power,
    curve_noise_histogram,
    curve_noise_bands,
)
