"""The facts by which each survey is simulated: seeing, depth, gain, saturation and the correlation of its noise."""

import hashlib
from dataclasses import dataclass, field

import numpy as np

from survey_tools.photometry import magnitude_to_nanomaggies
from survey_tools.surveys import CFHT, DES, HSC, KIDS, LEGACY, PS1, SDSS, Survey

# Each survey's random numbers are its own: the code keeps them apart. SDSS and CFHTLS have short codes, with which the
# recorded benchmark skies are drawn; every other code is made of the name, so that a new row changes no old one.
SHORT_CODES = {"sdss": 1, "cfht": 2}
# Averaging Lanczos-3 over all sub-pixel shifts gives noise with the lags 0.112, -0.076, 0.026 along rows and columns;
# medians of it, as T0007's, have 0.093, -0.054, 0.022. These kernels turn white noise into either.
MEAN_OF_LANCZOS = (0.0157, -0.0409, 0.0596, 1.0, 0.0596, -0.0409, 0.0157)
MEDIAN_OF_LANCZOS = (0.0127, -0.0292, 0.0483, 1.0, 0.0483, -0.0292, 0.0127)
# Exponents as stars of real frames and stacks have them, 2.5 to 4.6, rounded to the half-integers for which the Fourier
# transform is elementary: ten times faster to draw.
FRAME_BETA, STACK_BETA = (3.5, 3.5, 4.5), (2.5, 3.5, 4.5)


def moffat_area(fwhm: float, beta: float) -> float:
    """Return the area of blank sky whose noise a Moffat profile gathers, where it is fitted to a star.

    Parameters
    ----------
    fwhm : float
        Full width at half maximum [arcsec].
    beta : float
        Exponent.

    Returns
    -------
    float
        The inverse of the integral of the squared profile [arcsec^2].
    """
    radius = fwhm / (2 * np.sqrt(2 ** (1 / beta) - 1))
    return np.pi * radius**2 * (2 * beta - 1) / (beta - 1) ** 2


@dataclass(frozen=True)
class CoaddFacts:
    """How deep the coadds of a survey are, by band.

    Attributes
    ----------
    depth : dict
        AB magnitude that is measured with the signal-to-noise ratio `ratio`.
    ratio : float
        The ratio.
    aperture : float or None
        Diameter of the aperture that measures it [arcsec]; None where a point-source profile is fitted.
    electrons : dict
        Electrons of one nanomaggy in the whole exposure.
    saturation : dict
        AB magnitude of the brightest star that is not saturated in the median seeing.
    kernel : tuple of float
        What turns white noise into the noise of a coadd, along rows and columns.
    source : str
        Where the figures are published, and which of them are estimates.
    """

    depth: dict[str, float]
    ratio: float
    aperture: float | None
    electrons: dict[str, float]
    saturation: dict[str, float]
    kernel: tuple[float, ...]
    source: str


@dataclass(frozen=True)
class SimulatedSurvey:
    """What is known of a survey's images besides its row in `SURVEYS`. Every figure varies from image to image.

    Attributes
    ----------
    survey : Survey
        Its row.
    seeing : dict
        Median full width at half maximum of a star by band [arcsec].
    scatter : float
        Standard deviation of the logarithm of the seeing between nights.
    beta : tuple of float
        Exponents of the Moffat profiles of its stars, drawn with equal chance.
    astrometry : float
        Scatter of catalogued positions per coordinate [arcsec].
    source : str
        Where the seeing is published.
    coadd : CoaddFacts or None
        Its depth; None for SDSS and CFHTLS, whose noise is that of real frames and stacks (`exposure.py`).
    """

    survey: Survey
    seeing: dict[str, float]
    scatter: float
    beta: tuple[float, ...]
    astrometry: float
    source: str
    coadd: CoaddFacts | None = field(default=None, repr=False)

    @property
    def code(self) -> int:
        """The whole number that keeps the survey's random numbers apart from those of others."""
        name = self.survey.name
        return SHORT_CODES.get(name) or 2**16 + int.from_bytes(hashlib.sha256(name.encode()).digest()[:3], "big")

    @property
    def astrometry_stream(self) -> tuple[int, ...]:
        """What follows the seed, in the random numbers of the scatter of positions."""
        return () if self.survey.name in SHORT_CODES else (self.code,)

    def sigma(self, band: str) -> float:
        """Return the standard deviation of blank sky [nanomaggy/pixel], of which the depth follows.

        Pixels of a coadd are correlated, and the noise of a sum over many is larger than that of independent ones.
        """
        facts, seeing = self.coadd, self.seeing[band]
        area = np.pi * facts.aperture**2 / 4 if facts.aperture else moffat_area(seeing, self.beta[1])
        limit = magnitude_to_nanomaggies(facts.depth[band]) / facts.ratio
        kernel = np.array(facts.kernel)
        return float(limit * self.survey.pixel_scale / np.sqrt(area) / (kernel.sum() ** 2 / (kernel**2).sum()))

    def saturation(self, band: str) -> float:
        """Return the level at which pixels saturate [nanomaggy/pixel]: the peak of the brightest star that is not."""
        beta = self.beta[1]
        radius = self.seeing[band] / (2 * np.sqrt(2 ** (1 / beta) - 1))
        peak = (beta - 1) / (np.pi * radius**2) * self.survey.pixel_scale**2
        return float(magnitude_to_nanomaggies(self.coadd.saturation[band]) * peak)


