"""`--column`, on every command that reads a catalogue."""

import numpy as np
import pytest
from astropy.table import Table
from click.testing import CliRunner

from cli.main import galtrans
from survey_tools import open_store
from survey_tools.errors import ArchiveError


@pytest.fixture
def catalogue(tmp_path):
    path = tmp_path / "mine.csv"
    Table({"name": ["a", "b"], "RA_DEG": [150.1, 150.2], "DEC_DEG": [2.1, 2.2]}).write(path)
    return path


COLUMNS = ("--column", "object_id=name", "--column", "ra=RA_DEG", "--column", "dec=DEC_DEG")


def test_ingest_takes_names_of_columns(tmp_path, catalogue):
    np.savez(tmp_path / "x.npz", cube=np.ones((2, 64, 64, 5), "f4") * np.arange(1, 65, dtype="f4")[:, None, None])
    out = tmp_path / "x.zarr"
    args = ["ingest", str(tmp_path / "x.npz"), "--survey", "sdss", "--out", str(out)]
    refused = CliRunner().invoke(galtrans, [*args, *COLUMNS])
    assert refused.exit_code == 2
    assert "--positions" in refused.output
    done = CliRunner().invoke(galtrans, [*args, "--positions", str(catalogue), *COLUMNS], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert open_store(out).column("object_id").tolist() == ["a", "b"]
    assert open_store(out).column("ra").tolist() == [150.1, 150.2]


def test_fetch_takes_names_of_columns(tmp_path, catalogue):
    (tmp_path / "none").mkdir()
    args = ["fetch", "sdss", "--catalogue", str(catalogue), "--mirror", str(tmp_path / "none"), "--dry-run"]
    done = CliRunner().invoke(galtrans, [*args, "--out", str(tmp_path / "s.zarr"), *COLUMNS])
    assert isinstance(done.exception, ArchiveError)  # the catalogue was read, and then no image is there
    assert "no SDSS image" in str(done.exception)


@pytest.mark.parametrize(
    ("columns", "word"),
    [(["ra"], "NAME=COLUMN"), (["color=x"], "object_id"), (["ra=a", "ra=b"], "twice"), (["ra="], "NAME=COLUMN")],
)
def test_what_names_no_column_is_wrong_usage(tmp_path, catalogue, columns, word):
    options = [word_ for column in columns for word_ in ("--column", column)]
    args = ["fetch", "sdss", "--catalogue", str(catalogue), "--out", str(tmp_path / "s.zarr"), *options]
    done = CliRunner().invoke(galtrans, args)
    assert done.exit_code == 2
    assert word in done.output
