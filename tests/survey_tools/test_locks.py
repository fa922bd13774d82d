import errno
import os
import threading

import pytest

from survey_tools import files
from survey_tools.files import EXCLUSIVE, SHARED, locked


def test_a_lock_is_of_one_task_or_shared_by_many(tmp_path):
    path = tmp_path / "a"
    blocked = pytest.raises(BlockingIOError)
    with locked(path, SHARED, create=True), locked(path, SHARED), blocked, locked(path, EXCLUSIVE, wait=False):
        pass
    with locked(path, EXCLUSIVE), pytest.raises(BlockingIOError), locked(path, SHARED, wait=False):
        pass
    with locked(path, EXCLUSIVE, wait=False):
        pass


def test_a_file_that_is_not_there_cannot_be_locked(tmp_path):
    with pytest.raises(FileNotFoundError), locked(tmp_path / "a", SHARED):
        pass


def test_who_waits_gets_the_file_of_that_name_and_not_one_that_was_renamed_meanwhile(tmp_path):
    path, found = tmp_path / "a", []

    def wait() -> None:
        with locked(path, EXCLUSIVE, create=True) as descriptor:
            found.append(os.path.samestat(os.fstat(descriptor), os.stat(path)))

    waiting = threading.Thread(target=wait)
    with locked(path, EXCLUSIVE, create=True):
        waiting.start()
        waiting.join(0.05)
        os.replace(path, tmp_path / "b")
    waiting.join(20)
    assert found == [True]
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch):
    def none(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(files.fcntl, "flock", none)
    with pytest.raises(OSError, match=f"knows no locks .* choose another folder .*{tmp_path}/a"):
        locked(tmp_path / "a", SHARED, create=True).__enter__()
