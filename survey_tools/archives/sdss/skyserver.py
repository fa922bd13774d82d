"""SDSS targets of release 12 from SkyServer's SQL search, page by page, without losing a row.

SkyServer allows one query a second, of 600 s and 500,000 rows at most (its page "Query Limits", DR8 edition), and a URL
can hold a query of about 2,000 characters. The rows are therefore counted first and then asked for in pages, in the
order of their key; each page begins after the last key of the page before. A page that is shorter than requested costs
one more request and no row, and a page that SkyServer cannot make in its time is asked for again at half its size. The
rows must add up to the count. Pages are kept until all of them have arrived, so that an outage loses none.

Error messages of SkyServer are shown to the user. They arrive as HTTP 500 with a JSON body (`ErrorMessage`) or, if a
limit was exceeded, as HTTP 200 with a table whose only column is `error_message`.

The queries go through astroquery (`SDSS.query_sql_async`), which writes the request; `_Session` sends it with the
patience and the several addresses of `http.read`. Three things of astroquery are not used, because they lose data:

- its cache, which keeps an error page that was sent as HTTP 200 for a week as if it were a table;
- its reader of the answer, which does not notice a missing first line, missing columns or a row that is cut short;
- its cross-identification, which leaves out columns without an error if the server does not list them.
"""

import csv
import io
import itertools
import json
import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from urllib.parse import quote_plus

import numpy as np
import requests
from astropy.table import Table, vstack

from survey_tools.archives.download import http
from survey_tools.archives.download.pages import Pages
from survey_tools.archives.download.ways import Ways
from survey_tools.archives.sdss.samples import KINDS, UNITS, TargetSample, column_name
from survey_tools.archives.settings import ArchiveSettings
from survey_tools.archives.targets import Found
from survey_tools.errors import ArchiveError, AwayError
from survey_tools.progress import Progress

RELEASE = 12
FEWEST = 500  # rows of the smallest page that is tried
WAITS = 5  # times to wait for the next minute if the queries of this one are used up
PER_MINUTE = re.compile(r"per minute", re.IGNORECASE)  # words of SkyServer in that case
ATTEMPTS = 3  # if the answer is an error page: a query that exceeds the time limit takes ten minutes each time
LONGEST = 2048  # characters of a URL's query that the server's software accepts by default
NONE = -9999  # SDSS writes this for a quantity that was not measured
WHOLE = "1 AS whole"  # the last column of every query, which shows that a row is complete

log = logging.getLogger(__name__)


def check_where(condition: str) -> str:
    """Return a user's own condition, in SQL or ADQL, on one line.

    Raises
    ------
    ValueError
        If it is not exactly one condition.
    """
    words = " ".join(condition.split())
    for forbidden in (";", "--", "/*", "*/"):
        if forbidden in words:
            raise ValueError(f"{words!r} holds {forbidden!r}; give one condition, such as p.dec > 0")
    bare = "".join(words.split("'")[::2])  # without what stands in quotes
    steps = [{"(": 1, ")": -1}.get(letter, 0) for letter in bare]
    depths = list(itertools.accumulate(steps))
    if not words or words.count("'") % 2 or min(depths, default=0) < 0 or sum(steps):
        raise ValueError(
            f"{words!r} is empty, or has an unmatched bracket or quote; give one condition, such as p.dec > 0"
        )
    return words


def count(settings: ArchiveSettings, sample: TargetSample, where: str = "") -> int:
    """Return how many rows of a sample satisfy the user's own condition `where`. Raises the errors of `find`."""
    try:
        rows = ask(settings, ["COUNT(*) AS n"], _source(sample, where))
    except ArchiveError as error:
        hint = f"; is --where right? {where}" if where else ""
        raise ArchiveError(f"{error}{hint}", url=error.url, status=error.status) from error
    if len(rows) != 1 or not rows[0][0].isdecimal():
        raise ArchiveError(f"{_service(settings)}: the number of rows is {rows!r}; ask again", url=_service(settings))
    return int(rows[0][0])


