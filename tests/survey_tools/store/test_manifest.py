import numpy as np
from astropy.table import Table

from survey_tools.store.manifest import COLUMNS, read_manifest, write_manifest

ODD = ["plain", "", "two words", 'a "quoted" word', "comma, semicolon; ℃", "#hash", "1"]


def test_what_is_written_is_read_and_astropy_reads_it_too(tmp_path):
    path = tmp_path / "manifest.ecsv"
    first = {"object_id": ["00", "1"], "status": ["done", "failed"], "http": np.array([0, 404])}
    write_manifest(path, [first, {"object_id": ODD, "reason": ODD}])
    table = read_manifest(path)
    assert tuple(table.colnames) == COLUMNS
    assert table["object_id"].tolist() == ["00", "1", *ODD]
    assert table["reason"].tolist() == ["", "", *ODD]
    assert table["http"].tolist() == [0, 404] + [0] * len(ODD)
    other = Table.read(path).filled("")
    for name in COLUMNS:
        assert other[name].tolist() == table[name].tolist()


def test_a_manifest_of_an_older_version(tmp_path):
    path = tmp_path / "manifest.ecsv"
    Table({"object_id": ["a", "b"], "status": ["done", ""], "reason": ["", "x y"], "file": ["", ""]}).write(path)
    table = read_manifest(path)
    assert table["reason"].tolist() == ["", "x y"]
    assert table["url"].tolist() == ["", ""]
    assert table["http"].tolist() == [0, 0]


def test_an_empty_manifest(tmp_path):
    write_manifest(tmp_path / "manifest.ecsv", [])
    assert len(read_manifest(tmp_path / "manifest.ecsv")) == 0
