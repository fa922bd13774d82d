import re
from dataclasses import replace

import numpy as np
import pytest
from astropy.table import Table
from numpy.testing import assert_allclose

from survey_tools.archives import tap
from survey_tools.archives.cfht import stack_list
from survey_tools.archives.cfht.stack_list import CENSUS, COLUMNS, KEPT, read_roster, roster_of
from survey_tools.archives.settings import ArchiveSettings
from survey_tools.errors import ArchiveError

KNOWN = {  # a row as the CADC has it
    "observationID": "CFHTLS_W_022539-041200",
    "energy_bandpassName": "g.MP9401",
    "position_bounds": "polygon 36.9152 -3.6998 36.9158 -4.6997 35.9126 -4.6997 35.9132 -3.6998",
    "naxis1": "19354",
    "naxis2": "19354",
    "uri": "cadc:CFHTTERAPIX/CFHTLS_W_g_022539-041200_T0007_MEDIAN.fits",
    "productType": "science",
    "contentLength": "1498320000",
    "contentChecksum": "md5:5bbeb87faa312d42428f07facc9112ca",
}


@pytest.fixture(scope="module")
def small(tmp_path_factory, known_sky, small_archive):
    folder = tmp_path_factory.mktemp("archive")
    return small_archive.small_archive(folder, known_sky, bands="gi", fields=(100,), weights=True, new_i=True).archive


def rows_of(*changes):
    """A list of the row above, once with each of the changes."""
    return Table(rows=[list((KNOWN | change).values()) for change in changes], names=list(COLUMNS), dtype=["U120"] * 9)


def test_a_real_row_is_a_tile_of_one_square_degree():
    found = roster_of(rows_of({}))
    (stack,) = found.stacks
    assert (stack.band, stack.filter, stack.shape, stack.weight) == ("g", "g.MP9401", (19354, 19354), None)
    assert stack.image.uri == KNOWN["uri"]
    assert (stack.image.size, stack.image.md5) == (1498320000, "5bbeb87faa312d42428f07facc9112ca")
    image = stack.on_sky()
    assert_allclose(image.wcs.wcs_pix2world([[9676.5, 9676.5]], 0)[0], (36.4142, -4.2), atol=2e-4)
    east, north = image.wcs.wcs_world2pix([[36.7, -4.2], [36.4142, -4.0]], 0)
    assert east[0] < 9676.5 < north[1]
    assert_allclose(np.diag(image.wcs.pixel_scale_matrix) * 3600, (-0.186, 0.186), rtol=1e-3)
    assert found.unreadable == found.notes == []


@pytest.mark.parametrize(
    "bounds",
    [
        "POLYGON ICRS 36.9152 -3.6998 36.9158 -4.6997 35.9126 -4.6997 35.9132 -3.6998",
        "36.9152 -3.6998 36.9158 -4.6997 35.9126 -4.6997 35.9132 -3.6998",
        "[ 36.9152  -3.6998  36.9158 -4.6997\n 35.9126 -4.6997  35.9132 -3.6998]",
        "polygon 36.9152 -3.6998 36.9158 -4.6997 35.9126 -4.6997 35.9132 -3.6998 36.9152 -3.6998",
    ],
)
def test_polygons_are_read_however_they_are_spelt(bounds):
    (stack,) = roster_of(rows_of({"position_bounds": bounds})).stacks
    assert_allclose(stack.centre, (36.4142, -4.19975), atol=0.001)
    assert_allclose(stack.on_sky().wcs.wcs_pix2world([[9676.5, 9676.5]], 0)[0], (36.4142, -4.19975), atol=0.001)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"position_bounds": "circle 36.9 -4.2 0.5"}, "not a polygon"),
        ({"position_bounds": ""}, "not a polygon"),
        ({"position_bounds": "polygon 36.9 -3.6 36.9 -94.6 35.9 -4.6"}, "not a polygon"),
        ({"position_bounds": "polygon 37.9 -3.7 37.9 -4.7 35.9 -4.7 35.9 -3.7"}, "times as long as its 19354"),
        ({"naxis1": ""}, "NAXIS2, NAXIS1 are"),
        ({"contentLength": "1498320"}, "its pixels have 1498309264 bytes"),
        ({"contentLength": ""}, "contentLength is ''"),
        ({"contentChecksum": "md5:5bbe"}, "not an MD5"),
        ({"uri": "cadc:CFHTTERAPIX/../../etc/passwd.fits"}, "URI is not that of a FITS file"),
        ({"uri": "https://elsewhere/x.fits"}, "URI is not that of a FITS file"),
        ({"observationID": "../../x"}, "its observation is '../../x'"),
        ({"energy_bandpassName": "gri"}, "its filter is 'gri'"),
        ({"productType": "preview"}, "its product 'preview'"),
    ],
)
def test_a_row_that_cannot_be_is_left_out_and_named(change, message):
    found = roster_of(rows_of(change))
    assert found.stacks == []
    assert f"{change.get('uri', KNOWN['uri'])}, as the CADC lists it, cannot be used: " in found.unreadable[0].reason
    assert message in found.unreadable[0].reason
    assert found.unreadable[0].band == ("" if "energy_bandpassName" in change else "g")


