"""Databases that answer the SQL of SkyServer and the ADQL of TAP services: SQLite in memory, and a little translation.

What is translated: TOP, OFFSET, FETCH NEXT, dbo., [name] and "name", COUNT_BIG, ISNULL, a few functions of SkyServer,
and the geometry of ADQL on circles, boxes, points and polygons.
"""

import base64
import json
import math
import re
import sqlite3
import struct
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from xml.sax.saxutils import escape, quoteattr

import numpy as np
from astropy.table import Table

VIEWS = {  # SkyServer's views of its tables
    "PhotoObj": "SELECT * FROM PhotoObjAll WHERE mode IN (1, 2)",
    "PhotoPrimary": "SELECT * FROM PhotoObjAll WHERE mode = 1",
    "Galaxy": "SELECT * FROM PhotoObjAll WHERE mode = 1 AND type = 3",
    "SpecObj": "SELECT * FROM SpecObjAll WHERE sciencePrimary = 1",
}
NEARBY = {  # SkyServer's functions that give tables; arguments: ra, dec [deg], radius [arcmin] (, zoom)
    "fGetNearbyFrameEq": "SELECT *, arcmin(ra, dec, {0}, {1}) AS distance FROM Frame WHERE zoom = {3} AND "
    "arcmin(ra, dec, {0}, {1}) <= {2} ORDER BY distance",
    "fGetNearbyObjEq": "SELECT *, arcmin(ra, dec, {0}, {1}) AS distance FROM PhotoObjAll WHERE mode = 1 AND "
    "arcmin(ra, dec, {0}, {1}) <= {2} ORDER BY distance",
    "fGetNearestObjEq": "SELECT *, arcmin(ra, dec, {0}, {1}) AS distance FROM PhotoObjAll WHERE mode = 1 AND "
    "arcmin(ra, dec, {0}, {1}) <= {2} ORDER BY distance LIMIT 1",
}
PACKED = {"short": "h", "int": "i", "long": "q", "float": "f", "double": "d"}
DATATYPES = {"b1": "short", "i2": "short", "i4": "int", "i8": "long", "f4": "float", "f8": "double"}


class QueryError(Exception):
    """A query that the database refuses; the message is the database's."""


@dataclass(frozen=True)
class Result:
    """Rows of an answer; `kinds` are VOTable datatypes ("char" is text) and `units` those of FITS, one a column."""

    names: list[str]
    rows: list[tuple]
    kinds: list[str] = field(default_factory=list)
    units: list[str] = field(default_factory=list)


