"""benchmarks/closure.py finds the right objects, observes their light, and measures what is left of it."""

import importlib
from pathlib import Path
from types import SimpleNamespace

import click
import numpy as np
import pytest
import torch
from astropy.io import fits

from translator.networks.layers import Grid
from translator.networks.measured_survey import MeasuredSurvey
from translator.networks.observation_operator import ObservationOperator

SIZE, SCALE, SIGMA = 220, 0.186, 1.4  # [pixel], [arcsec/pixel], [counts at zero point 30]
STARS = {(110, 80): 1000.0, (30, 110): 3000.0, (170, 150): 8000.0, (115, 130): 300.0}  # peaks; one near an edge
NAME = "CFHTLS-test_{band}.fits"


@pytest.fixture(scope="module")
def closure():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
        yield importlib.import_module("closure")


@pytest.fixture(scope="module")
def stacks(closure, tmp_path_factory):
    folder, random = tmp_path_factory.mktemp("stacks"), np.random.default_rng(1)
    rows, cols = np.indices((SIZE, SIZE))
    for band in "gr":
        light = sum(
            peak * np.exp(-((rows - row) ** 2 + (cols - col) ** 2) / (2 * 1.8**2)) for (row, col), peak in STARS.items()
        )
        header = fits.Header({"MZP_AB": 30.0, "SATURATE": 5000.0, "IQIMAGE": 0.79, "GAIN": 42.0})
        noisy = (light + random.normal(0, SIGMA, light.shape)).astype(np.float32)
        fits.writeto(folder / NAME.format(band=band), noisy, header)
    return closure.read_stacks(folder, NAME, tuple("ugr"), SCALE)


def test_stacks_are_calibrated_by_their_headers(stacks):
    assert stacks.bands == ("g", "r")
    np.testing.assert_allclose(stacks.sigma, SIGMA / 1000, rtol=0.05)
    np.testing.assert_allclose(stacks.gain, 42000)
    assert stacks.distance[170, 150] == 0
    assert stacks.distance[170, 100] == pytest.approx(50 * SCALE, abs=4 * SCALE)


def test_objects_near_an_edge_or_a_saturated_star_are_left_out(closure, stacks):
    found = closure.find_objects(stacks, 64, SCALE, 22.0, 60)
    np.testing.assert_allclose(found.place, [(110, 80), (115, 130)], atol=0.2)
    flux = 2 * np.pi * 1.8**2 * np.array([1.0, 0.3])
    np.testing.assert_allclose(found.magnitude, 22.5 - 2.5 * np.log10(flux), atol=0.02)
    assert found.star.all()


def test_a_stack_of_the_band_of_detection_must_be_there(closure, tmp_path):
    with pytest.raises(click.ClickException, match=r"has no CFHTLS-test_r.fits"):
        closure.read_stacks(tmp_path, NAME, tuple("gri"), SCALE)


def test_residuals_and_magnitudes_are_those_of_the_light_that_is_lost(closure, stacks):
    found = closure.find_objects(stacks, 64, SCALE, 22.0, 1)
    real, clean = closure.cutouts(stacks, ("g", "r"), found.start[0], 64)
    other = np.random.default_rng(2).normal(0, SIGMA / 1000, real.shape)
    case = SimpleNamespace(middle=found.place - found.start, clean=clean[None])
    signals = {"same light": (real + other)[None], "less light": 0.9 * real[None]}
    measured = closure.compare(signals, real[None], case, stacks, SCALE)
    np.testing.assert_allclose(measured["same light"]["residual"], 0, atol=0.01)
    np.testing.assert_allclose(measured["less light"]["residual"], 0.1, rtol=0.05)
    np.testing.assert_allclose(measured["less light"]["magnitude"], -2.5 * np.log10(0.9), atol=1e-4)


def test_the_table_has_medians_by_magnitude_and_band(closure):
    objects = SimpleNamespace(magnitude=np.array([17.0, 20.0]), star=np.array([True, False]), place=np.ones((2, 2)))
    case = SimpleNamespace(source=np.array([0, 0, 1]))
    values = {"residual": np.array([[0.1], [0.3], [np.nan]]), "magnitude": np.array([[0.1], [-0.3], [0.0]])}
    found = dict.fromkeys(closure.METHODS, values)
    rows = closure.summary(found, case, objects, ("r",))
    assert [(row["magnitude"], row["objects"], row["band"]) for row in rows] == [
        ("< 18", 1, "r"),
        ("19.5 to 21", 1, "r"),
    ]
    assert rows[0]["wiener"] == {"residual": 0.2, "difference": -0.1, "absolute difference": 0.2}
    assert "| 0.200 |" in closure.table(rows)
    assert "-0.100 (0.200)" in closure.table(rows)
    assert closure.written_values(found, case, objects, ("r",))[2]["wiener"]["residual"] == {"r": None}


def test_an_observation_keeps_the_flux_of_the_bands_that_are_there(closure, stacks):
    here, there = Grid(3, 30, pixel_scale=0.396), Grid(3, 64, pixel_scale=SCALE)
    networks = torch.nn.ModuleDict(
        {
            "operator_x": ObservationOperator(here, there),
            "survey_x": MeasuredSurvey(here, there),
            "survey_y": MeasuredSurvey(there, here),
        }
    )
    networks["survey_x"].log_sigma.fill_(np.log(1e-5))
    domains = {"x": SimpleNamespace(size=30, bands=tuple("ugr")), "y": SimpleNamespace(bands=tuple("ugr"))}
    found = closure.find_objects(stacks, 64, SCALE, 22.0, 1)
    image, _ = closure.cutouts(stacks, tuple("ugr"), found.start[0], 64)
    ratio = 0.396 / SCALE
    alignment = np.array([[ratio, 0, 0.3], [0, ratio, -0.4]], np.float32)
    made = closure.seen(SimpleNamespace(networks=networks, domains=domains), stacks, image, alignment, 0)
    assert np.isnan(made[0]).all()
    np.testing.assert_allclose(made[1:].sum(axis=(1, 2)), image[1:].sum(axis=(1, 2)), rtol=0.02)
