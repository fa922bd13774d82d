import pytest
import torch

from translator.networks.generator import Growing, Shrinking, generator
from translator.networks.layers import SHUFFLE, Grid


@pytest.mark.parametrize("bands", [1, 3])
@pytest.mark.parametrize(
    ("small", "large"), [(64, 136), (64, 128), (64, 152), (16, 36), (30, 60), (64, 256), (62, 136), (48, 288)]
)
@pytest.mark.parametrize("halvings", [1, 2, 3])
def test_either_direction_lands_on_its_grid(small, large, bands, halvings):
    x, y = Grid(bands, small), Grid(bands, large)
    up, down = generator(y, x, width=2, halvings=halvings), generator(x, y, width=2, halvings=halvings)
    assert isinstance(up, Growing)
    assert isinstance(down, Shrinking)
    with torch.no_grad():
        image = up(torch.zeros(2, bands, small, small))
        assert image.shape == (2, bands, large, large)
        assert down(image).shape == (2, bands, small, small)


def test_bands_may_differ():
    network = generator(Grid(3, 36), Grid(2, 16), width=2)
    assert network(torch.zeros(1, 2, 16, 16)).shape == (1, 3, 36, 36)


@pytest.mark.parametrize(
    ("here", "there", "reason"),
    [
        (64, 64, "an eighth or more"),
        (96, 64, "an eighth or more"),
        (64, 137, "does not divide"),
        (65, 136, "odd number"),
        (138, 64, "odd number"),
        (16, 6, "fewer than 8"),
    ],
)
def test_sizes_that_cannot_be_served_are_refused_with_the_reason(here, there, reason):
    with pytest.raises(ValueError, match=f"from {there} to {here} pixels a side cannot be built: .*{reason}"):
        generator(Grid(5, here), Grid(5, there), width=2)


@pytest.mark.parametrize(("small", "large"), [(64, 136), (64, 128), (16, 36), (30, 60), (62, 136)])
@pytest.mark.parametrize("halvings", [1, 2, 3])
def test_a_pixel_shuffle_lands_on_the_same_grids(small, large, halvings):
    x, y = Grid(2, small), Grid(2, large)
    up, down = (generator(*grids, 8, halvings, SHUFFLE) for grids in ((y, x), (x, y)))
    with torch.no_grad():
        image = up(torch.zeros(1, 2, small, small))
        assert image.shape == (1, 2, large, large)
        assert down(image).shape == (1, 2, small, small)


def test_a_pixel_shuffle_by_four_leaves_a_sixteenth_of_the_channels():
    network = generator(Grid(2, 256), Grid(2, 64), 8, 3, SHUFFLE)
    assert network.layers[-3].in_channels == 1
    assert network(torch.zeros(1, 2, 64, 64)).shape == (1, 2, 256, 256)


def test_a_pixel_shuffle_cannot_shrink_a_map():
    with pytest.raises(ValueError, match="from 288 to 48 pixels a side would shuffle a map smaller"):
        generator(Grid(2, 48), Grid(2, 288), 8, 3, SHUFFLE)
