"""Small archive files of a known sky: Gaussian galaxies of known flux and position, in frames and stacks.

Tests have it as the fixture `known_sky`.
"""

import bz2
import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table

from survey_tools.archives.known import ARCHIVES
from survey_tools.archives.plan import Access
from survey_tools.build import fetch as build
from survey_tools.images.sky_wcs import scale_of, tan_wcs
from survey_tools.tasks import Engine

FRAME = "sas/dr12/boss/photoObj/frames/301/{run}/{camcol}/frame-{band}-{run:06d}-{camcol}-{field:04d}.fits.bz2"
PSFIELD = "sas/dr12/boss/photo/redux/301/{run}/objcs/{camcol}/psField-{run:06d}-{camcol}-{field:04d}.fit"
RA, DEC, RUN, CAMCOL = 150.0, 2.0, 94, 3
DRIFT = "riuzg"  # rows of the camera in the order in which they see the sky
FRAME_SHAPE = (220, 260)
STACK_SHAPE = (320, 300)
FILTERS = {"u": "u.MP9301", "g": "g.MP9401", "r": "r.MP9601", "i": "i.MP9701", "z": "z.MP9801"}


@dataclass(frozen=True)
class Galaxy:
    """A round Gaussian: position [deg], flux [nanomaggy], and standard deviation [arcsec]."""

    ra: float
    dec: float
    flux: float = 100.0
    sigma: float = 0.8


