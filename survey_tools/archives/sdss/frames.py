"""One corrected frame of SDSS: its name, and the cutouts that it gives, with their noise and point-spread function.

Data model: https://data.sdss.org/datamodel/files/BOSS_PHOTOOBJ/frames/RERUN/RUN/CAMCOL/frame.html
"""

import logging
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from survey_tools.archives.download.mirror import Mirror
from survey_tools.archives.fits_files import ImageFile, open_image
from survey_tools.archives.plan import Piece, SourceFile
from survey_tools.archives.sdss.frame_noise import FrameNoise, gain_and_dark_variance, interpolated, read_noise
from survey_tools.archives.sdss.saturation import FPM_FILE, FRAME, HEADER, saturated_by_frame
from survey_tools.errors import ArchiveError
from survey_tools.fits.calibration import SILENT, Given, read_zero_point
from survey_tools.fits.reading import FitsPixels, header_number
from survey_tools.images.cutout import Cutout, resample, resample_flags
from survey_tools.images.sky_wcs import local_scale, north_up_wcs, pixels_of, places_of
from survey_tools.photometry import NANOMAGGY_ZERO_POINT, counts_to_nanomaggies
from survey_tools.surveys import SDSS

RERUN = 301  # the reduction whose frames DR12 has
NAMED, NEXT, LISTED = "named", "next", "listed"  # why a frame is wanted; the one next to a named one need not exist
BEFORE, AFTER, EMPTY = -1, 1, 2  # `Piece.lacks`: rows of the field before or after; all data at the object's position
CORNERS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]]) * (SDSS.cutout_size - 1)

log = logging.getLogger(__name__)


class Frame(NamedTuple):
    """One field of the imaging scans in one band, and the reason why it is needed (NAMED, NEXT or LISTED)."""

    run: int
    rerun: int
    camcol: int
    field: int
    band: str
    why: str = NAMED

    @property
    def name(self) -> str:
        """Name of its file on the SAS, relative to the root."""
        run, rerun, camcol, field, band, _ = self
        folder = f"sas/dr12/boss/photoObj/frames/{rerun}/{run}/{camcol}"
        return f"{folder}/frame-{band}-{run:06d}-{camcol}-{field:04d}.fits.bz2"


FindPsf = Callable[[Frame, float, float], float]  # (frame, row, col) -> FWHM [arcsec], NaN where it is unknown
FindMask = Callable[[Frame, tuple[int, int]], np.ndarray | None]  # (frame, shape) -> (row, col) bool, None if unknown


def cut_frame(
    mirror: Mirror,
    source: SourceFile,
    ra: np.ndarray,
    dec: np.ndarray,
    psf: FindPsf,
    mask: FindMask | None = None,
    given: Given = SILENT,
) -> Iterator[Piece]:
    """Yield north-up cutouts of one frame, centred on (ra, dec) (n,) [deg], one after the other.

    Parameters
    ----------
    mirror : Mirror
        Where the file is.
    source : SourceFile
        The file; its key is a `Frame`, or None if it was found by its header.
    ra, dec : (n,) float
        Positions [deg].
    psf : callable
        Returns the FWHM of a star's profile [arcsec] at a pixel of a frame, NaN if it is unknown.
    mask : callable, optional
        Returns which pixels (row, col) of a frame are saturated, or None; the frame itself is examined then.
    given : Given
        The user's statement on frames whose header states no unit.

    Yields
    ------
    Piece

    Raises
    ------
    ArchiveError
        If the file is missing or damaged, does not state its unit, or is another frame than its name says.
    ConnectionError
        If the archive cannot be reached.
    """
    with open_image(SDSS, mirror, source.name) as (image, header, pixels):
        zero_point = _zero_point(source, header, given)
        _check(source, image, header)
        flux = pixels[:, :]
        if zero_point != NANOMAGGY_ZERO_POINT:
            flux = counts_to_nanomaggies(flux, zero_point).astype(np.float32)
            header = _in_nanomaggies(source.name, header, zero_point)
        frame, noise = _told(header, source.band), _noise(source, header, pixels)
        known = mask(frame, flux.shape) if mask is not None and frame is not None else None
        saturated, by = _saturated(source.name, flux, header, noise, known)
        for position in zip(ra, dec, strict=True):
            target = _grid(*position)
            col, row = pixels_of(image.wcs, [position])[0]
            stamp = resample(flux, image.wcs, target, SDSS.cutout_size)
            flags = np.isfinite(stamp)
            flags &= resample_flags(saturated, image.wcs, target, SDSS.cutout_size) if saturated.any() else False
            width = np.nan if frame is None or np.isnan(stamp).all() else psf(frame, row, col)
            yield Piece(
                Cutout(stamp, flags, target),
                zero_point,
                psf_fwhm=width,
                psf_source="psField" if np.isfinite(width) else "",
                saturation_source=by,
                gain=_gain(frame, noise, header, col),
                sky_sigma=_sigma(noise, image, row, col),
                exposure="" if frame is None else f"{frame.run}-{frame.camcol}",
                lacks=_lacks(source, image, stamp, target),
            )


def field_of(header: fits.Header) -> tuple[int, int, int] | None:
    """Return run, camcol and field of an SDSS frame; None if its header does not state them.

    FRAME numbers the drift scan as each CCD sees it. The five rows of the camera, r i u z g, pass a field two frames
    apart, so that field 111 is FRAME 111 in r and 119 in g.
    """
    stated = [
        header.get(name, default) for name, default in (("RUN", None), ("CAMCOL", None), ("FRAME", None), ("CAMROW", 1))
    ]
    if not all(isinstance(value, int) for value in stated):
        return None
    run, camcol, frame, row = stated
    return run, camcol, frame - 2 * (row - 1)


