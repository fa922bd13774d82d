import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import Angle, SkyCoord, angular_separation
from astropy.modeling.functional_models import Sersic2D
from numpy.testing import assert_allclose, assert_array_equal
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from survey_tools.images.sky_wcs import north_up_wcs, tan_wcs
from survey_tools.matching.positions import (
    closest,
    false_match_rate,
    match,
    peak_offset,
    peak_on_sky,
    peak_position,
    peak_positions,
    separation_of,
)

CENTRES = [(180.0, 10.0), (0.0, 0.0), (359.9999, -45.0), (12.0, 90.0), (200.0, -90.0), (77.0, 89.99)]


def field(count: int, side: float, seed: int, ra: float, dec: float) -> SkyCoord:
    """Positions in a square of `side` [arcsec] around (ra, dec), across RA 0 and over the poles."""
    east, north = np.random.default_rng(seed).uniform(-side / 2, side / 2, (2, count)) * u.arcsec
    return SkyCoord(ra * u.deg, dec * u.deg).spherical_offsets_by(east, north)


def brute_force(x: SkyCoord, y: SkyCoord, radius: float):
    """Mutual nearest pairs from the whole matrix of separations [arcsec]."""
    separation = x[:, None].separation(y[None, :]).arcsec
    y_of_x, x_of_y = separation.argmin(axis=1), separation.argmin(axis=0)
    rows = np.flatnonzero((x_of_y[y_of_x] == np.arange(len(x))) & (separation.min(axis=1) <= radius))
    return rows, y_of_x[rows], separation[rows, y_of_x[rows]]


@pytest.mark.parametrize("centre", CENTRES)
@pytest.mark.parametrize("radius", [0.5, 3.0, 50.0])
def test_pairs_are_those_of_brute_force(centre, radius):
    x, y = field(300, 100, 1, *centre), field(400, 100, 2, *centre)
    expected = brute_force(x, y, radius)
    found = match(x, y, radius)
    assert len(found[0]) > 0
    assert_array_equal(found[0], expected[0])
    assert_array_equal(found[1], expected[1])
    assert_allclose(found[2], expected[2], atol=1e-9)


def test_pairs_of_the_whole_sphere_are_those_of_brute_force():
    rng = np.random.default_rng(3)
    x, y = (
        SkyCoord(rng.uniform(0, 360, 500) * u.deg, np.degrees(np.arcsin(rng.uniform(-1, 1, 500))) * u.deg)
        for _ in range(2)
    )
    for found, expected in zip(match(x, y, 180 * u.deg), brute_force(x, y, 180 * 3600), strict=True):
        assert_allclose(found, expected, atol=1e-6)


def small_field(rng, centre, catalogues: int = 2) -> list[np.ndarray]:
    """Right ascensions and declinations [radian] of up to 30 objects each in 10" around `centre`; of half of the fields
    on a lattice of 1", so that many objects are at one place, or equally far from another."""
    ra, dec = np.radians(centre)
    along = np.array([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])
    east = np.array([-np.sin(ra), np.cos(ra), 0])
    lattice, sky = rng.random() < 0.5, []
    for count in rng.integers(1, 30, catalogues):
        offset = rng.uniform(-5, 5, (2, count, 1))
        offset = np.radians((np.round(offset) if lattice else offset) / 3600)
        point = along + offset[0] * east + offset[1] * np.cross(along, east)
        sky.append(np.stack([np.arctan2(point[:, 1], point[:, 0]), np.arctan2(point[:, 2], np.hypot(*point.T[:2]))]))
    return sky


def test_two_thousand_small_fields_lose_no_pair():
    """By all separations: across RA 0, at the poles and anywhere, with clusters, equal distances and duplicates."""
    rng, pairs = np.random.default_rng(8), 0
    for _ in range(286):  # seven fields at once, none near another
        anywhere = rng.uniform(0, 360), np.degrees(np.arcsin(rng.uniform(-1, 1)))
        fields = [small_field(rng, centre) for centre in [*CENTRES, anywhere]]
        x, y = (np.concatenate(catalogue, axis=1) for catalogue in zip(*fields, strict=True))
        radius = rng.uniform(0.3, 8)
        separation = angular_separation(*x[:, :, None], *y[:, None, :])
        equal = 1e-12  # radian: rounding makes equal distances differ by 1e-16
        y_of_x = np.argmax(separation <= separation.min(axis=1, keepdims=True) + equal, axis=1)
        x_of_y = np.argmax(separation <= separation.min(axis=0) + equal, axis=0)
        near = separation.min(axis=1) <= np.radians(radius / 3600)
        expected = np.flatnonzero((x_of_y[y_of_x] == np.arange(len(y_of_x))) & near)
        x_row, y_row, found = match(SkyCoord(*x * u.rad), SkyCoord(*y * u.rad), radius, workers=1)
        assert_array_equal(x_row, expected)
        assert_array_equal(y_row, y_of_x[expected])
        assert_allclose(np.radians(found / 3600), separation[x_row, y_row], atol=1e-15)
        pairs += len(x_row)
    assert pairs > 10_000


