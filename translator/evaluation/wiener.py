"""The Wiener filter: what there is without any learning once the seeing and the noise of both surveys are known.

It is the linear filter whose result is nearest to the light on average, for a given mean power spectrum of the light
and of the noise (Wiener 1949). In Fourier space, an object's light in the richer survey has the power P(k), T(k) is
what an `ObservationOperator` does to it before anything is fitted, and N(k) is the power of the input's noise.

Into the richer survey, W = T P / (T² P + N). Into the poorer one W = T P / (P + N): T of the light that a filter P / (P
+ N) finds in the richer image. P is the object's own flux squared times a spectrum that training images show.

Images are (galaxy, band, row, col) in nanomaggy/pixel.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from translator.data.survey_measures import flux_within
from translator.metrics.autocorrelation import noise_correlation, noise_power
from translator.metrics.signal import taper
from translator.networks.observation_operator import PAD, ObservationOperator, area, inverse, sample

CERTAIN = 10.0  # standard errors of their flux from which on galaxies show their spectrum
KOLMOGOROV = (
    2.15  # a and b of an `ObservationOperator` for exp(-3.44 (λ k / r0)^(5/3)), of FWHM 0.976 λ / r0 (Fried 1966)
)
SMOOTH = 3  # rings over which a spectrum is averaged
AT_ONCE = 32  # galaxies in memory


@dataclass(frozen=True)
class Spectrum:
    """Mean power of galaxies in a survey's images, for a flux of 1 as of `flux_within`, without noise.

    Attributes:
        frequency: (ring,) [1/arcsec], from 0 on.
        power: (band, ring).
    """

    frequency: np.ndarray
    power: np.ndarray

    def at(self, k: Tensor) -> Tensor:
        """The power (band, …) at frequencies (…); beyond the last ring that of the last."""
        found = [np.interp(k.numpy(), self.frequency, band) for band in self.power]
        return torch.from_numpy(np.stack(found).astype(np.float32))


@dataclass(frozen=True)
class FilterConditions:
    """What a Wiener filter is told of images and of what they shall become.

    Attributes:
        alignment: From the images' grids to the wanted ones (galaxy, 2, 3), as of `networks.observation_operator`.
        seeing: Full width at half maximum of stars in the poorer survey's image (galaxy, band) [arcsec].
        richer_seeing: The same of the richer survey's image.
        sigma: Of a blank pixel of the image that is read (galaxy, band) [nanomaggy/pixel].
    """

    alignment: np.ndarray
    seeing: np.ndarray
    richer_seeing: np.ndarray
    sigma: np.ndarray

    def take(self, some: slice) -> "FilterConditions":
        """Those of some galaxies."""
        return FilterConditions(self.alignment[some], self.seeing[some], self.richer_seeing[some], self.sigma[some])


def by_seeing(operator: ObservationOperator) -> ObservationOperator:
    """An operator that is not fitted, changed in place: the seeing of both surveys is of Kolmogorov's spectrum."""
    with torch.no_grad():
        operator.poorer.fill_(KOLMOGOROV)
        operator.richer.fill_(KOLMOGOROV)
    return operator


