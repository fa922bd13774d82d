"""The page of a report: one HTML file that needs no network."""

import math
import warnings
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from survey_tools.atomic import whole_file
from survey_tools.processes import run_tasks
from translator.measuring import Measured
from translator.metrics.curve import Curve
from translator.metrics.table import GROUPS
from translator.report_figures import COLOURS, draw_curve
from translator.report_gallery import make_gallery, pictures
from translator.report_maps import map_table
from translator.report_panels import data_uri
from translator.report_plots import ONE, as_shown, draw_measure, number
from translator.sample_files import FLOOR, Rows

STEPS = (1, 3, 10, 30)  # distances from the floor at which the colour changes [half widths of the interval]
LONGEST = 32  # characters of a title in the first table


def write_page(path: Path, report: dict, samples: dict[str, Rows], measured: dict, workers: int) -> Path:
    """Write the page and return its path.

    Args:
        path: File to write.
        report: Content of report.json.
        samples: Direction -> row -> images.
        measured: Direction -> row -> `Measured`: curves, and how far each galaxy is off.
        workers: Processes that draw.
    """
    pages = Environment(
        loader=PackageLoader("translator"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters |= {"number": number, "shade": shade, "short": short}
    runs, groups = [run["name"] for run in report["runs"]], _groups(report)
    heads = [
        {"name": name, "anchor": group["anchor"], "first": name == group["measures"][0]}
        for group in groups
        for name in group["measures"]
    ]
    columns = [head["name"] for head in heads]
    galleries = {name: make_gallery(report, name, samples[name], measured[name]) for name in report["directions"]}
    figures = _figures(report, measured)
    _draw_all(galleries, figures, workers)
    text = pages.get_template("report.html").render(
        report=report,
        groups=groups,
        as_shown=as_shown,
        draw=lambda *arguments: Markup(draw_measure(*arguments, runs)),
        heads=heads,
        tables={name: table_rows(report, name, columns) for name in report["directions"]},
        figures=figures,
        galleries=galleries,
        sortable={name for gallery in galleries.values() for name in gallery["measures"]},
        steps=STEPS,
        colours=COLOURS,
    )
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def short(title: str) -> str:
    """A title as a narrow column has room for it: its beginning and its end."""
    return title if len(title) <= LONGEST else f"{title[: LONGEST - 14].rstrip()}…{title[-13:].lstrip()}"


def shade(distance: float | None) -> str:
    """The class of colour of a distance from the floor: "s0" (at the floor) to "s4", "none" where it is unknown."""
    if distance is None or not math.isfinite(distance):
        return "none"
    return f"s{sum(distance > step for step in STEPS)}"


def middle(values: Iterable[float | None]) -> float | None:
    """The median of the numbers that are there; None where none is."""
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else None


def distances(facts: dict, row: str) -> dict[str, float]:
    """Measure to how far a row of a direction is from the floor, the median over bands; those that have a floor."""
    far = {name: middle(rows[row]["distance"]) for name, rows in facts["values"].items() if row in rows}
    return {name: value for name, value in far.items() if value is not None}


def near_floor(far: dict[str, float]) -> int:
    """How many measures are at their floor."""
    return sum(value <= STEPS[0] for value in far.values())


def table_rows(report: dict, direction: str, columns: list[str]) -> list[dict]:
    """Lines of the first table in one direction: runs, then what they are held against.

    Returns:
        "name"; "fixed": whether it stays below the runs; "near" of "of" measures with a floor that are at it; "cells":
        for each column medians over bands of value, interval and distance from the floor ("far"), how far the value is
        from perfect ("off"), and the class of colour; None where the row lacks the measure.
    """
    facts, lines = report["directions"][direction], []
    for name in [run["name"] for run in report["runs"]] + list(facts["references"]):
        cells = []
        for column in columns:
            found = facts["values"].get(column, {}).get(name)
            cells.append(found and _cell(found, report["measures"][column]["perfect"]))
        far = distances(facts, name)
        lines.append(
            {
                "name": name,
                "fixed": name in facts["references"],
                "cells": cells,
                "near": near_floor(far),
                "of": 0 if name == FLOOR else len(far),
            }
        )
    return lines


def _cell(found: dict, perfect: float) -> dict:
    cell = {key: middle(found[key]) for key in ("value", "low", "high")} | {"far": middle(found["distance"])}
    off = None if cell["value"] is None else abs(cell["value"] - perfect)
    return cell | {"off": off, "shade": shade(cell["far"])}


def _groups(report: dict) -> list[dict]:
    """Headings in order, with the measures that some direction has, and the curves."""
    measured = {name for each in report["directions"].values() for name in each["values"]}
    drawn = {name for each in report["directions"].values() for row in each["curves"].values() for name in row}
    groups = [
        {
            "heading": heading,
            "anchor": heading.lower().replace(" ", "-").replace("'", ""),
            "measures": [row.name for row in group.MEASURES if row.name in measured],
            "curves": [function.__name__ for function in group.CURVES if function.__name__ in drawn],
        }
        for heading, group in GROUPS.items()
    ]
    return [group for group in groups if group["measures"] or group["curves"]]


def _figures(report: dict, measured: dict[str, dict[str, Measured]]) -> dict[str, list[dict]]:
    """Name of a curve to its figures: "title", and the arguments of `draw_curve` ("asks") or "maps"."""
    figures: dict[str, list[dict]] = {}
    for direction, rows in measured.items():
        facts = report["directions"][direction]
        heading = f"{facts['from']} to {facts['to']}"
        for name in dict.fromkeys(name for each in rows.values() for name in each.curves):
            curves = {row: each.curves[name] for row, each in rows.items() if name in each.curves}
            first = next(iter(curves.values()))
            place = {"title": f"{first.title}, {heading}", "asks": None, "maps": None}
            if first.y:
                figures.setdefault(name, []).append(place | {"asks": (heading, *_once(facts["bands"], curves))})
            if first.maps:
                figures.setdefault(name, []).append(place | {"maps": map_table(facts["bands"], curves)})
    return figures


def _draw_all(galleries: dict[str, dict], figures: dict[str, list[dict]], workers: int) -> None:
    """Give galaxies their pictures ("lines") and figures their plot ("plot", HTML; None where they have maps)."""
    plots = [figure for some in figures.values() for figure in some if figure["asks"]]
    cards = [card for gallery in galleries.values() for card in gallery["cards"]]
    tasks = [(draw_curve, plot["asks"]) for plot in plots] + [(pictures, card["asks"]) for card in cards]
    drawn = iter(run_tasks(_draw, tasks, workers, "draw"))
    for figure in (figure for some in figures.values() for figure in some):
        figure["plot"] = None
    for plot in plots:
        uri = data_uri(next(drawn), "png")
        plot["plot"] = Markup('<img decoding="async" src="{}" alt="{}">').format(uri, plot["title"])
    for card in cards:
        card["lines"] = next(drawn)


def _once(bands: list[str], curves: dict[str, Curve]) -> tuple[list[str], dict[str, Curve]]:
    """Bands and curves, of one band where all bands are the same, as of redshifts."""
    lines = [y for curve in curves.values() for y in curve.y.values()]
    if len(bands) < 2 or not all(np.array_equal(y, np.broadcast_to(y[:1], y.shape), equal_nan=True) for y in lines):
        return bands, curves
    first = {row: replace(curve, y={label: y[:1] for label, y in curve.y.items()}) for row, curve in curves.items()}
    return [ONE], first


def _draw(function: Callable, arguments: tuple) -> bytes | list:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # of a band without a value, or none to show on a logarithmic axis
        return function(*arguments)
