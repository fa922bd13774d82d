"""The sky of translations: its level, its noise, and the correlation of its pixels."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import fft
from scipy.special import ndtr

from translator.metrics.autocorrelation import LAGS, autocorrelation
from translator.metrics.blank import Sky, sky_of
from translator.metrics.measure import Curve, Measure, Sample, Statistics, pieces, remembered
from translator.metrics.robust import mean, median

RINGS = 6  # rings of the power spectrum, evenly from 0 to 0.5 cycles/pixel
HISTOGRAM = np.arange(-5.25, 5.26, 0.5)  # edges of the bins [sigma of the target]
TAIL = 3.0  # beginning of the tails [sigma of the image itself]


@dataclass(frozen=True)
class Noise:
    """The measured noise of the sky of a sample.

    Attributes
    ----------
    each : dict
        Statistics of every galaxy: "sky_level" (galaxy, band); the others are (galaxy, band, 2, …), target first.
    power : array
        Mean power spectra (2, band, row, col), zero frequency in the middle, in the unit of `powers`.
    """

    each: Statistics
    power: np.ndarray


@remembered
def noise(sample: Sample) -> Noise:
    """Return noise and level of the sky of a sample; NaN for a galaxy without enough sky."""
    found, power, seen = [], 0.0, 0
    for piece in pieces(sample):
        sky = sky_of(piece)
        full = np.abs(fft.fft2(sky.images)) ** 2 / pixels_of(sky)[:, None, None, None]
        found.append(
            {
                "sky_level": (sky.level[1] - sky.level[0]) / np.where(sky.sigma[0] > 0, sky.sigma[0], np.nan),
                "sigmas": np.moveaxis(sky.sigma, 0, -1),
                "correlation": correlations(sky).astype(np.float32),
                "power": powers(full),
                "histogram": histograms(sky),
                "tail": tails(sky),
                "band_correlation": band_correlations(sky),
            }
        )
        power, seen = power + np.nansum(full, axis=1), seen + sky.where.any(axis=(1, 2)).sum()
    each = {name: np.concatenate([piece[name] for piece in found]) for name in found[0]}
    each["amplitude_ranks"] = ranks_of(each["sigmas"])
    return Noise(each, fft.fftshift(power, axes=(-2, -1)) / (seen or np.nan))


def statistics(sample: Sample) -> Statistics:
    """Return the statistics of every galaxy that the measures of the sky share: they are measured together."""
    return noise(sample).each


def ranks_of(sigmas: np.ndarray) -> np.ndarray:
    """Return the rank of each sigma among those of all galaxies of target and translation (galaxy, band, 2); -1 for
    NaN.
    """
    ranks = np.full(sigmas.shape, -1)
    for band in range(sigmas.shape[1]):
        known = ~np.isnan(sigmas[:, band])
        ranks[:, band][known] = np.unique(sigmas[:, band][known], return_inverse=True)[1]
    return ranks


def pixels_of(sky: Sky) -> np.ndarray:
    """Return the number of sky pixels (galaxy,); NaN if there are none."""
    count = sky.where.sum(axis=(1, 2))
    return np.where(count > 0, count, np.nan)


def correlations(sky: Sky) -> np.ndarray:
    """Return the autocorrelation of the sky at 1 to `LAGS` pixels along a column, then along a row (galaxy, band, 2,
    12).

    It is the mean product of pairs of sky pixels over the mean square; NaN for a sky that does not vary.
    """
    size = [fft.next_fast_len(side + LAGS, real=True) for side in sky.where.shape[-2:]]
    pairs = lag_values(autocorrelation(sky.where.astype(np.float32), size))[:, None]
    sums = lag_values(autocorrelation(sky.images, size))
    covariance = np.where(pairs > 0.5, sums / np.maximum(pairs, 1.0), np.nan)
    variance = covariance[..., :1]
    return np.moveaxis(covariance[..., 1:] / np.where(variance > 0, variance, np.nan), 0, 2)


def lag_values(products: np.ndarray) -> np.ndarray:
    """Return parts of an autocorrelation (…, row lag, col lag): lag 0, then along the columns, then along the rows."""
    down, across = products[..., 1 : LAGS + 1, 0], products[..., 0, 1 : LAGS + 1]
    return np.concatenate([products[..., :1, 0], down, across], axis=-1)


def powers(full: np.ndarray) -> np.ndarray:
    """Return means of power spectra in `RINGS` rings of frequency, each in two halves (galaxy, band, 2, cell).

    The halves of a ring are the frequencies that are larger along the columns than along the rows, and the others. The
    mask mixes frequencies, and the level that is subtracted from the sky lacks at the lowest ones. Target and
    translation lose the same, a few per cent where there is most power and a fifth where there is least.

    Parameters
    ----------
    full : array
        |F|² over the number of sky pixels (2, galaxy, band, row, col). F is the transform of the sky in units of the
        target's sigma, 0 where there is no sky. White noise of the target's sigma has 1, for any mask.
    """
    down, across = (fft.fftfreq(size) for size in full.shape[-2:])
    frequency = np.hypot(down[:, None], across)
    ring = np.floor(frequency / 0.5 * RINGS).astype(int)
    cell = np.where((ring < RINGS) & (frequency > 0), 2 * ring + (np.abs(down[:, None]) > np.abs(across)), 2 * RINGS)
    belongs = (cell.ravel()[:, None] == np.arange(2 * RINGS)).astype(float)
    belongs = (belongs / belongs.sum(axis=0)).astype(np.float32)
    return np.moveaxis(full.reshape(*full.shape[:3], -1) @ belongs, 0, 2).astype(np.float32)


def histograms(sky: Sky) -> np.ndarray:
    """Return the share of sky pixels in each bin of `HISTOGRAM` and beyond its ends (galaxy, band, 2, bin)."""
    bins = len(HISTOGRAM) + 1
    found = np.full((*sky.images.shape[1:3], 2, bins), np.nan, np.float32)
    width = HISTOGRAM[1] - HISTOGRAM[0]
    for galaxy in np.flatnonzero(sky.where.any(axis=(1, 2))):
        values = sky.images[:, galaxy][:, :, sky.where[galaxy]]
        place = np.clip(np.floor((values - HISTOGRAM[0]) / width) + 1, 0, bins - 1).astype(int)
        for kind, bands in enumerate(place):
            found[galaxy, :, kind] = [np.bincount(each, minlength=bins) / len(each) for each in bands]
    return found


def tails(sky: Sky) -> np.ndarray:
    """Return the number of sky pixels beyond `TAIL` times the image's own sigma (galaxy, band, 2); NaN
    if sigma is 0.
    """
    sigma = np.where(sky.sigma > 0, sky.sigma, np.nan)
    relative = sigma / sigma[0]
    beyond = (np.abs(sky.images) > TAIL * relative[..., None, None]).sum(axis=(-2, -1))
    return np.moveaxis(np.where(np.isnan(relative), np.nan, beyond), 0, -1)


def band_correlations(sky: Sky) -> np.ndarray:
    """Return correlation coefficients of the sky of each band with each other band (galaxy, band, 2, band).

    NaN for a band with itself, and for a sky that does not vary.
    """
    flat = sky.images.reshape(*sky.images.shape[:3], -1)
    covariance = flat @ flat.swapaxes(-1, -2)
    sigma = np.sqrt(np.einsum("kgbb->kgb", covariance))
    sigma = np.where(sigma > 0, sigma, np.nan)
    covariance[..., np.eye(covariance.shape[-1], dtype=bool)] = np.nan
    return np.moveaxis(covariance / (sigma[..., None] * sigma[..., None, :]), 0, 2)


WORST = 3.0  # largest |log10| of a ratio; also the value for noise that is missing altogether
AMPLITUDES = np.linspace(0.0, 3.0, 61)  # at which the distribution of sigmas is shown [median sigma of the target]


def ks_of_ranks(values: Statistics) -> np.ndarray:
    """Return the largest distance (band,) of the cumulative distributions of two sets of ranks."""
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
    """Return the largest difference (band,) of the mean autocorrelations, over all lags."""
    target, made = np.moveaxis(mean(values["correlation"]), 1, 0)
    return np.abs(made - target).max(axis=-1)


def power_distance(values: Statistics) -> np.ndarray:
    """Return the mean over cells (band,) of |log10| of the ratio of the mean powers [dex], at most `WORST` in each
    cell.
    """
    target, made = np.moveaxis(mean(values["power"]), 1, 0)
    ratio = np.maximum(made, 10**-WORST * target) / np.where(target > 0, target, np.nan)
    return np.minimum(np.abs(np.log10(ratio)), WORST).mean(axis=-1)


def histogram_distance(values: Statistics) -> np.ndarray:
    """Return the largest distance (band,) of the cumulative histograms, at the edges of the bins."""
    target, made = np.moveaxis(mean(values["histogram"]), 1, 0)
    return np.abs((made - target).cumsum(axis=-1)).max(axis=-1)


def tail_ratio(values: Statistics) -> np.ndarray:
    """Return log10 of the ratio (band,) of the numbers of pixels in the tails, each plus a half [dex]."""
    count = values["tail"]
    both = ~np.isnan(count).any(axis=-1)
    target, made = np.where(both[..., None], count, 0.0).sum(axis=0).T + 0.5
    return np.where(both.any(axis=0), np.log10(made / target), np.nan)


def band_distance(values: Statistics) -> np.ndarray:
    """Return the largest difference (band,) of the mean correlation with another band; NaN if there is none."""
    target, made = np.moveaxis(mean(values["band_correlation"]), 1, 0)
    distance = np.abs(made - target)
    known = ~np.isnan(distance)
    largest = np.where(known, distance, 0.0).max(axis=1)
    return np.where(known.any(axis=1), largest, np.nan)


def amplitude_ratio(values: Statistics) -> np.ndarray:
    """Return the median (band,) of log10 of the ratio of sigmas [dex], which is at least 10^-`WORST`."""
    target, made = np.moveaxis(values["sigmas"], -1, 0)
    ratio = made / np.where(target > 0, target, np.nan)
    return median(np.log10(np.maximum(ratio, 10**-WORST)))


def curve_noise_amplitude(sample: Sample) -> Curve:
    """Return the cumulative distribution of the sky's sigma over galaxies."""
    found = noise(sample).each["sigmas"]
    relative = found / median(found)[:, :1]
    known = ~np.isnan(relative)
    share = [mean(np.where(known, relative <= at, np.nan)) for at in AMPLITUDES]
    target, made = np.moveaxis(np.array(share), (0, -1), (-1, 0))
    label = "share of galaxies below"
    y = {"target": target, "translation": made}
    return Curve("Amplitude of the noise", "sigma / the target's median sigma", label, AMPLITUDES, y)


