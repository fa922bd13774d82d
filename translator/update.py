"""One iteration of a training: the turns of a step, each one update of the networks that it moves."""

import math
from dataclasses import dataclass

import torch
from torch import Generator, nn
from torch.optim import Optimizer

from translator.images import Batch, Images
from translator.ranks import average
from translator.recipes import Step, Turn
from translator.share import WHOLE, Share

LARGEST_NORM = 5.0  # of all gradients of a turn together
DECAY = 5.0  # the learning rate is divided by this every `Step.decay_every` iterations


@dataclass(frozen=True)
class Model:
    """A model under training.

    Attributes:
        networks: By role and domain ("generator_y").
        random: Where noise is drawn from; on the networks' device, and alike in all processes that train together.
        share: This process's.
    """

    networks: nn.ModuleDict
    random: Generator
    share: Share = WHOLE


def iterate(model: Model, step: Step, index: int, optimizers: list[Optimizer], batch: Batch) -> dict[str, float]:
    """Play the turns of iteration `index` of a step, in order; returns all losses by name."""
    losses: dict[str, float] = {}
    for turn, optimizer in zip(step.turns, optimizers, strict=True):
        rate = turn.learning_rate / DECAY ** (index // step.decay_every)
        for group in optimizer.param_groups:
            group["lr"] = rate
        losses |= update(Images(model.networks, batch, model.random, model.share), turn, optimizer)
    return losses


def update(images: Images, turn: Turn, optimizer: Optimizer) -> dict[str, float]:
    """Move the networks of one turn by one step of its optimiser, their gradients together clipped to a norm of 5.

    Raises:
        FloatingPointError: Where a loss or the gradient is not finite; nothing has moved.
    """
    for name, network in images.networks.items():
        network.requires_grad_(name in turn.moves)
    values = {term.name: term.loss(images, term.domain) for term in turn.terms}
    optimizer.zero_grad()
    sum(term.weight * values[term.name] for term in turn.terms).backward()
    gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    average([*gradients, *values.values()], images.share)
    norm = nn.utils.get_total_norm(gradients)
    losses = {name: value.item() for name, value in values.items()}
    for name, value in (losses | {f"the gradient of {', '.join(losses)}": norm.item()}).items():
        if not math.isfinite(value):
            raise FloatingPointError(f"{name} is {value}")
    torch._foreach_mul_(gradients, (LARGEST_NORM / norm).clamp(max=1))
    optimizer.step()
    return losses
