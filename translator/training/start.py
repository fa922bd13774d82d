"""The weights of another run, from which a training begins."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from survey_tools.errors import RunError
from survey_tools.store.zarr_store import Store
from translator.networks.measured_survey import MeasuredSurvey
from translator.runs.checkpoint import Checkpoint, read_checkpoint
from translator.runs.facts import RunFacts, read_facts

NAMED = 3  # how many weights that do not fit a message names


@dataclass(frozen=True)
class Start:
    """The run from whose weights a training begins.

    Attributes
    ----------
    name : str
        What the user calls it: a folder, or the name of a model that comes with galtrans.
    path : Path
        Its folder.
    """

    name: str
    path: Path


@dataclass(frozen=True)
class StartingWeights:
    """The weights that a training begins from.

    Attributes
    ----------
    name : str
        As of `Start`.
    facts : RunFacts
        What their run was made from.
    checkpoint : Checkpoint
        The newest checkpoint of the run.
    """

    name: str
    facts: RunFacts
    checkpoint: Checkpoint


def open_start(start: Start, recipe: str) -> StartingWeights:
    """Read the weights of another run.

    Parameters
    ----------
    start : Start
        The run.
    recipe : str
        Name of the recipe of the new training.

    Raises
    ------
    RunError
        If the run is missing or damaged, has no checkpoint, or has another recipe.
    """
    facts, checkpoint = read_facts(start.path), read_checkpoint(start.path)
    if checkpoint is None:
        raise RunError(f"{start.name} has no checkpoint yet, so no training can begin from it")
    if facts.recipe != recipe:
        raise RunError(
            f"{start.name} was trained by the recipe {facts.recipe}, and not by {recipe}: give --recipe "
            f"{facts.recipe}, or begin from another run"
        )
    return StartingWeights(start.name, facts, checkpoint)


def take_weights(networks: nn.ModuleDict, start: StartingWeights, facts: RunFacts, stores: Iterable[Store]) -> dict:
    """Give the networks of a new training the weights of another run; return what run.json states about them.

    What was measured of a survey, such as its noise and colours, is not taken: it describes the stores of the other
    run, and is measured on those of the new one. Networks that an imported run has no weights for stay as they are.

    Parameters
    ----------
    networks : ModuleDict
        The networks, as they are before training.
    start : StartingWeights
        The weights.
    facts : RunFacts
        What the new run is made from.
    stores : iterable of Store
        Its stores, for the message of an error.

    Returns
    -------
    dict
        "run", "iteration", "weights_sha256"; "bands" if only these of the run's bands are used; "new_networks" if the
        run lacks some.

    Raises
    ------
    RunError
        If weights have other names or shapes than the networks. The message says which, and what differs.
    """
    measured = [f"{name}." for name, network in networks.items() if isinstance(network, MeasuredSurvey)]
    expected, given = (
        {name: tensor for name, tensor in tensors.items() if not name.startswith(tuple(measured))}
        for tensors in (networks.state_dict(), start.checkpoint.networks)
    )
    absent = {name.split(".")[0] for name in expected} - {name.split(".")[0] for name in given}
    if start.facts.imported:
        expected = {name: tensor for name, tensor in expected.items() if name.split(".")[0] not in absent}
    here, there = facts.domains["x"].bands, start.facts.domains["x"].bands
    fewer = here != there and set(here) <= set(there)
    if fewer:
        given = _in_bands(networks, given, [there.index(band) for band in here], len(there))
    missing = [band for band in here if band not in there]
    faults = [f"it has no weights for {', '.join(missing)}"] if missing else []
    if fewer and len(here) == len(there) and not any(hasattr(network, "band_axes") for network in networks.values()):
        faults.append(f"its bands have the order {''.join(there)}")
    faults += _faults(expected, given)
    if faults:
        raise RunError(
            f"the weights of {start.name} do not fit: {_differences(start.facts, facts)}{_listed(faults)}; "
            f"{_remedy(start.facts, facts, stores)}"
        )
    networks.load_state_dict(given, strict=False)
    stated = {"run": start.name, "iteration": start.checkpoint.iteration, "weights_sha256": start.checkpoint.checksum}
    stated |= {"bands": "".join(here)} if fewer else {}
    return stated | ({"new_networks": sorted(absent)} if absent and start.facts.imported else {})


def describe_start(stated: dict, start: StartingWeights, facts: RunFacts) -> list[str]:
    """Return lines for the user on the weights that a training begins from; `stated` is what `take_weights` returned.

    `facts` are those of the new training.
    """
    surveys, others = (" and ".join(d.survey for d in each.domains.values()) for each in (facts, start.facts))
    lines = [f"begins from the weights of {start.name} (iteration {start.checkpoint.iteration:,})"]
    if "bands" in stated:
        lines[0] += f", those for {stated['bands']} of its bands {''.join(start.facts.domains['x'].bands)}"
    if surveys != others:
        lines.append(f"{start.name} was trained on {others}, and this training is on {surveys}")
    if "new_networks" in stated:
        lines.append(f"it has no weights of {', '.join(stated['new_networks'])}, which begin anew")
    return lines


def _in_bands(networks: nn.ModuleDict, given: dict[str, Tensor], places: list[int], count: int) -> dict[str, Tensor]:
    """Return weights for some of the bands, of those networks that say which axes of their weights are bands.

    A network says so by `band_axes`: the name of a weight to pairs of an axis, and how many channels in a row are of
    one band. On that axis, all bands come once or several times, one after the other.

    Parameters
    ----------
    networks : ModuleDict
        The networks of the new training.
    given : dict
        Weights for all bands.
    places : list of int
        Places of the wanted bands among them.
    count : int
        Number of all bands.
    """
    found = dict(given)
    for role, network in networks.items():
        for name, axes in getattr(network, "band_axes", {}).items():
            key = f"{role}.{name}"
            for axis, each in axes if key in found else ():
                shape = found[key].shape
                split = found[key].unflatten(axis, (shape[axis] // (count * each), count, each))
                found[key] = split.index_select(axis + 1, torch.tensor(places)).flatten(axis, axis + 2).contiguous()
    return found


def _faults(expected: dict[str, Tensor], given: dict[str, Tensor]) -> list[str]:
    """Return in words which weights do not fit."""
    words = []
    for name in sorted(expected.keys() | given.keys()):
        wanted, found = (tuple(each[name].shape) if name in each else None for each in (expected, given))
        if found is None:
            words.append(f"it has no {name} {wanted}")
        elif wanted is None:
            words.append(f"its {name} {found} has no place here")
        elif wanted != found:
            words.append(f"its {name} is {found}, and here it is {wanted}")
    return words


def _listed(faults: list[str]) -> str:
    """Return the first few faults, and how many more there are."""
    more = f"; and {len(faults) - NAMED} more" if len(faults) > NAMED else ""
    return "; ".join(faults[:NAMED]) + more


def _differences(there: RunFacts, here: RunFacts) -> str:
    """Return in words how the surveys, bands, sizes and width of two runs differ, followed by a colon; "" if not."""
    words = []
    for name, domain in here.domains.items():
        known = there.domains[name]
        mine, its = (f"{d.survey} in {''.join(d.bands)} on {d.size} pixels" for d in (domain, known))
        if mine != its:
            words.append(f"its {name} is {its} and not {mine}")
    if there.width and there.width != here.width:
        words.append(f"its width is {there.width} and not {here.width}")
    return f"{', '.join(words)}: " if words else ""


def _remedy(there: RunFacts, here: RunFacts, stores: Iterable[Store]) -> str:
    """Return what to do about weights that do not fit."""
    bands = there.domains["x"].bands
    if here.domains["x"].bands != bands and all(set(bands) <= set(store.bands) for store in stores):
        return f"give its bands as --bands {''.join(bands)}"
    shared = [band for band in bands if all(band in store.bands for store in stores)]
    if shared and not set(here.domains["x"].bands) <= set(bands):
        return f"give --bands {''.join(shared)}, for which it has weights"
    if there.width and there.width != here.width:
        return f"give --width {there.width}, or begin from another run"
    return "begin from a run of such stores, or without --from"
