"""Damaged files of every kind: a command ends with one line about them, or does what it does for sound ones.

What is damaged, and how, follows from a seed. Where a store has checksums, nothing that has changed is used: what a
command writes is then what it writes of the sound store, to the byte. FITS files from elsewhere have no checksums; what
is asked of them is that a command ends, without a traceback or a warning of Python's, and leaves nothing half-written.
"""

import bz2
import gzip
import io
import re
import shutil
import sys
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from cli.main import main
from survey_tools import open_store
from survey_tools.files import SUMS
from survey_tools.fits.band_fits import band_hdus, mask_hdu
from survey_tools.images.sky_wcs import north_up_wcs
from translator import RECIPES
from translator.runs.checkpoint import Checkpoint, build_networks, save_checkpoint
from translator.runs.facts import Domain, RunFacts, write_facts
from translator.training.session import TrainingInputs, TrainingSettings, open_session, optimizers_of, save

FEW, MANY = 15, 250  # damaged things of each of four kinds: always, and where there is time
MANY_FITS, BLOCKS = 500, 5  # damaged FITS files of each of four kinds where there is time, in so many tests
COUNT = 6
ABSURD = ["-1", "0", "1e999", "NaN", "null", '"text"', "[]", "{}", "99999999999999999999", "true", '"\\u0000"', "''"]


def run(*args: object) -> tuple[int, str, str]:
    """Exit status of a command in this process, and what it wrote to both streams."""
    out, err, argv = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = ["galtrans", *map(str, args)]
    try:
        with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
            main()
    finally:
        sys.argv = argv
    return int(ended.value.code or 0), out.getvalue(), err.getvalue()


def ends_well(what: str, *args: object, out: Path | None = None) -> bool:
    """Whether a command ended with 0; where it did not, it said why on one line and left nothing behind."""
    code, _, err = run(*args)
    assert code in (0, 1, 2), (what, args)
    if code:
        errors = [line for line in err.splitlines() if line.startswith("Error: ")]
        assert len(errors) == 1, (what, args, err)
        assert len(errors[0]) > len("Error: x"), (what, args, err)
        assert out is None or not out.exists(), (what, args, err)
    return code == 0


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """Other content of a file: bytes changed, cut off, put in, set to zero; or a value that no one expects."""
    data, length = bytearray(content), len(content)
    at = int(rng.integers(0, max(length, 1)))
    match rng.integers(0, 7):
        case 0:
            for place in rng.integers(0, max(length, 1), int(rng.integers(1, 20))):
                data[place : place + 1] = bytes([int(rng.integers(0, 256))])
        case 1:
            del data[at:]
        case 2:
            data[at:at] = rng.bytes(int(rng.integers(1, 200)))
        case 3:
            data[at : at + 64] = bytes(len(data[at : at + 64]))
        case 4:
            del data[at : at + int(rng.integers(1, 100))]
        case _:
            values = list(
                re.finditer(rb"(?<=[\s:,\[\t;])(-?\d+(\.\d+)?(e-?\d+)?|\"[^\"\n]*\"|\w+)(?=[\s,\]};]|$)", content)
            )
            if values:
                value = values[int(rng.integers(0, len(values)))]
                data[value.start() : value.end()] = str(rng.choice(ABSURD)).encode()
            else:
                data[at : at + 1] = b"\0"
    return bytes(data)


