"""Where images of a sample are sky.

Sky is where neither the target nor the translation, each in all bands together, shows a source: one mask for both, the
centre always masked. With less than `LEAST_SKY` pixels of it a galaxy counts in no measure of the sky or its noise.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from translator.metrics.apertures import centre_distance
from translator.metrics.measure import Sample
from translator.metrics.robust import NORMAL, middle_and_sigma

SMOOTHING = 2.0  # standard deviation of the Gaussian under which sources are looked for [pixel]
THRESHOLD = 3.0  # of a source [sigma of the smoothed sky]
GROWTH = 1.0  # by which the mask of a source is widened [arcsec]
CENTRE = 2.0  # radius that is always masked [arcsec]
LEAST_SKY = 200  # pixels
ROUNDS = 3  # of clipping
AT_ONCE = 256  # galaxies in memory


def all_bands(images: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """(galaxy, row, col) from (galaxy, band, row, col): weighted by 1/sigma^2, with a blank pixel's sigma as unit.

    Bands without a sigma have no weight; a pixel that is NaN in a band is zero there.
    """
    known = np.isfinite(sigma) & (sigma > 0)
    weight = np.where(known, 1 / np.where(known, sigma, 1.0) ** 2, 0.0)
    total = np.einsum("gbrc,gb->grc", np.nan_to_num(images), weight)
    return total / np.sqrt(np.where(known.any(axis=1), weight.sum(axis=1), 1.0))[:, None, None]


def blank(sample: Sample) -> np.ndarray:
    """(galaxy, row, col) True where target and translation are sky and known; nowhere where that is too little.

    A source is what exceeds `THRESHOLD` sigma of the image under a Gaussian of `SMOOTHING` pixels. Sigma is the
    image's own, clipped at 3 sigma, but not less than the target's: an image without noise has no less
    sky.
    """
    target, output = (smooth(all_bands(images, sample.sigma)) for images in (sample.target, sample.output))
    target_sky, output_sky = clipped(target), clipped(output)
    level = np.maximum(output_sky[1], target_sky[1])
    source = target - target_sky[0][:, None, None] > THRESHOLD * target_sky[1][:, None, None]
    source |= output - output_sky[0][:, None, None] > THRESHOLD * level[:, None, None]
    width = 2 * round(GROWTH / sample.pixel_scale) + 1
    source = ndimage.maximum_filter(source, (1, width, width))
    sky = ~source & (centre_distance(source.shape[-2:]) > CENTRE / sample.pixel_scale)
    sky &= np.isfinite(sample.target).all(axis=1) & np.isfinite(sample.output).all(axis=1)
    return sky & (sky.sum(axis=(1, 2)) >= LEAST_SKY)[:, None, None]


def blank_pixels(image: np.ndarray) -> np.ndarray:
    """Pixels (row, col) of a real image, in units of its noise, that no source reaches and that are there.

    Sources are what stands out by more than 3.5 robust standard deviations under a Gaussian of 2 pixels, and 4 pixels
    around it.
    """
    smooth = ndimage.gaussian_filter(np.nan_to_num(image), 2.0)
    middle = np.median(smooth)
    width = NORMAL * np.median(middle - smooth[smooth <= middle])  # of the lower half, where no source is
    return np.isfinite(image) & ~ndimage.binary_dilation(smooth - middle > 3.5 * width, iterations=4)


def smooth(images: np.ndarray) -> np.ndarray:
    """(galaxy, row, col) under a Gaussian of `SMOOTHING` pixels."""
    return ndimage.gaussian_filter(images, (0, SMOOTHING, SMOOTHING))


def clipped(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(galaxy,) median and sigma of images (galaxy, row, col), of pixels within 3 sigma, after `ROUNDS`."""
    found = np.empty((len(images), 2))
    for galaxy, image in enumerate(images):
        values = image.ravel()
        for _ in range(ROUNDS + 1):
            middle, sigma = middle_and_sigma(values[None])
            values = values[np.abs(values - middle) <= 3 * sigma]
        found[galaxy] = middle[0], sigma[0]
    return found[:, 0], found[:, 1]


def blank_sigma(images: np.ndarray, stated: np.ndarray, bands: tuple[str, ...], pixel_scale: float) -> np.ndarray:
    """Noise (galaxy, band) of a blank pixel of images, measured where no source reaches; as stated where none is blank.

    What a store states is measured galaxy included, some percent too large where galaxies fill their images.
    """
    found = np.array(stated, np.float32)
    for start in range(0, len(images), AT_ONCE):
        some, sigma = images[start : start + AT_ONCE], stated[start : start + AT_ONCE]
        where = blank(Sample(bands, pixel_scale, some, some, some, sigma))
        for galaxy in np.flatnonzero(where.any(axis=(1, 2))):
            _, measured = middle_and_sigma(some[galaxy][:, where[galaxy]].astype(float))
            found[start + galaxy] = np.where(measured > 0, measured, sigma[galaxy])
    return found


@dataclass(frozen=True)
class Sky:
    """The sky of the same galaxies in target and translation.

    Attributes:
        where: (galaxy, row, col) pixels that are sky.
        images: (2, galaxy, band, row, col) target's, then translation's sky: minus its median, over the target's sigma;
            zero where there is no sky, or no sigma.
        level: (2, galaxy, band) the medians [nanomaggy/pixel]; NaN where there is no sky.
        sigma: (2, galaxy, band) 1.4826 times the median absolute deviations [nanomaggy/pixel]; alike.
    """

    where: np.ndarray
    images: np.ndarray
    level: np.ndarray
    sigma: np.ndarray


def sky_of(sample: Sample) -> Sky:
    """The sky of a sample."""
    where = blank(sample)
    level, sigma = np.full((2, 2, *sample.target.shape[:2]), np.nan)
    images = np.zeros((2, *sample.target.shape), np.float32)
    for galaxy in np.flatnonzero(where.any(axis=(1, 2))):
        pair = [made[galaxy][:, where[galaxy]].astype(np.float64) for made in (sample.target, sample.output)]
        for kind, values in enumerate(pair):
            level[kind, galaxy], sigma[kind, galaxy] = middle, _ = middle_and_sigma(values)
            unit = np.where(sigma[0, galaxy] > 0, sigma[0, galaxy], np.inf)
            images[kind, galaxy][:, where[galaxy]] = (values - middle[:, None]) / unit[:, None]
    return Sky(where, images, level, sigma)
