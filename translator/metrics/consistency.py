"""Consistency with the input: whether the translation, observed again by the survey of the input, is the input.

Different images of the richer survey can look the same to the poorer one, and any of them may belong to an input.
But a right translation, observed through the seeing, pixels and filters of the poorer survey, differs from the
input only by the noise of the input. This can be tested on real images, without a truth.
"""

from collections.abc import Callable

import numpy as np

from translator.metrics.measure import Curve, Measure, Sample, Statistics
from translator.metrics.robust import median

CLIPPED = 5.0  # standard deviations of the input's noise that a pixel counts at most
AT_ONCE = 32  # galaxies in memory


def chi_square(sample: Sample) -> Statistics:
    """Return the mean over the pixels of (seen - source)² over the variance of the input's noise.

    The variance is that of blank sky plus, if the gain is known, the photon noise of the observed light: σ² + seen /
    gain. A pixel counts at most `CLIPPED`², so that a neighbour that moves or varies does not decide.

    Parameters
    ----------
    sample : Sample
        Its `seen`, `source`, `source_sigma` and `source_gain` are used.

    Returns
    -------
    dict
        "consistency" (galaxy, band); NaN where the noise is not known.
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
    """Return the median over the galaxies (band,)."""
    return median(statistics["consistency"])


MEASURES: tuple[Measure, ...] = (
    Measure(
        name="consistency",
        title="Consistency with the input",
        unit="",
        meaning="χ² per pixel between the input and the translation as the survey of the input would observe it. Above "
        "1: the translation shows light that the input does not have. Below 1: it follows the noise of the input.",
        formula="Median over the galaxies of the mean over the pixels of (O(signal) − input)² / (σ² + O(signal) / "
        "gain). O is the operator that turns images of the richer survey into those of the poorer one: that of the "
        "first run that has one, or else one that is fitted to training pairs. σ is the noise of the blank sky of the "
        f"input. A pixel counts at most {CLIPPED**2:g}.",
        source="χ² of the observation; a condition on solutions as in Puetter, Gosnell & Yahil (2005), ARA&A 43, 139",
        perfect=1.0,
        needs=("seen", "source", "source_sigma"),
        each=chi_square,
        summary=middle,
        cap=CLIPPED**2,
    ),
)
CURVES: tuple[Callable[[Sample], Curve], ...] = ()
