"""What 1e6, 1e8 and 1e9 objects cost: the parts measured here, the whole by arithmetic from measured rates.

    python benchmarks/scaling.py --sky bench --figures figures.json --out scaling.json

`--sky` is a folder of `galtrans simulate --benchmark twin-v1-small`, whose stores say what an object weighs on disk and
how long it takes to regrid, and `--figures` what `galtrans bench` wrote. What is done once a row (catalogue, checksum,
manifest, pair table, selection) is measured on so many rows as `--rows` says, and on a tenth of them, which shows
whether it grows faster than they do.
"""

import argparse
import json
import math
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.table import Table
from figures import machine

from survey_tools import open_store
from survey_tools.build.regridded import regrid_store
from survey_tools.catalogue import read_catalogue
from survey_tools.matching.pairs import read_pairs
from survey_tools.partitions.layout import ROWS
from survey_tools.store.manifest import read_manifest, write_manifest
from survey_tools.store.zarr_store import create, rows_together
from survey_tools.surveys import CFHT, SDSS
from translator.data.selection import select

COUNTS = (1e6, 1e8, 1e9)
BANDS = 5
# Measured by benchmarks/fetch.py and benchmarks/report.py, on a core of the machine of docs/explanation/benchmarks.md:
FRAME_SECONDS = 0.52  # to download from this machine, decompress and calibrate one SDSS frame
FRAME_OBJECT_SECONDS = 0.028  # to cut one object out of five frames, to measure its noise and to write it
TILE_OBJECT_SECONDS = 1 / 387 / 2  # the same of one object and band out of a tile
REPORT_SECONDS = 0.33  # of a galaxy and a model on the report card
WRITING_SECONDS = 0.0055  # noise, sky sigma and compression of a translated image, beside the generator
# Facts of the surveys:
FIELDS = 938_046  # of SDSS DR12
FRAME_BYTES = 3.6e6  # of one compressed frame, the mean
TILES, TILE_BYTES = 171, 1.5e9  # of CFHTLS Wide, and of each in one band
# Arithmetic, since no GPU was at hand: what the layers need, at a rate that a modern GPU should sustain.
TRAINING_FLOP = (4506e9 + 2265e9) * 60_000  # benchmarks/training.py
TRANSLATING_FLOP = 13.6e9
GPU_FLOP = 50e12
MATCHED = 659_821  # positions of the larger catalogue of the figure


