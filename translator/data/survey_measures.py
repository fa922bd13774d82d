"""Measure two surveys on the images that a training will see: their usual conditions, noise and colours."""

import warnings

import numpy as np
import torch
from scipy.ndimage import convolve, gaussian_filter
from torch import nn

from survey_tools.store.zarr_store import Store
from translator.data.conditions import medians, usual_seeing
from translator.data.reading import read_rows
from translator.data.selection import Selection
from translator.images import OTHER
from translator.metrics.apertures import aperture_flux, aperture_pixels
from translator.metrics.autocorrelation import autocorrelation
from translator.metrics.blank import blank
from translator.metrics.measure import Sample
from translator.metrics.robust import NORMAL, middle_and_sigma
from translator.networks.measured_survey import LAGS, MeasuredSurvey

MOST = 400  # largest number of images that are measured
APERTURE = 3.0  # radius within which a galaxy's flux is measured [arcsec]
CURVATURE = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]]) / 6  # of a pixel; 0 for a plane and for a parabola
BRIGHT = 3.0  # flux, in units of the noise, above which photon noise is measured
BINS = 12  # number of bins of flux
FAR = 5.0, 6.5  # range of distances [pixel] over which covariance is due to light and not to noise
CLIPPED = 4.0  # standard deviations to which pixels are clipped


def measure_surveys(networks: nn.ModuleDict, stores: tuple[Store, Store], selection: Selection) -> None:
    """Set the buffers of each `MeasuredSurvey` of a model from its store; other networks are left as they are.

    The same stores and selection always give the same numbers. Only images that train are read.

    Parameters
    ----------
    networks : ModuleDict
        Networks of the model.
    stores : tuple of Store
        The stores x and y.
    selection : Selection
        Their rows that train.
    """
    for domain, store in zip(OTHER, stores, strict=True):
        survey = dict(networks.items()).get(f"survey_{domain}")
        if isinstance(survey, MeasuredSurvey):
            rows = np.union1d(getattr(selection, domain), selection.pairs[:, "xy".index(domain)])
            rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), MOST)).astype(int))]
            found = measure(read_rows(store, rows), *(store.take(n, rows) for n in COLUMNS), store)
            for name, value in found.items():
                getattr(survey, name).copy_(torch.from_numpy(np.asarray(value, np.float32)))


COLUMNS = ("psf_fwhm", "sky_sigma", "gain")


def measure(
    images: np.ndarray, psf_fwhm: np.ndarray, stated: np.ndarray, gain: np.ndarray, store: Store
) -> dict[str, np.ndarray]:
    """Return the buffers of a `MeasuredSurvey` by name.

    Parameters
    ----------
    images : array
        (galaxy, band, row, col) [nanomaggy/pixel], without gaps.
    psf_fwhm : array
        (galaxy, band) [arcsec], NaN if unknown.
    stated : array
        `sky_sigma` of the store (galaxy, band) [nanomaggy/pixel].
    gain : array
        (galaxy, band) [electron/nanomaggy], NaN if unknown.
    store : Store
        The store of these images.
    """
    sigma, correlation = noise_of(images, stated, store.bands, store.pixel_scale)
    there = np.isfinite(sigma).all(axis=1)
    if not there.any():
        sigma, correlation = np.where(stated > 0, stated, np.nan), np.full((1, *correlation.shape[1:]), np.nan)
        there = np.isfinite(sigma).all(axis=1)
    ratio = np.where(stated > 0, sigma / np.where(stated > 0, stated, 1.0), np.nan)
    logs = np.log(sigma[there])
    usual = np.median(logs, axis=0)
    scatter = NORMAL * np.median(np.abs(logs - usual), axis=0)
    inside = (np.abs(logs - usual) <= 3 * np.maximum(scatter, 1e-3)).all(axis=1)
    found = {
        "sky_sigma": medians(stated),
        "sigma_ratio": np.nan_to_num(medians(ratio), nan=1.0),
        "log_sigma": usual,
        "spread": _triangle(np.atleast_2d(np.cov(logs[inside].T)) if inside.sum() > 1 else 0.0 * np.eye(len(usual))),
        "correlation": _typical(correlation),
        "moments": _moments(images[there], sigma[there], store.pixel_scale),
    }
    found["psf_fwhm"] = np.nan_to_num(usual_seeing(psf_fwhm), nan=1.0)
    known = medians(gain)
    missing = ~np.isfinite(known)
    if missing.any():
        known[missing] = [photon_gain(images[:, band], sigma[:, band]) for band in np.flatnonzero(missing)]
    found["gain"] = known
    return found


