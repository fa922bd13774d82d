"""Survey images in FITS files, plain, tile-compressed, or under bzip2 or gzip: told by their headers, read in parts."""

import bz2
import gzip
import io
import logging
import os
import re
import struct
import zlib
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from survey_tools.archives.http import BEGINNING, NotThereError
from survey_tools.archives.mirror import Mirror
from survey_tools.errors import ArchiveError, first_line
from survey_tools.sky_wcs import plain_tan, read_wcs
from survey_tools.surveys import Survey
from survey_tools.tasks import Run

SUFFIXES = (".fits", ".fit", ".fits.fz", ".fits.bz2", ".fits.gz", ".fit.gz")
DECOMPRESSORS = ((b"BZh", bz2.BZ2File), (b"\x1f\x8b", gzip.open))  # first bytes of a file: how to read it
BLOCK = 2880  # [byte] of a FITS file
END_CARD = re.compile(rb"^(?:.{80})*END {77}", re.DOTALL)
UNREADABLE = (OSError, EOFError, ValueError, TypeError, RuntimeError, IndexError, KeyError, OverflowError, zlib.error)
UNREADABLE += (struct.error, fits.VerifyError)  # the second where a card is asked for whose value cannot be read

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImageFile:
    """What the header of a survey's image says.

    Attributes:
        name: Of the file, relative to the mirror.
        band: By its FILTER.
        shape: (rows, columns) of its pixels.
        wcs: Celestial WCS of its pixels: plain ICRS TAN terms where these say the same (`sky_wcs.plain_tan`), else all
            that the header states.
        field: Of a frame of a drift scan its run, camera column and field, by which copies of it are known; else None.
        rerun: Number of the reduction that made it; "" where it states none.
    """

    name: str
    band: str
    shape: tuple[int, int]
    wcs: WCS
    field: tuple[int, int, int] | None = None
    rerun: str = ""


@dataclass(frozen=True)
class Unreadable:
    """A file that should be an image and cannot be used; `band` is "" where not even that is known."""

    name: str
    band: str
    reason: str


class Pixels:
    """The pixels of an open image, read part by part: `pixels[first:last, first:last]`; ArchiveError where damaged."""

    def __init__(self, name: str, shape: tuple[int, int], section, stream: BinaryIO) -> None:
        self._name, self._section, self.shape, self._stream = name, section, shape, stream

    @contextmanager
    def hdus(self) -> Iterator[fits.HDUList]:
        """All HDUs of the file, each read when it is asked for; raises what astropy does where the file is damaged."""
        if isinstance(self._stream, io.BufferedReader):  # `_Rows` moves about in it
            with fits.open(self._stream.name, memmap=False) as hdus:
                yield hdus
            return
        self._stream.seek(0)
        hdus = fits.open(self._stream)
        try:
            yield hdus
        finally:
            hdus.close(closed=False)

    def __getitem__(self, part: tuple[slice, slice]) -> np.ndarray:
        try:
            return np.array(self._section[part], np.float32)
        except Exception as error:  # what the decoders of tiles raise has no common name
            raise _damaged(self._name, error) from error


class _Rows:
    """Pixels of a plain image on disk: `rows[first:last, first:last]` reads these and no more.

    They are not mapped into memory: what is read of a mapped file counts as the process's own, up to 1.5 GB a stack,
    and a file that another process cuts short kills it.
    """

    def __init__(self, stream: BinaryIO, start: int, shape: tuple[int, int], bitpix: int) -> None:
        self._stream, self._start, self._shape, self._dtype = stream, start, shape, np.dtype(f">f{abs(bitpix) // 8}")

    def __getitem__(self, part: tuple[slice, slice]) -> np.ndarray:
        rows, cols = (range(*each.indices(length)) for each, length in zip(part, self._shape, strict=True))
        width, file = self._shape[1] * self._dtype.itemsize, self._stream.fileno()
        first, count = self._start + cols.start * self._dtype.itemsize, len(cols) * self._dtype.itemsize
        raw = b"".join([os.pread(file, count, first + row * width) for row in rows])
        if len(raw) < len(rows) * count:
            raise EOFError("the file ends early")
        return np.frombuffer(raw, self._dtype).reshape(len(rows), len(cols))


def is_image_of(survey: Survey, header: fits.Header) -> bool:
    """Whether a header is that of an image of this survey, in one of its bands."""
    return "FILTER" in header and str(header["FILTER"]).strip() in survey.filters


