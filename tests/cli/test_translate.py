"""The command as a user meets it: several files, and each bad input named on one line."""

import bz2
import gzip
import shutil
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from click.testing import CliRunner

from cli.main import galtrans
from survey_tools import open_store
from survey_tools.errors import GaltransError
from survey_tools.fits.band_fits import band_hdus
from survey_tools.images.sky_wcs import north_up_wcs
from translator import RECIPES
from translator.runs.checkpoint import Checkpoint, build_networks, save_checkpoint
from translator.runs.facts import Domain, RunFacts, write_facts
from translator.translation.inputs import group_by_object

BANDS = tuple("ugriz")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of the recipe `demo` that has finished, with the weights it began with."""
    path = tmp_path_factory.mktemp("runs") / "demo"
    sky = (0.01,) * len(BANDS)
    domains = {"x": Domain("sdss", BANDS, 64, 0.396, sky, "a"), "y": Domain("cfht", BANDS, 136, 0.186, sky, "b")}
    facts = RunFacts("demo", (1, 1), 2, 0, domains, "c")
    weights = build_networks(facts, RECIPES["demo"]).state_dict()
    write_facts(path, facts)
    save_checkpoint(path, Checkpoint(2, 1, {k: v.contiguous() for k, v in weights.items()}, {}, ""))
    return path


@pytest.fixture
def image(tmp_path):
    """A galaxy on SDSS's grid."""
    row, col = np.indices((64, 64)) - 31.5
    galaxy = np.exp(-0.5 * np.hypot(row, col) ** 2 / 16)
    path = tmp_path / "galaxy.fits"
    band_hdus(np.stack([galaxy] * 5), BANDS, north_up_wcs(10, 20, 0.396, 64), fits.Header()).writeto(path)
    return path


def call(*words):
    return CliRunner().invoke(galtrans, ["translate", *(str(word) for word in words)])


def test_several_files_become_several_files(run, image, tmp_path):
    other = shutil.copy(image, tmp_path / "other.fits")
    packed = tmp_path / "packed.fits.bz2"
    packed.write_bytes(bz2.compress(image.read_bytes()))
    result = call(run, image, other, packed, "--to", "cfht", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "3 of 3 files translated to CFHTLS" in result.output
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"galaxy_cfht.fits", "other_cfht.fits", "packed_cfht.fits", "translated.ecsv"}
    assert fits.getdata(tmp_path / "out" / "packed_cfht.fits", "r").shape == (136, 136)


def test_a_bad_file_is_named_and_the_good_ones_are_translated(run, image, tmp_path):
    bad = tmp_path / "bad.fits"
    bad.write_bytes(image.read_bytes()[:20_000])
    result = call(run, bad, image, "--to", "cfht", "--out", tmp_path / "out")
    assert isinstance(result.exception, GaltransError)  # main() turns it into one line and exit code 1
    assert "bad.fits is truncated: it has 20000 of" in str(result.exception)
    assert "1 of 2 files translated" in result.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["galaxy_cfht.fits", "translated.ecsv"]
    assert list(Table.read(tmp_path / "out" / "translated.ecsv")["file"]) == ["galaxy.fits"]


def test_results_are_not_replaced_unless_asked_for(run, image, tmp_path):
    words = (run, image, "--to", "cfht", "--out", tmp_path)
    assert call(*words).exit_code == 0
    before = (tmp_path / "galaxy_cfht.fits").stat().st_mtime_ns
    again = call(*words)
    assert again.exit_code == 0
    assert "1 of 1 were translated before with the same settings, and are kept" in again.output
    assert (tmp_path / "galaxy_cfht.fits").stat().st_mtime_ns == before
    other = call(*words, "--seed", 1)
    assert other.exit_code == 2
    assert "galaxy_cfht.fits exists already and was made from something else" in other.output
    assert call(*words, "--seed", 1, "--overwrite").exit_code == 0
    assert len(Table.read(tmp_path / "translated.ecsv")) == 1


@pytest.mark.parametrize("model", ["run of the paper", "sdss-cfhtls"])
def test_the_table_has_what_was_made_before_an_interruption(run, image, tmp_path, model):
    model = run if model == "run of the paper" else model
    other = tmp_path / "other.fits"
    other.write_bytes(image.read_bytes())
    words = (model, image, other, "--to", "cfht", "--out", tmp_path / "out")
    assert call(*words).exit_code == 0
    whole = Table.read(tmp_path / "out" / "translated.ecsv")
    (tmp_path / "out" / "translated.ecsv").unlink()  # as a process that was killed leaves it
    (tmp_path / "out" / "other_cfht.fits").unlink()
    assert call(*words).exit_code == 0
    again = Table.read(tmp_path / "out" / "translated.ecsv")
    assert again.colnames == whole.colnames
    for name in whole.colnames:
        assert [str(value) for value in again[name]] == [str(value) for value in whole[name]]


