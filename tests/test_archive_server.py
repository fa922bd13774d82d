"""The archive server of the tests does what the archives do, and errs as it is told to."""

import base64
import bz2
import io
import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import requests
from astropy.io import fits
from astropy.io.votable import parse_single_table
from astropy.table import Table
from astropy.wcs import WCS
from numpy.testing import assert_allclose, assert_array_equal

from survey_tools.archives.settings import read_settings

FRAME = "sas/dr12/boss/photoObj/frames/301/94/3/frame-r-000094-3-0100.fits.bz2"
SEARCH = "dr12/en/tools/search/x_results.aspx"
TILE = "cadc:CFHTTERAPIX/CFHTLS_W_r_100000+020000_T0007_MEDIAN.fits"


@pytest.fixture(scope="module")
def small(tmp_path_factory, small_archive, known_sky):
    return small_archive.small_archive(tmp_path_factory.mktemp("archive"), known_sky, bands="ri", weights=True)


@pytest.fixture
def serve(archive_server, small):
    """A server of the small archive, with options and faults."""
    running = []

    def start(*faults, archive=small.archive, **options):
        context = archive_server.serve(archive, faults=faults, options=archive_server.Options(**options))
        running.append(context)
        return context.__enter__()

    yield start
    for context in running:
        context.__exit__(None, None, None)


@pytest.fixture
def web():
    """A session that keeps its connections, as clients do."""
    with requests.Session() as session:
        yield session


@pytest.fixture
def tile(small):
    """The file and pixels of one tile."""
    path = small.folder / "cadc" / TILE.removeprefix("cadc:")
    return path.read_bytes(), fits.getdata(path), fits.getheader(path)


def ask(web, server, sql, form="csv"):
    query = {"cmd": sql, "format": form, "searchtool": "SQL"}
    return web.get(f"{server.root}/{SEARCH}", params=query, timeout=5)


def tap(web, server, query, service="argus", **parameters):
    form = {"LANG": "ADQL", "QUERY": query} | parameters
    return web.post(f"{server.root}/{service}/sync", data=form, timeout=5)


def grid(header):
    header = header.copy()
    header.rename_keyword("RADECSYS", "RADESYS")
    return WCS(header)


def table_of(answer):
    return parse_single_table(io.BytesIO(answer.content)).to_table()


# --- files ---


def test_a_file_of_the_sas_comes_whole_or_in_parts(serve, web, small):
    url, body = f"{serve().root}/{FRAME}", (small.folder / FRAME).read_bytes()
    whole = web.get(url, timeout=5)
    assert (whole.status_code, whole.content, whole.headers["Accept-Ranges"]) == (200, body, "bytes")
    for asked, part in (("10-19", body[10:20]), (f"{len(body) - 5}-", body[-5:]), ("-7", body[-7:]), ("0-0", body[:1])):
        answer = web.get(url, headers={"Range": f"bytes={asked}"}, timeout=5)
        start = body.index(part) if len(part) > 4 else 0
        assert (answer.status_code, answer.content) == (206, part)
        assert answer.headers["Content-Range"] == f"bytes {start}-{start + len(part) - 1}/{len(body)}"
    beyond = web.get(url, headers={"Range": f"bytes={len(body)}-"}, timeout=5)
    assert (beyond.status_code, beyond.headers["Content-Range"]) == (416, f"bytes */{len(body)}")
    for version, status in ((whole.headers["ETag"], 206), ('"older"', 200), (whole.headers["Last-Modified"], 206)):
        assert web.get(url, headers={"Range": "bytes=5-", "If-Range": version}, timeout=5).status_code == status
    several = web.get(url, headers={"Range": "bytes=0-1,8-9"}, timeout=5)
    assert several.headers["Content-Type"].startswith("multipart/byteranges")
    assert body[8:10] in several.content
    head = web.head(url, timeout=5)
    assert (head.status_code, head.headers["Content-Length"], head.content) == (200, str(len(body)), b"")


def test_what_is_not_there_is_a_page_and_nothing_outside_the_folder_is_there(serve, web, small):
    server = serve()
    for name in ("sas/dr12/nothing.fits", "nothing", "tap/sync"):
        answer = web.get(f"{server.root}/{name}", timeout=5)
        assert answer.status_code == 404
        assert "html" in answer.headers["Content-Type"]
    secret = small.folder.parent / "secret"
    secret.write_text("secret")
    request = requests.Request("GET", f"{server.root}/x").prepare()
    request.url = f"{server.root}/sas/%2e%2e/%2e%2e/secret"
    assert web.send(request, timeout=5).status_code == 404
    index = web.get(f"{server.root}/sas/dr12/boss/photoObj/frames/301/94/3", timeout=5)
    assert index.text.count("frame-r-") == 2 * 3  # three fields


