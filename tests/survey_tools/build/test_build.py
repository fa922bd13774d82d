import bz2
import errno
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import vstack
from distributed import LocalCluster
from numpy.testing import assert_allclose, assert_array_equal

from survey_tools.archives.download import http
from survey_tools.archives.known import ARCHIVES
from survey_tools.archives.plan import Access
from survey_tools.build.builder import alone
from survey_tools.build.fetch import fetch, work_folder
from survey_tools.errors import ArchiveError, AwayError, StoreError
from survey_tools.fits import reading
from survey_tools.store import zarr_store as store_module
from survey_tools.store.verify import verify
from survey_tools.surveys import CFHT, SDSS
from survey_tools.tasks import engine

BANDS = "gr"
SMALL = 2**17  # bytes of a chunk of four objects


@pytest.fixture
def sky(tmp_path, known_sky):
    """A mirror of one field in two bands with a galaxy, and a catalogue: the galaxy, one at the edge, one far off."""
    wcs = known_sky.frame_wcs()
    galaxy = known_sky.Galaxy(*known_sky.position(wcs, 108.2, 131.4), flux=300.0)
    for band in BANDS:
        known_sky.write_frame(tmp_path / "mirror", band, [galaxy])
    catalogue = known_sky.catalogue([(galaxy.ra, galaxy.dec), known_sky.position(wcs, 20, 130), (10.0, 10.0)])
    return tmp_path / "mirror", catalogue


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def manifest(store) -> list[tuple[str, str, str]]:
    return [tuple(row) for row in store.manifest()["status", "reason", "file"]]


def test_every_row_is_accounted_for(sky, tmp_path, known_sky):
    mirror, catalogue = sky
    store = known_sky.fetch(SDSS, catalogue, mirror, tmp_path / "x.zarr", bands=BANDS, workers=2)
    assert store.bands == ("g", "r")
    done, partial, outside = manifest(store)
    name = "sas/dr12/boss/photoObj/frames/301/94/3/frame-{}-000094-3-0100.fits.bz2"
    assert done == ("done", "", f"{name.format('g')};{name.format('r')}")
    assert partial[0] == "done"
    assert partial[1].startswith("g: ")
    assert "r: " in partial[1]
    assert partial[1].endswith("% of pixels without data")
    assert outside == ("outside", "no SDSS image has data at its position", "")
    assert_allclose(store.images[0].sum(axis=(1, 2)), [300, 300], rtol=0.01)
    assert_array_equal(store.usable, [True, False, False])
    coverage = store.column("coverage")
    assert_allclose(coverage[1], np.isfinite(store.images[1]).mean(axis=(1, 2)))
    assert f"{100 * (1 - coverage[1, 0]):.1f} %" in partial[1]
    assert np.isnan(store.images[2]).all()
    assert store.mask[2].all()
    assert_array_equal(np.isnan(store.images[:]), store.mask[:])
    assert_allclose(store.column("sky_sigma")[0], 0.02 * 0.87, rtol=0.15)  # interpolation averages the noise
    assert_array_equal(store.column("zero_point")[:2], 22.5)
    assert store.column("source")[0].tolist() == [name.format("g"), name.format("r")]
    assert_allclose(store.wcs(0).wcs.crval, (catalogue["ra"][0], catalogue["dec"][0]))
    with pytest.raises(StoreError, match="row 2 has no image"):
        store.wcs(2)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["mirror", "x.zarr"]


