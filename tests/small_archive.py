"""A small copy of all archives around RA 150, Dec 2: a few frames and tiles that show the same Gaussian galaxies.

    small = small_archive.small_archive(tmp_path / "archive", known_sky)
    with archive_server.serve(small.archive, faults=[…]) as server:
        …fetch small.catalogue() with server.settings(tmp_path / "cache")…

Tests have it as the fixture `small_archive`.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from archive_server import Archive, read_archive
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Table

TILE_KEYWORDS = {"GAIN": 50.0, "SATURATE": 4000.0, "EXPTIME": 2500.0, "TERAPIX": "T0007", "OBJECT": "W2.+0+0"}
PSFIELD = "sas/dr12/boss/photo/redux/301/{run}/objcs/{camcol}/psField-{run:06d}-{camcol}-{field:04d}.fit"
FIELD_LIST = "sas/dr12/boss/resolve/2010-05-23/window_flist.fits"
VIZIER = "II/317/cfhtls_w"


@dataclass(frozen=True)
class Small:
    """The archive, what is in its sky, and what the numbers of its files are.

    Attributes:
        galaxies: known_sky.Galaxy, in the order of the catalogues.
        fields: Numbers of the SDSS fields; run and camcol are those of known_sky.
        tiles: Centres ra, dec [deg] of the CFHT tiles; each has a file a band.
    """

    archive: Archive
    galaxies: list
    fields: tuple[int, ...]
    bands: str
    tiles: tuple[tuple[float, float], ...]
    home: np.ndarray = field(repr=False)  # field of each galaxy

    @property
    def folder(self) -> Path:
        """Where the files lie; it serves as a mirror too."""
        return self.archive.folder

    def catalogue(self, named: bool = True) -> Table:
        """The galaxies as a catalogue of a user's own; `named` with run, rerun, camcol and field."""
        photo = self.archive.tables["PhotoObjAll"]
        table = Table({"object_id": [f"g{row}" for row in range(len(self.galaxies))]})
        table["ra"], table["dec"] = photo["ra"], photo["dec"]
        table["redshift"] = np.full(len(table), np.nan)
        for name in ("run", "rerun", "camcol", "field") if named else ():
            table[name] = np.asarray(photo[name], np.int32)
        return table


def small_archive(
    folder: Path,
    known_sky,
    *,
    bands: str = "ugriz",
    fields: tuple[int, ...] = (99, 100, 101),
    tiles: tuple[tuple[float, float], ...] = ((150.0, 2.0), (150.008, 2.0)),
    galaxies: list | None = None,
    psf: bool = False,
    weights: bool = False,
    noise: float = 1.0,
    new_i: bool = False,
) -> Small:
    """Write frames, field list, tiles, and the tables of SkyServer and VizieR.

    Galaxies lie, unless others are given, in the middle of field 100 and of the first tile, in the overlap of fields
    100 and 101, near an edge of the first tile that is inside the second, and where there is no tile. `noise` scales
    that of the images; `new_i` makes the i filter of the second tile MP9702.
    """
    galaxies = _galaxies(known_sky) if galaxies is None else galaxies
    for number in fields:
        for band in bands:
            known_sky.write_frame(folder, band, galaxies, field=number, noise=0.02 * noise)
        if psf:
            _write_psfield(folder, known_sky, number)
    _write_field_list(folder, known_sky, fields)
    for number, centre in enumerate(tiles):
        for band in bands:
            bandpass = "i.MP9702" if new_i and band == "i" and number == 1 else known_sky.FILTERS[band]
            _write_tile(folder, known_sky, band, centre, galaxies, noise, bandpass)
            if weights:
                _write_weight(folder, known_sky, band, centre, noise)
    photo, home = _photo(known_sky, galaxies, fields)
    tables = {"PhotoObjAll": photo, **spectra(photo), "Frame": _frames(known_sky, fields)}
    _write_tables(folder / "tables", tables)
    _write_tables(folder / "vizier", {VIZIER.replace("/", "__"): _vizier(galaxies)})
    return Small(read_archive(folder), galaxies, fields, bands, tiles, home)


