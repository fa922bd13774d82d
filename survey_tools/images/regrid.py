"""Flux on another grid: by bilinear interpolation, or by the exact areas of overlapping pixels."""

from functools import cache
from math import cos, hypot, sin

import numpy as np
from astropy.wcs import WCS
from astropy.wcs.wcsapi import HighLevelWCSWrapper

from survey_tools.images.sky_wcs import ROUNDING, IcrsGrid, local_cd, tan_terms

WHOLE = 1e-6  # fraction of a pixel that may lack data, because of rounding
AT_ONCE = 2_000_000  # parts of edges whose integrals are in memory at once


def collected(image: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Return the light of an image in each cell of another grid.

    Parameters
    ----------
    image : (row, col) float
        Flux per pixel; NaN is no data.
    corners : (2, rows + 1, columns + 1) float
        Rows and columns in the image of the corners of all cells, counted from 0 at the centre of its first pixel.
        Cells share their corners, and their sides are straight.

    Returns
    -------
    (rows, columns) float64
        Flux per cell; NaN if a part of a cell has no data or lies outside the image.
    """
    there = np.isfinite(image)
    light, data = _along_rows(np.where(there, image, 0.0)), _along_rows(there.astype(float))
    corners = np.asarray(corners, float) + 0.5  # now pixels begin at whole numbers
    flux = np.empty((corners.shape[1] - 1, corners.shape[2] - 1))
    across = np.abs(np.diff(corners, axis=1)).max() + np.abs(np.diff(corners, axis=2)).max()
    step = max(1, int(AT_ONCE / (2 * flux.shape[1] * (2 * across + 4))))
    for first in range(0, len(flux), step):
        part = corners[:, first : first + step + 1]
        area = _around(lambda row, col: col, part)
        covered = _around(_primitive(data), part)
        gone = covered * np.sign(area) < np.abs(area) * (1 - WHOLE)
        flux[first : first + step] = np.where(gone, np.nan, _around(_primitive(light), part) * np.sign(area))
    return flux


def _along_rows(image: np.ndarray) -> np.ndarray:
    """Return sums (row, col + 1) of the pixels of each row before a column."""
    sums = np.zeros((image.shape[0], image.shape[1] + 1))
    np.cumsum(image, axis=1, out=sums[:, 1:])
    return sums


def _primitive(sums: np.ndarray):
    """Return the integral of an image along its rows up to a place, as a function of row and column."""
    rows, cols = sums.shape[0], sums.shape[1] - 1

    def integral(row: np.ndarray, col: np.ndarray) -> np.ndarray:
        at, left = np.floor(row).astype(int), np.clip(np.floor(col).astype(int), 0, cols - 1)
        inside = (at >= 0) & (at < rows)
        at = np.clip(at, 0, rows - 1)
        begun = sums[at, left]
        found = begun + (sums[at, left + 1] - begun) * np.clip(col - left, 0, 1)
        return np.where(inside, found, 0.0)

    return integral


def _around(integral, corners: np.ndarray) -> np.ndarray:
    """Return the integral over each cell of the function whose primitive along rows is `integral`, by Green's theorem.

    Each side adds to one cell what it takes from its neighbour, so that no light is lost between them.
    """
    down = _along(integral, corners[:, :-1], corners[:, 1:])
    right = _along(integral, corners[:, :, :-1], corners[:, :, 1:])
    return right[:-1] + down[:, 1:] - right[1:] - down[:, :-1]


def _along(integral, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Return the line integral of `integral` over rows, along straight sides from `start` to `end` (2, …).

    Between two borders of pixels the integrand is linear, so its value in the middle gives the exact integral.
    """
    start, way = start[..., None], (end - start)[..., None]
    least, most = np.minimum(start, start + way), np.maximum(start, start + way)
    number = np.arange(1 + int((np.floor(most) - np.floor(least)).max()))
    borders = np.floor(least) + 1 + number
    with np.errstate(divide="ignore", invalid="ignore"):
        crossed = np.nan_to_num(np.clip((borders - start) / way, 0, 1), nan=1.0)
    ends = np.broadcast_to([0.0, 1.0], (*start.shape[1:-1], 2))
    share = np.sort(np.concatenate([ends, crossed[0], crossed[1]], axis=-1), axis=-1)
    middle = (share[..., 1:] + share[..., :-1]) / 2
    row, col = start + way * middle[None]
    return (integral(row, col) * np.diff(share, axis=-1) * way[0]).sum(axis=-1)


DIRECTION = 1e-8  # [deg] distance to which rounding may move the corner of a grid


def regrid(image: np.ndarray, wcs: WCS, target_wcs: WCS, size: int) -> np.ndarray:
    """Return the flux per pixel of an image on another grid: bilinear interpolation times the ratio of pixel areas.

    Interpolation keeps surface brightness. The factor (sky area of a target pixel / of a source pixel, both at the
    centre of their grid) makes it keep flux. The noise is interpolated and not averaged, as in the 64×64 CFHTLS set of
    Lin, Fouchez & Pasquet (2021).

    Parameters
    ----------
    image : (band, row, col) or (row, col) float
        Flux per pixel; NaN is no data.
    wcs : WCS
        Celestial WCS of the image.
    target_wcs : WCS
        Celestial WCS of the new grid.
    size : int
        Number of rows, and of columns, of the new grid.

    Returns
    -------
    (band, size, size) or (size, size) float32
        NaN if one of the four source pixels around the centre of a target pixel has no data or lies outside the image.
    """
    image, shape = np.asarray(image), image.shape[-2:]
    image = image.astype(np.result_type(image.dtype, np.float32), copy=False)
    source, target = _directions(wcs, shape), _directions(target_wcs, (size, size))
    if source is None or target is None or _frame(wcs) != _frame(target_wcs):
        return _by_reproject(image, wcs, target_wcs, size)
    row, col = _projected(np.linalg.inv(source[0]) @ target[0], size)
    flux = _bilinear(image.reshape(-1, *shape), row, col, target[1] / source[1])
    return flux.reshape(*image.shape[:-2], size, size).astype(np.float32, copy=False)


def _by_reproject(image: np.ndarray, wcs: WCS, target_wcs: WCS, size: int) -> np.ndarray:
    """Return the result of `regrid` by reproject, for any projection; `IcrsGrid` states where pixels lie."""
    from reproject import reproject_interp  # takes a second to load

    shape, new = image.shape[-2:], (size, size)
    area = abs(np.linalg.det(local_cd(target_wcs, new)) / np.linalg.det(local_cd(wcs, shape)))
    grids = (HighLevelWCSWrapper(IcrsGrid(wcs, shape)), HighLevelWCSWrapper(IcrsGrid(target_wcs)))
    mean = reproject_interp(
        (image, grids[0]),
        grids[1],
        shape_out=(*image.shape[:-2], *new),
        order="bilinear",
        roundtrip_coords=False,  # `IcrsGrid` gives no pixel where there is none
        return_footprint=False,
    )
    return (mean * area).astype(np.float32, copy=False)


def _is_tan(wcs: WCS) -> bool:
    """Return whether a WCS states a plain projection onto a tangent plane, with right ascension first."""
    terms = wcs.wcs
    axes = (*terms.ctype, terms.lonpole) == ("RA---TAN", "DEC--TAN", 180.0)
    return axes and not wcs.has_distortion and not terms.get_pv()


def _frame(wcs: WCS) -> tuple:
    """Return the keywords that distinguish one equatorial frame from another."""
    equinox = wcs.wcs.equinox
    return wcs.wcs.radesys, None if np.isnan(equinox) else equinox


def _directions(wcs: WCS, shape: tuple[int, int]) -> tuple[np.ndarray, float] | None:
    """Return the matrix from pixels to directions, and the solid angle [steradian] of the central pixel.

    The matrix (3, 3) turns (col, row, 1), counted from 0, into a vector towards that place of the sky. The pixels of a
    tangent plane are equidistant points of a plane in space, so that a matrix and a division connect two such grids: no
    sine is needed for each pixel, and nothing is approximated. None for a WCS that is not plain TAN.
    """
    if not _is_tan(wcs):
        return None
    crval, crpix, cd = tan_terms(wcs)
    ra, dec = np.radians(crval).tolist()
    (a, b), (c, d) = np.radians(cd).tolist()
    col, row = (1 - crpix).tolist()
    plane = np.array([[a, b, a * col + b * row], [c, d, c * col + d * row], [0.0, 0.0, 1.0]])
    east, north = (-sin(ra), cos(ra), 0.0), (-sin(dec) * cos(ra), -sin(dec) * sin(ra), cos(dec))
    axes = np.array([east, north, (cos(dec) * cos(ra), cos(dec) * sin(ra), sin(dec))])
    col, row = col + (shape[1] - 1) / 2, row + (shape[0] - 1) / 2
    distance = hypot(a * col + b * row, c * col + d * row, 1)  # from the origin of all directions to the centre
    matrix = axes.T @ plane
    if not _agrees(wcs, matrix, shape):
        return None
    return matrix, abs(a * d - b * c) / distance**3


def _agrees(wcs: WCS, matrix: np.ndarray, shape: tuple[int, int]) -> bool:
    """Return whether a WCS and a matrix put the corners of a grid at the same places: TAN may hide polynomials."""
    last_row, last_col = shape[0] - 1.0, shape[1] - 1.0
    corners = np.array([(0, 0), (last_col, 0), (0, last_row), (last_col, last_row)])
    x, y, z = matrix @ np.column_stack([corners, np.ones(4)]).T
    found = np.degrees([np.arctan2(y, x), np.arctan2(z, np.hypot(x, y))])
    ra, dec = np.abs(found.T - wcs.wcs_pix2world(corners, 0)).T
    ra = np.abs((ra + 180) % 360 - 180) * np.cos(np.radians(found[1]))
    return bool(max(ra.max(), dec.max()) < DIRECTION)


@cache
def _pixels(size: int) -> np.ndarray:
    """Return columns, rows and ones (3, pixel) of a grid of size × size, row by row."""
    row, col = np.indices((size, size)).reshape(2, -1)
    return np.stack([col, row, np.ones_like(row)]).astype(float)


def _projected(matrix: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and columns, each (pixel,), that a matrix of homogeneous coordinates gives the pixels of a grid.

    NaN if a direction is not on the side of the sky that the tangent plane shows.
    """
    col, row, depth = matrix @ _pixels(size)
    if depth.min() <= 0:
        depth[depth <= 0] = np.nan
    row /= depth
    col /= depth
    return row, col


def _bilinear(image: np.ndarray, row: np.ndarray, col: np.ndarray, factor: float) -> np.ndarray:
    """Return `factor` times the values (band, position) of images (band, row, col) at positions (position,).

    Positions outside have NaN. The four pixels around a position, and their weights, are the same in all bands. Bands
    are processed one by one, so that the pixels of one band are still in the cache when they are read again.
    """
    rows, cols = image.shape[1:]
    within = min(row.min(), col.min()) >= 0 and row.max() < rows - 1 and col.max() < cols - 1
    if not within:
        inside = (row >= -ROUNDING) & (row <= rows - 1 + ROUNDING) & (col >= -ROUNDING) & (col <= cols - 1 + ROUNDING)
        row, col = (np.where(inside, np.clip(at, 0, n - 1), 0) for at, n in ((row, rows), (col, cols)))
    top, left = np.floor(row), np.floor(col)
    if not within:  # on the last row or column, the first of the two is the one before it
        top, left = np.minimum(top, max(rows - 2, 0)), np.minimum(left, max(cols - 2, 0))
    lower, right = (row - top).astype(image.dtype), (col - left).astype(image.dtype)
    lower *= image.dtype.type(factor)
    upper = image.dtype.type(factor) - lower
    upper_right, lower_right = upper * right, lower * right
    weights = upper - upper_right, upper_right, lower - lower_right, lower_right
    beside, below = min(1, cols - 1), cols * min(1, rows - 1)  # an image may have only one row or column
    top *= cols
    top += left
    place = top.astype(int)
    flux, part = np.empty((len(image), len(row)), image.dtype), np.empty(len(row), image.dtype)
    for band, out in zip(image.reshape(len(image), -1), flux, strict=True):
        band.take(place, out=out, mode="wrap")  # all lie inside; this mode does not check it again
        out *= weights[0]
        for step, weight in zip((beside, below, below + beside), weights[1:], strict=True):
            band[step:].take(place, out=part, mode="wrap")
            part *= weight
            out += part
    if not within:
        flux[:, ~inside] = np.nan
    return flux
