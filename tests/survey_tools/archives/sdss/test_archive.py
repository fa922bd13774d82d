import bz2
import pickle
import shutil
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from numpy.testing import assert_allclose, assert_array_equal

from survey_tools.archives.download import hosts
from survey_tools.archives.download import mirror as warned
from survey_tools.archives.download.mirror import Mirror
from survey_tools.archives.fits_files import describe
from survey_tools.archives.plan import Access, SourceFile
from survey_tools.archives.sdss import field_list, psfield
from survey_tools.archives.sdss.archive import FRAME_BYTES, SdssOptions, open_archive
from survey_tools.archives.sdss.frames import LISTED, NAMED, NEXT, Frame
from survey_tools.archives.settings import ArchiveSettings
from survey_tools.build import fetch
from survey_tools.errors import ArchiveError
from survey_tools.surveys import SDSS
from survey_tools.tasks import Engine

BANDS = SDSS.bands
RUN = Engine(2).run


@pytest.fixture(autouse=True)
def fresh():
    psfield._psfs.cache_clear()
    warned._said.clear()
    hosts.forget()


@pytest.fixture
def archive(mirror, tmp_path):
    return open_archive(Access(tmp_path / "work", mirror.root))


def names(sources):
    return [(source.name.rsplit("/")[-1], source.rows.tolist()) for source in sources]


def pieces(archive, source, catalogue):
    return list(archive.cut(source, *(np.asarray(catalogue[name])[source.rows] for name in ("ra", "dec"))))


def lacks(archive, plan, catalogue):
    """`Piece.lacks` of all rows, as the engine passes it to `neighbours`."""
    return {
        index: np.array([piece.lacks for piece in pieces(archive, source, catalogue)])
        for index, source in enumerate(plan.sources)
    }


def test_five_bands_of_one_galaxy_agree_in_flux_and_position(archive, mirror, known_sky, galaxy):
    for band in BANDS:
        known_sky.write_frame(mirror.root, band, [galaxy], noise=0)
    catalogue = known_sky.catalogue([(galaxy.ra, galaxy.dec)])
    plan = archive.plan(catalogue, BANDS, RUN)
    assert sorted(source.band for source in plan.sources) == sorted(BANDS)
    for source in plan.sources:
        (piece,) = pieces(archive, source, catalogue)
        image = piece.cutout.image
        assert image.shape == (64, 64)
        assert_allclose(image.sum(), galaxy.flux, rtol=0.005)
        assert_allclose(known_sky.centroid(image), (31.5, 31.5), atol=0.05)
        assert piece.zero_point == 22.5
        assert np.isnan([piece.psf_fwhm, piece.sky_sigma]).all()
        assert (piece.exposure, piece.lacks) == ("94-3", 0)
        assert_allclose(piece.cutout.wcs.wcs_world2pix([[galaxy.ra, galaxy.dec]], 0), [[31.5, 31.5]], atol=1e-6)


@pytest.mark.parametrize("suffix", [".fits", ".fits.gz", ".fits.bz2", ".fit"])
def test_frames_are_found_by_their_headers_whatever_their_names(archive, mirror, known_sky, galaxy, suffix):
    known_sky.write_frame(mirror.root, "r", [galaxy], name=f"some/where/g{suffix}", noise=0)
    known_sky.write_stack(mirror.root, "r", [galaxy])  # of another survey
    Table({"a": [1]}).write(f"{mirror.root}/table.fits")
    catalogue = known_sky.catalogue([(galaxy.ra, galaxy.dec), (10.0, 10.0)], field=100)  # the mirror is not as the SAS
    plan = archive.plan(catalogue, ("r",), RUN)
    assert names(plan.sources) == [(f"g{suffix}", [0])]
    assert (plan.unreadable, plan.sources[0].bytes, plan.sources[0].requests) == ([], 0, 0)
    (piece,) = pieces(archive, plan.sources[0], catalogue)
    assert_allclose(piece.cutout.image.sum(), galaxy.flux, rtol=0.005)