def test_cfht_windows_keep_the_grid_of_their_stack(tmp_path, known_sky):
    galaxy = known_sky.Galaxy(*known_sky.position(known_sky.stack_wcs(), 150.3, 141.9), flux=40.0)
    for band in "ri":
        known_sky.write_stack(tmp_path / "mirror", band, [galaxy], header={"SATURATE": 300.0 if band == "i" else 1e6})
    store = known_sky.fetch(
        CFHT, known_sky.catalogue([(galaxy.ra, galaxy.dec)]), tmp_path / "mirror", tmp_path / "y.zarr", bands="ri"
    )
    assert store.images.shape == (1, 2, 136, 136)
    assert_allclose(store.images[0].sum(axis=(1, 2)), [40, 40], rtol=0.05)
    assert_allclose(store.column("sky_sigma")[0], 0.001, rtol=0.05)
    assert_allclose(store.column("psf_fwhm")[0], 0.7)
    assert_array_equal(store.column("zero_point"), [[30.0, 30.0]])
    assert store.column("saturated")[0, 0] == 0
    assert store.column("saturated")[0, 1] == store.mask[0, 1].sum() > 0
    shift = known_sky.stack_wcs().wcs.crpix - store.wcs(0).wcs.crpix
    assert_allclose(shift, np.round(shift), atol=1e-9)


def test_each_file_is_opened_once(sky, tmp_path, monkeypatch, known_sky):
    mirror, catalogue = sky
    opened = []
    inner = reading.at_hand
    monkeypatch.setattr(reading, "at_hand", lambda path, name: opened.append(name) or inner(path, name))
    position = catalogue["ra"][0], catalogue["dec"][0]
    known_sky.fetch(SDSS, known_sky.catalogue([position] * 30), mirror, tmp_path / "x.zarr", bands=BANDS, workers=2)
    assert sorted(opened) == sorted(str(path.relative_to(mirror)) for path in mirror.rglob("*.bz2"))


@pytest.mark.parametrize("named", [False, True])
def test_overlapping_frames_complete_each_other(tmp_path, known_sky, named):
    wcs = known_sky.frame_wcs("r", 100)
    galaxy = known_sky.Galaxy(*known_sky.position(wcs, 205.0, 131.0), flux=300.0)
    for field in (100, 101):
        known_sky.write_frame(tmp_path / "mirror", "r", [galaxy], field=field)
    catalogue = known_sky.catalogue([(galaxy.ra, galaxy.dec)], field=100 if named else None)
    store = known_sky.fetch(SDSS, catalogue, tmp_path / "mirror", tmp_path / "x.zarr", bands="r")
    assert_allclose(store.images[0, 0].sum(), 300, rtol=0.01)
    assert manifest(store)[0][:2] == ("done", "")
    assert store.column("source")[0, 0].count(".bz2") == 2


def test_the_mean_is_taken_where_frames_overlap(tmp_path, known_sky):
    position = known_sky.position(known_sky.frame_wcs(), 110, 130)
    for seed, name, run in ((1.0, "a.fits", 94), (4.0, "b.fits", 95)):  # the same frame twice would be a copy
        fill = lambda image, value=seed: image.fill(value)  # noqa: E731
        known_sky.write_frame(tmp_path / "m", "r", [], name=name, edit=fill, header={"RUN": run})
    store = known_sky.fetch(SDSS, known_sky.catalogue([position]), tmp_path / "m", tmp_path / "x.zarr", bands="r")
    assert_allclose(store.images[0], 2.5, rtol=1e-3)


def garble(path):
    content = bz2.decompress(path.read_bytes())
    path.write_bytes(
        bz2.compress(content.replace(b"CAMROW  =                    1", b"CAMROW  =                  1.5", 1))
    )


def unreadable_unit(path):
    content = bz2.decompress(path.read_bytes())
    path.write_bytes(bz2.compress(content.replace(b"BUNIT   = 'nanomaggy'", b"BUNIT   = 'nanomaggy ", 1)))


