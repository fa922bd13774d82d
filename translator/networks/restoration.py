"""The richer survey's image of what the poorer survey saw: the mean of all possible images, and draws from them.

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

RELATIVE = 0.2  # error that is expected of a pixel beside the noise, relative to its smoothed flux
SMOOTH = 5  # side of the square over which that flux is smoothed [pixel]
FILLED = 7  # side of the squares whose mean fills a gap [pixel]
CODES = 64  # numbers in the code by which every block knows the conditions
SEEDS = 8  # channels of random numbers at each size of maps
SMALL = 0.01  # standard deviation of the first weights of random numbers


@dataclass(frozen=True)
class Told:
    """The input of a restoration network.

    Attributes
    ----------
    plain : Tensor
        The observation on the richer survey's grid (B, band, row, col), with gaps filled.
    sigma : Tensor
        Its noise on that grid (B, band, 1, 1), as if pixels were not correlated.
    error : Tensor
        Error to expect of `plain` (B, band, row, col); a function of the input alone.
    there : Tensor
        Share of each pixel that the observation covers (B, band, row, col), from 0 to 1.
    conditions : Tensor
        Seeing of both surveys and noise, as logarithms (B, 3 band).
    mean : Tensor or None
        The mean around which draws are made; None for the network that makes the mean.
    """

    plain: Tensor
    sigma: Tensor
    error: Tensor
    there: Tensor
    conditions: Tensor
    mean: Tensor | None = None

    def with_mean(self, mean: Tensor) -> "Told":
        """Return the input of a draw around a mean."""
        return replace(self, mean=mean)

    @property
    def maps(self) -> Tensor:
        """The channels of the first layer: all images in units of the noise, on an asinh scale, and the mask."""
        images = [self.plain] if self.mean is None else [self.plain, self.mean]
        return torch.cat([*(_asinh(image / self.sigma) * self.there for image in images), self.there], 1)


def _asinh(values: Tensor) -> Tensor:
    """Return the inverse hyperbolic sine to 3e-7 of itself; on a CPU PyTorch's own takes ten times as long."""
    if values.requires_grad:
        return torch.asinh(values)
    size = values.abs()
    return torch.log1p(size + size * (size / (1 + torch.sqrt(1 + size * size)))).copysign(values)


def filled(image: Tensor, good: Tensor) -> Tensor:
    """Return an image whose unusable pixels are the mean of the usable ones around, or 0 far from any.

    Parameters
    ----------
    image : Tensor
        (B, band, row, col).
    good : Tensor
        Whether each pixel may be used (bool, same shape).
    """
    weight = good.to(image)
    image = torch.where(good, image, torch.zeros_like(image))
    total, count = (box(each, FILLED) for each in (image, weight))
    around = torch.where(count > 0, total / count.clamp(min=1e-3), torch.zeros_like(total))
    return torch.where(good, image, around)


def box(image: Tensor, side: int) -> Tensor:
    """Return means over squares of an odd side around each pixel; squares end at the image's edge."""
    for axis in (-2, -1):
        image = _means(image, side, axis)
    return image


def _means(image: Tensor, side: int, axis: int) -> Tensor:
    """Return means over `side` pixels around each, along the rows' axis (-2) or the columns' (-1).

    Whole images are added that are shifted against each other, which is eight times as quick on a CPU as the pooling of
    PyTorch, and gives the same bits.
    """
    reach, count = side // 2, image.shape[axis]
    beyond = (0, 0) * (-1 - axis) + (reach, reach)
    padded = F.pad(image, beyond)
    total = padded.narrow(axis, 0, count).clone()
    for shift in range(1, side):
        total = total.add_(padded.narrow(axis, shift, count))
    place = torch.arange(count, device=image.device)
    there = (place + reach).clamp(max=count - 1) - (place - reach).clamp(min=0) + 1
    return total / there.to(image).reshape(-1, *[1] * (-1 - axis))


def tell(
    image: Tensor, good: Tensor, conditions: Tensor, sigma: Tensor, alignment: Tensor, size: int | tuple[int, int]
) -> Told:
    """Return the input of restoration networks for observations.

    Parameters
    ----------
    image : Tensor
        Images of the poorer survey, on their own grid.
    good : Tensor
        Whether each pixel may be used (bool, same shape).
    conditions : Tensor
        As of `Told`.
    sigma : Tensor
        Standard deviation of a pixel of their blank sky (B, band).
    alignment : Tensor
        From the observations' grid to the richer survey's (B, 2, 3), in the form of `observation_operator`.
    size : int or tuple of int
        Rows and columns of the wanted grid; one number if it is square.
    """
    back, ratio = inverse(alignment), area(alignment)
    plain = (sample(filled(image, good), back, size) / ratio).float()
    there = _sample_with_zeros(good.to(image), back, size).float()
    sigma = (sigma[..., None, None] / ratio).float()
    smooth = box(plain, SMOOTH)
    error = torch.sqrt(sigma**2 + (RELATIVE * smooth.clamp(min=0)) ** 2)
    return Told(plain, sigma, error, there, conditions)


