import gzip
import pickle
import warnings
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS, FITSFixedWarning
from numpy.testing import assert_allclose, assert_array_equal

from survey_tools.archives import fits_files
from survey_tools.archives import tiles as tiles_module
from survey_tools.archives.cfht import archive as cfht
from survey_tools.archives.download.mirror import Mirror
from survey_tools.archives.plan import Access, SourceFile
from survey_tools.archives.tiles import Calibration, Tiles
from survey_tools.errors import ArchiveError
from survey_tools.fits.calibration import Given
from survey_tools.fits.reading import header_number
from survey_tools.surveys import CFHT
from survey_tools.tasks import Engine

HERE = [(150.0, 2.0)]
RUN = Engine().run


def calibrate(name, header):
    """As a user writes one."""
    return Calibration(header_number(name, header, "MZP_AB", 30.0), header_number(name, header, "SATURATE", np.inf))


@pytest.fixture
def galaxy(known_sky):
    return known_sky.Galaxy(*known_sky.position(known_sky.stack_wcs(), 150.3, 141.9), flux=40.0)


@pytest.fixture
def tiles(tmp_path):
    return Tiles(CFHT, Mirror(str(tmp_path), tmp_path / "cache"), calibrate)


def cut(tiles, name, *positions, band="r"):
    ra, dec = np.array(positions, float).T
    return list(tiles.cut(SourceFile(name, band, np.arange(len(ra))), ra, dec))


def cut_one(tiles, name, position, band="r"):
    return cut(tiles, name, position, band=band)[0]


def where(galaxy):
    return galaxy.ra, galaxy.dec


def test_a_window_has_the_flux_and_the_exact_pixels_and_sky_of_the_tile(tiles, known_sky, galaxy):
    known_sky.write_stack(tiles.mirror.root, "r", [galaxy], noise=1e-6)
    piece = cut_one(tiles, "stack_r.fits", where(galaxy))
    image, wcs = piece.cutout.image, piece.cutout.wcs
    assert image.shape == (136, 136)
    assert image.dtype == np.float32
    assert_allclose(image.sum(), galaxy.flux, rtol=0.005)
    row, col = known_sky.centroid(image)
    assert_allclose(wcs.wcs_world2pix([where(galaxy)], 0)[0], (col, row), atol=0.05)
    assert_allclose((row, col), (67.5, 67.5), atol=0.55)
    whole = known_sky.draw(known_sky.stack_wcs(), known_sky.STACK_SHAPE, [known_sky.Galaxy(*where(galaxy), 40e3)])
    first = 150 - 67, 142 - 68
    assert_allclose(image, whole[first[0] : first[0] + 136, first[1] : first[1] + 136] / 1000, rtol=1e-5, atol=1e-7)
    assert piece.zero_point == 30.0
    assert np.isnan([piece.psf_fwhm, piece.sky_sigma, piece.gain]).all()
    assert piece.psf_source == ""  # one source is no crowd of stars


@pytest.mark.parametrize("size", [135, 136])
def test_windows_keep_pixels_and_sky_and_have_gaps_beyond_the_edge(tiles, known_sky, size):
    tiles = replace(tiles, survey=replace(CFHT, cutout_size=size))
    known_sky.write_stack(tiles.mirror.root, "r", [])
    wcs = fits_files.describe(CFHT, tiles.mirror, "stack_r.fits")[0].wcs
    rng = np.random.default_rng(1)
    places = [known_sky.position(wcs, *place) for place in rng.uniform((-90, -90), (410, 390), (40, 2))]
    counts = known_sky.draw(wcs, known_sky.STACK_SHAPE, [], 1.0, ord("r")) * 10 ** (0.4 * -7.5)
    around = np.pad(counts, 200, constant_values=np.nan)
    for place, piece in zip(places, cut(tiles, "stack_r.fits", *places), strict=True):
        part = piece.cutout.wcs
        assert (abs(part.wcs_world2pix([place], 0) - (size - 1) / 2) <= 0.5 + 1e-9).all()
        col, row = shift = np.round(wcs.wcs.crpix - part.wcs.crpix).astype(int)
        here = np.s_[row + 200 : row + 200 + size, col + 200 : col + 200 + size]
        assert_array_equal(piece.cutout.image, around[here].astype(np.float32))
        assert_allclose(part.wcs_pix2world([[0, 0]], 0), wcs.wcs_pix2world([shift], 0), rtol=0, atol=1e-12)


