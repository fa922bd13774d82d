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
    """The zero point of a stack by `keyword`, or else that of all; its saturation and seeing, where they are stated.

    PHOT_C, which some stacks have, is the camera's zero point and not theirs. ArchiveError, that speaks of the file
    `name`, where a value is no number.
    """
    saturation = header_number(name, header, "SATURATE", np.inf)
    return Calibration(
        zero_point=header_number(name, header, keyword, CFHT.zero_point),
        saturation=saturation if saturation > 0 else np.inf,  # 0 is what is written where it is not known
        psf_fwhm=header_number(name, header, "IQIMAGE", np.nan),
    )
