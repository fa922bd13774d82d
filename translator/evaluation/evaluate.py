"""Evaluate runs on galaxies that the training never saw, and write the result as a report."""

import json
import logging
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from astropy.table import Table, vstack

from survey_tools.errors import RunError
from survey_tools.files import whole_file
from survey_tools.tasks import Engine
from survey_tools.version import VERSION
from translator.evaluation.held_out import HeldOut, drawn_galaxies, open_held_out
from translator.evaluation.requirements import judge, read_requirements
from translator.evaluation.samples import describe_registration, drawn_name, make_samples, rows_of
from translator.evaluation.tables import Report, report_of
from translator.images import OTHER
from translator.metrics.measure import BOOTSTRAPS, LEVEL
from translator.metrics.shapes import missing
from translator.metrics.table import GROUPS, MEASURES
from translator.report.measuring import Measured, lacking, measure_all
from translator.report.page import write_page
from translator.report.sample_files import BILINEAR, FLOOR, ORACLE, WIENER, Rows, work_folder
from translator.report.verdict import judge_direction, redshifts_of_input
from translator.runs.checkpoint import Run, locate
from translator.runs.facts import fingerprint_of_pairs, read_facts

SCHEMA, SCHEMA_VERSION = "galtrans-report", 1
REFERENCES = {
    FLOOR: "real images compared with real images (the truth with the noise of another real image): no translation can "
    "be expected to do better",
    ORACLE: "a perfect translator: the truth plus noise of the right kind",
    BILINEAR: "the input interpolated onto the pixels of the target: what is possible without a network",
    WIENER: "the best linear filter of the input, from the seeing and noise of both surveys and the mean spectrum of "
    "galaxies: what is possible without learning",
}
HALVES = (
    "real images compared with real images: one half of the real images against the other. This is possible only for "
    "measures of populations; measures of single galaxies have no floor here, because there is no second real image of "
    "each galaxy"
)
NO_DRAWS = "it has no draws in this direction"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EvaluationInputs:
    """The inputs of an evaluation.

    Attributes
    ----------
    runs : tuple of Path
        Folders of the runs.
    x, y : Path
        Both stores.
    pairs : Path
        Their pair table.
    truth : Path, optional
        Folder with the same sky without noise.
    """

    runs: tuple[Path, ...]
    x: Path
    y: Path
    pairs: Path
    truth: Path | None = None


@dataclass(frozen=True)
class EvaluationSettings:
    """The settings of an evaluation.

    Attributes
    ----------
    galaxies : int, optional
        Largest number of galaxies; None for all.
    draws : int
        Number of draws of some galaxies.
    device : str
        Device of the networks.
    seed : int
        Seed of the noise, the choice of galaxies and the bootstrap.
    workers : int
        Number of processes.
    bands : tuple of str, optional
        Bands of the stores to take; by default those of the first run.
    """

    galaxies: int | None = None
    draws: int = 8
    device: str = "auto"
    seed: int = 0
    workers: int = 1
    bands: tuple[str, ...] | None = None


def evaluate(
    inputs: EvaluationInputs,
    settings: EvaluationSettings,
    out: Path,
    requirements: Path | None = None,
    engine: Engine | None = None,
) -> Report:
    """Measure how good translations are; write report.html, report.json and galaxies.ecsv into a folder.

    Parameters
    ----------
    inputs : EvaluationInputs
        Runs, stores, pairs and truth.
    settings : EvaluationSettings
        Settings.
    out : Path
        The folder.
    requirements : Path, optional
        A TOML file of requirements.
    engine : Engine, optional
        Where the work is done; by default on as many workers of this machine as the settings say. The result is the
        same.

    Returns
    -------
    Report
        The folder, and the numbers as tables.

    Raises
    ------
    RequirementError
        If the file of requirements is not TOML, or has an unknown name. Nothing has been done then.
    StoreError
        If a store, the pair table or the truth cannot be used.
    RunError
        If a run cannot be used, or was made for other surveys, bands or pixels.
    """
    engine = engine or Engine(settings.workers)
    with work_folder(out) as work:
        held_out = open_held_out(
            inputs.x,
            inputs.y,
            inputs.pairs,
            inputs.truth,
            galaxies=settings.galaxies,
            seed=settings.seed,
            bands=settings.bands or read_facts(inputs.runs[0]).domains["x"].bands,
            work=work,
            engine=engine,
        )
        located = open_runs(inputs.runs, held_out, settings.device, elsewhere=engine.client is not None)
        runs = rows_of_runs({name: run for name, (_, run) in located.items()})
        domains = {held_out.direction(domain): domain for domain in "yx"}
        wanted = []
        if requirements is not None:
            bands = held_out.stores["x"].bands
            wanted = read_requirements(requirements, domains, MEASURES, bands, (*REFERENCES, *runs))
        samples, flagged = {}, {}
        for name, domain in domains.items():
            how = {"draws": settings.draws, "seed": settings.seed, "engine": engine}
            samples[name], flagged[name] = make_samples(held_out, located, domain, work / name, **how)
        measured = measure_all(samples, runs, settings.seed, engine)
        report = describe(inputs, settings, held_out, runs)
        for name, domain in domains.items():
            facts = describe_direction(held_out, domain, samples[name], measured[name], runs)
            report["directions"][name] = facts | {"flagged": flagged[name]}
        for name, domain in domains.items():
            other = report["directions"][held_out.direction(OTHER[domain])]
            report["directions"][name]["input"] = redshifts_of_input(other)
        report["requirements"] = judge(wanted, report)
        galaxies = tabulate(held_out, domains, measured, runs, report)
        write_page(out / "report.html", report, samples, measured, settings.workers)
    with whole_file(out / "galaxies.ecsv") as temporary:
        galaxies.write(temporary, format="ascii.ecsv")
    with whole_file(out / "report.json") as temporary:
        temporary.write_text(json.dumps(report, indent=1, allow_nan=False) + "\n")
    return report_of(out, report, galaxies)


