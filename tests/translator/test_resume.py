"""A training that is killed, or stopped by Ctrl-C, and resumed ends with the same weights to the bit."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

from cli.main import galtrans
from survey_tools.surveys import CFHT, SDSS

TOTAL = 32  # iterations, over both steps
WORDS = ("--recipe", "demo", "--iterations", TOTAL // 2, "--batch-size", 2, "--checkpoint-every", 1, "--seed", 3)


ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}  # how many threads there are decides the last digits


def words(paths, run, *more):
    return [str(word) for word in ("train", *paths, *WORDS, "--run", run, *more)]


def start(paths, run):
    """Begin a training in a process of its own, which can be killed."""
    return subprocess.Popen(
        [sys.executable, "-m", "cli.main", *words(paths, run)],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(paths, run, *more):
    """Train to the end in this process, which spares the seconds that importing PyTorch takes."""
    torch.set_num_threads(1)
    ended = CliRunner().invoke(galtrans, words(paths, run, *more))
    assert ended.exit_code == 0, ended.output


def assert_same_weights(run, other):
    ours, theirs = (load_file(each / "checkpoints" / f"{TOTAL:09}" / "networks.safetensors") for each in (run, other))
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name


@pytest.fixture(scope="module")
def paths(tmp_path_factory, tiny_store, pair_table):
    """Stores of twelve galaxies, six of which both surveys saw, and their pair table."""
    folder = tmp_path_factory.mktemp("small")
    x = tiny_store(folder / "x.zarr", SDSS, 16, 150 + 0.1 * np.arange(12))
    y = tiny_store(folder / "y.zarr", CFHT, 36, 150.6 + 0.1 * np.arange(12))
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
    finish(paths, run, "--checkpoint-every", TOTAL)  # checkpoints, and with them panels, at the ends of steps
    assert_same_weights(run, uninterrupted)