def find(settings: ArchiveSettings, sample: TargetSample, where: str = "", limit: int | None = None) -> Found:
    """Return the objects of a sample, one row each, in the order of specObjID.

    If an object has several spectra, the one that SDSS calls its primary is kept, else the one with the smallest zErr.

    Parameters
    ----------
    settings : ArchiveSettings
        Addresses of SkyServer, and how many rows to request at once.
    sample : TargetSample
        Which objects.
    where : str
        A further condition in SQL, as `check_where` returns it; s is SpecObjAll and p PhotoObjAll.
    limit : int, optional
        How many rows to request, the first in the order of specObjID; None is all.

    Returns
    -------
    Found

    Raises
    ------
    ArchiveError
        If SkyServer refuses the query, or its answer does not have the requested rows and columns.
    ConnectionError
        If SkyServer cannot be reached, or stays busy.
    """
    counted = count(settings, sample, where)
    wanted = counted if limit is None else min(limit, counted)
    if not wanted:
        raise ArchiveError(
            f"{_service(settings)}: no row satisfies the conditions; check --where", url=_service(settings)
        )
    source = _source(sample, where)
    sql = f"SELECT {','.join(sample.columns)} {source}"
    pages = Pages(settings.cache_folder, f"{wanted} of {counted}: {sql}")
    try:
        tables = _all_pages(settings, sample, source, wanted, counted, pages)
    except _NotTheNextPageError as error:
        pages.drop()  # else every later run would read the same wrong page
        if not pages.used:
            raise
        log.warning("%s; the pages that an earlier run kept are deleted, and all rows are requested again", error)
        try:
            tables = _all_pages(settings, sample, source, wanted, counted, pages)
        except _NotTheNextPageError:
            pages.drop()
            raise
    pages.drop()
    table, dropped = _objects(vstack(tables))
    return Found(table, sample.title, sample.source, _service(settings), sql, counted, wanted, dropped)


def ask(settings: ArchiveSettings, columns: Sequence[str], rest: str, top: int = 0) -> list[list[str]]:
    """Return the rows (row, column), as text, that answer SELECT TOP top columns rest. Raises the errors of `find`."""
    return _rows(settings, _text(settings, _sql(columns, rest, top)), [column_name(column) for column in columns])


class _Session:
    """The part of a `requests.Session` that astroquery uses: it hands the parameters of a request to `send`."""

    def __init__(self, send: Callable[[Mapping[str, str]], bytes]) -> None:
        self._send = send

    def request(self, method: str, url: str, *, params: Mapping[str, str], **_) -> requests.Response:
        """Return the answer to a request. The address is not astroquery's but one of the settings."""
        answer = requests.Response()
        answer.status_code, answer.url, answer.encoding = 200, url, "utf-8"
        answer.raw = io.BytesIO(self._send(params))
        return answer


def _through_astroquery(sql: str, send: Callable[[Mapping[str, str]], bytes]) -> bytes:
    """Return the unchanged answer to a query; `send` gets the parameters that astroquery puts into the URL."""
    from astroquery.sdss import SDSSClass  # takes a second to load

    client = SDSSClass()
    client._session = _Session(send)
    return client.query_sql_async(sql, data_release=RELEASE, cache=False).content


def query_url(settings: ArchiveSettings, params: Mapping[str, str]) -> Ways:
    """Return the URLs that ask SkyServer a query with these parameters; ArchiveError if they are too long for it.

    The query is written with as few escapes as possible, because they make a URL longer.
    """
    asked = "&".join(f"{name}={quote_plus(' '.join(value.split()), safe=_PLAIN)}" for name, value in params.items())
    if len(asked) > LONGEST:
        raise ArchiveError(
            f"the query is {len(asked)} characters long in a URL, and SkyServer accepts {LONGEST}: shorten --where",
            url=_service(settings),
        )
    return settings.ways("skyserver").plus(f"?{asked}")


def _service(settings: ArchiveSettings) -> str:
    """Return the usual address of SkyServer's search, which messages name."""
    return str(settings.ways("skyserver"))


def _with_kept(error: Exception, received: int, wanted: int) -> Exception:
    """Return the error with a remark on the rows that the next run need not request."""
    if not received:
        return error
    message = f"{error}; {received:,} of {wanted:,} rows have arrived and are kept; the same command resumes"
    return type(error)(message, url=getattr(error, "url", ""), status=getattr(error, "status", 0))


_PLAIN = "(),*'="  # need no escape within a URL's query, and a long query has many of them


def _source(sample: TargetSample, where: str) -> str:
    return f"FROM {sample.tables} WHERE {sample.where}" + (f" AND ({where})" if where else "")


def _sql(columns: Sequence[str], rest: str, top: int) -> str:
    return f"SELECT {f'TOP {top} ' if top else ''}{','.join([*columns, WHOLE])} {rest}"


