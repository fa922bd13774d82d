"""Write objects of a store in the form that other programs read, with a description and a card: whole, or to go on."""

import hashlib
import json
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from survey_tools.build.builder import alone
from survey_tools.errors import StoreError
from survey_tools.files import SUMS, checksum, whole_file, write_sums
from survey_tools.fits.export import fingerprint
from survey_tools.sharing import croissant
from survey_tools.sharing.cutouts import DATASET, write_cutouts
from survey_tools.sharing.data_card import Shared, data_card
from survey_tools.sharing.selection import StoreSelection, select
from survey_tools.sharing.shards import TABLE, write_webdataset
from survey_tools.store.zarr_store import Store
from survey_tools.version import VERSION

BEGUN = ".galtrans_export.json"  # in the folder of an export: what it is made from
CARD, DESCRIPTION = "README.md", "croissant.json"
A_SHARD = re.compile(r"-\d{6,}\.tar")  # behind the name of the data set
SHARD_BYTES = 500_000_000
WRITERS = {  # by form: what writes the data; whether an object needs a position on the sky; tables beside the data
    "webdataset": (write_webdataset, False, (TABLE,)),
    "hats": (write_cutouts, True, ()),
}


@dataclass(frozen=True)
class Sharing:
    """How objects are shared.

    Attributes
    ----------
    form : str
        "webdataset" or "hats".
    name : str
        Name of the data set; files begin with it.
    limit : int
        Bytes of a shard, or of the pixels of a partition, at most.
    license : str
        Licence that the card states; "" if none is stated.
    """

    form: str
    name: str
    limit: int = SHARD_BYTES
    license: str = ""


@dataclass(frozen=True)
class Written:
    """What an export has written.

    Attributes
    ----------
    paths : list of Path
        The data files, in order.
    kept : list of Path
        Those that an earlier call had written.
    selection : StoreSelection
        The objects.
    """

    paths: list[Path]
    kept: list[Path]
    selection: StoreSelection


def share(
    store: Store,
    rows: Iterable[int] | None,
    bands: tuple[str, ...],
    folder: Path,
    sharing: Sharing,
    *,
    overwrite: bool = False,
) -> Written:
    """Write objects of a store as WebDataset or HATS, with croissant.json, README.md and checksums.

    A call that was interrupted is resumed by the same call: data files are whole or do not exist, and those that exist
    are kept. Descriptions are written last.

    Parameters
    ----------
    store : Store
        The store.
    rows : iterable of int or None
        Its rows; all if None. Those whose status is not `done` are left out.
    bands : tuple of str
        Bands.
    folder : Path
        The folder; it is made.
    sharing : Sharing
        The form, and how it is written.
    overwrite : bool
        Whether an export that is there, made from something else, is replaced.

    Returns
    -------
    Written

    Raises
    ------
    StoreError
        The folder has files of something else, or is in the store; none of the objects is finished; or another process
        writes there.
    OSError
        The disk is full; the same call continues afterwards.
    """
    if folder.resolve().is_relative_to(store.path.resolve()):
        raise StoreError(f"{folder} is in the store itself, whose files must stay as they are; choose another folder")
    write, placed, tables = WRITERS[sharing.form]
    selection = select(store, rows, bands, placed=placed)
    if not len(selection.rows):
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in selection.left_out.items()) or "no rows"
        raise StoreError(f"{store.path} has none of these objects to share: {reasons}; its manifest says why")
    origin = fingerprint(store)
    begun = {
        "form": sharing.form,
        "store": origin,
        "rows": hashlib.sha256(selection.rows.astype("<i8").tobytes()).hexdigest(),
        "bands": "".join(bands),
        "name": sharing.name,
        "shard_size": sharing.limit,
        "galtrans_version": VERSION,
    }
    with alone(folder):
        _begin(folder, begun, overwrite)
        paths, kept = write(selection, folder, sharing.name, sharing.limit)
        named = {path.relative_to(folder).as_posix(): path for path in (*paths, *map(folder.joinpath, tables))}
        files = {name: (checksum(path), path.stat().st_size) for name, path in named.items()}
        shared = Shared(selection, sharing.name, sharing.form, files, origin, sharing.license)
        about = json.dumps(croissant.describe(shared), indent=1, ensure_ascii=False) + "\n"
        for file, text in ((DESCRIPTION, about), (CARD, data_card(shared))):
            with whole_file(folder / file) as temporary:
                temporary.write_text(text, encoding="utf-8")
        write_sums(folder, {name: digest for name, (digest, _) in files.items()})
    return Written(paths, kept, selection)


def _begin(folder: Path, begun: dict[str, Any], overwrite: bool) -> None:
    """Note what an export is made from; raise StoreError if the folder has another one, unless it may be replaced.

    A folder of data that no export has made is never removed.
    """
    note, was = folder / BEGUN, {}
    if note.exists():
        was = _read(note)
        differs = [name for name in begun if was.get(name) != begun[name]]
        if not differs:
            return
        if not overwrite:
            raise StoreError(
                f"{folder} has an export that was made with another {differs[0]}; choose another folder or pass "
                "--overwrite"
            )
    elif (folder / DATASET).exists():
        raise StoreError(f"{folder / DATASET} exists already and is not of an export; choose another folder")
    outputs = _outputs(folder, str(was.get("name", begun["name"])))
    if outputs and not note.exists() and not overwrite:
        raise StoreError(
            f"{outputs[0]} exists already and is not of this export; choose another folder or pass --overwrite"
        )
    for path in outputs:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    with whole_file(note) as temporary:
        temporary.write_text(json.dumps(begun, indent=1) + "\n")


def _read(note: Path) -> dict[str, Any]:
    """Return what an export was made from; an empty mapping if that cannot be read."""
    try:
        was = json.loads(note.read_text())
    except (ValueError, OSError):
        return {}
    return was if isinstance(was, dict) else {}


def _outputs(folder: Path, name: str) -> list[Path]:
    """Return what exists of the files and folders that an export of that name writes, in any form."""
    names = (DESCRIPTION, CARD, SUMS, TABLE, DATASET, "hats.properties", "properties", "partition_info.csv")
    shards = (path for path in sorted(folder.glob("*.tar")) if A_SHARD.fullmatch(path.name.removeprefix(name)))
    return [*(path for path in map(folder.joinpath, names) if path.exists()), *shards]
