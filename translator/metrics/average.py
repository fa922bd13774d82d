"""Means and medians over galaxies, some of which have no value."""

import numpy as np


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
