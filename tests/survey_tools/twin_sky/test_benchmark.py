import json
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from astropy.table import Table
from numpy.testing import assert_allclose, assert_array_equal

pytest.importorskip("galsim")

from survey_tools import open_store
from survey_tools.errors import GaltransError
from survey_tools.files import SUMS
from survey_tools.matching.pairs import read_pairs
from survey_tools.twin_sky import benchmark as benchmark_module
from survey_tools.twin_sky import stores as stores_module
from survey_tools.twin_sky.benchmark import (
    BENCHMARKS,
    POPULATION,
    RECORDS,
    Benchmark,
    Record,
    check,
    draw_targets,
    fingerprint,
    probe,
    simulate_benchmark,
)
from survey_tools.twin_sky.simulate import simulate_stores

TINY = Benchmark(x=5, y=3, train=2, test=2, seed=5)
SMALL = 2**19  # bytes of a chunk: several chunks, hence several tasks
STORES = ("sdss.zarr", "cfht.zarr", "truth/sdss.zarr", "truth/cfht.zarr")


@pytest.fixture(scope="module", autouse=True)
def tiny():
    """A benchmark of a few objects, recorded as the others are."""
    targets = draw_targets(TINY)
    sums = {survey: probe(survey, targets, TINY.seed) for survey in ("sdss", "cfht")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BENCHMARKS, "tiny", TINY)
        patch.setitem(RECORDS, "tiny", Record(fingerprint(targets, TINY.seed), sums))
        yield


