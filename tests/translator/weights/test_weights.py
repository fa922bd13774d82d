import hashlib
import io
import logging
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from survey_tools.errors import RunError
from translator import RECIPES
from translator.networks.layers import Grid
from translator.runs import checkpoint
from translator.runs.apply import translate_each
from translator.runs.checkpoint import Checkpoint, build_networks, find_recipe, load_run, save_checkpoint
from translator.runs.facts import Domain, RunFacts, check_same, read_facts, write_facts
from translator.weights import transfer
from translator.weights.transfer import export_weights, import_weights, scope, to_authors, variable_name

ROOT = Path(__file__).parents[3]
REAL = ROOT.parent / "shared" / "golden" / "checkpoint_two_step" / "-60000"


def variables_of(recipe):
    """The authors' variables of all networks of a recipe, untrained."""
    grids = {"x": Grid(5, 64), "y": Grid(5, 64 if RECIPES[recipe].same_grid else 136)}
    return {
        variable_name(name, parameter): to_authors(parameter, tensor.numpy())
        for name, network in RECIPES[recipe].build(grids).items()
        for parameter, tensor in network.state_dict().items()
    }


@pytest.fixture(scope="module")
def demo():
    return variables_of("demo")


@pytest.fixture
def write(tmp_path):
    def write_npz(variables):
        np.savez(tmp_path / "source.npz", **variables)
        return tmp_path / "source.npz"

    return write_npz


def assert_bit_for_bit(path, expected):
    with np.load(path, allow_pickle=False) as found:
        assert set(found.files) == set(expected)
        for name, array in expected.items():
            assert (found[name].dtype, found[name].shape) == (np.float32, array.shape)
            assert found[name].tobytes() == array.tobytes()


@pytest.mark.parametrize(
    "recipe", ["demo", "no_autoencoder", "cyclegan_id_ps", "cyclegan_resnet6", "augmented_cyclegan"]
)
def test_import_and_export_give_the_same_bits(recipe, narrow, write, tmp_path):
    variables = variables_of(recipe)
    report = import_weights(write(variables), recipe, tmp_path / "run")
    assert sum(report.parameters.values()) == sum(array.size for array in variables.values())
    assert report.absent == ()
    exported = export_weights(tmp_path / "run", tmp_path / "out.npz")
    assert exported.parameters == report.parameters
    assert_bit_for_bit(tmp_path / "out.npz", variables)


def test_values_that_only_bits_tell_apart_survive(demo, write, tmp_path):
    name = "generator01/conv1/biases"
    special = np.array([-0.0, 0.0, 1e-45, -1e-40, 3.4e38, np.float32(0.1), 1, -1], np.float32)
    import_weights(write(demo | {name: special}), "demo", tmp_path / "run")
    export_weights(tmp_path / "run", tmp_path / "out.npz")
    assert_bit_for_bit(tmp_path / "out.npz", demo | {name: special})


def test_a_checkpoint_of_tensorflow_with_its_training_state(demo, tf_bundle, tmp_path):
    state = {"beta1_power": np.float32(0.9), "beta2_power_1": np.float32(0.99), "global_step": np.int64(5)}
    slots = {f"{name}/{slot}": array * 0 for name, array in demo.items() for slot in ("Adam", "Adam_1")}
    prefix = tf_bundle.write(tmp_path / "-60000", demo | slots | state, shards=2)
    report = import_weights(tmp_path, "demo", tmp_path / "run")
    assert (report.iteration, report.ignored) == (60_000, 2 * len(demo) + 3)
    facts, run = read_facts(tmp_path / "run"), load_run(tmp_path / "run", "cpu")
    assert run.iteration == 60_000
    assert list(facts.imported) == ["-60000.index", "-60000.data-00000-of-00002", "-60000.data-00001-of-00002"]
    content = prefix.with_name("-60000.index").read_bytes()
    assert facts.imported["-60000.index"] == hashlib.sha256(content).hexdigest()
    export_weights(tmp_path / "run", tmp_path / "out.npz")
    assert_bit_for_bit(tmp_path / "out.npz", demo)


