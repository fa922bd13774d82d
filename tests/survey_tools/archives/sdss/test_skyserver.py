import importlib.resources
import json
from dataclasses import replace

import numpy as np
import pytest
from astropy.table import Table
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from survey_tools.archives.download import http
from survey_tools.archives.sdss import skyserver
from survey_tools.archives.sdss.samples import COLUMNS, SAMPLES
from survey_tools.archives.settings import ArchiveSettings
from survey_tools.errors import ArchiveError, AwayError

pytestmark = pytest.mark.usefixtures("no_waiting")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A cache of its own for each test, so that no page of another is taken."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


MAIN = SAMPLES["main-galaxies"]
COUNT = 200


@pytest.fixture(scope="module")
def tables(small_archive):
    return small_archive.survey_tables(COUNT, seed=4)


@pytest.fixture(scope="module")
def served(archive_server, tables, tmp_path_factory):
    """SkyServer with the tables above: a function of its options and faults."""
    archive = archive_server.Archive(tmp_path_factory.mktemp("sky"), tables)
    return lambda faults=(), **options: archive_server.serve(
        archive, faults=faults, options=archive_server.Options(**options)
    )


def selected(tables) -> Table:
    """The spectra that the selection of Pasquet et al. takes, in the order of their key, found without SQL."""
    photo = {int(row["objID"]): row for row in tables["PhotoObjAll"]}
    keep = []
    for row in tables["SpecObjAll"]:
        seen = photo[int(row["bestObjID"])]
        bright = seen["petroMag_r"] - seen["extinction_r"] <= 17.8
        keep.append(0 < row["z"] <= 0.4 and row["zWarning"] == 0 and seen["clean"] == 1 and bright)
    chosen = tables["SpecObjAll"][np.array(keep)]
    chosen.sort("specObjID")
    return chosen


def answer_with(monkeypatch, *texts: str) -> None:
    """SkyServer that answers these texts, one after the other."""
    answers = iter(texts)
    monkeypatch.setattr(http, "read", lambda url, **how: next(answers).encode())


def page(*keys: int, names=MAIN.names, end="1") -> str:
    values = [",".join([str(key), f"12376{key}", *["1"] * (len(names) - 2), end]) for key in keys]
    return "\n".join(["#Table1", ",".join([*names, "whole"]), *values]) + "\n"


COUNTED = "#Table1\nn,whole\n{},1\n"


