"""Cutouts on disk between the files they come from and the store they go to: one file of records per source.

Each file is whole or not there, so one that is there need not be cut again: this is what a killed run goes on from.
"""

import hashlib
import io
from pathlib import Path

import numpy as np

from survey_tools.archives.plan import Cuts, Source
from survey_tools.atomic import whole_file
from survey_tools.tan import tan_terms


def record_dtype(size: int) -> np.dtype:
    """One cutout: image [nanomaggy/pixel], saturated pixels, TAN terms [deg, pixel], zero point [AB], PSF [arcsec]."""
    pixels = (size, size)
    wcs = [("crval", "f8", 2), ("crpix", "f8", 2), ("cd", "f8", (2, 2))]
    return np.dtype(
        [("image", "f4", pixels), ("saturated", "?", pixels), *wcs, ("zero_point", "f8"), ("psf_fwhm", "f8")]
    )


def path_of(folder: Path, source: Source) -> Path:
    """Where the cutouts of a source lie: named by its file and rows, so that those of another plan are never taken."""
    key = hashlib.sha256(source.name.encode() + np.asarray(source.rows, "<i8").tobytes()).hexdigest()[:32]
    return folder / key[:2] / f"{key}.npy"


def save(path: Path, cuts: Cuts, size: int) -> None:
    """Write the cutouts of one source; OSError, with nothing left behind, where the disk is full."""
    records = np.zeros(len(cuts.cutouts), record_dtype(size))
    for record, cutout in zip(records, cuts.cutouts, strict=True):
        record["image"], record["saturated"] = cutout.image, cutout.saturated
        record["crval"], record["crpix"], record["cd"] = tan_terms(cutout.wcs)
    records["zero_point"], records["psf_fwhm"] = cuts.zero_point, cuts.psf_fwhm
    file = io.BytesIO()
    np.save(file, records)
    with whole_file(path) as temporary:
        temporary.write_bytes(file.getbuffer())  # where numpy writes to disk itself, it does not say that it is full


def load(path: Path, places: slice) -> np.ndarray:
    """Some of the records of one source (n,), without the rest being read or the file being kept open."""
    return np.array(np.load(path, mmap_mode="r")[places])
