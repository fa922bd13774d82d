import numpy as np
import pytest
from astropy.io import fits
from numpy.testing import assert_allclose

from survey_tools.archives.tiles import reader
from survey_tools.images import quality
from survey_tools.images.quality import FEWEST, WINDOW, moffat_fwhm, star_fwhm

FINE = 5  # parts of a pixel along each axis over which a drawn profile is integrated
HALF = 20  # pixels from the middle of a drawn source to where it ends


def moffat(width: float, beta: float, centre, shape, stretch: float = 1.0) -> np.ndarray:
    """A Moffat profile of unit flux, integrated over the pixels (row, col) of an image of this shape."""
    row, col = (np.arange(FINE * length) / FINE - (FINE - 1) / (2 * FINE) for length in shape)
    radius = width / (2 * np.sqrt(2 ** (1 / beta) - 1))
    square = ((row[:, None] - centre[0]) / stretch) ** 2 + ((col[None] - centre[1]) * stretch) ** 2
    fine = (1 + square / radius**2) ** -beta * (beta - 1) / (np.pi * radius**2)
    return fine.reshape(shape[0], FINE, shape[1], FINE).mean(axis=(1, 3))


def draw(image, flux, width, beta, rng, stretch=1.0) -> None:
    """Add a source somewhere on an image."""
    place = rng.uniform(HALF + 1, np.array(image.shape) - HALF - 1)
    first = np.rint(place).astype(int) - HALF
    part = np.s_[first[0] : first[0] + 2 * HALF + 1, first[1] : first[1] + 2 * HALF + 1]
    image[part] += flux * moffat(width, beta, place - first, image[part].shape, stretch)


def sky(width: float, beta: float, *, stars: int = 25, seed: int = 0, shape=(900, 900)) -> np.ndarray:
    """A stack in counts: noise, stars of one width, and twice as many galaxies of all widths and shapes."""
    rng = np.random.default_rng(seed)
    image = 5.0 + rng.normal(0, 1.3, shape)
    for _ in range(stars):
        draw(image, 10 ** rng.uniform(3.3, 4.7), width, beta, rng)
    for _ in range(2 * stars):
        draw(image, 10 ** rng.uniform(3.3, 4.5), width * rng.uniform(1.1, 3), 3.0, rng, rng.uniform(0.7, 1.3))
    return image.astype(np.float32)


@pytest.mark.parametrize("width", [2.9, 3.8, 6.5])
@pytest.mark.parametrize("beta", [2.5, 4.5])
def test_the_width_of_simulated_stars_is_found_among_galaxies(width, beta):
    image = sky(width, beta)
    assert_allclose(star_fwhm(reader(image), image.shape), width, rtol=0.03)


def test_saturated_stars_and_missing_pixels_do_not_count():
    image, rng = sky(3.8, 3.5), np.random.default_rng(5)
    for _ in range(20):
        draw(image, 2e6, 3.8, 3.5, rng)
    image = np.minimum(image, 4000)
    image[:, 400:420], image[500:520] = 0.0, np.nan
    assert_allclose(star_fwhm(reader(image), image.shape, 4000.0, 0.0), 3.8, rtol=0.03)
    assert_allclose(star_fwhm(reader(image), image.shape, np.inf, 0.0), 3.8, rtol=0.03)


@pytest.mark.parametrize("level", [0.0, 5.0, np.nan])
def test_without_stars_there_is_no_width(level):
    image = np.full((200, 300), level, np.float32)
    assert np.isnan(star_fwhm(reader(image), image.shape, no_data=0.0))
    noise = image + np.random.default_rng(0).normal(0, 1, image.shape).astype(np.float32)
    assert np.isnan(star_fwhm(reader(noise), image.shape, no_data=0.0))


def test_one_source_is_no_crowd_of_stars():
    image = sky(3.8, 3.5, stars=0)
    draw(image, 1e4, 3.8, 3.5, np.random.default_rng(0))
    assert FEWEST > 1
    assert np.isnan(star_fwhm(reader(image), image.shape))


@pytest.mark.parametrize(("shape", "count"), [((19354, 19354), 9), ((440, 440), 1), ((1600, 800), 2), ((100, 5000), 3)])
def test_a_bounded_part_of_a_stack_is_read_in_windows_that_do_not_overlap(shape, count):
    asked = []

    def read(starts, size):
        asked.extend((*start, size) for start in starts.tolist())
        return iter(())

    assert np.isnan(star_fwhm(read, shape))
    assert len(asked) == count
    assert {size for *_, size in asked} == {min(WINDOW, *shape)}
    for row, col, size in asked:
        assert 0 <= row <= shape[0] - size
        assert 0 <= col <= shape[1] - size
    apart = [max(abs(a[0] - b[0]), abs(a[1] - b[1])) for a in asked for b in asked if a != b]
    assert all(distance >= asked[0][2] for distance in apart)


def test_a_moffat_is_fitted_to_one_star():
    shape = (2 * quality.HALF + 1,) * 2
    middle = np.array(shape) / 2 - 0.5
    for width, beta, offset in ((3.0, 2.5, (0.3, -0.4)), (5.0, 4.5, (0.0, 0.0))):
        assert_allclose(moffat_fwhm(1e4 * moffat(width, beta, middle + offset, shape) + 3.0), width, rtol=0.005)
    row, col = np.indices(shape) - quality.HALF
    gaussian = np.exp(-(row**2 + col**2) / (2 * 2.0**2))  # at points: less by the share of a pixel
    assert_allclose(moffat_fwhm(gaussian), 2.3548 * np.sqrt(2.0**2 - 1 / 12), rtol=0.015)
    assert np.isnan(moffat_fwhm(1 / (1 + np.hypot(row, col))))  # no star has such wings


@pytest.mark.parametrize(("band", "tolerance"), [("g", 0.03), ("r", 0.05)])
def test_a_real_stack_has_the_image_quality_that_its_header_states(real_data, band, tolerance):
    """Two stars are alone and unsaturated on this cutout of 82 arcsec; the header's value is that of the whole tile."""
    with fits.open(real_data / "cfht" / f"CFHTLS-test_{band}.fits", memmap=False) as hdus:
        image, header = hdus[0].data.astype(np.float32), hdus[0].header
    found = star_fwhm(reader(image), image.shape, header["SATURATE"], 0.0)
    assert_allclose(0.186 * found, header["IQIMAGE"], rtol=tolerance)
