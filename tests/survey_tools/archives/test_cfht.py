import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from numpy.testing import assert_allclose, assert_array_equal

from survey_tools.archives import cfht, fits_files
from survey_tools.archives.mirror import Mirror
from survey_tools.archives.plan import Source
from survey_tools.cutout import sky_sigma
from survey_tools.errors import ArchiveError

HERE = [(150.0, 2.0)]


@pytest.fixture
def galaxy(known_sky):
    return known_sky.Galaxy(*known_sky.position(known_sky.stack_wcs(), 150.3, 141.9), flux=40.0)


@pytest.fixture
def mirror(tmp_path):
    return Mirror(str(tmp_path), tmp_path / "cache")


def cut_one(mirror, name, position, band="r"):
    return cfht.cut(mirror, Source(name, band, np.array([0])), *[[value] for value in position])


def where(galaxy):
    return galaxy.ra, galaxy.dec


def test_a_window_has_the_flux_and_the_exact_pixels_and_sky_of_the_stack(mirror, known_sky, galaxy):
    known_sky.write_stack(mirror.root, "r", [galaxy], noise=1e-6)
    cuts = cut_one(mirror, "stack_r.fits", where(galaxy))
    image, wcs = cuts.cutouts[0].image, cuts.cutouts[0].wcs
    assert image.shape == (136, 136)
    assert_allclose(image.sum(), galaxy.flux, rtol=0.005)
    col, row = wcs.wcs_world2pix([where(galaxy)], 0)[0]
    assert_allclose(known_sky.centroid(image), (row, col), atol=0.05)
    assert_allclose((row, col), (67.5, 67.5), atol=0.5)
    whole = known_sky.draw(known_sky.stack_wcs(), known_sky.STACK_SHAPE, [known_sky.Galaxy(*where(galaxy), 40e3)])
    first = 150 - 67, 142 - 68
    assert_allclose(image, whole[first[0] : first[0] + 136, first[1] : first[1] + 136] / 1000, rtol=1e-5, atol=1e-7)
    assert (cuts.zero_point, cuts.psf_fwhm) == (30.0, 0.7)


@pytest.mark.parametrize(("header", "factor"), [({"MZP_AB": 29.0}, 10**0.4), ({"MZP_AB": None}, 1.0)])
def test_the_zero_point_is_mzp_ab_else_the_surveys_and_never_phot_c(mirror, known_sky, galaxy, header, factor):
    known_sky.write_stack(mirror.root, "r", [galaxy], noise=1e-6, header=header)
    cuts = cut_one(mirror, "stack_r.fits", where(galaxy))
    assert_allclose(cuts.cutouts[0].image.sum(), factor * galaxy.flux, rtol=0.005)
    assert cuts.zero_point == (header["MZP_AB"] or 30.0)


def test_a_tile_compressed_stack_gives_the_same_as_a_plain_one(mirror, known_sky, galaxy):
    known_sky.write_stack(mirror.root, "r", [galaxy], name="a.fits")
    known_sky.write_stack(mirror.root, "r", [galaxy], name="b.fits.fz")
    plain, packed = (cut_one(mirror, name, where(galaxy)).cutouts[0] for name in ("a.fits", "b.fits.fz"))
    assert_array_equal(plain.image, packed.image)
    assert_array_equal(plain.wcs.wcs.crpix, packed.wcs.wcs.crpix)


def test_zero_and_nan_are_missing_and_saturated_pixels_are_flagged(mirror, known_sky, galaxy):
    def edit(image):
        image[100:110, 130:150] = 0.0
        image[180, 140] = np.nan

    known_sky.write_stack(mirror.root, "r", [galaxy], edit=edit, header={"SATURATE": 100.0})
    cutout = cut_one(mirror, "stack_r.fits", where(galaxy)).cutouts[0]
    assert np.isnan(cutout.image).sum() == 201
    assert_array_equal(cutout.saturated, np.nan_to_num(cutout.image) >= 0.1)
    assert cutout.saturated.any()


def test_an_object_at_the_edge_has_gaps_there(mirror, known_sky):
    known_sky.write_stack(mirror.root, "r", [])
    image = cut_one(mirror, "stack_r.fits", known_sky.position(known_sky.stack_wcs(), 20.0, 150.0)).cutouts[0].image
    assert_allclose(np.isnan(image).mean(), 48 / 136, atol=1 / 136)
    assert np.isnan(image[:47]).all()