def name_runs(paths: tuple[Path, ...]) -> dict[str, Path]:
    """Return the runs by the names of their folders, with as many parent folders as are needed to tell them apart."""
    paths = tuple(dict.fromkeys(path.resolve() for path in paths))
    for depth in range(1, 1 + max(len(path.parts) for path in paths)):
        names = ["/".join(path.parts[-depth:]) for path in paths]
        if len(set(names)) == len(names) and not set(names) & set(REFERENCES):
            break
    return dict(zip(names, paths, strict=True))


def open_runs(paths: tuple[Path, ...], held_out: HeldOut, device: str, *, elsewhere: bool) -> dict:
    """Return the runs by name, each as a `RunAt` for tasks and as a loaded `Run`; RunError if one does not fit the
    stores.
    """
    located = {name: locate(path, device, elsewhere=elsewhere) for name, path in name_runs(paths).items()}
    for _, run in located.values():
        check_run(run, held_out)
    return located


def rows_of_runs(runs: dict[str, Run]) -> dict[str, Run]:
    """Return the rows of the report that are runs, in order: each run, and its draws if it has any."""
    return {row: run for name, run in runs.items() for domain in "yx" for row in rows_of(name, run, domain)}


def check_run(run: Run, held_out: HeldOut) -> None:
    """Raise RunError unless the run translates between images like those of the stores."""
    for domain, store in held_out.stores.items():
        known = run.domains[domain]
        wants = known.survey, "".join(known.bands), known.size
        has = store.survey["name"], "".join(store.bands), store.size
        if wants != has:
            words = ["{} in {} on {} pixels".format(*each) for each in (wants, has)]
            raise RunError(
                f"{run.path} reads {words[0]} as its domain {domain}, and {store.path} has {words[1]}; "
                "give the stores that it was trained on, or others like them"
            )


def describe(inputs: EvaluationInputs, settings: EvaluationSettings, held_out: HeldOut, runs: dict[str, Run]) -> dict:
    """Return the report without its numbers: what it was made from, and what the measures are."""
    pairs = fingerprint_of_pairs(held_out.pairs)
    return {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "galtrans_version": VERSION,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": settings.seed,
        "settings": {"galaxies": settings.galaxies, "draws": settings.draws, "bootstraps": BOOTSTRAPS, "level": LEVEL},
        "runs": [_describe_run(name, run, pairs) for name, run in runs.items()],
        "stores": {
            domain: {
                "path": str(store.path),
                "survey": store.survey["name"],
                "title": store.survey["title"],
                "objects": len(store),
                "rows_checksum": store.rows,
                "rows": held_out.rows[domain].tolist(),
            }
            for domain, store in held_out.stores.items()
        },
        "truth": None if inputs.truth is None else str(inputs.truth),
        "pairs": {"path": str(inputs.pairs), "checksum": pairs, "counts": held_out.counts},
        "measures": {
            name: {
                key: getattr(row, key) for key in ("title", "unit", "meaning", "formula", "source", "perfect", "cap")
            }
            | {"needs": list(row.needs), "group": heading}
            for heading, group in GROUPS.items()
            for row in group.MEASURES
            for name in (row.name,)
        },
        "notes": [line for line in (missing(),) if line],
        "directions": {},
    }


