"""What the functions of the front door accept as runs and images, turned into what translations are made from."""

import os
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.nddata import NDData
from astropy.wcs import WCS

from survey_tools.accept import a_path
from survey_tools.errors import ArgumentError
from translator.runs.built_in import find_model
from translator.runs.checkpoint import BEST, Run
from translator.translation.asking import PRECISIONS, Depth, read_depth

OF_BEST = f"@{BEST}"  # behind the name of a run: its best state
CARDS = {"psf_fwhm": "PSFFWHM", "sky_sigma": "SKYSIGMA", "gain": "GAIN"}  # of the meta of an image of a store
A_CARD = re.compile(r"(?!COMMENT|HISTORY|SIMPLE|EXTEND|XTENSION|NAXIS|BITPIX|[PG]COUNT)[A-Z][A-Z0-9_-]{0,7}")
FACTS = {"object_id": "OBJECT", "ra": "RA", "dec": "DEC", "redshift": "REDSHIFT"}


def a_run(value: Any, argument: str = "run") -> Path:
    """The folder of a run, from a `Run`, a path, or the name of a built-in model.

    "RUN@best" stands for the best state of a run that was validated.
    """
    if isinstance(value, Run):
        return value.path
    path = a_path(value, argument)
    if path.name.endswith(OF_BEST) and not path.exists():
        run = a_run(path.with_name(path.name.removesuffix(OF_BEST)), argument)
        if not (run / BEST / "run.json").is_file():
            raise ArgumentError(argument, f"{run} keeps no best state; train with `--validate-every`, or give the run")
        return run / BEST
    if path.is_dir():
        return path
    if path.exists():
        raise ArgumentError(
            argument, f"{str(value)!r} is a file, and a run is a folder with run.json; `galtrans train` makes one"
        )
    found = find_model(str(value))
    if found is None:
        raise ArgumentError(
            argument, f"{str(value)!r} is neither a folder nor a built-in model; `galtrans models` lists these"
        )
    return found


def a_precision(value: Any, argument: str = "precision") -> str:
    """The precision of a translation, by its name; ArgumentError if there is none of that name."""
    if value not in PRECISIONS:
        raise ArgumentError(argument, f"{value!r} is no precision; give one of {', '.join(PRECISIONS)}")
    return value


def some_depths(value: Any, argument: str = "depth") -> tuple[Depth, ...] | None:
    """Depths, one for all bands or one for each.

    Each is text, such as "25.2mag" (5 sigma within 2 arcsec) or "0.002nanomaggy" (a pixel's noise), or a Quantity of
    AB magnitudes or nanomaggies.
    """
    if value is None:
        return None
    if isinstance(value, u.Quantity):
        values: Iterable[Any] = list(np.atleast_1d(value)) if value.isscalar else list(value)
    else:
        values = [value] if isinstance(value, (str, Depth)) else list(value)
    found = []
    for each in values:
        try:
            found.append(each if isinstance(each, Depth) else _depth(each))
        except (TypeError, ValueError) as error:
            raise ArgumentError(argument, str(error)) from error
    return tuple(found)


def _depth(value: Any) -> Depth:
    """One depth; ValueError where it is none."""
    if isinstance(value, u.Quantity):
        if value.unit in (u.mag, u.ABmag):
            return read_depth(f"{value.value:g}mag")
        return read_depth(f"{value.to_value(u.nmgy):g}nanomaggy")
    return read_depth(str(value))


def is_in_memory(image: Any) -> bool:
    """Whether an image is given as data and not as a path."""
    return not isinstance(image, (str, os.PathLike)) and (
        isinstance(image, (fits.HDUList, NDData, Mapping))
        or (isinstance(image, tuple) and len(image) == 2 and isinstance(image[1], (WCS, fits.Header)))
        or _several(image, (fits.HDUList, NDData))
    )


def _several(image: Any, kinds: tuple[type, ...]) -> bool:
    return isinstance(image, (list, tuple)) and bool(image) and all(isinstance(each, kinds) for each in image)


def some_hdus(image: Any, bands: tuple[str, ...], known: Collection[str]) -> list[fits.HDUList]:
    """An image in memory as lists of HDUs, each with some of its bands.

    Parameters
    ----------
    image : HDUList, NDData, mapping of band to NDData, sequence of these, or (array, WCS)
        What the user has. An array has the shape (band, row, col), or (row, col) for a single band.
    bands : tuple of str
        The bands of an array or of a cube, in their order.
    known : collection of str
        The bands that an image may have.

    Raises
    ------
    ArgumentError
        The image is nothing of these, has no WCS, or has another number of bands.
    """
    if isinstance(image, fits.HDUList):
        return [image]
    if _several(image, (fits.HDUList,)):
        return list(image)
    if isinstance(image, tuple) and len(image) == 2 and isinstance(image[1], (WCS, fits.Header)):
        array, grid = np.asarray(image[0]), image[1]
        array = _pixels(array[None] if array.ndim == 2 else array, 3, "the array")
        if array.ndim != 3 or len(array) != len(bands):
            raise ArgumentError(
                "image", f"an array of shape {array.shape} does not have the {len(bands)} bands {''.join(bands)}"
            )
        header = _header_of(grid) if isinstance(grid, WCS) else grid.copy()
        return [_list({band: (plane, None, header, {}, "") for band, plane in zip(bands, array, strict=True)})]
    if isinstance(image, NDData):
        image = _by_band([image], bands)
    elif _several(image, (NDData,)):
        image = _by_band(list(image), bands)
    if not isinstance(image, Mapping) or not image or not all(isinstance(each, NDData) for each in image.values()):
        raise ArgumentError(
            "image",
            f"{type(image).__name__} is no image; give a path, an HDUList, an NDData for each band, or (array, WCS)",
        )
    unknown = [band for band in image if band not in known]
    if unknown:
        raise ArgumentError("image", f"{unknown[0]!r} is not a band of these surveys, which have {', '.join(known)}")
    return [_list({str(band): _plane(band, each) for band, each in image.items()})]


