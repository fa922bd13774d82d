"""FITS of one object in several bands, written and read, and the survey that an image is from."""

import io
import logging
import math
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from survey_tools.errors import ArchiveError, ImageError, first_line
from survey_tools.fits.calibration import SILENT, Given, read_zero_point
from survey_tools.fits.companions import said_by_header, said_by_name
from survey_tools.fits.in_memory import FitsInMemory
from survey_tools.fits.reading import BLOCK, UNREADABLE, Hdu, damaged, images_of, opened, values_of
from survey_tools.fits.zeros import AUTO, judge_zeros, rounding_of
from survey_tools.images.sky_wcs import grid_cards, read_grid
from survey_tools.photometry import NANOMAGGY_ZERO_POINT, counts_to_nanomaggies
from survey_tools.surveys import SURVEYS, Survey

log = logging.getLogger(__name__)

IMPOSSIBLE = 1e10  # [nanomaggy] flux of a pixel of AB magnitude -2.5, brighter than Sirius


def band_by_filter(header: fits.Header) -> str | None:
    """Return the band that a header names by its filter, whichever survey's; None if it names none."""
    return next((band for survey in SURVEYS.values() if (band := survey.band_of(header))), None)


@dataclass(frozen=True)
class BandImage:
    """One band of a file.

    Attributes
    ----------
    image : (row, col) float64
        Flux [nanomaggy/pixel], NaN for no data.
    wcs : WCS
        Its celestial WCS.
    header : fits.Header
        Header of its HDU.
    zero_point : float
        AB magnitude of one unit of the file, as applied.
    zeros : str
        Remark on pixels that are exactly 0: whether they count as data, and why.
    """

    image: np.ndarray
    wcs: WCS
    header: fits.Header
    zero_point: float
    zeros: str = ""


def band_hdus(images: np.ndarray, bands, wcs: WCS, primary: fits.Header) -> fits.HDUList:
    """Return an HDU list with `primary` and no pixels, followed by one image HDU for each band.

    Parameters
    ----------
    images : (band, row, col) float
        Flux [nanomaggy/pixel].
    bands : sequence of str
        Their names, which become EXTNAME and FILTER.
    wcs : WCS
        TAN WCS of the pixels, ICRS.
    primary : fits.Header
        Header of the primary HDU, which has no pixels.
    """
    grid = wcs.to_header(relax=False)
    cd = wcs.pixel_scale_matrix
    for key in [key for key in grid if key.startswith(("PC", "CDELT", "MJDREF"))]:
        del grid[key]  # the CD matrix states this, as in both surveys' own files
    for key, values in (
        ("CRPIX", wcs.wcs.crpix),
        ("CRVAL", wcs.wcs.crval),
    ):  # with all digits, some of which to_header leaves out
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
        hdus[-1].header["EXTNAME"] = band  # astropy writes names in upper case by default
    return hdus


def mask_hdu(mask: np.ndarray, band: fits.Header, meaning: str) -> fits.ImageHDU:
    """Return the mask (row, col) of a band as 0 and 1: the HDU MASK_r beside band r.

    Parameters
    ----------
    mask : (row, col) bool
        True where a pixel is flagged.
    band : fits.Header
        Header of the band's HDU, as `band_hdus` makes it; the mask has the same keywords.
    meaning : str
        Meaning of a 1.
    """
    hdu = fits.ImageHDU(np.asarray(mask, np.uint8), band.copy())
    hdu.header["EXTNAME"] = f"MASK_{band['EXTNAME']}"
    del hdu.header["FILTER"]  # so that no reader takes it for the band itself
    hdu.header["BUNIT"] = ("", meaning)
    return hdu


def _state(header: fits.Header, primary: fits.Header) -> None:
    """Put into the header of an HDU its unit of flux, and whether it is synthetic, which each states for itself."""
    if "SYNTH" in primary:
        header["SYNTH"] = (primary["SYNTH"], primary.comments["SYNTH"])
    header["MAGZERO"] = (NANOMAGGY_ZERO_POINT, "[mag] magnitude of one unit")
    header["PHOTSYS"] = ("AB", "system of magnitudes")


def header_text(text: str) -> str:
    """Return text as a FITS header can hold it: all but printable ASCII is escaped."""
    return "".join(c if " " <= c <= "~" else c.encode("unicode_escape").decode() for c in text)


