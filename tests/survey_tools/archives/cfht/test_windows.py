import io
import sys

import numpy as np
import pytest
from astropy.io import fits
from numpy.testing import assert_array_equal

from survey_tools.archives.cfht.windows import LONGEST_SUB, LONGEST_URL, TOO_LONG, Windows, beginning_of
from survey_tools.archives.download import http
from survey_tools.archives.download.mirror import Mirror
from survey_tools.errors import ArchiveError

NAME = "CFHTLS_W_r_100000+020000_T0007_MEDIAN.fits"
SIZE = 40
STARTS = np.array([(10, 20), (100, 50), (-15, 7), (300, 280), (10, 20), (500, 20), (10, -40), (281, 261)])
OUTSIDE = (5, 6)

pytestmark = pytest.mark.usefixtures("waits")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, known_sky):
    """A stack of noise, plain and tile-compressed, as the CADC has it."""
    folder = tmp_path_factory.mktemp("archive")
    cadc = folder / "cadc" / "CFHTTERAPIX"
    for name in (NAME, NAME + ".fz"):
        path = known_sky.write_stack(cadc, "r", [], name=name)
        if name == NAME:
            with fits.open(path, memmap=False) as hdus:
                hdus[:1].writeto(path, overwrite=True)
    return folder


@pytest.fixture
def asked(archive_server, folder, tmp_path):
    """A function that asks a faulty server for windows: returns them, and the server."""

    def asked(starts=STARTS, *, faults=(), name=NAME, most=100, **options):
        faults = [archive_server.Fault(kind, "SUB=", **how) for kind, how in faults]
        with archive_server.serve(folder, faults=faults, options=archive_server.Options(**options)) as server:
            mirror = Mirror(f"{server.root}/raven/files/cadc:CFHTTERAPIX", tmp_path / "files")
            index, header, start = beginning_of(mirror, name)
            windows = Windows(mirror.url(name), index, header, most, tmp_path / "work", start=start)
            return list(windows.at(starts, SIZE)), server

    return asked


@pytest.fixture
def whole(known_sky):
    """The pixels of the stack, with NaN around them."""
    counts = known_sky.draw(known_sky.stack_wcs(), known_sky.STACK_SHAPE, [], 1.0, ord("r"))
    return np.pad(counts, 600, constant_values=np.nan)


def right(whole, starts=STARTS):
    return [whole[600 + row : 600 + row + SIZE, 600 + col : 600 + col + SIZE] for row, col in starts]


def queries(server):
    return [request.target.split("?")[1] for request in server.requests("raven", "SUB=")]


def test_many_windows_come_in_one_request_each_once_and_none_from_beyond_the_edge(asked, whole):
    found, server = asked()
    assert_array_equal(found, right(whole))
    assert all(np.isnan(found[number]).all() for number in OUTSIDE)
    (query,) = queries(server)
    assert query.split("&") == [
        "SUB=%5B0%5D%5B8:47,1:25%5D",
        "SUB=%5B0%5D%5B21:60,11:50%5D",
        "SUB=%5B0%5D%5B51:90,101:140%5D",
        "SUB=%5B0%5D%5B262:300,282:320%5D",
        "SUB=%5B0%5D%5B281:300,301:320%5D",
    ]
    assert server.requests("raven", "SUB=")[0].target.split("?")[0].endswith("_100000%2B020000_T0007_MEDIAN.fits")


def test_nothing_is_asked_for_where_nothing_is_on_the_stack(asked):
    found, server = asked(STARTS[list(OUTSIDE)])
    assert np.isnan(found).all()
    assert queries(server) == []


@pytest.mark.parametrize("mef", ["extensions", "primary"])
@pytest.mark.parametrize("most", [1, 2, 3])
def test_batches_are_as_large_as_they_may_be(asked, whole, mef, most):
    found, server = asked(mef=mef, most=most)
    assert_array_equal(found, right(whole))
    assert [query.count("SUB=") for query in queries(server)] == {1: [1] * 6, 2: [2, 2, 1, 1], 3: [3, 2, 1]}[most]


def test_a_url_never_gets_too_long_where_it_is_sent_on(asked, whole):
    """Urls are counted as the storage site gets them: with a token, and colons and commas as three characters."""
    rng = np.random.default_rng(0)
    starts = rng.integers(0, (280, 260), (300, 2))
    found, server = asked(starts, most=10_000, url_bytes=LONGEST_URL)
    assert_array_equal(found, right(whole, starts))
    targets = [len(request.target) for request in server.requests("storage", "SUB=")]
    assert len(targets) == 2  # some 150 windows each
    assert all(0.8 * LONGEST_URL < length < LONGEST_URL for length in targets)
    assert LONGEST_SUB == 47


