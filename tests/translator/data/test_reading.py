import numpy as np
import pytest
from numpy.testing import assert_array_equal

from survey_tools.surveys import SDSS
from translator.data import reading
from translator.data.reading import image_bytes, read_apart, read_rows


@pytest.fixture
def many(tmp_path, tiny_store):
    """A store of 50 images in chunks of four."""
    return tiny_store(tmp_path / "x.zarr", SDSS, 12, 150 + 0.1 * np.arange(50), chunk_bytes=4 * 2 * 12 * 12 * 4)


@pytest.mark.parametrize("read", [read_rows, read_apart])
@pytest.mark.parametrize("rows", [[49, 0, 17, 3, 17, 48], [8, 10, 9], [11], [49, 48]])
def test_reads_rows_of_many_chunks_in_their_order(many, read, rows):
    assert_array_equal(np.stack(read(many, np.array(rows))), many.images[:][rows])


def test_few_rows_of_a_large_block_are_read_without_the_others(tmp_path, tiny_store, monkeypatch):
    many = tiny_store(tmp_path / "x.zarr", SDSS, 192, 150 + 0.1 * np.arange(50))
    assert (many.images.chunks[0], many.block_rows) == (1, 32)
    images = many.images[:]
    monkeypatch.setattr(reading, "read_images_in_bands", lambda store, number: pytest.fail("read whole"))
    for read in (read_rows, read_apart):
        assert_array_equal(np.stack(read(many, np.array([40, 3, 9]))), images[[40, 3, 9]])


def test_few_rows_of_a_chunk_do_not_keep_it_in_memory(many):
    (image,) = read_apart(many, np.array([5]))
    assert image.base.nbytes == image_bytes(many)
    one, other = read_apart(many, np.array([5, 6]))
    assert one.base is not None
    assert np.shares_memory(one.base, other.base)
