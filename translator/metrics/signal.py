"""Signal apart from noise: how accurate the light of translations is, and down to which scale.

With a truth t, the signal s of a translation is compared with it. Without one, s is compared with the real image y =
t + n, and the contribution of its noise n is subtracted from every sum: E Σ(s − y)² = Σ(s − t)² + N σ², and in
Fourier space E |Y|² = |T|² + P, while E Re(S Y*) = Re(S T*). This assumes that n is independent of s, since they
come from different exposures, and that every pixel has the noise of blank sky: the photon noise of the galaxies
counts as residual.
"""

from functools import partial

import numpy as np
import scipy.fft

from translator.metrics.autocorrelation import LAGS, noise_correlation, noise_power
from translator.metrics.measure import Curve, Measure, Sample, Statistics, in_pieces, remembered
from translator.metrics.robust import median

FRC = "Fourier ring correlation: van Heel & Schatz (2005), J. Struct. Biol. 151, 250"
THRESHOLD = 0.5  # ring correlation below which signal and light no longer agree
TAPER = 0.2  # share of the image's side over which the light is faded to the edges before the transform
REACH = {"truth": 1e-2, "real": 0.1}  # least power of galaxies in a ring, in units of the noise's
CERTAIN = 5.0  # standard errors by which the sum of squares of a galaxy must exceed the noise
AT_ONCE = 64  # galaxies in memory in Fourier space


@in_pieces
def residual_from_truth(sample: Sample) -> Statistics:
    """Return residual and light of each galaxy against the truth.

    Returns
    -------
    dict
        "residual_power" Σ(s − t)² and "light_power" Σt², each (galaxy, band) [nanomaggy²/pixel²], over the pixels that
        both images have.
    """
    both = np.isfinite(sample.signal) & np.isfinite(sample.truth)
    return _powers(sample.signal, sample.truth, both, np.zeros(sample.sigma.shape))


@in_pieces
def residual_from_real(sample: Sample) -> Statistics:
    """Return residual and light of each galaxy against the real image: Σ(s − y)² − N σ² and Σy² − N σ².

    Both are NaN for a galaxy whose light exceeds the noise by less than `CERTAIN` times 2 σ² √(2N). That is the
    standard error of N σ² for noise that is as correlated as in resampled images.
    """
    both = np.isfinite(sample.signal) & np.isfinite(sample.target)
    found = _powers(sample.signal, sample.target, both, sample.sigma**2)
    least = CERTAIN * 2 * sample.sigma**2 * np.sqrt(2 * both.sum(axis=(-2, -1)))
    return {name: np.where(found["light_power"] > least, value, np.nan) for name, value in found.items()}


def _powers(signal: np.ndarray, light: np.ndarray, both: np.ndarray, variance: np.ndarray) -> Statistics:
    """Return the sums of squares of signal - light and of light, minus the noise of `variance` per pixel."""
    noise = both.sum(axis=(-2, -1)) * variance
    residual = ((signal - light) ** 2).sum(axis=(-2, -1), where=both, dtype=float) - noise
    power = (light**2).sum(axis=(-2, -1), where=both, dtype=float) - noise
    return {"residual_power": residual, "light_power": power}


def relative_residual(statistics: Statistics) -> np.ndarray:
    """Return √ of the median over the galaxies (band,) of residual over light; 0 if noise makes that
    median negative.
    """
    light = statistics["light_power"]
    share = np.divide(statistics["residual_power"], light, out=np.full(light.shape, np.nan), where=light > 0)
    return np.sqrt(np.maximum(median(share), 0.0))


