"""A store: cutouts of one survey with their catalogue, WCS and noise, as one Zarr v3 group that xarray opens whole.

A store is built as `PATH.part` and renamed to `PATH` when it is finished. Therefore an existing store is complete.
While it is built, its pixels are blocks (`blocks.py`) and its columns have a file for each chunk; when it is
finished, both become shard files (`shards.py`). Stores of schema version 1 have a file for each chunk of pixels, and
are read and mended as they are. This is the only file that knows Zarr.
"""

import asyncio
import base64
import hashlib
import itertools
import json
import operator
import os
import shutil
import warnings
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from astropy import units as u
from astropy.table import QTable, Table
from astropy.wcs import WCS
from numcodecs.blosc import decompress
from zarr.abc.store import OffsetByteRequest, RangeByteRequest
from zarr.abc.store import Store as ZarrFiles
from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec

from survey_tools.errors import GaltransError, StoreError, first_line
from survey_tools.files import SUMS, CheckedFiles, write_sums
from survey_tools.images.sky_wcs import tan_wcs
from survey_tools.store.blocks import BLOCKS, Blocks
from survey_tools.store.columns import ADDED, CATALOGUE, MEASURED, OF_SURVEYS, TRANSLATED, Column, empty_columns
from survey_tools.store.manifest import read_manifest, read_statuses, write_manifest
from survey_tools.store.place import Folder, StoreUrl, is_url, place_of
from survey_tools.store.shards import CODEC, LEVEL, SHUFFLE, Layout, ShardError, ShardReader, join, split
from survey_tools.surveys import Survey
from survey_tools.version import VERSION

SCHEMA = "galtrans-store"
SCHEMA_VERSION = 2  # of the stores that are made; older ones are read
READABLE = (1, 2)
MANIFEST = "manifest.ecsv"
AS_TEXT = (
    "survey",
    "settings",
    "planes",
)  # attributes that are JSON in text: netCDF has neither nested ones nor, before version 4, lists of words
SKY = {  # how the pixels lie on the sky, for those who read a store without galtrans
    "Conventions": "galtrans-store-2",
    "sky_frame": "ICRS",
    "sky_projection": "TAN",
    "sky_wcs": "crval crpix cd",
    "sky_axes": "col row",
}
UNREADABLE = (
    RuntimeError,
    ValueError,
    TypeError,
    KeyError,
    EOFError,
    MemoryError,
)  # raised when a damaged file is decoded
PIXEL_UNIT = u.Unit("nmgy / pix")
CHUNK_BYTES = 16 * 2**20  # bytes of images that a task has in memory at once, and that are best read together
INNER_BYTES = 2**19  # bytes of images that are compressed as one chunk, and read to have one object
SHARD_ROWS = 8192  # objects in a shard file: 0.24 files of images and masks for a thousand objects
SHARD_BYTES = 2**32  # bytes of images in a shard file at most, before compression
COLUMN_ROWS = 16384  # rows of a column that are written at once: a power of two, like the rows of a block
COLUMN_PARTS = 4  # such parts of all columns that an open store keeps in memory, for objects one by one
COLUMN_CHUNKS = 64  # such parts in a shard file of a column


def chunk_rows(bands: int, size: int, chunk_bytes: int = CHUNK_BYTES) -> int:
    """Return how many objects fit into some bytes of images: a power of two, and at least one."""
    return 2 ** max(0, int(np.log2(chunk_bytes / (bands * size * size * 4))))


