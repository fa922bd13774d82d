"""What differs from image to image: seeing, sky and noise of frames, stacks and coadds, and the noise itself."""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import convolve1d

from survey_tools.archives.sdss.frame_noise import gain_and_dark_variance
from survey_tools.photometry import nanomaggies_per_count
from survey_tools.surveys import CFHT
from survey_tools.twin_sky.observing_facts import MEDIAN_OF_LANCZOS, SIMULATED, SimulatedSurvey, moffat_area

NIGHT_SCATTER = 0.10  # standard deviation of the logarithm of `draw_night`
RUN, CAMCOL = 9001, 3  # of the simulated frames, whose CCDs have the gain and the dark variance of this camera column
# SDSS, camera column 3: sky [DN] and nanomaggies per DN as in real frames (runs 7264 and 3900).
SDSS_SKY = {"u": 16.0, "g": 68.0, "r": 120.0, "i": 146.0, "z": 83.0}
SKY_TILT = 0.3  # [DN] by which the sky differs between a frame's first and last column
SDSS_NANOMAGGIES = {"u": 0.0118, "g": 0.0040, "r": 0.0052, "i": 0.0069, "z": 0.0350}
# CFHTLS T0007 at zero point 30: sigma of blank sky [counts] in g, r, i as measured in real stacks (0.59, 1.32, 1.80
# where nothing shines; 0.67, 1.43, 1.96 over all pixels), in u and z from the survey's depth and seeing; gain
# [e/count], saturation level [counts] and total exposure [s] as in headers, u and z scaled with the sky.
CFHT_SIGMA = {"u": 0.85, "g": 0.59, "r": 1.32, "i": 1.80, "z": 3.60}
CFHT_GAIN = {"u": 35.0, "g": 66.6, "r": 42.2, "i": 38.9, "z": 22.0}
CFHT_SATURATION = {"u": 5400.0, "g": 2860.0, "r": 5270.0, "i": 6275.0, "z": 9800.0}
CFHT_EXPOSURE = {"u": 3000.8, "g": 2501.3, "r": 2000.8, "i": 4341.7, "z": 3600.9}


@dataclass(frozen=True)
class Psf:
    """A Moffat point-spread function.

    Attributes
    ----------
    fwhm : float
        Full width at half maximum [arcsec].
    beta : float
        Exponent.
    g1, g2 : float
        Its shear on the sky.
    """

    fwhm: float
    beta: float
    g1: float = 0.0
    g2: float = 0.0

    @property
    def effective_width(self) -> float:
        """SDSS's PSF_WIDTH [arcsec]: the FWHM of the Gaussian that gathers as much noise as this PSF."""
        area = moffat_area(self.fwhm, self.beta)
        return float(np.sqrt(area / (4 * np.pi)) * 2 * np.sqrt(2 * np.log(2)))


