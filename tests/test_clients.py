"""The clients that others published speak to the archive server of the tests as they do to the archives.

So what galtrans learns from that server holds for the archives as far as these clients know them. The traps that the
clients lay are shown too: they are why galtrans asks the archives itself.
"""

import gc
from contextlib import ExitStack

import numpy as np
import pytest
from astropy import units
from astropy.config import set_temp_cache
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Table
from astropy.utils.exceptions import AstropyUserWarning
from numpy.testing import assert_allclose, assert_array_equal

pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # the clients leave sockets and files open
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),  # the same, met by the collector
    pytest.mark.filterwarnings("ignore:It looks like you're using an HTML parser:UserWarning"),  # astroquery.cadc
]
FK5_SHIFT = 1e-5  # [deg] astroquery.cadc sends FK5 where ICRS is due


@pytest.fixture(scope="module")
def small(tmp_path_factory, small_archive, known_sky):
    return small_archive.small_archive(tmp_path_factory.mktemp("archive"), known_sky, bands="gri")


@pytest.fixture
def server(archive_server, small):
    with archive_server.serve(small.archive) as server:
        yield server


@pytest.fixture
def sdss(server, tmp_path, monkeypatch):
    """astroquery.sdss, sent to the server; it writes to no folder of the user."""
    from astroquery import sdss
    from astroquery.sdss import field_names

    client = sdss.SDSSClass()
    client.cache_location = tmp_path / "astroquery"
    monkeypatch.setattr(field_names, "_cached_table_fields", {})
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with ExitStack() as stack:
        stack.enter_context(sdss.conf.set_temp("skyserver_baseurl", server.root))
        stack.enter_context(sdss.conf.set_temp("sas_baseurl", f"{server.root}/sas"))
        stack.enter_context(set_temp_cache(tmp_path))
        yield client


@pytest.fixture
def cadc(server, tmp_path, monkeypatch):
    """astroquery.cadc, sent to the server."""
    from astroquery import cadc
    from astroquery.cadc import core
    from pyvo.utils import vocabularies

    monkeypatch.setattr(core.get_access_url, "caps", {})
    monkeypatch.setattr(vocabularies, "IVOA_VOCABULARY_ROOT", f"{server.root}/rdf/")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with cadc.conf.set_temp("CADC_REGISTRY_URL", f"{server.root}/reg/resource-caps"), set_temp_cache(tmp_path):
        yield cadc.CadcClass()


@pytest.fixture(autouse=True)
def tidy():
    """What the clients leave open is closed within the test that made it."""
    yield
    gc.collect()


def position(galaxy):
    return SkyCoord(galaxy.ra, galaxy.dec, unit="deg")


def test_astroquery_sdss_reads_the_answer_to_a_query(sdss, small, server):
    query = """SELECT TOP 2 p.objid, p.ra, p.dec, s.z -- a remark
        FROM PhotoObjAll AS p JOIN SpecObjAll AS s ON s.bestObjID = p.objID
        WHERE p.petroMag_r - p.extinction_r <= 17.8 ORDER BY p.objid DESC"""
    found = sdss.query_sql(query, data_release=12, cache=False)
    photo, spectra = small.archive.tables["PhotoObjAll"], small.archive.tables["SpecObjAll"]
    assert found.colnames == ["objid", "ra", "dec", "z"]
    assert_array_equal(found["objid"], photo["objID"][::-1][:2])
    assert_array_equal(found["ra"], photo["ra"][::-1][:2])
    assert_array_equal(found["z"], spectra["z"][::-1][:2])
    assert sdss.query_sql("SELECT p.ra FROM PhotoObjAll AS p WHERE p.run = 1", data_release=12, cache=False) is None
    assert [request.route for request in server.log] == ["skyserver", "skyserver"]


def test_astroquery_sdss_matches_positions_in_their_order_and_leaves_out_those_without_match(sdss, small, server):
    galaxies = [small.galaxies[2], small.galaxies[0]]
    places = SkyCoord([galaxies[0].ra, 10.0, galaxies[1].ra], [galaxies[0].dec, 10.0, galaxies[1].dec], unit="deg")
    columns = ["ra", "dec", "run", "camcol", "field"]
    found = sdss.query_crossid(places, radius=5 * units.arcsec, fields=columns, data_release=12, cache=False)
    assert found.colnames == [*columns, "type"]
    assert_array_equal(found["ra"], [galaxy.ra for galaxy in galaxies])
    assert found["type"].tolist() == ["GALAXY", "GALAXY"]
    assert [request.route for request in server.log] == ["skyserver", "skyserver", "crossid"]  # two of the columns


