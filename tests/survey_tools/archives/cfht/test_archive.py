import pickle
import re
import sys
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from numpy.testing import assert_allclose, assert_array_equal

from survey_tools.archives.cfht import archive as cfht
from survey_tools.archives.cfht import stacks
from survey_tools.archives.cfht.stacks import CfhtOptions, Stacks
from survey_tools.archives.download import hosts, ways
from survey_tools.archives.plan import Access, SourceFile
from survey_tools.archives.settings import ArchiveSettings
from survey_tools.archives.tiles import Tiles
from survey_tools.errors import ArchiveError, AwayError
from survey_tools.images import cutout
from survey_tools.images.sky_wcs import tan_terms
from survey_tools.surveys import CFHT
from survey_tools.tasks import Engine

BANDS = ("g", "i")
STEM = "cadc:CFHTTERAPIX/CFHTLS_W_{}_{}+020000_T0007_MEDIAN.fits#{}"
RUN = Engine().run

pytestmark = pytest.mark.usefixtures("waits")


@pytest.fixture(autouse=True)
def usual_addresses():
    """Nothing is known of any address or host."""
    ways.forget()
    hosts.forget()


@pytest.fixture(scope="module")
def draw(tmp_path_factory, known_sky, small_archive, archive_server):
    """A function that draws two overlapping pointings in g and i, with or without weights; the second has the new i."""
    drawn = {}

    def draw(weights):
        if weights not in drawn:
            folder = tmp_path_factory.mktemp("archive")
            small_archive.small_archive(folder, known_sky, bands="gi", fields=(100,), weights=weights, new_i=True)
            for path in sorted(folder.glob("cadc/*/*_100000*_weight.fits")):
                spoil(path)
            drawn[weights] = archive_server.read_archive(folder)
        return drawn[weights]

    def spoil(path):  # one half of the stack has a quarter of the exposure, and a few pixels none
        with fits.open(path.with_name(path.name.replace("_weight", "")), mode="update") as hdus:
            hdus[0].data[:, 150:] *= 2
        with fits.open(path, mode="update") as hdus:
            hdus[0].data[:, 150:] /= 4
            hdus[0].data[150:153, 140:143] = 0

    return draw


@pytest.fixture
def catalogue(known_sky):
    """Four objects on the first pointing, two of them at its edges, one on the second, and one on none."""
    at = known_sky.stack_wcs()
    places = [known_sky.position(at, *place) for place in ((150.3, 141.9), (3.2, 280.4), (160.0, 75.2), (160.0, 100.0))]
    return known_sky.catalogue([*places, (150.009, 2.001), (10.0, 10.0)])


@pytest.fixture
def live(tmp_path):
    """A function that opens the archive of a server."""

    def live(server, how="auto", name="work", **changes):
        return cfht.open_archive(
            Access(tmp_path / name, settings=server.settings(tmp_path / "cache", **changes)), CfhtOptions(how)
        )

    return live


def cut(archive, catalogue, bands=BANDS):
    """Every piece by band and row of the catalogue, with the name of its source."""
    plan = archive.plan(catalogue, bands, RUN)
    pieces = {}
    for source in plan.sources:
        found = list(archive.cut(source, catalogue["ra"][source.rows], catalogue["dec"][source.rows]))
        pieces |= {(source.band, row): (source.name, piece) for row, piece in zip(source.rows, found, strict=True)}
    return pieces


def assert_same(mine, theirs, noise=True):
    assert mine.keys() == theirs.keys()
    for key, (name, piece) in mine.items():
        other_name, other = theirs[key]
        assert_array_equal(piece.cutout.image, other.cutout.image)
        assert_array_equal(piece.cutout.saturated, other.cutout.saturated)
        for terms in zip(tan_terms(piece.cutout.wcs), tan_terms(other.cutout.wcs), strict=True):
            assert_array_equal(*terms)
        if noise:
            assert name == other_name
            assert_array_equal(
                (piece.zero_point, piece.psf_fwhm, piece.sky_sigma, piece.gain),
                (other.zero_point, other.psf_fwhm, other.sky_sigma, other.gain),
            )


# --- a mirror of the user's ------------------------------------------------------------------------------------------


@pytest.fixture
def mirror(tmp_path):
    return cfht.open_archive(Access(tmp_path / "work", mirror=str(tmp_path), settings=ArchiveSettings()))


