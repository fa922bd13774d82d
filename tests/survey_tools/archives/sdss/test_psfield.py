import logging

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from numpy.testing import assert_allclose

from survey_tools.archives.download import mirror as warned
from survey_tools.archives.download.mirror import Mirror
from survey_tools.archives.sdss import psfield
from survey_tools.archives.sdss.psfield import FieldPsf, find_psf, fwhm, fwhm_at, read_psfs
from survey_tools.errors import ArchiveError
from survey_tools.surveys import SDSS

FWHM = (1.6, 1.4, 1.3, 1.2, 1.25)
SCALE = SDSS.pixel_scale
NAME = psfield.PSFIELD.format(rerun=301, run=94, camcol=3, field=100)


@pytest.fixture(autouse=True)
def nothing_said():
    warned._said.clear()


def width_at(mirror, band, row, due=True):
    psf = find_psf(mirror, NAME, band, due=due)
    return np.nan if psf is None else fwhm(psf.at(row, 10.0)) * SCALE


def gaussian(sigma, centre=(25.0, 25.0), stretch=1.0, size=51):
    row, col = np.indices((size, size))
    return np.exp(-((row - centre[0]) ** 2 + ((col - centre[1]) / stretch) ** 2) / (2 * sigma**2))


@pytest.mark.parametrize("sigma", [1.2, 1.5, 3.0])
@pytest.mark.parametrize("centre", [(25.0, 25.0), (25.3, 24.6)])
def test_the_width_of_a_gaussian_is_known(sigma, centre):
    assert_allclose(fwhm(gaussian(sigma, centre)), 2.35482 * sigma, rtol=0.015)


def test_an_oval_has_the_width_of_the_circle_of_its_area():
    assert_allclose(fwhm(gaussian(1.5, stretch=1.44)), 1.2 * 2.35482 * 1.5, rtol=0.005)


def test_the_width_of_a_moffat_is_half_way_down():
    row, col = np.indices((51, 51)) - 25
    radius = 3.2 / (2 * np.sqrt(2 ** (1 / 3.0) - 1))
    assert_allclose(fwhm((1 + (row**2 + col**2) / radius**2) ** -3.0), 3.2, rtol=0.005)


@pytest.mark.parametrize("image", [np.zeros((51, 51)), -np.ones((51, 51)), np.ones((51, 51)), gaussian(1.5, (0, 25))])
def test_without_a_peak_there_is_no_width(image):
    assert np.isnan(fwhm(image))


def test_terms_are_powers_of_the_row_first_and_of_the_column_second():
    terms = np.zeros((2, 5, 5))
    terms[0, 0, 0], terms[1, 1, 2] = 1.0, 2.0
    psf = FieldPsf(np.stack([np.full((3, 3), 5.0), np.ones((3, 3))]), terms)
    assert_allclose(psf.at(400.0, 1500.0), 5.0 + 2.0 * 0.4 * 1.5**2)


@pytest.mark.parametrize("band", SDSS.bands)
def test_the_width_at_a_place_follows_from_the_images(tmp_path, known_sky, band):
    known_sky.write_psfield(tmp_path, FWHM)
    mirror, expected = Mirror(str(tmp_path), tmp_path), FWHM[SDSS.bands.index(band)]
    widths = [width_at(mirror, band, row, True) for row in (0.0, 500.0, 1000.0)]
    assert_allclose([widths[0], widths[2]], [expected, 1.1 * expected], rtol=0.005)
    assert widths[0] < widths[1] < widths[2]


def adaptive_moments(image: np.ndarray) -> float:
    """Sum of the second moments [pixel^2] of an image under the Gaussian that fits it best: SDSS's m_rr_cc."""
    place = np.stack(np.indices(image.shape), axis=-1).astype(float)
    centre, moments = np.array([25.0, 25.0]), 3.0 * np.eye(2)
    for _ in range(30):
        away = place - centre
        weight = image * np.exp(-0.5 * np.einsum("rci,ij,rcj->rc", away, np.linalg.inv(moments), away))
        centre = centre + 2 * np.einsum("rc,rci->i", weight, away) / weight.sum()
        away = place - centre
        moments = 2 * np.einsum("rc,rci,rcj->ij", weight, away, away) / weight.sum()
    return float(np.trace(moments))


