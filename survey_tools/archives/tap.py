"""Tables of archives by TAP, the IVOA's Table Access Protocol: one ADQL query, answered at once as a VOTable.

The request is the synchronous one of TAP 1.1 (and 1.0), a POST of four fields, and the VOTable is parsed by astropy.
It is not sent through astroquery:

- `astroquery.vizier` uses VizieR's form interface and not TAP. That counts no rows, takes no ADQL, closes ranges at
  both ends, so that neighbouring strips share rows, and a result that was cut at ROW_LIMIT arrives without a warning.
- `astroquery.utils.tap` opens connections of its own, without proxies, time-outs or a second address.
- `astroquery.cadc` serves the CADC alone, drops MAXREC, and switches off all warnings about VOTables when it is
  imported.
"""

import io
import json
import logging
import re
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from xml.parsers.expat import ExpatError

import numpy as np
from astropy.io.votable import parse
from astropy.io.votable.exceptions import VOWarning
from astropy.io.votable.tree import Resource, VOTableFile
from astropy.table import MaskedColumn, Table

from survey_tools.archives.download import http
from survey_tools.archives.download.pages import Pages
from survey_tools.archives.download.ways import USUAL, Manner, Ways
from survey_tools.errors import ArchiveError

PAUSES = (3.0, 15.0)  # [s] before a refused query is sent again: VizieR sometimes refuses valid queries
UNREADABLE = (ExpatError, ValueError, TypeError, LookupError, EOFError, OSError, ArithmeticError, struct.error)
UNREADABLE += (VOWarning,)  # some errors of astropy's parser are not a ValueError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Result:
    """The rows that answer a query.

    Attributes
    ----------
    table : Table
        One column for each requested one, in that order; text is str, and a missing value is masked.
    overflow : bool
        Whether the service states that it left out rows, because of its own limit or of MAXREC.
    """

    table: Table
    overflow: bool


def query(
    url: str | Ways,
    adql: str,
    maxrec: int | None = None,
    columns: Sequence[str] = (),
    manner: Manner = USUAL,
    pages: Pages | None = None,
    rows: int | None = None,
) -> Result:
    """Return the answer of a TAP service to a query in ADQL.

    A service may leave out rows with a mark (`overflow`) or without one. A caller that needs all rows asks for their
    number first.

    Parameters
    ----------
    url : str or Ways
        Address of the synchronous service (…/sync), or several addresses.
    adql : str
        The query.
    maxrec : int, optional
        Largest number of rows.
    columns : sequence of str
        The expected names. Those of the answer may differ from them only in case, and are renamed to them.
    manner : Manner
        How patiently to ask.
    pages : Pages, optional
        Kept answers: an answer among them is not requested again, and a complete new one is added.
    rows : int, optional
        The number of rows of a complete answer.

    Returns
    -------
    Result

    Raises
    ------
    ArchiveError
        If the service refuses the query (the message has its words), or if the answer is not a complete VOTable or has
        other columns.
    ConnectionError
        If the service cannot be reached, or stays busy.
    """
    form = {"REQUEST": "doQuery", "LANG": "ADQL", "RESPONSEFORMAT": "votable", "QUERY": " ".join(adql.split())}
    if maxrec is not None:
        form["MAXREC"] = str(maxrec)
    key = json.dumps(form, sort_keys=True)
    kept = None if pages is None else pages.get(key)
    answer = _asked(url, form, manner) if kept is None else kept
    try:
        document = parse(io.BytesIO(answer), verify="ignore")
    except UNREADABLE as error:
        raise ArchiveError(
            f"{url}: the answer is not a complete VOTable ({_one_line(str(error))}); ask again later", url=url
        ) from error
    resource = _results(document, url)
    overflow = _overflow(resource, url)
    if not resource.tables:
        raise ArchiveError(f"{url}: the answer has no table; is this a TAP service?", url=str(url))
    table = _decoded(resource.tables[0].to_table(use_names_over_ids=True))
    table = _named(table, columns, url) if columns else table
    if pages is not None and kept is None and len(table) == rows:
        pages.put(key, answer)
    return Result(table, overflow)


def count(url: str | Ways, adql: str, manner: Manner = USUAL) -> int:
    """Return the whole number that a query such as SELECT COUNT(*) gives. Raises the errors of `query`."""
    table = query(url, adql, manner=manner).table
    if len(table) != 1 or len(table.columns) != 1 or not re.fullmatch(r"\d+", str(table[0][0])):
        raise ArchiveError(
            f"{url}: the answer has {len(table)} rows instead of one number; try again later", url=str(url)
        )
    return int(table[0][0])


def _asked(url: str | Ways, form: dict[str, str], manner: Manner) -> bytes:
    """Return the answer to a form; if the service calls it a bad request, it is sent again after each of PAUSES."""
    for pause in PAUSES if manner.tries is None else ():
        try:
            return http.read(url, data=form, kind="votable", manner=manner)
        except ArchiveError as error:
            if error.status != 400:
                raise
            log.info("%s; again in %g s", error, pause)
        time.sleep(pause)
    return http.read(url, data=form, kind="votable", manner=manner)


def _results(document: VOTableFile, url: str | Ways) -> Resource:
    """Return the resource with the results; ArchiveError if there is none."""
    for resource in document.resources:
        if resource.type == "results":
            return resource
    raise ArchiveError(f"{url}: the answer is a VOTable without results; is this a TAP service?", url=str(url))


def _overflow(resource: Resource, url: str | Ways) -> bool:
    """Return whether rows were left out; ArchiveError if the query failed.

    A status before the table may be followed by another one after it, if the failure happened while rows were written.
    """
    overflow = False
    for info in resource.infos:
        status = (info.value or "").upper()
        if (info.name or "").upper() != "QUERY_STATUS":
            continue
        if status not in ("OK", "OVERFLOW"):
            words = _one_line(info.content or status)
            raise ArchiveError(f"{url} refuses the query: {words}", url=str(url))
        overflow |= status == "OVERFLOW"
    return overflow


def _decoded(table: Table) -> Table:
    """Return the table with text as str: services send char arrays of fixed and of any length, and bytes."""
    table.convert_bytestring_to_unicode()
    for name in table.colnames:
        column = table[name]
        if column.dtype.kind == "O":
            mask = np.broadcast_to(getattr(column, "mask", False), len(column)).copy()
            texts = [
                "" if hidden or value is None else _text(value) for value, hidden in zip(column, mask, strict=True)
            ]
            table[name] = MaskedColumn(np.array(texts, dtype=str), mask=mask, unit=column.unit)
    return table


def _text(value) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _named(table: Table, columns: Sequence[str], url: str | Ways) -> Table:
    """Return the table with the requested names of its columns; ArchiveError if it has others."""
    if [name.lower() for name in table.colnames] != [name.lower() for name in columns]:
        raise ArchiveError(
            f"{url}: the answer has the columns {', '.join(table.colnames)} instead of {', '.join(columns)}; "
            "has the archive changed its tables?",
            url=str(url),
        )
    table.rename_columns(table.colnames, list(columns))
    return table


def _one_line(words: str) -> str:
    return " ".join(words.split())[:300]
