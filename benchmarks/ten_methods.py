"""Train every recipe with one budget on a benchmark sky, and write the report on all of them.

    galtrans simulate --benchmark twin-v1-small --out bench
    python benchmarks/ten_methods.py --sky bench --out ten --width 8 --batch-size 2 --iterations 1500 --faster 8

and on a GPU, at full width, on the whole sky:

    galtrans simulate --benchmark twin-v1 --out bench
    python benchmarks/ten_methods.py --sky bench --out ten --iterations 6000 --device cuda --minutes 9

With --minutes a call stops after so many, saves where it is and exits with 75; the same command goes on. To the end:

    while python benchmarks/ten_methods.py … --minutes 9; [ $? -eq 75 ]; do :; done

In OUT: a folder a run in `runs`; `seconds.json`, the median seconds an iteration of each step of each recipe; and
`report` (models that translate to CFHTLS's own pixels) and `report_regridded` (those on CFHTLS images regridded to 64
pixels a side) of `galtrans evaluate`. The regridded stores, truth included, are made where they are not: in SKY.
"""

import json
import os
import shutil
import signal
import sys
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import click
import numpy as np

from survey_tools.build.regridded import regrid_store
from survey_tools.errors import RunError
from translator import RECIPES, Recipe
from translator.runs.facts import read_facts
from translator.training import loop
from translator.training.session import TrainingInputs, TrainingSettings, open_session

METHODS = [name for name in RECIPES if name != "demo"]
TIME_IS_UP = 75  # exit status: run the same command again
REGRIDDED = "cfht64.zarr", "truth64"  # in the folder of the sky
SEED = 1


class TimeIsUpError(Exception):
    """The call has lasted as long as it may."""


