"""Figures for the card of a model: by brightness, size and seeing; with fewer bands; with wrong or unknown seeing.

    python benchmarks/model_card.py --run sdss-cfhtls --sky bench --report report/report.json --out card

writes CARD.json, and CARD.md with the tables of docs/explanation/shipped_model.md: those of the report, then groups
and conditions.

Towards the richer survey, on the test pairs of a benchmark sky with its truth. Of each group of galaxies: √ of the
median of Σ(signal − truth)² / Σ truth² (residual), and the median and the robust scatter of the magnitude within 2
arcsec, signal against truth (offset, scatter), medians over the bands that the group is translated in.
"""

import json
from dataclasses import replace
from pathlib import Path

import click
import numpy as np

from survey_tools.photometry import nanomaggies_to_magnitude
from translator import load_run
from translator.data.reading import read_rows
from translator.evaluation.held_out import open_held_out, truth_images
from translator.evaluation.samples import drawn_name
from translator.metrics.apertures import aperture_flux
from translator.metrics.robust import NORMAL
from translator.metrics.signal import residual_of
from translator.model_card import measure_table
from translator.report.sample_files import BILINEAR, FLOOR, WIENER
from translator.runs.apply import Request, request_like, translate_each

GROUPS = 3  # of galaxies by brightness, size and seeing, of one size each
BAND = 2  # r: by which galaxies are grouped


def half_light_radius(images: np.ndarray, pixel_scale: float) -> np.ndarray:
    """Radius [arcsec] of the circle around the centre that has half of an image's light (galaxy, row, col)."""
    side = images.shape[-1]
    rows, cols = np.indices((side, side)) - (side - 1) / 2
    order = np.argsort(np.hypot(rows, cols), axis=None)
    grown = np.cumsum(images.reshape(len(images), -1)[:, order], axis=1)
    place = (grown >= grown[:, -1:] / 2).argmax(axis=1)
    return np.hypot(rows, cols).ravel()[order][place] * pixel_scale


def said(made: np.ndarray, truth: np.ndarray, pixel_scale: float, bands) -> dict[str, float]:
    """Residual, offset and scatter of some galaxies (galaxy, band, row, col)."""
    made, truth = made[:, bands], truth[:, bands]
    residual = residual_of(made, truth)
    with np.errstate(invalid="ignore", divide="ignore"):
        off = -2.5 * np.log10(aperture_flux(made, pixel_scale) / aperture_flux(truth, pixel_scale))
    middle = np.nanmedian(off, axis=0)
    scatter = NORMAL * np.nanmedian(np.abs(off - middle), axis=0)
    values = {"residual": residual, "offset": middle, "scatter": scatter}
    return {name: round(float(np.median(value)), 4) for name, value in values.items()} | {"galaxies": len(made)}


@click.command()
@click.option("--run", default="sdss-cfhtls", show_default=True, help="Folder of a run, or a built-in model.")
@click.option("--sky", type=click.Path(exists=True, path_type=Path), required=True, help="Folder of a benchmark sky.")
@click.option(
    "--report", type=click.Path(exists=True, path_type=Path), help="report.json of `galtrans evaluate` on that sky."
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Files to write, without their endings.")
def main(run: str, sky: Path, report: Path | None, out: Path) -> None:
    """Translate the test galaxies in every way and write the figures."""
    trained = load_run(run, "cpu")
    held = open_held_out(sky / "sdss.zarr", sky / "cfht.zarr", sky / "pairs.ecsv", sky / "truth", galaxies=None, seed=0)
    images, target = (read_rows(held.stores[d], held.rows[d]) for d in "xy")
    truth = truth_images(held, "y")
    scale, usual = held.stores["y"].pixel_scale, request_like(held.stores, held.rows, "y", target)
    everything = list(range(len(trained.bands)))

    def made(request: Request, bands=everything) -> np.ndarray:
        good = np.isfinite(images)
        good[:, [band for band in everything if band not in bands]] = False
        told = replace(request, good=good)
        return translate_each(trained, images, "y", [0] * len(images), noise=False, request=told)

    found, best = {}, made(usual)
    found["all"] = said(best, truth, scale, everything)
    light = aperture_flux(truth[:, BAND : BAND + 1], scale)[:, 0]
    for name, value in (
        ("by magnitude", nanomaggies_to_magnitude(light)),
        ("by half-light radius", half_light_radius(truth[:, BAND], scale)),
        ("by seeing of SDSS", usual.psf_fwhm[:, BAND]),
    ):
        edges = np.quantile(value, np.linspace(0, 1, GROUPS + 1))
        which = np.clip(np.searchsorted(edges, value, side="right") - 1, 0, GROUPS - 1)
        found[name] = {
            f"{edges[n]:.2f} to {edges[n + 1]:.2f}": said(best[which == n], truth[which == n], scale, everything)
            for n in range(GROUPS)
        }
    names = "".join(trained.bands)
    for some in ("gri", "gr", "r"):
        places = [names.index(band) for band in some]
        found[f"{some} alone"] = said(made(usual, places), truth, scale, places)
        found[f"{some} of all bands"] = said(best, truth, scale, places)
    for word, factor in (("10 % too small", 0.9), ("10 % too large", 1.1)):
        wrong = replace(usual, psf_fwhm=usual.psf_fwhm * factor)
        found[f"seeing stated {word}"] = said(made(wrong), truth, scale, everything)
    found["seeing of SDSS unknown"] = said(made(replace(usual, psf_fwhm=None)), truth, scale, everything)
    found["noise of SDSS unknown"] = said(made(replace(usual, sky_sigma=None)), truth, scale, everything)
    out.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")
    lines = [] if report is None else of_report(json.loads(report.read_text()))
    out.with_suffix(".md").write_text("\n".join([*lines, *of_groups(found)]) + "\n")
    print(out.with_suffix(".md").read_text())


def of_report(report: dict) -> list[str]:
    """The tables of both directions: the run, one draw of it, and the references."""
    lines, name = [], report["runs"][0]["name"]
    for direction, found in report["directions"].items():
        rows = [name, *(row for row in (drawn_name(name), WIENER, BILINEAR) if row in found["verdict"]["rows"])]
        rows.append(FLOOR)
        lines += [f"### {direction}", "", *measure_table(found, dict(zip(rows, rows, strict=True))), ""]
    return lines


def of_groups(found: dict) -> list[str]:
    """A line for each group of galaxies and each condition."""
    lines = ["| galaxies, conditions | number | residual | offset [mag] | scatter [mag] |", "|---" * 5 + "|"]
    flat = {}
    for name, value in found.items():
        grouped = "residual" not in value
        flat |= {f"{name} {edges}": each for edges, each in value.items()} if grouped else {name: value}
    for name, value in flat.items():
        numbers = (f"{value[key]:g}".replace("-", "−") for key in ("galaxies", "residual", "offset", "scatter"))
        lines.append(f"| {name} | " + " | ".join(numbers) + " |")
    return lines


if __name__ == "__main__":
    main()
