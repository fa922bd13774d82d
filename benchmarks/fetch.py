"""Fetch against the plain way of astropy, what its time goes to, what the CADC is asked for, and a large sample.

    python benchmarks/fetch.py frames tiles ways sample --out fetch.json

`frames`: full-size SDSS frames (bzip2) with 20 targets each; the plain way opens the frame and calls `reproject_interp`
for every object and band. `tiles`: plain tiles with 200 targets each; the plain way opens the tile, reads its WCS and
calls `Cutout2D` for every object and band. Both are measured side by side, with one worker, and their pixels compared.
`ways`: requests and bytes an object for whole tiles and for windows, on the server of the tests. `sample`: 10,000 and
100,000 rows of small stamps: time and peak memory of the whole process, kill -9 half-way, resume, verify.
"""

import bz2
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import contextmanager
from pathlib import Path

import click
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.nddata import Cutout2D
from astropy.table import Table
from astropy.wcs import WCS
from reproject import reproject_interp

from survey_tools import Survey, open_store
from survey_tools.archives.download.mirror import Mirror
from survey_tools.archives.known import ARCHIVES
from survey_tools.archives.plan import Access
from survey_tools.archives.sdss import frames
from survey_tools.archives.tiles import Calibration, Tiles
from survey_tools.build import builder, fetch, gather
from survey_tools.build import gather as spool
from survey_tools.catalogue import read_catalogue
from survey_tools.fits import reading
from survey_tools.images.sky_wcs import local_cd, north_up_wcs, tan_wcs
from survey_tools.store.verify import verify
from survey_tools.surveys import SDSS
from survey_tools.tasks import Engine

FRAME_TARGETS, TILE_TARGETS, TILE_SIZE = 20, 200, 8000
TILE_BANDS = ("g", "r")
TILE_CARDS = 80  # cards of a T0007 stack's header
FRAME = "sas/dr12/boss/photoObj/frames/301/{run}/{camcol}/frame-{band}-{run:06d}-{camcol}-{field:04d}.fits.bz2"
STAMPS = Survey(
    name="stamps", title="Stamps", bands=("r",), pixel_scale=0.186, zero_point=30.0, cutout_size=16,
    filters={"r.MP9601": "r"}, no_data=0.0, north_up=False, source="small stamps, for a large sample",
)  # fmt: skip


@click.command(help=__doc__)
@click.argument("parts", nargs=-1, required=True, type=click.Choice(["frames", "tiles", "ways", "sample"]))
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--rows", type=int, default=100_000, show_default=True, help="Of the large sample.")
def main(parts, out, rows) -> None:
    """Measure, print, and write the figures as JSON."""
    results = json.loads(out.read_text()) if out.exists() else {}
    for part in parts:
        with tempfile.TemporaryDirectory() as folder:
            options = {"rows": rows} if part == "sample" else {}
            results[part] = globals()[f"measure_{part}"](Path(folder), **options)
        click.echo(json.dumps({part: results[part]}, indent=1))
        out.write_text(json.dumps(results, indent=1))


# --- side by side -----------------------------------------------------------------------------------------------------


def measure_frames(folder: Path) -> dict:
    """SDSS: five frames with 20 targets."""
    rng, wcs = np.random.default_rng(0), {}
    for number, band in enumerate(SDSS.bands):
        wcs[band] = write_frame(folder, band, number, rng)
    col, row = rng.uniform(100, 1900, FRAME_TARGETS), rng.uniform(100, 1380, FRAME_TARGETS)
    place = wcs["r"].wcs_pix2world(col, row, 0)
    table_of(*place, run=94, rerun=301, camcol=3, field=100).write(folder / "catalogue.fits")
    return compare(folder, "frames", FRAME_TARGETS, len(SDSS.bands))


