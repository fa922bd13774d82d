"""The samples of a report: each run's translations of the held-out galaxies, and what they are held against."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from survey_tools.tasks import Engine
from translator.checkpoint import Run
from translator.fakes import noise_seed, translate_each
from translator.held_out import HeldOut, drawn_galaxies, other_noise, reference, resampled
from translator.images import is_random
from translator.loaded import RunAt
from translator.sample_files import BILINEAR, FLOOR, ORACLE, Rows, SampleFiles, begin_array, write_part

PART = 32  # galaxies that a task translates
AT_ONCE = 256  # images interpolated at once
Runs = dict[str, tuple[RunAt, Run]]  # by name: where tasks find it, and the run as this process has it


@dataclass(frozen=True)
class Part:
    """What a task translates: some galaxies of a file of images, into a file from image `first` on."""

    at: RunAt
    domain: str
    source: str
    galaxies: np.ndarray
    seed: int
    noise: bool
    target: str
    first: int


def make_samples(
    held_out: HeldOut, runs: Runs, domain: str, folder: Path, *, draws: int, seed: int, engine: Engine
) -> Rows:
    """The samples of a direction by row of the report: runs, floor, oracle, bilinear.

    Args:
        held_out: The galaxies.
        runs: By name.
        domain: "x" or "y", where translations land.
        folder: For the arrays.
        draws: How often some galaxies are translated, with other noise each time.
        seed: Of the noise, which every galaxy has its own of.
        engine: Where they are translated.
    """
    common = reference(held_out, domain, folder / "common")
    some = drawn_galaxies(len(held_out))
    few = common.take(folder / "few", some)
    sample, rows, asked = common.open(), {}, {}
    everyone = np.arange(len(sample))
    for name, (at, run) in runs.items():
        random = is_random(run.networks, domain)
        wanted = {"output": ([seed], everyone, True)}
        wanted |= {"signal": ([seed], everyone, False)} if random else {}
        wanted |= {"draws": (range(seed + 1, seed + 1 + draws), some, True)} if draws > 1 and random else {}
        place, source = folder / f"run{len(asked)}", common.files["source"]
        asked[name] = {key: _ask(at, domain, source, place / f"{key}.npy", *each) for key, each in wanted.items()}
        for key, (seeds, galaxies, _) in wanted.items():
            shape = (len(seeds), len(galaxies)) if key == "draws" else (len(galaxies),)
            begin_array(place / f"{key}.npy", (*shape, *sample.target.shape[1:]))
    parts = [part for files in asked.values() for each in files.values() for part in each]
    engine.run(_translate_part, parts, f"translate {held_out.direction(domain)}", f"{PART} galaxies")
    for name, files in asked.items():
        rows[name] = _row(common, few, {key: each[0].target for key, each in files.items()}, some)
    rows |= _real(common, few, folder, draws, some, seed)
    there = held_out.stores[domain]
    pieces = np.array_split(everyone, -(-len(sample) // AT_ONCE))
    plain = [resampled(sample.source[piece], common.source_scale, there.pixel_scale, there.size) for piece in pieces]
    rows[BILINEAR] = common.add(folder / BILINEAR, output=np.concatenate(plain)).also(signal="output"), None
    return rows


def _ask(at: RunAt, domain: str, source: str, target: Path, seeds, galaxies: np.ndarray, noise: bool) -> list[Part]:
    """The parts of one file: all galaxies with the first seed, then with the next."""
    return [
        Part(at, domain, source, galaxies[start : start + PART], seed, noise, str(target), turn * len(galaxies) + start)
        for turn, seed in enumerate(seeds)
        for start in range(0, len(galaxies), PART)
    ]


def _translate_part(part: Part) -> None:
    """One task. A task that another one repeats, because its process was lost, writes the same."""
    images = np.load(part.source, mmap_mode="r")[part.galaxies]
    seeds = [noise_seed(part.seed, f"galaxy {galaxy}") for galaxy in part.galaxies]
    made = translate_each(part.at.open(), images, part.domain, seeds, noise=part.noise)
    write_part(Path(part.target), part.first, made.astype(np.float32))


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


def _row(common: SampleFiles, few: SampleFiles, files: dict[str, str], some: np.ndarray) -> tuple:
    """A sample of all galaxies, and one of those that were drawn several times, with a run's translations."""
    files = {"signal": files["output"]} | files
    draws = files.pop("draws", None)
    whole = common.known(files)
    if draws is None:
        return whole, None
    less = {name: np.load(path, mmap_mode="r")[some] for name, path in files.items()}
    return whole, few.add(Path(draws).parent / "few", **less).known({"draws": draws})


def _halves(common: SampleFiles, folder: Path, seed: int) -> SampleFiles:
    """One half of the real images as if it were a translation of the other half, for measures of populations."""
    sample = common.open()
    order = np.random.default_rng(seed).permutation(len(sample))
    half = len(order) // 2
    ours, theirs = order[:half], order[half : 2 * half]
    images = sample.target[ours]
    return common.take(folder, theirs).add(folder, output=images, signal=images)
