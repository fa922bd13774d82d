import pytest
import torch

from translator import RECIPES
from translator.images import Images, is_random
from translator.networks.layers import Grid

RANDOM = {"two_step", "no_autoencoder", "augmented_cyclegan", "augmented_cyclegan_repaired", "demo"}


@pytest.mark.parametrize("name", [name for name, recipe in RECIPES.items() if not recipe.use.reads_any])
def test_recipes_with_an_emulator_or_an_encoder_are_random(name, narrow, batch_for):
    batch = batch_for(narrow[name])
    grids = {d: Grid(2, getattr(batch, d).shape[-1]) for d in "xy"}
    assert is_random(narrow[name].build(grids), "y") == (name in RANDOM)


def test_what_is_asked_for_once_is_made_once(batch):
    images, calls = Images(torch.nn.ModuleDict(), batch, torch.Generator()), []
    for _ in range(2):
        assert images.once("kind", "x", lambda: calls.append(1) or 7) == 7
    assert calls == [1]
