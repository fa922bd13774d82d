"""Convert a store: write its objects, pixels, columns and manifest again, in the newest schema."""

from functools import partial
from pathlib import Path

from survey_tools.build.builder import Chunk, StorePlan
from survey_tools.build.derived import Derivation, derive, row_of_survey
from survey_tools.errors import StoreError
from survey_tools.store.columns import MEASURED, TRANSLATED
from survey_tools.store.verify import verify
from survey_tools.store.zarr_store import CHUNK_BYTES, Store, open_store
from survey_tools.tasks import Engine


def convert_store(
    path, out, *, engine: Engine | None = None, overwrite: bool = False, chunk_bytes: int = CHUNK_BYTES
) -> Store:
    """Write a store again in the newest schema, with the same pixels to the bit.

    Columns, manifest, settings and planes are kept. The store is a fetched, ingested, regridded or translated one as
    before: the command that made it recognises the new one too. The new store is checked when it is finished, and so
    is an existing one that was converted from the same rows and settings. An interrupted conversion is resumed.

    Parameters
    ----------
    path : str or Path
        The store to read, of any schema version.
    out : str or Path
        Where the new store will be.
    engine : Engine, optional
        Where tasks run; one thread of this process by default.
    overwrite : bool
        Whether to replace an existing store, once the new one is finished.
    chunk_bytes : int
        Bytes that the images of a block of the new store may take.

    Returns
    -------
    Store
        The new store, open for reading.

    Raises
    ------
    StoreError
        The store is damaged, or `out` exists and is another store.
    """
    source, out, engine = open_store(path), Path(out), engine or Engine()
    facts = {"size": source.size, "pixel_scale": source.pixel_scale, "synthetic": source.synthetic}
    planes = source.attributes.get("planes", {})
    derivation = Derivation(
        source=source,
        plan=StorePlan(
            row_of_survey(source),
            source.bands,
            source.input_catalogue(),
            source.settings,
            **facts,
            planes=planes,
            chunk_bytes=chunk_bytes,
        ),
        make=partial(_copy, source),
        manifest=lambda before, _: before,
        desc="convert",
    )
    store = derive(derivation, out, engine, overwrite=overwrite)
    wrong = verify(store.path, engine)
    if wrong:
        raise StoreError(f"{out} is not what it should be ({wrong[0]}); convert {path} again with --overwrite")
    return store


def _copy(source: Store, rows: slice) -> Chunk:
    """Return some rows of the store."""
    names = [column.name for column in MEASURED + TRANSLATED if column.name in source.columns]
    columns = {name: source.column(name, rows) for name in names}
    planes = {name: plane[rows] for name, plane in source.planes.items()}
    return Chunk(source.images[rows], source.mask[rows], columns, {}, planes)
