"""How trained networks are used, for every recipe."""

from dataclasses import replace

import pytest
import torch
from torch import Generator
from torch.testing import assert_close

from translator import RECIPES
from translator.networks.layers import Grid
from translator.observing import Observed
from translator.use import Wanted, sky_variance

SCALE = {"x": 0.4, "y": 0.18}
RANDOM = {"two_step", "no_autoencoder", "augmented_cyclegan", "augmented_cyclegan_repaired", "demo", "psf_matched"}


def grids(sizes):
    return {d: Grid(2, sizes[d], (0.1, 0.1), SCALE[d], {"x": (1.3, 1.3), "y": (0.7, 0.7)}[d]) for d in "xy"}


def asked(batch, domain, **wishes):
    """Observations of the other domain's pairs, and that they are wanted as they are in `domain`."""
    there = "yx"["xy".index(domain)]
    image, known = getattr(batch, f"pair_{there}"), batch.known[f"pair_{there}"]
    size = getattr(batch, domain).shape[-1]
    unknown = torch.full((len(image), 2), torch.nan)
    ratio = image.shape[-1] / size
    alignment = torch.tensor([[1 / ratio, 0.0, 0.0], [0.0, 1 / ratio, 0.0]]).expand(len(image), 2, 3)
    wanted = Wanted(domain, (size, size), SCALE[domain], alignment, unknown, unknown, unknown)
    return Observed(image.double(), torch.isfinite(image), known), replace(wanted, **wishes)


def begin(recipe, batch):
    torch.manual_seed(0)
    networks = recipe.build(grids({d: getattr(batch, d).shape[-1] for d in "xy"})).eval()
    for parameter in networks.parameters():  # layers that begin as zero would hide what reaches them
        parameter.data += 0.02 * torch.randn(parameter.shape)
    return networks


def make(recipe, networks, observed, wanted, seed=1):
    with torch.no_grad():
        return recipe.use.translate(networks, observed, wanted, [Generator().manual_seed(seed) for _ in observed.image])


@pytest.mark.parametrize("domain", "xy")
@pytest.mark.parametrize("name", RECIPES)
def test_noise_follows_the_seed_and_without_it_there_is_one_translation(name, domain, narrow, batch_for):
    recipe = narrow[name]
    batch = batch_for(recipe)
    networks = begin(recipe, batch)
    assert recipe.use.is_random(networks, domain) == (name in RANDOM)
    for noise in (True, False):
        observed, wanted = asked(batch, domain, noise=noise)
        first, same, other = (make(recipe, networks, observed, wanted, seed).image for seed in (1, 1, 2))
        assert first.shape[-1] == getattr(batch, domain).shape[-1]
        assert torch.equal(first, same)
        assert torch.equal(first, other) == (not noise or name not in RANDOM)


@pytest.mark.parametrize("domain", "xy")
def test_a_gap_or_a_missing_band_stays_where_it_is(domain, narrow, batch):
    recipe = narrow["psf_matched"]
    networks = begin(recipe, batch)
    observed, wanted = asked(batch, domain, noise=False)
    whole = make(recipe, networks, observed, wanted)
    assert bool(whole.good.all())
    middle = observed.image.shape[-1] // 2
    good = observed.good.clone()
    good[:, 0, middle - 3 : middle + 3, middle - 3 : middle + 3] = False
    image = torch.where(good, observed.image, 1e6)
    holed = make(recipe, networks, Observed(image, good, observed.known), wanted)
    assert bool(torch.isfinite(holed.image).all())
    assert holed.image.abs().max() < 100 * whole.image.abs().max()
    centre = holed.good.shape[-1] // 2
    assert not holed.good[:, 0, centre, centre].any()
    assert bool(holed.good[:, 0, 0, 0].all())
    assert bool(holed.good[:, 1].all())
    without = make(
        recipe,
        networks,
        Observed(image, observed.good & torch.tensor([True, False])[:, None, None], observed.known),
        wanted,
    )
    assert not without.good[:, 1].any()
    assert bool(without.good[:, 0].all())


def test_a_draw_differs_from_the_mean_and_from_another(narrow, batch):
    recipe = narrow["psf_matched"]
    networks = begin(recipe, batch)
    observed, wanted = asked(batch, "y", noise=False, draw=True)
    first, same, other = (make(recipe, networks, observed, wanted, seed).image for seed in (1, 1, 2))
    mean = make(recipe, networks, observed, replace(wanted, draw=False)).image
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert not torch.equal(first, mean)


@pytest.mark.parametrize("domain", "xy")
def test_draws_have_the_scatter_of_flux_that_was_measured(domain, narrow, batch):
    recipe = narrow["psf_matched"]
    networks = begin(recipe, batch)
    assert recipe.use.has_draws(networks, domain)
    observed, wanted = asked(batch, domain, noise=False, draw=True)
    before = make(recipe, networks, observed, wanted).image
    networks[f"survey_{domain}"].flux_scatter.copy_(torch.tensor([[0.1, 0.0], [0.1, 0.0]]))
    ratio = make(recipe, networks, observed, wanted).image / before
    assert_close(ratio, ratio[..., :1, :1].expand_as(ratio), rtol=1e-5, atol=0)
    assert_close(ratio[:, 0], ratio[:, 1], rtol=1e-5, atol=0)
    assert 0.0 < float(ratio[:, 0, 0, 0].log().abs().max()) < 0.4


@pytest.mark.parametrize("domain", "xy")
def test_noise_has_the_amplitude_that_is_wanted(domain, narrow, batch):
    recipe = narrow["psf_matched"]
    networks = begin(recipe, batch)
    sigma = torch.full((2, 2), 50.0)  # much more than what the input's noise leaves
    plain = make(recipe, networks, *asked(batch, domain, noise=False, sigma=sigma))
    noisy = make(recipe, networks, *asked(batch, domain, noise=True, sigma=sigma))
    noise = (noisy.image - plain.image)[..., 2:-2, 2:-2]
    assert 42 < float(noise.std()) < 58


def test_noise_that_a_restored_sky_still_has_is_not_added_again():
    random = torch.Generator().manual_seed(0)
    left = 0.3 * torch.randn(1, 2, 80, 80, generator=random)
    left[:, 1] *= 2
    left[..., 30:50, 30:50] += 100.0  # a galaxy
    plain = torch.zeros_like(left)
    plain[..., 30:50, 30:50] = 50.0
    found = sky_variance(left, plain == 0).sqrt()[0]
    assert abs(float(found[0]) - 0.3) < 0.02
    assert abs(float(found[1]) - 0.6) < 0.04
    assert bool((sky_variance(left, plain > 100) == 0).all())
