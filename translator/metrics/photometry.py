"""Magnitudes, colours, peaks and sky of translations against those of the same galaxies in the target survey.

`apertures.py` says what is compared with what.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from translator.metrics.apertures import (
    APERTURE,
    KRON,
    LEAST_SHARE,
    LOST,
    SIGNIFICANT,
    ZERO_POINT,
    apertures,
    fainter,
    redder,
)
from translator.metrics.average import median
from translator.metrics.curve import Curve
from translator.metrics.measure import Measure, Statistics
from translator.metrics.noise import statistics
from translator.metrics.robust import slope, spread
from translator.metrics.sample import Sample

PEAK_RADIUS = 1.5  # from the image's centre, within which a peak is looked for [arcsec]
LEAST_GALAXIES = 5  # in a bin of a curve
FAINTEST = float(-2.5 * np.log10(LEAST_SHARE))  # error that a galaxy without any light has [mag]; none is larger


def peaks(sample: Sample) -> Statistics:
    """Of every galaxy and band: what the brightest pixel near the centre is fainter, and redder, by than the target's.

    Both images have noise, hence the same bias of a maximum. NaN where the target's is not `SIGNIFICANT`.
    """
    rows, cols = (np.arange(size) - (size - 1) / 2 for size in sample.target.shape[-2:])
    near = np.hypot(rows[:, None], cols) <= max(PEAK_RADIUS / sample.pixel_scale, 1.0)
    target, made = (np.max(images[..., near], axis=-1) for images in (sample.target, sample.output))
    error = fainter(np.where(target >= SIGNIFICANT * sample.sigma, target, np.nan), made)
    return {"peak_error": error, "peak_colour_error": redder(error)}


def binned(title: str, y_label: str, magnitudes: np.ndarray, errors: np.ndarray) -> Curve:
    """Median of the errors (galaxy, band) in bins of 1 mag, and the median plus and minus the scatter."""
    known = ~np.isnan(magnitudes + errors)
    first, last = (np.floor(end(magnitudes[known], initial=ZERO_POINT)) for end in (np.min, np.max))
    edges = np.arange(first, last + 1)
    bins = [np.where(known & (np.floor(magnitudes) == edge), errors, np.nan) for edge in edges]
    few = np.array([(~np.isnan(some)).sum(axis=0) < LEAST_GALAXIES for some in bins]).T
    middle, width = (np.where(few, np.nan, np.array([of(some) for some in bins]).T) for of in (median, spread))
    y = {"median": middle, "median - scatter": middle - width, "median + scatter": middle + width}
    return Curve(title, "magnitude of the reference [mag]", y_label, edges + 0.5, y)


def curve_aperture(sample: Sample) -> Curve:
    """Error of magnitudes within the fixed aperture against magnitude."""
    measured = apertures(sample)
    title = f'Magnitudes within {APERTURE:g}" (diameter)'
    label = "translation minus reference [mag]"
    return binned(title, label, measured["aperture_magnitude"], measured["aperture_error"])


def curve_total(sample: Sample) -> Curve:
    """Error of total magnitudes against magnitude."""
    measured = apertures(sample)
    label = "translation minus reference [mag]"
    return binned("Total magnitudes (Kron)", label, measured["total_magnitude"], measured["total_error"])


def curve_colour(sample: Sample) -> Curve:
    """Error of colours within the fixed aperture against magnitude."""
    measured = apertures(sample)
    title, label = f'Colours within {APERTURE:g}"', "error of the band minus the next [mag]"
    return binned(title, label, measured["aperture_magnitude"], measured["colour_error"])


def curve_total_colour(sample: Sample) -> Curve:
    """Error of total colours against magnitude."""
    measured = apertures(sample)
    label = "error of the band minus the next [mag]"
    return binned("Total colours (Kron)", label, measured["total_magnitude"], measured["total_colour_error"])


def median_of(name: str, values: Statistics) -> np.ndarray:
    """(band,) median of one statistic."""
    return median(values[name])


def scatter_of(name: str, values: Statistics) -> np.ndarray:
    """(band,) scatter of one statistic; NaN where most galaxies are lost, for then it says how alike they were cut."""
    return np.where(lost(values[name]), np.nan, spread(values[name]))


def lost(errors: np.ndarray) -> np.ndarray:
    """(band,) whether most galaxies have lost their light."""
    return median(errors) > LOST


def slope_of(magnitudes: str, name: str, values: Statistics) -> np.ndarray:
    """(band,) slope of an error with the reference's magnitudes, outliers clipped; NaN as `scatter_of`."""
    reference = values[magnitudes]
    trend = slope(reference + values[name], reference) - 1
    return np.where(lost(values[name]), np.nan, trend)


