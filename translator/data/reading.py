"""Images of a store's rows, read in whole chunks through Dask."""

import dask
import numpy as np

from survey_tools.store.zarr_store import Store, read_images


def read_rows(store: Store, rows: np.ndarray) -> np.ndarray:
    """Images (row, band, row, col) of some rows of a store, in their order; each chunk is read once, in parallel."""
    step = store.images.chunks[0]
    chunk = rows // step
    needed = np.unique(chunk)
    parts = dask.compute(
        *(dask.delayed(read_images, pure=False)(store, n) for n in needed.tolist()), scheduler="threads"
    )
    images = np.empty((len(rows), *store.images.shape[1:]), np.float32)
    for number, part in zip(needed, parts, strict=True):
        inside = chunk == number
        images[inside] = part[rows[inside] - number * step]
    return images


def read_apart(store: Store, rows: np.ndarray) -> list[np.ndarray]:
    """The same, each image (band, row, col) by itself, read by one of several threads that do so.

    They are views of the chunk where one has them all and half of it is wanted at least, which saves a third of the
    time; else copies, so that no chunk stays in memory for the sake of a few rows.
    """
    step = store.images.chunks[0]
    chunk = rows // step
    numbers = np.unique(chunk).tolist()
    if len(numbers) == 1 and 2 * len(rows) >= step:
        part = read_chunk(store, numbers[0])
        return [part[row] for row in (rows - numbers[0] * step).tolist()]
    images = np.empty((len(rows), *store.images.shape[1:]), np.float32)
    for number in numbers:
        inside = chunk == number
        images[inside] = read_chunk(store, number)[rows[inside] - number * step]
    return list(images)


def read_chunk(store: Store, number: int) -> np.ndarray:
    """The images (row, band, row, col) of one chunk, by the thread that asks."""
    return dask.get({"images": (read_images, store, number)}, "images")


def image_bytes(store: Store) -> int:
    """Of one object's image."""
    return int(np.prod(store.images.shape[1:])) * 4
