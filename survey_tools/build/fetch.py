"""Fetch: cut every object of a catalogue from the files of an archive into a store. Estimate the cost before."""

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table

from survey_tools.archives.download import http
from survey_tools.archives.known import ARCHIVES
from survey_tools.archives.plan import Archive, FetchPlan, SourceFile
from survey_tools.build import gather as spool
from survey_tools.build.builder import Build, StorePlan, alone, drop_unfinished, making, mending, recognise
from survey_tools.build.gather import Failure, Gathering, Work, gather
from survey_tools.errors import ArchiveError, AwayError, GaltransError
from survey_tools.files import naming, whole_file
from survey_tools.progress import duration, size
from survey_tools.store.manifest import FAILED
from survey_tools.store.summary import PLANNED
from survey_tools.store.zarr_store import CHUNK_BYTES, Store, open_store
from survey_tools.surveys import Survey
from survey_tools.tasks import Engine

log = logging.getLogger(__name__)

FILE_SECONDS = 0.5  # time of one core to open a file, mostly to unpack bzip2 (docs/explanation/benchmarks.md)
CUTOUT_SECONDS = 0.005  # time of one core to cut, keep and gather one cutout (docs/explanation/benchmarks.md)
RECORD = 5  # [byte] of a pixel in the spool: float32, and whether it is saturated
STORED = 4  # [byte] of a pixel in a store: noise does not compress
MUCH = 1e12  # [byte] above which SDSS asks to be told, https://www.sdss.org/dr17/data_access/bulk
DOWNLOADS_AT_ONCE = 3  # files that all workers may fetch from one archive at once, as in the examples of the CADC
AWAY = 3  # files in a row that cannot be reached, each after all patience: then the archive is away
ROUNDS = 3  # rounds of files that are fetched because the cutouts of earlier files lack something
MALFORMED = (ArithmeticError, LookupError, TypeError, ValueError, fits.VerifyError)  # errors that odd headers cause


@dataclass(frozen=True)
class Estimate:
    """What a fetch will cost.

    Attributes
    ----------
    objects : int
        Number of objects in the catalogue.
    reached : int
        Number of these objects that lie on a file.
    cutouts : int
        Number of cutouts, each of one object from one file.
    files : int
        Number of files to open.
    downloads : int
        Number of these files that have to be downloaded.
    bytes : int
        Bytes to download.
    requests : int
        Number of requests to the archive.
    disk : int
        Bytes that the store and the unfinished work take at most.
    seconds : float
        Time to expect [s].
    """

    objects: int
    reached: int
    cutouts: int
    files: int
    downloads: int
    bytes: int
    requests: int
    disk: int
    seconds: float


def estimate(
    plan: FetchPlan, survey: Survey, bands: tuple[str, ...], objects: int, *, workers: int, bandwidth: float, kept: bool
) -> Estimate:
    """Estimate what it costs to fetch the files of a plan.

    Parameters
    ----------
    plan : FetchPlan
        Which files hold which objects.
    survey : Survey
        The survey.
    bands : tuple of str
        The bands that are fetched.
    objects : int
        Number of objects in the catalogue.
    workers : int
        Tasks at once.
    bandwidth : float
        Bandwidth of a download [megabyte/s].
    kept : bool
        Whether downloaded files are kept.

    Returns
    -------
    Estimate
        The cost.
    """
    sources = plan.sources
    remote = [source for source in sources if source.bytes]
    cutouts = sum(len(source.rows) for source in sources)
    download = sum(source.bytes for source in remote)
    pixels = survey.cutout_size**2
    store, spool = objects * len(bands) * pixels * (STORED + 1), cutouts * pixels * RECORD
    in_use = download if kept else min(workers, len(remote)) * max((source.bytes for source in remote), default=0)
    work = (len(sources) * FILE_SECONDS + cutouts * CUTOUT_SECONDS) / workers
    waits = sum(source.wait for source in remote) / min(workers, DOWNLOADS_AT_ONCE)
    return Estimate(
        objects=objects,
        reached=len(np.unique(np.concatenate([source.rows for source in sources]))) if sources else 0,
        cutouts=cutouts,
        files=len(sources),
        downloads=len(remote),
        bytes=download,
        requests=sum(source.requests for source in remote),
        disk=store + spool + in_use,
        seconds=max(work, download / (bandwidth * 1e6) + waits),
    )


