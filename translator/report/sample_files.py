"""Samples of a report whose arrays are in files, so that several processes can measure them.

Nothing here needs PyTorch or a store, so these processes start quickly.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from translator.metrics.measure import Sample

NO_AXIS = ("draws", "taught", "taught_redshift")  # arrays whose first axis is not the galaxies of the sample
FLOOR, ORACLE, BILINEAR, WIENER = "floor", "oracle", "bilinear", "wiener"


@dataclass(frozen=True)
class SampleFiles:
    """A `Sample` whose arrays are in files: other processes can open it, and it may be larger than the memory.

    Attributes
    ----------
    bands : tuple of str
        Names of the bands.
    pixel_scale : float
        Side of a pixel of the target [arcsec].
    source_scale : float
        Side of a pixel of the source [arcsec].
    files : dict
        Field of `Sample` to the path of a .npy file.
    """

    bands: tuple[str, ...]
    pixel_scale: float
    source_scale: float
    files: dict[str, str]

    def open(self) -> Sample:
        """Return the sample; arrays are read when used. The target stands for translations that are missing."""
        arrays = {name: np.asarray(np.load(path, mmap_mode="c")) for name, path in self.files.items()}
        images = dict.fromkeys(("output", "signal"), arrays["target"]) | arrays
        return Sample(self.bands, self.pixel_scale, source_scale=self.source_scale, **images)

    def add(self, folder: Path, **arrays: np.ndarray | None) -> "SampleFiles":
        """Return a copy with more or other arrays, which are written into `folder`; None is left out."""
        folder.mkdir(parents=True, exist_ok=True)
        files = dict(self.files)
        for name, array in arrays.items():
            if array is not None:
                files[name] = str(folder / f"{name}.npy")
                np.save(files[name], array)
        return replace(self, files=files)

    def known(self, files: dict[str, str]) -> "SampleFiles":
        """Return a copy with further arrays, by name, whose files exist."""
        return replace(self, files=self.files | files)

    def also(self, **names: str) -> "SampleFiles":
        """Return a copy with arrays under further names, given as new="known"."""
        return replace(self, files=self.files | {name: self.files[known] for name, known in names.items()})

    def take(self, folder: Path, galaxies: np.ndarray) -> "SampleFiles":
        """Return some of the galaxies, in files of their own, without draws and without `taught`."""
        files = {name: path for name, path in self.files.items() if name not in NO_AXIS}
        some = {name: np.load(path, mmap_mode="r")[galaxies] for name, path in files.items()}
        return replace(self, files={}).add(folder, **some)


Rows = dict[str, tuple[SampleFiles, SampleFiles | None]]  # row of the report to all galaxies, and the few with draws


def begin_array(path: Path, shape: tuple[int, ...]) -> None:
    """Create a file for an array of float32, which several processes then write in parts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape).flush()


def write_part(path: Path, first: int, images: np.ndarray) -> None:
    """Write images (image, band, row, col) float32 into a file of `begin_array`, from its image `first` on.

    They are written and not memory-mapped: machines that share a file system would overwrite whole pages, which contain
    images of others.
    """
    offset = np.load(path, mmap_mode="r").offset
    with path.open("r+b") as file:
        file.seek(offset + first * images[0].nbytes)
        file.write(np.ascontiguousarray(images))


@contextmanager
def work_folder(out: Path) -> Iterator[Path]:
    """Provide a temporary folder within `out` for the arrays.

    If `out` did not exist before and an error or Ctrl-C leaves nothing in it, `out` is removed, too.
    """
    made = not out.exists()
    out.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=out, prefix=".samples-") as work:
            yield Path(work)
    finally:
        if made and not any(out.iterdir()):
            out.rmdir()
