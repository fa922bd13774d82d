import io

import numpy as np
import pytest
from astropy.io import fits
from numpy.testing import assert_allclose

from survey_tools.archives.plan import Access, SourceFile
from survey_tools.archives.sdss.archive import open_archive
from survey_tools.archives.sdss.frame_noise import (
    DARK_VARIANCE,
    GAIN,
    FrameNoise,
    gain_and_dark_variance,
    interpolated,
    noise,
    read_noise,
)
from survey_tools.archives.sdss.frames import Frame
from survey_tools.images.cutout import resample, sky_sigma
from survey_tools.images.sky_wcs import north_up_wcs
from survey_tools.surveys import SDSS

SHAPE = (220, 260)


def hdus(known_sky, sky=100.0, calibration=0.005, flat=False):
    """The HDUs of a frame as astropy reads them."""
    first, second = known_sky.noise_hdus(calibration, sky)
    if flat:
        columns = [fits.Column("ALLSKY", "49152E", array=second.data["ALLSKY"].reshape(1, -1))]
        columns += [fits.Column(n, f"{second.data[n].size}E", array=second.data[n]) for n in ("XINTERP", "YINTERP")]
        second = fits.BinTableHDU.from_columns(columns)
    file = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(np.zeros(SHAPE, np.float32)), first, second]).writeto(file)
    return fits.open(io.BytesIO(file.getvalue()))


def test_the_noise_of_a_pixel_is_that_of_its_electrons_and_of_the_ccd():
    flux = np.array([[0.0, 0.5], [-5.0, 0.0]])  # the third has lost its sky and more
    sigma = noise(flux, calibration=np.array([0.005, 0.01]), sky=np.full((2, 2), 100.0), gain=4.0, dark_variance=2.0)
    counts = np.array([[100.0, 150.0], [0.0, 100.0]])
    assert_allclose(sigma, np.sqrt(counts / 4.0 + 2.0) * [0.005, 0.01])


@pytest.mark.parametrize(
    ("run", "camcol", "band", "gain", "dark_variance"),
    [
        (94, 1, "u", 1.62, 9.61),
        (1100, 2, "u", 1.595, 12.6025),
        (1101, 2, "u", 1.825, 12.6025),
        (1500, 2, "i", 6.565, 5.76),
        (1501, 2, "i", 6.565, 6.25),
        (7264, 4, "i", 4.885, 7.5625),
        (7264, 4, "z", 4.775, 12.6025),
        (1345, 4, "z", 4.775, 9.61),
        (7264, 5, "z", 3.48, 2.1025),
        (7264, 3, "r", 4.72, 1.3225),
    ],
)
def test_gain_and_dark_variance_are_those_of_the_ccd_at_the_time(run, camcol, band, gain, dark_variance):
    assert gain_and_dark_variance(run, camcol, band) == (gain, dark_variance)


def test_every_ccd_has_a_gain_and_a_dark_variance():
    assert [*GAIN] == [*DARK_VARIANCE] == [*SDSS.bands]
    assert {len(values) for table in (GAIN, DARK_VARIANCE) for values in table.values()} == {6}
    with pytest.raises(KeyError):
        gain_and_dark_variance(94, 7, "r")


def test_gains_and_dark_variances_of_a_real_field_are_in_the_table(real_data):
    with fits.open(real_data / "sdss_field_3900-6-269" / "psField-003900-6-0269.fit") as file:
        table = file[6].data[0]
        ours = np.array([gain_and_dark_variance(3900, 6, band) for band in SDSS.bands])
        assert_allclose(ours, np.stack([table["gain"], table["dark_variance"]], axis=1), rtol=1e-6)


@pytest.mark.parametrize("flat", [False, True])
def test_the_sky_is_interpolated_at_the_pixel(known_sky, flat):
    read = read_noise(hdus(known_sky, flat=flat), 94, 3, "r", SHAPE)
    assert read.sky.shape == (192, 256)
    assert_allclose(read.blank(110, 130), np.sqrt(100 / 4.72 + 1.3225) * 0.005, rtol=1e-6)
    row, col = np.indices((192, 256))
    tilted = FrameNoise(read.calibration, 10.0 + 2.0 * row + 3.0 * col, read.rows, read.cols, 1.0, 0.0)
    where = np.array([10, 200]), np.array([40, 250])
    assert_allclose(tilted.sky_at(*where), 10.0 + 2.0 * read.rows[where[0]] + 3.0 * read.cols[where[1]])
    assert tilted.blank(-30.0, 2000.0) == tilted.blank(0, 259)  # off the frame the nearest pixel tells


