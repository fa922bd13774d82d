"""Checksums of the files of a folder, in the format of `sha256sum`, which checks them too."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from survey_tools.atomic import whole_file
from survey_tools.errors import StoreError

SUMS = "sha256sums.txt"


def checksum(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files_of(folder: Path) -> list[str]:
    """Names, relative to the folder and sorted, of all files in it but the list of checksums."""
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in names if name != SUMS)


def write_sums(folder: Path, known: Mapping[str, str]) -> None:
    """List the checksum of every file of a folder; those that are `known` (name to checksum) are not read again."""
    lines = [f"{known.get(name) or checksum(folder / name)}  {name}\n" for name in files_of(folder)]
    with whole_file(folder / SUMS) as temporary:
        temporary.write_text("".join(lines))


def read_sums(folder: Path) -> dict[str, str]:
    """Name to checksum of every file that a folder should have; StoreError where it has no such list."""
    path = folder / SUMS
    if not path.exists():
        raise StoreError(f"{folder} has no checksums ({SUMS}): an older galtrans made it; make it again to have them")
    text = path.read_bytes().decode("utf-8", "replace")
    lines = [line.partition("  ") for line in text.splitlines()]
    if not lines or any(len(digits) != 64 or not name for digits, _, name in lines):
        raise StoreError(f"{path} is damaged; the store cannot be checked against it")
    return {name: digits for digits, _, name in lines}


def missing_or_more(folder: Path, sums: Iterable[str]) -> list[str]:
    """What is wrong with the names alone: files that are listed and not there, or there and not listed."""
    there, listed = set(files_of(folder)), set(sums)
    missing = [f"{name} is missing" for name in sorted(listed - there)]
    return missing + [f"{name} does not belong to the store" for name in sorted(there - listed)]
