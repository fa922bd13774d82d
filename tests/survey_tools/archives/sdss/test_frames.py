import bz2

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from survey_tools.archives.download.mirror import Mirror
from survey_tools.archives.fits_files import describe, open_image
from survey_tools.archives.plan import SourceFile
from survey_tools.archives.sdss.frames import LISTED, NAMED, NEXT, Frame, cut_frame, field_of, nothing
from survey_tools.errors import ArchiveError
from survey_tools.surveys import SDSS

FRAME = Frame(94, 301, 3, 100, "r")


def unknown(frame, row, col):
    return np.nan


def cut(mirror, path, galaxy, frame=None, psf=unknown):
    """The piece of one galaxy."""
    source = SourceFile(str(path.relative_to(mirror.root)), "r", np.array([0]), frame)
    return next(cut_frame(mirror, source, [galaxy.ra], [galaxy.dec], psf))


def test_a_frame_is_named_as_on_the_sas():
    name = "sas/dr12/boss/photoObj/frames/301/1904/3/frame-g-001904-3-0163.fits.bz2"
    assert Frame(1904, 301, 3, 163, "g").name == name


def test_the_psf_is_asked_for_at_the_pixel_of_the_object_and_not_where_there_is_no_data(mirror, known_sky, galaxy):
    path, asked = known_sky.write_frame(mirror.root, "r", [galaxy]), []

    def psf(frame, row, col):
        asked.append((frame[:5], round(row, 3), round(col, 3)))
        return 1.3

    source = SourceFile(str(path.relative_to(mirror.root)), "r", np.arange(2))
    pieces = list(cut_frame(mirror, source, [galaxy.ra, 10.0], [galaxy.dec, 10.0], psf))
    assert asked == [((94, "301", 3, 100, "r"), 108.2, 131.4)]
    assert_array_equal([piece.psf_fwhm for piece in pieces], [1.3, np.nan])


@pytest.mark.parametrize(("why", "lacks"), [(NAMED, [-1, 0, 1, 0, 0]), (NEXT, [0] * 5), (LISTED, [0] * 5)])
def test_a_named_frame_tells_beyond_which_of_its_rows_a_cutout_reaches(mirror, known_sky, why, lacks):
    path = known_sky.write_frame(mirror.root, "r", [])
    places = [(5, 130), (110, 130), (215, 130), (110, 3), (110, 258)]
    positions = np.array([known_sky.position(known_sky.frame_wcs(), *place) for place in places])
    source = SourceFile(str(path.relative_to(mirror.root)), "r", np.arange(5), FRAME._replace(why=why))
    assert [piece.lacks for piece in cut_frame(mirror, source, *positions.T, unknown)] == lacks


def test_nothing_is_a_cutout_without_pixels():
    (piece,) = nothing([150.0], [2.0])
    assert np.isnan(piece.cutout.image).all()
    assert_allclose(piece.cutout.wcs.wcs_world2pix([[150.0, 2.0]], 0), [[31.5, 31.5]], atol=1e-6)


def truncate(path, keep=0.6):
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


