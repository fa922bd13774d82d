import numpy as np
import pytest
import zarr
from astropy.table import Table
from numpy.testing import assert_array_equal

from survey_tools.errors import StoreError
from survey_tools.store.zarr_store import create, read_images
from survey_tools.surveys import CFHT

COUNT = 10  # objects, in chunks of 4, 4 and 2


@pytest.fixture
def store(tmp_path):
    """A store of noise, the second chunk of which has no pixel."""
    names = np.arange(COUNT).astype(str)
    catalogue = Table({"object_id": names, "ra": np.zeros(COUNT), "dec": np.zeros(COUNT), "redshift": np.zeros(COUNT)})
    begun = create(tmp_path / "y.zarr", CFHT, "gr", catalogue, {}, size=12, chunk_bytes=4 * 2 * 12 * 12 * 4)
    random = np.random.default_rng(0)
    for rows in begun.chunks()[::2]:
        images = random.normal(0, 1, (rows.stop - rows.start, 2, 12, 12)).astype(np.float32)
        begun.write(rows, images, np.zeros(images.shape, bool))
    return begun.finish(Table({"object_id": names, "status": ["done"] * COUNT}))


@pytest.mark.parametrize("number", [0, 1, 2])
def test_they_are_those_that_zarr_reads(store, number):
    images = read_images(store, number)
    assert_array_equal(images, store.images[store.chunks()[number]])
    assert len(images) == (4, 4, 2)[number]
    assert np.isnan(images).all() == (number == 1)


def test_zarr_does_not_read_what_can_be_decoded_without(store, monkeypatch):
    monkeypatch.setattr(zarr.Array, "__getitem__", lambda array, rows: pytest.fail("read by Zarr"))
    assert len(read_images(store, 0)) == 4


def test_what_is_laid_out_otherwise_is_read_by_zarr(store):
    expected = store.images[:]
    for options in ({"shards": (8, 2, 12, 12)}, {"compressors": zarr.codecs.GzipCodec()}):
        shape = {"shape": expected.shape, "chunks": store.images.chunks, "dtype": "f4", "fill_value": np.nan}
        other = zarr.open_group(store.path, mode="r+").create_array("other", overwrite=True, **shape, **options)
        other[:] = expected
        store.images = other
        assert_array_equal(np.concatenate([read_images(store, number) for number in range(3)]), expected)


def test_a_damaged_chunk_is_named(store):
    path = store.path / "images" / "c" / "0" / "0" / "0" / "0"
    for damaged in (path.read_bytes()[:16], b"", bytes(100)):
        path.write_bytes(damaged)
        with pytest.raises(StoreError, match=r"images/c/0/0/0/0 .* `galtrans verify .*y.zarr`"):
            read_images(store, 0)