def _sample_with_zeros(image: Tensor, alignment: Tensor, size: int | tuple[int, int]) -> Tensor:
    """Sample like `sample`, but with 0 beyond the edges."""
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
        """Return maps (B, C, H, W) of the same shape, steered by codes (B, CODES)."""
        scale, shift = self.film(code)[:, :, None, None].chunk(2, 1)
        return maps + self.last(F.silu(self.first(F.silu(maps)) * (1 + scale) + shift))


class UNet(nn.Module):
    """A convolutional network with maps at half, a quarter and an eighth of the resolution; every block reads a code.

    Parameters
    ----------
    inside : int
        Channels of the input.
    bands : int
        Channels of the output, which is 0 before training.
    conditions : int
        How many numbers the code is made from.
    widths : tuple of int
        Channels at each resolution.
    blocks : int
        Number of blocks at each resolution, on the way down and on the way up.
    random : bool
        Whether random numbers enter at each resolution.
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
        """Return (B, bands, H, W) of images (B, inside, H, W) of any size.

        Parameters
        ----------
        image : Tensor
            The images.
        conditions : Tensor
            (B, conditions).
        seeds : list of Tensor, optional
            Normal numbers (B, …) of `seed_shapes`; None for a network without random numbers.
        """
        rows, cols = image.shape[-2:]
        image = F.pad(image, (0, -cols % self.step, 0, -rows % self.step), mode="replicate")
        code = self.code(conditions)
        code = code if seeds is None else code + self.whole(seeds[-1])
        maps = _finely(self.first, F.pixel_unshuffle(image, 2).contiguous(memory_format=torch.channels_last))
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
        return F.pixel_shuffle(_finely(self.last, maps), 2)[..., :rows, :cols].float()

    def _entered(self, maps: Tensor, seeds: list[Tensor] | None, place: int) -> Tensor:
        """Add random numbers to maps at one place of the network."""
        return maps if seeds is None else maps + self.enter[place](seeds[place])

    def seed_shapes(self, shape: tuple[int, int]) -> list[tuple[int, ...]]:
        """Return shapes of the random numbers for an image of `shape` (rows, cols): maps at each place, and a code."""
        rows, cols = (-(-side // self.step) * self.step // 2 for side in shape)
        levels = [*range(len(self.down)), *range(len(self.down) - 1)]
        return [(SEEDS, rows >> level, cols >> level) for level in levels] + [(SEEDS,)]


UNSHUFFLED = 4  # channels of one band after an image is folded to half its size
BAND_AXES = {  # of weights of a `UNet` named "net": the axis of the bands, and how many channels in a row one band has
    "net.first.weight": ((1, UNSHUFFLED),),
    "net.last.weight": ((0, UNSHUFFLED),),
    "net.last.bias": ((0, UNSHUFFLED),),
    "net.code.0.weight": ((1, 1),),
}


def _finely(layer: nn.Module, maps: Tensor) -> Tensor:
    """Pass maps through a layer in its own precision while images are translated, even if others multiply in bfloat16.

    The first layer reads fluxes and the last one makes them: most of what bfloat16 changes comes from these two, which
    take little time. While networks are trained they multiply as the others do.
    """
    if torch.is_grad_enabled():
        return layer(maps)
    with torch.autocast(maps.device.type, enabled=False):
        return layer(maps.to(layer.weight.dtype))


class Restoration(nn.Module):
    """The mean of all images that the richer survey may have of what the poorer one saw.

    Its input for a band that is missing is 0, conditions included. Therefore the weights without those of some bands
    restore the others as all weights do if these bands are missing.
    """

    band_axes = BAND_AXES

    def __init__(self, here: Grid, there: Grid, width: int = 64) -> None:
        super().__init__()
        widths = width, 3 * width // 2, 2 * width
        self.net = UNet(2 * here.bands, here.bands, 3 * here.bands, widths, blocks=2, random=False)

    def forward(self, told: Told) -> Tensor:
        """Return mean images (B, band, row, col) [nanomaggy/pixel]."""
        return told.plain + told.error * self.net(told.maps, told.conditions)


class Draws(nn.Module):
    """One of the images that the richer survey may have, drawn around their mean."""

    band_axes = BAND_AXES

    def __init__(self, here: Grid, there: Grid, width: int = 64) -> None:
        super().__init__()
        widths = max(width // 2, 1), max(width // 2, 1), width
        self.net = UNet(3 * here.bands, here.bands, 3 * here.bands, widths, blocks=1, random=True)

    def forward(self, told: Told, seeds: list[Tensor]) -> Tensor:
        """Return drawn images (B, band, row, col) [nanomaggy/pixel].

        Parameters
        ----------
        told : Told
            The input, with the mean.
        seeds : list of Tensor
            Normal numbers (B, …) of `seed_shapes`.
        """
        return told.mean + told.error * self.net(told.maps, told.conditions, seeds)

    def seed_shapes(self, shape: tuple[int, int]) -> list[tuple[int, ...]]:
        """Return shapes of the random numbers that a draw of `shape` (rows, cols) needs."""
        return self.net.seed_shapes(shape)


class Nothing(nn.Module):
    """The stand-in for a restoration in the domain of the poorer survey."""

    def __init__(self, here: Grid, there: Grid, width: int = 0) -> None:
        super().__init__()
