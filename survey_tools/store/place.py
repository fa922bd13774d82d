"""Where the files of a store lie, and how parts of them are read: a folder of this machine, or an address.

Addresses (``s3://bucket/sdss.zarr``, ``https://host/sdss.zarr``, and whatever else fsspec knows) are read only. Only
the parts of files that are needed travel. A server that is busy, drops the connection, stays silent or sends less
than was asked for is asked again for `PATIENCE` seconds. Credentials come from the environment alone.
"""

import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from survey_tools.errors import GaltransError, StoreError, first_line

PATIENCE = 31.0  # [s] total time of waiting between attempts, as for downloads
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 8.0  # [s]
CONNECT, SILENCE = 10.0, 30.0  # [s] to connect, and between two parts of an answer
PART = 16 * 2**20  # [byte] read at once of a file that is read whole
REFUSED = (401, 403)  # HTTP statuses that waiting does not change
GONE = (404, 410)
LIBRARIES = ("aiohttp", "aiobotocore", "botocore", "fsspec", "s3fs", "urllib3", "requests")  # whose errors are passing

Answer = TypeVar("Answer")


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


@dataclass(frozen=True)
class StoreUrl:
    """The address of a store, or of one of its files; it is used as a path is, for reading.

    Attributes
    ----------
    url : str
        The address, without a slash at its end.
    """

    url: str

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, name: str) -> "StoreUrl":
        return StoreUrl(f"{self.url}/{name}")

    @property
    def name(self) -> str:
        """The last part of the address."""
        return self.url.rpartition("/")[2]

    def resolve(self) -> "StoreUrl":
        """Return the address itself: there are no links."""
        return self

    absolute = resolve

    def read(self, name: str, start: int, length: int) -> bytes:
        """Return a part of a file below this address; fewer bytes if the file ends before.

        Raises
        ------
        FileNotFoundError
            There is no such file.
        StoreError
            The file cannot be read, although it was tried patiently.
        """
        return (self / name)._part(start, length)

    def exists(self) -> bool:
        """Return whether the address is a file that is not empty."""
        try:
            return bool(self._part(0, 1))
        except FileNotFoundError:
            return False

    is_file = exists

    def read_bytes(self) -> bytes:
        """Return the whole file."""
        return _ask(self, lambda system, path: system.cat_file(path))

    def read_text(self) -> str:
        """Return the whole file as text."""
        return self.read_bytes().decode()

    def open(self, mode: str = "r", **options: Any):
        """Open the file for reading: text, or bytes part by part."""
        if "b" in mode:
            return io.BufferedReader(_Parts(self), PART)
        return io.TextIOWrapper(io.BytesIO(self.read_bytes()), **options)

    def size(self) -> int:
        """Return the size of the file [byte]."""
        size = _ask(self, lambda system, path: system.info(path)["size"])
        return len(self.read_bytes()) if size is None else size

    def _part(self, start: int, length: int) -> bytes:
        """Return a part of the file. A server that sends the whole file instead is understood."""
        if length == 0:
            return b""
        data = b""
        for _ in range(3):  # an answer may be cut off without being called so
            data = _ask(self, lambda system, path: system.cat_file(path, start=start, end=start + length))
            if len(data) > length:
                data = data[start : start + length]
            if len(data) == length:
                break
        return data


class _Parts(io.RawIOBase):
    """A file behind an address, read part by part."""

    def __init__(self, url: StoreUrl) -> None:
        self._url, self._place, self._size = url, 0, url.size()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        length = min(len(buffer), self._size - self._place)
        data = self._url._part(self._place, length)
        if len(data) < length:
            raise StoreError(f"{self._url} ends after {self._place + len(data)} of its {self._size} bytes")
        buffer[:length] = data
        self._place += length
        return length


def is_url(path: Any) -> bool:
    """Return whether something is an address and not a path of this machine.

    Parameters
    ----------
    path : str, Path or StoreUrl
        What a user gave.

    Returns
    -------
    bool
    """
    return isinstance(path, StoreUrl) or (isinstance(path, str) and "://" in path)


def place_of(path: Any) -> Path | StoreUrl:
    """Return the path of this machine, or the address, that a user gave.

    Parameters
    ----------
    path : str, Path or StoreUrl
        What a user gave.

    Returns
    -------
    Path or StoreUrl

    Raises
    ------
    StoreError
        The address has a name or a password in it.
    """
    if isinstance(path, StoreUrl) or not is_url(path):
        return path if isinstance(path, StoreUrl) else Path(path)
    parts = urlsplit(path)
    if parts.username or parts.password:
        raise StoreError(
            f"{parts.scheme}://…@{parts.hostname}{parts.path} has a name or a password in it, which logs and "
            "outputs would show; give credentials in the environment, such as AWS_ACCESS_KEY_ID"
        )
    return StoreUrl(path.rstrip("/"))


def _ask(url: StoreUrl, ask: Callable[[Any, str], Answer]) -> Answer:
    """Return what a file system answers, however often it has to be asked within `PATIENCE`."""
    system, path = _system_of(url)
    waited, pause = 0.0, FIRST_PAUSE
    while True:
        try:
            return ask(system, path)
        except FileNotFoundError:
            raise
        except Exception as error:
            status = _status_of(error)
            if status in GONE:
                raise FileNotFoundError(str(url)) from error
            if isinstance(error, PermissionError) or status in REFUSED or type(error).__name__ == "NoCredentialsError":
                raise StoreError(
                    f"{url} may not be read ({first_line(error)}); give credentials in the environment, such as "
                    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or ask for the right to read it"
                ) from error
            if not isinstance(error, OSError) and type(error).__module__.partition(".")[0] not in LIBRARIES:
                raise
            if waited >= PATIENCE:
                raise StoreError(
                    f"{url} cannot be read ({first_line(error)[:120]}); it was tried for {PATIENCE:.0f} s: check the "
                    "address and the network, or try again later"
                ) from error
        time.sleep(pause)
        waited += pause
        pause = min(2 * pause, LONGEST_PAUSE)


def _status_of(error: Exception) -> int | None:
    """Return the HTTP status that an error of a library tells of; None if it tells of none."""
    response = getattr(error, "response", None)
    told = response.get("ResponseMetadata", {}).get("HTTPStatusCode") if isinstance(response, dict) else None
    status = getattr(error, "status", told)
    return status if isinstance(status, int) else None


def _system_of(url: StoreUrl) -> tuple[Any, str]:
    """Return the file system of fsspec that knows an address, and the path there."""
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise _lacking(url, error) from error
    try:
        return url_to_fs(url.url, **_options(urlsplit(url.url).scheme))
    except ImportError as error:
        raise _lacking(url, error) from error
    except ValueError as error:
        raise StoreError(
            f"{url} is no address that can be read ({first_line(error)}); give s3:// or https://"
        ) from error


def _lacking(url: StoreUrl, error: ImportError) -> GaltransError:
    return GaltransError(f"{url} needs other packages ({first_line(error)}); run: pip install 'galtrans[remote]'")


def _options(scheme: str) -> dict[str, Any]:
    """Return what a file system of fsspec is told: times to wait, and no cache of what a folder holds."""
    if scheme in ("http", "https"):
        import aiohttp

        times = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT, sock_read=SILENCE)
        return {"client_kwargs": {"timeout": times, "trust_env": True}, "use_listings_cache": False}
    if scheme == "s3":
        times = {"connect_timeout": CONNECT, "read_timeout": SILENCE, "retries": {"max_attempts": 1}}
        return {"config_kwargs": times, "use_listings_cache": False}
    return {}
