"""Measure the scatter of translated fluxes that noise and draws do not explain, when a training ends.

The operator is the same for all galaxies, and draws first learn the spread of single pixels and squares. Either is
wrong by a percent or two in the flux of a whole galaxy. This error is measured on training pairs, as the noise of a
survey is, and drawn with the rest.
"""

import numpy as np
import torch
from scipy.special import ndtri, stdtrit

from survey_tools.store.zarr_store import Store
from translator.data.reading import read_rows
from translator.images import OTHER
from translator.metrics.apertures import aperture_flux
from translator.networks.measured_survey import MeasuredSurvey
from translator.runs.apply import request_like, translate_each
from translator.runs.checkpoint import Run

MOST = 96  # largest number of training pairs that are translated
DRAWS = 5  # translations of each
AT_ONCE = 8  # images that pass the networks together
LEVEL = 0.68  # share of fluxes that an interval of that level shall hold
LARGEST = 0.3  # largest scatter of the flux that is accepted
HALVINGS = 20  # halvings of the range of scatters in the search
CLIPPED = 2.0  # standard errors to which fluxes are clipped in the correlation of the bands


def measure_flux_scatter(run: Run, stores: tuple[Store, Store], pairs: np.ndarray) -> None:
    """Set the `flux_scatter` of each `MeasuredSurvey` of a trained model; other models are left as they are.

    Parameters
    ----------
    run : Run
        The model, after its last iteration.
    stores : tuple of Store
        The stores x and y.
    pairs : array of int
        Rows of both that train (pair, 2).
    """
    some = pairs[np.unique(np.linspace(0, len(pairs) - 1, min(len(pairs), MOST)).astype(int))]
    rows = {domain: some[:, number] for number, domain in enumerate(OTHER)}
    named = dict(zip(OTHER, stores, strict=True))
    for domain in OTHER:
        survey = dict(run.networks.items()).get(f"survey_{domain}")
        if isinstance(survey, MeasuredSurvey):
            survey.flux_scatter.zero_()
            found = scatter(*_fluxes(run, named, rows, domain))
            survey.flux_scatter.copy_(torch.from_numpy(found.astype(np.float32)))


def _fluxes(
    run: Run, stores: dict[str, Store], rows: dict[str, np.ndarray], domain: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return fluxes of the real images (pair, band) and of draws (draw, pair, band) into a domain [nanomaggy]."""
    store = stores[domain]
    source = read_rows(stores[OTHER[domain]], rows[OTHER[domain]])
    target = read_rows(store, rows[domain])
    request = request_like(stores, rows, domain, target)

    def drawn(draw: int) -> np.ndarray:
        seeds = [draw * len(source) + number for number in range(len(source))]
        made = translate_each(
            run, source, domain, seeds, noise=True, draw=True, request=request, at_once=AT_ONCE
        )  # fmt: skip
        return aperture_flux(made, store.pixel_scale)

    return aperture_flux(target, store.pixel_scale), np.stack([drawn(draw) for draw in range(DRAWS)])


def scatter(flux: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Return the lower triangle (band, band) of the relative scatter that makes draws as wide as their errors.

    In each band it is the smallest scatter that puts `LEVEL` of the real fluxes within the interval of that level. The
    square of the interval is the sum of that of the draws alone, as of `metrics.spread`, and that of the scatter. Bands
    are correlated as their errors are.

    Parameters
    ----------
    flux : array
        Fluxes of the real images (pair, band); NaN if there is none.
    draws : array
        Fluxes of translations with noise (draw, pair, band).
    """
    count, bands = len(draws), flux.shape[1]
    both_sides = (1 + LEVEL) / 2
    middle, variance = draws.mean(axis=0), draws.var(axis=0, ddof=1)
    own = variance * (1 + 1 / count) * (stdtrit(count - 1, both_sides) / ndtri(both_sides)) ** 2
    there = np.isfinite(flux - middle)
    error = np.where(there, flux - middle, 0.0)
    found, standard = np.zeros(bands), np.zeros(flux.shape)
    for band in np.flatnonzero(there.sum(axis=0) > 1):
        some = there[:, band]
        off, light = error[some, band], middle[some, band]
        found[band] = _least(off, light, own[some, band], ndtri(both_sides))
        standard[some, band] = off / np.sqrt(variance[some, band] + (found[band] * light) ** 2)
    standard = np.clip(standard, -CLIPPED, CLIPPED)
    power = np.sqrt((standard**2).mean(axis=0))
    unit = standard / np.where(power > 0, power, 1.0)
    correlation = unit.T @ unit / max(len(unit), 1)
    np.fill_diagonal(correlation, 1.0)
    return np.diag(found) @ np.linalg.cholesky(correlation + 1e-6 * np.eye(bands))


def _least(off: np.ndarray, light: np.ndarray, own: np.ndarray, reach: float) -> float:
    """Return the smallest relative scatter with which the intervals hold `LEVEL` of the errors `off`.

    Parameters
    ----------
    off : array
        Errors of the flux (pair,).
    light : array
        The flux itself (pair,).
    own : array
        Variance (pair,) of which `reach` makes the draws' own interval.
    reach : float
        Standard errors within which an interval of `LEVEL` lies.
    """
    low, high = 0.0, LARGEST

    def holds(relative: float) -> bool:
        return (np.abs(off) <= reach * np.sqrt(own + (relative * light) ** 2)).mean() >= LEVEL

    if holds(low):
        return low
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
