"""The patch discriminator of CycleGAN: how real each patch of an image looks."""

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

from translator.networks.layers import WIDTH, Grid, conv, instance_norm, leaky, precise, same


class PatchDiscriminator(nn.Module):
    """Image (B, bands, size, size), stretched -> logits (B, 1, size / 8, size / 8), positive for real.

    Three convolutions of stride two and two of stride one; all but the first and last are instance-normalised, after
    the activation. 2,766,785 parameters at full width with five bands.

    Args:
        here: The domain's grid.
        there: The other domain's; not used.
        width: Channels of the first layer.

    Raises:
        ValueError: Where an image has fewer than 16 pixels a side.
    """

    def __init__(self, here: Grid, there: Grid, width: int = WIDTH) -> None:
        super().__init__()
        if here.size < 16:
            raise ValueError(f"the patch discriminator needs images of 16 pixels a side or more, not {here.size}")
        w = width
        layers = [(here.bands, w, 2), (w, 2 * w, 2), (2 * w, 4 * w, 2), (4 * w, 8 * w, 1), (8 * w, 1, 1)]
        self.layers = nn.ModuleDict(
            {
                f"conv{number}": conv(inside, outside, 4, padding=0, stride=stride)
                for number, (inside, outside, stride) in enumerate(layers)
            }
        )

    def forward(self, image: Tensor) -> Tensor:
        """(B, bands, size, size) -> (B, 1, rows, cols)."""
        first, *inner, last = self.layers.values()
        image = leaky(same(first, image))
        for layer in inner:
            image = instance_norm(leaky(same(layer, image)))
        return precise(partial(same, last), image)

    def mean(self, loss: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
        """Mean of `loss`, a function of each logit, over batch and patches."""
        return loss(self(image)).mean()