def test_a_window_on_the_far_side_of_the_sky_is_refused(tiles, known_sky):
    known_sky.write_stack(tiles.mirror.root, "r", [])
    with pytest.raises(ValueError, match="tangent plane"):
        cut_one(tiles, "stack_r.fits", (330.0, -2.0))


def test_the_stars_of_a_tile_give_its_seeing_once_where_its_header_does_not(tiles, known_sky, monkeypatch):
    at, rng = known_sky.stack_wcs(), np.random.default_rng(3)
    places = [(row, col) for row in (40, 110, 180, 250) for col in (40, 110, 180, 250)]
    stars = [
        known_sky.Galaxy(*known_sky.position(at, *(place + rng.uniform(-1, 1, 2))), sigma=0.4, flux=20.0)
        for place in places
    ]
    known_sky.write_stack(tiles.mirror.root, "r", stars)
    measured, inner = [], tiles_module.star_fwhm
    monkeypatch.setattr(tiles_module, "star_fwhm", lambda *args: measured.append(inner(*args)) or measured[-1])
    found = cut(tiles, "stack_r.fits", *HERE * 5)
    assert len(measured) == 1
    assert_allclose([piece.psf_fwhm for piece in found], 2.3548 * 0.4, rtol=0.03)
    assert {piece.psf_source for piece in found} == {"stars"}
    stated = replace(tiles, calibrate=lambda name, header: Calibration(30.0, psf_fwhm=0.7, gain=40.0))
    piece = cut_one(stated, "stack_r.fits", HERE[0])
    assert (piece.psf_fwhm, piece.psf_source) == (0.7, "header")
    assert_allclose(piece.gain, 40e3)
    assert len(measured) == 1


def test_pieces_come_one_by_one(tiles, known_sky, monkeypatch):
    known_sky.write_stack(tiles.mirror.root, "r", [])
    tiles = replace(tiles, calibrate=lambda name, header: Calibration(30.0, psf_fwhm=0.7))
    read = []
    pixels = fits_files.FitsPixels
    inner = pixels.__getitem__
    monkeypatch.setattr(pixels, "__getitem__", lambda self, part: read.append(inner(self, part)) or read[-1])
    pieces = tiles.cut(SourceFile("stack_r.fits", "r", np.arange(3)), *np.array(HERE * 3).T)
    for number in (1, 2, 3):
        next(pieces)
        assert [part.shape for part in read if part.shape == (136, 136)] == [(136, 136)] * number


@pytest.mark.parametrize("name", ["b.fits.fz", "c.fits.gz", "d.fits.bz2"])
def test_a_compressed_tile_gives_the_same_as_a_plain_one(tiles, known_sky, galaxy, name):
    places = [where(galaxy), known_sky.position(known_sky.stack_wcs(), 20.0, 290.0)]
    for each in ("a.fits", name):
        known_sky.write_stack(tiles.mirror.root, "r", [galaxy], name=each)
    for plain, packed in zip(cut(tiles, "a.fits", *places), cut(tiles, name, *places), strict=True):
        assert_array_equal(plain.cutout.image, packed.cutout.image)
        assert_array_equal(plain.cutout.wcs.wcs.crpix, packed.cutout.wcs.wcs.crpix)


def test_missing_pixels_are_nan_and_saturated_ones_flagged(tiles, known_sky, galaxy):
    def edit(image):
        image[100:110, 130:150] = 0.0
        image[180, 140] = np.nan

    known_sky.write_stack(tiles.mirror.root, "r", [galaxy], edit=edit, header={"SATURATE": 100.0})
    piece = cut_one(tiles, "stack_r.fits", where(galaxy))
    assert np.isnan(piece.cutout.image).sum() == 201
    assert_array_equal(piece.cutout.saturated, np.nan_to_num(piece.cutout.image) >= 0.1)
    assert piece.cutout.saturated.any()
    zeros_count = replace(tiles, survey=replace(CFHT, no_data=None))
    assert np.isnan(cut_one(zeros_count, "stack_r.fits", where(galaxy)).cutout.image).sum() == 1


def test_an_object_at_the_edge_has_gaps_there(tiles, known_sky):
    known_sky.write_stack(tiles.mirror.root, "r", [])
    image = cut_one(tiles, "stack_r.fits", known_sky.position(known_sky.stack_wcs(), 20.0, 150.0)).cutout.image
    assert_allclose(np.isnan(image).mean(), 48 / 136, atol=1 / 136)
    assert np.isnan(image[:47]).all()


