import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from survey_tools.images.sky_wcs import north_up_wcs, tan_terms, tan_wcs
from translator.data.conditions import SYMMETRY, align, medians, turned_alignments, usual_seeing
from translator.data.streams import SYMMETRIES, turned

SIZES = 64, 136


def terms(*grids):
    return [np.array(each) for each in zip(*(tan_terms(wcs) for wcs in grids), strict=True)]


def by_astropy(here, there, place):
    """Where a place on one grid lies on the other, both as rows and columns from the centre."""
    row, col = np.asarray(place) + (SIZES[0] - 1) / 2
    sky = here.wcs_pix2world([[col, row]], 0)
    col, row = there.wcs_world2pix(sky, 0)[0]
    return np.array([row, col]) - (SIZES[1] - 1) / 2


@pytest.mark.parametrize("dec", [-3.0, 55.0, 88.0])
def test_places_are_those_of_astropy(dec):
    here = north_up_wcs(150.0, dec, 0.396, SIZES[0])
    angle, degrees = np.radians(7.0), 0.186 / 3600
    cd = degrees * np.array([[-np.cos(angle), np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    there = tan_wcs((150.02, dec - 0.3), (70.0, 68.0 - 0.3 * 3600 / 0.186 * -1), cd)
    made = align(terms(here), SIZES[0], terms(there), SIZES[1], 2.0)[0]
    middle = by_astropy(here, there, (0, 0))
    if np.abs(middle).max() < 4 * SIZES[1]:
        for place in ((0, 0), (10, -7), (-20, 25)):
            assert_allclose(made[:, :2] @ place + made[:, 2], by_astropy(here, there, place), atol=0.01)


def test_a_grid_without_a_wcs_has_the_others_centre():
    here, there = terms(north_up_wcs(1, 2, 0.4, 64)), terms(north_up_wcs(1, 2, 0.2, 136))
    there[0] = there[0] * np.nan
    assert_allclose(align(here, 64, there, 136, 2.0)[0], [[2, 0, 0], [0, 2, 0]])


@pytest.mark.parametrize("symmetry", range(SYMMETRIES))
def test_a_place_turns_as_the_image_does(symmetry):
    image = np.zeros((9, 9))
    place = np.array([2, -3])  # row, col from the centre
    image[tuple(place + 4)] = 1
    found = np.argwhere(turned(image, symmetry))[0] - 4
    assert_allclose(SYMMETRY[symmetry] @ place, found)
    matrix = np.array([[2.0, 0.1, 0.5], [-0.2, 2.0, 1.5]])
    turned_matrix = turned_alignments(matrix[None], np.array([symmetry]))[0]
    expected = SYMMETRY[symmetry] @ (matrix[:, :2] @ place + matrix[:, 2])
    assert_allclose(turned_matrix[:, :2] @ found + turned_matrix[:, 2], expected, atol=1e-12)
    assert torch.from_numpy(turned_matrix).shape == (2, 3)


def test_the_usual_seeing_of_a_band_that_has_none_is_that_of_the_others():
    widths = np.array([[1.0, np.nan], [1.2, np.nan], [1.4, np.nan]])
    assert_allclose(usual_seeing(widths), [1.2, 1.2])
    assert_allclose(medians(widths), [1.2, np.nan])
    assert np.isnan(usual_seeing(widths * np.nan)).all()
