import gzip
import warnings

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.nddata import Cutout2D
from astropy.table import Table
from astropy.wcs import WCS, FITSFixedWarning
from numpy.testing import assert_allclose, assert_array_equal

from survey_tools.errors import CatalogueError, ImageError
from survey_tools.fits.band_fits import band_hdus
from survey_tools.fits.export import export
from survey_tools.images.sky_wcs import read_wcs, tan_wcs
from survey_tools.ingestion.collection import Form
from survey_tools.ingestion.fits_cutouts import find_objects
from survey_tools.ingestion.ingest import ingest
from survey_tools.surveys import CFHT, SDSS

COUNT, MISSING, SATURATED = 5, 3, 1
RA, DEC = (np.arange(COUNT) * 0.1 - 0.2) % 360, 52.7 + np.arange(COUNT) * 0.01
GR = Form(("g", "r"))
DISTORTED = {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "A_ORDER": 2, "B_ORDER": 2, "A_2_0": 1e-4}
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def exported(tmp_path_factory, make_store):
    """A store of turned cutouts, with a row that has no image and one with saturated pixels, and its FITS files."""
    folder = tmp_path_factory.mktemp("exported")
    store = make_store(folder / "y.zarr", "cfht", RA, DEC, bands="gr", missing=[MISSING], saturated=[SATURATED])
    export(store, range(COUNT), folder / "fits")
    return store, folder / "fits"


