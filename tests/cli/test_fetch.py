import os
import signal
import subprocess
import sys
import textwrap
import time
from functools import partial

import pytest

from survey_tools import tasks


@pytest.fixture
def mirror(tmp_path, known_sky, monkeypatch):
    """A mirror of one field in two bands and a catalogue of three, the last of them off the frame."""
    wcs = known_sky.frame_wcs()
    places = [known_sky.position(wcs, 108.2, 131.4), known_sky.position(wcs, 20, 130), (10.0, 10.0)]
    for band in "gr":
        known_sky.write_frame(tmp_path / "mirror", band, [known_sky.Galaxy(*places[0])])
    known_sky.catalogue(places).write(tmp_path / "mine.csv")
    monkeypatch.chdir(tmp_path)
    return tmp_path


FETCH = "fetch", "sdss", "--catalogue", "mine.csv", "--mirror", "mirror", "--bands", "gr", "--workers", 2


def test_fetch_info_and_export_of_one_store(mirror, galtrans):
    code, out, err = galtrans(*FETCH, "--out", "x.zarr")
    assert (code, err) == (0, "")
    assert "3 objects: 2 done (1 of them with gaps), 1 outside, 0 failed" in out
    assert "x.zarr/manifest.ecsv" in out
    code, out, _ = galtrans(*FETCH, "--out", "x.zarr")
    assert code == 0
    assert "complete already" in out
    code, out, _ = galtrans("info", "x.zarr")
    assert code == 0
    assert "64 x 64 pixels of 0.396 arcsec" in out
    code, out, _ = galtrans("export", "x.zarr", "--rows", "0:10", "--out", "fits")
    assert code == 0
    assert "Wrote 2 of 3 rows to fits; 1 have no image, x.zarr/manifest.ecsv says why" in out
    assert len(list((mirror / "fits").iterdir())) == 2
    code, out, _ = galtrans("export", "x.zarr", "--rows", "0:10", "--out", "fits")
    assert code == 0
    assert "2 of 3 rows were in fits before, from the same store" in out


def test_reasons_of_failures_are_shown(mirror, galtrans):
    path = next(mirror.rglob("frame-r-*"))
    path.write_bytes(path.read_bytes()[:9000])
    code, out, _ = galtrans(*FETCH, "--out", "x.zarr")
    assert code == 0
    assert "0 done (0 of them with gaps), 0 outside, 3 failed" in out
    assert "  2 failed: r: " in out


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        (("--mirror", "nowhere"), 1, "the mirror nowhere is not a folder"),
        (("--bands", "ux"), 2, "--bands"),
        (("--bands", "u"), 1, "mirror has no SDSS image of band u; pass --bands gr"),
        (("--catalogue", "no.csv"), 2, "--catalogue"),
        (("--workers", "0"), 2, "--workers"),
        (("--mirror", "http://127.0.0.1:9/"), 1, "no answer"),
        (("--keep-limit", "5GB"), 2, "--keep-files"),
        (("--keep-files", "k", "--keep-limit", "5"), 2, "such as 500GB"),
        (("--keep-files", "mine.csv"), 2, "'--keep-files'"),
        (("--scheduler", "tcp://127.0.0.1:9"), 1, "no Dask scheduler answers"),
        (("--scheduler", "foo"), 2, "give one such as tcp://host:8786"),
        (("--retry-failed", "--dry-run", "--out", "sky.zarr"), 1, "sky.zarr is not a Zarr store"),
    ],
)
def test_what_goes_wrong_is_one_line(mirror, galtrans, monkeypatch, change, code, message):
    monkeypatch.setattr(tasks, "PATIENCE", "0.3s")
    (mirror / "sky.zarr").mkdir()
    got, out, err = galtrans(*FETCH, "--out", "x.zarr", *change)
    assert got == code
    assert message in err
    assert out == ""
    assert len(err.splitlines()) == (1 if code == 1 else 4)
    assert not (mirror / "x.zarr").exists()
    assert not (mirror / "x.zarr.part").exists()


