"""Cutouts: the pixels around a position, resampled onto another grid with an exact WCS; and the noise of empty sky."""

from dataclasses import dataclass

import numpy as np
from astropy.wcs import WCS
from scipy.ndimage import distance_transform_edt, map_coordinates, maximum_filter
from scipy.special import ndtri

from survey_tools.images.regrid import collected
from survey_tools.images.sky_wcs import is_icrs, pixels_of, places_of

SPLINE_REACH = 16  # [pixel] the influence of a pixel on a cubic spline falls by 0.27 per pixel: to 1e-9 here
COARSER = 1.1  # side of a target pixel in source pixels, beyond which light is collected and not interpolated
MAD_OF_ONE_SIGMA = ndtri(0.75)  # median absolute deviation of a normal distribution of unit standard deviation
NEAR = 0.1  # distance within which the sky without sources is looked for first [standard deviations]
SOURCE_MARGIN = 3  # [pixel] around a bright pixel, for the wings, which are not blank sky


@dataclass(frozen=True)
class Cutout:
    """One band of one object.

    Attributes
    ----------
    image : (row, col) float32
        Flux [nanomaggy/pixel]; NaN if there is no data.
    saturated : (row, col) bool
        True where the detector was saturated.
    wcs : WCS
        TAN WCS of these pixels.
    """

    image: np.ndarray
    saturated: np.ndarray
    wcs: WCS


def resample(image, wcs: WCS, target: WCS, size: int | tuple[int, int]) -> np.ndarray:
    """Return the flux per pixel that an image has on another grid; flux is kept.

    Onto pixels of about the same size and onto finer ones, this is bicubic interpolation, which keeps surface
    brightness, times the ratio of pixel areas. Onto coarser pixels, it is the light that falls into them
    (`regrid.collected`), because interpolation would read only the image at their centres and miss stars between these.
    Only the part of the image around the target is read.

    Parameters
    ----------
    image : (row, col) array_like
        Flux per pixel; an array, or anything with a shape that can be sliced. NaN is no data.
    wcs : WCS
        Celestial WCS of the image.
    target : WCS
        Celestial WCS of the new grid.
    size : int or (int, int)
        Rows and columns of the new grid; one number if it is square.

    Returns
    -------
    (row, col) float32
        NaN if one of the source pixels that count is missing or outside the image. For interpolation these are the four
        nearest ones.
    """
    source = _pixels_in(wcs, target, size)
    if not _meets(source, image.shape):
        return np.full(source.shape[1:], np.nan, np.float32)
    area = _area(source)
    if area > COARSER**2:
        return _collected(image, wcs, target, source.shape[1:]).astype(np.float32)
    start, shape = _extent(source, SPLINE_REACH)
    pixels, inside = _cut(image, start, shape), source - start[:, None, None]
    missing = ~np.isfinite(pixels)
    if missing.all():
        return np.full(source.shape[1:], np.nan, np.float32)
    if missing.any():  # the nearest data replace a gap, so that it does not ring through the spline into the stamp
        pixels = pixels[tuple(distance_transform_edt(missing, return_distances=False, return_indices=True))]
    flux = map_coordinates(pixels.astype(float), inside, order=3, mode="mirror")
    if missing.any():
        flux[map_coordinates(missing.astype(float), inside, order=1, mode="nearest") > 1e-9] = np.nan
    return (flux * (area if is_icrs(wcs) else _areas(source, area))).astype(np.float32)


def resample_flags(
    flags, wcs: WCS, target: WCS, size: int | tuple[int, int], *, interpolated: bool = False
) -> np.ndarray:
    """Return which pixels of another grid touch a flagged pixel; see `resample`.

    A target pixel is flagged if any of the four source pixels around its centre is flagged, or any of those that fall
    into a coarser target pixel. Outside the image no pixel is flagged.

    Parameters
    ----------
    flags : (row, col) bool
        The flags.
    wcs : WCS
        Celestial WCS of the flags.
    target : WCS
        Celestial WCS of the new grid.
    size : int or (int, int)
        Rows and columns of the new grid; one number if it is square.
    interpolated : bool
        Whether the image was interpolated onto coarser pixels too, as `regrid.regrid` does: only the four nearest
        pixels then count.

    Returns
    -------
    (row, col) bool
    """
    source = _pixels_in(wcs, target, size)
    if not _meets(source, flags.shape):
        return np.zeros(source.shape[1:], bool)
    if not interpolated and _area(source) > COARSER**2:
        return _collected(flags, wcs, target, source.shape[1:], beyond=0.0) > 1e-9
    start, shape = _extent(source, 1)
    touched = np.nan_to_num(_cut(flags, start, shape))
    return map_coordinates(touched, source - start[:, None, None], order=1) > 1e-9


