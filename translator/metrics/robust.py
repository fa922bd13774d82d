"""Means, scatters, slopes and bins that neither missing values nor a few odd galaxies disturb."""

import numpy as np

NORMAL = 1.4826  # standard deviation of a normal distribution over its median absolute deviation


def mean(values: np.ndarray) -> np.ndarray:
    """Mean over the first axis of the values that are there; NaN where there is none."""
    there = np.isfinite(values)
    if there.all() and len(values):
        return values.mean(axis=0)
    count = there.sum(axis=0)
    total = values.sum(axis=0, where=there)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def median(values: np.ndarray) -> np.ndarray:
    """Median over the first axis of the values that are there; NaN where there is none."""
    there = np.isfinite(values)
    ordered = np.sort(np.where(there, values, np.nan), axis=0)  # what is not there comes last
    count = there.sum(axis=0)
    middle = [np.maximum(at, 0)[None] for at in ((count - 1) // 2, count // 2)]
    if len(values) == 0:
        return np.full(values.shape[1:], np.nan)
    low, high = (np.take_along_axis(ordered, np.minimum(at, len(values) - 1), axis=0)[0] for at in middle)
    return (low + high) / 2


CLIP = 5.0  # scatters from the median beyond which a galaxy says nothing of a slope
CONSTANT = 1e-3  # standard deviation of a reference below which there is no slope
BINS = 8  # of a curve
EDGE = 0.1  # of an image's width: the frame on which the sky is measured


def spread(values: np.ndarray) -> np.ndarray:
    """1.4826 times the median absolute deviation over the first axis (a Gaussian's sigma); NaN of fewer than two."""
    scatter = NORMAL * median(np.abs(values - median(values)))
    return np.where(np.isfinite(values).sum(axis=0) > 1, scatter, np.nan)


def middle_and_sigma(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(band,) median, and 1.4826 times the median absolute deviation from it, of (band, pixel)."""
    middle = np.median(values, axis=1)
    return middle, NORMAL * np.median(np.abs(values - middle[:, None]), axis=1)


def slope(output: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """(band,) m of output = m * reference + c, by least squares over galaxies; NaN where the reference is constant.

    Left out are galaxies whose difference lies beyond `CLIP` scatters of all differences.
    """
    off = output - reference
    used = np.abs(off - median(off)) <= CLIP * spread(off)
    centred = np.where(used, reference - mean(np.where(used, reference, np.nan)), 0.0)
    variance = (centred**2).sum(axis=0)
    covariance = (centred * np.where(used, output, 0.0)).sum(axis=0)
    varied = variance > CONSTANT**2 * np.maximum(used.sum(axis=0), 1)
    return np.divide(covariance, variance, out=np.full(len(variance), np.nan), where=varied)


def in_bins(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Medians (n,) of x in bins of as many values each, all bands together, and those of y in them, (band, n).

    Both are (galaxy, band); one bin of NaN where there are no values.
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
    """The median of an image's frame, 0 where it has no values; (row, col), nanomaggy/pixel."""
    width = max(1, round(EDGE * len(image)))
    top, bottom, left, right = image[:width], image[-width:], image[width:-width, :width], image[width:-width, -width:]
    frame = np.concatenate([part.ravel() for part in (top, bottom, left, right)])
    frame = frame[np.isfinite(frame)]
    return float(np.median(frame)) if len(frame) else 0.0
