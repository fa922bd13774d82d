"""The states of a run on disk, and runs opened from them, each once in a process."""

import hashlib
import json
import logging
import os
import shutil
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from survey_tools.errors import RunError
from translator.recipes import Recipe
from translator.runs.device import choose_device
from translator.runs.facts import Domain, RunFacts, read_facts, write_facts
from translator.runs.recipe_names import find_recipe
from translator.use import Use

log = logging.getLogger(__name__)

KEPT = 2  # how many of the newest checkpoints are kept
TRANSLATING = ("generator", "emulator", "encoder")  # roles that a translation needs; the encoder draws the codes
NETWORKS, TRAINING, SUMMARY = "networks.safetensors", "training.safetensors", "checkpoint.json"
UNREADABLE = (FileNotFoundError, IsADirectoryError, ValueError, KeyError, TypeError, RecursionError, SafetensorError)


@dataclass(frozen=True)
class Checkpoint:
    """A saved state: iterations done over all steps, the step they ended in, and the tensors of both files.

    `best` of a run's best state has the "measure" by which it is the best, and its "distance" from perfect.
    """

    iteration: int
    step: int
    networks: dict[str, Tensor]
    training: dict[str, Tensor]
    checksum: str = ""  # of the weights' file, once there is one
    best: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Saved:
    """How far a run was when it was saved: iterations over all steps, the step counted from 0, and when [s, Unix].

    `best` is that of `Checkpoint`.
    """

    iteration: int
    step: int
    time: float
    best: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """A trained model.

    Attributes
    ----------
    path : Path
        Its folder.
    facts : RunFacts
        What it was made from.
    networks : ModuleDict
        Networks by role and domain ("generator_y", "emulator_y"), on `device`, for use and not for training; for a run
        with imported weights, only those that there were weights for.
    device : device
        Where they are.
    iteration : int
        Training iterations behind the weights.
    checksum : str
        SHA-256 of the weights' file.
    given : Recipe or None
        The recipe, if the user gave it as an object; None if it is found by its name.
    """

    path: Path
    facts: RunFacts
    networks: nn.ModuleDict
    device: torch.device
    iteration: int
    checksum: str
    given: Recipe | None = None

    @property
    def recipe(self) -> str:
        """Name of its recipe."""
        return self.facts.recipe

    @property
    def use(self) -> Use:
        """How its networks translate."""
        return (self.given or find_recipe(self.facts.recipe)).use

    @property
    def domains(self) -> dict[str, Domain]:
        """Its surveys: "x" and "y"."""
        return self.facts.domains

    @property
    def bands(self) -> tuple[str, ...]:
        """Bands of both surveys, in the order of the band axis."""
        return self.facts.domains["x"].bands

    @property
    def unfinished(self) -> str:
        """A sentence about a training that has not done all its iterations.

        "" if it has, for an imported run, and for the best state of a run.
        """
        wanted = sum(self.facts.iterations)
        if self.facts.imported or self.facts.best_by or self.iteration >= wanted:
            return ""
        return (
            f"{self.path} is not finished: {self.iteration:,} of {wanted:,} training iterations are done, and its "
            "translations are worse than they will be; `galtrans train … --resume` finishes it"
        )

    def domain_of(self, survey: str) -> str:
        """Return the domain, "x" or "y", of a survey; RunError if the run does not know it."""
        for name, domain in self.domains.items():
            if domain.survey == survey:
                return name
        known = " and ".join(domain.survey for domain in self.domains.values())
        raise RunError(f"{self.path} translates between {known}, not {survey}")


def load_run(
    path: str | os.PathLike, device: str = "auto", *, begun: bool = False, recipe: Recipe | None = None
) -> Run:
    """Load the newest checkpoint of a run for use.

    Parameters
    ----------
    path : str or Path
        Folder of the run.
    device : str
        "auto", "cpu", "cuda" or "cuda:1".
    begun : bool
        Also load a run that has not come to its last step, and so cannot translate yet.
    recipe : Recipe, optional
        The recipe that the run was trained with. It is needed only if it cannot be imported by the name in run.json,
        such as a recipe that was made in a notebook.

    Returns
    -------
    Run
        The trained model, whose networks are not for training.

    Raises
    ------
    RunError
        If the folder holds no run, no checkpoint, a damaged one, a recipe that cannot be found or does not fit, or
        networks that training has not come to yet.
    """
    path, on = Path(path), choose_device(device)
    facts = read_facts(path)
    row = recipe or recipe_of(path, facts)
    checkpoint = read_checkpoint(path)
    if checkpoint is None:
        raise RunError(f"{path} has no checkpoint yet; let `galtrans train` run on it for longer")
    if checkpoint.step < len(row.steps) - 1 and not begun:
        raise RunError(
            f"{path} is in training step {checkpoint.step + 1} of {len(row.steps)} (iteration "
            f"{checkpoint.iteration} of {sum(facts.iterations)}): finish it with `galtrans train … --resume` first"
        )
    networks = build_networks(facts, row)
    if facts.imported:
        _leave_out_absent(networks, checkpoint)
    load_weights(networks, checkpoint, path)
    networks.to(on).eval().requires_grad_(False)
    return Run(path, facts, networks, on, checkpoint.iteration, checkpoint.checksum, recipe)


