"""Maps of a report, such as the Fourier amplitudes of the paper's Figure 6: a line of small pictures a row."""

import numpy as np

from translator.metrics.curve import Curve
from translator.report_panels import data_uri, grey_picture

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
