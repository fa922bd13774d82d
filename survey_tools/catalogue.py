"""Catalogues of positions: read and checked row by row, and split into regions of the sky."""

import logging
import os
import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.coordinates import BaseCoordinateFrame, SkyCoord
from astropy.table import Column, Table, vstack

from survey_tools.errors import CatalogueError
from survey_tools.sphere import friends_of_friends, unit_vectors
from survey_tools.surveys import OWN
from survey_tools.tables import Loaded, Stated, frame_of, load_blocks, load_tables, to_icrs

log = logging.getLogger(__name__)

OF_SURVEYS = tuple(name for survey in OWN.values() for name in survey.catalogue_columns)
NAMES = {  # our columns: their names in archives and programs, in lower case, the best first
    "object_id": ("object_id", "objid", "bestobjid", "source_id", "specobjid", "obj_id", "objectid", "number", "id"),
    "redshift": ("redshift", "zspec", "z_spec", "specz"),
    **{name: (name,) for name in OF_SURVEYS},
}
POSITIONS = (  # names of longitude and latitude, in lower case, and the frame that they state, the best first
    ("ra", "dec", Stated()),
    ("ra_icrs", "de_icrs", Stated("ICRS")),
    ("ra_icrs", "dec_icrs", Stated("ICRS")),
    ("raj2000", "dej2000", Stated()),  # VizieR: FK5 or ICRS, which agree to 0.03 arcsec
    ("raj2000", "decj2000", Stated()),
    ("_raj2000", "_dej2000", Stated()),
    ("_ra", "_de", Stated()),
    ("radeg", "dedeg", Stated()),
    ("ra_deg", "dec_deg", Stated()),
    ("ramean", "decmean", Stated()),
    ("alpha_j2000", "delta_j2000", Stated()),  # SExtractor, like all down to x_world
    ("alphawin_j2000", "deltawin_j2000", Stated()),
    ("alphapsf_j2000", "deltapsf_j2000", Stated()),
    ("alpha_sky", "delta_sky", Stated()),
    ("x_world", "y_world", Stated()),
    ("rab1950", "deb1950", Stated("FK4", "B1950")),
    ("_rab1950", "_deb1950", Stated("FK4", "B1950")),
    ("alpha_b1950", "delta_b1950", Stated("FK4", "B1950")),
    ("glon", "glat", Stated("galactic")),
    ("_glon", "_glat", Stated("galactic")),
)
GALACTIC = ("l", "b")  # lower case only, because L and B often mean other things
KEYS = ("object_id", "ra", "dec", "l", "b", "position", "redshift", *OF_SURVEYS)  # what `columns` may name
SEXAGESIMAL_UNITS = {"h:m:s": u.hourangle, "hms": u.hourangle, "d:m:s": u.deg, "dms": u.deg}
A_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
A_FLOAT = re.compile(r"[+-]?\d+\.\d*([eE][+-]?\d+)?|[+-]?\d+[eE]\+\d+")  # in text that should be an identifier
SEXAGESIMAL = re.compile(
    r"([+-]?)(\d{1,3})(?:\s*([hd°:])\s*|\s+)(\d{1,2}(?:\.\d*)?)"
    r"(?:(?:\s*[m'′:]\s*|\s+)(\d{1,2}(?:\.\d*)?)\s*(?:s|\"|″|'')?|\s*[m'′]?)"
)
UNKNOWN_REDSHIFT = re.compile(r"-(1|9+)(\.[09]*)?")  # -9999 and the like, which stand for an unknown redshift
EXACT = 2**53  # whole numbers up to here are exact as floating-point numbers
OBJID_301 = 0x112D  # the first 16 bits of an objID of SDSS: sky version 2, rerun 301
BLOCK = 2**18  # rows of a catalogue that is read block by block
ROUNDED = 256  # an objID that was stored as a floating-point number is a multiple of this


