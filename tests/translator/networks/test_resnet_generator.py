import pytest
import torch

from translator.networks.layers import LATENT, Grid
from translator.networks.resnet_generator import ResnetGenerator


@pytest.mark.parametrize("size", [8, 20, 64])
@pytest.mark.parametrize("conditional", [False, True])
def test_keeps_the_size_and_changes_the_bands(size, conditional):
    network = ResnetGenerator(Grid(3, size), Grid(2, size), 4, conditional)
    image = torch.randn(2, 2, size, size)
    assert network(image, torch.randn(2, LATENT) if conditional else None).shape == (2, 3, size, size)


@pytest.mark.parametrize(
    ("here", "there", "reason"),
    [(136, 64, "keeps the size of an image, and these have 64 and 136"), (66, 66, "does not divide by four")],
)
def test_sizes_that_cannot_be_served_are_refused(here, there, reason):
    with pytest.raises(ValueError, match=reason):
        ResnetGenerator(Grid(5, here), Grid(5, there), 4)


def test_a_code_steers_the_conditional_form():
    torch.manual_seed(0)
    network = ResnetGenerator(Grid(2, 16), Grid(2, 16), 4, conditional=True)
    image, codes = torch.randn(1, 2, 16, 16).expand(2, -1, -1, -1), torch.randn(2, LATENT)
    one, other = network(image, codes)
    assert (one - other).abs().max() > 0.01


def test_residual_blocks_have_norms_in_the_conditional_form_alone():
    plain, conditional = (ResnetGenerator(Grid(2, 16), Grid(2, 16), 4, form) for form in (False, True))
    assert list(plain.norms) == ["conv0", "conv1", "conv2", "up1", "up2"]
    assert len(conditional.norms) == 17