class Database:
    """Tables by name, "schema.table" where the name has a dot; safe to ask from many threads."""

    def __init__(self, tables: Mapping[str, Table], unnamed: str = "Column{}") -> None:
        self._lock, self._unnamed = threading.Lock(), unnamed
        self._base = sqlite3.connect(":memory:", check_same_thread=False)
        self._known: dict[str, tuple[str, str]] = {}  # lower-case name of a column: datatype and unit
        self.tables: dict[str, Table] = {}
        for schema in sorted({name.split(".")[0] for name in tables if "." in name}):
            self._base.execute(f"ATTACH ':memory:' AS [{schema}]")
        for name, table in tables.items():
            self._fill(name, table)
        for name, view in VIEWS.items():
            base = tables.get(view.split(" FROM ")[1].split()[0])
            if base is not None and {"mode", "type", "sciencePrimary"} & set(base.colnames):
                self._base.execute(f"CREATE VIEW [{name}] AS {view}")
        for name, count, function in FUNCTIONS:
            self._base.create_function(name, count, function, deterministic=True)

    def close(self) -> None:
        """Forget everything."""
        with self._lock:
            self._base.close()

    def query(self, sql: str, upload: Table | None = None, matches: Table | None = None) -> Result:
        """The answer to one SELECT; `upload` and `matches` are SkyServer's #upload and #x. QueryError if it fails."""
        statement = translate(sql, self._unnamed)
        with self._lock:
            try:
                for name, table in (("upload", upload), ("x", matches)):
                    if table is not None:
                        self._base.execute(f"DROP TABLE IF EXISTS [#{name}]")
                        self._fill(f"#{name}", table)
                cursor = self._base.execute(statement)
                rows = cursor.fetchall()
                names = [column[0] for column in cursor.description or ()]
            except sqlite3.Error as error:
                raise QueryError(f"{error} in: {sql}") from error
        columns = list(zip(*rows, strict=True)) or [()] * len(names)
        known = [self._known.get(name.lower(), ("", "")) for name in names]
        kinds = [kind or _kind(column) for (kind, _), column in zip(known, columns, strict=True)]
        return Result(names, rows, kinds, [unit for _, unit in known])

    def _fill(self, name: str, table: Table) -> None:
        """One table."""
        place = ".".join(f"[{part}]" for part in name.split(".", 1)) if "/" not in name else f"[{name}]"
        columns, kinds = [], []
        for column in table.itercols():
            text = column.dtype.kind in "USO"
            kinds.append(f"[{column.name}] {'TEXT' if text else 'REAL' if column.dtype.kind == 'f' else 'INTEGER'}")
            kind = "char" if text else DATATYPES.get(column.dtype.str[1:], "long")
            self._known.setdefault(column.name.lower(), (kind, str(column.unit or "")))
            values = np.asarray(column)
            mask = np.ma.getmaskarray(column) if hasattr(column, "mask") else np.zeros(len(table), bool)
            columns.append([None if hidden else value for hidden, value in zip(mask, values.tolist(), strict=True)])
        self._base.execute(f"CREATE TABLE {place} ({', '.join(kinds)})")
        marks = ", ".join("?" * len(kinds))
        self._base.executemany(f"INSERT INTO {place} VALUES ({marks})", zip(*columns, strict=True))
        self.tables[name] = table


def translate(sql: str, unnamed: str = "Column{}") -> str:
    """One SELECT of T-SQL or ADQL in SQLite's words; `unnamed` names columns that have no name of their own."""
    sql = re.sub(r"--[^\n]*", " ", sql).strip().rstrip(";")
    literals = re.findall(r"'(?:[^']|'')*'", sql)
    sql = re.sub(r"'(?:[^']|'')*'", "\x00", sql)
    if not re.match(r"\s*SELECT\b", sql, re.I) or ";" in sql or re.search(r"\bINTO\b", sql, re.I):
        raise QueryError(f"only one SELECT is allowed: {sql}")
    sql = re.sub(r'"([^"]+)"', r"[\1]", sql)
    sql = re.sub(r"\bdbo\s*\.\s*", "", sql, flags=re.I)
    sql = re.sub(r"\bCOUNT_BIG\s*\(", "COUNT(", sql, flags=re.I)
    sql = re.sub(r"\bISNULL\s*\(", "IFNULL(", sql, flags=re.I)
    sql = re.sub(r"\bWITH\s*\(\s*NOLOCK\s*\)", "", sql, flags=re.I)
    sql = re.sub(r"(?<![\w\[])#(upload|x)\b(?!\])", r"[#\1]", sql, flags=re.I)
    for name, query in NEARBY.items():
        form = re.compile(rf"\b{name}\s*\(([^()]*)\)", re.I)
        sql = form.sub(lambda found, query=query: f"({query.format(*found[1].split(','), '0')})", sql)
    sql = _limits(sql)
    sql = _names(sql, unnamed)
    pieces = sql.split("\x00")
    return "".join(piece + literal for piece, literal in zip(pieces, [*literals, ""], strict=True))


def csv(result: Result, null: str = "null", first: str = "#Table1\n") -> str:
    """Comma-separated lines, as SkyServer sends them."""
    lines = [",".join(result.names)]
    lines += [",".join(_cell(value, null) for value in row) for row in result.rows]
    return first + "\n".join(lines) + "\n"


def sky_json(result: Result) -> str:
    """JSON as SkyServer sends it."""
    return json.dumps(
        [{"TableName": "Table1", "Rows": [dict(zip(result.names, row, strict=True)) for row in result.rows]}]
    )


