"""The list of all fields that SDSS imaged: which of them a cutout lies on, without a look at any frame.

The centre of a field is the middle of its mu and nu, the coordinates along and across the great circle of its scan. The
columns RA and DEC are not always this centre: they differ by as much as 575 pixels. Where they differ, it is not known
beforehand which of them agrees with the frame. Such a field is therefore listed twice, and an object may be searched
for at both places.

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

COLUMNS = ("RUN", "CAMCOL", "FIELD", "RA", "DEC", "NODE", "INCL")  # in the order of `Fields`
SPANS = ("MU_START", "MU_END", "NU_START", "NU_END")
STATUS = "PHOTO_STATUS"
SHAPE = np.array([1489, 2048])  # rows and columns of a frame [pixel]
MARGIN = 25  # [pixel] uncertainty of an edge: the bands of a field lie up to 12 rows apart
PIXEL = np.radians(SDSS.pixel_scale / 3600)
APART = 5  # [pixel] between the two centres of a field; if they are farther apart, both are tried
GOOD = 0  # PHOTO_STATUS of a field that the photometric pipeline processed; 3 means that it took too long
BLOCK = 10_000  # positions searched for at once: in Stripe 82 each lies on a hundred fields
ROUNDS = 4  # further fields that a cutout may need

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fields:
    """Fields of the imaging scans. A field whose two centres disagree is there twice, the second time with RA and DEC.

    Attributes
    ----------
    run : (field,) int
        Number of the scan.
    camcol : (field,) int
        Column of the camera.
    field : (field,) int
        Number along the scan.
    ra, dec : (field,) float
        Centre [deg].
    node : (field,) float
        Right ascension of the ascending node of the great circle of the scan [deg].
    incl : (field,) float
        Inclination of the great circle [deg].
    status : (field,) int, optional
        PHOTO_STATUS; fields with another value than GOOD are used only for objects that lie on no other field.
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
        """Whether the photometric pipeline processed each field (field,) bool."""
        return np.ones(len(self.run), bool) if self.status is None else np.asarray(self.status) == GOOD

    @property
    def number(self) -> np.ndarray:
        """One number for each field of the sky (field,), the same for both entries of a field that is listed twice."""
        return number_of(self.run, self.camcol, self.field)

    def find(self, run: np.ndarray, camcol: np.ndarray, field: np.ndarray) -> np.ndarray:
        """Return the index (n,) of the fields with these numbers; -1 if there is none."""
        listed, asked = self.number, number_of(run, camcol, field)
        order = np.argsort(listed, kind="stable")
        at = order[np.minimum(np.searchsorted(listed, asked, sorter=order), len(order) - 1)]
        return np.where(listed[at] == asked, at, -1)

    def axes(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return unit vectors (n, 3) to the centres of some fields, and from there along the scan and across it."""
        centre = unit_vectors(self.ra[index], self.dec[index])
        pole = unit_vectors(self.node[index] - 90, 90 - self.incl[index])
        along = np.cross(pole, centre)
        along /= np.linalg.norm(along, axis=-1, keepdims=True)
        return centre, along, np.cross(centre, along)


def read_fields(path: Path, name: str) -> Fields:
    """Read the fields of rerun 301 from a list.

    Parameters
    ----------
    path : Path
        The file.
    name : str
        Its name, for messages.

    Returns
    -------
    Fields

    Raises
    ------
    ArchiveError
        If the file is damaged or not such a list.
    """
    require_complete(path, name)
    try:
        with fits.open(path, memmap=True) as hdus:
            table = hdus[1].data
            wanted = np.flatnonzero(np.char.strip(table["RERUN"].astype(str)) == str(RERUN))
            has = {column.upper() for column in table.names}
            names = [*COLUMNS, *(each for each in SPANS if has >= set(SPANS)), *([STATUS] if STATUS in has else [])]
            columns = {each: np.asarray(table[each])[wanted].astype(_kind(each)) for each in names}
    except UNREADABLE as error:
        raise ArchiveError(f"{name} is not a list of SDSS fields: {first_line(error)}; fetch it again") from error
    if len(wanted) == 0:
        raise ArchiveError(f"{name} lists no field of rerun {RERUN}; fetch it again")
    once = np.sort(np.unique(number_of(*(columns[each] for each in COLUMNS[:3])), return_index=True)[1])
    columns = {each: values[once] for each, values in columns.items()}
    if not (np.isfinite(columns["RA"]).all() and np.isfinite(columns["DEC"]).all()):
        raise ArchiveError(f"{name} has fields without a position; fetch it again")
    listed = Fields(*(columns[each] for each in COLUMNS), columns.get(STATUS, np.full(len(once), GOOD)))
    return _both_centres(listed, columns) if SPANS[0] in columns else listed


def require_known(path: Path, name: str, checksum: str) -> None:
    """Raise ArchiveError if the SHA-256 of the list `name` is not the known one; ANY checks nothing."""
    if checksum == ANY:
        return
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != checksum.strip().lower():
        raise ArchiveError(
            f"{name} has SHA-256 {found} instead of {checksum}; GALTRANS_FIELD_LIST_SHA256={ANY} accepts it as it is"
        )


def _both_centres(listed: Fields, columns: dict[str, np.ndarray]) -> Fields:
    """Return the fields centred on the middle of mu and nu, and again on RA and DEC if these are elsewhere."""
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
    """Return the middle of angles [deg]; an arc may pass from 360 to 0."""
    return start + ((end - start + 180) % 360 - 180) / 2


def position_of(mu, nu, node, incl) -> tuple[np.ndarray, np.ndarray]:
    """Return ra, dec [deg] of places along (mu) and across (nu) the great circles of scans, all [deg].

    `node` is the right ascension of the ascending node of the circle, `incl` its inclination to the equator.
    """
    along, across, tilt = np.radians(mu - node), np.radians(nu), np.radians(incl)
    x = np.cos(across) * np.cos(along)
    y = np.cos(across) * np.sin(along) * np.cos(tilt) - np.sin(across) * np.sin(tilt)
    z = np.cos(across) * np.sin(along) * np.sin(tilt) + np.sin(across) * np.cos(tilt)
    return (np.degrees(np.arctan2(y, x)) + node) % 360, np.degrees(np.arcsin(np.clip(z, -1, 1)))


class Uses(NamedTuple):
    """Which fields are used for which objects, ordered by object; the best field of each object is the first.

    Attributes
    ----------
    row : (use,) int
        Index of the object.
    index : (use,) int
        Index of the field.
    sure : (use,) bool
        Whether the centre of the object lies so far inside the field that it must have data there.
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
    """Return the fewest fields that hold the north-up cutouts around some positions.

    The first field of an object is the one that its catalogue names, if there is one, else the field on which it lies
    farthest from the edge. Others follow only for those parts of the cutout that may lie beyond the edge of the first,
    so that the depth is the same everywhere; fields of the same scan are preferred for them. The place of an edge is
    known to `MARGIN`. A field that the pipeline did not process is used only if no other field holds the object.

    Parameters
    ----------
    table : Fields
        All fields.
    ra, dec : (object,) float
        Positions [deg].
    own : (object,) int
        Index of the field that the catalogue names; -1 if it names none.
    size : int
        Number of rows, and of columns, of a cutout.
    without : ((n,), (n,)) int, optional
        Object and `Fields.number` of pairs that were tried and gave nothing.

    Returns
    -------
    Uses
        Objects that lie on no field are absent.
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
    """Return one number for an object and a field."""
    return np.asarray(row, np.int64) * 10**11 + number


def _choose(
    table: Fields, tree: cKDTree, points: np.ndarray, own: np.ndarray, size: int, tried: np.ndarray, start: int
) -> Iterator[tuple]:
    """Yield objects and their fields in rounds: the first field of each, then the second of those that need one.

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
    held = np.full(points.shape[:2], np.inf)  # how far inside its fields each point of each cutout lies
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
    """Return vectors (object, 9, 3) to corners, middles of edges and, as the fifth, centres of north-up cutouts."""
    centre = unit_vectors(ra, dec)
    north = unit_vectors(ra, dec + 90)
    east = np.cross(north, centre)
    half = (size - 1) / 2 * PIXEL
    steps = [(x, y) for y in (-half, 0, half) for x in (-half, 0, half)]
    return np.stack([centre + x * east + y * north for x, y in steps], axis=1)


def _depth(table: Fields, index: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return how far (n, p) [pixel] points, vectors (n, p, 3), lie inside the edges of the fields `index` (n,)."""
    centre, along, across = (axis[:, :, None] for axis in table.axes(index))
    away = (points @ centre)[..., 0] * PIXEL
    offsets = np.stack([(points @ axis)[..., 0] / away for axis in (along, across)])
    return (SHAPE[:, None, None] / 2 - abs(offsets)).min(axis=0)


def _margins(table: Fields, index: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return `_depth` as far as it matters: at least -MARGIN, where a point is surely outside, and at most MARGIN."""
    return np.clip(_depth(table, index, points), -MARGIN, MARGIN)


def _best(row: np.ndarray, index: np.ndarray, merits: list[np.ndarray], allowed: np.ndarray) -> np.ndarray:
    """Return the place of each row's best pair that is allowed: by the last of the merits, then the one before."""
    place = np.flatnonzero(allowed)
    order = place[np.lexsort([-index[place], *(merit[place] for merit in merits), row[place]])]
    last = np.flatnonzero(np.diff(row[order], append=-1))
    return order[last]


def number_of(run, camcol, field) -> np.ndarray:
    """Return one number for each field of the scans; a field's own number is below 100,000."""
    return (np.asarray(run, np.int64) * 10 + camcol) * 100_000 + field


def _kind(name: str) -> type:
    return np.int64 if name in (*COLUMNS[:3], STATUS) else np.float64