def test_frames_that_the_catalogue_names_are_not_looked_at(archive, mirror, known_sky):
    (known_sky.Path(mirror.root) / "sas").mkdir(parents=True)  # and nothing in it
    catalogue = known_sky.catalogue([(150.0, 2.0), (150.1, 2.0), (150.2, 2.0)], field=100)
    catalogue["field"][1] = 12
    plan = archive.plan(catalogue, ("g", "r"), None)
    assert names(plan.sources) == [
        ("frame-g-000094-3-0012.fits.bz2", [1]),
        ("frame-r-000094-3-0012.fits.bz2", [1]),
        ("frame-g-000094-3-0100.fits.bz2", [0, 2]),
        ("frame-r-000094-3-0100.fits.bz2", [0, 2]),
    ]
    assert {source.key.why for source in plan.sources} == {NAMED}


def test_the_next_field_is_for_the_cutouts_that_stick_out_of_the_rows(archive, mirror, known_sky):
    wcs = known_sky.frame_wcs("r", 100)
    places = [(110, 130), (200, 130), (20, 130), (110, 5), (110, 255), (205, 100)]
    catalogue = known_sky.catalogue([known_sky.position(wcs, *place) for place in places], field=100)
    for field in (99, 100):
        known_sky.write_frame(mirror.root, "r", [], field=field)
    plan = archive.plan(catalogue, ("r",), RUN)
    assert names(plan.sources) == [("frame-r-000094-3-0100.fits.bz2", [0, 1, 2, 3, 4, 5])]
    wanted = lacks(archive, plan, catalogue)
    assert_array_equal(wanted[0], [0, 1, -1, 0, 0, 1])  # the neighbour of a column is another camera column's
    neighbours = archive.neighbours(plan, wanted, RUN)
    assert names(neighbours) == [("frame-r-000094-3-0099.fits.bz2", [2]), ("frame-r-000094-3-0101.fits.bz2", [1, 5])]
    assert {source.key.why for source in neighbours} == {NEXT}
    (there,) = pieces(archive, neighbours[0], catalogue)
    assert 0 < np.isfinite(there.cutout.image).mean() < 1
    assert there.lacks == 0
    for piece in pieces(
        archive, neighbours[1], catalogue
    ):  # the scan ended: the field is not there, and that is no loss
        assert np.isnan(piece.cutout.image).all()
        assert not piece.cutout.saturated.any()
        assert piece.cutout.wcs.wcs.crval[0] in catalogue["ra"][[1, 5]]
        assert np.isnan([piece.sky_sigma, piece.psf_fwhm]).all()


def test_a_row_is_not_cut_twice_from_a_field_that_is_named_and_next(archive, mirror, known_sky):
    edge = known_sky.position(known_sky.frame_wcs("r", 100), 200, 130)
    catalogue = known_sky.catalogue(
        [edge, edge, known_sky.position(known_sky.frame_wcs("r", 100), 110, 130)], field=100
    )
    catalogue["field"][1] = 101
    (known_sky.Path(mirror.root) / "sas").mkdir(parents=True)
    plan = archive.plan(catalogue, ("r",), RUN)
    assert [source.rows.tolist() for source in plan.sources] == [[0, 2], [1]]
    neighbours = archive.neighbours(plan, {0: np.array([1, 0]), 1: np.array([-1])}, RUN)
    assert names(neighbours) == [("frame-r-000094-3-0100.fits.bz2", [1]), ("frame-r-000094-3-0101.fits.bz2", [0])]
    plan.sources[1] = SourceFile(plan.sources[1].name, "r", np.array([0, 1]), plan.sources[1].key)
    assert names(archive.neighbours(plan, {0: np.array([1, 0])}, RUN)) == []
    assert archive.neighbours(plan, {}, RUN) == []


def test_a_named_frame_that_is_missing_is_an_error_of_its_objects(archive, mirror, known_sky, galaxy):
    known_sky.write_frame(mirror.root, "g", [galaxy])
    catalogue = known_sky.catalogue([(galaxy.ra, galaxy.dec)], field=100)
    plan = archive.plan(catalogue, ("g", "r"), RUN)
    assert [source.band for source in plan.sources] == ["g", "r"]
    with pytest.raises(ArchiveError, match=r"frame-r-000094-3-0100\.fits\.bz2 is not in the mirror"):
        pieces(archive, plan.sources[1], catalogue)


def live(server, tmp_path, keep=None, **options):
    """The archive as a user has it who gives no mirror."""
    access = Access(tmp_path / "work", settings=server.settings(tmp_path / "cache"), keep=keep)
    return open_archive(access, SdssOptions(**options))


