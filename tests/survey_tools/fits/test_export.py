import numpy as np
import pytest
from astropy.io import fits
from numpy.testing import assert_allclose, assert_array_equal

from survey_tools.errors import StoreError
from survey_tools.fits.band_fits import read_bands
from survey_tools.fits.export import export, export_files, file_name
from survey_tools.images.sky_wcs import read_wcs
from survey_tools.surveys import SDSS

IDS = ["plain", "../../etc/passwd", "a b/ü\n", "outside", "..", "x" * 300]


@pytest.fixture(scope="module")
def store(tmp_path_factory, known_sky):
    folder = tmp_path_factory.mktemp("export")
    wcs = known_sky.frame_wcs()
    galaxy = known_sky.Galaxy(*known_sky.position(wcs, 108.2, 131.4), flux=300.0)
    for band in "gr":
        header = {"SATURATE": 10.0 if band == "r" else 1e9, "NMGY": 0.005}
        known_sky.write_frame(folder / "mirror", band, [galaxy], header=header)
    here = galaxy.ra, galaxy.dec
    catalogue = known_sky.catalogue([here, here, known_sky.position(wcs, 20, 130), (10.0, 10.0), here, here])
    catalogue["object_id"] = IDS
    catalogue["redshift"] = [0.1, *[np.nan] * 5]
    return known_sky.fetch(SDSS, catalogue, folder / "mirror", folder / "x.zarr", bands="gr")


def test_a_file_has_the_pixels_the_sky_and_the_photometry_of_its_row(store, tmp_path, known_sky):
    path = export(store, [0], tmp_path)[0]
    assert path.name == "000000_plain.fits"
    with fits.open(path, checksum=True) as hdus:  # a wrong checksum would warn
        assert [hdu.name for hdu in hdus] == ["PRIMARY", "g", "r", "MASK_g", "MASK_r"]
        assert {(hdu.header["MAGZERO"], hdu.header["PHOTSYS"]) for hdu in hdus} == {(22.5, "AB")}
        assert not any("SYNTH" in hdu.header for hdu in hdus)
        primary = hdus[0].header
        assert (primary["OBJECT"], primary["SURVEY"], primary["BANDS"]) == ("plain", "SDSS", "gr")
        expected = store.column("ra")[0], store.column("dec")[0], 0.1
        assert_allclose([primary["RA"], primary["DEC"], primary["REDSHIFT"]], expected, rtol=1e-12)
        for b, hdu in enumerate(hdus[1:3]):
            assert_array_equal(hdu.data, store.images[0, b])
            assert_array_equal(hdus[b + 3].data.astype(bool), store.mask[0, b])
            assert hdu.header["BUNIT"] == "nanomaggy"
            assert "CHECKSUM" in hdu.header
            assert hdu.header["SOURCE"] == store.column("source")[0, b]
            assert_allclose(hdu.header["SKYSIGMA"], store.column("sky_sigma")[0, b])
            assert not {"PSFFWHM", "PSFSRC"} & {*hdu.header}  # they are unknown
            assert_allclose(hdu.header["GAIN"], store.column("gain")[0, b])
            assert hdu.header["SRCZP"] == 22.5
            row, col = known_sky.centroid(np.clip(hdu.data - 1, 0, None))
            found = read_wcs(hdu.header).pixel_to_world(col, row)
            assert found.separation(store.wcs(0).pixel_to_world(31.5, 31.5)).arcsec < 0.02
        assert hdus["MASK_r"].data.sum() == hdus["r"].header["NSATUR"] > 0


def test_a_file_is_read_back_as_the_translator_reads_it(store, tmp_path):
    bands, header = read_bands(export(store, [2], tmp_path)[0], ("r", "g"))
    assert_array_equal(bands[0].image.astype(np.float32), store.images[2, 1])
    assert np.isnan(bands[0].image).any()
    assert header["OBJECT"] == "a b/\\xfc\\n"


def test_identifiers_do_not_lead_out_of_the_folder_and_rows_without_image_are_left_out(store, tmp_path):
    paths = export(store, range(6), tmp_path / "deep" / "out")
    names = ["000000_plain", "000001_etc_passwd", "000002_a_b", "000004_object", f"000005_{'x' * 80}"]
    assert [path.name for path in paths] == [f"{name}.fits" for name in names]
    assert sorted((tmp_path / "deep" / "out").iterdir()) == paths
    assert file_name(1234567, "NGC 5-1+2.3") == "1234567_NGC_5-1+2_3.fits"


def test_files_that_are_there_are_kept_unless_they_may_be_overwritten(store, tmp_path):
    path = export(store, [1], tmp_path)[0]
    path.write_text("mine")
    with pytest.raises(StoreError, match=r"000001_etc_passwd\.fits exists already and was made from .* --overwrite"):
        export(store, [0, 1], tmp_path)
    assert [p.read_text() for p in tmp_path.iterdir()] == ["mine"]
    export(store, [0, 1], tmp_path, overwrite=True)
    assert len(list(tmp_path.iterdir())) == 2
    assert path.read_bytes().startswith(b"SIMPLE")
    again = export_files(store, [1, 2], tmp_path)
    assert (again.kept, [each.name for each in again.paths]) == ([path], [path.name, "000002_a_b.fits"])
    path.write_bytes(path.read_bytes()[:-2880])  # as another program might leave it
    with pytest.raises(StoreError, match="made from something else"):
        export(store, [1], tmp_path)
