"""Translate images of any size by a run that reads any image: in overlapping tiles, without seams, in bounded memory.

A translation is made tile by tile on its own grid. Each tile is read from the part of the input that its pixels depend
on, and only its middle is kept. Two things are done once for the whole image: the measurement of the noise that is
still in its sky, and the drawing of random numbers, so that a draw has no seams where tiles meet.
"""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
import torch.nn.functional as F
from scipy.fft import next_fast_len
from torch import Generator, Tensor

from survey_tools.images.sky_wcs import tan_places
from translator.data.conditions import NAMES, lead
from translator.images import OTHER, Known
from translator.metrics.consistency import CLIPPED
from translator.networks.observation_operator import places, sample
from translator.networks.restoration import box
from translator.observing import Observed, blank_sigma, leads_down, observe
from translator.runs.checkpoint import Run
from translator.runs.device import one_thread
from translator.use import Signal, Wanted, known_variance, missing_sigma, seed_shapes, signal_of

MIDDLE = 512  # side of the middle of a tile on the grid of the translation [pixel]
SEEN_AT_ONCE = 192  # side of the part of the input that is observed again at once [pixel]
STEP = 8  # tiles begin at multiples of it [pixel], because networks halve their maps three times
MARGIN = 72  # width around the middle: the reach of a network [pixel]
REACH = 12.0  # additional width that is read of the input [arcsec]: the reach of the seeing
WHOLE = 0.999  # share of the light of a pixel that counts as all of it
NEAR = 0.99  # cosine of the largest angle on the sky between grids that may meet
DRAWS = 8  # least number of draws for the standard deviation of the signal


@dataclass(frozen=True)
class SkyGrid:
    """A plane of pixels on the sky.

    Attributes
    ----------
    crval, crpix, cd : array
        TAN terms, as in `sky_wcs.tan_terms`.
    shape : tuple of int
        Rows and columns.
    """

    crval: np.ndarray
    crpix: np.ndarray
    cd: np.ndarray
    shape: tuple[int, int]

    def window(self, first: tuple[int, int], shape: tuple[int, int]) -> "SkyGrid":
        """Return the grid of `shape` whose first pixel is (row, col) `first` of this one."""
        return SkyGrid(self.crval, self.crpix - np.array(first[::-1], float), self.cd, shape)

    @property
    def pixel_scale(self) -> float:
        """Geometric mean of the sides of a pixel [arcsec]."""
        return 3600 * float(np.sqrt(abs(np.linalg.det(self.cd))))

    @property
    def terms(self) -> list[np.ndarray]:
        """The terms of one grid, as `conditions.align` reads them."""
        return [self.crval[None], self.crpix[None], self.cd[None]]


@dataclass(frozen=True)
class RequestedImage:
    """What is asked of the translation of one image. Arrays are (band,), with NaN for the usual value.

    Attributes
    ----------
    domain : str
        "x" or "y", where it lands.
    grid : SkyGrid
        Grid of the translation.
    seeing : array
        FWHM of stars [arcsec].
    sigma : array
        Noise of a pixel of blank sky [nanomaggy/pixel].
    gain : array
        Gain [electron/nanomaggy].
    noise : bool
        Whether it has noise.
    draws : int
        Number of draws.
    spread : bool
        Whether the standard deviation of at least `DRAWS` draws is wanted.
    seed : int
        Seed of all random numbers.
    carry : callable, optional
        Resamples differences of signals (band, row, col) onto the pixels whose errors are wanted; by default these are
        the pixels of `grid`.
    """

    domain: str
    grid: SkyGrid
    seeing: np.ndarray
    sigma: np.ndarray
    gain: np.ndarray
    noise: bool = True
    draws: int = 0
    spread: bool = False
    seed: int = 0
    carry: Callable[[np.ndarray], np.ndarray] | None = None


