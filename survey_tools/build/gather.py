"""Keep the cutouts of each file on disk, and gather them into the chunks of a store.

A file is opened once, for all its objects. Its cutouts lie in the spool, one array of records per file, until the chunk
of each object is gathered.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from survey_tools.archives.fits_files import Unreadable
from survey_tools.archives.plan import FetchPlan, Piece, SourceFile
from survey_tools.build.builder import Chunk
from survey_tools.files import whole_file
from survey_tools.images.cutout import sky_sigma
from survey_tools.images.sky_wcs import SAME, grids_apart, tan_terms, tan_wcs
from survey_tools.store.columns import empty_columns
from survey_tools.store.manifest import DONE, FAILED, OUTSIDE
from survey_tools.surveys import Survey

FACTS = (
    "zero_point",
    "psf_fwhm",
    "psf_source",
    "saturation_source",
    "gain",
    "sky_sigma",
    "exposure",
    "zeros",
    "lacks",
)
NAMED = 3  # files that a reason names; if there are more, it gives their number


def record_dtype(size: int) -> np.dtype:
    """Return the type of one record of the spool, which holds one `Piece`.

    Parameters
    ----------
    size : int
        Rows, and columns, of a cutout [pixel].

    Returns
    -------
    dtype
        The image [nanomaggy/pixel], the saturated pixels, the TAN terms [deg, pixel], and the other fields of a
        `Piece`.
    """
    pixels = (size, size)
    wcs = [("crval", "f8", 2), ("crpix", "f8", 2), ("cd", "f8", (2, 2))]
    facts = [("zero_point", "f8"), ("psf_fwhm", "f8"), ("psf_source", "U8"), ("gain", "f8"), ("sky_sigma", "f8")]
    facts += [("saturation_source", "U8"), ("exposure", "U24"), ("zeros", "U200"), ("lacks", "i1")]
    return np.dtype([("image", "f4", pixels), ("saturated", "?", pixels), *wcs, *facts])


def path_of(folder: Path, source: SourceFile) -> Path:
    """Return where the cutouts of a file lie in the spool.

    The name depends on the file and on its rows, so that the cutouts of another plan are never used.

    Parameters
    ----------
    folder : Path
        The spool.
    source : SourceFile
        The file and its rows.

    Returns
    -------
    Path
        The file of its cutouts.
    """
    key = hashlib.sha256(source.name.encode() + np.asarray(source.rows, "<i8").tobytes()).hexdigest()[:32]
    return folder / key[:2] / f"{key}.npy"


def save(path: Path, pieces: Iterable[Piece], count: int, size: int) -> None:
    """Write the cutouts of one file as they are made.

    Parameters
    ----------
    path : Path
        Where to write them, from `path_of`.
    pieces : iterable of Piece
        The cutouts, in the order of the rows.
    count : int
        How many there must be.
    size : int
        Rows, and columns, of a cutout [pixel].

    Raises
    ------
    OSError
        The disk is full; then no part of the file is left.
    """
    dtype, written = record_dtype(size), 0
    with whole_file(path) as temporary, temporary.open("wb") as file:
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (count,)}
        np.lib.format.write_array_header_2_0(file, header)
        for piece in pieces:
            file.write(_record(piece, dtype).tobytes())
            written += 1
        if written != count:
            raise ValueError(f"{written} pieces were made of {count}")


def load(path: Path, places: slice) -> np.ndarray:
    """Return some of the cutouts of one file, without reading the rest.

    Parameters
    ----------
    path : Path
        The file of cutouts, from `path_of`.
    places : slice
        Which of them.

    Returns
    -------
    ndarray
        (n,) records of `record_dtype`.
    """
    return np.array(np.load(path, mmap_mode="r")[places])


def lacks(path: Path) -> np.ndarray:
    """Return what each cutout of one file lacks.

    Parameters
    ----------
    path : Path
        The file of cutouts, from `path_of`.

    Returns
    -------
    ndarray
        (n,) `Piece.lacks` of each.
    """
    return np.array(np.load(path, mmap_mode="r")["lacks"])


def _record(piece: Piece, dtype: np.dtype) -> np.ndarray:
    """Return one piece as a record ()."""
    record, cutout = np.zeros((), dtype), piece.cutout
    record["image"], record["saturated"] = cutout.image, cutout.saturated
    record["crval"], record["crpix"], record["cd"] = tan_terms(cutout.wcs)
    for name in FACTS:
        record[name] = getattr(piece, name)
    return record


@dataclass(frozen=True)
class Failure:
    """Why a file gave nothing.

    Attributes
    ----------
    reason : str
        What was wrong.
    url : str
        The address of the download; "" if the file was not downloaded.
    status : int
        HTTP status of the download; 0 if there was none.
    """

    reason: str
    url: str = ""
    status: int = 0


@dataclass(frozen=True)
class ChunkPart:
    """What one file has for one chunk.

    Attributes
    ----------
    name : str
        Name of the file.
    band : int
        Index of its band.
    objects : ndarray
        (n,) places of its objects within the chunk, ascending.
    path : Path
        The file of its cutouts.
    places : ndarray
        (n,) places of these objects among the cutouts, ascending.
    failure : Failure or None
        Why there are no cutouts.
    sure : ndarray
        (n,) whether a list of the archive says that the middle of the object has data in this file.
    """

    name: str
    band: int
    objects: np.ndarray
    path: Path
    places: np.ndarray
    failure: Failure | None
    sure: np.ndarray


@dataclass(frozen=True)
class Work:
    """What a task needs to make some objects of one chunk. It is small, because it is sent to the task.

    Attributes
    ----------
    survey : Survey
        The survey.
    bands : tuple of str
        Bands, in the order of the band axis.
    count : int
        Number of objects.
    shares : list of ChunkPart
        What each file has for them, in the order in which the files are combined.
    unreadable : list of Unreadable
        Files that could not be used at all.
    """

    survey: Survey
    bands: tuple[str, ...]
    count: int
    shares: list[ChunkPart]
    unreadable: list[Unreadable]


class Gathering:
    """Which cutouts of which files make up which rows.

    Parameters
    ----------
    survey : Survey
        The survey.
    bands : tuple of str
        Bands, in the order of the band axis.
    plan : FetchPlan
        The files, in the order in which they are combined.
    spool : Path
        Folder of their cutouts.
    failures : mapping of int to Failure
        What was wrong with a file, by its index in the plan.
    """

    def __init__(
        self, survey: Survey, bands: tuple[str, ...], plan: FetchPlan, spool: Path, failures: Mapping[int, Failure]
    ) -> None:
        self._survey, self._bands, self._plan, self._spool, self._failures = survey, bands, plan, spool, failures
        counts = [len(source.rows) for source in plan.sources]
        rows = np.concatenate([np.zeros(0, np.intp), *(source.rows for source in plan.sources)])
        source = np.repeat(np.arange(len(counts)), counts)
        place = np.concatenate([np.zeros(0, np.intp), *(np.arange(count) for count in counts)])
        order = np.argsort(rows, kind="stable")
        sure = [np.zeros(len(each.rows), bool) if each.sure is None else each.sure for each in plan.sources]
        self._row, self._source, self._place = rows[order], source[order], place[order]
        self._sure = np.concatenate([np.zeros(0, bool), *sure])[order]

    def work(self, first: int, last: int) -> Work:
        """Return what a task needs to make some objects.

        Parameters
        ----------
        first, last : int
            The first row of the catalogue, and the row after the last one.

        Returns
        -------
        Work
            Small enough to be sent to a task.
        """
        part = slice(*np.searchsorted(self._row, [first, last]))
        row, source, place = self._row[part] - first, self._source[part], self._place[part]
        sure = self._sure[part]
        shares = []
        for index in np.unique(source):
            mine, file = source == index, self._plan.sources[index]
            path, failure = path_of(self._spool, file), self._failures.get(int(index))
            shares.append(
                ChunkPart(file.name, self._bands.index(file.band), row[mine], path, place[mine], failure, sure[mine])
            )
        return Work(self._survey, self._bands, last - first, shares, self._plan.unreadable)


def gather(work: Work) -> Chunk:
    """Make some objects of one chunk from the cutouts of their files.

    Where several files have a pixel, their mean is taken. An object that has no data at its position in any band is
    "outside", and keeps no pixel at all.

    Parameters
    ----------
    work : Work
        The objects and their files.

    Returns
    -------
    Chunk
        The objects, with the status of each and the reason for it.
    """
    chunk = _empty_chunk(work)
    pieces: dict[tuple[int, int], list[tuple[ChunkPart, np.ndarray]]] = {}
    failed: dict[tuple[int, int], list[ChunkPart]] = {}
    zeros: dict[int, list[str]] = {}
    sure: dict[int, list[ChunkPart]] = {}
    for share in work.shares:
        for at in share.objects[share.sure]:
            sure.setdefault(at, []).append(share)
        if share.failure:
            for at in share.objects:
                failed.setdefault((at, share.band), []).append(share)
            continue
        # Rows and places both ascend, so everything between the first and the last is wanted.
        records = load(share.path, slice(share.places[0], share.places[-1] + 1))
        for at, record in zip(share.objects, records, strict=True):
            if np.isfinite(record["image"]).any():
                pieces.setdefault((at, share.band), []).append((share, record))
    for (at, band), found in list(pieces.items()):
        other = _on_another_grid(found, next(pieces[at, b] for b in range(len(work.bands)) if (at, b) in pieces))
        if other:
            failed.setdefault((at, band), []).append(other)
            del pieces[at, band]
            continue
        _combine(chunk, at, band, [share.name for share, _ in found], [record for _, record in found])
        said = _joined(str(record["zeros"]) for _, record in found if record["zeros"])
        if said:
            zeros.setdefault(at, []).append(f"{work.bands[band]}: {said}")
    for at in range(work.count):
        bands = range(len(work.bands))
        _judge(work, chunk, at, [failed.get((at, band), []) for band in bands], zeros.get(at, []), sure.get(at, []))
    return chunk


def _on_another_grid(
    found: list[tuple[ChunkPart, np.ndarray]], first: list[tuple[ChunkPart, np.ndarray]]
) -> ChunkPart | None:
    """Return a failed share if its pixels are not those of the `first` band, because a store has one WCS per object."""
    name, record = first[0][0].name, first[0][1]
    for share, own in found:
        terms, own_terms = ([each[term] for term in ("crval", "crpix", "cd")] for each in (record, own))
        if all(map(np.array_equal, own_terms, terms)):
            continue
        if not grids_apart(tan_wcs(*own_terms), tan_wcs(*terms), own["image"].shape) < SAME:
            return replace(share, failure=Failure(f"{share.name} has other pixels on the sky than {name}"))
    return None


def _empty_chunk(work: Work, count: int | None = None) -> Chunk:
    """Return objects without any pixel: all of a chunk, or `count`."""
    bands, size, count = len(work.bands), work.survey.cutout_size, work.count if count is None else count
    shape = (count, bands, size, size)
    columns = empty_columns(count, bands)
    manifest = {name: np.full(count, "", object) for name in ("status", "reason", "file", "url")}
    manifest["http"] = np.zeros(count, np.int32)
    return Chunk(np.full(shape, np.nan, np.float32), np.ones(shape, bool), columns, manifest)


def _combine(chunk: Chunk, at: int, b: int, names: list[str], records: list[np.ndarray]) -> None:
    """Fill in one object and band from the records of the files `names`, all of which have data."""
    first, columns = records[0], chunk.columns
    if len(records) == 1:
        image, saturated = first["image"], first["saturated"]
        data = np.isfinite(image)
    else:
        image, data = _mean([record["image"] for record in records])
        saturated = np.any([record["saturated"] for record in records], axis=0)
    chunk.images[at, b] = image
    mask = chunk.mask[at, b] = (saturated & data) | ~data
    for name in ("crval", "crpix", "cd"):
        columns[name][at] = first[name]
    columns["coverage"][at, b] = data.mean()
    columns["saturated"][at, b] = (saturated & data).sum()
    columns["sky_sigma"][at, b] = _noise(records, image, mask)
    for name in ("psf_fwhm", "gain"):
        stated = [float(record[name]) for record in records if np.isfinite(record[name])]
        columns[name][at, b] = np.mean(stated) if stated else np.nan
    for name in ("psf_source", "saturation_source"):
        columns[name][at, b] = _joined(str(record[name]) for record in records if record[name])
    columns["zero_point"][at, b] = first["zero_point"]
    columns["source"][at, b] = ";".join(names)


def _mean(images: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean (row, col) of the images that have data at a pixel, NaN where none has; and where any has."""
    stack = np.array(images, dtype=float)
    data = np.isfinite(stack)
    count = data.sum(axis=0)
    with np.errstate(invalid="ignore"):
        mean = np.where(count > 0, np.where(data, stack, 0.0).sum(axis=0) / count, np.nan)
    return mean.astype(np.float32), count > 0