def damage(folder: Path, rng: np.random.Generator) -> str:
    """Damage one file of a folder, or take it away; its name, for messages."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != SUMS)
    path = files[int(rng.integers(0, len(files)))]
    if rng.random() < 0.1:
        path.unlink()
    else:
        path.write_bytes(damaged(path.read_bytes(), rng))
    return str(path.relative_to(folder))


@pytest.fixture(scope="module")
def sound(tmp_path_factory, make_store):
    """Two stores, their pair table, a run that was trained on them and catalogues; and what commands make of them."""
    folder = tmp_path_factory.mktemp("sound")
    ra, dec = 150 + 0.1 * np.arange(COUNT), np.ones(COUNT)
    for name, survey, first in (("x", "sdss", 0), ("y", "cfht", 3)):  # three pairs, and three that are none
        make_store(folder / f"{name}.zarr", survey, ra + 0.1 * first, dec, bands="gr")
    x, y, pairs = folder / "x.zarr", folder / "y.zarr", folder / "pairs.ecsv"
    assert run("crossmatch", x, y, "--out", pairs)[0] == 0
    session = open_session(
        TrainingInputs(x, y, pairs), folder / "run", TrainingSettings("demo", 1, 2, device="cpu", width=2)
    )
    session.batches.close()
    session.iteration = sum(session.facts.iterations)
    session.optimizers = optimizers_of(session.recipe.steps[-1], session.networks)
    save(session, len(session.recipe.steps) - 1)
    assert run("export", x, "--rows", ":", "--out", folder / "fits")[0] == 0
    tables = folder / "tables"
    tables.mkdir()
    table = Table({"object_id": np.arange(COUNT) + 1, "ra": ra, "dec": dec, "redshift": np.full(COUNT, 0.1)})
    table.meta = {"RADESYS": "FK5", "EQUINOX": 2000.0}
    kinds = {"csv": "ascii.csv", "ecsv": "ascii.ecsv", "fits": "fits", "vot": "votable", "parquet": "parquet"}
    for suffix, kind in kinds.items():
        table.write(tables / f"c.{suffix}", format=kind)
    (folder / "none").mkdir()
    files = {path.name: path.read_bytes() for path in (folder / "fits").iterdir()}
    return SimpleNamespace(folder=folder, x=x, y=y, pairs=pairs, run=folder / "run", tables=tables, files=files)


def _store(sound, work: Path, rng: np.random.Generator) -> None:
    store = work / "x.zarr"
    shutil.copytree(sound.x, store)
    checked = rng.random() < 0.6
    if not checked:
        (store / SUMS).unlink()
    what = damage(store, rng)
    ends_well(what, "info", store)
    ends_well(what, "verify", store)
    fits, pairs = work / "fits", work / "pairs.ecsv"
    if ends_well(what, "export", store, "--rows", ":", "--out", fits) and checked:
        assert {path.name: path.read_bytes() for path in fits.iterdir()} == sound.files, what
    if ends_well(what, "crossmatch", store, sound.y, "--out", pairs, out=pairs) and checked:
        assert Table.read(pairs).pformat() == Table.read(sound.pairs).pformat(), what


def _run(sound, work: Path, rng: np.random.Generator) -> None:
    shutil.copytree(sound.run, work / "run")
    what = damage(work / "run", rng)
    ends_well(what, "export-weights", work / "run", "--out", work / "w.npz", out=work / "w.npz")
    ends_well(what, "translate", work / "run", sound.x, "--out", work / "t.zarr", out=work / "t.zarr")


def _pairs(sound, work: Path, rng: np.random.Generator) -> None:
    path = work / "pairs.ecsv"
    path.write_bytes(damaged(sound.pairs.read_bytes(), rng))
    what = path.read_bytes().decode("latin-1")
    shutil.copytree(sound.run, work / "run")
    train = ["train", sound.x, sound.y, path, "--recipe", "demo", "--run", work / "run", "--device", "cpu", "--resume"]
    ends_well(what, *train)


def _catalogue(sound, work: Path, rng: np.random.Generator) -> None:
    files = sorted(sound.tables.iterdir())
    source = files[int(rng.integers(0, len(files)))]
    path = work / source.name
    path.write_bytes(damaged(source.read_bytes(), rng))
    fetch = ["fetch", "sdss", "--catalogue", path, "--mirror", sound.folder / "none", "--out", work / "s.zarr"]
    ends_well(f"{source.name}: {path.read_bytes()!r}", *fetch, "--dry-run", out=work / "s.zarr")


KINDS = {"store": _store, "run": _run, "pairs": _pairs, "catalogue": _catalogue}


@pytest.mark.parametrize("number", range(FEW))
@pytest.mark.parametrize("kind", KINDS)
def test_damage_ends_with_a_line_or_in_what_is_right(sound, tmp_path, kind, number):
    KINDS[kind](sound, tmp_path, np.random.default_rng([list(KINDS).index(kind), number]))


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_much_damage_ends_with_a_line_or_in_what_is_right(sound, tmp_path, kind):
    for number in range(FEW, MANY):
        work = tmp_path / str(number)
        work.mkdir()
        KINDS[kind](sound, work, np.random.default_rng([list(KINDS).index(kind), number]))
        shutil.rmtree(work)


# What may be wrong with a card of a header: keywords that commands read, and values that nobody expects of any.
KEYWORDS = """
    SIMPLE XTENSION BITPIX NAXIS NAXIS1 NAXIS2 NAXIS3 PCOUNT GCOUNT GROUPS EXTEND NEXTEND EXTNAME EXTVER INHERIT
    TFIELDS TFORM1 TTYPE1 THEAP BSCALE BZERO BLANK ZIMAGE ZCMPTYPE ZBITPIX ZNAXIS ZNAXIS1 ZNAXIS2 ZTILE1 ZTILE2
    ZNAME1 ZVAL1 ZQUANTIZ ZSCALE ZZERO ZBLANK ZDITHER0 BUNIT BANDS BAND0 BAND1 FILTER OBJECT RA DEC REDSHIFT SURVEY
    TELESCOP INSTRUME SYNTH GTTO GTINSHA SRCZP PSFFWHM PSFSRC SKYSIGMA GAIN SATURATE SATSRC EXPTIME MZP_AB PHOTZP
    MAGZERO MAGZPT ZP FLUXMAG0 PHOTFNU PHOTMJSR PHOTFLAM PHOTPLAM FPA.ZP MAGSYS PHOTSYS TERAPIX RUN CAMCOL FRAME
    CAMROW RERUN NMGY IQIMAGE IMAGETYP OBSTYPE WCSAXES CTYPE1 CTYPE2 CTYPE3 CUNIT1 CUNIT2 CRVAL1 CRVAL2 CRPIX1
    CRPIX2 CDELT1 CDELT2 CD1_1 CD1_2 CD2_1 CD2_2 CD3_3 PC1_1 PC2_1 CROTA2 PV1_1 PV2_1 PV1_999 LONPOLE LATPOLE
    RADESYS RADECSYS EQUINOX EPOCH A_ORDER B_ORDER A_2_0 B_0_2 AP_ORDER A_DMAX CPDIS1 DP1 D2IMDIS1 D2IM1 AXISCORR
    WAT1_001 CNPIX1 PLTRAH AMDX1 CHECKSUM DATASUM HIERARCH COMMENT HISTORY CONTINUE END
