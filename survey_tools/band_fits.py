"""FITS files of one object in several bands: one image HDU a band on the same sky, or a (band, row, col) cube."""

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning
from astropy.wcs import WCS

from survey_tools.errors import ImageError, first_line
from survey_tools.photometry import NANOMAGGY_ZERO_POINT, counts_to_nanomaggies
from survey_tools.sky_wcs import grid_cards, read_wcs
from survey_tools.surveys import SURVEYS

NANOMAGGY = {"nanomaggy", "nanomaggies", "nmgy", "nmaggy", "nmgy / pix", "nanomaggy/pixel", "nmgy/pix"}
UNNAMED = {"", "PRIMARY", "SCI", "IMAGE", "COMPRESSED_IMAGE"}  # EXTNAMEs that say nothing of the band
BANDS_OF_FILTER = {name: band for survey in SURVEYS.values() for name, band in survey.filters.items()}


@dataclass(frozen=True)
class BandImage:
    """One band of a file.

    Attributes:
        image: (row, col) float64 [nanomaggy/pixel], NaN where there is no data.
        wcs: Its celestial WCS.
        header: Of its HDU.
        zero_point: AB magnitude of one unit of the file, as applied.
    """

    image: np.ndarray
    wcs: WCS
    header: fits.Header
    zero_point: float


def band_hdus(images: np.ndarray, bands, wcs: WCS, primary: fits.Header) -> fits.HDUList:
    """An HDU list with `primary` alone, then one image HDU a band.

    Args:
        images: (band, row, col) flux [nanomaggy/pixel].
        bands: Their names, which become EXTNAME and FILTER.
        wcs: TAN WCS of the pixels, ICRS.
        primary: Header of the primary HDU, which has no pixels.
    """
    grid = wcs.to_header(relax=False)
    cd = wcs.pixel_scale_matrix
    for key in [key for key in grid if key.startswith(("PC", "CDELT", "MJDREF"))]:
        del grid[key]  # said by the CD matrix, as both surveys' own files say it
    for key, values in (
        ("CRPIX", wcs.wcs.crpix),
        ("CRVAL", wcs.wcs.crval),
    ):  # with the digits that to_header leaves out
        grid[f"{key}1"], grid[f"{key}2"] = (float(value) for value in values)
    for (i, j), value in np.ndenumerate(cd):
        grid[f"CD{i + 1}_{j + 1}"] = (value, "[deg/pixel]")
    hdus = fits.HDUList([fits.PrimaryHDU(header=primary)])
    _state(hdus[0].header, primary)
    for band, image in zip(bands, images, strict=True):
        header = grid.copy()
        header["FILTER"] = (band, "band")
        header["BUNIT"] = ("nanomaggy", "flux per pixel; AB magnitude 22.5 - 2.5 log10")
        _state(header, primary)
        hdus.append(fits.ImageHDU(np.asarray(image, np.float32), header, name=band))
        hdus[-1].header["EXTNAME"] = band  # a name is upper case by default
    return hdus


def mask_hdu(mask: np.ndarray, band: fits.Header, meaning: str) -> fits.ImageHDU:
    """The mask (row, col) of a band as 0 and 1: the HDU MASK_r beside band r.

    Args:
        mask: True where a pixel is flagged.
        band: Header of the band's HDU, as `band_hdus` makes it: a mask states all that it does.
        meaning: Of a 1.
    """
    hdu = fits.ImageHDU(np.asarray(mask, np.uint8), band.copy())
    hdu.header["EXTNAME"] = f"MASK_{band['EXTNAME']}"
    del hdu.header["FILTER"]  # so that nobody reads it for the band itself
    hdu.header["BUNIT"] = ("", meaning)
    return hdu


def _state(header: fits.Header, primary: fits.Header) -> None:
    """Put into the header of an HDU what each states for itself: its unit of flux, and whether it is synthetic."""
    if "SYNTH" in primary:
        header["SYNTH"] = (primary["SYNTH"], primary.comments["SYNTH"])
    header["MAGZERO"] = (NANOMAGGY_ZERO_POINT, "[mag] magnitude of one unit")
    header["PHOTSYS"] = ("AB", "system of magnitudes")


