"""Coadds of every survey whose tiles galtrans reads: flux, flags and sky of files like the real ones."""

import logging

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from numpy.testing import assert_allclose, assert_array_equal

from survey_tools.archives.coadds import calibrate
from survey_tools.archives.known import ARCHIVES
from survey_tools.archives.plan import Access
from survey_tools.errors import ArchiveError
from survey_tools.fits.calibration import Given
from survey_tools.surveys import OWN, SURVEYS
from survey_tools.tasks import Engine

NAMES = [name for name, survey in OWN.items() if survey.flags]
RUN = Engine().run
ZERO_POINTS = {"hsc": 27.0, "des": 30.0, "legacy": 22.5, "ps1": 25 + 2.5 * np.log10(731), "kids": 0.0}


def opened(name, folder, **access):
    return ARCHIVES[name].open(Access(folder / "work", mirror=str(folder / "tiles"), **access))


@pytest.fixture
def cut(coadd_files):
    """A function that returns the pieces of the galaxy of tiles, by band."""

    def function(name, folder, bands, **access):
        archive, galaxy = opened(name, folder, **access), coadd_files.galaxy(name)
        ra, dec = np.array([galaxy.ra]), np.array([galaxy.dec])
        plan = archive.plan(Table({"ra": ra, "dec": dec}), tuple(bands), RUN)
        assert plan.unreadable == []
        return {source.band: next(archive.cut(source, ra, dec)) for source in plan.sources}

    return function


@pytest.mark.parametrize("name", NAMES)
def test_every_band_has_its_flux_its_place_and_its_flags(name, tmp_path, known_sky, caplog, coadd_files, cut):
    survey = SURVEYS[name]
    fluxes = {band: 30.0 + 10 * place for place, band in enumerate(survey.bands)}
    for band, flux in fluxes.items():
        coadd_files.write(name, tmp_path / "tiles", band, flux=flux)
    with caplog.at_level(logging.WARNING):
        pieces = cut(name, tmp_path, survey.bands)
    for band, piece in pieces.items():
        image = piece.cutout.image
        assert image.shape == (survey.cutout_size,) * 2
        assert piece.zero_point == pytest.approx(ZERO_POINTS[name], abs=1e-6)
        lit = np.nan_to_num(image)
        assert_allclose(lit.sum(), fluxes[band], rtol=0.02)
        galaxy = coadd_files.galaxy(name)
        row, col = known_sky.centroid(np.where(lit > 0.02, lit, 0))
        assert_allclose(piece.cutout.wcs.wcs_world2pix([[galaxy.ra, galaxy.dec]], 0)[0], (col, row), atol=0.1)
        assert piece.saturation_source == "mask"
        assert piece.cutout.saturated.sum() == 9


def test_pixels_that_a_companion_flags_as_without_data_are_nan(tmp_path, coadd_files, cut):
    coadd_files.write("ps1", tmp_path / "tiles", "r")
    image = cut("ps1", tmp_path, "r")["r"].cutout.image
    empty = np.isnan(image).all(axis=0)
    assert empty.sum() == 14  # of 104 columns, 50 to 153, those from 140 on
    assert not np.isnan(image[:, ~empty]).any()


@pytest.mark.parametrize("name", ["des", "kids"])
def test_tiles_and_their_flags_come_from_a_web_server_too(name, tmp_path, known_sky, coadd_files):
    coadd_files.write(name, tmp_path / "tiles", "r")
    galaxy = coadd_files.galaxy(name)
    ra, dec = np.array([galaxy.ra]), np.array([galaxy.dec])
    with known_sky.served(tmp_path / "tiles") as (url, _):
        archive = ARCHIVES[name].open(Access(tmp_path / "work", mirror=url))
        (source,) = archive.plan(Table({"ra": ra, "dec": dec}), ("r",), RUN).sources
        piece = next(archive.cut(source, ra, dec))
    assert_allclose(np.nansum(piece.cutout.image), 40.0, rtol=0.02)
    assert (piece.saturation_source, piece.cutout.saturated.sum()) == ("mask", 9)


def test_bits_of_another_band_do_not_count(tmp_path, coadd_files, cut):
    coadd_files.write("legacy", tmp_path / "tiles", "g")
    assert cut("legacy", tmp_path, "g")["g"].cutout.saturated.sum() == 9


@pytest.mark.parametrize("name", ["legacy", "ps1", "kids"])
def test_a_tile_without_its_companion_has_the_saturation_of_its_header(name, tmp_path, coadd_files, cut):
    path = coadd_files.write(name, tmp_path / "tiles", "r")
    for other in path.parent.iterdir():
        if other != path:
            other.unlink()
    piece = cut(name, tmp_path, "r")["r"]
    assert piece.saturation_source == ""
    assert not piece.cutout.saturated.any()


