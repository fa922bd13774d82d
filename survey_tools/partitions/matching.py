"""Cross-match two partitioned stores: the pairs of `make_pairs`, partition by partition of x.

The pairs of a partition follow from its own objects and from those around it: the nearest neighbour of an object lies
within the radius, and the nearest neighbour of that one within two radii. Groups of galaxies whose cutouts could
overlap are linked across the borders of partitions, so that the test set is that of all pairs at once.
"""

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from astropy.coordinates import SkyCoord
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from survey_tools.build.builder import alone, require_same
from survey_tools.catalogue import split_groups
from survey_tools.errors import CatalogueError, StoreError
from survey_tools.files import SUMS, checksum, files_of, whole_file
from survey_tools.matching.pair_folders import PAIRS, SCHEMA, PairFolder, is_pair_folder
from survey_tools.matching.pairs import SPLITS, band_place
from survey_tools.matching.positions import DIRECTIONS, SHIFT, match, matches_by_chance, peaks_on_sky, separation_of
from survey_tools.partitions.layout import Pixel, touching
from survey_tools.partitions.making import begin_folder, put_folder
from survey_tools.sphere import chord, unit_vectors
from survey_tools.store.partitioned import PartitionedStore, open_store
from survey_tools.store.zarr_store import part_of
from survey_tools.tasks import Engine
from survey_tools.version import VERSION


@dataclass(frozen=True)
class PairSettings:
    """How two stores are matched.

    Attributes
    ----------
    radius, max_peak_offset : float
        Largest separation of the positions, and of the peaks [arcsec].
    test_size, validation_size, seed : int
        Pairs to hold out for tests, and to watch a training, and the seed of their draw.
    band : str
        Band whose peaks are compared.
    """

    radius: float = 1.0
    max_peak_offset: float = 1.0
    test_size: int = 0
    validation_size: int = 0
    seed: int = 0
    band: str = "r"


@dataclass(frozen=True)
class _Around:
    """One task: a partition of x, and the partitions around it."""

    number: int
    x: np.ndarray  # partitions of x, its own among them
    y: np.ndarray  # partitions of y


def match_partitions(
    x_path, y_path, out, settings: PairSettings, *, engine: Engine | None = None, overwrite: bool = False
) -> PairFolder:
    """Find the one-to-one pairs of two partitioned stores, and write them partition by partition of x.

    The pairs, their test set and the rate of false matches are those of `make_pairs` of two ordinary stores with the
    same rows in the same order.

    Parameters
    ----------
    x_path, y_path : path-like
        The partitioned stores.
    out : path-like
        The folder to write. An interrupted call is resumed by the same call.
    settings : PairSettings
        How they are matched.
    engine : Engine, optional
        Where tasks run; each partition of x is one.
    overwrite : bool
        Whether to replace an existing folder of pairs.

    Returns
    -------
    PairFolder
        The pairs.

    Raises
    ------
    StoreError
        A store cannot be opened, is not partitioned or lacks the band; or `out` exists and was made from something
        else.
    CatalogueError
        No pair is left, or no whole groups hold `test_size` or `validation_size` pairs.
    """
    x, y, out, engine = open_store(x_path), open_store(y_path), Path(out), engine or Engine()
    for store in (x, y):
        if not isinstance(store, PartitionedStore):
            raise StoreError(
                f"{store.path} is not partitioned and the other store is: split it with `galtrans partition "
                f"{store.path} OUT`"
            )
        band_place(store, settings.band)
    facts = {"x_rows": x.rows, "y_rows": y.rows, **asdict(settings)}
    with alone(out):
        if out.exists() and not is_pair_folder(out):
            raise StoreError(f"{out} is not a pair table of partitioned stores, so it is not replaced")
        if out.exists() and not overwrite:
            there = PairFolder(out)
            require_same(out, facts, {name: there.meta.get(name) for name in facts})
            return there
        folder = part_of(out.with_name(f".{out.name}.new") if out.exists() else out)
        begin_folder(folder, facts, overwrite=overwrite)
        _build(x, y, folder, settings, engine, {"x": str(x_path), "y": str(y_path)} | facts)
        put_folder(folder, out)
    return PairFolder(out)


