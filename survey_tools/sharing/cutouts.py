"""Objects of a store as a HATS catalogue of cutouts: Parquet files, one for each part of the sky.

The columns are those of the image catalogues of the Multimodal Universe in HATS: a struct `image` of lists with one
entry for each band, and `object_id`, `ra` and `dec` beside it. The files are written with pyarrow alone.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from survey_tools.errors import StoreError
from survey_tools.files import whole_file
from survey_tools.partitions.layout import CURVE, CURVE_ORDER, Pixel, places_of
from survey_tools.progress import Progress
from survey_tools.sharing.selection import Objects, StoreSelection
from survey_tools.sharing.shards import IN_TABLE, WCS_TERMS
from survey_tools.store.columns import CATALOGUE, OF_SURVEYS
from survey_tools.store.partitioned import PartitionedStore
from survey_tools.store.zarr_store import Store
from survey_tools.version import VERSION

COARSE_ORDER = 4  # of the column `healpix`, as in the Multimodal Universe: 16 pixels along the side of a base pixel
DEEPEST = 15  # order of the smallest partitions, 6 arcsec wide; objects closer together stay in one
DATASET = "dataset"


@dataclass(frozen=True)
class PixelFile:
    """A file of the catalogue: a HEALPix pixel, and (object,) the rows of the store in it, along the curve."""

    pixel: Pixel
    rows: np.ndarray

    @property
    def name(self) -> str:
        """The path of the file in the folder of the catalogue."""
        return f"{self.pixel.name}.parquet"


def write_cutouts(selection: StoreSelection, folder: Path, name: str, limit: int) -> tuple[list[Path], list[Path]]:
    """Write the objects as a HATS catalogue.

    Partitions that exist are kept, because each is whole.

    Parameters
    ----------
    selection : StoreSelection
        The objects. Each has a position.
    folder : Path
        The folder of the catalogue.
    name : str
        Its name.
    limit : int
        Bytes of a partition's pixels at most, before compression, unless objects lie closer together than 6 arcsec.

    Returns
    -------
    list of Path, list of Path
        All partitions along the curve, and those that existed.

    Raises
    ------
    StoreError
        A partition that exists has other rows than it should have.
    """
    parts = partitions(selection, max(1, limit // selection.object_bytes))
    paths, kept, footers = [folder / part.name for part in parts], [], []
    schema = schema_of(selection)
    with Progress(len(selection.rows), "export", "object") as progress:
        for part, path in zip(parts, paths, strict=True):
            if path.exists():
                kept.append(path)
            else:
                _write(selection, part, schema, path)
            footers.append(_footer(path, part))
            progress.update(len(part.rows))
    for file, collected in (("_common_metadata", None), ("_metadata", footers)):
        with whole_file(folder / DATASET / file) as temporary:
            pq.write_metadata(schema, temporary, metadata_collector=collected)
    _write_properties(selection, parts, folder, name)
    return paths, kept


def partitions(selection: StoreSelection, most: int) -> list[PixelFile]:
    """Divide the sky into HEALPix pixels with at most `most` objects each, as few as possible.

    Parameters
    ----------
    selection : StoreSelection
        The objects.
    most : int
        Objects of a partition at most.

    Returns
    -------
    list of PixelFile
        Those that have objects, along the curve.
    """
    store = selection.store
    places = np.concatenate([_places(store, part) for part in store.column_parts()])
    places = places[selection.rows]
    order = np.lexsort((selection.rows, places))
    rows, places = selection.rows[order], places[order]
    found, waiting = [], [(0, pixel) for pixel in range(11, -1, -1)]
    while waiting:
        level, pixel = waiting.pop()
        width = 2 * (CURVE_ORDER - level)
        first, stop = np.searchsorted(places, [pixel << width, (pixel + 1) << width])
        if 0 < stop - first <= most or (stop > first and level == DEEPEST):
            found.append(PixelFile(Pixel(level, pixel), rows[first:stop]))
        elif stop > first:
            waiting += [(level + 1, 4 * pixel + child) for child in (3, 2, 1, 0)]
    return found


def _places(store: Store | PartitionedStore, part: slice) -> np.ndarray:
    """Return the places of objects along the curve (object,); 0 for unknown positions."""
    ra, dec = store.column("ra", part), store.column("dec", part)
    known = np.isfinite(ra) & np.isfinite(dec)
    return places_of(np.where(known, ra, 0), np.where(known, dec, 0))


def schema_of(selection: StoreSelection) -> pa.Schema:
    """Return the columns of the catalogue."""
    store = selection.store
    picture = pa.list_(pa.list_(pa.list_(pa.float32())))
    image = {"band": pa.list_(pa.string()), "flux": picture, "ivar": picture}
    image |= {"mask": pa.list_(pa.list_(pa.list_(pa.bool_()))), "psf_fwhm": pa.list_(pa.float32())}
    image |= {"scale": pa.list_(pa.float32())}
    image |= {name: pa.list_(pa.float32()) for name in IN_TABLE if name in store.columns}
    image |= dict.fromkeys(store.planes, picture)
    fields = {CURVE: pa.int64(), "object_id": pa.string(), "ra": pa.float64(), "dec": pa.float64()}
    fields |= {"healpix": pa.int64(), "image": pa.struct(image.items()), "redshift": pa.float64(), "row": pa.int64()}
    fields |= {column.name: pa.int32() for column in OF_SURVEYS if column.name in store.columns}
    fields |= {keyword.lower(): pa.float64() for keyword in WCS_TERMS}
    return pa.schema(fields.items())


def _write(selection: StoreSelection, part: PixelFile, schema: pa.Schema, path: Path) -> None:
    """Write one partition, a row group for each batch."""
    ordered = [CURVE, "object_id", "ra", "dec", "healpix", "redshift", "row"]
    with (
        whole_file(path) as temporary,
        pq.ParquetWriter(
            temporary, schema, compression="zstd", use_dictionary=False, write_statistics=ordered
        ) as writer,
    ):
        for objects in selection.batches(part.rows):
            writer.write_table(_table(selection, objects, schema), row_group_size=len(objects.rows))


def _footer(path: Path, part: PixelFile) -> pq.FileMetaData:
    """Return what a partition says of itself; raise StoreError if it is not the one that is meant."""
    try:
        footer = pq.read_metadata(path)
        count = footer.num_rows
    except pa.ArrowInvalid:
        count = -1
    if count != len(part.rows):
        raise StoreError(f"{path} is no partition of this export; choose another folder or pass --overwrite")
    footer.set_file_path(part.name.removeprefix(f"{DATASET}/"))
    return footer


def _table(selection: StoreSelection, objects: Objects, schema: pa.Schema) -> pa.Table:
    """Return objects as rows of the catalogue."""
    store, columns, count = selection.store, objects.columns, len(objects.rows)
    shape = (count, len(selection.bands))
    image = {
        "band": np.tile([f"{store.survey['name']}-{band}" for band in selection.bands], (count, 1)),
        "flux": objects.images,
        "ivar": inverse_variance(columns["sky_sigma"], objects.mask),
        "mask": ~objects.mask,
        "scale": np.full(shape, store.pixel_scale, np.float32),
    }
    image |= {name: columns[name].astype(np.float32) for name in IN_TABLE if name in columns} | objects.planes
    picture = schema.field("image").type
    values = {name: columns[name] for name in (each.name for each in CATALOGUE + OF_SURVEYS) if name in columns}
    places = places_of(columns["ra"], columns["dec"])
    values |= {CURVE: places, "row": objects.rows, "healpix": places >> 2 * (CURVE_ORDER - COARSE_ORDER)}
    values |= {key.lower(): columns[name][(slice(None), *np.atleast_1d(at))] for key, (name, at) in WCS_TERMS.items()}
    arrays = {name: pa.array(each, schema.field(name).type) for name, each in values.items()}
    nested = [_nested(image[field.name], field.type) for field in picture]
    arrays["image"] = pa.StructArray.from_arrays(nested, fields=list(picture))
    return pa.table([arrays[name] for name in schema.names], schema=schema)


def inverse_variance(sky_sigma: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return 1/σ² of each pixel of blank sky.

    Parameters
    ----------
    sky_sigma : ndarray
        (object, band) standard deviation of a pixel of blank sky [nanomaggy/pixel].
    mask : ndarray
        (object, band, row, col) whether a pixel is missing or saturated.

    Returns
    -------
    ndarray
        Of the shape of `mask` [(nanomaggy/pixel)^-2], float32: 0 in masked pixels, NaN where the noise is unknown.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        weight = np.where(sky_sigma > 0, sky_sigma.astype(float) ** -2, np.nan).astype(np.float32)
    return np.where(mask, np.float32(0), weight[:, :, None, None])


def _nested(values: np.ndarray, kind: pa.DataType) -> pa.Array:
    """Return an array of N dimensions as lists of lists, of a type that has N - 1 levels of lists."""
    leaf = kind
    while pa.types.is_list(leaf):
        leaf = leaf.value_type
    array = pa.array(values.reshape(-1), leaf)
    for length in values.shape[:0:-1]:
        array = pa.ListArray.from_arrays(pa.array(np.arange(0, len(array) + 1, length), pa.int32()), array)
    return array


def _write_properties(selection: StoreSelection, parts: list[PixelFile], folder: Path, name: str) -> None:
    """Write the list of the partitions, and what HATS wants to know of a catalogue."""
    with whole_file(folder / "partition_info.csv") as temporary:
        pixels = sorted((part.pixel.order, part.pixel.pixel) for part in parts)
        lines = (f"{order},{pixel}\n" for order, pixel in pixels)
        temporary.write_text("".join(["Norder,Npix\n", *lines]))
    store = selection.store
    known = {
        "obs_collection": name,
        "dataproduct_type": "object",
        "obs_title": f"{store.survey['title']} cutouts",
        "obs_description": store.synthetic or f"cutouts of {store.survey['title']}",
        "hats_nrows": len(selection.rows),
        "hats_col_ra": "ra",
        "hats_col_dec": "dec",
        "hats_col_healpix": CURVE,
        "hats_col_healpix_order": CURVE_ORDER,
        "hats_max_rows": max((len(part.rows) for part in parts), default=0),
        "hats_order": max((part.pixel.order for part in parts), default=0),
        "moc_sky_fraction": f"{sum(4.0**-part.pixel.order for part in parts) / 12:.5g}",
        "hats_builder": f"galtrans {VERSION}",
        "hats_version": "v1.0",
        "hats_npix_suffix": ".parquet",
    }
    text = "".join(f"{key}={value}\n" for key, value in known.items())
    for file in ("hats.properties", "properties"):
        with whole_file(folder / file) as temporary:
            temporary.write_text(f"#HATS catalog\n{text}")
