"""The test galaxies, which no training saw, as both surveys see them."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.table import Table

from survey_tools.errors import StoreError
from survey_tools.matching.pairs import read_pairs
from survey_tools.store.in_bands import share_bands
from survey_tools.store.partitioned import open_store
from survey_tools.store.zarr_store import Store
from survey_tools.tasks import Engine
from translator.data.conditions import alignment_into
from translator.data.reading import read_rows
from translator.evaluation.truth import open_truth, truth_rows
from translator.images import OTHER
from translator.metrics.blank import blank_sigma
from translator.metrics.redshift import aperture_fluxes
from translator.networks.observation_operator import is_richer
from translator.report.sample_files import SampleFiles
from translator.runs.facts import describe_domain

TAUGHT = 3000  # largest number of training galaxies for the redshift estimator
AT_ONCE = 256  # galaxies in memory
DRAWN = 32  # largest number of galaxies that are translated several times
ROW = {"x": "x_row", "y": "y_row"}
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class HeldOut:
    """Test galaxies of a pair table.

    Attributes
    ----------
    stores : dict
        Stores "x" and "y".
    truth : dict or None
        The same without noise; None for a real sky.
    pairs : Table
        The whole pair table.
    rows : dict
        Rows (galaxy,) of both stores.
    counts : dict
        Number of test pairs, of those that are used, and why others are not.
    """

    stores: dict[str, Store]
    truth: dict[str, Store] | None
    pairs: Table
    rows: dict[str, np.ndarray]
    counts: dict[str, int]

    def __len__(self) -> int:
        return len(self.rows["x"])

    def direction(self, domain: str) -> str:
        """Return the name of the direction whose translations land in `domain`, such as "sdss_to_cfht"."""
        return "_to_".join(self.stores[each].survey["name"] for each in (OTHER[domain], domain))

    def alignment(self, domain: str) -> np.ndarray:
        """Return the alignment (galaxy, 2, 3) from the grids of the inputs of translations into `domain` to those of
        their targets.
        """
        return alignment_into(self.stores, self.rows, domain)

    def richer(self) -> str | None:
        """Return the domain of the richer survey; None if nothing tells which it is."""
        grids = {domain: describe_domain(store).grid for domain, store in self.stores.items()}
        try:
            return "x" if is_richer(grids["x"], grids["y"]) else "y"
        except ValueError:
            return None

    def training_pairs(self, most: int) -> np.ndarray:
        """Return rows (pair, 2) of at most `most` training pairs with all pixels, evenly over the table."""
        train = self.pairs[np.asarray(self.pairs["split"]) == "train"]
        rows = np.column_stack([np.asarray(train[ROW[domain]], int) for domain in "xy"])
        fit = np.ones(len(rows), bool)
        for number, domain in enumerate("xy"):
            store = self.stores[domain]
            fit &= store.usable[rows[:, number]] & ~store.take("saturated", rows[:, number]).any(axis=1)
        rows = rows[fit]
        return rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), most)).round().astype(int))]


def open_held_out(
    x_path,
    y_path,
    pairs_path,
    truth_path,
    *,
    galaxies: int | None,
    seed: int,
    bands: tuple[str, ...] | None = None,
    work: Path | None = None,
    engine: Engine | None = None,
) -> HeldOut:
    """Open both stores, the pair table and the truth, and choose the test galaxies.

    Pairs with missing or saturated pixels are left out.

    Parameters
    ----------
    x_path, y_path : path-like
        The stores.
    pairs_path : path-like
        Their pair table.
    truth_path : path-like or None
        Folder with the same sky without noise, as in `truth.open_truth`. Its objects are found by their object_id.
    galaxies : int or None
        Largest number of galaxies.
    seed : int
        Seed of the choice among them.
    bands : tuple of str, optional
        Bands to take; by default all that both stores have.
    work : Path, optional
        Folder in which a truth of archive files is cut.
    engine : Engine, optional
        Where it is cut.

    Raises
    ------
    StoreError
        If a store or table cannot be read, a band is lacking, no test pair is left, or the truth lacks an object.
    """
    x, y, _ = share_bands(open_store(x_path), open_store(y_path), bands)
    stores = {"x": x, "y": y}
    pairs = read_pairs(pairs_path, *stores.values())
    test = pairs[np.asarray(pairs["split"]) == "test"]
    rows = {domain: np.asarray(test[ROW[domain]], int) for domain in stores}
    whole = np.logical_and(*(stores[d].usable[rows[d]] for d in stores))
    clean = ~np.logical_or(*(stores[d].take("saturated", rows[d]).any(axis=1) for d in stores))
    used = np.flatnonzero(whole & clean)
    if not len(used):
        raise StoreError(
            f"{pairs_path}: none of its {len(test)} test pairs has every pixel in both stores; "
            "make a table with `galtrans crossmatch … --test-size N`"
        )
    if galaxies is not None and galaxies < len(used):
        used = np.sort(np.random.default_rng(seed).choice(used, galaxies, replace=False))
    counts = {"test pairs": len(test), "with missing pixels": int((~whole).sum())}
    counts |= {"with saturated pixels": int((whole & ~clean).sum()), "used": len(used)}
    rows = {domain: rows[domain][used] for domain in rows}
    truth = open_truth(truth_path, stores, rows, work, engine)
    return HeldOut(stores, truth, pairs, rows, counts)


def truth_images(held_out: HeldOut, domain: str) -> np.ndarray:
    """Return the test galaxies of a domain without noise (galaxy, band, row, col) [nanomaggy/pixel]."""
    twin = held_out.truth[domain]
    return read_rows(twin, truth_rows(twin, held_out.stores[domain], held_out.rows[domain], domain))


def reference(held_out: HeldOut, domain: str, folder: Path) -> SampleFiles:
    """Return the sample of a direction without translations: targets, sources, truth, and truth with other noise."""
    there, here = held_out.stores[domain], held_out.stores[OTHER[domain]]
    target = read_rows(there, held_out.rows[domain])
    bands, scale = there.bands, there.pixel_scale
    sigma = blank_sigma(target, there.take("sky_sigma", held_out.rows[domain]), bands, scale)
    truth = again = None
    if held_out.truth is not None:
        truth = truth_images(held_out, domain)
        again = other_noise(target, truth, sigma, 2) if len(held_out) > 1 else None
    redshift = _redshift(held_out, held_out.rows)
    source, rows = read_rows(here, held_out.rows[OTHER[domain]]), held_out.rows[OTHER[domain]]
    files = SampleFiles(bands, scale, here.pixel_scale, {})
    return files.add(
        folder,
        target=target,
        source=source,
        source_sigma=blank_sigma(source, here.take("sky_sigma", rows), bands, here.pixel_scale),
        source_gain=here.take("gain", rows),
        sigma=sigma,
        truth=truth,
        again=again,
        redshift=redshift if np.isfinite(redshift).any() else None,
        **_taught(held_out, domain),
    )


def other_noise(
    target: np.ndarray, truth: np.ndarray, sigma: np.ndarray, turn: int, some: np.ndarray | None = None
) -> np.ndarray:
    """Return the truth with the noise of another real image, that of the neighbour in brightness.

    The noise is the target minus the truth of the other galaxy, so that it has the amplitude and correlation of the
    survey. A galaxy of the same brightness has about the same Poisson noise. The noise is scaled by the noise of blank
    sky of both images.

    Parameters
    ----------
    target : array
        Real images (galaxy, band, row, col) of at least two galaxies.
    truth : array
        The same without noise.
    sigma : array
        Noise of a blank pixel (galaxy, band).
    turn : int
        How many places away in brightness the other galaxy is; different turns give different noise.
    some : array of int, optional
        Indices of the galaxies that are wanted; by default all.
    """
    count = len(truth)
    order = np.argsort(truth.sum(axis=(1, 2, 3)))
    other = np.empty(count, int)
    other[order] = np.roll(order, (turn - 1) % (count - 1) + 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.nan_to_num(sigma / sigma[other], nan=1.0, posinf=1.0)
    some = np.arange(count) if some is None else some
    made = np.empty((len(some), *truth.shape[1:]), np.result_type(truth, target, np.float32))
    for place, galaxy in enumerate(some):  # one after the other, to save memory
        its = other[galaxy]
        made[place] = truth[galaxy] + (target[its] - truth[its]) * ratio[galaxy, :, None, None].astype(np.float32)
    return made


def drawn_galaxies(count: int) -> np.ndarray:
    """Return the galaxies that are translated several times: `DRAWN` of them, evenly over the rows."""
    return np.unique(np.linspace(0, count - 1, min(count, DRAWN)).round().astype(int))


def _redshift(held_out: HeldOut, rows: dict[str, np.ndarray]) -> np.ndarray:
    """Return redshifts (galaxy,) of rows of both stores, from either catalogue; NaN if neither has one."""
    known = [held_out.stores[domain].take("redshift", rows[domain]) for domain in "xy"]
    return np.where(np.isfinite(known[0]), known[0], known[1])


def _taught(held_out: HeldOut, domain: str) -> dict[str, np.ndarray]:
    """Return what real images of training pairs with a redshift teach the estimator: two fields of a `Sample`."""
    pairs, store = held_out.pairs, held_out.stores[domain]
    train = pairs[np.asarray(pairs["split"]) == "train"]
    rows = {each: np.asarray(train[ROW[each]], int) for each in "xy"}
    redshift = _redshift(held_out, rows)
    known = np.flatnonzero(np.isfinite(redshift) & store.usable[rows[domain]])
    known = known[np.unique(np.linspace(0, len(known) - 1, min(len(known), TAUGHT)).astype(int))]
    if not len(known):
        return {}
    parts = np.array_split(rows[domain][known], -(-len(known) // AT_ONCE))
    fluxes = [aperture_fluxes(read_rows(store, part), store.pixel_scale) for part in parts]
    return {"taught": np.concatenate(fluxes), "taught_redshift": redshift[known]}