def test_a_folder_and_a_list_name_files(run, image, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("a.fits", "b.fits.gz", "notes.txt"):
        (folder / name).write_bytes(gzip.compress(image.read_bytes()) if name.endswith("gz") else image.read_bytes())
    listed = tmp_path / "list.txt"
    listed.write_text(f"# galaxies\n{image}\n\n")
    result = call(run, folder, "--files-from", listed, "--to", "cfht", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    made = {path.name for path in (tmp_path / "out").glob("*.fits")}
    assert made == {"a_cfht.fits", "b_cfht.fits", "galaxy_cfht.fits"}
    listed.write_text("gone.fits\n")
    result = call(run, "--files-from", listed, "--to", "cfht", "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "names gone.fits, which is not there" in " ".join(result.output.split())
    assert "no files to translate" in call(run, "--to", "cfht", "--out", tmp_path / "out").output


def test_files_whose_names_differ_in_the_band_are_one_object():
    def objects(*names):
        found = group_by_object(Path(name) for name in names)
        return {tuple(path.name for path in paths): name for paths, name in found.items()}

    assert objects("frame-r-000094-1-0131.fits.bz2", "frame-g-000094-1-0131.fits.bz2") == {
        ("frame-g-000094-1-0131.fits.bz2", "frame-r-000094-1-0131.fits.bz2"): "frame-000094-1-0131"
    }
    assert objects("m51_g.fits", "m51_r.fits", "m52_r.fits") == {
        ("m51_g.fits", "m51_r.fits"): "m51",
        ("m52_r.fits",): "m52_r",
    }
    assert objects("a.fits", "b.fits") == {("a.fits",): "a", ("b.fits",): "b"}


def test_two_files_of_one_name_would_overwrite_each_other(run, image, tmp_path):
    other = tmp_path / "deeper" / image.name
    other.parent.mkdir()
    shutil.copy(image, other)
    result = call(run, image, other, "--to", "cfht", "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "same name" in result.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--to", "hst"), "'hst' is not a known survey; give one of sdss, cfht"),
        (("--to", "cfht", "--noise", "much"), "'much' is not one of 'sampled', 'none'"),
        (("--to", "cfht", "--seed", "-1"), "-1 is not in the range"),
        (("--to", "cfht", "--seeing", "sharp"), "'sharp': give a number, or one for each band"),
        (("--to", "cfht", "--depth", "25"), "'25' is not a depth: give a 5-sigma magnitude"),
        (("--to", "cfht", "--at", "400", "0"), "400 0: give right ascension (0 to 360)"),
        (("--to", "cfht", "--size", "20"), "around --at, which is missing"),
        (("--to", "cfht", "--unit", "Jy", "--zero-point", "25"), "--unit and --zero-point say the same"),
    ],
)
def test_wrong_usage_exits_2(run, image, tmp_path, words, said):
    result = call(run, image, *words, "--out", tmp_path)
    assert result.exit_code == 2
    assert said in result.output


def test_a_model_that_reads_images_alone_says_so(run, image, tmp_path):
    result = call(run, image, "--to", "cfht", "--seeing", "0.6", "--out", tmp_path / "out")
    assert isinstance(result.exception, GaltransError)
    assert "--seeing needs a run of a recipe that is told what is known" in str(result.exception)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nonsense", "'nonsense' is neither a folder nor a built-in model"),
        ("file.txt", "is a file, and a run is a folder"),
    ],
)
def test_what_is_no_run_is_named(name, said, image, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("file.txt").write_text("")
    result = call(name, image, "--to", "cfht", "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert said in " ".join(result.output.split())


def test_a_store_becomes_a_store(run, make_store, tmp_path):
    store = make_store(tmp_path / "x.zarr", "sdss", np.array([10.0, 20.0]), np.array([1.0, 2.0]), missing=[1])
    out = tmp_path / "y.zarr"
    said = call(run, store.path, "--out", out, "--workers", 1)
    assert said.exit_code == 0, said.output
    assert "1 of 2 objects translated to CFHTLS, 136×136 pixels of 0.186 arcsec" in said.output
    assert "Synthetic: made by a neural network: NOT an observation" in said.output
    assert open_store(out).size == 136
    assert f"{out} is complete already" in call(run, store.path, "--out", out).output
    assert "complete already" not in call(run, store.path, "--out", out, "--overwrite").output


def test_stores_and_files_do_not_mix_and_files_need_a_survey(run, image, make_store, tmp_path):
    store = make_store(tmp_path / "x.zarr", "sdss", np.array([10.0]), np.array([1.0]), bands="r").path
    for words, said in (
        ((image, store, "--to", "cfht"), "x.zarr is a store: give one store alone, or FITS files alone"),
        ((image,), "it is needed, because images do not say into which survey"),
        ((tmp_path / "none.fits", "--to", "cfht"), "does not exist"),
    ):
        result = call(run, *words, "--out", tmp_path / "out")
        assert result.exit_code == 2
        assert said in " ".join(result.output.split())
    result = call(run, tmp_path, "--out", tmp_path / "out")
    assert "is a Zarr" in str(result.exception) or "is not a Zarr store" in str(result.exception)
    result = call(run, store, "--out", tmp_path / "out")
    assert isinstance(result.exception, GaltransError)
    assert "has r; make a store with u, g, i, z as well" in str(result.exception)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_no_run_says_so(image, tmp_path):
    result = call(tmp_path, image, "--to", "cfht", "--out", tmp_path / "out")
    assert isinstance(result.exception, GaltransError)
    assert "is not a training run" in str(result.exception)
    assert not (tmp_path / "out").exists()
