"""Fluxes and colours, within apertures."""

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
KRON = 2.5  # Kron radii in a total aperture (Kron 1980, ApJS 43, 305)
ISOPHOTES = 6.0  # isophotal axes in the ellipse over which the Kron radius is taken
SMALLEST = 1.75  # least radius of a total aperture [arcsec]
THRESHOLD = 1.5  # of a source [sigma of a blank pixel of all bands together]
LEAST_PIXELS = 5  # of a source
SIGNIFICANT = 10.0  # least flux that counts [sigma of its aperture, as if pixels' noise were independent]
LEAST_SHARE = 0.1  # of the reference's flux, as which less than that counts
LOST = -2.5 * np.log10(LEAST_SHARE) - 1e-6  # from which on an error of a magnitude says that the light is lost


def reference(sample: Sample) -> np.ndarray:
    """The truth where there is one, else the target's images."""
    return sample.target if sample.truth is None else sample.truth


def magnitude(flux: np.ndarray) -> np.ndarray:
    """AB magnitude of nanomaggies; NaN where there is no light."""
    return ZERO_POINT - 2.5 * np.log10(np.where(flux > 0, flux, np.nan))


@remembered
@in_pieces
def apertures(sample: Sample) -> Statistics:
    """Of every galaxy and band: magnitude of the reference, and what the translation is fainter or redder by [mag].

    `aperture_magnitude` and `aperture_error` within `APERTURE` around the reference's centre, `total_magnitude` and
    `total_error` within its Kron ellipse, and `colour_error` and `total_colour_error` of each band minus the next: NaN
    for the last band, and where the reference's flux is not `SIGNIFICANT`.
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
    """Magnitudes by which the flux `made` is fainter than `flux`; NaN where `made` is NaN or `flux` not positive."""
    light = np.where(flux > 0, flux, np.nan)
    return -2.5 * np.log10(np.maximum(made / light, LEAST_SHARE))


def redder(fainter_by: np.ndarray) -> np.ndarray:
    """(galaxy, band) magnitudes by which each band is fainter, minus those of the next; NaN for the last.

    NaN where a band's light is lost: two lost bands would seem to have the right colour.
    """
    known = np.where(fainter_by < LOST, fainter_by, np.nan)
    return known - np.append(known[:, 1:], np.full((len(known), 1), np.nan), axis=1)


def detection(sample: Sample) -> np.ndarray:
    """(galaxy, row, col) the reference in all bands, float64 as sep takes it."""
    return np.ascontiguousarray(all_bands(reference(sample), sample.sigma), dtype=np.float64)


def fluxes_of(sample: Sample, galaxy: int, image: np.ndarray) -> np.ndarray:
    """(aperture and total; reference, translation and number of pixels; band) of one galaxy [nanomaggy].

    `image` is the galaxy's reference in all bands. The total is NaN where it has no source at the centre.
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
        pair = [np.ascontiguousarray(of[galaxy, band], dtype=np.float64) for of in (reference(sample), sample.output)]
        hidden = mask | np.isnan(pair[0] + pair[1])
        for kind, shape in enumerate(((radius, radius, 0.0), ellipse)):
            if shape is not None:
                fluxes[kind, :2, band] = [sum_within(made, col, row, shape, hidden) for made in pair]
                fluxes[kind, 2, band] = np.pi * shape[0] * shape[1]
    return fluxes


def central(found: np.ndarray, shape: tuple[int, int]) -> int:
    """Index of the source nearest to the centre of an image, -1 where none is within a tenth of its side."""
    if not len(found):
        return -1
    distance = np.hypot(found["y"] - (shape[0] - 1) / 2, found["x"] - (shape[1] - 1) / 2)
    nearest = int(distance.argmin())
    return nearest if distance[nearest] < min(shape) / 10 else -1


def kron(image: np.ndarray, source: np.void, mask: np.ndarray, smallest: float) -> tuple[float, float, float]:
    """Axes [pixel] and position angle [rad] of the ellipse for a source's total flux; a circle of `smallest` at least.

    It ends at the image's nearest edge.
    """
    shape = float(source["a"]), float(source["b"]), float(np.clip(source["theta"], -np.pi / 2, np.pi / 2))
    at = [np.array([value]) for value in (source["x"], source["y"], *shape)]  # sep takes no plain numbers here
    radius = KRON * float(sep.kron_radius(image, *at, ISOPHOTES, mask=mask)[0][0])
    if not radius * np.sqrt(shape[0] * shape[1]) > smallest:
        return smallest, smallest, 0.0
    edge = min(source["x"], source["y"], image.shape[1] - 1 - source["x"], image.shape[0] - 1 - source["y"])
    radius = min(radius, max(edge, smallest) / shape[0])
    return radius * shape[0], radius * shape[1], shape[2]


def sum_within(image: np.ndarray, col: float, row: float, shape: tuple, mask: np.ndarray) -> float:
    """Flux in an ellipse; masked pixels count as its mean. NaN where all of it is masked or it is nowhere."""
    at = [np.array([float(value)]) for value in (col, row, *shape)]
    flux, _, flag = sep.sum_ellipse(image, *at, mask=mask)
    return np.nan if flag[0] & sep.APER_ALLMASKED else float(flux[0])


PEAK_RADIUS = 1.5  # from the image's centre, within which a peak is looked for [arcsec]
LEAST_GALAXIES = 5  # in a bin of a curve
FAINTEST = float(-2.5 * np.log10(LEAST_SHARE))  # error that a galaxy without any light has [mag]; none is larger


def peaks(sample: Sample) -> Statistics:
    """Of every galaxy and band: what the brightest pixel near the centre is fainter, and redder, by than the target's.

    Both images have noise, hence the same bias of a maximum. NaN where the target's is not `SIGNIFICANT`.
    """
    near = centre_distance(sample.target.shape[-2:]) <= max(PEAK_RADIUS / sample.pixel_scale, 1.0)
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