def truncate(path):
    path.write_bytes(path.read_bytes()[:20_000])


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (truncate, "frame-r-000094-3-0100.fits.bz2 cannot be read"),
        (lambda path: path.write_bytes(b""), "frame-r-000094-3-0100.fits.bz2 is empty"),
        (lambda path: path.unlink(), "frame-r-000094-3-0100.fits.bz2 is not in the mirror"),
        (garble, "frame-r-000094-3-0100.fits.bz2 does not state its RUN, CAMCOL and FRAME"),
        (unreadable_unit, "frame-r-000094-3-0100.fits.bz2 cannot be used (VerifyError: Unparsable card (BUNIT)"),
    ],
)
def test_an_object_of_a_bad_file_fails_and_keeps_its_other_bands(sky, tmp_path, known_sky, spoil, reason):
    mirror, catalogue = sky
    catalogue = known_sky.catalogue([(catalogue["ra"][0], catalogue["dec"][0])], field=100)
    spoil(next(mirror.rglob("frame-r-*")))
    store = known_sky.fetch(SDSS, catalogue, mirror, tmp_path / "x.zarr", bands=BANDS)
    status, said, file = manifest(store)[0]
    assert status == "failed"
    assert said.startswith("r: ")
    assert reason in said
    assert file.endswith("frame-r-000094-3-0100.fits.bz2")
    assert "\n" not in said
    assert np.isfinite(store.images[0, 0]).all()
    assert np.isnan(store.images[0, 1]).all()
    assert not store.usable[0]


def test_a_file_without_wcs_is_named_where_its_band_is_missing(sky, tmp_path, known_sky):
    mirror, catalogue = sky
    known_sky.write_frame(mirror, "r", [], header={"CTYPE1": None, "CTYPE2": None})
    status, said, file = manifest(known_sky.fetch(SDSS, catalogue, mirror, tmp_path / "x.zarr", bands=BANDS))[0]
    assert (status, file[-30:]) == ("failed", "frame-r-000094-3-0100.fits.bz2")
    assert said.startswith("r: no SDSS image with data covers it (")
    assert "no celestial WCS" in said


def test_a_store_that_is_there_is_taken_or_refused(sky, tmp_path, known_sky):
    mirror, catalogue = sky
    out = tmp_path / "x.zarr"
    known_sky.fetch(SDSS, catalogue, mirror, out, bands=BANDS)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    again = known_sky.fetch(SDSS, catalogue, mirror, out, bands=BANDS)
    assert len(again) == 3
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
    with pytest.raises(StoreError, match="made with other bands"):
        known_sky.fetch(SDSS, catalogue, mirror, out, bands="r")
    with pytest.raises(StoreError, match="made with other objects, catalogue"):
        known_sky.fetch(SDSS, catalogue[:2], mirror, out, bands=BANDS)
    with pytest.raises(StoreError, match="made with other survey"):
        known_sky.fetch(CFHT, catalogue, mirror, out, bands=BANDS)


def test_overwrite_replaces_a_store_only_by_a_whole_one(sky, tmp_path, known_sky):
    mirror, catalogue = sky
    out = tmp_path / "x.zarr"
    known_sky.fetch(SDSS, catalogue, mirror, out, bands=BANDS)
    before = contents(out)
    with pytest.raises(ArchiveError, match="no SDSS image"):
        known_sky.fetch(SDSS, catalogue, tmp_path / "x.zarr", out, bands="r", overwrite=True)
    assert contents(out) == before
    assert known_sky.fetch(SDSS, catalogue, mirror, out, bands="r", overwrite=True).bands == ("r",)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["mirror", "x.zarr"]


def test_a_wrong_mirror_leaves_nothing_behind(sky, tmp_path, known_sky):
    mirror, catalogue = sky
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArchiveError, match=r"empty has no SDSS image"):
        known_sky.fetch(SDSS, catalogue, tmp_path / "empty", tmp_path / "x.zarr")
    with pytest.raises(ArchiveError, match=r"none of the 2 objects could be cut from .*: no SDSS image has data"):
        known_sky.fetch(
            SDSS, known_sky.catalogue([(10.0, 10.0), (11.0, 10.0)]), mirror, tmp_path / "x.zarr", bands=BANDS
        )
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["empty", "mirror"]


