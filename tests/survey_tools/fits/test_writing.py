import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from survey_tools.fits.band_fits import band_hdus, mask_hdu
from survey_tools.fits.writing import FLAGGED, write_bands, write_hdus
from survey_tools.images.sky_wcs import north_up_wcs

BANDS = tuple("ugz")
WCS = north_up_wcs(9.9999999999, 20, 0.396, 8)
PRIMARY = fits.Header({"OBJECT": "9999999999 0000000000000000", "SYNTH": True})


@pytest.fixture
def images():
    return np.random.default_rng(0).normal(0, 1, (3, 8, 8)).astype(np.float32)


def with_masks(images):
    """The bands, each with its mask beside it."""
    hdus = band_hdus(images, BANDS, WCS, PRIMARY.copy())
    pairs = [(hdu, mask_hdu(~np.isfinite(hdu.data), hdu.header, FLAGGED)) for hdu in hdus[1:]]
    return fits.HDUList([hdus[0], *(hdu for pair in pairs for hdu in pair)])


def same_as_astropy(path, images, folder):
    """The file has right checksums, and cards and pixels as Astropy writes them."""
    with_masks(images).writeto(folder / "astropy.fits", checksum=True)
    with fits.open(path, checksum=True) as mine, fits.open(folder / "astropy.fits") as theirs:  # wrong ones would warn
        mine.verify("exception")
        assert [hdu.name for hdu in mine] == [hdu.name for hdu in theirs]
        for one, other in zip(mine, theirs, strict=True):
            left = [card.image for card in one.header.cards if card.keyword not in ("CHECKSUM", "DATASUM")]
            right = [card.image for card in other.header.cards if card.keyword not in ("CHECKSUM", "DATASUM")]
            assert left == right
            assert one.header["DATASUM"] == other.header["DATASUM"]
            if one.data is not None:
                assert_array_equal(one.data, other.data)
                assert one.data.dtype == other.data.dtype


def test_files_are_those_of_astropy_but_for_the_time_of_day(images, tmp_path):
    images[1, 2, 3] = np.nan
    write_bands(images, BANDS, WCS, PRIMARY.copy(), tmp_path / "bands.fits")
    same_as_astropy(tmp_path / "bands.fits", images, tmp_path)
    write_hdus(with_masks(images), tmp_path / "hdus.fits")
    assert (tmp_path / "hdus.fits").read_bytes() == (tmp_path / "bands.fits").read_bytes()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 255), max_size=40), st.sampled_from([np.uint8, np.int16, np.float32]))
def test_checksums_are_right_for_any_pixels(tmp_path_factory, numbers, dtype):
    path = tmp_path_factory.mktemp("sums") / "a.fits"
    hdu = fits.ImageHDU(np.array([numbers], dtype), name="a") if numbers else fits.ImageHDU(name="a")
    write_hdus(fits.HDUList([fits.PrimaryHDU(), hdu]), path)
    with fits.open(path, checksum=True) as found:
        assert found[1].verify_checksum() == 1
        assert found[1].verify_datasum() == 1


def test_every_hdu_says_what_its_fluxes_mean_and_that_they_are_synthetic(images, tmp_path):
    masks = np.zeros(images.shape, bool)
    masks[2, 1, 1] = True
    write_bands(images, BANDS, WCS, PRIMARY.copy(), tmp_path / "a.fits", masks)
    with fits.open(tmp_path / "a.fits") as hdus:
        assert [hdu.name for hdu in hdus[1:]] == ["u", "MASK_u", "g", "MASK_g", "z", "MASK_z"]
        for hdu in hdus:
            assert (hdu.header["SYNTH"], hdu.header["MAGZERO"], hdu.header["PHOTSYS"]) == (True, 22.5, "AB")
        assert [hdus[f"MASK_{band}"].data.sum() for band in BANDS] == [0, 0, 1]
        assert "FILTER" not in hdus["MASK_z"].header
