"""A picture beside a translation: the input, the result, and its uncertainty, at one stretch."""

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from survey_tools.files import whole_file
from survey_tools.images.cutout import resample
from survey_tools.store.zarr_store import Store
from translator.images import OTHER
from translator.report.panels import Panel, coloured
from translator.runs.checkpoint import Run
from translator.translation.observation import Observation, as_wcs
from translator.translation.translated import Translated
from translator.translation.whole_images import SkyGrid

TIMES = 5  # factor by which a standard deviation is multiplied for display
SIDE = 420  # larger side of a panel [pixel]
GAP, TITLE = 8, 18  # space between panels, and for titles above them [pixel]
WHITE, BLACK = (255, 255, 255), (0, 0, 0)


def write_preview(made: Translated, run: Run, path: Path) -> None:
    """Write a PNG with the input, the translation and, if planes were asked for, its standard deviation.

    All are surface brightnesses at the stretch of galtrans's pictures (Lupton et al. 2004). The orientation is that of
    each grid; the first row is at the bottom.
    """
    observation, whole = made.observation, made.whole
    domain = made.asked.domain
    titles = [run.domains[each].survey for each in (OTHER[domain], domain)]
    panels = [
        (f"input ({titles[0]})", _on(made.asked.grid, observation), made.asked.grid.pixel_scale),
        (f"translation ({titles[1]}, synthetic)", whole.image, made.asked.grid.pixel_scale),
    ]
    if whole.sigma is not None:
        panels.append((f"standard deviation, {TIMES} times", TIMES * whole.sigma, made.asked.grid.pixel_scale))
    bands = tuple(band for band, is_there in zip(run.bands, observation.bands, strict=True) if is_there)
    pictures = [(title, _colour(images[observation.bands], bands, scale)) for title, images, scale in panels]
    _write(side_by_side(pictures), path)


def write_store_preview(store: Store, row: int, path: Path) -> None:
    """Write a PNG of one object of a store, at the same stretch."""
    picture = _colour(store.images[row], tuple(store.bands), store.pixel_scale)
    title = f"{store.survey['title']}, {store.column('object_id')[row]}"
    _write(side_by_side([(title, picture)]), path)


def _write(sheet: Image.Image, path: Path) -> None:
    """Write a picture as PNG, complete or not at all."""
    held = io.BytesIO()
    sheet.save(held, format="PNG", optimize=True)
    with whole_file(path) as temporary:
        temporary.write_bytes(held.getvalue())


def _on(grid: SkyGrid, observation: Observation) -> np.ndarray:
    """Return the input (band, row, col) on the grid of the translation, for display only."""
    here, there = as_wcs(observation.grid), as_wcs(grid)
    return np.stack([resample(image, here, there, grid.shape) for image in observation.images])


def side_by_side(pictures: list[tuple[str, Image.Image]]) -> Image.Image:
    """Return titled pictures in a row."""
    width = sum(picture.width for _, picture in pictures) + GAP * (len(pictures) + 1)
    height = max(picture.height for _, picture in pictures) + TITLE + GAP
    sheet = Image.new("RGB", (width, height), WHITE)
    pen, left = ImageDraw.Draw(sheet), GAP
    for title, picture in pictures:
        pen.text((left, 3), title, fill=BLACK)
        sheet.paste(picture, (left, TITLE))
        left += picture.width + GAP
    return sheet


def _colour(images: np.ndarray, bands: tuple[str, ...], pixel_scale: float) -> Image.Image:
    """Return images (band, row, col) [nanomaggy/pixel] in colour (grey for one band) in the size of a panel."""
    rgb = coloured(Panel("", images, bands, pixel_scale))
    picture = Image.fromarray(np.ascontiguousarray(rgb[::-1]))
    factor = SIDE / max(picture.size)
    size = tuple(max(1, round(side * factor)) for side in picture.size)
    return picture.resize(size, Image.Resampling.NEAREST if factor >= 1 else Image.Resampling.BOX)
