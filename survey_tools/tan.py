"""Tangent-plane (TAN) grids of pixels: made, read and compared. Pixel axes of FITS count from 1, arrays from 0."""

import warnings

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS, FITSFixedWarning
from astropy.wcs.utils import proj_plane_pixel_scales, wcs_to_celestial_frame


def tan_wcs(crval, crpix, cd) -> WCS:
    """The ICRS TAN WCS with these FITS terms: crval (2,) [deg], crpix (2,) [pixel, from 1], cd (2, 2) [deg/pixel]."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.radesys = "ICRS"
    wcs.wcs.crval = crval
    wcs.wcs.crpix = crpix
    wcs.wcs.cd = cd
    wcs.wcs.set()
    return wcs


def north_up_wcs(ra: float, dec: float, pixel_scale: float, size: int) -> WCS:
    """A grid of size × size pixels centred on (ra, dec) [deg], north up and east left; pixel_scale in arcsec/pixel."""
    degrees = pixel_scale / 3600
    centre = (size + 1) / 2
    return tan_wcs((ra, dec), (centre, centre), [[-degrees, 0.0], [0.0, degrees]])


def rescaled_wcs(wcs: WCS, shape: tuple[int, int], pixel_scale: float, size: int | tuple[int, int]) -> WCS:
    """A grid with the centre and orientation of another.

    The grid `wcs` of `shape` (rows, columns) keeps its sky centre, rotation and parity; the new one has `size` rows and
    columns, one number where it is square, of `pixel_scale` [arcsec/pixel].
    """
    rows, cols = shape
    crval = wcs.wcs_pix2world([[(cols - 1) / 2, (rows - 1) / 2]], 0)[0]
    ratio = pixel_scale / scale_of(wcs)
    new_rows, new_cols = np.broadcast_to(size, 2)
    return tan_wcs(crval, ((new_cols + 1) / 2, (new_rows + 1) / 2), local_cd(wcs, shape) * ratio)


def local_cd(wcs: WCS, shape: tuple[int, int]) -> np.ndarray:
    """The CD matrix (2, 2) [deg/pixel] that `wcs` has at the centre of a grid of `shape` (rows, columns)."""
    centre = np.array([(shape[1] - 1) / 2, (shape[0] - 1) / 2])
    pixels = np.stack([centre, centre + [1, 0], centre + [0, 1]])
    tangent = tan_wcs(wcs.wcs_pix2world(pixels[:1], 0)[0], (1, 1), np.eye(2))
    offsets = tangent.wcs_world2pix(wcs.wcs_pix2world(pixels, 0), 0)
    return np.stack([offsets[1] - offsets[0], offsets[2] - offsets[0]], axis=1)


def tan_terms(wcs: WCS) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """crval (2,) [deg], crpix (2,) [pixel, from 1] and cd (2, 2) [deg/pixel] of a TAN WCS."""
    return wcs.wcs.crval.copy(), wcs.wcs.crpix.copy(), wcs.pixel_scale_matrix.copy()


def scale_of(wcs: WCS) -> float:
    """Pixel scale [arcsec/pixel]: the geometric mean of both axes at the reference pixel."""
    return float(np.sqrt(np.prod(proj_plane_pixel_scales(wcs)))) * 3600


def icrs_tan(wcs: WCS) -> WCS:
    """A celestial WCS as ICRS TAN terms, which keep every pixel where it is.

    ValueError where they cannot: for another projection, for distortions, and for coordinates that are neither ICRS nor
    FK5 (J2000).
    """
    projection = tuple(wcs.wcs.ctype)
    if projection != ("RA---TAN", "DEC--TAN") or wcs.has_distortion:
        raise ValueError(f"the projection {', '.join(projection)}{' with distortions' * wcs.has_distortion}, not TAN")
    frame = wcs_to_celestial_frame(wcs)
    if frame.name not in ("icrs", "fk5"):
        raise ValueError(f"coordinates {frame.name}, not ICRS or FK5")
    crval, crpix, cd = tan_terms(wcs)
    reference = SkyCoord(*crval, unit="deg", frame=frame).icrs  # FK5 J2000 lies 0.02" off, and turned by as little
    return tan_wcs((reference.ra.deg, reference.dec.deg) if frame.name == "fk5" else crval, crpix, cd)


def read_wcs(header: fits.Header) -> WCS | None:
    """The celestial WCS that a FITS header states; None where it states none. Repairs of old keywords are silent."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FITSFixedWarning)
        wcs = WCS(header).celestial
    return wcs if wcs.naxis == 2 and wcs.has_celestial else None


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
