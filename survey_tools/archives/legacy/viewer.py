"""The Legacy Surveys by their viewer: one request for each object, with all its bands.

The viewer either resamples the bricks onto a north-up grid around the position, or, with the parameter `subimage`,
sends the pixels of the bricks as they are, with their inverse variance. Resampled pixels share their noise, so the
second way is used: the pixels are those that a mirror of the bricks gives. The answer has an empty primary HDU, and for
each brick near the position and each band an image (BRICK, BAND, IMAGETYP = image) and its inverse variance
(IMAGETYP = invvar), which is 0 where no exposure has data. Bricks overlap by 0.012 deg, so the one in which an object
lies deepest has all of its cutout. (Source: the viewer's program, github.com/legacysurvey/imagine, `map/views.py`.)

The viewer has no word for a position outside its bricks: it fails with HTTP 500. Such a position counts as outside if
the resampled variant of the service fails too, and a known position is served at the same time.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlencode

import numpy as np
from astropy.io import fits
from astropy.table import Table

from survey_tools.archives.cutouts import (
    SLACK,
    TRIES,
    answer_of,
    cut_from,
    grid_in,
    images_in,
    nothing_at,
    position_of,
)
from survey_tools.archives.download import http
from survey_tools.archives.download.http import ExplainedError
from survey_tools.archives.download.ways import Ways
from survey_tools.archives.plan import Access, FetchPlan, Piece, SourceFile
from survey_tools.archives.settings import ArchiveSettings
from survey_tools.archives.tiles import Calibration
from survey_tools.errors import ArchiveError, AwayError
from survey_tools.surveys import LEGACY, Survey
from survey_tools.tasks import Run

ATTEMPTS = 3  # requests that the viewer answers with HTTP 500 before the position is suspected to be outside
NO_OVERLAP = "no overlap"  # the viewer's words for a position outside its bricks, where it finds any
KNOWN_POSITION = (150.1, 2.2)  # [deg] in the COSMOS field, which every layer has
SMALL = 8  # [pixel] side of an image that is requested only to see whether there is one
REQUEST_SECONDS = 1.2  # from a request to its answer: users report 0.86 answers a second
HEADERS = 2 * 2880  # [byte] of an image in an answer


@dataclass(frozen=True)
class Viewer:
    """The cutout service of the viewer.

    Attributes
    ----------
    survey : Survey
        The row of the Legacy Surveys.
    access : Access
        How to reach the viewer.
    """

    survey: Survey
    access: Access

    @property
    def layer(self) -> str:
        """The viewer's word for a release."""
        return self.access.settings.legacy_layer

    def facts(self) -> dict[str, str]:
        """Return the settings that the pixels depend on besides catalogue and bands."""
        return {"archive": "Legacy Surveys viewer", "layer": self.layer, "pixels": "of the bricks"}

    def plan(self, catalogue: Table, bands: tuple[str, ...], run: Run) -> FetchPlan:
        """Return one image of each object and band; those of one object come with one request."""
        size = 2 * len(bands) * (4 * (self.survey.cutout_size + SLACK) ** 2 + HEADERS) + HEADERS
        sources = []
        for row, (ra, dec) in enumerate(zip(catalogue["ra"], catalogue["dec"], strict=True)):
            name = f"{self.layer}/{position_of(float(ra), float(dec))}.fits"
            for band in bands:
                cost = (size, 1, REQUEST_SECONDS) if band == bands[0] else (0, 0, 0.0)
                sources.append(SourceFile(f"{name}[{band}]", band, np.array([row]), (name, bands), *cost))
        return FetchPlan(sources, [], [f"one request to the viewer for each object, layer {self.layer}"])

    def neighbours(self, plan: FetchPlan, lacks: dict[int, np.ndarray], run: Run) -> list[SourceFile]:
        """Return no more images: an answer has all that the viewer has at a position."""
        return []

    def cut(self, source: SourceFile, ra: np.ndarray, dec: np.ndarray) -> Iterator[Piece]:
        """Yield the cutout of one band around (ra, dec) (n,) [deg].

        Raises
        ------
        ArchiveError
            If the answer is short, damaged, or not what was asked for, three times.
        ConnectionError
            If the viewer cannot be reached, or stays busy.
        """
        name, bands = source.key
        for one_ra, one_dec in zip(map(float, ra), map(float, dec), strict=True):
            asked = self._url(one_ra, one_dec, bands, self.survey.cutout_size + SLACK, "subimage")
            with answer_of(
                self.access,
                asked.roots[0],
                f"{name.removesuffix('.fits')}-{''.join(bands)}.fits",
                source.band,
                bands,
                lambda url=asked, at=(one_ra, one_dec): self._answer(url, *at, bands),
            ) as content:
                yield self._piece(content, str(asked), source.band, bands, one_ra, one_dec)

    def _url(self, ra: float, dec: float, bands: tuple[str, ...], size: int, *flags: str) -> Ways:
        """Return the addresses of an image of some bands around a position [deg]; `size` is in pixels."""
        return address(self.access.settings, ra, dec, "".join(bands), size, *flags)

    def _answer(self, url: Ways, ra: float, dec: float, bands: tuple[str, ...]) -> bytes:
        """Return a FITS file with the images around a position, requested again if it is odd; b"" outside all bricks.

        HTTP 500 is not waited out, because it is also the answer for a position outside.
        """
        odd = broken = 0
        while True:
            try:
                content = self._read(url)
            except ExplainedError as error:
                if error.status != 500:
                    return b""
                broken += 1
                if broken == ATTEMPTS:
                    self._require_outside(error, ra, dec, bands)
                    return b""
                time.sleep(2.0 ** (broken - 1))
                continue
            except ArchiveError as error:
                if NO_OVERLAP in str(error).lower():
                    return b""
                raise
            try:
                bricks_in(self.survey, content, str(url), bands)
            except ArchiveError:
                odd += 1
                if odd == TRIES:
                    raise
            else:
                return content

    def _read(self, url: Ways, attempts: int | None = None) -> bytes:
        """Return an answer that is FITS; ExplainedError for HTTP 500, or if the viewer says that nothing overlaps."""
        explain = partial(_explained, str(url))
        return http.read(url, kind="fits", attempts=attempts, manner=self.access.settings.manner, explain=explain)

    def _require_outside(self, error: ExplainedError, ra: float, dec: float, bands: tuple[str, ...]) -> None:
        """Raise the error of a request that failed with HTTP 500 unless the position lies outside all bricks.

        Raises
        ------
        ArchiveError
            If the viewer has resampled pixels of the position.
        ConnectionError
            If the viewer fails at a known position too.
        """
        there = False
        try:
            content = self._read(self._url(ra, dec, bands, SMALL))
            there = any(np.any(np.nan_to_num(pixels)) for _, pixels in images_in(content, error.url, axes=(2, 3)))
        except ExplainedError:
            pass
        try:
            self._read(self._url(*KNOWN_POSITION, bands, SMALL))
        except ArchiveError as also:
            message = f"{error}; it fails at a known position too: is the archive up?"
            raise AwayError(message, url=error.url, status=error.status) from also
        if there:
            raise error

    def _piece(self, content: bytes, url: str, band: str, bands: tuple[str, ...], ra: float, dec: float) -> Piece:
        """Return the cutout of one band from an answer; the brick is the same for all bands."""
        bricks = bricks_in(self.survey, content, url, bands) if content else []
        found = [brick for brick in bricks if brick.holds(ra, dec)]
        if not found:
            return nothing_at(self.survey, ra, dec)
        best = max(found, key=lambda brick: (len(brick.images), brick.depth(ra, dec)))
        if band not in best.images:
            return nothing_at(self.survey, ra, dec)
        header, pixels = best.images[band]
        grid = grid_in(self.survey, header, pixels.shape, band, url)
        calibration = Calibration(self.survey.zero_point, psf_source="")
        return cut_from(self.survey, calibration, pixels, grid, ra, dec)