@pytest.fixture
def small(tmp_path, known_sky, small_archive):
    """Frames in r and g of fields 99, 100 and 101, with a psField for 100 only."""
    small = small_archive.small_archive(tmp_path / "archive", known_sky, bands="gr", tiles=(), noise=0.1)
    known_sky.write_psfield(small.folder, (1.6, 1.4, 1.3, 1.2, 1.25), field=100)
    return small


def test_the_live_archive_gives_the_cutouts_of_a_folder_and_keeps_no_file(small, archive_server, tmp_path):
    catalogue = small.catalogue()
    here = open_archive(Access(tmp_path / "work", str(small.folder)))
    with archive_server.serve(small.archive) as server:
        there = live(server, tmp_path, psf=False)
        plan = there.plan(catalogue, ("g", "r"), RUN)
        assert plan.notes == []
        assert server.log == []  # no request for a frame before it is cut
        assert names(plan.sources) == names(here.plan(catalogue, ("g", "r"), RUN).sources)
        assert {(source.bytes, source.requests) for source in plan.sources} == {(FRAME_BYTES, 1)}
        for source in plan.sources:
            for a, b in zip(pieces(here, source, catalogue), pieces(there, source, catalogue), strict=True):
                assert_array_equal(a.cutout.image, b.cutout.image)
                assert (a.exposure, a.lacks) == (b.exposure, b.lacks)
                assert np.isnan(b.psf_fwhm)
        assert server.count("sas") == len(plan.sources)
    assert not any(path.suffix == ".bz2" for path in (tmp_path / "work").rglob("*"))


def test_a_field_beyond_the_scan_is_no_loss_on_the_live_archive_and_any_other_is(small, archive_server, tmp_path):
    catalogue = small.catalogue()
    with archive_server.serve(small.archive) as server:
        there = live(server, tmp_path)
        frame = Frame(94, 301, 3, 102, "r", NEXT)
        (piece,) = pieces(there, SourceFile(frame.name, "r", np.array([0]), frame), catalogue)
        assert np.isnan(piece.cutout.image).all()
        with pytest.raises(ArchiveError) as error:
            pieces(there, SourceFile(frame.name, "r", np.array([0]), frame._replace(why=LISTED)), catalogue)
        assert (error.value.status, error.value.url.endswith("frame-r-000094-3-0102.fits.bz2")) == (404, True)


@pytest.mark.parametrize("keep", [False, True])
def test_the_psf_is_fetched_once_a_field_and_an_object_without_it_is_not_lost(
    small, archive_server, tmp_path, caplog, keep
):
    catalogue = small.catalogue()
    catalogue["field"][1] = 101  # which has no psField
    with archive_server.serve(small.archive) as server:
        there = live(server, tmp_path, keep=tmp_path / "kept" if keep else None)
        plan = there.plan(catalogue, ("g", "r"), RUN)
        assert ["--no-psf leaves these files out" in note for note in plan.notes] == [True]
        first = FRAME_BYTES + psfield.BYTES, 2
        assert [(each.bytes, each.requests) for each in plan.sources[:2]] == [first, (FRAME_BYTES, 1)]
        expected = {("g", 100): 1.4, ("r", 100): 1.3}
        for source in plan.sources:
            psfield._psfs.cache_clear()  # as in as many processes
            found = [piece for piece in pieces(there, source, catalogue) if np.isfinite(piece.cutout.image).any()]
            assert found
            widths = [piece.psf_fwhm for piece in found if np.isfinite(piece.psf_fwhm)]
            width = expected.get((source.band, source.key.field))
            assert {piece.psf_source for piece in found} == {"psField" if width else ""}
            assert widths == [] if width is None else all(1 < each / width < 1.03 for each in widths)
        asked = [request.path for request in server.log if "psField" in request.path]
        assert len([path for path in asked if path.endswith("0100.fit")]) == 1
    assert len([record for record in caplog.records if "0101.fit" in record.getMessage()]) == 1
    assert (tmp_path / "kept").exists() == keep


