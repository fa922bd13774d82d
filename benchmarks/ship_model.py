"""Make the model that comes with galtrans: simulate, train, judge, and pack it into the package.

    python benchmarks/ship_model.py --work work --benchmark twin-v1 --also twin-v1-small --name sdss-cfhtls

Each stage is left out where its result is there, and a training is taken up where it stopped, so the same command goes
on after any interruption. The skies and reports lie in WORK/SKY and WORK/report_SKY. The packed model is a run folder:
run.json, one checkpoint whose large tensors are float16, and model.json, which says what it was trained on, with which
figures, and the checksum of its weights.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import torch

from survey_tools import open_store
from survey_tools.twin_sky.benchmark import (
    BENCHMARKS,
    RECORDS,
    Benchmark,
    Record,
    draw_targets,
    fingerprint,
    probe,
    simulate_benchmark,
)
from survey_tools.version import VERSION
from translator.data.reading import read_rows
from translator.evaluation.held_out import open_held_out, truth_images
from translator.images import OTHER
from translator.metrics.signal import residual_of
from translator.model_card import FIGURES
from translator.runs.apply import request_like, translate_each
from translator.runs.checkpoint import Checkpoint, Run, load_run, read_checkpoint, save_checkpoint
from translator.runs.facts import describe_domain, read_facts, write_facts

MODELS = Path(__file__).parents[1] / "translator" / "models"
LARGEST = 8e6  # bytes of a model in the package
TEN = Benchmark(x=2, y=2, train=2, test=10, seed=11)
SMALL = 4096  # numbers of a tensor that stays float32
EXACT = ("survey_", "operator_")  # networks that stay float32


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


def ten_galaxies(folder: Path) -> Path:
    """A sky with ten galaxies that no training has seen, in both surveys and without noise."""
    targets = draw_targets(TEN)
    sums = {survey: probe(survey, targets, TEN.seed) for survey in ("sdss", "cfht")}
    BENCHMARKS["ten"], RECORDS["ten"] = TEN, Record(fingerprint(targets, TEN.seed), sums)
    try:
        simulate_benchmark(folder, "ten")
    finally:
        del BENCHMARKS["ten"], RECORDS["ten"]
    return folder


def residuals_of_ten(run: Run, sky: Path) -> dict[str, list[float]]:
    """By domain that translations land in: the relative residual of the signal against the truth (band,)."""
    stores = sky / "sdss.zarr", sky / "cfht.zarr", sky / "pairs.ecsv", sky / "truth"
    held_out, found = open_held_out(*stores, galaxies=None, seed=0), {}
    for domain, source in OTHER.items():
        images = read_rows(held_out.stores[source], held_out.rows[source])
        target = read_rows(held_out.stores[domain], held_out.rows[domain])
        request = request_like(held_out.stores, held_out.rows, domain, target)
        made = translate_each(run, images, domain, [0] * len(images), noise=False, request=request)
        found[domain] = residual_of(made, truth_images(held_out, domain)).round(4).tolist()
    return found


def pack(run: Path, name: str, trained: str, stores: dict[str, Path]) -> Path:
    """Put a run into the package, without figures as yet; the range of its seeing is that of its stores."""
    facts, checkpoint = read_facts(run), read_checkpoint(run)
    ranges = {domain: describe_domain(open_store(path)).psf_range for domain, path in stores.items()}
    domains = {name: replace(domain, psf_range=ranges[name]) for name, domain in facts.domains.items()}
    folder = MODELS / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write_facts(folder, replace(facts, domains=domains))
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


def sky_of(work: Path, benchmark: str, workers: int) -> tuple[Path, ...]:
    """The stores and pairs of a benchmark sky, which is made where it is not there."""
    sky = work / benchmark
    if not (sky / "pairs.ecsv").exists():
        galtrans("simulate", "--benchmark", benchmark, "--out", sky, "--workers", workers)
    return sky / "sdss.zarr", sky / "cfht.zarr", sky / "pairs.ecsv"


@click.command()
@click.option("--work", type=click.Path(path_type=Path), required=True, help="Folder of sky, run and report.")
@click.option("--benchmark", default="twin-v1", show_default=True, help="Sky to train on, and to judge on.")
@click.option("--also", multiple=True, help="Another sky to judge on.")
@click.option("--workers", default=os.cpu_count(), show_default=True, help="Processes that draw a sky.")
@click.option("--name", default="sdss-cfhtls", show_default=True, help="Of the model.")
@click.option("--seed", default=0, show_default=True)
def main(work: Path, benchmark: str, also: tuple[str, ...], workers: int, name: str, seed: int) -> None:
    """Do what is left to do."""
    work.mkdir(parents=True, exist_ok=True)
    run = work / name
    inputs = sky_of(work, benchmark, workers)
    wanted = sum(read_facts(run).iterations) if (run / "run.json").exists() else None
    done = read_checkpoint(run).iteration if wanted and read_checkpoint(run) else 0
    if wanted is None or done < wanted:
        more = ["--resume"] if wanted else []
        galtrans("train", *inputs, "--recipe", "psf_matched", "--run", run, "--seed", seed, *more)
    folder = pack(run, name, f"simulated galaxies alone, the sky {benchmark}", dict(zip("xy", inputs, strict=False)))
    for sky in (benchmark, *also):
        shown, report = sky_of(work, sky, workers), work / f"report_{sky}"
        if not (report / "report.json").exists():
            galtrans("evaluate", folder, *shown, "--truth", work / sky / "truth", "--out", report)
    card = json.loads((folder / "model.json").read_text())
    ten = work / "ten"
    card["ten_galaxies"] = residuals_of_ten(load_run(folder, "cpu"), ten if ten.exists() else ten_galaxies(ten))
    figures = figures_of(work / f"report_{benchmark}" / "report.json", name)
    write_card(folder, card | {"figures": figures, "figures_of": benchmark})
    print(f"{folder}: {card['megabytes']} MB, weights {card['weights_sha256']}")


if __name__ == "__main__":
    main()
