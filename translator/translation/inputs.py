"""Find the FITS files that are translated, and which of them show the same object in other bands."""

import re
from collections.abc import Iterable
from pathlib import Path

from survey_tools.errors import ArgumentError
from survey_tools.fits.companions import said_by_name
from survey_tools.fits.reading import SUFFIXES

BANDS = "ugriz"
A_BAND = re.compile(rf"(?:^|[-_.])([{BANDS}])(?=[-_.]|$)")  # a band in the name of a file


def find_files(named: Iterable[Path]) -> list[Path]:
    """Return the FITS files that are named and those inside the folders that are named, each once.

    Raises
    ------
    ArgumentError
        If a path does not exist, a folder has no FITS file, or nothing is named.
    """
    found: list[Path] = []
    for path in named:
        if path.is_dir():
            inside = sorted(each for each in path.iterdir() if each.name.lower().endswith(SUFFIXES))
            inside = [each for each in inside if not said_by_name(each.name)]
            if not inside:
                raise ArgumentError("image", f"{path} is a folder without FITS files")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise ArgumentError("image", f"{path} does not exist")
    if not found:
        raise ArgumentError("image", "no files to translate; give files, or a folder of them")
    return list(dict.fromkeys(found))


def group_by_object(files: Iterable[Path]) -> dict[tuple[Path, ...], str]:
    """Return the files of each object, with its name.

    Files whose names differ only in the letter of a band are one object.
    """
    groups: dict[tuple[Path, str], dict[str, list[Path]]] = {}
    for path in files:
        stem = stem_of(path)
        match = A_BAND.search(stem)
        key = stem[: match.start()] + stem[match.end() :] if match else stem
        groups.setdefault((path.parent, key), {}).setdefault(match[1] if match else "", []).append(path)
    objects = {}
    for (_, key), bands in groups.items():
        single = all(len(paths) == 1 for paths in bands.values())
        if len(bands) > 1 and single and "" not in bands:
            order = sorted(bands, key=BANDS.index)
            objects[tuple(bands[band][0] for band in order)] = key.strip("-_.") or "object"
        else:
            objects |= {(path,): stem_of(path) for paths in bands.values() for path in paths}
    return objects


def stem_of(path: Path) -> str:
    """Return the name of a file without the endings of FITS and of compression."""
    name = path.name
    ending = max((each for each in SUFFIXES if name.lower().endswith(each)), key=len, default="")
    return name[: len(name) - len(ending)] or name
