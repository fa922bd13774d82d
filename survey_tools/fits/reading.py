"""FITS reading: which HDUs a file has, from their headers alone, and the pixels of its images.

Every command reads FITS here. Headers are split by hand, because `astropy.io.fits.open` decompresses a whole file for
them, gives the same warning for a truncated file and for an odd but complete one, and refuses odd cards that nobody
needs. Cards and tile-compressed images are left to astropy.
"""

import bz2
import gzip
import io
import math
import os
import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import numpy as np
from astropy.io import fits

from survey_tools.errors import ArchiveError, first_line
from survey_tools.fits.calibration import STATING
from survey_tools.fits.companions import said_by_header
from survey_tools.images.sky_wcs import OF_A_GRID

ENDINGS, PACKINGS = (".fits", ".fit", ".fts"), (".fz", ".bz2", ".gz")  # suffixes of FITS files
SUFFIXES = tuple(ending + packing for ending in ENDINGS for packing in ("", *PACKINGS))
DECOMPRESSORS = ((b"BZh", bz2.BZ2File), (b"\x1f\x8b", gzip.open))  # first bytes of a file, and its reader
BLOCK, CARD = 2880, 80  # [byte] a block of a FITS file, and a card of its headers
LONGEST_HEADER = 2**20  # [byte]
END_CARD = re.compile(rb"^(?:.{80})*?END[ \0]{5}[ \0]*", re.DOTALL)
A_KEYWORD = re.compile(r"[A-Z0-9_-]* *")  # as the standard allows them, padded to eight characters
COMMENTARY = ("COMMENT", "HISTORY", "")
WITHOUT_A_VALUE = ("COMMENT ", "HISTORY ", "        ", "HIERARCH", "CONTINUE")
STRUCTURE = re.compile(  # keywords that hold for one HDU only, which an image does not inherit from the primary HDU
    r"SIMPLE|XTENSION|BITPIX|NAXIS\d*|EXTEND|NEXTEND|PCOUNT|GCOUNT|GROUPS|BSCALE|BZERO|BLANK|BSOFTEN|BOFFSET|CHECKSUM|DATASUM|EXTNAME"
    r"|EXTVER|EXTLEVEL|INHERIT|Z\w+"
)
A_VALUE = re.compile(  # after "= ": text, a logical value, a number, a complex number or nothing; and a comment
    r" *(?:'(?:[^']|'')*'|[TF]|[+-]? *(?:\d+\.?\d*|\.\d+)(?:[EeDd] *[+-]? *\d+)?"
    r"|\( *[+-]?[\d.]+(?:[EeDd][+-]?\d+)? *, *[+-]?[\d.]+(?:[EeDd][+-]?\d+)? *\)|) *(?:/.*)?"
)
DECIDING = re.compile(  # keywords by which an image is read, placed and calibrated
    f"{STRUCTURE.pattern}|{OF_A_GRID.pattern}|{'|'.join(map(re.escape, sorted(STATING)))}"
    r"|BSOFTEN|BOFFSET|BUNIT|EXPTIME|EXPOSURE|TEXPTIME|FILTER|BANDS|T(FORM|TYPE|DIM|SCAL|ZERO|NULL)\d+|TFIELDS|THEAP"
)
UNREADABLE = (OSError, EOFError, ValueError, TypeError, RuntimeError, IndexError, KeyError, OverflowError, zlib.error)
UNREADABLE += (struct.error, fits.VerifyError)  # the second if the value of a card cannot be read
MOST_PACKED = 10_000  # largest number of pixels per byte of a tile-compressed image; a blank mask has 2,000
ASINH_UNIT = 2.5 * math.log10(math.e)  # by which stacks of Pan-STARRS1 are scaled
MOST_KEPT = 450_000_000  # [byte] of a tile-compressed image that is kept whole: a tile of DES has 400 MB
DEGENERATE = 1  # pixels of an axis that has no meaning


