"""The cutouts of the Legacy Surveys viewer and of Pan-STARRS1, as `archive_server` has them, and small archives.

In the folder of the archive
    legacy/<layer>/<brick>-<image|invvar>-<band>.fits    are bricks of the Legacy Surveys;
    ps1/rings.v3.skycell/<…>.unconv.fits                 are stacks of Pan-STARRS1, on linear scale.

The viewer does what its program says (github.com/legacysurvey/imagine, map/views.py): `subimage` sends an empty primary
HDU, and image and inverse variance of each band of each brick near the position; without it, a cube on a north-up grid;
HTTP 500 where it finds nothing.
"""

import io
from pathlib import Path
from urllib.parse import unquote

import numpy as np
from archive_faults import Answer, Body, Fault, Request, html, text
from astropy.io import fits
from astropy.wcs import WCS

NEAR = 0.2  # [deg] between a position and the centre of a brick that is looked at
LARGEST = 3000  # [pixel]
MORE_CARDS = 40  # cards of a cutout's header that nobody reads
LIST = "projcell subcell ra dec filter mjd type filename shortname badflag"


def viewer(server, request: Request, fault: Fault | None, given: dict[str, str]) -> Answer:
    """A FITS cutout."""
    ra, dec, layer = float(given["ra"]), float(given["dec"]), given.get("layer", "")
    size = min(int(given.get("size", 256)), LARGEST)
    folder = Path(server.archive.folder) / "legacy" / layer
    if not folder.is_dir():
        return text(200, "no such layer", "text/html")
    known = sorted({path.stem.split("-")[2] for path in folder.glob("*-image-*.fits")})
    bands = list(given.get("bands", "".join(known)))
    bands = bands if set(bands) <= set(known) else known
    called = "Y" if fault and fault.kind == "other_band" else ""
    bricks = sorted({path.name.split("-")[0] for path in folder.glob("*-image-*.fits")})
    return _bricks(folder, bricks, bands, ra, dec, size, "subimage" in given, called)


def _bricks(folder: Path, bricks, bands, ra: float, dec: float, size: int, whole: bool, called: str) -> Answer:
    """The answer of the viewer for one position: the bricks' own pixels if `whole`; `called` is the band they state."""
    hdus, near, cube = [fits.PrimaryHDU()], 0, np.zeros((len(bands), size, size), np.float32)
    for brick in bricks:
        for plane, band in enumerate(bands):
            path = folder / f"{brick}-image-{band}.fits"
            if not path.exists():
                continue
            header, image = fits.getheader(path), fits.getdata(path)
            if np.hypot((header["CRVAL1"] - ra) * np.cos(np.radians(dec)), header["CRVAL2"] - dec) > NEAR:
                continue
            near += whole
            x, y = WCS(header).wcs_world2pix([[ra, dec]], 1)[0]
            x0, y0 = (int(np.round(at - size / 2)) - 1 for at in (x, y))
            rows, cols = (np.clip([first, first + size - 1], 0, length - 1) for first, length in
                          zip((y0, x0), image.shape, strict=True))  # fmt: skip
            if rows[0] == rows[1] or cols[0] == cols[1]:
                continue
            part = slice(rows[0], rows[1] + 1), slice(cols[0], cols[1] + 1)
            if not whole:
                near, found = 1, image[part]
                cube[plane, : found.shape[0], : found.shape[1]] = found
                continue
            own = WCS(header)[part].to_header()
            own["BRICK"], own["BRICK_X0"], own["BRICK_Y0"] = brick, int(cols[0]), int(rows[0])
            own["SURVEY"], own["BAND"] = "DECaLS", called or band
            for kind in ("image", "invvar"):
                values = fits.getdata(folder / f"{brick}-{kind}-{band}.fits")[part]
                own["IMAGETYP"] = kind
                hdus.append(fits.ImageHDU(values.astype(np.float32), own))
    if not near:
        return html(500, "Server Error (500)", "")
    if not whole:
        hdus = [fits.PrimaryHDU(cube)]
        hdus[0].header["BANDS"] = "".join(bands)
    return _sent(hdus)


def _sent(hdus: list) -> Answer:
    stream = io.BytesIO()
    fits.HDUList(hdus).writeto(stream)
    return Answer(200, {"Content-Type": "image/fits"}, Body(stream.getvalue()))


def ps1_list(server, request: Request, fault: Fault | None, given: dict[str, str]) -> Answer:
    """The images at the positions of a file, or of `ra` and `dec`."""
    sent = given.get("file") or f"{given['ra']} {given['dec']}"
    root, lines = Path(server.archive.folder) / "ps1", [LIST]
    for line in sent.splitlines():
        ra, dec = map(float, line.split())
        for path in sorted(root.rglob("*.fits")):
            header, band = fits.getheader(path), path.name.split(".")[-3]
            x, y = _grid(header).wcs_world2pix([[ra, dec]], 0)[0]
            if band in given.get("filters", "grizy") and 0 <= x < header["NAXIS1"] and 0 <= y < header["NAXIS2"]:
                cells = path.parent.relative_to(root).parts[-2:]
                name = "/" + str(path.relative_to(root))
                lines.append(f"{' '.join(cells)} {ra:.6f} {dec:.6f} {band} 0 stack {name} {path.name} 0")
    return text(200, "\n".join(lines) + "\n")


