"""Fluxes and colours within apertures."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import sep

from translator.metrics.apertures import centre_distance
from translator.metrics.blank import all_bands
from translator.metrics.measure import Curve, Measure, Sample, Statistics, in_pieces, remembered
from translator.metrics.robust import median, slope, spread
from translator.metrics.sky import statistics

ZERO_POINT = 22.5  # [mag] of one nanomaggy
APERTURE = 3.0  # diameter of the fixed aperture [arcsec]
KRON = 2.5  # size of the total aperture in Kron radii (Kron 1980, ApJS 43, 305)
ISOPHOTES = 6.0  # size of the ellipse over which the Kron radius is computed, in isophotal axes
SMALLEST = 1.75  # least radius of the total aperture [arcsec]
THRESHOLD = 1.5  # detection threshold of a source [sigma of a blank pixel of all bands together]
LEAST_PIXELS = 5  # least number of pixels of a source
SIGNIFICANT = 10.0  # least flux that counts [sigma of its aperture, for independent noise of pixels]
LEAST_SHARE = 0.1  # least share of the reference's flux; a smaller flux counts as this
LOST = -2.5 * np.log10(LEAST_SHARE) - 1e-6  # error from which on the light counts as lost [mag]


def magnitude(flux: np.ndarray) -> np.ndarray:
    """Return the AB magnitude of a flux [nanomaggy]; NaN where there is no light."""
    return ZERO_POINT - 2.5 * np.log10(np.where(flux > 0, flux, np.nan))


@remembered
@in_pieces
def apertures(sample: Sample) -> Statistics:
    """Return the magnitudes of the reference and the errors of the translation, for every galaxy and band.

    Returns
    -------
    dict
        "aperture_magnitude" and "aperture_error": magnitude of the reference within `APERTURE` around its centre, and
        the magnitudes by which the translation is fainter. "total_magnitude" and "total_error": the same within the
        Kron ellipse of the reference. "colour_error" and "total_colour_error": the magnitudes by which the translation
        is redder, each band minus the next; NaN for the last band. All are (galaxy, band), and NaN where the flux of
        the reference is not `SIGNIFICANT`.
    """
    fluxes = np.array([fluxes_of(sample, galaxy, image) for galaxy, image in enumerate(detection(sample))])
    (near, near_made, near_pixels), (whole, whole_made, whole_pixels) = np.moveaxis(fluxes, 0, -2)
    near_error, whole_error = fainter(near, near_made), fainter(whole, whole_made)
    near_error[near < SIGNIFICANT * sample.sigma * np.sqrt(near_pixels)] = np.nan
    whole_error[~(whole >= SIGNIFICANT * sample.sigma * np.sqrt(whole_pixels))] = np.nan
    return {
        "aperture_magnitude": magnitude(near),
        "aperture_error": near_error,
        "total_magnitude": magnitude(whole),
        "total_error": whole_error,
        "colour_error": redder(near_error),
        "total_colour_error": redder(whole_error),
    }


def fainter(flux: np.ndarray, made: np.ndarray) -> np.ndarray:
    """Return the magnitudes by which the flux `made` is fainter than `flux`; NaN if `made` is NaN or `flux` not
    positive.
    """
    light = np.where(flux > 0, flux, np.nan)
    return -2.5 * np.log10(np.maximum(made / light, LEAST_SHARE))


def redder(fainter_by: np.ndarray) -> np.ndarray:
    """Return by how many magnitudes each band is fainter, minus the same of the next band (galaxy, band).

    NaN for the last band, and where the light of a band is lost: two lost bands would seem to have the right colour.
    """
    known = np.where(fainter_by < LOST, fainter_by, np.nan)
    return known - np.append(known[:, 1:], np.full((len(known), 1), np.nan), axis=1)


def detection(sample: Sample) -> np.ndarray:
    """Return the reference in all bands together (galaxy, row, col), as float64 for sep."""
    return np.ascontiguousarray(all_bands(sample.reference, sample.sigma), dtype=np.float64)


def fluxes_of(sample: Sample, galaxy: int, image: np.ndarray) -> np.ndarray:
    """Return fluxes of one galaxy within the fixed aperture and within its Kron ellipse.

    Parameters
    ----------
    sample : Sample
        The galaxies.
    galaxy : int
        Index of the galaxy.
    image : array
        Its reference in all bands together (row, col), from `detection`.

    Returns
    -------
    array
        Values (2, 3, band): fixed aperture and total; flux of the reference [nanomaggy], flux of the translation, and
        number of pixels. The total is NaN for a galaxy without a source at the centre.
    """
    found, segments = sep.extract(image, THRESHOLD, minarea=LEAST_PIXELS, segmentation_map=True)
    number = central(found, image.shape)
    mask = segments > 0 if number < 0 else (segments > 0) & (segments != number + 1)
    radius = APERTURE / 2 / sample.pixel_scale
    if number < 0:
        row, col = (np.array(image.shape) - 1) / 2
        ellipse = None
    else:
        source = found[number]
        row, col = source["y"], source["x"]
        ellipse = kron(image, source, mask, SMALLEST / sample.pixel_scale)
    fluxes = np.full((2, 3, len(sample.bands)), np.nan)
    for band in range(len(sample.bands)):
        pair = [np.ascontiguousarray(of[galaxy, band], dtype=np.float64) for of in (sample.reference, sample.output)]
        hidden = mask | np.isnan(pair[0] + pair[1])
        for kind, shape in enumerate(((radius, radius, 0.0), ellipse)):
            if shape is not None:
                fluxes[kind, :2, band] = [sum_within(made, col, row, shape, hidden) for made in pair]
                fluxes[kind, 2, band] = np.pi * shape[0] * shape[1]
    return fluxes


def central(found: np.ndarray, shape: tuple[int, int]) -> int:
    """Return the index of the source nearest to the centre; -1 if none is within a tenth of the image's side."""
    if not len(found):
        return -1
    distance = np.hypot(found["y"] - (shape[0] - 1) / 2, found["x"] - (shape[1] - 1) / 2)
    nearest = int(distance.argmin())
    return nearest if distance[nearest] < min(shape) / 10 else -1


