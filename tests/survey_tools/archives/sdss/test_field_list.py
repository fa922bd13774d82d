from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from numpy.testing import assert_allclose, assert_array_equal

from survey_tools.archives.download.mirror import Mirror
from survey_tools.archives.fits_files import describe
from survey_tools.archives.sdss import field_list
from survey_tools.archives.sdss.field_list import MARGIN, SHAPE, Fields, choose, read_fields
from survey_tools.archives.sdss.frames import Frame
from survey_tools.errors import ArchiveError
from survey_tools.images.sky_wcs import north_up_wcs, tan_wcs
from survey_tools.surveys import SDSS

SIZE = 64
STEP = 1361 * 0.396 / 3600  # [deg] from field to field along a scan


def scan(run, node, incl, first, across, count=8, camcols=2):
    """Fields of one scan, row by row: run, camcol, field, ra, dec, node, incl; `first` and `across` in deg."""
    rows = []
    for camcol in range(1, camcols + 1):
        along = np.radians(first - node + STEP * np.arange(count))
        nu, i = np.radians(across + 25.17 / 60 * (camcol - 1)), np.radians(incl)
        x, y = np.cos(nu) * np.cos(along), np.cos(nu) * np.sin(along) * np.cos(i) - np.sin(nu) * np.sin(i)
        z = np.cos(nu) * np.sin(along) * np.sin(i) + np.sin(nu) * np.cos(i)
        ra, dec = (np.degrees(np.arctan2(y, x)) + node) % 360, np.degrees(np.arcsin(z))
        rows += [(run, camcol, 11 + k, ra[k], dec[k], node, incl) for k in range(count)]
    return rows


def fields_of(*scans) -> Fields:
    return Fields(*(np.array(column) for column in zip(*(row for each in scans for row in each), strict=True)))


SKIES = {
    "equator": fields_of(scan(94, 95.0, 0.0, 20.0, -0.1), scan(125, 95.0, 0.0, 20.05, 0.1), scan(752, 95, 0.0, 20, 0)),
    "meridian": fields_of(scan(94, 95.0, 5.0, -0.6, -0.1), scan(125, 95.0, 5.0, -0.55, 0.1)),
    "high": fields_of(scan(94, 95.0, 82.5, 180.0, -0.1), scan(125, 95.0, 80.0, 180.1, 0.1)),
    "south": fields_of(scan(7264, 225.99848, 316.85636, 169.4, -0.1), scan(7202, 226.0, 316.85, 169.45, 0.1)),
}


