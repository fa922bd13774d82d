"""The live archives as a whole: whatever they and the machine do, no object is lost and no pixel is wrong."""

import importlib
import os
import re
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from survey_tools import open_store
from survey_tools.archives.download import hosts
from survey_tools.archives.known import ARCHIVES
from survey_tools.archives.plan import Access
from survey_tools.build.fetch import fetch, work_folder
from survey_tools.errors import ArchiveError, AwayError
from survey_tools.store.verify import verify
from survey_tools.tasks import Engine

BANDS = "gr"
WAYS = {  # survey, options of its archive, whether the catalogue names frames
    "named frames": ("sdss", {}, True),
    "frames by the field list": ("sdss", {"frames": "list"}, False),
    "whole tiles": ("cfht", {"how": "tiles"}, False),
    "windows": ("cfht", {"how": "windows"}, False),
}


class Live:
    """All archives on one server, and the stores of runs that nothing went wrong with."""

    def __init__(self, module, server, small, folder: Path) -> None:
        self.module, self.server, self.small, self.folder = module, server, small, folder
        self.whole = {way: contents(self.fetch(way, folder / f"{number}.zarr")) for number, way in enumerate(WAYS)}

    def fetch(self, way: str, out: Path, *, cache: str = "cache", keep=None, **options) -> Path:
        """Fetch everything."""
        survey, how, named = WAYS[way]
        known = ARCHIVES[survey]
        access = Access(work_folder(out), keep=keep, settings=self.server.settings(self.folder / cache))
        archive = known.open(access, known.options(**how))
        store = fetch(archive, self.small.catalogue(named), out, bands=BANDS, engine=Engine(2), **options)
        return store.path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def live(tmp_path_factory, archive_server, small_archive, known_sky):
    with pytest.MonkeyPatch.context() as patch:
        sleep = time.sleep
        patch.setattr(time, "sleep", lambda seconds: sleep(min(seconds, 0.002)))
        folder = tmp_path_factory.mktemp("live")
        small = small_archive.small_archive(folder / "archive", known_sky, bands=BANDS, psf=True)
        with archive_server.serve(small.archive) as server:
            yield Live(archive_server, server, small, folder)


@pytest.mark.parametrize("way", WAYS)
def test_a_quiet_day(live, way, tmp_path):
    before = len(live.server.log)
    path = live.fetch(way, tmp_path / "x.zarr")
    assert contents(path) == live.whole[way]
    assert verify(path) == []
    paths = [request.path for request in live.server.log[before:] if request.route in ("sas", "storage", "raven")]
    if way != "windows":
        assert len(paths) == len(set(paths)), "a file was fetched twice"
    assert [each.name for each in tmp_path.iterdir()] == ["x.zarr"]


def test_both_ways_of_the_cadc_give_the_same_store(live):
    assert live.whole["whole tiles"] == live.whole["windows"]


# --- whatever goes wrong ----------------------------------------------------------------------------------------------

PASSING = ["html", "empty", "reset", "redirect_chain", "truncate", "stall", "wrong_length", "ignore_range",
           "wrong_range", "changed", "expired_token", "redirect_away", "403", "408", "409", "429", "500", "502",
           "503"]  # fmt: skip
FINAL = ["400", "404"]  # the archive says no: the object fails, until it is tried again; 404 passes at the CADC
OF_WINDOWS = ["clipped", "no_content"]
KILLS = [
    "survey_tools.build.gather.save",
    "survey_tools.store.zarr_store.Store.write",
    "survey_tools.store.zarr_store.Store.write_columns",
    "survey_tools.store.zarr_store.zarr.consolidate_metadata",
    "survey_tools.build.builder.write_manifest",
    "os.replace",
    "os.rename",
    "survey_tools.archives.download.http.download",
]


def faults_of(module, way: str):
    """Any few faults, each once or a few times, now or later."""
    kinds = PASSING + FINAL + (OF_WINDOWS if way == "windows" else [])
    anything = st.builds(
        module.Fault,
        kind=st.sampled_from(kinds),
        times=st.integers(1, 3),
        after=st.integers(0, 6),
        at=st.floats(0, 0.95),
        by=st.integers(1, 40),
        seconds=st.just(0.02),
    )
    # what a flipped bit does to pixels that come without a checksum, nobody can tell
    flips = st.builds(
        module.Fault,
        kind=st.just("bit_flip"),
        match=st.just(r"frame-.*bz2$|MEDIAN\.fits$"),
        times=st.integers(1, 2),
        after=st.integers(0, 6),
        at=st.floats(0, 0.95),
    )
    return st.lists(anything if way == "windows" else anything | flips, max_size=4)


class KilledError(Exception):
    """The process ends here."""


