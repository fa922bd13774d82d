"""Pan-STARRS1's image service: the list of stacks, their pixels and zero points, and whatever goes wrong."""

import sys

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from numpy.testing import assert_allclose, assert_array_equal

from survey_tools import SURVEYS
from survey_tools.archives.check import run_checks
from survey_tools.archives.download import hosts
from survey_tools.archives.legacy.viewer import KNOWN_POSITION
from survey_tools.archives.plan import Access
from survey_tools.archives.ps1.service import calibration_of, open_live
from survey_tools.build.fetch import estimate, fetch, work_folder
from survey_tools.errors import ArchiveError
from survey_tools.images.sky_wcs import tan_wcs
from survey_tools.tasks import Engine

SURVEY, BANDS, SECONDS = SURVEYS["ps1"], "gr", 700.0
STEP = 0.25 / 3600
CELL = "ps1/rings.v3.skycell/1400/041/rings.v3.skycell.1400.041.stk.{}.unconv.fits"


@pytest.fixture(scope="module")
def sky(tmp_path_factory, archive_server, known_sky):
    """Two skycells that overlap, of which the second has one band only; the third object is on none."""
    archive_cutouts = sys.modules["archive_cutouts"]
    folder = tmp_path_factory.mktemp("archive")
    cd = [[-STEP, 0.0], [0.0, STEP]]
    first, second = tan_wcs((151.0, 3.0), (1000.0, 500.0), cd), tan_wcs((151.0, 3.0), (960.0, 500.0), cd)
    galaxies = [
        known_sky.Galaxy(*first.wcs_pix2world([[x, y]], 0)[0], flux=60.0) for x, y in ((118.2, 120.9), (60, 70))
    ]
    archive_cutouts.write_stack(folder / "ps1", known_sky, "1400.041", first, galaxies, BANDS, seconds=SECONDS)
    archive_cutouts.write_stack(folder / "ps1", known_sky, "1400.040", second, galaxies, "g", seconds=SECONDS)
    table = Table({"object_id": ["a", "b", "c"], "ra": [*(g.ra for g in galaxies), 10.0]})
    table["dec"] = [*(galaxy.dec for galaxy in galaxies), -60.0]
    table["redshift"] = np.nan
    return folder, galaxies, table


@pytest.fixture
def quick(monkeypatch):
    """No waiting, and hosts that nothing is known of."""
    monkeypatch.setattr("survey_tools.archives.download.http.time.sleep", lambda seconds: None)
    hosts.forget()


def fetched(server, table, out, **options):
    access = Access(work_folder(out), settings=server.settings(out.parent / "cache", patience=20.0, ps1_positions=2))
    return fetch(open_live(SURVEY, access), table, out, bands=BANDS, engine=Engine(2), **options)


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def quiet(sky, archive_server, tmp_path_factory):
    """The store of a run that nothing went wrong with, and its server."""
    hosts.forget()
    with pytest.MonkeyPatch.context() as patch, archive_server.serve(sky[0]) as server:
        patch.setattr("survey_tools.archives.download.http.time.sleep", lambda seconds: None)
        return fetched(server, sky[2], tmp_path_factory.mktemp("quiet") / "ps1.zarr"), server


def test_pixels_wcs_and_zero_point_are_those_of_the_stack(sky, quiet):
    store, zero_point = quiet[0], 25.0 + 2.5 * np.log10(SECONDS)
    stack = fits.getdata(sky[0] / CELL.format("r"))
    start = np.floor(np.array([120.9, 118.2]) - 103 / 2 + 0.5).astype(int)
    counts = stack[start[0] : start[0] + 104, start[1] : start[1] + 104]
    assert_allclose(store.images[0, 1], counts * 10 ** (0.4 * (22.5 - zero_point)), rtol=1e-6)
    assert_allclose(store.column("zero_point")[0], zero_point)
    assert_allclose(
        store.column("crpix")[0], [1000.0 - start[1], 500.0 - start[0]], atol=1e-3
    )  # FK5 is turned by 0.02" there
    assert_allclose(store.column("cd")[0], [[-STEP, 0], [0, STEP]], atol=1e-11)
    assert_allclose(store.images[0].sum(axis=(1, 2)), 60.0, rtol=0.1)
    assert_allclose(store.column("gain")[0], 1 / 10 ** (0.4 * (22.5 - zero_point)), rtol=1e-6)


