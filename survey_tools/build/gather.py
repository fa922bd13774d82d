"""Pieces of cutouts, kept on disk file by file, and gathered into the chunks of a store."""

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


def record_dtype(size: int) -> np.dtype:
    """One `Piece`: image [nanomaggy/pixel], saturated pixels, TAN terms [deg, pixel], and its other fields."""
    pixels = (size, size)
    wcs = [("crval", "f8", 2), ("crpix", "f8", 2), ("cd", "f8", (2, 2))]
    facts = [("zero_point", "f8"), ("psf_fwhm", "f8"), ("psf_source", "U8"), ("gain", "f8"), ("sky_sigma", "f8")]
    facts += [("saturation_source", "U8"), ("exposure", "U24"), ("zeros", "U200"), ("lacks", "i1")]
    return np.dtype([("image", "f4", pixels), ("saturated", "?", pixels), *wcs, *facts])


def path_of(folder: Path, source: SourceFile) -> Path:
    """Where the cutouts of a source lie: named by its file and rows, so that those of another plan are never taken."""
    key = hashlib.sha256(source.name.encode() + np.asarray(source.rows, "<i8").tobytes()).hexdigest()[:32]
    return folder / key[:2] / f"{key}.npy"


def save(path: Path, pieces: Iterable[Piece], count: int, size: int) -> None:
    """Write the `count` pieces of one source, as they come; OSError, with nothing left, where the disk is full."""
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
    """Some of the records of one source (n,), without the rest being read or the file being kept open."""
    return np.array(np.load(path, mmap_mode="r")[places])


def lacks(path: Path) -> np.ndarray:
    """Return `Piece.lacks` of every record of one source (n,)."""
    return np.array(np.load(path, mmap_mode="r")["lacks"])


def _record(piece: Piece, dtype: np.dtype) -> np.ndarray:
    """One piece as a record ()."""
    record, cutout = np.zeros((), dtype), piece.cutout
    record["image"], record["saturated"] = cutout.image, cutout.saturated
    record["crval"], record["crpix"], record["cd"] = tan_terms(cutout.wcs)
    for name in FACTS:
        record[name] = getattr(piece, name)
    return record


NAMED = 3  # files that a reason names; of more it gives the number


@dataclass(frozen=True)
class Failure:
    """Why a file gave nothing: what was wrong, and, of a download, the URL and the HTTP status."""

    reason: str
    url: str = ""
    status: int = 0


@dataclass(frozen=True)
class ChunkPart:
    """What one file has for one chunk.

    Attributes:
        name: Of the file.
        band: Index of its band.
        objects: (n,) within the chunk, ascending.
        path: Of its cutouts in the spool.
        places: (n,) of these objects among them, ascending.
        failure: Why there are none; None where there are.
        sure: (n,) whether a list of the archive's says that the object's middle has data there.
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
    """What is needed to make `count` objects of one chunk: small, for it is sent to whoever makes them.

    Attributes:
        survey: Its row.
        bands: In the order of the band axis.
        count: Objects.
        shares: Of files, in the order in which they are combined.
        unreadable: Files that could not be used at all.
    """

    survey: Survey
    bands: tuple[str, ...]
    count: int
    shares: list[ChunkPart]
    unreadable: list[Unreadable]


class Gathering:
    """Which cutouts of which files make up which rows.

    Args:
        survey: Its row.
        bands: In the order of the band axis.
        plan: The files, in the order in which they are combined.
        spool: Folder of their cutouts.
        failures: What was wrong with a file: index of the source to why.
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
        """What is needed to make the objects of the catalogue from row `first` to before `last`."""
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
    """Objects of one chunk. Where several files have a pixel, their mean is taken.

    An object none of whose bands has data at its position is outside, and keeps no pixel at all.
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
        # rows and places ascend alike, so all between the first and the last are wanted
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
    """The share, as a failed one, whose pixels are not those of the `first` band: a store has one WCS an object."""
    name, record = first[0][0].name, first[0][1]
    for share, own in found:
        terms, own_terms = ([each[term] for term in ("crval", "crpix", "cd")] for each in (record, own))
        if all(map(np.array_equal, own_terms, terms)):
            continue
        if not grids_apart(tan_wcs(*own_terms), tan_wcs(*terms), own["image"].shape) < SAME:
            return replace(share, failure=Failure(f"{share.name} has other pixels on the sky than {name}"))
    return None


def _empty_chunk(work: Work, count: int | None = None) -> Chunk:
    """Objects without any pixel: all of a chunk, or `count`."""
    bands, size, count = len(work.bands), work.survey.cutout_size, work.count if count is None else count
    shape = (count, bands, size, size)
    columns = empty_columns(count, bands)
    manifest = {name: np.full(count, "", object) for name in ("status", "reason", "file", "url")}
    manifest["http"] = np.zeros(count, np.int32)
    return Chunk(np.full(shape, np.nan, np.float32), np.ones(shape, bool), columns, manifest)


def _combine(chunk: Chunk, at: int, b: int, names: list[str], records: list[np.ndarray]) -> None:
    """Fill in one object and band from the records of the files `names`, which have data."""
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
    """The mean (row, col) of the images that have data at a pixel, NaN where none has; and where any has."""
    stack = np.array(images, dtype=float)
    data = np.isfinite(stack)
    count = data.sum(axis=0)
    with np.errstate(invalid="ignore"):
        mean = np.where(count > 0, np.where(data, stack, 0.0).sum(axis=0) / count, np.nan)
    return mean.astype(np.float32), count > 0


def _noise(records: list[np.ndarray], image: np.ndarray, mask: np.ndarray) -> float:
    """Sigma of blank sky: as the files state it where they show the same photons, else measured on their mean."""
    known = np.array([record["sky_sigma"] for record in records])
    one = len(records) == 1 or (records[0]["exposure"] and len({str(record["exposure"]) for record in records}) == 1)
    return float(np.sqrt(np.mean(known**2))) if one and np.isfinite(known).all() else sky_sigma(image, mask)


def _judge(
    work: Work, chunk: Chunk, at: int, failed: list[list[ChunkPart]], zeros: list[str], sure: list[ChunkPart]
) -> None:
    """Set the status of one object, with the reason and the files that it speaks of, or else the files it is from.

    `zeros` are remarks on pixels that are exactly 0. One without data at its position failed, and is not outside, where
    the archive's list has it `sure` on some files.
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
    """Take back all pixels of one object."""
    empty = _empty_chunk(work, 1)
    chunk.images[at], chunk.mask[at] = empty.images[0], empty.mask[0]
    for name, values in empty.columns.items():
        chunk.columns[name][at] = values[0]


def _hint(unreadable: list) -> str:
    """What may be missing because of files that cannot be read."""
    more = f" and {len(unreadable) - NAMED} more" if len(unreadable) > NAMED else ""
    reasons = "; ".join(file.reason for file in unreadable[:NAMED])
    return f" ({reasons}{more})" if unreadable else ""


def _joined(names) -> str:
    """Each name once, in order."""
    return ";".join(dict.fromkeys(names))
