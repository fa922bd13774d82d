"""Shapes: moments by GalSim, and structure by statmorph."""

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

CENTRE = 2.0  # [arcsec] within which the galaxy of an image lies
SMOOTHING = 2.0  # [pixel] of the Gaussian under which a galaxy's outline is drawn
OUTLINE = 1.5  # standard deviations of a blank pixel at which it is drawn
NO_GALAXY = 4  # statmorph's flag where nothing could be measured
NO_VALUE = -99.0  # what it writes then
STRUCTURES_REMEMBERED = 512  # images whose structure is kept
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


@kept(STRUCTURES_REMEMBERED)
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
    galaxy = labels.flat[np.argmax(np.where(aperture_pixels(image.shape, pixel_scale, CENTRE), smooth, -np.inf))]
    return np.where(labels == 0, 0, np.where(labels == galaxy, 1, labels + 1)) if galaxy else labels + (labels > 0)


@cache
def _meter() -> type:
    """statmorph's class without what is not asked for here, which takes a third of its time."""
    import statmorph

    unasked = ("multimode", "intensity", "deviation", "outer_asymmetry", "shape_asymmetry", "rms_asymmetry2")
    sersic = ("amplitude", "rhalf", "n", "xc", "yc", "ellip", "theta", "chi2_dof", "aic", "bic")
    skipped = dict.fromkeys((*unasked, *(f"sersic_{name}" for name in sersic)), NO_VALUE)
    return type("Structure", (statmorph.SourceMorphology,), skipped)


ONE_IN, FEWEST, MOST = 10, 8, 40  # galaxies whose structure is measured: half a second an image, so not all
OF_CURVE = 500  # galaxies behind a curve at most, spread evenly
SUSPECT = 1  # the worst flag of statmorph with which a value counts

REMEMBERED = 8  # sets of images whose moments are kept

PACKAGES = {"galsim": "hsm_*", "statmorph": "morph_*"}
MOMENTS = {"e1": "Ellipticity along the axes", "e2": "Ellipticity along the diagonals", "size": "Size"}


def missing() -> str:
    """Which measures are left out, and why; "" where none is."""
    absent = [f"{names} need {package}" for package, names in PACKAGES.items() if find_spec(package) is None]
    return f"{' and '.join(absent)}, not installed here: pip install 'galtrans[shapes]'" if absent else ""


def moments(sample: Sample) -> Statistics:
    """Adaptive moments (galaxy, band) of the output and of the reference: the truth, without it the target.

    `hsm_e1_*` and `hsm_e2_*`: distortion (a² - b²) / (a² + b²) along the columns and at 45 deg to them; `hsm_size_*`:
    det(moments)^(1/4) [arcsec]; the PSF is part of both. `hsm_failed_*`: 1 where there are none. NaN where they failed.
    """
    reference = sample.target if sample.truth is None else sample.truth
    statistics: Statistics = {}
    for name, images in (("output", sample.output), ("reference", reference)):
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
    """The same as `adaptive_moments`, of images against which many are held."""
    return adaptive_moments(images, pixel_scale)


def adaptive_moments(images: np.ndarray, pixel_scale: float) -> np.ndarray:
    """e1, e2 and size [arcsec] (3, galaxy, band) of the galaxy in the middle of each image; NaN where they fail.

    They fail where the iteration does not converge, where it walks more than `CENTRE` off, where it ends wider than a
    quarter of the image, and where a pixel within `CENTRE` of the middle has no value; pixels without value elsewhere
    are left out. The sky under the galaxy is the median of the image's frame. Hirata & Seljak (2003), Mandelbaum et al.
    (2005), as in `galsim.hsm`.
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
    """Non-parametric structure (galaxy, band) of output and target, of some galaxies in one band; NaN elsewhere.

    Of one galaxy in `ONE_IN`, at least `FEWEST` and at most `MOST`, spread evenly over the sample; in r, or in the last
    band where there is no r. NaN too where statmorph's flag is above `SUSPECT` in either image. `morph_flag_*`: 0 good,
    1 suspect, 2 bad, 4 none. The truth is no reference here: what is measured depends on the noise, so that only
    equally noisy images compare.
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
    """Output less reference (galaxy, band), in parts of the reference where relative."""
    output, due = statistics[f"{name}_output"], statistics[f"{name}_{reference}"]
    return output / due - 1 if relative else output - due


def bias(statistics: Statistics, name: str, reference: str, relative: bool) -> np.ndarray:
    """(band,) median difference."""
    return median(difference(statistics, name, reference, relative))


def scatter(statistics: Statistics, name: str, reference: str, relative: bool) -> np.ndarray:
    """(band,) scatter of the differences."""
    return spread(difference(statistics, name, reference, relative))


def slope_of(statistics: Statistics, name: str) -> np.ndarray:
    """(band,) m of output = m * reference + c."""
    return slope(statistics[f"{name}_output"], statistics[f"{name}_reference"])