def test_the_skycell_with_all_bands_is_used_and_who_has_none_is_outside(quiet):
    store, server = quiet
    assert list(store.manifest()["status"]) == ["done", "done", "outside"]
    assert all("1400.041" in name for name in store.column("source")[:2].ravel())
    assert (server.count("ps1list"), server.count("ps1cutout")) == (2, 4)  # two positions in a request
    assert server.requests("ps1list")[0].method == "POST"


def test_the_estimate_counts_only_stacks_of_the_list(sky, tmp_path, archive_server):
    with archive_server.serve(sky[0]) as server:
        archive = open_live(SURVEY, Access(tmp_path / "w", settings=server.settings(tmp_path / "c")))
        plan = archive.plan(sky[2], tuple(BANDS), map)
        cost = estimate(plan, SURVEY, tuple(BANDS), 3, workers=1, bandwidth=10.0, kept=False)
        assert (cost.reached, cost.requests, server.count("ps1list"), server.count("ps1cutout")) == (2, 4, 1, 0)


PASSING = ["html", "truncate", "other_band", "429", "500"]


@pytest.mark.parametrize("kind", PASSING)
def test_a_passing_fault_changes_nothing(quick, sky, quiet, archive_server, tmp_path, kind):
    faults = [archive_server.Fault(kind, "fitscut", times=2, after=1)]
    faults += [archive_server.Fault(kind, "ps1filenames", times=1)] if kind != "other_band" else []
    with archive_server.serve(sky[0], faults=faults) as server:
        store = fetched(server, sky[2], tmp_path / "ps1.zarr")
        assert not server.faults.left()
    assert contents(store.path) == contents(quiet[0].path)


@pytest.mark.parametrize(
    ("kind", "status", "said"),
    [("404", 404, "does not exist"), ("html", 200, "not fits"), ("empty", 200, "empty"), ("other_band", 0, "band"),
     ("shortened", 0, "truncated")],
)  # fmt: skip
def test_a_lasting_fault_fails_its_object_alone(quick, sky, archive_server, tmp_path, kind, status, said):
    match = f"fitscut.*stk.r.*ra={sky[1][0].ra:.7f}"
    with archive_server.serve(sky[0], faults=[archive_server.Fault(kind, match, times=-1)]) as server:
        store = fetched(server, sky[2], tmp_path / "ps1.zarr")
    rows = store.manifest()
    assert list(rows["status"]) == ["failed", "done", "outside"]
    assert said in rows["reason"][0]
    assert "fitscut.cgi?red=" in rows["url"][0]
    assert rows["http"][0] == status


def test_a_list_that_is_none_ends_the_run_with_the_reason(quick, sky, archive_server, tmp_path):
    faults = [archive_server.Fault("shortened", "ps1filenames", at=0.1, times=-1)]
    said = pytest.raises(ArchiveError, match=r"not a list of images|which is not complete")
    with archive_server.serve(sky[0], faults=faults) as server, said:
        fetched(server, sky[2], tmp_path / "ps1.zarr")


