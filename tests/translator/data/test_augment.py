import numpy as np
import torch
from numpy.testing import assert_array_equal

from translator.data.streams import SYMMETRIES, turn_and_mirror, turned


def test_the_eight_symmetries_are_eight_and_orthogonal():
    image = torch.arange(9.0).reshape(1, 1, 3, 3).expand(8, -1, -1, -1)
    turned = turn_and_mirror(image, np.arange(8))
    assert len({tuple(one.flatten().tolist()) for one in turned}) == 8
    assert_array_equal(turned[:, 0, 1, 1], 4)
    for turns in range(4):
        assert_array_equal(turned[turns, 0], np.rot90(image[0, 0].numpy(), turns))
        assert_array_equal(turned[turns + 4, 0], np.fliplr(np.rot90(image[0, 0].numpy(), turns)))


def test_one_by_one_is_the_same_as_all_at_once():
    images = torch.randn(SYMMETRIES, 2, 5, 5)
    one_by_one = np.stack([turned(image, symmetry) for symmetry, image in enumerate(images.numpy())])
    assert_array_equal(one_by_one, turn_and_mirror(images, np.arange(SYMMETRIES)))