"""
KEYWORDS = [word for line in KEYWORDS.splitlines() for word in line.split()]
VALUES = """
    -1|0|1|2|3|8|16|-32|64|999|100000|2147483648|99999999999999999999|-0.0|1.5|1E-320|1E300|1E999|1D400|-1E300|NaN|INF
    T|F|'text'|''|'nanomaggy'|'Jy/beam'|'MJy/sr'|'count'|'1e400 Jy'|'unterminated|'10**999 nanomaggy'|(1,2)|1 2 3|= =|/
    'gr'|'g'|'MASK_g'|'weight'|'GLON-CAR'|'RA---TAN'|'RA---TPV'|'DEC--ZPN'|'RA---ZZZ'|'FREQ'|'ICRS'|'FK4'|'ALTAZ'|'km'
    'parsec'|'deg'|'J2000'|'LOOKUP'|'NAXIS: 2'|'IMAGE'|'BINTABLE'|'RICE_1'|'HCOMPRESS_1'|'NOCOMPRESS'|'NO_DITHER'|400.0
    '1PB(99)'|'999999999E'|'SDSS'|'CFHTLS'|'wtem=zpx'|1.000.000|0x10|-2147483649|90.0|-91.0|1E20|'SUBTRACTIVE_DITHER_2'
"""
VALUES = [value.strip() for line in VALUES.splitlines() for value in line.split("|") if value.strip()]


def headers_of(content: bytes) -> list[tuple[int, int]]:
    """First and last byte of each header of an unpacked FITS file, its padding included."""
    found = []
    for start in range(0, len(content), 2880):
        if content[start : start + 8] in (b"SIMPLE  ", b"XTENSION"):
            end = next((at for at in range(start, len(content), 80) if content[at : at + 8] == b"END     "), None)
            found += [(start, start + -(-(end + 80 - start) // 2880) * 2880)] if end is not None else []
    return found


def with_odd_cards(content: bytes, rng: np.random.Generator) -> bytes:
    """A FITS file some of whose cards are missing, are there twice, are out of their order, or say what they cannot."""
    found = headers_of(content)
    start, end = found[int(rng.integers(0, len(found)))]
    cards = [content[at : at + 80] for at in range(start, end, 80)]
    cards = cards[: next(at for at, card in enumerate(cards) if card[:8] == b"END     ")]
    for _ in range(int(rng.integers(1, 4))):
        at, way = int(rng.integers(0, len(cards))), rng.random()
        value = str(rng.choice(VALUES))
        if way < 0.15 and len(cards) > 1:
            del cards[at]
        elif way < 0.25:
            cards.insert(int(rng.integers(0, len(cards))), cards[at])
        elif way < 0.6:  # a card that is there says something else
            cards[at] = cards[at][:10] + f"{value:>20}".ljust(70)[:70].encode("latin-1")
        else:
            keyword = str(rng.choice(KEYWORDS))
            card = f"{keyword:<8}= {value:>20}".ljust(80)[:80].encode("latin-1")
            same = [at for at, each in enumerate(cards) if each[:8].rstrip() == keyword.encode()]
            if same and rng.random() < 0.8:
                cards[same[0]] = card
            else:
                cards.insert(len(cards) if rng.random() < 0.8 else at, card)
    header = b"".join(cards) + b"END".ljust(80)
    return content[:start] + header.ljust(-(-len(header) // 2880) * 2880) + content[end:]


def damaged_fits(path: Path, out: Path, rng: np.random.Generator) -> None:
    """Write other content of a FITS file: its bytes or its cards are damaged, before it is packed or after."""
    packed = path.read_bytes()
    unpack, pack = {".gz": (gzip.decompress, gzip.compress), ".bz2": (bz2.decompress, bz2.compress)}.get(
        path.suffix, (bytes, bytes)
    )
    way = rng.random()
    if way < 0.15:
        out.write_bytes(damaged(packed, rng))
    else:
        content = unpack(packed)
        out.write_bytes(pack(damaged(content, rng) if way < 0.25 else with_odd_cards(content, rng)))


BANDS = ("g", "r")
PLACE = (150.0, 2.0)  # [deg] of the galaxy of all files


@pytest.fixture(scope="module")
def sound_fits(tmp_path_factory, known_sky):
    """FITS of every form in which commands read one: cutouts, frames of SDSS and tiles of CFHT; and two runs."""
    folder = tmp_path_factory.mktemp("fits")
    cutouts = folder / "cutouts"
    cutouts.mkdir()
    for name, survey, size, scale in (("x", "sdss", 64, 0.396), ("y", "cfht", 136, 0.186)):
        _write_cutouts(cutouts, name, north_up_wcs(*PLACE, scale, size), size, survey)
    galaxy = known_sky.Galaxy(*PLACE)
    for band in BANDS:
        frame = {
            "name": f"frame-{band}.fits{'.bz2' if band == 'g' else ''}",
            "others": known_sky.noise_hdus(0.005, 100),
        }
        known_sky.write_frame(folder / "frames", band, [galaxy], **frame)
        known_sky.write_stack(folder / "tiles", band, [galaxy], name=f"t_{band}.fits{'.fz' if band == 'g' else ''}")
    for survey in ("sdss", "cfht"):
        rows = known_sky.catalogue([PLACE, (PLACE[0] + 0.004, PLACE[1])])
        rows.write(folder / f"{survey}.ecsv")
    runs = [_write_run(folder / recipe, recipe) for recipe in ("psf_matched", "demo")]
    return SimpleNamespace(folder=folder, cutouts=cutouts, runs=runs)


def _write_run(path: Path, recipe: str) -> Path:
    """A narrow run with the weights that it began with."""
    domains = {
        "x": Domain("sdss", BANDS, 64, 0.396, (0.01,) * 2, "a", (1.3,) * 2),
        "y": Domain("cfht", BANDS, 136, 0.186, (0.001,) * 2, "b", (0.7,) * 2),
    }
    steps = len(RECIPES[recipe].steps)
    facts = RunFacts(recipe, (1,) * steps, 2, 0, domains, "c", width=4)
    weights = build_networks(facts, RECIPES[recipe]).state_dict()
    write_facts(path, facts)
    save_checkpoint(path, Checkpoint(steps, steps - 1, {k: v.contiguous() for k, v in weights.items()}, {}))
    return path


def _write_cutouts(folder: Path, name: str, wcs, size: int, survey: str) -> None:
    """One galaxy as a file of two HDUs, a cube, packed tiles, gzip and bzip2, and whole numbers with a distortion."""
    row, col = np.indices((size, size)) - (size - 1) / 2
    image = np.exp(-0.5 * (np.hypot(row, col) / 4) ** 2) + np.random.default_rng(0).normal(0, 0.01, (size, size))
    primary = fits.Header({"OBJECT": name, "RA": PLACE[0], "DEC": PLACE[1], "REDSHIFT": 0.1, "SURVEY": survey})
    hdus = band_hdus(np.stack([image] * 2), BANDS, wcs, primary)
    for hdu in list(hdus[1:]):
        hdu.header["PSFFWHM"], hdu.header["SKYSIGMA"], hdu.header["GAIN"] = 1.2, 0.01, 5.0
        hdus.append(mask_hdu(image > 0.9, hdu.header, "saturated"))
    hdus.writeto(folder / f"{name}-plain.fits")
    for suffix, pack in ((".gz", gzip.compress), (".bz2", bz2.compress)):
        packed = folder / f"{name}-packed.fits{suffix}"
        packed.write_bytes(pack((folder / f"{name}-plain.fits").read_bytes()))
    tiles = [fits.CompImageHDU(hdu.data, hdu.header, quantize_level=16) for hdu in hdus[1:3]]
    fits.HDUList([fits.PrimaryHDU(header=primary), *tiles]).writeto(folder / f"{name}-tiles.fits.fz")
    cube = fits.PrimaryHDU(np.stack([image] * 2).astype(np.float32), hdus[1].header)
    for keyword, value in {"BANDS": "gr", "CTYPE3": "BAND", "CRVAL3": 1.0, "CRPIX3": 1.0, "CD3_3": 1.0}.items():
        cube.header[keyword] = value
    del cube.header["FILTER"], cube.header["MAGZERO"]
    cube.writeto(folder / f"{name}-cube.fits")
    counted = [fits.PrimaryHDU(header=primary)]
    for band in BANDS:
        header = wcs.to_header()
        header["CTYPE1"], header["CTYPE2"] = "RA---TAN-SIP", "DEC--TAN-SIP"
        more = {"A_ORDER": 2, "B_ORDER": 2, "A_2_0": 1e-9, "B_0_2": 1e-9, "RADESYS": "FK5", "EQUINOX": 2000.0}
        more |= {"FILTER": band, "BUNIT": "adu", "PHOTZP": 27.0, "EXPTIME": 100.0, "SATURATE": 60000.0}
        header.update(more)
        numbers = np.clip(image * 60 + 100, 0, 60000).astype(np.uint16)
        counted.append(fits.ImageHDU(numbers, header))
        counted[-1].header["BLANK"] = 32767
    fits.HDUList(counted).writeto(folder / f"{name}-counts.fits")


def _a_cutout(sound_fits, work: Path, rng: np.random.Generator, name: str = "?") -> Path:
    """A damaged cutout, of either survey or of the one called `name`."""
    sources = sorted(sound_fits.cutouts.glob(f"{name}-*"))
    source = sources[int(rng.integers(0, len(sources)))]
    (work / "in").mkdir(exist_ok=True)
    damaged_fits(source, work / "in" / source.name, rng)
    return work / "in" / source.name


def _is_quiet(work: Path, *args: object, out: Path) -> bool:
    """As `ends_well`; and without a warning of Python's, or a file that is half-written."""
    before = {path for path in work.rglob("*") if path.is_file()}
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        ended = ends_well("", *args, out=out)
    assert not heard, [f"{each.category.__name__} in {each.filename}:{each.lineno}: {each.message}" for each in heard]
    left = {path for path in work.rglob("*") if path.is_file()} - before
    left = {path for path in left if ".part" in str(path.relative_to(work)) or not ended}
    assert not left, left
    return ended


