"""Cross-match catalogues that do not fit into memory: HATS folders, which LSDB reads partition by partition.

A partition holds the objects in one HEALPix pixel of the sky. The pairs of its objects follow from itself and from its
surroundings: the nearest neighbour of an object lies within the radius, and the nearest neighbour of that one within
two radii. So memory holds a few partitions, and the pairs are those of all objects at once.
"""

import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from astropy import units as u
from astropy.coordinates import SkyCoord

from survey_tools.errors import CatalogueError, GaltransError, first_line
from survey_tools.files import whole_file
from survey_tools.matching.positions import match
from survey_tools.progress import Progress
from survey_tools.version import VERSION

MARKS = ("collection.properties", "hats.properties", "properties")  # files that HATS puts into its folders
CURVE_ORDER = 29  # order of the HEALPix pixels, 0.4 mas wide, along whose curve objects are sorted
AHEAD = 4  # partitions per thread that are in work or wait to be taken


@dataclass(frozen=True)
class Catalogues:
    """Two HATS catalogues.

    Attributes
    ----------
    x, y : Path
        Their folders.
    x_id, y_id : str
        Columns that identify their objects.
    workers : int
        Number of threads that read and match.
    """

    x: Path
    y: Path
    x_id: str = "object_id"
    y_id: str = "object_id"
    workers: int = 1


@dataclass(frozen=True)
class _Hats:
    """An open catalogue: names of its columns, and readers of a partition, or of the margin around one, by pixel.

    `margin_width` is the width of the margins [arcsec], 0 if there are none.
    """

    path: Path
    identifier: pa.Field
    ra: str
    dec: str
    partitions: dict[Any, Any]
    margins: dict[Any, Any]
    margin_width: float


def is_hats(path) -> bool:
    """Return whether a folder is a HATS catalogue, or a collection of a catalogue and its margins.

    Parameters
    ----------
    path : str or Path
        The folder.

    Returns
    -------
    bool
        Whether it has one of the files `MARKS`.
    """
    return any((Path(path) / mark).is_file() for mark in MARKS)


def write_matches(catalogues: Catalogues, radius: float, out) -> int:
    """Write the pairs of two HATS catalogues as Parquet; see `each_match`.

    Parameters
    ----------
    catalogues : Catalogues
        The catalogues.
    radius : float
        Largest separation [arcsec].
    out : str or Path
        The file to write.

    Returns
    -------
    int
        Number of pairs.
    """
    fields = {"radius_arcsec": str(radius), "x": str(catalogues.x), "y": str(catalogues.y), "galtrans_version": VERSION}
    count, writer = 0, None

    def write(pairs: pa.Table) -> None:
        nonlocal count, writer
        writer = writer or pq.ParquetWriter(temporary, pairs.schema.with_metadata(fields), compression="zstd")
        writer.write_table(pairs.replace_schema_metadata(fields))
        count += len(pairs)

    with whole_file(out) as temporary:
        try:
            each_match(catalogues, radius, write)
        finally:
            if writer:
                writer.close()
    return count


