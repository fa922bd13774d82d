"""The light that falls into the pixels of another grid, by the area that pixels of both grids share.

This is what a detector with the new pixels would have counted, so flux is kept from however fine pixels. The areas are
exact: `reproject_exact` computes them on the sphere, where those of pixels below 0.05 arcsec lose their digits.
"""

import numpy as np

WHOLE = 1e-6  # share of a pixel that may lack data, for rounding
AT_ONCE = 2_000_000  # pieces of edges whose integrals are in memory at once


def collected(image: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """The light of an image in each cell of another grid.

    Args:
        image: (row, col) flux per pixel; NaN = no data.
        corners: Rows and columns (2, rows + 1, columns + 1) in the image of the corners of all cells, counted from 0 at
            the centre of its first pixel. Cells share their corners, and their sides are straight.

    Returns:
        (rows, columns) float64, flux per cell; NaN where some of a cell has no data or lies outside the image.
    """
    there = np.isfinite(image)
    light, data = _along_rows(np.where(there, image, 0.0)), _along_rows(there.astype(float))
    corners = np.asarray(corners, float) + 0.5  # pixels begin at whole numbers
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
    """Sums (row, col + 1) of the pixels of each row before a column."""
    sums = np.zeros((image.shape[0], image.shape[1] + 1))
    np.cumsum(image, axis=1, out=sums[:, 1:])
    return sums


def _primitive(sums: np.ndarray):
    """The integral of an image along its rows up to a place: a function of rows and columns; 0 beyond its rows."""
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
    """The integral over each cell of what `integral` is the primitive of along rows, by Green's theorem.

    What a side adds to one cell it takes from its neighbour, so that no light is lost between them.
    """
    down = _along(integral, corners[:, :-1], corners[:, 1:])
    right = _along(integral, corners[:, :, :-1], corners[:, :, 1:])
    return right[:-1] + down[:, 1:] - right[1:] - down[:, :-1]


def _along(integral, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The line integral of `integral` over rows, along straight sides from `start` to `end` (2, …).

    Between two borders of pixels the integrand is linear, so its value in the middle gives the integral exactly.
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
