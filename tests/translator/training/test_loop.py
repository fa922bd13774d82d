import signal
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn
from torch.optim import Adam

from survey_tools import progress
from survey_tools.errors import RunError
from translator import RECIPES, Step, Term, Turn
from translator.images import Images
from translator.losses import cycle
from translator.recipes import both, moves
from translator.runs.apply import translate_each
from translator.runs.checkpoint import load_run
from translator.training.loop import Watch, train
from translator.training.session import TrainingInputs, TrainingSettings, open_session
from translator.training.update import Model, iterate, update


def session(tiny, path, recipe="demo", resume=False, **settings):
    settings = {"iterations": 2, "batch_size": 2, "checkpoint_every": 1, "device": "cpu"} | settings
    return open_session(TrainingInputs(*tiny.paths), path, TrainingSettings(recipe, **settings), resume=resume)


def weights(path, iteration):
    return (path / "checkpoints" / f"{iteration:09}" / "networks.safetensors").read_bytes()


def constant(images, domain):
    """A loss whose gradient is (3, 4) times 10, so of norm 50."""
    return 10 * (images.networks["point"].weight * torch.tensor([[3.0, 4.0]])).sum()


@pytest.fixture
def point():
    networks = nn.ModuleDict({"point": nn.Linear(2, 1, bias=False)})
    nn.init.zeros_(networks["point"].weight)
    return networks


def test_gradients_are_clipped_to_the_norm_of_a_turn_together(point, batch):
    seen = torch.optim.SGD(point.parameters(), lr=1.0)
    update(Images(point, batch, None), Turn(("point",), (Term(constant, "x"),)), seen)
    assert_allclose(point["point"].weight.detach().numpy(), [[-3, -4]], rtol=1e-6)
    update(Images(point, batch, None), Turn(("point",), (Term(constant, "x"),), largest_norm=1.0), seen)
    assert_allclose(point["point"].weight.detach().numpy(), [[-3.6, -4.8]], rtol=1e-6)


def test_terms_are_weighted(point, batch):
    seen = torch.optim.SGD(point.parameters(), lr=1.0)
    turn = Turn(("point",), (Term(constant, "x", 0.01), Term(constant, "y", 0.02)))
    losses = update(Images(point, batch, None), turn, seen)
    assert_allclose(point["point"].weight.detach().numpy(), [[-0.9, -1.2]], rtol=1e-6)
    assert losses == {"constant_x": 0.0, "constant_y": 0.0}


@pytest.mark.parametrize(("index", "rate"), [(0, 1e-4), (19_999, 1e-4), (20_000, 2e-5), (40_000, 4e-6)])
def test_learning_rate_is_divided_by_five_every_20000_iterations(point, batch, index, rate):
    step = Step((Turn(("point",), (Term(constant, "x"),)),))
    optimizer = Adam(point.parameters())
    iterate(Model(point, None), step, index, [optimizer], batch)
    assert_allclose(optimizer.param_groups[0]["lr"], rate)
    assert_allclose(point["point"].weight.detach().abs().numpy(), rate, rtol=1e-5)  # Adam's first step


@pytest.mark.parametrize(("index", "part"), [(0, 1.0), (10, 0.5), (19, 0.0062)])
def test_a_step_without_divisions_slows_down_smoothly(point, batch, index, part):
    step = Step((Turn(("point",), (Term(constant, "x"),)),), iterations=20, decay_every=None)
    optimizer = Adam(point.parameters())
    iterate(Model(point, None), step, index, [optimizer], batch)
    assert_allclose(optimizer.param_groups[0]["lr"], 1e-4 * part, rtol=0.01)


def broken(images, domain):
    """A loss that is not a number."""
    return images.networks["point"].weight.sum() * torch.nan


def test_a_loss_that_is_not_finite_moves_nothing(point, batch):
    with pytest.raises(FloatingPointError, match="broken_x is nan"):
        update(Images(point, batch, None), Turn(("point",), (Term(broken, "x"),)), Adam(point.parameters()))
    assert float(point["point"].weight.detach().abs().max()) == 0


@pytest.mark.parametrize("recipe", RECIPES)
def test_saved_loaded_and_resumed_gives_the_same_next_step(tiny, tiny_regridded, narrow, tmp_path, recipe):
    total, tiny = 2 * len(RECIPES[recipe].steps), tiny_regridded if RECIPES[recipe].same_grid else tiny
    train(session(tiny, tmp_path / "run", recipe))
    expected = weights(tmp_path / "run", total)
    newest = tmp_path / "run" / "checkpoints" / f"{total:09}"
    newest.rename(tmp_path / "away")
    resumed = session(tiny, tmp_path / "run", recipe, resume=True)
    assert resumed.iteration == total - 1
    train(resumed)
    assert weights(tmp_path / "run", total) == expected


def test_the_log_of_a_training_says_step_iteration_losses_rate_and_time_left(tmp_path, monkeypatch):
    clock = SimpleNamespace(now=0.0, monotonic=lambda: clock.now)
    monkeypatch.setattr(progress, "time", clock)
    watch = Watch(tmp_path, 620)
    with watch.step(2, 3, done=320, iterations=500, total=880):
        for iteration in range(621, 651):
            watch.show(2, iteration, {"posterior_mean_x": 0.0, "posterior_mean_y": 0.1234})
        clock.now = 60.0
        assert watch._progress.line() == (
            "training step 2 of 3: 350 of 500 iterations (70.0 %) after 60 s, 30 iterations/min, 5 min left; "
            "posterior_mean_x=0, posterior_mean_y=0.12; iteration 650 of 880 of the run"
        )
        entry = {"iteration": 650, "values": {"sdss_to_cfht": {"signal_residual_real": [0.07, None, 0.09]}}}
        watch.validation(entry, "signal_residual_real", "gri")
        assert watch._progress.line().endswith("; signal_residual_real of iteration 650: sdss_to_cfht=0.08")
    watch.close()