def image(ra=10.0, dec=-5.0, size=136, scale=0.186, **facts):
    """A FITS image in counts with a north-up WCS around (ra, dec) [deg]."""
    hdu = fits.PrimaryHDU(RNG.normal(0, 2, (size, size)).astype(np.float32))
    centre, step = (size + 1) / 2, scale / 3600
    cards = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "RADESYS": "ICRS", "CRVAL1": ra, "CRVAL2": dec}
    cards |= {"CRPIX1": centre, "CRPIX2": centre, "CD1_1": -step, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": step}
    for key, value in (cards | {"FILTER": "g.MP9401", "MZP_AB": 30.0} | facts).items():
        if value is not None:
            hdu.header[key] = value
    return hdu


def write(path, hdu):
    hdu.writeto(path)
    return path


def test_files_of_galtrans_become_the_store_they_came_from(exported, tmp_path):
    before, folder = exported
    store = ingest([folder], CFHT, tmp_path / "y.zarr", GR)
    rows = [row for row in range(COUNT) if row != MISSING]
    assert_array_equal(store.images[:], before.images[:][rows])
    assert_array_equal(store.mask[:], before.mask[:][rows])
    exact = ("object_id", "ra", "dec", "redshift", "crval", "crpix", "saturated", "coverage", "sky_sigma")
    for name in (*exact, "zero_point", "psf_fwhm", "psf_source", "gain"):
        assert_array_equal(store.column(name), before.column(name)[rows], err_msg=name)
    for place, row in enumerate(rows):
        corners = [[0, 0], [135, 0], [135, 135]]
        sky = [s.wcs(r).wcs_pix2world(corners, 0) for s, r in ((before, row), (store, place))]
        assert_allclose(sky[1], sky[0], rtol=0, atol=1e-10)
    assert store.column("source")[0].tolist() == ["000000_cfht-0.fits"] * 2
    assert set(store.manifest()["status"]) == {"done"}


def test_real_stacks_cut_into_a_file_per_band_are_put_together(real_data, tmp_path):
    """Counts of T0007: flux, saturation and WCS are those of the stack."""
    place, flux = (215.539, 52.781), {}
    for band in "gri":
        with fits.open(real_data / "cfht" / f"CFHTLS-test_{band}.fits") as hdus:
            part = Cutout2D(hdus[0].data, SkyCoord(*place, unit="deg"), 136, read_wcs(hdus[0].header), copy=True)
            pixels, wcs = part.data, part.wcs
            header = hdus[0].header.copy()
        header["CRPIX1"], header["CRPIX2"] = wcs.wcs.crpix
        flux[band] = np.where(pixels == 0, np.nan, pixels)
        fits.PrimaryHDU(pixels, header).writeto(tmp_path / f"galaxy_{band}.fits")
        level = header["SATURATE"]
    store = ingest([tmp_path], CFHT, tmp_path / "y.zarr", Form(("g", "r", "i")))
    assert len(store) == 1
    assert store.column("object_id")[0] == "W3.+1-2"
    for b, band in enumerate("gri"):
        assert_allclose(store.images[0, b], flux[band] / 1000, rtol=1e-6)
    assert store.column("saturated")[0, 2] == (flux["i"] >= level).sum()
    assert (store.column("zero_point") == 30).all()
    assert_allclose(store.wcs(0).wcs_pix2world([[0, 0], [135, 135]], 0), wcs.wcs_pix2world([[0, 0], [135, 135]], 0))
    assert_allclose([store.column("ra")[0], store.column("dec")[0]], place, atol=1e-4)


@pytest.mark.parametrize(
    ("cards", "gain"),
    [
        ({"GAIN": 40.0}, 40000.0),  # electrons of one count, of which a nanomaggy has a thousand
        ({"GAIN": 40, "MZP_AB": 27.5}, 4000.0),
        ({"GAIN": 0.0}, np.nan),
        ({"GAIN": "high"}, np.nan),
        ({}, np.nan),
        ({"GAIN": 40.0, "MZP_AB": None, "BUNIT": "nanomaggy"}, np.nan),  # of what, nobody knows
    ],
)
def test_the_gain_of_counts_becomes_that_of_nanomaggies(tmp_path, cards, gain):
    for band, name in (("g", "g.MP9401"), ("r", "r.MP9601")):
        write(tmp_path / f"a_{band}.fits", image(FILTER=name, **cards))
    store = ingest([tmp_path], CFHT, tmp_path / "y.zarr", GR)
    assert_allclose(store.column("gain"), [[gain, gain]], rtol=1e-6)
    assert store.column("psf_source").tolist() == [["", ""]]


def test_files_are_grouped_by_position_and_each_failure_is_a_row(tmp_path):
    folder = tmp_path / "cutouts"
    folder.mkdir()
    write(folder / "a_g.fits", image(10))
    write(folder / "a_r.fits", image(10, FILTER="r.MP9601"))
    write(folder / "b_g.fits", image(10.01))
    write(folder / "c_g.fits", image(11))
    write(folder / "c_r.fits", image(11.0001, FILTER="r.MP9601"))
    write(folder / "d_g.fits", image(12))
    write(folder / "d_h.fits", image(12))
    write(folder / "d_r.fits", image(12, FILTER="r.MP9601"))
    write(folder / "e.fits", image(13, FILTER="Ks"))
    write(folder / "f.fits", image(14, **DISTORTED))
    (folder / "h.fits").write_bytes((folder / "a_g.fits").read_bytes()[:4000])
    (folder / "notes.txt").write_text("not FITS")
    store = ingest([folder], CFHT, tmp_path / "y.zarr", GR)
    manifest = store.manifest()
    assert manifest["object_id"].tolist() == ["a_g", "b_g", "c_g", "d_g", "e", "f", "h"]
    assert manifest["status"].tolist() == ["done"] + ["failed"] * 6
    assert manifest["file"].tolist()[:2] == ["a_g.fits;a_r.fits", "b_g.fits"]
    for reason, words in zip(
        manifest["reason"][1:],
        [
            "b_g.fits: no image of band r; add it, or leave it out of --bands",
            "c_r.fits: band r lies 1.9",
            "band g occurs more than once within 1 arcsec",
            "no image of any of the bands gr",
            "f.fits has a WCS (RA---TAN-SIP, DEC--TAN-SIP, icrs) whose projection or distortions differ",
            "h.fits is truncated: it has 4000 of",
        ],
        strict=True,
    ):
        assert words in reason
    assert np.isnan(store.column("ra")[-1])


FRAMES = {
    "FK5 of date": {"EQUINOX": 2003.5},
    "B1950": {"RADESYS": "FK4", "EQUINOX": 1950.0},
    "Galactic": {"CTYPE1": "GLON-TAN", "CTYPE2": "GLAT-TAN"},
    "declination first": {"CTYPE1": "DEC--TAN", "CTYPE2": "RA---TAN", "CRVAL1": 52.7, "CRVAL2": 10.0},
    "a turned pole": {"LONPOLE": 150.0},
    "zenithal equal area": {"CTYPE1": "RA---ZEA", "CTYPE2": "DEC--ZEA"},
    "a polynomial that shifts": {
        "PV1_0": 0.002,
        "PV1_1": 1.0,
        "PV1_7": 0.0,
        "PV2_0": -0.001,
        "PV2_1": 1.0,
    },
}


@pytest.mark.parametrize("name", FRAMES)
def test_pixels_keep_their_places_whatever_the_coordinates(tmp_path, name):
    hdu = image(10, **FRAMES[name])
    store = ingest([write(tmp_path / "a.fits", hdu)], CFHT, tmp_path / "y.zarr", Form(("g",)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FITSFixedWarning)
        wcs = WCS(hdu.header)
    for pixel in ((0, 0), (135, 0), (20, 130)):
        expected = wcs.pixel_to_world(*pixel).icrs
        assert expected.separation(store.wcs(0).pixel_to_world(*pixel)).arcsec < 0.002
    centre = wcs.pixel_to_world(67.5, 67.5).icrs
    assert centre.separation(SkyCoord(store.column("ra")[0], store.column("dec")[0], unit="deg")).arcsec < 0.01


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"size": 64}, r"64 x 64 pixels of 0.186 arcsec.*136 x 136 of 0.186; cut bigger.*--mirror FOLDER.*regrid"),
        ({"scale": 0.2}, r"136 x 136 pixels of 0.2 arcsec"),
        ({"MZP_AB": None}, "no BUNIT"),
        ({"BUNIT": "Jy"}, "contradicts itself: BUNIT = 'Jy' is a zero point of 8.9, MZP_AB = 30 one of 30"),
        (DISTORTED, r"whose projection or distortions differ from a plain TAN grid by [\d.]+ pixels; resample it"),
        ({"CTYPE1": "", "CTYPE2": ""}, "no celestial WCS"),
    ],
)
def test_another_grid_or_unit_is_refused_with_the_numbers(tmp_path, facts, message):
    write(tmp_path / "a.fits", image(**facts))
    with pytest.raises(ImageError, match=message):
        ingest([tmp_path / "a.fits"], CFHT, tmp_path / "y.zarr", Form(("g",)))
    assert [path.name for path in tmp_path.iterdir()] == ["a.fits"]


