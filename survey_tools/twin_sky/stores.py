"""Simulated stores: objects all over the sky, each rendered for one survey or several, cut out as `fetch` does."""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from astropy.table import Table, vstack
from astropy.wcs import WCS

from survey_tools.build.builder import Build, Chunk, StorePlan, begin
from survey_tools.images.cutout import resample, sky_sigma
from survey_tools.images.sky_wcs import north_up_wcs, tan_terms, tan_wcs
from survey_tools.store.columns import empty_columns
from survey_tools.store.manifest import DONE, OUTSIDE
from survey_tools.store.zarr_store import CHUNK_BYTES, Store
from survey_tools.surveys import SURVEYS, Survey
from survey_tools.tasks import run_tasks
from survey_tools.twin_sky.draw import render
from survey_tools.twin_sky.exposure import draw_exposure, draw_night
from survey_tools.twin_sky.galaxies import draw_galaxies, draw_magnitudes, draw_stars
from survey_tools.twin_sky.observing_facts import SIMULATED

CENTRE = 333.3, 1.3  # [deg] of the simulated objects: around CFHTLS field W4, far from both poles
SPACING = 0.13  # [deg] between objects: the density of the SDSS main sample, 60 per square degree
SURROUNDINGS = 24.0  # [arcsec] around an object within which neighbours are drawn: farther than a cutout's corner
FAINT_DENSITY = 25000 / 3600**2  # galaxies of r < 23 per square arcsec (Yasuda et al. 2001, AJ 122, 1104, extended)
STAR_DENSITY = 2500 / 3600**2  # stars of r < 21 per square arcsec at high latitude (Juric et al. 2008, ApJ 673, 864)
MAIN_SAMPLE = 0.85  # fraction of objects with r from 14 to 17.8, the SDSS main sample; the rest goes to r = 20
TILE_SIZE = 19354  # pixels a side of the tiles of coadds, a degree in CFHTLS
FRAME_PATCH = 112  # pixels per side of the frame's own grid rendered around an object: the diagonal of 64, and 20 more
CATALOGUE_FILES = {name: "catalogue.ecsv" if name == "sdss" else f"catalogue_{name}.ecsv" for name in SIMULATED}


@dataclass(frozen=True)
class SimulatedSky:
    """What is simulated as stores.

    Attributes
    ----------
    galaxies : int
        Number of objects of each survey.
    bands : dict
        Bands of each survey, as one word.
    overlap : float
        Fraction of the objects of each survey that all surveys see.
    seed : int
        Seed.
    """

    galaxies: int
    bands: dict[str, str]
    overlap: float
    seed: int


@dataclass(frozen=True)
class SurveyView:
    """One object as a survey sees it.

    Attributes
    ----------
    images, truth : ndarray
        (band, row, col) [nanomaggy/pixel], with and without noise.
    mask : ndarray
        Whether each pixel is saturated (bool, same shape).
    wcs : WCS
        WCS of the pixels.
    psf_fwhm : list of float
        Full width at half maximum of a star in each band [arcsec].
    gain : list of float
        Gain in each band [electron/nanomaggy].
    """

    images: np.ndarray
    truth: np.ndarray
    mask: np.ndarray
    wcs: WCS
    psf_fwhm: list[float]
    gain: list[float]


def make_stores(out: Path, sample: SimulatedSky, workers: int, chunk_bytes: int = CHUNK_BYTES) -> None:
    """Build the store of each survey, its noise-free twin in `truth`, and the catalogues, in a folder.

    `simulate.simulate_stores` says what they contain.

    Parameters
    ----------
    out : Path
        The folder, with a folder `truth`.
    sample : SimulatedSky
        What to simulate.
    workers : int
        Number of processes.
    chunk_bytes : int
        Bytes that the images of a chunk of a store may take.
    """
    build_stores(out, draw_targets(sample), sample.bands, asdict(sample), workers, chunk_bytes)


