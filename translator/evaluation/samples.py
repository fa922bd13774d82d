"""The samples of a report: translations of the held-out galaxies by each run, and the references."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.fft

from survey_tools.tasks import Engine
from translator.data.conditions import usual_seeing
from translator.data.reading import read_rows
from translator.evaluation.held_out import HeldOut, drawn_galaxies, other_noise, reference
from translator.evaluation.seen import add_seen, operator_networks
from translator.evaluation.wiener import FilterConditions, by_seeing, learn_spectrum, observed, restored
from translator.images import OTHER
from translator.metrics.autocorrelation import noise_correlation, noise_power
from translator.metrics.measure import Sample, Statistics
from translator.metrics.signal import CERTAIN, relative_residual
from translator.report.sample_files import BILINEAR, FLOOR, ORACLE, WIENER, Rows, SampleFiles, begin_array, write_part
from translator.runs.apply import Request, noise_seed, request_like, resampled, translate_each
from translator.runs.checkpoint import Run, RunAt

SHIFTED_AT_ONCE = 32  # galaxies in memory
NO_OFFSET = 1e-3  # largest offset of grids that have one centre [pixel]


def describe_registration(sample: Sample, alignment: np.ndarray) -> dict:
    """Return the offsets of the grids, and the signal residual of a perfect translation that ignores them.

    Parameters
    ----------
    sample : Sample
        Its truth, or else its target, is shifted by the offset of each pair.
    alignment : array
        Alignment from the grids of the inputs to those of the targets (galaxy, 2, 3), as in
        `networks.observation_operator`.

    Returns
    -------
    dict
        "offset": the median length [pixel of the target]; "residual" (band,), None where unknown; "sentence".
    """
    offsets = alignment[..., 2]
    length = float(np.median(np.hypot(*offsets.T)))
    residual = relative_residual(shifted_powers(sample, offsets))
    known = [float(f"{value:.4g}") if np.isfinite(value) else None for value in residual]
    return {"offset": round(length, 4), "residual": known, "sentence": _sentence(length, known, sample)}


def shifted_powers(sample: Sample, offsets: np.ndarray) -> Statistics:
    """Return residual and light of each galaxy (galaxy, band) if its light is moved by an offset (galaxy, 2) [pixel].

    They are computed in Fourier space, without the blur of an interpolation: Σ |exp(−2πiko) − 1|² |L|² and Σ |L|². |L|²
    is the power of the truth, or else that of the real image minus that of its noise; NaN for a galaxy that the noise
    hides.
    """
    light = sample.target if sample.truth is None else sample.truth
    rows, cols = light.shape[-2:]
    noise = np.zeros((len(sample.bands), rows, cols // 2 + 1))
    if sample.truth is None:
        noise = noise_power(noise_correlation(sample.target, sample.sigma), rows, cols) * rows * cols
    along, across = scipy.fft.fftfreq(rows)[:, None], scipy.fft.rfftfreq(cols)
    times = np.full(cols // 2 + 1, 2.0)  # frequencies of the plane that one of the half plane stands for
    times[0] = 1.0
    if cols % 2 == 0:
        times[-1] = 1.0
    found: dict[str, list[np.ndarray]] = {"residual_power": [], "light_power": []}
    for start in range(0, len(light), SHIFTED_AT_ONCE):
        some = slice(start, start + SHIFTED_AT_ONCE)
        sigma = np.zeros(sample.sigma[some].shape) if sample.truth is not None else sample.sigma[some]
        power = np.abs(scipy.fft.rfft2(np.asarray(light[some], float))) ** 2 - sigma[..., None, None] ** 2 * noise
        phase = along * offsets[some, 0, None, None] + across * offsets[some, 1, None, None]
        lost = 4 * np.sin(np.pi * phase) ** 2
        sums = [(power * weight * times).sum(axis=(-2, -1)) / (rows * cols) for weight in (lost[:, None], 1.0)]
        least = CERTAIN * 2 * sigma**2 * np.sqrt(2 * rows * cols)
        hidden = sums[1] <= least
        for name, value in zip(found, sums, strict=True):
            found[name].append(np.where(hidden, np.nan, value))
    return {name: np.concatenate(parts) for name, parts in found.items()}


def _sentence(length: float, residual: list[float | None], sample: Sample) -> str:
    """Return the registration in words."""
    if length < NO_OFFSET:
        return "The grids of inputs and targets have the same centre, so no translation is affected by an offset."
    bands = ", ".join(
        f"{band} {value:.2g}" for band, value in zip(sample.bands, residual, strict=True) if value is not None
    )
    of = "the real images minus their noise" if sample.truth is None else "the truth"
    return (
        f"The median offset between the grids of input and target is {length:.2f} pixels of the target. Recipes that "
        f"read only images do not know it. A perfect translation without this knowledge ({of} shifted by the offset "
        f"of each pair) has a signal residual of {bands or 'an amount that the noise hides'}."
    )


PART = 32  # galaxies of a task
INTERPOLATED_AT_ONCE = 256  # images interpolated at once
TAUGHT = 128  # largest number of training pairs for the Wiener filter
Runs = dict[str, tuple[RunAt, Run]]  # by name: where tasks find a run, and the run loaded in this process


@dataclass(frozen=True)
class RequestedFile:
    """One file of translations that a run is asked for.

    Attributes
    ----------
    at : RunAt
        Where tasks find the run.
    domain : str
        Where the translations land.
    seeds : tuple of int
        Seeds of the noise, each for all galaxies.
    galaxies : array of int
        Indices of the galaxies in the sample.
    noise : bool
        Whether translations have noise.
    draw : bool
        Whether signals are drawn, if the run has draws.
    target : Path
        The file.
    """

    at: RunAt
    domain: str
    seeds: tuple[int, ...]
    galaxies: np.ndarray
    noise: bool
    draw: bool
    target: Path


@dataclass(frozen=True)
class TranslationTask:
    """A task: translate some galaxies of a file of images, into a file from image `first` on.

    Attributes
    ----------
    asked : RequestedFile
        The file.
    seed : int
        Seed of the noise.
    source : str
        File of the images that are translated.
    plain : str
        File of the interpolated images, which replace missing pixels of translations.
    galaxies : array of int
        Indices of the galaxies.
    request : Request or None
        Conditions of images and translations; None for recipes that read only images.
    first : int
        Index of the first one in the file.
    """

    asked: RequestedFile
    seed: int
    source: str
    plain: str
    galaxies: np.ndarray
    request: Request | None
    first: int


def make_samples(
    held_out: HeldOut, runs: Runs, domain: str, folder: Path, *, draws: int, seed: int, engine: Engine
) -> tuple[Rows, dict[str, int]]:
    """Return the samples of a direction by row of the report: runs, floor, oracle, bilinear and Wiener filter.

    A run that can draw signals has a second row, `drawn_name`: one draw in place of the mean of all.

    Parameters
    ----------
    held_out : HeldOut
        The galaxies.
    runs : dict
        Runs by name.
    domain : str
        "x" or "y", where translations land.
    folder : Path
        Folder for the arrays.
    draws : int
        How often some galaxies are translated, each time with other noise.
    seed : int
        Seed of the noise; each galaxy has its own noise.
    engine : Engine
        Where they are translated.

    Returns
    -------
    rows : dict
        The samples.
    flagged : dict
        For each row of a run, the number of pixels that its translations flag. The interpolated image replaces them in
        all measures.
    """
    common = reference(held_out, domain, folder / "common")
    some = drawn_galaxies(len(held_out))
    few = common.take(folder / "few", some)
    plain = _bilinear(held_out, common, domain, folder / BILINEAR)
    asked = {}
    for number, (name, run) in enumerate(runs.items()):
        place = folder / f"run{number}"
        for row, draw in rows_of(name, run[1], domain).items():
            asked[row] = _ask(
                run, domain, place / ("draws" if draw else "mean"), draw, some, len(held_out), seed, draws
            )
    flagged = _translate(held_out, common, plain, domain, runs, asked, engine)
    rows: Rows = {name: _row(common, few, files, some) for name, files in asked.items()}
    rows |= _real(common, few, folder, draws, some, seed)
    rows[BILINEAR] = plain.also(signal="output"), None
    filtered = _wiener(held_out, common, domain)
    if filtered is not None:
        rows[WIENER] = common.add(folder / WIENER, output=filtered).also(signal="output"), None
    if held_out.richer() == domain:
        rows = add_seen(held_out, rows, runs, domain, folder / "seen", engine)
    return rows, flagged


def drawn_name(name: str) -> str:
    """Return the name of the row of a run's draws."""
    return f"{name}, draws"


