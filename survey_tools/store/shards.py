"""Shard files: many chunks of an array in one file, with an index of where each of them lies.

The format is that of Zarr's codec ``sharding_indexed``, with the index at the start of the file: two little-endian
64-bit numbers for each chunk, its place and its length [byte], both 2^64 - 1 for a chunk that is all fill value, and
then the CRC32C of these numbers. Each chunk ends with a CRC32C of its own. The chunks follow the index in order and
without gaps, so that the bytes of a file depend on its chunks alone.

Files are written here from chunks that are encoded already, so that a file that does not fit into memory can be made
of smaller ones. Pixels are read here by the thread that asks; Zarr would decode them in another thread, and copy them
in a third one.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import google_crc32c
import numpy as np
from numcodecs import blosc

from survey_tools.files import whole_file

EMPTY = 2**64 - 1  # the place and the length of a chunk that is all fill value
CRC = 4  # [byte]
COPIED = 2**24  # bytes that are copied at once
KEPT = 64  # indexes that an open array keeps in memory
CODEC, LEVEL, SHUFFLE = "lz4", 5, "bitshuffle"  # of pixels, in Blosc
SHUFFLES = {"noshuffle": blosc.NOSHUFFLE, "shuffle": blosc.SHUFFLE, "bitshuffle": blosc.BITSHUFFLE}

ReadBytes = Callable[[str, int, int], bytes]  # (file, place, length) -> bytes, fewer at the end of the file
Chunks = Sequence[tuple[Path, int, int] | None]  # where encoded chunks lie: file, place and length; None if all fill


@dataclass(frozen=True)
class Layout:
    """How an array lies in its shard files.

    Attributes
    ----------
    name : str
        The array.
    shape : tuple of int
        (object, band, row, col).
    dtype : str
        Type of a value, little-endian.
    fill : float or bool
        Value of what was never written.
    chunk, shard : int
        Objects in a chunk, and in a shard file, which holds whole chunks.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    fill: float | bool
    chunk: int
    shard: int

    @property
    def chunks(self) -> int:
        """Number of chunks in a shard file."""
        return self.shard // self.chunk

    @property
    def chunk_bytes(self) -> int:
        """Bytes of a chunk before it is compressed."""
        return self.chunk * int(np.prod(self.shape[1:])) * np.dtype(self.dtype).itemsize

    def file(self, number: int) -> str:
        """Return the name of a shard file, relative to the store."""
        return f"{self.name}/c/{number}" + "/0" * (len(self.shape) - 1)

    def empty(self, rows: int) -> np.ndarray:
        """Return an array of some rows that holds any values."""
        return np.empty((rows, *self.shape[1:]), self.dtype)


def encode(layout: Layout, values: np.ndarray, codec: str = CODEC, level: int = LEVEL, shuffle: str = SHUFFLE) -> list:
    """Compress whole chunks.

    Parameters
    ----------
    layout : Layout
        How the array lies in its files.
    values : ndarray
        (object, band, row, col); the last chunk is filled up.
    codec, level, shuffle
        How Blosc compresses; as stores have it by default.

    Returns
    -------
    list of bytes or None
        Each chunk with its CRC32C; None for a chunk that is all fill value.
    """
    encoded: list[bytes | None] = []
    for start in range(0, len(values), layout.chunk):
        part = np.ascontiguousarray(values[start : start + layout.chunk], layout.dtype)
        if len(part) < layout.chunk:
            more = np.full((layout.chunk - len(part), *layout.shape[1:]), layout.fill, layout.dtype)
            part = np.concatenate([part, more])
        if (np.isnan(part) if layout.fill != layout.fill else part == layout.fill).all():
            encoded.append(None)
            continue
        found = blosc.compress(part, codec.encode(), level, SHUFFLES[shuffle], typesize=part.itemsize)
        encoded.append(found + _crc(found))
    return encoded


