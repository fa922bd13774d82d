import numpy as np
import torch
from numpy.testing import assert_allclose

from translator.fitted_operator import fit_operator, usual_seeing
from translator.observing import leads_down


def test_it_leads_into_the_poorer_survey_and_learns_from_pairs(tiny):
    stores, pairs = {"x": tiny.x, "y": tiny.y}, np.column_stack([np.arange(6, 11), np.arange(5)])
    begun, fitted = fit_operator(stores, pairs[:0], "y"), fit_operator(stores, pairs, "y")
    assert leads_down(fitted, "x")
    assert not leads_down(fitted, "y")
    assert not torch.equal(begun["operator_x"].colour, fitted["operator_x"].colour)
    again = fit_operator(stores, pairs, "y")
    assert torch.equal(again["operator_x"].colour, fitted["operator_x"].colour)


def test_the_usual_seeing_of_a_band_that_has_none_is_that_of_the_others(tiny, monkeypatch):
    widths = np.array([[1.0, np.nan], [1.2, np.nan], [1.4, np.nan]])
    monkeypatch.setattr(type(tiny.x), "column", lambda store, name: widths)
    assert_allclose(usual_seeing(tiny.x), [1.2, 1.2])