def header_text(text: str) -> str:
    """Text as a FITS header can hold it: anything but printable ASCII is escaped."""
    return "".join(c if " " <= c <= "~" else c.encode("unicode_escape").decode() for c in text)


def read_bands(path: Path, bands, zero_point: float | None = None) -> tuple[list[BandImage], fits.Header]:
    """The images of `bands`, in that order, and the primary header.

    Bands are found by EXTNAME, else by FILTER; or the file has a cube (band, row, col), whose planes are named by the
    keyword BANDS, such as ugriz, or are as many as `bands`. BUNIT must be nanomaggy; without it, MZP_AB gives the
    zero point of counts. Where `zero_point` is given, it is that of the counts of a file without either.

    Raises:
        ImageError: Where the file cannot be read, or lacks a band, a WCS, a unit or a plain two-dimensional image.
    """
    bands = tuple(bands)
    with _opened(path) as hdus:
        found = _find_bands(path, hdus, bands)
        grids: dict[tuple, WCS | None] = {}  # that bands share, for it takes a millisecond to set one up
        return [_band_image(path, hdus, *found[band], band, zero_point, grids) for band in bands], hdus[0].header.copy()


def read_masks(path: Path, bands) -> dict[str, np.ndarray]:
    """The masks (row, col) bool of those of `bands` that have one in the file, as `galtrans export` writes it.

    True where saturated or missing. ImageError where the file cannot be read.
    """
    with _opened(path) as hdus:
        return _masks(hdus, bands)


def _masks(hdus: fits.HDUList, bands) -> dict[str, np.ndarray]:
    names = {band: f"MASK_{band}" for band in bands}
    return {band: np.asarray(hdus[name].data, bool) for band, name in names.items() if name in hdus}


def read_present(path: Path, bands, zero_point: float | None = None) -> tuple[dict[str, BandImage], fits.Header]:
    """The images of those of `bands` that the file has, and the primary header; the file is read once.

    Pixels that the file flags by an extension MASK_r beside band r, as `galtrans export` writes it, are NaN. Else as
    `read_bands`; ImageError too where the file has none of the bands.
    """
    bands = tuple(bands)
    with _opened(path) as hdus:
        stated = _headers(hdus, bands)
        wanted = tuple(band for band in bands if band in stated) or bands
        found = _find_bands(path, hdus, wanted)
        grids: dict[tuple, WCS | None] = {}
        images = {band: _band_image(path, hdus, *found[band], band, zero_point, grids) for band in wanted}
        for band, mask in _masks(hdus, wanted).items():
            if mask.shape == images[band].image.shape:
                images[band].image[mask] = np.nan
        return images, hdus[0].header.copy()


def band_headers(path: Path, bands) -> tuple[dict[str, fits.Header], fits.Header]:
    """The header of each of `bands` that the file has, and the primary header; no pixel is read.

    ImageError where the file cannot be read.
    """
    with _opened(path) as hdus:
        return _headers(hdus, bands), hdus[0].header.copy()


def _headers(hdus: fits.HDUList, bands) -> dict[str, fits.Header]:
    """The header of each of `bands` that a file has."""
    found: dict[str, fits.Header] = {}
    for hdu in hdus:
        axes = hdu.header.get("NAXIS", 0) if hdu.is_image else 0
        if axes == 3:
            planes = str(hdu.header.get("BANDS", "".join(bands))).strip()
            return {band: hdu.header.copy() for band in planes if band in bands}
        band = _band_of(hdu, bands) if axes == 2 else None
        if band in bands:
            found.setdefault(band, hdu.header.copy())
    return found


def stated_number(header: fits.Header, keyword: str) -> float:
    """A positive number of a header; NaN where the header has none."""
    value = header.get(keyword)
    right = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0
    return float(value) if right else math.nan


