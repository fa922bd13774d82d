"""Catalogues of positions: read and checked row by row, and split into regions of the sky."""

import textwrap
import warnings
from pathlib import Path
from xml.parsers.expat import ExpatError

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import Column, Table
from astropy.utils.exceptions import AstropyWarning
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from survey_tools.errors import CatalogueError

FRAME = ("run", "rerun", "camcol", "field")
FORMATS = {
    ".csv": "ascii.csv",
    ".ecsv": "ascii.ecsv",
    ".fits": "fits",
    ".fit": "fits",
    ".parquet": "parquet",
    ".vot": "votable",
    ".votable": "votable",
    ".xml": "votable",
}
SIGNATURES = {
    b"SIMPLE  =": "fits",
    b"PAR1": "parquet",
    b"# %ECSV": "ascii.ecsv",
    b"<?xml": "votable",
    b"<VOTABLE": "votable",
}
UNREADABLE = (OSError, ValueError, TypeError, KeyError, IndexError, EOFError, SyntaxError, ExpatError)
TEXT = {
    "comment": "#",  # SkyServer's first line is `#Table1`
    "encoding": "utf-8-sig",
    "fill_values": [("", "0"), ("null", "0"), ("NULL", "0")],
    "converters": {"[oO][bB][jJ][eE][cC][tT]_[iI][dD]": str},  # keeps leading zeros, and more digits than int64 has
}


def read_catalogue(path) -> Table:
    """The objects of a catalogue: CSV (as SkyServer writes it, too), ECSV, FITS, Parquet or VOTable.

    Column names are matched whatever their case. In a CSV file, lines that begin with `#` are comments, and an empty
    field or `null` is a missing value. Angles in any unit become degrees; a column without a unit is in degrees.

    Returns:
        Table in the file's order with object_id (str), ra, dec (float64 [deg], ICRS), redshift (float64, NaN where
        unknown) and, where the catalogue has all four, run, rerun, camcol and field (int32), which name an SDSS frame.

    Raises:
        CatalogueError: Where the file cannot be read, holds no rows, lacks a column or has it twice; or where a row
            is impossible: a missing or duplicated object_id, a position that is missing, NaN, text or not on the
            sphere, a redshift or frame number that cannot be. The message gives the row, counted from 1, and the value.
    """
    path = Path(path)
    return check_catalogue(_load(path), path)


def check_catalogue(raw: Table, path) -> Table:
    """The columns of a table that came with images, checked and named as `read_catalogue` does it.

    `path`, the file that it came in, is for messages. CatalogueError as for `read_catalogue`.
    """
    path = Path(path)
    names = _columns(raw, path)
    if len(raw) == 0:
        raise CatalogueError(f"{path}: the catalogue holds no rows")
    table = Table({"object_id": _identifiers(raw[names["object_id"]], path)})
    table["ra"] = Column(_angle(raw[names["ra"]], "ra", 0, 360, path), unit=u.deg)
    table["dec"] = Column(_angle(raw[names["dec"]], "dec", -90, 90, path), unit=u.deg)
    table["redshift"] = _redshift(raw[names["redshift"]], path) if "redshift" in names else np.nan
    for name in FRAME:
        if name in names:
            table[name] = _frame_number(raw[names[name]], name, path)
    return table


def split_by_sky(position: SkyCoord, test_size: int, link, rng: np.random.Generator) -> np.ndarray:
    """Which objects to hold out (object,): whole groups on the sky, drawn at random, `test_size` objects in all.

    Groups are friends of friends: objects nearer to each other than `link` (an angle, or arcsec) are in one group,
    and so are the friends of both. With the diagonal of a cutout as `link`, no held-out cutout overlaps another one.

    Raises:
        CatalogueError: Where no choice of whole groups holds exactly `test_size` objects; it gives the nearest number.
    """
    if not 0 <= test_size <= len(position):
        raise CatalogueError(f"a test set of {test_size} cannot be taken from {len(position)} objects; choose fewer")
    group = _friends_of_friends(position, u.Quantity(link, u.arcsec).to_value(u.rad))
    sizes = np.bincount(group)
    reachable = _reachable(sizes, len(position))[-1]
    if not reachable >> test_size & 1:
        possible = [n for n, bit in enumerate(reversed(f"{reachable:b}")) if bit == "1"]
        near = min(possible, key=lambda n: abs(n - test_size))
        raise CatalogueError(
            f"a test set of {test_size} would split galaxies whose cutouts overlap: the nearest possible size is {near}"
        )
    return _draw_groups(sizes, test_size, rng)[group]