def test_a_file_of_the_cadc_comes_from_a_storage_site_by_a_token(serve, web, tile, small):
    body, known = tile[0], next(each for each in small.archive.roster if each.uri == TILE)
    server = serve(token_uses=2)
    for url in (f"{server.root}/raven/files/{TILE}", f"{server.root}/data/pub/CFHTTERAPIX/{TILE.split('/')[1]}"):
        answer = web.get(url, timeout=5)
        assert answer.content == body
        assert [each.status_code for each in answer.history] == [303]
        assert base64.b64decode(answer.headers["Digest"].removeprefix("md5=")).hex() == known.md5
        assert known.size == len(body)
    part = web.get(answer.url, headers={"Range": "bytes=2880-5759"}, timeout=5)
    assert (part.status_code, part.content) == (206, body[2880:5760])
    assert web.get(answer.url, timeout=5).status_code == 401  # the token was good for two
    assert web.get(f"{server.root}/minoc/~made-up/files/{TILE}", timeout=5).status_code == 401
    assert web.get(f"{server.root}/raven/files/cadc:CFHTTERAPIX/none.fits", timeout=5).status_code == 404
    several = web.get(f"{server.root}/raven/files/{TILE}", headers={"Range": "bytes=0-1,8-9"}, timeout=5)
    assert (several.status_code, several.content) == (200, body)
    meta = web.get(f"{server.root}/raven/files/{TILE}?META=true", timeout=5)
    assert "TERAPIX = 'T0007" in meta.text
    head = web.head(f"{server.root}/raven/files/{TILE}", allow_redirects=True, timeout=5)
    assert int(head.headers["Content-Length"]) == len(body)
    tokens = {request.target.split("/")[2] for request in server.requests("storage")}
    assert len(tokens) == 6  # each redirect has its own: two whole, several parts, headers, HEAD; and the made-up one


# --- windows ---


@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
def test_one_window_is_a_file_of_one_image_with_the_grid_shifted(serve, web, tile, framing):
    _, image, header = tile
    answer = web.get(f"{serve(framing=framing).root}/raven/files/{TILE}?SUB=[0][21:84,11:74]", timeout=5)
    with fits.open(io.BytesIO(answer.content)) as hdus:
        assert len(hdus) == 1
        assert_array_equal(hdus[0].data, image[10:74, 20:84])
        assert (hdus[0].header["LTV1"], hdus[0].header["LTV2"]) == (-20, -10)
        assert (hdus[0].header["FILTER"], hdus[0].header["MZP_AB"]) == (header["FILTER"], 30.0)
        sky = grid(hdus[0].header).wcs_pix2world([[0, 0]], 0)
    assert_allclose(sky, grid(header).wcs_pix2world([[20, 10]], 0), rtol=0, atol=1e-10)
    assert "Digest" not in answer.headers
    assert ("Content-Length" in answer.headers) == (framing == "length")


@pytest.mark.parametrize(("mef", "places"), [("extensions", [1, 2, 3]), ("primary", [0, 1, 2]), ("first", [0])])
def test_several_windows_come_in_their_order(serve, web, tile, mef, places):
    windows = ["[0][1:8,1:8]", "[0][101:108,51:60]", "[0][5:9,5:9]"]
    parts = [(slice(0, 8), slice(0, 8)), (slice(50, 60), slice(100, 108)), (slice(4, 9), slice(4, 9))]
    answer = web.get(f"{serve(mef=mef).root}/raven/files/{TILE}", params={"SUB": windows}, timeout=5)
    with fits.open(io.BytesIO(answer.content)) as hdus:
        assert len(hdus) == places[-1] + 1
        for place, part in zip(places, parts, strict=False):
            assert_array_equal(hdus[place].data, tile[1][part])


def test_windows_end_at_the_edge_and_those_beyond_it_are_not_there(serve, web, tile):
    root = f"{serve().root}/raven/files/{TILE}"
    answer = web.get(root, params={"SUB": ["[0][401:410,1:8]", "[0][291:310,1:8]"]}, timeout=5)
    with fits.open(io.BytesIO(answer.content)) as hdus:
        assert len(hdus) == 1
        assert_array_equal(hdus[0].data, tile[1][:8, 290:300])
    outside = web.get(f"{root}?SUB=[0][401:410,1:8]", timeout=5)
    assert (outside.status_code, outside.text[:9]) == (400, "NoContent")
    assert web.get(f"{root}?SUB=[0][a:b]", timeout=5).status_code == 400
    assert web.get(f"{root}?SUB=[7][1:8,1:8]", timeout=5).status_code == 400
    pub = root.replace("raven/files/cadc:", "data/pub/")
    answer = web.get(f"{pub}?cutout=[1:4,1:8]", headers={"Range": "bytes=0-99"}, timeout=5)
    assert answer.status_code == 200  # a Range is of no account
    assert_array_equal(fits.getdata(io.BytesIO(answer.content)), tile[1][:8, :4])


