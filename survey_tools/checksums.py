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


class CheckedFiles:
    """Files of a folder, each compared with its checksum before it is first used.

    Attributes:
        folder: Where they are.
    """

    def __init__(self, folder: Path, sums: Mapping[str, str]) -> None:
        self.folder, self._sums, self._sound = folder, sums, set()

    @classmethod
    def of(cls, folder: Path) -> "CheckedFiles":
        """Those of a folder that has a list of checksums; StoreError where that is damaged."""
        return cls(folder, read_sums(folder))

    def check(self, names: Iterable[str]) -> None:
        """StoreError where one of some files is not what it was; one without a checksum is not looked at."""
        for name in names:
            if name in self._sound or name not in self._sums:
                continue
            path = self.folder / name
            if not path.is_file() or checksum(path) != self._sums[name]:
                what = "has changed since the store was finished" if path.is_file() else "is missing"
                raise StoreError(
                    f"{self.folder} is damaged: {name} {what}; see what else is with `galtrans verify {self.folder}`, "
                    f"and make the store again or take it from a copy; if the change was meant, delete {SUMS}"
                )
            self._sound.add(name)


def missing_or_more(folder: Path, sums: Iterable[str]) -> list[str]:
    """What is wrong with the names alone: files that are listed and not there, or there and not listed."""
    there, listed = set(files_of(folder)), set(sums)
    missing = [f"{name} is missing" for name in sorted(listed - there)]
    return missing + [f"{name} does not belong to the store" for name in sorted(there - listed)]
