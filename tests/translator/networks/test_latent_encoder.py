import pytest
import torch

from translator.networks.latent import LatentEncoder
from translator.networks.layers import LATENT, Grid


def encoder(last_norm, size=64):
    torch.manual_seed(0)
    return LatentEncoder(Grid(2, size), Grid(3, size), 4, last_norm).double()


def images(size=64):
    return torch.randn(4, 2, size, size, dtype=torch.float64), torch.randn(4, 3, size, size, dtype=torch.float64)


def test_as_published_the_code_is_its_bias_whatever_the_images():
    network = encoder(last_norm=True)
    bias = network.layers[-1].bias.detach().expand(4, -1)
    torch.testing.assert_close(network(*images()).detach(), bias, atol=1e-12, rtol=0)


def test_repaired_the_code_tells_images_apart():
    codes = encoder(last_norm=False)(*images()).detach()
    assert codes.shape == (4, LATENT)
    assert float(codes.std(0).min()) > 1e-3


def test_drawn_codes_are_normal_and_follow_their_generator():
    network = encoder(last_norm=True)
    codes = network.draw(2000, torch.Generator().manual_seed(1))
    assert abs(float(codes.mean())) < 0.02
    assert abs(float(codes.std()) - 1) < 0.02
    assert codes.dtype == torch.float64
    torch.testing.assert_close(codes, network.draw(2000, torch.Generator().manual_seed(1)))


@pytest.mark.parametrize(
    ("here", "there", "reason"), [(64, 136, "images of one size"), (16, 16, "16 pixels are too few")]
)
def test_sizes_that_cannot_be_served_are_refused(here, there, reason):
    with pytest.raises(ValueError, match=reason):
        LatentEncoder(Grid(5, here), Grid(5, there))
