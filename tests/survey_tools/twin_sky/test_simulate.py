import errno
import json
import os
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import Cutout2D
from astropy.table import Table
from numpy.testing import assert_allclose, assert_array_equal

pytest.importorskip("galsim")

from survey_tools.errors import GaltransError
from survey_tools.images.sky_wcs import read_wcs
from survey_tools.twin_sky import archive_files as twin_archive
from survey_tools.twin_sky import simulate as twin_simulate
from survey_tools.twin_sky import stores as twin_stores
from survey_tools.twin_sky.simulate import MARKER, archive_of, simulate_archive, simulate_stores, stores_of

REAL = Path(__file__).parents[4] / "shared" / "data"
BANDS = {"sdss": "r", "cfht": "r"}
ARCHIVE, STORES = archive_of(BANDS), stores_of(BANDS)
SETTINGS = {"galaxies": 12, "bands": BANDS, "tile_size": 600, "seed": 3}


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    out = tmp_path_factory.mktemp("sky")
    return out, simulate_archive(out, **SETTINGS)


def files(root):
    return sorted(path.relative_to(root) for path in root.rglob("*") if path.is_file())


@cache
def opened(root, pattern):
    """Pixels and header of each file, decompressed once for all tests; nobody may write into them."""
    found = []
    for path in sorted(root.glob(pattern)):
        with fits.open(path) as hdus:
            found.append((hdus[0].data, hdus[0].header))
    return found


def test_an_archive_is_all_there(archive):
    out, written = archive
    assert written == [out / name for name in ARCHIVE]
    names = {path.name for path in files(out)}
    assert {"frame-r-009001-3-0111.fits.bz2", "frame-r-009001-3-0112.fits.bz2", "psField-009001-3-0111.fit"} < names
    assert len(list((out / "cfht").iterdir())) == 2
    assert files(out / "truth") == sorted([*files(out / "truth")])
    assert {path.relative_to(out / "truth") for path in (out / "truth").rglob("*.*")} == {
        path.relative_to(out)
        for name in ("sas", "cfht")
        for path in (out / name).rglob("*.*")
        if not path.name.startswith("fpM-")  # of saturated pixels, which there are none of without noise
    }


def test_files_do_not_depend_on_the_workers(archive, tmp_path):
    simulate_archive(tmp_path, workers=2, **SETTINGS)
    assert files(tmp_path) == files(archive[0])
    for path in files(tmp_path):
        assert (tmp_path / path).read_bytes() == (archive[0] / path).read_bytes(), path


@pytest.mark.parametrize(("survey", "pattern"), [("sdss", "sas/**/frame-*"), ("cfht", "cfht/*.fits")])
def test_truth_lacks_the_noise_and_nothing_else(archive, survey, pattern):
    for (seen, header), (truth, same) in zip(
        opened(archive[0], pattern), opened(archive[0] / "truth", pattern), strict=True
    ):
        assert {k: v for k, v in header.items() if k != "COMMENT"} == {k: v for k, v in same.items() if k != "COMMENT"}
        data = seen != 0
        if survey == "cfht":  # in whose files 0 means no data
            assert_array_equal(truth != 0, data)
        blank = data & (np.abs(truth) < {"sdss": 0.002, "cfht": 0.1}[survey])
        sigma = {"sdss": 0.027, "cfht": 1.32}[survey]
        assert_allclose((seen - truth)[blank].std(), sigma, rtol=0.35)
        assert truth.min() > -0.1 * sigma  # what ringing there is drowns in the noise


@pytest.mark.parametrize("survey", ["sdss", "cfht"])
def test_galaxies_of_the_catalogue_are_where_it_says(archive, survey):
    out = archive[0] / "truth"
    catalogue = Table.read(archive[0] / {"sdss": "catalogue.ecsv", "cfht": "catalogue_cfht.ecsv"}[survey])
    pattern, scale = {"sdss": ("sas/**/frame-*", 0.396), "cfht": ("cfht/*.fits", 0.186)}[survey]
    peaks = []
    for image, header in opened(out, pattern):
        wcs = read_wcs(header)
        for entry in catalogue[catalogue["true_bulge_fraction"] > 0.3]:
            col, row = wcs.wcs_world2pix([[entry["ra"], entry["dec"]]], 0)[0]
            if 20 < col < image.shape[1] - 20 and 20 < row < image.shape[0] - 20:
                stamp = Cutout2D(image, (col, row), 9).data.astype(float)
                rows, cols = np.indices(stamp.shape) - 4
                weight = np.clip(stamp - np.median(stamp), 0, None) ** 2
                offset = np.array([rows * weight, cols * weight]).sum(axis=(1, 2)) / weight.sum()
                peaks.append((offset - [row - round(row), col - round(col)]) * scale)
    assert len(peaks) > 5
    # the CFHT catalogue's positions are off by 0.1" on purpose
    assert_allclose(np.median(peaks, axis=0), 0, atol={"sdss": 0.05, "cfht": 0.1}[survey])
    assert np.median(np.hypot(*np.transpose(peaks))) < {"sdss": 0.06, "cfht": 0.2}[survey]


