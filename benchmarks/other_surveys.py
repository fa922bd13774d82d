"""Train `psf_matched` between surveys other than SDSS and CFHTLS, and write the tables of docs/explanation/results.md.

    python benchmarks/other_surveys.py --out other --pair sdss,des --pair des,hsc --pair legacy,hsc --pair legacy,des

For each pair: a benchmark sky of both surveys, a training, and the report on the test pairs. What is there already is
kept, and a training that was stopped goes on. In OUT/X_Y: the sky, the run, the report, and `X_to_Y.md` with the table
of each direction. The last lines name every band in which a translation is farther from the truth than plain
interpolation.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

import click
import numpy as np
from results import cell

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
RUN = "psf_matched"
ROWS = (RUN, f"{RUN}, draws", "wiener", "bilinear", "floor")
TITLES = (f"`{RUN}`", "one draw", "wiener", "bilinear", "floor")
AGAINST_BILINEAR = ("signal_residual", "aperture_offset", "hsm_size_bias", "noise_amplitude", "sources_lost")


@click.command(help=__doc__)
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--pair", "pairs", multiple=True, required=True, help="The survey with the larger pixels, and the other.")
@click.option("--benchmark", default="twin-v1-small", show_default=True, help="How many objects: a set of `simulate`.")
@click.option("--iterations", default="1200,4500,900", show_default=True)
@click.option("--width", default=48, show_default=True)
@click.option("--batch-size", default=8, show_default=True)
@click.option("--sky-only", is_flag=True, help="Make the skies and stop.")
def main(out: Path, pairs: tuple[str, ...], benchmark: str, iterations: str, width: int, batch_size: int, sky_only):
    for pair in pairs:
        x, y = pair.split(",")
        folder = out / f"{x}_{y}"
        sky, run, report = folder / "sky", folder / RUN, folder / "report"
        stores = [sky / f"{x}.zarr", sky / f"{y}.zarr", sky / "pairs.ecsv"]
        galtrans("simulate", "--surveys", pair, "--benchmark", benchmark, "--out", sky)
        if sky_only:
            continue
        how = ["--iterations", iterations, "--width", width, "--batch-size", batch_size, "--recipe", RUN]
        resume = ["--resume"] if (run / "run.json").exists() else []
        galtrans("train", *stores, *how, "--run", run, *resume)
        if not (report / "report.json").exists():
            galtrans("evaluate", run, *stores, "--truth", sky / "truth", "--out", report)
        for direction, found in json.loads((report / "report.json").read_text())["directions"].items():
            (folder / f"{direction}.md").write_text(table_of(found))
            print(f"\n{direction}\n\n{table_of(found)}")
            for line in worse_than_bilinear(found):
                print(line)


def galtrans(*words) -> None:
    """Run a command of galtrans and say how long it took."""
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-m", "cli", *map(str, words)], check=True)
    print(f"{words[0]}: {time.perf_counter() - begun:.0f} s", flush=True)


def table_of(found: dict) -> str:
    """A direction in Markdown: a line for each measure, and how many measures are at their floor or near it."""
    title = f"{found['from']} to {found['to']}, in {', '.join(found['bands'])}"
    lines = [f"| {title} | " + " | ".join(TITLES) + " |", "|---" * (1 + len(TITLES)) + "|"]
    for measure in MEASURES:
        rows = found["values"].get(measure, {})
        if rows:
            lines.append(f"| `{measure}` | " + " | ".join(cell(rows.get(row)) for row in ROWS) + " |")
    counts = [found["verdict"]["rows"].get(row, {}).get("against", {}).get("floor", {}) for row in ROWS]
    at_floor = [str(each["closer"] + each["alike"]) if each else "–" for each in counts]
    of = max((each["of"] for each in counts if each), default=0)
    lines.append(f"| measures at their floor, of {of} | " + " | ".join(at_floor) + " |")
    return "\n".join(lines) + "\n"


def worse_than_bilinear(found: dict) -> list[str]:
    """Each band in which a run is farther from perfect than plain interpolation."""
    lines = []
    for measure in AGAINST_BILINEAR:
        rows = found["values"].get(measure, {})
        if RUN not in rows or "bilinear" not in rows:
            continue
        ours, plain = (rows[row] for row in (RUN, "bilinear"))
        for place, band in enumerate(found["bands"]):
            values = [abs(each["value"][place] or np.nan) for each in (ours, plain)]
            if values[0] > values[1]:
                lines.append(
                    f"{found['from']} to {found['to']}, {measure} in {band}: {values[0]:.3g}, bilinear {values[1]:.3g}"
                )
    return lines


if __name__ == "__main__":
    main()
