"""A writer of TensorFlow V2 checkpoints, for tests of their reader. Tests have it as the fixture `tf_bundle`."""

import struct

import google_crc32c
import numpy as np

CODES = {"<f4": 1, "<f8": 2, "<i4": 3, "|u1": 4, "<i2": 5, "|i1": 6, "<i8": 9, "|b1": 10, "<u2": 17, "<f2": 19}
MAGIC = bytes.fromhex("57fb808b247547db")


def varint(value):
    low = []
    while value > 127:
        low.append(value & 127 | 128)
        value >>= 7
    return bytes([*low, value])


def number(field, value):
    return varint(field << 3) + varint(value) if value else b""


def nested(field, content):
    return varint(field << 3 | 2) + varint(len(content)) + content


def crc(content):
    value = google_crc32c.value(content)
    return struct.pack("<I", ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def block(records, compression=0):
    """The records of a block, keys shortened by what they share with the one before, and its trailer."""
    content, last = b"", b""
    for key, value in records:
        shared = next((i for i, (a, b) in enumerate(zip(key, last, strict=False)) if a != b), min(len(key), len(last)))
        content += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        last = key
    content += struct.pack("<II", 0, 1) + bytes([compression])
    return content + crc(content)


def table(records, in_a_block=10, compression=0):
    """A sorted-string table of {key: value}."""
    content, index, items = b"", [], sorted(records.items())
    for first in range(0, len(items), in_a_block):
        some = items[first : first + in_a_block]
        made = block(some, compression)
        index.append((some[-1][0], varint(len(content)) + varint(len(made) - 5)))
        content += made
    handles = b""
    for made in (block([]), block(index)):
        handles += varint(len(content)) + varint(len(made) - 5)
        content += made
    return content + handles.ljust(40, b"\0") + MAGIC


def entry(array, offset, shard=0, *, more=b"", code=None):
    content = array.tobytes()
    shape = b"".join(nested(2, number(1, size)) for size in array.shape)
    fields = number(1, code or CODES[array.dtype.str]) + nested(2, shape) + number(3, shard) + number(4, offset)
    return fields + number(5, len(content)) + b"\x35" + crc(content) + more


def write(prefix, variables, *, shards=1, header=b"", compression=0, **of_entries):
    """Write {name: array} at `prefix`; `header` and `of_entries` are what the index says besides."""
    values = [b""] * shards
    records = {b"": number(1, shards) + nested(3, number(1, 1)) + header}
    for place, (name, array) in enumerate(variables.items()):
        array = np.asarray(array)
        shard = place % shards
        records[name.encode()] = entry(array, len(values[shard]), shard, **of_entries)
        values[shard] += array.tobytes()
    for shard, content in enumerate(values):
        prefix.with_name(f"{prefix.name}.data-{shard:05}-of-{shards:05}").write_bytes(content)
    prefix.with_name(f"{prefix.name}.index").write_bytes(table(records, compression=compression))
    return prefix
