"""What was measured of a survey's images before a training: its usual conditions, its noise, and its colours.

Nothing here learns: the numbers are buffers, saved with the weights. Images are (B, band, row, col) in nanomaggy/pixel.
"""

import torch
from torch import Generator, Tensor, nn

from translator.networks.layers import Grid

LAGS = 6  # pixels to which noise is correlated


class MeasuredSurvey(nn.Module):
    """A survey as its training images show it.

    Attributes:
        psf_fwhm: Usual (median) full width at half maximum of stars (band,) [arcsec].
        sky_sigma: Usual standard deviation of a pixel of blank sky (band,) [nanomaggy/pixel].
        sigma_ratio: By which the noise of blank sky differs from what stores state as `sky_sigma` (band,).
        log_sigma: Mean logarithm of the noise of blank sky (band,).
        spread: Lower triangle (band, band), whose square is the covariance of these logarithms between objects.
        gain: Usual gain (band,) [electron/nanomaggy]; infinite where no photon noise was found.
        correlation: Of the noise of blank sky (band, 2 LAGS + 1, 2 LAGS + 1), by row and column lag, 1 in the middle.
        moments: Mean products of the bands' fluxes (band, band) in the galaxies, in units of the noise.
        flux_scatter: Lower triangle (band, band), whose square is the covariance of what translations into this survey
            get wrong of a galaxy's light, as natural logarithms, beyond noise and draws; 0 until it is measured.
    """

    def __init__(self, here: Grid, there: Grid, width: int = 0) -> None:
        super().__init__()
        bands, side = here.bands, 2 * LAGS + 1
        white = torch.zeros(bands, side, side)
        white[:, LAGS, LAGS] = 1.0
        for name, value in {
            "psf_fwhm": torch.ones(bands),
            "sky_sigma": torch.ones(bands),
            "sigma_ratio": torch.ones(bands),
            "log_sigma": torch.zeros(bands),
            "spread": torch.zeros(bands, bands),
            "gain": torch.full((bands,), torch.inf),
            "correlation": white,
            "moments": torch.eye(bands),
            "flux_scatter": torch.zeros(bands, bands),
        }.items():
            self.register_buffer(name, value)

    def usual(self, name: str, stated: Tensor) -> Tensor:
        """What is stated (B, band), with the survey's usual value where that is not known (NaN)."""
        return torch.where(torch.isfinite(stated) & (stated > 0), stated, getattr(self, name).to(stated))

    def draw_sigma(self, count: int, random: Generator) -> Tensor:
        """Noise of blank sky (B, band) as objects of the survey have it, all bands of an object together."""
        normal = torch.randn(count, len(self.log_sigma), generator=random, device=self.log_sigma.device)
        return torch.exp(self.log_sigma + normal @ self.spread.mT)

    def noise(self, signal: Tensor, sigma: Tensor, gain: Tensor, white: Tensor) -> Tensor:
        """Noise (B, band, row, col) of images without noise.

        Its variance is that of blank sky and of the signal's own photons, sigma² + signal / gain; it is correlated as
        that of the survey's blank sky.

        Args:
            signal: Without noise.
            sigma: Of a pixel of blank sky (B, band) [nanomaggy/pixel].
            gain: (B, band) [electron/nanomaggy], without NaN.
            white: Normal numbers of the signal's shape.
        """
        with torch.autocast(signal.device.type, enabled=False):
            variance = sigma[..., None, None] ** 2 + signal.clamp(min=0) / gain[..., None, None]
            return self.correlated(white) * variance.sqrt()

    def correlated(self, white: Tensor, bands: slice = slice(None)) -> Tensor:
        """Normal numbers (B, band, row, col) of some bands with the correlation of their noise and variance 1."""
        shape = tuple(white.shape[-2:])
        return torch.fft.irfft2(torch.fft.rfft2(white) * self.power(shape, bands).sqrt(), s=shape)

    def power(self, shape: tuple[int, int], bands: slice = slice(None)) -> Tensor:
        """Power of noise of variance 1 (band, frequency of the half plane) in images of `shape`; its mean is 1."""
        correlation = self.correlation[bands]
        kernel = torch.zeros(len(correlation), *shape, device=correlation.device)
        lags = torch.arange(-LAGS, LAGS + 1, device=kernel.device)
        kernel[:, (lags % shape[0])[:, None], lags % shape[1]] = correlation
        half = torch.fft.rfft2(kernel).real.clamp(min=0)
        twice = torch.full((half.shape[-1],), 2.0, device=half.device)  # frequencies that stand for two of the whole
        twice[0] = 1.0
        if shape[1] % 2 == 0:
            twice[-1] = 1.0
        return half / ((half * twice).sum((-2, -1), keepdim=True) / (shape[0] * shape[1]))

    def mixing(self, colour: Tensor, bands: Tensor) -> Tensor:
        """A colour matrix for images of which some bands are missing: (B, band, band).

        A band that is not there is replaced by the combination of the others that predicts it best in the survey's own
        galaxies.

        Args:
            colour: Matrix (band, band) that is right where all bands are there.
            bands: Which of them are there (B, band), bool.
        """
        there = bands.to(self.moments)
        both = there[:, :, None] * there[:, None]
        known = self.moments * both + torch.diag_embed(1 - there)
        cross = self.moments * (1 - there)[:, :, None] * there[:, None]
        predicted = torch.diag_embed(there) + cross @ torch.linalg.inv(known)
        return (colour @ predicted) * both
