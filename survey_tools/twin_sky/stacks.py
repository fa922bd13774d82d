"""Simulated CFHTLS stacks: tiles like those of T0007, with its keywords, zero point 30, and 0 where no data are."""

from pathlib import Path

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS

from survey_tools.atomic import whole_file
from survey_tools.photometry import nanomaggies_to_counts
from survey_tools.surveys import CFHT
from survey_tools.tan import tan_wcs
from survey_tools.twin_sky.exposure import CFHT_EXPOSURE, CfhtExposure
from survey_tools.version import VERSION

FILTERS = {"u": "u.MP9301", "g": "g.MP9401", "r": "r.MP9601", "i": "i.MP9701", "z": "z.MP9801"}
BORDER = 16  # pixels along a stack's edges that no exposure reached
NEVER_EMPTY = 1e-6  # counts of a covered pixel that no light reaches in a noise-free stack: 0 would mean no data


def tile_wcs(ra: float, dec: float, size: int) -> WCS:
    """WCS of a stack of size × size pixels centred on (ra, dec) [deg]: north up, tangent at its centre."""
    degrees = CFHT.pixel_scale / 3600
    return tan_wcs((ra, dec), ((size + 1) / 2,) * 2, [[-degrees, 0.0], [0.0, degrees]])


def stack_path(root: Path, band: str, wcs: WCS) -> Path:
    """Where a stack lies; named after its centre as real ones are, though not with their prefix."""
    centre = SkyCoord(*wcs.wcs.crval, unit="deg")
    ra = centre.ra.to_string("hour", sep="", precision=0, pad=True)
    dec = centre.dec.to_string("deg", sep="", precision=0, pad=True, alwayssign=True)
    return root / "cfht" / f"TWINSKY_W_{band}_{ra}{dec}_T0007_MEDIAN.fits"


def covered(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Which pixels (row, col) at least one exposure reached: not the border, one cut corner and a dead column."""
    row, col = np.ogrid[: shape[0], : shape[1]]
    edge = np.minimum(np.minimum(row, shape[0] - 1 - row), np.minimum(col, shape[1] - 1 - col))
    corner = np.abs(row - rng.choice([0, shape[0]])) + np.abs(col - rng.choice([0, shape[1]])) > shape[0] // 20
    dead = (np.abs(col - rng.integers(shape[1])) <= 1) & (row < shape[0] // 4)
    return (edge >= BORDER) & corner & ~dead


def write_stack(root: Path, band: str, flux: np.ndarray, wcs: WCS, exposure: CfhtExposure, seed: int) -> None:
    """Write a stack from flux (row, col) [nanomaggy/pixel], NaN where no exposure reached."""
    counts = nanomaggies_to_counts(flux, CFHT.zero_point).astype(np.float32)
    counts = np.where(np.isnan(counts), 0, np.where(counts == 0, np.float32(NEVER_EMPTY), counts))
    primary = fits.PrimaryHDU(counts)
    _describe(primary.header, band, wcs, exposure, seed)
    path = stack_path(root, band, wcs)
    primary.header["FILENAME"] = path.name
    with whole_file(path) as temporary:
        primary.writeto(temporary)


def _describe(header: fits.Header, band: str, wcs: WCS, exposure: CfhtExposure, seed: int) -> None:
    header["EQUINOX"] = 2000.0, "Mean equinox"
    header["RADECSYS"] = "ICRS", "Astrometric system"
    header.update(CTYPE1="RA---TAN", CTYPE2="DEC--TAN", CUNIT1="deg", CUNIT2="deg")
    header.update(CRVAL1=wcs.wcs.crval[0], CRVAL2=wcs.wcs.crval[1], CRPIX1=wcs.wcs.crpix[0], CRPIX2=wcs.wcs.crpix[1])
    header.update(CD1_1=wcs.wcs.cd[0, 0], CD1_2=0.0, CD2_1=0.0, CD2_2=wcs.wcs.cd[1, 1])
    header["EXPTIME"] = CFHT_EXPOSURE[band], "Total exposure time (in seconds)"
    header["GAIN"] = exposure.gain, "Maximum equivalent gain (e-/ADU)"
    # a whole number at or below the level of the clipped pixels, whatever the last digit of their floats
    header["SATURATE"] = float(np.floor(exposure.saturation * (1 - 1e-6))), "Saturation Level (ADU)"
    header["RELEASE"] = "galtrans twin sky, after CFHTLS T0007"
    header["TERAPIX"] = "T0007", "release that this simulation follows"
    header.update(TELESCOP="simulated", INSTRUME="MegaPrime", DETECTOR="MegaCam")
    header["FILTER"] = FILTERS[band], "Name of filter in position"
    header["OBJECT"] = "twin sky"
    header["COMBINET"] = "MEDIAN"
    header["MZP_AB"] = CFHT.zero_point, "Zeropoint Magnitude (AB)"
    header["IQIMAGE"] = round(exposure.psf.fwhm, 4), "Image Quality of this stack (arcsec)"
    header["ORIGIN"] = "galtrans twin sky"
    header["SIMULATD"] = True, "simulated, not observed"
    header["SIMSEED"] = seed, "random seed of the simulation"
    header["SIMVERS"] = VERSION, "version of galtrans"
