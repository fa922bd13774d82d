"""How long a report takes, and how much memory: `galtrans evaluate` on so many galaxies, a process of its own.

    galtrans simulate --benchmark twin-v1-small --out bench
    python benchmarks/report.py --sky bench --run runs/demo --galaxies 98 --galaxies 3500 --out report_times.json

More test galaxies than the sky has are made of those that it has: turned, mirrored, and brighter or fainter by a few
per cent, truth and all, so that none is the same as another to the caches of the measures.
"""

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np
from astropy.table import Table

from survey_tools import SURVEYS, open_store
from survey_tools.matching.pairs import make_pairs
from survey_tools.store.columns import CATALOGUE, MEASURED
from survey_tools.store.zarr_store import create

SYMMETRIES = 8
STEP = 0.03  # by which the next eight images of a galaxy are brighter
STORES = "sdss.zarr", "cfht.zarr"


@click.command(help=__doc__)
@click.option("--sky", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--run", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--galaxies", type=int, multiple=True, required=True)
@click.option("--workers", type=int, default=os.cpu_count(), show_default="all cores")
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--work", type=click.Path(path_type=Path), help="Folder for the stores, which stay; else they go.")
def main(sky, run, galaxies, workers, out, work) -> None:
    found = []
    with tempfile.TemporaryDirectory() as temporary:
        for count in galaxies:
            many = (work or Path(temporary)) / str(count)
            if not (many / "pairs.ecsv").exists():
                multiply(sky, many, count)
            found.append(measure(many, run, workers))
            click.echo(json.dumps(found[-1]))
    out.write_text(json.dumps(found, indent=1))


def measure(sky: Path, run: Path, workers: int) -> dict:
    """Seconds and the largest memory of one process of a whole `galtrans evaluate`."""
    report = sky / "report"
    shutil.rmtree(report, ignore_errors=True)
    stores = [sky / name for name in STORES]
    words = ["evaluate", run, *stores, sky / "pairs.ecsv", "--truth", sky / "truth", "--out", report]
    start = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "cli.main", *map(str, words), "--workers", str(workers)],
        check=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
    )
    seconds = time.monotonic() - start
    used = json.loads((report / "report.json").read_text())["pairs"]["counts"]["used"]
    return {
        "galaxies": used,
        "workers": workers,
        "seconds": round(seconds, 1),
        "largest_process_MB": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024,
        "page_MB": round((report / "report.html").stat().st_size / 1e6, 1),
    }


def multiply(sky: Path, out: Path, count: int) -> None:
    """Stores of `count` test galaxies, their truth and pair table, from those of a sky."""
    pairs = Table.read(sky / "pairs.ecsv")
    test = pairs[np.asarray(pairs["split"]) == "test"]
    (out / "truth").mkdir(parents=True)
    for name, row in zip(STORES, ("x_row", "y_row"), strict=True):
        for folder in ("truth", ""):
            copy(sky / folder / name, out / folder / name, np.resize(np.asarray(test[row]), count), len(test))
    table = make_pairs(out / STORES[0], out / STORES[1], radius=1.0, max_peak_offset=np.inf)
    table["split"] = "test"
    table.meta |= {"x": STORES[0], "y": STORES[1]}
    table.write(out / "pairs.ecsv")


def copy(source: Path, path: Path, rows: np.ndarray, different: int) -> None:
    """Rows of a store, from the second time that one comes on turned, mirrored and rescaled."""
    store = open_store(source)
    turn = np.arange(len(rows)) // different
    catalogue = Table({column.name: store.column(column.name)[rows] for column in CATALOGUE})
    catalogue["object_id"] = [f"{name}-{number}" for name, number in zip(catalogue["object_id"], turn, strict=True)]
    catalogue["dec"] += 0.01 * turn
    made = create(path, SURVEYS[store.survey["name"]], "".join(store.bands), catalogue, {"made_by": "a benchmark"})
    for some in made.chunks():
        images = np.stack([turned(store.images[int(r)], int(t)) for r, t in zip(rows[some], turn[some], strict=True)])
        made.write(some, images.astype(np.float32), ~np.isfinite(images))
    brighter = (1 + STEP * (turn // SYMMETRIES)).astype(np.float32)[:, None]
    columns = {column.name: store.column(column.name)[rows] for column in MEASURED}
    columns["sky_sigma"] = columns["sky_sigma"] * brighter
    made.write_columns(columns)
    made.finish()


def turned(images: np.ndarray, turn: int) -> np.ndarray:
    """Images (band, row, col) under the symmetry `turn` of the square, brighter from the ninth on."""
    quarter = np.rot90(images, turn % 4, (1, 2))
    mirrored = quarter[..., ::-1] if turn % SYMMETRIES >= 4 else quarter
    return mirrored * (1 + STEP * (turn // SYMMETRIES))


if __name__ == "__main__":
    main()
