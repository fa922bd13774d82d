"""The Legacy Surveys viewer: pixels of the bricks, one request for each object, and whatever goes wrong."""

import re
import sys

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from numpy.testing import assert_allclose, assert_array_equal

from survey_tools import SURVEYS
from survey_tools.archives.check import run_checks
from survey_tools.archives.download import hosts
from survey_tools.archives.known import ARCHIVES
from survey_tools.archives.legacy.viewer import open_live
from survey_tools.archives.plan import Access
from survey_tools.build.fetch import estimate, fetch, work_folder
from survey_tools.errors import AwayError
from survey_tools.images.sky_wcs import tan_wcs
from survey_tools.tasks import Engine

SURVEY, LAYER, BANDS = SURVEYS["legacy"], "ls-dr10-south", "grz"
STEP = 0.262 / 3600


def brick_wcs(ra, dec):
    """The grid of a brick: north up, with its centre at its reference pixel."""
    return tan_wcs((ra, dec), (110.5, 110.5), [[-STEP, 0.0], [0.0, STEP]])


@pytest.fixture(scope="module")
def sky(tmp_path_factory, archive_server, known_sky):
    """Two bricks that overlap: an object in the first, one in both, one at an edge, one in a gap, and one far away."""
    archive_cutouts = sys.modules["archive_cutouts"]
    folder = tmp_path_factory.mktemp("archive")
    first, second = brick_wcs(150.1, 2.2), brick_wcs(150.1, 2.2 + 150 * STEP)
    pixels = [(first, 100.3, 90.6), (second, 110.0, 50.2), (first, 5.0, 100.0), (first, 190.0, 30.0)]
    galaxies = [known_sky.Galaxy(*wcs.wcs_pix2world([[x, y]], 0)[0], flux=80.0) for wcs, x, y in pixels]
    gap = [(slice(0, 45), slice(170, 220))]
    archive_cutouts.write_brick(folder / "legacy" / LAYER, known_sky, "1501p022", first, galaxies, BANDS, empty=gap)
    archive_cutouts.write_brick(folder / "legacy" / LAYER, known_sky, "1501p025", second, galaxies, BANDS)
    table = Table({"object_id": [f"o{n}" for n in range(5)]})
    table["ra"] = [*(galaxy.ra for galaxy in galaxies), 200.0]
    table["dec"] = [*(galaxy.dec for galaxy in galaxies), 30.0]
    table["redshift"] = np.nan
    return folder, galaxies, table


@pytest.fixture
def quick(monkeypatch):
    """No waiting, and hosts that nothing is known of."""
    monkeypatch.setattr("survey_tools.archives.download.http.time.sleep", lambda seconds: None)
    hosts.forget()


def fetched(server, table, out, *, keep=None, bands=BANDS, **options):
    access = Access(work_folder(out), keep=keep, settings=server.settings(out.parent / "cache", patience=20.0))
    return fetch(open_live(SURVEY, access), table, out, bands=bands, engine=Engine(2), **options)


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def quiet(sky, archive_server, tmp_path_factory):
    """The store of a run that nothing went wrong with, and the requests for it."""
    hosts.forget()
    out = tmp_path_factory.mktemp("quiet") / "legacy.zarr"
    with pytest.MonkeyPatch.context() as patch, archive_server.serve(sky[0]) as server:
        patch.setattr("survey_tools.archives.download.http.time.sleep", lambda seconds: None)
        store = fetched(server, sky[2], out)
    return store, server


def test_pixels_and_wcs_are_those_of_the_brick(sky, quiet):
    folder, store = sky[0] / "legacy" / LAYER, quiet[0]
    brick = fits.getdata(folder / "1501p022-image-r.fits")
    col, row = brick_wcs(150.1, 2.2).wcs_world2pix([[sky[2]["ra"][0], sky[2]["dec"][0]]], 0)[0]
    start = np.floor(np.array([row, col]) - 95 / 2 + 0.5).astype(int)
    assert_array_equal(store.images[0, 1], brick[start[0] : start[0] + 96, start[1] : start[1] + 96])
    assert_allclose(store.column("crval")[0], [150.1, 2.2])
    assert_allclose(store.column("crpix")[0], 110.5 - start[::-1])
    assert_allclose(store.column("cd")[0], [[-STEP, 0], [0, STEP]])
    assert_array_equal(store.column("zero_point")[0], 22.5)


