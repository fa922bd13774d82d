"""Translate a whole store of one survey into a store of images such as the other would have, chunk by chunk."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from astropy.wcs import WCS

from survey_tools.build.builder import Chunk, Manifest, StorePlan
from survey_tools.build.derived import Derivation, derive, read_originals, remake
from survey_tools.errors import RunError
from survey_tools.files import SUMS, checksum
from survey_tools.images.sky_wcs import tan_terms
from survey_tools.store.manifest import DONE, FAILED
from survey_tools.store.zarr_store import CHUNK_BYTES, Store, open_store
from survey_tools.surveys import find_survey
from survey_tools.tasks import Engine
from translator.images import OTHER
from translator.runs.apply import Request, noise_seed, translate_each, what_noise
from translator.runs.checkpoint import Run, RunAt, locate
from translator.translation.asking import How
from translator.translation.observation import CONDITIONS, SCALE_TOLERANCE
from translator.translation.translated import DOUBTFUL, SYNTHETIC, each_band, seeing_of
from translator.translation.whole_images import RequestedImage, SkyGrid, Whole, translate_whole


@dataclass(frozen=True)
class StoreJob:
    """What a task needs to translate rows.

    Attributes:
        at: The run.
        store: Of the images.
        bands: Places in it of those of the run's bands that it has.
        there: Their places among the run's bands.
        domain: Where translations land.
        size: Rows, and columns, of a translation.
        how: What is asked.
    """

    at: RunAt
    store: Store
    bands: tuple[int, ...]
    there: tuple[int, ...]
    domain: str
    size: int
    how: How


def translate_store(
    run_path,
    store_path,
    out,
    *,
    to: str | None = None,
    how: How | None = None,
    device: str = "auto",
    engine: Engine | None = None,
    overwrite: bool = False,
    chunk_bytes: int = CHUNK_BYTES,
) -> Store:
    """Translate every object of a store into a new store; returns that, open.

    Rows are the same objects, with their catalogue. Each image keeps centre and orientation and has the pixels of the
    other survey. Its sky sigma is measured; its PSF is what was asked for, or unknown where the recipe reads images
    alone; its zero point is unknown. A row without an image, or, for such a recipe, with pixels missing, is NaN, and
    its manifest says why; it also says which translations are inconsistent with their input. Saturated pixels are
    flagged where they lie. The noise of an object depends on the seed and its row alone. Returns an existing store
    unchanged if it was made from the same; resumes one that was interrupted (`OUT.part`), to the same bytes.

    A recipe that reads any image fills the column `consistency`, and on request makes arrays like `images` beside them
    (`Store.planes`): `signal` and `sigma` with `how.planes`, and `draw_1`, `draw_2`, … with `how.draws`.

    Args:
        run_path: Folder of a trained run.
        store_path: Store of one of its surveys, on the pixels that it was trained on; a recipe that reads any image
            takes any size of them, and some of the bands.
        out: Where the new store will be.
        to: Survey to translate into, to be sure; there is but one that the run can make of the store's.
        how: What is asked: of `asking.How` the fields noise, seed, seeing, depth, draws and planes.
        device: Of the networks, in the processes that do the work.
        engine: Where tasks run; in one thread by default.
        overwrite: Replace a store that is there, once the new one is finished.
        chunk_bytes: Bytes that the images of a chunk of the new store may take.

    Raises:
        RunError: The run cannot be loaded, or translates other surveys, bands or pixels.
        StoreError: The store cannot be opened; or `out` is the store itself, was made from something else, is no
            store, or is being made by another process.
    """
    engine, how = engine or Engine(), how or How()
    store = open_store(store_path)
    at, run = locate(
        run_path if isinstance(run_path, Run) else Path(run_path), device, elsewhere=engine.client is not None
    )
    domain = _domain(run, store, to, how)
    there = run.domains[domain]
    bands = tuple(band for band in run.bands if band in store.bands)
    places = tuple(store.bands.index(band) for band in bands)
    size = there.size
    if store.size != run.domains[OTHER[domain]].size:
        size = max(1, round(store.size * store.pixel_scale / there.pixel_scale))
    job = StoreJob(at, store, places, tuple(run.bands.index(band) for band in bands), domain, size, how)
    facts = {"size": size, "pixel_scale": there.pixel_scale, "synthetic": SYNTHETIC}
    facts |= {"planes": planes_of(how), "chunk_bytes": chunk_bytes}
    settings = _settings(run, store, domain, how)
    derivation = Derivation(
        source=store,
        plan=StorePlan(find_survey(there.survey), bands, store.input_catalogue(), settings, **facts),
        make=partial(_translate_chunk, job),
        manifest=partial(_manifest, store.path.name),
        desc="translate",
    )
    return derive(derivation, out, engine, overwrite=overwrite)


def _domain(run: Run, store: Store, to: str | None, how: How) -> str:
    """Where translations of the store land; RunError where the run does not read such images as it has."""
    if store.synthetic and not how.force:
        raise RunError(
            f"{store.path} is {store.synthetic}; give a store of observations, or pass --force if this is what you mean"
        )
    domain = OTHER[run.domain_of(store.survey["name"])]
    here, there = run.domains[OTHER[domain]], run.domains[domain]
    if to not in (None, there.survey):
        raise RunError(
            f"{run.path} translates {here.survey}, which {store.path} is, into {there.survey} and not {to}; "
            f"give --to {there.survey}, or no --to"
        )
    reads_any = run.use.reads_any
    missing = [band for band in run.bands if band not in store.bands]
    if missing and not (reads_any and len(missing) < len(run.bands)):
        raise RunError(
            f"{run.path} reads bands {''.join(run.bands)}, and {store.path} has {''.join(store.bands)}; "
            f"make a store with {', '.join(missing)} as well"
        )
    other_size = store.size != here.size and not reads_any
    if other_size or abs(store.pixel_scale / here.pixel_scale - 1) > SCALE_TOLERANCE:
        words = ["{0} x {0} pixels of {1:g} arcsec".format(*each) for each in _grids(here, store)]
        raise RunError(
            f"{run.path} reads {words[0]} of {here.survey}, and {store.path} has {words[1]}; "
            "give a store such as it was trained on (`galtrans regrid` changes pixels)"
        )
    return domain


def _grids(*of) -> list[tuple[int, float]]:
    return [(each.size, each.pixel_scale) for each in of]


def _settings(run: Run, store: Store, domain: str, how: How) -> dict:
    """What the new store is made from."""
    sums = store.path / SUMS
    return {
        "command": "galtrans translate",
        "run": run.path.resolve().name,
        "recipe": run.recipe,
        "iteration": run.iteration,
        "weights": run.checksum,
        "noise": what_noise(run, domain, how.noise),
        "seed": how.seed,
        **({"asked": asked} if (asked := _asked(how)) else {}),
        "source": {
            "store": store.path.name,
            "survey": store.survey["name"],
            "checksum": checksum(sums) if sums.exists() else store.rows,
            "size": store.size,
            "pixel_scale": store.pixel_scale,
            "settings": store.settings,
        },
    }


def _asked(how: How) -> dict:
    """What is asked besides noise and seed, as settings state it."""
    found = {"seeing": how.seeing and list(how.seeing), "planes": how.planes, "draws": how.draws}
    found["depth"] = how.depth and [
        f"{each.value:g}{'mag' if each.is_magnitude else 'nanomaggy'}" for each in how.depth
    ]
    return {name: value for name, value in found.items() if value}


def planes_of(how: How) -> dict[str, str]:
    """The arrays beside the images that are asked for: name to description."""
    found = {}
    if how.planes:
        found["signal"] = "translation without noise: the mean of all that it may be"
        found["sigma"] = "standard deviation of the error to expect, of draws and noise together"
    return found | {
        f"draw_{number + 1}": "one translation, drawn from all that it may be" for number in range(how.draws)
    }


def _manifest(name: str, before: Manifest, made: Manifest) -> Manifest:
    """The input's manifest; but an object that was done and could not be translated has failed, for what was found."""
    columns = {key: values.astype(object) for key, values in before.items()}
    translated, was_done = made["reason"] == "", columns["status"] == DONE
    lost = was_done & ~translated
    columns["status"][lost], columns["reason"][lost] = FAILED, made["reason"][lost]
    columns["file"][was_done] = name
    remarked = translated & was_done & (made["remark"] != "")
    columns["reason"][remarked] = made["remark"][remarked]
    return columns