@pytest.mark.parametrize("index", range(5))
def test_the_psf_of_a_real_field_is_that_of_its_photometric_catalogue(real_data, index):
    """The catalogue gives the moments of the PSF at every object, psField the width of the Gaussian as noisy."""
    folder = real_data / "sdss_field_3900-6-269"
    table = Table.read(folder / "photoObj-003900-6-0269.fits", hdu=1)[::120]
    table = table[table["M_RR_CC_PSF"][:, index] > 0]
    with fits.open(folder / "psField-003900-6-0269.fit", memmap=False) as hdus:
        psf, width = read_psfs(hdus)[index], hdus[6].data["PSF_WIDTH"][0, index]
    places = zip(table["ROWC"][:, index], table["COLC"][:, index], strict=True)
    images = [psf.at(row - 0.5, col - 0.5) for row, col in places]
    ratios = [adaptive_moments(image) for image in images] / table["M_RR_CC_PSF"][:, index]
    assert_allclose(np.mean(ratios), 1.013, atol=0.004)
    assert np.std(ratios) < 0.25 * np.std(table["M_RR_CC_PSF"][:, index]) / np.mean(table["M_RR_CC_PSF"][:, index])
    middle = psf.at(744, 1024)
    noisy = np.sqrt(middle.sum() ** 2 / (middle**2).sum() / (4 * np.pi)) * 2.35482 * SCALE
    assert_allclose(noisy, width, rtol=0.02)  # measured: 1.005 to 1.014
    assert 0.76 < fwhm(middle) * SCALE / width < 0.83  # wings: measured 0.77 to 0.81
    gauss = 2.35482 * np.sqrt(adaptive_moments(middle) / 2) * SCALE
    assert 0.89 < fwhm(middle) * SCALE / gauss < 0.94


def test_a_psfield_that_is_not_there_is_said_once_where_it_is_due(tmp_path, caplog):
    mirror = Mirror(str(tmp_path), tmp_path)
    for due in (False, True):
        psfield._psfs.cache_clear()
        for band in ("u", "g", "r"):
            assert np.isnan(width_at(mirror, band, 10.0, due))
        assert len(caplog.records) == due
    assert "psField-000094-3-0100.fit is not in the mirror" in caplog.text


@pytest.mark.parametrize("kind", ["junk", "cut short", "no table"])
def test_a_damaged_psfield_is_said_once(tmp_path, known_sky, caplog, kind):
    caplog.set_level(logging.WARNING)
    path = known_sky.write_psfield(tmp_path, FWHM)
    if kind == "junk":
        path.write_bytes(b"junk")
    if kind == "cut short":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    if kind == "no table":
        fits.HDUList([fits.PrimaryHDU(), *(fits.ImageHDU(np.zeros((2, 2))) for _ in range(5))]).writeto(
            path, overwrite=True
        )
    mirror = Mirror(str(tmp_path), tmp_path)
    widths = [width_at(mirror, band, 10.0, False) for band in SDSS.bands]
    assert np.isnan(widths).all()
    assert [record.getMessage().count("the PSF of a field is unknown") for record in caplog.records] == [1]


def test_a_psfield_without_a_band_has_the_others(tmp_path, known_sky):
    path = known_sky.write_psfield(tmp_path, FWHM)
    with fits.open(path, memmap=False) as hdus:
        hdus[2] = fits.BinTableHDU(hdus[2].data[:0])
        hdus.writeto(path, overwrite=True)
    mirror = Mirror(str(tmp_path), tmp_path)
    widths = [width_at(mirror, band, 0.0, True) for band in "ugr"]
    assert_allclose(widths, [1.6, np.nan, 1.3], rtol=0.005)


def test_of_an_effective_width_alone_the_width_of_a_profile_is_estimated(tmp_path, known_sky):
    path = known_sky.write_psfield(tmp_path, FWHM)
    effective = [1.7, 1.6, 1.5, 1.4, 0.0]
    with fits.open(path, memmap=False) as hdus:
        for index in range(1, 6):
            hdus[index] = fits.BinTableHDU(hdus[index].data[:0])
        hdus.append(fits.BinTableHDU.from_columns([fits.Column("psf_width", "5E", array=[effective])]))
        hdus.writeto(path, overwrite=True)
    mirror = Mirror(str(tmp_path), tmp_path)
    psfs = [find_psf(mirror, NAME, band, due=True) for band in SDSS.bands]
    assert psfs[4] is None
    widths = [fwhm_at(psf, 100.0, 10.0, SCALE) for psf in psfs[:4]]
    assert_allclose(widths, 0.79 * np.array(effective[:4]), rtol=1e-6)


def test_the_factor_from_effective_widths_is_that_of_a_real_field(real_data):
    path = real_data / "sdss_field_3900-6-269" / "psField-003900-6-0269.fit"
    with fits.open(path, memmap=False) as hdus:
        psfs, effective = read_psfs(hdus), hdus[6].data["PSF_WIDTH"][0]
    profiles = [fwhm_at(psf, 744.0, 1024.0, SCALE) for psf in psfs]
    assert_allclose(profiles / effective, psfield.PROFILE_OF_WIDTH, atol=0.025)


def test_a_psfield_that_does_not_come_is_an_error_and_one_download_serves_five_bands(tmp_path, web, waits, known_sky):
    path = known_sky.write_psfield(tmp_path, FWHM)
    mirror = Mirror(web.root, tmp_path / "work", tmp_path / "kept")
    web.answers[f"/{NAME}"] = [(403, {}, b"no")]
    with pytest.raises(ArchiveError):
        width_at(mirror, "r", 0.0, True)
    web.answers[f"/{NAME}"] = [web.whole(path.read_bytes())]
    before = len(web.requests)
    widths = []
    for band in SDSS.bands:
        psfield._psfs.cache_clear()  # as in five processes
        widths.append(width_at(mirror, band, 0.0, True))
    assert_allclose(widths, FWHM, rtol=0.005)
    assert len(web.requests) == before + 1
