import os

import pytest

from survey_tools.archives.download.mirror import LEDGER, drop_unused, flat_name, make_room, tree_name
from survey_tools.archives.download.transfer import WantedFile, unfinished
from survey_tools.files import EXCLUSIVE, SHARED, locked


@pytest.fixture
def folder(tmp_path):
    """Ten files of 100 bytes, last used in the order of their names."""
    for age in range(10):
        path = tmp_path / "tree" / str(age)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(100))
        os.utime(path, (age, age))
    return tmp_path


def names(folder) -> str:
    return "".join(sorted(path.name for path in (folder / "tree").iterdir()))


@pytest.mark.parametrize(
    ("limit", "coming", "left"),
    [
        (1000, 0, "0123456789"),
        (999, 0, "23456789"),
        (1000, 1, "23456789"),
        (500, 0, "6789"),
        (500, 300, "9"),
        (500, 400, ""),
        (0, 0, ""),
    ],
)
def test_room_is_made_for_what_comes_and_a_tenth_more(folder, limit, coming, left):
    make_room(folder, limit, coming=coming)
    assert names(folder) == left
    assert int((folder / LEDGER).read_text()) == 100 * len(left)


def test_the_files_are_looked_at_only_where_the_ledger_says_that_they_are_too_many(folder):
    make_room(folder, 1000)
    (folder / LEDGER).write_text("300")
    make_room(folder, 900, added=100)
    assert names(folder) == "0123456789"
    assert int((folder / LEDGER).read_text()) == 400
    make_room(folder, 900, added=501)
    assert names(folder) == "23456789"
    assert int((folder / LEDGER).read_text()) == 800


@pytest.mark.parametrize("damage", ["", "many", "-5"])
def test_a_damaged_ledger_is_made_anew(folder, damage):
    (folder / LEDGER).write_text(damage)
    make_room(folder, 2000)
    assert int((folder / LEDGER).read_text()) == 1000


def test_files_in_use_stay_and_their_parts_go_with_the_notes_on_them(folder):
    part = folder / "tree" / "x.fits.part"
    part.write_bytes(bytes(100))
    part.with_name("x.fits.part.json").write_text("{}")
    os.utime(part, (0, 0))
    with locked(folder / "tree" / "0", SHARED), locked(folder / "tree" / "1", EXCLUSIVE):
        make_room(folder, 300)
    assert names(folder) == "01"
    assert int((folder / LEDGER).read_text()) == 200


def test_a_part_that_grows_is_not_dropped(tmp_path):
    with unfinished(WantedFile("http://a.b/x"), tmp_path / "x") as part:
        part.file.write_bytes(b"some")
        assert not drop_unused(part.file)
    assert drop_unused(part.file)
    assert os.listdir(tmp_path) == []


def test_a_file_in_use_is_not_dropped(tmp_path):
    (tmp_path / "a").write_text("a")
    with locked(tmp_path / "a", SHARED):
        assert not drop_unused(tmp_path / "a")
    assert drop_unused(tmp_path / "a")
    assert drop_unused(tmp_path / "a")


def test_names_here():
    root = "https://data.sdss.org/"
    assert tree_name(root, "sas/a+b-1.fits") == f"data.sdss.org-{tree_name(root, 'x/y')[14:22]}/sas/a+b-1.fits"
    assert tree_name(root, "sas/a") == tree_name(root[:-1], "sas/a")
    assert flat_name(root, "a/b.fits.bz2").endswith(".fits.bz2")
    assert "/" not in flat_name(root, "a/b.exe")
    assert tree_name("http://[::1]:80/", "a/b").split("/")[0].startswith("1-")