def in_words(cost: Estimate, bandwidth: float) -> list[str]:
    """Return an estimate as lines for the user.

    Parameters
    ----------
    cost : Estimate
        The estimate.
    bandwidth : float
        The bandwidth that it assumes [megabyte/s].

    Returns
    -------
    list of str
        Objects, files, cutouts, download, disk and time, one line each.
    """
    outside = cost.objects - cost.reached
    lines = [
        f"objects   {cost.objects:,}" + (f", {outside:,} of them on no file" if outside else ""),
        f"files     {cost.files:,}" + (f", {cost.downloads:,} to download" if cost.downloads else ", all at hand"),
        f"cutouts   {cost.cutouts:,}",
    ]
    if cost.downloads:
        lines.append(f"download  {size(cost.bytes)} in {cost.requests:,} requests")
    lines.append(f"disk      {size(cost.disk)}, unfinished work included")
    at = f", if downloads come at {bandwidth:g} MB/s" if cost.downloads else ""
    lines.append(f"time      about {duration(cost.seconds)}{at}")
    return lines


def in_a_word(cost: Estimate) -> str:
    """Return the download of an estimate as one line; "" if nothing has to be downloaded.

    Parameters
    ----------
    cost : Estimate
        The estimate.

    Returns
    -------
    str
        Bytes, requests and time.
    """
    if not cost.downloads:
        return ""
    return f"{size(cost.bytes)} to download in {cost.requests:,} requests: about {duration(cost.seconds)}"


def courtesy(cost: Estimate, survey: Survey) -> str:
    """Return what an archive asks of those who download more than 1 TB; "" for smaller fetches.

    Parameters
    ----------
    cost : Estimate
        The estimate.
    survey : Survey
        The survey whose archive is asked.

    Returns
    -------
    str
        A sentence for the user.
    """
    if cost.bytes <= MUCH:
        return ""
    ask = ARCHIVES[survey.name].bulk if survey.name in ARCHIVES else "ask the archive for"
    return (
        f"{size(cost.bytes)} is more than 1 TB: {ask} faster ways than HTTP; bring the files into a folder laid out as "
        "the archive and pass it as --mirror."
    )


@dataclass(frozen=True)
class FetchJob:
    """What `fetch` has to do.

    Attributes
    ----------
    archive : Archive
        The archive.
    catalogue : Table
        The objects to cut.
    rows : ndarray
        (n,) rows of the store that these objects are.
    bands : tuple of str
        Bands to cut.
    engine : Engine
        Where tasks run.
    tell : callable
        Takes the plan.
    fail_away : bool
        Whether the objects of files that cannot be reached fail.
    away_after : int
        Number of files in a row that cannot be reached, after which the run ends.
    may_be_empty : bool
        Whether the store is made even if the archive has nothing for any object, as for a part of the sky.
    """

    archive: Archive
    catalogue: Table
    rows: np.ndarray
    bands: tuple[str, ...]
    engine: Engine
    tell: Callable[[FetchPlan], None]
    fail_away: bool = False
    away_after: int = AWAY
    may_be_empty: bool = False


@dataclass(frozen=True)
class FileOutcome:
    """The outcome of cutting one file.

    Attributes
    ----------
    failure : Failure or None
        Why the file gave nothing; None if it gave its cutouts.
    lacks : ndarray or None
        What each of its cutouts lacks (`Piece.lacks`); None if none of them lacks anything.
    bytes : int
        Bytes downloaded for it.
    away : bool
        Whether the file could not be reached, so that it may be fetched at another time.
    """

    failure: Failure | None
    lacks: np.ndarray | None
    bytes: int
    away: bool = False


