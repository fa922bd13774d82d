"""The encoder and the discriminator of latent codes, for the augmented CycleGAN."""

import torch
from torch import Generator, Tensor, nn

from translator.networks.layers import LATENT, WIDTH, Grid, conv, dense, instance_norm, leaky, precise, same


class LatentEncoder(nn.Module):
    """Images of one object in this domain and the other, (B, bands, size, size) each, to a latent code (B, 32).

    Five strided convolutions, instance-normalised after the activation, are followed by one of 1x1 and the mean over
    the pixels. 3,931,232 parameters at full width with five bands.

    As published, the code is a constant: a normalised channel has mean zero, so the mean of any linear map of it is
    that map's bias, whatever the images. Without the norm of the last layer (`last_norm`), codes of different images
    differ.

    Parameters
    ----------
    here : Grid
        The domain's grid.
    there : Grid
        The other domain's grid, of the same size.
    width : int
        Channels of the first layer.
    last_norm : bool
        Whether the fifth layer is normalised, as published.

    Raises
    ------
    ValueError
        If the sizes differ, or are below 17 pixels.
    """

    def __init__(self, here: Grid, there: Grid, width: int = WIDTH, last_norm: bool = True) -> None:
        super().__init__()
        if here.size != there.size:
            raise ValueError(
                f"the latent encoder reads images of one size, and these have {here.size} and {there.size}"
            )
        if here.size <= 16:
            raise ValueError(f"the latent encoder halves an image five times, and {here.size} pixels are too few")
        channels = [here.bands + there.bands, width, 2 * width, 4 * width, 8 * width, 8 * width]
        self.layers = nn.ModuleList(
            conv(*channels[i : i + 2], 3, padding=0, stride=2) for i in range(len(channels) - 1)
        ).append(conv(channels[-1], LATENT, 1))
        self.normed = len(channels) - 1 if last_norm else len(channels) - 2

    def forward(self, here: Tensor, there: Tensor) -> Tensor:
        """Return codes (B, 32) of images (B, here.bands, size, size) and (B, there.bands, size, size)."""
        image = torch.cat([here, there], dim=1)
        for number, layer in enumerate(self.layers[:-1]):
            image = leaky(same(layer, image))
            image = instance_norm(image) if number < self.normed else image
        return precise(self.layers[-1], image).mean((-2, -1))

    def draw(self, count: int, random: Generator | None = None) -> Tensor:
        """Return random codes (count, 32), normal numbers from `random` or from torch's own generator."""
        weight = self.layers[0].weight
        return torch.randn(count, LATENT, generator=random, device=weight.device, dtype=weight.dtype)


class LatentDiscriminator(nn.Module):
    """Latent codes (B, 32) to logits (B, 1), positive for drawn codes.

    The logit is leaky too, as published. 10,497 parameters at full width.

    Parameters
    ----------
    here, there : Grid
        The grids of both domains; not used.
    width : int
        Units of the fully connected layers.
    """

    def __init__(self, here: Grid, there: Grid, width: int = WIDTH) -> None:
        super().__init__()
        units = [LATENT, width, width, width, 1]
        self.layers = nn.ModuleDict({f"fc{i + 1}": dense(*units[i : i + 2]) for i in range(len(units) - 1)})

    def forward(self, latent: Tensor) -> Tensor:
        """Return logits (B, 1) of codes (B, 32)."""
        for layer in self.layers.values():
            latent = leaky(precise(layer, latent))
        return latent
