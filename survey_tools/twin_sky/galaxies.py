"""Draw who is in the simulated sky: galaxies and stars, and their light through the filters of the surveys."""

from dataclasses import dataclass
from functools import lru_cache

import galsim
import numpy as np
from astropy.table import Table
from scipy.special import gammainc, gammaincinv

from survey_tools.photometry import magnitude_to_nanomaggies
from survey_tools.surveys import SURVEYS
from survey_tools.twin_sky.filters import synthetic_flux

SEEN_BY = ("sdss", "cfht")  # the surveys through whose filters galaxies are seen where no others are named
COMPONENTS = ("bulge", "disk", "arms")
TEMPLATES = ("E", "Sbc", "Scd", "Im")  # Coleman, Wu & Weedman (1980, ApJS 43, 393), extended, as GalSim ships them
REDSHIFTS = np.arange(0, 1.31, 0.01)
HUBBLE_DISTANCE = 299792.458 / 70  # [Mpc]
BULGE_INDICES = np.array([1.0, 1.5, 2.0, 3.0, 4.0])  # few, so that GalSim tabulates each profile once
BULGE_CUT = 16.0  # [half-light radius] at which bulges end: there they are fainter than the noise of any survey
FAINTEST_WITH_ARMS = 20.5  # [mag] arms of fainter galaxies are smaller than most surveys resolve
STAR_TEMPERATURE = (3300.0, 7500.0)  # [K] M to F dwarfs, the stars of a high-latitude field


@dataclass(frozen=True)
class HubbleType:
    """What galaxies of one morphological type have in common.

    Attributes
    ----------
    name : str
        The type.
    fraction : float
        Fraction of the galaxies of a given r magnitude.
    bulge_fraction : float
        Median fraction of the bulge in the r-band light.
    bulge_index : float
        Sérsic index of the bulge.
    bulge_to_disk : float
        Half-light radius of the bulge over the scale length of the disk.
    disk_template : float
        Place of the disk's spectrum on `TEMPLATES`, from 0 = E to 3 = Im; values in between are mixtures.
    arms : float
        Fraction of spiral arms and knots in the disk's r-band light.
    pitch : float
        Pitch angle of the arms [deg].
    """

    name: str
    fraction: float
    bulge_fraction: float
    bulge_index: float
    bulge_to_disk: float
    disk_template: float
    arms: float
    pitch: float


# Fractions and bulge fractions: Fukugita, Hogan & Peebles (1998, ApJ 503, 518), table 1 (after Kent 1985), the first
# carried from B to r by the types' B - r. Bulge sizes and indices: Graham & Worley (2008, MNRAS 388, 1708). Pitch
# angles: Kennicutt (1981, AJ 86, 1847).
TYPES = (
    HubbleType("E", 0.13, 1.00, 4.0, 1.00, 0.0, 0.00, 0),
    HubbleType("S0", 0.24, 0.75, 3.0, 0.60, 0.2, 0.00, 0),
    HubbleType("Sab", 0.28, 0.40, 3.0, 0.30, 0.8, 0.22, 12),
    HubbleType("Sbc", 0.27, 0.24, 2.0, 0.25, 1.3, 0.32, 18),
    HubbleType("Scd", 0.05, 0.10, 1.5, 0.22, 2.0, 0.40, 25),
    HubbleType("Irr", 0.03, 0.00, 1.0, 0.20, 2.6, 0.40, 35),
)


def draw_magnitudes(count: int, bright: float, faint: float, slope: float, rng: np.random.Generator) -> np.ndarray:
    """Draw magnitudes between two limits, whose number per magnitude goes as 10^(slope * magnitude).

    Parameters
    ----------
    count : int
        How many.
    bright, faint : float
        The limits [mag].
    slope : float
        Slope of the number counts.
    rng : Generator
        Random numbers.

    Returns
    -------
    ndarray
        (count,) [mag].
    """
    low, high = 10 ** (slope * np.array([bright, faint]))
    return np.log10(low + (high - low) * rng.random(count)) / slope