def kron(image: np.ndarray, source: np.void, mask: np.ndarray, smallest: float) -> tuple[float, float, float]:
    """Return the ellipse for the total flux of a source; it is at least a circle of radius `smallest`.

    The ellipse ends at the nearest edge of the image.

    Parameters
    ----------
    image : array
        The image (row, col).
    source : record
        The source, from sep.
    mask : array of bool
        Pixels of other sources.
    smallest : float
        Least radius [pixel].

    Returns
    -------
    tuple
        Semi-axes [pixel] and position angle [rad].
    """
    shape = float(source["a"]), float(source["b"]), float(np.clip(source["theta"], -np.pi / 2, np.pi / 2))
    at = [np.array([value]) for value in (source["x"], source["y"], *shape)]  # sep needs arrays here
    radius = KRON * float(sep.kron_radius(image, *at, ISOPHOTES, mask=mask)[0][0])
    if not radius * np.sqrt(shape[0] * shape[1]) > smallest:
        return smallest, smallest, 0.0
    edge = min(source["x"], source["y"], image.shape[1] - 1 - source["x"], image.shape[0] - 1 - source["y"])
    radius = min(radius, max(edge, smallest) / shape[0])
    return radius * shape[0], radius * shape[1], shape[2]


def sum_within(image: np.ndarray, col: float, row: float, shape: tuple, mask: np.ndarray) -> float:
    """Return the flux in an ellipse; masked pixels count as the mean of the others.

    NaN where all of the ellipse is masked, or its size or place is not known.
    """
    at = [np.array([float(value)]) for value in (col, row, *shape)]
    flux, _, flag = sep.sum_ellipse(image, *at, mask=mask)
    return np.nan if flag[0] & sep.APER_ALLMASKED else float(flux[0])


