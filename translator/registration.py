"""What a translation loses that does not know how the grid of its target lies on the grid of its input."""

import numpy as np
import scipy.fft

from translator.metrics.measure import Statistics
from translator.metrics.sample import Sample
from translator.metrics.signal import CERTAIN, noise_correlation, noise_power, relative_residual

AT_ONCE = 32  # galaxies in memory
NO_OFFSET = 1e-3  # pixels below which grids have one centre


def describe_registration(sample: Sample, alignment: np.ndarray) -> dict:
    """The offsets of the grids, and the signal residual that a perfect translation without them would get.

    Args:
        sample: Its truth, or else its target, is shifted by each pair's offset.
        alignment: From the inputs' grids to the targets' (galaxy, 2, 3), as of `networks.observation_operator`.

    Returns:
        "offset": the median length [pixel of the target]; "residual" (band,), None where it is not known; "sentence".
    """
    offsets = alignment[..., 2]
    length = float(np.median(np.hypot(*offsets.T)))
    residual = relative_residual(shifted_powers(sample, offsets))
    known = [float(f"{value:.4g}") if np.isfinite(value) else None for value in residual]
    return {"offset": round(length, 4), "residual": known, "sentence": _sentence(length, known, sample)}


def shifted_powers(sample: Sample, offsets: np.ndarray) -> Statistics:
    """Residual and light of each galaxy (galaxy, band), when its light is moved by an offset (galaxy, 2) in pixels.

    In Fourier space: Σ |exp(-2 π i k o) - 1|² |L|² and Σ |L|², which no interpolation blurs. |L|² is the power of the
    truth, or without one that of the real image less that of its noise; a galaxy that the noise hides is NaN then.
    """
    light = sample.target if sample.truth is None else sample.truth
    rows, cols = light.shape[-2:]
    noise = np.zeros((len(sample.bands), rows, cols // 2 + 1))
    if sample.truth is None:
        noise = noise_power(noise_correlation(sample.target, sample.sigma), rows, cols) * rows * cols
    along, across = scipy.fft.fftfreq(rows)[:, None], scipy.fft.rfftfreq(cols)
    times = np.full(cols // 2 + 1, 2.0)  # frequencies of the whole plane that one of the half plane stands for
    times[0] = 1.0
    if cols % 2 == 0:
        times[-1] = 1.0
    found: dict[str, list[np.ndarray]] = {"residual_power": [], "light_power": []}
    for start in range(0, len(light), AT_ONCE):
        some = slice(start, start + AT_ONCE)
        sigma = np.zeros(sample.sigma[some].shape) if sample.truth is not None else sample.sigma[some]
        power = np.abs(scipy.fft.rfft2(np.asarray(light[some], float))) ** 2 - sigma[..., None, None] ** 2 * noise
        phase = along * offsets[some, 0, None, None] + across * offsets[some, 1, None, None]
        lost = 4 * np.sin(np.pi * phase) ** 2
        sums = [(power * weight * times).sum(axis=(-2, -1)) / (rows * cols) for weight in (lost[:, None], 1.0)]
        least = CERTAIN * 2 * sigma**2 * np.sqrt(2 * rows * cols)
        hidden = sums[1] <= least
        for name, value in zip(found, sums, strict=True):
            found[name].append(np.where(hidden, np.nan, value))
    return {name: np.concatenate(parts) for name, parts in found.items()}


def _sentence(length: float, residual: list[float | None], sample: Sample) -> str:
    if length < NO_OFFSET:
        return "The grids of inputs and targets have one centre, so that no translation loses anything by their offset."
    bands = ", ".join(
        f"{band} {value:.2g}" for band, value in zip(sample.bands, residual, strict=True) if value is not None
    )
    of = "the real images, less their noise," if sample.truth is None else "the truth"
    return (
        f"The grids of input and target lie {length:.2f} pixels of the target apart in the median, which recipes that "
        f"read images alone do not know: a perfect translation without that knowledge, {of} shifted by each pair's "
        f"offset, gets a signal residual of {bands or 'an amount that the noise hides'}."
    )
