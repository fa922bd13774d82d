"""What the tests of the translator share: golden values, and stores whose images are small enough to train on."""

import importlib.util
import os
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from astropy.table import Table

from survey_tools.store.zarr_store import create
from survey_tools.surveys import CFHT, SDSS
from translator import RECIPES
from translator.images import Batch, Known
from translator.networks import layers
from translator.training.loop import FOLDER

SIZES = {"x": 16, "y": 36}
SAME_SIZE = 20  # of both, for recipes that need one
NARROW = 4  # channels
BANDS = "gr"
SKY = {"x": 0.02, "y": 0.002}  # [nanomaggy/pixel]


@pytest.fixture(autouse=True)
def one_thread():
    """Tiny images are quicker on one thread, and other tests run at the same time; weights start alike in every run."""
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def authors_slope(monkeypatch):
    """TensorFlow keeps the slope of a leaky ReLU as a float32 number, in float64 too."""
    monkeypatch.setattr(layers, "SLOPE", float(np.float32(0.2)))


@pytest.fixture(scope="session")
def golden():
    """The file `golden.py` beside this one; a test that wants it is skipped where the golden values are not."""
    spec = importlib.util.spec_from_file_location("golden", Path(__file__).with_name("golden.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not module.GOLDEN.exists():
        pytest.skip("the golden values of the authors' model are not here (../shared/golden)")
    return module


@pytest.fixture(scope="session")
def tf_bundle():
    """The writer of TensorFlow checkpoints beside this file."""
    spec = importlib.util.spec_from_file_location("tf_bundle", Path(__file__).with_name("tf_bundle.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def report_page(tmp_path_factory):
    """The page of `synthetic_report.py` beside this file."""
    spec = importlib.util.spec_from_file_location("synthetic_report", Path(__file__).with_name("synthetic_report.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.write_report(tmp_path_factory.mktemp("synthetic_report"))


KINDS = ("x", "y", "pair_x", "pair_y")  # of the images of a batch


class Trap:
    """Unpickled, it makes the folder `path`."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.fixture
def trap(tmp_path):
    return Trap(tmp_path / "sprung")


def tiny_store(path, survey, size, ra, *, dec=None, sky=0.01, bands=BANDS, spoilt=(), saturated=(), **more):
    """A store of images of Gaussian galaxies at RA `ra` [deg]. Image i has flux i + 1. `more` goes to `create`."""
    count, dec = len(ra), np.zeros(len(ra)) if dec is None else dec
    catalogue = Table({"object_id": [f"{survey.name}-{i}" for i in range(count)], "ra": ra, "dec": dec})
    catalogue["redshift"] = np.zeros(count)
    scale = survey.pixel_scale * survey.cutout_size / size
    store = create(path, survey, bands, catalogue, {"test": True}, size=size, pixel_scale=scale, **more)
    row, col = (np.indices((size, size)) - (size - 1) / 2) / size
    galaxy = np.exp(-(row**2 + 2 * col**2) * 30)
    noise = np.random.default_rng(size).normal(0, sky, (count, len(bands), size, size))
    images = (galaxy * (1 + np.arange(count))[:, None, None, None] + noise).astype(np.float32)
    for i in spoilt:
        images[i, 0, 0, 0] = np.nan
    for rows in store.chunks():
        store.write(rows, images[rows], np.isnan(images[rows]))
    coverage = np.isfinite(images).mean(axis=(2, 3))
    columns = {"coverage": coverage, "sky_sigma": np.full(coverage.shape, sky), "saturated": np.zeros(coverage.shape)}
    columns["saturated"][list(saturated)] = 3
    store.write_columns(columns)
    return store.finish(Table({"object_id": catalogue["object_id"], "status": np.full(count, "done")}))


def pair_table(x_store, y_store, x_row, y_row, split):
    table = Table({"x_row": x_row, "y_row": y_row})
    table["separation"] = table["peak_offset"] = np.zeros(len(table))
    table["split"] = split
    table.meta = {"x": str(x_store.path), "y": str(y_store.path), "x_rows": x_store.rows, "y_rows": y_store.rows}
    return table


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> SimpleNamespace:
    """Stores of 12 galaxies each, far apart on the sky, of which six are pairs; the last pair is for tests."""
    return tiny_pair(tmp_path_factory.mktemp("tiny"), SIZES)


@pytest.fixture(scope="session")
def tiny_regridded(tmp_path_factory) -> SimpleNamespace:
    """The same with images of one size."""
    return tiny_pair(tmp_path_factory.mktemp("regridded"), {"x": SAME_SIZE, "y": SAME_SIZE})


@pytest.fixture
def narrow(monkeypatch):
    """All recipes, with networks narrow enough to train in a test."""
    for name, recipe in RECIPES.items():
        monkeypatch.setitem(RECIPES, name, replace(recipe, width=NARROW))
    return RECIPES


def tiny_pair(folder, sizes) -> SimpleNamespace:
    ra = {"x": 150 + 0.1 * np.arange(12), "y": 150 + 0.1 * (np.arange(12) + 6)}
    surveys = {"x": SDSS, "y": CFHT}
    stores = {d: tiny_store(folder / f"{d}.zarr", surveys[d], sizes[d], ra[d], sky=SKY[d]) for d in "xy"}
    pairs = pair_table(*stores.values(), np.arange(6, 12), np.arange(6), ["train"] * 5 + ["test"])
    pairs.write(folder / "pairs.ecsv")
    return SimpleNamespace(
        x=stores["x"], y=stores["y"], pairs=pairs, paths=[folder / "x.zarr", folder / "y.zarr", folder / "pairs.ecsv"]
    )


@pytest.fixture
def batch() -> Batch:
    """Two images of noise of each kind, on the grids of `tiny`."""
    return noise_batch(SIZES)


@pytest.fixture
def batch_for(batch):
    """The same, on the grids that a recipe needs."""
    return lambda recipe: noise_batch({"x": SAME_SIZE, "y": SAME_SIZE}) if recipe.same_grid else batch


def noise_batch(sizes) -> Batch:
    random = torch.Generator().manual_seed(0)
    images = [torch.randn(2, len(BANDS), sizes[d], sizes[d], generator=random) for d in "xyxy"]
    known = {name: Known(*(torch.full((2, len(BANDS)), value) for value in (1.0, 0.1, 100.0))) for name in KINDS}
    ratio = sizes["y"] / sizes["x"]
    return Batch(*images, known, torch.tensor([[ratio, 0.0, 0.3], [0.0, ratio, -0.2]]).repeat(2, 1, 1))


@pytest.fixture(name="tiny_store", scope="session")
def tiny_store_fixture():
    return tiny_store


@pytest.fixture(name="pair_table", scope="session")
def pair_table_fixture():
    return pair_table


def newest(run) -> int:
    """Iteration of the newest checkpoint of a run; 0 where there is none."""
    return max((int(path.name) for path in (run / "checkpoints").glob("[0-9]*") if path.name.isdigit()), default=0)


@pytest.fixture(name="newest")
def newest_fixture():
    return newest


@pytest.fixture
def wait_for():
    """What waits until the training of a run, a process, has saved an iteration."""

    def wait(run, process, iteration):
        deadline = time.monotonic() + 120
        while newest(run) < iteration:
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.005)

    return wait


@pytest.fixture
def read_losses():
    """What gives the loss curves of a run: step -> name of the loss -> (iteration, 2), iteration and value."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def read(path):
        events = EventAccumulator(str(path / FOLDER), size_guidance={"scalars": 0})
        events.Reload()
        curves = {}
        for tag in sorted(events.Tags()["scalars"]):
            step, name = tag.split("/")
            curves.setdefault(step, {})[name] = np.array([(event.step, event.value) for event in events.Scalars(tag)])
        return curves

    return read