@dataclass(frozen=True)
class SdssExposure:
    """One SDSS frame.

    Attributes
    ----------
    psf : Psf
        Its point-spread function.
    sky : float
        Sky [DN].
    nanomaggies : float
        Calibration [nanomaggy/DN].
    gain : float
        [electron/DN].
    dark_variance : float
        [DN^2].
    """

    psf: Psf
    sky: float
    nanomaggies: float
    gain: float
    dark_variance: float

    @property
    def sigma(self) -> float:
        """Standard deviation of blank sky [nanomaggy/pixel] by the frame's data model, with that of rounding to DN."""
        return float(np.sqrt(self.sky / self.gain + self.dark_variance + 1 / 12) * self.nanomaggies)

    @property
    def electrons(self) -> float:
        """Electrons of one nanomaggy."""
        return self.gain / self.nanomaggies

    def observe(self, flux: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return the noisy frame, with its sky subtracted.

        Photons and dark current are counted in whole DN. The sky is smooth, so that the difference is not a whole
        number.

        Parameters
        ----------
        flux : ndarray
            (row, col) noise-free flux [nanomaggy/pixel].
        rng : Generator
            Random numbers.

        Returns
        -------
        ndarray
            (row, col) float32 [nanomaggy/pixel].
        """
        sky = (self.sky + SKY_TILT * np.linspace(-0.5, 0.5, flux.shape[1])).astype(np.float32)
        electrons = np.maximum(flux / self.nanomaggies + sky, 0) * self.gain
        dark = rng.standard_normal(flux.shape, dtype=np.float32) * np.sqrt(self.dark_variance)
        counts = np.rint(rng.poisson(electrons) / self.gain + dark)
        return ((counts - sky) * self.nanomaggies).astype(np.float32)


@dataclass(frozen=True)
class CfhtExposure:
    """One CFHTLS stack.

    Attributes
    ----------
    psf : Psf
        Its point-spread function.
    counts_sigma : float
        Sigma of blank sky [count].
    gain : float
        [electron/count].
    saturation : float
        Saturation level [count].
    """

    psf: Psf
    counts_sigma: float
    gain: float
    saturation: float

    @property
    def sigma(self) -> float:
        """Standard deviation of blank sky [nanomaggy/pixel]."""
        return self.counts_sigma * nanomaggies_per_count(CFHT.zero_point)

    @property
    def electrons(self) -> float:
        """Electrons of one nanomaggy."""
        return self.gain / nanomaggies_per_count(CFHT.zero_point)

    @property
    def brightest(self) -> float:
        """The flux at which pixels are clipped [nanomaggy/pixel]."""
        return self.saturation * nanomaggies_per_count(CFHT.zero_point)

    def observe(self, flux: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return the noisy stack.

        The noise is correlated as resampling leaves it. Its variance is that of the sky and of the photons of the
        sources. Pixels are clipped at the saturation level of the detector.

        Parameters
        ----------
        flux : ndarray
            (row, col) noise-free flux [nanomaggy/pixel].
        rng : Generator
            Random numbers.

        Returns
        -------
        ndarray
            (row, col) float32 [nanomaggy/pixel].
        """
        unit = nanomaggies_per_count(CFHT.zero_point)
        sigma = np.sqrt(self.counts_sigma**2 + np.maximum(flux, 0) / (unit * self.gain)) * unit
        return np.minimum(flux + correlated_noise(flux.shape, rng) * sigma, self.saturation * unit).astype(np.float32)


@dataclass(frozen=True)
class CoaddExposure:
    """One coadd of a survey that is simulated by its published depth.

    Attributes
    ----------
    psf : Psf
        Its point-spread function.
    sigma : float
        Standard deviation of blank sky [nanomaggy/pixel].
    electrons : float
        Electrons of one nanomaggy.
    brightest : float
        The flux at which pixels saturate, and are clipped [nanomaggy/pixel].
    kernel : tuple of float
        What turns white noise into its noise, along rows and columns.
    """

    psf: Psf
    sigma: float
    electrons: float
    brightest: float
    kernel: tuple[float, ...]

    def observe(self, flux: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return the noisy coadd: correlated noise of the sky and of the photons of the sources, clipped.

        Parameters
        ----------
        flux : ndarray
            (row, col) noise-free flux [nanomaggy/pixel].
        rng : Generator
            Random numbers.

        Returns
        -------
        ndarray
            (row, col) float32 [nanomaggy/pixel].
        """
        sigma = np.sqrt(self.sigma**2 + np.maximum(flux, 0) / self.electrons)
        noise = correlated_noise(flux.shape, rng, self.kernel)
        return np.minimum(flux + noise * sigma, self.brightest).astype(np.float32)


Exposure = SdssExposure | CfhtExposure | CoaddExposure


def draw_psf(survey: str, band: str, night: float, rng: np.random.Generator) -> Psf:
    """Draw the point-spread function of one image.

    Parameters
    ----------
    survey, band : str
        The survey, and one of its bands.
    night : float
        Factor of the night's weather on the seeing, from `draw_night`; bands that are taken together share it. Seeing
        that varies less, or more, from image to image follows it in proportion.
    rng : Generator
        Random numbers.

    Returns
    -------
    Psf
        The function.
    """
    facts = SIMULATED[survey]
    fwhm = facts.seeing[band] * night ** (facts.scatter / NIGHT_SCATTER) * np.exp(rng.normal(0, 0.04))
    g1, g2 = rng.normal(0, 0.015, 2)  # stars of real frames have axis ratios of 0.94 to 0.99
    return Psf(float(fwhm), float(rng.choice(facts.beta)), float(g1), float(g2))


def draw_exposure(survey: str, band: str, night: float, rng: np.random.Generator) -> Exposure:
    """Draw seeing and noise of one image, scattered around the survey's as those of real images are.

    Parameters
    ----------
    survey, band : str
        The survey, and one of its bands.
    night : float
        As for `draw_psf`.
    rng : Generator
        Random numbers.

    Returns
    -------
    SdssExposure, CfhtExposure or CoaddExposure
        The image.
    """
    psf = draw_psf(survey, band, night, rng)
    brighter, deeper = np.exp(rng.normal(0, [0.15, 0.05]))
    if SIMULATED[survey].coadd:
        return _coadd_exposure(SIMULATED[survey], psf, band, float(brighter), float(deeper))
    return EXPOSURES[survey](psf, band, float(brighter), float(deeper))


def _sdss_exposure(psf: Psf, band: str, brighter: float, deeper: float) -> SdssExposure:
    """Return a frame whose sky is brighter, and whose unit is larger, than usual by these factors."""
    sky, unit = SDSS_SKY[band] * brighter, SDSS_NANOMAGGIES[band] * deeper
    return SdssExposure(psf, sky, unit, *gain_and_dark_variance(RUN, CAMCOL, band))


def _cfht_exposure(psf: Psf, band: str, brighter: float, deeper: float) -> CfhtExposure:
    """Return a stack whose sky is brighter, and whose exposure is deeper, than usual by these factors."""
    # Sky and exposure time together: the four real stacks lie within 12 % of each other.
    sigma = CFHT_SIGMA[band] * float(np.sqrt(brighter)) * deeper
    return CfhtExposure(psf, sigma, CFHT_GAIN[band] / deeper, CFHT_SATURATION[band] * deeper)


def _coadd_exposure(facts: SimulatedSurvey, psf: Psf, band: str, brighter: float, deeper: float) -> CoaddExposure:
    """Return a coadd whose sky is brighter, and whose exposure is shorter, than usual by these factors."""
    sigma = facts.sigma(band) * float(np.sqrt(brighter)) * deeper
    electrons, brightest = facts.coadd.electrons[band] / deeper, facts.saturation(band) * deeper
    return CoaddExposure(psf, sigma, electrons, brightest, facts.coadd.kernel)


EXPOSURES = {"sdss": _sdss_exposure, "cfht": _cfht_exposure}


def draw_night(rng: np.random.Generator) -> float:
    """Draw the factor by which one night's seeing differs from the median.

    Parameters
    ----------
    rng : Generator
        Random numbers.

    Returns
    -------
    float
        From 0.78 to 1.28.
    """
    return float(np.exp(np.clip(rng.normal(0, NIGHT_SCATTER), -0.25, 0.25)))


def correlated_noise(
    shape: tuple[int, int], rng: np.random.Generator, kernel: tuple[float, ...] = MEDIAN_OF_LANCZOS
) -> np.ndarray:
    """Draw Gaussian noise of zero mean and unit variance, correlated as in resampled stacks.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns.
    rng : Generator
        Random numbers.
    kernel : tuple of float
        What correlates white noise along rows and columns; by default as in CFHTLS stacks.

    Returns
    -------
    ndarray
        (row, col) float32.
    """
    kernel = np.array(kernel) / np.sqrt((np.array(kernel) ** 2).sum())
    white = rng.standard_normal(shape, dtype=np.float32)
    return convolve1d(convolve1d(white, kernel, axis=0, mode="wrap"), kernel, axis=1, mode="wrap")
