import bz2
import hashlib
import os
import pickle
import subprocess
import sys
import threading
from contextlib import ExitStack, contextmanager, nullcontext

import pytest

from survey_tools.archives.download.http import NotThereError
from survey_tools.archives.download.mirror import Mirror
from survey_tools.errors import ArchiveError

FITS = b"SIMPLE  =                    T" + bytes(5000)
FRAME = "sas/dr12/boss/photoObj/frames/301/1904/3/frame-g-001904-3-0163.fits.bz2"

pytestmark = pytest.mark.usefixtures("waits")


@pytest.fixture
def remote(web, tmp_path):
    """A mirror that drops its files, and one that keeps them."""
    web.answers |= {f"/{name}": [web.whole(FITS)] for name in (FRAME, "a.fits", "b.fits", "c.fits")}
    return Mirror(web.root, tmp_path / "cache"), Mirror(web.root + "/", tmp_path / "cache", tmp_path / "keep")


def files(folder) -> list[str]:
    """Names of all files below a folder but the ledger."""
    return sorted(path.name for path in folder.rglob("*") if path.is_file() and path.name != ".bytes")


def test_a_local_folder_is_used_as_it_is(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.fits").write_bytes(FITS)
    mirror = Mirror(str(tmp_path), tmp_path / "cache", tmp_path / "keep", 10)
    with mirror.file("deep/a.fits", size=3) as path:
        assert path == tmp_path / "deep" / "a.fits"
    assert path.exists()
    with mirror.beginning("deep/a.fits", 6) as file:
        assert file.read() == FITS
    assert mirror.names((".fits",)) == ["deep/a.fits"]
    assert mirror.url("deep/a.fits") == str(path)
    assert not mirror.remote
    with pytest.raises(NotThereError, match="not in the mirror"), mirror.file("b.fits"):
        pass
    with pytest.raises(ArchiveError, match="not a folder"):
        Mirror(str(tmp_path / "none"), tmp_path).names((".fits",))


def test_a_remote_file_is_there_while_it_is_in_use(web, remote, tmp_path):
    dropping, _ = remote
    for _ in range(2):
        with dropping.file(FRAME, size=len(FITS)) as path:
            assert path.read_bytes() == FITS
            assert path.parent == tmp_path / "cache"
            assert path.name.endswith(".fits.bz2")
    assert list((tmp_path / "cache").iterdir()) == []
    assert len(web.requests) == 2
    assert dropping.url("a+b.fits") == f"{web.root}/a%2Bb.fits"
    assert pickle.loads(pickle.dumps(dropping)) == dropping


def test_a_file_that_is_kept_is_fetched_once_and_its_tree_serves_as_a_mirror(web, remote, tmp_path):
    _, keeping = remote
    for _ in range(2):
        with keeping.file(FRAME, size=len(FITS)) as path:
            assert path.read_bytes() == FITS
    with keeping.beginning(FRAME, 100) as file:
        assert file.read() == FITS[:100]
    assert len(web.requests) == 1
    root = next((tmp_path / "keep").iterdir())
    assert root.name.startswith("127.0.0.1-")
    with Mirror(str(root), tmp_path).file(FRAME) as same:
        assert same == path


def test_a_kept_file_of_another_size_is_fetched_anew(web, remote):
    _, keeping = remote
    with keeping.file("a.fits") as path:
        pass
    path.write_bytes(FITS[:100])
    with keeping.file("a.fits"):
        assert path.stat().st_size == 100
    with keeping.file("a.fits", size=len(FITS)) as path:
        assert path.read_bytes() == FITS
    assert len(web.requests) == 2


@pytest.mark.parametrize(
    "name",
    [
        "a.fits",
        "../../etc/x.fits",
        "/etc/x.fits.fz",
        "sub/../../x.fit",
        "sub/.hidden/x",
        "cadc:CFHT/x.fits.gz",
        "a/-x",
        "a//b",
    ]
    + ["sub/x.fits.part", "sub/x.fits.part.json", "sub/x\n.fits", "sub/" + "x" * 300, "x/" * 50 + "y", "a/b/\0"],
)
def test_a_name_that_a_server_may_have_given_is_no_file_name(remote, tmp_path, name):
    for mirror, folder in zip(remote, ("cache", "keep"), strict=True):
        place = mirror._place(name)
        assert place.resolve().is_relative_to(tmp_path / folder)
        assert set(place.name.partition(".")[0]) <= set("0123456789abcdef")
        assert place.name.partition(".")[2] in {"", "fits", "fit", "fits.fz", "fits.gz"}
    assert len({mirror._place(each) for each in (name, "b.fits", "c/d.fits")}) == 3


def test_mirrors_of_two_archives_do_not_share_files(web, tmp_path):
    places = {
        Mirror(root, tmp_path, keep)._place(FRAME)
        for root in ("http://a.b/c", "http://a.b/d")
        for keep in (None, tmp_path)
    }
    assert len(places) == 4


def test_tasks_that_want_one_file_at_once_share_its_download(web, remote, tmp_path):
    dropping, _ = remote
    web.answers["/a.fits"] = [web.whole(FITS, X_Slow="0.1")]
    together, seen = threading.Barrier(6), []

    def use() -> None:
        with dropping.file("a.fits") as path:
            seen.append(path.read_bytes() == FITS)
            together.wait(20)
            seen.append(path.exists())

    tasks = [threading.Thread(target=use) for _ in range(6)]
    for task in tasks:
        task.start()
    for task in tasks:
        task.join(20)
    assert seen == [True] * 12
    assert len(web.requests) == 1
    assert files(tmp_path / "cache") == []


def test_processes_share_a_download_too(web, remote, tmp_path):
    dropping, _ = remote
    web.answers["/a.fits"] = [web.whole(FITS, X_Slow="0.1")]
    script = (
        "import sys\nfrom pathlib import Path\nfrom survey_tools.archives.download.mirror import Mirror\n"
        "with Mirror(sys.argv[1], Path(sys.argv[2])).file('a.fits') as path:\n"
        "    print(len(path.read_bytes()), flush=True)\n    sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", script, web.root, str(tmp_path / "cache")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        with dropping.file("a.fits") as path:
            assert process.stdout.readline() == b"%d\n" % len(FITS)
        assert path.exists()  # the other process has it still
        process.communicate()
    assert len(web.requests) == 1
    assert files(tmp_path / "cache") == []


def test_a_failed_download_leaves_nothing_and_passes_on_what_it_was(web, remote, tmp_path):
    for mirror in remote:
        with pytest.raises(NotThereError), mirror.file("none.fits"):
            pass
    assert files(tmp_path) == []


def test_a_file_that_cannot_be_read_is_not_kept_unless_its_md5_is_known(web, remote):
    _, keeping = remote

    def reject(error: Exception, **known: str) -> bool:
        with pytest.raises(type(error)), keeping.file("a.fits", **known) as path:
            raise error
        return path.exists()

    assert not reject(ArchiveError("a.fits is damaged"))
    assert not reject(ArchiveError("it is damaged", url=keeping.url("a.fits")))
    assert reject(ArchiveError("another one is", url=keeping.url("b.fits")))
    assert reject(NotThereError("its weight is not there"))
    assert reject(ValueError("a mistake of ours"))
    assert reject(FileNotFoundError("of the user's"))
    assert reject(ArchiveError("it is no stack"), md5=hashlib.md5(FITS).hexdigest())


@contextmanager
def decompressed(path):
    """The content of a bz2 file, whose checksum is verified."""
    try:
        yield bz2.decompress(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ArchiveError(f"{path} is damaged: {error}") from error


def test_a_damaged_file_is_fetched_once_more(web, remote, tmp_path):
    packed = bz2.compress(FITS)
    damaged = packed[:40] + bytes([packed[40] ^ 1]) + packed[41:]
    for mirror, kept in zip(remote, (False, True), strict=True):
        web.answers["/x.fits.bz2"] = [web.whole(damaged), web.whole(packed)]
        web.requests.clear()
        with mirror.opened("x.fits.bz2", decompressed) as content:
            assert content == FITS
            assert mirror._place("x.fits.bz2").exists()
        assert mirror._place("x.fits.bz2").exists() == kept
        assert len(web.requests) == 2
    web.answers["/y.fits.bz2"] = [web.whole(damaged)]
    web.requests.clear()
    for mirror, known, requests in (
        (dropping := remote[0], {}, 2),
        (dropping, {"md5": hashlib.md5(damaged).hexdigest()}, 3),
    ):
        with pytest.raises(ArchiveError, match="is damaged"), mirror.opened("y.fits.bz2", decompressed, **known):
            pass
        assert len(web.requests) == requests
    with pytest.raises(NotThereError), dropping.opened("z.fits.bz2", decompressed):
        pass
    assert len(web.requests) == requests + 1
    with pytest.raises(ArchiveError, match="of the user's"), dropping.opened("a.fits", nullcontext):
        raise ArchiveError("of the user's own")
    assert len(web.requests) == requests + 2
    assert files(tmp_path / "cache") == []


def test_a_local_file_is_opened_once(tmp_path):
    (tmp_path / "a.fits.bz2").write_bytes(b"BZh9 damaged")
    calls = []

    def opener(path):
        calls.append(path)
        return decompressed(path)

    with pytest.raises(ArchiveError, match="is damaged"), Mirror(str(tmp_path), tmp_path).opened("a.fits.bz2", opener):
        pass
    assert len(calls) == 1


def test_the_files_not_used_for_longest_are_dropped_beyond_the_limit_but_none_in_use(web, remote, tmp_path):
    keeping = Mirror(web.root, tmp_path / "cache", tmp_path / "keep", int(2.5 * len(FITS)))
    held = ExitStack()
    places = {}
    for age, name in enumerate(("a.fits", "b.fits", "c.fits")):
        with keeping.file(name) as places[name]:
            if name == "a.fits":
                held.enter_context(keeping.file(name))
        os.utime(places[name], (age, age))  # long ago, the first of them first
    assert [places[name].exists() for name in places] == [True, False, True]
    held.close()
    with keeping.file("b.fits"):
        pass
    assert [places[name].exists() for name in places] == [False, True, True]
    assert len(web.requests) == 4


def test_files_that_were_kept_without_a_limit_count_where_there_is_one_later(web, remote, tmp_path):
    limits = {"a.fits": 2.5, "b.fits": None, "c.fits": 2.5}  # in files
    for age, (name, limit) in enumerate(limits.items()):
        keeping = Mirror(web.root, tmp_path / "cache", tmp_path / "keep", limit and int(limit * len(FITS)))
        with keeping.file(name) as path:
            pass
        os.utime(path, (age, age))
    assert len(files(tmp_path / "keep")) == 2


def test_a_file_larger_than_the_limit_is_dropped_after_its_use(web, remote, tmp_path):
    keeping = Mirror(web.root, tmp_path / "cache", tmp_path / "keep", 100)
    with keeping.file("a.fits", size=len(FITS)) as path:
        assert path.read_bytes() == FITS
    assert files(tmp_path / "keep") == []


def test_a_use_renews_a_file(web, remote, tmp_path):
    keeping = Mirror(web.root, tmp_path / "cache", tmp_path / "keep", int(2.5 * len(FITS)))
    places = {}
    for age, name in enumerate(("a.fits", "b.fits")):
        with keeping.file(name) as places[name]:
            pass
        os.utime(places[name], (age, age))
    with keeping.file("a.fits"):
        pass
    with keeping.file("c.fits") as places["c.fits"]:
        pass
    assert [places[name].exists() for name in places] == [True, False, True]


@pytest.mark.parametrize("there", ["", ".gz", ".fz", ".bz2"])
@pytest.mark.parametrize("asked", ["", ".bz2"])
def test_a_local_file_is_found_however_it_is_packed(tmp_path, there, asked):
    (tmp_path / f"frame.fits{there}").write_bytes(FITS)
    mirror = Mirror(str(tmp_path), tmp_path / "cache")
    with mirror.file(f"frame.fits{asked}") as path:
        assert path.name == f"frame.fits{there}"
    with mirror.beginning(f"frame.fits{asked}") as file:
        assert file.read(6) == b"SIMPLE"
    assert mirror.has(f"frame.fits{asked}")
    with pytest.raises(NotThereError, match=r"frame-2\.fits is not in the mirror"), mirror.file("frame-2.fits"):
        pass
