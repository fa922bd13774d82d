"""Tiles: calibrated stacks of a survey, with all bands on the same grid of pixels, in FITS files of any names.

To be cut from such files, a survey needs two things: its row, `surveys.Survey`, and one function that reads the
calibration from a header. docs/how-to/add_a_survey.md shows both.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from astropy.io import fits
from astropy.table import Table

from survey_tools.archives.download.mirror import Mirror
from survey_tools.archives.fits_files import (
    FlagImage,
    ImageFile,
    Unreadable,
    open_flags,
    open_image,
    part_of,
    scan,
    without_copies,
)
from survey_tools.archives.plan import FetchPlan, Piece, SkyPositions, SourceFile, require_bands
from survey_tools.errors import ArchiveError
from survey_tools.fits.companions import said_by_values, samples_of
from survey_tools.fits.reading import SUFFIXES
from survey_tools.fits.zeros import judge_zeros, rounding_of
from survey_tools.images.cutout import Cutout
from survey_tools.images.quality import ALONG, WINDOW, Read, star_fwhm
from survey_tools.images.sky_wcs import local_scale, plain_tan, tan_terms, tan_wcs
from survey_tools.photometry import counts_to_nanomaggies, nanomaggies_per_count
from survey_tools.surveys import FileFunction, Survey
from survey_tools.tasks import Run

DIGITS = 10  # decimals of terms [deg, pixel] to which the WCS of two bands must agree to share a grid
SCALE_TOLERANCE = 0.02  # relative difference of a tile's pixel scale from the survey's row; MegaPipe has 0.005

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Calibration:
    """The calibration of a tile's pixels, from its header.

    Attributes
    ----------
    zero_point : float
        AB magnitude of one image unit.
    saturation : float
        Pixels of at least this value are saturated [image unit]; infinite if unknown.
    psf_fwhm : float
        Full width at half maximum of a star's profile [arcsec]; NaN if it has to be measured.
    psf_source : str
        Where it is from; "" if it is unknown.
    gain : float
        Gain [electron/image unit]; NaN if unknown.
    """

    zero_point: float
    saturation: float = np.inf
    psf_fwhm: float = np.nan
    psf_source: str = "header"
    gain: float = np.nan


Calibrate = Callable[[str, fits.Header], Calibration]  # from a file's name, for errors, and its header


@dataclass(frozen=True)
class Tiles:
    """A folder, or a web server, of tiles, which are found by their FILTER and WCS and cut on their own pixels.

    Attributes
    ----------
    survey : Survey
        Its row.
    mirror : Mirror
        Where the files are.
    calibrate : callable
        Reads the `Calibration` from a file's name and header; raises ArchiveError, which fails the objects of the file,
        if the header states none. It must be a function of a module, so that it can be sent to other processes.
    """

    survey: Survey
    mirror: Mirror
    calibrate: Calibrate

    def facts(self) -> dict[str, str]:
        """Return the settings that the pixels depend on besides the catalogue and the bands."""
        return {"mirror": self.mirror.place, "calibration": name_of(self.calibrate)}

    def plan(self, catalogue: Table, bands: tuple[str, ...], run: Run) -> FetchPlan:
        """Return which tiles to open for which objects.

        Tiles on the same grid form a pointing. An object is cut from the pointing that has most of the bands; if
        several have as many, from the one on which it lies farthest from the edge.

        Raises
        ------
        ArchiveError
            If no tile can be found at all, or none of a band.
        ValueError
            If the survey's row asks for resampled cutouts, which tiles do not give.
        """
        if self.survey.north_up:
            raise ValueError(f"tiles are cut on their own pixels: set north_up=False in the row of {self.survey.title}")
        images, unreadable = _usable(self.survey, *scan(self.mirror, self.survey, run))
        require_bands(self.mirror.root, self.survey, bands, images, unreadable)
        pointings = self._pointings([image for image in images if image.band in bands])
        chosen = choose(pointings, SkyPositions(catalogue["ra"], catalogue["dec"]), len(catalogue))
        sources, sizes = [], self.mirror.sizes(SUFFIXES)
        for index, pointing in enumerate(pointings):
            rows = np.flatnonzero(chosen == index)
            for band, image in pointing.items() if len(rows) else ():
                size = sizes.get(part_of(image.name)[0], 0)
                sources.append(SourceFile(image.name, band, rows, bytes=size, requests=int(size > 0)))
        return FetchPlan(sorted(sources, key=lambda source: source.name), unreadable)

    def _pointings(self, images: list[ImageFile]) -> list[dict[str, ImageFile]]:
        """Return the images grouped by their grid of pixels: band to image, one image if a band is there twice."""
        grids: dict[tuple, dict[str, ImageFile]] = {}
        for image in without_copies(self._of_the_sky(images), lambda image: (*_grid_of(image), image.band)):
            grids.setdefault(_grid_of(image), {})[image.band] = image
        return list(grids.values())

    def _of_the_sky(self, images: list[ImageFile]) -> list[ImageFile]:
        """Return the images without those whose values show them to be weights or the like of another one.

        Only images of the same band and grid are compared. Sky whose level was subtracted has pixels below 0, which
        weights and flags do not have.
        """
        groups: dict[tuple, list[ImageFile]] = {}
        for image in images:
            groups.setdefault((*_grid_of(image), image.band), []).append(image)
        left = set()
        for group in groups.values():
            if len(group) > 1 and not self.mirror.remote:
                sky = [image for image in group if self._goes_below_zero(image)]
                for image in group if sky else ():
                    if image not in sky:
                        left.add(image.name)
                        why = f"like weights, it has no pixel below 0, and {sky[0].name} on the same grid has some"
                        log.warning("%s is left out: %s", image.name, why)
        return [image for image in images if image.name not in left]

    def _goes_below_zero(self, image: ImageFile) -> bool:
        """Return whether some of the sampled pixels are negative; False if they cannot be read."""
        try:
            with open_image(self.survey, self.mirror, image.name) as (_, _, pixels):
                return bool((samples_of(pixels) < 0).any())
        except ArchiveError:
            return False

    def neighbours(self, plan: FetchPlan, lacks: dict[int, np.ndarray], run: Run) -> list[SourceFile]:
        """Return no more tiles: the part of a cutout beyond the edge of its tile is left empty."""
        return []

    def cut(self, source: SourceFile, ra: np.ndarray, dec: np.ndarray) -> Iterator[Piece]:
        """Yield cutouts of one tile around (ra, dec) (n,) [deg], one after the other.

        Raises
        ------
        ArchiveError
            If the file is missing or damaged, has another band than before, or lies on a grid whose pixels cannot be
            kept.
        ConnectionError
            If a web server cannot be reached.
        """
        with open_image(self.survey, self.mirror, source.name) as (image, header, pixels):
            if image.band != source.band:
                raise ArchiveError(f"{image.name} is an image of band {image.band}; it was one of {source.band} before")
            pixels.expect(len(ra), self.survey.cutout_size)
            shown = said_by_values(samples_of(pixels), integers=pixels.integers)
            if shown:
                raise ArchiveError(f"{image.name} is {shown}; take it out of the folder")
            grid, rounding = own_grid(self.survey, image), rounding_of(header)
            calibration = self.calibrate(image.name, header)
            if not np.isfinite(calibration.psf_fwhm):
                pixels.expect(ALONG**2, WINDOW)
            calibration = with_seeing(self.survey, calibration, reader(pixels), image.shape)
            with open_flags(self.survey, self.mirror, image) as flags:
                if flags is not None:
                    flags.pixels.expect(len(ra), self.survey.cutout_size)
                for start in grid.starts(ra, dec, self.survey.cutout_size):
                    counts = window(pixels, start, self.survey.cutout_size)
                    saturated = None if flags is None else _flagged(flags, counts, start)
                    yield piece(self.survey, calibration, counts, grid, start, rounding=rounding, saturated=saturated)


def with_seeing(survey: Survey, calibration: Calibration, read: Read, shape: tuple[int, int]) -> Calibration:
    """Return the calibration of a tile, with the width of its own stars if its header states none.

    This reads a few windows of the tile, whatever its size. It is done once per tile and not once per object.

    Parameters
    ----------
    survey : Survey
        Its row.
    calibration : Calibration
        What the header states.
    read : callable
        Reads windows of the tile.
    shape : (int, int)
        Rows and columns of the tile.

    Returns
    -------
    Calibration
    """
    if np.isfinite(calibration.psf_fwhm):
        return calibration
    width = star_fwhm(read, shape, calibration.saturation, survey.no_data) * survey.pixel_scale
    return replace(calibration, psf_fwhm=width, psf_source="stars" if np.isfinite(width) else "")


@dataclass(frozen=True)
class TileGrid:
    """The pixels of a tile as ICRS TAN terms.

    Attributes
    ----------
    crval : (2,) float
        Reference position [deg].
    crpix : (2,) float
        Reference pixel, counted from 1.
    cd : (2, 2) float
        Matrix [deg/pixel].
    """

    crval: np.ndarray
    crpix: np.ndarray
    cd: np.ndarray

    def starts(self, ra: np.ndarray, dec: np.ndarray, size: int) -> np.ndarray:
        """Return the first (row, col) (n, 2), from 0, of the windows of size × size around (ra, dec) (n,) [deg].

        The window is centred to half a pixel.

        Raises
        ------
        ValueError
            If a position is not on the tangent plane.
        """
        wcs = tan_wcs(self.crval, self.crpix, self.cd)
        positions = np.stack([np.asarray(ra, float), np.asarray(dec, float)], axis=1)
        middle = wcs.wcs_world2pix(positions, 0)[:, ::-1]
        if not np.isfinite(middle).all():
            lost = positions[~np.isfinite(middle).all(axis=1)][0]
            raise ValueError(f"({lost[0]}, {lost[1]}) deg is not on the tangent plane of this image")
        return np.floor(middle - (size - 1) / 2 + 0.5).astype(int)

    def wcs_from(self, start: np.ndarray):
        """Return the WCS of a window that begins at (row, col) `start`: CRPIX shifted by whole pixels, hence exact."""
        return tan_wcs(self.crval, self.crpix - start[::-1], self.cd)


def own_grid(survey: Survey, image: ImageFile) -> TileGrid:
    """Return the grid of a tile.

    Raises
    ------
    ArchiveError
        If it is not a plain TAN projection, or has another pixel scale than the survey's row.
    """
    try:
        wcs = plain_tan(image.wcs, image.shape)
    except ValueError as error:
        raise ArchiveError(f"{image.name} has {error}; resample it onto a TAN grid first") from error
    scale = local_scale(wcs, image.shape)
    if abs(scale / survey.pixel_scale - 1) > SCALE_TOLERANCE:
        raise ArchiveError(
            f'{image.name} has pixels of {scale:.4g}", but the row of {survey.title} has {survey.pixel_scale:g}"; '
            "correct the survey's row, or resample the file"
        )
    return TileGrid(*tan_terms(wcs))


def _usable(
    survey: Survey, images: list[ImageFile], unreadable: list[Unreadable]
) -> tuple[list[ImageFile], list[Unreadable]]:
    """Return the images whose pixels can be kept as they are; the others join the files that cannot be used."""
    usable, others = [], list(unreadable)
    for image in images:
        try:
            own_grid(survey, image)
        except ArchiveError as error:
            others.append(Unreadable(image.name, image.band, str(error)))
        else:
            usable.append(image)
    return usable, others


def window(pixels, start: np.ndarray, size: int) -> np.ndarray:
    """Return the size × size pixels of an image (row, col) that begin at `start`, float32; NaN beyond its edges.

    They are a copy.
    """
    row, col = int(start[0]), int(start[1])
    if 0 <= row <= pixels.shape[0] - size and 0 <= col <= pixels.shape[1] - size:
        return pixels[row : row + size, col : col + size]
    counts = np.full((size, size), np.nan, np.float32)
    low, high = np.clip(start, 0, pixels.shape), np.clip(start + size, 0, pixels.shape)
    if (high > low).all():
        inside = tuple(slice(*ends) for ends in zip(low - start, high - start, strict=True))
        counts[inside] = pixels[low[0] : high[0], low[1] : high[1]]
    return counts


def _flagged(flags: FlagImage, counts: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Return the saturated pixels (row, col) bool of a window that begins at `start`.

    Those pixels of the window that are flagged as without data become NaN.
    """
    size = counts.shape[0]
    bits = np.zeros(counts.shape, np.int64)
    low, high = np.clip(start, 0, flags.pixels.shape), np.clip(start + size, 0, flags.pixels.shape)
    if (high > low).all():
        inside = tuple(slice(*ends) for ends in zip(low - start, high - start, strict=True))
        bits[inside] = flags.pixels.bits((slice(low[0], high[0]), slice(low[1], high[1])))
    counts[(bits & flags.no_data) != 0] = np.nan
    return (bits & flags.saturated) != 0