def test_a_killed_run_resumes_to_the_same_bytes(quick, sky, quiet, archive_server, tmp_path, monkeypatch):
    from survey_tools.build import gather

    save, calls = gather.save, []

    def dying(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        save(*arguments)

    monkeypatch.setattr(gather, "save", dying)
    with archive_server.serve(sky[0]) as server:
        with pytest.raises(KeyboardInterrupt):
            fetched(server, sky[2], tmp_path / "ps1.zarr")
        monkeypatch.setattr(gather, "save", save)
        store = fetched(server, sky[2], tmp_path / "ps1.zarr")
        assert server.count("ps1list") == 2  # the lists of the first run are used
    assert contents(store.path) == contents(quiet[0].path)


def test_pixels_on_the_asinh_scale_become_counts(known_sky, archive_server, tmp_path, quick):
    """A service that leaves BSOFTEN and BOFFSET in the header, and asinh in the pixels, gives the same flux."""
    wcs = tan_wcs((150.0, 2.0), (60.5, 60.5), [[-STEP, 0.0], [0.0, STEP]])
    galaxy = known_sky.Galaxy(150.0, 2.0, flux=60.0)
    sys.modules["archive_cutouts"].write_stack(
        tmp_path / "ps1", known_sky, "1400.041", wcs, [galaxy], "gr", shape=(120, 120)
    )
    for path in (tmp_path / "ps1").rglob("*.fits"):
        with fits.open(path, mode="update") as hdus:
            counts = hdus[0].data.astype(float)
            hdus[0].data = (2.5 * np.log10(np.e) * np.arcsinh((counts - 3.25) / (2 * 12.5))).astype(np.float32)
            hdus[0].header["BSOFTEN"], hdus[0].header["BOFFSET"] = 12.5, 3.25
    table = Table({"object_id": ["a"], "ra": [150.0], "dec": [2.0], "redshift": [np.nan]})
    with archive_server.serve(tmp_path) as server:
        store = fetched(server, table, tmp_path / "ps1.zarr")
    assert_allclose(store.images[0].sum(axis=(1, 2)), 60.0, rtol=0.1)


def test_the_zero_point_depends_on_the_exposure():
    assert calibration_of("x", fits.Header({"EXPTIME": 100.0})).zero_point == 30.0
    with pytest.raises(ArchiveError, match="EXPTIME"):
        calibration_of("x", fits.Header())


def test_the_check_says_what_a_cutout_is_like(known_sky, archive_server, tmp_path, quick):
    for number, place in enumerate([KNOWN_POSITION, (180.0, 30.0)]):
        wcs = tan_wcs(place, (60.0, 60.0), [[-STEP, 0.0], [0.0, STEP]])
        write = sys.modules["archive_cutouts"].write_stack
        write(tmp_path / "ps1", known_sky, f"1400.04{number}", wcs, [], "r", shape=(120, 120))
    with archive_server.serve(tmp_path) as server:
        answers = [finding for _, finding in run_checks(server.settings(tmp_path / "cache"), ("ps1",))]
    assert [finding.verdict for finding in answers] == ["OK", "OK"]
    assert answers[0].answer == "1 stacks and 1 stacks for two positions"
    assert "EXPTIME=700.0, FPA.ZP=25.0" in answers[1].answer
    assert "zero point 32.113" in answers[1].answer


KINDS = ["html", "empty", "reset", "truncate", "shortened", "redirect_chain", "redirect_away", "other_band", "stall"]
STATUSES = ["400", "403", "404", "408", "409", "429", "500", "502", "503", "504"]


@pytest.mark.parametrize("seed", range(3))
def test_any_faults_end_with_a_status_a_reason_and_right_pixels(quick, sky, quiet, archive_server, tmp_path, seed):
    rng = np.random.default_rng(seed)
    faults = [  # of cutouts: a list that cannot be had ends the run
        archive_server.Fault(
            str(kind), "fitscut", times=int(rng.integers(1, 4)), after=int(rng.integers(8)), seconds=0.02
        )
        for kind in rng.choice(KINDS + STATUSES, 4)
    ]
    with archive_server.serve(sky[0], faults=faults) as server:
        store = fetched(server, sky[2], tmp_path / "ps1.zarr", fail_away=True)
    rows, right = store.manifest(), quiet[0].manifest()["status"]
    for row, status in enumerate(rows["status"]):
        assert status in (right[row], "failed"), rows["reason"][row]
        if status == "failed":
            assert rows["reason"][row]
            assert rows["url"][row].startswith(server.root)
        else:
            assert_array_equal(store.images[row], quiet[0].images[row])
