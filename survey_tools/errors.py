"""The errors of galtrans. Each message is one line: the value, where it was met, and the remedy.

GaltransError
├── CatalogueError    a catalogue cannot be read or holds an impossible row
├── ArchiveError      a file or an answer of an archive cannot be used
├── NoCoverageError   no image of the archive covers a position
├── StoreError        a store is missing, unfinished, of another schema, or not the one that was meant
├── ImageError        a FITS image given by the user lacks what is needed to translate it
├── RunError          a training run is missing, unfinished or made for other data
├── SurveyError       a survey is not known, or one of a user's own file cannot be used: a ValueError as well
└── ArgumentError     an argument of a public function cannot be used: a ValueError as well

AwayError             an archive cannot be reached: a ConnectionError, since a later run may find it
"""


def first_line(error: BaseException) -> str:
    """What an error of a library says, in its first line; its kind where it says nothing."""
    said = str(error).strip()
    return said.splitlines()[0] if said else type(error).__name__


class GaltransError(Exception):
    """Something from outside that galtrans cannot work with; the message is for the user."""


class CatalogueError(GaltransError):
    """A catalogue cannot be read, lacks a column or holds an impossible row."""


class ArchiveError(GaltransError):
    """A file or an answer of an archive is missing, truncated or not what it should be.

    Attributes:
        url: What was asked for; "" where that was no URL.
        status: HTTP status of the answer; 0 where there was none.
    """

    def __init__(self, message: str, *, url: str = "", status: int = 0) -> None:
        super().__init__(message)
        self.url, self.status = url, status

    def __reduce__(self):  # an error that comes back from another process keeps its attributes
        return _asked_error, (type(self), str(self), self.url, self.status)


class AwayError(ConnectionError):
    """An archive cannot be reached, or stays busy.

    Attributes:
        url: What was asked for.
        status: HTTP status of the last answer; 0 where there was none.
    """

    def __init__(self, message: str, *, url: str = "", status: int = 0) -> None:
        super().__init__(message)
        self.url, self.status = url, status

    def __reduce__(self):
        return _asked_error, (type(self), str(self), self.url, self.status)


class NoCoverageError(GaltransError):
    """No image of the archive covers the position."""


class StoreError(GaltransError):
    """A store is missing, unfinished, of another schema version, or not the one that was meant."""


class ImageError(GaltransError):
    """A FITS image lacks a band, a WCS, a unit or pixels that are needed."""


class RunError(GaltransError):
    """A training run is missing, unfinished or was made for other data."""


class SurveyError(GaltransError, ValueError):
    """A survey is not known, or one of a user's own file cannot be used."""


class ArgumentError(GaltransError, ValueError):
    """An argument of a public function cannot be used; `argument` is its name."""

    def __init__(self, argument: str, message: str) -> None:
        super().__init__(message)
        self.argument, self.message = argument, message

    def __reduce__(self):
        return type(self), (self.argument, self.message)

    def __str__(self) -> str:
        """The message, with the name of the argument before it."""
        return f"{self.argument}: {self.message}"


def _asked_error(kind: type, message: str, url: str, status: int) -> ArchiveError | AwayError:
    return kind(message, url=url, status=status)
