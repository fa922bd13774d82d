"""Translations as the survey of their input would observe them, by the operator of a run or by one fitted to pairs."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from survey_tools.store.zarr_store import Store
from survey_tools.tasks import Engine
from translator.data.conditions import NAMES, Conditions, alignments, as_tensor, usual_seeing
from translator.data.reading import read_rows
from translator.data.selection import Selection
from translator.data.survey_measures import measure_surveys
from translator.evaluation.held_out import HeldOut
from translator.images import OTHER, Batch, Images, Known
from translator.losses import observation
from translator.networks.measured_survey import MeasuredSurvey
from translator.networks.observation_operator import NoOperator, ObservationOperator
from translator.observing import leads_down, observe
from translator.report.sample_files import Rows, begin_array, write_part
from translator.runs.checkpoint import Run, RunAt
from translator.runs.device import one_thread
from translator.runs.facts import describe_domain

PAIRS = 128  # largest number of training pairs
ITERATIONS, BATCH = 60, 4
RATE, LAST_RATE = 0.03, 0.003  # learning rate at the beginning and at the end
SEED = 0


def fit_operator(stores: dict[str, Store], pairs: np.ndarray, richer: str) -> nn.ModuleDict:
    """Return networks with an operator, for `observing.observe`, that is fitted to pairs.

    Without pairs the operator stays as it is at the start: nearly Kolmogorov's spectrum of the seeing of both surveys,
    and the ratio of their pixels.

    Parameters
    ----------
    stores : dict
        Stores "x" and "y".
    pairs : array of int
        Rows of both stores (pair, 2), whose images have all pixels.
    richer : str
        The domain of the richer survey.
    """
    networks = operator_networks(stores, richer)
    if not len(pairs):
        _take_seeing(networks, stores)
        return networks.eval()
    with torch.no_grad():
        none = np.zeros(0, int)
        measure_surveys(networks, (stores["x"], stores["y"]), Selection(none, none, pairs, {}))
    _fit(networks, _whole_batch(stores, pairs), OTHER[richer])
    return networks.eval()


def operator_networks(stores: dict[str, Store], richer: str) -> nn.ModuleDict:
    """Return the networks before anything is measured or fitted."""
    grids = {domain: describe_domain(store).grid for domain, store in stores.items()}
    made = {}
    for here, there in OTHER.items():
        operator = NoOperator if here == richer else ObservationOperator
        made[f"operator_{here}"] = operator(grids[here], grids[there])
        made[f"survey_{here}"] = MeasuredSurvey(grids[here], grids[there])
    return nn.ModuleDict(made)


def _take_seeing(networks: nn.ModuleDict, stores: dict[str, Store]) -> None:
    """Give both surveys the usual seeing of their stores, if it is known."""
    for domain, store in stores.items():
        seeing = usual_seeing(store.sample("psf_fwhm"))
        if np.isfinite(seeing).all():
            networks[f"survey_{domain}"].psf_fwhm.copy_(torch.from_numpy(seeing.astype(np.float32)))


def _whole_batch(stores: dict[str, Store], pairs: np.ndarray) -> Batch:
    """Return all pairs as one batch."""
    images, known = {}, {}
    for number, domain in enumerate("xy"):
        rows = pairs[:, number]
        images[domain] = torch.from_numpy(read_rows(stores[domain], rows))
        known[f"pair_{domain}"] = Conditions(stores[domain]).of(rows, torch.device("cpu"))
    led = as_tensor(alignments(stores["x"], stores["y"], pairs), torch.device("cpu"))
    return Batch(images["x"], images["y"], images["x"], images["y"], known, led)


def _fit(networks: nn.ModuleDict, batch: Batch, poorer: str) -> None:
    """Fit the operator by Adam, to a few pairs at a time."""
    random = torch.Generator().manual_seed(SEED)
    optimiser = torch.optim.Adam(networks[f"operator_{poorer}"].parameters(), RATE)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimiser, (LAST_RATE / RATE) ** (1 / ITERATIONS))
    for _ in range(ITERATIONS):
        some = torch.randperm(len(batch.x), generator=random)[:BATCH]
        loss = observation(Images(networks, _take(batch, some), random), poorer)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()


def _take(batch: Batch, some: torch.Tensor) -> Batch:
    """Return some pairs of a batch."""
    known = {name: each.map(lambda values: values[some]) for name, each in batch.known.items()}
    taken = batch.map(lambda image: image[some])
    return replace(taken, known=known, alignment=batch.alignment[some])


PART = 32  # galaxies of a task


@dataclass(frozen=True)
class ObservationTask:
    """A task: observe some galaxies of a file of signals, and write the result into another file.

    Attributes
    ----------
    by : RunAt or ModuleDict
        A run with an operator, or networks with a fitted one.
    domain : str
        Domain of the poorer survey.
    signal : str
        File with images of the richer survey.
    target : Path
        File of the result.
    first : int
        Index of the first galaxy.
    known : dict
        Conditions of the images, by the names of `images.Known`, each (galaxy, band).
    seeing : array
        Seeing of the observation (galaxy, band) [arcsec].
    alignment : array
        Alignment from the grids of the observation to those of the images (galaxy, 2, 3).
    size : int
        Rows, and columns, of the observation.
    """

    by: RunAt | nn.ModuleDict
    domain: str
    signal: str
    target: Path
    first: int
    known: dict[str, np.ndarray]
    seeing: np.ndarray
    alignment: np.ndarray
    size: int


def add_seen(
    held_out: HeldOut, rows: Rows, runs: dict[str, tuple[RunAt, Run]], domain: str, folder: Path, engine: Engine
) -> Rows:
    """Return the samples with `seen`, the observation of their signals by the poorer survey.

    The operator is that of the first run that has one, or else one that is fitted to training pairs. Rows with the same
    signals share the result.

    Parameters
    ----------
    held_out : HeldOut
        The galaxies.
    rows : dict
        Samples by row.
    runs : dict
        Runs by name.
    domain : str
        Domain of the richer survey.
    folder : Path
        Folder for the arrays.
    engine : Engine
        Where they are made.
    """
    poorer = OTHER[domain]
    by = next((at for at, run in runs.values() if has_operator(run, poorer)), None)
    if by is None:
        by = fit_operator(held_out.stores, held_out.training_pairs(PAIRS), domain)
    signals = list(dict.fromkeys(files.files["signal"] for files, _ in rows.values() if _is_of_these(files, rows)))
    targets = {signal: folder / f"{number}.npy" for number, signal in enumerate(signals)}
    here = held_out.stores[poorer]
    for target in targets.values():
        begin_array(target, (len(held_out), len(here.bands), here.size, here.size))
    views = [view for signal, target in targets.items() for view in _views(held_out, by, poorer, signal, target)]
    engine.run(_see, views, f"observe {held_out.direction(domain)}", f"{PART} galaxies")
    return {
        name: (files.known({"seen": str(targets[files.files["signal"]])}) if _is_of_these(files, rows) else files, few)
        for name, (files, few) in rows.items()
    }


def has_operator(run: Run, domain: str) -> bool:
    """Return whether a run has learnt how the survey of `domain` observes images of the other survey."""
    return f"operator_{domain}" in run.networks and leads_down(run.networks, domain)


def _is_of_these(files, rows: Rows) -> bool:
    """Return whether a sample shows the galaxies of the first row; halves of the real images do not."""
    return files.files["source"] == next(iter(rows.values()))[0].files["source"]


def _views(
    held_out: HeldOut, by: RunAt | nn.ModuleDict, poorer: str, signal: str, target: Path
) -> list[ObservationTask]:
    """Return the tasks of one file."""
    here, there = held_out.stores[poorer], held_out.stores[OTHER[poorer]]
    known = {name: there.column(name)[held_out.rows[OTHER[poorer]]] for name in NAMES}
    seeing = here.take("psf_fwhm", held_out.rows[poorer])
    alignment = held_out.alignment(OTHER[poorer])
    views = []
    for first in range(0, len(held_out), PART):
        some = slice(first, first + PART)
        told = {name: column[some] for name, column in known.items()}
        views.append(ObservationTask(by, poorer, signal, target, first, told, seeing[some], alignment[some], here.size))
    return views


def _see(view: ObservationTask) -> None:
    """Run one task."""
    networks = view.by.open().networks if isinstance(view.by, RunAt) else view.by
    count = len(view.seeing)
    images = np.array(np.load(view.signal, mmap_mode="r")[view.first : view.first + count])
    device = next(networks[f"operator_{view.domain}"].parameters()).device
    known = Known(*(as_tensor(view.known[name], device) for name in NAMES))
    with torch.no_grad(), one_thread(device):
        seen = observe(
            networks,
            view.domain,
            as_tensor(images, device),
            known,
            as_tensor(view.seeing, device),
            as_tensor(view.alignment, device),
            view.size,
        )
    write_part(view.target, view.first, seen.cpu().numpy().astype(np.float32))
