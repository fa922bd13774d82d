"""Read FITS cutouts that others made: files of several bands, or a file per object and band, grouped into objects."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from survey_tools.errors import ImageError
from survey_tools.fits.band_fits import BandImage, band_headers, open_images
from survey_tools.fits.calibration import SILENT, Given, is_in_flux
from survey_tools.fits.companions import said_by_name
from survey_tools.fits.reading import ENDINGS, PACKINGS, SUFFIXES
from survey_tools.fits.zeros import AUTO
from survey_tools.images.sky_wcs import SAME, centre_of, grids_apart, local_scale, plain_tan, read_grid
from survey_tools.matching.positions import separation_of
from survey_tools.photometry import counts_to_nanomaggies, nanomaggies_per_count
from survey_tools.progress import over
from survey_tools.sphere import friends_of_friends, unit_vectors
from survey_tools.surveys import Survey

TOGETHER = 1.0  # [arcsec] between the centres of files that show one object
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CutoutFile:
    """One file and the bands that are taken from it."""

    path: Path
    bands: tuple[str, ...]


@dataclass(frozen=True)
class FitsObject:
    """The files of one object.

    Attributes
    ----------
    object_id : str
        Its name in the file, or the name of the file.
    ra, dec : float
        Its position [deg, ICRS]: the keywords RA and DEC if they lie in the image, else the centre of the image.
    redshift : float
        Its redshift; NaN if it is not stated.
    pieces : tuple of CutoutFile
        Its files.
    why : str
        Why it cannot be used; "" if it may.
    synthetic : str
        The words of a header that says that it is not an observation (SYNTH = T); "" for observations.
    """

    object_id: str
    ra: float
    dec: float
    redshift: float
    pieces: tuple[CutoutFile, ...]
    why: str = ""
    synthetic: str = ""

    @property
    def name(self) -> str:
        """The names of its files, joined."""
        return ";".join(piece.path.name for piece in self.pieces)


@dataclass(frozen=True)
class Stamp:
    """The images of one object: all bands on one grid.

    Attributes
    ----------
    flux : ndarray
        (band, row, col) float64 [nanomaggy/pixel], NaN where there is no data.
    saturated : ndarray
        Whether each pixel is saturated (bool, same shape).
    wcs : WCS
        The WCS of the pixels: TAN, ICRS.
    facts : dict
        Columns of a store, by name, with a value for each band: psf_fwhm [arcsec], psf_source, saturation_source,
        sky_sigma [nanomaggy/pixel], gain [electron/nanomaggy], zero_point and source; NaN, or "", where unknown.
    zeros : tuple of str
        Remarks on pixels that are exactly 0.
    """

    flux: np.ndarray
    saturated: np.ndarray
    wcs: WCS
    facts: dict[str, list]
    zeros: tuple[str, ...] = ()


def fits_files(path: Path) -> list[Path]:
    """Return the FITS files of a folder and its subfolders, by name; for a file, the file itself.

    Files of weights, masks and the like, by their names, are left out with a warning.

    Parameters
    ----------
    path : Path
        A folder or a file.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    ImageError
        The folder has no FITS file.
    """
    if not path.is_dir():
        return [path]
    found = sorted(each for each in path.rglob("*") if is_fits_file(each))
    files = [each for each in found if not said_by_name(each.name)]
    if len(files) < len(found):
        first = next(each for each in found if said_by_name(each.name))
        more = f" and {len(found) - len(files) - 1} more" if len(found) - len(files) > 1 else ""
        log.warning("%s%s: left out, as a %s by its name", first.name, more, said_by_name(first.name))
    if not files:
        raise ImageError(f"{path} holds no FITS file ({', '.join(ENDINGS)}); give a folder of cutouts, or cube files")
    return files


def is_fits_file(path: Path) -> bool:
    """Return whether a file has the name of a FITS file, packed or not.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    bool
        Whether it exists and its name ends as one of `SUFFIXES`.
    """
    return path.is_file() and path.name.lower().endswith(SUFFIXES)


def find_objects(files: list[Path], survey: Survey, bands: tuple[str, ...]) -> list[FitsObject]:
    """Find the objects that files show, in the order of the files. Only headers are read.

    A file with all of `bands` is an object. The other files are grouped: those whose images have their centres within 1
    arcsec show one object. A file that cannot be used is an object too, with the reason, so that none is lost.
    Identifiers are the keyword OBJECT if it is unique, else the names of the files.

    Parameters
    ----------
    files : list of Path
        The files.
    survey : Survey
        The survey of the images.
    bands : tuple of str
        The bands to take.

    Returns
    -------
    list of FitsObject
        The objects.
    """
    scanned = [_scan(path, bands) for path in over(files, "headers", "file")]
    found = _group(scanned, bands)
    names = [item.object_id for item in found]
    if not all(names) or len(set(names)) < len(names):
        stems = [_stem(item.pieces[0].path) for item in found]
        unique = len(set(stems)) == len(stems)
        names = stems if unique else [str(item.pieces[0].path) for item in found]
    return [replace(item, object_id=name) for item, name in zip(found, names, strict=True)]


def read_stamp(
    item: FitsObject, survey: Survey, bands: tuple[str, ...], given: Given = SILENT, zeros: str = AUTO
) -> Stamp:
    """Read pixels and facts of one object.

    Parameters
    ----------
    item : FitsObject
        The object.
    survey : Survey
        The survey of the images.
    bands : tuple of str
        The bands to read.
    given : Given
        What the user says of the calibration of files whose headers are silent or contradict themselves.
    zeros : str
        Meaning of pixels that are exactly 0 (`zeros.judge_zeros`).

    Returns
    -------
    Stamp
        The images of the object.

    Raises
    ------
    ImageError
        A file cannot be read, has no unit, or is on another grid of pixels than the survey's cutouts; or the bands are
        not on one grid.
    """
    if item.why:
        raise ImageError(item.why)
    images: dict[str, BandImage] = {}
    masks: dict[str, np.ndarray] = {}
    for piece in item.pieces:
        with open_images(piece.path, piece.bands) as file:
            file.require(piece.bands)
            images |= {band: file.image(band, given, survey, zeros) for band in piece.bands}
            masks |= {band: file.mask(band) for band in piece.bands if band in file.masks}
    names = {band: piece.path.name for piece in item.pieces for band in piece.bands}
    grids = {band: _grid(names[band], images[band], band, survey) for band in bands}
    wcs = grids[bands[0]]
    for band in bands[1:]:
        apart = grids_apart(grids[band], wcs, (survey.cutout_size, survey.cutout_size))
        if not apart < SAME:
            raise ImageError(
                f"{names[band]}: band {band} lies {apart:.3g} pixels from band {bands[0]}, and a store has one grid "
                f"for all bands; resample them onto one, or cut them again by `galtrans fetch {survey.name} …`"
            )
    said = [f"{band}: {images[band].zeros}" for band in bands if images[band].zeros]
    flux, saturated = zip(*(_pixels(images[band], masks.get(band)) for band in bands), strict=True)
    facts = [_facts(images[band], names[band]) for band in bands]
    return Stamp(
        np.stack(flux),
        np.stack(saturated),
        wcs,
        {name: [each[name] for each in facts] for name in facts[0]},
        tuple(said),
    )


def _scan(path: Path, bands: tuple[str, ...]) -> FitsObject:
    """Return one file as an object of its own, whose `pieces` name the bands that the file has."""
    nothing = FitsObject("", np.nan, np.nan, np.nan, (CutoutFile(path, ()),))
    try:
        headers, primary = band_headers(path, bands)
    except ImageError as error:
        return replace(nothing, why=str(error))
    if not headers:
        return replace(nothing, why=f"{path} has no image of any of the bands {''.join(bands)}, by EXTNAME or FILTER")
    header = next(iter(headers.values()))
    shape = (header["NAXIS2"], header["NAXIS1"])
    try:
        wcs = read_grid(header, shape)
    except ValueError as error:
        return replace(nothing, why=f"{path} has a WCS that cannot be used: {' '.join(str(error).split())}")
    if wcs is None:
        return replace(nothing, why=f"{path} has no celestial WCS (CTYPE, CRVAL, CRPIX, CD)")
    try:
        plain = plain_tan(wcs, shape)
    except ValueError as error:
        return replace(nothing, why=f"{path} has {error}; resample it onto a TAN grid")
    ra, dec = centre_of(plain, shape)
    stated = _stated(primary, header)
    near = np.isfinite(stated).all() and _separation((ra, dec), stated) < local_scale(plain, shape) * min(shape) / 2
    position = stated if near else (float(ra), float(dec))
    redshift = primary.get("REDSHIFT", header.get("REDSHIFT"))
    name = str(primary.get("OBJECT", header.get("OBJECT", ""))).strip()
    redshift = float(redshift) if isinstance(redshift, int | float) else np.nan
    pieces = (CutoutFile(path, tuple(band for band in bands if band in headers)),)
    synthetic = (primary.comments["SYNTH"] or "not an observation") if primary.get("SYNTH") is True else ""
    return FitsObject(name, *position, redshift, pieces, synthetic=synthetic)


def _stated(primary: fits.Header, header: fits.Header) -> tuple[float, float]:
    """Return RA and DEC [deg] if they are numbers, else NaN."""
    values = [primary.get(key, header.get(key)) for key in ("RA", "DEC")]
    numbers = [isinstance(value, int | float) and not isinstance(value, bool) for value in values]
    return (float(values[0]), float(values[1])) if all(numbers) else (np.nan, np.nan)


def _separation(a: tuple[float, float], b: tuple[float, float]) -> float:
    """Return the angle [arcsec] between two positions [deg]."""
    return float(separation_of(np.array(a), np.array(b))) if abs(b[1]) <= 90 else np.inf


def _group(scanned: list[FitsObject], bands: tuple[str, ...]) -> list[FitsObject]:
    """Return the objects; files that lack bands are put together by position."""
    parts = [i for i, item in enumerate(scanned) if not item.why and len(item.pieces[0].bands) < len(bands)]
    group = np.full(len(scanned), -1)
    if parts:
        points = unit_vectors([scanned[i].ra for i in parts], [scanned[i].dec for i in parts])
        group[parts] = friends_of_friends(points, np.radians(TOGETHER / 3600))
    members: dict[int, list[FitsObject]] = {}
    for i, item in enumerate(scanned):
        members.setdefault(group[i] if group[i] >= 0 else -2 - i, []).append(item)
    return [
        _joined(items, bands) if len(items[0].pieces[0].bands) < len(bands) else items[0] for items in members.values()
    ]


def _joined(items: list[FitsObject], bands: tuple[str, ...]) -> FitsObject:
    """Return one object of the files of a group, with the reason if a band is missing or there twice."""
    first, pieces = items[0], tuple(item.pieces[0] for item in items)
    if first.why:
        return first
    have = [band for piece in pieces for band in piece.bands]
    missing = [band for band in bands if band not in have]
    twice = sorted({band for band in have if have.count(band) > 1})
    names = ", ".join(piece.path.name for piece in pieces)
    why = f"{names}: no image of band {', '.join(missing)}; add it, or leave it out of --bands" if missing else ""
    if twice:
        why = f"{names}: band {', '.join(twice)} occurs more than once within {TOGETHER:g} arcsec; leave one of them"
    synthetic = next((item.synthetic for item in items if item.synthetic), "")
    return replace(first, pieces=pieces, why=why, synthetic=synthetic)


def _stem(path: Path) -> str:
    """Return the name of a file without its suffixes."""
    name = path.name
    while Path(name).suffix.lower() in (*ENDINGS, *PACKINGS):
        name = Path(name).stem
    return name


def _grid(name: str, image: BandImage, band: str, survey: Survey) -> WCS:
    """Return the WCS of one band as ICRS TAN. Raise ImageError if the pixels are not those of the survey's cutouts."""
    try:
        wcs = plain_tan(image.wcs, image.image.shape)
    except ValueError as error:
        raise ImageError(f"{name}: band {band} has {error}; resample it onto a TAN grid") from error
    rows, cols = image.image.shape
    size, scale = survey.cutout_size, local_scale(wcs, image.image.shape)
    if (rows, cols) != (size, size) or abs(scale / survey.pixel_scale - 1) * size > 0.5:
        raise ImageError(
            f"{name}: band {band} has {rows} x {cols} pixels of {scale:.4g} arcsec, and cutouts of {survey.title} have "
            f"{size} x {size} of {survey.pixel_scale:g}; cut bigger images by `galtrans fetch {survey.name} --mirror "
            "FOLDER …`, or ingest such cutouts and change their grid by `galtrans regrid`"
        )
    return wcs