@pytest.mark.parametrize("frames", ["auto", "list"])
def test_positions_alone_are_found_in_the_list_of_all_fields_that_is_fetched_once(
    small, archive_server, tmp_path, monkeypatch, known_sky, frames
):
    monkeypatch.setattr(field_list, "SHAPE", np.array(known_sky.FRAME_SHAPE))
    monkeypatch.setattr(field_list, "MARGIN", 1)
    catalogue = small.catalogue(named=frames == "list")
    with archive_server.serve(small.archive) as server:
        for _ in range(2):
            there = live(server, tmp_path, frames=frames)
            plan = there.plan(catalogue, ("g", "r"), RUN)
        assert server.count("sas") == 1
        assert {source.key.why for source in plan.sources} == {LISTED}
        uses = {row: [] for row in range(len(catalogue))}
        for source in plan.sources:
            for row, piece in zip(source.rows, pieces(there, source, catalogue), strict=True):
                uses[int(row)] += [(source.key.field, piece)] if source.band == "r" else []
                assert piece.lacks == 0
        assert [[field for field, _ in uses[row]] for row in (0, 1)] == [[100], [100, 101]]
        for row in (0, 1):
            assert np.any([np.isfinite(piece.cutout.image) for _, piece in uses[row]], axis=0).all()
    assert any(line.endswith("window_flist.fits") for line in plan.notes)
    folder = open_archive(Access(tmp_path / "work", str(small.folder)), SdssOptions(frames="list"))
    assert names(folder.plan(catalogue, ("g", "r"), RUN).sources) == names(plan.sources)


def test_the_field_that_the_catalogue_names_is_taken_from_the_list_if_it_is_of_this_rerun(small, tmp_path):
    catalogue = small.catalogue()[[0]]
    catalogue["field"] = 101  # the object is in the middle of 100
    archive = open_archive(Access(tmp_path / "work", str(small.folder)), SdssOptions(frames="list"))
    assert [source.key.field for source in archive.plan(catalogue, ("r",), RUN).sources] == [101]
    catalogue["rerun"] = 40
    assert [source.key.field for source in archive.plan(catalogue, ("r",), RUN).sources] == [100]


SECOND = "sas/dr9/env/PHOTO_RESOLVE/window_flist.fits"


@pytest.mark.parametrize("trouble", ["404", "another"])
def test_the_second_address_of_the_list_serves_where_the_first_does_not(
    small, archive_server, small_archive, tmp_path, trouble
):
    catalogue, first, second = (
        small.catalogue(named=False),
        small.folder / small_archive.FIELD_LIST,
        small.folder / SECOND,
    )
    second.parent.mkdir(parents=True)
    shutil.copy(first, second)
    with archive_server.serve(small.archive) as server:
        there = live(server, tmp_path)
        if trouble == "404":
            first.unlink()
        else:
            first.write_bytes(first.read_bytes()[:-1] + b"!")  # whose checksum is another
        plan = there.plan(catalogue, ("r",), RUN)
        assert plan.sources
        before = server.count("sas", "window_flist")
        assert there.plan(catalogue, ("r",), RUN).sources == plan.sources
        assert server.count("sas", "window_flist") == before  # the second is kept
        second.write_bytes(second.read_bytes()[:-1] + b"?")
        if trouble == "another":
            anew = open_archive(
                replace(there.access, settings=replace(there.access.settings, cache=str(tmp_path / "new")))
            )
            with pytest.raises(ArchiveError, match=r"has SHA-256 \w+ instead of .*SHA256=any accepts it as it"):
                anew.plan(catalogue, ("r",), RUN)


def test_a_list_that_is_not_there_says_what_else_can_be_done(small, archive_server, small_archive, tmp_path):
    (small.folder / small_archive.FIELD_LIST).unlink()
    catalogue = small.catalogue(named=False)
    with (
        archive_server.serve(small.archive) as server,
        pytest.raises(ArchiveError, match="run, rerun, camcol, field") as e,
    ):
        live(server, tmp_path).plan(catalogue, ("r",), RUN)
    assert e.value.status == 404
    with pytest.raises(ArchiveError, match=r"window_flist.fits is not in the mirror"):
        open_archive(Access(tmp_path / "work", str(small.folder)), SdssOptions(frames="list")).plan(
            catalogue, ("r",), RUN
        )


def moved(small, small_archive, known_sky, fields):
    """The list of fields, in which some fields are said to lie where others do."""
    path = small.folder / small_archive.FIELD_LIST
    with fits.open(path, mode="update") as hdus:
        table = hdus[1].data
        for field, other in fields.items():
            this, that = (np.flatnonzero(table["field"] == number)[0] for number in (field, other))
            for name in ("ra", "dec", "mu_start", "mu_end", "nu_start", "nu_end"):
                table[name][this] = table[name][that]


