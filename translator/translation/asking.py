"""What a user asks of translations: seeing, depth, grid and draws, and the calibration of inputs."""

import hashlib
import math
import re
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from survey_tools.errors import ImageError, first_line
from survey_tools.fits.band_fits import band_headers, first_image, stated_number
from survey_tools.fits.calibration import Given
from survey_tools.images.sky_wcs import grid_cards, plain_tan, read_grid, tan_terms
from survey_tools.photometry import magnitude_to_nanomaggies
from translator.runs.checkpoint import Run
from translator.runs.device import has_bf16
from translator.translation.whole_images import SkyGrid

APERTURE = 2.0  # diameter of the aperture of a depth [arcsec]
SIGNIFICANT = 5.0  # flux in the aperture at a depth [standard deviations]
AFTER_PIXELS = ("preview", "force")  # fields of `How` that do not change any pixel
PRECISIONS = ("float32", "bf16", "auto")  # auto: bf16 where a device is clearly faster with it
A_DEPTH = re.compile(r"((?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(mag|nanomaggy|nmgy)", re.IGNORECASE)


@dataclass(frozen=True)
class Depth:
    """The noise of blank sky that is wanted.

    Attributes
    ----------
    value : float
        A 5-sigma AB magnitude within 2 arcsec, or the standard deviation of a pixel [nanomaggy].
    is_magnitude : bool
        Which of the two `value` is.
    """

    value: float
    is_magnitude: bool

    def sigma(self, pixel_scale: float) -> float:
        """Return the standard deviation of a pixel [nanomaggy], for uncorrelated noise."""
        if not self.is_magnitude:
            return self.value
        pixels = math.pi * (APERTURE / 2 / pixel_scale) ** 2
        return float(magnitude_to_nanomaggies(self.value)) / (SIGNIFICANT * math.sqrt(pixels))


def read_depth(text: str) -> Depth:
    """Return the depth in a text such as "25.2mag" or "0.002nanomaggy".

    Raises
    ------
    ValueError
        If the text is not a depth.
    """
    match = A_DEPTH.fullmatch(text.strip())
    if not match or float(match[1]) <= 0:
        raise ValueError(
            f"{text!r} is not a depth: give a 5-sigma magnitude within 2 arcsec, such as 25.2mag, or the noise of a "
            "pixel, such as 0.002nanomaggy"
        )
    return Depth(float(match[1]), match[2].lower() == "mag")


@dataclass(frozen=True)
class How:
    """How images are translated.

    Attributes
    ----------
    noise : bool
        Whether translations get the noise of the survey.
    seed : int
        Seed of all random numbers.
    seeing : tuple of float, optional
        FWHM of stars that is wanted [arcsec], one number for all bands or one for each band of the run; by default the
        usual one of the survey.
    depth : tuple of Depth, optional
        Noise that is wanted, one for all bands or one for each; by default that of an object of the survey, drawn at
        random.
    like : Path, optional
        A FITS file whose grid, seeing and depth are wanted.
    draws : int
        Number of draws of each image that are written besides the best guess.
    planes : bool
        Whether signal, standard deviation and mask are written, too.
    at : tuple of float, optional
        Right ascension and declination [deg] of the centre of the part that is translated; by default the whole image.
    size : float, optional
        Side of that part [arcsec]; by default that of the images the run was trained on.
    unit : str, optional
        Unit of the pixels of inputs whose headers do not state it.
    zero_point : float, optional
        AB magnitude of one unit of such inputs.
    preview : bool
        Whether a picture is written beside each file.
    force : bool
        Whether inputs are translated although their headers say that they are of another survey, or not observations.
    precision : str
        In which the networks multiply: one of `PRECISIONS`.
    """

    noise: bool = True
    seed: int = 0
    seeing: tuple[float, ...] | None = None
    depth: tuple[Depth, ...] | None = None
    like: Path | None = None
    draws: int = 0
    planes: bool = False
    at: tuple[float, float] | None = None
    size: float | None = None
    unit: str | None = None
    zero_point: float | None = None
    preview: bool = False
    force: bool = False
    precision: str = "float32"

    @property
    def given(self) -> Given:
        """The calibration that the user states for files whose headers are silent or contradict themselves."""
        return Given(self.unit, self.zero_point)

    @property
    def needs_any(self) -> list[str]:
        """Options that only a recipe can obey that reads any image with its conditions."""
        plain = How()
        names = ("seeing", "depth", "like", "draws", "planes", "at", "size")
        found = [f"--{name}" for name in names if getattr(self, name) != getattr(plain, name)]
        return found + ["--precision bf16"] * (self.precision == "bf16")

    @property
    def fingerprint(self) -> str:
        """A hash of 16 letters of everything that decides pixels and planes of a translation."""
        said = {each.name: str(getattr(self, each.name)) for each in fields(self) if each.name not in AFTER_PIXELS}
        return hashlib.sha256(repr(sorted(said.items())).encode()).hexdigest()[:16]


def settled(how: How, run: Run) -> How:
    """Return what is asked, with the precision that a run has on its device in place of "auto".

    Recipes that read only images are translated in float32.
    """
    if how.precision != "auto":
        return how
    return replace(how, precision="bf16" if run.use.reads_any and has_bf16(run.device) else "float32")


@dataclass(frozen=True)
class Pattern:
    """Grid and conditions of the file `How.like`; conditions are (band,), and NaN if its headers do not state them.

    Attributes
    ----------
    wcs : WCS
        WCS of its pixels, with everything that its header states.
    shape : tuple of int
        Rows and columns.
    cards : tuple of Card
        Cards of the header that state the WCS.
    grid : SkyGrid or None
        The same as plain TAN terms; None if the WCS is not a plain TAN projection.
    seeing : array
        Seeing [arcsec].
    sigma : array
        Noise of a pixel of blank sky [nanomaggy].
    """

    wcs: WCS
    shape: tuple[int, int]
    cards: tuple[fits.Card, ...]
    grid: SkyGrid | None
    seeing: np.ndarray
    sigma: np.ndarray


def read_pattern(path: Path, bands: tuple[str, ...]) -> Pattern:
    """Read grid, seeing and depth of a file; bands are found by EXTNAME or FILTER if it names them.

    Raises
    ------
    ImageError
        If the file cannot be read or has no image with a celestial WCS.
    """
    headers, _ = band_headers(path, bands)
    if not headers:
        headers = {"": first_image(path)}
    first = next(iter(headers.values()))
    shape, grid = (int(first["NAXIS2"]), int(first["NAXIS1"])), None
    try:
        wcs = read_grid(first, shape)
    except ValueError as error:
        raise ImageError(f"{path} has a WCS that cannot be used: {first_line(error)}") from error
    if wcs is None:
        raise ImageError(f"{path}: its image has no celestial WCS, so no translation can be like it")
    with suppress(ValueError):  # translations need a plain TAN projection
        grid = SkyGrid(*tan_terms(plain_tan(wcs, shape)), shape)

    def stated(keyword: str) -> np.ndarray:
        return np.array([stated_number(headers.get(band, headers.get("", fits.Header())), keyword) for band in bands])

    cards = tuple(card for card in grid_cards(first) if not card.keyword.startswith("NAXIS"))
    return Pattern(wcs, shape, cards, grid, stated("PSFFWHM"), stated("SKYSIGMA"))
