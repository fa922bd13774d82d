"""Recipes and losses from outside the package: named, trained, resumed and used, and clear errors where that fails."""

import importlib
import json
import sys

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from cli.main import galtrans
from survey_tools.errors import RunError
from translator import RECIPES, Recipe, Step, Term, Turn, losses
from translator.recipes import BAND_BY_BAND, both, moves
from translator.runs.apply import translate_each
from translator.runs.checkpoint import load_run, locate
from translator.runs.facts import read_facts
from translator.runs.in_words import summarise_run
from translator.runs.recipe_names import find_recipe, is_importable, name_recipe
from translator.training.loop import train
from translator.training.session import TrainingInputs, TrainingSettings, open_session

MODULE = '''
import torch.nn.functional as F

from translator.losses import cycle, reads_pairs
from translator.networks.generator import generator
from translator.recipes import Recipe, Step, Turn, both, moves


@reads_pairs
def flux(images, domain):
    """The flux of a translation is that of its pair."""
    ours, theirs = (image.mean((-2, -1)) for image in (images.paired(domain), images.target(domain)))
    return F.mse_loss(ours, theirs)


MINE = Recipe(
    "cycles that keep the flux",
    {"generator": generator},
    (Step((Turn(moves("generator"), both(cycle, 10.0) + both(flux)),)),),
    width=4,
)
NUMBER = 7
'''


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A module `mine_of_a_test` in the current directory, which Python's path lacks."""
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "mine_of_a_test.py").write_text(MODULE)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place])
    monkeypatch.delitem(sys.modules, "mine_of_a_test", raising=False)
    yield folder
    sys.modules.pop("mine_of_a_test", None)


def opened(tiny, path, recipe, resume=False, **settings):
    settings = {"iterations": 2, "batch_size": 2, "checkpoint_every": 1, "device": "cpu"} | settings
    return open_session(TrainingInputs(*tiny.paths), path, TrainingSettings(recipe, **settings), resume=resume)


def weights(path, iteration):
    return (path / "checkpoints" / f"{iteration:09}" / "networks.safetensors").read_bytes()


def flux_loss(images, domain):
    """A loss of a recipe that no module has."""
    return (images.translated(domain).mean() - images.real(domain).mean()) ** 2


def unnamed(**changes) -> Recipe:
    step = Step((Turn(moves("generator"), both(flux_loss)),))
    return Recipe("made in a function", {"generator": BAND_BY_BAND["generator"]}, (step,), width=4, **changes)


def test_a_recipe_in_a_module_is_found_and_named(mine):
    found = find_recipe("mine_of_a_test:MINE")
    assert (found.title, found.reads_pairs) == ("cycles that keep the flux", True)
    assert name_recipe(found) == name_recipe("mine_of_a_test:MINE") == "mine_of_a_test:MINE"
    assert is_importable("mine_of_a_test:MINE")


def test_rows_of_the_table_have_the_table_s_names():
    assert all(name_recipe(row) == name and find_recipe(name) is row for name, row in RECIPES.items())


