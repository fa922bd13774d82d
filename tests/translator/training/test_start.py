import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from survey_tools.errors import ArgumentError, RunError
from survey_tools.surveys import CFHT, DES, SDSS
from translator import import_weights, train
from translator.images import Known
from translator.observing import Observed, tell_of
from translator.runs.checkpoint import load_run, read_checkpoint
from translator.training.session import TrainingInputs, TrainingSettings, open_session
from translator.training.start import Start, open_start, take_weights

BANDS = "ugriz"


def begin(inputs, path, start=None, recipe="psf_matched", resume=False, **more):
    settings = TrainingSettings(recipe, 2, 2, device="cpu", start=start and Start(str(start), start), **more)
    session = open_session(TrainingInputs(*inputs.paths), path, settings, resume=resume)
    session.batches.close()
    return session


def run_of(inputs, path, **more):
    """Train a narrow psf_matched for two iterations of each step."""
    return train(
        *inputs.paths, run=path, recipe="psf_matched", iterations=2, batch_size=2, width=4, device="cpu", **more
    )


@pytest.fixture(scope="module")
def pair_of(tmp_path_factory, tiny_store, pair_table):
    """A function that makes two stores of six galaxies, of which four are pairs, and their pair table."""

    def make(bands=BANDS, surveys=(SDSS, CFHT), sky=0.01):
        folder, ra = tmp_path_factory.mktemp("stores"), 150 + 0.1 * np.arange(8)
        names, sizes, rights = "xy", (16, 36), (ra[:6], ra[2:])
        stores = [
            tiny_store(folder / f"{name}.zarr", survey, size, right, bands=bands, sky=sky)
            for name, survey, size, right in zip(names, surveys, sizes, rights, strict=True)
        ]
        pairs = pair_table(*stores, np.arange(2, 6), np.arange(4), ["train"] * 3 + ["test"])
        pairs.write(folder / "pairs.ecsv")
        return SimpleNamespace(stores=stores, paths=[folder / f for f in ("x.zarr", "y.zarr", "pairs.ecsv")])

    return make


@pytest.fixture(scope="module")
def five_bands(pair_of):
    return pair_of()


@pytest.fixture(scope="module")
def trained(five_bands, tmp_path_factory):
    path = tmp_path_factory.mktemp("trained") / "run"
    run_of(five_bands, path)
    return path


def test_weights_are_taken_and_surveys_are_measured_anew(pair_of, trained, tmp_path):
    noisier = pair_of(sky=0.03)
    begun = begin(noisier, tmp_path / "run", trained)
    there = read_checkpoint(trained)
    for name, tensor in begun.networks.state_dict().items():
        if not name.startswith("survey_"):
            assert torch.equal(tensor, there.networks[name]), name
    ratio = begun.networks["survey_x"].sky_sigma / there.networks["survey_x.sky_sigma"]
    np.testing.assert_allclose(ratio.numpy(), 3.0, rtol=1e-6)  # the noise of these stores, not of those
    assert float(begun.networks["survey_y"].flux_scatter.abs().max()) == 0.0  # measured when the training ends
    assert begun.facts.width == 4  # of the run that it begins from
    stated = json.loads((tmp_path / "run" / "run.json").read_text())["from"]
    assert stated == {"run": str(trained), "iteration": 6, "weights_sha256": load_run(trained, "cpu").checksum}
    assert begun.notes == [f"begins from the weights of {trained} (iteration 6)"]


def test_the_same_stores_give_the_same_measures(five_bands, trained, tmp_path):
    begun, there = begin(five_bands, tmp_path / "run", trained), read_checkpoint(trained).networks
    for name in ("psf_fwhm", "log_sigma", "spread", "correlation", "moments", "gain"):
        assert torch.equal(getattr(begun.networks["survey_x"], name), there[f"survey_x.{name}"])


def test_another_survey_is_said(pair_of, trained, tmp_path):
    begun = begin(pair_of(surveys=(SDSS, DES)), tmp_path / "run", trained)
    assert begun.notes[1] == f"{trained} was trained on sdss and cfht, and this training is on sdss and des"


def test_fewer_bands_have_the_weights_for_these(pair_of, five_bands, trained, tmp_path):
    """The weights for some bands restore them as all weights do if the other bands are missing."""
    begun = begin(pair_of("gri"), tmp_path / "run", trained)
    assert begun.facts.begun_from["bands"] == "gri"
    assert "those for gri of its bands ugriz" in begun.notes[0]
    whole, some = load_run(trained, "cpu").networks, begun.networks
    places = [1, 2, 3]
    torch.manual_seed(1)
    torch.nn.init.normal_(whole["restoration_y"].net.last.weight, 0, 0.1)
    begun.networks["restoration_y"].net.last.weight.data.copy_(
        whole["restoration_y"].net.last.weight.unflatten(0, (5, 4))[places].flatten(0, 1)
    )
    for name in ("psf_fwhm", "sky_sigma", "sigma_ratio", "gain"):
        for survey in ("survey_x", "survey_y"):
            getattr(some[survey], name).copy_(getattr(whole[survey], name)[places])
    image = torch.randn(2, 5, 16, 16)
    there = torch.zeros(2, 5, 16, 16, dtype=torch.bool)
    there[:, places] = True
    unknown, alignment = torch.full((2, 5), torch.nan), torch.tensor([[2.25, 0, 0.2], [0, 2.25, 0.1]]).repeat(2, 1, 1)
    known = Known(torch.full((2, 5), 1.3), torch.full((2, 5), 0.02), unknown)
    made = {}
    for name, networks, kept in (("whole", whole, slice(None)), ("some", some, places)):
        observed = Observed(image[:, kept], there[:, kept], known.map(lambda values, kept=kept: values[:, kept]))
        told = tell_of(networks, "y", observed, unknown[:, kept], alignment, 36)
        made[name] = networks["restoration_y"](told)
    torch.testing.assert_close(made["whole"][:, places], made["some"], rtol=1e-5, atol=1e-6)


