import errno
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from survey_tools.errors import RunError
from survey_tools.surveys import CFHT, SDSS
from translator.data import reading, streamed
from translator.data.selection import Selection
from translator.data.streamed import Chunks, FromFile, Scattered, is_scattered, open_sources
from translator.data.streams import PAIRS, UNPAIRED_X, UNPAIRED_Y, X, Y, make_streams
from translator.images import WHOLE


@pytest.fixture
def stores(tmp_path, tiny_store):
    """Stores of 96 images each, in chunks of eight and of four."""
    ra = 150 + 0.1 * np.arange(96)
    x = tiny_store(tmp_path / "x.zarr", SDSS, 6, ra, chunk_bytes=8 * 2 * 6 * 6 * 4)
    return x, tiny_store(tmp_path / "y.zarr", CFHT, 12, ra, chunk_bytes=4 * 2 * 12 * 12 * 4)


@pytest.fixture
def chunks_read(monkeypatch):
    """How often each chunk is read, by store and number."""
    seen, read = Counter(), reading.read_chunk

    def counted(store, number):
        seen[store.survey["name"], number] += 1
        return read(store, number)

    monkeypatch.setattr(reading, "read_chunk", counted)
    return seen


@pytest.fixture
def pool():
    with ThreadPoolExecutor(2) as pool:
        yield pool


def read(stores, selection, batches, size, pool):
    """The images of all streams, batch after batch: (batch, slot) lists of rows, checked to be those of the rows."""
    streams = make_streams(stores, selection, size, 0, WHOLE)
    opened, files = open_sources(stores, streams, pool)
    whole = [store.images[:] for store in stores]
    for number in range(batches):
        for stream, some in zip(streams, opened, strict=True):
            objects, following = stream.objects(number), stream.objects(number + 1)
            for source, which, rows in zip(some, stream.stores, stream.rows[objects].T, strict=True):
                assert_array_equal(np.stack(source.ask(objects, following)()), whole[which][rows])
    for file in files:
        file.close()
    return opened


def test_chunks_are_read_once_an_epoch(stores, chunks_read, pool):
    """All rows train, unpaired: 96 of each in batches of 8 are 12 batches."""
    selection = Selection(np.arange(96), np.arange(96), np.zeros((0, 2), int), {})
    (x,), (y,) = read(stores, selection, 12, 8, pool)
    assert isinstance(x, Chunks)
    assert isinstance(y, Chunks)
    assert set(chunks_read.values()) == {1}
    assert len(chunks_read) == 12 + 24


def test_stores_of_fewer_chunks_than_lanes_are_read_once_for_all(stores, chunks_read, pool):
    selection = Selection(np.arange(64), np.arange(32), np.zeros((0, 2), int), {})
    read(stores, selection, 40, 8, pool)
    assert set(chunks_read.values()) == {1}


def test_rows_of_chance_are_read_once_for_all(stores, chunks_read, pool):
    """Catalogues in different orders, and few pairs: each chunk is read once, for unpaired and pairs together."""
    random = np.random.default_rng(0)
    x, y = random.permutation(96), random.permutation(96)
    selection = Selection(np.sort(x[30:55]), np.sort(y[30:55]), np.column_stack([x[:30], y[:30]]), {})
    opened = read(stores, selection, 20, 8, pool)
    assert all(isinstance(source, FromFile) for some in opened for source in some)
    assert set(chunks_read.values()) == {1}


def test_pairs_in_the_order_of_both_stores_need_no_file_of_y(stores, chunks_read, pool):
    selection = Selection(np.arange(48), np.arange(48), np.column_stack([np.arange(48, 96)] * 2), {})
    opened = read(stores, selection, 6, 8, pool)
    assert isinstance(opened[PAIRS][1], Chunks)
    assert isinstance(opened[UNPAIRED_X][0], Chunks)
    assert isinstance(opened[UNPAIRED_Y][0], Chunks)
    assert {times for (name, _), times in chunks_read.items() if name == "cfht"} == {1}


def test_what_is_scattered(stores):
    x = stores[X]
    rows = np.arange(96)
    assert not is_scattered(x, rows, rows // 8)
    assert is_scattered(x, rows[::3], rows[::3] // 8)
    assert is_scattered(x, rows, np.random.default_rng(0).permutation(96) // 8)


def test_a_disk_without_room_is_said_and_rows_are_read_all_the_same(stores, monkeypatch, caplog, pool):
    monkeypatch.setattr(streamed.shutil, "disk_usage", lambda folder: SimpleNamespace(free=1000))
    random = np.random.default_rng(0)
    pairs = np.column_stack([random.permutation(96), np.arange(96)])
    opened = read(stores, Selection(np.arange(8), np.arange(4), pairs, {}), 12, 8, pool)
    assert all(isinstance(source, Chunks) for some in opened for source in some)
    assert "no room to keep them; set TMPDIR" in caplog.text


def test_a_disk_that_fills_is_an_error_in_one_line(stores, monkeypatch, pool):
    class Full:
        def seek(self, place):
            pass

        def write(self, data):
            raise OSError(errno.ENOSPC, "No space left on device")

        def close(self):
            pass

    monkeypatch.setattr("translator.data.streamed.tempfile.TemporaryFile", lambda buffering: Full())
    file = Scattered(stores[Y], np.array([3, 50]), pool)
    with pytest.raises(RunError, match=r"cannot be kept there \(No space left on device\); make room for 2.3 kB"):
        file.ask(np.array([50]))[0].result()
