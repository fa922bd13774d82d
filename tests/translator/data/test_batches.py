from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from survey_tools.errors import RunError
from survey_tools.surveys import CFHT, SDSS
from translator.data import batches as module
from translator.data import reading
from translator.data.batches import Batches
from translator.data.selection import Selection, select
from translator.images import Share

CPU = torch.device("cpu")
NAMES = ("x", "y", "pair_x", "pair_y")


@pytest.fixture
def many(tmp_path, tiny_store):
    """Stores of 120 images in chunks of four, 60 of them pairs whose rows lie scattered in both, and a selection."""
    ra = 150 + 0.1 * np.arange(120)
    x = tiny_store(tmp_path / "x.zarr", SDSS, 6, ra, chunk_bytes=4 * 2 * 6 * 6 * 4)
    y = tiny_store(tmp_path / "y.zarr", CFHT, 12, ra, chunk_bytes=4 * 2 * 12 * 12 * 4)
    random = np.random.default_rng(0)
    pairs = np.column_stack([random.permutation(120)[:60], random.permutation(120)[:60]])
    return SimpleNamespace(stores=(x, y), selection=Selection(np.arange(100), np.arange(20, 120), pairs, {}))


def taken(batches, count, first=0):
    """Batches from number `first` on, each as its four tensors; then none is made any more."""
    made = [batches.batch(number) for number in range(first, first + count)]
    batches.close()
    return [[getattr(batch, name) for name in NAMES] for batch in made]


def assert_same(batches, others):
    for batch, other in zip(batches, others, strict=True):
        assert all(torch.equal(one, another) for one, another in zip(batch, other, strict=True))


@pytest.mark.parametrize("data", ["stream", "device"])
def test_batches_are_flux_turned_evenly_and_both_of_a_pair_alike(tiny, data):
    batches = Batches((tiny.x, tiny.y), select(tiny.x, tiny.y, tiny.pairs), 4, 0, CPU, data=data)
    batch = batches.batch(0)
    assert batch.x.shape == batch.pair_x.shape == (4, 2, 16, 16)
    assert batch.y.shape == batch.pair_y.shape == (4, 2, 36, 36)
    assert batch.x.dtype == torch.float32
    assert all(getattr(batch, name).is_contiguous(memory_format=torch.channels_last) for name in NAMES)
    wide = Counter()
    for number in range(1, 61):
        batch = batches.batch(number)
        both = [
            (images.std(axis=2).mean(axis=(1, 2)) > images.std(axis=3).mean(axis=(1, 2)))
            for images in (batch.pair_x, batch.pair_y)
        ]  # the galaxies are longer along one axis than along the other
        assert_array_equal(*both)
        wide.update(both[0].tolist())
    batches.close()
    assert 0.4 < wide[True] / wide.total() < 0.6


@pytest.mark.parametrize("data", ["stream", "device"])
def test_no_turn_changes_the_flux_of_the_store(tiny, data):
    batches = Batches((tiny.x, tiny.y), select(tiny.x, tiny.y, tiny.pairs), 6, 0, CPU, data=data)
    flux = np.sort(batches.batch(0).x.sum(axis=(1, 2, 3)).numpy())
    batches.close()
    assert_allclose(flux, np.sort(tiny.x.images[:6].sum(axis=(1, 2, 3))), rtol=1e-4)


def test_images_kept_in_memory_are_those_read_from_disk_to_the_bit(many):
    read, kept = (Batches(many.stores, many.selection, 24, 3, CPU, data=data) for data in ("stream", "device"))
    assert_same(taken(read, 12), taken(kept, 12))


@pytest.mark.parametrize("data", ["stream", "device"])
def test_going_on_at_an_iteration_gives_the_same_batches(many, data):
    expected = taken(Batches(many.stores, many.selection, 24, 3, CPU), 9)[6:]
    again = Batches(many.stores, many.selection, 24, 3, CPU, data=data)
    again.batch(0)
    assert_same(taken(again, 3, first=6), expected)
    later = Batches(many.stores, many.selection, 24, 3, CPU, data=data)
    assert_same(taken(later, 1, first=8), expected[2:])


@pytest.mark.parametrize("data", ["stream", "device"])
def test_a_batch_may_be_asked_for_twice(many, data):
    batches = Batches(many.stores, many.selection, 24, 3, CPU, data=data)
    first = batches.batch(0)
    assert_same([[getattr(batches.batch(0), name) for name in NAMES]], [[getattr(first, name) for name in NAMES]])
    expected = taken(Batches(many.stores, many.selection, 24, 3, CPU), 3)
    assert_same(taken(batches, 3), expected)


@pytest.mark.parametrize("processes", [2, 3])
def test_processes_have_their_slots_of_the_whole_batch(many, processes):
    whole = taken(Batches(many.stores, many.selection, 24, 3, CPU), 8)
    shares = [Share(rank, processes) for rank in range(processes)]
    parts = [taken(Batches(many.stores, many.selection, 24, 3, CPU, share, "stream"), 8) for share in shares]
    assert_same(
        [[torch.cat(images) for images in zip(*batch, strict=True)] for batch in zip(*parts, strict=True)], whole
    )


