"""Files that accompany frames and that objects can do without: a warning says once what is missing of them."""

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from survey_tools.archives.http import NotThereError
from survey_tools.archives.mirror import Mirror
from survey_tools.errors import ArchiveError

LOUD = 10  # files of one kind that are warned of; of more only `-v` tells

log = logging.getLogger(__name__)
Read = TypeVar("Read")
_said: dict[str, set[str]] = {}
_saying = threading.Lock()


def warn_once(kind: str, name: str, what: str) -> None:
    """Warn of the file `name`, one of a `kind` such as "psField", unless that was done before."""
    with _saying:
        said = _said.setdefault(kind, set())
        if name not in said:
            said.add(name)
            log.log(logging.WARNING if len(said) <= LOUD else logging.INFO, "%s", what)


def read_or_warn(
    mirror: Mirror, name: str, read: Callable[[Path], Read], *, kind: str, without: str, due: bool
) -> Read | None:
    """What `read` makes of a file; None where that is not known.

    A file that is damaged, or that is `due` and not in the mirror, is warned of once.

    Args:
        mirror: Where the file is.
        name: Of the file, relative to the mirror.
        read: What reads it; ArchiveError where it is damaged.
        kind: What such files are called.
        without: What follows where there is none, in words.
        due: Whether the mirror should have it.

    Raises:
        ArchiveError: Where it cannot be had although it is there.
        ConnectionError: Where the archive is away.
    """
    there = False
    try:
        with mirror.file(name) as path:
            there = True
            return read(path)
    except NotThereError as error:
        if due:
            warn_once(kind, name, f"{without}: {error}")
    except ArchiveError as error:
        if not there:
            raise
        warn_once(kind, name, f"{without}: {error}")
    return None
