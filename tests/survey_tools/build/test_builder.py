import errno
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from numpy.testing import assert_array_equal

from survey_tools import files
from survey_tools.build.builder import Chunk, StorePlan, alone, begin, making, mending, recognise, replacing
from survey_tools.errors import StoreError
from survey_tools.store.columns import empty_columns
from survey_tools.store.verify import verify
from survey_tools.surveys import SDSS

COUNT, SIZE = 5, 8
PLAN = StorePlan(
    SDSS,
    ("r",),
    Table(
        {
            "object_id": [f"g{i}" for i in range(COUNT)],
            "ra": np.arange(COUNT) + 0.5,
            "dec": np.zeros(COUNT),
            "redshift": np.zeros(COUNT),
        }
    ),
    {"command": "test", "unit": "Jy"},
    size=SIZE,
    chunk_bytes=2 * SIZE * SIZE * 4,  # two objects
)


def a_chunk(count: int, value: float) -> Chunk:
    images = np.full((count, 1, SIZE, SIZE), value, np.float32)
    columns = empty_columns(count, 1)
    columns["coverage"][:] = 1
    columns["gain"][:] = value
    manifest = {"status": np.full(count, "done"), "reason": np.full(count, f"of {value:g}", object)}
    return Chunk(images, np.zeros(images.shape, bool), columns, manifest)


def build_all(build):
    for rows in build.store.chunks():
        if not build.has(rows):
            build.write(rows, a_chunk(rows.stop - rows.start, rows.start + 1))
    build.collect()
    return build.finish()


def content(store: Path) -> dict[str, bytes]:
    return {str(path.relative_to(store)): path.read_bytes() for path in store.rglob("*") if path.is_file()}


@pytest.fixture
def whole(tmp_path):
    return build_all(begin(PLAN, tmp_path / "whole.zarr")).path


def test_a_store_is_made_of_what_its_chunks_are_given(whole):
    store = recognise(PLAN, whole)
    assert [rows.start for rows in store.chunks()] == [0, 2, 4]
    assert store.images[:, 0, 0, 0].tolist() == store.column("gain")[:, 0].tolist() == [1, 1, 3, 3, 5]
    assert store.manifest()["reason"].tolist() == ["of 1", "of 1", "of 3", "of 3", "of 5"]
    assert verify(whole) == []
    assert [path.name for path in whole.parent.iterdir()] == ["whole.zarr"]


def test_a_resumed_store_keeps_the_chunks_that_are_written_and_ends_the_same(whole, tmp_path):
    first = begin(PLAN, tmp_path / "x.zarr")
    assert first.fresh
    rows = first.store.chunks()
    first.write(rows[1], a_chunk(2, 3))
    again = begin(PLAN, tmp_path / "x.zarr")
    assert not again.fresh
    assert [again.has(each) for each in rows] == [False, True, False]
    assert content(build_all(again).path) == content(whole)


def test_a_run_that_is_killed_while_its_store_gets_its_name_loses_no_chunk(whole, tmp_path):
    build = begin(PLAN, tmp_path / "x.zarr")
    for rows in build.store.chunks():
        build.write(rows, a_chunk(rows.stop - rows.start, rows.start + 1))
    build.collect()
    os.rename(build.work, tmp_path / ".x.zarr.part.work")
    again = begin(PLAN, tmp_path / "x.zarr")
    assert all(map(again.has, again.store.chunks()))
    assert content(build_all(again).path) == content(whole)


def test_chunks_of_other_inputs_are_dropped(tmp_path):
    build = begin(PLAN, tmp_path / "x.zarr")
    rows = build.store.chunks()[0]
    build.keep_chunks_from("a.fits")
    build.write(rows, a_chunk(2, 1))
    build.keep_chunks_from("a.fits")
    assert build.has(rows)
    build.keep_chunks_from("b.fits")
    assert not build.has(rows)


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"settings": {"command": "test", "unit": "nJy"}}, "unit"),
        ({"settings": {"command": "test"}}, "unit"),
        ({"settings": PLAN.settings | {"zeros": "data"}}, "zeros"),
        ({"catalogue": PLAN.catalogue[:4]}, "objects"),
        ({"bands": ("g",)}, "bands"),
        ({"size": 9}, "grid"),
    ],
)
def test_a_store_of_another_plan_is_refused_and_replaced_on_demand(whole, other, named):
    with pytest.raises(StoreError, match=f"whole.zarr was made with other {named}; .*--overwrite"):
        recognise(replace(PLAN, **other), whole)


