"""A catalogue that is fetched in partitions gives the images of an ordinary fetch, also after a kill."""

import numpy as np
import pytest
from astropy.table import Table

import survey_tools
from survey_tools.catalogue import read_blocks, read_catalogue
from survey_tools.errors import ArgumentError, CatalogueError, StoreError
from survey_tools.partitions import fetched


@pytest.fixture(scope="module")
def catalogue():
    random = np.random.default_rng(4)
    table = Table({"object_id": [f"{n:019d}" for n in range(50)], "ra": random.uniform(0, 360, 50)})
    table["dec"], table["redshift"] = random.uniform(-80, 80, 50), random.uniform(0, 1, 50)
    return table


@pytest.mark.parametrize("name", ["c.csv", "c.ecsv", "c.fits", "c.parquet", "c.vot", "folder"])
def test_blocks_are_the_whole_catalogue(catalogue, tmp_path, name):
    path = tmp_path / name
    if name == "folder":
        path.mkdir()
        catalogue[:20].write(path / "a.parquet")
        catalogue[20:].write(path / "b.parquet")
        whole = catalogue
    else:
        catalogue.write(path, **({"format": "votable"} if name.endswith("vot") else {}))
        whole = read_catalogue(path)
    parts = list(read_blocks(path, rows=7))
    assert max(len(part) for part in parts) <= 7
    for column in ("object_id", "ra", "dec", "redshift"):
        assert np.concatenate([part[column] for part in parts]).tolist() == whole[column].tolist()


def test_a_wrong_row_is_named(catalogue, tmp_path):
    wrong = catalogue.copy()
    wrong["dec"][33] = 95.0
    wrong.write(tmp_path / "c.csv")
    with pytest.raises(CatalogueError, match=r"rows counted from 28: row 6: dec is 95.0"):
        list(read_blocks(tmp_path / "c.csv", rows=7))


class Killed(BaseException):
    """What a killed process leaves behind, without its death."""


def test_fetch(known_sky, tmp_path, monkeypatch):
    mirror = tmp_path / "stacks"
    wcs = known_sky.stack_wcs()
    places = [known_sky.position(wcs, *at) for at in ((100, 100), (160, 150), (220, 200), (100, 200), (200, 100))]
    known_sky.write_stack(mirror, "r", [known_sky.Galaxy(*place) for place in places])
    table = known_sky.catalogue([*places, (30.0, 40.0), (200.0, -30.0)])
    table.write(tmp_path / "c.csv")
    given = {"mirror": mirror, "bands": "r"}
    whole = survey_tools.fetch(table, "cfht", tmp_path / "whole.zarr", **given)
    real, count = fetched._fetch, iter(range(99))

    def dying(*arguments):
        if next(count) == 1:
            raise Killed
        return real(*arguments)

    monkeypatch.setattr(fetched, "_fetch", dying)
    given |= {"partition_rows": 2}
    with pytest.raises(Killed):
        survey_tools.fetch(tmp_path / "c.csv", "cfht", tmp_path / "parts", **given)
    made = survey_tools.fetch(tmp_path / "c.csv", "cfht", tmp_path / "parts", workers=2, **given)
    rows = [int(name.removeprefix("g")) for name in made.column("object_id")]
    assert sorted(rows) == list(range(7))
    assert len(made.partitions) > 2
    assert np.array_equal(made.images[:], whole.images[:][rows], equal_nan=True)
    assert made.manifest()["status"].tolist() == whole.manifest()["status"][rows].tolist()
    assert made.manifest()["status"].tolist().count("outside") == 2
    assert survey_tools.fetch(tmp_path / "c.csv", "cfht", tmp_path / "parts", **given).rows == made.rows
    with pytest.raises(StoreError, match="other rows"):
        survey_tools.fetch(tmp_path / "c.csv", "cfht", tmp_path / "parts", **given | {"partition_rows": 3})
    with pytest.raises(ArgumentError, match="retry_failed"):
        survey_tools.fetch(tmp_path / "c.csv", "cfht", tmp_path / "parts", retry_failed=True, **given)
