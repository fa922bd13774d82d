"""A training reads partitioned stores as it reads ordinary ones: the same selection, and the images of its rows."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import survey_tools
import translator
from survey_tools.matching.pairs import read_pairs
from survey_tools.store.partitioned import open_store
from translator.data.batches import Batches
from translator.data.selection import select
from translator.evaluation.held_out import open_held_out

COUNT = 36


@pytest.fixture(scope="module")
def world(tmp_path_factory, make_store):
    """Both stores in partitions, and their pairs."""
    folder = tmp_path_factory.mktemp("partitions")
    random = np.random.default_rng(2)
    ra, dec = random.uniform(0, 360, COUNT), random.uniform(-60, 60, COUNT)
    places = {"x": (ra[:30], dec[:30]), "y": (ra[6:], dec[6:])}
    for name, survey in (("x", "sdss"), ("y", "cfht")):
        store = make_store(folder / f"{name}.zarr", survey, *places[name], bands="gr", missing=[3], saturated=[4])
        survey_tools.partition(store, folder / name, rows=8)
    survey_tools.crossmatch(folder / "x", folder / "y", out=folder / "pairs", test_size=4)
    return folder


def test_selection_is_that_of_the_pair_table(world):
    x, y = open_store(world / "x"), open_store(world / "y")
    pairs = read_pairs(world / "pairs", x, y)
    found = select(x, y, pairs)
    assert len(x.partitions) > 4
    assert found.counts["pairs"]["kept for tests"] == 4
    assert not set(found.x.tolist()) & set(pairs["x_row"].tolist())
    assert x.usable[found.x].all()
    assert not x.column("saturated")[found.pairs[:, 0]].any()
    names = [store.take("object_id", rows) for store, rows in ((x, found.pairs[:, 0]), (y, found.pairs[:, 1]))]
    twins = [[int(name.split("-")[1]) for name in each] for each in names]
    assert (np.array(twins[0]) - 6 == twins[1]).all()  # the first six objects of x are not in y


@pytest.mark.parametrize("data", ["device", "stream"])
def test_batches_have_the_images_of_their_rows(world, data):
    stores = open_store(world / "x"), open_store(world / "y")
    selection = select(*stores, read_pairs(world / "pairs", *stores))
    batches = Batches(stores, selection, 4, 0, torch.device("cpu"), data=data)
    seen = {name: [] for name in ("x", "y", "pair_x", "pair_y")}
    for number in range(6):
        batch = batches.batch(number)
        for name, images in seen.items():
            images += [round(float(image.sum()), 3) for image in getattr(batch, name)]
    batches.close()
    rows = {"x": selection.x, "y": selection.y, "pair_x": selection.pairs[:, 0], "pair_y": selection.pairs[:, 1]}
    for name, images in seen.items():
        store = stores["xy".index(name[-1])]
        sums = {round(float(store.images[int(row)].astype(float).sum()), 2) for row in rows[name]}
        assert all(min(abs(value - total) for total in sums) < 0.05 for value in images)
        assert len(set(images)) == len(rows[name])  # each comes in an epoch


def test_train_and_resume(world, tmp_path):
    given = {"recipe": "demo", "width": 4, "batch_size": 2, "device": "cpu", "checkpoint_every": 1}
    stores = world / "x", world / "y", world / "pairs"
    once = translator.train(*stores, run=tmp_path / "once", iterations=2, data="stream", **given)
    translator.train(*stores, run=tmp_path / "twice", iterations=1, **given)
    again = translator.train(*stores, run=tmp_path / "twice", iterations=2, resume=True, **given)
    assert (once.iteration, again.iteration) == (4, 3)
    assert once.domains["x"].fingerprint == again.domains["x"].fingerprint


def test_dataset(world):
    store = open_store(world / "x")
    samples = list(DataLoader(translator.Dataset(store, bands="r", seed=3), batch_size=None))
    assert sorted(int(sample["row"]) for sample in samples) == list(range(len(store)))
    for sample in samples[:5]:
        row = int(sample["row"])
        assert np.array_equal(sample["image"][0].numpy(), store.images[row][1], equal_nan=True)
        assert sample["object_id"] == store.take("object_id", np.array([row]))[0]


def test_held_out_galaxies(world):
    found = open_held_out(world / "x", world / "y", world / "pairs", None, galaxies=None, seed=0)
    assert 0 < len(found) <= 4
    names = [found.stores[domain].take("object_id", found.rows[domain]) for domain in "xy"]
    assert [int(x.split("-")[1]) - 6 for x in names[0]] == [int(y.split("-")[1]) for y in names[1]]
    assert found.alignment("y").shape == (len(found), 2, 3)
    assert len(found.training_pairs(3)) == 3
