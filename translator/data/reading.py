"""Images of a store's rows, read in whole chunks through Dask."""

import dask
import numpy as np

from survey_tools.store.in_bands import read_images_in_bands
from survey_tools.store.zarr_store import Store


def read_rows(store: Store, rows: np.ndarray) -> np.ndarray:
    """Return images (row, band, row, col) of some rows of a store, in their order.

    Each chunk is read once, and several in parallel.
    """
    chunk = store.chunk_of(rows)
    needed = np.unique(chunk)
    parts = dask.compute(
        *(dask.delayed(read_images_in_bands, pure=False)(store, n) for n in needed.tolist()), scheduler="threads"
    )
    images = np.empty((len(rows), *store.images.shape[1:]), np.float32)
    for number, part in zip(needed, parts, strict=True):
        inside = chunk == number
        images[inside] = part[rows[inside] - store.chunk_span(int(number)).start]
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
        images[inside] = read_chunk(store, number)[rows[inside] - store.chunk_span(number).start]
    return list(images)


def read_chunk(store: Store, number: int) -> np.ndarray:
    """Return the images (row, band, row, col) of one chunk, read by the thread that calls."""
    return dask.get({"images": (read_images_in_bands, store, number)}, "images")


def image_bytes(store: Store) -> int:
    """Return the size of one object's image [byte]."""
    return int(np.prod(store.images.shape[1:])) * 4