def test_counts_without_a_zero_point_take_the_one_that_is_given(tmp_path):
    hdus = [image(10, MZP_AB=None, BUNIT="adu"), image(11, MZP_AB=27.5), image(12, MZP_AB=None, BUNIT="nanomaggy")]
    paths = [write(tmp_path / f"{n}.fits", hdu) for n, hdu in enumerate(hdus)]
    store = ingest(paths, CFHT, tmp_path / "y.zarr", Form(("g",), zero_point=25.0))
    assert store.column("zero_point")[:, 0].tolist() == [25.0, 27.5, 22.5]
    for row, factor in enumerate([0.1, 0.01, 1]):
        assert_allclose(store.images[row, 0], hdus[row].data * factor, rtol=1e-6)


def test_packed_files_names_and_saturation(tmp_path):
    hdu = image(10, OBJECT="W1+2+3", SATURATE=5.0, BUNIT="adu", RA="00:40:00", DEC="-05:00:00")
    other = image(11, OBJECT="W1+2+3", BUNIT="adu", RA=11.001, DEC=-5.0)
    with gzip.open(tmp_path / "a.fits.gz", "wb") as file:
        hdu.writeto(file)
    packed = fits.CompImageHDU(other.data, other.header, compression_type="GZIP_1", quantize_level=0)
    fits.HDUList([fits.PrimaryHDU(), packed]).writeto(tmp_path / "b.fits.fz")
    store = ingest([tmp_path], CFHT, tmp_path / "y.zarr", Form(("g",), zero_point=30.0))
    assert store.column("object_id").tolist() == ["a", "b"]  # the field's name is not unique
    assert_allclose(store.column("ra"), [10, 11.001], atol=1e-9)
    assert store.column("saturated")[0, 0] == (hdu.data >= 5).sum() > 0
    assert_allclose(store.images[1, 0], other.data / 1000, rtol=1e-6)


