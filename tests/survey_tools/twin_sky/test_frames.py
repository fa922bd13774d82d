import numpy as np
import pytest
from astropy.io import fits
from numpy.testing import assert_allclose, assert_array_equal

from survey_tools.images.sky_wcs import read_wcs
from survey_tools.twin_sky.exposure import SKY_TILT, Psf, SdssExposure
from survey_tools.twin_sky.frames import (
    COLS,
    FIELDS,
    ROWS,
    STRIP_SHAPE,
    cut_mantissa,
    field_rows,
    field_wcs,
    frame_path,
    psfield_path,
    strip_wcs,
    write_frames,
    write_psfields,
)

EXPOSURE = SdssExposure(Psf(1.3, 3.5), sky=120.0, nanomaggies=0.0052, gain=4.72, dark_variance=1.3225)
STRIP = strip_wcs(333.3, 1.3, (3.0, -7.0), 0.04, 0.396)


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    root = tmp_path_factory.mktemp("sas")
    strip = np.zeros(STRIP_SHAPE, np.float32)
    strip[::7] = np.random.default_rng(0).normal(0, 0.03, strip[::7].shape)  # few digits, so that it packs quickly
    write_frames(root, "g", strip, STRIP, EXPOSURE, seed=5)
    return [fits.open(frame_path(root, "g", field)) for field in FIELDS], strip


def test_floats_keep_ten_binary_digits():
    flux = np.random.default_rng(0).normal(0, 0.03, 10000).astype(np.float32)
    cut = cut_mantissa(flux)
    assert_allclose(cut, flux, rtol=2**-10)
    assert (cut.view(np.uint32) & (2**14 - 1) == 0).all()
    assert np.log2(np.abs(cut / flux)).mean() == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("index", range(len(FIELDS)))
def test_a_fields_wcs_is_the_strips(index):
    corners = np.array([[0, 0], [COLS - 1, 0], [0, ROWS - 1], [COLS - 1, ROWS - 1], [700, 900]])
    sky = STRIP.wcs_pix2world(corners + [0, field_rows(index).start], 0)
    assert_allclose(field_wcs(STRIP, index).wcs_world2pix(sky, 0), corners, atol=0.01)


def test_adjacent_fields_share_128_rows_of_the_same_pixels(frames):
    (first, second), strip = frames
    assert_array_equal(first[0].data[-128:], second[0].data[:128])
    assert_allclose(first[0].data, strip[:ROWS], rtol=2**-10)
    assert_allclose(second[0].data, strip[-ROWS:], rtol=2**-10)


def test_frames_are_built_as_the_archives(frames):
    for field, hdus in zip(FIELDS, frames[0], strict=True):
        header = hdus[0].header
        assert hdus[0].data.shape == (1489, 2048)
        assert hdus[0].data.dtype == ">f4"
        names = (
            "RUN",
            "CAMCOL",
            "FRAME",
            "RERUN",
            "FILTER",
            "BUNIT",
            "CTYPE1",
            "CTYPE2",
            "RADECSYS",
            "CRPIX1",
            "CRPIX2",
        )
        values = (9001, 3, field, "301", "g", "nanomaggy", "RA---TAN", "DEC--TAN", "ICRS", 1025.0, 745.0)
        assert tuple(header[name] for name in names) == values
        assert_allclose(header["NMGY"], EXPOSURE.nanomaggies)
        assert header["SIMULATD"] is True
        assert header["SIMSEED"] == 5
        assert header["ORIGIN"] == "galtrans twin sky"
        assert read_wcs(header) is not None
        assert abs(header["CD1_1"]) < abs(header["CD1_2"])  # the scan runs nearly eastwards, not north


def test_calibration_and_sky_give_back_whole_counts(frames):
    # the recipe of the data model page of `frame`: DN = image / calibration + sky
    rng = np.random.default_rng(0)
    seen = EXPOSURE.observe(np.zeros(STRIP_SHAPE, np.float32), rng)[:ROWS]
    hdus = frames[0][0]
    calibration, table = hdus[1].data, hdus[2].data[0]
    grid = np.asarray(table["ALLSKY"]).reshape(-1, 256)
    sky = np.interp(table["XINTERP"], np.arange(256), grid[0])
    assert_allclose(sky[[0, -1]], EXPOSURE.sky + SKY_TILT * np.array([-0.5, 0.5]), atol=0.005)
    counts = seen / calibration + sky
    assert_allclose(counts, np.rint(counts), atol=0.01)


def test_psfields_tell_the_widths_of_the_bands(tmp_path):
    exposures = dict.fromkeys("ugriz", EXPOSURE) | {"z": SdssExposure(Psf(1.0, 3.5), 80.0, 0.035, 4.9, 1.0)}
    write_psfields(tmp_path, exposures, 0.396, seed=1)
    with fits.open(psfield_path(tmp_path, FIELDS[0])) as hdus:
        assert hdus[0].header["FILTERS"] == "u g r i z"
        widths = hdus[6].data["PSF_WIDTH"][0]
        assert_allclose(widths, [each.psf.effective_width for each in exposures.values()], rtol=1e-6)
        image = hdus[5].data["RROWS"][0].reshape(51, 51)
        half = image > image.max() / 2
        assert_allclose(2 * np.sqrt(half.sum() / np.pi) * 0.396, 1.0, atol=0.15)
