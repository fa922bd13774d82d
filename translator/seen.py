"""What the input's survey would see of each row's signal, where translations land in the richer survey."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from survey_tools.tasks import Engine
from translator.checkpoint import Run
from translator.conditions import NAMES, as_tensor
from translator.device import one_thread
from translator.fitted_operator import PAIRS, fit_operator
from translator.held_out import HeldOut
from translator.images import OTHER, Known
from translator.loaded import RunAt
from translator.observing import leads_down, observe
from translator.sample_files import Rows, begin_array, write_part

PART = 32  # galaxies that a task observes


@dataclass(frozen=True)
class View:
    """What a task observes: some galaxies of a file of signals, into another file.

    Attributes:
        by: A run with an operator, or the networks of a fitted one.
        domain: Of the poorer survey.
        signal: File of images of the richer survey.
        target: File of what is seen of them.
        first: Place of the first galaxy.
        known: Of the images, as of `images.Known`: columns (galaxy, band) by name.
        seeing: That is seen (galaxy, band) [arcsec].
        alignment: From the grids that are seen to those of the images (galaxy, 2, 3).
        size: Rows, and columns, of what is seen.
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
    """The samples with what the poorer survey would see of them; rows that share their signals share that too.

    The operator is that of the first run that has one, or else one that is fitted to training pairs.

    Args:
        held_out: The galaxies.
        rows: By name.
        runs: By name, with where tasks find them.
        domain: Of the richer survey.
        folder: For the arrays.
        engine: Where they are made.
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
    """Whether a run has learnt what the survey of `domain` sees of the other's images."""
    return f"operator_{domain}" in run.networks and leads_down(run.networks, domain)


def _is_of_these(files, rows: Rows) -> bool:
    """Whether a sample shows the galaxies of the first row: one half of the real images against the other does not."""
    return files.files["source"] == next(iter(rows.values()))[0].files["source"]


def _views(held_out: HeldOut, by: RunAt | nn.ModuleDict, poorer: str, signal: str, target: Path) -> list[View]:
    """The tasks of one file."""
    here, there = held_out.stores[poorer], held_out.stores[OTHER[poorer]]
    known = {name: there.column(name)[held_out.rows[OTHER[poorer]]] for name in NAMES}
    seeing = here.column("psf_fwhm")[held_out.rows[poorer]]
    alignment = held_out.alignment(OTHER[poorer])
    views = []
    for first in range(0, len(held_out), PART):
        some = slice(first, first + PART)
        told = {name: column[some] for name, column in known.items()}
        views.append(View(by, poorer, signal, target, first, told, seeing[some], alignment[some], here.size))
    return views


def _see(view: View) -> None:
    """One task."""
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
