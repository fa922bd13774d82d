import pytest
import torch

from translator.images import imitate, is_random
from translator.networks.layers import Grid
from translator.recipes import RECIPES

RANDOM = {"two_step", "no_autoencoder", "augmented_cyclegan", "augmented_cyclegan_repaired", "demo"}


def translations(networks, noise):
    """Three of the same image: of seeds 1, 1 and 2."""
    image = torch.rand(1, 2, networks["size"], networks["size"], generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return [
            imitate(networks["all"], image, "y", torch.Generator().manual_seed(seed), noise=noise) for seed in (1, 1, 2)
        ]


@pytest.mark.parametrize("name", RECIPES)
def test_noise_and_codes_follow_the_seed_and_without_noise_there_is_one_translation(name, narrow, batch_for):
    recipe = narrow[name]
    batch = batch_for(recipe)
    grids = {d: Grid(2, getattr(batch, d).shape[-1]) for d in "xy"}
    torch.manual_seed(0)
    networks = {"all": recipe.build(grids), "size": grids["x"].size}
    assert is_random(networks["all"], "y") == (name in RANDOM)
    first, same, other = translations(networks, noise=True)
    assert torch.equal(first, same)
    assert torch.equal(first, other) == (name not in RANDOM)
    first, same, other = translations(networks, noise=False)
    assert torch.equal(first, same)
    assert torch.equal(first, other)
    assert first.shape == (1, 2, grids["y"].size, grids["y"].size)