def work_folder(out: Path) -> Path:
    """Return the folder of downloaded files while a store is made. It is removed when the store is finished.

    Parameters
    ----------
    out : str or Path
        Where the finished store will be.

    Returns
    -------
    Path
        A hidden folder beside the store.
    """
    return Path(out).with_name(f".{Path(out).name}.files")


def forget(out: Path) -> None:
    """Remove what interrupted fetches have left of a store; a finished store stays.

    Parameters
    ----------
    out : Path
        Where the finished store would be.
    """
    with alone(Path(out)):
        drop_unfinished(Path(out))
        shutil.rmtree(work_folder(out), ignore_errors=True)


def fetch(
    archive: Archive,
    catalogue: Table,
    out,
    *,
    bands=None,
    engine: Engine | None = None,
    overwrite: bool = False,
    retry_failed: bool = False,
    fail_away: bool = False,
    tell: Callable[[FetchPlan], None] = lambda plan: None,
    chunk_bytes: int = CHUNK_BYTES,
    away_after: int = AWAY,
    may_be_empty: bool = False,
) -> Store:
    """Cut every object of a catalogue from the files of an archive into a store.

    An existing store is returned unchanged if it was made from the same catalogue and settings. A store that was
    interrupted is resumed, to the same bytes. The manifest accounts for each row of the catalogue: an object that
    cannot be cut is "failed" or "outside", with the reason.

    Parameters
    ----------
    archive : Archive
        An archive of `archives.known.ARCHIVES`, opened, or an archive of your own.
    catalogue : Table
        The objects, as `catalogue.read_catalogue` returns them.
    out : str or Path
        Where the finished store will be.
    bands : sequence of str, optional
        Bands to cut; all bands of the survey by default.
    engine : Engine, optional
        Where tasks run; one thread of this process by default.
    overwrite : bool
        Whether to replace an existing store, once the new one is finished.
    retry_failed : bool
        Whether to cut the failed rows of an existing store again; the store is then replaced by the mended one.
    fail_away : bool
        Whether the objects of files that cannot be reached fail. If not, such files end the run after all other files
        are cut, and the next run continues.
    tell : callable, optional
        Takes the plan, before any file is fetched.
    chunk_bytes : int
        Bytes that the images of a chunk of the store may take.
    away_after : int
        Number of files in a row that cannot be reached, each after all patience, after which the run ends at once.
    may_be_empty : bool
        Whether the store is made even if the archive has nothing for any object, as for a part of the sky.

    Returns
    -------
    Store
        The store, open for reading.

    Raises
    ------
    ArchiveError
        The archive holds nothing of the survey, or nothing for any of the objects.
    StoreError
        The store, or an interrupted one, was made from something else; or another process is making it.
    OSError
        The disk is full or the archive cannot be reached. The same call continues afterwards.
    """
    out, bands, engine = Path(out), tuple(bands or archive.survey.bands), engine or Engine()
    settings = {
        "command": f"galtrans fetch {archive.survey.name}",
        "catalogue": _checksum(catalogue),
        **archive.facts(),
    }
    plan = StorePlan(archive.survey, bands, catalogue, settings, chunk_bytes=chunk_bytes)
    job = FetchJob(
        archive, catalogue, np.arange(len(catalogue)), bands, engine, tell, fail_away, away_after, may_be_empty
    )
    with alone(out), naming(out), _tidied(work_folder(out)):
        if out.exists() and not overwrite:
            failed = np.flatnonzero(recognise(plan, out).manifest()["status"] == FAILED)
            if retry_failed and len(failed):
                with mending(out) as build:
                    _build(replace(job, catalogue=catalogue[failed], rows=failed), build)
        else:
            with making(plan, out, overwrite=overwrite) as build, _dropped_if_useless(build, work_folder(out)):
                _build(job, build)
    return open_store(out)