def sky_sigma(image: np.ndarray, mask: np.ndarray) -> float:
    """Return the standard deviation of blank sky, without sources, in the unit of the image.

    Sources are clipped at 3 sigma around the median, with a margin for their wings. The rest is measured by the median
    absolute deviation, which the remaining light changes least.

    Parameters
    ----------
    image : (row, col) float
        The image.
    mask : (row, col) bool
        True for pixels to leave out.

    Returns
    -------
    float
        NaN if fewer than 20 pixels are left.
    """
    good = ~mask & np.isfinite(image)
    if np.count_nonzero(good) < 20:
        return float("nan")
    sky, sigma = _clipped(np.sort(image.ravel() if good.all() else image[good]))
    source = good & (image > sky + 3 * sigma)
    blank = good & ~maximum_filter(_clusters(source), 2 * SOURCE_MARGIN + 1)
    values = image[blank if np.count_nonzero(blank) >= 20 else good & ~source]
    median = _middle(values, sky, NEAR * sigma)
    return _middle(np.abs(values.astype(float) - median), MAD_OF_ONE_SIGMA * sigma, NEAR * sigma) / MAD_OF_ONE_SIGMA


def _middle(values: np.ndarray, guess: float, width: float) -> float:
    """Return the median of values (n,) in any order; if it is within `width` of `guess`, few of them are sorted."""
    low, first, last = guess - width, (len(values) - 1) // 2, len(values) // 2
    above = values >= low
    near, below = values[above & (values <= guess + width)], len(values) - np.count_nonzero(above)
    if below <= first and last < below + len(near):
        values, first, last = near, first - below, last - below
    values = np.sort(values)
    return (float(values[first]) + float(values[last])) / 2


def _clipped(values: np.ndarray) -> tuple[float, float]:
    """Return median and standard deviation without all values three standard deviations away; `values` ascend."""
    while True:
        sky, sigma = _median_and_sigma(values)
        first, last = values.searchsorted(sky - 3 * sigma), values.searchsorted(sky + 3 * sigma, side="right")
        if last - first == len(values):
            return sky, sigma
        values = values[first:last]


def _median_and_sigma(values: np.ndarray) -> tuple[float, float]:
    """Return the median of values (n,) that ascend, and their standard deviation by the median absolute deviation.

    Values that are sorted once need no sorting again, which makes this ten times faster than two medians.
    """
    middle = (len(values) - 1) // 2, len(values) // 2
    median = (float(values[middle[0]]) + float(values[middle[1]])) / 2
    nearest = _nearest(values, median, middle[0], middle[1] - middle[0])
    return median, (nearest[0] + nearest[-1]) / 2 / MAD_OF_ONE_SIGMA


def _nearest(values: np.ndarray, centre: float, count: int, more: int) -> list[float]:
    """Return the distance from `centre` of that ascending value to which `count` other values are nearer, and those of
    `more` values that are the next nearest.
    """
    split, size = int(values.searchsorted(centre)), len(values)
    low, high = max(0, count + 1 - (size - split)), min(count + 1, split)
    while low < high:  # how many of the `count + 1` nearest lie below the centre
        below = (low + high) // 2
        if centre - float(values[split - 1 - below]) < float(values[split + count - below]) - centre:
            low = below + 1
        else:
            high = below
    first, last = split - low, split + count - low  # the `count + 1` nearest, from one to the other
    left = centre - float(values[first]) if first < split else 0.0
    right = float(values[last]) - centre if last >= split else 0.0
    found = [max(left, right)]
    for _ in range(more):
        left = centre - float(values[first - 1]) if first > 0 else np.inf
        right = float(values[last + 1]) - centre if last + 1 < size else np.inf
        first, last = (first - 1, last) if left < right else (first, last + 1)
        found.append(min(left, right))
    return found