def test_a_stack_has_its_weights_whatever_they_are_called():
    weight = {"uri": "cadc:CFHTTERAPIX/w_g.fits.fz", "productType": "weight", "contentLength": "77"}
    for order in ([{}, weight], [weight, {}]):
        (stack,) = roster_of(rows_of(*order)).stacks
        assert stack.weight.uri == "cadc:CFHTTERAPIX/w_g.fits.fz"
    (stack,) = roster_of(rows_of({}, weight | {"energy_bandpassName": "r.MP9601"})).stacks
    assert stack.weight is None


def test_the_science_product_may_be_called_this_and_be_listed_under_both_names():
    (stack,) = roster_of(rows_of({"productType": "this"})).stacks
    assert stack.image.uri == KNOWN["uri"]
    both = roster_of(rows_of({}, {"productType": "this"}))
    assert (both.stacks, both.notes) == ([stack], [])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"contentLength": ""}, "contentLength is ''"),
        ({"uri": "cadc:CFHTTERAPIX/w g.fits"}, "URI is not that of a FITS file"),
        ({"contentChecksum": "md5:?"}, "not an MD5"),
        ({"energy_bandpassName": "r.MP9601"}, "no stack has its pointing and filter"),
        ({"energy_bandpassName": "gri"}, "its filter is 'gri'"),
    ],
)
def test_an_odd_row_of_a_weight_map_costs_no_stack_and_is_noted(change, words):
    weight = {"uri": "cadc:CFHTTERAPIX/w_g.fits.fz", "productType": "weight", "contentLength": "77"} | change
    found = roster_of(rows_of({}, weight))
    assert [stack.weight for stack in found.stacks] == [None]
    assert found.unreadable == []
    (note,) = found.notes
    assert note.startswith("some weight maps cannot be used, and the noise is measured instead: ")
    assert words in note


def test_of_two_weight_maps_of_a_stack_the_first_is_used_and_the_other_noted():
    weights = [{"uri": f"cadc:CFHTTERAPIX/w{n}.fits", "productType": "weight", "contentLength": "77"} for n in "12"]
    found = roster_of(rows_of({}, *weights))
    assert found.stacks[0].weight.name == "w1.fits"
    assert "w2.fits (w1.fits has the same pointing and filter)" in found.notes[0]


def test_the_roster_of_a_cadc_that_says_this_is_the_same(archive_server, small, tmp_path):
    tiles = [replace(tile, kind="this") if tile.kind == "science" else tile for tile in small.roster]
    with archive_server.serve(small) as server, archive_server.serve(replace(small, roster=tiles)) as new:
        assert read_roster(new.settings(tmp_path / "new")).stacks == read_roster(server.settings(tmp_path)).stacks


def test_of_two_files_of_a_band_the_first_stays_and_the_user_is_told(caplog):
    old = {"energy_bandpassName": "i.MP9701", "uri": "cadc:CFHTTERAPIX/old.fits"}
    new = {"energy_bandpassName": "i.MP9702", "uri": "cadc:CFHTTERAPIX/new.fits"}
    found = roster_of(rows_of(old, old, new))
    assert [stack.name for stack in found.stacks] == ["cadc:CFHTTERAPIX/old.fits#i.MP9701"]
    note = "cadc:CFHTTERAPIX/new.fits#i.MP9702 is left out: cadc:CFHTTERAPIX/old.fits#i.MP9701 has the same"
    assert found.notes[0].startswith(note)
    assert note in caplog.text


def test_a_stack_without_md5_is_said():
    found = roster_of(rows_of({"contentChecksum": ""}))
    assert found.stacks[0].image.md5 == ""
    assert found.notes == ["1 stacks have no MD5 at the CADC; their downloads are checked by length only"]