def frame_wcs(band: str = "r", field: int = 100):
    """A frame's grid: turned by 47 deg, shifted between bands, and 180 rows on from one field to the next."""
    angle, step = np.radians(47.0), 0.396 / 3600
    cd = step * np.array([[-np.cos(angle), np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shift = DRIFT.index(band)
    crpix = (FRAME_SHAPE[1] / 2 + 1.3 * shift, FRAME_SHAPE[0] / 2 + 2.7 * shift - 180 * (field - 100))
    return tan_wcs((RA, DEC), crpix, cd)


def stack_wcs(ra: float = RA, dec: float = DEC, shape=STACK_SHAPE):
    """A stack's grid with (ra, dec) in its middle: north up, CRPIX far off, as in a part of a tile of one degree."""
    step = 0.186 / 3600
    cd = [[-step, 0.0], [0.0, step]]
    crval = (ra + 0.1, dec - 0.05)
    col, row = tan_wcs(crval, (0.0, 0.0), cd).wcs_world2pix([[ra, dec]], 1)[0]
    return tan_wcs(crval, (shape[1] / 2 + 0.5 - col, shape[0] / 2 + 0.5 - row), cd)


def draw(wcs, shape, galaxies, noise: float = 0.0, seed: int = 0) -> np.ndarray:
    """Flux per pixel (row, col) of the galaxies, in their unit, with Gaussian noise."""
    row, col = np.mgrid[: shape[0], : shape[1]]
    image = np.random.default_rng(seed).normal(0.0, noise, shape) if noise else np.zeros(shape)
    for galaxy in galaxies:
        x, y = wcs.wcs_world2pix([[galaxy.ra, galaxy.dec]], 0)[0]
        sigma = galaxy.sigma / scale_of(wcs)
        image += galaxy.flux / (2 * np.pi * sigma**2) * np.exp(-((col - x) ** 2 + (row - y) ** 2) / (2 * sigma**2))
    return image.astype(np.float32)


def write_fits(path: Path, image, header, others=()) -> Path:
    """One image as FITS, compressed as the suffix says; `others` are the HDUs that follow it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".fz":
        image = fits.CompImageHDU(image, header, compression_type="GZIP_1", quantize_level=0)
        fits.HDUList([fits.PrimaryHDU(), image]).writeto(path, overwrite=True)
        return path
    plain = path.with_name(path.name + ".plain")
    others = others or [fits.ImageHDU(np.ones(4, np.float32))]
    fits.HDUList([fits.PrimaryHDU(image, header), *others]).writeto(plain)
    squeeze = {".bz2": bz2.compress, ".gz": gzip.compress}.get(path.suffix, bytes)
    path.write_bytes(squeeze(plain.read_bytes()))
    plain.unlink()
    return path


def write_frame(root, band, galaxies, *, field=100, name=None, noise=0.02, edit=None, header=None, others=()) -> Path:
    """An SDSS frame; `edit` changes its pixels (row, col) in place, `header` its keywords (None removes one).

    Its noise is not told unless `others` are HDUs as `noise_hdus` makes them.
    """
    wcs = frame_wcs(band, field)
    row = DRIFT.index(band)
    image = draw(wcs, FRAME_SHAPE, galaxies, noise, seed=field * 10 + row)
    if edit is not None:
        edit(image)
    keywords = {"RUN": RUN, "CAMCOL": CAMCOL, "FRAME": field + 2 * row, "CAMROW": row + 1, "FILTER": band}
    keywords |= {"RERUN": "301", "BUNIT": "nanomaggy"} | (header or {})
    name = name or FRAME.format(run=RUN, camcol=CAMCOL, field=field, band=band)
    return write_fits(Path(root) / name, image, _header(wcs, keywords), others)


def noise_hdus(calibration: float, sky: float, shape=FRAME_SHAPE) -> list:
    """HDUs 1 and 2 of a frame: `calibration` [nanomaggy/DN] of each column, and `sky` [DN] on a coarse grid."""
    rows, cols = ((np.arange(length, dtype=np.float32)[None] + 0.5) / 8 - 0.5 for length in shape)
    grid = np.full((1, 192 * 256), sky, np.float32)
    table = [fits.Column("ALLSKY", f"{grid.size}E", dim="(256,192)", array=grid.reshape(1, 192, 256))]
    table += [fits.Column(n, f"{v.size}E", array=v) for n, v in (("XINTERP", cols), ("YINTERP", rows))]
    return [fits.ImageHDU(np.full(shape[1], calibration, np.float32)), fits.BinTableHDU.from_columns(table)]


def write_psfield(root, fwhm, *, field=100, size=51) -> Path:
    """A psField: round Gaussians of `fwhm` [arcsec] in u, g, r, i, z at row 0, a tenth wider at row 1000."""
    row, col = np.mgrid[:size, :size] - size // 2
    hdus = [fits.PrimaryHDU()]
    for width in fwhm:
        images = [_gaussian(row, col, width * (1 + more) / 0.396 / 2.3548) for more in (0.0, 0.1)]
        terms = np.zeros((2, 5, 5), np.float32)
        terms[:, 0, 0], terms[:, 1, 0], terms[:, 3:] = (1, 0), (-1, 1), np.nan  # what is not used is rubbish
        columns = [fits.Column(name, "J", array=[value] * 2) for name, value in
                   {"nrow_b": 2, "ncol_b": 1, "RNROW": size, "RNCOL": size}.items()]  # fmt: skip
        columns += [fits.Column("c", "25E", dim="(5,5)", array=terms)]
        columns += [fits.Column("RROWS", f"{size**2}E", array=np.reshape(images, (2, -1)).astype(np.float32))]
        hdus.append(fits.BinTableHDU.from_columns(columns))
    path = Path(root) / PSFIELD.format(run=RUN, camcol=CAMCOL, field=field)
    path.parent.mkdir(parents=True, exist_ok=True)
    fits.HDUList(hdus).writeto(path, overwrite=True)
    return path


def write_stack(folder, band, galaxies, *, name=None, wcs=None, shape=STACK_SHAPE, noise=1.0, edit=None, header=None):
    """A CFHTLS stack in counts of zero point 30."""
    wcs = wcs or stack_wcs(shape=shape)
    image = draw(wcs, shape, [Galaxy(g.ra, g.dec, 1000 * g.flux, g.sigma) for g in galaxies], noise, ord(band))
    if edit is not None:
        edit(image)
    keywords = {"FILTER": FILTERS[band], "MZP_AB": 30.0, "SATURATE": 1e7, "IQIMAGE": 0.7, "PHOT_C": 26.5}
    return write_fits(Path(folder) / (name or f"stack_{band}.fits"), image, _header(wcs, keywords | (header or {})))


def catalogue(positions, field: int | None = None) -> Table:
    """A catalogue of positions (ra, dec) [deg], as `read_catalogue` gives it; `field` names the frame of all."""
    ra, dec = np.array(positions, float).T
    table = Table({"object_id": [f"g{i}" for i in range(len(ra))], "ra": ra, "dec": dec})
    table["redshift"] = np.nan
    frame = {"run": RUN, "rerun": 301, "camcol": CAMCOL, "field": field}
    for name, value in frame.items() if field is not None else ():
        table[name] = np.full(len(ra), value, np.int32)
    return table


def fetch(survey, catalogue, mirror, out, *, workers: int = 1, psf: bool = True, **options):
    """The store of a catalogue and a mirror, by `build.fetch`."""
    known, access = ARCHIVES[survey.name], Access(build.work_folder(out), mirror=str(mirror))
    archive = known.open(access, known.options() if psf else known.images_only)
    return build.fetch(archive, catalogue, out, engine=Engine(workers), **options)


def position(wcs, row: float, col: float) -> tuple[float, float]:
    """ra, dec [deg] of a pixel counted from 0."""
    return tuple(float(value) for value in wcs.wcs_pix2world([[col, row]], 0)[0])


def centroid(image) -> tuple[float, float]:
    """Row and column of the light of an image (row, col), counted from 0."""
    row, col = np.mgrid[: image.shape[0], : image.shape[1]]
    return float((row * image).sum() / image.sum()), float((col * image).sum() / image.sum())


@contextmanager
def served(folder) -> Iterator[tuple[str, list[str]]]:
    """The URL of a web server for a folder, and the paths that were asked of it."""
    asked: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            super().do_GET()

        def copyfile(self, source, outputfile):
            try:
                super().copyfile(source, outputfile)
            except ConnectionError:  # a client may have read enough
                self.close_connection = True

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()


def _header(wcs, keywords) -> fits.Header:
    """The header of an image on this grid, spelt as both archives do."""
    header = wcs.to_header()
    for name in [name for name in header if name.startswith(("PC", "CDELT", "RADESYS"))]:
        del header[name]
    for (i, j), value in np.ndenumerate(wcs.wcs.cd):
        header[f"CD{i + 1}_{j + 1}"] = value
    header["RADECSYS"] = "ICRS"
    for name, value in keywords.items():
        if value is None:
            header.remove(name, ignore_missing=True)
        else:
            header[name] = value
    return header


def _gaussian(row, col, sigma: float) -> np.ndarray:
    """A round Gaussian (row, col) around 0 of unit sum; sigma in pixels."""
    return np.exp(-(row**2 + col**2) / (2 * sigma**2)) / (2 * np.pi * sigma**2)