def reader(pixels) -> Read:
    """Return a function that reads windows of an open image."""
    return lambda starts, size: (window(pixels, start, size) for start in starts)


def piece(
    survey: Survey,
    calibration: Calibration,
    counts: np.ndarray,
    grid: TileGrid,
    start: np.ndarray,
    noise: float = np.nan,
    rounding: str = "",
    saturated: np.ndarray | None = None,
) -> Piece:
    """Return a window of a tile in nanomaggies.

    Parameters
    ----------
    survey : Survey
        Its row.
    calibration : Calibration
        Of the tile.
    counts : (row, col) float
        The window [image unit]. It is changed: values that mark missing data become NaN.
    grid : TileGrid
        Grid of the tile.
    start : (2,) int
        First (row, col) of the window.
    noise : float
        Standard deviation of its blank pixels [image unit], NaN if it has to be measured.
    rounding : str
        Why exact zeros may be data all the same (`zeros.rounding_of`).
    saturated : (row, col) bool, optional
        Pixels that the tile's companion flags as saturated; None if it has none.

    Returns
    -------
    Piece
    """
    empty, zeros = judge_zeros(counts, marked=survey.no_data == 0, rounding=rounding)
    counts[empty] = np.nan
    if survey.no_data:
        counts[counts == survey.no_data] = np.nan
    flux = counts_to_nanomaggies(counts, calibration.zero_point)
    above = counts >= calibration.saturation
    flags = above if saturated is None else above | saturated
    known = "mask" if saturated is not None else "header" if np.isfinite(calibration.saturation) else ""
    cutout = Cutout(flux.astype(np.float32, copy=False), flags, grid.wcs_from(start))
    return Piece(
        cutout,
        calibration.zero_point,
        psf_fwhm=calibration.psf_fwhm,
        psf_source=calibration.psf_source,
        saturation_source=known,
        gain=calibration.gain / nanomaggies_per_count(calibration.zero_point),
        sky_sigma=float(counts_to_nanomaggies(noise, calibration.zero_point)),
        zeros=zeros,
    )


