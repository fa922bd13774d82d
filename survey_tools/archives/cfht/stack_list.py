"""The list of CFHTLS stacks at the CADC: its rows, requested once and kept."""

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
HEADERS = 2**20  # [byte] more than the headers of a file with one image have
SCIENCE = ("science", "this")  # the CADC's word for the main product of a plane, before 2026 and since
WEIGHT = "weight"
EDGE_TOLERANCE = 0.02  # relative difference of a stack's polygon and its pixels times their scale


class File(NamedTuple):
    """A file at the CADC: its archive there and its name, its length [byte] and MD5 ("" if that is not stated)."""

    archive: str
    name: str
    size: int
    md5: str

    @property
    def uri(self) -> str:
        """The name by which the CADC knows it."""
        return f"cadc:{self.archive}/{self.name}"


class Stack(NamedTuple):
    """One band of one pointing.

    Attributes
    ----------
    observation : str
        The CADC's name of the pointing.
    filter : str
        The CADC's name of the filter, such as i.MP9702.
    image : File
        Its file.
    weight : File, optional
        The file of its weight map; None if there is none.
    shape : (int, int)
        Rows and columns of its pixels.
    edges : (2, 2) float
        Smallest and largest place of its pixels' edges on the plane that is tangent at `centre` [deg].
    centre : (float, float)
        ra, dec [deg].
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
        """Band of the survey."""
        return CFHT.filters[self.filter]

    @property
    def name(self) -> str:
        """Name of the stack in stores: its URI, and its filter, because the band i has two."""
        return f"{self.image.uri}#{self.filter}"

    def on_sky(self) -> ImageFile:
        """Return where the stack lies, by its polygon: exact to some pixels, enough to find the objects on it."""
        (left, low), (right, high) = self.edges
        cd = np.diag([(right - left) / self.shape[1], (high - low) / self.shape[0]])
        crpix = 0.5 - left / cd[0, 0], 0.5 - low / cd[1, 1]
        return ImageFile(self.name, self.band, self.shape, tan_wcs(self.centre, crpix, cd))


@dataclass(frozen=True)
class Roster:
    """The list of stacks.

    Attributes
    ----------
    stacks : list of Stack
        The stacks, ordered by observation and filter.
    unreadable : list of Unreadable
        Rows of the CADC that cannot be used.
    notes : list of str
        Remarks for the user.
    """

    stacks: list[Stack]
    unreadable: list[Unreadable]
    notes: list[str]


def roster_of(table: Table) -> Roster:
    """Return the rows of the CADC's table as stacks, each with its weight map.

    If the row of a weight map cannot be used, its stack is kept: its noise is measured, and a note says so.
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
                raise ArchiveError(f"{weights[key].name} has the same pointing and filter")
        except ArchiveError as error:
            if row["productType"] == WEIGHT:
                odd.append(f"{name} ({error})")
                continue
            roster.unreadable.append(Unreadable(name, CFHT.filters.get(str(row["energy_bandpassName"]), ""),
                                                f"{name}, as the CADC lists it, cannot be used: {error}"))  # fmt: skip
    found = [stack._replace(weight=weights.get((stack.observation, stack.filter))) for stack in stacks.values()]
    used = {(stack.observation, stack.filter) for stack in found}
    odd += [f"{weights[key].uri} (no stack has its pointing and filter)" for key in weights if key not in used]
    roster.stacks.extend(sorted(found, key=lambda stack: stack[:3]))
    nameless = sum(not stack.image.md5 for stack in found)
    if nameless:
        roster.notes.append(f"{nameless} stacks have no MD5 at the CADC; their downloads are checked by length only")
    if odd:
        more = f" and {len(odd) - 1} more" if len(odd) > 1 else ""
        roster.notes.append(f"some weight maps cannot be used, and the noise is measured instead: {odd[0]}{more}")
    return roster


def _keep_one(roster: Roster, stacks: dict[tuple[str, str], Stack], stack: Stack) -> None:
    """Keep the first of two files of one pointing and band, and tell the user of the other."""
    first = stacks.setdefault((stack.observation, stack.band), stack)
    if first.image != stack.image:
        note = f"{stack.name} is left out: {first.name} has the same pointing and band"
        log.warning(note)
        roster.notes.append(note)


def _file(row) -> File:
    """Return the file of a row; ArchiveError if its URI, its length or its MD5 is impossible."""
    uri = URI.fullmatch(str(row["uri"]))
    if uri is None or ".." in uri[2]:
        raise ArchiveError("its URI is not that of a FITS file")
    size = str(row["contentLength"])
    if not re.fullmatch(r"[1-9]\d{0,14}", size):
        raise ArchiveError(f"its contentLength is {size!r}")
    text = str(row["contentChecksum"])
    md5 = MD5.fullmatch(text)
    if text and md5 is None:
        raise ArchiveError(f"its contentChecksum is {text!r}, not an MD5")
    return File(uri[1], uri[2], int(size), md5[1].lower() if md5 else "")