def rows_of(name: str, run: Run, domain: str) -> dict[str, bool]:
    """Return the rows of a run for translations into `domain`, and whether their signals are drawn."""
    drawn = run.use.has_draws(run.networks, domain)
    return {name: False} | ({drawn_name(name): True} if drawn else {})


def _bilinear(held_out: HeldOut, common: SampleFiles, domain: str, folder: Path) -> SampleFiles:
    """Return the images interpolated onto the grids of their targets."""
    source, alignment, size = common.open().source, held_out.alignment(domain), held_out.stores[domain].size
    pieces = np.array_split(np.arange(len(source)), -(-len(source) // INTERPOLATED_AT_ONCE))
    return common.add(folder, output=np.concatenate([resampled(source[p], alignment[p], size) for p in pieces]))


def _ask(
    run: tuple[RunAt, Run], domain: str, place: Path, draw: bool, some: np.ndarray, count: int, seed: int, draws: int
) -> dict[str, RequestedFile]:
    """Return the files of one row, by field of `Sample`.

    Parameters
    ----------
    run : tuple
        The run, as `RunAt` and as `Run`.
    domain : str
        Where translations land.
    place : Path
        Folder of the files.
    draw : bool
        Whether signals are drawn.
    some : array of int
        Galaxies that are translated several times; a run that can draw signals draws others each time.
    count : int
        Number of all galaxies.
    seed : int
        Seed of the noise.
    draws : int
        How often some are translated.
    """
    at, known = run
    use, everyone = known.use, np.arange(count)
    found = {"output": RequestedFile(at, domain, (seed,), everyone, True, draw, place / "output.npy")}
    if use.is_random(known.networks, domain):
        found["signal"] = RequestedFile(at, domain, (seed,), everyone, False, draw, place / "signal.npy")
        if draws > 1:
            seeds, drawn = tuple(range(seed + 1, seed + 1 + draws)), use.has_draws(known.networks, domain)
            shared = place.parent / "draws.npy"  # shared by the row of means and the row of draws
            found["draws"] = RequestedFile(at, domain, seeds, some, True, drawn, shared)
    return found


def _translate(
    held_out: HeldOut, common: SampleFiles, plain: SampleFiles, domain: str, runs: Runs, asked: dict, engine: Engine
) -> dict[str, int]:
    """Make all files; return the number of flagged pixels of each row."""
    shape = common.open().target.shape[1:]
    knows = {at: run.use.reads_any for at, run in runs.values()}
    request = (
        request_like(held_out.stores, held_out.rows, domain, common.open().target) if any(knows.values()) else None
    )
    parts, files = [], {}
    for name, each in asked.items():
        files |= {one.target: (name if key == "output" else "", one) for key, one in each.items()}
    for _, one in files.values():
        count = (len(one.seeds),) if len(one.seeds) > 1 else ()
        begin_array(one.target, (*count, len(one.galaxies), *shape))
        told = request if knows[one.at] else None
        parts += _parts(one, common.files["source"], plain.files["output"], told)
    holes = engine.run(_translate_part, parts, f"translate {held_out.direction(domain)}", f"{PART} galaxies")
    flagged = dict.fromkeys(asked, 0)
    for part, count in zip(parts, holes, strict=True):
        name = files[part.asked.target][0]
        if name:
            flagged[name] += count
    return flagged


def _parts(asked: RequestedFile, source: str, plain: str, request: Request | None) -> list[TranslationTask]:
    """Return the tasks of one file: all galaxies with the first seed, then with the next."""
    parts = []
    for turn, seed in enumerate(asked.seeds):
        for start in range(0, len(asked.galaxies), PART):
            galaxies = asked.galaxies[start : start + PART]
            told = None if request is None else request.take(galaxies)
            parts.append(
                TranslationTask(asked, seed, source, plain, galaxies, told, turn * len(asked.galaxies) + start)
            )
    return parts


def _translate_part(part: TranslationTask) -> int:
    """Run one task; return the number of flagged pixels.

    A task that is repeated, because its process was lost, writes the same.
    """
    asked = part.asked
    images = np.load(part.source, mmap_mode="r")[part.galaxies]
    seeds = [noise_seed(part.seed, f"galaxy {galaxy}") for galaxy in part.galaxies]
    how = {"noise": asked.noise, "draw": asked.draw, "request": part.request}
    made = translate_each(asked.at.open(), images, asked.domain, seeds, **how)
    holes = ~np.isfinite(made)
    if holes.any():
        made = np.where(holes, np.load(part.plain, mmap_mode="r")[part.galaxies], made)
    write_part(asked.target, part.first, made.astype(np.float32))
    return int(holes.sum())


def _row(common: SampleFiles, few: SampleFiles, asked: dict[str, RequestedFile], some: np.ndarray) -> tuple:
    """Return a sample of all galaxies, and one of the galaxies with several draws, with the translations of a run."""
    files = {name: str(each.target) for name, each in asked.items()}
    files = {"signal": files["output"]} | files
    draws = files.pop("draws", None)
    whole = common.known(files)
    if draws is None:
        return whole, None
    less = {name: np.load(path, mmap_mode="r")[some] for name, path in files.items()}
    return whole, few.add(Path(files["output"]).parent / "few", **less).known({"draws": draws})


def _wiener(held_out: HeldOut, common: SampleFiles, domain: str) -> np.ndarray | None:
    """Return the images after a Wiener filter.

    None if the seeing, or which survey is the richer, is unknown, or if no training pair shows the spectrum of
    galaxies.
    """
    richer = held_out.richer()
    pairs = held_out.training_pairs(TAUGHT)
    if richer is None or not len(pairs):
        return None
    poorer, stores = OTHER[richer], held_out.stores
    seeing = {each: _seeing(stores[each].take("psf_fwhm", held_out.rows[each]), stores[each]) for each in "xy"}
    if not all(np.isfinite(each).all() for each in seeing.values()):
        return None
    rows = pairs[:, "xy".index(richer)]
    teacher = stores[richer]
    spectrum = learn_spectrum(read_rows(teacher, rows), teacher.take("sky_sigma", rows), teacher.pixel_scale)
    here = stores[OTHER[domain]]
    sigma = here.column("sky_sigma")[held_out.rows[OTHER[domain]]]
    usual = np.nan_to_num(np.nanmedian(sigma, axis=0), nan=0.0)
    known = FilterConditions(
        alignment=held_out.alignment(domain),
        seeing=seeing[poorer],
        richer_seeing=seeing[richer],
        sigma=np.where(np.isfinite(sigma), sigma, usual),
    )
    operator = by_seeing(operator_networks(stores, richer)[f"operator_{poorer}"])
    made = restored if domain == richer else observed
    return made(common.open().source, known, operator, spectrum, stores[domain].size)


def _seeing(known: np.ndarray, store) -> np.ndarray:
    """Return the seeing (galaxy, band) [arcsec]; where it is unknown, the usual one of the store."""
    return np.where(np.isfinite(known) & (known > 0), known, usual_seeing(store.sample("psf_fwhm")))


def _real(common: SampleFiles, few: SampleFiles, folder: Path, draws: int, some: np.ndarray, seed: int) -> Rows:
    """Return floor and oracle with a truth; else one half of the real images against the other."""
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


def _halves(common: SampleFiles, folder: Path, seed: int) -> SampleFiles:
    """Return one half of the real images as translations of the other half, for measures of populations."""
    sample = common.open()
    order = np.random.default_rng(seed).permutation(len(sample))
    half = len(order) // 2
    ours, theirs = order[:half], order[half : 2 * half]
    images = sample.target[ours]
    return common.take(folder, theirs).add(folder, output=images, signal=images)
