"""FITS files written with checksums, with the same bytes whenever they are written.

Astropy's `HDUList.writeto` verifies every card and sets each several times, which takes most of its time, and writes
the time of day beside every checksum. The headers here are our own and need neither.
"""

import warnings
from pathlib import Path
from typing import BinaryIO

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning
from astropy.wcs import WCS

from survey_tools.fits.band_fits import band_hdus, mask_hdu

FLAGGED = "1 where saturated or missing, else 0"
CARD, BLOCK = 80, 2880  # characters of a card; bytes; headers and pixels are padded to whole blocks
NOT_IN_CHECKSUMS = {*range(0x3A, 0x41), *range(0x5B, 0x61)}  # characters between digits and letters
NO_SUM, UNSET = "9" * 10, "0" * 16  # stand for DATASUM and CHECKSUM until they are known


def write_hdus(hdus: fits.HDUList, path: Path) -> None:
    """Write images of numbers, or HDUs without pixels, each with DATASUM and CHECKSUM (FITS standard 4.0, 4.4.2.7)."""
    with path.open("wb") as file:
        for hdu in hdus:
            _write(file, _text(hdu), hdu.data)


def write_bands(
    images: np.ndarray, bands, wcs: WCS, primary: fits.Header, path: Path, masks: np.ndarray | None = None
) -> None:
    """Write the HDUs that `band_hdus` makes of its arguments, and MASK_r beside each band r.

    The headers, which differ between bands only in their names, are made once.

    Parameters
    ----------
    images : (band, row, col) float
        Flux [nanomaggy/pixel].
    bands : sequence of str
        Their names.
    wcs : WCS
        TAN WCS of the pixels, ICRS.
    primary : fits.Header
        Header of the primary HDU.
    path : Path
        The file.
    masks : (band, row, col) bool, optional
        True where a pixel is flagged; by default where it has no data.
    """
    masks = ~np.isfinite(images) if masks is None else masks
    first = band_hdus(images[:1], bands[:1], wcs, primary)
    mask = mask_hdu(masks[0], first[1].header, FLAGGED)
    mask_text, known_mask = _text(mask), mask.header.cards["EXTNAME"].image
    texts = {band: _text(first[1]) for band in bands}
    for key in ("EXTNAME", "FILTER"):
        known = next(card.image for card in first[1].header.cards if card.keyword == key)
        for band in bands:
            card = fits.Card(key, band, first[1].header.comments[key])
            texts[band] = texts[band].replace(known, card.image, 1)
    with path.open("wb") as file:
        _write(file, _text(first[0]), None)
        for band, image, flags in zip(bands, images, masks, strict=True):
            _write(file, texts[band], np.asarray(image, np.float32))
            named = fits.Card("EXTNAME", f"MASK_{band}", mask.header.comments["EXTNAME"]).image
            _write(file, mask_text.replace(known_mask, named, 1), np.asarray(flags, np.uint8))


def band_and_mask_hdus(images: np.ndarray, bands, wcs: WCS, primary: fits.Header, masks: np.ndarray) -> fits.HDUList:
    """Return the HDUs that `write_bands` writes, without their checksums."""
    hdus = band_hdus(images, bands, wcs, primary)
    masked = [(hdu, mask_hdu(mask, hdu.header, FLAGGED)) for hdu, mask in zip(hdus[1:], masks, strict=True)]
    return fits.HDUList([hdus[0], *(each for pair in masked for each in pair)])


def header_of_whole(path: Path) -> fits.Header | None:
    """Return the primary header of a FITS file; None if the file does not exist, or is not complete."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", AstropyUserWarning)  # astropy gives one for a truncated file
            with open(path, "rb") as file, fits.open(file) as hdus:  # astropy leaves a bad file open
                len(hdus)  # reads them all
                return hdus[0].header.copy()
    except (OSError, ValueError, AstropyUserWarning):
        return None


def _text(hdu) -> str:
    """Return the header of an HDU, with room for its checksums."""
    hdu.header["DATASUM"] = (NO_SUM, "data unit checksum")
    hdu.header["CHECKSUM"] = (UNSET, "HDU checksum")
    return hdu.header.tostring()


def _write(file: BinaryIO, text: str, image: np.ndarray | None) -> None:
    """Write one HDU whose header is `text`, with its checksums."""
    pixels = b"" if image is None else image.astype(image.dtype.newbyteorder(">")).tobytes()
    pixels += bytes(-len(pixels) % BLOCK)
    datasum = _sum(pixels)
    text = _put(text, "DATASUM", f"{datasum:<{len(NO_SUM)}}")
    total = _sum(text.encode("ascii"), datasum)
    file.write(_put(text, "CHECKSUM", _encode(0xFFFFFFFF - total)).encode("ascii"))
    file.write(pixels)


def _put(text: str, key: str, value: str) -> str:
    """Return a header whose card `key` has another value of the same length."""
    cards = range(0, len(text), CARD)
    start = next(at for at in cards if text.startswith(f"{key:<8}= '", at)) + len("CHECKSUM= '")
    return text[:start] + value + text[start + len(value) :]


def _sum(content: bytes, start: int = 0) -> int:
    """Return the ones' complement sum of the 32-bit words of whole blocks, added to `start`."""
    total = start + int(np.frombuffer(content, ">u4").sum(dtype=np.uint64))
    while total >> 32:
        total = (total & 0xFFFFFFFF) + (total >> 32)
    return total


def _encode(value: int) -> str:
    """Return a 32-bit number as 16 letters and digits, whose sum, as words of a header, is that number (appendix J)."""
    letters = bytearray(16)
    for place, byte in enumerate(value.to_bytes(4, "big")):
        four = [byte // 4 + ord("0")] * 4
        four[0] += byte % 4
        while NOT_IN_CHECKSUMS & set(four):
            for first in (0, 2):
                if NOT_IN_CHECKSUMS & set(four[first : first + 2]):
                    four[first] += 1
                    four[first + 1] -= 1
        letters[place::4] = bytes(four)
    return (letters[-1:] + letters[:-1]).decode("ascii")
