"""Read FITS files as observations: calibrated pixels on one grid, and the conditions from headers, stars and sky."""

import hashlib
import logging
import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from survey_tools.errors import ImageError
from survey_tools.fits.band_fits import BandImage, contradiction, other_survey, read_present, stated_number
from survey_tools.images.cutout import COARSER, resample, sky_sigma
from survey_tools.images.quality import star_fwhm
from survey_tools.images.sky_wcs import (
    SAME,
    centre_of,
    grids_apart,
    local_scale,
    pixels_of,
    plain_tan,
    rescaled_wcs,
    tan_terms,
    tan_wcs,
)
from survey_tools.surveys import find_survey
from translator.runs.facts import Domain
from translator.translation.asking import How
from translator.translation.whole_images import SkyGrid

CONDITIONS = {"psf_fwhm": "PSFFWHM", "sky_sigma": "SKYSIGMA", "gain": "GAIN"}  # as `galtrans export` states them
SCALE_TOLERANCE = 0.005  # relative; in the paper the sizes of the two surveys' images differ by 0.3 %
ENOUGH_FOR_STARS = 160  # least side of an image in which stars are measured [pixel]
COARSEST = 10.0  # largest side of pixels that are resampled, in units of the side of the run's pixels
DEFAULT_SIZE = 64  # side of a part whose size is not stated [pixel]
AROUND = 20.0  # width around a part that is read, too [arcsec]
ENOUGH_SKY = 500  # least number of pixels for a measurement of the noise
NOISELESS = 1e-7  # least noise, in units of the brightest pixel; a smaller value is rounding
HEADER, STARS, SKY, USUAL = "header", "stars", "blank sky", "usual"
log = logging.getLogger(__name__)
# Held while FITS is read or written, because its reader changes Python's warnings, which threads share.
reading_fits = threading.Lock()


@dataclass(frozen=True)
class Observation:
    """One object or field that was read for a translation.

    Attributes
    ----------
    paths : tuple of Path
        Its files.
    images : array
        Images (band, row, col) float32 [nanomaggy/pixel], in the order of the run's bands; NaN where there is no data.
    grid : SkyGrid
        Grid of its pixels.
    bands : array of bool
        Which of the run's bands it has (band,).
    header : Header
        Header of the primary HDU of the first file.
    checksum : str
        SHA-256 of the files.
    known : dict
        Seeing [arcsec], noise [nanomaggy/pixel] and gain [electron/nanomaggy], each (band,), by the names of a store's
        columns; NaN if unknown.
    origin : dict
        Where each of them comes from, by the same names: `HEADER`, `STARS`, `SKY` or `USUAL`.
    resampled : str
        What was done to its pixels; "" for nothing.
    """

    paths: tuple[Path, ...]
    images: np.ndarray
    grid: SkyGrid
    bands: np.ndarray
    header: fits.Header
    checksum: str
    known: dict[str, np.ndarray]
    origin: dict[str, str]
    resampled: str

    @property
    def name(self) -> str:
        """The name of its first file."""
        return self.paths[0].name


