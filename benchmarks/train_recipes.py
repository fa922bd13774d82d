"""Train every recipe for a while on the simulated sky: seconds an iteration, and loss curves to look at.

Trials with narrow networks, and what a full iteration costs:

    python benchmarks/train_recipes.py --width 8 --batch-size 2 --iterations 200 --out trials
    python benchmarks/train_recipes.py --iterations 3 --out full_width
    python benchmarks/train_recipes.py --device cuda --iterations 500 --precision float32 --precision bf16 --out on_gpu

Stores of 600 simulated objects a survey are made on the first call (`--sky`). In OUT: `results.json`, and `curves.png`
with all losses of all recipes. Any warning of a training ends the script. With two precisions the last column is the
largest relative difference between the losses of the two, over all iterations and terms.
"""

import json
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
from matplotlib.figure import Figure

from translator import RECIPES
from translator.runs.device import PRECISIONS
from translator.training import loop
from translator.training.session import TrainingInputs, TrainingSettings, open_session


@click.command(help=__doc__)
@click.option("--sky", type=click.Path(path_type=Path), default=Path("benchmark-sky"), show_default=True)
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--recipe", "names", multiple=True, type=click.Choice(list(RECIPES)))
@click.option("--width", type=int, default=64, show_default=True)
@click.option("--batch-size", type=int, default=24, show_default=True)
@click.option("--iterations", type=int, required=True, help="Of each step.")
@click.option("--precision", "precisions", multiple=True, type=click.Choice(list(PRECISIONS)), default=["float32"])
@click.option("--device", default="cpu", show_default=True)
def main(sky, out, names, width, batch_size, iterations, precisions, device) -> None:
    """Train all, print the table, and write the curves."""
    warnings.simplefilter("error")
    stores = make_sky(sky)
    out.mkdir(parents=True, exist_ok=True)
    results = {}
    for name in names or [name for name in RECIPES if name != "demo"]:
        RECIPES[name] = replace(RECIPES[name], width=width)
        settings = TrainingSettings(name, iterations, batch_size, seed=1, device=device, checkpoint_every=10**9)
        results[name] = {}
        for precision in precisions:
            results[name][precision] = train(
                stores, out / f"{name}-{precision}", replace(settings, precision=precision)
            )
        click.echo(line(name, results[name], precisions))
        (out / "results.json").write_text(json.dumps(results))
    draw(out / "curves.png", results)


def make_sky(folder: Path) -> dict[str, Path]:
    """Paths of the stores x, y and y regridded, and of the pair table; made by galtrans where they are not there."""
    names = {"x": "sdss.zarr", "y": "cfht.zarr", "same": "cfht64.zarr", "pairs": "pairs.ecsv"}
    paths = {key: folder / name for key, name in names.items()}
    if not folder.exists():
        for words in (
            ["simulate", "--galaxies", 600, "--out", folder],
            ["crossmatch", paths["x"], paths["y"], "--out", paths["pairs"], "--test-size", 40],
            ["regrid", paths["y"], "--like", paths["x"], "--out", paths["same"]],
        ):
            subprocess.run([sys.executable, "-m", "cli.main", *map(str, words)], check=True)
    return paths


def train(stores: dict[str, Path], path: Path, settings: TrainingSettings) -> list[dict]:
    """Train one recipe by the loop of all; for each iteration its step, seconds, and losses by name."""
    recipe = RECIPES[settings.recipe]
    y, pairs = stores["same" if recipe.same_grid else "y"], stores["pairs"] if recipe.reads_pairs else None
    session = open_session(TrainingInputs(stores["x"], y, pairs), path, settings)
    seen = []
    loop.train(session, lambda *found: seen.append(dict(zip(("step", "seconds", "losses"), found, strict=True))))
    return seen


def line(name: str, runs: dict[str, list[dict]], precisions: tuple[str, ...]) -> str:
    """A row of the table: seconds an iteration of each step, the first left out, and how far the precisions differ."""
    cells = [f"{name:28}"]
    for precision in precisions:
        for step in sorted({seen["step"] for seen in runs[precision]}):
            seconds = [seen["seconds"] for seen in runs[precision] if seen["step"] == step]
            cells.append(f"{precision} step {step}: {np.median(seconds[1:] or seconds):.3g} s")
    if len(precisions) > 1:
        one, other = (
            np.array([value for seen in runs[precision] for value in seen["losses"].values()])
            for precision in precisions[:2]
        )
        cells.append(f"largest difference {np.abs(other / one - 1).max():.2g}")
    return " | ".join(cells)


def draw(path: Path, results: dict[str, dict[str, list[dict]]]) -> None:
    """Losses of all recipes, a panel each."""
    rows = -(-len(results) // 2)
    figure = Figure(figsize=(16, 4 * rows), layout="constrained")
    for axis, (name, runs) in zip(figure.subplots(rows, 2, squeeze=False).flat, results.items(), strict=False):
        for seen in runs.values():
            for loss in dict.fromkeys(loss for one in seen for loss in one["losses"]):
                points = [(i, one["losses"][loss]) for i, one in enumerate(seen, 1) if loss in one["losses"]]
                axis.plot(*zip(*points, strict=True), label=loss, linewidth=1)
        axis.set(title=name, yscale="log", xlabel="iteration")
        axis.legend(fontsize=6, ncols=3)
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=80)


if __name__ == "__main__":
    main()
