"""The pair table of two partitioned stores: a folder with one Parquet file for each partition of x."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from astropy.table import Table

from survey_tools.errors import StoreError, first_line
from survey_tools.files import SUMS, CheckedFiles

PAIRS = "pairs.json"
SCHEMA = "galtrans-pairs"


@dataclass(frozen=True)
class PairFolder:
    """A pair table that is a folder.

    Attributes
    ----------
    path : Path
        The folder.
    """

    path: Path

    @cached_property
    def facts(self) -> dict:
        """What `pairs.json` says: the meta of the table, the files in the order of x, and their rows."""
        try:
            if (self.path / SUMS).exists():
                CheckedFiles.of(self.path).check([PAIRS])
            facts = json.loads((self.path / PAIRS).read_text())
            if facts["schema"] != SCHEMA:
                raise KeyError(facts["schema"])
            return facts
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{self.path} cannot be read as a pair table: {first_line(error)}") from error

    @property
    def meta(self) -> dict:
        """What the pairs were made from, as in the meta of a table of two ordinary stores."""
        return self.facts["meta"]

    def __len__(self) -> int:
        return sum(rows for _, rows in self.facts["files"])

    def rows(self, columns: tuple[str, ...] = ("x_row", "y_row", "split")) -> Table:
        """Return some columns of all pairs, in the order of x.

        Parameters
        ----------
        columns : tuple of str
            Their names; rows are counted through all partitions of a store.

        Returns
        -------
        Table
            One row per pair; ``split`` is an array of objects, so that it takes 8 bytes a pair.
        """
        names = [name for name, rows in self.facts["files"] if rows]
        files = CheckedFiles.of(self.path) if (self.path / SUMS).exists() else CheckedFiles(self.path, {})
        files.check(names)
        count, table = len(self), Table()
        found = {name: np.empty(count, object if name == "split" else np.int64) for name in columns}
        start = 0
        for name in names:
            part = pq.ParquetFile(self.path / name).read(columns=list(columns))
            stop = start + part.num_rows
            for column in columns:
                if column == "split":
                    values = part[column].combine_chunks().dictionary_encode()
                    words = np.array(values.dictionary.to_pylist(), object)
                    found[column][start:stop] = words[values.indices.to_numpy()]
                    continue
                values = part[column].to_numpy()
                found[column] = _as(found[column], values.dtype)
                found[column][start:stop] = values
            start = stop
        for column in columns:
            table[column] = found[column]
        table.meta = dict(self.meta)
        return table


def _as(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return an array of another type if need be."""
    return values if values.dtype == dtype else values.astype(dtype)


def is_pair_folder(path) -> bool:
    """Return whether a path is a pair table of partitioned stores."""
    return (Path(path) / PAIRS).is_file()