def describe(survey: Survey, mirror: Mirror, name: str) -> ImageFile | Unreadable | None:
    """What a file is, from its headers alone; None where it is not there, no image, or none of this survey."""
    try:
        with mirror.beginning(name) as file, _decompressed(file) as stream:
            header = image_header(stream, name)[1]
        if header is None or not is_image_of(survey, header):
            return None
    except NotThereError:
        return None
    except ConnectionError:  # says nothing of the file
        raise
    except ArchiveError as error:
        return Unreadable(name, "", str(error))
    except UNREADABLE as error:
        return Unreadable(name, "", str(_damaged(name, error)))
    try:
        return image_file(survey, header, name)
    except ArchiveError as error:
        return Unreadable(name, survey.filters[str(header["FILTER"]).strip()], str(error))


def scan(mirror: Mirror, survey: Survey, run: Run) -> tuple[list[ImageFile], list[Unreadable]]:
    """All images of a survey in a mirror, told by their headers, sorted by name; and the files that cannot be used."""
    found = run(partial(describe, survey, mirror), mirror.names(SUFFIXES), "look", "file")
    images = [file for file in found if isinstance(file, ImageFile)]
    return images, [file for file in found if isinstance(file, Unreadable)]


@contextmanager
def open_image(
    survey: Survey, mirror: Mirror, name: str, *, size: int | None = None, md5: str | None = None
) -> Iterator[tuple[ImageFile, fits.Header, Pixels]]:
    """The image of a file, its header and its pixels; the file is opened, and decompressed if it must be, once.

    `size` [byte] and `md5` are those that a download must have, where they are known.

    Raises:
        ArchiveError: Where the file is not in the mirror, empty, truncated or damaged, no image of this
            survey, or has no celestial WCS.
    """
    known = {"size": size, "md5": md5} if size or md5 else {}
    with mirror.opened(name, partial(open_pixels, name=name), **known) as (header, pixels):
        if not is_image_of(survey, header):
            raise ArchiveError(f"{name} has FILTER {header.get('FILTER')!r}, none of {survey.title}'s")
        yield image_file(survey, header, name), header, pixels


