"""How much of the redshift is left: a photometric redshift learnt from real images and asked of translations.

An indicator, no survey's photo-z: colours and concentrations in fixed apertures, a local linear fit, as many galaxies
as the pair table has, and the PSF left as it is. What counts is the difference to the same estimator on real images; of
what is learnt from translations, which training galaxies have none of, that to the floor.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
from scipy.spatial import KDTree

from translator.metrics.apertures import centre_distance
from translator.metrics.measure import Curve, Measure, Sample, Statistics
from translator.metrics.robust import in_bins, mean, median, sky_level, spread

RADII = (1.0, 2.0, 4.0)  # of the apertures [arcsec]
NEIGHBOURS = 50  # galaxies behind a local fit
RIDGE = 0.3  # on its slopes, in units of scaled features; keeps it tame where neighbours are few
FARTHEST = 5.0  # scaled features end here, so that one odd colour does not throw a fit
FOLDS = 5  # of the cross-validation
FEWEST = 20  # galaxies to learn from
OUTLIER = 0.05  # of |dz| / (1 + z)
TESTS = {  # statistic: how it is called
    "output": "real images teach, translations are asked",
    "reverse": "translations teach, real images are asked",
    "target": "real images teach and are asked",
}
TITLES = {"output": "of translations", "reverse": "taught by translations", "target": "of real images"}


def redshifts(sample: Sample) -> Statistics:
    """Photometric redshifts of each galaxy, the same in every band: they come from all (galaxy, band).

    `photoz_output`, `photoz_reverse`, `photoz_target` as `TESTS` says, and `photoz_true`. They are cross-validated:
    galaxy i belongs to fold i % 5, and learnt is from the other folds; from real images also of `sample.taught`. NaN
    where the true redshift is unknown, an image is empty, or fewer than `FEWEST` galaxies are there to learn from.
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
    """Light (galaxy, band, aperture) within each of `RADII` around the centre, above the frame's median [nanomaggy].

    Pixels without a value count as the mean of the others in the aperture; NaN where half of one has none.
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
    """What an estimator sees of each galaxy (galaxy, feature) [mag]; NaN where a band has no flux.

    Colours of neighbouring bands in each aperture, the magnitude in r (or the last band) in the largest, and in each
    band the difference between the smallest and the largest. asinh magnitudes (Lupton et al. 1999) are softened by
    `blank`, a blank pixel's noise (band,) [nanomaggy/pixel], so that faint fluxes and negative ones have a value too.
    """
    pixels = np.pi * (np.array(RADII) / sample.pixel_scale) ** 2
    softening = blank[:, None] * np.sqrt(pixels)
    magnitudes = -2.5 / np.log(10) * (np.arcsinh(fluxes / (2 * softening)) + np.log(softening))
    red = sample.bands.index("r") if "r" in sample.bands else len(sample.bands) - 1
    colours = np.diff(magnitudes, axis=1).reshape(len(fluxes), -1)
    return np.hstack([colours, magnitudes[:, red, -1:], magnitudes[:, :, 0] - magnitudes[:, :, -1]])


def estimate(known: np.ndarray, redshift: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Redshifts (galaxy,) of galaxies with features `asked`, from those with features `known` and a known redshift.

    A linear fit, with a small ridge, to the `NEIGHBOURS` nearest galaxies in features that are scaled to their scatter
    (Csabai et al. 2007; Beck et al. 2016), never beyond the redshifts that are known.
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
    """(photometric - true) / (1 + true), (galaxy, band)."""
    true = statistics["photoz_true"]
    return (statistics[f"photoz_{test}"] - true) / (1 + true)


def sigma_mad(statistics: Statistics, test: str) -> np.ndarray:
    """(band,) 1.4826 times the median absolute deviation of the errors."""
    return spread(error(statistics, test))


def bias(statistics: Statistics, test: str) -> np.ndarray:
    """(band,) mean error."""
    return mean(error(statistics, test))


def outliers(statistics: Statistics, test: str) -> np.ndarray:
    """(band,) share of errors beyond `OUTLIER`."""
    off = error(statistics, test)
    return mean(np.where(np.isfinite(off), np.abs(off) > OUTLIER, np.nan))


def curve_redshift(sample: Sample) -> Curve:
    """By how much redshifts are off against redshift, beside those from real images; the same in every band."""
    statistics = redshifts(sample)
    true = statistics["photoz_true"]
    y = {label: in_bins(true, error(statistics, test))[1] for test, label in TESTS.items()}
    x = in_bins(true, true)[0]
    return Curve("Photometric redshift", "Redshift", "Median (photometric - true) / (1 + true)", x, y)


def _rows(test: str, how: str) -> tuple[Measure, ...]:
    """The three numbers of one test."""
    name = "photoz" if test == "output" else f"photoz_{test}"
    called = f"Redshift {TITLES[test]}"
    method = METHOD if test == "reverse" else METHOD + MORE
    numbers = (
        ("sigma_mad", "scatter", sigma_mad, "How uncertain", "1.4826 MAD of dz = (z_phot - z) / (1 + z)"),
        ("bias", "bias", bias, "How far off on average", "mean of dz = (z_phot - z) / (1 + z)"),
        ("outliers", "outliers", outliers, "How often far off", f"share of |z_phot - z| / (1 + z) > {OUTLIER}"),
    )
    meaning = f"a redshift from all bands is, {how}; compare with real on real."
    return tuple(
        Measure(f"{name}_{number}", f"{called}: {title}", "", f"{means} {meaning}", f"{formula}; {method}", SOURCE, 0.0,
                ("redshift",), redshifts, partial(summary, test=test), alone=number == "bias", per_band=False)
        for number, title, summary, means, formula in numbers
    )  # fmt: skip


METHOD = (
    f"local linear fit to the {NEIGHBOURS} galaxies nearest in colours and concentrations, of the other four fifths of "
    "the test galaxies"
)
MORE = " and of training galaxies, where the pair table has any"
SOURCE = (
    "Beck et al. (2016, MNRAS 460, 1371); numbers as Pasquet et al. (2019, A&A 621, A26); idea: A&A 701, A82 (2025)"
)
MEASURES: tuple[Measure, ...] = tuple(row for test, how in TESTS.items() for row in _rows(test, how))
CURVES: tuple[Callable[[Sample], Curve], ...] = (curve_redshift,)
