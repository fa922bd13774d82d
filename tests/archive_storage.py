"""Windows that a storage site of the CADC cuts from FITS files, and the roster of files that its TAP service knows."""

import hashlib
import io
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS, FITSFixedWarning

SCIENCE = ("science", "this")  # what the CADC calls the product that a plane is about: before 2026, and since
SUB = re.compile(r"(?:\[([^\]:]*)\])?(?:\[(\d+):(\d+),\s*(\d+):(\d+)\])?")


class NoContentError(Exception):
    """A window lies wholly outside its file."""


class BadCutoutError(Exception):
    """A cutout parameter that cannot be understood."""


@dataclass(frozen=True)
class Tile:
    """One file at the CADC, as its TAP service tells of it. `polygon` holds the corners' ra, dec [deg], in turn."""

    observation: str
    product: str
    bandpass: str
    uri: str
    polygon: tuple[float, ...]
    shape: tuple[int, int]  # rows, columns
    size: int  # [byte]
    md5: str
    kind: str = "science"
    version: str = "T0007"
    collection: str = "CFHTTERAPIX"
    target: str = ""


def md5_of(path: Path) -> str:
    """MD5 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def roster_of(folder: Path) -> list[Tile]:
    """The FITS files below folder/cadc/<archive>/, as TAP would tell of them; weights belong to their stacks."""
    tiles = []
    for path in sorted(Path(folder).glob("cadc/*/*.fits*")):
        with fits.open(path) as hdus:
            hdu = next(hdu for hdu in hdus if hdu.header.get("NAXIS") == 2)
            header, shape = hdu.header.copy(), hdu.shape
        product = path.name.split(".fits")[0]
        kind = "weight" if product.endswith("_weight") else "science"
        product = product.removesuffix("_weight")
        tiles.append(
            Tile(
                re.sub(r"_(u|g|r|i|y|z)_", "_", product, count=1).split("_T0007")[0],
                product,
                header.get("FILTER", ""),
                f"cadc:{path.parent.name}/{path.name}",
                tuple(_wcs(header).calc_footprint(axes=shape[::-1]).ravel().tolist()),
                shape,
                path.stat().st_size,
                md5_of(path),
                kind,
                target=header.get("OBJECT", ""),
            )
        )
    return tiles


def caom2(roster: list[Tile]) -> dict[str, Table]:
    """The tables caom2.* of the CADC for these files: one artifact a file, one plane a product."""
    names = {
        "Observation": "collection observationID obsID target_name instrument_name type intent",
        "Plane": "obsID planeID publisherID productID provenance_name provenance_version energy_bandpassName "
        "energy_emBand position_bounds position_dimension_naxis1 position_dimension_naxis2 quality_flag "
        "dataProductType calibrationLevel",
        "Artifact": "planeID artifactID uri productType releaseType contentType contentLength contentChecksum",
        "Part": "artifactID partID name productType",
        "Chunk": "partID chunkID naxis position_coordsys position_equinox",
        "EnumField": "collection energy_emBand",
    }
    rows: dict[str, dict] = {name: {} for name in names}
    for number, tile in enumerate(roster):
        observation, plane = f"o-{tile.collection}-{tile.observation}", f"p-{tile.collection}-{tile.product}"
        rows["Observation"].setdefault(
            observation,
            (tile.collection, tile.observation, observation, tile.target, "MegaPrime", "OBJECT", "science"),
        )
        bounds = " ".join(["polygon", *(repr(value) for value in tile.polygon)])
        publisher = f"ivo://cadc.nrc.ca/{tile.collection}?{tile.observation}/{tile.product}"
        if plane not in rows["Plane"] or tile.kind in SCIENCE:
            rows["Plane"][plane] = (
                *(observation, plane, publisher, tile.product, "TERAPIX", tile.version, tile.bandpass, "Optical"),
                *(bounds, tile.shape[1], tile.shape[0], None, "image", 3),
            )
        kind = "application/fits" if ".fits" in tile.uri else "application/octet-stream"
        rows["Artifact"][number] = (
            *(plane, f"a-{number}", tile.uri, tile.kind, "data", kind, tile.size, f"md5:{tile.md5}"),
        )
        rows["Part"][number] = (f"a-{number}", f"t-{number}", "0", None)
        rows["Chunk"][number] = (f"t-{number}", f"c-{number}", 2, "ICRS", 2000.0)
        rows["EnumField"][tile.collection] = (tile.collection, "Optical")
    return {f"caom2.{name}": _table(names[name].split(), list(rows[name].values())) for name in names}


def windows(path: Path, subs: list[str], mef: str = "primary", clip: int = 0) -> tuple[bytes, int]:
    """FITS of the windows `[ext][x1:x2,y1:y2]` of a file, counted from 1, ends included, and how many there are.

    Windows are cut at the edges of the image; those outside are left out. `mef` says how several windows of a file of
    one HDU come: "extensions", "primary" (the first in the primary HDU) or "first" (that one alone). `clip` pixels are
    lost of each window. NoContentError where none is left. They come in the order in which they are asked for.
    """
    cut = []
    with fits.open(path, memmap=path.suffix == ".fits") as hdus:
        mef = "extensions" if mef == "primary" and len(hdus) > 1 else mef
        for text in subs:
            found = SUB.fullmatch(text.strip())
            if not found or not (found[1] or found[2]):
                raise BadCutoutError(f"InvalidArgument: invalid cutout: {text}")
            name = found[1] or ("1" if hdus[0].header["NAXIS"] == 0 and len(hdus) > 1 else "0")
            try:
                hdu = hdus[int(name) if name.isdigit() else name.split(",")[0]]
            except (IndexError, KeyError) as error:
                raise BadCutoutError(f"InvalidArgument: no such extension: {text}") from error
            limits = [int(value) for value in found.groups()[1:]] if found[2] else [1, hdu.shape[1], 1, hdu.shape[0]]
            if (part := _window(hdu, *limits, clip)) is not None:
                cut.append(part)
    if not cut:
        raise NoContentError(f"NoContent: no overlap found between {' '.join(subs)} and {path.name}")
    count = len(cut)
    if count == 1 or mef == "first":
        hdus, count = [fits.PrimaryHDU(*cut[0])], 1
    elif mef == "primary":
        hdus = [fits.PrimaryHDU(*cut[0]), *(fits.ImageHDU(*part) for part in cut[1:])]
    else:
        hdus = [fits.PrimaryHDU(), *(fits.ImageHDU(*part) for part in cut)]
    file = io.BytesIO()
    fits.HDUList(hdus).writeto(file, output_verify="silentfix")
    return file.getvalue(), count


def circle_window(path: Path, ra: float, dec: float, radius: float, clip: int = 0) -> str:
    """The SUB that a circle [deg] becomes: the pixels of its box in ra and dec, cut at the image's edges."""
    with fits.open(path) as hdus:
        number = 0 if hdus[0].header["NAXIS"] else 1
        header, (height, width) = hdus[number].header.copy(), hdus[number].shape
    wide = radius / np.cos(np.radians(dec))
    corners = [
        (ra - wide, dec - radius),
        (ra - wide, dec + radius),
        (ra + wide, dec - radius),
        (ra + wide, dec + radius),
    ]
    x, y = _wcs(header).wcs_world2pix(corners, 1).T
    x1, x2 = int(np.floor(x.min() + 0.5)), int(np.ceil(x.max() - 0.5))
    y1, y2 = int(np.floor(y.min() + 0.5)), int(np.ceil(y.max() - 0.5))
    x1, x2, y1, y2 = max(x1, 1), min(x2, width) - clip, max(y1, 1), min(y2, height) - clip
    if x1 > x2 or y1 > y2:
        raise NoContentError(f"NoContent: no overlap between CIRCLE {ra} {dec} {radius} and {path.name}")
    return f"[{number}][{x1}:{x2},{y1}:{y2}]"


