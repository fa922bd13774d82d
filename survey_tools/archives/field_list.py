"""The list of all fields that SDSS imaged: which of them a cutout lies on, told without looking at any frame.

Data model: https://data.sdss3.org/datamodel/files/PHOTO_RESOLVE/window_flist.html
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from astropy.io import fits
from scipy.spatial import cKDTree

from survey_tools.archives.frames import RERUN
from survey_tools.archives.plan import unit_vectors
from survey_tools.errors import ArchiveError, first_line
from survey_tools.fits_reading import UNREADABLE, require_complete
from survey_tools.surveys import SDSS

SHAPE = np.array([1489, 2048])  # rows and columns of a frame [pixel]
MARGIN = 25  # [pixel] by which an edge may lie elsewhere: the bands of a field are up to 12 rows apart
PIXEL = np.radians(SDSS.pixel_scale / 3600)
BLOCK = 10_000  # positions looked up at once: in Stripe 82 each is on a hundred fields
ROUNDS = 4  # fields that a cutout may need besides its first


@dataclass(frozen=True)
class Fields:
    """Fields of the imaging scans, all (field,).

    Attributes:
        run: Number of the scan.
        camcol: Column of the camera.
        field: Number along the scan.
        ra: Of its centre [deg].
        dec: Likewise.
        node: Right ascension [deg] of the ascending node of the great circle along which was scanned.
        incl: Its inclination [deg].
    """

    run: np.ndarray
    camcol: np.ndarray
    field: np.ndarray
    ra: np.ndarray
    dec: np.ndarray
    node: np.ndarray
    incl: np.ndarray

    def find(self, run: np.ndarray, camcol: np.ndarray, field: np.ndarray) -> np.ndarray:
        """Index (n,) of the fields with these numbers; -1 where there is none."""
        listed, asked = _number(self.run, self.camcol, self.field), _number(run, camcol, field)
        order = np.argsort(listed)
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
            columns = [np.asarray(table[each.name])[wanted].astype(_kind(each.name)) for each in fields(Fields)]
    except UNREADABLE as error:
        raise ArchiveError(f"{name} is no list of SDSS fields: {first_line(error)}; fetch it anew") from error
    if len(wanted) == 0:
        raise ArchiveError(f"{name} lists no field of rerun {RERUN}; fetch it anew")
    once = np.sort(np.unique(_number(*columns[:3]), return_index=True)[1])
    listed = Fields(*(column[once] for column in columns))
    if not (np.isfinite(listed.ra).all() and np.isfinite(listed.dec).all()):
        raise ArchiveError(f"{name} has fields without a position; fetch it anew")
    return Fields(*(column[once] for column in columns))


def choose(table: Fields, ra: np.ndarray, dec: np.ndarray, own: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The fewest fields that hold the north-up cutouts of `size` pixels around ra, dec (object,) [deg].

    The first of an object is the one that its catalogue names, if there is one, else that on which it lies farthest
    from the edge. Others follow only for those parts of the cutout that may lie beyond the edge of the first, so that
    the depth is alike everywhere: what sticks out goes to the same scan, if it has it. Which edge a pixel is from is
    known to `MARGIN`.

    Args:
        table: All fields.
        ra: Right ascension.
        dec: Declination.
        own: (object,) index of the field that the catalogue names; -1 where it names none.
        size: Rows, and columns, of a cutout.

    Returns:
        Index of the object and of the field for each use of a field, by object, and the first field first. Objects
        that are on no field are absent.
    """
    tree = cKDTree(unit_vectors(table.ra, table.dec))
    uses = [np.zeros((0, 2), np.intp)]
    for start in range(0, len(ra), BLOCK):
        part = slice(start, start + BLOCK)
        for row, index in _choose(table, tree, _cutouts(ra[part], dec[part], size), own[part], size):
            uses.append(np.stack([row + start, index], axis=1))
    pairs = np.concatenate(uses)
    row, index = pairs[np.argsort(pairs[:, 0], kind="stable")].T
    return row, index


def _choose(table: Fields, tree: cKDTree, points: np.ndarray, own: np.ndarray, size: int) -> Iterator[tuple]:
    """Objects and their fields, round by round: the first of each, the second of those that need one, and so on."""
    radius = np.linalg.norm(SHAPE) / 2 + MARGIN + size
    near = cKDTree(points[:, 4]).sparse_distance_matrix(tree, radius * PIXEL, output_type="ndarray")
    row, index = near["i"].astype(np.intp), near["j"].astype(np.intp)
    depth = _depth(table, index, points[row, 4:5])[:, 0]
    keep = depth > -MARGIN - size
    row, index, depth = row[keep], index[keep], depth[keep]
    named = index == own[row]
    first = _best(row, index, [depth, named], (depth > -MARGIN) | named)
    held = np.full(points.shape[:2], np.inf)  # how deep each point of each cutout lies in its fields
    held[row[first]] = _margins(table, index[first], points[row[first]])
    scan = np.full(len(points), -1)
    scan[row[first]] = table.run[index[first]] * 10 + table.camcol[index[first]]
    yield row[first], index[first]
    needy = (held < MARGIN).any(axis=1)[row]
    row, index = row[needy], index[needy]
    margins = _margins(table, index, points[row])
    same = scan[row] == table.run[index] * 10 + table.camcol[index]
    for _ in range(ROUNDS):
        gain = np.maximum(margins - held[row], 0).sum(axis=1)
        best = _best(row, index, [gain, same], gain > 0)
        if not len(best):
            return
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


def _number(run, camcol, field) -> np.ndarray:
    """One number for each field of the scans, whose own is less than 100,000."""
    return (np.asarray(run, np.int64) * 10 + camcol) * 100_000 + field


def _kind(name: str) -> type:
    return np.int64 if name in ("run", "camcol", "field") else np.float64
