"""What a user sees of a training: the progress bar, TensorBoard curves and panels."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch.utils.tensorboard import SummaryWriter

from survey_tools.progress import Progress
from translator.conditions import as_tensor, one_centre
from translator.images import OTHER, Batch, Known
from translator.networks.observation_operator import inverse
from translator.observing import Observed
from translator.share import WHOLE, Share
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
