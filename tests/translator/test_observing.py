from dataclasses import replace

import pytest
import torch
from numpy.testing import assert_allclose

from translator import RECIPES, losses
from translator.images import WHOLE, Batch, Images, Known, Share
from translator.networks.layers import Grid
from translator.observing import (
    Spoiling,
    leads_down,
    leave_sky,
    observe,
    scene,
    seen_variance,
    share_around,
    share_of_pairs,
    spoil,
)

GRIDS = {"x": Grid(2, 16, (0.1, 0.1), 0.4, (1.3, 1.3)), "y": Grid(2, 36, (0.01, 0.01), 0.18, (0.7, 0.7))}
RATIO = 0.4 / 0.18


def networks(grids=GRIDS):
    torch.manual_seed(0)
    return RECIPES["psf_matched"].build(grids).eval()


def batch(count, sizes=(16, 36)):
    random = torch.Generator().manual_seed(1)
    images = [torch.rand(count, 2, size, size, generator=random) for size in (*sizes, *sizes)]
    known = {
        name: Known(torch.full((count, 2), seeing), torch.full((count, 2), sigma), torch.full((count, 2), 1e4))
        for name, seeing, sigma in (("x", 1.3, 0.2), ("y", 0.7, 0.01), ("pair_x", 1.2, 0.2), ("pair_y", 0.8, 0.01))
    }
    offsets = torch.randn(count, 2, generator=random)
    alignment = torch.eye(2).expand(count, 2, 2) * RATIO
    return Batch(*images, known, torch.cat([alignment, offsets[..., None]], -1))


def part(whole, rows):
    """Some slots of a batch."""
    images = (None if each is None else each[rows] for each in (whole.x, whole.y, whole.pair_x, whole.pair_y))
    known = {name: each.map(lambda values: values[rows]) for name, each in whole.known.items()}
    return Batch(*images, known, whole.alignment[rows])


@pytest.mark.parametrize("loss", [losses.observation, losses.posterior_mean, losses.posterior_draws])
def test_two_processes_see_what_one_sees(loss):
    model, whole = networks(), batch(4)
    domain = "x" if loss is losses.observation else "y"

    def value(seen, share=WHOLE):
        with torch.no_grad():
            return float(loss(Images(model, seen, torch.Generator().manual_seed(5), share), domain))

    shares = [value(part(whole, slice(2 * rank, 2 * rank + 2)), Share(rank, 2)) for rank in range(2)]
    assert_allclose(sum(shares) / 2, value(whole), rtol=1e-5)


def test_a_model_leads_down_into_the_poorer_domain_whichever_that_is():
    model = networks()
    assert leads_down(model, "x")
    assert not leads_down(model, "y")
    other = networks({"x": GRIDS["y"], "y": GRIDS["x"]})
    assert leads_down(other, "y")


def test_the_variance_of_seen_noise_is_that_of_noise_that_is_seen():
    model = networks()
    count = 200
    whole = batch(count)
    noise = 0.01 * torch.randn(whole.y.shape, generator=torch.Generator().manual_seed(0))
    seeing, known = whole.known["x"].psf_fwhm, whole.known["y"]
    with torch.no_grad():
        seen = observe(model, "x", noise, known, seeing, whole.alignment, 16)
        stated = seen_variance(model, "x", known, seeing, whole.alignment)
    assert_allclose(seen[..., 3:-3, 3:-3].var(dim=(0, 2, 3)), stated[0], rtol=0.1)


def test_users_images_are_met_in_training():
    model, whole = networks(), batch(300)
    whole.alignment[..., 2] = 0  # no pixel lies beyond the input's edge
    often = Spoiling(gaps=0.5, few_bands=0.5, unknown=0.5)
    learnt = scene(Images(model, whole, torch.Generator().manual_seed(2)), "y", often)
    bands = learnt.weight[..., 0, 0].sum(1)
    assert set(bands.tolist()) == {1.0, 2.0}  # a band is missing in some, and none has lost all
    assert bool((learnt.told.there[learnt.weight.expand_as(learnt.told.there) == 0] == 0).all())
    gaps = (learnt.told.there < 0.5).float().mean(dim=(1, 2, 3))
    assert 0.1 < float(((gaps > 0.0035) & (bands == 2)).float().mean()) < 0.6
    usual = (learnt.told.conditions == 0).float().mean()
    assert 0 < float(usual) < 1
    assert all(bool(torch.isfinite(each).all()) for each in (learnt.told.plain, learnt.told.error, learnt.target))


