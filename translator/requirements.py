"""Requirements on a report, as a user writes them in TOML, and which of them fail.

[sdss_to_cfht]
aperture_offset.r = { min = -0.02, max = 0.02 }   # one band [mag]
noise_amplitude = { min = -0.05, max = 0.05 }     # every band [dex]
"""

import math
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

LIMITS = ("min", "max")
EXAMPLE = "write lines such as `aperture_offset.r = { max = 0.02 }` under [sdss_to_cfht]"


class RequirementError(ValueError):
    """A file of requirements that is wrong in itself, whatever the numbers are."""


@dataclass(frozen=True)
class Requirement:
    """A limit on one number: direction, measure, band, "min" or "max", and the limit, which itself is allowed."""

    direction: str
    measure: str
    band: str
    kind: str
    limit: float

    def holds(self, value: float | None) -> bool:
        """Whether a value is within the limit; one that is missing is not."""
        if value is None or not math.isfinite(value):
            return False
        return value <= self.limit if self.kind == "max" else value >= self.limit

    def __str__(self) -> str:
        return f"{self.direction} {self.measure}.{self.band} {'<=' if self.kind == 'max' else '>='} {self.limit:g}"


def read_requirements(
    path: Path, directions: Iterable[str], measures: Iterable[str], bands: Iterable[str]
) -> list[Requirement]:
    """The requirements of a TOML file.

    Raises:
        RequirementError: The file is no TOML, or names a direction, measure, band or limit that there is not.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # not TOML, or not UTF-8
        raise RequirementError(f"{path} cannot be read as TOML: {error}; {EXAMPLE}") from error
    bands, found = tuple(bands), []
    for direction, rows in _known(path, "", document, directions, "direction"):
        for measure, given in _known(path, direction, rows, measures, "measure"):
            where = f"{direction}.{measure}"
            whole = isinstance(given, dict) and given and set(given) <= set(LIMITS)
            by_band = dict.fromkeys(bands, given) if whole else dict(_known(path, where, given, bands, "band"))
            for band, limits in by_band.items():
                for kind, limit in _known(path, f"{where}.{band}", limits, LIMITS, "limit"):
                    found.append(Requirement(direction, measure, band, kind, _number(path, where, limit)))
    if not found:
        raise RequirementError(f"{path} states no requirement; {EXAMPLE}")
    return found


def judge(requirements: list[Requirement], report: dict) -> list[dict]:
    """Each requirement for every run of a report: run, requirement, value, whether it holds, and why no value is there.

    `report` is the content of report.json; the runs are judged, not floors or ceilings.
    """
    judged = []
    for each in requirements:
        direction = report["directions"][each.direction]
        place = direction["bands"].index(each.band)
        for run in report["runs"]:
            number = direction["values"].get(each.measure, {}).get(run["name"])
            value = None if number is None else number["value"][place]
            reason = direction["left_out"].get(each.measure, "" if value is not None else "it has no value here")
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
    """One line on a requirement that fails, with value and limit."""
    value = f"is {judged['value']:.4g}" if judged["value"] is not None else f"was not measured: {judged['reason']}"
    return f"{judged['run']}: {judged['requirement']} fails: it {value}"


def _known(path: Path, where: str, given: object, known: Iterable[str], word: str) -> list[tuple[str, object]]:
    """The items of a table whose names are known; RequirementError where it is none, or a name is not."""
    known = tuple(known)
    if not isinstance(given, dict) or not given:
        raise RequirementError(f"{path}: {where or 'the file'} is no table of {word}s; {EXAMPLE}")
    for name in given:
        if name not in known:
            within = f" of {where}" if where else ""
            raise RequirementError(f"{path}: no {word}{within} is called {name!r}; known are {', '.join(known)}")
    return list(given.items())


def _number(path: Path, where: str, limit: object) -> float:
    if isinstance(limit, bool) or not isinstance(limit, int | float) or not math.isfinite(limit):
        raise RequirementError(f"{path}: the limit of {where} is {limit!r}; it must be a number")
    return float(limit)
