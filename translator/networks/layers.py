"""Layers that several networks share, with the authors' initialisation, padding and slopes.

Images are (B, C, H, W) throughout.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTH = 64  # channels of the first layer in the paper; every other layer is a multiple of it
LATENT = 32  # numbers in a latent code
BIAS = 0.1  # initial value of every bias
SLOPE = 0.2  # of the leaky ReLU for negative values
EPSILON = 1e-20  # added to a variance, against division by zero


@dataclass(frozen=True)
class Grid:
    """The pixels of one domain.

    Attributes
    ----------
    bands : int
        Number of bands.
    size : int
        Rows, and columns, of an image [pixel].
    sky : tuple of float
        Standard deviation of a pixel of empty sky in each band, stretched; empty if unknown.
    pixel_scale : float
        [arcsec/pixel]; NaN if a network need not know it.
    psf_fwhm : tuple of float
        Usual full width at half maximum of stars in each band [arcsec]; empty if unknown.
    """

    bands: int
    size: int
    sky: tuple[float, ...] = ()
    pixel_scale: float = math.nan
    psf_fwhm: tuple[float, ...] = ()


@dataclass(frozen=True)
class Enlargement:
    """A way to enlarge feature maps that has no weights.

    Attributes
    ----------
    enlarge : callable
        From an image (B, C, H, W) and a size to (B, channels(C, factor), size, size).
    channels : callable
        From C and a factor to the number of channels that are left; ValueError if the factor does not divide them.
    read : callable
        From a convolution, an image (B, C, H, W) and a size to the convolution of the image enlarged to that size.
    """

    enlarge: Callable[[Tensor, int], Tensor]
    channels: Callable[[int, int], int]
    read: Callable[[nn.Conv2d, Tensor, int], Tensor]


def conv(inside: int, outside: int, kernel: int, padding: str | int = "same", stride: int = 1) -> nn.Conv2d:
    """Return a convolution with Glorot-uniform weights and biases 0.1.

    With stride 1 it keeps the size unless `padding` is 0.
    """
    return _begin(nn.Conv2d(inside, outside, kernel, stride, padding))


def transposed(inside: int, outside: int, kernel: int) -> nn.ConvTranspose2d:
    """Return a transposed convolution of stride 2 with the same start; `doubled` applies it."""
    return _begin(nn.ConvTranspose2d(inside, outside, kernel, 2))


def chain(channels: list[int], kernel: int, enlargement: Enlargement | None = None) -> list[nn.Conv2d]:
    """Return convolutions that keep the size, from each number of channels to the next.

    Parameters
    ----------
    channels : list of int
        Number of channels before the first convolution and after each.
    kernel : int
        Rows, and columns, of the kernels.
    enlargement : Enlargement, optional
        The way in which each convolution's input is doubled before it, if it is.
    """
    read = (lambda count: enlargement.channels(count, 2)) if enlargement else (lambda count: count)
    return [conv(read(inside), outside, kernel) for inside, outside in pairwise(channels)]


def dense(inside: int, outside: int) -> nn.Linear:
    """Return a fully connected layer (B, inside) -> (B, outside) with Glorot-uniform weights and biases 0.1."""
    return _begin(nn.Linear(inside, outside))


def single(image: Tensor) -> Tensor:
    """Return the image in float32 if it has fewer digits, as the output of a layer has in a training in bf16."""
    return image.float() if image.dtype.itemsize < 4 else image


def precise(layer: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
    """Apply a last layer in float32, also in a training in bf16, whose eight bits would show in an image or a loss."""
    with torch.autocast(image.device.type, enabled=False):
        return layer(single(image))


def leaky(image: Tensor, *, in_place: bool = True) -> Tensor:
    """Return the leaky ReLU of slope 0.2.

    If `in_place`, it overwrites the layer's output, so that training keeps one map and not two.
    """
    return F.leaky_relu(image, SLOPE, in_place)


def pool(image: Tensor) -> Tensor:
    """Return the mean of 2x2 pixels; an odd last row or column is the mean of the pixels that it has."""
    return F.avg_pool2d(image, 2, ceil_mode=True)


def resize(image: Tensor, size: int) -> Tensor:
    """Resize to (B, C, size, size) by nearest neighbour; a doubling repeats every pixel."""
    return image if image.shape[-1] == size else F.interpolate(image, size=(size, size), mode="nearest")


def of_resized(layer: nn.Conv2d, image: Tensor, size: int) -> Tensor:
    """Return a convolution of the image resized by `resize`, without making the large image if the sizes allow it.

    A k x k kernel that moves over pixels repeated f times reads a pixel of the small image several times at once. The
    sums of its weights over f x f neighbours are the kernel of a transposed convolution of stride f that gives the same
    result, also at the edges. A doubling then takes 9 multiplications a pixel instead of 25, or 4 instead of 9.

    Parameters
    ----------
    layer : Conv2d
        A convolution of stride 1, built with the padding "same" or 0.
    image : Tensor
        (B, C, H, H).
    size : int
        Size of the image that the convolution reads; a multiple of H is quick.
    """
    factor, rest = divmod(size, image.shape[-1])
    if rest or factor == 1:
        return layer(resize(image, size))
    side = layer.kernel_size[0]
    sums = F.avg_pool2d(F.pad(layer.weight, [factor - 1] * 4), factor, 1, divisor_override=1)
    edge = side // 2 if layer.padding == "same" else side - 1
    return F.conv_transpose2d(image, sums.flip((-2, -1)).transpose(0, 1), layer.bias, stride=factor, padding=edge)


def of_shuffled(layer: nn.Conv2d, image: Tensor, size: int) -> Tensor:
    """Return a convolution of the image enlarged by `shuffle`."""
    return layer(shuffle(image, size))


def shuffle(image: Tensor, size: int) -> Tensor:
    """Rearrange pixels to (B, C / factor^2, size, size): neighbouring channels become neighbouring pixels.

    out[g, f i + a, f j + b] = in[f^2 g + f a + b, i, j]. If `size` is not a multiple of H, the last rows and columns
    are cut off.
    """
    factor = math.ceil(size / image.shape[-1])
    return image if factor == 1 else F.pixel_shuffle(image, factor)[..., :size, :size]


def _shuffled(channels: int, factor: int) -> int:
    """Return the number of channels after a pixel shuffle; ValueError if the factor does not divide them."""
    if channels % factor**2:
        raise ValueError(f"a pixel shuffle by {factor} cannot share out {channels} channels; take a larger width")
    return channels // factor**2


NEAREST = Enlargement(resize, lambda channels, factor: channels, of_resized)
SHUFFLE = Enlargement(shuffle, _shuffled, of_shuffled)


def same(layer: nn.Conv2d, image: Tensor) -> Tensor:
    """Apply a strided convolution (built with padding 0) that gives ceil(size / stride) pixels.

    Zeros are added on both sides, the odd one at the end, as TensorFlow's "SAME" does: a kernel of 3 and stride 2 reads
    pixels 0, 1, 2 of an even image first, where a padding of 1 would read -1, 0, 1.
    """
    (kernel, _), (stride, _) = layer.kernel_size, layer.stride
    pads = []
    for size in reversed(image.shape[-2:]):
        missing = max(0, (math.ceil(size / stride) - 1) * stride + kernel - size)
        pads += [missing // 2, missing - missing // 2]
    return layer(F.pad(image, pads))


def reflected(layer: nn.Conv2d, image: Tensor) -> Tensor:
    """Apply a convolution (built with padding 0) to the image mirrored at its edges; the edge pixel is not repeated."""
    edge = layer.kernel_size[0] // 2
    return layer(F.pad(image, [edge] * 4, mode="reflect"))


def doubled(layer: nn.ConvTranspose2d, image: Tensor) -> Tensor:
    """Apply a transposed convolution of stride 2 and crop to twice the size; the odd pixel is cut off at the end."""
    before = (layer.kernel_size[0] - 2) // 2
    rows, cols = (2 * size for size in image.shape[-2:])
    return layer(image)[..., before : before + rows, before : before + cols]


def instance_norm(image: Tensor) -> Tensor:
    """Return each channel of each image with mean 0 and variance 1 over its pixels; a constant channel becomes 0."""
    image = single(image)
    variance, mean = torch.var_mean(image, (-2, -1), correction=0, keepdim=True)
    return (image - mean) / torch.sqrt(variance + EPSILON)


def frame(image: Tensor, edge: int) -> Tensor:
    """Pad by `edge` pixels on each side, mirroring with the edge pixel repeated; crop if `edge` is negative."""
    if edge == 0:
        return image
    if edge < 0:
        return image[..., -edge:edge, -edge:edge]
    for axis in (-2, -1):
        before = image.narrow(axis, 0, edge).flip(axis)
        after = image.narrow(axis, image.shape[axis] - edge, edge).flip(axis)
        image = torch.cat([before, image, after], axis)
    return image


def encode(image: Tensor, layers: nn.ModuleList) -> tuple[Tensor, list[int]]:
    """Halve an image after each layer but the last; return it and the sizes it had, largest first."""
    sizes = []
    for layer in layers[:-1]:
        sizes.append(image.shape[-1])
        image = pool(leaky(layer(image)))
    return leaky(layers[-1](image)), sizes


def decode(image: Tensor, layers: nn.ModuleList, sizes: list[int], enlargement: Enlargement = NEAREST) -> Tensor:
    """Enlarge an image before each layer, to the sizes it had, smallest first."""
    for layer, size in zip(layers, reversed(sizes), strict=False):
        image = leaky(enlargement.read(layer, image, size))
    return image


def _begin(layer):
    """Give a layer Glorot-uniform weights and biases 0.1."""
    nn.init.xavier_uniform_(layer.weight)
    nn.init.constant_(layer.bias, BIAS)
    return layer


BLUR = {3: (1, 2, 1), 5: (1, 4, 6, 4, 1)}  # binomial kernels by size, with which a layer blurs a band
LAST = 0.02  # weights of the last layer for channels that carry no band, relative to the other layers' weights


def start_quickly(network: nn.Module, gain: float = 1.0) -> nn.Module:
    """Start a chain of 3x3 and 5x5 convolutions as a blur of the image, for trainings of hundreds of iterations.

    The authors' Glorot weights dim an image from layer to layer and their biases of 0.1 outshine it; both take
    thousands of iterations to undo. Here the first channel of every layer carries the first band, and so on for each
    band; all other weights are random with He's variance, and biases are 0. Training then sharpens an image that has
    its place, its colour and its flux from the start.

    Parameters
    ----------
    network : Module
        Changed in place; its convolutions are in the order of its modules.
    gain : float
        Factor by which faint bands are multiplied on the way; the ratio of the pixels' areas keeps flux.

    Returns
    -------
    Module
        The network.
    """
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    bands = layers[0].in_channels
    for layer in layers:
        outside, inside, size, _ = layer.weight.shape
        line = torch.tensor(BLUR[size], dtype=torch.float32) / sum(BLUR[size])
        weight = torch.randn(outside, inside, size, size) * math.sqrt(2 / (1 + SLOPE**2) / (inside * size**2))
        last = layer is layers[-1]
        for band in range(min(bands, outside, inside)):
            weight[band] *= LAST if last else 0
            weight[band, band] += torch.outer(line, line) * (gain if last else 1)
        with torch.no_grad():
            layer.weight.copy_(weight)
            layer.bias.zero_()
    return network