def survey_tables(count: int, seed: int = 0) -> dict[str, Table]:
    """Tables of SkyServer for `count` objects all over the sky, as a selection of targets meets them.

    One in ten is no clean photometry, one in ten has a warning of its redshift, one in ten is faint, and one in ten has
    a second spectrum that is not the primary one.
    """
    rng = np.random.default_rng(seed)
    photo = Table({"objID": 1237650000000000000 + rng.permutation(count) * 1001})
    photo["ra"], photo["dec"] = rng.uniform(0, 360, count), np.degrees(np.arcsin(rng.uniform(-0.1, 0.9, count)))
    for name, low, high in (("run", 94, 8000), ("camcol", 1, 7), ("field", 11, 900)):
        photo[name] = rng.integers(low, high, count)
    photo["rerun"], photo["mode"], photo["type"] = 301, 1, 3
    photo["clean"] = (rng.random(count) > 0.1).astype(int)
    photo["insideMask"] = 0
    photo["petroMag_r"] = np.where(rng.random(count) < 0.1, 19.5, rng.uniform(14, 17.5, count))
    _columns(photo, rng)
    return {"PhotoObjAll": photo, **spectra(photo, rng)}


def spectra(photo: Table, rng: np.random.Generator | None = None) -> dict[str, Table]:
    """SpecObjAll, Photoz and galSpecInfo of photometric objects; with `rng`, some are bad and some double."""
    count = len(photo)
    spec = Table({"specObjID": 300000000000000000 + np.arange(count) * 1024, "bestObjID": np.array(photo["objID"])})
    spec["z"], spec["zErr"] = np.linspace(0.02, 0.3, count), 2e-5
    spec["zWarning"], spec["sciencePrimary"] = 0, 1
    spec["class"], spec["subClass"], spec["survey"], spec["targetType"] = "GALAXY", "", "sdss", "SCIENCE"
    spec["plate"], spec["mjd"], spec["fiberID"], spec["run2d"] = 500, 51994, np.arange(count) % 640 + 1, "26"
    spec["ra"], spec["dec"] = photo["ra"], photo["dec"]
    if rng is not None:
        spec["zWarning"] = np.where(rng.random(count) < 0.1, 4, 0)
        again = spec[rng.random(count) < 0.1]
        again["specObjID"] += 1
        again["sciencePrimary"] = 0
        spec = Table(np.concatenate([spec.as_array(), again.as_array()]))
    photoz = Table({"objID": photo["objID"], "z": np.linspace(0.03, 0.31, count), "zErr": np.full(count, 0.02)})
    info = Table({"specObjID": spec["specObjID"], "e_bv_sfd": np.full(len(spec), 0.03)})
    info["primtarget"], info["sectarget"], info["targettype"] = 64, 0, "GALAXY"
    info["spectrotype"], info["subclass"] = "GALAXY", ""
    return {"SpecObjAll": spec, "Photoz": photoz, "galSpecInfo": info}


def _galaxies(known_sky) -> list:
    frame, tile = known_sky.frame_wcs("r", 100), known_sky.stack_wcs()
    pixels = [(frame, 112.3, 128.7), (frame, 195.0, 120.0), (tile, 160.0, 30.0), (frame, 60.0, 215.0)]
    return [known_sky.Galaxy(*known_sky.position(*pixel), flux=100.0 + 20 * n) for n, pixel in enumerate(pixels)]


def _photo(known_sky, galaxies, fields) -> tuple[Table, np.ndarray]:
    """PhotoObjAll of the galaxies, and the field of each: that on which it lies farthest from the edge."""
    height = known_sky.FRAME_SHAPE[0]
    sky = np.array([(galaxy.ra, galaxy.dec) for galaxy in galaxies])
    places = {n: known_sky.frame_wcs("r", n).wcs_world2pix(sky, 0) for n in fields}
    depth = [-np.abs(places[number][:, 1] - (height - 1) / 2) for number in fields]
    home = np.array(fields)[np.argmax(depth, axis=0)]
    photo = Table({"objID": 1237650000000000000 + np.arange(len(galaxies)) * 1001})
    photo["ra"], photo["dec"] = sky.T
    photo["run"], photo["rerun"], photo["camcol"], photo["field"] = known_sky.RUN, 301, known_sky.CAMCOL, home
    photo["mode"], photo["type"], photo["clean"], photo["insideMask"] = 1, 3, 1, 0
    photo["petroMag_r"] = 22.5 - 2.5 * np.log10([galaxy.flux for galaxy in galaxies])
    for band in "ugriz":
        grids = {number: known_sky.frame_wcs(band, number) for number in fields}
        pixel = [grids[number].wcs_world2pix([place], 0)[0] for number, place in zip(home, sky, strict=True)]
        photo[f"colc_{band}"], photo[f"rowc_{band}"] = np.array(pixel).T + 0.5  # SDSS: centre of the first pixel is 0.5
    _columns(photo)
    return photo, home


