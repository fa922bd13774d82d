from survey_tools.archives.download.pages import FOLDER, Pages


def test_pages_are_kept_for_the_same_selection_until_they_are_dropped(tmp_path):
    pages = Pages(tmp_path, "7 rows of a sample")
    assert pages.get("after 3") is None
    pages.put("after 3", b"text\nof a page")
    assert Pages(tmp_path, "7 rows of a sample").get("after 3") == b"text\nof a page"
    assert Pages(tmp_path, "8 rows of a sample").get("after 3") is None
    assert len(pages) == 1
    pages.drop()
    assert (pages.get("after 3"), len(pages)) == (None, 0)


def test_a_damaged_page_is_none_and_a_full_disk_costs_nothing_else(tmp_path):
    pages = Pages(tmp_path, "x")
    pages.put("a", b"something")
    files = [each for each in (tmp_path / FOLDER).rglob("*") if each.is_file()]
    files[0].write_bytes(files[0].read_bytes()[:-1] + b"!")
    assert pages.get("a") is None
    blocked = tmp_path / "file"
    blocked.touch()
    Pages(blocked, "x").put("a", b"something")
