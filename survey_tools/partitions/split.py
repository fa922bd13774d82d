"""Split an ordinary store into a partitioned one, with the same objects, pixels, columns and manifest."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from astropy.table import Table

from survey_tools.build.builder import Chunk, StorePlan, alone, begin
from survey_tools.build.derived import row_of_survey
from survey_tools.errors import StoreError
from survey_tools.files import SUMS, checksum
from survey_tools.partitions.layout import INPUT_ROW, ROWS, Pixel
from survey_tools.partitions.making import make_partitions
from survey_tools.partitions.spill import read_part, spill
from survey_tools.store.columns import MEASURED, TRANSLATED
from survey_tools.store.partitioned import PartitionedStore
from survey_tools.store.zarr_store import CHUNK_BYTES, Store, open_store
from survey_tools.tasks import Engine

BLOCK = 2**18  # rows of the catalogue that are in memory at once


def split_store(
    path,
    out,
    *,
    most: int = ROWS,
    engine: Engine | None = None,
    overwrite: bool = False,
    chunk_bytes: int = CHUNK_BYTES,
) -> PartitionedStore:
    """Make a partitioned store from an ordinary one.

    Parameters
    ----------
    path : path-like
        The store.
    out : path-like
        Where the partitioned store will be.
    most : int
        Objects of a partition at most.
    engine : Engine, optional
        Where tasks run.
    overwrite : bool
        Whether to replace an existing partitioned store.
    chunk_bytes : int
        Bytes that the images of a chunk may take.

    Returns
    -------
    PartitionedStore
        The same objects, in the order of the HEALPix curve.

    Raises
    ------
    StoreError
        The store cannot be opened, or `out` exists and was made from something else.
    CatalogueError
        An object of the store has no position.
    """
    store, out, engine = open_store(path), Path(out), engine or Engine()
    if out.resolve() == store.path.resolve():
        raise StoreError(f"{out} is the store to read; choose another name for the partitioned one")
    sums = store.path / SUMS
    settings = {
        "command": "galtrans partition",
        "source": {"checksum": checksum(sums) if sums.exists() else store.rows, "settings": store.settings},
        "rows": most,
    }
    return make_partitions(
        out,
        settings,
        partial(_spill, store, most, engine),
        partial(_copy, store, chunk_bytes),
        engine,
        "partition",
        overwrite=overwrite,
    )


def _spill(store: Store, most: int, engine: Engine, folder: Path) -> list[Pixel]:
    """Write the catalogues of the partitions."""
    return spill(_blocks(store), folder, most, engine)


def _blocks(store: Store) -> Iterator[Table]:
    """Yield the catalogue of a store, block by block."""
    for start in range(0, len(store), BLOCK):
        rows = slice(start, start + BLOCK)
        yield Table({name: store.column(name, rows) for name in store.input_catalogue_names})


def _copy(store: Store, chunk_bytes: int, folder: Path, pixel: Pixel) -> Store:
    """Copy the rows of one partition into a store of their own."""
    catalogue = folder / f"{pixel.name}.parquet"
    table, source = read_part(catalogue), pq.read_table(catalogue, columns=[INPUT_ROW])[INPUT_ROW].to_numpy()
    plan = StorePlan(
        row_of_survey(store),
        store.bands,
        table,
        store.settings,
        size=store.size,
        pixel_scale=store.pixel_scale,
        synthetic=store.synthetic,
        planes=store.attributes.get("planes", {}),
        chunk_bytes=chunk_bytes,
    )
    names = [each.name for each in MEASURED + TRANSLATED if each.name in store.columns]
    columns, manifest = {name: store.column(name) for name in names}, store.manifest()
    path = folder / f"{pixel.name}.zarr"
    path.parent.mkdir(parents=True, exist_ok=True)
    with alone(path):
        build = begin(plan, path)
        for rows in build.store.chunks():
            if build.has(rows):
                continue
            wanted = source[rows]
            arrays = [_take(array, wanted) for array in (store.images, store.mask, *store.planes.values())]
            own = {name: np.asarray(manifest[name])[wanted] for name in manifest.colnames if name != "object_id"}
            build.write(
                rows,
                Chunk(
                    arrays[0],
                    arrays[1],
                    {name: column[wanted] for name, column in columns.items()},
                    own,
                    dict(zip(store.planes, arrays[2:], strict=True)),
                ),
            )
        build.collect()
        return build.finish()


def _take(array, rows: np.ndarray) -> np.ndarray:
    """Return some rows of an array of images, in their order; each of its chunks is read once."""
    step = array.chunks[0]
    number = rows // step
    found = np.empty((len(rows), *array.shape[1:]), array.dtype)
    for each in np.unique(number).tolist():
        inside = number == each
        found[inside] = array[each * step : (each + 1) * step][rows[inside] - each * step]
    return found
