"""Translations a second, with files or a store written, beside the generator's forward passes alone.

    python benchmarks/translate.py --out translate.json

An untrained `two_step` model, at full width and at width 8; images of noise around a galaxy, five bands. The plain
rate is that of the same images, stretched and in memory, through the generator and nothing else: one image a core at a
time, or batches of 16 over all cores, whichever is faster.
"""

import contextlib
import io
import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from astropy.table import Table
from figures import Figure, main

from survey_tools import SURVEYS, Store
from survey_tools.fits.export import export
from survey_tools.images.sky_wcs import north_up_wcs, tan_terms
from survey_tools.store.zarr_store import create
from survey_tools.tasks import Engine
from translator import RECIPES
from translator.intensity import stretch
from translator.runs.checkpoint import Checkpoint, Run, build_networks, locate, save_checkpoint
from translator.runs.facts import Domain, RunFacts, write_facts
from translator.translation.files import translate_files
from translator.translation.stores import translate_store

CORES = os.cpu_count() or 1
BATCH = 16
PLAIN = 128  # of the images, for the generator alone
CASES = (("y", 0, 256), ("x", 0, 512), ("y", 8, 512), ("x", 8, 512))  # where images land, width, images
QUICK = (("y", 8, 8), ("x", 8, 8))
SKY = {"x": 0.02, "y": 0.005}  # [nanomaggy/pixel]


def measure(quick: bool) -> list[Figure]:
    """Translations a second beside the generator's forward passes alone."""
    found = []
    for domain, width, count in QUICK if quick else CASES:
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
            found += _measure_case(Path(folder), domain, width, count)
    return found


def _measure_case(folder: Path, domain: str, width: int, count: int) -> list[Figure]:
    """One direction at one width: Zarr to Zarr, and half of the images FITS to FITS."""
    path, source = _write_run(folder / "run", width), _write_store(folder / "in.zarr", "xy".replace(domain, ""), count)
    at, run = locate(path, "cpu")
    few = count // 2
    files = {each: folder / "out" / each.name for each in export(source, range(few), folder / "fits")}
    engine, to = Engine(CORES), run.domains[domain].survey
    plain = _passes(run, source, domain)
    rates = {
        "Zarr": count / _seconds(lambda: translate_store(path, source.path, folder / "out.zarr", engine=engine)),
        "FITS": few / _seconds(lambda: translate_files(at, to, files, engine)),
    }
    again = _passes(run, source, domain)
    plain = {way: (rate + again[way]) / 2 for way, rate in plain.items()}
    way = max(plain, key=plain.get)
    what = f"images, {source.survey['name']} to {to}, width {width or RECIPES['two_step'].width}"
    return [
        Figure(
            stage="translate",
            what=f"{kind} to {kind}, {number} {what}",
            rate=rates[kind],
            unit="images/s",
            against=f"generator alone, {way}",
            plain=plain[way],
            ratio=rates[kind] / plain[way],
            target=">= 0.8 of the generator's rate",
            limit=f"{CORES} cores pass {plain[way]:.0f} images/s",
            bound=bound,
        )
        for kind, number, bound in (
            ("Zarr", count, "convolutions; then noise, sky sigma, zstd"),
            ("FITS", few, "convolutions; then FITS headers, in Python, one thread at a time"),
        )
    ]


def _passes(run: Run, source: Store, domain: str) -> dict[str, float]:
    """Images a second through the generator alone, by how they are shared out."""
    images = torch.as_tensor(stretch(source.images[:PLAIN].astype(float)), dtype=torch.float32)
    network, threads = run.networks[f"generator_{domain}"], torch.get_num_threads()

    def one(at: int) -> None:
        with torch.no_grad():
            network(images[at : at + 1])

    def batches() -> None:
        with torch.no_grad():
            for start in range(0, len(images), BATCH):
                network(images[start : start + BATCH])

    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(CORES) as pool:
            list(pool.map(one, range(CORES)))
            alone = _seconds(lambda: list(pool.map(one, range(len(images)))))
    finally:
        torch.set_num_threads(threads)
    return {"one a core": len(images) / alone, f"batches of {BATCH}": len(images) / _seconds(batches)}


def _seconds(work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _write_run(path: Path, width: int) -> Path:
    """A run with the weights that it began with."""
    domains = {}
    for name, survey in (("x", SURVEYS["sdss"]), ("y", SURVEYS["cfht"])):
        sky = (SKY[name],) * len(survey.bands)
        domains[name] = Domain(survey.name, survey.bands, survey.cutout_size, survey.pixel_scale, sky, "")
    facts = RunFacts("two_step", (1, 1), 2, 0, domains, "", width=width)
    weights = build_networks(facts, RECIPES["two_step"]).state_dict()
    write_facts(path, facts)
    save_checkpoint(path, Checkpoint(2, 1, {name: tensor.contiguous() for name, tensor in weights.items()}, {}))
    return path


def _write_store(path: Path, domain: str, count: int) -> Store:
    """A store of galaxies in noise."""
    survey = SURVEYS[{"x": "sdss", "y": "cfht"}[domain]]
    size, bands, random = survey.cutout_size, len(survey.bands), np.random.default_rng(0)
    ra, dec = np.linspace(10, 20, count), np.zeros(count)
    catalogue = Table({"object_id": [f"g{row}" for row in range(count)], "ra": ra, "dec": dec})
    catalogue["redshift"] = np.full(count, 0.1)
    store = create(path, survey, survey.bands, catalogue, {"command": "benchmark"})
    row, col = np.indices((size, size)) - (size - 1) / 2
    galaxy = 10 * SKY[domain] * np.exp(-0.5 * np.hypot(row, col) ** 2 / (size / 16) ** 2)
    for rows in store.chunks():
        images = galaxy + random.normal(0, SKY[domain], (rows.stop - rows.start, bands, size, size))
        store.write(rows, images.astype(np.float32), np.zeros(images.shape, bool))
    terms = [tan_terms(north_up_wcs(*each, survey.pixel_scale, size)) for each in zip(ra, dec, strict=True)]
    columns = {
        name: np.stack(each) for name, each in zip(("crval", "crpix", "cd"), zip(*terms, strict=True), strict=True)
    }
    ones = np.ones((count, bands))
    store.write_columns(columns | {"coverage": ones, "saturated": 0 * ones, "sky_sigma": SKY[domain] * ones})
    return store.finish(Table({"object_id": catalogue["object_id"], "status": ["done"] * count}))


if __name__ == "__main__":
    main(measure)
