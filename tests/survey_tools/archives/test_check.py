import re

import pytest
from astropy.table import Table

from survey_tools.archives import check, vizier

pytestmark = pytest.mark.usefixtures("no_waiting")

FRAME = check.FRAME


@pytest.fixture(scope="module")
def archive(archive_server, small_archive, known_sky, tmp_path_factory):
    """All archives with a few files; the frame that is asked for is 2 MB of nothing."""
    folder = tmp_path_factory.mktemp("archive")
    small = small_archive.small_archive(folder, known_sky, bands="ri", weights=True, new_i=True)
    for name, size in ((FRAME, 2_000_000), ("sas/dr12/boss/resolve/2010-05-23/window_flist.fits", 20_000_000)):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.truncate(size)
    photo = small.archive.tables["PhotoObjAll"]
    photo["run"], photo["camcol"] = 7264, 3
    columns = [name.strip('"') for name in vizier.COLUMNS.values()]
    listing = Table({"column_name": columns, "description": [f"about {name}" for name in columns]})
    listing["table_name"] = "II/317/cfhtls_w"
    tables = {**small.archive.vizier, "TAP_SCHEMA.columns": listing}
    return archive_server.Archive(folder, small.archive.tables, small.archive.roster, tables)


@pytest.fixture
def asked(archive_server, archive, tmp_path):
    """What the questions to some archives find: {question: Finding}, and the server."""

    def ask(*archives, faults=(), options=None, **changes):
        settings = {"skyserver_rows": 4, "vizier_rows": 5} | changes
        with archive_server.serve(archive, faults=faults, options=options) as server:
            findings = check.run_checks(server.settings(tmp_path, **settings), archives)
            return {each.question: finding for each, finding in findings}, server

    return ask


def found(findings, word: str) -> check.Finding:
    (finding,) = (finding for question, finding in findings.items() if word in question)
    return finding


def test_every_question_names_a_setting_and_an_archive():
    for each in check.CHECKS:
        assert each.setting in vars(check.Settings())
        assert each.archive in ("sdss", "cadc", "vizier")


def test_sdss_answers(asked):
    findings, server = asked("sdss")
    assert [finding.verdict for finding in findings.values()] == ["OK"] * 4
    assert found(findings, "frame").answer == "HTTP 200, 2,000,000 bytes, parts by Range"
    assert found(findings, "list of fields").answer == "HTTP 200, 20,000,000 bytes"
    assert found(findings, "CSV").answer.startswith("2 rows, the first 3000")
    assert found(findings, "as many rows").answer == "4 of 4 rows"
    assert server.sent() < 10_000


def test_cadc_answers(asked, monkeypatch):
    monkeypatch.setattr(check, "ONE_OBSERVATION", "CFHTLS_W_100000+020000")
    monkeypatch.setattr(check, "NUMBER_OF_STACKS", 4)
    findings, server = asked("cadc")
    kinds = found(findings, "Which files")
    assert kinds.good
    assert re.fullmatch(
        r"2 science, 2 weight; weights such as cadc:CFHTTERAPIX/CFHTLS_W_i_.*_weight.fits", kinds.answer
    )
    assert found(findings, "How many T0007").answer == "4 science stacks"
    assert re.search("1 stacks, called i, such as cadc:", found(findings, "new i filter").answer)
    assert found(findings, "new i filter").verdict.startswith("CHANGE SETTING: 32 stacks")
    assert found(findings, "three windows").answer == "3 images of 8x8"
    header = found(findings, "header of a stack")
    assert header.good
    assert header.answer.startswith("MZP_AB is 30.0; MZP_AB=30.0, GAIN=50.0, SATURATE=4000.0, EXPTIME=2500.0, CD1_1=-")
    assert found(findings, "MegaPipe").answer.startswith("none is called W…")
    assert found(findings, "more than 2000").answer == "8 of 3000 rows"
    assert server.sent() < 200_000


def test_what_is_not_as_galtrans_needs_it_asks_for_another_setting(asked, archive_server):
    findings, _ = asked(
        "sdss", "cadc", "vizier", options=archive_server.Options(mef="first", skyserver_rows=3, vizier_rows=3),
        zero_point_keyword="PHOT_C", cadc_observations="NOTHING_%",
    )  # fmt: skip
    assert found(findings, "SkyServer send as many").verdict == "CHANGE SETTING: set it to 3"
    assert found(findings, "VizieR send as many").verdict == "CHANGE SETTING: set it to 3"
    assert found(findings, "How many T0007").verdict == "CHANGE SETTING: 855 were there in October 2026"
    assert found(findings, "three windows").verdict.startswith("FAILED")
    findings, _ = asked("cadc", options=archive_server.Options(mef="first"), zero_point_keyword="PHOT_C")
    assert found(findings, "three windows").verdict.startswith("CHANGE SETTING: set it to 1")
    keyword = found(findings, "header of a stack")
    assert keyword.answer.startswith("PHOT_C is 26.5; MZP_AB=30.0")
    assert (
        keyword.verdict
        == "CHANGE SETTING: stacks of T0007 have 30.0; keywords that may be it: MZP_AB=30.0, PHOT_C=26.5"
    )


def test_vizier_answers(asked):
    findings, _ = asked("vizier")
    assert [finding.verdict for finding in findings.values()] == ["OK"] * 2
    assert found(findings, "columns").answer == "15 columns; rcl: about rcl; Tfl: about Tfl"


def test_a_question_without_an_answer_does_not_end_the_others(asked, archive_server):
    faults = [archive_server.Fault("404", FRAME), archive_server.Fault("503", "window_flist", times=-1)]
    findings, _ = asked("sdss", faults=faults)
    assert len(findings) == 4
    assert found(findings, "frame").answer.startswith("no answer: ")
    assert "404" in found(findings, "frame").answer
    assert found(findings, "list of fields").verdict.startswith("FAILED: try again later")
    assert found(findings, "CSV").good
