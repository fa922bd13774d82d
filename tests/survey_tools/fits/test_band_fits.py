import bz2

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from numpy.testing import assert_allclose, assert_array_equal

from survey_tools.errors import ImageError
from survey_tools.fits.band_fits import band_hdus, read_bands
from survey_tools.fits.calibration import Given
from survey_tools.images.sky_wcs import north_up_wcs, tan_wcs

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
    words = {"empty": "is empty", "truncated": "it may be truncated", "truncated bz2": "it is truncated"}
    assert words.get(how, "is not FITS: it starts with b'<html>") in str(caught.value)


def edited(tmp_path, edit):
    with fits.open(written(tmp_path / "a.fits")) as hdus:
        edit(hdus)
        hdus.writeto(tmp_path / "edited.fits")
    return tmp_path / "edited.fits"


def uncalibrate(hdus, unit=None):
    for hdu, key in ((hdus["r"], "BUNIT"), (hdus["r"], "MAGZERO"), (hdus[0], "MAGZERO")):
        hdu.header.remove(key, ignore_missing=True)
    if unit:
        hdus["r"].header["BUNIT"] = unit


def drop_wcs(hdus):
    for key in ("CTYPE1", "CTYPE2", "CUNIT1", "CUNIT2"):
        del hdus["r"].header[key]


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda hdus: hdus.pop(3), "no image of band r .*EXTNAME or FILTER"),
        (drop_wcs, "band r has no celestial WCS"),
        (
            lambda hdus: uncalibrate(hdus, "adu"),
            "band r has BUNIT = 'adu' and states no zero point",
        ),
        (lambda hdus: uncalibrate(hdus), "band r has no BUNIT and states no zero point"),
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
    with pytest.raises(ImageError, match="cube of 3 planes, but the bands are ugriz"):
        read_bands(tmp_path / "cube.fits", BANDS)


def cube(path, images=IMAGES, **cards):
    header = ROTATED.to_header()
    header.update({"BUNIT": "nanomaggy"} | cards)
    fits.PrimaryHDU(images, header).writeto(path)
    return path


@pytest.mark.parametrize(
    ("images", "cards", "order"),
    [
        (IMAGES, {"BANDS": 5}, [0, 1, 2, 3, 4]),  # the number of planes
        (IMAGES, {"BANDS": "z,i,r,g,u"}, [4, 3, 2, 1, 0]),
        (IMAGES, {f"BAND{n}": band for n, band in enumerate("zirgu")}, [4, 3, 2, 1, 0]),
        (IMAGES, {f"BAND{n + 1}": band for n, band in enumerate("zirgu")}, [4, 3, 2, 1, 0]),
        (IMAGES[None], {}, [0, 1, 2, 3, 4]),
    ],
)
def test_the_planes_of_a_cube_are_named_in_many_ways(tmp_path, images, cards, order):
    bands, _ = read_bands(cube(tmp_path / "a.fits", images, **cards), BANDS)
    assert_array_equal([band.image for band in bands], IMAGES[order])


def test_a_number_of_planes_that_is_none_is_not_taken_for_names(tmp_path):
    with pytest.raises(ImageError, match="has a cube of 3 planes, but the bands are ugriz"):
        read_bands(cube(tmp_path / "a.fits", IMAGES[:3], BANDS=-1), BANDS)


def extension(image, name="", **cards):
    header = ROTATED.to_header()
    header.update({"BUNIT": "nanomaggy"} | cards)
    return fits.ImageHDU(image, header, name=name)


def test_the_filter_of_the_primary_header_is_that_of_the_image_and_companions_are_passed_over(tmp_path):
    primary = fits.PrimaryHDU(header=fits.Header({"FILTER": "r"}))
    others = [extension(np.ones((8, 8), np.float32), name) for name in ("WHT", "ERR", "DQ", "MODEL", "PSF")]
    hdus = fits.HDUList([primary, *others[:2], extension(IMAGES[0], "SCI"), *others[2:]])
    hdus.writeto(tmp_path / "a.fits")
    (band,), _ = read_bands(tmp_path / "a.fits", "r")
    assert_array_equal(band.image, IMAGES[0])
    hdus.append(extension(IMAGES[1], "ccd2"))
    hdus.writeto(tmp_path / "b.fits")
    with pytest.raises(ImageError, match="band r twice"):
        read_bands(tmp_path / "b.fits", "r")


def test_a_companion_by_its_name_is_no_image(tmp_path):
    with pytest.raises(ImageError, match=r"a.weight.fits is a weight map according to its name"):
        read_bands(written(tmp_path / "a.weight.fits"), BANDS)


@pytest.mark.parametrize("keyword", [b"tmp.key ", b"GAIN.SPE", b"B\xe9      "])
def test_blank_of_floats_and_cards_that_no_standard_allows_do_no_harm(tmp_path, keyword):
    with fits.open(written(tmp_path / "a.fits")) as hdus:
        for hdu in hdus[1:]:
            hdu.header["BLANK"], hdu.header["TMPKEY"] = -32768, 1
        hdus.writeto(tmp_path / "b.fits", output_verify="ignore")
    (tmp_path / "c.fits").write_bytes((tmp_path / "b.fits").read_bytes().replace(b"TMPKEY  ", keyword))
    bands, _ = read_bands(tmp_path / "c.fits", BANDS)
    assert_array_equal(np.stack([band.image for band in bands]).astype(np.float32), IMAGES)


def test_what_a_user_says_calibrates_a_file_that_is_silent_and_settles_one_that_contradicts_itself(tmp_path):
    silent = extension(IMAGES[0], "r", MZP_AB=30.0, PHOTZP=25.0)
    del silent.header["BUNIT"]
    fits.HDUList([fits.PrimaryHDU(), silent]).writeto(tmp_path / "a.fits")
    with pytest.raises(ImageError, match=r"a.fits: band r contradicts itself: PHOTZP = 25 .* MZP_AB = 30"):
        read_bands(tmp_path / "a.fits", "r")
    (band,), _ = read_bands(tmp_path / "a.fits", "r", Given(zero_point=25.0))
    assert_allclose(band.image, IMAGES[0] / 10, rtol=1e-6)
    area = abs(np.linalg.det(ROTATED.pixel_scale_matrix)) * 3600**2  # of a pixel [arcsec²]
    (band,), _ = read_bands(tmp_path / "a.fits", "r", Given("nmgy/arcsec2"))
    assert_allclose(band.image, IMAGES[0] * area, rtol=1e-6)