def test_a_circle_is_the_box_around_it_as_far_as_there_are_pixels(serve, web, tile, small, known_sky):
    server = serve()
    first, _, edge, outside = small.galaxies
    for galaxy, shape in ((first, (108, 108)), (edge, (108, 84))):
        circle = f"{galaxy.ra} {galaxy.dec} {10 / 3600}"
        for shapes in ({"CIRCLE": circle}, {"POS": f"CIRCLE {circle}"}):
            answer = web.get(f"{server.root}/caom2ops/sync", params={"ID": TILE} | shapes, timeout=5)
            assert [each.status_code for each in answer.history] == [303, 303]
            part, header = fits.getdata(io.BytesIO(answer.content), header=True)
            assert_allclose(part.shape, shape, atol=1)
            row, col = -int(header["LTV2"]), -int(header["LTV1"])
            assert_array_equal(part, tile[1][row : row + part.shape[0], col : col + part.shape[1]])
    circle = {"ID": TILE, "CIRCLE": f"{outside.ra} {outside.dec} 0.001"}
    answer = web.get(f"{server.root}/caom2ops/sync", params=circle, timeout=5)
    assert (answer.status_code, answer.text[:10]) == (400, "NoContent:")
    assert answer.history[0].headers["Location"].startswith(f"{server.root}/soda-echo/")
    two = {"ID": TILE, "CIRCLE": ["150 2 0.001", "150.001 2 0.001"]}
    assert web.get(f"{server.root}/caom2ops/sync", params=two, timeout=5).status_code == 400


def test_windows_of_a_compressed_file_are_plain_images(serve, web, archive_server, known_sky, tmp_path):
    image = np.arange(320 * 300, dtype=np.float32).reshape(320, 300)
    path = tmp_path / "cadc" / "CFHTTERAPIX" / "a_weight.fits.fz"
    header = fits.Header({"CRPIX1": 5.0, "CRPIX2": 6.0, "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"})
    known_sky.write_fits(path, image, header)
    server = serve(archive=archive_server.Archive(tmp_path))
    answer = web.get(f"{server.root}/raven/files/cadc:CFHTTERAPIX/{path.name}?SUB=[1][3:6,2:4]", timeout=5)
    part, header = fits.getdata(io.BytesIO(answer.content), header=True)
    assert_array_equal(part, image[1:4, 2:6])
    assert (header["CRPIX1"], header["CRPIX2"]) == (3.0, 5.0)


def test_windows_of_a_real_stack_keep_its_header(serve, web, archive_server, real_data, tmp_path):
    folder = tmp_path / "cadc" / "CFHTTERAPIX"
    folder.mkdir(parents=True)
    (folder / "stack.fits").symlink_to(real_data / "cfht" / "CFHTLS-test_g.fits")
    (tmp_path / "sas").symlink_to(real_data / "sas")
    server = serve(archive=archive_server.read_archive(tmp_path))
    assert server.archive.roster[0].bandpass == "g.MP9401"
    url = f"{server.root}/raven/files/{server.archive.roster[0].uri}"
    answer = web.get(f"{url}?SUB=[0][101:164,201:264]", timeout=5)
    with fits.open(folder / "stack.fits") as whole, fits.open(io.BytesIO(answer.content)) as part:
        assert_array_equal(part[0].data, whole[0].data[200:264, 100:164])
        for name in ("GAIN", "SATURATE", "MZP_AB", "TERAPIX", "CRVAL1", "CD2_2"):
            assert part[0].header[name] == whole[0].header[name]
        assert part[0].header["CRPIX1"] == whole[0].header["CRPIX1"] - 100
    frame = f"{server.root}/sas/dr12/boss/photoObj/frames/301/7264/3/frame-r-007264-3-0111.fits.bz2"
    assert web.get(frame, headers={"Range": "bytes=0-3"}, timeout=5).content == b"BZh9"


def test_datalink_has_the_words_of_the_recorded_answer(serve, web, small, archive_server):
    names = [f"ivo://cadc.nrc.ca/CFHTTERAPIX?{tile.observation}/{tile.product}" for tile in small.archive.roster]
    answer = web.get(f"{serve().root}/caom2ops/datalink", params={"ID": names[:2]}, timeout=5)
    recorded = archive_server.recorded("pyvo.dal", "tests/data/datalink/cutout1.xml")

    def facts(page):
        space, root = "{http://www.ivoa.net/xml/VOTable/v1.3}", ElementTree.fromstring(page)
        columns = [each.get("name") for each in root.iter(f"{space}FIELD")]
        services = [each.get("utype") for each in root.iter(f"{space}RESOURCE")]
        words = {each.get("name") for each in root.iter(f"{space}PARAM")}
        return columns, services[1], words

    (columns, service, words), (due, kind, known) = facts(answer.content), facts(recorded)
    assert columns == due[: len(columns)]
    assert service == kind
    assert words <= known


