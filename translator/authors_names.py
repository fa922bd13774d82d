"""The authors' names and layouts of weights, for networks of any recipe.

They call CFHT 0 and SDSS 1 and name a translation by both ("generator01" makes SDSS out of CFHT); here a network is
named for where its images land, "x" for SDSS and "y" for CFHT. Their kernels are (row, col, in, out), transposed ones
(row, col, out, in), matrices (in, out), and the noise emulator's kernel (1, row, col, band).
"""

import numpy as np

from translator.images import OTHER

DOMAINS = {"x": "1", "y": "0"}
ROLES = {
    "autoencoder": "auto{here}",
    "emulator": "noise{here}",
    "discriminator": "discriminator{here}",
    "generator": "generator{there}{here}",
    "encoder": "generator_latent{here}",
    "latent_discriminator": "discriminator_latent{here}",
}
KINDS = {"weight": "weights", "bias": "biases"}
LAYOUTS = {1: (0,), 2: (1, 0), 4: (2, 3, 1, 0)}  # our axes in their order, by the number of axes
NOISE_KERNEL = "kernel"  # of the noise emulator, here (band, row, col)


def scope(network: str) -> str:
    """Their name of a network: "generator_y" is generator10. ValueError for a role that they do not have."""
    role, _, domain = network.rpartition("_")
    if role not in ROLES or domain not in DOMAINS:
        raise ValueError(f"the authors have no network {network!r}; known are {', '.join(ROLES)}, each with _x and _y")
    return ROLES[role].format(here=DOMAINS[domain], there=DOMAINS[OTHER[domain]])


def variable_name(network: str, parameter: str) -> str:
    """Their name of a parameter: "layers.0.weight" of "generator_y" is generator10/conv1/weights.

    A numbered layer is a convolution, which they count from 1; a number before the layer's name is that of a band,
    which they put behind it ("bands.2.fc1.bias" is fc12/biases).
    """
    if parameter == NOISE_KERNEL:
        return f"{scope(network)}/{NOISE_KERNEL}"
    *path, layer, kind = parameter.split(".")
    band = next((part for part in path if part.isdigit()), "")
    name = f"conv{int(layer) + 1}" if layer.isdigit() else layer
    return f"{scope(network)}/{name}{band}/{KINDS[kind]}"


def to_authors(parameter: str, weights: np.ndarray) -> np.ndarray:
    """One parameter's weights in their layout, in memory order."""
    if parameter == NOISE_KERNEL:
        return np.ascontiguousarray(weights.transpose(1, 2, 0)[None])
    return np.ascontiguousarray(weights.transpose(LAYOUTS[weights.ndim]))


def from_authors(parameter: str, values: np.ndarray) -> np.ndarray:
    """One variable's values in our layout, in memory order; the inverse of `to_authors`."""
    if parameter == NOISE_KERNEL:
        return np.ascontiguousarray(values[0].transpose(2, 0, 1))
    return np.ascontiguousarray(values.transpose(np.argsort(LAYOUTS[values.ndim])))


def authors_shape(parameter: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that a parameter of the shape `shape` has in their layout."""
    if parameter == NOISE_KERNEL:
        bands, rows, cols = shape
        return (1, rows, cols, bands)
    return tuple(shape[axis] for axis in LAYOUTS[len(shape)])
