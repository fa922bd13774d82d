"""Coadds of any survey in a folder of the user, or on a web server: tiles, which are found by their headers.

What a header states decides: `survey_tools.fits.calibration` reads FLUXMAG0 of HSC, MAGZERO of DES and the Legacy
Surveys, and FPA.ZP with EXPTIME of Pan-STARRS1. Files of a survey whose row says that all have one zero point, as the
nanomaggies of the Legacy Surveys and the coadds of KiDS do, need not state it.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
from astropy.io import fits

from survey_tools.archives.plan import Access
from survey_tools.archives.tiles import Calibrate, Calibration, Tiles
from survey_tools.errors import ArchiveError
from survey_tools.fits.calibration import SAME, SILENT, Given, read_zero_point
from survey_tools.fits.reading import header_number
from survey_tools.surveys import Survey

SATURATION = ("SATURATE", "SATURAT")  # keywords with the value from which pixels are saturated [image unit]
SEEING = ("PSF_FWHM", "SEEING", "IQIMAGE")  # keywords with the width of a star's profile [arcsec]


@dataclass(frozen=True)
class NoOptions:
    """The options of an archive that has none."""

    @property
    def seeing(self) -> bool:
        """Whether the seeing at each object is wanted: tiles give it by their header or their stars."""
        return True


def open_tiles(survey: Survey, calibration: Calibrate | None, access: Access, options: object = None) -> Tiles:
    """Return the tiles of a survey in the folder, or on the web server, that the user names.

    Parameters
    ----------
    survey : Survey
        Its row.
    calibration : callable, optional
        Reads the calibration of a tile; `calibrate` by default.
    access : Access
        How to reach the files; it has a `mirror`.
    options : object
        Not used: tiles have no options.

    Returns
    -------
    Tiles
    """
    known = {"given": access.given} if access.given else {}
    return Tiles(survey, access.files(access.mirror), calibration or partial(calibrate, survey, **known))


def calibrate(survey: Survey, name: str, header: fits.Header, given: Given = SILENT) -> Calibration:
    """Return the zero point that a tile's header states, and its saturation, seeing and gain if they are stated.

    Parameters
    ----------
    survey : Survey
        Its row.
    name : str
        Name of the file, for messages.
    header : fits.Header
        Header of the tile.
    given : Given
        The user's statement on files whose headers state nothing.

    Returns
    -------
    Calibration

    Raises
    ------
    ArchiveError
        If a value is not a number, or the zero point is not stated, stated twice, or not that of the survey although
        all of its files have the same.
    """
    return Calibration(
        zero_point=zero_point_of(survey, name, header, given),
        saturation=_positive(name, header, SATURATION, np.inf),
        psf_fwhm=_positive(name, header, SEEING, np.nan),
        gain=_positive(name, header, ("GAIN",), np.nan),
    )


def zero_point_of(survey: Survey, name: str, header: fits.Header, given: Given = SILENT) -> float:
    """Return the AB magnitude of one unit of a tile; the arguments and errors are those of `calibrate`."""
    if not survey.zero_point_fixed:
        return read_zero_point(name, header, given, survey_zero_point=survey.zero_point)
    try:
        stated = read_zero_point(name, header)
    except ArchiveError:
        if given:
            return read_zero_point(name, header, given, survey_zero_point=survey.zero_point)
        return survey.zero_point
    if abs(stated - survey.zero_point) > SAME and not given:
        raise ArchiveError(
            f"{name} states a zero point of {stated:.5g}, but all files of {survey.title} {survey.release} have "
            f"{survey.zero_point:g}: is it of this release? Pass --zero-point for the right one"
        )
    return stated


def _positive(name: str, header: fits.Header, keywords: tuple[str, ...], default: float) -> float:
    """Return the first positive number that one of some keywords states; a default if there is none."""
    stated = (header_number(name, header, keyword, 0.0) for keyword in keywords if keyword in header)
    return next((value for value in stated if 0 < value < np.inf), default)
