"""How long the steps of a training are, what learning rates do if a run becomes longer, and both in words."""

from collections.abc import Collection, Sequence
from dataclasses import replace

from survey_tools.errors import RunError
from translator.recipes import Recipe, Step
from translator.runs.checkpoint import Checkpoint
from translator.runs.facts import RunFacts
from translator.training.update import DECAY, slowed


def with_iterations(
    recipe: Recipe,
    iterations: int | tuple[int, ...] | None,
    begun: RunFacts | None,
    checkpoint: Checkpoint | None,
    reasons: Collection[str] = (),
) -> Recipe:
    """Return the recipe with other iterations in each step: the wanted ones, or those of the run that is resumed.

    Steps that are over at its checkpoint keep theirs, and the present one has as many as it has done, or more. Learning
    rates fall at the same parts of a step, however long it is.

    Parameters
    ----------
    recipe : Recipe
        The recipe, with its own iterations.
    iterations : int or tuple of int, optional
        The wanted ones, of all steps or of each.
    begun : RunFacts, optional
        The run that is resumed.
    checkpoint : Checkpoint, optional
        Its newest checkpoint.
    reasons : collection of str
        Why a step may end early in this training. A step that has ended for one of these stays as it is, whatever the
        wanted iterations are, so that the same command can be given again.

    Raises
    ------
    RunError
        If there is another number of wanted iterations than of steps; or if a step would have fewer than it has done,
        or other ones although it is over.
    """
    wanted = (iterations,) if isinstance(iterations, int) else iterations
    counts = wanted or (begun.iterations if begun else None)
    if wanted and len(wanted) == 1:
        counts = wanted * len(recipe.steps)
    elif wanted and len(wanted) != len(recipe.steps):
        raise RunError(
            f"--iterations has {len(wanted)} numbers, and the recipe has {len(recipe.steps)} steps; give one number "
            "for all, or one for each"
        )
    if counts is None or len(counts) != len(recipe.steps):
        return recipe
    if begun and checkpoint and len(begun.iterations) == len(counts) and 0 <= checkpoint.step < len(counts):
        explicit = bool(wanted) and len(wanted) > 1
        counts = _after_checkpoint(counts, begun, checkpoint, reasons, explicit=explicit)
    steps = tuple(
        replace(step, iterations=n, decay_every=_scaled(step.decay_every, n / step.iterations))
        for step, n in zip(recipe.steps, counts, strict=True)
    )
    return replace(recipe, steps=steps)


def _after_checkpoint(
    counts: tuple[int, ...], begun: RunFacts, checkpoint: Checkpoint, reasons: Collection[str], *, explicit: bool
) -> tuple[int, ...]:
    """Return the iterations of each step of a run that goes on; arguments as of `with_iterations`.

    If they are `explicit`, there is a number for each step, and one for a step that is over must be its own, or the one
    that was planned for it.
    """
    present = checkpoint.step
    planned = {each["step"] - 1: each["of"] for each in begun.ended}
    for step in range(present if explicit else 0):
        if counts[step] not in (begun.iterations[step], planned.get(step)):
            raise RunError(
                f"--iterations has {counts[step]} for step {step + 1}, which is over after {begun.iterations[step]}; "
                "only the present step and later ones can become longer: give its own number, or one number alone"
            )
    over = present
    if any(each["at"] == checkpoint.iteration and each["why"] in reasons for each in begun.ended):
        over += 1
    counts = begun.iterations[:over] + counts[over:]
    done = checkpoint.iteration - sum(counts[:present])
    if counts[present] < done:
        raise RunError(
            f"--iterations has {counts[present]} for step {present + 1}, of which the run has done {done}; give "
            "as many or more, or choose another --run"
        )
    return counts


def _scaled(decay_every: int | None, ratio: float) -> int | None:
    """Return after how many iterations learning rates are divided in a step that is `ratio` times as long."""
    return decay_every and max(1, round(decay_every * ratio))


def describe_changes(recipe: Recipe, before: Sequence[int], iteration: int) -> list[str]:
    """Return a sentence for each step of a resumed run that has other iterations than before, with its learning rate.

    Parameters
    ----------
    recipe : Recipe
        The recipe with the iterations of now.
    before : sequence of int
        The iterations of each step before.
    iteration : int
        Iterations done, over all steps.
    """
    lines, first = [], 0
    for number, (step, was) in enumerate(zip(recipe.steps, before, strict=True), 1):
        done = min(max(iteration - first, 0), step.iterations)
        if step.iterations != was:
            former = replace(step, iterations=was, decay_every=_scaled(step.decay_every, was / step.iterations))
            lines.append(_change(number, step, former, done))
        first += step.iterations
    return lines


def _change(number: int, step: Step, former: Step, done: int) -> str:
    """Return the sentence on one step, of which some iterations are done."""
    said = f"step {number} has {step.iterations:,} iterations instead of {former.iterations:,}"
    said += f", of which {done:,} are done" if done else ""
    said += f". The learning rate follows the schedule of the new length: {describe_schedule(step)}"
    if 0 < done < step.iterations:
        said += f". It goes on at {_rates(step, done)}; the last iteration before had {_rates(former, done - 1)}"
    return said


def describe_schedule(step: Step) -> str:
    """Return how the learning rate of a step falls, in words."""
    if step.decay_every is None:
        return f"half a cosine, from {_rates(step, 0)} at the first iteration to 0 after the last"
    return f"{_rates(step, 0)} at the first iteration, divided by {DECAY:g} every {step.decay_every:,} iterations"


def _rates(step: Step, index: int) -> str:
    """Return the learning rates of a step's turns in one iteration, in words; equal ones once."""
    rates = dict.fromkeys(turn.learning_rate * slowed(step, index) for turn in step.turns)
    return " and ".join(f"{rate:.2g}" for rate in rates)
