import importlib
import subprocess
import sys

import pytest
from click.testing import CliRunner

pytest.importorskip("galsim")

from cli.main import galtrans
from cli.simulate import simulate
from survey_tools import open_store
from survey_tools.errors import GaltransError

MAIN = "import sys; from cli.main import main; sys.argv = ['galtrans', *sys.argv[1:]]; main()"


def run(*arguments):
    return CliRunner().invoke(galtrans, ["simulate", *map(str, arguments)])


def test_stores_are_written_and_what_comes_next_is_said(tmp_path):
    result = run("--galaxies", 2, "--bands", "gr", "--workers", 1, "--overlap", 1, "--out", tmp_path / "my sky")
    assert result.exit_code == 0, result.output
    assert len(open_store(tmp_path / "my sky" / "truth" / "cfht.zarr")) == 2
    assert "sdss.zarr" in result.output.splitlines()[0]
    assert f"  galtrans crossmatch '{tmp_path}/my sky/sdss.zarr' '{tmp_path}/my sky/cfht.zarr'" in result.output


def test_archive_files_are_the_default(tmp_path, monkeypatch):
    calls = []
    module = importlib.import_module("survey_tools.twin_sky.simulate")
    names = ("sas", "cfht", "truth", "catalogue.ecsv", "catalogue_cfht.ecsv")
    written = [tmp_path / name for name in names]
    monkeypatch.setattr(module, "simulate_archive", lambda out, **settings: calls.append((out, settings)) or written)
    result = run("--out", tmp_path, "--seed", 7, "--workers", 3, "--bands", "ri", "--overwrite")
    assert calls == [(tmp_path, {"bands": {"sdss": "ri", "cfht": "ri"}, "seed": 7, "workers": 3, "overwrite": True})]
    assert f"galtrans fetch sdss --catalogue {tmp_path}/catalogue.ecsv --mirror {tmp_path} --out" in result.output
    assert "cfht.zarr --bands ri" in result.output


def test_a_benchmark_is_made_and_what_comes_next_is_said(tmp_path, monkeypatch):
    calls = []
    module = importlib.import_module("survey_tools.twin_sky.benchmark")
    monkeypatch.setattr(
        module,
        "simulate_benchmark",
        lambda out, name, **settings: calls.append((name, settings)) or [out / "sdss.zarr", out / "cfht.zarr"],
    )
    result = run("--benchmark", "twin-v1-small", "--out", tmp_path, "--workers", 3)
    assert result.exit_code == 0, result.output
    assert calls == [("twin-v1-small", {"bands": {"sdss": "ugriz", "cfht": "ugriz"}, "workers": 3, "overwrite": False})]
    assert f"  galtrans evaluate {tmp_path}/run {tmp_path}/sdss.zarr {tmp_path}/cfht.zarr" in result.output


def test_what_comes_next_names_the_surveys_and_their_files(tmp_path, monkeypatch):
    module = importlib.import_module("survey_tools.twin_sky.simulate")
    written = [tmp_path / name for name in ("des", "hsc", "truth", "catalogue_des.ecsv", "catalogue_hsc.ecsv")]
    calls = []
    monkeypatch.setattr(module, "simulate_archive", lambda out, **settings: calls.append(settings) or written)
    result = run("--surveys", "hsc,des", "--out", tmp_path)
    assert calls[0]["bands"] == {"des": "grizy", "hsc": "grizy"}  # the larger pixels first
    catalogue = f"--catalogue {tmp_path}/catalogue_hsc.ecsv --mirror {tmp_path}/hsc --out hsc.zarr"
    assert f"galtrans fetch hsc {catalogue}" in result.output
    assert "galtrans crossmatch des.zarr hsc.zarr" in result.output
    stores = [tmp_path / name for name in ("kids.zarr", "hsc.zarr", "truth")]
    monkeypatch.setattr(module, "simulate_stores", lambda out, count, **settings: calls.append(settings) or stores)
    result = run("--surveys", "hsc,kids", "--galaxies", 3, "--bands", "ugi", "--out", tmp_path)
    assert calls[1]["bands"] == {"kids": "ugi", "hsc": "gi"}
    assert f"train {tmp_path}/kids.zarr {tmp_path}/hsc.zarr {tmp_path}/pairs.ecsv --recipe psf_matched" in result.output


def test_the_names_of_benchmarks_are_those_of_the_table():
    known = importlib.import_module("survey_tools.twin_sky.benchmark").BENCHMARKS
    choices = next(option for option in simulate.params if option.name == "benchmark").type.choices
    assert list(choices) == list(known)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--benchmark", "twin-v0", "--out", "x"),
        ("--benchmark", "twin-v1", "--seed", 0, "--out", "x"),
        ("--benchmark", "twin-v1", "--bands", "gri", "--out", "x"),
        ("--benchmark", "twin-v1", "--galaxies", 5, "--out", "x"),
        ("--galaxies", 2),
        ("--galaxies", 0, "--out", "x"),
        ("--overlap", 0.5, "--out", "x"),
        ("--out", "x", "--bands", "q"),
        ("--galaxies", 1, "--overlap", 1.5, "--out", "x"),
        ("--surveys", "des", "--out", "x"),
        ("--surveys", "des,des", "--out", "x"),
        ("--surveys", "des,2mass", "--out", "x"),
        ("--surveys", "kids,hsc", "--bands", "u", "--galaxies", 1, "--out", "x"),
        ("--surveys", "des,hsc,cfht", "--benchmark", "twin-v1", "--out", "x"),
    ],
)
def test_wrong_usage_ends_with_two(arguments):
    assert run(*arguments).exit_code == 2


def test_an_existing_simulation_is_an_error_of_one_line(tmp_path):
    (tmp_path / "sas").mkdir()
    command = [sys.executable, "-c", MAIN, "simulate", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == f"Error: {tmp_path}/sas exists already; choose another folder or pass --overwrite\n"


def test_without_galsim_it_says_what_to_install(tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("survey_tools.twin_sky")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "galsim", None)
    result = run("--out", tmp_path / "sky")
    assert isinstance(result.exception, GaltransError)
    assert 'pip install "galtrans[sim]"' in str(result.exception)
    assert not (tmp_path / "sky").exists()


def test_help_ends_with_an_example():
    text = run("--help").output
    assert "Example:" in text
    assert "galtrans simulate --out sky" in text


def test_the_same_command_again_says_that_all_is_there(tmp_path):
    words = "--galaxies", 1, "--bands", "r", "--workers", 1, "--out", tmp_path / "sky"
    assert run(*words).output.startswith("Wrote ")
    again = run(*words)
    assert again.exit_code == 0
    assert again.output.startswith(f"{tmp_path / 'sky'} is complete already.\nNext:\n")