def frame_wcs(fields: Fields, index: int):
    """The grid that a frame of a field has, by the scan's direction at its centre, found by moving along the scan."""
    ra, dec, node, incl = (getattr(fields, name)[index] for name in ("ra", "dec", "node", "incl"))
    a, d, i = np.radians(ra - node), np.radians(dec), np.radians(incl)
    nu = np.arcsin(np.sin(d) * np.cos(i) - np.sin(a) * np.cos(d) * np.sin(i))
    mu = np.arctan2(np.sin(a) * np.cos(d) * np.cos(i) + np.sin(d) * np.sin(i), np.cos(d) * np.cos(a))
    mu += 1e-6
    x, y = np.cos(nu) * np.cos(mu), np.cos(nu) * np.sin(mu) * np.cos(i) - np.sin(nu) * np.sin(i)
    z = np.cos(nu) * np.sin(mu) * np.sin(i) + np.sin(nu) * np.cos(i)
    there = np.degrees([np.arctan2(y, x), np.arcsin(z)]) + [node, 0]
    flat = tan_wcs((ra, dec), (1, 1), np.eye(2))
    east, north = flat.wcs_world2pix([there], 0)[0]
    angle, step = np.arctan2(east, north), 0.396 / 3600
    cd = step * np.array([[-np.cos(angle), np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return tan_wcs((ra, dec), (SHAPE[1] / 2 + 0.5, SHAPE[0] / 2 + 0.5), cd)


def inside(wcs, positions) -> np.ndarray:
    """Distance [pixel] of positions (n, 2) [deg] from the nearest edge of a frame."""
    col, row = wcs.wcs_world2pix(positions, 0).T + 0.5
    return np.min([col, SHAPE[1] - col, row, SHAPE[0] - row], axis=0)


def positions_on(fields: Fields, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    at = rng.integers(0, len(fields.run), count)
    east, north = rng.uniform(-0.16, 0.16, (2, count))
    return (fields.ra[at] + east / np.cos(np.radians(fields.dec[at]))) % 360, fields.dec[at] + north


@pytest.mark.parametrize("sky", SKIES)
def test_the_first_field_is_that_on_which_an_object_lies_farthest_inside(sky):
    fields = SKIES[sky]
    ra, dec = positions_on(fields, 300)
    row, index, _ = choose(fields, ra, dec, np.full(300, -1), SIZE)
    depth = np.array([inside(frame_wcs(fields, at), np.stack([ra, dec], axis=1)) for at in range(len(fields.run))])
    best = depth.max(axis=0)
    rows, places = np.unique(row, return_index=True)
    assert set(np.flatnonzero(best > -MARGIN + 0.1)) <= set(rows) <= set(np.flatnonzero(best > -MARGIN - 0.1))
    assert 100 < len(rows) < 300
    assert_allclose(depth[index[places], rows], best[rows], atol=0.1)


@pytest.mark.parametrize("sky", SKIES)
def test_more_fields_follow_only_where_the_cutout_may_stick_out(sky):
    fields, rng = SKIES[sky], np.random.default_rng(1)
    frames = [frame_wcs(fields, at) for at in range(len(fields.run))]
    places = [
        np.stack([rng.choice([-1, 1]) * rng.uniform(0, 80, 5) % 2047, rng.uniform(0, 1488, 5)], axis=1) for _ in frames
    ]
    ra, dec = np.concatenate([wcs.wcs_pix2world(place, 0) for wcs, place in zip(frames, places, strict=True)]).T
    row, index, _ = choose(fields, ra, dec, np.full(len(ra), -1), SIZE)
    grid = np.array([[x, y] for y in (0, 31.5, 63) for x in (0, 31.5, 63)])
    points = np.concatenate(
        [north_up_wcs(*each, 0.396, SIZE).wcs_pix2world(grid, 0) for each in zip(ra, dec, strict=True)]
    )
    depths = np.array([inside(wcs, points) for wcs in frames]).reshape(len(frames), len(ra), 9)
    several = 0
    for at in np.unique(row):
        depth, used = depths[:, at], index[row == at]
        assert len(np.unique(used)) == len(used)
        if (depth[used[0]] > MARGIN + 0.1).all():
            assert len(used) == 1
        several += len(used) > 1
        covered = np.clip(depth[used].max(axis=0), -MARGIN, MARGIN)
        assert_allclose(covered, np.clip(depth.max(axis=0), -MARGIN, MARGIN), atol=0.1)  # no field would add to it
    assert several > 3


def test_the_field_that_the_catalogue_names_comes_first_and_the_same_scan_second():
    fields = SKIES["equator"]
    home = np.flatnonzero((fields.run == 94) & (fields.camcol == 1) & (fields.field == 14))[0]
    wcs = frame_wcs(fields, home)
    row, col = np.array([744.0, 1480.0, 20.0]), np.array([1024.0, 1000.0, 500.0])
    ra, dec = wcs.wcs_pix2world(np.stack([col, row], axis=1), 0).T
    rows, index, _ = choose(fields, ra, dec, np.full(3, home), SIZE)
    assert_array_equal(rows, [0, 1, 1, 2, 2])
    assert_array_equal(fields.field[index], [14, 14, 15, 14, 13])
    assert_array_equal(fields.run[index], 94)


def test_positions_off_all_fields_are_on_none():
    fields = SKIES["high"]
    rows, index, _ = choose(fields, np.array([10.0, 200.0]), np.array([-80.0, 0.0]), np.array([-1, -1]), SIZE)
    assert len(rows) == len(index) == 0
    rows, index, _ = choose(fields, np.zeros(0), np.zeros(0), np.zeros(0, int), SIZE)
    assert len(rows) == len(index) == 0


def test_blocks_do_not_matter(monkeypatch):
    fields = SKIES["south"]
    ra, dec = positions_on(fields, 200)
    whole = choose(fields, ra, dec, np.full(200, -1), SIZE)
    monkeypatch.setattr(field_list, "BLOCK", 37)
    for values, due in zip(choose(fields, ra, dec, np.full(200, -1), SIZE), whole, strict=True):
        assert_array_equal(values, due)


@pytest.mark.parametrize("band", SDSS.bands)
def test_the_geometry_is_that_of_real_frames_to_the_margin(real_data, tmp_path, band):
    """The list has one centre a field, that of r; the other bands lie up to 12 rows off."""
    mirror = Mirror(str(real_data), tmp_path)
    centre = describe(SDSS, mirror, Frame(7264, 301, 3, 111, "r").name)[0].wcs.wcs_pix2world([[1023.5, 744]], 0)[0]
    fields = fields_of([(7264, 3, 111, *centre, 225.99848, 316.85636)])
    image = describe(SDSS, mirror, Frame(7264, 301, 3, 111, band).name)[0]
    edges = np.array([[col, row] for col in (0, 500, 1023.5, 2047) for row in (0, 744, 1488)])
    ra, dec = image.wcs.wcs_pix2world(edges, 0).T
    rows, _, _ = choose(fields, ra, dec, np.full(len(ra), -1), SIZE)
    assert_array_equal(rows, np.arange(len(ra)))
    depth = inside(frame_wcs(fields, 0), np.stack([ra, dec], axis=1))
    assert_allclose(depth, np.min([*(edges + 0.5).T, *([2047.5, 1488.5] - edges).T], axis=0), atol=12.5)
    away = np.array([[-60.0, 744], [2107, 744], [1000, -60], [1000, 1548]])
    assert len(choose(fields, *image.wcs.wcs_pix2world(away, 0).T, np.full(4, -1), SIZE)[0]) == 0


def write_list(path, fields: Fields, rerun="301"):
    """A list as SDSS has it, with a column that is not wanted and a field of another rerun in the middle."""
    count = len(fields.run)
    reruns = np.full(count, rerun)
    reruns[count // 2] = "157"
    columns = [fits.Column("RUN", "J", array=fields.run), fits.Column("RERUN", "3A", array=reruns)]
    columns += [
        fits.Column("CAMCOL", "B", array=fields.camcol.astype("u1")),
        fits.Column("FIELD", "I", array=fields.field),
    ]
    columns += [fits.Column("PSF_FWHM", "5E", array=np.ones((count, 5)))]
    columns += [fits.Column(name.upper(), "D", array=getattr(fields, name)) for name in ("ra", "dec", "node", "incl")]
    path.parent.mkdir(parents=True, exist_ok=True)
    fits.BinTableHDU.from_columns(columns).writeto(path)
    return path


def test_a_list_is_read_and_other_reruns_are_left_out(tmp_path):
    fields = SKIES["equator"]
    read = read_fields(write_list(tmp_path / "list.fits", fields), "list")
    kept = np.arange(len(fields.run)) != len(fields.run) // 2
    for name in ("run", "camcol", "field", "ra", "dec", "node", "incl"):
        assert_array_equal(getattr(read, name), getattr(fields, name)[kept])


def test_a_field_that_is_listed_twice_is_read_once(tmp_path):
    fields = SKIES["equator"]
    twice = Fields(*(np.append(values, values[:3]) for values in vars(fields).values() if values is not None))
    read = read_fields(write_list(tmp_path / "list.fits", twice), "list")
    assert len(read.run) == len(fields.run) - 1  # one of them is of another rerun
    assert_array_equal(read.ra[:3], fields.ra[:3])


def test_fields_are_found_by_their_numbers():
    fields = SKIES["equator"]
    asked = [(fields.run[5], fields.camcol[5], fields.field[5]), (94, 1, 999), (1, 1, 11), (752, 2, 18)]
    index = fields.find(*np.array(asked).T)
    assert_array_equal(index[:3], [5, -1, -1])
    assert (fields.run[index[3]], fields.camcol[index[3]], fields.field[index[3]]) == (752, 2, 18)


# --- the list as it is: two centres, and fields that the pipeline did not go through ---


def spans(fields: Fields) -> dict[str, np.ndarray]:
    """mu and nu of the edges of fields [deg], by the inverse of `position_of`."""
    a, d, i = np.radians(fields.ra - fields.node), np.radians(fields.dec), np.radians(fields.incl)
    x, y, z = np.cos(a) * np.cos(d), np.sin(a) * np.cos(d), np.sin(d)
    mu = (np.degrees(np.arctan2(y * np.cos(i) + z * np.sin(i), x)) + fields.node) % 360
    nu = np.degrees(np.arcsin(z * np.cos(i) - y * np.sin(i)))
    along, across = SHAPE * 0.396 / 3600 / 2
    return {
        "MU_START": (mu - along) % 360,
        "MU_END": (mu + along) % 360,
        "NU_START": nu - across,
        "NU_END": nu + across,
    }


def with_spans(path, fields: Fields, **columns):
    """A list of the fields that has mu and nu as well, and further columns in place of its own."""
    with fits.open(write_list(path, fields), mode="update") as hdus:
        table = hdus[1]
        added = [fits.Column(name, "D", array=values) for name, values in spans(fields).items()]
        added += [fits.Column("PHOTO_STATUS", "J", array=columns.pop("status", np.zeros(len(fields.run), int)))]
        new = fits.BinTableHDU.from_columns(table.columns + fits.ColDefs(added))
        for name, values in columns.items():
            new.data[name] = values
        hdus[1] = new
    return path


@pytest.mark.parametrize("sky", SKIES)
def test_mu_nu_node_and_inclination_give_the_centre(sky):
    fields = SKIES[sky]
    edges = spans(fields)
    mu, nu = (field_list._middle(edges[f"{axis}_START"], edges[f"{axis}_END"]) for axis in ("MU", "NU"))
    ra, dec = field_list.position_of(mu, nu, fields.node, fields.incl)
    assert_allclose(np.cos(np.radians(dec)) * ((ra - fields.ra + 180) % 360 - 180), 0, atol=1e-9)
    assert_allclose(dec, fields.dec, atol=1e-9)


def test_a_field_whose_two_centres_disagree_is_tried_at_both(tmp_path):
    fields = SKIES["equator"]
    odd, shift = 3, 575 * 0.396 / 3600  # as run 1908, camcol 3, field 27 has it
    ra = fields.ra.copy()
    ra[odd] += 40 * shift  # far from all of them, so that it can be told which centre was used
    read = read_fields(with_spans(tmp_path / "list.fits", fields, RA=ra), "list")
    assert len(read.run) == len(fields.run)  # one is of another rerun, and one there twice
    assert_allclose(read.ra[odd], fields.ra[odd], atol=1e-9)  # by mu and nu
    assert_allclose(read.ra[-1], ra[odd])
    assert read.number[-1] == read.number[odd]
    here = choose(read, fields.ra[[odd]], fields.dec[[odd]], np.array([-1]), SIZE)
    there = choose(read, ra[[odd]], fields.dec[[odd]], np.array([-1]), SIZE)
    assert odd in here.index
    assert there.index.tolist() == [len(read.run) - 1]
    named = choose(read, ra[[odd]], fields.dec[[odd]], read.find(*(getattr(read, name)[[odd]] for name in
                   ("run", "camcol", "field"))), SIZE)  # fmt: skip
    assert read.number[named.index].tolist() == [read.number[odd]]  # once, at the centre that holds it


def test_a_small_difference_of_the_centres_is_none(tmp_path):
    fields = SKIES["south"]
    read = read_fields(with_spans(tmp_path / "list.fits", fields, RA=fields.ra + 0.0001), "list")
    assert len(read.run) == len(fields.run) - 1


def test_a_field_that_took_too_long_is_used_where_no_other_is(tmp_path):
    fields = SKIES["equator"]
    home = np.flatnonzero((fields.run == 94) & (fields.camcol == 1) & (fields.field == 14))[0]
    place = fields.ra[[home]], fields.dec[[home]], np.array([-1])
    assert choose(fields, *place, SIZE).index[0] == home
    status = np.where(np.arange(len(fields.run)) == home, 3, 0)
    marked = read_fields(with_spans(tmp_path / "list.fits", fields, status=status), "list")
    found = choose(marked, *place, SIZE)
    assert (marked.run[found.index[0]] != 94) & marked.good[found.index[0]]
    alone = Fields(*(values[[home]] for values in vars(replace(fields, status=status)).values()))
    assert choose(alone, *place, SIZE).index.tolist() == [0]


def test_pairs_that_gave_nothing_are_not_chosen_again_and_what_is_deep_inside_is_sure():
    fields = SKIES["equator"]
    place = fields.ra[[5]], fields.dec[[5]], np.array([-1])
    first = choose(fields, *place, SIZE)
    assert first.sure.tolist() == [True]
    second = choose(fields, *place, SIZE, (first.row, fields.number[first.index]))
    assert not set(second.index) & set(first.index)
    assert len(second.index)
    edge = frame_wcs(fields, 0).wcs_pix2world([[1024, 3.0]], 0)[0]
    lone = Fields(*(values[[0]] for values in vars(fields).values() if values is not None))
    assert choose(lone, edge[:1], edge[1:], np.array([-1]), SIZE).sure.tolist() == [False]


@pytest.mark.parametrize("kind", ["cut short", "junk", "no column", "no rerun"])
def test_a_list_that_cannot_be_used_says_so(tmp_path, kind):
    path = tmp_path / "list.fits"
    if kind == "no column":
        fits.BinTableHDU.from_columns([fits.Column("RUN", "J", array=[1])]).writeto(path)
    else:
        write_list(path, SKIES["equator"], rerun="157" if kind == "no rerun" else "301")
    if kind == "cut short":
        path.write_bytes(path.read_bytes()[:6000])
    if kind == "junk":
        path.write_bytes(b"junk")
    with pytest.raises(ArchiveError, match=r"^window_flist (is|lists) [^\n]+$"):
        read_fields(path, "window_flist")
