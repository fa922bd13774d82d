"""Images of a store's rows, read in whole blocks through Dask, or one by one where few of a block are wanted."""

import dask
import numpy as np

from survey_tools.store.in_bands import read_images_in_bands
from survey_tools.store.zarr_store import Store

FEW = 0.25  # part of a block below which its rows are read one by one, from stores that can do that


def read_rows(store: Store, rows: np.ndarray) -> np.ndarray:
    """Return images (row, band, row, col) of some rows of a store, in their order.

    Each block is read once, and several in parallel.
    """
    block = store.chunk_of(rows)
    inside = [np.flatnonzero(block == number) for number in np.unique(block)]
    parts = dask.compute(
        *(dask.delayed(_read_of_block, pure=False)(store, rows[places]) for places in inside), scheduler="threads"
    )
    images = np.empty((len(rows), *store.images.shape[1:]), np.float32)
    for places, part in zip(inside, parts, strict=True):
        images[places] = part
    return images


def read_apart(store: Store, rows: np.ndarray) -> list[np.ndarray]:
    """Return the images of some rows as a list of arrays (band, row, col), read by the thread that calls.

    The images are views of the chunk if one chunk has them all and at least half of it is wanted, which saves a third
    of the time; otherwise they are copies, so that no chunk stays in memory for a few rows.
    """
    chunk = store.chunk_of(rows)
    numbers = np.unique(chunk).tolist()
    if len(numbers) == 1 and 2 * len(rows) >= store.block_rows:
        part = read_chunk(store, numbers[0])
        return [part[row] for row in (rows - store.chunk_span(numbers[0]).start).tolist()]
    images = np.empty((len(rows), *store.images.shape[1:]), np.float32)
    for number in numbers:
        inside = chunk == number
        images[inside] = _read_of_block(store, rows[inside])
    return list(images)


def _read_of_block(store: Store, rows: np.ndarray) -> np.ndarray:
    """Return images (row, band, row, col) of some rows of one block, read by the thread that calls."""
    number = int(store.chunk_of(rows[:1])[0])
    span = store.chunk_span(number)
    if store.images.chunks[0] < store.block_rows and len(rows) < FEW * (span.stop - span.start):
        return np.stack([store.images[row] for row in rows.tolist()])
    return read_chunk(store, number)[rows - span.start]


def read_chunk(store: Store, number: int) -> np.ndarray:
    """Return the images (row, band, row, col) of one chunk, read by the thread that calls."""
    return dask.get({"images": (read_images_in_bands, store, number)}, "images")


def image_bytes(store: Store) -> int:
    """Return the size of one object's image [byte]."""
    return int(np.prod(store.images.shape[1:])) * 4
