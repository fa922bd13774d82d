"""Damaged files of every kind: a command ends with one line about them, or does what it does for sound ones.

What is damaged, and how, follows from a seed. Where a store has checksums, nothing that has changed is used: what a
command writes is then what it writes of the sound store, to the byte.
"""

import io
import re
import shutil
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.table import Table

from cli.main import main
from survey_tools.checksums import SUMS
from translator.session import Inputs, Settings, open_session, optimizers_of, save

FEW, MANY = 15, 250  # damaged things of each of four kinds: always, and where there is time
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
    session = open_session(Inputs(x, y, pairs), folder / "run", Settings("demo", 1, 2, device="cpu", width=2))
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
