"""How fast stores of several layouts and codecs are read: in order, in shuffled blocks, and single rows at random."""

import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import zarr
from astropy.table import Table
from figures import Figure, main
from loader import Epoch, in_order, noise_store, run_epochs
from zarr.codecs import BloscCodec

from survey_tools import Store, Survey, open_store
from survey_tools.files import files_of, write_sums
from survey_tools.store.place import Folder
from survey_tools.store.shards import Layout, ShardReader, encode, write_chunks
from survey_tools.store.zarr_store import create, read_images, rows_together
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
    figures, pairs = [], []
    with tempfile.TemporaryDirectory() as folder:
        for survey in (SDSS, CFHT):
            rows, repeats = (128, 1) if quick else ({"sdss": 2048, "cfht": 512}[survey.name], 5)
            new = noise_store(Path(folder) / f"{survey.name}.zarr", survey, rows)
            old = as_schema_1(new, Path(folder) / f"{survey.name}-1.zarr")
            figures += candidates(new, Path(folder) / survey.name, repeats)
            figures += versions(survey, new, old, repeats)
            pairs.append((new, old))
        figures += loader(pairs, repeats)
        figures += files_of_a_store(Path(folder), 10**4 if quick else 2**20)
    return figures


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
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zarr warns that version 3 may change
        zarr.consolidate_metadata(path)
    (path / "manifest.ecsv").write_bytes((store.path / "manifest.ecsv").read_bytes())
    write_sums(path, {})
    return open_store(path)


def loader(pairs: list[tuple[Store, Store]], repeats: int) -> list[Figure]:
    """Epochs of training batches from stores of schema 2 beside the same of schema 1, one after the other."""
    count = min(len(new) for new, _ in pairs)
    epochs = [Epoch(0.0, [], [], [], []) for _ in (2, 1)]
    for _ in range(repeats):
        for which, epoch in enumerate(epochs):
            run_epochs(tuple(pair[which] for pair in pairs), in_order(count), epoch)
    rate, plain = (statistics.median(epoch.later) for epoch in epochs)
    what = f"schema 2: training batches, pairs in the order of both stores, {count} objects a store: later epochs"
    return [Figure("store", what, rate, "MB/s", "schema 1", plain, rate / plain, ">= 1")]


def files_of_a_store(folder: Path, count: int) -> list[Figure]:
    """Files of a store of many small images, which is divided as one of either survey is: 8,192 objects a file."""
    names = np.char.add("object ", np.arange(count).astype(str))
    catalogue = Table({"object_id": names, "ra": np.linspace(0, 359, count), "dec": np.zeros(count)})
    catalogue["redshift"] = np.zeros(count)
    begun = time.perf_counter()
    block = 128 * 5 * 8 * 8 * 4
    store = create(folder / "many.zarr", SDSS, SDSS.bands, catalogue, {}, size=8, chunk_bytes=block)
    for rows in store.chunks():
        images = np.full((rows.stop - rows.start, 5, 8, 8), rows.start, np.float32)
        store.write(rows, images, np.zeros(images.shape, bool))
    for part in store.column_parts():
        store.write_columns({"coverage": np.ones((part.stop - part.start, 5)), "source": np.full((1, 1), "a")}, part)
    store = store.finish(Table({"object_id": names, "status": np.full(count, "done")}))
    files = len(files_of(store.path)) + 1
    seconds = time.perf_counter() - begun
    target = "<= 0.3 files" if count >= 10**6 else ""
    what = f"{count:,} objects, five bands of 8 x 8 pixels: files for a thousand objects (made in {seconds:.0f} s)"
    return [Figure("store", what, 1000 * files / count, "files", target=target, of_rate=True)]


if __name__ == "__main__":
    main(measure)
