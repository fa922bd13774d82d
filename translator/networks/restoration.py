"""The richer survey's image of what the poorer one saw: the mean of all that it may be, and draws from these.

Networks work on the richer survey's grid, in linear flux and in units of the error to expect. They correct the
resampled input, and are told what no image shows by itself: the seeing of both surveys and the input's noise. Images
are (B, band, row, col) in nanomaggy/pixel.
"""

from dataclasses import dataclass, replace
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from translator.networks.layers import Grid
from translator.networks.observation_operator import area, inverse, sample

RELATIVE = 0.2  # of its smoothed flux that a pixel is expected to be wrong by, beside the noise
SMOOTH = 5  # side of the square over which that flux is smoothed [pixel]
FILLED = 7  # side of the squares whose mean stands in a gap [pixel]
CODES = 64  # numbers in which conditions are told to every block
SEEDS = 8  # channels of random numbers at each size of maps
SMALL = 0.01  # standard deviation of the weights that random numbers begin with


@dataclass(frozen=True)
class Told:
    """What a restoration network reads.

    Attributes:
        plain: The input on the richer survey's grid; gaps are filled.
        sigma: Its noise there (B, band, 1, 1), as uncorrelated pixels would have it.
        error: That is expected of `plain` (B, band, row, col); a function of the input alone.
        there: Share of each pixel that the input has (B, band, row, col), from 0 to 1.
        conditions: Seeing of both surveys and noise, as logarithms (B, 3 band).
        mean: The mean that draws are made around; None where that is what is wanted.
    """

    plain: Tensor
    sigma: Tensor
    error: Tensor
    there: Tensor
    conditions: Tensor
    mean: Tensor | None = None

    def with_mean(self, mean: Tensor) -> "Told":
        """The same for draws around a mean."""
        return replace(self, mean=mean)

    @property
    def maps(self) -> Tensor:
        """The channels of the first layer: all images in units of the noise, on an asinh scale, and the mask."""
        images = [self.plain] if self.mean is None else [self.plain, self.mean]
        return torch.cat([*(torch.asinh(image / self.sigma) * self.there for image in images), self.there], 1)


def filled(image: Tensor, good: Tensor) -> Tensor:
    """An image whose pixels that are not good (bool) are the mean of the good ones around, or 0 far from any."""
    weight = good.to(image)
    image = torch.where(good, image, torch.zeros_like(image))
    total, count = (box(each, FILLED) for each in (image, weight))
    around = torch.where(count > 0, total / count.clamp(min=1e-3), torch.zeros_like(total))
    return torch.where(good, image, around)