def read_catalogue(path: "str | os.PathLike | Table", columns: Mapping[str, str] | None = None) -> Table:
    """Read the objects of a catalogue: CSV and other text, ECSV, FITS (also LDAC), Parquet or VOTable.

    Column names are matched without regard to case: our names, or those of archives and programs (`NAMES`,
    `POSITIONS`). If a file has several tables, the first that has all columns is read; from an LDAC file, the objects
    of all chips are read.

    Angles in any unit, and sexagesimal text, become degrees. A column without a unit is in degrees, or in hours if it
    is a right ascension in sexagesimal text. Positions in another frame, as the file states it by COOSYS, RADESYS,
    EQUINOX, a SkyCoord column or a column's name, become ICRS. In text files, lines that begin with `#` are comments,
    and an empty field or `null` is a missing value.

    Parameters
    ----------
    path : path-like
        The file.
    columns : mapping, optional
        The file's own name of any of `KEYS`.

    Returns
    -------
    Table
        In the order of the file: object_id (str), ra, dec (float64 [deg], ICRS), redshift (float64, NaN if unknown)
        and, if the catalogue has all of them, the columns of one survey's `catalogue_columns` (int32).

    Raises
    ------
    CatalogueError
        If the file cannot be read, has no rows, lacks a column or has it twice, or states an unknown frame; or if a row
        is impossible: an object_id that is missing, duplicated, or has lost digits as a floating-point number; a
        position that is missing, NaN, not an angle or not on the sphere; an impossible redshift or number. The message
        gives the row, counted from 1, and the value.
    """
    columns = dict(columns or {})
    if isinstance(path, Table):
        return _checked(Loaded(path), Path("the table"), columns)
    path = Path(path)
    text = {*NAMES["object_id"], columns.get("object_id", "object_id").lower()}
    tables = load_tables(path, text)
    fit = [loaded for loaded in tables if _lacking(loaded.table, columns) == ""]
    chips = [loaded for loaded in fit if loaded.name == "LDAC_OBJECTS"]
    if not fit:  # the message concerns the table with the most columns
        _columns(max(tables, key=lambda loaded: len(loaded.table.colnames)).table, path, columns)
    if fit[0] in chips and len(chips) > 1:
        parts = [_checked(loaded, path, columns) for loaded in chips]
        whole = vstack(parts, join_type="exact", metadata_conflicts="silent")
        _check_unique(np.asarray(whole["object_id"]), path)
        return whole
    return _checked(fit[0], path, columns)


def read_blocks(
    path: "str | os.PathLike | Table", columns: Mapping[str, str] | None = None, rows: int = BLOCK
) -> Iterator[Table]:
    """Yield the objects of a catalogue block by block, so that memory never holds all of them.

    The catalogue is CSV or other text, ECSV, FITS, Parquet, or a folder of Parquet files such as a HATS catalogue.
    Other files, compressed ones and FITS with several tables are read as a whole and then yielded in blocks. An
    identifier that exists twice is found within a block only.

    Parameters
    ----------
    path, columns
        As for `read_catalogue`.
    rows : int
        Rows of a block.

    Yields
    ------
    Table
        As `read_catalogue` returns a whole catalogue.

    Raises
    ------
    CatalogueError
        As for `read_catalogue`.
    """
    columns = dict(columns or {})
    if not isinstance(path, Table):
        path = Path(path)
        text = {*NAMES["object_id"], columns.get("object_id", "object_id").lower()}
        loaded_blocks = load_blocks(path, text, rows)
        if loaded_blocks is not None:
            first = 0
            for loaded in loaded_blocks:
                where = Path(f"{path}, rows counted from {first:,}") if first else path
                first += len(loaded.table)
                yield _checked(loaded, where, columns)
            return
    whole = read_catalogue(path, columns)
    for first in range(0, len(whole), rows):
        yield whole[first : first + rows]


