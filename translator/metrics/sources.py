"""Sources that translations invent or lose, and the asymmetry of residuals.

A source is lost if it is certain (`SURE`) in the truth and not even faint (`FAINT`) in the translation. It is invented
if it is certain in the translation and not even faint in the truth. Therefore noise, and a source near the limit,
count as neither. Without a truth, measures of other names compare with the target's image down to its own limit.
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

MATCH = 1.0  # largest distance of two sources that are the same, and least distance from the edge [arcsec]
RADIUS = 3.0  # radius of the circle in which residuals are compared with themselves [arcsec]
X_LABEL, Y_LABEL = "magnitude [mag]", "share of sources"
MAGNITUDES = np.arange(12.0, 31.0)  # edges of the bins of the curves


@dataclass(frozen=True)
class SourceSearch:
    """Settings of the search for sources.

    Attributes
    ----------
    threshold : float
        Threshold under sep's 3 × 3 kernel [sigma of a blank pixel of the target].
    contrast : float
        Least share of the light of a source that is separated from its neighbour.
    levels : int
        Number of thresholds for the separation of neighbours.
    """

    threshold: float
    contrast: float
    levels: int


SURE = SourceSearch(threshold=3.0, contrast=0.02, levels=32)
FAINT = SourceSearch(threshold=1.5, contrast=0.001, levels=64)

MOST = 1000  # galaxies in which sources are searched band by band; a noisy image takes a tenth of a second
REMEMBERED = 40_000  # images whose sources are kept


def sources_in(image: np.ndarray, sigma: float, depth: SourceSearch) -> np.ndarray:
    """Return the sources that sep finds in an image.

    Parameters
    ----------
    image : array
        Image (row, col).
    sigma : float
        Noise of a blank pixel, in the unit of the image.
    depth : SourceSearch
        Settings.

    Returns
    -------
    record array
        Centroids "x" and "y" and peaks "xcpeak" and "ycpeak" [pixel], and "flux" [sigma].
    """
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


remembered_sources = kept(REMEMBERED)(sources_in)  # for an image that many are compared with


def unmatched(sources: np.ndarray, others: np.ndarray, reach: float) -> np.ndarray:
    """Return for each source whether neither its centroid nor its peak is within `reach` pixels of one
    of the others.
    """
    alone = np.ones(len(sources), bool)
    for row, col in (("y", "x"), ("ycpeak", "xcpeak")):
        distance = np.hypot(sources[row][:, None] - others[row], sources[col][:, None] - others[col])
        alone &= ~(distance <= reach).any(axis=1)
    return alone


def numbers_of(should: np.ndarray, made: np.ndarray, sigma: float, scale: float) -> np.ndarray:
    """Return numbers of sources of two images, in bins of isophotal magnitude; the first and the last bin have no end.

    Parameters
    ----------
    should : array
        The right image (row, col).
    made : array
        The translation.
    sigma : float
        Noise of a blank pixel.
    scale : float
        Side of a pixel [arcsec].

    Returns
    -------
    array
        Numbers (4, bin): sources of the right image, lost ones among them, sources of the translation, invented ones.
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
    """Return `numbers_of` of signal against truth, or of output against target if there is no truth.

    Returns
    -------
    array
        Numbers (galaxy, band, 4, bin), for `MOST` galaxies that are spread evenly over the sample; NaN for the others,
        and where sigma is unknown.
    """
    found = np.full((*sample.sigma.shape, 4, len(MAGNITUDES) - 1), np.nan)
    pair = (sample.target, sample.output) if sample.truth is None else (sample.truth, sample.signal)
    some = np.isin(np.arange(len(sample)), spread_evenly(len(sample), min(MOST, len(sample))))
    for at in map(tuple, np.argwhere((sample.sigma > 0) & some[:, None])):
        found[at] = numbers_of(*(images[at] for images in pair), sample.sigma[at], sample.pixel_scale)
    return found


def totals(found: np.ndarray, prefix: str) -> Statistics:
    """Return each of the four `numbers_of` over all magnitudes, by name (galaxy, band)."""
    names = ("sources_there", "sources_lost", "sources_made", "sources_invented")
    return {f"{prefix}{name}": found[:, :, kind].sum(axis=-1) for kind, name in enumerate(names)}


def against_truth(sample: Sample) -> Statistics:
    """Return numbers of sources: in the truth, lost ones, in the signal, invented ones (galaxy, band)."""
    return totals(counted(sample), "")


