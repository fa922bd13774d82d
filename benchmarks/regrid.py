"""Five bands of 136 × 136 pixels onto 64 × 64, beside `reproject_interp`; both in one thread."""

import time
from collections.abc import Callable

import numpy as np
from figures import Figure, main
from reproject import reproject_interp
from scipy.ndimage import gaussian_filter

from survey_tools.images.regrid import regrid
from survey_tools.images.sky_wcs import rescaled_wcs, tan_wcs
from survey_tools.store.zarr_store import chunk_rows
from survey_tools.surveys import CFHT, SDSS

FACTOR = (SDSS.pixel_scale / CFHT.pixel_scale) ** 2  # of pixel areas, which reproject leaves out
AGREEMENT = 1e-4  # of the peak


def stamps(count: int) -> list[tuple]:
    """Images (5, 136, 136) float32 of galaxies in noise, their grids, and those of 64 × 64 SDSS pixels."""
    rng, size = np.random.default_rng(0), CFHT.cutout_size
    rows, cols = np.indices((size, size)) - (size - 1) / 2
    made = []
    for _ in range(count):
        galaxy = np.exp(-np.hypot(rows, cols * rng.uniform(1, 2)) / rng.uniform(3, 12))
        noise = gaussian_filter(rng.normal(0, 0.02, (5, size, size)), (0, 1, 1))
        angle = rng.uniform(-0.02, 0.02)
        turned = np.array([[-np.cos(angle), np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * CFHT.pixel_scale / 3600
        wcs = tan_wcs(rng.uniform((0, -60), (360, 60)), rng.uniform(-9000, 9000, 2), turned)
        target = rescaled_wcs(wcs, (size, size), SDSS.pixel_scale, SDSS.cutout_size)
        made.append(((galaxy + noise).astype(np.float32), wcs, target))
    return made


def seconds_a_stamp(function: Callable, made: list[tuple]) -> float:
    start = time.perf_counter()
    for stamp in made:
        function(*stamp)
    return (time.perf_counter() - start) / len(made)


def plain(image: np.ndarray, wcs, target) -> np.ndarray:
    return reproject_interp((image, wcs), target, (SDSS.cutout_size,) * 2)[0]


def lenient(image: np.ndarray, wcs, target) -> np.ndarray:
    """Without what may be left out: the footprint, and the check that positions come back as they went."""
    shape = (SDSS.cutout_size,) * 2
    return reproject_interp((image, wcs), target, shape, roundtrip_coords=False, return_footprint=False)


def ours(image: np.ndarray, wcs, target) -> np.ndarray:
    return regrid(image, wcs, target, SDSS.cutout_size)


def by_band(image: np.ndarray, wcs, target) -> list[np.ndarray]:
    return [plain(band, wcs, target) for band in image]


def measure(quick: bool) -> list[Figure]:
    """Stamps a second of `regrid` and of `reproject_interp`, and the largest difference of a pixel."""
    made = stamps(8 if quick else chunk_rows(5, CFHT.cutout_size))
    difference = max(
        float(np.abs(ours(*stamp) - FACTOR * plain(*stamp)).max() / (FACTOR * stamp[0].max())) for stamp in made
    )
    if not difference <= AGREEMENT:
        raise SystemExit(f"pixels differ by {difference:.2g} of the peak")
    rounds = range(1 if quick else 9)
    functions = ours, plain, lenient, by_band
    best = np.min([[seconds_a_stamp(function, made) for function in functions] for _ in rounds], axis=0)
    mine, theirs, least, bands = (1 / best).tolist()
    return [
        Figure(
            stage="regrid",
            what=f"a chunk of {len(made)}, five bands, 136 → 64; largest difference {difference:.1g} of the peak",
            rate=mine,
            unit="stamps/s",
            against="`reproject_interp` of the five bands at once",
            plain=theirs,
            ratio=mine / theirs,
            target=">= 20 at 1e-4 of the peak",
            limit=f"without footprint and round trip {least:.0f}/s; band by band {bands:.1f}/s",
            bound="gathering four pixels for each of 20,480 (half), weights (a sixth), the grids' matrices (a sixth)",
        )
    ]


if __name__ == "__main__":
    main(measure)
