"""Cross-match: one-to-one nearest pairs of two catalogues on the sphere, and the offset of their images' peaks."""

import warnings

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord, angular_separation
from astropy.utils.exceptions import AstropyUserWarning
from astropy.wcs import WCS
from photutils.centroids import centroid_quadratic
from scipy.ndimage import gaussian_filter, maximum_filter
from scipy.spatial import cKDTree

TIE = 1e-12  # [radian] distances that differ by less, 0.2 microarcsec, are equal: float64 tells them no better
SHIFT = 20  # radii by which a catalogue is shifted to count matches by chance
DIRECTIONS = 8  # in which it is shifted
SMOOTHING = 1 / 64  # Gaussian sigma before a peak is sought, as a fraction of an image's side: 0.4" in a 25" cutout
SEARCH = 1 / 8  # how far from the centre a peak may lie, as a fraction of the side: 3.2" in a 25" cutout


def match(x: SkyCoord, y: SkyCoord, radius) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pairs of which each is the other's nearest neighbour on the sphere, no farther apart than `radius`.

    Args:
        x: Positions (object,) of one catalogue, in any frame.
        y: Positions (object,) of the other.
        radius: An angle, or arcsec.

    Returns:
        Rows of x, rows of y and separations [arcsec], each (pair,), in the order of x. No row occurs twice. Among
        neighbours equally far the one in the lowest row is the nearest.
    """
    limit = _radians(radius)
    x_tree, y_tree = _tree(x), _tree(y)
    y_of_x = _nearest(y_tree, x_tree.data, limit)
    x_of_y = _nearest(x_tree, y_tree.data, limit)
    x_row = np.flatnonzero(y_of_x >= 0)
    x_row = x_row[x_of_y[y_of_x[x_row]] == x_row]
    y_row = y_of_x[x_row]
    separation = x[x_row].icrs.separation(y[y_row].icrs).to_value(u.arcsec)
    near = separation <= np.degrees(limit) * 3600
    return x_row[near], y_row[near], separation[near]


def closest(x: SkyCoord, y: SkyCoord) -> float:
    """The smallest separation [arcsec] between any position of x and any of y; infinity where one of them is empty."""
    if len(x) == 0 or len(y) == 0:
        return np.inf
    chord = _tree(y).query(_tree(x).data)[0].min()
    return float(np.degrees(2 * np.arcsin(min(chord / 2, 1))) * 3600)


def false_match_rate(x: SkyCoord, y: SkyCoord, radius, count: int) -> float:
    """The fraction of `count` matches that chance alone gives: matches of x with y shifted, over `count`.

    y is shifted on the sphere by 20 radii in each of 8 directions, which keeps its clustering and leaves no true
    match; the mean number of matches counts. NaN where `count` is 0, and never more than 1.
    """
    if count == 0:
        return np.nan
    angles = np.arange(DIRECTIONS) * 2 * np.pi / DIRECTIONS * u.rad
    shift = SHIFT * _radians(radius) * u.rad
    chance = [len(match(x, y.icrs.directional_offset_by(angle, shift), radius)[0]) for angle in angles]
    return min(1.0, float(np.mean(chance)) / count)


def peak_position(image: np.ndarray) -> tuple[float, float]:
    """The sub-pixel position (col, row), counted from 0, of the brightest peak near the centre of an image (row, col).

    The image is smoothed by a Gaussian (sigma 1/64 of its side); of the local maxima within 1/8 of its side from the
    centre the highest is taken; a paraboloid through its neighbours gives the fraction of a pixel (photutils'
    `centroid_quadratic`). Missing pixels (NaN) weigh nothing. NaN where there is no maximum: no pixel, a constant, or
    nothing but the wing of a neighbour.
    """
    side = min(image.shape)
    middle = (np.array(image.shape) - 1) / 2
    start = np.maximum(np.floor(middle - side * (SEARCH + 4 * SMOOTHING) - 1).astype(int), 0)
    part = image[tuple(slice(first, size - first) for first, size in zip(start, image.shape, strict=True))]
    smooth = _smooth(part.astype(float), side * SMOOTHING)
    row, col = np.indices(part.shape)
    distance = np.hypot(row + start[0] - middle[0], col + start[1] - middle[1])
    allowed = np.isfinite(part) & (distance <= side * SEARCH)
    lowest = smooth.min(initial=np.inf, where=allowed)
    peaks = allowed & (smooth == maximum_filter(smooth, 3, mode="nearest")) & (smooth > lowest)
    if not peaks.any():
        return np.nan, np.nan
    row, col = np.unravel_index(np.argmax(np.where(peaks, smooth, -np.inf)), part.shape)
    fraction = _fraction(np.pad(smooth, 1, mode="edge")[row : row + 3, col : col + 3])
    return float(col + start[1] + fraction[0]), float(row + start[0] + fraction[1])


def peak_on_sky(image: np.ndarray, wcs: WCS) -> tuple[float, float]:
    """Right ascension and declination [deg] of `peak_position(image)`; NaN where there is none."""
    return tuple(wcs.wcs_pix2world([peak_position(image)], 0)[0])


def peak_offset(image_x: np.ndarray, wcs_x: WCS, image_y: np.ndarray, wcs_y: WCS) -> float:
    """The angle [arcsec] between the peaks of two images (row, col) of one object; NaN where one has no peak."""
    return float(separation_of(np.array(peak_on_sky(image_x, wcs_x)), np.array(peak_on_sky(image_y, wcs_y))))


def separation_of(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Angles (…,) [arcsec] between positions x and y, each (…, 2) right ascension and declination [deg]."""
    x, y = np.radians(x), np.radians(y)
    return np.degrees(angular_separation(x[..., 0], x[..., 1], y[..., 0], y[..., 1])) * 3600


