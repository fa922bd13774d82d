"""What a user sees of a training: the progress bar, TensorBoard curves and panels."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from translator.images import OTHER, Batch, imitate
from translator.share import WHOLE, Share

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
        self._bar: tqdm | None = None

    @contextmanager
    def step(self, number: int, of: int, done: int, iterations: int) -> Iterator[None]:
        """Show the progress of step `number`, counted from 1."""
        silent = None if self._writer else True
        with tqdm(
            total=iterations, initial=done, desc=f"training step {number} of {of}", unit="it", disable=silent
        ) as self._bar:
            yield

    def show(self, step: int, iteration: int, losses: dict[str, float]) -> None:
        """Note the losses of one iteration."""
        if not self._writer:
            return
        for name, value in losses.items():
            self._writer.add_scalar(f"step {step}/{name}", value, iteration)
        self._bar.set_postfix({name: f"{value:.2g}" for name, value in losses.items()}, refresh=False)
        self._bar.update()

    def panels(self, networks: torch.nn.ModuleDict, batch: Batch, band: int, iteration: int) -> None:
        """Images of a batch in one band, row by row: original, translated with noise, and target where it has pairs."""
        if not self._writer:
            return
        random = torch.Generator(batch.x.device).manual_seed(0)  # not the training's: looking must not change it
        shown = {d: getattr(batch, f"pair_{d}" if batch.paired else d)[:PANEL_ROWS] for d in OTHER}
        for domain, there in OTHER.items():
            original = shown[there]
            with torch.no_grad():
                translated = imitate(networks, original, domain, random)
            columns = [original, translated, *([shown[domain]] if batch.paired else [])]
            columns = [_mosaic(images[:, band], shown[domain].shape[-1]) for images in columns]
            self._writer.add_image(f"translated/{domain}", np.hstack(columns), iteration, dataformats="HW")

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
    images = torch.nn.functional.interpolate(images[:, None], size=(size, size))[:, 0].double().cpu().numpy()
    low, high = np.percentile(images, (5, 99.5), axis=(1, 2), keepdims=True)
    scaled = np.arcsinh(10 * (images - low) / np.maximum(high - low, 1e-12)) / np.arcsinh(10)
    return np.vstack(list(np.clip(scaled, 0, 1)))