def write_chunks(path: Path, chunks: Sequence[bytes | None]) -> None:
    """Write a file of chunks that are in memory.

    Parameters
    ----------
    path : Path
        The file.
    chunks : sequence of bytes or None
        Encoded chunks, in order.
    """
    with whole_file(path) as temporary, temporary.open("wb") as file:
        file.write(_index([None if each is None else len(each) for each in chunks]))
        for each in chunks:
            file.write(each or b"")


def join(path: Path, chunks: Chunks) -> str | None:
    """Write a shard file from chunks that lie in other files; no file if all of them are fill value.

    Parameters
    ----------
    path : Path
        The shard file. It may be one of the files that are read.
    chunks : sequence
        Where each chunk lies.

    Returns
    -------
    str or None
        SHA-256 of the file in hexadecimal digits; None if there is no file.
    """
    if all(each is None for each in chunks):
        path.unlink(missing_ok=True)
        return None
    digest = hashlib.sha256()
    with whole_file(path) as temporary, temporary.open("wb") as file:

        def put(data: bytes) -> None:
            digest.update(data)
            file.write(data)

        put(_index([None if each is None else each[2] for each in chunks]))
        for source, place, length in _side_by_side(chunks):
            with source.open("rb") as opened:
                opened.seek(place)
                while length:
                    data = opened.read(min(length, COPIED))
                    if not data:
                        raise ValueError(f"{source} is shorter than its index says")
                    put(data)
                    length -= len(data)
    return digest.hexdigest()


def split(path: Path, count: int) -> list[bytes | None]:
    """Return the encoded chunks of a file that fits into memory.

    Parameters
    ----------
    path : Path
        The file.
    count : int
        Number of its chunks.

    Returns
    -------
    list of bytes or None
        Each chunk; None where there is none.
    """
    data = path.read_bytes()
    return [None if place == EMPTY else data[place : place + size] for place, size in read_index(data, count).tolist()]


def chunks_of(path: Path, count: int) -> list[tuple[Path, int, int] | None]:
    """Return where the chunks of a file lie.

    Parameters
    ----------
    path : Path
        The file; it need not exist.
    count : int
        Number of its chunks.

    Returns
    -------
    list
        File, place and length of each chunk; None where there is none.
    """
    if not path.exists():
        return [None] * count
    with path.open("rb") as file:
        index = read_index(file.read(16 * count + CRC), count)
    return [None if place == EMPTY else (path, place, length) for place, length in index.tolist()]


def read_index(data: bytes, count: int) -> np.ndarray:
    """Return the index at the start of a file.

    Parameters
    ----------
    data : bytes
        The start of the file.
    count : int
        Number of its chunks.

    Returns
    -------
    ndarray
        (chunk, 2) place and length [byte], both `EMPTY` where there is no chunk.

    Raises
    ------
    ValueError
        The index is damaged.
    """
    index, stated = data[: 16 * count], data[16 * count : 16 * count + CRC]
    if len(stated) < CRC or _crc(index) != stated:
        raise ValueError("its index is damaged")
    return np.frombuffer(index, "<u8").reshape(count, 2)


def decode(layout: Layout, chunk: bytes | np.ndarray | None, into: np.ndarray) -> None:
    """Decode one chunk into an array.

    Parameters
    ----------
    layout : Layout
        How the array lies in its files.
    chunk : bytes or ndarray or None
        The chunk; None if it is all fill value.
    into : ndarray
        (object, band, row, col) where its values go.

    Raises
    ------
    ValueError
        The chunk is damaged.
    """
    if chunk is None:
        into[...] = layout.fill
        return
    chunk = np.frombuffer(chunk, np.uint8)
    body = chunk[:-CRC]
    if len(body) < blosc.MAX_OVERHEAD or _crc(body) != chunk[-CRC:].tobytes():
        raise ValueError("a chunk does not agree with its CRC32C")
    if int.from_bytes(body[4:8].tobytes(), "little") != into.nbytes:
        raise ValueError("a chunk has another size than the array")
    blosc.decompress(body, into)


