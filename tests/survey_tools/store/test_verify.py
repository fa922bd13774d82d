import shutil

import numpy as np
import pytest
import zarr

from survey_tools import open_store
from survey_tools.errors import StoreError
from survey_tools.files import SUMS, write_sums
from survey_tools.store.verify import verify
from survey_tools.tasks import Engine


@pytest.fixture(scope="module")
def sound(tmp_path_factory, make_store):
    """A store of three objects, the second without an image."""
    path = tmp_path_factory.mktemp("verify") / "x.zarr"
    make_store(path, "sdss", np.array([10.0, 11, 12]), np.array([1.0, 1, 1]), bands="gr", missing=[1])
    return path


@pytest.fixture
def store(sound, tmp_path):
    """A copy that may be damaged."""
    return shutil.copytree(sound, tmp_path / "x.zarr")


def test_a_store_as_it_was_finished_is_sound(store):
    assert verify(store) == verify(store, Engine(2)) == []


def test_a_flipped_bit_is_found(store):
    chunk = next(path for path in (store / "images").rglob("c/**/*") if path.is_file())
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 1
    chunk.write_bytes(content)
    wrong = verify(store)
    assert len(wrong) == 1
    assert wrong[0].startswith(f"{chunk.relative_to(store)} has changed")


def test_lost_and_foreign_files_are_named(store):
    chunk = next(path for path in (store / "mask").rglob("c/**/*") if path.is_file())
    chunk.unlink()
    (store / "notes.txt").touch()
    assert verify(store) == [
        f"{chunk.relative_to(store)} is missing",
        "notes.txt does not belong to the store",
    ]


def spoil(store, change):
    """Change a store and let its checksums agree, as a wrong program would."""
    change(zarr.open_group(store, mode="r+"), store)
    write_sums(store, {})
    return verify(store)


def blank(group, _):
    group["images"][0, 1] = np.nan
    group["mask"][0, 1] = True


def reorder(_, store):
    text = (store / "manifest.ecsv").read_text()
    (store / "manifest.ecsv").write_text(text.replace("sdss-0", "other"))


def say(status):
    def change(_, store):
        text = (store / "manifest.ecsv").read_text()
        (store / "manifest.ecsv").write_text(text.replace('"sdss-0" "done"', f'"sdss-0" "{status}"'))

    return change


def lay_bare(group, _):
    group["mask"][1, 0, 3, 4] = False


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (blank, "row 0: its pixels are not as many"),
        (blank, "row 0: done by the manifest, but a band has no pixel"),
        (reorder, "the manifest has 3 rows, not those of the 3 objects"),
        (say("outside"), "row 0: outside by the manifest, but it has pixels"),
        (say("odd"), "the manifest has the status 'odd'"),
        (lay_bare, "row 1: missing pixels are not masked"),
    ],
)
def test_pixels_columns_and_manifest_must_agree(store, change, said):
    assert any(line.startswith(said) for line in spoil(store, change))


def test_what_is_no_store_or_has_no_checksums_is_refused(store, tmp_path):
    with pytest.raises(StoreError, match="does not exist"):
        verify(tmp_path / "nothing.zarr")
    (tmp_path / "folder").mkdir()
    with pytest.raises(StoreError, match="folder is not a Zarr store"):
        verify(tmp_path / "folder")
    (store / SUMS).unlink()
    with pytest.raises(StoreError, match="has no checksums"):
        verify(store)
    assert len(open_store(store)) == 3