def test_a_listed_frame_whose_middle_is_empty_goes_to_the_next_and_fails_if_none_has_data(
    small, small_archive, known_sky, tmp_path, monkeypatch
):
    """The list has field 99 where 100 is, and the frames say otherwise."""
    monkeypatch.setattr(field_list, "SHAPE", np.array(known_sky.FRAME_SHAPE))
    monkeypatch.setattr(field_list, "MARGIN", 1)
    moved(small, small_archive, known_sky, {99: 100})
    catalogue = small.catalogue(named=False)[[0, 1]]  # the second lies on field 101 as well
    options = SdssOptions(psf=False, frames="list")
    access = partial(Access, mirror=str(small.folder))
    out = tmp_path / "x.zarr"
    found = fetch.fetch(open_archive(access(fetch.work_folder(out)), options), catalogue, out, bands="r")
    row = found.manifest()[0]
    assert row["status"] == "done"
    assert "0100.fits" in row["file"]
    for path in small.folder.rglob("frame-r-*-0100.fits.bz2"):  # the frame itself has no data there
        with fits.open(path) as hdus:
            whole = fits.HDUList([hdu.copy() for hdu in hdus])
        whole[0].data[:] = np.nan
        plain = path.with_suffix("")
        whole.writeto(plain)
        path.write_bytes(bz2.compress(plain.read_bytes()))
        plain.unlink()
    out = tmp_path / "y.zarr"
    lost = fetch.fetch(open_archive(access(fetch.work_folder(out)), options), catalogue, out, bands="r").manifest()[0]
    assert lost["status"] == "failed"
    assert "no SDSS image has data at its position, though the archive's list has it on sas/dr12/" in lost["reason"]
    assert "frame-r-000094-3-0100" in lost["file"]


def test_names_that_are_wanted_and_not_there_are_refused(mirror, known_sky, tmp_path):
    known_sky.write_frame(mirror.root, "r", [], name="frame.fits")
    archive = open_archive(Access(tmp_path / "work", mirror.root), SdssOptions(frames="named"))
    with pytest.raises(ArchiveError, match=r"run, rerun, camcol, field: it does not have them"):
        archive.plan(known_sky.catalogue([(150.0, 2.0)]), ("r",), RUN)
    with pytest.raises(ArchiveError, match=r"contains no sas/"):
        archive.plan(known_sky.catalogue([(150.0, 2.0)], field=100), ("r",), RUN)


def test_the_archive_travels_and_tells_what_the_pixels_depend_on(tmp_path):
    here = open_archive(Access(tmp_path, str(tmp_path)))
    assert pickle.loads(pickle.dumps(here)) == here
    assert here.survey is SDSS
    assert here.facts() == {"mirror": str(tmp_path), "frames": "auto", "psf": "where it is there"}
    assert open_archive(Access(tmp_path, str(tmp_path)), SdssOptions(psf=False)).facts()["psf"] == "no"
    there = open_archive(Access(tmp_path)).facts()
    assert there == {
        "mirror": "the live archive",
        "frames": "auto",
        "psf": "yes",
        "field_list": ArchiveSettings().field_list,
    }
    assert "field_list" not in open_archive(Access(tmp_path), SdssOptions(frames="named")).facts()


def test_a_mirror_without_frames_says_so(archive, mirror, known_sky):
    catalogue = known_sky.catalogue([(150.0, 2.0)])
    with pytest.raises(ArchiveError, match="is not a folder"):
        archive.plan(catalogue, BANDS, RUN)
    known_sky.write_stack(mirror.root, "r", [])
    with pytest.raises(ArchiveError, match="has no SDSS image: the keyword FILTER"):
        archive.plan(catalogue, BANDS, RUN)
    known_sky.write_frame(mirror.root, "g", [])
    with pytest.raises(ArchiveError, match=r"has no SDSS image of band r, i; pass --bands g"):
        archive.plan(catalogue, ("g", "r", "i"), RUN)


