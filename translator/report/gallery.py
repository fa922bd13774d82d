"""The gallery of a report: galaxies that are chosen by their measures, as pictures of all rows side by side."""

import json
from dataclasses import dataclass

import numpy as np

from translator.metrics.table import MEASURES
from translator.report.measuring import Measured
from translator.report.panels import Panel, colour_panel, data_uri, grey_panel, rgb_bands
from translator.report.sample_files import Rows, SampleFiles
from translator.report.verdict import YARDSTICKS

FEW_RUNS = 3  # largest number of runs for which translations without noise are shown, too
MIDDLE_BY = ("signal_residual", "signal_residual_real")  # the first that exists decides which galaxy is the median
BANDED = 5  # largest number of galaxies that are shown in every band, too; more would make the page large


@dataclass(frozen=True)
class Shown:
    """A column of pictures.

    Attributes
    ----------
    title : str
        Its title.
    files : SampleFiles
        The sample.
    field : str
        The field of the sample that it shows.
    """

    title: str
    files: SampleFiles
    field: str

    def panel(self, galaxy: int) -> Panel:
        """Return the picture of one galaxy."""
        sample = self.files.open()
        scale = sample.source_scale if self.field == "source" else sample.pixel_scale
        return Panel(self.title, getattr(sample, self.field)[galaxy], sample.bands, scale)


def make_gallery(report: dict, direction: str, rows: Rows, measured: dict[str, Measured]) -> dict:
    """Return the best, the median and the worst galaxy by every measure of single galaxies, over all runs.

    Parameters
    ----------
    report : dict
        Content of report.json.
    direction : str
        The direction.
    rows : dict
        Samples by row.
    measured : dict
        Measures by row.

    Returns
    -------
    dict
        "cards": for each galaxy its index in the test set ("galaxy"), why it was chosen ("reasons"), the arguments of
        `pictures` ("asks"), and as JSON its rank and error by every measure ("ranks"). "measures": measure to the
        number of galaxies with a rank. "titles" of the columns of pictures. "rgb": bands of the colour pictures.
    """
    misses = mean_misses([measured[run["name"]] for run in report["runs"] if run["name"] in measured])
    ranks = {name: rank(values) for name, values in misses.items()}
    reasons = chosen(ranks, {name: report["measures"][name]["title"] for name in ranks}) or {0: ["the first"]}
    columns = _columns(report, direction, rows)
    bands = tuple(report["directions"][direction]["bands"])
    cards = [
        {
            "galaxy": galaxy,
            "reasons": why,
            "asks": (columns, galaxy, bands if place < BANDED else ()),
            "ranks": json.dumps(
                {k: [int(v[galaxy]), float(f"{misses[k][galaxy]:.3g}")] for k, v in ranks.items() if v[galaxy]}
            ),
        }
        for place, (galaxy, why) in enumerate(reasons.items())
    ]
    measures = {name: int(values.max()) for name, values in ranks.items()}
    return {
        "cards": cards,
        "measures": measures,
        "titles": [each.title for each in columns],
        "rgb": rgb_bands(bands),
    }


def middle_galaxy(report: dict, direction: str, rows: Rows, measured: dict[str, Measured]) -> dict:
    """Return the median galaxy of the first run, by the residual of its signal.

    Returns
    -------
    dict
        "galaxy": its index in the test set. "by": the measure; None if there is none, and the galaxy is then the first.
        "asks": the arguments of `pictures`. "titles" of the pictures. "rank" of "count" galaxies.
    """
    misses = measured[report["runs"][0]["name"]].misses
    by = next((name for name in MIDDLE_BY if name in misses and np.isfinite(misses[name]).any()), None)
    ranks = rank(misses[by]) if by else np.ones(1, int)
    place = int(ranks.max()) // 2 + 1 if by else 1
    columns = _columns(report, direction, rows, signals=False)
    return {
        "galaxy": int(np.argmax(ranks == place)),
        "by": by,
        "rank": place,
        "count": int(ranks.max()),
        "asks": (columns, int(np.argmax(ranks == place)), ()),
        "titles": [each.title for each in columns],
    }


def mean_misses(runs: list[Measured]) -> dict[str, np.ndarray]:
    """Return for each measure the error of each galaxy (galaxy,), the mean of all runs; NaN if unknown.

    Left out are measures without a meaning for one galaxy, those in which all galaxies are equal, and those that were
    made for some galaxies only.
    """
    names = list(dict.fromkeys(name for run in runs for name in run.misses if MEASURES[name].alone))
    count = max((len(each) for run in runs for each in run.misses.values()), default=0)
    found = {}
    for name in names:
        each = np.array([run.misses[name] for run in runs if len(run.misses.get(name, ())) == count])
        if len(each):
            known = np.isfinite(each)
            sums, numbers = np.where(known, each, 0).sum(axis=0), known.sum(axis=0)
            mean = np.where(numbers > 0, sums / np.maximum(numbers, 1), np.nan)
            if len(np.unique(mean[numbers > 0])) > min(count - 1, 1):
                found[name] = mean
    return found


def rank(misses: np.ndarray) -> np.ndarray:
    """Return the rank of each galaxy by its error, 1 for the best; 0 if the error is unknown."""
    ranks, known = np.zeros(len(misses), int), np.flatnonzero(np.isfinite(misses))
    ranks[known[np.argsort(misses[known], kind="stable")]] = np.arange(1, len(known) + 1)
    return ranks


def chosen(ranks: dict[str, np.ndarray], titles: dict[str, str]) -> dict[int, list[str]]:
    """Return the galaxies that are shown and the reasons: best, median and worst by each measure, in their order."""
    reasons: dict[int, list[str]] = {}
    for name, each in ranks.items():
        for word, place in (("best", 1), ("median", each.max() // 2 + 1), ("worst", each.max())):
            reasons.setdefault(int(np.argmax(each == place)), []).append(f"{word} by {titles[name]}")
    return reasons


def _columns(report: dict, direction: str, rows: Rows, signals: bool = True) -> list[Shown]:
    """Return the columns of pictures: original, translations, interpolation, target and truth.

    With `signals`, translations without noise are included if there are few runs.
    """
    facts, runs = report["directions"][direction], [run["name"] for run in report["runs"] if run["name"] in rows]
    first = rows[runs[0]][0]
    columns = [Shown(f"{facts['from']} original", first, "source")]
    for run in runs:
        files = rows[run][0]
        columns.append(Shown(run, files, "output"))
        if signals and len(runs) <= FEW_RUNS and files.files.get("signal") != files.files.get("output"):
            sample = files.open()
            if not np.array_equal(sample.signal[0], sample.output[0]):
                columns.append(Shown(f"{run}, no noise", files, "signal"))
    others = [name for name in facts["references"] if name not in YARDSTICKS and name in rows]
    columns += [Shown(name, rows[name][0], "output") for name in others]
    columns.append(Shown(f"{facts['to']} target", first, "target"))
    if first.open().truth is not None:
        columns.append(Shown("noise-free truth", first, "truth"))
    return columns


def pictures(columns: list[Shown], galaxy: int, bands: tuple[str, ...]) -> list[dict]:
    """Return lines of pictures: colour, then each of the bands.

    Returns
    -------
    list of dict
        "name" of the line, and "cells": the address of a picture for each column.
    """
    panels = [each.panel(galaxy) for each in columns]
    lines = [{"name": "colour", "cells": [data_uri(colour_panel(panel)) for panel in panels]}]
    return lines + [{"name": band, "cells": [data_uri(grey_panel(panel, band)) for panel in panels]} for band in bands]
