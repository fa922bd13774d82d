import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from cli.main import galtrans
from survey_tools.errors import RunError


@pytest.fixture(scope="module")
def stores(tmp_path_factory, make_store):
    """Both surveys of eight galaxies, four of which both saw, and their pair table."""
    from survey_tools.pairs import make_pairs

    folder = tmp_path_factory.mktemp("stores")
    for name, first in (("sdss", 0), ("cfht", 4)):
        make_store(folder / f"{name}.zarr", name, 150 + 0.1 * (first + np.arange(8)), np.zeros(8), bands="gr")
    pairs = make_pairs(folder / "sdss.zarr", folder / "cfht.zarr", test_size=1)
    pairs.write(folder / "pairs.ecsv")
    return [str(folder / name) for name in ("sdss.zarr", "cfht.zarr", "pairs.ecsv")]


def words(stores, run, *more):
    return ["train", *stores, "--recipe", "demo", "--run", str(run), "--iterations", "1", "--device", "cpu", *more]


def test_trains_says_what_it_used_and_what_comes_next(stores, tmp_path):
    run = tmp_path / "run"
    result = CliRunner().invoke(galtrans, words(stores, run), catch_exceptions=False)
    assert result.exit_code == 0
    assert "unpaired sdss.zarr: 4 of 8 (4 in the pair table)" in result.output
    assert "pairs pairs.ecsv: 3 of 4 (1 kept for tests)" in result.output
    assert f"galtrans translate {run} FILES… --to cfht" in result.output
    assert f"tensorboard --logdir {run}" in result.output
    with pytest.raises(RunError, match="--resume"):
        CliRunner().invoke(galtrans, words(stores, run), catch_exceptions=False)
    assert CliRunner().invoke(galtrans, words(stores, run, "--resume"), catch_exceptions=False).exit_code == 0


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--recipe", "nonsense"], "known are two_step, demo"),
        (["--batch-size", "0"], "batch-size"),
        (["--iterations", "-1"], "iterations"),
        (["--checkpoint-every", "x"], "checkpoint-every"),
    ],
)
def test_wrong_usage(stores, tmp_path, more, message):
    result = CliRunner().invoke(galtrans, words(stores, tmp_path / "run", *more))
    assert result.exit_code == 2
    assert message in result.output
    assert not (tmp_path / "run").exists()


def test_help_needs_no_torch():
    code = "import sys; from cli.main import main; sys.argv = ['galtrans', 'train', '--help']\n"
    code += "try: main()\nexcept SystemExit: sys.stderr.write(str('torch' in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert "Example:" in done.stdout
    assert done.stderr == "False"