def test_an_archive_that_has_none_of_the_files_leaves_nothing_behind(sky, tmp_path, known_sky):
    mirror, catalogue = sky
    catalogue = known_sky.catalogue([(catalogue["ra"][0], catalogue["dec"][0])], field=500)
    with (
        known_sky.served(mirror) as (url, _),
        pytest.raises(ArchiveError, match=r"none of the 1 objects .* does not exist"),
    ):
        known_sky.fetch(SDSS, catalogue, url, tmp_path / "x.zarr", bands=BANDS)
    assert [path.name for path in tmp_path.iterdir()] == ["mirror"]


def test_two_processes_do_not_build_one_store(sky, tmp_path, known_sky):
    mirror, catalogue = sky
    with alone(tmp_path / "x.zarr"), pytest.raises(StoreError, match=r"another galtrans is making .*x\.zarr"):
        known_sky.fetch(SDSS, catalogue, mirror, tmp_path / "x.zarr", bands=BANDS)


def test_an_archive_that_goes_away_ends_the_run_and_the_next_goes_on(sky, tmp_path, known_sky, monkeypatch):
    mirror, catalogue = sky
    catalogue = known_sky.catalogue([(catalogue["ra"][0], catalogue["dec"][0])], field=100)
    monkeypatch.setattr(http, "ATTEMPTS", 1)
    real, calls = http.download, []

    def second_time_away(url, path, **options):
        calls.extend([url] if "frame-" in url else [])
        real(url if len(calls) < 2 else "http://127.0.0.1:9/", path, **options)

    monkeypatch.setattr(http, "download", second_time_away)
    with known_sky.served(mirror) as (url, _):
        with pytest.raises(OSError, match="no answer"):
            known_sky.fetch(SDSS, catalogue, url, tmp_path / "x.zarr", bands=BANDS, away_after=1)
        assert len(list((tmp_path / "x.zarr.part").rglob("cutouts/*/*.npy"))) == 1
        monkeypatch.setattr(http, "download", real)
        store = known_sky.fetch(SDSS, catalogue, url, tmp_path / "x.zarr", bands=BANDS)
    assert manifest(store)[0][0] == "done"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mirror", "x.zarr"]


def test_a_cluster_makes_the_same_store_to_the_byte(killable, tmp_path, known_sky, any_port):
    mirror, catalogue, expected = killable
    where = {"processes": False, "protocol": "tcp", "host": "127.0.0.1", **any_port}
    archive = ARCHIVES["sdss"].open(Access(work_folder(tmp_path / "x.zarr"), mirror=str(mirror)))
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, **where) as cluster,
        engine(1, cluster.scheduler_address) as many,
    ):
        store = fetch(archive, catalogue, tmp_path / "x.zarr", bands=BANDS, engine=many, chunk_bytes=SMALL)
    assert contents(store.path) == expected


def test_files_that_are_away_are_no_failures_and_the_others_are_cut(sky, tmp_path, known_sky, monkeypatch):
    mirror, catalogue = sky
    catalogue = known_sky.catalogue([(catalogue["ra"][0], catalogue["dec"][0])], field=100)
    real, asked = http.download, []

    def away(url, path, **options):
        asked.append(url)
        if "frame-r" in url:
            raise AwayError(f"{url}: no answer; is the archive up?", url=url, status=503)
        real(url, path, **options)

    monkeypatch.setattr(http, "download", away)
    with known_sky.served(mirror) as (url, _):
        fetch_it = partial(known_sky.fetch, SDSS, catalogue, url, tmp_path / "x.zarr", bands=BANDS)
        with pytest.raises(
            AwayError, match=r"1 of \d files could not be reached; the first: .*frame-r.*--fail-away"
        ) as e:
            fetch_it()
        assert e.value.status == 503
        assert not (tmp_path / "x.zarr").exists()
        cut = [each for each in asked if "frame-" in each and "frame-r" not in each]
        asked.clear()
        store = fetch_it(fail_away=True)
        assert [each for each in asked if "frame-" in each and "frame-r" not in each] == []  # they were cut before
        assert cut
        assert manifest(store)[0][0] == "failed"
        assert "no answer" in manifest(store)[0][1]
        assert "frame-r" in store.manifest()["url"][0]
        assert store.manifest()["http"][0] == 503
        monkeypatch.setattr(http, "download", real)
        store = fetch_it(retry_failed=True)
    assert manifest(store)[0][0] == "done"


