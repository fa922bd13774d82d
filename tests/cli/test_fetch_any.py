"""`galtrans fetch` of every survey that has tiles: from a folder to a store."""

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.testing import assert_allclose

from cli.main import galtrans
from survey_tools import SURVEYS, open_store, regrid
from survey_tools.build.derived import row_of_survey
from survey_tools.surveys import OWN

NAMES = [name for name, survey in OWN.items() if survey.flags]


def run(*words):
    return CliRunner().invoke(galtrans, [str(word) for word in words])


def catalogue(path, galaxy):
    path.write_text(f"object_id,ra,dec\na,{galaxy.ra!r},{galaxy.dec!r}\nfar,10.0,10.0\n")
    return path


@pytest.mark.parametrize("name", NAMES)
def test_a_survey_is_fetched_from_a_folder_of_its_tiles(name, tmp_path, coadd_files):
    for band in "gr":
        coadd_files.write(name, tmp_path / "tiles" / "deep", band, flux=40.0)
    rows = catalogue(tmp_path / "galaxies.csv", coadd_files.galaxy(name))
    words = ("--catalogue", rows, "--bands", "gr", "--mirror", tmp_path / "tiles", "--workers", 1)
    ended = run("fetch", name, *words, "--out", tmp_path / "a.zarr")
    assert ended.exit_code == 0, ended.output
    assert "2 objects: 1 done" in ended.output
    store = open_store(tmp_path / "a.zarr")
    assert row_of_survey(store) == SURVEYS[name]
    assert_allclose(np.nansum(store.images[0], axis=(1, 2)), 40.0, rtol=0.02)
    assert list(store.column("saturation_source")[0]) == ["mask", "mask"]
    assert list(store.column("saturated")[0]) == [9, 9]
    assert run("verify", tmp_path / "a.zarr").exit_code == 0
    assert "complete already" in run("fetch", name, *words, "--out", tmp_path / "a.zarr").output


def test_a_regridded_store_has_the_row_of_its_survey(tmp_path, coadd_files, make_store):
    coadd_files.write("des", tmp_path / "tiles", "r", flux=40.0)
    rows = catalogue(tmp_path / "galaxies.csv", coadd_files.galaxy("des"))
    words = ("--catalogue", rows, "--bands", "r", "--mirror", tmp_path / "tiles", "--workers", 1)
    assert run("fetch", "des", *words, "--out", tmp_path / "a.zarr").exit_code == 0
    like = make_store(tmp_path / "sdss.zarr", "sdss", [150.0], [2.0])
    made = regrid(tmp_path / "a.zarr", like, tmp_path / "b.zarr")
    assert row_of_survey(made) == SURVEYS["des"]
    assert_allclose(np.nansum(made.images[0]), 40.0, rtol=0.02)


@pytest.mark.parametrize(
    ("name", "words"),
    [("hsc", "it needs an account"), ("des", "TILE_BAND.fits.fz"), ("kids", "KiDS_DR4.0_RA_DEC_BAND_sci.fits")],
)
def test_an_archive_that_cannot_be_asked_says_how_to_get_tiles(name, words, tmp_path, coadd_files):
    rows = catalogue(tmp_path / "galaxies.csv", coadd_files.galaxy(name))
    ended = run("fetch", name, "--catalogue", rows, "--out", tmp_path / "a.zarr")
    assert ended.exit_code == 2
    (line,) = (line for line in ended.output.splitlines() if line.startswith("Error: "))
    assert "'--mirror'" in line
    assert words in line
    assert "give their folder as --mirror" in line
    assert not (tmp_path / "a.zarr").exists()


def test_an_option_of_another_archive_is_refused(tmp_path, coadd_files):
    rows = catalogue(tmp_path / "galaxies.csv", coadd_files.galaxy("des"))
    words = ("--catalogue", rows, "--out", tmp_path / "a.zarr", "--mirror", tmp_path)
    ended = run("fetch", "des", *words, "--no-psf")
    assert ended.exit_code == 2
    assert "it is not an option of des, which has none" in ended.output


def test_cutouts_of_a_survey_are_ingested(tmp_path, coadd_files):
    for band in "gr":
        path = coadd_files.write("des", tmp_path / "cutouts", band, flux=40.0, size=96)
        assert path.exists()
    ended = run("ingest", tmp_path / "cutouts", "--survey", "des", "--bands", "gr", "--out", tmp_path / "a.zarr")
    assert ended.exit_code == 0, ended.output
    store = open_store(tmp_path / "a.zarr")
    assert len(store) == 1
    assert_allclose(np.nansum(store.images[0], axis=(1, 2)), 40.0, rtol=0.02)
