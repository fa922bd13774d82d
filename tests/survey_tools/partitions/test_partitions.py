"""Partitioned stores: split, opened, checked, regridded and resumed, with what the ordinary store has."""

import pickle

import numpy as np
import pytest
from astropy.table import Table
from click.testing import CliRunner

import survey_tools
from cli.main import galtrans
from survey_tools.errors import CatalogueError, StoreError
from survey_tools.partitions import making
from survey_tools.partitions.layout import Pixel, choose_pixels, count_places, number_of, places_of, touching
from survey_tools.partitions.spill import read_part, spill
from survey_tools.sphere import unit_vectors
from survey_tools.store import partitioned
from survey_tools.store.in_bands import take_bands
from survey_tools.tasks import Engine

COUNT, ROWS = 24, 6


def positions(count: int, seed: int = 0):
    """Positions [deg] all over the sky, poles and RA 0 among them."""
    random = np.random.default_rng(seed)
    ra, dec = random.uniform(0, 360, count), np.degrees(np.arcsin(random.uniform(-1, 1, count)))
    ra[:4], dec[:4] = [0.0, 359.9999, 10.0, 200.0], [0.0, 0.0, 90.0, -89.9999]
    return ra, dec


@pytest.fixture(scope="module")
def store(tmp_path_factory, make_store):
    random = np.random.default_rng(0)
    ra = np.concatenate([random.uniform(-2, 2, COUNT // 2) % 360, random.uniform(0, 360, COUNT // 2)])
    dec = np.concatenate([random.uniform(-2, 2, COUNT // 2), random.uniform(88, 90, COUNT // 2)])
    path = tmp_path_factory.mktemp("stores") / "x.zarr"
    return make_store(path, "cfht", ra, dec, bands="gr", missing=[7], saturated=[9])


@pytest.fixture(scope="module")
def parts(store):
    return survey_tools.partition(store, store.path.with_name("parts"), rows=ROWS)


def sources(parts) -> np.ndarray:
    """The row of the ordinary store that each row is."""
    return np.array([int(name.split("-")[1]) for name in parts.column("object_id")])


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_pixels_are_split_by_count():
    dense = np.full(50, 45.0) + np.linspace(0, 1, 50), np.full(50, 10.0)
    ra, dec = (np.concatenate(each) for each in zip(positions(60), dense, strict=True))
    places = places_of(ra, dec)
    chosen = choose_pixels(count_places(places), 12)
    pixels = [pixel for pixel, _ in chosen]
    assert len({pixel.order for pixel in pixels}) > 1
    assert all(count <= 12 for _, count in chosen)
    assert sum(count for _, count in chosen) == 110
    number = number_of(pixels, places)
    assert np.bincount(number, minlength=len(pixels)).tolist() == [count for _, count in chosen]
    assert all(pixels[n].span[0] <= place < pixels[n].span[1] for n, place in zip(number, places, strict=True))


def test_pixels_that_touch_hold_every_near_point():
    ra, dec = positions(2000, seed=1)
    places, points = places_of(ra, dec), unit_vectors(ra, dec)
    pixels = [pixel for pixel, _ in choose_pixels(count_places(places), 60)]
    number, reach = number_of(pixels, places), np.radians(3.0)
    near = touching(pixels, pixels, reach)
    close = np.arccos(np.clip(points @ points.T, -1, 1)) <= reach
    for a, b in zip(*np.nonzero(close), strict=True):
        assert number[b] in near[number[a]]


def test_caps_hold_their_pixels():
    ra, dec = positions(20000, seed=2)
    points = unit_vectors(ra, dec)
    for order in (0, 1, 3):
        number = places_of(ra, dec) >> 2 * (29 - order)
        for pixel in np.unique(number):
            centre, angle = Pixel(order, int(pixel)).cap()
            assert np.arccos(np.clip(points[number == pixel] @ centre, -1, 1)).max() <= angle


def test_split(store, parts):
    rows = sources(parts)
    assert sorted(rows) == list(range(COUNT))
    assert len(parts) == COUNT
    assert 3 < len(parts.partitions) < 10
    assert max(part.rows for part in parts.partitions) <= ROWS
    assert np.array_equal(parts.images[:], store.images[:][rows], equal_nan=True)
    assert np.array_equal(parts.mask[3:20], store.mask[:][rows[3:20]])
    for name in store.columns:
        assert np.array_equal(
            parts.column(name), store.column(name)[rows], equal_nan=store.column(name).dtype.kind == "f"
        )
        assert np.array_equal(parts.take(name, np.array([21, 2, 2])), parts.column(name)[[21, 2, 2]],
                              equal_nan=store.column(name).dtype.kind == "f")  # fmt: skip
    assert parts.manifest()["status"].tolist() == store.manifest()["status"][rows].tolist()
    assert parts.usable.tolist() == store.usable[rows].tolist()
    assert np.array_equal(parts[5]["r"].data, store[int(rows[5])]["r"].data, equal_nan=True)
    assert parts["cfht-11"]["g"].meta["object_id"] == "cfht-11"
    chunks = parts.chunks()
    assert [row for rows in chunks for row in range(rows.start, rows.stop)] == list(range(COUNT))
    numbers = parts.chunk_of(np.arange(COUNT))
    assert all(chunks[n].start <= row < chunks[n].stop for row, n in enumerate(numbers))
    assert np.array_equal(parts.read_chunk(3), parts.images[chunks[3]], equal_nan=True)


def test_some_bands(parts):
    red = pickle.loads(pickle.dumps(take_bands(parts, "r")))
    assert red.bands == ("r",)
    assert np.array_equal(red.images[3:9], parts.images[3:9][:, 1:], equal_nan=True)
    assert np.array_equal(red.read_chunk(2), parts.read_chunk(2)[:, 1:], equal_nan=True)
    assert np.array_equal(red.take("coverage", np.array([8, 1])), parts.take("coverage", np.array([8, 1]))[:, 1:])


def test_it_is_a_hats_catalogue(parts):
    pytest.importorskip("lsdb")
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import lsdb

        table = lsdb.open_catalog(parts.path).compute()
    assert sorted(table["object_id"]) == sorted(parts.column("object_id"))


def test_command(store, parts, tmp_path):
    runner = CliRunner()
    out = tmp_path / "again"
    made = runner.invoke(galtrans, ["partition", str(store.path), str(out), "--rows", "6"])
    assert f"{COUNT} objects in {len(parts.partitions)} partitions" in made.output
    assert files(out) == files(parts.path)
    said = runner.invoke(galtrans, ["info", str(out)]).output
    assert f"{COUNT}: {COUNT - 1} done, 1 outside, 0 failed" in said
    assert "sound" in runner.invoke(galtrans, ["verify", str(out)]).output
    other = runner.invoke(galtrans, ["partition", str(store.path), str(out), "--rows", "9"])
    assert "made with other rows" in str(other.exception or other.output)


def test_what_is_whole_is_refused_when_it_is_large(parts, monkeypatch):
    monkeypatch.setattr(partitioned, "MOST_ROWS", COUNT - 1)
    with pytest.raises(StoreError, match="slice of rows"):
        parts.column("ra")
    with pytest.raises(StoreError, match="the manifest"):
        parts.manifest()
    assert len(parts.column("ra", slice(3, 9))) == 6


def test_verify_finds_damage(store, tmp_path):
    made = survey_tools.partition(store, tmp_path / "parts", rows=ROWS)
    assert survey_tools.verify(made) == []
    broken = made.path / made.partitions[2].name
    file = next(each for each in (broken / "images" / "c").rglob("*") if each.is_file())
    file.write_bytes(file.read_bytes()[:-1] + b"\0\0")
    found = survey_tools.verify(made, workers=2)
    assert len(found) == 1
    assert made.partitions[2].name in found[0]
    info = made.path / "partition_info.csv"
    info.write_text(info.read_text() + "\n")
    assert "partition_info.csv has changed" in survey_tools.verify(made)


def test_regrid_is_that_of_the_ordinary_store(store, parts, tmp_path, make_store):
    like = make_store(tmp_path / "like.zarr", "sdss", [1.0], [2.0], bands="gr")
    whole = survey_tools.regrid(store, like, tmp_path / "whole.zarr")
    made = survey_tools.regrid(parts, like, tmp_path / "made", workers=2)
    rows = sources(made)
    assert np.array_equal(made.images[:], whole.images[:][rows], equal_nan=True)
    assert made.manifest()["status"].tolist() == whole.manifest()["status"][rows].tolist()
    assert made.rows == parts.rows
    assert survey_tools.verify(made) == []


class Killed(BaseException):
    """What a killed process leaves behind, without its death."""


def test_killed_and_resumed(store, parts, tmp_path, monkeypatch):
    real, count = making._make, iter(range(100))

    def dying(make, folder, pixel):
        if next(count) == 3:
            raise Killed
        return real(make, folder, pixel)

    out = tmp_path / "parts"
    monkeypatch.setattr(making, "_make", dying)
    with pytest.raises(Killed):
        survey_tools.partition(store, out, rows=ROWS)
    assert not out.exists()
    assert dict(survey_tools.describe(out))["partitions"] == f"3 of {len(parts.partitions)} made"
    with pytest.raises(StoreError, match="begun with other rows"):
        survey_tools.partition(store, out, rows=9)
    survey_tools.partition(store, out, rows=ROWS)
    assert files(out) == files(parts.path)


def blocks(names, ra, dec, size):
    for start in range(0, len(ra), size):
        part = slice(start, start + size)
        yield Table({"object_id": names[part], "ra": ra[part], "dec": dec[part]})


def test_a_catalogue_is_sorted_block_by_block(tmp_path):
    ra, dec = positions(500)
    names = np.array([f"object {n}" for n in range(500)])
    pixels = spill(blocks(names, ra, dec, 60), tmp_path / "few", 100, Engine(2))
    assert spill(blocks(names, ra, dec, 500), tmp_path / "one", 100, Engine()) == pixels
    found = [read_part(tmp_path / "few" / f"{pixel.name}.parquet") for pixel in pixels]
    assert max(len(table) for table in found) <= 100
    assert sorted(name for table in found for name in table["object_id"]) == sorted(names)
    assert files(tmp_path / "few") == files(tmp_path / "one")
    names[300], ra[300], dec[300] = names[5], ra[5], dec[5]
    with pytest.raises(CatalogueError, match="row 301 of the catalogue: object_id is 'object 5', which row 6 has too"):
        spill(blocks(names, ra, dec, 60), tmp_path / "twice", 100, Engine())
