import bz2

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from numpy.testing import assert_allclose, assert_array_equal

from survey_tools.archives import sdss
from survey_tools.archives.fits_files import describe, open_image
from survey_tools.archives.mirror import Mirror
from survey_tools.archives.plan import Source
from survey_tools.errors import ArchiveError
from survey_tools.surveys import SDSS

BANDS = SDSS.bands


@pytest.fixture
def galaxy(known_sky):
    return known_sky.Galaxy(*known_sky.position(known_sky.frame_wcs(), 108.2, 131.4), flux=300.0)


@pytest.fixture
def mirror(tmp_path):
    return Mirror(str(tmp_path / "mirror"), tmp_path / "cache")


def names(plan):
    return [(source.name.rsplit("/")[-1], source.rows.tolist()) for source in plan.sources]


def test_five_bands_of_one_galaxy_agree_in_flux_and_position(mirror, known_sky, galaxy):
    for band in BANDS:
        known_sky.write_frame(mirror.root, band, [galaxy], noise=0)
    plan = sdss.plan(mirror, known_sky.catalogue([(galaxy.ra, galaxy.dec)]), BANDS, 2)
    assert sorted(source.band for source in plan.sources) == sorted(BANDS)
    for source in plan.sources:
        cuts = sdss.cut(mirror, source, [galaxy.ra], [galaxy.dec])
        image = cuts.cutouts[0].image
        assert image.shape == (64, 64)
        assert_allclose(image.sum(), galaxy.flux, rtol=0.005)
        assert_allclose(known_sky.centroid(image), (31.5, 31.5), atol=0.05)
        assert cuts.zero_point == 22.5
        assert np.isnan(cuts.psf_fwhm)
        assert_allclose(cuts.cutouts[0].wcs.wcs_world2pix([[galaxy.ra, galaxy.dec]], 0), [[31.5, 31.5]], atol=1e-6)


@pytest.mark.parametrize("suffix", [".fits", ".fits.gz", ".fits.bz2", ".fit"])
def test_frames_are_found_by_their_headers_whatever_their_names(mirror, known_sky, galaxy, suffix):
    known_sky.write_frame(mirror.root, "r", [galaxy], name=f"some/where/g{suffix}", noise=0)
    known_sky.write_stack(mirror.root, "r", [galaxy])  # of another survey
    Table({"a": [1]}).write(f"{mirror.root}/table.fits")
    plan = sdss.plan(mirror, known_sky.catalogue([(galaxy.ra, galaxy.dec), (10.0, 10.0)]), ("r",), 2)
    assert names(plan) == [(f"g{suffix}", [0])]
    assert plan.unreadable == []
    cuts = sdss.cut(mirror, plan.sources[0], [galaxy.ra], [galaxy.dec])
    assert_allclose(cuts.cutouts[0].image.sum(), galaxy.flux, rtol=0.005)


def test_named_frames_are_opened_alone_and_a_neighbour_only_for_what_sticks_out(mirror, known_sky):
    wcs = known_sky.frame_wcs("r", 100)
    inside, edge = known_sky.position(wcs, 110, 130), known_sky.position(wcs, 200, 130)
    for field in (99, 100, 101):
        known_sky.write_frame(mirror.root, "r", [], field=field)
    catalogue = known_sky.catalogue([inside, edge], field=100)
    assert names(sdss.plan(mirror, catalogue, ("r",), 2)) == [
        ("frame-r-000094-3-0100.fits.bz2", [0, 1]),
        ("frame-r-000094-3-0101.fits.bz2", [1]),
    ]


def test_a_named_frame_that_is_missing_is_an_error_of_its_objects(mirror, known_sky, galaxy):
    known_sky.write_frame(mirror.root, "g", [galaxy])
    plan = sdss.plan(mirror, known_sky.catalogue([(galaxy.ra, galaxy.dec)], field=100), ("g", "r"), 1)
    assert [source.band for source in plan.sources] == ["g", "r"]
    with pytest.raises(ArchiveError, match=r"frame-r-000094-3-0100\.fits\.bz2 is not in the mirror"):
        sdss.cut(mirror, plan.sources[1], [galaxy.ra], [galaxy.dec])


