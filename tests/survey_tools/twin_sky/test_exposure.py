import numpy as np
import pytest
from numpy.testing import assert_allclose

from survey_tools.twin_sky.exposure import (
    CfhtExposure,
    Psf,
    SdssExposure,
    correlated_noise,
    draw_exposure,
    draw_night,
)

SHAPE = (700, 800)
SDSS = SdssExposure(Psf(1.3, 3.5), sky=120.0, nanomaggies=0.0052, gain=4.72, dark_variance=1.3225)
CFHT = CfhtExposure(Psf(0.7, 3.5), counts_sigma=1.32, gain=42.2, saturation=5270.0)


def lag(noise, rows, cols):
    first = noise[rows:, cols:]
    second = noise[: noise.shape[0] - rows, : noise.shape[1] - cols]
    return (first * second).mean() / noise.var()


@pytest.mark.parametrize("exposure", [SDSS, CFHT], ids=["sdss", "cfht"])
def test_blank_sky_has_the_stated_sigma_and_no_mean(exposure):
    seen = exposure.observe(np.zeros(SHAPE, np.float32), np.random.default_rng(0))
    assert seen.dtype == np.float32
    assert_allclose(seen.std(), exposure.sigma, rtol=0.01)
    assert_allclose(seen.mean(), 0, atol=0.02 * exposure.sigma)


def test_sigma_of_real_frames_follows_from_their_sky():
    # measured in the r frame 7264-3-111: 0.0269 nanomaggy/pixel
    assert_allclose(SDSS.sigma, 0.0269, rtol=0.05)


def test_noise_of_a_stack_is_as_correlated_as_in_t0007():
    # measured along rows and columns of real stacks: 0.09, -0.055, 0.022 at lags 1, 2, 3, and 0.01 on the diagonal
    noise = correlated_noise((2000, 2000), np.random.default_rng(1))
    assert_allclose(noise.std(), 1, rtol=0.005)
    for shift, expected in (((1, 0), 0.0925), ((2, 0), -0.0545), ((3, 0), 0.0225), ((1, 1), 0.0085), ((5, 0), 0.0)):
        assert_allclose([lag(noise, *shift), lag(noise, *shift[::-1])], expected, atol=0.003)


def test_noise_of_a_frame_is_white():
    noise = SDSS.observe(np.zeros((1400, 1400), np.float32), np.random.default_rng(1))
    assert_allclose([lag(noise, 1, 0), lag(noise, 0, 1), lag(noise, 2, 0)], 0, atol=0.004)


@pytest.mark.parametrize("exposure", [SDSS, CFHT], ids=["sdss", "cfht"])
def test_bright_pixels_add_the_noise_of_their_photons(exposure):
    flux = np.full(SHAPE, 2.0, np.float32)
    seen = exposure.observe(flux, np.random.default_rng(0))
    unit = exposure.nanomaggies if exposure is SDSS else 1e-3  # nanomaggies of one count
    variance = exposure.sigma**2 + 2.0 * unit / exposure.gain
    assert_allclose(seen.mean(), 2.0, rtol=1e-3)
    assert_allclose(seen.std(), np.sqrt(variance), rtol=0.01)


def test_stacks_are_clipped_where_they_saturate():
    seen = CFHT.observe(np.full(SHAPE, 9.0, np.float32), np.random.default_rng(0))
    assert_allclose(seen, 5.27)


def test_effective_width_is_that_of_the_gaussian_with_the_same_area():
    # a Moffat profile of large beta is a Gaussian
    assert_allclose(Psf(1.0, 500.0).effective_width, 1.0, rtol=0.002)
    # psField of field 3900-6-269: PSF_WIDTH 1.596 over a core of 1.337 in r
    assert_allclose(Psf(1.337, 3.8).effective_width, 1.596, rtol=0.02)


@pytest.mark.parametrize(("survey", "band", "fwhm"), [("sdss", "r", 1.30), ("cfht", "u", 0.85), ("cfht", "i", 0.64)])
def test_seeing_varies_around_that_of_the_survey(survey, band, fwhm):
    rng = np.random.default_rng(0)
    drawn = [draw_exposure(survey, band, draw_night(rng), rng) for _ in range(400)]
    widths = [exposure.psf.fwhm for exposure in drawn]
    assert_allclose(np.median(widths), fwhm, rtol=0.03)
    assert 0.05 < np.std(np.log(widths)) < 0.15
    assert 0.04 < np.std(np.log([exposure.sigma for exposure in drawn])) < 0.2