def test_every_object_of_the_selection_is_found_once_in_pages(served, tables, tmp_path):
    spectra = selected(tables)
    with served() as server:
        found = skyserver.find(server.settings(tmp_path, skyserver_rows=30), MAIN)
        pages = server.requests("skyserver", "TOP")
    assert found.counted == found.received == len(spectra)
    assert len(pages) == -(-len(spectra) // 30)
    ids = [str(each) for each in np.unique(spectra["bestObjID"])]
    assert sorted(found.table["object_id"]) == ids
    assert found.dropped == {"other spectra of the same object": len(spectra) - len(ids), "without a position": 0}
    assert found.dropped["other spectra of the same object"] > 5
    assert list(found.table["specObjID"]) == sorted(found.table["specObjID"], key=int)
    photo = {str(row["objID"]): row for row in tables["PhotoObjAll"]}
    for row in found.table:
        seen = photo[row["object_id"]]
        for name in ("ra", "dec", "run", "rerun", "camcol", "field", "rowc_u", "colc_z", "petroMag_g", "extinction_r"):
            assert row[name] == seen[name]
    assert [str(found.table[name].unit) for name in ("ra", "rowc_u")] == ["deg", "pix"]


@pytest.mark.parametrize(
    "fault",
    ["html", "empty", "503", "429", "500", "truncate", "reset", "wrong_length", "redirect_chain"],
)
def test_a_passing_fault_loses_no_row(served, tables, archive_server, tmp_path, fault):
    with served([archive_server.Fault(fault, "TOP"), archive_server.Fault(fault, "COUNT")]) as server:
        found = skyserver.find(server.settings(tmp_path, skyserver_rows=60), MAIN)
        assert not server.faults.left()
    assert found.received == len(selected(tables))


def test_a_server_that_sends_fewer_rows_than_asked_without_a_word_loses_none(served, tables, tmp_path):
    with served(skyserver_rows=7) as server:
        found = skyserver.find(server.settings(tmp_path, skyserver_rows=100), MAIN)
    assert found.received == len(selected(tables))


def test_rows_that_are_missing_are_an_error_with_both_numbers(served, tables, archive_server, tmp_path):
    number = len(selected(tables))
    with (
        served([archive_server.Fault("missing_rows", "TOP", by=2)]) as server,
        pytest.raises(ArchiveError, match=rf"after {number - 2} of {number} rows of main-galaxies"),
    ):
        skyserver.find(server.settings(tmp_path), MAIN)


def test_rows_that_an_earlier_answer_left_out_are_asked_for_again(served, tables, archive_server, tmp_path):
    with (
        served(
            [
                archive_server.Fault("missing_rows", "TOP 45 ", by=2),
                archive_server.Fault("503", "TOP", after=1, times=-1),
            ]
        ) as server,
        pytest.raises(ConnectionError, match="are kept"),
    ):
        skyserver.find(server.settings(tmp_path, skyserver_rows=45), MAIN)
    with served() as server:
        found = skyserver.find(server.settings(tmp_path, skyserver_rows=45), MAIN)
    assert found.received == len(selected(tables))


def test_a_page_that_cannot_be_done_is_asked_again_by_halves(served, tables, archive_server, tmp_path, monkeypatch):
    monkeypatch.setattr(skyserver, "FEWEST", 10)
    with served([archive_server.Fault("html", "TOP 100 ", times=-1)]) as server:
        found = skyserver.find(server.settings(tmp_path, skyserver_rows=100), MAIN)
        sizes = {request.path.split("TOP ")[1].split()[0] for request in server.requests("skyserver", "TOP")}
    assert found.received == len(selected(tables))
    assert {"100", "50"} <= sizes
    with (
        served([archive_server.Fault("html", "TOP", times=-1)]) as server,
        pytest.raises(ArchiveError, match=r"x_results.aspx: the answer is not csv .*timed out") as caught,
    ):
        skyserver.find(server.settings(tmp_path, skyserver_rows=20), MAIN)
    assert "SELECT" not in str(caught.value)


FAULTS = st.lists(
    st.fixed_dictionaries(
        {
            "kind": st.sampled_from(
                ["html", "empty", "503", "500", "404", "truncate", "reset", "missing_rows", "wrong_length"]
            ),
            "times": st.integers(1, 7),
            "after": st.integers(0, 4),
            "at": st.sampled_from([0.0, 0.3, 1.0]),
        }
    ),
    max_size=3,
)


@hypothesis_settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(faults=FAULTS, rows=st.sampled_from([20, 45, 1000]))
def test_whatever_fails_the_targets_are_all_there_or_an_error_is(
    served, tables, archive_server, tmp_path, faults, rows
):
    with served([archive_server.Fault(**fault) for fault in faults]) as server:
        try:
            found = skyserver.find(server.settings(tmp_path, skyserver_rows=rows), MAIN)
        except (ArchiveError, ConnectionError):
            assert faults
        else:
            assert sorted(found.table["object_id"]) == [str(name) for name in np.unique(selected(tables)["bestObjID"])]


def test_limit_takes_the_first_keys_and_where_narrows(served, tables, tmp_path):
    spectra = selected(tables)
    with served() as server:
        settings = server.settings(tmp_path)
        first = skyserver.find(settings, MAIN, limit=12)
        north = skyserver.find(settings, MAIN, "p.dec > 20")
        assert skyserver.count(settings, MAIN, "p.dec > 20") == north.counted < len(spectra)
        with pytest.raises(ArchiveError, match="no row satisfies the conditions; check --where"):
            skyserver.find(settings, MAIN, "p.dec > 99")
        with pytest.raises(ArchiveError, match=r"nonsense.*is --where right\? p.nonsense=1"):
            skyserver.count(settings, MAIN, "p.nonsense=1")
    assert (first.counted, first.received) == (len(spectra), 12)
    assert set(first.table["object_id"]) == {str(each) for each in spectra["bestObjID"][:12]}
    assert min(north.table["dec"]) > 20
    assert north.query.endswith("AND (p.dec > 20)")


def test_the_primary_spectrum_is_kept_and_else_the_most_certain(monkeypatch):
    rows = [(1, 5, 0, 1e-5), (2, 5, 1, 9e-5), (3, 6, 0, 4e-5), (4, 6, 0, 3e-5), (5, 6, 0, -1.0), (6, 7, 0, 2e-5)]
    lines = []
    for key, name, primary, error in rows:
        values = dict.fromkeys(MAIN.names, "1")
        values |= {"specObjID": key, "objID": name, "sciencePrimary": primary, "zErr": error}
        lines.append(",".join([*map(str, values.values()), "1"]))
    answer_with(monkeypatch, COUNTED.format(6), "\n".join(["#Table1", ",".join([*MAIN.names, "whole"]), *lines]))
    found = skyserver.find(ArchiveSettings(), MAIN)
    assert list(found.table["object_id"]) == ["5", "6", "7"]
    assert list(found.table["specObjID"]) == ["2", "4", "6"]


def test_objects_without_a_position_are_dropped_aloud_and_unmeasured_values_are_nan(monkeypatch, caplog):
    values = dict.fromkeys(MAIN.names, "1") | {"specObjID": "2", "objID": "22", "rowc_u": "-9999", "colc_u": "null"}
    lost = values | {"specObjID": "3", "objID": "33", "dec": "-9999"}
    lines = [",".join([*each.values(), "1"]) for each in (values, lost)]
    answer_with(monkeypatch, COUNTED.format(2), "\n".join(["#Table1", ",".join([*MAIN.names, "whole"]), *lines]))
    found = skyserver.find(ArchiveSettings(), MAIN)
    assert list(found.table["object_id"]) == ["22"]
    assert np.isnan(found.table["rowc_u"][0])
    assert np.isnan(found.table["colc_u"][0])
    assert found.dropped["without a position"] == 1
    assert "object 33 has the position 1.0, nan: dropped" in caplog.text


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        (["ra,dec\n1,2\n"], "begins with 'ra,dec' and not with #Table"),
        (["#Table1\n"], "columns none instead of n, whole"),
        (["#Table1\nn\n3\n"], "columns n instead of n, whole"),
        (["#Table1\nn,whole\n3,\n"], "incomplete: '3,'"),
        (["#Table1\nn,whole\n"], "the number of rows is"),
        ([COUNTED.format(2), page(5, names=MAIN.names[1:])], "instead of specobjid"),
        ([COUNTED.format(2), page(5, 6, end="")], "incomplete"),
        ([COUNTED.format(2), page(5).rsplit(",", 3)[0]], "incomplete"),
        ([COUNTED.format(2), page(6, 5)], "not in the order of specObjID"),
        ([COUNTED.format(2), page(5), page(5)], "not in the order of specObjID"),
        ([COUNTED.format(2), page(5), page(6, 7)], "a page of 1 rows arrived with 2"),
        ([COUNTED.format(2), page(5, 6).replace("\n5,", "\nx,")], "specObjID is 'x'"),
        ([COUNTED.format(2), page(5, 6).replace("\n5,", '\n"5,') + "x" * 140_000], "not a table .field larger"),
        ([COUNTED.format(1), page(5).replace(",1,1\n", ",abc,1\n")], "extinction_z has a value .*'abc'"),
    ],
)
def test_an_answer_that_is_not_the_rows_and_columns_asked_is_an_error(monkeypatch, answers, words):
    answer_with(monkeypatch, *answers)
    with pytest.raises(ArchiveError, match=words):
        skyserver.find(ArchiveSettings(), MAIN)