@dataclass(frozen=True)
class Cost:
    """What a stage takes: files that stay, bytes that stay, bytes that pass, core-hours and GPU-hours."""

    stage: str
    files: float = 0
    kept: float = 0
    passed: float = 0
    cpu: float = 0
    gpu: float = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sky", type=Path, required=True)
    parser.add_argument("--figures", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument(
        "--prices", type=float, nargs=3, default=(0.04, 3.0, 20.0), metavar=("CORE_H", "GPU_H", "TB_MONTH")
    )
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    weights = {name: weigh(arguments.sky / f"{name}.zarr") for name in ("sdss", "cfht", "cfht64")}
    rows = {count: measure_rows(count) for count in (arguments.rows // 10, arguments.rows)}
    rates = rates_of(json.loads(arguments.figures.read_text())["figures"])
    rates["regrid: a store, one core"] = measure_regrid(arguments.sky)
    print(tables(weights, rows, rates, arguments.prices))
    if arguments.out:
        found = {"machine": machine(), "weights": weights, "rows": rows, "rates": rates, "prices": arguments.prices}
        arguments.out.write_text(json.dumps(found, indent=2) + "\n")


def weigh(path: Path) -> dict[str, float]:
    """Bytes of an object in a store, columns and all, and the inodes of one in a full partition of `ROWS` objects.

    A partition has shard files of images and masks, and besides as many files as any store: its columns, manifest and
    description, a catalogue, and the list of checksums.
    """
    store = open_store(path)
    everything = list(path.rglob("*"))
    others = [each for each in everything if each.relative_to(path).parts[0] not in ("images", "mask")]
    shard = rows_together(ROWS, len(store.bands), store.size)[2]
    folders = 3  # of each shard file
    return {
        "bytes": sum(each.stat().st_size for each in everything if each.is_file()) / len(store),
        "files": 2 / shard + (sum(each.is_file() for each in others) + 3) / ROWS,
        "inodes": 2 * (1 + folders) / shard + (len(others) + 7) / ROWS,
    }


def measure_regrid(sky: Path) -> float:
    """Objects a second of a whole regrid, on one core."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        made = regrid_store(sky / "cfht.zarr", sky / "sdss.zarr", Path(folder) / "regridded.zarr")
        return len(made) / (time.perf_counter() - start)


def measure_rows(count: int) -> dict[str, float]:
    """Seconds a row of everything that is done once a row, and the bytes that are left of it."""
    random = np.random.default_rng(0)
    place = {"ra": random.uniform(0, 360, count), "dec": np.degrees(np.arcsin(random.uniform(-1, 1, count)))}
    catalogue = Table({"object_id": [f"{i:019d}" for i in range(count)], **place, "redshift": np.zeros(count)})
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def timed(what: str, work):
            start = time.perf_counter()
            made = work()
            seconds[what] = (time.perf_counter() - start) / count
            return made

        catalogue.write(folder / "catalogue.fits")
        timed("read the catalogue", lambda: read_catalogue(folder / "catalogue.fits"))
        stores = {}
        for survey in (SDSS, CFHT):
            path = folder / f"{survey.name}.zarr"
            begun = timed("begin a store", lambda s=survey, p=path: create(p, s, s.bands, catalogue, {}, size=16))
            columns = {"coverage": np.ones((count, BANDS)), "saturated": np.zeros((count, BANDS))}
            begun.write_columns(columns)
            done = {"object_id": catalogue["object_id"], "status": ["done"] * count}
            timed("write a manifest", lambda p=begun.path, d=done: write_manifest(p / "manifest.ecsv", [d]))
            timed("read a manifest", lambda p=begun.path: read_manifest(p / "manifest.ecsv"))
            stores[survey.name] = timed("finish a store", begun.finish)
        pairs = Table({"x_row": np.arange(count), "y_row": np.arange(count)})
        pairs["separation"] = pairs["peak_offset"] = np.full(count, 0.1)
        pairs["split"] = np.where(np.arange(count) < 1000, "test", "train")
        pairs.meta = {f"{d}_rows": store.rows for d, store in zip("xy", stores.values(), strict=True)}
        timed("write a pair table", lambda: pairs.write(folder / "pairs.ecsv"))
        read = timed("read a pair table", lambda: read_pairs(folder / "pairs.ecsv", *stores.values()))
        timed("select what trains", lambda: select(*stores.values(), read[: count // 2]))
        sizes = {name: (folder / name).stat().st_size / count for name in ("catalogue.fits", "pairs.ecsv")}
    return seconds | {f"bytes of {name}": size for name, size in sizes.items()}


def rates_of(figures: list[dict]) -> dict[str, float]:
    """The rate of each figure, by its stage and what it is."""
    return {f"{figure['stage']}: {figure['what']}": figure["rate"] for figure in figures}


def rate(rates: dict[str, float], *words: str) -> float:
    """The one rate whose name has all these words."""
    (found,) = (value for name, value in rates.items() if all(word in name for word in words))
    return found


def costs(count: float, weights: dict, rows: dict, rates: dict) -> list[Cost]:
    """Every stage of `count` objects of SDSS, as many of CFHTLS, and as many pairs."""
    fields = FIELDS * (1 - math.exp(-count / FIELDS))
    each, hour = rows[max(rows)], 3600
    a_row = sum(seconds for name, seconds in each.items() if not name.startswith("bytes"))
    store = {
        name: {"files": count * weight["files"], "kept": count * weight["bytes"]} for name, weight in weights.items()
    }
    return [
        Cost(
            "fetch SDSS frames",
            **store["sdss"],
            passed=fields * BANDS * FRAME_BYTES,
            cpu=(fields * BANDS * FRAME_SECONDS + count * FRAME_OBJECT_SECONDS) / hour,
        ),
        Cost(
            "fetch CFHTLS tiles",
            **store["cfht"],
            passed=min(TILES, count) * BANDS * TILE_BYTES,
            cpu=count * BANDS * TILE_OBJECT_SECONDS / hour,
        ),
        Cost("regrid", **store["cfht64"], cpu=count / rate(rates, "regrid", "a store") / hour),
        Cost(
            "cross-match",
            kept=count * each["bytes of pairs.ecsv"],
            cpu=count * rate(rates, "crossmatch", "one within", "1 threads") / MATCHED / hour,
        ),
        Cost("tables, a row at a time", kept=count * each["bytes of catalogue.fits"], cpu=count * a_row / hour),
        Cost("train two_step, 120,000 iterations", gpu=TRAINING_FLOP / GPU_FLOP / hour),
        Cost(
            "translate SDSS",
            **store["cfht"],
            cpu=count * WRITING_SECONDS / hour,
            gpu=count * TRANSLATING_FLOP / GPU_FLOP / hour,
        ),
        Cost("report card of 10,000", cpu=min(count, 10_000) * REPORT_SECONDS / hour),
    ]


def tables(weights: dict, rows: dict, rates: dict, prices: tuple[float, float, float]) -> str:
    """What was measured of the parts, and the cost of each count, in Markdown."""
    lines = ["| an object in a store | bytes | files | files and folders |", "|---|---|---|---|"]
    lines += [f"| {n} | {w['bytes']:,.0f} | {w['files']:.6f} | {w['inodes']:.6f} |" for n, w in weights.items()]
    few, many = rows
    lines += ["", f"| once a row | µs at {few:,} rows | µs at {many:,} rows |", "|---|---|---|"]
    lines += [
        f"| {name} | {rows[few][name] * 1e6:.2f} | {value * 1e6:.2f} |"
        for name, value in rows[many].items()
        if not name.startswith("bytes")
    ]
    for count in COUNTS:
        lines += [
            "",
            f"| {count:.0e} objects | files | TB kept | TB passed | core-hours | GPU-hours | $ |",
            "|---|---|---|---|---|---|---|",
        ]
        found = costs(count, weights, rows, rates)
        total = Cost(
            "all, and a month of storage",
            *(sum(getattr(c, n) for c in found) for n in ("files", "kept", "passed", "cpu", "gpu")),
        )
        for cost in (*found, total):
            money = cost.cpu * prices[0] + cost.gpu * prices[1] + cost.kept / 1e12 * prices[2]
            lines.append(
                f"| {cost.stage} | {cost.files:,.0f} | {cost.kept / 1e12:,.3g} | {cost.passed / 1e12:,.3g} "
                f"| {cost.cpu:,.3g} | {cost.gpu:,.3g} | {money:,.0f} |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
