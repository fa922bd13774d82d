"""CFHTLS T0007 stacks by Terapix: tiles of one square degree, in a mirror of the user's or at the CADC.

Keywords and units: CFHTLS T0007 documentation, https://www.cfht.hawaii.edu/Science/CFHTLS/T0007
"""

from functools import partial

import numpy as np
from astropy.io import fits

from survey_tools.archives.access import Access
from survey_tools.archives.fits_files import header_number
from survey_tools.archives.stacks import Stacks
from survey_tools.archives.tiles import Calibration, Tiles
from survey_tools.surveys import CFHT


def open_archive(access: Access) -> Tiles | Stacks:
    """The user's mirror of the stacks, or else the CADC."""
    calibration = partial(calibrate, access.settings.zero_point_keyword)
    if access.mirror is None:
        return Stacks(CFHT, access, calibration)
    return Tiles(CFHT, access.files(access.mirror), calibration)


def calibrate(keyword: str, name: str, header: fits.Header) -> Calibration:
    """The zero point of a stack by `keyword`, or else that of all; its saturation, seeing and gain, where stated.

    PHOT_C, which some stacks have, is the camera's zero point and not theirs. GAIN is that of a pixel with all of the
    exposures. ArchiveError, that speaks of the file `name`, where a value is no number.
    """
    stated = {key: header_number(name, header, key, 0.0) for key in ("SATURATE", "IQIMAGE", "GAIN")}
    known = {key: value if value > 0 else np.nan for key, value in stated.items()}  # 0 is written for what is not known
    return Calibration(
        zero_point=header_number(name, header, keyword, CFHT.zero_point),
        saturation=np.inf if np.isnan(known["SATURATE"]) else known["SATURATE"],
        psf_fwhm=known["IQIMAGE"],
        gain=known["GAIN"],
    )
