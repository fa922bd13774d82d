"""Shard files hold what Zarr says they hold, to the byte, however they came to be."""

import hashlib
import shutil

import google_crc32c
import numpy as np
import pytest
import zarr
from astropy.table import Table
from numpy.testing import assert_array_equal

from survey_tools import open_store
from survey_tools.errors import StoreError
from survey_tools.store import zarr_store
from survey_tools.store.place import Folder
from survey_tools.store.shards import Layout, ShardReader, chunks_of, encode, join, write_chunks
from survey_tools.store.verify import verify
from survey_tools.store.zarr_store import create, open_begun, rows_together
from survey_tools.surveys import CFHT, SDSS

SHAPE = (22, 2, 8, 8)  # in files of 16 objects and chunks of 2


@pytest.fixture
def values():
    """Noise; the third and fourth objects, a chunk, have no pixel."""
    values = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    values[2:4] = np.nan
    return values


def write(folder, values, layout) -> None:
    chunks = encode(layout, values)
    for number in range(2):
        some = chunks[number * 8 : (number + 1) * 8]
        write_chunks(folder / layout.file(number), some + [None] * (8 - len(some)))


@pytest.fixture
def layout(tmp_path, values):
    layout = Layout("a", SHAPE, "<f4", np.nan, 2, 16)
    write(tmp_path, values, layout)
    return layout


def test_zarr_reads_what_is_written_here(tmp_path, values, layout):
    codecs = [zarr.codecs.BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle"), zarr.codecs.Crc32cCodec()]
    shards = {"shape": (16, *SHAPE[1:]), "index_location": "start"}
    options = {"chunks": (2, *SHAPE[1:]), "compressors": codecs, "fill_value": np.nan, "dtype": "f4"}
    before = {number: (tmp_path / layout.file(number)).read_bytes() for number in range(2)}
    array = zarr.create_array(tmp_path / "a", shape=SHAPE, shards=shards, **options, overwrite=True)
    for number, data in before.items():
        (tmp_path / layout.file(number)).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / layout.file(number)).write_bytes(data)
    assert_array_equal(array[:], values)
    array[:] = values
    assert_array_equal(ShardReader(layout, Folder(tmp_path).read).rows(0, 22), values)


@pytest.mark.parametrize(("start", "stop"), [(0, 22), (0, 1), (1, 2), (3, 17), (15, 16), (16, 22), (21, 22), (5, 5)])
def test_any_rows_are_read(tmp_path, values, layout, start, stop):
    assert_array_equal(ShardReader(layout, Folder(tmp_path).read).rows(start, stop), values[start:stop])


def test_one_row_needs_the_index_and_its_chunk_only(tmp_path, values, layout):
    asked = []

    def read(name, start, length):
        asked.append((name, start, length))
        return Folder(tmp_path).read(name, start, length)

    reader = ShardReader(layout, read)
    reader.rows(9, 10)
    place, length = chunks_of(tmp_path / layout.file(0), 8)[4][1:]
    assert asked == [("a/c/0/0/0/0", 0, 8 * 16 + 4), ("a/c/0/0/0/0", place, length)]
    reader.rows(8, 9)
    assert len(asked) == 3  # the index is kept


def test_chunks_in_any_order_are_read(tmp_path, values, layout):
    """As other programs may write them."""
    path = tmp_path / layout.file(0)
    data, places = path.read_bytes(), chunks_of(path, 8)
    index, body = [], b""
    for each in places[::-1]:
        index.append((2**64 - 1,) * 2 if each is None else (8 * 16 + 4 + len(body), each[2]))
        body += b"" if each is None else data[each[1] : each[1] + each[2]]
    table = np.array(index[::-1], "<u8").tobytes()
    path.write_bytes(table + google_crc32c.value(table).to_bytes(4, "little") + body)
    assert_array_equal(ShardReader(layout, Folder(tmp_path).read).rows(0, 16), values[:16])


def test_files_are_joined_without_being_decoded(tmp_path, values, layout):
    path = tmp_path / layout.file(0)
    parts = [*chunks_of(path, 8)]
    for each in (0, 5):  # two chunks come from files of their own
        write_chunks(tmp_path / f"part{each}", encode(layout, values[2 * each : 2 * each + 2]))
        parts[each] = chunks_of(tmp_path / f"part{each}", 1)[0]
    digest = join(tmp_path / "joined", parts)
    assert (tmp_path / "joined").read_bytes() == path.read_bytes()
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert join(tmp_path / "joined", [None] * 8) is None
    assert not (tmp_path / "joined").exists()


def test_every_changed_bit_is_found(tmp_path, values, layout):
    path = tmp_path / layout.file(1)
    sound = path.read_bytes()
    for place in np.random.default_rng(1).integers(0, len(sound), 200).tolist():
        data = bytearray(sound)
        data[place] ^= 1
        path.write_bytes(data)
        with pytest.raises(ValueError, match=r"index is damaged|CRC32C"):
            ShardReader(layout, Folder(tmp_path).read).rows(16, 22)
    for cut in (0, 100, len(sound) - 1):
        path.write_bytes(sound[:cut])
        with pytest.raises(ValueError, match=r"damaged|shorter"):
            ShardReader(layout, Folder(tmp_path).read).rows(16, 22)


