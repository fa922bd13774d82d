"""The authors' weights in and out: a TensorFlow checkpoint or an .npz -> a run that translates; a run -> an .npz."""

import hashlib
import logging
import os
import re
import shutil
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from survey_tools.atomic import whole_file
from survey_tools.errors import RunError
from translator.authors_names import authors_shape, from_authors, scope, to_authors, variable_name
from translator.checkpoint import TRANSLATING, Checkpoint, build_networks, find_recipe, load_run, save_checkpoint
from translator.facts import Facts, survey_domains, write_facts
from translator.tf_checkpoint import files_of, find_prefix, read_tf_checkpoint

NAMED = 3  # variables of each kind of fault that a message names
# What TensorFlow 1 keeps beside the weights: Adam's two moments of every variable, its beta powers, the step.
TRAINING_STATE = re.compile(r"(.*/Adam(_\d+)?|(.*/)?beta[12]_power(_\d+)?|(.*/)?global_step)")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """What is imported: variables by name, files with their SHA-256, and the iteration they were saved at."""

    variables: dict[str, np.ndarray]
    files: dict[str, str]
    iteration: int


@dataclass(frozen=True)
class Report:
    """What an import or export took.

    Attributes:
        parameters: Their number in each network, by role and domain.
        absent: Networks of the recipe that there were no weights for.
        iteration: Training iterations behind the weights; 0 where that is not known.
        ignored: Variables of the training's state (Adam's moments, say) that were left aside.
    """

    parameters: dict[str, int]
    absent: tuple[str, ...] = ()
    iteration: int = 0
    ignored: int = 0


