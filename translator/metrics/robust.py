"""Means, scatters, slopes and bins that neither missing values nor outliers disturb."""

import numpy as np

NORMAL = 1.4826  # standard deviation of a normal distribution over its median absolute deviation


def mean(values: np.ndarray) -> np.ndarray:
    """Return the mean over the first axis of the finite values; NaN where there is none."""
    there = np.isfinite(values)
    if there.all() and len(values):
        return values.mean(axis=0)
    count = there.sum(axis=0)
    total = values.sum(axis=0, where=there)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def median(values: np.ndarray) -> np.ndarray:
    """Return the median over the first axis of the finite values; NaN where there is none."""
    there = np.isfinite(values)
    ordered = np.sort(np.where(there, values, np.nan), axis=0)  # NaN comes last
    count = there.sum(axis=0)
    middle = [np.maximum(at, 0)[None] for at in ((count - 1) // 2, count // 2)]
    if len(values) == 0:
        return np.full(values.shape[1:], np.nan)
    low, high = (np.take_along_axis(ordered, np.minimum(at, len(values) - 1), axis=0)[0] for at in middle)
    return (low + high) / 2


CLIP = 5.0  # scatters from the median, beyond which a galaxy is left out of a slope
CONSTANT = 1e-3  # standard deviation of a reference below which there is no slope
BINS = 8  # number of bins of a curve
EDGE = 0.1  # width of the frame on which the sky is measured, as a share of the image's width


def spread(values: np.ndarray) -> np.ndarray:
    """Return 1.4826 times the median absolute deviation over the first axis, which is the sigma of a Gaussian.

    NaN where fewer than two values are finite.
    """
    scatter = NORMAL * median(np.abs(values - median(values)))
    return np.where(np.isfinite(values).sum(axis=0) > 1, scatter, np.nan)


def middle_and_sigma(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the median and 1.4826 times the median absolute deviation of each band.

    Parameters
    ----------
    values : array
        Finite values (band, pixel).

    Returns
    -------
    middle, sigma : array
        Both (band,).
    """
    middle = np.median(values, axis=1)
    return middle, NORMAL * np.median(np.abs(values - middle[:, None]), axis=1)


def slope(output: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return the slope m (band,) of output = m * reference + c by least squares over the galaxies.

    Galaxies whose difference is more than `CLIP` scatters from the median difference are left out. NaN if the reference
    is constant.
    """
    off = output - reference
    used = np.abs(off - median(off)) <= CLIP * spread(off)
    centred = np.where(used, reference - mean(np.where(used, reference, np.nan)), 0.0)
    variance = (centred**2).sum(axis=0)
    covariance = (centred * np.where(used, output, 0.0)).sum(axis=0)
    varied = variance > CONSTANT**2 * np.maximum(used.sum(axis=0), 1)
    return np.divide(covariance, variance, out=np.full(len(variance), np.nan), where=varied)


def in_bins(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return medians in bins of equal numbers of values, shared by all bands.

    Parameters
    ----------
    x, y : array
        Values (galaxy, band).

    Returns
    -------
    x, y : array
        Medians (n,) of x and (band, n) of y in each bin. One bin with NaN if no x is finite.
    """
    if not np.isfinite(x).any():
        return np.full(1, np.nan), np.full((x.shape[1], 1), np.nan)
    edges = np.unique(np.nanquantile(x, np.linspace(0, 1, BINS + 1)))
    place = np.clip(np.searchsorted(edges, x, side="right") - 1, 0, max(len(edges) - 2, 0))
    bins = [np.isfinite(x) & (place == number) for number in range(max(len(edges) - 1, 1))]
    bins = [where for where in bins if where.any()]
    medians = [median(np.where(where, y, np.nan)) for where in bins]
    return np.array([np.median(x[where]) for where in bins]), np.stack(medians, axis=1)


def sky_level(image: np.ndarray) -> float:
    """Return the median of the frame of an image (row, col) [nanomaggy/pixel]; 0 if the frame has no values."""
    width = max(1, round(EDGE * len(image)))
    top, bottom, left, right = image[:width], image[-width:], image[width:-width, :width], image[width:-width, -width:]
    frame = np.concatenate([part.ravel() for part in (top, bottom, left, right)])
    frame = frame[np.isfinite(frame)]
    return float(np.median(frame)) if len(frame) else 0.0