def curve_noise_correlation(sample: Sample) -> Curve:
    """Return the autocorrelation of the sky along rows and columns."""
    found = mean(noise(sample).each["correlation"])
    names = ((0, "target"), (1, "translation"))
    y = {f"{name}, along a column": found[:, kind, :LAGS] for kind, name in names}
    y |= {f"{name}, along a row": found[:, kind, LAGS:] for kind, name in names}
    return Curve("Correlation of the noise", "distance [pixel]", "correlation", np.arange(1.0, LAGS + 1), y)


def curve_noise_power(sample: Sample) -> Curve:
    """Return the power spectrum of the sky, as a map and as a function of frequency."""
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
    """Return the histogram of the sky's pixels to 5 sigma, with a normal distribution."""
    target, made = np.moveaxis(mean(noise(sample).each["histogram"]), 1, 0)[..., 1:-1]
    normal = np.broadcast_to(np.diff(ndtr(HISTOGRAM)), target.shape)
    y = {"target": target, "translation": made, "normal": normal}
    y = {name: np.where(share > 0, share, np.nan) for name, share in y.items()}
    middles = (HISTOGRAM[1:] + HISTOGRAM[:-1]) / 2
    label = "share of pixels in a bin"
    return Curve("Histogram of the noise", "pixel [the target's sigma]", label, middles, y, log_y=True)


