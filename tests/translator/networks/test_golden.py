"""Every network agrees with the authors' own: its variables, and its output in float64 and float32."""

from functools import cache

import numpy as np
import pytest
import torch

from translator import RECIPES
from translator.images import OTHER
from translator.weights.transfer import scope

KINDS = {  # row: what the golden file puts before and after the authors' name of a network, by role
    "two_step": dict.fromkeys(("autoencoder", "emulator", "discriminator", "generator"), ("", "")),
    "cyclegan_id_ps": {"generator": ("", "_ps")},
    "cyclegan_resnet6": {"generator": ("cg_", ""), "discriminator": ("cg_", "")},
    "augmented_cyclegan": {"generator": ("cg_", "_cond"), "encoder": ("cg_", ""), "latent_discriminator": ("cg_", "")},
}
NETWORKS = [(row, f"{role}_{domain}") for row, roles in KINDS.items() for role in roles for domain in "xy"]


@pytest.fixture(scope="module")
def built(golden):
    """The networks of each row, drawn once: every test gives the one that it asks about the golden weights anew."""
    return cache(lambda row: golden.build(RECIPES[row]))


def output(golden, name, network, sizes, dtype):
    """What a network makes of the golden inputs."""
    role, domain = name.rsplit("_", 1)
    seen = OTHER[domain] if role == "generator" else domain
    image, latent = golden.image("y", sizes[seen]).to(dtype), golden.latent({"y": 0, "x": 1}[domain]).to(dtype)
    if role == "emulator":
        return network.colour(*(seed.to(dtype) for seed in golden.noise_seeds(domain, sizes[domain])))
    if role == "encoder":
        return network(image, golden.image("x", sizes[OTHER[domain]]).to(dtype))
    return network(latent) if role == "latent_discriminator" else network(image, *[latent] * (role == "generator"))


@pytest.mark.parametrize(("precision", "tolerance"), [("float64", 1e-6), ("float32", 1e-4)])
@pytest.mark.parametrize(("row", "name"), NETWORKS)
def test_output_is_the_authors(row, name, precision, tolerance, golden, built):
    values, dtype = np.load(golden.GOLDEN), getattr(torch, precision)
    before, after = KINDS[row][name.rsplit("_", 1)[0]]
    key = f"{before}{scope(name).replace('generator_latent', 'latent')}{after}"
    network = golden.load(name, built(row)[name], dtype)
    assert golden.variables(name, network) == set(values[f"network/{key}/variables"])
    with torch.no_grad():
        ours = output(golden, name, network, golden.sizes(RECIPES[row]), dtype).double().numpy()
    expected = golden.as_ours(values[f"network/{key}/output"])
    assert np.abs(ours - expected).max() < tolerance * np.abs(expected).max()
