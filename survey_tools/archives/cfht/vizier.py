"""CFHTLS Wide targets of release T0007 in VizieR's table II/317/cfhtls_w (Hudelot et al. 2012), by TAP.

Galaxies are the rows whose TERAPIX flag `Tfl` is 0; its bits are 1 star, 2 star saturated in some band, 4 to 128 region
masked in z, y, i, r, g, u*. The columns `ucl` to `zcl` are called "star/galaxy class" and nothing more. As CLASS_STAR
of SExtractor they would be 1 for a star, but VizieR does not say so; they are therefore read, and select only on
demand. The columns are described here after VizieR's own descriptions, as a copy of the table by the HELP project
quotes them.

`count` returns how many galaxies there are down to a magnitude. The default of the command, r = 19.7, is only our
estimate: the paper's 130,093 galaxies of CFHT are 840 per square degree, which counts of galaxies reach there.

A service may leave out rows beyond a limit of its own without saying so. Each field is therefore counted and divided
into strips of declination that contain no more than `vizier_rows`, and a strip that arrives with fewer rows than
counted is halved. Strips that have arrived are kept until all are complete, so that an outage loses none.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from astropy.table import Table, vstack
from scipy.spatial import cKDTree

from survey_tools.archives import tap
from survey_tools.archives.download.pages import Pages
from survey_tools.archives.settings import ArchiveSettings
from survey_tools.archives.targets import Found
from survey_tools.errors import ArchiveError
from survey_tools.progress import Progress
from survey_tools.sphere import chord, unit_vectors

TABLE = '"II/317/cfhtls_w"'
COLUMNS = {"object_id": "CFHTLS", "ra": "RAJ2000", "dec": "DEJ2000"}  # name in the catalogue: name at VizieR
COLUMNS |= {f"{band}magA": f"{band}magA" for band in "ugriz"}
COLUMNS |= {name: name for name in ("e_rmagA", "rrad", "rcl", "Sfl", "Tfl", "ifl")} | {"e_bv": '"E(B-V)"'}
THINNEST = 1e-4  # [deg] height of the smallest strip that is tried
SAME = 0.5  # [arcsec] within which rows of two overlapping tiles are one object
EDGE = 0.2  # [deg] around the bounds of a field


@dataclass(frozen=True)
class Field:
    """One of the survey's four patches of sky, within bounds [deg]; the table has rows only where there are stacks.

    The bounds are those of MegaPipe's stacks of the same pointings (CFHTLS.bound.txt at the CADC), which agree with the
    centres in VizieR's notes on II/317.
    """

    name: str
    ra: tuple[float, float]
    dec: tuple[float, float]


FIELDS = {
    patch.name: patch
    for patch in [
        Field("W1", (30.1698, 38.8253), (-11.2505, -3.6775)),
        Field("W2", (132.0487, 136.8502), (-5.6961, -0.9427)),
        Field("W3", (208.5613, 220.3804), (51.1939, 57.8101)),
        Field("W4", (329.9714, 335.7141), (-1.0218, 4.6222)),
    ]
}


@dataclass(frozen=True)
class TargetSelection:
    """Which rows of the fields to take.

    Attributes
    ----------
    brightest, faintest : float
        Limits of rmagA, the Kron-like magnitude in r [AB mag, of MegaCam].
    most_class : float, optional
        Largest `rcl`; None is any.
    where : str
        A further condition in ADQL, as `skyserver.check_where` returns it.
    """

    brightest: float
    faintest: float
    most_class: float | None = None
    where: str = ""

    @property
    def adql(self) -> str:
        """The condition, without the position."""
        parts = ["Tfl=0", f"rmagA>={self.brightest!r}", f"rmagA<={self.faintest!r}"]
        parts += [] if self.most_class is None else [f"rcl<={self.most_class!r}"]
        parts += [f"({self.where})"] if self.where else []
        return " AND ".join(parts)


def count(settings: ArchiveSettings, patch: Field, selection: TargetSelection) -> int:
    """Return how many rows of a selection VizieR has in one field. Raises the errors of `find`."""
    try:
        return _count(settings, patch, selection, *_ends(patch))
    except ArchiveError as error:
        hint = f"; is --where right? {selection.where}" if selection.where else ""
        raise ArchiveError(f"{error}{hint}", url=error.url, status=error.status) from error


def find(
    settings: ArchiveSettings, patches: list[Field], selection: TargetSelection, limit: int | None = None
) -> Found:
    """Return the objects of a selection, one row each, ordered by field, declination and identifier.

    Where two tiles overlap, both may list an object: of rows within SAME, on two tiles, the one with the smaller
    e_rmagA is kept. The redshift is unknown.

    Parameters
    ----------
    settings : ArchiveSettings
        Addresses of VizieR, and how many rows to request at once.
    patches : list of Field
        The fields.
    selection : TargetSelection
        Which objects.
    limit : int, optional
        How many rows to take, the first in that order; None is all.

    Returns
    -------
    Found

    Raises
    ------
    ArchiveError
        If VizieR refuses a query, returns other columns, or leaves out rows however few are requested.
    ConnectionError
        If VizieR cannot be reached, or stays busy.
    """
    tables, counted, received, kept = [], 0, 0, []
    for patch in patches:
        if limit is not None and received >= limit:
            break
        number = count(settings, patch, selection)
        counted += number
        with Progress(number, f"VizieR {patch.name}", "row") as progress:
            pages = Pages(settings.cache_folder, f"{number} of {patch.name}: {selection.adql}")
            kept.append(pages)
            for table in _strips(settings, patch, selection, *_ends(patch), number, limit, pages):
                progress.update(len(table))
                tables.append(table)
                received += len(table)
                if limit is not None and received >= limit:
                    break
    if not received:
        raise ArchiveError(
            f"{settings.ways('vizier_tap')}: no row satisfies the conditions; check the magnitudes and --where"
        )
    for pages in kept:
        pages.drop()
    rows = vstack(tables, metadata_conflicts="silent")[:limit]
    keep = _distinct(rows)
    names = "+".join(patch.name for patch in patches)
    return Found(
        rows[keep],
        f"CFHTLS {names}: rmagA {selection.brightest:g} to {selection.faintest:g}, neither stars nor masked",
        "VizieR II/317, Hudelot et al. 2012: CFHTLS release T0007",
        str(settings.ways("vizier_tap")),
        f"SELECT {','.join(COLUMNS.values())} FROM {TABLE} WHERE {selection.adql}",
        counted,
        len(rows),
        {"seen on another tile too": len(rows) - len(keep)},
    )


def _ends(patch: Field) -> tuple[str, str]:
    """Return the lowest and highest declination of a field [deg], as queries write them."""
    return _degrees(patch.dec[0] - EDGE), _degrees(patch.dec[1] + EDGE)


def _degrees(value: float) -> str:
    return f"{value:.6f}"


def _rows_of(patch: Field, selection: TargetSelection, low: str, high: str) -> str:
    """Return ADQL after FROM for a strip low <= dec < high; its circle lets VizieR use the index of positions."""
    margin = EDGE / math.cos(math.radians(max(abs(float(low)), abs(float(high)))))
    west, east = patch.ra[0] - margin, patch.ra[1] + margin
    middle = (float(low) + float(high)) / 2
    radius = math.hypot((east - west) / 2, (float(high) - float(low)) / 2)  # an upper bound: no cosine
    circle = f"CIRCLE('ICRS',{_degrees((west + east) / 2)},{_degrees(middle)},{_degrees(radius + EDGE)})"
    return (
        f"{TABLE} WHERE 1=CONTAINS(POINT('ICRS',RAJ2000,DEJ2000),{circle}) AND RAJ2000>={_degrees(west)} "
        f"AND RAJ2000<={_degrees(east)} AND DEJ2000>={low} AND DEJ2000<{high} AND {selection.adql}"
    )


def _count(settings: ArchiveSettings, patch: Field, selection: TargetSelection, low: str, high: str) -> int:
    rows = _rows_of(patch, selection, low, high)
    return tap.count(settings.ways("vizier_tap"), f"SELECT COUNT(*) AS n FROM {rows}", settings.manner)


def _strips(
    settings: ArchiveSettings,
    patch: Field,
    selection: TargetSelection,
    low: str,
    high: str,
    number: int,
    limit: int | None,
    pages: Pages,
) -> Iterator[Table]:
    """Yield the rows of a strip that has `number` of them, in one table, or in several if that is too many."""
    if not number:
        return
    at_once = settings.vizier_rows if limit is None else min(settings.vizier_rows, max(2 * limit, 1000))
    table, reason = None, f"{number} rows of {patch.name} are too many at once"
    if number <= at_once:
        try:
            table = _whole_strip(settings, patch, selection, low, high, number, pages)
            reason = f"VizieR counts {number} rows of {patch.name} and sends {len(table)}"
        except (ArchiveError, ConnectionError) as error:  # it could count the rows, so a narrower strip may work
            reason = str(error)
    if table is not None and len(table) == number:
        table.sort(["dec", "object_id"])
        yield table
        return
    if float(high) - float(low) < THINNEST:
        raise ArchiveError(f"{settings.ways('vizier_tap')}: {reason}, from dec {low} to {high}; try again later")
    middle = _degrees((float(low) + float(high)) / 2)
    below = _count(settings, patch, selection, low, middle)
    if below > number:
        raise ArchiveError(
            f"{settings.ways('vizier_tap')} counts {below} rows in a part of {number} rows; try again later"
        )
    yield from _strips(settings, patch, selection, low, middle, below, limit, pages)
    yield from _strips(settings, patch, selection, middle, high, number - below, limit, pages)


def _whole_strip(
    settings: ArchiveSettings, patch: Field, selection: TargetSelection, low: str, high: str, number: int, pages: Pages
) -> Table:
    """Return the rows of a strip, as many as VizieR sends; ArchiveError if they are more than it counted."""
    columns = ",".join(COLUMNS.values())
    result = tap.query(
        settings.ways("vizier_tap"),
        f"SELECT {columns} FROM {_rows_of(patch, selection, low, high)}",
        maxrec=number + 1,
        columns=[name.strip('"') for name in COLUMNS.values()],
        manner=settings.manner,
        pages=pages,
        rows=number,
    )
    table = result.table
    if len(table) > number:
        raise ArchiveError(
            f"{settings.ways('vizier_tap')} counts {number} rows and sends {len(table)} or more; try again"
        )
    table.rename_columns(table.colnames, list(COLUMNS))
    table.meta = {}
    table["object_id"] = np.array([str(name).strip() for name in table["object_id"]], dtype=str)
    return table


def _distinct(rows: Table) -> np.ndarray:
    """Return the rows to keep, in order, so that no object is there twice, by two tiles or by its identifier."""
    points = unit_vectors(*(np.asarray(rows[name], float) for name in ("ra", "dec")))
    pairs = cKDTree(points).query_pairs(chord(math.radians(SAME / 3600)), output_type="ndarray")
    tiles = np.array([name[:4] for name in rows["object_id"]])  # an identifier is: wide, patch, tile (2), number
    names = np.asarray(rows["object_id"])
    first, second = pairs.T
    same = (tiles[first] != tiles[second]) | (names[first] == names[second])
    first, second = first[same], second[same]
    error = np.ma.filled(np.ma.masked_invalid(np.ma.asarray(rows["e_rmagA"], float)), np.inf)
    worse = np.where(error[second] < error[first], first, second)
    return np.setdiff1d(np.arange(len(rows)), worse)