@dataclass(frozen=True)
class Whole:
    """The translation of one image, each (band, row, col) float32 [nanomaggy/pixel]; NaN where it rests on too little
    input.

    Attributes
    ----------
    image : array
        The translation, with noise if that is wanted.
    signal : array or None
        The translation without noise: the mean of all possible images. None if only an image with noise is wanted.
    sigma : array or None
        Standard deviation of the expected error, of draws and noise together; None unless it is wanted.
    draws : list of array
        Signals drawn from all possible images, with noise if that is wanted.
    noise_sigma : array
        Noise of a pixel of blank sky (band,) [nanomaggy/pixel] in `image`; 0 without noise.
    consistency : array
        χ² per pixel (band,) between the input and the signal as observed by the survey of the input; NaN for
        translations into the poorer survey.
    spread : array or None
        Variance of the draws alone, on the pixels of `RequestedImage.carry`; None unless `sigma` is wanted.
    noise : array or None
        Variance of the noise alone, on the pixels of the translation; None unless `sigma` is wanted.
    """

    image: np.ndarray
    signal: np.ndarray | None
    sigma: np.ndarray | None
    draws: list[np.ndarray]
    noise_sigma: np.ndarray
    consistency: np.ndarray
    spread: np.ndarray | None = None
    noise: np.ndarray | None = None


def translate_whole(
    run: Run,
    image: np.ndarray,
    grid: SkyGrid,
    known: dict[str, np.ndarray],
    asked: RequestedImage,
    *,
    done: Callable[[int, int], None] = lambda at, of: None,
) -> Whole:
    """Translate one image of any size.

    Parameters
    ----------
    run : Run
        A trained model that reads any image.
    image : array
        Image (band, row, col) [nanomaggy/pixel]; NaN where there is no data, and everywhere in a missing band.
    grid : SkyGrid
        Its grid.
    known : dict
        Its conditions, by the names `conditions.NAMES`, each (band,); NaN if unknown.
    asked : RequestedImage
        What is asked.
    done : callable, optional
        Called after each tile with the number of finished tiles and of all tiles.

    Returns
    -------
    Whole
        The translation.
    """
    maker = _Maker(run, image, grid, known, asked, done)
    alone = len(maker.tiles) > 1  # a large image may use all threads, as no other is translated at the same time
    with torch.no_grad(), nullcontext() if alone else one_thread(run.device):
        return maker.whole()


def tile_count(shape: tuple[int, int]) -> int:
    """Return the number of tiles of a grid of `shape`."""
    return sum(1 for _ in _tiles(shape))


@dataclass(frozen=True)
class _Tile:
    """A window of a grid.

    Attributes
    ----------
    first : tuple of int
        Row and column of its first pixel.
    shape : tuple of int
        Rows and columns.
    kept : tuple of slice
        The part that is kept, in pixels of the grid.
    """

    first: tuple[int, int]
    shape: tuple[int, int]
    kept: tuple[slice, slice]

    @property
    def inner(self) -> tuple[slice, slice]:
        """The part that is kept, in pixels of the tile."""
        return tuple(slice(k.start - f, k.stop - f) for k, f in zip(self.kept, self.first, strict=True))

    @property
    def over(self) -> tuple[slice, slice]:
        """The tile in pixels of the grid."""
        return tuple(slice(f, f + side) for f, side in zip(self.first, self.shape, strict=True))