# --- SkyServer ---


def test_skyserver_executes_the_query(serve, web, small):
    server, photo = serve(), small.archive.tables["PhotoObjAll"]
    answer = ask(web, server, "SELECT TOP 2 p.objid, p.RA AS [where], COUNT_BIG(*) OVER () FROM dbo.PhotoObj p -- all")
    lines = [f"{row['objID']},{float(row['ra'])!r},{len(photo)}" for row in photo[:2]]
    assert answer.text.splitlines() == ["#Table1", "objid,where,Column3", *lines]
    answer = ask(web, server, "SELECT p.ra FROM PhotoObjAll p WHERE p.run = 1")
    assert answer.text == "#Table1\nra\n"
    rows = ask(web, server, "SELECT TOP 1 objID, rowc_r FROM PhotoObjAll ORDER BY objID", "json").json()
    pixel = float(photo["rowc_r"][0])
    assert rows == [{"TableName": "Table1", "Rows": [{"objID": int(photo["objID"][0]), "rowc_r": pixel}]}]


def test_skyserver_gives_pages_that_make_up_the_whole(serve, web, archive_server, small_archive, tmp_path):
    tables = small_archive.survey_tables(700)
    server = serve(archive=archive_server.Archive(tmp_path, tables), skyserver_rows=150)
    where = "FROM SpecObjAll s JOIN PhotoObjAll p ON p.objID=s.bestObjID WHERE s.zWarning=0 AND p.clean=1"
    spectra, photo = tables["SpecObjAll"], tables["PhotoObjAll"]
    clean = set(photo["objID"][photo["clean"] == 1].tolist())
    due = [row["specObjID"] for row in spectra if row["zWarning"] == 0 and row["bestObjID"] in clean]
    found, last = [], 0
    while True:
        answer = ask(web, server, f"SELECT TOP 200 s.specObjID {where} AND s.specObjID>{last} ORDER BY s.specObjID")
        page = [int(line) for line in answer.text.splitlines()[2:]]
        if not page:
            break
        assert len(page) <= 150  # the server's own limit, without a word
        found, last = found + page, page[-1]
    assert found == sorted(due)
    assert len(set(found)) == int(ask(web, server, f"SELECT COUNT(*) AS n {where}").text.splitlines()[2])


@pytest.mark.parametrize("status", [200, 400])
def test_skyserver_may_say_what_is_wrong_on_a_page(serve, web, status):
    server = serve(skyserver_error="html", skyserver_status=status, skyserver_per_minute=3)
    for sql in ("SELECT nonsense FROM PhotoObjAll", "DROP TABLE PhotoObjAll", "SELECT ra INTO mydb.x FROM PhotoObjAll"):
        answer = ask(web, server, sql)
        assert answer.status_code == status
        assert answer.text.startswith("<html><head>\n<title>Skyserver Error</title>")
    assert "Maximum 3 queries allowed per minute" in ask(web, server, "SELECT ra FROM PhotoObjAll").text
    long = "SELECT ra FROM PhotoObjAll WHERE ra > " + "0" * 2048
    assert ask(web, server, long).status_code == 400


@pytest.mark.parametrize("form", ["json", "html"])
def test_skyserverws_says_it_in_json_with_http_500_and_a_limit_in_a_table(serve, web, form):
    server = serve(skyserver_error=form, skyserver_per_minute=1)
    url = f"{server.root}/dr12/SkyServerWS/SearchTools/SqlSearch"
    answer = web.get(url, params={"cmd": "SELECT nonsense FROM PhotoObjAll", "format": "csv"}, timeout=5)
    assert (answer.status_code, set(answer.json())) == (500, {"ErrorCode", "ErrorType", "ErrorMessage"})
    assert "nonsense" in answer.json()["ErrorMessage"]
    answer = web.get(url, params={"cmd": "SELECT ra FROM PhotoObjAll", "format": "csv"}, timeout=5)
    assert answer.status_code == 200
    assert answer.text.startswith('#Table1\nerror_message\n"Maximum 1 queries allowed per minute')


def test_a_storage_site_gets_a_longer_url_than_raven_and_refuses_one_that_is_too_long(serve, web):
    server = serve(url_bytes=1500, url_status=431)
    uri = next(tile.uri for tile in server.archive.roster if tile.kind == "science")
    for place in ("west/raven/files", "raven/files"):
        url = f"{server.root}/{place}/{uri.replace('+', '%2B')}?SUB=%5B0%5D%5B1:8,1:8%5D"
        answer = web.get(url, timeout=5, allow_redirects=False)
        target = answer.headers["Location"].removeprefix(server.root)
        assert 700 < len(target) - len(url.removeprefix(server.root)) < 850
        assert target.endswith("?SUB=%5B0%5D%5B1%3A8%2C1%3A8%5D")
        assert web.get(url, timeout=5).status_code == 200
        assert web.get(url + "&SUB=%5B0%5D%5B1:8,1:8%5D" * 30, timeout=5).status_code == 431