def measure_tiles(folder: Path) -> dict:
    """CFHT: two tiles of one pointing with 200 targets."""
    rng = np.random.default_rng(1)
    wcs = tan_wcs((150.0, 2.0), (TILE_SIZE / 2, TILE_SIZE / 2), np.diag([-0.186, 0.186]) / 3600)
    for band, name in zip(TILE_BANDS, ("g.MP9401", "r.MP9601"), strict=True):
        write_tile(folder / f"{band}.fits", wcs, TILE_SIZE, name, rng)
    col, row = rng.uniform(100, TILE_SIZE - 100, (2, TILE_TARGETS))
    table_of(*wcs.wcs_pix2world(col, row, 0)).write(folder / "catalogue.fits")
    return compare(folder, "tiles", TILE_TARGETS, len(TILE_BANDS))


def compare(folder: Path, kind: str, objects: int, bands: int) -> dict:
    """The plain way, cutting alone and a whole fetch, in turn, each in a process of its own: seconds and memory."""
    said = defaultdict(list)
    for turn in range(3):
        for way in ("plain", "cut", "fetch"):
            said[way].append(in_a_process("work", folder, kind, way, turn))
    seconds = {way: float(np.median([each["seconds"] for each in turns])) for way, turns in said.items()}
    expected, found = np.load(folder / "plain.npy"), open_store(folder / "2.zarr").images[:]
    peak = np.abs(expected).max(axis=(2, 3), keepdims=True)
    return {
        "objects": objects,
        "bands": bands,
        "seconds": seconds,
        "objects a second": {way: objects / value for way, value in seconds.items()},
        "plain / cut": seconds["plain"] / seconds["cut"],
        "plain / fetch": seconds["plain"] / seconds["fetch"],
        "of the fetch": said["fetch"][-1]["stages"],
        "largest difference / peak": float(np.nanmax(np.abs(found - expected) / peak)),
        "memory [MB]": {way: max(each["memory"] for each in turns) for way, turns in said.items()},
    }


def work(folder: str, kind: str, way: str, turn: int) -> None:
    """One way, once; prints seconds, and by how much the process has grown."""
    root = Path(folder)
    catalogue, survey = read_catalogue(root / "catalogue.fits"), {"frames": "sdss", "tiles": "cfht"}[kind]
    bands, engine = (SDSS.bands if kind == "frames" else TILE_BANDS), Engine(1)
    archive = ARCHIVES[survey].open(Access(root / "work", mirror=folder))
    plan = archive.plan(catalogue, bands, engine.run)
    before, spent = peak_memory(), {}
    if way == "plain":
        seconds, images = timed(lambda: {"frames": plain_frames, "tiles": plain_tiles}[kind](root, catalogue))
        np.save(root / "plain.npy", images)
    elif way == "cut":
        seconds, _ = timed(lambda: [cut_all(archive, catalogue, source) for source in plan.sources])
    else:
        with stages() as spent:
            out = root / f"{turn}.zarr"
            seconds, _ = timed(lambda: fetch.fetch(archive, catalogue, out, bands=bands, engine=engine))
    shares = {name: value / seconds for name, value in sorted(spent.items(), key=lambda item: -item[1])}
    print(json.dumps({"seconds": seconds, "memory": peak_memory() - before, "stages": shares}))


def plain_frames(folder: Path, catalogue: Table) -> np.ndarray:
    """What somebody would write: every frame is opened, and resampled, for every object."""
    images = np.empty((len(catalogue), 5, 64, 64), np.float32)
    for at, each in enumerate(catalogue):
        target = north_up_wcs(each["ra"], each["dec"], SDSS.pixel_scale, 64)
        for b, band in enumerate(SDSS.bands):
            with fits.open(folder / FRAME.format(run=94, camcol=3, field=100, band=band)) as hdus:
                frame, shape = WCS(hdus[0].header), hdus[0].data.shape
                flux = reproject_interp(hdus[0], target, (64, 64), order="bicubic", return_footprint=False)
            area = np.linalg.det(local_cd(target, (64, 64))) / np.linalg.det(local_cd(frame, shape))
            images[at, b] = flux * abs(area)
    return images


