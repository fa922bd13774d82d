"""How much of the redshift is left: photometric redshifts that are learnt from real images and asked of translations.

This is an indicator and not the photometric redshift of a survey: it uses colours and concentrations in fixed
apertures, a local linear fit, as many galaxies as the pair table has, and the PSF as it is. Its value should be
compared with that of the same estimator on real images. What is learnt from translations has no training galaxies,
and should be compared with the floor.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
from scipy.spatial import KDTree

from translator.metrics.apertures import centre_distance
from translator.metrics.measure import Curve, Measure, Sample, Statistics
from translator.metrics.robust import in_bins, mean, median, sky_level, spread

RADII = (1.0, 2.0, 4.0)  # radii of the apertures [arcsec]
NEIGHBOURS = 50  # galaxies of a local fit
RIDGE = 0.3  # on the slopes, in units of scaled features; it stabilises fits with few neighbours
FARTHEST = 5.0  # largest scaled feature, so that one odd colour does not ruin a fit
FOLDS = 5  # folds of the cross-validation
FEWEST = 20  # least number of galaxies to learn from
OUTLIER = 0.05  # least |dz| / (1 + z) of an outlier
TESTS = {  # statistic to its name
    "output": "learnt from real images, asked of translations",
    "reverse": "learnt from translations, asked of real images",
    "target": "learnt from real images, asked of real images",
}
TITLES = {"output": "of translations", "reverse": "learnt from translations", "target": "of real images"}


def redshifts(sample: Sample) -> Statistics:
    """Return photometric redshifts of every galaxy, by 5-fold cross-validation.

    Galaxy i belongs to fold i % 5, and the estimator learns from the other folds. If it learns from real images, it
    also uses `sample.taught`.

    Returns
    -------
    dict
        "photoz_output", "photoz_reverse" and "photoz_target", as `TESTS` says, and "photoz_true" (galaxy, band); they
        come from all bands and are the same in each. NaN where the true redshift is unknown, an image is empty, or
        there are fewer than `FEWEST` galaxies to learn from.
    """
    blank = np.maximum(np.nanmedian(sample.sigma, axis=0), 1e-12)
    seen = [aperture_fluxes(images, sample.pixel_scale) for images in (sample.target, sample.output)]
    real, made = (features(fluxes, sample, blank) for fluxes in seen)
    true = np.asarray(sample.redshift, float)
    others, others_true = real[:0], true[:0]
    if sample.taught is not None:
        others, others_true = features(sample.taught, sample, blank), sample.taught_redshift
    found = {name: np.full(len(sample), np.nan) for name in TESTS}
    for fold in range(FOLDS):
        asked = np.arange(len(sample)) % FOLDS == fold
        of_real = np.concatenate([others, real[~asked]]), np.concatenate([others_true, true[~asked]])
        found["output"][asked] = estimate(*of_real, made[asked])
        found["target"][asked] = estimate(*of_real, real[asked])
        found["reverse"][asked] = estimate(made[~asked], true[~asked], real[asked])
    found["true"] = true
    bands = len(sample.bands)
    return {f"photoz_{name}": np.repeat(values[:, None], bands, axis=1) for name, values in found.items()}


def aperture_fluxes(images: np.ndarray, pixel_scale: float) -> np.ndarray:
    """Return the light within each of `RADII` around the centre, above the median of the frame.

    Parameters
    ----------
    images : array
        Images (galaxy, band, row, col) [nanomaggy/pixel].
    pixel_scale : float
        Side of a pixel [arcsec].

    Returns
    -------
    array
        Flux (galaxy, band, aperture) [nanomaggy]. Pixels without a value count as the mean of the others in the
        aperture; NaN if half of an aperture has none.
    """
    distance = centre_distance(images.shape[2:])
    weights = np.stack([np.clip(radius / pixel_scale - distance + 0.5, 0, 1) for radius in RADII])
    weights = weights.reshape(len(RADII), -1)
    area = weights.sum(axis=1)
    fluxes = np.full((*images.shape[:2], len(RADII)), np.nan)
    for place in np.ndindex(images.shape[:2]):
        image = np.asarray(images[place], float)
        good = np.isfinite(image)
        inside = weights @ good.ravel()
        if (inside > 0.5 * area).all():
            fluxes[place] = weights @ np.where(good, image - sky_level(image), 0).ravel() * area / inside
    return fluxes


def features(fluxes: np.ndarray, sample: Sample, blank: np.ndarray) -> np.ndarray:
    """Return the features of every galaxy that an estimator sees.

    They are colours of neighbouring bands in each aperture, the magnitude in r (or the last band) in the largest
    aperture, and in each band the difference between the smallest and the largest aperture. Magnitudes are asinh
    magnitudes (Lupton et al. 1999), so that faint and negative fluxes have values, too.

    Parameters
    ----------
    fluxes : array
        Flux (galaxy, band, aperture) [nanomaggy].
    sample : Sample
        For the bands and the pixel scale.
    blank : array
        Noise of a blank pixel (band,) [nanomaggy/pixel], which softens the magnitudes.

    Returns
    -------
    array
        Features (galaxy, feature) [mag]; NaN where a band has no flux.
    """
    pixels = np.pi * (np.array(RADII) / sample.pixel_scale) ** 2
    softening = blank[:, None] * np.sqrt(pixels)
    magnitudes = -2.5 / np.log(10) * (np.arcsinh(fluxes / (2 * softening)) + np.log(softening))
    red = sample.bands.index("r") if "r" in sample.bands else len(sample.bands) - 1
    colours = np.diff(magnitudes, axis=1).reshape(len(fluxes), -1)
    return np.hstack([colours, magnitudes[:, red, -1:], magnitudes[:, :, 0] - magnitudes[:, :, -1]])


def estimate(known: np.ndarray, redshift: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Return redshifts of galaxies, from other galaxies with known redshifts.

    The estimate is a linear fit with a small ridge to the `NEIGHBOURS` nearest galaxies, in features that are scaled to
    their scatter (Csabai et al. 2007; Beck et al. 2016). It never exceeds the range of the known redshifts.

    Parameters
    ----------
    known : array
        Features of the known galaxies (galaxy, feature).
    redshift : array
        Their redshifts (galaxy,).
    asked : array
        Features of the galaxies in question.
    """
    result = np.full(len(asked), np.nan)
    usable = np.isfinite(redshift) & np.isfinite(known).all(axis=1)
    wanted = np.isfinite(asked).all(axis=1)
    if usable.sum() < FEWEST * (FOLDS - 1) / FOLDS or not wanted.any():
        return result
    known, redshift = known[usable], redshift[usable]
    middle, width = median(known), np.maximum(spread(known), 1e-3)
    known, asked = (np.clip((x - middle) / width, -FARTHEST, FARTHEST) for x in (known, asked[wanted]))
    _, near = KDTree(known).query(asked, min(NEIGHBOURS, len(known)))
    design = np.concatenate([np.ones((*near.shape, 1)), known[near] - asked[:, None]], axis=2)
    ridge = np.diag([1e-6] + [RIDGE] * known.shape[1])
    transposed = np.swapaxes(design, 1, 2)
    fit = np.linalg.solve(transposed @ design + ridge, transposed @ redshift[near][..., None])
    result[wanted] = np.clip(fit[:, 0, 0], redshift.min(), redshift.max())
    return result


