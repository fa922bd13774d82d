"""The training loop, with its progress bar, curves and pictures."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import torch
from torch.utils.tensorboard import SummaryWriter

from survey_tools.errors import RunError
from survey_tools.progress import Progress
from translator.data.conditions import as_tensor, one_centre
from translator.images import OTHER, WHOLE, Batch, Known, Share
from translator.networks.observation_operator import inverse
from translator.observing import Observed
from translator.training.flux_scatter import measure_flux_scatter
from translator.training.ranks import Interrupts, any_asks, in_all
from translator.training.session import Session, optimizers_of, save
from translator.training.trial import try_recipe
from translator.training.update import iterate
from translator.use import Use, Wanted

PANEL_ROWS = 4  # galaxies in a panel
FOLDER = "tensorboard"  # of a run


After = Callable[[int, float, dict[str, float]], None]  # see `train`


class Watch:
    """The progress bar of one step, and the curves of all steps.

    Parameters
    ----------
    path : Path
        Folder of the run.
    start : int
        Iterations done already. Later points of the curves come from a run that was killed, and are dropped.
    share : Share
        Only the first of several processes shows anything.
    """

    def __init__(self, path: Path, start: int, share: Share = WHOLE) -> None:
        self._writer = SummaryWriter(str(path / FOLDER), purge_step=start + 1) if share.rank == 0 else None
        self._progress: Progress | None = None
        self._losses = ""

    @contextmanager
    def step(self, number: int, of: int, done: int, iterations: int) -> Iterator[None]:
        """Show the progress of step `number`, counted from 1."""
        how = {"done": done, "facts": lambda: self._losses, "silent": self._writer is None}
        with Progress(iterations, f"training step {number} of {of}", "it", **how) as self._progress:
            yield

    def show(self, step: int, iteration: int, losses: dict[str, float]) -> None:
        """Add the losses of one iteration to the curves and to the progress bar."""
        if not self._writer:
            return
        for name, value in losses.items():
            self._writer.add_scalar(f"step {step}/{name}", value, iteration)
        self._losses = ", ".join(f"{name}={value:.2g}" for name, value in losses.items())
        self._progress.update()

    def panels(self, use: Use, networks: torch.nn.ModuleDict, batch: Batch, band: int, iteration: int) -> None:
        """Add pictures of a batch in one band: in each row the original, its translation with noise, and its pair.

        Parameters
        ----------
        use : Use
            How the networks translate.
        networks : ModuleDict
            Networks of the model.
        batch : Batch
            Images as flux; those of pairs are shown if it has any.
        band : int
            Number of the band.
        iteration : int
            Number of the iteration.
        """
        if not self._writer:
            return
        shown = {d: getattr(batch, f"pair_{d}" if batch.paired else d)[:PANEL_ROWS] for d in OTHER}
        for domain, there in OTHER.items():
            original, size = shown[there], shown[domain].shape[-1]
            randoms = [torch.Generator().manual_seed(seed) for seed in range(len(original))]  # not the training's
            observed, wanted = self._asked(batch, original, domain, size)
            with torch.no_grad():
                translated = use.translate(networks, observed, wanted, randoms).image
            columns = [original, translated, *([shown[domain]] if batch.paired else [])]
            columns = [_mosaic(images[:, band], size) for images in columns]
            self._writer.add_image(f"translated/{domain}", np.hstack(columns), iteration, dataformats="HW")

    @staticmethod
    def _asked(batch: Batch, original: torch.Tensor, domain: str, size: int) -> tuple[Observed, Wanted]:
        """Return the images of a panel, and a request for the conditions of their pairs, or else the usual ones."""
        count, unknown = len(original), torch.full(original.shape[:2], torch.nan, device=original.device)
        none = Known(unknown, unknown, unknown)
        kind = "pair_" if batch.paired else ""
        here, known = (batch.known.get(f"{kind}{d}", none) for d in (domain, OTHER[domain]))
        here, known = (each.map(lambda values: values[:count]) for each in (here, known))
        ratio = size / original.shape[-1]
        alignment = as_tensor(one_centre(ratio), original.device).expand(count, 2, 3)
        if batch.paired and batch.alignment is not None:
            alignment = batch.alignment[:count] if domain == "y" else inverse(batch.alignment[:count])
        wanted = Wanted(domain, size, 1.0, alignment, here.psf_fwhm, unknown, unknown)
        return Observed(original, torch.isfinite(original), known), wanted

    def flush(self) -> None:
        """Write the curves to the disk, so that none is behind the checkpoint that follows."""
        if self._writer:
            self._writer.flush()

    def close(self) -> None:
        """Write out everything and close the file of the curves."""
        if self._writer:
            self._writer.close()


def _mosaic(images: torch.Tensor, size: int) -> np.ndarray:
    """Put images (B, row, col) above each other, `size` columns wide, on an asinh scale from sky (0) to peak (1)."""
    images = (
        torch.nn.functional.interpolate(images[:, None].nan_to_num(), size=(size, size))[:, 0].double().cpu().numpy()
    )
    low, high = np.percentile(images, (5, 99.5), axis=(1, 2), keepdims=True)
    scaled = np.arcsinh(10 * (images - low) / np.maximum(high - low, 1e-12)) / np.arcsinh(10)
    return np.vstack(list(np.clip(scaled, 0, 1)))


def train(session: Session, after: After | None = None) -> None:
    """Train to the end of the last step, with a progress bar, TensorBoard curves and checkpoints.

    Parameters
    ----------
    session : Session
        A training, new or resumed.
    after : callable, optional
        Called after each iteration, before anything is saved, with the number of the step, counted from 1, the seconds
        that the iteration took, and its losses by name.

    Raises
    ------
    RunError
        If a loss of any step fails on the first images; nothing has begun then. If a loss or a gradient is not finite;
        nothing is saved after the last checkpoint. If the user stops the training; its state is saved, and the message
        has the command that resumes it.
    """
    first, share = 0, session.share
    steps = session.recipe.steps
    if session.iteration < sum(step.iterations for step in steps):
        in_all(share, lambda: try_recipe(session))
    watching = closing(Watch(session.path, session.iteration, share))
    with Interrupts(share) as interrupts, closing(session.batches), watching as watch:
        for number, step in enumerate(steps):
            done = session.iteration - first
            if done < step.iterations:
                with watch.step(number + 1, len(steps), done, step.iterations):
                    _play(session, number, first, watch, interrupts, after or (lambda *_: None))
            first += step.iterations


def _play(session: Session, number: int, first: int, watch: Watch, interrupts: Interrupts, after: After) -> None:
    """Play the rest of one step, whose first iteration has the number `first` in the run."""
    step = session.recipe.steps[number]
    if session.iteration == first:
        session.optimizers = optimizers_of(step, session.networks)
    for index in range(session.iteration - first, step.iterations):
        batch = session.batches.batch(session.iteration)
        begun = time.perf_counter()
        try:
            losses = iterate(session.model, step, index, session.optimizers, batch.map(session.recipe.reads))
        except FloatingPointError as error:
            raise _ended(
                session,
                f"{error} in iteration {session.iteration}; the last checkpoint is kept: resume from it with "
                f"`{session.command}`, or begin again with another --seed",
            ) from error
        spent = time.perf_counter() - begun
        session.iteration += 1
        watch.show(number + 1, session.iteration, losses)
        after(number + 1, spent, losses)
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
                f"stopped after iteration {session.iteration} of {total}, saved; resume with `{session.command}`",
            )


def _ended(session: Session, why: str) -> BaseException:
    """Return the error that ends a training in every process: the first says why, the others are silent."""
    return RunError(why) if session.share.rank == 0 else SystemExit(1)
