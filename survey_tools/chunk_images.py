"""The images of one chunk of a store, as quickly as several threads can decode them, each its own."""

import numpy as np
from numcodecs.blosc import decompress

from survey_tools.errors import StoreError
from survey_tools.store import Store


def read_images(store: Store, number: int) -> np.ndarray:
    """Images (object, band, row, col) [nanomaggy/pixel] of chunk `number`, from 0; read-only, NaN where no pixel is.

    A chunk that is one file compressed by Blosc, as `store.create` has it, is decoded by the thread that asks. Zarr,
    which reads those that are laid out otherwise or have no file, hands it to a thread of its own and copies it in
    another, which all callers share: half the speed where there are two cores.

    Raises:
        StoreError: The file is damaged.
    """
    step = store.images.chunks[0]
    rows = slice(number * step, min((number + 1) * step, len(store)))
    path = store.image_file(rows)
    if path is None:
        return store.images[rows]
    try:
        images = np.frombuffer(decompress(path.read_bytes()), "<f4").reshape(store.images.chunks)
    except (RuntimeError, ValueError) as error:
        raise StoreError(f"{path} is damaged; see what else is with `galtrans verify {store.path}`") from error
    return images[: rows.stop - rows.start]