def test_only_some_of_a_batch_are_real_pairs():
    model, whole = networks(), batch(400)
    learnt = scene(Images(model, whole, torch.Generator().manual_seed(2)), "y")
    real = (learnt.target == whole.pair_y).all(dim=3).all(dim=2).all(dim=1)
    assert 0.03 < float(real.float().mean()) < 0.15
    assert bool((learnt.target[~real] == whole.y[~real]).all())


def test_the_share_around_a_pixel_counts_what_is_there():
    there = torch.zeros(1, 1, 20, 20)
    there[..., 10:] = 1
    around = share_around(there, torch.tensor([[1.0]]), 0.2)
    assert_allclose(around[0, 0, 10, 5], 0)
    assert_allclose(around[0, 0, 10, 15], 1)
    assert 0 < float(around[0, 0, 10, 10]) < 1


def test_some_observations_have_saturated_pixels_which_are_the_brightest():
    whole = batch(100)
    whole.x[:, :, 8, 8] = 100.0  # a star
    known, sigma = whole.known["x"], whole.known["x"].sky_sigma

    def spoilt(**changes):
        images = Images(networks(), whole, torch.Generator().manual_seed(2))
        spoiling = Spoiling(gaps=0.0, few_bands=0.0, saturated=1.0, **changes)
        return spoil(images, whole.x, known, known.psf_fwhm, sigma, spoiling)[0]

    image, good = spoilt().image, spoilt().good
    flagged = (~good).any(-1).any(-1)
    assert float(flagged.float().mean()) > 0.5
    assert float(good.float().mean()) > 0.7
    assert bool((image[~good] == 0).all())
    assert bool(spoilt(least_full=1e9).good.all())  # what noise reaches is never saturated


def test_some_observations_have_a_level_and_a_slope_of_sky_that_was_left():
    model, whole = networks(), batch(400)
    images = Images(model, whole, torch.Generator().manual_seed(2))
    flat, sigma = torch.zeros(whole.x.shape), torch.full(whole.x.shape[:2], 2.0)
    left = leave_sky(images, flat, sigma)
    touched = left.abs().amax((1, 2, 3)) > 0
    assert abs(float(touched.float().mean()) - Spoiling().uneven_sky) < 0.07
    level = left[touched].mean((-2, -1))
    assert_allclose(level.std(), 2 * Spoiling().sky_left, rtol=0.2)
    slope = left[touched][..., -1, :].mean(-1) - left[touched][..., 0, :].mean(-1)
    assert_allclose(slope.std() / 2, 2 * Spoiling().sky_left, rtol=0.2)


@pytest.mark.parametrize(("depth", "least", "most"), [(0.01, 0.0, 0.2), (0.2, 0.95, 1.0)])
def test_surveys_that_are_about_as_deep_learn_from_real_pairs(depth, least, most):
    """Otherwise the noise of a target, which is in the observation made of it as well, would be restored."""
    model, whole = networks(), batch(200)
    known = {"y": Known(*(torch.full((200, 2), value) for value in (0.7, depth, 1e4)))}
    whole = replace(whole, known=whole.known | known)
    learnt = scene(Images(model, whole, torch.Generator().manual_seed(2)), "y")
    paired = (learnt.target == whole.pair_y).flatten(1).all(1).float().mean()
    assert least <= float(paired) <= most


def test_the_share_of_pairs_grows_with_the_noise_that_a_target_shares():
    shared = torch.tensor([[0.001, 0.001], [0.1, 0.1], [0.2, 0.6], [0.9, 0.9]])
    assert_allclose(share_of_pairs(shared)[:, 0], [0.08, 0.4, 0.8, 1.0], rtol=1e-6)
    assert float(share_of_pairs(shared, Spoiling(paired=1.1)).min()) > 1
