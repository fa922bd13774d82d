"""Figures of a report: measures band by band, curves, maps, and pictures of galaxies; all as PNG in memory.

Rows are told apart by marker and line as well as by colour (Okabe & Ito's palette), so that they stay apart in grey and
to colour-blind readers.
"""

import base64
import io
from html import escape

import numpy as np
from astropy.visualization import make_lupton_rgb
from matplotlib.figure import Figure
from PIL import Image

from translator.gallery import SOFTENING, STRETCH, Panel
from translator.metrics.curve import Curve

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = "osD^vP*X<>hp"
LINES = ("-", "--", "-.", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))
GREYS = {
    "floor": ("#000000", "_", ":"),
    "oracle": ("#555555", "1", (0, (1, 2))),
    "bilinear": ("#888888", "x", (0, (6, 3))),
}
SHAPES = (  # paths of marks about a point: square, triangle, diamond, its like on end, then a cross, a plus and a bar
    "m-3.5 -3.5h7v7h-7z", "m0 -5l4.5 8h-9z", "m0 -5l4.5 5l-4.5 5l-4.5 -5z", "m0 5l4.5 -8h-9z",
    "m-4 -4l8 8m0 -8l-8 8", "m-4.5 0h9m-4.5 -4.5v9", "m-5 -1h10v2h-10z",
)  # fmt: skip
WIDTH, HEIGHT, LEFT = 420, 170, 62  # of the plot of a measure, and where its axis lies
DPI = 100
FAINTEST, BRIGHTEST = -2.0, 5.0  # of the grey panels, asinh of the brightness over `KNEE`
KNEE = 0.3  # [nanomaggy/arcsec^2]
STEPS = 4  # of 256 grey levels that a panel tells apart: noise in the last bits makes files large, unseen


