"""Several processes train as one does: the same losses, from the same run, whoever began it."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

from cli.main import galtrans
from survey_tools.errors import RunError
from survey_tools.surveys import CFHT, SDSS
from translator.images import WHOLE, Share
from translator.training import ranks
from translator.training.session import TrainingInputs, TrainingSettings, open_session

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "cluster.md"
TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]
SMALL = 2**15  # bytes of a chunk of two images of y
TOTAL = 20  # iterations, over both steps
WORDS = ("--recipe", "demo", "--iterations", TOTAL // 2, "--batch-size", 4, "--checkpoint-every", 1, "--seed", 3)
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}  # as torchrun would set it, with a warning


@pytest.fixture(scope="module")
def paths(tmp_path_factory, tiny_store, pair_table):
    """Stores of twelve galaxies in six chunks, six of which both surveys saw, and their pair table."""
    folder = tmp_path_factory.mktemp("small")
    make(folder, tiny_store, pair_table)
    return [folder / name for name in ("x.zarr", "y.zarr", "pairs.ecsv")]


def make(folder, tiny_store, pair_table):
    x = tiny_store(folder / "x.zarr", SDSS, 16, 150 + 0.1 * np.arange(12), chunk_bytes=SMALL)
    y = tiny_store(folder / "y.zarr", CFHT, 36, 150.6 + 0.1 * np.arange(12), chunk_bytes=SMALL)
    pair_table(x, y, np.arange(6, 12), np.arange(6), ["train"] * 5 + ["test"]).write(folder / "pairs.ecsv")


@pytest.fixture
def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def words(paths, run, *more):
    return [str(word) for word in ("train", *paths, *WORDS, "--out", run, *more)]


def command(paths, run, *more, processes=1, launch=()):
    start = [sys.executable] if processes == 1 else [*TORCHRUN, "--nproc-per-node", str(processes), *map(str, launch)]
    return [*start, "-m", "cli", *words(paths, run, *more)]


def start(words):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(words, env=ENVIRONMENT, start_new_session=True, **pipes)


@pytest.fixture(scope="module")
def alone(paths, tmp_path_factory):
    """The run of one process: this one."""
    run = tmp_path_factory.mktemp("alone") / "run"
    torch.set_num_threads(1)
    ended = CliRunner().invoke(galtrans, words(paths, run))
    assert ended.exit_code == 0, ended.output
    return run


def assert_close(run, other, read_losses):
    """The same losses, to rounding in the first iterations of each step, and weights that have moved alike."""
    ours, theirs = read_losses(run), read_losses(other)
    assert ours.keys() == theirs.keys()
    for step, losses in theirs.items():
        for name, expected in losses.items():
            np.testing.assert_array_equal(ours[step][name][:, 0], expected[:, 0])
            np.testing.assert_allclose(ours[step][name][:3, 1], expected[:3, 1], rtol=1e-4, err_msg=f"{step} {name}")
            np.testing.assert_allclose(ours[step][name][:, 1], expected[:, 1], rtol=0.03, err_msg=f"{step} {name}")
    mine, others = (load_file(each / "checkpoints" / f"{TOTAL:09}" / "networks.safetensors") for each in (run, other))
    for name, tensor in others.items():
        assert torch.allclose(mine[name], tensor, atol=2e-3), name


def test_two_processes_train_as_one_though_one_of_them_is_killed(paths, alone, tmp_path, read_losses, wait_for):
    run = tmp_path / "run"
    process = start(command(paths, run, processes=2, launch=["--max-restarts", 1]))
    wait_for(run, process, TOTAL // 2 - 1)
    workers = [each for each in psutil.Process(process.pid).children(recursive=True) if "train" in each.cmdline()]
    assert len(workers) == 2
    workers[1].kill()
    out, error = process.communicate(timeout=200)
    assert process.returncode == 0, error
    assert re.search(r"iterations of 4 on cpu, one of 2 processes, from [1-9]", out)  # it was taken up
    assert out.count("The trained model lies in") == 1  # one process speaks
    assert_close(run, alone, read_losses)


SRUN = """
import subprocess, sys
nodes = [subprocess.Popen(sys.argv[1:]) for _ in range(2)]  # of one machine each
sys.exit(max(node.wait() for node in nodes))
"""
SMALLER = {  # a small machine in place of a cluster
    "runs/two_step": "run",
    "sdss.zarr cfht.zarr pairs.ecsv --recipe two_step": "x.zarr y.zarr pairs.ecsv {words}",
    "$first:29500": "$first:{port}",
}


@pytest.mark.long
def test_two_processes_begin_one_goes_on_and_two_machines_finish(
    paths, alone, tmp_path, read_losses, free_port, wait_for, newest
):
    """The first are stopped by Ctrl-C, the second is killed, and the last are started by the script in the docs."""
    run, stores = tmp_path / "run", [tmp_path / path.name for path in paths]
    for store_, path in zip(stores, paths, strict=True):
        store_.symlink_to(path)
    process = start(command(stores, run, processes=2))
    wait_for(run, process, 3)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    error = process.communicate(timeout=100)[1]
    assert process.returncode != 0
    said = [line for line in error.splitlines() if line.startswith("Error: ")]
    assert len(said) == 1, error
    assert re.match(
        r"Error: stopped after iteration \d+ of 20, saved; resume with `torchrun --nproc-per-node 2 ", said[0]
    )
    assert 3 <= newest(run) < TOTAL // 2
    process = start(command(stores, run, "--resume"))
    wait_for(run, process, TOTAL // 2 + 1)
    process.kill()
    process.communicate()
    ended = slurm(tmp_path, free_port)
    assert ended.returncode == 0, ended.stderr
    assert re.search(r"one of 2 processes, from 1[1-9]", ended.stdout)
    assert_close(run, alone, read_losses)


def slurm(folder, port):
    """The script of the page, with commands in place of Slurm's."""
    (script,) = re.findall(r"```bash\n(#!/bin/bash\n#SBATCH.*?)```", PAGE.read_text(), re.DOTALL)
    for said, meant in SMALLER.items():
        assert said in script
        script = script.replace(said, meant.format(words=" ".join(map(str, WORDS)), port=port))
    for name, text in {"srun": SRUN, "scontrol": "print('127.0.0.1\\nother')\n"}.items():
        (folder / name).write_text(f"#!{sys.executable} -I\n{text}")
        (folder / name).chmod(0o755)
    environment = ENVIRONMENT | {
        "PATH": os.pathsep.join([str(folder), str(Path(sys.executable).parent), os.environ["PATH"]]),
        "SLURM_NNODES": "2",
        "SLURM_JOB_NODELIST": "node[1-2]",
        "SLURM_JOB_ID": "7",
    }
    options = {"cwd": folder, "env": environment, "capture_output": True, "text": True, "timeout": 200}
    return subprocess.run(["bash", "-c", script], check=False, **options)


def test_a_batch_that_cannot_be_shared_is_refused(tiny, tmp_path):
    settings = TrainingSettings("demo", batch_size=4, device="cpu")
    with pytest.raises(RunError, match="a batch of 4 cannot be shared by 3 processes: give a --batch-size"):
        open_session(TrainingInputs(*tiny.paths), tmp_path / "run", settings, share=Share(1, 3))
    assert not (tmp_path / "run").exists()


def test_a_process_alone_asks_nobody(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with ranks.joined("cuda:1") as (share, device):
        assert (share, device) == (WHOLE, "cuda:1")
    tensor = torch.ones(3)
    ranks.average([tensor], WHOLE)
    assert tensor.tolist() == [1, 1, 1]
    assert ranks.any_asks(True, WHOLE, torch.device("cpu"))
    assert ranks.gather("this", WHOLE) == ["this"]
    with pytest.raises(RunError, match="said once"):
        ranks.in_all(WHOLE, lambda: (_ for _ in ()).throw(RunError("said once")))


def test_a_gpu_for_all_processes_is_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RunError, match="cannot all train on cuda:1; give --device cuda"), ranks.joined("cuda:1"):
        pass
