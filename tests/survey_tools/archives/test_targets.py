import numpy as np
import pytest
from astropy.table import MaskedColumn, Table

from survey_tools.archives.targets import Found, write_targets
from survey_tools.catalogue import read_catalogue
from survey_tools.version import VERSION


@pytest.fixture
def found() -> Found:
    table = Table({"object_id": ["1237648720693755918", "007"], "ra": [10.000000001, 20.0], "dec": [-1.0, 2.0]})
    table["ra"].unit = table["dec"].unit = "deg"
    table["redshift"] = [0.1, np.nan]
    for name in ("run", "rerun", "camcol", "field"):
        table[name] = np.array([1, 2], np.int32)
    table["rmagA"] = MaskedColumn([17.0, 0.0], mask=[False, True], unit="mag")
    query = "SELECT a,\n b FROM s WHERE x > 'é' AND " + " AND ".join(f"c{n} < 1" for n in range(30))
    return Found(table, "Two galaxies", "a paper", "http://here", query, 5, 3, {"others": 1})


@pytest.mark.parametrize("suffix", [".ecsv", ".fits", ".csv", ".CSV"])
def test_a_catalogue_is_read_as_it_was_written_and_says_where_it_is_from(found, tmp_path, suffix):
    path = tmp_path / f"new folder/targets{suffix}"
    write_targets(found, path)
    table = read_catalogue(path)
    assert list(table["object_id"]) == ["1237648720693755918", "007"]
    for name in ("ra", "dec", "redshift", "run", "rerun", "camcol", "field"):
        np.testing.assert_array_equal(table[name], found.table[name])
    text = " ".join(path.read_bytes().decode("utf-8", "replace").replace("#", "").split())
    for words in ("Two galaxies", "a paper", "http://here", "SELECT a, b FROM s", VERSION, "rows_counted: 5"):
        assert words.replace(" ", "") in text.replace(" ", "")
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    assert found.table.meta == {}


def test_ecsv_holds_the_facts_by_name(found, tmp_path):
    write_targets(found, tmp_path / "targets.ecsv")
    table = Table.read(tmp_path / "targets.ecsv")
    assert table.meta["query"] == " ".join(found.query.split())
    assert (table.meta["rows_counted"], table.meta["rows_received"], table.meta["dropped, others"]) == (5, 3, 1)
    assert table.meta["date"].endswith("Z")
    assert str(table["ra"].unit) == "deg"
    assert table["rmagA"].mask.tolist() == [False, True]


def test_another_suffix_is_refused_before_anything_is_written(found, tmp_path):
    with pytest.raises(ValueError, match=r"does not end in one of \.ecsv, \.fits, \.csv"):
        write_targets(found, tmp_path / "targets.txt")
    assert not list(tmp_path.iterdir())


def test_what_was_there_stays_where_writing_fails(found, tmp_path, monkeypatch):
    path = tmp_path / "targets.ecsv"
    path.write_text("before")
    monkeypatch.setattr(Table, "write", lambda *arguments, **options: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(OSError, match="full"):
        write_targets(found, path)
    assert path.read_text() == "before"
    assert [each.name for each in tmp_path.iterdir()] == ["targets.ecsv"]