def test_a_north_up_cutout_of_sdss_in_one_file(tmp_path):
    wcs = tan_wcs((10.0, 5.0), (32.5, 32.5), np.diag([-0.396, 0.396]) / 3600)
    images = RNG.normal(0, 0.02, (5, 64, 64)).astype(np.float32)
    images[2, 3, 4] = np.nan
    band_hdus(images, "ugriz", wcs, fits.Header({"OBJECT": "one"})).writeto(tmp_path / "a.fits")
    store = ingest([tmp_path / "a.fits"], SDSS, tmp_path / "x.zarr", Form(tuple("ugriz")))
    assert_array_equal(store.images[0], images)
    assert store.mask[:].sum() == 1
    assert store.manifest()["reason"][0] == "r: 0.0 % of pixels without data"


def test_a_table_must_be_in_the_order_of_the_files(exported, tmp_path):
    rows = [row for row in range(COUNT) if row != MISSING]
    table = Table(
        {"object_id": [f"mine {row}" for row in rows], "ra": RA[rows], "dec": DEC[rows], "redshift": [0.5] * 4}
    )
    table.write(tmp_path / "p.ecsv")
    store = ingest([exported[1]], CFHT, tmp_path / "y.zarr", GR, positions=tmp_path / "p.ecsv")
    assert store.column("object_id")[3] == "mine 4"
    assert (store.column("redshift") == 0.5).all()
    table[::-1].write(tmp_path / "q.ecsv")
    with pytest.raises(CatalogueError, match=r"row 1 lies 8\d\d\.\d arcsec from the centre of 000000_cfht-0.fits"):
        ingest([exported[1]], CFHT, tmp_path / "z.zarr", GR, positions=tmp_path / "q.ecsv")
    table[:2].write(tmp_path / "r.ecsv")
    with pytest.raises(CatalogueError, match="has 2 rows and the files show 4 objects"):
        ingest([exported[1]], CFHT, tmp_path / "z.zarr", GR, positions=tmp_path / "r.ecsv")


def test_files_and_cubes_are_not_mixed_and_a_folder_without_files_says_so(exported, tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((1, 136, 136, 2)))
    with pytest.raises(ImageError, match="ingest them apart"):
        ingest([exported[1], tmp_path / "a.npy"], CFHT, tmp_path / "y.zarr", GR)
    with pytest.raises(ImageError, match="holds no FITS file"):
        ingest([tmp_path], CFHT, tmp_path / "y.zarr", GR)
    with pytest.raises(ImageError, match="leave out --stretched"):
        ingest([exported[1]], CFHT, tmp_path / "y.zarr", Form(("g", "r"), unstretch=abs))


@pytest.mark.parametrize("terms", [{"CTYPE1": "RA---XXX"}, {"CTYPE2": "RA---TAN"}, {"CRVAL2": 95.0}, {"CUNIT1": "foo"}])
def test_a_wcs_that_cannot_be_fails_its_object_and_no_other(tmp_path, terms):
    for name, dec in (("a", 1.0), ("b", 2.0)):
        header = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 10.0, "CRVAL2": dec, "FILTER": "r"}
        header |= {"CRPIX1": 32.5, "CRPIX2": 32.5, "CD1_1": -1.1e-4, "CD2_2": 1.1e-4} | (terms if name == "b" else {})
        fits.PrimaryHDU(np.ones((64, 64), np.float32), fits.Header(header)).writeto(tmp_path / f"{name}.fits")
    good, bad = find_objects(sorted(tmp_path.glob("*.fits")), SDSS, ("r",))
    assert good.why == ""
    assert "b.fits has a WCS that cannot be used" in bad.why


def test_images_that_are_no_observation_make_a_store_that_says_so(exported, tmp_path):
    (tmp_path / "made").mkdir()
    for number, path in enumerate(sorted(exported[1].iterdir())):
        with fits.open(path) as hdus:
            if number == 1:
                hdus[0].header["SYNTH"] = (True, "made up")
            hdus.writeto(tmp_path / "made" / path.name)
    assert ingest([tmp_path / "made"], CFHT, tmp_path / "made.zarr", GR).synthetic == "made up"
    assert ingest([exported[1]], CFHT, tmp_path / "real.zarr", GR).synthetic == ""
