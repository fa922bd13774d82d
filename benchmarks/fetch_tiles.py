"""A fetch of tiles as DES and the Legacy Surveys publish them, beside plain ways of astropy that end in a Zarr array.

All ways run in one process, one after the other, and their time is that of the processor, because other programs may
use it too. The plain way opens the file for every object and band; the second one opens every file once.
"""

import gc
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import zarr
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.nddata import Cutout2D
from astropy.table import Table
from astropy.wcs import WCS
from figures import Figure, main

from survey_tools import SURVEYS
from survey_tools.archives.known import ARCHIVES
from survey_tools.archives.plan import Access
from survey_tools.build.fetch import fetch, work_folder
from survey_tools.images.sky_wcs import tan_wcs
from survey_tools.tasks import Engine

BANDS = "grz"
SAMPLE = 4  # objects for which the plain way is measured: each takes seconds
AGREEMENT = 1e-6  # of the peak


def write_des(folder: Path, band: str, wcs, image: np.ndarray) -> Path:
    """A tile as DES has them: rows are compressed one by one, and a mask of bits follows."""
    names = {band: name for name, band in SURVEYS["des"].filters.items() if len(name) > 1}
    header = wcs.to_header()
    header["FILTER"], header["MAGZERO"] = names[band], 30.0
    counts = image * 1000
    path = folder / f"DES0001-0001_r4969p01_{band}.fits.fz"
    mask = fits.CompImageHDU(np.zeros(image.shape, np.int32), wcs.to_header(), name="MSK", compression_type="RICE_1")
    rows = (1, image.shape[1])
    how = {"quantize_level": 16, "quantize_method": 1, "dither_seed": 1}
    sky = fits.CompImageHDU(counts, header, name="SCI", tile_shape=rows, **how)
    fits.HDUList([fits.PrimaryHDU(), sky, mask]).writeto(path)
    return path


def write_brick(folder: Path, band: str, wcs, image: np.ndarray) -> Path:
    """A brick as the Legacy Surveys have them: squares of 100 pixels."""
    header = wcs.to_header()
    header["FILTER"], header["SURVEY"] = band, "LegacySurvey"
    path = folder / f"legacysurvey-0001p000-image-{band}.fits.fz"
    sky = fits.CompImageHDU(image, header, tile_shape=(100, 100), quantize_level=16, quantize_method=2, dither_seed=1)
    fits.HDUList([fits.PrimaryHDU(), sky]).writeto(path)
    return path


KINDS: dict[str, tuple[Callable, int]] = {"des": (write_des, 4000), "legacy": (write_brick, 3600)}


def drawn(shape: int, seed: int) -> np.ndarray:
    """Noise and stars of a FWHM of 1.1 arcsec (row, col) float32, in nanomaggies."""
    rng = np.random.default_rng(seed)
    image = rng.normal(0, 0.02, (shape, shape)).astype(np.float32)
    rows, cols = np.indices((31, 31)) - 15
    star = np.exp(-(rows**2 + cols**2) / (2 * 1.8**2)).astype(np.float32)
    for row, col, flux in zip(*rng.integers(0, shape - 31, (2, 3000)), rng.pareto(1.5, 3000) + 0.2, strict=True):
        image[row : row + 31, col : col + 31] += min(flux, 20) * star
    return image


def plain(paths: dict[str, Path], table: Table, size: int, unit: float) -> np.ndarray:
    """Open the file for every object and band."""
    images = np.empty((len(table), len(paths), size, size), np.float32)
    for at, (ra, dec) in enumerate(zip(table["ra"], table["dec"], strict=True)):
        for plane, path in enumerate(paths.values()):
            with fits.open(path) as hdus:
                cutout = Cutout2D(hdus[1].data, SkyCoord(ra, dec, unit="deg"), size, wcs=WCS(hdus[1].header))
                images[at, plane] = cutout.data * unit
    return images


