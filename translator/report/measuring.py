"""Measure the samples of a report, in several processes."""

import warnings
import zlib
from collections.abc import Container, Iterable
from dataclasses import dataclass

import numpy as np

from survey_tools.tasks import Engine, one_thread_each, run_tasks
from translator.metrics.measure import Curve, Measure, Sample, Statistics, interval, of_selections
from translator.metrics.table import CURVES_OF_POPULATIONS, GROUPS, POPULATIONS
from translator.report.sample_files import FLOOR, Rows, SampleFiles

WORDS = {  # field of a sample to the reason why it may be missing
    "truth": "it needs the noise-free truth (--truth DIR)",
    "again": "it needs the noise-free truth (--truth DIR) of at least two galaxies",
    "draws": "it needs several draws (--draws K) of a model that adds random noise",
    "redshift": "it needs redshifts, and neither catalogue has any",
    "seen": "the input is the image of the richer survey, which cannot be made from the other",
}
COSTS = {"Invention and loss": 3, "Shape": 3, "Noise": 2}  # rough costs of headings; all others cost less
FEW = 4  # processes that whole headings keep busy evenly


@dataclass(frozen=True)
class Measured:
    """The measures of one sample.

    Attributes
    ----------
    values : dict
        Name of a measure to its "value", "low" and "high", each (band,).
    columns : dict
        Name of a statistic to its values (galaxy, band), or (galaxy,) of all bands together; empty unless they were
        asked for.
    misses : dict
        Name of a measure to the error |value − perfect| of each galaxy alone (galaxy,), the median of its bands. Only
        measures with a meaning for a single galaxy are included.
    curves : dict
        Curves by name.
    """

    values: dict[str, dict[str, np.ndarray]]
    columns: dict[str, np.ndarray]
    misses: dict[str, np.ndarray]
    curves: dict[str, Curve]


