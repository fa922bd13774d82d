"""Every part of benchmarks/gpu.py goes through on a CPU, and the parts without stores know nothing of them."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

FOLDER = Path(__file__).parents[2] / "benchmarks"
WITHOUT_STORES = """
import runpy, sys
sys.path.insert(0, ".")
sys.modules |= dict.fromkeys(("zarr", "astropy", "dask", "matplotlib"))
sys.argv = ["gpu.py", *sys.argv[1:]]
runpy.run_path("gpu.py", run_name="__main__")
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """What plays a part in this process, and gives its rows."""
    torch.set_num_threads(1)
    monkeypatch.syspath_prepend(str(FOLDER))

    def run(part, *more):
        words = ["gpu.py", "--part", part, "--device", "cpu", "--quick", "--out", str(tmp_path), *map(str, more)]
        monkeypatch.setattr(sys, "argv", words)
        runpy.run_path(str(FOLDER / "gpu.py"), run_name="__main__")
        found = json.loads((tmp_path / f"{part}.json").read_text())
        return found["configurations" if part == "summary" else "rows"]

    return run


def test_networks_are_compared_timed_and_profiled(run, capsys):
    compared = {(row["step"], row["precision"]): row for row in run("correctness")}
    assert compared[1, "float32"]["losses"] == compared[2, "float32"]["gradients"] == 0  # a CPU against itself
    assert 0 < compared[1, "bf16"]["losses"] < 0.05
    assert {row["what"] for row in run("steps")} == {"product", "convolution", "iteration"}
    assert sum(row["share"] for row in run("profile") if row["precision"] == "bf16") <= 1
    (single, *_) = run("summary")
    seconds = [1 / single[f"step {number} [it/s]"] for number in ("one", "two")]
    np.testing.assert_allclose(single["hours for 2 x 60,000"], 60_000 * sum(seconds) / 3600)
    printed = capsys.readouterr().out
    assert "| float32, plain |" in printed
    assert "nothing is measured" in printed


def test_the_wait_for_images_and_a_training_are_measured(run, benchmark_sky):
    for row in run("data", "--sky", benchmark_sky):
        assert 0 <= row["share"] <= 1
    trained = run("train", "--sky", benchmark_sky)
    assert [(row["precision"], row["step"], row["iterations"]) for row in trained] == [
        (precision, step, 3) for precision in ("float32", "bf16") for step in (1, 2)
    ]


def test_a_machine_without_what_stores_need_can_measure_networks(tmp_path):
    command = [sys.executable, "-W", "error", "-c", WITHOUT_STORES, "--part", "summary", "--device", "cpu", "--out"]
    ended = subprocess.run([*command, str(tmp_path)], cwd=FOLDER, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
