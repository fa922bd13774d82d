"""The simulated sky as coadds of HSC, DES, the Legacy Surveys, Pan-STARRS1 and KiDS, with the cards that these have."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from survey_tools.files import whole_file
from survey_tools.photometry import nanomaggies_per_count
from survey_tools.surveys import Survey
from survey_tools.twin_sky.exposure import CoaddExposure
from survey_tools.version import VERSION

NEVER_EMPTY = 1e-9  # [nanomaggy] of a pixel without light in a noise-free coadd: 0 might mean that it has no data
QUANTA = 64  # steps per sigma of the sky, in files that round their pixels
ASINH = 2.5 * np.log10(np.e)  # pixels of Pan-STARRS1 are ASINH * arcsinh((counts - offset) / (2 * softening))
SOFTENING = 2.0  # [sigma of the sky]
DECAM = {
    "g": "g DECam SDSS c0001 4720.0 1520.0",
    "r": "r DECam SDSS c0002 6415.0 1480.0",
    "i": "i DECam SDSS c0003 7835.0 1470.0",
    "z": "z DECam SDSS c0004 9260.0 1520.0",
    "y": "Y DECam c0005 10095.0 1130.0",
}
MASKBITS = {"g": 0x4, "r": 0x8, "i": 0x4000, "z": 0x10}  # of saturated pixels, Legacy Surveys
HSC_PLANES = {"BAD": 0, "SAT": 1, "INTRP": 2, "CR": 3, "EDGE": 4, "DETECTED": 5, "NO_DATA": 8}
PS1_SECONDS = {"g": 516.0, "r": 480.0, "i": 540.0, "z": 360.0, "y": 360.0}  # twelve exposures


@dataclass(frozen=True)
class Coadd:
    """A coadd before it is written.

    Attributes
    ----------
    survey : Survey
        Its survey.
    band : str
        Its band.
    tile : int
        Number of its tile.
    flux : ndarray
        (row, col) [nanomaggy/pixel].
    saturated, empty : ndarray
        (row, col) bool: pixels that saturate, and pixels that no exposure reached.
    wcs : WCS
        WCS of its pixels.
    exposure : CoaddExposure
        Its noise.
    noise : bool
        Whether the flux has noise.
    seed : int
        Seed of the simulation.
    """

    survey: Survey
    band: str
    tile: int
    flux: np.ndarray
    saturated: np.ndarray
    empty: np.ndarray
    wcs: WCS
    exposure: CoaddExposure
    noise: bool
    seed: int

    def counts(self, zero_point: float, marker: float = np.nan) -> np.ndarray:
        """Return the pixels in units of an AB zero point, float32; those without data have the value `marker`."""
        flux = np.where(self.flux == 0, NEVER_EMPTY, self.flux)
        return np.where(self.empty, marker, flux / nanomaggies_per_count(zero_point)).astype(np.float32)

    def header(self, **cards) -> fits.Header:
        """Return a header with the WCS, some cards, and the cards by which the file says that it is simulated."""
        header = fits.Header()
        header.update(CTYPE1="RA---TAN", CTYPE2="DEC--TAN", CUNIT1="deg", CUNIT2="deg", RADESYS="ICRS", EQUINOX=2000.0)
        header.update(CRVAL1=self.wcs.wcs.crval[0], CRVAL2=self.wcs.wcs.crval[1])
        header.update(CRPIX1=self.wcs.wcs.crpix[0], CRPIX2=self.wcs.wcs.crpix[1])
        header.update(CD1_1=self.wcs.wcs.cd[0, 0], CD1_2=0.0, CD2_1=0.0, CD2_2=self.wcs.wcs.cd[1, 1])
        for key, value in cards.items():
            header[key] = value
        header["ORIGIN"] = "galtrans twin sky"
        header["SIMULATD"] = True, "simulated, not observed"
        header["SIMSEED"] = self.seed, "random seed of the simulation"
        header["SIMVERS"] = VERSION, "version of galtrans"
        return header

    def image(self, counts: np.ndarray, header: fits.Header, name: str | None = None) -> fits.CompImageHDU:
        """Return a compressed image, rounded to a part of its noise; without noise nothing is rounded."""
        if not self.noise:
            return _lossless(counts, header, name)
        return fits.CompImageHDU(counts, header, name=name, quantize_level=QUANTA, quantize_method=2, dither_seed=1)

    def level(self, zero_point: float) -> float:
        """Return the level of saturated pixels in units of a zero point, below the last digit of their floats."""
        return float(self.exposure.brightest / nanomaggies_per_count(zero_point) * (1 - 1e-5))

    def gain(self, zero_point: float) -> float:
        """Return the electrons of one unit of a zero point."""
        return float(self.exposure.electrons * nanomaggies_per_count(zero_point))


def _lossless(pixels: np.ndarray, header: fits.Header, name: str | None = None) -> fits.CompImageHDU:
    """Return a compressed image whose pixels are kept as they are."""
    return fits.CompImageHDU(pixels, header, name=name, compression_type="GZIP_2", quantize_level=0.0)


Files = dict[str, fits.HDUList]  # by name


def write_coadd(folder: Path, coadd: Coadd) -> None:
    """Write a coadd, and what accompanies it, as its survey does.

    Parameters
    ----------
    folder : Path
        Folder of the survey's files.
    coadd : Coadd
        The coadd.
    """
    for name, hdus in LAYOUTS[coadd.survey.name](coadd).items():
        with whole_file(folder / name) as temporary:
            hdus.writeto(temporary)


def write_maskbits(folder: Path, tile: int, flags: dict[str, np.ndarray]) -> None:
    """Write the flags of a brick of the Legacy Surveys, which are those of all of its bands.

    Parameters
    ----------
    folder : Path
        Folder of the survey's files.
    tile : int
        Number of the tile.
    flags : dict
        Saturated pixels (row, col) bool by band.
    """
    bits = sum(each.astype(np.int32) * MASKBITS[band] for band, each in flags.items())
    hdus = fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(bits.astype(np.int32), name="MASKBITS")])
    with whole_file(folder / f"legacysurvey-{_brick(tile)}-maskbits.fits.fz") as temporary:
        hdus.writeto(temporary)


def _brick(tile: int) -> str:
    """Return the name of a brick."""
    return f"333{tile}p013"


def _hsc(coadd: Coadd) -> Files:
    """A file with image, flags and variance; its primary header has the calibration."""
    word = {"r": "HSC-R2", "i": "HSC-I2"}.get(coadd.band, f"HSC-{coadd.band.upper()}")
    zero_point = coadd.survey.zero_point
    primary = fits.PrimaryHDU()
    primary.header["FILTER"], primary.header["FLUXMAG0"] = word, 10 ** (0.4 * zero_point)
    primary.header["TELESCOP"], primary.header["INSTRUME"] = "simulated", "Hyper Suprime-Cam"
    planes = (coadd.saturated << HSC_PLANES["SAT"]) | (coadd.empty << HSC_PLANES["NO_DATA"])
    unit = nanomaggies_per_count(zero_point)
    variance = np.full(coadd.flux.shape, (coadd.exposure.sigma / unit) ** 2 if coadd.noise else 0.0, np.float32)
    hdus = fits.HDUList(
        [
            primary,
            coadd.image(coadd.counts(zero_point), coadd.header(EXTTYPE="IMAGE"), "IMAGE"),
            fits.CompImageHDU(planes.astype(np.int32), coadd.header(EXTTYPE="MASK"), name="MASK"),
            _lossless(variance, coadd.header(EXTTYPE="VARIANCE"), "VARIANCE"),
        ]
    )
    for plane, bit in HSC_PLANES.items():
        hdus["MASK"].header[f"HIERARCH MP_{plane}"] = bit
    return {f"calexp-{word}-9999-{coadd.tile},0.fits": hdus}


def _des(coadd: Coadd) -> Files:
    """A tile with image, flags and weights, compressed."""
    zero_point, word = coadd.survey.zero_point, "Y" if coadd.band == "y" else coadd.band
    header = coadd.header(FILTER=DECAM[coadd.band], BAND=word, MAGZERO=zero_point, TELESCOP="simulated")
    header["INSTRUME"], header["SATURATE"], header["GAIN"] = "DECam", coadd.level(zero_point), coadd.gain(zero_point)
    unit = nanomaggies_per_count(zero_point)
    weights = np.full(coadd.flux.shape, (unit / coadd.exposure.sigma) ** 2, np.float32)
    hdus = [
        fits.PrimaryHDU(),
        coadd.image(coadd.counts(zero_point), header, "SCI"),
        fits.CompImageHDU(coadd.saturated.astype(np.int32) << 1, header, name="MSK"),
        _lossless(weights, header, "WGT"),
    ]
    return {f"DES2213+0118_r9999p{coadd.tile:02d}_{word}.fits.fz": fits.HDUList(hdus)}


def _legacy(coadd: Coadd) -> Files:
    """A brick in nanomaggies; `write_maskbits` writes its flags."""
    header = coadd.header(SURVEY="DECaLS", BRICK=_brick(coadd.tile), TELESCOP="simulated", INSTRUME="DECam")
    header["FILTER"], header["FILTERX"], header["BAND"] = coadd.band, coadd.band, coadd.band
    header["IMTYPE"], header["MAGZERO"], header["BUNIT"] = "image", coadd.survey.zero_point, "nanomaggy"
    image = coadd.image(coadd.counts(coadd.survey.zero_point), header)
    name = f"legacysurvey-{_brick(coadd.tile)}-image-{coadd.band}.fits.fz"
    return {name: fits.HDUList([fits.PrimaryHDU(), image])}


def _ps1(coadd: Coadd) -> Files:
    """A stack whose pixels are scaled by asinh, and its flags in a file of their own."""
    seconds = PS1_SECONDS[coadd.band]
    zero_point = coadd.survey.zero_point + 2.5 * np.log10(seconds)
    header = coadd.header(TELESCOP="simulated", INSTRUME="GPC1", EXPTIME=seconds)
    header["HIERARCH FPA.FILTERID"], header["HIERARCH FPA.ZP"] = f"{coadd.band}.00000", coadd.survey.zero_point
    softening = SOFTENING * coadd.exposure.sigma / nanomaggies_per_count(zero_point)
    header["BOFFSET"], header["BSOFTEN"] = 0.0, softening
    pixels = ASINH * np.arcsinh(coadd.counts(zero_point) / (2 * softening))
    image = coadd.image(pixels.astype(np.float32), header)
    flags = coadd.header(MSKNUM=2, MSKNAM00="BLANK", MSKVAL00=8, MSKNAM01="SAT", MSKVAL01=32)
    mask = np.where(coadd.saturated, 32, 0) + np.where(coadd.empty, 8, 0)
    name = f"rings.v3.skycell.9999.{coadd.tile:03d}.stk.{coadd.band}.unconv"
    return {
        f"{name}.fits": fits.HDUList([fits.PrimaryHDU(), image]),
        f"{name}.mask.fits": fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(mask.astype(np.uint16), flags)]),
    }


def _kids(coadd: Coadd) -> Files:
    """A coadd in maggies, with files of flags and weights."""
    zero_point, tile = coadd.survey.zero_point, f"KIDS_333.{coadd.tile}_1.3"
    header = coadd.header(FILTER=f"OCAM_{coadd.band}_SDSS", OBJECT=tile, TELESCOP="simulated", INSTRUME="OMEGACAM")
    header["GAIN"], header["PSF_FWHM"] = coadd.gain(zero_point), round(coadd.exposure.psf.fwhm, 4)
    data = {"sci": coadd.counts(zero_point, 0.0), "msk": coadd.saturated.astype(np.uint8) << 1}
    if coadd.noise:
        weight = (nanomaggies_per_count(zero_point) / coadd.exposure.sigma) ** 2
        data["wei"] = np.where(coadd.empty, 0, weight).astype(np.float32)
    name = f"KiDS_DR4.0_333.{coadd.tile}_1.3_{coadd.band}"
    return {f"{name}_{word}.fits": fits.HDUList([fits.PrimaryHDU(each, header)]) for word, each in data.items()}


LAYOUTS: dict[str, Callable[[Coadd], Files]] = {"hsc": _hsc, "des": _des, "legacy": _legacy, "ps1": _ps1, "kids": _kids}
WITH_GAPS = ("hsc", "ps1", "kids")  # surveys whose files mark pixels that no exposure reached
FLAGS_OF_ALL_BANDS = ("legacy",)  # surveys whose tiles have one file of flags for all bands
