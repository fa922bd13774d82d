"""The functions that users call. Each checks its arguments and calls the part of the package that does the work.

A command of `cli/` parses words and calls one of these, so that notebook and shell do the same thing.
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

from survey_tools.accept import (
    Tell,
    a_calibration,
    a_catalogue,
    a_count,
    a_path,
    a_store,
    a_store_path,
    a_survey,
    an_angle,
    is_elsewhere,
    silent,
    some_bands,
    some_surveys,
    workers_of,
)
from survey_tools.archives.download.mirror import Mirror
from survey_tools.archives.known import ARCHIVES, tiles_of
from survey_tools.archives.plan import Access
from survey_tools.build import fetch as building
from survey_tools.build.converted import convert_store
from survey_tools.build.regridded import regrid_store
from survey_tools.catalogue import read_blocks
from survey_tools.errors import ArgumentError, GaltransError, StoreError
from survey_tools.files import whole_file
from survey_tools.fits.export import Exported, export_files
from survey_tools.matching.hats import Catalogues, is_hats, write_matches
from survey_tools.matching.pair_folders import PairFolder
from survey_tools.matching.pairs import make_pairs
from survey_tools.partitions.derived import convert_partitions, regrid_partitions
from survey_tools.partitions.fetched import checksum_of, fetch_partitions
from survey_tools.partitions.inspection import summarise_partitions, summarise_unfinished, verify_partitions
from survey_tools.partitions.layout import ROWS
from survey_tools.partitions.making import drop_unfinished
from survey_tools.partitions.matching import PairSettings, match_partitions
from survey_tools.partitions.split import split_store
from survey_tools.sharing.share import SHARD_BYTES, WRITERS, Sharing, share
from survey_tools.store.manifest import DONE, FAILED
from survey_tools.store.partitioned import PartitionedStore, is_partitioned, open_store
from survey_tools.store.summary import summarise, summarise_begun
from survey_tools.store.verify import verify as verify_store
from survey_tools.store.zarr_store import Store
from survey_tools.surveys import SURVEYS, Survey

A_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_+-]{0,79}")  # of a data set


@dataclass(frozen=True)
class FetchEstimate:
    """What a fetch would open and download.

    Attributes
    ----------
    files : dict of str to int
        Name of each file, and how many objects it holds.
    cost : survey_tools.build.fetch.Estimate
        Objects, files, bytes, requests and seconds.
    lines : list of str
        The same in words.
    """

    files: dict[str, int]
    cost: building.Estimate
    lines: list[str]


def fetch(
    catalogue: Any,
    survey: Any,
    out: Any,
    *,
    mirror: Any = None,
    columns: Mapping[str, str] | None = None,
    bands: Any = None,
    unit: Any = None,
    zero_point: float | None = None,
    keep_files: Any = None,
    keep_limit: int | None = None,
    workers: Any = 1,
    wait_for_workers: float | None = None,
    resume: bool = True,
    overwrite: bool = False,
    retry_failed: bool = False,
    fail_away: bool = False,
    partition_rows: int | None = None,
    tell: Tell = silent,
    **options: Any,
) -> Store | PartitionedStore:
    """Cut every object of a catalogue out of the archive of a survey, into a store.

    An existing store is returned unchanged if it was made with the same settings. A fetch that was interrupted is
    resumed by the same call. The manifest of the store says what became of each object: done, outside, or failed and
    why.

    Parameters
    ----------
    catalogue : path-like, Table, QTable, pandas.DataFrame or SkyCoord
        The objects: ``object_id``, ``ra``, ``dec``, and optionally ``redshift`` and the columns of the archive, such as
        ``run, rerun, camcol, field`` of SDSS. Objects of a SkyCoord are called "0", "1" and so on.
    survey : str, Survey or archive
        The name of any survey of `SURVEYS`, such as "sdss"; the row of one of your own; or an archive of your own (see
        "Add a survey" in the documentation).
    out : path-like
        Where the store will be, such as "sdss.zarr".
    mirror : path-like, optional
        A folder, or an http(s) address, of the archive's files. By default the live archive is asked; surveys whose
        archive galtrans does not ask, such as HSC-SSP, need a mirror.
    columns : mapping, optional
        The catalogue's own names of columns, such as ``{"ra": "RA_DEG"}``.
    bands : str or sequence of str, optional
        Bands to cut, such as "gri"; by default all of the survey.
    unit, zero_point : optional
        The unit, or the AB magnitude of one unit, of files of a mirror whose headers state none.
    keep_files : path-like, optional
        A folder in which downloaded files stay, for other stores. By default each is dropped after its use.
    keep_limit : int, optional
        How large that folder may become [byte]; the oldest files go.
    workers : int, str or distributed.Client
        Threads of this process, or the address of a Dask scheduler, or a client of one.
    wait_for_workers : float, optional
        How long to wait while a cluster has no worker [s].
    resume : bool
        Whether to go on from what an interrupted fetch has left; else it is dropped.
    overwrite : bool
        Replace an existing store, once the new one is complete.
    retry_failed : bool
        Of an existing store, cut the failed objects again.
    fail_away : bool
        Let the objects of files that cannot be reached fail. By default such files end the fetch, once all others are
        cut, and the next call goes on.
    partition_rows : int, optional
        Make a partitioned store, of at most so many objects in a HEALPix pixel. The catalogue, which may then also be
        a folder of Parquet files such as a HATS catalogue, is read block by block, and each partition is one task.
    tell : callable
        Is given lines for the user: notes on the archive, and what has to be downloaded.
    **options
        Of one archive: ``psf``, ``masks`` and ``frames`` of SDSS, ``how`` of CFHTLS; see ``galtrans fetch --help``.

    Returns
    -------
    Store

    Raises
    ------
    ArgumentError
        An argument cannot be used.
    CatalogueError
        The catalogue cannot be read, or holds an impossible row.
    ArchiveError
        The archive holds nothing of the survey, or nothing for any of the objects.
    StoreError
        The existing store was made with other settings.
    OSError
        The disk is full, or the archive cannot be reached; the same call goes on afterwards.

    Examples
    --------
    >>> from astropy.coordinates import SkyCoord
    >>> from survey_tools import fetch
    >>> store = fetch(SkyCoord([210.1], [54.2], unit="deg"), "sdss", "sdss.zarr")  # doctest: +SKIP
    """
    asked = _check_fetch(
        catalogue,
        survey,
        out,
        mirror=mirror,
        columns=columns,
        bands=bands,
        unit=unit,
        zero_point=zero_point,
        keep_files=keep_files,
        keep_limit=keep_limit,
        options=options,
        elsewhere=is_elsewhere(workers),
        whole=partition_rows is None,
    )
    if partition_rows is not None:
        if retry_failed:
            raise ArgumentError("retry_failed", "of a partitioned store: pass `overwrite`, or fetch one of its stores")
        most = a_count(partition_rows, "partition_rows", 1)
        if not resume:
            drop_unfinished(asked.out)
        with workers_of(workers, wait_for_workers, tell) as engine:
            return fetch_partitions(
                asked.archive,
                partial(read_blocks, asked.table, columns),
                checksum_of(asked.table, columns),
                asked.out,
                rows=most,
                bands=asked.bands,
                engine=engine,
                fail_away=fail_away,
                overwrite=overwrite,
            )
    if not resume:
        building.forget(asked.out)
    with workers_of(workers, wait_for_workers, tell) as engine:

        def say(plan: Any) -> None:
            cost = asked.cost(plan, engine.workers)
            for line in (*plan.notes, building.in_a_word(cost), building.courtesy(cost, asked.archive.survey)):
                if line:
                    tell(line)

        store = building.fetch(
            asked.archive,
            asked.table,
            asked.out,
            bands=asked.bands,
            engine=engine,
            overwrite=overwrite,
            retry_failed=retry_failed,
            fail_away=fail_away,
            tell=say,
        )
    if asked.without_seeing:
        unknown = np.isnan(store.column("psf_fwhm")).all(axis=1)
        unknown = unknown.any() and unknown & (store.manifest()["status"] == DONE)
        if np.any(unknown):
            tell(f"Of {int(np.sum(unknown))} objects {asked.without_seeing} gave the seeing: their psf_fwhm is NaN.")
    return store


def estimate(
    catalogue: Any,
    survey: Any,
    out: Any = "store.zarr",
    *,
    mirror: Any = None,
    columns: Mapping[str, str] | None = None,
    bands: Any = None,
    unit: Any = None,
    zero_point: float | None = None,
    keep_files: Any = None,
    keep_limit: int | None = None,
    workers: int = 1,
    retry_failed: bool = False,
    **options: Any,
) -> FetchEstimate:
    """Say what a fetch would open and download, without fetching.

    The arguments are those of `fetch`.

    Returns
    -------
    FetchEstimate

    Raises
    ------
    ArgumentError, CatalogueError, ArchiveError, OSError
        As for `fetch`.
    """
    asked = _check_fetch(
        catalogue,
        survey,
        out,
        mirror=mirror,
        columns=columns,
        bands=bands,
        unit=unit,
        zero_point=zero_point,
        keep_files=keep_files,
        keep_limit=keep_limit,
        options=options,
    )
    table = _failed_of(asked.out, asked.table) if retry_failed and asked.out.exists() else asked.table
    asked = replace(asked, table=table)
    with workers_of(workers) as engine:
        plan = asked.archive.plan(table, asked.bands, engine.run)
        cost = asked.cost(plan, engine.workers)
    lines = [*plan.notes, *building.in_words(cost, asked.access.settings.bandwidth)]
    lines += [line for line in (building.courtesy(cost, asked.archive.survey),) if line]
    return FetchEstimate({source.name: len(source.rows) for source in plan.sources}, cost, lines)


@dataclass(frozen=True)
class _Fetch:
    """The checked arguments of a fetch."""

    out: Path
    archive: Any
    table: Table
    access: Access
    bands: tuple[str, ...]
    without_seeing: str  # words for an object whose seeing is unknown; "" where it is not wanted

    def cost(self, plan: Any, workers: int) -> building.Estimate:
        """What fetching the files of a plan will take."""
        bandwidth, kept = self.access.settings.bandwidth, self.access.keep is not None
        return building.estimate(
            plan, self.archive.survey, self.bands, len(self.table), workers=workers, bandwidth=bandwidth, kept=kept
        )


def _check_fetch(
    catalogue: Any,
    survey: Any,
    out: Any,
    *,
    mirror: Any,
    columns: Mapping[str, str] | None,
    bands: Any,
    unit: Any,
    zero_point: float | None,
    keep_files: Any,
    keep_limit: int | None,
    options: Mapping[str, Any],
    elsewhere: bool = False,
    whole: bool = True,
) -> _Fetch:
    """Check the arguments of a fetch, and open its archive."""
    path, keep = a_path(out, "out"), None if keep_files is None else a_path(keep_files, "keep_files")
    if keep_limit is not None and keep is None:
        raise ArgumentError("keep_limit", "it says how large the folder of `keep_files` may become: give that, too")
    given = a_calibration(unit, zero_point)
    if given and mirror is None:
        raise ArgumentError("unit", "`unit` and `zero_point` are for files that you have: give their `mirror`")
    if isinstance(survey, str) and survey not in ARCHIVES:
        raise ArgumentError("survey", f"{survey!r} is not a known survey; known are {', '.join(ARCHIVES)}")
    table = a_catalogue(catalogue, columns) if whole else _unread(catalogue)
    place = None if mirror is None else str(mirror)
    if elsewhere:  # the workers are at home in other folders
        path, keep = path.absolute(), keep and keep.absolute()
        place = place and Mirror(place, building.work_folder(path)).place
    access = Access(work=building.work_folder(path), mirror=place, keep=keep, limit=keep_limit, given=given)
    wanted = {name: value for name, value in options.items() if value is not None}
    if isinstance(survey, Survey):
        known = ARCHIVES[survey.name] if SURVEYS.get(survey.name) == survey else tiles_of(survey)
    elif isinstance(survey, str):
        known = ARCHIVES[survey]
    else:
        if wanted:
            raise ArgumentError(next(iter(wanted)), "it is an option of the archives of galtrans, and yours is another")
        return _Fetch(path, survey, table, access, _ordered(bands, survey.survey), "neither a header nor stars")
    names = [each.name for each in fields(known.options)]
    unknown = [name for name in wanted if name not in names]
    if unknown:
        has = f"which has {', '.join(names)}" if names else "which has none"
        raise ArgumentError(unknown[0], f"it is not an option of {known.survey.name}, {has}")
    own = known.options(**wanted)
    archive = known.open(access, own)
    missing = known.without_seeing if own.seeing else ""
    return _Fetch(path, archive, table, access, _ordered(bands, archive.survey), missing)


def _unread(catalogue: Any) -> Path | Table:
    """A catalogue that is read later, block by block: its path, or a table."""
    if isinstance(catalogue, (str, os.PathLike)):
        path = a_path(catalogue, "catalogue")
        if not path.exists():
            raise ArgumentError("catalogue", f"{path} does not exist")
        return path
    return catalogue if isinstance(catalogue, Table) else a_catalogue(catalogue)


def _ordered(bands: Any, survey: Any) -> tuple[str, ...]:
    """Bands in the order of the survey."""
    chosen = some_bands(bands, survey)
    return tuple(band for band in survey.bands if band in chosen)


def _failed_of(out: Path, table: Table) -> Table:
    """The rows of a catalogue that failed in the store made of it."""
    failed = open_store(out).manifest()["status"] == FAILED
    if len(failed) != len(table):
        raise StoreError(f"{out} has {len(failed)} objects and the catalogue {len(table)}; was it made of another one?")
    if not failed.any():
        raise StoreError(f"{out} has no object that failed; there is nothing to try again")
    return table[failed]


def ingest(
    files: Any,
    survey: Any,
    out: Any,
    *,
    positions: Any = None,
    columns: Mapping[str, str] | None = None,
    bands: Any = None,
    key: str = "",
    axes: str = "auto",
    unit: Any = None,
    zero_point: float | None = None,
    zeros: str = "auto",
    unstretch: Callable | None = None,
    overwrite: bool = False,
) -> Store:
    """Make a store of images that you have: cubes in .npz, .npy or HDF5, or FITS cutouts with a WCS.

    Parameters
    ----------
    files : path-like or sequence of path-like
        Files, or folders of FITS files. Images must have the size and pixel scale of the survey's cutouts.
    survey : str or Survey
        The survey that the images are of.
    out : path-like
        Where the store will be.
    positions : path-like, optional
        A catalogue whose row i is image i.
    columns : mapping, optional
        Its own names of columns.
    bands : str or sequence of str, optional
        Bands of the cubes, in their order; or bands to take from FITS files.
    key : str
        Name of the array of images in a file that holds several.
    axes : {"auto", "NHWC", "NCHW"}
        Order of a cube's axes.
    unit, zero_point : optional
        Unit, or AB magnitude of one unit, of pixels of files that state none.
    zeros : {"auto", "data", "missing"}
        Whether pixels of exactly 0 are data.
    unstretch : callable, optional
        The inverse of the stretch that the cubes have; `translator.intensity.unstretch` is that of the paper.
    overwrite : bool
        Replace an existing store, once the new one is complete.

    Returns
    -------
    Store

    Raises
    ------
    ArgumentError, ImageError, CatalogueError, StoreError
        An argument, a file, the positions or the existing store cannot be used.
    """
    from survey_tools.ingestion.collection import Form
    from survey_tools.ingestion.ingest import ingest as ingest_files

    if columns and positions is None:
        raise ArgumentError("columns", "they name columns of the catalogue that `positions` gives: give that, too")
    row, given = a_survey(survey), a_calibration(unit, zero_point)
    for name, value, known in (("axes", axes, ("auto", "NHWC", "NCHW")), ("zeros", zeros, ("auto", "data", "missing"))):
        if value not in known:
            raise ArgumentError(name, f"{value!r}: give one of {', '.join(known)}")
    form = Form(some_bands(bands, row), key, axes, given.zero_point, unstretch, unit=given.unit, zeros=zeros)
    several = [files] if isinstance(files, (str, Path)) else list(files)
    paths = [a_path(each, "files") for each in several]
    positions = None if positions is None else a_path(positions, "positions")
    return ingest_files(paths, row, a_path(out, "out"), form, positions=positions, columns=columns, overwrite=overwrite)


def crossmatch(
    x: Any,
    y: Any,
    *,
    radius: Any = 1.0,
    max_peak_offset: Any = 1.0,
    test_size: int = 0,
    validation_size: int = 0,
    seed: int = 0,
    band: str = "r",
    out: Any = None,
    x_store: Any = None,
    y_store: Any = None,
    x_id: str = "object_id",
    y_id: str = "object_id",
    workers: Any = None,
    wait_for_workers: float | None = None,
    overwrite: bool = False,
    tell: Tell = silent,
) -> Table | PairFolder | Path:
    """Find the rows of two stores that are the same galaxy.

    Pairs are one-to-one nearest neighbours on the sphere, kept where the peaks of both images agree. The pairs to test
    are whole groups of galaxies whose cutouts could overlap, and so are those to validate.

    Parameters
    ----------
    x, y : Store, PartitionedStore or path-like
        Two stores; two partitioned stores; or two HATS catalogues of any size, which LSDB reads.
    radius : Quantity or float
        Largest separation of the positions [arcsec].
    max_peak_offset : Quantity or float
        Largest angle between the peaks of both images [arcsec].
    test_size : int
        Pairs to hold out from training.
    validation_size : int
        Pairs to hold out from training as well, by which `translator.train` can tell when to stop.
    seed : int
        Of the choice of both.
    band : str
        Band whose peaks are compared.
    out : path-like, optional
        A file to write: ECSV; Parquet for HATS catalogues without stores, which need it; a folder for partitioned
        stores, which need it too.
    x_store, y_store : Store or path-like, optional
        Stores with images of objects of two HATS catalogues.
    x_id, y_id : str
        Columns of HATS catalogues that identify objects.
    workers : int, str or distributed.Client, optional
        Threads; by default as many as there are cores. For partitioned stores as for `fetch`: each partition of x is
        one task.
    wait_for_workers, tell
        As for `fetch`.
    overwrite : bool
        Replace ``out`` where it exists.

    Returns
    -------
    Table
        ``x_row``, ``y_row``, ``separation`` and ``peak_offset`` [arcsec], and ``split`` ("train", "validation" or
        "test"). For partitioned stores a `PairFolder`, whose files have the same columns; for HATS catalogues without
        stores, the path of the Parquet file.

    Raises
    ------
    ArgumentError, StoreError, CatalogueError
        An argument, a store or a catalogue cannot be used, or no pair is left.

    Examples
    --------
    >>> from survey_tools import crossmatch
    >>> pairs = crossmatch("sdss.zarr", "cfht.zarr", test_size=40)  # doctest: +SKIP
    """
    path = None if out is None else a_path(out, "out")
    radius, most = an_angle(radius, "radius"), an_angle(max_peak_offset, "max_peak_offset")
    places = [a_store_path(x, "x"), a_store_path(y, "y")]
    if any(map(is_partitioned, places)):
        sizes = a_count(test_size, "test_size"), a_count(validation_size, "validation_size")
        settings = PairSettings(radius, most, *sizes, seed, band)
        return _partitioned_pairs(places, path, settings, workers, wait_for_workers, overwrite, tell)
    if path is not None and path.exists() and not overwrite:
        raise ArgumentError("out", f"{path} exists already; choose another `out` or pass `overwrite`")
    if workers is not None:
        workers = a_count(workers, "workers", 1)
    images = (("x_store", x_store), ("y_store", y_store))
    stores = [None if each is None else a_store_path(each, name) for name, each in images]
    hats = [isinstance(place, Path) and is_hats(place) for place in places]  # and not an address
    catalogues = None
    if all(hats):
        catalogues = Catalogues(*places, x_id, y_id, workers or 1)
        if (x_store is None) != (y_store is None):
            raise ArgumentError("x_store", "give both `x_store` and `y_store`, or neither")
        if x_store is None:
            return _matches(catalogues, radius, path, test_size, validation_size)
    elif any(hats):
        raise ArgumentError(
            "x", f"one of {places[0]} and {places[1]} is a HATS catalogue and the other is not; give two, or two stores"
        )
    elif x_store is not None or y_store is not None:
        raise ArgumentError(
            "x_store",
            f"{places[0]} and {places[1]} are no HATS catalogues; `x_store` and `y_store` go with these",
        )
    table = make_pairs(
        stores[0] or places[0],
        stores[1] or places[1],
        radius=radius,
        max_peak_offset=most,
        test_size=a_count(test_size, "test_size"),
        validation_size=a_count(validation_size, "validation_size"),
        seed=seed,
        band=band,
        catalogues=catalogues,
        workers=workers,
    )
    if path is not None:
        with whole_file(path) as temporary:
            table.write(temporary, format="ascii.ecsv")
    return table


def _partitioned_pairs(
    places: list[Path],
    out: Path | None,
    settings: PairSettings,
    workers: Any,
    wait: float | None,
    overwrite: bool,
    tell: Tell,
) -> PairFolder:
    """The pairs of two partitioned stores as a folder."""
    if out is None or out.suffix in (".ecsv", ".parquet"):
        wanted = "pairs" if out is None else out.with_suffix("")
        raise ArgumentError("out", f"pairs of partitioned stores are written into a folder: give `out` {wanted}")
    if is_elsewhere(workers):
        places, out = [place.absolute() for place in places], out.absolute()
    with workers_of(workers or os.cpu_count() or 1, wait, tell) as engine:
        return match_partitions(*places, out, settings, engine=engine, overwrite=overwrite)


def _matches(catalogues: Catalogues, radius: float, out: Path | None, test_size: int, validation_size: int) -> Path:
    """The pairs of two HATS catalogues as a Parquet file."""
    for name, size in (("test_size", test_size), ("validation_size", validation_size)):
        if size:
            raise ArgumentError(name, "it holds out images: give `x_store` and `y_store`")
    if out is None or out.suffix != ".parquet":
        wanted = "pairs.parquet" if out is None else out.with_suffix(".parquet")
        raise ArgumentError("out", f"pairs of HATS catalogues are written as Parquet: give `out` {wanted}")
    write_matches(catalogues, radius, out)
    return out


def regrid(
    store: Any,
    like: Any,
    out: Any,
    *,
    workers: Any = 1,
    wait_for_workers: float | None = None,
    overwrite: bool = False,
    tell: Tell = silent,
) -> Store:
    """Put the images of a store on the pixels of another store, with their flux kept.

    The centre and orientation of each image stay. The rows stay too, so that pair tables serve the new store as well.

    Parameters
    ----------
    store : Store or path-like
        The store to regrid.
    like : Store or path-like
        The store whose image size and pixel scale are taken.
    out : path-like
        Where the new store will be. An interrupted call is resumed by the same call.
    workers, wait_for_workers, tell
        As for `fetch`.
    overwrite : bool
        Replace an existing store, once the new one is complete.

    Returns
    -------
    Store

    Raises
    ------
    ArgumentError, StoreError
        An argument or a store cannot be used.

    Examples
    --------
    >>> from survey_tools import regrid
    >>> small = regrid("cfht.zarr", like="sdss.zarr", out="cfht64.zarr")  # doctest: +SKIP
    """
    paths = [a_store_path(store, "store"), a_store_path(like, "like"), a_path(out, "out")]
    if is_elsewhere(workers):
        paths = [path.absolute() for path in paths]
    make = regrid_partitions if is_partitioned(paths[0]) else regrid_store
    if make is regrid_store and is_partitioned(paths[1]):
        paths[1] = open_store(paths[1]).store(0).path  # any of its stores has its grid
    with workers_of(workers, wait_for_workers, tell) as engine:
        return make(*paths, engine=engine, overwrite=overwrite)


def convert(
    store: Any,
    out: Any,
    *,
    workers: Any = 1,
    wait_for_workers: float | None = None,
    overwrite: bool = False,
    tell: Tell = silent,
) -> Store | PartitionedStore:
    """Write a store again in the newest schema, with the same pixels to the bit, and check it.

    Columns, manifest, settings and planes stay. Stores of schema version 1 need no conversion to be used; in schema
    version 2 they have a hundredth of the files, and single objects are read many times faster.

    Parameters
    ----------
    store : Store, PartitionedStore or path-like
        The store to read.
    out : path-like
        Where the new store will be. An interrupted call is resumed by the same call.
    workers, wait_for_workers, tell
        As for `fetch`.
    overwrite : bool
        Replace an existing store, once the new one is complete.

    Returns
    -------
    Store or PartitionedStore

    Raises
    ------
    ArgumentError, StoreError
        An argument or a store cannot be used, or `out` exists and is another store.

    Examples
    --------
    >>> from survey_tools import convert
    >>> store = convert("sdss.zarr", out="sdss-2.zarr")  # doctest: +SKIP
    """
    paths = [a_store_path(store, "store"), a_path(out, "out")]
    if is_elsewhere(workers):
        paths = [path.absolute() for path in paths]
    make = convert_partitions if is_partitioned(paths[0]) else convert_store
    with workers_of(workers, wait_for_workers, tell) as engine:
        return make(*paths, engine=engine, overwrite=overwrite)


def partition(
    store: Any,
    out: Any,
    *,
    rows: int = ROWS,
    workers: Any = 1,
    wait_for_workers: float | None = None,
    overwrite: bool = False,
    tell: Tell = silent,
) -> PartitionedStore:
    """Split a store into a partitioned one: one store for each HEALPix pixel, in a folder laid out as a HATS catalogue.

    A pixel is split in four while it has more than ``rows`` objects. Pixels, columns and manifest stay; rows are in the
    order of the HEALPix curve.

    Parameters
    ----------
    store : Store or path-like
        The store to split. It stays as it is.
    out : path-like
        Where the partitioned store will be. An interrupted call is resumed by the same call.
    rows : int
        Objects of a partition at most.
    workers, wait_for_workers, tell
        As for `fetch`.
    overwrite : bool
        Replace an existing partitioned store, once the new one is complete.

    Returns
    -------
    PartitionedStore

    Raises
    ------
    ArgumentError, StoreError, CatalogueError
        An argument or the store cannot be used, or an object has no position.

    Examples
    --------
    >>> from survey_tools import partition
    >>> parts = partition("sdss.zarr", "sdss-parts", rows=100_000)  # doctest: +SKIP
    """
    paths = [a_store_path(store, "store"), a_path(out, "out")]
    if is_partitioned(paths[0]):
        raise ArgumentError("store", f"{paths[0]} is partitioned already")
    if is_elsewhere(workers):
        paths = [path.absolute() for path in paths]
    with workers_of(workers, wait_for_workers, tell) as engine:
        return split_store(*paths, most=a_count(rows, "rows", 1), engine=engine, overwrite=overwrite)


def simulate(
    out: Any,
    *,
    surveys: Any = None,
    galaxies: int | None = None,
    overlap: float | None = None,
    benchmark: str | None = None,
    bands: Any = None,
    seed: int | None = None,
    workers: int = 1,
    overwrite: bool = False,
) -> list[Path]:
    """Draw a sky that several surveys see: the same galaxies and stars, with the seeing and noise of each survey.

    By default the sky is written as the archives' own files, for `fetch`, with a catalogue for each survey. The same
    seed gives the same sky, however many workers draw it.

    Parameters
    ----------
    out : path-like
        A folder. An interrupted call is resumed by the same call.
    surveys : str or sequence of str, optional
        Two surveys or more, such as "des,hsc"; by default SDSS and CFHTLS. The sky is the same one for all.
    galaxies : int, optional
        Write stores of this many objects of each survey instead of archive files.
    overlap : float, optional
        The share of each survey's objects that the others see too, 0.5 by default; goes with ``galaxies``.
    benchmark : {"twin-v1", "twin-v1-small"}, optional
        Write a fixed set of stores, pairs and truth instead, to measure recipes on. With two ``surveys``, these see the
        sky of the set.
    bands : str or sequence of str, optional
        Bands to draw, of each survey those that it has; by default all of each.
    seed : int, optional
        Of everything random; 0 by default.
    workers : int
        Processes. A script that asks for several needs ``if __name__ == "__main__":`` around its calls.
    overwrite : bool
        Replace what an earlier simulation has left.

    Returns
    -------
    list of Path
        What was written. The images without noise are in ``OUT/truth``.

    Raises
    ------
    ArgumentError, GaltransError
        An argument or the folder cannot be used, or GalSim is not installed.

    Examples
    --------
    >>> from survey_tools import simulate
    >>> paths = simulate("sky", galaxies=100, bands="gri", workers=2)  # doctest: +SKIP
    """
    try:
        from survey_tools.twin_sky.benchmark import BENCHMARKS, simulate_benchmark
        from survey_tools.twin_sky.observing_facts import SIMULATED, coarse_to_fine
        from survey_tools.twin_sky.simulate import simulate_archive, simulate_stores
    except ModuleNotFoundError as error:
        if error.name != "galsim":
            raise
        raise GaltransError('the sky is drawn by GalSim, which is missing: pip install "galtrans[sim]"') from error

    path, workers = a_path(out, "out"), a_count(workers, "workers", 1)
    names = coarse_to_fine(some_surveys(surveys, SIMULATED) if surveys is not None else ("sdss", "cfht"))
    fixed = {"galaxies": galaxies, "overlap": overlap, "bands": bands, "seed": seed}
    if benchmark is not None:
        given = [name for name, value in fixed.items() if value is not None]
        if given:
            raise ArgumentError(given[0], "it does not go with `benchmark`, which is the same for everyone")
        if benchmark not in BENCHMARKS:
            raise ArgumentError("benchmark", f"{benchmark!r}: known are {', '.join(BENCHMARKS)}")
        if len(names) != 2:
            raise ArgumentError("surveys", f"{', '.join(names)}: a benchmark has the pairs of two surveys")
    drawn = {name: "".join(band for band in SURVEYS[name].bands if bands is None or band in bands) for name in names}
    if bands is not None:
        _each_drawn(bands, drawn)
    how = {"bands": drawn, "workers": workers, "overwrite": overwrite}
    if benchmark is not None:
        return simulate_benchmark(path, benchmark, **how)
    how["seed"] = a_count(seed or 0, "seed")
    if galaxies is None:
        if overlap is not None:
            raise ArgumentError("overlap", "it goes with `galaxies`; the archive files have their own")
        return simulate_archive(path, **how)
    share = 0.5 if overlap is None else overlap
    if not 0 <= share <= 1:
        raise ArgumentError("overlap", f"{overlap} is not a share between 0 and 1")
    return simulate_stores(path, a_count(galaxies, "galaxies", 1), **how, overlap=share)


def _each_drawn(bands: Any, drawn: dict[str, str]) -> None:
    """Raise ArgumentError if a band is in no survey, or a survey is left without bands."""
    for band in bands:
        if not any(band in each for each in drawn.values()):
            raise ArgumentError("bands", f"{bands!r}: none of {', '.join(drawn)} has the band {band}")
    for name, each in drawn.items():
        if not each:
            raise ArgumentError("bands", f"{bands!r}: {name} has the bands {''.join(SURVEYS[name].bands)}; add one")


def export(
    store: Any,
    rows: Any = None,
    out: Any = None,
    *,
    to: str = "fits",
    bands: Any = None,
    name: str | None = None,
    shard_size: int = SHARD_BYTES,
    license: str = "",
    overwrite: bool = False,
) -> Exported:
    """Write rows of a store in a form that other programs read: FITS files, WebDataset or HATS.

    FITS files have an image HDU for each band in nanomaggies, with WCS, and its mask. WebDataset is tar files of
    samples, and HATS is Parquet files by sky; both come with croissant.json (a description for programs), README.md (a
    data card) and checksums, and leave out objects whose status in the manifest is not `done`.

    The same call resumes an interrupted one: files that are there already, and were written from the same rows of the
    same store, stay.

    Parameters
    ----------
    store : Store or path-like
        The store.
    rows : int, slice, or sequence of int, optional
        Rows, counted from 0; by default all.
    out : path-like
        A folder.
    to : {"fits", "webdataset", "hats"}
        The form.
    bands : str or sequence of str, optional
        Bands to write, in this order; by default all of the store.
    name : str, optional
        Name of the data set, not for FITS; by default that of the store.
    shard_size : int
        Bytes of a tar file, or of the pixels of a Parquet file before compression, at most; not for FITS.
    license : str
        Licence that the data card states, such as "cc-by-4.0"; none is stated by default.
    overwrite : bool
        Write files again that are there, or replace another export.

    Returns
    -------
    Exported
        Its ``paths`` are the data files, ``kept`` those that were there already, ``count`` the number of objects, and
        ``left_out`` the number of rows without one, by reason.

    Raises
    ------
    ArgumentError, StoreError
        There is no such row, band or form, or no such store, or a file there is of something else.

    Examples
    --------
    >>> from survey_tools import export
    >>> made = export("sdss.zarr", out="shared", to="webdataset", bands="gri")  # doctest: +SKIP
    """
    opened = a_store(store, "store")
    folder = a_path(out, "out")
    forms = ("fits", *WRITERS)
    if to not in forms:
        raise ArgumentError("to", f"{to!r} is not one of {', '.join(forms)}")
    wanted = None if rows is None else _some_rows(opened, rows)
    known = tuple(dict.fromkeys(bands or opened.bands))
    if not set(known) <= set(opened.bands) or len(known) != len(bands or opened.bands):
        raise ArgumentError(
            "bands", f"{bands!r}: give each band once, out of {''.join(opened.bands)}, such as {opened.bands[0]}"
        )
    if to == "fits":
        every = range(len(opened)) if wanted is None else wanted.tolist()
        return export_files(opened, every, folder, bands=known, overwrite=overwrite)
    called = opened.path.stem if name is None else name
    if not A_NAME.fullmatch(called):
        raise ArgumentError("name", f"{called!r}: give letters, digits, - and _, such as sdss_main")
    sharing = Sharing(to, called, a_count(shard_size, "shard_size", 1), license)
    made = share(opened, wanted, known, folder, sharing, overwrite=overwrite)
    return Exported(made.paths, made.kept, len(made.selection.rows), made.selection.left_out)


def _some_rows(store: Store, rows: Any) -> np.ndarray:
    """Return rows of a store from a number, a slice or numbers; ArgumentError if there is no such row."""
    if isinstance(rows, slice):
        rows = range(*rows.indices(len(store)))
    wanted = np.atleast_1d(np.asarray(rows, np.int64))
    wrong = wanted[(wanted < 0) | (wanted >= len(store))]
    if len(wrong):
        raise ArgumentError("rows", f"{wrong[0]}: the store has rows 0 to {len(store) - 1}")
    return wanted


def verify(store: Any, *, workers: Any = 1) -> list[str]:
    """Check a store: every file against its checksum, every pixel against the columns and the manifest.

    Parameters
    ----------
    store : Store, PartitionedStore or path-like
        The store.
    workers : int, str or distributed.Client
        As for `fetch`. Of a partitioned store, each partition is one task.

    Returns
    -------
    list of str
        What is wrong, a line each; empty where the store is sound.

    Raises
    ------
    StoreError
        There is no store, or it has no checksums.
    """
    path = a_store_path(store, "store")
    path = path.absolute() if is_elsewhere(workers) else path
    with workers_of(workers) as engine:
        return verify_partitions(path, engine) if is_partitioned(path) else verify_store(path, engine)


def describe(store: Any) -> list[tuple[str, str]]:
    """Say what a store holds, or, of an unfinished store, how far it is: pairs of a label and a text.

    Raises
    ------
    StoreError
        There is no store.
    """
    if not isinstance(store, (Store, PartitionedStore)):
        path = a_store_path(store, "store")
        if isinstance(path, Path) and not path.exists():
            return summarise_unfinished(path) or summarise_begun(path)
        store = open_store(path)
    return summarise_partitions(store) if isinstance(store, PartitionedStore) else summarise(store)