def headers_of(path: Path) -> str:
    """All headers of a file as text."""
    with fits.open(path) as hdus:
        return "\n\n".join(hdu.header.tostring(sep="\n") for hdu in hdus) + "\n"


def _window(hdu, x1: int, x2: int, y1: int, y2: int, clip: int):
    """Pixels and header of one window; None where it lies outside."""
    height, width = hdu.shape
    x1, x2, y1, y2 = max(x1, 1), min(x2, width) - clip, max(y1, 1), min(y2, height) - clip
    if x1 > x2 or y1 > y2:
        return None
    header = hdu.header.copy()
    for axis, first in ((1, x1), (2, y1)):
        header[f"CRPIX{axis}"] -= first - 1
        header[f"LTV{axis}"] = header.get(f"LTV{axis}", 0.0) - (first - 1)
    return np.array(hdu.data[y1 - 1 : y2, x1 - 1 : x2]), header


def _wcs(header) -> WCS:
    """The grid of an image."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FITSFixedWarning)
        return WCS(header)


def _table(names: list[str], rows: list[tuple]) -> Table:
    """A table of rows, in which None is masked."""
    table = Table()
    for name, values in zip(names, zip(*rows, strict=True) if rows else [()] * len(names), strict=True):
        known = [value for value in values if value is not None]
        empty = type(known[0])() if known else ""
        column = np.ma.array([empty if value is None else value for value in values])
        column.mask = [value is None for value in values]
        table[name] = column if rows else np.array([], "U1")
    return table