@pytest.mark.parametrize("content", ["good", "damaged", "absent"])
def test_the_seeing_in_a_folder_is_that_of_psfield_where_there_is_one(
    archive, mirror, known_sky, galaxy, content, caplog
):
    for band in "rg":
        known_sky.write_frame(mirror.root, band, [galaxy])
    if content != "absent":
        path = known_sky.write_psfield(mirror.root, (1.5, 1.4, 1.3, 1.2, 1.25))
    if content == "damaged":
        path.write_bytes(b"junk")
    catalogue = known_sky.catalogue([(galaxy.ra, galaxy.dec)])
    plan = archive.plan(catalogue, ("g", "r"), RUN)
    seeing = [piece.psf_fwhm for source in plan.sources for piece in pieces(archive, source, catalogue)]
    wider = 1 + 0.1 * 0.1082  # a tenth in 1000 rows
    assert_allclose(seeing, np.array([1.4, 1.3]) * wider if content == "good" else [np.nan, np.nan], rtol=0.005)
    assert len(caplog.records) == (content == "damaged")
    without = open_archive(Access(archive.access.work, mirror.root), SdssOptions(psf=False))
    assert np.isnan([piece.psf_fwhm for source in plan.sources for piece in pieces(without, source, catalogue)]).all()


def test_wcs_and_seeing_of_a_real_field_agree_with_its_photometric_catalogue(real_data, tmp_path):
    folder = real_data / "sdss_field_3900-6-269"
    table = Table.read(folder / "photoObj-003900-6-0269.fits", hdu=1)
    image = describe(SDSS, Mirror(str(folder), tmp_path), "frame-u-003900-6-0269.fits.bz2")[0]
    sharp = table[(table["ROWCERR"][:, 0] < 0.1) & (table["NCHILD"] == 0)]
    assert len(sharp) > 20
    col, row = image.wcs.wcs_world2pix(np.stack([sharp["RA"], sharp["DEC"]], axis=1), 0).T
    # photo counts from the lower left corner of a pixel, FITS and arrays from its centre
    assert abs(np.median(sharp["ROWC"][:, 0] - 0.5 - row)) < 0.1
    assert abs(np.median(sharp["COLC"][:, 0] - 0.5 - col)) < 0.1
    frame = Frame(3900, 301, 6, 269, "u")
    names = {frame.name: "frame-u-003900-6-0269.fits.bz2"}
    names[psfield.PSFIELD.format(**frame._asdict())] = "psField-003900-6-0269.fit"
    for name, original in names.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).symlink_to(folder / original)
    star = sharp[np.argmax(sharp["PSFFLUX"][:, 0])]
    archive = open_archive(Access(tmp_path / "work", str(tmp_path)))
    piece = next(archive.cut(SourceFile(frame.name, "u", np.array([0]), frame), [star["RA"]], [star["DEC"]]))
    assert_allclose(
        piece.psf_fwhm / star["PSF_FWHM"][0], 0.91, atol=0.03
    )  # that of its core; the catalogue's has wings
    assert (piece.exposure, piece.lacks) == ("3900-6", 0)
    peak = np.unravel_index(np.nanargmax(piece.cutout.image), (64, 64))
    assert_allclose(peak, (31.5, 31.5), atol=1.01)


def test_a_mirror_that_holds_a_frame_twice_gives_it_once_and_says_so(archive, mirror, known_sky, galaxy, caplog):
    """The twin without noise below `truth`, a copy and another rerun show the same run, camcol and field."""
    known_sky.write_frame(mirror.root, "r", [galaxy], name="a/b/frame.fits.bz2", noise=0)
    twice = [galaxy, galaxy]
    known_sky.write_frame(mirror.root, "r", twice, name="truth/a/b/frame.fits.bz2", noise=0)
    known_sky.write_frame(mirror.root, "r", twice, name="a/b/old.fits", noise=0, header={"RERUN": "40"})
    known_sky.write_frame(mirror.root, "r", twice, name="a/copy.fits", noise=0, header={"RERUN": "157"})
    catalogue = known_sky.catalogue([(galaxy.ra, galaxy.dec)], field=100)
    plan = archive.plan(catalogue, ("r",), RUN)
    assert [source.name for source in plan.sources] == ["a/b/frame.fits.bz2"]
    (piece,) = pieces(archive, plan.sources[0], catalogue)
    assert_allclose(piece.cutout.image.sum(), galaxy.flux, rtol=0.005)
    said = [record.getMessage() for record in caplog.records if "is left out" in record.getMessage()]
    assert len(said) == 1
    assert "a/b/frame.fits.bz2 shows the same, and 2 more files for the same reason" in said[0]