def test_a_web_server_gives_the_same_cutouts_and_keeps_no_file(mirror, known_sky, galaxy, tmp_path):
    edge = known_sky.position(known_sky.frame_wcs("r", 100), 15, 130)
    for field in (99, 100):
        known_sky.write_frame(mirror.root, "r", [galaxy], field=field)
    catalogue = known_sky.catalogue([(galaxy.ra, galaxy.dec), edge], field=100)
    with known_sky.served(mirror.root) as (url, _):
        remote = Mirror(url, tmp_path / "cache")
        plan = sdss.plan(remote, catalogue, ("r",), 2)
        local = sdss.plan(mirror, catalogue, ("r",), 2)
        assert (
            names(plan)
            == names(local)
            == [
                ("frame-r-000094-3-0099.fits.bz2", [1]),
                ("frame-r-000094-3-0100.fits.bz2", [0, 1]),
            ]
        )
        for here, there in zip(local.sources, plan.sources, strict=True):
            ra, dec = catalogue["ra"][here.rows], catalogue["dec"][here.rows]
            for a, b in zip(
                sdss.cut(mirror, here, ra, dec).cutouts, sdss.cut(remote, there, ra, dec).cutouts, strict=True
            ):
                assert_array_equal(a.image, b.image)
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


def test_a_web_server_is_not_searched(known_sky, tmp_path):
    with known_sky.served(tmp_path) as (url, asked), pytest.raises(ArchiveError, match="run, rerun, camcol"):
        sdss.plan(Mirror(url, tmp_path), known_sky.catalogue([(150.0, 2.0)]), BANDS, 1)
    assert asked == []


def test_a_mirror_without_frames_says_so(mirror, known_sky, tmp_path):
    catalogue = known_sky.catalogue([(150.0, 2.0)])
    with pytest.raises(ArchiveError, match="is not a folder"):
        sdss.plan(mirror, catalogue, BANDS, 1)
    known_sky.write_stack(mirror.root, "r", [])
    with pytest.raises(ArchiveError, match="no SDSS image is in"):
        sdss.plan(mirror, catalogue, BANDS, 1)
    known_sky.write_frame(mirror.root, "g", [])
    with pytest.raises(ArchiveError, match=r"no SDSS image of band r, i is in .*; pass --bands g"):
        sdss.plan(mirror, catalogue, ("g", "r", "i"), 1)


def truncate(path, keep=0.6):
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