def test_bands_of_one_grid_form_a_pointing_and_the_farthest_from_the_edge_is_taken(tiles, known_sky):
    for offset, folder in ((0.0, "west"), (0.008, "east")):
        for band in "gr":
            wcs = known_sky.stack_wcs(150.0 + offset, 2.0)
            known_sky.write_stack(tiles.mirror.root, band, [], name=f"{folder}/{band}.fits", wcs=wcs)
    positions = [(150.0035, 2.0), (150.0045, 2.0), (149.995, 2.0), (150.013, 2.0), (150.0, 2.5)]
    plan = tiles.plan(known_sky.catalogue(positions), ("g", "r"), Engine(2).run)
    assert [(source.name, source.rows.tolist()) for source in plan.sources] == [
        ("east/g.fits", [1, 3]),
        ("east/r.fits", [1, 3]),
        ("west/g.fits", [0, 2]),
        ("west/r.fits", [0, 2]),
    ]
    assert tiles.neighbours(plan, {}, RUN) == []


def test_a_pointing_with_more_of_the_bands_is_preferred(tiles, known_sky):
    for offset, bands in ((0.0, "gr"), (0.004, "r")):
        for band in bands:
            wcs = known_sky.stack_wcs(150.0 + offset, 2.0)
            known_sky.write_stack(tiles.mirror.root, band, [], name=f"{bands}_{band}.fits", wcs=wcs)
    catalogue = known_sky.catalogue([(150.004, 2.0), (150.011, 2.0)])
    rows = {source.name: source.rows.tolist() for source in tiles.plan(catalogue, ("g", "r"), RUN).sources}
    assert rows == {"gr_g.fits": [0], "gr_r.fits": [0], "r_r.fits": [1]}
    rows = {source.name: source.rows.tolist() for source in tiles.plan(catalogue, ("r",), RUN).sources}
    assert rows == {"r_r.fits": [0, 1]}


def test_files_are_told_by_filter_and_grid_and_never_by_name(tiles, known_sky, caplog):
    known_sky.write_stack(tiles.mirror.root, "r", [], name="x_g.fits")
    known_sky.write_stack(tiles.mirror.root, "i", [], name="y_r.fits.fz", header={"FILTER": "i.MP9702"})
    known_sky.write_stack(tiles.mirror.root, "r", [], name="x_g_weight.fits")
    known_sky.write_frame(tiles.mirror.root, "r", [])
    plan = tiles.plan(known_sky.catalogue(HERE), ("r", "i"), RUN)
    assert [(source.name, source.band) for source in plan.sources] == [("x_g.fits", "r"), ("y_r.fits.fz", "i")]
    assert "x_g_weight.fits is left out" in caplog.text


def test_a_band_that_no_tile_has_is_refused_with_the_remedy(tiles, known_sky):
    for band in "gri":
        known_sky.write_stack(tiles.mirror.root, band, [])
    with pytest.raises(ArchiveError, match=r"has no CFHTLS image of band u, z; pass --bands gri"):
        tiles.plan(known_sky.catalogue(HERE), tuple("ugriz"), RUN)


def test_a_survey_that_wants_resampled_cutouts_is_refused(tiles, known_sky):
    with pytest.raises(ValueError, match="north_up=False"):
        replace(tiles, survey=replace(CFHT, north_up=True)).plan(known_sky.catalogue(HERE), ("r",), RUN)


def spoil_tiles(path):
    content = bytearray(path.read_bytes())
    content[180_000:180_400] = bytes(400)
    path.write_bytes(content)


