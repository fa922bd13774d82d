import json
import os
import shlex

import pytest
import torch

from survey_tools.errors import RunError, StoreError
from survey_tools.surveys import CFHT
from translator.runs.checkpoint import Checkpoint, load_run, save_checkpoint
from translator.training.session import TrainingInputs, TrainingSettings, open_session, optimizers_of, save


def begin(tiny, path, resume=False, inputs=None, **settings):
    settings = {"recipe": "demo", "iterations": 2, "batch_size": 2, "device": "cpu"} | settings
    session = open_session(inputs or TrainingInputs(*tiny.paths), path, TrainingSettings(**settings), resume=resume)
    session.batches.close()
    return session


def test_a_run_states_what_it_is_made_from(tiny, tmp_path):
    begin(tiny, tmp_path / "run", seed=7)
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (facts["recipe"], facts["seed"], facts["batch_size"], facts["iterations"]) == ("demo", 7, 2, [2, 2])
    assert facts["domains"]["x"]["survey"] == "sdss"
    assert facts["domains"]["y"]["sky"] == pytest.approx([0.001, 0.001], rel=1e-3)  # half of 0.002 nanomaggies


def test_the_seed_alone_decides_the_first_weights(tiny, tmp_path):
    state = torch.get_rng_state()
    one, same, other = (begin(tiny, tmp_path / str(i), seed=seed).networks for i, seed in enumerate((1, 1, 2)))
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, same.state_dict()[name])
    assert not all(torch.equal(t, other.state_dict()[n]) for n, t in one.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


def test_recipes_own_iterations_and_batch_size_are_the_default(tiny, tmp_path):
    facts = begin(tiny, tmp_path / "run", recipe="two_step", iterations=None, batch_size=None).facts
    assert (facts.iterations, facts.batch_size) == ((60_000, 60_000), 24)


def test_resuming_takes_the_runs_own_iterations_and_batch_size(tiny, tmp_path):
    begin(tiny, tmp_path / "run")
    facts = begin(tiny, tmp_path / "run", resume=True, iterations=None, batch_size=None).facts
    assert (facts.iterations, facts.batch_size) == ((2, 2), 2)


def test_the_command_that_goes_on_is_complete(tiny, tmp_path):
    words = shlex.split(begin(tiny, tmp_path / "a run", seed=3).command)
    assert words[:2] == ["galtrans", "train"]
    assert words[2:5] == [str(path) for path in tiny.paths]
    assert words[5:] == [
        "--recipe", "demo", "--run", str(tmp_path / "a run"), "--seed", "3", "--device", "cpu", "--resume",
    ]  # fmt: skip


def test_a_run_that_is_there_is_not_written_over(tiny, tmp_path):
    begin(tiny, tmp_path / "run")
    with pytest.raises(RunError, match="exists already; resume that run with --resume"):
        begin(tiny, tmp_path / "run")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(RunError, match="choose another --run"):
        begin(tiny, tmp_path / "mine")


def test_resuming_what_is_not_a_run_is_refused(tiny, tmp_path):
    with pytest.raises(RunError, match=r"has no run\.json"):
        begin(tiny, tmp_path / "nothing", resume=True)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"recipe": "two_step"}, r"another --recipe \(demo, not two_step\)"),
        ({"seed": 1}, r"another --seed \(0, not 1\)"),
        ({"batch_size": 3}, r"another --batch-size \(2, not 3\)"),
    ],
)
def test_resuming_with_other_settings_is_refused(tiny, tmp_path, settings, words):
    begin(tiny, tmp_path / "run")
    with pytest.raises(RunError, match=words):
        begin(tiny, tmp_path / "run", resume=True, **settings)


def finish(session, step: int, iteration: int) -> None:
    """Leave a checkpoint of a session in one of its steps."""
    session.iteration = iteration
    session.optimizers = optimizers_of(session.recipe.steps[step], session.networks)
    save(session, step)


def test_a_training_that_has_ended_goes_on_for_more_iterations(tiny, tmp_path):
    finish(begin(tiny, tmp_path / "run"), step=1, iteration=4)
    longer = begin(tiny, tmp_path / "run", resume=True, iterations=5)
    assert longer.facts.iterations == (2, 5)  # the first step is over
    assert [step.iterations for step in longer.recipe.steps] == [2, 5]
    assert longer.iteration == 4
    assert json.loads((tmp_path / "run" / "run.json").read_text())["iterations"] == [2, 5]
    assert begin(tiny, tmp_path / "run", resume=True, iterations=None).facts.iterations == (2, 5)


def test_a_step_under_way_may_become_longer_but_not_shorter_than_it_is(tiny, tmp_path):
    finish(begin(tiny, tmp_path / "run", iterations=4), step=0, iteration=3)
    with pytest.raises(RunError, match=r"--iterations has 2 for step 1, of which the run has done 3"):
        begin(tiny, tmp_path / "run", resume=True, iterations=2)
    assert begin(tiny, tmp_path / "run", resume=True, iterations=(3, 9)).facts.iterations == (3, 9)


