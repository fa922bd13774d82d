"""Each loss against its formula, and which images it reads."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn
from torch.nn import functional as F

from translator import RECIPES, losses
from translator.images import Batch, Images
from translator.networks.layers import Grid
from translator.networks.noise_emulator import NoEncoder, NoNoise


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

    def mean(self, loss, image):
        return loss(self(image)).mean()


@pytest.fixture
def networks():
    made = {}
    for domain, size in (("x", 16), ("y", 36)):
        made |= {f"generator_{domain}": Affine(size, 0.5, 0.1), f"autoencoder_{domain}": Affine(size, 0.9, 0.0)}
        made |= {f"emulator_{domain}": Affine(size, 1, 0), f"discriminator_{domain}": Mean()}
        made |= {f"encoder_{domain}": NoEncoder(None, None)}
    return nn.ModuleDict(made)


class Bands(nn.Module):
    """An encoder whose code is the mean of each band of the first image less half that of the second."""

    def forward(self, here, there):
        return here.mean((2, 3)) - 0.5 * there.mean((2, 3))

    def draw(self, count, random=None):
        return torch.randn(count, 2, generator=random)


class Steered(Affine):
    """A generator that adds the mean of its code to an image."""

    def forward(self, image, latent):
        return super().forward(image) + latent.mean(1)[:, None, None, None]


class Judge(nn.Module):
    """A latent discriminator: twice the mean of the code."""

    def forward(self, latent):
        return 2 * latent.mean(1, keepdim=True)


@pytest.fixture
def steered(networks):
    for domain, size in (("x", 16), ("y", 36)):
        networks[f"encoder_{domain}"], networks[f"latent_discriminator_{domain}"] = Bands(), Judge()
        networks[f"generator_{domain}"], networks[f"emulator_{domain}"] = Steered(size, 0.5, 0.1), NoNoise(None, None)
    return networks


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


@pytest.mark.parametrize(
    "name", sorted(name for name, loss in vars(losses).items() if getattr(loss, "reads_pairs", False))
)
def test_a_loss_on_pairs_refuses_a_batch_without(steered, batch, name):
    grids = {"x": Grid(2, 16, (), 0.4), "y": Grid(2, 36, (), 0.18)}
    all_networks = nn.ModuleDict(dict(RECIPES["psf_matched"].build(grids).items()) | dict(steered.items()))
    for domain in "xy":
        with pytest.raises(ValueError, match="needs pairs, and the batch has none"):
            getattr(losses, name)(images(all_networks, Batch(batch.x, batch.y, known=batch.known)), domain)


def entropy(logits, real):
    probability = 1 / (1 + np.exp(-np.asarray(logits)))
    return -np.log(probability if real else 1 - probability).mean()


def test_adversarial_losses_judge_translations_with_their_noise(networks, batch):
    fake = (networks["generator_x"](batch.y) + noise(batch, 16)).mean((2, 3))
    expected = entropy(batch.x.mean((2, 3)), True) + entropy(fake, False)
    assert_allclose(float(losses.discrimination(images(networks, batch), "x")), expected, rtol=1e-5)
    assert_allclose(float(losses.adversarial(images(networks, batch), "x")), entropy(fake, True), rtol=1e-5)


def test_pseudo_identity_compares_on_the_larger_pixels(networks, batch):
    onto_smaller = 2.1 * losses.bilinear(networks["generator_y"](batch.x), 16) - batch.x
    onto_larger = networks["generator_x"](batch.y) - 2.1 * losses.bilinear(batch.y, 16)
    for domain, difference in (("y", onto_smaller), ("x", onto_larger)):
        loss = losses.pseudo_identity(images(networks, batch), domain, ratio=2.1)
        assert_allclose(float(loss), float(difference.square().mean()), rtol=1e-6)


def test_bilinear_reads_from_the_first_pixel_without_smoothing():
    """Nine pixels to four: at 0, 2.25, 4.5 and 6.75; a plane is read as the plane that it is."""
    row, col = torch.meshgrid(torch.arange(9.0), torch.arange(9.0), indexing="ij")
    plane = (10 * row + col)[None, None]
    place = torch.tensor([0, 2.25, 4.5, 6.75])
    assert_allclose(losses.bilinear(plane, 4)[0, 0].numpy(), (10 * place[:, None] + place).numpy(), rtol=1e-6)


def test_bilinear_ends_at_the_last_pixel():
    assert_allclose(losses.bilinear(torch.tensor([[[[0.0, 4.0], [8.0, 12.0]]]]), 4)[0, 0, 3].numpy(), [8, 10, 12, 12])


def test_latent_codes_steer_and_are_read_back(steered, batch):
    made = images(steered, batch)
    drawn = made.latent("y")
    fake = steered["generator_y"](batch.x, drawn)
    assert_allclose(made.fake("y").numpy(), fake.numpy(), rtol=1e-6)
    read = steered["encoder_y"](fake, batch.x)
    assert_allclose(float(losses.latent_cycle(made, "y")), float((read - drawn).square().mean()), rtol=1e-5)
    code = steered["encoder_x"](batch.x, fake)  # of the way back
    back = steered["generator_x"](fake, code)
    assert_allclose(float(losses.cycle(made, "x")), float((back - batch.x).square().mean()), rtol=1e-5)


def test_identity_under_latent_codes_draws_its_own(steered, batch):
    made = images(steered, batch)
    drawn = made.paired_latent("y")
    assert not torch.equal(drawn, made.latent("y"))
    difference = steered["generator_y"](batch.pair_x, drawn) - batch.pair_y
    assert_allclose(float(losses.identity(made, "y")), float(difference.square().mean()), rtol=1e-5)


def test_latent_discrimination_and_adversarial(steered, batch):
    made = images(steered, batch)
    fake = steered["generator_y"](batch.x, made.latent("y"))
    read = [steered["encoder_x"](batch.x, fake), steered["encoder_x"](batch.pair_x, batch.pair_y)]
    judged = [2 * code.mean(1) for code in read]
    real = sum(entropy(2 * code.mean(1), True) for code in (made.latent("x"), made.paired_latent("x")))
    expected = real + sum(entropy(logits, False) for logits in judged)
    assert_allclose(float(losses.latent_discrimination(made, "x")), expected, rtol=1e-5)
    expected = sum(entropy(logits, True) for logits in judged)
    assert_allclose(float(losses.latent_adversarial(made, "x")), expected, rtol=1e-5)


UNPAIRED = ["reconstruction", "noise_discrimination", "noise_adversarial", "discrimination", "adversarial", "cycle"]


@pytest.mark.parametrize("domain", ["x", "y"])
@pytest.mark.parametrize("name", [*UNPAIRED, "identity"])
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
