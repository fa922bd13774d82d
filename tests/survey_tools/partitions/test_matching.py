"""The pairs of two partitioned stores are those of ordinary stores, across borders, RA 0 and the poles."""

import numpy as np
import pytest
from astropy.table import Table
from click.testing import CliRunner

import survey_tools
from cli.main import galtrans
from survey_tools.errors import ArgumentError, StoreError
from survey_tools.matching.pair_folders import PairFolder
from survey_tools.matching.pairs import make_pairs, read_pairs
from survey_tools.partitions import matching
from survey_tools.partitions.matching import PairSettings, match_partitions

ARCSEC = 1 / 3600
SETTINGS = PairSettings(radius=2.0, max_peak_offset=2.0, test_size=4, validation_size=3, seed=3)


def sky():
    """Twins of positions [deg]: at RA 0 and at both poles, where partitions meet; some with two neighbours."""
    random = np.random.default_rng(5)
    ra = np.concatenate(
        [random.normal(0, 20 * ARCSEC, 12), random.uniform(0, 360, 16), [45.0, 45.0, 135.0], np.arange(8) * 40.0 + 7]
    )
    poles = np.abs(random.normal(0, 30 * ARCSEC, (2, 8)))
    alone = np.arange(8) * 15.0 - 50
    dec = np.concatenate([random.normal(0, 20 * ARCSEC, 12), 90 - poles[0], poles[1] - 90, [0, 1.5 * ARCSEC, 0], alone])
    twin = dec + random.uniform(-1, 1, len(dec)) * ARCSEC
    return ra % 360, dec, np.clip(twin, -90, 90)


@pytest.fixture(scope="module")
def world(tmp_path_factory, make_store):
    """Both stores, partitioned so that clusters of objects are cut, and the same rows as ordinary stores."""
    folder = tmp_path_factory.mktemp("match")
    ra, dec, twin = sky()
    made = {}
    for name, survey, places, rows in (("x", "sdss", dec, 4), ("y", "sdss", twin, 12)):
        store = make_store(
            folder / f"{name}-made.zarr", survey, ra, places, bands="r", missing=[2] if name == "x" else []
        )
        parts = survey_tools.partition(store, folder / f"{name}-parts", rows=rows)
        order = [int(each.split("-")[1]) for each in parts.column("object_id")]
        again = make_store_of(folder / f"{name}.zarr", parts)
        made[name] = (parts, again, order)
    return made


def make_store_of(path, parts):
    """The rows of a partitioned store, in their order, as an ordinary one."""
    from survey_tools.build.builder import Chunk, StorePlan, making
    from survey_tools.build.derived import row_of_survey
    from survey_tools.store.columns import MEASURED

    table = Table({name: parts.column(name) for name in parts.input_catalogue_names})
    plan = StorePlan(row_of_survey(parts), parts.bands, table, {"command": "test"})
    with making(plan, path) as build:
        for rows in build.store.chunks():
            columns = {each.name: parts.column(each.name, rows) for each in MEASURED}
            manifest = {
                name: np.asarray(parts.manifest()[name][rows]) for name in ("status", "reason", "file", "url", "http")
            }
            build.write(rows, Chunk(parts.images[rows], parts.mask[rows], columns, manifest))
        build.collect()
        return build.finish()


def whole(world):
    settings = {"radius": 2.0, "max_peak_offset": 2.0, "test_size": 4, "validation_size": 3, "seed": 3}
    return make_pairs(world["x"][1].path, world["y"][1].path, **settings)


def test_the_same_pairs(world, tmp_path):
    (x, _, _), (y, _, _) = world["x"], world["y"]
    assert len(x.partitions) > 4
    assert [part.pixel for part in x.partitions] != [part.pixel for part in y.partitions]
    table = whole(world)
    pairs = match_partitions(x.path, y.path, tmp_path / "pairs", SETTINGS)
    found = pairs.rows(("x_row", "y_row", "separation", "peak_offset", "split"))
    assert len(table) > 28
    for name in ("x_row", "y_row", "split"):
        assert found[name].tolist() == table[name].tolist()
    assert found["separation"].tolist() == table["separation"].tolist()
    assert np.allclose(found["peak_offset"], table["peak_offset"], rtol=0, atol=1e-9)
    for name in ("false_match_rate", "dropped_for_peak_offset"):
        assert pairs.meta[name] == table.meta[name]
    borders = x.number_of(np.asarray(found["x_row"])), y.number_of(np.asarray(found["y_row"]))
    pixels = [(x.partitions[a], y.partitions[b]) for a, b in zip(*borders, strict=True)]
    assert any(not inside(a, b) for a, b in pixels)  # a pair whose objects lie in pixels that do not overlap
    read = read_pairs(tmp_path / "pairs", x, y)
    assert (np.asarray(read["split"]) == "test").sum() == 4


def inside(a, b) -> bool:
    """Whether one of two pixels lies in the other."""
    low, high = sorted((a, b), key=lambda part: part.order)
    return high.pixel >> 2 * (high.order - low.order) == low.pixel


class Killed(BaseException):
    """What a killed process leaves behind, without its death."""


def test_killed_and_resumed(world, tmp_path, monkeypatch):
    (x, *_), (y, *_) = world["x"], world["y"]
    match_partitions(x.path, y.path, tmp_path / "once", SETTINGS)
    real, count = matching._match, iter(range(100))

    def dying(*arguments):
        if next(count) == 3:
            raise Killed
        return real(*arguments)

    monkeypatch.setattr(matching, "_match", dying)
    with pytest.raises(Killed):
        match_partitions(x.path, y.path, tmp_path / "twice", SETTINGS)
    match_partitions(x.path, y.path, tmp_path / "twice", SETTINGS)
    names = [path.relative_to(tmp_path / "once") for path in (tmp_path / "once").rglob("*") if path.is_file()]
    assert names
    assert all((tmp_path / "once" / name).read_bytes() == (tmp_path / "twice" / name).read_bytes() for name in names)


def test_command(world, tmp_path):
    (x, ordinary, _), (y, *_) = world["x"], world["y"]
    arguments = [str(y.path), "--out", str(tmp_path / "pairs"), "--radius", "2", "--max-peak-offset", "2"]
    said = CliRunner().invoke(galtrans, ["crossmatch", str(x.path), *arguments])
    assert f"{len(PairFolder(tmp_path / 'pairs'))} to train, 0 to validate, 0 to test" in said.output, said.exception
    with pytest.raises(StoreError, match="galtrans partition"):
        survey_tools.crossmatch(ordinary, y, out=tmp_path / "other")
    with pytest.raises(ArgumentError, match="a folder"):
        survey_tools.crossmatch(x, y, out=tmp_path / "pairs.ecsv")
    with pytest.raises(StoreError, match="other radius"):
        survey_tools.crossmatch(x, y, out=tmp_path / "pairs", max_peak_offset=2.0)
