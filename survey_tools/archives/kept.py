"""Downloaded files on this machine: their names, and the room that they may take."""

import hashlib
import os
import re
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from survey_tools.archives.locks import EXCLUSIVE, locked
from survey_tools.archives.transfer import NOTES, PART

SPARE = 0.1  # of the limit: room is made for more than one file at once, as it takes a look at all of them
LEDGER = ".bytes"  # in the folder of kept files: how many bytes it holds
PLAIN = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9._+-]{0,99}/){1,12}[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")
SUFFIX = re.compile(r"(?:\.fits?)?(?:\.(?:gz|bz2|fz))?$")


def tree_name(root: str, name: str) -> str:
    """The name in the folder of kept files, relative to it, of the file `name` below the URL `root`.

    Files of each root are apart. The tree of an archive that our own templates know is kept, so that the folder can
    serve as a mirror itself; any other name, as a server's page or list may give it, is replaced by its hash.
    """
    host = re.sub(r"[^A-Za-z0-9.-]", "", urlsplit(root).hostname or "").lstrip(".")
    folder = f"{host}-{_hash(root.rstrip('/'))[:8]}"
    plain = PLAIN.fullmatch(name) and ".." not in name and PART not in name
    return f"{folder}/{name if plain else flat_name(root, name)}"


def flat_name(root: str, name: str) -> str:
    """A name without folders for the file `name` below the URL `root`, made of its hash and a suffix that we know."""
    return _hash(f"{root.rstrip('/')}\n{name}")[:32] + SUFFIX.search(name)[0]


def drop_unused(path: Path) -> bool:
    """Remove a file, or the part of one, unless a task uses it; whether it is gone."""
    unfinished = path.name.endswith(PART)
    lock = path.with_name(path.name.removesuffix(PART) + NOTES) if unfinished else path
    try:
        with locked(lock, EXCLUSIVE, create=unfinished, wait=False):
            path.unlink(missing_ok=True)
            lock.unlink(missing_ok=True)
    except FileNotFoundError:
        return True
    except BlockingIOError:
        return False
    return True


def make_room(folder: Path, limit: int, added: int = 0, coming: int = 0) -> None:
    """Drop the files whose last use is longest ago, none that is in use, where `folder` gets too full.

    Args:
        folder: Of kept files. A ledger in it says how many bytes it holds; only where that is too much, or is not
            known, are the files themselves looked at.
        limit: Bytes that it may hold. Some less are left, so that not every file that comes makes another go.
        added: Bytes that have come since the last call.
        coming: Bytes that are about to come.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / LEDGER, EXCLUSIVE, create=True) as ledger:
        text = os.pread(ledger, 32, 0).strip()
        held = int(text) + added if text.isdigit() else None
        if held is None or held + coming > limit:
            held = _drop_oldest(folder, limit, coming)
        os.pwrite(ledger, b"%-32d" % held, 0)


def _drop_oldest(folder: Path, limit: int, coming: int) -> int:
    """Drop files until there is room; the bytes of those that stay."""
    files = sorted(_files(folder))
    held = sum(size for _, size, _ in files)
    if held + coming <= limit:
        return held
    for _, size, path in files:
        if held + coming <= (1 - SPARE) * limit:
            break
        if drop_unused(path):
            held -= size
    return held


def _files(folder: Path) -> list[tuple[float, int, Path]]:
    """Last use [s], size [byte] and path of all files below a folder, parts of files among them."""
    found = []
    for place, _, names in os.walk(folder):
        for name in names:
            path = Path(place) / name
            with suppress(FileNotFoundError):
                if name != LEDGER and not name.endswith(NOTES):
                    facts = path.stat()
                    found.append((facts.st_mtime, facts.st_size, path))
    return found


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
