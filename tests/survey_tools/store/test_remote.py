"""Stores behind addresses: a web server with faults, and a server that speaks S3, both on this machine."""

import pickle
import re
import threading
import time
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.testing import assert_array_equal

from cli.main import galtrans
from survey_tools import convert, describe, export, open_store, verify
from survey_tools.errors import ArgumentError, GaltransError, StoreError
from survey_tools.store import place
from survey_tools.store.place import StoreUrl
from survey_tools.store.shards import chunks_of
from survey_tools.store.zarr_store import read_images

COUNT = 9


class Files(BaseHTTPRequestHandler):
    """The files of a folder, with ranges; `faults` are done first, one for each request of a file of that name."""

    protocol_version = "HTTP/1.1"

    def __init__(self, root: Path, seen: list, faults: list, *arguments) -> None:
        self.root, self.seen, self.faults = root, seen, faults
        super().__init__(*arguments)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.root / self.path.lstrip("/")
        fault = next((each for each in self.faults if each[0] in self.path), (None, None))[1]
        if fault:
            self.faults.remove(next(each for each in self.faults if each[0] in self.path))
        if fault == "drop":
            self.close_connection = True
            self.connection.close()
            return
        if isinstance(fault, int) or not path.is_file():
            self.send(fault or 404, b"busy")
            return
        data, asked = path.read_bytes(), re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if asked and fault != "no ranges":
            data = data[int(asked[1]) : int(asked[2]) + 1]
        self.seen.append((self.path, len(data)))
        if fault == "slow":
            time.sleep(1.0)
        self.send(206 if asked and fault != "no ranges" else 200, data, cut=fault == "cut", short=fault == "short")

    def send(self, status: int, data: bytes, cut: bool = False, short: bool = False) -> None:
        if short:  # less than was asked for, and not said so
            data = data[: len(data) // 2]
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data[: len(data) // 2] if cut else data)
        if cut:
            self.close_connection = True

    def log_message(self, *_) -> None:
        pass


@pytest.fixture(scope="module")
def local(tmp_path_factory, make_store):
    path = tmp_path_factory.mktemp("remote") / "x.zarr"
    ra, dec = 10.0 + np.arange(COUNT), np.linspace(-40, 40, COUNT)
    return make_store(path, "sdss", ra, dec, bands="gr", missing=[3], saturated=[1])


@pytest.fixture
def server(local, monkeypatch):
    """Address of the folder with the store, what was sent (path, bytes), and faults to come (part of a path, which)."""
    monkeypatch.setattr(place, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(place, "PATIENCE", 0.3)
    seen, faults = [], []
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Files, local.path.parent, seen, faults)) as http:
        thread = threading.Thread(target=http.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}", seen, faults
        http.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def bucket(local, tmp_path_factory):
    """A bucket of a local S3 server that has the store."""
    import boto3
    from moto.server import ThreadedMotoServer

    with pytest.MonkeyPatch.context() as patch:
        server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        client = boto3.client("s3")
        client.create_bucket(Bucket="sky")
        for file in local.path.rglob("*"):
            if file.is_file():
                client.upload_file(str(file), "sky", f"x.zarr/{file.relative_to(local.path)}")
        client.close()
        yield "s3://sky/x.zarr"
        server.stop()


def same(store, local) -> None:
    """Every way to read a store gives what the store on this machine has."""
    assert len(store) == COUNT
    assert_array_equal(store.images[:], local.images[:])
    assert_array_equal(read_images(store, 0), local.images[:])
    assert_array_equal(store.mask[2], local.mask[2])
    for name in local.columns:
        assert_array_equal(store.column(name), local.column(name))
    assert_array_equal(store.manifest(), local.manifest())
    assert store.rows == local.rows
    assert store[1]["g"].meta == local[1]["g"].meta
    assert_array_equal(store.to_xarray()["images"].values, local.images[:])
    assert verify(store.path) == []


def test_a_store_behind_a_web_server_is_read_as_one_of_this_machine(server, local):
    store = open_store(f"{server[0]}/x.zarr")
    assert (str(store.path), store.path.name) == (f"{server[0]}/x.zarr", "x.zarr")
    same(store, local)
    again = pickle.loads(pickle.dumps(store))
    assert_array_equal(again.images[4], local.images[4])
    assert again.column("ra").tolist() == local.column("ra").tolist()


def test_a_store_in_a_bucket_is_read_as_one_of_this_machine(bucket, local):
    same(open_store(bucket), local)


def test_what_reads_a_store_takes_its_address(server, local, tmp_path, write_narrow_run):
    from translator import translate

    address = f"{server[0]}/x.zarr"
    assert dict(describe(address))["address"] == address
    assert [path.name for path in export(address, [0], tmp_path / "fits").paths] == ["000000_sdss-0.fits"]
    assert_array_equal(convert(address, tmp_path / "c.zarr").images[:], local.images[:])
    made = translate(write_narrow_run(tmp_path / "run"), address, out=tmp_path / "t.zarr", device="cpu")
    assert made.usable.tolist() == local.usable.tolist()
    for command in ("info", "verify"):
        assert CliRunner().invoke(galtrans, [command, address], catch_exceptions=False).exit_code == 0
    with pytest.raises(ArgumentError, match="only a store to read"):
        convert(local, "s3://bucket/c.zarr")


def test_one_row_takes_the_index_and_one_chunk(server, local):
    store = open_store(f"{server[0]}/x.zarr/")
    server[1].clear()
    assert_array_equal(store.images[5], local.images[5])
    layout = store.images._reader.layout
    _, _, length = chunks_of(local.path / layout.file(0), layout.chunks)[5 // layout.chunk]
    assert [size for _, size in server[1]] == [16 * layout.chunks + 4, length]
    server[1].clear()
    assert_array_equal(store.images[6 if layout.chunk > 1 else 5], local.images[6 if layout.chunk > 1 else 5])
    assert [size for _, size in server[1]] == [length]  # the index is known


@pytest.mark.parametrize("fault", [503, 500, 429, "drop", "cut", "short", "no ranges"])
def test_faults_that_pass_are_survived(server, local, fault):
    address, _, faults = server
    files = ["/zarr.json", "/sha256sums.txt", "/images/c/", "/ra/c/", "/manifest.ecsv"]
    if fault == "short":  # a whole file whose server says that it is shorter is a damaged file
        files = ["/sha256sums.txt", "/images/c/"]
    faults += [(file, fault) for file in files] * (1 if fault == "no ranges" else 2)
    store = open_store(f"{address}/x.zarr")
    assert_array_equal(store.images[5], local.images[5])
    assert_array_equal(store.column("ra"), local.column("ra"))
    assert_array_equal(store.manifest(), local.manifest())
    assert not faults


def test_a_server_that_is_silent_is_asked_again(server, local, monkeypatch):
    monkeypatch.setattr(place, "SILENCE", 0.2)
    address, _, faults = server
    faults.append(("/images/c/", "slow"))
    assert_array_equal(open_store(f"{address}/x.zarr").images[5], local.images[5])
    assert not faults


def test_faults_that_stay_end_in_one_line_with_the_address_and_the_remedy(server):
    address, _, faults = server
    faults += [("/images/c/", 503)] * 99
    store = open_store(f"{address}/x.zarr")
    with pytest.raises(StoreError, match=rf"{address}/x.zarr/images/c/\S+ cannot be read .*503.*; .* try again later$"):
        store.images[0]
    faults[:] = [("/ra/c/", "drop")] * 99
    with pytest.raises(StoreError, match=r"/x.zarr/ra/c/\S+ cannot be read"):
        store.column("ra")
    faults[:] = [("/zarr.json", 403)]
    with pytest.raises(StoreError, match=r"may not be read .*AWS_ACCESS_KEY_ID"):
        open_store(f"{address}/x.zarr")


def test_what_is_not_there_is_said_to_be_so(server, bucket, local, tmp_path):
    for address in (f"{server[0]}/none.zarr", "s3://sky/none.zarr", "s3://no-such-bucket/x.zarr"):
        with pytest.raises(StoreError, match=f"{address} is not a Zarr store"):
            open_store(address)
    with pytest.raises(StoreError, match=r"cannot be read .*check the address"):
        open_store("http://127.0.0.1:9/x.zarr")
    with pytest.raises(StoreError, match="no address that can be read"):
        open_store("nowhere://host/x.zarr")
    with pytest.raises(StoreError, match="name or a password"):
        open_store("https://me:secret@host/x.zarr")


def test_damage_and_missing_files_are_found(server, local):
    address, _, faults = server
    store = open_store(f"{address}/x.zarr")
    faults += [("/images/c/", 404), ("/ra/c/", 404)]
    faults += [("/images/c/", 404), ("/ra/c/", 404)]  # it looks again, to be sure
    with pytest.raises(StoreError, match=r"images/c/0/0/0/0 is missing"):
        store.images[0]
    with pytest.raises(StoreError, match=r"ra/c/0 is missing"):
        store.column("ra")
    faults[:] = [("/images/c/", 404)] * 2
    assert verify(f"{address}/x.zarr") == ["images/c/0/0/0/0 is missing"]


def test_it_is_read_only_and_needs_the_extra_packages(server, monkeypatch):
    store = open_store(f"{server[0]}/x.zarr")
    with pytest.raises((TypeError, ValueError, GaltransError)):
        store.write_columns({"ra": np.zeros(COUNT)})
    monkeypatch.setitem(__import__("sys").modules, "fsspec.core", None)
    with pytest.raises(GaltransError, match=r"pip install 'galtrans\[remote\]'"):
        StoreUrl("https://host/x.zarr").read_bytes()
