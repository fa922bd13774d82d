"""The Wiener filter: what is possible without learning if the seeing and the noise of both surveys are known.

It is the linear filter whose result is nearest to the light on average, for a given mean power spectrum of the light
and of the noise (Wiener 1949). In Fourier space, the light of an object in the richer survey has the power P(k). T(k)
is the transfer function of an `ObservationOperator` that is not fitted. N(k) is the power of the noise of the input.

Into the richer survey, W = T P / (T² P + N). Into the poorer one, W = T P / (P + N): the filter P / (P + N) finds the
light in the richer image, and T observes it. P is the squared flux of the object times a spectrum that is measured on
training images.

Images are (galaxy, band, row, col) [nanomaggy/pixel].
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

CERTAIN = 10.0  # least flux of galaxies whose spectrum is used [standard errors]
KOLMOGOROV = (
    2.15  # a and b of an `ObservationOperator` for exp(-3.44 (λ k / r0)^(5/3)), of FWHM 0.976 λ / r0 (Fried 1966)
)
SMOOTH = 3  # rings over which a spectrum is averaged
AT_ONCE = 32  # galaxies in memory


@dataclass(frozen=True)
class Spectrum:
    """Mean power of galaxies in images of a survey, for a flux of 1 as of `flux_within`, without noise.

    Attributes
    ----------
    frequency : array
        Frequencies (ring,) [1/arcsec], from 0 on.
    power : array
        Power (band, ring).
    """

    frequency: np.ndarray
    power: np.ndarray

    def at(self, k: Tensor) -> Tensor:
        """Return the power (band, …) at frequencies (…); beyond the last ring it is that of the last ring."""
        found = [np.interp(k.numpy(), self.frequency, band) for band in self.power]
        return torch.from_numpy(np.stack(found).astype(np.float32))


@dataclass(frozen=True)
class FilterConditions:
    """What a Wiener filter knows of images and of their results.

    Attributes
    ----------
    alignment : array
        Alignment from the grids of the images to the grids of the results (galaxy, 2, 3), as in
        `networks.observation_operator`.
    seeing : array
        FWHM of stars in the image of the poorer survey (galaxy, band) [arcsec].
    richer_seeing : array
        The same in the image of the richer survey.
    sigma : array
        Noise of a blank pixel of the input (galaxy, band) [nanomaggy/pixel].
    """

    alignment: np.ndarray
    seeing: np.ndarray
    richer_seeing: np.ndarray
    sigma: np.ndarray

    def take(self, some: slice) -> "FilterConditions":
        """Return the conditions of some galaxies."""
        return FilterConditions(self.alignment[some], self.seeing[some], self.richer_seeing[some], self.sigma[some])


def by_seeing(operator: ObservationOperator) -> ObservationOperator:
    """Give an operator Kolmogorov's spectrum for the seeing of both surveys, in place, and return it."""
    with torch.no_grad():
        operator.poorer.fill_(KOLMOGOROV)
        operator.richer.fill_(KOLMOGOROV)
    return operator


def learn_spectrum(images: np.ndarray, sigma: np.ndarray, pixel_scale: float) -> Spectrum:
    """Return the mean spectrum of galaxies in the middle of images, in rings one frequency step wide.

    Galaxies with a certain flux are used, or else all. The power of the noise is subtracted; negative power becomes 0.

    Parameters
    ----------
    images : array
        Images (galaxy, band, row, col) without gaps.
    sigma : array
        Noise of a blank pixel (galaxy, band).
    pixel_scale : float
        Side of a pixel [arcsec].
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
    """Return the light of the richer survey from images of the poorer one, on grids of `size` pixels.

    Images are interpolated onto the new grid first. The loss by interpolation is corrected up to the highest frequency
    that the pixels of the input can show; beyond it the result is 0.
    """
    return _a_few_at_a_time(_restored, images, known, operator, spectrum, size)


def observed(
    images: np.ndarray, known: FilterConditions, operator: ObservationOperator, spectrum: Spectrum, size: int
) -> np.ndarray:
    """Return images of the richer survey as the poorer survey would observe them, on grids of `size` pixels."""
    return _a_few_at_a_time(_observed, images, known, operator, spectrum, size)


def _a_few_at_a_time(
    function, images: np.ndarray, known: FilterConditions, operator, spectrum, size: int
) -> np.ndarray:
    """Apply a function to `AT_ONCE` galaxies at a time."""
    parts = []
    for start in range(0, len(images), AT_ONCE):
        some = slice(start, start + AT_ONCE)
        flux = _flux(images[some], known.take(some), operator, function is _restored)
        given = torch.from_numpy(np.ascontiguousarray(images[some], np.float32))
        with torch.no_grad():
            parts.append(function(given, known.take(some), operator, spectrum, size, flux).numpy())
    return np.concatenate(parts)


def _flux(images: np.ndarray, known: FilterConditions, operator: ObservationOperator, poorer: bool) -> Tensor:
    """Return the flux of each object (galaxy, band, 1, 1), at least its standard error."""
    flux, error = flux_within(images, known.sigma, operator.scales[0 if poorer else 1])
    return torch.from_numpy(np.maximum(flux, error).astype(np.float32))[..., None, None]


def _restored(image: Tensor, known: FilterConditions, operator, spectrum: Spectrum, size: int, flux: Tensor) -> Tensor:
    """Return `restored` of a few galaxies."""
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
    """Return `observed` of a few galaxies."""
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
    """Return W = T P / (T² P + N); 0 where both are 0."""
    below = passed**2 * power + noise
    return torch.where(below > 0, passed * power / torch.where(below > 0, below, 1.0), 0.0)


def filter_noise(power: Tensor, noise: Tensor) -> Tensor:
    """Return P / (P + N); 0 where both are 0."""
    below = power + noise
    return torch.where(below > 0, power / torch.where(below > 0, below, 1.0), 0.0)


def _tensor(values: np.ndarray) -> Tensor:
    """Return an array as float32 tensor."""
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))