@contextmanager
def _dropped_if_useless(build: Build, downloads: Path) -> Iterator[None]:
    """Drop a store that this run began and for which nothing came, so that the right mirror may be given instead."""
    try:
        yield
    except ArchiveError:
        if build.fresh:
            build.drop()
            shutil.rmtree(downloads, ignore_errors=True)
        raise
    except ConnectionError:
        if build.fresh and not any(build.work.rglob("*.npy")):
            build.drop()  # but not the downloads: the next run resumes half a file
        raise


@contextmanager
def _tidied(folder: Path) -> Iterator[None]:
    """Remove a folder after the block; if the block has failed, remove it only if it is empty."""
    try:
        yield
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        with suppress(OSError):
            folder.rmdir()


def _checksum(catalogue: Table) -> str:
    """Return the SHA-256 of every column of a catalogue."""
    digest = hashlib.sha256()
    for name in catalogue.colnames:
        digest.update(f"\0{name}\0".encode())
        digest.update("\0".join(map(str, catalogue[name].tolist())).encode())
    return digest.hexdigest()


def _build(job: FetchJob, build: Build) -> None:
    """Cut, gather, and finish the store. Raise ArchiveError if the archive has nothing for it."""
    plan = job.archive.plan(job.catalogue, job.bands, job.engine.run)
    job.tell(plan)
    with whole_file(build.work / PLANNED) as temporary:
        temporary.write_text(json.dumps({"files": len(plan.sources)}))
    log.info("%d files hold objects of the catalogue; %d cannot be used", len(plan.sources), len(plan.unreadable))
    cutouts = build.work / "cutouts"
    outcomes = _cut_all(job, cutouts, plan.sources, "cut")
    for _ in range(ROUNDS):
        lacks = {at: each.lacks for at, each in enumerate(outcomes) if each.lacks is not None}
        neighbours = job.archive.neighbours(plan, lacks, job.engine.run)
        if not neighbours:
            break
        outcomes += _cut_all(job, cutouts, neighbours, "cut neighbours")
        plan = replace(plan, sources=plan.sources + neighbours)
    _require_reached(job, plan.sources, outcomes)
    sources = plan.sources
    order = sorted(range(len(sources)), key=lambda at: sources[at].name)
    plan = replace(plan, sources=[sources[at] for at in order])
    failures = {at: outcomes[was].failure for at, was in enumerate(order) if outcomes[was].failure}
    build.keep_chunks_from(_inputs(plan, failures))  # files come and go, or are mended, between two runs
    gathering = Gathering(job.archive.survey, job.bands, plan, cutouts, failures)
    spans = ((rows, _span(job, rows)) for rows in build.store.chunks())
    chunks = [(rows, span) for rows, span in spans if span.start < span.stop]
    works = ((rows, job.rows[span] - rows.start, gathering.work(span.start, span.stop)) for rows, span in chunks)
    job.engine.run(partial(_gather_chunk, build), works, "gather", "chunk", count=len(chunks))
    build.collect()
    if not job.may_be_empty and not build.store.column("coverage").any():
        origin, reason = build.store.settings.get("mirror", "the archive"), build.store.manifest()["reason"][0]
        raise ArchiveError(
            f"none of the {len(build.store)} objects could be cut from {origin}, the first of them because: {reason}"
        )
    build.finish()


def _gather_chunk(build: Build, item: tuple[slice, np.ndarray, Work]) -> None:
    """Write some objects of one chunk, unless it is written. The item is the chunk's rows, the objects' places, and
    their work.
    """
    rows, places, work = item
    if not build.has(rows):
        build.write(rows, gather(work), places)


def _inputs(plan: FetchPlan, failures: Mapping[int, Failure]) -> str:
    """Describe the files of a plan, the rows on each, and what is wrong with some of them."""
    files = hashlib.sha256()
    for source in plan.sources:
        files.update(f"\0{source.name}\0".encode() + np.asarray(source.rows, "<i8").tobytes())
    wrong = {at: asdict(why) for at, why in failures.items()}
    return json.dumps([files.hexdigest(), list(map(asdict, plan.unreadable)), wrong], sort_keys=True)


