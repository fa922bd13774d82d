"""Whether several translations of a galaxy spread as much as they say: coverage of their intervals, and PIT.

Draws that differ from one another as the real image differs from them are exchangeable with it: the noise of the target
is in the draws, too. From K draws of mean m and standard deviation s the stated interval is therefore that
of one more of them, m ± t s √(1 + 1/K), t of Student's distribution with K − 1 degrees of freedom; it must hold the
target in just 68 % (95 %) of all cases. Truth without noise is no such draw, as it sits in their middle; it is asked
whether one translation ± the draws' spread about their own light holds it, which must be so as often. The rank of the
target among the draws, any of 0 … K with equal chance, needs no Gaussian noise: its distribution is the PIT.
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
    """1 where the interval of `level` from draws (draw, …) holds the value (…), else 0; NaN where one is missing.

    NaN everywhere for a single draw, which states no interval.
    """
    count = len(draws)
    if count < 2:
        return np.full(value.shape, np.nan)
    reach = stdtrit(count - 1, (1 + level) / 2) * np.sqrt(1 + 1 / count)
    off = np.abs(value - draws.mean(axis=0))
    return np.where(np.isfinite(off), off <= reach * draws.std(axis=0, ddof=1), np.nan)


def _held(name: str, value: np.ndarray, draws: np.ndarray) -> Statistics:
    return {f"{name}_in_{100 * level:.0f}": held(value, draws, level) for level in LEVELS}


@remembered
def pixel_ranks(sample: Sample) -> Statistics:
    """Where each pixel of the target stands among the draws' same pixel.

    Returns:
        pixel_ranks (galaxy, band, draws + 1): the share of the pixels of each rank, NaN without any pixel; and the
        shares of the pixels that intervals hold, pixels_in_68 and pixels_in_95 (galaxy, band).
    """
    count = len(sample.draws)
    parts = []
    for first in range(0, len(sample), AT_ONCE):
        draws, target = sample.draws[:, first : first + AT_ONCE], sample.target[first : first + AT_ONCE]
        shape = target.shape[:2]
        inside = _held("pixels", target, draws)
        rank = (draws < target).sum(axis=0)
        rank[~np.isfinite(target - draws.sum(axis=0))] = count + 1  # set apart
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
    """Where the target's flux in the aperture stands among the draws'.

    Returns:
        flux_ranks (galaxy, band, draws + 1): 1 at the rank, NaN without a flux; flux_pit (galaxy, band): the middle of
        the rank's PIT values; flux_in_68 and flux_in_95 (galaxy, band): 1 where the interval holds the flux.
    """
    draws = aperture_flux(sample.draws, sample.pixel_scale)
    return _ranks("flux", aperture_flux(sample.target, sample.pixel_scale), draws)


def truth_ranks(sample: Sample) -> Statistics:
    """Where the translation's error of flux stands among what its draws' noise adds to the flux of its signal.

    Returns:
        truth_ranks, truth_pit, truth_in_68 and truth_in_95, as those of `flux_ranks`.
    """
    flux = partial(aperture_flux, pixel_scale=sample.pixel_scale)
    error = flux(sample.output) - flux(sample.truth)
    return _ranks("truth", error, flux(sample.draws) - flux(sample.signal))


def _ranks(name: str, value: np.ndarray, draws: np.ndarray) -> Statistics:
    """Of values (galaxy, band) among draws (draw, galaxy, band)."""
    rank = (draws < value).sum(axis=0)
    ranks = (rank[..., None] == np.arange(len(draws) + 1)).astype(float)
    there = np.isfinite(value) & np.isfinite(draws).all(axis=0)
    ranks[~there] = np.nan
    pit = np.where(there, (rank + 0.5) / (len(draws) + 1), np.nan)
    return {f"{name}_ranks": ranks, f"{name}_pit": pit, **_held(name, value, draws)}


def coverage(statistics: Statistics, name: str) -> np.ndarray:
    """(band,) mean over the galaxies of the share in the interval."""
    return mean(statistics[name])


def unflatness(statistics: Statistics, name: str) -> np.ndarray:
    """(band,) the largest distance of the cumulative distribution of the PIT values from a uniform one."""
    ranks = mean(statistics[name])
    return np.abs(np.cumsum(ranks, axis=-1) - np.arange(1, ranks.shape[-1] + 1) / ranks.shape[-1]).max(axis=-1)


def curve_spread(sample: Sample) -> Curve:
    """PIT histograms of pixels and of aperture fluxes, as densities: 1 all over where the spread is right."""
    pixels = mean(pixel_ranks(sample)["pixel_ranks"])
    fluxes = mean(flux_ranks(sample)["flux_ranks"])
    count = pixels.shape[-1]
    y = {"pixels": count * pixels, "aperture flux": count * fluxes, "right": np.ones(pixels.shape)}
    return Curve("Place of the real image among the draws", "PIT", "density", (np.arange(count) + 0.5) / count, y)


def _coverage(kind: str, level: float, what: str, meaning: str, each, needs: tuple[str, ...]) -> Measure:
    percent = f"{100 * level:.0f}"
    return Measure(
        name=f"coverage_{kind}_{percent}",
        title=f"Coverage of the {percent} % interval: {what}",
        unit="",
        meaning=meaning,
        formula=f"Share of values within m ± t s √(1 + 1/K): mean and standard deviation of K draws, t the two-sided "
        f"{percent} % point of Student's distribution with K − 1 degrees of freedom; exact for Gaussian noise.",
        source="Prediction interval of one more draw (Student's t)",
        perfect=level,
        needs=needs,
        each=each,
        summary=partial(coverage, name=f"{kind}_in_{percent}"),
        alone=kind == "pixels",  # an aperture is in the interval or not
    )


def _flatness(kind: str, what: str, each, ranks: str) -> Measure:
    return Measure(
        name=f"pit_{kind}",
        title=f"Flatness of the PIT: {what}",
        unit="",
        meaning="Whether the real image lies among the draws as one of them would: not off to a side, not too central.",
        formula="Largest distance of the cumulative share of the target's ranks among the draws from an even one.",
        source=SOURCE,
        perfect=0.0,
        needs=("draws",),
        each=each,
        summary=partial(unflatness, name=ranks),
        alone=kind == "pixels",
    )


PIXELS = "How often a real pixel lies in the interval of the draws' same pixel; both have noise."
FLUX = f"How often the real image's flux within {RADIUS:.0f} arcsec lies in the interval of the draws' fluxes."
TRUTH = "How often the true flux lies within one translation's flux ± what the draws' noise does to it."
MEASURES: tuple[Measure, ...] = (
    *(_coverage("pixels", level, "pixels", PIXELS, pixel_ranks, ("draws",)) for level in LEVELS),
    *(_coverage("flux", level, "aperture flux", FLUX, flux_ranks, ("draws",)) for level in LEVELS),
    *(_coverage("truth", level, "true flux", TRUTH, truth_ranks, ("draws", "truth")) for level in LEVELS),
    _flatness("pixels", "pixels", pixel_ranks, "pixel_ranks"),
    _flatness("flux", "aperture flux", flux_ranks, "flux_ranks"),
)
CURVES = (curve_spread,)