def test_a_mirror_of_the_bricks_gives_the_same_pixels(sky, quiet, tmp_path):
    archive = ARCHIVES["legacy"].open(Access(work_folder(tmp_path / "m.zarr"), mirror=str(sky[0] / "legacy" / LAYER)))
    store = fetch(archive, sky[2], tmp_path / "m.zarr", bands=BANDS)
    assert_array_equal(store.images[:], quiet[0].images[:])
    for name in ("crval", "crpix", "cd", "zero_point"):
        assert_allclose(store.column(name), quiet[0].column(name), atol=1e-9)
    assert list(store.manifest()["status"]) == list(quiet[0].manifest()["status"])


def test_an_object_comes_from_the_brick_in_which_it_lies_deepest(quiet):
    assert_allclose(quiet[0].column("crval")[1, 1], 2.2 + 150 * STEP)
    assert_array_equal(quiet[0].column("coverage")[1], 1.0)


def test_pixels_without_exposure_and_beyond_the_brick_have_no_data(sky, quiet):
    store = quiet[0]
    status = list(store.manifest()["status"])
    assert status == ["done", "done", "done", "outside", "outside"]
    assert 0.5 < store.column("coverage")[2, 0] < 0.62  # 53 of 96 columns
    assert np.isnan(store.images[3]).all()  # its middle lies in the gap


def test_flux_is_in_nanomaggies(quiet):
    assert_allclose(np.nansum(quiet[0].images[0], axis=(1, 2)), 80.0, rtol=0.1)


def test_one_request_serves_all_bands_of_an_object(quiet, sky):
    server = quiet[1]
    assert server.count("viewer", "subimage") == 4 + 3  # three times for the position outside
    assert server.count("viewer") == 7 + 2  # the resampled variant, and a known position
    assert all("size=100&bands=grz" in request.path for request in server.requests("viewer", "subimage"))
    assert all("layer=ls-dr10-south" in request.path for request in server.requests("viewer"))
    assert server.most_at_once <= 4


def test_the_estimate_states_requests_and_bytes(sky, tmp_path, archive_server):
    with archive_server.serve(sky[0]) as server:
        archive = open_live(SURVEY, Access(tmp_path / "w", settings=server.settings(tmp_path / "c")))
        plan = archive.plan(sky[2], tuple(BANDS), map)
        cost = estimate(plan, SURVEY, tuple(BANDS), 5, workers=1, bandwidth=10.0, kept=False)
        assert (cost.objects, cost.cutouts, cost.requests, server.count()) == (5, 15, 5, 0)
        assert 5 * 2 * 3 * 4 * 100**2 < cost.bytes < 5 * 2 * 3 * 4 * 130**2
        assert 5.0 < cost.seconds < 10.0


PASSING = ["html", "reset", "shortened", "other_band", "429", "502"]


@pytest.mark.parametrize("kind", PASSING)
def test_a_passing_fault_changes_nothing(quick, sky, quiet, archive_server, tmp_path, kind):
    faults = [archive_server.Fault(kind, "subimage", times=2, after=1)]
    with archive_server.serve(sky[0], faults=faults) as server:
        store = fetched(server, sky[2], tmp_path / "legacy.zarr")
        assert not server.faults.left()
    assert contents(store.path) == contents(quiet[0].path)


@pytest.mark.parametrize(
    ("kind", "status", "said"),
    [("400", 400, "HTTP 400"), ("html", 200, "not fits"), ("empty", 200, "empty"), ("other_band", 0, "band"),
     ("truncate", 0, "broke off|of"), ("shortened", 0, "truncated")],
)  # fmt: skip
def test_a_lasting_fault_fails_its_object_alone(quick, sky, archive_server, tmp_path, kind, status, said):
    match = f"ra={sky[1][0].ra:.7f}.*subimage"
    with archive_server.serve(sky[0], faults=[archive_server.Fault(kind, match, times=-1)]) as server:
        store = fetched(server, sky[2], tmp_path / "legacy.zarr")
    rows = store.manifest()
    assert list(rows["status"]) == ["failed", "done", "done", "outside", "outside"]
    assert re.search(said, rows["reason"][0])
    assert "/viewer/fits-cutout?ra=" in rows["url"][0]
    assert rows["http"][0] == status
    assert server.count("viewer", match) <= 6  # and not for each band anew
    assert [path.name for path in tmp_path.iterdir()] == ["legacy.zarr"]


