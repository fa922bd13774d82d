"""Translate a whole store of one survey into a store of images like those of the other survey, chunk by chunk."""

from collections.abc import Iterator
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
from translator.translation.asking import How, settled
from translator.translation.observation import CONDITIONS, SCALE_TOLERANCE
from translator.translation.translated import DOUBTFUL, SYNTHETIC, each_band, seeing_of
from translator.translation.whole_images import RequestedImage, SkyGrid, Whole, translate_alike


@dataclass(frozen=True)
class StoreJob:
    """What a task needs to translate rows.

    Attributes
    ----------
    at : RunAt
        The run.
    store : Store
        Store of the images.
    bands : tuple of int
        Places in the store of the run's bands that it has.
    there : tuple of int
        Places of these bands among the run's bands.
    domain : str
        Where translations land.
    size : int
        Rows, and columns, of a translation.
    how : How
        What is asked.
    first_row : int
        The number of the store's first row, on which the noise depends: that of a partition among all its rows.
    """

    at: RunAt
    store: Store
    bands: tuple[int, ...]
    there: tuple[int, ...]
    domain: str
    size: int
    how: How
    first_row: int = 0


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
    first_row: int = 0,
) -> Store:
    """Translate every object of a store into a new store, and return it.

    Rows are the same objects, with their catalogue. Each image keeps its centre and orientation and gets the pixels of
    the other survey. The sky sigma of translations is measured. Their PSF is the one that was asked for, or unknown if
    the recipe reads only images. Their zero point is unknown. Saturated pixels are flagged at their places. The noise
    of an object depends only on the seed and its row.

    A row without an image (or, for a recipe that reads only images, with missing pixels) is NaN, and its manifest says
    why. The manifest also says which translations are inconsistent with their input. A recipe that reads any image
    fills the column `consistency`. On request it makes further arrays (`Store.planes`): `signal` and `sigma` with
    `how.planes`, and `draw_1`, `draw_2`, … with `how.draws`.

    An existing store is returned unchanged if it was made with the same settings. A store that was interrupted
    (`OUT.part`) is resumed, with the same bytes as the result.

    Parameters
    ----------
    run_path : path-like
        Folder of a trained run.
    store_path : path-like
        Store of one of its surveys, on the pixels of the training. A recipe that reads any image accepts images of any
        size, and some of the bands.
    out : path-like
        Path of the new store.
    to : str, optional
        Survey to translate into, as a check; it follows from the run and the store.
    how : How, optional
        What is asked: the fields noise, seed, seeing, depth, draws, planes and precision of `asking.How`.
    device : str
        Device of the networks, in the processes that do the work.
    engine : Engine, optional
        Where tasks run; by default in one thread.
    overwrite : bool
        Whether to replace an existing store, once the new one is finished.
    chunk_bytes : int, optional
        Largest size of a chunk of images [byte].
    first_row : int
        The number of the store's first row, where the store is a part of a larger one: noise depends on it.

    Raises
    ------
    RunError
        If the run cannot be loaded, or translates other surveys, bands or pixels.
    StoreError
        If the store cannot be opened, or `out` is the store itself, was made from something else, is not a store, or is
        being made by another process.
    """
    engine, how = engine or Engine(), how or How()
    store = open_store(store_path)
    at, run = locate(
        run_path if isinstance(run_path, Run) else Path(run_path), device, elsewhere=engine.client is not None
    )
    how, domain = settled(how, run), domain_of_store(run, store, to, how)
    there = run.domains[domain]
    bands = tuple(band for band in run.bands if band in store.bands)
    places = tuple(store.bands.index(band) for band in bands)
    size = there.size
    if store.size != run.domains[OTHER[domain]].size:
        size = max(1, round(store.size * store.pixel_scale / there.pixel_scale))
    job = StoreJob(at, store, places, tuple(run.bands.index(band) for band in bands), domain, size, how, first_row)
    facts = {"size": size, "pixel_scale": there.pixel_scale, "synthetic": SYNTHETIC}
    facts |= {"planes": planes_of(how), "chunk_bytes": chunk_bytes}
    settings = settings_of(run, store, domain, how)
    derivation = Derivation(
        source=store,
        plan=StorePlan(find_survey(there.survey), bands, store.input_catalogue(), settings, **facts),
        make=partial(_translate_chunk, job),
        manifest=partial(_manifest, store.path.name),
        desc="translate",
    )
    return derive(derivation, out, engine, overwrite=overwrite)


