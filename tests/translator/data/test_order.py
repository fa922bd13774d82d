from collections import Counter

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from translator.data.streams import LANES, Order
from translator.images import WHOLE, Share

CHUNKS = np.arange(1000) // 16  # of 1000 objects in chunks of 16


def epoch_of(order, size, count, epoch, share=WHOLE):
    """The objects that an epoch gives to a process, in the order it has them, with the batch of each."""
    each = size // share.count
    batches = range(epoch * count // size, -(-(epoch + 1) * count // size))
    objects = np.concatenate([order.objects(number, share) for number in batches])
    position = (np.array(batches)[:, None] * size + share.rank * each + np.arange(each)).ravel()
    inside = (position >= epoch * count) & (position < (epoch + 1) * count)
    return objects[inside], position[inside] // size


@pytest.mark.parametrize(("size", "count"), [(24, 1000), (24, 960), (7, 1000), (1, 50), (24, 30), (24, 5), (50, 1)])
def test_every_object_once_an_epoch_in_another_order_each_time(size, count):
    order = Order(CHUNKS[:count], size, (0, 0))
    epochs = [epoch_of(order, size, count, epoch)[0] for epoch in range(3)]
    for objects in epochs:
        assert_array_equal(np.sort(objects), np.arange(count))
    assert count < 5 or not np.array_equal(epochs[0], epochs[1])


def test_it_depends_on_the_seed_and_the_number_alone():
    order, again = Order(CHUNKS, 24, (7, 0)), Order(CHUNKS, 24, (7, 0))
    expected = [order.objects(number, WHOLE) for number in range(130)]
    for number in (129, 3, 64):
        assert_array_equal(again.objects(number, WHOLE), expected[number])
    assert not np.array_equal(Order(CHUNKS, 24, (8, 0)).objects(3, WHOLE), expected[3])
    assert not np.array_equal(Order(CHUNKS, 24, (7, 1)).objects(3, WHOLE), expected[3])


@pytest.mark.parametrize("processes", [1, 2, 3, 4, 6, 8, 12, 24])
def test_processes_have_one_after_the_other_what_one_process_has(processes):
    order = Order(CHUNKS, 24, (0, 0))
    for number in (0, 41, 42, 1000):
        parts = [order.objects(number, Share(rank, processes)) for rank in range(processes)]
        assert_array_equal(np.concatenate(parts), order.objects(number, WHOLE))


@pytest.mark.parametrize("processes", [2, 4, 8])
def test_processes_read_different_chunks_but_for_one_at_each_cut(processes):
    order = Order(CHUNKS, 24, (0, 0))
    for epoch in range(3):
        read = [
            np.unique(CHUNKS[epoch_of(order, 24, 1000, epoch, Share(rank, processes))[0]]) for rank in range(processes)
        ]
        twice = [chunk for chunk, times in Counter(np.concatenate(read).tolist()).items() if times > 1]
        assert len(twice) <= processes - 1


def test_a_batch_mixes_as_many_chunks_as_there_are_lanes():
    order = Order(CHUNKS, 24, (0, 0))
    chunks = [len(np.unique(CHUNKS[order.objects(number, WHOLE)])) for number in range(100)]
    assert np.mean(chunks) > 0.9 * LANES


@pytest.mark.parametrize("size", [24, 8, 20, 7])
def test_no_chunk_is_opened_twice_in_an_epoch_and_no_more_are_open_than_lanes(size):
    order = Order(CHUNKS, size, (0, 0))
    for epoch in range(4):
        objects, batch = epoch_of(order, size, 1000, epoch)
        open_in = {chunk: batch[CHUNKS[objects] == chunk] for chunk in np.unique(CHUNKS)}
        for batches in open_in.values():
            assert_array_equal(np.unique(batches), np.arange(batches.min(), batches.max() + 1))
        for number in np.unique(batch):  # those that are needed now and in the next batch too
            assert sum(number in some and number + 1 in some for some in open_in.values()) <= LANES


def test_how_many_lanes_are_a_process_s():
    order = Order(CHUNKS, 24, (0, 0))
    assert order.lanes_of(WHOLE) == 8
    assert [order.lanes_of(Share(rank, 3)) for rank in range(3)] == [3, 4, 3]
    assert Order(CHUNKS, 4, (0, 0)).lanes_of(WHOLE) == 4