def failures(statistics: Statistics) -> np.ndarray:
    """(band,) share of the outputs without moments less that of the targets."""
    return mean(statistics["hsm_failed_output"] - statistics["hsm_failed_target"])


def flagged(statistics: Statistics) -> np.ndarray:
    """(band,) share of the outputs whose flag is above `SUSPECT` less that of the targets."""
    output, target = statistics["morph_flag_output"], statistics["morph_flag_target"]
    return mean(np.where(np.isnan(target), np.nan, 1.0 * (output > SUSPECT) - (target > SUSPECT)))


def curve_ellipticity(sample: Sample) -> Curve:
    """How elongated galaxies come out that are so elongated: too round where the output is too blurred."""
    statistics = moments(_some(sample, OF_CURVE))
    elongation = {
        name: np.hypot(statistics[f"hsm_e1_{name}"], statistics[f"hsm_e2_{name}"]) for name in ("output", "reference")
    }
    x, y = in_bins(elongation["reference"], elongation["output"])
    labels = ("Ellipticity of the reference", "Ellipticity of the output")
    equal = np.broadcast_to(x, y.shape)
    return Curve("Ellipticity from adaptive moments", *labels, x, {"output": y, "equal": equal})


def curve_size(sample: Sample) -> Curve:
    """How large galaxies come out that are so large."""
    statistics = moments(_some(sample, OF_CURVE))
    x, y = in_bins(statistics["hsm_size_reference"], difference(statistics, "hsm_size", "reference", True))
    labels = ("Size of the reference [arcsec]", "Size of the output / reference - 1")
    return Curve("Size from adaptive moments", *labels, x, {"output": y, "equal": np.zeros_like(y)})


def _some(sample: Sample, count: int) -> Sample:
    """At most so many galaxies of a sample, without the images that shapes do not need."""
    lean = replace(sample, again=None, draws=None, source=None)
    return lean if len(sample) <= count else lean.take(spread_evenly(len(sample), count))


def _pair(name: str, title: str, relative: bool) -> tuple[Measure, Measure]:
    """Bias and scatter of one quantity."""
    moment = name.startswith("hsm")
    each, reference, source = (moments, "reference", HSM) if moment else (structure, "target", STATMORPH)
    how = f"(output / {reference} - 1)" if relative else f"(output - {reference})"
    values = {"name": name, "reference": reference, "relative": relative}
    meaning = f"{title} of the translations: how far off in the middle; 0 is none."
    wide = f"{title} of the translations: how far off galaxy by galaxy; a second real image is off too (the floor)."
    return (
        Measure(f"{name}_bias", f"{title}: bias", "", meaning, f"median of {how} over galaxies", source,
                0.0, (), each, partial(bias, **values)),
        Measure(f"{name}_scatter", f"{title}: scatter", "", wide, f"1.4826 MAD of {how} over galaxies", source,
                0.0, (), each, partial(scatter, **values), alone=False),
    )  # fmt: skip


def _slope(moment: str, title: str) -> Measure:
    """Whether what is twice as elongated (or large) comes out twice as elongated (or large)."""
    meaning = f"{title}: how much of a difference between galaxies is left between their translations; 1 is all."
    formula = "m of output = m reference + c, least squares without 5-sigma outliers; without a truth, noise lowers it"
    name = f"hsm_{moment}"
    return Measure(f"{name}_slope", f"{title}: slope", "", meaning, formula, HSM, 1.0, (), moments,
                   partial(slope_of, name=name), alone=False)  # fmt: skip


HSM = "Adaptive moments, Hirata & Seljak (2003), Mandelbaum et al. (2005), by galsim.hsm; m as in shear calibration"
STATMORPH = "Rodriguez-Gomez et al. (2019), Lotz et al. (2004), Conselice (2003), by statmorph"
OF_MOMENTS = (
    *(row for moment, title in MOMENTS.items() for row in _pair(f"hsm_{moment}", title, moment == "size")),
    *(_slope(moment, title) for moment, title in MOMENTS.items()),
    Measure("hsm_failures", "Failed shapes", "", "More galaxies without measurable shape than in real images.",
            "share of outputs without adaptive moments, less that of targets", HSM, 0.0, (), moments, failures, False),
)  # fmt: skip
OF_STRUCTURE = (
    *(row for name, (title, _, length) in STRUCTURE.items() for row in _pair(f"morph_{name}", title, length)),
    Measure("morph_flagged", "Flagged structure", "", "More (or fewer) galaxies that statmorph cannot make out.",
            f"share of outputs with a flag above {SUSPECT}, less that of targets", STATMORPH, 0.0, (), structure,
            flagged, alone=False),
)  # fmt: skip
MEASURES: tuple[Measure, ...] = (
    *(OF_MOMENTS if find_spec("galsim") else ()),
    *(OF_STRUCTURE if find_spec("statmorph") else ()),
)
CURVES: tuple[Callable[[Sample], Curve], ...] = (curve_ellipticity, curve_size) if find_spec("galsim") else ()
