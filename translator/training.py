"""The training loop, one for all recipes: at each iteration of a step its turns are played in order."""

from contextlib import closing

from survey_tools.errors import RunError
from translator.flux_scatter import measure_flux_scatter
from translator.interrupts import Interrupts
from translator.ranks import any_asks
from translator.session import Session, optimizers_of, save
from translator.update import iterate
from translator.watch import Watch


def train(session: Session) -> None:
    """Train to the end of the last step, with a progress bar, TensorBoard curves and checkpoints.

    Raises:
        RunError: Where a loss or a gradient is not finite (nothing is saved after the last checkpoint), or the user
            stops it (the state is saved); the message has the command that goes on.
    """
    first, share = 0, session.share
    steps = session.recipe.steps
    watching = closing(Watch(session.path, session.iteration, share))
    with Interrupts(share) as interrupts, closing(session.batches), watching as watch:
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
            losses = iterate(session.model, step, index, session.optimizers, batch.map(session.recipe.reads))
        except FloatingPointError as error:
            raise _ended(
                session,
                f"{error} in iteration {session.iteration}; the last checkpoint is kept: go on from it with "
                f"`{session.command}`, or begin anew with another --seed",
            ) from error
        session.iteration += 1
        watch.show(number + 1, session.iteration, losses)
        last = index + 1 == step.iterations
        asked = any_asks(interrupts.asked, session.share, session.batches.device)
        if last and number + 1 == len(session.recipe.steps) and session.share.rank == 0:
            measure_flux_scatter(session.run, session.stores, session.selection.pairs)
        if last or asked or session.iteration % session.checkpoint_every == 0:
            watch.flush()
            save(session, number)
            middle = len(session.facts.domains["x"].bands) // 2
            watch.panels(session.recipe.use, session.networks, batch, middle, session.iteration)
        if asked:
            total = sum(session.facts.iterations)
            raise _ended(
                session,
                f"stopped after iteration {session.iteration} of {total}, saved; go on with `{session.command}`",
            )


def _ended(session: Session, why: str) -> BaseException:
    """What ends a training that cannot go on in any of its processes: the first says why, the others are silent."""
    return RunError(why) if session.share.rank == 0 else SystemExit(1)