def votable(result: Result, status: str = "OK", query: str = "", binary: bool = False) -> str:
    """VOTable 1.4 with TABLEDATA or BINARY2; `status` OVERFLOW is said after the table, as DALI wants it."""
    fields, seen = [], set()
    for number, (name, kind, unit) in enumerate(zip(result.names, result.kinds, result.units, strict=True)):
        size = ' arraysize="*"' if kind == "char" else ""
        ident = name if re.fullmatch(r"[A-Za-z_]\w*", name) and name not in seen else f"col_{number}"
        seen.add(ident)
        unit = f" unit={quoteattr(unit)}" if unit else ""
        fields.append(f'<FIELD ID="{ident}" name={quoteattr(name)} datatype="{kind}"{size}{unit} />')
    lines = ["<TR>" + "".join(f"<TD>{_td(value)}</TD>" for value in row) + "</TR>" for row in result.rows]
    data = f"<TABLEDATA>\n{chr(10).join(lines)}\n</TABLEDATA>"
    if binary:
        stream = base64.b64encode(b"".join(_binary(row, result.kinds) for row in result.rows)).decode()
        data = f'<BINARY2>\n<STREAM encoding="base64">{stream}</STREAM>\n</BINARY2>'
    after = '<INFO name="QUERY_STATUS" value="OVERFLOW" />\n' if status == "OVERFLOW" else ""
    return (
        f'{VOTABLE_HEAD}<RESOURCE type="results">\n<INFO name="QUERY_STATUS" value="OK" />\n'
        f'<INFO name="QUERY" value={quoteattr(query)} />\n<TABLE>\n{chr(10).join(fields)}\n<DATA>\n{data}\n'
        f"</DATA>\n</TABLE>\n{after}</RESOURCE>\n</VOTABLE>\n"
    )


def votable_error(message: str) -> str:
    """VOTable that says that a query failed."""
    info = f'<INFO name="QUERY_STATUS" value="ERROR">{escape(message)}</INFO>'
    return f'{VOTABLE_HEAD}<RESOURCE type="results">\n{info}\n</RESOURCE>\n</VOTABLE>\n'


VOTABLE_HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<VOTABLE xmlns="http://www.ivoa.net/xml/VOTable/v1.3" '
    'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" version="1.4">\n'
)


def arcmin(ra: float, dec: float, other_ra: float, other_dec: float) -> float:
    """Angle [arcmin] between two positions [deg]."""
    a, b = _vector(ra, dec), _vector(other_ra, other_dec)
    return 60 * math.degrees(math.atan2(float(np.linalg.norm(np.cross(a, b))), float(a @ b)))


def overlap(one: str, other: str) -> int:
    """1 where two shapes of the sky share a point, else 0; NULL where one of them is none."""
    if one is None or other is None:
        return None
    return int(_overlap(_shape(one), _shape(other)))


def _vector(ra: float, dec: float) -> np.ndarray:
    ra, dec = math.radians(ra), math.radians(dec)
    return np.array([math.cos(ra) * math.cos(dec), math.sin(ra) * math.cos(dec), math.sin(dec)])


def _shape(text: str) -> tuple[np.ndarray, float]:
    """Corners (n, 2) [deg] and radius [deg] of a shape."""
    kind, *numbers = text.split()
    values = np.array(numbers, float)
    if kind == "circle":
        return values[None, :2], float(values[2])
    return values.reshape(-1, 2), 0.0


def _overlap(one: tuple, other: tuple) -> bool:
    """Whether two shapes share a point: on the plane that touches the sky at the first corner of the smaller one."""
    if len(one[0]) > len(other[0]):
        one, other = other, one
    centre = one[0][0]
    if arcmin(*centre, *other[0].mean(axis=0)) > 60 * 20:
        return False
    radius = one[1] + other[1]
    mine, theirs = _plane(one[0], centre), _plane(other[0], centre)
    distances = [_distance(point, theirs) for point in mine] + [_distance(point, mine) for point in theirs]
    return min(distances) <= radius or _crossing(mine, theirs)


