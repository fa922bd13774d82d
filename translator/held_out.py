"""The galaxies that no training saw, as both surveys see them: what translations are held against."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from astropy.table import Table

from survey_tools.errors import StoreError
from survey_tools.pairs import read_pairs
from survey_tools.regrid import regrid
from survey_tools.store import Store, open_store
from survey_tools.tan import north_up_wcs
from translator.batches import read_rows
from translator.images import OTHER
from translator.metrics.sample import Sample

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

    def take(self, folder: Path, galaxies: np.ndarray) -> "SampleFiles":
        """Some of the galaxies, in files of their own; without draws."""
        some = {name: np.load(path, mmap_mode="r")[galaxies] for name, path in self.files.items() if name != "draws"}
        return replace(self, files={}).add(folder, **some)


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
    sigma = there.column("sky_sigma")[held_out.rows[domain]]
    truth = again = None
    if held_out.truth is not None:
        truth = read_rows(held_out.truth[domain], truth_rows(held_out, domain))
        again = other_noise(target, truth, sigma, 2) if len(held_out) > 1 else None
    files = SampleFiles(there.bands, there.pixel_scale, here.pixel_scale, {})
    return files.add(
        folder,
        target=target,
        source=read_rows(here, held_out.rows[OTHER[domain]]),
        sigma=sigma,
        truth=truth,
        again=again,
        redshift=_redshift(held_out),
    )


def truth_rows(held_out: HeldOut, domain: str) -> np.ndarray:
    """Rows (galaxy,) of the noise-free store that show the same objects; StoreError where one is not there."""
    truth, names = held_out.truth[domain], held_out.stores[domain].column("object_id")[held_out.rows[domain]]
    place = {name: row for row, name in enumerate(truth.column("object_id"))}
    missing = [name for name in names if name not in place]
    if missing:
        raise StoreError(f"{truth.path} has no object {missing[0]}; give the truth of the same sky as {domain}'s store")
    return np.array([place[name] for name in names])


def other_noise(target: np.ndarray, truth: np.ndarray, sigma: np.ndarray, turn: int) -> np.ndarray:
    """The truth with other noise: that of another real image, the galaxy's neighbour in brightness.

    It is the other's target - truth, so that it has the survey's amplitudes and correlations; that of a galaxy as
    bright has about the Poisson noise of this one. It is scaled by both images' noise of blank sky.

    Args:
        target: (galaxy, band, row, col), of two galaxies at least.
        truth: Alike.
        sigma: (galaxy, band).
        turn: How many places away in brightness the other galaxy is; different turns are different noise.
    """
    count = len(truth)
    order = np.argsort(truth.sum(axis=(1, 2, 3)))
    other = np.empty(count, int)
    other[order] = np.roll(order, (turn - 1) % (count - 1) + 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.nan_to_num(sigma / sigma[other], nan=1.0, posinf=1.0)
    return truth + (target[other] - truth[other]) * ratio[..., None, None].astype(np.float32)


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


def _redshift(held_out: HeldOut) -> np.ndarray | None:
    """The galaxies' redshifts (galaxy,) from either catalogue; None where neither has any."""
    known = [held_out.stores[domain].column("redshift")[held_out.rows[domain]] for domain in "xy"]
    redshift = np.where(np.isfinite(known[0]), known[0], known[1])
    return redshift if np.isfinite(redshift).any() else None
