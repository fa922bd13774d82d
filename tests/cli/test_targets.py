import numpy as np
import pytest
from astropy.table import Table

from survey_tools.catalogue import read_catalogue


@pytest.fixture
def server(archive_server, small_archive, tmp_path, monkeypatch):
    """Both archives, by the environment: 40 objects of SDSS and 12 of CFHTLS W3, of which 2 are stars."""
    table = Table({"CFHTLS": 13010000001 + np.arange(12), "RAJ2000": np.linspace(210, 219, 12)})
    table["DEJ2000"] = np.linspace(52, 57, 12)
    for band in "ugriz":
        table[f"{band}magA"] = np.linspace(16.0, 21.5, 12)
    for name in ("e_rmagA", "rrad", "rcl", "Sfl", "Tfl", "ifl", "E(B-V)"):
        table[name] = 0
    table["Tfl"][:2] = 1
    archive = archive_server.Archive(
        tmp_path, small_archive.survey_tables(40, seed=1), vizier={"II/317/cfhtls_w": table}
    )
    with archive_server.serve(archive) as server:
        for name, value in server.environ(tmp_path / "cache", skyserver_rows=10).items():
            monkeypatch.setenv(name, value)
        yield server


@pytest.mark.parametrize("suffix", [".ecsv", ".csv", ".fits"])
def test_sdss_targets_become_a_catalogue(galtrans, server, tmp_path, suffix):
    out = tmp_path / f"targets{suffix}"
    code, said, complaint = galtrans("targets", "sdss", "--out", out)
    assert (code, complaint) == (0, "")
    table = read_catalogue(out)
    assert len(table) > 20
    assert np.isfinite(table["redshift"]).all()
    assert all(len(name) == 19 for name in table["object_id"])
    assert {"run", "rerun", "camcol", "field"} <= set(table.colnames)
    assert "Main Galaxy Sample of DR12" in said
    assert "other spectra of the same object; 0 without a position" in said
    assert said.endswith(f"Wrote {out}: {len(table)} objects\n")


def test_cfht_targets_become_a_catalogue(galtrans, server, tmp_path):
    out = tmp_path / "targets.ecsv"
    code, said, complaint = galtrans("targets", "cfht", "--fields", "w3,W4", "--rmax", 20, "--out", out)
    assert (code, complaint) == (0, "")
    table = read_catalogue(out)
    assert list(table["object_id"]) == [str(13010000001 + row) for row in range(2, 9)]
    assert np.isnan(table["redshift"]).all()
    assert "CFHTLS W3+W4: rmagA 10 to 20, neither stars nor masked\n7 of 7 rows received" in said


def test_a_dry_run_counts_and_writes_nothing(galtrans, server, tmp_path):
    code, said, _ = galtrans("targets", "sdss", "--dry-run", "--limit", 15)
    assert code == 0
    assert said.endswith("15 wanted, in 2 pages at least\n")
    code, said, _ = galtrans("targets", "cfht", "--dry-run", "--rmax", 20)
    assert code == 0
    assert said.startswith("W1 0, W2 0, W3 7, W4 0\n")
    assert "has 7 rows; 7 wanted, in 1 page at least" in said
    assert not list(tmp_path.glob("*.ecsv"))
    assert {request.route for request in server.log} == {"skyserver", "vizier"}
    assert all("COUNT" in request.path or b"COUNT" in request.body for request in server.log)


def test_limit_and_condition_are_passed_on(galtrans, server, tmp_path):
    assert galtrans("targets", "sdss", "--limit", 5, "--out", tmp_path / "five.ecsv")[0] == 0
    assert len(read_catalogue(tmp_path / "five.ecsv")) in (4, 5)
    assert galtrans("targets", "sdss", "--where", "p.dec > 30", "--out", tmp_path / "north.ecsv")[0] == 0
    assert min(read_catalogue(tmp_path / "north.ecsv")["dec"]) > 30
    assert galtrans("targets", "cfht", "--where", "gmagA > 18", "--out", tmp_path / "faint.ecsv")[0] == 0
    assert Table.read(tmp_path / "faint.ecsv")["gmagA"].min() > 18


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["sdss"], "Missing option '--out'"),
        (["cfht"], "Missing option '--out'"),
        (["sdss", "--out", "targets.txt"], "must end in .ecsv, .fits, .csv"),
        (["sdss", "--sample", "stars", "--dry-run"], "'stars': known are main-galaxies"),
        (["sdss", "--where", "1=1; DROP", "--dry-run"], "holds ';'"),
        (["sdss", "--limit", "0", "--dry-run"], "--limit"),
        (["cfht", "--fields", "W3,W9", "--dry-run"], "give each field once, out of W1,W2,W3,W4"),
        (["cfht", "--fields", "W3,w3", "--dry-run"], "give each field once"),
        (["cfht", "--rmin", "20", "--rmax", "19", "--dry-run"], "20 is not brighter than --rmax 19"),
        (["cfht", "--rmax", "nan", "--dry-run"], "nan is no number"),
        (["cfht", "--where", "(a", "--dry-run"], "bracket or quote"),
    ],
)
def test_wrong_usage_is_told_before_any_archive_is_asked(galtrans, server, words, complaint):
    code, _, said = galtrans("targets", *words)
    assert code == 2
    assert complaint in " ".join(said.split())
    assert not server.log


def test_a_folder_that_may_not_be_written_to_is_told_before_any_archive_is_asked(galtrans, server, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: False)
    code, _, complaint = galtrans("targets", "sdss", "--out", "a.ecsv")
    assert code == 2
    assert ". may not be written to; choose another --out" in complaint
    assert not server.log


def test_a_condition_that_an_archive_refuses_is_named(galtrans, server, tmp_path):
    code, _, complaint = galtrans("targets", "cfht", "--where", "nosuch > 3", "--out", tmp_path / "a.ecsv")
    assert code == 1
    assert complaint.endswith("; is --where right? nosuch > 3\n")


def test_what_is_there_is_not_replaced_unasked(galtrans, server, tmp_path):
    out = tmp_path / "targets.ecsv"
    out.write_text("mine")
    assert galtrans("targets", "cfht", "--out", out)[0] == 2
    assert out.read_text() == "mine"
    assert galtrans("targets", "cfht", "--out", out, "--overwrite")[0] == 0
    assert len(read_catalogue(out)) > 0


def test_an_archive_that_errs_is_one_line_and_leaves_nothing(galtrans, server, archive_server, tmp_path):
    server.faults.add(archive_server.Fault("missing_rows", "TOP", by=2))
    code, _, complaint = galtrans("targets", "sdss", "--out", tmp_path / "targets.ecsv")
    assert code == 1
    assert complaint.startswith("Error: http://127.0.0.1")
    assert complaint.count("\n") == 1
    assert not list(tmp_path.glob("*targets.ecsv"))
    server.faults.add(archive_server.Fault("503", times=-1))
    assert galtrans("targets", "cfht", "--out", tmp_path / "targets.ecsv")[0] == 1
    assert not list(tmp_path.glob("*targets.ecsv"))


@pytest.mark.parametrize("words", [["targets"], ["targets", "sdss"], ["targets", "cfht"]])
def test_help_ends_with_an_example(galtrans, words):
    code, said, _ = galtrans(*words, "--help")
    assert code == 0
    assert "Example:\n" in said
