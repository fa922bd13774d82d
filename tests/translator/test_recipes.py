"""One set of truths for every recipe."""

import math

import pytest
import torch
from torch import nn

from translator.images import Images
from translator.networks.layers import Grid
from translator.recipes import RECIPES
from translator.session import optimizers_of
from translator.training import update

GRIDS = {"x": Grid(2, 16, (0.01, 0.02)), "y": Grid(2, 36, (0.001, 0.002))}
STEPS = [(name, number) for name, recipe in RECIPES.items() for number in range(len(recipe.steps))]


def weights(networks):
    return {name: [p.detach().clone() for p in network.parameters()] for name, network in networks.items()}


@pytest.mark.parametrize(("name", "number"), STEPS)
def test_in_each_turn_exactly_the_named_networks_move(name, number, batch):
    recipe = RECIPES[name]
    torch.manual_seed(0)
    networks = nn.ModuleDict({role: build(GRIDS) for role, build in recipe.networks.items()})
    step, random = recipe.steps[number], torch.Generator().manual_seed(0)
    for turn, optimizer in zip(step.turns, optimizers_of(step, networks), strict=True):
        before = weights(networks)
        losses = update(networks, turn, optimizer, Images(networks, batch, random))
        assert set(losses) == {term.name for term in turn.terms}
        assert all(math.isfinite(value) for value in losses.values())
        after = weights(networks)
        moved = {role for role in networks if not all(map(torch.equal, before[role], after[role]))}
        assert moved == set(turn.moves)


def test_two_step_is_the_papers():
    first, second = RECIPES["two_step"].steps
    assert [set(turn.moves) for turn in first.turns] == [
        {"autoencoder_x", "autoencoder_y"},
        {"discriminator_x", "discriminator_y"},
        {"emulator_x", "emulator_y"},
    ]
    assert [set(turn.moves) for turn in second.turns] == [{"generator_x", "generator_y"}]
    assert {term.name for term in second.turns[0].terms} == {"cycle_x", "cycle_y", "identity_x", "identity_y"}
    assert {step.iterations for step in (first, second)} == {60_000}
    assert {step.decay_every for step in (first, second)} == {20_000}
    assert {turn.learning_rate for step in (first, second) for turn in step.turns} == {1e-4}
    assert RECIPES["two_step"].batch_size == 24


def test_demo_plays_the_turns_of_two_step():
    def turns(name):
        return [[(turn.moves, turn.terms) for turn in step.turns] for step in RECIPES[name].steps]

    assert turns("demo") == turns("two_step")
