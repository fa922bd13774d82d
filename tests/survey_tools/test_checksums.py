import hashlib
import shutil
import subprocess

import pytest

from survey_tools.errors import StoreError
from survey_tools.files import SUMS, checksum, files_of, missing_or_more, read_sums, write_sums


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "s" / "deep").mkdir(parents=True)
    (tmp_path / "s" / "a").write_bytes(b"a")
    (tmp_path / "s" / "deep" / "b c").write_bytes(bytes(3_000_000))
    return tmp_path / "s"


def test_every_file_is_listed_and_the_standard_tool_agrees(folder):
    write_sums(folder, {})
    assert read_sums(folder) == {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in ("a", "deep/b c")
    }
    assert files_of(folder) == ["a", "deep/b c"]
    if shutil.which("sha256sum"):
        assert subprocess.run(["sha256sum", "--check", "--quiet", SUMS], cwd=folder, check=False).returncode == 0


def test_known_checksums_are_taken_as_they_are(folder):
    write_sums(folder, {"a": "0" * 64, "gone": "1" * 64})
    assert read_sums(folder) == {"a": "0" * 64, "deep/b c": checksum(folder / "deep" / "b c")}


def test_names_that_are_missing_or_too_many(folder):
    write_sums(folder, {})
    sums = read_sums(folder)
    (folder / "a").unlink()
    (folder / "new").touch()
    assert missing_or_more(folder, sums) == ["a is missing", "new does not belong to the store"]


def test_no_list_or_a_damaged_one(folder):
    with pytest.raises(StoreError, match="has no checksums"):
        read_sums(folder)
    (folder / SUMS).write_text("nonsense\n")
    with pytest.raises(StoreError, match="is damaged"):
        read_sums(folder)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe" * 40])
def test_a_list_that_was_emptied_or_overwritten_is_damaged(folder, content):
    (folder / SUMS).write_bytes(content)
    with pytest.raises(StoreError, match=r"sha256sums.txt is damaged"):
        read_sums(folder)
