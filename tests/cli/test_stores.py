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
    assert galtrans("info", "x.zarr")[2].startswith("Error: x.zarr is not finished; run the command")
    assert galtrans("info", "y.zarr")[::2] == (1, "Error: y.zarr does not exist\n")
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