def _translate(sound_fits, work: Path, rng: np.random.Generator) -> None:
    model = sound_fits.runs[int(rng.random() < 0.2)]
    path = _a_cutout(sound_fits, work, rng, "x")
    options = ["--unit", "nanomaggy"] if rng.random() < 0.2 else []
    options += ["--at", *PLACE] if rng.random() < 0.2 and model is sound_fits.runs[0] else []
    options += ["--force"] if rng.random() < 0.3 else []
    _is_quiet(work, "translate", model, path, "--to", "cfht", *options, "--out", work / "t", out=work / "t")


def _like(sound_fits, work: Path, rng: np.random.Generator) -> None:
    like, path = _a_cutout(sound_fits, work, rng), sound_fits.cutouts / "x-plain.fits"
    command = ["translate", sound_fits.runs[0], path, "--to", "cfht", "--like", like]
    _is_quiet(work, *command, "--out", work / "t", out=work / "t")


def _ingest(sound_fits, work: Path, rng: np.random.Generator) -> None:
    name, survey = (("x", "sdss"), ("y", "cfht"))[int(rng.random() < 0.3)]
    _a_cutout(sound_fits, work, rng, name)
    if rng.random() < 0.5:
        shutil.copy(sound_fits.cutouts / f"{name}-plain.fits", work / "in" / "sound.fits")
    command = ["ingest", work / "in", "--survey", survey, "--bands", "gr"]
    if _is_quiet(work, *command, "--out", work / "s.zarr", out=work / "s.zarr"):
        _holds_numbers(work / "s.zarr")


