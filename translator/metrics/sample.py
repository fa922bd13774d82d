"""What a measure looks at: the same galaxies as they were translated, and as the target survey sees them."""

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Sample:
    """Images of the same galaxies, (galaxy, band, row, col) in nanomaggy/pixel on the target survey's pixels.

    Attributes:
        bands: In the order of the band axis.
        pixel_scale: Of all images but `source` [arcsec/pixel].
        output: Translations as they are handed to users, noise included.
        signal: Translations without noise; the same as `output` where the model has no noise of its own.
        target: The target survey's real images.
        sigma: (galaxy, band) standard deviation of a blank pixel of `target` [nanomaggy/pixel].
        truth: The target survey's images without noise; None where the sky is real.
        again: Other real images of the same galaxies, with other noise; None where there are none.
        draws: (draw, galaxy, band, row, col) several translations with different noise; None where they were not made.
        source: The images that were translated, on their own pixels; None where they do not matter.
        source_scale: Of `source` [arcsec/pixel].
        seen: What the input's survey would see of `signal`, without noise, on the input's pixels (galaxy, band, row,
            col); None where the input is the richer image, which nothing can be made of what is poorer.
        source_sigma: (galaxy, band) standard deviation of a blank pixel of `source` [nanomaggy/pixel].
        source_gain: (galaxy, band) of `source` [electron/nanomaggy]; NaN where it is not known.
        redshift: (galaxy,) NaN where unknown.
        taught: (other galaxy, band, aperture) light in real target images of other galaxies, as
            `redshift.aperture_fluxes` measures it: what a redshift estimator learns from; None where there are none.
        taught_redshift: (other galaxy,) their redshifts; alike.
    """

    bands: tuple[str, ...]
    pixel_scale: float
    output: np.ndarray
    signal: np.ndarray
    target: np.ndarray
    sigma: np.ndarray
    truth: np.ndarray | None = None
    again: np.ndarray | None = None
    draws: np.ndarray | None = None
    source: np.ndarray | None = None
    source_scale: float = np.nan
    seen: np.ndarray | None = None
    source_sigma: np.ndarray | None = None
    source_gain: np.ndarray | None = None
    redshift: np.ndarray | None = None
    taught: np.ndarray | None = None
    taught_redshift: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.target)

    def take(self, galaxies: np.ndarray) -> "Sample":
        """Some of the galaxies (index or bool), in that order."""
        images = {name: getattr(self, name) for name in ("output", "signal", "target", "sigma", "truth", "again")}
        images |= {name: getattr(self, name) for name in ("source", "seen", "source_sigma", "source_gain", "redshift")}
        some = {name: None if value is None else value[galaxies] for name, value in images.items()}
        return replace(self, **some, draws=None if self.draws is None else self.draws[:, galaxies])
