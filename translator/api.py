"""The functions that users call. Each checks its arguments and calls the part of the package that does the work.

A command of `cli/` parses words and calls one of these, so that notebook and shell do the same thing.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Table, vstack

from survey_tools.accept import (
    Tell,
    a_calibration,
    a_count,
    a_path,
    a_store,
    a_store_path,
    a_survey,
    an_angle,
    is_elsewhere,
    per_band,
    silent,
    workers_of,
)
from survey_tools.errors import ArgumentError, GaltransError, RunError
from survey_tools.files import whole_file
from survey_tools.store.partitioned import PartitionedStore, is_partitioned
from survey_tools.store.zarr_store import Store
from translator.accept import OF_BEST, a_precision, a_run, is_in_memory, some_depths, some_hdus
from translator.recipes import RECIPES, Recipe
from translator.runs.built_in import BuiltInModel, find_model, models
from translator.runs.checkpoint import BEST, Run, locate
from translator.runs.checkpoint import load_run as load_run_folder
from translator.runs.facts import read_facts
from translator.runs.in_words import Summary, summarise, summarise_run
from translator.runs.recipe_names import find_recipe, name_recipe
from translator.translation.asking import How, settled
from translator.translation.files import is_made, translate_files, translate_hdus
from translator.translation.inputs import find_files, group_by_object
from translator.translation.partitions import translate_partitions
from translator.translation.stores import translate_store
from translator.translation.translated import row_of_file

TABLE = "translated.ecsv"
REPORT_FILES = ("report.html", "report.json", "galaxies.ecsv")
"""Names of the files that `evaluate` writes: the page, and the same numbers for programs."""

OF_FILES = ("at", "size", "like", "preview", "unit", "zero_point")  # what is not for stores


def load_run(run: Any, device: str = "auto", *, recipe: Recipe | None = None) -> Run:
    """Load a trained run.

    Parameters
    ----------
    run : str or path-like
        The name of a model that comes with galtrans, such as "sdss-cfhtls", or the folder of a training, whose last
        state is loaded; "FOLDER@best" is its best one, if it was validated.
    device : str
        "auto" (a GPU if there is one), "cpu", "cuda" or "cuda:1".
    recipe : Recipe, optional
        The recipe of a run that was trained with one of your own, where it cannot be imported.

    Returns
    -------
    Run
        Its ``networks`` are ready for use; `translate` takes it.

    Raises
    ------
    ArgumentError, RunError
        There is no such run, it is damaged, or its training has not come to its last step.

    Examples
    --------
    >>> from translator import load_run
    >>> run = load_run("sdss-cfhtls", device="cpu")
    >>> run.recipe, "".join(run.bands)
    ('psf_matched', 'ugriz')
    """
    return load_run_folder(a_run(run), device, recipe=recipe)


def find_run(run: Any) -> Path | None:
    """The folder of a run, or of a built-in model of that name; None where there is none."""
    path = a_path(run, "run")
    if path.name.endswith(OF_BEST) and not path.exists():
        path = path.with_name(path.name.removesuffix(OF_BEST)) / BEST
    if path.exists() or path.with_name(f"{path.name}.part").exists():
        return path if (path / "run.json").is_file() else None
    return find_model(str(path))


def list_models() -> list[BuiltInModel]:
    """The trained models that come with galtrans: name, folder and card of each."""
    return models()


def describe_recipe(recipe: str | Recipe) -> Summary:
    """What a recipe has and does: numbers of parameters, steps, turns and losses."""
    return summarise(_a_recipe(recipe))


def describe_run(run: Any) -> list[tuple[str, str]]:
    """Say what a run is and how far it is: pairs of a label and a text."""
    return summarise_run(a_run(run))


def _a_recipe(recipe: str | Recipe) -> Recipe:
    """A recipe, from itself or its name."""
    if isinstance(recipe, Recipe):
        return recipe
    try:
        return find_recipe(recipe)
    except RunError as error:
        raise ArgumentError("recipe", str(error)) from error


def train(
    x: Any,
    y: Any,
    pairs: Any = None,
    *,
    run: Any,
    recipe: str | Recipe | None = None,
    start_from: Any = None,
    iterations: int | Sequence[int] | None = None,
    batch_size: int | None = None,
    width: int | None = None,
    seed: int = 0,
    device: str = "auto",
    precision: str | None = None,
    data: str = "auto",
    checkpoint_every: int = 500,
    validate_every: int | None = None,
    until: str | None = None,
    patience: int | None = None,
    resume: bool = False,
    bands: Any = None,
    tell: Tell = silent,
) -> Run:
    """Train a model to translate between the surveys of two stores.

    The train rows of the pairs serve as pairs, their test and validation rows do not train, and all other objects serve
    as unpaired images. A training that is stopped, by Ctrl-C too, is resumed to the very weights of one that was never
    stopped.

    Parameters
    ----------
    x, y : Store or path-like
        The store of the survey with the larger pixels (SDSS), and the other (CFHTLS).
    pairs : path-like or Table, optional
        What `survey_tools.crossmatch` gives. A recipe that learns from unpaired images alone can do without.
    run : path-like
        The folder of the run.
    recipe : str or Recipe, optional
        The name of a recipe of galtrans (`RECIPES`), "my_module:NAME" of one of your own, or a `Recipe`. By default
        that of `start_from`, or "two_step".
    start_from : Run, str or path-like, optional
        A run, its folder, or the name of a model that comes with galtrans, from whose weights the training begins. Its
        recipe and the shapes of its weights must be the same; weights of `psf_matched` also begin a training in fewer
        bands. What is measured of the surveys (noise, seeing, colours) is measured anew on `x` and `y`.
    iterations : int or sequence of int, optional
        Iterations of each step, one number for all or one for each; by default the recipe's. With `resume` they may be
        more than the run was begun with, even if it has ended: steps that are over keep theirs, the present (or last)
        step becomes longer, and its learning rate goes on as it is at this part of the longer step.
    batch_size : int, optional
        Images of x, of y, and pairs in a batch; by default the recipe's.
    width : int, optional
        Of the networks; narrower ones are faster. By default the recipe's.
    seed : int
        Of everything random.
    device : str
        "auto", "cpu", "cuda" or "cuda:1".
    precision : {"float32", "tf32", "bf16"}, optional
        Of convolutions; by default the recipe's.
    data : {"auto", "device", "stream"}
        Keep all images in the device's memory, or read them ahead of their use.
    checkpoint_every : int
        Iterations between checkpoints.
    validate_every : int, optional
        Iterations between validations: some measures of the report are made on at most 64 pairs that do not train, as
        curves, and the best state is kept beside the last one (`load_run` takes it as "RUN@best"). The pairs are those
        that the table keeps for validation, or else a tenth of those that train.
    until : str, optional
        "[direction.]measure[.band]=value", such as "signal_residual=0.07". The step in which a validation is better
        than the value ends there; the steps after it are trained whole.
    patience : int, optional
        A step ends after this many validations without a better one.
    resume : bool
        Go on from the newest checkpoint of the run.
    bands : str or sequence of str, optional
        Bands of both stores to train on, such as "gri"; by default all that both stores have.
    tell : callable
        Is given lines for the user.

    Returns
    -------
    Run
        The trained model.

    Raises
    ------
    ArgumentError, StoreError, RunError
        An argument or a store cannot be used; the run exists already and is not to be resumed; or a loss is not finite.

    Examples
    --------
    >>> from translator import train
    >>> run = train("sdss.zarr", "cfht.zarr", "pairs.ecsv", recipe="psf_matched", run="runs/mine")  # doctest: +SKIP
    """
    from translator.data.selection import describe
    from translator.runs.device import keep_memory
    from translator.training import loop
    from translator.training.ranks import joined
    from translator.training.session import TrainingInputs, TrainingSettings, open_together
    from translator.training.start import Start

    path = a_path(run, "run")
    start = None if start_from is None else Start(_name_of_run(start_from), a_run(start_from, "start_from"))
    recipe = recipe or (read_facts(start.path).recipe if start else "two_step")
    _check_recipe(recipe, pairs, x, y)
    stores = [a_store_path(x, "x"), a_store_path(y, "y")]
    optional = {"batch_size": batch_size, "width": width, "validate_every": validate_every, "patience": patience}
    for name, value in optional.items():
        if value is not None:
            a_count(value, name, 1)
    counts = None
    if iterations is not None:
        several = iterations if isinstance(iterations, (list, tuple)) else (iterations,)
        counts = tuple(a_count(each, "iterations", 1) for each in several)
    with _pairs_as_file(pairs, path) as table, joined(device) as (share, device):
        settings = TrainingSettings(
            recipe,
            counts,
            batch_size,
            a_count(seed, "seed"),
            device,
            checkpoint_every,
            width,
            precision,
            data,
            _bands_of_both(bands),
            start,
            validate_every,
            until,
            patience,
        )
        session = open_together(TrainingInputs(*stores, table), path, settings, share, resume=resume)
        say = tell if share.rank == 0 else silent
        for line in session.notes:
            say(line)
        names = {"x": f"unpaired {stores[0].name}", "y": f"unpaired {stores[1].name}", "pairs": "pairs"}
        for name, numbers in session.selection.counts.items():
            say(f"{names[name]}: {describe(numbers)}")
        total, where = sum(session.facts.iterations), str(session.batches.device)
        where += f", one of {share.count} processes" if share.count > 1 else ""
        say(
            f"recipe {session.facts.recipe}: {total} iterations of {session.facts.batch_size} on {where}, from "
            f"{session.iteration}"
        )
        say(session.batches.data)
        if session.batches.device.type == "cpu":
            keep_memory()
        loop.train(session)
        for line in session.last_words():
            say(line)
        if share.rank > 0:  # the first process may still be writing the checkpoint
            return session.run
        return load_run_folder(path, device, recipe=recipe if isinstance(recipe, Recipe) else None)


def _bands_of_both(bands: Any) -> tuple[str, ...] | None:
    """The bands to take of two stores, each once; None for all that both have."""
    if bands is None:
        return None
    taken = tuple(bands) if isinstance(bands, (str, list, tuple)) else ()
    if not taken or len(set(taken)) != len(taken) or not all(isinstance(band, str) for band in taken):
        raise ArgumentError("bands", f"{bands!r}: give each band once, such as gri")
    return taken


def _name_of_run(run: Any) -> str:
    """What a user calls a run, or the folder of a `Run`."""
    return str(run.path if isinstance(run, Run) else run)


def _check_recipe(recipe: str | Recipe, pairs: Any, x: Any, y: Any) -> None:
    """ArgumentError where a recipe is not known, or reads pairs and has none."""
    row = _a_recipe(recipe)
    if pairs is None and row.reads_pairs:
        names = [each.path if isinstance(each, STORES) else each for each in (x, y)]
        unpaired = ", ".join(name for name, each in RECIPES.items() if not each.reads_pairs)
        raise ArgumentError(
            "pairs",
            f"recipe {name_recipe(recipe)} needs a pair table: make one with `galtrans "
            f"crossmatch {names[0]} {names[1]} --out pairs.ecsv`, or train a recipe that reads none ({unpaired})",
        )


@contextmanager
def _pairs_as_file(pairs: Any, run: Path) -> Iterator[Path | None]:
    """The pair table as a file: its own, or, of a table in memory, one beside the run."""
    if not isinstance(pairs, Table):
        yield None if pairs is None else a_path(pairs, "pairs")
        return
    path = run.with_name(f"{run.name}.pairs.ecsv")
    with whole_file(path) as temporary:
        pairs.write(temporary, format="ascii.ecsv")
    yield path


@dataclass(frozen=True)
class Translations:
    """What became of files that were translated.

    Attributes
    ----------
    table : Table
        A row for each translation: file, output, position, conditions, consistency and flags.
    paths : list of Path
        The translations, in the order of their inputs.
    wanted : int
        How many objects were to be translated.
    survey : str
        The title of the survey that they were translated into.
    kept : list of Path
        Those that were there already, made from the same.
    notes : list of str
        Lines for the user on single files.
    errors : list of GaltransError
        Of the files that could not be translated. If there is one object only, its error is raised instead.
    """

    table: Table
    paths: list[Path]
    wanted: int
    survey: str
    kept: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    errors: list[GaltransError] = field(default_factory=list)


def translate(
    run: Any,
    image: Any,
    *,
    to: str | None = None,
    out: Any = None,
    seeing: Any = None,
    depth: Any = None,
    like: Any = None,
    draws: int = 0,
    planes: bool = False,
    noise: bool = True,
    at: Any = None,
    size: Any = None,
    bands: Any = None,
    unit: Any = None,
    zero_point: float | None = None,
    seed: int = 0,
    preview: bool = False,
    force: bool = False,
    device: str = "auto",
    precision: str = "float32",
    workers: Any = 1,
    wait_for_workers: float | None = None,
    overwrite: bool = False,
    tell: Tell = silent,
) -> fits.HDUList | Translations | Store:
    """Translate an image, FITS files, or a whole store, with a trained run.

    Parameters
    ----------
    run : Run, str or path-like
        A run, its folder, or the name of a model that comes with galtrans.
    image : NDData, HDUList, (array, WCS), path-like, sequence of path-like, or Store
        An image in memory: an NDData or CCDData for each band, as a mapping ``{"g": …, "r": …}`` (what ``store[i]``
        gives) or as a sequence whose ``meta`` say the bands; an HDUList with an image HDU for each band; or an array
        (band, row, col) with its WCS and ``unit``. Or FITS files and folders of them: files whose names differ only in
        the letter of a band are one object. Or a store.
    to : str
        The survey to translate into. A store can do without.
    out : path-like, optional
        A folder for the translations of files, or the store to make. Without it, a single image is translated in
        memory.
    seeing : Quantity or float, optional
        FWHM of stars that is wanted [arcsec], one number or one for each band; by default the survey's usual.
    depth : str or Quantity, optional
        Noise that is wanted: "25.2mag" (5 sigma within 2 arcsec) or "0.002nanomaggy" (of a pixel).
    like : path-like, optional
        A FITS file whose grid, seeing and depth are wanted.
    draws : int
        Draws to make beside the best guess.
    planes : bool
        Whether to add SIGNAL, SIGMA and MASK of each band.
    noise : bool
        Whether to add the survey's noise.
    at : SkyCoord or (float, float), optional
        Translate the part around this position (right ascension and declination [deg]).
    size : Quantity or float, optional
        Side of that part [arcsec].
    bands : str or sequence of str, optional
        Bands of an array, in their order; by default those of the run.
    unit, zero_point : optional
        Unit of the pixels, or AB magnitude of one unit, where a header states none.
    seed : int
        Of the noise. The same image and seed give the same noise.
    preview : bool
        Whether to write a PNG beside each file.
    force : bool
        Translate inputs, too, that say they are of another survey or synthetic.
    device : str
        "auto", "cpu", "cuda" or "cuda:1".
    precision : {"float32", "bf16", "auto"}
        In which the networks multiply; "auto" is "bf16" where the device is clearly faster with it. The output states
        it.
    workers, wait_for_workers, tell
        As for `survey_tools.fetch`.
    overwrite : bool
        Replace translations that are there and were made from something else.

    Returns
    -------
    HDUList, Translations or Store
        Of an image in memory, or one without ``out``: an image HDU for each band in nanomaggies, on the pixels of the
        target survey, with WCS and provenance. Of files with ``out``: what became of them. Of a store: the new one.

    Raises
    ------
    ArgumentError, RunError, ImageError, StoreError
        An argument, the run, the image or the store cannot be used.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.wcs import WCS
    >>> from translator import translate
    >>> grid = WCS({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 150.0, "CRVAL2": 2.0, "CRPIX1": 32.5,
    ...             "CRPIX2": 32.5, "CDELT1": -1.1e-4, "CDELT2": 1.1e-4})
    >>> image = np.random.default_rng(0).normal(0, 0.02, (5, 64, 64))
    >>> hdus = translate("sdss-cfhtls", (image, grid), to="cfht", unit="nanomaggy", device="cpu")
    >>> [hdu.name for hdu in hdus if len(hdu.name) == 1], hdus["r"].shape
    (['u', 'g', 'r', 'i', 'z'], (136, 136))
    """
    given = a_calibration(unit, zero_point)
    if to is not None:
        to = a_survey(to, "to").name
    if size is not None and at is None:
        raise ArgumentError("size", "it is that of the part around `at`, which is missing")
    if like is not None and at is not None:
        raise ArgumentError("like", "it takes the grid of another file, and `at` makes one: give one of them")
    how = How(
        noise=noise,
        seed=a_count(seed, "seed"),
        seeing=per_band(seeing, u.arcsec, "seeing"),
        depth=some_depths(depth),
        like=None if like is None else a_path(like, "like").absolute(),
        draws=a_count(draws, "draws"),
        planes=planes,
        at=_a_place(at),
        size=None if size is None else an_angle(size, "size"),
        unit=given.unit,
        zero_point=given.zero_point,
        preview=preview,
        force=force,
        precision=a_precision(precision),
    )
    paths = None if is_in_memory(image) else _paths_of(image, to)
    with workers_of(workers, wait_for_workers, tell) as engine:
        if isinstance(paths, STORES) or (paths and _is_store(paths[0], to)):
            return _store(run, paths, out, to, how, device, engine, overwrite)
        if to is None:
            raise ArgumentError("to", "it is needed, because images do not say into which survey to translate them")
        if out is not None:
            if paths is None:
                raise ArgumentError(
                    "out", "an image in memory is translated in memory; write the HDUList that comes back"
                )
            return _files(run, paths, a_path(out, "out"), to, how, device, engine, overwrite)
    model = run if isinstance(run, Run) else load_run(run, device)
    if paths is None:
        surveys = (a_survey(domain.survey) for domain in model.domains.values())
        known = dict.fromkeys(band for survey in surveys for band in survey.bands)
        return translate_hdus(model, some_hdus(image, tuple(bands) if bands else model.bands, known), to, how)
    objects = group_by_object(find_files(paths))
    if len(objects) > 1:
        raise ArgumentError("out", f"{len(objects)} objects are translated into a folder: give `out`")
    return translate_hdus(model, next(iter(objects)), to, how)


def _a_place(at: Any) -> tuple[float, float] | None:
    """Right ascension and declination [deg] of a position."""
    if at is None:
        return None
    if isinstance(at, SkyCoord):
        at = (at.icrs.ra.deg, at.icrs.dec.deg)
    try:
        ra, dec = (float(u.Quantity(each, u.deg).to_value(u.deg)) for each in at)
    except (TypeError, ValueError) as error:
        raise ArgumentError("at", f"{at!r} is no position; give a SkyCoord, or (ra, dec) in degrees") from error
    if not (0 <= ra < 360 and -90 <= dec <= 90):
        raise ArgumentError("at", f"{ra:g} {dec:g}: give right ascension (0 to 360) and declination in degrees")
    return ra, dec


STORES = (Store, PartitionedStore)


def _paths_of(image: Any, to: str | None) -> Store | PartitionedStore | list[Path]:
    """A store, or the paths that are meant."""
    if isinstance(image, STORES):
        return image
    several = [image] if isinstance(image, (str, os.PathLike)) else image
    if not isinstance(several, (list, tuple)):
        raise ArgumentError(
            "image",
            f"{type(image).__name__} is no image; give a path, an HDUList, an NDData for each band, or (array, WCS)",
        )
    if len(several) == 1 and isinstance(several[0], str) and "://" in several[0]:
        return a_store(several[0], "image")
    paths = [a_path(each, "image") for each in several]
    stores = [path for path in paths if _is_store(path, to)]
    if stores and len(paths) > 1:
        raise ArgumentError("image", f"{stores[0]} is a store: give one store alone, or FITS files alone")
    return paths


def _is_store(path: Path, to: str | None) -> bool:
    """Whether a path is meant as a store."""
    marks = (path / "zarr.json", path / "manifest.ecsv")
    known = path.suffix == ".zarr" or any(mark.exists() for mark in marks) or is_partitioned(path)
    return path.is_dir() and (known or to is None)


def _store(run: Any, source: Any, out: Any, to, how: How, device: str, engine: Any, overwrite: bool) -> Store:
    """A store, translated into a store."""
    plain = How()
    others = [name for name in OF_FILES if getattr(how, name) != getattr(plain, name)]
    if others:
        raise ArgumentError(
            others[0], "it is for FITS files; stores take seeing, depth, draws, planes, noise and precision"
        )
    if out is None:
        raise ArgumentError("out", "a store is translated into a store: give `out`, such as translated.zarr")
    path, target, folder = (source.path if isinstance(source, STORES) else source[0]), a_path(out, "out"), a_run(run)
    if is_elsewhere(engine):
        path, target, folder = path.absolute(), target.absolute(), folder.absolute()
    model = run if isinstance(run, Run) else folder
    make = translate_partitions if is_partitioned(path) else translate_store
    return make(model, path, target, to=to, how=how, device=device, engine=engine, overwrite=overwrite)


def _files(
    run: Any, paths: Sequence[Path], out: Path, to: str, how: How, device: str, engine: Any, overwrite: bool
) -> Translations:
    """FITS files, translated into a folder; all that can be are, before an error is reported."""
    elsewhere, folder = is_elsewhere(engine), a_run(run)
    if elsewhere:  # the workers are at home in other folders
        folder, paths, out = folder.absolute(), [path.absolute() for path in paths], out.absolute()
    objects = group_by_object(find_files(paths))
    outputs = {files: out / f"{name}_{to}.fits" for files, name in objects.items()}
    if len(set(outputs.values())) < len(outputs):
        raise ArgumentError(
            "image", "two of the files have the same name, so their results would; translate them into two folders"
        )
    located, trained = locate(run if isinstance(run, Run) else folder, device, elsewhere=elsewhere)
    trained.domain_of(to)
    how = settled(how, trained)
    existing = {} if overwrite else {files: made for files, made in outputs.items() if made.exists()}
    kept = {files for files, made in existing.items() if is_made(trained, files, made, how)}
    others = [made for files, made in existing.items() if files not in kept]
    if others:
        raise ArgumentError(
            "out",
            f"{others[0]} exists already and was made from something else; choose another `out` or pass `overwrite`",
        )
    todo = {files: made for files, made in outputs.items() if files not in kept}
    outcome = translate_files(located, to, todo, engine, how)
    if outcome.errors and len(objects) == 1:
        raise outcome.errors[0]
    before = [row_of_file(files[0].name, outputs[files]) for files in outputs if files in kept]
    table = Table(rows=before + outcome.rows) if before or outcome.rows else Table()
    if len(table):
        _write_table(out / TABLE, table)
    made_now = {str(row["output"]) for row in outcome.rows}
    there = [made for files, made in outputs.items() if files in kept or made.name in made_now]
    same = [outputs[files] for files in outputs if files in kept]
    return Translations(table, there, len(outputs), a_survey(to).title, same, outcome.notes, outcome.errors)


def _write_table(path: Path, table: Table) -> None:
    """Write what was done; rows of an earlier call stay where they are of other outputs."""
    if path.exists():
        try:
            before = Table.read(path)
            before = before[[str(name) not in set(table["output"]) for name in before["output"]]]
            table = vstack([before, table], metadata_conflicts="silent") if len(before) else table
        except (OSError, ValueError, KeyError):  # somebody's own file: it is replaced by what was done now
            pass
    with whole_file(path) as temporary:
        table.write(temporary, format="ascii.ecsv")


def evaluate(
    runs: Any,
    x: Any,
    y: Any,
    pairs: Any,
    *,
    out: Any,
    truth: Any = None,
    require: Any = None,
    galaxies: int | None = None,
    draws: int = 8,
    bands: Any = None,
    device: str = "auto",
    seed: int = 0,
    workers: Any = 1,
    wait_for_workers: float | None = None,
    overwrite: bool = False,
    tell: Tell = silent,
):
    """Measure how good the translations of runs are, on galaxies that training never saw.

    The test rows of the pairs are translated both ways by each run, and are compared with the other survey's images,
    and with the truth where it is given. The report is a page, a JSON file and a table in ``out``.

    Parameters
    ----------
    runs : Run, path-like, or sequence of these
        Trained runs.
    x, y : Store or path-like
        The stores.
    pairs : path-like or Table
        Their pair table.
    out : path-like
        The folder of the report.
    truth : path-like, optional
        The folder with the same images without noise, as `survey_tools.simulate` writes it.
    require : path-like, optional
        A TOML file of requirements.
    galaxies : int, optional
        Test galaxies at most, drawn at random.
    draws : int
        Noise realisations of some galaxies.
    bands : str or sequence of str, optional
        Bands of the stores to take, such as "gri"; by default those of the first run.
    device, seed, workers, wait_for_workers, tell
        As for `translate`.
    overwrite : bool
        Replace an existing report.

    Returns
    -------
    translator.evaluation.tables.Report
        Its folder and its tables (``tables["measures"]``, ...); ``print`` shows the verdict on each run.

    Raises
    ------
    ArgumentError, StoreError, RunError
        An argument, a store or a run cannot be used.

    Examples
    --------
    >>> from translator import evaluate
    >>> report = evaluate("runs/mine", "sdss.zarr", "cfht.zarr", "pairs.ecsv", out="report")  # doctest: +SKIP
    """
    from translator.evaluation.evaluate import EvaluationInputs, EvaluationSettings
    from translator.evaluation.evaluate import evaluate as make_report
    from translator.evaluation.requirements import RequirementError

    folder = a_path(out, "out")
    there = [folder / name for name in REPORT_FILES if (folder / name).exists()]
    if there and not overwrite:
        raise ArgumentError("out", f"{there[0]} exists already; choose another `out` or pass `overwrite`")
    several = [runs] if isinstance(runs, (str, os.PathLike, Run)) else list(runs)
    if not several:
        raise ArgumentError("runs", "give at least one run")
    stores = [a_store_path(x, "x"), a_store_path(y, "y")]
    with _pairs_as_file(pairs, folder) as table, workers_of(workers, wait_for_workers, tell) as engine:
        inputs = EvaluationInputs(
            tuple(a_run(each, "runs") for each in several),
            *stores,
            table,
            None if truth is None else a_path(truth, "truth"),
        )
        settings = EvaluationSettings(
            None if galaxies is None else a_count(galaxies, "galaxies", 1),
            draws,
            device,
            seed,
            engine.workers,
            _bands_of_both(bands),
        )
        where = folder.absolute() if is_elsewhere(engine) else folder
        try:
            wanted = None if require is None else a_path(require, "require")
            report = make_report(inputs, settings, where, wanted, engine)
        except RequirementError as error:
            raise ArgumentError("require", str(error)) from error
    for line in report.summary:
        tell(line)
    return report


def card(run: Any, *, report: Any = None, out: Any = None, overwrite: bool = False) -> str:
    """Describe a run for other people: a model card as the Hugging Face Hub shows it.

    The card says what the model was trained on, how it is loaded, how good it is by a report, which seeing and noise it
    has seen, and the checksum of its weights.

    Parameters
    ----------
    run : Run, str or path-like
        A run, its folder, or the name of a model that comes with galtrans.
    report : Report or path-like, optional
        A report of `evaluate` on this run: what it returned, its folder, or its report.json. Without one, the card says
        that nothing was measured.
    out : path-like, optional
        A file to write, such as README.md.
    overwrite : bool
        Replace an existing file.

    Returns
    -------
    str
        The card: Markdown that begins with YAML.

    Raises
    ------
    ArgumentError, RunError
        There is no such run or report, the report has measured other weights, or the file exists already.

    Examples
    --------
    >>> from translator import card
    >>> print(card("sdss-cfhtls").splitlines()[1])
    library_name: "galtrans"
    """
    from translator.model_card import model_card, read_report

    path = None if out is None else a_path(out, "out")
    if path is not None and path.exists() and not overwrite:
        raise ArgumentError("out", f"{path} exists already; choose another `out` or pass `overwrite`")
    content = getattr(report, "content", None)
    if report is not None and content is None:
        content = read_report(a_path(report, "report"))
    text = model_card(a_run(run), content)
    if path is not None:
        with whole_file(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return text


def preview(store: Any, pictures: Mapping[int, Any]) -> list[Path]:
    """Write pictures of objects of a store as PNG files.

    Parameters
    ----------
    store : Store or path-like
        The store.
    pictures : mapping of int to path-like
        Of each row, the file to write.

    Returns
    -------
    list of Path
        The files.
    """
    from survey_tools.progress import over
    from translator.translation.preview import write_store_preview

    opened = a_store(store, "store")
    paths = {row: a_path(path, "pictures") for row, path in pictures.items()}
    wrong = [row for row in paths if not 0 <= row < len(opened)]
    if wrong:
        raise ArgumentError("pictures", f"{wrong[0]}: the store has rows 0 to {len(opened) - 1}")
    for row in over(list(paths), "pictures", "file"):
        write_store_preview(opened, row, paths[row])
    return list(paths.values())


def import_weights(source: Any, run: Any, *, recipe: str = "two_step"):
    """Make a run out of the authors' weights: a TensorFlow checkpoint, or an .npz of {variable name: array}.

    Parameters
    ----------
    source : path-like
        The prefix of a checkpoint, the folder that holds it, or an .npz.
    run : path-like
        The folder of the new run.
    recipe : str
        The recipe that the weights are of.

    Returns
    -------
    survey_tools report of parameters
        ``parameters`` by network, ``iteration``, and the variables that were ``ignored`` or ``absent``.

    Raises
    ------
    ArgumentError, RunError
        The source cannot be used, or the run exists already.
    """
    from translator.weights import transfer

    _a_recipe(recipe)
    return transfer.import_weights(a_path(source, "source"), recipe, a_path(run, "run"))


def export_weights(run: Any, out: Any, *, overwrite: bool = False):
    """Write the newest weights of a run as an .npz, with the names and layouts of the authors' code.

    Raises
    ------
    ArgumentError, RunError
        The file exists already or does not end in .npz, or the run cannot be used.
    """
    from translator.weights import transfer

    path = a_path(out, "out")
    if path.suffix != ".npz":
        raise ArgumentError("out", f"{str(path)!r}: its name must end in .npz")
    if path.exists() and not overwrite:
        raise ArgumentError("out", f"{path} exists already; choose another `out` or pass `overwrite`")
    return transfer.export_weights(a_run(run), path)
