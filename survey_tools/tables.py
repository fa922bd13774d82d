"""Tables of positions in files of any format, and the frames of positions, converted to ICRS."""

import bz2
import gzip
import json
import lzma
import re
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from glob import escape
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any
from xml.parsers.expat import ExpatError

import numpy as np
from astropy import units as u
from astropy.coordinates import (
    FK4,
    FK5,
    ICRS,
    BarycentricMeanEcliptic,
    BaseCoordinateFrame,
    FK4NoETerms,
    Galactic,
    SkyCoord,
    Supergalactic,
)
from astropy.io import ascii, fits, votable
from astropy.table import Column, MaskedColumn, Table
from astropy.time import Time

from survey_tools.errors import CatalogueError, first_line

FIXED = {
    "icrs": ICRS,
    "galactic": Galactic,
    "gal": Galactic,
    "supergalactic": Supergalactic,
    "super-galactic": Supergalactic,
}
OF_EQUINOX = {  # frames that need an equinox, and its default
    "fk5": (FK5, "J2000"),
    "fk4": (FK4, "B1950"),
    "fk4-no-e": (FK4NoETerms, "B1950"),
    "ecl-fk5": (BarycentricMeanEcliptic, "J2000"),
}
FK5_SINCE = 1984.0  # FITS (Paper II, section 3.1): an equinox before this year means FK4, a later one FK5
AN_EQUINOX = re.compile(r"([JB]?)\s*(\d{4}(?:\.\d*)?)", re.IGNORECASE)


@dataclass(frozen=True)
class Stated:
    """A file's statement on the frame of positions, in its own words; "" if it states nothing.

    Attributes
    ----------
    system : str
        Value of RADESYS in FITS or `system` of COOSYS in VOTables: ICRS, FK5, eq_FK4, galactic.
    equinox : str
        Value of EQUINOX or `equinox`: 2000.0, B1950.
    """

    system: str = ""
    equinox: str = ""

    def __bool__(self) -> bool:
        return bool(self.system or self.equinox)

    def __str__(self) -> str:
        return " ".join(word for word in (self.system, self.equinox) if word)


def stated_by(cards: Mapping[str, Any]) -> Stated:
    """Return the frame that a FITS header, or a table's metadata, states by RADESYS and EQUINOX or their older names.

    EPOCH is the old name of EQUINOX, but many write the date of the observation into it: only 1950 and 2000 count.
    """
    upper = {str(key).upper(): value for key, value in cards.items()}
    system = _word(upper.get("RADESYS")) or _word(upper.get("RADECSYS"))
    equinox = _word(upper.get("EQUINOX"))
    old = _word(upper.get("EPOCH"))
    if not equinox and re.fullmatch(r"(B?1950|J?2000)(\.0*)?", old, re.IGNORECASE):
        equinox = old
    return Stated(system, equinox)


def frame_of(stated: Stated, where: str) -> BaseCoordinateFrame:
    """Return the frame that is stated, or ICRS if none is.

    Parameters
    ----------
    stated : Stated
        The statement.
    where : str
        Beginning of the message of an error.

    Raises
    ------
    CatalogueError
        If the frame is unknown.
    """
    system = stated.system.lower().replace("_", "-").removeprefix("eq-")
    if system in FIXED:
        return FIXED[system]()
    if not system and not stated.equinox:
        return ICRS()
    match = AN_EQUINOX.fullmatch(stated.equinox) if stated.equinox else None
    if not system and match:
        early = match[1].upper() == "B" or (not match[1] and float(match[2]) < FK5_SINCE)
        system = "fk4" if early else "fk5"
    if system not in OF_EQUINOX or (stated.equinox and not match):
        raise CatalogueError(
            f"{where}: its positions are in the frame {stated}, which is unknown; give them in ICRS, FK5, FK4 or "
            "Galactic coordinates, and state which by RADESYS and EQUINOX"
        )
    frame, usual = OF_EQUINOX[system]
    letter, year = (match[1].upper() or usual[0], match[2]) if match else (usual[0], usual[1:])
    return frame(equinox=Time(f"{letter}{year}"))


