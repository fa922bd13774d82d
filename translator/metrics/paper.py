"""The paper's own figures: summed error against summed light, and stacked Fourier amplitudes of the fine detail."""

from collections.abc import Iterator

import numpy as np
import scipy.fft
from scipy.ndimage import correlate

from translator.metrics.measure import Curve, Measure, Sample, Statistics, in_pieces, remembered
from translator.metrics.robust import mean, median

SOURCE = "Lin, Fouchez & Pasquet (2021), arXiv:2101.07389"
HIGH_PASS = np.array(  # filter of the paper's discriminators; its rows and columns sum to 0
    [[-1, 3, -4, 3, -1], [3, -8, 10, -8, 3], [-4, 10, -12, 10, -4], [3, -8, 10, -8, 3], [-1, 3, -4, 3, -1]],
    dtype=np.float32,
)
BINS = 10  # bins of Figure 5
CELLS = (12, 6)  # rows and columns of the half plane of frequencies in which Figure 6 is compared
HIGHEST = 0.48  # lower limit of the highest frequencies along either axis [cycles/pixel]
AT_ONCE = 64  # galaxies in memory in Fourier space
LEAST_RATIO = 1e-6  # least ratio of amplitudes, so that an empty image has a logarithm


@remembered
@in_pieces
def summed_errors(sample: Sample) -> Statistics:
    """Return the sums that Figure 5 shows, over the pixels that output and target both have.

    Parameters
    ----------
    sample : Sample
        Its `output`, `target` and `sigma` are used.

    Returns
    -------
    dict
        "summed_error" Σ|output − target|, "summed_light" Σ|target|, and "summed_noise", which is number of pixels ×
        sigma × √(2/π) for Gaussian noise. Each is (galaxy, band) [nanomaggy], and NaN if the images share no pixel.
    """
    both = np.isfinite(sample.output) & np.isfinite(sample.target)
    count = both.sum(axis=(-2, -1))
    error = np.abs(sample.output - sample.target).sum(axis=(-2, -1), where=both, dtype=float)
    light = np.abs(sample.target).sum(axis=(-2, -1), where=both, dtype=float)
    sums = {"summed_error": error, "summed_light": light, "summed_noise": count * sample.sigma * np.sqrt(2 / np.pi)}
    return {name: np.where(count > 0, value, np.nan) for name, value in sums.items()}


def binned_errors(statistics: Statistics) -> np.ndarray:
    """Return the median summed error over the line √2 σ (bin, band), in bins of equal numbers of galaxies, faint to
    bright.
    """
    line = np.sqrt(2) * median(statistics["summed_noise"])
    light, error = statistics["summed_light"], statistics["summed_error"]
    there = np.isfinite(light) & np.isfinite(error)
    order = np.argsort(np.where(there, light, np.inf), axis=0)  # missing values come last
    in_order, counts = np.take_along_axis(error, order, axis=0), there.sum(axis=0)
    found = np.full((BINS, light.shape[1]), np.nan)
    for count in np.unique(counts[counts > 0]):
        some = counts == count
        for number, part in enumerate(np.array_split(in_order[:count, some], min(BINS, count))):
            found[number, some] = np.median(part, axis=0)
    return found / line


def error_ratio(statistics: Statistics) -> np.ndarray:
    """Return the mean over the bins (band,) of the median error over √2 σ."""
    return mean(binned_errors(statistics))


def error_rise(statistics: Statistics) -> np.ndarray:
    """Return the median error (band,) of the brightest bin over that of the faintest."""
    bins = binned_errors(statistics)
    last = np.isfinite(bins).sum(axis=0) - 1
    return bins[np.maximum(last, 0), np.arange(bins.shape[1])] / bins[0]


def high_pass(images: np.ndarray) -> np.ndarray:
    """Return images (…, row, col) after the paper's 5 × 5 filter, without the two pixels at each edge."""
    kernel = HIGH_PASS.reshape((1,) * (images.ndim - 2) + HIGH_PASS.shape)
    return correlate(images, kernel.astype(images.dtype))[..., 2:-2, 2:-2]


def amplitudes(images: np.ndarray) -> Iterator[np.ndarray]:
    """Iterate over Fourier amplitudes of the fine detail (some galaxies, band, row, half of the columns).

    They are NaN for an image with missing pixels.
    """
    for first in range(0, len(images), AT_ONCE):
        yield np.abs(scipy.fft.rfft2(high_pass(images[first : first + AT_ONCE])))