def _translate_chunk(job: StoreJob, rows: slice) -> Chunk:
    """Some rows of the store, translated; NaN where they cannot be. Its manifest says why, "" where they are."""
    run = job.at.open()
    there = run.domains[job.domain]
    originals = read_originals(job.store, rows, job.bands)
    reasons = [_why_not(run, *each) for each in zip(originals.images, originals.crpix, strict=True)]
    able = np.flatnonzero(np.array(reasons, object) == "")
    seeds = [noise_seed(job.how.seed, f"row {rows.start + at}") for at in able]
    remarks = np.full(len(reasons), "", object)
    seeing = np.full(originals.images.shape[:2], np.nan)
    consistency = np.full(seeing.shape, np.nan, np.float32)
    shape = (*seeing.shape, job.size, job.size)
    planes = {name: np.full(shape, np.nan, np.float32) for name in planes_of(job.how)}
    if run.use.reads_any:
        known = {name: job.store.column(name, rows)[:, job.bands] for name in CONDITIONS}
        seed_of = dict(zip(able.tolist(), seeds, strict=True))
        seeing[able] = seeing_of(run, job.domain, each_band(job.how.seeing, run.bands, "--seeing"))[list(job.there)]

        def make(at, wcs, target):
            shown = np.where(originals.mask[at], np.nan, originals.images[at])
            told = {name: values[at] for name, values in known.items()}
            made = _one(run, job, shown, wcs, target, told, seed_of[at])
            remarks[at] = _remark(made.consistency)
            consistency[at] = made.consistency[list(job.there)]
            for name, values in planes.items():
                values[at] = _plane(made, name)[list(job.there)]
            return made.image[list(job.there)]
    else:
        request = _plain_request(job)
        fakes = translate_each(run, originals.images[able], job.domain, seeds, noise=job.how.noise, request=request)
        ready = dict(zip(able.tolist(), fakes, strict=True))

        def make(at, wcs, target):
            return ready[at]

    chunk = remake(originals, able, job.size, there.pixel_scale, make)
    chunk.columns |= {"psf_fwhm": seeing, "consistency": consistency}
    for at in able:
        chunk.columns["source"][at] = f"{job.store.path.name}, row {rows.start + at}, by {run.path.resolve().name}"
    return replace(chunk, manifest={"reason": np.array(reasons, object), "remark": remarks}, planes=planes)


