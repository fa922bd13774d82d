"""benchmarks/training.py goes through on small images, and counts operations as PyTorch's own counter does."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

FOLDER = Path(__file__).parents[2] / "benchmarks"


def test_both_steps_are_timed_beside_plain_convolutions(tmp_path):
    out = tmp_path / "figures.json"
    command = [sys.executable, "-W", "error", "training.py", "--quick", "--out", str(out)]
    ended = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    first, memory, *others = json.loads(out.read_text())["figures"]
    assert (first["stage"], memory["unit"], len(others)) == ("train", "GB", 2)
    assert first["ratio"] == pytest.approx(first["rate"] / first["plain"])
    assert memory["rate"] > 0.1  # how much it is differs from one kind of CPU to the next


def test_operations_are_counted_in_both_directions(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    counted = importlib.import_module("flops").counted
    image, kernel = torch.ones(1, 2, 8, 8, requires_grad=True), torch.ones(3, 2, 3, 3, requires_grad=True)

    def work():
        torch.nn.functional.conv2d(image, kernel, padding=1).sum().backward()

    with FlopCounterMode(display=False) as plain:
        work()
    assert counted(work) == plain.get_total_flops() == 3 * 2 * 9 * 2 * 3 * 64
