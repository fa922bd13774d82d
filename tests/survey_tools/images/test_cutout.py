import numpy as np
import pytest
from numpy.testing import assert_allclose
from reproject import reproject_exact, reproject_interp
from scipy.special import erf

from survey_tools.images.cutout import _middle, resample, resample_flags, sky_sigma
from survey_tools.images.sky_wcs import north_up_wcs, read_wcs, scale_of, tan_wcs

SIZE = 64


@pytest.fixture(scope="module")
def frame(known_sky):
    galaxy = known_sky.Galaxy(*known_sky.position(known_sky.frame_wcs(), 101.3, 122.8), flux=250.0)
    wcs = known_sky.frame_wcs()
    return known_sky.draw(wcs, known_sky.FRAME_SHAPE, [galaxy]), wcs, galaxy


def grid(galaxy):
    return north_up_wcs(galaxy.ra, galaxy.dec, 0.396, SIZE)


def test_resampling_keeps_flux_and_position(frame, known_sky):
    image, wcs, galaxy = frame
    stamp = resample(image, wcs, grid(galaxy), SIZE)
    assert stamp.dtype == np.float32
    assert_allclose(stamp.sum(), galaxy.flux, rtol=0.005)
    assert_allclose(known_sky.centroid(stamp), ((SIZE - 1) / 2, (SIZE - 1) / 2), atol=0.05)


@pytest.mark.parametrize("pixel_scale", [0.2, 0.3, 0.5])
def test_resampling_keeps_flux_on_pixels_of_another_size(frame, pixel_scale):
    image, wcs, galaxy = frame
    target = north_up_wcs(galaxy.ra, galaxy.dec, pixel_scale, 80)
    assert_allclose(resample(image, wcs, target, 80).sum(), galaxy.flux, rtol=0.005)


@pytest.mark.parametrize("radesys", ["ICRS", "FK5"])
def test_resampling_is_reproject_of_the_whole_image_times_the_ratio_of_pixel_areas(frame, radesys):
    image, wcs, galaxy = frame
    wcs = wcs.deepcopy()
    wcs.wcs.radesys, wcs.wcs.equinox = radesys, 2000.0
    whole = reproject_interp((image, wcs), grid(galaxy), (SIZE, SIZE), order="bicubic", return_footprint=False)
    expected = whole * (0.396 / scale_of(wcs)) ** 2
    assert_allclose(resample(image, wcs, grid(galaxy), SIZE), expected, atol=1e-6 * image.max(), rtol=1e-5)


def star(scale: float, fwhm: float, size: int, place=(0.09, -0.13)) -> np.ndarray:
    """The light of a star of flux 100, `place` (x, y) [arcsec] from the middle, that falls into pixels of `scale`."""
    edges = (np.arange(size + 1) - size / 2) * scale
    x, y = (np.diff(0.5 * (1 + erf((edges - at) * 2.3548 / fwhm / np.sqrt(2)))) for at in place)
    return 100 * np.outer(y, x)


def turned_grid(angle: float, scale: float, size: int):
    c, s = np.cos(angle), np.sin(angle)
    return tan_wcs((150, 2), ((size + 1) / 2,) * 2, np.array([[-c, s], [s, c]]) * scale / 3600)


@pytest.mark.parametrize("angle", [0.0, 0.6])
@pytest.mark.parametrize("scale", [0.03, 0.05, 0.1, 0.186, 0.25, 0.3, 0.37, 0.45, 0.6, 0.8])
def test_flux_is_kept_from_pixels_of_any_size(scale, angle):
    """Of stars as sharp as any telescope shows them, wherever they lie between the pixels."""
    size = round(22 / scale)
    for fwhm in (0.1, 1.2):
        fwhm = max(fwhm, 2 * scale) if scale > 0.4 else fwhm  # coarse pixels show nothing sharper than themselves
        image = star(scale, fwhm, size)
        stamp = resample(image, north_up_wcs(150, 2, scale, size), turned_grid(angle, 0.396, 40), 40)
        assert_allclose(np.nansum(stamp), image.sum(), rtol=0.005)


@pytest.mark.parametrize("scale", [0.132, 0.066, 0.033])
def test_coarser_pixels_count_what_falls_into_them(scale):
    image = star(scale, 0.2, round(40 * 0.396 / scale))
    stamp = resample(image, north_up_wcs(150, 2, scale, len(image)), north_up_wcs(150, 2, 0.396, 40), 40)
    assert_allclose(stamp, star(0.396, 0.2, 40), atol=1e-4)


def test_what_coarser_pixels_count_is_that_of_an_exact_reprojection():
    image = star(0.15, 0.4, 140) + np.random.default_rng(3).normal(0, 0.1, (140, 140))
    wcs, target = north_up_wcs(150, 2, 0.15, 140), turned_grid(0.5, 0.396, 64)
    expected, share = reproject_exact((image, wcs), target, (64, 64))
    stamp = resample(image, wcs, target, 64)
    assert (np.isnan(stamp) == (share < 1 - 1e-4)).all()  # pixels that lie in the image as a whole
    inside = np.isfinite(stamp)
    assert_allclose(stamp[inside], expected[inside] * (0.396 / 0.15) ** 2, atol=1e-4)


