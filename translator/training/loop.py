"""The training loop, and what a user sees of it."""

from collections.abc import Iterator
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


class Watch:
    """The progress bar of one step, and the curves of all.

    Args:
        path: Folder of the run.
        start: Iterations done already; curves beyond are those of a run that was killed, and are dropped.
        share: Of several processes only the first shows anything.
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
        """Note the losses of one iteration."""
        if not self._writer:
            return
        for name, value in losses.items():
            self._writer.add_scalar(f"step {step}/{name}", value, iteration)
        self._losses = ", ".join(f"{name}={value:.2g}" for name, value in losses.items())
        self._progress.update()

    def panels(self, use: Use, networks: torch.nn.ModuleDict, batch: Batch, band: int, iteration: int) -> None:
        """Images of a batch in one band, row by row: original, translated with noise, and target where it has pairs.

        Args:
            use: How the networks translate.
            networks: Of the model.
            batch: As flux.
            band: Number of the band.
            iteration: Of the training.
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
        """The images of a panel, and that they are wanted as their pairs are; else of the survey's usual seeing."""
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
        """Have the curves on disk, as a checkpoint is to be that goes on with them."""
        if self._writer:
            self._writer.flush()

    def close(self) -> None:
        """Write out what is pending."""
        if self._writer:
            self._writer.close()


def _mosaic(images: torch.Tensor, size: int) -> np.ndarray:
    """Images (B, row, col) above each other, `size` columns wide, from faint sky to peak on an asinh scale, 0 to 1."""
    images = (
        torch.nn.functional.interpolate(images[:, None].nan_to_num(), size=(size, size))[:, 0].double().cpu().numpy()
    )
    low, high = np.percentile(images, (5, 99.5), axis=(1, 2), keepdims=True)
    scaled = np.arcsinh(10 * (images - low) / np.maximum(high - low, 1e-12)) / np.arcsinh(10)
    return np.vstack(list(np.clip(scaled, 0, 1)))


def train(session: Session) -> None:
    """Train to the end of the last step, with a progress bar, TensorBoard curves and checkpoints.

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
                    _play(session, number, first, watch, interrupts)
            first += step.iterations


def _play(session: Session, number: int, first: int, watch: Watch, interrupts: Interrupts) -> None:
    """Play the rest of one step, whose first iteration has the number `first` in the run."""
    step = session.recipe.steps[number]
    if session.iteration == first:
        session.optimizers = optimizers_of(step, session.networks)
    for index in range(session.iteration - first, step.iterations):
        batch = session.batches.batch(session.iteration)
        try:
            losses = iterate(session.model, step, index, session.optimizers, batch.map(session.recipe.reads))
        except FloatingPointError as error:
            raise _ended(
                session,
                f"{error} in iteration {session.iteration}; the last checkpoint is kept: go on from it with "
                f"`{session.command}`, or begin anew with another --seed",
            ) from error
        session.iteration += 1
        watch.show(number + 1, session.iteration, losses)
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
                f"stopped after iteration {session.iteration} of {total}, saved; go on with `{session.command}`",
            )


def _ended(session: Session, why: str) -> BaseException:
    """What ends a training that cannot go on in any of its processes: the first says why, the others are silent."""
    return RunError(why) if session.share.rank == 0 else SystemExit(1)