@dataclass(frozen=True)
class Quantity:
    """An error of every galaxy, from which measures are made.

    Attributes:
        name: What its measures' names begin with.
        title: Likewise.
        errors: Its name in what `each` returns.
        magnitudes: That of the magnitudes to which it belongs; "" where a trend with them is not asked for.
        formula: Of the error.
        source: Of the formula.
        each: What is measured of every galaxy.
        unit: Of the error.
        meaning: Of the error: what a positive one is.
        cap: The largest error that can be stated; None where it has no such end.
    """

    name: str
    title: str
    errors: str
    magnitudes: str
    formula: str
    source: str
    each: Callable[[Sample], Statistics]
    unit: str
    meaning: str
    cap: float | None = None

    def measures(self) -> list[Measure]:
        """Offset, scatter and, where there are magnitudes, slope."""
        rows = [
            ("offset", self.unit, self.meaning, "median", partial(median_of, self.errors)),
            ("scatter", self.unit, f"How it differs between galaxies: {self.meaning}", "1.4826 MAD",
             partial(scatter_of, self.errors)),
        ]  # fmt: skip
        if self.magnitudes:
            how = "slope with magnitude (least squares, outliers clipped)"
            meaning = f"How it grows towards faint galaxies: {self.meaning}"
            rows.append(("slope", f"{self.unit}/mag", meaning, how, partial(slope_of, self.magnitudes, self.errors)))
        return [
            Measure(
                name=f"{self.name}_{kind}",
                title=f"{self.title}: {kind}",
                unit=unit,
                meaning=meaning,
                formula=f"{how} over galaxies of {self.formula}",
                source=self.source,
                perfect=0.0,
                needs=(),
                each=self.each,
                summary=summary,
                alone=kind == "offset",
                cap=self.cap if kind == "offset" else None,
            )
            for kind, unit, meaning, how, summary in rows
        ]


SEP = "Bertin & Arnouts (1996, A&AS 117, 393) in Barbary's (2016, JOSS 1, 58) implementation"
IN_BOTH = "of galaxies whose light is lost in neither band"
IN_APERTURE = f"within {APERTURE:g}\" diameter around the reference's centre"
QUANTITIES = (
    Quantity(
        "aperture",
        f"Magnitude within {APERTURE:g}″",
        "aperture_error",
        "aperture_magnitude",
        f"-2.5 log10(flux / flux of the reference), both {IN_APERTURE}",
        SEP,
        apertures,
        "mag",
        "what translations are too faint by near the centre.",
        FAINTEST,
    ),
    Quantity(
        "total",
        "Total magnitude",
        "total_error",
        "total_magnitude",
        f"-2.5 log10(flux / flux of the reference), both within the reference's {KRON:g} Kron radii",
        f"Kron (1980, ApJS 43, 305); {SEP}",
        apertures,
        "mag",
        "what translations are too faint by in all.",
        FAINTEST,
    ),
    Quantity(
        "colour",
        f"Colour within {APERTURE:g}″",
        "colour_error",
        "aperture_magnitude",
        f"(magnitude - that of the next band) of the translation - that of the reference, {IN_APERTURE}; {IN_BOTH}",
        SEP,
        apertures,
        "mag",
        "what translations are too red by near the centre, this band minus the next.",
    ),
    Quantity(
        "total_colour",
        "Total colour",
        "total_colour_error",
        "total_magnitude",
        "(magnitude - that of the next band) of the translation - that of the reference, both within the reference's "
        f"{KRON:g} Kron radii; {IN_BOTH}",
        f"Kron (1980, ApJS 43, 305); {SEP}",
        apertures,
        "mag",
        "what translations are too red by in all, this band minus the next.",
    ),
    Quantity(
        "peak",
        "Peak",
        "peak_error",
        "",
        f"-2.5 log10(peak / the target's peak), the brightest pixel within {PEAK_RADIUS:g}\" of the centre",
        "galtrans",
        peaks,
        "mag",
        "what the brightest pixel is too faint by.",
        FAINTEST,
    ),
    Quantity(
        "peak_colour",
        "Ratio of the bands' peaks",
        "peak_colour_error",
        "",
        f"-2.5 log10(peak / the next band's peak) - that of the target, the brightest pixels within {PEAK_RADIUS:g}\"",
        "galtrans",
        peaks,
        "mag",
        "what the brightest pixel is too red by, this band minus the next.",
    ),
    Quantity(
        "sky_level",
        "Level of the sky",
        "sky_level",
        "",
        "(median of sky pixels of the translation - that of the target) / sigma of the target's sky",
        "galtrans",
        statistics,
        "sigma",
        "what the sky is too bright by.",
    ),
)

MEASURES: tuple[Measure, ...] = tuple(measure for quantity in QUANTITIES for measure in quantity.measures())

CURVES: tuple[Callable[[Sample], Curve], ...] = (curve_aperture, curve_total, curve_colour, curve_total_colour)
