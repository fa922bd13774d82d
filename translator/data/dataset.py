"""A store as a dataset of PyTorch, for networks and training loops of one's own."""

from collections.abc import Iterator, Sequence
from os import PathLike

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from survey_tools.errors import StoreError
from survey_tools.store.partitioned import PartitionedStore, open_store
from survey_tools.store.zarr_store import Store
from translator.data.conditions import NAMES
from translator.data.reading import read_chunk


class Dataset(IterableDataset):
    """The objects of a store in random order, each once an epoch, with what is known of each image.

    Whole chunks of the store are read in random order, and the objects of a few chunks are mixed. A dataset that reads
    single rows in random order (a map-style `torch.utils.data.Dataset`) decompresses a whole chunk for each object: it
    gives about 128 images a second, where whole chunks give about 7,600.

    Each sample is a dictionary, which `DataLoader` makes into batches:

    - ``image``: flux (band, row, col) [nanomaggy/pixel], float32; NaN where there is no pixel
    - ``mask``: whether each pixel is saturated or missing (band, row, col), bool
    - ``psf_fwhm``: full width at half maximum of stars (band,) [arcsec], float32; NaN where it is not known, as below
    - ``sky_sigma``: standard deviation of a pixel of blank sky (band,) [nanomaggy/pixel], float32
    - ``gain``: electrons of one nanomaggy (band,), float32
    - ``row``: row of the store, int
    - ``object_id``: name of the object, str

    Parameters
    ----------
    store : Store, str or Path
        The store, or its path.
    rows : array of int or bool, optional
        Rows of the objects to take, or a mask over all objects. By default all objects are taken, also those with
        missing pixels; ``store.usable`` selects those without.
    bands : str or sequence of str, optional
        Bands to take, in this order, such as "gri". By default all.
    seed : int
        Seed of the order.
    shuffle : bool
        Whether the order is random; otherwise it is that of the store.
    mixed : int
        How many chunks are held and mixed at a time, in each worker. A chunk is at most 16 MiB of images.

    Attributes
    ----------
    store : Store
        The open store.
    rows : array of int
        Rows of the objects that an epoch has.
    bands : tuple of str
        Bands of the samples.

    Raises
    ------
    StoreError
        If the store cannot be read, or has no such row or band.

    Notes
    -----
    With ``DataLoader(dataset, num_workers=n)`` each worker reads its own share of the chunks, so no object comes twice
    and none is lost. More workers than chunks are idle.

    Every iteration has an order of its own. Call `set_epoch` before each epoch to make the order a function of the seed
    and the epoch alone; without it, the order in worker processes also depends on the random numbers of PyTorch.

    Examples
    --------
    >>> loader = DataLoader(Dataset("sdss.zarr", bands="gri"), batch_size=32, num_workers=2)  # doctest: +SKIP
    >>> for batch in loader:  # doctest: +SKIP
    ...     batch["image"].shape, batch["psf_fwhm"].shape
    """

    def __init__(
        self,
        store: Store | str | PathLike,
        *,
        rows: Sequence[int] | np.ndarray | None = None,
        bands: str | Sequence[str] | None = None,
        seed: int = 0,
        shuffle: bool = True,
        mixed: int = 8,
    ) -> None:
        self.store = store if isinstance(store, (Store, PartitionedStore)) else open_store(store)
        self.rows = _check_rows(self.store, rows)
        self.bands = tuple(self.store.bands if bands is None else bands)
        self._bands = _check_bands(self.store, self.bands)
        self._seed, self._shuffle, self._mixed = seed, shuffle, max(1, mixed)
        self._begun = 0  # iterations in this process
        self._epoch = torch.tensor(-1).share_memory_()  # which workers that are kept see change

    def set_epoch(self, epoch: int) -> None:
        """Have the next iterations go through the objects in the order of one epoch, counted from 0."""
        self._epoch.fill_(epoch)

    def __iter__(self) -> Iterator[dict[str, Tensor | int | str]]:
        worker = get_worker_info()
        number, count = (worker.id, worker.num_workers) if worker else (0, 1)
        order, self._begun = self._order(), self._begun + 1
        chunks = np.unique(self.store.chunk_of(self.rows))
        mine = (order.permutation(chunks) if self._shuffle else chunks)[number::count]
        for first in range(0, len(mine), self._mixed):
            yield from self._samples(mine[first : first + self._mixed], order)

    def _order(self) -> np.random.Generator:
        """Random numbers for one iteration, the same in every worker."""
        epoch, worker = int(self._epoch), get_worker_info()
        if epoch >= 0:
            return np.random.default_rng([self._seed, epoch])
        drawn = worker.seed - worker.id if worker else 0  # by PyTorch, once for all workers
        return np.random.default_rng([self._seed, self._begun, drawn % 2**64, 1])

    def _conditions(self, name: str, rows: np.ndarray) -> np.ndarray:
        """One column of conditions in some rows, in the bands that are taken (row, band)."""
        return np.asarray(self.store.take(name, rows), np.float32)[:, self._bands]

    def _samples(self, chunks: np.ndarray, order: np.random.Generator) -> Iterator[dict]:
        """The samples of a few chunks, mixed."""
        within = self.store.chunk_of(self.rows)
        wanted = self.rows[np.isin(within, chunks)]
        if not self._shuffle:
            wanted = wanted[np.argsort(np.searchsorted(chunks, self.store.chunk_of(wanted)), kind="stable")]
        images = {chunk: read_chunk(self.store, chunk) for chunk in chunks.tolist()}
        spans = {chunk: self.store.chunk_span(chunk) for chunk in images}
        masks = {chunk: self.store.mask[span] for chunk, span in spans.items()}
        taken = order.permutation(wanted) if self._shuffle else wanted
        columns = {name: self._conditions(name, taken) for name in NAMES}
        names = self.store.take("object_id", taken)
        for at, (row, chunk) in enumerate(zip(taken.tolist(), self.store.chunk_of(taken).tolist(), strict=True)):
            place = row - spans[chunk].start
            known = {name: torch.from_numpy(values[at].copy()) for name, values in columns.items()}
            yield {
                "image": torch.from_numpy(images[chunk][place, self._bands]),
                "mask": torch.from_numpy(masks[chunk][place, self._bands]),
                **known,
                "row": row,
                "object_id": str(names[at]),
            }


def _check_rows(store: Store, rows: Sequence[int] | np.ndarray | None) -> np.ndarray:
    """Return rows in order, each once; StoreError if the store has no such row."""
    if rows is None:
        return np.arange(len(store))
    rows = np.asarray(rows)
    if rows.dtype == bool:
        if rows.shape != (len(store),):
            raise StoreError(f"{store.path} has {len(store)} objects, and the mask of rows has shape {rows.shape}")
        rows = np.flatnonzero(rows)
    rows = np.unique(rows.astype(int))
    wrong = rows[(rows < 0) | (rows >= len(store))]
    if len(wrong):
        raise StoreError(f"{store.path} has no row {wrong[0]}; its {len(store)} objects are rows 0 to {len(store) - 1}")
    return rows


def _check_bands(store: Store, bands: tuple[str, ...]) -> list[int]:
    """Return the places of bands in the store; StoreError if it has no such band."""
    unknown = [band for band in bands if band not in store.bands]
    if unknown or not bands:
        raise StoreError(
            f"{store.path} has no band {unknown[0] if unknown else ''!r}; its bands are {' '.join(store.bands)}"
        )
    return [store.bands.index(band) for band in bands]
