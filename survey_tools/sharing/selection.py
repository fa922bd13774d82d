"""Which objects of a store are shared, and their pixels and columns, batch by batch."""

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from survey_tools.store.columns import MEASURED, TRANSLATED
from survey_tools.store.manifest import DONE
from survey_tools.store.partitioned import PartitionedStore
from survey_tools.store.zarr_store import Store

BATCH_BYTES = 16 * 2**20  # pixels of one band after the other that are taken from a store at once
COLUMN_ROWS = 16384  # rows of columns without pixels that are taken at once
KEPT = 4  # chunks of images, and blocks of columns, that stay in memory, because the next batch may need them again
UNPLACED = "without a position"


@dataclass(frozen=True)
class StoreSelection:
    """Objects of a store that are shared.

    Attributes
    ----------
    store : Store or PartitionedStore
        The store.
    rows : ndarray
        (object,) their rows, in the order in which they are written.
    bands : tuple of str
        Their bands, in the order of the band axis.
    left_out : dict of str to int
        How many of the rows that were asked for are left out, by reason: a status of the manifest, or `UNPLACED`.
    """

    store: Store | PartitionedStore
    rows: np.ndarray
    bands: tuple[str, ...]
    left_out: dict[str, int]

    @property
    def object_bytes(self) -> int:
        """Bytes of one object's images, masks and planes in memory."""
        return len(self.bands) * self.store.size**2 * (5 + 4 * len(self.store.planes))

    def batches(self, rows: np.ndarray) -> Iterator["Objects"]:
        """Read objects in the order of `rows` (object,), so many at once that memory stays flat."""
        reader, step = _Reader(self.store, self.bands), max(1, BATCH_BYTES // self.object_bytes)
        for start in range(0, len(rows), step):
            yield reader.read(rows[start : start + step])

    def columns(self, rows: np.ndarray) -> Iterator[dict[str, np.ndarray]]:
        """Read the columns of objects, without their pixels, in the order of `rows` (object,), part by part."""
        reader = _Reader(self.store, self.bands)
        for start in range(0, len(rows), COLUMN_ROWS):
            yield reader.columns(rows[start : start + COLUMN_ROWS])


@dataclass(frozen=True)
class Objects:
    """Some objects, in memory.

    Attributes
    ----------
    rows : ndarray
        (object,) their rows in the store.
    images, mask : ndarray
        (object, band, row, col) [nanomaggy/pixel], NaN where there is no pixel; whether each pixel is missing or
        saturated.
    planes : dict of str to ndarray
        The planes of the store, each of that shape.
    columns : dict of str to ndarray
        Columns of the store by name, (object,), (object, band), or as `store.columns` states it.
    """

    rows: np.ndarray
    images: np.ndarray
    mask: np.ndarray
    planes: dict[str, np.ndarray]
    columns: dict[str, np.ndarray]


def select(
    store: Store | PartitionedStore, rows: Iterable[int] | None, bands: tuple[str, ...], *, placed: bool
) -> StoreSelection:
    """Choose the objects that are finished.

    Parameters
    ----------
    store : Store or PartitionedStore
        The store.
    rows : iterable of int or None
        Rows that are wanted; all if None.
    bands : tuple of str
        Bands that are wanted.
    placed : bool
        Whether an object needs a position on the sky.

    Returns
    -------
    StoreSelection
        Objects whose status is `done`, and how many were left out.
    """
    wanted = np.arange(len(store)) if rows is None else np.fromiter(rows, np.int64)
    _, firsts = np.unique(wanted, return_index=True)
    wanted = wanted[np.sort(firsts)]  # each row once
    status = store.statuses()[wanted]
    left_out = dict(sorted(Counter(status[status != DONE].tolist()).items()))
    kept = wanted[status == DONE]
    if placed:
        known = np.concatenate([_placed(store, part) for part in store.column_parts()] or [np.zeros(0, bool)])[kept]
        if not known.all():
            left_out[UNPLACED] = int((~known).sum())
        kept = kept[known]
    return StoreSelection(store, kept, bands, left_out)


def _placed(store: Store | PartitionedStore, part: slice) -> np.ndarray:
    """Return whether objects have a position."""
    return np.isfinite(store.column("ra", part)) & np.isfinite(store.column("dec", part))


class _Reader:
    """Reads objects of a store. The chunks and the columns that were read last stay in memory."""

    def __init__(self, store: Store | PartitionedStore, bands: tuple[str, ...]) -> None:
        self._store, self._bands = store, [store.bands.index(band) for band in bands]
        self._chunks: OrderedDict[int, tuple[int, dict[str, np.ndarray]]] = OrderedDict()
        self._blocks: OrderedDict[int, tuple[int, dict[str, np.ndarray]]] = OrderedDict()
        self._parts = store.column_parts()
        self._starts = np.array([part.start for part in self._parts])
        self._per_band = {column.name for column in MEASURED + TRANSLATED if column.dims == ("band",)}

    def read(self, rows: np.ndarray) -> Objects:
        """Return objects in the order of `rows` (object,)."""
        pixels = _gather(rows, self._store.chunk_of(rows), self._chunks, self._chunk)
        return Objects(rows, pixels.pop("images"), pixels.pop("mask"), pixels, self.columns(rows))

    def columns(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return the columns of objects in the order of `rows` (object,)."""
        block = np.searchsorted(self._starts, rows, side="right") - 1
        return _gather(rows, block, self._blocks, self._block)

    def _chunk(self, number: int) -> tuple[int, dict[str, np.ndarray]]:
        """Return the first row of a chunk, and its pixels in the bands that are wanted."""
        rows = self._store.chunk_span(number)
        arrays = {"images": self._store.images, "mask": self._store.mask} | self._store.planes
        return rows.start, {name: array[rows][:, self._bands] for name, array in arrays.items()}

    def _block(self, number: int) -> tuple[int, dict[str, np.ndarray]]:
        """Return the first row of a block, and its columns in the bands that are wanted."""
        rows = self._parts[number]
        found = {name: self._store.column(name, rows) for name in self._store.columns}
        return rows.start, {
            name: each[:, self._bands] if name in self._per_band else each for name, each in found.items()
        }


def _gather(
    rows: np.ndarray, numbers: np.ndarray, kept: OrderedDict, read: Callable[[int], tuple[int, dict]]
) -> dict[str, np.ndarray]:
    """Return arrays by name, (object, ...) in the order of `rows`, from the parts of a store that hold the rows.

    `numbers` (object,) says which part holds each row; parts that were read last stay in `kept`.
    """
    found: dict[str, list[np.ndarray]] = {}
    places = []
    for number in dict.fromkeys(numbers.tolist()):
        if number not in kept:
            kept[number] = read(number)
            while len(kept) > KEPT:
                kept.popitem(last=False)
        kept.move_to_end(number)
        start, arrays = kept[number]
        here = np.flatnonzero(numbers == number)
        places.append(here)
        for name, values in arrays.items():
            found.setdefault(name, []).append(values[rows[here] - start])
    order = np.argsort(np.concatenate(places), kind="stable")
    return {name: np.concatenate(values)[order] for name, values in found.items()}
