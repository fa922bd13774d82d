"""CFHTLS Wide targets of release T0007 in VizieR's table II/317/cfhtls_w (Hudelot et al. 2012), by TAP.

Galaxies are the rows whose TERAPIX flag `Tfl` is 0: its bits are 1 star, 2 star saturated in some band, 4 to 128 region
masked in z, y, i, r, g, u*. The columns `ucl` to `zcl` are called "star/galaxy class" and no more; as SExtractor's
CLASS_STAR they would be 1 for a star, which is not written there, so they are asked for but select only on demand.
What is known of the columns is from VizieR's own descriptions, as a copy of the table by the HELP project quotes them.

How many galaxies there are down to a magnitude is for `count` to say. The default of the command, r = 19.7, is only an
estimate of ours: the paper's 130,093 galaxies of CFHT are 840 a square degree, which counts of galaxies reach there.

A service may leave out rows beyond a limit of its own, and not say so. So each field is counted, divided into strips of
declination that hold no more than `vizier_rows`, and each strip that comes with fewer rows than it has is halved. What
has come is kept until all strips are there, so that an outage costs none.
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
COLUMNS = {"object_id": "CFHTLS", "ra": "RAJ2000", "dec": "DEJ2000"}  # what the catalogue calls it: what VizieR does
COLUMNS |= {f"{band}magA": f"{band}magA" for band in "ugriz"}
COLUMNS |= {name: name for name in ("e_rmagA", "rrad", "rcl", "Sfl", "Tfl", "ifl")} | {"e_bv": '"E(B-V)"'}
THINNEST = 1e-4  # [deg] of a strip: if VizieR cannot give even so little, it is of no use to go on
SAME = 0.5  # [arcsec] between two rows, of two overlapping tiles, that are one object
EDGE = 0.2  # [deg] around the bounds of a field


@dataclass(frozen=True)
class Field:
    """One of the survey's four patches of sky, within bounds [deg]; the table has rows where there are stacks only.

    The bounds are those of MegaPipe's stacks of the same pointings (CFHTLS.bound.txt at the CADC), which agree with the
    centres of VizieR's notes on II/317.
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

    Attributes:
        brightest, faintest: Bounds of rmagA, the Kron-like magnitude in r [AB mag, of MegaCam].
        most_class: Largest `rcl`; None is any.
        where: A further condition in ADQL, as `skyserver.check_where` gives it.
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
    """How many rows VizieR has of a selection in one field; raises what `find` does."""
    try:
        return _count(settings, patch, selection, *_ends(patch))
    except ArchiveError as error:
        hint = f"; is --where right? {selection.where}" if selection.where else ""
        raise ArchiveError(f"{error}{hint}", url=error.url, status=error.status) from error


def find(
    settings: ArchiveSettings, patches: list[Field], selection: TargetSelection, limit: int | None = None
) -> Found:
    """The objects of a selection, one row each, ordered by field, declination and identifier.

    Where two tiles overlap, both may list an object: of rows within SAME, of two tiles, the one whose e_rmagA is the
    smaller is kept. redshift is unknown.

    Args:
        settings: Where VizieR is, and how many rows to ask at once.
        patches: In which fields.
        selection: Which objects.
        limit: How many rows to take, the first in that order; None is all.

    Raises:
        ArchiveError: Where VizieR refuses a query, gives other columns, or keeps rows back however few are asked.
        ConnectionError: Where VizieR cannot be reached, or stays busy.
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
        raise ArchiveError(f"{settings.ways('vizier_tap')}: no row fits; check the magnitudes and --where")
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
    """The lowest and highest declination of a field [deg], as queries write them."""
    return _degrees(patch.dec[0] - EDGE), _degrees(patch.dec[1] + EDGE)


def _degrees(value: float) -> str:
    return f"{value:.6f}"


def _rows_of(patch: Field, selection: TargetSelection, low: str, high: str) -> str:
    """ADQL after FROM for a strip low <= dec < high; the circle around it lets VizieR use its index of positions."""
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
    """The rows of a strip that holds `number` of them, in one table, or in several where that is too many."""
    if not number:
        return
    at_once = settings.vizier_rows if limit is None else min(settings.vizier_rows, max(2 * limit, 1000))
    table, reason = None, f"{number} rows of {patch.name} are too many at once"
    if number <= at_once:
        try:
            table = _whole_strip(settings, patch, selection, low, high, number, pages)
            reason = f"VizieR counts {number} rows of {patch.name} and sends {len(table)}"
        except (ArchiveError, ConnectionError) as error:  # it could count, so it may yet do a narrower strip
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
    """The rows of a strip, as many as VizieR gives; ArchiveError where it gives more than it counted."""
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
    """The rows to keep, in order, so that no object is there twice: as two tiles list it, or by its identifier."""
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
