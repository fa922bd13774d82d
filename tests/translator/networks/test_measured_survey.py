import numpy as np
import torch
from numpy.testing import assert_allclose

from translator.networks.layers import Grid
from translator.networks.measured_survey import LAGS, MeasuredSurvey

GRID = Grid(2, 64, (), 0.4)


def survey():
    made = MeasuredSurvey(GRID, GRID)
    kernel = torch.tensor([0.1, 0.2, 1.0, 0.2, 0.1])
    line = torch.nn.functional.conv1d(kernel[None, None], kernel[None, None], padding=4)[0, 0]
    line = line / line.max()
    made.correlation.zero_()
    made.correlation[:, LAGS - 4 : LAGS + 5, LAGS - 4 : LAGS + 5] = torch.outer(line, line)
    return made, line


def test_noise_has_the_variance_and_the_correlation_that_were_measured():
    made, line = survey()
    white = torch.randn(40, 2, 128, 128, generator=torch.Generator().manual_seed(0))
    sigma, gain = torch.tensor([[0.5, 2.0]]).repeat(40, 1), torch.full((40, 2), torch.inf)
    noise = made.noise(torch.zeros_like(white), sigma, gain, white)
    assert_allclose(noise.std(dim=(0, 2, 3)), [0.5, 2.0], rtol=0.01)
    for lag in (1, 2, 4, 6):
        found = (noise[:, 0, :, lag:] * noise[:, 0, :, :-lag]).mean() / noise[:, 0].var()
        assert_allclose(float(found), float(line[4 + lag]) if lag <= 4 else 0.0, atol=0.01)


def test_photons_add_their_noise_where_light_is():
    made = MeasuredSurvey(GRID, GRID)
    signal = torch.zeros(60, 2, 32, 32)
    signal[:, :, :, 16:] = 8.0
    white = torch.randn(signal.shape, generator=torch.Generator().manual_seed(0))
    noise = made.noise(signal, torch.full((60, 2), 0.1), torch.full((60, 2), 4.0), white)
    assert_allclose(float(noise[..., :16].std()), 0.1, rtol=0.02)
    assert_allclose(float(noise[..., 16:].std()), np.sqrt(0.01 + 8 / 4), rtol=0.02)


def test_amplitudes_are_those_of_objects_all_bands_together():
    made = MeasuredSurvey(GRID, GRID)
    made.log_sigma.copy_(torch.tensor([0.0, 1.0]))
    covariance = np.array([[0.04, 0.03], [0.03, 0.09]])
    made.spread.copy_(torch.tensor(np.linalg.cholesky(covariance)))
    logs = torch.log(made.draw_sigma(20_000, torch.Generator().manual_seed(0))).numpy()
    assert_allclose(logs.mean(axis=0), [0, 1], atol=0.01)
    assert_allclose(np.cov(logs.T), covariance, atol=0.003)


def test_what_is_not_known_is_the_usual():
    made = MeasuredSurvey(GRID, GRID)
    made.psf_fwhm.copy_(torch.tensor([1.2, 1.4]))
    assert_allclose(
        made.usual("psf_fwhm", torch.tensor([[torch.nan, 2.0], [0.0, torch.nan]])), [[1.2, 2.0], [1.2, 1.4]]
    )


def test_a_missing_band_is_predicted_by_the_others():
    made = MeasuredSurvey(GRID, GRID)
    made.moments.copy_(torch.tensor([[1.0, 2.0], [2.0, 4.0 + 1e-6]]))  # the second band is twice the first
    colour = torch.tensor([[1.0, 0.1], [0.0, 1.0]])
    both, first = torch.tensor([[True, True]]), torch.tensor([[True, False]])
    assert_allclose(made.mixing(colour, both)[0], colour, atol=1e-6)
    assert_allclose(made.mixing(colour, first)[0], [[1.2, 0.0], [0.0, 0.0]], atol=1e-4)