def _tiles(shape: tuple[int, int], middle: int | None = None, margin: int = MARGIN) -> Iterator[_Tile]:
    """Iterate over the tiles of a grid: one for a small grid, else windows that overlap by twice the margin, up to its
    edges.
    """
    middle = middle or MIDDLE
    if max(shape) <= middle + 2 * margin:
        yield _Tile((0, 0), shape, (slice(0, shape[0]), slice(0, shape[1])))
        return
    padded = [-(-side // STEP) * STEP for side in shape]
    size = tuple(min(middle + 2 * margin, side) for side in padded)
    for start in product(*(range(0, side, middle) for side in shape)):
        first = tuple(max(0, min(at - margin, p - n)) for at, p, n in zip(start, padded, size, strict=True))
        kept = tuple(slice(at, min(at + middle, side)) for at, side in zip(start, shape, strict=True))
        yield _Tile(first, size, kept)


class _Maker:
    """The work of `translate_whole`."""

    def __init__(self, run: Run, image, grid: SkyGrid, known, asked: RequestedImage, done) -> None:
        self.run, self.image, self.grid, self.asked, self.done = run, image, grid, asked, done
        self.device = run.device
        self.known = Known(*(self._one(known[name]) for name in NAMES))
        self.bands = len(image)
        self.tiles = list(_tiles(asked.grid.shape))
        self.random = Generator().manual_seed(asked.seed)

    def _one(self, values: np.ndarray) -> Tensor:
        """Return values (band,) as (1, band) on the device of the networks."""
        return torch.from_numpy(np.ascontiguousarray(values, np.float32))[None].to(self.device)

    def whole(self) -> Whole:
        """Return the translation."""
        asked, networks = self.asked, self.run.networks
        count = max(asked.draws, DRAWS if asked.spread else 0)
        self.total, self.at = len(self.tiles) * (1 + count), 0
        signal, good, sky = self._empty(), self._empty(bool), self._empty(bool)
        for tile in self.tiles:
            found = self._signal(tile)
            for whole, part in ((signal, found.image), (good, found.good), (sky, found.sky)):
                if part is not None:
                    whole[(slice(None), *tile.kept)] = part[0][(slice(None), *tile.inner)].cpu().numpy()
        good &= np.isfinite(self.image).any(axis=(1, 2))[:, None, None]
        drawn = networks[f"survey_{asked.domain}"].draw_sigma(1, self.random).to(self.device)
        missing = self._missing(signal, sky, drawn) if asked.noise else None
        del sky
        noise_sigma = np.zeros(self.bands)
        if asked.noise:
            stated = self._one(asked.sigma)
            noise_sigma = torch.where(torch.isfinite(stated), stated, drawn)[0].cpu().numpy()
        draws, spread = self._drawn(signal, count, missing) if count else ([], None)
        for each in (signal, *draws):
            each[~good] = np.nan
        sigma = noise = None
        if asked.spread:
            gain = networks[f"survey_{asked.domain}"].usual("gain", self._one(asked.gain))[0].cpu().numpy()
            noise = noise_sigma[:, None, None] ** 2 + np.maximum(signal, 0) / gain[:, None, None] * asked.noise
            sigma = None if asked.carry else np.sqrt(spread + noise).astype(np.float32)
        consistency = np.full(self.bands, np.nan)
        if not leads_down(networks, asked.domain):
            consistency = self._consistency(signal)
        kept = signal
        if asked.noise:
            kept = signal.copy() if count else None
        image = self._add_noise(signal, missing)
        return Whole(image, kept, sigma, draws, noise_sigma, consistency, spread if asked.spread else None, noise)

    def _missing(self, signal: np.ndarray, sky: np.ndarray, drawn: Tensor) -> np.ndarray:
        """Return the noise of blank sky (band,) that signals lack."""
        networks, wanted = self.run.networks, self._wanted()
        reached = None if leads_down(networks, self.asked.domain) else torch.from_numpy(sky)[None]
        already = known_variance(networks, self.known, wanted, torch.from_numpy(signal)[None], reached)
        return missing_sigma(wanted, drawn, already.to(self.device))[0].cpu().numpy()

    def _empty(self, kind=np.float32) -> np.ndarray:
        """Return zeros (band, row, col) on the grid of the translation."""
        return np.zeros((self.bands, *self.asked.grid.shape), kind)

    def _wanted(self, alignment: Tensor | None = None, shape: tuple[int, int] = (0, 0)) -> Wanted:
        """Return what is asked of networks for a part of the translation."""
        asked = self.asked
        if alignment is None:
            ratio = self.grid.pixel_scale / asked.grid.pixel_scale
            alignment = torch.tensor([[[ratio, 0.0, 0.0], [0.0, ratio, 0.0]]], device=self.device)
        return Wanted(
            domain=asked.domain,
            shape=shape,
            pixel_scale=asked.grid.pixel_scale,
            alignment=alignment,
            seeing=self._one(asked.seeing),
            sigma=self._one(asked.sigma),
            gain=self._one(asked.gain),
        )

    def _signal(self, tile: _Tile, seeds: list[Tensor] | None = None, mean: np.ndarray | None = None) -> Signal:
        """Return the signal of a tile; 0 and not good where the image has nothing for it."""
        window = self.asked.grid.window(tile.first, tile.shape)
        part = _seen_from(window, self.grid)
        self.at += 1
        if part is None:
            self.done(self.at, self.total)
            nothing = torch.zeros(1, self.bands, *tile.shape)
            return Signal(nothing, nothing.bool(), nothing.bool())
        observed, alignment = self._observed(part, window)
        about = None if mean is None else torch.from_numpy(mean)[None].to(self.device)
        found = signal_of(self.run.networks, observed, self._wanted(alignment, tile.shape), seeds, about)
        self.done(self.at, self.total)
        return found

    def _observed(self, part: tuple[slice, slice], window: SkyGrid) -> tuple[Observed, Tensor]:
        """Return a part of the image, and the alignment from it to a window of the translation's grid."""
        pixels = self.image[(slice(None), *part)]
        here = self.grid.window((part[0].start, part[1].start), pixels.shape[1:])
        alignment = lead(here.terms, here.shape, window.terms, window.shape)
        there_is = np.isfinite(pixels)
        image = torch.from_numpy(np.where(there_is, pixels, 0).astype(float))[None].to(self.device)
        good = torch.from_numpy(there_is)[None].to(self.device)
        return Observed(image, good, self.known), torch.from_numpy(alignment).to(self.device)

    def _add_noise(self, signal: np.ndarray, missing: np.ndarray | None) -> np.ndarray:
        """Add the noise of the survey to a signal, in place and band by band; nothing if `missing` is None."""
        if missing is None:
            return signal
        survey, shape = self.run.networks[f"survey_{self.asked.domain}"], signal.shape[1:]
        gain = survey.usual("gain", self._one(self.asked.gain))[0]
        around = tuple(next_fast_len(side, real=True) for side in shape)  # other sizes take several times as long
        for band in range(self.bands):
            white = torch.randn(1, 1, *around, generator=self.random).to(self.device)
            field = survey.correlated(white, slice(band, band + 1))[0, 0, : shape[0], : shape[1]]
            image = torch.from_numpy(signal[band]).to(self.device)
            field *= torch.sqrt(float(missing[band]) ** 2 + image.clamp(min=0) / gain[band])
            signal[band] += field.cpu().numpy()
        return signal

    def _drawn(self, mean: np.ndarray, count: int, missing) -> tuple[list[np.ndarray], np.ndarray]:
        """Return the draws that are wanted, and the variance of all draws."""
        kept, total, squares = [], 0.0, 0.0
        shapes = seed_shapes(self.run.networks, self.asked.domain, self._padded())
        for number in range(count):
            seeds = [torch.randn(*shape, generator=self.random) for shape in shapes]
            made = self._empty()
            for tile in self.tiles:
                cut = [self._cut(seed, tile, shape) for seed, shape in zip(seeds, shapes, strict=True)]
                around = _padded_window(mean, tile)
                found = self._signal(tile, cut, around)
                made[(slice(None), *tile.kept)] = found.image[0][(slice(None), *tile.inner)].cpu().numpy()
            away = made - mean if self.asked.carry is None else self.asked.carry(made - mean)
            total = total + away
            squares = squares + away**2
            if number < self.asked.draws:
                kept.append(self._add_noise(made, missing))
        return kept, np.maximum(squares - total**2 / count, 0) / max(count - 1, 1)

    def _padded(self) -> tuple[int, int]:
        """Return the rows and columns that the tiles cover, all of one size."""
        ends = (max(tile.first[axis] + tile.shape[axis] for tile in self.tiles) for axis in (0, 1))
        return tuple(-(-end // STEP) * STEP for end in ends)

    def _cut(self, seed: Tensor, tile: _Tile, shape: tuple[int, ...]) -> Tensor:
        """Return the random numbers of a tile; maps may have half the resolution or less."""
        if len(shape) == 1:
            return seed[None].to(self.device)
        pixels = self._padded()[0] // shape[1]
        rows, cols = (-(-side // STEP) * STEP // pixels for side in tile.shape)
        row, col = (first // pixels for first in tile.first)
        return seed[:, row : row + rows, col : col + cols][None].to(self.device)

    def _consistency(self, signal: np.ndarray) -> np.ndarray:
        """Return χ² per pixel (band,) between the input and the signal as the poorer survey would observe it."""
        networks, poorer = self.run.networks, OTHER[self.asked.domain]
        survey = networks[f"survey_{poorer}"]
        told = Known(self._one(self.asked.seeing), self._one(self.asked.sigma), self._one(self.asked.gain))
        sigma = blank_sigma(networks, poorer, self.known)[0].cpu().numpy()
        gain = survey.usual("gain", self.known.gain)[0].cpu().numpy()
        there = np.isfinite(self.image).any(axis=(1, 2))
        mixing = networks[f"survey_{self.asked.domain}"].mixing(
            networks[f"operator_{poorer}"].colour, torch.from_numpy(there)[None].to(self.device)
        )
        total, count = np.zeros(self.bands), np.zeros(self.bands)
        for tile in _tiles(self.grid.shape, SEEN_AT_ONCE, 0):
            window = self.grid.window(tile.first, tile.shape)
            part = _seen_from(window, self.asked.grid)
            if part is None:
                continue
            pixels = signal[(slice(None), *part)]
            here = self.asked.grid.window((part[0].start, part[1].start), pixels.shape[1:])
            led = lead(window.terms, window.shape, here.terms, here.shape)
            led = torch.from_numpy(led.astype(np.float32)).to(self.device)
            whole = torch.from_numpy(np.nan_to_num(pixels))[None].to(self.device)
            seen = observe(networks, poorer, whole, told, self.known.psf_fwhm, led, tile.shape, mixing)
            held = self._supported(np.isfinite(pixels), here.pixel_scale, led, tile.shape)
            inner = (0, slice(None), *tile.inner)
            seen = seen[inner].cpu().numpy()
            held = held[inner].cpu().numpy()
            variance = sigma[:, None, None] ** 2 + np.maximum(seen, 0) / gain[:, None, None]
            square = np.minimum((seen - self.image[(slice(None), *tile.kept)]) ** 2 / variance, CLIPPED**2)
            square = np.where(held, square, np.nan)
            total += np.nansum(square, axis=(1, 2))
            count += np.isfinite(square).sum(axis=(1, 2))
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)

    def _supported(self, there: np.ndarray, pixel_scale: float, led: Tensor, shape: tuple[int, int]) -> Tensor:
        """Return the pixels (1, band, *shape) of the input whose light comes completely from pixels of the signal with
        a value.

        Parameters
        ----------
        there : array of bool
            Pixels of the signal that have a value (band, row, col).
        pixel_scale : float
            Side of a pixel of the signal [arcsec].
        led : Tensor
            Alignment from the grid of the input to that of the signal.
        shape : tuple of int
            Shape of the part of the input.
        """
        reach = round(3 * float(self.run.networks[f"survey_{OTHER[self.asked.domain]}"].psf_fwhm.max()) / pixel_scale)
        side = 2 * (reach // 2) + 1
        if there.all():  # the usual case: pixels far enough from the edges
            most = torch.tensor([(n - side) / 2 for n in there.shape[1:]], device=self.device)
            inside = (places(led, shape).abs() <= most).all(-1)
            return inside[:, None].expand(-1, self.bands, -1, -1)
        whole = torch.from_numpy(there)[None].to(self.device, led.dtype)
        whole = F.pad(whole, (reach,) * 4)  # nothing is known beyond the edges
        return sample(box(whole, side)[..., reach:-reach, reach:-reach], led, shape) > WHOLE


def _padded_window(image: np.ndarray, tile: _Tile) -> np.ndarray:
    """Return the pixels of a tile (band, row, col); beyond the image, its edge pixels are repeated."""
    part = image[(slice(None), *tile.over)]
    beyond = [(0, side - there) for side, there in zip(tile.shape, part.shape[1:], strict=True)]
    return np.pad(part, [(0, 0), *beyond], mode="edge")


def _middle(grid: SkyGrid) -> np.ndarray:
    """Return the direction (3,) of the middle of a grid."""
    rows, cols = grid.shape
    return tan_places(*grid.terms, np.array([[(cols - 1) / 2, (rows - 1) / 2]]))[0, 0]


def _seen_from(window: SkyGrid, image: SkyGrid) -> tuple[slice, slice] | None:
    """Return the part of an image that a window of another grid depends on; None if they do not meet."""
    rows, cols = window.shape
    if float(_middle(window) @ _middle(image)) < NEAR:
        return None
    led = lead(window.terms, window.shape, image.terms, image.shape)[0]
    corners = np.array([(r, c) for r in (-0.5, 0.5) for c in (-0.5, 0.5)]) * [rows, cols]
    found = corners @ led[:, :2].T + led[:, 2] + (np.array(image.shape) - 1) / 2
    reach = REACH / image.pixel_scale
    first = np.floor(found.min(axis=0) - reach).astype(int)
    last = np.ceil(found.max(axis=0) + reach).astype(int) + 1
    part = [slice(max(0, a), min(b, side)) for a, b, side in zip(first, last, image.shape, strict=True)]
    meets = all(each.stop > each.start for each in part)
    return tuple(part) if meets else None