@pytest.mark.parametrize("condition", ["p.dec > 0", " (p.dec\n> 0)  OR 1=1 ", "s.class = 'a)'"])
def test_a_condition_is_put_on_one_line(condition):
    assert skyserver.check_where(condition) == " ".join(condition.split())


@pytest.mark.parametrize(
    "condition", ["", "  ", "1=1; DROP TABLE a", "1=1 -- x", "/* x */ 1", "1) OR (1=1", "(1", "'a"]
)
def test_more_or_less_than_a_condition_is_refused(condition):
    with pytest.raises(ValueError, match="give one"):
        skyserver.check_where(condition)


# --- as SkyServer is today ---


@pytest.mark.parametrize("form", ["json", "html"])
def test_the_second_address_takes_over_where_the_first_is_away(served, tables, archive_server, tmp_path, form, caplog):
    faults = [archive_server.Fault("503", "x_results", times=-1)]
    with served(faults, skyserver_error=form) as server:
        found = skyserver.find(server.settings(tmp_path), MAIN)
        assert server.count("skyserver", "SkyServerWS") == 2
    assert found.received == len(selected(tables))
    assert "SkyServerWS/SearchTools/SqlSearch is asked from now on" in caplog.text


def test_what_skyserver_says_of_an_error_is_shown_in_its_own_words(served, tmp_path):
    with served() as server:
        settings = server.settings(tmp_path)
        for url in settings.skyserver.split():
            with pytest.raises(ArchiveError, match=r"x_results\.aspx says: .*nonsense|SqlSearch says: .*nonsense") as e:
                skyserver.count(replace(settings, skyserver=url), MAIN, "p.nonsense=1")
            assert e.value.status == 500
            assert "cmd=" not in str(e.value)
        assert server.count("skyserver") == 2  # such an error does not pass


