import numpy as np
import pytest
from astropy.io import fits

from survey_tools.fits.zeros import judge_zeros, rounding_of

SIZE = 64
ROW, COL = np.mgrid[:SIZE, :SIZE]


def noise(sigma=2.0, seed=0):
    return np.random.default_rng(seed).normal(0, sigma, (SIZE, SIZE))


def padded(image, where):
    made = image.copy()
    made[where] = 0
    return made


PADDED = {
    "half": ROW < 30,
    "a corner": ROW + COL < 40,
    "a thin line along the edge": COL == 0,
    "what is left of a turned image": abs(ROW - 31.5) + abs(COL - 31.5) > 40,
}


@pytest.mark.parametrize("where", PADDED.values(), ids=PADDED)
@pytest.mark.parametrize("sky", [0.0, 800.0])
def test_a_block_of_zeros_at_the_edge_beside_noise_has_no_data(where, sky):
    empty, said = judge_zeros(padded(noise() + sky, where), marked=False)
    np.testing.assert_array_equal(empty, where)
    assert said == f"{100 * where.mean():.1f} % of pixels are exactly 0 and no data (a block at the edge, beside noise)"


def test_a_block_of_zeros_within_rounded_noise_is_told_from_the_zeros_of_the_noise():
    image = noise().round()
    chance = (image == 0).mean()
    empty, said = judge_zeros(padded(image, ROW < 30), marked=True)
    assert empty[:29].all()
    assert empty[31:].mean() < 0.01
    assert "no data (a block at the edge" in said
    assert "are exactly 0 and data (all values are multiples of 1)" in said
    empty, said = judge_zeros(image, marked=True)
    assert not empty.any()
    assert said.startswith(f"{100 * chance:.1f} % of pixels are exactly 0 and data")


@pytest.mark.parametrize("step", [1.0, 0.1, 0.37])
def test_rounded_values_have_zeros_that_are_data(step):
    image = np.float32(np.round(noise() / step) * step)
    assert not judge_zeros(image, marked=True)[0].any()


def test_where_a_survey_marks_missing_data_by_zero_each_zero_of_a_float_is_such_a_mark():
    where = (COL == 30) | ((ROW == 5) & (COL == 7))
    empty, said = judge_zeros(padded(noise(), where), marked=True)
    np.testing.assert_array_equal(empty, where)
    assert said.endswith("no data (by which the survey's files mark it)")
    empty, said = judge_zeros(padded(noise(), where), marked=False)
    assert not empty[1:-1, 30].all() or not empty.any()  # a column that is dead and no block at an edge
    assert judge_zeros(padded(noise(), where), marked=True, rounding="whole numbers")[0].sum() == empty.sum()


def test_zeros_of_a_model_without_noise_are_data():
    model = np.exp(-((ROW - 31) ** 2 + (COL - 31) ** 2) / 20.0)
    model[model < 1e-9] = 0
    assert (model == 0).mean() > 0.5
    assert not judge_zeros(model, marked=False)[0].any()
    assert not judge_zeros(np.zeros((SIZE, SIZE)), marked=False)[0].any()


def test_a_hole_in_the_middle_is_data_unless_the_user_or_the_survey_says_otherwise():
    hole = (abs(ROW - 31) < 8) & (abs(COL - 31) < 8)
    image = padded(noise(), hole)
    assert not judge_zeros(image, marked=False)[0].any()
    empty, said = judge_zeros(image, marked=False, how="missing")
    np.testing.assert_array_equal(empty, hole)
    assert said.endswith("no data (as --zeros says)")
    empty, said = judge_zeros(padded(noise(), ROW < 30), marked=True, how="data")
    assert not empty.any()
    assert said.endswith("data (as --zeros says)")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"quantize_level": 16}, "the file was compressed without dither"),
        ({"quantize_level": 16, "quantize_method": 1, "dither_seed": 3}, ""),
        ({"quantize_level": 16, "quantize_method": 2, "dither_seed": 3}, ""),
        ({"quantize_level": 0, "compression_type": "GZIP_1"}, ""),
    ],
)
def test_compression_says_whether_zeros_are_rounded_values(tmp_path, options, words):
    image = fits.CompImageHDU(noise().astype(np.float32), **({"compression_type": "RICE_1"} | options))
    fits.HDUList([fits.PrimaryHDU(), image]).writeto(tmp_path / "a.fits")
    with fits.open(tmp_path / "a.fits", disable_image_compression=True) as hdus:
        assert rounding_of(hdus[1].header) == words
    assert rounding_of(fits.PrimaryHDU(noise().astype(np.int16)).header) == "the file has whole numbers"
    assert rounding_of(fits.PrimaryHDU(noise().astype(np.float32)).header) == ""