def test_the_roster_is_asked_once_and_kept(archive_server, small, tmp_path):
    with archive_server.serve(small) as server:
        settings = server.settings(tmp_path)
        first = read_roster(settings)
        assert server.count("tap") == 2  # the number of rows, and the rows
        assert read_roster(settings) == first
        assert server.count("tap") == 2
    assert [(stack.filter, stack.weight is not None) for stack in first.stacks] == [
        ("g.MP9401", True),
        ("i.MP9701", True),
        ("g.MP9401", True),
        ("i.MP9702", True),
    ]
    for stack in first.stacks:
        path = small.folder / "cadc" / "CFHTTERAPIX" / stack.image.name
        assert stack.image.size == path.stat().st_size
    missing = [note for note in first.notes if "of 855" in note]
    assert missing == [
        "the CADC lists 4 of 855 stacks: 0 of 171 u.MP9301, 2 of 171 g.MP9401, 0 of 171 r.MP9601, 1 of 139 i.MP9701, "
        "1 of 32 i.MP9702, 0 of 171 z.MP9801"
    ]
    assert re.search(r"the list of the CADC of \d{4}-\d\d-\d\d has 4 stacks \(.*cfht_roster.ecsv\)", first.notes[-1])
    kept = Table.read(tmp_path / KEPT)
    assert kept.meta["query"].startswith("SELECT TOP 4000 o.observationID AS observationID")
    assert kept.meta["service"] == settings.cadc_tap


@pytest.mark.parametrize("damage", ["a digit", "half", "binary", "other query", "other service"])
def test_what_was_kept_and_is_damaged_or_another_is_asked_anew(archive_server, small, tmp_path, damage):
    with archive_server.serve(small) as server:
        settings = server.settings(tmp_path)
        first, path = read_roster(settings), tmp_path / KEPT
        text = path.read_text()
        if damage == "a digit":
            path.write_text(text.replace("science 3", "science 4"))
        elif damage == "half":
            path.write_text(text[: len(text) // 2])
        elif damage == "binary":
            path.write_bytes(b"\x00\xff" * 99)
        elif damage == "other query":
            settings = replace(settings, cadc_observations="CFHTLS_W_10%")
        else:
            settings = replace(settings, cadc_tap=settings.cadc_tap + "?")
        again = read_roster(settings)
        assert server.count("tap") == 4
    assert again.stacks == first.stacks
    if not damage.startswith("other"):
        assert path.read_text().splitlines()[-8:] == text.splitlines()[-8:]


def test_rows_that_go_missing_on_the_way_are_noticed(archive_server, small, tmp_path):
    lost = archive_server.Fault("missing_rows", "tap|argus", after=1, by=3)
    with archive_server.serve(small, faults=[lost]) as server:
        found = read_roster(server.settings(tmp_path))
        assert server.count("tap") == 2 + 6  # filter by filter
        assert not server.faults.left()
    assert len(found.stacks) == 4
    always = archive_server.Fault("missing_rows", "tap|argus", after=1, by=3, times=-1)
    with (
        archive_server.serve(small, faults=[always]) as server,
        pytest.raises(ArchiveError, match=r"argus/sync lists \d of 8 files of stacks; ask again later") as raised,
    ):
        read_roster(server.settings(tmp_path / "other"))
    assert raised.value.url.endswith("/argus/sync")
    assert not (tmp_path / "other" / KEPT).exists()


def test_a_service_that_gives_few_rows_at_once_is_asked_filter_by_filter(archive_server, small, tmp_path):
    with archive_server.serve(small, options=archive_server.Options(tap_rows=5)) as server:
        assert len(read_roster(server.settings(tmp_path)).stacks) == 4


@pytest.mark.parametrize(("spoilt", "kept"), [(1, True), (2, False)])
def test_a_row_that_cannot_be_is_asked_for_again_and_not_kept(monkeypatch, tmp_path, spoilt, kept):
    answers = [{"contentChecksum": "md5:?"}] * spoilt + [{}] * (2 - spoilt)
    monkeypatch.setattr(stack_list.tap, "count", lambda *_: 1)
    monkeypatch.setattr(stack_list.tap, "query", lambda *_, **__: tap.Result(rows_of(answers.pop(0)), False))
    found = read_roster(ArchiveSettings(cache=str(tmp_path)))
    assert (len(answers), len(found.stacks), (tmp_path / KEPT).exists()) == (0, int(kept), kept)


def test_a_folder_that_cannot_be_written_costs_only_time(archive_server, small, tmp_path, caplog):
    (tmp_path / "file").write_text("")
    with archive_server.serve(small) as server:
        assert len(read_roster(server.settings(tmp_path / "file" / "cache")).stacks) == 4
    assert "the list of stacks cannot be kept" in caplog.text


def test_the_whole_survey_is_855_stacks():
    assert sum(CENSUS.values()) == 855
    assert CENSUS["i.MP9701"] + CENSUS["i.MP9702"] == 171
