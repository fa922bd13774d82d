import numpy as np
import pytest
from astropy.table import Table

from survey_tools.archives import tap
from survey_tools.archives.download import http
from survey_tools.errors import ArchiveError

pytestmark = pytest.mark.usefixtures("no_waiting")

NUMBERS = Table({"name": ["one", "two", "three"], "value": [1, 2, 3], "size": [0.5, np.nan, 2.5]})
ERROR = """<?xml version="1.0"?>
<VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE type="results">
<INFO name="QUERY_STATUS" value="ERROR">no such
table: nothing</INFO></RESOURCE></VOTABLE>"""


@pytest.fixture
def served(archive_server, tmp_path):
    archive = archive_server.Archive(tmp_path, vizier={"numbers": NUMBERS})
    return lambda *faults, **options: archive_server.serve(
        archive, faults=faults, options=archive_server.Options(**options)
    )


@pytest.fixture
def answered(monkeypatch):
    """Make every service answer these bytes."""
    return lambda content: monkeypatch.setattr(http, "read", lambda url, **how: content)


def test_a_query_is_posted_as_the_protocol_wants_it_and_its_rows_come(served, tmp_path):
    with served() as server:
        url = str(server.settings(tmp_path).ways("vizier_tap"))
        result = tap.query(url, "SELECT name, value\nFROM numbers ORDER BY value", 5, columns=["Name", "value"])
        (request,) = server.log
    assert request.method == "POST"
    for field in (b"REQUEST=doQuery", b"LANG=ADQL", b"RESPONSEFORMAT=votable", b"MAXREC=5", b"QUERY=SELECT+name"):
        assert field in request.body
    assert not result.overflow
    assert result.table.colnames == ["Name", "value"]
    assert list(result.table["Name"]) == ["one", "two", "three"]
    assert result.table["Name"].dtype.kind == "U"
    assert list(result.table["value"]) == [1, 2, 3]


def test_a_missing_value_is_masked(served, tmp_path):
    with served() as server:
        table = tap.query(
            str(server.settings(tmp_path).ways("vizier_tap")), "SELECT name, NULL AS gone FROM numbers"
        ).table
    assert np.ma.getmaskarray(table["gone"]).all() or set(table["gone"]) == {""}


def test_overflow_is_told_whoever_set_the_limit(served, archive_server, tmp_path):
    query = "SELECT name FROM numbers"
    with served(vizier_rows=2) as server:
        result = tap.query(str(server.settings(tmp_path).ways("vizier_tap")), query)
    assert (len(result.table), result.overflow) == (2, True)
    with served(archive_server.Fault("overflow")) as server:
        url = str(server.settings(tmp_path).ways("vizier_tap"))
        assert [tap.query(url, query).overflow, tap.query(url, query).overflow] == [True, False]
        assert tap.query(url, query, maxrec=1).overflow


@pytest.mark.parametrize("fault", ["html", "empty", "503", "429", "truncate", "wrong_length", "reset", "400"])
def test_a_passing_fault_changes_nothing(served, archive_server, tmp_path, fault):
    with served(archive_server.Fault(fault)) as server:
        assert tap.count(str(server.settings(tmp_path).ways("vizier_tap")), "SELECT COUNT(*) FROM numbers") == 3
        assert not server.faults.left()


def test_a_refused_query_is_asked_three_times_and_gives_the_words_of_the_server(served, tmp_path):
    with served() as server, pytest.raises(ArchiveError, match=r"HTTP 400 .*no such table: absent") as caught:
        tap.query(str(server.settings(tmp_path).ways("vizier_tap")), "SELECT a FROM absent")
    assert caught.value.status == 400
    assert "\n" not in str(caught.value)
    assert server.count("vizier") == 3


def test_other_refusals_are_final_and_an_archive_that_is_away_is_no_fault_of_the_query(
    served, archive_server, tmp_path
):
    with served(archive_server.Fault("403")) as server, pytest.raises(ArchiveError, match="HTTP 403"):
        tap.query(str(server.settings(tmp_path).ways("vizier_tap")), "SELECT name FROM numbers")
    assert server.count() == 1
    with served(archive_server.Fault("503", times=-1)) as server, pytest.raises(ConnectionError, match="HTTP 503"):
        tap.query(str(server.settings(tmp_path).ways("vizier_tap")), "SELECT name FROM numbers")


def test_columns_other_than_those_asked_are_an_error(served, tmp_path):
    with served() as server, pytest.raises(ArchiveError, match="the columns name, value instead of name, size"):
        tap.query(
            str(server.settings(tmp_path).ways("vizier_tap")),
            "SELECT name, value FROM numbers",
            columns=["name", "size"],
        )


def test_a_count_is_one_whole_number(served, tmp_path):
    with served() as server:
        for query in ("SELECT name FROM numbers", "SELECT name FROM numbers WHERE value=1"):
            with pytest.raises(ArchiveError, match="rows instead of one number"):
                tap.count(str(server.settings(tmp_path).ways("vizier_tap")), query)


def test_an_error_within_an_answer_is_an_error(answered):
    answered(ERROR.encode())
    with pytest.raises(ArchiveError, match="http://tap refuses the query: no such table: nothing"):
        tap.query("http://tap", "SELECT 1")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (ERROR.encode()[:-20], "not a complete VOTable"),
        (b'<?xml version="1.0"?><a/>', "not a complete VOTable|without results"),
        (
            ERROR.replace("</RESOURCE>", "<TABLE><FIELD datatype='int'/></TABLE></RESOURCE>").encode(),
            "not a complete VOTable",
        ),
        (ERROR.replace("results", "meta").encode(), "VOTable without results"),
        (ERROR.replace("ERROR", "OK").encode(), "has no table"),
    ],
)
def test_what_is_no_answer_is_an_error(answered, content, words):
    answered(content)
    with pytest.raises(ArchiveError, match=words):
        tap.query("http://tap", "SELECT 1")


@pytest.mark.parametrize(
    ("name", "rows", "overflow"),
    [
        ("votable.xml", 3, False),
        ("cadc_data_target.xml", 3, False),
        ("pyvo/query/overflowstatus.xml", 3, True),
        ("pyvo/tap/obscore-image.xml", 10, False),
    ],
)
def test_recorded_answers_of_real_services_are_read_and_none_that_is_cut_short(
    answered, real_data, name, rows, overflow
):
    content = (real_data / "protocol" / name).read_bytes()
    answered(content)
    result = tap.query("http://tap", "SELECT 1")
    assert (len(result.table), result.overflow) == (rows, overflow)
    assert all(column.dtype.kind != "O" for column in result.table.itercols())
    for end in (0.3, 0.6, 0.9):
        answered(content[: int(end * len(content))])
        with pytest.raises(ArchiveError):
            tap.query("http://tap", "SELECT 1")
