"""Files like the coadds that surveys publish: their names, extensions and header cards, with known galaxies.

What a header has, and where it is from: HSC-SSP PDR3 `calexp` (FLUXMAG0 and FILTER in the primary header, IMAGE, MASK
with MP_ planes, VARIANCE); DES DR2 tiles (SCI, MSK, WGT, compressed); a brick of Legacy Surveys DR10; Pan-STARRS1 DR2
stacks (asinh, old WCS keywords); KiDS DR4 coadds (maggies).
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import known_sky
import numpy as np
from astropy.io import fits

from survey_tools.images.sky_wcs import tan_wcs
from survey_tools.surveys import SURVEYS

CENTRE = (150.0, 2.0)  # ra, dec of a tile's middle [deg]
SHAPE = (200, 220)
ASINH = 2.5 * np.log10(np.e)
SATURATED = (slice(98, 101), slice(100, 103))  # pixels that the companion flags
NOISE = 0.002  # standard deviation of a pixel [nanomaggy]


@dataclass(frozen=True)
class Coadd:
    """A tile before it is written.

    Attributes
    ----------
    band : str
        Its band.
    image : (row, col) float
        Flux [nanomaggy/pixel].
    flags : (row, col) bool
        Saturated pixels.
    wcs : fits.Header
        Cards of its WCS.
    """

    band: str
    image: np.ndarray
    flags: np.ndarray
    wcs: fits.Header


def grid(survey: str):
    """Return the TAN WCS of a tile."""
    scale = SURVEYS[survey].pixel_scale / 3600
    return tan_wcs(CENTRE, (110.5, 100.5), scale * np.diag([-1.0, 1.0]))


def galaxy(survey: str, row: float = 99.3, col: float = 101.2, flux: float = 40.0):
    """Return a galaxy at a pixel of the tile, with its flux [nanomaggy]."""
    return known_sky.Galaxy(*known_sky.position(grid(survey), row, col), flux=flux)


def write(
    survey: str, folder: Path, band: str, *, flux: float = 40.0, edit: Callable | None = None, size: int = 0
) -> Path:
    """Write the tile of a band with one galaxy, and its companions, as the survey does.

    `edit` changes its header. With a `size`, a square around the galaxy is written, as cutouts are.
    """
    wcs = grid(survey)
    image = known_sky.draw(wcs, SHAPE, [galaxy(survey, flux=flux)], NOISE, seed=ord(band)).astype(float)
    flags = np.zeros(SHAPE, bool)
    flags[SATURATED] = True
    cards = fits.Header()
    cards["CTYPE1"], cards["CTYPE2"] = "RA---TAN", "DEC--TAN"
    for axis in (1, 2):
        cards[f"CRVAL{axis}"], cards[f"CRPIX{axis}"] = CENTRE[axis - 1], float(wcs.wcs.crpix[axis - 1])
        cards[f"CD{axis}_{axis}"] = float(wcs.wcs.cd[axis - 1, axis - 1])
    if size:
        row, col = 100 - size // 2, 102 - size // 2
        image, flags = (each[row : row + size, col : col + size] for each in (image, flags))
        cards["CRPIX1"], cards["CRPIX2"] = cards["CRPIX1"] - col, cards["CRPIX2"] - row
    folder.mkdir(parents=True, exist_ok=True)
    return WRITERS[survey](folder, Coadd(band, image, flags, cards), edit or (lambda header: None))


def _hsc(folder: Path, coadd: Coadd, edit: Callable) -> Path:
    primary = fits.PrimaryHDU()
    primary.header["FILTER"], primary.header["FLUXMAG0"] = f"HSC-{coadd.band.upper()}", 63095734448.0194
    edit(primary.header)
    mask = np.where(coadd.flags, 1 << 3, 1 << 5).astype(np.int32)
    mask[:20] |= 1 << 20  # as large as planes get
    hdus = [primary]
    for name, data in (
        ("IMAGE", coadd.image * 10 ** (0.4 * 4.5)),
        ("MASK", mask),
        ("VARIANCE", np.full(coadd.flags.shape, NOISE**2)),
    ):
        data = data.astype(np.int32 if name == "MASK" else np.float32)
        hdus.append(fits.ImageHDU(data, coadd.wcs.copy()))
        hdus[-1].header["EXTTYPE"], hdus[-1].header["EXTNAME"] = name, name
        for axis in (1, 2):  # a second WCS, which places the pixels within the tract
            hdus[-1].header[f"CTYPE{axis}A"], hdus[-1].header[f"CUNIT{axis}A"] = "LINEAR", "PIXEL"
            hdus[-1].header[f"CRPIX{axis}A"], hdus[-1].header[f"CRVAL{axis}A"] = 1.0, 7900.0
    for name, bit in (("MP_SAT", 3), ("MP_BAD", 0), ("HIERARCH MP_NO_DATA", 8), ("HIERARCH MP_DETECTED", 5)):
        hdus[2].header[name] = bit
    path = folder / f"calexp-HSC-{coadd.band.upper()}-9813-4,4.fits"
    fits.HDUList(hdus).writeto(path)
    return path


DECAM = {
    "g": "g DECam SDSS c0001 4720.0 1520.0",
    "r": "r DECam SDSS c0002 6415.0 1480.0",
    "i": "i DECam SDSS c0003 7835.0 1470.0",
    "z": "z DECam SDSS c0004 9260.0 1520.0",
    "y": "Y DECam c0005 10095.0 1130.0",
}


def _des(folder: Path, coadd: Coadd, edit: Callable) -> Path:
    header = coadd.wcs.copy()
    header["FILTER"], header["BAND"] = DECAM[coadd.band], "Y" if coadd.band == "y" else coadd.band
    header["MAGZERO"], header["TELESCOP"], header["INSTRUME"] = 30.0, "CTIO 4.0-m telescope", "DECam"
    header["SATURATE"] = 60000.0
    edit(header)
    science = (coadd.image * 1000).astype(np.float32)
    hdus = [
        fits.PrimaryHDU(),
        fits.CompImageHDU(science, header, name="SCI", quantize_level=64, quantize_method=2),
        fits.CompImageHDU(np.where(coadd.flags, 2, 0).astype(np.int32), header, name="MSK"),
        fits.CompImageHDU(np.ones(coadd.flags.shape, np.float32), header, name="WGT"),
    ]
    path = folder / f"DES1000+0209_r4920p01_{'Y' if coadd.band == 'y' else coadd.band}.fits.fz"
    fits.HDUList(hdus).writeto(path)
    return path


def _legacy(folder: Path, coadd: Coadd, edit: Callable) -> Path:
    header = coadd.wcs.copy()
    header["EQUINOX"] = 2000.0
    for key, value in {
        "SURVEY": "DECaLS+BASS+MzLS",
        "OBSTYPE": "object",
        "BRICK": "1500p020",
        "BANDS": "griz",
        "BAND0": "g",
        "TELESCOP": "CTIO 4.0-m telescope",
        "INSTRUME": "DECam",
        "FILTER": DECAM[coadd.band],
        "FILTERX": coadd.band,
        "IMTYPE": "image",
        "PRODTYPE": "image",
        "MAGZERO": 22.5,
        "BUNIT": "nanomaggy",
    }.items():
        header[key] = value
    edit(header)
    image = fits.CompImageHDU(coadd.image.astype(np.float32), header, quantize_level=64, quantize_method=2)
    path = folder / f"legacysurvey-1500p020-image-{coadd.band}.fits.fz"
    fits.HDUList([fits.PrimaryHDU(), image]).writeto(path)
    bits = {"g": 0x4, "r": 0x8, "i": 0x4000, "z": 0x10}
    mask = np.where(coadd.flags, 0x1 | sum(bits.values()), 0).astype(np.int32)
    mask[150:, :] = 0x10 if coadd.band != "z" else 0x4  # of another band
    companion = fits.CompImageHDU(mask, name="MASKBITS")
    name = "legacysurvey-1500p020-maskbits.fits.fz"
    fits.HDUList([fits.PrimaryHDU(), companion]).writeto(folder / name, overwrite=True)
    return path


def _ps1(folder: Path, coadd: Coadd, edit: Callable) -> Path:
    header, exposure = coadd.wcs.copy(), 731.0
    scale = header["CD2_2"]
    for key in ("CD1_1", "CD2_2"):
        del header[key]
    header["CDELT1"], header["CDELT2"] = scale, scale
    header["PC001001"], header["PC001002"], header["PC002001"], header["PC002002"] = -1.0, 0.0, 0.0, 1.0
    header["HIERARCH FPA.FILTERID"] = f"{coadd.band}.00000"
    header["HIERARCH FPA.ZP"], header["EXPTIME"] = 25.0, exposure
    header["BOFFSET"], header["BSOFTEN"] = 7.172080516815, 221.8863810555
    edit(header)
    counts = coadd.image * exposure * 10 ** (0.4 * 2.5)
    asinh = ASINH * np.arcsinh((counts - 7.172080516815) / (2 * 221.8863810555))
    image = fits.CompImageHDU(asinh.astype(np.float32), header, quantize_level=256, quantize_method=1)
    path = folder / f"rings.v3.skycell.1313.057.stk.{coadd.band}.unconv.fits"
    fits.HDUList([fits.PrimaryHDU(), image]).writeto(path)
    flags = fits.Header()
    flags["MSKNUM"], flags["MSKNAM00"], flags["MSKVAL00"] = 2, "BLANK", 8
    flags["MSKNAM01"], flags["MSKVAL01"] = "SAT", 32
    mask = np.where(coadd.flags, 32, 0).astype(np.uint16)
    mask[:, 140:] = 8
    companion = fits.CompImageHDU(mask, flags)
    fits.HDUList([fits.PrimaryHDU(), companion]).writeto(folder / path.name.replace(".fits", ".mask.fits"))
    return path


def _kids(folder: Path, coadd: Coadd, edit: Callable) -> Path:
    header = coadd.wcs.copy()
    header["FILTER"], header["OBJECT"] = f"OCAM_{coadd.band}_SDSS", "KIDS_150.1_2.2"
    header["INSTRUME"] = "OMEGACAM"
    edit(header)
    path = folder / f"KiDS_DR4.0_150.1_2.2_{coadd.band}_sci.fits"
    fits.PrimaryHDU((coadd.image * 1e-9).astype(np.float32), header).writeto(path)
    for ending, data in (
        ("msk", np.where(coadd.flags, 2, 0).astype(np.uint8)),
        ("wei", np.ones(coadd.flags.shape, np.float32)),
    ):
        fits.PrimaryHDU(data, header).writeto(folder / path.name.replace("_sci", f"_{ending}"))
    return path


WRITERS = {"hsc": _hsc, "des": _des, "legacy": _legacy, "ps1": _ps1, "kids": _kids}
