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

PAUSES = (3.0, 15.0)  # [s] before a refused query is asked again: a node of VizieR refuses good ones now and then
UNREADABLE = (ExpatError, ValueError, TypeError, LookupError, EOFError, OSError, ArithmeticError, struct.error)
UNREADABLE += (VOWarning,)  # of what astropy raises in parsing, some is no ValueError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Result:
    """The rows that answer a query.

    Attributes:
        table: One column for each one asked, in that order; text is str, and a missing value is masked.
        overflow: Whether the service says that it left rows out, for its own limit or for MAXREC.
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
    """The answer of the TAP service at `url` (…/sync), or at one of several, to a query in ADQL.

    A service may leave out rows and say so (`overflow`), or not say so: who needs all of them asks for their number
    first. `columns` are the names that are due; those of the answer may differ from them in case only, and are
    renamed to them. An answer that is among the kept `pages` is not asked for again; one with as many `rows` as are due
    is put there.

    Raises:
        ArchiveError: Where the service refuses the query (the message has its words), or where the answer is no
            whole VOTable or has other columns.
        ConnectionError: Where the service cannot be reached, or stays busy.
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
            f"{url}: the answer is no whole VOTable ({_one_line(str(error))}); ask again later", url=url
        ) from error
    resource = _results(document, url)
    overflow = _overflow(resource, url)
    if not resource.tables:
        raise ArchiveError(f"{url}: the answer holds no table; is this a TAP service?", url=str(url))
    table = _decoded(resource.tables[0].to_table(use_names_over_ids=True))
    table = _named(table, columns, url) if columns else table
    if pages is not None and kept is None and len(table) == rows:
        pages.put(key, answer)
    return Result(table, overflow)


def count(url: str | Ways, adql: str, manner: Manner = USUAL) -> int:
    """The one whole number that a query such as SELECT COUNT(*) gives; raises what `query` does."""
    table = query(url, adql, manner=manner).table
    if len(table) != 1 or len(table.columns) != 1 or not re.fullmatch(r"\d+", str(table[0][0])):
        raise ArchiveError(
            f"{url}: a number of rows was due, and {len(table)} rows came; try again later", url=str(url)
        )
    return int(table[0][0])


def _asked(url: str | Ways, form: dict[str, str], manner: Manner) -> bytes:
    """The answer to a form; where the service calls it a bad request, asked again after each of PAUSES."""
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
    """The resource that holds the results; ArchiveError where there is none."""
    for resource in document.resources:
        if resource.type == "results":
            return resource
    raise ArchiveError(f"{url}: the answer is a VOTable without results; is this a TAP service?", url=str(url))


def _overflow(resource: Resource, url: str | Ways) -> bool:
    """Whether rows were left out; ArchiveError where the query failed.

    A status before the table may be followed by another one after it, where the failure came while rows were written.
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
    """The table with text as str: services send char arrays of fixed and of any length, and bytes."""
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
    """The table with its columns called as asked; ArchiveError where they are others."""
    if [name.lower() for name in table.colnames] != [name.lower() for name in columns]:
        raise ArchiveError(
            f"{url}: the answer has the columns {', '.join(table.colnames)} in place of {', '.join(columns)}; "
            "has the archive changed its tables?",
            url=str(url),
        )
    table.rename_columns(table.colnames, list(columns))
    return table


def _one_line(words: str) -> str:
    return " ".join(words.split())[:300]
