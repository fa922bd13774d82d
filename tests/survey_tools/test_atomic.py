import os
import signal
import subprocess
import sys

import pytest

from survey_tools.files import naming, whole_file


def test_the_file_is_there_when_the_block_has_ended_well(tmp_path):
    with whole_file(tmp_path / "deep" / "a.txt") as temporary:
        temporary.write_text("whole")
        assert not (tmp_path / "deep" / "a.txt").exists()
        assert temporary.suffix == ".txt"
        assert temporary.parent == tmp_path / "deep"
    assert (tmp_path / "deep" / "a.txt").read_text() == "whole"
    assert os.listdir(tmp_path / "deep") == ["a.txt"]


def test_an_error_leaves_what_was_there(tmp_path):
    (tmp_path / "a.txt").write_text("old")

    def half() -> None:
        with whole_file(tmp_path / "a.txt") as temporary:
            temporary.write_text("half")
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        half()
    assert (tmp_path / "a.txt").read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_an_old_file_is_replaced(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    with whole_file(str(tmp_path / "a.txt")) as temporary:
        temporary.write_text("new")
    assert (tmp_path / "a.txt").read_text() == "new"


def test_an_error_that_does_not_say_where_gets_the_name_of_the_file(tmp_path):
    for error in (OSError(28, "No space left on device"), ValueError("no"), ConnectionResetError(104, "reset")):
        with pytest.raises(type(error)) as caught, naming(tmp_path / "a.txt"):
            raise error
        assert error is caught.value or (caught.value.errno, caught.value.filename) == (28, str(tmp_path / "a.txt"))
    with pytest.raises(FileNotFoundError) as caught, naming(tmp_path / "a.txt"):
        (tmp_path / "b.txt").read_text()
    assert caught.value.filename == str(tmp_path / "b.txt")


def test_a_block_that_wrote_nothing_fails(tmp_path):
    with pytest.raises(FileNotFoundError), whole_file(tmp_path / "a.txt"):
        pass
    assert os.listdir(tmp_path) == []


def test_a_killed_process_leaves_no_file_of_that_name(tmp_path):
    script = (
        "import os, signal, sys\nfrom survey_tools.files import whole_file\n"
        "with whole_file(sys.argv[1]) as path:\n    path.write_text('half')\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", script, str(tmp_path / "a.txt")], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert not (tmp_path / "a.txt").exists()


def test_a_file_beyond_the_quota_leaves_nothing(tmp_path):
    script = (
        "import resource, sys\nfrom survey_tools.files import whole_file\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "with whole_file(sys.argv[1]) as path:\n    path.write_bytes(bytes(5000))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "a.bin")], check=False, capture_output=True, text=True
    )
    assert "OSError: [Errno 27] File too large" in ended.stderr
    assert os.listdir(tmp_path) == []
