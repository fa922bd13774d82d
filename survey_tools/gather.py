"""From the cutouts of many files to the rows of a store: combined by object and band, measured, and judged."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from survey_tools import spool
from survey_tools.archives.plan import Plan
from survey_tools.cutout import sky_sigma
from survey_tools.store import empty_columns
from survey_tools.surveys import Survey

DONE, OUTSIDE, FAILED = "done", "outside", "failed"
NAMED = 3  # files that a reason names; of more it gives the number


@dataclass(frozen=True)
class Gathering:
    """What is needed to make any chunk of a store.

    Attributes:
        survey: Its row.
        bands: In the order of the band axis.
        plan: The files, in the order in which they are combined.
        spool: Folder of their cutouts.
        failures: What was wrong with a file: index of the source to reason.
    """

    survey: Survey
    bands: tuple[str, ...]
    plan: Plan
    spool: Path
    failures: Mapping[int, str]

    @cached_property
    def _by_row(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Row, source and place in the source of every cutout, in order of row and then of source."""
        sources = self.plan.sources
        counts = [len(source.rows) for source in sources]
        rows = np.concatenate([np.zeros(0, np.intp), *(source.rows for source in sources)])
        source = np.repeat(np.arange(len(sources)), counts)
        place = np.concatenate([np.zeros(0, np.intp), *(np.arange(count) for count in counts)])
        order = np.argsort(rows, kind="stable")
        return rows[order], source[order], place[order]

    def pieces(self, rows: slice) -> dict[tuple[int, str], list[tuple[int, int]]]:
        """For each (row, band) of a chunk its sources, in order: index in the plan, and place among its rows."""
        row, source, place = self._by_row
        first, last = np.searchsorted(row, [rows.start, rows.stop])
        found: dict[tuple[int, str], list[tuple[int, int]]] = {}
        for at in range(first, last):
            index = int(source[at])
            found.setdefault((int(row[at]), self.plan.sources[index].band), []).append((index, int(place[at])))
        return found


@dataclass
class Chunk:
    """Rows of a store, as `Store.write` and `Store.write_columns` take them, and of its manifest.

    Attributes:
        images: (object, band, row, col) float32 [nanomaggy/pixel], NaN where there is no data.
        mask: Alike, True where the pixel is missing or saturated.
        columns: The measured columns of a store, by name.
        manifest: Status, reason and files of each object.
    """

    images: np.ndarray
    mask: np.ndarray
    columns: dict[str, np.ndarray]
    manifest: dict[str, np.ndarray]


def gather(gathering: Gathering, rows: slice) -> Chunk:
    """One chunk of a store. Where several files have a pixel, their mean is taken.

    An object none of whose bands has data at its position is outside, and keeps no pixel at all.
    """
    chunk = _empty_chunk(gathering, rows.stop - rows.start)
    pieces, sources = gathering.pieces(rows), gathering.plan.sources
    records = _load(gathering, pieces)
    for at in range(rows.stop - rows.start):
        failed = {}
        for b, band in enumerate(gathering.bands):
            places = pieces.get((rows.start + at, band), [])
            failed[band] = [index for index, _ in places if index in gathering.failures]
            good = [
                (sources[index].name, records[index, place]) for index, place in places if (index, place) in records
            ]
            _combine(chunk, at, b, [(name, record) for name, record in good if np.isfinite(record["image"]).any()])
        _judge(gathering, chunk, at, failed)
    return chunk


def _load(gathering: Gathering, pieces: dict[tuple[int, str], list[tuple[int, int]]]) -> dict:
    """The record of each (source, place) that the pieces name, but for those of files that failed."""
    places: dict[int, list[int]] = {}
    for index, place in (piece for each in pieces.values() for piece in each):
        places.setdefault(index, []).append(place)
    records = {}
    for index in places.keys() - gathering.failures.keys():
        first, last = min(places[index]), max(places[index])  # rows and places ascend alike: all between are wanted
        path = spool.path_of(gathering.spool, gathering.plan.sources[index])
        loaded = spool.load(path, slice(first, last + 1))
        records |= {(index, first + n): record for n, record in enumerate(loaded)}
    return records