def read_observation(
    paths: tuple[Path, ...], bands: tuple[str, ...], domain: Domain, how: How, other: Domain | None = None
) -> Observation:
    """Read one object or field from a file, or from several files with some of its bands each.

    The grid of the middle band is kept if it has the pixel scale of the run and is a plain TAN projection. Otherwise,
    and for bands on other grids, pixels are resampled. If no header states the seeing, it is measured on stars of the
    image; if none states the noise, it is measured on blank sky.

    Parameters
    ----------
    paths : tuple of Path
        The files.
    bands : tuple of str
        Bands of the run.
    domain : Domain
        What the run knows of the survey of the images.
    how : How
        For unit and zero point of files whose headers are silent, and for the part that is read.
    other : Domain, optional
        What the run knows of its other survey, for which the images may have been mistaken.

    Raises
    ------
    ImageError
        If a file cannot be read, or has no band, WCS, calibration or pixel of a band; if two files have the same band;
        or if a header says that the image is of another survey, unless `how.force`.
    """
    pixel_scale = domain.pixel_scale
    found: dict[str, BandImage] = {}
    header, digest = None, hashlib.sha256()
    with reading_fits:
        for path in paths:
            read, primary = read_present(path, bands, how.given, find_survey(domain.survey))
            twice = [band for band in read if band in found]
            if twice:
                raise ImageError(
                    f"{path} has band {twice[0]}, which {paths[0]} or another file has, too; give one of them"
                )
            require_survey(path, domain, primary, read.values(), how, other)
            found |= read
            header = primary if header is None else header
            digest.update(path.read_bytes())
    known = {name: np.full(len(bands), np.nan) for name in CONDITIONS}
    for place, band in enumerate(bands):
        for name, keyword in CONDITIONS.items() if band in found else ():
            known[name][place] = stated_number(found[band].header, keyword)
    origin = dict.fromkeys(known, HEADER)
    for place, band in enumerate(bands):  # on all stars of the image, before a part of it is cut
        if band in found and not np.isfinite(known["psf_fwhm"][place]):
            known["psf_fwhm"][place] = _star_width(found[band])
            origin["psf_fwhm"] = STARS
    if how.at is not None:
        found = {band: _part(paths[0], each, how, pixel_scale) for band, each in found.items()}
    order = [band for band in bands if band in found]
    images, grid, resampled = _on_one_grid(paths[0], {band: found[band] for band in order}, pixel_scale)
    there = np.array([band in found for band in bands])
    whole = np.full((len(bands), *images.shape[1:]), np.nan, np.float32)
    whole[there] = images
    for band, image in zip(order, images, strict=True):
        if not np.isfinite(image).any():
            raise ImageError(f"{paths[0]}: band {band} has no data in any of its {image.size} pixels; leave it out")
    if resampled:  # headers describe the pixels before
        known["sky_sigma"][:] = np.nan
    for place in np.flatnonzero(there & ~np.isfinite(known["sky_sigma"])):
        known["sky_sigma"][place] = _sky(whole[place])
        origin["sky_sigma"] = SKY
    for name, values in known.items():
        if not np.isfinite(values[there]).any():
            origin[name] = USUAL
    return Observation(paths, whole, grid, there, header, digest.hexdigest(), known, origin, resampled)


def require_survey(
    path: Path,
    domain: Domain,
    primary: fits.Header,
    bands: Iterable[BandImage],
    how: How,
    other: Domain | None = None,
) -> None:
    """Raise ImageError if headers say that an image is of the run's other survey, or a translation.

    `how.force` lets it pass. An image of a third survey is reported by a warning.
    """
    survey, bands = find_survey(domain.survey), list(bands)
    mistaken = None if other is None else find_survey(other.survey)
    for band in () if how.force else bands:
        scale = local_scale(band.wcs, band.image.shape)
        why = contradiction(survey, (primary, band.header), scale, domain.pixel_scale, mistaken)
        if why:
            raise ImageError(
                f"{path} has {why}; the run reads {survey.title} here: give its images, choose the other --to, or pass "
                "--force if this is what you mean"
            )
    third = other_survey(survey, (band.header for band in bands)) or other_survey(survey, [primary])
    if third:
        log.warning(f"{path} is of {third}, and the run was trained for {survey.title}: CONSIST tells whether it fits")


