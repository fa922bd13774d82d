"""A training that is killed, or stopped by Ctrl-C, and resumed ends with the same weights to the bit."""

import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from survey_tools.surveys import CFHT, SDSS

TOTAL = 40  # iterations, over both steps
WORDS = ("--recipe", "demo", "--iterations", TOTAL // 2, "--batch-size", 2, "--checkpoint-every", 1, "--seed", 3)


def start(paths, run, *more):
    command = [sys.executable, "-m", "cli.main", "train", *paths, *WORDS, "--run", run, *more]
    return subprocess.Popen(
        [str(word) for word in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(paths, run, *more):
    process = start(paths, run, *more)
    out, error = process.communicate(timeout=200)
    assert process.returncode == 0, error
    return out


def assert_same_weights(run, other):
    ours, theirs = (load_file(each / "checkpoints" / f"{TOTAL:09}" / "networks.safetensors") for each in (run, other))
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name


@pytest.fixture(scope="module")
def paths(tmp_path_factory, tiny_store, pair_table):
    """Stores of twelve galaxies, six of which both surveys saw, and their pair table."""
    folder = tmp_path_factory.mktemp("small")
    x = tiny_store(folder / "x.zarr", SDSS, 32, 150 + 0.1 * np.arange(12))
    y = tiny_store(folder / "y.zarr", CFHT, 68, 150.6 + 0.1 * np.arange(12))
    pair_table(x, y, np.arange(6, 12), np.arange(6), ["train"] * 5 + ["test"]).write(folder / "pairs.ecsv")
    return [folder / name for name in ("x.zarr", "y.zarr", "pairs.ecsv")]


@pytest.fixture(scope="module")
def uninterrupted(paths, tmp_path_factory):
    run = tmp_path_factory.mktemp("whole") / "run"
    finish(paths, run)
    return run


@pytest.mark.parametrize("iteration", [3, TOTAL // 2 + 2], ids=["in step one", "in step two"])
def test_kill_9(paths, uninterrupted, tmp_path, wait_for, newest, iteration):
    run = tmp_path / "run"
    process = start(paths, run)
    wait_for(run, process, iteration)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert iteration <= newest(run) < TOTAL  # something was done, and something is left to do
    finish(paths, run, "--resume", "--data", "stream")  # where they lie does not change what is seen
    assert_same_weights(run, uninterrupted)


def test_ctrl_c(paths, uninterrupted, tmp_path, wait_for, newest):
    run = tmp_path / "run"
    process = start(paths, run)
    wait_for(run, process, 2)
    process.send_signal(signal.SIGINT)
    error = process.communicate(timeout=60)[1]
    assert process.returncode == 1
    assert "Traceback" not in error
    last = error.strip().splitlines()[-1]
    assert last.startswith("Error: stopped after iteration")
    assert "--resume" in last
    assert newest(run) < TOTAL
    finish(paths, run, "--resume")
    assert_same_weights(run, uninterrupted)


def test_looking_does_not_change_the_training(paths, uninterrupted, tmp_path):
    """Panels and curves draw no random numbers of the training's."""
    run = tmp_path / "run"
    words = [word if word != 1 else TOTAL for word in WORDS]  # checkpoints, and with them panels, at the ends of steps
    command = [sys.executable, "-m", "cli.main", "train", *paths, *words, "--run", run]
    subprocess.run([str(word) for word in command], check=True, capture_output=True, timeout=200)
    assert_same_weights(run, uninterrupted)