class FitsImages:
    """The images of an open file, found by their headers alone until their pixels are needed.

    Bands are found by EXTNAME, else by FILTER; or the file has a cube (band, row, col), whose planes are named by the
    keyword BANDS, such as ugriz, or BAND0, BAND1 and so on, or are as many as `bands`. Weights, masks and the like are
    ignored.
    """

    def __init__(self, path: Path, stream, hdus: list[Hdu], bands) -> None:
        self.path, self.bands, self.primary = path, tuple(bands), hdus[0].own.copy()
        self._stream, self.hdus = stream, hdus
        self._grids: dict[tuple, WCS | None] = {}  # bands share them, because each takes a millisecond to set up
        self._cubes: dict[int, np.ndarray] = {}
        self.masks = {}
        self.found: dict[str, tuple[Hdu, int | None]] = {}
        self.twice = ""
        self._find()

    def _find(self) -> None:
        named = said_by_name(self.path.name)
        if named:
            raise ImageError(f"{self.path} is a {named} according to its name; rename it if it is an image of the sky")
        images = []
        for hdu in self.hdus:
            name = str(hdu.own.get("EXTNAME", "")).strip()
            if name.upper().startswith("MASK_") and len(hdu.shape) == 2:
                self.masks.setdefault(name[5:], hdu)
            elif len(hdu.shape) in (2, 3):
                images.append((hdu, name))
        for hdu, name in images:
            band = self._band_by_name(name)
            if band is None and not said_by_header(hdu.own):
                band = band_by_filter(hdu.header)
            if band in self.found:
                self.twice = self.twice or band
            elif band and len(hdu.shape) == 2:
                self.found[band] = (hdu, None)
        if self.found:
            return
        science = [hdu for hdu, _ in images if not said_by_header(hdu.own)]
        cubes = [hdu for hdu in science if len(hdu.shape) == 3]
        if cubes:
            self.found = {band: (cubes[0], plane) for plane, band in enumerate(self._planes(cubes[0]))}
            return
        single = [hdu for hdu in science if len(hdu.axes) > 2]
        if len(self.bands) == 1 and len(science) == len(single) == 1:
            self.found = dict.fromkeys(self._planes(single[0]), (single[0], None))  # a cube with one plane

    def _band_by_name(self, name: str) -> str | None:
        """Return the band that an EXTNAME names; None if it names none."""
        return next((each for each in (name, name.lower()) if each in self.bands), None)

    def _planes(self, hdu: Hdu) -> str:
        """Return the bands of a cube's planes; ImageError if they are not known."""
        count = hdu.shape[0] if len(hdu.shape) == 3 else 1
        said = hdu.header.get("BANDS")
        numbered = [str(hdu.header.get(f"BAND{first + plane}", "")).strip()
                    for first in ((0,) if "BAND0" in hdu.header else (1,)) for plane in range(count)]  # fmt: skip
        if isinstance(said, str) and said.strip():
            planes = "".join(each for each in said if each not in " ,;")
        elif all(len(each) == 1 for each in numbered):
            planes = "".join(numbered)
        else:  # BANDS may also be the number of planes
            planes = "".join(self.bands)
        if len(planes) != count:
            raise ImageError(
                f"{self.path} has a cube of {count} planes, but the bands are {planes}; "
                "name its planes in the keyword BANDS, such as BANDS = 'ugriz'"
            )
        return planes

    def require(self, bands) -> None:
        """Raise ImageError unless each of `bands` exists exactly once."""
        if self.twice:
            raise ImageError(f"{self.path} has band {self.twice} twice; keep only one of them")
        missing = [band for band in bands if band not in self.found]
        if missing:
            there = ", ".join(sorted(self.found)) or "none"
            uneven = self._stream.seek(0, io.SEEK_END) % BLOCK
            cut = "; the file ends within a block, so it may be truncated" if uneven else ""
            raise ImageError(
                f"{self.path} has no image of band {', '.join(missing)} (bands found: {there}); "
                f"give each image HDU its band as EXTNAME or FILTER{cut}"
            )

    def header(self, band: str) -> fits.Header:
        """Return the header of a band."""
        return self.found[band][0].header

    def image(self, band: str, given: Given, survey: Survey | None = None, zeros: str = AUTO) -> BandImage:
        """Return calibrated pixels and WCS of one band.

        Parameters
        ----------
        band : str
            The band.
        given : Given
            The user's statement on the calibration.
        survey : Survey, optional
            The survey of the image.
        zeros : str
            The user's word on exact zeros: "auto", "data" or "missing".

        Raises
        ------
        ImageError, ArchiveError
            If it has no WCS or no calibration.
        """
        hdu, plane = self.found[band]
        what = f"{self.path}: band {band}"
        try:
            wcs = self._wcs(hdu)
        except (ValueError, fits.VerifyError) as error:
            raise ImageError(f"{what} has a WCS that cannot be used: {first_line(error)}") from error
        if wcs is None:
            raise ImageError(
                f"{what} has no celestial WCS (CTYPE, CRVAL, CRPIX, CD); add one, for example by astrometry.net"
            )
        known = None if survey is None else survey.zero_point
        zero_point = read_zero_point(what, hdu.header, given, survey_zero_point=known)
        counts, said = self._values(hdu, plane), ""
        if zeros != AUTO or "SRCZP" not in hdu.header:  # our own files already have NaN
            marked = survey is not None and survey.no_data == 0
            empty, said = judge_zeros(counts, marked=marked, rounding=rounding_of(hdu.header), how=zeros)
            counts[empty] = np.nan
        with np.errstate(over="ignore"):
            flux = counts_to_nanomaggies(counts, zero_point)
        brightest = float(np.fmax.reduce(np.abs(flux), axis=None, initial=0))
        if brightest > IMPOSSIBLE:
            raise ImageError(
                f"{what} has a pixel of {brightest:.3g} nanomaggies, brighter than any star, with a zero point of "
                f"{zero_point:.5g}: fetch the file again if it is damaged, or give its zero point by --zero-point"
            )
        return BandImage(flux, wcs, hdu.header, zero_point, said)

    def _values(self, hdu: Hdu, plane: int | None) -> np.ndarray:
        """Return pixels (row, col) float64 of an image or of a plane of a cube, in the unit of the file."""
        if plane is None:
            return values_of(str(self.path), self._stream, hdu)
        if hdu.index not in self._cubes:
            self._cubes[hdu.index] = values_of(str(self.path), self._stream, hdu)
        return self._cubes[hdu.index][plane]

    def _wcs(self, hdu: Hdu) -> WCS | None:
        """Return the celestial WCS of an image; distortions that are stored as tables are read from the file."""
        said = tuple((card.keyword, str(card.value)) for card in grid_cards(hdu.header))
        if said not in self._grids:
            tables = any(key.startswith(("CPDIS", "CQDIS", "D2IM")) for key, _ in said)
            with ExitStack() as held:
                whole = None
                if tables:
                    whole = held.enter_context(fits.open(held.enter_context(self.path.open("rb"))))
                self._grids[said] = read_grid(hdu.header, hdu.shape[-2:], whole)
        return self._grids[said]

    def mask(self, band: str) -> np.ndarray | None:
        """Return the mask (row, col) bool of a band, as `galtrans export` writes it; None if there is none.

        True where a pixel is saturated or missing.
        """
        hdu = self.masks.get(band)
        return None if hdu is None else values_of(str(self.path), self._stream, hdu) != 0


