"""Batches for training: from two stores and a selection of their rows to images with their conditions.

The rows that an iteration sees, and how their images are turned, are pure functions of the seed, the batch size and the
number of the iteration. So a training that is resumed at iteration n sees the batches that it would have seen, in any
number of processes.
"""

import logging
import os
import tempfile
import time

import numpy as np
import torch
from torch import Tensor

from survey_tools.errors import RunError
from survey_tools.progress import size as in_words
from survey_tools.store.partitioned import PartitionedStore
from survey_tools.store.zarr_store import Store
from translator.data.conditions import Conditions, alignments, as_tensor, turned_alignments
from translator.data.resident import Resident, needed_bytes
from translator.data.selection import Selection
from translator.data.streamed import Streamed
from translator.data.streams import PAIRS, Stream, make_streams
from translator.images import WHOLE, Batch, Known, Share

PART = 0.6  # part of a GPU's free memory that images may take; networks need the rest
MOST = 0.9  # part of the memory that images may take if the user wants them there
TENTH = 0.1  # part of the main memory that images may take by default
UNPAIRED, PAIRED = ("x", "y"), ("pair_x", "pair_y")  # names of a batch's images, in the order of the streams
log = logging.getLogger(__name__)


class Batches:
    """The batches of a training, by number, without an end.

    Each has `size` unpaired images of x and of y, and as many pairs if any are selected, as flux [nanomaggy/pixel].
    Every image is turned and mirrored by one of the eight symmetries of the square, drawn uniformly; both images of a
    pair by the same one. If there are fewer objects than that, they come more than once. Each image has its conditions
    from its store, and each pair has the alignment of its two grids.

    Parameters
    ----------
    stores : tuple of Store
        The stores x and y.
    selection : Selection
        Rows of both stores.
    size : int
        Images of each kind in a batch, of all processes together.
    seed : int
        Seed of the order of the rows and of their turns.
    device : device
        Where batches are wanted.
    share : Share
        The part of every batch that this process has.
    data : str
        "device" keeps all images in the device's memory; "stream" reads them from disk ahead of their use. "auto" keeps
        them if they fit: in a GPU's free memory, or on a CPU in the main memory that reading ahead would take, or in a
        tenth of all, because threads that read keep the networks' threads waiting.

    Attributes
    ----------
    data : str
        Where the images are, in words.
    memory : int
        Main memory that the images take at most [byte], beside those in use.
    waited : float
        Seconds that batches have been waited for so far.

    Raises
    ------
    RunError
        If the images do not fit where "device" wants them.
    """

    def __init__(
        self,
        stores: tuple[Store, Store],
        selection: Selection,
        size: int,
        seed: int,
        device: torch.device,
        share: Share = WHOLE,
        data: str = "auto",
    ) -> None:
        self.size, self.seed, self.device, self.share = size, seed, device, share
        self.waited = 0.0
        streams = make_streams(stores, selection, size, seed, share)
        self._streams, self._conditions = streams, tuple(Conditions(store) for store in stores)
        self._stores, self._pairs = stores, selection.pairs
        whole = not any(isinstance(store, PartitionedStore) for store in stores)
        self._alignments = alignments(*stores, selection.pairs) if whole and len(selection.pairs) else None
        self._source, self.data = _open(stores, streams, device, data)
        self.memory = self._source.memory
        log.info(self.data)

    def batch(self, number: int) -> Batch:
        """Return the batch of iteration `number`, counted from 0; it is quickest to ask for them in order."""
        begun = time.perf_counter()
        known, alignment = self._known(number)
        images = dict(zip((*UNPAIRED, *PAIRED), self._source.batch(number), strict=False))
        self.waited += time.perf_counter() - begun
        return Batch(**images, known=known, alignment=alignment)

    def close(self) -> None:
        """Stop reading ahead."""
        self._source.close()

    def _known(self, number: int) -> tuple[dict[str, Known], Tensor | None]:
        """Return the conditions of the images of a batch, by their names in `Batch`, and the alignment of its pairs."""
        known, alignment = {}, None
        for stream in self._streams:
            objects = stream.objects(number)
            names = PAIRED if stream.number == PAIRS else UNPAIRED[stream.number : stream.number + 1]
            for name, which, rows in zip(names, stream.stores, stream.rows[objects].T, strict=True):
                known[name] = self._conditions[which].of(rows, self.device)
            if stream.number == PAIRS:
                turned = turned_alignments(self._alignments_of(objects), stream.symmetries(number))
                alignment = as_tensor(turned, self.device)
        return known, alignment

    def _alignments_of(self, pairs: np.ndarray) -> np.ndarray:
        """Return the alignments of some of the pairs; of partitioned stores they are measured as they are needed."""
        if self._alignments is not None:
            return self._alignments[pairs]
        return alignments(*self._stores, self._pairs[pairs])


def _open(
    stores: tuple[Store, Store], streams: tuple[Stream, ...], device: torch.device, data: str
) -> tuple[Resident | Streamed, str]:
    """Return the source of batches that `data` asks for, and where it keeps images, in words."""
    if device.type == "cuda" and data != "stream":
        free = torch.cuda.mem_get_info(device)[0]
        dtype = type_that_fits(needed_bytes(stores, streams), free, device, data)
        if dtype is not None:
            return _resident(stores, streams, device, dtype)
    elif data == "device":
        needed, there = needed_bytes(stores, streams), _main_memory()
        if needed > MOST * there:
            raise RunError(
                f"{in_words(needed)} of images do not fit into {in_words(there)} of main memory; train with --data "
                "stream"
            )
        return _resident(stores, streams, device, torch.float32)
    streamed = Streamed(stores, streams, device)
    room = max(streamed.memory, TENTH * _main_memory())
    if data == "auto" and device.type == "cpu" and needed_bytes(stores, streams) <= room:
        streamed.close()
        return _resident(stores, streams, device, torch.float32)
    words = f"images read from disk ahead of their use, with at most {in_words(streamed.memory)} of main memory"
    if streamed.scattered:
        words += f" and, for those that lie scattered, {in_words(streamed.scattered)} of {tempfile.gettempdir()}"
    return streamed, words


def _main_memory() -> int:
    """Return how much main memory the machine has [byte]."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def type_that_fits(needed: int, free: int, device: torch.device, data: str) -> torch.dtype | None:
    """Return the type in which images fit into the memory of a GPU.

    Parameters
    ----------
    needed : int
        Bytes of the images as float32.
    free : int
        Bytes of the memory that are free.
    device : device
        The GPU.
    data : str
        "auto", or "device" if the images must fit.

    Returns
    -------
    dtype or None
        float32 or float16; None if neither fits and `data` is "auto".

    Raises
    ------
    RunError
        If neither fits and `data` is "device".
    """
    for dtype in (torch.float32, torch.float16):
        if needed * dtype.itemsize <= 4 * free * (PART if data == "auto" else MOST):
            return dtype
    if data == "device":
        raise RunError(
            f"{in_words(needed / 2)} of images, as float16, do not fit into the {in_words(free)} of {device} that are "
            "free; train with --data stream"
        )
    return None


def _resident(
    stores: tuple[Store, Store], streams: tuple[Stream, ...], device: torch.device, dtype: torch.dtype
) -> tuple[Resident, str]:
    """Read all images into memory; return the source of batches and where it keeps images, in words."""
    amount = in_words(needed_bytes(stores, streams) * dtype.itemsize / 4)
    where = "main memory" if device.type == "cpu" else f"the memory of {device}"
    return Resident(stores, streams, device, dtype), f"{amount} of images kept in {where} as {str(dtype)[6:]}"
