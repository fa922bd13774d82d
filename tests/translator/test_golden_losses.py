"""All ten methods agree with the authors' own at the first iteration: loss terms, gradients, logits and codes."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from translator.weights.transfer import variable_name

pytestmark = pytest.mark.usefixtures("authors_slope")
METHODS = range(1, 11)
QUICK = 9  # the method whose float64 takes seconds; that of the others takes up to half a minute and is `long`
PRECISIONS = {"float64": 1e-6, "float32": 1e-4}


@pytest.mark.parametrize(
    ("method", "precision", "tolerance"),
    [
        pytest.param(m, precision, t, marks=[pytest.mark.long] if precision == "float64" and m != QUICK else [])
        for m in METHODS
        for precision, t in PRECISIONS.items()
    ],
)
def test_first_iteration_is_the_authors(method, precision, tolerance, golden):
    values = np.load(golden.GOLDEN)
    step, networks, images, groups = golden.begin(method, getattr(torch, precision))
    expected = golden.losses(method, 0)
    for turn, group in zip(step.turns, groups, strict=True):
        for name, network in networks.items():
            network.requires_grad_(name in turn.moves)
        made = images()
        losses = {term.name: term.loss(made, term.domain) for term in turn.terms}
        for name, loss in losses.items():
            assert_allclose(loss.item(), sum(expected[one] for one in golden.authors_terms(name)), tolerance)
        whole = sum(term.weight * losses[term.name] for term in turn.terms)
        assert_allclose(whole.item(), expected[{"D": "D_adv", "G_noise": "G_adv"}.get(group, group)], tolerance)
        parameters = {
            variable_name(name, parameter): tensor
            for name in turn.moves
            for parameter, tensor in networks[name].named_parameters()
        }
        gradients = torch.autograd.grad(whole, list(parameters.values()))
        norms = dict(zip(parameters, (float(gradient.double().norm()) for gradient in gradients), strict=True))
        norm = np.sqrt(sum(one**2 for one in norms.values()))
        assert_allclose(norm, values[f"method/{method}/gradient_norm/{group}"], tolerance)
        names = [str(name) for name in values[f"method/{method}/gradient_variables/{group}"]]
        assert set(names) == set(parameters)
        each = values[f"method/{method}/gradient_norm_per_variable/{group}"]
        assert_allclose([norms[name] for name in names], each, rtol=0, atol=tolerance * norm)


@pytest.mark.parametrize("method", [1, *range(6, 11)])  # 3, 4 and 5 have the images and networks of 6
def test_logits_and_codes_are_the_authors(method, golden):
    values = np.load(golden.GOLDEN)
    _, _, images, _ = golden.begin(method)
    with torch.no_grad():
        ours = golden.logits(method, images()) | (golden.latent_outputs(images()) if method == 10 else {})
    for name, output in ours.items():
        expected = golden.as_ours(values[f"method/{method}/output/{name}"])
        assert np.abs(output.numpy() - expected).max() < 1e-6 * np.abs(expected).max()
