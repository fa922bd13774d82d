"""Which objects train, as unpaired images or as pairs, and why the others do not."""

from dataclasses import dataclass, field, replace

import numpy as np
from astropy.table import Table
from scipy.spatial import cKDTree

from survey_tools.errors import StoreError
from survey_tools.sphere import chord, unit_vectors
from survey_tools.store.partitioned import parts_of
from survey_tools.store.zarr_store import Store


@dataclass(frozen=True)
class Selection:
    """Rows that train.

    Attributes
    ----------
    x, y : array of int
        Rows of each store that serve as unpaired images (object,).
    pairs : array of int
        Rows of both stores that show the same objects (pair, 2): x, y; none for a model that reads no pairs.
    counts : dict
        For "x", "y" and, if they are read, "pairs": how many there are, how many train, and how many were left out for
        each reason. An object is counted under the first reason that holds.
    validation : array of int
        Rows of both stores of the pairs that a training is watched by (pair, 2), in the form of `pairs`.
    """

    x: np.ndarray
    y: np.ndarray
    pairs: np.ndarray
    counts: dict[str, dict[str, int]]
    validation: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), int))


def select(x_store: Store, y_store: Store, pairs: Table | None, *, reads_pairs: bool = True) -> Selection:
    """Return the rows of two stores that may train under a pair table.

    No object of the pair table is among the unpaired; nor is an object whose cutout may overlap that of a test or
    validation object on the sky. Objects with missing or saturated pixels do not train at all.

    Parameters
    ----------
    x_store, y_store : Store
        Images of domains x and y, with the same bands.
    pairs : Table or None
        Table with columns x_row, y_row and split ("train", "validation" or "test"); None if there is no table.
    reads_pairs : bool
        Whether the model trains on pairs; otherwise a table only says which objects the unpaired leave out.

    Raises
    ------
    StoreError
        If the bands differ, or if no unpaired image or no pair is left.
    """
    if x_store.bands != y_store.bands:
        raise StoreError(
            f"{x_store.path} has bands {''.join(x_store.bands)} and {y_store.path} has {''.join(y_store.bands)}; "
            "fetch both with the same --bands"
        )
    rows, test, validation = _table(pairs)
    kept = test | validation
    tested = _cutouts(x_store, rows[kept, 0]) + _cutouts(y_store, rows[kept, 1])
    x, x_counts = _unpaired(x_store, rows[:, 0], tested)
    y, y_counts = _unpaired(y_store, rows[:, 1], tested)
    spoilt = [_spoilt(store) for store in (x_store, y_store)]
    reasons = {"kept for tests": test} | ({"kept for validation": validation} if validation.any() else {})
    for reason in spoilt[0]:
        reasons[reason] = spoilt[0][reason][rows[:, 0]] | spoilt[1][reason][rows[:, 1]]
    watched = validation & ~np.any([reasons[reason] for reason in spoilt[0]], axis=0)
    selection = Selection(x, y, rows[:0], {"x": x_counts, "y": y_counts}, rows[watched])
    needed = [("x", x, x_store.path), ("y", y, y_store.path)]
    if reads_pairs:
        trained, counts = _left_over(len(rows), reasons)
        selection = replace(selection, pairs=rows[trained], counts=selection.counts | {"pairs": counts})
        needed.append(("pairs", trained, "the pair table"))
    for name, chosen, path in needed:
        if not len(chosen):
            raise StoreError(f"{path}: no {WORDS[name]} left to train with: {describe(selection.counts[name])}")
    return selection


WORDS = {"x": "unpaired objects of x are", "y": "unpaired objects of y are", "pairs": "pairs are"}


def describe(counts: dict[str, int]) -> str:
    """Return one line on counts, such as "40 of 100 (50 in the pair table, 10 with missing pixels)"."""
    left_out = ", ".join(f"{n} {reason}" for reason, n in counts.items() if n and reason not in ("all", "used"))
    return f"{counts['used']} of {counts['all']}" + (f" ({left_out})" if left_out else "")


def _table(pairs: Table | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the rows of both stores (pair, 2) in a pair table, and which pairs are kept for tests and validation."""
    if pairs is None:
        return np.zeros((0, 2), int), np.zeros(0, bool), np.zeros(0, bool)
    rows = np.column_stack([np.asarray(pairs["x_row"], int), np.asarray(pairs["y_row"], int)])
    split = np.asarray(pairs["split"])
    return rows, split == "test", split == "validation"


def _unpaired(store: Store, paired: np.ndarray, tested: list) -> tuple[np.ndarray, dict[str, int]]:
    """Return the rows that serve as unpaired images, and how many were left out for each reason."""
    in_table = np.zeros(len(store), bool)
    in_table[paired] = True
    overlaps = _overlaps(store, tested)
    return _left_over(
        len(store), {"in the pair table": in_table} | _spoilt(store) | {"overlap a test object": overlaps}
    )


def _spoilt(store: Store) -> dict[str, np.ndarray]:
    """Return, for each reason, which objects cannot train because of their pixels (object,)."""
    saturated = np.concatenate([part.column("saturated").any(axis=1) for _, part in parts_of(store)])
    return {"with missing pixels": ~store.usable, "with saturated pixels": saturated}


def _left_over(count: int, reasons: dict[str, np.ndarray]) -> tuple[np.ndarray, dict[str, int]]:
    """Return the rows to which no reason applies, and how many rows each reason took first."""
    left, counts = np.ones(count, bool), {}
    for reason, applies in reasons.items():
        counts[reason] = int((left & applies).sum())
        left &= ~applies
    return np.flatnonzero(left), {"all": count, "used": int(left.sum())} | counts


def _cutouts(store: Store, rows: np.ndarray) -> list[tuple[np.ndarray, float]]:
    """Return unit vectors of the rows' positions (row, 3) and half a diagonal of their cutouts [arcsec]."""
    return [(unit_vectors(store.take("ra", rows), store.take("dec", rows)), _half_diagonal(store))]


def _overlaps(store: Store, tested: list) -> np.ndarray:
    """Return whether each object's cutout may overlap one of the tested ones, however either is turned (object,)."""
    near = np.zeros(len(store), bool)
    trees = []
    for there, half in tested:
        there = there[np.isfinite(there).all(axis=1)]
        if len(there):
            trees.append((cKDTree(there), chord(np.radians((half + _half_diagonal(store)) / 3600))))
    for first, part in parts_of(store) if trees else ():
        here = unit_vectors(part.column("ra"), part.column("dec"))
        known = np.flatnonzero(np.isfinite(here).all(axis=1))
        for tree, reach in trees:
            near[first + known] |= tree.query(here[known], distance_upper_bound=reach)[0] < reach
    return near


def _half_diagonal(store: Store) -> float:
    """Return half the diagonal of the store's cutouts [arcsec]."""
    return store.size * store.pixel_scale / np.sqrt(2)
