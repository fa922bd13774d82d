"""The pair table: which rows of two stores are the same galaxy, and which of these pairs are held out for tests."""

import logging
import shlex
import warnings
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import Table

from survey_tools.catalogue import split_by_sky
from survey_tools.errors import CatalogueError, StoreError, first_line
from survey_tools.matching.hats import Catalogues, each_match
from survey_tools.matching.pair_folders import PairFolder, is_pair_folder
from survey_tools.matching.positions import closest, false_match_rate, match, peaks_on_sky, separation_of
from survey_tools.progress import Progress
from survey_tools.store.zarr_store import Store, open_store
from survey_tools.tables import UNREADABLE
from survey_tools.version import VERSION

log = logging.getLogger(__name__)

COLUMNS = ("x_row", "y_row", "separation", "peak_offset", "split")
SPLITS = ("train", "validation", "test")


def make_pairs(
    x_path,
    y_path,
    *,
    radius: float = 1.0,
    max_peak_offset: float = 1.0,
    test_size: int = 0,
    validation_size: int = 0,
    seed: int = 0,
    band="r",
    catalogues: Catalogues | None = None,
    workers: int | None = None,
) -> Table:
    """Cross-match two stores: find one-to-one nearest pairs whose images peak at the same place.

    Only objects with a position and an image in `band` take part. The test set consists of whole groups of galaxies
    whose cutouts could overlap, drawn at random with `seed`; so does the validation set, drawn from the others.

    Parameters
    ----------
    x_path, y_path : str or Path
        The stores.
    radius : float
        Largest separation of a pair by the catalogues [arcsec].
    max_peak_offset : float
        Largest separation of the peaks of its images [arcsec].
    test_size : int
        Number of pairs that are held out for tests.
    validation_size : int
        Number of pairs that are held out to watch a training. The test set does not depend on it.
    seed : int
        Seed of the draw of both sets.
    band : str
        Band whose peaks are compared.
    catalogues : Catalogues, optional
        Two HATS catalogues whose objects are matched by their positions. The pairs are those whose objects are both in
        the stores, by the same object_id. Therefore an object whose true counterpart has no image gets no other
        counterpart.
    workers : int, optional
        Number of threads that match stores, by default as many as there are cores.

    Returns
    -------
    Table
        In the order of x: x_row, y_row, separation [arcsec], peak_offset [arcsec], split (one of `SPLITS`). Its meta
        states the stores and their `rows` checksums, these arguments, the number of pairs dropped for their peaks, and
        false_match_rate: the fraction of the pairs within the radius that chance alone gives.

    Raises
    ------
    StoreError
        A store cannot be opened, lacks the band, or has no position for any of its objects.
    CatalogueError
        No pair is left, or no whole groups hold `test_size` or `validation_size` pairs; or as for `each_match`.
    GaltransError
        Catalogues are given, and LSDB is not installed.
    """
    stores = open_store(x_path), open_store(y_path)
    rows = [_matchable(store, band) for store in stores]
    for store, present in zip(stores, rows, strict=True):
        log.info("%s: %d of %d objects have an image in %s", store.path, len(present), len(store), band)
    x, y = (_positions(store)[chosen] for store, chosen in zip(stores, rows, strict=True))
    if catalogues is None:
        x_match, y_match, separation = _near(stores, x, y, radius, workers)
    else:
        x_match, y_match, separation = _in_stores(catalogues, radius, stores, rows)
    matched = Table({"x_row": rows[0][x_match], "y_row": rows[1][y_match], "separation": separation * u.arcsec})
    peaks = [_peaks(store, matched[name], band) for store, name in zip(stores, ("x_row", "y_row"), strict=True)]
    matched["peak_offset"] = separation_of(*peaks) * u.arcsec
    table = matched[np.nan_to_num(matched["peak_offset"], nan=np.inf) <= max_peak_offset]
    if len(table) == 0:
        raise CatalogueError(_no_peak(matched["peak_offset"], max_peak_offset))
    link = np.sqrt(2) * max(store.size * store.pixel_scale for store in stores) + 2 * radius
    table["split"] = _split(x[np.searchsorted(rows[0], table["x_row"])], link, test_size, validation_size, seed)
    table.meta = {"x": str(x_path), "y": str(y_path), "x_rows": stores[0].rows, "y_rows": stores[1].rows}
    table.meta |= {"radius": radius, "max_peak_offset": max_peak_offset, "seed": seed, "band": band}
    table.meta["dropped_for_peak_offset"] = len(matched) - len(table)
    table.meta |= {"false_match_rate": false_match_rate(x, y, radius, len(matched)), "galtrans_version": VERSION}
    if catalogues:
        table.meta |= {"x_catalogue": str(catalogues.x), "y_catalogue": str(catalogues.y)}
    return table