def cut_one(archive, name, position, band="r"):
    return next(archive.cut(SourceFile(name, band, np.array([0])), *[[value] for value in position]))


def test_a_saturation_of_zero_is_not_known(mirror, known_sky, tmp_path):
    known_sky.write_stack(tmp_path, "r", [], header={"SATURATE": 0.0})
    assert not cut_one(mirror, "stack_r.fits", (150.0, 2.0)).cutout.saturated.any()


@pytest.mark.parametrize(
    ("header", "factor"), [({"MZP_AB": 29.0}, 10**0.4), ({"MZP_AB": None, "TERAPIX": "T0007"}, 1.0)]
)
def test_the_zero_point_is_mzp_ab_else_that_of_all_stacks_and_never_phot_c(mirror, known_sky, tmp_path, header, factor):
    galaxy = known_sky.Galaxy(*known_sky.position(known_sky.stack_wcs(), 150.3, 141.9), flux=40.0)
    known_sky.write_stack(tmp_path, "r", [galaxy], noise=1e-6, header=header)
    piece = cut_one(mirror, "stack_r.fits", (galaxy.ra, galaxy.dec))
    assert_allclose(piece.cutout.image.sum(), factor * galaxy.flux, rtol=0.005)
    assert (piece.zero_point, piece.psf_fwhm) == (header["MZP_AB"] or 30.0, 0.7)


@pytest.mark.parametrize(
    ("header", "gain"), [({"GAIN": 42.2}, 42200.0), ({"GAIN": 42.2, "MZP_AB": 27.5}, 4220.0), ({"GAIN": 0.0}, np.nan)]
)
def test_gain_is_electrons_of_a_nanomaggy_and_zero_is_not_known(mirror, known_sky, tmp_path, header, gain):
    known_sky.write_stack(tmp_path, "r", [], header=header | {"IQIMAGE": 0.0})
    piece = cut_one(mirror, "stack_r.fits", (150.0, 2.0))
    assert_allclose(piece.gain, gain, rtol=1e-6)
    assert np.isnan(piece.psf_fwhm)  # nor is a seeing of zero, and there are no stars
    assert piece.psf_source == ""


def test_the_keyword_of_the_zero_point_is_a_setting(known_sky, tmp_path):
    known_sky.write_stack(tmp_path, "r", [], header={"PHOTZP": 25.0})
    access = Access(tmp_path / "work", mirror=str(tmp_path), settings=ArchiveSettings(zero_point_keyword="PHOTZP"))
    archive = cfht.open_archive(access)
    assert cut_one(archive, "stack_r.fits", (150.0, 2.0)).zero_point == 25.0
    assert isinstance(archive, Tiles)
    assert archive.facts()["calibration"] == "survey_tools.archives.cfht.archive.calibrate('PHOTZP')"


def test_real_stacks(real_data, tmp_path):
    archive = cfht.open_archive(Access(tmp_path, mirror=str(real_data / "cfht"), settings=ArchiveSettings()))
    known = {"g": (0.67, 0.816), "r": (1.43, 0.879), "i": (1.96, 0.732)}
    for band, (sigma, seeing) in known.items():
        piece = cut_one(archive, f"CFHTLS-test_{band}.fits", (215.545, 52.7835), band)
        assert_allclose(cutout.sky_sigma(piece.cutout.image, piece.cutout.saturated) * 1000, sigma, rtol=0.1)
        assert_allclose((piece.zero_point, piece.psf_fwhm), (30.0, seeing))
        assert piece.psf_source == "header"
        assert_allclose(piece.gain, {"g": 66650, "r": 42235, "i": 38920}[band], rtol=0.01)
    piece = cut_one(archive, "CFHTLS_03_g_sci.fits.fz", (31.2251, -10.4020), "g")
    assert np.isfinite(piece.cutout.image).all()
    assert piece.zero_point == 30.0  # its PHOT_C says 26.54
    assert np.isnan(piece.psf_fwhm)


# --- the CADC --------------------------------------------------------------------------------------------------------