def to_icrs(longitude: np.ndarray, latitude: np.ndarray, frame: BaseCoordinateFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return right ascension and declination [deg, ICRS] of positions (object,) [deg] in a frame."""
    if isinstance(frame, ICRS):
        return longitude, latitude
    position = SkyCoord(longitude * u.deg, latitude * u.deg, frame=frame).icrs
    return position.ra.deg, position.dec.deg


def _word(value: Any) -> str:
    """Return the value of a card as a word; "" if it is neither a word nor a number."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float, np.integer, np.floating)):
        return ""
    return "" if isinstance(value, (float, np.floating)) and not np.isfinite(value) else str(value).strip()


FORMATS = {
    ".ecsv": "ECSV",
    ".fits": "FITS",
    ".fit": "FITS",
    ".parquet": "Parquet",
    ".vot": "VOTable",
    ".votable": "VOTable",
    ".xml": "VOTable",
}  # any other suffix: text
SIGNATURES = {b"SIMPLE  =": "FITS", b"PAR1": "Parquet", b"# %ECSV": "ECSV", b"<?xml": "VOTable", b"<VOTABLE": "VOTable"}
PACKED = {b"\x1f\x8b": gzip.decompress, b"BZh": bz2.decompress, b"\xfd7zXZ": lzma.decompress}
UNREADABLE = (OSError, ValueError, TypeError, KeyError, IndexError, EOFError, SyntaxError, ExpatError)
UNREADABLE += (AttributeError, AssertionError, OverflowError, NotImplementedError, MemoryError, lzma.LZMAError)
MISSING = ("", "null", "NULL", "None", "NA", "N/A", "--", "\\N")
DELIMITERS = (",", "\t", ";", "|")
SEXTRACTOR = re.compile(r"#\s+1\s+[A-Z]\w*")  # the first line of its ASCII_HEAD catalogues
DASHES = re.compile(r"[-\s,;|]*---[-\s,;|]*|-+([\s,;|]+-+)+")  # below the names, and units, in VizieR's tables
COOSYS = re.compile(r"#\s*COOSYS\s+\S+?:?\s+(\S+)(?:\s+(\S+))?", re.IGNORECASE)
A_CARD = re.compile(r"#\s*(RADESYS|RADECSYS|EQUINOX|EPOCH)\s*[=:]\s*(\S+)", re.IGNORECASE)


@dataclass(frozen=True)
class Loaded:
    """One table of a file.

    Attributes
    ----------
    table : Table
        Its rows; missing values are masked.
    name : str
        Its name in the file; "" if it has none.
    stated : Stated
        The celestial frame of all its positions.
    of_column : dict
        The frame of single columns, by their names.
    """

    table: Table
    name: str = ""
    stated: Stated = field(default_factory=Stated)
    of_column: dict[str, Stated] = field(default_factory=dict)


def load_tables(path: Path, as_text: Collection[str]) -> list[Loaded]:
    """Return the tables of a file, in its order.

    The format is that of its first bytes, else that of its suffix, else text: CSV, or with tabs, semicolons, bars or
    blanks between its fields. A file may be compressed by gzip, bzip2 or xz.

    Parameters
    ----------
    path : Path
        The file.
    as_text : collection of str
        Names of columns, in any case, that are read as text, so that digits and leading zeros stay.

    Returns
    -------
    list of Loaded

    Raises
    ------
    CatalogueError
        If it cannot be read, or has no table.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() not in (".gz", ".bz2", ".xz")]
    kind = FORMATS.get(suffixes[-1] if suffixes else "", "text")
    try:
        data = path.read_bytes()
        for mark, unpack in PACKED.items():
            data = unpack(data) if data.startswith(mark) else data
        start = data[:64].lstrip()
        kind = next((known for mark, known in SIGNATURES.items() if start.startswith(mark)), kind)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # oddities of units and headers that do not matter here
            found = READERS[kind](data, as_text)
    except UNREADABLE as error:
        words = getattr(error, "strerror", None) or first_line(error)
        raise CatalogueError(
            f"{path} cannot be read as a catalogue ({kind}): {words}; give CSV, ECSV, FITS, Parquet or VOTable"
        ) from error
    if not found:
        raise CatalogueError(f"{path} has no table ({kind}); give CSV, ECSV, FITS, Parquet or VOTable")
    return found


def load_blocks(path: Path, as_text: Collection[str], rows: int) -> Iterator[Loaded] | None:
    """Return an iterator over parts of one table, or None if its file must be read as a whole.

    Parameters
    ----------
    path : Path
        A file of Parquet, FITS with one table, ECSV or other text; or a folder of Parquet files, in the order of names.
    as_text : collection of str
        As for `load_tables`.
    rows : int
        Rows of a part.

    Returns
    -------
    iterator of Loaded, or None

    Raises
    ------
    CatalogueError
        The file cannot be read.
    """
    if path.is_dir():
        files = sorted(each for each in path.rglob("*.parquet") if not each.name.startswith(("_", ".")))
        if not files:
            raise CatalogueError(f"{path} has no Parquet file; give a catalogue, or a folder of Parquet files")
        return (loaded for file in files for loaded in _parquet_blocks(file, as_text, rows))
    try:
        with path.open("rb") as file:
            start = file.read(64).lstrip()
    except OSError:
        return None
    known = FORMATS.get(path.suffix.lower(), "text")
    kind = next((name for mark, name in SIGNATURES.items() if start.startswith(mark)), known)
    packed = any(start.startswith(mark) for mark in PACKED)
    if packed or kind == "VOTable" or start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return None
    if kind == "Parquet":
        return _parquet_blocks(path, as_text, rows)
    if kind == "FITS":
        with fits.open(path, memmap=True) as hdus:
            tables = [number for number, hdu in enumerate(hdus) if isinstance(hdu, fits.BinTableHDU)]
            plain = len(tables) == 1 and hdus[tables[0]].name != "LDAC_OBJECTS"
        return _fits_blocks(path, tables[0], rows) if plain else None
    return _text_blocks(path, kind, as_text, rows)


def _parquet_blocks(path: Path, as_text: Collection[str], rows: int) -> Iterator[Loaded]:
    """Yield parts of a Parquet file, each read as a file of its own."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with _readable(path, "Parquet"), pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=rows):
            part = BytesIO()
            table = pa.Table.from_batches([batch]).replace_schema_metadata(file.schema_arrow.metadata)
            pq.write_table(table, part, compression="none")
            yield from _read_parquet(part.getvalue(), as_text)


def _fits_blocks(path: Path, number: int, rows: int) -> Iterator[Loaded]:
    """Yield parts of the one table of a FITS file, which is mapped and not read."""
    with _readable(path, "FITS"), fits.open(path, memmap=True) as hdus:
        hdu = hdus[number]
        for first in range(0, len(hdu.data), rows):
            table = Table.read(fits.BinTableHDU(hdu.data[first : first + rows], header=hdu.header))
            yield Loaded(table, hdu.name, stated_by(hdu.header) or stated_by(table.meta))


def _text_blocks(path: Path, kind: str, as_text: Collection[str], rows: int) -> Iterator[Loaded]:
    """Yield parts of a table in text: each with the lines above its first row of numbers."""
    with _readable(path, kind), path.open("rb") as file:
        head: list[bytes] = []
        for line in file:
            head.append(line)
            if line.strip() and not line.lstrip().startswith(b"#"):
                break
        for line in islice(file, 2):  # units and a rule of dashes may follow the names
            head.append(line)
        loaded = READERS[kind](b"".join(head), as_text)
        above = len(head) - (len(loaded[0].table) if loaded else 0)
        lines, head = head[above:], head[:above]
        while lines or (lines := list(islice(file, rows))):
            lines += list(islice(file, max(rows - len(lines), 0)))
            yield from READERS[kind](b"".join([*head, *lines]), as_text)
            lines = []


@contextmanager
def _readable(path: Path, kind: str) -> Iterator[None]:
    """Raise CatalogueError, with the file's name, for what goes wrong while a file is read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as in `load_tables`
            yield
    except UNREADABLE as error:
        words = getattr(error, "strerror", None) or first_line(error)
        raise CatalogueError(f"{path} cannot be read as a catalogue ({kind}): {words}") from error


def _read_fits(data: bytes, as_text: Collection[str]) -> list[Loaded]:
    """Return the tables of all HDUs. The header of the image before SExtractor's objects states their frame."""
    found, image = [], Stated()
    with fits.open(BytesIO(data), memmap=False, lazy_load_hdus=False) as hdus:
        if any(hdu.fileinfo()["datLoc"] + hdu.size > len(data) for hdu in hdus):
            raise OSError("it ends before its data")
        for hdu in hdus:
            if not isinstance(hdu, (fits.BinTableHDU, fits.TableHDU)) or isinstance(hdu, fits.CompImageHDU):
                continue
            if hdu.name == "LDAC_IMHEAD":
                image = _stated_by_image(hdu)
                continue
            table = Table.read(hdu)
            stated = (
                stated_by(hdu.header) or stated_by(table.meta) or (image if hdu.name == "LDAC_OBJECTS" else Stated())
            )
            found.append(Loaded(table, hdu.name, stated))
    return found


def _stated_by_image(hdu: fits.BinTableHDU) -> Stated:
    """Return the frame that the header of an image, stored as text in a table, states."""
    cards = "".join(str(text) for text in np.asarray(hdu.data.field(0)).astype(str).ravel()) if len(hdu.data) else ""
    lines = [cards[start : start + 80] for start in range(0, len(cards), 80)]
    pairs = (re.match(r"(RADESYS|RADECSYS|EQUINOX)\s*=\s*'?\s*([^'/]+)", line) for line in lines)
    return stated_by({match[1].strip(): match[2].strip() for match in pairs if match})


def _read_votable(data: bytes, as_text: Collection[str]) -> list[Loaded]:
    """Return every table of a VOTable; `ref` of a field names its COOSYS, and a single COOSYS holds for all fields."""
    document = votable.parse(BytesIO(data), verify="ignore")
    systems = {system.ID: Stated(system.system or "", system.equinox or "") for system in document.iter_coosys()}
    of_all = _only(systems.values())
    found = []
    for part in document.iter_tables():
        refs = {each.name: systems[each.ref] for each in part.fields if each.ref in systems}
        table = part.to_table(use_names_over_ids=True)
        found.append(Loaded(table, part.name or "", Stated() if refs else of_all, refs))
    return found


def _only(stated: Collection[Stated]) -> Stated:
    """Return the statement that all share, if they are the same."""
    different = set(stated)
    return different.pop() if len(different) == 1 else Stated()


def _read_parquet(data: bytes, as_text: Collection[str]) -> list[Loaded]:
    """Return a table of Parquet, as pandas (categories, nulls) or astropy (SkyCoord, units) write it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    raw = pq.read_table(pa.BufferReader(data))
    notes = {key.decode("utf-8", "replace"): value for key, value in (raw.schema.metadata or {}).items()}
    if "table_meta_yaml" in notes:
        table = Table.read(BytesIO(data), format="parquet")
        return [Loaded(table, stated=stated_by(table.meta))]
    cards: dict[str, Any] = {key: value.decode("utf-8", "replace") for key, value in notes.items()}
    cards |= json.loads(cards["PANDAS_ATTRS"]) if "PANDAS_ATTRS" in cards else {}
    table = Table({name: _arrow_column(raw[name].combine_chunks()) for name in raw.column_names})
    return [Loaded(table, stated=stated_by(cards))]


def _arrow_column(values: Any) -> Column:
    """Return a column of Arrow with its missing values masked."""
    import pyarrow as pa

    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    mask = values.is_null().to_numpy(zero_copy_only=False)
    kind = values.type
    if pa.types.is_decimal(kind):
        values, kind = values.cast(pa.float64()), pa.float64()
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        plain = values.fill_null(0).to_numpy(zero_copy_only=False)
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
        plain = np.array([value or "" for value in values.to_pylist()], dtype=str)
    elif pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        plain = np.array([(value or b"").decode("utf-8", "replace") for value in values.to_pylist()], dtype=str)
    else:
        plain = np.empty(len(values), object)
        plain[:] = values.to_pylist()
    return MaskedColumn(plain, mask=mask) if mask.any() else Column(plain)


def _read_ecsv(data: bytes, as_text: Collection[str]) -> list[Loaded]:
    table = ascii.read(_decoded(data), format="ecsv")
    return [Loaded(table, stated=stated_by(table.meta))]


def _read_text(data: bytes, as_text: Collection[str]) -> list[Loaded]:
    """Return a table of text. Lines that begin with # are comments, but the last of them may have the names."""
    lines = re.split("\r\n|\n|\r", _decoded(data))
    lines = lines[next((at for at, line in enumerate(lines) if line.strip()), 0) :]
    if lines and SEXTRACTOR.match(lines[0]):
        return [Loaded(ascii.read(lines, format="sextractor"))]
    comments = [line for line in lines if line.lstrip().startswith("#")]
    stated = _stated_in_comments(comments)
    first = next((at for at, line in enumerate(lines) if line.strip() and not line.lstrip().startswith("#")), None)
    if first is None:
        raise ValueError("it has no row")
    if lines[first].lstrip().startswith(("|", "\\")):  # tables of IPAC, and tables that are drawn with lines
        return [Loaded(ascii.read(lines, fill_values=_fills()), stated=stated)]
    delimiter = max(DELIMITERS, key=lines[first].count)
    delimiter = delimiter if delimiter in lines[first] else " "
    names, rows, units = _head(lines, first, delimiter)
    text = {escape(name): [ascii.convert_numpy(str)] for name in _cells(names, delimiter) if name.lower() in as_text}
    table = ascii.read(
        [names, *rows],
        format="csv" if delimiter != " " else "basic",
        guess=False,
        delimiter=delimiter,
        comment="#",
        fill_values=_fills(),
        converters=text,
    )
    for name, unit in zip(table.colnames, units, strict=False):
        table[name].unit = unit or None
    return [Loaded(table, stated=stated)]


def _head(lines: list[str], first: int, delimiter: str) -> tuple[str, list[str], list[str]]:
    """Return the line of names, the lines below it without units and rules, and the units; `first` is not a comment.

    numpy and TOPCAT write the names into a comment; VizieR has units and a rule of dashes below them.
    """
    above = lines[first - 1].lstrip("# ") if first else ""
    if _has_number(_cells(lines[first], delimiter)) and len(_cells(above, delimiter)) == len(
        _cells(lines[first], delimiter)
    ):
        return above, lines[first:], []
    for below in (1, 2):
        if DASHES.fullmatch(lines[first + below] if first + below < len(lines) else ""):
            units = _cells(lines[first + 1], delimiter) if below == 2 else []
            return lines[first], lines[first + below + 1 :], units
    return lines[first], lines[first + 1 :], []


def _cells(line: str, delimiter: str) -> list[str]:
    """Return the fields of a line of names, units or numbers."""
    cells = line.split() if delimiter == " " else line.split(delimiter)
    return [cell.strip().strip('"').strip() for cell in cells]


def _has_number(cells: Sequence[str]) -> bool:
    return any(re.fullmatch(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?", cell) for cell in cells)


def _stated_in_comments(comments: list[str]) -> Stated:
    """Return the frame that comments state, by Coosys as VizieR does, or by cards of FITS."""
    cards = {match[1]: match[2].strip("'\"") for match in map(A_CARD.match, comments) if match}
    systems = [Stated(match[1], match[2] or "") for match in map(COOSYS.match, comments) if match]
    return stated_by(cards) or _only(systems)


def _fills() -> list[tuple[str, str]]:
    return [(word, "0") for word in MISSING]


def _decoded(data: bytes) -> str:
    """Return bytes as text: UTF-8, UTF-16 if its mark says so, and else Latin-1, which has every byte."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16")
    if b"\0" in data:
        raise ValueError("it is not text")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


READERS = {
    "FITS": _read_fits,
    "VOTable": _read_votable,
    "Parquet": _read_parquet,
    "ECSV": _read_ecsv,
    "text": _read_text,
}