def draw_galaxies(magnitude: np.ndarray, rng: np.random.Generator, surveys=SEEN_BY) -> Table:
    """Draw galaxies, without positions.

    Type, redshift, luminosity and size are related as in the local universe. Disks are seen from random directions,
    with an intrinsic thickness of 0.2; spheroids have axis ratios around 0.75 (Lambas et al. 1992, MNRAS 258, 404).

    Parameters
    ----------
    magnitude : ndarray
        (n,) total SDSS r magnitude of each.
    rng : Generator
        Random numbers; the surveys do not change them.
    surveys : sequence of str
        Names of the surveys that see them.

    Returns
    -------
    Table
        kind, redshift, r, half_light_radius [arcsec], axis_ratio, position_angle [deg], the parameters of bulge, disk
        and arms, and for each survey flux_NAME (component, band) [nanomaggy].
    """
    count = len(magnitude)
    kind = draw_types(magnitude, rng)
    of_type = {name: np.array([getattr(row, name) for row in TYPES])[kind] for name in TYPES[0].__dataclass_fields__}
    redshift = draw_redshifts(magnitude, rng)
    elliptical = of_type["name"] == "E"
    bulge_fraction = np.clip(of_type["bulge_fraction"] + rng.normal(0, 0.1, count), 0, 1)
    bulge_fraction = np.where(elliptical, 1.0, np.where(of_type["name"] == "Irr", 0.0, bulge_fraction))
    half_light = draw_half_light_radii(magnitude, redshift, of_type["bulge_fraction"] > 0.5, rng)
    ratio = of_type["bulge_to_disk"] * 10 ** rng.normal(0, 0.08, count)
    scale_length = half_light / half_light_over_scale(bulge_fraction, of_type["bulge_index"], ratio)
    inclined = np.sqrt((1 - 0.2**2) * rng.random(count) ** 2 + 0.2**2)
    spheroid = np.clip(rng.normal(0.75, 0.13, count), 0.4, 1)
    with_arms = (of_type["arms"] > 0) & (magnitude < FAINTEST_WITH_ARMS) & (inclined > 0.3)
    arms = np.where(with_arms, of_type["arms"] * rng.uniform(0.6, 1.4, count), 0)
    template = np.clip(of_type["disk_template"] + rng.normal(0, 0.25, count), 0, len(TEMPLATES) - 1)
    shares = np.stack([bulge_fraction, (1 - bulge_fraction) * (1 - arms), (1 - bulge_fraction) * arms], axis=1)
    blue = np.clip(template + 1.2, 0, len(TEMPLATES) - 1)
    templates = np.stack([0.35 * template, template, blue], axis=1)
    columns = {
        "kind": of_type["name"],
        "redshift": redshift,
        "r": magnitude,
        "half_light_radius": half_light,
        "axis_ratio": np.where(bulge_fraction > 0.5, spheroid, inclined),
        "position_angle": rng.uniform(0, 180, count),
        "bulge_fraction": bulge_fraction,
        "bulge_index": of_type["bulge_index"],
        "bulge_radius": ratio * scale_length,
        "bulge_axis_ratio": np.where(elliptical, spheroid, np.maximum(inclined, spheroid)),
        "disk_scale": scale_length,
        "disk_axis_ratio": inclined,
        "pitch": of_type["pitch"] * rng.uniform(0.7, 1.3, count) * rng.choice([-1, 1], count),
        "pattern": rng.integers(2**31, size=count),
    }
    flux = {f"flux_{name}": _component_fluxes(name, magnitude, redshift, shares, templates) for name in surveys}
    return Table(columns | flux)


def draw_stars(magnitude: np.ndarray, rng: np.random.Generator, surveys=SEEN_BY) -> Table:
    """Draw stars, which are black bodies and points.

    Parameters
    ----------
    magnitude : ndarray
        (n,) r magnitude of each.
    rng : Generator
        Random numbers; the surveys do not change them.
    surveys : sequence of str
        Names of the surveys that see them.

    Returns
    -------
    Table
        Columns as `draw_galaxies` returns them.
    """
    count = len(magnitude)
    zero = np.zeros(count)
    names = ["half_light_radius", "bulge_fraction", "bulge_radius", "disk_scale", "pitch", "position_angle"]
    columns = {"kind": np.full(count, "star"), "redshift": zero, "r": magnitude} | dict.fromkeys(names, zero)
    columns |= dict.fromkeys(("axis_ratio", "bulge_axis_ratio", "disk_axis_ratio", "bulge_index"), zero + 1)
    columns["pattern"] = np.zeros(count, dtype=int)
    at = np.interp(rng.beta(1.2, 2.0, count), [0, 1], STAR_TEMPERATURE)
    for survey in surveys:
        temperatures, colours = _star_colours(survey)
        flux = np.zeros((count, len(COMPONENTS), colours.shape[1]))
        for index in range(flux.shape[2]):
            flux[:, 0, index] = np.interp(at, temperatures, colours[:, index])
        columns[f"flux_{survey}"] = flux * magnitude_to_nanomaggies(magnitude)[:, None, None]
    return Table(columns)


