"""Plots of measures and of curves."""

import io
import math
from html import escape

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from PIL import Image

from translator.metrics.measure import Curve

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
TONES = [level for grey in range(0, 256, 17) for level in [grey] * 3]  # palette: greys, and the colours of runs
TONES += [
    round(255 - part * (255 - int(c[k : k + 2], 16))) for c in COLOURS for part in (1, 0.7, 0.4) for k in (1, 3, 5)
]
REAL, NEARLY = "target", 0.05  # label of real images; share of the largest value by which they may differ
NARROWEST = 7.2  # [inch]: room for the legend
MARKS = 12  # approximate number of markers on a line
TICKS = 5  # largest number of ticks of a logarithmic axis


def draw_curve(heading: str, bands: list[str], curves: dict[str, Curve]) -> bytes:
    """Return one curve of all rows of a report as PNG, with a plot for each band.

    A line that all rows share, such as that of the target, is drawn once.

    Parameters
    ----------
    heading : str
        The direction, for the title.
    bands : list of str
        Names of the bands.
    curves : dict
        Row to its curve.
    """
    first = next(iter(curves.values()))
    columns = min(len(bands), 3)
    rows = -(-len(bands) // columns)
    lines, keys = _lines(curves)
    width = max(3.1 * columns, NARROWEST)
    beside = min(
        max(int(width / (0.5 + 0.055 * max(len(label) for label, _ in keys))), 1), 4
    )  # labels in a row of the legend
    below = 0.55 + 0.17 * -(-len(keys) // beside)  # [inch] under the plots, for the x label and the legend
    height = 2.2 * rows + 0.35 + below
    figure = Figure(figsize=(width, height), dpi=DPI)
    # margins are stated, because matplotlib would draw everything three times to find them
    edges = {"left": 0.75 / width, "right": 1 - 0.1 / width, "bottom": below / height, "top": 1 - 0.5 / height}
    axes = figure.subplots(rows, columns, squeeze=False, gridspec_kw=edges | {"wspace": 0.22, "hspace": 0.35}).ravel()
    for number, axis in enumerate(axes):
        if number >= len(bands):
            axis.axis("off")
            continue
        for x, y, look in lines:
            axis.add_line(_curve_line(x, y[number], look))
        axis.autoscale()
        axis.set_title(bands[number], fontsize=9, y=1.0)
        bright = any((y[number] > 0).any() for _, y, _ in lines)  # matplotlib cannot draw a logarithmic axis otherwise
        axis.set(xscale="log" if first.log_x else "linear", yscale="log" if first.log_y and bright else "linear")
        axis.tick_params(labelsize=7)
        axis.grid(alpha=0.25)
        _hasten(axis)
    figure.suptitle(f"{first.title}: {heading}", fontsize=9, y=1 - 0.08 / height, va="top")
    for axis in axes[: len(bands)][-columns:]:  # not on the figure, where the legend would cover it
        axis.set_xlabel(first.x_label, fontsize=8)
    figure.supylabel(first.y_label, fontsize=8, x=0.05 / width, y=(edges["bottom"] + edges["top"]) / 2, ha="left")
    handles = [_curve_line([], [], look) for _, look in keys]
    figure.legend(handles, [label for label, _ in keys], loc="lower center", ncols=beside, fontsize=7, frameon=False)
    return _png(figure)


def _hasten(axis: Axes) -> None:
    """Set few ticks on logarithmic axes and fixed places of labels; finding them takes most of the time of a plot."""
    for one, place in ((axis.xaxis, (0.5, -0.16)), (axis.yaxis, (-0.2, 0.5))):
        one.set_label_coords(*place)
        if one.get_scale() == "log":
            one.set_major_locator(FixedLocator(log_ticks(*one.get_view_interval())))
            one.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            one.set_minor_locator(NullLocator())


def log_ticks(low: float, high: float) -> np.ndarray:
    """Return at most `TICKS` round numbers between two positive ones, with as many in each decade as fit."""
    decades = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    for steps in ((1, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9), (1, 2, 3, 5, 7), (1, 2, 5), (1,)):
        some = np.outer(decades, steps).ravel()
        inside = some[(some >= low) & (some <= high)]
        if len(inside) <= TICKS:
            return inside
    return inside[:: -(-len(inside) // TICKS)]


def style(name: str, runs: list[str]) -> tuple:
    """Return colour, marker and line of a row of the report."""
    if name in GREYS:
        return GREYS[name]
    number = runs.index(name)
    turn = number + number // len(COLOURS)  # so that neighbours differ in grey, too
    return COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)], LINES[turn % len(LINES)]


def _lines(curves: dict[str, Curve]) -> tuple[list[tuple], list[tuple]]:
    """Return x, y (band, n) and look of each line; and label and look of each entry of the legend.

    Lines that all rows share are drawn once, in black. If a row has several lines, dashes distinguish them, and the
    legend lists rows and dashes instead of all pairs.
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


def _curve_line(x, y, look: tuple) -> Line2D:
    """Return a line of a plot."""
    colour, marker, line = look
    marks = max(len(x) // MARKS, 1)
    return Line2D(x, y, color=colour, linestyle=line, linewidth=1.2, marker=marker, markersize=3.5, markevery=marks)


def _shared(curves: dict[str, Curve]) -> set[str]:
    """Return the labels whose line is the same in all rows, or nearly the same for the real images."""
    first = next(iter(curves.values()))
    return {
        label
        for label, y in first.y.items()
        if len(curves) > 1 and all(label in c.y and _alike(c.y[label], y, label) for c in curves.values())
    }


def _alike(one: np.ndarray, other: np.ndarray, label: str) -> bool:
    """Return whether two lines are the same; lines of real images may differ by `NEARLY`."""
    if np.array_equal(one, other, equal_nan=True):
        return True
    if not label.startswith(REAL) or one.shape != other.shape:
        return False
    both = np.isfinite(one) & np.isfinite(other)
    return bool(both.any()) and np.abs(one - other)[both].mean() < NEARLY * np.abs(one[both]).max()


def _png(figure: Figure) -> bytes:
    """Return a figure as PNG with the colours of `TONES` only, which makes it three times smaller."""
    canvas, held = FigureCanvasAgg(figure), io.BytesIO()
    canvas.draw()
    palette = Image.new("P", (1, 1))
    palette.putpalette(TONES)
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])
    picture.quantize(palette=palette, dither=Image.Dither.NONE).save(held, format="PNG", optimize=True)
    return held.getvalue()


WIDTH, LEFT, GAP = 460, 124, 7  # widths of the plot, of the names, and between bands
LINE, TOP, BOTTOM = 15, 16, 17  # heights of a row of the report, of the names of bands, and of the axis
LONGEST = 18  # largest number of characters of a name
FAR = 10  # distance from perfect, in units of the median one, beyond which an arrow and a number are drawn
ONE = "all bands"
CLOSE = 1e-5  # largest difference from the cap of a value that is at the cap


def number(value: float | None, cap: float | None = None) -> str:
    """Return a number as text with three digits; a dash if there is none.

    A number at its `cap`, the largest value that a measure can state, becomes "> cap".
    """
    if value is None or not math.isfinite(value):
        return "–"
    return f"> {cap:.3g}" if at_cap(value, cap) else f"{value:.3g}".replace("-", "−")


def at_cap(value: float | None, cap: float | None) -> bool:
    """Return whether a value is the largest that its measure can state."""
    return cap is not None and value is not None and value >= cap - CLOSE


def as_shown(values: dict[str, dict], bands: list[str]) -> tuple[dict[str, dict], list[str]]:
    """Return values and bands, reduced to one band if all bands share one number, as for redshifts."""
    lists = [found[key] for found in values.values() for key in ("value", "low", "high")]
    if len(bands) < 2 or any(len(set(each)) > 1 for each in lists):
        return values, bands
    return {row: {key: each[:1] for key, each in found.items()} for row, found in values.items()}, [ONE]


def draw_measure(row: dict, values: dict[str, dict], bands: list[str], runs: list[str]) -> str:
    """Return one measure in one direction as SVG.

    Parameters
    ----------
    row : dict
        The measure in report.json.
    values : dict
        Row of the report to "value", "low" and "high", each (band,), with None for missing values.
    bands : list of str
        Names of the bands.
    runs : list of str
        Rows that are runs; only these have colours.
    """
    values, bands = as_shown(values, bands)
    cap = row.get("cap")
    low, high = _range(row["perfect"], values, cap)
    ticks = _ticks(low, high)
    step = (WIDTH - LEFT + GAP) / len(bands)
    height = TOP + LINE * len(values) + BOTTOM
    marks = [
        f'<rect class="z" y="{TOP + LINE * k}" width="{WIDTH}" height="{LINE}"/>' for k in range(0, len(values), 2)
    ]
    lines: list[list[tuple]] = [[] for _ in values]
    for which, band in enumerate(bands):
        start, width = LEFT + which * step, step - GAP

        def place(value: float, start=start, width=width) -> float:
            return round(start + min(max((value - low) / (high - low), 0), 1) * width, 1)

        marks.append(_frame(band, start, width, height, [(place(t), _label(t, ticks)) for t in ticks]))
        marks.append(_floor(values.get("floor"), which, place, height))
        marks.append(f'<path class="perfect" d="M{place(row["perfect"])} {TOP}V{height - BOTTOM}"/>')
        for line, found in zip(lines, values.values(), strict=True):
            ends = [found[key][which] for key in ("low", "value", "high")]
            if ends[1] is not None:
                ends = [ends[1] if end is None else end for end in ends]
                inside = low <= ends[1] <= high and not at_cap(ends[1], cap)
                x = [place(end) for end in ends] if inside or ends[1] < low else [round(start + width, 1)] * 3
                line.append((number(ends[1], cap), x, inside, start, width))
    for k, (name, line) in enumerate(zip(values, lines, strict=True)):
        marks.append(
            _line(name, line, TOP + LINE * (k + 0.5), f"c{runs.index(name) % len(COLOURS)}" if name in runs else "c")
        )
    words = f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(row["title"])}">'
    return words + "".join(marks) + "</svg>"


def _range(perfect: float, values: dict[str, dict], cap: float | None) -> tuple[float, float]:
    """Return the ends of the axis: all values with their intervals, except outliers and capped values."""
    known = [v for found in values.values() for v in found["value"] if v is not None and not at_cap(v, cap)]
    away = [abs(value - perfect) for value in known]
    reach = max(FAR * float(np.median(away)) if away else 0, min((a for a in away if a > 0), default=0)) or math.inf
    near = [perfect, *(value for value, far in zip(known, away, strict=True) if far <= reach)]
    low, high = min(near), max(near)
    room = (high - low) / 2
    ends = [v for found in values.values() for key in ("low", "high") for v in found[key] if v is not None]
    low, high = min([low, *(e for e in ends if e >= low - room)]), max([high, *(e for e in ends if e <= high + room)])
    margin = (high - low) * 0.04 or max(abs(high), 1) * 0.5
    return low - margin, high + margin


def _ticks(low: float, high: float) -> list[float]:
    """Return one to three round numbers on the axis."""
    rough = (high - low) / 2
    power = 10 ** math.floor(math.log10(rough))
    step = max(factor * power for factor in (1, 2, 5) if factor * power <= rough)
    found = [k * step for k in range(math.ceil(low / step), math.floor(high / step) + 1)]
    return found if len(found) < 4 else found[:: len(found) - 1]


def _label(tick: float, ticks: list[float]) -> str:
    """Return the label of a tick."""
    return number(0.0 if abs(tick) < 1e-9 * max(map(abs, ticks)) else tick).replace("e+0", "e")


def _frame(band: str, start: float, width: float, height: int, ticks: list[tuple[float, str]]) -> str:
    """Return name and axis of a band; labels at the ends stay inside."""
    base = height - BOTTOM
    words = [f'<text x="{start + width / 2:.1f}" y="11" text-anchor="middle">{escape(band)}</text>']
    words.append(
        f'<path class="axis" d="M{start:.1f} {base}h{width:.1f}{"".join(f"M{x} {base}v3" for x, _ in ticks)}"/>'
    )
    for x, label in ticks:
        half = 2.6 * len(label)
        within = min(max(x, start + half - 4), start + width - half + 4)
        words.append(f'<text class="t" x="{within:.1f}" y="{height - 5}">{label}</text>')
    return "".join(words)


def _floor(found: dict | None, number: int, place, height: int) -> str:
    """Return the interval of real images, as a grey band through all rows."""
    if found is None or found["value"][number] is None:
        return ""
    ends = [found["value"][number] if found[key][number] is None else found[key][number] for key in ("low", "high")]
    left, right = (place(end) for end in ends)
    return (
        f'<rect class="fl" x="{left}" y="{TOP}" width="{max(right - left, 1):.1f}" height="{height - TOP - BOTTOM}"/>'
    )


def _line(name: str, line: list[tuple], y: float, colour: str) -> str:
    """Return name, intervals and marks of a row; an arrow and the number for a value outside the axis."""
    short = name if len(name) <= LONGEST else f"{name[: LONGEST // 2]}…{name[-LONGEST // 2 + 1 :]}"
    words = [f'<text x="0" y="{y + 4}">{escape(short)}</text>']
    bars = "".join(f"M{left} {y}H{right}" for _, (left, _, right), inside, *_ in line if inside)
    dots = "".join(f"M{middle} {y}h0" for _, (_, middle, _), inside, *_ in line if inside)
    words += [f'<path class="b {colour}" d="{bars}"/><path class="d {colour}" d="{dots}"/>'] if dots else []
    for value, (_, middle, _), inside, start, width in line:
        if not inside:
            right = middle > start + width / 2
            side, label = ("e", f"{escape(value)}▸") if right else ("w", f"◂{value}")
            words.append(f'<text class="{side}" x="{middle}" y="{y + 4}">{label}</text>')
    return "".join(words)
