"""Loss terms and gradients of both steps at the first iteration agree with the authors' (their methods 1 and 2)."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from translator.images import Batch, Images
from translator.networks.layers import Grid
from translator.recipes import RECIPES

SIZES = {"x": 64, "y": 136}
TERMS = {  # theirs: ours
    1: {
        "loss_auto0": ["reconstruction_y"],
        "loss_auto1": ["reconstruction_x"],
        "loss_D_adv": ["noise_discrimination_x", "noise_discrimination_y"],
        "loss_G_gen0": ["noise_adversarial_y"],
        "loss_G_gen1": ["noise_adversarial_x"],
    },
    2: {
        "loss_cyc0": ["cycle_y"],
        "loss_cyc1": ["cycle_x"],
        "loss_id2": ["identity_x"],
        "loss_id3": ["identity_y"],
    },
}
GROUPS = {1: ("G_sm", "D", "G_noise"), 2: ("G_sm",)}


@pytest.mark.parametrize("method", [1, 2])
def test_first_iteration_is_the_authors(method, golden):
    values, recipe = np.load(golden.GOLDEN), RECIPES["two_step"]
    step = recipe.steps[method - 1]
    grids = {domain: Grid(5, size) for domain, size in SIZES.items()}
    used = {name for name in recipe.networks if name.startswith("emulator")} | {n for t in step.turns for n in t.moves}
    networks = golden.load_golden({name: recipe.networks[name](grids) for name in sorted(used)})
    for domain, size in SIZES.items():
        seeds = golden.golden_seeds(domain, size)
        networks[f"emulator_{domain}"].seeds = lambda count, random, seeds=seeds: seeds
    batch = Batch(*(golden.golden_image(name, SIZES[name[-1]]) for name in ("x", "y", "pair_x", "pair_y")))
    losses = {}
    for turn, group in zip(step.turns, GROUPS[method], strict=True):
        for name, network in networks.items():
            network.requires_grad_(name in turn.moves)
        images = Images(networks, batch, None)
        turn_losses = {term.name: term.weight * term.loss(images, term.domain) for term in turn.terms}
        parameters = [p for name in turn.moves for p in networks[name].parameters()]
        gradients = torch.autograd.grad(sum(turn_losses.values()), parameters)
        norm = float(torch.sqrt(sum(g.square().sum() for g in gradients)))
        assert_allclose(norm, values[f"method/{method}/gradient_norm/{group}"], rtol=1e-6)
        losses |= {name: value.item() for name, value in turn_losses.items()}
    theirs = dict(zip(values[f"method/{method}/loss_names"], values[f"method/{method}/losses"][0], strict=True))
    for name, ours in TERMS[method].items():
        assert_allclose(sum(losses[term] for term in ours), theirs[name], rtol=1e-6)