def _noise(records: list[np.ndarray], image: np.ndarray, mask: np.ndarray) -> float:
    """Return sigma of blank sky: as the files state it if they show the same photons, else measured on their mean."""
    known = np.array([record["sky_sigma"] for record in records])
    one = len(records) == 1 or (records[0]["exposure"] and len({str(record["exposure"]) for record in records}) == 1)
    return float(np.sqrt(np.mean(known**2))) if one and np.isfinite(known).all() else sky_sigma(image, mask)


def _judge(
    work: Work, chunk: Chunk, at: int, failed: list[list[ChunkPart]], zeros: list[str], sure: list[ChunkPart]
) -> None:
    """Set the status of one object, the reason, and the files that the reason is about or that the object is from.

    `zeros` are remarks on pixels that are exactly 0. An object without data at its position has failed, and is not
    outside, if the archive's list has it on the files `sure`.
    """
    bands, coverage = work.bands, chunk.columns["coverage"][at]
    middle = slice(work.survey.cutout_size // 2 - 1, work.survey.cutout_size // 2 + 1)
    broken = [share for shares in failed for share in shares]  # even if others cover it: their mean would be another
    verdict = {"status": FAILED, "reason": "", "file": "", "url": "", "http": 0}
    if broken:
        why = broken[0].failure
        reason = "; ".join(f"{bands[share.band]}: {share.failure.reason}" for share in broken)
        verdict |= {"reason": reason, "url": why.url, "http": why.status, "file": _joined(s.name for s in broken)}
    elif not np.isfinite(chunk.images[at, :, middle, middle]).any():
        _clear(work, chunk, at)
        unread = [file for file in work.unreadable if file.band in ("", *bands)]  # it may lie on one of them
        verdict |= {"status": FAILED if unread else OUTSIDE, "file": _joined(file.name for file in unread[:NAMED])}
        verdict["reason"] = f"no {work.survey.title} image has data at its position{_hint(unread)}"
        if sure:
            names = list(dict.fromkeys(share.name for share in sure))
            verdict |= {"status": FAILED, "file": _joined([*names, *(file.name for file in unread[:NAMED])])}
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            verdict["reason"] += f", though the archive's list has it on {names[0]}{more}"
    elif not coverage.all():
        empty = [band for b, band in enumerate(bands) if coverage[b] == 0]
        unread = [file for file in work.unreadable if file.band in ("", *empty)]
        reason = f"{', '.join(empty)}: no {work.survey.title} image with data covers it{_hint(unread)}"
        verdict |= {"reason": reason, "file": _joined(file.name for file in unread[:NAMED])}
    else:
        gaps = [f"{band}: {100 * (1 - coverage[b]):.1f} % of pixels without data" for b, band in enumerate(bands)
                if coverage[b] < 1]  # fmt: skip
        files = (name for sources in chunk.columns["source"][at] for name in sources.split(";"))
        verdict |= {"status": DONE, "reason": "; ".join(gaps + zeros), "file": _joined(files)}
    for name, value in verdict.items():
        chunk.manifest[name][at] = value


def _clear(work: Work, chunk: Chunk, at: int) -> None:
    """Remove all pixels of one object."""
    empty = _empty_chunk(work, 1)
    chunk.images[at], chunk.mask[at] = empty.images[0], empty.mask[0]
    for name, values in empty.columns.items():
        chunk.columns[name][at] = values[0]


def _hint(unreadable: list) -> str:
    """Say which data may be missing because files cannot be read."""
    more = f" and {len(unreadable) - NAMED} more" if len(unreadable) > NAMED else ""
    reasons = "; ".join(file.reason for file in unreadable[:NAMED])
    return f" ({reasons}{more})" if unreadable else ""


def _joined(names) -> str:
    """Join the names, each once, in order."""
    return ";".join(dict.fromkeys(names))