def _columns(photo: Table, rng: np.random.Generator | None = None) -> None:
    """Columns that make a row of PhotoObjAll whole."""
    count = len(photo)
    photo["extinction_r"], photo["petroRad_r"], photo["score"], photo["flags"] = 0.05, 4.0, 0.9, 0
    photo["fieldID"] = np.arange(count) + 1237650000000000000
    for band in "ugriz":
        photo[f"petroMag_{band}"] = np.array(photo["petroMag_r"])
        photo[f"petroMagErr_{band}"], photo[f"psfMag_{band}"], photo[f"psfMagerr_{band}"] = 0.01, 18.0, 0.01
        photo[f"extinction_{band}"], photo[f"psffwhm_{band}"], photo[f"modelMag_{band}"] = 0.05, 1.3, 17.0
        for axis, size in (("rowc", 1489), ("colc", 2048)):
            if rng is not None:
                photo[f"{axis}_{band}"] = rng.uniform(64, size - 64, count)


def _frames(known_sky, fields) -> Table:
    """SkyServer's table Frame."""
    table = Table({"fieldID": 1237650000000000000 + np.array(fields), "field": fields})
    table["zoom"], table["run"], table["rerun"], table["camcol"] = 0, known_sky.RUN, 301, known_sky.CAMCOL
    rows, cols = known_sky.FRAME_SHAPE
    middle = [known_sky.position(known_sky.frame_wcs("r", n), (rows - 1) / 2, (cols - 1) / 2) for n in fields]
    table["ra"], table["dec"] = np.array(middle).T
    return table


def _vizier(galaxies) -> Table:
    """The galaxies in II/317/cfhtls_w, and a star in the middle of the first tile."""
    count = len(galaxies)
    table = Table({"CFHTLS": 22000000000 + np.arange(count + 1)})
    table["RAJ2000"] = [*(galaxy.ra for galaxy in galaxies), 150.001]
    table["DEJ2000"] = [*(galaxy.dec for galaxy in galaxies), 2.001]
    magnitudes = [*(22.5 - 2.5 * np.log10(galaxy.flux) for galaxy in galaxies), 16.0]
    for band in "ugriz":
        table[f"{band}mag"], table[f"e_{band}mag"] = np.array(magnitudes) + 0.1, 0.01
        table[f"{band}magA"], table[f"e_{band}magA"] = np.array(magnitudes), 0.01
        table[f"{band}rad"], table[f"{band}cl"] = 4.0, [*[0.03] * count, 0.98]
    table["Sfl"], table["Tfl"], table["ifl"], table["E(B-V)"] = 0, [*[0] * count, 1], 0, 0.03
    table["RAJ2000"].unit = table["DEJ2000"].unit = "deg"
    return table


def _write_tile(folder, known_sky, band, centre, galaxies, noise, bandpass) -> Path:
    """One tile as T0007 has it: one HDU, the name from its centre."""
    name = f"cadc/CFHTTERAPIX/{_product(band, centre)}.fits"
    header = TILE_KEYWORDS | {"FILTER": bandpass}
    wcs = known_sky.stack_wcs(*centre)
    return _one_hdu(known_sky.write_stack(folder, band, galaxies, name=name, wcs=wcs, noise=noise, header=header))


def _write_weight(folder, known_sky, band, centre, noise) -> Path:
    """The weights of a tile: inverse variances, and 0 in the first ten columns."""

    def weigh(image):
        image[:] = 1 / max(noise, 1e-3) ** 2
        image[:, :10] = 0

    name = f"cadc/CFHTTERAPIX/{_product(band, centre)}_weight.fits"
    wcs = known_sky.stack_wcs(*centre)
    return _one_hdu(known_sky.write_stack(folder, band, [], name=name, wcs=wcs, noise=0, edit=weigh))


def _one_hdu(path: Path) -> Path:
    """The file with its first HDU alone."""
    with fits.open(path, memmap=False) as hdus:
        hdus[:1].writeto(path, overwrite=True)
    return path