def _load(path: Path) -> Table:
    """The file as a table, in the format of its first bytes, or else of its suffix; CatalogueError where it is none."""
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() not in (".gz", ".bz2")]
    kind = FORMATS.get(suffixes[-1] if suffixes else "", "ascii")
    try:
        with open(path, "rb") as file:
            start = file.read(64).lstrip()
        kind = next((known for bytes_, known in SIGNATURES.items() if start.startswith(bytes_)), kind)
        options = TEXT if kind in ("ascii", "ascii.csv") else {"use_names_over_ids": True} if kind == "votable" else {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AstropyWarning)  # oddities of units and headers that do not touch us
            table = Table.read(path, format=kind, **options)
    except UNREADABLE as error:
        words = getattr(error, "strerror", None) or str(error).strip() or type(error).__name__
        raise CatalogueError(
            f"{path} cannot be read as a catalogue ({kind.removeprefix('ascii.')}): {words.splitlines()[0]}; "
            "give CSV, ECSV, FITS, Parquet or VOTable"
        ) from error
    table.convert_bytestring_to_unicode()
    return table


def _columns(raw: Table, path: Path) -> dict[str, str]:
    """The file's own name of each column that is ours; CatalogueError where one is missing or there twice."""
    found: dict[str, str] = {}
    for name in raw.colnames:
        key = name.strip().lower()
        if key in found:
            raise CatalogueError(f"{path}: columns {found[key]!r} and {name!r} differ only in case; rename one of them")
        if key in ("object_id", "ra", "dec", "redshift", *FRAME):
            found[key] = name
    present = textwrap.shorten(", ".join(name if name.isprintable() else ascii(name) for name in raw.colnames), 400)
    missing = [name for name in ("object_id", "ra", "dec") if name not in found]
    if missing:
        raise CatalogueError(
            f"{path}: no column {' nor '.join(missing)}; its columns are {present}; rename the one that is meant"
        )
    missing = [name for name in FRAME if name not in found]
    if 0 < len(missing) < len(FRAME):
        raise CatalogueError(
            f"{path}: no column {' nor '.join(missing)}; give all of {', '.join(FRAME)}, or none of them"
        )
    for key, name in found.items():
        if raw[name].ndim != 1:
            raise CatalogueError(f"{path}: column {key} has {raw[name].shape[1:]} values per row; give one")
    return found


def _plain(column) -> tuple[np.ndarray, np.ndarray]:
    """Values and mask, each (object,), of a Column, a Quantity or either of them masked."""
    mask = np.broadcast_to(getattr(column, "mask", False), len(column))
    column = getattr(column, "unmasked", column)
    return np.asarray(getattr(column, "value", column)), np.asarray(mask)


def _refuse(path: Path, bad: np.ndarray, name: str, column, why: str) -> None:
    """Raise CatalogueError for the first row where `bad`."""
    if bad.any():
        row = int(np.argmax(bad))
        values, mask = _plain(column)
        value = "missing" if mask[row] else repr(values[row].item() if hasattr(values[row], "item") else values[row])
        more = f" ({bad.sum() - 1} more rows alike)" if bad.sum() > 1 else ""
        raise CatalogueError(f"{path}: row {row + 1}: {name} is {value}; {why}{more}")


def _identifiers(column, path: Path) -> np.ndarray:
    values, mask = _plain(column)
    if values.dtype.kind == "f":
        exact = (values % 1 == 0) & (np.abs(values) < 2**53)
        _refuse(
            path,
            mask | ~exact,
            "object_id",
            column,
            "as a floating-point number it loses digits: store integers or text",
        )
        values = values.astype(np.int64)
    names = np.array([str(value).strip() for value in values])
    odd = np.array([not name or not name.isprintable() for name in names])
    _refuse(path, mask | odd, "object_id", column, "every object needs an identifier of printable characters")
    _, first, inverse = np.unique(names, return_index=True, return_inverse=True)
    repeated = first[inverse] != np.arange(len(names))
    where = first[inverse][np.argmax(repeated)] + 1
    _refuse(path, repeated, "object_id", column, f"row {where} has the same: remove one of them")
    return names


