import pytest
import torch

from translator.networks.autoencoder import Autoencoder
from translator.networks.layers import Grid


@pytest.mark.parametrize(("bands", "size"), [(5, 64), (5, 136), (1, 40), (3, 21)])
def test_keeps_the_grid(bands, size):
    network = Autoencoder(Grid(bands, size), Grid(bands, size), width=2)
    assert network(torch.zeros(2, bands, size, size)).shape == (2, bands, size, size)


def test_images_too_small_to_halve_are_refused():
    with pytest.raises(ValueError, match="6 pixels a side are too few"):
        Autoencoder(Grid(5, 6), Grid(5, 16))