def test_hdus_of_another_shape_tell_nothing(known_sky):
    good = hdus(known_sky)
    assert read_noise(good, 94, 3, "r", (219, 260)) is None
    assert read_noise(good, 94, 3, "r", (220, 261)) is None
    assert read_noise(good, 94, 0, "r", SHAPE) is None
    assert read_noise(good[:2], 94, 3, "r", SHAPE) is None
    assert read_noise(fits.HDUList([good[0], fits.ImageHDU(), good[2]]), 94, 3, "r", SHAPE) is None
    other = fits.BinTableHDU.from_columns([fits.Column("SKY", "E", array=[1.0])])
    assert read_noise(fits.HDUList([good[0], good[1], other]), 94, 3, "r", SHAPE) is None


def test_interpolation_leaves_as_much_noise_as_is_said(known_sky):
    """White noise, resampled onto a turned grid of equal pixels, so that all shifts between pixels occur."""
    image = np.random.default_rng(3).normal(0.0, 1.0, (1489, 1489)).astype(np.float32)
    wcs = known_sky.frame_wcs()
    wcs.wcs.crpix = 745, 745
    target = north_up_wcs(known_sky.RA, known_sky.DEC, 0.396, 900)
    assert_allclose(resample(image, wcs, target, 900).std(), interpolated(), rtol=0.005)
    assert_allclose(interpolated(), 0.8742, atol=1e-4)


@pytest.mark.parametrize("suffix", [".fits.bz2", ".fits", ".fits.gz"])
def test_the_sky_of_a_cutout_has_the_noise_that_is_told(tmp_path, known_sky, suffix):
    sky, calibration = 100.0, 0.005
    sigma = np.sqrt(sky / 4.72 + 1.3225) * calibration
    others = known_sky.noise_hdus(calibration, sky)
    path = known_sky.write_frame(tmp_path, "r", [], noise=sigma, others=others, name=f"frame{suffix}")
    archive = open_archive(Access(tmp_path, str(tmp_path)))
    positions = [
        known_sky.position(known_sky.frame_wcs(), row, col) for row in (60, 120, 170) for col in (60, 130, 200)
    ]
    pieces = list(archive.cut(SourceFile(path.name, "r", np.arange(9)), *np.array(positions).T))
    assert_allclose([piece.sky_sigma for piece in pieces], sigma * interpolated(), rtol=1e-3)
    measured = [piece.cutout.image.std() for piece in pieces]
    assert_allclose(np.mean(measured), pieces[0].sky_sigma, rtol=0.02)


def test_noise_that_is_not_told_has_to_be_measured(tmp_path, known_sky):
    path = known_sky.write_frame(tmp_path, "r", [], name="frame.fits")
    archive = open_archive(Access(tmp_path, str(tmp_path)))
    piece = next(archive.cut(SourceFile(path.name, "r", np.arange(1)), [known_sky.RA], [known_sky.DEC]))
    assert np.isnan(piece.sky_sigma)


@pytest.mark.parametrize("band", SDSS.bands)
def test_the_noise_of_real_frames_is_as_told_within_a_tenth(real_data, tmp_path, band):
    """Measured where no bright galaxy lies: 0.976 (r) to 1.030 (u) of 120 cutouts; here of 24."""
    archive = open_archive(Access(tmp_path, str(real_data)))
    frame = Frame(7264, 301, 3, 111, band)
    rng = np.random.default_rng(8)
    centre = north_up_wcs(38.583, -7.035, 0.396, 64)
    positions = centre.wcs_pix2world(rng.uniform(-600, 600, (24, 2)), 0)
    pieces = list(archive.cut(SourceFile(frame.name, band, np.arange(24), frame), *positions.T))
    images = [piece.cutout.image for piece in pieces]
    ratios = [piece.sky_sigma / sky_sigma(image, np.isnan(image)) for piece, image in zip(pieces, images, strict=True)]
    assert 0.9 < np.median(ratios) < 1.1
