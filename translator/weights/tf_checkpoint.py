"""Variables of a TensorFlow V2 checkpoint ("tensor bundle"), read from the published format without TensorFlow.

    PREFIX.index                  a sorted-string table (LevelDB's table format): variable name -> BundleEntryProto
    PREFIX.data-00000-of-00001    the variables' values, raw, one after another; more such files where it has shards

Every block of the table and every variable carries a CRC-32C, and all are checked. Nothing that is read is executed.

Sources: TensorFlow's tensor_bundle.proto and tensor_shape.proto, and the table format page of LevelDB's documentation.
"""

import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from glob import escape
from math import prod
from pathlib import Path
from typing import BinaryIO

import google_crc32c
import numpy as np

from survey_tools.errors import RunError

MAGIC = (0xDB4775248B80FB57).to_bytes(8, "little")  # the last bytes of a table
FOOTER = 48  # bytes: two block handles, padding and the magic number
TRAILER = 5  # bytes after a block: how it is compressed, and its checksum
VERSION = 1  # version of the bundle that this file reads
TYPES = {  # numbers of the enumeration DataType, as numpy calls them
    1: "<f4",
    2: "<f8",
    3: "<i4",
    4: "u1",
    5: "<i2",
    6: "i1",
    9: "<i8",
    10: "?",
    17: "<u2",
    19: "<f2",
    22: "<u4",
    23: "<u8",
}
REMEDY = "download or copy the whole checkpoint again, or give its variables as an .npz"


@dataclass(frozen=True)
class VariablePlace:
    """The place of a variable's values (BundleEntryProto): file, offset and size [byte], and their masked CRC-32C."""

    dtype: np.dtype
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    crc: int


def find_prefix(source: Path) -> Path:
    """Return the prefix of the checkpoint that `source` names: a prefix, one of its files, or the folder that holds it.

    In a folder it is the checkpoint that the text file `checkpoint` names, else the only one there.

    Raises
    ------
    RunError
        If there is none, or if it is not clear which is meant.
    """
    if source.is_dir():
        found = sorted(path.name.removesuffix(".index") for path in source.glob("*.index"))
        named = _named_by_state(source / "checkpoint")
        if named not in found and len(found) != 1:
            names = f" ({', '.join(found[:5])})" if found else ""
            raise RunError(
                f"{source} holds {len(found)} TensorFlow checkpoints{names}; give the prefix of the one to read"
            )
        return source / (named if named in found else found[0])
    prefix = source.with_name(re.sub(r"\.(index|meta|data-\d{5}-of-\d{5})$", "", source.name))
    if not prefix.with_name(f"{prefix.name}.index").is_file():
        raise RunError(
            f"{source} is no TensorFlow checkpoint: {prefix.name}.index is not there; give an .npz, a folder or a "
            "prefix, such as model/-60000 where the files are model/-60000.index and model/-60000.data-00000-of-00001"
        )
    return prefix


def files_of(prefix: Path) -> list[Path]:
    """Return the files of a checkpoint: its index, and those of the values."""
    return [prefix.with_name(f"{prefix.name}.index"), *sorted(prefix.parent.glob(f"{escape(prefix.name)}.data-*-of-*"))]