def _text(settings: ArchiveSettings, sql: str, attempts: int | None = None) -> str:
    """Return SkyServer's answer to a query, after waits if it counts queries; ArchiveError if it reports an error."""
    service = _service(settings)

    def send(params: Mapping[str, str]) -> bytes:
        ways = query_url(settings, params)
        try:
            return http.read(
                ways, kind="csv", attempts=attempts, manner=settings.manner, explain=partial(_explained, service)
            )
        except _ToldError:
            raise
        except (ArchiveError, AwayError) as error:  # the URL is long, and says less than the service's name
            kind = AwayError if isinstance(error, AwayError) else ArchiveError
            raise kind(_short(error, ways), url=service, status=error.status) from error

    for _ in range(WAITS):
        try:
            text = _through_astroquery(sql, send).decode("utf-8-sig", "replace")
            words, status = _words_of(text), 200
        except _ToldError as error:
            words, status = error.words, error.status
        if words is None:
            return text
        if not PER_MINUTE.search(words):
            raise ArchiveError(f"{service} says: {words}", url=service, status=status)
        log.warning("SkyServer says: %s; waiting %g s", words, settings.skyserver_pause)
        time.sleep(settings.skyserver_pause)
    raise AwayError(f"{service} says: {words}", url=service, status=status)


class _ToldError(http.ExplainedError):
    """A refusal with SkyServer's own `words`."""

    def __init__(self, words: str, url: str, status: int) -> None:
        super().__init__(words, url=url, status=status)
        self.words = words


def _explained(service: str, status: int, body: bytes) -> _ToldError | None:
    """Return the error that a JSON body states; None if a refusal states none."""
    try:
        said = json.loads(body.decode("utf-8-sig", "replace"))
    except ValueError:
        return None
    said = said[0] if isinstance(said, list) and said else said
    if not isinstance(said, dict):
        return None
    known = {re.sub("[^a-z]", "", str(name).lower()): value for name, value in said.items()}
    words = known.get("errormessage")
    return _ToldError(" ".join(str(words).split())[:300], service, status) if words else None


def _words_of(text: str) -> str | None:
    """Return the text of a table with the single column `error_message`, or of JSON; None if rows arrived."""
    lines = text.replace("\r\n", "\n").split("\n", 2)
    if lines[0].startswith("#Table") and len(lines) > 1 and lines[1].strip().strip('"').lower() == "error_message":
        return " ".join("".join(lines[2:]).strip().strip('"').split())[:300] or "an error"
    told = _explained("", 200, text.encode()) if text.lstrip().startswith(("{", "[")) else None
    return None if told is None else told.words


def _short(error: Exception, ways: Ways) -> str:
    """Return the message of an error with the service's address alone in place of the URL of a query."""
    return str(error).replace(ways.rest, "")


def _rows(settings: ArchiveSettings, text: str, names: list[str]) -> list[list[str]]:
    """Return the rows of an answer; ArchiveError if it is not a table, has other columns, or has an incomplete row."""
    lines = text.replace("\r\n", "\n").split("\n")
    if not lines[0].startswith("#Table"):
        raise ArchiveError(
            f"{_service(settings)}: the answer begins with {lines[0][:80]!r} and not with #Table; ask again later",
            url=_service(settings),
        )
    try:
        rows = list(csv.reader(line for line in lines[1:] if line.strip()))
    except csv.Error as error:  # a quote that is never closed
        raise ArchiveError(
            f"{_service(settings)}: the answer is not a table ({error}); ask again later", url=_service(settings)
        ) from error
    due = [name.lower() for name in [*names, column_name(WHOLE)]]
    if not rows or [name.lower() for name in rows[0]] != due:
        found = ", ".join(rows[0]) if rows else "none"
        raise ArchiveError(
            f"{_service(settings)}: the answer has the columns {found[:300]} instead of {', '.join(due)}",
            url=_service(settings),
        )
    for row in rows[1:]:
        if len(row) != len(due) or row[-1] != "1":
            raise ArchiveError(
                f"{_service(settings)}: a row of the answer is incomplete: {','.join(row)[:80]!r}; ask again",
                url=_service(settings),
            )
    return [row[:-1] for row in rows[1:]]