def test_a_simulation_is_replaced_only_when_asked(archive):
    before = (archive[0] / "catalogue.ecsv").read_bytes()
    with pytest.raises(GaltransError, match="--overwrite"):
        simulate_archive(archive[0], **SETTINGS | {"seed": 4})
    assert (archive[0] / "catalogue.ecsv").read_bytes() == before


def test_one_that_is_there_already_is_not_made_again(archive, monkeypatch):
    again = simulate_archive.__globals__  # of this module, though other tests have imported it anew
    monkeypatch.setitem(again, "make_archive", lambda *_: pytest.fail("it is made again"))
    assert simulate_archive(archive[0], **SETTINGS) == archive[1]


@pytest.mark.parametrize("moved", [False, True])
def test_an_interrupted_archive_goes_on(tmp_path, monkeypatch, moved):
    """It is interrupted in the second image, or when it has given one of its files its name."""
    drawn, calls = [], []

    def draw(out, sky, patch, survey, band, tile):
        drawn.append((survey, band, tile))
        if drawn == [("sdss", "r", 0), ("cfht", "r", 0)] and not moved:
            raise KeyboardInterrupt
        for folder in (out, out / "truth"):
            place = folder / {"sdss": "sas", "cfht": "cfht"}[survey]
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{band}{tile}.fits").write_text(f"{survey} {band} {tile}")

    def rename(*paths):
        calls.append(paths)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return os.replace(*paths)

    monkeypatch.setattr(twin_archive, "_write_image", draw)
    with monkeypatch.context() as patch:
        if moved:
            patch.setattr(twin_simulate, "os", SimpleNamespace(replace=rename))
        with pytest.raises(KeyboardInterrupt):
            simulate_archive(tmp_path / "sky", **SETTINGS)
    simulate_archive(tmp_path / "sky", **SETTINGS)
    again = [("sdss", "r", 0), ("cfht", "r", 0), ("cfht", "r", 1)]
    assert drawn == (again if moved else [*again[:2], *again[1:]])
    simulate_archive(tmp_path / "other", **SETTINGS)
    assert files(tmp_path / "sky") == files(tmp_path / "other")
    for path in files(tmp_path / "sky"):
        assert (tmp_path / "sky" / path).read_bytes() == (tmp_path / "other" / path).read_bytes(), path


def test_what_a_run_of_other_settings_has_left_goes(tmp_path):
    (tmp_path / ".simulate-0123.part" / "truth").mkdir(parents=True)
    simulate_stores(tmp_path, 1, bands=BANDS)
    assert not list(tmp_path.glob(".*"))


def test_stores_replace_an_older_simulation_whole(tmp_path):
    simulate_stores(tmp_path, 1, bands=BANDS, seed=1)
    first = (tmp_path / "catalogue.ecsv").read_bytes()
    simulate_stores(tmp_path, 1, bands=BANDS, seed=2, overwrite=True)
    assert (tmp_path / "catalogue.ecsv").read_bytes() != first
    assert json.loads((tmp_path / "simulation.json").read_text())["seed"] == 2
    assert not list(tmp_path.glob(".*"))


def test_what_was_not_simulated_is_never_replaced(tmp_path):
    (tmp_path / "sas").mkdir()
    (tmp_path / "sas" / "real.fits").write_text("precious")
    with pytest.raises(GaltransError, match="not made by"):
        simulate_archive(tmp_path, overwrite=True, **SETTINGS)
    assert (tmp_path / "sas" / "real.fits").read_text() == "precious"
    assert [path.name for path in tmp_path.iterdir()] == ["sas"]


def test_a_run_that_fails_leaves_nothing_but_what_the_next_goes_on_from(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(twin_stores, "run_tasks", full)
        with pytest.raises(OSError, match="No space"):
            simulate_stores(tmp_path, 1, bands=BANDS)
    assert [path.name[:10] for path in tmp_path.iterdir()] == [".simulate-"]
    simulate_stores(tmp_path, 1, bands=BANDS)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*STORES, MARKER])


@pytest.mark.skipif(not REAL.is_dir(), reason=f"no real data in {REAL}")
def test_noise_of_stacks_is_that_of_real_ones():
    from survey_tools.twin_sky.exposure import CFHT_SIGMA, correlated_noise

    noise = correlated_noise((800, 800), np.random.default_rng(0))
    for band in "gri":
        real = fits.getdata(REAL / f"cfht/CFHTLS-test_{band}.fits")[:120, 200:].astype(float)  # a dark corner
        sky = np.where(np.abs(real - np.median(real)) < 3 * CFHT_SIGMA[band], real, np.nan)
        sky -= np.nanmean(sky)
        assert_allclose(np.nanstd(sky), CFHT_SIGMA[band], rtol=0.12)
        rows = {lag: np.nanmean(sky[lag:] * sky[:-lag]) for lag in (1, 2, 8)}  # the last: of what shines faintly
        for lag in (1, 2):
            measured = (rows[lag] - rows[8]) / (np.nanvar(sky) - rows[8])
            assert_allclose(measured, (noise[lag:] * noise[:-lag]).mean(), atol=0.035)
