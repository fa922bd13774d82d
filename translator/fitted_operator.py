"""The operator from the richer survey's images to the poorer one's, fitted to pairs where no run brings one."""

from dataclasses import replace

import numpy as np
import torch
from torch import nn

from survey_tools.store import Store
from translator.conditions import Conditions, alignments, as_tensor, usual_seeing
from translator.facts import describe_domain
from translator.images import OTHER, Batch, Images
from translator.losses import observation
from translator.networks.measured_survey import MeasuredSurvey
from translator.networks.observation_operator import NoOperator, ObservationOperator
from translator.reading import read_rows
from translator.selection import Selection
from translator.survey_measures import measure_surveys

PAIRS = 128  # training pairs at most
ITERATIONS, BATCH = 60, 4
RATE, LAST_RATE = 0.03, 0.003  # of learning, at the beginning and at the end
SEED = 0


def fit_operator(stores: dict[str, Store], pairs: np.ndarray, richer: str) -> nn.ModuleDict:
    """Networks that `observing.observe` reads, fitted to pairs; without pairs the operator stays as it begins.

    As it begins an operator is nearly Kolmogorov's spectrum of both surveys' seeing, and the ratio of their pixels.

    Args:
        stores: By domain, "x" and "y".
        pairs: Rows of both (pair, 2), whose images have every pixel.
        richer: The domain of the richer survey.
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
    """The networks before anything is measured or fitted."""
    grids = {domain: describe_domain(store).grid for domain, store in stores.items()}
    made = {}
    for here, there in OTHER.items():
        operator = NoOperator if here == richer else ObservationOperator
        made[f"operator_{here}"] = operator(grids[here], grids[there])
        made[f"survey_{here}"] = MeasuredSurvey(grids[here], grids[there])
    return nn.ModuleDict(made)


def _take_seeing(networks: nn.ModuleDict, stores: dict[str, Store]) -> None:
    """Give both surveys the usual seeing of their stores, where it is known."""
    for domain, store in stores.items():
        seeing = usual_seeing(store.column("psf_fwhm"))
        if np.isfinite(seeing).all():
            networks[f"survey_{domain}"].psf_fwhm.copy_(torch.from_numpy(seeing.astype(np.float32)))


def _whole_batch(stores: dict[str, Store], pairs: np.ndarray) -> Batch:
    """All pairs as one batch."""
    images, known = {}, {}
    for number, domain in enumerate("xy"):
        rows = pairs[:, number]
        images[domain] = torch.from_numpy(read_rows(stores[domain], rows))
        known[f"pair_{domain}"] = Conditions(stores[domain]).of(rows, torch.device("cpu"))
    led = as_tensor(alignments(stores["x"], stores["y"], pairs), torch.device("cpu"))
    return Batch(images["x"], images["y"], images["x"], images["y"], known, led)


def _fit(networks: nn.ModuleDict, batch: Batch, poorer: str) -> None:
    """Fit the operator by Adam, on a few pairs at a time."""
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
    known = {name: each.map(lambda values: values[some]) for name, each in batch.known.items()}
    taken = batch.map(lambda image: image[some])
    return replace(taken, known=known, alignment=batch.alignment[some])