def _plane(points: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Gnomonic projection [deg] about a centre."""
    ra, dec = np.radians(points[:, 0] - centre[0]), np.radians(points[:, 1])
    dec0 = np.radians(centre[1])
    depth = np.sin(dec0) * np.sin(dec) + np.cos(dec0) * np.cos(dec) * np.cos(ra)
    x = np.cos(dec) * np.sin(ra) / depth
    y = (np.cos(dec0) * np.sin(dec) - np.sin(dec0) * np.cos(dec) * np.cos(ra)) / depth
    return np.degrees(np.stack([x, y], axis=1))


def _distance(point: np.ndarray, corners: np.ndarray) -> float:
    """From a point to a polygon; 0 inside."""
    starts, ends = corners, np.roll(corners, -1, axis=0)
    edge, away = ends - starts, point - starts
    along = np.clip((away * edge).sum(axis=1) / np.maximum((edge**2).sum(axis=1), 1e-30), 0, 1)
    nearest = np.linalg.norm(away - along[:, None] * edge, axis=1).min()
    crosses = (starts[:, 1] > point[1]) != (ends[:, 1] > point[1])
    slope = np.where(edge[:, 1] == 0, np.inf, edge[:, 1])
    right = starts[:, 0] + away[:, 1] * edge[:, 0] / slope > point[0]
    return 0.0 if len(corners) > 2 and (crosses & right).sum() % 2 else float(nearest)


def _crossing(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether an edge of one polygon crosses one of another."""

    def side(a, b, c):
        return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])

    for a, b in zip(one, np.roll(one, -1, axis=0), strict=True):
        for c, d in zip(other, np.roll(other, -1, axis=0), strict=True):
            if side(a, b, c) * side(a, b, d) < 0 and side(c, d, a) * side(c, d, b) < 0:
                return True
    return False


def _make(kind: str):
    """A function of ADQL that makes a shape; the frame may be left out (ADQL 2.1)."""

    def shape(*arguments):
        numbers = [value for value in arguments if not isinstance(value, str)]
        return None if None in numbers else " ".join([kind, *(repr(float(value)) for value in numbers)])

    return shape


def _box(*arguments):
    ra, dec, width, height = (float(value) for value in arguments if not isinstance(value, str))
    wide, high = width / 2 / math.cos(math.radians(dec)), height / 2
    corners = [(ra - wide, dec - high), (ra + wide, dec - high), (ra + wide, dec + high), (ra - wide, dec + high)]
    return " ".join(["polygon", *(repr(value) for corner in corners for value in corner)])


def _degrees_between(*arguments):
    if isinstance(arguments[0], str):
        arguments = [float(word) for point in arguments for word in point.split()[1:3]]
    return arcmin(*arguments) / 60


FUNCTIONS = [
    ("arcmin", 4, arcmin),
    ("CIRCLE", -1, _make("circle")),
    ("POINT", -1, _make("polygon")),
    ("POLYGON", -1, _make("polygon")),
    ("BOX", -1, _box),
    ("INTERSECTS", 2, overlap),
    ("CONTAINS", 2, overlap),  # of a point in a shape: the same
    ("DISTANCE", -1, _degrees_between),
    ("fPhotoTypeN", 1, {3: "GALAXY", 6: "STAR", 0: "UNKNOWN"}.get),
    ("str", -1, lambda value, width=10, places=0: f"{value:{width}.{places}f}"),
    ("ceiling", 1, math.ceil),
    ("power", 2, lambda base, exponent: None if base is None else base**exponent),
]


def _kind(column) -> str:
    """VOTable datatype of values that come from no column of a table."""
    kinds = {type(value) for value in column} - {type(None)}
    return "long" if kinds == {int} else "double" if kinds and kinds <= {int, float} else "char"


