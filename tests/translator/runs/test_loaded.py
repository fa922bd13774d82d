from pathlib import Path
from types import SimpleNamespace

import pytest

from survey_tools.errors import RunError
from translator.runs import checkpoint
from translator.runs.checkpoint import RunAt, locate


@pytest.fixture
def loads(monkeypatch):
    """Paths and devices of the runs that were loaded, whose weights have the checksum "a"."""
    found = []
    monkeypatch.setattr(
        checkpoint, "load_run", lambda *where: found.append(where) or SimpleNamespace(checksum="a", unfinished="")
    )
    return found


def test_a_process_loads_a_run_once(loads, tmp_path):
    at, run = locate(tmp_path / "run", "cpu")
    assert at.open() is at.open() is run
    assert loads == [(tmp_path / "run", "cpu")]


def test_where_others_do_the_work_no_device_is_needed_here(loads, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    at, _ = locate(Path("run"), "cuda:7", elsewhere=True)
    assert (at.path, at.device) == (tmp_path / "run", "cuda:7")
    at.open()
    assert loads == [(tmp_path / "run", "cpu"), (tmp_path / "run", "cuda:7")]


def test_a_run_that_was_trained_on_meanwhile_is_refused(loads, tmp_path):
    with pytest.raises(RunError, match="has been trained further since this began"):
        RunAt(tmp_path / "run", "b", "cpu").open()


def test_a_process_keeps_no_more_than_a_few(loads, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "RUNS_KEPT", 2)
    ats = [RunAt(tmp_path / str(number), "a", "cpu") for number in range(3)]
    for at in (*ats, ats[0], ats[2]):
        at.open()
    assert [path.name for path, _ in loads] == ["0", "1", "2", "0"]
