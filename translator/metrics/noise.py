"""Noise of one galaxy's sky in target and translation, both on the sky that `blank` finds in both.

Relative to the target's sigma, galaxy by galaxy and band by band. `sky.py` makes measures of it.
"""

from dataclasses import dataclass

import numpy as np
from scipy import fft

from translator.metrics.blank import Sky, sky_of
from translator.metrics.measure import Statistics
from translator.metrics.pieces import pieces, remembered
from translator.metrics.sample import Sample

LAGS = 6  # pixels to which noise is correlated with itself
RINGS = 6  # of the power spectrum, evenly from 0 to 0.5 cycles/pixel
HISTOGRAM = np.arange(-5.25, 5.26, 0.5)  # edges [sigma of the target]
TAIL = 3.0  # where the tails begin [the image's own sigma]


@dataclass(frozen=True)
class Noise:
    """What `noise` measures.

    Attributes:
        each: Of every galaxy; `sky_level` (galaxy, band), the others (galaxy, band, 2, ...), target first.
        power: (2, band, row, col) mean power spectra, zero frequency in the middle; units as in `powers`.
    """

    each: Statistics
    power: np.ndarray


@remembered
def noise(sample: Sample) -> Noise:
    """Noise and level of the sky; NaN for a galaxy without enough sky."""
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
    """`Noise.each`, of which every measure of the sky is made: they are measured together."""
    return noise(sample).each


def ranks_of(sigmas: np.ndarray) -> np.ndarray:
    """(galaxy, band, 2) rank of each sigma among those of all galaxies, of target and translation; -1 for NaN."""
    ranks = np.full(sigmas.shape, -1)
    for band in range(sigmas.shape[1]):
        known = ~np.isnan(sigmas[:, band])
        ranks[:, band][known] = np.unique(sigmas[:, band][known], return_inverse=True)[1]
    return ranks


def pixels_of(sky: Sky) -> np.ndarray:
    """(galaxy,) number of sky pixels; NaN where there are none."""
    count = sky.where.sum(axis=(1, 2))
    return np.where(count > 0, count, np.nan)


def correlations(sky: Sky) -> np.ndarray:
    """(galaxy, band, 2, 12) autocorrelation of the sky at 1 to `LAGS` pixels along a column, then along a row.

    Mean product of pairs of sky pixels over the mean square. NaN where the sky does not vary.
    """
    size = [fft.next_fast_len(side + LAGS, real=True) for side in sky.where.shape[-2:]]
    pairs = lag_values(np.abs(fft.rfft2(sky.where.astype(np.float32), s=size)) ** 2, size)[:, None]
    sums = lag_values(np.abs(fft.rfft2(sky.images, s=size)) ** 2, size)
    covariance = np.where(pairs > 0.5, sums / np.maximum(pairs, 1.0), np.nan)
    variance = covariance[..., :1]
    return np.moveaxis(covariance[..., 1:] / np.where(variance > 0, variance, np.nan), 0, 2)


def lag_values(power: np.ndarray, size: list[int]) -> np.ndarray:
    """(…, 1 + 2 LAGS) of the inverse transform of a power spectrum: at lag 0, then along the columns, then the rows."""
    products = fft.irfft2(power, s=size)
    down, across = products[..., 1 : LAGS + 1, 0], products[..., 0, 1 : LAGS + 1]
    return np.concatenate([products[..., :1, 0], down, across], axis=-1)


def powers(full: np.ndarray) -> np.ndarray:
    """(galaxy, band, 2, cell) means of power spectra in `RINGS` rings of frequency, each in two halves.

    `full` (2, galaxy, band, row, col) is |F|^2 over the number of sky pixels, of the sky over the target's sigma, zero
    where there is none: 1 for white noise of the target's sigma, whatever the mask. A ring's halves are where the
    frequency is more along the columns than along the rows, and the others. The mask mixes frequencies, and what is
    taken from the sky as its level is missing from the lowest: alike in target and translation, by a few per cent where
    there is most power and a fifth where there is least.
    """
    down, across = (fft.fftfreq(size) for size in full.shape[-2:])
    frequency = np.hypot(down[:, None], across)
    ring = np.floor(frequency / 0.5 * RINGS).astype(int)
    cell = np.where((ring < RINGS) & (frequency > 0), 2 * ring + (np.abs(down[:, None]) > np.abs(across)), 2 * RINGS)
    belongs = (cell.ravel()[:, None] == np.arange(2 * RINGS)).astype(float)
    belongs = (belongs / belongs.sum(axis=0)).astype(np.float32)
    return np.moveaxis(full.reshape(*full.shape[:3], -1) @ belongs, 0, 2).astype(np.float32)


def histograms(sky: Sky) -> np.ndarray:
    """(galaxy, band, 2, bin) share of sky pixels between `HISTOGRAM`, and beyond at both ends."""
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
    """(galaxy, band, 2) sky pixels that are beyond `TAIL` of the image's own sigma; NaN where that is zero."""
    sigma = np.where(sky.sigma > 0, sky.sigma, np.nan)
    relative = sigma / sigma[0]
    beyond = (np.abs(sky.images) > TAIL * relative[..., None, None]).sum(axis=(-2, -1))
    return np.moveaxis(np.where(np.isnan(relative), np.nan, beyond), 0, -1)


def band_correlations(sky: Sky) -> np.ndarray:
    """(galaxy, band, 2, band) correlation coefficients of the sky's bands with the others; NaN of each with itself.

    NaN too where a sky does not vary.
    """
    flat = sky.images.reshape(*sky.images.shape[:3], -1)
    covariance = flat @ flat.swapaxes(-1, -2)
    sigma = np.sqrt(np.einsum("kgbb->kgb", covariance))
    sigma = np.where(sigma > 0, sigma, np.nan)
    covariance[..., np.eye(covariance.shape[-1], dtype=bool)] = np.nan
    return np.moveaxis(covariance / (sigma[..., None] * sigma[..., None, :]), 0, 2)
