import re
import sys
import warnings

import numpy as np
import pyarrow.parquet as pq
import pytest
from astropy.table import Table

from survey_tools import open_store
from survey_tools.matching.pairs import read_pairs

COUNT = 12
RA, DEC = (np.arange(COUNT) * 0.02 - 0.1) % 360, np.full(COUNT, -7.0)


@pytest.fixture(scope="module")
def stores(tmp_path_factory, make_store):
    folder = tmp_path_factory.mktemp("stores")
    make_store(folder / "x.zarr", "sdss", RA, DEC, bands="gr")
    make_store(folder / "y.zarr", "cfht", RA[2:], DEC[2:] + 0.4 / 3600, drawn=(RA[2:], DEC[2:]), bands="gr")
    return folder / "x.zarr", folder / "y.zarr"


def test_crossmatch_writes_the_table_and_says_what_was_found(galtrans, stores, tmp_path):
    out = tmp_path / "pairs.ecsv"
    code, said, complaint = galtrans("crossmatch", *stores, "--out", out, "--test-size", 3, "--seed", 5)
    assert (code, complaint) == (0, "")
    for words in (
        "10 pairs within 1 arcsec, of which chance alone gives 0.00%",
        "0 dropped: no peak, or peaks more than 1 arcsec apart",
        "10 kept: median separation 0.400 arcsec, median peak offset 0.0",
        "7 to train, 3 to test",
        str(out),
    ):
        assert words in said
    table = read_pairs(out, *map(open_store, stores))
    assert len(table) == 10
    assert (table["split"] == "test").sum() == 3
    assert table.meta["seed"] == 5


def test_crossmatch_again_gives_the_same_bytes_and_asks_before_it_replaces(galtrans, stores, tmp_path):
    out = tmp_path / "pairs.ecsv"
    assert galtrans("crossmatch", *stores, "--out", out, "--test-size", 3)[0] == 0
    before = out.read_bytes()
    code, _, complaint = galtrans("crossmatch", *stores, "--out", out)
    assert code == 2
    assert "exists already" in complaint
    assert "--overwrite" in complaint
    assert galtrans("crossmatch", *stores, "--out", out, "--test-size", 3, "--overwrite")[0] == 0
    assert out.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["pairs.ecsv"]


def test_no_pair_fails_with_the_closest_separation_and_a_remedy(galtrans, stores, tmp_path):
    code, _, complaint = galtrans("crossmatch", *stores, "--out", tmp_path / "pairs.ecsv", "--radius", 0.1)
    assert code == 1
    assert re.fullmatch(r"Error: .*closest two are 0\.4 arcsec apart; raise --radius.*\n", complaint)
    assert list(tmp_path.iterdir()) == []


def test_a_test_set_that_is_too_large_fails(galtrans, stores, tmp_path):
    code, _, complaint = galtrans("crossmatch", *stores, "--out", tmp_path / "pairs.ecsv", "--test-size", 11)
    assert (code, complaint.count("\n")) == (1, 1)
    assert "11 cannot be taken from 10" in complaint


@pytest.mark.parametrize("option", ["--radius", "--max-peak-offset"])
@pytest.mark.parametrize("value", ["-1", "0", "nan", "inf", "wide"])
def test_impossible_angles_are_wrong_usage(galtrans, stores, tmp_path, option, value):
    code, _, complaint = galtrans("crossmatch", *stores, "--out", tmp_path / "pairs.ecsv", option, value)
    assert code == 2
    assert value.removesuffix(".0") in complaint
    assert option in complaint


@pytest.mark.parametrize("words", [("--test-size", "-1"), ("--seed", "-1"), ("--test-size", "some"), ("--colour", "r")])
def test_other_wrong_options_are_wrong_usage(galtrans, stores, tmp_path, words):
    assert galtrans("crossmatch", *stores, "--out", tmp_path / "pairs.ecsv", *words)[0] == 2


def test_missing_arguments_are_wrong_usage(galtrans, stores):
    assert galtrans("crossmatch", *stores)[0] == galtrans("crossmatch", stores[0], "--out", "a.ecsv")[0] == 2
    assert galtrans("regrid", stores[1], "--out", "b.zarr")[0] == 2


@pytest.mark.parametrize("command", ["crossmatch", "regrid"])
def test_a_store_that_is_not_there_fails_with_one_line(galtrans, stores, tmp_path, command):
    words = (
        [stores[0], tmp_path / "none.zarr"]
        if command == "crossmatch"
        else [stores[0], "--like", tmp_path / "none.zarr"]
    )
    code, _, complaint = galtrans(command, *words, "--out", tmp_path / "out")
    assert code == 1
    assert complaint == f"Error: {tmp_path / 'none.zarr'} does not exist\n"
    assert list(tmp_path.iterdir()) == []


