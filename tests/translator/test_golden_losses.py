"""All ten methods agree with the authors' own: loss terms, gradients, logits, and the losses after whole iterations."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from translator.authors_names import variable_name
from translator.networks import layers
from translator.recipes import RECIPES
from translator.training import update

METHODS = range(1, 11)
REPRODUCIBLE = 0.01  # their float32 and float64 runs agree to this in a value, or it is not held against us


@pytest.fixture(autouse=True)
def authors_slope(monkeypatch):
    """TensorFlow keeps the slope of a leaky ReLU as a float32 number, in float64 too."""
    monkeypatch.setattr(layers, "SLOPE", float(np.float32(0.2)))


class AuthorsAdam:
    """Adam as TensorFlow 1 has it: epsilon outside the bias correction, and a clock that optimisers may share."""

    def __init__(self, parameters, clock):
        self.parameters = list(parameters)
        self.moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p in self.parameters]
        self.clock, self.param_groups = clock, [{"params": self.parameters}]

    def zero_grad(self):
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self):
        self.clock.time += 1
        rate = 1e-4 * np.sqrt(1 - 0.999**self.clock.time) / (1 - 0.9**self.clock.time)
        for parameter, (mean, square) in zip(self.parameters, self.moments, strict=True):
            mean.lerp_(parameter.grad, 1 - 0.9)
            square.lerp_(parameter.grad**2, 1 - 0.999)
            parameter -= rate * mean / (square.sqrt() + 1e-8)


def begin(golden, method, dtype=torch.float64):
    """A method's step, networks, and a function that gives the images of the golden batch."""
    row, number, groups = golden.METHODS[method]
    networks = golden.networks(RECIPES[row], dtype)
    return RECIPES[row].steps[number], networks, golden.fixed_images(RECIPES[row], networks, dtype), groups


def theirs(golden, method, iteration, precision=""):
    """The authors' loss terms after so many iterations, by their names."""
    values = np.load(golden.GOLDEN)
    names = [str(name).removeprefix("loss_") for name in values[f"method/{method}/loss_names"]]
    return dict(zip(names, values[f"method/{method}/losses{precision}"][iteration], strict=True))


def terms_of(step):
    return [term for turn in step.turns for term in turn.terms]


@pytest.mark.parametrize(("precision", "tolerance"), [("float64", 1e-6), ("float32", 1e-4)])
@pytest.mark.parametrize("method", METHODS)
def test_first_iteration_is_the_authors(method, precision, tolerance, golden):
    values = np.load(golden.GOLDEN)
    step, networks, images, groups = begin(golden, method, getattr(torch, precision))
    expected = theirs(golden, method, 0)
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
    _, _, images, _ = begin(golden, method)
    with torch.no_grad():
        ours = golden.logits(method, images()) | (golden.latent_outputs(images()) if method == 10 else {})
    for name, output in ours.items():
        expected = golden.as_ours(values[f"method/{method}/output/{name}"])
        assert np.abs(output.numpy() - expected).max() < 1e-6 * np.abs(expected).max()


@pytest.mark.parametrize(
    ("method", "iterations"), [(m, 1) for m in METHODS] + [pytest.param(m, 3, marks=pytest.mark.long) for m in METHODS]
)
def test_losses_after_whole_iterations_are_the_authors(method, iterations, golden):
    """In their order, with the same noise in every update, under their Adam with its epsilon and shared clocks.

    Left out are values that their own float32 and float64 runs do not share: from the second iteration on, those of the
    band discriminators.
    """
    step, networks, images, groups = begin(golden, method)
    clocks = {name: SimpleNamespace(time=0) for name in ("discriminators", "others")}
    optimizers = [
        AuthorsAdam(
            (p for name in turn.moves for p in networks[name].parameters()),
            clocks["discriminators" if group == "D" else "others"],
        )
        for turn, group in zip(step.turns, groups, strict=True)
    ]
    compared = []
    for iteration in range(1, iterations + 1):
        for turn, optimizer in zip(step.turns, optimizers, strict=True):
            update(networks, turn, optimizer, images())
        expected, rough = (theirs(golden, method, iteration, precision) for precision in ("", "_float32"))
        with torch.no_grad():
            made = images()
            for term in terms_of(step):
                one, other = (sum(v[name] for name in golden.authors_terms(term.name)) for v in (expected, rough))
                if abs(other / one - 1) < REPRODUCIBLE:
                    assert_allclose(term.loss(made, term.domain).item(), one, rtol=1e-4)
                    compared.append((iteration, term.name))
    assert {(1, term.name) for term in terms_of(step)} <= set(compared)  # none is left out of the first
    assert len(compared) >= iterations * len(terms_of(step)) / 2