PEAK_RADIUS = 1.5  # radius around the image's centre in which the peak is looked for [arcsec]
LEAST_GALAXIES = 5  # least number of galaxies in a bin of a curve
FAINTEST = float(-2.5 * np.log10(LEAST_SHARE))  # error of a galaxy without any light, which is the largest [mag]


def peaks(sample: Sample) -> Statistics:
    """Return the magnitudes by which the brightest pixel near the centre is fainter, and redder, than that of the
    target.

    Both images have noise, so both maxima have the same bias. NaN where the peak of the target is not `SIGNIFICANT`.

    Returns
    -------
    dict
        "peak_error" and "peak_colour_error", each (galaxy, band) [mag].
    """
    near = centre_distance(sample.target.shape[-2:]) <= max(PEAK_RADIUS / sample.pixel_scale, 1.0)
    target, made = (np.max(images[..., near], axis=-1) for images in (sample.target, sample.output))
    error = fainter(np.where(target >= SIGNIFICANT * sample.sigma, target, np.nan), made)
    return {"peak_error": error, "peak_colour_error": redder(error)}


def binned(title: str, y_label: str, magnitudes: np.ndarray, errors: np.ndarray) -> Curve:
    """Return a curve of the median of errors (galaxy, band) in bins of 1 mag, and the median ± the scatter."""
    known = ~np.isnan(magnitudes + errors)
    first, last = (np.floor(end(magnitudes[known], initial=ZERO_POINT)) for end in (np.min, np.max))
    edges = np.arange(first, last + 1)
    bins = [np.where(known & (np.floor(magnitudes) == edge), errors, np.nan) for edge in edges]
    few = np.array([(~np.isnan(some)).sum(axis=0) < LEAST_GALAXIES for some in bins]).T
    middle, width = (np.where(few, np.nan, np.array([of(some) for some in bins]).T) for of in (median, spread))
    y = {"median": middle, "median - scatter": middle - width, "median + scatter": middle + width}
    return Curve(title, "magnitude of the reference [mag]", y_label, edges + 0.5, y)


def curve_aperture(sample: Sample) -> Curve:
    """Return the error of magnitudes within the fixed aperture as a function of magnitude."""
    measured = apertures(sample)
    title = f'Magnitudes within {APERTURE:g}" (diameter)'
    label = "translation minus reference [mag]"
    return binned(title, label, measured["aperture_magnitude"], measured["aperture_error"])


def curve_total(sample: Sample) -> Curve:
    """Return the error of total magnitudes as a function of magnitude."""
    measured = apertures(sample)
    label = "translation minus reference [mag]"
    return binned("Total magnitudes (Kron)", label, measured["total_magnitude"], measured["total_error"])


def curve_colour(sample: Sample) -> Curve:
    """Return the error of colours within the fixed aperture as a function of magnitude."""
    measured = apertures(sample)
    title, label = f'Colours within {APERTURE:g}"', "error of the band minus the next [mag]"
    return binned(title, label, measured["aperture_magnitude"], measured["colour_error"])


def curve_total_colour(sample: Sample) -> Curve:
    """Return the error of total colours as a function of magnitude."""
    measured = apertures(sample)
    label = "error of the band minus the next [mag]"
    return binned("Total colours (Kron)", label, measured["total_magnitude"], measured["total_colour_error"])


def median_of(name: str, values: Statistics) -> np.ndarray:
    """Return the median of one statistic (band,)."""
    return median(values[name])


def scatter_of(name: str, values: Statistics) -> np.ndarray:
    """Return the scatter of one statistic (band,); NaN where most galaxies have lost their light.

    All errors of lost galaxies are cut at the same value, so their scatter would look small.
    """
    return np.where(lost(values[name]), np.nan, spread(values[name]))


def lost(errors: np.ndarray) -> np.ndarray:
    """Return whether most galaxies have lost their light (band,)."""
    return median(errors) > LOST


