import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from survey_tools.archives.fits_files import ImageFile, Unreadable
from survey_tools.archives.plan import SkyPositions, require_bands
from survey_tools.errors import ArchiveError
from survey_tools.images.sky_wcs import north_up_wcs
from survey_tools.surveys import SDSS


def image(ra, dec, size=100):
    return ImageFile("a.fits", "r", (size, size), north_up_wcs(ra, dec, 0.4, size))


@pytest.mark.parametrize(("ra", "dec"), [(150.0, 2.0), (0.001, -30.0), (359.999, 60.0), (77.0, 89.999), (10.0, -90.0)])
def test_positions_on_an_image_are_found_with_their_distance_from_the_edge(ra, dec):
    there = image(ra, dec)
    pixels = np.array([[49.5, 49.5], [10.0, 60.0], [-0.4, 50.0], [-0.6, 50.0], [50.0, 99.4], [50.0, 130.0]])
    positions = there.wcs.wcs_pix2world(pixels, 0)
    sky = SkyPositions(np.append(positions[:, 0], 200.0) % 360, np.append(positions[:, 1], 0.0))
    rows, inside = sky.on(there)
    assert_array_equal(rows, [0, 1, 2, 4])
    assert_allclose(inside, [50.0, 10.5, 0.1, 0.1], atol=1e-4)
    assert_array_equal(sky.on(there, margin=0.4 * 5)[0], [0, 1, 2, 3, 4])
    assert_array_equal(sky.on(there, margin=0.4 * 40)[0], [0, 1, 2, 3, 4, 5])


def test_the_far_side_of_the_sky_is_on_no_image():
    rows, inside = SkyPositions([330.0], [-2.0]).on(image(150.0, 2.0))
    assert len(rows) == len(inside) == 0


def test_bands_that_are_nowhere_are_refused_unless_a_file_may_be_of_them():
    found = [image(150.0, 2.0)]
    require_bands("here", SDSS, ("r",), found, [])
    require_bands("here", SDSS, ("g", "r"), found, [Unreadable("b.fits", "", "b.fits is empty")])
    require_bands("here", SDSS, ("g", "r"), found, [Unreadable("b.fits", "g", "b.fits has no celestial WCS")])
    with pytest.raises(ArchiveError, match="here has no SDSS image of band g; pass --bands r"):
        require_bands("here", SDSS, ("g", "r"), found, [Unreadable("b.fits", "u", "b.fits is empty")][:0])
    with pytest.raises(
        ArchiveError, match=r"none of the SDSS images in here can be used: 1 file, first: b\.fits is empty"
    ):
        require_bands("here", SDSS, ("r",), [], [Unreadable("b.fits", "", "b.fits is empty")])
