"""Small stores of drawn galaxies, whose flux and position are known."""

import importlib.util
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table

from survey_tools import SURVEYS
from survey_tools.images.sky_wcs import north_up_wcs, tan_terms, tan_wcs
from survey_tools.store.zarr_store import create

# Test processes side by side share the cores, as do the programs that they start: with more threads than cores each of
# them would take several times as long.
os.environ.setdefault(
    "OMP_NUM_THREADS", str(max(1, os.cpu_count() // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1))))
)

FLUX = 50.0  # of each galaxy in each band [nanomaggy]
SIGMA = 1.2  # of its Gaussian [arcsec]
NOISE = 0.01  # [nanomaggy/pixel]


def draw(wcs, size: int, ra: float, dec: float) -> np.ndarray:
    """A Gaussian galaxy (row, col) of FLUX nanomaggies at (ra, dec) [deg] on a grid of square pixels."""
    col, row = wcs.wcs_world2pix([[ra, dec]], 0)[0]
    sigma = SIGMA / (3600 * np.sqrt(abs(np.linalg.det(wcs.pixel_scale_matrix))))
    rows, cols = np.indices((size, size))
    profile = np.exp(-((rows - row) ** 2 + (cols - col) ** 2) / (2 * sigma**2))
    return FLUX * profile / (2 * np.pi * sigma**2)


def grid(survey, ra: float, dec: float, rng: np.random.Generator):
    """The survey's cutout grid around (ra, dec) [deg]: north-up, or turned and centred to half a pixel."""
    if survey.north_up:
        return north_up_wcs(ra, dec, survey.pixel_scale, survey.cutout_size)
    angle, centre = rng.uniform(-0.01, 0.01), (survey.cutout_size + 1) / 2 + rng.uniform(-0.5, 0.5, 2)
    turned = np.array([[-np.cos(angle), np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return tan_wcs((ra, dec), centre, turned * survey.pixel_scale / 3600)


def make_store(
    path, name, ra, dec, *, drawn=None, bands="ugriz", missing=(), saturated=(), seed=0, frame=False, **more
):
    """A finished store of survey `name`: one galaxy per (ra, dec) [deg], drawn at `drawn` (ra, dec) where given.

    Rows `missing` have no image; in rows `saturated` the 2 × 2 pixels in the middle of the first band are flagged.
    `more` goes to `create`.
    """
    survey, count = SURVEYS[name], len(ra)
    catalogue = Table({"object_id": [f"{name}-{row}" for row in range(count)], "ra": ra, "dec": dec})
    catalogue["redshift"] = np.linspace(0.01, 0.3, count)
    for value, column in enumerate(("run", "rerun", "camcol", "field") if frame else ()):
        catalogue[column] = np.full(count, value + 1, np.int32)
    store = create(path, survey, bands, catalogue, {"command": "test", "seed": seed}, **more)
    rng, size = np.random.default_rng(seed), survey.cutout_size
    images = np.full((count, len(bands), size, size), np.nan, np.float32)
    columns = {"crval": np.full((count, 2), np.nan), "crpix": np.full((count, 2), np.nan)}
    columns["cd"] = np.full((count, 2, 2), np.nan)
    for row in set(range(count)) - set(missing):
        wcs = grid(survey, ra[row], dec[row], rng)
        galaxy = draw(wcs, size, *((ra[row], dec[row]) if drawn is None else (drawn[0][row], drawn[1][row])))
        images[row] = galaxy + rng.normal(0, NOISE, (len(bands), size, size))
        columns["crval"][row], columns["crpix"][row], columns["cd"][row] = tan_terms(wcs)
    mask = np.isnan(images)
    for row in saturated:
        mask[row, 0, size // 2 - 1 : size // 2 + 1, size // 2 - 1 : size // 2 + 1] = True
    for rows in store.chunks():
        store.write(rows, images[rows], mask[rows])
    data = np.isfinite(images)
    columns |= {"coverage": data.mean(axis=(2, 3)), "saturated": (mask & data).sum(axis=(2, 3))}
    columns["sky_sigma"] = np.where(data.any(axis=(2, 3)), NOISE, np.nan)
    columns["psf_fwhm"] = np.full((count, len(bands)), 2.355 * SIGMA)
    columns["psf_source"] = np.full((count, len(bands)), "header")
    columns["gain"] = np.full((count, len(bands)), 2000.0)  # of an image without noise of photons
    columns["zero_point"] = np.full((count, len(bands)), survey.zero_point)
    columns["source"] = np.array([[f"{name}-{band}.fits" for band in bands]] * count)
    store.write_columns(columns)
    done = np.isin(np.arange(count), missing, invert=True)
    manifest = Table({"object_id": catalogue["object_id"], "status": np.where(done, "done", "outside")})
    manifest["reason"] = np.where(done, "", "no image has data at its position")
    manifest["file"] = np.where(done, f"{name}.fits", "")
    return store.finish(manifest)


def pytest_collection_modifyitems(items):
    """The slow tests come first, so that no process waits for another's at the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(name="make_store", scope="session")
def make_store_fixture():
    """The function above."""
    return make_store


@pytest.fixture(scope="session")
def write_narrow_run():
    """A function that writes a run of `demo` in g and r, of width 4, with the weights that it began with."""
    from translator import RECIPES
    from translator.runs.checkpoint import (
        Checkpoint,
        build_networks,
        save_checkpoint,  # imports torch
    )
    from translator.runs.facts import Domain, RunFacts, write_facts

    def write(path: Path) -> Path:
        domains = {
            "x": Domain("sdss", ("g", "r"), 64, 0.396, (0.01, 0.02), ""),
            "y": Domain("cfht", ("g", "r"), 136, 0.186, (0.01, 0.02), ""),
        }
        facts = RunFacts("demo", (1, 1), 2, 0, domains, "", width=4)
        weights = build_networks(facts, RECIPES["demo"]).state_dict()
        write_facts(path, facts)
        save_checkpoint(path, Checkpoint(3, 1, {name: each.contiguous() for name, each in weights.items()}, {}))
        return path

    return write


@pytest.fixture(scope="session")
def known_sky():
    """The file `known_sky.py` beside this one: it draws small archive files."""
    spec = importlib.util.spec_from_file_location("known_sky", Path(__file__).with_name("known_sky.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def coadd_files():
    """The file `coadd_files.py` beside this one: it draws tiles as surveys publish them."""
    return _beside("coadd_files", "known_sky")


@pytest.fixture(scope="session")
def archive_server():
    """The file `archive_server.py` beside this one: a server that answers as all archives do, faults included."""
    return _beside("archive_server", "archive_faults", "archive_cutouts", "archive_sql", "archive_storage")


@pytest.fixture(scope="session")
def s3_faults():
    """The file `s3_faults.py` beside this one: a proxy in front of an S3 server, faults included."""
    return _beside("s3_faults")


@pytest.fixture(scope="session")
def small_archive(archive_server):
    """The file `small_archive.py` beside this one: it draws a small copy of all archives."""
    return _beside("small_archive")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real archive files; a test that wants it is skipped where it is not."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real archive files are not here (../shared/data)")
    return folder


def _beside(name: str, *needed: str):
    """A file beside this one as a module, and those that it imports; without sys.path: there is a survey_tools here."""
    for each in (*needed, name):
        if each not in sys.modules:
            spec = importlib.util.spec_from_file_location(each, Path(__file__).with_name(f"{each}.py"))
            sys.modules[each] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(sys.modules[each])
    return sys.modules[name]


@pytest.fixture(scope="session")
def any_port() -> dict:
    """What a Dask cluster is told so that others may be on this machine: its HTTP server else warns of the one port."""
    return {"dashboard_address": "127.0.0.1:0", "scheduler_kwargs": {"dashboard": False}}
