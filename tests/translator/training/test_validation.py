import json
import signal
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from safetensors.torch import load_file

from survey_tools.errors import ArgumentError, RunError
from survey_tools.surveys import CFHT, SDSS
from survey_tools.tasks import Engine
from translator import describe_run, find_run, load_run
from translator.evaluation.held_out import open_held_out
from translator.evaluation.samples import make_samples
from translator.metrics.table import MEASURES
from translator.runs.checkpoint import locate, read_checkpoint
from translator.runs.facts import read_facts
from translator.training import loop
from translator.training.goal import Goal, on_pairs, parse_goal
from translator.training.session import TrainingInputs, TrainingSettings, open_session
from translator.training.validation import Past, Validation, hold_out

DIRECTIONS = {"sdss_to_cfht": "y", "cfht_to_sdss": "x"}


def session(inputs, path, recipe="demo", resume=False, **settings):
    settings = {"iterations": 4, "batch_size": 2, "checkpoint_every": 1, "device": "cpu", "width": 4} | settings
    return open_session(TrainingInputs(*inputs.paths), path, TrainingSettings(recipe, **settings), resume=resume)


def weights(path, iteration):
    return (path / "checkpoints" / f"{iteration:09}" / "networks.safetensors").read_bytes()


@pytest.fixture(scope="module")
def split(tmp_path_factory, tiny_store, pair_table):
    """Stores of twelve galaxies, eight of which are pairs: four train, three validate, one is for tests."""
    folder, ra = tmp_path_factory.mktemp("split"), 150 + 0.1 * np.arange(16)
    x = tiny_store(folder / "x.zarr", SDSS, 24, ra[:12])
    y = tiny_store(folder / "y.zarr", CFHT, 52, ra[4:])
    splits = ["train"] * 4 + ["validation"] * 3 + ["test"]
    pairs = pair_table(x, y, np.arange(4, 12), np.arange(8), splits)
    pairs.write(folder / "pairs.ecsv")
    return SimpleNamespace(x=x, y=y, pairs=pairs, paths=[folder / f for f in ("x.zarr", "y.zarr", "pairs.ecsv")])


def test_goals_are_read(split):
    def goal(text):
        return parse_goal(text, DIRECTIONS, ("g", "r"), operator=False)

    usual = goal(" signal_residual = 0.07")
    assert (usual.text, usual.measure.name, usual.value) == ("signal_residual=0.07", "signal_residual_real", 0.07)
    assert (usual.domains, usual.band) == (("y", "x"), None)
    one = goal("cfht_to_sdss.aperture_offset.r=-1e-2")
    assert (one.measure.name, one.value, one.domains, one.band) == ("aperture_offset", -0.01, ("x",), 1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("signal_residual", r"is no goal; give \[direction.\]measure\[.band\]=value, such as signal_residual=0.07"),
        ("signal_residual=low", "is no goal"),
        ("sharpness=1", "the report has no measure 'sharpness'"),
        ("sdss_to_des.signal_residual=1", "no direction is called 'sdss_to_des'; known are sdss_to_cfht, cfht_to_sdss"),
        ("signal_residual.z=1", "has no band 'z'; it has g, r"),
        ("signal_residual=0", "0 is the perfect value of signal_residual"),
        ("consistency=1.1", "it needs an operator, as psf_matched has one"),
        ("coverage=1", "no measure 'coverage'|it needs draws"),
    ],
)
def test_goals_that_cannot_be_reached_are_refused(text, words):
    with pytest.raises(ArgumentError, match=words):
        parse_goal(text, DIRECTIONS, ("g", "r"), operator=False)


def test_better_is_closer_to_perfect_in_the_worse_direction():
    goal = Goal("", on_pairs("consistency", operator=True), 1.2, ("y", "x"))
    near, far = np.array([0.9, 1.1, 3.0]), np.array([0.7, 0.7, 1.0])
    assert goal.distance({"y": {"consistency": near}, "x": {"consistency": near}}) == pytest.approx(0.1)
    assert goal.is_reached({"y": {"consistency": near}, "x": {"consistency": near}})
    assert not goal.is_reached({"y": {"consistency": near}, "x": {"consistency": far}})
    assert not goal.is_reached({"y": {"consistency": near}, "x": {}})  # no value is no success
    only = Goal("", goal.measure, 1.2, ("y",), 2)
    assert only.distance({"y": {"consistency": near}}) == 2.0