def _stack(row, file: File) -> Stack:
    """Return the stack of a row; ArchiveError if its name, its place or its shape is impossible."""
    if not OBSERVATION.fullmatch(str(row["observationID"])):
        raise ArchiveError(f"its observation is {str(row['observationID'])!r}")
    axes = [str(row[name]) for name in ("naxis2", "naxis1")]
    if not all(re.fullmatch(r"[1-9]\d{0,6}", axis) for axis in axes):
        raise ArchiveError(f"its NAXIS2, NAXIS1 are {axes}")
    shape = (int(axes[0]), int(axes[1]))
    pixels = 4 * shape[0] * shape[1]
    if file.name.endswith(".fits") and not pixels <= file.size <= pixels + HEADERS:
        raise ArchiveError(f"its contentLength is {file.size}, but its pixels have {pixels} bytes")
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
    """Return ra, dec (n, 2) [deg] of a polygon as CAOM writes it; ArchiveError if it is not a polygon."""
    words = re.sub(r"(?i)^\s*polygon\b(\s+icrs\b)?|[\[\],()]", " ", bounds)
    numbers = [float(text) for text in NUMBER.findall(words)]
    corners = np.array(numbers).reshape(-1, 2) if len(numbers) % 2 == 0 else np.zeros((0, 2))
    known = not re.sub(NUMBER, "", words).strip() and len(corners) >= 3
    if not known or not ((corners >= (0, -90)) & (corners <= (360, 90))).all():
        raise ArchiveError(f"its position_bounds are {bounds[:60]!r}, not a polygon")
    return corners


CENSUS = dict(zip(FILTERS, (171, 171, 171, 139, 32, 171), strict=True))  # stacks, counted at the CADC in 2026
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
    """Return the list of stacks, from the cache or from the CADC.

    The list is requested again if the kept one is damaged, or was made by another query or service.

    Raises
    ------
    ArchiveError
        If the CADC refuses the query, or returns something else than was requested.
    ConnectionError
        If it cannot be reached.
    """
    path = settings.cache_folder / KEPT
    table = _kept(path, settings)
    if table is None:
        table = _ask(settings)
        if roster_of(table).unreadable:  # perhaps only damaged during the transfer
            table = _ask(settings)
        if not roster_of(table).unreadable:
            _keep(table, path)
    roster = roster_of(table)
    count = Counter(stack.filter for stack in roster.stacks)
    if settings.cadc_observations == ArchiveSettings().cadc_observations and count != CENSUS:
        numbers = ", ".join(f"{count[name]} of {due} {name}" for name, due in CENSUS.items() if count[name] != due)
        roster.notes.append(f"the CADC lists {sum(count.values())} of {sum(CENSUS.values())} stacks: {numbers}")
    roster.notes.append(f"the list of the CADC of {table.meta['date'][:10]} has {len(roster.stacks)} stacks ({path})")
    return roster


def _queries(settings: ArchiveSettings, filters: tuple[str, ...]) -> tuple[str, str]:
    """Return two queries in ADQL: for the files, and for their number."""
    names = ",".join(f"'{name}'" for name in filters)
    files = " ".join(FILES.format(observations=settings.cadc_observations.replace("'", "''"), filters=names).split())
    columns = ", ".join(f"{source} AS {name}" for name, source in COLUMNS.items())
    order = ",".join(COLUMNS[name] for name in ORDER)
    return f"SELECT TOP {TOP} {columns} {files} ORDER BY {order}", f"SELECT COUNT(*) {files}"


def _ask(settings: ArchiveSettings) -> Table:
    """Return the CADC's answer, all of it text, "" for a missing value; ArchiveError if rows are left out.

    Services may leave out rows because of a limit of their own. If the rows are too many at once, they are requested
    for each filter separately.
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
    """Return the answer to one query as a table of text."""
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
    """Write the table for the next run."""
    try:
        with whole_file(path) as temporary:
            table.write(temporary, format="ascii.ecsv")
    except OSError as error:
        log.warning("the list of stacks cannot be kept and will be requested again next time: %s", error)


def _kept(path: Path, settings: ArchiveSettings) -> Table | None:
    """Return the table that was kept; None if there is none of this query, or it is damaged."""
    if not path.exists():
        return None
    asked = settings.cadc_tap, _queries(settings, FILTERS)[0]
    try:
        table = Table.read(path, format="ascii.ecsv", fill_values=None)
        same = (table.meta["service"], table.meta["query"]) == asked
        if same and table.meta["checksum"] == _checksum(table) and datetime.fromisoformat(table.meta["date"]):
            return table
        log.info("%s is from another query, or was changed; the CADC is asked again", path)
    except Exception as error:  # the errors of the readers of tables and of YAML have no common class
        log.info("%s cannot be read, and is requested again: %s", path, error)
    return None


def _checksum(table: Table) -> str:
    """Return the SHA-256 of the rows."""
    lines = ("\t".join(map(str, (row[name] for name in COLUMNS))) for row in table)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
