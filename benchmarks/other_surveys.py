"""Train `psf_matched` between surveys other than SDSS and CFHTLS, and write the tables of docs/explanation/results.md.

    python benchmarks/other_surveys.py --out other

One sky is drawn as all the surveys see it. Then, for each pair: the cross-match, a training, and the report on the
test pairs. What is there already is kept, and a training that was stopped goes on. In OUT/X_Y: pairs, run, report, and
a table of each direction. The last lines name every band in which a translation is farther from the truth than plain
interpolation. `--picture` writes a few galaxies as all the surveys see them.
"""

import json
import subprocess
import sys
import tempfile
import time
from functools import reduce
from pathlib import Path

import click
import numpy as np
from PIL import Image
from results import cell

from survey_tools import open_store
from translator import preview

MEASURES = (
    "signal_residual",
    "signal_scale",
    "aperture_offset",
    "photoz_sigma_mad",
    "sources_invented",
    "sources_lost",
    "noise_amplitude",
    "noise_power",
    "coverage_flux_68",
    "coverage_truth_68",
    "hsm_size_bias",
    "figure5_ratio",
    "consistency",
)
REFERENCES = ("wiener", "bilinear", "floor")
AGAINST_BILINEAR = ("signal_residual", "aperture_offset", "hsm_size_bias", "noise_amplitude", "sources_lost")
BRIGHTEST, SHOWN, SIDE = 60, 2, 200  # galaxies among which those of the picture are, how many; pixels of a panel


@click.command(help=__doc__)
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option(
    "--pair",
    "pairs",
    multiple=True,
    default=("des,hsc", "sdss,des", "legacy,hsc", "des,legacy"),
    show_default=True,
    help="Two surveys. The option may be repeated.",
)
@click.option("--bands", default="griz", show_default=True)
@click.option("--galaxies", default=700, show_default=True, help="Objects in the store of each survey.")
@click.option("--iterations", default="400,1800,300", show_default=True)
@click.option("--width", default=32, show_default=True)
@click.option("--batch-size", default=4, show_default=True)
@click.option("--picture", type=click.Path(path_type=Path), help="PNG of a few galaxies as all the surveys see them.")
def main(out: Path, pairs, bands: str, galaxies: int, iterations: str, width: int, batch_size: int, picture) -> None:
    surveys = list(dict.fromkeys(name for pair in pairs for name in pair.split(",")))
    sky = out / "sky"
    some = ["--galaxies", galaxies, "--overlap", 0.45, "--bands", bands, "--seed", 15]
    galtrans("simulate", "--surveys", ",".join(surveys), *some, "--out", sky)
    if picture:
        draw(sky, surveys, picture)
    for pair in pairs:
        x, y = pair.split(",")
        folder = out / f"{x}_{y}"
        folder.mkdir(exist_ok=True)
        run, report, table = folder / "run", folder / "report", folder / "pairs.ecsv"
        stores = [sky / f"{x}.zarr", sky / f"{y}.zarr"]
        if not table.exists():
            galtrans("crossmatch", *stores, "--out", table, "--test-size", 100)
        how = ["--iterations", iterations, "--width", width, "--batch-size", batch_size, "--recipe", "psf_matched"]
        resume = ["--resume"] if (run / "run.json").exists() else []
        galtrans("train", *stores, table, *how, "--run", run, *resume)
        if not (report / "report.json").exists():
            galtrans("evaluate", run, *stores, table, "--truth", sky / "truth", "--out", report)
        content = json.loads((report / "report.json").read_text())
        name = content["runs"][0]["name"]
        for direction, found in content["directions"].items():
            (folder / f"{direction}.md").write_text(table_of(found, name))
            print(f"\n{direction}\n\n{table_of(found, name)}")
            for line in worse_than_bilinear(found, name):
                print(line)


def galtrans(*words) -> None:
    """Run a command of galtrans and say how long it took."""
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-m", "cli", *map(str, words)], check=True)
    print(f"{words[0]}: {time.perf_counter() - begun:.0f} s", flush=True)


def table_of(found: dict, run: str) -> str:
    """A direction in Markdown: a line for each measure, and how many measures are at their floor."""
    rows = (run, f"{run}, draws", *REFERENCES)
    title = f"{found['from']} to {found['to']}, in {', '.join(found['bands'])}"
    lines = [f"| {title} | `psf_matched` | one draw | {' | '.join(REFERENCES)} |", "|---" * (1 + len(rows)) + "|"]
    for measure in MEASURES:
        values = found["values"].get(measure, {})
        if values:
            lines.append(f"| `{measure}` | " + " | ".join(cell(values.get(row)) for row in rows) + " |")
    counts = [found["verdict"]["rows"].get(row, {}).get("against", {}).get("floor", {}) for row in rows]
    at_floor = [str(each["closer"] + each["alike"]) if each else "–" for each in counts]
    of = max((each["of"] for each in counts if each), default=0)
    lines.append(f"| measures at their floor, of {of} | " + " | ".join(at_floor) + " |")
    return "\n".join(lines) + "\n"


def worse_than_bilinear(found: dict, run: str) -> list[str]:
    """Each band in which a run is farther from perfect than plain interpolation."""
    lines = []
    for measure in AGAINST_BILINEAR:
        rows = found["values"].get(measure, {})
        if run not in rows or "bilinear" not in rows:
            continue
        ours, plain = (rows[row]["value"] for row in (run, "bilinear"))
        for band, *values in zip(found["bands"], ours, plain, strict=True):
            if None not in values and abs(values[0]) > abs(values[1]):
                words = f"{found['from']} to {found['to']}, {measure} in {band}"
                lines.append(f"{words}: {values[0]:.3g}, bilinear {values[1]:.3g}")
    return lines


def draw(sky: Path, surveys: list[str], picture: Path) -> None:
    """Write a picture: a row for each of the brightest of some galaxies, a column for each survey."""
    stores = [open_store(sky / f"{name}.zarr") for name in surveys]
    numbers = [[name.rsplit("-", 1)[1] for name in store.column("object_id").tolist()] for store in stores]
    shared = sorted(reduce(lambda some, more: some & set(more), numbers, set(numbers[0])))[:BRIGHTEST]
    light = [np.nansum(stores[0].images[numbers[0].index(each)][1]) for each in shared]
    whole = Image.new("RGB", (SIDE * len(stores), SIDE * SHOWN))
    with tempfile.TemporaryDirectory() as folder:
        for down, place in enumerate(np.argsort(light)[-SHOWN:]):
            for along, (store, known) in enumerate(zip(stores, numbers, strict=True)):
                path = Path(folder) / f"{down}_{along}.png"
                preview(store, {known.index(shared[place]): path})
                whole.paste(Image.open(path).convert("RGB").resize((SIDE, SIDE)), (SIDE * along, SIDE * down))
    whole.save(picture, optimize=True)


if __name__ == "__main__":
    main()