@click.command(help=__doc__)
@click.option("--sky", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--recipe", "names", multiple=True, type=click.Choice(METHODS), help="Default: all but demo.")
@click.option("--width", type=int, default=64, show_default=True)
@click.option("--batch-size", type=int, default=24, show_default=True)
@click.option("--iterations", type=int, required=True, help="Of each step.")
@click.option("--faster", type=float, default=1.0, show_default=True, help="What all learning rates are multiplied by.")
@click.option("--device", default="auto", show_default=True)
@click.option("--minutes", type=float, default=float("inf"), help="Training of one call at most.")
@click.option("--galaxies", type=int, help="Test galaxies of the report; all by default.")
@click.option("--draws", type=int, default=8, show_default=True)
@click.option("--workers", type=int, default=os.cpu_count(), show_default="all cores")
@click.option(
    "--also",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    help="A run trained otherwise, to be reported too.",
)
@click.option("--only", type=click.Choice(["train", "report"]), help="Half of the work, the other on another machine.")
def main(
    sky, out, names, width, batch_size, iterations, faster, device, minutes, galaxies, draws, workers, also, only
) -> None:
    end = time.monotonic() + 60 * minutes
    names = names or METHODS
    for name in METHODS:
        RECIPES[name] = learning_faster(RECIPES[name], faster)
    if any(RECIPES[name].same_grid for name in names):
        regrid(sky, workers)
    remember(out, {"batch_size": batch_size, "iterations": iterations, "faster": faster})
    try:
        for name in names if only != "report" else ():
            settings = TrainingSettings(name, iterations, batch_size, SEED, device, checkpoint_every=500, width=width)
            train(inputs_of(sky, name), out / "runs" / name, settings, end)
        for same_grid, folder in ((False, "report"), (True, "report_regridded")) if only != "train" else ():
            runs = [*(out / "runs" / name for name in names), *also]
            runs = [run for run in runs if RECIPES[read_facts(run).recipe].same_grid == same_grid]
            if runs and not (out / folder / "report.json").exists():
                check_time(end)
                report(
                    runs,
                    sky,
                    out / folder,
                    {"draws": draws, "galaxies": galaxies, "device": device, "workers": workers},
                )
    except TimeIsUpError:
        click.echo("time is up: run the same command again to go on")
        sys.exit(TIME_IS_UP)


def learning_faster(recipe: Recipe, factor: float) -> Recipe:
    """The recipe with other learning rates. Narrow networks can bear larger ones, in proportion to 1 / width."""
    steps = [
        replace(step, turns=tuple(replace(turn, learning_rate=turn.learning_rate * factor) for turn in step.turns))
        for step in recipe.steps
    ]
    return replace(recipe, steps=tuple(steps))


def remember(out: Path, budget: dict[str, float]) -> None:
    """Write down the budget of the runs of a folder: they cannot be gone on with on another."""
    path = out / "budget.json"
    out.mkdir(parents=True, exist_ok=True)
    if path.exists() and json.loads(path.read_text()) != budget:
        raise click.UsageError(f"the runs of {out} have the budget {path.read_text()}; choose another --out")
    path.write_text(json.dumps(budget))


def regrid(sky: Path, workers: int) -> None:
    """Make the regridded stores of a sky, with and without noise, where they are not."""
    store, truth = (sky / name for name in REGRIDDED)
    regrid_store(sky / "cfht.zarr", sky / "sdss.zarr", store, workers=workers)
    truth.mkdir(exist_ok=True)
    regrid_store(sky / "truth" / "cfht.zarr", sky / "sdss.zarr", truth / "cfht.zarr", workers=workers)
    if not (truth / "sdss.zarr").exists():
        part = truth / "sdss.part"
        shutil.rmtree(part, ignore_errors=True)
        shutil.copytree(sky / "truth" / "sdss.zarr", part)
        part.rename(truth / "sdss.zarr")


def inputs_of(sky: Path, name: str) -> TrainingInputs:
    """The stores and pairs that a recipe trains on; one that reads no pairs leaves the same objects out by them."""
    return TrainingInputs(
        sky / "sdss.zarr", sky / (REGRIDDED[0] if RECIPES[name].same_grid else "cfht.zarr"), sky / "pairs.ecsv"
    )


def train(inputs: TrainingInputs, path: Path, settings: TrainingSettings, end: float) -> None:
    """Begin, or go on with, one run; TimeIsUpError, with the run saved, where `end` comes first."""
    check_time(end)
    begun = (path / "run.json").exists()
    session = open_session(inputs, path, settings, resume=begun)
    total = sum(session.facts.iterations)
    if begun and session.iteration == total:
        return
    click.echo(f"{settings.recipe}: {total} iterations of {session.facts.batch_size}, from {session.iteration}")
    seconds = defaultdict(list)

    def after(step, spent, losses):
        seconds[str(step)].append(spent)
        if time.monotonic() > end:
            signal.raise_signal(signal.SIGTERM)  # as a user would stop it: it saves, and raises RunError

    try:
        loop.train(session, after)
    except RunError:
        if session.iteration < total and time.monotonic() > end:
            raise TimeIsUpError from None
        if session.iteration < total:
            raise
    finally:
        note_seconds(path, seconds)


def note_seconds(path: Path, seconds: dict[str, list[float]]) -> None:
    """Write the median seconds an iteration of each step took, the first of a call left out, to OUT/seconds.json."""
    table = path.parents[1] / "seconds.json"
    known = json.loads(table.read_text()) if table.exists() else {}
    medians = {step: float(f"{np.median(values[1:]):.4g}") for step, values in seconds.items() if len(values) > 1}
    known[path.name] = known.get(path.name, {}) | medians
    table.write_text(json.dumps(known, indent=1))


def check_time(end: float) -> None:
    """TimeIsUpError where `end` has come."""
    if time.monotonic() > end:
        raise TimeIsUpError


def report(runs: list[Path], sky: Path, out: Path, options: dict) -> None:
    """Call `galtrans evaluate` for runs on one grid."""
    from cli.evaluate import evaluate

    regridded = RECIPES[read_facts(runs[0]).recipe].same_grid
    store, truth = REGRIDDED if regridded else ("cfht.zarr", "truth")
    words = [*runs, sky / "sdss.zarr", sky / store, sky / "pairs.ecsv", "--truth", sky / truth, "--out", out]
    words += [word for name, value in options.items() if value is not None for word in (f"--{name}", value)]
    click.echo("galtrans evaluate " + " ".join(map(str, words)))
    evaluate.main([str(word) for word in words], standalone_mode=False)


if __name__ == "__main__":
    main()
