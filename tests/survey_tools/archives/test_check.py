import re
import threading
import time
from dataclasses import replace

import pytest
from astropy.table import Table

from survey_tools.archives import check
from survey_tools.archives.cfht import vizier
from survey_tools.archives.settings import SERVICES

pytestmark = pytest.mark.usefixtures("no_waiting")

FRAME = check.FRAME


@pytest.fixture(scope="module")
def archive(archive_server, small_archive, known_sky, tmp_path_factory):
    """All archives with a few files; the frame that is asked for is 2 MB of nothing."""
    folder = tmp_path_factory.mktemp("archive")
    small = small_archive.small_archive(folder, known_sky, bands="ri", weights=True, new_i=True)
    second = "sas/dr9/env/PHOTO_RESOLVE/window_flist.fits"
    for name, size in ((FRAME, 2_000_000), (small_archive.FIELD_LIST, 352_843_200), (second, 352_843_200)):
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
        settings = {"skyserver_rows": 4, "vizier_rows": 5, "cadc_windows": 30} | changes
        with archive_server.serve(archive, faults=faults, options=options) as server:
            findings = check.run_checks(server.settings(tmp_path, **settings), archives)
            return {each.question: finding for each, finding in findings}, server

    return ask


def found(findings, word: str) -> check.Finding:
    (finding,) = (finding for question, finding in findings.items() if word in question)
    return finding


def test_every_question_names_a_setting_and_an_archive():
    for each in check.CHECKS:
        assert each.setting in vars(check.ArchiveSettings())
        assert each.archive in SERVICES


def test_sdss_answers(asked):
    findings, server = asked("sdss")
    assert [finding.verdict for finding in findings.values()] == ["OK"] * 5
    assert found(findings, "frame").answer == "HTTP 200, 2,000,000 bytes, parts by Range"
    assert found(findings, "list of fields").answer == (
        "sas/dr12/boss/resolve/2010-05-23/window_flist.fits: HTTP 200, 352,843,200 bytes; "
        "sas/dr9/env/PHOTO_RESOLVE/window_flist.fits: HTTP 200, 352,843,200 bytes"
    )
    assert found(findings, "CSV").answer.count("/dr12: 2 rows, the first 3000") == 2
    assert "noSuchColumn" in found(findings, "what is wrong").answer
    assert found(findings, "as many rows").answer == "4 of 4 rows"
    assert server.sent() < 20_000


def test_cadc_answers(asked, monkeypatch):
    monkeypatch.setattr(check, "ONE_OBSERVATION", "CFHTLS_W_100000+020000")
    monkeypatch.setattr(check, "NUMBER_OF_STACKS", 4)
    findings, server = asked("cadc")
    kinds = found(findings, "Which files")
    assert (kinds.good, kinds.answer) == (True, "2 science, 2 weight")
    weights = found(findings, "called weights")
    assert weights.good
    assert re.fullmatch(r"2 weight maps, such as cadc:CFHTTERAPIX/CFHTLS_W_i_.*_weight.fits", weights.answer)
    assert found(findings, "Which addresses").answer.count(" has it") == 5
    assert found(findings, "bytes of the file").answer.startswith("they are, in 64 pixels")
    assert found(findings, "How long").good
    assert found(findings, "as many windows").answer == "30 of 30 come at once"
    assert found(findings, "How many T0007").answer == "4 science stacks"
    assert re.search("1 stacks, called i, such as cadc:", found(findings, "new i filter").answer)
    assert found(findings, "new i filter").verdict.startswith("NOT OK: 32 stacks")
    assert found(findings, "three windows").answer == "3 images of 8x8, the first in the primary HDU"
    header = found(findings, "header of a stack")
    assert header.good
    assert header.answer.startswith("MZP_AB is 30.0; MZP_AB=30.0, GAIN=50.0, SATURATE=4000.0, EXPTIME=2500.0, CD1_1=-")
    assert found(findings, "MegaPipe").answer.startswith("none is called W…")
    assert found(findings, "more than 2000").answer == "8 of 3000 rows"
    assert server.sent() < 400_000


def test_what_is_not_as_galtrans_needs_it_asks_for_another_setting(asked, archive_server):
    findings, _ = asked(
        "sdss", "cadc", "vizier", options=archive_server.Options(mef="first", skyserver_rows=3, vizier_rows=3),
        zero_point_keyword="PHOT_C", cadc_observations="NOTHING_%",
    )  # fmt: skip
    assert found(findings, "SkyServer send as many").verdict == "NOT OK: set it to 3"
    assert found(findings, "VizieR send as many").verdict == "NOT OK: set it to 3"
    assert found(findings, "How many T0007").verdict == "NOT OK: 855 were there in October 2026"
    assert found(findings, "three windows").verdict.startswith("FAILED")
    findings, _ = asked("cadc", options=archive_server.Options(mef="first"), zero_point_keyword="PHOT_C")
    assert found(findings, "three windows").verdict.startswith("NOT OK: set it to 1")
    keyword = found(findings, "header of a stack")
    assert keyword.answer.startswith("PHOT_C is 26.5; MZP_AB=30.0")
    assert keyword.verdict == "NOT OK: stacks of T0007 have 30.0; keywords that may be it: MZP_AB=30.0, PHOT_C=26.5"


