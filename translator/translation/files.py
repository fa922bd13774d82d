"""Translate FITS images of one survey into images of the other, calibrated and with a WCS, by a trained run."""

import hashlib
import logging
import threading
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning
from astropy.wcs import WCS

from survey_tools.errors import GaltransError, ImageError
from survey_tools.files import whole_file
from survey_tools.fits.band_fits import BandImage, header_text, read_bands, read_masks
from survey_tools.fits.in_memory import FitsInMemory
from survey_tools.fits.writing import band_and_mask_hdus, write_bands, write_hdus
from survey_tools.images.cutout import resample, resample_flags
from survey_tools.images.sky_wcs import local_scale, plain_tan, rescaled_wcs
from survey_tools.sphere import unit_vectors
from survey_tools.surveys import find_survey
from survey_tools.tasks import Engine
from survey_tools.version import VERSION
from translator.images import OTHER
from translator.runs.apply import noise_seed, together_on, translate_each, what_noise
from translator.runs.checkpoint import Run, RunAt
from translator.runs.device import keep_memory
from translator.translation.asking import How, settled
from translator.translation.observation import (
    SCALE_TOLERANCE,
    read_observation,
    reading_fits,
    require_survey,
    same_grid,
)
from translator.translation.preview import write_preview
from translator.translation.translated import (
    LARGE,
    SYNTHETIC,
    Translated,
    place_of,
    row_of,
    translate_observation,
    translated_hdus,
)

SAME_PLACE = 5.0  # [arcsec] between the position of a header and that of --at, for one object
NAME_LENGTH = 40  # characters of a name that fit into a header card beside the comment
SENT = 16  # files of a task on a cluster
WAITING = 2  # additional threads, because only one at a time reads or writes FITS
WASTED = 2.0  # largest area of an image that is cut without being asked, in units of the area that a model reads
log = logging.getLogger(__name__)
_large = threading.Lock()  # held while a large image is translated, which takes much memory
Inputs = tuple[Path | FitsInMemory, ...]  # the files of one object or field


