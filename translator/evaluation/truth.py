"""The same sky without noise: stores, or the archive files that `galtrans simulate` writes, cut into stores."""

from pathlib import Path

import numpy as np

from survey_tools.archives.known import ARCHIVES
from survey_tools.archives.plan import Access, Archive
from survey_tools.build.fetch import fetch
from survey_tools.catalogue import read_catalogue
from survey_tools.errors import ArchiveError, StoreError
from survey_tools.store.in_bands import take_bands
from survey_tools.store.zarr_store import Store, open_store
from survey_tools.tasks import Engine
from translator.data.conditions import align

PLACES = {"sdss": "sas"}  # folder of a survey's files in simulated archives, where it is not called as the survey
MIRRORS = {"sdss": ""}  # the folder that `fetch` takes as a mirror, likewise
SAME_PLACE = 0.01  # largest difference of the grids of truth and store [pixel]


def open_truth(
    path, stores: dict[str, Store], rows: dict[str, np.ndarray], work: Path | None, engine: Engine | None = None
) -> dict[str, Store] | None:
    """Return the noise-free twins of both stores by domain; None if there is no truth.

    Parameters
    ----------
    path : path-like or None
        Folder with a store for each survey, such as "des.zarr"; or with noise-free archive files, such as "des" (those
        of SDSS are in "sas"), as in the folder "truth" of `galtrans simulate`.
    stores : dict
        Stores by domain.
    rows : dict
        Rows of both stores that are needed; only these are cut from archive files.
    work : Path or None
        Folder for stores that are made from archive files.
    engine : Engine, optional
        Where they are cut.

    Raises
    ------
    StoreError
        If a survey has neither a store nor an archive, or its truth has other bands or pixels, or another place on the
        sky.
    """
    if path is None:
        return None
    path, truth = Path(path), {}
    for domain, store in stores.items():
        name = store.survey["name"]
        there = path / f"{name}.zarr"
        if not there.exists() and work is not None and name in ARCHIVES and (path / PLACES.get(name, name)).is_dir():
            truth[domain] = _cut(path, store, rows[domain], work / "truth", engine)
        elif there.exists():
            truth[domain] = take_bands(open_store(there), store.bands)
        else:
            raise StoreError(
                f"{path} has neither {there.name} nor noise-free archive files of {name}; give the folder `truth` that "
                "`galtrans simulate` writes beside its sky"
            )
        _check(truth[domain], store)
    return truth


def truth_rows(truth: Store, store: Store, rows: np.ndarray, domain: str) -> np.ndarray:
    """Return the rows (galaxy,) of the noise-free store that show the same objects on the same pixels.

    Raises
    ------
    StoreError
        If an object is missing, has missing pixels, or was cut at another place.
    """
    names = store.take("object_id", rows)
    place = {name: row for row, name in enumerate(truth.column("object_id"))}
    missing = [name for name in names if name not in place]
    if missing:
        raise StoreError(f"{truth.path} has no object {missing[0]}; give the truth of the same sky as {domain}'s store")
    found = np.array([place[name] for name in names], int)
    moved = _moved(*(_terms(each, which) for each, which in ((truth, found), (store, rows))), store.size)
    if (moved > SAME_PLACE).any():
        worst = int(np.argmax(moved))
        raise StoreError(
            f"{truth.path} shows object {names[worst]} {moved[worst]:.2f} pixels away from where {store.path} has it; "
            "give the truth of the same sky on the same grid"
        )
    return found


def _terms(store: Store, rows: np.ndarray) -> list[np.ndarray]:
    """Return the terms of the WCS of some rows, each (row, …)."""
    return [store.take(name, rows) for name in ("crval", "crpix", "cd")]


def _moved(here: list[np.ndarray], there: list[np.ndarray], size: int) -> np.ndarray:
    """Return the largest difference (grid,) [pixel] at a corner of two grids of one size; 0 if a WCS is unknown."""
    found = align(here, size, there, size, 1.0)
    corner = (np.abs(found[..., :2] - np.eye(2)) * (size / 2)).sum(axis=-1)
    return (np.abs(found[..., 2]) + corner).max(axis=-1)


def _cut(path: Path, store: Store, rows: np.ndarray, work: Path, engine: Engine | None) -> Store:
    """Return a store cut from the noise-free archive files, for some rows of the store with noise."""
    name = store.survey["name"]
    work.mkdir(parents=True, exist_ok=True)
    listed = work / f"{name}.ecsv"
    store.input_catalogue()[np.sort(rows)].write(listed, overwrite=True)
    out = work / f"{name}.zarr"
    try:
        made = fetch(_archive(path, name, work), read_catalogue(listed), out, bands=store.bands, engine=engine)
    except ArchiveError as error:
        raise StoreError(f"{path}: the truth of {store.path} cannot be cut from it: {error}") from error
    lacking = np.flatnonzero(~made.usable)
    if len(lacking):
        manifest = made.manifest()
        row = int(lacking[0])
        reason = manifest["reason"][row] or "pixels are missing"
        raise StoreError(
            f"{path} does not show all of object {manifest['object_id'][row]}: {reason}; give the truth of the sky "
            f"that {store.path} was cut from"
        )
    return made


def _archive(path: Path, name: str, work: Path) -> Archive:
    """Return the noise-free files of a survey as an archive."""
    access = Access(work=work / f".{name}.files", mirror=str(path / MIRRORS.get(name, name)))
    return ARCHIVES[name].open(access, ARCHIVES[name].images_only)


def _check(twin: Store, store: Store) -> None:
    """Raise StoreError if the noise-free twin of a store has other bands or pixels."""
    if (twin.bands, twin.size) != (store.bands, store.size):
        raise StoreError(
            f"{twin.path} has {twin.size} pixels in {''.join(twin.bands)} and {store.path} has {store.size} in "
            f"{''.join(store.bands)}; give the truth of the same sky on the same grid"
        )
