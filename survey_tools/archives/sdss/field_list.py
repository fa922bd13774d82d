"""The list of all fields that SDSS imaged: which of them a cutout lies on, told without looking at any frame.

The centre of a field is the middle of its mu and nu, the coordinates along and across the great circle of its scan.
The columns RA and DEC are not always that: they differ by as much as 575 pixels. Where they do, nobody knows beforehand
which of them the frame agrees with, so that the field is listed twice, and an object may be looked for on both.

Data model: https://data.sdss3.org/datamodel/files/PHOTO_RESOLVE/window_flist.html
"""

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.io import fits
from scipy.spatial import cKDTree

from survey_tools.archives.sdss.frames import RERUN
from survey_tools.archives.settings import ANY
from survey_tools.errors import ArchiveError, first_line
from survey_tools.fits.reading import UNREADABLE, require_complete
from survey_tools.sphere import unit_vectors
from survey_tools.surveys import SDSS

COLUMNS = ("RUN", "CAMCOL", "FIELD", "RA", "DEC", "NODE", "INCL")  # as `Fields` has them
SPANS = ("MU_START", "MU_END", "NU_START", "NU_END")
STATUS = "PHOTO_STATUS"
SHAPE = np.array([1489, 2048])  # rows and columns of a frame [pixel]
MARGIN = 25  # [pixel] by which an edge may lie elsewhere: the bands of a field are up to 12 rows apart
PIXEL = np.radians(SDSS.pixel_scale / 3600)
APART = 5  # [pixel] between the two centres of a field from which on both are tried
GOOD = 0  # PHOTO_STATUS of a field that the photometric pipeline went through; 3 is one that took it too long
BLOCK = 10_000  # positions looked up at once: in Stripe 82 each is on a hundred fields
ROUNDS = 4  # fields that a cutout may need besides its first

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fields:
    """Fields of the imaging scans, all (field,); one whose two centres disagree is there twice, RA and DEC second.

    Attributes:
        run: Number of the scan.
        camcol: Column of the camera.
        field: Number along the scan.
        ra: Of its centre [deg].
        dec: Likewise.
        node: Right ascension [deg] of the ascending node of the great circle along which was scanned.
        incl: Its inclination [deg].
        status: PHOTO_STATUS; fields of another one than GOOD are used where no other field holds an object.
    """

    run: np.ndarray
    camcol: np.ndarray
    field: np.ndarray
    ra: np.ndarray
    dec: np.ndarray
    node: np.ndarray
    incl: np.ndarray
    status: np.ndarray | None = None

    @property
    def good(self) -> np.ndarray:
        """Whether the photometric pipeline went through a field (field,) bool."""
        return np.ones(len(self.run), bool) if self.status is None else np.asarray(self.status) == GOOD

    @property
    def number(self) -> np.ndarray:
        """One number for each field of the sky (field,): alike where it is listed twice."""
        return number_of(self.run, self.camcol, self.field)

    def find(self, run: np.ndarray, camcol: np.ndarray, field: np.ndarray) -> np.ndarray:
        """Index (n,) of the fields with these numbers; -1 where there is none."""
        listed, asked = self.number, number_of(run, camcol, field)
        order = np.argsort(listed, kind="stable")
        at = order[np.minimum(np.searchsorted(listed, asked, sorter=order), len(order) - 1)]
        return np.where(listed[at] == asked, at, -1)

    def axes(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Unit vectors (n, 3) to the centres of some fields, and from there along the scan and across it."""
        centre = unit_vectors(self.ra[index], self.dec[index])
        pole = unit_vectors(self.node[index] - 90, 90 - self.incl[index])
        along = np.cross(pole, centre)
        along /= np.linalg.norm(along, axis=-1, keepdims=True)
        return centre, along, np.cross(centre, along)


def read_fields(path: Path, name: str) -> Fields:
    """The fields of rerun 301 in the list `name`; ArchiveError where the file is damaged or no such list."""
    require_complete(path, name)
    try:
        with fits.open(path, memmap=True) as hdus:
            table = hdus[1].data
            wanted = np.flatnonzero(np.char.strip(table["RERUN"].astype(str)) == str(RERUN))
            has = {column.upper() for column in table.names}
            names = [*COLUMNS, *(each for each in SPANS if has >= set(SPANS)), *([STATUS] if STATUS in has else [])]
            columns = {each: np.asarray(table[each])[wanted].astype(_kind(each)) for each in names}
    except UNREADABLE as error:
        raise ArchiveError(f"{name} is no list of SDSS fields: {first_line(error)}; fetch it anew") from error
    if len(wanted) == 0:
        raise ArchiveError(f"{name} lists no field of rerun {RERUN}; fetch it anew")
    once = np.sort(np.unique(number_of(*(columns[each] for each in COLUMNS[:3])), return_index=True)[1])
    columns = {each: values[once] for each, values in columns.items()}
    if not (np.isfinite(columns["RA"]).all() and np.isfinite(columns["DEC"]).all()):
        raise ArchiveError(f"{name} has fields without a position; fetch it anew")
    listed = Fields(*(columns[each] for each in COLUMNS), columns.get(STATUS, np.full(len(once), GOOD)))
    return _both_centres(listed, columns) if SPANS[0] in columns else listed


def require_known(path: Path, name: str, checksum: str) -> None:
    """ArchiveError where the list `name` has another SHA-256 than it is known to have; ANY compares nothing."""
    if checksum == ANY:
        return
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != checksum.strip().lower():
        raise ArchiveError(
            f"{name} has SHA-256 {found}, and is known with {checksum}; GALTRANS_FIELD_LIST_SHA256={ANY} takes it as "
            "it is"
        )


def _both_centres(listed: Fields, columns: dict[str, np.ndarray]) -> Fields:
    """The fields with the middle of mu and nu as their centre, and once more where RA and DEC disagree with that."""
    mu, nu = (_middle(columns[f"{axis}_START"], columns[f"{axis}_END"]) for axis in ("MU", "NU"))
    ra, dec = position_of(mu, nu, listed.node, listed.incl)
    apart = np.linalg.norm(unit_vectors(ra, dec) - unit_vectors(listed.ra, listed.dec), axis=-1) / PIXEL
    known = np.isfinite(apart)
    first = replace(listed, ra=np.where(known, ra, listed.ra), dec=np.where(known, dec, listed.dec))
    again = np.flatnonzero(known & (apart > APART))
    if len(again):
        log.info("%d fields have two centres; the farthest are %.0f pixels apart", len(again), apart[again].max())
    both = (np.concatenate([getattr(first, each.name), getattr(listed, each.name)[again]]) for each in fields(Fields))
    return Fields(*both)


def _middle(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The middle of angles [deg]; an arc may pass from 360 to 0."""
    return start + ((end - start + 180) % 360 - 180) / 2


def position_of(mu, nu, node, incl) -> tuple[np.ndarray, np.ndarray]:
    """ra, dec [deg] of places along (mu) and across (nu) the great circles of scans, all [deg].

    `node` is the right ascension of the circle's ascending node, `incl` its inclination to the equator.
    """
    along, across, tilt = np.radians(mu - node), np.radians(nu), np.radians(incl)
    x = np.cos(across) * np.cos(along)
    y = np.cos(across) * np.sin(along) * np.cos(tilt) - np.sin(across) * np.sin(tilt)
    z = np.cos(across) * np.sin(along) * np.sin(tilt) + np.sin(across) * np.cos(tilt)
    return (np.degrees(np.arctan2(y, x)) + node) % 360, np.degrees(np.arcsin(np.clip(z, -1, 1)))


class Uses(NamedTuple):
    """Which fields are used for which objects, all (use,), by object, and the first field of each first.

    Attributes:
        row: Index of the object.
        index: Index of the field.
        sure: Whether the middle of the object lies so far inside the field that it must have data there.
    """

    row: np.ndarray
    index: np.ndarray
    sure: np.ndarray


def choose(
    table: Fields,
    ra: np.ndarray,
    dec: np.ndarray,
    own: np.ndarray,
    size: int,
    without: tuple[np.ndarray, np.ndarray] | None = None,
) -> Uses:
    """The fewest fields that hold the north-up cutouts of `size` pixels around ra, dec (object,) [deg].

    The first of an object is the one that its catalogue names, if there is one, else that on which it lies farthest
    from the edge. Others follow only for those parts of the cutout that may lie beyond the edge of the first, so that
    the depth is alike everywhere: what sticks out goes to the same scan, if it has it. Which edge a pixel is from is
    known to `MARGIN`. A field that the pipeline did not go through is taken where no other holds the object.

    Args:
        table: All fields.
        ra: Right ascension.
        dec: Declination.
        own: (object,) index of the field that the catalogue names; -1 where it names none.
        size: Rows, and columns, of a cutout.
        without: Object and `Fields.number` (n,) of pairs that were tried and gave nothing.

    Returns:
        Each use of a field. Objects that are on no field are absent.
    """
    tree = cKDTree(unit_vectors(table.ra, table.dec))
    tried = np.zeros(0, np.int64) if without is None else _pair(*without)
    uses = [np.zeros((0, 3), np.intp)]
    for start in range(0, len(ra), BLOCK):
        part = slice(start, start + BLOCK)
        points = _cutouts(ra[part], dec[part], size)
        for row, index in _choose(table, tree, points, own[part], size, tried, start):
            sure = _depth(table, index, points[row, 4:5])[:, 0] > MARGIN
            uses.append(np.stack([row + start, index, sure], axis=1))
    rows = np.concatenate(uses)
    row, index, sure = rows[np.argsort(rows[:, 0], kind="stable")].T
    return Uses(row, index, sure.astype(bool))


def _pair(row: np.ndarray, number: np.ndarray) -> np.ndarray:
    """One number for an object and a field."""
    return np.asarray(row, np.int64) * 10**11 + number


def _choose(
    table: Fields, tree: cKDTree, points: np.ndarray, own: np.ndarray, size: int, tried: np.ndarray, start: int
) -> Iterator[tuple]:
    """Objects and their fields, round by round: the first of each, the second of those that need one, and so on.

    Pairs of object (counted from `start`) and field that were `tried` are left out.
    """
    radius = np.linalg.norm(SHAPE) / 2 + MARGIN + size
    near = cKDTree(points[:, 4]).sparse_distance_matrix(tree, radius * PIXEL, output_type="ndarray")
    row, index = near["i"].astype(np.intp), near["j"].astype(np.intp)
    number = table.number
    depth = _depth(table, index, points[row, 4:5])[:, 0]
    keep = (depth > -MARGIN - size) & ~np.isin(_pair(row + start, number[index]), tried)
    row, index, depth = row[keep], index[keep], depth[keep]
    named = number[index] == np.where(own[row] < 0, -1, number[own[row]])
    good = table.good[index]
    first = _best(row, index, [depth, good, named], (depth > -MARGIN) | named)
    held = np.full(points.shape[:2], np.inf)  # how deep each point of each cutout lies in its fields
    held[row[first]] = _margins(table, index[first], points[row[first]])
    scan = np.full(len(points), -1)
    scan[row[first]] = table.run[index[first]] * 10 + table.camcol[index[first]]
    yield row[first], index[first]
    used = _pair(row[first], number[index[first]])
    needy = (held < MARGIN).any(axis=1)[row]
    row, index, good = row[needy], index[needy], good[needy]
    margins = _margins(table, index, points[row])
    same = scan[row] == table.run[index] * 10 + table.camcol[index]
    for _ in range(ROUNDS):
        gain = np.maximum(margins - held[row], 0).sum(axis=1)
        free = ~np.isin(_pair(row, number[index]), used)  # a field that is listed twice is used once
        best = _best(row, index, [gain, good, same], (gain > 0) & free)
        if not len(best):
            return
        used = np.append(used, _pair(row[best], number[index[best]]))
        held[row[best]] = np.maximum(held[row[best]], margins[best])
        yield row[best], index[best]


def _cutouts(ra: np.ndarray, dec: np.ndarray, size: int) -> np.ndarray:
    """Vectors (object, 9, 3) to corners, middles of edges and, the fifth, centres of north-up cutouts."""
    centre = unit_vectors(ra, dec)
    north = unit_vectors(ra, dec + 90)
    east = np.cross(north, centre)
    half = (size - 1) / 2 * PIXEL
    steps = [(x, y) for y in (-half, 0, half) for x in (-half, 0, half)]
    return np.stack([centre + x * east + y * north for x, y in steps], axis=1)


def _depth(table: Fields, index: np.ndarray, points: np.ndarray) -> np.ndarray:
    """How far (n, p) [pixel] points, vectors (n, p, 3), lie inside the edges of the fields `index` (n,)."""
    centre, along, across = (axis[:, :, None] for axis in table.axes(index))
    away = (points @ centre)[..., 0] * PIXEL
    offsets = np.stack([(points @ axis)[..., 0] / away for axis in (along, across)])
    return (SHAPE[:, None, None] / 2 - abs(offsets)).min(axis=0)


def _margins(table: Fields, index: np.ndarray, points: np.ndarray) -> np.ndarray:
    """`_depth`, as far as it matters: no less than -MARGIN, where a point is surely off, and no more than MARGIN."""
    return np.clip(_depth(table, index, points), -MARGIN, MARGIN)


def _best(row: np.ndarray, index: np.ndarray, merits: list[np.ndarray], allowed: np.ndarray) -> np.ndarray:
    """Of the pairs that are allowed, the place of each row's best: by the last of the merits, then the one before."""
    place = np.flatnonzero(allowed)
    order = place[np.lexsort([-index[place], *(merit[place] for merit in merits), row[place]])]
    last = np.flatnonzero(np.diff(row[order], append=-1))
    return order[last]


def number_of(run, camcol, field) -> np.ndarray:
    """One number for each field of the scans, whose own is less than 100,000; `Fields.number` has it."""
    return (np.asarray(run, np.int64) * 10 + camcol) * 100_000 + field


def _kind(name: str) -> type:
    return np.int64 if name in (*COLUMNS[:3], STATUS) else np.float64
