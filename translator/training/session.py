"""A training under way: begun from stores and a run folder, saved to it, and resumed to the bit."""

import logging
import shlex
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch
from astropy.table import Table
from torch import nn
from torch.optim import Adam, Optimizer

from survey_tools.errors import RunError
from survey_tools.matching.pairs import read_pairs
from survey_tools.store.in_bands import share_bands
from survey_tools.store.partitioned import open_store
from survey_tools.store.zarr_store import Store
from translator.data.batches import Batches
from translator.data.selection import Selection, select
from translator.data.survey_measures import measure_surveys
from translator.images import WHOLE, Share
from translator.recipes import Recipe, Step
from translator.runs.checkpoint import (
    Checkpoint,
    Run,
    build_networks,
    load_weights,
    read_checkpoint,
    save_checkpoint,
)
from translator.runs.device import choose_device, has_bf16
from translator.runs.facts import RunFacts, check_same, describe_domain, fingerprint_of_pairs, read_facts, write_facts
from translator.runs.recipe_names import find_recipe, is_importable, name_recipe
from translator.training.goal import parse_goal
from translator.training.ranks import gather, in_all, launcher, restarted
from translator.training.schedule import describe_changes, with_iterations
from translator.training.start import Start, describe_start, open_start, take_weights
from translator.training.update import Model
from translator.training.validation import (
    FROM_TABLE,
    FROM_TRAINING,
    Validation,
    describe_pairs,
    direction_of,
    hold_out,
    read_best,
    reasons_to_end,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingInputs:
    """Paths of the x store, the y store and their pair table; a recipe that reads no pairs needs no table."""

    x: Path
    y: Path
    pairs: Path | None = None


@dataclass(frozen=True)
class TrainingSettings:
    """How to train.

    Attributes
    ----------
    recipe : str or Recipe
        Its name, as of `runs.recipe_names`, or the recipe itself.
    iterations : int or tuple of int, optional
        Iterations of each step: one number for all, or one for each. By default those of the run that is resumed, or of
        the recipe.
    batch_size : int, optional
        Images of each kind in a batch; with the same default.
    seed : int
        Seed of everything random.
    device : str
        "auto", "cpu", "cuda" or "cuda:1".
    checkpoint_every : int
        Iterations between checkpoints.
    width : int, optional
        Width of the networks; with the same default.
    precision : str, optional
        Precision of convolutions, a row of `device.PRECISIONS`. By default that of the run that is resumed, or of the
        recipe if the device has it.
    data : str
        Where images are kept: "auto", "device" or "stream", as of `Batches`.
    bands : tuple of str, optional
        Bands of both stores to train on. By default those of the run that is resumed, or all that both stores have.
    start : Start, optional
        The run whose weights a new training begins from; its width is then the default.
    validate_every : int, optional
        Iterations between validations. By default there are none, or one with each checkpoint if `until` or `patience`
        needs them.
    until : str, optional
        What a training shall reach, as of `training.goal.parse_goal`; the step that reaches it ends.
    patience : int, optional
        After how many validations without a better one a step ends.
    """

    recipe: str | Recipe = "two_step"
    iterations: int | tuple[int, ...] | None = None
    batch_size: int | None = None
    seed: int = 0
    device: str = "auto"
    checkpoint_every: int = 500
    width: int | None = None
    precision: str | None = None
    data: str = "auto"
    bands: tuple[str, ...] | None = None
    start: Start | None = None
    validate_every: int | None = None
    until: str | None = None
    patience: int | None = None

    @property
    def validated(self) -> int | None:
        """Iterations between validations; None if there are none."""
        return self.validate_every or (self.checkpoint_every if self.until or self.patience else None)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why steps may end early."""
        return reasons_to_end(self.until, self.patience)


@dataclass
class Session:
    """A training under way.

    Attributes
    ----------
    path : Path
        Folder of the run.
    facts : RunFacts
        What the run is made from.
    command : str
        The command that resumes it.
    stores : tuple of Store
        The stores x and y.
    selection : Selection
        Which of their objects serve for what.
    recipe : Recipe
        The recipe, with the iterations of this run.
    networks : ModuleDict
        Networks by role and domain.
    batches : Batches
        The source of images.
    random : Generator
        The source of noise.
    checkpoint_every : int
        Iterations between checkpoints.
    iteration : int
        Iterations done, over all steps. It is the only counter: batches, curves and checkpoints follow it.
    optimizers : list of Optimizer
        Optimisers of the turns of the present step.
    share : Share
        This process's share of every batch.
    given : Recipe or None
        The recipe as the user gave it; None if it was given by its name.
    notes : list of str
        Lines for the user: remarks on the stores, and on how the run goes on.
    validation : Validation or None
        By what it is watched.
    """

    path: Path
    facts: RunFacts
    command: str
    stores: tuple[Store, Store]
    selection: Selection
    recipe: Recipe
    networks: nn.ModuleDict
    batches: Batches
    random: torch.Generator
    checkpoint_every: int
    iteration: int = 0
    optimizers: list[Optimizer] = field(default_factory=list)
    share: Share = WHOLE
    given: Recipe | None = None
    notes: list[str] = field(default_factory=list)
    validation: Validation | None = None

    @property
    def model(self) -> Model:
        """The part of the session that an iteration moves."""
        return Model(self.networks, self.random, self.share, self.facts.precision)

    def last_words(self) -> list[str]:
        """Return lines for the user at the end of a training: steps that ended early, and the best state."""
        lines = [
            f"step {each['step']} ended after iteration {each['at']:,}: {each['why']}"
            for each in self.facts.ended_early
        ]
        best = read_best(self.path) if self.validation else None
        if best:
            lines.append(
                f"the best state by {best['measure']} is that of iteration {best['iteration']:,}: {self.path}@best; "
                f"{self.path} is that of the last, {self.iteration:,}"
            )
        return lines

    @property
    def run(self) -> Run:
        """The model as it is, for use."""
        return Run(self.path, self.facts, self.networks, self.batches.device, self.iteration, "", self.given)


def open_session(
    inputs: TrainingInputs, path: Path, settings: TrainingSettings, *, resume: bool = False, share: Share = WHOLE
) -> Session:
    """Begin a run in the folder `path`, or resume it at its newest checkpoint.

    A run that is resumed may get another number of iterations, even if it had ended: those of the steps that are over
    stay as they were, and the learning rate goes on as in a step of the new length. run.json lists each such change.

    Each of several processes that train together opens the session with its share. A run does not depend on how many
    processes there are.

    Parameters
    ----------
    inputs : TrainingInputs
        Paths of the stores and the pair table.
    path : Path
        Folder of the run.
    settings : TrainingSettings
        How to train.
    resume : bool
        Whether to resume a run; otherwise `path` must be new or empty.
    share : Share
        This process's share.

    Raises
    ------
    StoreError
        If a store or the pair table cannot be used, or if they leave nothing to train with.
    RunError
        If a new run's folder is taken; if a run that is to be resumed is missing, damaged, or was begun with other
        stores, pairs or settings; if the recipe cannot serve the stores' images, the device is missing, or a batch
        cannot be shared equally.
    """
    if not resume and share.rank == 0 and _is_taken(path):
        raise RunError(f"{path} exists already; resume that run with --resume, or choose another --run")
    begun = read_facts(path) if resume else None
    device = choose_device(settings.device)
    bands = settings.bands or (begun.domains["x"].bands if begun else None)
    x, y, notes = share_bands(open_store(inputs.x), open_store(inputs.y), bands)
    stores = x, y
    checkpoint = read_checkpoint(path) if begun and not begun.imported else None
    name, given = name_recipe(settings.recipe), settings.recipe if isinstance(settings.recipe, Recipe) else None
    recipe = with_iterations(given or find_recipe(name), settings.iterations, begun, checkpoint, settings.reasons)
    if recipe.same_grid and stores[0].size != stores[1].size:
        raise RunError(_how_to_regrid(inputs, name, [store.size for store in stores]))
    pairs = read_pairs(inputs.pairs, *stores) if inputs.pairs else None
    selection, watched = _select(stores, pairs, recipe, settings, begun, path)
    start = open_start(settings.start, name) if settings.start and not begun else None
    facts = replace(_facts(settings, stores, pairs, recipe, begun, start and start.facts), validation=watched)
    if begun:
        _check_start(path, begun, settings.start)
        check_same(path, begun, facts)
    if facts.batch_size % share.count:
        raise RunError(
            f"a batch of {facts.batch_size} cannot be shared by {share.count} processes: give a --batch-size that is a "
            f"multiple of {share.count}, or start another number of them"
        )
    networks = build_networks(facts, recipe)
    if start:
        facts = replace(facts, begun_from=take_weights(networks, start, facts, stores))
        notes += describe_start(facts.begun_from, start, facts)
    validation = _open_validation(path, stores, selection, networks, settings, checkpoint)
    notes += [validation.describe()] if validation else []
    session = Session(
        path=path,
        facts=facts,
        command=_command(inputs, path, facts, settings),
        stores=stores,
        selection=selection,
        recipe=recipe,
        networks=networks.to(device),
        batches=Batches(stores, selection, facts.batch_size, facts.seed, device, share, settings.data),
        random=torch.Generator(device).manual_seed(facts.seed),
        checkpoint_every=settings.checkpoint_every,
        share=share,
        given=given,
        notes=notes,
        validation=validation,
    )
    if begun:
        _restore(session, checkpoint)
        session.notes += _go_on(session, begun)
    if share.rank == 0 and session.facts != begun:
        write_facts(path, session.facts)
    if session.iteration == 0:
        measure_surveys(session.networks, stores, selection)
    return session


def open_together(
    inputs: TrainingInputs, path: Path, settings: TrainingSettings, share: Share, *, resume: bool = False
) -> Session:
    """Open a session in every process of a training, or in none.

    Parameters
    ----------
    inputs, path, settings, share, resume
        As of `open_session`.

    Raises
    ------
    RunError
        As `open_session`, and if the processes find different runs in `path`.
    """
    resume = resume or (restarted() and (path / "run.json").exists())
    session = in_all(share, lambda: open_session(inputs, path, settings, resume=resume, share=share))
    found = gather((session.iteration, session.facts), share)
    if any(each != found[0] for each in found):
        raise RunError(
            f"the processes of this training find different stores, or different checkpoints in {path}: all must see "
            "the same files, on a file system that their machines share"
        )
    return session


def _check_start(path: Path, begun: RunFacts, start: Start | None) -> None:
    """RunError if a run is resumed that was begun from other weights than those that are named now."""
    was = begun.begun_from.get("run")
    if start and start.name != was:
        raise RunError(
            f"{path} was begun {f'from {was}' if was else 'without --from'}, and not from {start.name}; resume it "
            "without --from, or choose another --run"
        )


def _select(
    stores: tuple[Store, Store],
    pairs: Table | None,
    recipe: Recipe,
    settings: TrainingSettings,
    begun: RunFacts | None,
    path: Path,
) -> tuple[Selection, dict]:
    """Return which objects train, and what run.json states about the pairs for validation: those of the pair table, or
    a part of the pairs that train.

    A run that is resumed holds out what it has held out from its beginning.
    """
    select_these = partial(select, *stores, reads_pairs=recipe.reads_pairs)
    selection = select_these(pairs)
    source = begun.validation.get("from") if begun else None
    if len(selection.validation):
        watched = bool(settings.validated or source)
        return selection, describe_pairs(selection.validation, FROM_TABLE) if watched else {}
    if source is None and not settings.validated:
        return selection, {}
    if pairs is None:
        raise RunError("a training is validated on pairs: give the pair table that `galtrans crossmatch` makes")
    if begun and source is None:
        raise RunError(
            f"{path} was begun without validation, so that all its pairs train; resume it without --validate-every, "
            "--until and --patience, or begin another --run"
        )
    trained = selection.pairs if recipe.reads_pairs else select(*stores, pairs).pairs
    selection = select_these(hold_out(stores, pairs, trained, settings.seed))
    return selection, describe_pairs(selection.validation, FROM_TRAINING)


def _open_validation(
    path: Path,
    stores: tuple[Store, Store],
    selection: Selection,
    networks: nn.ModuleDict,
    settings: TrainingSettings,
    checkpoint: Checkpoint | None,
) -> Validation | None:
    """Return what watches a training that begins, or that goes on at a checkpoint; None if nothing does."""
    if not settings.validated:
        return None
    operator = any(name.startswith("operator_") for name in networks)
    directions = {direction_of(stores, domain): domain for domain in "yx"}
    goal = parse_goal(settings.until, directions, stores[0].bands, operator=operator) if settings.until else None
    done = checkpoint.iteration if checkpoint else 0
    how = (settings.validated, goal, settings.patience)
    return Validation(stores, selection.validation, *how, path, done, operator=operator)


def end_step(session: Session, number: int, why: str) -> None:
    """Let a step end at the present iteration; the facts of the session then say so.

    Parameters
    ----------
    session : Session
        A training.
    number : int
        Number of the step, counted from 0.
    why : str
        Why it ends.
    """
    counts = [step.iterations for step in session.recipe.steps]
    planned, counts[number] = counts[number], session.iteration - sum(counts[:number])
    ended = {"step": number + 1, "at": session.iteration, "of": planned, "why": why}
    session.facts = replace(session.facts, iterations=tuple(counts), ended=(*session.facts.ended, ended))
    steps = list(session.recipe.steps)
    steps[number] = replace(steps[number], iterations=counts[number])
    session.recipe = replace(session.recipe, steps=tuple(steps))


def _facts(
    settings: TrainingSettings,
    stores: tuple[Store, Store],
    pairs: Table | None,
    recipe: Recipe,
    begun: RunFacts | None,
    start: RunFacts | None,
) -> RunFacts:
    """Return what a run is made from.

    Settings that are left open follow the run that is resumed, or the recipe; the width also that of the run from which
    a training starts.
    """
    return RunFacts(
        recipe=name_recipe(settings.recipe),
        iterations=tuple(step.iterations for step in recipe.steps),
        batch_size=settings.batch_size or (begun or recipe).batch_size,
        seed=settings.seed,
        domains={"x": describe_domain(stores[0]), "y": describe_domain(stores[1])},
        pairs=fingerprint_of_pairs(pairs) if pairs else "",
        width=settings.width or (begun.width if begun else (start and start.width) or recipe.width),
        precision=settings.precision or (begun.precision if begun else _precision(recipe, settings.device)),
    )


def _go_on(session: Session, begun: RunFacts) -> list[str]:
    """Give a resumed session the facts of its run, with its new iterations among them; return lines on these."""
    facts = replace(begun, iterations=session.facts.iterations, validation=session.facts.validation)
    if begun.iterations == facts.iterations:
        session.facts = facts
        done = session.iteration >= sum(facts.iterations)
        return ["the run has done all its iterations; give more --iterations to make it longer"] if done else []
    lines = describe_changes(session.recipe, begun.iterations, session.iteration)
    change = {"at": session.iteration, "from": [*begun.iterations], "to": [*facts.iterations], "schedule": lines}
    session.facts = replace(facts, lengthened=(*begun.lengthened, change))
    return lines


def _precision(recipe: Recipe, device: str) -> str:
    """Return the recipe's precision if the device computes in it, else float32."""
    return recipe.precision if recipe.precision != "bf16" or has_bf16(choose_device(device)) else "float32"


def _is_taken(path: Path) -> bool:
    """Return whether the folder of a new run holds anything."""
    return path.exists() and (not path.is_dir() or any(not p.name.startswith(".") for p in path.iterdir()))


def save(session: Session, step: int) -> None:
    """Write a checkpoint with everything that the next iteration depends on; the first of several processes does so."""
    if session.share.rank > 0:
        return
    training = {"random": session.random.get_state()}
    for turn, optimizer in enumerate(session.optimizers):
        for parameter, state in optimizer.state_dict()["state"].items():
            training |= {f"optimizer.{turn}.{parameter}.{key}": value for key, value in state.items()}
    weights = session.networks.state_dict()
    save_checkpoint(session.path, Checkpoint(session.iteration, step, weights, training))
    log.info(f"checkpoint of iteration {session.iteration} in {session.path}")


def optimizers_of(step: Step, networks: nn.ModuleDict) -> list[Optimizer]:
    """Return an Adam for each turn of a step, over the networks that it moves."""
    return [
        Adam([p for name in turn.moves for p in networks[name].parameters()], turn.learning_rate) for turn in step.turns
    ]


def _command(inputs: TrainingInputs, path: Path, facts: RunFacts, settings: TrainingSettings) -> str:
    """Return the command that resumes a run, or the call in Python if a command cannot find the recipe."""
    if not is_importable(facts.recipe):
        return "translator.train(..., resume=True)"
    stores = [inputs.x, inputs.y, *([inputs.pairs] if inputs.pairs else [])]
    start = launcher()
    option = "--run" if start[0] == "galtrans" else "--out"  # which torchrun does not take for one of its own
    words = [*start, *stores, "--recipe", facts.recipe, option, path]
    words += ["--seed", facts.seed] if facts.seed else []
    words += ["--device", settings.device] if settings.device != "auto" else []
    words += ["--bands", "".join(settings.bands)] if settings.bands else []
    for option in ("validate_every", "until", "patience"):
        value = getattr(settings, option)
        words += [f"--{option.replace('_', '-')}", value] if value is not None else []
    return shlex.join(str(word) for word in [*words, "--resume"])


def _how_to_regrid(inputs: TrainingInputs, recipe: str, sizes: list[int]) -> str:
    """Return the message for a user whose recipe needs both stores on one pixel grid."""
    regridded = inputs.y.with_name(f"{inputs.y.stem}{sizes[0]}.zarr")
    command = shlex.join(map(str, ["galtrans", "regrid", inputs.y, "--like", inputs.x, "--out", regridded]))
    return (
        f"recipe {recipe} trains on images of one size, but {inputs.x} has {sizes[0]} pixels a side and {inputs.y} has "
        f"{sizes[1]}; make the regridded set with `{command}` and train on that"
    )


def _restore(session: Session, checkpoint: Checkpoint | None) -> None:
    """Put a session into the state of a checkpoint; without one it stays at the start."""
    if checkpoint is None:
        return
    load_weights(session.networks, checkpoint, session.path)
    session.iteration = checkpoint.iteration
    try:
        session.random.set_state(checkpoint.training["random"])
        step = session.recipe.steps[checkpoint.step]
    except (KeyError, IndexError, TypeError, RuntimeError) as error:
        raise RunError(
            f"{session.path} has no state of this training to resume; begin again in another --run"
        ) from error
    session.optimizers = optimizers_of(step, session.networks)
    for turn, optimizer in enumerate(session.optimizers):
        for number, parameter in enumerate(optimizer.param_groups[0]["params"]):
            prefix = f"optimizer.{turn}.{number}."
            found = {name: t for name, t in checkpoint.training.items() if name.startswith(prefix)}
            optimizer.state[parameter] = {
                name.removeprefix(prefix): _like(parameter, tensor) for name, tensor in found.items()
            }


def _like(parameter: torch.Tensor, saved: torch.Tensor) -> torch.Tensor:
    """Return a saved tensor with the memory layout and device of the optimiser's own; step counts stay as they are."""
    return saved if saved.ndim == 0 else torch.empty_like(parameter, requires_grad=False).copy_(saved)