def _by_band(images: list[NDData], bands: tuple[str, ...]) -> dict[str, NDData]:
    """Images by their bands: as their meta says, or all planes of a cube in the order of `bands`."""
    found: dict[str, NDData] = {}
    for each in images:
        stated = next((each.meta[key] for key in ("band", "FILTER", "filter") if each.meta and key in each.meta), None)
        if np.ndim(each.data) == 3 and len(images) == 1:
            if len(each.data) != len(bands):
                raise ArgumentError("image", f"a cube of {len(each.data)} planes has not the bands {''.join(bands)}")
            mask = np.broadcast_to(False if each.mask is None else each.mask, each.data.shape)
            grid = None if each.wcs is None else each.wcs.celestial
            planes = zip(bands, each.data, mask, strict=True)
            return {b: NDData(d, unit=each.unit, mask=m, wcs=grid, meta=dict(each.meta)) for b, d, m in planes}
        if stated is None and len(images) != len(bands):
            raise ArgumentError("image", 'an NDData does not say its band; give {"r": image}, or meta={"band": "r"}')
        found[str(stated) if stated is not None else bands[len(found)]] = each
    return found


def _plane(band: str, image: NDData) -> tuple:
    """Pixels, mask, header of the WCS, other cards and unit of one band."""
    if image.wcs is None:
        raise ArgumentError("image", f"band {band} has no WCS")
    grid = getattr(image.wcs, "low_level_wcs", image.wcs)
    if not isinstance(grid, WCS):
        raise ArgumentError("image", f"band {band} has a WCS that no FITS header can state; give an astropy.wcs.WCS")
    unit = "" if image.unit is None else _written(image.unit)
    meta = dict(image.meta or {})
    cards = {card: meta[key] for key, card in CARDS.items() if _is_known(meta.get(key))}
    cards |= {card: meta[key] for key, card in FACTS.items() if _is_known(meta.get(key))}
    cards |= {
        key: value for key, value in meta.items() if A_CARD.fullmatch(key) and isinstance(value, (str, int, float))
    }
    return _pixels(image.data, 2, f"band {band}"), image.mask, _header_of(grid), cards, unit


def _pixels(data: Any, axes: int, what: str) -> np.ndarray:
    """Pixels that are numbers and have as many axes as they should; ArgumentError for others."""
    pixels = np.asarray(data)
    if pixels.dtype.kind not in "fiub" or pixels.ndim != axes:
        raise ArgumentError(
            "image", f"{what} has pixels of type {pixels.dtype} and shape {pixels.shape}; give numbers in {axes} axes"
        )
    return pixels


def _header_of(grid: WCS) -> fits.Header:
    """The header of a WCS with every digit of its numbers, some of which `WCS.to_header` leaves out."""
    header = grid.to_header(relax=True)
    if grid.naxis != 2:
        return header
    for key in [key for key in header if key.startswith(("PC", "CDELT"))]:
        del header[key]
    for (i, j), value in np.ndenumerate(grid.pixel_scale_matrix):
        header[f"CD{i + 1}_{j + 1}"] = float(value)
    for key, values in (("CRPIX", grid.wcs.crpix), ("CRVAL", grid.wcs.crval)):
        header[f"{key}1"], header[f"{key}2"] = (float(value) for value in values)
    return header


def _written(unit: u.UnitBase) -> str:
    """A unit as FITS headers write it: flux per pixel without the pixel, and nanomaggies by their name."""
    plain = unit * u.pix if (unit * u.pix).is_equivalent(u.nmgy) or (unit * u.pix).is_equivalent(u.Jy) else unit
    return "nanomaggy" if plain == u.nmgy else plain.to_string()


def _is_known(value: Any) -> bool:
    return value is not None and not (isinstance(value, float) and not np.isfinite(value)) and value != ""


def _list(planes: Mapping[str, tuple]) -> fits.HDUList:
    """HDUs of some bands, each (pixels, mask, header of the WCS, cards, unit)."""
    hdus = fits.HDUList([fits.PrimaryHDU()])
    for band, (pixels, mask, grid, cards, unit) in planes.items():
        header = grid.copy()
        header["FILTER"] = band
        if unit:
            header["BUNIT"] = unit
        for key, value in cards.items():
            header[key] = value
        hdus.append(fits.ImageHDU(np.asarray(pixels, np.float32), header, name=band))
        hdus[-1].header["EXTNAME"] = band
        if mask is not None and np.any(mask):
            hdus.append(fits.ImageHDU(np.broadcast_to(mask, np.shape(pixels)).astype(np.uint8), grid.copy()))
            hdus[-1].header["EXTNAME"] = f"MASK_{band}"
        for key in FACTS.values():
            if key in cards:
                hdus[0].header[key] = cards[key]
    return hdus
