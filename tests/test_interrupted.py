"""Each command that writes, on a full disk and after Ctrl-C: one line, nothing half-written, and it goes on."""

import os
import resource
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from cli.main import main
from survey_tools import files
from survey_tools.fits.export import export
from survey_tools.matching.pairs import make_pairs

SMALL = 12_000  # bytes of a file, above which the disk is full
RA, DEC = 150 + 0.1 * np.arange(4), 2 + np.zeros(4)


@pytest.fixture(scope="module")
def world(tmp_path_factory, make_store, write_narrow_run):
    """Stores of both surveys, their pairs, a cube and a narrow run that has not trained."""
    folder = tmp_path_factory.mktemp("world")
    x = make_store(folder / "x.zarr", "sdss", RA, DEC, bands="gr")
    y = make_store(folder / "y.zarr", "cfht", RA + 0.2, DEC, bands="gr", seed=1)  # half of them in both
    make_pairs(x.path, y.path).write(folder / "pairs.ecsv")
    export(x, [0], folder / "fits")
    np.savez(folder / "cube.npz", cube=np.moveaxis(x.images[:], 1, -1), ra=RA, dec=DEC)
    write_narrow_run(folder / "run")
    return folder


WORK = {  # by command: its words, {} for the folder of what there is, and what it makes
    "export": ("export {}/x.zarr --rows : --out fits", "fits"),
    "export to tar files": ("export {}/x.zarr --to webdataset --out shards", "shards"),
    "export by sky": ("export {}/x.zarr --to hats --out hats", "hats"),
    "crossmatch": ("crossmatch {}/x.zarr {}/y.zarr --out pairs.ecsv", "pairs.ecsv"),
    "regrid": ("regrid {}/y.zarr --like {}/x.zarr --out y64.zarr", "y64.zarr"),
    "ingest": ("ingest {}/cube.npz --survey sdss --bands gr --out z.zarr", "z.zarr"),
    "translate a store": ("translate {}/run {}/x.zarr --out t.zarr --device cpu", "t.zarr"),
    "translate files": ("translate {}/run {}/fits --to cfht --out t --device cpu", "t"),
    "export-weights": ("export-weights {}/run --out w.npz", "w.npz"),
    "train": (
        "train {}/x.zarr {}/y.zarr {}/pairs.ecsv --recipe demo --run run --iterations 1 --width 4 --batch-size 1 "
        "--device cpu",
        "run",
    ),
    "simulate": ("simulate --galaxies 2 --bands r --out sky --workers 1", "sky/sdss.zarr"),
}
BEGUN = {  # what may be there of an output that is a folder: a run, without a checkpoint; a folder without files
    "train": "run.json",
    "export by sky": "dataset",
}


@pytest.fixture
def galtrans(world, tmp_path, monkeypatch, capfd):
    """A function that runs a command in an empty folder, as a shell does: exit code and what it says of an error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("cli.main._leave", lambda: sys.exit(1))

    def run(words: str, *more: str):
        monkeypatch.setattr(sys, "argv", ["galtrans", *words.replace("{}", str(world)).split(), *more])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code or 0, capfd.readouterr().err

    return run


def written(out: str) -> list[str]:
    """What a user finds of an output: files and folders that are neither hidden nor called unfinished."""
    if Path(out).is_dir():
        return sorted(path.name for path in Path(out).iterdir() if path.name[0] != "." and path.suffix != ".part")
    return [out] * Path(out).exists()


@pytest.fixture
def full():
    """From here on no file can become larger than `SMALL`, until the function that this gives is called."""
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (SMALL, before[1]))

    def mended():
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    yield mended
    mended()
    signal.signal(signal.SIGXFSZ, handler)


def again(name: str) -> list[str]:
    """What is added to the command that goes on, and so is named in the advice."""
    return ["--resume"] if name == "train" and Path("run/run.json").exists() else []


@pytest.mark.parametrize("name", [name for name in WORK if name != "crossmatch"])  # whose table is smaller
def test_a_full_disk_is_one_line_and_the_same_command_goes_on(name, galtrans, full):
    words, out = WORK[name]
    code, said = galtrans(words)
    assert code == 1
    lines = [line for line in said.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1
    assert "File too large" in lines[0]
    assert "Traceback" not in said
    assert written(out) in (
        [],
        [BEGUN.get(name)],
        sorted(filter(None, [BEGUN.get(name), "checkpoints", "tensorboard"])),
    )
    assert not any(Path(out, "checkpoints").glob("*"))
    full()
    more = again(name)
    assert lines[0].endswith("run the command again" + "".join(f" with {each}" for each in more))
    assert galtrans(words, *more)[0] == 0
    assert written(out)


@pytest.mark.parametrize("name", list(WORK))
def test_ctrl_c_is_one_line_and_the_same_command_goes_on(name, galtrans, monkeypatch):
    """It comes where the command is about to give the first of its files the name."""
    words, out = WORK[name]

    def interrupt(*_):
        os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(files, "os", SimpleNamespace(**{**vars(os), "replace": interrupt}))
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            code, said = galtrans(words)
        finally:
            signal.signal(signal.SIGINT, before)
    assert code == 1
    assert said.count("Error: interrupted; nothing half-written is left, so run the same command again") == 1
    assert "Traceback" not in said
    assert written(out) == []
    more = again(name)
    assert said.endswith("again" + "".join(f" with {each}" for each in more) + "\n")
    assert galtrans(words, *more)[0] == 0
    assert written(out)
