"""The galaxies that no training saw, as both surveys see them: what translations are held against."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.table import Table

from survey_tools.errors import StoreError
from survey_tools.pairs import read_pairs
from survey_tools.regrid import regrid
from survey_tools.store import Store, open_store
from survey_tools.tan import north_up_wcs
from translator.images import OTHER
from translator.metrics.blank import blank, middle_and_sigma
from translator.metrics.redshift import aperture_fluxes
from translator.metrics.sample import Sample
from translator.reading import read_rows
from translator.sample_files import SampleFiles

TAUGHT = 3000  # training galaxies at most that teach redshifts
AT_ONCE = 256  # galaxies in memory
DRAWN = 32  # galaxies at most that are translated several times
ROW = {"x": "x_row", "y": "y_row"}
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class HeldOut:
    """Test galaxies of a pair table.

    Attributes:
        stores: "x" and "y".
        truth: The same without noise; None where the sky is real.
        pairs: The whole pair table.
        rows: Rows (galaxy,) of both stores.
        counts: How many test pairs there are, how many are used, and why others are not.
    """

    stores: dict[str, Store]
    truth: dict[str, Store] | None
    pairs: Table
    rows: dict[str, np.ndarray]
    counts: dict[str, int]

    def __len__(self) -> int:
        return len(self.rows["x"])

    def direction(self, domain: str) -> str:
        """Its name where translations land in `domain`: "sdss_to_cfht"."""
        return "_to_".join(self.stores[each].survey["name"] for each in (OTHER[domain], domain))


def open_held_out(x_path, y_path, pairs_path, truth_path, *, galaxies: int | None, seed: int) -> HeldOut:
    """The test galaxies that have every pixel, unsaturated, in both stores; a random `galaxies` of them where given.

    `truth_path` is a folder with sdss.zarr and cfht.zarr as `galtrans simulate` writes it, or None; its objects are
    found by their object_id.

    Raises:
        StoreError: A store or table cannot be read, the bands differ, nothing is left to test on, or the truth lacks an
            object.
    """
    stores = {"x": open_store(x_path), "y": open_store(y_path)}
    if stores["x"].bands != stores["y"].bands:
        bands = " and ".join("".join(store.bands) for store in stores.values())
        raise StoreError(f"{x_path} and {y_path} have bands {bands}; fetch both with the same --bands")
    pairs = read_pairs(pairs_path, *stores.values())
    test = pairs[np.asarray(pairs["split"]) == "test"]
    rows = {domain: np.asarray(test[ROW[domain]], int) for domain in stores}
    whole = np.logical_and(*(stores[d].usable[rows[d]] for d in stores))
    clean = ~np.logical_or(*(stores[d].column("saturated").any(axis=1)[rows[d]] for d in stores))
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
    return HeldOut(stores, _open_truth(truth_path, stores), pairs, rows, counts)


def reference(held_out: HeldOut, domain: str, folder: Path) -> SampleFiles:
    """All of a direction's sample but the translations: targets, sources, truth, and other noise on the truth."""
    there, here = held_out.stores[domain], held_out.stores[OTHER[domain]]
    target = read_rows(there, held_out.rows[domain])
    bands, scale = there.bands, there.pixel_scale
    sigma = blank_sigma(target, there.column("sky_sigma")[held_out.rows[domain]], bands, scale)
    truth = again = None
    if held_out.truth is not None:
        truth = read_rows(held_out.truth[domain], truth_rows(held_out, domain))
        again = other_noise(target, truth, sigma, 2) if len(held_out) > 1 else None
    redshift = _redshift(held_out, held_out.rows)
    files = SampleFiles(bands, scale, here.pixel_scale, {})
    return files.add(
        folder,
        target=target,
        source=read_rows(here, held_out.rows[OTHER[domain]]),
        sigma=sigma,
        truth=truth,
        again=again,
        redshift=redshift if np.isfinite(redshift).any() else None,
        **_taught(held_out, domain),
    )


def blank_sigma(images: np.ndarray, stated: np.ndarray, bands: tuple[str, ...], pixel_scale: float) -> np.ndarray:
    """Noise (galaxy, band) of a blank pixel of images, measured where no source reaches; as stated where none is blank.

    What a store states is measured galaxy included, some percent too large where galaxies fill their images.
    """
    found = np.array(stated, np.float32)
    for start in range(0, len(images), AT_ONCE):
        some, sigma = images[start : start + AT_ONCE], stated[start : start + AT_ONCE]
        where = blank(Sample(bands, pixel_scale, some, some, some, sigma))
        for galaxy in np.flatnonzero(where.any(axis=(1, 2))):
            _, measured = middle_and_sigma(some[galaxy][:, where[galaxy]].astype(float))
            found[start + galaxy] = np.where(measured > 0, measured, sigma[galaxy])
    return found


