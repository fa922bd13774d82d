"""The headline table of a report: a few numbers in units that an astronomer knows, for runs and references.

A cell has the value of the band in the middle when bands are ordered by |value - perfect|, or the mean of the two in
the middle, "±" where these differ in sign. The median of the values themselves could be near perfect where one band is
too bright and another is too faint.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from translator.report_plots import as_shown, at_cap, number
from translator.sample_files import BILINEAR, FLOOR
from translator.verdict import YARDSTICKS, compare, errors

INPUT_ROW = "input itself"  # real images of the input survey, where the same question can be asked of them


def percent(value: float) -> float:
    """A share in per cent."""
    return 100 * value


def factor(value: float) -> float:
    """A number in dex as a factor."""
    return 10**value


def unchanged(value: float) -> float:
    """The value as it is."""
    return value


@dataclass(frozen=True)
class Headline:
    """A column: its group, title and unit, the measures of which the first that is there is shown, and how."""

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
    """The columns that some direction has: "group", "title", "unit", "measure", "perfect" as shown, and "show"."""
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
    """Lines of the table in one direction: runs, what they compete with, the floor, and the input itself.

    Returns:
        "name"; "fixed": whether it is no run; "cells": for each column "value", "half" (of the interval's width),
        "bands" (all bands, in words), and "shade": "closer", "farther" or "alike" for a run beside `BILINEAR`, else "".
        A cell is None where the row has no value.
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
    """Every run against every other row: "columns" (names), "rows" of "name" and "cells" (counts; None for itself)."""
    facts = report["directions"][direction]
    judged, runs = facts["verdict"]["rows"], [run["name"] for run in report["runs"]]
    columns = [name for name in [*facts["references"], *runs] if name in judged]
    rows = [
        {"name": run, "cells": [judged[run]["against"].get(name) for name in columns]} for run in runs if run in judged
    ]
    return {"columns": columns, "rows": rows}


def _cell(report: dict, facts: dict, column: dict, name: str, run: bool) -> dict | None:
    rows = facts["values"].get(column["measure"], {})
    cell = _number_cell(report, facts, column, rows, name)
    if cell is not None and run and BILINEAR in rows:
        found = errors(rows, report["measures"][column["measure"]]["perfect"])
        cell["shade"] = compare(found[name], found[BILINEAR])
    return cell


def _number_cell(report: dict, facts: dict, column: dict, rows: dict, name: str) -> dict | None:
    """The value of the band in the middle, as it is shown; None where the row has none."""
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
    """Places of the one or two bands in the middle by |value - perfect|; none where one of them lacks a value.

    `all_values` are those of all rows: bands that only other rows have count as the farthest off.
    """
    there = [k for k in range(len(values)) if any(each[k] is not None for each in all_values)]
    known = [k for k in there if values[k] is not None]
    order = sorted(known, key=lambda k: abs(values[k] - perfect))
    wanted = sorted({(len(there) - 1) // 2, len(there) // 2})
    return [order[place] for place in wanted] if there and wanted[-1] < len(order) else []


def _half(low: float | None, high: float | None, show: Callable[[float], float]) -> float | None:
    """Half the width of an interval as it is shown; None where an end is unknown."""
    return None if low is None or high is None else (show(high) - show(low)) / 2


def _shown(value: float | None, show: Callable[[float], float], cap: float | None) -> str:
    return "–" if value is None else number(show(value), None if cap is None else show(cap))