def test_astroquery_sdss_gets_the_very_frames(sdss, small, server, known_sky):
    images = sdss.get_images(run=known_sky.RUN, camcol=known_sky.CAMCOL, field=100, band="gr", data_release=12)
    names = [known_sky.FRAME.format(run=known_sky.RUN, camcol=known_sky.CAMCOL, field=100, band=band) for band in "gr"]
    for hdus, name in zip(images, names, strict=True):
        assert_array_equal(hdus[0].data, fits.getdata(small.folder / name, 0))
    assert server.count("sas") == 2


def test_astroquery_sdss_takes_a_page_of_html_for_a_table(sdss, server, archive_server):
    server.faults.add(archive_server.Fault("html", "x_results"))
    bogus = sdss.query_sql("SELECT TOP 2 p.ra FROM PhotoObjAll AS p", data_release=12, cache=False)
    assert isinstance(bogus, Table)
    assert "html" in bogus.colnames[0]


def test_astroquery_sdss_keeps_a_page_of_html_and_asks_no_more(sdss, server, archive_server):
    server.faults.add(archive_server.Fault("html", "x_results"))
    query = "SELECT TOP 2 p.ra FROM PhotoObjAll AS p"
    first = sdss.query_sql(query, data_release=12, cache=True)
    again = sdss.query_sql(query, data_release=12, cache=True)
    assert first.colnames == again.colnames != ["ra"]
    assert server.count() == 1
    assert sdss.query_sql(query, data_release=12, cache=False).colnames == ["ra"]


def test_astroquery_sdss_drops_columns_where_it_cannot_learn_their_names(sdss, small, server, archive_server):
    server.faults.add(archive_server.Fault("html", "fDocColumns", times=2))
    with pytest.warns(AstropyUserWarning, match="Field info are not available"):
        found = sdss.query_crossid(position(small.galaxies[0]), fields=["run", "field"], data_release=12, cache=False)
    assert found.colnames == ["type"]


def test_astroquery_cadc_finds_the_tiles_of_a_position(cadc, small, server):
    found = cadc.query_region(position(small.galaxies[0]), radius=2 * units.arcsec, collection="CFHTTERAPIX")
    tiles = {tile.product: tile for tile in small.archive.roster}
    on_both = sorted(tiles)  # the first galaxy lies on both tiles, three bands each
    assert sorted(found["productID"]) == on_both
    assert sorted(set(found["energy_bandpassName"])) == ["g.MP9401", "i.MP9701", "r.MP9601"]
    edge = cadc.query_region(position(small.galaxies[3]), radius=2 * units.arcsec, collection="CFHTTERAPIX")
    assert len(edge) == 0
    assert server.requests("tap")[0].target == "/argus//sync"


def test_astroquery_cadc_cuts_the_pixels_of_a_circle(cadc, small, server):
    galaxy, radius = small.galaxies[2], 8 / 3600
    images = cadc.get_images(position(galaxy), radius * units.deg, collection="CFHTTERAPIX")
    assert len(images) == 6
    wholes = {tile.bandpass + tile.observation: tile for tile in small.archive.roster}
    widths = set()
    for hdus in images:
        header, pixels = hdus[0].header, hdus[0].data
        col, row = int(-header["LTV1"]), int(-header["LTV2"])
        same = [
            tile
            for tile in wholes.values()
            if tile.bandpass == header["FILTER"] and np.array_equal(whole(small, tile, row, col, pixels.shape), pixels)
        ]
        assert len(same) == 1
        widths.add(pixels.shape[1])
    # 30 px from the edge of one tile: clipped there to 30 + 43 or so; whole on the other
    assert sorted(widths)[0] < 80 <= sorted(widths)[-1]
    routes = ["registry", "capabilities", "tap", "capabilities", "capabilities", "datalink"]
    assert [request.route for request in server.log][:6] == routes
    assert server.count("vocabulary") == 1
    assert [server.count(route) for route in ("soda", "raven", "storage")] == [6, 6, 6]


def whole(small, tile, row, col, shape):
    """The same part of a whole tile."""
    image = fits.getdata(small.folder / "cadc" / tile.uri.removeprefix("cadc:"))
    return image[row : row + shape[0], col : col + shape[1]]


def test_astroquery_cadc_loses_images_without_a_word(cadc, small, server, archive_server):
    server.faults.add(archive_server.Fault("409", "caom2ops/sync", times=2))
    images = cadc.get_images(position(small.galaxies[0]), 5 / 3600 * units.deg, collection="CFHTTERAPIX")
    assert len(images) == 4  # of six


def test_astroquery_cadc_names_the_files_of_planes(cadc, small):
    found = cadc.query_region(position(small.galaxies[0]), radius=2 * units.arcsec, collection="CFHTTERAPIX")
    urls = cadc.get_data_urls(found)
    assert {url.split("?")[0].rsplit("/")[-1] for url in urls} == {
        tile.uri.rsplit("/")[-1] for tile in small.archive.roster
    }