def import_weights(source: Path, recipe: str, path: Path) -> Report:
    """Make a run, for SDSS (x) and CFHTLS (y) in ugriz, out of weights in the authors' names and layouts.

    Both surveys have the authors' sizes; in a recipe that works on one grid, CFHTLS has SDSS's. Weights become float32,
    as the authors' are; wider ones are rounded, with a warning where that changes them.

    Args:
        source: A TensorFlow checkpoint (prefix, one of its files, or folder) or an .npz of {variable name: array}.
        recipe: Name of its row.
        path: Folder of the run; new or empty.

    Raises:
        RunError: Where `source` cannot be read, lacks a network that translating needs, has part of one, or a variable
            that the recipe does not know, of another shape, or not finite; where `path` is there already. Nothing is
            written then.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise RunError(f"{path} is there already; choose another --run")
    row, read = find_recipe(recipe), _read(source)
    iterations = tuple(step.iterations for step in row.steps)
    facts = Facts(recipe, iterations, row.batch_size, 0, survey_domains(row.same_grid), "", imported=read.files)
    weights, report = _fit(source, read, build_networks(facts, row), recipe)
    path = Path(os.path.abspath(path))
    part = path.with_name(f".{os.getpid()}.part.{path.name}")
    try:
        write_facts(part, facts)
        save_checkpoint(part, Checkpoint(read.iteration, len(row.steps) - 1, weights, {}))
        os.rename(part, path)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return report


def export_weights(path: Path, out: Path) -> Report:
    """Write the weights of a run's newest checkpoint as an .npz of {variable name: array}, as the authors have them.

    Raises:
        RunError: Where the folder `path` holds no run, no checkpoint that can be read, or a recipe that the authors do
            not have.
    """
    run = load_run(path, "cpu", begun=True)
    if find_recipe(run.recipe).use.reads_any:
        raise RunError(
            f"{path} is a run of the recipe {run.recipe}, whose networks the authors do not have, so it has no weights "
            "in their names; copy the folder of the run instead"
        )
    arrays = {
        variable_name(name, parameter): to_authors(parameter, tensor.numpy())
        for name, network in run.networks.items()
        for parameter, tensor in network.state_dict().items()
    }
    with whole_file(out) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)
    counts = {name: _count(network) for name, network in run.networks.items()}
    return Report({name: count for name, count in counts.items() if count}, iteration=run.iteration)


def _read(source: Path) -> Source:
    """The variables of an .npz or a TensorFlow checkpoint."""
    if source.is_file() and (source.suffix == ".npz" or zipfile.is_zipfile(source)):
        variables, files, iteration = _read_npz(source), [source], 0
    else:
        prefix = find_prefix(source)
        variables, files = read_tf_checkpoint(prefix), files_of(prefix)
        saved = re.search(r"-(\d{1,9})$", prefix.name)
        iteration = int(saved[1]) if saved else 0
    names = [name.removesuffix(":0") for name in variables]  # as TensorFlow calls a variable's value
    if len(set(names)) < len(names):
        raise RunError(f"{source} has a variable twice, with and without ':0' behind its name; leave one")
    log.info(f"read {len(names)} variables of {source}")
    return Source(dict(zip(names, variables.values(), strict=True)), {f.name: _sha256(f) for f in files}, iteration)


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz; RunError where it is damaged or holds anything else."""
    try:
        if not zipfile.is_zipfile(path):
            raise ValueError("it is no zip archive")
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        odd = [name for name, array in arrays.items() if not isinstance(array, np.ndarray)]
        if odd:
            raise ValueError(f"{odd[0]} in it is no array")
    except (ValueError, EOFError, KeyError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        reason = " ".join(str(error).split())[:120]
        raise RunError(f"{path} cannot be read as an .npz of plain arrays: {reason}; make or copy it again") from error
    return arrays


def _fit(source: Path, read: Source, networks: nn.ModuleDict, recipe: str) -> tuple[dict[str, Tensor], Report]:
    """The weights of the networks by our names, in our layout, and what was taken; RunError, naming faults."""
    found = {name: array for name, array in read.variables.items() if not TRAINING_STATE.fullmatch(name)}
    wanted = {
        variable_name(name, parameter): (name, parameter, tuple(tensor.shape))
        for name, network in networks.items()
        for parameter, tensor in network.state_dict().items()
    }
    here = {wanted[variable][0] for variable in found if variable in wanted}
    absent = [name for name in networks if name not in here and _count(networks[name])]
    faults = _faults(found, wanted, here, [name for name in absent if name.startswith(TRANSLATING)])
    if faults:
        raise RunError(
            f"{source} does not fit recipe {recipe}: {'; '.join(faults)}; give the --recipe it was trained by"
        )
    weights = {
        f"{name}.{parameter}": torch.from_numpy(from_authors(parameter, array))
        for variable, array in _as_float32(source, found).items()
        for name, parameter, _ in [wanted[variable]]
    }
    parameters = {name: _count(network) for name, network in networks.items() if name in here}
    return weights, Report(parameters, tuple(absent), read.iteration, len(read.variables) - len(found))


def _faults(found: dict[str, np.ndarray], wanted: dict[str, tuple], here: set[str], needed: list[str]) -> list[str]:
    """What keeps the variables from being these networks' weights, in words; empty where nothing does."""
    lacking = [variable for variable, (name, _, _) in wanted.items() if name in here and variable not in found]
    misshapen = [
        f"{variable} {array.shape}, not {shape}"
        for variable, array in found.items()
        if variable in wanted and array.shape != (shape := authors_shape(*wanted[variable][1:]))
    ]
    kinds = {
        "networks that it lacks": [scope(name) for name in needed],
        "variables that it lacks": lacking,
        "variables that the recipe has not": [variable for variable in found if variable not in wanted],
        "variables of another shape": misshapen,
        "variables that are not floating-point": [v for v, array in found.items() if array.dtype.kind != "f"],
    }
    return [f"{len(names)} {kind}: {_listed(names)}" for kind, names in kinds.items() if names]


def _listed(names: list[str]) -> str:
    """The first few of some names, and how many more there are."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _as_float32(source: Path, variables: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The variables in float32; RunError where one is not finite, a warning where values had to be rounded."""
    with np.errstate(over="ignore", under="ignore"):
        narrow = {name: array.astype(np.float32) for name, array in variables.items()}
    odd = [name for name, array in narrow.items() if not np.isfinite(array).all()]
    if odd:
        raise RunError(f"{source} has {len(odd)} variables with NaN or infinite values in float32: {_listed(odd)}")
    rounded = sum(int((narrow[name] != array).sum()) for name, array in variables.items())
    if rounded:
        log.warning(f"{source}: {rounded} values that float32 does not hold exactly were rounded to it")
    return narrow


def _count(network: nn.Module) -> int:
    """Number of a network's parameters."""
    return sum(parameter.numel() for parameter in network.parameters())


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
