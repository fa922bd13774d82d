"""Answers of a selection that takes many queries, kept on disk until all of them are there: an outage loses none."""

import hashlib
import logging
import shutil
from pathlib import Path

from survey_tools.files import whole_file

log = logging.getLogger(__name__)
FOLDER = "pages"  # below the folder of lists that are fetched once


class Pages:
    """The pages of one selection that have come.

    Attributes:
        used: Whether any page was one that an earlier run had kept.

    Args:
        cache: Folder of lists that are fetched once.
        selection: What is asked, and how many rows it has: pages of another one are never taken for its own.
    """

    def __init__(self, cache: Path, selection: str) -> None:
        self._folder = Path(cache) / FOLDER / hashlib.sha256(selection.encode()).hexdigest()[:32]
        self.used = False

    def get(self, query: str) -> bytes | None:
        """The answer to a query that an earlier run had; None where there is none that can be read."""
        path = self._path(query)
        try:
            checksum, _, answer = path.read_bytes().partition(b"\n")
        except OSError:
            return None
        if checksum.decode("ascii", "replace") != hashlib.sha256(answer).hexdigest():
            return None
        if not self.used:
            log.warning("pages that came before are taken from %s", self._folder)
        self.used = True
        return answer

    def put(self, query: str, answer: bytes) -> None:
        """Keep an answer; a disk that is full costs no more than that it is asked for again."""
        try:
            with whole_file(self._path(query)) as temporary:
                temporary.write_bytes(hashlib.sha256(answer).hexdigest().encode() + b"\n" + answer)
        except OSError as error:
            log.info("a page cannot be kept: %s", error)

    def drop(self) -> None:
        """Forget them, since all are in use."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def __len__(self) -> int:
        """How many there are."""
        return len(list(self._folder.glob("*"))) if self._folder.is_dir() else 0

    def _path(self, query: str) -> Path:
        return self._folder / hashlib.sha256(query.encode()).hexdigest()[:32]
