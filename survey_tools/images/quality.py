"""Quality of an image from the image itself: the seeing by the widths of its stars, and the noise by its weight map."""

from collections.abc import Callable, Iterator

import numpy as np
import sep
from scipy.ndimage import map_coordinates
from scipy.optimize import least_squares

from survey_tools.images.cutout import sky_sigma

SAMPLES = (1 / 6, 1 / 2, 5 / 6)  # places on a stack, along each axis, at which the factor is measured
SAMPLE_SIZE = 136  # [pixel] rows, and columns, of a sample: enough blank sky for a robust deviation

Read = Callable[[np.ndarray, int], Iterator[np.ndarray]]  # starts (n, 2) and size -> windows (row, col), one by one


def noise_of_unit_weight(image: Read, weight: Read, shape: tuple[int, int], no_data: float | None) -> float:
    """Return the standard deviation of a blank pixel of weight 1 [image unit]; NaN if the stack has no blank sky.

    It is the median over the same few places of the stack, whatever objects are cut from it, so that a cutout does not
    depend on its neighbours.

    Parameters
    ----------
    image, weight : callable
        Read windows of the image and of its weights.
    shape : (int, int)
        Rows and columns of the stack.
    no_data : float, optional
        Value of a pixel without data, besides NaN.

    Returns
    -------
    float
    """
    size = min(SAMPLE_SIZE, *shape)
    starts = np.array([[int((extent - size) * place) for extent, place in zip(shape, places, strict=True)]
                       for places in np.stack(np.meshgrid(SAMPLES, SAMPLES), -1).reshape(-1, 2)])  # fmt: skip
    found = []
    for counts, weights in zip(image(starts, size), weight(starts, size), strict=True):
        missing = ~(weights > 0) | (counts == no_data)
        if not missing.all():
            found.append(sky_sigma(counts, missing) * np.sqrt(np.median(weights[~missing].astype(float))))
    found = np.array(found, float)
    return float(np.median(found[np.isfinite(found)])) if np.isfinite(found).any() else np.nan


def apply_weights(counts: np.ndarray, weights: np.ndarray, unit: float) -> float:
    """Set the counts (row, col) that have no weight to NaN; return the noise of a blank pixel of the others.

    Parameters
    ----------
    counts : (row, col) float
        The image, which is changed.
    weights : (row, col) float
        Its weights.
    unit : float
        Noise of a blank pixel of weight 1.

    Returns
    -------
    float
        NaN if no pixel has a weight.
    """
    good = weights > 0
    counts[~good] = np.nan
    return unit / float(np.sqrt(np.median(weights[good].astype(float)))) if good.any() else np.nan


RAYS, STEP = 36, 0.05  # directions, and pixels along each, in which a PSF is followed down to half its peak
WINDOW = 768  # [pixel] rows, and columns, of a window in which stars are searched for
ALONG = 3  # windows along each axis of a large stack
HALF = 10  # [pixel] from the middle of a star's stamp to its edge; no other source may be as near
DETECTED = 5.0  # [sigma of blank sky] smallest value of the pixels of a source
BRIGHT = 400.0, 200.0, 100.0, 50.0  # [sigma] peaks of possible stars: faint galaxies are small and similar too
UNSATURATED = 0.7  # fraction of the saturation level that a star's peak may reach
BETA = 1.2, 30.0  # limits of beta of a Moffat profile
MESH = 64  # [pixel] cells in which the background is measured
ALIKE = 0.05  # largest relative difference between the widths of two stars of a stack
ENOUGH = 10  # stars so bright that no fainter ones are looked for
FEWEST, MOST = 2, 60  # stars that a measurement needs; stars that are fitted, the brightest first
EDGE = np.hypot(*(np.indices((2 * HALF + 1,) * 2) - HALF)) > HALF - 2  # pixels of a stamp that show its sky
PIXEL = 0.5 * np.sqrt(0.6) * np.array([-1, 0, 1]), np.array([5, 8, 5]) / 18  # Gauss-Legendre places in it, and weights


