"""Catalogue and archive in, store out: cut file by file, gathered chunk by chunk, resumed where a run was killed.

First every file is opened once and the cutouts of all its objects are put on disk (`spool`); then every chunk is
gathered from them and written whole. Both are independent tasks whose results are there or not, so a run that was
killed goes on from them, and its store is the same to the byte.
"""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from astropy.table import Table

from survey_tools import spool
from survey_tools.archives import cfht, sdss
from survey_tools.archives.mirror import Mirror
from survey_tools.archives.plan import Cuts, Plan, Source
from survey_tools.atomic import whole_file
from survey_tools.errors import ArchiveError, GaltransError, StoreError
from survey_tools.gather import Gathering, gather
from survey_tools.replacing import alone, replacing
from survey_tools.store import Store, create, open_store, row_fingerprint
from survey_tools.surveys import Survey
from survey_tools.tasks import run

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Archive:
    """How a survey's archive is used: which files hold which objects, and the cutouts that one file gives."""

    plan: Callable[[Mirror, Table, tuple[str, ...], int], Plan]
    cut: Callable[[Mirror, Source, np.ndarray, np.ndarray], Cuts]


ARCHIVES = {"sdss": Archive(sdss.plan, sdss.cut), "cfht": Archive(cfht.plan, cfht.cut)}


@dataclass(frozen=True)
class Job:
    """What every task of a run needs to know: survey, catalogue, mirror, and the folder of unfinished work."""

    survey: Survey
    catalogue: Table
    mirror: Mirror
    work: Path
    workers: int

    @property
    def spool(self) -> Path:
        """Where the cutouts lie until they are gathered."""
        return self.work / "cutouts"


def fetch(
    survey: Survey, catalogue: Table, mirror: str, out, *, bands=None, workers: int = 1, overwrite: bool = False
) -> Store:
    """Cut every object of a catalogue from the files of an archive into a store; returns it, open.

    A store that is there already is returned as it is if it was made from the same; one begun as `OUT.part` is gone on
    with. Each row of the catalogue is accounted for in the manifest: an object that cannot be cut is "failed" or
    "outside", with the reason.

    Args:
        survey: The survey's row.
        catalogue: As `catalogue.read_catalogue` gives it.
        mirror: Local folder, or http(s) URL, of the archive's files.
        out: Where the finished store will be.
        bands: To cut; all of the survey by default.
        workers: Parallel tasks.
        overwrite: Replace a store that is there, once the new one is finished.

    Raises:
        ArchiveError: Where the mirror holds nothing of the survey, or nothing for any of the objects.
        StoreError: Where `out` or `OUT.part` was made from something else, or another process is making it.
        OSError: Where the disk is full or the archive cannot be reached; the same call goes on afterwards.
    """
    out, bands = Path(out), tuple(bands or survey.bands)
    settings = {
        "command": f"galtrans fetch {survey.name}",
        "mirror": str(mirror),
        "catalogue": _checksum(catalogue),
    }
    with alone(out):
        if out.exists() and not overwrite:
            return _finished(out, survey, bands, catalogue, settings)
        with replacing(out) as target:
            part = target.with_name(target.name + ".part")
            fresh = not part.exists()
            store = _begin(target, survey, bands, catalogue, settings, overwrite)
            work = part / ".work"
            try:
                _build(Job(survey, catalogue, Mirror(str(mirror), work / "files"), work, workers), store)
            except ArchiveError:
                if fresh:
                    shutil.rmtree(part)
                raise
    return open_store(out)


def _checksum(catalogue: Table) -> str:
    """SHA-256 of every column of a catalogue."""
    digest = hashlib.sha256()
    for name in catalogue.colnames:
        digest.update(f"\0{name}\0".encode())
        digest.update("\0".join(map(str, catalogue[name].tolist())).encode())
    return digest.hexdigest()


def _finished(out: Path, survey: Survey, bands: tuple[str, ...], catalogue: Table, settings: dict) -> Store:
    """The store that is there; StoreError where it was made from something else."""
    store = open_store(out)
    asked = {
        "survey": survey.name,
        "bands": bands,
        "objects": row_fingerprint(survey.name, catalogue["object_id"], catalogue["ra"], catalogue["dec"]),
        **settings,
    }
    there = {"survey": store.survey["name"], "bands": store.bands, "objects": store.rows, **store.settings}
    different = [key for key, value in asked.items() if there.get(key) != value]
    if different:
        raise StoreError(f"{out} was made with other {', '.join(different)}; choose another name or pass --overwrite")
    shutil.rmtree(_parked(out.with_name(out.name + ".part")), ignore_errors=True)
    return store