def each_match(catalogues: Catalogues, radius: float, take: Callable[[pa.Table], None]) -> None:
    """Find the one-to-one pairs of two HATS catalogues, partition by partition of x.

    The pairs are those of `match` of all objects. Of neighbours at equal distance the one that comes first along the
    HEALPix curve is the nearest; of those at one place, the one with the lowest identifier. Margins of the catalogues
    are used if they are as wide as the radius (y's) or twice as wide (x's); otherwise the partitions around are read.

    Parameters
    ----------
    catalogues : Catalogues
        The catalogues.
    radius : float
        Largest separation [arcsec].
    take : callable
        Takes tables with x_object_id, x_ra, x_dec, y_object_id, y_ra, y_dec [deg, ICRS] and separation [arcsec], in the
        order of the curve. It is called at least once, maybe with an empty table.

    Raises
    ------
    GaltransError
        LSDB is not installed.
    CatalogueError
        A folder is not a HATS catalogue, or has no such column of identifiers; or its partitions are smaller than the
        radius.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # LSDB uses functions that pandas will remove
        dask = _installed(catalogues.x)
        x, y = _open(catalogues.x, catalogues.x_id), _open(catalogues.y, catalogues.y_id)
        take(_table(x, y, _rows(x, []), _rows(y, []), np.zeros(0)))
        task = partial(_pairs_of_partition, x, y, radius)
        pixels, step = list(x.partitions), AHEAD * catalogues.workers
        with (
            dask.config.set(scheduler="synchronous"),
            ThreadPoolExecutor(catalogues.workers) as pool,
            Progress(len(pixels), "crossmatch", "partition") as progress,
        ):
            for start in range(0, len(pixels), step):
                for pairs in pool.map(task, pixels[start : start + step]):
                    if pairs is not None:
                        take(pairs)
                    progress.update()


def _installed(path: Path) -> Any:
    """Return Dask if LSDB can be imported; otherwise raise GaltransError."""
    try:
        import dask
        import lsdb  # noqa: F401
    except ImportError as error:
        raise GaltransError(f"{path} is a HATS catalogue, which LSDB reads: pip install 'galtrans[lsdb]'") from error
    return dask


def _open(path: Path, identifier: str) -> _Hats:
    """Open a HATS catalogue for its identifiers and positions."""
    import lsdb

    try:
        structure = lsdb.open_catalog(path).hc_structure
        info, schema = structure.catalog_info, structure.original_schema or structure.schema
        if identifier not in schema.names:
            names = ", ".join(name for name in schema.names if not name.startswith("_"))
            raise CatalogueError(f"{path} has no column {identifier}; name the one that identifies objects: {names}")
        catalogue = lsdb.open_catalog(path, columns=list(dict.fromkeys([identifier, info.ra_column, info.dec_column])))
    except (OSError, ValueError, TypeError, KeyError, NotImplementedError) as error:
        raise CatalogueError(f"{path} cannot be read as a HATS catalogue: {first_line(error)}") from error
    margin = catalogue.margin
    return _Hats(
        path=path,
        identifier=schema.field(identifier),
        ra=info.ra_column,
        dec=info.dec_column,
        partitions=_by_pixel(catalogue),
        margins={} if margin is None else _by_pixel(margin),
        margin_width=0.0 if margin is None else margin.hc_structure.catalog_info.margin_threshold,
    )


def _by_pixel(catalogue: Any) -> dict[Any, Any]:
    """Return the reader of each partition, by pixel, along the curve."""
    parts = zip(catalogue.get_ordered_healpix_pixels(), catalogue.to_delayed(), strict=True)
    return dict(sorted(parts, key=lambda part: _ends(part[0].order, part[0].pixel)))


def _pairs_of_partition(x: _Hats, y: _Hats, radius: float, pixel: Any) -> pa.Table | None:
    """Return the pairs whose object of x lies in `pixel`; None if there is none."""
    y_rows = _around(y, pixel, radius)
    if len(y_rows) == 0:
        return None
    x_rows = _around(x, pixel, 2 * radius)
    places = (SkyCoord(rows["ra"], rows["dec"], unit=u.deg) for rows in (x_rows, y_rows))
    x_row, y_row, separation = match(*places, radius, workers=1)
    own = _within(x_rows["place"].to_numpy()[x_row], np.array([_ends(pixel.order, pixel.pixel)]))
    return _table(x, y, x_rows.iloc[x_row[own]], y_rows.iloc[y_row[own]], separation[own])


def _table(x: _Hats, y: _Hats, x_rows: Any, y_rows: Any, separation: np.ndarray) -> pa.Table:
    """Return the table of pairs, from rows (pair,) of x and y and their separations [arcsec]."""
    columns = {}
    for name, catalogue, rows in (("x", x, x_rows), ("y", y, y_rows)):
        columns[f"{name}_object_id"] = pa.array(rows["object_id"].to_numpy(), catalogue.identifier.type)
        columns |= {f"{name}_{axis}": pa.array(rows[axis].to_numpy()) for axis in ("ra", "dec")}
    return pa.table(columns | {"separation": pa.array(separation)})


def _around(catalogue: _Hats, pixel: Any, reach: float) -> Any:
    """Return the objects in a pixel and around it, up to `reach` [arcsec] and some farther; see `_rows`."""
    from hats.pixel_math.healpix_shim import margin2order
    from hats.pixel_math.pixel_margins import get_margin

    if pixel in catalogue.partitions and catalogue.margin_width >= reach:
        parts = [catalogue.partitions[pixel], catalogue.margins.get(pixel)]
        return _rows(catalogue, [part for part in parts if part is not None])
    order = int(margin2order(np.array([2 * reach / 60]))[0])  # of pixels that are twice as wide, to be safe
    if order < pixel.order:
        raise CatalogueError(
            f"{catalogue.path}: a radius of {reach:g} arcsec reaches beyond the partitions around one of order "
            f"{pixel.order}; choose a smaller one, or catalogues in fewer partitions"
        )
    around = get_margin(pixel.order, pixel.pixel, order - pixel.order)
    cells = np.array([_ends(pixel.order, pixel.pixel), *(_ends(order, cell) for cell in around)])
    partitions = list(catalogue.partitions)
    starts, stops = np.array([_ends(there.order, there.pixel) for there in partitions]).T
    met = {
        number
        for start, stop in cells
        for number in range(np.searchsorted(stops, start, "right"), np.searchsorted(starts, stop, "left"))
    }
    return _rows(catalogue, [catalogue.partitions[partitions[number]] for number in sorted(met)], cells)


def _rows(catalogue: _Hats, parts: list, cells: np.ndarray | None = None) -> Any:
    """Return objects of some partitions, in the order of the curve; only those in `cells` (cell, 2) if these are given.

    The result is a DataFrame with object_id, ra, dec [deg] and place along the curve. Objects without a position are
    left out.
    """
    import pandas as pd
    from hats.pixel_math.spatial_index import compute_spatial_index

    none = {"object_id": np.zeros(0, object), "ra": np.zeros(0), "dec": np.zeros(0), "place": np.zeros(0, int)}
    frames = [pd.DataFrame(none)]
    for part in parts:
        rows = part.compute()
        ra, dec = (rows[name].to_numpy(dtype=float, na_value=np.nan) for name in (catalogue.ra, catalogue.dec))
        known = np.isfinite(ra) & np.isfinite(dec)
        frame = pd.DataFrame({"object_id": rows[catalogue.identifier.name].to_numpy()[known], "ra": ra[known]})
        frame = frame.assign(dec=dec[known], place=compute_spatial_index(ra[known], dec[known]))
        frames.append(frame if cells is None else frame[_within(frame["place"].to_numpy(), cells)])
    rows = pd.concat([frame for frame in frames if len(frame)] or frames[:1], ignore_index=True)
    return rows.sort_values(["place", "object_id"], kind="stable", ignore_index=True)


def _ends(order: int, pixel: int) -> tuple[int, int]:
    """Return the first place of a HEALPix pixel along the curve, and the first place after it."""
    places = 4 ** (CURVE_ORDER - order)
    return pixel * places, (pixel + 1) * places


def _within(place: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Return which places along the curve lie in one of `cells` (cell, 2), which do not overlap."""
    start, stop = cells[np.argsort(cells[:, 0])].T
    last = np.searchsorted(start, place, "right") - 1
    return (last >= 0) & (place < stop[last])
