"""The noise emulator, and the stand-ins for networks that a recipe does without."""

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from translator.networks.layers import WIDTH, Grid, dense, leaky

KERNEL = 7  # rows, and columns, of the correlation kernel [pixel]


class NoiseEmulator(nn.Module):
    """A number of images to as many stretched noise images (count, bands, size, size); it reads no image.

    In each band, a normal number passes three fully connected layers and a softplus to become an amplitude; a white map
    times the amplitude is convolved with that band's 7x7 kernel, which has the eight symmetries of the square (ten free
    weights). 22,010 parameters at full width with five bands.

    Parameters
    ----------
    here : Grid
        The domain's grid.
    there : Grid
        The other domain's grid; not used.
    width : int
        Units of the fully connected layers.
    from_sky : bool
        Whether to start from white noise of the level measured in the images (`here.sky`). Short trainings need it,
        since the authors' start is hundreds of times brighter than a real sky.
    """

    def __init__(self, here: Grid, there: Grid, width: int = WIDTH, from_sky: bool = False) -> None:
        super().__init__()
        self.size = here.size
        self.amplitudes = nn.ModuleList(Amplitude(width) for _ in range(here.bands))
        # These are the fans of the authors' variable [1, 7, 7, bands], not those of a depthwise kernel.
        limit = math.sqrt(6 / (KERNEL**2 + KERNEL * here.bands))
        self.kernel = nn.Parameter(torch.empty(here.bands, KERNEL, KERNEL).uniform_(-limit, limit))
        if from_sky and here.sky:
            self._start_from(here.sky)

    def _start_from(self, sky: tuple[float, ...]) -> None:
        """Start as white noise of these standard deviations, with little difference between images."""
        with torch.no_grad():
            self.kernel *= 0.1
            self.kernel[:, KERNEL // 2, KERNEL // 2] = 1
            for amplitude, sigma in zip(self.amplitudes, sky, strict=True):
                amplitude.fc3.weight *= 0.1
                amplitude.fc3.bias.fill_(math.log(math.expm1(sigma)))

    def forward(self, count: int, random: Generator | None = None) -> Tensor:
        """Return noise (count, bands, size, size), drawn from `random` or from torch's own generator."""
        return self.colour(*self.seeds(count, random))

    def seeds(self, count: int, random: Generator | None = None) -> tuple[Tensor, Tensor]:
        """Return normal numbers for amplitudes (count, bands) and white maps (count, bands, size + 6, size + 6)."""
        bands, margin = len(self.amplitudes), KERNEL - 1
        like = {"generator": random, "device": self.kernel.device, "dtype": self.kernel.dtype}
        shape = (count, bands, self.size + margin, self.size + margin)
        return torch.randn(count, bands, **like), torch.randn(shape, **like)

    def colour(self, seed: Tensor, white: Tensor) -> Tensor:
        """Scale and correlate the numbers of `seeds` into noise (B, bands, size, size)."""
        with torch.autocast(white.device.type, enabled=False):  # a bf16 noise would repeat its few values
            amplitude = torch.cat([net(seed[:, [band]]) for band, net in enumerate(self.amplitudes)], dim=1)
            kernel = symmetric(self.kernel)[:, None]
            return F.conv2d(white * amplitude[..., None, None], kernel, groups=len(kernel))


class Amplitude(nn.Module):
    """Normal numbers (B, 1) to noise amplitudes (B, 1), positive."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2, self.fc3 = dense(1, width), dense(width, width), dense(width, 1)

    def forward(self, seed: Tensor) -> Tensor:
        """Return amplitudes (B, 1) of normal numbers (B, 1)."""
        return F.softplus(self.fc3(leaky(self.fc2(leaky(self.fc1(seed))))))


def symmetric(kernel: Tensor) -> Tensor:
    """Return the mean of a kernel (bands, row, col) over the four rotations, then with its mirror image."""
    turned = sum(torch.rot90(kernel, quarter, (-2, -1)) for quarter in range(4)) / 4
    return (turned + turned.flip(-1)) / 2


class NoNoise(nn.Module):
    """The emulator of a recipe without noise, which adds nothing. Arguments are those of `NoiseEmulator`."""

    def __init__(self, here: Grid, there: Grid, width: int = WIDTH) -> None:
        super().__init__()

    def forward(self, count: int, random: Generator | None = None) -> Tensor:
        """Return zero, for any count; nothing is drawn."""
        return torch.zeros(())


class NoEncoder(nn.Module):
    """The encoder of a recipe without latent codes, which gives none. Arguments are those of `LatentEncoder`."""

    def __init__(self, here: Grid, there: Grid, width: int = WIDTH) -> None:
        super().__init__()

    def forward(self, here: Tensor, there: Tensor) -> None:
        """Return None in place of a code."""

    def draw(self, count: int, random: Generator | None = None) -> None:
        """Return None in place of codes; nothing is drawn."""
