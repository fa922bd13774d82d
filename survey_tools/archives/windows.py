"""Windows of pixels that a server of the CADC cuts from one of its files: many in one request, each answer checked.

The parameter SUB=[extension][first:last,first:last] counts pixels from 1, columns before rows, and may be repeated; the
answer has one HDU a window (IVOA SODA with the CADC's pixel cutouts; its Storage Inventory's `minoc`).
"""

import io
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np
from astropy.io import fits

from survey_tools.archives import http
from survey_tools.archives.fits_files import shape_of
from survey_tools.archives.http import BEGINNING
from survey_tools.archives.mirror import Mirror
from survey_tools.errors import ArchiveError, AwayError
from survey_tools.fits_reading import BLOCK, UNREADABLE, Hdu, images_of, require_whole, values_of, walk

LONGEST_URL = 8000  # [byte] that web servers take
LONGEST_SUB = len("&SUB=%5B0%5D%5B99999:99999,99999:99999%5D")  # of one window
SHIFT_TOLERANCE = 1e-3  # [pixel] of CRPIX: what is more is another window
SKY_TOLERANCE = 1e-7  # [deg] of CRVAL: what is more is another file
HEADERS = 8 * BLOCK  # [byte] those of a stack have 3 blocks, or of a tile-compressed file 6

log = logging.getLogger(__name__)

Box = tuple[int, int, int, int]  # first row, one past the last, first column, one past the last; from 0


@dataclass(frozen=True)
class Windows:
    """A file of the CADC, of which windows are asked.

    Attributes:
        url: Of the whole file.
        extension: Number of the HDU that holds its image.
        header: Of that HDU.
        most: Windows to ask in one request.
        alone: This file is there once a server has answered a request for several windows with one: then every window
            has a request of its own, to the end of the run.
    """

    url: str
    extension: int
    header: fits.Header
    most: int
    alone: Path

    def at(self, starts: np.ndarray, size: int) -> Iterator[np.ndarray]:
        """The size × size pixels (row, col) float32 from each of `starts` (n, 2), from 0, on; NaN beyond the edges.

        What lies beyond is never asked for, because a server would clip it, or refuse.

        Raises:
            ArchiveError: Where an answer is short, or is not what was asked for, in two tries.
            ConnectionError: Where the server cannot be reached, or stays busy.
        """
        shape = np.array(shape_of(self.header))
        step = max(1, min(self.most, (LONGEST_URL - len(self.url)) // LONGEST_SUB))
        for first in range(0, len(starts), step):
            batch = starts[first : first + step]
            low, high = np.clip(batch, 0, shape), np.clip(batch + size, 0, shape)
            boxes = [(*map(int, (a[0], b[0], a[1], b[1])),) for a, b in zip(low, high, strict=True)]
            parts = self._ask(sorted({box for box in boxes if box[0] < box[1] and box[2] < box[3]}))
            for start, box in zip(batch, boxes, strict=True):
                pixels = np.full((size, size), np.nan, np.float32)
                if box in parts:
                    row, col = box[0] - start[0], box[2] - start[1]
                    pixels[row : row + box[1] - box[0], col : col + box[3] - box[2]] = parts[box]
                yield pixels

    def _ask(self, boxes: list[Box]) -> dict[Box, np.ndarray]:
        """The pixels of some boxes, none empty: in one request; those that it does not give, one by one."""
        parts: dict[Box, np.ndarray] = {}
        if len(boxes) > 1 and not self.alone.exists():
            try:
                parts = self._answer(boxes)
            except ArchiveError as error:
                log.info("%s; again, one by one", error)
            if len(parts) == 1:
                self.alone.parent.mkdir(parents=True, exist_ok=True)
                self.alone.touch()
                log.warning("%s gives one window a request only, so that there will be more requests", self.url)
        for box in boxes:
            if box not in parts:
                parts |= self._answer_patiently(box)
        return parts

    def _answer_patiently(self, box: Box) -> dict[Box, np.ndarray]:
        """The pixels of one box, asked for twice if need be."""
        try:
            return self._answer([box])
        except ArchiveError as error:
            log.info("%s; once more", error)
        return self._answer([box])

    def _answer(self, boxes: list[Box]) -> dict[Box, np.ndarray]:
        """The pixels of the boxes by one request: of one of them at least, if not all."""
        subs = (f"[{self.extension}][{c0 + 1}:{c1},{r0 + 1}:{r1}]" for r0, r1, c0, c1 in boxes)
        url = self.url + "?" + "&".join(f"SUB={quote(sub, safe=':,')}" for sub in subs)
        asked = f"{self.url} ({len(boxes)} windows)"
        try:
            found = _images(http.read(url, kind="fits"), asked)
            parts = dict(self._part(boxes, header, pixels, asked) for header, pixels in found)
        except UNREADABLE as error:
            if isinstance(error, AwayError):
                raise AwayError(str(error).replace(url, asked), url=self.url, status=error.status) from error
            raise ArchiveError(f"{asked}: the answer cannot be read: {error}", url=self.url) from error
        except ArchiveError as error:
            raise ArchiveError(str(error).replace(url, asked), url=self.url, status=error.status) from error
        if len(found) != len(parts) or not parts:
            raise ArchiveError(f"{asked}: the answer has {len(found)} images", url=self.url)
        return parts

    def _part(self, boxes: list[Box], header: fits.Header, pixels: np.ndarray, asked: str) -> tuple[Box, np.ndarray]:
        """The box that an image of an answer is, told by its WCS and shape; ArchiveError where it is none of them."""
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
            raise ArchiveError(f"{asked}: a window of {pixels.shape} pixels from {shift} on was not asked for")
        return box, pixels


def beginning_of(mirror: Mirror, name: str) -> tuple[int, fits.Header]:
    """Number and header of the HDU that holds the image of a file, from its first bytes.

    ArchiveError where it has none; else what `Mirror.beginning` raises.
    """
    for length in (HEADERS, BEGINNING):
        with mirror.beginning(name, length) as start:
            try:
                for hdu in walk(start, name):
                    if images_of(name, [hdu]):
                        return hdu.index, hdu.header
            except UNREADABLE as error:
                raise ArchiveError(f"{name} cannot be read: {error}; fetch it anew") from error
            except ArchiveError:
                if length == BEGINNING:
                    raise
                continue  # its header may be a long one
        raise ArchiveError(f"{name} holds no image")
    raise AssertionError("the second length returns or raises")


def _images(answer: bytes, asked: str) -> list[tuple[fits.Header, np.ndarray]]:
    """Header and pixels (row, col) float32 of every image in an answer, whose structure must be whole."""
    stream = io.BytesIO(answer)
    hdus: list[Hdu] = list(walk(stream, asked))
    require_whole(f"{asked}: the answer", hdus, len(answer))
    return [(hdu.own, values_of(asked, stream, hdu).astype(np.float32)) for hdu in hdus if len(hdu.shape) == 2]