def _empty_chunk(gathering: Gathering, count: int) -> Chunk:
    """`count` objects without any pixel."""
    bands, size = len(gathering.bands), gathering.survey.cutout_size
    shape = (count, bands, size, size)
    columns = empty_columns(count, bands)
    manifest = {name: np.full(count, "", object) for name in ("status", "reason", "files")}
    return Chunk(np.full(shape, np.nan, np.float32), np.ones(shape, bool), columns, manifest)


def _combine(chunk: Chunk, at: int, b: int, records: list[tuple[str, np.ndarray]]) -> None:
    """Fill in one object and band from the cutouts, (file, record), that have data."""
    if not records:
        return
    stack = np.array([record["image"] for _, record in records], dtype=float)
    data = np.isfinite(stack)
    count = data.sum(axis=0)
    with np.errstate(invalid="ignore"):
        image = np.where(count > 0, np.where(data, stack, 0.0).sum(axis=0) / count, np.nan).astype(np.float32)
    saturated = np.any([record["saturated"] for _, record in records], axis=0) & (count > 0)
    chunk.images[at, b], chunk.mask[at, b] = image, saturated | (count == 0)
    columns, first = chunk.columns, records[0][1]
    for name in ("crval", "crpix", "cd"):
        columns[name][at] = first[name]
    widths = [float(record["psf_fwhm"]) for _, record in records if np.isfinite(record["psf_fwhm"])]
    columns["coverage"][at, b] = (count > 0).mean()
    columns["saturated"][at, b] = saturated.sum()
    columns["sky_sigma"][at, b] = sky_sigma(image, chunk.mask[at, b])
    columns["psf_fwhm"][at, b] = np.mean(widths) if widths else np.nan
    columns["zero_point"][at, b] = first["zero_point"]
    columns["source"][at, b] = ";".join(name for name, _ in records)


def _judge(gathering: Gathering, chunk: Chunk, at: int, failed: dict[str, list[int]]) -> None:
    """Set the status of one object, with the reason and the files that it speaks of, or else the files it is from."""
    bands, plan = gathering.bands, gathering.plan
    coverage = chunk.columns["coverage"][at]
    middle = slice(gathering.survey.cutout_size // 2 - 1, gathering.survey.cutout_size // 2 + 1)
    broken = [index for b, band in enumerate(bands) if coverage[b] < 1 for index in failed[band]]
    if broken:
        reason = "; ".join(f"{plan.sources[i].band}: {gathering.failures[i]}" for i in broken)
        verdict = FAILED, reason, _joined(plan.sources[i].name for i in broken)
    elif not np.isfinite(chunk.images[at, :, middle, middle]).any():
        _clear(gathering, chunk, at)
        unread = plan.unreadable
        verdict = OUTSIDE, f"no {gathering.survey.title} image has data at its position{_hint(unread)}", ""
    elif not coverage.all():
        empty = [band for b, band in enumerate(bands) if coverage[b] == 0]
        unread = [file for file in plan.unreadable if file.band in ("", *empty)]
        reason = f"{', '.join(empty)}: no {gathering.survey.title} image with data covers it{_hint(unread)}"
        verdict = FAILED, reason, _joined(file.name for file in unread[:NAMED])
    else:
        gaps = [f"{band}: {100 * (1 - coverage[b]):.1f} % of pixels without data" for b, band in enumerate(bands)
                if coverage[b] < 1]  # fmt: skip
        files = (name for sources in chunk.columns["source"][at] for name in sources.split(";"))
        verdict = DONE, "; ".join(gaps), _joined(files)
    for name, value in zip(("status", "reason", "files"), verdict, strict=True):
        chunk.manifest[name][at] = value


def _clear(gathering: Gathering, chunk: Chunk, at: int) -> None:
    """Take back all pixels of one object."""
    empty = _empty_chunk(gathering, 1)
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