def _product(band: str, centre: tuple[float, float]) -> str:
    position = SkyCoord(*centre, unit="deg")
    hours = position.ra.to_string("hour", sep="", precision=0, pad=True)
    degrees = position.dec.to_string("deg", sep="", precision=0, pad=True, alwayssign=True)
    return f"CFHTLS_W_{band}_{re.sub('[^0-9]', '', hours)}{degrees}_T0007_MEDIAN"


def _write_field_list(folder, known_sky, fields) -> Path:
    """window_flist.fits: the fields in coordinates along (mu) and across (nu) the great circle of the scan."""
    rows, cols = known_sky.FRAME_SHAPE
    table = Table({"run": np.full(len(fields), known_sky.RUN, np.int32), "rerun": ["301"] * len(fields)})
    table["camcol"], table["field"] = np.int32(known_sky.CAMCOL), np.array(fields, np.int32)
    grids = [known_sky.frame_wcs("r", number) for number in fields]
    centres = [known_sky.position(wcs, (rows - 1) / 2, (cols - 1) / 2) for wcs in grids]
    table["mjd"] = 51075
    table["ra"], table["dec"] = np.array(centres).T
    node, incl = great_circle(known_sky.RA, known_sky.DEC, 47.0)
    table["node"], table["incl"] = node, incl
    corners = np.array([[-0.5, -0.5], [cols - 0.5, rows - 0.5]])
    spans = np.array([scan_coordinates(*wcs.wcs_pix2world(corners, 0).T, node, incl) for wcs in grids])
    table["mu_start"], table["mu_end"] = spans[:, 0].T
    table["nu_start"], table["nu_end"] = spans[:, 1].T
    table["psf_fwhm"] = np.full((len(fields), 5), 1.3, np.float32)
    table["image_status"], table["calib_status"] = np.ones((2, len(fields), 5), np.int32)
    table["score"] = np.full(len(fields), 0.9, np.float32)
    table["photo_status"] = np.zeros(len(fields), np.int32)
    path = Path(folder) / FIELD_LIST
    path.parent.mkdir(parents=True, exist_ok=True)
    old = table[:1].copy()  # the same place in an older reduction, which is not to be used
    old["rerun"] = "157"
    both = Table(np.concatenate([table.as_array(), old.as_array()]))
    both.write(path)
    return path


def great_circle(ra: float, dec: float, angle: float) -> tuple[float, float]:
    """Node and inclination [deg] of the great circle from (ra, dec) [deg] towards `angle` [deg], north through east."""
    a, d, t = np.radians([ra, dec, angle])
    here = np.array([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)])
    east = np.array([-np.sin(a), np.cos(a), 0])
    north = np.cross(here, east)
    pole = np.cross(here, np.sin(t) * east + np.cos(t) * north)
    return float(np.degrees(np.arctan2(pole[0], -pole[1])) % 360), float(np.degrees(np.arccos(pole[2])))


def scan_coordinates(ra, dec, node: float, incl: float) -> tuple[np.ndarray, np.ndarray]:
    """mu and nu [deg] of positions [deg] on a great circle."""
    a, d, i = np.radians(np.asarray(ra) - node), np.radians(dec), np.radians(incl)
    x, y, z = np.cos(a) * np.cos(d), np.sin(a) * np.cos(d), np.sin(d)
    mu = np.arctan2(y * np.cos(i) + z * np.sin(i), x)
    return (np.degrees(mu) + node) % 360, np.degrees(np.arcsin(z * np.cos(i) - y * np.sin(i)))


def _write_psfield(folder, known_sky, number: int) -> Path:
    """A psField without images: the sixth table has the effective widths of the PSF [arcsec] of five bands."""
    path = Path(folder) / PSFIELD.format(run=known_sky.RUN, camcol=known_sky.CAMCOL, field=number)
    path.parent.mkdir(parents=True, exist_ok=True)
    widths = fits.Column("psf_width", "5E", array=[[1.5, 1.4, 1.3, 1.2, 1.25]])
    empty = [fits.BinTableHDU(Table({"RROWS": [0.0]})[:0]) for _ in range(5)]
    fits.HDUList([fits.PrimaryHDU(), *empty, fits.BinTableHDU.from_columns([widths])]).writeto(path)
    return path


def _write_tables(folder: Path, tables: dict[str, Table]) -> None:
    """Tables as a server that is started from the folder reads them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        table.write(folder / f"{name}.ecsv")
