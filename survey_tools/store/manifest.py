"""The manifest of a store: what became of every row of the catalogue. ECSV, written and read a part at a time.

The format is that of `astropy.table` (ascii.ecsv), which reads it too; with half a million rows that takes a minute.
"""

import csv
from collections.abc import Iterable, Mapping
from io import StringIO
from itertools import dropwhile
from pathlib import Path

import numpy as np
from astropy.table import Table

from survey_tools.files import whole_file

COLUMNS = ("object_id", "status", "reason", "file", "url", "http")
DONE, OUTSIDE, FAILED = "done", "outside", "failed"  # what an object's status may be
NUMBERS = ("http",)  # HTTP status; 0 where there was no request, or nothing was wrong with it


def write_manifest(path: Path, parts: Iterable[Mapping[str, Iterable]]) -> None:
    """Write the parts of a manifest, each with some or all of `COLUMNS` (object,), one after the other."""
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
    """The manifest as a table of `COLUMNS`; empty text, and 0, where an older galtrans wrote no such column."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.reader(dropwhile(lambda line: line.startswith("#"), file), delimiter=" ")
        names = next(rows)
        columns = dict(zip(names, zip(*rows, strict=True), strict=False))
    count = len(columns.get("object_id", ()))
    table = Table({name: np.array(columns.get(name, [""] * count), dtype=str) for name in COLUMNS})
    for name in NUMBERS:
        table[name] = np.array([int(value or 0) for value in table[name]], dtype=int)
    return table