def choose(pointings: list[dict[str, ImageFile]], sky: SkyPositions, count: int) -> np.ndarray:
    """Return the index of the pointing from which to cut each of `count` objects (object,); -1 if it is on none."""
    chosen, bands, depth = np.full(count, -1), np.zeros(count, int), np.zeros(count)
    for index, pointing in enumerate(pointings):
        rows, inside = sky.on(next(iter(pointing.values())))
        better = (len(pointing) > bands[rows]) | ((len(pointing) == bands[rows]) & (inside > depth[rows]))
        rows, inside = rows[better], inside[better]
        chosen[rows], bands[rows], depth[rows] = index, len(pointing), inside
    return chosen


def _grid_of(image: ImageFile) -> tuple:
    """Return what images have in common whose pixels coincide."""
    terms = np.concatenate([np.ravel(term) for term in tan_terms(image.wcs)])
    return (*image.wcs.wcs.ctype, *image.shape, *np.round(terms, DIGITS))


def _word(argument: object) -> str:
    """Return a short word for an argument of a function; a survey is named, and its row is in the store."""
    return argument.name if isinstance(argument, Survey) else repr(argument)


def name_of(function: Callable) -> str:
    """Return the name of a function, with the arguments that are already given to it."""
    if isinstance(function, partial):
        words = [*map(_word, function.args), *(f"{name}={value}" for name, value in function.keywords.items())]
        return f"{name_of(function.func)}({', '.join(words)})"
    if isinstance(function, FileFunction):
        return str(function)
    return f"{function.__module__}.{function.__qualname__}"
