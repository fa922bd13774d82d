"""Translate a whole store of one survey into a store of images such as the other would have, chunk by chunk."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from survey_tools.checksums import SUMS, checksum
from survey_tools.derived import Manifest, Plan, derive, read_originals, remake
from survey_tools.errors import RunError
from survey_tools.gather import DONE, FAILED, Chunk
from survey_tools.store import Store, open_store
from survey_tools.surveys import find_survey
from survey_tools.tasks import Engine
from translator.checkpoint import Run, find_recipe
from translator.fakes import Request, noise_seed, translate_each, what_noise
from translator.images import OTHER
from translator.loaded import RunAt, locate
from translator.observation import CONDITIONS, SCALE_TOLERANCE
from translator.translate import SYNTHETIC


@dataclass(frozen=True)
class Job:
    """What a task needs to translate rows: run, the input store, places of the run's bands in it, domain, noise."""

    at: RunAt
    store: Store
    bands: tuple[int, ...]
    domain: str
    noise: bool
    seed: int


def translate_store(
    run_path,
    store_path,
    out,
    *,
    to: str | None = None,
    noise: bool = True,
    seed: int = 0,
    device: str = "auto",
    engine: Engine | None = None,
    overwrite: bool = False,
) -> Store:
    """Translate every object of a store into a new store; returns that, open.

    Rows are the same objects, with their catalogue. Each image keeps centre and orientation and has the pixels of the
    other survey. Its sky sigma is measured; PSF and zero point are unknown. A row without an image, or with pixels
    missing, is NaN, and its manifest says why. Saturated pixels are flagged where they lie. The noise of an object
    depends on the seed and its row alone. A store that is there already is returned as it is if it was made from the
    same; one begun as `OUT.part` is gone on with, to the same bytes.

    Args:
        run_path: Folder of a trained run.
        store_path: Store of one of its surveys, on the pixels that it was trained on.
        out: Where the new store will be.
        to: Survey to translate into, to be sure; there is but one that the run can make of the store's.
        noise: As of `translate.translate_file`.
        seed: Of the noise.
        device: Of the networks, in the processes that do the work.
        engine: Where tasks run; in one thread by default.
        overwrite: Replace a store that is there, once the new one is finished.

    Raises:
        RunError: The run cannot be loaded, or translates other surveys, bands or pixels.
        StoreError: The store cannot be opened; or `out` is the store itself, was made from something else, is no
            store, or is being made by another process.
    """
    engine = engine or Engine()
    store = open_store(store_path)
    at, run = locate(Path(run_path), device, elsewhere=engine.client is not None)
    domain = _domain(run, store, to)
    there = run.domains[domain]
    places = tuple(store.bands.index(band) for band in run.bands)
    plan = Plan(
        source=store,
        survey=find_survey(there.survey),
        bands=there.bands,
        size=there.size,
        pixel_scale=there.pixel_scale,
        settings=_settings(run, store, domain, noise, seed),
        make=partial(_translate_chunk, Job(at, store, places, domain, noise, seed)),
        manifest=partial(_manifest, store.path.name),
        desc="translate",
        synthetic=SYNTHETIC,
    )
    return derive(plan, out, engine, overwrite=overwrite)


def _domain(run: Run, store: Store, to: str | None) -> str:
    """Where translations of the store land; RunError where the run does not read such images as it has."""
    domain = OTHER[run.domain_of(store.survey["name"])]
    here, there = run.domains[OTHER[domain]], run.domains[domain]
    if to not in (None, there.survey):
        raise RunError(
            f"{run.path} translates {here.survey}, which {store.path} is, into {there.survey} and not {to}; "
            f"give --to {there.survey}, or no --to"
        )
    missing = [band for band in run.bands if band not in store.bands]
    if missing:
        raise RunError(
            f"{run.path} reads bands {''.join(run.bands)}, and {store.path} has {''.join(store.bands)}; "
            f"make a store with {', '.join(missing)} as well"
        )
    if store.size != here.size or abs(store.pixel_scale / here.pixel_scale - 1) > SCALE_TOLERANCE:
        words = ["{0} x {0} pixels of {1:g} arcsec".format(*each) for each in _grids(here, store)]
        raise RunError(
            f"{run.path} reads {words[0]} of {here.survey}, and {store.path} has {words[1]}; "
            "give a store such as it was trained on (`galtrans regrid` changes pixels)"
        )
    return domain


def _grids(*of) -> list[tuple[int, float]]:
    return [(each.size, each.pixel_scale) for each in of]


def _settings(run: Run, store: Store, domain: str, noise: bool, seed: int) -> dict:
    """What the new store is made from."""
    sums = store.path / SUMS
    return {
        "command": "galtrans translate",
        "run": run.path.resolve().name,
        "recipe": run.recipe,
        "iteration": run.iteration,
        "weights": run.checksum,
        "noise": what_noise(run, domain, noise),
        "seed": seed,
        "source": {
            "store": store.path.name,
            "survey": store.survey["name"],
            "checksum": checksum(sums) if sums.exists() else store.rows,
            "size": store.size,
            "pixel_scale": store.pixel_scale,
            "settings": store.settings,
        },
    }


def _manifest(name: str, before: Manifest, made: Manifest) -> Manifest:
    """The input's manifest; but an object that was done and could not be translated has failed, for what was found."""
    columns = {key: values.astype(object) for key, values in before.items()}
    translated, was_done = made["reason"] == "", columns["status"] == DONE
    lost = was_done & ~translated
    columns["status"][lost], columns["reason"][lost] = FAILED, made["reason"][lost]
    columns["file"][was_done] = name
    return columns


def _translate_chunk(job: Job, rows: slice) -> Chunk:
    """Some rows of the store, translated; NaN where they cannot be. Its manifest says why, "" where they are."""
    run = job.at.open()
    there = run.domains[job.domain]
    originals = read_originals(job.store, rows, job.bands)
    reasons = [_why_not(run, *each) for each in zip(originals.images, originals.crpix, strict=True)]
    able = np.flatnonzero(np.array(reasons, object) == "")
    seeds = [noise_seed(job.seed, f"row {rows.start + at}") for at in able]
    known = {name: job.store.column(name, rows)[:, job.bands][able] for name in CONDITIONS}
    request = Request(good=_good(job, rows)[able], **known)
    fakes = translate_each(run, originals.images[able], job.domain, seeds, noise=job.noise, request=request)
    made = dict(zip(able.tolist(), fakes, strict=True))
    chunk = remake(originals, able, there.size, there.pixel_scale, lambda at, *_: made[at])
    for at in able:
        chunk.columns["source"][at] = f"{job.store.path.name}, row {rows.start + at}, by {run.path.resolve().name}"
    return replace(chunk, manifest={"reason": np.array(reasons, object)})


def _good(job: Job, rows: slice) -> np.ndarray:
    """Which pixels (galaxy, band, row, col) of some rows of the store may be used: those that are not masked."""
    return ~job.store.mask[rows][:, job.bands]


def _why_not(run: Run, image: np.ndarray, crpix: np.ndarray) -> str:
    """Why an image (band, row, col) cannot be translated; "" where it can."""
    missing = (~np.isfinite(image)).sum(axis=(1, 2))
    if find_recipe(run.recipe).use.reads_any and (missing < image[0].size).any():
        missing[:] = 0  # it has a band at least, and gaps are no hindrance
    band = int(np.argmax(missing > 0))
    if missing[band]:
        return (
            f"band {run.bands[band]} has no data in {missing[band]} of the {image.shape[-1]}^2 pixels that the model "
            "reads"
        )
    return "" if np.isfinite(crpix).all() else "it has no WCS"
