import torch

from translator.networks.layers import Grid
from translator.networks.noise_emulator import NoEncoder, NoNoise

GRIDS = Grid(5, 64), Grid(5, 136)


def test_no_noise_adds_nothing_and_draws_nothing():
    random = torch.Generator().manual_seed(0)
    state = random.get_state()
    image = torch.randn(2, 5, 64, 64)
    assert torch.equal(image + NoNoise(*GRIDS)(2, random), image)
    assert torch.equal(random.get_state(), state)


def test_no_encoder_has_no_code_and_draws_nothing():
    random = torch.Generator().manual_seed(0)
    state = random.get_state()
    network = NoEncoder(*GRIDS)
    assert network.draw(2, random) is None
    assert network(torch.zeros(2, 5, 64, 64), torch.zeros(2, 5, 136, 136)) is None
    assert torch.equal(random.get_state(), state)
