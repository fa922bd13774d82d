"""A mirror of an archive: a local folder, or the root of one on a web server."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from survey_tools.archives import http
from survey_tools.archives.http import NotThereError
from survey_tools.errors import ArchiveError


@dataclass(frozen=True)
class Mirror:
    """Where an archive's files are.

    Attributes:
        root: A local folder, or an http(s) URL.
        cache: Where files of a remote mirror lie while they are in use.
    """

    root: str
    cache: Path

    @property
    def remote(self) -> bool:
        """Whether files have to be downloaded."""
        return self.root.startswith(("http://", "https://"))

    def beginning(self, name: str) -> BinaryIO:
        """The file `name`, opened to read its headers: of a remote one the first bytes alone are fetched.

        NotThereError where the mirror does not have it; else what `http.beginning` raises.
        """
        return BytesIO(http.beginning(http.join(self.root, name))) if self.remote else self._path(name).open("rb")

    @contextmanager
    def file(self, name: str) -> Iterator[Path]:
        """The path of the file `name` while it is in use: a remote one is downloaded, and dropped afterwards.

        NotThereError where the mirror does not have it; else what `http.download` raises.
        """
        if not self.remote:
            yield self._path(name)
            return
        path = self.cache / name
        try:
            if not path.exists():
                http.download(http.join(self.root, name), path)
            yield path
        finally:
            path.unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        path = Path(self.root) / name
        if not path.exists():
            raise NotThereError(f"{name} is not in the mirror {self.root}")
        return path

    def names(self, suffixes: tuple[str, ...]) -> list[str]:
        """Names, relative to the root and sorted, of all files that end so; ArchiveError where there is no such root.

        A remote mirror is asked for the index page of its root.
        """
        if self.remote:
            return [name for name in http.links(self.root) if name.lower().endswith(suffixes)]
        if not os.path.isdir(self.root):
            raise ArchiveError(f"the mirror {self.root} is not a folder; give the root of the archive's files")
        walk = os.walk(self.root, followlinks=True)
        paths = (os.path.join(folder, name) for folder, _, names in walk for name in names)
        return sorted(os.path.relpath(path, self.root) for path in paths if path.lower().endswith(suffixes))