def test_astroquery_cadc_sends_fk5_for_icrs(cadc, server, small):
    galaxy = small.galaxies[0]
    cadc.get_images(position(galaxy), 5 / 3600 * units.deg, get_url_list=True)
    sent = server.requests("tap")[0].body.decode()
    assert f"{galaxy.ra:.10f}"[:10] not in sent
    assert_allclose(float(sent.split("ICRS%27%2C+")[1].split("%2C")[0]), galaxy.ra, atol=FK5_SHIFT)


def test_astroquery_cadc_lists_tables_and_collections(cadc):
    assert "caom2.Plane" in cadc.get_tables(only_names=True)
    assert "position_bounds" in [column.name for column in cadc.get_table("caom2.Plane").columns]
    assert cadc.get_collections()["CFHTTERAPIX"]["Bands"] == ["Optical"]


def test_astroquery_cadc_asks_for_all_rows_whatever_is_wanted(cadc, server, small):
    assert len(cadc.exec_sync("SELECT uri FROM caom2.Artifact", maxrec=2)) == len(small.archive.roster)
    assert b"MAXREC" not in server.requests("tap")[0].body


def test_pyvo_goes_to_where_the_answer_is(archive_server, small):
    from pyvo.dal import TAPService

    with archive_server.serve(small.archive, options=archive_server.Options(tap_run=True)) as server:
        found = TAPService(f"{server.root}/argus").search("SELECT uri FROM caom2.Artifact").to_table()
        assert [server.count(route) for route in ("job", "tap")] == [1, 1]
    assert sorted(found["uri"]) == sorted(tile.uri for tile in small.archive.roster)


def test_pyvo_reads_the_roster(server, small):
    from pyvo.dal import TAPService

    service = TAPService(f"{server.root}/argus")
    roster = service.search(
        """SELECT TOP 1000 o.observationID, p.productID, p.energy_bandpassName, p.position_bounds,
        p.position_dimension_naxis1, p.position_dimension_naxis2, a.uri, a.contentLength, a.contentChecksum,
        c.position_coordsys, c.position_equinox
        FROM caom2.Observation AS o JOIN caom2.Plane AS p ON o.obsID=p.obsID
        JOIN caom2.Artifact AS a ON a.planeID=p.planeID JOIN caom2.Part AS pt ON pt.artifactID=a.artifactID
        JOIN caom2.Chunk AS c ON c.partID=pt.partID
        WHERE o.collection='CFHTTERAPIX' AND o.observationID LIKE 'CFHTLS_W_%' AND p.provenance_version='T0007'
        AND a.productType='science' AND a.uri LIKE '%_T0007_MEDIAN.fits'
        AND p.energy_bandpassName IN ('g.MP9401','i.MP9701','i.MP9702','r.MP9601','u.MP9301','z.MP9801')
        ORDER BY o.observationID,p.productID,a.uri"""
    ).to_table()
    tiles = sorted(small.archive.roster, key=lambda tile: (tile.observation, tile.product))
    assert roster["uri"].tolist() == [tile.uri for tile in tiles]
    for row, tile in zip(roster, tiles, strict=True):
        path = small.folder / "cadc" / tile.uri.removeprefix("cadc:")
        assert row["contentLength"] == path.stat().st_size
        assert row["contentChecksum"] == f"md5:{tile.md5}"
        assert (row["position_dimension_naxis1"], row["position_dimension_naxis2"]) == (300, 320)


def test_pyvo_pages_through_vizier_and_is_told_where_rows_are_left_out(server, small, archive_server):
    from pyvo.dal import DALOverflowWarning, TAPService

    service = TAPService(f"{server.root}/TAPVizieR/tap")
    query = """SELECT "CFHTLS", "RAJ2000", "rmag", "E(B-V)" FROM "II/317/cfhtls_w" WHERE "rcl" < 0.5 {}
        ORDER BY "CFHTLS" """
    table = service.search(query.format("")).to_table()
    assert table.colnames == ["CFHTLS", "RAJ2000", "rmag", "E(B-V)"]
    assert str(table["RAJ2000"].unit) == "deg"
    assert_array_equal(table["RAJ2000"], [galaxy.ra for galaxy in small.galaxies])
    after = service.search(query.format(f'AND "CFHTLS" > {table["CFHTLS"][1]}')).to_table()
    assert_array_equal(after["CFHTLS"], table["CFHTLS"][2:])
    short = service.search(query.format(""), maxrec=3)
    assert (len(short), short.status[0]) == (3, "OVERFLOW")
    server.faults.add(archive_server.Fault("overflow", "TAPVizieR/tap/sync"))
    with pytest.warns(DALOverflowWarning):
        assert len(service.search(query.format(""))) == 2


def test_pyvo_says_what_the_service_says_of_a_wrong_query(server):
    from pyvo.dal import DALQueryError, TAPService

    service = TAPService(f"{server.root}/argus")
    with pytest.raises(DALQueryError, match="no such column: nonsense"):
        service.search("SELECT nonsense FROM caom2.Plane")