@contextmanager
def open_pixels(path: Path, name: str) -> Iterator[tuple[fits.Header, Pixels]]:
    """The header and the pixels of the first image in a file; ArchiveError, that speaks of `name`, where there is none.

    Of a plain or tile-compressed file only the parts asked for are read, for a stack has 1.5 GB.
    """
    with _at_hand(path, name) as stream:
        try:
            index, header, end = image_header(stream, name)
            size = stream.seek(0, io.SEEK_END)
        except UNREADABLE as error:
            raise _damaged(name, error) from error
        if header is None:
            raise ArchiveError(f"{name} holds no image")
        if size < end:
            raise ArchiveError(f"{name} is truncated: {size} of {end} bytes are there; fetch it anew")
        stream.seek(0)
        as_is = header["BITPIX"] < 0 and (header.get("BSCALE", 1), header.get("BZERO", 0)) == (1, 0)
        shape = shape_of(header)
        if as_is and isinstance(stream, io.BufferedReader):
            count = shape[0] * shape[1] * (abs(header["BITPIX"]) // 8)
            yield header, Pixels(name, shape, _Rows(stream, end - count, shape, header["BITPIX"]), stream)
            return
        with fits.open(stream, memmap=isinstance(stream, io.BufferedReader)) as hdus:
            # a section is read row by row, which an array in memory need not be
            section = hdus[index].data if as_is else hdus[index].section
            yield header, Pixels(name, shape, section, stream)


def shape_of(header: fits.Header) -> tuple[int, int]:
    """(rows, columns) of an image, plain or tile-compressed."""
    prefix = "Z" if header.get("ZIMAGE", False) else ""
    return int(header[f"{prefix}NAXIS2"]), int(header[f"{prefix}NAXIS1"])


def header_number(name: str, header: fits.Header, keyword: str, default: float) -> float:
    """The number that a header states; ArchiveError where it states something else."""
    value = header.get(keyword, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ArchiveError(f"{name} has {keyword} = {value!r}, which is no number; mend its header")
    return float(value)


def _decompressed(file: BinaryIO) -> BinaryIO:
    """An open file as it is read: what compresses it is told by its first bytes."""
    start = file.read(4)
    file.seek(0)
    return next((opener(file) for magic, opener in DECOMPRESSORS if start.startswith(magic)), file)


def _at_hand(path: Path, name: str) -> BinaryIO:
    """A file for reading here and there: as it is, or decompressed in memory; ArchiveError where it is damaged."""
    try:
        file = path.open("rb")
        stream = _decompressed(file)
        if stream is file:
            return file
        with file, stream:
            return io.BytesIO(stream.read())
    except UNREADABLE as error:
        raise _damaged(name, error) from error


def image_header(stream: BinaryIO, name: str) -> tuple[int, fits.Header | None, int]:
    """Index and header of the first HDU that is an image, and the byte where its data end; None where none is.

    An image is in the primary HDU or, if that holds no data, in the next, as tile-compressed ones are; it then has the
    primary's keywords too. Headers are read by hand: `fits.open` would decompress a whole file for them, and only warn
    of a truncated one.
    """
    end, primary = 0, fits.Header()
    for index in range(2):
        header, length = read_header(stream, name, first=index == 0)
        size = data_size(header)
        end += length
        if holds_image(header):
            header.extend(primary, unique=True, strip=True)
            return index, header, end + size
        if size > 0 or length == 0:
            break
        primary = header
    return 0, None, 0


def data_size(header: fits.Header) -> int:
    """Bytes of the data that follow a header, without what fills their last block."""
    axes = [header[f"NAXIS{axis}"] for axis in range(1, header.get("NAXIS", 0) + 1)]
    count = int(np.prod(axes, dtype=object)) if axes else 0
    size = abs(header.get("BITPIX", 8)) // 8 * header.get("GCOUNT", 1) * (header.get("PCOUNT", 0) + count)
    if min([size, *axes]) < 0:  # who skips that much goes back, and meets the same header again
        raise ValueError(f"its data are said to have {axes} pixels")
    return size


def holds_image(header: fits.Header) -> bool:
    """Whether an image of two axes, plain or tile-compressed, follows a header."""
    kind = str(header.get("XTENSION", "IMAGE")).strip()
    return header.get("NAXIS", 0) == 2 and (kind == "IMAGE" or bool(header.get("ZIMAGE", False)))


def read_header(stream: BinaryIO, name: str, first: bool) -> tuple[fits.Header, int]:
    """The header that begins here and its length [byte]; 0 where the file has ended, which the first may not."""
    text, block = b"", b""
    while not END_CARD.search(block):
        block = stream.read(BLOCK)
        if not text and not block and not first:
            return fits.Header(), 0
        if not text and first and not block.startswith(b"SIMPLE  ="):
            raise ArchiveError(f"{name} is not FITS: it starts with {block[:9]!r}" if block else f"{name} is empty")
        if len(block) < BLOCK or len(text) > BEGINNING:
            raise ArchiveError(f"{name} is truncated: its header has no end; fetch it anew")
        text += block
    return fits.Header.fromstring(text), len(text)


def image_file(survey: Survey, header: fits.Header, name: str) -> ImageFile:
    """Parse the header of an image; ArchiveError where it states no celestial WCS."""
    shape = shape_of(header)
    try:
        wcs = read_wcs(header)
    except UNREADABLE as error:
        raise ArchiveError(f"{name} has a WCS that cannot be used: {first_line(error)}") from error
    if wcs is None:
        raise ArchiveError(f"{name} has no celestial WCS")
    with suppress(ValueError):  # one that is not plain is of use where pixels are resampled
        wcs = plain_tan(wcs, shape)
    band = survey.filters[str(header["FILTER"]).strip()]
    return ImageFile(name, band, shape, wcs, field_of(header), str(header.get("RERUN", "")).strip())


def field_of(header: fits.Header) -> tuple[int, int, int] | None:
    """Run, camcol and field of an SDSS frame; None where a header does not state them.

    FRAME numbers the drift scan as each CCD sees it: the five rows of the camera, r i u z g, pass a field two frames
    apart, so that field 111 is FRAME 111 in r and 119 in g.
    """
    stated = [
        header.get(name, default) for name, default in (("RUN", None), ("CAMCOL", None), ("FRAME", None), ("CAMROW", 1))
    ]
    if not all(isinstance(value, int) for value in stated):
        return None
    run, camcol, frame, row = stated
    return run, camcol, frame - 2 * (row - 1)


def without_copies(images: list[ImageFile], key: Callable[[ImageFile], Hashable], best: str = "") -> list[ImageFile]:
    """One image of each `key`, sorted by name; those without one (None) are kept. What is left out is said in one line.

    Of several the one counts whose rerun is `best`, then the one in the fewest folders, then the first by name: so the
    noise-free twin below `truth` gives way to the image, and a packed stack to its unpacked twin.
    """
    order = sorted(images, key=lambda image: (image.rerun != best, image.name.count("/"), image.name))
    kept: dict[Hashable, ImageFile] = {}
    left = [
        (image, kept[key(image)]) for image in order if kept.setdefault(key(image) or image.name, image) is not image
    ]
    if left:
        more = f", and {len(left) - 1} more files likewise" if len(left) > 1 else ""
        log.warning("%s is left out, because %s shows the same%s", left[0][0].name, left[0][1].name, more)
    return sorted(kept.values(), key=lambda image: image.name)


def _damaged(name: str, error: BaseException) -> ArchiveError:
    """The error that says what is wrong with a file."""
    return ArchiveError(f"{name} cannot be read: {first_line(error)}; fetch it anew")
