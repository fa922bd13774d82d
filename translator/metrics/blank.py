"""Blank sky: the pixels of images that no source reaches.

Measures of the sky use one mask for target and translation: pixels where neither image, each in all bands together,
shows a source. The centre is always masked. A galaxy with less than `LEAST_SKY` such pixels does not count in any
measure of the sky and its noise. `blank_pixels` is a simpler mask of one image in one band, for the correlation of
noise.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from translator.metrics.apertures import centre_distance
from translator.metrics.measure import Sample
from translator.metrics.robust import NORMAL, middle_and_sigma

SMOOTHING = 2.0  # standard deviation of the Gaussian that images are smoothed by to find sources [pixel]
THRESHOLD = 3.0  # least height of a source [sigma of the smoothed sky]
GROWTH = 1.0  # width that is added around the mask of a source [arcsec]
CENTRE = 2.0  # radius around the centre that is always masked [arcsec]
LEAST_SKY = 200  # least number of sky pixels of a galaxy that counts
ROUNDS = 3  # rounds of clipping
AT_ONCE = 256  # galaxies in memory


def all_bands(images: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Return the weighted sum of all bands (galaxy, row, col), in units of the noise of a blank pixel.

    Parameters
    ----------
    images : array
        Images (galaxy, band, row, col); NaN counts as 0.
    sigma : array
        Noise of a blank pixel (galaxy, band). A band has the weight 1 / sigma², and none where sigma is not known.
    """
    known = np.isfinite(sigma) & (sigma > 0)
    weight = np.where(known, 1 / np.where(known, sigma, 1.0) ** 2, 0.0)
    total = np.einsum("gbrc,gb->grc", np.nan_to_num(images), weight)
    return total / np.sqrt(np.where(known.any(axis=1), weight.sum(axis=1), 1.0))[:, None, None]


def blank(sample: Sample) -> np.ndarray:
    """Return where target and translation are both sky, with values in all bands.

    A source is a pixel more than `THRESHOLD` sigma above the sky in the image smoothed by a Gaussian of `SMOOTHING`
    pixels. Sigma is that of the smoothed image itself, clipped at 3 sigma, but not less than the target's: an image
    without noise has as much sky as the target.

    Parameters
    ----------
    sample : Sample
        Its `target` and `output` are used.

    Returns
    -------
    array of bool
        Mask (galaxy, row, col); False everywhere for a galaxy with too little sky.
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
    """Return which pixels (row, col) of one real image, in units of its noise, have a value and no source.

    Sources are more than 3.5 robust standard deviations above the median of the image smoothed by a Gaussian of 2
    pixels; the 4 pixels around them are masked, too.
    """
    smooth = ndimage.gaussian_filter(np.nan_to_num(image), 2.0)
    middle = np.median(smooth)
    width = NORMAL * np.median(middle - smooth[smooth <= middle])  # from the lower half, which has no sources
    return np.isfinite(image) & ~ndimage.binary_dilation(smooth - middle > 3.5 * width, iterations=4)


def smooth(images: np.ndarray) -> np.ndarray:
    """Return images (galaxy, row, col) smoothed by a Gaussian of `SMOOTHING` pixels."""
    return ndimage.gaussian_filter(images, (0, SMOOTHING, SMOOTHING))


def clipped(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return median and sigma (galaxy,) of the pixels within 3 sigma of images (galaxy, row, col)."""
    found = np.empty((len(images), 2))
    for galaxy, image in enumerate(images):
        values = image.ravel()
        for _ in range(ROUNDS + 1):
            middle, sigma = middle_and_sigma(values[None])
            values = values[np.abs(values - middle) <= 3 * sigma]
        found[galaxy] = middle[0], sigma[0]
    return found[:, 0], found[:, 1]


def blank_sigma(images: np.ndarray, stated: np.ndarray, bands: tuple[str, ...], pixel_scale: float) -> np.ndarray:
    """Return the noise of a blank pixel, measured where no source reaches.

    The noise that a store states was measured on cutouts that contain the galaxy. It is some percent too large where
    galaxies fill their images.

    Parameters
    ----------
    images : array
        Images (galaxy, band, row, col).
    stated : array
        Noise (galaxy, band) that the store states. It is returned for images without blank sky.
    bands : tuple of str
        Names of the bands.
    pixel_scale : float
        Side of a pixel [arcsec].

    Returns
    -------
    array
        Noise (galaxy, band) float32, in the unit of the images.
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

    Attributes
    ----------
    where : array of bool
        Pixels that are sky (galaxy, row, col).
    images : array
        Sky of the target and of the translation (2, galaxy, band, row, col), minus its median, in units of the sigma of
        the target; 0 where there is no sky, or no sigma.
    level : array
        The medians (2, galaxy, band) [nanomaggy/pixel]; NaN where there is no sky.
    sigma : array
        1.4826 times the median absolute deviations (2, galaxy, band) [nanomaggy/pixel]; NaN where there is no sky.
    """

    where: np.ndarray
    images: np.ndarray
    level: np.ndarray
    sigma: np.ndarray


def sky_of(sample: Sample) -> Sky:
    """Return the sky of a sample."""
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
