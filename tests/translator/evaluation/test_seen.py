import numpy as np
import torch

from translator.evaluation.seen import fit_operator
from translator.observing import leads_down


def test_it_leads_into_the_poorer_survey_and_learns_from_pairs(tiny):
    stores, pairs = {"x": tiny.x, "y": tiny.y}, np.column_stack([np.arange(6, 11), np.arange(5)])
    begun, fitted = fit_operator(stores, pairs[:0], "y"), fit_operator(stores, pairs, "y")
    assert leads_down(fitted, "x")
    assert not leads_down(fitted, "y")
    assert not torch.equal(begun["operator_x"].colour, fitted["operator_x"].colour)
    again = fit_operator(stores, pairs, "y")
    assert torch.equal(again["operator_x"].colour, fitted["operator_x"].colour)