@dataclass(frozen=True)
class Hdu:
    """One header and data unit of a file.

    Attributes
    ----------
    index : int
        Its number, from 0.
    text : str
        Its cards, 80 characters each, without END and without cards whose keywords no standard allows.
    start : int
        Byte at which its data begin.
    size : int
        Size of its data [byte], without the filling of the last block.
    primary : str
        The cards of the primary HDU, if that has no data; else "".
    """

    index: int
    text: str
    start: int
    size: int
    primary: str = ""

    @cached_property
    def own(self) -> fits.Header:
        """Its header as it stands in the file."""
        return fits.Header.fromstring(self.text)

    @cached_property
    def header(self) -> fits.Header:
        """Its header, with those cards of a primary HDU without data that it lacks and that hold for all images.

        The header of a tile-compressed image has the axes of the image, and not those of the table in which it is
        stored.
        """
        more = inherited(self.text, self.primary)
        if not more and not self.compressed:
            return self.own
        header = fits.Header.fromstring(self.text + more)
        if self.compressed:
            header["XTENSION"], header["BITPIX"], header["PCOUNT"] = "IMAGE", bitpix_of(self), 0
            header["NAXIS"] = len(self.axes)
            for axis, count in enumerate(reversed(self.axes), start=1):
                header[f"NAXIS{axis}"] = count
        return header

    @property
    def compressed(self) -> bool:
        """Whether it is a tile-compressed image."""
        return self.own.get("ZIMAGE", False) is True

    @cached_property
    def axes(self) -> tuple[int, ...]:
        """Pixels along each axis of its image, the last axis of the file first, as in numpy; () if it has no image."""
        kind = str(self.own.get("XTENSION", "IMAGE")).strip()
        if kind != "IMAGE" and not self.compressed:
            return ()
        prefix = "Z" if self.compressed else ""
        count = int(self.own.get(f"{prefix}NAXIS", 0))
        return tuple(int(self.own[f"{prefix}NAXIS{axis}"]) for axis in range(count, 0, -1))

    @property
    def shape(self) -> tuple[int, ...]:
        """(rows, columns) of its image, or (planes, rows, columns); axes of one pixel before these are left out."""
        axes = list(self.axes)
        while len(axes) > 2 and axes[0] == DEGENERATE:
            axes.pop(0)
        return tuple(axes) if len(axes) > 1 and min(axes) > 0 else ()

    @property
    def end(self) -> int:
        """Byte after its data."""
        return self.start + self.size


def inherited(text: str, primary: str) -> str:
    """Return the cards of a primary header that an image of an extension has as well.

    A part of a WCS is not inherited, nor a calibration if the image states one itself, because they would be mixed.
    """
    if not primary:
        return ""
    own = {text[at : at + 8].rstrip() for at in range(0, len(text), CARD)}
    calibrated = bool(own & STATING)
    placed = "CTYPE1" in own
    taken, before = [], False
    for at in range(0, len(primary), CARD):
        key = primary[at : at + 8].rstrip()
        if key == "CONTINUE":
            keep = before
        else:
            keep = key not in own and key not in COMMENTARY and not STRUCTURE.fullmatch(key)
            keep &= not (calibrated and key in STATING) and not (placed and OF_A_GRID.fullmatch(key))
        if keep:
            taken.append(primary[at : at + CARD])
        before = keep
    return "".join(taken)


class FitsPixels:
    """The pixels of an open image, read in parts: `pixels[first:last, first:last]`; ArchiveError if damaged."""

    def __init__(self, name: str, hdu: Hdu, section, stream: BinaryIO) -> None:
        self._name, self._section, self.shape, self._stream = name, section, hdu.shape, stream
        self.integers = bitpix_of(hdu) > 0 and scaling_of(hdu).scale == 1

    @contextmanager
    def hdus(self) -> Iterator[fits.HDUList]:
        """Yield all HDUs of the file, as `hdus_by_astropy` does."""
        if isinstance(self._stream, io.BufferedReader):  # `_Rows` reads from it too, so it is opened again
            with hdus_by_astropy(self._stream.name, self._name) as hdus:
                yield hdus
            return
        self._stream.seek(0)
        with hdus_by_astropy(io.BytesIO(self._stream.getvalue()), self._name) as hdus:
            yield hdus

    def __getitem__(self, part: tuple[slice, slice]) -> np.ndarray:
        return self._read(part, np.float32)

    def expect(self, count: int, size: int) -> None:
        """Say beforehand that `count` windows of size × size pixels will be read; then all is decompressed if sooner.

        It changes no value.
        """
        self._section.expect(count, size)

    def bits(self, part: tuple[slice, slice]) -> np.ndarray:
        """Return a part of an image of flags as whole numbers, int64; pixels without a value have no bit."""
        return np.nan_to_num(self._read(part, np.float64)).astype(np.int64)

    def _read(self, part: tuple[slice, slice], dtype) -> np.ndarray:
        """Return the pixel values of a part as floats of one kind."""
        try:
            return np.array(self._section.read(part, dtype), dtype)
        except Exception as error:  # the errors of the decoders of tiles have no common class
            raise damaged(self._name, error) from error