def test_a_recipe_of_a_notebook_is_named_by_its_variable(monkeypatch):
    main, recipe = sys.modules["__main__"], unnamed()
    assert name_recipe(recipe) == "__main__:<unnamed>"
    monkeypatch.setattr(main, "_", recipe, raising=False)  # what a notebook keeps of its last cell
    monkeypatch.setattr(main, "OURS", recipe, raising=False)
    assert name_recipe(recipe) == "__main__:OURS"
    assert find_recipe("__main__:OURS") is recipe
    assert not is_importable("__main__:OURS")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "three_step",
            "no recipe is called 'three_step'; known are two_step, .* and my_module:NAME for a recipe of your",
        ),
        (":MINE", "no recipe is called ':MINE'"),
        ("mine_of_a_test:", "no recipe is called 'mine_of_a_test:'"),
        ("mine_of_a_test:OTHER", "the module mine_of_a_test has no such name"),
        ("mine_of_a_test:NUMBER", "the module mine_of_a_test has a int of that name, which is no Recipe"),
        ("not_a_module:MINE", r"cannot be imported \(No module named 'not_a_module'\): start from the folder of that"),
        ("broken_of_a_test:MINE", "its module fails with ZeroDivisionError: division by zero"),
        ("__main__:NOBODYS", r"made in a notebook or a script, .* load_run\(path, recipe=...\)"),
    ],
)
def test_a_name_that_leads_to_no_recipe_is_refused_in_one_line(mine, name, said):
    (mine / "broken_of_a_test.py").write_text("1 / 0")
    with pytest.raises(RunError, match=said) as caught:
        find_recipe(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("layout", ["in_a_run_of_a_test.py", "in_a_run_of_a_test/__init__.py"])
def test_no_code_comes_from_the_folder_of_a_run(mine, layout):
    (mine / "run.json").write_text("{}")
    (mine / layout).parent.mkdir(exist_ok=True)
    (mine / layout).write_text("raise SystemExit('executed')")
    importlib.invalidate_caches()
    with pytest.raises(RunError, match="lies in the folder of a run, and galtrans imports no code from there"):
        find_recipe("in_a_run_of_a_test:MINE")


def test_a_recipe_of_one_s_own_trains_resumes_and_translates(mine, tiny):
    recipe = find_recipe("mine_of_a_test:MINE")
    train(opened(tiny, mine / "run", recipe, iterations=4))
    assert read_facts(mine / "run").recipe == "mine_of_a_test:MINE"
    (mine / "run" / "checkpoints" / "000000004").rename(mine / "away")
    resumed = opened(tiny, mine / "run", "mine_of_a_test:MINE", resume=True, iterations=None)  # by name, or as it is
    assert "--recipe mine_of_a_test:MINE" in resumed.command
    train(resumed)
    assert weights(mine / "run", 4) == (mine / "away" / "networks.safetensors").read_bytes()
    made = translate_each(load_run(mine / "run", "cpu"), tiny.x.images[:2], "y", [0, 1], noise=True)
    assert made.shape == (2, 2, 36, 36)
    assert np.isfinite(made).all()


def test_a_run_says_what_to_do_if_its_recipe_cannot_be_imported(mine, tiny, monkeypatch):
    recipe = find_recipe("mine_of_a_test:MINE")
    train(opened(tiny, mine / "run", recipe, iterations=1))
    (mine / "elsewhere").mkdir()
    monkeypatch.chdir(mine / "elsewhere")
    monkeypatch.delitem(sys.modules, "mine_of_a_test")
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place != str(mine)])
    with pytest.raises(RunError, match="run: the recipe mine_of_a_test:MINE cannot be imported") as caught:
        load_run(mine / "run", "cpu")
    assert "add the folder to PYTHONPATH" in str(caught.value)
    assert dict(summarise_run(mine / "run"))["trained"].startswith("1 of 1 iterations")  # which needs no recipe
    run = load_run(mine / "run", "cpu", recipe=recipe)
    assert translate_each(run, tiny.x.images[:1], "y", [0], noise=False).shape == (1, 2, 36, 36)


def test_a_recipe_that_no_module_has_trains_and_its_run_is_opened_with_it(tiny, tmp_path):
    recipe = unnamed()
    begun = opened(tiny, tmp_path / "run", recipe)
    assert begun.command == "translator.train(..., resume=True)"
    train(begun)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["recipe"] == "__main__:<unnamed>"
    with pytest.raises(RunError, match=r"made in a notebook or a script.* load_run\(path, recipe="):
        load_run(tmp_path / "run", "cpu")
    run = load_run(tmp_path / "run", "cpu", recipe=recipe)
    at, same = locate(run)
    assert same is run
    assert at.open() is run
    made = translate_each(run, tiny.x.images[:1], "y", [0], noise=False)
    assert np.isfinite(made).all()
    train(opened(tiny, tmp_path / "run", recipe, resume=True, iterations=3))
    assert load_run(tmp_path / "run", "cpu", recipe=recipe).iteration == 3


def test_a_recipe_that_does_not_fit_a_run_is_refused(tiny, tmp_path):
    train(opened(tiny, tmp_path / "run", unnamed(), iterations=1))
    with pytest.raises(RunError, match=r"does not fit its recipe.* use the galtrans and the recipe that trained it"):
        load_run(tmp_path / "run", "cpu", recipe=RECIPES["cyclegan"])


