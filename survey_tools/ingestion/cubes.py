"""Read images that others packed as one array: `.npz`, `.npy` and HDF5 files of (object, row, col, band) or band first.

Nothing is ever unpickled, and no file is read whole: its images are read in the order of the rows, a few at a time.
"""

import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import h5py
import numpy as np
from astropy.table import Table

from survey_tools.errors import ImageError, first_line

NPY, ZIP = b"\x93NUMPY", b"PK\x03\x04"  # first bytes of the files
HEADERS = {  # by version of the .npy format; the third differs from the second in the letters of field names
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
    (3, 0): np.lib.format.read_array_header_2_0,
}
DAMAGED = (OSError, EOFError, ValueError, KeyError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error)
NAMES = {  # columns of a catalogue: their names in files with images, in any case, the best name first
    "object_id": ("object_id", "objid", "bestobjid", "specobjid", "id"),
    "ra": ("ra",),
    "dec": ("dec",),
    "redshift": ("redshift", "zspec", "z_spec", "specz", "z"),
    **{name: (name,) for name in ("run", "rerun", "camcol", "field")},
}
PICKLED = "holds Python objects, which are never read, for that could run any code"
Read = Callable[[slice], np.ndarray]


@dataclass(frozen=True)
class CubeArray:
    """One array of a file.

    Attributes
    ----------
    shape : tuple of int
        Its shape.
    dtype : dtype
        Its type.
    by_row : bool
        Whether it is stored as numpy reads it, row after row.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    by_row: bool = True

    def __str__(self) -> str:
        return f"{self.shape} {'structured' if self.dtype.names else self.dtype}"


@dataclass(frozen=True)
class Cube:
    """The array of a file that holds the images.

    Attributes
    ----------
    path : Path
        The file.
    key : str
        Name of the array in it; "" in an `.npy` file.
    entry : CubeArray
        Its shape and type.
    axes : str
        "NHWC", (object, row, col, band), or "NCHW", (object, band, row, col).
    """

    path: Path
    key: str
    entry: CubeArray
    axes: str

    def __len__(self) -> int:
        return self.entry.shape[0]


def is_cube_file(path: Path) -> bool:
    """Return whether a file is, by its first bytes, one that this module reads.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    bool
        True for .npz, .npy and HDF5 files.
    """
    with open(path, "rb") as file:
        start = file.read(8)
    return start.startswith((NPY, ZIP)) or bool(h5py.is_hdf5(path))


def find_cube(path: Path, size: int, bands: int, *, key: str = "", axes: str = "auto") -> Cube:
    """Find the images of a file: the array called `key`, or the only one whose shape fits.

    Parameters
    ----------
    path : Path
        An .npz, .npy or HDF5 file.
    size : int
        Rows, and columns, of an image [pixel].
    bands : int
        Number of bands.
    key : str
        Name of the array; "" if it is to be found.
    axes : str
        "NHWC", "NCHW", or "auto", which follows the shape.

    Returns
    -------
    Cube
        The array, not read yet.

    Raises
    ------
    ImageError
        The file is damaged or would have to be unpickled; no array fits, or more than one does; the array is not of
        numbers, or its axes can be read both ways.
    """
    entries, key = _entries(path), key.strip("/")
    listed = "; ".join(f"{name or 'one array'} {entry}" for name, entry in entries.items()) or "nothing"
    if key and key not in entries:
        raise ImageError(f"{path} has no array called {key!r}; it holds {listed}")
    fitting = [name for name, entry in entries.items() if _orders(entry.shape, size, bands)]
    if not key and len(fitting) > 1:
        raise ImageError(f"{path} has {len(fitting)} arrays of such images; choose one by --key: {listed}")
    if not key and not fitting:
        raise ImageError(
            f"{path} has no images (N, {size}, {size}, {bands}) or (N, {bands}, {size}, {size}); it holds {listed}; "
            "check --survey, which sets the size, and --bands, whose number must match"
        )
    name = key or fitting[0]
    return Cube(path, name, entries[name], _axes(f"{path} {name}".strip(), entries[name], size, bands, axes))


def labels(cube: Cube) -> Table:
    """Read what a file says of each image beside the images.

    The values are fields of a structured array, or arrays of their own with one value per image, under the names of
    `NAMES` in any case; in HDF5 they lie in the group of the images. `z` is not a redshift if u, g, r and i stand
    beside it. Identifiers that are not unique, such as those of photometric objects with two spectra, are left out.

    Parameters
    ----------
    cube : Cube
        The images.

    Returns
    -------
    Table
        One row per image, with object_id, ra, dec, redshift, run, rerun, camcol and field as far as the file has them;
        no column if it has none.

    Raises
    ------
    ImageError
        An array is damaged or would have to be unpickled.
    """
    found: dict[str, tuple[str, str]] = {}
    group = cube.key.rpartition("/")[0]
    for key, entry in _entries(cube.path).items():
        if key == cube.key or entry.shape != (len(cube),) or key.rpartition("/")[0] != group:
            continue
        names = entry.dtype.names or (key.rpartition("/")[2],)
        found |= {name.lower(): (key, name if entry.dtype.names else "") for name in names}
    magnitudes = {"u", "g", "r", "i", "z"} <= found.keys()
    table, loaded = Table(), {}
    for column, aliases in NAMES.items():
        known = [alias for alias in aliases if alias in found and not (alias == "z" and magnitudes)]
        if known:
            key, field = found[known[0]]
            if key not in loaded:
                loaded[key] = _load(cube.path, key)
            values = loaded[key][field] if field else loaded[key]
            if column != "object_id" or (values.dtype.kind in "iuSU" and len(np.unique(values)) == len(values)):
                table[column] = values
    table.convert_bytestring_to_unicode()
    return table


@contextmanager
def reading(cube: Cube) -> Iterator[Read]:
    """Open a cube, and yield a function that reads some of its rows.

    It is fastest if rows are asked for in order.

    Parameters
    ----------
    cube : Cube
        The images.

    Yields
    ------
    callable
        Takes a slice; returns (object, band, row, col) float64 in the file's unit.

    Raises
    ------
    ImageError
        The file is damaged; raised at once or when the function is called.
    """
    with ExitStack() as stack:
        with _said(cube.path):
            raw = _open(cube, stack)

        def read(rows: slice) -> np.ndarray:
            with _said(cube.path):
                images = raw(rows)
            return (np.moveaxis(images, 3, 1) if cube.axes == "NHWC" else images).astype(np.float64)

        yield read


def _open(cube: Cube, stack: ExitStack) -> Read:
    """Return a function that reads rows as the file has them. The stack closes the file."""
    if h5py.is_hdf5(cube.path):
        return stack.enter_context(h5py.File(cube.path))[cube.key].__getitem__
    if not cube.key:
        return np.load(cube.path, mmap_mode="r", allow_pickle=False).__getitem__
    if not cube.entry.by_row:
        return _load(cube.path, cube.key).__getitem__
    archive = stack.enter_context(zipfile.ZipFile(cube.path))
    file = stack.enter_context(archive.open(cube.key + ".npy"))
    _header(file)
    return partial(_stream, cube, file, file.tell())


def _stream(cube: Cube, file, start: int, rows: slice) -> np.ndarray:
    """Return some rows of an array that begins at `start` of an open member of an .npz file."""
    shape = (rows.stop - rows.start, *cube.entry.shape[1:])
    length = cube.entry.dtype.itemsize * int(np.prod(cube.entry.shape[1:]))
    if file.tell() != start + rows.start * length:  # a seek would end the check of the member's CRC
        file.seek(start + rows.start * length)
    raw = file.read(shape[0] * length)
    if rows.stop == len(cube):
        file.read(1)  # at the end the CRC is compared
    if len(raw) < shape[0] * length:
        raise EOFError(f"it ends within image {rows.start + len(raw) // length}")
    return np.frombuffer(raw, cube.entry.dtype).reshape(shape)


def _axes(name: str, entry: CubeArray, size: int, bands: int, asked: str) -> str:
    """Return the order of the axes. Raise ImageError if the array does not fit, has no numbers, or fits both ways."""
    fits = _orders(entry.shape, size, bands)
    if entry.dtype.hasobject:
        raise ImageError(f"{name} {PICKLED}; save it again as one plain array")
    if entry.dtype.kind not in "fiu":
        raise ImageError(f"{name} is of type {entry.dtype}; images are real numbers")
    if not fits or (asked != "auto" and asked not in fits):
        wanted = {"NHWC": (size, size, bands), "NCHW": (bands, size, size)}
        shapes = " or ".join(
            f"(N, {', '.join(map(str, wanted[order]))})" for order in wanted if asked in ("auto", order)
        )
        raise ImageError(
            f"{name} has the shape {entry.shape}, not {shapes}; check --survey, which sets the size, --bands, "
            "whose number must match, and --axes"
        )
    if len(fits) > 1 and asked == "auto":
        raise ImageError(f"{name} has the shape {entry.shape}, which fits both orders of axes; say which by --axes")
    return fits[0] if asked == "auto" else asked


def _orders(shape: tuple[int, ...], size: int, bands: int) -> list[str]:
    """Return the orders of axes that a shape fits."""
    orders = {"NHWC": (size, size, bands), "NCHW": (bands, size, size)}
    return [order for order, dims in orders.items() if len(shape) == 4 and shape[0] > 0 and shape[1:] == dims]


def _entries(path: Path) -> dict[str, CubeArray]:
    """Return every array of a file by its name, which is "" in an .npy file. Raise ImageError if that is impossible."""
    with _said(path):
        if h5py.is_hdf5(path):
            with h5py.File(path) as file:
                return _datasets(file)
        with open(path, "rb") as file:
            if file.read(len(NPY)) == NPY:
                file.seek(0)
                return {"": _header(file)}
        entries = {}
        with zipfile.ZipFile(path) as archive:
            for member in archive.namelist():
                with archive.open(member) as file:
                    if member.endswith(".npy"):
                        entries[member.removesuffix(".npy")] = _header(file)
        return entries


def _datasets(file: h5py.File) -> dict[str, CubeArray]:
    """Return every array of an HDF5 file by its name."""
    found: dict[str, CubeArray] = {}

    def visit(name: str, node: object) -> None:
        if isinstance(node, h5py.Dataset) and node.shape is not None:
            found[name] = CubeArray(node.shape, node.dtype)

    file.visititems(visit)
    return found


def _header(file) -> CubeArray:
    """Return shape and type of the array that begins here. Afterwards the file is at its first value."""
    version = np.lib.format.read_magic(file)
    if version not in HEADERS:
        raise ValueError(f"version {version} of the .npy format is not known; save it again by numpy.savez")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that Python 2 wrote it
        shape, by_column, dtype = HEADERS[version](file)
    return CubeArray(shape, dtype, not by_column)


def _load(path: Path, key: str) -> np.ndarray:
    """Return one array as a whole."""
    with _said(path, key):
        if h5py.is_hdf5(path):
            with h5py.File(path) as file:
                text = h5py.check_string_dtype(file[key].dtype)
                return file[key].asstr()[:].astype(str) if text else file[key][:]
        with np.load(path, allow_pickle=False) as file:
            return file[key]


@contextmanager
def _said(path: Path, key: str = "") -> Iterator[None]:
    """Raise ImageError for everything that goes wrong when a file is read."""
    try:
        yield
    except DAMAGED as error:
        said = first_line(error)
        if "pickle" in said or "Python objects" in said:
            remedy = "save it again as plain arrays, or give the positions by --positions TABLE"
            raise ImageError(f"{path} {key} {PICKLED}; {remedy}") from error
        if isinstance(error, OSError) and error.filename:
            raise  # the file does not exist, or may not be read
        raise ImageError(f"{path} cannot be read, it may be damaged or truncated: {said}; fetch it again") from error
