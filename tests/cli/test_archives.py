import time

import pytest

from survey_tools.archives.settings import ArchiveSettings, variable


@pytest.fixture
def server(archive_server, small_archive, tmp_path, monkeypatch):
    archive = archive_server.Archive(tmp_path, small_archive.survey_tables(20))
    with archive_server.serve(archive) as server:
        for name, value in server.environ(tmp_path / "cache", skyserver_rows=20).items():
            monkeypatch.setenv(name, value)
        yield server


def test_settings_are_listed_with_value_meaning_and_variable(galtrans, monkeypatch):
    monkeypatch.setenv("GALTRANS_SAS", "http://elsewhere")
    code, said, complaint = galtrans("archives", "settings")
    assert (code, complaint) == (0, "")
    assert "sas = http://elsewhere (changed from https://data.sdss.org)\n  root of the SDSS Science Archive" in said
    for name in vars(ArchiveSettings()):
        assert f"\n{name} = " in f"\n{said}"
        assert variable(name) in said


def test_check_says_one_line_a_question_and_fails_where_one_has_no_good_answer(galtrans, server):
    code, said, complaint = galtrans("archives", "check", "--only", "sdss")
    assert (code, complaint) == (1, "")
    lines = said.splitlines()
    assert len(lines) == 6
    assert lines[0].startswith("sdss: Is a frame of DR12 there? no answer: http://127.0.0.1")
    assert "[GALTRANS_SAS FAILED: try again later" in lines[0]
    assert lines[4].endswith("20 of 20 rows [GALTRANS_SKYSERVER_ROWS OK]")
    assert lines[5].startswith("Verdict: 3 of 5 answers are not what galtrans needs: see GALTRANS_FIELD_LIST")
    assert galtrans("archives", "check", "--only", "mars")[0] == 2


def test_check_is_well_where_all_is(galtrans, server, monkeypatch):
    from survey_tools.archives import check

    good = check.Check("vizier", "Is it there?", "sas", lambda settings: check.Finding("yes,\nit is", True))
    monkeypatch.setattr(check, "CHECKS", (good,))
    code, said, complaint = galtrans("archives", "check")
    assert (code, complaint) == (0, "")
    assert said.splitlines()[0] == "vizier: Is it there? yes, it is [GALTRANS_SAS OK]"
    assert said.splitlines()[1].startswith("Verdict: galtrans can work with these archives as they are set")


def test_without_a_network_check_is_one_line_within_two_seconds(galtrans, monkeypatch):
    for name in ("SAS", "SKYSERVER", "CADC_TAP", "CADC_FILES", "VIZIER_TAP"):
        monkeypatch.setenv(f"GALTRANS_{name}", "http://127.0.0.1:9/x")
    start = time.monotonic()
    code, said, complaint = galtrans("archives", "check")
    assert (code, complaint) == (1, "")
    assert time.monotonic() - start < 2
    (line,) = said.splitlines()
    assert line.startswith("Verdict: no archive can be reached from this machine: 127.0.0.1 accepts no connection")


@pytest.mark.parametrize("words", [["archives"], ["archives", "settings"], ["archives", "check"]])
def test_help_ends_with_an_example(galtrans, words):
    code, said, _ = galtrans(*words, "--help")
    assert code == 0
    assert "Example:\n  " in said or "Example:\n    " in said
