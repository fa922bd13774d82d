"""The correlation of noise between pixels, and the power spectrum that follows from it."""

import numpy as np
import scipy.fft

from translator.metrics.blank import blank_pixels

LAGS = 6  # largest lag of `noise_correlation` along rows and columns [pixel]
ENOUGH = 64  # galaxies from whose sky the correlation is measured


def autocorrelation(images: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return sums of products of an image's pixels by their lag.

    Parameters
    ----------
    images : array
        Images (…, row, col).
    shape : tuple of int
        Rows and columns that images are padded to with 0, by the largest lag at least.

    Returns
    -------
    array
        Sums (…, row lag, col lag) of `shape`; negative lags come from the end.
    """
    return scipy.fft.irfft2(np.abs(scipy.fft.rfft2(images, shape)) ** 2, shape)


def noise_correlation(images: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Return the mean correlation of blank pixels.

    Parameters
    ----------
    images : array
        Images (galaxy, band, row, col). At most `ENOUGH` galaxies are used, evenly from the first to the last.
    sigma : array
        Noise of a blank pixel (galaxy, band), in the unit of the images.

    Returns
    -------
    array
        Correlation (band, 2 `LAGS` + 1, 2 `LAGS` + 1) by row and column lag, 1 in the middle; that of uncorrelated
        noise for a band without blank pixels.
    """
    shape = tuple(scipy.fft.next_fast_len(side + LAGS, real=True) for side in images.shape[-2:])
    some = np.unique(np.linspace(0, len(images) - 1, min(len(images), ENOUGH)).astype(int))
    found = np.zeros((images.shape[1], 2 * LAGS + 1, 2 * LAGS + 1))
    for band, correlation in enumerate(found):
        product, pairs = np.zeros(shape), np.zeros(shape)
        for image, noise in zip(images[some, band], sigma[some, band], strict=True):
            if not (np.isfinite(noise) and noise > 0):
                continue
            blank = blank_pixels(image / noise)
            if blank.any():
                deviation = np.where(blank, image - image[blank].mean(), 0.0) / noise
                product += autocorrelation(deviation, shape)
                pairs += autocorrelation(blank.astype(float), shape)
        lags = np.ix_(np.arange(-LAGS, LAGS + 1), np.arange(-LAGS, LAGS + 1))
        if product[0, 0] > 0:
            correlation[:] = product[lags] / np.maximum(pairs[lags], 1.0) * (pairs[0, 0] / product[0, 0])
        else:
            correlation[LAGS, LAGS] = 1.0
    return found


def noise_power(correlation: np.ndarray, rows: int, cols: int) -> np.ndarray:
    """Return the power spectrum of noise of unit variance per pixel.

    Parameters
    ----------
    correlation : array
        Correlation (band, 2 `LAGS` + 1, 2 `LAGS` + 1), as `noise_correlation` returns it.
    rows, cols : int
        Size of the images.

    Returns
    -------
    array
        Power (band, rows, cols // 2 + 1), on the half plane of frequencies of `scipy.fft.rfft2`.
    """
    lag = np.arange(-LAGS, LAGS + 1)
    along = np.exp(-2j * np.pi * scipy.fft.fftfreq(rows)[:, None] * lag)
    across = np.exp(-2j * np.pi * scipy.fft.rfftfreq(cols)[:, None] * lag)
    return np.maximum((along @ correlation @ across.T).real, 0.0)
