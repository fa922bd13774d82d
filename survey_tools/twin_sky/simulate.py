"""A sky that both surveys see: one simulated sky, written as both archives' own files or straight into stores.

Galaxies and stars are drawn in `galaxies.py`, put onto pixels in `draw.py` and given the noise of an image in
`exposure.py`; `frames.py` and `stacks.py` write the archives' files.
"""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from survey_tools.errors import GaltransError
from survey_tools.replacing import alone
from survey_tools.surveys import SDSS
from survey_tools.twin_sky.archive import Patch, make_archive
from survey_tools.twin_sky.stores import Sample, make_stores
from survey_tools.version import VERSION

MARKER = "simulation.json"  # says what in its folder is simulated, and may thus be replaced
CATALOGUES = ("truth", "catalogue.ecsv", "catalogue_cfht.ecsv")
ARCHIVE = ("sas", "cfht", *CATALOGUES)
STORES = ("sdss.zarr", "cfht.zarr", *CATALOGUES)
BENCHMARK = ("pairs.ecsv", "benchmark.json", *STORES)
ALL_BANDS = "".join(SDSS.bands)


def simulate_archive(
    out,
    *,
    galaxies: int = 280,
    bands: str = ALL_BANDS,
    tile_size: int = 3000,
    seed: int = 0,
    workers: int = 1,
    overwrite: bool = False,
) -> list[Path]:
    """Write one patch of sky as the files of both archives, so that `fetch` runs on them as on the real ones.

    Two adjacent SDSS fields (`sas/…`, the Science Archive Server's tree: frames and psField) and two overlapping
    CFHTLS tiles inside them (`cfht/*.fits`); the same noise-free below `truth`; and `catalogue.ecsv` and
    `catalogue_cfht.ecsv`, each survey's own: three quarters of the galaxies, so that half are in both.

    Args:
        out: Folder for all of it.
        galaxies: Galaxies of r from 14 to 18.5 in the catalogues; many more, fainter, and stars are in the images.
        bands: Bands to write.
        tile_size: Pixels a side of a CFHT tile; 3000 fits the two fields, real tiles have 19354.
        seed: Of everything random; each file has random numbers of its own, so `workers` changes nothing.
        workers: Processes.
        overwrite: Whether to replace what an earlier simulation left in `out`.

    Returns:
        The paths written.

    Raises:
        GaltransError: If `out` holds a simulation already, or anything else by the names of its files.
    """
    with filling(Path(out), ARCHIVE, seed, overwrite=overwrite) as folder:
        make_archive(folder, Patch(galaxies, bands, tile_size, seed), workers)
    return [Path(out) / name for name in ARCHIVE]


def simulate_stores(
    out,
    galaxies: int,
    *,
    bands: str = ALL_BANDS,
    seed: int = 0,
    workers: int = 1,
    overwrite: bool = False,
    overlap: float = 0.5,
) -> list[Path]:
    """Render `galaxies` objects a survey straight into stores, noisy and noise-free.

    Args:
        out: Folder for `sdss.zarr`, `cfht.zarr`, `truth/sdss.zarr`, `truth/cfht.zarr` and both catalogues.
        galaxies: Objects in each survey's store, of r from 14 to 20.
        bands: Bands to render.
        seed: Of everything random; each object has random numbers of its own, so `workers` changes nothing.
        workers: Processes.
        overwrite: Whether to replace what an earlier simulation left in `out`.
        overlap: Share of each survey's objects that the other one sees too.

    Returns:
        The paths written.

    Raises:
        GaltransError: If `out` holds a simulation already, or anything else by the names of its files.
    """
    with filling(Path(out), STORES, seed, overwrite=overwrite) as folder:
        make_stores(folder, Sample(galaxies, bands, overlap, seed), workers)
    return [Path(out) / name for name in STORES]


@contextmanager
def filling(out: Path, names: tuple[str, ...], seed: int, *, overwrite: bool, keep: str = "") -> Iterator[Path]:
    """A folder inside `out` to make all `names` in, which move to `out` at the end of the block, when all is whole.

    What an interrupted block has made goes, unless it is to `keep`: then it lies in a hidden folder of that name, in
    which the next block goes on.

    Raises:
        GaltransError: If `out` holds a simulation already, or anything else by these names, or is being
            filled by another process.
    """
    with alone(out / "simulation"):
        old = _replaceable(out, names, overwrite)
        part = out / f".{keep or 'simulate'}.part"
        if not keep:
            shutil.rmtree(part, ignore_errors=True)
        try:
            (part / "truth").mkdir(parents=True, exist_ok=True)
            yield part
            marker = {"made_by": f"galtrans {VERSION} simulate", "seed": seed, "files": sorted({*names, *old})}
            (part / MARKER).write_text(json.dumps(marker, indent=1))
            os.replace(part / MARKER, out / MARKER)
            for name in old:
                shutil.rmtree(out / name) if (out / name).is_dir() else (out / name).unlink()
            for name in names:
                os.replace(part / name, out / name)
            shutil.rmtree(part)
        finally:
            if not keep:
                shutil.rmtree(part, ignore_errors=True)


def _replaceable(out: Path, names: tuple[str, ...], overwrite: bool) -> list[str]:
    """The names in `out` that an earlier simulation left, to be replaced; GaltransError where something must stay."""
    marked = json.loads((out / MARKER).read_text())["files"] if (out / MARKER).exists() else []
    there = [name for name in dict.fromkeys((*names, *marked)) if (out / name).exists()]
    if there and not overwrite:
        raise GaltransError(f"{out / there[0]} exists already; choose another folder or pass --overwrite")
    strange = [name for name in there if name not in marked or name not in {*ARCHIVE, *BENCHMARK}]
    if strange:
        raise GaltransError(f"{out / strange[0]} was not made by `galtrans simulate` and stays; choose another folder")
    return there