def test_bands_of_one_grid_form_a_pointing_and_the_farthest_from_the_edge_is_taken(mirror, known_sky):
    for offset, folder in ((0.0, "west"), (0.008, "east")):
        for band in "gr":
            wcs = known_sky.stack_wcs(150.0 + offset, 2.0)
            known_sky.write_stack(mirror.root, band, [], name=f"{folder}/{band}.fits", wcs=wcs)
    positions = [(150.0035, 2.0), (150.0045, 2.0), (149.995, 2.0), (150.013, 2.0), (150.0, 2.5)]
    plan = cfht.plan(mirror, known_sky.catalogue(positions), ("g", "r"), 2)
    assert [(source.name, source.rows.tolist()) for source in plan.sources] == [
        ("east/g.fits", [1, 3]),
        ("east/r.fits", [1, 3]),
        ("west/g.fits", [0, 2]),
        ("west/r.fits", [0, 2]),
    ]


def test_a_pointing_with_more_of_the_bands_is_preferred(mirror, known_sky):
    for offset, bands in ((0.0, "gr"), (0.004, "r")):
        for band in bands:
            wcs = known_sky.stack_wcs(150.0 + offset, 2.0)
            known_sky.write_stack(mirror.root, band, [], name=f"{bands}_{band}.fits", wcs=wcs)
    catalogue = known_sky.catalogue([(150.004, 2.0), (150.011, 2.0)])
    rows = {source.name: source.rows.tolist() for source in cfht.plan(mirror, catalogue, ("g", "r"), 1).sources}
    assert rows == {"gr_g.fits": [0], "gr_r.fits": [0], "r_r.fits": [1]}
    rows = {source.name: source.rows.tolist() for source in cfht.plan(mirror, catalogue, ("r",), 1).sources}
    assert rows == {"r_r.fits": [0, 1]}


def test_files_are_told_by_filter_and_grid_and_never_by_name(mirror, known_sky, caplog):
    known_sky.write_stack(mirror.root, "r", [], name="x_g.fits")
    known_sky.write_stack(mirror.root, "i", [], name="y_r.fits.fz", header={"FILTER": "i.MP9702"})
    known_sky.write_stack(mirror.root, "r", [], name="x_g_weight.fits")
    known_sky.write_frame(mirror.root, "r", [])
    plan = cfht.plan(mirror, known_sky.catalogue(HERE), ("r", "i"), 1)
    assert [(source.name, source.band) for source in plan.sources] == [("x_g.fits", "r"), ("y_r.fits.fz", "i")]
    assert "x_g_weight.fits is left out" in caplog.text


def test_a_band_that_no_stack_has_is_refused_with_the_remedy(mirror, known_sky):
    for band in "gri":
        known_sky.write_stack(mirror.root, band, [])
    with pytest.raises(ArchiveError, match=r"no CFHTLS image of band u, z is in .*; pass --bands gri"):
        cfht.plan(mirror, known_sky.catalogue(HERE), tuple("ugriz"), 1)


def spoil_tiles(path):
    content = bytearray(path.read_bytes())
    content[180_000:180_400] = bytes(400)
    path.write_bytes(content)