def read_tf_checkpoint(prefix: Path) -> dict[str, np.ndarray]:
    """Return all variables of the checkpoint PREFIX by name, sorted, with their types and shapes.

    Raises
    ------
    RunError
        If a file is missing, truncated, damaged or of another kind, or uses a feature that is not supported: compressed
        blocks, variables in slices, big-endian values, strings.
    """
    index, variables = prefix.with_name(f"{prefix.name}.index"), {}
    with _named(index):
        records = _table(index.read_bytes())
        shards = _shards(records)
        entries = {name: _entry(name, record, shards) for name, record in records.items() if name}
    for shard in range(shards):
        path = prefix.with_name(f"{prefix.name}.data-{shard:05}-of-{shards:05}")
        with _named(path), open(path, "rb") as file:
            here = {name: entry for name, entry in entries.items() if entry.shard == shard}
            variables |= {name: _values(file, path.stat().st_size, name, entry) for name, entry in here.items()}
    return {name: variables[name] for name in entries}


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Turn a fault in the content of `path` into a RunError that names the file."""
    try:
        yield
    except FileNotFoundError as error:
        raise RunError(f"{path} is missing; {REMEDY}") from error
    except ValueError as error:
        raise RunError(f"{path} cannot be read as part of a TensorFlow checkpoint: {error}; {REMEDY}") from error


def _named_by_state(path: Path) -> str | None:
    """Return the newest checkpoint's name by the text file `checkpoint` of its folder; None if that names none.

    The path in it may be that of another machine, so only its last part counts.
    """
    if not path.is_file():
        return None
    found = re.search(r'^model_checkpoint_path: "(?:.*/)?([^"/]+)"', path.read_text(errors="replace"), re.MULTILINE)
    return found[1] if found else None


def _shards(records: dict[str, bytes]) -> int:
    """Return the number of files with values, from the BundleHeaderProto, whose key is empty."""
    if "" not in records:
        raise ValueError("it has no header, so it is a table of something else")
    header = _fields(records[""])
    if _last(header, 2, 0) != 0:
        raise ValueError("its values are big-endian, which galtrans does not read")
    needs = _last(_fields(_last(header, 3, b"")), 2, 0)
    if needs > VERSION:
        raise ValueError(f"it needs a reader of version {needs}, which galtrans is not")
    shards = _last(header, 1, 0)
    if not 1 <= shards < 100_000:
        raise ValueError(f"it has {shards} files of values")
    return shards


def _entry(name: str, record: bytes, shards: int) -> VariablePlace:
    """Return the BundleEntryProto of a variable."""
    fields = _fields(record)
    dtype, shard, offset, size, crc = (_last(fields, number, 0) for number in (1, 3, 4, 5, 6))
    shape = _fields(_last(fields, 2, b""))
    if fields.get(7):
        raise ValueError(f"{name} is kept in slices (a partitioned variable), which galtrans does not read")
    if dtype not in TYPES:
        raise ValueError(f"{name} is of TensorFlow's data type {dtype}, which galtrans does not read")
    if 3 in shape or shard >= shards:
        raise ValueError(f"{name} has no shape, or is in file {shard} of {shards}")
    dims = tuple(_last(_fields(dim), 1, 0) for dim in shape.get(2, []))
    wanted = prod(dims) * np.dtype(TYPES[dtype]).itemsize
    if size != wanted:
        raise ValueError(f"{name} has {size} bytes of values, where its shape {dims} takes {wanted}")
    return VariablePlace(np.dtype(TYPES[dtype]), dims, shard, offset, size, crc)


def _values(file: BinaryIO, length: int, name: str, entry: VariablePlace) -> np.ndarray:
    """Return the values of a variable, from a file of `length` bytes."""
    end = entry.offset + entry.size
    if end > length:
        raise ValueError(f"it has {length} bytes, where {name} ends at byte {end}: it is truncated")
    file.seek(entry.offset)
    content = file.read(entry.size)
    if _masked_crc(content) != entry.crc:
        raise ValueError(f"the checksum of {name} differs: it is damaged")
    return np.frombuffer(content, entry.dtype).reshape(entry.shape)


def _table(content: bytes) -> dict[str, bytes]:
    """Return the keys and values of a sorted-string table."""
    if len(content) < FOOTER or not content.endswith(MAGIC):
        raise ValueError("it does not end as an index does, so it is truncated or something else")
    _, position = _handle(content, len(content) - FOOTER)
    (offset, size), _ = _handle(content, position)
    records = {}
    for _, value in _records(_block(content, offset, size)):
        for key, record in _records(_block(content, *_handle(value, 0)[0])):
            name = key.decode()
            if name in records:
                raise ValueError(f"{name} is there twice")
            records[name] = record
    return records


def _handle(content: bytes, position: int) -> tuple[tuple[int, int], int]:
    """Return offset and size [byte] of a block, and the position after them."""
    offset, position = _varint(content, position)
    size, position = _varint(content, position)
    return (offset, size), position


def _block(content: bytes, offset: int, size: int) -> bytes:
    """Return the records of one block of a table, without the restart points at its end."""
    end = offset + size
    if size < 4 or end + TRAILER > len(content):
        raise ValueError("it is truncated")
    compression, crc = struct.unpack_from("<BI", content, end)
    if _masked_crc(content[offset : end + 1]) != crc:
        raise ValueError(f"the checksum of its block at byte {offset} differs: it is damaged")
    if compression:
        raise ValueError("it is compressed, which galtrans does not read")
    (restarts,) = struct.unpack_from("<I", content, end - 4)
    if 4 * restarts + 4 > size:
        raise ValueError(f"its block at byte {offset} is damaged")
    return content[offset : end - 4 - 4 * restarts]


def _records(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the keys and values of a block; each key is stored as its difference from the key before."""
    key, position = b"", 0
    while position < len(block):
        shared, position = _varint(block, position)
        rest, position = _varint(block, position)
        length, position = _varint(block, position)
        end = position + rest + length
        if shared > len(key) or end > len(block):
            raise ValueError("a record runs over the end of its block: it is damaged")
        key = key[:shared] + block[position : position + rest]
        yield key, block[position + rest : end]
        position = end


def _last(fields: dict[int, list], number: int, default: int | bytes) -> int | bytes:
    """Return the value of a field that occurs once, of the type of its default."""
    value = fields.get(number, [default])[-1]
    if not isinstance(value, type(default)):
        raise ValueError("a record is damaged")
    return value


def _fields(message: bytes) -> dict[int, list]:
    """Return the fields of a protocol-buffer message by number: integers, or bytes of nested messages."""
    fields, position = {}, 0
    if not isinstance(message, bytes):
        raise ValueError("a record is damaged")
    while position < len(message):
        tag, position = _varint(message, position)
        kind = tag & 7
        if kind == 0:
            value, position = _varint(message, position)
        else:
            size, position = (
                _varint(message, position) if kind == 2 else ({1: 8, 5: 4}.get(kind, len(message)), position)
            )
            value, position = message[position : position + size], position + size
            if position > len(message):
                raise ValueError("a record is damaged")
        fields.setdefault(tag >> 3, []).append(int.from_bytes(value, "little") if kind in (1, 5) else value)
    return fields


def _varint(content: bytes, position: int) -> tuple[int, int]:
    """Return an integer of seven bits a byte, the lowest first, and the position after it."""
    value = 0
    for place, byte in enumerate(content[position : position + 10]):
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value, position + place + 1
    raise ValueError("a number in it is damaged")


def _masked_crc(content: bytes) -> int:
    """Return the CRC-32C, rotated and shifted by a constant, as tables and bundles store it."""
    crc = google_crc32c.value(content)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