@pytest.mark.parametrize("workers", [1, 3])
def test_catalogues_of_several_blocks_give_what_a_tree_of_all_points_gives(workers):
    """200,000 objects of two surveys, half of them in both and some twice, whatever the number of threads."""
    rng = np.random.default_rng(9)
    x = np.stack([rng.uniform(0, 360, 200_000), np.degrees(np.arcsin(rng.uniform(-1, 1, 200_000)))])
    there = rng.permutation(200_000)[:100_000]
    y = x[:, there] + rng.normal(0, 0.2 / 3600, (2, 100_000))
    y[:, :5000] = y[:, 5000:10_000]
    x, y = (SkyCoord(ra * u.deg, np.clip(dec, -90, 90) * u.deg) for ra, dec in (x, y))
    tree, points = cKDTree(y.cartesian.xyz.value.T), x.cartesian.xyz.value.T
    near = tree.query(points, distance_upper_bound=np.radians(0.5 / 3600))[0] < np.inf
    x_row, y_row, separation = match(x, y, 0.5, workers=workers)
    assert_array_equal(x_row, np.flatnonzero(near))
    assert_allclose(separation, x[x_row].separation(y[y_row]).arcsec, atol=1e-9)
    assert_array_equal(there[y_row[y_row >= 10_000]], x_row[y_row >= 10_000])
    assert y_row[y_row < 10_000].max() < 5000  # of each two at one place the first


def test_a_crowd_at_one_place_is_soon_matched():
    here = SkyCoord(np.zeros(200_000) * u.deg, np.zeros(200_000) * u.deg)  # as where positions are unknown
    assert_array_equal(np.concatenate(match(here, here, 1)), [0, 0, 0])


def test_a_position_that_is_not_a_number_is_refused():
    x = SkyCoord([1, np.nan] * u.deg, [1, 1] * u.deg)
    y = SkyCoord([1, 1] * u.deg, [np.nan, 1] * u.deg)
    with pytest.raises(ValueError, match="position 1 is not a number"):
        match(x, x, 1)
    with pytest.raises(ValueError, match="position 0 is not a number"):
        match(y, y, 1)


@pytest.mark.parametrize("centre", CENTRES)
def test_every_object_is_in_one_pair_at_most(centre):
    x_row, y_row, _ = match(field(1000, 60, 1, *centre), field(1000, 60, 2, *centre), 5)
    assert len(set(x_row)) == len(x_row) == len(set(y_row)) == len(y_row)


def test_pairs_are_the_same_from_either_side():
    x, y = field(500, 100, 1, 0, 0), field(500, 100, 2, 0, 0)
    x_row, y_row, separation = match(x, y, 2)
    there, here, again = match(y, x, 2)
    order = np.argsort(here)
    assert_array_equal(here[order], x_row)
    assert_array_equal(there[order], y_row)
    assert_allclose(again[order], separation, atol=1e-9)


def test_a_pair_across_right_ascension_zero():
    x, y = SkyCoord([359.9999, 10] * u.deg, [0, 0] * u.deg), SkyCoord([20, 0.0001] * u.deg, [0, 0] * u.deg)
    x_row, y_row, separation = match(x, y, 1)
    assert_array_equal([x_row, y_row], [[0], [1]])
    assert_allclose(separation, 0.72, rtol=1e-8)


def test_a_pair_over_the_pole():
    x = SkyCoord([0.0] * u.deg, [90 - 0.3 / 3600] * u.deg)
    y = SkyCoord([180.0] * u.deg, [90 - 0.5 / 3600] * u.deg)
    assert_allclose(match(x, y, 1)[2], 0.8, rtol=1e-6)
    assert len(match(x, y, 0.79)[2]) == 0


def test_the_radius_includes_its_edge_and_takes_any_angle():
    x, y = SkyCoord([10.0] * u.deg, [0.0] * u.deg), SkyCoord([10.0] * u.deg, [2 / 3600] * u.deg)
    for radius in (2.000001, Angle(2.000001, "arcsec"), 2.000001 / 60 * u.arcmin):
        assert len(match(x, y, radius)[0]) == 1
    assert len(match(x, y, 1.999999)[0]) == 0