def describe_direction(held_out: HeldOut, domain: str, rows: Rows, measured: dict[str, Measured], runs) -> dict:
    """Return all numbers of one direction: by measure and row, with what is left out and why."""
    here, there = held_out.stores[OTHER[domain]], held_out.stores[domain]
    first = next(iter(rows.values()))[0].open()
    some = next((files.open() for _, files in rows.values() if files), first)  # of the galaxies with draws
    left_out = {}
    for name, row in MEASURES.items():
        if lacking(row, first) and lacking(row, some):
            left_out[name] = lacking(row, some if "draws" in row.needs else first)
    values = {}
    for name in MEASURES:
        found = {row: each.values[name] for row, each in measured.items() if name in each.values}
        if found:
            values[name] = {
                row: _numbers(each, found.get(FLOOR), MEASURES[name].perfect) for row, each in found.items()
            }
    curves = {row: {name: _curve(each) for name, each in one.curves.items()} for row, one in measured.items()}
    words = REFERENCES | ({} if held_out.truth else {FLOOR: HALVES})
    perfect = {name: row.perfect for name, row in MEASURES.items()}
    return {
        "from": here.survey["title"],
        "to": there.survey["title"],
        "bands": list(there.bands),
        "pixel_scale": there.pixel_scale,
        "galaxies": len(held_out),
        "drawn": drawn_galaxies(len(held_out)).tolist(),
        "references": {row: words[row] for row in rows if row not in runs},
        "lacks": {row: NO_DRAWS for row in runs if row not in rows},
        "registration": describe_registration(first, held_out.alignment(domain)),
        "left_out": left_out,
        "values": values,
        "verdict": judge_direction({"values": values}, perfect),
        "curves": curves,
    }


def distance(value, low, high, floor: dict, perfect: float) -> np.ndarray:
    """Return how far a value is from its floor, in half widths of both intervals together.

    It is |value − perfect| − |floor − perfect| over the root of the sum of squares of the half widths; 0 if the value
    is better than the floor.

    Parameters
    ----------
    value, low, high : array
        Values and intervals (band,).
    floor : dict
        The same of the floor: "value", "low" and "high".
    perfect : float
        The perfect value.

    Returns
    -------
    array
        Distance (band,); NaN if it is unknown.
    """
    worse = np.abs(value - perfect) - np.abs(floor["value"] - perfect)
    width = np.hypot(high - low, floor["high"] - floor["low"]) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.isfinite(worse) & (width > 0), np.maximum(worse / width, 0), np.where(worse <= 0, 0, np.nan))


def tabulate(held_out: HeldOut, domains: dict[str, str], measured: dict, runs: dict[str, Run], report: dict) -> Table:
    """Return a table with a row for each galaxy, run and direction, and all statistics of single galaxies."""
    tables, some = [], drawn_galaxies(len(held_out))
    names = {domain: held_out.stores[domain].take("object_id", held_out.rows[domain]) for domain in "xy"}
    for direction, domain in domains.items():
        bands = held_out.stores[domain].bands
        for run in runs:
            if run not in measured[direction]:
                continue  # no draws in this direction
            count = len(held_out)
            table = Table({"direction": [direction] * count, "run": [run] * count})
            for each in "xy":
                table[f"{each}_row"], table[f"{each}_object"] = held_out.rows[each], names[each]
            for statistic, values in measured[direction][run].columns.items():
                if len(values) != count:  # only galaxies with draws were measured
                    values, few = np.full((count, *values.shape[1:]), np.nan), values
                    values[some] = few
                each = [statistic] if values.ndim == 1 else [f"{statistic}_{band}" for band in bands]
                for name, column in zip(each, np.atleast_2d(values.T), strict=True):
                    table[name] = column.astype(np.float32)
            tables.append(table)
    table = vstack(tables, metadata_conflicts="silent")
    for name in table.colnames:
        if table[name].dtype.kind == "f" and table.has_masked_columns:
            table[name] = np.ma.filled(table[name], np.nan)
    table.meta = {key: report[key] for key in ("galtrans_version", "date", "seed")}
    return table


def _describe_run(name: str, run: Run, pairs: str) -> dict:
    """Return what a report says of a run, and whether its training did not see the test galaxies."""
    kept = run.facts.pairs == pairs
    if not kept and not name.endswith(drawn_name("")):
        log.warning("%s was not trained with this pair table: it may have seen the test galaxies", run.path)
    return {
        "name": name,
        "path": str(run.path),
        "recipe": run.recipe,
        "iteration": run.iteration,
        "iterations": list(run.facts.iterations),
        "checksum": run.checksum,
        "seed": run.facts.seed,
        "galtrans_version": run.facts.galtrans_version,
        "test_galaxies_unseen": kept,
    }


def _numbers(found: dict[str, np.ndarray], floor: dict | None, perfect: float) -> dict[str, list]:
    """Return value, interval and distance from the floor in each band, for JSON."""
    value, low, high = (np.asarray(found[key], float) for key in ("value", "low", "high"))
    far = np.full(value.shape, np.nan) if floor is None else distance(value, low, high, floor, perfect)
    return {
        key: _plain(each)
        for key, each in zip(("value", "low", "high", "distance"), (value, low, high, far), strict=True)
    }


def _curve(curve) -> dict:
    """Return a curve for JSON, without its maps."""
    return {
        "title": curve.title,
        "x_label": curve.x_label,
        "y_label": curve.y_label,
        "x": _plain(curve.x),
        "y": {label: _plain(values) for label, values in curve.y.items()},
    }


def _plain(values: np.ndarray) -> list:
    """Return lists of numbers with six digits; None for values that are not finite."""
    if np.ndim(values) > 1:
        return [_plain(each) for each in values]
    return [float(f"{each:.6g}") if math.isfinite(each) else None for each in np.asarray(values, float)]
