import numpy as np
import pytest
from astropy.table import Table

from survey_tools.archives import tap
from survey_tools.archives.cfht import vizier
from survey_tools.archives.cfht.vizier import FIELDS, TargetSelection
from survey_tools.archives.download import hosts, ways
from survey_tools.errors import ArchiveError, AwayError

pytestmark = pytest.mark.usefixtures("no_waiting")

COUNT = 150
BRIGHT = TargetSelection(10.0, 19.0)
BOTH = [FIELDS["W4"], FIELDS["W3"]]


@pytest.fixture(autouse=True)
def usual_addresses():
    """Nothing is known of any address or host."""
    ways.forget()
    hosts.forget()


@pytest.fixture(scope="module")
def catalogue() -> Table:
    """Two thirds in W3, one third in W4; every tenth a star; rows 0 and 1 are one object, seen on two tiles."""
    rng = np.random.default_rng(3)
    table = Table({"CFHTLS": [f"1{3 + row % 3 // 2}{row % 40:02d}_{row:06d}" for row in range(COUNT)]})
    patches = [FIELDS["W4" if row % 3 == 2 else "W3"] for row in range(COUNT)]
    for name, bounds in (("RAJ2000", [p.ra for p in patches]), ("DEJ2000", [p.dec for p in patches])):
        table[name] = [rng.uniform(*each) for each in bounds]
        table[name].unit = "deg"
        table[name][1] = table[name][0]
    for band in "ugriz":
        table[f"{band}magA"] = rng.uniform(16, 21, COUNT).astype(np.float32)
    table["rmagA"][:2] = 18
    for name in ("e_rmagA", "rrad", "rcl"):
        table[name] = rng.uniform(0, 1, COUNT).astype(np.float32)
    table["e_rmagA"][:2] = 0.02, 0.01
    table["Sfl"], table["Tfl"], table["ifl"] = (np.zeros(COUNT, np.int16) for _ in range(3))
    table["Tfl"][5::10] = 1
    table["E(B-V)"] = np.float32(0.02)
    return table


@pytest.fixture(scope="module")
def served(archive_server, catalogue, tmp_path_factory):
    archive = archive_server.Archive(tmp_path_factory.mktemp("vizier"), vizier={"II/317/cfhtls_w": catalogue})
    return lambda *faults, **options: archive_server.serve(
        archive, faults=faults, options=archive_server.Options(**options)
    )


@pytest.fixture(scope="module")
def due(catalogue) -> list[str]:
    """Identifiers of what BRIGHT is in W4 and then W3, each in the order of declination, without row 0."""
    chosen = catalogue[(catalogue["Tfl"] == 0) & (catalogue["rmagA"] <= 19.0) & (np.arange(COUNT) > 0)]
    chosen.sort("DEJ2000")
    far = chosen["RAJ2000"] > 300
    return [*chosen["CFHTLS"][far], *chosen["CFHTLS"][~far]]


def test_galaxies_of_the_fields_are_found_once_in_order(served, catalogue, due, tmp_path):
    with served() as server:
        found = vizier.find(server.settings(tmp_path), BOTH, BRIGHT)
    assert list(found.table["object_id"]) == due
    assert found.counted == found.received == len(due) + 1
    assert found.dropped == {"seen on another tile too": 1}
    rows = {row["CFHTLS"]: row for row in catalogue}
    for row in found.table:
        seen = rows[row["object_id"]]
        assert (row["ra"], row["dec"]) == (seen["RAJ2000"], seen["DEJ2000"])
        assert (row["zmagA"], row["e_bv"], row["ifl"]) == (seen["zmagA"], seen["E(B-V)"], seen["ifl"])
    assert str(found.table["ra"].unit) == "deg"
    with served() as server:
        assert vizier.count(server.settings(tmp_path), FIELDS["W1"], BRIGHT) == 0


@pytest.mark.parametrize(("at_once", "sent"), [(20, None), (1000, 30), (1000, 8)])
def test_strips_are_halved_until_they_fit_what_is_asked_or_sent(served, due, tmp_path, at_once, sent):
    with served(vizier_rows=sent) as server:
        found = vizier.find(server.settings(tmp_path, vizier_rows=at_once), BOTH, BRIGHT)
    assert list(found.table["object_id"]) == due


@pytest.mark.parametrize("fault", ["overflow", "missing_rows", "html", "503", "400", "truncate", "empty"])
def test_a_passing_fault_loses_no_row(served, archive_server, due, tmp_path, fault):
    with served(archive_server.Fault(fault, after=1)) as server:  # the first is a count, the second has rows
        found = vizier.find(server.settings(tmp_path), BOTH, BRIGHT)
        assert not server.faults.left()
    assert list(found.table["object_id"]) == due


@pytest.mark.parametrize("fault", ["overflow", "missing_rows"])
def test_a_count_without_a_number_is_an_error(served, archive_server, tmp_path, fault):
    with served(archive_server.Fault(fault)) as server, pytest.raises(ArchiveError, match="rows instead of one number"):
        vizier.find(server.settings(tmp_path), BOTH, BRIGHT)