def star_fwhm(read: Read, shape: tuple[int, int], saturation: float = np.inf, no_data: float | None = None) -> float:
    """Return the full width at half maximum [pixel] of the stars of a stack; NaN if it has fewer than `FEWEST` stars.

    Stars are the narrowest sources among which many have the same width; galaxies are wider, and each has a width of
    its own. Faint sources are used only if there are few bright stars, because faint galaxies are small and have
    similar widths. A Moffat profile, integrated over each pixel, is fitted to each star. The result is the median of
    their widths: that of the profile itself, without the contribution of the pixel. The windows that are read depend
    only on the shape, so that the result does not depend on the objects that are cut.

    Parameters
    ----------
    read : callable
        Takes the first (row, col) of some windows (n, 2) and their size, and yields their pixels (row, col) [image
        unit], one by one; NaN beyond the edges.
    shape : (int, int)
        Rows and columns of the stack.
    saturation : float
        Pixels of at least this value are saturated [image unit].
    no_data : float, optional
        Value of a pixel that no exposure saw; None if such pixels are NaN.

    Returns
    -------
    float
    """
    size = min(WINDOW, *shape)
    stamps = [stamp for counts in read(_starts(shape, size), size) for stamp in _stamps(counts, saturation, no_data)]
    peaks, half_widths = np.array([peak for peak, _ in stamps]), np.array([fwhm(stamp) for _, stamp in stamps])
    for least in BRIGHT:
        bright = np.flatnonzero(peaks > least)
        stars = bright[_narrowest(half_widths[bright])]
        if len(stars) >= ENOUGH:
            break
    brightest = stars[np.argsort(-peaks[stars], kind="stable")[:MOST]]
    widths = [width for width in (moffat_fwhm(stamps[star][1]) for star in brightest) if np.isfinite(width)]
    return float(np.median(widths)) if len(widths) >= FEWEST else float("nan")


def fwhm(image: np.ndarray) -> float:
    """Return the full width at half maximum [pixel] of an image (row, col) of a PSF.

    It is the diameter of the circle with the area above half of the peak. NaN if there is no peak, or if the image does
    not fall to half of it.
    """
    peak = np.array(np.unravel_index(np.argmax(image), image.shape))
    fine = np.arange(-1, 1 + STEP / 2, STEP)
    around = peak[:, None, None] + np.stack(np.meshgrid(fine, fine, indexing="ij"))
    values = map_coordinates(image, around, order=3, mode="nearest")
    centre = around.reshape(2, -1)[:, values.argmax()]
    reach = min(*centre, *(np.array(image.shape) - 1 - centre))
    if not values.max() > 0 or reach < 1:
        return float("nan")
    angle, radius = np.arange(RAYS) * 2 * np.pi / RAYS, np.arange(0, reach, STEP)
    rays = centre[:, None, None] + np.stack([np.sin(angle), np.cos(angle)])[:, :, None] * radius
    profiles = map_coordinates(image, rays, order=3, mode="nearest") / values.max()
    below = profiles < 0.5
    if not below.any(axis=1).all() or below[:, 0].any():
        return float("nan")
    after = below.argmax(axis=1)
    high, low = profiles[np.arange(RAYS), after - 1], profiles[np.arange(RAYS), after]
    halves = (after - 1 + (high - 0.5) / (high - low)) * STEP
    return float(2 * np.sqrt(np.mean(halves**2)))