def test_a_store_begun_from_another_plan_is_dropped_on_demand(tmp_path):
    begin(PLAN, tmp_path / "x.zarr")
    other = replace(PLAN, settings={"command": "other"})
    with pytest.raises(StoreError, match="begun with other settings"):
        begin(other, tmp_path / "x.zarr")
    assert begin(other, tmp_path / "x.zarr", overwrite=True).fresh


def test_some_objects_of_a_store_are_made_again_and_the_others_stay(whole):
    with mending(whole) as build:
        build.write(build.store.chunks()[0], a_chunk(1, 9), np.array([1]))
        build.collect()
        build.finish()
    store = recognise(PLAN, whole)
    assert store.images[:, 0, 0, 0].tolist() == store.column("gain")[:, 0].tolist() == [1, 9, 3, 3, 5]
    assert store.manifest()["reason"].tolist() == ["of 1", "of 9", "of 3", "of 3", "of 5"]
    assert verify(whole) == []
    assert [path.name for path in whole.parent.iterdir()] == ["whole.zarr"]


def test_a_store_without_objects_is_finished(tmp_path):
    with making(replace(PLAN, catalogue=PLAN.catalogue[:0]), tmp_path / "x.zarr") as build:
        assert_array_equal(build_all(build).column("gain"), np.zeros((0, 1)))


def make(path, content):
    path.mkdir()
    (path / "zarr.json").write_text(content)


def test_a_new_store_is_built_in_its_place(tmp_path):
    with replacing(tmp_path / "x") as target:
        assert target == tmp_path / "x"
        make(target, "new")
    assert (tmp_path / "x" / "zarr.json").read_text() == "new"


def test_an_old_store_stays_until_the_new_one_is_whole(tmp_path):
    make(tmp_path / "x", "old")
    with replacing(tmp_path / "x") as target:
        make(target, "new")
        assert (tmp_path / "x" / "zarr.json").read_text() == "old"
    assert (tmp_path / "x" / "zarr.json").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_failure_keeps_the_old_store(tmp_path):
    make(tmp_path / "x", "old")
    building = replacing(tmp_path / "x")
    make(building.__enter__(), "half")
    assert not building.__exit__(OSError, OSError("full"), None)
    assert (tmp_path / "x" / "zarr.json").read_text() == "old"


def test_a_kill_between_the_two_renames_loses_nothing(tmp_path):
    make(tmp_path / ".x.old", "old")
    make(tmp_path / ".x.new", "new")
    with pytest.raises(OSError, match="full"), replacing(tmp_path / "x"):
        raise OSError("full")
    assert (tmp_path / "x" / "zarr.json").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_is_not_a_store_is_not_replaced(tmp_path, kind):
    mine = tmp_path / "x"
    if kind == "folder":
        mine.mkdir()
    else:
        mine.write_text("mine")
    with pytest.raises(StoreError, match="is not a store, so it is not replaced"), replacing(mine):
        pass
    assert mine.exists()


def test_one_process_at_a_time(tmp_path):
    lines = (
        "import pathlib, sys",
        "from survey_tools.build.builder import alone",
        "with alone(pathlib.Path(sys.argv[1])): pass",
    )
    command = [sys.executable, "-c", "\n".join(lines), str(tmp_path / "deep" / "x")]
    with alone(tmp_path / "deep" / "x"):
        refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "another galtrans is making" in refused.stderr
    assert subprocess.run(command, check=False).returncode == 0
    assert list((tmp_path / "deep").iterdir()) == []


def test_a_file_system_without_locks_is_trusted(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(files.fcntl, "flock", no_locks)
    with alone(tmp_path / "x"):
        make(tmp_path / "x", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_one_that_waited_at_a_lock_that_is_gone_does_not_enter_beside_a_third(tmp_path, monkeypatch):
    """The lock file of the first is unlinked between the second's opening and locking it."""
    real, entered = os.open, []

    def slow(path, *options):
        descriptor = real(path, *options)
        if not entered:
            entered.append(path)
            Path(path).unlink()  # as the first does at its end
        return descriptor

    monkeypatch.setattr(files.os, "open", slow)
    with alone(tmp_path / "x"), pytest.raises(StoreError, match="another galtrans"), alone(tmp_path / "x"):
        pass
    assert entered
