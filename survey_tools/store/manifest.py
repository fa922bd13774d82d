"""The manifest of a store: what became of every row of the catalogue. It is ECSV, written and read part by part.

The format is that of `astropy.table` (ascii.ecsv). Astropy can read it too, but takes a minute for half a million rows.
"""

import csv
from collections.abc import Iterable, Iterator, Mapping
from io import StringIO
from itertools import dropwhile
from pathlib import Path
from typing import TextIO

import numpy as np
from astropy.table import Table

from survey_tools.files import whole_file

COLUMNS = ("object_id", "status", "reason", "file", "url", "http")
DONE, OUTSIDE, FAILED = "done", "outside", "failed"  # the possible statuses of an object
NUMBERS = ("http",)  # HTTP status; 0 if there was no request, or nothing was wrong with it


def write_manifest(path: Path, parts: Iterable[Mapping[str, Iterable]]) -> None:
    """Write the parts of a manifest, one after the other.

    Parameters
    ----------
    path : Path
        The file.
    parts : iterable of mapping
        Each with some or all of `COLUMNS`, name to values (object,); `object_id` is needed.
    """
    head = StringIO()
    Table({name: np.zeros(0, int if name in NUMBERS else str) for name in COLUMNS}).write(head, format="ascii.ecsv")
    with whole_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        file.write(head.getvalue())
        rows = csv.writer(file, delimiter=" ", lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
        for part in parts:
            count = len(part["object_id"])
            empty = {name: np.zeros(count, int) if name in NUMBERS else [""] * count for name in COLUMNS}
            rows.writerows(zip(*(part.get(name, empty[name]) for name in COLUMNS), strict=True))


def read_manifest(path: Path) -> Table:
    """Read a manifest.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    Table
        `COLUMNS`, one row per object. Columns that an older galtrans did not write are empty text, and 0.
    """
    with path.open(encoding="utf-8", newline="") as file:
        rows = _rows_of(file)
        names = next(rows)
        columns = dict(zip(names, zip(*rows, strict=True), strict=False))
    count = len(columns.get("object_id", ()))
    table = Table({name: np.array(columns.get(name, [""] * count), dtype=str) for name in COLUMNS})
    for name in NUMBERS:
        table[name] = np.array([int(value or 0) for value in table[name]], dtype=int)
    return table


def read_statuses(path: Path) -> np.ndarray:
    """Read the statuses of a manifest alone, row by row, so that memory holds no more than them.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    ndarray
        (object,) `DONE`, `OUTSIDE` or `FAILED`.
    """
    with path.open(encoding="utf-8", newline="") as file:
        rows = _rows_of(file)
        column = next(rows).index("status")
        return np.fromiter((row[column] for row in rows), f"U{max(map(len, (DONE, OUTSIDE, FAILED)))}")


def _rows_of(file: TextIO) -> Iterator[list[str]]:
    """Yield the names of the columns, and then each row as words."""
    return csv.reader(dropwhile(lambda line: line.startswith("#"), file), delimiter=" ")
