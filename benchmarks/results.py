"""Write what docs/explanation/results.md quotes of reports: tables in Markdown, all numbers, and the pictures.

    python benchmarks/results.py ten/report ten/report_regridded --out docs/explanation/results

In OUT: `DIRECTION.md`, rows of the reports against a few measures, medians over the bands; `numbers.ecsv`, every
measure, row and band with its interval; and the pages' figures of `FIGURES` as PNG.
"""

import base64
import json
import re
from pathlib import Path

import click
import numpy as np
from astropy.table import Table

from translator.model_card import cell

MEASURES = {  # column: measure
    "Fig. 5": "figure5_ratio",
    "rise": "figure5_rise",
    "Fig. 6 [dex]": "figure6_log_ratio",
    "highest [dex]": "figure6_highest",
    "residual": "signal_residual",
    "scale [″]": "signal_scale",
    "Δmag": "aperture_offset",
    "size": "hsm_size_bias",
    "noise": "noise_amplitude",
    "correlation": "noise_correlation",
    "photo-z": "photoz_sigma_mad",
    "lost": "sources_lost",
    "invented": "sources_invented",
    "68 %": "coverage_pixels_68",
}
FIGURES = ("Summed error", "Fine detail in Fourier space")  # what their alternative texts begin with


@click.command(help=__doc__)
@click.argument("reports", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True)
def main(reports: tuple[Path, ...], out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    rows = []
    for path in reports:
        report = json.loads((path / "report.json").read_text())
        for direction, found in report["directions"].items():
            name = direction + path.name.removeprefix("report")
            (out / f"{name}.md").write_text(table_of(found))
            rows += numbers(name, found)
        save_figures(path, out)
    table = Table(rows=rows, names=("direction", "row", "measure", "band", "value", "low", "high", "distance"))
    table.write(out / "numbers.ecsv", format="ascii.ecsv", overwrite=True)


def table_of(found: dict) -> str:
    """A direction in Markdown: references last."""
    names = list(dict.fromkeys(row for each in found["values"].values() for row in each))
    names.sort(key=lambda name: name in found["references"])
    lines = ["| | " + " | ".join(MEASURES) + " |", "|---" * (1 + len(MEASURES)) + "|"]
    for name in names:
        cells = [cell(found["values"].get(measure, {}).get(name)) for measure in MEASURES.values()]
        lines.append(f"| {name if name in found['references'] else f'`{name}`'} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def numbers(direction: str, found: dict) -> list[tuple]:
    """Every measure, row and band."""
    lines = []
    for measure, rows in found["values"].items():
        for row, value in rows.items():
            columns = [np.array(value[key], float) for key in ("value", "low", "high", "distance")]
            for band, *each in zip(found["bands"], *columns, strict=True):
                lines.append((direction, row, measure, band, *each))
    return lines


def save_figures(path: Path, out: Path) -> None:
    """The figures of a page, by what they show: their pictures lie in it as data."""
    page = (path / "report.html").read_text()
    for tag in re.findall(r"<img[^>]*>", page):
        alt, data = re.search(r'alt="([^"]*)"', tag), re.search(r'src="data:image/(\w+);base64,([^"]*)"', tag)
        if alt and data and alt.group(1).startswith(FIGURES):
            name = re.sub(r"\W+", "_", alt.group(1)).strip("_").lower() + path.name.removeprefix("report")
            (out / f"{name}.{data.group(1)}").write_bytes(base64.b64decode(data.group(2)))


if __name__ == "__main__":
    main()
