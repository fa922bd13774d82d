"""Galaxies with known light and known noise: translated perfectly, and translated wrongly in one known way each.

`oracle` is the truth with noise of its own. In each other sample, only `output`, `signal` and `draws` are wrong:
`shifted` (along the columns), `blurred`, `rescaled`, `noiseless`, `noise_doubled`, `white_noise`, `source_dropped` (the
companion of every galaxy) and `source_added` (one more source in every image).
"""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from translator.metrics.measure import Sample

GALAXIES, SIZE, DRAWS = 24, 48, 16
BANDS = ("g", "r")
SCALE, SOURCE_SCALE = 0.2, 0.4  # [arcsec/pixel]
SIGMA = np.array([0.02, 0.03])  # of a blank pixel in each band [nanomaggy/pixel]
NOISE_WIDTH = 0.7  # standard deviation of the kernel that correlates the noise [pixel]
SHIFT = 1.0  # of `shifted` along the columns [pixel]
BLUR = 1.5  # standard deviation of the kernel of `blurred` [pixel]
RESCALED = 1.1  # factor of `rescaled`


@dataclass(frozen=True)
class Light:
    """Elliptical Gaussians, one in each image: the sources of one kind.

    Attributes
    ----------
    flux : array
        Flux (galaxy, band) [nanomaggy].
    row, col : array
        Centre (galaxy,) [pixel]; 0 is the centre of the first pixel.
    along, across : array
        Standard deviation along the columns and along the rows (galaxy,) [pixel].
    """

    flux: np.ndarray
    row: np.ndarray
    col: np.ndarray
    along: np.ndarray
    across: np.ndarray

    def draw(self, shift: float = 0.0, blur: float = 0.0, size: int = SIZE, step: float = 1.0) -> np.ndarray:
        """Return images (galaxy, band, row, col), moved and blurred, of `size` pixels that are `step` pixels wide."""
        pixel = (np.arange(size) + 0.5) * step - 0.5
        rows = profile(pixel, self.row, np.hypot(self.across, blur), step)
        cols = profile(pixel, self.col + shift, np.hypot(self.along, blur), step)
        return self.flux[..., None, None] * rows[:, None, :, None] * cols[:, None, None, :]


@dataclass(frozen=True)
class Known:
    """The true sources of the samples: galaxies, a fainter companion of each, and the source that is added."""

    galaxies: Light
    companions: Light
    added: Light
    scale: float = SCALE
    shift: float = SHIFT
    blur: float = BLUR
    rescaled: float = RESCALED
    noise_width: float = NOISE_WIDTH


def profile(pixel, centre, sigma, step: float) -> np.ndarray:
    """Return the share of a Gaussian's light in each pixel (galaxy, pixel), computed at the centre of the pixel."""
    distance = (pixel - centre[:, None]) / sigma[:, None]
    return step * np.exp(-0.5 * distance**2) / (np.sqrt(2 * np.pi) * sigma[:, None])


def noise(shape: tuple[int, ...], seed: int, width: float = NOISE_WIDTH) -> np.ndarray:
    """Return Gaussian noise (…, band, row, col) of `SIGMA`, correlated like a white field after a Gaussian kernel."""
    white = np.random.default_rng(seed).normal(size=shape)
    if width:
        white = gaussian_filter(white, (0,) * (len(shape) - 2) + (width, width), mode="wrap")
        impulse = np.zeros(shape[-2:])
        impulse[0, 0] = 1.0
        white /= np.sqrt((gaussian_filter(impulse, width, mode="wrap") ** 2).sum())
    return white * SIGMA[:, None, None]


