"""What each idea of `psf_matched` is worth, and how soon recipes get how far: short trainings judged alike.

    python benchmarks/ablations.py --sky bench --out ablations --seconds 120
    python benchmarks/ablations.py --sky bench --out times --times --seconds 360

Each variant fits the operator and then trains the restoration for so many seconds, from the same seed, on the stores
of `galtrans simulate --benchmark`; it is judged on the test pairs by the residual of its signal against the truth, in
each band and both directions, and by the coverage of the true flux. With --times, one training of each recipe is
judged again and again, and it is said after how many seconds of training it came below 0.15, 0.10 and 0.07 towards
CFHTLS (median of the bands). No variant is chosen by these numbers.
"""

import json
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import click
import numpy as np
import torch

from translator import RECIPES, Turn, observing
from translator.data.conditions import as_tensor, one_centre
from translator.data.reading import read_rows
from translator.evaluation.held_out import open_held_out, truth_images
from translator.images import Batch
from translator.intensity import stretch
from translator.losses import posterior_mean
from translator.metrics.apertures import aperture_flux
from translator.metrics.signal import residual_of
from translator.metrics.spread import held
from translator.recipes import both, moves
from translator.runs.apply import Request, request_like, translate_each
from translator.runs.device import keep_memory
from translator.training.session import TrainingInputs, TrainingSettings, open_session, optimizers_of
from translator.training.update import iterate

OPERATOR = 300  # iterations of the first step
DRAWS = 6  # of each galaxy, for the coverage
LIMITS = (0.15, 0.10, 0.07)  # of the residual, whose times are asked for
EVERY = 20.0  # seconds of training between two judgements
PARTS = 1000  # of a step, in each of which the learning rate is the same


def main_row():
    return RECIPES["psf_matched"]


def unregistered(batch: Batch) -> Batch:
    """The batch as if nothing were known of where the grids of pairs lie."""
    ratio = batch.y.shape[-1] / batch.x.shape[-1]
    plain = as_tensor(one_centre(ratio), batch.alignment.device)
    return replace(batch, alignment=plain.expand_as(batch.alignment))


def unconditioned(batch: Batch) -> Batch:
    """The batch as if nothing were known of seeing, noise and gain."""
    return replace(batch, known={name: known.map(unknown) for name, known in batch.known.items()})


def unknown(values: torch.Tensor) -> torch.Tensor:
    return torch.full_like(values, torch.nan)


def stretched_mean(images, domain: str):
    """The squared difference of stretched images, as the paper's recipes have it, in the place of `posterior_mean`."""
    if observing.leads_down(images.networks, domain):
        return images.target(domain).new_zeros(())
    learnt = observing.scene(images, domain)
    made = images.networks[f"restoration_{domain}"](learnt.told)
    return (((stretch(made) - stretch(learnt.target)) * learnt.weight) ** 2).mean() * 1e4


def with_loss(loss, **more):
    """The row with another loss in its second step."""
    steps = list(main_row().steps)
    steps[1] = replace(steps[1], turns=(Turn(moves("restoration"), both(loss), 1e-3, **more),))
    return replace(main_row(), steps=tuple(steps))


PAIRS_ONLY = partial(posterior_mean, spoiling=observing.Spoiling(paired=1.1))
VARIANTS = {
    "all ideas": {},
    "without registration": {"batch": unregistered, "request": {"alignment": None}},
    "without conditions": {
        "batch": unconditioned,
        "request": dict.fromkeys(("psf_fwhm", "sky_sigma", "gain", "seeing", "wanted_gain")),
    },
    "pairs only": {"row": partial(with_loss, PAIRS_ONLY, largest_norm=1.0)},
    "losses on stretched images": {"row": partial(with_loss, stretched_mean)},
    "float32": {"precision": "float32"},
}


class Judge:
    """The test galaxies of a benchmark sky, and how far translations of them are from the truth."""

    def __init__(self, sky: Path) -> None:
        self.held_out = held = open_held_out(
            sky / "sdss.zarr", sky / "cfht.zarr", sky / "pairs.ecsv", sky / "truth", galaxies=None, seed=0
        )
        self.images = {d: read_rows(held.stores[d], held.rows[d]) for d in "xy"}
        self.truth = {d: truth_images(held, d) for d in "xy"}

    def request(self, domain: str, changes: dict) -> Request:
        """What the report card tells a run, with some of it changed."""
        return replace(request_like(self.held_out.stores, self.held_out.rows, domain, self.images[domain]), **changes)

    def residual(self, session, domain: str, changes: dict, galaxies: int | None = None) -> np.ndarray:
        """(band,) relative residual of the signal against the truth, as the report has it."""
        some, source = slice(galaxies), "yx"["xy".index(domain)]
        request = self.request(domain, changes).take(some)
        made = translate_each(
            run_of(session), self.images[source][some], domain, [0] * len(self.images[source][some]), noise=False,
            request=request,
        )  # fmt: skip
        return residual_of(made, self.truth[domain][some])

    def coverage(self, session, changes: dict, *, draw: bool, galaxies: int = 48) -> float:
        """Share of true fluxes towards CFHTLS within one translation ± its draws' 68 % interval, median of bands."""
        some = slice(galaxies)
        images, request = self.images["x"][some], self.request("y", changes).take(some)
        scale = self.held_out.stores["y"].pixel_scale

        def flux(seed, **how):
            seeds = [seed * 1000 + n for n in range(len(images))]
            return aperture_flux(translate_each(run_of(session), images, "y", seeds, request=request, **how), scale)

        error = flux(0, noise=True) - aperture_flux(self.truth["y"][some], scale)
        drawn = np.stack([flux(k + 1, noise=True, draw=draw) for k in range(DRAWS)]) - flux(0, noise=False)
        return float(np.median(np.nanmean(held(error, drawn, 0.68), axis=0)))