def box(image: Tensor, side: int) -> Tensor:
    """Means over squares of an odd side around each pixel, of the pixels that are there."""
    rows = F.avg_pool2d(image, (side, 1), 1, (side // 2, 0), count_include_pad=False)
    return F.avg_pool2d(rows, (1, side), 1, (0, side // 2), count_include_pad=False)


def tell(
    image: Tensor, good: Tensor, conditions: Tensor, sigma: Tensor, alignment: Tensor, size: int | tuple[int, int]
) -> Told:
    """What networks are told of an observation.

    Args:
        image: Of the poorer survey, on its own grid.
        good: Which of its pixels may be used, bool.
        conditions: As of `Told`.
        sigma: Of a pixel of its blank sky (B, band).
        alignment: From the observation's grid to the richer survey's, as of `observation_operator`.
        size: Rows and columns of the grid that is wanted; one number where it is square.
    """
    back, ratio = inverse(alignment), area(alignment)
    plain = (sample(filled(image, good), back, size) / ratio).float()
    there = _sample_with_zeros(good.to(image), back, size).float()
    sigma = (sigma[..., None, None] / ratio).float()
    smooth = box(plain, SMOOTH)
    error = torch.sqrt(sigma**2 + (RELATIVE * smooth.clamp(min=0)) ** 2)
    return Told(plain, sigma, error, there, conditions)


def _sample_with_zeros(image: Tensor, alignment: Tensor, size: int | tuple[int, int]) -> Tensor:
    """As `sample`, but 0 beyond the edges."""
    padded = F.pad(image, (1, 1, 1, 1))
    return sample(padded, alignment, size)


class Block(nn.Module):
    """Two convolutions beside the identity, between which a code scales and shifts every channel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.last = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        self.film = nn.Linear(CODES, 2 * width)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, maps: Tensor, code: Tensor) -> Tensor:
        """Maps (B, C, H, W) and codes (B, CODES) -> maps."""
        scale, shift = self.film(code)[:, :, None, None].chunk(2, 1)
        return maps + self.last(F.silu(self.first(F.silu(maps)) * (1 + scale) + shift))


class UNet(nn.Module):
    """A convolutional network of maps at half, a quarter and an eighth of the resolution, told a code in every block.

    Args:
        inside: Channels of the input.
        bands: Channels of the output, which begins as 0.
        conditions: Numbers that are told.
        widths: Channels at each resolution.
        blocks: At each resolution, on the way down and on the way up.
        random: Whether random numbers enter at each resolution.
    """

    def __init__(
        self, inside: int, bands: int, conditions: int, widths: tuple[int, ...], blocks: int, random: bool
    ) -> None:
        super().__init__()
        self.step = 2 ** len(widths)
        self.random = random
        self.code = nn.Sequential(nn.Linear(conditions, CODES), nn.SiLU(), nn.Linear(CODES, CODES), nn.SiLU())
        self.first = nn.Conv2d(4 * inside, widths[0], 3, padding=1)
        self.last = nn.Conv2d(widths[0], 4 * bands, 3, padding=1)
        self.down = nn.ModuleList(nn.ModuleList(Block(w) for _ in range(blocks)) for w in widths)
        self.up = nn.ModuleList(nn.ModuleList(Block(w) for _ in range(blocks)) for w in widths[:-1])
        pairs = list(pairwise(widths))
        self.halve = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in pairs)
        self.mix = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairs)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)
        if random:
            self.enter = nn.ModuleList(nn.Conv2d(SEEDS, w, 3, padding=1) for w in (*widths, *widths[:-1]))
            self.whole = nn.Linear(SEEDS, CODES)
            for layer in (*self.enter, self.whole):
                nn.init.normal_(layer.weight, 0, SMALL)
                nn.init.zeros_(layer.bias)

    def forward(self, image: Tensor, conditions: Tensor, seeds: list[Tensor] | None = None) -> Tensor:
        """Images (B, inside, H, W) of any size -> (B, bands, H, W).

        Args:
            image: To be read.
            conditions: (B, conditions).
            seeds: (B, …) of `seed_shapes`, normal; None for a network without random numbers.
        """
        rows, cols = image.shape[-2:]
        image = F.pad(image, (0, -cols % self.step, 0, -rows % self.step), mode="replicate")
        code = self.code(conditions)
        code = code if seeds is None else code + self.whole(seeds[-1])
        maps = self.first(F.pixel_unshuffle(image, 2).contiguous(memory_format=torch.channels_last))
        skips, last = [], len(self.halve)
        for level, blocks in enumerate(self.down):
            maps = self._entered(maps, seeds, level)
            for block in blocks:
                maps = block(maps, code)
            if level < last:
                skips.append(maps)
                maps = self.halve[level](maps)
        for level in reversed(range(last)):
            maps = F.interpolate(self.mix[level](maps), scale_factor=2) + skips[level]
            maps = self._entered(maps, seeds, last + 1 + level)
            for block in self.up[level]:
                maps = block(maps, code)
        return F.pixel_shuffle(self.last(maps), 2)[..., :rows, :cols].float()

    def _entered(self, maps: Tensor, seeds: list[Tensor] | None, place: int) -> Tensor:
        return maps if seeds is None else maps + self.enter[place](seeds[place])

    def seed_shapes(self, shape: tuple[int, int]) -> list[tuple[int, ...]]:
        """Shapes of the random numbers for an image of `shape` (rows, cols): maps wherever they enter, and a code."""
        rows, cols = (-(-side // self.step) * self.step // 2 for side in shape)
        levels = [*range(len(self.down)), *range(len(self.down) - 1)]
        return [(SEEDS, rows >> level, cols >> level) for level in levels] + [(SEEDS,)]


class Restoration(nn.Module):
    """The mean of all images that the richer survey may have of what the poorer one saw."""

    def __init__(self, here: Grid, there: Grid, width: int = 64) -> None:
        super().__init__()
        widths = width, 3 * width // 2, 2 * width
        self.net = UNet(2 * here.bands, here.bands, 3 * here.bands, widths, blocks=2, random=False)

    def forward(self, told: Told) -> Tensor:
        """(B, band, row, col) [nanomaggy/pixel]."""
        return told.plain + told.error * self.net(told.maps, told.conditions)


class Draws(nn.Module):
    """One of the images that the richer survey may have, drawn around their mean."""

    def __init__(self, here: Grid, there: Grid, width: int = 64) -> None:
        super().__init__()
        widths = max(width // 2, 1), max(width // 2, 1), width
        self.net = UNet(3 * here.bands, here.bands, 3 * here.bands, widths, blocks=1, random=True)

    def forward(self, told: Told, seeds: list[Tensor]) -> Tensor:
        """(B, band, row, col) [nanomaggy/pixel].

        Args:
            told: With the mean.
            seeds: Normal numbers (B, …) of `seed_shapes`.
        """
        return told.mean + told.error * self.net(told.maps, told.conditions, seeds)

    def seed_shapes(self, shape: tuple[int, int]) -> list[tuple[int, ...]]:
        """Shapes of the random numbers that a draw of `shape` (rows, cols) is made of."""
        return self.net.seed_shapes(shape)


class Nothing(nn.Module):
    """Stands where nothing is restored: in the domain of the poorer survey."""

    def __init__(self, here: Grid, there: Grid, width: int = 0) -> None:
        super().__init__()
