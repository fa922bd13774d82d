"""Fluxes of the galaxy at the centre, within the same apertures in a translation and in what it should be.

The reference is the truth where there is one, else the target's image. Apertures, and the masks of neighbours, come
from the reference alone. A flux below a tenth of the reference's counts as a tenth of it: a lost galaxy is 2.5 mag too
faint. Where the reference is an image with noise, its noise is in the scatter of what is compared, and slopes with
magnitude are biased by minus the noise's share in the variance of the magnitudes.
"""

import numpy as np
import sep

from translator.metrics.blank import all_bands
from translator.metrics.measure import Statistics
from translator.metrics.pieces import in_pieces, remembered
from translator.metrics.sample import Sample

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
