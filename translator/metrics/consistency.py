"""Consistency with the input: whether the translation, seen again by the input's survey, is the input.

Many images of the richer survey look alike to the poorer one, and any of them may be behind an input. But seen through
the poorer survey's seeing, pixels and filters, a right translation differs from the input by nothing but the input's
noise. That can be asked of real images, without any truth.
"""

from collections.abc import Callable

import numpy as np

from translator.metrics.measure import Curve, Measure, Sample, Statistics
from translator.metrics.robust import median

CLIPPED = 5.0  # standard deviations of the input's noise as which a pixel counts at most
AT_ONCE = 32  # galaxies in memory


def chi_square(sample: Sample) -> Statistics:
    """(galaxy, band) mean over the pixels of (seen - source)² over the variance of the input's noise.

    The variance is that of blank sky and, where the input's gain is known, of the photons of what is seen: σ² + seen /
    gain. A pixel counts as at most `CLIPPED`² so that a neighbour that moves or varies does not decide. NaN where the
    noise is not known.
    """
    found = np.full(sample.source_sigma.shape, np.nan)
    gain = np.full(found.shape, np.nan) if sample.source_gain is None else sample.source_gain
    photons = np.where(np.isfinite(gain) & (gain > 0), 1 / np.where(gain > 0, gain, 1.0), 0.0)[..., None, None]
    for start in range(0, len(found), AT_ONCE):
        some = slice(start, start + AT_ONCE)
        seen = np.asarray(sample.seen[some], float)
        variance = np.asarray(sample.source_sigma[some], float)[..., None, None] ** 2
        variance = np.where(variance > 0, variance, np.nan) + np.maximum(seen, 0.0) * photons[some]
        square = np.minimum((seen - sample.source[some]) ** 2 / variance, CLIPPED**2)
        there = np.isfinite(square)
        count = there.sum(axis=(-2, -1))
        total = np.where(there, square, 0.0).sum(axis=(-2, -1))
        found[some] = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return {"consistency": found}


def middle(statistics: Statistics) -> np.ndarray:
    """(band,) median over galaxies."""
    return median(statistics["consistency"])


MEASURES: tuple[Measure, ...] = (
    Measure(
        name="consistency",
        title="Consistency with the input",
        unit="",
        meaning="χ² a pixel of the input, had the translation been behind it: more than 1 is light that the input "
        "denies, less than 1 is light that follows the input's noise.",
        formula="Median over the galaxies of the mean over the pixels of (O(signal) − input)² / (σ² + O(signal) / "
        "gain): O is the operator from the richer survey's images to the poorer one's, of the first run that has one, "
        f"or else fitted to training pairs; σ is that of the input's blank sky. A pixel counts {CLIPPED**2:g} at most.",
        source="χ² of the observation; a condition on solutions as in Puetter, Gosnell & Yahil (2005), ARA&A 43, 139",
        perfect=1.0,
        needs=("seen", "source", "source_sigma"),
        each=chi_square,
        summary=middle,
        cap=CLIPPED**2,
    ),
)
CURVES: tuple[Callable[[Sample], Curve], ...] = ()