def test_held_out_pairs_are_whole_groups_and_do_not_train(tiny_store, pair_table, tmp_path):
    """Of forty pairs, neighbours 20" apart in twos, a tenth is held out: two groups of two."""
    ra = np.repeat(150 + 0.1 * np.arange(20), 2) + np.tile([0, 20 / 3600], 20)
    x, y = (tiny_store(tmp_path / f"{s.name}.zarr", s, 8, ra) for s in (SDSS, CFHT))
    pairs = pair_table(x, y, np.arange(40), np.arange(40), ["train"] * 40)
    trained = np.column_stack([np.arange(40)] * 2)
    marked = hold_out((x, y), pairs, trained, seed=0)
    held = (np.asarray(marked["split"]) == "validation").reshape(20, 2)
    assert held.sum() == 4
    assert_array_equal(held.all(axis=1), held.any(axis=1))
    assert_array_equal(marked["split"], hold_out((x, y), pairs, trained, seed=0)["split"])
    assert (marked["split"] != hold_out((x, y), pairs, trained, seed=1)["split"]).any()
    with pytest.raises(RunError, match="because the cutouts of more of them overlap on the sky"):
        hold_out((x, y), pairs, trained[:2], seed=0)


def test_without_validation_nothing_is_held_out(tiny, tmp_path):
    begun = session(tiny, tmp_path / "run")
    begun.batches.close()
    assert (begun.validation, len(begun.selection.pairs), begun.facts.validation) == (None, 5, {})
    assert not {"validation", "ended", "from", "best_by"} & set(json.loads((tmp_path / "run" / "run.json").read_text()))


def test_a_part_of_the_pairs_is_held_out_and_stays_so(tiny, tmp_path):
    begun = session(tiny, tmp_path / "run", validate_every=2)
    begun.batches.close()
    assert len(begun.selection.pairs) == 4
    assert begun.selection.counts["pairs"]["kept for validation"] == 1
    assert begun.notes == ["pairs for validation, which do not train: 1, measured every 2 iterations"]
    stated = json.loads((tmp_path / "run" / "run.json").read_text())["validation"]
    assert (stated["pairs"], stated["from"]) == (1, "the pairs that train")
    again = session(tiny, tmp_path / "run", resume=True)
    again.batches.close()
    assert again.validation is None
    assert_array_equal(again.selection.pairs, begun.selection.pairs)
    session(tiny, tmp_path / "other").batches.close()
    with pytest.raises(RunError, match="was begun without validation, so that all its pairs train"):
        session(tiny, tmp_path / "other", resume=True, until="signal_residual=0.1")


@pytest.mark.parametrize("recipe", ["demo", "psf_matched"])
def test_validation_does_not_change_the_training(split, tmp_path, recipe, read_losses):
    total = 8 if recipe == "demo" else 12
    loop.train(session(split, tmp_path / "plain", recipe, checkpoint_every=9))
    loop.train(session(split, tmp_path / "watched", recipe, checkpoint_every=9, validate_every=3))
    assert weights(tmp_path / "plain", total) == weights(tmp_path / "watched", total)
    curves = read_losses(tmp_path / "watched")
    names = {"signal_residual_real", "aperture_offset", "aperture_scatter", "noise_amplitude"}
    known = set(curves["validation sdss_to_cfht"])
    assert names - {"noise_amplitude"} <= known <= names | {"consistency"}
    assert ("consistency" in known) == (recipe == "psf_matched")
    expected = [3, 4, 6, 8] if recipe == "demo" else [3, 4, 6, 8, 9, 12]  # ends of steps, too
    assert_array_equal(curves["validation sdss_to_cfht"]["signal_residual_real"][:, 0], expected)
    assert "signal_residual_real_g" in curves["validation cfht_to_sdss, bands"]


