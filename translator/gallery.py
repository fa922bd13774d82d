"""One page of pictures: what went in, what came out, what it should look like, and how training went."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.visualization import make_lupton_rgb
from matplotlib.figure import Figure

from survey_tools.atomic import whole_file

STRETCH, SOFTENING = 2.0, 6  # Lupton et al. (2004): linear up to `stretch` [nanomaggy/arcsec^2], then logarithmic
COLOURS = ("i", "r", "g")  # bands shown as red, green and blue
GREY = ("r", "z")


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


@dataclass(frozen=True)
class Galaxy:
    """One row of the page: a label, and the same sky in several panels."""

    label: str
    panels: tuple[Panel, ...]


def draw_page(path: Path, blocks: dict[str, list[Galaxy]], losses: dict[str, dict[str, np.ndarray]]) -> Path:
    """Write a PNG page and return its path.

    Args:
        path: File to write.
        blocks: Heading -> galaxies, each with the same panels: shown in colour (i, r, g as red, green, blue; Lupton et
            al. 2004), then in r and in z, all at the same stretch in nanomaggy/arcsec^2.
        losses: Step -> name of the loss -> (iteration, 2): iteration and value.
    """
    rows = sum(len(galaxies) for galaxies in blocks.values())
    columns = 3 * len(next(iter(blocks.values()))[0].panels)
    figure = Figure(figsize=(1.55 * columns, 1.62 * rows + 0.55 * len(blocks) + 3.4), layout="constrained")
    heights = [1.62 * len(galaxies) + 0.55 for galaxies in blocks.values()]
    parts = np.atleast_1d(figure.subfigures(len(blocks) + 1, 1, height_ratios=[*heights, 3.2]))
    for part, (heading, galaxies) in zip(parts, blocks.items(), strict=False):
        part.suptitle(heading, fontsize=13, fontweight="bold", x=0.01, ha="left")
        axes = part.subplots(len(galaxies), columns, squeeze=False)
        for number, (row, galaxy) in enumerate(zip(axes, galaxies, strict=True)):
            _draw_galaxy(row, galaxy, titled=number == 0)
    _draw_losses(parts[-1], losses)
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=90, format="png")
    return path


def _draw_galaxy(row, galaxy: Galaxy, *, titled: bool) -> None:
    """Fill one row of axes: colour, then each grey band, for every panel."""
    shown = [("colour", panel) for panel in galaxy.panels] + [(band, panel) for band in GREY for panel in galaxy.panels]
    for axis, (kind, panel) in zip(row, shown, strict=True):
        if kind == "colour":
            with np.errstate(invalid="ignore"):  # pixels of no light have no colour
                rgb = make_lupton_rgb(*(panel.brightness(band) for band in COLOURS), stretch=STRETCH, Q=SOFTENING)
            axis.imshow(rgb, origin="lower", interpolation="nearest")
        else:
            faint = np.arcsinh(panel.brightness(kind) / 0.3)
            axis.imshow(faint, origin="lower", cmap="gray", vmin=-2, vmax=5, interpolation="nearest")
        axis.set(xticks=[], yticks=[])
        if titled:
            axis.set_title(panel.title if kind == "colour" else f"{panel.title}, {kind}", fontsize=8)
    row[0].set_ylabel(galaxy.label, fontsize=8)


def _draw_losses(part, losses: dict[str, dict[str, np.ndarray]]) -> None:
    """One plot a training step, each loss a line on a logarithmic axis."""
    axes = part.subplots(1, max(len(losses), 1), squeeze=False)[0]
    for axis, (step, curves) in zip(axes, losses.items(), strict=False):
        for name, curve in curves.items():
            axis.plot(curve[:, 0], np.abs(curve[:, 1]), label=name, linewidth=1)
        axis.set(yscale="log", xlabel="iteration", ylabel="loss", title=f"training, {step}")
        axis.legend(fontsize=7, ncols=2)
        axis.grid(alpha=0.3)
