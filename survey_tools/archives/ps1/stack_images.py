"""The list of Pan-STARRS1 stacks at positions, many of which are sent in one request.

The service `ps1filenames.py` takes a form with a file of positions, one `ra dec` on a line, and answers with a table of
words separated by blanks: projcell, subcell, ra, dec, filter, mjd, type, filename, shortname, badflag. The columns ra
and dec repeat the position that was sent. A position without images has no row. (Source: PS1 Image Cutout Service,
outerspace.stsci.edu/display/PANSTARRS, and its example `ps1bulk.py`.)
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from survey_tools.archives.download import http
from survey_tools.archives.download.pages import Pages
from survey_tools.archives.settings import ArchiveSettings
from survey_tools.errors import ArchiveError

COLUMNS = ("ra", "dec", "filter", "type", "filename", "badflag")
DIGITS = 6  # decimals of a position [deg], as it is sent and recognised
TRIES = 3  # requests for a list that cannot be understood


def stacks_at(
    settings: ArchiveSettings, cache: Path, ra: np.ndarray, dec: np.ndarray, bands: tuple[str, ...]
) -> list[dict[str, str]]:
    """Return the stacks that have each position: band to name of the file, {} for a position without stacks.

    All bands of a position are from one skycell, so that they share their pixels: from that with most of the bands, and
    of these from the first of the list.

    Parameters
    ----------
    settings : ArchiveSettings
        Address of the list.
    cache : Path
        Folder in which answers wait until all have arrived.
    ra, dec : (object,) float
        Positions [deg].
    bands : tuple of str
        The bands that are wanted.

    Returns
    -------
    list of dict

    Raises
    ------
    ArchiveError
        If an answer is not such a table, three times.
    ConnectionError
        If the service cannot be reached.
    """
    places = [(f"{a:.{DIGITS}f}", f"{d:.{DIGITS}f}") for a, d in zip(map(float, ra), map(float, dec), strict=True)]
    pages, step = Pages(cache, f"ps1 {''.join(bands)} {places}"), settings.ps1_positions
    found: dict[tuple[str, str], dict[str, dict[str, str]]] = {}
    unique = list(dict.fromkeys(places))
    for first in range(0, len(unique), step):
        sent = "\n".join(" ".join(place) for place in unique[first : first + step])
        answer = pages.get(sent)
        if answer is None:
            answer = _ask(settings, sent, bands)
            pages.put(sent, answer)
        for place, band, name in _rows(answer, str(settings.ways("ps1_list"))):
            if band in bands:
                found.setdefault(place, {}).setdefault(_skycell(name), {}).setdefault(band, name)
    return [max(found[place].values(), key=len) if place in found else {} for place in places]


def _ask(settings: ArchiveSettings, sent: str, bands: tuple[str, ...]) -> bytes:
    """Return the list for some positions, which can be understood."""
    url, form = settings.ways("ps1_list"), {"filters": "".join(bands), "type": "stack"}
    for attempt in range(TRIES):
        answer = http.read(url, data=form, files={"file": sent.encode()}, kind="text", manner=settings.manner)
        try:
            list(_rows(answer, str(url)))
        except ArchiveError:
            if attempt == TRIES - 1:
                raise
        else:
            return answer
    raise AssertionError("the last attempt returns or raises")


def _rows(answer: bytes, url: str) -> Iterator[tuple[tuple[str, str], str, str]]:
    """Yield position, band and file of the good stacks of a list."""
    lines = answer.decode("utf-8", "replace").splitlines()
    header = lines[0].split() if lines else []
    if not set(COLUMNS) <= set(header):
        raise ArchiveError(f"{url}: the answer is not a list of images ({http.excerpt(answer)})", url=url)
    at = {name: header.index(name) for name in COLUMNS}
    for line in lines[1:]:
        words = line.split()
        if not words:
            continue
        try:
            place = tuple(f"{float(words[at[name]]):.{DIGITS}f}" for name in ("ra", "dec"))
            good = int(words[at["badflag"]]) == 0 and words[at["type"]] == "stack" and len(words) == len(header)
            band, name = words[at["filter"]], words[at["filename"]]
        except (IndexError, ValueError) as error:
            raise ArchiveError(f"{url}: the list has the line {line!r}, which is not complete", url=url) from error
        if good:
            yield place, band, name


def _skycell(name: str) -> str:
    """Return the folder of a file, which has all the stacks of one skycell."""
    return name.rpartition("/")[0]
