import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from cli.main import galtrans
from survey_tools.errors import RunError
from translator import RECIPES
from translator.training.session import TrainingInputs, TrainingSettings, open_session


@pytest.fixture(scope="module")
def stores(tmp_path_factory, make_store):
    """Both surveys of eight galaxies, four of which both saw, and their pair table."""
    from survey_tools.matching.pairs import make_pairs

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
    assert "pairs: 3 of 4 (1 kept for tests)" in result.output
    assert f"galtrans translate {run} FILES… --to cfht" in result.output
    assert f"tensorboard --logdir {run}" in result.output
    with pytest.raises(RunError, match="--resume"):
        CliRunner().invoke(galtrans, words(stores, run), catch_exceptions=False)
    assert CliRunner().invoke(galtrans, words(stores, run, "--resume"), catch_exceptions=False).exit_code == 0


def test_a_training_begins_from_another_and_is_watched(stores, tmp_path):
    first, second = str(tmp_path / "first"), str(tmp_path / "second")
    assert CliRunner().invoke(galtrans, words(stores, first), catch_exceptions=False).exit_code == 0
    more = ["--from", first, "--validate-every", "1", "--until", "signal_residual=1e-6"]
    result = CliRunner().invoke(galtrans, words(stores, second, *more), catch_exceptions=False)
    assert f"begins from the weights of {first} (iteration 2)" in result.output
    assert "pairs for validation, which do not train: 1, measured every 1 iterations" in result.output
    assert "pairs: 2 of 4 (1 kept for tests, 1 kept for validation)" in result.output
    assert f"that of iteration 2: {second}@best" in result.output
    told = CliRunner().invoke(galtrans, ["info", f"{second}@best"], catch_exceptions=False)
    assert told.exit_code == 0
    assert "signal_residual is" in told.output


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--recipe", "nonsense"], "known are two_step, pix2pix"),
        (["--batch-size", "0"], "batch-size"),
        (["--iterations", "-1"], "iterations"),
        (["--checkpoint-every", "x"], "checkpoint-every"),
        (["--validate-every", "0"], "validate-every"),
        (["--until", "sharpness=1"], "--until': the report has no measure 'sharpness'"),
        (["--from", "sdss-cfht"], "--from': 'sdss-cfht' is neither a folder nor a built-in model"),
    ],
)
def test_wrong_usage(stores, tmp_path, more, message):
    result = CliRunner().invoke(galtrans, words(stores, tmp_path / "run", *more))
    assert result.exit_code == 2
    assert message in result.output
    assert not (tmp_path / "run").exists()


def test_a_recipe_that_needs_pairs_says_how_to_make_them_or_which_does_without(stores, tmp_path):
    result = CliRunner().invoke(galtrans, ["train", *stores[:2], "--recipe", "pix2pix", "--run", str(tmp_path / "run")])
    assert result.exit_code == 2
    assert "recipe pix2pix needs a pair table: make one with `galtrans crossmatch" in result.output
    assert "(cyclegan, cyclegan_pid, cyclegan_resnet6)" in result.output


def test_a_recipe_without_pairs_needs_no_table(stores, tmp_path, monkeypatch):
    monkeypatch.setitem(RECIPES, "cyclegan", replace(RECIPES["cyclegan"], width=4))
    run = ["--recipe", "cyclegan", "--run", str(tmp_path / "run"), "--iterations", "1", "--batch-size", "1"]
    result = CliRunner().invoke(galtrans, ["train", *stores[:2], *run], catch_exceptions=False)
    assert result.exit_code == 0
    assert "unpaired sdss.zarr: 8 of 8\nunpaired cfht.zarr: 8 of 8\nrecipe cyclegan: 1 iterations" in result.output


def test_images_of_two_sizes_are_refused_with_the_command_that_regrids(stores, tmp_path):
    run = tmp_path / "run"
    words = ["train", *stores[:2], "--recipe", "cyclegan_resnet6", "--run", str(run)]
    with pytest.raises(RunError) as error:
        CliRunner().invoke(galtrans, words, catch_exceptions=False)
    message = str(error.value)
    assert f"{stores[0]} has 64 pixels a side and {stores[1]} has 136" in message
    command = shlex.split(message.split("`")[1])
    assert command[:2] == ["galtrans", "regrid"]
    assert CliRunner().invoke(galtrans, command[1:], catch_exceptions=False).exit_code == 0
    stores = [stores[0], command[-1]]
    assert not run.exists()
    begun = open_session(
        TrainingInputs(*map(Path, stores)), run, TrainingSettings("cyclegan_resnet6", 1, 1, device="cpu")
    )
    begun.batches.close()
    assert {domain.size for domain in begun.facts.domains.values()} == {64}


def test_help_needs_no_torch():
    code = "import sys; from cli.main import main; sys.argv = ['galtrans', 'train', '--help']\n"
    code += "try: main()\nexcept SystemExit: sys.stderr.write(str('torch' in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert "Examples:" in done.stdout
    assert done.stderr == "False"


def test_precisions_are_those_that_there_are(stores, tmp_path):
    from translator.runs.device import PRECISIONS

    (option,) = (each for each in galtrans.get_command(None, "train").params if each.name == "precision")
    assert list(option.type.choices) == list(PRECISIONS)


def test_where_images_are_kept_is_said(stores, tmp_path):
    result = CliRunner().invoke(galtrans, words(stores, tmp_path / "run", "--data", "device"), catch_exceptions=False)
    assert result.exit_code == 0
    assert "kept in" in result.output