def _grid(header: fits.Header) -> WCS:
    """The grid of a stack, whose matrix is the unit matrix but for the sign of the first axis."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = [header["CTYPE1"], header["CTYPE2"]]
    wcs.wcs.crval, wcs.wcs.crpix = ([header[f"{key}{axis}"] for axis in (1, 2)] for key in ("CRVAL", "CRPIX"))
    wcs.wcs.cdelt = [-header["CDELT1"], header["CDELT2"]]
    return wcs


def ps1_cutout(server, request: Request, fault: Fault | None, given: dict[str, str]) -> Answer:
    """A window of a stack."""
    path = Path(server.archive.folder) / "ps1" / unquote(given["red"]).lstrip("/")
    if fault and fault.kind == "other_band":
        path = next(each for each in sorted(path.parent.glob("*.fits")) if each != path)
    if not path.is_file():
        return html(404, "404 Not Found", "no such image")
    header, image, size = fits.getheader(path), fits.getdata(path), int(given["size"])
    x, y = _grid(header).wcs_world2pix([[float(given["ra"]), float(given["dec"])]], 0)[0]
    row, col = (int(np.floor(at - size / 2 + 0.5)) for at in (y, x))
    cut = np.full((size, size), np.nan, np.float32)
    low, high = np.clip([row, col], 0, image.shape), np.clip([row + size, col + size], 0, image.shape)
    cut[low[0] - row : high[0] - row, low[1] - col : high[1] - col] = image[low[0] : high[0], low[1] : high[1]]
    header["CRPIX1"], header["CRPIX2"] = header["CRPIX1"] - col, header["CRPIX2"] - row
    for number in range(MORE_CARDS):
        header[f"HIERARCH SRC.{number:04d}"] = "an exposure"
    return _sent([fits.PrimaryHDU(cut, header)])


def write_brick(folder: Path, known_sky, brick: str, wcs, galaxies, bands: str, *, shape=(220, 220), empty=()) -> None:
    """A brick of the Legacy Surveys in nanomaggies; rows and columns of slices `empty` have no exposure."""
    for number, band in enumerate(bands):
        image = known_sky.draw(wcs, shape, galaxies, 0.02, seed=number + len(brick) + int(brick[:4]))
        weight = np.full(shape, 2500.0, np.float32)
        for part in empty:
            weight[part] = image[part] = 0.0
        folder.mkdir(parents=True, exist_ok=True)
        for kind, values in (("image", image), ("invvar", weight)):
            header = wcs.to_header()
            if kind == "image":
                header["FILTER"], header["SURVEY"] = band, "LegacySurvey"
            fits.PrimaryHDU(values, header).writeto(folder / f"{brick}-{kind}-{band}.fits")


def write_stack(
    folder: Path, known_sky, cell: str, wcs, galaxies, bands: str, *, shape=(240, 240), seconds=700.0
) -> None:
    """A stack of Pan-STARRS1, linear, in counts of `seconds`; its matrix is stated by the old keywords PC00i00j."""
    unit = 10 ** (-0.4 * (22.5 - 25.0 - 2.5 * np.log10(seconds)))
    for number, band in enumerate(bands):
        image = known_sky.draw(wcs, shape, galaxies, 0.02, seed=40 + number) * unit
        step = abs(wcs.wcs.cd[0, 0])
        header = fits.Header()
        header["CTYPE1"], header["CTYPE2"], header["RADESYS"] = "RA---TAN", "DEC--TAN", "FK5"
        for axis in (1, 2):
            header[f"CRVAL{axis}"], header[f"CRPIX{axis}"] = wcs.wcs.crval[axis - 1], wcs.wcs.crpix[axis - 1]
            header[f"CDELT{axis}"] = step
        header["PC001001"], header["PC001002"], header["PC002001"], header["PC002002"] = -1.0, 0.0, 0.0, 1.0
        header["EXPTIME"] = seconds
        header["HIERARCH FPA.FILTERID"], header["HIERARCH FPA.ZP"] = f"{band}.00000", 25.0
        header["HIERARCH CELL.GAIN"], header["HIERARCH CELL.SATURATION"] = 1.0, 1e6
        path = folder / "rings.v3.skycell" / cell.replace(".", "/")
        path.mkdir(parents=True, exist_ok=True)
        name = f"rings.v3.skycell.{cell}.stk.{band}.unconv.fits"
        fits.PrimaryHDU(image.astype(np.float32), header).writeto(path / name)