def test_http_500_for_a_position_that_the_viewer_has_is_a_failure(quick, sky, archive_server, tmp_path):
    match = f"ra={sky[1][0].ra:.7f}.*subimage"
    with archive_server.serve(sky[0], faults=[archive_server.Fault("500", match, times=-1)]) as server:
        store = fetched(server, sky[2], tmp_path / "legacy.zarr")
    assert list(store.manifest()["status"]) == ["failed", "done", "done", "outside", "outside"]
    assert store.manifest()["http"][0] == 500


def test_a_viewer_that_is_down_is_away_and_nothing_is_outside(quick, sky, quiet, archive_server, tmp_path):
    with archive_server.serve(sky[0], faults=[archive_server.Fault("500", times=-1)]) as server:
        with pytest.raises(AwayError, match="known position"):
            fetched(server, sky[2], tmp_path / "legacy.zarr")
        server.faults.clear()
        hosts.forget()
        store = fetched(server, sky[2], tmp_path / "legacy.zarr")
    assert contents(store.path) == contents(quiet[0].path)


def test_a_killed_run_resumes_to_the_same_bytes(quick, sky, quiet, archive_server, tmp_path, monkeypatch):
    from survey_tools.build import gather

    save, calls = gather.save, []

    def dying(*arguments):
        calls.append(1)
        if len(calls) == 6:
            raise KeyboardInterrupt
        save(*arguments)

    monkeypatch.setattr(gather, "save", dying)
    with archive_server.serve(sky[0]) as server:
        with pytest.raises(KeyboardInterrupt):
            fetched(server, sky[2], tmp_path / "legacy.zarr")
        monkeypatch.setattr(gather, "save", save)
        store = fetched(server, sky[2], tmp_path / "legacy.zarr")
    assert contents(store.path) == contents(quiet[0].path)
    assert [path.name for path in tmp_path.iterdir()] == ["legacy.zarr"]


def test_answers_are_kept_for_another_store(quick, sky, quiet, archive_server, tmp_path):
    with archive_server.serve(sky[0]) as server:
        fetched(server, sky[2], tmp_path / "one.zarr", keep=tmp_path / "kept")
        before = server.count("viewer", "subimage")
        store = fetched(server, sky[2], tmp_path / "two.zarr", keep=tmp_path / "kept")
        assert server.count("viewer", "subimage") == before
    assert contents(store.path) == contents(quiet[0].path)


def test_the_check_asks_for_a_few_pixels(sky, archive_server, tmp_path, quick):
    with archive_server.serve(sky[0]) as server:
        answers = [finding for _, finding in run_checks(server.settings(tmp_path), ("legacy",))]
        assert server.sent() < 60_000
    assert [finding.verdict for finding in answers] == ["OK", "OK"]
    assert answers[0].answer == "8x8 pixels of layer ls-dr10-south"
    assert answers[1].answer == "HTTP 500"


KINDS = ["html", "empty", "reset", "truncate", "shortened", "redirect_chain", "redirect_away", "other_band", "stall"]
STATUSES = ["400", "403", "404", "408", "409", "429", "500", "502", "503", "504"]


@pytest.mark.parametrize("seed", range(3))
def test_any_faults_end_with_a_status_a_reason_and_right_pixels(quick, sky, quiet, archive_server, tmp_path, seed):
    rng = np.random.default_rng(seed)
    faults = [
        archive_server.Fault(str(kind), times=int(rng.integers(1, 4)), after=int(rng.integers(8)), seconds=0.02)
        for kind in rng.choice(KINDS + STATUSES, 4)
    ]
    with archive_server.serve(sky[0], faults=faults) as server:
        store = fetched(server, sky[2], tmp_path / "legacy.zarr", fail_away=True)
    rows, right = store.manifest(), quiet[0].manifest()["status"]
    for row, status in enumerate(rows["status"]):
        assert status in (right[row], "failed"), rows["reason"][row]
        if status == "failed":
            assert rows["reason"][row]
            assert rows["url"][row].startswith(server.root)
        else:
            assert_array_equal(store.images[row], quiet[0].images[row])
