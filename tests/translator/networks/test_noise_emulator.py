import numpy as np
import torch
from numpy.testing import assert_allclose, assert_array_equal

from translator.networks.layers import Grid
from translator.networks.noise_emulator import NoiseEmulator, symmetric

GRID = Grid(3, 32)


def test_kernel_has_the_eight_symmetries_and_ten_free_weights():
    kernel = symmetric(torch.randn(2, 7, 7, dtype=torch.float64))
    for turned in (kernel.rot90(1, (1, 2)), kernel.flip(1), kernel.flip(2), kernel.mT):
        assert_allclose(turned.numpy(), kernel.numpy(), atol=1e-15)
    each = torch.eye(49, dtype=torch.float64).reshape(49, 7, 7)
    assert torch.linalg.matrix_rank(symmetric(each).reshape(49, 49)) == 10


def test_a_symmetric_kernel_is_unchanged():
    row, col = torch.meshgrid(*[torch.arange(-3.0, 4)] * 2, indexing="ij")
    kernel = torch.exp(-(row**2) - col**2)[None]
    assert_allclose(symmetric(kernel).numpy(), kernel.numpy(), rtol=1e-6)


def test_kernel_starts_with_the_authors_limit():
    limit = np.sqrt(6 / (49 + 35))
    kernel = NoiseEmulator(Grid(5, 64), Grid(5, 136)).kernel.detach().numpy()
    assert 0.9 * limit < np.abs(kernel).max() <= limit


def test_noise_has_the_amplitude_and_correlation_of_the_seeds():
    emulator = NoiseEmulator(GRID, GRID, width=4)
    seed = torch.randn(2, 3)
    white = torch.zeros(2, 3, 38, 38)
    white[:, :, 20, 10] = 1
    noise = emulator.colour(seed, white).detach()
    amplitude = emulator.amplitudes[1](seed[:, [1]])[1, 0].detach()
    assert_allclose(noise[1, 1, 14:21, 4:11].numpy(), (amplitude * symmetric(emulator.kernel)[1]).detach(), rtol=1e-5)


def test_same_generator_same_noise_and_no_two_images_alike():
    emulator = NoiseEmulator(GRID, GRID, width=4)
    one, other = (emulator(2, torch.Generator().manual_seed(3)).detach().numpy() for _ in range(2))
    assert_array_equal(one, other)
    assert one.shape == (2, 3, 32, 32)
    assert np.abs(one[0] - one[1]).max() > 0.01


def test_can_start_from_the_measured_sky():
    torch.manual_seed(1)
    sky = (0.02, 0.0003, 0.002)
    emulator = NoiseEmulator(Grid(3, 32, sky), GRID, width=16, from_sky=True)
    noise = emulator(64, torch.Generator().manual_seed(0)).detach()
    assert_allclose(noise.std((0, 2, 3)).numpy(), sky, rtol=0.3)


def test_starts_as_the_authors_where_the_sky_is_not_known():
    torch.manual_seed(1)
    known = NoiseEmulator(GRID, GRID, width=4).state_dict()
    torch.manual_seed(1)
    unknown = NoiseEmulator(GRID, GRID, width=4, from_sky=True).state_dict()
    assert all(torch.equal(known[name], unknown[name]) for name in known)