def check_catalogue(raw: Table, path) -> Table:
    """Return the columns of a table that came with images, checked and named as `read_catalogue` does it.

    Parameters
    ----------
    raw : Table
        The table.
    path : path-like
        The file that it came in, for messages.

    Returns
    -------
    Table

    Raises
    ------
    CatalogueError
        As `read_catalogue` does.
    """
    return _checked(Loaded(raw), Path(path), {})


def _checked(loaded: Loaded, path: Path, columns: Mapping[str, str]) -> Table:
    """Return a loaded table as a catalogue."""
    raw = loaded.table
    found = _columns(raw, path, columns)
    if len(raw) == 0:
        raise CatalogueError(f"{path}: the catalogue has no rows")
    table = Table({"object_id": _identifiers(raw[found.names["object_id"]], path)})
    ra, dec = _position(loaded, found, path)
    table["ra"], table["dec"] = Column(ra, unit=u.deg), Column(dec, unit=u.deg)
    table["redshift"] = _redshift(raw[found.names["redshift"]], path) if "redshift" in found.names else np.nan
    for name in OF_SURVEYS:
        if name in found.names:
            table[name] = _whole_number(raw[found.names[name]], name, path)
    return table


def split_by_sky(position: SkyCoord, test_size: int, link, rng: np.random.Generator, kind: str = "test") -> np.ndarray:
    """Return which objects to hold out: whole groups on the sky, drawn at random.

    Groups are friends of friends: objects nearer to each other than `link` are in one group, and so are the friends of
    both. If `link` is the diagonal of a cutout, no held-out cutout overlaps another one.

    Parameters
    ----------
    position : SkyCoord
        Positions (object,).
    test_size : int
        Number of objects to hold out.
    link : Quantity or float
        An angle, or arcsec.
    rng : numpy.random.Generator
        Source of the random numbers.
    kind : str
        What the set is for, as errors call it.

    Returns
    -------
    (object,) bool

    Raises
    ------
    CatalogueError
        If no choice of whole groups has exactly `test_size` objects; it states the nearest possible number.
    """
    points = unit_vectors(position.icrs.ra.deg, position.icrs.dec.deg)
    group = friends_of_friends(points, u.Quantity(link, u.arcsec).to_value(u.rad))
    return split_groups(group, test_size, rng, kind)


def split_groups(group: np.ndarray, test_size: int, rng: np.random.Generator, kind: str = "test") -> np.ndarray:
    """Return which objects to hold out: whole groups, drawn at random.

    Parameters
    ----------
    group : ndarray
        Number of each object's group (object,), from 0.
    test_size : int
        Number of objects to hold out.
    rng : numpy.random.Generator
        Source of the random numbers.
    kind : str
        What the objects are held out for, for messages.

    Returns
    -------
    (object,) bool

    Raises
    ------
    CatalogueError
        As `split_by_sky` does.
    """
    if not 0 <= test_size <= len(group):
        raise CatalogueError(f"a {kind} set of {test_size} cannot be taken from {len(group)} objects; choose fewer")
    sizes = np.bincount(group)
    reachable = _reachable(sizes, len(group))[-1]
    if not reachable >> test_size & 1:
        possible = [n for n, bit in enumerate(reversed(f"{reachable:b}")) if bit == "1"]
        near = min(possible, key=lambda n: abs(n - test_size))
        raise CatalogueError(
            f"a {kind} set of {test_size} would split galaxies whose cutouts overlap: the nearest possible size is "
            f"{near}"
        )
    return _draw_groups(sizes, test_size, rng)[group]


@dataclass(frozen=True)
class _Found:
    """Which columns of a table are ours.

    Attributes
    ----------
    names : dict
        The file's own name, by our name, of the columns besides the position.
    longitude, latitude : str
        Names of the columns with positions; the latitude is "" if the other is a SkyCoord.
    stated : Stated
        The frame that their names state.
    """

    names: dict[str, str]
    longitude: str
    latitude: str
    stated: Stated


