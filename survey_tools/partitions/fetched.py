"""Fetch a catalogue of any length into a partitioned store: each partition is one task that fetches one store."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path

from astropy.table import Table

from survey_tools.archives.plan import Archive
from survey_tools.build import fetch as building
from survey_tools.errors import ArchiveError
from survey_tools.files import checksum
from survey_tools.partitions.layout import Pixel
from survey_tools.partitions.making import IN_LINE, make_partitions
from survey_tools.partitions.spill import read_part, spill
from survey_tools.store.manifest import DONE, FAILED
from survey_tools.store.partitioned import PartitionedStore
from survey_tools.store.zarr_store import Store
from survey_tools.tasks import Engine


def fetch_partitions(
    archive: Archive,
    blocks: Callable[[], Iterable[Table]],
    catalogue: str,
    out: Path,
    *,
    rows: int,
    bands: tuple[str, ...],
    engine: Engine,
    fail_away: bool = False,
    overwrite: bool = False,
) -> PartitionedStore:
    """Cut every object of a catalogue from the files of an archive into a partitioned store.

    Parameters
    ----------
    archive : Archive
        The archive.
    blocks : callable
        Returns the catalogue, block by block, as `catalogue.read_blocks` does.
    catalogue : str
        A checksum of the catalogue (`checksum_of`).
    out : Path
        Where the store will be. An interrupted call is resumed by the same call, to the same bytes.
    rows : int
        Objects of a partition at most.
    bands : tuple of str
        Bands to cut.
    engine : Engine
        Where partitions are fetched; each is one task.
    fail_away : bool
        As for `build.fetch.fetch`.
    overwrite : bool
        Whether to replace an existing partitioned store.

    Returns
    -------
    PartitionedStore
        The store.

    Raises
    ------
    ArchiveError
        The archive holds nothing of the survey, or nothing for any of the objects.
    CatalogueError, StoreError, OSError
        As for `build.fetch.fetch`.
    """
    settings = {
        "command": f"galtrans fetch {archive.survey.name}",
        "catalogue": catalogue,
        "rows": rows,
        "bands": list(bands),
        **archive.facts(),
    }

    def prepare(folder: Path) -> list[Pixel]:
        return spill(blocks(), folder, rows, engine)

    def finished(entries: list[dict]) -> None:
        if not any(each[DONE] or each[FAILED] for each in entries):
            raise ArchiveError(f"none of the {sum(each['rows'] for each in entries):,} objects lies on an image")

    return make_partitions(
        out,
        settings,
        prepare,
        partial(_fetch, archive, bands, fail_away),
        engine,
        "fetch",
        overwrite=overwrite,
        most=building.DOWNLOADS_AT_ONCE if settings.get("mirror") is None else None,
        finished=finished,
    )


def _fetch(archive: Archive, bands: tuple[str, ...], fail_away: bool, folder: Path, pixel: Pixel) -> Store:
    """Fetch one partition."""
    table = read_part(folder / f"{pixel.name}.parquet")
    how = {"bands": bands, "engine": IN_LINE, "fail_away": fail_away, "may_be_empty": True}
    return building.fetch(archive, table, folder / f"{pixel.name}.zarr", **how)


def checksum_of(catalogue: Path | Table, columns: Mapping[str, str] | None) -> str:
    """Return a checksum of a catalogue and of the names of its columns, read block by block.

    Parameters
    ----------
    catalogue : Path or Table
        A file, a folder of Parquet files, or a table.
    columns : mapping, optional
        The catalogue's own names of columns.

    Returns
    -------
    str
        SHA-256 in hexadecimal digits.
    """
    digest = hashlib.sha256(repr(sorted((columns or {}).items())).encode())
    for line in _sums(catalogue):
        digest.update(line.encode())
    return digest.hexdigest()


def _sums(catalogue: Path | Table) -> Iterator[str]:
    """Yield checksums of the files, or the columns, of a catalogue."""
    if isinstance(catalogue, Table):
        for name in catalogue.colnames:
            yield f"{name}\0"
            yield "\0".join(map(str, catalogue[name].tolist()))
        return
    for file in sorted(catalogue.rglob("*.parquet")) if catalogue.is_dir() else [catalogue]:
        yield checksum(file)