def truth_rows(held_out: HeldOut, domain: str) -> np.ndarray:
    """Rows (galaxy,) of the noise-free store that show the same objects; StoreError where one is not there."""
    truth, names = held_out.truth[domain], held_out.stores[domain].column("object_id")[held_out.rows[domain]]
    place = {name: row for row, name in enumerate(truth.column("object_id"))}
    missing = [name for name in names if name not in place]
    if missing:
        raise StoreError(f"{truth.path} has no object {missing[0]}; give the truth of the same sky as {domain}'s store")
    return np.array([place[name] for name in names])


def other_noise(
    target: np.ndarray, truth: np.ndarray, sigma: np.ndarray, turn: int, some: np.ndarray | None = None
) -> np.ndarray:
    """The truth with other noise: that of another real image, the galaxy's neighbour in brightness.

    It is the other's target - truth, so that it has the survey's amplitudes and correlations; that of a galaxy as
    bright has about the Poisson noise of this one. It is scaled by both images' noise of blank sky.

    Args:
        target: (galaxy, band, row, col), of two galaxies at least.
        truth: Alike.
        sigma: (galaxy, band).
        turn: How many places away in brightness the other galaxy is; different turns are different noise.
        some: Indices of the galaxies that are wanted; None for all.
    """
    count = len(truth)
    order = np.argsort(truth.sum(axis=(1, 2, 3)))
    other = np.empty(count, int)
    other[order] = np.roll(order, (turn - 1) % (count - 1) + 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.nan_to_num(sigma / sigma[other], nan=1.0, posinf=1.0)
    some = np.arange(count) if some is None else some
    made = np.empty((len(some), *truth.shape[1:]), np.result_type(truth, target, np.float32))
    for place, galaxy in enumerate(some):  # one after the other: thousands are as large as the memory
        its = other[galaxy]
        made[place] = truth[galaxy] + (target[its] - truth[its]) * ratio[galaxy, :, None, None].astype(np.float32)
    return made


def resampled(source: np.ndarray, source_scale: float, pixel_scale: float, size: int) -> np.ndarray:
    """What bilinear interpolation alone makes of images: the same sky, at its flux, on other pixels of one centre.

    Where the new grid reaches over the edge by a part of a pixel, the outermost pixels are repeated.
    """
    count, bands, here = source.shape[:3]
    edge = max(0, int(np.ceil((size * pixel_scale / source_scale - here) / 2))) + 1
    padded = np.pad(source, ((0, 0), (0, 0), (edge, edge), (edge, edge)), mode="edge")
    wcs = north_up_wcs(0, 0, source_scale, here + 2 * edge)
    flat = regrid(padded.reshape(-1, *padded.shape[2:]), wcs, north_up_wcs(0, 0, pixel_scale, size), size)
    return flat.reshape(count, bands, size, size)


def drawn_galaxies(count: int) -> np.ndarray:
    """Which galaxies are translated several times: `DRAWN`, evenly spread over the rows."""
    return np.unique(np.linspace(0, count - 1, min(count, DRAWN)).round().astype(int))


def _open_truth(path, stores: dict[str, Store]) -> dict[str, Store] | None:
    """The noise-free twins of both stores; StoreError where one has other bands or pixels."""
    if path is None:
        return None
    truth = {domain: open_store(Path(path) / f"{store.survey['name']}.zarr") for domain, store in stores.items()}
    for domain, store in stores.items():
        twin = truth[domain]
        if (twin.bands, twin.size) != (store.bands, store.size):
            raise StoreError(
                f"{twin.path} has {twin.size} pixels in {''.join(twin.bands)} and {store.path} has {store.size} in "
                f"{''.join(store.bands)}; give the truth of the same sky on the same grid"
            )
    return truth


def _redshift(held_out: HeldOut, rows: dict[str, np.ndarray]) -> np.ndarray:
    """Redshifts (galaxy,) of rows of both stores, from either catalogue; NaN where neither has one."""
    known = [held_out.stores[domain].column("redshift")[rows[domain]] for domain in "xy"]
    return np.where(np.isfinite(known[0]), known[0], known[1])


def _taught(held_out: HeldOut, domain: str) -> dict[str, np.ndarray]:
    """What real images of training pairs with a redshift teach of it, `TAUGHT` pairs at most: fields of a `Sample`."""
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
