"""Cross-match positions: one-to-one nearest pairs of two catalogues on the sphere, and the offset of their images'
peaks.
"""

import os
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import product

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord, angular_separation
from astropy.utils.exceptions import AstropyUserWarning
from astropy.wcs import WCS
from photutils.centroids import centroid_quadratic
from scipy.ndimage import gaussian_filter, maximum_filter
from scipy.spatial import cKDTree

from survey_tools.images.sky_wcs import tan_places
from survey_tools.sphere import chord, directions, unit_vectors

TIE = 1e-12  # [radian] distances that differ by less, 0.2 microarcsec, are equal, as float64 is no more precise
SHIFT = 20  # radii by which a catalogue is shifted to count matches by chance
DIRECTIONS = 8  # number of directions of the shift
SMOOTHING = 1 / 64  # Gaussian sigma before a peak is sought, as a fraction of an image's side: 0.4" in a 25" cutout
SEARCH = 1 / 8  # how far from the centre a peak may lie, as a fraction of the side: 3.2" in a 25" cutout
CORES = os.cpu_count() or 1
BLOCK = 1 << 16  # points that a thread works on at once, so that its arrays stay in the cache
CELL = 10  # side of the cells in which neighbours are sought [radius]: one or two along an axis meet a sphere
CROWD = 128  # places in the table of cells for each point that marks cells
LARGEST_TABLE = 28  # binary digits of a cell's place: 256 MB
HASH = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], np.uint64)  # odd, of random bits


