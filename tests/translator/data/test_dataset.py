from collections import Counter

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from torch.utils.data import DataLoader

from survey_tools.errors import StoreError
from survey_tools.surveys import SDSS
from translator.data.dataset import Dataset

COUNT, SIZE, CHUNK = 50, 8, 4


@pytest.fixture(scope="module")
def store(tmp_path_factory, tiny_store):
    """50 objects in 13 chunks, of which one has a missing pixel."""
    path, chunk_bytes = tmp_path_factory.mktemp("dataset") / "sdss.zarr", CHUNK * 2 * SIZE * SIZE * 4
    return tiny_store(path, SDSS, SIZE, 150 + 0.1 * np.arange(COUNT), spoilt=[17], chunk_bytes=chunk_bytes)


def rows_of(loader) -> list[int]:
    return [row for batch in loader for row in batch["row"].tolist()]


def test_a_sample_is_an_image_with_what_is_known_of_it(store):
    assert store.block_rows == CHUNK
    for sample in Dataset(store):
        row = sample["row"]
        assert_array_equal(sample["image"].numpy(), store.images[row])
        assert_array_equal(sample["mask"].numpy(), store.mask[row])
        assert sample["object_id"] == store.column("object_id")[row]
        for name in ("psf_fwhm", "sky_sigma", "gain"):
            assert sample[name].dtype == torch.float32
            assert_array_equal(sample[name].numpy(), store.column(name)[row].astype(np.float32))
    assert bool(torch.isnan(sample["psf_fwhm"]).all())


def test_samples_may_be_written_into_and_hold_no_chunk(store):
    samples = list(Dataset(str(store.path)))
    assert all(sample["image"].untyped_storage().nbytes() == 2 * SIZE * SIZE * 4 for sample in samples)
    samples[0]["image"].add_(1)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # of workers, on a machine with fewer cores
@pytest.mark.parametrize("workers", [0, 1, 2, 3])
@pytest.mark.parametrize("keep", [False, True])
def test_no_object_comes_twice_and_none_is_lost(store, workers, keep):
    loader = DataLoader(
        Dataset(store, mixed=2), batch_size=7, num_workers=workers, persistent_workers=keep and workers > 0
    )
    epochs = [rows_of(loader) for _ in range(3)]
    assert all(sorted(rows) == list(range(COUNT)) for rows in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert epochs[0] != sorted(epochs[0])


def test_a_process_that_is_started_anew_reads_the_same(store):
    loader = DataLoader(Dataset(store), batch_size=7, num_workers=1, multiprocessing_context="spawn")
    assert sorted(rows_of(loader)) == list(range(COUNT))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("keep", [False, True])
def test_an_epoch_that_is_set_has_one_order(store, workers, keep):
    dataset = Dataset(store, seed=3)
    loader = DataLoader(dataset, batch_size=5, num_workers=workers, persistent_workers=keep and workers > 0)
    orders = []
    for epoch in (0, 1, 0):
        dataset.set_epoch(epoch)
        orders.append(rows_of(loader))
    assert orders[0] == orders[2] != orders[1]
    dataset = Dataset(store, seed=4)
    dataset.set_epoch(0)
    assert rows_of(DataLoader(dataset, batch_size=5, num_workers=workers)) != orders[0]


def test_objects_of_several_chunks_are_mixed_and_chunks_too(store):
    dataset = Dataset(store, mixed=4)
    firsts = Counter()
    for _ in range(60):
        rows = [sample["row"] for sample in dataset]
        assert len({row // CHUNK for row in rows[: 2 * CHUNK]}) > 2  # of 8 objects, out of four chunks
        firsts.update([rows[0]])
    assert len(firsts) > 20


def test_a_store_may_be_read_in_its_order(store):
    assert [sample["row"] for sample in Dataset(store, shuffle=False)] == list(range(COUNT))


def test_some_rows_and_bands(store):
    samples = list(Dataset(store, rows=[40, 3, 3, 17], bands="r"))
    assert sorted(sample["row"] for sample in samples) == [3, 17, 40]
    assert all(sample["image"].shape == (1, SIZE, SIZE) and sample["gain"].shape == (1,) for sample in samples)
    image = next(sample["image"] for sample in samples if sample["row"] == 3)
    assert_array_equal(image.numpy()[0], store.images[3][1])
    turned = next(iter(Dataset(store, rows=[3], bands=("r", "g"))))
    assert_array_equal(turned["image"].numpy(), store.images[3][::-1])
    assert turned["image"].is_contiguous()
    usable = Dataset(store, rows=store.usable)
    assert sorted(sample["row"] for sample in usable) == [row for row in range(COUNT) if row != 17]
    assert list(Dataset(store, rows=[])) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"bands": "gz"}, "has no band 'z'; its bands are g r"),
        ({"bands": ""}, "has no band ''"),
        ({"rows": [3, 50]}, "has no row 50; its 50 objects are rows 0 to 49"),
        ({"rows": [-1]}, "has no row -1"),
        ({"rows": np.ones(3, bool)}, r"has 50 objects, and the mask of rows has shape \(3,\)"),
    ],
)
def test_rows_and_bands_that_are_not_there_are_named(store, arguments, said):
    with pytest.raises(StoreError, match=said):
        Dataset(store, **arguments)


def test_a_store_that_is_not_there(tmp_path):
    with pytest.raises(StoreError, match="does not exist"):
        Dataset(tmp_path / "none.zarr")
