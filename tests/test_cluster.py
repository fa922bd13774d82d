"""regrid, translate and evaluate on a Dask cluster of separate processes, one of which is killed: as on threads."""

import os
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.io import fits
from click.testing import CliRunner

from cli.main import galtrans
from survey_tools import open_store
from survey_tools.build.regridded import regrid_store
from survey_tools.fits.export import export
from survey_tools.matching.pairs import make_pairs
from survey_tools.partitions.split import split_store
from survey_tools.tasks import Engine
from translator.evaluation import evaluate as evaluation
from translator.metrics import paper, table
from translator.translation.stores import translate_store

COUNT = 6
RA, DEC = 150 + 0.1 * np.arange(COUNT), 2 + np.zeros(COUNT)
SMALL_CHUNKS = 64 * 64 * 4 * 2 * 2  # two objects of two bands in a chunk of 64 × 64 pixels, one of 136 × 136


@pytest.fixture(scope="module")
def cluster(any_port):
    """Two workers, each a process of its own."""
    from distributed import Client, LocalCluster

    facts = {"n_workers": 2, "threads_per_worker": 1, "protocol": "tcp", "host": "127.0.0.1"}
    with (
        LocalCluster(processes=True, **any_port, **facts) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture(autouse=True)
def both_workers(cluster):
    """A worker that the test before has killed may be on its way back still."""
    cluster.wait_for_workers(2, timeout=60)


@pytest.fixture(scope="module")
def world(tmp_path_factory, make_store, write_narrow_run):
    """Both stores in small chunks, their pairs, and a narrow run with the weights that it began with."""
    folder = tmp_path_factory.mktemp("world")
    x = make_store(folder / "x.zarr", "sdss", RA, DEC, bands="gr", missing=[1], chunk_bytes=SMALL_CHUNKS)
    y = make_store(folder / "y.zarr", "cfht", RA, DEC, bands="gr", saturated=[2], seed=1, chunk_bytes=SMALL_CHUNKS)
    pairs = make_pairs(x.path, y.path, test_size=COUNT - 1)
    pairs.write(folder / "pairs.ecsv")
    write_narrow_run(folder / "run")
    return SimpleNamespace(folder=folder, x=x.path, y=y.path, pairs=folder / "pairs.ecsv", run=folder / "run")


@pytest.fixture
def dying(cluster, tmp_path):
    """The cluster as an engine, whose worker that has done the third task is killed before it can say so, once."""
    died, count = tmp_path / "died", iter(range(1_000_000))

    def submit(function, item, *, pure):
        third = next(count) == 2

        def task(item):
            result = function(item)
            if third and not died.exists():
                died.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return cluster.submit(task, item, pure=pure)

    yield Engine(2, SimpleNamespace(submit=submit, nthreads=cluster.nthreads))
    assert died.exists()


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_regrid(world, dying, tmp_path):
    there = regrid_store(world.y, world.x, tmp_path / "there.zarr", engine=dying, chunk_bytes=SMALL_CHUNKS)
    here = regrid_store(world.y, world.x, tmp_path / "here.zarr", workers=2, chunk_bytes=SMALL_CHUNKS)
    assert len(here.chunks()) == 3
    assert files(there.path) == files(here.path)


def test_partitions(world, dying, tmp_path):
    there = split_store(world.y, tmp_path / "there", most=2, engine=dying, chunk_bytes=SMALL_CHUNKS)
    here = split_store(world.y, tmp_path / "here", most=2, engine=Engine(1), chunk_bytes=SMALL_CHUNKS)
    assert len(here.partitions) > 2
    assert files(there.path) == files(here.path)


def test_translate(world, dying, tmp_path):
    there = translate_store(world.run, world.x, tmp_path / "there.zarr", engine=dying, chunk_bytes=SMALL_CHUNKS)
    here = translate_store(world.run, world.x, tmp_path / "here.zarr", engine=Engine(2), chunk_bytes=SMALL_CHUNKS)
    assert len(here.chunks()) == COUNT
    assert files(there.path) == files(here.path)


@pytest.fixture
def papers_measures():
    """No measures but those of the paper's figures; the tables are in their own order again afterwards."""
    kept = {"The paper's figures"}, {each.name for each in paper.MEASURES}
    before = [(known, dict(known)) for known in (table.GROUPS, table.MEASURES)]
    for (known, rows), names in zip(before, kept, strict=True):
        known.clear()
        known.update({name: row for name, row in rows.items() if name in names})
    yield
    for known, rows in before:
        known.clear()
        known.update(rows)


def test_evaluate(world, dying, tmp_path, monkeypatch, papers_measures):
    monkeypatch.setattr(evaluation, "write_page", lambda *_: None)  # which is made here, wherever measures are
    inputs, settings = (
        evaluation.EvaluationInputs((world.run,), world.x, world.y, world.pairs),
        evaluation.EvaluationSettings(draws=2, device="cpu"),
    )
    there = evaluation.evaluate(inputs, settings, tmp_path / "there", engine=dying)
    here = evaluation.evaluate(inputs, settings, tmp_path / "here", engine=Engine(1))
    assert there.content["directions"] == here.content["directions"]
    tables = [(tmp_path / name / "galaxies.ecsv").read_text().split("\ndirection ")[1] for name in ("there", "here")]
    assert tables[0] == tables[1]
    assert not list((tmp_path / "there").glob(".samples*"))


def test_the_commands_hand_their_work_to_a_scheduler(world, cluster, tmp_path, monkeypatch):
    """With paths relative to a folder that the workers are not in."""
    monkeypatch.chdir(tmp_path)
    (source,) = export(open_store(world.x), [0], tmp_path / "fits")
    address = cluster.scheduler.address
    words = ["translate", os.path.relpath(world.run), "fits/" + source.name, "--to", "cfht", "--out", "there"]
    made = []
    for more in (["--scheduler", address], ["--overwrite"]):
        result = CliRunner().invoke(galtrans, [*words, *more])
        assert result.exit_code == 0, result.output
        assert "1 of 1 files translated to CFHTLS" in result.output
        made.append(fits.getdata(next(Path("there").glob("*.fits")), "r").copy())
    np.testing.assert_array_equal(*made)
    words = ["regrid", os.path.relpath(world.y), "--like", os.path.relpath(world.x), "--out", "y64.zarr"]
    result = CliRunner().invoke(galtrans, [*words, "--scheduler", address])
    assert result.exit_code == 0, result.output
    assert result.output.startswith("2 workers on the cluster\n")  # which has no dashboard
    assert open_store("y64.zarr").size == 64