def learn_spectrum(images: np.ndarray, sigma: np.ndarray, pixel_scale: float) -> Spectrum:
    """The mean spectrum of galaxies in the middle of images, in rings one frequency step wide.

    Of galaxies whose flux is certain, or else of all. The power of the images' noise is taken off, and what is then
    below 0 is 0.

    Args:
        images: (galaxy, band, row, col), without gaps.
        sigma: Of a blank pixel (galaxy, band).
        pixel_scale: [arcsec/pixel].
    """
    size = images.shape[-1]
    window = (taper(size)[:, None] * taper(size)).astype(np.float32)
    noise = noise_power(noise_correlation(images, sigma), size, size) * float((window**2).sum())
    along, across = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)
    ring = np.rint(np.hypot(along, across) * size).astype(int)
    rings = size // 2 + 1
    flux, error = flux_within(images, sigma, pixel_scale)
    sure = flux > CERTAIN * error
    found = np.zeros((images.shape[1], rings))
    for band in range(images.shape[1]):
        some = np.flatnonzero(sure[:, band] if sure[:, band].any() else flux[:, band] > 0)
        spectra = []
        for galaxy in some:
            power = np.abs(np.fft.rfft2(images[galaxy, band] * window)) ** 2 - sigma[galaxy, band] ** 2 * noise[band]
            spectra.append(power / flux[galaxy, band] ** 2)
        if spectra:
            whole = np.mean(spectra, axis=0)
            found[band] = [whole[ring == number].mean() for number in range(rings)]
    kernel = np.ones(SMOOTH) / SMOOTH
    ends = np.pad(found, ((0, 0), (SMOOTH // 2, SMOOTH // 2)), mode="edge")
    smooth = np.array([np.convolve(band, kernel, mode="valid") for band in ends])
    smooth[:, 0] = found[:, 0]
    return Spectrum(np.arange(rings) / (size * pixel_scale), np.maximum(smooth, 0.0))


def restored(
    images: np.ndarray, known: FilterConditions, operator: ObservationOperator, spectrum: Spectrum, size: int
) -> np.ndarray:
    """The richer survey's light behind images of the poorer one, on grids of `size` pixels.

    Images are interpolated onto the wanted grid first. What the interpolation takes off is given back up to the
    highest frequency that the input's pixels show; beyond it the result has nothing.
    """
    return _a_few_at_a_time(_restored, images, known, operator, spectrum, size)


def observed(
    images: np.ndarray, known: FilterConditions, operator: ObservationOperator, spectrum: Spectrum, size: int
) -> np.ndarray:
    """What the poorer survey would see of images of the richer one, on grids of `size` pixels."""
    return _a_few_at_a_time(_observed, images, known, operator, spectrum, size)


def _a_few_at_a_time(
    function, images: np.ndarray, known: FilterConditions, operator, spectrum, size: int
) -> np.ndarray:
    parts = []
    for start in range(0, len(images), AT_ONCE):
        some = slice(start, start + AT_ONCE)
        flux = _flux(images[some], known.take(some), operator, function is _restored)
        given = torch.from_numpy(np.ascontiguousarray(images[some], np.float32))
        with torch.no_grad():
            parts.append(function(given, known.take(some), operator, spectrum, size, flux).numpy())
    return np.concatenate(parts)


def _flux(images: np.ndarray, known: FilterConditions, operator: ObservationOperator, poorer: bool) -> Tensor:
    """Flux of each object, at least its standard error (galaxy, band, 1, 1)."""
    flux, error = flux_within(images, known.sigma, operator.scales[0 if poorer else 1])
    return torch.from_numpy(np.maximum(flux, error).astype(np.float32))[..., None, None]


def _restored(image: Tensor, known: FilterConditions, operator, spectrum: Spectrum, size: int, flux: Tensor) -> Tensor:
    here, there = operator.scales
    pad = round(PAD / there)
    side = size + 2 * pad
    led = _tensor(known.alignment)
    plain = sample(image, inverse(led), (side, side)) / area(led)
    row, col = torch.fft.fftfreq(side, there)[:, None], torch.fft.rfftfreq(side, there)
    kernel = torch.sinc(here * row) ** 2 * torch.sinc(here * col) ** 2
    shown = (row.abs() <= 0.5 / here) & (col.abs() <= 0.5 / here)
    power = flux**2 * spectrum.at(torch.hypot(row, col))
    noise = _tensor(known.sigma)[..., None, None] ** 2 * (image.shape[-2] * image.shape[-1])
    passed = operator.transfer(_tensor(known.seeing), _tensor(known.richer_seeing), (side, side))
    share = filter_up(passed, power, noise) / kernel.clamp(min=0.1) * shown
    made = torch.fft.irfft2(torch.fft.rfft2(plain) * share, s=(side, side))
    return made[..., pad:-pad, pad:-pad]


def _observed(image: Tensor, known: FilterConditions, operator, spectrum: Spectrum, size: int, flux: Tensor) -> Tensor:
    there = operator.scales[1]
    pad = round(PAD / there)
    padded = F.pad(image, (pad,) * 4, mode="replicate")
    shape = tuple(padded.shape[-2:])
    row, col = torch.fft.fftfreq(shape[0], there)[:, None], torch.fft.rfftfreq(shape[1], there)
    power = flux**2 * spectrum.at(torch.hypot(row, col))
    noise = _tensor(known.sigma)[..., None, None] ** 2 * (image.shape[-2] * image.shape[-1])
    light = torch.fft.irfft2(torch.fft.rfft2(padded) * filter_noise(power, noise), s=shape)[..., pad:-pad, pad:-pad]
    seeing = _tensor(known.seeing), _tensor(known.richer_seeing)
    return operator(light, *seeing, inverse(_tensor(known.alignment)), size)


def filter_up(passed: Tensor, power: Tensor, noise: Tensor) -> Tensor:
    """W = T P / (T² P + N); 0 where there is nothing at all."""
    below = passed**2 * power + noise
    return torch.where(below > 0, passed * power / torch.where(below > 0, below, 1.0), 0.0)


def filter_noise(power: Tensor, noise: Tensor) -> Tensor:
    """P / (P + N); 0 where there is nothing at all."""
    below = power + noise
    return torch.where(below > 0, power / torch.where(below > 0, below, 1.0), 0.0)


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))
