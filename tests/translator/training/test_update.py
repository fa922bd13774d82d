"""An iteration in pieces moves the networks as one in a whole does, and makes nothing twice."""

from collections import Counter
from dataclasses import replace

import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn

from translator import RECIPES, Step, Term, Turn
from translator.images import Batch, Images
from translator.networks.layers import Grid
from translator.runs.device import PRECISIONS
from translator.training.update import Model, iterate, update

PAPERS = {name: recipe for name, recipe in RECIPES.items() if not recipe.use.reads_any}  # whose turns share images
STEPS = [(name, number) for name, recipe in PAPERS.items() for number in range(len(recipe.steps))]


@pytest.fixture
def begin(narrow, batch_for):
    """What gives a recipe's networks, alike every time, and a batch, in a floating-point type."""

    def begin(name, dtype=torch.float64):
        batch = batch_for(narrow[name])
        torch.manual_seed(0)
        grids = {d: Grid(2, getattr(batch, d).shape[-1], (0.1, 0.1)) for d in "xy"}
        wide = Batch(*(getattr(batch, kind).to(dtype) for kind in ("x", "y", "pair_x", "pair_y")))
        return narrow[name].build(grids).to(dtype), wide

    return begin


def optimizers(step, networks):
    return [
        torch.optim.SGD([p for name in turn.moves for p in networks[name].parameters()], 1e-3) for turn in step.turns
    ]


def in_a_whole(networks, step, seen, batch, random):
    """An iteration as its definition has it: new images for each turn, one backward pass of the sum."""
    for turn, optimizer in zip(step.turns, seen, strict=True):
        for name, network in networks.items():
            network.requires_grad_(name in turn.moves)
        images = Images(networks, batch, random)
        optimizer.zero_grad()
        sum(term.weight * term.loss(images, term.domain) for term in turn.terms).backward()
        parameters = optimizer.param_groups[0]["params"]
        nn.utils.clip_grads_with_norm_(
            parameters, turn.largest_norm, nn.utils.get_total_norm(p.grad for p in parameters)
        )
        optimizer.param_groups[0]["lr"] = turn.learning_rate
        optimizer.step()


@pytest.mark.parametrize(("name", "number"), STEPS)
def test_an_iteration_in_pieces_moves_what_one_in_a_whole_moves(begin, name, number):
    step, moved = RECIPES[name].steps[number], []
    for way in (in_a_whole, lambda networks, *others: iterate(Model(networks, others[-1]), others[0], 0, *others[1:3])):
        networks, batch = begin(name)
        random = torch.Generator().manual_seed(1)
        way(networks, step, optimizers(step, networks), batch, random)
        moved.append((networks.state_dict(), random.get_state()))
    (whole, drawn), (pieces, drawn_too) = moved
    for key, weights in whole.items():
        torch.testing.assert_close(
            pieces[key], weights, rtol=1e-7, atol=1e-11, msg=lambda why, key=key: f"{key}: {why}"
        )
    assert torch.equal(drawn, drawn_too)


def calls(networks, step, batch):
    """How often each network is asked for images in an iteration."""
    seen = Counter()
    for name, network in networks.items():
        network.register_forward_hook(lambda *_, name=name: seen.update([name]))
    iterate(Model(networks, torch.Generator().manual_seed(1)), step, 0, optimizers(step, networks), batch)
    return seen


@pytest.mark.parametrize(
    ("name", "network", "times"),
    [
        ("two_step", "autoencoder_x", 2),  # in its own turn; after it has moved, for both others
        ("cyclegan_id", "generator_y", 3),  # there; back; pairs
        ("no_autoencoder", "generator_y", 4),  # the same, and once more for both others after it has moved
        ("augmented_cyclegan", "generator_y", 4),  # codes are drawn anew in each turn: there, twice; back; pairs
    ],
)
def test_images_that_nothing_has_moved_are_made_once(begin, name, network, times):
    networks, batch = begin(name)
    assert calls(networks, RECIPES[name].steps[0], batch)[network] == times


def infinite(images, domain):
    """A finite loss whose gradient is not."""
    return (images.networks["generator_x"].layers[0].weight * 0).abs().sqrt().sum()


def test_a_gradient_that_is_not_finite_moves_nothing(begin):
    networks, batch = begin("cyclegan")
    before = {key: weights.clone() for key, weights in networks.state_dict().items()}
    turn = Turn(("generator_x",), (Term(infinite, "x"),))
    with pytest.raises(FloatingPointError, match="the gradient of infinite_x is nan"):
        update(Images(networks, batch, None), turn, optimizers(Step((turn,)), networks)[0])
    assert all(torch.equal(weights, before[key]) for key, weights in networks.state_dict().items())


def still(images, domain):
    """A loss that no network can change."""
    return images.real(domain).mean()


def test_a_term_without_a_gradient_does_no_harm(begin):
    networks, batch = begin("cyclegan")
    turn = Turn(("generator_x",), (Term(still, "x"), *RECIPES["cyclegan"].steps[0].turns[1].terms))
    losses = update(Images(networks, batch, None), turn, optimizers(Step((turn,)), networks)[0])
    assert_allclose(losses["still_x"], batch.x.mean().item())


@pytest.mark.parametrize(("name", "number"), [("two_step", 0), ("two_step", 1), ("augmented_cyclegan_repaired", 0)])
@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_other_precisions_give_the_losses_of_float32(begin, name, number, precision):
    """On the CPU tf32 is float32; bf16, of eight bits, agrees to a few hundredths. Weights stay in float32."""
    step, seen = RECIPES[name].steps[number], {}
    for each in ("float32", precision):
        networks, batch = begin(name, torch.float32)
        model = Model(networks, torch.Generator().manual_seed(1), precision=each)
        seen[each] = iterate(model, step, 0, optimizers(step, networks), batch)
        assert {weights.dtype for weights in networks.state_dict().values()} == {torch.float32}
    limit = {"tf32": 0, "bf16": 0.03}[precision]
    assert_allclose(list(seen[precision].values()), list(seen["float32"].values()), rtol=limit)
    assert (seen[precision] == seen["float32"]) == (precision == "tf32")


def test_an_unknown_turn_order_hands_nothing_stale_on(begin):
    """A generator that moves in two turns running is asked anew after each."""
    networks, batch = begin("cyclegan")
    turn = RECIPES["cyclegan"].steps[0].turns[1]
    assert calls(networks, Step((turn, turn)), batch)["generator_y"] == 4


def test_every_precision_says_what_it_is():
    assert set(PRECISIONS) == {"float32", "tf32", "bf16"}
    assert replace(Model(nn.ModuleDict(), None)).precision == "float32"
