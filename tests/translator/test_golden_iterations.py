"""All ten methods agree with the authors' own after whole training iterations.

`test_golden_losses` compares losses and gradients of every turn of every method, in their order, before any update.
"""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from translator.training.update import update

pytestmark = pytest.mark.usefixtures("authors_slope")
METHODS = range(1, 11)
ALWAYS = (9, 10)  # quick methods of two turns; the others take half a minute of a core each, and are `long`
REPRODUCIBLE = 0.01  # their float32 and float64 runs agree to this in a value, or it is not held against us


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


def terms_of(step):
    return [term for turn in step.turns for term in turn.terms]


@pytest.mark.parametrize(
    ("method", "iterations"),
    [(m, 1) for m in ALWAYS]
    + [pytest.param(m, 1, marks=pytest.mark.long) for m in METHODS if m not in ALWAYS]
    + [pytest.param(m, 3, marks=pytest.mark.long) for m in METHODS],
)
def test_losses_after_whole_iterations_are_the_authors(method, iterations, golden):
    """In their order, with the same noise in every update, under their Adam with its epsilon and shared clocks.

    Left out are values that their own float32 and float64 runs do not share: from the second iteration on, those of the
    band discriminators.
    """
    step, networks, images, groups = golden.begin(method)
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
            update(images(), turn, optimizer)
        expected, rough = (golden.losses(method, iteration, precision) for precision in ("", "_float32"))
        with torch.no_grad():
            made = images()
            for term in terms_of(step):
                one, other = (sum(v[name] for name in golden.authors_terms(term.name)) for v in (expected, rough))
                if abs(other / one - 1) < REPRODUCIBLE:
                    assert_allclose(term.loss(made, term.domain).item(), one, rtol=1e-4)
                    compared.append((iteration, term.name))
    assert {(1, term.name) for term in terms_of(step)} <= set(compared)  # none is left out of the first
    assert len(compared) >= iterations * len(terms_of(step)) / 2
