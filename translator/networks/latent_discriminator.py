"""The latent discriminator of Augmented CycleGAN: whether a code was drawn or read from images."""

from torch import Tensor, nn

from translator.networks.layers import LATENT, WIDTH, Grid, dense, leaky, precise


class LatentDiscriminator(nn.Module):
    """Latent code (B, 32) -> logit (B, 1), positive for drawn.

    The logit is leaky too, as published. 10,497 parameters at full width.

    Args:
        here: The domain's grid; not used, nor the other's.
        there: Alike.
        width: Units of the fully connected layers.
    """

    def __init__(self, here: Grid, there: Grid, width: int = WIDTH) -> None:
        super().__init__()
        units = [LATENT, width, width, width, 1]
        self.layers = nn.ModuleDict({f"fc{i + 1}": dense(*units[i : i + 2]) for i in range(len(units) - 1)})

    def forward(self, latent: Tensor) -> Tensor:
        """(B, 32) -> (B, 1)."""
        for layer in self.layers.values():
            latent = leaky(precise(layer, latent))
        return latent
