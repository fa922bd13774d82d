"""Make the model that comes with galtrans: simulate, train, judge, and pack it into the package.

    python benchmarks/ship_model.py --work work --benchmark twin-v1-small --name sdss-cfhtls

Each stage is left out where its result is there, and a training is taken up where it stopped, so the same command goes
on after any interruption. The packed model is a run folder: run.json, one checkpoint whose large tensors are float16,
and model.json, which says what it was trained on, with which figures, and the checksum of its weights.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import torch

from survey_tools.version import VERSION
from translator.checkpoint import Checkpoint, read_checkpoint, save_checkpoint
from translator.facts import read_facts

MODELS = Path(__file__).parents[1] / "translator" / "models"
LARGEST = 8e6  # bytes of a model in the package
SMALL = 4096  # numbers of a tensor that stays float32
EXACT = ("survey_", "operator_")  # networks that stay float32
FIGURES = {  # of the card: measure of the report
    "residual": "signal_residual",
    "Δmag": "aperture_offset",
    "photo-z σ_MAD": "photoz_sigma_mad",
    "68 % interval holds": "coverage_flux_68",
}


def galtrans(*words) -> None:
    """Run a command as a user would."""
    print("$ galtrans", *words, flush=True)
    subprocess.run([sys.executable, "-m", "cli.main", *map(str, words)], check=True)


def packed(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights of a checkpoint in few bytes: large tensors of networks as float16."""
    return {
        name: tensor.contiguous()
        if name.startswith(EXACT) or tensor.numel() <= SMALL
        else tensor.to(torch.float16).contiguous()
        for name, tensor in tensors.items()
    }


def figures_of(report: Path, run: str) -> dict[str, dict[str, float]]:
    """Medians over bands of a few measures, by direction."""
    directions = json.loads(report.read_text())["directions"]
    found = {}
    for name, direction in directions.items():
        values = {
            word: direction["values"][measure][run]["value"]
            for word, measure in FIGURES.items()
            if run in direction["values"].get(measure, {})
        }
        found[name] = {
            word: round(float(np.median([v for v in np.atleast_1d(value) if v is not None])), 4)
            for word, value in values.items()
        }
    return found


def pack(run: Path, name: str, trained: str) -> Path:
    """Put a run into the package, without figures as yet."""
    facts, checkpoint = read_facts(run), read_checkpoint(run)
    folder = MODELS / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copy(run / "run.json", folder / "run.json")
    small = Checkpoint(checkpoint.iteration, checkpoint.step, packed(checkpoint.networks), {})
    save_checkpoint(folder, small)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    if size > LARGEST:
        raise SystemExit(f"{folder} has {size / 1e6:.1f} MB; at most {LARGEST / 1e6:g} go into the package")
    card = {
        "title": "SDSS to CFHTLS and back, told seeing and noise (recipe psf_matched)",
        "bands": "".join(facts.domains["x"].bands),
        "recipe": facts.recipe,
        "iterations": checkpoint.iteration,
        "seed": facts.seed,
        "galtrans": VERSION,
        "trained": trained,
        "licence": "BSD-3-Clause",
        "megabytes": round(size / 1e6, 1),
        "weights_sha256": read_checkpoint(folder).checksum,
        "figures": {},
    }
    write_card(folder, card)
    return folder


def write_card(folder: Path, card: dict) -> None:
    """Write model.json."""
    (folder / "model.json").write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n")


@click.command()
@click.option("--work", type=click.Path(path_type=Path), required=True, help="Folder of sky, run and report.")
@click.option("--benchmark", default="twin-v1-small", show_default=True, help="Sky to train on.")
@click.option("--name", default="sdss-cfhtls", show_default=True, help="Of the model.")
@click.option("--seed", default=0, show_default=True)
def main(work: Path, benchmark: str, name: str, seed: int) -> None:
    """Do what is left to do."""
    work.mkdir(parents=True, exist_ok=True)
    sky, run, report = work / "sky", work / name, work / "report"
    if not (sky / "pairs.ecsv").exists():
        galtrans("simulate", "--benchmark", benchmark, "--out", sky)
    inputs = sky / "sdss.zarr", sky / "cfht.zarr", sky / "pairs.ecsv"
    wanted = sum(read_facts(run).iterations) if (run / "run.json").exists() else None
    done = read_checkpoint(run).iteration if wanted and read_checkpoint(run) else 0
    if wanted is None or done < wanted:
        more = ["--resume"] if wanted else []
        galtrans("train", *inputs, "--recipe", "psf_matched", "--run", run, "--seed", seed, *more)
    folder = pack(run, name, f"simulated galaxies alone, the sky {benchmark}")
    if not (report / "report.json").exists():
        galtrans("evaluate", folder, *inputs, "--truth", sky / "truth", "--out", report)
    card = json.loads((folder / "model.json").read_text())
    write_card(folder, card | {"figures": figures_of(report / "report.json", name)})
    print(f"{folder}: {card['megabytes']} MB, weights {card['weights_sha256']}")


if __name__ == "__main__":
    main()
