"""Measure the samples of a report, shared out over processes."""

import warnings
import zlib
from collections.abc import Container, Iterable
from dataclasses import dataclass

import numpy as np

from survey_tools.twin_sky.tasks import run_tasks
from translator.held_out import SampleFiles
from translator.metrics.curve import Curve
from translator.metrics.measure import Measure, Statistics, interval
from translator.metrics.sample import Sample
from translator.metrics.table import GROUPS, POPULATIONS
from translator.samples import FLOOR, Rows

WORDS = {  # field of a sample: why it may be missing
    "truth": "it needs the noise-free truth (--truth DIR)",
    "again": "it needs the noise-free truth (--truth DIR) of at least two galaxies",
    "draws": "it needs several draws of a model that is random (--draws K)",
    "redshift": "it needs redshifts, which neither catalogue has",
}


@dataclass(frozen=True)
class Measured:
    """What came of one sample.

    Attributes:
        values: Measure to "value", "low" and "high", each (band,).
        columns: Name of a statistic to (galaxy, band), where it was wanted of each galaxy.
        misses: Measure to how far each galaxy alone is from perfect (galaxy,), the median of its bands; alike.
        curves: By name.
    """

    values: dict[str, dict[str, np.ndarray]]
    columns: dict[str, np.ndarray]
    misses: dict[str, np.ndarray]
    curves: dict[str, Curve]


def measure_all(samples: dict[str, Rows], runs: Container[str], seed: int, workers: int) -> dict:
    """Every measure and curve of every sample: direction to row to `Measured`; each galaxy's share of the runs only.

    A task is the measures of one heading on one row, which share what they find in the images.
    """
    tasks = [
        (heading, *each, row == FLOOR, row in runs, seed)
        for rows in samples.values()
        for row, each in rows.items()
        for heading in GROUPS
    ]
    places = [(direction, row) for direction, rows in samples.items() for row in rows for _ in GROUPS]
    found = {direction: {row: Measured({}, {}, {}, {}) for row in rows} for direction, rows in samples.items()}
    for (direction, row), one in zip(places, run_tasks(_measure_group, tasks, workers, "measure"), strict=True):
        whole = found[direction][row]
        for mine, more in ((whole.values, one.values), (whole.misses, one.misses), (whole.curves, one.curves)):
            mine.update(more)
        for name, values in one.columns.items():
            whole.columns[name if name not in whole.columns else f"{name}_of_{next(iter(one.values))}"] = values
    return found


def families(measures: Iterable[Measure]) -> list[list[Measure]]:
    """Measures together that are made from the same statistics of galaxies, which are then measured once."""
    shared: dict = {}
    for measure in measures:
        shared.setdefault((measure.each, measure.needs), []).append(measure)
    return list(shared.values())


def lacking(measure: Measure, sample: Sample) -> str:
    """Why a measure cannot be made of a sample; "" where it can."""
    missing = [name for name in measure.needs if getattr(sample, name) is None]
    return "; ".join(WORDS.get(name, f"it needs {name}") for name in missing)


def _measure_group(
    heading: str, files: SampleFiles, drawn: SampleFiles | None, floor: bool, per_galaxy: bool, seed: int
) -> Measured:
    """One task: the measures and curves of one heading that apply to one row, `per_galaxy` with each galaxy's share."""
    found, several = Measured({}, {}, {}, {}), drawn and drawn.open()
    sample, halves = files.open(), floor and "again" not in files.files  # halves: other galaxies than the target's
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # of nothing but NaN: a band in which no galaxy could be measured
        used = None
        for family in families(GROUPS[heading].MEASURES):
            some = several if "draws" in family[0].needs else sample
            if some is None or lacking(family[0], some) or (halves and family[0].name not in POPULATIONS):
                continue
            used = some
            _measure_family(found, family, some, seed, per_galaxy)
        for function in GROUPS[heading].CURVES if used is not None else ():
            found.curves[function.__name__] = function(used)
    return found


def _measure_family(found: Measured, family: list[Measure], sample: Sample, seed: int, per_galaxy: bool) -> None:
    """Add the values of measures that share their statistics, with intervals."""
    statistics = family[0].each(sample)
    for row in family:
        # a generator of each measure's own: its interval does not depend on which others there are
        random = np.random.default_rng([seed, zlib.crc32(row.name.encode())])
        low, high = interval(row, statistics, random)
        value = np.asarray(row.summary(statistics), float)
        found.values[row.name] = {"value": value, "low": np.asarray(low), "high": np.asarray(high)}
        if per_galaxy:
            found.misses[row.name] = _misses(row, statistics)
    shape = len(sample), len(sample.bands)
    found.columns.update({name: each for name, each in statistics.items() if per_galaxy and each.shape == shape})


def _misses(row: Measure, statistics: Statistics) -> np.ndarray:
    """How far the measure of each galaxy alone is from perfect (galaxy,), the median over bands; NaN where unknown."""
    count = len(next(iter(statistics.values())))
    alone = [row.summary({name: value[[i]] for name, value in statistics.items()}) for i in range(count)]
    return np.nanmedian(np.abs(np.asarray(alone, float) - row.perfect), axis=1)
