"""A store made from another, row for row: chunk by chunk on any engine, gone on with after a kill."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from astropy.wcs import WCS

from survey_tools.build.builder import alone, begun, load, path_of, replacing, require_same, save
from survey_tools.build.gather import Chunk
from survey_tools.errors import StoreError
from survey_tools.images.cutout import resample_flags, sky_sigma
from survey_tools.images.sky_wcs import rescaled_wcs, tan_terms, tan_wcs
from survey_tools.store.columns import empty_columns
from survey_tools.store.manifest import write_manifest
from survey_tools.store.zarr_store import MANIFEST, Store, create, open_store, row_fingerprint
from survey_tools.surveys import Survey
from survey_tools.tasks import Engine

Manifest = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Derivation:
    """What is to be made of the rows of a store.

    Attributes:
        source: The store, open.
        survey: Row of the survey that the new images are of, or are like.
        bands: Of the new images.
        size: Rows, and columns, of a new image.
        pixel_scale: Of the new images [arcsec/pixel].
        settings: What it is made from, as JSON can hold it; a run that goes on must have the same.
        make: Rows of the new store to their `Chunk`. It is sent to other processes, so it must hold little.
        manifest: The manifest of some rows of the source, and what `make` said of them in its chunks' manifests, to
            theirs.
        desc: Word for the progress bar.
        synthetic: Where the pixels are no observation, the words that say so.
        planes: What is made of each object beside its image: name to description.
    """

    source: Store
    survey: Survey
    bands: tuple[str, ...]
    size: int
    pixel_scale: float
    settings: dict
    make: Callable[[slice], Chunk]
    manifest: Callable[[Manifest, Manifest], Manifest]
    desc: str
    synthetic: str = ""
    planes: Mapping[str, str] = field(default_factory=dict)


def derive(plan: Derivation, out, engine: Engine, *, overwrite: bool = False) -> Store:
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


@dataclass(frozen=True)
class Originals:
    """Some rows of a store: images [nanomaggy/pixel] and mask (object, band, row, col), and the terms of their WCS."""

    images: np.ndarray
    mask: np.ndarray
    crval: np.ndarray
    crpix: np.ndarray
    cd: np.ndarray


def read_originals(store: Store, rows: slice, bands: tuple[int, ...]) -> Originals:
    """Rows of a store, of which those bands are wanted that are at these places of its band axis."""
    images, mask = (array[rows][:, list(bands)] for array in (store.images, store.mask))
    return Originals(images, mask, *(store.column(name, rows) for name in ("crval", "crpix", "cd")))


def remake(
    originals: Originals,
    objects: np.ndarray,
    size: int,
    pixel_scale: float,
    make: Callable[[int, WCS, WCS], np.ndarray],
    *,
    interpolated: bool = True,
) -> Chunk:
    """New images of some objects, of the same centres and orientations, with everything that is measured on them.

    Saturated pixels, and all that a saturated one contributes to, are masked; so is what has no data. The others of the
    rows are NaN throughout.

    Args:
        originals: What they are made of.
        objects: Those that are made, by their places among the rows.
        size: Rows, and columns, of a new image.
        pixel_scale: Of the new images [arcsec/pixel].
        make: An object, the WCS of its image, and that of its new one, to the new image (band, size, size).
        interpolated: Whether the four nearest pixels alone contribute to a new one, or all that fall into it.
    """
    count, bands, _, side = originals.images.shape
    images, columns = np.full((count, bands, size, size), np.nan, np.float32), empty_columns(count, bands)
    mask = np.ones(images.shape, bool)
    for at in objects:
        crval = originals.crval[at]
        known = bool(np.isfinite(crval).all())  # an ingested image may lack a position; its grid serves anywhere
        wcs = tan_wcs(crval if known else (0.0, 0.0), originals.crpix[at], originals.cd[at])
        target = rescaled_wcs(wcs, (side, side), pixel_scale, size)
        images[at] = make(at, wcs, target)
        touched = _touched(originals.images[at], originals.mask[at], wcs, target, size, interpolated)
        mask[at] = np.isnan(images[at]) | touched
        columns["crval"][at], columns["crpix"][at], columns["cd"][at] = tan_terms(target)
        columns["crval"][at] += 0.0 if known else np.nan
        columns["sky_sigma"][at] = [sky_sigma(*band) for band in zip(images[at], mask[at], strict=True)]
    columns["coverage"][:] = np.isfinite(images).mean(axis=(2, 3))
    columns["saturated"][:] = (mask & np.isfinite(images)).sum(axis=(2, 3))
    return Chunk(images, mask, columns, {})


def _touched(images: np.ndarray, mask: np.ndarray, wcs: WCS, target: WCS, size: int, interpolated: bool) -> np.ndarray:
    """Which pixels (band, size, size) of the target a saturated pixel of images and mask (band, row, col) touches."""
    flags = mask & np.isfinite(images)
    none = np.zeros((size, size), bool)
    grids = wcs, target, size
    return np.stack([resample_flags(band, *grids, interpolated=interpolated) if band.any() else none for band in flags])


def row_of_survey(store: Store) -> Survey:
    """The survey's row that a store was made with."""
    return Survey(**{key: tuple(value) if isinstance(value, list) else value for key, value in store.survey.items()})


def _finished(out: Path, plan: Derivation) -> Store:
    """The store that is there; StoreError where it was made from something else."""
    store = open_store(out)
    objects = (plan.source.column(name) for name in ("object_id", "ra", "dec"))
    asked = {
        "survey": plan.survey.name,
        "rows": row_fingerprint(plan.survey.name, *objects),
        "bands": plan.bands,
        "grid": (plan.size, plan.pixel_scale),
        "settings": plan.settings,
    }
    there = {"survey": store.survey["name"], "rows": store.rows, "bands": store.bands, "settings": store.settings}
    require_same(out, asked, there | {"grid": (store.size, store.pixel_scale)})
    return store


def _begin(target: Path, plan: Derivation, overwrite: bool) -> Store:
    """The store as `TARGET.part`, begun or gone on with."""
    facts = {"size": plan.size, "pixel_scale": plan.pixel_scale, "synthetic": plan.synthetic}
    facts["planes"] = plan.planes
    begin = partial(create, target, plan.survey, plan.bands, plan.source.catalogue(), plan.settings, **facts)
    return begun(begin, target, overwrite=overwrite)


def _make_chunk(make: Callable[[slice], Chunk], store: Store, work: Path, rows: slice) -> None:
    """Write one chunk of the store, unless it is written."""
    if not path_of(work, rows).exists():
        chunk = make(rows)
        store.write(rows, chunk.images, chunk.mask, chunk.planes)
        save(work, store, rows, chunk)


def _finish(store: Store, work: Path, plan: Derivation) -> None:
    """Write columns and manifest, part by part, and give the store its name; what tasks left in `work` goes."""
    before, sums = plan.source.manifest(), {}

    def parts():
        for part in store.column_parts():
            made = load(work, store, part, sums)
            store.write_columns(made["column"], part)
            known = {name: np.asarray(before[name][part]) for name in before.colnames}
            yield {**plan.manifest(known, made["manifest"]), "object_id": store.column("object_id", part)}

    write_manifest(store.path / MANIFEST, parts())
    shutil.rmtree(work, ignore_errors=True)
    store.finish(sums=sums)
