"""Plain tangent-plane (TAN) grids of pixels in ICRS. Pixel axes of FITS count from 1, arrays from 0."""

import numpy as np
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_scales


def tan_wcs(crval, crpix, cd) -> WCS:
    """The ICRS TAN WCS with these FITS terms: crval (2,) [deg], crpix (2,) [pixel, from 1], cd (2, 2) [deg/pixel]."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.radesys = "ICRS"
    wcs.wcs.crval = crval
    wcs.wcs.crpix = crpix
    wcs.wcs.cd = cd
    wcs.wcs.lonpole = 180.0  # the default too, but for a tangent point at the pole itself
    wcs.wcs.set()
    return wcs


def north_up_wcs(ra: float, dec: float, pixel_scale: float, size: int) -> WCS:
    """A grid of size × size pixels centred on (ra, dec) [deg], north up and east left; pixel_scale in arcsec/pixel."""
    degrees = pixel_scale / 3600
    centre = (size + 1) / 2
    return tan_wcs((ra, dec), (centre, centre), [[-degrees, 0.0], [0.0, degrees]])


def tan_terms(wcs: WCS) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """crval (2,) [deg], crpix (2,) [pixel, from 1] and cd (2, 2) [deg/pixel] of a TAN WCS."""
    return wcs.wcs.crval.copy(), wcs.wcs.crpix.copy(), wcs.pixel_scale_matrix.copy()


def scale_of(wcs: WCS) -> float:
    """Pixel scale [arcsec/pixel]: the geometric mean of both axes at the reference pixel."""
    return float(np.sqrt(np.prod(proj_plane_pixel_scales(wcs)))) * 3600


def tan_places(crval, crpix, cd, pixels: np.ndarray) -> np.ndarray:
    """Directions on the sky, as unit vectors, of pixels of many TAN grids at once.

    Args:
        crval: Of each grid (grid, 2) [deg].
        crpix: (grid, 2) [pixel, from 1].
        cd: (grid, 2, 2) [deg/pixel].
        pixels: Columns and rows of some pixels (pixel, 2), from 0, the same in each grid.

    Returns:
        (grid, pixel, 3); NaN for a grid without a WCS.

    The equations of the gnomonic projection are those of Calabretta & Greisen (2002), A&A 395, 1077.
    """
    offset = pixels[None] + 1.0 - np.asarray(crpix, float)[:, None]
    plane = np.radians(np.einsum("gij,gpj->gpi", np.asarray(cd, float), offset))
    towards, east, north = _tangent(crval)
    made = towards[:, None] + plane[..., :1] * east[:, None] + plane[..., 1:] * north[:, None]
    return made / np.linalg.norm(made, axis=-1, keepdims=True)


def tan_pixels(crval, crpix, cd, places: np.ndarray) -> np.ndarray:
    """Columns and rows (grid, place, 2), from 0, of directions on the sky in many TAN grids.

    Args:
        crval: Of each grid (grid, 2) [deg].
        crpix: (grid, 2) [pixel, from 1].
        cd: (grid, 2, 2) [deg/pixel].
        places: Unit vectors (grid, place, 3), as of `tan_places`.
    """
    towards, east, north = _tangent(crval)
    depth = np.einsum("gpk,gk->gp", places, towards)
    plane = np.stack([np.einsum("gpk,gk->gp", places, axis) / depth for axis in (east, north)], axis=-1)
    known = np.isfinite(cd).all(axis=(1, 2))
    inverse = np.full(np.shape(cd), np.nan)
    inverse[known] = np.linalg.inv(np.asarray(cd, float)[known])
    return np.einsum("gij,gpj->gpi", inverse, np.degrees(plane)) + np.asarray(crpix, float)[:, None] - 1.0


def _tangent(crval) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit vectors (grid, 3) towards the points of tangency (grid, 2) [deg], and east and north of them."""
    ra, dec = np.radians(np.asarray(crval, float)).T
    zero = np.zeros_like(ra)
    towards = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)
    east = np.stack([-np.sin(ra), np.cos(ra), zero], axis=-1)
    north = np.stack([-np.sin(dec) * np.cos(ra), -np.sin(dec) * np.sin(ra), np.cos(dec)], axis=-1)
    return towards, east, north