DAMAGE = {
    "truncated": (truncate, "cannot be read: .*ended before"),
    "damaged": (flip, "cannot be read"),
    "empty": (lambda path: path.write_bytes(b""), "is empty"),
    "HTML": (lambda path: path.write_bytes(b"<html>503</html>"), "is not FITS"),
    "bz2 of half a frame": (
        lambda path: path.write_bytes(bz2.compress(bz2.decompress(path.read_bytes())[:100_000])),
        "is truncated: it has 100000 of",
    ),
    "half a header": (
        lambda path: path.write_bytes(bz2.compress(bz2.decompress(path.read_bytes())[:1000])),
        "its header has no end",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("named", [True, False])
def test_a_damaged_file_is_named(mirror, known_sky, galaxy, damage, named):
    path = known_sky.write_frame(mirror.root, "r", [galaxy])
    spoil, message = DAMAGE[damage]
    spoil(path)
    with pytest.raises(ArchiveError, match=rf"frame-r-000094-3-0100\.fits\.bz2 .*{message[:60]}"):
        cut(mirror, path, galaxy, FRAME if named else None)


HEADERS = {
    "no WCS": ({"CTYPE1": None, "CTYPE2": None}, "no celestial WCS"),
    "singular WCS": ({"CD1_1": 0.0, "CD1_2": 0.0}, "WCS that cannot be used"),
    "counts": ({"BUNIT": "adu"}, "BUNIT = 'adu' and states no zero point"),
    "no unit": ({"BUNIT": None}, "no BUNIT and states no zero point"),
    "another band": ({"FILTER": "g"}, "image of band g"),
    "no such band": ({"FILTER": "H"}, "FILTER 'H'"),
    "another field": ({"FRAME": 104}, r"run, camcol, field \(94, 3, 104\)"),
    "no field": ({"FRAME": None}, "does not state its RUN, CAMCOL and FRAME"),
    "a saturation in words": ({"SATURATE": "high"}, "SATURATE = 'high'"),
}


@pytest.mark.parametrize("kind", HEADERS)
def test_a_frame_with_a_wrong_header_is_refused(mirror, known_sky, galaxy, kind):
    header, message = HEADERS[kind]
    path = known_sky.write_frame(mirror.root, "r", [galaxy], header=header)
    with pytest.raises(ArchiveError, match=rf"frame-r-000094-3-0100.*{message}"):
        cut(mirror, path, galaxy, FRAME)


def test_saturated_and_missing_pixels_are_told_apart(mirror, known_sky, galaxy):
    def edit(image):
        image[100:104, 120:124] = np.nan

    path = known_sky.write_frame(mirror.root, "r", [galaxy], edit=edit, header={"SATURATE": 10.0})
    cutout = cut(mirror, path, galaxy).cutout
    assert 16 <= np.isnan(cutout.image).sum() <= 36
    assert cutout.saturated[cutout.image > 11].all()
    assert not cutout.saturated[np.isnan(cutout.image) | (cutout.image < 2)].any()


def test_without_a_field_in_the_header_there_is_no_exposure_and_no_psf(mirror, known_sky, galaxy):
    path = known_sky.write_frame(mirror.root, "r", [galaxy], name="frame.fits", header={"RUN": None})
    piece = cut(mirror, path, galaxy, psf=lambda *_: 1.3)
    assert piece.exposure == ""
    assert np.isnan(piece.psf_fwhm)


@pytest.mark.parametrize(
    ("header", "others", "gain"),
    [
        ({}, False, np.nan),
        ({"NMGY": 0.005}, False, 4.72 / 0.005),
        ({"NMGY": 0.005}, True, 4.72 / 0.004),  # HDU 1 has the calibration of each column
        ({"NMGY": "none"}, False, np.nan),
        ({"NMGY": 0.005, "RUN": None}, False, np.nan),
    ],
)
def test_the_gain_is_that_of_the_ccd_over_the_calibration(mirror, known_sky, galaxy, header, others, gain):
    hdus = known_sky.noise_hdus(0.004, 120.0) if others else ()
    path = known_sky.write_frame(mirror.root, "r", [galaxy], name="frame.fits", header=header, others=hdus)
    assert_allclose(cut(mirror, path, galaxy).gain, gain, rtol=1e-6)


def test_the_gain_of_a_real_frame_is_that_of_its_camera_column(real_data, tmp_path):
    frame = Frame(7264, 301, 3, 111, "r")
    source = SourceFile(frame.name, "r", np.array([0]), frame)
    piece = next(cut_frame(Mirror(str(real_data), tmp_path), source, [38.57159], [-7.09912], unknown))
    assert_allclose(piece.gain, 4.72 / 0.00521229, rtol=0.01)  # NMGY is the mean over the columns


def test_only_the_beginning_of_a_file_is_read_to_describe_it(mirror, known_sky, galaxy):
    path = known_sky.write_frame(mirror.root, "r", [galaxy], name="frame.fits")
    truncate(path, 0.2)
    image = describe(SDSS, mirror, str(path.relative_to(mirror.root)))[0]
    assert (image.band, image.shape) == ("r", known_sky.FRAME_SHAPE)


def test_the_field_of_a_real_frame_is_read_from_its_header(real_data, tmp_path):
    frame = Frame(7264, 301, 3, 111, "g")  # whose FRAME is 119
    with open_image(SDSS, Mirror(str(real_data), tmp_path), frame.name) as (_, header, pixels):
        assert field_of(header) == (7264, 3, 111)
        assert pixels.shape == (1489, 2048)
