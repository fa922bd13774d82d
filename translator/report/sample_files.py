"""Samples of a report whose arrays lie in files: what the processes that measure them are given.

Nothing here needs torch or a store, so that these processes start quickly.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from translator.metrics.measure import Sample

NO_AXIS = ("draws", "taught", "taught_redshift")  # arrays of a sample whose first axis is not its galaxies
FLOOR, ORACLE, BILINEAR, WIENER = "floor", "oracle", "bilinear", "wiener"


@dataclass(frozen=True)
class SampleFiles:
    """A `Sample` whose arrays lie in files, so that other processes open it and its size is not that of the memory."""

    bands: tuple[str, ...]
    pixel_scale: float
    source_scale: float
    files: dict[str, str]

    def open(self) -> Sample:
        """The sample, its arrays read when looked at; targets stand for translations until these are there."""
        arrays = {name: np.asarray(np.load(path, mmap_mode="c")) for name, path in self.files.items()}
        images = dict.fromkeys(("output", "signal"), arrays["target"]) | arrays
        return Sample(self.bands, self.pixel_scale, source_scale=self.source_scale, **images)

    def add(self, folder: Path, **arrays: np.ndarray | None) -> "SampleFiles":
        """The same with more arrays, or others in their place, kept in `folder`; None is no array."""
        folder.mkdir(parents=True, exist_ok=True)
        files = dict(self.files)
        for name, array in arrays.items():
            if array is not None:
                files[name] = str(folder / f"{name}.npy")
                np.save(files[name], array)
        return replace(self, files=files)

    def known(self, files: dict[str, str]) -> "SampleFiles":
        """The same with arrays, by name, whose files are there."""
        return replace(self, files=self.files | files)

    def also(self, **names: str) -> "SampleFiles":
        """The same with some arrays under further names, given as new="known"."""
        return replace(self, files=self.files | {name: self.files[known] for name, known in names.items()})

    def take(self, folder: Path, galaxies: np.ndarray) -> "SampleFiles":
        """Some of the galaxies, in files of their own; without draws and what teaches redshifts."""
        files = {name: path for name, path in self.files.items() if name not in NO_AXIS}
        some = {name: np.load(path, mmap_mode="r")[galaxies] for name, path in files.items()}
        return replace(self, files={}).add(folder, **some)


Rows = dict[str, tuple[SampleFiles, SampleFiles | None]]  # row of the report to all galaxies, and the few drawn often


def begin_array(path: Path, shape: tuple[int, ...]) -> None:
    """A file for an array of float32, to be written in parts by several processes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape).flush()


def write_part(path: Path, first: int, images: np.ndarray) -> None:
    """Write images (image, band, row, col) float32 into such a file, from its image `first` on.

    Written, not mapped into memory: machines that share a file system would write whole pages, and others' images.
    """
    offset = np.load(path, mmap_mode="r").offset
    with path.open("r+b") as file:
        file.seek(offset + first * images[0].nbytes)
        file.write(np.ascontiguousarray(images))


@contextmanager
def work_folder(out: Path) -> Iterator[Path]:
    """A folder within `out` for the arrays, as long as the block lasts.

    Where `out` is made here and an error or Ctrl-C leaves nothing in it, it goes again too.
    """
    made = not out.exists()
    out.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=out, prefix=".samples-") as work:
            yield Path(work)
    finally:
        if made and not any(out.iterdir()):
            out.rmdir()
