"""Pictures of galaxies, and maps side by side."""

import base64
import io
from dataclasses import dataclass

import numpy as np
from astropy.visualization import make_lupton_rgb
from PIL import Image

from translator.metrics.measure import Curve

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


LARGEST = 100  # pixels a side; larger maps are averaged in blocks of 2 x 2, 3 x 3, …
WIDEST = 3  # times the median over rows: one run that is far off leaves the others visible


def map_table(bands: list[str], curves: dict[str, Curve]) -> dict:
    """The maps of all rows of a report as pictures, which a table shows side by side however many rows there are.

    Returns:
        "kinds": Titles of the maps that each row has of its own, each with the grey scale of every band.
        "bands": Names.
        "rows": "name" and "cells", one a kind and band: an address, or "" where there is no map. Maps that all rows
            share, as the target's, come first, once, under the first kind.
    """
    maps = {name: {k: _smaller(v) for k, v in curve.maps.items()} for name, curve in curves.items() if curve.maps}
    first = next(iter(maps.values()))
    labels = [label for label in first if not _shared(label, maps)]
    common = {label: first[label] for label in first if labels and _shared(label, maps)}
    shown = {label: {labels[0]: image} for label, image in common.items()} | maps
    scales = {label: _scales([row[label] for row in shown.values() if label in row]) for label in labels}
    if common:
        scales[labels[0]] = _scales(list(common.values()))  # what is held against it may be darker or brighter
    return {
        "kinds": [{"title": label, "scales": scales[label]} for label in labels],
        "bands": bands,
        "rows": [{"name": name, "cells": _cells(row, scales, len(bands))} for name, row in shown.items()],
    }


def _shared(label: str, maps: dict[str, dict[str, np.ndarray]]) -> bool:
    """Whether a map is the same in at least two rows: it shows what these are held against."""
    seen = [row[label] for row in maps.values() if label in row]
    return len(seen) > 1 and np.array_equal(seen[0], seen[1], equal_nan=True)


def _scales(maps: list[np.ndarray]) -> list[tuple[float, float]]:
    """What is black and white in each band: percentiles 1 and 99 of the widest row that is not far off the others.

    Even about 0 where that is within.
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
    cells = []
    for label, ends in scales.items():
        pictures = [data_uri(grey_picture(image, *two)) for image, two in zip(row.get(label, ()), ends, strict=False)]
        cells += pictures or [""] * count
    return cells


def _smaller(maps: np.ndarray) -> np.ndarray:
    """Means (band, row, col) of blocks, so that no side is longer than `LARGEST`."""
    factor = -(-maps.shape[-1] // LARGEST)
    rows, cols = (side // factor for side in maps.shape[1:])
    blocks = maps[:, : rows * factor, : cols * factor].reshape(len(maps), rows, factor, cols, factor)
    return blocks.mean(axis=(2, 4))