@pytest.mark.parametrize(("survey", "expected"), [(SDSS, (4, 128, 8192)), (CFHT, (1, 32, 8192))])
def test_a_large_store_has_at_most_three_files_for_ten_thousand_objects(survey, expected):
    chunk, block, shard = rows_together(10**8, 5, survey.cutout_size)
    assert (chunk, block, shard) == expected
    columns = 21 / (zarr_store.COLUMN_ROWS * zarr_store.COLUMN_CHUNKS)
    assert 1000 * (2 / shard + columns) <= 0.3


@pytest.mark.parametrize("count", [0, 1, 3, 100, 9000])
@pytest.mark.parametrize("size", [4, 64, 136, 3000])
def test_files_hold_whole_blocks_and_blocks_whole_chunks(count, size):
    chunk, block, shard = rows_together(count, 5, size)
    assert block % chunk == shard % block == 0
    assert block * 5 * size**2 * 4 <= 2**24 or block == 1
    assert shard < count + block or shard == block


def many(path, count: int):
    """A store of small images and many rows; several files of pixels and of columns where these are made small."""
    names = [f"object {row}" for row in range(count)]
    table = Table({"object_id": names, "ra": np.arange(count) / 9, "dec": np.zeros(count), "redshift": np.ones(count)})
    return create(path, SDSS, "gr", table, {}, size=4, chunk_bytes=4 * 2 * 4 * 4 * 4)


def fill(store) -> Table:
    for rows in store.chunks()[::-1]:
        images = np.ones((rows.stop - rows.start, 2, 4, 4), np.float32)
        images *= np.arange(rows.start, rows.stop)[:, None, None, None]
        store.write(rows, images, np.zeros(images.shape, bool))
    for part in store.column_parts():
        source = [[f"{row}-{band}" for band in "gr"] for row in range(part.start, part.stop)]
        rest = {"crval": 0.0, "crpix": 0.0, "cd": np.eye(2), "coverage": 1.0}
        shapes = {"crval": (2,), "crpix": (2,), "cd": (2, 2), "coverage": (2,)}
        columns = {name: np.broadcast_to(rest[name], (len(source), *shape)) for name, shape in shapes.items()}
        store.write_columns(columns | {"source": np.array(source)}, part)
    return Table({"object_id": store.column("object_id"), "status": ["done"] * len(store)})


def test_columns_and_pixels_in_several_files_are_read_and_mended(tmp_path, monkeypatch):
    monkeypatch.setattr(zarr_store, "SHARD_ROWS", 16)
    monkeypatch.setattr(zarr_store, "COLUMN_ROWS", 8)
    monkeypatch.setattr(zarr_store, "COLUMN_CHUNKS", 2)
    begun = many(tmp_path / "a.zarr", 50)
    manifest = fill(begun)
    assert begun.images[40:50, 0, 0, 0].tolist() == list(range(40, 50))  # from blocks
    store = begun.finish(manifest)
    assert len(list((store.path / "images" / "c").iterdir())) == 4
    assert len(list((store.path / "object_id" / "c").iterdir())) == 4
    assert store.column("object_id").tolist() == [f"object {row}" for row in range(50)]
    assert store.column("source", slice(30, 35))[:, 1].tolist() == [f"{row}-r" for row in range(30, 35)]
    assert store.images[:, 1, 2, 3].tolist() == list(range(50))
    assert_array_equal(zarr.open_group(store.path)["images"][:], store.images[:])
    assert store.images[-1].max() == 49
    with pytest.raises(IndexError, match="no row 50"):
        store.images[50]
    shutil.copytree(store.path, tmp_path / "b.zarr.part")
    again = open_begun(tmp_path / "b.zarr.part")
    again.write(slice(20, 24), np.full((4, 2, 4, 4), -1, np.float32), np.zeros((4, 2, 4, 4), bool))
    again.write_columns({"source": np.full((8, 2), "new")}, slice(16, 24))
    assert again.images[19:25, 0, 0, 0].tolist() == [19, -1, -1, -1, -1, 24]
    mended = again.finish()
    assert verify(mended.path) == verify(store.path) == []
    assert mended.images[:, 0, 0, 0].tolist() == [*range(20), -1, -1, -1, -1, *range(24, 50)]
    assert mended.column("source")[:, 0].tolist() == [f"{n}-g" if not 16 <= n < 24 else "new" for n in range(50)]
    (store.path / "images" / "c" / "2" / "0" / "0" / "0").unlink()
    assert open_store(store.path).images[20, 0, 0, 0] == 20
    with pytest.raises(StoreError, match="images/c/2/0/0/0 is missing"):
        open_store(store.path).images[33]


def test_a_row_that_is_no_whole_block_is_not_written(tmp_path):
    store = many(tmp_path / "a.zarr", 9)
    with pytest.raises(ValueError, match="rows 0 to 3 are no whole chunks of 4 rows"):
        store.write(slice(0, 3), np.zeros((3, 2, 4, 4), np.float32), np.zeros((3, 2, 4, 4), bool))
    with pytest.raises(TypeError, match=r"Store\.write"):
        store.images[0:4] = 0
