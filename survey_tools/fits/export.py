"""Rows of a store as FITS files: one image HDU for each band and one for its mask, on the same WCS."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from astropy.io import fits

from survey_tools.errors import StoreError
from survey_tools.files import SUMS, checksum, whole_file
from survey_tools.fits.band_fits import band_hdus, header_text, mask_hdu
from survey_tools.fits.writing import FLAGGED, header_of_whole, write_hdus
from survey_tools.progress import over
from survey_tools.store.zarr_store import Store
from survey_tools.version import VERSION

NAME_LENGTH = 80  # characters of an object_id that go into a file name
NO_IMAGE = "without an image or a position"
PER_BAND = {  # column of a store: keyword, comment
    "sky_sigma": ("SKYSIGMA", "[nanomaggy] standard deviation of empty sky"),
    "psf_fwhm": ("PSFFWHM", "[arcsec] FWHM of a star's profile"),
    "psf_source": ("PSFSRC", ""),
    "gain": ("GAIN", "[electron/nanomaggy] electrons of one nanomaggy"),
    "zero_point": ("SRCZP", "[mag] AB magnitude of a unit of the source file"),
    "saturation_source": ("SATSRC", ""),
    "saturated": ("NSATUR", "[pix] number of saturated pixels"),
    "coverage": ("COVERAGE", "fraction of the pixels that have data"),
    "source": ("SOURCE", "file that the pixels come from"),
    "consistency": ("CONSIST", "chi2 a pixel of the input: about 1 is right"),
}


@dataclass(frozen=True)
class Exported:
    """Files of rows of a store.

    Attributes
    ----------
    paths : list of Path
        All of them, in the order of the rows.
    kept : list of Path
        Those that existed already, written from the same row of the same store.
    count : int
        How many objects they have.
    left_out : dict of str to int
        How many of the rows that were asked for are in none of them, by reason.
    """

    paths: list[Path]
    kept: list[Path]
    count: int = 0
    left_out: dict[str, int] = field(default_factory=dict)


def export(store: Store, rows: Iterable[int], folder, *, overwrite: bool = False) -> list[Path]:
    """Return the paths of `export_files`."""
    return export_files(store, rows, folder, overwrite=overwrite).paths


def export_files(
    store: Store, rows: Iterable[int], folder, *, bands: tuple[str, ...] | None = None, overwrite: bool = False
) -> Exported:
    """Write rows of a store as FITS files, `ROW_OBJECT-ID.fits`.

    The pixels are those of the store, in nanomaggies with NaN for no data. An extension MASK_r beside band r is 1 where
    they are saturated or missing; the planes of the store follow it as SIGNAL_r, SIGMA_r or DRAW_1_r. Rows without an
    image or without a position, which the manifest explains, are left out. An existing file that was written from the
    same row of the same store is kept, so that an interrupted call can be repeated.

    Parameters
    ----------
    store : Store
        The store.
    rows : iterable of int
        Its rows to write.
    folder : path-like
        Folder for the files; it is made.
    bands : tuple of str, optional
        Bands to write; by default all of the store.
    overwrite : bool
        Write all files again, whatever exists.

    Returns
    -------
    Exported

    Raises
    ------
    StoreError
        If a file exists that was made from something else, before any is written, unless `overwrite`.
    OSError
        If the disk is full; each file is complete or does not exist.
    """
    table, bands, rows = store.catalogue, bands or store.bands, list(rows)
    imaged = [row for row in rows if np.isfinite(table["crval"][row].value).all()]
    paths = {row: Path(folder) / file_name(row, str(table["object_id"][row])) for row in imaged}
    origin = fingerprint(store)
    there = {} if overwrite else {row: path for row, path in paths.items() if path.exists()}
    for row, path in there.items():
        header = header_of_whole(path)
        said = () if header is None else tuple(map(header.get, ("STORESUM", "ROW", "BANDS")))
        if said != (origin, row, "".join(bands)):
            raise StoreError(
                f"{path} exists already and was made from something else; choose another folder or pass --overwrite"
            )
    for row in over([row for row in paths if row not in there], "export", "file"):
        hdus = _hdus(store, row, table[row], bands, origin)
        with whole_file(paths[row]) as temporary:
            write_hdus(hdus, temporary)
    missing = len(rows) - len(imaged)
    return Exported(list(paths.values()), list(there.values()), len(imaged), {NO_IMAGE: missing} if missing else {})


def fingerprint(store: Store) -> str:
    """Return the SHA-256 that stands for a whole store: of its list of checksums or, without one, of its rows.

    Parameters
    ----------
    store : Store
        The store.

    Returns
    -------
    str
        Hexadecimal digits.
    """
    sums = store.path / SUMS
    return checksum(sums) if sums.exists() else store.rows


def file_name(row: int, object_id: str) -> str:
    """Return the name of the file of a row, which no identifier leads out of the folder and the row makes unique."""
    plain = re.sub(r"[^A-Za-z0-9+-]+", "_", object_id).strip("_")[:NAME_LENGTH]
    return f"{row:06d}_{plain or 'object'}.fits"


def _hdus(store: Store, row: int, columns, bands: tuple[str, ...], origin: str) -> fits.HDUList:
    """Return the file of one row; `columns` is its row of the store's table, and `origin` stands for the store."""
    wcs, mask, places = store.wcs(row), store.mask[row], [store.bands.index(band) for band in bands]
    planes = {name: array[row] for name, array in store.planes.items()}
    primary = _primary(store, row, columns, bands, origin)
    hdus = band_hdus(store.images[row][places], bands, wcs, primary)
    for b, band in zip(places, bands, strict=True):
        for name, card in PER_BAND.items():
            if name not in columns.colnames:
                continue
            value = getattr(columns[name], "value", columns[name])[b]
            if value != "" and not (isinstance(value, np.floating) and np.isnan(value)):  # a header holds no NaN
                hdus[band].header[card[0]] = header_text(value) if isinstance(value, str) else (value.item(), card[1])
        hdus.append(mask_hdu(mask[b], hdus[band].header, FLAGGED))
        for name, values in planes.items():
            plane = fits.ImageHDU(values[b], hdus[band].header)
            plane.header["EXTNAME"] = f"{name.upper()}_{band}"
            del plane.header["FILTER"]  # so that nobody reads it for the band itself
            hdus.append(plane)
    return hdus


