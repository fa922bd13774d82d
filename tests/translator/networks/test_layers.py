import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from translator.networks.layers import chain, conv, decode, dense, encode, frame, pool, resize


def test_weights_start_glorot_uniform_and_biases_at_a_tenth():
    torch.manual_seed(0)
    layer = conv(64, 128, 3)
    limit = np.sqrt(6 / (9 * 64 + 9 * 128))
    weights = layer.weight.detach().numpy()
    assert np.abs(weights).max() <= limit
    assert_allclose(weights.std(), limit / np.sqrt(3), rtol=0.01)
    assert_allclose(layer.bias.detach().numpy(), 0.1)
    assert_allclose(np.abs(dense(576, 32).weight.detach().numpy()).max(), 0.0993, rtol=0.001)


def test_pool_of_an_odd_size_takes_the_mean_of_the_pixels_that_are_there():
    image = torch.arange(9.0).reshape(1, 1, 3, 3)
    assert_array_equal(pool(image)[0, 0], [[2, 3.5], [6.5, 8]])


def test_resize_repeats_pixels():
    assert_array_equal(resize(torch.tensor([[[[1.0, 2], [3, 4]]]]), 4)[0, 0, :, :2], [[1, 1], [1, 1], [3, 3], [3, 3]])


def test_frame_mirrors_with_the_edge_pixel_repeated_and_crops():
    row = torch.arange(4.0).expand(1, 1, 4, 4)
    assert_array_equal(frame(row, 2)[0, 0, 0], [1, 0, 0, 1, 2, 3, 3, 2])
    assert_array_equal(frame(row.mT, 1)[0, 0, :, 0], [0, 0, 1, 2, 3, 3])
    assert_array_equal(frame(row, -1)[0, 0, 0], [1, 2])
    assert frame(row, 0) is row


@pytest.mark.parametrize("size", [16, 21, 30])
def test_decode_gives_every_size_back(size):
    layers = torch.nn.ModuleList(chain([2, 3, 4, 5, 4, 3], 3))
    image, sizes = encode(torch.zeros(1, 2, size, size), layers[:3])
    assert sizes == [size, -(-size // 2)]
    assert decode(image, layers[3:], sizes).shape == (1, 3, size, size)
