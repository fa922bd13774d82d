"""Against `crossmatch.match` of all objects at once: partitions of several sizes, margins or none, borders, poles."""

import sys
import warnings

import numpy as np
import pyarrow.parquet as pq
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from numpy.testing import assert_allclose, assert_array_equal

from survey_tools.errors import CatalogueError, GaltransError
from survey_tools.matching.hats import Catalogues, is_hats, write_matches
from survey_tools.matching.positions import match

with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
    patch.setenv("NUMBA_DISABLE_JIT", "1")  # compiling what makes margins takes longer than all these tests
    warnings.simplefilter("ignore")  # LSDB uses what pandas will do without
    lsdb = pytest.importorskip("lsdb", reason="the extra lsdb is not installed")
    from hats.pixel_math.spatial_index import compute_spatial_index


def sky() -> tuple[np.ndarray, np.ndarray]:
    """Right ascensions and declinations [deg] of two catalogues.

    A field across RA 0; objects at each pole; some along both borders of pixels that cross at (0, 0); and there, where
    four partitions meet, a crowd on a lattice of 1", with duplicates and equal distances.
    """
    rng = np.random.default_rng(4)
    field = rng.uniform(-0.3, 0.3, (2, 300))
    polar = np.stack([rng.uniform(0, 360, 50), 90 - rng.uniform(0, 0.02, 50)])
    along = rng.uniform(-0.28, 0.28, 100)
    border = np.degrees(np.arcsin(8 / (3 * np.pi) * np.radians(along)))  # HEALPix's, of any order
    border = np.stack([along, np.where(np.arange(100) % 2, border, -border)]) + rng.normal(0, 0.5, (2, 100)) / 3600
    crowd = np.round(rng.uniform(-4, 4, (2, 40))) / 3600
    x = np.concatenate([field, polar, polar * [[1], [-1]], border, crowd], axis=1)
    shift = rng.normal(0, 0.8, x.shape) / 3600
    shift[:, -40:] = np.round(rng.uniform(-2, 2, (2, 40))) / 3600
    shift[0, 300:400] = 0  # along the parallel nothing can be said at a pole
    y = (x + shift)[:, rng.permutation(x.shape[1])[:480]]
    return tuple(np.stack([at[0] % 360, np.clip(at[1], -90, 90)]) for at in (x, y))


def frame(positions: np.ndarray, name: str):
    import pandas as pd

    return pd.DataFrame({name: np.arange(positions.shape[1]) + 1000, "RA": positions[0], "DEC": positions[1]})


def write_hats(path, objects, rows: int, margin: float | None) -> None:
    """A HATS catalogue with at most `rows` objects in a partition, and with margins [arcsec] if asked for."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        catalogue = lsdb.from_dataframe(
            objects, ra_column="RA", dec_column="DEC", catalog_name=path.name, lowest_order=1, highest_order=8,
            partition_rows=rows, margin_threshold=margin,
        )  # fmt: skip
        catalogue.write_catalog(path, progress_bar=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Collections `x` and `y`, each a catalogue and its margins of 10"; and `coarse`, y in larger partitions."""
    folder, (x, y) = tmp_path_factory.mktemp("hats"), sky()
    for name, objects, rows in (("x", frame(x, "x_name"), 90), ("y", frame(y, "y_name"), 90)):
        write_hats(folder / name, objects, rows, 10.0)
    write_hats(folder / "coarse", frame(y, "y_name"), 120, None)
    return folder


@pytest.fixture(scope="module")
def all_at_once():
    """Identifiers and separations of the pairs within a radius, of all objects at once in the order of the curve."""

    def pairs(radius: float):
        orders = [np.lexsort([np.arange(at.shape[1]), compute_spatial_index(*at)]) for at in sky()]
        x, y = (SkyCoord(*at[:, order], unit=u.deg) for at, order in zip(sky(), orders, strict=True))
        x_row, y_row, separation = match(x, y, radius)
        return orders[0][x_row] + 1000, orders[1][y_row] + 1000, separation

    return pairs