def test_flux_is_kept_in_each_corner_of_a_distorted_image():
    """A distortion that changes the area of pixels by 8 % from one side to the other."""
    header = north_up_wcs(150, 2, 0.396, 101).to_header()
    header.update({"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "A_ORDER": 2, "B_ORDER": 2, "A_2_0": 4e-4})
    wcs = read_wcs(header)
    for row, col in ((30, 20), (50, 50), (70, 80)):
        image = np.zeros((101, 101))
        image[row - 20 : row + 21, col - 20 : col + 21] = star(1.0, 5.0, 41, (0.0, 0.0))
        for scale in (0.3, 0.396, 0.9):
            size = round(60 / scale)
            assert_allclose(np.nansum(resample(image, wcs, north_up_wcs(150, 2, scale, size), size)), 100, rtol=0.005)


def test_gaps_cost_the_coarser_pixels_that_they_lie_in():
    image, wcs, target = np.ones((90, 90)), north_up_wcs(150, 2, 0.1, 90), north_up_wcs(150, 2, 0.3, 30)
    image[31, 47] = np.nan
    stamp = resample(image, wcs, target, 30)
    assert np.argwhere(np.isnan(stamp)).tolist() == [[10, 15]]
    assert_allclose(stamp[np.isfinite(stamp)], 9, rtol=1e-5)
    assert np.argwhere(resample_flags(np.isnan(image), wcs, target, 30)).tolist() == [[10, 15]]


def test_a_missing_pixel_costs_only_the_pixels_that_touch_it(frame):
    image, wcs, galaxy = frame
    clean = resample(image, wcs, grid(galaxy), SIZE)
    holed = image.copy()
    holed[115, 125] = np.nan
    stamp = resample(holed, wcs, grid(galaxy), SIZE)
    assert 1 <= np.isnan(stamp).sum() <= 5
    assert_allclose(stamp[np.isfinite(stamp)], clean[np.isfinite(stamp)], atol=0.02 * clean.max())


def test_beyond_the_edge_there_is_no_data(known_sky, frame):
    image, wcs, _ = frame
    ra, dec = known_sky.position(wcs, 0.0, 130.0)
    stamp = resample(image, wcs, north_up_wcs(ra, dec, 0.396, SIZE), SIZE)
    assert 0.4 < np.isnan(stamp).mean() < 0.6
    assert not (stamp == 0).all()


@pytest.mark.parametrize("where", [(150.0, 3.0), (330.0, -2.0), (0.0, 90.0)])
def test_off_the_image_nothing_is_invented(frame, where):
    image, wcs, _ = frame
    target = north_up_wcs(*where, 0.396, SIZE)
    assert np.isnan(resample(image, wcs, target, SIZE)).all()
    assert not resample_flags(image > 0, wcs, target, SIZE).any()


def test_flags_follow_the_pixels(frame, known_sky):
    image, wcs, galaxy = frame
    flags = resample_flags(image > 0.5 * image.max(), wcs, grid(galaxy), SIZE)
    stamp = resample(image, wcs, grid(galaxy), SIZE)
    assert flags[stamp > 0.5 * stamp.max()].all()
    assert not flags[stamp < 0.1 * stamp.max()].any()
    assert_allclose(known_sky.centroid(flags), ((SIZE - 1) / 2,) * 2, atol=0.5)


@pytest.mark.parametrize("size", [64, 136])
def test_sky_sigma_is_that_of_the_noise_whatever_lies_on_it(size, known_sky):
    rng = np.random.default_rng(5)
    wcs = north_up_wcs(10.0, 0.0, 0.3, size)
    galaxies = [known_sky.Galaxy(10.0, 0.0, 500.0, 1.5), known_sky.Galaxy(10.002, 0.001, 20.0)]
    for sigma in (0.003, 0.02, 5.0):
        noise = rng.normal(0.0, sigma, (size, size))
        image = (known_sky.draw(wcs, (size, size), galaxies) * sigma / 0.02 + noise).astype(np.float32)
        mask = np.zeros((size, size), bool)
        mask[:5] = True
        image[:5] = 1e6
        assert_allclose(sky_sigma(image, mask), sigma, rtol=0.06)


@pytest.mark.parametrize("guess", [0.0, 0.3, 9.0, -9.0])
@pytest.mark.parametrize("count", [1, 2, 19, 500, 501])
def test_the_middle_is_the_median_wherever_it_is_looked_for_first(guess, count):
    values = np.random.default_rng(count).normal(size=count).astype(np.float32)
    for some in (values, np.round(values, 1)):
        right = (float(np.sort(some)[(count - 1) // 2]) + float(np.sort(some)[count // 2])) / 2
        assert _middle(some, guess, 0.1) == right


def test_sky_sigma_of_too_few_pixels_is_unknown():
    assert np.isnan(sky_sigma(np.full((8, 8), np.nan, np.float32), np.zeros((8, 8), bool)))
    assert np.isnan(sky_sigma(np.zeros((8, 8), np.float32), np.ones((8, 8), bool)))