def data_uri(png: bytes) -> str:
    """A picture as an address that needs no network."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


def draw_measure(row: dict, values: dict[str, dict], bands: list[str]) -> str:
    """One measure in one direction as SVG: bands along x, a mark with its interval for each row of the report.

    It is written by hand and not by matplotlib, which needs a third of a second for each of a hundred such plots.

    Args:
        row: What report.json says of the measure.
        values: Row of the report -> "value", "low", "high", each (band,); None where there is none.
        bands: Names.
    """
    runs = [name for name in values if name not in GREYS]
    known = [
        each for found in values.values() for key in ("value", "low", "high") for each in found[key] if each is not None
    ]
    low, high = min([*known, row["perfect"]]), max([*known, row["perfect"]])
    span = (high - low) * 1.1 or 1.0
    low -= span * 0.05

    def place(value: float) -> float:
        return round(HEIGHT - 24 - (value - low) / span * (HEIGHT - 34), 1)

    step, marks = (WIDTH - LEFT) / len(bands), []
    for number, band in enumerate(bands):
        marks.append(
            f'<text x="{LEFT + (number + 0.5) * step:.1f}" y="{HEIGHT - 6}" text-anchor="middle">{escape(band)}</text>'
        )
        for turn, (name, found) in enumerate(values.items()):
            ends = [found[key][number] for key in ("low", "value", "high")]
            if ends[1] is not None:
                x = round(LEFT + (number + (turn + 1) / (len(values) + 1)) * step, 1)
                marks.append(_mark(x, [place(ends[1] if end is None else end) for end in ends], name, runs))
    line = place(row["perfect"])
    marks.append(f'<path class="perfect" d="M{LEFT} {line}H{WIDTH}"/>')
    ticks = [low + span * 0.05, low + span * 0.5, low + span * 0.95]
    marks += [f'<text x="{LEFT - 4}" y="{place(tick) + 4}" text-anchor="end">{tick:.3g}</text>' for tick in ticks]
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(row["title"])}">{"".join(marks)}</svg>'


def legend(names: list[str], runs: list[str]) -> str:
    """What the marks of `draw_measure` stand for, as SVG beside words, in HTML."""
    box = 'svg viewBox="0 0 14 18" width="14" height="18"'
    marks = [f"<span><{box}>{_mark(7, [16, 9, 2], name, runs)}</svg> {escape(name)}</span>" for name in names]
    return " ".join(marks)


def _mark(x: float, ends: list[float], name: str, runs: list[str]) -> str:
    """A mark at (x, ends[1]) with a bar from ends[0] to ends[2]."""
    colour = style(name, runs)[0]
    bottom, y, top = ends
    shape = SHAPES[(runs.index(name) if name in runs else len(SHAPES) - 1 - list(GREYS).index(name)) % len(SHAPES)]
    bar = f'<path stroke="{colour}" d="M{x} {bottom}V{top}"/>'
    return f'{bar}<path fill="{colour}" stroke="{colour}" d="M{x} {y}{shape}"/>'


def draw_curve(heading: str, bands: list[str], curves: dict[str, Curve]) -> bytes:
    """One curve of all rows of a report, a plot a band; a line that all share, as the target's, is drawn once."""
    first = next(iter(curves.values()))
    columns = min(len(bands), 3)
    rows = -(-len(bands) // columns)
    figure = Figure(figsize=(3.1 * columns, 2.3 * rows + 0.6), dpi=DPI, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for number, axis in enumerate(axes):
        if number >= len(bands):
            axis.axis("off")
            continue
        for label, x, y, look in _lines(curves):
            axis.plot(
                x, y[number], label=label, color=look[0], linestyle=look[2], linewidth=1.2, marker=".", markersize=3
            )
        axis.set_title(bands[number], fontsize=9)
        axis.set(xscale="log" if first.log_x else "linear", yscale="log" if first.log_y else "linear")
        axis.tick_params(labelsize=7)
        axis.grid(alpha=0.25)
    figure.suptitle(f"{first.title}: {heading}", fontsize=9)
    for axis in axes[: len(bands)][-columns:]:  # not of the figure, where the legend would cover it
        axis.set_xlabel(first.x_label, fontsize=8)
    figure.supylabel(first.y_label, fontsize=8)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=7, frameon=False)
    return _png(figure)


def draw_maps(heading: str, bands: list[str], curves: dict[str, Curve]) -> bytes:
    """Maps of all rows of a report: a line of pictures each, a column a band, one grey scale a band."""
    shown: dict[str, np.ndarray] = {}
    for name, curve in curves.items():
        for label, maps in (curve.maps or {}).items():
            if not any(np.array_equal(maps, other, equal_nan=True) for other in shown.values()):
                shared = all(label in (c.maps or {}) and np.array_equal(maps, c.maps[label]) for c in curves.values())
                shown[label if shared else f"{name}\n{label}"] = maps
    figure = Figure(figsize=(1.5 * len(bands) + 1, 1.5 * len(shown) + 0.5), dpi=DPI, layout="constrained")
    axes = figure.subplots(len(shown), len(bands), squeeze=False)
    for line, (label, maps) in zip(axes, shown.items(), strict=True):
        for number, axis in enumerate(line):
            kind = label.split("\n")[-1]  # images and ratios have scales of their own
            alike = [each[number] for name, each in shown.items() if name.split("\n")[-1] == kind]
            low, high = np.nanpercentile(alike, [1, 99])
            axis.imshow(maps[number], origin="lower", cmap="gray", vmin=low, vmax=high, interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            if line is axes[0]:
                axis.set_title(bands[number], fontsize=8)
        line[0].set_ylabel(label, fontsize=7)
    figure.suptitle(f"{next(iter(curves.values())).title}: {heading}", fontsize=9)
    return _png(figure)


def colour_panel(panel: Panel) -> bytes:
    """A galaxy in colour (Lupton et al. 2004), at the stretch that all panels of galtrans have."""
    with np.errstate(invalid="ignore"):  # pixels of no light have no colour
        rgb = make_lupton_rgb(
            *(panel.brightness(band) for band in rgb_bands(panel.bands)), stretch=STRETCH, Q=SOFTENING
        )
    return _picture(rgb)


def grey_panel(panel: Panel) -> bytes:
    """A galaxy in one band, bright as white, at one stretch for all panels."""
    faint = np.arcsinh(panel.brightness(grey_band(panel.bands)) / KNEE)
    return _picture(np.clip((faint - FAINTEST) / (BRIGHTEST - FAINTEST) * 255, 0, 255).astype(np.uint8))


def rgb_bands(bands: tuple[str, ...]) -> tuple[str, str, str]:
    """Bands shown as red, green and blue: i, r, g where they are there, else the reddest, the middle and the bluest."""
    return ("i", "r", "g") if {"i", "r", "g"} <= set(bands) else (bands[-1], bands[len(bands) // 2], bands[0])


def grey_band(bands: tuple[str, ...]) -> str:
    """The band of the grey panels: r where it is there, else the middle one."""
    return "r" if "r" in bands else bands[len(bands) // 2]


def style(name: str, runs: list[str]) -> tuple:
    """Colour, marker and line of a row of the report."""
    if name in GREYS:
        return GREYS[name]
    number = runs.index(name)
    return COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)], LINES[number // len(COLOURS) % len(LINES)]


def _lines(curves: dict[str, Curve]) -> list[tuple]:
    """Label, x, y (band, n) and style of each line; those that several rows share once, in black."""
    runs, lines = [name for name in curves if name not in GREYS], []
    shared = {
        label
        for first in [next(iter(curves.values()))]
        for label, y in first.y.items()
        if len(curves) > 1
        and all(label in c.y and np.array_equal(c.y[label], y, equal_nan=True) for c in curves.values())
    }
    for name, curve in curves.items():
        own = [label for label in curve.y if label not in shared]
        for number, label in enumerate(own):
            colour, marker, line = style(name, runs)
            words = name if len(own) == 1 else f"{name}: {label}"
            lines.append((words, curve.x, curve.y[label], (colour, marker, LINES[number] if number else line)))
    first = next(iter(curves.values()))
    for number, label in enumerate(label for label in first.y if label in shared):
        lines.append((label, first.x, first.y[label], ("#000000", "", LINES[(number + 1) % len(LINES)])))
    return lines


def _picture(pixels: np.ndarray) -> bytes:
    """(row, col) or (row, col, 3) of uint8 as PNG, row 0 at the bottom."""
    held = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels[::-1] // STEPS * STEPS)).save(held, format="PNG")
    return held.getvalue()


def _png(figure: Figure) -> bytes:
    held = io.BytesIO()
    figure.savefig(held, format="png")
    return held.getvalue()