@pytest.mark.parametrize(  # twice 6" is more than the margins have
    ("x", "y", "radius"), [("x", "y", 3.0), ("x", "y", 6.0), ("x/x", "y/y", 3.0), ("x", "coarse", 6.0)]
)
def test_pairs_are_those_of_all_objects_at_once(folder, all_at_once, tmp_path, x, y, radius):
    """With margins, without (a collection's catalogue alone), and where partitions of y are larger."""
    pair = Catalogues(folder / x, folder / y, "x_name", "y_name", workers=2)
    count = write_matches(pair, radius, tmp_path / "pairs.parquet")
    found = pq.read_table(tmp_path / "pairs.parquet")
    assert found.column_names == ["x_object_id", "x_ra", "x_dec", "y_object_id", "y_ra", "y_dec", "separation"]
    x_id, y_id, separation = all_at_once(radius)
    assert count == len(found) == len(x_id) > 350
    assert_array_equal(found["x_object_id"], x_id)
    assert_array_equal(found["y_object_id"], y_id)
    assert_allclose(found["separation"], separation, atol=1e-9)
    assert_array_equal(np.stack([found["y_ra"], found["y_dec"]]), sky()[1][:, y_id - 1000])


def test_a_catalogue_with_itself_pairs_all_but_the_second_at_one_place(folder, tmp_path):
    count = write_matches(Catalogues(folder / "x", folder / "x", "x_name", "x_name"), 2.0, tmp_path / "pairs.parquet")
    found = pq.read_table(tmp_path / "pairs.parquet")
    assert_array_equal(found["x_object_id"], found["y_object_id"])
    assert count == np.unique(sky()[0], axis=1).shape[1] < sky()[0].shape[1]


def test_pairs_are_the_same_from_either_side(folder, all_at_once, tmp_path):
    """Here partitions of x are the larger ones."""
    write_matches(Catalogues(folder / "coarse", folder / "x", "y_name", "x_name"), 3.0, tmp_path / "pairs.parquet")
    found = pq.read_table(tmp_path / "pairs.parquet")
    pairs = zip(found["y_object_id"].to_pylist(), found["x_object_id"].to_pylist(), strict=True)
    x_id, y_id, _ = all_at_once(3.0)
    assert sorted(pairs) == sorted(zip(x_id.tolist(), y_id.tolist(), strict=True))


def test_partitions_meet_where_objects_are(folder):
    """Or else the tests above would show little."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pixels = {name: lsdb.open_catalog(folder / name).get_healpix_pixels() for name in ("x", "y", "coarse")}
        margin = lsdb.open_catalog(folder / "x").margin.compute(progress_bar=False)
    assert pixels["x"] == pixels["y"]
    assert len(pixels["x"]) > len(pixels["coarse"]) > 8
    assert not set(pixels["x"]) & set(pixels["coarse"])
    assert len(margin) > 80


@pytest.fixture
def run(tmp_path):
    """Matches catalogues, whose files it gives a place."""

    def match_them(x, y, x_id="x_name", y_id="y_name", radius=3.0):
        return write_matches(Catalogues(x, y, x_id, y_id), radius, tmp_path / "pairs.parquet")

    yield match_them
    assert not list(tmp_path.glob("*pairs*"))


def test_a_column_that_is_not_there_is_named_with_those_that_are(folder, run):
    with pytest.raises(CatalogueError, match=r"x has no column object_id; .*: x_name, RA, DEC$"):
        run(folder / "x", folder / "y", x_id="object_id")


def test_what_is_no_hats_catalogue_is_refused_in_a_line(folder, run, tmp_path_factory):
    empty = tmp_path_factory.mktemp("empty")
    assert not is_hats(empty)
    assert is_hats(folder / "x")
    assert is_hats(folder / "x" / "x")
    for path in (empty, empty / "none"):
        with pytest.raises(CatalogueError, match="cannot be read as a HATS catalogue: ") as caught:
            run(folder / "x", path)
        assert "\n" not in str(caught.value)


def test_a_radius_beyond_the_partitions_is_refused(folder, run):
    with pytest.raises(CatalogueError, match="reaches beyond the partitions around one of order 8; choose a smaller"):
        run(folder / "x", folder / "y", radius=3600.0)


def test_without_lsdb_a_line_says_what_to_install(folder, run, monkeypatch):
    monkeypatch.setitem(sys.modules, "lsdb", None)
    with pytest.raises(
        GaltransError, match=r"x is a HATS catalogue, which LSDB reads: pip install 'galtrans\[lsdb\]'$"
    ):
        run(folder / "x", folder / "y")


def test_catalogues_that_do_not_meet_have_a_table_without_pairs(folder, tmp_path):
    count = write_matches(Catalogues(folder / "x", folder / "y", "x_name", "y_name"), 1e-7, tmp_path / "pairs.parquet")
    assert count == len(pq.read_table(tmp_path / "pairs.parquet")) < 60  # those at the very same place only
