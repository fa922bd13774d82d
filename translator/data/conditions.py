"""The conditions of a store's images, as batches carry them: seeing, noise, gain, and the alignment of two grids."""

import numpy as np
import torch
from torch import Tensor

from survey_tools.images.sky_wcs import tan_pixels, tan_places
from survey_tools.store.partitioned import PartitionedStore
from survey_tools.store.zarr_store import Store
from translator.data.streams import STEPS
from translator.images import Known
from translator.networks.observation_operator import inverse

NAMES = ("psf_fwhm", "sky_sigma", "gain")  # columns of a store, in the order of the fields of `Known`
MOST = 4.0  # largest offset of an alignment, in image sizes; a larger one means that a WCS is wrong


def medians(values: np.ndarray) -> np.ndarray:
    """Return medians (band,) of the known values, finite and above 0, of (image, band); NaN for a band without any."""
    known = np.isfinite(values) & (values > 0)
    return np.array(
        [np.median(band[there]) if there.any() else np.nan for band, there in zip(values.T, known.T, strict=True)]
    )


def usual_seeing(values: np.ndarray) -> np.ndarray:
    """Return the median seeing (band,) of images (image, band) [arcsec].

    A band of unknown seeing has the median of the other bands; all are NaN if the seeing of none is known.
    """
    found = medians(values)
    return np.where(np.isfinite(found), found, np.nanmedian(found) if np.isfinite(found).any() else np.nan)


def one_centre(ratio: float) -> np.ndarray:
    """Return the alignment (2, 3) of grids with one centre and orientation and this ratio of their pixel scales."""
    return np.array([[ratio, 0.0, 0.0], [0.0, ratio, 0.0]])


class Conditions:
    """The conditions of all images of one store, kept in memory; those of a partitioned one are read as they are
    asked for.
    """

    def __init__(self, store: Store | PartitionedStore) -> None:
        self._store, self._columns = store, None
        if not isinstance(store, PartitionedStore):
            self._columns = [np.asarray(store.column(name), np.float32) for name in NAMES]

    def of(self, rows: np.ndarray, device: torch.device) -> Known:
        """Return the conditions of the images of some rows."""
        if self._columns is None:
            found = [np.asarray(self._store.take(name, rows), np.float32) for name in NAMES]
        else:
            found = [column[rows] for column in self._columns]
        return Known(*(torch.from_numpy(values).to(device) for values in found))


def alignments(x: Store, y: Store, rows: np.ndarray) -> np.ndarray:
    """Return the alignments from x's grids to y's by both WCSs (pair, 2, 3), in the form of
    `networks.observation_operator`.

    A grid of unknown WCS is taken to have the other's centre and orientation.

    Parameters
    ----------
    x, y : Store
        Both stores.
    rows : array of int
        Rows of both stores (pair, 2).
    """
    there, here = (
        [store.take(name, which) for name in ("crval", "crpix", "cd")]
        for store, which in ((y, rows[:, 1]), (x, rows[:, 0]))
    )
    return align(here, x.size, there, y.size, x.pixel_scale / y.pixel_scale)


def alignment_into(stores: dict[str, Store], rows: dict[str, np.ndarray], domain: str) -> np.ndarray:
    """Return the alignments from the grids of images that are translated into `domain` to those of their targets (pair,
    2, 3).

    Parameters
    ----------
    stores : dict
        Stores "x" and "y".
    rows : dict
        Rows (pair,) of both.
    domain : str
        "x" or "y", where translations land.
    """
    found = alignments(stores["x"], stores["y"], np.column_stack([rows["x"], rows["y"]]))
    return found if domain == "y" else inverse(torch.from_numpy(found)).numpy()


def align(
    here: list[np.ndarray],
    here_shape: int | tuple[int, int],
    there: list[np.ndarray],
    there_shape: int | tuple[int, int],
    ratio: float,
) -> np.ndarray:
    """Return alignments (pair, 2, 3) from the TAN terms crval, crpix and cd of both grids, each (pair, …).

    Parameters
    ----------
    here : list of array
        Terms of the first grids.
    here_shape : int or tuple of int
        Their rows and columns; one number if both are the same.
    there : list of array
        Terms of the second grids.
    there_shape : int or tuple of int
        Their rows and columns.
    ratio : float
        Ratio of the pixel scales, for grids of unknown WCS.
    """
    made = lead(here, here_shape, there, there_shape)
    right = np.isfinite(made).all(axis=(1, 2)) & (np.abs(made[..., 2]).max(axis=1) < MOST * np.max(there_shape))
    return np.where(right[:, None, None], made, one_centre(ratio))


def lead(
    here: list[np.ndarray],
    here_shape: int | tuple[int, int],
    there: list[np.ndarray],
    there_shape: int | tuple[int, int],
) -> np.ndarray:
    """Return alignments like `align`, wherever the grids lie; NaN if a WCS is unknown."""
    middle, half = ((np.broadcast_to(shape, 2) - 1) / 2 for shape in (here_shape, there_shape))
    step = np.min(here_shape) / 4
    places = middle + step * np.array([(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)])  # row, col
    sky = tan_places(*here, places[:, ::-1])
    found = tan_pixels(*there, sky)[..., ::-1] - half
    matrix = np.stack([found[:, 1] - found[:, 2], found[:, 3] - found[:, 4]], axis=-1) / (2 * step)
    return np.concatenate([matrix, found[:, 0][..., None]], axis=-1)


def turned_alignments(alignments: np.ndarray, symmetries: np.ndarray) -> np.ndarray:
    """Return alignments (pair, 2, 3) of pairs whose images have both been turned by a symmetry (pair,) of `streams`."""
    turns = SYMMETRY[symmetries]
    matrix = turns @ alignments[..., :2] @ turns.swapaxes(-1, -2)
    return np.concatenate([matrix, turns @ alignments[..., 2:]], axis=-1)


def as_tensor(alignments: np.ndarray, device: torch.device) -> Tensor:
    """Return alignments as networks read them: float32, on their device."""
    return torch.from_numpy(np.ascontiguousarray(alignments, np.float32)).to(device)


def _matrices() -> np.ndarray:
    """Return the matrix (2, 2) of each symmetry, by which a place is multiplied: row and column from the centre."""
    made = []
    for exchange, rows, columns in STEPS:
        matrix = np.eye(2)[::-1] if exchange else np.eye(2)
        made.append(np.diag([-1.0 if rows else 1.0, -1.0 if columns else 1.0]) @ matrix)
    return np.array(made)


SYMMETRY = _matrices()