def test_pairs_that_cannot_be_written_leave_nothing(galtrans, stores, tmp_path):
    (tmp_path / "file").write_text("")
    code, _, complaint = galtrans("crossmatch", *stores, "--out", tmp_path / "file" / "pairs.ecsv")
    assert (code, complaint.count("\n")) == (1, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_table_of_other_stores_is_told_from_one_of_these(galtrans, stores, make_store, tmp_path):
    make_store(tmp_path / "z.zarr", "cfht", RA[:5], DEC[:5], bands="gr")
    assert galtrans("crossmatch", stores[0], tmp_path / "z.zarr", "--out", tmp_path / "pairs.ecsv")[0] == 0
    table = Table.read(tmp_path / "pairs.ecsv")
    assert table.meta["y"] == str(tmp_path / "z.zarr")
    assert table.meta["y_rows"] != open_store(stores[1]).rows


@pytest.fixture
def hats(tmp_path):
    """Two folders that say they are HATS catalogues, and no more."""
    for name in ("hats_x", "hats_y"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "hats.properties").write_text("")
    return tmp_path / "hats_x", tmp_path / "hats_y"


HATS_USAGE = {
    "ECSV": ((), "pairs.ecsv", "are written as Parquet: give --out"),
    "test size": (("--test-size", 3), "pairs.parquet", "give --x-store and --y-store"),
    "one store": (("--x-store", "x.zarr"), "pairs.ecsv", "give both --x-store and --y-store, or neither"),
}


@pytest.mark.parametrize("what", HATS_USAGE)
def test_hats_catalogues_are_matched_in_what_is_possible_with_them(galtrans, hats, tmp_path, what):
    options, out, words = HATS_USAGE[what]
    code, _, complaint = galtrans("crossmatch", *hats, "--out", tmp_path / out, *options)
    assert code == 2
    assert words in complaint


def test_a_hats_catalogue_goes_with_another_and_stores_of_images_with_such(galtrans, hats, stores, tmp_path):
    code, _, complaint = galtrans("crossmatch", hats[0], stores[1], "--out", tmp_path / "pairs.ecsv")
    assert code == 2
    assert "is a HATS catalogue and the other is not" in complaint
    code, _, complaint = galtrans("crossmatch", *stores, "--out", tmp_path / "pairs.ecsv", "--x-store", stores[0])
    assert code == 2
    assert "are no HATS catalogues" in complaint


def test_without_lsdb_one_line_says_what_to_install(galtrans, hats, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "lsdb", None)
    code, _, complaint = galtrans("crossmatch", *hats, "--out", tmp_path / "pairs.parquet")
    assert code == 1
    assert complaint.endswith("is a HATS catalogue, which LSDB reads: pip install 'galtrans[lsdb]'\n")
    assert complaint.count("\n") == 1
    assert not list(tmp_path.glob("*pairs*"))


def test_crossmatch_writes_pairs_of_hats_catalogues(galtrans, stores, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # LSDB uses what pandas will do without
        lsdb = pytest.importorskip("lsdb", reason="the extra lsdb is not installed")
        for store in stores:
            columns = {name: open_store(store).column(name) for name in ("object_id", "ra", "dec")}
            objects = Table(columns | {"object_id": columns["object_id"].astype(object)}).to_pandas()
            catalogue = lsdb.from_dataframe(objects, ra_column="ra", dec_column="dec", margin_threshold=None)
            catalogue.write_catalog(tmp_path / store.stem, progress_bar=False)
    catalogues = tmp_path / "x", tmp_path / "y"
    code, said, complaint = galtrans("crossmatch", *catalogues, "--out", tmp_path / "pairs.parquet")
    assert (code, complaint) == (0, "")
    assert "10 pairs within 1 arcsec; no images" in said
    assert len(pq.read_table(tmp_path / "pairs.parquet")) == 10
    words = ("--x-store", stores[0], "--y-store", stores[1], "--out", tmp_path / "pairs.ecsv")
    code, said, complaint = galtrans("crossmatch", *catalogues, *words, "--test-size", 3)
    assert (code, complaint) == (0, "")
    assert "7 to train, 3 to test" in said
    assert len(read_pairs(tmp_path / "pairs.ecsv", *map(open_store, stores))) == 10


def test_regrid_makes_the_store_and_says_so(galtrans, stores, tmp_path):
    out = tmp_path / "y64.zarr"
    words = ("regrid", stores[1], "--like", stores[0], "--out", out, "--workers", 2)
    code, said, complaint = galtrans(*words)
    assert (code, complaint) == (0, "")
    assert "10 objects in gr, 64×64 pixels of 0.396 arcsec; 10 have every pixel" in said
    assert str(out) in said
    assert open_store(out).size == 64
    code, said, _ = galtrans(*words)
    assert code == 0
    assert "complete already" in said
    code, said, _ = galtrans(*words, "--overwrite")
    assert code == 0
    assert "complete already" not in said


def test_regrid_onto_itself_is_refused(galtrans, stores):
    code, _, complaint = galtrans("regrid", stores[1], "--like", stores[0], "--out", stores[1], "--overwrite")
    assert code == 1
    assert "is one of the stores to read" in complaint
