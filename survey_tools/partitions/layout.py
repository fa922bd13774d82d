"""The folder of a partitioned store: which HEALPix pixels it has, and the files beside its stores.

The folder is a HATS catalogue: LSDB opens the catalogue of the objects there. Beside the Parquet file of each pixel
lies the store of its images.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from astropy import units as u
from astropy_healpix.core import healpix_to_lonlat, lonlat_to_healpix

from survey_tools.files import SUMS, checksum, whole_file
from survey_tools.sphere import unit_vectors
from survey_tools.store.manifest import DONE, FAILED, OUTSIDE
from survey_tools.store.partitioned import DESCRIPTION, SCHEMA, SCHEMA_VERSION, folder_of
from survey_tools.store.zarr_store import Store, open_store
from survey_tools.version import VERSION

CURVE_ORDER = 29  # order of the pixels along whose curve objects are sorted
FINEST = 10  # order of the smallest partitions, 3.4 arcmin wide
ROWS = 2**17  # rows of a partition at most, by default
CURVE = "_healpix_29"  # column of a HATS catalogue: the pixel of order 29 of an object
INPUT_ROW = "input_row"  # column: the row of the catalogue that the object came from
HATS_FILES = ("hats.properties", "properties", "partition_info.csv", "dataset/_common_metadata")


@dataclass(frozen=True)
class Pixel:
    """A HEALPix pixel (nested)."""

    order: int
    pixel: int

    @property
    def name(self) -> str:
        """Where its files are, relative to the folder of a partitioned store, without their suffix."""
        return folder_of(self.order, self.pixel)

    @property
    def span(self) -> tuple[int, int]:
        """Its first place along the curve, and the first place after it."""
        places = 4 ** (CURVE_ORDER - self.order)
        return self.pixel * places, (self.pixel + 1) * places

    def cap(self) -> tuple[np.ndarray, float]:
        """Return its centre (3,) on the unit sphere, and an angle within which all of it lies [radian]."""
        side = 2**self.order
        centre = unit_vectors(*(angle.to_value(u.deg) for angle in healpix_to_lonlat(self.pixel, side, order="nested")))
        at = np.array([0.0, 0.0, 1.0, 1.0]), np.array([0.0, 1.0, 0.0, 1.0])
        corners = healpix_to_lonlat(np.full(4, self.pixel), side, *at, order="nested")
        points = unit_vectors(*(angle.to_value(u.deg) for angle in corners))
        angle = float(np.arccos(np.clip(points @ centre, -1, 1)).max())
        return centre, 1.1 * angle  # edges are curved, but corners are the farthest points


def places_of(ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    """Return the places of positions [deg] along the curve (object,): their pixels of order 29."""
    if not len(ra):
        return np.zeros(0, np.int64)
    found = lonlat_to_healpix(np.asarray(ra) * u.deg, np.asarray(dec) * u.deg, 2**CURVE_ORDER, order="nested")
    return np.asarray(found, np.int64)


def count_places(places: np.ndarray, counts: np.ndarray | None = None) -> np.ndarray:
    """Return how many places there are in each pixel of order `FINEST`, added to `counts` (pixel,) if these are
    given.
    """
    if counts is None:
        counts = np.zeros(12 * 4**FINEST, np.int32)
    where, number = np.unique(places >> 2 * (CURVE_ORDER - FINEST), return_counts=True)
    counts[where] += number.astype(np.int32)
    return counts


def choose_pixels(counts: np.ndarray, most: int) -> list[tuple[Pixel, int]]:
    """Choose partitions by counts: a pixel is split in four while it has more than `most` objects.

    Parameters
    ----------
    counts : ndarray
        Objects in each pixel of order `FINEST` (pixel,).
    most : int
        Objects of a partition. A pixel of order `FINEST` is not split further.

    Returns
    -------
    list of (Pixel, int)
        Pixels that have objects, with their numbers, in the order of the curve.
    """
    levels = [counts.astype(np.int64)]
    for _ in range(FINEST):
        levels.append(levels[-1].reshape(-1, 4).sum(axis=1))
    levels.reverse()  # by order
    found, candidates = [], np.flatnonzero(levels[0])
    for order in range(FINEST + 1):
        number = levels[order][candidates]
        fits = (number <= most) | (order == FINEST)
        found += [(Pixel(order, int(p)), int(n)) for p, n in zip(candidates[fits], number[fits], strict=True)]
        if order < FINEST:
            children = (4 * candidates[~fits][:, None] + np.arange(4)).ravel()
            candidates = children[levels[order + 1][children] > 0]
    return sorted(found, key=lambda each: each[0].span)


def number_of(pixels: list[Pixel], places: np.ndarray) -> np.ndarray:
    """Return which of some pixels, in the order of the curve, each place lies in (object,)."""
    return np.searchsorted([pixel.span[0] for pixel in pixels], places, side="right") - 1


def touching(pixels: list[Pixel], others: list[Pixel], reach: float) -> list[np.ndarray]:
    """Return, for each pixel, which of `others` may have a point within `reach` [radian] of it."""
    centres, radii = _caps(pixels)
    there, wide = _caps(others)
    found = []
    for centre, radius in zip(centres, radii, strict=True):
        angle = 2 * np.arcsin(np.clip(np.linalg.norm(there - centre, axis=1) / 2, 0, 1))
        found.append(np.flatnonzero(angle <= radius + wide + reach))
    return found


def _caps(pixels: list[Pixel]) -> tuple[np.ndarray, np.ndarray]:
    """Return centres (pixel, 3) and radii (pixel,) [radian] of the caps of some pixels."""
    caps = [pixel.cap() for pixel in pixels]
    return np.array([centre for centre, _ in caps]).reshape(-1, 3), np.array([radius for _, radius in caps])


def describe_part(store: Store, pixel: Pixel) -> dict:
    """Return what the description of a partitioned store says of one finished partition.

    Parameters
    ----------
    store : Store
        Its store.
    pixel : Pixel
        Its pixel.

    Returns
    -------
    dict
        Order, pixel, rows, rows of a chunk, the checksum of its objects, and how many of them are done, outside, failed
        and usable.
    """
    status = store.statuses()
    return {
        "order": pixel.order,
        "pixel": pixel.pixel,
        "rows": len(store),
        "chunk": store.block_rows,
        "objects": store.attributes["rows"],
        **{word: int((status == word).sum()) for word in (DONE, OUTSIDE, FAILED)},
        "usable": int(store.usable.sum()),
    }


def write_root(folder: Path, entries: list[dict], settings: Mapping) -> None:
    """Write the files of a folder whose stores are all finished: what HATS wants, the description, and checksums.

    Parameters
    ----------
    folder : Path
        The folder.
    entries : list of dict
        What `describe_part` said of each partition, in the order of the curve.
    settings : mapping
        What the whole is made from.
    """
    pixels = [Pixel(each["order"], each["pixel"]) for each in entries]
    first = open_store(folder / f"{pixels[0].name}.zarr")
    described = {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "galtrans_version": VERSION,
        "survey": first.survey,
        "bands": list(first.bands),
        "size": first.size,
        "pixel_scale": first.pixel_scale,
        "synthetic": first.synthetic,
        "planes": list(first.planes),
        "settings": dict(settings),
    }
    _write_hats(folder, pixels, [each["rows"] for each in entries], first)
    head, lines = json.dumps(described), ",\n".join(json.dumps(each) for each in entries)
    with whole_file(folder / DESCRIPTION) as temporary:
        temporary.write_text(f'{head[:-1]}, "partitions": [\n{lines}\n]}}\n')
    write_root_sums(folder, pixels)


def write_root_sums(folder: Path, pixels: Iterable[Pixel]) -> None:
    """Write the checksums of the files of the folder itself, and of the lists of checksums of its stores."""
    names = [DESCRIPTION, *HATS_FILES]
    for pixel in pixels:
        names += [f"{pixel.name}.parquet", f"{pixel.name}.zarr/{SUMS}"]
    with whole_file(folder / SUMS) as temporary:
        temporary.write_text("".join(f"{checksum(folder / name)}  {name}\n" for name in sorted(names)))


def _write_hats(folder: Path, pixels: list[Pixel], counts: list[int], store: Store) -> None:
    """Write what makes the folder a HATS catalogue."""
    lines = ["Norder,Npix,num_rows"]
    lines += [f"{pixel.order},{pixel.pixel},{count}" for pixel, count in zip(pixels, counts, strict=True)]
    with whole_file(folder / "partition_info.csv") as temporary:
        temporary.write_text("\n".join(lines) + "\n")
    facts = {
        "obs_collection": store.survey["name"],
        "dataproduct_type": "object",
        "hats_nrows": sum(counts),
        "hats_col_ra": "ra",
        "hats_col_dec": "dec",
        "hats_col_healpix": CURVE,
        "hats_col_healpix_order": CURVE_ORDER,
        "hats_max_rows": max(counts),
        "hats_order": max(pixel.order for pixel in pixels),
        "hats_npix_suffix": ".parquet",
        "hats_builder": f"galtrans {VERSION}",
        "hats_version": "v1.0",
    }
    text = "#HATS catalog\n" + "".join(f"{name}={value}\n" for name, value in facts.items())
    for name in ("hats.properties", "properties"):
        with whole_file(folder / name) as temporary:
            temporary.write_text(text)
    schema = pq.read_schema(folder / f"{pixels[0].name}.parquet")
    with whole_file(folder / "dataset" / "_common_metadata") as temporary:
        pq.write_metadata(schema, temporary)


def write_catalogue(path: Path, columns: Mapping[str, np.ndarray]) -> None:
    """Write the catalogue of one partition as Parquet.

    Parameters
    ----------
    path : Path
        The file.
    columns : mapping
        Values (object,) by name.
    """
    table = pa.table({name: pa.array(np.asarray(values)) for name, values in columns.items()})
    with whole_file(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", store_schema=False)
