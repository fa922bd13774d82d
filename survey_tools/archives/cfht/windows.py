"""Windows of pixels that a server of the CADC cuts from its files: many in one request, and each answer is checked.

The parameter SUB=[extension][first:last,first:last] counts pixels from 1, columns before rows, and may be repeated. The
answer has one HDU for each window, in the order of the request; if the file has only one HDU, the first window is the
primary HDU (IVOA SODA with the CADC's pixel cutouts; `minoc` of its Storage Inventory).

The server redirects the request to a storage site. There the URL is longer: it has a token, and colons and commas are
written as three characters. A site that finds it too long refuses with 400, 414 or 431.
"""

import io
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np
from astropy.io import fits

from survey_tools.archives.download import http
from survey_tools.archives.download.http import BEGINNING
from survey_tools.archives.download.mirror import Mirror
from survey_tools.archives.download.ways import USUAL, Manner, Ways, ways_of
from survey_tools.archives.fits_files import shape_of
from survey_tools.errors import ArchiveError, AwayError
from survey_tools.files import whole_file
from survey_tools.fits.reading import BLOCK, UNREADABLE, Hdu, images_of, require_whole, values_of, walk

LONGEST_URL = 8000  # [byte] that web servers accept
LONGEST_SUB = len("&SUB=%5B0%5D%5B99999%3A99999%2C99999%3A99999%5D")  # of one window, after the redirect
TOKEN = 750  # [byte] by which the URL at a storage site is longer
TOO_LONG = (400, 414, 431)  # statuses of a request that is too long for the server
OF_ITSELF = ("NoContent", "InvalidArgument")  # words of a 400 that is about a window and not about the length
SHIFT_TOLERANCE = 1e-3  # [pixel] of CRPIX, beyond which it is another window
SKY_TOLERANCE = 1e-7  # [deg] of CRVAL, beyond which it is another file
HEADERS = 8 * BLOCK  # [byte] a stack has 3 blocks of headers, a tile-compressed file 6

log = logging.getLogger(__name__)

Box = tuple[int, int, int, int]  # first row, one past the last, first column, one past the last; from 0