def test_a_dry_run_says_what_it_takes_and_makes_nothing(mirror, galtrans):
    code, out, err = galtrans(*FETCH, "--out", "x.zarr", "--dry-run")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].endswith("frame-g-000094-3-0100.fits.bz2: 2 objects")
    assert lines[2:5] == ["objects   3, 1 of them on no file", "files     2, all at hand", "cutouts   4"]
    assert lines[-1] == "time      about 1 s"
    assert sorted(path.name for path in mirror.iterdir()) == ["mine.csv", "mirror"]


def test_what_failed_is_tried_again_when_asked_for(mirror, galtrans):
    path = next(mirror.rglob("frame-r-*"))
    whole = path.read_bytes()
    path.write_bytes(b"")
    out = galtrans(*FETCH, "--out", "x.zarr")[1]
    assert out.endswith("The same command with --retry-failed tries what failed again.\n")
    assert "complete already" not in out
    path.write_bytes(whole)
    assert "x.zarr is complete already.\n3 objects: 0 done" in galtrans(*FETCH, "--out", "x.zarr")[1]
    assert "objects   3" in galtrans(*FETCH, "--out", "x.zarr", "--retry-failed", "--dry-run")[1]
    out = galtrans(*FETCH, "--out", "x.zarr", "--retry-failed")[1]
    assert "Of 3 that had failed, 3 did not fail again.\n3 objects: 2 done (1 of them with gaps), 1 out" in out
    assert "--retry-failed" not in out
    code, _, err = galtrans(*FETCH, "--out", "x.zarr", "--retry-failed", "--dry-run")
    assert (code, err) == (1, "Error: x.zarr has no object that failed; there is nothing to try again\n")


@pytest.mark.parametrize(("option", "said"), [((), True), (("--psf",), True), (("--no-psf",), False)])
def test_seeing_that_is_wanted_and_not_there_is_said(mirror, galtrans, option, said):
    out = galtrans(*FETCH, "--out", "x.zarr", *option)[1]
    assert ("Of 2 objects no psField gave the seeing: their psf_fwhm is NaN." in out) == said


def test_a_run_may_be_begun_anew(mirror, galtrans):
    (mirror / "x.zarr.part").mkdir()
    (mirror / "x.zarr.part" / "zarr.json").write_text("nonsense")
    assert galtrans(*FETCH, "--out", "x.zarr", "--no-resume")[0] == 0
    assert galtrans("verify", "x.zarr")[0] == 0


SLOW = """
    import time
    from survey_tools.archives.sdss.archive import Frames
    from cli.main import main

    inner = Frames.cut

    def slow(self, source, ra, dec):
        if "frame-g" in source.name:
            print("cutting", flush=True)
            time.sleep(60)
        return inner(self, source, ra, dec)

    Frames.cut = slow
    main()
"""


def test_ctrl_c_ends_with_one_line_and_the_next_run_goes_on(mirror, galtrans):
    command = [sys.executable, "-c", textwrap.dedent(SLOW), *map(str, FETCH), "--out", "x.zarr"]
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a job in the background may be deaf to it
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heard
    ) as child:
        assert child.stdout.readline() == "cutting\n"
        time.sleep(0.3)
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=60)
    assert child.returncode == 1
    assert err.strip() == "Error: interrupted; nothing half-written is left, so run the same command again"
    assert not (mirror / "x.zarr").exists()
    assert galtrans(*FETCH, "--out", "x.zarr")[0] == 0


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 100 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(folder)]
    if os.getuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a small file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_one_line(mirror, small_disk, galtrans):
    code, _, err = galtrans(*FETCH, "--out", small_disk / "x.zarr")
    assert code == 1
    assert len(err.splitlines()) == 1
    assert "No space left on device" in err
    assert not (small_disk / "x.zarr").exists()
