"""The picture at the top of the README: real SDSS galaxies, and what the built-in model makes of them.

    python benchmarks/front_picture.py --frames DR12 --out docs/pictures/sdss_as_cfhtls.png

FRAMES is a folder with the five frames of a field, at any depth; places and seeing are options.
"""

import sys
from pathlib import Path

import click
import numpy as np
from PIL import Image

from survey_tools.images.cutout import resample
from translator.report.panels import Panel, coloured
from translator.runs.built_in import find_model
from translator.runs.checkpoint import load_run
from translator.translation.asking import How
from translator.translation.observation import as_wcs, read_observation
from translator.translation.preview import side_by_side
from translator.translation.translated import translate_observation

PLACES = ("38.57159 -7.09912", "38.62781 -7.06985", "38.62705 -7.03109")  # of RA and Dec [deg]
SIDE = 300  # pixels of a panel
STRETCH = 1.0  # as the pictures of galtrans have it, but for faint galaxies [nanomaggy/arcsec^2]


def panel(images: np.ndarray, bands, pixel_scale: float) -> Image.Image:
    """(band, row, col) in colour."""
    rgb = coloured(Panel("", images, bands, pixel_scale), STRETCH)
    return Image.fromarray(np.ascontiguousarray(rgb[::-1])).resize((SIDE, SIDE), Image.Resampling.NEAREST)


@click.command()
@click.option("--frames", type=click.Path(exists=True, path_type=Path), required=True, help="Folder with the frames.")
@click.option("--model", default="sdss-cfhtls", show_default=True, help="Built-in model.")
@click.option("--place", "places", multiple=True, default=PLACES, help="RA and Dec of a galaxy [deg].")
@click.option("--seeing", default=0.65, show_default=True, help="Of the translations [arcsec].")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="PNG to write.")
def main(frames: Path, model: str, places: tuple[str, ...], seeing: float, out: Path) -> None:
    """Translate the galaxies and put them side by side: above as SDSS saw them, below as CFHTLS would have."""
    run = load_run(find_model(model), "cpu")
    paths = tuple(sorted(frames.rglob("frame-*.fits*")))
    above, below = [], []
    for place in places:
        how = How(at=tuple(float(word) for word in place.split()), seeing=(seeing,))
        observation = read_observation(paths, run.bands, run.domains["x"], how)
        made = translate_observation(run, observation, "y", how)
        grid = made.asked.grid
        seen = np.stack([resample(i, as_wcs(observation.grid), as_wcs(grid), grid.shape) for i in observation.images])
        above.append(("SDSS, as observed", panel(seen, run.bands, grid.pixel_scale)))
        below.append(
            (f"as CFHTLS (synthetic), CONSIST {made.worst:.2f}", panel(made.whole.image, run.bands, grid.pixel_scale))
        )
        print(place, made.worst, made.flags)
    rows = [side_by_side(row) for row in (above, below)]
    sheet = Image.new("RGB", (rows[0].width, sum(row.height for row in rows)), (255, 255, 255))
    for number, row in enumerate(rows):
        sheet.paste(row, (0, number * rows[0].height))
    sheet.save(out, optimize=True)


if __name__ == "__main__":
    sys.exit(main())
