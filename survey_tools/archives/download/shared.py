"""An answer that several tasks need: it is asked for once, kept until all of them have used it, and then deleted."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from survey_tools.errors import ArchiveError
from survey_tools.files import EXCLUSIVE, locked, whole_file

FAILED = ".failed"  # after the name of an answer: why there is none
LOCK = ".lock"


@contextmanager
def shared(place: Path, notes: Path, user: str, users: Sequence[str], ask: Callable[[], bytes]) -> Iterator[bytes]:
    """Yield an answer, which only the first of its users asks for.

    If it was refused, the other users get the same error without another request. The notes on this are deleted when
    every user has had the answer, and so is the answer, unless it lies outside the folder of the notes.

    Parameters
    ----------
    place : Path
        The file of the answer.
    notes : Path
        The beginning of the names of the notes. If this is `place` itself, the answer is deleted after its last use.
    user : str
        The word for this user.
    users : sequence of str
        All users.
    ask : callable
        Returns the answer; raises ArchiveError if it is refused for good, or ConnectionError.

    Yields
    ------
    bytes

    Raises
    ------
    ArchiveError, ConnectionError, OSError
        As `ask` does.
    """
    notes.parent.mkdir(parents=True, exist_ok=True)
    failed, lock = _beside(notes, FAILED), _beside(notes, LOCK)
    with locked(lock, EXCLUSIVE, create=True):
        try:
            content = _known(place, failed)
            if content is None:
                content = ask()
                with whole_file(place) as temporary:
                    temporary.write_bytes(content)
        except ArchiveError as error:
            with whole_file(failed) as temporary:
                temporary.write_text(json.dumps({"reason": str(error), "url": error.url, "status": error.status}))
            _used(notes, user, users)
            raise
    yield content
    _used(notes, user, users)


def _known(place: Path, failed: Path) -> bytes | None:
    """Return an answer that has arrived, None if there is none yet; ArchiveError if it was refused."""
    if failed.exists():
        why = json.loads(failed.read_text())
        raise ArchiveError(why["reason"], url=why["url"], status=why["status"])
    return place.read_bytes() if place.exists() else None


def _used(notes: Path, user: str, users: Sequence[str]) -> None:
    """Note that a user has had the answer; delete all of it after the last one."""
    _beside(notes, f".{user}").touch()
    marks = [_beside(notes, f".{each}") for each in users]
    if all(mark.exists() for mark in marks):
        for path in (notes, _beside(notes, FAILED), _beside(notes, LOCK), *marks):
            path.unlink(missing_ok=True)


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)
