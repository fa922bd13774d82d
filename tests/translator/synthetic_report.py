"""A report of ten runs with numbers that are easy to check, and its page: run k is k from perfect in every measure."""

from types import SimpleNamespace

import numpy as np

from translator.metrics.measure import Curve
from translator.metrics.table import GROUPS, MEASURES
from translator.report.measuring import Measured
from translator.report.page import write_page
from translator.report.sample_files import SampleFiles
from translator.report.verdict import judge_direction

MEASURED = [row.name for row in GROUPS["Photometry"].MEASURES] + ["photoz_bias"]
BANDS, GALAXIES = tuple("ugriz"), 8
NUMBERS = (3, 0, 7, 1, 9, 2, 8, 4, 6, 5)  # the order in which runs are given
HALF = 0.1  # of every interval
DIRECTIONS = {"sdss_to_cfht": ("SDSS", "CFHTLS"), "cfht_to_sdss": ("CFHTLS", "SDSS")}


def write_report(folder) -> SimpleNamespace:
    """Write the page; "path", "report", "runs" (names) and "measures"."""
    runs = [f"run{k}" for k in NUMBERS]
    rows = {f"run{k}": k for k in NUMBERS} | {"floor": 0, "oracle": 0, "bilinear": 20}
    curves = {row: Measured({}, {}, _misses(), {"curve_figure6": _curve(value)}) for row, value in rows.items()}
    report = describe(runs) | {"directions": {name: _direction(name, rows) for name in DIRECTIONS}}
    samples = {name: dict.fromkeys(rows, (_files(folder / name), None)) for name in DIRECTIONS}
    path = write_page(folder / "report.html", report, samples, dict.fromkeys(DIRECTIONS, curves), 1)
    return SimpleNamespace(path=path, report=report, runs=runs, measures=MEASURED)


def describe(runs: list[str]) -> dict:
    """What a report says besides its numbers."""
    facts = {"path": "/a/run", "recipe": "two_step", "iteration": 2, "iterations": [1, 1], "checksum": "c", "seed": 0}
    facts |= {"galtrans_version": "1", "test_galaxies_unseen": True}
    store = {"path": "/a/store", "survey": "s", "title": "SDSS", "objects": 99, "rows_checksum": "c"}
    words = ("title", "unit", "meaning", "formula", "source", "perfect", "cap")
    return {
        "galtrans_version": "1",
        "date": "2026-11-23",
        "seed": 0,
        "settings": {"galaxies": None, "draws": 8, "bootstraps": 500, "level": 0.68},
        "runs": [facts | {"name": name} for name in runs],
        "stores": dict.fromkeys("xy", store | {"rows": list(range(GALAXIES))}),
        "truth": "/a/truth",
        "pairs": {"path": "/a/pairs.ecsv", "checksum": "c", "counts": {"used": GALAXIES}},
        "measures": {
            row.name: {word: getattr(row, word) for word in words} | {"needs": list(row.needs), "group": heading}
            for heading, group in GROUPS.items()
            for row in group.MEASURES
        },
        "notes": [],
        "requirements": [],
    }


def _direction(name: str, rows: dict[str, float]) -> dict:
    values = {measure: {row: _numbers(value, measure) for row, value in rows.items()} for measure in MEASURED}
    return {
        "from": DIRECTIONS[name][0],
        "to": DIRECTIONS[name][1],
        "bands": list(BANDS),
        "pixel_scale": 0.2,
        "galaxies": GALAXIES,
        "drawn": list(range(GALAXIES)),
        "references": dict.fromkeys(("floor", "oracle", "bilinear"), "what it is"),
        "left_out": {"signal_residual": "it needs the truth"},
        "values": values,
        "verdict": judge_direction({"values": values}, {name: MEASURES[name].perfect for name in MEASURED}),
        "input": {"photoz_bias": _numbers(0.5, "photoz_bias")},
        "curves": {row: {"curve_figure6": {}} for row in rows},
    }


def _numbers(value: float, measure: str) -> dict[str, list[float]]:
    apart = 0.01 * np.arange(-2, 3) * MEASURES[measure].per_band
    ends = {"value": value + apart, "low": value - HALF + apart, "high": value + HALF + apart}
    return {key: each.tolist() for key, each in ends.items()} | {
        "distance": [value / np.hypot(HALF, HALF)] * len(BANDS)
    }


def _misses() -> dict[str, np.ndarray]:
    """Galaxy 0 is the best by the first measure and the worst by the second."""
    order = np.arange(GALAXIES, dtype=float)
    return {"aperture_offset": order, "total_offset": order[::-1].copy(), "photoz_bias": (order + 3) % GALAXIES}


def _curve(value: float) -> Curve:
    x = np.arange(1.0, 6)
    maps = {"target": np.ones((len(BANDS), 8, 8)), "output": np.full((len(BANDS), 8, 8), 1.0 + value)}
    return Curve(
        "Fine detail", "frequency", "amplitude", x, {"output": np.outer(np.ones(len(BANDS)), x + value)}, maps=maps
    )


def _files(folder) -> SampleFiles:
    images = np.random.default_rng(0).normal(0, 0.01, (GALAXIES, len(BANDS), 24, 24))
    images += np.exp(-((np.indices((24, 24)) - 11.5) ** 2).sum(axis=0) / 20)
    files = SampleFiles(BANDS, 0.2, 0.4, {})
    return files.add(folder, target=images, source=images[..., ::2, ::2], truth=images, sigma=images[:, :, 0, 0])