@pytest.mark.parametrize(("reached", "tried"), [((), 3), ((103,), 5)])
def test_three_files_in_a_row_that_are_away_end_the_run_at_once(tmp_path, known_sky, monkeypatch, reached, tried):
    fields, asked, real = range(101, 106), [], http.download
    for field in fields:
        known_sky.write_frame(tmp_path / "mirror", "r", [], field=field)
    places = {field: known_sky.position(known_sky.frame_wcs(field=field), 100, 100) for field in fields}
    catalogue = vstack([known_sky.catalogue([place], field) for field, place in places.items()])
    catalogue["object_id"] = [f"g{field}" for field in fields]

    def away(url, path, **options):
        asked.append(url)
        if not any(f"-{field:04d}.fits" in url for field in reached):
            raise AwayError(f"{url}: no answer; is the archive up?", url=url)
        real(url, path, **options)

    monkeypatch.setattr(http, "download", away)
    said = "could not be reached" if reached else "no answer"
    with known_sky.served(tmp_path / "mirror") as (url, _), pytest.raises(AwayError, match=said):
        known_sky.fetch(SDSS, catalogue, url, tmp_path / "x.zarr", bands="r", psf=False)
    assert len(asked) == tried


def test_what_failed_is_tried_again_and_the_rest_is_not_touched(killable, tmp_path, known_sky):
    mirror, catalogue, _ = killable
    broken = shutil.copytree(mirror, tmp_path / "mirror")
    red = next(broken.rglob("frame-r-*"))
    whole = red.read_bytes()
    truncate(red)
    out = tmp_path / "x.zarr"
    store = known_sky.fetch(SDSS, catalogue, broken, out, bands=BANDS, chunk_bytes=SMALL)
    assert store.manifest()["status"].tolist() == ["failed"] * 10
    before = contents(out)
    known_sky.fetch(SDSS, catalogue, broken, out, bands=BANDS, retry_failed=True, chunk_bytes=SMALL)
    assert contents(out) == before  # it is still broken
    red.write_bytes(whole)
    store = known_sky.fetch(SDSS, catalogue, broken, out, bands=BANDS, chunk_bytes=SMALL)
    assert store.manifest()["status"].tolist() == ["failed"] * 10
    store = known_sky.fetch(SDSS, catalogue, broken, out, bands=BANDS, retry_failed=True, chunk_bytes=SMALL)
    assert contents(out) == contents(
        known_sky.fetch(SDSS, catalogue, broken, tmp_path / "y.zarr", bands=BANDS, chunk_bytes=SMALL).path
    )
    assert verify(out) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mirror", "x.zarr", "y.zarr"]


# --- interruption -----------------------------------------------------------------------------------------------------