@pytest.mark.parametrize("status", TOO_LONG)
def test_batches_that_a_server_finds_too_long_are_halved_and_that_is_remembered(asked, whole, caplog, status):
    rng = np.random.default_rng(1)
    starts = rng.integers(0, (280, 260), (64, 2))
    found, server = asked(starts, url_bytes=2000, url_status=status)  # 750 of them are the token
    assert_array_equal(found, right(whole, starts))
    refused = [request for request in server.requests(match="SUB=") if request.status == status]
    taken = [request for request in server.requests("storage", "SUB=") if request.status == 200]
    assert [request.path.count("SUB=") for request in refused] == [64, 32]
    assert [request.path.count("SUB=") for request in taken] == [16] * 4
    assert f"HTTP {status}" in caplog.text
    assert "16 windows are requested at once from now on" in caplog.text
    found, server = asked(starts, url_bytes=2000, url_status=status)  # the next stack of the same run
    assert_array_equal(found, right(whole, starts))
    assert [query.count("SUB=") for query in queries(server)] == [16] * 4


def test_the_first_window_of_a_run_is_compared_with_the_bytes_of_the_file(asked, whole):
    for number in (2, 0):
        found, server = asked(STARTS[:1])
        assert_array_equal(found, right(whole, STARTS[:1]))
        ranges = [request.headers["range"] for request in server.requests("storage") if "SUB=" not in request.path]
        first, *rows = ranges
        assert first.startswith("bytes=0-")
        assert len(rows) == number
        assert all(int(each.split("-")[1]) - int(each[6:].split("-")[0]) == 4 * SIZE - 1 for each in rows)
    assert asked(STARTS[:1], name=NAME + ".fz")[1].count("storage") == 2  # of which no bytes are pixels


@pytest.mark.parametrize("wrong", ["upside down", "one row off"])
def test_a_server_that_counts_rows_otherwise_is_found_out(asked, monkeypatch, wrong):
    def cut(hdu, x1, x2, y1, y2, clip):
        pixels, header = inner(hdu, x1, x2, y1, y2, clip)
        turned = pixels[::-1] if wrong == "upside down" else np.array(hdu.data[y1 : y2 + 1, x1 - 1 : x2])
        return turned, header  # whose WCS is that of what was asked for

    storage = sys.modules["archive_storage"]
    inner = storage._window
    monkeypatch.setattr(storage, "_window", cut)
    with pytest.raises(
        ArchiveError, match=r"row 10 of the file differs from the window .* pass --how tiles to galtrans fetch"
    ):
        asked(STARTS[:1])


def test_where_a_server_gives_no_parts_of_files_windows_are_taken_as_they_are(asked, whole, caplog):
    found, _ = asked(STARTS[:1], ranges=False)
    assert_array_equal(found, right(whole, STARTS[:1]))
    assert "windows cannot be compared with the file" in caplog.text


def test_a_tile_compressed_file_is_asked_for_its_extension(asked, whole):
    found, server = asked(name=NAME + ".fz")
    assert_array_equal(found, right(whole))
    assert queries(server)[0].startswith("SUB=%5B1%5D%5B8:47,1:25%5D")


def test_a_server_that_gives_one_window_is_asked_one_by_one_to_the_end(asked, whole, caplog):
    found, server = asked(mef="first", most=4)
    assert_array_equal(found, right(whole))
    assert [query.count("SUB=") for query in queries(server)] == [4, 1, 1, 1, 1, 1]
    assert "gives only one window per request" in caplog.text
    found, server = asked(mef="first")  # the next stack of the same run
    assert_array_equal(found, right(whole))
    assert [query.count("SUB=") for query in queries(server)] == [1] * 5


WRONG = [("clipped", {}), ("no_content", {}), ("400", {}), ("truncate", {}), ("expired_token", {}), ("html", {})]
WRONG += [("empty", {}), ("503", {}), ("reset", {}), ("stall", {"seconds": 0.01}), ("redirect_chain", {})]


@pytest.mark.parametrize(("kind", "how"), WRONG, ids=[kind for kind, _ in WRONG])
def test_a_wrong_answer_is_asked_for_again(asked, whole, kind, how):
    found, server = asked(most=2, faults=[(kind, how | {"after": 1})])
    assert_array_equal(found, right(whole))
    assert not server.faults.left()


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("clipped", r"\(1 windows\): a window of \(\d+, \d+\) pixels that begins at .* was not requested"),
        ("no_content", r"\(1 windows\): HTTP 400 \(NoContent"),
        ("404", r"\(1 windows\) does not exist \(HTTP 404\)"),
    ],
)
def test_an_answer_that_stays_wrong_is_an_error_that_names_the_file(asked, kind, message):
    with pytest.raises(ArchiveError, match=f"_T0007_MEDIAN.fits {message}") as raised:
        asked(faults=[(kind, {"times": -1})])
    assert raised.value.url.endswith("/raven/files/cadc:CFHTTERAPIX/CFHTLS_W_r_100000%2B020000_T0007_MEDIAN.fits")
    assert raised.value.status == {"clipped": 0, "no_content": 400, "404": 404}[kind]
    assert len(str(raised.value)) < 400


