"""The noise of a stack by its weight map: the inverse variance of each pixel, up to a factor of the file."""

from collections.abc import Callable, Iterator

import numpy as np

from survey_tools.cutout import sky_sigma

SAMPLES = (1 / 6, 1 / 2, 5 / 6)  # places on a stack, along each axis, where the factor is measured
SAMPLE_SIZE = 136  # [pixel] rows, and columns, of a sample: enough blank sky for a robust deviation

Read = Callable[[np.ndarray, int], Iterator[np.ndarray]]  # starts (n, 2) and size -> windows (row, col), one by one


def noise_of_unit_weight(image: Read, weight: Read, shape: tuple[int, int], no_data: float | None) -> float:
    """Standard deviation of a blank pixel of weight 1 [image unit]; NaN where the stack has no blank sky.

    It is the median over the same few places of the stack of `shape` (rows, columns), whatever objects are cut from it,
    so that a cutout does not depend on its neighbours.
    """
    size = min(SAMPLE_SIZE, *shape)
    starts = np.array([[int((extent - size) * place) for extent, place in zip(shape, places, strict=True)]
                       for places in np.stack(np.meshgrid(SAMPLES, SAMPLES), -1).reshape(-1, 2)])  # fmt: skip
    found = []
    for counts, weights in zip(image(starts, size), weight(starts, size), strict=True):
        missing = ~(weights > 0) | (counts == no_data)
        if not missing.all():
            found.append(sky_sigma(counts, missing) * np.sqrt(np.median(weights[~missing].astype(float))))
    found = np.array(found, float)
    return float(np.median(found[np.isfinite(found)])) if np.isfinite(found).any() else np.nan


def apply_weights(counts: np.ndarray, weights: np.ndarray, unit: float) -> float:
    """Make NaN of the counts (row, col) that have no weight; returns the noise of a blank pixel of the others.

    `unit` is that of weight 1. NaN where no pixel has a weight.
    """
    good = weights > 0
    counts[~good] = np.nan
    return unit / float(np.sqrt(np.median(weights[good].astype(float)))) if good.any() else np.nan