def frequencies(size: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the frequencies of `amplitudes` [cycles/pixel], along rows (size, 1) and along columns (1, columns // 2 +
    1).
    """
    return scipy.fft.fftfreq(size)[:, None], scipy.fft.rfftfreq(columns)[None]


def detail_amplitudes(sample: Sample) -> Statistics:
    """Return the mean amplitudes that Figure 6 shows, of output and target.

    Parameters
    ----------
    sample : Sample
        Its `output` and `target` are used.

    Returns
    -------
    dict
        "output_detail" and "target_detail" (galaxy, band, cell): means in `CELLS` cells of equal size of the half plane
        of frequencies. "output_highest" and "target_highest" (galaxy, band): means over frequencies above `HIGHEST`
        along either axis. All are in nanomaggy/pixel, and NaN for images with missing pixels.
    """
    rows, cols = (side - 4 for side in sample.target.shape[-2:])
    along_rows, along_cols = frequencies(rows, cols)
    highest = np.maximum(np.abs(along_rows), along_cols) >= HIGHEST
    edges = [_edges(length, cells) for length, cells in zip(highest.shape, CELLS, strict=True)]
    found = {}
    for name in ("output", "target"):
        cells, corner = [], []
        for part in amplitudes(getattr(sample, name)):
            means = np.add.reduceat(np.add.reduceat(part, edges[0], axis=-2), edges[1], axis=-1)
            cells.append((means / _areas(edges, highest.shape)).reshape(*part.shape[:2], -1))
            corner.append(part[..., highest].mean(axis=-1))
        found |= {f"{name}_detail": np.concatenate(cells), f"{name}_highest": np.concatenate(corner)}
    return found


def _edges(length: int, cells: int) -> np.ndarray:
    """Return the first index of each cell along an axis."""
    return np.linspace(0, length, min(cells, length) + 1).astype(int)[:-1]


def _areas(edges: list[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """Return the number of frequencies in each cell (row, col)."""
    rows, cols = (np.diff(np.append(edge, length)) for edge, length in zip(edges, shape, strict=True))
    return (rows[:, None] * cols).astype(np.float32)


def log_ratio(output: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return log10(output / target); an output of 0 counts as `LEAST_RATIO`."""
    ratio = np.divide(output, target, out=np.full(np.shape(output), np.nan, float), where=np.asarray(target) > 0)
    return np.log10(np.maximum(ratio, LEAST_RATIO))


def detail_difference(statistics: Statistics) -> np.ndarray:
    """Return the mean over the cells (band,) of |log10| of the ratio of the stacked amplitudes."""
    ratios = log_ratio(mean(statistics["output_detail"]), mean(statistics["target_detail"]))
    return mean(np.abs(ratios).T)


def highest_difference(statistics: Statistics) -> np.ndarray:
    """Return log10 of the ratio of the stacked amplitudes (band,) at the highest frequencies."""
    return log_ratio(mean(statistics["output_highest"]), mean(statistics["target_highest"]))


def curve_figure5(sample: Sample) -> Curve:
    """Return Figure 5: the median summed error in bins of summed light, and the lines σ and √2 σ."""
    statistics = summed_errors(sample)
    light, error = statistics["summed_light"], statistics["summed_error"]
    there = light[np.isfinite(light) & (light > 0)]
    edges = np.geomspace(there.min(), there.max() * 1.0001, BINS + 1)
    number = np.digitize(light, edges) - 1
    bins = [median(np.where(number == bin_, error, np.nan)) for bin_ in range(BINS)]
    sigma = np.repeat(median(statistics["summed_noise"])[:, None], BINS, axis=1)
    y = {"median": np.array(bins).T, "σ": sigma, "√2 σ": np.sqrt(2) * sigma}
    x_label, y_label = "Σ|target| [nanomaggy]", "Σ|output − target| [nanomaggy]"
    return Curve("Summed error", x_label, y_label, np.sqrt(edges[1:] * edges[:-1]), y, log_x=True, log_y=True)


def curve_figure5_ratio(sample: Sample) -> Curve:
    """Return the medians of Figure 5 over the optimal line √2 σ."""
    figure = curve_figure5(sample)
    y = {"median": figure.y["median"] / figure.y["√2 σ"], "optimal": np.ones_like(figure.y["median"])}
    return Curve("Summed error over the optimal line", figure.x_label, "median error / √2 σ", figure.x, y, log_x=True)


def curve_figure6(sample: Sample) -> Curve:
    """Return Figure 6: stacked amplitudes of the fine detail as maps, and their means over rings."""
    maps = {name: _stack(getattr(sample, name)) for name in ("target", "output")}
    rows, cols = sample.target.shape[-2] - 4, sample.target.shape[-1] - 4
    radius = np.hypot(scipy.fft.fftfreq(rows)[:, None], scipy.fft.fftfreq(cols)[None])
    size = min(rows, cols)
    ring = np.rint(scipy.fft.fftshift(radius) * size).astype(int)
    rings = np.arange(1, size // 2 + 1)
    y = {name: np.array([image[:, ring == one].mean(axis=-1) for one in rings]).T for name, image in maps.items()}
    maps["log10(output / target)"] = log_ratio(maps["output"], maps["target"])
    x_label, y_label = "frequency [cycles/pixel]", "Fourier amplitude [nanomaggy/pixel]"
    return Curve("Fine detail in Fourier space", x_label, y_label, rings / size, y, log_y=True, maps=maps)


def _stack(images: np.ndarray) -> np.ndarray:
    """Return the mean amplitude (band, row, col) of galaxies without missing pixels, zero frequency in the middle."""
    total, count = 0.0, 0
    for part in amplitudes(images):
        there = np.isfinite(part)
        total = total + part.sum(axis=0, where=there, dtype=float)
        count = count + there.sum(axis=0)
    half = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    cols = images.shape[-1] - 4
    # a real image has the same amplitude at opposite frequencies
    rest = np.roll(half[:, ::-1], 1, axis=1)[..., (cols - 1) // 2 : 0 : -1]
    return scipy.fft.fftshift(np.concatenate([half, rest], axis=-1), axes=(-2, -1))


MEASURES: tuple[Measure, ...] = (
    Measure(
        name="figure5_ratio",
        title="Summed error (Figure 5)",
        unit="",
        meaning="Difference between translations and real images, in units of the difference between two real images.",
        formula="The galaxies of a band are sorted by Σ|target| into ten bins of equal number. The measure is the mean "
        "over the bins of the median of Σ|output − target|, over √2 σ; σ is the median over the galaxies of Σ|noise| = "
        "pixels × sigma × √(2/π). Translations without noise can reach 1/√2: only this measure rewards too little "
        "noise.",
        source=f"{SOURCE}, Figure 5",
        perfect=1.0,
        needs=(),
        each=summed_errors,
        summary=error_ratio,
    ),
    Measure(
        name="figure5_rise",
        title="Rise of the error with flux (Figure 5)",
        unit="",
        meaning="How much larger the error of bright galaxies is than that of faint ones; 1 is a flat Figure 5.",
        formula="Median of Σ|output − target| of the brightest tenth of the galaxies by Σ|target|, over that of the "
        "faintest tenth.",
        source=f"{SOURCE}, Figure 5",
        perfect=1.0,
        needs=(),
        each=summed_errors,
        summary=error_rise,
        alone=False,
    ),
    Measure(
        name="figure6_log_ratio",
        title="Fourier amplitudes of fine detail (Figure 6)",
        unit="dex",
        meaning="How different noise and fine detail of translations and real images are, frequency by frequency.",
        formula="Mean of |log10 ratio| of the Fourier amplitudes of output and target. Images pass the paper's 5 × 5 "
        "high-pass filter; amplitudes are averaged over the galaxies and in 12 × 6 equal cells of the half plane, so "
        "that the scatter of the average itself does not count.",
        source=f"{SOURCE}, Figure 6",
        perfect=0.0,
        needs=(),
        each=detail_amplitudes,
        summary=detail_difference,
        of_means=True,
        population=True,
    ),
    Measure(
        name="figure6_highest",
        title="Amplitude at the highest frequencies (Figure 6)",
        unit="dex",
        meaning="Too much (above 0) or too little (below 0) structure from pixel to pixel; upsampling can cause "
        "either.",
        formula=f"log10 of the ratio of the mean amplitudes of Figure 6 above {HIGHEST} cycles/pixel along either "
        "axis.",
        source=f"{SOURCE}, Figure 6",
        perfect=0.0,
        needs=(),
        each=detail_amplitudes,
        summary=highest_difference,
        of_means=True,
        population=True,
    ),
)
CURVES = (curve_figure5, curve_figure5_ratio, curve_figure6)
