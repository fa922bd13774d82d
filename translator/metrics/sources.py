"""Sources that translations invent or lose, and how uneven their residuals are.

A source counts as lost if it is there beyond doubt (`SURE`) in what should be, and not even faintly (`FAINT`) in the
translation; as invented if it is the other way round. So noise, and a source near the limit, make neither. Where there
is no truth, the target's image says what should be, down to its own detection limit, in measures of other names.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import sep

from translator.metrics.blank import all_bands, blank
from translator.metrics.measure import Curve, Measure, Sample, Statistics, in_pieces, kept, remembered, spread_evenly
from translator.metrics.photometry import LEAST_PIXELS, SIGNIFICANT, central, detection, magnitude
from translator.metrics.robust import median

MATCH = 1.0  # within which two sources are the same, and least distance from the edge of one that counts [arcsec]
RADIUS = 3.0  # of the circle on which residuals are compared with themselves [arcsec]
X_LABEL, Y_LABEL = "magnitude [mag]", "share of sources"
MAGNITUDES = np.arange(12.0, 31.0)  # edges of the bins of the curves


@dataclass(frozen=True)
class SourceSearch:
    """How sources are looked for.

    Attributes:
        threshold: Under sep's 3 x 3 kernel [sigma of a blank pixel of the target].
        contrast: Least share of the light of a source that is told from its neighbour.
        levels: Thresholds at which neighbours are looked for.
    """

    threshold: float
    contrast: float
    levels: int


SURE = SourceSearch(threshold=3.0, contrast=0.02, levels=32)
FAINT = SourceSearch(threshold=1.5, contrast=0.001, levels=64)

MOST = 1000  # galaxies in which sources are looked for band by band: a noisy image takes a tenth of a second
REMEMBERED = 40_000  # images whose sources are kept


def sources_in(image: np.ndarray, sigma: float, depth: SourceSearch) -> np.ndarray:
    """Places, peaks and fluxes [sigma] of the sources of an image (row, col), as sep finds them."""
    unknown = ~np.isfinite(image)
    relative = np.where(unknown, 0.0, image).astype(np.float64) / sigma
    found = sep.extract(
        relative,
        depth.threshold,
        mask=unknown,
        minarea=LEAST_PIXELS,
        deblend_cont=depth.contrast,
        deblend_nthresh=depth.levels,
        clean=depth is SURE,
    )
    return found[["x", "y", "xcpeak", "ycpeak", "flux"]].copy()


remembered_sources = kept(REMEMBERED)(sources_in)  # of an image against which many are held


def unmatched(sources: np.ndarray, others: np.ndarray, reach: float) -> np.ndarray:
    """(source,) whether neither its centroid nor its peak is within `reach` pixels of that of one of the others."""
    alone = np.ones(len(sources), bool)
    for row, col in (("y", "x"), ("ycpeak", "xcpeak")):
        distance = np.hypot(sources[row][:, None] - others[row], sources[col][:, None] - others[col])
        alone &= ~(distance <= reach).any(axis=1)
    return alone


def numbers_of(should: np.ndarray, made: np.ndarray, sigma: float, scale: float) -> np.ndarray:
    """(4, bin) numbers of sources of two images (row, col) in bins of magnitude, the first and last without end.

    Sources that should be, those of them that are lost, sources that are made, those of them that are invented.
    Magnitudes are isophotal.
    """
    found = []
    sure = [remembered_sources(should, sigma, SURE)] * 2
    if not np.array_equal(should, made):
        sure[1] = sources_in(made, sigma, SURE)
    reach, (rows, cols) = MATCH / scale, should.shape
    for mine, theirs, other, find in (
        (*sure, made, sources_in),
        (*sure[::-1], should, remembered_sources),
    ):
        inside = (mine["y"] >= reach) & (mine["x"] >= reach) & (mine["y"] < rows - reach) & (mine["x"] < cols - reach)
        mine = mine[inside]
        magnitudes = np.clip(magnitude(mine["flux"] * sigma), MAGNITUDES[0], MAGNITUDES[-1])
        alone = unmatched(mine, theirs, reach)
        if alone.any():
            alone &= unmatched(mine, find(other, sigma, FAINT), reach)
        found += [np.histogram(some, MAGNITUDES)[0] for some in (magnitudes, magnitudes[alone])]
    return np.array(found, float)


@remembered
def counted(sample: Sample) -> np.ndarray:
    """(galaxy, band, 4, bin) `numbers_of` of `signal` against the truth; NaN where sigma is unknown.

    Of `MOST` galaxies, spread evenly over the sample, and NaN elsewhere.

    Of `output` against the target where there is no truth.
    """
    found = np.full((*sample.sigma.shape, 4, len(MAGNITUDES) - 1), np.nan)
    pair = (sample.target, sample.output) if sample.truth is None else (sample.truth, sample.signal)
    some = np.isin(np.arange(len(sample)), spread_evenly(len(sample), min(MOST, len(sample))))
    for at in map(tuple, np.argwhere((sample.sigma > 0) & some[:, None])):
        found[at] = numbers_of(*(images[at] for images in pair), sample.sigma[at], sample.pixel_scale)
    return found


def totals(found: np.ndarray, prefix: str) -> Statistics:
    """(galaxy, band) each of the four `numbers_of`, of all magnitudes."""
    names = ("sources_there", "sources_lost", "sources_made", "sources_invented")
    return {f"{prefix}{name}": found[:, :, kind].sum(axis=-1) for kind, name in enumerate(names)}


def against_truth(sample: Sample) -> Statistics:
    """(galaxy, band) sources in the truth, those lost, sources in the signal, those invented."""
    return totals(counted(sample), "")


@in_pieces
def against_target(sample: Sample) -> Statistics:
    """(galaxy, band) sources in the target, those lost, sources in the output, those invented.

    Looked for in all bands together, where noise is least: the same numbers for each band.
    """
    pair = [all_bands(images, sample.sigma) for images in (sample.target, sample.output)]
    found = np.array([numbers_of(*images, 1.0, sample.pixel_scale) for images in zip(*pair, strict=True)])
    return totals(np.repeat(found[:, None], len(sample.bands), axis=1), "target_")


def share(part: str, whole: str, values: Statistics) -> np.ndarray:
    """(band,) sum of one statistic over that of another; NaN where that is zero."""
    some, all_of = (np.nansum(values[name], axis=0) for name in (part, whole))
    return some / np.where(all_of > 0, all_of, np.nan)


@in_pieces
def asymmetries(sample: Sample) -> Statistics:
    """(galaxy, band) residual asymmetry: of what is left when the truth is taken from the signal."""
    found = np.full(sample.sigma.shape, np.nan)
    sky = blank(sample)
    for galaxy, image in enumerate(detection(sample)):
        number = central(sources := sep.extract(image, SURE.threshold, minarea=LEAST_PIXELS), image.shape)
        if number >= 0:
            centre = sources["y"][number], sources["x"][number]
            found[galaxy] = asymmetry(sample, galaxy, centre, sky[galaxy])
    return {"residual_asymmetry": found}


def asymmetry(sample: Sample, galaxy: int, centre: tuple[float, float], sky: np.ndarray) -> np.ndarray:
    """(band,) sum of |R - R turned by 180 deg| over twice that of |truth|, within `RADIUS`, less what the sky adds.

    It is turned about the half of a pixel next to `centre`. NaN where the truth is not significant there.
    """
    truth = sample.truth[galaxy].astype(np.float64)
    residual = sample.signal[galaxy] - truth
    rows, cols = np.indices(sky.shape)
    other_rows, other_cols = round(2 * centre[0]) - rows, round(2 * centre[1]) - cols
    inside = (other_rows >= 0) & (other_rows < sky.shape[0]) & (other_cols >= 0) & (other_cols < sky.shape[1])
    turned = np.where(inside, other_rows, 0), np.where(inside, other_cols, 0)
    difference = np.abs(residual - residual[:, turned[0], turned[1]])
    known = inside & np.isfinite(difference).all(axis=0) & np.isfinite(truth).all(axis=0)
    near = known & (np.hypot(rows - centre[0], cols - centre[1]) <= RADIUS / sample.pixel_scale)
    empty = known & sky & sky[turned]
    if not near.any():
        return np.full(len(truth), np.nan)
    background = difference[:, empty].mean(axis=1) if empty.any() else 0.0
    light = truth[:, near]
    significant = light.sum(axis=1) >= SIGNIFICANT * sample.sigma[galaxy] * np.sqrt(near.sum())
    total = np.where(significant, 2 * np.abs(light).sum(axis=1), np.nan)
    return (difference[:, near] - np.expand_dims(background, -1)).sum(axis=1) / total


def median_asymmetry(values: Statistics) -> np.ndarray:
    """(band,) median over galaxies."""
    return median(values["residual_asymmetry"])


def curve_sources(sample: Sample) -> Curve:
    """Shares of sources lost and invented in each band, against magnitude: against the truth, else the target."""
    numbers = np.nansum(counted(sample), axis=0)
    numbers = np.where(numbers[:, (0, 0, 2, 2)] > 0, numbers, np.nan)
    y = {"lost": numbers[:, 1] / numbers[:, 0], "invented": numbers[:, 3] / numbers[:, 2]}
    middles = (MAGNITUDES[1:] + MAGNITUDES[:-1]) / 2
    seen = ~np.isnan(numbers).all(axis=(0, 1))
    title = f"Sources lost and invented, against the {'target' if sample.truth is None else 'truth'}"
    return Curve(title, X_LABEL, Y_LABEL, middles[seen], {n: v[:, seen] for n, v in y.items()})


def counts(against: str, needs: tuple[str, ...], prefix: str, each: Callable[[Sample], Statistics]) -> list[Measure]:
    """Two measures: sources lost and sources invented, against the truth or the target."""
    limit = f"{SURE.threshold:g} sigma in one, not {FAINT.threshold:g} sigma within {MATCH:g}″ in the other"
    limit += f"; in at most {MOST} galaxies" if needs else ""
    formulas = {
        "lost": (f"Share of sources that are in the {against} and not in translations", "there"),
        "invented": (f"Share of sources that are in translations and not in the {against}", "made"),
    }
    return [
        Measure(
            name=f"{prefix}sources_{kind}",
            title=f"Sources {kind}, against the {against}",
            unit="",
            meaning=f"{meaning}.",
            formula=f"number {kind} / number of sources that are {whole}; {limit}",
            source="Barbary (2016, JOSS 1, 58): sep; Bertin & Arnouts (1996, A&AS 117, 393)",
            perfect=0.0,
            needs=needs,
            each=each,
            summary=partial(share, f"{prefix}sources_{kind}", f"{prefix}sources_{whole}"),
            per_band=needs != (),  # the target's are looked for in all bands together
        )
        for kind, (meaning, whole) in formulas.items()
    ]


MEASURES: tuple[Measure, ...] = (
    *counts("truth", ("truth",), "", against_truth),
    *counts("target", (), "target_", against_target),
    Measure(
        name="residual_asymmetry",
        title="Asymmetry of residuals",
        unit="",
        meaning="How much of the galaxy's light is moved to one side: none if too bright or blurred all round.",
        formula=f"median of sum |R - R turned by 180 deg| / (2 sum |truth|), R = signal - truth, within {RADIUS:g}″",
        source="Conselice, Bershady & Jangren (2000, ApJ 529, 886), of residuals; sky corrected alike",
        perfect=0.0,
        needs=("truth",),
        each=asymmetries,
        summary=median_asymmetry,
    ),
)

CURVES: tuple[Callable[[Sample], Curve], ...] = (curve_sources,)
