import numpy as np
import torch
from numpy.testing import assert_allclose, assert_array_equal

from translator.intensity import linear, stretch, unstretch

FLUX = np.concatenate([-np.logspace(5, -12, 300), [0.0], np.logspace(-12, 5, 300)])


def test_is_the_papers_formula():
    assert_allclose(stretch(FLUX), np.sign(FLUX) * (np.sqrt(abs(FLUX) + 1) - 1), rtol=1e-9, atol=1e-15)


def test_known_values():
    assert_array_equal(stretch(np.array([0.0, 3.0, -3.0, 8.0, 99.0])), [0, 1, -1, 2, 9])


def test_round_trip_is_exact_in_numpy_and_torch():
    assert_allclose(unstretch(stretch(FLUX)), FLUX, rtol=1e-12, atol=0)
    tensor = torch.from_numpy(FLUX)
    assert_allclose(unstretch(stretch(tensor)).numpy(), FLUX, rtol=1e-12, atol=0)
    assert_allclose(stretch(tensor).numpy(), stretch(FLUX), rtol=1e-15)


def test_keeps_precision_and_kind_of_float32():
    assert stretch(FLUX.astype(np.float32)).dtype == np.float32
    assert_allclose(unstretch(stretch(torch.from_numpy(FLUX).float())).numpy(), FLUX, rtol=1e-6)


def test_missing_pixels_stay_missing():
    assert np.isnan(unstretch(stretch(np.array([np.nan])))).all()
    assert torch.isnan(unstretch(stretch(torch.tensor([torch.nan])))).all()


def test_linear_is_the_flux_itself():
    assert linear(FLUX) is FLUX