def noise_of(
    images: np.ndarray, stated: np.ndarray, bands: tuple[str, ...], pixel_scale: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the noise of blank sky in each image, without the light that sources leave there.

    Light that no mask reaches, such as a galaxy's far wings, is correlated over many pixels, and noise is not. So the
    mean covariance of pixels `FAR` apart is due to light. It is subtracted from all covariances, including the
    variance.

    Parameters
    ----------
    images : array
        (galaxy, band, row, col) [nanomaggy/pixel].
    stated : array
        Noise that the store states (galaxy, band), by which sources are found.
    bands : tuple of str
        Bands in the order of the band axis.
    pixel_scale : float
        [arcsec/pixel].

    Returns
    -------
    sigma : array
        Standard deviation (galaxy, band) [nanomaggy/pixel]; NaN for an image without blank sky.
    correlation : array
        (galaxy, band, 2 LAGS + 1, 2 LAGS + 1) by row and column lag; NaN for an image without blank sky.
    """
    where = blank(Sample(bands, pixel_scale, images, images, images, stated))
    side = 2 * LAGS + 1
    sigma, found = np.full(stated.shape, np.nan), np.full((*stated.shape, side, side), np.nan)
    lags = np.arange(-LAGS, LAGS + 1)
    distance = np.hypot(lags[:, None], lags)
    far = (distance >= FAR[0]) & (distance <= FAR[1])
    shape, wanted = tuple(size + LAGS for size in images.shape[-2:]), np.ix_(lags, lags)
    for galaxy in np.flatnonzero(where.any(axis=(1, 2))):
        mask = where[galaxy]
        count = np.maximum(autocorrelation(mask.astype(float), shape)[wanted], 1)
        middle, width = middle_and_sigma(images[galaxy][:, mask].astype(float))
        for band in np.flatnonzero(width > 0):
            deviation = np.where(mask, images[galaxy, band] - middle[band], 0) / width[band]
            covariance = autocorrelation(np.clip(deviation, -CLIPPED, CLIPPED), shape)[wanted] / count
            light, variance = covariance[far].mean(), covariance[LAGS, LAGS]
            if variance > light:
                found[galaxy, band] = (covariance - light) / (variance - light)
                sigma[galaxy, band] = width[band] * np.sqrt(1 - max(light, 0) / variance)
    return sigma, found


def _typical(correlation: np.ndarray) -> np.ndarray:
    """Return the median over galaxies of correlations (galaxy, band, lag, lag), or white noise if there is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # about a band without blank sky
        median = np.nanmedian(correlation, axis=0)
    white = np.zeros(median.shape)
    white[:, LAGS, LAGS] = 1.0
    return np.where(np.isfinite(median), median, white)


def photon_gain(images: np.ndarray, sigma: np.ndarray) -> float:
    """Return the gain [electron/nanomaggy] of a band, from how noise grows with flux; infinite if it does not.

    The curvature of each pixel among its eight neighbours has a variance of c (sigma² + flux / gain), with the c of
    blank sky, and the galaxies' own structure adds a term that grows with the flux squared. So its robust variance in
    bins of the smoothed flux is fitted by a parabola, whose linear term is c / gain.

    Parameters
    ----------
    images : array
        (galaxy, row, col) [nanomaggy/pixel].
    sigma : array
        Noise of blank sky (galaxy,) [nanomaggy/pixel].
    """
    curvature = np.stack([convolve(image, CURVATURE, mode="nearest") for image in images])
    smooth = np.stack([gaussian_filter(image, 1.5) for image in images])
    relative, variance = smooth / sigma[:, None, None], (curvature / sigma[:, None, None]) ** 2
    dark = np.abs(relative) < 1
    factor = np.median(variance[dark]) if dark.any() else np.nan
    bright = relative > BRIGHT
    if not np.isfinite(factor) or factor <= 0 or bright.sum() < 100 * BINS:
        return np.inf
    flux, excess = relative[bright], variance[bright] / factor
    edges = np.quantile(flux, np.linspace(0, 1, BINS + 1))
    which = np.clip(np.searchsorted(edges, flux, side="right") - 1, 0, BINS - 1)
    middle = np.array([np.median(flux[which == n]) for n in range(BINS)])
    grown = np.array([np.median(excess[which == n]) for n in range(BINS)]) - 1
    terms = np.stack([middle, middle**2], axis=1) / (1 + np.abs(grown))[:, None]
    linear = np.linalg.lstsq(terms, grown / (1 + np.abs(grown)), rcond=None)[0][0]
    return float(1 / (linear * np.median(sigma))) if linear > 0 else np.inf


def flux_within(images: np.ndarray, sigma: np.ndarray, pixel_scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the flux within `APERTURE` of the images' centre and its standard error by blank sky.

    Both are (galaxy, band) [nanomaggy].
    """
    pixels = aperture_pixels(images.shape[-2:], pixel_scale, APERTURE).sum()
    return aperture_flux(images, pixel_scale, APERTURE), sigma * np.sqrt(pixels)


def _moments(images: np.ndarray, sigma: np.ndarray, pixel_scale: float) -> np.ndarray:
    """Return mean products (band, band) of the bands' fluxes within `APERTURE`.

    The fluxes of each galaxy are scaled to norm 1 before.
    """
    flux, error = flux_within(images, sigma, pixel_scale)
    seen = (flux > 3 * error).any(axis=1)
    flux = flux[seen] if seen.any() else flux
    unit = flux / np.linalg.norm(flux, axis=1, keepdims=True)
    return unit.T @ unit / len(unit) + 1e-6 * np.eye(flux.shape[1])


def _triangle(covariance: np.ndarray) -> np.ndarray:
    """Return the lower triangle whose square is a covariance; a band of constant noise may make that singular."""
    return np.linalg.cholesky(covariance + 1e-10 * np.eye(len(covariance)))
