import json
import signal

import pytest

from survey_tools.errors import RunError
from translator.recipes import Step, Turn
from translator.training.loop import train
from translator.training.schedule import describe_changes, describe_schedule, with_iterations
from translator.training.session import TrainingInputs, TrainingSettings, open_session
from translator.training.update import slowed


def session(tiny, path, recipe="psf_matched", resume=False, **settings):
    settings = {"iterations": 2, "batch_size": 2, "checkpoint_every": 1, "device": "cpu", "width": 4} | settings
    return open_session(TrainingInputs(*tiny.paths), path, TrainingSettings(recipe, **settings), resume=resume)


def weights(path, iteration):
    return (path / "checkpoints" / f"{iteration:09}" / "networks.safetensors").read_bytes()


def test_schedules_in_words():
    turns = (Turn(("a",), (), 1e-3), Turn(("b",), (), 1e-4))
    assert describe_schedule(Step(turns, 80, None)) == (
        "half a cosine, from 0.001 and 0.0001 at the first iteration to 0 after the last"
    )
    assert describe_schedule(Step(turns[:1], 60_000, 20_000)) == (
        "0.001 at the first iteration, divided by 5 every 20,000 iterations"
    )


def test_a_longer_run_says_what_its_learning_rate_does(narrow):
    longer = with_iterations(narrow["psf_matched"], (1200, 4500, 1800), None, None)
    (said,) = describe_changes(longer, (1200, 4500, 900), 6600)
    assert said == (
        "step 3 has 1,800 iterations instead of 900, of which 900 are done. The learning rate follows the schedule of "
        "the new length: half a cosine, from 0.001 at the first iteration to 0 after the last. It goes on at 0.0005; "
        "the last iteration before had 3e-09"
    )
    assert 1e-3 * slowed(longer.steps[2], 900) == pytest.approx(0.0005)  # the middle of half a cosine
    (said,) = describe_changes(with_iterations(narrow["two_step"], (60_000, 90_000), None, None), (60_000,) * 2, 60_000)
    assert said == (
        "step 2 has 90,000 iterations instead of 60,000. The learning rate follows the schedule of the new length: "
        "0.0001 at the first iteration, divided by 5 every 30,000 iterations"
    )


def test_a_finished_run_that_was_lengthened_and_killed_ends_with_the_same_weights(tiny, tmp_path):
    for name in ("whole", "killed"):
        train(session(tiny, tmp_path / name))
        lengthened = session(tiny, tmp_path / name, iterations=5, resume=True)
        assert [step.iterations for step in lengthened.recipe.steps] == [2, 2, 5]
        assert lengthened.notes[0].startswith("step 3 has 5 iterations instead of 2, of which 2 are done.")
        if name == "killed":
            lengthened.checkpoint_every = 1

            def interrupt(*_, run=lengthened):
                if run.iteration == 7:
                    signal.raise_signal(signal.SIGTERM)

            with pytest.raises(RunError, match="stopped after iteration 7 of 9"):
                train(lengthened, interrupt)
            lengthened = session(tiny, tmp_path / name, iterations=None, resume=True)
            assert lengthened.notes == []
        train(lengthened)
    assert weights(tmp_path / "whole", 9) == weights(tmp_path / "killed", 9)
    facts = json.loads((tmp_path / "killed" / "run.json").read_text())
    (change,) = facts["lengthened"]
    assert (change["at"], change["from"], change["to"]) == (6, [2, 2, 2], [2, 2, 5])
    assert "half a cosine" in change["schedule"][0]
    again = session(tiny, tmp_path / "killed", iterations=None, resume=True)
    again.batches.close()
    assert again.notes == ["the run has done all its iterations; give more --iterations to make it longer"]


def test_a_run_that_was_never_lengthened_has_no_word_of_it(tiny, tmp_path):
    session(tiny, tmp_path / "run").batches.close()
    assert "lengthened" not in json.loads((tmp_path / "run" / "run.json").read_text())


def test_a_step_that_is_over_cannot_become_longer(tiny, tmp_path):
    train(session(tiny, tmp_path / "run"))
    with pytest.raises(RunError, match=r"--iterations has 9 for step 1, which is over after 2; only the present step"):
        session(tiny, tmp_path / "run", iterations=(9, 2, 4), resume=True)
    session(tiny, tmp_path / "run", iterations=(2, 2, 4), resume=True).batches.close()
