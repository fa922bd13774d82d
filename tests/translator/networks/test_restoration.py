import pytest
import torch
from numpy.testing import assert_allclose

from translator.networks.layers import Grid
from translator.networks.restoration import Draws, Restoration, Told, _asinh, box, filled, tell

HERE, THERE = Grid(2, 40, (), 0.18), Grid(2, 18, (), 0.4)
ALIGNMENT = torch.tensor([[[2.0, 0.0, 0.0], [0.0, 2.0, 0.0]]])


def told(rows, cols, count=1):
    random = torch.Generator().manual_seed(0)
    plain = torch.randn(count, 2, rows, cols, generator=random)
    ones = torch.ones_like(plain)
    return Told(plain, torch.ones(count, 2, 1, 1), ones, ones, torch.zeros(count, 6))


def test_it_begins_as_the_resampled_input():
    made = told(40, 40)
    assert torch.equal(Restoration(HERE, THERE, 4)(made), made.plain)


@pytest.mark.parametrize("shape", [(40, 40), (37, 41), (64, 8)])
def test_images_of_any_size_pass(shape):
    network = Restoration(HERE, THERE, 4)
    torch.nn.init.normal_(network.net.last.weight)
    made = network(told(*shape))
    assert made.shape == (1, 2, *shape)
    assert bool(torch.isfinite(made).all())


def test_the_middle_does_not_depend_on_what_lies_far_from_it():
    network = Restoration(HERE, THERE, 4).double()
    for parameter in network.parameters():
        parameter.data = 0.2 * torch.randn(parameter.shape, dtype=torch.float64)
    large = told(448, 448)
    large = Told(*(getattr(large, n).double() for n in ("plain", "sigma", "error", "there", "conditions")))
    part = slice(96, 352)
    small = Told(
        large.plain[..., part, part],
        large.sigma,
        large.error[..., part, part],
        large.there[..., part, part],
        large.conditions,
    )
    with torch.no_grad():
        difference = network.net(large.maps, large.conditions)[..., part, part] - network.net(
            small.maps, small.conditions
        )
    assert float(difference[..., 120:136, 120:136].abs().max()) < 1e-6


def test_draws_surround_the_mean_and_follow_their_random_numbers():
    network = Draws(HERE, THERE, 8)
    torch.nn.init.normal_(network.net.last.weight)
    asked = told(40, 40).with_mean(torch.ones(1, 2, 40, 40))
    seeds = [[torch.randn(1, *shape) for shape in network.seed_shapes((40, 40))] for _ in range(2)]
    first, same, other = network(asked, seeds[0]), network(asked, seeds[0]), network(asked, seeds[1])
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_gaps_are_filled_by_what_is_around():
    image = torch.full((1, 1, 30, 30), 3.0)
    good = torch.ones_like(image, dtype=torch.bool)
    good[..., 10:13, 10:13] = False
    good[..., 20:, 20:] = False
    spoilt = torch.where(good, image, 1e9)
    made = filled(spoilt, good)
    assert_allclose(made[..., 10:13, 10:13], 3.0, rtol=1e-5)
    assert float(made[..., 29, 29]) == 0.0
    assert torch.equal(made[good], image[good])


def test_a_box_is_the_mean_of_the_pixels_that_are_there():
    image = torch.arange(25.0).reshape(1, 1, 5, 5)
    made = box(image, 3)
    assert_allclose(float(made[0, 0, 2, 2]), 12.0, rtol=1e-6)
    assert_allclose(float(made[0, 0, 0, 0]), (0 + 1 + 5 + 6) / 4, rtol=1e-6)


@pytest.mark.parametrize("side", [1, 5, 9, 21])
@pytest.mark.parametrize("shape", [(2, 3, 17, 30), (1, 1, 4, 3)])
def test_a_box_has_the_bits_of_pooling(side, shape):
    image = torch.randn(shape, generator=torch.Generator().manual_seed(side))
    right = image
    for kernel in ((side, 1), (1, side)):
        reach = tuple(each // 2 for each in kernel)
        right = torch.nn.functional.avg_pool2d(right, kernel, 1, reach, count_include_pad=False)
    assert torch.equal(box(image, side), right)


def test_the_scale_of_images_is_that_of_asinh():
    values = torch.cat([torch.logspace(-30, 18, 500), torch.zeros(1)])
    values = torch.cat([values, -values])
    assert_allclose(_asinh(values), torch.asinh(values.double()), rtol=3e-7)
    assert torch.isfinite(_asinh(torch.tensor([3e38, -3e38]))).all()
    values = torch.zeros(2, requires_grad=True)
    _asinh(values).sum().backward()
    assert values.grad.tolist() == [1.0, 1.0]


def test_what_is_told_keeps_flux_and_knows_the_edges():
    image, good = torch.full((1, 2, 18, 18), 4.0), torch.ones(1, 2, 18, 18, dtype=torch.bool)
    made = tell(image, good, torch.zeros(1, 6), torch.full((1, 2), 0.8), ALIGNMENT, 40)
    assert_allclose(made.plain, 1.0, rtol=1e-5)
    assert_allclose(made.sigma, 0.2, rtol=1e-5)
    assert float(made.there[0, 0, 20, 20]) == 1.0
    assert float(made.there[0, 0, 0, 0]) == 0.0  # 40 pixels reach beyond the 18 · 2 of the input
    assert_allclose(made.error, (0.2**2 + 0.2**2) ** 0.5, rtol=1e-5)