def run_of(session):
    """What translates: the networks as they are, with the facts of the run."""
    return SimpleNamespace(
        networks=session.networks.eval(),
        domains=session.facts.domains,
        device=torch.device("cpu"),
        use=session.recipe.use,
    )


def begin(sky: Path, path: Path, name: str, *, width=None, batch_size=None, precision=None):
    inputs = TrainingInputs(sky / "sdss.zarr", sky / "cfht.zarr", sky / "pairs.ecsv")
    settings = TrainingSettings(name, seed=1, width=width, batch_size=batch_size, precision=precision, data="device")
    return open_session(inputs, path, settings)


def play(session, step, seconds: float, change=lambda batch: batch, judge=None, most: int = 10**9) -> list:
    """Train one step for so many seconds; returns the time and what `judge` gave, every `EVERY` seconds of training."""
    optimizers, spent, done, told, asked = optimizers_of(step, session.networks), 0.0, 0, [], EVERY
    eased = replace(step, iterations=PARTS, decay_every=None)
    while spent < seconds and done < most:
        session.networks.train()
        begun = time.perf_counter()
        part = int(PARTS * max(spent / seconds, done / most))
        batch = change(session.batches.batch(session.iteration))
        iterate(session.model, eased, part, optimizers, batch.map(session.recipe.reads))
        session.iteration += 1
        spent, done = spent + time.perf_counter() - begun, done + 1
        if judge and spent >= asked:
            told.append((spent, done, judge()))
            asked = spent + EVERY
    print(f"  {done} iterations in {spent:.0f} s", flush=True)
    return told


def middle_residual(judge: Judge, session) -> float:
    """The median of the bands towards CFHTLS."""
    return float(np.median(judge.residual(session, "y", {})))


def ablate(sky: Path, out: Path, seconds: float, only: tuple[str, ...], coverage: bool) -> dict:
    """Residuals of every variant; with `coverage`, that of the true flux with and without draws."""
    judge, found = Judge(sky), {}
    for name, change in VARIANTS.items():
        if only and name not in only:
            continue
        row = change.get("row", main_row)()
        RECIPES["psf_matched_variant"] = row
        session = begin(sky, out / name.replace(" ", "_"), "psf_matched_variant", precision=change.get("precision"))
        batch, request = change.get("batch", lambda each: each), change.get("request", {})
        print(name, flush=True)
        play(session, row.steps[0], 1e9, batch, most=OPERATOR)
        play(session, row.steps[1], seconds, batch)
        found[name] = {d: judge.residual(session, d, request).round(4).tolist() for d in "yx"}
        if coverage and name == "all ideas":
            found[name]["coverage without draws"] = judge.coverage(session, request, draw=False)
            play(session, row.steps[2], seconds / 2, batch)
            found[name]["coverage with draws"] = judge.coverage(session, request, draw=True)
        print(name, found[name], flush=True)
    return found


def times(sky: Path, out: Path, seconds: float) -> dict:
    """Seconds of training until the residual towards CFHTLS came below each of `LIMITS`."""
    judge, found = Judge(sky), {}
    for name, width, batch_size in (("psf_matched", None, None), ("demo", None, None), ("two_step", 8, 2)):
        session = begin(sky, out / name, name, width=width, batch_size=batch_size)
        before = time.perf_counter()
        print(name, flush=True)
        if name == "psf_matched":
            play(session, session.recipe.steps[0], 1e9, most=OPERATOR)
        else:
            play(session, session.recipe.steps[0], seconds / 8)
        first = time.perf_counter() - before
        step = session.recipe.steps[1]
        if name == "two_step":  # as networks an eighth as wide can bear
            step = replace(step, turns=tuple(replace(turn, learning_rate=8e-4) for turn in step.turns))
        told = play(
            session, step, seconds if name == "psf_matched" else seconds / 2,
            judge=partial(middle_residual, judge, session),
        )  # fmt: skip
        reached = {limit: next((first + at for at, _, value in told if value <= limit), None) for limit in LIMITS}
        found[name] = {"first step [s]": first, "seconds to": reached, "curve": told}
        print(name, reached, told[-1], flush=True)
    return found


@click.command()
@click.option("--sky", type=click.Path(exists=True, path_type=Path), required=True, help="Folder of the benchmark sky.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to make.")
@click.option("--seconds", type=float, default=120, show_default=True, help="Of training, of the second step.")
@click.option("--times", "timed", is_flag=True, help="Say how soon recipes get how far, in place of the ablations.")
@click.option("--coverage", is_flag=True, help="Train draws too, and say what they do to the coverage of fluxes.")
@click.option("--only", multiple=True, type=click.Choice(list(VARIANTS)), help="Variants; all by default.")
def main(sky: Path, out: Path, seconds: float, timed: bool, coverage: bool, only: tuple[str, ...]) -> None:
    """Train short variants and write OUT/found.json."""
    keep_memory()
    out.mkdir(parents=True, exist_ok=True)
    found = times(sky, out, seconds) if timed else ablate(sky, out, seconds, only, coverage)
    (out / "found.json").write_text(json.dumps(found, indent=1) + "\n")
    for name, values in found.items():
        print(name, values)


if __name__ == "__main__":
    main()