@dataclass(frozen=True)
class Windows:
    """A file of the CADC and how to ask for windows of it.

    Attributes
    ----------
    url : str or Ways
        Address of the whole file, or several addresses.
    extension : int
        Number of the HDU with its image.
    header : fits.Header
        Header of that HDU.
    most : int
        Number of windows in one request.
    notes : Path
        Folder for notes of this run on the servers: how many windows a request may have, and whether windows are
        equal to the bytes of the file.
    manner : Manner
        How patiently to ask.
    start : int, optional
        Byte of the file at which the pixels begin, so that windows can be compared with the file; None if they cannot,
        because the file is compressed.
    """

    url: str | Ways
    extension: int
    header: fits.Header
    most: int
    notes: Path
    manner: Manner = USUAL
    start: int | None = None

    def at(self, starts: np.ndarray, size: int) -> Iterator[np.ndarray]:
        """Yield the size × size pixels (row, col) float32 that begin at each of `starts` (n, 2), counted from 0.

        Pixels beyond the edges are NaN; they are never requested, because a server would clip or refuse the window. The
        first window of a run is compared with the bytes of the file.

        Raises
        ------
        ArchiveError
            If two answers are short, or are not the requested windows.
        ConnectionError
            If the server cannot be reached, or stays busy.
        """
        shape, place = np.array(shape_of(self.header)), 0
        while place < len(starts):
            batch = starts[place : place + self._fit]
            place += len(batch)
            low, high = np.clip(batch, 0, shape), np.clip(batch + size, 0, shape)
            boxes = [(*map(int, (a[0], b[0], a[1], b[1])),) for a, b in zip(low, high, strict=True)]
            asked = sorted({box for box in boxes if box[0] < box[1] and box[2] < box[3]})
            parts = self._ask_all(asked)
            if asked:
                self._prove(asked[0], parts[asked[0]])
            for start, box in zip(batch, boxes, strict=True):
                pixels = np.full((size, size), np.nan, np.float32)
                if box in parts:
                    row, col = box[0] - start[0], box[2] - start[1]
                    pixels[row : row + box[1] - box[0], col : col + box[3] - box[2]] = parts[box]
                yield pixels

    def at_once(self) -> int:
        """Return the number of windows in the next request, which the user, the URL and the servers limit."""
        try:
            return max(1, min(self._fit, int(self._limit.read_text())))
        except (OSError, ValueError):
            return self._fit

    @property
    def _fit(self) -> int:
        """The number of windows that the user and the length of a URL allow."""
        longest = max(len(url) for url in ways_of(self.url).in_turn())
        return max(1, min(self.most, (LONGEST_URL - TOKEN - longest) // LONGEST_SUB))

    @property
    def _limit(self) -> Path:
        return self.notes / "windows a request"

    def _remember(self, number: int) -> None:
        """Request no more than so many windows at once from now on."""
        with whole_file(self._limit) as temporary:
            temporary.write_text(str(number))

    def _ask_all(self, boxes: list[Box]) -> dict[Box, np.ndarray]:
        """Return the pixels of any number of boxes, none empty and none twice, with as many requests as needed."""
        parts: dict[Box, np.ndarray] = {}
        while len(parts) < len(boxes):
            parts |= self._ask(boxes[len(parts) : len(parts) + self.at_once()])
        return parts

    def _ask(self, boxes: list[Box]) -> dict[Box, np.ndarray]:
        """Return the pixels of some boxes, none empty, with one request, and one by one if that does not give them."""
        parts: dict[Box, np.ndarray] = {}
        if len(boxes) > 1 and self.at_once() > 1:
            try:
                parts = self._answer(boxes)
            except ArchiveError as error:
                if error.status in TOO_LONG and not any(words in str(error) for words in OF_ITSELF):
                    return self._halved(boxes, error)
                log.info("%s; again, one by one", error)
            if len(parts) == 1:
                self._remember(1)
                log.warning("%s gives only one window per request, so more requests are needed", self.url)
        for box in boxes:
            if box not in parts:
                parts |= self._answer_patiently(box)
        return parts

    def _halved(self, boxes: list[Box], error: ArchiveError) -> dict[Box, np.ndarray]:
        """Return the pixels of boxes that are too many for one request, with two; remember the number that works."""
        half = -(-len(boxes) // 2)
        parts = self._ask(boxes[:half])
        if half < self.at_once():
            self._remember(half)
            log.warning("%s; %d windows are requested at once from now on", error, half)
        return parts | self._ask_all(boxes[half:])

    def _prove(self, box: Box, pixels: np.ndarray) -> None:
        """Compare the first and the last row of a window with the file's own bytes, once per run.

        The checks of headers would also pass if a server counted rows from the wrong end, or sent another copy.
        """
        mark = self.notes / "windows are the file"
        if self.start is None or mark.exists():
            return
        width = shape_of(self.header)[1]
        for row, found in ((box[0], pixels[0]), (box[1] - 1, pixels[-1])):
            try:
                there = http.part(self.url, self.start + 4 * (row * width + box[2]), 4 * (box[3] - box[2]), self.manner)
            except ArchiveError as error:
                log.warning("windows cannot be compared with the file: %s", error)
                break
            if not np.array_equal(np.frombuffer(there, ">f4").astype(np.float32), found, equal_nan=True):
                raise ArchiveError(
                    f"{self.url}: row {row} of the file differs from the window that the server cut; pass "
                    "--how tiles to galtrans fetch",
                    url=str(self.url),
                )
        with whole_file(mark) as temporary:
            temporary.touch()

    def _answer_patiently(self, box: Box) -> dict[Box, np.ndarray]:
        """Return the pixels of one box, requested twice if necessary."""
        try:
            return self._answer([box])
        except ArchiveError as error:
            log.info("%s; once more", error)
        return self._answer([box])

    def _answer(self, boxes: list[Box]) -> dict[Box, np.ndarray]:
        """Return the pixels of the boxes with one request: of at least one of them."""
        subs = (f"[{self.extension}][{c0 + 1}:{c1},{r0 + 1}:{r1}]" for r0, r1, c0, c1 in boxes)
        query = "?" + "&".join(f"SUB={quote(sub, safe=':,')}" for sub in subs)
        url = self.url.plus(query) if isinstance(self.url, Ways) else self.url + query
        usual, asked = str(self.url), f"{self.url} ({len(boxes)} windows)"

        def told(error: Exception) -> str:  # names the file and not the windows, whose list is long
            return str(error).replace(f"{usual}{query}", asked).replace(query, "")

        try:
            found = _images(http.read(url, kind="fits", manner=self.manner), asked)
            parts = dict(self._part(boxes, header, pixels, asked) for header, pixels in found)
        except UNREADABLE as error:
            if isinstance(error, AwayError):
                raise AwayError(told(error), url=usual, status=error.status) from error
            raise ArchiveError(f"{asked}: the answer cannot be read: {error}", url=usual) from error
        except ArchiveError as error:
            raise ArchiveError(told(error), url=usual, status=error.status) from error
        if len(found) != len(parts) or not parts:
            raise ArchiveError(f"{asked}: the answer has {len(found)} images", url=usual)
        return parts

    def _part(self, boxes: list[Box], header: fits.Header, pixels: np.ndarray, asked: str) -> tuple[Box, np.ndarray]:
        """Return the box of an image in an answer, by its WCS and shape; ArchiveError if it is none of them."""
        for keyword in ("CRVAL1", "CRVAL2"):
            if not abs(header[keyword] - self.header[keyword]) <= SKY_TOLERANCE:
                raise ArchiveError(f"{asked}: {keyword} is {header[keyword]}, not {self.header[keyword]}")
        ours, theirs = (str(each.get("FILTER", "")).strip() for each in (self.header, header))
        if theirs and theirs != ours:
            raise ArchiveError(f"{asked}: FILTER is {theirs}, not {ours}")
        shift = [self.header[f"CRPIX{axis}"] - header[f"CRPIX{axis}"] for axis in (2, 1)]
        row, col = map(round, shift)
        box = (row, row + pixels.shape[0], col, col + pixels.shape[1])
        if box not in boxes or np.abs(np.subtract(shift, (row, col))).max() > SHIFT_TOLERANCE:
            raise ArchiveError(f"{asked}: a window of {pixels.shape} pixels that begins at {shift} was not requested")
        return box, pixels


def beginning_of(mirror: Mirror, name: str) -> tuple[int, fits.Header, int | None]:
    """Return the HDU with the image of a file, read from its first bytes.

    Returns
    -------
    index : int
        Number of the HDU.
    header : fits.Header
        Its header.
    start : int or None
        Byte at which its pixels begin; None if they are not stored as plain float32.

    Raises
    ------
    ArchiveError
        If the file has no image, and as `Mirror.beginning` does.
    """
    for length in (HEADERS, BEGINNING):
        with mirror.beginning(name, length) as start:
            try:
                for hdu in walk(start, name):
                    if images_of(name, [hdu]):
                        scaled = {"BSCALE", "BZERO"} & set(hdu.own)
                        plain = hdu.own["BITPIX"] == -32 and not hdu.compressed and not scaled
                        return hdu.index, hdu.header, hdu.start if plain else None
            except UNREADABLE as error:
                raise ArchiveError(f"{name} cannot be read: {error}; fetch it again") from error
            except ArchiveError:
                if length == BEGINNING:
                    raise
                continue  # its header may be a long one
        raise ArchiveError(f"{name} has no image")
    raise AssertionError("the second length returns or raises")


def _images(answer: bytes, asked: str) -> list[tuple[fits.Header, np.ndarray]]:
    """Return header and pixels (row, col) float32 of every image in an answer, whose structure must be complete."""
    stream = io.BytesIO(answer)
    hdus: list[Hdu] = list(walk(stream, asked))
    require_whole(f"{asked}: the answer", hdus, len(answer))
    return [(hdu.own, values_of(asked, stream, hdu).astype(np.float32)) for hdu in hdus if len(hdu.shape) == 2]