def dying(patch, where: str, when: int) -> None:
    """Let the call number `when` of a function end the process."""
    holder, _, name = where.rpartition(".")
    holder = _resolve(holder)
    inner, calls = getattr(holder, name), []

    def die(*arguments, **options):
        calls.append(1)
        if len(calls) == when:
            raise KilledError
        return inner(*arguments, **options)

    patch.setattr(holder, name, die)


def _resolve(path: str):
    """The module, or the class in one, of a dotted name."""
    parts = path.split(".")
    for at in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:at]))
        except ImportError:
            continue
        for name in parts[at:]:
            found = getattr(found, name)
        return found
    raise ImportError(path)


def until_done(live, run, kill: tuple | None) -> Path:
    """Run until there is a store: one kill, and as many failures as there are faults, may come between."""
    with pytest.MonkeyPatch.context() as patch:
        if kill:
            dying(patch, *kill)
        while True:
            left = live.server.faults.left()
            try:
                return run()
            except KilledError:
                assert kill, "killed twice"
                kill = None
                patch.undo()
            except (ArchiveError, ConnectionError):
                assert live.server.faults.left() != left, "it fails although nothing is wrong any more"


def check_no_loss(live, way: str, faults: list, kills: tuple, folder: Path) -> None:
    """Fetch, then mend what failed, both with a kill on the way: nothing is lost or wrong at any time."""
    fetch_it = partial(live.fetch, way, folder / "x.zarr", cache=f"cache-{folder.name}")
    live.server.faults = live.module.FaultPlan(faults)
    path = until_done(live, fetch_it, kills[0])
    live.server.faults = live.module.FaultPlan(())
    assert verify(path) == []
    manifest, whole = open_store(path).manifest(), open_store(live.folder / f"{list(WAYS).index(way)}.zarr")
    assert manifest["object_id"].tolist() == whole.manifest()["object_id"].tolist()
    failed = manifest["status"] == "failed"
    assert (manifest["reason"][failed] != "").all()
    assert_array_equal(open_store(path).images[:][~failed], whole.images[:][~failed])
    until_done(live, partial(fetch_it, retry_failed=True), kills[1])
    assert contents(path) == live.whole[way]
    assert [each.name for each in folder.iterdir()] == ["x.zarr"]


@pytest.mark.parametrize("way", WAYS)
def test_no_fault_and_no_kill_loses_an_object_or_spoils_a_pixel(live, way, tmp_path_factory, examples):
    kill = st.none() | st.tuples(st.sampled_from(KILLS), st.integers(1, 8))

    @examples
    @given(faults_of(live.module, way), st.tuples(kill, kill))
    def prove(faults, kills):
        check_no_loss(live, way, faults, kills, tmp_path_factory.mktemp("any"))

    prove()


@pytest.fixture(params=[6, pytest.param(300, marks=[pytest.mark.long, pytest.mark.timeout(3000)])])
def examples(request):
    """How many cases are tried: few, the same every time; or many, others every time."""
    few = request.param == 6
    checks = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
    return settings(
        max_examples=request.param, deadline=None, derandomize=few, database=None, suppress_health_check=checks
    )


# --- real kills, and the command line ---------------------------------------------------------------------------------


def command(live, way: str, out: Path, *options: str) -> dict:
    """How subprocess is to call `galtrans fetch` for one of WAYS."""
    survey, how, named = WAYS[way]
    catalogue = out.with_name("catalogue.ecsv")
    if not catalogue.exists():
        live.small.catalogue(named).write(catalogue)
    words = [sys.executable, "-m", "cli.main", "fetch", survey, "--catalogue", str(catalogue), "--out", str(out)]
    words += ["--bands", BANDS, "--workers", "2", *(f"--{name}={value}" for name, value in how.items()), *options]
    cache = live.folder / f"cache-{out.parent.name}"
    return {
        "args": words,
        "env": os.environ | live.server.environ(cache),
        "cwd": Path(__file__).parents[1],
        "text": True,
    }


