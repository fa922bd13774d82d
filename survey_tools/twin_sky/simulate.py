"""A sky that both surveys see: one simulated sky, written as both archives' own files or straight into stores.

Galaxies and stars are drawn in `galaxies.py`, put onto pixels in `draw.py` and given the noise of an image in
`exposure.py`; `frames.py` and `stacks.py` write the archives' files.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from survey_tools.build.builder import alone
from survey_tools.errors import GaltransError
from survey_tools.files import whole_file
from survey_tools.store.zarr_store import CHUNK_BYTES
from survey_tools.surveys import SDSS
from survey_tools.twin_sky.archive_files import Patch, make_archive
from survey_tools.twin_sky.stores import SimulatedSky, make_stores
from survey_tools.version import VERSION

MARKER = "simulation.json"  # says what in its folder is simulated, and may thus be replaced
CATALOGUES = ("truth", "catalogue.ecsv", "catalogue_cfht.ecsv")
ARCHIVE = ("sas", "cfht", *CATALOGUES)
STORES = ("sdss.zarr", "cfht.zarr", *CATALOGUES)
BENCHMARK = ("pairs.ecsv", "benchmark.json", *STORES)
MADE_BY = f"galtrans {VERSION} simulate"
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
    patch = Patch(galaxies, bands, tile_size, seed)
    with filling(Path(out), ARCHIVE, {"kind": "archive"} | asdict(patch), overwrite=overwrite) as folder:
        if folder is not None:
            make_archive(folder, patch, workers)
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
    chunk_bytes: int = CHUNK_BYTES,
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
        chunk_bytes: Bytes that the images of a chunk of a store may take.

    Returns:
        The paths written.

    Raises:
        GaltransError: If `out` holds a simulation already, or anything else by the names of its files.
    """
    sample = SimulatedSky(galaxies, bands, overlap, seed)
    with filling(Path(out), STORES, {"kind": "stores"} | asdict(sample), overwrite=overwrite) as folder:
        if folder is not None:
            make_stores(folder, sample, workers, chunk_bytes)
    return [Path(out) / name for name in STORES]


@contextmanager
def filling(out: Path, names: tuple[str, ...], settings: dict, *, overwrite: bool) -> Iterator[Path | None]:
    """A folder inside `out` to make all `names` in, which move to `out` at the end of the block, when all is whole.

    What an interrupted block has made stays in a hidden folder, in which the next block of the same settings goes on;
    one of other settings drops it. The folder is None where `out` has all of it already, made from the same settings
    by the same version of galtrans, and nothing is to be done.

    Args:
        out: Folder to fill.
        names: Of what will be in it.
        settings: What it is made from, as JSON can hold it, with the "seed".
        overwrite: Whether to replace what an earlier simulation left.

    Raises:
        GaltransError: If `out` holds another simulation already, or anything else by these names, or is being
            filled by another process.
    """
    said = json.dumps(settings | {"version": VERSION}, sort_keys=True)
    part = out / f".simulate-{hashlib.sha256(said.encode()).hexdigest()[:16]}.part"
    with alone(out / "simulation"):
        if not overwrite and _finished(out, part, names, settings):
            yield None
            return
        old = _replaceable(out, names, overwrite)
        for other in out.glob(".simulate*.part"):
            if other != part:
                shutil.rmtree(other)
        (part / "truth").mkdir(parents=True, exist_ok=True)
        yield part
        marker = {"made_by": MADE_BY, "seed": settings["seed"], "settings": settings}
        marker["files"] = sorted({*names, *old})
        with whole_file(out / MARKER) as temporary:
            temporary.write_text(json.dumps(marker, indent=1))
        for name in old:
            shutil.rmtree(out / name) if (out / name).is_dir() else (out / name).unlink()
        _move(part, out, names)


def _finished(out: Path, part: Path, names: tuple[str, ...], settings: dict) -> bool:
    """Whether `out` has all names, from these settings; what a killed process had yet to move is moved."""
    if not (out / MARKER).exists():
        return False
    marker = json.loads((out / MARKER).read_text())
    if (marker.get("made_by"), marker.get("settings")) != (MADE_BY, json.loads(json.dumps(settings))):
        return False
    if all((out / name).exists() != (part / name).exists() for name in names):
        _move(part, out, names)
    return all((out / name).exists() for name in names)


def _move(part: Path, out: Path, names: tuple[str, ...]) -> None:
    """Give names their place, and drop what else is in the folder that they were made in."""
    for name in names:
        if (part / name).exists():
            os.replace(part / name, out / name)
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
