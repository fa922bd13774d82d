"""The training loop, with its progress bar, curves and pictures."""

import time
from collections.abc import Callable, Iterator, Sequence
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
from translator.runs.facts import write_facts
from translator.training.flux_scatter import measure_flux_scatter
from translator.training.ranks import Interrupts, any_asks, gather, in_all
from translator.training.session import Session, end_step, optimizers_of, save
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
        self._losses, self._validated, self._iteration = "", "", 0

    @contextmanager
    def step(self, number: int, of: int, done: int, iterations: int, total: int) -> Iterator[None]:
        """Show the progress of step `number`, counted from 1; all steps have `total` iterations."""

        def facts() -> str:
            whole = f"; iteration {self._iteration:,} of {total:,} of the run" if of > 1 and self._iteration else ""
            return self._losses + whole + self._validated

        how = {"done": done, "facts": facts, "silent": self._writer is None}
        with Progress(iterations, f"training step {number} of {of}", "it", **how) as self._progress:
            yield

    def show(self, step: int, iteration: int, losses: dict[str, float]) -> None:
        """Add the losses of one iteration to the curves and to the progress bar."""
        if not self._writer:
            return
        for name, value in losses.items():
            self._writer.add_scalar(f"step {step}/{name}", value, iteration)
        self._losses = ", ".join(f"{name}={value:.2g}" for name, value in losses.items())
        self._iteration = iteration
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

    def validation(self, entry: dict, measure: str, bands: Sequence[str]) -> None:
        """Add the measures of one validation, an entry of its `Past`, to the curves, and one of them to the bar.

        Parameters
        ----------
        entry : dict
            The validation.
        measure : str
            Name of the measure that the bar shows.
        bands : sequence of str
            Bands, in the order of the values.
        """
        shown = {}
        for direction, measured in entry["values"].items():
            for name, values in measured.items():
                known = [value for value in values if value is not None]
                if known:
                    middle = float(np.median(known))
                    self._writer.add_scalar(f"validation {direction}/{name}", middle, entry["iteration"])
                    shown |= {direction: middle} if name == measure else {}
                for band, value in zip(bands, values, strict=True):
                    if value is not None:
                        tag = f"validation {direction}, bands/{name}_{band}"
                        self._writer.add_scalar(tag, value, entry["iteration"])
        each = ", ".join(f"{direction}={value:.3g}" for direction, value in shown.items())
        self._validated = f"; {measure} of iteration {entry['iteration']:,}: {each}" if each else ""

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
                total = sum(session.facts.iterations)
                with watch.step(number + 1, len(steps), done, step.iterations, total):
                    _play(session, number, first, watch, interrupts, after or (lambda *_: None))
            first += session.recipe.steps[number].iterations


def _play(session: Session, number: int, first: int, watch: Watch, interrupts: Interrupts, after: After) -> None:
    """Play the rest of one step, whose first iteration has the number `first` in the run; it may end early."""
    step = session.recipe.steps[number]
    over = session.validation.ends(session.iteration) if session.validation and session.iteration > first else ""
    if over:  # the step had ended, and the training was interrupted before run.json said so
        _end(session, number, over)
        return
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
        last, final = index + 1 == step.iterations, number + 1 == len(session.recipe.steps)
        entry, why = _validate(session, number, watch, last=last)
        last = last or bool(why)
        asked = any_asks(interrupts.asked, session.share, session.batches.device)
        if last and final and session.share.rank == 0:
            measure_flux_scatter(session.run, session.stores, session.selection.pairs)
        if entry and entry["best"]:
            session.validation.keep_best(session.run, number, session.facts, entry["distance"])
        if last or asked or session.iteration % session.checkpoint_every == 0:
            watch.flush()
            save(session, number)
            middle = len(session.facts.domains["x"].bands) // 2
            watch.panels(session.recipe.use, session.networks, batch, middle, session.iteration)
        if last and final and session.validation and session.share.rank == 0:
            session.validation.finish_best(session.run, session.facts, session.selection.pairs)
        if why:
            _end(session, number, why)
            return
        if asked:
            total = sum(session.facts.iterations)
            raise _ended(
                session,
                f"stopped after iteration {session.iteration} of {total}, saved; resume with `{session.command}`",
            )


def _validate(session: Session, number: int, watch: Watch, *, last: bool) -> tuple[dict | None, str]:
    """Validate a training if that is due after this iteration; return what the first process found, and why the step
    ends, in all processes, or "".

    Parameters
    ----------
    session : Session
        The training.
    number : int
        Number of the step, counted from 0.
    watch : Watch
        Where the measures are shown.
    last : bool
        Whether this is the last iteration of the step.
    """
    validation, entry = session.validation, None
    if validation is None or not validation.is_due(session.iteration, last=last):
        return None, ""
    if session.share.rank == 0:
        final = number + 1 == len(session.recipe.steps)
        past = [each["why"] for each in session.facts.ended if each["step"] <= number]
        entry = validation.validate(session.run, number + 1, final=final, past=past)
        watch.validation(entry, validation.by.measure.name, session.facts.domains["x"].bands)
    return entry, gather(entry and entry["ends"], session.share)[0]


def _end(session: Session, number: int, why: str) -> None:
    """Let a step end at this iteration, also in run.json."""
    end_step(session, number, why)
    if session.share.rank == 0:
        write_facts(session.path, session.facts)


def _ended(session: Session, why: str) -> BaseException:
    """Return the error that ends a training in every process: the first says why, the others are silent."""
    return RunError(why) if session.share.rank == 0 else SystemExit(1)
