"""What a user sees of a training: the progress bar, TensorBoard curves and panels."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from translator.images import OTHER, Batch, imitate

PANEL_ROWS = 4  # galaxies in a panel
FOLDER = "tensorboard"  # of a run


class Watch:
    """The progress bar of one step, and the curves of all.

    Args:
        path: Folder of the run.
        start: Iterations done already; curves beyond are those of a run that was killed, and are dropped.
    """

    def __init__(self, path: Path, start: int) -> None:
        self._writer = SummaryWriter(str(path / FOLDER), purge_step=start)
        self._bar: tqdm | None = None

    @contextmanager
    def step(self, number: int, of: int, done: int, iterations: int) -> Iterator[None]:
        """Show the progress of step `number`, counted from 1."""
        with tqdm(
            total=iterations, initial=done, desc=f"training step {number} of {of}", unit="it", disable=None
        ) as self._bar:
            yield

    def show(self, step: int, iteration: int, losses: dict[str, float]) -> None:
        """Note the losses of one iteration."""
        for name, value in losses.items():
            self._writer.add_scalar(f"step {step}/{name}", value, iteration)
        self._bar.set_postfix({name: f"{value:.2g}" for name, value in losses.items()}, refresh=False)
        self._bar.update()

    def panels(self, networks: torch.nn.ModuleDict, batch: Batch, band: int, iteration: int) -> None:
        """Images of a batch in one band, row by row: original, translated with noise, and target where it has pairs."""
        random = torch.Generator(batch.x.device).manual_seed(0)  # not the training's: looking must not change it
        shown = {d: getattr(batch, f"pair_{d}" if batch.paired else d)[:PANEL_ROWS] for d in OTHER}
        for domain, there in OTHER.items():
            original = shown[there]
            with torch.no_grad():
                translated = imitate(networks, original, domain, random)
            columns = [original, translated, *([shown[domain]] if batch.paired else [])]
            columns = [_mosaic(images[:, band], shown[domain].shape[-1]) for images in columns]
            self._writer.add_image(f"translated/{domain}", np.hstack(columns), iteration, dataformats="HW")

    def close(self) -> None:
        """Write out what is pending."""
        self._writer.close()


def _mosaic(images: torch.Tensor, size: int) -> np.ndarray:
    """Images (B, row, col) above each other, `size` columns wide, from faint sky to peak on an asinh scale, 0 to 1."""
    images = torch.nn.functional.interpolate(images[:, None], size=(size, size))[:, 0].double().cpu().numpy()
    low, high = np.percentile(images, (5, 99.5), axis=(1, 2), keepdims=True)
    scaled = np.arcsinh(10 * (images - low) / np.maximum(high - low, 1e-12)) / np.arcsinh(10)
    return np.vstack(list(np.clip(scaled, 0, 1)))
