"""Partitioned stores of two surveys with small images, drawn by numpy, for `partitions.py`: noise and a Gaussian.

They go through the builder of all stores, so that the stores cost and not the drawing.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from astropy.table import Table

from survey_tools.build.builder import Chunk, StorePlan, alone, begin
from survey_tools.partitions.layout import Pixel
from survey_tools.partitions.making import make_partitions
from survey_tools.partitions.spill import read_part, spill
from survey_tools.store.columns import empty_columns
from survey_tools.surveys import SURVEYS
from survey_tools.tasks import Engine

BLOCK = 2**17  # rows of the catalogue that are drawn at once
SHARED = 0.6  # part of the objects that both surveys see
GRIDS = {"x": ("sdss", 8, 0.792), "y": ("cfht", 12, 0.558)}  # survey, pixels of a side, arcsec of a pixel
SEEING, NOISE = {"x": 1.4, "y": 0.8}, {"x": 0.05, "y": 0.01}


def make(domain: str, rows: int, most: int, out: Path, client) -> None:
    """Make the partitioned store of one survey."""
    engine = Engine(1, client)
    make_partitions(
        out.absolute(),
        {"command": "benchmarks/partitions.py", "rows": rows, "most": most},
        partial(prepare, domain, rows, most, engine),
        partial(draw_partition, domain),
        engine,
        domain,
    )


def prepare(domain: str, rows: int, most: int, engine: Engine, folder: Path) -> list[Pixel]:
    return spill(blocks(domain, rows), folder, most, engine)


def blocks(domain: str, rows: int) -> Iterator[Table]:
    """The catalogue, block by block: a part of it is in both surveys, 0.1 arcsec apart."""
    for number, first in enumerate(range(0, rows, BLOCK)):
        count = min(BLOCK, rows - first)
        ra, dec = sphere(np.random.default_rng([0, number]), count)
        if domain == "y":
            random = np.random.default_rng([1, number])
            dec = np.clip(dec + random.normal(0, 0.1 / 3600, count), -90, 90)
            other = random.random(count) > SHARED
            ra[other], dec[other] = sphere(random, int(other.sum()))
        names = np.array([f"{domain}{row:09d}" for row in range(first, first + count)])
        yield Table({"object_id": names, "ra": ra, "dec": dec, "redshift": np.full(count, np.nan)})


def sphere(random: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    return random.uniform(0, 360, count), np.degrees(np.arcsin(random.uniform(-1, 1, count)))


def draw_partition(domain: str, folder: Path, pixel: Pixel):
    """Make the store of one partition by the builder of all stores."""
    name, size, scale = GRIDS[domain]
    survey, table = SURVEYS[name], read_part(folder / f"{pixel.name}.parquet")
    plan = StorePlan(survey, ("r",), table, {"command": "drawn"}, size=size, pixel_scale=scale)
    path = folder / f"{pixel.name}.zarr"
    with alone(path):
        build = begin(plan, path)
        for rows in build.store.chunks():
            if not build.has(rows):
                build.write(
                    rows, draw(domain, table[rows], np.random.default_rng([pixel.order, pixel.pixel, rows.start]))
                )
        build.collect()
        return build.finish()


def draw(domain: str, table: Table, random: np.random.Generator) -> Chunk:
    """Draw some objects: a Gaussian of random flux, and noise."""
    _, size, scale = GRIDS[domain]
    count, sigma = len(table), (SEEING[domain] + 0.5) / 2.355 / scale
    offset = np.arange(size) - (size - 1) / 2
    profile = np.exp(-(offset[:, None] ** 2 + offset**2) / (2 * sigma**2)).astype(np.float32)
    flux = np.random.default_rng(0).permutation(np.geomspace(1, 50, 4096))[np.arange(count) % 4096].astype(np.float32)
    images = flux[:, None, None, None] * profile / profile.sum()
    images = images + random.standard_normal(images.shape, np.float32) * NOISE[domain]
    columns = empty_columns(count, 1)
    columns["crval"] = np.column_stack([table["ra"], table["dec"]])
    columns["crpix"][:] = (size + 1) / 2
    columns["cd"][:] = np.diag([-scale, scale]) / 3600
    columns["coverage"][:], columns["sky_sigma"][:], columns["psf_fwhm"][:] = 1.0, NOISE[domain], SEEING[domain]
    columns["gain"][:], columns["zero_point"][:] = 2000.0, 22.5
    manifest = {"status": np.full(count, "done"), "file": np.full(count, "drawn")}
    return Chunk(images, np.zeros(images.shape, bool), columns, manifest)