def test_positions_in_other_frames_match():
    x = field(200, 600, 1, 30, 40)
    x_row, y_row, separation = match(x, x.galactic[::-1], 0.01)
    assert_array_equal(y_row, 199 - x_row)
    assert len(x_row) == 200
    assert separation.max() < 1e-6


def test_a_neighbour_that_has_a_nearer_one_is_no_pair():
    x = SkyCoord([0.0, 0.0] * u.deg, [0.0, 0.6 / 3600] * u.deg)
    y = SkyCoord([0.0] * u.deg, [0.5 / 3600] * u.deg)
    assert_array_equal(match(x, y, 1)[0], [1])


def test_of_equal_neighbours_the_lowest_row_is_taken():
    here = SkyCoord(np.full(20, 10.0) * u.deg, np.full(20, 20.0) * u.deg)  # twenty at one position
    assert_array_equal(np.concatenate(match(here, here, 1)), [0, 0, 0])
    x = SkyCoord([0.0] * u.deg, [0.0] * u.deg)
    around = SkyCoord(np.array([1, -1, 0, 0]) / 3600 * u.deg, np.array([0, 0, 1, -1]) / 3600 * u.deg)
    for order in ([0, 1, 2, 3], [3, 1, 2, 0], [2, 0, 3, 1]):
        assert_array_equal(match(x, around[order], 2)[1], [0])
        assert_array_equal(match(around[order], x, 2)[0], [0])


@pytest.mark.parametrize("sizes", [(0, 5), (5, 0), (0, 0)])
def test_empty_catalogues_have_no_pairs(sizes):
    x, y = (SkyCoord(np.zeros(n) * u.deg, np.zeros(n) * u.deg) for n in sizes)
    assert all(len(part) == 0 for part in match(x, y, 1))
    assert closest(x, y) == np.inf


@pytest.mark.parametrize("radius", [0, -1, np.nan, np.inf, 181 * u.deg])
def test_impossible_radii_are_refused(radius):
    x = field(3, 1, 0, 0, 0)
    with pytest.raises(ValueError, match="radius"):
        match(x, x, radius)


def test_the_closest_two():
    x, y = field(50, 3000, 1, 0, 90), field(50, 3000, 2, 0, 90)
    assert_allclose(closest(x, y), x[:, None].separation(y[None, :]).arcsec.min(), rtol=1e-8)


def test_false_matches_are_those_of_random_positions():
    """Two unrelated catalogues match by chance alone: a pair in a circle of `radius` for each x, by their density."""
    x, y = field(4000, 3600, 1, 0, 30), field(4000, 3600, 2, 0, 30)
    found = len(match(x, y, 3)[0])
    expected = 4000 * (1 - np.exp(-4000 * np.pi * 3**2 / 3600**2))
    assert_allclose(false_match_rate(x, y, 3, found) * found, expected, rtol=0.15)
    assert_allclose(false_match_rate(x, y, 3, found), 1, atol=0.2)


@pytest.mark.parametrize("dec", [0.0, 60.0, 90.0])
def test_of_true_matches_few_are_false(dec):
    x = field(3000, 7200, 1, 0, dec)
    y = SkyCoord(x.ra, x.dec).directional_offset_by(0 * u.deg, 0.1 * u.arcsec)
    expected = 3000 * np.pi / 7200**2
    assert 0 <= false_match_rate(x, y, 1, 3000) < 10 * expected


def test_the_false_match_rate_of_no_match_is_unknown():
    x = field(10, 100, 1, 0, 0)
    assert np.isnan(false_match_rate(x, x, 1, 0))


def galaxy(size: int, col: float, row: float, flux: float = 1.0, blur: float = 1.5) -> np.ndarray:
    """A Sérsic n = 2 galaxy behind a Gaussian PSF of `blur` pixels, sampled well enough to trust its centre."""
    fine = 5
    rows, cols = (np.indices((size * fine, size * fine)) + 0.5) / fine - 0.5
    model = Sersic2D(amplitude=flux, r_eff=size / 16, n=2, x_0=col, y_0=row, ellip=0.3, theta=0.7)
    image = gaussian_filter(model(cols, rows), blur * fine, truncate=5)
    return image.reshape(size, fine, size, fine).mean(axis=(1, 3))


@pytest.mark.parametrize("size", [64, 136])
@pytest.mark.parametrize("shift", [(0, 0), (0.3, -0.4), (1.75, 2.5), (-4.1, 0.2)])
def test_the_peak_of_a_galaxy_is_found_to_a_twentieth_of_a_pixel(size, shift):
    centre = (size - 1) / 2 + np.array(shift)
    assert_allclose(peak_position(galaxy(size, *centre)), centre, atol=0.05)


