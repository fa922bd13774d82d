"""Translate FITS images of one survey into the other's, calibrated and with a WCS, by a trained run."""

import hashlib
import logging
import math
import threading
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from survey_tools.atomic import whole_file
from survey_tools.band_fits import BandImage, band_headers, header_text, read_bands, read_masks
from survey_tools.cutout import resample
from survey_tools.errors import GaltransError, ImageError
from survey_tools.fits_writing import write_bands
from survey_tools.surveys import find_survey
from survey_tools.tan import rescaled_wcs, scale_of
from survey_tools.tasks import Engine
from survey_tools.version import VERSION
from translator.checkpoint import Run, find_recipe
from translator.fakes import Request, noise_seed, together_on, translate_each, what_noise
from translator.images import OTHER
from translator.loaded import RunAt

SCALE_TOLERANCE = 0.005  # relative; the paper's own sizes of both surveys' images differ by 0.3 %
NAME_LENGTH = 40  # characters of a name that a header card holds beside its comment
SENT = 16  # files of a task on a cluster
WAITING = 2  # threads more than workers, for one at a time reads or writes FITS, and others wait to
CONDITIONS = {"psf_fwhm": "PSFFWHM", "sky_sigma": "SKYSIGMA", "gain": "GAIN"}  # as `galtrans export` states them
SYNTHETIC = "made by a neural network: NOT an observation"
log = logging.getLogger(__name__)
_fits = threading.Lock()  # held while FITS is read or written: its reader sets Python's warnings, which threads share


@dataclass(frozen=True)
class Read:
    """A file, read for a translation.

    Attributes:
        images: (band, row, col) [nanomaggy/pixel], in the order of the run's bands; NaN where there is no data.
        header: Of the primary HDU.
        checksum: SHA-256 of the file.
        target: WCS of its translation.
        bands: Which of the run's bands it has (band,), bool.
        known: Seeing [arcsec], noise [nanomaggy/pixel] and gain [electron/nanomaggy] (band,) that its headers state, by
            the names of a store's columns; NaN where they state none.
    """

    images: np.ndarray
    header: fits.Header
    checksum: str
    target: WCS
    bands: np.ndarray
    known: dict[str, np.ndarray]


def translate_file(run: Run, path: Path, domain: str, out: Path, *, noise: bool = True, seed: int = 0) -> Path:
    """Translate one file and write the result.

    Args:
        run: The trained model.
        path: FITS of the other domain's survey: one image HDU a band named by EXTNAME or FILTER, or a cube. A recipe
            that reads any image is content with some of the bands, and with gaps.
        domain: "x" or "y", where the translation lands.
        out: File to write: one image HDU a band, in nanomaggies, on the target's grid with the input's sky centre; NaN
            where a pixel would rest on too little of the input.
        noise: Whether the survey's noise is added, one realisation of the run's noise emulator; and, where a latent
            code steers the generator, whether it is drawn or is the mean of all.
        seed: Of that realisation; with the same input it gives the same noise.

    Returns:
        The path written.

    Raises:
        ImageError: Where the input lacks a band, a WCS, a unit, or pixels within the angle that the model sees.
    """
    errors = translate_group(run, domain, [(path, out)], noise=noise, seed=seed)
    if errors:
        raise errors[0]
    return out


def translate_files(
    at: RunAt, to: str, files: dict[Path, Path], engine: Engine, *, noise: bool = True, seed: int = 0
) -> list[GaltransError]:
    """Translate many files as `translate_file` does each; files are read and written while networks are at others.

    Args:
        at: The trained model.
        to: Survey to translate into.
        files: Of each file to read, the one to write.
        engine: Where they are translated; as many files are in memory as it has workers, and `WAITING` (on a GPU: as
            many times what passes its networks at once).
        noise: As of `translate_file`.
        seed: Alike.

    Returns:
        The errors of those that cannot be translated.
    """
    step = SENT
    if engine.client is None:
        step = together_on(at.open().device)
        engine = replace(engine, workers=engine.workers + WAITING)
    pairs = list(files.items())
    groups = [pairs[start : start + step] for start in range(0, len(pairs), step)]
    unit = "file" if step == 1 else f"{step} files"
    task = partial(_translate_at, at, to, noise, seed)
    return [error for errors in engine.run(task, groups, "translate", unit) for error in errors]


def _translate_at(at: RunAt, to: str, noise: bool, seed: int, files: list[tuple[Path, Path]]) -> list[GaltransError]:
    run = at.open()
    return translate_group(run, run.domain_of(to), files, noise=noise, seed=seed)