def residual_of(signal: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the relative residual (band,) of signals against the truth, over the pixels that both have.

    Parameters
    ----------
    signal, truth : array
        Images (galaxy, band, row, col) [nanomaggy/pixel].
    """
    both = np.isfinite(signal) & np.isfinite(truth)
    return relative_residual(_powers(signal, truth, both, np.zeros(both.shape[:2])))


@remembered
def rings_with_truth(sample: Sample) -> Statistics:
    """Return `rings` of signal and truth; the noise that limits them is taken as uncorrelated."""
    white = np.zeros((len(sample.bands), 2 * LAGS + 1, 2 * LAGS + 1))
    white[:, LAGS, LAGS] = 1.0
    return rings(sample, sample.truth, white)


@remembered
def rings_with_real(sample: Sample) -> Statistics:
    """Return `rings` of signal and real image, with the power of the noise subtracted from the latter."""
    found = rings(sample, sample.target, noise_correlation(sample.target, sample.sigma))
    return found | {"light_rings": found["light_rings"] - found["noise_rings"]}


def taper(size: int) -> np.ndarray:
    """Return Tukey's window (size,): a cosine up and down over `TAPER` of the side. Importing scipy's
    takes a second.
    """
    place = np.linspace(0, 1, size)
    return 0.5 - 0.5 * np.cos(np.pi * np.minimum(2 * np.minimum(place, 1 - place) / TAPER, 1))


def rings(sample: Sample, light: np.ndarray, correlation: np.ndarray) -> Statistics:
    """Return sums over rings in Fourier space, one frequency step wide, over Σy² of the tapered images.

    Parameters
    ----------
    sample : Sample
        Its `signal` is compared.
    light : array
        The images (galaxy, band, row, col) that it is compared with.
    correlation : array
        Correlation of the noise of the real images, from `autocorrelation.noise_correlation`.

    Returns
    -------
    dict
        "cross_rings" Re(S L*), "signal_rings" |S|², "light_rings" |L|² and "noise_rings", the power of the noise of the
        real images, each (galaxy, band, ring). Ring i is at i frequency steps. NaN for images with missing pixels.
        "side" (galaxy,): the side of the images [arcsec].
    """
    rows, cols = light.shape[-2:]
    window = (taper(rows)[:, None] * taper(cols)).astype(np.float32)
    member = _members(rows, cols)
    noise = noise_power(correlation, rows, cols).reshape(len(correlation), -1) @ member * float((window**2).sum())
    parts: dict[str, list[np.ndarray]] = {f"{name}_rings": [] for name in ("cross", "signal", "light", "noise")}
    for first in range(0, len(light), AT_ONCE):
        some = slice(first, first + AT_ONCE)
        ours, theirs = (scipy.fft.rfft2(images[some] * window) for images in (sample.signal, light))
        total = ((sample.target[some] * window) ** 2).sum(axis=(-2, -1))[..., None]
        powers = {"cross": (ours * theirs.conj()).real, "signal": np.abs(ours) ** 2, "light": np.abs(theirs) ** 2}
        sums = {name: power.reshape(*power.shape[:2], -1) @ member for name, power in powers.items()}
        sums["noise"] = sample.sigma[some][..., None] ** 2 * noise
        there = np.isfinite(sums["cross"] + sums["noise"] + total) & (total > 0)
        for name, value in sums.items():
            ratio = np.divide(value, total, out=np.full(value.shape, np.nan, np.float32), where=there)
            parts[f"{name}_rings"].append(ratio)
    side = np.full(len(light), sample.pixel_scale * min(rows, cols))
    return {name: np.concatenate(part) for name, part in parts.items()} | {"side": side}


def _members(rows: int, cols: int) -> np.ndarray:
    """Return how many frequencies of the plane each one of the half plane (frequency, ring) stands for in a ring."""
    side = min(rows, cols)
    radius = np.hypot(scipy.fft.fftfreq(rows)[:, None], scipy.fft.rfftfreq(cols)) * side
    weight = np.full(radius.shape, 2.0, np.float32)
    weight[:, 0] = 1.0
    if cols % 2 == 0:
        weight[:, -1] = 1.0
    ring = np.rint(radius).astype(int).ravel()
    return (ring[:, None] == np.arange(side // 2 + 1)) * weight.reshape(-1, 1)


def ring_correlation(statistics: Statistics, reach: float) -> np.ndarray:
    """Return the ring correlation (band, ring) Re ΣS L* / √(Σ|S|² Σ|L|²) over all galaxies.

    NaN from the first ring in which the galaxies have less than `reach` times the power of the noise.

    Parameters
    ----------
    statistics : dict
        What `rings` returns.
    reach : float
        Least power of the galaxies in a ring that shows something, in units of the power of the noise.
    """
    cross, signal, light, noise = (
        np.nansum(statistics[f"{name}_rings"], axis=0, dtype=float) for name in ("cross", "signal", "light", "noise")
    )
    seen = np.logical_and.accumulate((light > reach * noise) & (light > 0), axis=-1)
    together = np.sqrt(np.maximum(signal * light, 0.0))
    return np.where(seen, np.divide(cross, together, out=np.zeros(cross.shape), where=together > 0), np.nan)


def agreement_scale(statistics: Statistics, reach: float) -> np.ndarray:
    """Return the scale (band,) [arcsec], one over the frequency, at which the ring correlation first falls to
    `THRESHOLD`.

    If it does not fall that far before the noise hides the galaxies, the scale of the last visible ring is returned;
    NaN if no ring is visible. Arguments are those of `ring_correlation`.
    """
    side = statistics["side"][0]
    scales = []
    for curve in ring_correlation(statistics, reach):
        seen = int(np.isfinite(curve).sum())
        low = np.flatnonzero(curve[1:seen] < THRESHOLD)
        if seen < 2:
            scales.append(np.nan)
        elif len(low) == 0:
            scales.append(side / (seen - 1))
        else:
            after = int(low[0]) + 1
            high = max(curve[after - 1], THRESHOLD)
            step = (high - THRESHOLD) / (high - curve[after])
            scales.append(side / max(after - 1 + step, 1.0))
    return np.array(scales)


def curve_ring_correlation(sample: Sample) -> Curve:
    """Return the ring correlation of the signal with the truth, or with the real images, and the ratio
    of amplitudes.
    """
    kind = "real" if sample.truth is None else "truth"
    statistics = rings_with_real(sample) if sample.truth is None else rings_with_truth(sample)
    correlation = ring_correlation(statistics, REACH[kind])
    signal, light = (np.nansum(statistics[f"{name}_rings"], axis=0) for name in ("signal", "light"))
    seen = np.isfinite(correlation)
    ratio = np.sqrt(np.divide(signal, light, out=np.full(seen.shape, np.nan), where=seen & (light > 0)))
    against = "the real images, minus their noise" if sample.truth is None else "the truth"
    y = {"correlation": correlation, "amplitude / its amplitude": ratio, "threshold": np.full(seen.shape, THRESHOLD)}
    x = np.arange(seen.shape[-1]) / statistics["side"][0]
    return Curve(f"Signal and {against} in Fourier rings", "frequency [1/arcsec]", "", x, y)


RESIDUAL = "The share of the light that is wrong in the translations, apart from any noise."
SCALE = "The finest detail that is right: smaller structure in the translations is not that of the galaxies."
RINGS = (
    "Images are faded to their edges (Tukey window) and weighted by 1/Σ target². The correlation Re ΣS L* / √(Σ|S|² "
    "Σ|L|²) is computed over the galaxies, in rings in Fourier space. The scale is one over the frequency at which it "
    "first falls to 0.5, or at which "
)
MEASURES: tuple[Measure, ...] = (
    Measure(
        name="signal_residual",
        title="Relative residual of the signal",
        unit="",
        meaning=RESIDUAL,
        formula="√ of the median over the galaxies of Σ(signal − truth)² / Σ truth².",
        source="Relative L2 norm",
        perfect=0.0,
        needs=("truth",),
        each=residual_from_truth,
        summary=relative_residual,
    ),
    Measure(
        name="signal_residual_real",
        title="Relative residual of the signal, from real images",
        unit="",
        meaning=RESIDUAL,
        formula="√ of the median over the galaxies of (Σ(signal − target)² − N σ²) / (Σ target² − N σ²). The noise "
        "of the target adds N σ² to both sums if it is independent of the signal and everywhere that of blank sky. "
        "Galaxies within five standard errors of the noise are left out; 0 if the median is below 0.",
        source="Relative L2 norm, noise subtracted",
        perfect=0.0,
        needs=(),
        each=residual_from_real,
        summary=relative_residual,
    ),
    Measure(
        name="signal_scale",
        title="Scale down to which the signal is right",
        unit="arcsec",
        meaning=SCALE,
        formula=f"{RINGS}the truth has less than 1/100 of the power of the noise. L is the transform of the truth, S "
        "that of the signal.",
        source=FRC,
        perfect=0.0,
        needs=("truth",),
        each=rings_with_truth,
        summary=partial(agreement_scale, reach=REACH["truth"]),
        of_means=True,
    ),
    Measure(
        name="signal_scale_real",
        title="Scale down to which the signal is right, from real images",
        unit="arcsec",
        meaning=SCALE,
        formula=f"{RINGS}the galaxies have less than a tenth of the power of the noise. Σ|L|² is that of the target "
        "minus that of its noise, which is sigma² times the transform of the correlation of blank pixels up to 6 "
        "pixels. The noise is taken as independent of the signal and the same in every pixel.",
        source=FRC,
        perfect=0.0,
        needs=(),
        each=rings_with_real,
        summary=partial(agreement_scale, reach=REACH["real"]),
        of_means=True,
    ),
)
CURVES = (curve_ring_correlation,)