def _fetch(sound_fits, work: Path, rng: np.random.Generator) -> None:
    survey, folder = (("sdss", "frames"), ("cfht", "tiles"))[int(rng.random() < 0.5)]
    shutil.copytree(sound_fits.folder / folder, work / "in")
    files = sorted(path for path in (work / "in").rglob("*") if path.is_file())
    path = files[int(rng.integers(0, len(files)))]
    damaged_fits(path, path, rng)
    command = ["fetch", survey, "--catalogue", sound_fits.folder / f"{survey}.ecsv", "--mirror", work / "in"]
    command += ["--bands", "gr", "--workers", 1]
    if _is_quiet(work, *command, "--out", work / "s.zarr", out=work / "s.zarr"):
        _holds_numbers(work / "s.zarr")


def _holds_numbers(path: Path) -> None:
    """A store's pixels are numbers or none, and what is known of them is, too."""
    store = open_store(path)
    assert not np.isinf(store.images[:]).any()
    for name in ("crval", "crpix", "cd", "sky_sigma", "psf_fwhm", "gain", "zero_point"):
        assert not np.isinf(store.column(name)).any(), name


FITS_KINDS = {"translate": _translate, "like": _like, "ingest": _ingest, "fetch": _fetch}


def _try(kind: str, sound_fits, work: Path, number: int) -> None:
    FITS_KINDS[kind](sound_fits, work, np.random.default_rng([100 + list(FITS_KINDS).index(kind), number]))


@pytest.mark.parametrize("number", range(FEW))
@pytest.mark.parametrize("kind", FITS_KINDS)
def test_damaged_fits_ends_with_a_line_or_in_numbers(sound_fits, tmp_path, kind, number):
    _try(kind, sound_fits, tmp_path, number)


@pytest.mark.long
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("block", range(BLOCKS))
@pytest.mark.parametrize("kind", FITS_KINDS)
def test_much_damaged_fits_ends_with_a_line_or_in_numbers(sound_fits, tmp_path, kind, block):
    for number in range(FEW + block, MANY_FITS, BLOCKS):
        work = tmp_path / str(number)
        work.mkdir()
        _try(kind, sound_fits, work, number)
        shutil.rmtree(work)
