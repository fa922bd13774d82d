"""How fast the built-in model translates: cutouts as FITS and as stores, beside its own network, and a whole field.

    taskset -c 0 python benchmarks/any_image.py --store bench/sdss.zarr --workers 1 --frames FRAMES

Rates are images for each second of processor time, so that other programs on the machine disturb them little, and are
those of one core; in brackets, images for each second by the clock. The network's own rate is that of `restoration` on
as many images as a store passes together, on one thread, in the same precision, before and after what is compared.
FRAMES, a folder with the five frames of a field, may be left out.
"""

import os
import resource
import tempfile
import time
from dataclasses import replace
from functools import partial
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
from translator.runs.device import autocast, keep_memory, one_thread
from translator.translation.asking import How
from translator.translation.files import translate_files
from translator.translation.stores import translate_store
from translator.translation.whole_images import AT_ONCE

PRECISIONS = ("float32", "bf16")
PASSES = 4  # of the network, before and after each measurement


def network_rate(run, precision: str, together: int) -> float:
    """Images that the mean's network alone passes in a second of processor time, on one thread."""
    network, bands = run.networks["restoration_y"], len(run.bands)
    image = torch.rand(together, bands, 136, 136)
    whole, ones = torch.ones_like(image), torch.ones(together, bands, 1, 1)
    told = Told(image, ones, whole, whole, torch.zeros(together, 3 * bands))
    with torch.no_grad(), one_thread(run.device), autocast(precision, run.device):
        network(told)  # the first call chooses its code
        begun = time.process_time()
        for _ in range(PASSES):
            network(told)
    return PASSES * together / (time.process_time() - begun)


def compare(word: str, run, precision: str, work) -> None:
    """Print the rate of `work`, which returns the number of images, beside that of the network before and after."""
    own = [network_rate(run, precision, AT_ONCE["cpu"])]
    begun = time.perf_counter(), time.process_time()
    count = work()
    by_clock, rate = count / (time.perf_counter() - begun[0]), count / (time.process_time() - begun[1])
    own = (own[0] + network_rate(run, precision, AT_ONCE["cpu"])) / 2
    share = f"{rate / own:.2f} of the network's {own:.1f}"
    print(f"{precision}, {word}: {rate:.1f} images/s, {share} ({by_clock:.1f} by the clock)", flush=True)


@click.command()
@click.option("--store", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--frames", type=click.Path(exists=True, path_type=Path))
@click.option("--count", default=96, show_default=True, help="Cutouts as FITS.")
@click.option("--workers", default=os.cpu_count() or 1, show_default=True)
@click.option("--model", default="sdss-cfhtls", show_default=True)
def main(store: Path, frames: Path | None, count: int, workers: int, model: str) -> None:
    """Print rates and times."""
    keep_memory()
    at, run = locate(find_model(model), "cpu")
    source = open_store(store)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        rows = np.flatnonzero(source.usable)[:count]
        exported = export(source, rows, folder / "fits")

        def by_files(how: How) -> int:
            some = exported[: len(exported) // 4] if how.planes else exported
            files = {path: folder / how.fingerprint / path.name for path in some}
            return len(translate_files(at, "cfht", files, Engine(workers), how).rows)

        def by_store(how: How) -> int:
            out = folder / f"{how.precision}.zarr"
            return len(translate_store(run, store, out, how=how, engine=Engine(workers)))

        for precision in PRECISIONS:
            alone = network_rate(run, precision, 1)
            print(f"{precision}, the network on one image at a time: {alone:.1f} images/s")
            how = How(precision=precision)
            by_files(replace(how, seed=1))  # first calls choose their code
            compare("store to store", run, precision, partial(by_store, how))
            compare("FITS to FITS", run, precision, partial(by_files, how))
            compare("FITS to FITS with planes", run, precision, partial(by_files, replace(how, planes=True)))
        if frames:
            paths = tuple(sorted(frames.rglob("frame-*.fits*")))
            begun = time.perf_counter()
            translate_files(at, "cfht", {paths: folder / "field.fits"}, Engine(workers))
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
            print(f"a field of five bands: {time.perf_counter() - begun:.0f} s; at most {memory:.1f} GB in all of this")


if __name__ == "__main__":
    main()