@pytest.mark.parametrize(("way", "delay"), [("named frames", 0.0), ("whole tiles", 0.15), ("windows", 0.6)])
def test_killed_at_any_moment_and_started_again(live, tmp_path, way, delay):
    """SIGKILL some time after the first request, however far the run is then."""
    out = tmp_path / "x.zarr"
    live.server.faults = live.module.FaultPlan([live.module.Fault("stall", times=3, seconds=0.3)])
    before = len(live.server.log)
    with subprocess.Popen(**command(live, way, out), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        while len(live.server.log) == before and child.poll() is None:
            time.sleep(0.01)
        threading.Event().wait(delay)
        child.kill()
    live.server.faults = live.module.FaultPlan(())
    done = subprocess.run(**command(live, way, out), capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert contents(out) == live.whole[way]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["catalogue.ecsv", "x.zarr"]


def test_a_partial_download_is_taken_up_where_it_ended(live, tmp_path):
    """A tile of which half had come when the process was killed costs the other half only."""
    out, way = tmp_path / "x.zarr", "whole tiles"
    live.server.faults = live.module.FaultPlan([live.module.Fault("stall", "minoc", seconds=20, at=0.8, times=2)])
    with subprocess.Popen(**command(live, way, out), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        deadline = time.monotonic() + 30
        while not list(tmp_path.rglob("*.part")) or max(f.stat().st_size for f in tmp_path.rglob("*.part")) < 100_000:
            assert time.monotonic() < deadline
            threading.Event().wait(0.05)
        child.kill()
    live.server.faults = live.module.FaultPlan(())
    before = len(live.server.log)
    assert subprocess.run(**command(live, way, out), capture_output=True, check=False, timeout=60).returncode == 0
    assert contents(out) == live.whole[way]
    asked = [each.headers.get("range", "") for each in live.server.log[before:] if each.route == "storage"]
    assert any(each.startswith("bytes=") and not each.startswith("bytes=0-") for each in asked)


def test_a_dry_run_asks_for_lists_only(live, tmp_path):
    before = len(live.server.log)
    said = subprocess.run(
        **command(live, "windows", tmp_path / "x.zarr", "--dry-run"), capture_output=True, check=True, timeout=60
    ).stdout
    assert {request.route for request in live.server.log[before:]} == {"tap"}
    assert "download  " in said
    assert "requests" in said
    assert "time      about" in said
    assert [each.name for each in tmp_path.iterdir()] == ["catalogue.ecsv"]


def test_kept_files_serve_the_next_store(live, tmp_path):
    keep = tmp_path / "kept"
    live.server.faults = live.module.FaultPlan(())
    live.fetch("named frames", tmp_path / "x.zarr", keep=keep)
    assert {path.name for path in keep.rglob("*.bz2")} >= {f"frame-{band}-000094-3-0100.fits.bz2" for band in BANDS}
    before = len(live.server.log)
    live.fetch("named frames", tmp_path / "y.zarr", keep=keep)
    assert [each for each in live.server.log[before:] if each.route == "sas" and each.path.endswith(".bz2")] == []
    assert contents(tmp_path / "y.zarr") == live.whole["named frames"]


def test_an_archive_that_says_no_is_named_with_url_and_status(live, tmp_path):
    live.server.faults = live.module.FaultPlan([live.module.Fault("400", "frame-r-000094-3-0100", times=-1)])
    manifest = open_store(live.fetch("named frames", tmp_path / "x.zarr")).manifest()
    failed = manifest[manifest["status"] == "failed"]
    assert len(failed) > 0
    assert set(failed["http"]) == {400}
    assert all(url.endswith("frame-r-000094-3-0100.fits.bz2") for url in failed["url"])
    assert all("400" in reason for reason in failed["reason"])


@pytest.mark.parametrize(
    ("way", "file", "status"),
    [
        ("named frames", "frame-r-000094-3-0100", "403"),
        ("whole tiles", "CFHTLS_W_r_100000", "404"),
        ("windows", "CFHTLS_W_r_100000", "404"),
        ("whole tiles", "CFHTLS_W_r_100000", "500"),
    ],
)
def test_a_passing_state_that_stays_ends_in_away_and_never_in_failed(live, tmp_path, way, file, status):
    """All other files are cut, the run ends without a store, and the next one goes on and fetches that file alone."""
    hosts.forget()
    live.server.faults = live.module.FaultPlan([live.module.Fault(status, file, times=-1)])
    with pytest.raises(
        AwayError, match=rf"1 of \d files could not be reached; the first: .*HTTP {status}, \d\d times"
    ) as e:
        live.fetch(way, tmp_path / "x.zarr", cache="cache-away")
    assert e.value.status == int(status)
    assert not (tmp_path / "x.zarr").exists()
    live.server.faults = live.module.FaultPlan(())
    before = len(live.server.log)
    path = live.fetch(way, tmp_path / "x.zarr", cache="cache-away")
    assert contents(path) == live.whole[way]
    images = [each.path for each in live.server.log[before:] if re.search(r"frame-|CFHTLS_W_", each.path)]
    assert any(file in each for each in images)
    assert all(re.search("frame-r-|_r_", each) for each in images)  # of r, whose frames beside it were not known before


def test_what_is_away_may_fail_if_the_user_says_so(live, tmp_path):
    hosts.forget()
    live.server.faults = live.module.FaultPlan([live.module.Fault("404", "CFHTLS_W_r_100000", times=-1)])
    how = command(live, "whole tiles", tmp_path / "x.zarr", "--fail-away")
    how["env"] |= {"GALTRANS_PATIENCE": "0"}
    done = subprocess.run(**how, capture_output=True, check=True, timeout=120)
    assert re.search(r"\d failed: r: http.*HTTP 404; nor by 4 other addresses", done.stdout)
    live.server.faults = live.module.FaultPlan(())
    assert contents(live.fetch("whole tiles", tmp_path / "x.zarr", retry_failed=True)) == live.whole["whole tiles"]
