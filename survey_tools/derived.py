"""A store made from another, row for row: chunk by chunk on any engine, gone on with after a kill."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from astropy.table import Table

from survey_tools.chunk_files import load, path_of, save
from survey_tools.columns import CATALOGUE, FRAME
from survey_tools.errors import StoreError
from survey_tools.gather import Chunk
from survey_tools.manifest import write_manifest
from survey_tools.replacing import alone, replacing
from survey_tools.store import MANIFEST, Store, create, open_store, row_fingerprint
from survey_tools.surveys import Survey
from survey_tools.tasks import Engine

Manifest = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Plan:
    """What is to be made of the rows of a store.

    Attributes:
        source: The store, open.
        survey: Row of the survey that the new images are of, or are like.
        bands: Of the new images.
        size: Rows, and columns, of a new image.
        pixel_scale: Of the new images [arcsec/pixel].
        settings: What it is made from, as JSON can hold it; a run that goes on must have the same.
        make: Rows of the new store to their `Chunk`. It is sent to other processes, so it must hold little.
        manifest: Rows, and what `make` said of them in its chunks' manifests, to their manifest.
        desc: Word for the progress bar.
        synthetic: Where the pixels are no observation, the words that say so.
    """

    source: Store
    survey: Survey
    bands: tuple[str, ...]
    size: int
    pixel_scale: float
    settings: dict
    make: Callable[[slice], Chunk]
    manifest: Callable[[slice, Manifest], Manifest]
    desc: str
    synthetic: str = ""


def derive(plan: Plan, out, engine: Engine, *, overwrite: bool = False) -> Store:
    """Make a store whose rows are those of another; returns it, open.

    The catalogue is carried over. A store that is there already is returned as it is if it was made from the same; one
    begun as `OUT.part` is gone on with. One task writes one whole chunk, so what is made depends neither on how many
    work on it nor on who is killed meanwhile.

    Args:
        plan: What to make.
        out: Where the new store will be.
        engine: Where tasks run.
        overwrite: Replace a store that is there, once the new one is finished.

    Raises:
        StoreError: `out` is the source, was made from something else, is no store, or is being made by another process.
    """
    out = Path(out)
    if out.resolve() == plan.source.path.resolve():
        raise StoreError(f"{out} is the store to read; choose another name for the one to make")
    with alone(out):
        if out.exists() and not overwrite:
            return _finished(out, plan)
        with replacing(out) as target:
            store = _begin(target, plan, overwrite)
            work = store.path / ".work"
            engine.run(partial(_make_chunk, plan.make, store, work), store.chunks(), plan.desc, "chunk")
            _finish(store, work, plan)
    return open_store(out)


def row_of_survey(store: Store) -> Survey:
    """The survey's row that a store was made with."""
    return Survey(**{key: tuple(value) if isinstance(value, list) else value for key, value in store.survey.items()})


def _finished(out: Path, plan: Plan) -> Store:
    """The store that is there; StoreError where it was made from something else."""
    store = open_store(out)
    objects = (plan.source.column(name) for name in ("object_id", "ra", "dec"))
    same = {
        "survey": store.survey["name"] == plan.survey.name,
        "rows": store.rows == row_fingerprint(plan.survey.name, *objects),
        "bands": store.bands == plan.bands,
        "grid": (store.size, store.pixel_scale) == (plan.size, plan.pixel_scale),
        "settings": store.settings == plan.settings,
    }
    different = [key for key, alike in same.items() if not alike]
    if different:
        raise StoreError(f"{out} was made with other {', '.join(different)}; choose another name or pass --overwrite")
    return store


def _begin(target: Path, plan: Plan, overwrite: bool) -> Store:
    """The store as `TARGET.part`, begun or gone on with."""
    present = plan.source.table().colnames
    names = [column.name for column in CATALOGUE + FRAME if column.name in present]
    catalogue = Table({name: plan.source.column(name) for name in names})
    facts = {"size": plan.size, "pixel_scale": plan.pixel_scale, "synthetic": plan.synthetic}
    begin = partial(create, target, plan.survey, plan.bands, catalogue, plan.settings, **facts)
    try:
        return begin()
    except StoreError:
        if not overwrite:
            raise
        shutil.rmtree(target.with_name(target.name + ".part"))  # begun with other settings
        return begin()


def _make_chunk(make: Callable[[slice], Chunk], store: Store, work: Path, rows: slice) -> None:
    """Write one chunk of the store, unless it is written."""
    if not path_of(work, rows).exists():
        chunk = make(rows)
        store.write(rows, chunk.images, chunk.mask)
        save(work, store, rows, chunk)


def _finish(store: Store, work: Path, plan: Plan) -> None:
    """Write columns and manifest, part by part, and give the store its name; what tasks left in `work` goes."""
    sums: dict[str, str] = {}

    def parts():
        for part in store.column_parts():
            made = load(work, store, part, sums)
            store.write_columns(made["column"], part)
            yield {**plan.manifest(part, made["manifest"]), "object_id": store.column("object_id", part)}

    write_manifest(store.path / MANIFEST, parts())
    shutil.rmtree(work, ignore_errors=True)
    store.finish(sums=sums)
