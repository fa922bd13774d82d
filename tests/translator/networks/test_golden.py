"""Every network of two_step agrees with the authors' own, in float64."""

import numpy as np
import pytest
import torch

from translator.networks.layers import Grid
from translator.recipes import RECIPES

GRIDS = {"x": Grid(5, 64), "y": Grid(5, 136)}
NETWORKS = RECIPES["two_step"].networks


@pytest.mark.parametrize("name", NETWORKS)
def test_output_is_the_authors(name, golden):
    values = np.load(golden.GOLDEN)
    network = NETWORKS[name](GRIDS)
    assert golden.variables(name, network) == set(values[f"network/{golden.scope(name)}/variables"])
    golden.load_golden({name: network})
    role, domain = name.split("_")
    seen = {"x": "y", "y": "x"}[domain] if role == "generator" else domain
    with torch.no_grad():
        if role == "emulator":
            output = network.colour(*golden.golden_seeds(domain, GRIDS[domain].size))
        else:
            output = network(golden.golden_image("y", GRIDS[seen].size))
    expected = golden.as_ours(values[f"network/{golden.scope(name)}/output"])
    assert np.abs(output.numpy() - expected).max() < 1e-6 * np.abs(expected).max()


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("autoencoder_x", 2_162_501),
        ("autoencoder_y", 2_162_501),
        ("generator_x", 1_019_269),
        ("generator_y", 1_425_093),
        ("emulator_x", 22_010),
        ("emulator_y", 22_010),
        ("discriminator_x", 3_859_845),
        ("discriminator_y", 3_859_845),
    ],
)
def test_parameter_counts_are_the_authors(name, parameters):
    assert sum(p.numel() for p in NETWORKS[name](GRIDS).parameters()) == parameters