def moffat_fwhm(stamp: np.ndarray) -> float:
    """Return the full width at half maximum [pixel] of the Moffat profile that fits a star (row, col) best.

    The model is peak (1 + (r / radius)^2)^-beta + sky, integrated over each pixel; FWHM = 2 radius √(2^(1/beta) - 1). A
    Gaussian is the limit of a large beta. NaN if the fit does not converge, or ends at the smallest beta or at a limit
    of the width, which happens for sources that are not stars.
    """
    half = (len(stamp) - 1) / 2
    row, col = (each - half for each in np.indices(stamp.shape))
    places, weights = PIXEL
    height = stamp.max()

    def misfit(terms: np.ndarray) -> np.ndarray:
        peak, down, along, width, beta, sky = terms
        scale = 4 * (2 ** (1 / beta) - 1) / width**2
        model = np.zeros(stamp.shape)
        for a, weight in zip(places, weights, strict=True):
            for b, other in zip(places, weights, strict=True):
                model += weight * other * (1 + scale * ((row + a - down) ** 2 + (col + b - along) ** 2)) ** -beta
        return (peak * model + sky - stamp).ravel() / height

    guess = fwhm(stamp)
    start = height, 0.0, 0.0, guess if 1 < guess < 2 * half else half / 2, 3.0, 0.0
    low, high = (0.0, -2.0, -2.0, 0.5, BETA[0], -height), (9 * height, 2.0, 2.0, 2 * half, BETA[1], height)
    found = least_squares(misfit, start, bounds=(low, high), x_scale=(height, 1, 1, 1, 1, height), max_nfev=60)
    width, beta = found.x[3:5]
    is_star = found.success and beta > 1.01 * BETA[0] and 1.01 * low[3] < width < 0.99 * high[3]
    return float(width) if is_star else float("nan")


def _starts(shape: tuple[int, int], size: int) -> np.ndarray:
    """Return the first (row, col) (n, 2) of windows spread evenly over a stack, without overlap."""
    axes = []
    for extent in shape:
        count = min(ALONG, extent // size)
        axes.append(((np.arange(count) + 0.5) * extent / count - size / 2).astype(int))
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)


def _stamps(counts: np.ndarray, saturation: float, no_data: float | None) -> Iterator[tuple[float, np.ndarray]]:
    """Yield peak [sigma] and image (row, col) of the bright, isolated, unsaturated sources of a window.

    The sky around each is subtracted from its image.
    """
    missing = ~np.isfinite(counts) | (counts == no_data)
    if missing.all():
        return
    pixels = np.ascontiguousarray(np.where(missing, 0.0, counts), np.float32)
    background = sep.Background(pixels, mask=missing, bw=MESH, bh=MESH)
    sigma, flux = background.globalrms, pixels - background.back()
    if not sigma > 0:
        return
    try:
        sources = sep.extract(flux, DETECTED, err=sigma, mask=missing)
    except Exception as error:  # sep raises this bare class if a crowded window overflows its buffers
        if "pixel buffer" in str(error) or "deblending" in str(error):
            return
        raise
    places = np.stack([sources["y"], sources["x"]], axis=1)
    chosen = (sources["peak"] > BRIGHT[-1] * sigma) & (sources["flag"] == 0)
    for place, peak in zip(places[chosen], sources["peak"][chosen] / sigma, strict=True):
        row, col = np.rint(place).astype(int)
        part = np.s_[row - HALF : row + HALF + 1, col - HALF : col + HALF + 1]
        inside = min(row, col) >= HALF and pixels[part].shape == (2 * HALF + 1, 2 * HALF + 1)
        alone = (np.hypot(*(places - place).T) < HALF).sum() == 1
        if inside and alone and not missing[part].any() and pixels[part].max() < UNSATURATED * saturation:
            yield float(peak), flux[part] - np.median(flux[part][EDGE])


def _narrowest(widths: np.ndarray) -> np.ndarray:
    """Return which of some sources are stars, by their widths: those of the smallest width that many sources share."""
    order = np.argsort(widths)[: np.isfinite(widths).sum()]
    known = widths[order]
    low, high = np.searchsorted(known, known / (1 + ALIKE)), np.searchsorted(known, known * (1 + ALIKE), side="right")
    count = high - low
    if len(known) == 0 or count.max() < FEWEST:
        return order[:0]
    first = int(np.argmax(count >= max(FEWEST, count.max() / 2)))
    best = first + int(np.argmax(count[first : high[first]]))
    return order[low[best] : high[best]]