def test_the_measures_are_those_of_the_report(split, tmp_path):
    """The residual of a validation is that of an evaluation whose test pairs are the same."""
    loop.train(session(split, tmp_path / "run", "psf_matched", iterations=1, validate_every=4))
    entry = Past.read(tmp_path / "run", 99).entries[-1]
    table = split.pairs.copy()
    table["split"] = ["test" if each == "validation" else "train" for each in split.pairs["split"]]
    table.write(tmp_path / "pairs.ecsv")
    held_out = open_held_out(*split.paths[:2], tmp_path / "pairs.ecsv", None, galaxies=None, seed=0)
    runs = {"run": locate(tmp_path / "run", "cpu")}
    for direction, domain in DIRECTIONS.items():
        rows, _ = make_samples(held_out, runs, domain, tmp_path / direction, draws=0, seed=0, engine=Engine())
        sample, measured = rows["run"][0].open(), entry["values"][direction]
        for name in ("signal_residual_real", *(["consistency"] if domain == "y" else [])):
            value = MEASURES[name].summary(MEASURES[name].each(sample))
            np.testing.assert_allclose(measured[name], value, rtol=1e-4)


@pytest.fixture
def residual(monkeypatch):
    """A function that sets what validations find, the residual of both directions as a function of the iteration."""

    def be(function):
        def measure(_, run):
            return {domain: {"signal_residual_real": np.full(2, function(run.iteration))} for domain in "xy"}

        monkeypatch.setattr(Validation, "measure", measure)

    return be


def test_a_training_stops_when_its_goal_is_reached(tiny, tmp_path, residual):
    residual(lambda iteration: 1 / iteration)
    path, goal = tmp_path / "run", {"validate_every": 1, "until": "signal_residual=0.2"}
    begun = session(tiny, path, **goal)
    loop.train(begun)
    assert begun.last_words()[0] == "step 2 ended after iteration 6: reached signal_residual=0.2"  # 1/5 is no better
    stated = json.loads((path / "run.json").read_text())
    assert stated["iterations"] == [4, 2]
    assert stated["ended"] == [{"step": 2, "at": 6, "of": 4, "why": "reached signal_residual=0.2"}]
    assert load_run(path, "cpu").unfinished == ""
    assert ("ended early", "step 2 at iteration 6 of the run: reached signal_residual=0.2") in describe_run(path)
    for iterations in (None, 4, (4, 4)):  # the same command again
        again = session(tiny, path, resume=True, iterations=iterations, **goal)
        loop.train(again)
        assert (again.iteration, again.facts.iterations) == (6, (4, 2))
    longer = session(tiny, path, resume=True, iterations=4)
    loop.train(longer)
    assert longer.last_words() == []
    loop.train(session(tiny, tmp_path / "whole", validate_every=1))
    assert weights(path, 8) == weights(tmp_path / "whole", 8)  # the schedule of four iterations, as in the beginning


def test_steps_after_the_one_that_reaches_a_goal_are_trained_whole(tiny, tmp_path, residual):
    residual(lambda iteration: 1 / iteration)
    begun = session(tiny, tmp_path / "run", until="signal_residual=0.4")
    loop.train(begun)
    assert (begun.iteration, begun.facts.iterations) == (7, (3, 4))
    again = session(tiny, tmp_path / "run", resume=True, iterations=(4, 4), until="signal_residual=0.4")
    again.batches.close()
    assert again.facts.iterations == (3, 4)


def test_a_goal_that_is_reached_with_the_last_iteration_of_a_step_ends_no_other(tiny, tmp_path, residual):
    residual(lambda iteration: 1 / iteration)
    begun = session(tiny, tmp_path / "run", validate_every=3, until="signal_residual=0.3")
    loop.train(begun)
    assert (begun.iteration, [each["at"] for each in begun.facts.ended]) == (8, [4])


def test_a_kill_before_run_json_says_that_a_step_has_ended(tiny, tmp_path, residual, monkeypatch):
    residual(lambda iteration: 1 / iteration)
    goal = {"until": "signal_residual=0.4"}
    loop.train(session(tiny, tmp_path / "whole", **goal))
    with monkeypatch.context() as patched:
        patched.setattr(loop, "write_facts", lambda *_: signal.raise_signal(signal.SIGINT) or 1 / 0)
        with pytest.raises(ZeroDivisionError):
            loop.train(session(tiny, tmp_path / "run", **goal))
    assert read_facts(tmp_path / "run").iterations == (4, 4)
    loop.train(session(tiny, tmp_path / "run", resume=True, **goal))
    assert weights(tmp_path / "run", 7) == weights(tmp_path / "whole", 7)
    assert read_facts(tmp_path / "run") == read_facts(tmp_path / "whole")


