"""One set of truths for every recipe."""

import math
from contextlib import nullcontext

import pytest
import torch

from translator import RECIPES
from translator.images import Batch, Images
from translator.networks.layers import Grid
from translator.training.session import optimizers_of
from translator.training.update import update

STEPS = [(name, number) for name, recipe in RECIPES.items() for number in range(len(recipe.steps))]
LEARNED = {name for name, recipe in RECIPES.items() if recipe.reads_pairs}


def grids(batch):
    """The grids of a batch, with levels of the sky."""
    sky, scale = {"x": (0.01, 0.02), "y": (0.001, 0.002)}, {"x": 0.4, "y": 0.18}
    return {d: Grid(batch.x.shape[1], getattr(batch, d).shape[-1], sky[d], scale[d]) for d in "xy"}


def begin(recipe, batch):
    torch.manual_seed(0)
    return recipe.build(grids(batch))


def weights(networks):
    return {name: [p.detach().clone() for p in network.parameters()] for name, network in networks.items()}


@pytest.mark.parametrize(("name", "number"), STEPS)
def test_in_each_turn_exactly_the_named_networks_move(name, number, narrow, batch_for):
    recipe = narrow[name]
    batch = batch_for(recipe)
    networks = begin(recipe, batch)
    step, random = recipe.steps[number], torch.Generator().manual_seed(0)
    for turn, optimizer in zip(step.turns, optimizers_of(step, networks), strict=True):
        before = weights(networks)
        losses = update(Images(networks, batch, random), turn, optimizer)
        assert set(losses) == {term.name for term in turn.terms}
        assert all(math.isfinite(value) for value in losses.values())
        after = weights(networks)
        moved = {role for role in networks if not all(map(torch.equal, before[role], after[role]))}
        assert moved == {role for role in turn.moves if before[role]}  # others stand where no network is


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_reads_pairs_only_where_it_says_so(name, narrow, batch_for):
    recipe = narrow[name]
    batch = batch_for(recipe)
    networks, random = begin(recipe, batch), torch.Generator().manual_seed(0)
    refused = set()
    for term in (term for step in recipe.steps for turn in step.turns for term in turn.terms):
        reads_pairs = getattr(term.function, "reads_pairs", False)
        with pytest.raises(ValueError, match="needs pairs") if reads_pairs else nullcontext():
            term.loss(Images(networks, Batch(batch.x, batch.y, known=batch.known), random), term.domain)
        refused |= {term.function} if reads_pairs else set()
    assert recipe.reads_pairs == bool(refused)


def test_the_recipes_without_an_identity_loss_read_no_pairs():
    assert set(RECIPES) - LEARNED == {"cyclegan", "cyclegan_pid", "cyclegan_resnet6"}


@pytest.mark.parametrize("name", RECIPES)
def test_no_network_is_built_that_no_turn_uses(name, narrow, batch_for):
    recipe = narrow[name]
    batch = batch_for(recipe)
    networks = begin(recipe, batch)
    moved = {name for step in recipe.steps for turn in step.turns for name in turn.moves}
    moved = {name for name in moved if any(True for _ in networks[name].parameters())}
    assert moved == {name for name, network in networks.items() if any(True for _ in network.parameters())}


def test_two_step_is_the_papers():
    first, second = RECIPES["two_step"].steps
    assert [set(turn.moves) for turn in first.turns] == [
        {"autoencoder_x", "autoencoder_y"},
        {"discriminator_x", "discriminator_y"},
        {"emulator_x", "emulator_y"},
    ]
    assert [set(turn.moves) for turn in second.turns] == [{"generator_x", "generator_y"}]
    assert {term.name for term in second.turns[0].terms} == {"cycle_x", "cycle_y", "identity_x", "identity_y"}


def test_demo_plays_the_turns_of_two_step():
    def turns(name):
        return [[(turn.moves, turn.terms) for turn in step.turns] for step in RECIPES[name].steps]

    assert turns("demo") == turns("two_step")


PARAMETERS = {  # of the authors' models: all, and those of each turn
    "two_step": (14_533_074, [4_325_002, 7_719_690, 44_020, 2_444_362]),
    "pix2pix": (10_164_052, [7_719_690, 2_444_362]),
    "cyclegan": (10_164_052, [7_719_690, 2_444_362]),
    "cyclegan_pid": (10_164_052, [7_719_690, 2_444_362]),
    "cyclegan_id": (10_164_052, [7_719_690, 2_444_362]),
    "cyclegan_id_ps": (9_193_300, [7_719_690, 1_473_610]),
    "no_autoencoder": (10_208_072, [2_444_362, 7_719_690, 44_020]),
    "cyclegan_resnet6": (21_234_060, [5_533_570, 15_700_490]),
    "augmented_cyclegan": (29_607_502, [5_554_564, 24_052_938]),
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_are_as_many_as_the_authors(name):
    recipe = RECIPES[name]
    with torch.device("meta"):
        networks = recipe.build({"x": Grid(5, 64), "y": Grid(5, 64 if recipe.same_grid else 136)})
    counts = {role: sum(p.numel() for p in network.parameters()) for role, network in networks.items()}
    turns = [sum(counts[role] for role in turn.moves) for step in recipe.steps for turn in step.turns]
    assert (sum(counts.values()), turns) == PARAMETERS[name]


@pytest.mark.parametrize("name", PARAMETERS)
def test_schedule_is_the_papers(name):
    recipe = RECIPES[name]
    assert {(step.iterations, step.decay_every) for step in recipe.steps} == {(60_000, 20_000)}
    assert {turn.learning_rate for step in recipe.steps for turn in step.turns} == {1e-4}
    assert (recipe.batch_size, recipe.width) == (24, 64)


CONTENT = {  # terms of the generators' turn beside the adversarial ones
    "pix2pix": {"identity": 1000},
    "cyclegan": {"cycle": 1000},
    "cyclegan_pid": {"cycle": 1000, "pseudo_identity": 1000},
    "cyclegan_id": {"cycle": 1000, "identity": 1000},
    "cyclegan_id_ps": {"cycle": 1000, "identity": 1000},
    "cyclegan_resnet6": {"cycle": 1000},
    "augmented_cyclegan": {"cycle": 1000, "identity": 1000, "latent_cycle": 1, "latent_adversarial": 1},
}


@pytest.mark.parametrize("name", CONTENT)
def test_discriminators_move_before_generators_under_the_authors_weights(name):
    (step,) = RECIPES[name].steps
    first, second = step.turns
    assert all("discriminator" in role for role in first.moves)
    assert {"generator_x", "generator_y"} <= set(second.moves)
    expected = {f"{loss}_{d}": weight for loss, weight in (CONTENT[name] | {"adversarial": 1}).items() for d in "xy"}
    assert {term.name: term.weight for term in second.terms} == expected


def test_the_repaired_row_differs_in_its_encoder_alone():
    published, repaired = (RECIPES[name] for name in ("augmented_cyclegan", "augmented_cyclegan_repaired"))
    assert published.steps == repaired.steps
    same = {role for role in published.networks if published.networks[role] is repaired.networks[role]}
    assert set(published.networks) - same == {"encoder"}