def test_the_authors_checkpoint_gives_the_authors_images(golden, tmp_path):
    """Largest difference over the largest value below 1e-4 in float32, and the same bits on the way out."""
    report = import_weights(REAL, "two_step", tmp_path / "run")
    assert report.parameters == {
        "emulator_x": 22_010,
        "emulator_y": 22_010,
        "generator_x": 1_019_269,
        "generator_y": 1_425_093,
    }
    assert set(report.absent) == {"autoencoder_x", "autoencoder_y", "discriminator_x", "discriminator_y"}
    assert report.ignored == 74
    export_weights(tmp_path / "run", tmp_path / "out.npz")
    read = transfer.read_tf_checkpoint(REAL)
    assert_bit_for_bit(tmp_path / "out.npz", {k: v for k, v in read.items() if "Adam" not in k and "power" not in k})
    run, listed = load_run(tmp_path / "run", "cpu"), np.load(golden.GOLDEN)
    for name, size in (("generator_x", 136), ("generator_y", 64)):
        image = 0.5 * np.random.default_rng(1).standard_normal((2, size, size, 5)).astype(np.float32)
        with torch.no_grad():
            found = run.networks[name](torch.from_numpy(np.moveaxis(image, -1, 1).copy())).numpy()
        expected = np.moveaxis(listed[f"network/{scope(name)}/output"], -1, 1)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_networks_that_translating_does_not_need_may_be_absent(demo, write, tmp_path):
    some = {name: array for name, array in demo.items() if name.startswith(("generator", "noise"))}
    report = import_weights(write(some), "demo", tmp_path / "run")
    assert report.absent == ("autoencoder_x", "autoencoder_y", "discriminator_x", "discriminator_y")
    run = load_run(tmp_path / "run", "cpu")
    with_weights = {name for name, network in run.networks.items() if network.state_dict()}
    assert with_weights == {"generator_x", "generator_y", "emulator_x", "emulator_y"}
    export_weights(tmp_path / "run", tmp_path / "out.npz")
    assert_bit_for_bit(tmp_path / "out.npz", some)


def test_latent_codes_need_their_encoder_and_no_discriminator(write, tmp_path):
    some = without(variables_of("augmented_cyclegan"), "discriminator")
    import_weights(write(some), "augmented_cyclegan", tmp_path / "run")
    run, images = load_run(tmp_path / "run", "cpu"), np.ones((5, 64, 64))
    assert not any("discriminator" in name for name in run.networks)
    assert translate_each(run, images[None], "y", [1], noise=True).shape == (1, 5, 64, 64)
    with pytest.raises(RunError, match="2 networks that it lacks: generator_latent1, generator_latent0; give"):
        import_weights(write(without(some, "generator_latent")), "augmented_cyclegan", tmp_path / "other")


def test_the_surveys_of_an_imported_run(demo, write, tmp_path):
    import_weights(write(demo), "demo", tmp_path / "run")
    x, y = load_run(tmp_path / "run", "cpu").domains.values()
    assert (x.survey, x.size, x.pixel_scale, y.survey, y.size, y.pixel_scale) == ("sdss", 64, 0.396, "cfht", 136, 0.186)
    assert x.bands == y.bands == tuple("ugriz")
    import_weights(write(variables_of("cyclegan_resnet6")), "cyclegan_resnet6", tmp_path / "same")
    y = load_run(tmp_path / "same", "cpu").domains["y"]
    assert (y.survey, y.size, y.pixel_scale) == ("cfht", 64, 0.396)


def without(variables, *starts):
    return {name: array for name, array in variables.items() if not name.startswith(starts)}


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda v: without(v, "generator10"), "1 networks that it lacks: generator10; give the --recipe"),
        (lambda v: without(v, "noise"), "2 networks that it lacks: noise1, noise0"),
        (lambda v: without(v, "auto0/conv9"), "2 variables that it lacks: auto0/conv9/weights, auto0/conv9/biases"),
        (
            lambda v: v | {f"other{i}/weights": np.zeros(1, np.float32) for i in range(5)},
            "5 variables that the recipe has not: other0/weights, other1/weights, other2/weights and 2 more",
        ),
        (
            lambda v: v | {"auto1/conv1/biases": np.zeros(7, np.float32)},
            r"1 variables of another shape: auto1/conv1/biases \(7,\), not \(8,\)",
        ),
        (
            lambda v: v | {"auto1/conv1/biases": np.zeros(8, np.int32)},
            "1 variables that are not floating-point: auto1/conv1/biases",
        ),
        (
            lambda v: v | {"auto1/conv1/biases": np.full(8, np.nan, np.float32)},
            "1 variables with NaN or infinite values in float32: auto1/conv1/biases",
        ),
        (lambda v: v | {"auto1/conv1/biases": np.full(8, 1e300)}, "infinite values in float32: auto1/conv1/biases"),
        (lambda v: v | {"auto1/conv1/biases:0": v["auto1/conv1/biases"]}, "a variable twice, with and without ':0'"),
    ],
)
def test_faults_are_named_and_nothing_is_written(demo, write, tmp_path, change, match):
    source = write(change(demo))
    with pytest.raises(RunError, match=match) as caught:
        import_weights(source, "demo", tmp_path / "run")
    assert str(source) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == ["source.npz"]