@pytest.mark.parametrize("place", ["uv", "cadc"])
def test_a_storage_site_gives_a_public_file_without_a_token(serve, web, place):
    server = serve()
    tile = next(tile for tile in server.archive.roster if tile.kind == "science")
    answer = web.get(f"{server.root}/{place}/minoc/files/{tile.uri.replace('+', '%2B')}", timeout=5)
    assert (answer.status_code, len(answer.content)) == (200, tile.size)
    assert b"true" in web.get(f"{server.root}/{place}/minoc/availability", timeout=5).content


def test_argus_wants_its_formats_in_small_letters(serve, web):
    server = serve()
    form = {"LANG": "ADQL", "QUERY": "SELECT a.uri FROM caom2.Artifact AS a", "RESPONSEFORMAT": "VOTABLE"}
    assert web.post(f"{server.root}/argus/sync", data=form, timeout=5).status_code == 400
    assert web.post(f"{server.root}/argus/sync", data=form | {"RESPONSEFORMAT": "votable"}, timeout=5).ok


def test_skyserver_finds_the_frames_near_a_position(serve, web, small):
    galaxy = small.galaxies[0]
    sql = f"""SELECT f.run, f.camcol, f.field, n.distance FROM dbo.fGetNearbyFrameEq({galaxy.ra},{galaxy.dec},1.5,0) n
        JOIN Frame f ON f.fieldID = n.fieldID ORDER BY n.distance"""
    lines = ask(web, serve(), sql).text.splitlines()
    assert lines[1] == "run,camcol,field,distance"
    assert [line.split(",")[:3] for line in lines[2:]] == [["94", "3", "100"], ["94", "3", "101"], ["94", "3", "99"]]


# --- TAP ---


def test_tap_gives_the_files_and_their_numbers(serve, web, small):
    server = serve()
    query = """SELECT a.uri, a.contentLength, p.position_bounds FROM caom2.Plane AS p
        JOIN caom2.Artifact a ON a.planeID=p.planeID WHERE a.productType {} 'science' ORDER BY a.uri"""
    for service in ("argus", "argus/"):
        table = table_of(tap(web, server, query.format("="), service))
        assert table["uri"].tolist() == sorted(tile.uri for tile in small.archive.roster if tile.kind == "science")
    for row in table:
        assert row["contentLength"] == (small.folder / "cadc" / row["uri"].removeprefix("cadc:")).stat().st_size
        assert row["position_bounds"].startswith("polygon ")
    assert len(table_of(tap(web, server, query.format("!=")))) == len(table)  # the weights
    get = web.get(f"{server.root}/argus//sync", params={"LANG": "ADQL", "QUERY": query.format("=")}, timeout=5)
    assert len(table_of(get)) == len(table)
    text = tap(web, server, query.format("="), service, FORMAT="csv")
    assert text.text.splitlines()[0] == "uri,contentLength,position_bounds"


def test_tap_says_where_it_left_rows_out(serve, web):
    server, query = serve(tap_rows=3), "SELECT uri FROM caom2.Artifact ORDER BY uri"
    for parameters, rows in (({}, 3), ({"MAXREC": 2}, 2), ({"MAXREC": 0}, 0)):
        answer = tap(web, server, query, **parameters)
        assert answer.text.count("<TR>") == rows
        assert answer.text.index("</TABLE>") < answer.text.index('"QUERY_STATUS" value="OVERFLOW"')
    assert "OVERFLOW" not in tap(web, server, "SELECT TOP 3 uri FROM caom2.Artifact").text
    wrong = tap(web, server, "SELECT nonsense FROM caom2.Artifact")
    assert wrong.status_code == 400
    assert '<INFO name="QUERY_STATUS" value="ERROR">no such column' in wrong.text


def test_tap_may_send_the_client_to_where_the_answer_is(serve, web, archive_server):
    lost = archive_server.Fault("missing_rows", "argus", by=1)
    server, query = serve(lost, tap_run=True, packed=True, tap_status=200), "SELECT uri FROM caom2.Artifact"
    for rows in (7, 8):
        answer = tap(web, server, query)
        assert ([each.status_code for each in answer.history], len(table_of(answer))) == ([303], rows)
        assert answer.request.method == "GET"
        assert answer.headers["Content-Encoding"] == "gzip"
    assert tap(web, server, "SELECT nonsense FROM caom2.Artifact").status_code == 200
    assert web.get(f"{server.root}/argus/sync/none/run", timeout=5).status_code == 404


