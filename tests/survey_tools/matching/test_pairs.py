import warnings
from dataclasses import replace

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import Table
from numpy.testing import assert_allclose, assert_array_equal

from survey_tools import open_store
from survey_tools.errors import CatalogueError, StoreError
from survey_tools.matching.hats import Catalogues
from survey_tools.matching.pairs import make_pairs, read_pairs
from survey_tools.surveys import CFHT, SDSS
from survey_tools.version import VERSION

ARCSEC = 1 / 3600


def positions(count: int = 30, seed: int = 0):
    """Galaxies more than a cutout apart, about RA 0."""
    rng = np.random.default_rng(seed)
    ra = (np.arange(count) % 6 * 0.02 - 0.05 + rng.uniform(-0.003, 0.003, count)) % 360
    return ra, 30 + np.arange(count) // 6 * 0.02 + rng.uniform(-0.003, 0.003, count)


@pytest.fixture(scope="module")
def stores(tmp_path_factory, make_store):
    """SDSS has 30 galaxies, CFHTLS the last 27 of them, in reverse and 0.3" north; both draw them where they are.

    SDSS has no image of row 5, CFHTLS none of its row 20 (row 9 of SDSS), and it draws its row 10 (19 of SDSS) 2" off.
    """
    folder, (ra, dec) = tmp_path_factory.mktemp("stores"), positions()
    make_store(folder / "x.zarr", "sdss", ra, dec, bands="gr", missing=[5])
    ra, dec = ra[:2:-1], dec[:2:-1]
    drawn = ra, dec + np.where(np.arange(27) == 10, 2 * ARCSEC, 0)
    make_store(folder / "y.zarr", "cfht", ra, dec + 0.3 * ARCSEC, drawn=drawn, bands="gr", missing=[20])
    return folder / "x.zarr", folder / "y.zarr"


PAIRED = [row for row in range(3, 30) if row not in (5, 9, 19)]


def test_pairs_are_the_galaxies_that_both_stores_show(stores):
    table = make_pairs(*stores)
    assert table.colnames == ["x_row", "y_row", "separation", "peak_offset", "split"]
    assert_array_equal(table["x_row"], PAIRED)
    assert_array_equal(table["y_row"], [29 - row for row in PAIRED])
    assert_allclose(table["separation"], 0.3, rtol=1e-6)
    assert table["peak_offset"].max() < 0.1
    assert table["separation"].unit == table["peak_offset"].unit == u.arcsec
    assert set(table["split"]) == {"train"}
    assert table.meta["dropped_for_peak_offset"] == 1


def test_the_table_says_what_it_was_made_from(stores):
    table = make_pairs(*stores, radius=1.5, max_peak_offset=0.9, seed=3, band="g")
    assert table.meta == {
        "x": str(stores[0]),
        "y": str(stores[1]),
        "x_rows": open_store(stores[0]).rows,
        "y_rows": open_store(stores[1]).rows,
        "radius": 1.5,
        "max_peak_offset": 0.9,
        "seed": 3,
        "band": "g",
        "dropped_for_peak_offset": 1,
        "false_match_rate": 0.0,
        "galtrans_version": VERSION,
    }


def test_a_wider_limit_keeps_the_galaxy_whose_peaks_differ(stores):
    table = make_pairs(*stores, max_peak_offset=2.1)
    row = np.flatnonzero(table["x_row"] == 19)
    assert_allclose(table["peak_offset"][row], 2.0, atol=0.05)
    assert table.meta["dropped_for_peak_offset"] == 0


def test_a_test_set_of_the_asked_size_that_the_seed_decides(stores):
    first, again, other = (make_pairs(*stores, test_size=8, seed=seed)["split"] for seed in (1, 1, 2))
    assert (first == "test").sum() == (other == "test").sum() == 8
    assert_array_equal(first, again)
    assert (first != other).any()


