"""Blocks: what each task writes of a store that is being built, and how blocks become shard files.

A block is some rows of all arrays of pixels, in a file of its own in `PATH.part/.blocks`. Therefore tasks share no file
and need no lock, a task holds no more than a block in memory, and an interrupted run loses one block at most. When all
blocks are written, one thread makes each shard file of the chunks of its blocks, byte by byte, and removes the blocks
after that. The bytes of a shard file do not depend on how often this was interrupted.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from survey_tools.files import whole_file
from survey_tools.progress import Progress
from survey_tools.store.shards import Layout, ShardReader, chunks_of, decode, encode, join, split, write_chunks

BLOCKS = ".blocks"
THREADS = 4  # shard files that are made at once: copying them and their checksums need no lock of Python's


@dataclass(frozen=True)
class Blocks:
    """The blocks of a store that is being built.

    Attributes
    ----------
    path : Path
        The folder of the store, `PATH.part`.
    layouts : tuple of Layout
        Its arrays of pixels, all with the same objects, chunks and shards.
    rows : int
        Objects in a block, which holds whole chunks.
    """

    path: Path
    layouts: tuple[Layout, ...]
    rows: int

    @property
    def folder(self) -> Path:
        """The folder with the blocks."""
        return self.path / BLOCKS

    @property
    def _chunks(self) -> int:
        """Number of chunks that one array has in a block."""
        return self.rows // self.layouts[0].chunk

    def write(self, start: int, values: Mapping[str, np.ndarray]) -> None:
        """Write one block.

        Parameters
        ----------
        start : int
            Its first row.
        values : mapping
            (object, band, row, col) values of all rows of the block, by the name of each array.
        """
        chunks: list[bytes | None] = []
        for layout in self.layouts:
            found = encode(layout, values[layout.name])
            chunks += found + [None] * (self._chunks - len(found))
        write_chunks(self._file(start), chunks)

    def read(self, layout: Layout, reader: ShardReader, start: int, stop: int) -> np.ndarray:
        """Return some rows of an array: from their blocks where these exist, and from its shard files elsewhere."""
        values = layout.empty(stop - start)
        for first in range(start // self.rows * self.rows, stop, self.rows):
            begin, end = max(first, start), min(first + self.rows, stop)
            into = values[begin - start : end - start]
            if self._file(first).exists():
                at = self.layouts.index(layout) * self._chunks
                chunks = split(self._file(first), self._chunks * len(self.layouts))[at : at + self._chunks]
                block = layout.empty(self.rows)
                for number, chunk in enumerate(chunks):
                    decode(layout, chunk, block[number * layout.chunk : (number + 1) * layout.chunk])
                into[:] = block[begin - first : end - first]
            else:
                into[:] = reader.rows(begin, end)
        return values

    def drop(self) -> None:
        """Remove all blocks; what is in shard files stays."""
        for path in self.folder.glob("[0-9]*"):
            path.unlink()

    def join(self) -> dict[str, str]:
        """Make shard files of the blocks, and remove the blocks.

        Chunks without a block stay as they are in the shard files that exist.

        Returns
        -------
        dict
            The checksums of all shard files that were made since the store was begun, by name.
        """
        numbers = range(-(-self.layouts[0].shape[0] // self.layouts[0].shard))
        with Progress(len(numbers), "files", "file") as progress, ThreadPoolExecutor(THREADS) as pool:
            for _ in pool.map(self._join, numbers):
                progress.update()
        return {
            name: digest
            for record in sorted((self.folder / "sums").glob("*"))
            for digest, name in [record.read_text().split()]
        }

    def _join(self, number: int) -> None:
        """Make one shard file of each array, unless no block is left for it."""
        first, count = number * self.layouts[0].shard, self.layouts[0].shape[0]
        starts = range(first, min(first + self.layouts[0].shard, count), self.rows)
        blocks = [start for start in starts if self._file(start).exists()]
        if not blocks:
            return
        found = {start: chunks_of(self._file(start), self._chunks * len(self.layouts)) for start in blocks}
        for place, layout in enumerate(self.layouts):
            name = layout.file(number)
            chunks = chunks_of(self.path / name, layout.chunks)
            for start, there in found.items():
                at = (start - first) // layout.chunk
                chunks[at : at + self._chunks] = there[place * self._chunks : (place + 1) * self._chunks]
            record, digest = self.folder / "sums" / f"{layout.name}.{number}", join(self.path / name, chunks)
            if digest is None:
                record.unlink(missing_ok=True)
                continue
            with whole_file(record) as temporary:
                temporary.write_text(f"{digest} {name}")
        for start in blocks:
            self._file(start).unlink()

    def _file(self, start: int) -> Path:
        return self.folder / f"{start:09d}"
