"""The images of one chunk of a store, as quickly as several threads can decode them, each its own."""

from pathlib import Path

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
    step, _, _, _ = store.images.chunks
    rows = slice(number * step, min((number + 1) * step, len(store)))
    path = _path(store, number)
    if not _is_one_blosc(store.images.metadata.to_dict()["codecs"]) or not path.exists():
        return store.images[rows]
    try:
        images = np.frombuffer(decompress(path.read_bytes()), "<f4").reshape(store.images.chunks)
    except (RuntimeError, ValueError) as error:
        raise StoreError(f"{path} is damaged; see what else is with `galtrans verify {store.path}`") from error
    return images[: rows.stop - rows.start]


def _path(store: Store, number: int) -> Path:
    return store.path / store.images.basename / store.images.metadata.encode_chunk_key((number, 0, 0, 0))


def _is_one_blosc(codecs) -> bool:
    """Whether a chunk is its little-endian pixels, compressed by Blosc and nothing else."""
    names = [codec["name"] for codec in codecs]
    return names == ["bytes", "blosc"] and codecs[0].get("configuration", {}).get("endian") == "little"
