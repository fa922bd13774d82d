"""The non-parametric structure of one galaxy, by statmorph: radii, ellipticity, C, A, S, Gini, M20."""

import warnings
from functools import cache

import numpy as np
from scipy import ndimage

from translator.metrics.pieces import kept
from translator.metrics.robust import sky_level

CENTRE = 2.0  # [arcsec] within which the galaxy of an image lies
SMOOTHING = 2.0  # [pixel] of the Gaussian under which a galaxy's outline is drawn
OUTLINE = 1.5  # standard deviations of a blank pixel at which it is drawn
NO_GALAXY = 4  # statmorph's flag where nothing could be measured
NO_VALUE = -99.0  # what it writes then
REMEMBERED = 512  # images whose structure is kept
STRUCTURE = {  # name: title, attribute of statmorph, whether it is a length
    "half_light_radius": ("Half-light radius", "rhalf_ellip", True),
    "petrosian_radius": ("Petrosian radius", "rpetro_ellip", True),
    "ellipticity": ("Ellipticity", "ellipticity_asymmetry", False),
    "concentration": ("Concentration C", "concentration", False),
    "asymmetry": ("Asymmetry A", "asymmetry", False),
    "smoothness": ("Smoothness S", "smoothness", False),
    "gini": ("Gini coefficient", "gini", False),
    "m20": ("M20", "m20", False),
}


@kept(REMEMBERED)
def measure_structure(image: np.ndarray, sigma: float, pixel_scale: float) -> tuple[float, ...]:
    """The values of `STRUCTURE` [arcsec where a length] and the flag of one image (size, size)."""
    nothing = (np.nan,) * len(STRUCTURE) + (NO_GALAXY,)
    image = np.asarray(image, np.float32)
    bad = ~np.isfinite(image)
    image = np.where(bad, 0, image - sky_level(image)).astype(float)
    segments = outlines(image, sigma, pixel_scale)
    if not (segments == 1).any() or not sigma > 0:
        return nothing
    mask, weights = bad | (segments > 1), np.full(image.shape, sigma)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # statmorph warns of what its flag says too
        try:
            found = _meter()(
                image,
                (segments == 1).astype(int),
                1,
                mask=mask,
                weightmap=weights,
                niter_bh_mid=0,  # this and the Sérsic fit are not asked for here: quickly done with
                sersic_fitting_args={"maxiter": 1},
            )
        except (ValueError, IndexError, AssertionError, ArithmeticError, RuntimeError):
            return nothing  # it gives up on a few odd images, not always with a flag
    values = np.array([getattr(found, attribute) for _, attribute, _ in STRUCTURE.values()], float)
    if found.flag >= NO_GALAXY or not np.isfinite(values).all() or (values == NO_VALUE).any():
        return nothing
    lengths = [length for _, _, length in STRUCTURE.values()]
    return (*np.where(lengths, pixel_scale * values, values), found.flag)


def outlines(image: np.ndarray, sigma: float, pixel_scale: float) -> np.ndarray:
    """Labels (row, col) of what is brighter than `OUTLINE` * sigma once smoothed: 1 the galaxy, 2 … others, 0 sky.

    The galaxy is that to which the brightest smoothed pixel within `CENTRE` belongs. Touching sources are one.
    """
    smooth = ndimage.gaussian_filter(image, SMOOTHING)
    labels, _ = ndimage.label(smooth > OUTLINE * sigma)
    galaxy = labels.flat[np.argmax(np.where(near_middle(len(image), pixel_scale), smooth, -np.inf))]
    return np.where(labels == 0, 0, np.where(labels == galaxy, 1, labels + 1)) if galaxy else labels + (labels > 0)


@cache
def _meter() -> type:
    """statmorph's class without what is not asked for here, which takes a third of its time."""
    import statmorph

    unasked = ("multimode", "intensity", "deviation", "outer_asymmetry", "shape_asymmetry", "rms_asymmetry2")
    sersic = ("amplitude", "rhalf", "n", "xc", "yc", "ellip", "theta", "chi2_dof", "aic", "bic")
    skipped = dict.fromkeys((*unasked, *(f"sersic_{name}" for name in sersic)), NO_VALUE)
    return type("Structure", (statmorph.SourceMorphology,), skipped)


def near_middle(size: int, pixel_scale: float) -> np.ndarray:
    """Whether each pixel (size, size) lies within `CENTRE` of an image's middle."""
    rows, cols = np.indices((size, size)) - (size - 1) / 2
    return np.hypot(rows, cols) * pixel_scale <= CENTRE