CHILD = """
    import os, pathlib, shutil, signal, sys
    import numpy as np
    from astropy.table import Table
    from survey_tools.archives.known import ARCHIVES
    from survey_tools.archives.plan import Access
    from survey_tools.build import fetch as build, gather as spool
    from survey_tools.store import zarr_store as store

    mirror, out, where, when = sys.argv[1:5]
    holder, name = {
        "cut": (spool, "save"), "gather": (store.Store, "write"), "zarr": (pathlib.Path, "replace"),
        "columns": (store.Store, "write_columns"), "finish": (store.zarr, "consolidate_metadata"),
        "name": (os, "rename"), "tidy": (shutil, "rmtree"), "whole": (os, "replace"), "drop": (pathlib.Path, "unlink"),
    }[where]
    inner, calls = getattr(holder, name), []

    def dying(*arguments, **options):
        calls.append(1)
        if when == str(len(calls)) or not when.isdigit() and when in " ".join(map(str, arguments)) + "$":
            os.kill(os.getpid(), signal.SIGKILL)
        return inner(*arguments, **options)

    catalogue = Table.read(mirror + ".ecsv")
    setattr(holder, name, dying)
    archive = ARCHIVES["sdss"].open(Access(build.work_folder(pathlib.Path(out)), mirror=mirror))
    build.fetch(archive, catalogue, out, bands="gr", chunk_bytes=int(sys.argv[5]))
"""
KILLS = {  # where, at which call or on which path: what lies there then
    ("zarr", "images/zarr"): ("x.zarr.part/images/*.partial", 1),  # the store has no attributes yet
    ("cut", "2"): ("x.zarr.part/.work/cutouts/*/*.npy", 1),
    ("whole", ".blocks/"): ("x.zarr.part/.blocks/.*.part.*", 1),
    ("gather", "3"): ("x.zarr.part/.work/chunks/*.npz", 2),
    ("finish", "1"): (".x.zarr.part.work/chunks/*.npz", 3),
    ("whole", "images/c/"): ("x.zarr.part/.blocks/0*", 3),  # while blocks become shard files
    ("whole", "mask/c/"): ("x.zarr.part/images/c/0/0/0/0", 1),
    ("drop", ".blocks/000000004"): ("x.zarr.part/.blocks/0*", 2),
    ("name", ".blocks/ready/psf_fwhm "): ("x.zarr.part/psf_fwhm", 0),
    ("name", "x.zarr$"): (".x.zarr.part.work/chunks/*.npz", 3),
    ("tidy", ".part.work"): ("x.zarr/manifest.ecsv", 1),
}


@pytest.fixture(scope="module")
def killable(tmp_path_factory, known_sky):
    """A mirror, its catalogue of ten objects in three chunks, and the store of a run that was left alone."""
    folder = tmp_path_factory.mktemp("killable")
    rng = np.random.default_rng(3)
    places = [known_sky.position(known_sky.frame_wcs(), *place) for place in rng.uniform(60, 150, (9, 2))]
    for band in BANDS:
        known_sky.write_frame(folder / "mirror", band, [known_sky.Galaxy(*place) for place in places])
    catalogue = known_sky.catalogue([*places, (10.0, 10.0)])
    catalogue.write(folder / "mirror.ecsv")
    whole = known_sky.fetch(
        SDSS, catalogue, folder / "mirror", folder / "whole.zarr", bands=BANDS, workers=2, chunk_bytes=SMALL
    )
    assert len(whole.chunks()) == 3
    return folder / "mirror", catalogue, contents(whole.path)


@pytest.mark.parametrize(("where", "when"), KILLS)
def test_a_killed_run_goes_on_and_ends_the_same_to_the_byte(killable, tmp_path, where, when, known_sky):
    mirror, catalogue, expected = killable
    out = tmp_path / "x.zarr"
    child = [sys.executable, "-c", textwrap.dedent(CHILD), str(mirror), str(out), where, when, str(SMALL)]
    assert subprocess.run(child, capture_output=True, check=False, timeout=120).returncode == -signal.SIGKILL
    pattern, count = KILLS[where, when]
    assert len(list(tmp_path.glob(pattern))) == count
    assert out.exists() == (where == "tidy")
    store = known_sky.fetch(SDSS, catalogue, mirror, out, bands=BANDS, workers=2, chunk_bytes=SMALL)
    assert contents(store.path) == expected
    assert [path.name for path in tmp_path.iterdir()] == ["x.zarr"]