def build_stores(
    out: Path, targets: Table, bands: dict[str, str], settings: dict, workers: int, chunk_bytes: int = CHUNK_BYTES
) -> None:
    """Render targets into stores, or resume an interrupted build of the same targets.

    Parameters
    ----------
    out : Path
        Folder of the stores and catalogues, with a folder `truth`.
    targets : Table
        As `draw_targets` returns them. Targets whose column `truth` is False have no image in the noise-free stores,
        which have the same rows as the others.
    bands : dict
        Bands of each survey, as one word; its keys are the surveys.
    settings : dict
        What the targets are drawn from, with `seed`; the stores state it, and their bands.
    workers : int
        Number of processes.
    chunk_bytes : int
        Bytes that the images of a chunk of a store may take.
    """
    seed = settings["seed"]
    for survey in (SURVEYS[name] for name in bands):
        mine = targets[targets[survey.name]]
        mine = mine[np.random.default_rng([seed, SIMULATED[survey.name].code]).permutation(len(mine))]
        catalogue = catalogue_of(survey.name, mine, seed)
        catalogue.write(out / CATALOGUE_FILES[survey.name], overwrite=True)
        if (out / f"{survey.name}.zarr").exists():
            continue  # finished before an interruption, and its twin before it
        words = {"made_by": "galtrans simulate"} | settings | {"bands": bands[survey.name]}
        plans = [
            StorePlan(survey, tuple(bands[survey.name]), catalogue, words | {"noise": noise}, chunk_bytes=chunk_bytes)
            for noise in (True, False)
        ]
        path, twin = (out / place / f"{survey.name}.zarr" for place in ("", "truth"))
        seen, truth = begin(plans[0], path), None if twin.exists() else begin(plans[1], twin)
        tasks = [(seen, truth, mine[rows], catalogue[rows], rows) for rows in seen.store.chunks()]
        run_tasks(_make_chunk, tasks, workers, f"render {survey.title}")
        for build in (truth, seen):  # the twin is finished first: a store that has its name is done
            if build:
                build.collect()
                build.finish()


def draw_targets(sample: SimulatedSky) -> Table:
    """Draw the objects of a sample.

    Parameters
    ----------
    sample : SimulatedSky
        What to simulate.

    Returns
    -------
    Table
        As `draw_objects` returns it.
    """
    shared = round(sample.overlap * sample.galaxies)
    return draw_objects(dict.fromkeys(sample.bands, sample.galaxies), shared, sample.seed)


def draw_objects(counts: dict[str, int], shared: int, seed: int) -> Table:
    """Draw objects with their positions.

    They are numbered: first those of the first survey alone, then those of all surveys, then those of each other survey
    alone. The same numbers and seed draw the same galaxies at the same places for any surveys.

    Parameters
    ----------
    counts : dict
        Number of objects in the store of each survey, by its name.
    shared : int
        Number of objects in all of them.
    seed : int
        Seed.

    Returns
    -------
    Table
        As `draw_galaxies` returns it, with positions. A column with the name of each survey says whether it has an
        object, and `truth`, True for all, whether it is also shown without noise.
    """
    rng, count = np.random.default_rng([seed, 0]), shared + sum(each - shared for each in counts.values())
    faint = rng.random(count) > MAIN_SAMPLE
    magnitude = np.where(faint, draw_magnitudes(count, 17.8, 20, 0.4, rng), draw_magnitudes(count, 14, 17.8, 0.35, rng))
    targets = draw_galaxies(magnitude, rng, tuple(counts))
    targets["number"] = np.arange(count)
    side = int(np.ceil(np.sqrt(count)))
    row, col = np.divmod(rng.permutation(side * side)[:count], side)
    jitter = rng.uniform(-0.25, 0.25, (2, count))
    targets["dec"] = CENTRE[1] + (row - side / 2 + jitter[0]) * SPACING
    targets["ra"] = (CENTRE[0] + (col - side / 2 + jitter[1]) * SPACING / np.cos(np.radians(targets["dec"]))) % 360
    alone = next(iter(counts.values())) - shared  # of the first survey; then come those of all
    common, end = (targets["number"] >= alone) & (targets["number"] < alone + shared), 0
    for survey, own in counts.items():
        targets[survey] = common | ((targets["number"] >= end) & (targets["number"] < end + own - shared))
        end = max(end + own - shared, alone + shared)
    targets["truth"] = np.ones(count, bool)
    return targets