def test_both_ways_measure_the_same_seeing_on_a_stack_whose_header_has_none(
    archive_server, small_archive, known_sky, live, tmp_path
):
    at = known_sky.stack_wcs()
    places = [(row, col) for row in (45, 110, 175, 240) for col in (45, 110, 175, 240)]
    stars = [known_sky.Galaxy(*known_sky.position(at, *place), flux=20.0, sigma=0.4) for place in places]
    facts = {"bands": "g", "fields": (100,), "tiles": ((150.0, 2.0),), "galaxies": stars}
    small_archive.small_archive(tmp_path / "archive", known_sky, **facts)
    for path in (tmp_path / "archive" / "cadc").rglob("*MEDIAN.fits"):
        with fits.open(path, mode="update") as hdus:
            hdus[0].header.remove("IQIMAGE")
            hdus[0].header["GAIN"] = 60.0
    catalogue = known_sky.catalogue([(150.0, 2.0), known_sky.position(at, 100, 100)])
    with archive_server.serve(archive_server.read_archive(tmp_path / "archive")) as server:
        whole, windows = (cut(live(server, how, name=how), catalogue, ("g",)) for how in ("tiles", "windows"))
    assert_same(whole, windows)
    for _, piece in whole.values():
        assert_allclose(piece.psf_fwhm, 2.3548 * 0.4, rtol=0.03)
        assert piece.psf_source == "stars"
        assert_allclose(piece.gain, 60e3)


def test_the_plan_needs_no_file_and_names_the_filter_of_each_stack(archive_server, draw, live, catalogue):
    with archive_server.serve(draw(False)) as server:
        plan = live(server).plan(catalogue, BANDS, RUN)
        assert server.count() == server.count("tap") == 2
    assert [(source.name, source.band, source.rows.tolist()) for source in plan.sources] == [
        (STEM.format("g", "100000", "g.MP9401"), "g", [0, 1, 2, 3]),
        (STEM.format("g", "100002", "g.MP9401"), "g", [4]),
        (STEM.format("i", "100000", "i.MP9701"), "i", [0, 1, 2, 3]),
        (STEM.format("i", "100002", "i.MP9702"), "i", [4]),
    ]
    assert plan.unreadable == []
    assert (
        "band i: 4 through i.MP9701, 1 through i.MP9702; the column `source` of the store has the filter of each"
        in (plan.notes)
    )
    assert pickle.loads(pickle.dumps(plan)).sources == plan.sources


@pytest.mark.parametrize("weights", [False, True])
def test_windows_tiles_and_a_local_folder_give_the_same(archive_server, draw, live, catalogue, weights, tmp_path):
    small = draw(weights)
    with archive_server.serve(small) as server:
        tiles = cut(live(server, "tiles", "one"), catalogue)
        sent, requests = server.sent("storage"), server.count("storage")
        windows = cut(live(server, "windows", "two"), catalogue)
        assert not list(tmp_path.glob("one/**/*.fits*"))
    files = list(small.folder.glob("cadc/*/*[gi]_*.fits"))
    assert (requests, sent) == (len(files), sum(path.stat().st_size for path in files))
    assert_same(tiles, windows)
    assert len(windows) == 10
    local = {}
    for (band, row), (name, _) in tiles.items():
        folder = Access(
            tmp_path / "local", mirror=str(small.folder / "cadc" / "CFHTTERAPIX"), settings=ArchiveSettings()
        )
        source = SourceFile(name.split("/")[1].split("#")[0], band, np.array([row]))
        place = catalogue["ra"][[row]], catalogue["dec"][[row]]
        local[band, row] = (name, next(cfht.open_archive(folder).cut(source, *place)))
    if not weights:
        assert_same(tiles, local)
        assert all(np.isnan(piece.sky_sigma) for _, piece in tiles.values())
    edge = tiles["g", 1][1].cutout.image
    assert np.isnan(edge).any()
    assert np.isnan(edge).all(axis=1).sum() in (64, 65)  # its row 3.2 in the middle, of 136


def test_weights_give_the_noise_of_each_cutout_and_no_pixel_where_they_are_zero(archive_server, draw, live, catalogue):
    with archive_server.serve(draw(True)) as server:
        found = cut(live(server, "windows"), catalogue)
    for band in BANDS:
        noise = {row: found[band, row][1].sky_sigma for row in range(5)}
        assert_allclose(noise[3], 1e-3, rtol=0.2)  # drawn with one count, left of column 150
        assert_allclose(noise[1], 2 * noise[3], rtol=1e-6)  # a quarter of the weight
        middle = found[band, 0][1].cutout.image
        assert np.isnan(middle[66:72, 64:72]).sum() == 9
    assert np.isnan(found["g", 2][1].cutout.image[:, :2]).all()  # these are 8 and 9 of the stack, and weigh nothing