def error(statistics: Statistics, test: str) -> np.ndarray:
    """Return (photometric - true) / (1 + true) of a test (galaxy, band)."""
    true = statistics["photoz_true"]
    return (statistics[f"photoz_{test}"] - true) / (1 + true)


def sigma_mad(statistics: Statistics, test: str) -> np.ndarray:
    """Return 1.4826 times the median absolute deviation of the errors (band,)."""
    return spread(error(statistics, test))


def bias(statistics: Statistics, test: str) -> np.ndarray:
    """Return the mean error (band,)."""
    return mean(error(statistics, test))


def outliers(statistics: Statistics, test: str) -> np.ndarray:
    """Return the share of errors beyond `OUTLIER` (band,)."""
    off = error(statistics, test)
    return mean(np.where(np.isfinite(off), np.abs(off) > OUTLIER, np.nan))


def curve_redshift(sample: Sample) -> Curve:
    """Return the error of redshifts as a function of redshift, with that of real images; the same in all bands."""
    statistics = redshifts(sample)
    true = statistics["photoz_true"]
    y = {label: in_bins(true, error(statistics, test))[1] for test, label in TESTS.items()}
    x = in_bins(true, true)[0]
    return Curve("Photometric redshift", "Redshift", "Median (photometric - true) / (1 + true)", x, y)


def _rows(test: str, how: str) -> tuple[Measure, ...]:
    """Return the three measures of one test."""
    name = "photoz" if test == "output" else f"photoz_{test}"
    called = f"Redshift {TITLES[test]}"
    method = METHOD if test == "reverse" else METHOD + MORE
    numbers = (
        ("sigma_mad", "scatter", sigma_mad, "Uncertainty", "1.4826 MAD of dz = (z_phot - z) / (1 + z)"),
        ("bias", "bias", bias, "Mean error", "mean of dz = (z_phot - z) / (1 + z)"),
        ("outliers", "outliers", outliers, "Share of large errors", f"share of |z_phot - z| / (1 + z) > {OUTLIER}"),
    )
    meaning = f"of a photometric redshift from all bands, {how}; compare it with that of real images."
    return tuple(
        Measure(f"{name}_{number}", f"{called}: {title}", "", f"{means} {meaning}", f"{formula}; {method}", SOURCE, 0.0,
                ("redshift",), redshifts, partial(summary, test=test), alone=number == "bias", per_band=False)
        for number, title, summary, means, formula in numbers
    )  # fmt: skip


METHOD = (
    f"z_phot is a local linear fit to the {NEIGHBOURS} galaxies nearest in colours and concentrations, among the other "
    "four fifths of the test galaxies"
)
MORE = " and the training galaxies, if the pair table has any"
SOURCE = (
    "Beck et al. (2016, MNRAS 460, 1371); numbers as Pasquet et al. (2019, A&A 621, A26); idea: A&A 701, A82 (2025)"
)
MEASURES: tuple[Measure, ...] = tuple(row for test, how in TESTS.items() for row in _rows(test, how))
CURVES: tuple[Callable[[Sample], Curve], ...] = (curve_redshift,)