def catalogue_of(survey: str, targets: Table, seed: int) -> Table:
    """Return the catalogue of one survey: its own identifiers and positions, redshifts, and truth columns.

    Parameters
    ----------
    survey : str
        Name of the survey.
    targets : Table
        Its objects.
    seed : int
        Seed of the scatter of its positions.

    Returns
    -------
    Table
        One row per object.
    """
    ra, dec = np.asarray(targets["ra"], dtype=float), np.asarray(targets["dec"], dtype=float)
    facts = SIMULATED[survey]
    if facts.astrometry:
        rng = [np.random.default_rng([seed, 3, number, *facts.astrometry_stream]) for number in targets["number"]]
        scatter = np.array([each.normal(0, facts.astrometry / 3600, 2) for each in rng]).reshape(-1, 2)
        ra, dec = (ra + scatter[:, 0] / np.cos(np.radians(dec))) % 360, dec + scatter[:, 1]
    table = Table({"object_id": [f"twin-{survey}-{number:06d}" for number in targets["number"]], "ra": ra, "dec": dec})
    for name in ("redshift", "kind", "r", "half_light_radius", "axis_ratio", "position_angle", "bulge_fraction"):
        table[f"true_{name}" if name != "redshift" else name] = targets[name]
    for band, flux in zip(SURVEYS[survey].bands, np.asarray(targets[f"flux_{survey}"]).sum(axis=1).T, strict=True):
        table[f"true_flux_{band}"] = flux
    for name, unit in {"ra": "deg", "dec": "deg", "true_half_light_radius": "arcsec", "true_r": "mag"}.items():
        table[name].unit = unit
    table.meta = {"survey": survey, "origin": "galtrans twin sky", "seed": seed}
    return table


def surroundings(target: Table, survey: str, rng: np.random.Generator) -> Table:
    """Return a target with the faint galaxies and stars that happen to lie around it on the sky.

    Parameters
    ----------
    target : Table
        The target, one row.
    survey : str
        Name of the survey that sees them.
    rng : Generator
        Random numbers; the survey does not change them.

    Returns
    -------
    Table
        The target, then the others.
    """
    area = np.pi * SURROUNDINGS**2
    galaxies = draw_galaxies(draw_magnitudes(rng.poisson(FAINT_DENSITY * area), 17, 23, 0.4, rng), rng, [survey])
    stars = draw_stars(draw_magnitudes(rng.poisson(STAR_DENSITY * area), 15, 21, 0.13, rng), rng, [survey])
    around = vstack([galaxies, stars])
    distance, angle = SURROUNDINGS / 3600 * np.sqrt(rng.random(len(around))), rng.uniform(0, 2 * np.pi, len(around))
    around["dec"] = target["dec"][0] + distance * np.sin(angle)
    around["ra"] = target["ra"][0] + distance * np.cos(angle) / np.cos(np.radians(target["dec"][0]))
    return vstack([target, around], join_type="inner")


def see(survey: Survey, target: Table, position: tuple[float, float], bands, seed: int) -> SurveyView:
    """Render a cutout of one target and its surroundings, as a survey sees them.

    The result depends on these arguments alone: a target by itself looks as it does among all others.

    Parameters
    ----------
    survey : Survey
        The survey.
    target : Table
        The target, one row.
    position : tuple of float
        ra and dec of the centre of the cutout [deg].
    bands : sequence of str
        Bands to render.
    seed : int
        Seed of the simulation.

    Returns
    -------
    SurveyView
        The cutout.
    """
    number = target["number"][0]
    scene = surroundings(target, survey.name, np.random.default_rng([seed, 4, number]))
    rng = np.random.default_rng([seed, 4 + SIMULATED[survey.name].code, number])
    shape = (len(bands), survey.cutout_size, survey.cutout_size)
    images, truth, mask = np.empty(shape, np.float32), np.empty(shape, np.float32), np.zeros(shape, bool)
    exposures, wcs = VIEWS[survey.north_up](survey, scene, position, bands, rng, truth, images, mask)
    facts = zip(*((exposure.psf.fwhm, exposure.electrons) for exposure in exposures), strict=True)
    return SurveyView(images, truth, mask, wcs, *map(list, facts))


def _make_chunk(seen: Build, truth: Build | None, targets: Table, catalogue: Table, rows: slice) -> None:
    """Render and write one chunk of a store and of its noise-free twin, unless that is done."""
    if seen.has(rows):
        return
    with_noise, without = _render(seen.store, targets, catalogue)
    if truth:
        truth.write(rows, without)
    seen.write(rows, with_noise)


