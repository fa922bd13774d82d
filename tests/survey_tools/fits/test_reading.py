import bz2
import gzip

import numpy as np
import pytest
from astropy.io import fits

from survey_tools.errors import ArchiveError
from survey_tools.fits import reading
from survey_tools.fits.reading import SUFFIXES, open_pixels, opened, require_complete, values_of


@pytest.fixture
def path(tmp_path):
    table = fits.BinTableHDU.from_columns([fits.Column("A", "PE", array=[np.arange(5.0), np.arange(900.0) + 0.1])])
    fits.HDUList([fits.PrimaryHDU(np.zeros((40, 50), np.float32)), table]).writeto(tmp_path / "a.fits")
    return tmp_path / "a.fits"


def test_a_whole_file_is_complete_and_need_not_fill_its_last_block(path):
    require_complete(path, "a")
    path.write_bytes(path.read_bytes().rstrip(b"\0"))
    require_complete(path, "a")


@pytest.mark.parametrize("kept", [0.0, 0.2, 0.5, 0.7, 0.85])
def test_a_file_that_was_cut_short_is_not(path, kept):
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(ArchiveError, match=r"^a is (truncated|empty)"):
        require_complete(path, "a")


def test_what_is_not_fits_is_not(path):
    path.write_bytes(b"<html></html>")
    with pytest.raises(ArchiveError, match="a is not FITS"):
        require_complete(path, "a")


IMAGE = np.random.default_rng(3).normal(100, 20, (30, 40)).astype(np.float32)


def read(path):
    """Pixels by parts and as a whole, which must be the same."""
    with open_pixels(path, path.name) as (hdu, pixels):
        parts = pixels[0:30, 0:40]
        np.testing.assert_array_equal(pixels[3:7, 5:9], parts[3:7, 5:9])
    with opened(path, path.name) as (stream, hdus):
        whole = values_of(path.name, stream, hdus[hdu.index])
    np.testing.assert_allclose(whole, parts, rtol=1e-6)
    return parts