def _build(
    x: PartitionedStore, y: PartitionedStore, folder: Path, settings: PairSettings, engine: Engine, meta: dict
) -> None:
    """Match, hold out, and write the folder."""
    work, reach = folder / ".work", np.radians(settings.radius / 3600)
    x_pixels, y_pixels = ([Pixel(part.order, part.pixel) for part in store.partitions] for store in (x, y))
    near_x = touching(x_pixels, x_pixels, 2 * reach)
    near_y = touching(x_pixels, y_pixels, (SHIFT + 1) * reach)
    tasks = [_Around(number, *around) for number, around in enumerate(zip(near_x, near_y, strict=True))]
    found = engine.run(partial(_match, x, y, settings, work), tasks, "crossmatch", "partition")
    matched, kept = (sum(each[name] for each in found) for name in ("matched", "kept"))
    if not kept:
        why = (
            f"none of the {matched} pairs within the radius has peaks that agree" if matched else "no object lies near"
        )
        raise CatalogueError(
            f"{x.path} and {y.path}: {why}; raise --radius or --max-peak-offset, or check that both cover the same sky"
        )
    firsts = np.cumsum([0] + [each["kept"] for each in found])
    split = np.zeros(kept, np.int8)
    if settings.test_size or settings.validation_size:
        link = np.sqrt(2) * max(store.size * store.pixel_scale for store in (x, y)) + 2 * settings.radius
        around = touching(x_pixels, x_pixels, np.radians(link / 3600))
        items = [(number, others, np.radians(link / 3600)) for number, others in enumerate(around)]
        linked = engine.run(partial(_links, work, firsts, x_pixels), items, "groups", "partition")
        edges = np.concatenate([np.zeros((0, 2), int), *linked])
        links = coo_array((np.ones(len(edges), bool), tuple(edges.T)), shape=(kept, kept))
        _split(split, connected_components(links, directed=False)[1], settings)
    files = []
    for number, pixel in enumerate(x_pixels):
        part = split[firsts[number] : firsts[number + 1]]
        _write(work / f"{number:06d}.parquet", folder / f"{pixel.name}.parquet", part)
        files.append([f"{pixel.name}.parquet", len(part)])
    chance = np.sum([each["chance"] for each in found], axis=0)
    meta |= {
        "dropped_for_peak_offset": matched - kept,
        **{word: int((split == number).sum()) for number, word in enumerate(SPLITS)},
    }
    meta |= {"false_match_rate": min(1.0, float(np.mean(chance)) / matched), "galtrans_version": VERSION}
    shutil.rmtree(work)
    with whole_file(folder / PAIRS) as temporary:
        temporary.write_text(json.dumps({"schema": SCHEMA, "meta": meta, "files": files}, indent=1) + "\n")
    with whole_file(folder / SUMS) as temporary:
        temporary.write_text("".join(f"{checksum(folder / name)}  {name}\n" for name in files_of(folder)))


def _match(x: PartitionedStore, y: PartitionedStore, settings: PairSettings, work: Path, task: _Around) -> dict:
    """Write the pairs of one partition of x, without a split, unless they are there; return how many there are."""
    path, record = work / f"{task.number:06d}.parquet", work / f"{task.number:06d}.json"
    if record.exists():
        return json.loads(record.read_text())
    part = x.partitions[task.number]
    limit = np.radians(settings.radius / 3600)
    centre, angle = Pixel(part.order, part.pixel).cap()
    x_row, x_place = _objects(x, task.x, settings.band, centre, angle + 2 * limit)
    y_row, y_place = _objects(y, task.y, settings.band, centre, angle + (SHIFT + 1) * limit)
    own = (x_row >= part.first) & (x_row < part.first + part.rows)
    x_sky, y_sky = (SkyCoord(*place.T, unit="deg") for place in (x_place, y_place))
    x_match, y_match, separation = match(x_sky, y_sky, settings.radius, workers=1)
    mine = own[x_match]
    x_match, y_match, separation = x_match[mine], y_match[mine], separation[mine]
    chance = matches_by_chance(x_sky, y_sky, settings.radius, own) if len(y_row) else [0] * DIRECTIONS
    rows = x_row[x_match], y_row[y_match]
    peaks = [_peaks(store, each, settings.band) for store, each in zip((x, y), rows, strict=True)]
    offset = separation_of(*peaks)
    kept = np.nan_to_num(offset, nan=np.inf) <= settings.max_peak_offset
    columns = {"x_row": rows[0], "y_row": rows[1], "separation": separation, "peak_offset": offset}
    columns |= {"ra": x_place[x_match, 0], "dec": x_place[x_match, 1]}
    with whole_file(path) as temporary:
        pq.write_table(pa.table({name: values[kept] for name, values in columns.items()}), temporary)
    found = {"matched": len(kept), "kept": int(kept.sum()), "chance": [int(count) for count in chance]}
    with whole_file(record) as temporary:
        temporary.write_text(json.dumps(found))
    return found


