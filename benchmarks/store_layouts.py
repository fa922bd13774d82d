"""How fast stores of several layouts and codecs are read: in order, in shuffled blocks, and single rows at random."""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import zarr
from figures import Figure, main
from loader import noise_store
from zarr.codecs import BloscCodec

from survey_tools import Store, Survey, open_store
from survey_tools.files import write_sums
from survey_tools.store.place import Folder
from survey_tools.store.shards import Layout, ShardReader, encode, write_chunks
from survey_tools.store.zarr_store import read_images, rows_together
from survey_tools.surveys import CFHT, SDSS

CODECS = {  # what Blosc is told
    "LZ4, bits shuffled": ("lz4", 5, "bitshuffle"),
    "LZ4, bytes shuffled": ("lz4", 5, "shuffle"),
    "Zstandard 3, bits shuffled": ("zstd", 3, "bitshuffle"),
    "Zstandard 1, bytes shuffled": ("zstd", 1, "shuffle"),
    "none": ("lz4", 0, "noshuffle"),
}
ROWS = {"sdss": (1, 2, 4, 8, 128), "cfht": (1, 2, 4, 8, 32)}  # objects in a chunk; the last is a whole block
SINGLE = 100  # rows that are read at random


def measure(quick: bool) -> list[Figure]:
    """Candidates for the layout, and stores of schema 2 beside the same stores of schema 1."""
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        for survey in (SDSS, CFHT):
            rows, repeats = (128, 1) if quick else ({"sdss": 2048, "cfht": 512}[survey.name], 5)
            new = noise_store(Path(folder) / f"{survey.name}.zarr", survey, rows)
            old = as_schema_1(new, Path(folder) / f"{survey.name}-1.zarr")
            figures += candidates(new, Path(folder) / survey.name, repeats)
            figures += versions(survey, new, old, repeats)
    return figures + files_of_large_stores()


def candidates(store: Store, folder: Path, repeats: int) -> list[Figure]:
    """The images of a store in several layouts, without Zarr."""
    images, figures, block = store.images[:], [], store.block_rows
    every = ROWS[store.survey["name"]]
    wanted = [("LZ4, bits shuffled", rows) for rows in every]
    wanted += [(name, rows_together(len(store), 5, store.size)[0]) for name in CODECS if name != "LZ4, bits shuffled"]
    for name, rows in wanted:
        layout = Layout("images", images.shape, "<f4", np.nan, rows, len(images))
        chunks = encode(layout, images, *CODECS[name])
        write_chunks(folder / layout.file(0), chunks)
        reader = ShardReader(layout, Folder(folder).read)
        bytes_kept = sum(map(len, chunks)) / images.nbytes
        what = f"{store.survey['name']}, {name}, {rows} in a chunk, {bytes_kept:.3f} of the bytes"
        figures += speeds(what, lambda first, last, reader=reader: reader.rows(first, last), len(store), block, repeats)
    return figures


def speeds(what: str, read: Callable, count: int, block: int, repeats: int) -> list[Figure]:
    """MB/s of blocks in order and in random order, and single rows at random in a second."""
    random = np.random.default_rng(0)
    found: dict[str, list[float]] = {"in order, MB/s": [], "shuffled blocks, MB/s": [], "single rows, rows/s": []}
    for _ in range(repeats):
        starts = np.arange(0, count, block)
        for name, order in (("in order, MB/s", starts), ("shuffled blocks, MB/s", random.permutation(starts))):
            begun, got = time.perf_counter(), 0
            for start in order.tolist():
                got += read(start, min(start + block, count)).nbytes
            found[name].append(got / 1e6 / (time.perf_counter() - begun))
        begun = time.perf_counter()
        for row in random.integers(0, count, SINGLE).tolist():
            read(row, row + 1)
        found["single rows, rows/s"].append(SINGLE / (time.perf_counter() - begun))
    return [
        Figure("store", f"{what}: {name.split(', ')[0]}", statistics.median(rates), name.split(", ")[1])
        for name, rates in found.items()
    ]


def versions(survey: Survey, new: Store, old: Store, repeats: int) -> list[Figure]:
    """What is the same work for both schema versions, one after the other in each repeat."""
    random = np.random.default_rng(1)
    works = {
        ("whole blocks, `read_images`", "MB/s", ">= 1"): whole_blocks,
        ("single rows at random, `store.images[row]`", "rows/s", ">= 5"): lambda store, rows: single(
            store, rows, False
        ),
        ("objects at random, `store[row]`", "objects/s", ""): lambda store, rows: single(store, rows[:20], True),
    }
    figures = []
    for (what, unit, target), work in works.items():
        rates: tuple[list[float], list[float]] = ([], [])
        for _ in range(repeats):
            rows = random.integers(0, len(new), SINGLE).tolist()
            for store, into in ((new, rates[0]), (old, rates[1])):
                into.append(work(open_store(store.path), rows))
        rate, plain = map(statistics.median, rates)
        name = f"{survey.name}, {len(new)} objects, schema 2: {what}"
        figures.append(Figure("store", name, rate, unit, "schema 1", plain, rate / plain, target))
    return figures


def whole_blocks(store: Store, _) -> float:
    """MB/s of all blocks, each once; the first touch of each file included, where schema 1 compares checksums."""
    begun = time.perf_counter()
    read = sum(read_images(store, number).nbytes for number in range(store.chunk_count))
    return read / 1e6 / (time.perf_counter() - begun)


def single(store: Store, rows: list[int], objects: bool) -> float:
    """Rows in a second."""
    begun = time.perf_counter()
    for row in rows:
        store[row] if objects else store.images[row]
    return len(rows) / (time.perf_counter() - begun)


def as_schema_1(store: Store, path: Path) -> Store:
    """The same store as galtrans 0.1.0 wrote it: a file for each block of images, Zstandard, and none shared."""
    source, group = zarr.open_group(store.path, mode="r"), zarr.create_group(path, zarr_format=3)
    codec = BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle")
    for name in [*store.columns, "band", "images", "mask"]:
        array = source[name]
        pixels = name in ("images", "mask")
        options = {"chunks": (store.block_rows, *array.shape[1:]), "compressors": codec} if pixels else {}
        dtype = str if array.dtype.kind == "T" else array.dtype
        options |= {"dimension_names": array.metadata.dimension_names, "fill_value": array.fill_value, "dtype": dtype}
        about = {key: value for key, value in array.attrs.asdict().items() if key != "block_rows"}
        group.create_array(name, shape=array.shape, attributes=about, **options)[:] = array[:]
    group.attrs.put(source.attrs.asdict() | {"schema_version": 1})
    (path / "manifest.ecsv").write_bytes((store.path / "manifest.ecsv").read_bytes())
    write_sums(path, {})
    return open_store(path)


def files_of_large_stores() -> list[Figure]:
    """Files for a thousand objects of a store of small images with as many objects as its files can hold."""
    figures = []
    for survey in (SDSS, CFHT):
        for count in (10**4, 10**6, 10**8):
            shard = rows_together(count, 5, survey.cutout_size)[2]
            columns, groups = 21, 24  # arrays, and descriptions and lists of the whole store
            files = 2 * -(-count // shard) + columns * -(-count // (16384 * 64)) + groups
            what = f"{survey.name}, {count:,} objects: files for a thousand objects, by the rule"
            target = "<= 0.3" if count >= 10**6 else ""
            figures.append(Figure("store", what, 1000 * files / count, "files", target=target, of_rate=True))
    return figures


if __name__ == "__main__":
    main(measure)
