"""The list of CFHTLS stacks at the CADC: its rows, asked once and kept."""

import hashlib
import logging
import re
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.table import Table, vstack

from survey_tools.archives import tap
from survey_tools.archives.fits_files import ImageFile, Unreadable
from survey_tools.archives.settings import ArchiveSettings
from survey_tools.errors import ArchiveError
from survey_tools.files import whole_file
from survey_tools.images.sky_wcs import tan_wcs
from survey_tools.sphere import directions, unit_vectors
from survey_tools.surveys import CFHT

log = logging.getLogger(__name__)

FILTERS = ("u.MP9301", "g.MP9401", "r.MP9601", "i.MP9701", "i.MP9702", "z.MP9801")
OBSERVATION = re.compile(r"\w[\w+-]{0,63}", re.ASCII)
URI = re.compile(r"cadc:(\w+)/(\w[\w.+-]*\.fits(?:\.fz)?)", re.ASCII)
MD5 = re.compile(r"(?:md5:)?([0-9a-f]{32})", re.ASCII | re.IGNORECASE)
NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
HEADERS = 2**20  # [byte] more than those of a file of one image have
SCIENCE = ("science", "this")  # what the CADC calls the product that a plane is about: before 2026, and since
WEIGHT = "weight"
EDGE_TOLERANCE = 0.02  # by which the polygon of a stack may differ from its pixels times their scale


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
    centre = tuple(directions(unit_vectors(*corners.T, axis=0).mean(axis=1)).tolist())
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


CENSUS = dict(zip(FILTERS, (171, 171, 171, 139, 32, 171), strict=True))  # stacks, as counted at the CADC in 2026
COLUMNS = {
    "observationID": "o.observationID",
    "energy_bandpassName": "p.energy_bandpassName",
    "position_bounds": "p.position_bounds",
    "naxis1": "p.position_dimension_naxis1",
    "naxis2": "p.position_dimension_naxis2",
    "uri": "a.uri",
    "productType": "a.productType",
    "contentLength": "a.contentLength",
    "contentChecksum": "a.contentChecksum",
}
TOP = 4000  # rows: 855 stacks, each perhaps under both of its product types, as many weight maps, and some to spare
ORDER = ("observationID", "energy_bandpassName", "uri")
FILES = """
FROM caom2.Observation AS o JOIN caom2.Plane AS p ON o.obsID=p.obsID JOIN caom2.Artifact AS a ON a.planeID=p.planeID
WHERE o.collection='CFHTTERAPIX' AND o.observationID LIKE '{observations}' AND p.provenance_version='T0007'
AND p.energy_bandpassName IN ({filters})
AND ((a.productType IN ('science','this') AND a.uri LIKE '%_T0007_MEDIAN.fits') OR a.productType='weight')"""
KEPT = "cfht_roster.ecsv"


def read_roster(settings: ArchiveSettings) -> Roster:
    """The roster, as it was kept or else by asking the CADC.

    What was kept is asked anew where it is damaged, or where another query of another service gave it.

    Raises:
        ArchiveError: Where the CADC refuses the query, or gives something else than was asked for.
        ConnectionError: Where it cannot be reached.
    """
    path = settings.cache_folder / KEPT
    table = _kept(path, settings)
    if table is None:
        table = _ask(settings)
        if roster_of(table).unreadable:  # at the CADC, or on its way from there
            table = _ask(settings)
        if not roster_of(table).unreadable:
            _keep(table, path)
    roster = roster_of(table)
    count = Counter(stack.filter for stack in roster.stacks)
    if settings.cadc_observations == ArchiveSettings().cadc_observations and count != CENSUS:
        numbers = ", ".join(f"{count[name]} of {due} {name}" for name, due in CENSUS.items() if count[name] != due)
        roster.notes.append(f"the CADC lists {sum(count.values())} stacks of {sum(CENSUS.values())}: {numbers}")
    roster.notes.append(f"{len(roster.stacks)} stacks by the CADC's list of {table.meta['date'][:10]} ({path})")
    return roster


def _queries(settings: ArchiveSettings, filters: tuple[str, ...]) -> tuple[str, str]:
    """In ADQL: the files, and their number."""
    names = ",".join(f"'{name}'" for name in filters)
    files = " ".join(FILES.format(observations=settings.cadc_observations.replace("'", "''"), filters=names).split())
    columns = ", ".join(f"{source} AS {name}" for name, source in COLUMNS.items())
    order = ",".join(COLUMNS[name] for name in ORDER)
    return f"SELECT TOP {TOP} {columns} {files} ORDER BY {order}", f"SELECT COUNT(*) {files}"


def _ask(settings: ArchiveSettings) -> Table:
    """The CADC's answer, all of it text, "" where a value is missing; ArchiveError where rows are left out.

    Services may leave out rows for a limit of their own. Those that are too many at once are asked filter by filter.
    """
    query, number = _queries(settings, FILTERS)
    due = tap.count(settings.ways("cadc_tap"), number, settings.manner)
    table = _answer(settings, query)
    if len(table) != due:
        table = vstack([_answer(settings, _queries(settings, (name,))[0]) for name in FILTERS])
    if len(table) != due:
        url = str(settings.ways("cadc_tap"))
        raise ArchiveError(
            f"{url} lists {len(table)} of {due} files of stacks; ask again later, or for fewer by "
            "GALTRANS_CADC_OBSERVATIONS",
            url=url,
        )
    table.sort(list(ORDER))
    table.meta = {"service": settings.cadc_tap, "query": query, "checksum": _checksum(table)}
    table.meta["date"] = datetime.now(UTC).isoformat(timespec="seconds")
    return table


def _answer(settings: ArchiveSettings, query: str) -> Table:
    """A table of text."""
    asked = tap.query(settings.ways("cadc_tap"), query, columns=list(COLUMNS), manner=settings.manner)
    found, columns = asked.table, {}
    for name in COLUMNS:
        column = found[name]
        missing = np.broadcast_to(np.asarray(getattr(column, "mask", False)), column.shape)
        texts = [
            "" if np.all(gap) else " ".join(map(str, np.ravel(value).tolist()))
            for value, gap in zip(column, missing, strict=True)
        ]
        columns[name] = np.array(texts, dtype=str) if texts else np.zeros(0, "U1")
    return Table(columns)


def _keep(table: Table, path: Path) -> None:
    """Write the table for the next time."""
    try:
        with whole_file(path) as temporary:
            table.write(temporary, format="ascii.ecsv")
    except OSError as error:
        log.warning("the roster cannot be kept, so that it is asked for again next time: %s", error)


def _kept(path: Path, settings: ArchiveSettings) -> Table | None:
    """The table that was kept; None where there is none of this query, or it is damaged."""
    if not path.exists():
        return None
    asked = settings.cadc_tap, _queries(settings, FILTERS)[0]
    try:
        table = Table.read(path, format="ascii.ecsv", fill_values=None)
        same = (table.meta["service"], table.meta["query"]) == asked
        if same and table.meta["checksum"] == _checksum(table) and datetime.fromisoformat(table.meta["date"]):
            return table
        log.info("%s is of another query, or was changed; the CADC is asked anew", path)
    except Exception as error:  # what the readers of tables and of YAML raise has no common name
        log.info("%s cannot be read, and is asked for anew: %s", path, error)
    return None


def _checksum(table: Table) -> str:
    """SHA-256 of the rows."""
    lines = ("\t".join(map(str, (row[name] for name in COLUMNS))) for row in table)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