def _split(position: SkyCoord, link: float, test_size: int, validation_size: int, seed: int) -> np.ndarray:
    """Return what each pair is for (pair,): one of `SPLITS`; arguments as of `split_by_sky` and `make_pairs`."""
    random = np.random.default_rng(seed)
    split = np.full(len(position), "train", dtype="U10")
    test = split_by_sky(position, test_size, link, random)
    split[test] = "test"
    if validation_size:
        others = np.flatnonzero(~test)
        chosen = split_by_sky(position[others], validation_size, link, random, "validation")
        split[others[chosen]] = "validation"
    return split


def read_pairs(path, x_store: Store, y_store: Store) -> Table:
    """Read a pair table, and check it.

    Parameters
    ----------
    path : str or Path
        The file that `make_pairs` gave.
    x_store, y_store : Store
        The stores that its rows belong to.

    Returns
    -------
    Table
        As `make_pairs` returns it.

    Raises
    ------
    StoreError
        The file is not a pair table, was made for stores with other rows, or was altered so that a row lies outside its
        store or occurs twice, or a split is none of `SPLITS`.
    """
    path = Path(path)
    if is_pair_folder(path):
        return _read_folder(path, x_store, y_store)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # damage is looked for below
            table = Table.read(path, format="ascii.ecsv")
    except UNREADABLE as error:
        reason = "it does not exist" if not path.exists() else first_line(error)
        raise StoreError(
            f"{path} cannot be read as a pair table: {reason}; make one with {_remedy(x_store, y_store, path)}"
        ) from error
    missing = [name for name in COLUMNS if name not in table.colnames]
    missing += [name for name in ("x_rows", "y_rows") if name not in table.meta]
    if missing:
        raise StoreError(
            f"{path} is no pair table: it lacks {', '.join(missing)}; make one with {_remedy(x_store, y_store, path)}"
        )
    if table.has_masked_values:
        raise StoreError(f"{path} has empty fields; make the table again with {_remedy(x_store, y_store, path)}")
    for domain, store in (("x", x_store), ("y", y_store)):
        if table.meta[f"{domain}_rows"] != store.rows:
            made_for = table.meta.get(domain, "another store")
            raise StoreError(
                f"{path} was made for {made_for}, whose rows are not those of {store.path}; "
                f"give that store, or run {_remedy(x_store, y_store, path)}"
            )
        _check_rows(path, np.asarray(table[f"{domain}_row"]), store)
    odd = ~np.isin(np.asarray(table["split"]).astype(str), SPLITS)
    if odd.any():
        row = int(np.argmax(odd))
        raise StoreError(
            f"{path}: row {row + 1}: split is '{table['split'][row]}'; it must be "
            f"{', '.join(SPLITS[:-1])} or {SPLITS[-1]}"
        )
    return table


def _read_folder(path: Path, x_store: Store, y_store: Store) -> Table:
    """Return the rows and splits of the pairs of two partitioned stores, after a look at which stores they are of."""
    folder = PairFolder(path)
    for domain, store in (("x", x_store), ("y", y_store)):
        if folder.meta.get(f"{domain}_rows") != store.rows:
            raise StoreError(
                f"{path} was made for {folder.meta.get(domain, 'another store')}, whose rows are not those of "
                f"{store.path}; give that store, or run {_remedy(x_store, y_store, path)}"
            )
    return folder.rows()


def _remedy(x_store: Store, y_store: Store, path: Path) -> str:
    """Return the command that makes the pair table of two stores."""
    words = ["galtrans", "crossmatch", x_store.path, y_store.path, "--out", path]
    return f"`{shlex.join(map(str, words))}{' --overwrite' if path.exists() else ''}`"


def _check_rows(path: Path, rows: np.ndarray, store: Store) -> None:
    """Raise StoreError unless `rows` (pair,) are different rows of the store."""
    if rows.dtype.kind not in "iu":
        raise StoreError(f"{path}: rows of {store.path} are {rows.dtype}, not integers; make the table again")
    outside = (rows < 0) | (rows >= len(store))
    if outside.any():
        row = int(np.argmax(outside))
        raise StoreError(f"{path}: row {row + 1} names row {rows[row]} of {store.path}, which has {len(store)} rows")
    values, counts = np.unique(rows, return_counts=True)
    if (counts > 1).any():
        raise StoreError(f"{path}: row {values[counts > 1][0]} of {store.path} is in more than one pair")


def band_place(store: Store, band: str) -> int:
    """Return the place of `band` in a store; StoreError if it has no such band."""
    if band not in store.bands:
        raise StoreError(
            f"{store.path} has no {band} band (it has {''.join(store.bands)}), and the cross-match compares "
            f"the peaks of both stores' {band} images; fetch it with {band} among --bands"
        )
    return store.bands.index(band)