def match(x: SkyCoord, y: SkyCoord, radius, *, workers: int | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the pairs in which each object is the nearest neighbour of the other, within a radius.

    Parameters
    ----------
    x : SkyCoord
        Positions (object,) of one catalogue, in any frame.
    y : SkyCoord
        Positions (object,) of the other catalogue.
    radius : Quantity or float
        Largest separation, an angle or a number of arcsec.
    workers : int, optional
        Number of threads, by default as many as there are cores. They do not change the result.

    Returns
    -------
    x_row, y_row, separation : ndarray
        Rows of x, rows of y and separations [arcsec], each (pair,), in the order of x. No row occurs twice. Of
        neighbours at equal distance the one in the lowest row is the nearest.

    Examples
    --------
    >>> x = SkyCoord([10.0, 11.0], [0.0, 0.0], unit="deg")
    >>> y = SkyCoord([11.0001, 50.0], [0.0, 0.0], unit="deg")
    >>> x_row, y_row, separation = match(x, y, 1.0)
    >>> x_row.tolist(), y_row.tolist(), separation.round(2).tolist()
    ([1], [0], [0.36])
    """
    limit = _radians(radius)
    workers = workers or CORES
    x, y = _points(x, workers), _points(y, workers)
    x_row, y_row = _mutual(x, y, limit, workers)
    separation = np.degrees(_angle(x[:, x_row], y[:, y_row])) * 3600
    near = separation <= np.degrees(limit) * 3600
    return x_row[near], y_row[near], separation[near]


def closest(x: SkyCoord, y: SkyCoord) -> float:
    """Return the smallest separation between any position of x and any position of y.

    Parameters
    ----------
    x, y : SkyCoord
        Positions (object,).

    Returns
    -------
    float
        [arcsec]; infinity if there are no positions.
    """
    if len(x) == 0 or len(y) == 0:
        return np.inf
    nearest = cKDTree(_points(y, CORES).T).query(_points(x, CORES).T, workers=CORES)[0].min()
    return float(np.degrees(2 * np.arcsin(min(nearest / 2, 1))) * 3600)


def false_match_rate(x: SkyCoord, y: SkyCoord, radius, count: int) -> float:
    """Return the fraction of matches that chance alone gives.

    y is shifted on the sphere by 20 radii in each of 8 directions, which keeps its clustering and leaves no true match.
    The mean number of matches of x with the shifted y, over `count`, is the result.

    Parameters
    ----------
    x, y : SkyCoord
        Positions (object,).
    radius : Quantity or float
        Radius of the matches, an angle or a number of arcsec.
    count : int
        Number of matches of x with y.

    Returns
    -------
    float
        At most 1; NaN if `count` is 0.
    """
    if count == 0:
        return np.nan
    return min(1.0, float(np.mean(matches_by_chance(x, y, radius))) / count)


def matches_by_chance(x: SkyCoord, y: SkyCoord, radius, wanted: np.ndarray | None = None) -> list[int]:
    """Return how many matches chance alone gives, for y shifted in each direction (`false_match_rate`).

    Parameters
    ----------
    x, y : SkyCoord
        Positions (object,).
    radius : Quantity or float
        Radius of the matches, an angle or a number of arcsec.
    wanted : ndarray, optional
        Which objects of x count (object,) bool; all by default.

    Returns
    -------
    list of int
        One number for each of `DIRECTIONS`.
    """
    limit = _radians(radius)
    angles = np.arange(DIRECTIONS) * 2 * np.pi / DIRECTIONS
    workers = CORES if wanted is None else 1
    x, y = _points(x, workers), _points(y, workers)
    found = (_mutual(x, _shifted(y, angle, SHIFT * limit), limit, workers)[0] for angle in angles)
    return [len(rows) if wanted is None else int(wanted[rows].sum()) for rows in found]


def peak_position(image: np.ndarray) -> tuple[float, float]:
    """Return the sub-pixel position of the brightest peak near the centre of an image.

    The image is smoothed by a Gaussian (sigma 1/64 of its side). The highest local maximum within 1/8 of its side from
    the centre is taken. A paraboloid through its neighbours gives the fraction of a pixel (`centroid_quadratic` of
    photutils). Missing pixels (NaN) have no weight.

    Parameters
    ----------
    image : ndarray
        (row, col).

    Returns
    -------
    col, row : float
        Position, counted from 0. NaN if there is no maximum: no pixel, a constant, or only the wing of a neighbour.
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
    """Return the position on the sky of the peak of an image (`peak_position`).

    Parameters
    ----------
    image : ndarray
        (row, col).
    wcs : WCS
        Its WCS.

    Returns
    -------
    ra, dec : float
        [deg]; NaN if there is no peak.
    """
    return tuple(wcs.wcs_pix2world([peak_position(image)], 0)[0])


def peak_positions(images: np.ndarray) -> np.ndarray:
    """Return the peaks of many images at once: those of `peak_position`, to rounding, a hundred times as fast.

    Parameters
    ----------
    images : ndarray
        (object, row, col).

    Returns
    -------
    ndarray
        (object, 2) col and row, counted from 0; NaN if there is no maximum.
    """
    images = np.asarray(images)
    side, middle = min(images.shape[1:]), (np.array(images.shape[1:]) - 1) / 2
    start = np.maximum(np.floor(middle - side * (SEARCH + 4 * SMOOTHING) - 1).astype(int), 0)
    cut = (slice(first, size - first) for first, size in zip(start, images.shape[1:], strict=True))
    part = images[(slice(None), *cut)]
    smooth = _smooth(part.astype(float), side * SMOOTHING)
    row, col = np.indices(part.shape[1:])
    distance = np.hypot(row + start[0] - middle[0], col + start[1] - middle[1])
    allowed = np.isfinite(part) & (distance <= side * SEARCH)
    lowest = smooth.min(axis=(1, 2), initial=np.inf, where=allowed)
    top = maximum_filter(smooth, (1, 3, 3), mode="nearest")
    peaks = allowed & (smooth == top) & (smooth > lowest[:, None, None])
    height = np.where(peaks, smooth, -np.inf).reshape(len(images), -1)
    row, col = np.divmod(np.argmax(height, axis=1), part.shape[2])
    padded = np.pad(smooth, ((0, 0), (1, 1), (1, 1)), mode="edge")
    steps = np.arange(3)
    at = np.arange(len(images))[:, None, None]
    boxes = padded[at, row[:, None, None] + steps[:, None], col[:, None, None] + steps]
    places = np.stack([col + start[1], row + start[0]], axis=1) + _fractions(boxes)
    places[~peaks.any(axis=(1, 2))] = np.nan
    return places


def peaks_on_sky(images: np.ndarray, crval: np.ndarray, crpix: np.ndarray, cd: np.ndarray) -> np.ndarray:
    """Return the positions on the sky of the peaks of many images (`peak_positions`).

    Parameters
    ----------
    images : ndarray
        (object, row, col).
    crval, crpix, cd : ndarray
        The TAN terms of each: (object, 2) [deg], (object, 2) [pixel, from 1], (object, 2, 2) [deg/pixel].

    Returns
    -------
    ndarray
        (object, 2) right ascension and declination [deg]; NaN if there is no peak, or no WCS.
    """
    if not len(images):
        return np.zeros((0, 2))
    found = tan_places(crval, crpix - peak_positions(images), cd, np.zeros((1, 2)))
    return directions(found[:, 0])


def peak_offset(image_x: np.ndarray, wcs_x: WCS, image_y: np.ndarray, wcs_y: WCS) -> float:
    """Return the angle between the peaks of two images of one object.

    Parameters
    ----------
    image_x, image_y : ndarray
        (row, col) each.
    wcs_x, wcs_y : WCS
        Their WCS.

    Returns
    -------
    float
        [arcsec]; NaN if an image has no peak.
    """
    return float(separation_of(np.array(peak_on_sky(image_x, wcs_x)), np.array(peak_on_sky(image_y, wcs_y))))


def separation_of(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the angles between positions.

    Parameters
    ----------
    x, y : ndarray
        (…, 2) right ascension and declination [deg].

    Returns
    -------
    ndarray
        (…) [arcsec].
    """
    x, y = np.radians(x), np.radians(y)
    return np.degrees(angular_separation(x[..., 0], x[..., 1], y[..., 0], y[..., 1])) * 3600


def _radians(radius) -> float:
    """Return an angle, or a number of arcsec, in radians. Raise ValueError if it is not positive."""
    angle = u.Quantity(radius, u.arcsec).to_value(u.rad)
    if not 0 < angle <= np.pi:
        raise ValueError(f"a radius of {radius} is not between 0 and 180 deg")
    return float(angle)


def _each(function: Callable, items: list, workers: int) -> list:
    """Return the results of `function` for all items, in their order, on threads if there are several."""
    if min(workers, len(items)) <= 1:
        return [function(item) for item in items]
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(function, items))


def _blocks(count: int) -> list[slice]:
    """Return slices that cover `count` points."""
    return [slice(start, start + BLOCK) for start in range(0, count, BLOCK)]


def _points(position: SkyCoord, workers: int) -> np.ndarray:
    """Return positions as points (3, object) on the unit sphere. Raise ValueError if one is NaN."""
    position = position.icrs
    longitude, latitude = position.ra.deg, position.dec.deg
    points = np.empty((3, len(longitude)))

    def place(part: slice) -> None:
        points[:, part] = unit_vectors(longitude[part], latitude[part], axis=0)

    _each(place, _blocks(len(longitude)), workers)
    if np.isnan(points[0].sum()):
        raise ValueError(f"position {np.flatnonzero(np.isnan(points[0]))[0]} is not a number; leave such objects out")
    return points


def _shifted(points: np.ndarray, angle: float, shift: float) -> np.ndarray:
    """Return points (3, object) moved on the sphere by `shift` towards the position angle `angle`, both in radians."""
    radius = np.hypot(points[0], points[1])
    cos, sin = np.divide(points[:2], radius, out=np.tile([[1.0], [0.0]], points.shape[1]), where=radius > 0)
    north = np.stack([-points[2] * cos, -points[2] * sin, radius])
    east = np.stack([-sin, cos, np.zeros_like(sin)])
    return np.cos(shift) * points + np.sin(shift) * (np.cos(angle) * north + np.sin(angle) * east)


def _angle(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return angles (object,) [radian] between points of the unit sphere, each (3, object); exact for small and large
    ones.
    """
    return 2 * np.arctan2(np.linalg.norm(a - b, axis=0), np.linalg.norm(a + b, axis=0))


def _mutual(x: np.ndarray, y: np.ndarray, limit: float, workers: int) -> tuple[np.ndarray, np.ndarray]:
    """Return rows of x and of y, each (pair,) in the order of x, that are each other's nearest, within or hardly beyond
    `limit`.

    Points (3, object) without a neighbour, and all but the first of the points at one place, are in no pair. So few
    points are left that building and asking their trees is faster than asking one tree of all points.
    """
    bound = chord(limit) + 2 * TIE
    x_kept, y_kept = _neighboured(x, y, bound + 2 * TIE, workers)
    x, x_kept = _distinct(x, x_kept)
    y, y_kept = _distinct(y, y_kept)
    x_tree, y_tree = _each(cKDTree, [x, y], workers)
    y_of_x = _nearest(y_tree, x, x_tree.indices, bound, workers)
    x_row = np.flatnonzero(y_of_x >= 0)
    asked = np.zeros(len(y), bool)
    asked[y_of_x[x_row]] = True
    x_of_y = _nearest(x_tree, y, y_tree.indices[asked[y_tree.indices]], bound, workers)
    x_row = x_row[x_of_y[y_of_x[x_row]] == x_row]
    return x_kept[x_row], y_kept[y_of_x[x_row]]


def _neighboured(x: np.ndarray, y: np.ndarray, reach: float, workers: int) -> tuple[np.ndarray, np.ndarray]:
    """Return rows of x and of y, points (3, object), that may have one of the other within `reach`: all of these, and
    few others.

    The catalogue with fewer points marks the cells that a sphere of `reach` around each of them meets. A point in no
    marked cell has no neighbour. The place of a cell in the table is its hash, so that tables are small: some cells
    share one.
    """
    if x.shape[1] < y.shape[1]:
        return _neighboured(y, x, reach, workers)[::-1]
    digits = int(np.clip(np.log2(CROWD * y.shape[1] + 1) + 1, 10, LARGEST_TABLE))
    x_row = _in_marked(x, _marked(y, reach, digits, workers), reach, workers)
    y_row = _in_marked(y, _marked(x[:, x_row], reach, digits, workers), reach, workers)
    return x_row, y_row


def _marked(points: np.ndarray, reach: float, digits: int, workers: int) -> np.ndarray:
    """Return which of 2**digits places are those of cells that meet a sphere of `reach` around one of points (3,
    object).
    """
    marked = np.zeros(1 << digits, bool)

    def mark(part: slice) -> None:
        ends = [_cells(points[:, part], reach, offset) for offset in (-reach, reach)]
        for i, j, k in product(*zip(*ends, strict=True)):
            marked[_place(i + j + k, digits)] = True

    _each(mark, _blocks(points.shape[1]), workers)
    return marked


def _in_marked(points: np.ndarray, marked: np.ndarray, reach: float, workers: int) -> np.ndarray:
    """Return the rows of the points (3, object) that lie in a marked cell."""
    digits = len(marked).bit_length() - 1

    def look(part: slice) -> np.ndarray:
        i, j, k = _cells(points[:, part], reach, 0.0)
        return np.flatnonzero(marked.take(_place(i + j + k, digits))) + part.start

    return np.concatenate([np.zeros(0, int), *_each(look, _blocks(points.shape[1]), workers)])


def _cells(points: np.ndarray, reach: float, offset: float) -> list[np.ndarray]:
    """Return what the cell of each of points (3, object), moved by `offset` along all axes, adds to its hash, axis by
    axis.
    """
    cells = (((axis + (1 + offset)) * (1 / (CELL * reach))).astype(np.int64).view(np.uint64) for axis in points)
    return [cell * odd for cell, odd in zip(cells, HASH, strict=True)]


def _place(hashed: np.ndarray, digits: int) -> np.ndarray:
    """Return the first `digits` binary digits of hashes, as an index."""
    hashed >>= np.uint64(64 - digits)
    return hashed.view(np.int64)


def _distinct(points: np.ndarray, row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return points (object, 3), and rows, of `row` in points (3, object), with only the first of the points at one
    place.

    A nearest neighbour is always the first of them. A thousand objects at one place, such as that of unknown positions,
    would have a million neighbours.
    """
    points = points[:, row]
    if (np.diff(np.sort(points[0])) == 0).any():
        order = np.lexsort(points)
        first = np.append(True, (np.diff(points[:, order]) != 0).any(axis=0))[: len(order)]
        kept = np.sort(order[first])
        points, row = points[:, kept], row[kept]
    return np.ascontiguousarray(points.T), row


def _nearest(tree: cKDTree, points: np.ndarray, asked: np.ndarray, bound: float, workers: int) -> np.ndarray:
    """Return the row in `tree` nearest to each of points (object, 3), of equals the lowest; -1 if none is within
    `bound`.

    Rows that are not among those `asked` have -1, too. Neighbours are asked for in the order of the points' own tree,
    which is up to three times as fast as another order, because successive points find the same branches in the cache.
    """
    nearest = np.full(len(points), -1)
    if tree.n == 0 or len(asked) == 0:
        return nearest
    distance, row = tree.query(points[asked], k=[1, 2], distance_upper_bound=bound, workers=workers)
    nearest[asked] = np.where(np.isfinite(distance[:, 0]), row[:, 0], -1)
    tied = np.flatnonzero(np.isfinite(distance[:, 1]) & (distance[:, 1] <= distance[:, 0] + TIE))
    for part in (tied[block] for block in _blocks(len(tied))):
        equals = tree.query_ball_point(points[asked[part]], distance[part, 0] + TIE, workers=workers)
        nearest[asked[part]] = [min(rows) for rows in equals]
    return nearest


def _fraction(box: np.ndarray) -> tuple[float, float]:
    """Return how far (col, row) [pixel] the top of a paraboloid through 3 × 3 pixels lies from the middle one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyUserWarning)  # a plateau has no top and no fit: the middle is kept
        col, row = centroid_quadratic(box, fit_boxsize=3) - 1
    return (col, row) if abs(col) <= 1 and abs(row) <= 1 and box[1, 1] > box.min() else (0.0, 0.0)


def _fractions(boxes: np.ndarray) -> np.ndarray:
    """Return how far (object, 2), col and row [pixel], the tops of paraboloids through boxes (object, 3, 3) lie from
    the middle, as `_fraction` does.

    The paraboloid of least squares through nine pixels is a sum of them (Vakili & Hogg 2016, arXiv:1610.05873).
    """
    _, c10, c01, c11, c20, c02 = PARABOLOID @ boxes.reshape(-1, 9).T
    with np.errstate(divide="ignore", invalid="ignore"):
        det = 4 * c20 * c02 - c11**2
        found = np.stack([c01 * c11 - 2 * c02 * c10, c10 * c11 - 2 * c20 * c01], axis=1) / det[:, None]
    has_top = (det > 0) & (c20 <= 0) & (np.abs(found) < 1).all(axis=1)
    has_top &= boxes[:, 1, 1] > boxes.min(axis=(1, 2))
    found[~has_top] = 0.0
    for tied in np.flatnonzero(np.argmax(boxes.reshape(-1, 9), axis=1) != 4):  # plateaus, which are rare
        found[tied] = _fraction(boxes[tied])
    return found


def _paraboloid() -> np.ndarray:
    """Return the matrix (6, 9) from 3 × 3 pixels to the coefficients 1, x, y, xy, x² and y² around the middle one."""
    y, x = (axis.ravel().astype(float) for axis in np.indices((3, 3)) - 1)
    return np.linalg.pinv(np.stack([np.ones(9), x, y, x * y, x * x, y * y], axis=1))


PARABOLOID = _paraboloid()


def _smooth(image: np.ndarray, sigma: float) -> np.ndarray:
    """Return an image (row, col), or images (object, row, col), under a Gaussian of `sigma` [pixel], over the pixels
    that have data; 0 where none is near.
    """
    data = np.isfinite(image)
    widths = (0,) * (image.ndim - 2) + (sigma, sigma)
    weight = gaussian_filter(data.astype(float), widths, mode="nearest")
    flux = gaussian_filter(np.where(data, image, 0), widths, mode="nearest")
    return np.divide(flux, weight, out=np.zeros_like(flux), where=weight > 1e-6)