def recipe_of(path: Path, facts: RunFacts) -> Recipe:
    """Return the recipe that run.json of the run in `path` names; RunError, with the path, if it cannot be found."""
    try:
        return find_recipe(facts.recipe)
    except RunError as error:
        raise RunError(f"{path}: {error}") from error


def build_networks(facts: RunFacts, recipe: Recipe) -> nn.ModuleDict:
    """Return the networks of a run as they are before training.

    Raises
    ------
    RunError
        If the networks cannot serve the sizes of the run's images.
    """
    grids = {name: domain.grid for name, domain in facts.domains.items()}
    state = torch.get_rng_state()
    torch.default_generator.manual_seed(facts.seed)
    try:
        networks = replace(recipe, width=facts.width or recipe.width).build(grids)
    except ValueError as error:
        other = "" if recipe.use.reads_any else "; psf_matched trains on any sizes"
        raise RunError(f"recipe {facts.recipe} cannot train on these stores: {error}{other}") from error
    finally:
        torch.set_rng_state(state)
    return networks.to(memory_format=torch.channels_last)


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Add a checkpoint to a run, complete or not at all, and remove all but the newest `KEPT`."""
    if not _folder_of(path, checkpoint).exists():
        _write_checkpoint(path, checkpoint)
    for old in _checkpoints(path)[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)


BEST = "best"  # folder within a run, which is a run itself


def save_best(path: Path, facts: RunFacts, checkpoint: Checkpoint) -> None:
    """Keep a state as the best one of a run, in place of the one before; it is not among those that `KEPT` counts.

    It lies in a folder `BEST` of the run. That is a run, too, which can be used but not resumed.
    """
    (path / BEST).mkdir(exist_ok=True)
    write_facts(path / BEST, facts)
    folder = _write_checkpoint(path / BEST, checkpoint)
    for old in _checkpoints(path / BEST):
        if old != folder:
            shutil.rmtree(old, ignore_errors=True)


def _folder_of(path: Path, checkpoint: Checkpoint) -> Path:
    """Return the folder of a checkpoint of a run."""
    return path / "checkpoints" / f"{checkpoint.iteration:09}"


def _write_checkpoint(path: Path, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint, complete or not at all, in place of one that is there; return its folder."""
    folder = _folder_of(path, checkpoint)
    part = folder.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        files = {
            name: safetensors.torch.save({key: tensor.cpu().contiguous() for key, tensor in tensors.items()})
            for name, tensors in ((NETWORKS, checkpoint.networks), (TRAINING, checkpoint.training))
        }
        checksums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
        summary = {"iteration": checkpoint.iteration, "step": checkpoint.step, "checksums": checksums}
        summary |= {"best": checkpoint.best} if checkpoint.best else {}
        for name, content in (files | {SUMMARY: json.dumps(summary, indent=2).encode()}).items():
            _write(part / name, content)
        before = folder.with_suffix(".before")
        if folder.exists():
            shutil.rmtree(before, ignore_errors=True)
            os.rename(folder, before)
        os.rename(part, folder)
        shutil.rmtree(before, ignore_errors=True)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return folder


def read_checkpoint(path: Path) -> Checkpoint | None:
    """Return the newest checkpoint of a run, on the CPU; None if there is none.

    Raises
    ------
    RunError
        If it is damaged.
    """
    folders = _checkpoints(path)
    if not folders:
        return None
    folder, remedy = folders[-1], "delete its folder to resume from the one before"
    try:
        summary = json.loads((folder / SUMMARY).read_text())
        contents = {name: (folder / name).read_bytes() for name in (NETWORKS, TRAINING)}
        for name, content in contents.items():
            if hashlib.sha256(content).hexdigest() != summary["checksums"][name]:
                raise RunError(f"{folder / name} is damaged: its checksum differs; {remedy}")
        networks, training = (safetensors.torch.load(contents[name]) for name in (NETWORKS, TRAINING))
        iteration, step = summary["iteration"], summary["step"]
        if not isinstance(iteration, int) or not isinstance(step, int):
            raise TypeError("its iteration and step are no numbers")
        best = dict(summary.get("best", {}))
        return Checkpoint(iteration, step, networks, training, summary["checksums"][NETWORKS], best)
    except UNREADABLE as error:
        raise RunError(f"{folder} is damaged ({' '.join(str(error).split())[:80]}); {remedy}") from error