def draw_types(magnitude: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw places in `TYPES` for galaxies.

    Fainter than 18 mag, later types become more frequent: the excess of faint blue galaxies (Glazebrook et al. 1995,
    MNRAS 275, L19).

    Parameters
    ----------
    magnitude : ndarray
        (n,) r magnitude of each.
    rng : Generator
        Random numbers.

    Returns
    -------
    ndarray
        (n,) int.
    """
    fading = np.linspace(-1, 1, len(TYPES)) * 0.16
    weights = np.array([row.fraction for row in TYPES]) * 10 ** (np.maximum(magnitude - 18, 0)[:, None] * fading)
    cumulative = np.cumsum(weights, axis=1)
    return (rng.random(len(magnitude))[:, None] * cumulative[:, -1:] > cumulative).sum(axis=1)


def draw_redshifts(magnitude: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw redshifts: luminosity function times volume, as in a flux-limited survey.

    The luminosity function is Schechter's with M* = -21.21 (H0 = 70) and slope -1.05 (Blanton et al. 2003, ApJ 592,
    819). Its evolution with redshift and the K correction, which have opposite signs and about the same size below z =
    0.3, are left out.

    Parameters
    ----------
    magnitude : ndarray
        (n,) r magnitude of each.
    rng : Generator
        Random numbers.

    Returns
    -------
    ndarray
        (n,).
    """
    grid, distance = _distances()
    volume = np.gradient(distance**3, grid)
    modulus = 5 * np.log10(distance * (1 + grid)) + 25
    luminosity = 10 ** (-0.4 * (magnitude[:, None] - modulus + 21.21))
    density = luminosity ** (1 - 1.05) * np.exp(-luminosity) * volume
    cumulative = np.cumsum(density, axis=1)
    draw = rng.random(len(magnitude)) * cumulative[:, -1]
    return np.array([np.interp(value, row, grid) for value, row in zip(draw, cumulative, strict=True)])


def draw_half_light_radii(magnitude, redshift, early, rng: np.random.Generator) -> np.ndarray:
    """Draw half-light radii of galaxies by the size-luminosity relation of Shen et al. (2003, MNRAS 343, 978).

    Their equations 14 (where `early` is True) and 15, with the scatter of equation 16 and the constants of their table
    1, for R50 in r.

    Parameters
    ----------
    magnitude, redshift : ndarray
        (n,) r magnitude and redshift of each.
    early : ndarray
        (n,) whether each is of early type.
    rng : Generator
        Random numbers.

    Returns
    -------
    ndarray
        (n,) [arcsec].
    """
    grid, distance = _distances()
    away = np.interp(redshift, grid, distance)  # [Mpc]
    absolute = magnitude - 5 * np.log10(away * (1 + redshift)) - 25
    bright = 10 ** (-0.4 * (absolute + 20.52))
    late_log = 0.4 * 0.21 * -absolute + (0.53 - 0.21) * np.log10(1 + bright) - 1.31
    log_radius = np.where(early, 0.4 * 0.60 * -absolute - 4.63, late_log)
    scatter = 0.25 + (0.48 - 0.25) / (1 + bright**2)
    kiloparsec = 10**log_radius * np.exp(np.clip(rng.normal(0, 1, len(away)), -2, 2) * scatter)
    return np.clip(np.degrees(kiloparsec / 1000 * (1 + redshift) / away) * 3600, 0.1, 12)


def half_light_over_scale(bulge_fraction, bulge_index, bulge_to_disk) -> np.ndarray:
    """Return the half-light radius of bulge plus exponential disk over the scale length of the disk, by bisection.

    Parameters
    ----------
    bulge_fraction, bulge_index, bulge_to_disk : ndarray
        (n,) fraction of the light in the bulge, its Sérsic index, and its half-light radius over the scale length.

    Returns
    -------
    ndarray
        (n,).
    """
    low, high = np.zeros_like(bulge_to_disk), np.maximum(4.0, 4 * bulge_to_disk)
    steepness = gammaincinv(2 * bulge_index, 0.5)
    for _ in range(40):
        middle = (low + high) / 2
        bulge = gammainc(2 * bulge_index, steepness * (middle / bulge_to_disk) ** (1 / bulge_index))
        inside = bulge_fraction * bulge + (1 - bulge_fraction) * gammainc(2, middle)
        low, high = np.where(inside < 0.5, middle, low), np.where(inside < 0.5, high, middle)
    return middle


@lru_cache(maxsize=1)
def _distances() -> tuple[np.ndarray, np.ndarray]:
    """Return redshifts, and comoving distances [Mpc] to them."""
    grid = np.linspace(0.002, REDSHIFTS[-1], 1000)
    fine = np.linspace(0, grid[-1], 4000)
    slope = HUBBLE_DISTANCE / np.sqrt(0.3 * (1 + fine) ** 3 + 0.7)
    comoving = np.concatenate([[0], np.cumsum((slope[1:] + slope[:-1]) / 2 * np.diff(fine))])
    return grid, np.interp(grid, fine, comoving)


def _component_fluxes(survey: str, magnitude, redshift, shares, templates) -> np.ndarray:
    """Return flux [nanomaggy] (n, component, band) with these shares of r light and templates (n, component)."""
    table = _template_fluxes(survey)
    at = np.clip(redshift[:, None] / REDSHIFTS[1], 0, len(REDSHIFTS) - 1.001)
    place = np.clip(templates, 0, len(TEMPLATES) - 1.001)
    colours = 0
    for row in (0, 1):
        for column in (0, 1):
            weight = np.abs(1 - row - place % 1) * np.abs(1 - column - at % 1)
            colours = colours + weight[..., None] * table[place.astype(int) + row, at.astype(int) + column]
    return colours * (shares * magnitude_to_nanomaggies(magnitude)[:, None])[..., None]


@lru_cache(maxsize=16)
def _template_fluxes(survey: str) -> np.ndarray:
    """Return the flux of each template at each redshift in each band (template, redshift, band), SDSS r being 1."""
    reference = np.array([[synthetic_flux(light, "sdss", "r") for light in row] for row in _template_light()])
    return (
        np.array([[_band_fluxes(light, survey) for light in row] for row in _template_light()]) / reference[..., None]
    )


@lru_cache(maxsize=1)
def _template_light() -> list[list]:
    """Return the photon rate of each template at each redshift, as a function of the wavelength [Angstrom]."""
    spectra = [galsim.SED(f"CWW_{name}_ext.sed", "Ang", "flambda") for name in TEMPLATES]  # wavelengths in nm

    def at(spectrum, redshift):
        return lambda wave: spectrum(wave / 10 / (1 + redshift))

    return [[at(spectrum, redshift) for redshift in REDSHIFTS] for spectrum in spectra]


@lru_cache(maxsize=16)
def _star_colours(survey: str) -> tuple[np.ndarray, np.ndarray]:
    """Return temperatures [K], and the flux of black bodies of them (temperature, band), SDSS r being 1."""
    temperatures = np.linspace(*STAR_TEMPERATURE, 30)

    def planck(temperature):  # photons per unit wavelength; h c / k = 1.4388e8 Angstrom K
        return lambda wave: wave**-4.0 / np.expm1(1.4388e8 / (wave * temperature))

    reference = np.array([synthetic_flux(planck(t), "sdss", "r") for t in temperatures])[:, None]
    return temperatures, np.array([_band_fluxes(planck(t), survey) for t in temperatures]) / reference


def _band_fluxes(photon_rate, survey: str) -> list[float]:
    """Return the flux of a spectrum in each band of a survey, in units common to all."""
    return [synthetic_flux(photon_rate, survey, band) for band in SURVEYS[survey].bands]
