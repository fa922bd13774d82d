"""One iteration of a training: the turns of a step, each an update of the networks that it moves."""

import math
from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn
from torch.optim import Optimizer

from translator.images import WHOLE, Batch, Images, Share
from translator.recipes import Step, Term, Turn
from translator.runs.device import autocast, computing
from translator.training.ranks import average

DECAY = 5.0  # the learning rate is divided by this every `Step.decay_every` iterations


@dataclass(frozen=True)
class Model:
    """A model under training.

    Attributes
    ----------
    networks : ModuleDict
        Networks by role and domain ("generator_y").
    random : Generator
        The source of noise, on the networks' device; the same in all processes that train together.
    share : Share
        This process's share of a batch.
    precision : str
        Precision of convolutions, a row of `device.PRECISIONS`.
    """

    networks: nn.ModuleDict
    random: Generator
    share: Share = WHOLE
    precision: str = "float32"


def iterate(model: Model, step: Step, index: int, optimizers: list[Optimizer], batch: Batch) -> dict[str, float]:
    """Play the turns of iteration `index` of a step, in order; return all losses by name."""
    losses: dict[str, float] = {}
    images = Images(model.networks, batch, model.random, model.share)
    for number, (turn, optimizer) in enumerate(zip(step.turns, optimizers, strict=True)):
        rate = turn.learning_rate * slowed(step, index)
        for group in optimizer.param_groups:
            group["lr"] = rate
        later = {name for after in step.turns[number + 1 :] for name in after.moves} - {*turn.moves}
        losses |= update(images, turn, optimizer, model.precision, later)
        images = images.following(turn.moves)
    return losses


def slowed(step: Step, index: int) -> float:
    """Return the factor by which the learning rates of a step are multiplied in its iteration `index`."""
    if step.decay_every is None:
        return (1 + math.cos(math.pi * index / step.iterations)) / 2
    return DECAY ** -(index // step.decay_every)


def update(
    images: Images, turn: Turn, optimizer: Optimizer, precision: str = "float32", later: Collection[str] = ()
) -> dict[str, float]:
    """Move the networks of one turn by one step of its optimiser, with their gradients clipped to the turn's norm.

    Parameters
    ----------
    images : Images
        New images, or those that the turn before has handed on.
    turn : Turn
        Which networks move, under which losses.
    optimizer : Optimizer
        The optimiser of these networks.
    precision : str
        As in `Model`.
    later : collection of str
        Networks that move later in the same iteration.

    Returns
    -------
    dict
        The losses by name.

    Raises
    ------
    FloatingPointError
        If a loss or the gradient is not finite; nothing has moved then.
    """
    optimizer.zero_grad()
    values = differentiate(images, turn, precision, later)
    gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    average([*gradients, *values.values()], images.share)
    norm = nn.utils.get_total_norm(gradients)
    *numbers, length = torch.stack([*values.values(), norm]).tolist()  # this waits for a GPU, once a turn
    losses = dict(zip(values, numbers, strict=True))
    for name, value in (losses | {f"the gradient of {', '.join(losses)}": length}).items():
        if not math.isfinite(value):
            raise FloatingPointError(f"{name} is {value}")
    if length > turn.largest_norm:
        torch._foreach_mul_(gradients, turn.largest_norm / length)
    optimizer.step()
    return losses


def differentiate(
    images: Images, turn: Turn, precision: str = "float32", later: Collection[str] = ()
) -> dict[str, Tensor]:
    """Add the gradients of a turn's losses to those of the networks that it moves; arguments as of `update`.

    Returns
    -------
    dict
        The losses by name, each a tensor without dimensions and without a graph.
    """
    images.train(turn.moves, later)
    with computing(precision):
        values = {term.name: _differentiate(term, images, precision) for term in turn.terms}
        images.backward(whole=True)
    return values


def _differentiate(term: Term, images: Images, precision: str) -> Tensor:
    """Return the value of a loss, and add its weighted gradient to those of networks and images."""
    with autocast(precision, images.real(term.domain).device):
        loss = term.loss(images, term.domain)
    if not isinstance(loss, Tensor) or loss.ndim:
        kind = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else f"a {type(loss).__name__}"
        raise TypeError(f"a loss is a tensor without dimensions, and {term.name} returns {kind}")
    if loss.requires_grad:
        (term.weight * loss).backward()
        images.backward(whole=False)
    return loss.detach()
