"""Pictures of galaxies, and maps side by side."""

import base64
import io
from dataclasses import dataclass

import numpy as np
from astropy.visualization import make_lupton_rgb
from PIL import Image

from translator.metrics.measure import Curve

STRETCH, SOFTENING = 2.0, 6  # Lupton et al. (2004): linear up to `stretch` [nanomaggy/arcsec^2], then logarithmic
FAINTEST, BRIGHTEST = -2.0, 5.0  # black and white of grey panels: asinh of the brightness over `KNEE`
KNEE = 0.3  # [nanomaggy/arcsec^2]
QUALITY = 90  # WebP quality of grey panels and maps, which show noise
COLOUR_QUALITY = 80  # WebP quality of colour panels, which show little noise


@dataclass(frozen=True)
class Panel:
    """One image of a galaxy.

    Attributes
    ----------
    title : str
        Its title.
    images : array
        Images (band, row, col) [nanomaggy/pixel].
    bands : tuple of str
        Names of the bands.
    pixel_scale : float
        Side of a pixel [arcsec].
    """

    title: str
    images: np.ndarray
    bands: tuple[str, ...]
    pixel_scale: float

    def brightness(self, band: str) -> np.ndarray:
        """Return the surface brightness (row, col) [nanomaggy/arcsec²] in a band; row 0 is at the bottom."""
        return np.nan_to_num(self.images[self.bands.index(band)]) / self.pixel_scale**2


def data_uri(picture: bytes, kind: str = "webp") -> str:
    """Return a picture as an address that needs no network."""
    return f"data:image/{kind};base64," + base64.b64encode(picture).decode()


def colour_panel(panel: Panel) -> bytes:
    """Return a galaxy in colour (Lupton et al. 2004) as WebP, at the stretch of all panels of galtrans."""
    return _picture(coloured(panel), COLOUR_QUALITY)


def coloured(panel: Panel, stretch: float = STRETCH) -> np.ndarray:
    """Return a galaxy in colour (row, col, 3) uint8 (Lupton et al. 2004); row 0 is at the bottom."""
    with np.errstate(invalid="ignore"):  # pixels without light have no colour
        return make_lupton_rgb(
            *(panel.brightness(band) for band in rgb_bands(panel.bands)), stretch=stretch, Q=SOFTENING
        )


def grey_panel(panel: Panel, band: str) -> bytes:
    """Return a galaxy in one band as WebP, with bright as white, at one stretch for all panels."""
    faint = np.arcsinh(panel.brightness(band) / KNEE)
    return grey_picture(faint, FAINTEST, BRIGHTEST)


def grey_picture(image: np.ndarray, low: float, high: float) -> bytes:
    """Return pixels (row, col) as WebP, black at `low` and white at `high`; black where there is no value."""
    level = np.nan_to_num((image - low) / max(high - low, 1e-30) * 255, nan=0.0)
    return _picture(np.clip(level, 0, 255).astype(np.uint8), QUALITY)


def rgb_bands(bands: tuple[str, ...]) -> tuple[str, str, str]:
    """Return the bands for red, green and blue: i, r, g if they exist, else the reddest, middle and bluest band."""
    return ("i", "r", "g") if {"i", "r", "g"} <= set(bands) else (bands[-1], bands[len(bands) // 2], bands[0])


def _picture(pixels: np.ndarray, quality: int) -> bytes:
    """Return pixels (row, col) or (row, col, 3) of uint8 as WebP, row 0 at the bottom."""
    held = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels[::-1])).save(held, format="WEBP", quality=quality)
    return held.getvalue()


LARGEST = 100  # pixels of a side; larger maps are averaged in blocks of 2 × 2, 3 × 3, …
WIDEST = 3  # largest grey scale in units of the median over rows, so that an outlier does not hide the others


def map_table(bands: list[str], curves: dict[str, Curve]) -> dict:
    """Return the maps of all rows of a report as pictures, for a table.

    Parameters
    ----------
    bands : list of str
        Names of the bands.
    curves : dict
        Row to a curve with maps.

    Returns
    -------
    dict
        "kinds": titles of the maps that each row has of its own, each with the grey scale of every band. "bands": their
        names. "rows": "name" and "cells", one for each kind and band: an address, or "" if there is no map. Maps that
        all rows share, such as that of the target, come first, once, under the first kind.
    """
    maps = {name: {k: _smaller(v) for k, v in curve.maps.items()} for name, curve in curves.items() if curve.maps}
    first = next(iter(maps.values()))
    labels = [label for label in first if not _shared(label, maps)]
    common = {label: first[label] for label in first if labels and _shared(label, maps)}
    shown = {label: {labels[0]: image} for label, image in common.items()} | maps
    scales = {label: _scales([row[label] for row in shown.values() if label in row]) for label in labels}
    if common:
        scales[labels[0]] = _scales(list(common.values()))  # other rows may be darker or brighter
    return {
        "kinds": [{"title": label, "scales": scales[label]} for label in labels],
        "bands": bands,
        "rows": [{"name": name, "cells": _cells(row, scales, len(bands))} for name, row in shown.items()],
    }


def _shared(label: str, maps: dict[str, dict[str, np.ndarray]]) -> bool:
    """Return whether at least two rows have the same map."""
    seen = [row[label] for row in maps.values() if label in row]
    return len(seen) > 1 and np.array_equal(seen[0], seen[1], equal_nan=True)


def _scales(maps: list[np.ndarray]) -> list[tuple[float, float]]:
    """Return the values of black and white in each band: percentiles 1 and 99 of the widest row without outliers.

    They are symmetric about 0 if 0 is between them.
    """
    ends = np.nanpercentile(maps, [1, 99], axis=(2, 3))  # (2, row, band)
    scales = []
    for low, high in np.moveaxis(ends, 2, 0):
        if (low < 0).any() and (high > 0).any():
            reach = np.maximum(-low, high)
            most = float(min(np.nanmax(reach), WIDEST * np.nanmedian(reach)))
            scales.append((-most, most))
        else:
            scales.append((float(np.nanmin(low)), float(min(np.nanmax(high), WIDEST * np.nanmedian(high)))))
    return scales


def _cells(row: dict[str, np.ndarray], scales: dict[str, list], count: int) -> list[str]:
    """Return the addresses of the pictures of one row."""
    cells = []
    for label, ends in scales.items():
        pictures = [data_uri(grey_picture(image, *two)) for image, two in zip(row.get(label, ()), ends, strict=False)]
        cells += pictures or [""] * count
    return cells


def _smaller(maps: np.ndarray) -> np.ndarray:
    """Return means of blocks of maps (band, row, col), so that no side is longer than `LARGEST`."""
    factor = -(-maps.shape[-1] // LARGEST)
    rows, cols = (side // factor for side in maps.shape[1:])
    blocks = maps[:, : rows * factor, : cols * factor].reshape(len(maps), rows, factor, cols, factor)
    return blocks.mean(axis=(2, 4))
