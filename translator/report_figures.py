"""Curves of a report, as PNG in memory.

Rows are told apart by marker and line as well as by colour (Okabe & Ito's palette, and two of Tol's), so that they stay
apart in grey and to colour-blind readers.
"""

import io

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from PIL import Image

from translator.metrics.curve import Curve

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#332288", "#882255")
MARKERS = "osD^vP*X<>hp"
LINES = ("-", "--", "-.", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))
GREYS = {
    "floor": ("#000000", "_", ":"),
    "oracle": ("#555555", "1", (0, (1, 2))),
    "bilinear": ("#888888", "x", (0, (6, 3))),
    "wiener": ("#777777", "+", (0, (4, 2, 1, 2))),
}
DPI = 100
TONES = [level for grey in range(0, 256, 17) for level in [grey] * 3]  # of a picture: greys, and the colours of runs
TONES += [
    round(255 - part * (255 - int(c[k : k + 2], 16))) for c in COLOURS for part in (1, 0.7, 0.4) for k in (1, 3, 5)
]
REAL, NEARLY = "target", 0.05  # labels of real images; what part of the largest value they may differ by
NARROWEST = 7.2  # [inch]: room for the legend
MARKS = 12  # on a line, about
TICKS = 5  # of a logarithmic axis


def draw_curve(heading: str, bands: list[str], curves: dict[str, Curve]) -> bytes:
    """One curve of all rows of a report, a plot a band; a line that all share, as the target's, is drawn once."""
    first = next(iter(curves.values()))
    columns = min(len(bands), 3)
    rows = -(-len(bands) // columns)
    lines, keys = _lines(curves)
    width = max(3.1 * columns, NARROWEST)
    beside = min(max(int(width / (0.5 + 0.055 * max(len(label) for label, _ in keys))), 1), 4)  # labels of the legend
    below = 0.55 + 0.17 * -(-len(keys) // beside)  # [inch] under the plots, for the x label and the legend
    height = 2.2 * rows + 0.35 + below
    figure = Figure(figsize=(width, height), dpi=DPI)
    # margins that are stated: to find them, matplotlib would draw everything three times
    edges = {"left": 0.75 / width, "right": 1 - 0.1 / width, "bottom": below / height, "top": 1 - 0.5 / height}
    axes = figure.subplots(rows, columns, squeeze=False, gridspec_kw=edges | {"wspace": 0.22, "hspace": 0.35}).ravel()
    for number, axis in enumerate(axes):
        if number >= len(bands):
            axis.axis("off")
            continue
        for x, y, look in lines:
            axis.add_line(_line(x, y[number], look))
        axis.autoscale()
        axis.set_title(bands[number], fontsize=9, y=1.0)
        bright = any((y[number] > 0).any() for _, y, _ in lines)  # else matplotlib has no logarithmic axis to draw
        axis.set(xscale="log" if first.log_x else "linear", yscale="log" if first.log_y and bright else "linear")
        axis.tick_params(labelsize=7)
        axis.grid(alpha=0.25)
        _hasten(axis)
    figure.suptitle(f"{first.title}: {heading}", fontsize=9, y=1 - 0.08 / height, va="top")
    for axis in axes[: len(bands)][-columns:]:  # not of the figure, where the legend would cover it
        axis.set_xlabel(first.x_label, fontsize=8)
    figure.supylabel(first.y_label, fontsize=8, x=0.05 / width, y=(edges["bottom"] + edges["top"]) / 2, ha="left")
    handles = [_line([], [], look) for _, look in keys]
    figure.legend(handles, [label for label, _ in keys], loc="lower center", ncols=beside, fontsize=7, frameon=False)
    return _png(figure)


def _hasten(axis: Axes) -> None:
    """Few ticks in plain words on logarithmic axes, and labels at stated places: finding these takes most of a plot."""
    for one, place in ((axis.xaxis, (0.5, -0.16)), (axis.yaxis, (-0.2, 0.5))):
        one.set_label_coords(*place)
        if one.get_scale() == "log":
            one.set_major_locator(FixedLocator(log_ticks(*one.get_view_interval())))
            one.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            one.set_minor_locator(NullLocator())


def log_ticks(low: float, high: float) -> np.ndarray:
    """At most `TICKS` round numbers between two positive ones: as many in each decade as there is room for, or none."""
    decades = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    for steps in ((1, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9), (1, 2, 3, 5, 7), (1, 2, 5), (1,)):
        some = np.outer(decades, steps).ravel()
        inside = some[(some >= low) & (some <= high)]
        if len(inside) <= TICKS:
            return inside
    return inside[:: -(-len(inside) // TICKS)]


def style(name: str, runs: list[str]) -> tuple:
    """Colour, marker and line of a row of the report."""
    if name in GREYS:
        return GREYS[name]
    number = runs.index(name)
    turn = number + number // len(COLOURS)  # so that neighbours differ in grey too
    return COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)], LINES[turn % len(LINES)]


def _lines(curves: dict[str, Curve]) -> tuple[list[tuple], list[tuple]]:
    """x, y (band, n) and look of each line; and the legend: label and look.

    Lines that all rows share are drawn once, in black. Where a row has several lines, dashes tell these apart and the
    legend has rows and dashes, not all pairs of them.
    """
    runs, lines, keys = [name for name in curves if name not in GREYS], [], []
    shared, first = _shared(curves), next(iter(curves.values()))
    own = list(dict.fromkeys(label for curve in curves.values() for label in curve.y if label not in shared))
    for name, curve in curves.items():
        colour, marker, line = style(name, runs)
        keys.append((name, (colour, marker, "-" if len(own) > 1 else line)))
        for number, label in enumerate(own):
            if label in curve.y:
                look = colour, marker, LINES[number % len(LINES)] if len(own) > 1 else line
                lines.append((curve.x, curve.y[label], look))
    keys += [(label, ("#000000", "", LINES[k % len(LINES)])) for k, label in enumerate(own) if len(own) > 1]
    for number, label in enumerate(label for label in first.y if label in shared):
        look = "#000000", "", LINES[-1 - number % len(LINES)]
        lines.append((first.x, first.y[label], look))
        keys.append((label, look))
    return lines, keys


def _line(x, y, look: tuple) -> Line2D:
    colour, marker, line = look
    marks = max(len(x) // MARKS, 1)
    return Line2D(x, y, color=colour, linestyle=line, linewidth=1.2, marker=marker, markersize=3.5, markevery=marks)


def _shared(curves: dict[str, Curve]) -> set[str]:
    """Labels whose line is the same in all rows; or nearly, of one target whose sources were masked differently."""
    first = next(iter(curves.values()))
    return {
        label
        for label, y in first.y.items()
        if len(curves) > 1 and all(label in c.y and _alike(c.y[label], y, label) for c in curves.values())
    }


def _alike(one: np.ndarray, other: np.ndarray, label: str) -> bool:
    if np.array_equal(one, other, equal_nan=True):
        return True
    if not label.startswith(REAL) or one.shape != other.shape:
        return False
    both = np.isfinite(one) & np.isfinite(other)
    return bool(both.any()) and np.abs(one - other)[both].mean() < NEARLY * np.abs(one[both]).max()


def _png(figure: Figure) -> bytes:
    """A figure as PNG of `TONES` only, which takes a third of the room."""
    canvas, held = FigureCanvasAgg(figure), io.BytesIO()
    canvas.draw()
    palette = Image.new("P", (1, 1))
    palette.putpalette(TONES)
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])
    picture.quantize(palette=palette, dither=Image.Dither.NONE).save(held, format="PNG", optimize=True)
    return held.getvalue()
