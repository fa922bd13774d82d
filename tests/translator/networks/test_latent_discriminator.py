import torch

from translator.networks.latent import LatentDiscriminator
from translator.networks.layers import LATENT, SLOPE, Grid


def test_one_logit_a_code_which_is_leaky_too():
    network = LatentDiscriminator(Grid(5, 64), Grid(5, 64), 8)
    assert network(torch.randn(3, LATENT)).shape == (3, 1)
    network.layers["fc4"].weight.data.zero_()
    for bias, logit in ((2.0, 2.0), (-2.0, -2.0 * SLOPE)):
        network.layers["fc4"].bias.data.fill_(bias)
        torch.testing.assert_close(network(torch.randn(1, LATENT)).detach(), torch.tensor([[logit]]))