def test_a_run_without_a_checkpoint_takes_any_iterations(tiny, tmp_path):
    begin(tiny, tmp_path / "run")
    assert begin(tiny, tmp_path / "run", resume=True, iterations=1).facts.iterations == (1, 1)


def test_resuming_with_another_store_or_pair_table_is_refused(tiny, tmp_path, tiny_store, pair_table):
    begin(tiny, tmp_path / "run")
    ra = tiny.y.column("ra")
    y = tiny_store(tmp_path / "y.zarr", CFHT, 36, ra, saturated=[8])  # the same objects, other pixels
    pairs = pair_table(tiny.x, y, [6, 7], [0, 1], ["train", "test"])
    pairs.write(tmp_path / "pairs.ecsv")
    with pytest.raises(RunError, match="another pair of stores"):
        begin(tiny, tmp_path / "run", True, TrainingInputs(tiny.paths[0], tmp_path / "y.zarr", tiny.paths[2]))
    with pytest.raises(RunError, match="another pair table"):
        begin(tiny, tmp_path / "run", True, TrainingInputs(*tiny.paths[:2], tmp_path / "pairs.ecsv"))


def test_a_pair_table_of_other_stores_is_refused_and_nothing_is_written(tiny, tmp_path, tiny_store):
    other = tiny_store(tmp_path / "y.zarr", CFHT, 36, tiny.y.column("ra") + 1)
    with pytest.raises(StoreError, match=r"pairs\.ecsv was made for"):
        begin(tiny, tmp_path / "run", inputs=TrainingInputs(tiny.paths[0], other.path, tiny.paths[2]))
    assert not (tmp_path / "run").exists()


def test_images_that_the_recipe_cannot_serve_are_refused_with_the_reason(tiny, tmp_path, tiny_store):
    y = tiny_store(tmp_path / "y.zarr", CFHT, 16, tiny.y.column("ra"))
    with pytest.raises(RunError, match=r"recipe demo cannot train on these stores: .* from 16 to 16 pixels"):
        begin(tiny, tmp_path / "run", inputs=TrainingInputs(tiny.paths[0], y.path, tiny.paths[2]))
    assert not os.path.exists(tmp_path / "run")


def test_a_device_that_is_not_there_is_refused(tiny, tmp_path):
    with pytest.raises(RunError, match="no device 'warp' here; give auto, cpu"):
        begin(tiny, tmp_path / "run", device="warp")


def test_a_checkpoint_without_the_state_of_a_training_is_refused(tiny, tmp_path):
    begun = begin(tiny, tmp_path / "run")
    save_checkpoint(tmp_path / "run", Checkpoint(1, 0, begun.networks.state_dict(), {"random": torch.zeros(3)}))
    with pytest.raises(RunError, match="has no state of this training to resume; begin again in another --run"):
        begin(tiny, tmp_path / "run", resume=True)


def test_a_run_remembers_its_width(tiny, tmp_path):
    path = tmp_path / "run"
    wide = begin(tiny, tmp_path / "wide").networks
    session = begin(tiny, path, width=4)
    assert count(session.networks["generator_y"]) < count(wide["generator_y"])
    save_checkpoint(path, Checkpoint(2, 1, session.networks.state_dict(), {}))
    assert count(load_run(path, "cpu").networks["generator_y"]) == count(session.networks["generator_y"])
    assert begin(tiny, tmp_path / "none", width=4).facts.width == 4
    with pytest.raises(RunError, match=r"begun with another --width \(4, not 8\); give the same one"):
        begin(tiny, path, resume=True, width=8)


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


def test_a_shorter_training_divides_its_learning_rates_at_the_same_parts(tiny, tmp_path):
    steps = begin(tiny, tmp_path / "run", recipe="two_step", width=4, iterations=3_000).recipe.steps
    assert [(step.iterations, step.decay_every) for step in steps] == [(3_000, 1_000)] * 2


def test_a_run_remembers_its_precision(tiny, tmp_path):
    path = tmp_path / "run"
    session = begin(tiny, path, precision="bf16")
    assert session.model.precision == "bf16"
    assert begin(tiny, path, resume=True).facts.precision == "bf16"
    with pytest.raises(RunError, match=r"begun with another --precision \(bf16, not float32\); give the same one"):
        begin(tiny, path, resume=True, precision="float32")
    assert begin(tiny, tmp_path / "other").facts.precision == "float32"


def test_a_precision_that_is_not_known_is_refused(tiny, tmp_path):
    path = tmp_path / "run"
    begin(tiny, path)
    (path / "run.json").write_text((path / "run.json").read_text().replace("float32", "float7"))
    with pytest.raises(RunError, match="no precision 'float7' is known"):
        begin(tiny, path, resume=True)
