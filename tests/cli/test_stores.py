import sys

import click
import numpy as np
import pytest

from cli.stores import _parse_rows


@pytest.fixture
def store(tmp_path, make_store, monkeypatch):
    """A store in the folder that we are in."""
    make_store(tmp_path / "x.zarr", "sdss", np.array([10.0, 11, 12]), np.array([1.0, 1, 1]), bands="gr")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "x.zarr"


def test_an_unfinished_or_missing_store_is_said_to_be_so(tmp_path, galtrans, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.zarr.part").mkdir()
    refusal = galtrans("export", "x.zarr", "--rows", "0", "--out", "f")
    assert refusal[2].startswith("Error: x.zarr is not finished; run the command")
    nothing = "Error: {} does not exist\n"
    assert galtrans("info", "x.zarr")[::2] == (1, nothing.format("x.zarr"))
    assert galtrans("info", "y.zarr")[::2] == (1, nothing.format("y.zarr"))
    (tmp_path / "z.zarr").mkdir()
    assert galtrans("export", "z.zarr", "--rows", "0", "--out", "f")[::2] == (
        1,
        "Error: z.zarr is not a Zarr store\n",
    )


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("0:3", [0, 1, 2]),
        (":2", [0, 1]),
        ("8:", [8, 9]),
        ("8:40", [8, 9]),
        (":", list(range(10))),
        ("3", [3]),
        ("5,1, 1,3:5", [5, 1, 3, 4]),
    ],
)
def test_rows_are_numbers_and_ranges(text, rows):
    assert _parse_rows(text, 10) == rows


@pytest.mark.parametrize("text", ["", "x", "-1", "1:2:3", "10", "0,,1", "12:14", "1.5"])
def test_other_rows_are_wrong_usage(text):
    with pytest.raises(click.BadParameter):
        _parse_rows(text, 10)


def test_a_store_is_verified_and_what_is_wrong_said(store, galtrans):
    assert galtrans("verify", "x.zarr") == (0, "x.zarr is sound: 3 objects.\n", "")
    (store / "mask" / "c" / "0" / "0" / "0" / "0").unlink()
    code, out, err = galtrans("verify", "x.zarr")
    assert (code, out) == (1, "mask/c/0/0/0/0 is missing\n")
    assert err.startswith("Error: x.zarr is damaged in 1 places")


def test_pictures_are_written_beside_exported_files(store, galtrans):
    assert galtrans("export", "x.zarr", "--rows", "0,2", "--out", "f", "--preview")[0] == 0
    names = sorted(path.name for path in (store.parent / "f").iterdir())
    assert names == ["000000_sdss-0.fits", "000000_sdss-0.png", "000002_sdss-2.fits", "000002_sdss-2.png"]
    assert (store.parent / "f" / names[1]).read_bytes().startswith(b"\x89PNG")


def test_an_export_for_other_programs_counts_what_it_leaves_out(store, galtrans, make_store):
    make_store(
        store.parent / "z.zarr", "sdss", np.array([10.0, 11, 12]), np.array([1.0, 1, 1]), bands="gr", missing=[1]
    )
    for form, files in (("webdataset", "1 data file"), ("hats", "1 data file")):
        code, out, err = galtrans("export", "z.zarr", "--to", form, "--out", form, "--bands", "r")
        left, wrote = out.splitlines()
        assert (code, err) == (0, "")
        assert left == "Left out 1 object: outside; the manifest of the store says why."
        assert wrote == f"Wrote 2 objects to {form}: {files}, croissant.json, README.md."
    _, out, _ = galtrans("export", "z.zarr", "--to", "hats", "--out", "hats", "--bands", "r")
    assert out.endswith("1 data file (1 of them were there before), croissant.json, README.md.\n")
    code, _, err = galtrans("export", "z.zarr", "--to", "hats", "--out", "h", "--preview")
    assert code == 2
    assert "pictures are written beside FITS files" in err
    code, _, err = galtrans("export", "z.zarr", "--out", "h", "--bands", "gx")
    assert code == 2
    assert "'--bands': 'gx': give each band once, out of gr" in err