def test_vizier_answers(asked):
    findings, _ = asked("vizier")
    assert [finding.verdict for finding in findings.values()] == ["OK"] * 2
    assert found(findings, "columns").answer == "; ".join(
        f"127.0.0.1/{place}: 15 columns; rcl: about rcl; Tfl: about Tfl" for place in ("TAPVizieR", "cfa")
    )


def test_a_question_without_an_answer_does_not_end_the_others(asked, archive_server):
    faults = [archive_server.Fault("404", FRAME), archive_server.Fault("503", "window_flist", times=-1)]
    findings, server = asked("sdss", faults=faults)
    assert len(findings) == 5
    assert found(findings, "frame").answer.startswith("no answer: ")
    assert "404" in found(findings, "frame").answer
    assert found(findings, "list of fields").verdict.startswith("NOT OK: 352,843,200 bytes were expected")
    assert found(findings, "list of fields").answer.count("HTTP 503") == 2
    assert found(findings, "CSV").good
    assert server.count("sas", "window_flist") == 2  # each address once, without patience


def test_weight_maps_that_are_typed_otherwise_are_not_ok(asked, archive, archive_server, monkeypatch, tmp_path):
    monkeypatch.setattr(check, "ONE_OBSERVATION", "CFHTLS_W_100000+020000")
    tiles = [replace(tile, kind="auxiliary" if tile.kind == "weight" else "this") for tile in archive.roster]
    with archive_server.serve(replace(archive, roster=tiles)) as server:
        findings = {each.question: finding for each, finding in check.run_checks(server.settings(tmp_path), ("cadc",))}
    weights = found(findings, "called weights")
    assert weights.verdict.startswith("NOT OK: galtrans uses only files of the type weight")
    assert weights.answer.startswith("2 files look like weight maps and are of the type auxiliary, such as cadc:")
    assert found(findings, "Which files").answer == "2 auxiliary, 2 this"
    assert found(findings, "Which files").good


@pytest.mark.parametrize(("options", "word", "verdict"), [
    ({"url_bytes": 1900}, "as many windows", "NOT OK: set it to 15; galtrans also finds this out by itself"),
    ({"window_seconds": 0.3}, "How long", "NOT OK: windows are slow: pass --how tiles or auto to galtrans fetch"),
    ({"mef": "first"}, "as many windows", "NOT OK: set it to 1"),
    ({"ranges": False}, "bytes of the file", "FAILED: try again later, or set another address"),
])  # fmt: skip
def test_windows_are_tried(asked, archive_server, monkeypatch, options, word, verdict):
    monkeypatch.setattr(check, "SLOW", 0.25)
    windows = tuple(each for each in check.CHECKS if word in each.question)
    monkeypatch.setattr(check, "CHECKS", windows)
    findings, _ = asked("cadc", options=archive_server.Options(**options))
    assert found(findings, word).verdict == verdict


def test_all_ends_in_time(asked, monkeypatch):
    def forever(settings):
        threading.Event().wait(20)

    monkeypatch.setattr(check, "LIMIT", 0.3)
    slow = check.Check("vizier", "Does it answer?", "vizier_tap", forever)
    monkeypatch.setattr(check, "CHECKS", (slow, replace(slow, question="And then?")))
    start = time.monotonic()
    findings, _ = asked("vizier")
    assert [finding.answer for finding in findings.values()] == ["no answer in 0.3 s"] * 2
    assert time.monotonic() - start < 5


def test_the_verdict_names_what_to_change_and_what_gave_no_answer():
    good, bad = check.Finding("yes", True), check.Finding("no", False, "set it to 3")
    failed = check.Finding("no answer", False, "try again later", failed=True)
    rows = check.CHECKS[:3]
    assert check.verdict([(rows[0], good)], 3.2) == (
        "Verdict: galtrans can work with these archives as they are set (1 questions, 3 s)"
    )
    assert check.verdict(list(zip(rows, (good, bad, failed), strict=True)), 50) == (
        "Verdict: 2 of 3 answers are not what galtrans needs: see GALTRANS_FIELD_LIST; no answer about "
        "GALTRANS_SKYSERVER (3 questions, 50 s)"
    )
