"""What becomes of an image on its way into a batch: it is turned by a symmetry of the square.

A symmetry is a number from 0 to 7: quarter turns counterclockwise, plus 4 where the columns are reversed after them.
"""

import numpy as np
import torch
from torch import Tensor

SYMMETRIES = 8
# By symmetry: whether rows and columns are exchanged, then the rows reversed, then the columns.
STEPS = ((0, 0, 0), (1, 1, 0), (0, 1, 1), (1, 0, 1), (0, 0, 1), (1, 1, 1), (0, 1, 0), (1, 0, 0))


def turn_and_mirror(images: Tensor, symmetry: np.ndarray) -> Tensor:
    """Square images (B, C, H, W), on any device, each under its own symmetry (B,)."""
    steps = torch.tensor(STEPS, dtype=torch.bool)[torch.from_numpy(symmetry)].to(images.device, non_blocking=True)
    exchange, rows, columns = (step[:, None, None, None] for step in steps.unbind(1))
    images = torch.where(exchange, images.mT, images)
    images = torch.where(rows, images.flip(-2), images)
    return torch.where(columns, images.flip(-1), images)


def turned(image: np.ndarray, symmetry: int) -> np.ndarray:
    """One square image (…, row, col) under a symmetry, as a view."""
    exchange, rows, columns = STEPS[symmetry]
    image = image.swapaxes(-2, -1) if exchange else image
    return image[..., :: -1 if rows else 1, :: -1 if columns else 1]
