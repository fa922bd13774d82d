"""Layers that several networks share, with the authors' initialisation, padding and slopes.

Images are (B, C, H, W) throughout.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTH = 64  # channels of the first layer in the paper; every other layer is a multiple of it
BIAS = 0.1  # initial value of every bias
SLOPE = 0.2  # of the leaky ReLU for negative values


@dataclass(frozen=True)
class Grid:
    """The pixels of one domain.

    Attributes:
        bands: Number of bands.
        size: Rows, and columns, of an image [pixel].
        sky: Standard deviation of a pixel of empty sky in each band, stretched; empty where it is not known.
    """

    bands: int
    size: int
    sky: tuple[float, ...] = ()


def conv(inside: int, outside: int, kernel: int, padding: str | int = "same") -> nn.Conv2d:
    """A convolution of stride 1: Glorot-uniform weights, biases 0.1. Keeps the size unless `padding` is "valid"."""
    return _begin(nn.Conv2d(inside, outside, kernel, padding=padding))


def chain(channels: list[int], kernel: int) -> list[nn.Conv2d]:
    """Convolutions that keep the size, from each number of channels to the next."""
    return [conv(inside, outside, kernel) for inside, outside in pairwise(channels)]


def dense(inside: int, outside: int) -> nn.Linear:
    """A fully connected layer (B, inside) -> (B, outside): Glorot-uniform weights, biases 0.1."""
    return _begin(nn.Linear(inside, outside))


def leaky(image: Tensor) -> Tensor:
    """Leaky ReLU of slope 0.2."""
    return F.leaky_relu(image, SLOPE)


def pool(image: Tensor) -> Tensor:
    """Mean of 2x2 pixels; an odd last row or column is the mean of the pixels that are there."""
    return F.avg_pool2d(image, 2, ceil_mode=True)


def resize(image: Tensor, size: int) -> Tensor:
    """Nearest-neighbour resize to (B, C, size, size): a doubling repeats every pixel."""
    return image if image.shape[-1] == size else F.interpolate(image, size=(size, size), mode="nearest")


def frame(image: Tensor, edge: int) -> Tensor:
    """Pad by `edge` pixels on each side, mirroring with the edge pixel repeated; crop where `edge` is negative."""
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
    """Halve an image after each layer but the last; also gives the sizes it had, largest first."""
    sizes = []
    for layer in layers[:-1]:
        sizes.append(image.shape[-1])
        image = pool(leaky(layer(image)))
    return leaky(layers[-1](image)), sizes


def decode(image: Tensor, layers: nn.ModuleList, sizes: list[int]) -> Tensor:
    """Resize an image to the sizes it had, smallest first, before each layer."""
    for layer, size in zip(layers, reversed(sizes), strict=False):
        image = leaky(layer(resize(image, size)))
    return image


def _begin(layer):
    nn.init.xavier_uniform_(layer.weight)
    nn.init.constant_(layer.bias, BIAS)
    return layer
