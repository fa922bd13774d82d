"""Whether several translations of a galaxy differ as much as they should: coverage of their intervals, and PIT.

Draws are exchangeable with the real image if the real image differs from them as they differ from each other; the
draws contain the noise of the target, too. For K draws of mean m and standard deviation s, the interval of one more
draw is m ± t s √(1 + 1/K), with t of Student's distribution with K − 1 degrees of freedom. It must contain the
target in 68 % (95 %) of all cases. The truth has no noise, so it is not such a draw; it must lie as often in the
interval of one translation ± the spread of the draws about their own signal. The rank of the target among the draws
is any of 0 … K with equal probability, for noise of any distribution; the distribution of this rank is the PIT
(probability integral transform).
"""

from functools import partial

import numpy as np
from scipy.special import stdtrit

from translator.metrics.apertures import RADIUS, aperture_flux
from translator.metrics.measure import Curve, Measure, Sample, Statistics, remembered
from translator.metrics.robust import mean

SOURCE = "Gneiting, Balabdaoui & Raftery (2007), J. R. Statist. Soc. B 69, 243"
LEVELS = (0.68, 0.95)
AT_ONCE = 16  # galaxies whose draws are copied at a time


def held(value: np.ndarray, draws: np.ndarray, level: float) -> np.ndarray:
    """Return whether the interval of a level from draws contains a value.

    Parameters
    ----------
    value : array
        Values (…).
    draws : array
        Draws (draw, …).
    level : float
        Probability of the interval, such as 0.68.

    Returns
    -------
    array
        1 where it contains the value, else 0; NaN where a value is missing, and everywhere for a single draw.
    """
    count = len(draws)
    if count < 2:
        return np.full(value.shape, np.nan)
    reach = stdtrit(count - 1, (1 + level) / 2) * np.sqrt(1 + 1 / count)
    off = np.abs(value - draws.mean(axis=0))
    return np.where(np.isfinite(off), off <= reach * draws.std(axis=0, ddof=1), np.nan)


def _held(name: str, value: np.ndarray, draws: np.ndarray) -> Statistics:
    """Return `held` of each of `LEVELS`, by name."""
    return {f"{name}_in_{100 * level:.0f}": held(value, draws, level) for level in LEVELS}


@remembered
def pixel_ranks(sample: Sample) -> Statistics:
    """Return the rank of each pixel of the target among the same pixel of the draws.

    Returns
    -------
    dict
        "pixel_ranks" (galaxy, band, draws + 1): the share of the pixels with each rank; NaN for an image without
        pixels. "pixels_in_68" and "pixels_in_95" (galaxy, band): the share of the pixels in the intervals.
    """
    count = len(sample.draws)
    parts = []
    for first in range(0, len(sample), AT_ONCE):
        draws, target = sample.draws[:, first : first + AT_ONCE], sample.target[first : first + AT_ONCE]
        shape = target.shape[:2]
        inside = _held("pixels", target, draws)
        rank = (draws < target).sum(axis=0)
        rank[~np.isfinite(target - draws.sum(axis=0))] = count + 1  # no rank
        rank = rank.reshape(shape[0] * shape[1], -1)
        start = (count + 2) * np.arange(len(rank))[:, None]
        histogram = np.bincount((rank + start).ravel(), minlength=start.size * (count + 2))
        ranks = histogram.reshape(*shape, count + 2)[..., :-1]
        total = ranks.sum(axis=-1, keepdims=True)
        part = {"pixel_ranks": np.divide(ranks, total, out=np.full(ranks.shape, np.nan), where=total > 0)}
        part |= {name: mean(np.moveaxis(value.reshape(*shape, -1), -1, 0)) for name, value in inside.items()}
        parts.append(part)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


@remembered
def flux_ranks(sample: Sample) -> Statistics:
    """Return the rank of the target's flux in the aperture among those of the draws.

    Returns
    -------
    dict
        "flux_ranks" (galaxy, band, draws + 1): 1 at the rank, NaN without a flux. "flux_pit" (galaxy, band): the middle
        of the PIT values of the rank. "flux_in_68" and "flux_in_95" (galaxy, band): 1 if the interval contains the
        flux.
    """
    draws = aperture_flux(sample.draws, sample.pixel_scale)
    return _ranks("flux", aperture_flux(sample.target, sample.pixel_scale), draws)


