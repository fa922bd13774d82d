import pytest
import torch
from numpy.testing import assert_allclose

from translator.networks.discriminator import HIGH_PASS, Discriminator, summarise
from translator.networks.layers import Grid


@pytest.mark.parametrize(("bands", "size"), [(5, 64), (2, 40), (1, 12)])
def test_gives_one_logit_a_band(bands, size):
    network = Discriminator(Grid(bands, size), Grid(bands, size), width=2)
    assert network(torch.randn(3, bands, size, size)).shape == (3, bands)


def test_high_pass_removes_planes():
    kernel = torch.tensor(HIGH_PASS)
    row, col = torch.meshgrid(*[torch.arange(5.0)] * 2, indexing="ij")
    for plane in (torch.ones(5, 5), row, col):
        assert float((kernel * plane).sum()) == 0


def test_smooth_light_does_not_count():
    network = Discriminator(Grid(1, 32), Grid(1, 32), width=2).double()
    row = torch.arange(32.0, dtype=torch.float64).expand(1, 1, 32, 32)
    noise = torch.randn(1, 1, 32, 32, dtype=torch.float64)
    assert_allclose(network(noise + 5 * row + 3).detach().numpy(), network(noise).detach().numpy(), rtol=1e-9)


def test_each_band_is_judged_alone():
    network = Discriminator(Grid(2, 32), Grid(2, 32), width=2)
    image = torch.randn(1, 2, 32, 32)
    other = image.clone()
    other[:, 1] += torch.randn(32, 32)
    before, after = network(image)[0].detach(), network(other)[0].detach()
    assert before[0] == after[0]
    assert before[1] != after[1]


def test_ties_share_the_gradient():
    image = torch.zeros(1, 1, 2, 2, requires_grad=True)
    summarise(image)[0, 1].backward()
    assert_allclose(image.grad.numpy(), 0.25)


def test_tiny_images_are_refused():
    with pytest.raises(ValueError, match="12 pixels"):
        Discriminator(Grid(5, 10), Grid(5, 16))
