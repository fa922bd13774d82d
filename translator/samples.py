"""The samples of a report: each run's translations of the held-out galaxies, and what they are held against."""

from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from translator.checkpoint import Run
from translator.held_out import HeldOut, drawn_galaxies, other_noise, reference, resampled
from translator.images import is_random
from translator.sample_files import BILINEAR, FLOOR, ORACLE, Rows, SampleFiles
from translator.translate import translate_batch

BATCH = 16  # images translated at once; part of what a seed means
AT_ONCE = 256  # images interpolated at once


def make_samples(held_out: HeldOut, runs: dict[str, Run], domain: str, folder: Path, draws: int, seed: int) -> Rows:
    """The samples of a direction by row of the report: runs, floor, oracle, bilinear.

    Args:
        held_out: The galaxies.
        runs: By name.
        domain: "x" or "y", where translations land.
        folder: For the arrays.
        draws: How often some galaxies are translated, with other noise each time.
        seed: Of the noise.
    """
    common = reference(held_out, domain, folder / "common")
    some = drawn_galaxies(len(held_out))
    few = common.take(folder / "few", some)
    sample, rows = common.open(), {}
    for name, run in runs.items():
        images = translate_many(run, sample.source, domain, seed)
        several = None
        if draws > 1 and is_random(run.networks, domain):
            several = np.stack([_translate(run, sample.source[some], domain, seed + 1 + k) for k in range(draws)])
        rows[name] = _row(common, few, folder / f"run{len(rows)}", images, several, some)
    rows |= _real(common, few, folder, draws, some, seed)
    there = held_out.stores[domain]
    parts = np.array_split(np.arange(len(sample)), -(-len(sample) // AT_ONCE))
    plain = [resampled(sample.source[part], common.source_scale, there.pixel_scale, there.size) for part in parts]
    rows[BILINEAR] = common.add(folder / BILINEAR, output=np.concatenate(plain)).also(signal="output"), None
    return rows


def translate_many(run: Run, images: np.ndarray, domain: str, seed: int) -> dict[str, np.ndarray]:
    """Translations of (galaxy, band, row, col) [nanomaggy/pixel], with noise ("output") and without ("signal")."""
    output = _translate(run, images, domain, seed, bar=True)
    if not is_random(run.networks, domain):
        return {"output": output, "signal": output}
    return {"output": output, "signal": _translate(run, images, domain, seed, noise=False, bar=True)}


def _translate(run: Run, images: np.ndarray, domain: str, seed: int, *, noise: bool = True, bar: bool = False):
    """Translations of many images, float32, `BATCH` at a time."""
    random, parts = torch.Generator(run.device).manual_seed(seed), []
    what = f"{run.path.name} to {run.domains[domain].survey}{'' if noise else ', no noise'}"
    for start in tqdm(range(0, len(images), BATCH), desc=what, unit="batch", disable=None if bar else True):
        some = images[start : start + BATCH].astype(float)
        parts.append(translate_batch(run, some, domain, random, noise=noise).astype(np.float32))
    return np.concatenate(parts)


def _real(common: SampleFiles, few: SampleFiles, folder: Path, draws: int, some: np.ndarray, seed: int) -> Rows:
    """Real against real: with the truth the floor and the oracle, with real sky one half against the other."""
    sample = common.open()
    if sample.again is None:
        return {FLOOR: (_halves(common, folder / FLOOR, seed), None)} if len(sample) > 3 else {}
    seen = sample.target, sample.truth, sample.sigma
    count, rows = min(draws, len(sample) - 1), {}
    for number, name in enumerate((FLOOR, ORACLE)):
        if name == FLOOR:
            whole, less = common.also(output="again"), few.also(output="again")
        else:
            output = other_noise(*seen, 1)
            whole, less = common.add(folder / name, output=output), few.add(folder / name / "few", output=output[some])
        several = None
        if count > 1:
            drawn = np.stack([other_noise(*seen, 3 + k + number * count, some) for k in range(count)])
            several = less.also(signal="truth").add(folder / name / "few", draws=drawn)
        rows[name] = whole.also(signal="truth"), several
    return rows


def _row(common: SampleFiles, few: SampleFiles, folder: Path, images: dict, draws, some: np.ndarray) -> tuple:
    """A sample of all galaxies, and one of those that were drawn several times."""
    if draws is None:
        return common.add(folder, **images), None
    less = {name: image[some] for name, image in images.items()}
    return common.add(folder, **images), few.add(folder / "few", **less, draws=draws)


def _halves(common: SampleFiles, folder: Path, seed: int) -> SampleFiles:
    """One half of the real images as if it were a translation of the other half, for measures of populations."""
    sample = common.open()
    order = np.random.default_rng(seed).permutation(len(sample))
    half = len(order) // 2
    ours, theirs = order[:half], order[half : 2 * half]
    images = sample.target[ours]
    return common.take(folder, theirs).add(folder, output=images, signal=images)
