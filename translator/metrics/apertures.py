"""Light within circles around the centre of images."""

import numpy as np

RADIUS = 2.0  # of the aperture of `aperture_flux` [arcsec]


def centre_distance(shape: tuple[int, int]) -> np.ndarray:
    """Return the distance of each pixel's centre from the centre of an image of this shape (row, col) [pixel]."""
    rows, cols = (np.arange(side) - (side - 1) / 2 for side in shape)
    return np.hypot(rows[:, None], cols)


def aperture_pixels(shape: tuple[int, int], pixel_scale: float, radius: float = RADIUS) -> np.ndarray:
    """Return which pixels (row, col) have their centres within a radius [arcsec] of the centre of an image."""
    return centre_distance(shape) * pixel_scale <= radius


def aperture_flux(images: np.ndarray, pixel_scale: float, radius: float = RADIUS) -> np.ndarray:
    """Return the light of the pixels whose centres lie within a radius of the centre of each image.

    Parameters
    ----------
    images : array
        Images (…, row, col) [nanomaggy/pixel].
    pixel_scale : float
        Side of a pixel [arcsec].
    radius : float, optional
        Radius of the aperture [arcsec].

    Returns
    -------
    array
        Flux (…) [nanomaggy]; NaN where a pixel of the aperture has no value.
    """
    return images[..., aperture_pixels(images.shape[-2:], pixel_scale, radius)].sum(axis=-1, dtype=float)
