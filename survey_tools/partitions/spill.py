"""A catalogue of any length, sorted into partitions on disk: read block by block, and never whole in memory.

Each block is checked, sorted along the HEALPix curve and written to a file of its own. Then one task for each partition
gathers its rows from all blocks. An interrupted run goes on from the files that are there.
"""

import json
import shutil
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from astropy import units as u
from astropy.table import Column, Table

from survey_tools.errors import CatalogueError
from survey_tools.files import whole_file
from survey_tools.partitions.layout import CURVE, INPUT_ROW, Pixel, choose_pixels, count_places, places_of
from survey_tools.tasks import Engine

GROUP = 8192  # rows of a block that are read together


def spill(blocks: Iterable[Table], folder: Path, most: int, engine: Engine) -> list[Pixel]:
    """Sort the rows of a catalogue into partitions, each a Parquet file at its place in a HATS catalogue.

    Rows of a partition are in the order of the curve; those at one place on it in the order of the catalogue.

    Parameters
    ----------
    blocks : iterable of Table
        The catalogue, as `catalogue.read_blocks` yields it. Blocks that an interrupted run has written are passed over.
    folder : Path
        The folder of the partitioned store that is being made.
    most : int
        Rows of a partition at most.
    engine : Engine
        Where the partitions are gathered.

    Returns
    -------
    list of Pixel
        The partitions, in the order of the curve.

    Raises
    ------
    CatalogueError
        The catalogue has no rows, or an object has no position, or two objects of a partition have one identifier.
    """
    work = folder / ".work" / "catalogue"
    chosen = work.with_name("pixels.json")
    if chosen.exists():
        shutil.rmtree(work, ignore_errors=True)
        return [Pixel(*each) for each in json.loads(chosen.read_text())]
    counts, first, files = None, 0, []
    for number, block in enumerate(blocks):
        files.append(work / f"{number:06d}.parquet")
        if not files[-1].exists():
            _write_block(files[-1], block, first)
        first += len(block)
        counts = count_places(pq.read_table(files[-1], columns=[CURVE])[CURVE].to_numpy(), counts)
    if counts is None:
        raise CatalogueError("the catalogue has no rows")
    pixels = [pixel for pixel, _ in choose_pixels(counts, most)]
    engine.run(partial(_gather, folder, files), pixels, "catalogue", "partition")
    with whole_file(chosen) as temporary:
        temporary.write_text(json.dumps([[pixel.order, pixel.pixel] for pixel in pixels]))
    shutil.rmtree(work)
    return pixels


def read_part(path: Path) -> Table:
    """Return the catalogue of one partition, as `catalogue.read_catalogue` returns a whole one.

    Parameters
    ----------
    path : Path
        Its Parquet file.

    Returns
    -------
    Table
        One row per object.
    """
    raw = pq.ParquetFile(path).read()
    table = Table()
    for name in raw.column_names:
        if name in (CURVE, INPUT_ROW):
            continue
        if pa.types.is_string(raw[name].type) or pa.types.is_large_string(raw[name].type):
            table[name] = np.array(raw[name].to_pylist(), dtype=str)
        else:
            table[name] = raw[name].to_numpy()
    for name in ("ra", "dec"):
        table[name] = Column(table[name], unit=u.deg)
    return table


def _write_block(path: Path, block: Table, first: int) -> None:
    """Write one block, sorted along the curve; `first` is the number of its first row."""
    ra, dec = (np.asarray(block[name], float) for name in ("ra", "dec"))
    unknown = ~(np.isfinite(ra) & np.isfinite(dec))
    if unknown.any():
        raise CatalogueError(
            f"row {first + int(np.argmax(unknown)) + 1} has no position, and partitions are made by positions; leave "
            "such objects out"
        )
    places = places_of(ra, dec)
    order = np.argsort(places, kind="stable")
    columns = {CURVE: places[order]} | {name: np.asarray(block[name])[order] for name in block.colnames}
    columns[INPUT_ROW] = (first + order).astype(np.int64)
    with whole_file(path) as temporary:
        pq.write_table(pa.table(columns), temporary, compression="lz4", row_group_size=GROUP, store_schema=False)


def _gather(folder: Path, files: list[Path], pixel: Pixel) -> None:
    """Write the catalogue of one partition from the rows of all blocks, unless it is there."""
    path = folder / f"{pixel.name}.parquet"
    if path.exists():
        return
    found = [part for file in files if (part := _rows_within(file, *pixel.span)) is not None]
    table = pa.concat_tables(found)
    table = table.take(pc.sort_indices(table, [(CURVE, "ascending"), (INPUT_ROW, "ascending")]))
    twice = pc.value_counts(table["object_id"])
    names = twice.filter(pc.greater(twice.field("counts"), 1)).field("values")
    if len(names):
        rows = table.filter(pc.equal(table["object_id"], names[0]))[INPUT_ROW].to_pylist()
        raise CatalogueError(
            f"row {rows[1] + 1} of the catalogue: object_id is {names[0].as_py()!r}, which row {rows[0] + 1} has too: "
            "remove one of them"
        )
    with whole_file(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", store_schema=False)


def _rows_within(file: Path, start: int, stop: int) -> pa.Table | None:
    """Return the rows of a block that lie within some places of the curve; None if there are none."""
    opened = pq.ParquetFile(file)
    groups = []
    for number in range(opened.metadata.num_row_groups):
        there = opened.metadata.row_group(number).column(0).statistics
        if there.max >= start and there.min < stop:
            groups.append(number)
    if not groups:
        return None
    table = opened.read_row_groups(groups)
    first, last = np.searchsorted(table[CURVE].to_numpy(), [start, stop])
    return table.slice(first, last - first) if last > first else None