def test_the_peak_of_a_noisy_galaxy_is_found_to_a_fraction_of_a_pixel():
    truth = galaxy(64, 32.2, 30.9)
    noise = np.random.default_rng(0).normal(0, truth.max() / 20, (50, 64, 64))
    found = np.array([peak_position((truth + one).astype(np.float32)) for one in noise])
    assert np.hypot(*(found - (32.2, 30.9)).T).max() < 0.5


def test_a_brighter_neighbour_is_not_taken():
    image = galaxy(64, 31.0, 32.0) + 20 * galaxy(64, 50.0, 40.0)
    assert_allclose(peak_position(image), (31.0, 32.0), atol=0.3)


def test_the_wing_of_a_neighbour_is_no_peak():
    image = galaxy(64, 31.0, 32.0) + 40 * galaxy(64, 47.0, 32.0)
    assert image[32, 38] > image[:, :34].max()  # brighter where the search ends
    assert_allclose(peak_position(image), (31.0, 32.0), atol=0.5)
    assert np.isnan(peak_position(40 * galaxy(64, 47.0, 32.0))).all()


@pytest.mark.parametrize("size", [64, 136])
def test_missing_pixels_weigh_nothing(size):
    centre = np.array([(size - 1) / 2 + 0.4, (size - 1) / 2 - 0.3])
    image = galaxy(size, *centre)
    image[:, : size // 2 - 6] = np.nan
    image[size // 2 + 5 :, :] = np.nan
    image[size // 2 + 3, size // 2 + 3] = np.nan
    assert_allclose(peak_position(image), centre, atol=0.2)


def test_no_pixel_no_peak():
    image = galaxy(64, 32, 32)
    image[20:44, 20:44] = np.nan
    assert np.isnan(peak_position(image)).all()
    wcs = north_up_wcs(10, 20, 0.396, 64)
    assert np.isnan(peak_on_sky(image, wcs)).all()
    assert np.isnan(peak_offset(image, wcs, galaxy(64, 32, 32), wcs))


@pytest.mark.parametrize("shape", [(64, 64), (1, 1), (2, 2), (3, 3), (9, 9)])
def test_a_constant_has_no_peak(shape):
    assert np.isnan(peak_position(np.zeros(shape))).all()
    assert np.isnan(peak_position(np.full(shape, -2.5))).all()


@pytest.mark.parametrize("dec", [0.0, 52.78, -89.0])
@pytest.mark.parametrize("offset", [(0.0, 0.0), (0.4, 0.3), (-1.2, 0.5)])
def test_the_offset_of_two_surveys_is_the_angle_between_their_peaks(dec, offset):
    """SDSS north-up, CFHTLS rotated and off centre: the same galaxy, moved by `offset` [arcsec] east, north."""
    centre = SkyCoord(10 * u.deg, dec * u.deg)
    wcs_x = north_up_wcs(10, dec, 0.396, 64)
    there = centre.spherical_offsets_by(*(offset * u.arcsec))
    c, s = np.cos(0.02), np.sin(0.02)
    wcs_y = tan_wcs((10, dec), (67.2, 69.4), np.array([[-c, s], [s, c]]) * 0.186 / 3600)
    x_pixel = wcs_x.wcs_world2pix([[10, dec]], 0)[0]
    y_pixel = wcs_y.wcs_world2pix([[there.ra.deg, there.dec.deg]], 0)[0]
    found = peak_offset(galaxy(64, *x_pixel), wcs_x, galaxy(136, *y_pixel), wcs_y)
    assert_allclose(found, np.hypot(*offset), atol=0.02)


def test_separations_are_those_on_the_sphere():
    x, y = field(100, 5000, 1, 0, 90), field(100, 5000, 2, 0, 90)
    found = separation_of(np.stack([x.ra.deg, x.dec.deg], 1), np.stack([y.ra.deg, y.dec.deg], 1))
    assert_allclose(found, x.separation(y).arcsec, rtol=1e-9)


@pytest.mark.parametrize("side", [8, 64, 136])
def test_peaks_of_many_images_are_those_of_each(side):
    random = np.random.default_rng(side)
    rows, cols = np.indices((side, side))
    centre = (side - 1) / 2 + random.normal(0, side / 20, (40, 2))
    distance = np.hypot(rows - centre[:, :1, None], cols - centre[:, 1:, None])
    images = random.normal(0, 1, (40, side, side)) + 20 * np.exp(-((distance / (side / 20)) ** 2) / 2)
    images[0], images[1], images[2, : side // 2], images[4] = np.nan, 0.0, np.nan, rows
    images[3] = np.minimum(images[3], 5)  # a plateau
    found, single = peak_positions(images), np.array([peak_position(image) for image in images])
    assert np.isnan(single[:2]).all()
    assert np.allclose(found, single, rtol=0, atol=1e-9, equal_nan=True)
