"""The rows of the CADC's list of CFHTLS Wide stacks: what each says, and whether that can be."""

import logging
import re
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from astropy.table import Table

from survey_tools.archives.fits_files import ImageFile, Unreadable
from survey_tools.errors import ArchiveError
from survey_tools.surveys import CFHT
from survey_tools.tan import tan_wcs

FILTERS = ("u.MP9301", "g.MP9401", "r.MP9601", "i.MP9701", "i.MP9702", "z.MP9801")
OBSERVATION = re.compile(r"\w[\w+-]{0,63}", re.ASCII)
URI = re.compile(r"cadc:(\w+)/(\w[\w.+-]*\.fits(?:\.fz)?)", re.ASCII)
MD5 = re.compile(r"(?:md5:)?([0-9a-f]{32})", re.ASCII | re.IGNORECASE)
NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
HEADERS = 2**20  # [byte] more than those of a file of one image have
SCIENCE = ("science", "this")  # what the CADC calls the product that a plane is about: before 2026, and since
WEIGHT = "weight"
EDGE_TOLERANCE = 0.02  # by which the polygon of a stack may differ from its pixels times their scale

log = logging.getLogger(__name__)


class File(NamedTuple):
    """A file at the CADC: its archive there and its name, its length [byte] and MD5, "" where that is not stated."""

    archive: str
    name: str
    size: int
    md5: str

    @property
    def uri(self) -> str:
        """By which the CADC knows it."""
        return f"cadc:{self.archive}/{self.name}"


class Stack(NamedTuple):
    """One band of one pointing.

    Attributes:
        observation: Of the CADC: the pointing.
        filter: By the CADC, such as i.MP9702.
        image: Its file.
        weight: That of its weight map; None where there is none.
        shape: (rows, columns) of its pixels.
        edges: Least and greatest place (2, 2) of its pixels' edges on the plane that is tangent at `centre` [deg].
        centre: ra, dec [deg].
    """

    observation: str
    filter: str
    image: File
    weight: File | None
    shape: tuple[int, int]
    edges: tuple[tuple[float, float], tuple[float, float]]
    centre: tuple[float, float]

    @property
    def band(self) -> str:
        """Of the survey."""
        return CFHT.filters[self.filter]

    @property
    def name(self) -> str:
        """Of the stack in stores: its URI, and its filter, which for the band i is one of two."""
        return f"{self.image.uri}#{self.filter}"

    def on_sky(self) -> ImageFile:
        """Where the stack lies, by its polygon: exact to some pixels, which is enough to tell what lies on it."""
        (left, low), (right, high) = self.edges
        cd = np.diag([(right - left) / self.shape[1], (high - low) / self.shape[0]])
        crpix = 0.5 - left / cd[0, 0], 0.5 - low / cd[1, 1]
        return ImageFile(self.name, self.band, self.shape, tan_wcs(self.centre, crpix, cd))


@dataclass(frozen=True)
class Roster:
    """The stacks, by observation and filter; rows of the CADC's that cannot be used; what a user should know."""

    stacks: list[Stack]
    unreadable: list[Unreadable]
    notes: list[str]


def roster_of(table: Table) -> Roster:
    """The rows of the table as stacks, each with its weight map.

    A row of a weight map that cannot be used costs no stack: the noise of that stack is measured, and a note says so.
    """
    roster, stacks, weights, odd = Roster([], [], []), {}, {}, []
    for row in table:
        name = str(row["uri"])
        try:
            file = _file(row)
            key = str(row["observationID"]), str(row["energy_bandpassName"])
            if key[1] not in FILTERS or row["productType"] not in (*SCIENCE, WEIGHT):
                raise ArchiveError(f"its filter is {key[1]!r}, and its product {str(row['productType'])!r}")
            if row["productType"] != WEIGHT:
                _keep_one(roster, stacks, _stack(row, file))
            elif weights.setdefault(key, file) != file:
                raise ArchiveError(f"{weights[key].name} is of the same pointing and filter")
        except ArchiveError as error:
            if row["productType"] == WEIGHT:
                odd.append(f"{name} ({error})")
                continue
            roster.unreadable.append(Unreadable(name, CFHT.filters.get(str(row["energy_bandpassName"]), ""),
                                                f"{name}, as the CADC lists it, cannot be used: {error}"))  # fmt: skip
    found = [stack._replace(weight=weights.get((stack.observation, stack.filter))) for stack in stacks.values()]
    used = {(stack.observation, stack.filter) for stack in found}
    odd += [f"{weights[key].uri} (no stack is of its pointing and filter)" for key in weights if key not in used]
    roster.stacks.extend(sorted(found, key=lambda stack: stack[:3]))
    nameless = sum(not stack.image.md5 for stack in found)
    if nameless:
        roster.notes.append(f"{nameless} stacks have no MD5 at the CADC; their downloads are checked by length alone")
    if odd:
        more = f" and {len(odd) - 1} more" if len(odd) > 1 else ""
        roster.notes.append(f"weight maps are left out of the CADC's list, and noise is measured: {odd[0]}{more}")
    return roster