def _lacking(raw: Table, columns: Mapping[str, str]) -> str:
    """Return the missing columns of a table, among identifier and position; "" if it has both."""
    lower = {name.strip().lower() for name in raw.colnames} | {
        ours for ours, own in columns.items() if own in raw.colnames
    }
    lacks = [] if any(name in lower for name in NAMES["object_id"]) else ["object_id"]
    for own in columns.values():
        lacks += [] if own in raw.colnames else [own]
    pairs = {(longitude, latitude) for longitude, latitude, _ in POSITIONS} | {GALACTIC}
    placed = any({*pair} <= lower for pair in pairs) or "position" in lower or len(_sky_coords(raw)) == 1
    return " nor ".join(lacks + ([] if placed else [name for name in ("ra", "dec") if name not in lower] or ["ra"]))


def _sky_coords(raw: Table) -> list[str]:
    """Return the names of the columns that are SkyCoord."""
    return [name for name in raw.colnames if isinstance(raw[name], SkyCoord)]


def _columns(raw: Table, path: Path, columns: Mapping[str, str]) -> _Found:
    """Return which columns are ours; CatalogueError if one is missing, exists twice, or has several values per row."""
    present = textwrap.shorten(", ".join(name if name.isprintable() else ascii(name) for name in raw.colnames), 400)
    for ours, own in columns.items():
        if own not in raw.colnames:
            raise CatalogueError(f"{path}: no column {own}, which should be {ours}; its columns are {present}")
    lacking = _lacking(raw, columns)
    if lacking:
        raise CatalogueError(
            f"{path}: no column {lacking}; its columns are {present}; name the right one, for example by "
            f"--column {lacking.split()[0]}=NAME"
        )
    names = {}
    for ours, others in NAMES.items():
        own = columns.get(ours) or _first(raw, others, path)
        names |= {ours: own} if own else {}
    for survey in OWN.values():
        missing = [name for name in survey.catalogue_columns if name not in names]
        if 0 < len(missing) < len(survey.catalogue_columns):
            every = ", ".join(survey.catalogue_columns)
            raise CatalogueError(f"{path}: no column {' nor '.join(missing)}; give all of {every}, or none of them")
    found = _Found(names, *_pair(raw, path, columns))
    for own in (*names.values(), found.longitude, found.latitude):
        if own and raw[own].ndim != 1:
            raise CatalogueError(f"{path}: column {own} has {raw[own].shape[1:]} values per row; give one value")
    return found


def _first(raw: Table, names: tuple[str, ...], path: Path) -> str:
    """Return the table's own name of the first of some names that it has; "" if it has none of them."""
    for name in names:
        own = [each for each in raw.colnames if each.strip().lower() == name]
        if len(own) > 1:
            raise CatalogueError(f"{path}: columns {own[0]!r} and {own[1]!r} differ only in case; rename one of them")
        if own:
            return own[0]
    return ""


def _pair(raw: Table, path: Path, columns: Mapping[str, str]) -> tuple[str, str, Stated]:
    """Return the columns with positions, and the frame that their names state."""
    if "position" in columns:
        return columns["position"], "", Stated()
    if "l" in columns and "b" in columns:
        return columns["l"], columns["b"], Stated("galactic")
    if "ra" in columns or "dec" in columns:
        own = [columns.get(name) or _first(raw, (name,), path) for name in ("ra", "dec")]
        return (*own, Stated())
    for longitude, latitude, stated in POSITIONS:
        own = [_first(raw, (name,), path) for name in (longitude, latitude)]
        if all(own):
            return (*own, stated)
    coords = _sky_coords(raw)
    return (coords[0], "", Stated()) if len(coords) == 1 else (*GALACTIC, Stated("galactic"))