@dataclass(frozen=True)
class BrickImages:
    """What an answer has of one brick.

    Attributes
    ----------
    survey : Survey
        The row of the Legacy Surveys.
    images : dict
        Header and pixels (row, col) of each band [nanomaggy/pixel]; NaN where there is no data.
    url : str
        The request, for messages.
    """

    survey: Survey
    images: dict[str, tuple[fits.Header, np.ndarray]]
    url: str

    def holds(self, ra: float, dec: float) -> bool:
        """Return whether a position [deg] lies on its pixels."""
        place, shape = self._place(ra, dec), next(iter(self.images.values()))[1].shape
        return bool((place >= -0.5).all() and (place < np.array(shape) - 0.5).all())

    def depth(self, ra: float, dec: float) -> float:
        """Return how deep in the brick a position [deg] lies [pixel]: the reference pixel is the brick's centre."""
        header, _ = next(iter(self.images.values()))
        centre = np.array([header["CRPIX2"], header["CRPIX1"]], float) - 1
        return -float(np.abs(self._place(ra, dec) - centre).max())

    def _place(self, ra: float, dec: float) -> np.ndarray:
        """Return row and column, from 0, of a position [deg]."""
        band, (header, pixels) = next(iter(self.images.items()))
        grid = grid_in(self.survey, header, pixels.shape, band, self.url)
        return grid.wcs_from(np.zeros(2)).wcs_world2pix([[ra, dec]], 0)[0, ::-1]


