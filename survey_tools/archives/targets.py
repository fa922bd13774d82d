"""Catalogues of targets from archives: one row per object, and where they are from."""

import datetime
from dataclasses import dataclass, field
from pathlib import Path

from astropy.table import Table

from survey_tools.files import whole_file
from survey_tools.version import VERSION

SUFFIXES = (".ecsv", ".fits", ".csv")


@dataclass(frozen=True)
class Found:
    """Objects from the tables of an archive, one row each.

    Attributes
    ----------
    table : Table
        object_id (str), ra, dec [deg], and further columns of the archive.
    title : str
        Which objects they are.
    source : str
        Where their selection is from.
    url : str
        The service that was asked.
    query : str
        The query, without the division into pages.
    counted : int
        Rows that the service counted.
    received : int
        Rows that arrived: all of them, or as many as were wanted.
    dropped : dict
        Rows that arrived and are not in the table, by reason.
    """

    table: Table
    title: str
    source: str
    url: str
    query: str
    counted: int
    received: int
    dropped: dict[str, int] = field(default_factory=dict)


def write_targets(found: Found, path: Path) -> None:
    """Write targets as a catalogue that `read_catalogue` reads: ECSV, FITS or CSV, by the suffix.

    Query, service, date, version and counts are stored in the file: in the metadata of ECSV, in COMMENT cards of FITS,
    and in lines of CSV that begin with #.

    Parameters
    ----------
    found : Found
        The targets.
    path : Path
        The file.

    Raises
    ------
    ValueError
        If the suffix is another one.
    OSError
        If the file cannot be written; the previous file stays.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{path} does not end in one of {', '.join(SUFFIXES)}")
    table, facts = found.table.copy(copy_data=False), _facts(found)
    lines = [f"{name}: {value}" for name, value in facts.items()]
    with whole_file(path) as temporary:
        if path.suffix.lower() == ".ecsv":
            table.meta = facts
            table.write(temporary, format="ascii.ecsv")
        elif path.suffix.lower() == ".fits":
            table.meta = {"comments": [line.encode("ascii", "replace").decode() for line in lines]}
            table.write(temporary, format="fits")
        else:
            with temporary.open("w", encoding="utf-8", newline="") as file:
                file.writelines(f"# {line}\n" for line in lines)
                table.write(file, format="ascii.csv")


def _facts(found: Found) -> dict[str, str | int]:
    """Return what the file states about itself."""
    facts = {"title": found.title, "source": found.source, "service": found.url}
    facts["query"] = " ".join(found.query.split())
    facts["date"] = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    facts |= {"galtrans": VERSION, "rows_counted": found.counted, "rows_received": found.received}
    return facts | {f"dropped, {reason}": number for reason, number in found.dropped.items()}