def measure_all(samples: dict[str, Rows], runs: Container[str], seed: int, engine: Engine) -> dict:
    """Return every measure and curve of every sample.

    A task takes some headings, which share statistics, of some rows, which share targets and truth: all rows, or fewer
    if there are many processes. The longest tasks come first.

    Parameters
    ----------
    samples : dict
        Direction to row to files.
    runs : container of str
        Rows that are runs; only for these, values of each galaxy are kept.
    seed : int
        Seed of the bootstrap.
    engine : Engine
        Where tasks run.

    Returns
    -------
    dict
        Direction to row to `Measured`.
    """
    tasks, places = [], []
    for headings in sharing():
        for direction, rows in samples.items():
            for some in np.array_split(list(rows), min(max(engine.workers // FEW, 1), len(rows))):
                asked = [(headings, *rows[row], row == FLOOR, row in runs, seed) for row in some]
                tasks.append(asked)
                places.append([(direction, row) for row in some])
    if engine.client is not None:
        done = engine.run(_measure_rows, tasks, "measure", "task")
    else:  # processes and not threads, because of Python's global lock
        with one_thread_each():
            done = run_tasks(_measure_rows, [(asked,) for asked in tasks], engine.workers, "measure")
    parts = {}
    for some, found in zip(places, done, strict=True):
        for place, one in zip(some, found, strict=True):
            parts |= {(*place, heading): each for heading, each in one.items()}
    return {
        direction: {row: _together([parts[direction, row, heading] for heading in GROUPS]) for row in rows}
        for direction, rows in samples.items()
    }


def sharing() -> list[tuple[str, ...]]:
    """Return groups of headings whose measures use the same statistics; the costliest group comes first."""
    groups: list[tuple[str, ...]] = []
    for heading, file in GROUPS.items():
        made = {measure.each for measure in file.MEASURES}
        like = [
            each for each in groups if any(measure.each in made for name in each for measure in GROUPS[name].MEASURES)
        ]
        groups = [each for each in groups if each not in like] + [(*(name for each in like for name in each), heading)]
    return sorted(groups, key=lambda each: -max(COSTS.get(name, 0) for name in each))


def _together(parts: list[Measured]) -> Measured:
    """Return the measures of one sample under all headings."""
    whole = Measured({}, {}, {}, {})
    for one in parts:
        for mine, more in ((whole.values, one.values), (whole.misses, one.misses), (whole.curves, one.curves)):
            mine.update(more)
        for name, values in one.columns.items():
            whole.columns[name if name not in whole.columns else f"{name}_of_{next(iter(one.values))}"] = values
    return whole


def families(measures: Iterable[Measure]) -> list[list[Measure]]:
    """Return groups of measures that use the same statistics, which are then computed once."""
    shared: dict = {}
    for measure in measures:
        shared.setdefault((measure.each, measure.needs), []).append(measure)
    return list(shared.values())


def lacking(measure: Measure, sample: Sample) -> str:
    """Return why a measure cannot be made of a sample; "" if it can."""
    missing = [name for name in measure.needs if getattr(sample, name) is None]
    return "; ".join(WORDS.get(name, f"it needs {name}") for name in missing)


def _measure_rows(asked: list[tuple]) -> list[dict[str, Measured]]:
    """Run one task: measure each of several rows."""
    return [_measure_some(*each) for each in asked]


def _measure_some(
    headings: tuple[str, ...], files: SampleFiles, drawn: SampleFiles | None, floor: bool, per_galaxy: bool, seed: int
) -> dict[str, Measured]:
    """Return, by heading, the measures and curves that apply to one row."""
    sample, several = files.open(), drawn and drawn.open()
    halves = floor and "again" not in files.files  # their galaxies are not those of the target
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # warnings of a band in which no galaxy could be measured
        return {heading: _measure_group(heading, sample, several, halves, per_galaxy, seed) for heading in headings}


def _measure_group(
    heading: str, sample: Sample, several: Sample | None, halves: bool, per_galaxy: bool, seed: int
) -> Measured:
    """Return the measures and curves of one heading that apply to one row."""
    found, used = Measured({}, {}, {}, {}), None
    for family in families(GROUPS[heading].MEASURES):
        some = several if "draws" in family[0].needs else sample
        if some is None or lacking(family[0], some) or (halves and family[0].name not in POPULATIONS):
            continue
        used = some
        _measure_family(found, family, some, seed, per_galaxy)
    for function in GROUPS[heading].CURVES if used is not None else ():
        if not halves or function.__name__ in CURVES_OF_POPULATIONS:
            curve = function(used)
            if curve.maps or any(np.isfinite(y).any() for y in curve.y.values()):
                found.curves[function.__name__] = curve
    return found


def _measure_family(found: Measured, family: list[Measure], sample: Sample, seed: int, per_galaxy: bool) -> None:
    """Add the values and intervals of measures that share their statistics."""
    statistics = family[0].each(sample)
    for row in family:
        # each measure has its own generator, so that its interval does not depend on other measures
        random = np.random.default_rng([seed, zlib.crc32(row.name.encode())])
        low, high = interval(row, statistics, random)
        value = np.asarray(row.summary(statistics), float)
        found.values[row.name] = {"value": value, "low": np.asarray(low), "high": np.asarray(high)}
        if per_galaxy and row.alone:
            found.misses[row.name] = _misses(row, statistics)
    shape = len(sample), len(sample.bands)
    columns = {name: each for name, each in statistics.items() if per_galaxy and each.shape == shape}
    found.columns.update(columns if family[0].per_band else {name: each[:, 0] for name, each in columns.items()})


def _misses(row: Measure, statistics: Statistics) -> np.ndarray:
    """Return |value − perfect| of each galaxy alone (galaxy,), the median over bands; NaN if unknown."""
    count = len(next(iter(statistics.values())))
    alone = of_selections(row, statistics, np.arange(count)[:, None])
    return np.nanmedian(np.abs(alone - row.perfect), axis=1)
