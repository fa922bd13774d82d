"""The models that come with galtrans: whole, small, and as good as their cards say."""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from click.testing import CliRunner

from cli.main import galtrans
from survey_tools.fits.band_fits import band_hdus
from survey_tools.images.sky_wcs import north_up_wcs
from translator.runs.built_in import find_model, models
from translator.runs.checkpoint import load_run, read_checkpoint

ROOT = Path(__file__).parents[3]
NAME, RA, DEC, BANDS = "sdss-cfhtls", 30.0, 5.0, tuple("ugriz")
SIGMA = np.array([0.045, 0.016, 0.025, 0.038, 0.133])  # of SDSS's sky [nanomaggy/pixel]
COLOUR = np.array([0.3, 0.8, 1.4, 1.8, 2.1])  # of an ordinary galaxy or star

pytest.importorskip("galsim")


@pytest.mark.parametrize("model", models(), ids=lambda model: model.name)
def test_a_model_is_small_whole_and_described(model):
    size = sum(path.stat().st_size for path in model.path.rglob("*") if path.is_file())
    assert size < 8e6
    checkpoint = read_checkpoint(model.path)
    assert checkpoint.checksum == model.card["weights_sha256"]
    assert checkpoint.checksum[:16] in (ROOT / "docs" / "explanation" / "shipped_model.md").read_text()
    assert load_run(model.path, "cpu").iteration == model.card["iterations"]
    assert {"title", "bands", "trained", "licence", "seed", "figures"} <= set(model.card)


def test_models_are_listed_and_found_by_name():
    said = CliRunner().invoke(galtrans, ["models"])
    assert said.exit_code == 0
    assert f"{NAME}: " in said.output
    assert find_model(NAME) == ROOT / "translator" / "models" / NAME
    assert find_model("none") is None
    assert find_model("../models/" + NAME) is None


def test_ten_simulated_galaxies_are_as_good_as_the_card_says(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    ship = importlib.import_module("ship_model")
    card = json.loads((find_model(NAME) / "model.json").read_text())
    found = ship.residuals_of_ten(load_run(find_model(NAME), "cpu"), ship.ten_galaxies(tmp_path / "ten"))
    for domain, residuals in card["ten_galaxies"].items():
        np.testing.assert_allclose(found[domain], residuals, rtol=0.02, atol=1e-3)


def star(width, flux=40.0, at=(31.5, 31.5)):
    """A star on SDSS's pixels (row, col): a Moffat profile of a width [arcsec] and a flux [nanomaggy]."""
    rows, cols = np.indices((64, 64))
    beta = 3.5
    scale = width / 0.396 / (2 * np.sqrt(2 ** (1 / beta) - 1))
    profile = (1 + ((rows - at[0]) ** 2 + (cols - at[1]) ** 2) / scale**2) ** -beta
    return flux * profile / profile.sum()


def galaxy():
    rows, cols = np.indices((64, 64)) - 31.5
    profile = np.exp(-np.hypot(rows, 1.6 * cols) / 4)
    return 30 * profile / profile.sum() + star(1.3, 8)


def consistency(tmp_path, images, **header):
    """CONSIST and flags of the translation of images (band, row, col), to which noise is added."""
    noisy = images + SIGMA[:, None, None] * np.random.default_rng(1).normal(size=images.shape)
    hdus = band_hdus(noisy, BANDS, north_up_wcs(RA, DEC, 0.396, 64), fits.Header())
    for hdu, sigma in zip(hdus[1:], SIGMA, strict=True):
        hdu.header["PSFFWHM"], hdu.header["SKYSIGMA"] = header.get("seeing", 1.3), sigma
    hdus.writeto(tmp_path / "in.fits", overwrite=True)
    words = ["translate", NAME, tmp_path / "in.fits", "--to", "cfht", "--out", tmp_path / "out", "--overwrite"]
    said = CliRunner().invoke(galtrans, [str(word) for word in words])
    assert said.exit_code == 0, said.output
    primary = fits.getheader(tmp_path / "out" / "in_cfht.fits")
    assert ("inconsistent" in primary["GTFLAGS"]) == ("CONSIST" in said.output)
    return primary["CONSIST"], primary["GTFLAGS"]


def test_what_the_model_knows_is_consistent(tmp_path):
    for image in (galaxy(), star(1.3, 15)):
        value, flags = consistency(tmp_path, COLOUR[:, None, None] * image)
        assert value < 1.3
        assert flags == "none"


def test_a_saturated_star_is_inconsistent(tmp_path):
    bright = COLOUR[:, None, None] * star(1.3, 60_000)
    clipped = np.minimum(bright, 120)
    clipped[:, 28:36] += 40 * (np.abs(np.arange(64) - 31.5) < 25)  # what has run over into its columns
    value, flags = consistency(tmp_path, clipped)
    assert value > 1.5
    assert "inconsistent" in flags


def test_an_artefact_is_inconsistent(tmp_path):
    images = COLOUR[:, None, None] * galaxy()
    images[2, np.arange(64), np.arange(64)] += 3.0  # a satellite, in one band
    value, flags = consistency(tmp_path, images)
    assert value > 1.5
    assert "inconsistent" in flags


def test_another_telescope_s_image_is_inconsistent(tmp_path):
    sharp = sum(star(0.35, 60, at) for at in ((20.3, 30.2), (40.7, 22.1), (33.4, 45.6), (31.5, 31.5)))
    value, flags = consistency(tmp_path, COLOUR[:, None, None] * sharp)
    assert value > 1.5
    assert "inconsistent" in flags
