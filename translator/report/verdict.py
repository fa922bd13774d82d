"""The verdict of a report: the number of measures in which a run is closer to perfect than another
row, and headlines.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from translator.report.plots import as_shown, at_cap, number
from translator.report.sample_files import BILINEAR, FLOOR, ORACLE

YARDSTICKS = (FLOOR, ORACLE)  # references that show what is possible, and that runs do not compete with
AT_FLOOR, WITHIN = 1.0, 3.0  # limits of the distance from the floor [half widths of both intervals together]
COUNTS = ("closer", "farther", "alike", "lost")
FEW_RUNS = 3  # largest number of runs for which a sentence compares runs with each other, too
INPUT = "photoz_target_"  # beginning of the measures of redshifts from real images
OF_INPUT = "photoz_"  # beginning of the same measures for translations
RULE = (
    "A run is closer than another row in a measure if its |value − perfect| (median over bands) is smaller by more "
    "than the half widths of both intervals, added in quadrature. It is farther if it is larger by more than that. "
    "Otherwise the two rows are alike. A measure is lost for a row if it could not be made in half of the bands or "
    "more."
)


def middle(values: Iterable[float | None]) -> float | None:
    """Return the median of the numbers that are not None; None if there is none."""
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else None


def distances(facts: dict, row: str) -> dict[str, float]:
    """Return how far a row is from the floor, the median over bands, for each measure with a floor."""
    far = {name: middle(rows[row]["distance"]) for name, rows in facts["values"].items() if row in rows}
    return {name: value for name, value in far.items() if value is not None}


def fixed_set(values: dict[str, dict]) -> list[str]:
    """Return the measures that have a number for at least one row in at least one band."""
    return [name for name, rows in values.items() if _bands(rows)]


def errors(rows: dict[str, dict], perfect: float) -> dict[str, tuple[float, float]]:
    """Return the error |value − perfect| of each row and half the width of its interval, both medians over bands.

    The bands are those in which at least one row has a value. A row without a value in one of them has an infinite
    error there, so the measure is lost for a row that lacks half of the bands.

    Parameters
    ----------
    rows : dict
        Row to "value", "low" and "high", each a list of numbers or None for each band.
    perfect : float
        The perfect value.
    """
    bands, found = _bands(rows), {}
    for row, numbers in rows.items():
        off = [math.inf if numbers["value"][k] is None else abs(numbers["value"][k] - perfect) for k in bands]
        ends = [(numbers["low"][k], numbers["high"][k]) for k in bands]
        half = middle((high - low) / 2 for low, high in ends if None not in (low, high))
        found[row] = float(np.median(off)) if off else math.inf, half or 0.0
    return found


def compare(one: tuple[float, float], other: tuple[float, float], yardstick: bool = False) -> str:
    """Return "closer", "farther", "alike" or "lost" for the first of two rows.

    Parameters
    ----------
    one, other : tuple of float
        Error and half width of both rows, from `errors`.
    yardstick : bool
        Whether the second row only shows what is possible. A measure that is lost for it then counts as "alike".
    """
    if math.isinf(one[0]):
        return "lost"
    if math.isinf(other[0]):
        return "alike" if yardstick else "closer"
    difference = one[0] - other[0]
    if abs(difference) <= math.hypot(one[1], other[1]):
        return "alike"
    return "closer" if difference < 0 else "farther"


def judge_direction(facts: dict, perfect: dict[str, float]) -> dict:
    """Return the verdict on every row of a direction, as in report.json.

    Parameters
    ----------
    facts : dict
        The direction in report.json, with its "values".
    perfect : dict
        Measure to its perfect value.

    Returns
    -------
    dict
        "measures": the measures that count. "rows": row to "against", "at_floor", "within_3" and "of". "against" has
        for each other row the numbers of measures that are "closer", "farther", "alike" and "lost", out of "of", and
        the names of those that are farther ("farther_in"). "at_floor" and "within_3" are the numbers of measures within
        1 and 3 half widths of the floor.
    """
    measures = fixed_set(facts["values"])
    rows = list(dict.fromkeys(row for name in measures for row in facts["values"][name]))
    lost = (math.inf, 0.0)
    found = {name: errors(facts["values"][name], perfect[name]) for name in measures}
    judged = {}
    for row in rows:
        far = distances(facts, row)
        against = {}
        for other in rows:
            if other != row:
                words = {
                    name: compare(each.get(row, lost), each.get(other, lost), other in YARDSTICKS)
                    for name, each in found.items()
                }
                against[other] = _count(words)
        judged[row] = {
            "against": against,
            "at_floor": sum(value <= AT_FLOOR for value in far.values()),
            "within_3": sum(value <= WITHIN for value in far.values()),
            "of": len(measures),
        }
    return {"measures": measures, "rows": judged}


def redshifts_of_input(other: dict) -> dict[str, dict]:
    """Return the measures of redshifts from the real images of the input survey; empty if they are unknown.

    In the opposite direction, `other`, the input survey is the target. There, its real images of the same galaxies were
    given to the same estimator, which had learnt from real images of that survey, too.
    """
    of_target = {name: rows for name, rows in other["values"].items() if name.startswith(INPUT) and rows}
    return {name.replace(INPUT, OF_INPUT): next(iter(rows.values())) for name, rows in of_target.items()}


def rivals(report: dict, direction: str, run: str) -> list[str]:
    """Return the rows that the sentence on a run names: references except `YARDSTICKS`, and other runs if few."""
    runs = [each["name"] for each in report["runs"]]
    others = [name for name in runs if name != run] if len(runs) <= FEW_RUNS else []
    references = [name for name in report["directions"][direction]["references"] if name not in YARDSTICKS]
    return references + others


def sentence(report: dict, direction: str, run: str) -> str:
    """Return the verdict on a run in words: "closer to the truth than bilinear in 61 of 82 measures, farther in 9"."""
    lacks = report["directions"][direction].get("lacks", {})
    if run in lacks:
        return lacks[run]
    verdict = report["directions"][direction]["verdict"]["rows"].get(run)
    known = [name for name in rivals(report, direction, run) if verdict and name in verdict["against"]]
    if not known:
        return "no measure could be compared"
    parts, goal = [], "the truth" if report["truth"] else "the real images"
    for name in known:
        counts = verdict["against"][name]
        start, end = (f"closer to {goal} ", " measures") if name == known[0] else ("", "")
        parts.append(f"{start}than {name} in {counts['closer']} of {counts['of']}{end}, farther in {counts['farther']}")
    lost = verdict["against"][known[0]]["lost"]
    return "; ".join(parts) + (f"; {lost} could not be measured" if lost else "")


def _bands(rows: dict[str, dict]) -> list[int]:
    """Return the places of the bands in which at least one row has a value."""
    lists = [numbers["value"] for numbers in rows.values()]
    return [k for k, each in enumerate(zip(*lists, strict=True)) if any(value is not None for value in each)]


def _count(words: dict[str, str]) -> dict:
    """Return how often each word of `COUNTS` occurs, and which measures are farther."""
    counts = {word: sum(each == word for each in words.values()) for word in COUNTS}
    return counts | {"of": len(words), "farther_in": [name for name, each in words.items() if each == "farther"]}


INPUT_ROW = "input itself"  # real images of the input survey, for the measures of redshifts


def percent(value: float) -> float:
    """Return a share in per cent."""
    return 100 * value


def factor(value: float) -> float:
    """Return a number in dex as a factor."""
    return 10**value


def unchanged(value: float) -> float:
    """Return the value as it is."""
    return value


@dataclass(frozen=True)
class Headline:
    """A column of the headline table.

    Attributes
    ----------
    group, title, unit : str
        Its words.
    measures : tuple of str
        The first of these measures that exists is shown.
    show : callable
        Converts a value for display.
    """

    group: str
    title: str
    unit: str
    measures: tuple[str, ...]
    show: Callable[[float], float] = unchanged


HEADLINES = (
    Headline("Flux", "offset", "Δmag", ("total_offset", "aperture_offset")),
    Headline("Flux", "scatter", "Δmag", ("total_scatter", "aperture_scatter")),
    Headline("Colour", "offset", "Δmag", ("colour_offset",)),
    Headline("Colour", "scatter", "Δmag", ("colour_scatter",)),
    Headline("Size", "bias", "%", ("hsm_size_bias",), percent),
    Headline("Size", "scatter", "%", ("hsm_size_scatter",), percent),
    Headline("Signal", "resolution", "arcsec", ("signal_scale", "signal_scale_real")),
    Headline("Signal", "residual", "%", ("signal_residual", "signal_residual_real"), percent),
    Headline("Noise", "amplitude", "× real", ("noise_amplitude",), factor),
    Headline("Redshift", "scatter", "Δz/(1+z)", ("photoz_sigma_mad",)),
    Headline("Sources", "invented", "%", ("sources_invented", "target_sources_invented"), percent),
    Headline("Sources", "lost", "%", ("sources_lost", "target_sources_lost"), percent),
    Headline("Coverage", "of 68 %", "%", ("coverage_truth_68", "coverage_flux_68", "coverage_pixels_68"), percent),
)


def headline_columns(report: dict) -> list[dict]:
    """Return the columns that some direction has: "group", "title", "unit", "measure", "perfect" as
    shown, and "show".
    """
    measured = {name for facts in report["directions"].values() for name in facts["verdict"]["measures"]}
    columns = []
    for each in HEADLINES:
        name = next((name for name in each.measures if name in measured), None)
        if name is not None:
            perfect = number(each.show(report["measures"][name]["perfect"]))
            words = {"group": each.group, "title": each.title, "unit": each.unit}
            columns.append(words | {"measure": name, "perfect": perfect, "show": each.show})
    return columns


def headline_rows(report: dict, direction: str, columns: list[dict]) -> list[dict]:
    """Return the lines of the headline table in one direction: runs, their rivals, the floor, and the input itself.

    Returns
    -------
    list of dict
        "name"; "fixed": whether the line is not a run; "cells": for each column "value", "half" width of the interval,
        "bands" (all bands, in words), and "shade": "closer", "farther" or "alike" for a run against `BILINEAR`, else
        "". A cell is None if the row has no value.
    """
    facts = report["directions"][direction]
    runs = [run["name"] for run in report["runs"]]
    there = [name for name in runs if name not in facts.get("lacks", {})]
    names = there + [name for name in facts["references"] if name not in YARDSTICKS]
    names += [FLOOR] if FLOOR in facts["references"] else []
    lines = [
        {
            "name": name,
            "fixed": name not in runs,
            "cells": [_cell(report, facts, each, name, name in runs) for each in columns],
        }
        for name in names
    ]
    if facts.get("input"):
        cells = [
            _number_cell(report, facts, each, {INPUT_ROW: facts["input"].get(each["measure"])}, INPUT_ROW)
            for each in columns
        ]
        lines.append({"name": INPUT_ROW, "fixed": True, "cells": cells})
    return lines


def matrix(report: dict, direction: str) -> dict:
    """Return every run against every other row: "columns" (names), and "rows" with "name" and "cells" (counts, or
    None).
    """
    facts = report["directions"][direction]
    judged, runs = facts["verdict"]["rows"], [run["name"] for run in report["runs"]]
    columns = [name for name in [*facts["references"], *runs] if name in judged]
    rows = [
        {"name": run, "cells": [judged[run]["against"].get(name) for name in columns]} for run in runs if run in judged
    ]
    return {"columns": columns, "rows": rows}


def _cell(report: dict, facts: dict, column: dict, name: str, run: bool) -> dict | None:
    """Return one cell of the headline table; None if the row has no value."""
    rows = facts["values"].get(column["measure"], {})
    cell = _number_cell(report, facts, column, rows, name)
    if cell is not None and run and BILINEAR in rows:
        found = errors(rows, report["measures"][column["measure"]]["perfect"])
        cell["shade"] = compare(found[name], found[BILINEAR])
    return cell


def _number_cell(report: dict, facts: dict, column: dict, rows: dict, name: str) -> dict | None:
    """Return a cell with the value of the middle band; None if the row has no value."""
    if rows.get(name) is None:
        return None
    measure, show = report["measures"][column["measure"]], column["show"]
    perfect, cap = measure["perfect"], measure.get("cap")
    numbers, bands = as_shown({name: rows[name]}, facts["bands"])
    numbers = numbers[name]
    middle = _middle_bands(numbers["value"], [row["value"] for row in rows.values() if row], perfect)
    if not middle:
        return None
    off = [numbers["value"][k] - perfect for k in middle]
    one_sign = min(off) >= 0 or max(off) <= 0
    value = perfect + np.mean(np.abs(off)) * (-1 if max(off) <= 0 else 1)
    halves = [_half(numbers["low"][k], numbers["high"][k], show) for k in middle]
    half = None if at_cap(value, cap) or None in halves else float(np.mean(halves))
    words = [f"{band} {_shown(value, show, cap)}" for band, value in zip(bands, numbers["value"], strict=True)]
    return {
        "value": ("" if one_sign or perfect or show is factor else "±") + _shown(value, show, cap),
        "half": "" if half is None else f"± {half:.2g}",
        "bands": ", ".join(words),
        "shade": "",
    }


def _middle_bands(values: list[float | None], all_values: list[list[float | None]], perfect: float) -> list[int]:
    """Return the places of the one or two middle bands in the order of |value − perfect|; none if one lacks a value.

    `all_values` are those of all rows: a band in which only other rows have a value counts as the farthest off.
    """
    there = [k for k in range(len(values)) if any(each[k] is not None for each in all_values)]
    known = [k for k in there if values[k] is not None]
    order = sorted(known, key=lambda k: abs(values[k] - perfect))
    wanted = sorted({(len(there) - 1) // 2, len(there) // 2})
    return [order[place] for place in wanted] if there and wanted[-1] < len(order) else []


def _half(low: float | None, high: float | None, show: Callable[[float], float]) -> float | None:
    """Return half the width of an interval as it is shown; None if an end is unknown."""
    return None if low is None or high is None else (show(high) - show(low)) / 2


def _shown(value: float | None, show: Callable[[float], float], cap: float | None) -> str:
    """Return a value as text, as it is shown; a dash for None."""
    return "–" if value is None else number(show(value), None if cap is None else show(cap))