def opened_once(paths: dict[str, Path], table: Table, size: int, unit: float) -> np.ndarray:
    """Open every file once, and decompress all of it."""
    images = np.empty((len(table), len(paths), size, size), np.float32)
    for plane, path in enumerate(paths.values()):
        with fits.open(path) as hdus:
            pixels, wcs = hdus[1].data, WCS(hdus[1].header)
            for at, (ra, dec) in enumerate(zip(table["ra"], table["dec"], strict=True)):
                images[at, plane] = Cutout2D(pixels, SkyCoord(ra, dec, unit="deg"), size, wcs=wcs).data * unit
    return images


def stored(folder: Path, like: zarr.Array, images: np.ndarray) -> None:
    """Write images into a Zarr array with the chunks, shards and codecs of another one."""
    how = {"chunks": like.chunks, "shards": like.shards, "compressors": like.compressors}
    zarr.create_array(folder, shape=images.shape, dtype=like.dtype, **how)[:] = images


def seconds(work: Callable[[], object]) -> tuple[float, object]:
    """Time of the processor, all threads together [s], and the result."""
    gc.collect()
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def compare(name: str, objects: int, shape: int, folder: Path) -> tuple[Figure, Figure]:
    """One survey: a fetch beside both plain ways."""
    survey, (write, _) = SURVEYS[name], KINDS[name]
    step, mirror = survey.pixel_scale / 3600, folder / name
    wcs = tan_wcs((150.0, 2.0), (shape / 2, shape / 2), [[-step, 0.0], [0.0, step]])
    mirror.mkdir()
    paths = {band: write(mirror, band, wcs, drawn(shape, seed)) for seed, band in enumerate(BANDS)}
    places = np.random.default_rng(9).uniform(60, shape - 60, (objects, 2))
    ra, dec = wcs.wcs_pix2world(places, 0).T
    table = Table({"object_id": [f"o{at}" for at in range(objects)], "ra": ra, "dec": dec})
    table["redshift"] = np.nan
    out, size, unit = folder / f"{name}.zarr", survey.cutout_size, 10 ** ((22.5 - survey.zero_point) / 2.5)

    def ours(objects: Table, out: Path):
        archive = ARCHIVES[name].open(Access(work_folder(out), mirror=str(mirror)))
        return fetch(archive, objects, out, bands=BANDS, engine=Engine(1))

    ours(table[:2], folder / f"{name}-first.zarr")  # loads what the first fetch of a process loads
    mine, store = seconds(lambda: ours(table, out))
    some = table[:SAMPLE]
    a_few, few = seconds(lambda: plain(paths, some, size, unit))
    once, images = seconds(lambda: opened_once(paths, table, size, unit))
    like = zarr.open_group(out, mode="r")["images"]
    writing, _ = seconds(lambda: stored(folder / f"{name}-plain.zarr", like, images))
    every = a_few * objects / len(some) + writing
    difference = float(np.nanmax(np.abs(store.images[:] - images)) / np.nanmax(np.abs(images)))
    if not difference <= AGREEMENT or not np.array_equal(few, images[:SAMPLE]):
        raise SystemExit(f"pixels differ by {difference:.2g} of the peak")
    what = f"{name}: {objects} objects on {len(BANDS)} tiles of {shape} × {shape} (.fits.fz), into a store"
    common = {"stage": "fetch", "what": what, "rate": objects / mine, "unit": "objects/s of one core"}
    return (
        Figure(
            **common,
            against=f"`fits.open` and `Cutout2D` for every object and band ({len(some)} measured), then Zarr",
            plain=objects / every,
            ratio=every / mine,
            target=">= 3",
        ),
        Figure(
            **common,
            against="every tile opened and decompressed once, then Zarr; no noise, seeing, mask or checksum",
            plain=objects / (once + writing),
            ratio=(once + writing) / mine,
        ),
    )


def measure(quick: bool) -> list[Figure]:
    """Objects a second of a fetch from tiles, and of plain ways of astropy."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for name, (_, shape) in KINDS.items():
            found += compare(name, 20 if quick else 200, 800 if quick else shape, Path(folder))
    return found


if __name__ == "__main__":
    main(measure)