def rows_together(count: int, bands: int, size: int, chunk_bytes: int = CHUNK_BYTES) -> tuple[int, int, int]:
    """Return how the objects of a new store are divided.

    Parameters
    ----------
    count, bands, size : int
        Number of objects, of bands, and of rows, and columns, of an image [pixel].
    chunk_bytes : int
        Bytes that the images of a block may take.

    Returns
    -------
    tuple of int
        Objects in a chunk, in a block and in a shard file; each holds a whole number of those before it.
    """
    block = min(chunk_rows(bands, size, chunk_bytes), 2 ** (max(count, 1) - 1).bit_length())
    chunk = min(chunk_rows(bands, size, INNER_BYTES), block)
    shard = min(SHARD_ROWS, chunk_rows(bands, size, SHARD_BYTES), max(-(-count // block), 1) * block)
    return chunk, block, max(shard, block)


def part_of(path: Path) -> Path:
    """Return where the store `path` is built: `PATH.part`."""
    return path.with_name(path.name + ".part")


def row_fingerprint(survey: str, object_id, ra, dec) -> str:
    """Return a checksum that two stores share if and only if their rows are the same objects in the same order.

    Parameters
    ----------
    survey : str
        Name of the survey.
    object_id, ra, dec : array_like
        (object,) identifiers and positions [deg].

    Returns
    -------
    str
        SHA-256 in hexadecimal digits.
    """
    digest = hashlib.sha256(survey.encode())
    positions = np.column_stack([np.asarray(ra, "<f8"), np.asarray(dec, "<f8")]).tobytes()
    for row, name in enumerate(np.asarray(object_id).tolist()):
        digest.update(f"\0{name}\0".encode() + positions[16 * row : 16 * row + 16])
    return digest.hexdigest()


class StoredPixels:
    """The images of a store, or their masks.

    Damage is found when pixels are read: each chunk of a shard file has a CRC32C, and a file of a store of schema
    version 1 is compared with its checksum when it is first read. Reading then raises StoreError.
    """

    def __init__(
        self, array: zarr.Array, files: CheckedFiles, reader: ShardReader | None = None, blocks: Blocks | None = None
    ) -> None:
        self._array, self._files, self._reader, self._blocks = array, files, reader, blocks

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # attributes that do not exist yet during unpickling
            raise AttributeError(name)
        return getattr(self._array, name)

    def __getitem__(self, key) -> np.ndarray:
        if self._reader is None:
            return _read(self._array, key, self._files)
        first, rest = (key[0], key[1:]) if isinstance(key, tuple) and key else (key, ())
        if isinstance(first, (int, np.integer)) and not isinstance(first, bool):
            if not -len(self) <= first < len(self):
                raise IndexError(f"{self._files.folder} has no row {first}")
            row = int(first) % len(self)
            return self._rows(row, row + 1)[0][rest]
        if isinstance(first, slice) and first.step in (None, 1):
            start, stop, _ = first.indices(len(self))
            return self._rows(start, max(start, stop))[(slice(None), *rest)]
        return _read(self._array, key, self._files) if self._blocks is None else self._rows(0, len(self))[key]

    def __setitem__(self, key, values) -> None:
        if self._blocks is not None:
            raise TypeError("the pixels of a store are written by Store.write")
        self._array[key] = values

    def __len__(self) -> int:
        return self._array.shape[0]

    def _rows(self, start: int, stop: int) -> np.ndarray:
        """Return some rows from shard files and, while a store is built, from its blocks."""
        try:
            if self._blocks is not None and self._blocks.folder.exists():
                return self._blocks.read(self._reader.layout, self._reader, start, stop)
            return self._reader.rows(start, stop)
        except ShardError as error:
            raise StoreError(_damaged(self._files.folder, error.file, error)) from error


class Store:
    """An open store.

    Attributes
    ----------
    path : Path or StoreUrl
        Its folder: `PATH`, or `PATH.part` while it is built; or its address.
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
    images, mask : StoredPixels
        (object, band, row, col) [nanomaggy/pixel], NaN where there is no pixel; and whether each pixel is missing or
        saturated.
    planes : dict
        Arrays that it has beside its images, by name; each has the shape of `images`.
    block_rows : int
        Number of successive rows that are best read together, from a multiple of it on.
    """

    def __init__(
        self, path: Path, group: zarr.Group, files: CheckedFiles | None = None, *, begun: bool = False
    ) -> None:
        self.path, self._group, self._files = path, group, files or CheckedFiles(path, {})
        self._place = Folder(path) if isinstance(path, Path) else path
        self._parts: OrderedDict[tuple, dict[str, np.ndarray]] = OrderedDict()
        attributes = group.attrs.asdict()
        for name in AS_TEXT:  # older stores have no text here, but JSON itself
            if isinstance(attributes.get(name), str):
                attributes[name] = json.loads(attributes[name])
        if isinstance(attributes["bands"], str):
            attributes["bands"] = attributes["bands"].split()
        self.survey: dict = attributes["survey"]
        self.bands: tuple[str, ...] = tuple(attributes["bands"])
        self.size: int = attributes["size"]
        self.pixel_scale: float = attributes["pixel_scale"]
        self.settings: dict = attributes["settings"]
        self.synthetic: str = attributes.get("synthetic", "")
        self.attributes: dict = attributes
        arrays = {name: group[name] for name in ("images", "mask", *attributes.get("planes", ()))}
        layouts = {name: _layout(name, array) for name, array in arrays.items()}
        stated = arrays["images"].attrs.get("block_rows")
        self._blocks: Blocks | None = None
        if begun and stated:
            self._blocks = Blocks(path, tuple(layouts.values()), stated)
        pixels = {name: self._open_pixels(array, layouts[name]) for name, array in arrays.items()}
        self.images, self.mask = pixels.pop("images"), pixels.pop("mask")
        self.planes: dict[str, StoredPixels] = pixels
        self.block_rows: int = stated or self.images.chunks[0]

    def __len__(self) -> int:
        return self.images.shape[0]

    def _open_pixels(self, array: zarr.Array, layout: Layout | None) -> StoredPixels:
        """Return an array of pixels, read from shard files where they are laid out as `create` does."""
        if layout is None:
            return StoredPixels(array, self._files)
        return StoredPixels(array, self._files, ShardReader(layout, self._read_part), self._blocks)

    def _read_part(self, name: str, start: int, length: int) -> bytes:
        """Return a part of a file. Raise StoreError if the file should exist, and FileNotFoundError if it need not."""
        try:
            return self._place.read(name, start, length)
        except FileNotFoundError:
            self._files.require([name])
            raise

    @cached_property
    def rows(self) -> str:
        """The checksum of which objects its rows are (`row_fingerprint`), made from its columns."""
        return row_fingerprint(self.survey["name"], *(self.column(name) for name in ("object_id", "ra", "dec")))

    @property
    def manifest_path(self) -> Path:
        """The file with the manifest."""
        return self.path / MANIFEST

    def chunks(self) -> list[slice]:
        """Return the rows of each block, in order: those that are best read, or made, together.

        Returns
        -------
        list of slice
            One slice per block.
        """
        step = self.block_rows
        return [slice(start, min(start + step, len(self))) for start in range(0, len(self), step)]

    @property
    def chunk_count(self) -> int:
        """How many chunks it has."""
        return -(-len(self) // self.block_rows)

    def chunk_of(self, rows: np.ndarray) -> np.ndarray:
        """Return the number of the chunk that each of some rows is in (row,)."""
        return rows // self.block_rows

    def chunk_span(self, number: int) -> slice:
        """Return the rows of one chunk."""
        step = self.block_rows
        return slice(number * step, min((number + 1) * step, len(self)))

    def read_chunk(self, number: int) -> np.ndarray:
        """Return the images of one chunk (object, band, row, col) [nanomaggy/pixel], read-only."""
        return read_images(self, number)

    def take(self, name: str, rows: np.ndarray) -> np.ndarray:
        """Return the values of a column in any rows, in their order."""
        return self.column(name)[rows]

    def sample(self, name: str) -> np.ndarray:
        """Return a column, such as a median needs; of a partitioned store it is a part."""
        return self.column(name)

    def column(self, name: str, rows: slice = slice(None)) -> np.ndarray:
        """Return one column: one value, or a few, per object.

        A store that was made before one of the columns `ADDED` existed returns the value of an object without a value.

        Parameters
        ----------
        name : str
            One of `columns`.
        rows : slice
            Which rows; all by default.

        Returns
        -------
        ndarray
            (object,), (object, band), or as `store.columns` states it.

        Raises
        ------
        KeyError
            The store has no such column.
        StoreError
            The file of the column is damaged, or a WCS in it is impossible.
        """
        if name in ADDED and name not in self._group:
            values = empty_columns(len(range(*rows.indices(len(self)))), len(self.bands))[name]
            return values.astype(str) if values.dtype == object else values
        values = _read(self._group[name], rows, self._files)
        if name == "cd":
            self._check_cd(values, rows)
        return np.array(values.tolist(), dtype=str).reshape(values.shape) if values.dtype.kind == "T" else values

    @cached_property
    def usable(self) -> np.ndarray:
        """Whether each object has data in every pixel of every band (object,); saturated pixels count as data."""
        return (self.column("coverage") == 1).all(axis=1)

    @property
    def columns(self) -> list[str]:
        """The names of all its columns."""
        known = {*self._group, *ADDED}
        return [each.name for each in CATALOGUE + OF_SURVEYS + MEASURED + TRANSLATED if each.name in known]

    @cached_property
    def catalogue(self) -> QTable:
        """One row per object with every column, units attached."""
        present = [each for each in CATALOGUE + OF_SURVEYS + MEASURED + TRANSLATED if each.name in self.columns]
        units = {column.name: u.Unit(column.unit) for column in present if column.unit}
        return QTable({c.name: self.column(c.name) for c in present}, units=units, meta={"survey": self.survey["name"]})

    def input_catalogue(self) -> Table:
        """Return the catalogue that the store was made from.

        Returns
        -------
        Table
            One row per object.
        """
        return Table({name: self.column(name) for name in self.input_catalogue_names})

    @property
    def input_catalogue_names(self) -> list[str]:
        """The names of the columns of the catalogue that the store was made from."""
        return [column.name for column in CATALOGUE + OF_SURVEYS if column.name in self._group]

    def wcs(self, row: int) -> WCS:
        """Return the WCS of one object's pixels, which all its bands share.

        Parameters
        ----------
        row : int
            The object.

        Returns
        -------
        WCS
            TAN, ICRS.

        Raises
        ------
        StoreError
            The object has no image, or no position.
        """
        terms = [self.column(name, slice(row, row + 1))[0] for name in ("crval", "crpix", "cd")]
        if not np.isfinite(terms[0]).all():
            raise StoreError(f"{self.path}: row {row} has no image, or no position; its manifest says why")
        return tan_wcs(*terms)

    def __getitem__(self, which):
        """Return the images of one object, or of several.

        Parameters
        ----------
        which : int, str, slice or sequence of these
            A row, counted from 0; an ``object_id``; or several of them.

        Returns
        -------
        dict of str to `~astropy.nddata.CCDData`, or list of such dictionaries
            By band, in the order of the bands: ``data`` (row, col) in nanomaggy/pixel, NaN where there is no pixel;
            ``mask``, True where a pixel is missing or saturated; ``wcs``, None where the object has no position;
            ``uncertainty``, the standard deviation of blank sky; and ``meta``, the object's columns.

        Raises
        ------
        IndexError
            The store has no such row.
        KeyError
            The store has no such ``object_id``.
        """
        if isinstance(which, slice):
            return [self[row] for row in range(*which.indices(len(self)))]
        if isinstance(which, str):
            return self[self._row_of(which)]
        if isinstance(which, (list, tuple, np.ndarray)):
            which = np.asarray(which)
            return [self[each] for each in (np.flatnonzero(which) if which.dtype == bool else which).tolist()]
        row = operator.index(which)
        if not -len(self) <= row < len(self):
            raise IndexError(f"{self.path} has rows 0 to {len(self) - 1}, and not row {row}")
        row %= len(self)
        return next(self._objects(slice(row, row + 1)))

    def __iter__(self):
        """Iterate over the images of each object, in order, as ``store[row]`` returns them; each chunk is read once."""
        for rows in self.chunks():
            yield from self._objects(rows)

    def _columns_of(self, rows: slice) -> dict[str, np.ndarray]:
        """Return all columns of some rows. The parts of columns that were read last are kept in memory."""
        step = _column_rows(self.block_rows)
        start = rows.start // step * step
        if rows.stop > start + step:
            return {name: self.column(name, rows) for name in self.columns}
        key = (start, self.bands)
        if key not in self._parts:
            self._parts[key] = {name: self.column(name, slice(start, start + step)) for name in self.columns}
        while len(self._parts) > COLUMN_PARTS:
            self._parts.popitem(last=False)
        return {n: column[rows.start - start : rows.stop - start] for n, column in self._parts[key].items()}

    def __getstate__(self) -> dict:
        return vars(self) | {"_parts": OrderedDict()}

    def _objects(self, rows: slice) -> Iterator[dict]:
        """Yield the images of each object of some rows, which are read together."""
        from astropy.nddata import CCDData, StdDevUncertainty  # imported here, because few need it and it is slow

        images, masks = self.images[rows], self.mask[rows]
        columns = self._columns_of(rows)
        per_band = [c.name for c in MEASURED + TRANSLATED if c.dims == ("band",) and c.name in columns]
        names = self.input_catalogue_names
        for place, (image, mask) in enumerate(zip(images, masks, strict=True)):
            values = {name: column[place] for name, column in columns.items()}
            known = np.isfinite(values["crval"]).all()
            grid = tan_wcs(values["crval"], values["crpix"], values["cd"]) if known else None
            shared = {name: values[name].item() for name in names}
            found = {}
            for at, band in enumerate(self.bands):
                own = {name: values[name][at].item() for name in per_band}
                found[band] = CCDData(
                    image[at],
                    unit=PIXEL_UNIT,
                    mask=mask[at],
                    wcs=grid,
                    uncertainty=StdDevUncertainty(np.full(image[at].shape, own["sky_sigma"], np.float32)),
                    meta={"survey": self.survey["name"], "band": band, "pixel_scale": self.pixel_scale} | shared | own,
                )
            yield found

    def to_xarray(self):
        """Return the whole store as a Dataset whose arrays are Dask arrays, with one Dask chunk for the rows that are
        best read together.

        Dimensions are object, band, row and col; ``object_id``, ``ra``, ``dec`` and ``band`` are coordinates.

        Returns
        -------
        xarray.Dataset
            Its values are read when they are used.

        Raises
        ------
        GaltransError
            xarray is not installed.
        """
        try:
            import xarray
        except ImportError as error:
            raise GaltransError("xarray is not installed; run: pip install xarray") from error
        source = self.path if isinstance(self.path, Path) else self._group.store
        data, pixels = xarray.open_zarr(source, chunks=None), {"images", "mask", *self.planes}
        rows = {name: self.block_rows if name in pixels else _column_rows(self.block_rows) for name in data.variables}
        chunked = {n: data[n].chunk({"object": rows[n]}) for n in data.variables if "object" in data[n].dims}
        return data.assign_coords({name: chunked.pop(name) for name in data.coords if name in chunked}).assign(chunked)

    def _row_of(self, object_id: str) -> int:
        """Return the row of an object; raise KeyError if there is none."""
        rows = np.flatnonzero(self.column("object_id") == object_id)
        if not len(rows):
            raise KeyError(f"{self.path} has no object {object_id!r}")
        return int(rows[0])

    def manifest(self) -> Table:
        """Return what became of every row of the catalogue.

        Returns
        -------
        Table
            object_id, status, reason, file, url and http (the HTTP status), one row per object.

        Raises
        ------
        StoreError
            The manifest is damaged.
        """
        return self._of_manifest(read_manifest)

    def statuses(self) -> np.ndarray:
        """Return the status of every row, as the manifest states it, without reading the rest of it into memory.

        Returns
        -------
        ndarray
            (object,) "done", "outside" or "failed".

        Raises
        ------
        StoreError
            The manifest is damaged.
        """
        return self._of_manifest(read_statuses)

    def _of_manifest(self, read: Callable[[Path], Any]) -> Any:
        """Return what a function reads of the manifest; raise StoreError if it is damaged."""
        self._files.check([MANIFEST])
        try:
            return read(self.path / MANIFEST)
        except (ValueError, KeyError, TypeError, IndexError, StopIteration) as error:
            raise StoreError(_damaged(self.path, MANIFEST, error)) from error

    def write(
        self, rows: slice, images: np.ndarray, mask: np.ndarray, planes: Mapping[str, np.ndarray] | None = None
    ) -> None:
        """Write whole chunks.

        Parameters
        ----------
        rows : slice
            The rows of one chunk or of several.
        images : ndarray
            (object, band, row, col) [nanomaggy/pixel], NaN where there is no data.
        mask : ndarray
            Whether each pixel cannot be used (bool, same shape).
        planes : mapping, optional
            The store's planes by name, each of the same shape.
        """
        values = {"images": images, "mask": mask, **(planes or {})}
        arrays = {"images": self.images, "mask": self.mask, **self.planes}
        if self._blocks is None:  # schema version 1
            for name, array in values.items():
                arrays[name][rows] = array
            return
        for start in range(rows.start, rows.stop, self.block_rows):
            stop = min(start + self.block_rows, len(self))
            inside = slice(start - rows.start, stop - rows.start)
            if start % self.block_rows or stop > rows.stop:
                raise ValueError(f"rows {rows.start} to {rows.stop} are no whole chunks of {self.block_rows} rows")
            self._blocks.write(
                start,
                {name: values[name][inside] if name in values else array[start:stop] for name, array in arrays.items()},
            )

    def write_columns(self, columns: dict[str, np.ndarray], rows: slice = slice(None)) -> None:
        """Write measured columns of the whole store, or of one of `column_parts`.

        A column of `ADDED` that an older store lacks is created first.

        Parameters
        ----------
        columns : dict
            Values by name, one or a few per object.
        rows : slice
            Which rows; all by default.
        """
        self._parts.clear()
        for name, values in columns.items():
            if name in ADDED and name not in self._group:
                column = next(column for column in MEASURED if column.name == name)
                _create_column(self._group, column, len(self), len(self.bands), self.block_rows)
            if self._group[name].shards:
                self._split_column(name)
            self._group[name][rows] = values

    def column_parts(self) -> list[slice]:
        """Return the parts in which columns are best written.

        Returns
        -------
        list of slice
            The rows of each part, in order; each part holds whole chunks.
        """
        step = _column_rows(self.block_rows)
        return [slice(start, min(start + step, len(self))) for start in range(0, len(self), step)]

    def chunk_files(self, rows: slice) -> list[str]:
        """Return the names of the files that one chunk's images, mask and planes have for themselves.

        Parameters
        ----------
        rows : slice
            The rows of the chunk.

        Returns
        -------
        list of str
            Relative to the store; empty for a chunk without any pixel, and where files are shared by many chunks.
        """
        if self._blocks is not None:
            return []
        names = (_file_of(array, rows) for array in self._pixels())
        return [name for name in names if (self.path / name).exists()]

    def shard_files(self) -> list[str]:
        """Return the names of the files that hold the images, mask and planes of many chunks; none in schema version 1.

        Returns
        -------
        list of str
            Relative to the store.
        """
        layouts = self._blocks.layouts if self._blocks is not None else ()
        names = (each.file(number) for each in layouts for number in range(-(-len(self) // each.shard)))
        return [name for name in names if (self.path / name).exists()]

    def drop_blocks(self) -> None:
        """Remove the pixels that were written and are not yet in shard files."""
        if self._blocks is not None:
            self._blocks.drop()

    def image_file(self, rows: slice) -> Path | None:
        """Return the file that holds one chunk's images: little-endian pixels compressed by Blosc.

        Parameters
        ----------
        rows : slice
            The rows of the chunk.

        Returns
        -------
        Path or None
            None for a chunk without any pixel, and in a store whose chunks somebody has laid out in another way.
        """
        codecs = self.images.metadata.to_dict()["codecs"]
        path = self.path / _file_of(self.images, rows)
        self._files.check([_file_of(self.images, rows)])
        blosc = [codec["name"] for codec in codecs] == ["bytes", "blosc"]
        return (
            path if blosc and codecs[0].get("configuration", {}).get("endian") == "little" and path.exists() else None
        )

    def finish(self, manifest: Table | None = None, sums: Mapping[str, str] | None = None) -> "Store":
        """Give the store, built as `PATH.part`, its manifest, its checksums and its name.

        Parameters
        ----------
        manifest : Table, optional
            With the columns of `read_manifest`, or some of them; None if it is written already.
        sums : mapping, optional
            Checksums that are known, by the name of the file.

        Returns
        -------
        Store
            The finished store, open for reading.
        """
        final = self.path.with_name(self.path.name.removesuffix(".part"))
        if manifest is not None:
            write_manifest(self.path / MANIFEST, [{name: manifest[name] for name in manifest.colnames}])
        sums = dict(sums or {})
        if self._blocks is not None:
            sums |= self._blocks.join()
            for name in (
                *self.input_catalogue_names,
                *(c.name for c in MEASURED + TRANSLATED if c.name in self._group),
            ):
                self._join_column(name)
            shutil.rmtree(self.path / BLOCKS, ignore_errors=True)
        for left in (*self.path.rglob("*.partial"), *self.path.rglob(".*.part.*")):
            left.unlink()  # left by a process that was killed while it wrote
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # zarr warns of the manifest, and that version 3 may change
            zarr.consolidate_metadata(self.path)
        write_sums(self.path, sums)
        os.rename(self.path, final)
        return open_store(final)

    def _join_column(self, name: str) -> None:
        """Give a column shard files, made of the files of its chunks."""
        old = self._group[name]
        if old.shards:
            return
        new, group = _beside(self.path, name)
        column = next(each for each in CATALOGUE + OF_SURVEYS + MEASURED + TRANSLATED if each.name == name)
        array = _create_column(group, column, len(self), len(self.bands), self.block_rows, sharded=True)
        per_file = array.shards[0] // array.chunks[0]
        for number in range(-(-len(self) // array.shards[0])):
            paths = [self.path / _chunk_file(old, number * per_file + each) for each in range(per_file)]
            there = [(path, 0, path.stat().st_size) if path.exists() else None for path in paths]
            join(new / _chunk_file(array, number).removeprefix(f"{name}/"), there)
        _put(self.path, name)

    def _split_column(self, name: str) -> None:
        """Give a column a file for each chunk again, so that its parts can be written."""
        old = self._group[name]
        new, group = _beside(self.path, name)
        column = next(each for each in CATALOGUE + OF_SURVEYS + MEASURED + TRANSLATED if each.name == name)
        array = _create_column(group, column, len(self), len(self.bands), self.block_rows)
        per_file = old.shards[0] // old.chunks[0]
        for number in range(-(-len(self) // old.shards[0])):
            path = self.path / _chunk_file(old, number)
            chunks = split(path, per_file) if path.exists() else []
            for place, chunk in enumerate(chunks):
                if chunk is not None:
                    to = new / _chunk_file(array, number * per_file + place).removeprefix(f"{name}/")
                    to.parent.mkdir(parents=True, exist_ok=True)
                    to.write_bytes(chunk)
        _put(self.path, name)

    def _pixels(self) -> tuple[StoredPixels, ...]:
        return self.images, self.mask, *self.planes.values()

    def _check_cd(self, values: np.ndarray, rows: slice) -> None:
        """Raise StoreError if a CD matrix (object, axis, pixel_axis) maps the pixels to no area of the sky."""
        flat = values[..., 0, 0] * values[..., 1, 1] == values[..., 0, 1] * values[..., 1, 0]
        if flat.any():
            row = range(*rows.indices(len(self)))[int(np.argmax(flat))]
            raise StoreError(f"{self.path} is damaged: the CD matrix of row {row} has no inverse; make the store again")


def _read(array: zarr.Array, key: Any, files: CheckedFiles) -> np.ndarray:
    """Return values of an array after comparing its files with their checksums; raise StoreError if one is damaged."""
    first = key[0] if isinstance(key, tuple) and key else key
    if not isinstance(files.folder, Path):
        files.check(() if array.shards else _files_of(array, first))
    elif array.shards:  # its chunks have checksums of their own
        files.require(name for name in _files_of(array, first) if not name.endswith("zarr.json"))
    else:
        files.check(_files_of(array, first))
    try:
        return array[key]
    except UNREADABLE as error:
        raise StoreError(_damaged(files.folder, array.basename, error)) from error


def _files_of(array: zarr.Array, rows: Any) -> Iterable[str]:
    """Yield the names of the files that hold some rows of an array; all files if `rows` is neither a slice nor a
    number.
    """
    step, count = (array.shards or array.chunks), array.shape
    grid = [range(-(-length // size)) for length, size in zip(count, step, strict=True)]
    if isinstance(rows, slice) and rows.step in (None, 1):
        start, stop, _ = rows.indices(count[0])
        grid[0] = range(start // step[0], -(-stop // step[0]))
    elif isinstance(rows, (int, np.integer)):
        grid[0] = range(int(rows) % count[0] // step[0], int(rows) % count[0] // step[0] + 1) if count[0] else grid[0]
    yield f"{array.basename}/zarr.json"
    for place in itertools.product(*grid):
        yield f"{array.basename}/{array.metadata.encode_chunk_key(place)}"


def _damaged(path: Path, what: str, error: Exception) -> str:
    """Return the words for a damaged store."""
    return (
        f"{path} is damaged: {what} cannot be read ({first_line(error)[:80]}); see what else is with "
        f"`galtrans verify {path}`, and make the store again, or take it from a copy"
    )


def _chunk_file(array: zarr.Array, number: int) -> str:
    """Return the name of the file of a column's chunk, or shard."""
    place = (number,) + (0,) * (array.ndim - 1)
    return f"{array.basename}/{array.metadata.encode_chunk_key(place)}"


def _beside(part: Path, name: str) -> tuple[Path, zarr.Group]:
    """Return the empty folder in which a column is laid out anew, and the group that has it."""
    group = zarr.open_group(part / BLOCKS / "new", mode="a", zarr_format=3)
    shutil.rmtree(part / BLOCKS / "new" / name, ignore_errors=True)
    return part / BLOCKS / "new" / name, group


def _put(part: Path, name: str) -> None:
    """Let a column that was laid out anew take the place of the old one."""
    ready, old = part / BLOCKS / "ready", part / BLOCKS / "old"
    for folder in (ready, old):
        folder.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(old / name, ignore_errors=True)
    os.rename(part / BLOCKS / "new" / name, ready / name)
    os.rename(part / name, old / name)
    os.rename(ready / name, part / name)


def _restore(part: Path) -> None:
    """Put the columns into their place that a run has laid out anew before it was killed."""
    for folder in (part / BLOCKS / "ready").glob("*"):
        if (part / folder.name).exists():
            shutil.rmtree(folder)
        else:
            os.rename(folder, part / folder.name)


def _layout(name: str, array: zarr.Array) -> Layout | None:
    """Return how an array lies in shard files; None if it is not laid out as `create` does it."""
    codecs = array.metadata.to_dict()["codecs"]
    if not array.shards or [codec["name"] for codec in codecs] != ["sharding_indexed"]:
        return None
    about = codecs[0]["configuration"]
    inner = about["codecs"]
    same = array.shards[1:] == array.chunks[1:] == array.shape[1:] and about["index_location"] == "start"
    if not same or [codec["name"] for codec in inner] != ["bytes", "blosc", "crc32c"]:
        return None
    if array.dtype.itemsize > 1 and inner[0]["configuration"]["endian"] != "little":
        return None
    fill, dtype = array.fill_value, array.dtype.newbyteorder("<").str
    return Layout(name, array.shape, dtype, fill, array.chunks[0], array.shards[0])


def _file_of(array: zarr.Array | StoredPixels, rows: slice) -> str:
    """Return the name of the file that holds one chunk of images or of their mask."""
    return f"{array.basename}/{array.metadata.encode_chunk_key((rows.start // array.chunks[0], 0, 0, 0))}"


def _column_rows(chunk: int) -> int:
    """Rows of a column in a chunk of its own: `COLUMN_ROWS`, or those of a chunk of images where these are more."""
    return max(COLUMN_ROWS // chunk, 1) * chunk


def create(
    path,
    survey: Survey,
    bands,
    catalogue: Table,
    settings: dict,
    *,
    size=None,
    pixel_scale=None,
    synthetic: str = "",
    planes: Mapping[str, str] | None = None,
    chunk_bytes: int = CHUNK_BYTES,
) -> Store:
    """Begin a store as `PATH.part`, or resume the one that an interrupted run with the same settings has left there.

    Parameters
    ----------
    path : str or Path
        Where the finished store will be.
    survey : Survey
        The survey of the images.
    bands : sequence of str
        Bands, in the order of the band axis.
    catalogue : Table
        One row per object, as `catalogue.read_catalogue` returns it.
    settings : mapping
        What the store is made from, in types that JSON can hold. A resumed run must have the same.
    size : int, optional
        Rows, and columns, of an image [pixel]; the survey's by default.
    pixel_scale : float, optional
        Pixel scale [arcsec/pixel]; the survey's by default.
    synthetic : str
        Words that say that the pixels are not an observation; "" for observations.
    planes : mapping, optional
        Arrays that the store has beside the images, of the same shape: name to description.
    chunk_bytes : int
        Bytes that the images of a chunk may take. A resumed store keeps the chunks that it has.

    Returns
    -------
    Store
        The store, open for writing.

    Raises
    ------
    StoreError
        The store exists, or an interrupted store was begun with other settings.
    """
    path = Path(path)
    size, pixel_scale = size or survey.cutout_size, pixel_scale or survey.pixel_scale
    attributes = {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "galtrans_version": VERSION,
        "survey": asdict(survey),
        "bands": list(bands),
        "size": size,
        "pixel_scale": pixel_scale,
        "units": "nanomaggy/pixel",
        "rows": row_fingerprint(survey.name, catalogue["object_id"], catalogue["ra"], catalogue["dec"]),
        "settings": settings,
        "coordinates": " ".join(column.name for column in CATALOGUE),
        **SKY,
    }
    if synthetic:
        attributes["synthetic"] = synthetic
    if planes:
        attributes["planes"] = dict(planes)
    attributes = json.loads(json.dumps(attributes))  # as they are read back: lists for tuples
    if path.exists():
        raise StoreError(f"{path} exists already; choose another name or pass --overwrite")
    part = part_of(path)
    _restore(part)
    begun = zarr.open_group(part, mode="r+", use_consolidated=False) if (part / "zarr.json").exists() else None
    if begun is not None and "schema" in begun.attrs:
        store = Store(part, begun, begun=True)
        if store.attributes != attributes:
            different = ", ".join(key for key in attributes if store.attributes.get(key) != attributes[key])
            raise StoreError(f"{part} was begun with other {different}; finish that run, or delete it to start again")
        lacking = [name for name in ADDED if name not in begun]
        if lacking:
            raise StoreError(
                f"{part} was begun by an older galtrans, without the column {lacking[0]}; delete it to start again"
            )
        return store
    return _create(part, attributes, catalogue, chunk_bytes)


def open_begun(part: Path, mode: str = "r+") -> Store:
    """Open a store that is still being built.

    Parameters
    ----------
    part : Path
        Its folder, `PATH.part`.
    mode : str
        "r+" for writing, "r" for reading.

    Returns
    -------
    Store
        The store.
    """
    if mode != "r":
        _restore(part)
    group = zarr.open_group(part, mode=mode, use_consolidated=False)  # a copy's metadata would hide new arrays
    return Store(part, group, begun=True)


def find_begun(path: Path) -> Path:
    """Find where a store is being built, or was begun.

    Parameters
    ----------
    path : Path
        Where the finished store will be.

    Returns
    -------
    Path
        The folder of the unfinished store.

    Raises
    ------
    StoreError
        No store was begun there.
    """
    for part in (path.with_name(f".{path.name}.new.part"), part_of(path)):
        if (part / "zarr.json").exists() and "schema" in zarr.open_group(part, mode="r", use_consolidated=False).attrs:
            return part
    raise StoreError(f"{path} does not exist")


def open_store(path, *, compare: bool = True) -> Store:
    """Open a finished store for reading.

    Its description is compared with its checksum at once, and each file of columns and images when it is first read.

    Parameters
    ----------
    path : str, Path or StoreUrl
        The store, or its address.
    compare : bool
        Whether to compare checksums. A store of an older galtrans has none.

    Returns
    -------
    Store
        The store.

    Raises
    ------
    StoreError
        The store does not exist, is not finished, is damaged, or cannot be read by this version.
    """
    path = place_of(path)
    if is_url(path):
        source: Any = FilesBehindUrl(path)
    elif path.exists():
        source = path
    elif part_of(path).exists():
        raise StoreError(f"{path} is not finished; run the command that makes it again to go on")
    else:
        raise StoreError(f"{path} does not exist")
    try:
        group = zarr.open_group(source, mode="r", zarr_format=3 if is_url(path) else None)
    except (FileNotFoundError, ValueError, KeyError, NotADirectoryError) as error:
        why = f" (there is no {path}/zarr.json)" if is_url(path) and isinstance(error, FileNotFoundError) else ""
        raise StoreError(f"{path} is not a Zarr store{why}") from error
    if group.attrs.get("schema") != SCHEMA:
        raise StoreError(f"{path} is a Zarr group, but not a galtrans store; make one with `galtrans fetch`")
    version = group.attrs.get("schema_version")
    if version not in READABLE:
        raise StoreError(
            f"{path} has schema version {version}, and galtrans {VERSION} reads versions 1 and 2; "
            "make it again, or use the galtrans that made it"
        )
    files = CheckedFiles.of(path) if compare and (path / SUMS).exists() else CheckedFiles(path, {})
    if is_url(path):
        group.store.files = files
    try:
        store = Store(path, group, files)
        _check_shapes(store, group)
    except KeyError as error:
        raise StoreError(f"{path} is damaged: it lacks {error}; delete it and make it again") from error
    except (TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise StoreError(_damaged(path, "its description", error)) from error
    files.check(["zarr.json"])
    return store


class FilesBehindUrl(ZarrFiles):
    """The files of a store behind an address, as Zarr reads them.

    Parameters
    ----------
    url : StoreUrl
        The address of the store.
    """

    supports_writes = supports_deletes = supports_listing = False

    def __init__(self, url: StoreUrl) -> None:
        super().__init__(read_only=True)
        self.url, self.files = url, CheckedFiles(url, {})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FilesBehindUrl) and other.url == self.url

    def __repr__(self) -> str:
        return f"FilesBehindUrl({self.url})"

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
        """Return a file, or a part of it; None if there is none and none is listed."""
        try:
            data = await asyncio.to_thread(self._read, key, byte_range)
        except FileNotFoundError:
            await asyncio.to_thread(self.files.require, [key])
            return None
        return prototype.buffer.from_bytes(data)

    async def get_partial_values(self, prototype: Any, key_ranges: Iterable) -> list:
        """Return parts of files."""
        return [await self.get(key, prototype, part) for key, part in key_ranges]

    async def exists(self, key: str) -> bool:
        """Return whether there is such a file."""
        return await asyncio.to_thread((self.url / key).exists)

    async def set(self, key: str, value: Any) -> None:
        """Refuse to write."""
        raise TypeError(f"{self.url} can only be read")

    async def delete(self, key: str) -> None:
        """Refuse to delete."""
        raise TypeError(f"{self.url} can only be read")

    async def list(self) -> AsyncIterator[str]:
        """Yield nothing: the description of the store says what it has."""
        for name in ():
            yield name

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """Yield nothing."""
        for name in ():
            yield name

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Yield nothing."""
        for name in ():
            yield name

    def _read(self, key: str, part: Any) -> bytes:
        """Return a file, or the part of it that Zarr asks for."""
        file = self.url / key
        if part is None:
            return file.read_bytes()
        if isinstance(part, RangeByteRequest):
            return self.url.read(key, part.start, part.end - part.start)
        size = file.size()
        start = part.offset if isinstance(part, OffsetByteRequest) else max(size - part.suffix, 0)
        return self.url.read(key, start, size - start)


def _check_shapes(store: Store, group: zarr.Group) -> None:
    """Raise ValueError if arrays disagree on the number of objects, bands or pixels, and KeyError if an array is
    missing.
    """
    store.survey["name"].encode()
    wanted = (len(store), len(store.bands), store.size, store.size)
    if store.images.shape != wanted or store.mask.shape != wanted or not store.pixel_scale > 0:
        raise ValueError(f"images are {store.images.shape} and not {wanted}")
    lengths = {"band": len(store.bands), "axis": 2, "pixel_axis": 2}
    for column in (*CATALOGUE, *MEASURED):
        if column.name in ADDED and column.name not in group:
            continue
        shape = (len(store), *(lengths[dim] for dim in column.dims))
        if group[column.name].shape != shape:
            raise ValueError(f"{column.name} is {group[column.name].shape} and not {shape}")


def _create(part: Path, attributes: dict, catalogue: Table, chunk_bytes: int) -> Store:
    """Write every array of an empty store, then its attributes. A store without attributes was never begun."""
    count, bands, size = len(catalogue), attributes["bands"], attributes["size"]
    group = zarr.create_group(part, zarr_format=3, overwrite=True)
    chunk, block, shard = rows_together(count, len(bands), size, chunk_bytes)
    one = (len(bands), size, size)
    image = {
        "shape": (count, *one),
        "chunks": (chunk, *one),
        "shards": {"shape": (shard, *one), "index_location": "start"},
        "compressors": [BloscCodec(cname=CODEC, clevel=LEVEL, shuffle=SHUFFLE), Crc32cCodec()],
        "dimension_names": ("object", "band", "row", "col"),
    }
    unit = {"units": "nmgy / pix", "long_name": "flux; NaN where there is no pixel", "block_rows": block}
    group.create_array("images", dtype="f4", fill_value=np.nan, attributes=unit | _missing("f4"), **image)
    usable = {"long_name": "True where the pixel is saturated or missing"}
    group.create_array("mask", dtype="?", fill_value=True, attributes=usable, **image)
    for name, description in attributes.get("planes", {}).items():
        about = unit | {"long_name": description} | _missing("f4")
        group.create_array(name, dtype="f4", fill_value=np.nan, attributes=about, **image)
    names = group.create_array(
        "band",
        shape=(len(bands),),
        dtype=str,
        dimension_names=("band",),
        compressors=[ZstdCodec(), Crc32cCodec()],
        attributes={"long_name": "name of the filter"},
    )
    names[:] = np.array(bands)
    known = [column for column in CATALOGUE + OF_SURVEYS if column.name in catalogue.colnames]
    measured = MEASURED + TRANSLATED * bool(attributes.get("synthetic"))
    for column in (*known, *measured):
        array = _create_column(group, column, count, len(bands), block)
        if column in known:
            array[:] = np.asarray(catalogue[column.name])
    texts = {name: json.dumps(attributes[name]) for name in AS_TEXT if name in attributes}
    group.attrs.put(attributes | texts | {"bands": " ".join(bands)})
    return Store(part, group, begun=True)


def _create_column(
    group: zarr.Group, column: Column, count: int, bands: int, block: int, *, sharded: bool = False
) -> zarr.Array:
    """Return the array of a column of `count` objects without values, with a file for each chunk or for many chunks.

    A block has `block` images. The chunks have the same bytes in both cases.
    """
    lengths = {"band": bands, "axis": 2, "pixel_axis": 2}
    shape = (count, *(lengths[dim] for dim in column.dims))
    chunk = tuple(max(n, 1) for n in (min(count, _column_rows(block)), *shape[1:]))
    shard = (chunk[0] * max(min(COLUMN_CHUNKS, -(-count // chunk[0])), 1), *chunk[1:])
    return group.create_array(
        column.name,
        shape=shape,
        chunks=chunk,
        shards={"shape": shard, "index_location": "start"} if sharded else None,
        dtype=str if column.dtype == "T" else column.dtype,
        fill_value=column.fill,
        compressors=[ZstdCodec(), Crc32cCodec()],
        attributes={"units": column.unit, "long_name": column.description} | _missing(column.dtype),
        dimension_names=("object", *column.dims),
    )


def _missing(dtype: str) -> dict[str, str]:
    """Return the attribute that tells xarray which value means "no value": NaN, for numbers that are not counted."""
    size = {"f4": 4, "f8": 8}.get(dtype)
    return {"_FillValue": base64.standard_b64encode(np.array(np.nan, "<f8").tobytes()).decode()} if size else {}


def read_images(store: Store, number: int) -> np.ndarray:
    """Return the images of one block, decoded by the thread that calls.

    Zarr reads stores that are laid out in another way than `create` does: it decodes chunks in a thread of its own and
    copies them in another one, which all callers share, at half the speed on two cores.

    Parameters
    ----------
    store : Store
        The store.
    number : int
        Number of the block, from 0.

    Returns
    -------
    ndarray
        (object, band, row, col) [nanomaggy/pixel], not to be changed, NaN where there is no pixel.

    Raises
    ------
    StoreError
        The file is damaged.
    """
    step = store.block_rows
    rows = slice(number * step, min((number + 1) * step, len(store)))
    if store.images.shards:
        return store.images[rows]
    path = store.image_file(rows)
    if path is None:
        return store.images[rows]
    try:
        images = np.frombuffer(decompress(path.read_bytes()), "<f4").reshape(store.images.chunks)
    except (RuntimeError, ValueError) as error:
        raise StoreError(f"{path} is damaged; see what else is with `galtrans verify {store.path}`") from error
    return images[: rows.stop - rows.start]