def bricks_in(survey: Survey, content: bytes, url: str, bands: tuple[str, ...]) -> list[BrickImages]:
    """Return what an answer has of each brick.

    Parameters
    ----------
    survey : Survey
        The row of the Legacy Surveys.
    content : bytes
        The answer.
    url : str
        The request, for messages.
    bands : tuple of str
        The bands that were requested.

    Returns
    -------
    list of BrickImages

    Raises
    ------
    ArchiveError
        If it is not a complete FITS file, has other bands, or an image without its inverse variance or a usable WCS.
    """
    images: dict[str, dict[str, tuple[fits.Header, np.ndarray]]] = {}
    weights: dict[tuple[str, str], np.ndarray] = {}
    for header, pixels in images_in(content, url):
        band, kind = str(header.get("BAND", "")).strip(), str(header.get("IMAGETYP", "image")).strip().lower()
        if band not in bands:
            raise ArchiveError(
                f"{url}: the answer has an image of band {band or '?'}, which was not asked for", url=url
            )
        brick = str(header.get("BRICK", "")).strip() or f"{header.get('CRVAL1')} {header.get('CRVAL2')}"
        if kind == "invvar":
            weights[brick, band] = pixels
        else:
            images.setdefault(brick, {})[band] = (header, pixels)
    for brick, found in images.items():
        for band, (header, pixels) in found.items():
            weight = weights.get((brick, band))
            if weight is None or weight.shape != pixels.shape:
                raise ArchiveError(f"{url}: the image in {band} of brick {brick} has no inverse variance", url=url)
            grid_in(survey, header, pixels.shape, band, url)
            pixels[~(weight > 0)] = np.nan
    return [BrickImages(survey, found, url) for found in images.values()]


def _explained(url: str, status: int, body: bytes) -> ExplainedError | None:
    """Return the error of a refusal that is about the position, or may be."""
    if NO_OVERLAP.encode() in body.lower():
        return ExplainedError(f"{url}: {NO_OVERLAP}", url=url)
    if status == 500:
        return ExplainedError(f"{url}: HTTP 500, {ATTEMPTS} times", url=url, status=status)
    return None


def address(settings: ArchiveSettings, ra: float, dec: float, bands: str, size: int, *flags: str) -> Ways:
    """Return the addresses of an image around a position.

    Parameters
    ----------
    settings : ArchiveSettings
        Address of the viewer, and its layer.
    ra, dec : float
        Position [deg].
    bands : str
        The bands that are wanted.
    size : int
        Rows, and columns, of the image [pixel].
    *flags : str
        "subimage" for the pixels of the bricks.

    Returns
    -------
    Ways
    """
    given = {"ra": f"{ra:.7f}", "dec": f"{dec:.7f}", "layer": settings.legacy_layer, "pixscale": LEGACY.pixel_scale}
    query = urlencode(given | {"size": size, "bands": bands}, safe="+")
    return settings.ways("legacy").plus("?" + "&".join([query, *flags]))


def open_live(survey: Survey, access: Access, options: object = None) -> Viewer:
    """Return the archive that asks the viewer.

    Parameters
    ----------
    survey : Survey
        The row of the Legacy Surveys.
    access : Access
        How to reach the viewer.
    options : object
        Not used: this archive has no options.

    Returns
    -------
    Viewer
    """
    return Viewer(survey, access)
