import numpy as np
import pytest
from numpy.testing import assert_array_equal

from survey_tools.errors import StoreError
from survey_tools.surveys import CFHT, SDSS
from translator.data.selection import describe, select

FAR = 150 + 0.1 * np.arange(8)  # [deg], many cutouts apart


def stores(tiny_store, path, x_ra=FAR, y_ra=FAR, **both):
    x = tiny_store(path / "x.zarr", SDSS, 16, np.asarray(x_ra), **both)
    return x, tiny_store(path / "y.zarr", CFHT, 40, np.asarray(y_ra), **both)


def test_paired_objects_are_never_unpaired_and_test_rows_never_train(tiny):
    chosen = select(tiny.x, tiny.y, tiny.pairs)
    assert_array_equal(chosen.x, np.arange(6))
    assert_array_equal(chosen.y, np.arange(6, 12))
    assert_array_equal(chosen.pairs, np.column_stack([np.arange(6, 11), np.arange(5)]))
    assert chosen.counts["pairs"] == {
        "all": 6, "used": 5, "kept for tests": 1, "with missing pixels": 0, "with saturated pixels": 0,
    }  # fmt: skip


def test_spoilt_objects_are_left_out_and_counted_once(tmp_path, tiny_store, pair_table):
    x, y = stores(tiny_store, tmp_path, spoilt=[0, 5], saturated=[1, 5, 6])
    pairs = pair_table(x, y, [4, 5, 6, 7], [4, 5, 6, 7], ["train"] * 3 + ["test"])
    chosen = select(x, y, pairs)
    assert_array_equal(chosen.x, [2, 3])
    assert_array_equal(chosen.pairs, [[4, 4]])
    assert chosen.counts["x"]["with missing pixels"] == 1
    assert chosen.counts["x"]["with saturated pixels"] == 1
    assert chosen.counts["pairs"]["with missing pixels"] == 1
    for counts in chosen.counts.values():
        assert counts["all"] == sum(n for reason, n in counts.items() if reason != "all")
    assert describe(chosen.counts["x"]) == (
        "2 of 8 (4 in the pair table, 1 with missing pixels, 1 with saturated pixels)"
    )


@pytest.mark.parametrize(("offset", "overlaps"), [(0.0, True), (30.0, True), (35.7, True), (36.0, False)])
def test_cutouts_that_may_overlap_a_test_objects_are_left_out(tmp_path, tiny_store, pair_table, offset, overlaps):
    """Cutouts of 25.3 arcsec overlap, turned as they may be, up to a diagonal of 35.8 arcsec."""
    ra = [*FAR[:4], FAR[3] + offset / 3600]
    x, y = stores(tiny_store, tmp_path, ra, ra)
    chosen = select(x, y, pair_table(x, y, [2, 3], [2, 3], ["train", "test"]))
    assert (4 not in chosen.x) == overlaps
    assert chosen.counts["y"]["overlap a test object"] == overlaps


def test_other_bands_are_refused(tmp_path, tiny_store, pair_table, tiny):
    y = tiny_store(tmp_path / "y.zarr", CFHT, 40, FAR, bands="gri")
    with pytest.raises(StoreError, match=r"x\.zarr has bands gr and .*y\.zarr has gri; fetch both"):
        select(tiny.x, y, tiny.pairs)


@pytest.mark.parametrize(
    ("rows", "split", "spoilt", "message"),
    [
        (range(8), ["train"] * 8, [], r"no unpaired objects of x are left .*: 0 of 8 \(8 in the pair table\)"),
        ([0, 1], ["test"] * 2, [], r"no pairs are left .*: 0 of 2 \(2 kept for tests\)"),
        ([0], ["train"], [0], r"no pairs are left .*: 0 of 1 \(1 with missing pixels\)"),
    ],
)
def test_nothing_left_says_why(tmp_path, tiny_store, pair_table, rows, split, spoilt, message):
    x, y = stores(tiny_store, tmp_path, spoilt=spoilt)
    with pytest.raises(StoreError, match=message):
        select(x, y, pair_table(x, y, list(rows), list(rows), split))


def test_validation_pairs_do_not_train_and_are_kept_apart(tiny, pair_table):
    split = ["train"] * 3 + ["validation"] * 2 + ["test"]
    chosen = select(tiny.x, tiny.y, pair_table(tiny.x, tiny.y, np.arange(6, 12), np.arange(6), split))
    assert_array_equal(chosen.pairs, np.column_stack([np.arange(6, 9), np.arange(3)]))
    assert_array_equal(chosen.validation, np.column_stack([[9, 10], [3, 4]]))
    assert chosen.counts["pairs"]["kept for validation"] == 2
    assert len(select(tiny.x, tiny.y, tiny.pairs).validation) == 0