DAMAGE = {
    "truncated": (truncate, "cannot be read: .*ended before"),
    "damaged": (flip, "cannot be read"),
    "empty": (lambda path: path.write_bytes(b""), "is empty"),
    "HTML": (lambda path: path.write_bytes(b"<html>503</html>"), "is not FITS"),
    "bz2 of half a frame": (
        lambda path: path.write_bytes(bz2.compress(bz2.decompress(path.read_bytes())[:100_000])),
        "is truncated: 100000 of",
    ),
    "half a header": (
        lambda path: path.write_bytes(bz2.compress(bz2.decompress(path.read_bytes())[:1000])),
        "its header has no end",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("named", [True, False])
def test_a_damaged_file_is_named(mirror, known_sky, galaxy, damage, named):
    path = known_sky.write_frame(mirror.root, "r", [galaxy])
    spoil, message = DAMAGE[damage]
    spoil(path)
    source = Source(str(path.relative_to(mirror.root)), "r", np.array([0]), (94, 301, 3, 100, "r") if named else None)
    with pytest.raises(ArchiveError, match=rf"frame-r-000094-3-0100\.fits\.bz2 .*{message[:60]}"):
        sdss.cut(mirror, source, [galaxy.ra], [galaxy.dec])


HEADERS = {
    "no WCS": ({"CTYPE1": None, "CTYPE2": None}, "no celestial WCS"),
    "singular WCS": ({"CD1_1": 0.0, "CD1_2": 0.0}, "WCS that cannot be used"),
    "counts": ({"BUNIT": "adu"}, "BUNIT 'adu'"),
    "no unit": ({"BUNIT": None}, "BUNIT ''"),
    "another band": ({"FILTER": "g"}, "image of band g"),
    "no such band": ({"FILTER": "H"}, "FILTER 'H'"),
    "another field": ({"FRAME": 104}, r"run, camcol, field \(94, 3, 104\)"),
    "a saturation in words": ({"SATURATE": "high"}, "SATURATE = 'high'"),
}


@pytest.mark.parametrize("kind", HEADERS)
def test_a_frame_with_a_wrong_header_is_refused(mirror, known_sky, galaxy, kind):
    header, message = HEADERS[kind]
    known_sky.write_frame(mirror.root, "r", [galaxy], header=header)
    plan = sdss.plan(mirror, known_sky.catalogue([(galaxy.ra, galaxy.dec)], field=100), ("r",), 1)
    with pytest.raises(ArchiveError, match=rf"frame-r-000094-3-0100.*{message}"):
        sdss.cut(mirror, plan.sources[0], [galaxy.ra], [galaxy.dec])


def test_saturated_and_missing_pixels_are_told_apart(mirror, known_sky, galaxy):
    def edit(image):
        image[100:104, 120:124] = np.nan

    path = known_sky.write_frame(mirror.root, "r", [galaxy], edit=edit, header={"SATURATE": 10.0})
    source = Source(str(path.relative_to(mirror.root)), "r", np.array([0]))
    cutout = sdss.cut(mirror, source, [galaxy.ra], [galaxy.dec]).cutouts[0]
    assert 16 <= np.isnan(cutout.image).sum() <= 36
    assert cutout.saturated[cutout.image > 11].all()
    assert not cutout.saturated[np.isnan(cutout.image) | (cutout.image < 2)].any()


@pytest.mark.parametrize("content", ["good", "damaged", "absent"])
def test_the_seeing_is_that_of_psfield_where_there_is_one(mirror, known_sky, galaxy, content):
    for band in "rg":
        known_sky.write_frame(mirror.root, band, [galaxy])
    path = known_sky.Path(mirror.root) / sdss.PSFIELD.format(rerun=301, run=94, camcol=3, field=100)
    path.parent.mkdir(parents=True)
    widths = fits.Column("psf_width", "5E", array=np.array([[1.5, 1.4, 1.3, 1.2, -9999.0]]))
    hdus = [fits.PrimaryHDU(), *(fits.ImageHDU() for _ in range(5)), fits.BinTableHDU.from_columns([widths])]
    if content != "absent":
        fits.HDUList(hdus).writeto(path)
    if content == "damaged":
        path.write_bytes(b"junk")
    plan = sdss.plan(mirror, known_sky.catalogue([(galaxy.ra, galaxy.dec)]), ("g", "r"), 1)
    seeing = [sdss.cut(mirror, source, [galaxy.ra], [galaxy.dec]).psf_fwhm for source in plan.sources]
    assert_allclose(seeing, [1.4, 1.3] if content == "good" else [np.nan, np.nan], rtol=1e-6)


def test_only_the_beginning_of_a_file_is_read_to_describe_it(mirror, known_sky, galaxy):
    path = known_sky.write_frame(mirror.root, "r", [galaxy], name="frame.fits")
    truncate(path, 0.2)
    image = describe(SDSS, mirror, str(path.relative_to(mirror.root)))
    assert (image.band, image.shape) == ("r", known_sky.FRAME_SHAPE)


def test_wcs_and_seeing_of_a_real_field_agree_with_its_photometric_catalogue(real_data, tmp_path):
    folder = real_data / "sdss_field_3900-6-269"
    table = Table.read(folder / "photoObj-003900-6-0269.fits", hdu=1)
    image = describe(SDSS, Mirror(str(folder), tmp_path), "frame-u-003900-6-0269.fits.bz2")
    sharp = table[(table["ROWCERR"][:, 0] < 0.1) & (table["NCHILD"] == 0)]
    assert len(sharp) > 20
    col, row = image.wcs.wcs_world2pix(np.stack([sharp["RA"], sharp["DEC"]], axis=1), 0).T
    # photo counts from the lower left corner of a pixel, FITS and arrays from its centre
    assert abs(np.median(sharp["ROWC"][:, 0] - 0.5 - row)) < 0.1
    assert abs(np.median(sharp["COLC"][:, 0] - 0.5 - col)) < 0.1
    frame = sdss.Frame(3900, 301, 6, 269, "u")
    mirror = Mirror(str(tmp_path), tmp_path)
    for name, original in ((frame.name, "frame-u-003900-6-0269.fits.bz2"),
                           (sdss.PSFIELD.format(**frame._asdict()), "psField-003900-6-0269.fit")):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).symlink_to(folder / original)
    star = sharp[np.argmax(sharp["PSFFLUX"][:, 0])]
    cuts = sdss.cut(mirror, Source(frame.name, "u", np.array([0]), frame), [star["RA"]], [star["DEC"]])
    assert_allclose(cuts.psf_fwhm, 1.976, atol=1e-3)
    peak = np.unravel_index(np.nanargmax(cuts.cutouts[0].image), (64, 64))
    assert_allclose(peak, (31.5, 31.5), atol=1.01)


def test_the_field_of_a_real_frame_is_read_from_its_header(real_data, tmp_path):
    mirror = Mirror(str(real_data), tmp_path)
    for band in "rg":
        frame = sdss.Frame(7264, 301, 3, 111, band)
        with open_image(SDSS, mirror, frame.name) as (_, header, pixels):
            assert sdss.frame_of(header) == (7264, 3, 111)
            assert pixels.shape == (1489, 2048)