DAMAGE = {
    "truncated": (
        "r.fits",
        lambda path: path.write_bytes(path.read_bytes()[:200_000]),
        "is truncated: it has 200000 of",
    ),
    "truncated fz": (
        "r.fits.fz",
        lambda path: path.write_bytes(path.read_bytes()[:90_000]),
        "is truncated: it has 90000 of",
    ),
    "damaged fz": ("r.fits.fz", spoil_tiles, "cannot be read"),
    "empty": ("r.fits", lambda path: path.write_bytes(b""), "is empty"),
    "endless": (
        "r.fits",
        lambda path: path.write_bytes(path.read_bytes().replace(b"END     ", b"ENX     ") + bytes(2_000_000)),
        "is truncated: its header has no end",
    ),
    "negative": (
        "r.fits",
        lambda path: path.write_bytes(path.read_bytes().replace(b"NAXIS2  =           ", b"NAXIS2  =          -", 1)),
        "cannot be read: its header states",
    ),
    "text": (
        "r.fits",
        lambda path: path.write_bytes(b"SIMPLE  =" + bytes(9000)),
        "is truncated: its header has no end",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_tile_is_named(tiles, known_sky, galaxy, damage):
    name, spoil, message = DAMAGE[damage]
    spoil(known_sky.write_stack(tiles.mirror.root, "r", [galaxy], name=name))
    with pytest.raises(ArchiveError, match=rf"{name} {message}"):
        cut_one(tiles, name, where(galaxy))


@pytest.mark.parametrize("card", [b"FILTER  = 'r.MP9601", b"CRPIX1  = ", b"NAXIS1  = "])
def test_a_card_that_cannot_be_read_makes_the_file_unreadable_and_ends_no_scan(tiles, known_sky, card):
    path = known_sky.write_stack(tiles.mirror.root, "r", [])
    content = path.read_bytes()
    at = content.index(card) + len(card)
    path.write_bytes(content[:at] + b"0 x." + content[at + 4 :])
    (found,) = fits_files.describe(CFHT, tiles.mirror, path.name)
    assert isinstance(found, fits_files.Unreadable)
    assert "Unparsable card" in found.reason


def test_a_tile_that_is_cut_short_while_it_is_read_is_named(tiles, known_sky, galaxy):
    path = known_sky.write_stack(tiles.mirror.root, "r", [galaxy])
    pieces = tiles.cut(SourceFile(path.name, "r", np.arange(2)), *np.array([where(galaxy)] * 2).T)
    next(pieces)
    with path.open("r+b") as file:
        file.truncate(150_000)
    with pytest.raises(ArchiveError, match=r"stack_r.fits cannot be read: the file ends early"):
        next(pieces)


SIP = {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "A_ORDER": 2, "B_ORDER": 2, "A_2_0": 1e-5}
SCAMP = {"PV1_0": 0.001, "PV1_1": 1.0, "PV1_4": 3.0, "PV1_7": 0.0, "PV2_0": 0.001, "PV2_1": 1.0}
FRAMES = {
    "FK5 of date": {"RADECSYS": "FK5", "EQUINOX": 2003.5},
    "B1950": {"RADECSYS": "FK4", "EQUINOX": 1950.0},
    "Galactic": {"CTYPE1": "GLON-TAN", "CTYPE2": "GLAT-TAN", "RADECSYS": None},
    "declination first": {"CTYPE1": "DEC--TAN", "CTYPE2": "RA---TAN", "CRVAL1": 1.95, "CRVAL2": 150.1},
    "a turned pole": {"LONPOLE": 170.0},
    "orthographic": {"CTYPE1": "RA---SIN", "CTYPE2": "DEC--SIN"},
}


@pytest.mark.parametrize("name", FRAMES)
def test_objects_are_found_and_cut_where_they_are_whatever_the_coordinates_of_a_tile(tiles, known_sky, name):
    """The galaxy lies on pixel (180, 140) from 0; where that is on the sky, astropy says."""
    plain = known_sky.Galaxy(*known_sky.position(known_sky.stack_wcs(), 140.0, 180.0), flux=40.0)
    path = known_sky.write_stack(tiles.mirror.root, "r", [plain], noise=1e-6, header=FRAMES[name])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FITSFixedWarning)
        place = WCS(fits.getheader(path)).pixel_to_world(180.0, 140.0).icrs
    at = place.ra.deg, place.dec.deg
    (source,) = tiles.plan(known_sky.catalogue([at]), ("r",), RUN).sources
    assert source.rows.tolist() == [0]
    piece = cut_one(tiles, "stack_r.fits", at)
    row, col = known_sky.centroid(piece.cutout.image)
    assert_allclose((row, col), (67.5, 67.5), atol=0.6)
    assert place.separation(piece.cutout.wcs.pixel_to_world(col, row)).arcsec < 0.01 * 0.186


def test_a_distorted_tile_is_left_out_of_the_plan_with_the_reason(tiles, known_sky, galaxy):
    known_sky.write_stack(tiles.mirror.root, "r", [galaxy], name="plain.fits")
    known_sky.write_stack(tiles.mirror.root, "g", [galaxy], name="bent.fits", header=SCAMP)
    plan = tiles.plan(known_sky.catalogue([where(galaxy)]), ("g", "r"), RUN)
    assert [source.name for source in plan.sources] == ["plain.fits"]
    (bent,) = plan.unreadable
    assert (bent.name, bent.band) == ("bent.fits", "g")
    assert "bent.fits has a WCS (RA---TAN, DEC--TAN, icrs) whose projection or distortions differ" in bent.reason


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"CTYPE1": None, "CTYPE2": None}, "no celestial WCS"),
        (SIP, "whose projection or distortions differ from a plain TAN grid by .* pixels; resample it"),
        (SCAMP, "whose projection or distortions differ from a plain TAN grid by .* pixels; resample it"),
        ({"RADECSYS": "GAPPT"}, "a WCS that cannot be used: coordinates RA---TAN, DEC--TAN with RADESYS = 'GAPPT'"),
        ({"CD1_1": -0.25 / 3600, "CD2_2": 0.25 / 3600}, 'pixels of 0.25", but the row of CFHTLS has 0.186"'),
        ({"MZP_AB": "thirty"}, "MZP_AB = 'thirty'"),
        ({"FILTER": "g.MP9401"}, "an image of band g"),
    ],
)
def test_a_tile_with_a_wrong_header_is_refused(tiles, known_sky, galaxy, header, message):
    known_sky.write_stack(tiles.mirror.root, "r", [galaxy], header=header)
    with pytest.raises(ArchiveError, match=rf"stack_r.fits (has|is) .*{message}|stack_r.fits (has|is) {message}"):
        cut_one(tiles, "stack_r.fits", where(galaxy))


