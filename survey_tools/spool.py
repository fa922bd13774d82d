"""Cutouts on disk between the files they come from and the store they go to: one file of records per source.

Each file is whole or not there, so one that is there need not be cut again: this is what a killed run goes on from.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from survey_tools.archives.plan import Piece, Source
from survey_tools.atomic import whole_file
from survey_tools.tan import tan_terms

FACTS = (
    "zero_point",
    "psf_fwhm",
    "psf_source",
    "saturation_source",
    "gain",
    "sky_sigma",
    "exposure",
    "zeros",
    "beyond",
)


def record_dtype(size: int) -> np.dtype:
    """One `Piece`: image [nanomaggy/pixel], saturated pixels, TAN terms [deg, pixel], and its other fields."""
    pixels = (size, size)
    wcs = [("crval", "f8", 2), ("crpix", "f8", 2), ("cd", "f8", (2, 2))]
    facts = [("zero_point", "f8"), ("psf_fwhm", "f8"), ("psf_source", "U8"), ("gain", "f8"), ("sky_sigma", "f8")]
    facts += [("saturation_source", "U8"), ("exposure", "U24"), ("zeros", "U200"), ("beyond", "i1")]
    return np.dtype([("image", "f4", pixels), ("saturated", "?", pixels), *wcs, *facts])


def path_of(folder: Path, source: Source) -> Path:
    """Where the cutouts of a source lie: named by its file and rows, so that those of another plan are never taken."""
    key = hashlib.sha256(source.name.encode() + np.asarray(source.rows, "<i8").tobytes()).hexdigest()[:32]
    return folder / key[:2] / f"{key}.npy"


def save(path: Path, pieces: Iterable[Piece], count: int, size: int) -> None:
    """Write the `count` pieces of one source, as they come; OSError, with nothing left, where the disk is full."""
    dtype, written = record_dtype(size), 0
    with whole_file(path) as temporary, temporary.open("wb") as file:
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (count,)}
        np.lib.format.write_array_header_2_0(file, header)
        for piece in pieces:
            file.write(_record(piece, dtype).tobytes())
            written += 1
        if written != count:
            raise ValueError(f"{written} pieces were made of {count}")


def load(path: Path, places: slice) -> np.ndarray:
    """Some of the records of one source (n,), without the rest being read or the file being kept open."""
    return np.array(np.load(path, mmap_mode="r")[places])


def beyond(path: Path) -> np.ndarray:
    """`Piece.beyond` of every record of one source (n,)."""
    return np.array(np.load(path, mmap_mode="r")["beyond"])


def _record(piece: Piece, dtype: np.dtype) -> np.ndarray:
    """One piece as a record ()."""
    record, cutout = np.zeros((), dtype), piece.cutout
    record["image"], record["saturated"] = cutout.image, cutout.saturated
    record["crval"], record["crpix"], record["cd"] = tan_terms(cutout.wcs)
    for name in FACTS:
        record[name] = getattr(piece, name)
    return record