@contextmanager
def _opened(path: Path) -> Iterator[fits.HDUList]:
    """The HDUs of a file; ImageError where it, or in the block its pixels, cannot be read."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", AstropyUserWarning)  # astropy only warns of a truncated file
        try:
            with open(path, "rb") as file, fits.open(file, memmap=False) as hdus:  # astropy leaves a bad file open
                yield hdus
        except (OSError, EOFError, TypeError, ValueError, AstropyUserWarning) as error:
            raise ImageError(f"{path} cannot be read as FITS, it may be empty or truncated: {error}") from error


def _find_bands(path: Path, hdus: fits.HDUList, bands) -> dict[str, tuple[np.ndarray, fits.Header]]:
    """Pixels and header of each band of the file; ImageError where one is missing or there twice."""
    images = [hdu for hdu in hdus if hdu.is_image and hdu.data is not None]
    cubes = [hdu for hdu in images if hdu.data.ndim == 3]
    if cubes:
        planes = cubes[0].header.get("BANDS", "".join(bands)).strip()
        if len(planes) != len(cubes[0].data):
            raise ImageError(
                f"{path} has a cube of {len(cubes[0].data)} planes, not one for each of {planes}; "
                "name its planes in the keyword BANDS, such as BANDS = 'ugriz'"
            )
        found = {band: (plane, cubes[0].header) for band, plane in zip(planes, cubes[0].data, strict=True)}
    else:
        found = {}
        for hdu in images:
            band = _band_of(hdu, bands)
            if band in found:
                raise ImageError(f"{path} has band {band} twice; leave one of them")
            if band:
                found[band] = (hdu.data, hdu.header)
    missing = [band for band in bands if band not in found]
    if missing:
        there = ", ".join(sorted(found)) or "none"
        raise ImageError(
            f"{path} has no image of band {', '.join(missing)} (bands found: {there}); "
            "give each image HDU its band as EXTNAME or FILTER"
        )
    return found


def _band_of(hdu, bands) -> str | None:
    """The band that an image HDU's EXTNAME or FILTER names; None for a mask, a noise map or an unknown filter."""
    name = str(hdu.header.get("EXTNAME", "")).strip()
    if name in bands or name.lower() in bands:
        return name if name in bands else name.lower()
    if name.upper() not in UNNAMED:
        return None
    return BANDS_OF_FILTER.get(str(hdu.header.get("FILTER", "")).strip())


def _band_image(
    path: Path,
    hdus: fits.HDUList,
    data,
    header: fits.Header,
    band: str,
    zero_point: float | None,
    grids: dict[tuple, WCS | None],
) -> BandImage:
    """Calibrated pixels and WCS of one band, which may be another's of the same header; ImageError without either."""
    if data.ndim != 2:
        raise ImageError(f"{path}: band {band} has {data.ndim} axes; an image (row, col) is needed")
    try:
        said = tuple((card.keyword, str(card.value)) for card in grid_cards(header))
        if said not in grids:
            grids[said] = read_wcs(header, hdus)
    except (ValueError, fits.VerifyError) as error:
        raise ImageError(f"{path}: band {band} has a WCS that cannot be used: {first_line(error)}") from error
    wcs = grids[said]
    if wcs is None:
        raise ImageError(
            f"{path}: band {band} has no celestial WCS (CTYPE, CRVAL, CRPIX, CD); add one, by astrometry.net say"
        )
    unit = str(header.get("BUNIT", "")).strip()
    image = np.asarray(data, dtype=float)
    if unit.lower() in NANOMAGGY:
        return BandImage(image, wcs, header.copy(), NANOMAGGY_ZERO_POINT)
    if zero_point is not None or not unit:
        zero_point = header.get("MZP_AB", zero_point)
    if zero_point is None:
        said = f"BUNIT = {unit!r}" if unit else "no BUNIT"
        raise ImageError(f"{path}: band {band} has {said}; calibrate it to nanomaggies and set BUNIT = 'nanomaggy'")
    return BandImage(counts_to_nanomaggies(image, zero_point), wcs, header.copy(), float(zero_point))
