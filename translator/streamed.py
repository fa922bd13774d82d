"""Batches read from disk ahead of their use, by one pool of threads a process.

The pool reads chunks and puts batches together, each image turned as it is copied to its place. For a GPU it copies to
pinned memory; there images are turned on the device, in a stream of their own, while the batch before is computed with.
"""

import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from survey_tools.store import Store
from translator.augment import turn_and_mirror, turned
from translator.reading import image_bytes
from translator.sources import Images, open_sources
from translator.streams import Stream

READ_AHEAD = 6  # batches whose chunks are being read
MADE_AHEAD = 4  # batches that are put together: fewer, so that no thread waits for a chunk that another still reads
THREADS = 4  # at most: the other cores are the training's


@dataclass(frozen=True)
class Staged:
    """A batch on its way to the GPU; `arrived` is recorded behind it."""

    number: int
    images: list[Tensor]
    arrived: torch.cuda.Event


class Streamed:
    """Batches of streams, in the order of their numbers, from any number on.

    Args:
        stores: x and y.
        streams: To read.
        device: Where batches are wanted.

    Attributes:
        memory: Main memory that is used at most [byte].
        scattered: Bytes that go to the disk, for images that lie scattered over their stores.
    """

    def __init__(self, stores: tuple[Store, Store], streams: tuple[Stream, ...], device: torch.device) -> None:
        self._streams, self._device = streams, device
        self._threads = min(THREADS, os.cpu_count() or 1)
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="batches")
        self._sources, self._files = open_sources(stores, streams, self._pool)
        self.scattered = sum(file.size for file in self._files)
        self._following: tuple[int, list[np.ndarray]] = (-1, [])
        self._asked: deque[tuple[int, list[Images]]] = deque()
        self._made: deque[tuple[int, Future]] = deque()
        self._copies = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._staged: Staged | None = None
        self.memory = self._memory(stores)

    def batch(self, number: int) -> list[Tensor]:
        """Images (B, band, row, col) of batch `number`, in the order of `images.Batch`, on the device."""
        if self._copies is None:
            return self._next(number)
        staged = self._staged
        if staged is None or staged.number != number:
            staged = self._stage(number)
        self._staged = self._stage(number + 1) if self._is_made(number + 1) else None
        using = torch.cuda.current_stream(self._device)
        using.wait_event(staged.arrived)
        for images in staged.images:
            images.record_stream(using)
        return staged.images

    def close(self) -> None:
        """Stop reading ahead."""
        self._asked.clear()
        self._made.clear()
        self._pool.shutdown(cancel_futures=True)
        for file in self._files:
            file.close()

    def _next(self, number: int) -> list[Tensor]:
        """A batch as the pool makes it, when it is made."""
        self._go_on(number)
        return self._made.popleft()[1].result()

    def _is_made(self, number: int) -> bool:
        return bool(self._made) and self._made[0][0] == number and self._made[0][1].done()

    def _go_on(self, number: int) -> None:
        """Have chunks read, and batches put together, from batch `number` on."""
        queues = (*self._made, *self._asked)
        if queues and queues[0][0] != number:
            self._made.clear()
            self._asked.clear()
        first = self._asked[-1][0] + 1 if self._asked else self._made[-1][0] + 1 if self._made else number
        for asked in range(first, number + READ_AHEAD + 1):
            self._asked.append((asked, self._ask(asked)))
            while self._asked and self._asked[0][0] <= max(number, asked + MADE_AHEAD - READ_AHEAD):
                ready, images = self._asked.popleft()
                self._made.append((ready, self._pool.submit(self._put_together, ready, images)))

    def _ask(self, number: int) -> list[Images]:
        """Have the images of a batch read."""
        known, objects = self._following
        if known != number:
            objects = [stream.objects(number) for stream in self._streams]
        following = [stream.objects(number + 1) for stream in self._streams]
        self._following = (number + 1, following)
        return [
            source.ask(now, then)
            for sources, now, then in zip(self._sources, objects, following, strict=True)
            for source in sources
        ]

    def _symmetries(self, number: int) -> list[np.ndarray]:
        """How each image of a batch is turned, in the order of its images."""
        return [stream.symmetries(number) for stream in self._streams for _ in stream.stores]

    def _put_together(self, number: int, asked: list[Images]) -> list[Tensor]:
        """The images of a batch: turned, or pinned and still to be turned."""
        batch = []
        for images, symmetries in zip((images() for images in asked), self._symmetries(number), strict=True):
            shape = (len(images), *images[0].shape)
            if self._copies is None:
                together = torch.empty(shape, memory_format=torch.channels_last)
                for place, image, symmetry in zip(together.numpy(), images, symmetries.tolist(), strict=True):
                    place[:] = turned(image, symmetry)
            else:
                together = torch.empty(shape, pin_memory=True)  # torch takes it again when its copy has been made
                np.stack(images, out=together.numpy())
            batch.append(together)
        return batch

    def _stage(self, number: int) -> Staged:
        """Begin to copy a batch to the GPU, and to turn it there."""
        pinned = self._next(number)
        with torch.cuda.stream(self._copies):
            images = [
                turn_and_mirror(each.to(self._device, non_blocking=True), symmetries).contiguous(
                    memory_format=torch.channels_last
                )
                for each, symmetries in zip(pinned, self._symmetries(number), strict=True)
            ]
            return Staged(number, images, self._copies.record_event())

    def _memory(self, stores: tuple[Store, Store]) -> int:
        """Bytes that are held at most: chunks in use, batches, and what the threads read."""
        batches = held = 0
        for stream, sources in zip(self._streams, self._sources, strict=True):
            size = len(stream.symmetries(0))
            held += sum(source.memory(READ_AHEAD + 1, size) for source in sources)
            batches += sum(size * image_bytes(stores[which]) for which in stream.stores)
        chunk = max(store.images.chunks[0] * image_bytes(store) for store in stores)
        return held + (MADE_AHEAD + 2) * batches + 3 * self._threads * chunk