def read_bands(
    path: Path, bands, given: Given = SILENT, survey: Survey | None = None
) -> tuple[list[BandImage], fits.Header]:
    """Return the images of some bands, in their order, and the primary header.

    Parameters
    ----------
    path : Path or FitsInMemory
        The file.
    bands : sequence of str
        Names of the bands, which are found as `FitsImages` says.
    given : Given
        The user's statement on the calibration; it decides if the header is silent or contradicts itself.
    survey : Survey, optional
        The survey of the images: for `--unit counts`, and for pixels that are 0 where there are no data.

    Returns
    -------
    images : list of BandImage primary : fits.Header

    Raises
    ------
    ImageError
        If the file cannot be read, or lacks a band, a WCS or a calibration.
    """
    with open_images(path, bands) as images:
        images.require(images.bands)
        return [images.image(band, given, survey) for band in images.bands], images.primary


def read_masks(path: Path, bands) -> dict[str, np.ndarray]:
    """Return the masks (row, col) bool of those of `bands` that have one in the file, as `galtrans export` writes it.

    True where saturated or missing. ImageError if the file cannot be read.
    """
    with open_images(path, bands) as images:
        return {band: images.mask(band) for band in images.bands if band in images.masks}


def read_present(
    path: Path, bands, given: Given = SILENT, survey: Survey | None = None
) -> tuple[dict[str, BandImage], fits.Header]:
    """Return the images of those of `bands` that the file has, by band, and the primary header; the file is read once.

    Pixels that the file flags by an extension MASK_r beside band r, as `galtrans export` writes it, are NaN. Otherwise
    it reads like `read_bands`.

    Raises
    ------
    ImageError
        As `read_bands` does, and if the file has none of the bands.
    """
    with open_images(path, bands) as images:
        wanted = tuple(band for band in images.bands if band in images.found)
        images.require(wanted or images.bands)
        found = {band: images.image(band, given, survey) for band in wanted}
        for band, each in found.items():
            if each.zeros:
                log.warning("%s: band %s: %s", path, band, each.zeros)
        for band, each in found.items():
            mask = images.mask(band)
            if mask is not None and mask.shape == each.image.shape:
                each.image[mask] = np.nan
        return found, images.primary