def _matchable(store: Store, band: str) -> np.ndarray:
    """Return the rows with a position and an image in `band`. Raise StoreError if no object has a position."""
    known = np.isfinite(store.column("ra")) & np.isfinite(store.column("dec"))
    if len(known) and not known.any():
        raise StoreError(
            f"{store.path} has no position for any of its {len(store)} objects, so they cannot be matched on the sky; "
            "make it again by `galtrans ingest` with --positions TABLE"
        )
    return np.flatnonzero(known & (store.column("coverage")[:, band_place(store, band)] > 0))


def _near(stores: tuple[Store, Store], x: SkyCoord, y: SkyCoord, radius: float, workers: int | None) -> tuple:
    """Match positions of two stores (`match`). Raise CatalogueError if there is no pair."""
    found = match(x, y, radius, workers=workers)
    if len(found[0]) == 0:
        raise CatalogueError(_no_match(stores, closest(x, y), radius))
    return found


def _in_stores(
    catalogues: Catalogues, radius: float, stores: tuple[Store, Store], rows: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the pairs of catalogues whose objects are in `rows` of stores: places in both, and separations [arcsec].

    They are in the order of the first store. Raise CatalogueError if there is none.
    """
    ids = [store.column("object_id")[chosen] for store, chosen in zip(stores, rows, strict=True)]
    known = [(np.sort(names), np.argsort(names)) for names in ids]
    found, count = [], 0

    def take(pairs) -> None:
        nonlocal count
        count += len(pairs)
        places = []
        for name, (names, order) in zip("xy", known, strict=True):
            asked = np.array([str(value) for value in pairs[f"{name}_object_id"].to_pylist()], dtype=str)
            place = np.minimum(np.searchsorted(names, asked), len(names) - 1)
            places.append(np.where(names[place] == asked, order[place], -1) if len(names) else np.full(len(asked), -1))
        separation = pairs["separation"].to_numpy()
        found.append(np.stack([*places, separation])[:, (places[0] >= 0) & (places[1] >= 0)])

    each_match(catalogues, radius, take)
    x_match, y_match, separation = np.concatenate(found, axis=1)
    if len(separation) == 0:
        raise CatalogueError(
            f"of {count} pairs of {catalogues.x} and {catalogues.y} none has both objects, with images, in "
            f"{stores[0].path} and {stores[1].path}; are {catalogues.x_id} and {catalogues.y_id} their object_id?"
        )
    order = np.argsort(x_match)
    return x_match[order].astype(int), y_match[order].astype(int), separation[order]


def _positions(store: Store) -> SkyCoord:
    """Return the positions of the objects of a store."""
    return SkyCoord(store.column("ra"), store.column("dec"), unit="deg")


def _peaks(store: Store, rows: np.ndarray, band: str) -> np.ndarray:
    """Return sky positions (object, 2) [deg] of the peaks of some rows' images; NaN if there is none. Read whole
    chunks.
    """
    terms = [store.column(name) for name in ("crval", "crpix", "cd")]
    peaks = np.full((len(rows), 2), np.nan)
    index = band_place(store, band)
    with Progress(len(rows), f"peaks {store.path.name}", "galaxy") as progress:
        for chunk in store.chunks():
            wanted = np.flatnonzero((rows >= chunk.start) & (rows < chunk.stop))
            if len(wanted) == 0:
                continue
            images, its = store.images[chunk, index], rows[wanted]
            peaks[wanted] = peaks_on_sky(images[its - chunk.start], *(term[its] for term in terms))
            progress.update(len(wanted))
    return peaks


def _no_match(stores: tuple[Store, Store], nearest: float, radius: float) -> str:
    """Say why there is no pair within the radius, and what to do."""
    names = f"{stores[0].path} and {stores[1].path}"
    if not np.isfinite(nearest):
        return f"{names}: one of them has no object with an image; its manifest says why"
    return (
        f"no object of {names} lies within {radius:g} arcsec of one of the other: the closest two are "
        f"{nearest:.4g} arcsec apart; raise --radius, or check that both catalogues cover the same sky in ICRS degrees"
    )


def _no_peak(offsets: np.ndarray, largest: float) -> str:
    """Say why no pair is left after the peaks were compared, and what to do."""
    smallest = np.min(offsets[np.isfinite(offsets)], initial=np.inf)
    return (
        f"none of the {len(offsets)} pairs within the radius has peaks that agree to {largest:g} arcsec: the smallest "
        f"offset is {smallest:.4g} arcsec; raise --max-peak-offset, or check the WCS of both surveys' files"
    )
