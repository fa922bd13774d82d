"""Images of a training that are read once and stay in the memory of the device, a GPU's or the machine's own."""

from collections import deque
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from survey_tools.progress import Progress
from survey_tools.store.zarr_store import Store
from translator.data.reading import image_bytes, read_apart
from translator.data.streams import Stream, turn_and_mirror, turned

THREADS = 2  # that read; each has one more chunk waiting


class Resident:
    """Batches of streams whose images are all in memory; in float32 they equal those of `Streamed` to the bit.

    As float16 a pixel is rounded by at most 2**-11 of itself, which is 0.05 % of its flux; and by 3e-8 nanomaggies if
    it is fainter than 6e-5, which is at most 1e-4 of the noise of any survey. Pixels beyond 65504 nanomaggies, brighter
    than magnitude 10.5, are kept as that value.

    Parameters
    ----------
    stores : tuple of Store
        The stores x and y.
    streams : tuple of Stream
        The streams to read.
    device : device
        The device that keeps the images and wants the batches.
    dtype : dtype
        float32 or float16.

    Attributes
    ----------
    memory : int
        Main memory that the images take [byte]; 0 if a GPU has them.
    """

    def __init__(
        self, stores: tuple[Store, Store], streams: tuple[Stream, ...], device: torch.device, dtype: torch.dtype
    ) -> None:
        self._streams, self._device = streams, device
        self._rows = needed_rows(stores, streams)
        self._images = [
            torch.empty((len(rows), *store.images.shape[1:]), dtype=dtype, device=device)
            for store, rows in zip(stores, self._rows, strict=True)
        ]
        self.memory = sum(images.nbytes for images in self._images) if device.type == "cpu" else 0
        total = sum(map(len, self._rows))
        with Progress(total, "images to memory", "image", leave=False) as progress:
            for store, rows, images in zip(stores, self._rows, self._images, strict=True):
                _fill(images, store, rows, progress)

    def batch(self, number: int) -> list[Tensor]:
        """Return the images (B, band, row, col) of batch `number`, in the order of `images.Batch`, on the device."""
        batch = []
        for stream in self._streams:
            objects, symmetries = stream.objects(number), stream.symmetries(number)
            for which, rows in zip(stream.stores, stream.rows[objects].T, strict=True):
                places = np.searchsorted(self._rows[which], rows)
                batch.append(self._take(self._images[which], places, symmetries))
        return batch

    def close(self) -> None:
        """Do nothing: no reading is under way."""

    def _take(self, images: Tensor, places: np.ndarray, symmetries: np.ndarray) -> Tensor:
        """Return some of the images, turned, as float32."""
        if self._device.type != "cpu":
            taken = images[torch.from_numpy(places).to(self._device, non_blocking=True)].float()
            return turn_and_mirror(taken, symmetries).contiguous(memory_format=torch.channels_last)
        taken = torch.empty((len(places), *images.shape[1:]), memory_format=torch.channels_last)
        for image, place, symmetry in zip(taken.numpy(), places.tolist(), symmetries.tolist(), strict=True):
            image[:] = turned(images[place].numpy(), symmetry)
        return taken


def needed_rows(stores: tuple[Store, Store], streams: tuple[Stream, ...]) -> list[np.ndarray]:
    """Return the rows of each store that any stream reads, in order."""
    return [
        np.unique(
            np.concatenate([stream.rows[:, stream.stores.index(which)] for stream in streams if which in stream.stores])
        )
        for which in range(len(stores))
    ]


def needed_bytes(stores: tuple[Store, Store], streams: tuple[Stream, ...]) -> int:
    """Return the size of these rows' images as float32 [byte]."""
    rows = needed_rows(stores, streams)
    return sum(len(some) * image_bytes(store) for store, some in zip(stores, rows, strict=True))


def _fill(images: Tensor, store: Store, rows: np.ndarray, progress: Progress) -> None:
    """Read rows of a store into memory, chunk by chunk."""
    borders = np.flatnonzero(np.diff(store.chunk_of(rows))) + 1
    limit = torch.finfo(torch.float16).max
    parts = deque(zip([0, *borders.tolist()], [*borders.tolist(), len(rows)], strict=True))
    with ThreadPoolExecutor(THREADS) as pool:
        reading: deque = deque()
        while parts or reading:
            while parts and len(reading) <= THREADS:
                first, last = parts.popleft()
                reading.append((first, last, pool.submit(_read, store, rows[first:last])))
            first, last, read = reading.popleft()
            found = torch.from_numpy(read.result())
            images[first:last].copy_(found.clamp(-limit, limit) if images.dtype == torch.float16 else found)
            progress.update(last - first)


def _read(store: Store, rows: np.ndarray) -> np.ndarray:
    """Return the images of some rows in one array."""
    return np.stack(read_apart(store, rows))
