"""Which pixels of an SDSS frame are saturated: by the mask file that belongs to it, or by the frame alone.

Frames do not state it, and brightness does not reveal it: the survey's pipeline replaces the pixels of a saturated core
and its bleed trail by interpolated ones (Stoughton et al. 2002, section 4.4.3), so that the core of a saturated star is
fainter than the core of a star that was just not saturated.

Data model of the mask files: https://data.sdss.org/datamodel/files/PHOTO_REDUX/RERUN/RUN/objcs/CAMCOL/fpM.html
"""

import gzip
from io import BytesIO
from pathlib import Path

import numpy as np
from astropy.io import fits
from scipy.ndimage import label

from survey_tools.archives.download.mirror import Mirror, read_or_warn
from survey_tools.fits.reading import UNREADABLE, damaged, hdus_by_astropy, require_complete

FPM = "sas/dr12/boss/photo/redux/{rerun}/{run}/objcs/{camcol}/fpM-{run:06d}-{band}{camcol}-{field:04d}.fit.gz"
BYTES = 50_000  # expected size of one file
SATURATED = "S_MASK_SATUR"  # the plane of pixels that are, or were before they were interpolated, saturated
PLANES = "S_MASKTYPE"  # name of the list that states the HDU of each plane
SPAN = np.dtype(
    [("row", ">i2"), ("first", ">i2"), ("last", ">i2")]
)  # pixels of one row, counted from 0; both ends count
FPM_FILE, FRAME, HEADER = "fpM", "frame", "header"  # how saturated pixels were found

FULL_SCALE = 65535 - 1000  # [DN] the pipeline's images have 16 bits, with 1000 added to every pixel (SOFTBIAS of fpC)
SHARPEST = 3.5  # see `saturated_by_frame`: the square of a pixel over the product of its neighbours, seeing of 0.82"
BRIGHT = 3000.0  # [DN] above the sky: pixels so bright have less than 1 % noise
CORE = 1000.0  # [DN] above the sky, down to which a saturated core is flagged


def find_mask(mirror: Mirror, name: str, shape: tuple[int, int], *, due: bool) -> np.ndarray | None:
    """Return whether each pixel of a frame is saturated (row, col), bool, by its fpM file; None if that is not known.

    A file that is damaged, or that is `due` and not in the mirror, causes one warning.

    Parameters
    ----------
    mirror : Mirror
        Where the files are; in a local one the file may be uncompressed.
    name : str
        Name of the fpM file, relative to the mirror.
    shape : (int, int)
        Rows and columns of the frame.
    due : bool
        Whether the mirror should have it.

    Raises
    ------
    ArchiveError
        If the file exists but cannot be fetched.
    ConnectionError
        If the archive cannot be reached.
    """
    without = "saturated pixels are found by the frame alone"
    return read_or_warn(mirror, name, lambda path: _open(path, name, shape), kind="fpM", without=without, due=due)


def read_plane(hdus: fits.HDUList, plane: str, shape: tuple[int, int]) -> np.ndarray:
    """Return whether each pixel of a frame is in one plane of an open fpM file, such as `SATURATED`; (row, col) bool.

    The last HDU lists the planes. The plane with `Value` v is in HDU v + 1. It has a row for each connected set of
    pixels, whose column `s` has the spans of pixels of that set.

    Raises
    ------
    ValueError, KeyError, IndexError
        If the file does not follow the data model.
    """
    planes = hdus[-1].data
    wanted = [
        int(row["Value"])
        for row in planes
        if (str(row["defName"]).strip(), str(row["attributeName"]).strip()) == (PLANES, plane)
    ]
    if len(wanted) != 1:
        raise ValueError(f"its list of planes has {plane} {len(wanted)} times")
    inside = np.zeros(shape, bool)
    table = hdus[1 + wanted[0]].data
    for spans in table["s"] if table is not None and len(table) else ():
        for row, first, last in np.frombuffer(np.asarray(spans, np.uint8).tobytes(), SPAN).tolist():
            if not (0 <= row < shape[0] and 0 <= first <= last < shape[1]):
                raise ValueError(f"its pixels {first} to {last} of row {row} are not on a frame of {shape}")
            inside[row, first : last + 1] = True
    return inside


def saturated_by_frame(flux: np.ndarray, calibration: np.ndarray, sky: float) -> np.ndarray:
    """Return which pixels of a frame are saturated, as far as the frame itself shows; (row, col) bool.

    Two things show it. A pixel at the full scale of the pipeline's images, 65,535 - 1000 DN, is saturated. And a core
    that no telescope can make was interpolated. Let P be a pixel and M, N its neighbours in a row or a column. Each is
    a sum over the light of the sky times the PSF. If the PSF is a Gaussian of the width σ [pixel], the inequality of
    Cauchy and Schwarz gives P² <= M N exp(1 / σ²), whatever the sky looks like. A bright pixel beyond the bound for a
    seeing of 0.82", better than any of SDSS, is not an image of the sky. Interpolated cores have many such pixels;
    nothing else has any in the five bands of field 7264-3-111. All pixels that are connected to one of them and
    brighter than `CORE` are flagged.

    Parameters
    ----------
    flux : (row, col) float
        Image [nanomaggy], NaN for no data.
    calibration : (col,) float
        Nanomaggies of one DN.
    sky : float
        The sky that was subtracted [DN].
    """
    counts = np.nan_to_num(flux / calibration, nan=0.0, posinf=0.0, neginf=0.0)
    wrong = counts + sky >= FULL_SCALE
    row, col = np.nonzero(counts > BRIGHT)
    for step in ((1, 0), (0, 1)):
        before, after = (_at(counts, row - way * step[0], col - way * step[1]) for way in (1, -1))
        sharp = counts[row, col] ** 2 > SHARPEST * np.maximum(before, 1.0) * np.maximum(after, 1.0)
        inside = np.isfinite(before) & np.isfinite(after)
        wrong[row[inside & sharp], col[inside & sharp]] = True
    if not wrong.any():
        return wrong
    cores, _ = label(counts > CORE, np.ones((3, 3)))
    return np.isin(cores, np.unique(cores[wrong])) & (cores > 0)


def _at(counts: np.ndarray, row: np.ndarray, col: np.ndarray) -> np.ndarray:
    """Return pixels (n,) of an image; NaN beyond its edges."""
    inside = (row >= 0) & (row < counts.shape[0]) & (col >= 0) & (col < counts.shape[1])
    values = counts[np.clip(row, 0, counts.shape[0] - 1), np.clip(col, 0, counts.shape[1] - 1)]
    return np.where(inside, values, np.nan)


def _open(path: Path, name: str, shape: tuple[int, int]) -> np.ndarray:
    """Read the saturated pixels of a file; ArchiveError if this is not possible."""
    try:
        content = path.read_bytes()
        if content.startswith(b"\x1f\x8b"):
            content = gzip.decompress(content)  # whose checksum shows whether the file is whole
        else:
            require_complete(path, name)
    except UNREADABLE as error:
        raise damaged(name, error) from error
    with hdus_by_astropy(BytesIO(content), name) as hdus:
        return read_plane(hdus, SATURATED, shape)
