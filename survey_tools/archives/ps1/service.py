"""Pan-STARRS1 stacks by the image service of MAST: one request for each object and band.

The service `fitscut.cgi` cuts a window of `size` pixels around a position out of one stack, on the stack's own pixels.
A unit of a stack is a count of its whole exposure, so the zero point is 25 + 2.5 log10(EXPTIME). The stacks themselves
are stored on an asinh scale (BSOFTEN, BOFFSET); the service converts them to linear fluxes. If a header still has these
keywords, the pixels are taken to be on the asinh scale, which `survey_tools.fits.reading` undoes. (Source: PS1 Image
Cutout Service, notes on image format, WCS and flux scaling, outerspace.stsci.edu/display/PANSTARRS.)
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from astropy.io import fits
from astropy.table import Table

from survey_tools.archives.cutouts import SLACK, TRIES, answer_of, cut_from, grid_in, images_in, position_of
from survey_tools.archives.download import http
from survey_tools.archives.download.ways import Ways
from survey_tools.archives.plan import Access, FetchPlan, Piece, SourceFile
from survey_tools.archives.ps1.stack_images import stacks_at
from survey_tools.archives.settings import ArchiveSettings
from survey_tools.archives.tiles import Calibration
from survey_tools.errors import ArchiveError
from survey_tools.fits.reading import header_number
from survey_tools.surveys import Survey
from survey_tools.tasks import Run

ONE_SECOND = 25.0  # [mag] AB zero point of one count per second
REQUEST_SECONDS = 1.0  # from a request to its answer; an estimate
HEADER = 4 * 2880  # [byte] of a cutout


@dataclass(frozen=True)
class StackService:
    """The image service of Pan-STARRS1.

    Attributes
    ----------
    survey : Survey
        The row of Pan-STARRS1.
    access : Access
        How to reach the service.
    """

    survey: Survey
    access: Access

    def facts(self) -> dict[str, str]:
        """Return the settings that the pixels depend on besides catalogue and bands."""
        return {"archive": "Pan-STARRS1 image service", "images": "stacks"}

    def plan(self, catalogue: Table, bands: tuple[str, ...], run: Run) -> FetchPlan:
        """Return the stack of each object and band, by the service's list.

        Raises
        ------
        ArchiveError, ConnectionError
            As `stacks_at` does.
        """
        ra, dec = (np.asarray(catalogue[name], float) for name in ("ra", "dec"))
        stacks = stacks_at(self.access.settings, self.access.work, ra, dec, bands)
        size = 4 * (self.survey.cutout_size + SLACK) ** 2 + HEADER
        sources = [
            SourceFile(
                f"{stack.lstrip('/')}@{position_of(ra[row], dec[row])}",
                band,
                np.array([row]),
                (stack,),
                size,
                1,
                REQUEST_SECONDS,
            )
            for row, found in enumerate(stacks)
            for band, stack in found.items()
        ]
        return FetchPlan(sources, [], ["one request to the image service for each object and band"])

    def neighbours(self, plan: FetchPlan, lacks: dict[int, np.ndarray], run: Run) -> list[SourceFile]:
        """Return no more stacks: skycells overlap by more than a cutout."""
        return []

    def cut(self, source: SourceFile, ra: np.ndarray, dec: np.ndarray) -> Iterator[Piece]:
        """Yield the cutout of one stack around (ra, dec) (n,) [deg].

        Raises
        ------
        ArchiveError
            If the answer is short, damaged, or not what was asked for, three times.
        ConnectionError
            If the service cannot be reached, or stays busy.
        """
        (stack,) = source.key
        for one_ra, one_dec in zip(map(float, ra), map(float, dec), strict=True):
            url = self._url(stack, one_ra, one_dec)
            with answer_of(
                self.access,
                url.roots[0],
                source.name + ".fits",
                source.band,
                (source.band,),
                lambda url=url, at=(one_ra, one_dec): self._answer(url, source.band, *at),
            ) as content:
                yield self._piece(content, str(url), source.band, one_ra, one_dec)

    def _url(self, stack: str, ra: float, dec: float) -> Ways:
        """Return the addresses of the window of a stack around a position [deg]."""
        return address(self.access.settings, stack, ra, dec, self.survey.cutout_size + SLACK)

    def _answer(self, url: Ways, band: str, ra: float, dec: float) -> bytes:
        """Return a FITS file with the window, requested again if it is odd."""
        for attempt in range(TRIES):
            content = http.read(url, kind="fits", manner=self.access.settings.manner)
            try:
                self._piece(content, str(url), band, ra, dec)
            except ArchiveError:
                if attempt == TRIES - 1:
                    raise
            else:
                return content
        raise AssertionError("the last attempt returns or raises")

    def _piece(self, content: bytes, url: str, band: str, ra: float, dec: float) -> Piece:
        """Return the cutout from an answer; ArchiveError if it is not the right one."""
        images = images_in(content, url)
        if len(images) != 1:
            raise ArchiveError(f"{url}: the answer has {len(images)} images and not one", url=url)
        header, pixels = images[0]
        said = next((str(header[key]).strip() for key in self.survey.filter_keywords if key in header), "")
        if said and self.survey.filters.get(said, said) != band:
            raise ArchiveError(f"{url}: the image was taken through {said!r}, not in band {band}", url=url)
        grid = grid_in(self.survey, header, pixels.shape, band, url)
        place = grid.wcs_from(np.zeros(2)).wcs_world2pix([[ra, dec]], 0)[0, ::-1]
        if not ((place >= -0.5) & (place < np.array(pixels.shape) - 0.5)).all():
            raise ArchiveError(f"{url}: the image does not have the position", url=url)
        return cut_from(self.survey, calibration_of(url, header), pixels, grid, ra, dec)


def address(settings: ArchiveSettings, stack: str, ra: float, dec: float, size: int) -> Ways:
    """Return the addresses of a window of a stack.

    Parameters
    ----------
    settings : ArchiveSettings
        Address of the service.
    stack : str
        Name of the file, by the service's list.
    ra, dec : float
        Position [deg].
    size : int
        Rows, and columns, of the window [pixel].

    Returns
    -------
    Ways
    """
    query = f"?red={http.join('', stack.lstrip('/'))}&format=fits&size={size}&ra={ra:.7f}&dec={dec:.7f}"
    return settings.ways("ps1_cutouts").plus(query)


def calibration_of(name: str, header: fits.Header) -> Calibration:
    """Return the calibration of a stack, by its header.

    Parameters
    ----------
    name : str
        Name of the image, for messages.
    header : fits.Header
        Its header.

    Returns
    -------
    Calibration

    Raises
    ------
    ArchiveError
        If EXPTIME is not stated, or a value is not a number.
    """
    seconds = header_number(name, header, "EXPTIME", np.nan)
    if not seconds > 0:
        raise ArchiveError(f"{name} states no EXPTIME, on which its zero point depends", url=name)
    saturation, gain = (header_number(name, header, f"CELL.{key}", np.nan) for key in ("SATURATION", "GAIN"))
    return Calibration(
        zero_point=header_number(name, header, "FPA.ZP", ONE_SECOND) + 2.5 * float(np.log10(seconds)),
        saturation=saturation if saturation > 0 else np.inf,
        psf_source="",
        gain=gain if gain > 0 else np.nan,
    )


def open_live(survey: Survey, access: Access, options: object = None) -> StackService:
    """Return the archive that asks the image service.

    Parameters
    ----------
    survey : Survey
        The row of Pan-STARRS1.
    access : Access
        How to reach the service.
    options : object
        Not used: this archive has no options.

    Returns
    -------
    StackService
    """
    return StackService(survey, access)
