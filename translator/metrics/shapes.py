"""Shapes of galaxies: moments by GalSim, and structure by statmorph."""

import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from importlib.util import find_spec

import numpy as np
from scipy import ndimage

from translator.metrics.apertures import aperture_pixels
from translator.metrics.measure import Curve, Measure, Sample, Statistics, kept, spread_evenly
from translator.metrics.robust import in_bins, mean, median, sky_level, slope, spread

CENTRE = 2.0  # largest distance of the galaxy from the middle of its image [arcsec]
SMOOTHING = 2.0  # Gaussian that the image is smoothed by for the outline of the galaxy [pixel]
OUTLINE = 1.5  # level of the outline [sigma of a blank pixel]
NO_GALAXY = 4  # statmorph's flag if nothing could be measured
NO_VALUE = -99.0  # its values in that case
STRUCTURES_REMEMBERED = 512  # images whose structure is kept
STRUCTURE = {  # name to title, attribute of statmorph, and whether it is a length
    "half_light_radius": ("Half-light radius", "rhalf_ellip", True),
    "petrosian_radius": ("Petrosian radius", "rpetro_ellip", True),
    "ellipticity": ("Ellipticity", "ellipticity_asymmetry", False),
    "concentration": ("Concentration C", "concentration", False),
    "asymmetry": ("Asymmetry A", "asymmetry", False),
    "smoothness": ("Smoothness S", "smoothness", False),
    "gini": ("Gini coefficient", "gini", False),
    "m20": ("M20", "m20", False),
}


@kept(STRUCTURES_REMEMBERED)
def measure_structure(image: np.ndarray, sigma: float, pixel_scale: float) -> tuple[float, ...]:
    """Return the structure of one image by statmorph.

    Parameters
    ----------
    image : array
        Image (size, size).
    sigma : float
        Noise of a blank pixel, in the unit of the image.
    pixel_scale : float
        Side of a pixel [arcsec].

    Returns
    -------
    tuple of float
        The values of `STRUCTURE` (lengths in arcsec), and statmorph's flag. NaN and `NO_GALAXY` if it cannot be
        measured.
    """
    nothing = (np.nan,) * len(STRUCTURE) + (NO_GALAXY,)
    image = np.asarray(image, np.float32)
    bad = ~np.isfinite(image)
    image = np.where(bad, 0, image - sky_level(image)).astype(float)
    segments = outlines(image, sigma, pixel_scale)
    if not (segments == 1).any() or not sigma > 0:
        return nothing
    mask, weights = bad | (segments > 1), np.full(image.shape, sigma)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # statmorph's flag tells the same as its warnings
        try:
            found = _meter()(
                image,
                (segments == 1).astype(int),
                1,
                mask=mask,
                weightmap=weights,
                niter_bh_mid=0,  # this and the Sérsic fit are not used here, so they are made short
                sersic_fitting_args={"maxiter": 1},
            )
        except (ValueError, IndexError, AssertionError, ArithmeticError, RuntimeError):
            return nothing  # it fails for a few odd images, not always with a flag
    values = np.array([getattr(found, attribute) for _, attribute, _ in STRUCTURE.values()], float)
    if found.flag >= NO_GALAXY or not np.isfinite(values).all() or (values == NO_VALUE).any():
        return nothing
    lengths = [length for _, _, length in STRUCTURE.values()]
    return (*np.where(lengths, pixel_scale * values, values), found.flag)


def outlines(image: np.ndarray, sigma: float, pixel_scale: float) -> np.ndarray:
    """Return labels (row, col) of the regions above `OUTLINE` * sigma in the smoothed image: 1 the galaxy, 2 … others,
    0 sky.

    The galaxy is the region of the brightest smoothed pixel within `CENTRE` of the middle. Touching sources are one
    region.
    """
    smooth = ndimage.gaussian_filter(image, SMOOTHING)
    labels, _ = ndimage.label(smooth > OUTLINE * sigma)
    galaxy = labels.flat[np.argmax(np.where(aperture_pixels(image.shape, pixel_scale, CENTRE), smooth, -np.inf))]
    return np.where(labels == 0, 0, np.where(labels == galaxy, 1, labels + 1)) if galaxy else labels + (labels > 0)


