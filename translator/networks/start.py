"""Weights to start from where a training is too short for the authors' initialisation."""

import math

import torch
from torch import nn

from translator.networks.layers import SLOPE

BLUR = {3: (1, 2, 1), 5: (1, 4, 6, 4, 1)}  # binomial kernels by size: what a layer does to a band
LAST = 0.02  # weights of the last layer for all that is no band, relative to the other layers'


def start_quickly(network: nn.Module, gain: float = 1.0) -> nn.Module:
    """Begin a chain of 3x3 and 5x5 convolutions as a blur of the image, for hundreds of iterations and not thousands.

    The authors' Glorot weights dim an image from layer to layer and their biases of 0.1 outshine it; both take
    thousands of iterations to undo. Here the first channel of every layer carries the first band, and so on for each
    band; all other weights are random with He's variance, and biases are 0. Training then sharpens an image that has
    its place, its colour and its flux from the start.

    Args:
        network: Changed in place; its convolutions are in the order of its modules.
        gain: By which faint bands are multiplied on the way: the ratio of the pixels' areas, which keeps flux.

    Returns:
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
