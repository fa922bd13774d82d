"""Translate FITS images of one survey into the other's, calibrated and with a WCS, by a trained run."""

import hashlib
import logging
from pathlib import Path

import numpy as np
import torch
from astropy.io import fits
from astropy.wcs import WCS

from survey_tools.atomic import whole_file
from survey_tools.band_fits import BandImage, band_hdus, header_text, read_bands
from survey_tools.cutout import resample
from survey_tools.errors import ImageError
from survey_tools.surveys import find_survey
from survey_tools.tan import rescaled_wcs, scale_of
from survey_tools.version import VERSION
from translator.checkpoint import Run
from translator.images import OTHER, imitate, is_random
from translator.intensity import stretch, unstretch

SCALE_TOLERANCE = 0.005  # relative; the paper's own sizes of both surveys' images differ by 0.3 %
NAME_LENGTH = 40  # characters of a name that a header card holds beside its comment
log = logging.getLogger(__name__)


def translate_file(run: Run, path: Path, domain: str, out: Path, *, noise: bool = True, seed: int = 0) -> Path:
    """Translate one file and write the result.

    Args:
        run: The trained model.
        path: FITS of the other domain's survey: one image HDU a band named by EXTNAME or FILTER, or a cube.
        domain: "x" or "y", where the translation lands.
        out: File to write: one image HDU a band, in nanomaggies, on the target's grid with the input's sky centre.
        noise: Whether the survey's noise is added, one realisation of the run's noise emulator; and, where a latent
            code steers the generator, whether it is drawn or is the mean of all.
        seed: Of that realisation; with the same input it gives the same noise.

    Returns:
        The path written.

    Raises:
        ImageError: Where the input lacks a band, a WCS, a unit, or pixels within the angle that the model sees.
    """
    bands, header = read_bands(path, run.bands)
    here, there = run.domains[OTHER[domain]], run.domains[domain]
    images, wcs = on_grid(path, bands, run.bands, here.pixel_scale, here.size)
    checksum = hashlib.sha256(path.read_bytes()).hexdigest()
    translated = translate(run, images, domain, noise=noise, seed=noise_seed(seed, checksum))
    target = rescaled_wcs(wcs, images.shape[1:], there.pixel_scale, there.size)
    primary = provenance(run, domain, header, noise=noise, seed=seed)
    primary["GTINPUT"] = (header_text(path.name)[-NAME_LENGTH:], "file that was translated")
    primary["GTINSHA"] = checksum  # SHA-256; no comment fits beside it
    with whole_file(out) as temporary:
        band_hdus(translated, run.bands, target, primary).writeto(temporary, checksum=True)
    return out


def translate(run: Run, images: np.ndarray, domain: str, *, noise: bool, seed: int) -> np.ndarray:
    """Images of the other domain, (band, row, col) [nanomaggy/pixel], as they would look in `domain`; same unit."""
    return translate_batch(run, images[None], domain, torch.Generator(run.device).manual_seed(seed), noise=noise)[0]


def translate_batch(run: Run, images: np.ndarray, domain: str, random: torch.Generator, *, noise: bool) -> np.ndarray:
    """Images (galaxy, band, row, col) [nanomaggy/pixel] as they would look in `domain`, noise drawn from `random`."""
    stretched = torch.as_tensor(stretch(images), dtype=torch.float32, device=run.device)
    with torch.no_grad():
        translated = imitate(run.networks, stretched, domain, random, noise=noise)
    return unstretch(translated.double().cpu().numpy())


def noise_seed(seed: int, checksum: str) -> int:
    """A seed for one file's noise, so that files of one call differ and their order does not matter."""
    return int.from_bytes(hashlib.sha256(f"{seed} {checksum}".encode()).digest()[:8], "big") >> 1


def on_grid(path: Path, bands: list[BandImage], names, pixel_scale: float, size: int) -> tuple[np.ndarray, WCS]:
    """The bands as (band, row, col) [nanomaggy/pixel] on one grid of the survey's pixel scale and size.

    Bands that have that grid already are taken as they are; else all are resampled onto it, around the centre of the
    first. ImageError where pixels are missing in it.
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
        if missing:
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
    header["SYNTH"] = (True, "made by a neural network: NOT an observation")
    for key in ("OBJECT", "RA", "DEC", "REDSHIFT"):
        if key in source:
            header[key] = source[key]
    header["GTFROM"] = (surveys[OTHER[domain]], "survey of the input")
    header["GTTO"] = (surveys[domain], "survey whose images this one imitates")
    header["GTRECIPE"] = (run.recipe, "galtrans recipe")
    name = header_text(run.path.resolve().name)[-NAME_LENGTH:]
    header["GTRUN"] = (name, "training run")
    header["GTITER"] = (run.iteration, "training iterations behind the weights")
    sampled = "sampled" if noise and is_random(run.networks, domain) else "none"
    header["GTNOISE"] = (sampled, "noise added to the translation")
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