def domain_of_store(run: Run, store: Store, to: str | None, how: How) -> str:
    """Return where translations of the store land; RunError if the run cannot read its images."""
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
    """Return size and pixel scale of each."""
    return [(each.size, each.pixel_scale) for each in of]


def settings_of(run: Run, store: Store, domain: str, how: How) -> dict:
    """Return the settings of the new store."""
    sums = store.path / SUMS
    return {
        "command": "galtrans translate",
        "run": run.path.resolve().name,
        "recipe": run.recipe,
        "iteration": run.iteration,
        "weights": run.checksum,
        "noise": what_noise(run, domain, how.noise),
        "seed": how.seed,
        "precision": how.precision,
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
    """Return what is asked besides noise and seed, for the settings."""
    found = {"seeing": how.seeing and list(how.seeing), "planes": how.planes, "draws": how.draws}
    found["depth"] = how.depth and [
        f"{each.value:g}{'mag' if each.is_magnitude else 'nanomaggy'}" for each in how.depth
    ]
    return {name: value for name, value in found.items() if value}


def planes_of(how: How) -> dict[str, str]:
    """Return the arrays beside the images that are asked for: name to description."""
    found = {}
    if how.planes:
        found["signal"] = "translation without noise: the mean of all that it may be"
        found["sigma"] = "standard deviation of the error to expect, of draws and noise together"
    return found | {
        f"draw_{number + 1}": "one translation, drawn from all that it may be" for number in range(how.draws)
    }


def _manifest(name: str, before: Manifest, made: Manifest) -> Manifest:
    """Return the manifest of the input, in which an object that could not be translated has failed, with a reason."""
    columns = {key: values.astype(object) for key, values in before.items()}
    translated, was_done = made["reason"] == "", columns["status"] == DONE
    lost = was_done & ~translated
    columns["status"][lost], columns["reason"][lost] = FAILED, made["reason"][lost]
    columns["file"][was_done] = name
    remarked = translated & was_done & (made["remark"] != "")
    columns["reason"][remarked] = made["remark"][remarked]
    return columns


def _translate_chunk(job: StoreJob, rows: slice) -> Chunk:
    """Translate some rows; NaN where they cannot be. The manifest has the reasons, "" for a translation."""
    run = job.at.open()
    there = run.domains[job.domain]
    originals = read_originals(job.store, rows, job.bands)
    reasons = [_why_not(run, *each) for each in zip(originals.images, originals.crpix, strict=True)]
    able = np.flatnonzero(np.array(reasons, object) == "")
    seeds = [noise_seed(job.how.seed, f"row {job.first_row + rows.start + at}") for at in able]
    remarks = np.full(len(reasons), "", object)
    seeing = np.full(originals.images.shape[:2], np.nan)
    consistency = np.full(seeing.shape, np.nan, np.float32)
    shape = (*seeing.shape, job.size, job.size)
    planes = {name: np.full(shape, np.nan, np.float32) for name in planes_of(job.how)}
    if run.use.reads_any:
        known = {name: job.store.column(name, rows)[:, job.bands] for name in CONDITIONS}
        seeing[able] = seeing_of(run, job.domain, each_band(job.how.seeing, run.bands, "--seeing"))[list(job.there)]

        def make(places, grids, targets):
            shown = np.where(originals.mask[places], np.nan, originals.images[places])
            told = {name: values[places] for name, values in known.items()}
            for at, made in zip(places, _alike(run, job, shown, grids, targets, told, seeds), strict=True):
                remarks[at] = _remark(made.consistency)
                consistency[at] = made.consistency[list(job.there)]
                for name, values in planes.items():
                    values[at] = _plane(made, name)[list(job.there)]
                yield made.image[list(job.there)]
    else:
        request = _plain_request(job)

        def make(places, grids, targets):
            images = originals.images[places]
            return translate_each(run, images, job.domain, seeds, noise=job.how.noise, request=request)

    chunk = remake(originals, able, job.size, there.pixel_scale, make)
    chunk.columns |= {"psf_fwhm": seeing, "consistency": consistency}
    for at in able:
        chunk.columns["source"][at] = f"{job.store.path.name}, row {rows.start + at}, by {run.path.resolve().name}"
    return replace(chunk, manifest={"reason": np.array(reasons, object), "remark": remarks}, planes=planes)


def _plane(made: Whole, name: str) -> np.ndarray:
    """Return one of `planes_of` of a translation (band, row, col)."""
    if name.startswith("draw_"):
        return made.draws[int(name.removeprefix("draw_")) - 1]
    return made.signal if name == "signal" else made.sigma


def _alike(
    run: Run, job: StoreJob, images: np.ndarray, grids: list[WCS], targets: list[WCS], known: dict, seeds: list[int]
) -> Iterator[Whole]:
    """Translate rows by a recipe that reads any image, as `translate_files` does with files of them."""
    there, count = run.domains[job.domain], len(run.bands)
    whole = np.full((len(images), count, *images.shape[2:]), np.nan, np.float32)
    whole[:, list(job.there)] = images
    told = {name: np.full((len(images), count), np.nan) for name in CONDITIONS}
    for name, values in known.items():
        told[name][:, list(job.there)] = values
    depth = job.how.depth and tuple(each.sigma(there.pixel_scale) for each in job.how.depth)
    seeing, sigma = each_band(job.how.seeing, run.bands, "--seeing"), each_band(depth, run.bands, "--depth")
    asked = [
        RequestedImage(
            domain=job.domain,
            grid=SkyGrid(*tan_terms(target), (job.size, job.size)),
            seeing=seeing,
            sigma=sigma,
            gain=np.full(count, np.nan),
            noise=job.how.noise,
            draws=job.how.draws,
            spread=job.how.planes,
            seed=seed,
        )
        for target, seed in zip(targets, seeds, strict=True)
    ]
    here = [SkyGrid(*tan_terms(wcs), images.shape[2:]) for wcs in grids]
    return translate_alike(run, whole, here, told, asked, precision=job.how.precision)


def _remark(consistency: np.ndarray) -> str:
    """Return a remark on a translation that is not consistent with its input; "" otherwise."""
    worst = np.nanmax(consistency) if np.isfinite(consistency).any() else np.nan
    return f"inconsistent with its input: chi2 a pixel is {worst:.2f}, and not about 1" if worst > DOUBTFUL else ""


def _plain_request(job: StoreJob) -> Request:
    """Return an empty request; RunError if something is asked that needs another recipe."""
    if job.how.needs_any:
        raise RunError(f"{job.how.needs_any[0]} needs a run of a recipe that is told what is known of images")
    return Request()


def _why_not(run: Run, image: np.ndarray, crpix: np.ndarray) -> str:
    """Return why an image (band, row, col) cannot be translated; "" if it can."""
    missing = (~np.isfinite(image)).sum(axis=(1, 2))
    if run.use.reads_any and (missing < image[0].size).any():
        missing[:] = 0  # it has at least one band, and may have gaps
    band = int(np.argmax(missing > 0))
    if missing[band]:
        return (
            f"band {run.bands[band]} has no data in {missing[band]} of the {image.shape[-1]}^2 pixels that the model "
            "reads"
        )
    return "" if np.isfinite(crpix).all() else "it has no WCS"
