"""Archives that answer a position with a small image: what the services have in common.

The image that a service sends may begin a pixel earlier or later than our own cutout. A few more pixels are therefore
requested, and our cutout is taken from them by the WCS. So it has the pixels, and the WCS, that a cutout from the
archive's own file has.
"""

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numpy as np
from astropy.io import fits

from survey_tools.archives.download.mirror import make_room, tree_name
from survey_tools.archives.download.shared import shared
from survey_tools.archives.fits_files import ImageFile
from survey_tools.archives.plan import Access, Piece
from survey_tools.archives.tiles import Calibration, TileGrid, own_grid, piece, window
from survey_tools.errors import ArchiveError, first_line
from survey_tools.fits.reading import UNREADABLE, Hdu, require_whole, values_of, walk
from survey_tools.images.cutout import Cutout
from survey_tools.images.sky_wcs import north_up_wcs, plain_tan, read_grid
from survey_tools.surveys import Survey

SLACK = 4  # [pixel] by which more is requested
TRIES = 3  # requests for an answer whose content is not what was asked for
FOLDER = "cutouts"  # in the folder of files that are in use


@contextmanager
def answer_of(access: Access, root: str, name: str, user: str, users: tuple[str, ...], ask) -> Iterator[bytes]:
    """Yield the answer that has the image `name`, requested once for all its users.

    Parameters
    ----------
    access : Access
        Where files lie while they are in use, and whether they stay.
    root : str
        Address of the service.
    name : str
        Name of the image.
    user : str
        The band that needs it.
    users : tuple of str
        All bands that need it.
    ask : callable
        Returns the answer.

    Yields
    ------
    bytes
    """
    notes = access.work / FOLDER / hashlib.sha256(f"{root}\n{name}\n{''.join(users)}".encode()).hexdigest()[:32]
    place = notes if access.keep is None else access.keep / tree_name(root, name)
    known = place.exists()
    with shared(place, notes, user, users, ask) as content:
        yield content
    if access.keep is not None and access.limit is not None and not known:
        make_room(access.keep, access.limit, added=len(content))


def images_in(content: bytes, asked: str, axes: tuple[int, ...] = (2,)) -> list[tuple[fits.Header, np.ndarray]]:
    """Return header and pixels float32 of every image of an answer that has so many axes.

    Raises
    ------
    ArchiveError
        If the answer is not a complete FITS file.
    """
    stream = io.BytesIO(content)
    try:
        hdus: list[Hdu] = list(walk(stream, asked))
        require_whole("the answer", hdus, len(content))
        found = [hdu for hdu in hdus if len(hdu.shape) in axes]
        return [(hdu.header, values_of("the answer", stream, hdu).astype(np.float32)) for hdu in found]
    except (ArchiveError, *UNREADABLE) as error:
        raise ArchiveError(f"{asked}: {first_line(error)}", url=asked) from error


def grid_in(survey: Survey, header: fits.Header, shape: tuple[int, int], band: str, asked: str) -> TileGrid:
    """Return the grid of an image of an answer.

    Raises
    ------
    ArchiveError
        If it has no celestial WCS, no plain TAN projection, or another pixel scale than the survey's row.
    """
    try:
        wcs = read_grid(header, shape)
    except UNREADABLE as error:
        raise ArchiveError(
            f"{asked}: the image has a WCS that cannot be used: {first_line(error)}", url=asked
        ) from error
    if wcs is None:
        raise ArchiveError(f"{asked}: the image has no celestial WCS", url=asked)
    with suppress(ValueError):
        wcs = plain_tan(wcs, shape)
    return own_grid(survey, ImageFile(asked, band, shape, wcs))


def cut_from(
    survey: Survey, calibration: Calibration, pixels: np.ndarray, grid: TileGrid, ra: float, dec: float
) -> Piece:
    """Return the cutout around (ra, dec) [deg] of an image (row, col) [image unit]."""
    start = grid.starts(np.array([ra]), np.array([dec]), survey.cutout_size)[0]
    counts = np.array(window(pixels, start, survey.cutout_size), np.float32)
    return piece(survey, calibration, counts, grid, start)


def nothing_at(survey: Survey, ra: float, dec: float) -> Piece:
    """Return a cutout around (ra, dec) [deg] without any data."""
    size = survey.cutout_size
    wcs = north_up_wcs(ra, dec, survey.pixel_scale, size)
    return Piece(
        Cutout(np.full((size, size), np.nan, np.float32), np.zeros((size, size), bool), wcs), survey.zero_point
    )


def position_of(ra: float, dec: float) -> str:
    """Return a position [deg] for the name of an image, to 4 milliarcsec."""
    return f"{ra:.6f}{dec:+.6f}"
