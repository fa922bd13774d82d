"""Surveys as rows: what galtrans needs to know of each, with the source of every figure."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Survey:
    """What galtrans needs to know of a photometric survey.

    Attributes:
        name: The word for it on the command line and in stores.
        title: The word for it on a figure.
        bands: Its bands, blue to red.
        pixel_scale: Of its cutouts [arcsec/pixel].
        zero_point: AB magnitude of one image unit, used where a file states none.
        cutout_size: Rows, and columns, of a cutout [pixel].
        filters: Values of the FITS keyword FILTER and the band that each stands for.
        no_data: Pixel value by which its files mark missing data (besides NaN); None where there is none.
        north_up: Whether cutouts are resampled onto a north-up TAN grid; else they keep the file's own pixels.
        source: Where these figures are published.
    """

    name: str
    title: str
    bands: tuple[str, ...]
    pixel_scale: float
    zero_point: float
    cutout_size: int
    filters: dict[str, str]
    no_data: float | None
    north_up: bool
    source: str


SDSS = Survey(
    name="sdss",
    title="SDSS",
    bands=("u", "g", "r", "i", "z"),
    pixel_scale=0.396,
    zero_point=22.5,
    cutout_size=64,
    filters={"u": "u", "g": "g", "r": "r", "i": "i", "z": "z"},
    no_data=None,
    north_up=True,
    source="SDSS DR12 data model, file `frame`: calibrated to nanomaggies, sky subtracted",
)
CFHT = Survey(
    name="cfht",
    title="CFHTLS",
    bands=("u", "g", "r", "i", "z"),
    pixel_scale=0.186,
    zero_point=30.0,
    cutout_size=136,
    filters={
        "u.MP9301": "u",
        "g.MP9401": "g",
        "r.MP9601": "r",
        "i.MP9701": "i",
        "i.MP9702": "i",
        "y.MP9702": "i",
        "z.MP9801": "z",
    },
    no_data=0.0,
    north_up=False,
    source="CFHTLS T0007 documentation (Terapix): stacks rescaled to zero point 30 AB, empty pixels are exactly 0",
)

HSC = Survey(
    name="hsc",
    title="HSC-SSP",
    bands=("g", "r", "i", "z", "y"),
    pixel_scale=0.168,
    zero_point=27.0,
    cutout_size=152,
    filters={
        "HSC-G": "g",
        "HSC-R": "r",
        "HSC-R2": "r",
        "HSC-I": "i",
        "HSC-I2": "i",
        "HSC-Z": "z",
        "HSC-Y": "y",
    },
    no_data=None,
    north_up=False,
    source="HSC-SSP PDR3 (Aihara et al. 2022, PASJ 74, 247): coadds of 27 AB, pixels without data are NaN",
)
DES = Survey(
    name="des",
    title="DES",
    bands=("g", "r", "i", "z", "y"),
    pixel_scale=0.263,
    zero_point=30.0,
    cutout_size=96,
    filters={
        "g DECam SDSS c0001 4720.0 1520.0": "g",
        "r DECam SDSS c0002 6415.0 1480.0": "r",
        "i DECam SDSS c0003 7835.0 1470.0": "i",
        "z DECam SDSS c0004 9260.0 1520.0": "z",
        "Y DECam c0005 10095.0 1130.0": "y",
    },
    no_data=None,
    north_up=False,
    source="DES DR2 (Abbott et al. 2021, ApJS 255, 20): coadded tiles of zero point 30 AB (MAGZERO)",
)
LEGACY = Survey(
    name="legacy",
    title="Legacy Surveys",
    bands=("g", "r", "i", "z"),
    pixel_scale=0.262,
    zero_point=22.5,
    cutout_size=96,
    filters={"g": "g", "r": "r", "i": "i", "z": "z"},
    no_data=None,
    north_up=False,
    source="DESI Legacy Imaging Surveys DR10 (Dey et al. 2019, AJ 157, 168): bricks in nanomaggies",
)
PS1 = Survey(
    name="ps1",
    title="Pan-STARRS1",
    bands=("g", "r", "i", "z", "y"),
    pixel_scale=0.25,
    zero_point=25.0,
    cutout_size=104,
    filters={"g.00000": "g", "r.00000": "r", "i.00000": "i", "z.00000": "z", "y.00000": "y"},
    no_data=None,
    north_up=False,
    source="Pan-STARRS1 DR2 stacks (Waters et al. 2020, ApJS 251, 4): 25 AB for one second, pixels scaled by asinh",
)
KIDS = Survey(
    name="kids",
    title="KiDS",
    bands=("u", "g", "r", "i"),
    pixel_scale=0.2,
    zero_point=0.0,
    cutout_size=128,
    filters={"OCAM_u_SDSS": "u", "OCAM_g_SDSS": "g", "OCAM_r_SDSS": "r", "OCAM_i_SDSS": "i"},
    no_data=0.0,
    north_up=False,
    source="KiDS-ESO DR4 (Kuijken et al. 2019, A&A 625, A2): coadds of zero point 0 AB",
)

MARKS = {  # words in SURVEY, TELESCOP or INSTRUME by which an image is known to be of a survey
    "sdss": ("SDSS", "Sloan"),
    "cfht": ("CFHT", "MegaPrime", "MegaCam", "Terapix"),
}
CATALOGUE_COLUMNS = {  # whole numbers by which a survey's own catalogue names the image of an object, and descriptions
    "sdss": {name: f"SDSS {name} of the object" for name in ("run", "rerun", "camcol", "field")},
}
SURVEYS = {survey.name: survey for survey in (SDSS, CFHT, HSC, DES, LEGACY, PS1, KIDS)}


def find_survey(name: str) -> Survey:
    """Return the survey of a name.

    Parameters
    ----------
    name : str
        Its name, such as "sdss".

    Returns
    -------
    Survey
        Its row of `SURVEYS`.

    Raises
    ------
    ValueError
        There is no such survey; the message names the known ones.
    """
    if name not in SURVEYS:
        raise ValueError(f"no survey is called {name!r}; known are {', '.join(SURVEYS)}")
    return SURVEYS[name]
