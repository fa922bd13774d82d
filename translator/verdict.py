"""The verdict of a report: in how many measures a run is closer to perfect than another row, and in how many farther.

All rows of a direction are compared on one fixed set of measures, so that a row does not gain by measures that it
cannot have. A row is a run or a reference, such as "bilinear"; its name is not looked into.
"""

import math
from collections.abc import Iterable

import numpy as np

from translator.sample_files import FLOOR, ORACLE

YARDSTICKS = (FLOOR, ORACLE)  # references that show what is possible; no translation competes with them
AT_FLOOR, WITHIN = 1.0, 3.0  # distances from the floor that are counted [half widths of both intervals together]
COUNTS = ("closer", "farther", "alike", "lost")
FEW_RUNS = 3  # up to which a sentence compares runs with each other too
INPUT = "photoz_target_"  # measures of the redshifts that real images give, and what they are called for translations
OF_INPUT = "photoz_"
RULE = (
    "A run is closer than another row in a measure where its |value − perfect|, the median over bands, is smaller by "
    "more than the half widths of both intervals in quadrature, and farther where it is larger by more than that; in "
    "between they are alike, and a measure that could not be made for a row, in half of its bands or more, is lost for "
    "that row."
)


def middle(values: Iterable[float | None]) -> float | None:
    """The median of the numbers that are there; None where none is."""
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else None


def distances(facts: dict, row: str) -> dict[str, float]:
    """Measure to how far a row of a direction is from the floor, the median over bands; those that have a floor."""
    far = {name: middle(rows[row]["distance"]) for name, rows in facts["values"].items() if row in rows}
    return {name: value for name, value in far.items() if value is not None}


def fixed_set(values: dict[str, dict]) -> list[str]:
    """The measures of which at least one row, run or reference, has a number in at least one band."""
    return [name for name, rows in values.items() if _bands(rows)]


def errors(rows: dict[str, dict], perfect: float) -> dict[str, tuple[float, float]]:
    """Each row's |value - perfect| and half the width of its interval, both the median over bands.

    The bands are those in which at least one of the rows has a value. A row without a value in one of them is
    infinitely far off there; so its error is infinite, and the measure is lost for it, where it lacks half of them.

    Args:
        rows: Row to "value", "low" and "high", a list of numbers or None for each band.
        perfect: The perfect value.
    """
    bands, found = _bands(rows), {}
    for row, numbers in rows.items():
        off = [math.inf if numbers["value"][k] is None else abs(numbers["value"][k] - perfect) for k in bands]
        ends = [(numbers["low"][k], numbers["high"][k]) for k in bands]
        half = middle((high - low) / 2 for low, high in ends if None not in (low, high))
        found[row] = float(np.median(off)) if off else math.inf, half or 0.0
    return found


def compare(one: tuple[float, float], other: tuple[float, float], yardstick: bool = False) -> str:
    """Whether the first of two rows is "closer", "farther" or "alike", or has "lost" a measure; arguments as `errors`.

    What is lost for a `yardstick` says nothing of the other: that counts as alike.
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
    """The verdict on every row of a direction, as report.json has it.

    Args:
        facts: What report.json says of the direction, with its "values".
        perfect: Measure to its perfect value.

    Returns:
        "measures": The fixed set.
        "rows": Row to "against", and to "at_floor" and "within_3" of "of" measures that are within 1 and 3 half widths
            of their floor. "against" has, for each other row, how many measures are "closer", "farther", "alike" and
            "lost" of "of", and which ones are farther ("farther_in").
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
    """What the input's real images give: measures of redshifts to their numbers; empty where nothing is known.

    In the opposite direction, `other`, the input survey is the target. Its real images of the same galaxies were given
    to the same estimator there, which also had learnt from real images of that survey.
    """
    of_target = {name: rows for name, rows in other["values"].items() if name.startswith(INPUT) and rows}
    return {name.replace(INPUT, OF_INPUT): next(iter(rows.values())) for name, rows in of_target.items()}


def rivals(report: dict, direction: str, run: str) -> list[str]:
    """The rows that a run's sentence names: references but for `YARDSTICKS`, and other runs where these are few."""
    runs = [each["name"] for each in report["runs"]]
    others = [name for name in runs if name != run] if len(runs) <= FEW_RUNS else []
    references = [name for name in report["directions"][direction]["references"] if name not in YARDSTICKS]
    return references + others


def sentence(report: dict, direction: str, run: str) -> str:
    """The verdict on a run in words: "closer to the truth than bilinear in 61 of 82 measures, farther in 9"."""
    lacks = report["directions"][direction].get("lacks", {})
    if run in lacks:
        return lacks[run]
    verdict = report["directions"][direction]["verdict"]["rows"].get(run)
    known = [name for name in rivals(report, direction, run) if verdict and name in verdict["against"]]
    if not known:
        return "nothing was measured that it could be compared in"
    parts, goal = [], "the truth" if report["truth"] else "the real images"
    for name in known:
        counts = verdict["against"][name]
        start, end = (f"closer to {goal} ", " measures") if name == known[0] else ("", "")
        parts.append(f"{start}than {name} in {counts['closer']} of {counts['of']}{end}, farther in {counts['farther']}")
    lost = verdict["against"][known[0]]["lost"]
    return "; ".join(parts) + (f"; {lost} could not be measured" if lost else "")


def _bands(rows: dict[str, dict]) -> list[int]:
    """Places of the bands in which at least one row has a value."""
    lists = [numbers["value"] for numbers in rows.values()]
    return [k for k, each in enumerate(zip(*lists, strict=True)) if any(value is not None for value in each)]


def _count(words: dict[str, str]) -> dict:
    counts = {word: sum(each == word for each in words.values()) for word in COUNTS}
    return counts | {"of": len(words), "farther_in": [name for name, each in words.items() if each == "farther"]}