def _limits(sql: str) -> str:
    """TOP, OFFSET and FETCH NEXT as LIMIT and OFFSET, in each SELECT."""
    sql = re.sub(
        r"\bOFFSET\s+(\d+)\s+ROWS?\s+FETCH\s+(?:NEXT|FIRST)\s+(\d+)\s+ROWS?\s+ONLY",
        r"LIMIT \2 OFFSET \1",
        sql,
        flags=re.I,
    )
    while top := re.search(r"\bSELECT(\s+(?:DISTINCT|ALL))?\s+TOP\s*\(?\s*(\d+)\s*\)?", sql, re.I):
        end = _end(sql, top.end())
        scope, offset = sql[top.end() : end], ""
        if found := re.search(r"\bOFFSET\s+(\d+)(\s+ROWS?)?\s*$", scope, re.I):
            scope, offset = scope[: found.start()], f" OFFSET {found[1]}"
        sql = f"{sql[: top.start()]}SELECT{top[1] or ''} {scope} LIMIT {top[2]}{offset}{sql[end:]}"
    found = re.search(r"\bOFFSET\s+(\d+)\s*$", sql, re.I)
    if found and not re.search(r"\bLIMIT\s+\d+\s*$", sql[: found.start()], re.I):
        sql = f"{sql[: found.start()]} LIMIT -1 OFFSET {found[1]}"
    return sql


def _end(sql: str, start: int) -> int:
    """Where the bracket closes that `start` lies in; the end where it lies in none."""
    depth = 0
    for place in range(start, len(sql)):
        depth += {"(": 1, ")": -1}.get(sql[place], 0)
        if depth < 0:
            return place
    return len(sql)


def _names(sql: str, unnamed: str) -> str:
    """The columns of the outer SELECT, named as they are written there."""
    head = re.match(r"\s*SELECT(\s+(?:DISTINCT|ALL))?\s", sql, re.I)
    items, depth, start, place = [], 0, head.end(), head.end()
    while place < len(sql):
        depth += {"(": 1, ")": -1}.get(sql[place], 0)
        if depth == 0 and sql[place] == ",":
            items.append(sql[start:place])
            start = place + 1
        if depth == 0 and re.match(r"\bFROM\b", sql[place:], re.I) and not re.match(r"\w", sql[place - 1]):
            break
        place += 1
    items.append(sql[start:place])
    return (
        sql[: head.end()]
        + ", ".join(_named(item.strip(), n, unnamed) for n, item in enumerate(items, 1))
        + " "
        + sql[place:]
    )


def _named(item: str, number: int, unnamed: str) -> str:
    """One column of a SELECT, with the name that it is given or has."""
    if found := re.fullmatch(r"(?:(?:\w+|\[[^\]]+\])\s*\.\s*)*(?:(\w+)|\[([^\]]+)\])", item):
        return f"{item} AS [{found[1] or found[2]}]"
    if item.endswith("*") or re.search(r"(\bAS\s+|[\w\])]\s+)(\w+|\[[^\]]+\])$", item, re.I):
        return item
    return f"{item} AS [{unnamed.format(number)}]"


def _cell(value, null: str) -> str:
    """One cell of a CSV."""
    if value is None:
        return null
    text = repr(value) if isinstance(value, float) else str(value)
    return '"' + text.replace('"', '""') + '"' if re.search(r'[,"\n]', text) else text


def _binary(row: tuple, kinds: list[str]) -> bytes:
    """One row in BINARY2: a bit for each absent value, then the values."""
    flags = "".join("1" if value is None else "0" for value in row)
    packed = int(flags.ljust(-(-len(row) // 8) * 8, "0"), 2).to_bytes(-(-len(row) // 8), "big")
    for value, kind in zip(row, kinds, strict=True):
        if kind == "char":
            text = (value or "").encode("ascii", "replace")
            packed += struct.pack(">i", len(text)) + text
        else:
            packed += struct.pack(f">{PACKED[kind]}", value or 0)
    return packed


def _td(value) -> str:
    """One cell of a VOTable."""
    return "" if value is None else escape(value) if isinstance(value, str) else repr(value)
