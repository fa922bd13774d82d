from copy import deepcopy

import pytest
import torch

from translator.networks.discriminator import PatchDiscriminator
from translator.networks.layers import Grid


@pytest.mark.parametrize(("size", "patches"), [(16, 2), (20, 3), (64, 8), (136, 17)])
def test_one_logit_for_each_patch_of_eight_pixels(size, patches):
    network = PatchDiscriminator(Grid(3, size), Grid(3, size), 4)
    assert network(torch.randn(2, 3, size, size)).shape == (2, 1, patches, patches)


def test_all_layers_but_the_first_and_last_are_normalised():
    """Whatever the scale and offset of the maps of such a layer, the logits stay."""
    torch.manual_seed(0)
    network, image = PatchDiscriminator(Grid(1, 64), Grid(1, 64), 4).double(), torch.randn(2, 1, 64, 64).double()
    logits = network(image)
    for name, changes in (("conv1", False), ("conv2", False), ("conv3", False), ("conv0", True), ("conv4", True)):
        changed = deepcopy(network)
        for parameter in changed.layers[name].parameters():
            parameter.data *= 3
        assert torch.allclose(changed(image), logits) is not changes


def test_images_too_small_are_refused():
    with pytest.raises(ValueError, match="16 pixels a side or more, not 12"):
        PatchDiscriminator(Grid(1, 12), Grid(1, 12))