def test_noise_is_measured_and_no_weight_map_asked_for_where_the_user_wants_it(archive_server, draw, live, catalogue):
    with archive_server.serve(draw(True)) as server:
        archive = live(server, "windows", cadc_weights=0)
        plan = archive.plan(catalogue, BANDS, RUN)
        both = live(server, "windows").plan(catalogue, BANDS, RUN)
        before = len(server.log)
        found = cut(archive, catalogue)
        assert not any("_weight" in request.path for request in server.log[before:])
    assert all(np.isnan(piece.sky_sigma) for _, piece in found.values())
    assert np.isfinite(found["i", 0][1].cutout.image).all()
    assert sum(source.bytes for source in plan.sources) < sum(source.bytes for source in both.sources) / 2
    assert not any("weight" in note for note in plan.notes)
    assert archive.facts()["weights"] == "no"


def test_the_noise_does_not_depend_on_what_else_is_cut(archive_server, draw, live, catalogue):
    with archive_server.serve(draw(True)) as server:
        together = cut(live(server, "windows", "one"), catalogue)
        alone = cut(live(server, "windows", "two"), catalogue[3:4])
        again = live(server, "windows", "one")
        before = server.count("storage")
        cut(again, catalogue[3:4])
        assert server.count("storage") - before == 2 * (2 + 2)  # header and windows of stack and weights: no samples
    assert alone["i", 0][1].sky_sigma == together["i", 3][1].sky_sigma


def test_both_ways_are_said_with_their_cost_and_the_shorter_is_taken(archive_server, draw, live, catalogue, known_sky):
    few, many = catalogue[:1], known_sky.catalogue([(150.0, 2.0)] * 400)
    with archive_server.serve(draw(False)) as server:
        archive = live(server, "auto", bandwidth=0.05)
        plans = {len(table): archive.plan(table, BANDS, RUN) for table in (few, many)}
        forced = live(server, "tiles").plan(few, BANDS, RUN)
        sent = server.sent("storage")
        cut(archive, few)
        assert server.sent("storage") - sent < plans[1].sources[0].bytes * 2 + 400_000  # two windows are measured first
    assert "CFHTLS: 211 kB in 4 requests as windows, 778 kB in 2 requests as whole tiles: windows" in plans[1].notes
    assert "CFHTLS: 66.1 MB in 10 requests as windows, 778 kB in 2 requests as whole tiles: tiles" in plans[400].notes
    assert "CFHTLS: 211 kB in 4 requests as windows, 778 kB in 2 requests as whole tiles: tiles" in forced.notes
    assert [(source.bytes, source.requests) for source in plans[400].sources] == [(388_800, 1)] * 2


def test_a_way_that_there_is_not_is_refused(archive_server, draw, live, catalogue):
    with archive_server.serve(draw(False)) as server, pytest.raises(ValueError, match="auto, windows or tiles"):
        live(server, "swarp").plan(catalogue, BANDS, RUN)


def test_weights_of_another_shape_are_refused(archive_server, draw, live, catalogue):
    with archive_server.serve(draw(True)) as server:
        archive = live(server, "tiles")
        source = archive.plan(catalogue, BANDS, RUN).sources[0]
        stack = source.key.stack
        small = stack._replace(weight=stack.image._replace(name="small.fits", size=5760, md5=""))
        path = server.archive.folder / "cadc" / "CFHTTERAPIX" / "small.fits"
        fits.PrimaryHDU(np.ones((5, 5), np.float32)).writeto(path, overwrite=True)
        with pytest.raises(ArchiveError, match=r"small.fits has another shape than .*_T0007_MEDIAN.fits"):
            next(archive.cut(replace(source, key=source.key._replace(stack=small)), [150.0], [2.0]))
        path.unlink()


def test_a_band_that_the_roster_lacks_is_refused(archive_server, draw, live, catalogue):
    with (
        archive_server.serve(draw(False)) as server,
        pytest.raises(ArchiveError, match=r"the list of .* has no CFHTLS image of band u; pass --bands gi"),
    ):
        live(server).plan(catalogue, ("u", "g"), RUN)