def _electrons(zero_points: dict[str, float], seconds: dict[str, float]) -> dict[str, float]:
    """Return the electrons of a nanomaggy, of the AB magnitudes of one electron per second and exposure times [s]."""
    return {band: seconds[band] * 10 ** (0.4 * (zero_points[band] - 22.5)) for band in seconds}


# Electrons per second of a star, as the throughput of telescope, camera and filter gives them.
DECAM_ZERO_POINTS = {"g": 26.72, "r": 26.99, "i": 26.86, "z": 26.58, "y": 25.56}
HSC_ZERO_POINTS = {"g": 28.90, "r": 28.86, "i": 28.61, "z": 27.68, "y": 27.34}
PS1_ZERO_POINTS = {"g": 25.15, "r": 25.35, "i": 25.33, "z": 24.92, "y": 23.93}
VST_ZERO_POINTS = {"u": 23.8, "g": 25.0, "r": 24.9, "i": 24.3}
DES_SATURATION = {"g": 15.2, "r": 15.7, "i": 15.8, "z": 15.5, "y": 13.6}

ROWS = (
    SimulatedSurvey(
        SDSS,
        seeing={"u": 1.45, "g": 1.38, "r": 1.30, "i": 1.24, "z": 1.26},
        scatter=0.10,
        beta=FRAME_BETA,
        astrometry=0.0,
        source="psField files of DR12",
    ),
    SimulatedSurvey(
        CFHT,
        seeing={"u": 0.85, "g": 0.78, "r": 0.71, "i": 0.64, "z": 0.68},
        scatter=0.10,
        beta=STACK_BETA,
        astrometry=0.1,
        source="CFHTLS T0007 documentation (Terapix)",
    ),
    SimulatedSurvey(
        HSC,
        seeing={"g": 0.79, "r": 0.75, "i": 0.61, "z": 0.68, "y": 0.68},
        scatter=0.10,
        beta=STACK_BETA,
        astrometry=0.03,
        source="PDR3, Wide (Aihara et al. 2022, PASJ 74, 247), table 1; the scatter is assumed",
        coadd=CoaddFacts(
            depth={"g": 26.5, "r": 26.5, "i": 26.2, "z": 25.2, "y": 24.4},
            ratio=5,
            aperture=None,
            electrons=_electrons(HSC_ZERO_POINTS, {"g": 600, "r": 600, "i": 1200, "z": 1200, "y": 1200}),
            saturation={"g": 17.8, "r": 17.8, "i": 18.4, "z": 17.4, "y": 17.1},
            kernel=MEAN_OF_LANCZOS,
            source="PDR3, Wide, table 1: 5-sigma depth of point sources, exposure times; saturation after the first "
            "release (Aihara et al. 2018, PASJ 70, S8), uncertain to 0.5 mag",
        ),
    ),
    SimulatedSurvey(
        DES,
        seeing={"g": 1.11, "r": 0.95, "i": 0.88, "z": 0.83, "y": 0.90},
        scatter=0.06,
        beta=STACK_BETA,
        astrometry=0.03,
        source="DR2 (Abbott et al. 2021, ApJS 255, 20); the scatter, of about eight exposures a coadd, is assumed",
        coadd=CoaddFacts(
            depth={"g": 24.7, "r": 24.4, "i": 23.8, "z": 23.1, "y": 21.7},
            ratio=10,
            aperture=1.95,
            electrons=_electrons(DECAM_ZERO_POINTS, {"g": 900, "r": 900, "i": 900, "z": 900, "y": 450}),
            saturation=DES_SATURATION,
            kernel=MEAN_OF_LANCZOS,
            source="DR2: 10-sigma depth in apertures of 1.95 arcsec; exposure times and saturation of DR1 (Abbott et "
            "al. 2018, ApJS 239, 18)",
        ),
    ),
    SimulatedSurvey(
        LEGACY,
        seeing={"g": 1.29, "r": 1.18, "i": 1.14, "z": 1.11},
        scatter=0.08,
        beta=STACK_BETA,
        astrometry=0.03,
        source="DECaLS (Dey et al. 2019, AJ 157, 168); i, which DR10 added, and the scatter are assumed",
        coadd=CoaddFacts(
            depth={"g": 24.7, "r": 23.9, "i": 23.6, "z": 23.0},
            ratio=5,
            aperture=None,
            electrons=_electrons(DECAM_ZERO_POINTS, {"g": 210, "r": 170, "i": 450, "z": 300}),
            saturation={band: DES_SATURATION[band] for band in ("g", "r", "i", "z")},
            kernel=MEAN_OF_LANCZOS,
            source="DECaLS (Dey et al. 2019): 5-sigma depth of point sources; i, exposure times (the survey adapts "
            "them to the sky) and saturation (that of DES) are estimates",
        ),
    ),
    SimulatedSurvey(
        PS1,
        seeing={"g": 1.31, "r": 1.19, "i": 1.11, "z": 1.07, "y": 1.02},
        scatter=0.06,
        beta=STACK_BETA,
        astrometry=0.03,
        source="3-pi stacks of about twelve exposures (Chambers et al. 2016, arXiv:1612.05560); the scatter is assumed",
        coadd=CoaddFacts(
            depth={"g": 23.3, "r": 23.2, "i": 23.1, "z": 22.3, "y": 21.4},
            ratio=5,
            aperture=None,
            electrons=_electrons(PS1_ZERO_POINTS, {"g": 516, "r": 480, "i": 540, "z": 360, "y": 360}),
            saturation={"g": 13.5, "r": 13.5, "i": 13.5, "z": 13.0, "y": 12.0},
            kernel=MEAN_OF_LANCZOS,
            source="3-pi stacks (Chambers et al. 2016): 5-sigma depth of point sources, twelve exposures of 43, 40, "
            "45, 30, 30 s; saturation after Magnier et al. (2013, ApJS 205, 20), uncertain to 0.5 mag",
        ),
    ),
    SimulatedSurvey(
        KIDS,
        seeing={"u": 1.00, "g": 0.88, "r": 0.70, "i": 0.80},
        scatter=0.10,
        beta=STACK_BETA,
        astrometry=0.03,
        source="DR4 (Kuijken et al. 2019, A&A 625, A2); the scatter is assumed",
        coadd=CoaddFacts(
            depth={"u": 24.23, "g": 25.12, "r": 25.02, "i": 23.68},
            ratio=5,
            aperture=2.0,
            electrons=_electrons(VST_ZERO_POINTS, {"u": 1000, "g": 900, "r": 1800, "i": 1200}),
            saturation={"u": 13.0, "g": 14.1, "r": 15.3, "i": 13.9},
            kernel=MEAN_OF_LANCZOS,
            source="DR4: 5-sigma depth in apertures of 2 arcsec, exposure times; the electrons, and the saturation of "
            "exposures of 250, 180, 360 and 240 s at 150,000 electrons, are estimates",
        ),
    ),
)
SIMULATED = {row.survey.name: row for row in ROWS}


def coarse_to_fine(names) -> tuple[str, ...]:
    """Return names of surveys in the order of their pixels, the largest first: the first of two is x of a pair.

    Parameters
    ----------
    names : iterable of str
        Rows of `SIMULATED`.

    Returns
    -------
    tuple of str
        Each once.
    """
    return tuple(sorted(set(names), key=lambda name: (-SIMULATED[name].survey.pixel_scale, name)))
