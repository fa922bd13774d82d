"""The ResNet generator of CycleGAN, and its form that a latent code steers (Augmented CycleGAN).

It follows the authors: normalised after the activation, leaky throughout, and in the plain form without a norm in the
residual blocks.
"""

from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from translator.networks.layers import (
    LATENT,
    WIDTH,
    Grid,
    conv,
    dense,
    doubled,
    instance_norm,
    leaky,
    precise,
    reflected,
    transposed,
)

BLOCKS = 6


class ResnetGenerator(nn.Module):
    """Images (B, there.bands, size, size), and codes (B, 32) in the conditional form, to (B, here.bands, size, size).

    The image is halved twice by strided convolutions, passes six residual blocks, and is doubled twice by transposed
    convolutions. 7,850,245 parameters at full width with five bands; 8,095,237 in the conditional form.

    Parameters
    ----------
    here : Grid
        Grid of the images that it makes.
    there : Grid
        Grid of the images that it reads, of the same size.
    width : int
        Channels of the first layer.
    conditional : bool
        Whether it reads a latent code, which sets mean and standard deviation of every channel after every convolution
        but the last.

    Raises
    ------
    ValueError
        If the sizes differ, do not divide by four, or are below eight pixels.
    """

    def __init__(self, here: Grid, there: Grid, width: int = WIDTH, conditional: bool = False) -> None:
        super().__init__()
        if here.size != there.size:
            raise ValueError(
                f"the ResNet generator keeps the size of an image, and these have {there.size} and {here.size}"
            )
        if here.size % 4 or here.size < 8:
            raise ValueError(f"the ResNet generator halves an image twice, and {here.size} does not divide by four")
        w = width
        self.layers = nn.ModuleDict(
            {
                "conv0": conv(there.bands, w, 7, padding=0),
                "conv1": conv(w, 2 * w, 3, padding=0, stride=2),
                "conv2": conv(2 * w, 4 * w, 3, padding=0, stride=2),
            }
            | {name: conv(4 * w, 4 * w, 3, padding=0) for block in range(BLOCKS) for name in _names(block)}
            | {
                "up1": transposed(4 * w, 2 * w, 3),
                "up2": transposed(2 * w, w, 3),
                "conv3": conv(w, here.bands, 7, padding=0),
            }
        )
        normed = [name for name in self.layers if name != "conv3" and (conditional or "res" not in name)]
        self.norms = nn.ModuleDict(
            {
                name: ConditionalNorm(name, self.layers[name].out_channels) if conditional else InstanceNorm()
                for name in normed
            }
        )

    def forward(self, image: Tensor, latent: Tensor | None = None) -> Tensor:
        """Return images (B, here.bands, size, size); codes (B, 32) are read in the conditional form."""
        for name in ("conv0", "conv1", "conv2"):
            image = self._norm(name, leaky(reflected(self.layers[name], image)), latent)
        for block in range(BLOCKS):
            first, second = _names(block)
            inner = self._norm(first, leaky(reflected(self.layers[first], image)), latent)
            inner = self._norm(second, reflected(self.layers[second], inner), latent)
            image = leaky(image + inner)
        for name in ("up1", "up2"):
            image = self._norm(name, leaky(doubled(self.layers[name], image), in_place=False), latent)
        return leaky(precise(partial(reflected, self.layers["conv3"]), image))

    def _norm(self, name: str, image: Tensor, latent: Tensor | None) -> Tensor:
        """Apply the norm of a layer, if it has one."""
        return self.norms[name](image, latent) if name in self.norms else image


class InstanceNorm(nn.Module):
    """Normalise every channel of (B, C, H, W) to mean 0 and variance 1; no code is read."""

    def forward(self, image: Tensor, latent: Tensor | None) -> Tensor:
        """Return normalised maps of the same shape."""
        return instance_norm(image)


class ConditionalNorm(nn.Module):
    """Give every channel of (B, C, H, W) the mean and standard deviation that a code (B, 32) asks for."""

    def __init__(self, layer: str, channels: int) -> None:
        super().__init__()
        self.dense = nn.ModuleDict({f"{layer}_{moment}": dense(LATENT, channels) for moment in ("mean", "std")})

    def forward(self, image: Tensor, latent: Tensor) -> Tensor:
        """Return maps (B, C, H, W) with the moments of codes (B, 32)."""
        mean, spread = (layer(latent)[..., None, None] for layer in self.dense.values())
        return mean + instance_norm(image) * F.softplus(spread)


def _names(block: int) -> tuple[str, str]:
    """Return the names of the two convolutions of a residual block, counted from 1."""
    return f"conv_res_i1_{block + 1}", f"conv_res_i2_{block + 1}"
