"""The main job, end to end: the demo as a user runs it, and its model on real pixels."""

import json
import subprocess
import sys
from functools import partial

import click
import numpy as np
import pytest
import torch
import xarray
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from click.testing import CliRunner

from cli.demo import DemoSize, run_demo
from cli.main import galtrans
from survey_tools import open_store
from survey_tools.fits.export import file_name
from survey_tools.images.cutout import sky_sigma
from survey_tools.matching.positions import peak_offset
from translator.evaluation.held_out import open_held_out

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
BRIGHT = """object_id,ra,dec
g1,38.57078,-7.09054
g2,38.51253,-7.06088
g3,38.56179,-7.12370
g4,38.57159,-7.09912
g5,38.62781,-7.06985
g6,38.62705,-7.03109
g7,38.69696,-7.07956
"""
SMALLER = DemoSize(bands="gri", iterations="100,340,20", draws=2)
GALAXIES = (3, 4, 5)  # the extended ones among them; g7 lies at the frame's edge


@pytest.fixture(scope="module", params=["smaller", pytest.param("as it is", marks=pytest.mark.long)])
def demo(request, tmp_path_factory):
    """What a demo leaves behind: one with fewer bands and iterations, or `galtrans demo` as a user runs it."""
    folder = tmp_path_factory.mktemp("demo")
    if request.param == "smaller":
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # other tests run at the same time
        done = CliRunner().invoke(click.Command("demo", callback=partial(run_demo, folder / "demo", size=SMALLER)))
        torch.set_num_threads(threads)
        assert done.exit_code == 0, done.output
        said = done.output
    else:
        command = [sys.executable, "-m", "cli.main", "demo", "--out", str(folder / "demo")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=800, check=False)
        assert done.returncode == 0, done.stderr
        said = done.stdout
    assert f"Open {folder}/demo/report/report.html first" in said
    assert "run, sdss_to_cfht: " in said  # the report's own summary
    assert f"SDSS to CFHTLS  flux   {open_store(folder / 'demo' / 'sdss.zarr').bands[0]} " in said
    return folder / "demo"


def test_every_row_of_the_catalogues_is_accounted_for(demo):
    for survey, catalogue in (("sdss", "catalogue"), ("cfht", "catalogue_cfht")):
        store = open_store(demo / f"{survey}.zarr")
        manifest = store.manifest()
        assert list(manifest["object_id"]) == list(Table.read(demo / "sky" / f"{catalogue}.ecsv")["object_id"])
        assert set(manifest["status"]) == {"done"}


def test_stores_open_in_xarray_as_they_are(demo):
    for name, size in (("sdss", 64), ("cfht", 136), ("cfht64", 64)):
        with xarray.open_zarr(demo / f"{name}.zarr") as dataset:
            assert dataset.images.dims == ("object", "band", "row", "col")
            assert dataset.images.shape[2:] == (size, size)
            assert dataset.images.units == "nmgy / pix"
            assert "".join(dataset.band.values) in ("ugriz", SMALLER.bands)
            assert dataset.images.shape[1] == len(dataset.band)


def translations(demo, source, target):
    """For each held-out pair: image HDUs of the input, of its translation, and the target's pixels (band, row, col)."""
    held_out = open_held_out(demo / "sdss.zarr", demo / "cfht.zarr", demo / "pairs.ecsv", None, galaxies=None, seed=0)
    stores = {name: open_store(demo / f"{name}.zarr") for name in (source, target)}
    rows = {"sdss": held_out.rows["x"], "cfht": held_out.rows["y"]}
    for row, wanted in zip(rows[source], rows[target], strict=True):
        name = file_name(row, stores[source].column("object_id")[row])
        with (
            fits.open(demo / "fits" / source / name) as given,
            fits.open(demo / "translated" / target / name.replace(".fits", f"_{target}.fits"), checksum=True) as made,
        ):
            yield given, made, stores[target].images[int(wanted)]


def g_r_i(demo):
    """Places of these bands in the stores."""
    bands = open_store(demo / "sdss.zarr").bands
    return [bands.index(band) for band in "gri"]


@pytest.mark.parametrize(("source", "target"), [("sdss", "cfht"), ("cfht", "sdss")])
def test_translated_galaxies_look_like_their_targets(demo, source, target):
    offsets, fluxes, noises = [], [], []
    for given, made, wanted in translations(demo, source, target):
        assert made[0].header["SYNTH"] is True
        images = np.stack([made[band].data for band in open_store(demo / "sdss.zarr").bands])
        assert images.shape == wanted.shape
        assert np.isfinite(images).all()
        pair = [(hdus["r"].data, WCS(hdus["r"].header)) for hdus in (given, made)]
        offsets.append(peak_offset(*pair[0], *pair[1]))
        half = np.s_[:, images.shape[1] // 4 : -images.shape[1] // 4, images.shape[2] // 4 : -images.shape[2] // 4]
        fluxes.append(images[half].sum(axis=(1, 2)) / wanted[half].sum(axis=(1, 2)))
        noises.append(
            [sky_sigma(a, ~np.isfinite(a)) / sky_sigma(b, ~np.isfinite(b)) for a, b in zip(images, wanted, strict=True)]
        )
    assert len(offsets) >= 30
    assert np.nanmedian(offsets) < 0.2  # arcsec
    np.testing.assert_allclose(np.median(fluxes, axis=0)[g_r_i(demo)], 1, atol=0.3)
    ratio = np.nanmedian(noises, axis=0)
    assert (ratio > 0.4).all(), ratio
    assert (ratio < 2.5).all(), ratio


def test_the_demo_ends_with_a_report_on_galaxies_that_it_never_saw(demo):
    report = json.loads((demo / "report" / "report.json").read_text())
    assert [(run["name"], run["test_galaxies_unseen"]) for run in report["runs"]] == [
        ("run", True),
        ("run, draws", True),
    ]
    assert report["pairs"]["counts"]["used"] == 20
    for name, direction in report["directions"].items():
        assert set(direction["left_out"]) == ({"consistency"} if name == "cfht_to_sdss" else set())
        found = {name: np.array(rows["run"]["value"], float) for name, rows in direction["values"].items()}
        np.testing.assert_allclose(found["aperture_offset"][g_r_i(demo)], 0, atol=0.3)
        assert (np.abs(found["noise_amplitude"]) < 0.4).all()
    assert np.median(report["directions"]["sdss_to_cfht"]["values"]["signal_residual"]["run"]["value"]) < 0.12
    assert "data:image/png" in (demo / "report" / "report.html").read_text()


def test_the_demo_s_model_translates_real_galaxies(demo, real_data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(*words):
        done = CliRunner().invoke(galtrans, [str(word) for word in words])
        assert done.exit_code == 0, done.output

    (tmp_path / "bright.csv").write_text(BRIGHT)
    run("fetch", "sdss", "--catalogue", "bright.csv", "--mirror", real_data, "--out", "real.zarr")
    run("export", "real.zarr", "--rows", "3:6", "--out", "fits")
    files = sorted((tmp_path / "fits").glob("*.fits"))
    assert len(files) == len(GALAXIES)
    run("translate", demo / "run", *files, "--to", "cfht", "--out", "out", "--noise", "none")
    for source in files:
        with fits.open(source) as given, fits.open(tmp_path / "out" / f"{source.stem}_cfht.fits") as made:
            pair = [(hdus["r"].data, WCS(hdus["r"].header)) for hdus in (given, made)]
            assert peak_offset(*pair[0], *pair[1]) < 0.6  # faint real galaxies: the noise of their own SDSS peak
            assert made["r"].data.sum() > 0