def _primary(store: Store, row: int, columns, bands: tuple[str, ...], origin: str) -> fits.Header:
    """Return the header that states the object of the file, and where it comes from."""
    header = fits.Header()
    if store.synthetic:
        header["SYNTH"] = (True, store.synthetic)
    header["OBJECT"] = header_text(str(columns["object_id"]))  # long text leaves no room for a comment
    header["RA"] = (float(columns["ra"].value), "[deg] right ascension, ICRS")
    header["DEC"] = (float(columns["dec"].value), "[deg] declination, ICRS")
    if np.isfinite(columns["redshift"]):
        header["REDSHIFT"] = (float(columns["redshift"]), "redshift in the catalogue")
    how = "survey whose images these imitate" if store.synthetic else "survey that the images are from"
    header["SURVEY"] = (store.survey["title"], how)
    header["BANDS"] = ("".join(bands), "bands, in the order of the extensions")
    header["STORE"] = header_text(store.path.name)
    header["ROW"] = (row, "row of the store, from 0")
    header["STORESUM"] = origin  # SHA-256; no comment fits beside it
    header["CREATOR"] = (f"galtrans {VERSION}", "software that wrote this file")
    header["HISTORY"] = f"{store.settings.get('command', 'made')} by galtrans {store.attributes['galtrans_version']}"
    for line in _origins(store.settings) if store.synthetic else ():
        header["HISTORY"] = header_text(line)
    return header


def _origins(settings: dict) -> Iterator[str]:
    """Yield the origin of a store, and the origin of that, one line each, the earliest first."""
    source = settings.get("source")
    if isinstance(source, dict):
        yield from _origins(source.get("settings", {}))
    facts = ", ".join(f"{key} {value}" for key, value in settings.items() if isinstance(value, str | int))
    yield facts.replace("command ", "", 1).replace(", ", ": ", 1) if "command" in settings else facts