@pytest.mark.parametrize(("radius", "both"), [(2.0, False), (12.0, True)])
def test_tap_finds_the_tiles_that_a_circle_touches(serve, web, small, radius, both):
    galaxy = small.galaxies[1]  # 10" or so inside the second tile, and at the edge of the first
    galaxy = (galaxy.ra + 5 / 3600, galaxy.dec)
    circle = f"CIRCLE('ICRS', {galaxy[0]}, {galaxy[1]}, {radius / 3600})"
    query = "SELECT DISTINCT o.observationID FROM caom2.Observation o JOIN caom2.Plane p ON o.obsID=p.obsID WHERE {}=1"
    found = table_of(tap(web, serve(), query.format(f"INTERSECTS({circle}, p.position_bounds)")))
    assert len(found) == 1 + both
    point = f"CONTAINS(POINT('ICRS', {galaxy[0]}, {galaxy[1]}), p.position_bounds)"
    assert len(table_of(tap(web, serve(), query.format(point)))) == 1


@pytest.mark.parametrize("binary", [False, True])
def test_vizier_has_quoted_names_units_and_gaps(serve, web, archive_server, tmp_path, binary):
    table = Table({"RAJ2000": [30.5, 31.5, 32.5], "rmag": np.ma.array([20.0, 0, 21], mask=[0, 1, 0]), "Tfl": [0, 1, 0]})
    table["RAJ2000"].unit = "deg"
    server = serve(archive=archive_server.Archive(tmp_path, vizier={"II/317/cfhtls_w": table}), binary=binary)
    query = 'SELECT "RAJ2000", rmag, "Tfl" FROM "II/317/cfhtls_w" WHERE {} ORDER BY RAJ2000 DESC'
    answer = tap(web, server, query.format("RAJ2000 < 32"), "TAPVizieR/tap")
    found = table_of(answer)
    assert ("BINARY2" in answer.text) == binary
    assert (found.colnames, str(found["RAJ2000"].unit)) == (["RAJ2000", "rmag", "Tfl"], "deg")
    assert_array_equal(found["RAJ2000"], [31.5, 30.5])
    assert_array_equal(np.ma.filled(found["rmag"], np.nan), [np.nan, 20.0])
    near = "1=CONTAINS(POINT('ICRS',RAJ2000,0.0),CIRCLE('ICRS',32,0,0.6))"
    assert_array_equal(table_of(tap(web, server, query.format(near), "TAPVizieR/tap"))["Tfl"], [0, 1])


# --- faults ---


def outcome(web, url, **headers):
    """Status and body of an answer, or the error that the client meets."""
    try:
        answer = web.get(url, headers=headers, timeout=5)
    except requests.RequestException as error:
        return type(error).__name__
    return answer.status_code, answer.content


@pytest.mark.parametrize(
    ("kind", "facts", "due"),
    [
        ("503", {}, (503, "Try again later")),
        ("429", {}, (429, "Try again later")),
        ("html", {}, (200, "<html>")),
        ("empty", {}, (200, "")),
        ("reset", {}, "ChunkedEncodingError"),
        ("reset", {"at": 0}, "ConnectionError"),
        ("truncate", {}, "ChunkedEncodingError"),
        ("stall", {"seconds": 0.01}, "ChunkedEncodingError"),
        ("wrong_length", {"by": 7}, "ChunkedEncodingError"),
        ("shortened", {}, (200, "BZh")),
        ("redirect_away", {}, (200, "SIMPLE  =")),
    ],
)
def test_a_fault_spoils_one_answer_and_no_more(serve, web, small, archive_server, kind, facts, due):
    server = serve(archive_server.Fault(kind, "frame-r", **facts))
    url, body = f"{server.root}/{FRAME}", (small.folder / FRAME).read_bytes()
    other = outcome(web, url.replace("frame-r", "frame-i"))
    assert other == (200, (small.folder / FRAME.replace("frame-r", "frame-i")).read_bytes())
    spoilt = outcome(web, url)
    if isinstance(due, str):
        assert spoilt == due
    else:
        assert spoilt[0] == due[0]
        assert due[1].encode() in spoilt[1]
        assert spoilt[1] != body
    assert outcome(web, url) == (200, body)
    assert server.faults.left() == []
    assert [request.fault for request in server.requests("sas")] == ["", kind, ""]


def test_faults_that_change_bytes_or_lengths(serve, web, small, archive_server):
    fault = archive_server.Fault
    server = serve(fault("bit_flip", at=0.25), fault("wrong_length", by=-100), fault("redirect_chain", by=4))
    url, body = f"{server.root}/{FRAME}", (small.folder / FRAME).read_bytes()
    flipped = np.frombuffer(outcome(web, url)[1], np.uint8) ^ np.frombuffer(body, np.uint8)
    assert (flipped > 0).sum() == 1
    assert bin(flipped.max()).count("1") == 1
    assert outcome(web, url) == (200, body[:-100])
    assert outcome(web, url) == (200, body)
    assert server.count("hop") == 4
    with pytest.raises(OSError, match="Invalid data stream"):
        bz2.decompress(body[:1000] + bytes([body[1000] ^ 16]) + body[1001:])


