import pytest
import torch
from torch import nn

from translator.networks.discriminator import Discriminator, PatchDiscriminator, at_once
from translator.networks.layers import Grid

GRID = Grid(2, 16)


@pytest.fixture
def network():
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()


def squared(network):
    return lambda image: network(image).square().mean()


@pytest.mark.parametrize("moves", ["both", "the image alone", "the network alone"])
def test_value_and_gradients_are_those_of_the_loss(network, moves):
    image = torch.randn(5, 3, dtype=torch.float64, requires_grad=moves != "the network alone")
    network.requires_grad_(moves != "the image alone")
    sought = [tensor for tensor in (image, *network.parameters()) if tensor.requires_grad]
    value, plain = at_once(squared(network), image, network), squared(network)(image)
    ours, theirs = (torch.autograd.grad(3 * one + one**2, sought) for one in (value, plain))
    torch.testing.assert_close(value, plain)
    torch.testing.assert_close(ours, theirs)


def test_nothing_is_kept_where_no_gradient_is_wanted(network):
    image = torch.randn(5, 3, dtype=torch.float64)
    with torch.no_grad():
        assert not at_once(squared(network), image, network).requires_grad
    assert not at_once(squared(network.requires_grad_(False)), image, network).requires_grad


@pytest.mark.parametrize("kind", [Discriminator, PatchDiscriminator])
def test_the_mean_over_logits_taken_band_by_band_is_that_of_all_at_once(kind):
    network, image = kind(GRID, GRID, 4).double(), torch.randn(3, 2, 16, 16, dtype=torch.float64, requires_grad=True)
    sought = [image, *network.parameters()]
    ours = torch.autograd.grad(network.mean(torch.exp, image), sought)
    theirs = torch.autograd.grad(network(image).exp().mean(), sought)
    torch.testing.assert_close(ours, theirs)


def test_one_band_is_remembered_at_a_time():
    """What backward passes need lives while its band is passed: the most at a time does not grow with the bands."""
    most = {}
    for bands in (1, 4):
        network = Discriminator(Grid(bands, 16), Grid(bands, 16), 4)
        alive, seen = set(), [0]

        class Kept:
            def __init__(self, tensor, alive=alive, seen=seen):
                self.tensor, self.alive = tensor, alive
                alive.add(id(self))
                seen[0] = max(seen[0], len(alive))

            def __del__(self):
                self.alive.discard(id(self))

        with torch.autograd.graph.saved_tensors_hooks(Kept, lambda kept: kept.tensor):
            network.mean(torch.exp, torch.randn(1, bands, 16, 16))
        most[bands] = seen[0]
    assert most[4] < 1.5 * most[1]
