import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from survey_tools import files
from survey_tools.build.builder import alone, replacing
from survey_tools.errors import StoreError


def make(path, content):
    path.mkdir()
    (path / "zarr.json").write_text(content)


def test_a_new_store_is_built_in_its_place(tmp_path):
    with replacing(tmp_path / "x") as target:
        assert target == tmp_path / "x"
        make(target, "new")
    assert (tmp_path / "x" / "zarr.json").read_text() == "new"


def test_an_old_store_stays_until_the_new_one_is_whole(tmp_path):
    make(tmp_path / "x", "old")
    with replacing(tmp_path / "x") as target:
        make(target, "new")
        assert (tmp_path / "x" / "zarr.json").read_text() == "old"
    assert (tmp_path / "x" / "zarr.json").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_failure_keeps_the_old_store(tmp_path):
    make(tmp_path / "x", "old")
    building = replacing(tmp_path / "x")
    make(building.__enter__(), "half")
    assert not building.__exit__(OSError, OSError("full"), None)
    assert (tmp_path / "x" / "zarr.json").read_text() == "old"


def test_a_kill_between_the_two_renames_loses_nothing(tmp_path):
    make(tmp_path / ".x.old", "old")
    make(tmp_path / ".x.new", "new")
    with pytest.raises(OSError, match="full"), replacing(tmp_path / "x"):
        raise OSError("full")
    assert (tmp_path / "x" / "zarr.json").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_is_not_a_store_is_not_replaced(tmp_path, kind):
    mine = tmp_path / "x"
    if kind == "folder":
        mine.mkdir()
    else:
        mine.write_text("mine")
    with pytest.raises(StoreError, match="is not a store, so it is not replaced"), replacing(mine):
        pass
    assert mine.exists()


def test_one_process_at_a_time(tmp_path):
    lines = (
        "import pathlib, sys",
        "from survey_tools.build.builder import alone",
        "with alone(pathlib.Path(sys.argv[1])): pass",
    )
    command = [sys.executable, "-c", "\n".join(lines), str(tmp_path / "deep" / "x")]
    with alone(tmp_path / "deep" / "x"):
        refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "another galtrans is making" in refused.stderr
    assert subprocess.run(command, check=False).returncode == 0
    assert list((tmp_path / "deep").iterdir()) == []


def test_a_file_system_without_locks_is_trusted(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(files.fcntl, "flock", no_locks)
    with alone(tmp_path / "x"):
        make(tmp_path / "x", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_one_that_waited_at_a_lock_that_is_gone_does_not_enter_beside_a_third(tmp_path, monkeypatch):
    """The lock file of the first is unlinked between the second's opening and locking it."""
    real, entered = os.open, []

    def slow(path, *options):
        descriptor = real(path, *options)
        if not entered:
            entered.append(path)
            Path(path).unlink()  # as the first does at its end
        return descriptor

    monkeypatch.setattr(files.os, "open", slow)
    with alone(tmp_path / "x"), pytest.raises(StoreError, match="another galtrans"), alone(tmp_path / "x"):
        pass
    assert entered
