import numpy as np
import pytest

from survey_tools.store.summary import sky_range, summarise
from survey_tools.surveys import CFHT


def test_a_summary_says_what_a_store_holds(tmp_path, known_sky):
    for band in "ri":
        known_sky.write_stack(tmp_path / "m", band, [], header={"IQIMAGE": 0.75 if band == "r" else None, "GAIN": 40.0})
    catalogue = known_sky.catalogue([(150.0, 2.0), (150.0, 2.008), (10.0, 10.0)])
    store = known_sky.fetch(CFHT, catalogue, tmp_path / "m", tmp_path / "y.zarr", bands="ri")
    said = dict(summarise(store))
    assert said["survey"].startswith("CFHTLS")
    assert said["bands"] == "r i"
    assert said["objects"] == "3: 2 done, 1 outside, 0 failed"
    assert said["usable"].startswith("1 ")
    assert said["images"].startswith("136 x 136 pixels of 0.186 arcsec")
    assert said["seeing"] == "r 0.75  i unknown  [arcsec, median FWHM, from header]"
    assert said["gain"] == "r 40000  i 40000  [electron/nanomaggy, median]"
    assert said["sky sigma"].startswith("r 0.0010  i 0.0010")
    assert said["sky"] == "RA 10.0000 to 150.0000 deg, Dec +2.0000 to +10.0000 deg (ICRS)"
    assert said["chunks"] == "1 of at most 3 objects"
    assert said["command"] == "galtrans fetch cfht"
    assert said["mirror"] == str(tmp_path / "m")
    assert "galtrans " in said["made by"]
    assert float(said["on disk"].split()[0]) > 0.01


@pytest.mark.parametrize(
    ("ra", "expected"),
    [
        ([359.5, 0.5, 1.0], "RA 359.5000 to 1.0000"),
        ([10.0, 20.0], "RA 10.0000 to 20.0000"),
        ([180.0], "RA 180.0000 to 180.0000"),
    ],
)
def test_the_range_of_right_ascension_is_the_smallest(ra, expected):
    assert sky_range(np.array(ra), np.zeros(len(ra))).startswith(expected)