def _render(store: Store, targets: Table, catalogue: Table) -> tuple[Chunk, Chunk]:
    """Render the targets of one chunk of a store: with noise, and those whose truth is known without noise."""
    survey, shape = SURVEYS[store.survey["name"]], (len(targets), len(store.bands), store.size, store.size)
    images, truths, mask = np.empty(shape, np.float32), np.full(shape, np.nan, np.float32), np.zeros(shape, bool)
    names = ("crval", "crpix", "cd", "saturated", "sky_sigma", "psf_fwhm", "gain")
    measured: dict[str, list] = {name: [] for name in names}
    for index in range(len(targets)):
        position = float(catalogue["ra"][index]), float(catalogue["dec"][index])
        view = see(survey, targets[index : index + 1], position, store.bands, store.settings["seed"])
        images[index], mask[index] = view.images, view.mask
        if targets["truth"][index]:
            truths[index] = view.truth
        for name, value in zip(("crval", "crpix", "cd"), tan_terms(view.wcs), strict=True):
            measured[name].append(value)
        measured["saturated"].append(view.mask.sum(axis=(1, 2)))
        measured["sky_sigma"].append([sky_sigma(*each) for each in zip(view.images, view.mask, strict=True)])
        measured["psf_fwhm"].append(view.psf_fwhm)
        measured["gain"].append(view.gain)
    columns = {name: np.array(values) for name, values in measured.items()}
    columns["coverage"] = np.ones(shape[:2])
    columns["zero_point"] = np.full(shape[:2], store.survey["zero_point"])
    columns["source"] = np.full(shape[:2], "galtrans twin sky")
    columns["psf_source"] = columns["saturation_source"] = np.full(shape[:2], "simulation")
    known, nothing = np.asarray(targets["truth"], bool), empty_columns(*shape[:2])
    noiseless = {name: values.copy() for name, values in columns.items()}
    noiseless["sky_sigma"][:] = 0
    for name, values in noiseless.items():
        values[~known] = nothing[name][~known]
    return (
        Chunk(images, mask, columns, _manifest(np.ones_like(known))),
        Chunk(truths, mask | np.isnan(truths), noiseless, _manifest(known)),
    )


def _manifest(there: np.ndarray) -> dict[str, np.ndarray]:
    """Return the manifest of some rows; `there` (object,) says which of them have an image."""
    words = {"status": (DONE, OUTSIDE), "reason": ("", "only the truth of the test pairs is given")}
    words["file"] = ("galtrans twin sky", "")
    return {name: np.where(there, present, absent) for name, (present, absent) in words.items()}


def _view_frame(survey: Survey, scene: Table, position, bands, rng, truths, images, mask) -> tuple[list, WCS]:
    """Fill (band, row, col) views of a scene as frames show it, resampled north up; return exposures and WCS."""
    target = north_up_wcs(*position, survey.pixel_scale, survey.cutout_size)
    turn, night, exposures = rng.uniform(0, 2 * np.pi), draw_night(rng), []
    sin, cos = np.sin(turn), np.cos(turn)
    cd = np.array([[-cos, sin], [sin, cos]]) * survey.pixel_scale / 3600
    shape = (FRAME_PATCH, FRAME_PATCH)
    for index, (band, own) in enumerate(_streams(survey, bands, rng)):
        native = tan_wcs(position, (FRAME_PATCH + 1) / 2 + own.uniform(-0.5, 0.5, 2), cd)
        exposure = draw_exposure(survey.name, band, night, own)
        flux = render(scene, native, shape, exposure.psf, survey.name, band)
        truths[index] = resample(flux, native, target, survey.cutout_size)
        images[index] = resample(exposure.observe(flux, own), native, target, survey.cutout_size)
        exposures.append(exposure)
    return exposures, target


def _view_coadd(survey: Survey, scene: Table, position, bands, rng, truths, images, mask) -> tuple[list, WCS]:
    """Fill (band, row, col) views of a scene as a coadd shows it, on its own pixels; return exposures and WCS."""
    size, degrees = survey.cutout_size, survey.pixel_scale / 3600
    tile = np.array(position) + rng.uniform(-0.45, 0.45, 2)
    cd, middle = [[-degrees, 0], [0, degrees]], np.full(2, (TILE_SIZE + 1) / 2)
    pixel = tan_wcs(tile, middle, cd).wcs_world2pix([position], 0)[0]
    wcs = tan_wcs(tile, middle - np.floor(pixel - (size - 1) / 2 + 0.5), cd)
    exposures = []
    for index, (band, own) in enumerate(_streams(survey, bands, rng)):
        exposure = draw_exposure(survey.name, band, draw_night(own), own)  # bands are taken on other nights
        truths[index] = render(scene, wcs, (size, size), exposure.psf, survey.name, band)
        images[index] = exposure.observe(truths[index], own)
        mask[index] = images[index] >= np.float32(exposure.brightest)
        exposures.append(exposure)
    return exposures, wcs


VIEWS = {True: _view_frame, False: _view_coadd}  # whether cutouts are resampled north up


def _streams(survey: Survey, bands, rng: np.random.Generator) -> list[tuple[str, np.random.Generator]]:
    """Return each band with random numbers of its own, so that the choice of bands changes nothing in a band."""
    return [(band, own) for band, own in zip(survey.bands, rng.spawn(len(survey.bands)), strict=True) if band in bands]
