"""The plot of one measure: a line a row of the report, a panel a band, marks with intervals; SVG, written by hand.

matplotlib needs a third of a second for each of two hundred such plots. Rows are named where they are drawn, so the
plot is read without colours, and stays readable with many runs.
"""

import math
from html import escape

import numpy as np

from translator.report_figures import COLOURS

WIDTH, LEFT, GAP = 460, 124, 7  # of the plot, of the names, and between bands
LINE, TOP, BOTTOM = 15, 16, 17  # height of a row of the report, of the names of bands, and of the axis
LONGEST = 18  # characters of a name
FAR = 10  # times the median distance from perfect, beyond which a mark is an arrow and a number
ONE = "all bands"
CLOSE = 1e-5  # to its cap, within which a value is at it


def number(value: float | None, cap: float | None = None) -> str:
    """A number as the page shows it: three digits; a dash where there is none.

    A measure that can state no more than `cap` is "> cap" where it has that value.
    """
    if value is None or not math.isfinite(value):
        return "–"
    return f"> {cap:.3g}" if at_cap(value, cap) else f"{value:.3g}".replace("-", "−")


def at_cap(value: float | None, cap: float | None) -> bool:
    """Whether a value is the largest that its measure can state."""
    return cap is not None and value is not None and value >= cap - CLOSE


def as_shown(values: dict[str, dict], bands: list[str]) -> tuple[dict[str, dict], list[str]]:
    """The same, once, where all bands share one number, as redshifts do; else as it came."""
    lists = [found[key] for found in values.values() for key in ("value", "low", "high")]
    if len(bands) < 2 or any(len(set(each)) > 1 for each in lists):
        return values, bands
    return {row: {key: each[:1] for key, each in found.items()} for row, found in values.items()}, [ONE]


def draw_measure(row: dict, values: dict[str, dict], bands: list[str], runs: list[str]) -> str:
    """One measure in one direction as SVG.

    Args:
        row: What report.json says of the measure.
        values: Row of the report -> "value", "low", "high", each (band,); None where there is none.
        bands: Names.
        runs: Rows that are runs: these have colours.
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
    """Ends of the axis: all values, and their intervals as far as these; not what is far from all others, or capped."""
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
    """One to three round numbers on the axis."""
    rough = (high - low) / 2
    power = 10 ** math.floor(math.log10(rough))
    step = max(factor * power for factor in (1, 2, 5) if factor * power <= rough)
    found = [k * step for k in range(math.ceil(low / step), math.floor(high / step) + 1)]
    return found if len(found) < 4 else found[:: len(found) - 1]


def _label(tick: float, ticks: list[float]) -> str:
    return number(0.0 if abs(tick) < 1e-9 * max(map(abs, ticks)) else tick).replace("e+0", "e")


def _frame(band: str, start: float, width: float, height: int, ticks: list[tuple[float, str]]) -> str:
    """Name and axis of a band; numbers at the ends stay within."""
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
    """What real images give, as a grey band through all rows."""
    if found is None or found["value"][number] is None:
        return ""
    ends = [found["value"][number] if found[key][number] is None else found[key][number] for key in ("low", "high")]
    left, right = (place(end) for end in ends)
    return (
        f'<rect class="fl" x="{left}" y="{TOP}" width="{max(right - left, 1):.1f}" height="{height - TOP - BOTTOM}"/>'
    )


def _line(name: str, line: list[tuple], y: float, colour: str) -> str:
    """Name, intervals and marks of a row of the report; an arrow and the number where a value is off the axis."""
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