@pytest.fixture
def half_broken(tmp_path, known_sky):
    """A store in which the objects of one of two frames have failed; what mends it; the store without a fault."""
    places, rng = [], np.random.default_rng(4)
    for field in (100, 200):
        wcs = known_sky.frame_wcs(field=field)
        places += [known_sky.position(wcs, *place) for place in rng.uniform(60, 150, (5, 2))]
        for band in BANDS:
            known_sky.write_frame(tmp_path / "mirror", band, [], field=field, name=f"{band}{field}.fits")
    catalogue = known_sky.catalogue(places)
    expected = contents(
        known_sky.fetch(SDSS, catalogue, tmp_path / "mirror", tmp_path / "y.zarr", bands=BANDS, chunk_bytes=SMALL).path
    )
    red = tmp_path / "mirror" / "r200.fits"
    whole = red.read_bytes()
    red.write_bytes(whole[: 3 * len(whole) // 4])  # its header can be read
    out = tmp_path / "x.zarr"
    store = known_sky.fetch(SDSS, catalogue, tmp_path / "mirror", out, bands=BANDS, chunk_bytes=SMALL)
    assert store.manifest()["status"].tolist() == ["done"] * 5 + ["failed"] * 5
    red.write_bytes(whole)
    return partial(known_sky.fetch, SDSS, catalogue, tmp_path / "mirror", out, bands=BANDS, chunk_bytes=SMALL), expected


class KilledError(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("first", ["retry_failed", "overwrite"])
@pytest.mark.parametrize("then", ["retry_failed", "overwrite"])
@pytest.mark.parametrize("where", ["write", "write_columns"])
def test_a_killed_mend_and_a_killed_replacement_are_not_taken_for_each_other(
    half_broken, monkeypatch, tmp_path, first, then, where
):
    again, expected = half_broken
    with monkeypatch.context() as patch:
        inner, calls = getattr(store_module.Store, where), []

        def die(*arguments, **options):
            calls.append(1)
            if len(calls) == (2 if where == "write" else 1):
                raise KilledError
            return inner(*arguments, **options)

        patch.setattr(store_module.Store, where, die)
        with pytest.raises(KilledError):
            again(**{first: True})
    store = again(**{then: True})
    assert contents(store.path) == expected
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mirror", "x.zarr", "y.zarr"]


def test_chunks_of_a_killed_run_are_made_anew_where_files_came_since(killable, tmp_path, known_sky, monkeypatch):
    mirror, catalogue, _ = killable
    later = shutil.copytree(mirror, tmp_path / "mirror")
    red = next(later.rglob("frame-r-*"))
    shutil.move(red, tmp_path / "r.bz2")
    known_sky.write_frame(later, "r", [], field=200, name="elsewhere.fits")
    with monkeypatch.context() as patch:
        patch.setattr(store_module.Store, "write_columns", lambda *_: (_ for _ in ()).throw(KilledError))
        with pytest.raises(KilledError):
            known_sky.fetch(SDSS, catalogue, later, tmp_path / "x.zarr", bands=BANDS, chunk_bytes=SMALL)
    shutil.move(tmp_path / "r.bz2", red)
    store = known_sky.fetch(SDSS, catalogue, later, tmp_path / "x.zarr", bands=BANDS, chunk_bytes=SMALL)
    assert set(store.manifest()["status"][:9]) == {"done"}


def test_a_run_begun_with_other_settings_is_refused_unless_it_may_be_overwritten(killable, tmp_path, known_sky):
    mirror, catalogue, _ = killable
    out = tmp_path / "x.zarr"
    child = [sys.executable, "-c", textwrap.dedent(CHILD), str(mirror), str(out), "gather", "2", str(SMALL)]
    subprocess.run(child, capture_output=True, check=False, timeout=120)
    with pytest.raises(StoreError, match=r"x\.zarr\.part was begun with other bands"):
        known_sky.fetch(SDSS, catalogue, mirror, out, bands="r")
    assert known_sky.fetch(SDSS, catalogue, mirror, out, bands="r", overwrite=True).bands == ("r",)


def test_a_file_mended_after_a_kill_is_used(killable, tmp_path, known_sky):
    _, catalogue, _ = killable
    mirror = tmp_path / "mirror"
    for band in BANDS:
        known_sky.write_frame(mirror, band, [], name=f"{band}.fits")
    whole = (mirror / "r.fits").read_bytes()
    truncate(mirror / "r.fits")
    catalogue.write(f"{mirror}.ecsv")
    child = [
        sys.executable,
        "-c",
        textwrap.dedent(CHILD),
        str(mirror),
        str(tmp_path / "x.zarr"),
        "columns",
        "1",
        str(SMALL),
    ]
    subprocess.run(child, capture_output=True, check=False, timeout=120)
    assert list(tmp_path.glob("x.zarr.part/.work/chunks/*.npz"))
    (mirror / "r.fits").write_bytes(whole)
    store = known_sky.fetch(SDSS, catalogue, mirror, tmp_path / "x.zarr", bands=BANDS, chunk_bytes=SMALL)
    assert set(store.manifest()["status"][:9]) == {"done"}


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 200 kB, and a function that makes it larger."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(folder)]
    if os.getuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a small file system")
    yield folder, lambda: subprocess.run(["mount", "-o", "remount,size=50m", str(folder)], check=True)
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_ends_the_run_and_with_space_the_next_goes_on(killable, small_disk, known_sky):
    mirror, catalogue, expected = killable
    folder, enlarge = small_disk
    with pytest.raises(OSError, match="No space left") as caught:
        known_sky.fetch(SDSS, catalogue, mirror, folder / "x.zarr", bands=BANDS, workers=2, chunk_bytes=SMALL)
    assert caught.value.errno == errno.ENOSPC
    enlarge()
    assert (
        contents(
            known_sky.fetch(SDSS, catalogue, mirror, folder / "x.zarr", bands=BANDS, workers=2, chunk_bytes=SMALL).path
        )
        == expected
    )


# --- real files -------------------------------------------------------------------------------------------------------

BRIGHT = [  # README of the real data
    (38.57078, -7.09054), (38.51253, -7.06088), (38.56179, -7.12370), (38.57159, -7.09912),
    (38.62781, -7.06985), (38.62705, -7.03109), (38.69696, -7.07956),
]  # fmt: skip


def test_real_frames_make_a_five_band_store_whose_bands_agree(real_data, tmp_path, known_sky):
    store = known_sky.fetch(SDSS, known_sky.catalogue(BRIGHT), real_data, tmp_path / "x.zarr", workers=2)
    assert [row[0] for row in manifest(store)] == ["done"] * 7
    assert_array_equal(store.usable, [True] * 6 + [False])
    assert_allclose(store.column("sky_sigma")[4], [0.035, 0.015, 0.024, 0.034, 0.12], rtol=0.3)
    sky = []
    for band in range(1, 5):  # the galaxy of r = 18.49 is hardly seen in u
        middle = np.nan_to_num(store.images[4, band, 22:42, 22:42])
        row, col = known_sky.centroid(np.clip(middle - 3 * store.column("sky_sigma")[4, band], 0, None))
        sky.append(store.wcs(4).pixel_to_world(col + 22, row + 22))
    assert all(there.separation(sky[1]) < 0.3 * u.arcsec for there in sky)
    assert sky[1].separation(SkyCoord(*BRIGHT[4], unit="deg")) < 0.5 * u.arcsec
    for star in range(3):  # a bright star, in all five bands
        peaks = [known_sky.centroid(np.clip(image[26:38, 26:38] - 0.2 * image.max(), 0, None))
                 for image in store.images[star]]  # fmt: skip
        assert np.ptp(peaks, axis=0).max() * 0.396 < 0.5


def test_real_stacks_make_a_store(real_data, tmp_path, known_sky):
    catalogue = known_sky.catalogue([(215.545, 52.7835), (215.539, 52.781), (31.2251, -10.4020)])
    store = known_sky.fetch(CFHT, catalogue, real_data / "cfht", tmp_path / "y.zarr", bands="gri", workers=2)
    assert [row[0] for row in manifest(store)] == ["done", "done", "failed"]
    assert manifest(store)[2][1] == "r, i: no CFHTLS image with data covers it"
    assert_array_equal(store.column("zero_point")[:, 0], 30.0)
    saturated = store.column("saturated")
    assert saturated[1, 0] > 100  # the star is, in g, and in i not quite
    assert (saturated[0] == 0).all()
    assert_allclose(store.column("sky_sigma")[0] * 1000, [0.67, 1.43, 1.96], rtol=0.1)
