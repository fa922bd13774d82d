"""Each loss against its formula, and which images it reads."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn
from torch.nn import functional as F

from translator import losses
from translator.images import Images


class Affine(nn.Module):
    """Image -> a image + b, on another grid; or, given a count, that many images of noise."""

    def __init__(self, size, a, b):
        super().__init__()
        self.size, self.a, self.b = size, a, b

    def forward(self, image, random=None):
        if isinstance(image, int):
            return torch.randn(image, 2, self.size, self.size, generator=random)
        return self.a * F.interpolate(image, size=(self.size, self.size)) + self.b


class Mean(nn.Module):
    """A discriminator: the mean of each band."""

    def forward(self, image):
        return image.mean((2, 3))


@pytest.fixture
def networks():
    made = {}
    for domain, size in (("x", 16), ("y", 36)):
        made |= {f"generator_{domain}": Affine(size, 0.5, 0.1), f"autoencoder_{domain}": Affine(size, 0.9, 0.0)}
        made |= {f"emulator_{domain}": Affine(size, 1, 0), f"discriminator_{domain}": Mean()}
    return nn.ModuleDict(made)


def images(networks, batch):
    return Images(networks, batch, torch.Generator().manual_seed(1))


def noise(batch, size):
    return torch.randn(len(batch.x), 2, size, size, generator=torch.Generator().manual_seed(1))


def test_reconstruction(networks, batch):
    expected = float((0.1 * batch.y).square().mean())
    assert_allclose(float(losses.reconstruction(images(networks, batch), "y")), expected, rtol=1e-5)


def test_discrimination_and_adversarial(networks, batch):
    real = batch.x.mean((2, 3)).numpy()
    fake = (0.9 * batch.x + noise(batch, 16)).mean((2, 3)).numpy()
    probability = [1 / (1 + np.exp(-logit)) for logit in (real, fake)]
    expected = -np.log(probability[0]).mean() - np.log(1 - probability[1]).mean()
    assert_allclose(float(losses.noise_discrimination(images(networks, batch), "x")), expected, rtol=1e-5)
    expected = -np.log(probability[1]).mean()
    assert_allclose(float(losses.noise_adversarial(images(networks, batch), "x")), expected, rtol=1e-5)


def test_identity(networks, batch):
    translated = networks["generator_y"](batch.pair_x)
    expected = float((translated - batch.pair_y).square().mean())
    assert_allclose(float(losses.identity(images(networks, batch), "y")), expected, rtol=1e-6)


def test_cycle_has_noise_between_its_halves(networks, batch):
    there = networks["generator_y"](batch.x) + noise(batch, 36)
    expected = float((networks["generator_x"](there) - batch.x).square().mean())
    assert_allclose(float(losses.cycle(images(networks, batch), "x")), expected, rtol=1e-6)


def test_identity_without_pairs_is_refused(networks, batch):
    with pytest.raises(ValueError, match="needs pairs"):
        losses.identity(images(networks, replace(batch, pair_x=batch.pair_x[:0], pair_y=batch.pair_y[:0])), "x")


@pytest.mark.parametrize("domain", ["x", "y"])
@pytest.mark.parametrize("name", ["reconstruction", "noise_discrimination", "noise_adversarial", "cycle", "identity"])
def test_identity_reads_pairs_alone_and_all_others_unpaired_images_alone(networks, batch, name, domain):
    nothing = torch.tensor(torch.nan)
    spoilt = {"x": batch.x * nothing, "y": batch.y * nothing}
    if name != "identity":
        spoilt = {"pair_x": batch.pair_x * nothing, "pair_y": batch.pair_y * nothing}
    value = getattr(losses, name)(images(networks, replace(batch, **spoilt)), domain)
    assert torch.isfinite(value)


def test_an_image_is_made_once_and_shared(networks, batch):
    made = images(networks, batch)
    assert made.noise("x") is made.noise("x")
    assert made.translated("y") is made.translated("y")