DAMAGE = {
    "truncated": ("r.fits", lambda path: path.write_bytes(path.read_bytes()[:200_000]), "is truncated: 200000 of"),
    "truncated fz": ("r.fits.fz", lambda path: path.write_bytes(path.read_bytes()[:90_000]), "is truncated: 90000 of"),
    "damaged fz": ("r.fits.fz", spoil_tiles, "cannot be read"),
    "empty": ("r.fits", lambda path: path.write_bytes(b""), "is empty"),
    "text": (
        "r.fits",
        lambda path: path.write_bytes(b"SIMPLE  =" + bytes(9000)),
        "is truncated: its header has no end",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_stack_is_named(mirror, known_sky, galaxy, damage):
    name, spoil, message = DAMAGE[damage]
    spoil(known_sky.write_stack(mirror.root, "r", [galaxy], name=name))
    with pytest.raises(ArchiveError, match=rf"{name} {message}"):
        cut_one(mirror, name, where(galaxy))


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"CTYPE1": None, "CTYPE2": None}, "no celestial WCS"),
        ({"CTYPE1": "RA---SIN", "CTYPE2": "DEC--SIN"}, "projection RA---SIN, DEC--SIN"),
        ({"CTYPE1": "GLON-TAN", "CTYPE2": "GLAT-TAN", "RADECSYS": None}, "projection GLON-TAN"),
        ({"RADECSYS": "FK4", "EQUINOX": 1950.0}, "coordinates fk4"),
        ({"MZP_AB": "thirty"}, "MZP_AB = 'thirty'"),
    ],
)
def test_a_stack_with_a_wrong_header_is_refused(mirror, known_sky, galaxy, header, message):
    known_sky.write_stack(mirror.root, "r", [galaxy], header=header)
    with pytest.raises(ArchiveError, match=f"stack_r.fits has .*{message}|stack_r.fits has {message}"):
        cut_one(mirror, "stack_r.fits", where(galaxy))


def test_an_fk5_stack_is_put_onto_icrs(mirror, known_sky, galaxy):
    known_sky.write_stack(mirror.root, "r", [galaxy], noise=1e-6, header={"RADECSYS": "FK5", "EQUINOX": 2000.0})
    cutout = cut_one(mirror, "stack_r.fits", where(galaxy)).cutouts[0]
    row, col = known_sky.centroid(cutout.image)
    found = cutout.wcs.pixel_to_world(col, row)
    drawn = SkyCoord(*where(galaxy), unit="deg", frame="fk5")
    assert found.separation(drawn.icrs).arcsec < 0.002
    assert found.separation(SkyCoord(*where(galaxy), unit="deg")).arcsec > 0.01


def test_a_plain_stack_is_read_in_parts_from_disk(mirror, known_sky, monkeypatch):
    known_sky.write_stack(mirror.root, "r", [], shape=(2000, 1500), wcs=known_sky.stack_wcs(shape=(2000, 1500)))
    read = []
    inner = fits_files.Pixels.__getitem__
    monkeypatch.setattr(fits_files.Pixels, "__getitem__", lambda self, part: read.append(inner(self, part)) or read[-1])
    cut_one(mirror, "stack_r.fits", HERE[0])
    assert [part.shape for part in read] == [(136, 136)]


def test_a_web_server_gives_the_same(mirror, known_sky, galaxy, tmp_path):
    for band, name in (("r", "a+1.fits"), ("g", "b.fits.fz")):
        known_sky.write_stack(mirror.root, band, [galaxy], name=name)
    catalogue = known_sky.catalogue([where(galaxy)])
    with known_sky.served(mirror.root) as (url, asked):
        remote = Mirror(url, tmp_path / "cache")
        plan = cfht.plan(remote, catalogue, ("g", "r"), 1)
        assert [source.name for source in plan.sources] == ["a+1.fits", "b.fits.fz"]
        for source in plan.sources:
            there, here = (cfht.cut(m, source, catalogue["ra"], catalogue["dec"]) for m in (remote, mirror))
            assert_array_equal(there.cutouts[0].image, here.cutouts[0].image)
    assert asked.count("/a%2B1.fits") == 2  # its headers, then the whole
    assert list((tmp_path / "cache").iterdir()) == []


def test_real_stacks(real_data, tmp_path):
    mirror = Mirror(str(real_data / "cfht"), tmp_path)
    known = {"g": (0.67, 0.816), "r": (1.43, 0.879), "i": (1.96, 0.732)}
    for band, (sigma, seeing) in known.items():
        cuts = cut_one(mirror, f"CFHTLS-test_{band}.fits", (215.545, 52.7835), band)
        assert_allclose(sky_sigma(cuts.cutouts[0].image, cuts.cutouts[0].saturated) * 1000, sigma, rtol=0.1)
        assert_allclose((cuts.zero_point, cuts.psf_fwhm), (30.0, seeing))
    cuts = cut_one(mirror, "CFHTLS_03_g_sci.fits.fz", (31.2251, -10.4020), "g")
    assert np.isfinite(cuts.cutouts[0].image).all()
    assert cuts.zero_point == 30.0  # its PHOT_C says 26.54
    assert np.isnan(cuts.psf_fwhm)