@contextmanager
def hdus_by_astropy(source, name: str) -> Iterator[fits.HDUList]:
    """Yield all HDUs of a file, or of an open one; each is read when it is needed. ArchiveError if one is damaged.

    It is for tables, whose columns astropy reads. The block must only read them: any error in it counts as damage,
    because the errors of astropy for damaged tables have no common class.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with fits.open(source, memmap=False) as hdus:
                yield hdus
        except Exception as error:
            raise damaged(name, error) from error


@dataclass(frozen=True)
class Scaling:
    """How the numbers of a file become pixel values: `zero` + `scale` × number; the number `blank` means no data.

    Stacks of Pan-STARRS1 are scaled by asinh besides. Then the flux is `offset` + 2 `softening` sinh(value / (2.5 log10
    e)), according to Waters et al. (2020, ApJS 251, 4); `softening` is 0 in other files.
    """

    scale: float = 1.0
    zero: float = 0.0
    blank: int | None = None
    softening: float = 0.0
    offset: float = 0.0

    def applied(self, raw: np.ndarray, dtype=np.float32) -> np.ndarray:
        """Return the pixel values of the numbers `raw`, any shape, as floats of one kind.

        NaN if there is no data, or no finite number.
        """
        plain = self.scale == 1 and self.zero == 0
        with np.errstate(all="ignore"):  # numbers that are too large for a float become infinite
            if self.softening:
                stretched = (raw * float(self.scale) + self.zero) / ASINH_UNIT
                values = (self.offset + 2 * self.softening * np.sinh(stretched)).astype(dtype)
            else:
                values = raw.astype(dtype) if plain else (raw * self.scale + self.zero).astype(dtype)
        values[~np.isfinite(values)] = np.nan  # also replaces NaN with odd bits, which cause warnings later
        if self.blank is not None and raw.dtype.kind in "iu":
            values[raw == self.blank] = np.nan
        return values


def scaling_of(hdu: Hdu) -> Scaling:
    """Return BSCALE, BZERO, BLANK, BSOFTEN and BOFFSET of an image; BLANK has no meaning for floats, which have NaN."""

    def number(keyword: str, default: float) -> float:
        value = hdu.own.get(keyword, default)
        try:
            return float(value)
        except (TypeError, ValueError) as error:
            raise ValueError(f"its {keyword} = {value!r} is not a number; correct its header") from error

    blank = hdu.own.get("BLANK", hdu.own.get("ZBLANK"))
    integers = bitpix_of(hdu) > 0
    blank = int(blank) if integers and blank is not None else None
    if "BSOFTEN" not in hdu.own and "BOFFSET" not in hdu.own:
        return Scaling(number("BSCALE", 1.0), number("BZERO", 0.0), blank)
    softening, offset = number("BSOFTEN", math.nan), number("BOFFSET", math.nan)
    if not (softening > 0 and math.isfinite(offset)):
        stated = ", ".join(f"{key} = {hdu.own[key]!r}" for key in ("BSOFTEN", "BOFFSET") if key in hdu.own)
        raise ValueError(
            f"its pixels are scaled by asinh, like Pan-STARRS1 stacks, but of BSOFTEN and BOFFSET it has only {stated}"
        )
    return Scaling(number("BSCALE", 1.0), number("BZERO", 0.0), blank, softening, offset)


def bitpix_of(hdu: Hdu) -> int:
    """Return the bits of a number of an image; negative for floats."""
    return int(hdu.own["ZBITPIX" if hdu.compressed else "BITPIX"])


class _Rows:
    """Pixels of a plain image on disk: `read` reads only a part of them, [first:last, first:last].

    They are not mapped into memory: the parts of a mapped file that were read count as memory of the process, up to 1.5
    GB per stack, and a file that another process truncates ends the process.
    """

    def __init__(self, stream: BinaryIO, hdu: Hdu) -> None:
        self._stream, self._start, self._shape = stream, hdu.start, hdu.shape
        self._dtype, self._scaling = dtype_of(hdu), scaling_of(hdu)

    def expect(self, count: int, size: int) -> None:
        """Any part of a plain file is read by itself."""

    def read(self, part: tuple[slice, slice], dtype) -> np.ndarray:
        rows, cols = (range(*each.indices(length)) for each, length in zip(part, self._shape, strict=True))
        width = self._shape[1] * self._dtype.itemsize
        first, count = self._start + cols.start * self._dtype.itemsize, len(cols) * self._dtype.itemsize
        if isinstance(self._stream, io.BytesIO):
            content = self._stream.getbuffer()
            raw = b"".join([content[first + row * width : first + row * width + count] for row in rows])
        else:
            file = self._stream.fileno()
            raw = b"".join([os.pread(file, count, first + row * width) for row in rows])
        if len(raw) < len(rows) * count:
            raise EOFError("the file ends early")
        return self._scaling.applied(np.frombuffer(raw, self._dtype).reshape(len(rows), len(cols)), dtype)


class _Tiles:
    """Pixels of a tile-compressed image: `read` decompresses only the tiles of a part, [first:last, first:last].

    Most files have tiles of one row, so that a small part takes whole rows. Once the parts together have taken half as
    long as the whole image would, or are expected to, it is decompressed and kept, unless it is too large.
    """

    def __init__(self, section, hdu: Hdu) -> None:
        self._section, self._scaling, self._shape = section, scaling_of(hdu), hdu.shape
        self._before = (0,) * (len(hdu.axes) - len(hdu.shape))
        count = math.prod(hdu.shape)
        self._whole, self._left = None, count / 2 if count * dtype_of(hdu).itemsize <= MOST_KEPT else math.inf
        self._tile = tuple(
            int(hdu.own.get(f"ZTILE{axis}", hdu.own.get(f"ZNAXIS{axis}") if axis == 1 else 1))
            for axis in range(len(hdu.shape), 0, -1)
        )

    def expect(self, count: int, size: int) -> None:
        """Count pixels of windows beforehand; they are not counted again if all of it is then decompressed."""
        touched = (min(length, size + side - 1) for length, side in zip(self._shape, self._tile, strict=True))
        if count * math.prod(touched) >= self._left:
            self._left = min(self._left, 0)

    def read(self, part: tuple[slice, ...], dtype) -> np.ndarray:
        if self._whole is None and self._left <= 0:
            try:
                self._whole = self._raw(tuple(slice(None) for _ in self._shape))
            except Exception:  # a damaged tile concerns only the parts that have it
                self._left = math.inf
        raw = self._raw(part) if self._whole is None else self._whole[part]
        return self._scaling.applied(raw, dtype)

    def _raw(self, part: tuple[slice, ...]) -> np.ndarray:
        """Decompress a part, and count the pixels of the tiles that it touches."""
        touched = 1
        for each, length, side in zip(part, self._shape, self._tile, strict=True):
            first, last, _ = each.indices(length)
            touched *= max(0, min(length, -(-last // side) * side) - first // side * side)
        self._left -= touched
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return np.asarray(self._section[self._before + part])


def dtype_of(hdu: Hdu) -> np.dtype:
    """Return the type of an image's numbers in a file."""
    bits = bitpix_of(hdu)
    kinds = {8: "u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}
    if bits not in kinds:
        raise ValueError(f"its BITPIX = {bits} is not one of {', '.join(map(str, kinds))}")
    return np.dtype(kinds[bits])


def values_of(name: str, stream: BinaryIO, hdu: Hdu) -> np.ndarray:
    """Return all pixel values of an image, of `hdu.shape`, float64, NaN for no data; ArchiveError if damaged."""
    try:
        if not hdu.compressed:
            stream.seek(hdu.start)
            raw = stream.read(hdu.size)
            if len(raw) < hdu.size:
                raise EOFError("the file ends early")
            count = int(np.prod(hdu.shape, dtype=object))
            numbers = np.frombuffer(raw, dtype_of(hdu), count)
            return scaling_of(hdu).applied(numbers, np.float64).reshape(hdu.shape)
        stream.seek(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = fits.open(stream, memmap=False, do_not_scale_image_data=True)
            numbers = np.asarray(found[hdu.index].data)
        return scaling_of(hdu).applied(numbers, np.float64).reshape(hdu.shape)
    except Exception as error:  # the errors of the decoders of tiles have no common class
        raise damaged(name, error) from error


@contextmanager
def opened(path: Path, name: str) -> Iterator[tuple[BinaryIO, list[Hdu]]]:
    """Yield a file for random access, decompressed if necessary, and all its HDUs, which are complete.

    Parameters
    ----------
    path : Path or FitsInMemory
        The file.
    name : str
        Its name, for messages.

    Yields
    ------
    stream : BinaryIO
        The open file.
    hdus : list of Hdu
        Its HDUs.

    Raises
    ------
    ArchiveError
        If it does not exist, or is not FITS, damaged or truncated.
    """
    with at_hand(path, name) as stream:
        try:
            found = list(walk(stream, name))
            size = stream.seek(0, io.SEEK_END)
        except UNREADABLE as error:
            raise damaged(name, error) from error
        require_whole(name, found, size)
        for hdu in found:
            require_tiles(name, hdu)
        yield stream, found


def require_whole(name: str, hdus: list[Hdu], size: int) -> None:
    """Raise ArchiveError if a file of `size` [byte] ends before the data of its last HDU."""
    if hdus and size < hdus[-1].end:
        raise ArchiveError(f"{name} is truncated: it has {size} of {hdus[-1].end} bytes; fetch it again")


def require_tiles(name: str, hdu: Hdu) -> None:
    """Raise ArchiveError if a tile-compressed image is too small for the pixels that its header states.

    They would fill the memory.
    """
    try:
        if not hdu.compressed:
            return
        sides = [int(hdu.own.get(f"ZTILE{axis}", side if axis == 1 else 1))
                 for axis, side in enumerate(reversed(hdu.axes), start=1)]  # fmt: skip
        counts = [-(-side // tile) for side, tile in zip(reversed(hdu.axes), sides, strict=True)]
        tiles, rows, pixels = math.prod(counts), hdu.own["NAXIS2"], math.prod(hdu.axes)
    except (*UNREADABLE, ZeroDivisionError) as error:
        raise damaged(name, error) from error
    if min([1, *sides, *hdu.axes]) < 1 or tiles != rows or pixels > MOST_PACKED * hdu.size:
        raise ArchiveError(
            f"{name} cannot be read: HDU {hdu.index} should have {' x '.join(map(str, hdu.axes))} pixels in tiles of "
            f"{' x '.join(map(str, reversed(sides)))}, but has {rows} tiles in {hdu.size} bytes; fetch it again"
        )


def require_complete(path: Path, name: str) -> None:
    """Raise ArchiveError unless a plain FITS file has the data of each of its headers; `name` is for the message."""
    with path.open("rb") as stream:
        try:
            hdus = list(walk(stream, name))
        except UNREADABLE as error:
            raise damaged(name, error) from error
    require_whole(name, hdus, path.stat().st_size)


@contextmanager
def open_pixels(path: Path, name: str, index: int | None = None) -> Iterator[tuple[Hdu, FitsPixels]]:
    """Yield an image of a file and its pixels: HDU `index`, or else the first image that shows the sky.

    Only the requested parts of a plain or tile-compressed file are read, because a stack has 1.5 GB.

    Raises
    ------
    ArchiveError
        If the file is damaged or has no such image; the message names it `name`.
    """
    with opened(path, name) as (stream, hdus):
        try:
            found = images_of(name, hdus)
            chosen = found[0] if index is None and found else next((hdu for hdu in hdus if hdu.index == index), None)
            if chosen is None or len(chosen.shape) != 2:
                raise ArchiveError(f"{name} has no image")
            if chosen.compressed:
                stream.seek(0)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    mapped = isinstance(stream, io.BufferedReader)
                    whole = fits.open(stream, memmap=mapped, do_not_scale_image_data=True)
                    section = whole[chosen.index].section
                pixels = FitsPixels(name, chosen, _Tiles(section, chosen), stream)
            else:
                whole, pixels = nullcontext(), FitsPixels(name, chosen, _Rows(stream, chosen), stream)
        except UNREADABLE as error:
            raise damaged(name, error) from error
        with whole:
            yield chosen, pixels


def images_of(name: str, hdus: list[Hdu]) -> list[Hdu]:
    """Return the HDUs that are images of two axes and, according to their headers, show the sky."""
    return [hdu for hdu in hdus if len(hdu.shape) == 2 and not said_by_header(hdu.own)]


def decompressed(file: BinaryIO) -> BinaryIO:
    """Return an open file for reading, decompressed if its first bytes say that it is compressed, whatever its name."""
    start = file.read(4)
    file.seek(0)
    return next((opener(file) for magic, opener in DECOMPRESSORS if start.startswith(magic)), file)


def at_hand(path: Path, name: str) -> BinaryIO:
    """Return a file for random access, as it is or decompressed in memory; ArchiveError if it is damaged."""
    try:
        file = path.open("rb")
        stream = decompressed(file)
        if stream is file:
            return file
        with file, stream:
            return io.BytesIO(stream.read())
    except UNREADABLE as error:
        raise damaged(name, error) from error


def walk(stream: BinaryIO, name: str) -> Iterator[Hdu]:
    """Yield the HDUs of a stream, one after the other, as far as it has been downloaded; no data are read.

    Bytes after the last HDU that are not a header, as some programs leave them, are ignored.
    """
    end, index, primary = 0, 0, ""
    while True:
        text, length = header_text(stream, name, first=index == 0)
        if length == 0:
            return
        hdu = Hdu(index, text, end + length, 0)
        hdu = Hdu(index, text, end + length, data_size(hdu.own), primary)
        yield hdu
        if index == 0 and hdu.size == 0:
            primary = text
        index, end = index + 1, hdu.start + -(-hdu.size // BLOCK) * BLOCK
        if stream.seek(end) < end:
            return


def data_size(header: fits.Header) -> int:
    """Return the size of the data after a header [byte], without the filling of their last block."""
    axes = [header[f"NAXIS{axis}"] for axis in range(1, header.get("NAXIS", 0) + 1)]
    count = int(np.prod(axes, dtype=object)) if axes else 0
    size = abs(header.get("BITPIX", 8)) // 8 * header.get("GCOUNT", 1) * (header.get("PCOUNT", 0) + count)
    if min([size, *axes]) < 0:  # a negative step would lead back to the same header
        raise ValueError(f"its header states {axes} pixels")
    return size


def header_text(stream: BinaryIO, name: str, first: bool) -> tuple[str, int]:
    """Return the cards of the header that begins here, without END, and its length [byte].

    The length is 0 if no header begins here; the first header of a file must exist.
    """
    content, block = b"", b""
    while not (END_CARD.search(block) if content else None):
        block = stream.read(BLOCK)
        if not content and not first and not block.startswith(b"XTENSION"):
            return "", 0
        if not content and first and not block.startswith(b"SIMPLE  ="):
            raise ArchiveError(f"{name} is not FITS: it starts with {block[:9]!r}" if block else f"{name} is empty")
        content += block
        ended = END_CARD.search(block)
        if len(content) > LONGEST_HEADER or (len(block) < BLOCK and not ended):
            raise ArchiveError(f"{name} is truncated: its header has no end; fetch it again")
    return _cards(content), len(content)


def _cards(content: bytes) -> str:
    """Return the legal cards of a header, from its bytes up to END; odd characters are replaced.

    A card whose value cannot be read is left out, unless pixels depend on it: reading that keyword then fails.
    """
    text = content.decode("latin-1")
    if not text.isascii() or not text.isprintable():
        text = "".join(each if " " <= each <= "~" else "?" for each in text.replace("\0", " "))
    kept = []
    for at in range(0, len(text), CARD):
        card = text[at : at + CARD]
        if card[:8] == "END     ":
            break
        if A_KEYWORD.fullmatch(card[:8]):
            card = card if card[8:10] == "= " or card[:8] in WITHOUT_A_VALUE else _with_a_value(card)
            if card[8:10] != "= " or A_VALUE.fullmatch(card[10:]) or DECIDING.fullmatch(card[:8].rstrip()):
                kept.append(card)
    return "".join(kept)


def _with_a_value(card: str) -> str:
    """Return a card without "= " after its keyword: repaired if only a blank is missing, else with an unreadable value.

    Only a reader of this keyword then meets an error.
    """
    if card[8] == "=":
        return f"{card[:8]}= {card[9:]}"[:CARD] if card.endswith(" ") else card
    return f"{card[:8]}= ?{card[8:]}"[:CARD]


def read_header(stream: BinaryIO, name: str, first: bool) -> tuple[fits.Header, int]:
    """Return the header that begins here and its length [byte], 0 if there is none; the first of a file must exist."""
    text, length = header_text(stream, name, first)
    return fits.Header.fromstring(text), length


def header_number(name: str, header: fits.Header, keyword: str, default: float) -> float:
    """Return the number that a header states.

    Raises
    ------
    ArchiveError
        If it states something else; the message names the file `name`.
    """
    value = header.get(keyword, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ArchiveError(f"{name} has {keyword} = {value!r}, which is not a number; correct its header")
    return float(value)


def damaged(name: str, error: BaseException) -> ArchiveError:
    """Return the error that describes the damage of a file."""
    if isinstance(error, ArchiveError):
        return error
    said = first_line(error)
    if isinstance(error, EOFError) and "end" in said.lower():
        said = f"it is truncated, {said[0].lower()}{said[1:]}" if said != "the file ends early" else said
    return ArchiveError(f"{name} cannot be read: {said}; fetch it again")
