"""Warnings about files that are said once, though several bands and threads ask for the same file."""

import logging
import threading

LOUD = 10  # files of one kind that are warned of; of more only `-v` tells

log = logging.getLogger(__name__)
_said: dict[str, set[str]] = {}
_saying = threading.Lock()


def warn_once(kind: str, name: str, what: str) -> None:
    """Warn of the file `name`, one of a `kind` such as "psField", unless that was done before."""
    with _saying:
        said = _said.setdefault(kind, set())
        if name not in said:
            said.add(name)
            log.log(logging.WARNING if len(said) <= LOUD else logging.INFO, "%s", what)