def test_the_best_state_is_kept_apart(tiny, tmp_path, residual):
    residual(lambda iteration: 0.1 * abs(iteration - 6) if iteration > 4 else 0.05)  # none of step 1 counts
    path = tmp_path / "run"
    begun = session(tiny, path, validate_every=1)
    loop.train(begun)
    assert sorted(each.name for each in (path / "checkpoints").iterdir()) == ["000000007", "000000008"]
    run = load_run(f"{path}@best", "cpu")
    assert (run.path, run.iteration, load_run(path, "cpu").iteration) == (path / "best", 6, 8)
    assert (run.unfinished, find_run(f"{path}@best")) == ("", path / "best")
    loop.train(session(tiny, tmp_path / "six", validate_every=1, until="signal_residual=0.04"))
    assert weights(path / "best", 6) == weights(tmp_path / "six", 6)
    assert begun.last_words() == [
        f"the best state by signal_residual is that of iteration 6: {path}@best; {path} is that of the last, 8"
    ]
    assert ("RUN@best", "iteration 6 of 8, where signal_residual is 0 from perfect") in describe_run(path)
    assert "NOT FINISHED" not in dict(describe_run(path / "best"))
    with pytest.raises(RunError, match=f"holds the best state of a run and no state of a training; resume .*{path}"):
        session(tiny, path / "best", resume=True)
    with pytest.raises(ArgumentError, match="keeps no best state; train with"):
        load_run(f"{path / 'best'}@best")


def test_of_states_that_are_alike_the_last_is_the_best(tiny, tmp_path, residual):
    residual(lambda iteration: 0.5)
    loop.train(session(tiny, tmp_path / "run", validate_every=1, patience=1))
    assert load_run(f"{tmp_path / 'run'}@best", "cpu").iteration == 8


def test_the_best_state_has_its_scatter_of_fluxes(tiny, tmp_path, residual):
    residual(lambda iteration: abs(iteration - 5))
    path = tmp_path / "run"
    loop.train(session(tiny, path, "psf_matched", iterations=2, validate_every=1))
    best = load_run(f"{path}@best", "cpu").networks
    assert load_run(f"{path}@best", "cpu").iteration == 5
    assert all(float(best[f"survey_{domain}"].flux_scatter.diagonal().max()) > 0 for domain in "xy")
    fifth = read_checkpoint(path / "best").networks
    for name, tensor in load_file(path / "checkpoints" / "000000005" / "networks.safetensors").items():
        assert "flux_scatter" in name or torch.equal(tensor, fifth[name]), name


def test_patience_ends_a_step_that_becomes_no_better(tiny, tmp_path, residual):
    residual(lambda iteration: 1.0 if iteration <= 4 else 0.1 * iteration)
    begun = session(tiny, tmp_path / "run", validate_every=1, patience=2)
    loop.train(begun)
    assert begun.last_words()[0] == "step 2 ended after iteration 7: no better in 2 validations"
    again = session(tiny, tmp_path / "run", resume=True, validate_every=1, patience=2)
    loop.train(again)
    assert again.iteration == 7


def test_a_watched_training_that_is_interrupted_ends_the_same(split, tmp_path):
    how = {"validate_every": 3, "until": "signal_residual=0.001", "checkpoint_every": 9}
    loop.train(session(split, tmp_path / "whole", **how))
    begun = session(split, tmp_path / "run", **how)

    def interrupt(*_):
        if begun.iteration == 5:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(RunError, match=r"--validate-every 3 --until signal_residual=0.001 --resume") as error:
        loop.train(begun, interrupt)
    assert "stopped after iteration 5 of 8" in str(error.value)
    loop.train(session(split, tmp_path / "run", resume=True, **how))
    assert weights(tmp_path / "run", 8) == weights(tmp_path / "whole", 8)
    one, other = (Past.read(tmp_path / name, 99).entries for name in ("run", "whole"))
    assert one == other
    assert Past.read(tmp_path / "run", 5).entries == one[:2]


def test_a_recipe_without_pairs_is_watched_by_those_of_the_table(tiny, tmp_path, narrow):
    begun = session(tiny, tmp_path / "run", "cyclegan", validate_every=1)
    begun.batches.close()
    assert (len(begun.selection.validation), len(begun.selection.pairs)) == (1, 0)
    with pytest.raises(RunError, match="give the pair table that `galtrans crossmatch` makes"):
        session(SimpleNamespace(paths=tiny.paths[:2]), tmp_path / "other", "cyclegan", validate_every=1)
