"""Saturated pixels of SDSS frames: by fpM files that are known, and by frames whose stars are known."""

import gzip
import logging

import numpy as np
import pytest
from astropy.io import fits
from numpy.testing import assert_array_equal

from survey_tools.archives.download import mirror as warned
from survey_tools.archives.download.mirror import Mirror
from survey_tools.archives.fits_files import open_image
from survey_tools.archives.plan import Access, SourceFile
from survey_tools.archives.sdss.archive import FRAME_BYTES, SdssOptions, open_archive
from survey_tools.archives.sdss.frame_noise import read_noise
from survey_tools.archives.sdss.frames import Frame
from survey_tools.archives.sdss.saturation import BYTES, FPM, FULL_SCALE, find_mask, read_plane, saturated_by_frame
from survey_tools.build.fetch import fetch
from survey_tools.errors import ArchiveError
from survey_tools.surveys import SDSS
from survey_tools.tasks import Engine
from survey_tools.twin_sky.frames import MASKS, mask_table, plane_list

NAME = FPM.format(rerun=301, run=94, camcol=3, band="r", field=100)
CALIBRATION = 0.005  # [nanomaggy/DN]


@pytest.fixture(autouse=True)
def nothing_said():
    warned._said.clear()


def write_mask(root, saturated, name=NAME):
    """An fpM file whose plane SATUR has the pixels (row, col) that are True."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    planes = [mask_table(saturated if plane == "SATUR" else None) for plane in MASKS]
    fits.HDUList([fits.PrimaryHDU(), *planes, plane_list()]).writeto(path)
    return path


def star(peak, centre, fwhm, shape=(60, 70)):
    """A Moffat star [DN] of a seeing `fwhm` [pixel]."""
    row, col = np.indices(shape)
    radius = fwhm / (2 * np.sqrt(2 ** (1 / 3.0) - 1))
    return peak * (1 + ((row - centre[0]) ** 2 + (col - centre[1]) ** 2) / radius**2) ** -3.0


def by_frame(counts, sky=120.0):
    return saturated_by_frame(counts * CALIBRATION, np.full(counts.shape[1], CALIBRATION), sky)


def pattern(shape):
    """Pixels of any shape: a block with a hole in it, at a corner, touching by a corner, and in the last row."""
    mask = np.zeros(shape, bool)
    mask[0, 0] = mask[5:9, 7:20] = mask[30, 30] = mask[31, 31] = mask[-1, -4:] = True
    mask[6, 10] = False
    return mask


def test_the_pixels_of_a_plane_are_those_of_its_spans():
    mask = pattern((1489, 2048))
    hdus = fits.HDUList([fits.PrimaryHDU(), mask_table(None), mask_table(mask), plane_list()])
    assert_array_equal(read_plane(hdus, "S_MASK_SATUR", mask.shape), mask)
    assert not read_plane(hdus, "S_MASK_INTERP", mask.shape).any()


def test_a_real_mask_has_as_many_pixels_as_it_says(real_data):
    with fits.open(real_data / "sdss_field_3900-6-269/fpM-003900-u6-0269.fit.gz") as hdus:
        for index, plane in enumerate(MASKS):
            found = read_plane(hdus, f"S_MASK_{plane}", (1489, 2048)).sum()
            stated = sum(hdus[1 + index].data["npix"].tolist()) if len(hdus[1 + index].data) else 0
            assert stated * 0.8 <= found <= stated  # whose sets may overlap
            assert (found == 0) == (stated == 0)


@pytest.mark.parametrize("packed", [True, False])
def test_a_mask_is_read_packed_or_not(tmp_path, packed):
    mask = pattern((200, 300))
    write_mask(tmp_path, mask, NAME if packed else NAME.removesuffix(".gz"))
    assert_array_equal(find_mask(Mirror(str(tmp_path), tmp_path), NAME, mask.shape, due=True), mask)


@pytest.mark.parametrize("damage", ["absent", "cut", "off the frame", "no list"])
def test_a_mask_that_cannot_be_used_is_warned_of_once(tmp_path, caplog, damage):
    mask = pattern((200, 300))
    if damage != "absent":
        path = write_mask(tmp_path, mask)
        content = path.read_bytes()
        path.write_bytes(gzip.compress(gzip.decompress(content)) if damage != "cut" else content[: len(content) // 2])
    if damage == "no list":
        with fits.open(path) as hdus:
            hdus[:-1].writeto(path, overwrite=True)
    shape = (100, 300) if damage == "off the frame" else mask.shape
    mirror = Mirror(str(tmp_path), tmp_path)
    with caplog.at_level(logging.WARNING):
        assert [find_mask(mirror, NAME, shape, due=True) for _ in range(2)] == [None, None]
    assert [NAME in record.getMessage() for record in caplog.records] == [True]
    caplog.clear()
    if damage == "absent":
        find_mask(mirror, NAME.replace("0100", "0101"), shape, due=False)
        assert not caplog.records


@pytest.mark.parametrize("fwhm", [2.3, 3.3, 5.0])
@pytest.mark.parametrize("centre", [(30.0, 30.0), (30.5, 30.4), (0.0, 33.0)])
def test_stars_below_full_scale_are_not_saturated(fwhm, centre):
    counts = star(60_000, centre, fwhm) + star(20_000, (40.0, 36.0), fwhm)
    assert not by_frame(counts + np.random.default_rng(0).normal(0, 5, counts.shape)).any()


def test_full_scale_is_saturated_with_the_core_around_it():
    counts = star(80_000, (30, 30), 3.3) + star(50_000, (30, 60), 3.3)
    found = by_frame(counts)
    assert found[counts + 120.0 >= FULL_SCALE].all()
    assert found[30, 30]
    assert not found[:, 45:].any()
    assert counts[found].min() > 1000


def test_a_core_that_was_interpolated_is_saturated_though_it_is_faint():
    counts = star(90_000, (30, 30), 3.3)
    counts[29:32, :] = np.minimum(counts[29:32, :], 5000.0)
    counts[30, 29] = counts[30, 31] = 18_000.0
    found = by_frame(counts)
    assert found[28:33, 28:33].all()
    assert not found[:, 45:].any()
    assert not by_frame(np.minimum(counts, 2500.0)).any()


def test_the_saturated_stars_of_a_real_field_are_found_and_nothing_else(real_data, tmp_path):
    """Of the three stars of r = 13.7, one is saturated in g and all are in r; no galaxy is."""
    stars = [(38.57078, -7.09054), (38.51253, -7.06088), (38.56179, -7.12370)]
    galaxies = [(38.57159, -7.09912), (38.62781, -7.06985), (38.62705, -7.03109), (38.69696, -7.07956)]
    for band, wanted in (("g", [1, 0, 0]), ("r", [1, 1, 1])):
        name = Frame(7264, 301, 3, 111, band).name
        with open_image(SDSS, Mirror(str(real_data), tmp_path), name) as (image, _, pixels), pixels.hdus() as hdus:
            flux, wcs = pixels[:, :], image.wcs
            noise = read_noise(hdus, 7264, 3, band, flux.shape)
        found = saturated_by_frame(flux, noise.calibration, float(noise.sky.mean()))

        def near(place, found=found, wcs=wcs):
            col, row = np.rint(wcs.wcs_world2pix([place], 0)[0]).astype(int)
            return int(found[max(row - 6, 0) : row + 7, max(col - 6, 0) : col + 7].sum() > 20)

        assert [near(place) for place in stars] == wanted
        assert not any(map(near, galaxies))
        assert found.sum() <= 150 * sum(wanted)


@pytest.mark.parametrize("masks", [None, True, False])
def test_a_store_says_which_told_of_its_saturated_pixels(tmp_path, known_sky, galaxy, masks):
    root, hdus = tmp_path / "mirror", known_sky.noise_hdus(CALIBRATION, 120.0)
    for band in "gr":
        known_sky.write_frame(root, band, [galaxy], noise=0, others=hdus)
    saturated = np.zeros(known_sky.FRAME_SHAPE, bool)
    saturated[105:111, 128:134] = True  # around the galaxy, which is at (108, 131) in r
    write_mask(root, saturated)
    archive = open_archive(Access(tmp_path / "work", str(root)), SdssOptions(masks=masks))
    store = fetch(archive, known_sky.catalogue([(galaxy.ra, galaxy.dec)]), tmp_path / "s.zarr", bands="gr")
    by_mask = masks is not False
    assert store.column("saturation_source").tolist() == [["frame", "fpM" if by_mask else "frame"]]
    flagged = np.asarray(store.mask[0]) & np.isfinite(store.images[0])
    assert_array_equal(store.column("saturated")[0], flagged.sum(axis=(1, 2)))
    assert not flagged[0].any()
    assert flagged[1, 31:33, 31:33].all() == by_mask
    assert 30 <= flagged[1].sum() <= 80 if by_mask else not flagged[1].any()


def test_masks_are_downloaded_where_they_are_asked_for(small_archive, archive_server, known_sky, tmp_path):
    small = small_archive.small_archive(tmp_path / "archive", known_sky, bands="gr")
    saturated = np.ones(known_sky.FRAME_SHAPE, bool)
    write_mask(small.folder, saturated)
    catalogue = small.catalogue()
    with archive_server.serve(small.archive) as server:
        for masks in (None, True):
            access = Access(tmp_path / "work", settings=server.settings(tmp_path / "cache"))
            archive = open_archive(access, SdssOptions(psf=False, masks=masks))
            plan = archive.plan(catalogue, ("r",), Engine(2).run)
            cost = (FRAME_BYTES + BYTES, 2) if masks else (FRAME_BYTES, 1)
            assert {(source.bytes, source.requests) for source in plan.sources} == {cost}
            source = next(source for source in plan.sources if source.key.field == 100)
            ra, dec = (np.asarray(catalogue[name])[source.rows] for name in ("ra", "dec"))
            (piece, *_) = archive.cut(source, ra, dec)
            assert piece.cutout.saturated.any() == bool(masks)
            assert piece.saturation_source == ("fpM" if masks else "")  # these frames do not tell their calibration
            asked = [request.path for request in server.log if "fpM" in request.path]
            assert len(asked) == bool(masks)


def test_an_archive_that_errs_is_no_archive_without_masks(
    small_archive, archive_server, known_sky, tmp_path, no_waiting
):
    small = small_archive.small_archive(tmp_path / "archive", known_sky, bands="r")
    frame = Frame(94, 301, 3, 100, "r")
    with archive_server.serve(small.archive, faults=[archive_server.Fault("403", "fpM", times=-1)]) as server:
        access = Access(tmp_path / "work", settings=server.settings(tmp_path / "cache"))
        archive = open_archive(access, SdssOptions(psf=False, masks=True))
        with pytest.raises((ArchiveError, ConnectionError)):
            list(archive.cut(SourceFile(frame.name, "r", np.array([0]), frame), [150.0], [2.0]))