def _objects(
    store: PartitionedStore, numbers: np.ndarray, band: str, centre: np.ndarray, angle: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return rows (object,), counted through all partitions, and positions (object, 2) [deg] of what can be matched.

    Objects of some partitions count, if they lie within an angle [radian] of a centre (3,) and have an image in `band`.
    """
    rows, places, at = [np.zeros(0, int)], [np.zeros((0, 2))], band_place(store, band)
    for number in numbers.tolist():
        part, first = store.store(number), store.partitions[number].first
        place = np.column_stack([part.column("ra"), part.column("dec")])
        inside = np.linalg.norm(unit_vectors(*place.T) - centre, axis=1) <= chord(angle)
        fit = np.flatnonzero(inside & (part.column("coverage")[:, at] > 0))
        rows.append(first + fit)
        places.append(place[fit])
    return np.concatenate(rows), np.concatenate(places)


def _peaks(store: PartitionedStore, rows: np.ndarray, band: str) -> np.ndarray:
    """Return sky positions (object, 2) [deg] of the peaks of some rows' images; NaN if there is none."""
    peaks, index = np.full((len(rows), 2), np.nan), band_place(store, band)
    for part, wanted, local in _by_partition(store, rows):
        terms = [part.column(name) for name in ("crval", "crpix", "cd")]
        chunk = part.chunk_of(local)
        for number in np.unique(chunk).tolist():
            inside = chunk == number
            its, span = local[inside], part.chunk_span(number)
            images = part.images[span, index]
            peaks[wanted[inside]] = peaks_on_sky(images[its - span.start], *(term[its] for term in terms))
    return peaks


def _by_partition(store: PartitionedStore, rows: np.ndarray) -> Iterator[tuple]:
    """Yield the store of each partition that some rows lie in, the places of these rows, and their rows there."""
    number = store.number_of(rows)
    for each in np.unique(number).tolist():
        wanted = np.flatnonzero(number == each)
        yield store.store(each), wanted, rows[wanted] - store.partitions[each].first


def _links(work: Path, firsts: np.ndarray, pixels: list[Pixel], item: tuple[int, np.ndarray, float]) -> np.ndarray:
    """Return pairs of pairs (link, 2) whose cutouts could overlap, one of them in one partition.

    The item is the number of the partition, the numbers of those around it, and the length of a link [radian].
    """
    number, others, link = item
    centre, angle = pixels[number].cap()
    index, points = [np.zeros(0, int)], [np.zeros((0, 3))]
    for other in others.tolist():
        place = pq.read_table(work / f"{other:06d}.parquet", columns=["ra", "dec"])
        there = unit_vectors(place["ra"].to_numpy(), place["dec"].to_numpy())
        inside = np.flatnonzero(np.linalg.norm(there - centre, axis=1) <= chord(angle + link))
        index.append(firsts[other] + inside)
        points.append(there[inside])
    index, points = np.concatenate(index), np.concatenate(points)
    if len(points) < 2:
        return np.zeros((0, 2), int)
    pairs = index[cKDTree(points).query_pairs(chord(link), output_type="ndarray")]
    own = (pairs >= firsts[number]) & (pairs < firsts[number + 1])
    return pairs[own.any(axis=1)]


def _split(split: np.ndarray, group: np.ndarray, settings: PairSettings) -> None:
    """Set what each pair is for (pair,), the place of one of `SPLITS`, by whole groups, as `make_pairs` does."""
    random = np.random.default_rng(settings.seed)
    test = split_groups(group, settings.test_size, random)
    split[test] = SPLITS.index("test")
    if settings.validation_size:
        others = np.flatnonzero(~test)
        left = np.unique(group[others], return_inverse=True)[1]
        chosen = split_groups(left, settings.validation_size, random, "validation")
        split[others[chosen]] = SPLITS.index("validation")


def _write(source: Path, path: Path, split: np.ndarray) -> None:
    """Write the pairs of one partition with their split."""
    table = pq.read_table(source).drop_columns(["ra", "dec"])
    words = pa.DictionaryArray.from_arrays(pa.array(split), pa.array(SPLITS))
    with whole_file(path) as temporary:
        pq.write_table(table.append_column("split", words), temporary, compression="zstd")