@dataclass
class TranslationOutcome:
    """The result of translating files.

    Attributes
    ----------
    rows : list of dict
        Rows of the table of a command, one for each translation.
    notes : list of str
        Lines for the user.
    errors : list of GaltransError
        Errors of files that cannot be translated.
    """

    rows: list[dict[str, object]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    errors: list[GaltransError] = field(default_factory=list)

    def add(self, other: "TranslationOutcome") -> None:
        """Add the result of other files."""
        self.rows += other.rows
        self.notes += other.notes
        self.errors += other.errors


@dataclass(frozen=True)
class Read:
    """A file that was read for a recipe that reads only images, of one size.

    Attributes
    ----------
    images : array
        Images (band, row, col) [nanomaggy/pixel], in the order of the run's bands.
    header : Header
        Header of the primary HDU.
    checksum : str
        SHA-256 of the file.
    target : WCS
        WCS of its translation.
    flags : array of bool
        Pixels of the translation (band, row, col) that rest on pixels that the file flags (`MASK_r` of band r).
    """

    images: np.ndarray
    header: fits.Header
    checksum: str
    target: WCS
    flags: np.ndarray


def translate_file(run: Run, path: Path | Inputs, domain: str, out: Path, **how) -> Path:
    """Translate one object or field and write the result.

    Parameters
    ----------
    run : Run
        The trained model.
    path : Path or tuple of Path
        FITS file of the other domain's survey: one image HDU a band, named by EXTNAME or FILTER, or a cube; or several
        files with some of the bands each. A recipe that reads any image also accepts missing bands, gaps, and any
        number of pixels.
    domain : str
        "x" or "y", where the translation lands.
    out : Path
        File to write: one image HDU a band [nanomaggy/pixel] on the grid of the target survey; NaN where a pixel would
        rest on too little input.
    **how
        Fields of `asking.How`. The same input and seed give the same noise.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ImageError
        If the input lacks a band, a WCS, a unit, or pixels within the angle that the model sees.
    """
    outcome = translate_group(run, domain, [(_inputs(path), out)], settled(How(**how), run))
    if outcome.errors:
        raise outcome.errors[0]
    return out


def translate_files(located: RunAt, to: str, files: dict, engine: Engine, how: How | None = None) -> TranslationOutcome:
    """Translate many files, each as `translate_file` does; files are read and written while networks work on others.

    Parameters
    ----------
    located : RunAt
        The trained model.
    to : str
        Survey to translate into.
    files : dict
        File, or tuple of files, to read, to the file to write.
    engine : Engine
        Where they are translated. Its number of workers plus `WAITING` is the number of files in memory (on a GPU,
        times the number that passes the networks together).
    how : How, optional
        What is asked.

    Returns
    -------
    TranslationOutcome
        Rows, notes and errors; an error of one file does not stop the others.
    """
    step = SENT
    if engine.client is None:
        keep_memory()
        step = together_on(located.open().device)
        engine = replace(engine, workers=engine.workers + WAITING)
    pairs = [(_inputs(path), out) for path, out in files.items()]
    groups = [pairs[start : start + step] for start in range(0, len(pairs), step)]
    unit = "file" if step == 1 else f"{step} files"
    task = partial(_translate_at, located, to, how or How())
    outcome = TranslationOutcome()
    for each in engine.run(task, groups, "translate", unit):
        outcome.add(each)
    return outcome


def _inputs(path: Path | Inputs) -> Inputs:
    """Return the files of one object as a tuple."""
    return path if isinstance(path, tuple) else (path,)


def _translate_at(located: RunAt, to: str, how: How, files: list[tuple[Inputs, Path]]) -> TranslationOutcome:
    """Run one task: translate a few files."""
    run = located.open()
    return translate_group(run, run.domain_of(to), files, settled(how, run))


def translate_group(run: Run, domain: str, files: list[tuple[Inputs, Path]], how: How) -> TranslationOutcome:
    """Translate a few objects, each to the path beside it."""
    if run.use.reads_any:
        outcome = TranslationOutcome()
        for paths, out in files:
            try:
                row, notes = _translate_any(run, domain, paths, out, how)
            except GaltransError as error:  # the other files are still worth translating
                outcome.errors.append(error)
            else:
                outcome.add(TranslationOutcome([row], notes))
        return outcome
    return _translate_plain(run, domain, files, how)


def _translate_any(run: Run, domain: str, paths: Inputs, out: Path, how: How) -> tuple[dict[str, object], list[str]]:
    """Translate one object or field by a recipe that reads any image; return its row and the lines on it."""
    made, primary = _make_any(run, domain, paths, how)
    with reading_fits:
        hdus = translated_hdus(made, run, primary, planes=how.planes)
        with whole_file(out) as temporary:
            write_hdus(hdus, temporary)
    if how.preview:
        write_preview(made, run, out.with_suffix(".png"))
    return row_of(made, run, out), _lines(made)


def _lines(made: Translated) -> list[str]:
    """Return the notes on a translation, each with the name of its input."""
    return [f"{made.observation.name}: {note}" for note in made.notes]


def _make_any(run: Run, domain: str, paths: Inputs, how: How) -> tuple[Translated, fits.Header]:
    """Read and translate one object or field by a recipe that reads any image; return it and its primary header."""
    here, there = run.domains[OTHER[domain]], run.domains[domain]
    observation = read_observation(paths, run.bands, here, how, there)
    if observation.images[0].size > LARGE:
        with _large:
            made = translate_observation(run, observation, domain, how)
    else:
        made = translate_observation(run, observation, domain, how)
    primary = _primary(run, domain, observation.header, observation.name, observation.checksum, how)
    if observation.resampled:
        primary.add_history(f"The input was {observation.resampled}.")
    missing = int((~np.isfinite(made.whole.image[observation.bands])).sum())
    if missing:
        primary["GTGAPS"] = (missing, "pixels that rest on too little input")
    return made, primary


def _translate_plain(run: Run, domain: str, files: list[tuple[Inputs, Path]], how: How) -> TranslationOutcome:
    """Translate a few files by a recipe that reads only images, of one size."""
    read, outcome = {}, TranslationOutcome()
    for paths, out in files:
        try:
            read[out] = paths[0], _read(run, paths, domain, how)
        except GaltransError as error:  # the other files are still worth translating
            outcome.errors.append(error)
    made = _make_plain(run, domain, [found for _, found in read.values()], how)
    for (out, (path, found)), image in zip(read.items(), made, strict=True):
        primary = _primary(run, domain, found.header, path.name, found.checksum, how)
        with reading_fits, whole_file(out) as temporary:
            write_bands(image, run.bands, found.target, primary, temporary, _mask(found, image))
        row = {"file": path.name, "output": out.name, **place_of(found.target, image.shape[1:])}
        outcome.rows.append({**row, "bands": "".join(run.bands), "flags": ""})
    return outcome


def _make_plain(run: Run, domain: str, read: list[Read], how: How) -> np.ndarray:
    """Translate files of a recipe that reads only images; return the translations (file, band, row, col)."""
    if not read:
        return np.empty(0)
    seeds = [noise_seed(how.seed, found.checksum) for found in read]
    return translate_each(run, np.stack([found.images for found in read]), domain, seeds, noise=how.noise)


def _mask(found: Read, image: np.ndarray) -> np.ndarray:
    """Return the flags of a translation (band, row, col): what the input flags, and pixels without a value."""
    return found.flags | ~np.isfinite(image)


def translate_hdus(run: Run, images: Sequence[fits.HDUList | Path], to: str, how: How | None = None) -> fits.HDUList:
    """Translate one object or field in memory.

    The result has the HDUs, pixels and headers of the file that `translate_file` would write, except for its checksums
    (DATASUM, CHECKSUM), which are those of a file.

    Parameters
    ----------
    run : Run
        The trained model.
    images : HDUList, or sequence of HDUList and Path
        The object in the other survey: one image HDU a band, named by EXTNAME or FILTER, or a cube, with a WCS and a
        calibration; or several lists, or files, with some of the bands each.
    to : str
        Survey to translate into, such as "cfht".
    how : How, optional
        What is asked; `how.preview` is ignored. The same images and seed give the same noise.

    Returns
    -------
    astropy.io.fits.HDUList
        One image HDU a band [nanomaggy/pixel] on the grid of the target survey, each with its mask MASK_r, and
        SIGNAL_r, SIGMA_r and DRAWS_r where they are asked for. NaN where a pixel would rest on too little input.

    Raises
    ------
    survey_tools.errors.RunError
        If the run does not translate into `to`.
    survey_tools.errors.ImageError
        If the images lack a band, a WCS, a unit, or pixels within the angle that the model sees.
    """
    how, domain = settled(how or How(), run), run.domain_of(to)
    images = [images] if isinstance(images, fits.HDUList) else images
    with reading_fits:
        given = tuple(each if isinstance(each, Path) else FitsInMemory.of(each) for each in images)
    if run.use.reads_any:
        made, primary = _make_any(run, domain, given, how)
        for line in _lines(made):
            log.warning(line)
        with reading_fits:
            return translated_hdus(made, run, primary, planes=how.planes)
    found = _read(run, given, domain, how)
    (image,) = _make_plain(run, domain, [found], how)
    primary = _primary(run, domain, found.header, given[0].name, found.checksum, how)
    with reading_fits:
        return band_and_mask_hdus(image, run.bands, found.target, primary, _mask(found, image))


def _read(run: Run, paths: Inputs, domain: str, how: How) -> Read:
    """Read what is needed of one file; ImageError where it cannot be translated."""
    if how.needs_any:
        raise ImageError(
            f"{how.needs_any[0]} needs a run of a recipe that is told what is known of images, such as "
            f"psf_matched; {run.path} is of {run.recipe}"
        )
    here, there = run.domains[OTHER[domain]], run.domains[domain]
    path = paths[0]
    if len(paths) > 1:
        raise ImageError(f"{path} and others: recipe {run.recipe} needs all bands in one file")
    with reading_fits:
        bands, header = read_bands(path, run.bands, how.given, find_survey(here.survey))
        require_survey(path, here, header, bands, how, there)
        images, wcs = on_grid(path, bands, run.bands, here.pixel_scale, here.size)
        target = rescaled_wcs(wcs, images.shape[1:], there.pixel_scale, there.size)
        flags = np.zeros((len(bands), there.size, there.size), bool)
        for name, mask in read_masks(path, run.bands).items():
            place = run.bands.index(name)
            if mask.shape == bands[place].image.shape and mask.any():
                flags[place] = resample_flags(mask, bands[place].wcs, target, there.size)
    return Read(images, header, hashlib.sha256(path.read_bytes()).hexdigest(), target, flags)


def is_made(run: Run, paths: Path | Inputs, out: Path, how: How) -> bool:
    """Return whether a file is the translation of the same input by the same run, with the same settings."""
    digest = hashlib.sha256()
    try:
        with reading_fits, warnings.catch_warnings():
            warnings.simplefilter("error", AstropyUserWarning)  # astropy only warns of a truncated file
            with open(out, "rb") as file, fits.open(file) as hdus:  # astropy does not close a bad file
                header = hdus[0].header.copy()
        for path in _inputs(paths):
            digest.update(path.read_bytes())
    except (OSError, ValueError, AstropyUserWarning):
        return False
    wanted = {"GTINSHA": digest.hexdigest(), "GTWGHTS": run.checksum, "GTASKED": how.fingerprint}
    return all(header.get(key) == value for key, value in wanted.items())


def _primary(run: Run, domain: str, source: fits.Header, name: str, checksum: str, how: How) -> fits.Header:
    """Return the primary header of a translated file."""
    if how.at is not None:
        source = _header_at(source, how.at)
    primary = provenance(run, domain, source, noise=how.noise, seed=how.seed)
    primary["GTINPUT"] = (header_text(name)[-NAME_LENGTH:], "file that was translated")
    primary["GTINSHA"] = checksum  # SHA-256; no comment fits beside it
    primary["GTPREC"] = (how.precision, "precision of the networks")
    primary["GTASKED"] = (how.fingerprint, "of all that was asked")
    if how.force:
        primary["GTFORCED"] = (True, "taken for the model's survey by --force")
    return primary


def _header_at(source: fits.Header, at: tuple[float, float]) -> fits.Header:
    """Return the header of the part around a position, without the name of an object that is stated to be elsewhere."""
    header = source.copy()
    stated = [header.get(key) for key in ("RA", "DEC")]
    known = all(isinstance(value, (int, float)) for value in stated)
    if known and _apart(stated, at) <= SAME_PLACE:
        return header
    for key in ("OBJECT", "REDSHIFT") if known else ():
        header.remove(key, ignore_missing=True)
    header["RA"] = (at[0], "[deg] right ascension, ICRS")
    header["DEC"] = (at[1], "[deg] declination, ICRS")
    return header


def _apart(here: Sequence[float], there: Sequence[float]) -> float:
    """Return the angle between two positions (right ascension and declination [deg]) in arcsec."""
    return float(np.degrees(2 * np.arcsin(np.linalg.norm(unit_vectors(*here) - unit_vectors(*there)) / 2)) * 3600)


def on_grid(path: Path, bands: list[BandImage], names, pixel_scale: float, size: int) -> tuple[np.ndarray, WCS]:
    """Return the bands on one grid with the pixel scale and size of the survey.

    Bands that have this grid are returned unchanged; else all are resampled onto it, around the centre of the first
    one.

    Parameters
    ----------
    path : Path
        The file, for messages.
    bands : list of BandImage
        The bands.
    names : sequence of str
        Their names.
    pixel_scale : float
        Side of a pixel [arcsec].
    size : int
        Rows, and columns.

    Returns
    -------
    images : array
        Images (band, row, col) [nanomaggy/pixel].
    wcs : WCS
        Their WCS.

    Raises
    ------
    ImageError
        If pixels are missing on the grid, or most of the image would be discarded.
    """
    first = bands[0]
    scale, wcs = local_scale(first.wcs, first.image.shape), None
    if first.image.shape == (size, size) and all(same_grid(band, first) for band in bands):
        with suppress(ValueError):
            wcs = plain_tan(first.wcs, (size, size))
    if wcs is not None and abs(scale / pixel_scale - 1) < SCALE_TOLERANCE:
        images = np.stack([band.image for band in bands])
    else:
        shape = first.image.shape
        if min(shape) * scale > WASTED**0.5 * size * pixel_scale:
            angle = size * pixel_scale
            raise ImageError(
                f"{path} covers {min(shape) * scale:.0f} arcsec, of which the model reads {angle:.1f}: cut it around "
                "the galaxy, or give a run of psf_matched, which reads images of any size"
            )
        wcs = rescaled_wcs(first.wcs, shape, pixel_scale, size)
        log.warning(
            f"{path}: resampled from {shape[0]} x {shape[1]} pixels of {scale:.3f} arcsec "
            f"to the {size} x {size} of {pixel_scale:.3f} arcsec that the model reads"
        )
        images = np.stack([resample(band.image, band.wcs, wcs, size) for band in bands])
    for name, image in zip(names, images, strict=True):
        missing = int((~np.isfinite(image)).sum())
        if missing:
            angle = size * pixel_scale
            raise ImageError(
                f"{path}: band {name} has no data in {missing} of the {size}^2 pixels that the model reads; "
                f"give an image with {angle:.1f} x {angle:.1f} arcsec around the galaxy, without NaN"
            )
    return images, wcs


def provenance(run: Run, domain: str, source: fits.Header, *, noise: bool, seed: int) -> fits.Header:
    """Return the primary header of a translation: that it is a translation, what made it, and the
    object that it shows.
    """
    surveys = {name: find_survey(run.domains[name].survey).title for name in "xy"}
    header = fits.Header()
    header["SYNTH"] = (True, SYNTHETIC)
    for key in ("OBJECT", "RA", "DEC", "REDSHIFT"):
        if key in source:
            header[key] = source[key]
    header["GTFROM"] = (surveys[OTHER[domain]], "survey of the input")
    header["GTTO"] = (surveys[domain], "survey whose images this one imitates")
    header["GTRECIPE"] = (run.recipe, "galtrans recipe")
    name = header_text(run.path.resolve().name)[-NAME_LENGTH:]
    header["GTRUN"] = (name, "training run")
    header["GTITER"] = (run.iteration, "training iterations behind the weights")
    header["GTNOISE"] = (what_noise(run, domain, noise), "noise added to the translation")
    header["GTSEED"] = (seed, "seed of the noise")
    header["GTVERS"] = (VERSION, "version of galtrans")
    header["GTWGHTS"] = run.checksum  # SHA-256
    header.add_history(f"galtrans {VERSION} translated {surveys[OTHER[domain]]} into {surveys[domain]}.")
    header.add_history(f"Recipe {run.recipe}, run {name}, noise {header['GTNOISE']}, seed {seed}.")
    if run.facts.imported:
        header.add_history(f"Weights imported from {', '.join(run.facts.imported)}.")
    return header
