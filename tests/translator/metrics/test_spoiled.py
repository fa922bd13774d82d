"""Check every measure on perfect translations that are spoiled in one known way.

`TABLE` states for each measure which copies it must notice and, if there is a theory, by how much its value changes. It
must not notice the other copies: their values lie within the interval of the oracle. A measure that is not in the table
fails. Where the table is surprising, the reason stands beside the row.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
from scipy.stats import foldnorm, norm

from translator.metrics import measure, shapes
from translator.metrics.apertures import aperture_flux
from translator.metrics.redshift import aperture_fluxes, redshifts
from translator.metrics.table import MEASURES as ALL

MEASURES = {name: row for name, row in ALL.items() if "seen" not in row.needs}  # test_consistency checks the others
COPIES = ("shifted", "blurred", "rescaled", "noiseless", "noise_doubled", "white_noise", "source_dropped",
          "source_added")  # fmt: skip
AMPLITUDES = {"noiseless": 0.0, "noise_doubled": 2.0}  # noise of a copy in units of the oracle's
WIDTHS = 3.0  # difference from the oracle that counts as none [half widths of its 68 % interval, about 3 sigma]
EXACT = 1e-6  # largest difference of equal values of measures without an interval
BRIGHT = np.array([18, 23])  # galaxies whose structure is measured; they are too few for an interval
STRUCTURE = {  # scatter of the structure of one galaxy between realisations of its noise, from eight of them
    "half_light_radius": 0.023, "petrosian_radius": 0.021, "ellipticity": 0.025, "concentration": 0.027,
    "asymmetry": 0.018, "smoothness": 0.003, "gini": 0.010, "m20": 0.024,
}  # fmt: skip
TEACHERS = 12  # number of galaxies from which redshifts are learnt, in units of the sample's


@dataclass(frozen=True)
class Seen:
    """The difference that is expected between the value of a copy and that of the oracle.

    Attributes
    ----------
    due : callable, optional
        From the oracle's value, the known galaxies and the copy to the copy's value (band,). None if the value is only
        known to be outside, or inside, the interval of the oracle.
    within : float
        Largest distance from `due`; a share of it if `relative`.
    relative : bool
        Whether `within` is relative.
    sign : int
        If `due` is None: 1 for larger, -1 for smaller, 0 for neither.
    """

    due: Callable | None = None
    within: float = 0.0
    relative: bool = False
    sign: int = 0

    def fault(self, value, oracle, limit, known, copy) -> str:
        """Return what is wrong, or "". Bands in which the oracle has no value are ignored."""
        there = np.isfinite(oracle)
        if self.due is not None:
            due = np.broadcast_to(self.due(oracle, known, copy), value.shape)
            reach = self.within * (np.abs(due) if self.relative else 1.0)
            return "" if (np.abs(value - due) <= reach)[there].all() else f"{value} is not {due} within {reach}"
        off = value - oracle
        good = self.sign * off > limit if self.sign else np.abs(off) <= limit
        return "" if good[there].all() else f"{value} is {off} off the oracle's {oracle}, interval {limit}"


STILL, UP, DOWN = (Seen(sign=sign) for sign in (0, 1, -1))


def at(value: float, within: float) -> Seen:
    """The copy has this value."""
    return Seen(lambda *_: value, within)


def by(change: float | Callable, within: float) -> Seen:
    """The copy's value is larger than the oracle's by this number, or function of the known galaxies."""
    return Seen(lambda oracle, known, _: oracle + (change(known) if callable(change) else change), within)


def times(factor: float | Callable, within: float) -> Seen:
    """The copy's value is the oracle's times this; `within` is relative."""
    return Seen(lambda oracle, known, _: oracle * (factor(known) if callable(factor) else factor), within, True)


def longer(known) -> float:
    """Return the share by which a blur makes Gaussians longer along their long axes."""
    long = np.maximum(known.galaxies.along, known.galaxies.across)[BRIGHT]
    return np.median(np.hypot(long, known.blur) / long) - 1


def blurred_peak(known) -> float:
    """Return the magnitudes by which a blur makes their peaks fainter."""
    return np.median(5 * np.log10(sizes(known, known.blur) / sizes(known)))


def sizes(known, blur: float = 0.0) -> np.ndarray:
    return np.sqrt(np.hypot(known.galaxies.along, blur) * np.hypot(known.galaxies.across, blur))


def e1(known, blur: float = 0.0) -> np.ndarray:
    a, b = known.galaxies.along**2 + blur**2, known.galaxies.across**2 + blur**2
    return (a - b) / (a + b)


def wider(quantity: Callable, relative: bool) -> Seen:
    """The scatter includes that of the effect of a blur, which differs between galaxies."""

    def due(oracle, known, _):
        change = quantity(known, known.blur) - quantity(known)
        change = change / quantity(known) if relative else change
        return np.hypot(oracle, 1.4826 * np.median(np.abs(change - np.median(change))))

    return Seen(due, 0.6, True)  # two standard errors of a scatter of 24


def flatter(quantity: Callable) -> Seen:
    """The slope becomes that of the blurred quantity with the true one."""
    return times(lambda known: np.polyfit(quantity(known), quantity(known, known.blur), 1)[0], 0.2)


def held(level: float, light: Callable, within: float) -> Seen:
    """The coverage of `light` for draws that differ from the target by the wrong light of the copy."""
    reach = norm.ppf((1 + level) / 2)

    def due(oracle, known, copy):
        off = light(copy.signal, known.scale) - light(copy.truth, known.scale)
        noise = light(copy.draws - copy.signal, known.scale)
        off = off / noise.std(axis=tuple(axis for axis in range(noise.ndim) if axis != 2), keepdims=True)[0]
        share = norm.cdf(reach - off) - norm.cdf(-reach - off)
        return oracle + np.moveaxis(share, 1, 0).reshape(len(oracle), -1).mean(axis=1) - level

    return Seen(due, within)


def summed_error(oracle, known, copy) -> np.ndarray:
    """Figure 5 for wrong light: means of folded Gaussians over that of the noise of two images."""
    width = np.sqrt(2) * copy.sigma[..., None, None]
    off = np.abs(copy.signal - copy.truth) / width
    return oracle * (foldnorm.mean(off) / foldnorm.mean(0.0)).mean(axis=(0, 2, 3))


LIGHT = dict.fromkeys(("shifted", "blurred", "rescaled", "source_dropped", "source_added"), UP)
FOLDED = dict.fromkeys(LIGHT, Seen(summed_error, 0.015))
NONE = {"noiseless": at(0, 0.002)}
BRIGHTER, KERNEL = -2.5 * np.log10(1.1), np.sqrt(1 / (4 * np.pi * 0.7**2))  # noise of apertures, white over correlated
ERRORS = {"noiseless": at(0, 0.002), "noise_doubled": times(2, 0.4), "white_noise": times(KERNEL, 0.7)}
TWICE = {"noise_doubled": times(np.sqrt(2.5), 0.4)}  # where the target's noise is in the scatter too
SKY = {"noiseless": times(np.sqrt(0.5), 0.7), "white_noise": times(np.hypot(1, KERNEL) / np.sqrt(2), 0.7)} | TWICE
FAILS = by(0.04, 0.05)  # one of 24 galaxies, or two: the faintest, as their noise is
FINER = by(-0.04, 0.05)
TABLE: dict[str, dict[str, Seen]] = {
    "figure5_ratio": FOLDED | {"noiseless": at(np.sqrt(0.5), 0.015), "noise_doubled": at(np.sqrt(2.5), 0.02)},
    # sources that are dropped or added are the same for bright galaxies and for faint ones
    "figure5_rise": dict.fromkeys(("shifted", "blurred", "rescaled"), UP),
    # the filter lets no smooth light through; without noise all is gone that Figure 6 shows
    "figure6_log_ratio": {"noiseless": UP, "noise_doubled": at(np.log10(2), 0.03), "white_noise": UP},
    "figure6_highest": {"noiseless": DOWN, "noise_doubled": at(np.log10(2), 0.03), "white_noise": UP},
    "signal_residual": LIGHT | {"rescaled": at(0.1, 1e-4)},
    "signal_residual_real": LIGHT | {"rescaled": at(0.1, 0.01)},
    # 1.5211 = 2 pi shift / scale, as J0 is 0.5 there. The companions are the smallest sources: without them phases of
    # the finest rings are those of nothing; with one more like them the correlation is sqrt(1/2) there, above 0.5
    "signal_scale": {"shifted": at(2 * np.pi * 0.2 / 1.5211, 0.03), "source_dropped": UP},
    "signal_scale_real": {"source_dropped": by(0.1, 0.11)},  # noise hides those rings in g
    # what a blur takes out of the aperture: test_photometry has the theory
    "aperture_offset": NONE | {"rescaled": by(BRIGHTER, 0.005), "blurred": by(0.041, 0.01)},
    "aperture_scatter": ERRORS,
    "aperture_slope": NONE,  # no copy is wrong by what grows with magnitude: test_photometry has one
    "total_offset": NONE | {"rescaled": by(BRIGHTER, 0.005)},  # 2.5 Kron radii hold what is shifted or blurred, too
    "total_scatter": ERRORS,
    "total_slope": NONE,
    "colour_offset": NONE,  # all copies are wrong alike in both bands: test_photometry has one that is not
    "colour_scatter": ERRORS,
    "colour_slope": NONE,
    "total_colour_offset": NONE,
    "total_colour_scatter": ERRORS,
    "total_colour_slope": NONE,
    "peak_offset": {"blurred": by(blurred_peak, 0.06), "rescaled": by(BRIGHTER, 0.01)},
    "peak_scatter": {},  # of the dozen peaks that are bright enough: test_photometry has its theory
    "peak_colour_offset": {},
    "peak_colour_scatter": {},
    "sky_level_offset": {},
    "sky_level_scatter": SKY,
    "hsm_e1_bias": NONE | {"blurred": by(lambda known: np.median(e1(known, known.blur) - e1(known)), 0.015)},
    "hsm_e1_scatter": ERRORS | {"blurred": wider(e1, relative=False)},
    "hsm_e2_bias": NONE,  # all galaxies lie along an axis: test_shapes has others
    "hsm_e2_scatter": ERRORS,
    "hsm_size_bias": NONE
    | {"blurred": by(lambda known: np.median(sizes(known, known.blur) / sizes(known)) - 1, 0.03)},
    "hsm_size_scatter": ERRORS | {"blurred": wider(sizes, relative=True)},
    "hsm_e1_slope": {"blurred": flatter(e1), "noiseless": at(1, 1e-3)},
    "hsm_e2_slope": {},
    "hsm_size_slope": {"blurred": flatter(sizes), "noiseless": at(1, 1e-3)},
    "hsm_failures": {"noiseless": FINER, "white_noise": FINER, "noise_doubled": FAILS},
    "morph_half_light_radius_bias": {"blurred": by(longer, WIDTHS * STRUCTURE["half_light_radius"])},
    "morph_half_light_radius_scatter": {},
    "morph_petrosian_radius_bias": {"blurred": by(longer, WIDTHS * STRUCTURE["petrosian_radius"])},
    "morph_petrosian_radius_scatter": {},
    "morph_ellipticity_bias": {},  # this blur takes 0.03 off, a standard error: test_shapes has a wider one
    "morph_ellipticity_scatter": {},
    # those of a Gaussian do not depend on its width
    **{
        f"morph_{name}_{kind}": {}
        for name in ("concentration", "asymmetry", "gini", "m20")
        for kind in ("bias", "scatter")
    },
    # what is taken from it for the sky is more than noise adds to that of the galaxy; half of them have none at all
    "morph_smoothness_bias": {"noiseless": by(0.01, 0.01)},
    "morph_smoothness_scatter": {"noiseless": by(0.01, 0.01)},
    "morph_flagged": {},
    # Without noise the sky shows the outskirts of galaxies: smooth, the same in all bands, and not Gaussian
    "noise_amplitude": {"noiseless": at(-3, EXACT), "noise_doubled": at(np.log10(2), 0.02)},
    "noise_amplitude_ks": {"noiseless": at(1, EXACT), "noise_doubled": at(1, EXACT)},
    "noise_correlation": {"noiseless": UP, "white_noise": at(np.exp(-1 / (4 * 0.7**2)), 0.05)},
    "noise_power": {"noiseless": at(3, EXACT), "noise_doubled": at(np.log10(4), 0.03), "white_noise": UP},
    "noise_histogram": {"noiseless": at(norm.sf(0.25), 0.01), "noise_doubled": at(0.161, 0.01)},
    "noise_tails": {"noiseless": UP},
    "noise_bands": {"noiseless": at(1, 0.02)},
    # two thirds of the errors come from the noise of faint galaxies: test_redshift has more of them and larger errors
    "photoz_sigma_mad": {"noiseless": at(0.01, 0.01)},
    "photoz_bias": {},
    "photoz_outliers": {"noiseless": DOWN},
    "photoz_reverse_sigma_mad": {"noiseless": DOWN},
    "photoz_reverse_bias": {},
    "photoz_reverse_outliers": {"noiseless": DOWN},
    **{f"photoz_target_{number}": {} for number in ("sigma_mad", "bias", "outliers")},  # no translation is in it
    "sources_lost": {"source_dropped": UP},
    "sources_invented": {"source_added": UP},
    "target_sources_lost": {"source_dropped": at(0.5, 0.05)},
    "target_sources_invented": {"source_added": at(1 / 3, 0.05), "noise_doubled": UP},  # 3 sigma is 1.5 of its own
    # It turns about the nearest half pixel, so that of what is wrong all round an eighth of a pixel's slope is left;
    # the outermost light of companions is in the circle
    "residual_asymmetry": {"shifted": UP, "blurred": at(0, 0.03), "rescaled": at(0, 0.03)}
    | dict.fromkeys(("source_dropped", "source_added"), at(0, 1e-3)),
    **{f"coverage_pixels_{level}": {copy: held(level / 100, lambda images, _: images, 0.004) for copy in LIGHT}
       | {"noiseless": at(0, EXACT), "noise_doubled": UP} for level in (68, 95)},
    # of other noise: Student's distribution, as in test_spread; within two standard errors of a share of 24
    **{f"coverage_flux_{level}": {copy: held(level / 100, aperture_flux, 0.2) for copy in LIGHT}
       | {"noiseless": at(0, EXACT), "noise_doubled": at(twice, 0.1), "white_noise": at(white, 0.2)}
       for level, twice, white in ((68, 0.95, 0.33), (95, 1.0, 0.61))},
    # of its own light: without noise both the error and the interval are nothing, and with other noise both are other
    **{f"coverage_truth_{level}": {copy: held(level / 100, aperture_flux, 0.2) for copy in LIGHT}
       | {"noiseless": at(1, EXACT)} for level in (68, 95)},
    # wrong light is in a few per cent of the pixels only
    "pit_pixels": dict.fromkeys(LIGHT, by(0.012, 0.01)) | {"noiseless": UP, "noise_doubled": UP},
    "pit_flux": {"rescaled": UP, "noiseless": UP},  # 24 galaxies do not show the 0.16 that twice the noise makes
}  # fmt: skip


@pytest.fixture
def teachers(oracle, known) -> dict:
    """Real images of other galaxies like those of the sample, from which redshifts are learnt."""
    random, noise = np.random.default_rng(6), oracle.target - oracle.truth
    fluxes, redshift = [], []
    for _ in range(TEACHERS):
        red = np.exp(random.uniform(*np.log([4.0, 150.0]), len(oracle)))
        colour = random.uniform(0.6, 1.2, len(oracle))
        other = replace(known.galaxies, flux=np.stack([red * 10 ** (-0.4 * colour), red], axis=1))
        images = other.draw() + known.companions.draw() + random.permutation(noise)
        fluxes.append(aperture_fluxes(images, known.scale))
        redshift.append((colour - 0.5) / 2.0)
    return {"taught": np.concatenate(fluxes), "taught_redshift": np.concatenate(redshift)}


def statistics_of(sample, teachers: dict) -> dict:
    """The statistics of each measure; structure for `BRIGHT` only."""
    special = {shapes.structure: sample.take(BRIGHT), redshifts: replace(sample, **teachers)}
    found = {each: each(special.get(each, sample)) for each in dict.fromkeys(row.each for row in MEASURES.values())}
    return {name: found[row.each] for name, row in MEASURES.items()}


def values_of(statistics: dict) -> dict:
    return {name: row.summary(statistics[name]) for name, row in MEASURES.items()}


def widths_of(statistics: dict) -> dict:
    """Half the width (band,) of the interval of each measure; for structure, its known scatter."""
    widths = {f"morph_{name}_{kind}": value for name, value in STRUCTURE.items() for kind in ("bias", "scatter")}
    for name, each in statistics.items():
        if name not in widths:
            low, high = measure.interval(MEASURES[name], each, np.random.default_rng(0))
            widths[name] = (high - low) / 2
    return widths


@pytest.mark.filterwarnings("ignore:All-NaN slice:RuntimeWarning")  # some measures have no value in one of the bands
def test_each_copy_moves_the_measures_that_should_see_it_and_no_others(oracle, known, teachers, request, monkeypatch):
    monkeypatch.setattr(shapes, "FEWEST", len(BRIGHT))
    monkeypatch.setattr(measure, "BOOTSTRAPS", 100)
    floor, perfect = (statistics_of(sample, teachers) for sample in (replace(oracle, output=oracle.again), oracle))
    widths = [widths_of(statistics) for statistics in (floor, perfect)]
    widths = {name: WIDTHS * np.hypot(width, widths[1][name]) / np.sqrt(2) for name, width in widths[0].items()}
    perfect, faults = values_of(perfect), []
    for name in ("floor", *COPIES):
        copy = None if name == "floor" else request.getfixturevalue(name)
        found = values_of(floor if copy is None else statistics_of(copy, teachers))
        more = np.hypot(1, AMPLITUDES.get(name, 1.0)) / (1 if copy is None else np.sqrt(2))
        for row, seen in TABLE.items():
            fault = seen.get(name, STILL).fault(found[row], perfect[row], more * widths[row] + EXACT, known, copy)
            faults += [f"{row}, {name}: {fault}"] * bool(fault)
    assert not faults, "\n".join(["", *faults])


def test_the_table_has_every_measure():
    assert TABLE.keys() == MEASURES.keys()
    assert {copy for row in TABLE.values() for copy in row} == set(COPIES)
