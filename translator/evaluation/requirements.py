"""Requirements on a report, which a user writes in TOML, and which of them fail.

[sdss_to_cfht]
aperture_offset.r = { min = -0.02, max = 0.02 }   # one band [mag]
noise_amplitude = { min = -0.05, max = 0.05 }     # every band [dex]

[sdss_to_cfht.verdict]                            # numbers of measures
bilinear = { min_closer = 55, max_farther = 10 }  # against the reference "bilinear"
"""

import math
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

LIMITS = ("min", "max")
VERDICT = "verdict"  # the table of a direction with limits on the verdict instead of a measure
COUNTS = ("min_closer", "max_farther", "max_lost")
EXAMPLE = "write lines such as `aperture_offset.r = { max = 0.02 }` under [sdss_to_cfht]"


class RequirementError(ValueError):
    """A file of requirements is wrong in itself, whatever the numbers are."""


@dataclass(frozen=True)
class Requirement:
    """A limit on one number of a report.

    Attributes
    ----------
    direction : str
        Direction, such as "sdss_to_cfht".
    measure : str
        Name of a measure.
    band : str
        Band.
    kind : str
        "min" or "max".
    limit : float
        The limit, which is allowed itself.
    """

    direction: str
    measure: str
    band: str
    kind: str
    limit: float

    def holds(self, value: float | None) -> bool:
        """Return whether a value is within the limit; a missing value is not."""
        if value is None or not math.isfinite(value):
            return False
        return value <= self.limit if self.kind == "max" else value >= self.limit

    def __str__(self) -> str:
        return f"{self.direction} {self.measure}.{self.band} {_sign(self.kind)} {self.limit:g}"

    def find(self, report: dict, run: str) -> tuple[float | None, str]:
        """Return the limited number of a run, or None, and the reason for None."""
        facts = report["directions"][self.direction]
        numbers = facts["values"].get(self.measure, {}).get(run)
        value = None if numbers is None else numbers["value"][facts["bands"].index(self.band)]
        return value, facts["left_out"].get(self.measure, "" if value is not None else "it has no value here")


@dataclass(frozen=True)
class VerdictRequirement:
    """A limit on a count of the verdict.

    Attributes
    ----------
    direction : str
        Direction.
    row : str
        The row that runs are compared with.
    kind : str
        One of `COUNTS`.
    limit : float
        The limit.
    """

    direction: str
    row: str
    kind: str
    limit: float

    def holds(self, value: float | None) -> bool:
        """Return whether a count is within the limit; a missing count is not."""
        if value is None:
            return False
        return value <= self.limit if self.kind.startswith("max") else value >= self.limit

    def __str__(self) -> str:
        sign, word = _sign(self.kind), self.kind.partition("_")[2]
        return f"{self.direction} {VERDICT}: measures {word} against {self.row} {sign} {self.limit:g}"

    def find(self, report: dict, run: str) -> tuple[float | None, str]:
        """Return the limited count of a run, or None, and the reason for None."""
        rows = report["directions"][self.direction][VERDICT]["rows"]
        counts = rows.get(run, {"against": {}})["against"].get(self.row)
        if counts is None:
            return None, f"this direction has no row {self.row} to compare with"
        return counts[self.kind.partition("_")[2]], ""


def read_requirements(
    path: Path, directions: Iterable[str], measures: Iterable[str], bands: Iterable[str], rows: Iterable[str] = ()
) -> list[Requirement | VerdictRequirement]:
    """Read a TOML file of requirements.

    Parameters
    ----------
    path : Path
        The file.
    directions, measures, bands : iterable of str
        Known names.
    rows : iterable of str
        Runs and references that a verdict may compare with.

    Raises
    ------
    RequirementError
        If the file is not TOML, or has an unknown direction, measure, band, row or limit.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # not TOML, or not UTF-8
        raise RequirementError(f"{path} cannot be read as TOML: {error}; {EXAMPLE}") from error
    bands, rows, measures, found = tuple(bands), tuple(rows), (*measures, VERDICT), []
    for direction, asked in _known(path, "", document, directions, "direction"):
        for measure, given in _known(path, direction, asked, measures, "measure"):
            where = f"{direction}.{measure}"
            if measure == VERDICT:
                found += _read_verdict(path, direction, given, rows)
                continue
            whole = isinstance(given, dict) and given and set(given) <= set(LIMITS)
            by_band = dict.fromkeys(bands, given) if whole else dict(_known(path, where, given, bands, "band"))
            for band, limits in by_band.items():
                for kind, limit in _known(path, f"{where}.{band}", limits, LIMITS, "limit"):
                    found.append(Requirement(direction, measure, band, kind, _number(path, where, limit)))
    if not found:
        raise RequirementError(f"{path} states no requirement; {EXAMPLE}")
    return found


def _read_verdict(path: Path, direction: str, given: object, rows: Iterable[str]) -> list[VerdictRequirement]:
    """Return the limits on the verdict of one direction."""
    found, where = [], f"{direction}.{VERDICT}"
    for row, limits in _known(path, where, given, rows, "row"):
        for kind, limit in _known(path, f"{where}.{row}", limits, COUNTS, "limit"):
            found.append(VerdictRequirement(direction, row, kind, _number(path, f"{where}.{row}", limit)))
    return found


def judge(requirements: list[Requirement | VerdictRequirement], report: dict) -> list[dict]:
    """Return each requirement for every run of a report, and whether it holds.

    References are not judged, and no run is judged against itself. A row that a direction lacks, such as the draws of a
    run without draws there, is not judged in it.

    Parameters
    ----------
    requirements : list
        The requirements.
    report : dict
        Content of report.json.

    Returns
    -------
    list of dict
        "run", "requirement", "value", "holds", and "reason" for a missing value.
    """
    judged = []
    for each in requirements:
        lacks = report["directions"][each.direction].get("lacks", {})
        for run in report["runs"]:
            if run["name"] in lacks:
                continue
            if isinstance(each, VerdictRequirement) and each.row == run["name"]:
                continue
            value, reason = each.find(report, run["name"])
            judged.append(
                {
                    "run": run["name"],
                    "requirement": str(each),
                    "value": value,
                    "holds": each.holds(value),
                    "reason": reason,
                }
            )
    return judged


def describe_failure(judged: dict) -> str:
    """Return one line on a requirement that fails, with value and limit."""
    value = f"is {judged['value']:.4g}" if judged["value"] is not None else f"was not measured: {judged['reason']}"
    return f"{judged['run']}: {judged['requirement']} fails: it {value}"


def _sign(kind: str) -> str:
    """Return the sign of a limit."""
    return "<=" if kind.startswith("max") else ">="


def _known(path: Path, where: str, given: object, known: Iterable[str], word: str) -> list[tuple[str, object]]:
    """Return the items of a table after a check of their names."""
    known = tuple(known)
    if not isinstance(given, dict) or not given:
        raise RequirementError(f"{path}: {where or 'the file'} is not a table of {word}s; {EXAMPLE}")
    for name in given:
        if name not in known:
            within = f" of {where}" if where else ""
            raise RequirementError(f"{path}: no {word}{within} is called {name!r}; known are {', '.join(known)}")
    return list(given.items())


def _number(path: Path, where: str, limit: object) -> float:
    """Return a limit as a number; RequirementError if it is none."""
    if isinstance(limit, bool) or not isinstance(limit, int | float) or not math.isfinite(limit):
        raise RequirementError(f"{path}: the limit of {where} is {limit!r}; it must be a number")
    return float(limit)