def test_galaxies_whose_cutouts_overlap_are_on_one_side(tmp_path, make_store):
    """Groups of three in a row, 20" apart: their outermost do not overlap, but each does with the middle one."""
    ra = np.repeat(np.arange(8) * 0.05, 3) + np.tile([0, 20, 40], 8) * ARCSEC
    dec = np.zeros(24)
    for name, survey in (("x", "sdss"), ("y", "cfht")):
        make_store(tmp_path / f"{name}.zarr", survey, ra, dec, bands="r")
    for seed in range(5):
        table = make_pairs(tmp_path / "x.zarr", tmp_path / "y.zarr", test_size=9, seed=seed)
        held_out = np.asarray(table["split"] == "test").reshape(8, 3)
        assert held_out.sum() == 9
        assert_array_equal(held_out.all(axis=1), held_out.any(axis=1))
        x = SkyCoord(ra * u.deg, dec * u.deg)
        side = max(s.cutout_size * s.pixel_scale for s in (SDSS, CFHT))
        between = x[held_out.ravel()][:, None].separation(x[~held_out.ravel()][None, :]).arcsec
        assert between.min() > side * np.sqrt(2)
    with pytest.raises(CatalogueError, match="nearest possible size is 9"):
        make_pairs(tmp_path / "x.zarr", tmp_path / "y.zarr", test_size=10)


def test_a_validation_set_leaves_the_test_set_as_it_is(stores):
    test = make_pairs(*stores, test_size=8, seed=1)["split"] == "test"
    split = make_pairs(*stores, test_size=8, validation_size=5, seed=1)["split"]
    assert_array_equal(split == "test", test)
    assert ((split == "validation").sum(), (split == "train").sum()) == (5, 11)
    with pytest.raises(CatalogueError, match="a validation set of 17 cannot be taken from 16 objects"):
        make_pairs(*stores, test_size=8, validation_size=17)


def test_no_pair_says_how_far_the_closest_are(stores):
    with pytest.raises(CatalogueError, match=r"closest two are 0\.3 arcsec apart; raise --radius"):
        make_pairs(*stores, radius=0.2)


def test_no_peak_says_how_far_the_best_is(stores):
    with pytest.raises(CatalogueError, match=r"none of the 25 pairs .* raise --max-peak-offset"):
        make_pairs(*stores, max_peak_offset=1e-6)


def test_a_store_without_images_has_no_pairs(tmp_path, make_store, stores):
    make_store(tmp_path / "empty.zarr", "cfht", *positions(3), bands="r", missing=[0, 1, 2])
    with pytest.raises(CatalogueError, match="one of them has no object with an image"):
        make_pairs(stores[0], tmp_path / "empty.zarr")


def test_a_store_that_lacks_the_band_is_refused(tmp_path, make_store, stores):
    make_store(tmp_path / "g.zarr", "cfht", *positions(3), bands="gi")
    with pytest.raises(StoreError, match=r"g\.zarr has no r band \(it has gi\).*--bands"):
        make_pairs(stores[0], tmp_path / "g.zarr")


@pytest.fixture(scope="module")
def catalogues(tmp_path_factory, stores):
    """HATS catalogues of the stores' objects; y has one more, nearer to row 4 of SDSS than what its store shows."""
    folder = tmp_path_factory.mktemp("hats")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # LSDB uses what pandas will do without
        lsdb = pytest.importorskip("lsdb", reason="the extra lsdb is not installed")
        for name, path in zip("xy", stores, strict=True):
            table = open_store(path).catalogue[["object_id", "ra", "dec"]]
            if name == "y":
                table.add_row(["deep", table["ra"][25], table["dec"][25] - 0.2 * ARCSEC * u.deg])
            table["name"] = np.asarray(table["object_id"]).astype(object)
            table.remove_column("object_id")
            catalogue = lsdb.from_dataframe(
                Table(table).to_pandas(), ra_column="ra", dec_column="dec", partition_rows=20, margin_threshold=None
            )
            catalogue.write_catalog(folder / name, progress_bar=False)
    return Catalogues(folder / "x", folder / "y", "name", "name", workers=2)


def test_pairs_of_hats_catalogues_with_images_are_those_of_the_stores_and_no_false_ones(stores, catalogues):
    expected, table = make_pairs(*stores, test_size=8), make_pairs(*stores, test_size=8, catalogues=catalogues)
    expected = expected[expected["x_row"] != 4]  # its true counterpart has no image
    assert table.meta["x_catalogue"] == str(catalogues.x)
    assert table.meta["x_rows"] == open_store(stores[0]).rows
    assert table.meta["dropped_for_peak_offset"] == 1
    for name in ("x_row", "y_row", "separation", "peak_offset"):
        assert_allclose(table[name], expected[name], atol=1e-9)
    assert (table["split"] == "test").sum() == 8