def _position(loaded: Loaded, found: _Found, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return right ascension and declination (object,) [deg, ICRS]."""
    raw = loaded.table
    if isinstance(raw[found.longitude], SkyCoord):
        position = raw[found.longitude].icrs
        longitude, latitude, frame = Column(position.ra.deg), Column(position.dec.deg), frame_of(Stated(), "")
    elif not found.latitude:
        raise CatalogueError(
            f"{path}: {found.longitude} is not a column of positions (SkyCoord); name ra and dec instead"
        )
    else:
        longitude, latitude = raw[found.longitude], raw[found.latitude]
        own = loaded.of_column.get(found.longitude) or loaded.of_column.get(found.latitude)
        stated = own or found.stated or loaded.stated
        frame = frame_of(stated, str(path)) if stated else _frame_of_twin(raw, longitude, latitude)
    around = {"galactic": ("l", "b"), "supergalactic": ("sgl", "sgb")}.get(frame.name, ("ra", "dec"))
    degrees = (
        _angle(longitude, around[0], 0, 360, path, hours=around[0] == "ra"),
        _angle(latitude, around[1], -90, 90, path, hours=False),
    )
    return to_icrs(*degrees, frame)


def _frame_of_twin(raw: Table, longitude, latitude) -> BaseCoordinateFrame:
    """Return the frame of a SkyCoord column with the same numbers as the columns of positions; else ICRS."""
    for name in _sky_coords(raw):
        twin = raw[name].spherical
        numbers = zip((twin.lon.deg, twin.lat.deg), (longitude, latitude), strict=True)
        if all(len(there) and _same_angles(there, here) for there, here in numbers):
            return raw[name].frame.replicate_without_data()
    return frame_of(Stated(), "")


def _same_angles(degrees: np.ndarray, column) -> bool:
    values, mask = _plain(column)
    if values.dtype.kind not in "iuf" or mask.any() or not _unit(column).is_equivalent(u.deg):
        return False
    return bool(np.allclose((values * _unit(column)).to_value(u.deg), degrees, rtol=0, atol=1e-7))


def _plain(column) -> tuple[np.ndarray, np.ndarray]:
    """Return values and mask, each (object,), of a Column or a Quantity, masked or not; text is str."""
    mask = np.array(np.broadcast_to(getattr(column, "mask", False), len(column)))
    column = getattr(column, "unmasked", column)
    values = np.asarray(getattr(column, "value", column))
    if values.dtype.kind == "S":
        values = np.char.decode(values, "utf-8", "replace")
    if values.dtype.kind == "O":
        mask |= np.array([value is None or value is np.ma.masked for value in values], bool)
    return values, mask


def _refuse(path: Path, bad: np.ndarray, name: str, column, why: str) -> None:
    """Raise CatalogueError for the first row where `bad`."""
    if bad.any():
        row = int(np.argmax(bad))
        values, mask = _plain(column)
        value = "missing" if mask[row] else repr(values[row].item() if hasattr(values[row], "item") else values[row])
        more = f" ({bad.sum() - 1} more rows like it)" if bad.sum() > 1 else ""
        raise CatalogueError(f"{path}: row {row + 1}: {name} is {value}; {why}{more}")


def _identifiers(column, path: Path) -> np.ndarray:
    """Return identifiers (object,) str; CatalogueError if one is missing, exists twice, or has lost digits."""
    values, mask = _plain(column)
    lost = "as a floating-point number it loses digits: store integers or text"
    if values.dtype.kind == "f":
        exact = np.isfinite(values) & (values % 1 == 0) & (np.abs(values) < EXACT)
        _refuse(path, mask | ~exact, "object_id", column, lost)
        values = values.astype(np.int64)
    names = np.array([str(value).strip() for value in values])
    odd = np.array([not name or not name.isprintable() for name in names])
    _refuse(path, mask | odd, "object_id", column, "every object needs an identifier of printable characters")
    if values.dtype.kind in "UO":
        names = _whole(names)
        floats = np.array([bool(A_FLOAT.fullmatch(name)) and abs(float(name)) >= EXACT for name in names])
        _refuse(path, floats, "object_id", column, lost)
    rounded = np.array([_is_rounded(name) for name in names])
    if rounded.sum() > 2 and rounded.all():  # by chance, one in 256 is such a multiple
        _refuse(path, rounded, "object_id", column, f"all are multiples of {ROUNDED}; {lost}")
    _check_unique(names, path)
    return names


def _whole(names: np.ndarray) -> np.ndarray:
    """Return identifiers without the ".0" of whole numbers that were written as floating-point numbers."""
    whole = [re.fullmatch(r"([+-]?\d{1,15})(\.0*)?", name) for name in names]
    return np.array([match[1] for match in whole]) if all(whole) and any(match[2] for match in whole) else names


def _is_rounded(name: str) -> bool:
    return name.isdecimal() and len(name) == 19 and int(name) >> 48 == OBJID_301 and int(name) % ROUNDED == 0


def _check_unique(names: np.ndarray, path: Path) -> None:
    """Raise CatalogueError if an identifier exists twice."""
    _, first, inverse = np.unique(names, return_index=True, return_inverse=True)
    repeated = first[inverse] != np.arange(len(names))
    where = first[inverse][np.argmax(repeated)] + 1
    _refuse(path, repeated, "object_id", Column(names), f"row {where} has the same one: remove one of them")


def _numbers(column, name: str, path: Path) -> np.ndarray:
    """Return float64 (object,), NaN where masked; CatalogueError if the column has text that is not a number."""
    values, mask = _plain(column)
    if values.dtype.kind in "iuf":
        return np.where(mask, np.nan, values.astype(np.float64, copy=False))
    texts = ["" if gone else str(value).strip() for value, gone in zip(values, mask, strict=True)]
    if all(re.fullmatch(r"[+-]?\d+,\d+|", text) for text in texts):  # decimal commas
        texts = [text.replace(",", ".") for text in texts]
    bad = np.array([bool(text) and not _is_number(text) for text in texts])
    _refuse(path, bad, name, column, "give a number, not text")
    return np.array([float(text) if text else np.nan for text in texts])


def _is_number(value) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def _angle(column, name: str, low: float, high: float, path: Path, *, hours: bool) -> np.ndarray:
    """Return degrees (object,) of a column of angles; CatalogueError outside low..high or if its unit is not an angle.

    If `hours`, sexagesimal text without a unit is in hours. Longitudes from -180 are those from 180 to 360.
    """
    unit = _unit(column)
    texts = _sexagesimal(column, unit if getattr(column, "unit", None) else (u.hourangle if hours else u.deg))
    values = _numbers(column, name, path) if texts is None else texts
    unit = u.deg if texts is not None else unit
    if not unit.is_equivalent(u.deg):
        raise CatalogueError(f"{path}: {name} is in {unit}, which is not a unit of angle; give degrees")
    degrees = values if unit == u.deg else (values * unit).to_value(u.deg)
    if low == 0 and (degrees >= -180).any() and not (degrees > 180).any():
        degrees = np.where((degrees < 0) & (degrees >= -180), degrees + 360, degrees)
    given = "" if unit == u.deg else f" (given in {unit})"
    _refuse(path, ~((degrees >= low) & (degrees <= high)), name, column, f"it must lie from {low} to {high} deg{given}")
    return degrees


def _sexagesimal(column, unit: u.UnitBase) -> np.ndarray | None:
    """Return degrees (object,) of text such as 10:00:24.0 or +02d06m00s, in `unit` if it has none; None for other text.

    It is None too if a single row is not such text: the column then has to hold numbers.
    """
    values, mask = _plain(column)
    if values.dtype.kind not in "UO" or not unit.is_equivalent(u.deg):
        return None
    matches = [
        None if gone else SEXAGESIMAL.fullmatch(str(value).strip()) for value, gone in zip(values, mask, strict=True)
    ]
    if not any(matches) or not all(match or gone for match, gone in zip(matches, mask, strict=True)):
        return None
    degrees = np.full(len(values), np.nan)
    for row, match in enumerate(matches):
        if match is None:
            continue
        sign, first, mark, second, third = match.groups()
        minutes, seconds = float(second), float(third or 0)
        if minutes <= 60 and seconds <= 60:
            size = int(first) + minutes / 60 + seconds / 3600
            scale = {"h": 15.0, "d": 1.0, "°": 1.0}.get(mark, unit.to(u.deg))
            degrees[row] = (-size if sign == "-" else size) * scale
    return degrees


def _unit(column) -> u.UnitBase:
    """Return a column's unit, degrees if it states none; `DEG` is degrees, and VizieR's "h:m:s" hours."""
    unit = getattr(column, "unit", None)
    if isinstance(unit, u.UnrecognizedUnit):
        word = str(unit).strip().strip('"').lower()
        unit = SEXAGESIMAL_UNITS.get(word) or u.Unit(word.removesuffix("s"), parse_strict="silent")
    return u.deg if unit is None or unit == u.dimensionless_unscaled else unit


def _redshift(column, path: Path) -> np.ndarray:
    """Return redshifts (object,), NaN for an unknown one, which some catalogues write as -9999 or -1."""
    redshift = _numbers(column, "redshift", path)
    below = np.flatnonzero(redshift <= -1)
    marks = np.array([row for row in below if UNKNOWN_REDSHIFT.fullmatch(f"{redshift[row]:.6g}")], int)
    if len(marks):
        log.warning(
            "%s: %d of %d redshifts are %g or the like, which is read as unknown",
            path,
            len(marks),
            len(redshift),
            redshift[marks[0]],
        )
    redshift = redshift.copy()
    redshift[marks] = np.nan
    bad = np.isinf(redshift) | (redshift <= -1)
    _refuse(path, bad, "redshift", column, "a redshift is more than -1 and finite: leave it empty if it is unknown")
    return redshift


def _whole_number(column, name: str, path: Path) -> np.ndarray:
    """Return whole numbers (object,) int32; CatalogueError if a value is another one, or missing."""
    values, mask = _plain(column)
    if values.dtype.kind not in "iuf":  # some SDSS tables hold rerun as text
        numbers = np.array([float(value) if _is_number(value) else np.nan for value in values])
    else:
        numbers = values.astype(np.float64)
    whole = (numbers % 1 == 0) & (numbers >= 0) & (numbers < 2**31)
    _refuse(path, mask | ~whole, name, column, "give a whole number, 0 or more")
    return numbers.astype(np.int32)


def _reachable(sizes: np.ndarray, most: int) -> list[int]:
    """Return the totals that groups of these sizes add up to, as the bits of an integer: for no, one, … all sizes."""
    totals = [1]
    for size, count in zip(*np.unique(sizes, return_counts=True), strict=True):
        bits, step = totals[-1], 1
        while count > 0:  # a power of two of them at a time
            step = min(step, int(count))
            bits |= bits << step * int(size)
            count, step = count - step, 2 * step
        totals.append(bits & (1 << most + 1) - 1)
    return totals


def _draw_groups(sizes: np.ndarray, wanted: int, rng: np.random.Generator) -> np.ndarray:
    """Return a random choice of groups (group,) bool that have `wanted` objects, a total that `_reachable` has."""
    chosen = np.zeros(len(sizes), bool)
    left = wanted
    for group in rng.permutation(len(sizes)):
        if left == 0:
            break
        if sizes[group] <= left:
            chosen[group] = True
            left -= int(sizes[group])
    if left == 0:
        return chosen
    chosen[:] = False  # the draw cannot be completed: take numbers of groups of each size that add up
    below, left = _reachable(sizes, wanted), wanted
    for index, size in reversed(list(enumerate(np.unique(sizes)))):
        count = next(n for n in range(left // int(size) + 1) if below[index] >> left - n * int(size) & 1)
        chosen[rng.choice(np.flatnonzero(sizes == size), count, replace=False)] = True
        left -= count * int(size)
    return chosen