@cache
def _meter() -> type:
    """Return statmorph's class without the quantities that are not used here; they take a third of its time."""
    import statmorph

    unasked = ("multimode", "intensity", "deviation", "outer_asymmetry", "shape_asymmetry", "rms_asymmetry2")
    sersic = ("amplitude", "rhalf", "n", "xc", "yc", "ellip", "theta", "chi2_dof", "aic", "bic")
    skipped = dict.fromkeys((*unasked, *(f"sersic_{name}" for name in sersic)), NO_VALUE)
    return type("Structure", (statmorph.SourceMorphology,), skipped)


ONE_IN, FEWEST, MOST = 10, 8, 40  # galaxies whose structure is measured; an image takes half a second
OF_CURVE = 500  # largest number of galaxies of a curve, spread evenly
SUSPECT = 1  # the worst flag of statmorph for which a value counts

REMEMBERED = 8  # sets of images whose moments are kept

PACKAGES = {"galsim": "hsm_*", "statmorph": "morph_*"}
MOMENTS = {"e1": "Ellipticity along the axes", "e2": "Ellipticity along the diagonals", "size": "Size"}


def missing() -> str:
    """Return which measures are left out because a package is missing; "" if none is."""
    absent = [f"{names} need {package}" for package, names in PACKAGES.items() if find_spec(package) is None]
    return f"{' and '.join(absent)}, not installed here: pip install 'galtrans[shapes]'" if absent else ""


def moments(sample: Sample) -> Statistics:
    """Return adaptive moments of the output and of the reference.

    Returns
    -------
    dict
        For both "output" and "reference": "hsm_e1_*" and "hsm_e2_*", distortion (a² − b²) / (a² + b²) along the columns
        and at 45° to them; "hsm_size_*", det(moments)^(1/4) [arcsec]. The PSF is part of all. NaN where they failed.
        "hsm_failed_output" and "hsm_failed_target": 1 where they failed. All are (galaxy, band).
    """
    statistics: Statistics = {}
    for name, images in (("output", sample.output), ("reference", sample.reference)):
        for moment, values in zip(MOMENTS, remembered_moments(images, sample.pixel_scale), strict=True):
            statistics[f"hsm_{moment}_{name}"] = values
    of_target = statistics["hsm_size_reference"]
    if sample.truth is not None:
        of_target = remembered_moments(sample.target, sample.pixel_scale)[2]
    statistics["hsm_failed_output"] = np.isnan(statistics["hsm_size_output"]).astype(float)
    statistics["hsm_failed_target"] = np.isnan(of_target).astype(float)
    return statistics


@kept(REMEMBERED)
def remembered_moments(images: np.ndarray, pixel_scale: float) -> np.ndarray:
    """Return `adaptive_moments`, kept for images that many are compared with."""
    return adaptive_moments(images, pixel_scale)


def adaptive_moments(images: np.ndarray, pixel_scale: float) -> np.ndarray:
    """Return adaptive moments of the galaxy in the middle of each image, by `galsim.hsm`.

    The sky under the galaxy is the median of the frame of the image. Moments fail where the iteration does not
    converge, where it moves more than `CENTRE` away from the middle, where it ends wider than a quarter of the image,
    and where a pixel within `CENTRE` of the middle has no value. Other pixels without a value are left out. See Hirata
    & Seljak (2003) and Mandelbaum et al. (2005).

    Parameters
    ----------
    images : array
        Images (galaxy, band, row, col).
    pixel_scale : float
        Side of a pixel [arcsec].

    Returns
    -------
    array
        e1, e2 and size [arcsec] (3, galaxy, band); NaN where they fail.
    """
    import galsim

    size = images.shape[-1]
    near = aperture_pixels((size, size), pixel_scale, CENTRE)
    values = np.full((3, *images.shape[:2]), np.nan)
    for place in np.ndindex(images.shape[:2]):
        image = np.asarray(images[place], np.float32)
        good = np.isfinite(image)
        if not good[near].all():
            continue
        light = galsim.Image(np.where(good, image - sky_level(image), 0).astype(np.float32), xmin=0, ymin=0)
        bad = None if good.all() else galsim.Image((~good).astype(np.int32), xmin=0, ymin=0)
        found = galsim.hsm.FindAdaptiveMom(light, badpix=bad, guess_sig=0.8 / pixel_scale, strict=False)
        if found.error_message or found.moments_status:
            continue
        off = np.hypot(found.moments_centroid.x - (size - 1) / 2, found.moments_centroid.y - (size - 1) / 2)
        if off * pixel_scale <= CENTRE and 0 < found.moments_sigma <= size / 4:
            shape = found.observed_shape
            values[:, *place] = shape.e1, shape.e2, found.moments_sigma * pixel_scale
    return values


