"""The training loop, one for all recipes: at each iteration of a step its turns are played in order."""

import math
from contextlib import closing

import torch
from torch import nn
from torch.optim import Optimizer

from survey_tools.errors import RunError
from translator.images import Batch, Images
from translator.interrupts import Interrupts
from translator.recipes import Step, Turn
from translator.session import Session, optimizers_of, save
from translator.watch import Watch

LARGEST_NORM = 5.0  # of all gradients of a turn together
DECAY = 5.0  # the learning rate is divided by this every `Step.decay_every` iterations


def train(session: Session) -> None:
    """Train to the end of the last step, with a progress bar, TensorBoard curves and checkpoints.

    Raises:
        RunError: Where a loss or a gradient is not finite (nothing is saved after the last checkpoint), or the user
            stops it (the state is saved); the message has the command that goes on.
    """
    first = 0
    steps = session.recipe.steps
    with Interrupts() as interrupts, closing(session.batches), closing(Watch(session.path, session.iteration)) as watch:
        for number, step in enumerate(steps):
            done = session.iteration - first
            if done < step.iterations:
                with watch.step(number + 1, len(steps), done, step.iterations):
                    _play(session, number, first, watch, interrupts)
            first += step.iterations


def _play(session: Session, number: int, first: int, watch: Watch, interrupts: Interrupts) -> None:
    """Play the rest of one step, whose first iteration has the number `first` in the run."""
    step = session.recipe.steps[number]
    if session.iteration == first:
        session.optimizers = optimizers_of(step, session.networks)
    for index in range(session.iteration - first, step.iterations):
        batch = next(session.batches)
        try:
            losses = iterate(step, index, session.networks, session.optimizers, batch, session.random)
        except FloatingPointError as error:
            raise RunError(
                f"{error} in iteration {session.iteration}; the last checkpoint is kept: go on from it with "
                f"`{session.command}`, or begin anew with another --seed"
            ) from error
        session.iteration += 1
        watch.show(number + 1, session.iteration, losses)
        last = index + 1 == step.iterations
        if last or interrupts.asked or session.iteration % session.checkpoint_every == 0:
            save(session, number)
            watch.panels(session.networks, batch, len(session.facts.domains["x"].bands) // 2, session.iteration)
        if interrupts.asked:
            total = sum(session.facts.iterations)
            raise RunError(
                f"stopped after iteration {session.iteration} of {total}, saved; go on with `{session.command}`"
            )


def iterate(
    step: Step, index: int, networks: nn.ModuleDict, optimizers: list[Optimizer], batch: Batch, random: torch.Generator
) -> dict[str, float]:
    """Play the turns of iteration `index` of a step, in order; returns all losses by name."""
    losses: dict[str, float] = {}
    for turn, optimizer in zip(step.turns, optimizers, strict=True):
        rate = turn.learning_rate / DECAY ** (index // step.decay_every)
        for group in optimizer.param_groups:
            group["lr"] = rate
        losses |= update(networks, turn, optimizer, Images(networks, batch, random))
    return losses


def update(networks: nn.ModuleDict, turn: Turn, optimizer: Optimizer, images: Images) -> dict[str, float]:
    """Move the networks of one turn by one step of its optimiser, their gradients together clipped to a norm of 5.

    Raises:
        FloatingPointError: Where a loss or the gradient is not finite; nothing has moved.
    """
    for name, network in networks.items():
        network.requires_grad_(name in turn.moves)
    values = {term.name: term.loss(images, term.domain) for term in turn.terms}
    optimizer.zero_grad()
    sum(term.weight * values[term.name] for term in turn.terms).backward()
    gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    norm = nn.utils.get_total_norm(gradients)
    losses = {name: value.item() for name, value in values.items()}
    for name, value in (losses | {f"the gradient of {', '.join(losses)}": norm.item()}).items():
        if not math.isfinite(value):
            raise FloatingPointError(f"{name} is {value}")
    torch._foreach_mul_(gradients, (LARGEST_NORM / norm).clamp(max=1))
    optimizer.step()
    return losses
