"""Translate images of any size by a run that reads any image: in overlapping tiles, without seams, in bounded memory.

A translation is made tile by tile on its own grid. Each tile is read from the part of the input that its pixels depend
on, and only its middle is kept. Two things are done once for the whole image: the measurement of the noise that is
still in its sky, and the drawing of random numbers, so that a draw has no seams where tiles meet.
"""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import groupby, product

import numpy as np
import torch
import torch.nn.functional as F
from scipy.fft import next_fast_len
from torch import Generator, Tensor

from survey_tools.images.sky_wcs import tan_places
from translator.data.conditions import NAMES, lead
from translator.images import OTHER, Known
from translator.metrics.consistency import CLIPPED
from translator.networks.observation_operator import places, sample, turns
from translator.networks.restoration import box
from translator.observing import Observed, blank_sigma, leads_down, observe
from translator.runs.checkpoint import Run
from translator.runs.device import autocast, one_thread
from translator.use import Signal, Wanted, known_variance, missing_sigma, seed_shapes, signal_of

MIDDLE = 512  # side of the middle of a tile on the grid of the translation [pixel]
SEEN_AT_ONCE = 192  # side of the part of the input that is observed again at once [pixel]
STEP = 8  # tiles begin at multiples of it [pixel], because networks halve their maps three times
MARGIN = 72  # width around the middle: the reach of a network [pixel]
REACH = 12.0  # additional width that is read of the input [arcsec]: the reach of the seeing
WHOLE = 0.999  # share of the light of a pixel that counts as all of it
NEAR = 0.99  # cosine of the largest angle on the sky between grids that may meet
AT_ONCE = {"cpu": 8, "cuda": 16}  # images of a store that pass the networks together, if they are small
PIXELS_AT_ONCE = {"cpu": 8 * 160**2, "cuda": 16 * 320**2}  # pixels of their translations that they may have together
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
    precision: str = "float32",
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
    precision : str
        "float32" or "bf16", in which the networks multiply.
    done : callable, optional
        Called after each tile with the number of finished tiles and of all tiles.

    Returns
    -------
    Whole
        The translation.
    """
    told = {name: values[None] for name, values in known.items()}
    maker = _Maker(run, image[None], [grid], told, [asked], precision, done)
    alone = len(maker.tiles) > 1  # a large image may use all threads, as no other is translated at the same time
    with torch.no_grad(), nullcontext() if alone else one_thread(run.device):
        return maker.whole()[0]


def translate_alike(
    run: Run,
    images: np.ndarray,
    grids: list[SkyGrid],
    known: dict[str, np.ndarray],
    asked: list[RequestedImage],
    *,
    precision: str = "float32",
) -> Iterator[Whole]:
    """Translate images of one shape onto grids of one shape, some at a time, and yield the translations in order.

    Small images pass the networks together: always the same number of them, so that a translation depends on its own
    image, grid, conditions and seed alone, to the bit. The last ones are repeated to make up that number.

    Parameters
    ----------
    run : Run
        A trained model that reads any image.
    images : array
        Images (image, band, row, col) [nanomaggy/pixel]; NaN where there is no data.
    grids : list of SkyGrid
        Their grids.
    known : dict
        Their conditions, by the names `conditions.NAMES`, each (image, band); NaN if unknown.
    asked : list of RequestedImage
        What is asked of each. Domain, shape, pixel scale, noise, draws and spread must be the same for all of them.
    precision : str
        "float32" or "bf16", in which the networks multiply.
    """
    for some in _together(grids, [one.grid for one in asked], run.device):
        told = {name: values[some] for name, values in known.items()}
        maker = _Maker(
            run, images[some], [grids[at] for at in some], told, [asked[at] for at in some], precision, _silent
        )
        with torch.no_grad(), one_thread(run.device) if len(maker.tiles) == 1 else nullcontext():
            made = maker.whole()
        yield from made[: len(set(some))]


def _silent(at: int, of: int) -> None:
    """Report no progress."""


def _together(grids: list[SkyGrid], onto: list[SkyGrid], device: torch.device) -> Iterator[list[int]]:
    """Iterate over the places of images that pass the networks together; the last place of some is repeated."""
    if not onto:
        return
    kind, shape = "cpu" if device.type == "cpu" else "cuda", onto[0].shape
    step = min(AT_ONCE[kind], max(1, PIXELS_AT_ONCE[kind] // (shape[0] * shape[1])))
    if step == 1 or tile_count(shape) > 1:
        yield from ([at] for at in range(len(onto)))
        return
    reached = list(zip(_seen_from(onto, grids), _seen_from(grids, onto), strict=True))
    for _, alike in groupby(range(len(onto)), key=lambda at: reached[at]):
        places = list(alike)
        for start in range(0, len(places), step):
            some = places[start : start + step]
            yield some + some[-1:] * (step - len(some))


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
    """The work of `translate_whole` and `translate_alike`: images of one shape, onto grids of one shape.

    More than one image at once need grids of one tile that depend on the same part of every image.
    """

    def __init__(
        self, run: Run, images: np.ndarray, grids: list[SkyGrid], known, asked: list[RequestedImage], precision, done
    ) -> None:
        self.run, self.images, self.grids, self.each, self.done = run, images, grids, asked, done
        self.precision, self.asked = precision, asked[0]  # what all of them have in common is read of the first
        self.device = run.device
        self.known = Known(*(self._told(known[name]) for name in NAMES))
        self.seeing, self.sigma, self.gain = (
            self._told(np.stack([getattr(one, name) for one in asked])) for name in ("seeing", "sigma", "gain")
        )
        self.count, self.bands = images.shape[:2]
        self.tiles = list(_tiles(self.asked.grid.shape))
        self.randoms = [Generator().manual_seed(one.seed) for one in asked]

    def _told(self, values: np.ndarray) -> Tensor:
        """Return values (image, band) on the device of the networks."""
        return torch.from_numpy(np.ascontiguousarray(values, np.float32)).to(self.device)

    def whole(self) -> list[Whole]:
        """Return the translations."""
        asked, networks = self.asked, self.run.networks
        count = max(asked.draws, DRAWS if asked.spread else 0)
        self.total, self.at = len(self.tiles) * (1 + count), 0
        signal, good, sky = self._empty(), self._empty(bool), self._empty(bool)
        for tile in self.tiles:
            found = self._signal(tile)
            for whole, part in ((signal, found.image), (good, found.good), (sky, found.sky)):
                if part is not None:
                    whole[(..., *tile.kept)] = part[(..., *tile.inner)].cpu().numpy()
        good &= np.isfinite(self.images).any(axis=(2, 3))[..., None, None]
        survey = networks[f"survey_{asked.domain}"]
        drawn = torch.cat([survey.draw_sigma(1, random) for random in self.randoms]).to(self.device)
        missing = self._missing(signal, sky, drawn) if asked.noise else None
        del sky
        noise_sigma = np.zeros((self.count, self.bands))
        if asked.noise:
            noise_sigma = torch.where(torch.isfinite(self.sigma), self.sigma, drawn).cpu().numpy()
        draws, spread = self._drawn(signal, count, missing) if count else ([], None)
        if not good.all():
            for each in (signal, *draws):
                each[~good] = np.nan
        sigma = noise = None
        if asked.spread:
            gain = survey.usual("gain", self.gain).cpu().numpy()[..., None, None]
            noise = noise_sigma[..., None, None] ** 2 + np.maximum(signal, 0) / gain * asked.noise
            sigma = None if asked.carry else np.sqrt(spread + noise).astype(np.float32)
        consistency = np.full((self.count, self.bands), np.nan)
        if not leads_down(networks, asked.domain):
            consistency = self._consistency(signal)
        kept = signal
        if asked.noise:
            kept = signal.copy() if count else None
        image = self._add_noise(signal, missing)

        def of(values, at: int):
            return None if values is None else values[at]

        return [
            Whole(
                image=image[at],
                signal=of(kept, at),
                sigma=of(sigma, at),
                draws=[draw[at] for draw in draws],
                noise_sigma=noise_sigma[at],
                consistency=consistency[at],
                spread=of(spread if asked.spread else None, at),
                noise=of(noise, at),
            )
            for at in range(self.count)
        ]

    def _missing(self, signal: np.ndarray, sky: np.ndarray, drawn: Tensor) -> np.ndarray:
        """Return the noise of blank sky (image, band) that signals lack."""
        networks, wanted = self.run.networks, self._wanted()
        reached = None if leads_down(networks, self.asked.domain) else torch.from_numpy(sky)
        already = known_variance(networks, self.known, wanted, torch.from_numpy(signal), reached)
        return missing_sigma(wanted, drawn, already.to(self.device)).cpu().numpy()

    def _empty(self, kind=np.float32) -> np.ndarray:
        """Return zeros (image, band, row, col) on the grids of the translations."""
        return np.zeros((self.count, self.bands, *self.asked.grid.shape), kind)

    def _wanted(self, alignment: Tensor | None = None, shape: tuple[int, int] = (0, 0)) -> Wanted:
        """Return what is asked of networks for a part of the translations."""
        asked = self.asked
        if alignment is None:
            ratios = [here.pixel_scale / one.grid.pixel_scale for here, one in zip(self.grids, self.each, strict=True)]
            alignment = torch.tensor([[[ratio, 0.0, 0.0], [0.0, ratio, 0.0]] for ratio in ratios], device=self.device)
        return Wanted(
            domain=asked.domain,
            shape=shape,
            pixel_scale=asked.grid.pixel_scale,
            alignment=alignment,
            seeing=self.seeing,
            sigma=self.sigma,
            gain=self.gain,
        )

    def _signal(self, tile: _Tile, seeds: list[Tensor] | None = None, mean: np.ndarray | None = None) -> Signal:
        """Return the signal of a tile; 0 and not good where the images have nothing for it."""
        windows = [one.grid.window(tile.first, tile.shape) for one in self.each]
        part = _seen_from(windows[:1], self.grids[:1])[0]
        self.at += 1
        if part is None:
            self.done(self.at, self.total)
            nothing = torch.zeros(self.count, self.bands, *tile.shape)
            return Signal(nothing, nothing.bool(), nothing.bool())
        observed, alignment = self._observed(part, windows)
        about = None if mean is None else torch.from_numpy(mean).to(self.device)
        wanted = self._wanted(alignment, tile.shape)
        with autocast(self.precision, self.device):
            found = signal_of(self.run.networks, observed, wanted, seeds, about)
        self.done(self.at, self.total)
        return found

    def _observed(self, part: tuple[slice, slice], windows: list[SkyGrid]) -> tuple[Observed, Tensor]:
        """Return a part of the images, and the alignments from it to windows of the translations' grids."""
        pixels = self.images[(..., *part)]
        shape = pixels.shape[2:]
        here = [grid.window((part[0].start, part[1].start), shape) for grid in self.grids]
        alignment = lead(_terms(here), shape, _terms(windows), windows[0].shape)
        there_is = np.isfinite(pixels)
        image = torch.from_numpy(np.where(there_is, pixels, 0).astype(float)).to(self.device)
        good = torch.from_numpy(there_is).to(self.device)
        return Observed(image, good, self.known), torch.from_numpy(alignment).to(self.device)

    def _add_noise(self, signal: np.ndarray, missing: np.ndarray | None) -> np.ndarray:
        """Add the noise of the survey to signals, in place and band by band; nothing if `missing` is None."""
        if missing is None:
            return signal
        survey, shape = self.run.networks[f"survey_{self.asked.domain}"], signal.shape[2:]
        gain = survey.usual("gain", self.gain)[..., None, None]
        blank = torch.from_numpy(missing.astype(float) ** 2).float().to(self.device)[..., None, None]
        around = tuple(next_fast_len(side, real=True) for side in shape)  # other sizes take several times as long
        for band in range(self.bands):
            white = [torch.randn(1, 1, *around, generator=random) for random in self.randoms]
            white = torch.cat(white).to(self.device)
            field = survey.correlated(white, slice(band, band + 1))[:, 0, : shape[0], : shape[1]]
            image = torch.from_numpy(signal[:, band]).to(self.device)
            field *= torch.sqrt(blank[:, band] + image.clamp(min=0) / gain[:, band])
            signal[:, band] += field.cpu().numpy()
        return signal

    def _drawn(self, mean: np.ndarray, count: int, missing) -> tuple[list[np.ndarray], np.ndarray]:
        """Return the draws that are wanted, and the variance of all draws."""
        kept, total, squares = [], 0.0, 0.0
        shapes = seed_shapes(self.run.networks, self.asked.domain, self._padded())
        for number in range(count):
            seeds = [[torch.randn(*shape, generator=random) for shape in shapes] for random in self.randoms]
            seeds = [torch.stack(alike) for alike in zip(*seeds, strict=True)]
            made = self._empty()
            for tile in self.tiles:
                cut = [self._cut(seed, tile, shape) for seed, shape in zip(seeds, shapes, strict=True)]
                around = _padded_window(mean, tile)
                found = self._signal(tile, cut, around)
                made[(..., *tile.kept)] = found.image[(..., *tile.inner)].cpu().numpy()
            away = made - mean
            if self.asked.carry is not None:
                away = np.stack([one.carry(each) for one, each in zip(self.each, away, strict=True)])
            total = total + away
            squares = squares + away**2
            if number < self.asked.draws:
                kept.append(self._add_noise(made, missing))
        return kept, np.maximum(squares - total**2 / count, 0) / max(count - 1, 1)

    def _padded(self) -> tuple[int, int]:
        """Return the rows and columns that the tiles cover, all of one size."""
        ends = (max(tile.first[axis] + tile.shape[axis] for tile in self.tiles) for axis in (0, 1))
        return tuple(-(-end // STEP) * STEP for end in ends)

    def _cut(self, seeds: Tensor, tile: _Tile, shape: tuple[int, ...]) -> Tensor:
        """Return the random numbers of a tile; maps may have half the resolution or less."""
        if len(shape) == 1:
            return seeds.to(self.device)
        pixels = self._padded()[0] // shape[1]
        rows, cols = (-(-side // STEP) * STEP // pixels for side in tile.shape)
        row, col = (first // pixels for first in tile.first)
        return seeds[..., row : row + rows, col : col + cols].to(self.device)

    def _consistency(self, signal: np.ndarray) -> np.ndarray:
        """Return χ² per pixel (image, band) between inputs and signals as the poorer survey would observe them."""
        networks, poorer = self.run.networks, OTHER[self.asked.domain]
        survey = networks[f"survey_{poorer}"]
        told = Known(self.seeing, self.sigma, self.gain)
        sigma = blank_sigma(networks, poorer, self.known).cpu().numpy()[..., None, None]
        gain = survey.usual("gain", self.known.gain).cpu().numpy()[..., None, None]
        there = torch.from_numpy(np.isfinite(self.images).any(axis=(2, 3))).to(self.device)
        mixing = networks[f"survey_{self.asked.domain}"].mixing(networks[f"operator_{poorer}"].colour, there)
        total, count = (np.zeros((self.count, self.bands)) for _ in range(2))
        for tile in _tiles(self.grids[0].shape, SEEN_AT_ONCE, 0):
            windows = [grid.window(tile.first, tile.shape) for grid in self.grids]
            part = _seen_from(windows[:1], [self.asked.grid])[0]
            if part is None:
                continue
            pixels = signal[(..., *part)]
            shape = pixels.shape[2:]
            here = [one.grid.window((part[0].start, part[1].start), shape) for one in self.each]
            led = lead(_terms(windows), tile.shape, _terms(here), shape)
            apart = not turns(torch.from_numpy(led)).any()
            led = torch.from_numpy(led.astype(np.float32)).to(self.device)
            finite = np.isfinite(pixels)
            whole = torch.from_numpy(np.where(finite, pixels, np.float32(0))).to(self.device)
            seen = observe(networks, poorer, whole, told, self.known.psf_fwhm, led, tile.shape, mixing, apart=apart)
            held = self._supported(finite, here[0].pixel_scale, led, tile.shape)
            inner = (..., *tile.inner)
            seen = seen[inner].cpu().numpy()
            held = held[inner].cpu().numpy()
            variance = sigma**2 + np.maximum(seen, 0) / gain
            square = np.minimum((seen - self.images[(..., *tile.kept)]) ** 2 / variance, CLIPPED**2)
            square = np.where(held, square, np.nan)
            total += np.nansum(square, axis=(2, 3))
            count += np.isfinite(square).sum(axis=(2, 3))
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)

    def _supported(self, there: np.ndarray, pixel_scale: float, led: Tensor, shape: tuple[int, int]) -> Tensor:
        """Return the pixels (image, band, *shape) of the inputs whose light comes completely from pixels of the signals
        with a value.

        Parameters
        ----------
        there : array of bool
            Pixels of the signals that have a value (image, band, row, col).
        pixel_scale : float
            Side of a pixel of the signal [arcsec].
        led : Tensor
            Alignments from the grids of the inputs to those of the signals.
        shape : tuple of int
            Shape of the part of the inputs.
        """
        reach = round(3 * float(self.run.networks[f"survey_{OTHER[self.asked.domain]}"].psf_fwhm.max()) / pixel_scale)
        side = 2 * (reach // 2) + 1
        every, some = there.all(axis=(2, 3)), there.any(axis=(2, 3))
        if (every == some).all():  # the usual case: pixels far enough from the edges of bands without gaps
            most = torch.tensor([(n - side) / 2 for n in there.shape[2:]], device=self.device)
            inside = (places(led, shape).abs() <= most).all(-1)
            return inside[:, None] & torch.from_numpy(every).to(self.device)[..., None, None]
        whole = torch.from_numpy(there).to(self.device, led.dtype)
        whole = F.pad(whole, (reach,) * 4)  # nothing is known beyond the edges
        return sample(box(whole, side)[..., reach:-reach, reach:-reach], led, shape) > WHOLE


def _padded_window(image: np.ndarray, tile: _Tile) -> np.ndarray:
    """Return the pixels of a tile (image, band, row, col); beyond the images, their edge pixels are repeated."""
    part = image[(..., *tile.over)]
    beyond = [(0, side - there) for side, there in zip(tile.shape, part.shape[2:], strict=True)]
    return np.pad(part, [(0, 0), (0, 0), *beyond], mode="edge")


def _terms(grids: list[SkyGrid]) -> list[np.ndarray]:
    """Return the terms of grids (grid, …), as `conditions.lead` reads them."""
    return [np.stack([getattr(grid, name) for grid in grids]) for name in ("crval", "crpix", "cd")]


def _middles(grids: list[SkyGrid]) -> np.ndarray:
    """Return the directions (grid, 3) of the middles of grids of one shape."""
    rows, cols = grids[0].shape
    return tan_places(*_terms(grids), np.array([[(cols - 1) / 2, (rows - 1) / 2]]))[:, 0]


def _seen_from(windows: list[SkyGrid], images: list[SkyGrid]) -> list[tuple[slice, slice] | None]:
    """Return the part of each image that a window of another grid depends on; None if they do not meet.

    All windows have one shape, and all images.
    """
    shape, whole = windows[0].shape, images[0].shape
    near = (_middles(windows) * _middles(images)).sum(axis=1) >= NEAR
    led = lead(_terms(windows), shape, _terms(images), whole)
    corners = np.array([(r, c) for r in (-0.5, 0.5) for c in (-0.5, 0.5)]) * shape
    found = corners @ led[..., :2].swapaxes(1, 2) + led[:, None, :, 2] + (np.array(whole) - 1) / 2
    parts = []
    for meets, corner, image in zip(near, found, images, strict=True):
        reach = REACH / image.pixel_scale
        part = None
        if meets:
            first = np.floor(corner.min(axis=0) - reach).astype(int)
            last = np.ceil(corner.max(axis=0) + reach).astype(int) + 1
            part = tuple(
                slice(max(0, int(a)), min(int(b), side)) for a, b, side in zip(first, last, whole, strict=True)
            )
            part = part if all(each.stop > each.start for each in part) else None
        parts.append(part)
    return parts
