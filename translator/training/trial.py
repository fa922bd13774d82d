"""A recipe tried out before its training begins, so that a mistake in its last step shows at once."""

import traceback
from dataclasses import replace
from pathlib import Path

import torch

from survey_tools.errors import RunError, first_line
from translator.images import Batch, Images
from translator.recipes import Step, Term
from translator.training.session import Session, optimizers_of
from translator.training.update import differentiate

TRIED = 2  # images of each kind: with one alone, a mean over the batch could not be told from the image


def try_recipe(session: Session) -> None:
    """Call each loss of a recipe once, with its gradient, on the first images of a training.

    Nothing moves, and nothing is drawn from the training's random numbers.

    Parameters
    ----------
    session : Session
        A training that has not begun, or that is about to go on.

    Raises
    ------
    RunError
        If a loss fails, returns something else than one number, or if a step moves a network that the recipe does not
        have. The message names the recipe, the step and the loss, and the line of code that failed.
    """
    networks, device = session.networks, session.batches.device
    batch = session.batches.batch(session.iteration).first(TRIED)
    buffers = [buffer.clone() for buffer in networks.buffers()]  # a norm may keep means of what it has seen
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        batch = batch.map(session.recipe.reads)
        for number, step in enumerate(session.recipe.steps, 1):
            where = f"step {number} of recipe {session.facts.recipe}"
            _check_moves(session, step, where)
            for turn in step.turns:
                for term in turn.terms:
                    _try_loss(session, replace(turn, terms=(term,)), batch, where)
    networks.zero_grad()
    for buffer, before in zip(networks.buffers(), buffers, strict=True):
        buffer.copy_(before)


def _check_moves(session: Session, step: Step, where: str) -> None:
    """RunError if a step moves networks that are not there, or that have nothing to move."""
    known = list(session.networks)
    for turn in step.turns:
        unknown = [name for name in turn.moves if name not in known]
        if unknown:
            raise RunError(f"{where} moves {', '.join(unknown)}, and its networks are {', '.join(known)}")
    try:
        optimizers_of(step, session.networks)
    except ValueError as error:
        raise RunError(f"{where} has a turn that moves nothing: {first_line(error)}") from error


def _try_loss(session: Session, turn, batch: Batch, where: str) -> None:
    """Call the only loss of a turn; RunError, with what failed and where, if it cannot train."""
    (term,) = turn.terms
    random = torch.Generator(session.batches.device).manual_seed(0)
    try:
        differentiate(Images(session.networks, batch, random), turn, session.facts.precision)
    except Exception as error:  # whatever a loss of the user's may raise
        raise RunError(
            f"loss {term.name} in {where} fails{_place(error, term)}: {type(error).__name__}: {first_line(error)}"
        ) from error


def _place(error: Exception, term: Term) -> str:
    """The file and line at which a loss failed, in words; "" if the error came after it had returned."""
    code = getattr(term.function, "__code__", None)
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if code and frame.filename == code.co_filename
    ]
    return f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