def curve_noise_bands(sample: Sample) -> Curve:
    """Return the correlation of the sky of each band with that of every other band at the same pixel."""
    found = mean(noise(sample).each["band_correlation"])
    label = f"number of the other band ({', '.join(sample.bands)})"
    y = {"target": found[:, 0], "translation": found[:, 1]}
    return Curve("Correlation between bands", label, "correlation", np.arange(1.0, len(found) + 1), y)


def row(
    name: str, title: str, unit: str, meaning: str, formula: str, summary: Callable, alone: bool = True,
    of_means: bool = False, cap: float | None = None,
) -> Measure:  # fmt: skip
    """Return a measure of the sky's noise; it needs only the images."""
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
        "Whether the typical translation has too much noise (above 0) or too little (below 0).",
        "median over galaxies of log10(sigma of the translation's sky / sigma of the target's sky), sigma = 1.4826 MAD",
        amplitude_ratio,
    ),
    row(
        "noise_amplitude_ks",
        "Distribution of noise amplitudes",
        "",
        "Whether shallow and deep images are as frequent as in real images; 1 is no overlap.",
        "Kolmogorov-Smirnov distance over galaxies between the sigmas of the sky of translations and of targets",
        ks_of_ranks,
        alone=False,
    ),
    row(
        "noise_correlation",
        "Correlation of the noise",
        "",
        "Whether the noise of neighbouring pixels is as correlated as in real images.",
        f"largest |difference| from the target of the mean autocorrelation at 1 to {LAGS} pixels along rows and "
        "columns",
        correlation_distance,
        of_means=True,
    ),
    row(
        "noise_power",
        "Power spectrum of the noise",
        "dex",
        "The factor by which the noise is too strong or too weak at a typical scale.",
        f"mean of |log10(power / power of the target's sky)| over {RINGS} rings of frequency, each in two halves; at "
        f"most {WORST:g}",
        power_distance,
        of_means=True,
        cap=WORST,
    ),
    row(
        "noise_histogram",
        "Histogram of the noise",
        "",
        "Whether the brightness of sky pixels is distributed as in real sky.",
        "largest distance between the cumulative histograms of sky pixels, in units of the target's sigma and bins of "
        "0.5",
        histogram_distance,
        of_means=True,
    ),
    row(
        "noise_tails",
        "Tails of the noise",
        "dex",
        "Whether rare, extreme pixels are too frequent (above 0) or too rare (below 0) for the amplitude of the noise.",
        f"log10 of the number of sky pixels beyond {TAIL:g} sigma of their own image, over that number in the target",
        tail_ratio,
    ),
    row(
        "noise_bands",
        "Noise shared by bands",
        "",
        "Whether the noise of different bands is as correlated as in real images.",
        "largest |difference| from the target of the mean correlation coefficient of the sky of this band with "
        "another band",
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