def _keep_one(roster: Roster, stacks: dict[tuple[str, str], Stack], stack: Stack) -> None:
    """Of two files of one pointing and band the first stays, and the user is told of the other."""
    first = stacks.setdefault((stack.observation, stack.band), stack)
    if first.image != stack.image:
        note = f"{stack.name} is left out: {first.name} is of the same pointing and band"
        log.warning(note)
        roster.notes.append(note)


def _file(row) -> File:
    """The file of a row; ArchiveError where its URI, its length or its MD5 cannot be."""
    uri = URI.fullmatch(str(row["uri"]))
    if uri is None or ".." in uri[2]:
        raise ArchiveError("its URI is not that of a FITS file")
    size = str(row["contentLength"])
    if not re.fullmatch(r"[1-9]\d{0,14}", size):
        raise ArchiveError(f"its contentLength is {size!r}")
    text = str(row["contentChecksum"])
    md5 = MD5.fullmatch(text)
    if text and md5 is None:
        raise ArchiveError(f"its contentChecksum is {text!r}, no MD5")
    return File(uri[1], uri[2], int(size), md5[1].lower() if md5 else "")


def _stack(row, file: File) -> Stack:
    """The stack of a row; ArchiveError where its name, its place or its shape cannot be."""
    if not OBSERVATION.fullmatch(str(row["observationID"])):
        raise ArchiveError(f"its observation is {str(row['observationID'])!r}")
    axes = [str(row[name]) for name in ("naxis2", "naxis1")]
    if not all(re.fullmatch(r"[1-9]\d{0,6}", axis) for axis in axes):
        raise ArchiveError(f"its NAXIS2, NAXIS1 are {axes}")
    shape = (int(axes[0]), int(axes[1]))
    pixels = 4 * shape[0] * shape[1]
    if file.name.endswith(".fits") and not pixels <= file.size <= pixels + HEADERS:
        raise ArchiveError(f"its contentLength is {file.size}, and its pixels have {pixels} bytes")
    corners = np.unique(_corners(str(row["position_bounds"])), axis=0)  # each once: the last may be the first again
    ra, dec = np.radians(corners.T)
    x, y, z = np.mean([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=1)
    centre = float(np.degrees(np.arctan2(y, x)) % 360), float(np.degrees(np.arctan2(z, np.hypot(x, y))))
    plane = tan_wcs(centre, (0.0, 0.0), np.eye(2)).wcs_world2pix(corners, 1)
    low, high = plane.min(axis=0), plane.max(axis=0)
    ratio = (high - low) * 3600 / CFHT.pixel_scale / shape[::-1]
    if not (abs(ratio - 1) < EDGE_TOLERANCE).all():
        raise ArchiveError(
            f"its polygon is {ratio.round(3).tolist()} times as long as its {shape[1]} × {shape[0]} pixels"
        )
    edges = (float(high[0]), float(low[1])), (float(low[0]), float(high[1]))  # the east, with the first column, is left
    return Stack(str(row["observationID"]), str(row["energy_bandpassName"]), file, None, shape, edges, centre)


def _corners(bounds: str) -> np.ndarray:
    """ra, dec (n, 2) [deg] of a polygon as CAOM writes it; ArchiveError where it is none."""
    words = re.sub(r"(?i)^\s*polygon\b(\s+icrs\b)?|[\[\],()]", " ", bounds)
    numbers = [float(text) for text in NUMBER.findall(words)]
    corners = np.array(numbers).reshape(-1, 2) if len(numbers) % 2 == 0 else np.zeros((0, 2))
    known = not re.sub(NUMBER, "", words).strip() and len(corners) >= 3
    if not known or not ((corners >= (0, -90)) & (corners <= (360, 90))).all():
        raise ArchiveError(f"its position_bounds are {bounds[:60]!r}, no polygon")
    return corners
