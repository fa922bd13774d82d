"""The page of a report: one HTML file that needs no network."""

import math
import warnings
from collections.abc import Callable
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from survey_tools.files import whole_file
from survey_tools.tasks import run_tasks
from translator.metrics.measure import Curve
from translator.metrics.table import GROUPS
from translator.report.gallery import make_gallery, middle_galaxy, pictures
from translator.report.measuring import Measured
from translator.report.panels import data_uri, map_table
from translator.report.plots import COLOURS, ONE, as_shown, draw_curve, draw_measure, number
from translator.report.sample_files import BILINEAR, Rows
from translator.report.verdict import (
    INPUT_ROW,
    RULE,
    compare,
    errors,
    headline_columns,
    headline_rows,
    matrix,
    middle,
    sentence,
)

STEPS = (0.5, 0.9, 1.1, 2.0)  # errors at which the colour changes, in units of the error of `BILINEAR`
TOLERANCES = {"mag": 0.01, "mag/mag": 0.01, "dex": 0.02, "arcsec": 0.05, "sigma": 0.02, "": 0.01}  # by unit
LONGEST = 32  # largest number of characters of a title in the table of all measures


def write_page(path: Path, report: dict, samples: dict[str, Rows], measured: dict, workers: int) -> Path:
    """Write the page and return its path.

    Parameters
    ----------
    path : Path
        File to write.
    report : dict
        Content of report.json.
    samples : dict
        Direction to row to images.
    measured : dict
        Direction to row to `Measured`.
    workers : int
        Processes that draw.
    """
    pages = Environment(
        loader=PackageLoader("translator.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters |= {"number": number, "short": short}
    runs, groups = [run["name"] for run in report["runs"]], _groups(report)
    heads = [
        {"name": name, "anchor": group["anchor"], "first": name == group["measures"][0]}
        for group in groups
        for name in group["measures"]
    ]
    columns = [head["name"] for head in heads]
    galleries = {name: make_gallery(report, name, samples[name], measured[name]) for name in report["directions"]}
    figures = _figures(report, measured)
    typical = {name: middle_galaxy(report, name, samples[name], measured[name]) for name in report["directions"]}
    cards = [card for gallery in galleries.values() for card in gallery["cards"]] + list(typical.values())
    _draw_all(cards, figures, workers)
    text = pages.get_template("report.html").render(
        report=report,
        groups=groups,
        as_shown=as_shown,
        draw=lambda *arguments: Markup(draw_measure(*arguments, runs)),
        heads=heads,
        **_first_screen(report, runs),
        typical=typical,
        tolerances=TOLERANCES,
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


def _first_screen(report: dict, runs: list[str]) -> dict:
    """Return the verdict in words and numbers, and the headline table, each by direction."""
    columns = headline_columns(report)
    return {
        "rule": RULE,
        "input_row": INPUT_ROW,
        "sentences": {name: {run: sentence(report, name, run) for run in runs} for name in report["directions"]},
        "matrices": {name: matrix(report, name) for name in report["directions"]},
        "headlines": columns,
        "headline_groups": [(name, len(list(some))) for name, some in groupby(columns, key=lambda each: each["group"])],
        "headline": {name: headline_rows(report, name, columns) for name in report["directions"]},
    }


def short(title: str) -> str:
    """Return the beginning and the end of a title, to fit into a narrow column."""
    return title if len(title) <= LONGEST else f"{title[: LONGEST - 14].rstrip()}…{title[-13:].lstrip()}"


def shade(off: float | None, other: float | None, unit: str) -> str:
    """Return the colour class of an error against that of `BILINEAR`, from "s0" (much smaller) to "s4" (much larger).

    An error below the tolerance of its unit counts as the tolerance, so that differences between nearly perfect rows
    have no colour. "none" if there is no number, or nothing to compare with.
    """
    if off is None or other is None or not math.isfinite(other):
        return "none"
    least = TOLERANCES.get(unit, TOLERANCES[""])
    ratio = max(off, least) / max(other, least)
    return f"s{sum(ratio > step for step in STEPS)}"


def table_rows(report: dict, direction: str, columns: list[str]) -> list[dict]:
    """Return the lines of the table of all measures in one direction: runs, then references.

    Returns
    -------
    list of dict
        "name"; "fixed": whether it stays below the runs; "near" of "of" measures in which it is closer than `BILINEAR`,
        0 of 0 for `BILINEAR`; "cells": for each column the medians over bands of value, interval and distance from the
        floor ("far"), the error ("off"), the colour class ("shade"), and whether it does not differ from `BILINEAR`
        within the intervals ("alike"). A cell is None if the row lacks the measure.
    """
    facts, lines = report["directions"][direction], []
    judged = facts["verdict"]["rows"]
    for name in [run["name"] for run in report["runs"]] + list(facts["references"]):
        cells = []
        for column in columns:
            rows = facts["values"].get(column, {})
            cells.append(_cell(rows, name, report["measures"][column]) if name in rows else None)
        counts = judged.get(name, {"against": {}})["against"].get(BILINEAR, {"closer": 0, "of": 0})
        fixed = name in facts["references"]
        lines.append({"name": name, "fixed": fixed, "cells": cells, "near": counts["closer"], "of": counts["of"]})
    return lines


def _cell(rows: dict[str, dict], name: str, measure: dict) -> dict:
    """Return one cell of the table of all measures."""
    found = rows[name]
    cell = {key: middle(found[key]) for key in ("value", "low", "high")} | {"far": middle(found["distance"])}
    known = errors(rows, measure["perfect"])
    mine, other = known[name], known.get(BILINEAR, (math.inf, 0.0))
    off = mine[0] if math.isfinite(mine[0]) else None
    words = {"off": off, "shade": shade(off, other[0], measure["unit"]), "cap": measure.get("cap")}
    return cell | words | {"alike": name != BILINEAR and compare(mine, other) == "alike"}


def _groups(report: dict) -> list[dict]:
    """Return the headings in order, with the measures that some direction has, and the curves."""
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
    """Return the figures of each curve: "title", and the arguments of `draw_curve` ("asks") or "maps"."""
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


def _draw_all(cards: list[dict], figures: dict[str, list[dict]], workers: int) -> None:
    """Add pictures ("lines") to galaxies, and plots ("plot", HTML; None for maps) to figures."""
    plots = [figure for some in figures.values() for figure in some if figure["asks"]]
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
    """Return bands and curves, reduced to one band if all bands are the same, as for redshifts."""
    lines = [y for curve in curves.values() for y in curve.y.values()]
    if len(bands) < 2 or not all(np.array_equal(y, np.broadcast_to(y[:1], y.shape), equal_nan=True) for y in lines):
        return bands, curves
    first = {row: replace(curve, y={label: y[:1] for label, y in curve.y.items()}) for row, curve in curves.items()}
    return [ONE], first


def _draw(function: Callable, arguments: tuple) -> bytes | list:
    """Run one task: draw a plot, or the pictures of a galaxy."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter(
            "ignore"
        )  # warnings of bands without values, or without positive ones on a logarithmic axis
        return function(*arguments)
