"""A survey's usual conditions, noise and colours, measured on its images before a training.

Nothing here learns: the numbers are buffers, saved with the weights. Images are (B, band, row, col) in nanomaggy/pixel.
"""

import torch
from torch import Generator, Tensor, nn

from translator.networks.layers import Grid

LAGS = 6  # largest distance over which noise is correlated [pixel]


class MeasuredSurvey(nn.Module):
    """A survey as its training images show it.

    Attributes
    ----------
    psf_fwhm : Tensor
        Usual (median) full width at half maximum of stars (band,) [arcsec].
    sky_sigma : Tensor
        Usual standard deviation of a pixel of blank sky (band,) [nanomaggy/pixel], as stores state it.
    sigma_ratio : Tensor
        Measured noise of blank sky over the `sky_sigma` that stores state (band,).
    log_sigma : Tensor
        Mean logarithm of the noise of blank sky (band,).
    spread : Tensor
        Lower triangle (band, band), whose square is the covariance of these logarithms between objects.
    gain : Tensor
        Usual gain (band,) [electron/nanomaggy]; infinite if no photon noise was found.
    correlation : Tensor
        Correlation of the noise of blank sky (band, 2 LAGS + 1, 2 LAGS + 1) by row and column lag, 1 in the middle.
    moments : Tensor
        Mean products of the bands' fluxes (band, band) in the galaxies, in units of the noise.
    flux_scatter : Tensor
        Lower triangle (band, band), whose square is the covariance of the errors that translations into this survey
        make in a galaxy's light, as natural logarithms, beyond noise and draws; 0 until it is measured.
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
        """Return the values `stated` (B, band), with the survey's usual value of that name wherever they are NaN."""
        return torch.where(torch.isfinite(stated) & (stated > 0), stated, getattr(self, name).to(stated))

    def draw_sigma(self, count: int, random: Generator) -> Tensor:
        """Return the noise of blank sky (count, band) of random objects; all bands of an object are drawn together."""
        normal = torch.randn(count, len(self.log_sigma), generator=random, device=self.log_sigma.device)
        return torch.exp(self.log_sigma + normal @ self.spread.mT)

    def noise(self, signal: Tensor, sigma: Tensor, gain: Tensor, white: Tensor) -> Tensor:
        """Return noise (B, band, row, col) for images without noise.

        Its variance is that of blank sky and of the signal's own photons, sigma² + signal / gain; its correlation is
        that of the survey's blank sky.

        Parameters
        ----------
        signal : Tensor
            Images without noise (B, band, row, col) [nanomaggy/pixel].
        sigma : Tensor
            Standard deviation of a pixel of blank sky (B, band) [nanomaggy/pixel].
        gain : Tensor
            (B, band) [electron/nanomaggy], without NaN.
        white : Tensor
            Normal numbers of the signal's shape.
        """
        with torch.autocast(signal.device.type, enabled=False):
            variance = sigma[..., None, None] ** 2 + signal.clamp(min=0) / gain[..., None, None]
            return self.correlated(white) * variance.sqrt()

    def correlated(self, white: Tensor, bands: slice = slice(None)) -> Tensor:
        """Return normal numbers (B, band, row, col) with variance 1 and the correlation of the noise of some bands."""
        shape = tuple(white.shape[-2:])
        return torch.fft.irfft2(torch.fft.rfft2(white) * self.power(shape, bands).sqrt(), s=shape)

    def power(self, shape: tuple[int, int], bands: slice = slice(None)) -> Tensor:
        """Return the power spectrum of noise of variance 1 (band, frequency of the half plane), whose mean is 1."""
        correlation = self.correlation[bands]
        kernel = torch.zeros(len(correlation), *shape, device=correlation.device)
        lags = torch.arange(-LAGS, LAGS + 1, device=kernel.device)
        kernel[:, (lags % shape[0])[:, None], lags % shape[1]] = correlation
        half = torch.fft.rfft2(kernel).real.clamp(min=0)
        twice = torch.full(
            (half.shape[-1],), 2.0, device=half.device
        )  # these frequencies stand for two of the whole plane
        twice[0] = 1.0
        if shape[1] % 2 == 0:
            twice[-1] = 1.0
        return half / ((half * twice).sum((-2, -1), keepdim=True) / (shape[0] * shape[1]))

    def mixing(self, colour: Tensor, bands: Tensor) -> Tensor:
        """Return a colour matrix (B, band, band) for images that lack some bands.

        A missing band is replaced by the combination of the others that predicts it best in the survey's own galaxies.

        Parameters
        ----------
        colour : Tensor
            Matrix (band, band) for images that have all bands.
        bands : Tensor
            Whether each image has each band (B, band), bool.
        """
        there = bands.to(self.moments)
        both = there[:, :, None] * there[:, None]
        known = self.moments * both + torch.diag_embed(1 - there)
        cross = self.moments * (1 - there)[:, :, None] * there[:, None]
        predicted = torch.diag_embed(there) + cross @ torch.linalg.inv(known)
        return (colour @ predicted) * both
