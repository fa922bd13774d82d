"""The page of a report: one HTML file that needs no network."""

import json
import math
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from survey_tools.atomic import whole_file
from survey_tools.twin_sky.tasks import run_tasks
from translator.gallery import Panel
from translator.measuring import Measured
from translator.metrics.table import GROUPS
from translator.report_figures import (
    colour_panel,
    data_uri,
    draw_curve,
    draw_maps,
    draw_measure,
    grey_band,
    grey_panel,
    legend,
    rgb_bands,
)
from translator.samples import BILINEAR, Rows

STEPS = (1, 3, 10, 30)  # distances from the floor at which the colour changes [half widths of the interval]
FEW_RUNS = 4  # up to which a gallery shows the translations without noise too


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
    pages.filters |= {"number": number, "shade": shade, "middle": middle}
    groups, figures = _groups(report), _figures(report, measured, workers)
    names = list(dict.fromkeys(row for rows in samples.values() for row in rows))
    text = pages.get_template("report.html").render(
        report=report,
        groups=groups,
        legend=Markup(legend(names, [run["name"] for run in report["runs"]])),
        draw=lambda *arguments: Markup(draw_measure(*arguments)),
        columns=[name for group in groups for name in group["measures"]],
        figures=figures,
        galleries={name: _gallery(report, name, samples[name], measured[name]) for name in report["directions"]},
        steps=STEPS,
    )
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def number(value: float | None) -> str:
    """A number as the page shows it: three digits; a dash where there is none."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.3g}".replace("-", "−")


def shade(distance: float | None) -> str:
    """The class of colour of a distance from the floor: "s0" (at the floor) to "s4", "none" where it is unknown."""
    if distance is None or not math.isfinite(distance):
        return "none"
    return f"s{sum(distance > step for step in STEPS)}"


def middle(values: Iterable[float | None]) -> float | None:
    """The median of the numbers that are there; None where none is."""
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else None


def _groups(report: dict) -> list[dict]:
    """Headings in order, with the measures that some direction has, and the curves."""
    measured = {name for each in report["directions"].values() for name in each["values"]}
    drawn = {name for each in report["directions"].values() for row in each["curves"].values() for name in row}
    return [
        {
            "heading": heading,
            "anchor": heading.lower().replace(" ", "-").replace("'", ""),
            "measures": [row.name for row in group.MEASURES if row.name in measured],
            "curves": [function.__name__ for function in group.CURVES if function.__name__ in drawn],
        }
        for heading, group in GROUPS.items()
    ]


def _figures(report: dict, measured: dict[str, dict[str, Measured]], workers: int) -> dict[str, list[dict]]:
    """Name of a curve to its figures: "uri" and "alt"."""
    tasks, places = [], []
    for direction, rows in measured.items():
        facts = report["directions"][direction]
        heading = f"{facts['from']} to {facts['to']}"
        for name in dict.fromkeys(name for each in rows.values() for name in each.curves):
            curves = {row: each.curves[name] for row, each in rows.items() if name in each.curves}
            first = next(iter(curves.values()))
            for function, wanted in ((draw_curve, first.y), (draw_maps, first.maps)):
                if wanted:
                    tasks.append((function, (heading, facts["bands"], curves)))
                    places.append((name, f"{first.title}, {heading}"))
    figures: dict[str, list[dict]] = {}
    for (name, alt), png in zip(places, run_tasks(_draw, tasks, workers, "draw"), strict=True):
        figures.setdefault(name, []).append({"uri": data_uri(png), "alt": alt})
    return figures


def _draw(function: Callable, arguments: tuple) -> bytes:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # of a band without a value, or none to show on a logarithmic axis
        return function(*arguments)


def _gallery(report: dict, direction: str, rows: Rows, measured: dict[str, Measured]) -> dict:
    """Pictures of the best, the median and the worst galaxy by the first measure of each group, over all runs.

    Returns:
        "cards": each with its place in the test set, its pictures, why it is here, and its rank by every measure.
        "measures": those that galaxies can be sorted by. "bands": what the pictures show.
    """
    ranks = _ranks([measured[run["name"]] for run in report["runs"]])
    reasons: dict[int, list[str]] = {}
    for group in GROUPS.values():
        name = next((row.name for row in group.MEASURES if row.name in ranks), None)
        if name is not None:
            known = np.argsort(ranks[name])[: int(np.isfinite(ranks[name]).sum())]
            for word, galaxy in (("best", known[0]), ("median", known[len(known) // 2]), ("worst", known[-1])):
                reasons.setdefault(int(galaxy), []).append(f"{word} by {report['measures'][name]['title']}")
    if not reasons:
        reasons = {0: ["the first"]}
    samples = {row: files.open() for row, (files, _) in rows.items() if len(files.open()) == len(_first(rows))}
    cards = [
        {
            "galaxy": galaxy,
            "reasons": why,
            "panels": _panels(report, direction, samples, galaxy),
            "ranks": json.dumps({k: int(v[galaxy]) for k, v in ranks.items() if math.isfinite(v[galaxy])}),
        }
        for galaxy, why in sorted(reasons.items())
    ]
    bands = report["directions"][direction]["bands"]
    return {"cards": cards, "measures": list(ranks), "rgb": rgb_bands(bands), "grey": grey_band(bands)}


def _first(rows: Rows):
    return next(iter(rows.values()))[0].open()


def _ranks(runs: list[Measured]) -> dict[str, np.ndarray]:
    """Measure to each galaxy's rank (galaxy,), 1 the best, by how far it is off in the mean of all runs.

    NaN where it is unknown. Measures by which all galaxies are alike, or that were made of some only, rank none.
    """
    count = max((len(each) for run in runs for each in run.misses.values()), default=0)
    ranks = {}
    for name in runs[0].misses:
        misses = np.mean([run.misses[name] for run in runs if name in run.misses], axis=0)
        known = np.isfinite(misses)
        if len(misses) == count and known.any() and (count == 1 or np.ptp(misses[known]) > 0):
            ranks[name] = np.full(count, np.nan)
            ranks[name][np.flatnonzero(known)[np.argsort(misses[known], kind="stable")]] = np.arange(1, known.sum() + 1)
    return ranks


def _panels(report: dict, direction: str, samples: dict, galaxy: int) -> list[dict]:
    """The pictures of a galaxy: title, and the addresses of one in colour and one in grey."""
    facts, runs = report["directions"][direction], [run["name"] for run in report["runs"]]
    sample = samples[runs[0]]
    shown = {f"{facts['from']} original": (sample.source[galaxy], sample.source_scale)}
    for run in runs:
        shown[run] = samples[run].output[galaxy], sample.pixel_scale
        if len(runs) <= FEW_RUNS and not np.array_equal(samples[run].signal[galaxy], samples[run].output[galaxy]):
            shown[f"{run}, no noise"] = samples[run].signal[galaxy], sample.pixel_scale
    shown[BILINEAR] = samples[BILINEAR].output[galaxy], sample.pixel_scale
    shown[f"{facts['to']} target"] = sample.target[galaxy], sample.pixel_scale
    if sample.truth is not None:
        shown["noise-free truth"] = sample.truth[galaxy], sample.pixel_scale
    panels = [Panel(title, images, sample.bands, scale) for title, (images, scale) in shown.items()]
    return [
        {"title": each.title, "colour": data_uri(colour_panel(each)), "grey": data_uri(grey_panel(each))}
        for each in panels
    ]