def slope_of(magnitudes: str, name: str, values: Statistics) -> np.ndarray:
    """Return the slope of an error with magnitude (band,), outliers clipped; NaN where most galaxies are lost."""
    reference = values[magnitudes]
    trend = slope(reference + values[name], reference) - 1
    return np.where(lost(values[name]), np.nan, trend)


@dataclass(frozen=True)
class Quantity:
    """An error of every galaxy, from which the measures "offset", "scatter" and "slope" are made.

    Attributes
    ----------
    name : str
        Beginning of the names of its measures.
    title : str
        Beginning of their titles.
    errors : str
        Name of the error in the result of `each`.
    magnitudes : str
        Name of the magnitudes that the slope refers to; "" for no slope.
    formula : str
        Formula of the error.
    source : str
        Source of the formula.
    each : callable
        From a sample to the statistics of every galaxy.
    unit : str
        Unit of the error.
    meaning : str
        The error in words, after "typical value of".
    cap : float, optional
        The largest error that can be stated.
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
        """Return the measures: offset, scatter and, if there are magnitudes, slope."""
        rows = [
            ("offset", self.unit, f"Typical value of {self.meaning}.", "median", partial(median_of, self.errors)),
            ("scatter", self.unit, f"Scatter between galaxies of {self.meaning}.", "1.4826 MAD",
             partial(scatter_of, self.errors)),
        ]  # fmt: skip
        if self.magnitudes:
            how = "slope with magnitude (least squares, outliers clipped)"
            meaning = f"Growth towards faint galaxies of {self.meaning}."
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
IN_BOTH = "only galaxies whose light is lost in neither band"
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
        "the magnitudes by which translations are too faint near the centre",
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
        "the magnitudes by which translations are too faint in total",
        FAINTEST,
    ),
    Quantity(
        "colour",
        f"Colour within {APERTURE:g}″",
        "colour_error",
        "aperture_magnitude",
        f"(magnitude - magnitude of the next band) of the translation - the same of the reference, {IN_APERTURE}; "
        f"{IN_BOTH}",
        SEP,
        apertures,
        "mag",
        "the magnitudes by which translations are too red near the centre, this band minus the next",
    ),
    Quantity(
        "total_colour",
        "Total colour",
        "total_colour_error",
        "total_magnitude",
        "(magnitude - magnitude of the next band) of the translation - the same of the reference, within the "
        f"reference's {KRON:g} Kron radii; {IN_BOTH}",
        f"Kron (1980, ApJS 43, 305); {SEP}",
        apertures,
        "mag",
        "the magnitudes by which translations are too red in total, this band minus the next",
    ),
    Quantity(
        "peak",
        "Peak",
        "peak_error",
        "",
        f'-2.5 log10(peak / peak of the target); the peak is the brightest pixel within {PEAK_RADIUS:g}" of the centre',
        "galtrans",
        peaks,
        "mag",
        "the magnitudes by which the brightest pixel is too faint",
        FAINTEST,
    ),
    Quantity(
        "peak_colour",
        "Ratio of the bands' peaks",
        "peak_colour_error",
        "",
        "-2.5 log10(peak / peak of the next band) - the same of the target; peaks are the brightest pixels within "
        f'{PEAK_RADIUS:g}"',
        "galtrans",
        peaks,
        "mag",
        "the magnitudes by which the brightest pixel is too red, this band minus the next",
    ),
    Quantity(
        "sky_level",
        "Level of the sky",
        "sky_level",
        "",
        "(median of the sky pixels of the translation - median of those of the target) / sigma of the target's sky",
        "galtrans",
        statistics,
        "sigma",
        "the sigmas by which the sky is too bright",
    ),
)

MEASURES: tuple[Measure, ...] = tuple(measure for quantity in QUANTITIES for measure in quantity.measures())

CURVES: tuple[Callable[[Sample], Curve], ...] = (curve_aperture, curve_total, curve_colour, curve_total_colour)
