"""Point-spread functions of SDSS: psField files, in which each band of a field has a few images that add up to its PSF.

Data model: https://data.sdss.org/datamodel/files/PHOTO_REDUX/RERUN/RUN/objcs/CAMCOL/psField.html
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from astropy.io import fits

from survey_tools.archives.download.mirror import Mirror, read_or_warn
from survey_tools.fits.reading import hdus_by_astropy, require_complete
from survey_tools.images.quality import fwhm

PSFIELD = "sas/dr12/boss/photo/redux/{rerun}/{run}/objcs/{camcol}/psField-{run:06d}-{camcol}-{field:04d}.fit"
BYTES = 800_000  # expected size of one file
BANDS = "ugriz"  # HDUs 1 to 5
PROFILE_OF_WIDTH = 0.79  # FWHM of a star's profile over PSF_WIDTH: 0.77 to 0.81 in the bands of field 3900-6-269
POSITION_UNIT = 0.001  # rows and columns of the field are multiplied by it in the polynomials


@dataclass(frozen=True)
class FieldPsf:
    """The PSF of one band of a field.

    Attributes
    ----------
    images : (term, row, col) float
        Images that add up to it.
    terms : (term, i, j) float
        Coefficients of the polynomials in the position with which each image is multiplied.
    """

    images: np.ndarray
    terms: np.ndarray

    def at(self, row: float, col: float) -> np.ndarray:
        """Return the PSF (row, col) at a pixel of the field: Σ_k image_k Σ_ij terms_kij (0.001 row)^i (0.001 col)^j."""
        powers = np.arange(self.terms.shape[1])
        along, across = (row * POSITION_UNIT) ** powers, (col * POSITION_UNIT) ** powers
        return np.einsum("kij,i,j,krc->rc", self.terms, along, across, self.images)


@dataclass(frozen=True)
class FieldWidth:
    """The PSF of one band of a field whose images are missing: its effective width PSF_WIDTH [arcsec]."""

    effective: float


Psf = FieldPsf | FieldWidth


def fwhm_at(psf: Psf, row: float, col: float, pixel_scale: float) -> float:
    """Return the full width at half maximum of a star's profile [arcsec] at a pixel of the field; NaN if it has none.

    PSF_WIDTH is not this width: it is that of the Gaussian that gathers as much noise as the PSF, and includes the
    wings. If nothing else is known, it is multiplied by `PROFILE_OF_WIDTH`.
    """
    if isinstance(psf, FieldWidth):
        return psf.effective * PROFILE_OF_WIDTH
    return fwhm(psf.at(row, col)) * pixel_scale


def find_psf(mirror: Mirror, name: str, band: str, *, due: bool) -> Psf | None:
    """Return the PSF of one band of a field by its psField file; None if it is unknown.

    A psField file that is damaged, or that is `due` and not in the mirror, causes one warning.

    Raises
    ------
    ArchiveError
        If the file exists but cannot be fetched.
    ConnectionError
        If the archive cannot be reached.
    """
    return _psfs(mirror, name, due)[BANDS.index(band)]


def read_psfs(hdus: fits.HDUList) -> tuple[Psf | None, ...]:
    """Return the PSFs of the five bands of an open psField file: by their images, else by PSF_WIDTH, else None."""
    return tuple(_read(hdus[1 + index].data) or _width(hdus, index) for index in range(len(BANDS)))


def _width(hdus: fits.HDUList, index: int) -> FieldWidth | None:
    """Return the effective width of one band, from HDU 6; None if it has none."""
    table = hdus[1 + len(BANDS)].data if len(hdus) > 1 + len(BANDS) else None
    if table is None or table.names is None or "psf_width" not in [name.lower() for name in table.names]:
        return None
    width = float(np.ravel(table["psf_width"])[index])
    return FieldWidth(width) if width > 0 else None


def _read(table: fits.FITS_rec | None) -> FieldPsf | None:
    """Read one band; ValueError, KeyError or IndexError if the table does not follow the data model."""
    if table is None or len(table) == 0:
        return None
    shape = int(table["RNROW"][0]), int(table["RNCOL"][0])
    images = np.array([np.asarray(row, np.float32).reshape(shape) for row in table["RROWS"]])
    terms = np.array(table["c"], float).reshape(len(table), 5, 5)
    i, j = np.indices((5, 5))
    orders = np.asarray(table["nrow_b"])[:, None, None], np.asarray(table["ncol_b"])[:, None, None]
    return FieldPsf(
        images, np.where((i < orders[0]) & (j < orders[1]), terms, 0.0)
    )  # beyond the orders the file holds meaningless numbers


@lru_cache(maxsize=64)
def _psfs(mirror: Mirror, name: str, due: bool) -> tuple[Psf | None, ...]:
    """Return the PSFs of the five bands of a field; None if they are unknown."""
    without = "the PSF of a field is unknown"
    found = read_or_warn(mirror, name, lambda path: _open(path, name), kind="psField", without=without, due=due)
    return (None,) * len(BANDS) if found is None else found


def _open(path: Path, name: str) -> tuple[Psf | None, ...]:
    """Read the PSFs of a file; ArchiveError if this is not possible."""
    require_complete(path, name)
    with hdus_by_astropy(path, name) as hdus:
        return read_psfs(hdus)