FAULTS = {
    "tiles": ["truncate", "bit_flip", "wrong_length", "503", "expired_token", "html", "reset"],
    "windows": ["truncate", "clipped", "no_content", "503", "expired_token", "html", "wrong_length"],
}


@pytest.mark.parametrize("how", FAULTS)
def test_faults_that_pass_change_nothing(archive_server, draw, live, catalogue, how):
    small = draw(True)
    with archive_server.serve(small) as server:
        right = cut(live(server, how, "right"), catalogue)
    faults = [archive_server.Fault(kind, "minoc", after=number, wait="0") for number, kind in enumerate(FAULTS[how])]
    with archive_server.serve(small, faults=faults) as server:
        assert_same(right, cut(live(server, how, "spoilt"), catalogue))
        assert not server.faults.left()


@pytest.mark.parametrize(
    ("how", "match", "kind"),
    [
        ("tiles", "MEDIAN.fits", "404"),
        ("tiles", "weight", "404"),
        ("tiles", "MEDIAN.fits", "bit_flip"),  # of which a window says nothing: it has no checksum
        ("windows", "MEDIAN.fits", "404"),
        ("windows", "weight", "404"),
    ],
)
def test_a_stack_that_stays_away_is_named_by_its_url(archive_server, draw, live, catalogue, how, match, kind):
    fault = archive_server.Fault(kind, f"_g_100000.*{match}", times=-1)
    with archive_server.serve(draw(True), faults=[fault]) as server:
        archive = live(server, how)
        source = archive.plan(catalogue, BANDS, RUN).sources[0]
        error = AwayError if kind == "404" else ArchiveError  # what the roster lists is there, if not now
        with pytest.raises(error, match=rf"_g_100000.*{match}") as raised:
            list(archive.cut(source, catalogue["ra"][source.rows], catalogue["dec"][source.rows]))
    assert raised.value.url.startswith(f"{server.root}/west/raven/files/cadc:CFHTTERAPIX/CFHTLS_W_g_100000%2B020000")
    assert "minoc" not in f"{raised.value} {raised.value.url}"  # where it was sent, with a token that ends


@pytest.mark.parametrize("how", ["tiles", "windows"])
@pytest.mark.parametrize("place", ["^/raven", "^/data/pub", "^/uv/", "^/cadc/"])
def test_every_address_of_the_cadcs_files_will_do(archive_server, draw, live, catalogue, how, place):
    names = ["^/west", "^/raven", "^/data/pub", "^/uv/", "^/cadc/"]
    faults = [archive_server.Fault(kind, name, times=-1) for kind, name in
              zip(["404", "500", "403", "503", "reset"], names, strict=True) if name != place]  # fmt: skip
    with archive_server.serve(draw(False)) as server:
        right = cut(live(server, how, "right"), catalogue)
    with archive_server.serve(draw(False), faults=faults) as server:
        assert_same(right, cut(live(server, how, "other"), catalogue))
        first = [request.path for request in server.log if request.route in ("raven", "pub", "storage")][:5]
        assert [re.sub(r"^(/[a-z]+).*", r"\1", path) for path in first[: names.index(place) + 1]] == [
            re.sub(r"[\^]|/$|/pub", "", name) for name in names[: names.index(place) + 1]
        ]
        assert server.count("raven", "^/west") == 1  # what works is remembered


def test_auto_measures_the_first_windows_and_changes_its_mind_aloud(
    archive_server, draw, live, catalogue, caplog, monkeypatch
):
    few, times = catalogue[[0, 3]], iter([1.0, 31.0])  # seconds of a request of one window, and of two
    monkeypatch.setattr(stacks, "_timed", lambda work: (work(), next(times))[1])
    with archive_server.serve(draw(False)) as server:
        right = cut(live(server, "tiles", "right"), few)
    with archive_server.serve(draw(False)) as server:
        archive = live(server, "auto", bandwidth=0.05)
        assert {source.key.way for source in archive.plan(few, BANDS, RUN).sources} == {"windows"}
        assert_same(right, cut(archive, few))
        assert sum(request.path.count("SUB=") for request in server.requests("raven")) == 1 + 1 + 2  # of one stack
        whole = [request for request in server.requests("storage") if "range" not in request.headers]
        assert len([request for request in whole if "SUB=" not in request.path]) == len(BANDS)
    said = [record.getMessage() for record in caplog.records if "is fetched as a whole tile" in record.getMessage()]
    assert len(said) == 1
    assert "windows of the CADC take 30 s each, and a request 0 s; 0.05 s and 2 s were assumed" in said[0]