def _numbers(column, name: str, path: Path) -> np.ndarray:
    """float64 (object,), NaN where masked; CatalogueError where the column holds text."""
    values, mask = _plain(column)
    if values.dtype.kind not in "iuf":
        texts = np.array([not mask[row] and not _is_number(value) for row, value in enumerate(values)])
        _refuse(path, texts if texts.any() else ~mask, name, column, "give a number, not text")
    return np.where(mask, np.nan, values.astype(np.float64, copy=False) if values.dtype.kind in "iuf" else np.nan)


def _is_number(value) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def _angle(column, name: str, low: float, high: float, path: Path) -> np.ndarray:
    """Degrees (object,) of a column of angles; CatalogueError outside low..high or where its unit is no angle."""
    values = _numbers(column, name, path)
    unit = _unit(column)
    if not unit.is_equivalent(u.deg):
        raise CatalogueError(f"{path}: {name} is in {unit}, which is no angle; give degrees (ICRS)")
    degrees = values if unit == u.deg else (values * unit).to_value(u.deg)
    given = "" if unit == u.deg else f" (given in {unit})"
    _refuse(path, ~((degrees >= low) & (degrees <= high)), name, column, f"it must lie from {low} to {high} deg{given}")
    return degrees


def _unit(column) -> u.UnitBase:
    """A column's unit; degrees where it states none. `degrees` and `DEG` count as degrees."""
    unit = getattr(column, "unit", None)
    if isinstance(unit, u.UnrecognizedUnit):
        unit = u.Unit(str(unit).lower().removesuffix("s"), parse_strict="silent")
    return u.deg if unit is None else unit


def _redshift(column, path: Path) -> np.ndarray:
    redshift = _numbers(column, "redshift", path)
    bad = np.isinf(redshift) | (redshift <= -1)
    _refuse(path, bad, "redshift", column, "no redshift is -1 or less, or infinite: leave it empty where unknown")
    return redshift


def _frame_number(column, name: str, path: Path) -> np.ndarray:
    values, mask = _plain(column)
    if values.dtype.kind not in "iuf":  # some SDSS tables hold rerun as text
        numbers = np.array([float(value) if _is_number(value) else np.nan for value in values])
    else:
        numbers = values.astype(np.float64)
    whole = (numbers % 1 == 0) & (numbers >= 0) & (numbers < 2**31)
    _refuse(path, mask | ~whole, name, column, "an SDSS frame is named by whole numbers")
    return numbers.astype(np.int32)


def _friends_of_friends(position: SkyCoord, link: float) -> np.ndarray:
    """The group (object,) of each position, counted from 0; `link` in radians."""
    tree = cKDTree(position.icrs.cartesian.xyz.value.T)
    friends = tree.query_pairs(2 * np.sin(min(link, np.pi) / 2), output_type="ndarray")
    links = coo_array((np.ones(len(friends), bool), tuple(friends.T)), shape=(len(position), len(position)))
    return connected_components(links, directed=False)[1]


def _reachable(sizes: np.ndarray, most: int) -> list[int]:
    """Which totals groups of these sizes add up to, as the bits of an integer: with none, one, … all distinct sizes."""
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
    """A random choice of groups (group,) bool that hold `wanted` objects in all, a number that `_reachable` has."""
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
    chosen[:] = False  # the draw came to a dead end: take the numbers of groups of each size that fit
    below, left = _reachable(sizes, wanted), wanted
    for index, size in reversed(list(enumerate(np.unique(sizes)))):
        count = next(n for n in range(left // int(size) + 1) if below[index] >> left - n * int(size) & 1)
        chosen[rng.choice(np.flatnonzero(sizes == size), count, replace=False)] = True
        left -= count * int(size)
    return chosen
