"""A partitioned store: one store for each HEALPix pixel, in a folder that is laid out as a HATS catalogue.

Each partition is an ordinary, complete store. Rows are counted through all partitions, in the order of the HEALPix
curve. No catalogue, manifest or column of all rows is ever in memory: what is asked for is read partition by partition.
"""

import hashlib
import json
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from astropy.table import Table, vstack
from astropy.wcs import WCS

from survey_tools.errors import StoreError, first_line
from survey_tools.files import SUMS, CheckedFiles
from survey_tools.store import zarr_store
from survey_tools.store.in_bands import take_bands
from survey_tools.store.place import is_url, place_of
from survey_tools.store.zarr_store import Store
from survey_tools.version import VERSION

DESCRIPTION = "partitions.json"  # beside the files of a HATS catalogue
SCHEMA, SCHEMA_VERSION = "galtrans-partitions", 1
MOST_ROWS = 2**20  # rows of a column, or of the manifest, that are given at once
OPEN = 32  # partitions that are kept open
BLOCK, BLOCKS = 16384, 256  # rows of a column that are read at once, and how many such parts are kept


@dataclass(frozen=True)
class Partition:
    """One partition.

    Attributes
    ----------
    order, pixel : int
        Its HEALPix pixel (nested).
    first : int
        Its first row, counted through all partitions.
    rows : int
        How many rows it has.
    chunk : int
        Rows of a chunk of its images.
    first_chunk : int
        Its first chunk, counted through all partitions.
    objects : str
        The checksum of which objects its rows are (`Store.rows`).
    """

    order: int
    pixel: int
    first: int
    rows: int
    chunk: int
    first_chunk: int
    objects: str

    @property
    def name(self) -> str:
        """Where its store is, relative to the folder."""
        return f"{folder_of(self.order, self.pixel)}.zarr"

    @property
    def chunks(self) -> int:
        """How many chunks it has."""
        return -(-self.rows // self.chunk)


def folder_of(order: int, pixel: int) -> str:
    """Return the place of a pixel's files in a HATS catalogue, without their suffix."""
    return f"dataset/Norder={order}/Dir={pixel // 10000 * 10000}/Npix={pixel}"


class PartitionedPixels:
    """The images, or masks, of all partitions: (object, band, row, col)."""

    def __init__(self, store: "PartitionedStore", name: str, largest: int) -> None:
        self._store, self._name = store, name
        self.shape = (len(store), len(store.bands), store.size, store.size)
        self.chunks = (largest, *self.shape[1:])

    def __getitem__(self, key) -> np.ndarray:
        first, rest = (key[0], key[1:]) if isinstance(key, tuple) else (key, ())
        if isinstance(first, (int, np.integer)):
            part, local = self._store.find(int(first) % len(self._store))
            return self._of(part)[(local, *rest)]
        if not isinstance(first, slice) or first.step not in (None, 1):
            raise StoreError(f"{self._store.path} is partitioned: its pixels are read by a row, or by a slice of rows")
        parts = [self._of(part)[(rows, *rest)] for part, rows, _ in self._store.parts_of(first)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts or [np.zeros((0, *self.shape[1:]), np.float32)])

    def _of(self, part: Store) -> Any:
        """Return the array of one partition."""
        return part.planes[self._name] if self._name in part.planes else getattr(part, self._name)


class PartitionedStore:
    """An open partitioned store.

    It is used as a `Store` is; ``store.partitions`` says what it consists of, and iterating over ``store.stores()``
    opens one partition after the other.

    Attributes
    ----------
    path : Path
        Its folder.
    survey : dict
        The row of `surveys.py` that it was made with.
    bands : tuple of str
        Its bands, in the order of the band axis.
    size : int
        Rows, and columns, of an image [pixel].
    pixel_scale : float
        Pixel scale of its images [arcsec/pixel].
    settings : dict
        What it was made from.
    synthetic : str
        Words that say that a network made its pixels; "" for observations.
    partitions : list of Partition
        In the order of the HEALPix curve, which is the order of rows.
    images, mask : PartitionedPixels
        As those of a store; read by a row, or by a slice of rows.
    planes : dict
        Arrays that it has beside its images, by name; each has the shape of `images`.
    block_rows : int
        Rows of the largest chunk.
    """

    def __init__(
        self, path: Path, described: dict, *, compare: bool = True, bands: Sequence[str] | None = None
    ) -> None:
        self.path, self.attributes, self._compare = path, described, compare
        self.survey: dict = described["survey"]
        self._seen = None if bands is None else tuple(bands)
        self.bands: tuple[str, ...] = self._seen or tuple(described["bands"])
        self.size: int = described["size"]
        self.pixel_scale: float = described["pixel_scale"]
        self.settings: dict = described["settings"]
        self.synthetic: str = described["synthetic"]
        self.partitions = _partitions(described["partitions"])
        self._firsts = np.array([part.first for part in self.partitions], int)
        self._first_chunks = np.array([part.first_chunk for part in self.partitions], int)
        self._steps = np.array([part.chunk for part in self.partitions], int)
        last = self.partitions[-1]
        self._count, self._chunk_count = last.first + last.rows, last.first_chunk + last.chunks
        self.block_rows = int(self._steps.max())
        self.images, self.mask = (PartitionedPixels(self, each, self.block_rows) for each in ("images", "mask"))
        self.planes: dict[str, PartitionedPixels] = {
            name: PartitionedPixels(self, name, self.block_rows) for name in described["planes"]
        }
        self._open: OrderedDict[int, Store] = OrderedDict()
        self._blocks: OrderedDict[tuple[str, int, int], np.ndarray] = OrderedDict()
        self._lock = Lock()

    def __getstate__(self) -> dict:
        return {"path": self.path, "described": self.attributes, "compare": self._compare, "bands": self._seen}

    def __setstate__(self, state: dict) -> None:
        self.__init__(state["path"], state["described"], compare=state["compare"], bands=state["bands"])

    def in_bands(self, bands: Sequence[str]) -> "PartitionedStore":
        """Return the store in some of its bands, in the order that is given."""
        return PartitionedStore(self.path, self.attributes, compare=self._compare, bands=bands)

    def __len__(self) -> int:
        return self._count

    @cached_property
    def rows(self) -> str:
        """The checksum of which objects its rows are: that of the checksums of its partitions."""
        return hashlib.sha256("\n".join(part.objects for part in self.partitions).encode()).hexdigest()

    def store(self, number: int) -> Store:
        """Open one partition.

        Parameters
        ----------
        number : int
            Which of `partitions`.

        Returns
        -------
        Store
            Its store, open for reading.

        Raises
        ------
        StoreError
            The store is missing, damaged, or not the one that was put there.
        """
        with self._lock:
            if number in self._open:
                self._open.move_to_end(number)
                return self._open[number]
        part = self.partitions[number]
        opened = zarr_store.open_store(self.path / part.name, compare=self._compare)
        same = (len(opened), list(opened.bands), opened.size) == (part.rows, self.attributes["bands"], self.size)
        if not same or opened.attributes.get("rows") != part.objects:
            raise StoreError(f"{opened.path} is not the partition that {self.path / DESCRIPTION} names; make it again")
        opened = opened if self._seen is None else take_bands(opened, self._seen)
        with self._lock:
            self._open[number] = opened
            while len(self._open) > OPEN:
                self._open.popitem(last=False)
        return opened

    def stores(self) -> Iterator[tuple[Partition, Store]]:
        """Yield each partition and its store, one after the other."""
        for number, part in enumerate(self.partitions):
            yield part, self.store(number)

    def find(self, row: int) -> tuple[Store, int]:
        """Return the store of one row, and its row there."""
        number = bisect_right(self._firsts, row) - 1
        return self.store(number), row - int(self._firsts[number])

    def number_of(self, rows: np.ndarray) -> np.ndarray:
        """Return which partition each of some rows is in (row,)."""
        return np.searchsorted(self._firsts, rows, side="right") - 1

    def parts_of(self, rows: slice) -> Iterator[tuple[Store, slice, int]]:
        """Yield the stores that some rows lie in, their rows there, and the first of these, counted through all."""
        start, stop, _ = rows.indices(len(self))
        while start < stop:
            number = bisect_right(self._firsts, start) - 1
            first = int(self._firsts[number])
            end = min(stop, first + self.partitions[number].rows)
            yield self.store(number), slice(start - first, end - first), start
            start = end

    def chunk_of(self, rows: np.ndarray) -> np.ndarray:
        """Return the number of the chunk that each of some rows is in, counted through all partitions (row,)."""
        number = self.number_of(rows)
        return self._first_chunks[number] + (rows - self._firsts[number]) // self._steps[number]

    def chunk_span(self, number: int) -> slice:
        """Return the rows of one chunk."""
        part = self.partitions[bisect_right(self._first_chunks, number) - 1]
        start = part.first + (number - part.first_chunk) * part.chunk
        return slice(start, min(start + part.chunk, part.first + part.rows))

    @property
    def chunk_count(self) -> int:
        """How many chunks it has."""
        return self._chunk_count

    def read_chunk(self, number: int) -> np.ndarray:
        """Return the images of one chunk (object, band, row, col) [nanomaggy/pixel], read-only."""
        place = bisect_right(self._first_chunks, number) - 1
        return self.store(place).read_chunk(number - int(self._first_chunks[place]))

    def chunks(self) -> list[slice]:
        """Return the rows of each chunk, in order."""
        return [self.chunk_span(number) for number in range(self._chunk_count)]

    @property
    def columns(self) -> list[str]:
        """The names of all its columns."""
        return self.store(0).columns

    @property
    def input_catalogue_names(self) -> list[str]:
        """The names of the columns of the catalogue that it was made from."""
        return self.store(0).input_catalogue_names

    def column(self, name: str, rows: slice = slice(None)) -> np.ndarray:
        """Return some rows of one column, as `Store.column` does.

        Parameters
        ----------
        name : str
            One of `columns`.
        rows : slice
            Which rows.

        Returns
        -------
        ndarray
            (object,), (object, band), or as `store.columns` states it.

        Raises
        ------
        StoreError
            More than `MOST_ROWS` rows are asked for.
        """
        self._few(range(*rows.indices(len(self))), f"the column {name}")
        parts = [part.column(name, local) for part, local, _ in self.parts_of(rows)]
        return np.concatenate(parts) if parts else self.store(0).column(name, slice(0, 0))

    def take(self, name: str, rows: np.ndarray) -> np.ndarray:
        """Return the values of a column in any rows, in their order; only the parts that hold them are read."""
        rows = np.asarray(rows, int)
        found, number = None, self.number_of(rows)
        block = (rows - self._firsts[number]) // BLOCK
        key = number * (len(self) // BLOCK + 1) + block
        for each in np.unique(key).tolist():
            inside = np.flatnonzero(key == each)
            part = int(number[inside[0]])
            start = int(block[inside[0]]) * BLOCK
            values = self._block(name, part, start)
            if found is None:
                found = np.empty((len(rows), *values.shape[1:]), object if values.dtype.kind == "U" else values.dtype)
            found[inside] = values[rows[inside] - int(self._firsts[part]) - start]
        if found is None:
            return self.store(0).column(name, slice(0, 0))
        return found.astype(str) if found.dtype == object else found

    def _block(self, name: str, number: int, start: int) -> np.ndarray:
        """Return some rows of a column of one partition; the last `BLOCKS` are kept."""
        key = (name, number, start)
        with self._lock:
            if key in self._blocks:
                self._blocks.move_to_end(key)
                return self._blocks[key]
        values = self.store(number).column(name, slice(start, start + BLOCK))
        with self._lock:
            self._blocks[key] = values
            while len(self._blocks) > BLOCKS:
                self._blocks.popitem(last=False)
        return values

    def sample(self, name: str) -> np.ndarray:
        """Return a column in at most `MOST_ROWS` rows, evenly over all, such as a median needs."""
        if len(self) <= MOST_ROWS:
            return self.column(name)
        return self.take(name, np.linspace(0, len(self) - 1, MOST_ROWS).astype(int))

    @property
    def usable(self) -> np.ndarray:
        """Whether each object has data in every pixel of every band (object,): one byte an object."""
        return np.concatenate([store.usable for _, store in self.stores()])

    def manifest(self) -> Table:
        """Return what became of every row of the catalogue; StoreError if these are more than `MOST_ROWS`."""
        self._few(range(len(self)), "the manifest")
        return vstack([store.manifest() for _, store in self.stores()], metadata_conflicts="silent")

    def statuses(self) -> np.ndarray:
        """Return the status of every row, as `Store.statuses` does: 28 bytes an object."""
        return np.concatenate([store.statuses() for _, store in self.stores()])

    def column_parts(self) -> list[slice]:
        """Return the parts in which columns are best read, in order; each lies within a partition."""
        return [
            slice(part.first + start, part.first + min(start + BLOCK, part.rows))
            for part in self.partitions
            for start in range(0, part.rows, BLOCK)
        ]

    @property
    def catalogue(self):
        """One row per object with every column, units attached; StoreError if these are more than `MOST_ROWS`."""
        self._few(range(len(self)), "the catalogue")
        return vstack([store.catalogue for _, store in self.stores()], metadata_conflicts="silent")

    def wcs(self, row: int) -> WCS:
        """Return the WCS of one object's pixels; StoreError if it has none."""
        store, local = self.find(row)
        return store.wcs(local)

    def __getitem__(self, which):
        """Return the images of one object, or of several, as `Store` does. An ``object_id`` is sought in all."""
        if isinstance(which, slice):
            return [self[row] for row in range(*which.indices(len(self)))]
        if isinstance(which, str):
            for _, store in self.stores():
                if (store.column("object_id") == which).any():
                    return store[which]
            raise KeyError(f"{self.path} has no object {which!r}")
        if isinstance(which, (list, tuple, np.ndarray)):
            which = np.asarray(which)
            return [self[each] for each in (np.flatnonzero(which) if which.dtype == bool else which).tolist()]
        row = int(which)
        if not -len(self) <= row < len(self):
            raise IndexError(f"{self.path} has rows 0 to {len(self) - 1}, and not row {row}")
        store, local = self.find(row % len(self))
        return store[local]

    def __iter__(self) -> Iterator[dict]:
        """Iterate over the images of each object, partition by partition."""
        for _, store in self.stores():
            yield from store

    def __getattr__(self, name: str) -> Any:
        if name in ("write", "write_columns", "finish", "input_catalogue", "to_xarray", "image_file", "chunk_files"):
            raise StoreError(f"{self.path} is partitioned, and {name} is for one store: use it on each of its stores()")
        raise AttributeError(name)

    def _few(self, rows: range, what: str) -> None:
        """Raise StoreError if so many rows must not be in memory at once."""
        if len(rows) > MOST_ROWS:
            raise StoreError(
                f"{self.path} is partitioned and has {len(self):,} rows: {what} of more than {MOST_ROWS:,} of them is "
                "not read at once; ask for a slice of rows, or go through its stores()"
            )


def _partitions(entries: list[dict]) -> list[Partition]:
    """Return the partitions of a description."""
    found, first, first_chunk = [], 0, 0
    for each in entries:
        facts = {name: each[name] for name in ("order", "pixel", "rows", "chunk", "objects")}
        found.append(Partition(first=first, first_chunk=first_chunk, **facts))
        first, first_chunk = first + found[-1].rows, first_chunk + found[-1].chunks
    return found


def parts_of(store: Store | PartitionedStore) -> Iterator[tuple[int, Store]]:
    """Yield the first row of each partition and its store, one after the other; an ordinary store is its only part."""
    if isinstance(store, PartitionedStore):
        for part, each in store.stores():
            yield part.first, each
    else:
        yield 0, store


def is_partitioned(path) -> bool:
    """Return whether a folder is a partitioned store."""
    return not is_url(path) and (Path(path) / DESCRIPTION).is_file()


def open_store(path, *, compare: bool = True) -> Store | PartitionedStore:
    """Open a finished store, or a partitioned one, for reading.

    Its description is compared with its checksum at once, and each file of columns and images when it is first read.

    Parameters
    ----------
    path : str or Path
        The store, or the folder of a partitioned one; or the address of a store, such as ``s3://bucket/sdss.zarr`` or
        ``https://host/sdss.zarr``. Only what is needed travels; credentials are those of the environment.
    compare : bool
        Whether to compare checksums. A store of an older galtrans has none.

    Returns
    -------
    Store or PartitionedStore
        The store.

    Raises
    ------
    StoreError
        The store does not exist, is not finished, is damaged, or cannot be read by this version.
    """
    path = place_of(path)
    if not is_partitioned(path):
        return zarr_store.open_store(path, compare=compare)
    if compare and (path / SUMS).exists():
        CheckedFiles.of(path).check([DESCRIPTION])
    try:
        described = json.loads((path / DESCRIPTION).read_text())
        version = described["schema_version"]
        if described["schema"] != SCHEMA or version != SCHEMA_VERSION:
            raise StoreError(
                f"{path} is {described['schema']} version {version}, and galtrans {VERSION} reads {SCHEMA} version "
                f"{SCHEMA_VERSION}"
            )
        return PartitionedStore(path, described, compare=compare)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise StoreError(f"{path} is damaged: {DESCRIPTION} cannot be read ({first_line(error)[:80]})") from error