def _radians(radius) -> float:
    """An angle, or arcsec, in radians; ValueError where it is not positive."""
    angle = u.Quantity(radius, u.arcsec).to_value(u.rad)
    if not 0 < angle <= np.pi:
        raise ValueError(f"a radius of {radius} is not between 0 and 180 deg")
    return float(angle)


def _tree(position: SkyCoord) -> cKDTree:
    """Positions as points on the unit sphere, where neither RA 0/360 nor the poles are special."""
    return cKDTree(position.icrs.cartesian.xyz.value.T)


def _nearest(tree: cKDTree, points: np.ndarray, limit: float) -> np.ndarray:
    """The row in `tree` nearest to each point (point, 3); -1 where none lies within `limit` [radian]."""
    if tree.n == 0 or len(points) == 0:
        return np.full(len(points), -1)
    bound = 2 * np.sin(limit / 2) + 2 * TIE
    distance, row = tree.query(points, k=[1, 2], distance_upper_bound=bound)
    nearest = np.where(np.isfinite(distance[:, 0]), row[:, 0], -1)
    for tied in np.flatnonzero(distance[:, 1] <= distance[:, 0] + TIE):
        if np.isfinite(distance[tied, 0]):
            nearest[tied] = min(tree.query_ball_point(points[tied], distance[tied, 0] + TIE))
    return nearest


def _fraction(box: np.ndarray) -> tuple[float, float]:
    """How far (col, row) [pixel] the top of a paraboloid through 3 × 3 pixels lies from the middle one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyUserWarning)  # no fit on a plateau, which has no top: the middle stands
        col, row = centroid_quadratic(box, fit_boxsize=3) - 1
    return (col, row) if abs(col) <= 1 and abs(row) <= 1 and box[1, 1] > box.min() else (0.0, 0.0)


def _smooth(image: np.ndarray, sigma: float) -> np.ndarray:
    """An image (row, col) under a Gaussian of `sigma` [pixel], over the pixels that have data; 0 where none is near."""
    data = np.isfinite(image)
    weight = gaussian_filter(data.astype(float), sigma, mode="nearest")
    flux = gaussian_filter(np.where(data, image, 0), sigma, mode="nearest")
    return np.divide(flux, weight, out=np.zeros_like(flux), where=weight > 1e-6)