class ShardReader:
    """Reads rows of an array from its shard files.

    Parameters
    ----------
    layout : Layout
        How the array lies in them.
    read : callable
        Reads a part of a file of the store; raises FileNotFoundError if there is no such file.
    """

    def __init__(self, layout: Layout, read: ReadBytes) -> None:
        self.layout, self._read = layout, read
        self._indexes: OrderedDict[int, np.ndarray | None] = OrderedDict()

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Return some rows.

        Parameters
        ----------
        start, stop : int
            The first row, and the row after the last one.

        Returns
        -------
        ndarray
            (object, band, row, col), fill value where nothing was written.

        Raises
        ------
        ShardError
            A file is damaged.
        """
        size = self.layout.chunk
        first, last = start // size, -(-stop // size)
        values = self.layout.empty((last - first) * size)
        per_file = self.layout.chunks
        for number in range(first // per_file, -(-last // per_file)):
            begin, end = max(first, number * per_file), min(last, (number + 1) * per_file)
            into = values[(begin - first) * size : (end - first) * size]
            try:
                self._fill(into, number, begin - number * per_file, end - number * per_file)
            except (ValueError, RuntimeError, EOFError) as error:
                raise ShardError(self.layout.file(number), error) from error
        return values[start - first * size : stop - first * size]

    def _fill(self, values: np.ndarray, number: int, first: int, last: int) -> None:
        """Decode chunks `first` to `last` of a shard file into an array."""
        size, file = self.layout.chunk, self.layout.file(number)
        index = self._index(number)
        if index is None:
            values[...] = self.layout.fill
            return
        places = index[first:last].tolist()
        there = [place for place in places if place[0] != EMPTY]
        data, begin = np.zeros(0, np.uint8), 0
        together = all(a + n == b for (a, n), (b, _) in pairwise(there))
        if there and together:
            begin = there[0][0]
            data = np.frombuffer(self._read(file, begin, there[-1][0] + there[-1][1] - begin), np.uint8)
        for at, (place, length) in enumerate(places):
            into = values[at * size : (at + 1) * size]
            if place == EMPTY:
                into[...] = self.layout.fill
                continue
            part = data[place - begin : place - begin + length]
            if not together:
                part = np.frombuffer(self._read(file, place, length), np.uint8)
            if len(part) != length:
                raise ValueError("it is shorter than its index says")
            decode(self.layout, part, into)

    def _index(self, number: int) -> np.ndarray | None:
        """Return the index of a shard file; None if there is no such file."""
        if number in self._indexes:
            return self._indexes[number]
        count = self.layout.chunks
        try:
            index = read_index(self._read(self.layout.file(number), 0, 16 * count + CRC), count)
        except FileNotFoundError:
            index = None
        self._indexes[number] = index
        while len(self._indexes) > KEPT:
            self._indexes.popitem(last=False)
        return index

    def __getstate__(self) -> dict:
        return {"layout": self.layout, "_read": self._read, "_indexes": OrderedDict()}


class ShardError(ValueError):
    """A shard file is damaged: `file` is its name."""

    def __init__(self, file: str, why: Exception) -> None:
        super().__init__(str(why))
        self.file = file


def _crc(data: bytes | np.ndarray) -> bytes:
    """Return the CRC32C of some bytes, as it is stored."""
    return google_crc32c.value(data).to_bytes(CRC, "little")


def _index(lengths: Sequence[int | None]) -> bytes:
    """Return the index of a file whose chunks have these lengths."""
    index, place = [], 16 * len(lengths) + CRC
    for length in lengths:
        index.append((EMPTY, EMPTY) if length is None else (place, length))
        place += length or 0
    data = np.array(index, "<u8").tobytes()
    return data + _crc(data)


def _side_by_side(chunks: Chunks) -> list[tuple[Path, int, int]]:
    """Return the parts of files that chunks lie in, with those that follow each other as one part."""
    parts: list[tuple[Path, int, int]] = []
    for each in chunks:
        if each is None:
            continue
        if parts and parts[-1][0] == each[0] and parts[-1][1] + parts[-1][2] == each[1]:
            parts[-1] = (each[0], parts[-1][1], parts[-1][2] + each[2])
        else:
            parts.append(each)
    return parts