def forms():
    """Files of the same image, each as (HDUs, tolerance)."""
    whole = np.round(IMAGE).astype(np.int32)
    scaled = fits.PrimaryHDU(IMAGE.copy())
    scaled.scale("int16", bscale=0.01, bzero=100)
    blank = whole.copy()
    blank[2, 3] = -999
    blank_header = fits.Header({"BLANK": -999})
    yield "float64", fits.PrimaryHDU(IMAGE.astype(float)), 1e-6
    yield "unsigned 16 bits, by BZERO", fits.PrimaryHDU(whole.astype(np.uint16)), 0.5
    yield "signed 8 bits, by BZERO", fits.PrimaryHDU((whole // 2).astype(np.int8)), None
    yield "64 bits", fits.PrimaryHDU(whole.astype(np.int64)), 0.5
    yield "BSCALE and BZERO", scaled, 0.006
    yield "BLANK", fits.PrimaryHDU(blank, blank_header), 0.5
    empty = fits.PrimaryHDU()
    yield "BLANK, compressed", fits.HDUList([empty, fits.CompImageHDU(blank, blank_header)]), 0.5
    yield "unsigned, compressed", fits.HDUList([empty, fits.CompImageHDU(whole.astype(np.uint16))]), 0.5
    yield "floats, compressed", fits.HDUList([empty, fits.CompImageHDU(IMAGE, quantize_level=64)]), 0.4
    yield "an axis of one pixel", fits.PrimaryHDU(IMAGE[None]), 1e-6
    yield "two axes of one pixel", fits.PrimaryHDU(IMAGE[None, None]), 1e-6
    plane = fits.CompImageHDU(IMAGE[None], quantize_level=0, compression_type="GZIP_1")
    yield "one plane, compressed", fits.HDUList([empty, plane]), 1e-6
    table = fits.BinTableHDU.from_columns([fits.Column("A", "J", array=[1, 2])])
    weight = fits.ImageHDU(np.ones((30, 40), np.float32), name="WHT")
    yield "behind a table and weights", fits.HDUList([empty, table, weight, fits.ImageHDU(IMAGE, name="SCI")]), 1e-6
    odd = fits.PrimaryHDU(IMAGE)
    odd.header["BLANK"] = -32768
    yield "BLANK of floats, which says nothing", odd, 1e-6


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("hdus", "tolerance"), [form[1:] for form in forms()], ids=[form[0] for form in forms()])
def test_every_form_of_an_image_is_read(tmp_path, hdus, tolerance):
    hdus.writeto(tmp_path / "a.fits", output_verify="ignore")
    found = read(tmp_path / "a.fits")
    due = IMAGE.copy() if tolerance else np.round(IMAGE) // 2
    blank = np.isnan(found)
    assert blank.sum() in (0, 1)
    np.testing.assert_allclose(found[~blank], due[~blank], atol=tolerance or 0)


PACKERS = {".fits": bytes, ".fit": bytes, ".fts": bytes, ".FITS": bytes, ".fits.gz": gzip.compress}
PACKERS |= {".fts.gz": gzip.compress, ".fits.bz2": bz2.compress, ".fit.bz2": bz2.compress, ".fits.fz": bytes}


@pytest.mark.parametrize("suffix", PACKERS)
def test_suffixes_and_packings_are_read_and_a_wrong_suffix_does_not_matter(tmp_path, suffix):
    fits.PrimaryHDU(IMAGE).writeto(tmp_path / "plain")
    content = (tmp_path / "plain").read_bytes()
    for name, pack in ((f"a{suffix}", PACKERS[suffix]), (f"wrong{suffix}", bz2.compress)):
        (tmp_path / name).write_bytes(pack(content))
        np.testing.assert_array_equal(read(tmp_path / name), IMAGE)
    assert f"a{suffix}".lower().endswith(SUFFIXES)


def edited(path, edit):
    fits.PrimaryHDU(IMAGE, fits.Header({"TMPKEY": 1, "OBJECT": "cafe", "FILTER": "r"})).writeto(path)
    path.write_bytes(edit(path.read_bytes()))
    return path


ODD = {
    "a keyword in small letters": lambda content: content.replace(b"TMPKEY  =", b"tmp.key =", 1),
    "a keyword with a space": lambda content: content.replace(b"TMPKEY  =", b"TMP KEY =", 1),
    "letters beyond ASCII": lambda content: content.replace(b"cafe", b"caf\xe9", 1),
    "a line feed in a card": lambda content: content.replace(b"cafe", b"caf\n", 1),
    "data that do not fill the last block": lambda content: content.rstrip(b"\0"),
    "zeros behind the header's end": lambda content: content.replace(b"END" + b" " * 77, b"END" + bytes(77), 1),
    "rubbish behind the last HDU": lambda content: content + b"rubbish" * 1000,
    "a few bytes behind the last HDU": lambda content: content + b"\n",
    "blocks of zeros behind the last HDU": lambda content: content + bytes(5760),
}


@pytest.mark.parametrize("edit", ODD.values(), ids=ODD)
def test_a_file_that_is_odd_but_whole_is_read(tmp_path, edit):
    path = edited(tmp_path / "a.fits", edit)
    np.testing.assert_array_equal(read(path), IMAGE)
    with opened(path, "a") as (_, hdus):
        assert hdus[0].header["FILTER"] == "r"


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress])
@pytest.mark.parametrize("kept", [0.3, 0.8, 0.98])
def test_a_file_that_was_cut_short_is_said_to_be_truncated(tmp_path, pack, kept):
    fits.PrimaryHDU(np.random.default_rng(0).normal(size=(100, 100))).writeto(tmp_path / "a")
    content = pack((tmp_path / "a").read_bytes())
    (tmp_path / "a").write_bytes(content[: int(kept * len(content))])
    with pytest.raises(ArchiveError, match="truncated"):
        read(tmp_path / "a")


@pytest.mark.parametrize("edit", [lambda c: c[:2000] + b"\xff" * 400 + c[2400:]])
def test_a_packed_file_whose_bytes_were_changed_is_damaged_and_not_said_to_be_truncated(tmp_path, edit):
    fits.PrimaryHDU(np.random.default_rng(0).normal(size=(100, 100))).writeto(tmp_path / "a")
    (tmp_path / "a").write_bytes(edit(bz2.compress((tmp_path / "a").read_bytes())))
    with pytest.raises(ArchiveError) as caught:
        read(tmp_path / "a")
    assert "truncated" not in str(caught.value)


def test_an_extension_has_the_keywords_of_an_empty_primary_but_no_part_of_its_wcs_or_calibration(tmp_path):
    shared = {"FILTER": "r", "MAGZERO": 25.0, "PHOTZP": 26.0, "CRVAL1": 10.0, "PV1_1": 2.0, "EXPTIME": 30.0}
    primary = fits.PrimaryHDU(header=fits.Header(shared))
    own = fits.Header({"CTYPE1": "RA---TAN", "MAGZERO": 27.0})
    silent = fits.Header({"OBJECT": "chip 2"})
    fits.HDUList([primary, fits.ImageHDU(IMAGE, own), fits.ImageHDU(IMAGE, silent)]).writeto(tmp_path / "a.fits")
    with opened(tmp_path / "a.fits", "a") as (_, hdus):
        first, second = hdus[1].header, hdus[2].header
    assert (first["FILTER"], first["EXPTIME"], first["MAGZERO"]) == ("r", 30.0, 27.0)
    assert not {"PHOTZP", "CRVAL1", "PV1_1"} & set(first)
    assert (second["MAGZERO"], second["PHOTZP"], second["CRVAL1"]) == (25.0, 26.0, 10.0)
    assert second["NAXIS"] == 2


