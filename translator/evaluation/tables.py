"""The result of an evaluation as tables, for notebooks and scripts."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from astropy.table import Table

from translator.report.verdict import COUNTS, sentence


@dataclass(frozen=True)
class Report:
    """The result of `evaluate`.

    Attributes
    ----------
    folder : Path
        Where report.html, report.json and galaxies.ecsv are.
    content : dict
        The content of report.json.
    tables : dict of str to astropy.table.Table
        "measures": one row for each direction, run or reference, measure and band, with the ``value``, the ends ``low``
        and ``high`` of its interval and the ``perfect`` value, all in ``unit``. ``value`` is NaN where the measure
        could not be made.
        "verdict": in how many measures each run is ``closer`` to the perfect value than each other run or reference,
        ``farther``, ``alike``, or has ``lost`` the measure.
        "requirements": each requirement for each run, its ``value``, and whether it ``holds``.
        "galaxies": one row for each direction, run and galaxy, as in galaxies.ecsv.
    """

    folder: Path
    content: dict = field(repr=False)
    tables: dict[str, Table] = field(repr=False)

    @property
    def passed(self) -> bool:
        """Whether every requirement holds; True where there are none."""
        return all(each["holds"] for each in self.content["requirements"])

    @property
    def summary(self) -> list[str]:
        """The verdict on each run in each direction, one sentence each."""
        return [
            f"{run['name']}, {direction}: {sentence(self.content, direction, run['name'])}"
            for direction, facts in self.content["directions"].items()
            for run in self.content["runs"]
            if run["name"] not in facts.get("lacks", {})
        ]

    def __str__(self) -> str:
        return "\n".join([*self.summary, f"See {self.folder / 'report.html'}"])


def report_of(folder: Path, content: dict, galaxies: Table) -> Report:
    """Return the report whose files are in a folder.

    Parameters
    ----------
    folder : Path
        The folder.
    content : dict
        The content of report.json.
    galaxies : astropy.table.Table
        The content of galaxies.ecsv.
    """
    tables = {
        "measures": measures_of(content),
        "verdict": verdict_of(content),
        "requirements": requirements_of(content),
    }
    return Report(folder, content, tables | {"galaxies": galaxies})


def measures_of(content: dict) -> Table:
    """Return the table "measures" of a `Report`."""
    names = ("direction", "run", "reference", "measure", "band", "value", "low", "high", "perfect", "unit")
    kinds = (str, str, bool, str, str, float, float, float, float, str)
    rows = []
    for direction, facts in content["directions"].items():
        for measure, by_run in facts["values"].items():
            known = content["measures"][measure]
            for run, numbers in by_run.items():
                for place, band in enumerate(facts["bands"]):
                    ends = [_number(numbers[key][place]) for key in ("value", "low", "high")]
                    is_reference = run in facts["references"]
                    rows.append((direction, run, is_reference, measure, band, *ends, known["perfect"], known["unit"]))
    return _table(rows, names, kinds)


def verdict_of(content: dict) -> Table:
    """Return the table "verdict" of a `Report`."""
    rows = []
    for direction, facts in content["directions"].items():
        for run in content["runs"]:
            judged = facts["verdict"]["rows"].get(run["name"], {"against": {}})
            for other, counts in judged["against"].items():
                rows.append((direction, run["name"], other, *(counts[word] for word in COUNTS), counts["of"]))
    return _table(rows, ("direction", "run", "against", *COUNTS, "of"), (str, str, str, *[int] * (len(COUNTS) + 1)))


def requirements_of(content: dict) -> Table:
    """Return the table "requirements" of a `Report`."""
    names, kinds = ("run", "requirement", "value", "holds", "reason"), (str, str, float, bool, str)
    rows = [
        (each["run"], each["requirement"], _number(each["value"]), each["holds"], each["reason"])
        for each in content["requirements"]
    ]
    return _table(rows, names, kinds)


def _table(rows: list[tuple], names: tuple[str, ...], kinds: tuple[type, ...]) -> Table:
    """Return a table of rows, which may be none."""
    return Table(rows=rows, names=names, dtype=kinds) if rows else Table(names=names, dtype=kinds)


def _number(value: float | None) -> float:
    """Return a number of report.json, in which None stands for NaN."""
    return np.nan if value is None else float(value)