def _pixels(image: BandImage, mask: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Return flux and saturated pixels (row, col) of one band: by its mask, else by SATURATE."""
    flux, level = image.image, image.header.get("SATURATE")
    if mask is not None and mask.shape == flux.shape:
        return flux, mask & np.isfinite(flux)
    known = isinstance(level, int | float) and level > 0
    return flux, flux >= (counts_to_nanomaggies(level, image.zero_point) if known else np.inf)


def _facts(image: BandImage, name: str) -> dict:
    """Return what else the header of one band says, as galtrans writes it."""
    numbers = {"psf_fwhm": "PSFFWHM", "sky_sigma": "SKYSIGMA"}
    stated = {column: image.header.get(key) for column, key in numbers.items()}
    facts = {column: value if isinstance(value, float) else np.nan for column, value in stated.items()}
    known = np.isfinite(facts["psf_fwhm"])
    facts["psf_source"] = str(image.header.get("PSFSRC", "header")).strip() if known else ""
    facts["saturation_source"] = str(image.header.get("SATSRC", "header" if "SATURATE" in image.header else "")).strip()
    facts["gain"] = _gain(image)
    facts["zero_point"] = float(image.header.get("SRCZP", image.zero_point))
    facts["source"] = name
    return facts


def _gain(image: BandImage) -> float:
    """Return electrons of one nanomaggy by the keyword GAIN [electron/image unit]; NaN if it is not stated.

    GAIN of a file in nanomaggies is believed only if galtrans wrote it: other programs leave there the gain for counts.
    """
    value, own = image.header.get("GAIN"), "SRCZP" in image.header
    counts = not is_in_flux(image.header)
    stated = isinstance(value, int | float) and not isinstance(value, bool) and value > 0
    return float(value) / nanomaggies_per_count(image.zero_point) if stated and (own or counts) else np.nan
