"""The intensity stretch that the networks work in, and its exact inverse.

Both take numpy arrays and torch tensors alike and return the same kind, and `stretch_into` arrays alone; NaN, a missing
pixel, stays NaN.
"""

import numpy as np


def stretch(flux):
    """Stretch flux [nanomaggy/pixel] of any shape: I = sign(I0) (sqrt(|I0| + 1) - 1).

    Odd in I0, so sky noise stays symmetric; linear (I0 / 2) for faint pixels and a square root for bright ones. The
    formula is written as I0 / (sqrt(|I0| + 1) + 1), the same number without the cancellation near zero.
    """
    return flux / ((abs(flux) + 1) ** 0.5 + 1)


def stretch_into(room: np.ndarray, image: np.ndarray) -> np.ndarray:
    """`stretch` of an image, to the bit, in the second half of the `room` (2, *shape) of two.

    Memory asked for anew for each image would cost two threads their parallelism.
    """
    divisor, stretched = room
    np.abs(image, out=divisor)
    np.add(divisor, 1, out=divisor)
    np.sqrt(divisor, out=divisor)
    np.add(divisor, 1, out=divisor)
    return np.divide(image, divisor, out=stretched)


def unstretch(intensity):
    """Flux [nanomaggy/pixel] of stretched intensity of any shape, exactly: I0 = I (|I| + 2)."""
    return intensity * (abs(intensity) + 2)
