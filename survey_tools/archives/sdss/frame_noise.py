"""Noise of SDSS corrected frames: from photons of sky and object, and from what the CCD adds.

Formula, gains and dark variances: SDSS data model, file `frame`,
https://data.sdss.org/datamodel/files/BOSS_PHOTOOBJ/frames/RERUN/RUN/CAMCOL/frame.html
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from astropy.io import fits
from scipy.ndimage import map_coordinates

GAIN = {  # band: [electron/DN] of the camera columns 1 to 6
    "u": (1.62, 1.595, 1.59, 1.6, 1.47, 2.17),
    "g": (3.32, 3.855, 3.845, 3.995, 4.05, 4.035),
    "r": (4.71, 4.6, 4.72, 4.76, 4.725, 4.895),
    "i": (5.165, 6.565, 4.86, 4.885, 4.64, 4.76),
    "z": (4.745, 5.155, 4.885, 4.775, 3.48, 4.69),
}
DARK_VARIANCE = {  # band: [DN^2] of the camera columns 1 to 6
    "u": (9.61, 12.6025, 8.7025, 12.6025, 9.3025, 7.0225),
    "g": (15.6025, 1.44, 1.3225, 1.96, 1.1025, 1.8225),
    "r": (1.8225, 1.0, 1.3225, 1.3225, 0.81, 0.9025),
    "i": (7.84, 5.76, 4.6225, 6.25, 7.84, 5.0625),
    "z": (0.81, 1.0, 1.0, 9.61, 1.8225, 1.21),
}
LATER_GAIN = 1100, {("u", 2): 1.825}  # after this run these (band, camera column) have another value
LATER_DARK_VARIANCE = 1500, {("i", 2): 6.25, ("i", 4): 7.5625, ("z", 4): 12.6025, ("z", 5): 2.1025}
SKY_COLUMNS = 256  # of ALLSKY, whose rows vary


@dataclass(frozen=True)
class FrameNoise:
    """What the noise of a frame follows from.

    Attributes:
        calibration: (col,) nanomaggies of one DN.
        sky: (row, col) [DN] on a coarse grid, as it was subtracted.
        rows: (row,) where in the grid, counted from 0, the frame's rows lie.
        cols: (col,) likewise its columns.
        gain: [electron/DN].
        dark_variance: [DN^2].
    """

    calibration: np.ndarray
    sky: np.ndarray
    rows: np.ndarray
    cols: np.ndarray
    gain: float
    dark_variance: float

    def sky_at(self, row, col) -> np.ndarray:
        """The sky [DN] that was subtracted from pixels of the frame, any shape: its grid, bilinearly interpolated."""
        return map_coordinates(self.sky, np.stack([self.rows[row], self.cols[col]]), order=1, mode="nearest")

    def blank(self, row: float, col: float) -> float:
        """Standard deviation [nanomaggy/pixel] of blank sky at a pixel of the frame; at the nearest where it is off."""
        row = np.clip(np.rint([row]), 0, len(self.rows) - 1).astype(int)
        col = self._column(col)
        return float(noise(0.0, self.calibration[col], self.sky_at(row, col), self.gain, self.dark_variance)[0])

    def electrons(self, col: float) -> float:
        """Electrons of one nanomaggy in a column of the frame; in the nearest where it is off."""
        return float(self.gain / self.calibration[self._column(col)][0])

    def _column(self, col: float) -> np.ndarray:
        """The column (1,) that is nearest to a place on the frame or beside it."""
        return np.clip(np.rint([col]), 0, len(self.cols) - 1).astype(int)


def noise(flux, calibration, sky, gain: float, dark_variance: float) -> np.ndarray:
    """Standard deviation [nanomaggy] of the pixels of a corrected frame: calibration √(DN / gain + dark variance).

    DN = flux / calibration + sky is what the CCD counted; where noise has made it negative it counts as 0.

    Args:
        flux: (row, col) [nanomaggy].
        calibration: (col,) [nanomaggy/DN], HDU 1.
        sky: (row, col) [DN], HDU 2 on the frame's pixels: see `FrameNoise.sky_at`.
        gain: [electron/DN].
        dark_variance: Of dark current and read-out [DN^2].
    """
    counts = np.maximum(flux / calibration + sky, 0.0)
    return np.sqrt(counts / gain + dark_variance) * calibration


def gain_and_dark_variance(run: int, camcol: int, band: str) -> tuple[float, float]:
    """Gain [electron/DN] and dark variance [DN^2] of a CCD at the time of a run; KeyError where there is none such."""
    if not 1 <= camcol <= 6:
        raise KeyError(camcol)
    return tuple(
        later[1].get((band, camcol), table[band][camcol - 1]) if run > later[0] else table[band][camcol - 1]
        for table, later in ((GAIN, LATER_GAIN), (DARK_VARIANCE, LATER_DARK_VARIANCE))
    )


def read_noise(hdus: fits.HDUList, run: int, camcol: int, band: str, shape: tuple[int, int]) -> FrameNoise | None:
    """The noise of a frame of `shape` (rows, columns) from its HDUs 1 and 2; None where they are not as they should be.

    ALLSKY may come as one row of pixels. Raises what astropy raises where the file is damaged.
    """
    if len(hdus) < 3 or not isinstance(hdus[2], fits.BinTableHDU) or hdus[1].data is None:
        return None
    calibration, table = np.asarray(hdus[1].data, float), hdus[2].data
    if calibration.shape != shape[1:] or not {"ALLSKY", "XINTERP", "YINTERP"} <= {*table.names} or len(table) != 1:
        return None
    sky = np.asarray(table["ALLSKY"][0], float)
    rows, cols = (np.asarray(table[name][0], float).ravel() for name in ("YINTERP", "XINTERP"))
    if (len(rows), len(cols)) != shape or sky.size == 0 or sky.size % SKY_COLUMNS:
        return None
    try:
        gain, dark_variance = gain_and_dark_variance(run, camcol, band)
    except KeyError:
        return None
    sky = sky.reshape(-1, SKY_COLUMNS)
    return FrameNoise(calibration, sky, rows, cols, gain, dark_variance)


@cache
def interpolated() -> float:
    """How much of the noise of independent pixels is left after bicubic interpolation, over all sub-pixel shifts.

    An interpolated pixel is a sum of pixels with the weights φ(shift - k) along each axis, φ being the cardinal cubic
    spline: the interpolation of a single 1 among zeros. Its variance along an axis is Σ φ², and in the mean over the
    shifts ∫ φ² = 0.874; over two axes the standard deviation is reduced by as much.
    """
    reach, step = 40, 1 / 64
    pixels = np.zeros(2 * reach + 1)
    pixels[reach] = 1.0
    shifts = np.arange(step / 2, 2 * reach, step)
    return float((map_coordinates(pixels, shifts[None], order=3, mode="mirror") ** 2).sum() * step)
