import gc
from dataclasses import replace

import numpy as np

from translator.metrics import measure


def test_pieces_together_are_the_sample(oracle, monkeypatch):
    monkeypatch.setattr(measure, "PIECE", 7)
    assert [len(piece) for piece in measure.pieces(oracle)] == [7, 7, 7, 3]
    whole = measure.in_pieces(lambda sample: {"sum": sample.output.sum(axis=(2, 3))})(oracle)
    np.testing.assert_array_equal(whole["sum"], oracle.output.sum(axis=(2, 3)))


def test_what_is_remembered_is_measured_once_and_forgotten_with_its_sample(oracle):
    asked = []
    count = measure.remembered(lambda sample: asked.append(1) or len(asked))
    first, second = replace(oracle), replace(oracle)
    assert [count(first), count(first), count(second), count(first)] == [1, 1, 2, 1]
    del first
    gc.collect()
    assert count(replace(oracle)) == 3


def test_what_is_kept_of_pixels_is_measured_once_and_the_oldest_goes():
    asked = []
    count = measure.kept(2)(lambda pixels, scale: asked.append(1) or len(asked))
    image, other = np.zeros((2, 3)), np.ones((2, 3))
    assert [count(image, 1.0), count(image.copy(), 1.0), count(image, 2.0), count(other, 1.0)] == [1, 1, 2, 3]
    assert count(image.astype(np.float32), 2.0) == 4  # other bytes
    assert [count(other, 1.0), count(image, 1.0)] == [3, 5]
