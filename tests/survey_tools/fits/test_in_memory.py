import gzip
import io

import numpy as np
import pytest
from astropy.io import fits
from numpy.testing import assert_array_equal

from survey_tools.errors import ImageError
from survey_tools.fits.band_fits import band_hdus, read_bands
from survey_tools.fits.in_memory import FitsInMemory
from survey_tools.images.sky_wcs import north_up_wcs


def drawn() -> fits.HDUList:
    images = np.random.default_rng(1).normal(0, 0.1, (2, 12, 14))
    return band_hdus(images, "gr", north_up_wcs(150.0, 2.0, 0.396, 14), fits.Header({"OBJECT": "g4"}))


@pytest.mark.parametrize("pack", [lambda content: content, gzip.compress], ids=["plain", "gzip"])
def test_what_is_in_memory_is_read_as_a_file_is(tmp_path, pack):
    hdus = drawn()
    hdus.writeto(tmp_path / "a.fits")
    held = FitsInMemory.of(hdus, "mine")
    assert held.read_bytes() == (tmp_path / "a.fits").read_bytes()
    bands, header = read_bands(FitsInMemory("mine", pack(held.content)), "gr")
    assert header["OBJECT"] == "g4"
    for band, hdu in zip(bands, hdus[1:], strict=True):
        assert_array_equal(band.image, hdu.data)


def test_an_image_first_gets_a_primary_hdu():
    held = FitsInMemory.of(fits.HDUList([drawn()["r"]]))
    with fits.open(io.BytesIO(held.content)) as hdus:
        assert [type(each) for each in hdus] == [fits.PrimaryHDU, fits.ImageHDU]


def test_errors_name_the_image():
    with pytest.raises(ImageError, match="mine is empty"):
        read_bands(FitsInMemory("mine", b""), "r")
    broken = drawn()
    broken["r"].header.append(fits.Card.fromstring("BAD KEY = 'x"))
    with pytest.raises(ImageError, match="mine cannot be written as FITS"):
        FitsInMemory.of(broken, "mine")
