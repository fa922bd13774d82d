"""CFHTLS T0007 stacks by Terapix: tiles of one square degree, in a mirror of the user or at the CADC.

Keywords and units: CFHTLS T0007 documentation, https://www.cfht.hawaii.edu/Science/CFHTLS/T0007
"""

from functools import partial

import numpy as np
from astropy.io import fits

from survey_tools.archives.cfht.stacks import CfhtOptions, Stacks
from survey_tools.archives.plan import Access
from survey_tools.archives.tiles import Calibration, Tiles
from survey_tools.fits.calibration import SILENT, Given, read_zero_point
from survey_tools.fits.reading import header_number
from survey_tools.surveys import CFHT

KEYWORD = "MZP_AB"  # with the zero point in T0007


def open_archive(access: Access, options: CfhtOptions = CfhtOptions()) -> Tiles | Stacks:  # noqa: B008
    """Return the user's mirror of the stacks, or the CADC if there is none.

    Parameters
    ----------
    access : Access
        How to reach the files.
    options : CfhtOptions
        The options of this archive alone.

    Returns
    -------
    Tiles or Stacks
    """
    known = {"given": access.given} if access.given else {}
    calibration = partial(calibrate, access.settings.zero_point_keyword, **known)
    if access.mirror is None:
        return Stacks(CFHT, access, calibration, options)
    return Tiles(CFHT, access.files(access.mirror), calibration)


def calibrate(keyword: str, name: str, header: fits.Header, given: Given = SILENT) -> Calibration:
    """Return the zero point that the header of a stack states; its saturation, seeing and gain, if they are stated.

    PHOT_C, which some stacks have, is the zero point of the camera and not of the stack. GAIN is that of a pixel with
    all exposures.

    Parameters
    ----------
    keyword : str
        If it is not MZP_AB and the header has it, it is the only keyword that is read, because the user has chosen it.
    name : str
        Name of the file, for messages.
    header : fits.Header
        Header of the stack.
    given : Given
        The user's statement on files whose headers state nothing.

    Returns
    -------
    Calibration

    Raises
    ------
    ArchiveError
        If a value is not a number, or the zero point is not stated or stated twice.
    """
    stated = {key: header_number(name, header, key, 0.0) for key in ("SATURATE", "IQIMAGE", "GAIN")}
    known = {key: value if value > 0 else np.nan for key, value in stated.items()}  # 0 stands for an unknown value
    if keyword != KEYWORD and keyword in header:
        zero_point = header_number(name, header, keyword, CFHT.zero_point)
    else:
        zero_point = read_zero_point(name, header, given, survey_zero_point=CFHT.zero_point)
    return Calibration(
        zero_point=zero_point,
        saturation=np.inf if np.isnan(known["SATURATE"]) else known["SATURATE"],
        psf_fwhm=known["IQIMAGE"],
        gain=known["GAIN"],
    )
