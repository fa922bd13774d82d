from collections import Counter

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from survey_tools import store as store_module
from survey_tools.surveys import SDSS
from translator import batches as module
from translator.batches import Batches, Stream, read_rows, turn_and_mirror
from translator.intensity import unstretch
from translator.selection import select

CPU = torch.device("cpu")


@pytest.fixture
def many(tmp_path, tiny_store, monkeypatch):
    """A store of 50 images in chunks of four."""
    monkeypatch.setattr(store_module, "CHUNK_BYTES", 4 * 2 * 12 * 12 * 4)
    return tiny_store(tmp_path / "x.zarr", SDSS, 12, 150 + 0.1 * np.arange(50), sky=0.0)


def number(images):
    """Which rows images of a noiseless tiny store are: their peaks grow with the row."""
    peaks = images.max(axis=(1, 2, 3))
    return np.round(peaks / peaks_of_one()).astype(int) - 1


def peaks_of_one():
    row, col = (np.indices((12, 12)) - 5.5) / 12
    return np.exp(-(row**2 + 2 * col**2) * 30).max()


def test_reads_rows_of_many_chunks_in_their_order(many):
    rows = np.array([49, 0, 17, 3, 17, 48])
    assert_array_equal(number(read_rows(many, rows)), rows)


def test_every_row_once_an_epoch_in_another_order_each_time(many):
    rows = np.arange(5, 48)
    stream = Stream((many,), rows[:, None], (0, 0))
    first, second = (number(stream.take(start, 43)[0]) for start in (0, 43))
    assert_array_equal(np.sort(first), rows)
    assert_array_equal(np.sort(second), rows)
    assert not np.array_equal(first, second)


def test_a_stream_does_not_depend_on_how_it_is_read(many):
    whole = number(Stream((many,), np.arange(50)[:, None], (7, 0)).take(0, 130)[0])
    parts = Stream((many,), np.arange(50)[:, None], (7, 0))
    assert_array_equal(np.concatenate([number(parts.take(s, 26)[0]) for s in range(0, 130, 26)]), whole)
    assert_array_equal(number(Stream((many,), np.arange(50)[:, None], (7, 0)).take(99, 5)[0]), whole[99:104])
    assert not np.array_equal(number(Stream((many,), np.arange(50)[:, None], (8, 0)).take(0, 130)[0]), whole)


def test_whole_chunks_are_read_once_an_epoch(many, monkeypatch):
    seen = Counter()

    def read(store, rows):
        seen.update(np.unique(rows // 4).tolist())
        return read_rows(store, rows)

    monkeypatch.setattr(module, "read_rows", read)
    stream = Stream((many,), np.arange(50)[:, None], (0, 0))
    for start in range(0, 50, 5):
        stream.take(start, 5)
    assert set(seen) == set(range(13))
    assert set(seen.values()) == {1}


def test_the_eight_symmetries_are_eight_and_orthogonal():
    image = torch.arange(9.0).reshape(1, 1, 3, 3).expand(8, -1, -1, -1)
    turned = turn_and_mirror(image, np.arange(8))
    assert len({tuple(one.flatten().tolist()) for one in turned}) == 8
    assert_array_equal(turned[:, 0, 1, 1], 4)
    assert_array_equal(turned[1, 0], np.rot90(image[0, 0].numpy()))
    assert_array_equal(turned[4, 0], np.fliplr(image[0, 0].numpy()))


def test_batches_are_stretched_turned_pairs_alike_and_uniform(tiny):
    batches = Batches((tiny.x, tiny.y), select(tiny.x, tiny.y, tiny.pairs), 4, 0, CPU)
    batch = next(batches)
    assert batch.x.shape == batch.pair_x.shape == (4, 2, 16, 16)
    assert batch.y.shape == batch.pair_y.shape == (4, 2, 36, 36)
    assert batch.x.dtype == torch.float32
    symmetries = Counter()
    for _ in range(60):
        for images, symmetry in batches._gather(batches.iteration)[:1]:
            symmetries.update(symmetry.tolist())
            assert images.shape == (4, 2, 16, 16)
        batch = next(batches)
        wide = [
            (unstretch(images).std(axis=2).mean(axis=(1, 2)) > unstretch(images).std(axis=3).mean(axis=(1, 2)))
            for images in (batch.pair_x, batch.pair_y)
        ]  # the galaxies are longer along one axis than along the other
        assert_array_equal(*wide)
    batches.close()
    assert set(symmetries) == set(range(8))
    assert max(symmetries.values()) < 2.5 * min(symmetries.values())


def test_no_turn_changes_the_flux_of_the_store(tiny):
    batches = Batches((tiny.x, tiny.y), select(tiny.x, tiny.y, tiny.pairs), 6, 0, CPU)
    flux = np.sort(unstretch(next(batches).x).sum(axis=(1, 2, 3)).numpy())
    batches.close()
    assert_allclose(flux, np.sort(tiny.x.images[:6].sum(axis=(1, 2, 3))), rtol=1e-4)


def test_going_on_at_an_iteration_gives_the_same_batches(tiny):
    selection = select(tiny.x, tiny.y, tiny.pairs)
    through = Batches((tiny.x, tiny.y), selection, 4, 3, CPU)
    expected = [next(through) for _ in range(9)][6:]
    again = Batches((tiny.x, tiny.y), selection, 4, 3, CPU)
    next(again)
    again.iteration = 6
    for batch in expected:
        taken = next(again)
        assert all(torch.equal(getattr(taken, name), getattr(batch, name)) for name in ("x", "y", "pair_x", "pair_y"))
    through.close()
    again.close()


def test_fewer_objects_than_a_batch_come_more_than_once(tiny):
    batches = Batches((tiny.x, tiny.y), select(tiny.x, tiny.y, tiny.pairs), 24, 0, CPU)
    batch = next(batches)
    assert len(batch.x) == len(batch.pair_y) == 24
    batches.close()


def test_an_unreadable_store_is_heard_of(tiny, monkeypatch):
    batches = Batches((tiny.x, tiny.y), select(tiny.x, tiny.y, tiny.pairs), 4, 0, CPU)
    monkeypatch.setattr(module, "read_rows", lambda store, rows: (_ for _ in ()).throw(OSError("disk on fire")))
    with pytest.raises(OSError, match="disk on fire"):
        next(batches)
    batches.close()
