"""What a plot of the report shows: curves of each band, and maps where a curve says too little."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Curve:
    """Curves over one axis, band by band.

    Attributes:
        title: Of the plot.
        x_label: With the unit.
        y_label: With the unit.
        x: (n,)
        y: Label of a curve to (band, n); NaN where there is no value.
        log_x: Whether the x axis is logarithmic.
        log_y: Whether the y axis is.
        maps: Label of an image to (band, row, col); None where there are none.
    """

    title: str
    x_label: str
    y_label: str
    x: np.ndarray
    y: dict[str, np.ndarray]
    log_x: bool = False
    log_y: bool = False
    maps: dict[str, np.ndarray] | None = None