def structure(sample: Sample) -> Statistics:
    """Return non-parametric structure of output and target, for some galaxies in one band.

    The galaxies are one in `ONE_IN`, at least `FEWEST` and at most `MOST`, spread evenly over the sample. The band is
    r, or the last one if there is no r. The target is the reference and not the truth: structure depends on noise, so
    only images with the same noise can be compared.

    Returns
    -------
    dict
        "morph_*_output" and "morph_*_target" for each of `STRUCTURE` (galaxy, band); NaN for other galaxies and bands,
        and where statmorph's flag is above `SUSPECT` in either image. "morph_flag_*": 0 good, 1 suspect, 2 bad, 4 none.
    """
    band = sample.bands.index("r") if "r" in sample.bands else len(sample.bands) - 1
    count = min(max(len(sample) // ONE_IN, FEWEST), MOST, len(sample))
    chosen = spread_evenly(len(sample), count)
    shape = (len(sample), len(sample.bands))
    found = {}
    for name, images in (("output", sample.output), ("target", sample.target)):
        found[name] = np.full((len(STRUCTURE) + 1, *shape), np.nan)
        for galaxy in chosen:
            sigma = float(sample.sigma[galaxy, band])
            found[name][:, galaxy, band] = measure_structure(images[galaxy, band], sigma, sample.pixel_scale)
    unsure = (found["output"][-1] > SUSPECT) | (found["target"][-1] > SUSPECT)
    statistics: Statistics = {}
    for name, values in found.items():
        for number, quantity in enumerate(STRUCTURE):
            statistics[f"morph_{quantity}_{name}"] = np.where(unsure, np.nan, values[number])
        statistics[f"morph_flag_{name}"] = values[-1]
    return statistics


def difference(statistics: Statistics, name: str, reference: str, relative: bool) -> np.ndarray:
    """Return output minus reference (galaxy, band), as a share of the reference if `relative`."""
    output, due = statistics[f"{name}_output"], statistics[f"{name}_{reference}"]
    return output / due - 1 if relative else output - due


def bias(statistics: Statistics, name: str, reference: str, relative: bool) -> np.ndarray:
    """Return the median difference (band,)."""
    return median(difference(statistics, name, reference, relative))


def scatter(statistics: Statistics, name: str, reference: str, relative: bool) -> np.ndarray:
    """Return the scatter of the differences (band,)."""
    return spread(difference(statistics, name, reference, relative))


def slope_of(statistics: Statistics, name: str) -> np.ndarray:
    """Return m of output = m * reference + c (band,)."""
    return slope(statistics[f"{name}_output"], statistics[f"{name}_reference"])


def failures(statistics: Statistics) -> np.ndarray:
    """Return the share of the outputs without moments minus that of the targets (band,)."""
    return mean(statistics["hsm_failed_output"] - statistics["hsm_failed_target"])


def flagged(statistics: Statistics) -> np.ndarray:
    """Return the share of the outputs whose flag is above `SUSPECT` minus that of the targets (band,)."""
    output, target = statistics["morph_flag_output"], statistics["morph_flag_target"]
    return mean(np.where(np.isnan(target), np.nan, 1.0 * (output > SUSPECT) - (target > SUSPECT)))


def curve_ellipticity(sample: Sample) -> Curve:
    """Return the ellipticity of outputs against that of the reference; blurred outputs are too round."""
    statistics = moments(_some(sample, OF_CURVE))
    elongation = {
        name: np.hypot(statistics[f"hsm_e1_{name}"], statistics[f"hsm_e2_{name}"]) for name in ("output", "reference")
    }
    x, y = in_bins(elongation["reference"], elongation["output"])
    labels = ("Ellipticity of the reference", "Ellipticity of the output")
    equal = np.broadcast_to(x, y.shape)
    return Curve("Ellipticity from adaptive moments", *labels, x, {"output": y, "equal": equal})


def curve_size(sample: Sample) -> Curve:
    """Return the relative error of the size of outputs against the size of the reference."""
    statistics = moments(_some(sample, OF_CURVE))
    x, y = in_bins(statistics["hsm_size_reference"], difference(statistics, "hsm_size", "reference", True))
    labels = ("Size of the reference [arcsec]", "Size of the output / reference - 1")
    return Curve("Size from adaptive moments", *labels, x, {"output": y, "equal": np.zeros_like(y)})


def _some(sample: Sample, count: int) -> Sample:
    """Return at most `count` galaxies of a sample, without the images that shapes do not need."""
    lean = replace(sample, again=None, draws=None, source=None)
    return lean if len(sample) <= count else lean.take(spread_evenly(len(sample), count))


def _pair(name: str, title: str, relative: bool) -> tuple[Measure, Measure]:
    """Return bias and scatter of one quantity."""
    moment = name.startswith("hsm")
    each, reference, source = (moments, "reference", HSM) if moment else (structure, "target", STATMORPH)
    how = f"(output / {reference} - 1)" if relative else f"(output - {reference})"
    values = {"name": name, "reference": reference, "relative": relative}
    meaning = f"{title} of the translations: typical error."
    wide = f"{title} of the translations: scatter of the error; a second real image scatters, too (the floor)."
    return (
        Measure(f"{name}_bias", f"{title}: bias", "", meaning, f"median of {how} over galaxies", source,
                0.0, (), each, partial(bias, **values)),
        Measure(f"{name}_scatter", f"{title}: scatter", "", wide, f"1.4826 MAD of {how} over galaxies", source,
                0.0, (), each, partial(scatter, **values), alone=False),
    )  # fmt: skip


def _slope(moment: str, title: str) -> Measure:
    """Return the measure of how much of the differences between galaxies is left."""
    meaning = f"{title}: the share of the difference between two galaxies that their translations keep; 1 is all of it."
    formula = "m of output = m reference + c, least squares without 5-sigma outliers; noise of the reference lowers it"
    name = f"hsm_{moment}"
    return Measure(f"{name}_slope", f"{title}: slope", "", meaning, formula, HSM, 1.0, (), moments,
                   partial(slope_of, name=name), alone=False)  # fmt: skip


HSM = "Adaptive moments, Hirata & Seljak (2003), Mandelbaum et al. (2005), by galsim.hsm; m as in shear calibration"
STATMORPH = "Rodriguez-Gomez et al. (2019), Lotz et al. (2004), Conselice (2003), by statmorph"
OF_MOMENTS = (
    *(row for moment, title in MOMENTS.items() for row in _pair(f"hsm_{moment}", title, moment == "size")),
    *(_slope(moment, title) for moment, title in MOMENTS.items()),
    Measure("hsm_failures", "Failed shapes", "", "Excess over real images of galaxies whose shape cannot be measured.",
            "share of outputs without adaptive moments - that of targets", HSM, 0.0, (), moments, failures, False),
)  # fmt: skip
OF_STRUCTURE = (
    *(row for name, (title, _, length) in STRUCTURE.items() for row in _pair(f"morph_{name}", title, length)),
    Measure("morph_flagged", "Flagged structure", "", "Excess over real images of galaxies that statmorph flags.",
            f"share of outputs with a flag above {SUSPECT} - that of targets", STATMORPH, 0.0, (), structure,
            flagged, alone=False),
)  # fmt: skip
MEASURES: tuple[Measure, ...] = (
    *(OF_MOMENTS if find_spec("galsim") else ()),
    *(OF_STRUCTURE if find_spec("statmorph") else ()),
)
CURVES: tuple[Callable[[Sample], Curve], ...] = (curve_ellipticity, curve_size) if find_spec("galsim") else ()