def test_an_fk5_tile_is_put_onto_icrs(tiles, known_sky, galaxy):
    known_sky.write_stack(tiles.mirror.root, "r", [galaxy], noise=1e-6, header={"RADECSYS": "FK5", "EQUINOX": 2000.0})
    piece = cut_one(tiles, "stack_r.fits", where(galaxy))
    row, col = known_sky.centroid(piece.cutout.image)
    found = piece.cutout.wcs.pixel_to_world(col, row)
    drawn = SkyCoord(*where(galaxy), unit="deg", frame="fk5")
    assert found.separation(drawn.icrs).arcsec < 0.002
    assert found.separation(SkyCoord(*where(galaxy), unit="deg")).arcsec > 0.01


def test_a_web_server_gives_the_same(tiles, known_sky, galaxy, tmp_path):
    for band, name in (("r", "a+1.fits"), ("g", "b.fits.fz")):
        known_sky.write_stack(tiles.mirror.root, band, [galaxy], name=name)
    catalogue = known_sky.catalogue([where(galaxy)])
    with known_sky.served(tiles.mirror.root) as (url, asked):
        remote = replace(tiles, mirror=Mirror(url, tmp_path / "cache"))
        plan = remote.plan(catalogue, ("g", "r"), RUN)
        assert [source.name for source in plan.sources] == ["a+1.fits", "b.fits.fz"]
        for source in plan.sources:
            there, here = (next(each.cut(source, catalogue["ra"], catalogue["dec"])) for each in (remote, tiles))
            assert_array_equal(there.cutout.image, here.cutout.image)
    assert asked.count("/a%2B1.fits") == 2  # its headers, then the whole
    assert [path for path in (tmp_path / "cache").rglob("*.fits*") if path.is_file()] == []


def test_what_the_pixels_depend_on_is_said_and_travels(tiles):
    facts = {"mirror": tiles.mirror.root, "calibration": f"{__name__}.calibrate"}
    assert tiles.facts() == facts
    assert replace(tiles, calibrate=partial(calibrate, "x")).facts()["calibration"] == f"{__name__}.calibrate('x')"
    known = replace(tiles, calibrate=header_number)  # of a module that can be imported
    assert pickle.loads(pickle.dumps(known)) == known


def test_a_stack_that_is_there_packed_and_unpacked_and_without_noise_is_cut_once(tiles, known_sky, caplog):
    for name in ("stack.fits", "stack.fits.fz", "truth/stack.fits", "copies/again/stack.fits"):
        known_sky.write_stack(tiles.mirror.root, "r", [], name=name)
    plan = tiles.plan(known_sky.catalogue(HERE), ("r",), RUN)
    assert [source.name for source in plan.sources] == ["stack.fits"]
    assert [record.getMessage() for record in caplog.records] == [
        "stack.fits.fz is left out, because stack.fits shows the same, and 2 more files for the same reason"
    ]


