"""The scatter of flux that draws do not show by themselves is found from pairs, and makes their intervals hold."""

import numpy as np
import pytest

from translator.metrics.spread import held
from translator.training.flux_scatter import LARGEST, scatter

LIGHT = np.array([40.0, 90.0, 60.0])


def sky(random, pairs, relative, noise):
    """Fluxes of real images (pair, band) whose light is off by `relative` of it, and draws that have noise alone."""
    light = LIGHT * random.uniform(0.5, 2, (pairs, 1))
    common = relative * random.normal(size=(pairs, 1))
    flux = light * np.exp(common) + noise * random.normal(size=light.shape)
    draws = light + noise * random.normal(size=(6, *light.shape))
    return flux, draws, light


@pytest.mark.parametrize("relative", [0.0, 0.02, 0.08])
def test_the_scatter_of_pairs_is_found(relative):
    flux, draws, _ = sky(np.random.default_rng(1), 3000, relative, 0.6)
    found = scatter(flux, draws)
    widths = np.sqrt(np.diag(found @ found.T))
    np.testing.assert_allclose(widths, relative, rtol=0.1, atol=0.004)
    if relative:
        correlation = (found @ found.T) / np.outer(widths, widths)
        assert correlation.min() > 0.7


def test_draws_with_the_scatter_hold_what_they_state():
    random = np.random.default_rng(2)
    flux, draws, light = sky(random, 2000, 0.03, 0.5)
    assert held(flux, draws, 0.68).mean() < 0.55
    found = scatter(flux, draws)
    wider = draws + light * (np.exp(random.normal(size=draws.shape) @ found.T) - 1)
    assert held(flux, wider, 0.68).mean() == pytest.approx(0.68, abs=0.05)


def test_what_is_not_known_is_left_out():
    flux, draws, _ = sky(np.random.default_rng(3), 400, 0.05, 0.5)
    flux[::3, 0], draws[1, 5, 2] = np.nan, np.nan
    flux[:, 1] = np.nan
    found = scatter(flux, draws)
    assert np.isfinite(found).all()
    assert found[1].tolist() == [0.0, 0.0, 0.0]
    assert found[0, 0] == pytest.approx(0.05, rel=0.25)


def test_no_more_is_believed_than_can_be():
    flux, draws, _ = sky(np.random.default_rng(4), 200, 0.0, 0.5)
    assert np.sqrt(np.diag(scatter(5 * flux, draws) @ scatter(5 * flux, draws).T)) == pytest.approx(LARGEST)