@pytest.fixture(scope="module")
def sky(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sky")
    simulate_benchmark(folder, "tiny", workers=1, chunk_bytes=SMALL)
    return folder


@cache
def drawn(name):
    return draw_targets(BENCHMARKS[name])


def contents(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.mark.parametrize(
    ("name", "sdss", "cfht", "train", "test"),
    [("twin-v1", 20_000, 10_000, 2_557, 1_000), ("twin-v1-small", 2_000, 1_000, 255, 100)],
)
def test_sets_have_the_stated_numbers_and_a_test_region_of_their_own(name, sdss, cfht, train, test):
    targets = drawn(name)
    both = targets["sdss"] & targets["cfht"]
    assert (targets["sdss"] & ~both).sum() == sdss
    assert (targets["cfht"] & ~both).sum() == cfht
    assert both.sum() == train + test
    assert targets["truth"].sum() == test
    assert (both | ~targets["truth"]).all()
    assert targets["dec"][targets["truth"]].min() > targets["dec"][~targets["truth"]].max()
    assert np.ptp(targets["ra"][targets["truth"]]) > 0.95 * np.ptp(targets["ra"])  # its whole width
    # none is special: r scatters by about one magnitude, and a median of n by 1.25 / sqrt(n) of that
    assert_allclose(np.median(targets["r"][targets["truth"]]), np.median(targets["r"]), atol=4 * 1.25 / np.sqrt(test))


@pytest.mark.parametrize("name", ["twin-v1", "twin-v1-small"])
def test_objects_and_pixels_are_those_recorded(name):
    check(name, drawn(name))


def test_a_store_has_everything_and_truth_of_test_pairs_alone(sky):
    stores = {name: open_store(sky / name) for name in STORES}
    assert [len(stores[name]) for name in STORES] == [9, 7, 9, 7]
    pairs = read_pairs(sky / "pairs.ecsv", stores["sdss.zarr"], stores["cfht.zarr"])
    assert sorted(pairs["split"]) == ["test"] * 2 + ["train"] * 2
    test = pairs[pairs["split"] == "test"]
    for survey, rows in (("sdss", test["x_row"]), ("cfht", test["y_row"])):
        seen, truth = stores[f"{survey}.zarr"], stores[f"truth/{survey}.zarr"]
        assert len(seen.chunks()) > 1
        assert seen.rows == truth.rows
        assert seen.usable.all()
        known = np.isin(np.arange(len(seen)), rows)
        assert_array_equal(truth.usable, known)
        assert_array_equal(truth.manifest()["status"] == "done", known)
        assert_array_equal(np.isnan(truth.images[:]).all(axis=(1, 2, 3)), ~known)
        assert_array_equal(truth.mask[:][~known], True)
        assert_array_equal(np.isfinite(truth.column("crpix")).all(axis=1), known)
        noise = (seen.images[:] - truth.images[:])[known]
        assert_allclose(np.median(noise, axis=(2, 3)) / seen.column("sky_sigma")[known], 0, atol=0.2)


def test_pairs_are_the_same_objects_and_test_pairs_lie_in_their_region(sky):
    pairs = Table.read(sky / "pairs.ecsv")
    names = [
        [name[-6:] for name in open_store(sky / path).column("object_id")[pairs[row]]]
        for path, row in (("sdss.zarr", "x_row"), ("cfht.zarr", "y_row"))
    ]
    assert names[0] == names[1]
    edge = float(pairs.meta["test_region"].split()[2])
    declination = open_store(sky / "sdss.zarr").column("dec")
    assert_array_equal(declination[pairs["x_row"]] > edge, pairs["split"] == "test")
    assert (declination > edge).sum() == 2
    assert pairs.meta["x"] == "sdss.zarr"


def test_the_bytes_do_not_depend_on_workers_nor_on_interruptions(sky, tmp_path, monkeypatch):
    real, calls = stores_module.see, []

    def stops(*arguments):
        calls.append(1)
        if len(calls) == 9:  # in the last chunk of SDSS
            raise KeyboardInterrupt
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(stores_module, "see", stops)
        with pytest.raises(KeyboardInterrupt):
            simulate_benchmark(tmp_path, "tiny", chunk_bytes=SMALL)
    assert not (tmp_path / "sdss.zarr").exists()
    assert list(tmp_path.glob(".simulate-*.part/*.zarr.part/.work/chunks/*.npz"))
    simulate_benchmark(tmp_path, "tiny", workers=2, chunk_bytes=SMALL)
    assert contents(tmp_path) == contents(sky)


def test_what_it_is_stands_beside_it(sky):
    words = json.loads((sky / "benchmark.json").read_text())
    assert words["benchmark"] == "tiny"
    assert words["statistics"]["cfht"]["objects"] == 7
    assert words["pairs"]["test"] == 2
    assert words["libraries"]["galsim"]
    line = f"{words['sha256']['pairs.ecsv']}  "
    assert len(line) == 66
    assert (sky / "sdss.zarr" / SUMS).exists()


@pytest.mark.parametrize("survey", ["sdss", "cfht"])
@pytest.mark.parametrize("column", ["sky_sigma", "psf_fwhm"])
def test_a_small_part_is_of_the_recorded_population(sky, survey, column):
    values = open_store(sky / f"{survey}.zarr").column(column)
    median, scatter = np.array(POPULATION[survey][column])
    # medians of n values scatter by 1.25 sigma / sqrt(n)
    assert_allclose((np.median(values, axis=0) - median) / scatter, 0, atol=4 * 1.25 / np.sqrt(len(values)))


def test_another_sky_than_the_recorded_is_refused(tmp_path, monkeypatch):
    targets = draw_targets(TINY)
    moved = targets.copy()
    moved["ra"][3] += 1e-3
    with pytest.raises(GaltransError, match=r"numpy .* draw other objects than those of tiny"):
        check("tiny", moved)
    record = RECORDS["tiny"]
    brighter = {survey: tuple(np.array(sums) * (1 + 1e-3)) for survey, sums in record.probe.items()}
    monkeypatch.setitem(RECORDS, "tiny", replace(record, probe=brighter))
    with pytest.raises(GaltransError, match=r"draw other images than those of tiny: sdss differs by 0.001"):
        simulate_benchmark(tmp_path, "tiny")


def test_a_sky_that_is_there_stays(sky, monkeypatch):
    """The same is not made again, and another one does not take its place."""
    before = contents(sky)
    monkeypatch.setattr(benchmark_module, "build_stores", lambda *_: pytest.fail("it is made again"))
    assert {path.name for path in simulate_benchmark(sky, "tiny")} <= {path.name for path in sky.iterdir()}
    with pytest.raises(GaltransError, match="exists already; choose another folder or pass --overwrite"):
        simulate_stores(sky, 1, bands={"sdss": "r", "cfht": "r"})
    assert contents(sky) == before


def test_any_two_surveys_see_the_sky_of_a_benchmark(tmp_path):
    bands = {"des": "r", "hsc": "ry"}
    simulate_benchmark(tmp_path, "tiny", bands=bands, chunk_bytes=SMALL)
    x, y = (open_store(tmp_path / f"{name}.zarr") for name in bands)
    assert (len(x), len(y)) == (TINY.x + TINY.pairs, TINY.y + TINY.pairs)
    pairs = Table.read(tmp_path / "pairs.ecsv")
    assert sorted(pairs["split"]) == ["test", "test", "train", "train"]
    known = open_store(tmp_path / "truth" / "hsc.zarr").usable
    assert_array_equal(np.flatnonzero(known), np.sort(pairs["y_row"][pairs["split"] == "test"]))
    targets, same = draw_targets(TINY), draw_targets(TINY, tuple(bands))
    assert_array_equal(targets["ra"], same["ra"])
    assert_array_equal(targets["sdss"], same["des"])
    assert json.loads((tmp_path / "benchmark.json").read_text())["sha256"].keys() >= {"des.zarr", "truth/hsc.zarr"}
