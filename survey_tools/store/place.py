"""Where the files of a store lie, and how parts of them are read."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Folder:
    """A folder of this machine.

    Attributes
    ----------
    path : Path
        The folder.
    """

    path: Path

    def read(self, name: str, start: int, length: int) -> bytes:
        """Return a part of a file; fewer bytes if the file ends before. Raise FileNotFoundError if it is missing."""
        with (self.path / name).open("rb", buffering=0) as file:
            file.seek(start)
            data = file.read(length)
            while len(data) < length and (more := file.read(length - len(data))):
                data += more
            return data