def test_catalogues_of_other_objects_have_no_pair_with_images(stores, catalogues):
    other = replace(catalogues, x=catalogues.y, y=catalogues.x)
    with pytest.raises(CatalogueError, match=r"of 27 pairs of .* none has both objects.*are name and name their obj"):
        make_pairs(*stores, catalogues=other)


@pytest.fixture
def written(tmp_path, stores):
    """The table on disk, and the stores it was made for."""
    make_pairs(*stores, test_size=5).write(tmp_path / "pairs.ecsv")
    return tmp_path / "pairs.ecsv", *map(open_store, stores)


def test_a_table_is_read_as_it_was_written(written, stores):
    table, made = read_pairs(*written), make_pairs(*stores, test_size=5)
    assert table.meta == made.meta
    for name in made.colnames:
        assert_array_equal(table[name], made[name])


def test_a_table_serves_a_regridded_store_too(written, stores, tmp_path):
    from survey_tools.build.regridded import regrid_store

    small = regrid_store(stores[1], stores[0], tmp_path / "y64.zarr")
    assert len(read_pairs(written[0], written[1], small)) == 24


def test_a_table_of_other_stores_is_refused_with_both_names(written, make_store, tmp_path):
    path, x, y = written
    other = make_store(tmp_path / "other.zarr", "cfht", *positions(27, seed=1), bands="r")
    with pytest.raises(StoreError, match=r"was made for .*y\.zarr, whose rows are not those of .*other\.zarr"):
        read_pairs(path, x, other)
    with pytest.raises(StoreError, match=r"was made for .*x\.zarr, whose rows are not those of .*y\.zarr"):
        read_pairs(path, y, x)


def altered(path, **columns):
    table = Table.read(path)
    for name, values in columns.items():
        table[name] = values
    table.write(path, overwrite=True)


SPOILT = {
    "row outside": ({"x_row": np.arange(24) + 7}, r"row 24 names row 30 of .*x\.zarr, which has 30 rows"),
    "negative row": ({"y_row": np.arange(24) - 1}, r"row 1 names row -1 of .*y\.zarr"),
    "row twice": ({"x_row": np.zeros(24, int)}, "row 0 of .* is in more than one pair"),
    "not integers": ({"x_row": np.arange(24) + 0.5}, "not integers"),
    "text": ({"x_row": ["a"] * 24}, "not integers"),
    "split": ({"split": ["test"] * 20 + ["valid"] * 4}, "row 21: split is 'valid'; it must be train, valid.* or test"),
}


@pytest.mark.parametrize("what", SPOILT)
def test_an_altered_table_is_refused(written, what):
    columns, message = SPOILT[what]
    altered(written[0], **columns)
    with pytest.raises(StoreError, match=message):
        read_pairs(*written)


def test_masked_rows_and_splits_are_refused(written):
    text = written[0].read_text().splitlines()
    for last in ('"" 3 0.3 0.01 train', '29 0 0.3 0.01 ""'):
        written[0].write_text("\n".join([*text[:-1], last]) + "\n")
        with pytest.raises(StoreError, match="has empty fields"):
            read_pairs(*written)


@pytest.mark.parametrize("what", ["columns", "meta"])
def test_a_table_without_its_columns_or_checksums_is_refused(written, what):
    table = Table.read(written[0])
    if what == "columns":
        table.remove_columns(["split", "y_row"])
    else:
        table.meta.clear()
    table.write(written[0], overwrite=True)
    with pytest.raises(StoreError, match=r"it lacks (y_row, split|x_rows, y_rows); make one with `galtrans crossmatch"):
        read_pairs(*written)


@pytest.mark.parametrize("content", [None, b"", b"x_row,y_row\n1,2\n", b"\x00\xff" * 50, b"# %ECSV 1.0\n# ---\n# {"])
def test_what_is_no_table_is_refused(tmp_path, stores, content):
    path = tmp_path / "pairs.ecsv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StoreError, match=r"pairs\.ecsv cannot be read as a pair table: ") as caught:
        read_pairs(path, *map(open_store, stores))
    assert "\n" not in str(caught.value)
