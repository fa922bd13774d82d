import numpy as np
import pytest
from astropy.io import fits
from numpy.testing import assert_allclose

from survey_tools.images.sky_wcs import read_wcs, scale_of
from survey_tools.surveys import CFHT
from survey_tools.twin_sky.archive_files import FILTERS, covered, stack_path, tile_wcs, write_stack
from survey_tools.twin_sky.exposure import CfhtExposure, Psf

SIZE = 300
WCS = tile_wcs(215.97, -0.64, SIZE)
EXPOSURE = CfhtExposure(Psf(0.7, 3.5), counts_sigma=1.32, gain=42.2, saturation=5270.0)


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    root = tmp_path_factory.mktemp("stack")
    flux = np.random.default_rng(0).normal(0, 1e-3, (SIZE, SIZE)).astype(np.float32)
    flux[:20] = np.nan
    flux[20:40] = 0
    write_stack(root, "i", flux, WCS, EXPOSURE, seed=3)
    with fits.open(stack_path(root, "i", WCS)) as hdus:
        return hdus[0].data.copy(), hdus[0].header, flux


def test_counts_have_zero_point_thirty(stack):
    counts, _, flux = stack
    assert counts.dtype == ">f4"
    assert_allclose(counts[40:], flux[40:] * 1000, rtol=1e-5)


def test_empty_pixels_and_only_they_are_zero(stack):
    counts = stack[0]
    assert (counts[:20] == 0).all()
    assert (counts[20:] != 0).all()


def test_headers_are_as_in_t0007(stack):
    header = stack[1]
    expected = {
        "MZP_AB": 30.0,
        "FILTER": "i.MP9701",
        "TERAPIX": "T0007",
        "GAIN": 42.2,
        "SATURATE": 5269.0,
        "IQIMAGE": 0.7,
    }
    assert {name: header[name] for name in expected} == expected
    assert header["SIMULATD"] is True
    wcs = read_wcs(header)
    assert_allclose(wcs.wcs.cd, [[-5.166666789e-05, 0], [0, 5.166666789e-05]], rtol=1e-6)
    assert_allclose(wcs.wcs_pix2world([[149.5, 149.5]], 0)[0], WCS.wcs.crval)
    assert_allclose(scale_of(wcs), CFHT.pixel_scale, rtol=1e-6)


def test_saturated_pixels_reach_the_level_in_the_header(tmp_path):
    exposure = CfhtExposure(Psf(0.7, 3.5), 1.32, 42.2, saturation=2958.770943100205)
    bright = exposure.observe(np.full((SIZE, SIZE), 9.0), np.random.default_rng(0))
    write_stack(tmp_path, "g", bright, WCS, exposure, seed=0)
    counts, header = fits.getdata(stack_path(tmp_path, "g", WCS), header=True)
    assert (counts >= header["SATURATE"]).all()
    assert_allclose(counts, header["SATURATE"], rtol=1e-3)


def test_filters_are_those_that_the_survey_knows():
    assert {CFHT.filters[name]: band for band, name in FILTERS.items()} == {band: band for band in "ugriz"}


def test_a_stack_is_named_after_its_centre(tmp_path):
    assert stack_path(tmp_path, "u", WCS).name == "TWINSKY_W_u_142353-003824_T0007_MEDIAN.fits"


def test_gaps_are_few_and_the_border_is_one():
    seen = covered((1000, 1000), np.random.default_rng(0))
    assert not seen[:16].any()
    assert not seen[:, -16:].any()
    assert 0.9 < seen.mean() < 0.97
