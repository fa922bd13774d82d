from collections import Counter

import numpy as np
from numpy.testing import assert_array_equal

from translator.data.selection import select
from translator.data.streams import PAIRS, Stream, X, Y, make_streams
from translator.images import WHOLE, Share


def test_symmetries_are_drawn_uniformly_and_shared_as_slots_are(tiny):
    selection = select(tiny.x, tiny.y, tiny.pairs)
    whole = make_streams((tiny.x, tiny.y), selection, 6, 0, WHOLE)
    parts = [make_streams((tiny.x, tiny.y), selection, 6, 0, Share(rank, 3)) for rank in range(3)]
    drawn = Counter()
    for number in range(200):
        symmetries = whole[PAIRS].symmetries(number)
        assert_array_equal(np.concatenate([part[PAIRS].symmetries(number) for part in parts]), symmetries)
        drawn.update(symmetries.tolist())
    assert set(drawn) == set(range(8))
    assert max(drawn.values()) < 1.5 * min(drawn.values())


def test_a_pair_is_grouped_by_its_chunk_of_y():
    rows = np.array([[0, 9], [50, 8], [51, 3], [7, 15]])
    stream = Stream(PAIRS, (X, Y), rows, (16, 4), 2, 0, WHOLE)
    assert_array_equal(stream.group, [1, 1, 0, 2])


def test_the_streams_of_a_selection_are_in_the_order_of_a_batch(tiny):
    for reads_pairs, stores in ((True, [(X,), (Y,), (X, Y)]), (False, [(X,), (Y,)])):
        selection = select(tiny.x, tiny.y, tiny.pairs, reads_pairs=reads_pairs)
        assert [each.stores for each in make_streams((tiny.x, tiny.y), selection, 6, 0, WHOLE)] == stores
