import re
from pathlib import Path

import pytest

from translator import RECIPES, Recipe, Step, Term, Turn
from translator.losses import cycle, reconstruction
from translator.networks.autoencoder import Autoencoder
from translator.runs.in_words import summarise

DOCS = Path(__file__).parents[3] / "docs"
PAGE, HOW_TO = DOCS / "reference" / "recipes.md", DOCS / "how-to" / "add_a_recipe.md"


def test_says_who_moves_in_which_domain_under_which_weights():
    turns = Turn(("autoencoder_x",), (Term(reconstruction, "x"), Term(cycle, "x", 10), Term(cycle, "y", 10)))
    summary = summarise(Recipe("a test", {"autoencoder": Autoencoder}, (Step((turns,), 7),), width=4))
    assert summary.steps == ((7, (("autoencoder_x", "reconstruction_x + 10 cycle"),)),)
    assert summary.sizes == (64, 136)
    assert summary.total == sum(summary.parameters["autoencoder"])


@pytest.mark.parametrize("name", RECIPES)
def test_the_page_of_recipes_says_the_same(name):
    """Its table has the networks, turns, parameters and need of pairs of every row."""
    cells = next(
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in PAGE.read_text().splitlines()
        if line.startswith(f"| `{name}` |")
    )
    summary, recipe = summarise(RECIPES[name]), RECIPES[name]
    steps = ["; ".join(f"{roles}: {losses}" for roles, losses in turns) for _, turns in summary.steps]
    said = steps[0] if len(steps) == 1 else ". ".join(f"step {i}: {turns}" for i, turns in enumerate(steps, 1))
    letter = re.match(r"\(\w\)", recipe.title)
    assert cells[1].startswith(letter[0] if letter else ("ours" if name == "two_step" else ""))
    assert cells[2:] == [
        ", ".join(summary.parameters),
        said,
        f"{summary.total:,}",
        "yes" if recipe.reads_pairs else "no",
    ]


def test_the_page_s_example_trains(tiny, tmp_path, read_losses):
    """The how-to's row and loss, word for word, made narrow."""
    from dataclasses import replace

    from translator.training.loop import train
    from translator.training.session import TrainingInputs, TrainingSettings, open_session

    (code,) = re.findall(r"```python\n(.*?)```", HOW_TO.read_text(), re.DOTALL)
    made: dict = {}
    exec(compile(code, str(HOW_TO), "exec"), made)
    assert made["FLUX_KEPT"].reads_pairs
    recipe = replace(made["FLUX_KEPT"], width=4)
    inputs, settings = TrainingInputs(*tiny.paths), TrainingSettings(recipe, 2, 2, device="cpu")
    train(open_session(inputs, tmp_path / "run", settings))
    assert "flux_y" in read_losses(tmp_path / "run")["step 1"]