def band_headers(path: Path, bands) -> tuple[dict[str, fits.Header], fits.Header]:
    """Return the header of each of `bands` that the file has, and the primary header; no pixel is read.

    Raises
    ------
    ImageError
        If the file cannot be read.
    """
    with open_images(path, bands) as images:
        return {band: images.header(band) for band in images.bands if band in images.found}, images.primary


def first_image(path: Path) -> fits.Header:
    """Return the header of a file's first image of two axes that shows the sky; ImageError if there is none."""
    with open_images(path, ()) as images:
        for hdu in images_of(str(path), images.hdus):
            return hdu.header
    raise ImageError(f"{path} has no image of the sky whose grid could be used")


def stated_number(header: fits.Header, keyword: str) -> float:
    """Return a positive number of a header; NaN if the header has none."""
    value = header.get(keyword)
    right = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0
    return float(value) if right else math.nan


@contextmanager
def open_images(path: Path | FitsInMemory, bands) -> Iterator[FitsImages]:
    """Yield the images of a file; ImageError if it, or its pixels in the block, cannot be read."""
    path = path if isinstance(path, FitsInMemory) else Path(path)
    try:
        with opened(path, str(path)) as (stream, hdus):
            yield FitsImages(path, stream, hdus, bands)
    except (ArchiveError, *UNREADABLE) as error:
        if isinstance(error, FileNotFoundError | PermissionError):
            raise
        raise ImageError(str(damaged(str(path), error))) from error


SCALE_TOLERANCE = 0.02  # relative difference between an image's pixels and those of its survey
STATED = ("SURVEY", "TELESCOP", "INSTRUME")  # keywords whose text may name a survey, its telescope or its camera


def other_survey(survey: Survey, headers: Iterable[fits.Header]) -> str:
    """Return the survey that a header names by SURVEY, if it is not `survey`; "" if there is none."""
    stated = [str(header.get("SURVEY", "")).strip() for header in headers]
    return next((header_text(text) for text in stated if text and not survey.is_named_in(text)), "")


def filter_of(survey: Survey, header: fits.Header) -> str:
    """Return the name of the filter that a header states by a survey's keywords; "" if it states none."""
    return next((str(header[key]).strip() for key in survey.filter_keywords if key in header), "")


def contradiction(
    survey: Survey, headers: Iterable[fits.Header], scale: float, wanted_scale: float, other: Survey | None = None
) -> str:
    """Return why an image is not an observation of a survey, in words; "" if nothing says so.

    The words name a keyword and its value.

    Parameters
    ----------
    survey : Survey
        The survey that the image should be from.
    headers : iterable of fits.Header
        Headers of the primary HDU and of the image's bands.
    scale : float
        Side of its pixels [arcsec].
    wanted_scale : float
        Side of the pixels with which images of the survey are read [arcsec].
    other : Survey, optional
        The survey that the image may have been mistaken for, such as the other one of a run; any by default.
    """
    affirmed, others = False, [each for each in ([other] if other else SURVEYS.values()) if each.name != survey.name]
    for header in headers:
        if header.get("SYNTH") is True:
            into = str(header.get("GTTO", "")).strip()
            return f"SYNTH = T: it is a translation{f' into {into}' if into else ''} and not an observation"
        for key in STATED:
            text = str(header.get(key, "")).strip()
            ours = survey.is_named_in(text)
            affirmed |= ours
            if not ours and any(each.is_named_in(text) for each in others):
                return f"{key} = {header_text(text)!r}, which is not {survey.title}"
        of = [each for each in others if each.band_of(header) and len(filter_of(each, header)) > 1]
        if of and not survey.band_of(header):  # a single letter may be a band of any survey
            return f"FILTER = {filter_of(of[0], header)!r}, a filter of {of[0].title} and not of {survey.title}"
    if affirmed or abs(scale / wanted_scale - 1) <= SCALE_TOLERANCE:
        return ""
    for each in others:
        if abs(scale / each.pixel_scale - 1) <= SCALE_TOLERANCE:
            return (
                f"pixels of {scale:.3f} arcsec, as {each.title} has them, where {survey.title} has {wanted_scale:g}, "
                f"and no keyword {', '.join(STATED)} that names {survey.title}"
            )
    return ""