def truth_ranks(sample: Sample) -> Statistics:
    """Return the rank of the translation's error of flux among the fluxes that noise adds to the draws.

    Returns
    -------
    dict
        "truth_ranks", "truth_pit", "truth_in_68" and "truth_in_95", as in `flux_ranks`.
    """
    flux = partial(aperture_flux, pixel_scale=sample.pixel_scale)
    error = flux(sample.output) - flux(sample.truth)
    return _ranks("truth", error, flux(sample.draws) - flux(sample.signal))


def _ranks(name: str, value: np.ndarray, draws: np.ndarray) -> Statistics:
    """Return ranks, PIT values and coverage of values (galaxy, band) among draws (draw, galaxy, band)."""
    rank = (draws < value).sum(axis=0)
    ranks = (rank[..., None] == np.arange(len(draws) + 1)).astype(float)
    there = np.isfinite(value) & np.isfinite(draws).all(axis=0)
    ranks[~there] = np.nan
    pit = np.where(there, (rank + 0.5) / (len(draws) + 1), np.nan)
    return {f"{name}_ranks": ranks, f"{name}_pit": pit, **_held(name, value, draws)}


def coverage(statistics: Statistics, name: str) -> np.ndarray:
    """Return the mean over the galaxies (band,) of the share in the interval."""
    return mean(statistics[name])


def unflatness(statistics: Statistics, name: str) -> np.ndarray:
    """Return the largest distance (band,) of the cumulative distribution of PIT values from a uniform one."""
    ranks = mean(statistics[name])
    return np.abs(np.cumsum(ranks, axis=-1) - np.arange(1, ranks.shape[-1] + 1) / ranks.shape[-1]).max(axis=-1)


def curve_spread(sample: Sample) -> Curve:
    """Return PIT histograms of pixels and of aperture fluxes, as densities; 1 everywhere if the spread is right."""
    pixels = mean(pixel_ranks(sample)["pixel_ranks"])
    fluxes = mean(flux_ranks(sample)["flux_ranks"])
    count = pixels.shape[-1]
    y = {"pixels": count * pixels, "aperture flux": count * fluxes, "right": np.ones(pixels.shape)}
    return Curve("Rank of the real image among the draws", "PIT", "density", (np.arange(count) + 0.5) / count, y)


def _coverage(kind: str, level: float, what: str, meaning: str, each, needs: tuple[str, ...]) -> Measure:
    """Return the measure of the coverage of one interval."""
    percent = f"{100 * level:.0f}"
    return Measure(
        name=f"coverage_{kind}_{percent}",
        title=f"Coverage of the {percent} % interval: {what}",
        unit="",
        meaning=meaning,
        formula="Share of values within m ± t s √(1 + 1/K). m and s are mean and standard deviation of K draws, t is "
        f"the two-sided {percent} % point of Student's distribution with K − 1 degrees of freedom; exact for Gaussian "
        "noise.",
        source="Prediction interval of one more draw (Student's t)",
        perfect=level,
        needs=needs,
        each=each,
        summary=partial(coverage, name=f"{kind}_in_{percent}"),
        alone=kind == "pixels",  # an aperture is in the interval or not
    )


def _flatness(kind: str, what: str, each, ranks: str) -> Measure:
    """Return the measure of the flatness of one PIT."""
    return Measure(
        name=f"pit_{kind}",
        title=f"Flatness of the PIT: {what}",
        unit="",
        meaning="Whether the real image lies among the draws as one of them would: neither too far out nor too "
        "central.",
        formula="Largest distance between the cumulative distribution of the target's ranks among the draws and an "
        "even distribution.",
        source=SOURCE,
        perfect=0.0,
        needs=("draws",),
        each=each,
        summary=partial(unflatness, name=ranks),
        alone=kind == "pixels",
    )


PIXELS = "How often a real pixel lies in the interval of the same pixel of the draws; both have noise."
FLUX = f"How often the flux of the real image within {RADIUS:.0f} arcsec lies in the interval of the draws."
TRUTH = "How often the true flux lies in the interval of one translation: its flux ± the noise of the draws."
MEASURES: tuple[Measure, ...] = (
    *(_coverage("pixels", level, "pixels", PIXELS, pixel_ranks, ("draws",)) for level in LEVELS),
    *(_coverage("flux", level, "aperture flux", FLUX, flux_ranks, ("draws",)) for level in LEVELS),
    *(_coverage("truth", level, "true flux", TRUTH, truth_ranks, ("draws", "truth")) for level in LEVELS),
    _flatness("pixels", "pixels", pixel_ranks, "pixel_ranks"),
    _flatness("flux", "aperture flux", flux_ranks, "flux_ranks"),
)
CURVES = (curve_spread,)
