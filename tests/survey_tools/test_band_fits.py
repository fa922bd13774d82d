import bz2

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from numpy.testing import assert_allclose, assert_array_equal

from survey_tools.band_fits import band_hdus, read_bands
from survey_tools.errors import ImageError
from survey_tools.tan import north_up_wcs, tan_wcs

BANDS = "ugriz"
RNG = np.random.default_rng(5)
IMAGES = RNG.normal(size=(5, 8, 8)).astype(np.float32)
ROTATED = tan_wcs((38.5, -7.1), (4.2, 5.1), [[-7.4e-5, 8.1e-5], [8.1e-5, 7.4e-5]])


def written(path, images=IMAGES, bands=BANDS, wcs=ROTATED):
    band_hdus(images, bands, wcs, fits.Header({"OBJECT": "m1"})).writeto(path, checksum=True)
    return path


def test_pixels_and_wcs_survive_the_round_trip_to_the_bit(tmp_path):
    bands, header = read_bands(written(tmp_path / "a.fits"), BANDS)
    assert header["OBJECT"] == "m1"
    assert_array_equal(np.stack([band.image for band in bands]).astype(np.float32), IMAGES)
    for band in bands:
        assert_array_equal(band.wcs.wcs.crval, ROTATED.wcs.crval)
        assert_array_equal(band.wcs.wcs.crpix, ROTATED.wcs.crpix)
        assert_array_equal(band.wcs.pixel_scale_matrix, ROTATED.pixel_scale_matrix)


def test_written_header_is_what_other_readers_expect(tmp_path):
    with fits.open(written(tmp_path / "a.fits"), checksum=True) as hdus:
        assert [hdu.name for hdu in hdus[1:]] == list("ugriz")
        header = hdus["r"].header
        assert header["EXTNAME"] == header["FILTER"] == "r"
        assert header["BUNIT"] == "nanomaggy"
        assert header["RADESYS"] == "ICRS"
        assert "CD1_1" in header
        assert "PC1_1" not in header
        sky = WCS(header).pixel_to_world(3.2, 4.1)
        assert_allclose([sky.ra.deg, sky.dec.deg], [38.5, -7.1], atol=1e-9)


def test_bands_are_found_by_filter_and_in_the_order_asked_for(tmp_path):
    hdus = fits.HDUList([fits.PrimaryHDU()])
    for name, image in zip(("r.MP9601", "g.MP9401"), IMAGES, strict=False):
        header = ROTATED.to_header()
        header["FILTER"], header["BUNIT"] = name, "nanomaggy"
        hdus.append(fits.ImageHDU(image, header))
    hdus.append(fits.ImageHDU(np.zeros((8, 8), np.uint8), name="MASK_R"))
    hdus.writeto(tmp_path / "a.fits")
    bands, _ = read_bands(tmp_path / "a.fits", "gr")
    assert_array_equal([band.image for band in bands], IMAGES[[1, 0]])


@pytest.mark.parametrize("named", [True, False])
def test_cube_planes_are_bands(tmp_path, named):
    header = ROTATED.to_header()
    header["BUNIT"] = "nanomaggy"
    if named:
        header["BANDS"] = "zirgu"
    fits.PrimaryHDU(IMAGES, header).writeto(tmp_path / "cube.fits")
    bands, _ = read_bands(tmp_path / "cube.fits", BANDS)
    assert_array_equal([band.image for band in bands], IMAGES[::-1] if named else IMAGES)


def test_counts_with_a_zero_point_become_nanomaggies(tmp_path):
    header = ROTATED.to_header()
    header["FILTER"], header["MZP_AB"] = "r.MP9601", 30.0
    fits.PrimaryHDU(IMAGES[0], header).writeto(tmp_path / "a.fits")
    assert_allclose(read_bands(tmp_path / "a.fits", "r")[0][0].image, IMAGES[0] / 1000, rtol=1e-6)


def broken(tmp_path, how):
    path = written(tmp_path / "a.fits")
    if how == "empty":
        path.write_bytes(b"")
    elif how == "truncated":
        path.write_bytes(path.read_bytes()[:12_000])
    elif how == "truncated bz2":
        path = tmp_path / "a.fits.bz2"
        path.write_bytes(bz2.compress((tmp_path / "a.fits").read_bytes())[:1000])
    elif how == "text":
        path.write_text("<html>503 Service Unavailable</html>")
    return path


@pytest.mark.parametrize("how", ["empty", "truncated", "truncated bz2", "text"])
def test_a_damaged_file_is_named_in_one_line(tmp_path, how):
    path = broken(tmp_path, how)
    with pytest.raises(ImageError, match=path.name) as caught:
        read_bands(path, BANDS)
    assert "empty or truncated" in str(caught.value)


def edited(tmp_path, edit):
    with fits.open(written(tmp_path / "a.fits")) as hdus:
        edit(hdus)
        hdus.writeto(tmp_path / "edited.fits")
    return tmp_path / "edited.fits"


def drop_wcs(hdus):
    for key in ("CTYPE1", "CTYPE2", "CUNIT1", "CUNIT2"):
        del hdus["r"].header[key]


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda hdus: hdus.pop(3), "no image of band r .*EXTNAME or FILTER"),
        (drop_wcs, "band r has no celestial WCS"),
        (lambda hdus: hdus["r"].header.set("BUNIT", "adu"), "band r has BUNIT = 'adu'; calibrate"),
        (lambda hdus: hdus["r"].header.remove("BUNIT"), "band r has no BUNIT; calibrate"),
        (lambda hdus: hdus["r"].header.set("EXTNAME", "g"), "band g twice"),
    ],
)
def test_what_is_missing_is_named_with_the_remedy(tmp_path, edit, said):
    with pytest.raises(ImageError, match=said):
        read_bands(edited(tmp_path, edit), BANDS)


def test_a_cube_of_other_bands_is_refused(tmp_path):
    header = north_up_wcs(10, 10, 0.396, 8).to_header()
    header["BUNIT"] = "nanomaggy"
    fits.PrimaryHDU(IMAGES[:3], header).writeto(tmp_path / "cube.fits")
    with pytest.raises(ImageError, match="cube of 3 planes, not one for each of ugriz"):
        read_bands(tmp_path / "cube.fits", BANDS)