@pytest.mark.parametrize(
    ("kind", "status", "part"),
    [
        ("ignore_range", 200, slice(None)),
        ("wrong_range", 206, slice(103, 200)),
        ("changed", 206, slice(100, 200)),
    ],
)
def test_faults_of_parts_wait_for_a_part_to_be_asked_for(serve, web, small, archive_server, kind, status, part):
    server = serve(archive_server.Fault(kind))
    url, body = f"{server.root}/{FRAME}", (small.folder / FRAME).read_bytes()
    assert outcome(web, url) == (200, body)
    answer = web.get(url, headers={"Range": "bytes=100-199"}, timeout=5)
    assert (answer.status_code, answer.content) == (status, body[part])
    if status == 206:
        begin, end = (103, 199) if kind == "wrong_range" else (100, 199)
        total = len(body) + 3 * (kind == "changed")
        assert answer.headers["Content-Range"] == f"bytes {begin}-{end}/{total}"
    assert outcome(web, url, Range="bytes=100-199") == (206, body[100:200])


def test_faults_of_several_parts_tokens_and_windows(serve, web, tile, archive_server):
    fault = archive_server.Fault
    server = serve(
        fault("expired_token"),
        fault("login", after=1),
        fault("clipped", by=2),
        fault("no_content"),
        fault("multirange_full", "sas"),
    )
    url = f"{server.root}/raven/files/{TILE}"
    assert [outcome(web, url)[0] for _ in range(3)] == [401, 401, 200]
    assert [server.count(route) for route in ("raven", "auth", "storage")] == [3, 1, 2]
    clipped = outcome(web, f"{url}?SUB=[0][1:10,1:10]")[1]
    assert_array_equal(fits.getdata(io.BytesIO(clipped)), tile[1][:8, :8])
    status, words = outcome(web, f"{url}?SUB=[0][1:10,1:10]")
    assert (status, words[:9]) == (400, b"NoContent")
    several = {"Range": "bytes=0-1,8-9"}
    assert outcome(web, f"{server.root}/{FRAME}", **several)[0] == 200
    assert outcome(web, f"{server.root}/{FRAME}", **several)[0] == 206


def test_faults_that_lose_rows(serve, web, archive_server):
    fault = archive_server.Fault
    server = serve(fault("missing_rows", SEARCH, by=1, at=0), fault("missing_rows", "sync", by=2), fault("overflow"))
    sql, adql = "SELECT objID FROM PhotoObjAll ORDER BY objID", "SELECT uri FROM caom2.Artifact"
    assert [len(ask(web, server, sql).text.splitlines()) - 2 for _ in range(2)] == [3, 4]
    answers = [tap(web, server, adql).text for _ in range(3)]
    assert [answer.count("<TR>") for answer in answers] == [6, 4, 8]
    assert ["OVERFLOW" in answer for answer in answers] == [False, True, False]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_after_any_fault_at_any_service_all_is_well(serve, web, archive_server, method):
    server = serve()
    places = [FRAME, f"raven/files/{TILE}", f"raven/files/{TILE}?SUB=[0][1:4,1:4]", "reg/resource-caps"]
    places += [f"{SEARCH}?cmd=SELECT+ra+FROM+PhotoObjAll&format=csv", "argus/sync?QUERY=SELECT+uri+FROM+caom2.Artifact"]

    def met(place, **headers):
        try:
            answer = web.request(method, f"{server.root}/{place}", headers=headers, timeout=5)
        except requests.RequestException:
            return None
        return answer.status_code, answer.content

    for place in places:
        for headers in ({}, {"Range": "bytes=3-9"}):
            good = met(place, **headers)
            assert good[0] in (200, 206, 303)
            for kind in archive_server.KINDS:
                server.faults.add(archive_server.Fault(kind, seconds=0.0, by=10**6 if kind == "slow" else 3))
                spoilt = met(place, **headers)
                if not server.faults.left() and (method == "GET" or kind == "reset"):
                    assert spoilt != good or kind in ("redirect_chain", "changed", "slow")
                server.faults.clear()
                assert met(place, **headers) == good
    assert server.errors == []


def test_a_plan_counts_its_faults_whoever_asks(serve, web, archive_server):
    fault = archive_server.Fault
    server = serve(fault("503", "frame-r", times=5, after=3), fault("404", method="HEAD", times=-1))
    with ThreadPoolExecutor(8) as pool:
        url = f"{server.root}/{FRAME}"
        statuses = list(pool.map(lambda _: web.get(url, timeout=5).status_code, range(40)))
        assert statuses.count(503) == 5
        assert [web.head(url, timeout=5).status_code for _ in range(3)] == [404] * 3
    assert [request.status for request in server.log[:3]] == [200] * 3
    assert server.faults.left() == []
    server.faults.add(fault("410", times=3))
    outcome(web, f"{server.root}/{FRAME}")
    assert [each.times for each in server.faults.left()] == [2]
    with pytest.raises(ValueError, match="no such fault: 'nonsense'"):
        fault("nonsense")


