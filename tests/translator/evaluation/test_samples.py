"""The samples of a report: rows, offsets of the grids, draws, and pixels that a translation flags."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from survey_tools.store.zarr_store import open_begun
from survey_tools.surveys import CFHT, SDSS
from survey_tools.tasks import Engine
from translator import RECIPES
from translator.evaluation import samples
from translator.evaluation.held_out import open_held_out
from translator.evaluation.samples import make_samples, rows_of
from translator.metrics.consistency import chi_square
from translator.runs.apply import request_like
from translator.runs.checkpoint import Checkpoint, build_networks, locate, save_checkpoint
from translator.runs.facts import RunFacts, describe_domain, fingerprint_of_pairs, write_facts

COUNT, TESTS = 8, 4
SIZES, SKY, SEEING = {"x": 16, "y": 36}, {"x": 0.02, "y": 0.005}, {"x": 1.3, "y": 0.7}
OFFSET = 1.5  # pixels of y by which its grids lie further along the rows
ROWS = ["matched", "matched, draws", "paper", "floor", "bilinear", "wiener"]


@pytest.fixture(scope="module")
def narrow_recipes():
    with pytest.MonkeyPatch.context() as patch:
        for name in ("psf_matched", "demo"):
            patch.setitem(RECIPES, name, replace(RECIPES[name], width=4))
        yield


@pytest.fixture(scope="module")
def world(narrow_recipes, tmp_path_factory, tiny_store, pair_table):
    """Stores whose grids are known and shifted, a pair table of which half is for tests, and two untrained runs."""
    folder, ra = tmp_path_factory.mktemp("samples"), 150 + 0.1 * np.arange(COUNT)
    stores = {}
    for domain, survey in (("x", SDSS), ("y", CFHT)):
        made = tiny_store(folder / f"{survey.name}.zarr", survey, SIZES[domain], ra, sky=SKY[domain])
        centre = (SIZES[domain] + 1) / 2
        step = np.diag([-1.0, 1.0]) * made.pixel_scale / 3600
        columns = {
            "crval": np.stack([ra, np.zeros(COUNT)], axis=1),
            "crpix": np.full((COUNT, 2), centre) + (np.array([0.0, OFFSET]) if domain == "y" else 0.0),
            "cd": np.broadcast_to(step, (COUNT, 2, 2)),
            "psf_fwhm": np.full((COUNT, 2), SEEING[domain]),
            "gain": np.full((COUNT, 2), 1e9),
        }
        begun = open_begun(made.path)
        begun.write_columns(columns)
        stores[domain] = begun.finish()
    split = ["train"] * (COUNT - TESTS) + ["test"] * TESTS
    pairs = pair_table(*stores.values(), np.arange(COUNT), np.arange(COUNT), split)
    pairs.write(folder / "pairs.ecsv")
    runs = {}
    for name, recipe in (("matched", "psf_matched"), ("paper", "demo")):
        domains = {domain: describe_domain(store) for domain, store in stores.items()}
        steps = len(RECIPES[recipe].steps)
        facts = RunFacts(recipe, (1,) * steps, 2, 0, domains, fingerprint_of_pairs(pairs))
        write_facts(folder / name, facts)
        weights = build_networks(facts, RECIPES[recipe]).state_dict()
        weights = {k: v + 0.02 * (k.startswith("draws") and "net.last" in k) for k, v in weights.items()}  # begins as 0
        weights = {key: value.contiguous() for key, value in weights.items()}
        save_checkpoint(folder / name, Checkpoint(steps, steps - 1, weights, {}))
        runs[name] = locate(folder / name, "cpu")
    held_out = open_held_out(*(s.path for s in stores.values()), folder / "pairs.ecsv", None, galaxies=None, seed=0)
    return SimpleNamespace(folder=folder, held_out=held_out, runs=runs, stores=stores)


def made_in(world, domain, folder):
    return make_samples(world.held_out, world.runs, domain, folder, draws=2, seed=0, engine=Engine(1))


@pytest.fixture(scope="module")
def into_y(world, tmp_path_factory):
    return made_in(world, "y", tmp_path_factory.mktemp("y"))


@pytest.fixture(scope="module")
def into_x(world, tmp_path_factory):
    return made_in(world, "x", tmp_path_factory.mktemp("x"))


def test_a_run_has_a_row_of_its_draws_only_where_it_has_draws(world, into_x, into_y):
    assert list(into_y[0]) == ROWS
    assert list(into_x[0]) == ROWS
    assert [list(rows_of("paper", world.runs["paper"][1], domain)) for domain in "xy"] == [["paper"], ["paper"]]


def test_a_draw_differs_from_the_mean_and_both_have_the_noise_of_the_target(world, into_y):
    mean, drawn = (into_y[0][name][0].open() for name in ("matched", "matched, draws"))
    assert np.abs(mean.signal - drawn.signal).max() > 1e-3
    asked = request_like(world.held_out.stores, world.held_out.rows, "y", mean.target).sigma
    for sample in (mean, drawn):
        noise = (sample.output - sample.signal)[..., 10:-10, 10:-10].std(axis=(2, 3))
        assert (noise < 1.1 * asked).all()
        assert (noise > 0.65 * asked).all()  # an untrained signal has noise of its own, which is not added again


def test_both_rows_of_a_run_are_held_against_the_same_draws(into_y):
    mean, drawn = (into_y[0][name][1].open() for name in ("matched", "matched, draws"))
    np.testing.assert_array_equal(mean.draws, drawn.draws)
    assert len(mean.draws) == 2
    assert np.abs(mean.draws[0] - mean.draws[1]).max() > SKY["y"]


def test_a_request_knows_both_stores_and_the_offset_of_the_grids(world):
    target = world.stores["y"].images[COUNT - TESTS :]
    asked = request_like(world.held_out.stores, world.held_out.rows, "y", target)
    assert (asked.psf_fwhm == np.float32(SEEING["x"])).all()
    assert (asked.seeing == np.float32(SEEING["y"])).all()
    ratio = world.stores["x"].pixel_scale / world.stores["y"].pixel_scale
    np.testing.assert_allclose(asked.alignment, [[[ratio, 0, OFFSET], [0, ratio, 0]]] * TESTS, atol=1e-3)
    back = request_like(world.held_out.stores, world.held_out.rows, "x", world.stores["x"].images[COUNT - TESTS :])
    np.testing.assert_allclose(back.alignment[..., 2], [[-OFFSET / ratio, 0]] * TESTS, atol=1e-3)


def test_interpolation_lands_on_the_target_s_own_grid(into_y):
    image = into_y[0]["bilinear"][0].open().output.sum(axis=(0, 1))
    rows = np.arange(SIZES["y"]) - (SIZES["y"] - 1) / 2
    assert abs((image.sum(axis=1) @ rows) / image.sum() - OFFSET) < 0.2


def test_what_the_input_s_survey_would_see_is_there_only_into_the_richer_one(into_x, into_y):
    for name, (files, _) in into_y[0].items():
        sample = files.open()
        if name == "floor":  # one half of the real images against the other
            assert sample.seen is None
        else:
            assert sample.seen.shape == sample.source.shape
            assert np.isfinite(chi_square(sample)["consistency"]).all()
    assert all(files.open().seen is None for files, _ in into_x[0].values())


def test_flagged_pixels_are_counted_and_filled_by_interpolation(world, into_y, tmp_path, monkeypatch):
    whole = samples.translate_each

    def with_a_hole(*arguments, **how):
        made = whole(*arguments, **how)
        made[..., :2, :3] = np.nan
        return made

    monkeypatch.setattr(samples, "translate_each", with_a_hole)
    rows, flagged = made_in(world, "y", tmp_path)
    hole, before = TESTS * 2 * 2 * 3, into_y[1]["matched"]  # the grids' offset leaves pixels without an input
    assert (into_y[1]["paper"], flagged["paper"]) == (0, hole)
    assert before < flagged["matched"] == flagged["matched, draws"] <= before + hole
    plain, made = rows["bilinear"][0].open().output, rows["matched"][0].open().output
    assert np.isfinite(made).all()
    np.testing.assert_array_equal(made[..., :2, :3], plain[..., :2, :3])
