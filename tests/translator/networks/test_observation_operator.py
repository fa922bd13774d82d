import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from translator.networks.layers import Grid
from translator.networks.observation_operator import ObservationOperator, area, inverse, is_richer, sample, turns

POOR = Grid(1, 64, (0.1,), 0.396, (1.3,))
RICH = Grid(1, 136, (0.001,), 0.186, (0.7,))
RATIO = 0.396 / 0.186


def alignment(row=0.0, col=0.0):
    return torch.tensor([[[RATIO, 0.0, row], [0.0, RATIO, col]]])


def gaussian(size, scale, fwhm, row=0.0, col=0.0):
    """A star of flux 1 and a Gaussian profile (1, 1, size, size), so many arcsec off the centre."""
    sigma = fwhm / 2.3548
    place = (np.arange(size) - (size - 1) / 2) * scale
    star = np.exp(-((place[:, None] - row) ** 2 + (place - col) ** 2) / (2 * sigma**2))
    return torch.tensor(star / star.sum(), dtype=torch.float32)[None, None]


def width(image, scale):
    """Root of the second moment, as the width of a Gaussian [arcsec]."""
    place = (np.arange(image.shape[-1]) - (image.shape[-1] - 1) / 2) * scale
    profile = image[0, 0].sum(0).numpy()
    return 2.3548 * np.sqrt((profile * place**2).sum() / profile.sum())


def of_gaussians():
    """The operator between two Gaussian point-spread functions."""
    operator = ObservationOperator(POOR, RICH)
    exact = np.pi / (2 * np.sqrt(np.log(2)))
    with torch.no_grad():
        operator.powers.fill_(2.0)
        operator.poorer.fill_(exact)
        operator.richer.fill_(exact)
    return operator


def test_seeing_is_matched_and_flux_kept():
    operator = of_gaussians()
    with torch.no_grad():
        seen = operator(gaussian(136, 0.186, 0.7), torch.tensor([[1.3]]), torch.tensor([[0.7]]), alignment(), 64)
    pixel = 0.396**2 / 12 - 0.186**2 / 12  # second moment that the larger pixels add
    assert_allclose(float(seen.sum()), 1.0, rtol=2e-3)
    assert_allclose(width(seen, 0.396), np.sqrt(1.3**2 + 2.3548**2 * pixel), rtol=0.02)
    expected = gaussian(64, 0.396, 1.3)
    assert abs(seen - expected).max() < 0.06 * expected.max()


@pytest.mark.parametrize(("row", "col"), [(0.0, 0.0), (0.2, -0.1)])
def test_a_star_lands_where_the_alignment_says(row, col):
    operator = of_gaussians()
    move = row / 0.186, col / 0.186
    with torch.no_grad():
        star = gaussian(136, 0.186, 0.7, row, col)
        seen = operator(star, torch.tensor([[1.3]]), torch.tensor([[0.7]]), alignment(*move), 64)
    place = np.arange(64) - 31.5
    for axis in (1, 0):
        assert_allclose((seen[0, 0].sum(axis).numpy() * place).sum() / float(seen.sum()), 0, atol=5e-3)


def test_noise_is_never_amplified():
    operator = of_gaussians()
    with torch.no_grad():
        transfer = operator.transfer(torch.tensor([[0.5]]), torch.tensor([[0.9]]), (64, 64))
        boxes = operator.transfer(torch.tensor([[0.7]]), torch.tensor([[0.7]]), (64, 64))
    assert float(transfer.max()) <= float(boxes.max()) + 1e-6
    assert_allclose(float(transfer[0, 0, 0, 0]), 1.0, atol=1e-4)


def test_the_way_back_is_the_inverse():
    there = torch.tensor([[[2.0, 0.1, 0.7], [-0.1, 2.1, -0.4]]])
    back = inverse(there)
    place = torch.tensor([3.0, -2.0])
    moved = there[0, :, :2] @ place + there[0, :, 2]
    assert_allclose(back[0, :, :2] @ moved + back[0, :, 2], place, atol=1e-5)
    assert_allclose(float(area(there)), 2.0 * 2.1 + 0.01, rtol=1e-6)


def test_sampling_on_the_same_grid_changes_nothing():
    image = torch.randn(2, 3, 9, 11, generator=torch.Generator().manual_seed(0))
    same = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]).expand(2, 2, 3)
    assert_allclose(sample(image, same, (9, 11)), image, atol=1e-5)


def test_the_richer_survey_is_told_by_seeing_pixels_and_noise_not_by_its_place():
    assert is_richer(RICH, POOR)
    assert not is_richer(POOR, RICH)
    unknown = Grid(1, 64, (0.1,), 0.396)  # of unknown seeing, which then does not count
    assert is_richer(RICH, unknown)
    assert not is_richer(unknown, RICH)
    deep, shallow = Grid(1, 64, (0.01,), 0.3), Grid(1, 64, (0.1,), 0.3)
    assert is_richer(deep, shallow)
    assert not is_richer(shallow, deep)
    with pytest.raises(ValueError, match="same seeing, pixels and noise"):
        is_richer(deep, deep)


@pytest.mark.parametrize("shape", [(136, 136), (91, 80)])
@pytest.mark.parametrize("offset", [0.0, 1.7, 60.0])
def test_rows_and_columns_sampled_apart_are_what_is_sampled_together(shape, offset):
    operator = ObservationOperator(Grid(2, 64, (), 0.396), Grid(2, 136, (), 0.186))
    image = torch.rand(2, 2, *shape, generator=torch.Generator().manual_seed(0))
    seeing, richer = torch.tensor([[1.3, 1.1], [1.5, 1.0]]), torch.full((2, 2), 0.7)
    alignment = torch.tensor([[[2.129, 0.0, offset], [0.0, 2.1, -0.3]], [[2.129, 0.0, 0.0], [0.0, 2.129, 0.0]]])
    assert not turns(alignment).any()
    with torch.no_grad():
        right = operator(image, seeing, richer, alignment, (64, 60))
        made = operator(image, seeing, richer, alignment, (64, 60), apart=True)
    assert_allclose(made, right, atol=4e-6 * float(right.abs().max()))
    alignment[0, 0, 1] = 1e-5
    assert turns(alignment).tolist() == [True, False]