# --- the server itself ---


def test_the_log_says_who_asked_what_and_how_much_went_out(serve, web, small):
    server = serve()
    body = (small.folder / FRAME).read_bytes()
    web.get(f"{server.root}/{FRAME}", headers={"User-Agent": "galtrans/1"}, timeout=5)
    tap(web, server, "SELECT uri FROM caom2.Artifact")
    assert (server.count("sas"), server.sent("sas"), server.count(), server.count("tap")) == (1, len(body), 2, 1)
    assert server.log[0].headers["user-agent"] == "galtrans/1"
    assert b"QUERY=SELECT" in server.log[1].body
    assert server.requests("", "frame-r") == server.log[:1]


def test_requests_that_are_in_work_at_once_are_counted(serve):
    server = serve(delay=0.05)
    with requests.Session() as web, ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: web.get(f"{server.root}/{FRAME}", timeout=5).content, range(6)))
    assert 2 <= server.most_at_once <= 3


def test_the_settings_lead_to_the_server(serve, tmp_path):
    server = serve()
    settings = server.settings(tmp_path, cadc_windows=3)
    assert (settings.sas, settings.cadc_windows, settings.cache_folder) == (server.root, 3, tmp_path)
    assert read_settings(server.environ(tmp_path, cadc_windows=3)) == settings


def test_a_server_that_is_asked_too_much_or_fails_ends_in_an_error(archive_server, small, web, monkeypatch):
    def run(**options):
        with archive_server.serve(small.archive, options=archive_server.Options(**options)) as server:
            return [outcome(web, f"{server.root}/{FRAME}") for _ in range(3)]

    with pytest.raises(AssertionError, match="more than 2 requests"):
        run(max_requests=2)
    monkeypatch.setitem(archive_server.SERVICES, "sas", lambda *_: 1 / 0)
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        run()


def test_the_server_can_be_a_process_of_its_own(small, tmp_path, web):
    plan = tmp_path / "faults.json"
    plan.write_text(json.dumps([{"kind": "503", "match": "frame-r"}]))
    script = Path(__file__).with_name("archive_server.py")
    command = [sys.executable, "-W", "error", str(script), str(small.folder), "--faults", str(plan)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        timer = threading.Timer(60, process.kill)
        timer.start()
        try:
            root = process.stdout.readline().strip()
            statuses = [web.get(f"{root}/{FRAME}", timeout=5).status_code for _ in range(2)]
            answer = web.post(
                f"{root}/argus/sync", data={"QUERY": "SELECT COUNT(*) AS n FROM caom2.Artifact"}, timeout=5
            )
        finally:
            timer.cancel()
            process.kill()
    assert statuses == [503, 200]
    assert table_of(answer)["n"].tolist() == [len(small.archive.roster)]


# --- the small archive ---


def test_the_field_list_describes_the_frames(small, known_sky, small_archive):
    table = Table.read(small.folder / small_archive.FIELD_LIST)
    ours = table[np.char.strip(np.asarray(table["rerun"], str)) == "301"]
    assert ours["field"].tolist() == [99, 100, 101]
    for row in ours:
        wcs = known_sky.frame_wcs("r", row["field"])
        corners = wcs.wcs_pix2world([[-0.5, -0.5], [259.5, 219.5]], 0)
        mu, nu = small_archive.scan_coordinates(*corners.T, row["node"], row["incl"])
        assert_allclose(mu, [row["mu_start"], row["mu_end"]], atol=1e-9)
        assert_allclose(nu, [row["nu_start"], row["nu_end"]], atol=1e-9)
        assert_allclose((mu[1] - mu[0]) * 3600 / 0.396, 220, atol=0.01)  # mu grows with the rows, nu with the columns
        assert_allclose((nu[1] - nu[0]) * 3600 / 0.396, 260, atol=0.01)
    assert_allclose(np.diff(ours["mu_start"]) * 3600 / 0.396, 180, atol=0.01)


def test_catalogues_and_files_show_the_same_galaxies(small, known_sky):
    catalogue, photo = small.catalogue(), small.archive.tables["PhotoObjAll"]
    assert catalogue["field"].tolist() == [100] * 4
    for row, galaxy in enumerate(small.galaxies):
        name = known_sky.FRAME.format(run=94, camcol=3, field=100, band="r")
        image = fits.getdata(small.folder / name, 0)
        line, column = (int(photo[name][row]) for name in ("rowc_r", "colc_r"))
        assert image[line, column] > 0.9 * image.max() * galaxy.flux / small.galaxies[-1].flux