def with_card(path, keyword, value):
    """The file with the 70 characters `value` in the card of its last header that has this keyword."""
    content = path.read_bytes()
    at = content.rindex(f"{keyword:<8}= ".encode())
    path.write_bytes(content[: at + 10] + f"{value:<70}".encode() + content[at + 80 :])


def test_an_unreadable_card_is_left_out_unless_pixels_depend_on_it(tmp_path):
    header = fits.Header({"PSFFWHM": 1.2, "BUNIT": "nanomaggy", "OBJECT": "a"})
    fits.PrimaryHDU(IMAGE, header).writeto(tmp_path / "a.fits")
    with_card(tmp_path / "a.fits", "PSFFWHM", "1.000.000")
    with_card(tmp_path / "a.fits", "OBJECT", "'it's open")
    with_card(tmp_path / "a.fits", "BUNIT", "'unterminated")
    with opened(tmp_path / "a.fits", "a") as (_, hdus):
        assert "PSFFWHM" not in hdus[0].header
        assert "OBJECT" not in hdus[0].header
        with pytest.raises(fits.VerifyError, match="BUNIT"):
            hdus[0].header["BUNIT"]


def test_a_packed_image_has_the_tiles_of_its_pixels(tmp_path):
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(IMAGE)]).writeto(tmp_path / "a.fits")
    with_card(tmp_path / "a.fits", "ZNAXIS2", f"{4000000:>20}")
    with pytest.raises(ArchiveError, match="should have 4000000 x 40 pixels in tiles of 1 x 40, but has 30 tiles"):
        read(tmp_path / "a.fits")


def test_pixels_are_finite_or_there_are_none(tmp_path):
    image = IMAGE.copy()
    image[0, :2] = np.inf, np.nan
    fits.PrimaryHDU(image).writeto(tmp_path / "a.fits")
    values = read(tmp_path / "a.fits")
    assert np.isnan(values[0, :2]).all()
    assert np.isfinite(values[1:]).all()


@pytest.fixture
def by_rows(tmp_path, monkeypatch):
    """A file that is compressed row by row, its pixels, and the parts of it that are decompressed."""
    image = np.random.default_rng(5).normal(0, 1, (200, 100)).astype(np.float32)
    packed = fits.CompImageHDU(image, compression_type="GZIP_1", quantize_level=0, tile_shape=(1, 100))
    fits.HDUList([fits.PrimaryHDU(), packed]).writeto(tmp_path / "rows.fits.fz")
    asked, raw = [], reading._Tiles._raw

    def counted(tiles, part):
        asked.append(part)
        return raw(tiles, part)

    monkeypatch.setattr(reading._Tiles, "_raw", counted)
    return tmp_path / "rows.fits.fz", image, asked


WINDOWS = [(slice(at, at + 10), slice(at // 2, at // 2 + 10)) for at in range(0, 180, 6)]


def test_a_compressed_image_is_decompressed_once_if_many_windows_are_expected(by_rows):
    path, image, asked = by_rows
    with open_pixels(path, "a") as (_, pixels):
        pixels.expect(len(WINDOWS), 10)
        for part in WINDOWS:
            np.testing.assert_array_equal(pixels[part], image[part])
    assert len(asked) == 1


def test_a_few_windows_of_a_compressed_image_are_read_alone(by_rows):
    path, image, asked = by_rows
    with open_pixels(path, "a") as (_, pixels):
        pixels.expect(3, 10)
        for part in WINDOWS[:3]:
            np.testing.assert_array_equal(pixels[part], image[part])
    assert asked == WINDOWS[:3]


def test_windows_that_nobody_expected_are_read_alone_until_they_have_taken_half_of_the_whole(by_rows):
    path, image, asked = by_rows
    with open_pixels(path, "a") as (_, pixels):
        for part in WINDOWS:
            np.testing.assert_array_equal(pixels[part], image[part])
    assert len(asked) == 11  # ten windows of ten rows of 200, and the whole image


def test_a_damaged_tile_concerns_only_the_windows_that_have_it(by_rows):
    path, image, _ = by_rows
    with fits.open(path) as hdus, fits.open(path, disable_image_compression=True) as plain:
        start = hdus[1]._bintable._data_offset if hasattr(hdus[1], "_bintable") else plain[1]._data_offset
        first = (
            start + plain[1].header["THEAP"] if "THEAP" in plain[1].header else start + plain[1].header["NAXIS1"] * 200
        )
    content = bytearray(path.read_bytes())
    content[first + 20 : first + 60] = bytes(40)
    path.write_bytes(content)
    with open_pixels(path, "a") as (_, pixels):
        pixels.expect(len(WINDOWS), 10)
        for part in WINDOWS[1:]:
            np.testing.assert_array_equal(pixels[part], image[part])
        with pytest.raises(ArchiveError, match="a "):
            pixels[WINDOWS[0]]
