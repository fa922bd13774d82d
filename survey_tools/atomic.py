"""Files that are either whole or not there."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: str | os.PathLike) -> Iterator[Path]:
    """A temporary path beside `path`, renamed to it when the block ends well and removed when it does not.

    The temporary name ends as `path` does, so writers that go by the suffix pick the right format. OSError (a full
    disk, say) passes through, naming the path, with nothing left behind.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    token = secrets.token_hex(4)  # processes of two machines may have one number
    temporary = path.with_name(f".{os.getpid()}-{token}.part.{path.name}")
    try:
        with naming(path):
            yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def naming(path: str | os.PathLike) -> Iterator[None]:
    """Put the path into an OSError of the block that does not say where it was: no space left, a quota."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None or isinstance(error, ConnectionError):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
