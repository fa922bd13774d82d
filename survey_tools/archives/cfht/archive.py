"""CFHTLS T0007 stacks by Terapix: tiles of one square degree, in a mirror of the user's or at the CADC.

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

KEYWORD = "MZP_AB"  # of the zero point of T0007


def open_archive(access: Access, options: CfhtOptions = CfhtOptions()) -> Tiles | Stacks:  # noqa: B008
    """Return the user's mirror of the stacks, or the CADC if there is none."""
    known = {"given": access.given} if access.given else {}
    calibration = partial(calibrate, access.settings.zero_point_keyword, **known)
    if access.mirror is None:
        return Stacks(CFHT, access, calibration, options)
    return Tiles(CFHT, access.files(access.mirror), calibration)


def calibrate(keyword: str, name: str, header: fits.Header, given: Given = SILENT) -> Calibration:
    """The zero point of a stack, as its header states it; its saturation, seeing and gain, where stated.

    A `keyword` other than MZP_AB is the only one that is asked, if it is there, because the user has chosen it. PHOT_C,
    which some stacks have, is the camera's zero point and not theirs. GAIN is that of a pixel with all of the
    exposures. ArchiveError, that speaks of the file `name`, where a value is no number, or the zero point is not
    stated or stated twice.
    """
    stated = {key: header_number(name, header, key, 0.0) for key in ("SATURATE", "IQIMAGE", "GAIN")}
    known = {key: value if value > 0 else np.nan for key, value in stated.items()}  # 0 is written for what is not known
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