def test_wider_values_are_rounded_with_one_warning(demo, write, tmp_path, caplog):
    wide = {name: array.astype(np.float64) for name, array in demo.items()}
    with caplog.at_level(logging.WARNING):
        import_weights(write(wide), "demo", tmp_path / "exact")
    assert not caplog.records
    wide["auto1/conv1/biases"] = np.full(8, 0.1)
    with caplog.at_level(logging.WARNING):
        import_weights(write(wide), "demo", tmp_path / "rounded")
    (record,) = caplog.records
    assert "8 values that float32 does not hold exactly were rounded" in record.getMessage()
    export_weights(tmp_path / "rounded", tmp_path / "out.npz")
    assert_bit_for_bit(tmp_path / "out.npz", demo | {"auto1/conv1/biases": np.full(8, 0.1, np.float32)})


def test_names_as_tensorflow_calls_values(demo, write, tmp_path):
    import_weights(write({f"{name}:0": array for name, array in demo.items()}), "demo", tmp_path / "run")
    export_weights(tmp_path / "run", tmp_path / "out.npz")
    assert_bit_for_bit(tmp_path / "out.npz", demo)


def test_a_run_that_is_there_stays(demo, write, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    import_weights(write(demo), "demo", run)  # an empty folder will do
    before = (run / "run.json").read_bytes()
    with pytest.raises(RunError, match="exists already; choose another --run"):
        import_weights(write(demo), "demo", run)
    assert (run / "run.json").read_bytes() == before


def test_a_full_disk_leaves_nothing(demo, write, tmp_path, monkeypatch):
    def fail(descriptor):
        raise OSError("No space left on device")

    source = write(demo)
    monkeypatch.setattr(checkpoint.os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        import_weights(source, "demo", tmp_path / "run")
    assert os.listdir(tmp_path) == ["source.npz"]


def test_an_imported_run_cannot_be_resumed(demo, write, tmp_path):
    import_weights(write(demo), "demo", tmp_path / "run")
    facts = read_facts(tmp_path / "run")
    with pytest.raises(RunError, match=r"holds weights imported from source\.npz .* cannot go on; train into another"):
        check_same(tmp_path / "run", facts, facts)


def test_a_run_half_way_and_of_other_grids_is_exported(tmp_path):
    domains = {d: Domain("sdss", ("g", "r"), size, 1.6, (), "") for d, size in (("x", 16), ("y", 36))}
    facts = RunFacts("demo", (5, 5), 2, 0, domains, "")
    networks = build_networks(facts, find_recipe("demo"))
    write_facts(tmp_path, facts)
    save_checkpoint(tmp_path, Checkpoint(3, 0, networks.state_dict(), {}))
    report = export_weights(tmp_path, tmp_path / "out.npz")
    assert report.iteration == 3
    with np.load(tmp_path / "out.npz") as found:
        theirs = found["generator10/conv1/weights"]
        np.testing.assert_array_equal(theirs.transpose(3, 2, 0, 1), networks["generator_y"].layers[0].weight.detach())


def npy(array):
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["objects", "pickle", "pickled member", "truncated", "changed", "npy", "nothing"])
def test_a_source_that_is_no_npz_of_plain_arrays(write, tmp_path, trap, kind):
    source = write({"auto1/conv1/biases": np.arange(1000.0)})
    content = source.read_bytes()
    if kind == "objects":
        source.write_bytes(b"")
        with zipfile.ZipFile(source, "w") as archive:
            archive.writestr("auto1/conv1/biases.npy", npy(np.array([trap], dtype=object)))
    elif kind == "pickled member":
        with zipfile.ZipFile(source, "w") as archive:
            archive.writestr("auto1/conv1/biases", pickle.dumps(trap))
    else:
        replacements = {
            "pickle": pickle.dumps(trap),
            "truncated": content[: len(content) // 2],
            "changed": content[:3000] + b"\x01\x02\x03" + content[3003:],
            "npy": npy(np.zeros(3)),
            "nothing": b"",
        }
        source.write_bytes(replacements[kind])
    with pytest.raises(RunError, match=r"source\.npz cannot be read as an \.npz of plain arrays: ") as caught:
        import_weights(source, "demo", tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == ["source.npz"]


def test_weights_of_a_recipe_that_the_authors_do_not_have_are_not_exported(tmp_path):
    domains = {
        "x": Domain("sdss", tuple("gr"), 64, 0.396, (), ""),
        "y": Domain("cfht", tuple("gr"), 136, 0.186, (), ""),
    }
    facts = RunFacts("psf_matched", (1, 1, 1), 2, 0, domains, "", width=4)
    write_facts(tmp_path / "run", facts)
    state = build_networks(facts, RECIPES["psf_matched"]).state_dict()
    save_checkpoint(tmp_path / "run", Checkpoint(3, 2, {name: each.contiguous() for name, each in state.items()}, {}))
    with pytest.raises(RunError, match="psf_matched, whose networks the authors do not have"):
        export_weights(tmp_path / "run", tmp_path / "out.npz")
    assert not (tmp_path / "out.npz").exists()