def _require_reached(job: FetchJob, sources: list[SourceFile], outcomes: list[FileOutcome]) -> None:
    """Raise AwayError if files could not be reached, unless their objects may fail.

    Such a file may be reached by the next run. All other files are cut by now, and their cutouts stay.
    """
    away = [at for at, outcome in enumerate(outcomes) if outcome.away]
    if away and not job.fail_away:
        why = outcomes[away[0]].failure
        raise AwayError(
            f"{len(away)} of {len(sources)} files could not be reached; the first: {why.reason}; the others are cut, "
            "and stay cut. --fail-away lets the objects of such files fail, so that the store is made without them.",
            url=why.url,
            status=why.status,
        )


def _span(job: FetchJob, rows: slice) -> slice:
    """Return the places in the job's catalogue of the objects that lie in a chunk of the store."""
    return slice(*np.searchsorted(job.rows, [rows.start, rows.stop]).tolist())


def _cut_all(job: FetchJob, cutouts: Path, sources: list[SourceFile], desc: str) -> list[FileOutcome]:
    """Put the cutouts of every file on disk."""
    remote = any(source.bytes for source in sources)
    task, items = partial(_cut, job.archive, cutouts), _with_positions(job.catalogue, sources)
    traffic, most = ((lambda outcome: outcome.bytes), DOWNLOADS_AT_ONCE) if remote else (None, None)
    unreached: list[Failure] = []

    def ended(outcome: FileOutcome) -> None:
        """Raise AwayError after so many files in a row that it must be the archive that cannot be reached."""
        if outcome.away:
            unreached.append(outcome.failure)
        elif outcome.failure is None:
            unreached.clear()
        if len(unreached) >= job.away_after:
            why = unreached[-1]
            raise AwayError(why.reason, url=why.url, status=why.status)

    facts = {"count": len(sources), "traffic": traffic, "live": http.received, "most": most, "ended": ended}
    return job.engine.run(task, items, desc, "file", **facts)


def _with_positions(catalogue: Table, sources: list[SourceFile]) -> Iterator[tuple[SourceFile, np.ndarray, np.ndarray]]:
    """Yield every file with ra and dec (n,) [deg] of its rows, which is all that a task needs of the catalogue."""
    ra, dec = (np.asarray(catalogue[name], float) for name in ("ra", "dec"))
    return ((source, ra[source.rows], dec[source.rows]) for source in sources)


def _cut(archive: Archive, folder: Path, item: tuple[SourceFile, np.ndarray, np.ndarray]) -> FileOutcome:
    """Put the cutouts of one file on disk, unless they are there.

    An unusable file, or one that cannot be reached, raises nothing: the outcome says so, and the other files are cut.
    """
    source, ra, dec = item
    path, before, failure, lacks = spool.path_of(folder, source), http.traffic().bytes, None, None
    away = False
    try:
        if not path.exists():
            spool.save(path, archive.cut(source, ra, dec), len(ra), archive.survey.cutout_size)
        found = spool.lacks(path)
        lacks = found if found.any() else None  # of a million files, few have any
    except GaltransError as error:
        log.info("%s", error)
        failure = Failure(str(error), getattr(error, "url", ""), getattr(error, "status", 0))
    except MALFORMED as error:  # one odd header must not end the run: it fails the objects of its file
        log.info("%s", source.name, exc_info=True)
        failure = Failure(f"{source.name} cannot be used ({type(error).__name__}: {error}); fetch it again")
    except ConnectionError as error:
        log.info("%s", error)
        failure, away = Failure(str(error), getattr(error, "url", ""), getattr(error, "status", 0)), True
    return FileOutcome(failure, lacks, http.traffic().bytes - before, away)
