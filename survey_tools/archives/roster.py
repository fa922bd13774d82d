"""The roster: every CFHTLS Wide stack at the CADC, with its size, checksum and place on the sky, by one TAP query.

It is asked once and kept, for no stack has changed since 2012. CAOM, the CADC's data model, counts an observation (here
a pointing) as planes (a band each), and a plane as artifacts (files).
"""

import hashlib
import logging
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from astropy.table import Table, vstack

from survey_tools.archives import tap
from survey_tools.archives.settings import Settings
from survey_tools.archives.stack_list import FILTERS, Roster, roster_of
from survey_tools.atomic import whole_file
from survey_tools.errors import ArchiveError

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

log = logging.getLogger(__name__)


def read_roster(settings: Settings) -> Roster:
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
    if settings.cadc_observations == Settings().cadc_observations and count != CENSUS:
        numbers = ", ".join(f"{count[name]} of {due} {name}" for name, due in CENSUS.items() if count[name] != due)
        roster.notes.append(f"the CADC lists {sum(count.values())} stacks of {sum(CENSUS.values())}: {numbers}")
    roster.notes.append(f"{len(roster.stacks)} stacks by the CADC's list of {table.meta['date'][:10]} ({path})")
    return roster


def _queries(settings: Settings, filters: tuple[str, ...]) -> tuple[str, str]:
    """In ADQL: the files, and their number."""
    names = ",".join(f"'{name}'" for name in filters)
    files = " ".join(FILES.format(observations=settings.cadc_observations.replace("'", "''"), filters=names).split())
    columns = ", ".join(f"{source} AS {name}" for name, source in COLUMNS.items())
    order = ",".join(COLUMNS[name] for name in ORDER)
    return f"SELECT TOP {TOP} {columns} {files} ORDER BY {order}", f"SELECT COUNT(*) {files}"


def _ask(settings: Settings) -> Table:
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


def _answer(settings: Settings, query: str) -> Table:
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


def _kept(path: Path, settings: Settings) -> Table | None:
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