def read_progress(path: Path) -> Saved | None:
    """Return how far the newest checkpoint of a run is, without reading its weights; None if there is none.

    Raises
    ------
    RunError
        If it is damaged.
    """
    folders = _checkpoints(path)
    if not folders:
        return None
    summary = folders[-1] / SUMMARY
    try:
        said = json.loads(summary.read_text())
        best = dict(said.get("best", {}))
        return Saved(int(said["iteration"]), int(said["step"]), summary.stat().st_mtime, best)
    except UNREADABLE as error:
        raise RunError(f"{summary} is damaged ({' '.join(str(error).split())[:80]}); delete its folder") from error


def load_weights(networks: nn.ModuleDict, checkpoint: Checkpoint, path: Path) -> None:
    """Give networks the weights of a checkpoint; RunError if a name or a shape differs."""
    expected = {name: tuple(tensor.shape) for name, tensor in networks.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in checkpoint.networks.items()}
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            raise RunError(
                f"{path} does not fit its recipe: {name} is {found.get(name, 'missing')} where the network has "
                f"{expected.get(name, 'none')}; use the galtrans and the recipe that trained it"
            )
    networks.load_state_dict(checkpoint.networks)


def _leave_out_absent(networks: nn.ModuleDict, checkpoint: Checkpoint) -> None:
    """Remove the networks that a checkpoint has no weights for at all, unless translating needs them."""
    there = {key.split(".")[0] for key in checkpoint.networks}
    for name in set(networks) - there:
        if networks[name].state_dict() and not name.startswith(TRANSLATING):
            del networks[name]


def _checkpoints(path: Path) -> list[Path]:
    """Return the folders of complete checkpoints, oldest first."""
    return sorted(folder for folder in (path / "checkpoints").glob("*") if folder.name.isdigit())


def _write(path: Path, content: bytes) -> None:
    """Write a file and wait until it is on the disk."""
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


RUNS_KEPT = 8  # how many runs a process keeps in memory
_loaded: dict["RunAt", Run] = {}
_loading = threading.Lock()


@dataclass(frozen=True)
class RunAt:
    """The place of a run: its folder, the checksum of its weights, and the device that a process shall put it on."""

    path: Path
    checksum: str
    device: str

    def open(self) -> Run:
        """Return the run, loaded once in each process; RunError if it cannot be loaded, or has other weights by now."""
        with _loading:
            if self not in _loaded:
                _keep(self, load_run(self.path, self.device))
            return _loaded[self]


def locate(run: Path | Run, device: str = "auto", *, elsewhere: bool = False) -> tuple[RunAt, Run]:
    """Return where tasks find a run, and the run as it is loaded here; warn if its training is not finished.

    Parameters
    ----------
    run : Path or Run
        Folder of the run, or the run itself, whose device is then kept.
    device : str
        "auto", "cpu", "cuda" or "cuda:1".
    elsewhere : bool
        Whether other processes do the work, so that this one needs no such device. They share its files, and must be
        able to find the recipe by its name.

    Raises
    ------
    RunError
        If the run cannot be loaded.
    """
    given = run if isinstance(run, Run) else None
    path, device = (given.path, str(given.device)) if given else (run, device)
    path = path.absolute() if elsewhere else path
    loaded = given or load_run(path, "cpu" if elsewhere else device)
    if loaded.unfinished:
        log.warning("%s", loaded.unfinished)
    at = RunAt(path, loaded.checksum, device)
    if not elsewhere:
        with _loading:
            _keep(at, loaded)
    return at, loaded


def _keep(at: RunAt, run: Run) -> None:
    """Keep a run for the tasks of this process; RunError if it has other weights than it shall have."""
    if run.checksum != at.checksum:
        raise RunError(f"{at.path} has been trained further since this began; begin again when its training has ended")
    _loaded[at] = run
    while len(_loaded) > RUNS_KEPT:
        del _loaded[next(iter(_loaded))]
