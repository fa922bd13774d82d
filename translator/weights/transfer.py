"""Weights in and out of a run, under the authors' names."""

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

from survey_tools.errors import RunError
from survey_tools.files import whole_file
from translator.images import OTHER
from translator.runs.checkpoint import TRANSLATING, Checkpoint, build_networks, load_run, save_checkpoint
from translator.runs.facts import RunFacts, survey_domains, write_facts
from translator.runs.recipe_names import find_recipe
from translator.weights.tf_checkpoint import files_of, find_prefix, read_tf_checkpoint

log = logging.getLogger(__name__)

DOMAINS = {"x": "1", "y": "0"}
ROLES = {
    "autoencoder": "auto{here}",
    "emulator": "noise{here}",
    "discriminator": "discriminator{here}",
    "generator": "generator{there}{here}",
    "encoder": "generator_latent{here}",
    "latent_discriminator": "discriminator_latent{here}",
}
KINDS = {"weight": "weights", "bias": "biases"}
LAYOUTS = {1: (0,), 2: (1, 0), 4: (2, 3, 1, 0)}  # our axes in the authors' order, by the number of axes
NOISE_KERNEL = "kernel"  # of the noise emulator; in our layout (band, row, col)


def scope(network: str) -> str:
    """Return the authors' name of a network: "generator_y" is generator10.

    ValueError for a role that they do not have.
    """
    role, _, domain = network.rpartition("_")
    if role not in ROLES or domain not in DOMAINS:
        raise ValueError(f"the authors have no network {network!r}; known are {', '.join(ROLES)}, each with _x and _y")
    return ROLES[role].format(here=DOMAINS[domain], there=DOMAINS[OTHER[domain]])


def variable_name(network: str, parameter: str) -> str:
    """Return the authors' name of a parameter: "layers.0.weight" of "generator_y" is generator10/conv1/weights.

    A numbered layer is a convolution, which they count from 1. A number before the layer's name is that of a band,
    which they put after it ("bands.2.fc1.bias" is fc12/biases).
    """
    if parameter == NOISE_KERNEL:
        return f"{scope(network)}/{NOISE_KERNEL}"
    *path, layer, kind = parameter.split(".")
    band = next((part for part in path if part.isdigit()), "")
    name = f"conv{int(layer) + 1}" if layer.isdigit() else layer
    return f"{scope(network)}/{name}{band}/{KINDS[kind]}"


def to_authors(parameter: str, weights: np.ndarray) -> np.ndarray:
    """Return one parameter's weights in their layout, in memory order."""
    if parameter == NOISE_KERNEL:
        return np.ascontiguousarray(weights.transpose(1, 2, 0)[None])
    return np.ascontiguousarray(weights.transpose(LAYOUTS[weights.ndim]))


def from_authors(parameter: str, values: np.ndarray) -> np.ndarray:
    """Return one variable's values in our layout, in memory order; the inverse of `to_authors`."""
    if parameter == NOISE_KERNEL:
        return np.ascontiguousarray(values[0].transpose(2, 0, 1))
    return np.ascontiguousarray(values.transpose(np.argsort(LAYOUTS[values.ndim])))


def authors_shape(parameter: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape in their layout of a parameter of the shape `shape`."""
    if parameter == NOISE_KERNEL:
        bands, rows, cols = shape
        return (1, rows, cols, bands)
    return tuple(shape[axis] for axis in LAYOUTS[len(shape)])


NAMED = 3  # how many variables of each kind of fault a message names
# TensorFlow 1 saves these beside the weights: Adam's two moments of every variable, its beta powers, the step.
TRAINING_STATE = re.compile(r"(.*/Adam(_\d+)?|(.*/)?beta[12]_power(_\d+)?|(.*/)?global_step)")


@dataclass(frozen=True)
class ImportedWeights:
    """Imported weights: variables by name, files with their SHA-256, and the iteration at which they were saved."""

    variables: dict[str, np.ndarray]
    files: dict[str, str]
    iteration: int


@dataclass(frozen=True)
class TransferReport:
    """The result of an import or export.

    Attributes
    ----------
    parameters : dict
        Number of parameters in each network, by role and domain.
    absent : tuple of str
        Networks of the recipe that there were no weights for.
    iteration : int
        Training iterations behind the weights; 0 if unknown.
    ignored : int
        Variables of the training's state, such as Adam's moments, that were not used.
    """

    parameters: dict[str, int]
    absent: tuple[str, ...] = ()
    iteration: int = 0
    ignored: int = 0


def import_weights(source: Path, recipe: str, path: Path) -> TransferReport:
    """Make a run, for SDSS (x) and CFHTLS (y) in ugriz, from weights in the authors' names and layouts.

    Both surveys have the authors' sizes; in a recipe that works on one grid, CFHTLS has that of SDSS. Weights become
    float32, as the authors' are; values with more digits are rounded, with a warning if that changes them.

    Parameters
    ----------
    source : Path
        A TensorFlow checkpoint (prefix, one of its files, or folder) or an .npz of {variable name: array}.
    recipe : str
        Name of the recipe.
    path : Path
        Folder of the run; new or empty.

    Raises
    ------
    RunError
        If `source` cannot be read, lacks a network that translating needs, has part of one, or a variable that the
        recipe does not know, of another shape, or not finite; or if `path` exists already. Nothing is written then.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise RunError(f"{path} exists already; choose another --run")
    row, read = find_recipe(recipe), _read(source)
    iterations = tuple(step.iterations for step in row.steps)
    facts = RunFacts(recipe, iterations, row.batch_size, 0, survey_domains(row.same_grid), "", imported=read.files)
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


def export_weights(path: Path, out: Path) -> TransferReport:
    """Write the weights of a run's newest checkpoint as an .npz of {variable name: array}, in the authors' form.

    Parameters
    ----------
    path : Path
        Folder of the run.
    out : Path
        The file to write.

    Raises
    ------
    RunError
        If the folder holds no run, no checkpoint that can be read, or a recipe that the authors do not have.
    """
    run = load_run(path, "cpu", begun=True)
    if run.use.reads_any:
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
    return TransferReport({name: count for name, count in counts.items() if count}, iteration=run.iteration)


def _read(source: Path) -> ImportedWeights:
    """Return the variables of an .npz or a TensorFlow checkpoint."""
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
    return ImportedWeights(
        dict(zip(names, variables.values(), strict=True)), {f.name: _sha256(f) for f in files}, iteration
    )


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of an .npz; RunError if it is damaged or holds anything else."""
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


def _fit(
    source: Path, read: ImportedWeights, networks: nn.ModuleDict, recipe: str
) -> tuple[dict[str, Tensor], TransferReport]:
    """Return the weights of the networks by our names, in our layout, and a report; RunError names faults."""
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
    return weights, TransferReport(parameters, tuple(absent), read.iteration, len(read.variables) - len(found))


def _faults(found: dict[str, np.ndarray], wanted: dict[str, tuple], here: set[str], needed: list[str]) -> list[str]:
    """Return, in words, why the variables cannot be these networks' weights; empty if they can."""
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
    """Return the first few of some names, and how many more there are."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _as_float32(source: Path, variables: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the variables in float32; RunError if one is not finite, a warning if values had to be rounded."""
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
    """Return the number of a network's parameters."""
    return sum(parameter.numel() for parameter in network.parameters())


def _sha256(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
