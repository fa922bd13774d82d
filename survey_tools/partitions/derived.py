"""Make a partitioned store from another one, partition by partition: the same objects in the same partitions."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from survey_tools.build.converted import convert_store
from survey_tools.build.regridded import regrid_store, settings_of
from survey_tools.errors import StoreError
from survey_tools.files import SUMS, checksum
from survey_tools.partitions.layout import Pixel
from survey_tools.partitions.making import IN_LINE, link, make_partitions
from survey_tools.store.partitioned import Partition, PartitionedStore, open_store
from survey_tools.store.zarr_store import Store
from survey_tools.tasks import Engine


def derive_partitions(
    source: PartitionedStore,
    out,
    settings: Mapping,
    make: Callable[[Path, Path, Partition], Store],
    engine: Engine,
    desc: str,
    *,
    overwrite: bool = False,
) -> PartitionedStore:
    """Make a partitioned store whose partitions are made from those of another one.

    Parameters
    ----------
    source : PartitionedStore
        The store to read.
    out : path-like
        Where the new one will be.
    settings : mapping
        What else the new one is made from.
    make : callable
        Takes the store of a partition of the source, where to make the new store, and the partition. It is sent to
        other processes.
    engine : Engine
        Where partitions are made; each is one task.
    desc : str
        Word for the progress.
    overwrite : bool
        Whether to replace an existing partitioned store.

    Returns
    -------
    PartitionedStore
        The new store. A store that was interrupted is resumed, to the same bytes.

    Raises
    ------
    StoreError
        `out` is the source, or exists and was made from something else.
    """
    out = Path(out)
    if out.resolve() == source.path.resolve():
        raise StoreError(f"{out} is the store to read; choose another name for the one to make")
    return make_partitions(
        out,
        settings,
        partial(_same_pixels, source),
        partial(_derive, make, source),
        engine,
        desc,
        overwrite=overwrite,
    )


def regrid_partitions(y_path, like_path, out, *, engine: Engine, overwrite: bool = False) -> PartitionedStore:
    """Put every image of a partitioned store on pixels of the number and scale of another store.

    The images are those of `regrid_store`, partition by partition.

    Parameters
    ----------
    y_path : path-like
        The partitioned store.
    like_path : path-like
        The store, partitioned or not, whose grid to take.
    out : path-like
        Where the new partitioned store will be.
    engine : Engine
        Where tasks run.
    overwrite : bool
        Whether to replace an existing one.

    Returns
    -------
    PartitionedStore
        The new store.

    Raises
    ------
    StoreError
        A store cannot be opened, or `out` exists and was made from something else.
    """
    y, like = open_store(y_path), open_store(like_path)
    if Path(out).resolve() == like.path.resolve():
        raise StoreError(f"{out} is one of the stores to read; choose another name for the regridded one")
    grid = like.store(0) if isinstance(like, PartitionedStore) else like
    settings = settings_of(y, like) | {"size": like.size, "pixel_scale": like.pixel_scale}
    settings["source"]["checksum"] = sums_of(y)
    return derive_partitions(y, out, settings, partial(_regrid, grid.path), engine, "regrid", overwrite=overwrite)


def convert_partitions(path, out, *, engine: Engine, overwrite: bool = False) -> PartitionedStore:
    """Write the stores of a partitioned store again in the newest schema, as `convert_store` does with each.

    Parameters
    ----------
    path : path-like
        The partitioned store.
    out : path-like
        Where the new partitioned store will be.
    engine : Engine
        Where tasks run.
    overwrite : bool
        Whether to replace an existing one.

    Returns
    -------
    PartitionedStore
        The new store.

    Raises
    ------
    StoreError
        A store cannot be opened, or `out` exists and was made from something else.
    """
    source = open_store(path)
    return derive_partitions(source, out, source.settings, _convert, engine, "convert", overwrite=overwrite)


def sums_of(store: PartitionedStore) -> str:
    """Return a checksum of a whole partitioned store: that of its list of checksums."""
    sums = store.path / SUMS
    return checksum(sums) if sums.exists() else store.rows


def _regrid(like: Path, source: Path, out: Path, part: Partition) -> Store:
    """Regrid one partition."""
    return regrid_store(source, like, out, engine=IN_LINE)


def _convert(source: Path, out: Path, part: Partition) -> Store:
    """Convert one partition."""
    return convert_store(source, out, engine=IN_LINE)


def _same_pixels(source: PartitionedStore, folder: Path) -> list[Pixel]:
    """Give the new folder the catalogues of the source; return its partitions."""
    pixels = [Pixel(part.order, part.pixel) for part in source.partitions]
    for pixel in pixels:
        link(source.path / f"{pixel.name}.parquet", folder / f"{pixel.name}.parquet")
    return pixels


def _derive(make: Callable, source: PartitionedStore, folder: Path, pixel: Pixel) -> Store:
    """Make one partition from that of the source."""
    part = next(each for each in source.partitions if (each.order, each.pixel) == (pixel.order, pixel.pixel))
    return make(source.path / part.name, folder / part.name, part)