def stack(known_sky, galaxies=(), wcs=None, seed=1, **cards):
    """The pixels and the header of a stack in counts of zero point 30, around `HERE` unless another grid is given."""
    wcs = wcs or known_sky.stack_wcs()
    bright = [known_sky.Galaxy(each.ra, each.dec, 1000 * each.flux, each.sigma) for each in galaxies]
    header = wcs.to_header(relax=False)
    header.update({"FILTER": "r.MP9601", "MZP_AB": 30.0} | cards)
    return known_sky.draw(wcs, known_sky.STACK_SHAPE, bright, 1.0, seed), header


def flux_of(piece):
    return float(np.nansum(piece.cutout.image))


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_each_chip_of_a_mosaic_is_a_tile_with_its_own_zero_point(tmp_path, known_sky, pack):
    archive = cfht.open_archive(Access(tmp_path / "work", mirror=str(tmp_path / "sky")))
    places = [(150.0, 2.0), (150.1, 2.0), (150.2, 2.0)]
    hdus = [fits.PrimaryHDU(header=fits.Header({"FILTER": "r.MP9601"}))]
    for number, place in enumerate(places):
        grid = known_sky.stack_wcs(*place)
        galaxy = known_sky.Galaxy(*known_sky.position(grid, 160, 150), 50.0)
        pixels, header = stack(known_sky, [galaxy], grid, number, MZP_AB=30.0 - number)
        del header["FILTER"]
        hdus.append(fits.ImageHDU(pixels, header, name=f"ccd{number:02}"))
        hdus.append(fits.ImageHDU(np.ones_like(pixels), header, name=f"ccd{number:02}_weight"))
    name = "mosaic.fits" if pack is bytes else "mosaic.fits.gz"
    (tmp_path / "sky").mkdir()
    fits.HDUList(hdus).writeto(tmp_path / "plain")
    (tmp_path / "sky" / name).write_bytes(pack((tmp_path / "plain").read_bytes()))
    plan = archive.plan(known_sky.catalogue(places), ("r",), RUN)
    assert [(each.name, each.rows.tolist()) for each in plan.sources] == [
        (f"{name}[{hdu}]", [row]) for row, hdu in enumerate((1, 3, 5))
    ]
    for row, source in enumerate(plan.sources):
        piece = next(archive.cut(source, *np.array([places[row]]).T))
        assert piece.zero_point == 30.0 - row
        assert_allclose(flux_of(piece), 50.0 * 10 ** (0.4 * row), rtol=0.02)


def test_a_web_server_s_mosaic_is_no_silent_single_image(tmp_path, known_sky):
    pixels, header = stack(known_sky)
    primary = fits.PrimaryHDU(header=fits.Header({"NEXTEND": 36}))
    hdus = [primary, *(fits.ImageHDU(np.tile(pixels, (4, 4)), header) for _ in range(3))]
    fits.HDUList(hdus).writeto(tmp_path / "mosaic.fits")
    with known_sky.served(tmp_path) as (url, _):
        (found,) = fits_files.describe(CFHT, Mirror(url, tmp_path / "cache"), "mosaic.fits")
    assert "has 36 extensions, but a web server shows only the first; download it" in found.reason


COMPANIONS = {
    "a name": ("stack_r.weight.fits", {}, np.ones),
    "an EXTNAME": ("a.fits", {"EXTNAME": "WEIGHT"}, np.ones),
    "an OBJECT": ("a.fits", {"OBJECT": "weight"}, np.ones),
    "a type": ("a.fits", {"IMAGETYP": "mask"}, np.zeros),
    "values that are never below 0": ("a.fits", {}, lambda shape: np.random.default_rng(0).uniform(1, 2, shape)),
}


@pytest.mark.parametrize("kind", COMPANIONS)
def test_companions_are_left_out_with_a_word_though_their_names_come_first(tmp_path, known_sky, caplog, kind):
    name, cards, values = COMPANIONS[kind]
    pixels, header = stack(known_sky, [known_sky.Galaxy(*HERE[0], 50.0)])
    fits.PrimaryHDU(pixels, header).writeto(tmp_path / "stack_r_image.fits")
    header.update(cards)
    fits.PrimaryHDU(values(pixels.shape).astype(np.float32), header).writeto(tmp_path / name)
    archive = cfht.open_archive(Access(tmp_path / "work", mirror=str(tmp_path)))
    plan = archive.plan(known_sky.catalogue(HERE), ("r",), RUN)
    assert [source.name for source in plan.sources] == ["stack_r_image.fits"]
    assert f"{name} is left out" in caplog.text