def test_an_archive_that_is_away_is_said_in_few_words(asked):
    with pytest.raises(ConnectionError, match=r"_MEDIAN.fits \(5 windows\): HTTP 503") as raised:
        asked(faults=[("503", {"times": -1})])
    assert len(str(raised.value)) < 300


def answer(*hdus) -> bytes:
    file = io.BytesIO()
    fits.HDUList(list(hdus)).writeto(file)
    return file.getvalue()


def edited(**keywords):
    def edit(header, pixels):
        header.update(keywords)
        return fits.PrimaryHDU(pixels, header)

    return edit


def shifted(header, pixels):
    header["CRPIX1"] += 0.5
    return fits.PrimaryHDU(pixels, header)


FORGED = {
    "another file": (edited(CRVAL1=151.1), "CRVAL1 is 151.1, not 150.1"),
    "another band": (edited(FILTER="g.MP9401"), "FILTER is g.MP9401, not r.MP9601"),
    "half a pixel off": (shifted, "was not requested"),
    "another place": (edited(CRPIX2=-900.0), "was not requested"),
    "no WCS": (lambda header, pixels: fits.PrimaryHDU(pixels), "cannot be read: .*CRVAL1"),
    "a table": (lambda header, pixels: fits.PrimaryHDU(), "the answer has 0 images"),
}


@pytest.mark.parametrize("case", FORGED)
def test_pixels_of_something_else_are_never_taken(asked, folder, monkeypatch, tmp_path, case):
    forge, message = FORGED[case]
    with fits.open(folder / "cadc" / "CFHTTERAPIX" / NAME, memmap=False) as hdus:
        header, pixels = hdus[0].header.copy(), hdus[0].data[10:50, 20:60].copy()
    windows = Windows("http://127.0.0.1:9/x.fits", 0, header.copy(), 10, tmp_path / "work")
    header["CRPIX1"], header["CRPIX2"] = header["CRPIX1"] - 20, header["CRPIX2"] - 10
    sent = [answer(fits.PrimaryHDU(pixels, header)), answer(forge(header.copy(), pixels))]
    monkeypatch.setattr(http, "read", lambda url, **how: sent[0])
    (found,) = windows.at(STARTS[:1], SIZE)
    assert_array_equal(found, pixels)
    monkeypatch.setattr(http, "read", lambda url, **how: sent[1])
    with pytest.raises(ArchiveError, match=message):
        list(windows.at(STARTS[:1], SIZE))
    for cut_off in (100, 2880 * 3 + 17, len(sent[0]) - 3000):
        monkeypatch.setattr(http, "read", lambda url, cut_off=cut_off, **how: sent[0][:cut_off])
        with pytest.raises(ArchiveError, match=r"truncated|0 images"):
            list(windows.at(STARTS[:1], SIZE))
    integers = fits.PrimaryHDU(pixels.astype(np.int16), header)
    monkeypatch.setattr(http, "read", lambda url, **how: answer(integers))
    assert_array_equal(next(windows.at(STARTS[:1], SIZE)), pixels.astype(np.int16))


def test_of_an_answer_that_ends_early_the_whole_windows_are_kept(asked, whole, monkeypatch):
    counts, inner = [], http.read

    def read(url, kind, **how):
        counts.append(url.count("SUB="))
        content = inner(url, kind=kind, **how)
        with fits.open(io.BytesIO(content)) as hdus:
            return content if counts[-1] == 1 else content[: -hdus[-1].filebytes()]

    monkeypatch.setattr(http, "read", read)
    assert_array_equal(asked(STARTS[:3])[0], right(whole, STARTS[:3]))
    assert counts == [3, 1]


def test_a_beginning_without_an_image_is_named(folder, tmp_path):
    mirror = Mirror(str(folder), tmp_path)
    (folder / "text.fits").write_bytes(b"SIMPLE  =" + bytes(99))
    answer_file = fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU()])
    answer_file.writeto(folder / "table.fits", overwrite=True)
    with pytest.raises(ArchiveError, match=r"text.fits is truncated"):
        beginning_of(mirror, "text.fits")
    with pytest.raises(ArchiveError, match=r"table.fits has no image"):
        beginning_of(mirror, "table.fits")


def test_a_long_header_is_read_to_its_end(tmp_path):
    hdu = fits.PrimaryHDU(np.zeros((2, 3), np.float32))
    for number in range(900):
        hdu.header[f"KEY{number}"] = number
    hdu.writeto(tmp_path / "long.fits")
    with (tmp_path / "long.fits").open("rb") as file:
        assert len(file.read()) > 60_000
    index, header, start = beginning_of(Mirror(str(tmp_path), tmp_path), "long.fits")
    assert (index, header["KEY899"]) == (0, 899)
    assert start == (tmp_path / "long.fits").stat().st_size - 2880