def test_a_companion_of_other_pixels_is_refused(tmp_path, coadd_files, cut):
    path = coadd_files.write("kids", tmp_path / "tiles", "r")
    fits.PrimaryHDU(np.zeros((20, 20), np.uint8)).writeto(
        path.with_name(path.name.replace("_sci", "_msk")), overwrite=True
    )
    with pytest.raises(ArchiveError, match=r"KiDS_DR4.0_150.1_2.2_r_msk.fits flags 20 x 20 pixels, but .*200 x 220"):
        cut("kids", tmp_path, "r")


def _without(*keys):
    def edit(header):
        for key in keys:
            del header[key]

    return edit


def _with(**cards):
    return lambda header: header.update(cards)


@pytest.mark.parametrize(
    ("name", "edit", "words"),
    [
        ("hsc", _without("FLUXMAG0"), "has no BUNIT and states no zero point; pass --unit or --zero-point"),
        ("des", _without("MAGZERO"), "has no BUNIT and states no zero point; pass --unit or --zero-point"),
        ("ps1", _without("BOFFSET"), "scaled by asinh, like Pan-STARRS1 stacks, but .* it has only BSOFTEN = 221.88"),
        ("ps1", _without("BSOFTEN"), "scaled by asinh, like Pan-STARRS1 stacks, but .* it has only BOFFSET = 7.172"),
        ("ps1", _without("EXPTIME"), "is that of counts per second, and there is no EXPTIME"),
        ("legacy", _with(MAGZERO=30.0, BUNIT="counts"), "states a zero point of 30, but all files of Legacy Surveys"),
    ],
)
def test_a_tile_whose_flux_is_unknown_is_refused_in_one_line(name, edit, words, tmp_path, coadd_files, cut):
    path = coadd_files.write(name, tmp_path / "tiles", "r", edit=edit)
    with pytest.raises(ArchiveError, match=words) as error:
        cut(name, tmp_path, "r")
    assert path.name in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["hsc", "des"])
def test_the_user_may_state_the_zero_point(name, tmp_path, coadd_files, cut):
    edit = _without("FLUXMAG0" if name == "hsc" else "MAGZERO")
    coadd_files.write(name, tmp_path / "tiles", "r", edit=edit)
    piece = cut(name, tmp_path, "r", given=Given(zero_point=ZERO_POINTS[name]))["r"]
    assert_allclose(np.nansum(piece.cutout.image), 40, rtol=0.02)
    assert cut(name, tmp_path, "r", given=Given(unit="counts"))["r"].zero_point == SURVEYS[name].zero_point


@pytest.mark.parametrize("name", NAMES)
def test_a_tile_with_other_pixels_is_refused(name, tmp_path, coadd_files, cut):
    def edit(header):
        for key in ("CD1_1", "CD2_2", "CDELT1", "CDELT2"):
            if key in header:
                header[key] *= 1.1

    coadd_files.write(name, tmp_path / "tiles", "r", edit=edit)
    if name == "hsc":  # its WCS is in the header of the image
        with fits.open(next((tmp_path / "tiles").iterdir()), mode="update") as hdus:
            edit(hdus[1].header)
    with pytest.raises(ArchiveError, match=f'has pixels of .*", but the row of {SURVEYS[name].title} has'):
        cut(name, tmp_path, "r")


@pytest.mark.parametrize("name", NAMES)
def test_a_filter_that_the_survey_does_not_have_is_left_out(name, tmp_path, coadd_files, cut):
    def edit(header):
        for key in ("FILTER", "FILTERX", "BAND", "FPA.FILTERID"):
            if key in header:
                header[key] = "N921"

    coadd_files.write(name, tmp_path / "tiles", "r", edit=edit)
    with pytest.raises(ArchiveError, match=f"has no {SURVEYS[name].title} image: the keyword .* names one of"):
        cut(name, tmp_path, "r")


@pytest.mark.parametrize("name", ["kids", "legacy"])
def test_files_of_a_survey_with_one_zero_point_need_not_state_it(name):
    assert calibrate(SURVEYS[name], "tile.fits", fits.Header()).zero_point == SURVEYS[name].zero_point


def test_a_header_gives_saturation_seeing_and_gain():
    header = fits.Header({"MAGZERO": 30.0, "SATURATE": 5e4, "GAIN": 4.0, "SEEING": 0.9})
    found = calibrate(SURVEYS["des"], "tile.fits", header)
    assert_array_equal([found.saturation, found.gain, found.psf_fwhm], [5e4, 4.0, 0.9])
    unknown = calibrate(SURVEYS["des"], "tile.fits", fits.Header({"MAGZERO": 30.0, "SATURATE": 0.0}))
    assert_array_equal([unknown.saturation, unknown.gain, unknown.psf_fwhm], [np.inf, np.nan, np.nan])