def nothing(ra: np.ndarray, dec: np.ndarray) -> Iterator[Piece]:
    """Yield cutouts without any data, centred on (ra, dec) (n,) [deg], one after the other."""
    shape = (SDSS.cutout_size, SDSS.cutout_size)
    for position in zip(ra, dec, strict=True):
        cutout = Cutout(np.full(shape, np.nan, np.float32), np.zeros(shape, bool), _grid(*position))
        yield Piece(cutout, SDSS.zero_point)


def _told(header: fits.Header, band: str) -> Frame | None:
    """Return the frame that a header states; None if it states none."""
    found = field_of(header)
    if found is None:
        return None
    run, camcol, field = found
    return Frame(run, str(header.get("RERUN", RERUN)).strip(), camcol, field, band)


def _grid(ra: float, dec: float) -> WCS:
    """Return the pixels of a cutout: north up, centred on the object."""
    return north_up_wcs(ra, dec, SDSS.pixel_scale, SDSS.cutout_size)


def _lacks(source: SourceFile, image: ImageFile, stamp: np.ndarray, target: WCS) -> int:
    """Return `Piece.lacks`: whether the field before or after, or any other frame, is needed for this cutout."""
    why = "" if source.key is None else source.key.why
    if why == LISTED:
        middle = slice(SDSS.cutout_size // 2 - 1, SDSS.cutout_size // 2 + 1)
        return 0 if np.isfinite(stamp[middle, middle]).any() else EMPTY
    if why != NAMED:
        return 0
    row = pixels_of(image.wcs, places_of(target, CORNERS))[:, 1]
    return AFTER if (row > image.shape[0] - 1).any() else BEFORE if (row < 0).any() else 0


def _saturated(
    name: str, flux: np.ndarray, header: fits.Header, noise: FrameNoise | None, mask: np.ndarray | None
) -> tuple[np.ndarray, str]:
    """Return which pixels (row, col) of a frame are saturated, and how this is known; "" if it is not known."""
    level = header_number(name, header, "SATURATE", np.inf)
    if mask is not None:
        return mask | (flux >= level), FPM_FILE
    if np.isfinite(level):
        return flux >= level, HEADER
    unit = header.get("NMGY")
    if noise is not None:
        return saturated_by_frame(flux, noise.calibration, float(noise.sky.mean())), FRAME
    if isinstance(unit, float) and unit > 0:
        return saturated_by_frame(flux, np.full(flux.shape[1], unit), 0.0), FRAME
    return np.zeros(flux.shape, bool), ""


def _noise(source: SourceFile, header: fits.Header, pixels: FitsPixels) -> FrameNoise | None:
    """Return the quantities that determine the noise of a frame; None if the file does not state them."""
    try:
        with pixels.hdus() as hdus:
            return read_noise(hdus, header.get("RUN", 0), header.get("CAMCOL", 0), source.band, pixels.shape)
    except ArchiveError as error:
        log.info("%s: its noise is unknown: %s", source.name, error)
        return None


def _sigma(noise: FrameNoise | None, image: ImageFile, row: float, col: float) -> float:
    """Return the noise of blank sky [nanomaggy/pixel] in a cutout around a pixel of a frame; NaN if it is unknown."""
    if noise is None or not np.isfinite([row, col]).all():
        return np.nan
    return noise.blank(row, col) * interpolated() * (SDSS.pixel_scale / local_scale(image.wcs, image.shape)) ** 2


def _gain(frame: Frame | None, noise: FrameNoise | None, header: fits.Header, col: float) -> float:
    """Return the electrons of one nanomaggy in a column of a frame; NaN if the frame does not state it.

    This is the gain of the CCD [electron/DN] divided by the nanomaggies of one DN: those of the column (HDU 1), or else
    the mean of the frame (NMGY).
    """
    if noise is not None and np.isfinite(col):
        return noise.electrons(col)
    unit = header.get("NMGY")
    if frame is None or not isinstance(unit, float) or not unit > 0:
        return np.nan
    try:
        return gain_and_dark_variance(frame.run, frame.camcol, frame.band)[0] / unit
    except KeyError:
        return np.nan


def _zero_point(source: SourceFile, header: fits.Header, given: Given) -> float:
    """Return the AB magnitude of one unit of a frame; ArchiveError if it is not stated, as before DR9."""
    try:
        return read_zero_point(source.name, header, given, survey_zero_point=SDSS.zero_point)
    except ArchiveError as error:
        raise ArchiveError(f"{error}: it is not a corrected frame of DR9 to DR17") from error


def _in_nanomaggies(name: str, header: fits.Header, zero_point: float) -> fits.Header:
    """Return the header of a frame whose pixels were converted into nanomaggies."""
    header = header.copy()
    if "SATURATE" in header:
        header["SATURATE"] = float(counts_to_nanomaggies(header_number(name, header, "SATURATE", np.inf), zero_point))
    return header


def _check(source: SourceFile, image: ImageFile, header: fits.Header) -> None:
    """Raise ArchiveError unless the frame is the one that its name says."""
    if image.band != source.band:
        raise ArchiveError(f"{source.name} is an image of band {image.band}; fetch the file again")
    frame, told = source.key, _told(header, source.band)
    if frame is not None and told is None:
        raise ArchiveError(f"{source.name} does not state its RUN, CAMCOL and FRAME; fetch the file again")
    if frame is not None and (told.run, told.camcol, told.field) != (frame.run, frame.camcol, frame.field):
        raise ArchiveError(f"{source.name} holds run, camcol, field {field_of(header)}; fetch the file again")
