"""Objects of a store as WebDataset: tar files of samples, each with its pixels as .npy and its columns as JSON.

The files depend on the store and the selection alone, so that the same export has the same bytes at any time.
"""

import json
import re
import tarfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from survey_tools.errors import StoreError
from survey_tools.files import whole_file
from survey_tools.progress import Progress
from survey_tools.sharing.selection import Objects, StoreSelection

ID_LENGTH = 60  # characters of an object_id that go into a key, so that names fit into the header of a tar file
BLOCK = tarfile.BLOCKSIZE  # bytes: a tar file gives whole blocks to each header and to each content
WCS_TERMS = {  # FITS keyword: column of the store, and which of its numbers
    "CRVAL1": ("crval", 0),
    "CRVAL2": ("crval", 1),
    "CRPIX1": ("crpix", 0),
    "CRPIX2": ("crpix", 1),
    "CD1_1": ("cd", (0, 0)),
    "CD1_2": ("cd", (0, 1)),
    "CD2_1": ("cd", (1, 0)),
    "CD2_2": ("cd", (1, 1)),
}
IN_WCS = ("crval", "crpix", "cd")
TABLE = "objects.parquet"  # beside the shards: which object is where
IN_TABLE = ("psf_fwhm", "sky_sigma", "gain", "zero_point", "coverage", "saturated", "consistency")  # a number a band
Sample = tuple[str, dict[str, bytes]]


def key_of(row: int, object_id: str) -> str:
    """Return the key of a sample: its row, which makes it unique, and its identifier without dots and slashes."""
    plain = re.sub(r"[^A-Za-z0-9+-]+", "_", object_id)[:ID_LENGTH].strip("_")
    return f"{row:09d}_{plain or 'object'}"


def shard_name(name: str, number: int) -> str:
    """Return the name of a shard, counted from 0."""
    return f"{name}-{number:06d}.tar"


def write_webdataset(selection: StoreSelection, folder: Path, name: str, limit: int) -> tuple[list[Path], list[Path]]:
    """Write the objects as tar files, and a table that says which object is where.

    Shards that exist are kept, because each is whole; the next one begins behind their last sample.

    Parameters
    ----------
    selection : StoreSelection
        The objects.
    folder : Path
        Where the files are written.
    name : str
        First part of the names of the shards.
    limit : int
        Bytes of a shard at most, unless one sample alone has more.

    Returns
    -------
    list of Path, list of Path
        All shards, and those that existed.

    Raises
    ------
    StoreError
        A shard that exists has other samples than these.
    """
    counts = {}
    while (path := folder / shard_name(name, len(counts))).exists():
        counts[path] = _count_samples(path, selection.rows[sum(counts.values()) :])
    kept, place = list(counts), sum(counts.values())
    with Progress(len(selection.rows), "export", "object", done=place) as progress:
        samples = _samples(selection, selection.rows[place:])
        sample = next(samples, None)
        while sample is not None:
            path, used, count = folder / shard_name(name, len(counts)), 0, 0
            with whole_file(path) as temporary, tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar:
                while sample is not None and (used == 0 or used + _size(sample) <= limit):
                    used, count = used + _size(sample), count + 1
                    _add(tar, sample)
                    progress.update()
                    sample = next(samples, None)
            counts[path] = count
    _write_table(selection, {path.name: count for path, count in counts.items()}, folder / TABLE)
    return list(counts), kept


def _write_table(selection: StoreSelection, counts: dict[str, int], path: Path) -> None:
    """Write which object is in which shard, with its columns; `counts` has the samples of each shard, in order."""
    names, ends = list(counts), np.cumsum(list(counts.values()))
    per_band = [name for name in IN_TABLE if name in selection.store.columns]
    fields = {"key": pa.string(), "shard": pa.string(), "object_id": pa.string(), "row": pa.int64()}
    fields |= dict.fromkeys(("ra", "dec", "redshift"), pa.float64())
    schema = pa.schema((fields | dict.fromkeys(per_band, pa.list_(pa.float32()))).items())
    place = 0
    with whole_file(path) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        for columns in selection.columns(selection.rows):
            count = len(columns["ra"])
            rows = selection.rows[place : place + count]
            shard = np.searchsorted(ends, np.arange(place, place + count), side="right")
            values = {name: columns[name] for name in ("object_id", "ra", "dec", "redshift")}
            values |= {name: list(columns[name].astype(np.float32)) for name in per_band}
            values["key"] = [key_of(*each) for each in zip(rows.tolist(), values["object_id"].tolist(), strict=True)]
            values |= {"shard": [names[each] for each in shard], "row": rows}
            writer.write_table(pa.table([pa.array(values[field.name], field.type) for field in schema], schema=schema))
            place += count


