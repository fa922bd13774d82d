"""Mirrors behind s3:// on a local S3 server, with the faults that downloads survive."""

import logging
import os
import sys

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from numpy.testing import assert_array_equal

from survey_tools import SURVEYS
from survey_tools.archives.download import hosts, http, object_store
from survey_tools.archives.download.http import NotThereError
from survey_tools.archives.download.mirror import Mirror
from survey_tools.archives.known import ARCHIVES
from survey_tools.archives.plan import Access
from survey_tools.build.fetch import estimate, fetch, work_folder
from survey_tools.errors import ArchiveError, AwayError
from survey_tools.images.sky_wcs import tan_wcs

moto = pytest.importorskip("moto.server")
pytest.importorskip("s3fs")

SIZE = 300_000
KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}
FITS = fits.Header().tostring().encode()


@pytest.fixture(scope="module")
def s3(s3_faults, tmp_path_factory):
    """A bucket with a FITS file of SIZE, a note, and two tiles; requests go through a proxy with faults."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = moto.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch, s3_faults.proxy_of(port) as proxy:
        for name in [name for name in os.environ if name.startswith(("AWS_", "FSSPEC_"))]:
            patch.delenv(name)
        for name, value in KEYS.items():
            patch.setenv(name, value)
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.server_port}")
        patch.setenv("AWS_CONFIG_FILE", str(tmp_path_factory.mktemp("no") / "config"))
        put("tiles", "", {})
        content = {"a+b/whole file.fits": b"SIMPLE  =" + bytes(range(256)) * (SIZE // 256), "notes.txt": b"hello"}
        put("tiles", "some/", content)
        yield proxy, content["a+b/whole file.fits"]
    server.stop()


def put(bucket, prefix, content):
    import fsspec

    files = fsspec.filesystem("s3", use_listings_cache=False, skip_instance_cache=True)
    if not files.exists(bucket):
        files.mkdir(bucket)
    for name, each in content.items():
        files.pipe_file(f"{bucket}/{prefix}{name}", each)


@pytest.fixture
def proxy(s3, monkeypatch):
    """The proxy without faults, in a process that knows no host and does not wait."""
    monkeypatch.setattr("survey_tools.archives.download.http.time.sleep", lambda seconds: None)
    monkeypatch.setattr(object_store, "PIECE", 2**16)
    hosts.forget()
    s3[0].faults.clear()
    s3[0].log.clear()
    return s3[0]


@pytest.fixture
def mirror(tmp_path):
    return Mirror("s3://tiles/some", tmp_path / "work")


def read(mirror, name="a+b/whole file.fits", **known):
    with mirror.file(name, **known) as path:
        return path.read_bytes()


def test_files_are_listed_read_and_deleted_after_use(s3, proxy, mirror):
    assert mirror.names((".fits",)) == ["a+b/whole file.fits"]
    assert mirror.sizes((".fits",)) == {"a+b/whole file.fits": len(s3[1])}
    assert mirror.beginning("a+b/whole file.fits", 2000).read() == s3[1][:2000]
    before = http.traffic()
    assert read(mirror, size=len(s3[1])) == s3[1]
    assert (http.traffic() - before).bytes == len(s3[1])
    assert [path for path in mirror.cache.rglob("*") if path.is_file()] == []


def test_a_kept_file_is_not_fetched_again(s3, proxy, tmp_path):
    mirror = Mirror("s3://tiles/some", tmp_path / "work", tmp_path / "kept")
    assert read(mirror) == s3[1]
    proxy.log.clear()
    assert read(mirror) == s3[1]
    assert mirror.beginning("a+b/whole file.fits", 9).read() == b"SIMPLE  ="
    assert proxy.log == []


@pytest.mark.parametrize("kind", ["503", "500", "reset", "truncate"])
def test_passing_faults_change_nothing(s3, proxy, mirror, kind):
    proxy.faults.append((kind, "GET .*whole.*bytes=(131072|0)-", 3))
    assert read(mirror) == s3[1]
    assert all(times == 0 for _, _, times in proxy.faults)


def test_the_next_run_asks_only_for_the_missing_bytes(s3, proxy, mirror):
    proxy.faults.append(("503", "GET .*whole.*bytes=196608-", -1))
    with pytest.raises(AwayError, match=r"reduce your request rate.*is the archive up"):
        read(mirror)
    assert [path.stat().st_size for path in mirror.cache.glob("*.part")] == [196608]
    proxy.faults.clear()
    proxy.log.clear()
    hosts.forget()
    assert read(mirror) == s3[1]
    assert [request.rsplit("=")[-1] for request in proxy.log if request.startswith("GET")] == [
        "196608-262143",
        f"262144-{len(s3[1]) - 1}",
    ]


def test_a_file_that_breaks_off_again_and_again_fails(proxy, mirror):
    proxy.faults.append(("truncate", "GET .*whole.*bytes=65536-", -1))
    with pytest.raises(ArchiveError, match=r"s3://tiles/some/a.b/whole file.fits"):
        read(mirror)


def test_a_killed_download_is_resumed(s3, proxy, mirror, monkeypatch):
    part, calls = object_store._part, []

    def dying(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return part(*arguments)

    monkeypatch.setattr(object_store, "_part", dying)
    with pytest.raises(KeyboardInterrupt):
        read(mirror)
    assert read(mirror) == s3[1]
    assert [start for _, start, _ in calls] == [0, 65536, 131072, 131072, 196608, 262144]


def test_a_file_that_changes_while_it_is_read_is_read_again(s3, proxy, mirror):
    proxy.faults.append(("changed", "HEAD .*whole", 1))
    assert read(mirror) == s3[1]
    assert sum("bytes=0-" in request for request in proxy.log) == 2


def test_what_is_not_there_is_said_in_one_line(proxy, mirror, tmp_path):
    with pytest.raises(NotThereError, match=r"s3://tiles/some/none.fits does not exist"):
        read(mirror, "none.fits")
    with pytest.raises(NotThereError, match="the bucket does not exist"):
        Mirror("s3://no-such-bucket/x", tmp_path).names((".fits",))
    assert len(proxy.log) < 8  # no patience for what is not there
    with pytest.raises(ArchiveError, match="not FITS"):
        mirror.beginning("notes.txt")


def test_credentials_come_from_the_environment_alone(proxy, mirror, monkeypatch, tmp_path):
    proxy.faults.append(("403", "GET", -1))
    with pytest.raises(ArchiveError, match="access is denied; credentials are read from the environment"):
        mirror.names((".fits",))
    proxy.faults.clear()
    for name in KEYS:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(ArchiveError, match=r"credentials.*AWS_ACCESS_KEY_ID") as error:
        mirror.names((".fits",))
    assert "\n" not in str(error.value)
    s3fs.S3FileSystem.clear_instance_cache()


def test_a_missing_package_and_an_unknown_address_are_said_in_one_line(proxy, tmp_path, monkeypatch):
    with pytest.raises(ArchiveError, match="is no address that fsspec knows"):
        Mirror("nosuch://tiles", tmp_path).names((".fits",))
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(ArchiveError, match=r'pip install "galtrans\[remote\]"'):
        Mirror("s3://tiles/some", tmp_path).names((".fits",))


def test_tiles_on_s3_give_the_store_of_the_folder(proxy, tmp_path, known_sky):
    wcs = tan_wcs((150.0, 2.0), (100.5, 100.5), [[-0.263 / 3600, 0.0], [0.0, 0.263 / 3600]])
    filters = {band: name for name, band in SURVEYS["des"].filters.items()}
    galaxies = [known_sky.Galaxy(150.0, 2.0, flux=80.0)]
    for seed, band in enumerate("gr"):
        image = known_sky.draw(wcs, (200, 200), galaxies, 0.02, seed) * 1000
        header = wcs.to_header()
        header["FILTER"], header["MAGZERO"] = filters[band], 30.0
        path = tmp_path / "des" / f"DES_{band}.fits.fz"
        known_sky.write_fits(path, image, header)
        put("tiles", "des/", {path.name: path.read_bytes()})
    table = Table({"object_id": ["a", "b"], "ra": [150.0, 10.0], "dec": [2.0, 10.0], "redshift": [np.nan] * 2})
    proxy.faults.extend([("503", "GET .*des", 2), ("reset", "GET .*_r", 1)])
    stores = []
    for number, root in enumerate([str(tmp_path / "des"), "s3://tiles/des"]):
        out = tmp_path / f"{number}.zarr"
        archive = ARCHIVES["des"].open(Access(work_folder(out), mirror=root))
        stores.append(fetch(archive, table, out, bands="gr"))
    assert_array_equal(stores[0].images[:], stores[1].images[:])
    assert list(stores[1].manifest()["status"]) == ["done", "outside"]
    plan = ARCHIVES["des"].open(Access(tmp_path / "w", mirror="s3://tiles/des")).plan(table, ("g", "r"), _run)
    cost = estimate(plan, SURVEYS["des"], ("g", "r"), 2, workers=1, bandwidth=10.0, kept=False)
    assert (cost.downloads, cost.requests) == (2, 2)
    assert cost.bytes == sum(path.stat().st_size for path in (tmp_path / "des").iterdir())


def _run(work, items, *_, **__):
    return [work(item) for item in items]