def test_a_limit_that_comes_as_a_table_is_shown_and_that_of_a_minute_is_waited_out(
    served, tables, tmp_path, monkeypatch, waits, caplog
):
    inner, refusals = http.read, ["Maximum 60 queries allowed per minute. Rejected query: SELECT"] * 2

    def read(url, **how):
        if refusals:
            return f'#Table1\nerror_message\n"{refusals.pop()}"\n'.encode()
        return inner(url, **how)

    monkeypatch.setattr(http, "read", read)
    with served() as server:
        settings = server.settings(tmp_path, skyserver_pause=60.0)
        assert skyserver.count(settings, MAIN) == len(selected(tables))
        assert waits.count(60.0) == 2
        assert "SkyServer says: Maximum 60 queries allowed per minute" in caplog.text
        refusals.append("Query is not allowed to return more than 500000 rows")
        with pytest.raises(ArchiveError, match="says: Query is not allowed to return more than 500000 rows"):
            skyserver.count(settings, MAIN)
        refusals.extend(["Maximum 60 queries allowed per minute."] * 99)
        with pytest.raises(AwayError, match="60 queries allowed per minute"):
            skyserver.count(settings, MAIN)


def test_the_limit_of_a_minute_is_met_at_the_server(served, tables, archive_server, tmp_path, monkeypatch):
    with served(skyserver_per_minute=2) as server:
        settings = server.settings(tmp_path, skyserver_rows=100, skyserver_pause=0.01)
        monkeypatch.setattr(skyserver.time, "sleep", lambda _: server.queries.clear())  # a minute passes
        found = skyserver.find(settings, MAIN)
    assert found.received == len(selected(tables))


def test_pages_that_came_before_an_outage_are_not_asked_for_again(served, tables, archive_server, tmp_path):
    spectra = selected(tables)
    with served() as server:
        settings = server.settings(tmp_path, skyserver_rows=40)
        whole = skyserver.find(settings, MAIN)
        server.faults.add(archive_server.Fault("500", "TOP", after=2, times=-1))
        with pytest.raises(AwayError, match=rf"80 of {len(spectra)} rows have arrived and are kept") as e:
            skyserver.find(settings, MAIN)
        assert e.value.status == 500
        server.faults.clear()
        before = server.count("skyserver")
        again = skyserver.find(settings, MAIN)
        asked = server.count("skyserver") - before
        assert asked == 1 + -(-(len(spectra) - 80) // 40)  # the number of rows, and the pages that were missing
        assert list(again.table["object_id"]) == list(whole.table["object_id"])
        assert not list((tmp_path / "pages").glob("*"))


def test_queries_fit_a_url():
    def asked(sql):
        return {"cmd": sql, "format": "csv", "searchtool": "SQL"}

    for sample in SAMPLES.values():
        sql = f"SELECT TOP 50000 {','.join(sample.columns)} FROM {sample.tables}"
        url = skyserver.query_url(ArchiveSettings(), asked(sql))
        assert all(len(each) < 1200 for each in url.in_turn())
    with pytest.raises(ArchiveError, match="characters long in a URL, and SkyServer accepts 2048: shorten --where"):
        skyserver.query_url(ArchiveSettings(), asked("x" * 2100))


def test_astroquery_asks_and_keeps_no_answer(served, tables, archive_server, tmp_path, monkeypatch):
    """Its address, its cache and its patience are not those that count."""
    from astroquery import sdss

    calls, inner = [], sdss.SDSSClass.query_sql_async

    def noted(self, sql, **how):
        calls.append(how)
        return inner(self, sql, **how)

    monkeypatch.setattr(sdss.SDSSClass, "query_sql_async", noted)
    with (
        sdss.conf.set_temp("skyserver_baseurl", "http://127.0.0.1:1"),
        served([archive_server.Fault("html", "TOP")]) as server,
    ):
        found = skyserver.find(server.settings(tmp_path), MAIN)
        (counted, wrong, right) = server.requests("skyserver")
    assert found.received == len(selected(tables))
    assert calls == [{"data_release": 12, "cache": False}] * 2
    assert all("format=csv&searchtool=SQL" in request.target for request in (counted, wrong, right))
    assert not list(tmp_path.rglob("*.pickle"))


def test_another_sample_is_a_row(served, tables, tmp_path):
    joined = "SpecObjAll s JOIN PhotoObjAll p ON p.objID=s.bestObjID"
    far = replace(MAIN, name="far", columns=(*COLUMNS, "s.plate"), tables=joined, where="s.z>0.1")
    with served() as server:
        found = skyserver.find(server.settings(tmp_path), far)
    assert found.received == (tables["SpecObjAll"]["z"] > 0.1).sum()
    assert set(found.table["plate"]) == {500}


@pytest.mark.parametrize(("alias", "table"), [("s", "SpecObjAll"), ("p", "PhotoObjAll")])
def test_the_tables_of_release_12_have_the_columns(alias, table):
    pytest.importorskip("astroquery")
    text = importlib.resources.files("astroquery.sdss").joinpath(f"data/{table}_dr12.json").read_text()
    known = {row["name"] for row in json.loads(text)[0]["Rows"]}
    asked = {column.split()[0].removeprefix(f"{alias}.") for column in COLUMNS if column.startswith(f"{alias}.")}
    assert asked <= known
