"""The golden values of the authors' model: weights and inputs by the rules of their page, loaded into our networks."""

import zlib
from pathlib import Path

import numpy as np
import torch

GOLDEN = Path(__file__).parents[2].parent / "shared" / "golden" / "golden.npz"
DOMAINS = {"y": 0, "x": 1}  # the authors count CFHT 0 and SDSS 1
ROLES = {"autoencoder": "auto{}", "emulator": "noise{}", "discriminator": "discriminator{}"}
GENERATORS = {"generator_x": "generator01", "generator_y": "generator10"}
OFFSETS = {"y": 0, "x": 10, "pair_x": 20, "pair_y": 30}


def scope(name):
    """The authors' name of one of our networks: "autoencoder_x" is their auto1."""
    role, domain = name.rsplit("_", 1)
    return GENERATORS[name] if role == "generator" else ROLES[role].format(DOMAINS[domain])


def variable(network, parameter):
    """The authors' name of one of our parameters, such as "bands.2.fft_conv1.weight" of a discriminator."""
    if parameter == "kernel":
        return f"{scope(network)}/kernel"
    *path, layer, kind = parameter.split(".")
    if path == ["layers"]:  # a chain of convolutions, which they count from 1
        path, layer = [], f"conv{int(layer) + 1}"
    band = path[-1] if path else ""
    return f"{scope(network)}/{layer}{band}/" + {"weight": "weights", "bias": "biases"}[kind]


def authors_value(name, shape):
    value = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape)
    value = value * 0.05 if name.endswith("biases") else value / np.sqrt(np.prod(shape[:-1]))
    return value.astype(np.float32).astype(np.float64)


def authors_shape(shape, name):
    if name.endswith("/kernel"):
        bands, rows, cols = shape
        return (1, rows, cols, bands)
    return tuple(shape[axis] for axis in {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}[len(shape)])


def ours(value, name):
    if name.endswith("/kernel"):
        return value[0].transpose(2, 0, 1)
    return value.transpose({4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}[value.ndim])


def load_golden(networks):
    """Give every network of the dictionary the golden weights, in float64."""
    for name, network in networks.items():
        network.double()
        for parameter, tensor in network.named_parameters():
            authors = variable(name, parameter)
            value = ours(authors_value(authors, authors_shape(tensor.shape, authors)), authors)
            tensor.data = torch.from_numpy(np.ascontiguousarray(value))
    return networks


def variables(name, network):
    """The authors' names and shapes of all parameters, as the golden file lists them."""
    named = {variable(name, parameter): tensor for parameter, tensor in network.named_parameters()}
    return {f"{key}|{'x'.join(map(str, authors_shape(tensor.shape, key)))}" for key, tensor in named.items()}


def golden_image(name, size, bands=5):
    value = np.random.default_rng(1 + OFFSETS[name]).standard_normal((2, size, size, bands)).astype(np.float32)
    return torch.from_numpy((value.astype(np.float64) * 0.5).transpose(0, 3, 1, 2).copy())


def golden_seeds(domain, size, bands=5):
    """The noise emulator's numbers: for amplitudes (2, bands), and white maps (2, bands, size + 6, size + 6)."""
    amplitude, white = (
        np.random.default_rng(1 + offset + 10 * DOMAINS[domain]).standard_normal(shape).astype(np.float32)
        for offset, shape in ((80, (2, bands)), (100, (2, size + 6, size + 6, bands)))
    )
    white = white.transpose(0, 3, 1, 2).copy()
    return torch.from_numpy(amplitude.astype(np.float64)), torch.from_numpy(white.astype(np.float64))


def as_ours(output):
    return np.moveaxis(output, -1, 1) if output.ndim == 4 else output