def _all_pages(
    settings: ArchiveSettings, sample: TargetSample, source: str, wanted: int, counted: int, pages: Pages
) -> list[Table]:
    """Return the first `wanted` of `counted` rows of a sample, as one table for each page. Raises the errors of `find`.

    A page is converted to numbers as soon as it has arrived, because numbers take a tenth of the memory of text.
    """
    tables, received, page, after = [], 0, settings.skyserver_rows, -1
    with Progress(wanted, "SkyServer", "row") as progress:
        while received < wanted:
            top = min(page, wanted - received)
            rest = f"{source} AND s.specObjID>{after} ORDER BY s.specObjID"
            key, kept = f"after {after}", None
            try:
                kept = pages.get(key)
                text = (
                    _text(settings, _sql(sample.columns, rest, top), None if top <= FEWEST else ATTEMPTS)
                    if kept is None
                    else kept.decode()
                )
            except (ArchiveError, ConnectionError) as error:  # it could count the rows, so a smaller page may work
                if top <= FEWEST:
                    raise _with_kept(error, received, wanted) from error
                page = max(FEWEST, top // 2)
                log.info("%s; again with %d rows", error, page)
                continue
            got = _rows(settings, text, sample.names)
            most = wanted - received if kept else top
            _check_page(settings, got, after, most, f"{received} of {counted} rows of {sample.name}")
            if kept is None:
                pages.put(key, text.encode())
            tables.append(_table(got, sample))
            received += len(got)
            after = int(got[-1][0])
            progress.update(len(got))
    return tables


class _NotTheNextPageError(ArchiveError):
    """A page that does not continue the pages before it, so that the rows do not add up to the count."""


def _check_page(settings: ArchiveSettings, got: list[list[str]], after: int, top: int, so_far: str) -> None:
    """Raise _NotTheNextPageError if a page is not the next one."""
    if not 0 < len(got) <= top:
        raise _NotTheNextPageError(
            f"{_service(settings)}: after {so_far}, a page of {top} rows arrived with {len(got)}; ask again later",
            url=_service(settings),
        )
    for row in got:
        if not row[0].isdecimal():
            raise _NotTheNextPageError(
                f"{_service(settings)}: specObjID is {row[0]!r}, not a number", url=_service(settings)
            )
    keys = [after, *(int(row[0]) for row in got)]
    if any(later <= earlier for earlier, later in itertools.pairwise(keys)):
        raise _NotTheNextPageError(
            f"{_service(settings)}: rows are not in the order of specObjID", url=_service(settings)
        )


def _table(rows: list[list[str]], sample: TargetSample) -> Table:
    """Return rows of text as a table, with objID as object_id."""
    columns = dict(zip(sample.names, (np.array(texts) for texts in zip(*rows, strict=True)), strict=True))
    table = Table({"object_id": columns.pop("objID")})
    for name, texts in columns.items():
        table[name] = _parsed(texts, name, KINDS.get(name, float))
        table[name].unit = UNITS.get(name)
    return table


def _objects(table: Table) -> tuple[Table, dict[str, int]]:
    """Return one row per object, and how many other rows were dropped, by reason."""
    ra, dec = np.asarray(table["ra"]), np.asarray(table["dec"])
    placed = (ra >= 0) & (ra <= 360) & (abs(dec) <= 90)
    for row in np.flatnonzero(~placed):
        log.warning("object %s has the position %s, %s: dropped", table["object_id"][row], ra[row], dec[row])
    table = table[placed]
    error = np.where(table["zErr"] > 0, table["zErr"], np.inf)  # a zErr that is not positive means that a fit failed
    best_first = np.lexsort((np.arange(len(table)), error, table["sciencePrimary"] != 1))
    _, best = np.unique(table["object_id"][best_first], return_index=True)
    keep = np.sort(best_first[best])
    dropped = {"other spectra of the same object": len(table) - len(keep), "without a position": int((~placed).sum())}
    return table[keep], dropped


def _parsed(texts: np.ndarray, name: str, kind: type) -> np.ndarray:
    """Return a column of one type; a null and -9999 become NaN. ArchiveError if a value is not a number."""
    if kind is str:
        return texts
    try:
        numbers = np.where(np.isin(texts, ("", "null", "NULL")), "nan", texts).astype(kind)
        return np.where(numbers == NONE, np.nan, numbers) if kind is float else numbers
    except ValueError as error:
        raise ArchiveError(f"SkyServer's column {name} has a value that is not a number: {error}") from error
