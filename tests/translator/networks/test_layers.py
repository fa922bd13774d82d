import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch.utils.flop_counter import FlopCounterMode

from translator.networks.layers import (
    NEAREST,
    SHUFFLE,
    chain,
    conv,
    decode,
    dense,
    doubled,
    encode,
    frame,
    instance_norm,
    of_resized,
    pool,
    reflected,
    resize,
    same,
    shuffle,
    transposed,
)


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


def test_pixel_shuffle_makes_neighbouring_channels_neighbouring_pixels():
    image = torch.arange(8.0).reshape(1, 8, 1, 1)
    assert_array_equal(shuffle(image, 2)[0], torch.tensor([[[0.0, 1], [2, 3]], [[4, 5], [6, 7]]]))


def test_pixel_shuffle_to_an_odd_size_drops_the_last_row_and_column():
    image = torch.randn(1, 4, 3, 3)
    assert_array_equal(shuffle(image, 5), torch.nn.functional.pixel_shuffle(image, 2)[..., :5, :5])


def test_a_pixel_shuffle_needs_channels_to_share_out():
    assert (SHUFFLE.channels(128, 2), SHUFFLE.channels(128, 1), NEAREST.channels(128, 2)) == (32, 128, 128)
    with pytest.raises(ValueError, match="by 2 cannot share out 6 channels"):
        SHUFFLE.channels(6, 2)


@pytest.mark.parametrize(
    ("kernel", "stride", "size", "first"), [(3, 2, 6, 0), (3, 2, 5, -1), (4, 2, 6, -1), (4, 1, 6, -1)]
)
def test_strided_convolutions_begin_where_tensorflow_begins(kernel, stride, size, first):
    """A kernel with a one in its first row and column shows the first pixel that it reads."""
    layer = conv(1, 1, kernel, padding=0, stride=stride)
    layer.weight.data.zero_()
    layer.bias.data.zero_()
    layer.weight.data[..., 0, 0] = 1
    image = torch.arange(1.0, size**2 + 1).reshape(1, 1, size, size)
    out = same(layer, image).detach()
    assert out.shape[-1] == -(-size // stride)
    step = stride * torch.arange(out.shape[-1]) + first
    expected = [[image[0, 0, r, c] if r >= 0 and c >= 0 else 0.0 for c in step.tolist()] for r in step.tolist()]
    assert_array_equal(out[0, 0], torch.tensor(expected))


def test_a_transposed_convolution_doubles_and_keeps_its_first_pixel():
    layer = transposed(1, 1, 3)
    layer.weight.data.zero_()
    layer.bias.data.zero_()
    layer.weight.data[..., 0, 0] = 1
    out = doubled(layer, torch.tensor([[[[1.0, 2], [3, 4]]]])).detach()
    assert_array_equal(out[0, 0], torch.tensor([[1.0, 0, 2, 0], [0, 0, 0, 0], [3, 0, 4, 0], [0, 0, 0, 0]]))


def test_a_reflected_convolution_mirrors_without_repeating_the_edge():
    layer = conv(1, 1, 3, padding=0)
    layer.weight.data.zero_()
    layer.bias.data.zero_()
    layer.weight.data[..., 1, 0] = 1  # the pixel on the left
    out = reflected(layer, torch.tensor([[[[1.0, 2, 3], [4, 5, 6], [7, 8, 9]]]])).detach()
    assert_array_equal(out[0, 0], torch.tensor([[2.0, 1, 2], [5, 4, 5], [8, 7, 8]]))


def test_instance_norm_has_mean_zero_and_variance_one_and_makes_nothing_of_a_constant():
    image = torch.randn(2, 3, 8, 8, dtype=torch.float64) * 5 + 2
    image[0, 0] = 7
    normed = instance_norm(image)
    torch.testing.assert_close(normed.mean((2, 3)), torch.zeros(2, 3, dtype=torch.float64))
    variance = normed.var((2, 3), correction=0)
    expected = torch.ones(2, 3, dtype=torch.float64)
    expected[0, 0] = 0
    torch.testing.assert_close(variance, expected)


@pytest.mark.parametrize("padding", ["same", 0])
@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize(("size", "wanted"), [(8, 16), (17, 34), (9, 18), (17, 33), (8, 24), (5, 20), (7, 7), (8, 12)])
def test_a_convolution_of_a_resized_image_is_that_of_the_image_made_large(size, wanted, kernel, padding):
    """At the edges too, and its gradients; by a multiple without making it, else (17 to 33) by making it."""
    layer = conv(3, 4, kernel, padding).double()
    image = torch.randn(2, 3, size, size, dtype=torch.float64, requires_grad=True)
    sought = [image, layer.weight, layer.bias]
    made, expected = of_resized(layer, image, wanted), layer(resize(image, wanted))
    torch.testing.assert_close(made, expected, rtol=1e-12, atol=1e-13)
    weight = torch.randn_like(made)
    ours, theirs = (torch.autograd.grad(one, sought, weight) for one in (made, expected))
    torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-12)


def test_a_convolution_of_a_doubled_image_does_not_multiply_more_than_it_must():
    """9 multiplications a pixel where the doubled image would take 25."""
    layer, image = conv(2, 2, 5), torch.zeros(1, 2, 8, 8)
    with FlopCounterMode(display=False) as counter:
        of_resized(layer, image, 16)
    assert counter.get_total_flops() == 2 * 9 * 16**2 * 2 * 2