def test_rows_that_never_come_are_an_error_with_both_numbers(served, monkeypatch, tmp_path):
    ask = tap.query

    def without_one(url, adql, **how):
        result = ask(url, adql, **how)
        keep = result.table if "COUNT" in adql else result.table[result.table["CFHTLS"] != "1302_000002"][1:]
        return tap.Result(keep, False)

    monkeypatch.setattr(tap, "query", without_one)
    monkeypatch.setattr(vizier, "THINNEST", 1.0)
    with (
        served() as server,
        pytest.raises(ArchiveError, match=r"counts \d+ rows of W3 and sends \d+, from dec") as caught,
    ):
        vizier.find(server.settings(tmp_path), [FIELDS["W3"]], BRIGHT)
    assert "\n" not in str(caught.value)


def test_more_rows_than_counted_are_an_error(served, monkeypatch, tmp_path):
    monkeypatch.setattr(tap, "count", lambda *_: 5)
    monkeypatch.setattr(vizier, "THINNEST", 10.0)
    with served() as server, pytest.raises(ArchiveError, match="counts 5 rows and sends 6 or more"):
        vizier.find(server.settings(tmp_path), [FIELDS["W3"]], BRIGHT)


def test_parts_that_hold_more_than_the_whole_are_an_error(served, monkeypatch, tmp_path):
    numbers = iter([100, 200])
    monkeypatch.setattr(tap, "count", lambda *_: next(numbers))
    with served() as server, pytest.raises(ArchiveError, match="counts 200 rows in a part of 100"):
        vizier.find(server.settings(tmp_path, vizier_rows=50), [FIELDS["W3"]], BRIGHT)


def test_limit_takes_the_first_whatever_the_strips(served, due, tmp_path):
    for at_once in (10, 1000):
        with served() as server:
            found = vizier.find(server.settings(tmp_path, vizier_rows=at_once), BOTH, BRIGHT, limit=15)
        assert list(found.table["object_id"]) == due[:15]
        assert found.received == 15


def test_magnitude_class_and_a_condition_of_the_users_own_select(served, catalogue, tmp_path):
    with served() as server:
        settings = server.settings(tmp_path)
        found = vizier.find(settings, BOTH, TargetSelection(17.0, 18.5, 0.5, "imagA < 19 OR ifl = 1"))
        with pytest.raises(ArchiveError, match="no row satisfies the conditions"):
            vizier.find(settings, BOTH, TargetSelection(1.0, 2.0))
        with pytest.raises(ArchiveError, match="no such column: nonsense"):
            vizier.find(settings, BOTH, TargetSelection(1.0, 20.0, where="nonsense = 1"))
    keep = (catalogue["Tfl"] == 0) & (catalogue["rmagA"] >= 17) & (catalogue["rmagA"] <= 18.5)
    keep &= (catalogue["rcl"] <= 0.5) & (catalogue["imagA"] < 19)
    assert 0 < len(found.table) == keep.sum() - found.dropped["seen on another tile too"]


def test_fields_hold_the_pointings_of_the_survey(real_data):
    for line in (real_data / "catalogues" / "CFHTLS.bound.txt").read_text().splitlines():
        name, west, east, south, north = line.split()
        if name.startswith("W"):
            patch = FIELDS[name[:2]]
            assert patch.ra[0] <= float(west) < float(east) <= patch.ra[1]
            assert patch.dec[0] <= float(south) < float(north) <= patch.dec[1]


@pytest.mark.parametrize("status", ["403", "503"])
def test_the_mirror_at_the_cfa_takes_over_where_vizier_is_away(served, archive_server, due, tmp_path, caplog, status):
    with served(archive_server.Fault(status, "^/TAPVizieR", times=-1)) as server:
        found = vizier.find(server.settings(tmp_path), BOTH, BRIGHT)
        assert server.count("vizier", "^/TAPVizieR") == 1
    assert list(found.table["object_id"]) == due
    assert f"gives no answer (HTTP {status}); 127.0.0.1/cfa/TAPVizieR/tap/sync is asked from now on" in caplog.text


def test_a_403_that_passes_costs_nothing(served, archive_server, due, tmp_path):
    with served(archive_server.Fault("403", "sync", times=3)) as server:
        assert list(vizier.find(server.settings(tmp_path), BOTH, BRIGHT).table["object_id"]) == due


def test_strips_that_came_before_an_outage_are_not_asked_for_again(served, archive_server, due, tmp_path, monkeypatch):
    monkeypatch.setattr(vizier, "THINNEST", 1.0)
    with served() as server:
        settings = server.settings(tmp_path, vizier_rows=len(due))
        server.faults.add(archive_server.Fault("503", "sync", after=3, times=-1))  # after W4, and the count of W3
        with pytest.raises(AwayError):
            vizier.find(settings, BOTH, BRIGHT)
        server.faults.clear()
        before = server.count("vizier")
        found = vizier.find(settings, BOTH, BRIGHT)
        assert server.count("vizier") - before == 3  # two counts, and the one strip that was missing
    assert list(found.table["object_id"]) == due
    assert not list((tmp_path / "pages").glob("*"))