def test_an_interrupted_export_goes_on(store, galtrans, monkeypatch):
    """The files that are there stay, whatever the time; the same command writes the others, and their pictures."""
    from survey_tools.fits import export

    write, written = export.write_hdus, []

    def interrupted(hdus, path):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(path)
        write(hdus, path)

    folder = store.parent / "f"
    with monkeypatch.context() as patch:
        patch.setattr(export, "write_hdus", interrupted)
        patch.setattr("cli.main._leave", lambda: sys.exit(1))
        code, _, err = galtrans("export", "x.zarr", "--rows", ":", "--out", "f", "--preview")
    assert (code, err) == (1, "\nError: interrupted; nothing half-written is left, so run the same command again\n")
    there = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert len(there) == 2
    code, out, _ = galtrans("export", "x.zarr", "--rows", ":", "--out", "f", "--preview")
    assert (code, out) == (0, "2 of 3 rows were in f before, from the same store.\nWrote 1 of 3 rows to f.\n")
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir() if path.name in there} == there
    assert len(list(folder.glob("*.fits"))) == len(list(folder.glob("*.png"))) == 3


def test_files_of_another_store_are_not_taken_for_those_of_this_one(store, galtrans, make_store):
    make_store(store.parent / "y.zarr", "sdss", np.array([10.0, 11, 12]), np.array([1.0, 1, 1]), bands="gr", seed=1)
    assert galtrans("export", "x.zarr", "--rows", "0", "--out", "f")[0] == 0
    code, _, err = galtrans("export", "y.zarr", "--rows", "0:2", "--out", "f")
    assert code == 1
    assert "f/000000_sdss-0.fits exists already and was made from something else" in err
    assert len(list((store.parent / "f").iterdir())) == 1
    assert galtrans("export", "y.zarr", "--rows", "0:2", "--out", "f", "--overwrite")[0] == 0


def test_info_says_how_far_an_interrupted_store_is(store, galtrans, make_store):
    from survey_tools.build.regridded import regrid_store
    from survey_tools.tasks import Engine

    one_object = 64 * 64 * 4 * 2  # bytes
    y = make_store(store.parent / "y.zarr", "cfht", np.array([10.0, 11, 12]), np.array([1.0, 1, 1]), bands="gr")
    rows = []

    class Stopped(Engine):
        def run(self, function, items, *words):
            def task(item):
                rows.append(item)
                if len(rows) == 3:
                    raise KeyboardInterrupt
                return function(item)

            return super().run(task, items, *words)

    with pytest.raises(KeyboardInterrupt):
        regrid_store(y.path, store, store.parent / "z.zarr", engine=Stopped(), chunk_bytes=one_object)
    code, out, _ = galtrans("info", "z.zarr")
    said = dict(line.split(maxsplit=1) for line in out.replace("NOT FINISHED", "NOT_FINISHED").splitlines())
    assert code == 0
    assert said["NOT_FINISHED"] == "z.zarr is being made, or was interrupted: the same command resumes it"
    assert said["objects"] == "3, on 64 x 64 pixels of 0.396 arcsec"
    assert said["chunks"].startswith("2 of 3 chunks written (67 %), the last ")
    assert said["command"] == "galtrans regrid"


def test_info_says_how_far_a_run_is(tmp_path, galtrans, monkeypatch):
    import torch

    from translator.runs.checkpoint import Checkpoint, save_checkpoint
    from translator.runs.facts import RunFacts, survey_domains, write_facts

    run = tmp_path / "run"
    write_facts(run, RunFacts("two_step", (300, 700), 24, 5, survey_domains(same_grid=False), ""))
    code, out, _ = galtrans("info", run)
    assert code == 0
    assert "no checkpoint yet, of 1,000 iterations in 2 steps" in out
    save_checkpoint(run, Checkpoint(500, 1, {"weight": torch.zeros(1)}, {}))
    _, out, _ = galtrans("info", run)
    assert "NOT FINISHED" in out
    assert "the same `galtrans train` with --resume finishes it" in out
    assert "500 of 1,000 iterations (50 %), in step 2 of 2; saved 1 s ago" in out
    save_checkpoint(run, Checkpoint(1000, 1, {"weight": torch.zeros(1)}, {}))
    _, out, _ = galtrans("info", run)
    assert "NOT FINISHED" not in out
    (run / "checkpoints" / "000001000" / "checkpoint.json").write_text("{")
    assert galtrans("info", run)[2].startswith("Error: ")
    code, out, _ = galtrans("info", "sdss-cfhtls")
    assert (code, out.split()[:2]) == (0, ["recipe", "psf_matched"])


def test_convert_writes_a_store_again_and_says_when_it_is_there(store, galtrans):
    code, out, _ = galtrans("convert", "x.zarr", "new.zarr")
    assert (code, out) == (0, "3 objects in gr\nWrote new.zarr\n")
    assert galtrans("convert", "x.zarr", "new.zarr")[1].startswith("new.zarr is complete already.\n")
    assert galtrans("convert", "x.zarr", "x.zarr")[0] == 1