def _clusters(source: np.ndarray) -> np.ndarray:
    """Return the bright pixels that have bright neighbours: galaxies and stars, and not the tail of the noise."""
    neighbours = np.zeros(source.shape, np.uint8)
    neighbours[1:] += source[:-1]
    neighbours[:-1] += source[1:]
    neighbours[:, 1:] += source[:, :-1]
    neighbours[:, :-1] += source[:, 1:]
    return source & (neighbours >= 2)


def _pixels_in(wcs: WCS, target: WCS, size: int | tuple[int, int]) -> np.ndarray:
    """Return row and column (2, row, col), from 0, in the grid `wcs` of every pixel of the grid `target`."""
    shape = np.broadcast_to(size, 2)
    row, col = np.indices(shape)
    return _in(wcs, target, row.astype(float), col.astype(float))


def _in(wcs: WCS, target: WCS, row: np.ndarray, col: np.ndarray) -> np.ndarray:
    """Return row and column (2, …) in the grid `wcs` of rows and columns (…) of the grid `target`."""
    sky = places_of(target, np.stack([col.ravel(), row.ravel()], axis=1))
    return pixels_of(wcs, sky).T[::-1].reshape(2, *row.shape)


def _collected(image, wcs: WCS, target: WCS, shape: tuple[int, int], beyond: float = np.nan) -> np.ndarray:
    """Return the light of an image in the pixels of a coarser grid of `shape`; NaN if a part of a pixel lacks data.

    `beyond` replaces missing data.
    """
    row, col = np.indices([side + 1 for side in shape]) - 0.5
    corners = _in(wcs, target, row, col)
    if not np.isfinite(corners).all():
        return np.full(shape, beyond)
    start, size = _extent(corners, 1)
    pixels = _cut(image, start, size)
    return collected(np.nan_to_num(pixels, nan=beyond), corners - start[:, None, None])


def _area(source: np.ndarray) -> float:
    """Return the mean area of a target pixel in pixels of the source, from `_pixels_in`."""
    diagonals = source[:, -1, -1] - source[:, 0, 0], source[:, -1, 0] - source[:, 0, -1]
    rows, cols = source.shape[1:]
    return abs(np.linalg.det(diagonals)) / 2 / ((rows - 1) * (cols - 1))


def _areas(source: np.ndarray, mean: float) -> np.ndarray | float:
    """Return the area of each target pixel (row, col) in pixels of the source; distortions change it."""
    if min(source.shape[1:]) < 2:
        return mean
    down, right = np.gradient(source, axis=1), np.gradient(source, axis=2)
    return np.abs(down[0] * right[1] - down[1] * right[0])


def _meets(source: np.ndarray, shape: tuple[int, int]) -> bool:
    """Return whether some pixel positions `source` (2, row, col) may lie on an image of `shape`.

    NaN, which a tangent plane has for the far side of the sky, does not. Near the rim of the plane, positions are so
    far apart that the box around them must not be filled.
    """
    last = np.array(shape)[:, None] - 1
    ends = np.stack([source.min(axis=(1, 2)), source.max(axis=(1, 2))], axis=1)
    return bool(np.isfinite(source).all() and (ends[:, 1:] >= 0).all() and (ends[:, :1] <= last).all())


def _extent(source: np.ndarray, reach: int) -> tuple[np.ndarray, tuple[int, int]]:
    """Return first (row, col) and shape of the box around positions `source` (2, row, col) with a margin `reach`."""
    start = np.floor(source.min(axis=(1, 2))).astype(int) - reach
    return start, tuple(np.ceil(source.max(axis=(1, 2))).astype(int) + reach + 1 - start)


def _cut(image, start: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return `shape` pixels of an image that begin at (row, col) `start`, float32, NaN beyond its edges."""
    pixels = np.full(shape, np.nan, np.float32)
    low = np.clip(start, 0, image.shape)
    high = np.clip(start + shape, 0, image.shape)
    if (high > low).all():
        inner = tuple(slice(*ends) for ends in zip(low - start, high - start, strict=True))
        pixels[inner] = image[low[0] : high[0], low[1] : high[1]]
    return pixels
