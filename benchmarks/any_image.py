"""How fast the built-in model translates: cutouts as FITS and as stores, beside its own network, and a whole field.

    python benchmarks/any_image.py --store bench/sdss.zarr --frames FRAMES

Rates are images a second and core; the network's own is that of `restoration` on one image, on one thread a core.
FRAMES, a folder with the five frames of a field, may be left out.
"""

import os
import resource
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
import numpy as np
import torch

from survey_tools import open_store
from survey_tools.fits.export import export
from survey_tools.tasks import Engine
from translator.networks.restoration import Told
from translator.runs.built_in import find_model
from translator.runs.checkpoint import locate
from translator.runs.device import keep_memory, one_thread
from translator.translation.asking import How
from translator.translation.files import translate_files
from translator.translation.stores import translate_store

CORES = os.cpu_count() or 1


def network_rate(run, count: int) -> float:
    """Images a second that the mean's network alone passes, on all cores."""
    network, bands = run.networks["restoration_y"], len(run.bands)
    image = torch.rand(1, bands, 136, 136)
    told = Told(
        image, torch.ones(1, bands, 1, 1), torch.ones_like(image), torch.ones_like(image), torch.zeros(1, 3 * bands)
    )

    def passed(_) -> None:
        with torch.no_grad(), one_thread(run.device):
            network(told)

    with ThreadPoolExecutor(CORES) as pool:
        list(pool.map(passed, range(4)))
        begun = time.perf_counter()
        list(pool.map(passed, range(count)))
    return count / (time.perf_counter() - begun)


@click.command()
@click.option("--store", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--frames", type=click.Path(exists=True, path_type=Path))
@click.option("--count", default=96, show_default=True, help="Cutouts as FITS.")
@click.option("--model", default="sdss-cfhtls", show_default=True)
def main(store: Path, frames: Path | None, count: int, model: str) -> None:
    """Print rates and times."""
    keep_memory()
    at, run = locate(find_model(model), "cpu")
    source = open_store(store)
    own = network_rate(run, 2 * count)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        rows = np.flatnonzero(source.usable)[:count]
        files = {path: folder / "out" / path.name for path in export(source, rows, folder / "fits")}
        for word, how in (("FITS to FITS", How()), ("FITS to FITS with planes", How(planes=True))):
            begun = time.perf_counter()
            outcome = translate_files(at, "cfht", files, Engine(CORES), how)
            rate = len(outcome.rows) / (time.perf_counter() - begun)
            print(f"{word}: {rate / CORES:.1f} images/s and core, {rate / own:.2f} of the network's {own / CORES:.1f}")
        begun = time.perf_counter()
        made = translate_store(find_model(model), store, folder / "out.zarr", engine=Engine(CORES))
        rate = len(made) / (time.perf_counter() - begun)
        print(f"store to store: {rate / CORES:.1f} images/s and core, {rate / own:.2f} of the network's")
        if frames:
            paths = tuple(sorted(frames.rglob("frame-*.fits*")))
            begun = time.perf_counter()
            translate_files(at, "cfht", {paths: folder / "field.fits"}, Engine(CORES))
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
            print(f"a field of five bands: {time.perf_counter() - begun:.0f} s; at most {memory:.1f} GB in all of this")


if __name__ == "__main__":
    main()
