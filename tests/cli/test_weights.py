import numpy as np
import pytest
from astropy.io import fits
from click.testing import CliRunner

from cli.main import galtrans
from survey_tools.errors import RunError
from survey_tools.fits.band_fits import band_hdus
from survey_tools.images.sky_wcs import north_up_wcs
from translator import RECIPES
from translator.networks.layers import Grid
from translator.weights.transfer import to_authors, variable_name

BANDS = tuple("ugriz")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Weights of the generators and emulators of `demo`, by the authors' names."""
    networks = RECIPES["demo"].build({"x": Grid(5, 64), "y": Grid(5, 136)})
    arrays = {
        variable_name(name, parameter): to_authors(parameter, tensor.numpy())
        for name, network in networks.items()
        for parameter, tensor in network.state_dict().items()
        if name.startswith(("generator", "emulator"))
    }
    path = tmp_path_factory.mktemp("source") / "weights.npz"
    np.savez(path, **arrays, global_step=np.int64(3))
    return path


def call(*words):
    return CliRunner().invoke(galtrans, [str(word) for word in words])


def test_from_weights_to_a_translation_and_back_to_weights(source, tmp_path):
    run = tmp_path / "run"
    result = call("import-weights", source, "--recipe", "demo", "--run", run)
    assert result.exit_code == 0, result.output
    assert "parameters of 4 networks read from" in result.output
    assert "left aside: 1 variables" in result.output
    absent = "autoencoder_x, autoencoder_y, discriminator_x, discriminator_y"
    assert f"not needed to translate: {absent}" in result.output
    assert f"galtrans translate {run} FILES… --to cfht" in result.output

    image = tmp_path / "galaxy.fits"
    band_hdus(np.ones((5, 64, 64)), BANDS, north_up_wcs(10, 20, 0.396, 64), fits.Header()).writeto(image)
    result = call("translate", run, image, "--to", "cfht", "--out", tmp_path / "out", "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert fits.getdata(tmp_path / "out" / "galaxy_cfht.fits", "r").shape == (136, 136)
    header = fits.getheader(tmp_path / "out" / "galaxy_cfht.fits")
    assert header["GTRUN"] == "run"
    assert f"Weights imported from {source.name}." in list(header["HISTORY"])

    out = tmp_path / "back.npz"
    result = call("export-weights", run, "--out", out)
    assert result.exit_code == 0, result.output
    assert "parameters of 4 networks after 0 iterations, written to" in result.output
    with np.load(source) as before, np.load(out) as after:
        assert set(after.files) == set(before.files) - {"global_step"}
        assert all(after[name].tobytes() == before[name].tobytes() for name in after.files)
    again = call("export-weights", run, "--out", out)
    assert again.exit_code == 2
    assert "exists already; choose another --out or pass --overwrite" in again.output
    assert call("export-weights", run, "--out", out, "--overwrite").exit_code == 0


def test_a_prefix_that_looks_like_an_option(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = call("import-weights", "-60000", "--recipe", "demo", "--run", "run")
    assert isinstance(result.exception, RunError)
    assert "-60000 is no TensorFlow checkpoint: -60000.index is not there" in str(result.exception)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("import-weights", "a.npz", "--recipe", "three_step", "--run", "run"), "'three_step'; known are two_step,"),
        (("import-weights", "a.npz", "--recipe", "demo"), "Missing option '--run'"),
        (("import-weights", "a.npz", "--recipee", "demo", "--run", "run"), "Missing option '--recipe'"),
        (("export-weights", "no_run", "--out", "a.npz"), "'no_run' is neither a folder nor a built-in model"),
        (("export-weights", ".", "--out", "a.txt"), "'a.txt': its name must end in .npz"),
    ],
)
def test_wrong_usage_exits_2(tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    result = call(*words)
    assert result.exit_code == 2
    assert said in result.output
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("import-weights", "bad.npz", "--recipe", "demo", "--run", "run"),
            "cannot be read as an .npz of plain arrays",
        ),
        (("import-weights", ".", "--recipe", "demo", "--run", "run"), "holds 0 TensorFlow checkpoints"),
        (("export-weights", ".", "--out", "a.npz"), "is not a training run"),
    ],
)
def test_what_failed_is_one_line_and_exit_1(galtrans, tmp_path, monkeypatch, words, said):
    (tmp_path / "bad.npz").write_bytes(b"nothing")
    monkeypatch.chdir(tmp_path)
    code, _, err = galtrans(*words)
    assert code == 1
    assert err.startswith("Error: ")
    assert said in err
    assert err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["bad.npz"]
