"""Pictures on the page of a report: galaxies in colour and in single bands, and maps; all at stated stretches.

They are WebP, which all browsers since 2020 read, as a page of PNGs would be three times as large. At `QUALITY` the
noise of a grey panel keeps 0.98 of its standard deviation (measured on simulated sky of both surveys).
"""

import base64
import io
from dataclasses import dataclass

import numpy as np
from astropy.visualization import make_lupton_rgb
from PIL import Image

STRETCH, SOFTENING = 2.0, 6  # Lupton et al. (2004): linear up to `stretch` [nanomaggy/arcsec^2], then logarithmic
FAINTEST, BRIGHTEST = -2.0, 5.0  # of the grey panels, asinh of the brightness over `KNEE`
KNEE = 0.3  # [nanomaggy/arcsec^2]
QUALITY = 90  # of grey panels and maps, where noise is looked at
COLOUR_QUALITY = 80  # of colour panels, whose stretch shows little noise


@dataclass(frozen=True)
class Panel:
    """One image of a galaxy: title, images (band, row, col) [nanomaggy/pixel], bands and pixel scale [arcsec/pixel]."""

    title: str
    images: np.ndarray
    bands: tuple[str, ...]
    pixel_scale: float

    def brightness(self, band: str) -> np.ndarray:
        """Surface brightness (row, col) [nanomaggy/arcsec^2], which all surveys share; row 0 is the southern edge."""
        return np.nan_to_num(self.images[self.bands.index(band)]) / self.pixel_scale**2


def data_uri(picture: bytes, kind: str = "webp") -> str:
    """A picture as an address that needs no network."""
    return f"data:image/{kind};base64," + base64.b64encode(picture).decode()


def colour_panel(panel: Panel) -> bytes:
    """A galaxy in colour (Lupton et al. 2004), at the stretch that all panels of galtrans have."""
    return _picture(coloured(panel), COLOUR_QUALITY)


def coloured(panel: Panel, stretch: float = STRETCH) -> np.ndarray:
    """A galaxy in colour (row, col, 3) uint8 (Lupton et al. 2004); row 0 is the southern edge."""
    with np.errstate(invalid="ignore"):  # pixels of no light have no colour
        return make_lupton_rgb(
            *(panel.brightness(band) for band in rgb_bands(panel.bands)), stretch=stretch, Q=SOFTENING
        )


def grey_panel(panel: Panel, band: str) -> bytes:
    """A galaxy in one band, bright as white, at one stretch for all panels."""
    faint = np.arcsinh(panel.brightness(band) / KNEE)
    return grey_picture(faint, FAINTEST, BRIGHTEST)


def grey_picture(image: np.ndarray, low: float, high: float) -> bytes:
    """(row, col) as a picture that is black at `low` and white at `high`; black where there is no value."""
    level = np.nan_to_num((image - low) / max(high - low, 1e-30) * 255, nan=0.0)
    return _picture(np.clip(level, 0, 255).astype(np.uint8), QUALITY)


def rgb_bands(bands: tuple[str, ...]) -> tuple[str, str, str]:
    """Bands shown as red, green and blue: i, r, g where they are there, else the reddest, the middle and the bluest."""
    return ("i", "r", "g") if {"i", "r", "g"} <= set(bands) else (bands[-1], bands[len(bands) // 2], bands[0])


def _picture(pixels: np.ndarray, quality: int) -> bytes:
    """(row, col) or (row, col, 3) of uint8 as WebP, row 0 at the bottom."""
    held = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels[::-1])).save(held, format="WEBP", quality=quality)
    return held.getvalue()
