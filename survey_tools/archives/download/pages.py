"""Answers of a selection that takes many queries, kept on disk until all have arrived, so that an outage loses none."""

import hashlib
import logging
import shutil
from pathlib import Path

from survey_tools.files import whole_file

log = logging.getLogger(__name__)
FOLDER = "pages"  # in the folder for lists that are downloaded once


class Pages:
    """The pages of one selection that have arrived.

    Attributes
    ----------
    used : bool
        Whether a page came from an earlier run.

    Parameters
    ----------
    cache : Path
        Folder for lists that are downloaded once.
    selection : str
        The selection and its number of rows; pages of another selection are never used for it.
    """

    def __init__(self, cache: Path, selection: str) -> None:
        self._folder = Path(cache) / FOLDER / hashlib.sha256(selection.encode()).hexdigest()[:32]
        self.used = False

    def get(self, query: str) -> bytes | None:
        """Return the answer to a query that an earlier run received; None if there is none that can be read."""
        path = self._path(query)
        try:
            checksum, _, answer = path.read_bytes().partition(b"\n")
        except OSError:
            return None
        if checksum.decode("ascii", "replace") != hashlib.sha256(answer).hexdigest():
            return None
        if not self.used:
            log.warning("pages that an earlier run received are read from %s", self._folder)
        self.used = True
        return answer

    def put(self, query: str, answer: bytes) -> None:
        """Keep an answer. If the disk is full, it will be asked for again."""
        try:
            with whole_file(self._path(query)) as temporary:
                temporary.write_bytes(hashlib.sha256(answer).hexdigest().encode() + b"\n" + answer)
        except OSError as error:
            log.info("a page cannot be kept: %s", error)

    def drop(self) -> None:
        """Delete all pages, once they are in use."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def __len__(self) -> int:
        """Return the number of pages."""
        return len(list(self._folder.glob("*"))) if self._folder.is_dir() else 0

    def _path(self, query: str) -> Path:
        return self._folder / hashlib.sha256(query.encode()).hexdigest()[:32]