@in_pieces
def against_target(sample: Sample) -> Statistics:
    """Return numbers of sources: in the target, lost ones, in the output, invented ones (galaxy, band).

    They are looked for in all bands together, where noise is least, so all bands have the same numbers.
    """
    pair = [all_bands(images, sample.sigma) for images in (sample.target, sample.output)]
    found = np.array([numbers_of(*images, 1.0, sample.pixel_scale) for images in zip(*pair, strict=True)])
    return totals(np.repeat(found[:, None], len(sample.bands), axis=1), "target_")


def share(part: str, whole: str, values: Statistics) -> np.ndarray:
    """Return the sum of one statistic over the sum of another (band,); NaN where the latter is 0."""
    some, all_of = (np.nansum(values[name], axis=0) for name in (part, whole))
    return some / np.where(all_of > 0, all_of, np.nan)


@in_pieces
def asymmetries(sample: Sample) -> Statistics:
    """Return the residual asymmetry (galaxy, band): that of the signal minus the truth."""
    found = np.full(sample.sigma.shape, np.nan)
    sky = blank(sample)
    for galaxy, image in enumerate(detection(sample)):
        number = central(sources := sep.extract(image, SURE.threshold, minarea=LEAST_PIXELS), image.shape)
        if number >= 0:
            centre = sources["y"][number], sources["x"][number]
            found[galaxy] = asymmetry(sample, galaxy, centre, sky[galaxy])
    return {"residual_asymmetry": found}


def asymmetry(sample: Sample, galaxy: int, centre: tuple[float, float], sky: np.ndarray) -> np.ndarray:
    """Return the asymmetry of the residual R of one galaxy.

    It is Σ|R − R turned by 180°| over 2 Σ|truth| within `RADIUS`, minus the contribution of the sky. R is turned about
    the half pixel next to the centre.

    Parameters
    ----------
    sample : Sample
        The galaxies.
    galaxy : int
        Index of the galaxy.
    centre : tuple of float
        Row and column of its centre.
    sky : array of bool
        Its sky pixels (row, col).

    Returns
    -------
    array
        Asymmetry (band,); NaN where the truth is not significant.
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
    """Return the median over the galaxies (band,)."""
    return median(values["residual_asymmetry"])


def curve_sources(sample: Sample) -> Curve:
    """Return the shares of sources lost and invented against magnitude, by the truth or else the target."""
    numbers = np.nansum(counted(sample), axis=0)
    numbers = np.where(numbers[:, (0, 0, 2, 2)] > 0, numbers, np.nan)
    y = {"lost": numbers[:, 1] / numbers[:, 0], "invented": numbers[:, 3] / numbers[:, 2]}
    middles = (MAGNITUDES[1:] + MAGNITUDES[:-1]) / 2
    seen = ~np.isnan(numbers).all(axis=(0, 1))
    title = f"Sources lost and invented, against the {'target' if sample.truth is None else 'truth'}"
    return Curve(title, X_LABEL, Y_LABEL, middles[seen], {n: v[:, seen] for n, v in y.items()})


def counts(against: str, needs: tuple[str, ...], prefix: str, each: Callable[[Sample], Statistics]) -> list[Measure]:
    """Return two measures, sources lost and sources invented, against the truth or the target."""
    limit = (
        f"above {SURE.threshold:g} sigma in one image, not above {FAINT.threshold:g} sigma within {MATCH:g}″ in the "
    )
    limit += f"other; in at most {MOST} galaxies" if needs else "other"
    formulas = {
        "lost": (f"Share of the sources in the {against} that translations do not show", "there"),
        "invented": (f"Share of the sources in translations that the {against} does not show", "made"),
    }
    return [
        Measure(
            name=f"{prefix}sources_{kind}",
            title=f"Sources {kind}, against the {against}",
            unit="",
            meaning=f"{meaning}.",
            formula=f"number of sources {kind} / number in the {against if whole == 'there' else 'translation'}; "
            f"{limit}",
            source="Barbary (2016, JOSS 1, 58): sep; Bertin & Arnouts (1996, A&AS 117, 393)",
            perfect=0.0,
            needs=needs,
            each=each,
            summary=partial(share, f"{prefix}sources_{kind}", f"{prefix}sources_{whole}"),
            per_band=needs != (),  # against the target, sources are searched in all bands together
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
        meaning="The share of the galaxy's light that lies on the wrong side; a symmetric error does not count.",
        formula=f"median of Σ|R − R turned by 180°| / (2 Σ|truth|) within {RADIUS:g}″, with R = signal − truth; the "
        "sky is subtracted",
        source="Conselice, Bershady & Jangren (2000, ApJ 529, 886), applied to residuals",
        perfect=0.0,
        needs=("truth",),
        each=asymmetries,
        summary=median_asymmetry,
    ),
)

CURVES: tuple[Callable[[Sample], Curve], ...] = (curve_sources,)
