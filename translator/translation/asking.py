"""What a user asks of translations: seeing, depth, grid and draws, and what is known of inputs beside their headers."""

import hashlib
import math
import re
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from survey_tools.errors import ImageError, first_line
from survey_tools.fits.band_fits import band_headers, first_image, stated_number
from survey_tools.fits.calibration import Given
from survey_tools.images.sky_wcs import grid_cards, plain_tan, read_grid, tan_terms
from survey_tools.photometry import magnitude_to_nanomaggies
from translator.translation.whole_images import SkyGrid

APERTURE = 2.0  # diameter of the aperture of a stated depth [arcsec]
SIGNIFICANT = 5.0  # standard deviations of the flux in it
AFTER_PIXELS = ("preview", "force")  # what is asked that decides no pixel of a translation
A_DEPTH = re.compile(r"((?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(mag|nanomaggy|nmgy)", re.IGNORECASE)


@dataclass(frozen=True)
class Depth:
    """How noisy blank sky shall be.

    Attributes:
        value: A 5-sigma AB magnitude within 2 arcsec, or the standard deviation of a pixel [nanomaggy].
        is_magnitude: Which of the two.
    """

    value: float
    is_magnitude: bool

    def sigma(self, pixel_scale: float) -> float:
        """Standard deviation of a pixel [nanomaggy], of uncorrelated noise."""
        if not self.is_magnitude:
            return self.value
        pixels = math.pi * (APERTURE / 2 / pixel_scale) ** 2
        return float(magnitude_to_nanomaggies(self.value)) / (SIGNIFICANT * math.sqrt(pixels))


def read_depth(text: str) -> Depth:
    """A depth as users write it: 25.2mag, or 0.002nanomaggy; ValueError where it is neither."""
    match = A_DEPTH.fullmatch(text.strip())
    if not match or float(match[1]) <= 0:
        raise ValueError(
            f"{text!r} is no depth: give a 5-sigma magnitude within 2 arcsec, such as 25.2mag, or the noise of a "
            "pixel, such as 0.002nanomaggy"
        )
    return Depth(float(match[1]), match[2].lower() == "mag")


@dataclass(frozen=True)
class How:
    """How images are translated.

    Attributes:
        noise: Whether translations have the survey's noise.
        seed: Of all that is drawn.
        seeing: Full width at half maximum of stars that is wanted [arcsec], one number for all bands or one for each of
            the run's; None for the survey's usual.
        depth: Noise that is wanted, alike; None for that of an object of the survey, drawn at random.
        like: A FITS file whose grid, seeing and depth are wanted.
        draws: How many draws of each image are written besides the best guess.
        planes: Whether signal, standard deviation and mask are written, too.
        at: Right ascension and declination [deg] around which a part is translated; None for the whole image.
        size: Side of that part [arcsec]; None for that of the images that the run was trained on.
        unit: Of the input's pixels, where its header is silent.
        zero_point: AB magnitude of one unit of the input, alike.
        preview: Whether a picture is written beside each file.
        force: Whether inputs are translated whose headers say that they are of another survey, or no observations.
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

    @property
    def given(self) -> Given:
        """What the user says of the calibration of files whose headers are silent, or contradict themselves."""
        return Given(self.unit, self.zero_point)

    @property
    def needs_any(self) -> list[str]:
        """Options that only a recipe can obey that reads any image and is told what is known of it."""
        plain = How()
        names = ("seeing", "depth", "like", "draws", "planes", "at", "size")
        return [f"--{name}" for name in names if getattr(self, name) != getattr(plain, name)]

    @property
    def fingerprint(self) -> str:
        """Of all that decides a translation's pixels and planes, in 16 letters."""
        said = {each.name: str(getattr(self, each.name)) for each in fields(self) if each.name not in AFTER_PIXELS}
        return hashlib.sha256(repr(sorted(said.items())).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Pattern:
    """What is taken from the file of `How.like`: its grid, and (band,) conditions, NaN where its headers state none.

    Attributes:
        wcs: Of its pixels, with all that its header states.
        shape: Rows and columns.
        cards: Of the header that states the WCS.
        grid: The same as plain TAN terms; None where these do not say the same.
        seeing: [arcsec].
        sigma: Noise of a pixel of blank sky [nanomaggy].
    """

    wcs: WCS
    shape: tuple[int, int]
    cards: tuple[fits.Card, ...]
    grid: SkyGrid | None
    seeing: np.ndarray
    sigma: np.ndarray


def read_pattern(path: Path, bands: tuple[str, ...]) -> Pattern:
    """Grid, seeing and depth of a file, band by band by EXTNAME or FILTER where it names them.

    ImageError where it cannot be read or has no image with a celestial WCS.
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
        raise ImageError(f"{path}: its image has no celestial WCS, so nothing can be made like it")
    with suppress(ValueError):  # it is no plain tangential one, as translations are made on
        grid = SkyGrid(*tan_terms(plain_tan(wcs, shape)), shape)

    def stated(keyword: str) -> np.ndarray:
        return np.array([stated_number(headers.get(band, headers.get("", fits.Header())), keyword) for band in bands])

    cards = tuple(card for card in grid_cards(first) if not card.keyword.startswith("NAXIS"))
    return Pattern(wcs, shape, cards, grid, stated("PSFFWHM"), stated("SKYSIGMA"))