def test_the_command_line_takes_a_recipe_of_one_s_own(mine, tiny):
    words = ["train", *map(str, tiny.paths), "--recipe", "mine_of_a_test:MINE", "--run", "run", "--device", "cpu"]
    result = CliRunner().invoke(galtrans, [*words, "--iterations", "1", "--batch-size", "1"], catch_exceptions=False)
    assert result.exit_code == 0
    assert "recipe mine_of_a_test:MINE: 1 iterations of 1" in result.output
    listed = CliRunner().invoke(galtrans, ["recipes", "mine_of_a_test:MINE"], catch_exceptions=False)
    assert "generator: 10 cycle + flux" in listed.output
    result = CliRunner().invoke(galtrans, [*words[:3], "--recipe", "mine_of_a_test:MINE", "--run", "other"])
    assert "recipe mine_of_a_test:MINE needs a pair table" in result.output
    result = CliRunner().invoke(galtrans, [*words[:4], "--recipe", "not_a_module:MINE", "--run", "other"])
    assert result.exit_code == 2
    assert "cannot be imported" in " ".join(result.output.split())


def fails(images, domain):
    """A loss with a mistake."""
    return images.real(domain).mean() * (1 / len([]))


def is_a_map(images, domain):
    """A loss that forgets to take the mean."""
    return images.translated(domain) ** 2


def is_a_number(images, domain):
    """A loss outside PyTorch."""
    return 0.5


def misses_a_network(images, domain):
    """A loss that asks for an image that the recipe has no network for."""
    return images.clean(domain).mean()


def needs_pairs(images, domain):
    """A loss that reads pairs and does not say so."""
    return losses.identity(images, domain)


def cannot_go_back(images, domain):
    """A loss whose gradient fails."""
    return torch.sigmoid(images.translated(domain)).mul_(2).mean()


def with_second_step(*terms, moved=("generator_y",)) -> Recipe:
    """A recipe whose first step is right."""
    recipe = unnamed()
    return Recipe(recipe.title, recipe.networks, (*recipe.steps, Step((Turn(moved, terms),))), width=4)


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (fails, r"fails \(test_own_recipes.py, line \d+\): ZeroDivisionError: division by zero"),
        (is_a_map, r"TypeError: a loss is a tensor without dimensions, .* returns a tensor of shape \(2, 2, 36, 36\)"),
        (is_a_number, "is_a_number_y returns a float"),
        (misses_a_network, r"\(test_own_recipes.py, line \d+\): KeyError: 'autoencoder_y'"),
        (needs_pairs, "ValueError: this loss needs pairs, and the batch has none"),
        (cannot_go_back, "RuntimeError: .*modified by an inplace operation"),
    ],
)
def test_a_mistake_in_a_loss_of_the_second_step_shows_before_the_first_begins(tiny, tmp_path, loss, said):
    recipe = with_second_step(Term(loss, "y"))
    with pytest.raises(RunError, match=f"loss {loss.__name__}_y in step 2 of recipe .*{said}") as caught:
        train(opened(tiny, tmp_path / "run", recipe))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_step_that_moves_what_is_not_there_shows_before_training(tiny, tmp_path):
    recipe = with_second_step(Term(flux_loss, "y"), moved=("generator_z",))
    with pytest.raises(RunError, match=r"step 2 of recipe .* moves generator_z, and its networks are generator_x, gen"):
        train(opened(tiny, tmp_path / "run", recipe))
    recipe = with_second_step(Term(flux_loss, "y"), moved=("emulator_x",))
    with pytest.raises(RunError, match=r"step 2 of recipe .* has a turn that moves nothing"):
        train(opened(tiny, tmp_path / "other", recipe))


@pytest.mark.parametrize("name", ["demo", "psf_matched", "augmented_cyclegan"])
def test_the_trial_leaves_no_trace(tiny, tiny_regridded, narrow, tmp_path, monkeypatch, name):
    total, tiny = 2 * len(narrow[name].steps), tiny_regridded if narrow[name].same_grid else tiny
    train(opened(tiny, tmp_path / "tried", name))
    monkeypatch.setattr("translator.training.loop.try_recipe", lambda session: None)
    train(opened(tiny, tmp_path / "untried", name))
    assert weights(tmp_path / "tried", total) == weights(tmp_path / "untried", total)
