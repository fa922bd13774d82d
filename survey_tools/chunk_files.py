"""What a task found out about a chunk that it wrote, kept on disk until the store is finished: columns, manifest, sums.

So a run that was killed goes on from the chunks that have such a file, and whoever finishes the store needs no more of
it in memory than one part of the columns.
"""

from pathlib import Path

import numpy as np

from survey_tools.atomic import whole_file
from survey_tools.checksums import checksum
from survey_tools.gather import Chunk
from survey_tools.store import Store


def path_of(folder: Path, rows: slice) -> Path:
    """Where the columns of a chunk lie."""
    return folder / f"{rows.start:09d}.npz"


def save(folder: Path, store: Store, rows: slice, chunk: Chunk) -> None:
    """Keep columns and manifest of a chunk that is written, and the checksums of its files in the store."""
    sums = {name: checksum(store.path / name) for name in store.chunk_files(rows)}
    values = {f"column.{name}": value for name, value in chunk.columns.items()}
    values |= {f"manifest.{name}": value for name, value in chunk.manifest.items()}
    values |= {"sums.name": np.array(list(sums), str), "sums.sum": np.array(list(sums.values()), str)}
    with whole_file(path_of(folder, rows)) as temporary:  # text as arrays of fixed width, which a file can hold
        np.savez(temporary, **{n: value.astype(str) if value.dtype == object else value for n, value in values.items()})


def load(folder: Path, store: Store, part: slice, sums: dict[str, str]) -> dict[str, dict[str, np.ndarray]]:
    """The "column" and "manifest" values that were made of the chunks in one part; adds their checksums to `sums`."""
    found: dict[str, dict[str, list]] = {"column": {}, "manifest": {}, "sums": {"name": [], "sum": []}}
    for rows in store.chunks():
        if not part.start <= rows.start < part.stop or not path_of(folder, rows).exists():
            continue
        with np.load(path_of(folder, rows)) as values:
            for key in values:
                kind, _, name = key.partition(".")
                found[kind].setdefault(name, []).append(values[key])
    digits = found.pop("sums")
    sums |= zip(np.concatenate(digits["name"]).tolist(), np.concatenate(digits["sum"]).tolist(), strict=True)
    return {kind: {name: np.concatenate(each) for name, each in values.items()} for kind, values in found.items()}