def translate_group(
    run: Run, domain: str, files: list[tuple[Path, Path]], *, noise: bool, seed: int
) -> list[GaltransError]:
    """Translate a few files, each to the path beside it; returns the errors of those that cannot be."""
    read, errors = {}, []
    for path, out in files:
        try:
            read[out] = path, _read(run, path, domain)
        except GaltransError as error:  # the other files are still worth translating
            errors.append(error)
    if read:
        images = np.stack([found.images for _, found in read.values()])
        seeds = [noise_seed(seed, found.checksum) for _, found in read.values()]
        known = {name: np.stack([found.known[name] for _, found in read.values()]) for name in CONDITIONS}
        made = translate_each(run, images, domain, seeds, noise=noise, request=Request(**known))
        for (out, (path, found)), image in zip(read.items(), made, strict=True):
            primary = provenance(run, domain, found.header, noise=noise, seed=seed)
            primary["GTINPUT"] = (header_text(path.name)[-NAME_LENGTH:], "file that was translated")
            primary["GTINSHA"] = found.checksum  # SHA-256; no comment fits beside it
            missing = int((~np.isfinite(image[found.bands])).sum())
            if missing:
                primary["GTGAPS"] = (missing, "pixels that rest on too little input")
            names = [band for band, there in zip(run.bands, found.bands, strict=True) if there]
            with _fits, whole_file(out) as temporary:
                write_bands(image[found.bands], names, found.target, primary, temporary)
    return errors


def _read(run: Run, path: Path, domain: str) -> Read:
    """What is needed of one file; ImageError where it cannot be translated."""
    here, there = run.domains[OTHER[domain]], run.domains[domain]
    reads_any = find_recipe(run.recipe).use.reads_any
    with _fits:
        names = run.bands
        if reads_any:
            stated, _ = band_headers(path, run.bands)
            names = tuple(band for band in run.bands if band in stated) or run.bands
        bands, header = read_bands(path, names)
        for name, mask in (read_masks(path, names) if reads_any else {}).items():
            image = bands[names.index(name)].image
            if mask.shape == image.shape:
                image[mask] = np.nan
        found, wcs = on_grid(path, bands, names, here.pixel_scale, here.size, gaps=reads_any)
        target = rescaled_wcs(wcs, found.shape[1:], there.pixel_scale, there.size)
    there_is = np.array([band in names for band in run.bands])
    images = np.full((len(run.bands), *found.shape[1:]), np.nan)
    images[there_is] = found
    known = {name: np.full(len(run.bands), np.nan) for name in CONDITIONS}
    for place, band in zip(np.flatnonzero(there_is), bands, strict=True):
        for name, keyword in CONDITIONS.items():
            known[name][place] = stated_number(band.header, keyword)
    return Read(images, header, hashlib.sha256(path.read_bytes()).hexdigest(), target, there_is, known)


def stated_number(header: fits.Header, keyword: str) -> float:
    """A positive number of a header; NaN where the header has none."""
    value = header.get(keyword)
    right = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0
    return float(value) if right else math.nan


def on_grid(
    path: Path, bands: list[BandImage], names, pixel_scale: float, size: int, *, gaps: bool = False
) -> tuple[np.ndarray, WCS]:
    """The bands as (band, row, col) [nanomaggy/pixel] on one grid of the survey's pixel scale and size.

    Bands that have that grid already are taken as they are; else all are resampled onto it, around the centre of the
    first. ImageError where pixels are missing in it, or, where `gaps` are allowed, where a band has no pixel at all.
    """
    first = bands[0]
    scale = scale_of(first.wcs)
    same = all(band.image.shape == (size, size) and _same_grid(band.wcs, first.wcs, size) for band in bands)
    if same and abs(scale / pixel_scale - 1) < SCALE_TOLERANCE:
        images, wcs = np.stack([band.image for band in bands]), first.wcs
    else:
        shape = first.image.shape
        wcs = rescaled_wcs(first.wcs, shape, pixel_scale, size)
        log.warning(
            f"{path}: resampled from {shape[0]} x {shape[1]} pixels of {scale:.3f} arcsec "
            f"to the {size} x {size} of {pixel_scale:.3f} arcsec that the model reads"
        )
        images = np.stack([resample(band.image, band.wcs, wcs, size) for band in bands])
    for name, image in zip(names, images, strict=True):
        missing = int((~np.isfinite(image)).sum())
        if missing > (image.size - 1 if gaps else 0):
            angle = size * pixel_scale
            raise ImageError(
                f"{path}: band {name} has no data in {missing} of the {size}^2 pixels that the model reads; "
                f"give an image with {angle:.1f} x {angle:.1f} arcsec around the galaxy, without NaN"
            )
    return images, wcs


def provenance(run: Run, domain: str, source: fits.Header, *, noise: bool, seed: int) -> fits.Header:
    """Primary header of a translation: that it is one, what made it, and the object it is of."""
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


def _same_grid(wcs: WCS, other: WCS, size: int) -> bool:
    """Whether the corners of two grids of size × size pixels fall on each other to a hundredth of a pixel."""
    corners = np.array([[0, 0], [size - 1, 0], [0, size - 1]])
    return bool(np.abs(other.wcs_world2pix(wcs.wcs_pix2world(corners, 0), 0) - corners).max() < 0.01)