def _plane(made: Whole, name: str) -> np.ndarray:
    """One of `planes_of` of a translation (band, row, col)."""
    if name.startswith("draw_"):
        return made.draws[int(name.removeprefix("draw_")) - 1]
    return made.signal if name == "signal" else made.sigma


def _one(run: Run, job: StoreJob, image: np.ndarray, wcs: WCS, target: WCS, known: dict, seed: int) -> Whole:
    """One row by a recipe that reads any image, as `translate` makes a file of it."""
    there, count = run.domains[job.domain], len(run.bands)
    whole = np.full((count, *image.shape[1:]), np.nan, np.float32)
    whole[list(job.there)] = image
    told = {name: np.full(count, np.nan) for name in CONDITIONS}
    for name, values in known.items():
        told[name][list(job.there)] = values
    depth = job.how.depth and tuple(each.sigma(there.pixel_scale) for each in job.how.depth)
    asked = RequestedImage(
        domain=job.domain,
        grid=SkyGrid(*tan_terms(target), (job.size, job.size)),
        seeing=each_band(job.how.seeing, run.bands, "--seeing"),
        sigma=each_band(depth, run.bands, "--depth"),
        gain=np.full(count, np.nan),
        noise=job.how.noise,
        draws=job.how.draws,
        spread=job.how.planes,
        seed=seed,
    )
    return translate_whole(run, whole, SkyGrid(*tan_terms(wcs), image.shape[1:]), told, asked)


def _remark(consistency: np.ndarray) -> str:
    """A word on a translation that is not consistent with its input; "" for one that is."""
    worst = np.nanmax(consistency) if np.isfinite(consistency).any() else np.nan
    return f"inconsistent with its input: chi2 a pixel is {worst:.2f}, and not about 1" if worst > DOUBTFUL else ""


def _plain_request(job: StoreJob) -> Request:
    """Nothing is known or asked for by recipes that read images alone."""
    if job.how.needs_any:
        raise RunError(f"{job.how.needs_any[0]} needs a run of a recipe that is told what is known of images")
    return Request()


def _why_not(run: Run, image: np.ndarray, crpix: np.ndarray) -> str:
    """Why an image (band, row, col) cannot be translated; "" where it can."""
    missing = (~np.isfinite(image)).sum(axis=(1, 2))
    if run.use.reads_any and (missing < image[0].size).any():
        missing[:] = 0  # it has a band at least, and gaps are no hindrance
    band = int(np.argmax(missing > 0))
    if missing[band]:
        return (
            f"band {run.bands[band]} has no data in {missing[band]} of the {image.shape[-1]}^2 pixels that the model "
            "reads"
        )
    return "" if np.isfinite(crpix).all() else "it has no WCS"