def test_fewer_objects_than_a_batch_come_more_than_once(tiny):
    batches = Batches((tiny.x, tiny.y), select(tiny.x, tiny.y, tiny.pairs), 24, 0, CPU)
    batch = batches.batch(0)
    assert len(batch.x) == len(batch.pair_y) == 24
    batches.close()


@pytest.mark.parametrize("data", ["stream", "device"])
def test_what_a_store_knows_of_an_image_comes_with_it(tiny, data):
    batches = Batches((tiny.x, tiny.y), select(tiny.x, tiny.y, tiny.pairs), 4, 0, CPU, data=data)
    flux = {float(image.sum()): tiny.x.column("sky_sigma")[row] for row, image in enumerate(tiny.x.images[:])}
    for number in range(3):
        batch = batches.batch(number)
        assert set(batch.known) == set(NAMES)
        for image, sigma in zip(batch.x, batch.known["x"].sky_sigma, strict=True):
            nearest = min(flux, key=lambda known: abs(known - float(image.sum())))
            assert_allclose(sigma, flux[nearest])
        assert torch.isnan(batch.known["y"].gain).all()
        assert batch.alignment.shape == (4, 2, 3)
    batches.close()


def test_without_pairs_there_are_none(tiny):
    batches = Batches((tiny.x, tiny.y), select(tiny.x, tiny.y, tiny.pairs, reads_pairs=False), 4, 0, CPU)
    assert batches.batch(0).pair_x is None
    batches.close()


def test_what_fits_in_the_memory_of_reading_ahead_is_kept_there(tiny, many, monkeypatch):
    small = Batches((tiny.x, tiny.y), select(tiny.x, tiny.y, tiny.pairs), 4, 0, CPU)
    assert small.data == "137 kB of images kept in main memory as float32"
    monkeypatch.setattr(module, "needed_bytes", lambda stores, streams: 10**15)
    large = Batches(many.stores, many.selection, 4, 0, CPU)
    assert "read from disk ahead of their use, with at most" in large.data
    assert "for those that lie scattered" in large.data
    monkeypatch.setattr(module, "needed_bytes", lambda stores, streams: 10**9)
    monkeypatch.setattr(module, "_main_memory", lambda: 2 * 10**10)
    roomy = Batches(many.stores, many.selection, 4, 0, CPU)
    assert "kept in main memory" in roomy.data
    for batches in (small, large, roomy):
        batches.close()


def test_what_does_not_fit_is_refused_in_one_line(tiny, monkeypatch):
    monkeypatch.setattr(module.os, "sysconf", {"SC_PAGE_SIZE": 1000, "SC_PHYS_PAGES": 10}.get)
    with pytest.raises(RunError, match=r"137 kB of images do not fit into 10 kB of main memory; .*--data stream"):
        Batches((tiny.x, tiny.y), select(tiny.x, tiny.y, tiny.pairs), 4, 0, CPU, data="device")


@pytest.mark.parametrize(
    ("free", "data", "dtype"),
    [
        (1000, "auto", torch.float32),
        (150, "auto", torch.float16),
        (80, "auto", None),
        (150, "device", torch.float32),
        (80, "device", torch.float16),
    ],
)
def test_a_gpu_keeps_images_in_the_type_that_fits(free, data, dtype):
    assert module.type_that_fits(100, free, torch.device("cuda"), data) == dtype


def test_a_gpu_too_small_for_float16_is_an_error_where_it_was_asked_for():
    with pytest.raises(RunError, match=r"50 B of images, as float16, do not fit into the 50 B of cuda that are free"):
        module.type_that_fits(100, 50, torch.device("cuda"), "device")


def test_waiting_is_counted(tiny):
    batches = Batches((tiny.x, tiny.y), select(tiny.x, tiny.y, tiny.pairs), 4, 0, CPU, data="stream")
    assert batches.waited == 0
    batches.batch(0)
    first = batches.waited
    batches.batch(1)
    batches.close()
    assert 0 < first < batches.waited


def test_an_unreadable_store_is_heard_of(tiny, monkeypatch):
    batches = Batches((tiny.x, tiny.y), select(tiny.x, tiny.y, tiny.pairs), 4, 0, CPU, data="stream")
    monkeypatch.setattr(reading, "read_chunk", lambda store, number: (_ for _ in ()).throw(OSError("disk on fire")))
    with pytest.raises(OSError, match="disk on fire"):
        batches.batch(0)
    batches.close()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("data", ["stream", "device"])
def test_a_gpu_gets_the_batches_of_the_cpu(many, data):
    expected = taken(Batches(many.stores, many.selection, 24, 3, CPU), 12)
    on_gpu = taken(Batches(many.stores, many.selection, 24, 3, torch.device("cuda"), data=data), 12)
    for batch, other in zip(expected, on_gpu, strict=True):
        for images, others in zip(batch, other, strict=True):
            assert others.is_cuda
            assert_allclose(others.cpu(), images, rtol=1e-6)