def test_auto_takes_tiles_where_windows_are_not_the_bytes_of_the_file(
    archive_server, draw, live, catalogue, monkeypatch
):
    storage = sys.modules["archive_storage"]
    inner = storage._window
    monkeypatch.setattr(storage, "_window", lambda *how: (inner(*how)[0][::-1], inner(*how)[1]))
    with archive_server.serve(draw(False)) as server:
        right = cut(live(server, "tiles", "right"), catalogue)
        assert_same(right, cut(live(server, "auto", "other"), catalogue))


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"FILTER": "i.MP9702"}, "has FILTER 'i.MP9702'; the list of the CADC says i.MP9701"),
        ({"FILTER": "y.MP9701"}, "has FILTER 'y.MP9701'; the list of the CADC says i.MP9701"),
        ({"FILTER": "r.MP9601"}, "has FILTER 'r.MP9601'; the list of the CADC says i.MP9701"),
        ({"MZP_AB": "thirty"}, "MZP_AB = 'thirty'"),
        ({"CRVAL1": 150.2}, "does not lie where the list of the CADC has it"),
    ],
)
@pytest.mark.parametrize("how", ["tiles", "windows"])
def test_a_stack_that_is_not_that_of_the_roster_is_refused(
    archive_server, known_sky, live, tmp_path, how, header, message
):
    name = "cadc/CFHTTERAPIX/CFHTLS_W_i_100000+020000_T0007_MEDIAN.fits"
    known_sky.write_stack(tmp_path / "archive", "i", [], name=name)
    catalogue = known_sky.catalogue([(150.0, 2.0)])
    with archive_server.serve(tmp_path / "archive") as server:
        archive = live(server, how)
        (source,) = archive.plan(catalogue, ("i",), RUN).sources
        path = known_sky.write_stack(tmp_path / "archive", "i", [], name=name, header=header)
        stack = source.key.stack
        image = stack.image._replace(size=path.stat().st_size, md5="")
        source = replace(source, key=source.key._replace(stack=stack._replace(image=image)))
        with pytest.raises(ArchiveError, match=message) as raised:
            list(archive.cut(source, catalogue["ra"], catalogue["dec"]))
    assert raised.value.url.endswith("_T0007_MEDIAN.fits")


def test_the_new_i_filter_may_be_called_y_in_a_header(archive_server, known_sky, live, tmp_path):
    name = "cadc/CFHTTERAPIX/CFHTLS_W_y_100000+020000_T0007_MEDIAN.fits"
    known_sky.write_stack(tmp_path / "archive", "i", [], name=name, header={"FILTER": "i.MP9702"})
    catalogue = known_sky.catalogue([(150.0, 2.0)])
    with archive_server.serve(tmp_path / "archive") as server:
        archive = live(server, "windows")
        (source,) = archive.plan(catalogue, ("i",), RUN).sources
        known_sky.write_stack(tmp_path / "archive", "i", [], name=name, header={"FILTER": "y.MP9702"})
        (piece,) = archive.cut(source, catalogue["ra"], catalogue["dec"])
    assert source.name.endswith("CFHTLS_W_y_100000+020000_T0007_MEDIAN.fits#i.MP9702")
    assert np.isfinite(piece.cutout.image).all()


def test_the_way_is_no_fact_of_the_pixels(tmp_path):
    facts = [
        cfht.open_archive(Access(tmp_path, settings=ArchiveSettings()), CfhtOptions(how)).facts()
        for how in ("auto", "tiles", "windows")
    ]
    assert facts[0] == facts[1] == facts[2] == {
        "archive": "CADC",
        "stacks": "CFHTTERAPIX T0007 CFHTLS_W_%",
        "calibration": "survey_tools.archives.cfht.archive.calibrate('MZP_AB')",
        "weights": "where the CADC has them",
    }  # fmt: skip
    archive = cfht.open_archive(Access(tmp_path, settings=ArchiveSettings()))
    assert isinstance(pickle.loads(pickle.dumps(archive)), Stacks)
    assert archive.survey is CFHT
    assert archive.neighbours(None, {}, RUN) == []
