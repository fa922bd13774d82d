import numpy as np
import pytest
from astropy.io import fits

from survey_tools.fits.companions import said_by_header, said_by_name, said_by_values


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("D1_r.weight.fits", "weight map"),
        ("a/b/coadd_weight.fits.fz", "weight map"),
        ("legacysurvey-0001m002-invvar-r.fits.fz", "weight map"),
        ("hst_f814w_drz_wht.fits", "weight map"),
        ("weight_r.fits", "weight map"),
        ("m51-rms-g.fits", "noise map"),
        ("CFHTLS_W_r_T0007.flag.fits.gz", "mask"),
        ("mask_0001.fits", "mask"),
        ("tile12.mask.fit", "mask"),
        ("x_seg.fts", "segmentation map"),
        ("legacysurvey-0001m002-model-z.fits.fz", "model"),
        ("star_psf.fits", "PSF image"),
    ],
)
def test_names_of_companions(name, kind):
    assert said_by_name(name) == kind


@pytest.mark.parametrize(
    "name",
    ["frame-r-007264-3-0111.fits.bz2", "CFHTLS_03_g_sci.fits.fz", "ngc_model_galaxy.fits", "psf_matched_r.fits",
     "r.fits", "exp12_r.fits", "weights_and_measures_star.fits", "000001_cfht-0.fits", "flagstaff_r.fits",
     "sigma_ori_r.fits"],
)  # fmt: skip
def test_names_of_images_of_the_sky(name):
    assert said_by_name(name) == ""


@pytest.mark.parametrize(
    ("cards", "kind"),
    [
        ({"EXTNAME": "WHT"}, "weight map"),
        ({"EXTNAME": "ERR"}, "noise map"),
        ({"EXTNAME": "VARIANCE"}, "noise map"),
        ({"EXTNAME": "DQ"}, "mask"),
        ({"EXTNAME": "MASK_r"}, "mask"),
        ({"EXTNAME": "ccd12_mask"}, "mask"),
        ({"EXTNAME": "SIGMA_r"}, "noise map"),
        ({"OBJECT": "PSF"}, "PSF image"),
        ({"OBJECT": "weight"}, "weight map"),
        ({"IMAGETYP": "INVVAR"}, "weight map"),
        ({"PRODCATG": "ANCILLARY.WEIGHTMAP"}, "weight map"),
        ({"IMAGETYP": "Master Flat"}, "calibration frame"),
        ({"EXTNAME": "SCI"}, ""),
        ({"EXTNAME": "ccd12"}, ""),
        ({"EXTNAME": "r", "OBJECT": "NGC 1365"}, ""),
        ({"EXTNAME": "IMAGE", "IMAGETYP": "object"}, ""),
        ({"FLAVOR": "science", "OBJECT": "1356 N"}, ""),
        ({"OBJECT": "Sigma Ori mask field"}, ""),
    ],
)
def test_headers_of_companions_and_of_images_of_the_sky(cards, kind):
    assert said_by_header(fits.Header(cards)) == kind


def test_values_that_no_sky_has():
    rng = np.random.default_rng(0)
    assert said_by_values(np.ones(400), integers=False) == (
        "not an image of the sky: every pixel that was examined is 1"
    )
    flags = rng.choice([0, 1, 4], 400, p=[0.9, 0.05, 0.05])
    assert said_by_values(flags, integers=True) == "a mask according to its values, which are only 0, 1, 4"
    assert said_by_values(flags, integers=False) == ""
    assert said_by_values(rng.poisson(0.4, 400) * 1.0, integers=False) == ""
    assert said_by_values(rng.normal(0, 3, 400).round(), integers=True) == ""
    assert said_by_values(np.zeros(400), integers=False) == ""  # an empty corner of a stack
    assert said_by_values(np.full(400, np.nan), integers=False) == ""