def _begin(target: Path, survey: Survey, bands, catalogue: Table, settings: dict, overwrite: bool) -> Store:
    """The store as `TARGET.part`, begun or gone on with."""
    part = target.with_name(target.name + ".part")
    if _parked(part).exists():  # killed while it was finished
        os.rename(_parked(part), part / ".work") if part.exists() else shutil.rmtree(_parked(part))
    try:
        return create(target, survey, bands, catalogue, settings)
    except StoreError:
        if not overwrite:
            raise
        shutil.rmtree(part)  # begun with other settings
        return create(target, survey, bands, catalogue, settings)


def _parked(part: Path) -> Path:
    """Where unfinished work is put while a store gets its name: beside it, for a store holds nothing else."""
    return part.with_name(f".{part.name}.work")


def _build(job: Job, store: Store) -> None:
    """Cut, gather, and finish the store. ArchiveError where the mirror has nothing for it."""
    archive = ARCHIVES[job.survey.name]
    plan = archive.plan(job.mirror, job.catalogue, store.bands, job.workers)
    log.info("%d files hold objects of the catalogue; %d cannot be used", len(plan.sources), len(plan.unreadable))
    outcomes = run(partial(_cut, job), plan.sources, job.workers, desc="cut", unit="file")
    failures = {index: outcome for index, outcome in enumerate(outcomes) if outcome}
    _forget_chunks_of_other_failures(job.work, {plan.sources[i].name: why for i, why in failures.items()})
    gathering = Gathering(job.survey, store.bands, plan, job.spool, failures)
    chunks = run(partial(_gather, job, store, gathering), store.chunks(), job.workers, desc="gather", unit="chunk")
    columns = {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}
    if not columns["coverage"].any():
        raise ArchiveError(
            f"none of the {len(store)} objects could be cut from {job.mirror.root}, the first of them because: "
            f"{columns['reason'][0]}"
        )
    names = {"status": "status", "reason": "reason", "files": "file"}  # `file` is taken by numpy.savez
    manifest = Table({"object_id": store.column("object_id")} | {names[key]: columns.pop(key) for key in names})
    store.write_columns(columns)
    os.rename(job.work, _parked(store.path))
    parked = _parked(store.path)
    store.finish(manifest)
    shutil.rmtree(parked)


def _cut(job: Job, source: Source) -> str:
    """Put the cutouts of one file on disk, unless they are there; returns why that is not possible, or ""."""
    path = spool.path_of(job.spool, source)
    if path.exists():
        return ""
    ra, dec = (np.asarray(job.catalogue[name], float)[source.rows] for name in ("ra", "dec"))
    try:
        cuts = ARCHIVES[job.survey.name].cut(job.mirror, source, ra, dec)
    except GaltransError as error:
        log.info("%s", error)
        return str(error)
    spool.save(path, cuts, job.survey.cutout_size)
    return ""


def _gather(job: Job, store: Store, gathering: Gathering, rows: slice) -> dict[str, np.ndarray]:
    """Write one chunk of the store, unless it is written; returns its columns and its part of the manifest."""
    path = job.work / "chunks" / f"{rows.start:09d}.npz"
    if not path.exists():
        chunk = gather(gathering, rows)
        store.write(rows, chunk.images, chunk.mask)
        with whole_file(path) as temporary:
            np.savez(temporary, **{name: _plain(values) for name, values in (chunk.columns | chunk.manifest).items()})
    with np.load(path) as values:
        return dict(values)


def _plain(values: np.ndarray) -> np.ndarray:
    """Text as an array of fixed width, which a file can hold."""
    return values.astype(str) if values.dtype == object else values


def _forget_chunks_of_other_failures(work: Path, failures: dict[str, str]) -> None:
    """Gather anew where a file that failed in an earlier run has been mended since, or the other way round."""
    record = work / "failures.json"
    said = json.dumps(failures, sort_keys=True)
    if record.exists() and record.read_text() != said:
        shutil.rmtree(work / "chunks", ignore_errors=True)
    with whole_file(record) as temporary:
        temporary.write_text(said)