def plain_tiles(folder: Path, catalogue: Table) -> np.ndarray:
    """What somebody would write: every tile is opened, and cut, for every object."""
    images = np.empty((len(catalogue), len(TILE_BANDS), 136, 136), np.float32)
    for at, each in enumerate(catalogue):
        position = SkyCoord(each["ra"], each["dec"], unit="deg")
        for b, band in enumerate(TILE_BANDS):
            with fits.open(folder / f"{band}.fits") as hdus:
                tile = WCS(hdus[0].header)
                images[at, b] = Cutout2D(hdus[0].data, position, 136, wcs=tile, mode="partial").data
    return images / 1000


def peak_memory() -> float:
    """The most that this process has had in memory [MB], by Linux; `resource` would tell that of its parent."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1000


def in_a_process(function: str, *arguments) -> dict:
    """What a function of this file prints last, run in a process of its own."""
    return json.loads(begin(function, *arguments).communicate()[0].splitlines()[-1])


def begin(function: str, *arguments) -> subprocess.Popen:
    """A process that runs a function of this file."""
    words = ", ".join(repr(str(each) if isinstance(each, Path) else each) for each in arguments)
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import fetch; fetch.{function}({words})"
    return subprocess.Popen([sys.executable, "-W", "ignore", "-c", code], stdout=subprocess.PIPE, text=True)


def cut_all(archive, catalogue: Table, source) -> int:
    """Make all cutouts of a file, and keep none."""
    ra, dec = (np.asarray(catalogue[name], float)[source.rows] for name in ("ra", "dec"))
    return sum(1 for _ in archive.cut(source, ra, dec))


STAGES = {  # what the time of a fetch goes to: functions whose own calls are not counted twice
    "decompress": (reading, "at_hand"),
    "interpolate": (frames, "resample"),
    "noise of blank sky": (gather, "sky_sigma"),
    "write cutouts to disk": (spool, "_record"),
    "read cutouts back": (spool, "load"),
    "compress and write chunks": (builder.Store, "write"),
    "checksums": (builder, "checksum"),
    "columns and manifest": (builder, "write_manifest"),
}


@contextmanager
def stages():
    """Seconds spent in each of STAGES while the block runs."""
    spent: dict[str, float] = defaultdict(float)
    originals = {}
    for name, (holder, function) in STAGES.items():
        inner = originals[name] = getattr(holder, function)

        def measured(*arguments, inner=inner, name=name, **options):
            start = time.perf_counter()
            try:
                return inner(*arguments, **options)
            finally:
                spent[name] += time.perf_counter() - start

        setattr(holder, function, measured)
    yield spent
    for name, (holder, function) in STAGES.items():
        setattr(holder, function, originals[name])


def timed(function) -> tuple[float, object]:
    """Seconds, and what the function returns."""
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


# --- files ------------------------------------------------------------------------------------------------------------


def write_frame(folder: Path, band: str, number: int, rng) -> WCS:
    """A frame of 1489 x 2048 pixels of noise and stars, cut to ten binary digits as the archive's are."""
    angle = np.radians(47)
    turned = np.array([[-np.cos(angle), np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * 0.396 / 3600
    wcs = tan_wcs((150.0, 2.0), (1024.5 + number, 744.5 + 3 * number), turned)
    image = sources(rng, (1489, 2048), 400, 1.4 / 0.396 / 2.355) + rng.normal(0, 0.02, (1489, 2048))
    mantissa, exponent = np.frexp(image)
    header = header_of(wcs)
    row = "riuzg".index(band)
    facts = {"FILTER": band, "RUN": 94, "CAMCOL": 3, "FRAME": 100 + 2 * row, "CAMROW": row + 1, "BUNIT": "nanomaggy"}
    header.update(facts | {"RERUN": "301"})
    plain = fits.PrimaryHDU(np.ldexp(np.round(mantissa * 1024) / 1024, exponent).astype(np.float32), header)
    path = folder / FRAME.format(run=94, camcol=3, field=100, band=band)
    path.parent.mkdir(parents=True, exist_ok=True)
    plain.writeto(path.with_suffix(""))
    path.write_bytes(bz2.compress(path.with_suffix("").read_bytes()))
    path.with_suffix("").unlink()
    return wcs


def write_tile(path: Path, wcs: WCS, size: int, name: str, rng, count: int = 3000) -> None:
    """A tile of noise and stars, in counts of zero point 30."""
    image = sources(rng, (size, size), count, 0.7 / 0.186 / 2.355) * 1000
    image += rng.standard_normal((size, size), dtype=np.float32)
    header = header_of(wcs)
    header.update({"FILTER": name, "MZP_AB": 30.0, "SATURATE": 1e7, "IQIMAGE": 0.7})
    for number in range(len(header), TILE_CARDS):
        header[f"FILL{number}"] = float(number), "as long as a real header is"
    fits.PrimaryHDU(image.astype(np.float32), header).writeto(path)


def sources(rng, shape, count: int, sigma: float) -> np.ndarray:
    """Gaussian stars (row, col) of all brightnesses."""
    image, reach = np.zeros(shape, np.float32), int(5 * sigma)
    row, col = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    star = np.exp(-(row**2 + col**2) / (2 * sigma**2)).astype(np.float32)
    places = rng.integers(reach, np.array(shape) - reach - 1, (count, 2))
    for (r, c), flux in zip(places, rng.pareto(1.0, count) * 0.05, strict=True):
        image[r - reach : r + reach + 1, c - reach : c + reach + 1] += np.float32(min(flux, 100)) * star
    return image


def header_of(wcs: WCS) -> fits.Header:
    """The header of a grid, as the archives spell it."""
    header = fits.Header()
    for axis in (1, 2):
        header[f"CTYPE{axis}"], header[f"CUNIT{axis}"] = wcs.wcs.ctype[axis - 1], "deg"
        header[f"CRVAL{axis}"], header[f"CRPIX{axis}"] = wcs.wcs.crval[axis - 1], wcs.wcs.crpix[axis - 1]
        for other in (1, 2):
            header[f"CD{axis}_{other}"] = wcs.wcs.cd[axis - 1, other - 1]
    header["RADESYS"] = "ICRS"
    return header


def table_of(ra, dec, **frame: int) -> Table:
    """A catalogue, as `read_catalogue` gives it."""
    table = Table({"object_id": [f"g{number}" for number in range(len(ra))], "ra": ra, "dec": dec})
    table["redshift"] = np.nan
    for name, value in frame.items():
        table[name] = np.full(len(ra), value, np.int32)
    return table


# --- what the CADC is asked for ---------------------------------------------------------------------------------------


def measure_ways(folder: Path) -> dict:
    """Requests and bytes an object for one tile of 4000 x 4000 pixels with 300 targets, by either way."""
    sys.path.append(str(Path(__file__).parents[1] / "tests"))
    import archive_server
    from archive_storage import roster_of

    rng, size, count = np.random.default_rng(2), 4000, 300
    wcs = tan_wcs((150.0, 2.0), (size / 2, size / 2), np.diag([-0.186, 0.186]) / 3600)
    path = folder / "archive" / "cadc" / "CFHTTERAPIX" / "CFHTLS_W_r_100000+020000_T0007_MEDIAN.fits"
    path.parent.mkdir(parents=True)
    write_tile(path, wcs, size, "r.MP9601", rng)
    catalogue = table_of(*wcs.wcs_pix2world(*rng.uniform(100, size - 100, (2, count)), 0))
    roster, found = roster_of(folder / "archive"), {}
    for how in ("tiles", "windows"):
        with archive_server.serve(archive_server.Archive(folder / "archive", roster=roster)) as server:
            access = Access(folder / "work", settings=server.settings(folder / f"cache-{how}"))
            took, store = timed(
                lambda how=how, access=access: fetch.fetch(
                    ARCHIVES["cfht"].open(access, ARCHIVES["cfht"].options(how)),
                    catalogue,
                    folder / f"{how}.zarr",
                    bands="r",
                    engine=Engine(1),
                )
            )
            requests = server.count("raven") + server.count("storage")
            found[how] = {
                "requests, redirects included": requests,
                "requests / object": requests / count,
                "bytes / object": server.sent("storage") / count,
                "milliseconds / object": 1000 * took / count,
                "done": int((store.manifest()["status"] == "done").sum()),
            }
    found["of a whole T0007 tile"] = {"bytes": 1_498_320_000}
    return found


# --- a large sample ---------------------------------------------------------------------------------------------------


def calibrate(_name: str, _header: fits.Header) -> Calibration:
    """Zero point 30."""
    return Calibration(30.0)


def measure_sample(folder: Path, rows: int) -> dict:
    """Small stamps from 100 tiles: a tenth of the rows, all of them, and all of them with a kill half-way."""
    rng, size, side = np.random.default_rng(3), 700, 10
    (folder / "tiles").mkdir()
    grid = [(150 + 0.04 * (n % side), 0.04 * (n // side)) for n in range(side * side)]
    for number, centre in enumerate(grid):
        wcs = tan_wcs(centre, (size / 2, size / 2), np.diag([-0.186, 0.186]) / 3600)
        write_tile(folder / "tiles" / f"{number:03d}.fits", wcs, size, "r.MP9601", rng, count=50)
    shift = (size / 2 - 20) * 0.186 / 3600
    place = np.array(grid)[rng.integers(0, len(grid), rows)] + rng.uniform(-shift, shift, (rows, 2))
    catalogue = table_of(*place.T)
    found = {}
    for count in (rows // 10, rows):
        catalogue[:count].write(folder / f"{count}.fits")
        found[f"{count} rows"] = in_a_process("fetch_stamps", folder, count, f"{count}.zarr")
    child = begin("fetch_stamps", folder, rows, "killed.zarr")
    while len(list(folder.glob("killed.zarr.part/.work/chunks/*.npz"))) < rows / 32768 / 2 and child.poll() is None:
        time.sleep(0.05)
    child.send_signal(signal.SIGKILL)
    child.wait()
    before = len(list(folder.glob("killed.zarr.part/.work/c*/**/*.np*")))
    resumed = in_a_process("fetch_stamps", folder, rows, "killed.zarr")
    found["killed half-way, resumed"] = resumed | {"tasks done before": before}
    same = subprocess.run(["diff", "-r", folder / f"{rows}.zarr", folder / "killed.zarr"], check=False).returncode == 0
    found["killed half-way, resumed"]["the same to the byte"] = same
    return found


def fetch_stamps(folder: str, count: int, name: str) -> None:
    """Fetch, verify, and print seconds and peak memory."""
    archive = Tiles(STAMPS, Mirror(f"{folder}/tiles", Path(folder) / "work"), calibrate)
    catalogue = read_catalogue(f"{folder}/{count}.fits")
    before, first = peak_memory(), []
    inner = fetch._gather_chunk

    def noted(*arguments):
        first.append(time.perf_counter())
        return inner(*arguments)

    fetch._gather_chunk = noted
    start_time = time.perf_counter()
    store = fetch.fetch(archive, catalogue, f"{folder}/{name}", engine=Engine(2))
    took = time.perf_counter() - start_time
    said = {
        "seconds": took,
        "seconds until the first chunk is in work": first[0] - start_time,
        "objects a second": count / took,
        "peak memory [MB]": peak_memory(),
        "of which before the fetch [MB]": before,
        "rows in the manifest": len(store.manifest()),
        "done": int((store.manifest()["status"] == "done").sum()),
        "wrong by verify": verify(store.path),
    }
    print(json.dumps(said))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