def test_an_image_that_values_show_to_be_no_sky_fails_its_objects(tiles, tmp_path, known_sky):
    pixels, header = stack(known_sky)
    fits.PrimaryHDU(np.full_like(pixels, 7), header).writeto(tmp_path / "a.fits")
    fits.PrimaryHDU((pixels > 2.5).astype(np.int16), header).writeto(tmp_path / "b.fits")
    for name, words in (("a.fits", "every pixel that was examined is 7"), ("b.fits", "a mask according to its values")):
        with pytest.raises(ArchiveError, match=f"{name} is .*{words}.*; take it out of the folder"):
            cut_one(tiles, name, HERE[0])


def test_an_image_of_three_axes_is_named_and_not_passed_over(tiles, tmp_path, known_sky):
    pixels, header = stack(known_sky)
    fits.PrimaryHDU(np.stack([pixels, pixels]), header).writeto(tmp_path / "cube.fits")
    (found,) = fits_files.describe(CFHT, tiles.mirror, "cube.fits")
    assert "cube.fits has 2 x 320 x 300 pixels, but an image has two axes" in found.reason


@pytest.mark.parametrize("options", [{"quantize_level": 4}, {"quantize_level": 4, "quantize_method": 2}])
def test_zeros_of_a_compressed_stack_and_what_the_manifest_says_of_them(tmp_path, known_sky, options):
    pixels, header = stack(known_sky, [known_sky.Galaxy(*HERE[0], 50.0)])
    pixels[:, 100:103] = 0
    packed = fits.CompImageHDU(pixels, header, compression_type="RICE_1", dither_seed=1, **options)
    (tmp_path / "sky").mkdir()
    fits.HDUList([fits.PrimaryHDU(), packed]).writeto(tmp_path / "sky" / "stack_r.fits.fz")
    store = known_sky.fetch(CFHT, known_sky.catalogue(HERE), tmp_path / "sky", tmp_path / "y.zarr", bands="r")
    reason = store.manifest()["reason"][0]
    if "quantize_method" in options:  # which keeps zeros apart from the noise
        assert_allclose(np.isnan(store.images[0, 0]).mean(), 3 / 136)
        assert reason.endswith("are exactly 0 and no data (by which the survey's files mark it)")
    else:
        assert not np.isnan(store.images[0, 0]).any()
        assert reason.endswith("are exactly 0 and data (the file was compressed without dither)")
    assert reason.count("% of pixels are exactly 0") == 1


@pytest.mark.parametrize(
    ("cards", "given", "zero_point"),
    [
        ({"PHOTZP": 26.5}, Given(), 26.5),
        ({"BUNIT": "nanomaggy"}, Given(), 22.5),
        ({}, Given(zero_point=27.0), 27.0),
        ({}, Given("uJy"), 23.9),
        ({}, Given("counts"), 30.0),
        ({"PHOTZP": 26.5, "MAGZERO": 25.0}, Given(zero_point=25.0), 25.0),
    ],
)
def test_a_stack_s_flux_is_that_of_the_calibration_it_states_or_the_user(tmp_path, known_sky, cards, given, zero_point):
    pixels, header = stack(known_sky, [known_sky.Galaxy(*HERE[0], 50.0)])
    del header["MZP_AB"]
    header.update(cards)
    fits.PrimaryHDU(pixels, header).writeto(tmp_path / "stack_r.fits")
    archive = cfht.open_archive(Access(tmp_path / "work", mirror=str(tmp_path), given=given))
    piece = cut_one(archive, "stack_r.fits", HERE[0])
    assert piece.zero_point == zero_point
    assert_allclose(flux_of(piece), 50.0 * 10 ** (0.4 * (30.0 - zero_point)), rtol=0.02)
    if given:
        assert str(given) in archive.facts()["calibration"]
        silent = cfht.open_archive(Access(tmp_path / "work", mirror=str(tmp_path)))
        with pytest.raises(ArchiveError, match=r"stack_r.fits (has no BUNIT and states no|contradicts itself)"):
            cut_one(silent, "stack_r.fits", HERE[0])