def test_weights_that_do_not_fit_are_named_with_their_shapes(five_bands, pair_of, tmp_path):
    run_of(pair_of("gri"), tmp_path / "three")
    with pytest.raises(RunError) as error:
        begin(five_bands, tmp_path / "run", tmp_path / "three")
    assert str(error.value) == (
        f"the weights of {tmp_path / 'three'} do not fit: its x is sdss in gri on 16 pixels and not sdss in ugriz on "
        "16 pixels, its y is cfht in gri on 36 pixels and not cfht in ugriz on 36 pixels: it has no weights for u, z; "
        "its draws_y.net.code.0.weight is (64, 9), and here it is (64, 15); its draws_y.net.first.weight is "
        "(2, 36, 3, 3), and here it is (2, 60, 3, 3); and 11 more; give its bands as --bands gri"
    )
    assert not (tmp_path / "run").exists()


def test_bands_of_other_names_are_refused_even_if_shapes_fit(pair_of, trained, tmp_path):
    with pytest.raises(RunError, match="it has no weights for y; give --bands griz, for which it has weights"):
        begin(pair_of("grizy", (DES, DES)), tmp_path / "run", trained)


def test_another_recipe_is_refused(five_bands, trained, tmp_path):
    with pytest.raises(RunError, match="was trained by the recipe psf_matched, and not by demo: give --recipe psf_m"):
        begin(five_bands, tmp_path / "run", trained, recipe="demo")
    with pytest.raises(ArgumentError, match="neither a folder nor a built-in model"):
        train(*five_bands.paths, run=tmp_path / "run", start_from="sdss-cfht")


def test_another_width_is_refused_with_the_option(five_bands, trained, tmp_path):
    with pytest.raises(RunError, match=r"its width is 4 and not 6: .*; give --width 4, or begin from another"):
        begin(five_bands, tmp_path / "run", trained, width=6)


def test_a_run_that_was_begun_from_another_is_resumed(five_bands, trained, tmp_path):
    path = tmp_path / "run"
    begin(five_bands, path, trained)
    assert begin(five_bands, path, trained, resume=True).facts == begin(five_bands, path, resume=True).facts
    with pytest.raises(RunError, match=r"was begun from .*, and not from .*elsewhere; resume it without --from"):
        begin(five_bands, path, tmp_path / "elsewhere", resume=True)


def test_the_recipe_is_that_of_the_run(five_bands, trained, tmp_path):
    run = train(*five_bands.paths, run=tmp_path / "run", start_from=trained, iterations=1, batch_size=2, device="cpu")
    assert run.recipe == "psf_matched"
    assert run.facts.begun_from["run"] == str(trained)


def test_the_model_that_comes_with_galtrans(five_bands):
    from translator.runs.built_in import find_model

    start = open_start(Start("sdss-cfhtls", find_model("sdss-cfhtls")), "psf_matched")
    assert start.checkpoint.checksum == load_run(find_model("sdss-cfhtls"), "cpu").checksum


def test_imported_weights_begin_a_training_and_absent_networks_begin_anew(tmp_path, narrow):
    """Weights in the authors' names, as of their generators and noise emulators alone, in the sizes of the surveys."""
    from translator.recipes import RECIPES
    from translator.runs.checkpoint import build_networks
    from translator.runs.facts import RunFacts, survey_domains
    from translator.weights.transfer import to_authors, variable_name

    facts = RunFacts("two_step", (1, 1), 1, 5, survey_domains(False), "")
    networks = build_networks(facts, RECIPES["two_step"])
    weights = {
        variable_name(name, key): to_authors(key, tensor.numpy())
        for name, network in networks.items()
        if name.startswith(("generator", "emulator"))
        for key, tensor in network.state_dict().items()
    }
    np.savez(tmp_path / "theirs.npz", **weights)
    import_weights(tmp_path / "theirs.npz", tmp_path / "imported")
    start = open_start(Start("theirs", tmp_path / "imported"), "two_step")
    mine = build_networks(RunFacts("two_step", (1, 1), 1, 6, survey_domains(False), ""), RECIPES["two_step"])
    before = {name: tensor.clone() for name, tensor in mine.state_dict().items()}
    stated = take_weights(mine, start, facts, ())
    assert stated["new_networks"] == ["autoencoder_x", "autoencoder_y", "discriminator_x", "discriminator_y"]
    for name, tensor in mine.state_dict().items():
        known = networks if name.startswith(("generator", "emulator")) else None
        assert torch.equal(tensor, known.state_dict()[name] if known else before[name]), name