def _on_one_grid(path: Path, found: dict[str, BandImage], pixel_scale: float) -> tuple[np.ndarray, SkyGrid, str]:
    """Return the bands (band, row, col) float32 on one grid, and what was done to them."""
    middle = list(found)[len(found) // 2]
    first = found[middle]
    shape, scale, wcs = first.image.shape, local_scale(first.wcs, first.image.shape), None
    with suppress(ValueError):
        wcs = plain_tan(first.wcs, shape)
    if not scale < COARSEST * pixel_scale:
        raise ImageError(
            f"{path} has pixels of {scale:.4g} arcsec, and the run reads those of {pixel_scale:g}: pixels that are "
            f"more than {COARSEST:g} times as large do not show galaxies; check its WCS"
        )
    right_scale = abs(scale / pixel_scale - 1) < SCALE_TOLERANCE
    if wcs is not None and right_scale:
        same = {band: same_grid(each, first) for band, each in found.items()}
        if all(same.values()):
            return (
                np.stack([band.image for band in found.values()]).astype(np.float32),
                SkyGrid(*tan_terms(wcs), shape),
                "",
            )
        others = ", ".join(band for band, is_same in same.items() if not is_same)
        said = f"bands {others} resampled onto the grid of band {middle}"
        size = shape
    else:
        size = tuple(_pixels_over(side, pixel_scale / scale) for side in shape)
        wcs = rescaled_wcs(first.wcs, shape, pixel_scale, size)
        said = (
            f"resampled from {shape[0]} x {shape[1]} pixels of {scale:.3f} arcsec to {size[0]} x {size[1]} of "
            f"{pixel_scale:.3f} arcsec"
        )
    log.warning(f"{path}: {said}")
    images = np.stack([resample(each.image, each.wcs, wcs, size) for each in found.values()])
    return images, SkyGrid(*tan_terms(wcs), size), said


def _pixels_over(side: int, ratio: float) -> int:
    """Return how many pixels of `ratio` times the size cover an image of `side` pixels.

    Coarser pixels count all the light that falls into them, so they must lie completely in the image. Their number is
    even if that of the input is even, so that a centre between two pixels stays there.
    """
    if ratio <= COARSER:
        return max(1, round(side / ratio))
    whole = int(side / ratio + 1e-6)
    return max(1, whole - (whole - side) % 2)


def same_grid(band: BandImage, first: BandImage) -> bool:
    """Return whether two bands have the same grid, to a hundredth of a pixel at its corners."""
    if band is first or band.wcs is first.wcs:
        return band.image.shape == first.image.shape
    shape = first.image.shape
    return band.image.shape == shape and grids_apart(band.wcs, first.wcs, shape) < SAME


def _part(path: Path, band: BandImage, how: How, pixel_scale: float) -> BandImage:
    """Return the part of a band that a translation around `how.at` depends on; ImageError if it is outside."""
    rows, cols = band.image.shape
    scale = local_scale(band.wcs, band.image.shape)
    col, row = pixels_of(band.wcs, [how.at])[0]
    if not (-0.5 <= row < rows - 0.5 and -0.5 <= col < cols - 0.5):
        middle = centre_of(band.wcs, (rows, cols))
        raise ImageError(
            f"{path} does not show ra {how.at[0]:g}, dec {how.at[1]:g}: it covers {max(rows, cols) * scale / 60:.1f} "
            f"arcmin around ra {middle[0]:.5f}, dec {middle[1]:.5f}"
        )
    side = how.size or DEFAULT_SIZE * pixel_scale
    reach = (side * np.sqrt(0.5) + AROUND) / scale
    if band.wcs.cpdis1 or band.wcs.cpdis2 or band.wcs.det2im1 or band.wcs.det2im2:  # a part cannot keep these tables
        return band
    first = [max(0, int(at - reach)) for at in (float(row), float(col))]
    last = [min(side, int(at + reach) + 2) for at, side in ((float(row), rows), (float(col), cols))]
    cut = tuple(slice(a, b) for a, b in zip(first, last, strict=True))
    return replace(band, image=band.image[cut].copy(), wcs=band.wcs[cut])


def _star_width(band: BandImage) -> float:
    """Return the seeing of an image by its stars [arcsec]; NaN if it is small or shows too few stars."""
    image = band.image
    if min(image.shape) < ENOUGH_FOR_STARS:
        return np.nan

    def windows(starts: np.ndarray, size: int):
        for row, col in starts:
            yield image[row : row + size, col : col + size]

    return star_fwhm(windows, image.shape) * local_scale(band.wcs, image.shape)


def _sky(image: np.ndarray) -> float:
    """Return the noise of an image's blank sky; NaN if it has too little."""
    missing = ~np.isfinite(image)
    if missing.size - missing.sum() < ENOUGH_SKY:
        return np.nan
    sigma = sky_sigma(image, missing)
    return sigma if sigma > NOISELESS * np.nanmax(np.abs(image)) else np.nan


def as_wcs(grid: SkyGrid) -> WCS:
    """Return the WCS of a grid."""
    return tan_wcs(grid.crval, grid.crpix, grid.cd)