def test_resuming_a_finished_run_changes_nothing(tiny, tmp_path):
    train(session(tiny, tmp_path / "run"))
    before = weights(tmp_path / "run", 4)
    train(session(tiny, tmp_path / "run", resume=True))
    assert weights(tmp_path / "run", 4) == before


def test_a_run_that_stops_being_finite_keeps_its_last_checkpoint(tiny, tmp_path):
    def fail_later(images, domain):
        """The cycle, which is no number from the third iteration on."""
        return cycle(images, domain) * (torch.nan if begun.iteration >= 2 else 1.0)

    step = Step((Turn(moves("generator"), both(fail_later)),), 4)
    recipe = replace(RECIPES["demo"], networks={"generator": RECIPES["demo"].networks["generator"]}, steps=(step,))
    begun = session(tiny, tmp_path / "run", recipe, iterations=4)
    with pytest.raises(RunError, match=r"fail_later_x is nan in iteration 2; the last checkpoint is kept.*resume=True"):
        train(begun)
    assert sorted(p.name for p in (tmp_path / "run" / "checkpoints").iterdir()) == ["000000001", "000000002"]


def test_the_whole_run_loads_and_its_curves_can_be_read(tiny, tmp_path, read_losses):
    train(session(tiny, tmp_path / "run", iterations=3))
    run = load_run(tmp_path / "run", "cpu")
    assert (run.recipe, run.iteration, run.bands) == ("demo", 6, ("g", "r"))
    assert [run.domains[d].survey for d in "xy"] == ["sdss", "cfht"]
    assert [run.domains[d].size for d in "xy"] == [16, 36]
    assert run.domain_of("cfht") == "y"
    assert not any(p.requires_grad for p in run.networks.parameters())
    assert run.networks["generator_y"](torch.zeros(1, 2, 16, 16)).shape == (1, 2, 36, 36)
    curves = read_losses(tmp_path / "run")
    assert set(curves) == {"step 1", "step 2"}
    assert set(curves["step 2"]) == {"cycle_x", "cycle_y", "identity_x", "identity_y"}
    iterations, values = curves["step 2"]["cycle_y"].T
    np.testing.assert_array_equal(iterations, [4, 5, 6])
    assert np.isfinite(values).all()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("recipe", RECIPES)
def test_trains_and_resumes_on_a_gpu(tiny, tiny_regridded, narrow, tmp_path, recipe):
    total, tiny = 2 * len(RECIPES[recipe].steps), tiny_regridded if RECIPES[recipe].same_grid else tiny
    train(session(tiny, tmp_path / "run", recipe, device="cuda"))
    (tmp_path / "run" / "checkpoints" / f"{total:09}").rename(tmp_path / "away")
    train(session(tiny, tmp_path / "run", recipe, device="cuda", resume=True))
    assert load_run(tmp_path / "run", "cuda").iteration == total


def test_psf_matched_is_taken_up_to_the_bit_in_every_step(tiny, tmp_path):
    train(session(tiny, tmp_path / "whole", "psf_matched", width=4))
    surveys = load_run(tmp_path / "whole", "cpu").networks
    assert all(float(surveys[f"survey_{d}"].flux_scatter.diagonal().max()) > 0 for d in "xy")  # measured at the end
    for stop in range(1, 6):
        begun = session(tiny, tmp_path / f"run{stop}", "psf_matched", width=4)
        begun.checkpoint_every = stop

        def interrupt(*_, run=begun, last=stop):
            if run.iteration == last:
                signal.raise_signal(signal.SIGTERM)

        with pytest.raises(RunError, match="stopped"):
            train(begun, interrupt)
        train(session(tiny, tmp_path / f"run{stop}", "psf_matched", resume=True, width=4))
        assert weights(tmp_path / f"run{stop}", 6) == weights(tmp_path / "whole", 6)


def test_each_step_has_its_own_number_of_iterations(tiny, tmp_path):
    opened = session(tiny, tmp_path / "run", "psf_matched", iterations=(3, 4, 5), width=4)
    assert [step.iterations for step in opened.recipe.steps] == [3, 4, 5]
    opened.batches.close()
    with pytest.raises(RunError, match="--iterations has 2 numbers, and the recipe has 3 steps"):
        session(tiny, tmp_path / "other", "psf_matched", iterations=(3, 4), width=4)


def test_bfloat16_and_float32_agree_below_the_noise(tiny, tmp_path):
    made = []
    for precision in ("float32", "bf16"):
        opened = session(tiny, tmp_path / precision, "psf_matched", iterations=6, width=8, precision=precision)
        train(opened)
        run = load_run(tmp_path / precision, "cpu")
        made.append(translate_each(run, tiny.x.images[6:9], "y", [0] * 3, noise=False))
    assert np.abs(made[0] - made[1]).max() > 0
    assert np.sqrt(np.mean((made[0] - made[1]) ** 2)) < 0.5 * 0.002  # of a pixel's noise
