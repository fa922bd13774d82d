"""Simulate one sky that several surveys see, as their archives' own files or directly as stores.

`galaxies.py` draws galaxies and stars, `draw.py` puts them onto pixels, and `exposure.py` adds the noise of an image.
`observing_facts.py` and `filters.py` say what is known of each survey. `frames.py` and `archive_files.py` write the
files of the archives, and `stores.py` makes stores.
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
from survey_tools.surveys import CFHT, SDSS
from survey_tools.twin_sky.archive_files import FOLDERS, Patch, make_archive
from survey_tools.twin_sky.observing_facts import SIMULATED
from survey_tools.twin_sky.stores import CATALOGUE_FILES, SimulatedSky, make_stores
from survey_tools.version import VERSION

MARKER = "simulation.json"  # lists what in its folder is simulated, and may thus be replaced
MADE_BY = f"galtrans {VERSION} simulate"
DEFAULT = {survey.name: "".join(survey.bands) for survey in (SDSS, CFHT)}  # surveys and bands where none are named


def stores_of(surveys) -> tuple[str, ...]:
    """Return the names of what a folder of stores of these surveys contains."""
    return (*(f"{name}.zarr" for name in surveys), "truth", *(CATALOGUE_FILES[name] for name in surveys))


def archive_of(surveys) -> tuple[str, ...]:
    """Return the names of what a folder of archive files of these surveys contains."""
    return (*(FOLDERS.get(name, name) for name in surveys), "truth", *(CATALOGUE_FILES[name] for name in surveys))


def benchmark_of(surveys) -> tuple[str, ...]:
    """Return the names of what a folder of a benchmark sky of these surveys contains."""
    return ("pairs.ecsv", "benchmark.json", *stores_of(surveys))


EVERY_NAME = {*archive_of(SIMULATED), *benchmark_of(SIMULATED)}  # what may be replaced


def simulate_archive(
    out,
    *,
    galaxies: int = 280,
    bands: dict[str, str] | None = None,
    tile_size: int = 3000,
    seed: int = 0,
    workers: int = 1,
    overwrite: bool = False,
) -> list[Path]:
    """Write one patch of sky as the files of the archives, so that `fetch` runs on them as on the real ones.

    There are two adjacent SDSS fields (`sas/…`, the tree of the Science Archive Server: frames, fpM and psField) and
    inside them two overlapping CFHTLS tiles (`cfht/*.fits`), or two tiles of another survey in its own form
    (`NAME/…`); the same noise-free below `truth`; and a catalogue for each survey. Half of the galaxies are in all
    catalogues, and the others are in one, as many in each.

    Parameters
    ----------
    out : str or Path
        Folder for all files.
    galaxies : int
        Number of galaxies of r from 14 to 18.5 in the catalogues. Many more, fainter galaxies, and stars, are in the
        images.
    bands : dict, optional
        Bands of each survey, as one word; its keys are the surveys. By default all of SDSS and CFHTLS.
    tile_size : int
        Pixels per side of a CFHT tile; 3000 fits the two fields, real tiles have 19354. Tiles of other surveys have the
        same extent on the sky.
    seed : int
        Seed of everything random. Each file has random numbers of its own, so that `workers` does not change it.
    workers : int
        Number of processes.
    overwrite : bool
        Whether to replace what an earlier simulation left in `out`.

    Returns
    -------
    list of Path
        The paths written.

    Raises
    ------
    GaltransError
        `out` holds a simulation already, or something else with the names of its files.
    """
    patch = Patch(galaxies, bands or DEFAULT, tile_size, seed)
    names = archive_of(patch.bands)
    with filling(Path(out), names, {"kind": "archive"} | asdict(patch), overwrite=overwrite) as folder:
        if folder is not None:
            make_archive(folder, patch, workers)
    return [Path(out) / name for name in names]


def simulate_stores(
    out,
    galaxies: int,
    *,
    bands: dict[str, str] | None = None,
    seed: int = 0,
    workers: int = 1,
    overwrite: bool = False,
    overlap: float = 0.5,
    chunk_bytes: int = CHUNK_BYTES,
) -> list[Path]:
    """Render objects directly into stores, noisy and noise-free.

    Parameters
    ----------
    out : str or Path
        Folder for `sdss.zarr`, `cfht.zarr`, `truth/sdss.zarr`, `truth/cfht.zarr` and both catalogues.
    galaxies : int
        Number of objects in the store of each survey, of r from 14 to 20.
    bands : str
        Bands to render.
    seed : int
        Seed of everything random. Each object has random numbers of its own, so that `workers` does not change it.
    workers : int
        Number of processes.
    overwrite : bool
        Whether to replace what an earlier simulation left in `out`.
    overlap : float
        Fraction of the objects of each survey that the other survey sees too.
    chunk_bytes : int
        Bytes that the images of a chunk of a store may take.

    Returns
    -------
    list of Path
        The paths written.

    Raises
    ------
    GaltransError
        `out` holds a simulation already, or something else with the names of its files.
    """
    sample = SimulatedSky(galaxies, bands or DEFAULT, overlap, seed)
    names = stores_of(sample.bands)
    with filling(Path(out), names, {"kind": "stores"} | asdict(sample), overwrite=overwrite) as folder:
        if folder is not None:
            make_stores(folder, sample, workers, chunk_bytes)
    return [Path(out) / name for name in names]


@contextmanager
def filling(out: Path, names: tuple[str, ...], settings: dict, *, overwrite: bool) -> Iterator[Path | None]:
    """Yield a folder inside `out` in which to make all `names`. They move to `out` when the block ends without an
    error.

    The work of an interrupted block stays in a hidden folder, and the next block with the same settings resumes it; a
    block with other settings drops it.

    Parameters
    ----------
    out : Path
        Folder to fill.
    names : tuple of str
        Names of what it will contain.
    settings : dict
        What it is made from, in types that JSON can hold, with the "seed".
    overwrite : bool
        Whether to replace what an earlier simulation left.

    Yields
    ------
    Path or None
        The folder; None if `out` has everything already, made from the same settings by the same version of galtrans.

    Raises
    ------
    GaltransError
        `out` holds another simulation already, or something else with these names, or another process is filling it.
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
    """Return whether `out` has all names, made from these settings. Move what a killed process had not moved yet."""
    if not (out / MARKER).exists():
        return False
    marker = json.loads((out / MARKER).read_text())
    if (marker.get("made_by"), marker.get("settings")) != (MADE_BY, json.loads(json.dumps(settings))):
        return False
    if all((out / name).exists() != (part / name).exists() for name in names):
        _move(part, out, names)
    return all((out / name).exists() for name in names)


def _move(part: Path, out: Path, names: tuple[str, ...]) -> None:
    """Move names to their place, and drop the rest of the folder in which they were made."""
    for name in names:
        if (part / name).exists():
            os.replace(part / name, out / name)
    shutil.rmtree(part, ignore_errors=True)


def _replaceable(out: Path, names: tuple[str, ...], overwrite: bool) -> list[str]:
    """Return the names in `out` that an earlier simulation left. Raise GaltransError if something must stay."""
    marked = json.loads((out / MARKER).read_text())["files"] if (out / MARKER).exists() else []
    there = [name for name in dict.fromkeys((*names, *marked)) if (out / name).exists()]
    if there and not overwrite:
        raise GaltransError(f"{out / there[0]} exists already; choose another folder or pass --overwrite")
    strange = [name for name in there if name not in marked or name not in EVERY_NAME]
    if strange:
        raise GaltransError(f"{out / strange[0]} was not made by `galtrans simulate` and stays; choose another folder")
    return there