def _count_samples(path: Path, rows: np.ndarray) -> int:
    """Return how many samples a shard has; raise StoreError unless they are those of the first of `rows`."""
    try:
        with tarfile.open(path, "r:") as tar:
            names = [name for name in tar.getnames() if name.endswith(".json")]
        there = [int(name.partition("_")[0]) for name in names]
    except (tarfile.TarError, ValueError, EOFError):
        there = []
    if not there or there != rows[: len(there)].tolist():
        raise StoreError(f"{path} is no shard of this export; choose another folder or pass --overwrite")
    return len(there)


def _size(sample: Sample) -> int:
    """Return how many bytes a sample takes in a tar file."""
    return sum(BLOCK + -(-len(content) // BLOCK) * BLOCK for content in sample[1].values())


def _add(tar: tarfile.TarFile, sample: Sample) -> None:
    """Add the files of a sample, without the time and the user, which would make the bytes depend on them."""
    key, files = sample
    for ending, content in files.items():
        member = tarfile.TarInfo(f"{key}.{ending}")
        member.size = len(content)
        tar.addfile(member, BytesIO(content))


def _samples(selection: StoreSelection, rows: np.ndarray) -> Iterator[Sample]:
    """Yield key and files of each object."""
    for objects in selection.batches(rows):
        arrays = {"images": objects.images, "mask": objects.mask} | objects.planes
        for place, row in enumerate(objects.rows.tolist()):
            files = {f"{name}.npy": _as_npy(array[place]) for name, array in arrays.items()}
            about = json.dumps(describe(selection, objects, place), allow_nan=False, ensure_ascii=False)
            files["json"] = about.encode()
            yield key_of(row, str(objects.columns["object_id"][place])), files


def _as_npy(array: np.ndarray) -> bytes:
    """Return the bytes of a .npy file."""
    file = BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def describe(selection: StoreSelection, objects: Objects, place: int) -> dict[str, Any]:
    """Return what is known of an object besides its pixels, for JSON.

    Parameters
    ----------
    selection : StoreSelection
        The selection.
    objects : Objects
        Some of its objects.
    place : int
        Which of them.

    Returns
    -------
    dict
        Columns by name, those with a value for each band as lists in the order of `bands`; `wcs` has the keywords of a
        FITS header, and is None for an object without a position. Unknown numbers are None.
    """
    store, columns = selection.store, {name: values[place] for name, values in objects.columns.items()}
    about = {
        "object_id": str(columns.pop("object_id")),
        "row": int(objects.rows[place]),
        "survey": store.survey["name"],
        "bands": list(selection.bands),
        "unit": "nanomaggy",
        "pixel_scale": store.pixel_scale,
        "synthetic": store.synthetic,
    }
    about |= {name: _plain(values) for name, values in columns.items() if name not in IN_WCS}
    return about | {"wcs": _wcs(columns) if np.isfinite(columns["crval"]).all() else None}


def _wcs(columns: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return the WCS of an object as keywords of FITS."""
    terms = {keyword: float(columns[name][which]) for keyword, (name, which) in WCS_TERMS.items()}
    return {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "RADESYS": "ICRS", "CUNIT1": "deg", "CUNIT2": "deg"} | terms


def _plain(values: np.ndarray) -> Any:
    """Return a value, or a list, as JSON has it: None for an unknown number."""
    values = np.asarray(values)
    if values.ndim:
        return [_plain(value) for value in values]
    if values.dtype.kind == "f":
        return float(str(values[()])) if np.isfinite(values) else None
    return values.item()
