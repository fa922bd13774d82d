"""Regrid: the flux of an image on another grid of pixels, by bilinear interpolation."""

import numpy as np
from astropy.wcs import WCS
from reproject import reproject_interp

from survey_tools.tan import local_cd

EDGE = 1e-6  # [pixel] by which rounding may put a pixel centre outside an image on whose edge it lies


def regrid(image: np.ndarray, wcs: WCS, target_wcs: WCS, size: int) -> np.ndarray:
    """The flux per pixel of an image on another grid: bilinear interpolation times the ratio of pixel areas.

    Interpolation keeps surface brightness; the factor (sky area of a target pixel / of a source pixel, both at the
    centre of their grid) makes it keep flux. The noise is interpolated and not averaged, as in the 64×64 CFHTLS set of
    Lin, Fouchez & Pasquet (2021).

    Args:
        image: (band, row, col) or (row, col), flux per pixel; NaN = no data.
        wcs: Celestial WCS of `image`.
        target_wcs: Celestial WCS of the new grid.
        size: Rows, and columns, of the new grid.

    Returns:
        float32 (band, size, size) or (size, size); NaN where one of the four source pixels around the centre of a
        target pixel has no data or lies outside the image.
    """
    flux = reproject_interp(
        (image, wcs), target_wcs, (size, size), order="bilinear", roundtrip_coords=False, return_footprint=False
    )
    shape = image.shape[-2:]
    area = np.linalg.det(local_cd(target_wcs, (size, size))) / np.linalg.det(local_cd(wcs, shape))
    flux[..., ~_inside(wcs, shape, target_wcs, size)] = np.nan
    return (flux * abs(area)).astype(np.float32)


def _inside(wcs: WCS, shape: tuple[int, int], target_wcs: WCS, size: int) -> np.ndarray:
    """Which pixels (size, size) of the target have their centre among the pixel centres of an image of `shape`."""
    row, col = np.indices((size, size))
    sky = target_wcs.wcs_pix2world(np.stack([col.ravel(), row.ravel()], axis=1), 0)
    col, row = wcs.wcs_world2pix(sky, 0).T.reshape(2, size, size)
    return (row >= -EDGE) & (row <= shape[0] - 1 + EDGE) & (col >= -EDGE) & (col <= shape[1] - 1 + EDGE)