@pytest.fixture(scope="session")
def known() -> Known:
    """24 galaxies of 4 to 150 nanomaggy near the middle, with companions and added sources of 4 at opposite corners."""
    random = np.random.default_rng(5)
    middle, ones = (SIZE - 1) / 2, np.ones(GALAXIES)
    colour = random.uniform(0.6, 1.2, GALAXIES)
    red = np.geomspace(4.0, 150.0, GALAXIES)
    at = middle + random.uniform(-0.5, 0.5, (4, GALAXIES))
    galaxies = Light(
        flux=np.stack([red * 10 ** (-0.4 * colour), red], axis=1),
        row=at[0],
        col=at[1],
        along=random.uniform(2.5, 4.5, GALAXIES),
        across=random.uniform(2.0, 3.5, GALAXIES),
    )
    fluxes = np.stack([2.0 * ones, 4.0 * ones], axis=1)
    companions = Light(flux=fluxes, row=at[2] - 14.0, col=at[3] - 14.0, along=1.6 * ones, across=1.6 * ones)
    added = replace(companions, row=at[2] + 14.0, col=at[3] + 14.0)
    return Known(galaxies=galaxies, companions=companions, added=added)


@pytest.fixture(scope="session")
def make_sample(known: Known):
    """A function that makes a sample from translations without noise (galaxy, band, row, col) and their noise."""
    truth = known.galaxies.draw() + known.companions.draw()
    source = sum(light.draw(blur=2.0, size=SIZE // 2, step=2.0) for light in (known.galaxies, known.companions))
    redshift = (1.0859 * np.log(known.galaxies.flux[:, 1] / known.galaxies.flux[:, 0]) - 0.5) / 2.0

    def make(signal: np.ndarray, *, amplitude: float = 1.0, width: float = NOISE_WIDTH) -> Sample:
        draws = signal + amplitude * noise((DRAWS, *truth.shape), 4, width)
        images = {
            "output": signal + amplitude * noise(truth.shape, 1, width),
            "signal": signal,
            "target": truth + noise(truth.shape, 2),
            "truth": truth,
            "again": truth + noise(truth.shape, 3),
            "draws": draws,
            "source": source + 2.0 * noise(source.shape, 5, 0.0),
        }
        images = {name: image.astype(np.float32) for name, image in images.items()}
        sigma = np.broadcast_to(SIGMA, truth.shape[:2]).copy()
        return Sample(BANDS, SCALE, sigma=sigma, source_scale=SOURCE_SCALE, redshift=redshift, **images)

    return make


@pytest.fixture(scope="session")
def oracle(known: Known, make_sample) -> Sample:
    """The truth with noise like that of the target."""
    return make_sample(known.galaxies.draw() + known.companions.draw())


@pytest.fixture(scope="session")
def shifted(known: Known, make_sample) -> Sample:
    """All light `known.shift` pixels further along the columns."""
    return make_sample(known.galaxies.draw(shift=SHIFT) + known.companions.draw(shift=SHIFT))


@pytest.fixture(scope="session")
def blurred(known: Known, make_sample) -> Sample:
    """The light after a Gaussian of standard deviation `known.blur` pixels."""
    return make_sample(known.galaxies.draw(blur=BLUR) + known.companions.draw(blur=BLUR))


@pytest.fixture(scope="session")
def rescaled(oracle: Sample, make_sample) -> Sample:
    """Light times `known.rescaled`."""
    return make_sample(RESCALED * oracle.truth)


@pytest.fixture(scope="session")
def noiseless(oracle: Sample, make_sample) -> Sample:
    """The truth itself."""
    return make_sample(oracle.truth, amplitude=0.0)


@pytest.fixture(scope="session")
def noise_doubled(oracle: Sample, make_sample) -> Sample:
    """Noise of twice the amplitude."""
    return make_sample(oracle.truth, amplitude=2.0)


@pytest.fixture(scope="session")
def white_noise(oracle: Sample, make_sample) -> Sample:
    """Noise of the right amplitude without its correlations."""
    return make_sample(oracle.truth, width=0.0)


@pytest.fixture(scope="session")
def source_dropped(known: Known, make_sample) -> Sample:
    """Images without the companions."""
    return make_sample(known.galaxies.draw())


@pytest.fixture(scope="session")
def source_added(known: Known, make_sample) -> Sample:
    """Images with one source too many."""
    return make_sample(known.galaxies.draw() + known.companions.draw() + known.added.draw())
