import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from translator.networks.autoencoder import Autoencoder
from translator.networks.generator import generator
from translator.networks.layers import Grid, start_quickly

X, Y = Grid(5, 64), Grid(5, 136)


def spot(size, width=0.15):
    """A wide spot (1, 5, size, size), of another brightness in each band."""
    row, col = (np.indices((size, size)) - (size - 1) / 2) / size
    profile = np.exp(-0.5 * (row**2 + col**2) / width**2)
    return torch.tensor(np.stack([(band + 1) * profile for band in range(5)])[None], dtype=torch.float32)


@pytest.mark.parametrize(("here", "there"), [(X, Y), (Y, X)], ids=["shrinking", "growing"])
def test_a_generator_starts_as_the_image_on_its_own_grid_with_its_flux(here, there):
    torch.manual_seed(0)
    gain = (there.size / here.size) ** 2
    network = start_quickly(generator(here, there, width=8, halvings=2), gain)
    with torch.no_grad():
        made = network(spot(there.size))[0].numpy()
    flux, wanted = made.sum(axis=(1, 2)), gain * spot(here.size)[0].numpy().sum(axis=(1, 2))
    assert_allclose(flux, wanted, rtol=0.3)  # the other channels add a little
    middle = here.size // 2
    assert (made[:, middle, middle] > 3 * made[:, 4, 4]).all()


def test_an_autoencoder_starts_as_its_image_blurred():
    torch.manual_seed(0)
    with torch.no_grad():
        made = start_quickly(Autoencoder(X, Y, width=8))(spot(64))[0].numpy()
    assert_allclose(made.sum(axis=(1, 2)), spot(64)[0].numpy().sum(axis=(1, 2)), rtol=0.2)


def test_dark_stays_dark():
    torch.manual_seed(0)
    with torch.no_grad():
        assert start_quickly(generator(Y, X, width=8))(torch.zeros(1, 5, 64, 64)).abs().max() == 0
