"""What takes the place of a network that a recipe does without, so that images are made alike in all."""

import torch
from torch import Generator, Tensor, nn

from translator.networks.layers import WIDTH, Grid


class NoNoise(nn.Module):
    """The emulator of a recipe without noise: adds nothing. Arguments as those of `NoiseEmulator`."""

    def __init__(self, here: Grid, there: Grid, width: int = WIDTH) -> None:
        super().__init__()

    def forward(self, count: int, random: Generator | None = None) -> Tensor:
        """Zero, for any count; draws nothing."""
        return torch.zeros(())


class NoEncoder(nn.Module):
    """The encoder of a recipe without latent codes: gives none. Arguments as those of `LatentEncoder`."""

    def __init__(self, here: Grid, there: Grid, width: int = WIDTH) -> None:
        super().__init__()

    def forward(self, here: Tensor, there: Tensor) -> None:
        """No code."""

    def draw(self, count: int, random: Generator | None = None) -> None:
        """No code; draws nothing."""
